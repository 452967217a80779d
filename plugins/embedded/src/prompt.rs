//! What a model is asked, as tokens.

use tollgate_sdk_worker::inference::{Content, Message, Prompt, Truncation, TruncationSide};
use tollgate_sdk_worker::types::Failure;

use crate::bpe::{BEGIN, Vocabulary, piece_len};
use crate::refusal::{inline, invalid, unsupported};

/// Bytes of text that are made into tokens in one step.
const BYTES_A_STEP: usize = 16 * 1024;

/// A text or list of tokens, on its way to tokens.
pub struct Reading {
    text: String,
    at: usize,
    tokens: Vec<u16>,
}

impl Reading {
    /// `begin`: the mark that begins a text stands before it.
    #[must_use]
    pub fn text(text: String, begin: bool) -> Self {
        Reading {
            text,
            at: 0,
            tokens: if begin { vec![BEGIN] } else { Vec::new() },
        }
    }

    /// Tokens are taken as they are.
    ///
    /// # Errors
    /// When a text is held, or a token is none of this vocabulary's.
    pub fn prompt(prompt: Prompt, vocabulary: &Vocabulary, begin: bool) -> Result<Self, Failure> {
        Ok(match prompt {
            Prompt::Text(text) => Reading::text(inline(text)?, begin),
            Prompt::Tokens(ids) => Reading {
                text: String::new(),
                at: 0,
                tokens: tokens(&ids, vocabulary)?,
            },
        })
    }

    /// Reads on; true when all is read.
    pub fn advance(&mut self, vocabulary: &Vocabulary) -> bool {
        let enough = self.at + BYTES_A_STEP;
        while self.at < self.text.len() && self.at < enough {
            let rest = &self.text[self.at..];
            let piece = &rest[..piece_len(rest)];
            vocabulary.encode_piece(piece, &mut self.tokens);
            self.at += piece.len();
        }
        self.at >= self.text.len()
    }

    /// The text as it was given; empty when tokens were.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.text
    }

    /// The tokens, once all is read.
    #[must_use]
    pub fn into_tokens(self) -> Vec<u16> {
        self.tokens
    }
}

/// Ids from outside.
///
/// # Errors
/// When one is too high.
pub fn tokens(ids: &[u32], vocabulary: &Vocabulary) -> Result<Vec<u16>, Failure> {
    ids.iter()
        .map(|&id| {
            vocabulary.token(id).ok_or_else(|| {
                let size = vocabulary.size();
                invalid(
                    "tokens",
                    format!("there is no token {id}: ids are below {size}"),
                )
            })
        })
        .collect()
}

/// Which side is cut off when the caller does not say.
#[derive(Clone, Copy)]
pub enum Habit {
    /// The end matters: what is to be continued, and counts of it.
    CutLeft,
    /// The beginning matters.
    CutRight,
}

/// The range of `len` tokens that a truncation leaves.
///
/// # Errors
/// When it would leave none.
pub fn kept(
    len: usize,
    truncation: Option<&Truncation>,
    habit: Habit,
) -> Result<std::ops::Range<usize>, Failure> {
    let Some(truncation) = truncation else {
        return Ok(0..len);
    };
    let most = truncation.tokens as usize;
    if most == 0 {
        return Err(invalid(
            "truncate",
            "truncation to 0 tokens leaves nothing to work on",
        ));
    }
    let cut_left = match truncation.side {
        Some(TruncationSide::Left) => true,
        Some(TruncationSide::Right) => false,
        None => matches!(habit, Habit::CutLeft),
    };
    let most = most.min(len);
    Ok(if cut_left { len - most..len } else { 0..most })
}

/// A conversation as one text: a line a message, `role: content`, and then the name of
/// the one whose turn it is. The corpus has dialogues in this form.
///
/// # Errors
/// When there is no message, or one with something other than text.
pub fn chat(messages: Vec<Message>) -> Result<String, Failure> {
    if messages.is_empty() {
        return Err(invalid("messages", "there must be at least one message"));
    }
    let mut text = String::new();
    for message in messages {
        if message.tool_calls.is_some() {
            return Err(unsupported(
                Some("messages"),
                "this model cannot call tools",
            ));
        }
        text.push_str(&message.role);
        text.push(':');
        for content in message.content {
            text.push(' ');
            text.push_str(&match content {
                Content::Text(content) => inline(content)?,
                Content::Part(json) => text_part(&json)?,
            });
        }
        text.push('\n');
    }
    text.push_str("assistant:");
    Ok(text)
}

fn text_part(json: &str) -> Result<String, Failure> {
    #[derive(serde::Deserialize)]
    struct Part {
        #[serde(rename = "type")]
        kind: String,
        text: Option<String>,
    }
    let part: Part = serde_json::from_str(json)
        .map_err(|error| invalid("messages", format!("a content part is malformed: {error}")))?;
    match (part.kind.as_str(), part.text) {
        ("text", Some(text)) => Ok(text),
        ("text", None) => Err(invalid("messages", "a text part has no text")),
        (kind, _) => Err(unsupported(
            Some("messages"),
            format!("this model cannot read `{kind}` parts"),
        )),
    }
}
