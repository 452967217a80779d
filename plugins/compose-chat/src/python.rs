//! What Python does differently from Rust, where a prompt shows it: how values are printed, and how
//! JSON is written.

use std::fmt::Write as _;

use minijinja::{
    Error, ErrorKind, Output, State, Value, escape_formatter,
    value::{Kwargs, ValueKind},
};

/// Lists and mappings within each other.
const DEPTH: usize = 64;

/// Prints a value as `str` does.
pub(crate) fn format(out: &mut Output, state: &mut State, value: &Value) -> Result<(), Error> {
    if is_own(value) {
        Ok(out.write_str(&str_of(value)?)?)
    } else {
        escape_formatter(out, state, value)
    }
}

/// The filter `string`.
pub(crate) fn text(value: &Value) -> Result<String, Error> {
    str_of(value)
}

/// Whether it is printed here in another way.
fn is_own(value: &Value) -> bool {
    match value.kind() {
        ValueKind::Seq | ValueKind::Map => true,
        ValueKind::Number => !value.is_integer(),
        _ => false,
    }
}

fn str_of(value: &Value) -> Result<String, Error> {
    if !is_own(value) {
        return Ok(value.to_string());
    }
    let mut out = String::new();
    repr(value, &mut out, 0)?;
    Ok(out)
}

/// As Python's `repr`.
fn repr(value: &Value, out: &mut String, depth: usize) -> Result<(), Error> {
    if depth > DEPTH {
        return Err(too_deep());
    }
    match value.kind() {
        ValueKind::String => quoted(value.as_str().unwrap_or_default(), out),
        ValueKind::Number if !value.is_integer() => out.push_str(&float(value)),
        ValueKind::Seq | ValueKind::Iterable => {
            out.push('[');
            for (at, item) in value.try_iter()?.enumerate() {
                if at > 0 {
                    out.push_str(", ");
                }
                repr(&item, out, depth + 1)?;
            }
            out.push(']');
        }
        ValueKind::Map => {
            out.push('{');
            for (at, key) in value.try_iter()?.enumerate() {
                if at > 0 {
                    out.push_str(", ");
                }
                repr(&key, out, depth + 1)?;
                out.push_str(": ");
                repr(&value.get_item(&key)?, out, depth + 1)?;
            }
            out.push('}');
        }
        _ => out.push_str(&value.to_string()),
    }
    Ok(())
}

/// A text in the quotes that Python chooses: double ones only around a single quote alone.
fn quoted(text: &str, out: &mut String) {
    let quote = if text.contains('\'') && !text.contains('"') {
        '"'
    } else {
        '\''
    };
    out.push(quote);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == quote => {
                out.push('\\');
                out.push(c);
            }
            c if (c as u32) < 0x20 || c as u32 == 0x7f => {
                let _ = write!(out, "\\x{:02x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push(quote);
}

/// A number with a fraction: the shortest digits, as in Rust, but for the exponent's form.
fn float(value: &Value) -> String {
    let Ok(number) = f64::try_from(value.clone()) else {
        return value.to_string();
    };
    let written = format!("{number:?}");
    match written.split_once('e') {
        Some((digits, exponent)) => {
            let (sign, exponent) = match exponent.strip_prefix('-') {
                Some(exponent) => ('-', exponent),
                None => ('+', exponent),
            };
            // Python leaves out the fraction that there is none of.
            let digits = digits.strip_suffix(".0").unwrap_or(digits);
            format!("{digits}e{sign}{exponent:0>2}")
        }
        None => written.to_lowercase(),
    }
}

/// The filter `tojson`, with the arguments of Python's `json.dumps` that templates use.
pub(crate) fn to_json(value: &Value, kwargs: Kwargs) -> Result<String, Error> {
    let indent: Option<Value> = kwargs.get("indent")?;
    let indent = match indent.filter(|indent| !indent.is_none()) {
        None => None,
        Some(indent) => Some(match indent.as_str() {
            Some(text) => text.to_owned(),
            None => " ".repeat(usize::try_from(indent)?.min(64)),
        }),
    };
    let separators: Option<Value> = kwargs.get("separators")?;
    let (item, key) = match separators.filter(|separators| !separators.is_none()) {
        None if indent.is_some() => (",".to_owned(), ": ".to_owned()),
        None => (", ".to_owned(), ": ".to_owned()),
        Some(two) => {
            let part = |at: usize| -> Result<String, Error> {
                let part = two.get_item_by_index(at)?;
                part.as_str().map(str::to_owned).ok_or_else(|| {
                    Error::new(ErrorKind::InvalidOperation, "separators are two texts")
                })
            };
            (part(0)?, part(1)?)
        }
    };
    let json = Json {
        indent,
        item,
        key,
        ascii: kwargs.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false),
        sorted: kwargs.get::<Option<bool>>("sort_keys")?.unwrap_or(false),
    };
    kwargs.assert_all_used()?;
    let mut out = String::new();
    json.write(value, &mut out, 0)?;
    Ok(out)
}

/// How JSON is written.
struct Json {
    indent: Option<String>,
    item: String,
    key: String,
    ascii: bool,
    sorted: bool,
}

impl Json {
    fn write(&self, value: &Value, out: &mut String, depth: usize) -> Result<(), Error> {
        if depth > DEPTH {
            return Err(too_deep());
        }
        match value.kind() {
            ValueKind::None => out.push_str("null"),
            ValueKind::Bool => out.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number if value.is_integer() => out.push_str(&value.to_string()),
            ValueKind::Number => out.push_str(&float(value)),
            ValueKind::String => self.text(value.as_str().unwrap_or_default(), out),
            ValueKind::Seq | ValueKind::Iterable => {
                out.push('[');
                let mut any = false;
                for item in value.try_iter()? {
                    self.next(any, depth, out);
                    any = true;
                    self.write(&item, out, depth + 1)?;
                }
                self.close(any, depth, ']', out);
            }
            ValueKind::Map => {
                let mut keys: Vec<Value> = value.try_iter()?.collect();
                if self.sorted {
                    keys.sort();
                }
                out.push('{');
                let mut any = false;
                for key in keys {
                    self.next(any, depth, out);
                    any = true;
                    match key.as_str() {
                        Some(key) => self.text(key, out),
                        None => self.text(&key.to_string(), out),
                    }
                    out.push_str(&self.key);
                    self.write(&value.get_item(&key)?, out, depth + 1)?;
                }
                self.close(any, depth, '}', out);
            }
            kind => {
                let message = format!("{kind} cannot be written as JSON");
                return Err(Error::new(ErrorKind::BadSerialization, message));
            }
        }
        Ok(())
    }

    fn next(&self, any: bool, depth: usize, out: &mut String) {
        if any {
            out.push_str(&self.item);
        }
        self.line(depth + 1, out);
    }

    fn close(&self, any: bool, depth: usize, end: char, out: &mut String) {
        if any {
            self.line(depth, out);
        }
        out.push(end);
    }

    fn line(&self, depth: usize, out: &mut String) {
        if let Some(indent) = &self.indent {
            out.push('\n');
            out.push_str(&indent.repeat(depth));
        }
    }

    fn text(&self, text: &str, out: &mut String) {
        let written = serde_json::to_string(text).unwrap_or_default();
        if !self.ascii {
            return out.push_str(&written);
        }
        for c in written.chars() {
            if c.is_ascii() {
                out.push(c);
            } else {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
        }
    }
}

fn too_deep() -> Error {
    Error::new(
        ErrorKind::InvalidOperation,
        "values too deep within each other",
    )
}
