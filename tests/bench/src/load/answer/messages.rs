//! Answers of TGIS, in gRPC's frames.

use prost::Message;

use super::Progress;
use crate::{
    known::{self, INPUT_TOKENS},
    load::fault::Fault,
    proto::{BatchedGenerationResponse, GenerationResponse, MAX_TOKENS},
};

/// Longest message of a stream.
const LONGEST: usize = 1024 * 1024;

/// Takes more of a stream; whole messages are given on, the rest is kept in the buffer.
pub(super) fn take(
    buffer: &mut Vec<u8>,
    data: &[u8],
    mut message: impl FnMut(&[u8]) -> Result<(), Fault>,
) -> Result<(), Fault> {
    if buffer.is_empty() {
        let used = split(data, &mut message)?;
        buffer.extend_from_slice(&data[used..]);
    } else {
        buffer.extend_from_slice(data);
        let used = split(buffer, &mut message)?;
        buffer.drain(..used);
    }
    if buffer.len() > LONGEST {
        return Err(Fault::content("a message without an end"));
    }
    Ok(())
}

fn split(
    data: &[u8],
    message: &mut impl FnMut(&[u8]) -> Result<(), Fault>,
) -> Result<usize, Fault> {
    let mut rest = data;
    while let Some((body, behind)) = frame(rest)? {
        message(body)?;
        rest = behind;
    }
    Ok(data.len() - rest.len())
}

/// A message, and what stands behind its frame.
type Framed<'a> = (&'a [u8], &'a [u8]);

/// The first frame's message and what stands behind it; none while it is not whole.
fn frame(data: &[u8]) -> Result<Option<Framed<'_>>, Fault> {
    let Some((&[compressed, a, b, c, d], rest)) = data.split_first_chunk::<5>() else {
        return Ok(None);
    };
    if compressed != 0 {
        return Err(Fault::content("a compressed message"));
    }
    let length = u32::from_be_bytes([a, b, c, d]) as usize;
    Ok(rest.split_at_checked(length))
}

/// The tokens of a whole answer to one prompt.
pub(super) fn whole(data: &[u8]) -> Result<u32, Fault> {
    let odd = |what: &str| Fault::content(format!("{what}: {:?}", String::from_utf8_lossy(data)));
    let Some((message, [])) = frame(data)? else {
        return Err(odd("not one message"));
    };
    let answer = BatchedGenerationResponse::decode(message).map_err(|_| odd("no answer"))?;
    let [answer] = &answer.responses[..] else {
        return Err(odd("not one response"));
    };
    let (mut text, tokens) = (known::Follow::default(), answer.generated_token_count);
    if answer.input_token_count != INPUT_TOKENS || answer.stop_reason != MAX_TOKENS {
        return Err(odd("other counts"));
    }
    if !text.take(&answer.text) || !text.is_whole() || text.tokens() != tokens || tokens == 0 {
        return Err(odd("another text"));
    }
    Ok(tokens)
}

/// Takes one message of a stream.
pub(super) fn piece(stream: &mut Progress, message: &[u8]) -> Result<(), Fault> {
    let message = GenerationResponse::decode(message).map_err(Fault::content)?;
    stream.more(&message.text)?;
    if message.stop_reason != 0 {
        stream.reason = message.stop_reason == MAX_TOKENS;
        stream.told = Some(message.generated_token_count);
        stream.done = true;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frames::framed;

    #[test]
    fn messages_are_the_same_at_every_split() {
        let message = |text: &str| {
            framed(&GenerationResponse {
                text: text.to_owned(),
                ..GenerationResponse::default()
            })
        };
        let stream = [message("a"), message(""), message("ccc")].concat();
        for split in 0..=stream.len() {
            for again in split..=stream.len() {
                let (mut buffer, mut seen) = (Vec::new(), Vec::new());
                for part in [&stream[..split], &stream[split..again], &stream[again..]] {
                    take(&mut buffer, part, |message| {
                        seen.push(GenerationResponse::decode(message).unwrap().text);
                        Ok(())
                    })
                    .unwrap();
                }
                assert_eq!(seen, ["a", "", "ccc"], "{split} {again}");
            }
        }
    }
}
