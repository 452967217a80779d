//! Texts and ranges: from the contract's [`Text`] to a string or to output segments.
//!
//! A long text need not be read to be sent on: name where it lies, and the host converts it.
//!
//! ```
//! use tollgate_sdk_protocol::{testing::Memory, text};
//!
//! let memory = Memory::default().with(0, r#"{"prompt": "caf\u00e9"}"#);
//! let prompt = text::held_json(0, 11, 11);
//! assert_eq!(text::resolve(&memory, &prompt).unwrap(), "café");
//! // As plain text, of a message of protocol buffers for one: its length, and the text itself.
//! assert_eq!(text::plain_len(&memory, &prompt), Ok(5));
//! assert_eq!(memory.render(&[text::plain(&prompt)]), "café".as_bytes());
//! ```

use base64::{Engine, engine::general_purpose::STANDARD};

use crate::{
    Bytes,
    types::{Conversion, Encoding, Held, Segment, SourceId, Span, Text},
};

/// The text itself. Reads held bytes, which must have arrived, and decodes them.
///
/// # Errors
/// Says why the bytes are no text: not UTF-8, not the encoding that was claimed, or an
/// encoding that is none of texts.
pub fn resolve(bytes: &dyn Bytes, text: &Text) -> Result<String, String> {
    let held = match text {
        Text::Inline(text) => return Ok(text.clone()),
        Text::Held(held) => held,
    };
    let raw = bytes.read_all(held.at.source, held.at.offset, held.at.len);
    if raw.len() as u64 != held.at.len {
        return Err("the text has not arrived".to_owned());
    }
    match held.written {
        Encoding::Plain => String::from_utf8(raw).map_err(|_| "the text is not UTF-8".to_owned()),
        Encoding::JsonString => {
            serde_json::from_slice(&raw).map_err(|error| format!("not a JSON string: {error}"))
        }
        Encoding::Base64 => STANDARD
            .decode(&raw)
            .ok()
            .and_then(|raw| String::from_utf8(raw).ok())
            .ok_or_else(|| "not base64 of UTF-8".to_owned()),
        _ => Err("the encoding is not a text's".to_owned()),
    }
}

/// Output that is the text as plain UTF-8.
#[must_use]
pub fn plain(text: &Text) -> Segment {
    match text {
        Text::Inline(text) => Segment::Inline(text.clone().into_bytes()),
        Text::Held(held) => written_as(held, Encoding::Plain),
    }
}

/// Output that is the text as a JSON string with its quotes.
#[must_use]
pub fn json_string(text: &Text) -> Segment {
    match text {
        Text::Inline(text) => Segment::Inline(quoted(text)),
        Text::Held(held) => written_as(held, Encoding::JsonString),
    }
}

/// Length in bytes of the text as plain UTF-8.
///
/// # Errors
/// When held bytes cannot be converted or have not arrived.
pub fn plain_len(bytes: &dyn Bytes, text: &Text) -> Result<u64, String> {
    match text {
        Text::Inline(text) => Ok(text.len() as u64),
        Text::Held(held) if held.written == Encoding::Plain => Ok(held.at.len),
        Text::Held(held) => bytes.converted_len(held, &Encoding::Plain),
    }
}

/// Output that is a held value in some encoding: a span where it is written so already.
#[must_use]
pub fn written_as(held: &Held, to: Encoding) -> Segment {
    if held.written == to {
        Segment::Span(held.at)
    } else {
        Segment::Convert(Conversion {
            value: held.clone(),
            to,
        })
    }
}

/// A JSON string with its quotes.
#[must_use]
pub fn quoted(text: &str) -> Vec<u8> {
    serde_json::to_vec(text).expect("a string is always JSON")
}

/// A text that lies in a source as a JSON string, quotes included.
#[must_use]
pub fn held_json(source: SourceId, offset: u64, len: u64) -> Text {
    held(source, offset, len, Encoding::JsonString)
}

/// A text that lies in a source as plain UTF-8.
#[must_use]
pub fn held_plain(source: SourceId, offset: u64, len: u64) -> Text {
    held(source, offset, len, Encoding::Plain)
}

fn held(source: SourceId, offset: u64, len: u64, written: Encoding) -> Text {
    Text::Held(Held {
        at: Span {
            source,
            offset,
            len,
        },
        written,
    })
}

/// An output segment for a range of a source.
#[must_use]
pub fn span(source: SourceId, offset: u64, len: u64) -> Segment {
    Segment::Span(Span {
        source,
        offset,
        len,
    })
}
