//! Texts: what a whole one must be; and answers of Triton's vLLM backend.

use std::borrow::Cow;

use serde::Deserialize;

use super::Progress;
use crate::{
    known::{self, INPUT_TOKENS},
    load::fault::Fault,
};

const REASON: &str = "length";

/// Checks a whole text and its counts.
pub(super) fn check(said: &str, tokens: u32, input: u32) -> Result<(), Fault> {
    let mut text = known::Follow::default();
    if !text.take(said) || !text.is_whole() || text.tokens() != tokens || tokens == 0 {
        return Err(Fault::content(format!("{tokens} tokens, and {said:?}")));
    }
    if input != INPUT_TOKENS {
        return Err(Fault::content(format!("{input} tokens of the prompt")));
    }
    Ok(())
}

/// An object of `generate`, or an event of `generate_stream`, in which a proxy may leave out what
/// it does not know yet.
#[derive(Deserialize)]
struct Said<'a> {
    #[serde(borrow)]
    text_output: Option<Cow<'a, str>>,
    #[serde(borrow)]
    finish_reason: Option<Cow<'a, str>>,
    num_input_tokens: Option<u32>,
    num_output_tokens: Option<u32>,
}

fn parse(json: &[u8]) -> Result<Said<'_>, Fault> {
    serde_json::from_slice(json).map_err(|error| {
        let text = String::from_utf8_lossy(json);
        Fault::content(format!("{error}: {text}"))
    })
}

/// The tokens of a whole answer.
pub(super) fn whole(json: &[u8]) -> Result<u32, Fault> {
    let said = parse(json)?;
    let odd = |what: &str| Fault::content(format!("{what}: {}", String::from_utf8_lossy(json)));
    let text = said.text_output.ok_or_else(|| odd("no text"))?;
    let tokens = said.num_output_tokens.ok_or_else(|| odd("no count"))?;
    check(&text, tokens, said.num_input_tokens.unwrap_or(0))?;
    if said.finish_reason.as_deref() != Some(REASON) {
        return Err(odd("another reason"));
    }
    Ok(tokens)
}

/// Takes one event of a stream. Counts are those of each event, and are added up.
pub(super) fn event(stream: &mut Progress, json: &[u8]) -> Result<(), Fault> {
    let said = parse(json)?;
    let text = said.text_output.ok_or_else(|| {
        // An error is told so, too.
        Fault::content(format!("no text: {}", String::from_utf8_lossy(json)))
    })?;
    stream.more(&text)?;
    stream.input(said.num_input_tokens.unwrap_or(0))?;
    let told = stream.told.unwrap_or(0) + said.num_output_tokens.unwrap_or(0);
    stream.told = Some(told);
    if let Some(reason) = said.finish_reason
        && reason != "None"
    {
        stream.ends(reason == REASON, told);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stub::answers::{Texts, shape};

    #[test]
    fn what_the_stub_says_is_right_and_what_it_does_not_say_is_wrong() {
        let stub = Texts::new(&shape(9, 1));
        assert_eq!(whole(&stub.whole).unwrap(), 9);
        let text = String::from_utf8(stub.whole.to_vec()).unwrap();
        for (from, to) in [
            ("quick", "Quick"),
            ("length", "stop"),
            ("\"num_input_tokens\":128,", ""),
            ("tokens\":9", "tokens\":8"),
        ] {
            let changed = text.replacen(from, to, 1);
            assert_ne!(text, changed);
            assert!(whole(changed.as_bytes()).is_err(), "{changed}");
        }
        assert!(event(&mut Progress::default(), br#"{"error":"no"}"#).is_err());
    }
}
