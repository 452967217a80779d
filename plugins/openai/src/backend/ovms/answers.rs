//! Answers that are not vLLM's: tokens alone, texts with their stop sequence, failures that are no
//! event.

use serde::Deserialize;
use serde_json::Value;
use tollgate_sdk_protocol::{inference::Settings, types::Failure};

use super::super::{
    reply::{self, Choice},
    stops::Cutter,
    unary::{self, Tokens},
};

/// Ids of tokens, and nothing else: `{"tokens": [1, 2]}`.
///
/// # Errors
/// When the answer is another one.
pub fn tokens(body: &[u8]) -> Result<Tokens, Failure> {
    #[derive(Deserialize)]
    struct Ids {
        tokens: Vec<u32>,
    }
    let Ids { tokens } = unary::parse(body)?;
    Ok(Tokens {
        count: u32::try_from(tokens.len()).map_err(|_| unary::short())?,
        tokens,
        token_strs: None,
    })
}

/// Cuts the text of a whole answer at the stop sequence that ended it, and tells which one. Where the
/// prompt stands before it, which may have some of its own, the server cuts.
pub fn cut(choice: &mut Choice<'_>, settings: &Settings) {
    if settings.detail.echo {
        return;
    }
    let Some(mut cutter) = Cutter::new(&settings.stopping) else {
        return;
    };
    let text = match (&mut choice.text, &mut choice.delta) {
        (Some(text), _) => text,
        (None, Some(message)) => match &mut message.content {
            Some(text) => text,
            None => return,
        },
        (None, None) => return,
    };
    let mut told = cutter.push(text);
    told.push_str(&cutter.rest());
    *text = told;
    choice.stop_reason = cutter.matched().map(Value::from);
}

/// A failure after the head of a stream: plain JSON, and no event (`src/http_rest_api_handler.cpp`,
/// `PartialReplyWithStatus`). Readers of events overlook it.
#[derive(Default)]
pub struct Bare {
    held: Vec<u8>,
}

impl Bare {
    /// Longest failure that is read.
    const MOST: usize = 16 * 1024;

    /// Takes the next piece of the stream, with how many bytes stand after the last event; gives the
    /// failure that they are.
    pub fn read(&mut self, piece: &[u8], after: u64) -> Option<Failure> {
        let after = usize::try_from(after).unwrap_or(usize::MAX);
        if after <= piece.len() {
            self.held.clear();
            self.held.extend_from_slice(&piece[piece.len() - after..]);
        } else {
            self.held.extend_from_slice(piece);
        }
        self.held.truncate(Self::MOST);
        let held = self.held.trim_ascii_start();
        if !held.starts_with(b"{") {
            return None;
        }
        // What may follow it is no event either.
        let mut values = serde_json::Deserializer::from_slice(held).into_iter::<Value>();
        let value = values.next()?.ok()?;
        value["error"]
            .is_string()
            .then(|| reply::failure_of_event(&value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_that_is_no_event_is_found_however_it_comes() {
        let text = b"data: {\"choices\":[]}\n\n{\"error\": \"it broke\"}";
        for at in 0..text.len() {
            let mut reader = tollgate_sdk_protocol::sse::Reader::new(1024);
            let (mut bare, mut found, mut position) = (Bare::default(), None, 0);
            for piece in [&text[..at], &text[at..]] {
                reader.push(piece).unwrap();
                position += piece.len() as u64;
                found = found.or(bare.read(piece, position - reader.given_out()));
            }
            assert_eq!(found.expect("a failure").message, "it broke", "{at}");
        }
    }

    #[test]
    fn what_is_an_event_or_too_long_is_no_failure() {
        let mut bare = Bare::default();
        assert!(bare.read(b"data: {\"error\":\"x\"}", 20).is_none());
        let long = format!("{{\"error\":\"{}", "x".repeat(Bare::MOST));
        assert!(bare.read(long.as_bytes(), long.len() as u64).is_none());
        assert!(bare.read(b"\"}", long.len() as u64 + 2).is_none());
        assert!(bare.held.len() <= Bare::MOST);
    }
}
