//! Reads JSON as strictly, and as leniently, as the runtime does (pydantic, lax mode):
//! unknown members are refused, numbers may be written as strings.
//!
//! Problems are collected, not returned: a client learns of all of them at once, or of
//! the first hundred and that there are more.

use std::{collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

/// Longest input that is shown back to the client, in bytes.
const SHOWN: usize = 1024;
/// Problems that are told of one body; one more says that there are others.
const MOST_PROBLEMS: usize = 100;
/// Members of one object that are kept. No object that we read has a tenth of them, so
/// one with more is refused whatever the rest is.
const MOST_MEMBERS: usize = 1024;

/// One thing that is wrong with a body.
#[derive(Clone, Debug, Serialize)]
pub struct Problem {
    /// The kind, in the runtime's words.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Where: names of members and positions in lists.
    pub loc: Vec<Loc>,
    /// One sentence.
    pub msg: String,
    /// What stands there.
    pub input: Box<RawValue>,
}

/// A step on the way to a value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Loc {
    /// A member of an object.
    Name(String),
    /// A place in a list.
    At(usize),
}

/// What is wrong with one value.
type Wrong = (&'static str, &'static str);

/// JSON text as it is, or a string of its beginning where it is long.
fn shown(json: &str) -> Box<RawValue> {
    let raw = |text: String| RawValue::from_string(text).ok();
    let whole = (json.len() <= SHOWN)
        .then(|| raw(json.to_owned()))
        .flatten();
    whole.unwrap_or_else(|| {
        let mut end = json.len().min(SHOWN);
        while !json.is_char_boundary(end) {
            end -= 1;
        }
        let text = serde_json::to_string(&json[..end]).unwrap_or_default();
        raw(text).expect("a string is JSON")
    })
}

/// Problems found so far, and where we are.
#[derive(Debug, Default)]
pub struct Reader {
    problems: Vec<Problem>,
    /// There were more than are kept.
    more: bool,
    loc: Vec<Loc>,
}

impl Reader {
    /// The problems, if there are any.
    ///
    /// # Errors
    /// All of them, or the first hundred and one that says so.
    pub fn finish<T>(mut self, value: T) -> Result<T, Vec<Problem>> {
        if self.problems.is_empty() {
            return Ok(value);
        }
        if self.more {
            self.problems.push(Problem {
                kind: "too_many_errors",
                loc: Vec::new(),
                msg: format!("Only the first {MOST_PROBLEMS} problems are shown"),
                input: shown("null"),
            });
        }
        Err(self.problems)
    }

    fn wrong(&mut self, (kind, msg): Wrong, json: &str) {
        if self.problems.len() >= MOST_PROBLEMS {
            self.more = true;
            return;
        }
        self.problems.push(Problem {
            kind,
            loc: self.loc.clone(),
            msg: msg.to_owned(),
            input: shown(json),
        });
    }

    /// The text is not JSON.
    pub fn not_json(&mut self, why: &str, text: &str) {
        let quoted = serde_json::to_string(text).unwrap_or_default();
        self.problems.push(Problem {
            kind: "json_invalid",
            loc: Vec::new(),
            msg: format!("Invalid JSON: {why}"),
            input: shown(&quoted),
        });
    }

    /// A member that nobody knows.
    pub fn extra(&mut self, name: &str, json: &str) {
        self.inside(Loc::Name(name.to_owned()), |reader| {
            let wrong = ("extra_forbidden", "Extra inputs are not permitted");
            reader.wrong(wrong, json);
        });
    }

    /// The text is JSON, but no object.
    pub fn not_an_object(&mut self, json: &str) {
        self.wrong(("model_type", "Input should be an object"), json);
    }

    /// Reads what is further inside.
    pub fn inside<T>(&mut self, step: Loc, read: impl FnOnce(&mut Self) -> T) -> T {
        self.loc.push(step);
        let value = read(self);
        self.loc.pop();
        value
    }

    fn take<T>(&mut self, json: &str, read: impl FnOnce(&str) -> Result<T, Wrong>) -> Option<T> {
        match read(json) {
            Ok(value) => Some(value),
            Err(wrong) => {
                self.wrong(wrong, json);
                None
            }
        }
    }

    /// A string.
    pub fn string(&mut self, json: &str) -> Option<String> {
        self.take(json, string)
    }

    /// A list, each element read by `read`.
    pub fn list<T>(
        &mut self,
        json: &str,
        read: impl FnMut(&mut Self, &str) -> Option<T>,
    ) -> Option<Vec<T>> {
        let each = Each { reader: self, read };
        match serde_json::Deserializer::from_str(json).deserialize_seq(each) {
            Ok(all) => all,
            Err(_) => {
                self.wrong(("list_type", "Input should be a valid array"), json);
                None
            }
        }
    }

    /// A list of strings.
    pub fn strings(&mut self, json: &str) -> Option<Vec<String>> {
        self.list(json, Self::string)
    }

    /// A list of objects, as they are.
    pub fn objects(&mut self, json: &str) -> Option<Vec<String>> {
        self.list(json, |reader, json| {
            if json.starts_with('{') {
                Some(json.to_owned())
            } else {
                reader.wrong(("dict_type", "Input should be an object"), json);
                None
            }
        })
    }

    /// An object whose members `read` takes out; what it leaves is not permitted.
    pub fn object<T>(
        &mut self,
        json: &str,
        read: impl FnOnce(&mut Members<'_, '_>) -> T,
    ) -> Option<T> {
        let Ok(InOrder(all)) = serde_json::from_str(json) else {
            self.not_an_object(json);
            return None;
        };
        let mut members = Members { all, reader: self };
        let value = read(&mut members);
        let Members { all, reader } = members;
        for (name, json) in all {
            reader.extra(&name, json.get());
        }
        Some(value)
    }
}

/// Members of an object that have not been taken yet.
pub struct Members<'a, 'r> {
    all: Vec<(String, &'a RawValue)>,
    reader: &'r mut Reader,
}

impl Members<'_, '_> {
    /// Takes a member; null is nothing.
    pub fn take<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(&mut Reader, &str) -> Option<T>,
    ) -> Option<T> {
        let at = self.all.iter().position(|(known, _)| known == name)?;
        let (_, json) = self.all.remove(at);
        if json.get() == "null" {
            return None;
        }
        let step = Loc::Name(name.to_owned());
        self.reader.inside(step, |reader| read(reader, json.get()))
    }

    /// A whole number.
    pub fn integer(&mut self, name: &str) -> Option<i64> {
        self.take(name, |reader, json| reader.take(json, integer))
    }

    /// A whole number that is not negative.
    pub fn natural(&mut self, name: &str) -> Option<u64> {
        self.take(name, |reader, json| {
            reader.take(json, |json| {
                let large = json.trim_matches('"').parse::<u64>();
                large.or_else(|_| {
                    u64::try_from(integer(json)?).map_err(|_| {
                        let msg = "Input should be greater than or equal to 0";
                        ("greater_than_equal", msg)
                    })
                })
            })
        })
    }

    /// A number.
    pub fn number(&mut self, name: &str) -> Option<f64> {
        self.take(name, |reader, json| reader.take(json, number))
    }

    /// True or false.
    pub fn boolean(&mut self, name: &str) -> Option<bool> {
        self.take(name, |reader, json| reader.take(json, boolean))
    }

    /// A string.
    pub fn string(&mut self, name: &str) -> Option<String> {
        self.take(name, Reader::string)
    }

    /// A list of strings.
    pub fn strings(&mut self, name: &str) -> Option<Vec<String>> {
        self.take(name, Reader::strings)
    }
}

fn string(json: &str) -> Result<String, Wrong> {
    serde_json::from_str(json).map_err(|_| ("string_type", "Input should be a valid string"))
}

fn integer(json: &str) -> Result<i64, Wrong> {
    const SIZE: Wrong = (
        "int_parsing_size",
        "Unable to parse input string as an integer, exceeded maximum size",
    );
    let kind = ("int_type", "Input should be a valid integer");
    let parsing = (
        "int_parsing",
        "Input should be a valid integer, unable to parse string as an integer",
    );
    let whole = |number: f64| {
        if !number.is_finite() || number.fract() != 0.0 {
            let msg = "Input should be a valid integer, got a number with a fractional part";
            Err(("int_from_float", msg))
        } else if number.abs() < 9.0e18 {
            #[expect(clippy::cast_possible_truncation, reason = "it is whole and fits")]
            Ok(number as i64)
        } else {
            Err(SIZE)
        }
    };
    match json.as_bytes().first() {
        Some(b't') => Ok(1),
        Some(b'f') => Ok(0),
        Some(b'"') => {
            let text = string(json).map_err(|_| parsing)?;
            let text = text.trim();
            match (text.parse::<i64>(), text.parse::<f64>()) {
                (Ok(number), _) => Ok(number),
                (Err(_), Ok(number)) if number.fract() == 0.0 => whole(number),
                _ => Err(parsing),
            }
        }
        Some(b'-' | b'0'..=b'9') => json
            .parse::<i64>()
            .or_else(|_| whole(json.parse::<f64>().map_err(|_| kind)?)),
        _ => Err(kind),
    }
}

fn number(json: &str) -> Result<f64, Wrong> {
    let kind = ("float_type", "Input should be a valid number");
    match json.as_bytes().first() {
        Some(b't') => Ok(1.0),
        Some(b'f') => Ok(0.0),
        Some(b'"') => {
            let text = string(json).unwrap_or_default();
            let msg = "Input should be a valid number, unable to parse string as a number";
            text.trim().parse().map_err(|_| ("float_parsing", msg))
        }
        Some(b'-' | b'0'..=b'9') => json.parse().map_err(|_| kind),
        _ => Err(kind),
    }
}

fn boolean(json: &str) -> Result<bool, Wrong> {
    let parsing = (
        "bool_parsing",
        "Input should be a valid boolean, unable to interpret input",
    );
    let word = match json.as_bytes().first() {
        Some(b'"') => string(json).map_err(|_| parsing)?.to_ascii_lowercase(),
        Some(b'{' | b'[') => return Err(("bool_type", "Input should be a valid boolean")),
        _ => json.to_owned(),
    };
    match word.as_str() {
        "true" | "1" | "1.0" | "t" | "on" | "y" | "yes" => Ok(true),
        "false" | "0" | "0.0" | "f" | "off" | "n" | "no" => Ok(false),
        _ => Err(parsing),
    }
}

/// Reads a list's elements as they come, until there are problems enough; none where
/// one of them was wrong.
struct Each<'r, F> {
    reader: &'r mut Reader,
    read: F,
}

impl<'de, T, F: FnMut(&mut Reader, &str) -> Option<T>> Visitor<'de> for Each<'_, F> {
    type Value = Option<Vec<T>>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<Option<Vec<T>>, A::Error> {
        let mut all = Some(Vec::new());
        let mut at = 0;
        while let Some(element) = list.next_element::<&'de RawValue>()? {
            let read = &mut self.read;
            let value = self
                .reader
                .inside(Loc::At(at), |reader| read(reader, element.get()));
            match (value, &mut all) {
                (Some(value), Some(all)) => all.push(value),
                _ => all = None,
            }
            if self.reader.problems.len() >= MOST_PROBLEMS {
                break;
            }
            at += 1;
        }
        while list.next_element::<IgnoredAny>()?.is_some() {
            self.reader.more = true;
        }
        Ok(all)
    }
}

/// Members of an object in their order, and no more than are worth reading; of one that
/// stands twice the last value counts.
pub struct InOrder<'a>(pub Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for InOrder<'de> {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        struct All;
        impl<'de> Visitor<'de> for All {
            type Value = InOrder<'de>;
            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<InOrder<'de>, A::Error> {
                let mut all: Vec<(String, &'de RawValue)> = Vec::new();
                let mut places = BTreeMap::new();
                while let Some((name, value)) = map.next_entry::<String, &'de RawValue>()? {
                    match places.get(&name) {
                        Some(at) => {
                            let known: &mut (_, _) = &mut all[*at];
                            known.1 = value;
                        }
                        None if all.len() < MOST_MEMBERS => {
                            places.insert(name.clone(), all.len());
                            all.push((name, value));
                        }
                        None => {}
                    }
                }
                Ok(InOrder(all))
            }
        }
        json.deserialize_map(All)
    }
}

#[cfg(test)]
#[path = "strict_tests.rs"]
mod tests;
