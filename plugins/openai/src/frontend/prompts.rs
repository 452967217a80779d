//! Prompts and conversations: from a body's ranges to neutral ones. Long texts stay
//! with the host, as ranges that hold JSON strings.

use std::cell::Cell;

use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;
use tollgate_sdk_protocol::{
    Bytes, failure,
    inference::{Content, Extra, Message, Prompt},
    text,
    types::{Failure, SourceId, Text},
};

use super::{
    bounded::AtMost,
    fields::{Fields, missing, wrong_type},
};

/// Most prompts in one request, as in vLLM.
const MOST_PROMPTS: usize = 1024;
/// Most token ids in one request.
const MOST_TOKENS: usize = 1 << 20;
/// Most messages of a conversation that is taken apart, and most parts of one message.
const MOST_MESSAGES: usize = 4096;
/// Most parts of a whole conversation.
const MOST_PARTS: usize = 4 * MOST_MESSAGES;
/// Most bytes of a conversation that are copied, as against those that stay with the host.
const MOST_COPIED: usize = 8 << 20;
/// Longest role of a message, name, or id of a call, as JSON.
const LONGEST_NAME: usize = 4096;
/// Strings up to this length are decoded here; longer ones stay with the host.
const SHORT: usize = 256;

const KINDS: &str = "a string, a list of strings, a list of token ids or a list of such lists";

/// A member that is a string, strings, tokens or lists of tokens.
///
/// # Errors
/// When it is missing, empty or something else.
pub fn read(bytes: &dyn Bytes, fields: &Fields, name: &str) -> Result<Vec<Prompt>, Failure> {
    let Some((offset, len)) = fields.place(name) else {
        return Err(missing(name));
    };
    let first = bytes.read(0, offset, 1);
    match first.first() {
        Some(b'"') => Ok(vec![Prompt::Text(text::held_json(0, offset, len))]),
        Some(b'[') => list(bytes, name, offset, len),
        Some(b'n') => Err(missing(name)),
        _ => Err(wrong_type(name, KINDS)),
    }
}

fn list(bytes: &dyn Bytes, name: &str, offset: u64, len: u64) -> Result<Vec<Prompt>, Failure> {
    let raw = bytes.read_all(0, offset, len);
    let wrong = || wrong_type(name, KINDS);
    let first_kind = match first_of(&raw) {
        Some(kind @ (b'"' | b'[')) => kind,
        Some(b']') | None => {
            return Err(failure::invalid(
                format!("{name} must not be empty."),
                Some(name),
            ));
        }
        Some(_) => return Ok(vec![Prompt::Tokens(token_ids(name, &raw, KINDS)?)]),
    };
    let AtMost::<&RawValue, MOST_PROMPTS>(elements) = serde_json::from_slice(&raw)
        .map_err(|error| failure::invalid(format!("{name} has {error}"), Some(name)))?;
    let mut all = 0;
    elements
        .into_iter()
        .map(|element| {
            let json = element.get();
            match json.as_bytes()[0] {
                kind if kind != first_kind => Err(wrong()),
                b'"' => {
                    let at = offset + place_in(&raw, json);
                    Ok(Prompt::Text(text::held_json(0, at, json.len() as u64)))
                }
                b'[' => {
                    let tokens = token_ids(name, json.as_bytes(), KINDS)?;
                    all += tokens.len();
                    if tokens.is_empty() {
                        Err(wrong())
                    } else if all > MOST_TOKENS {
                        Err(too_many_tokens(name))
                    } else {
                        Ok(Prompt::Tokens(tokens))
                    }
                }
                _ => Err(wrong()),
            }
        })
        .collect()
}

/// The first byte of the first element of a list, or its closing bracket.
fn first_of(list: &[u8]) -> Option<u8> {
    let mut behind = list.iter().skip(1);
    behind.find(|byte| !byte.is_ascii_whitespace()).copied()
}

/// A list of token ids, none or up to [`MOST_TOKENS`]. `kind` is said to the client when it is
/// something else.
///
/// # Errors
/// When it is something else, or longer.
pub fn token_ids(name: &str, json: &[u8], kind: &str) -> Result<Vec<u32>, Failure> {
    // Before any is read: of what is a list of numbers this is one less than there are.
    let commas = json.iter().filter(|byte| **byte == b',').count();
    if commas >= MOST_TOKENS && matches!(first_of(json), Some(b'0'..=b'9')) {
        return Err(too_many_tokens(name));
    }
    let AtMost::<u32, MOST_TOKENS>(ids) =
        serde_json::from_slice(json).map_err(|_| wrong_type(name, kind))?;
    Ok(ids)
}

fn too_many_tokens(name: &str) -> Failure {
    let message = format!("{name} has more than {MOST_TOKENS} token ids.");
    failure::invalid(message, Some(name))
}

/// How many prompts a list holds, where a list of token ids is one; for more than a request may
/// have, no fewer than there are.
pub fn count(list: &[u8]) -> u64 {
    if !matches!(first_of(list), Some(b'"' | b'[')) {
        return 1;
    }
    match serde_json::from_slice::<AtMost<IgnoredAny, MOST_PROMPTS>>(list) {
        Ok(AtMost(elements)) => elements.len() as u64,
        // The least that one takes, and a comma.
        Err(_) => list.len() as u64 / 3,
    }
}

/// Where a part, borrowed from a whole, begins in it.
pub fn place_in(whole: &[u8], part: &str) -> u64 {
    (part.as_ptr() as usize - whole.as_ptr() as usize) as u64
}

#[derive(Deserialize)]
struct RawMessage<'a> {
    #[serde(borrow)]
    role: &'a RawValue,
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
    #[serde(borrow, default)]
    name: Option<&'a RawValue>,
    #[serde(borrow, default)]
    tool_calls: Option<&'a RawValue>,
    #[serde(borrow, default)]
    tool_call_id: Option<&'a RawValue>,
    // Members that templates may use and neutral messages have no place for.
    #[serde(borrow, default)]
    reasoning: Option<&'a RawValue>,
    #[serde(borrow, default)]
    reasoning_content: Option<&'a RawValue>,
    #[serde(borrow, default)]
    function_call: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct RawPart<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Option<std::borrow::Cow<'a, str>>,
    #[serde(borrow, default)]
    text: Option<&'a RawValue>,
}

/// The conversation. What a message has beyond the neutral one's members is added to
/// the extras.
///
/// # Errors
/// When it is missing or not of the API's form.
pub fn messages(
    bytes: &dyn Bytes,
    fields: &Fields,
    extras: &mut Vec<Extra>,
) -> Result<Vec<Message>, Failure> {
    let (offset, len) = fields
        .place("messages")
        .ok_or_else(|| missing("messages"))?;
    let raw = bytes.read_all(0, offset, len);
    let source = Whole {
        raw: &raw,
        offset,
        copied: Cell::new(0),
    };
    let AtMost::<RawMessage, MOST_MESSAGES>(list) = serde_json::from_slice(&raw)
        .map_err(|error| failure::invalid(format!("messages: {error}"), Some("messages")))?;
    let mut parts = 0;
    list.into_iter()
        .enumerate()
        .map(|(at, message)| {
            for (name, value) in [
                ("reasoning", message.reasoning),
                ("reasoning_content", message.reasoning_content),
                ("function_call", message.function_call),
            ] {
                if let Some(value) = value {
                    source.copies(value.get())?;
                    extras.push(Extra {
                        name: format!("messages[{at}].{name}"),
                        json: value.get().to_owned(),
                    });
                }
            }
            let content = content(&source, message.content)?;
            parts += content.len();
            if parts > MOST_PARTS {
                let message = format!("messages: more than {MOST_PARTS} parts");
                return Err(failure::invalid(message, Some("messages")));
            }
            let calls = message.tool_calls.map(RawValue::get);
            let calls = calls.filter(|calls| *calls != "[]");
            source.copies(calls.unwrap_or_default())?;
            let role = source.name("role", Some(message.role))?;
            Ok(Message {
                role: role.ok_or_else(|| wrong_name("role"))?,
                content,
                name: source.name("name", message.name)?,
                tool_calls: calls.map(str::to_owned),
                tool_call_id: source.name("tool_call_id", message.tool_call_id)?,
            })
        })
        .collect()
}

struct Whole<'a> {
    raw: &'a [u8],
    offset: u64,
    /// Bytes of it that are here twice.
    copied: Cell<usize>,
}

impl Whole<'_> {
    /// A part is copied: as far as there may be.
    fn copies(&self, json: &str) -> Result<(), Failure> {
        self.copied.set(self.copied.get() + json.len());
        if self.copied.get() > MOST_COPIED {
            let message = format!("messages: more than {MOST_COPIED} bytes that are not text");
            return Err(failure::invalid(message, Some("messages")));
        }
        Ok(())
    }

    /// A short string of a message; none where it is `null`.
    fn name(&self, member: &str, json: Option<&RawValue>) -> Result<Option<String>, Failure> {
        let Some(json) = json.map(RawValue::get) else {
            return Ok(None);
        };
        if json.len() > LONGEST_NAME {
            return Err(wrong_name(member));
        }
        self.copies(json)?;
        serde_json::from_str(json).map_err(|_| wrong_name(member))
    }

    /// A string that lies in the whole.
    fn text(&self, json: &str) -> Result<Text, Failure> {
        if json.len() > SHORT {
            let source: SourceId = 0;
            let at = self.offset + place_in(self.raw, json);
            return Ok(text::held_json(source, at, json.len() as u64));
        }
        serde_json::from_str(json)
            .map(Text::Inline)
            .map_err(|_| wrong_content())
    }
}

fn wrong_name(member: &str) -> Failure {
    let kind = format!("messages whose {member} is a string of at most {LONGEST_NAME} bytes");
    wrong_type("messages", &kind)
}

fn wrong_content() -> Failure {
    wrong_type(
        "messages",
        "messages whose content is a string or a list of parts",
    )
}

fn content(source: &Whole, content: Option<&RawValue>) -> Result<Vec<Content>, Failure> {
    let Some(json) = content.map(RawValue::get) else {
        return Ok(Vec::new());
    };
    match json.as_bytes()[0] {
        b'n' => Ok(Vec::new()),
        b'"' => Ok(vec![Content::Text(source.text(json)?)]),
        b'[' => {
            // Anything is an element, so it can only be too many.
            let AtMost::<&RawValue, MOST_MESSAGES>(parts) =
                serde_json::from_str(json).map_err(|error| {
                    let message = format!("messages: a message's content has {error}");
                    failure::invalid(message, Some("messages"))
                })?;
            parts
                .into_iter()
                .map(|part| part_of(source, part.get()))
                .collect()
        }
        _ => Err(wrong_content()),
    }
}

fn part_of(source: &Whole, json: &str) -> Result<Content, Failure> {
    if json.starts_with('"') {
        return Ok(Content::Text(source.text(json)?));
    }
    let part: RawPart = serde_json::from_str(json).map_err(|_| wrong_content())?;
    let textual = matches!(
        part.kind.as_deref(),
        None | Some("text" | "input_text" | "output_text")
    );
    match part.text {
        Some(text) if textual && text.get().starts_with('"') => {
            Ok(Content::Text(source.text(text.get())?))
        }
        None if textual && part.kind.is_some() => Err(wrong_content()),
        _ => {
            source.copies(json)?;
            Ok(Content::Part(json.to_owned()))
        }
    }
}
