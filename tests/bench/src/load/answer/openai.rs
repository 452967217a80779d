//! Answers of the OpenAI API.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{Error, Visitor},
};
use serde_json::Value;

use super::{Progress, texts};
use crate::load::fault::{Fault, Trouble};

#[derive(Deserialize)]
struct Reply<'a> {
    #[serde(borrow, default)]
    choices: Vec<Choice<'a>>,
    #[serde(default)]
    usage: Option<Counts>,
    #[serde(default)]
    error: Option<Told>,
}

/// An error within an answer; its code is a status, or a name, or nothing.
#[derive(Deserialize)]
struct Told {
    #[serde(default)]
    code: Value,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(borrow, default)]
    text: Text<'a>,
    #[serde(borrow, default, alias = "message")]
    delta: Option<Message<'a>>,
    #[serde(borrow, default)]
    finish_reason: Text<'a>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow, default)]
    content: Text<'a>,
}

#[derive(Deserialize)]
struct Counts {
    prompt_tokens: u32,
    completion_tokens: u32,
}

/// A text or null, borrowed where nothing in it was escaped.
#[derive(Default)]
struct Text<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Text<'de>;
            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a text or null")
            }
            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
            fn visit_unit<E: Error>(self) -> Result<Text<'de>, E> {
                Ok(Text::default())
            }
        }
        json.deserialize_any(Read)
    }
}

impl Choice<'_> {
    fn text(&self) -> &str {
        match &self.delta {
            Some(message) => &message.content.0,
            None => &self.text.0,
        }
    }
}

fn parse(json: &[u8]) -> Result<Reply<'_>, Fault> {
    let reply: Reply = serde_json::from_slice(json).map_err(|error| {
        let text = String::from_utf8_lossy(json);
        Fault::content(format!("{error}: {text}"))
    })?;
    if let Some(told) = &reply.error {
        let text = String::from_utf8_lossy(json);
        let code = told.code.as_u64().and_then(|code| u16::try_from(code).ok());
        return Err(match code {
            Some(code) => Fault::new(Trouble::Told(code), text),
            None => Fault::content(text),
        });
    }
    Ok(reply)
}

/// The tokens of a whole completion.
pub(super) fn completion(json: &[u8]) -> Result<u32, Fault> {
    whole(json, false)
}

/// The tokens of a whole chat completion.
pub(super) fn chat(json: &[u8]) -> Result<u32, Fault> {
    whole(json, true)
}

fn whole(json: &[u8], chat: bool) -> Result<u32, Fault> {
    let odd = |what: &str| Fault::content(format!("{what}: {}", String::from_utf8_lossy(json)));
    let reply = parse(json)?;
    let usage = reply.usage.ok_or_else(|| odd("no usage"))?;
    let [choice] = &reply.choices[..] else {
        return Err(odd("not one choice"));
    };
    if choice.finish_reason.0 != "length" || choice.delta.is_some() != chat {
        return Err(odd("another choice"));
    }
    let tokens = usage.completion_tokens;
    texts::check(choice.text(), tokens, usage.prompt_tokens)?;
    Ok(tokens)
}

/// Takes one event of a stream.
pub(super) fn chunk(stream: &mut Progress, event: &[u8]) -> Result<(), Fault> {
    if event == b"[DONE]" {
        stream.done = true;
        return Ok(());
    }
    let reply = parse(event)?;
    for choice in &reply.choices {
        stream.more(choice.text())?;
        stream.reason |= choice.finish_reason.0 == "length";
    }
    if let Some(usage) = reply.usage.filter(|_| reply.choices.is_empty()) {
        stream.input(usage.prompt_tokens)?;
        stream.told = Some(usage.completion_tokens);
    }
    Ok(())
}
