//! Prompts and conversations: from a body's ranges to neutral ones. Long texts stay
//! with the host, as ranges that hold JSON strings.

use serde::Deserialize;
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
/// Most messages of a conversation that is taken apart, and most parts of one message.
const MOST_MESSAGES: usize = 4096;
/// Most parts of a whole conversation.
const MOST_PARTS: usize = 4 * MOST_MESSAGES;
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
    if let Ok(tokens) = serde_json::from_slice::<Vec<u32>>(&raw) {
        if tokens.is_empty() {
            return Err(failure::invalid(
                format!("{name} must not be empty."),
                Some(name),
            ));
        }
        return Ok(vec![Prompt::Tokens(tokens)]);
    }
    let AtMost::<&RawValue, MOST_PROMPTS>(elements) = serde_json::from_slice(&raw)
        .map_err(|error| failure::invalid(format!("{name} has {error}"), Some(name)))?;
    let first_kind = elements[0].get().as_bytes()[0];
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
                    let tokens: Vec<u32> = serde_json::from_str(json).map_err(|_| wrong())?;
                    if tokens.is_empty() {
                        Err(wrong())
                    } else {
                        Ok(Prompt::Tokens(tokens))
                    }
                }
                _ => Err(wrong()),
            }
        })
        .collect()
}

/// Where a part, borrowed from a whole, begins in it.
pub fn place_in(whole: &[u8], part: &str) -> u64 {
    (part.as_ptr() as usize - whole.as_ptr() as usize) as u64
}

#[derive(Deserialize)]
struct RawMessage<'a> {
    role: String,
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
    #[serde(default)]
    name: Option<String>,
    #[serde(borrow, default)]
    tool_calls: Option<&'a RawValue>,
    #[serde(default)]
    tool_call_id: Option<String>,
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
    let source = Whole { raw: &raw, offset };
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
            Ok(Message {
                role: message.role,
                content,
                name: message.name,
                tool_calls: message
                    .tool_calls
                    .map(|calls| calls.get().to_owned())
                    .filter(|calls| calls != "[]"),
                tool_call_id: message.tool_call_id,
            })
        })
        .collect()
}

struct Whole<'a> {
    raw: &'a [u8],
    offset: u64,
}

impl Whole<'_> {
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
        _ => Ok(Content::Part(json.to_owned())),
    }
}
