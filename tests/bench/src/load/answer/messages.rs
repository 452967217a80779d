//! Answers of TGIS.

use prost::Message;

use super::{Progress, frame, texts};
use crate::{
    load::fault::Fault,
    proto::{BatchedGenerationResponse, GenerationResponse, MAX_TOKENS},
};

/// The tokens of a whole answer to one prompt.
pub(super) fn whole(data: &[u8]) -> Result<u32, Fault> {
    let odd = |what: &str| Fault::content(format!("{what}: {:?}", String::from_utf8_lossy(data)));
    let message = frame::only(data)?;
    let answer = BatchedGenerationResponse::decode(message).map_err(|_| odd("no answer"))?;
    let [answer] = &answer.responses[..] else {
        return Err(odd("not one response"));
    };
    if answer.stop_reason != MAX_TOKENS {
        return Err(odd("another reason"));
    }
    let tokens = answer.generated_token_count;
    texts::check(&answer.text, tokens, answer.input_token_count)?;
    Ok(tokens)
}

/// Takes one message of a stream.
pub(super) fn piece(stream: &mut Progress, message: &[u8]) -> Result<(), Fault> {
    let message = GenerationResponse::decode(message).map_err(Fault::content)?;
    stream.more(&message.text)?;
    stream.input(message.input_token_count)?;
    if message.stop_reason != 0 {
        let reason = message.stop_reason == MAX_TOKENS;
        stream.ends(reason, message.generated_token_count);
    }
    Ok(())
}
