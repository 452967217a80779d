//! Messages in gRPC's frames, as their bytes come.

use crate::load::fault::Fault;

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
    while let Some((body, behind)) = first(rest)? {
        message(body)?;
        rest = behind;
    }
    Ok(data.len() - rest.len())
}

/// A message, and what stands behind its frame.
type Framed<'a> = (&'a [u8], &'a [u8]);

/// The first frame's message and what stands behind it; none while it is not whole.
fn first(data: &[u8]) -> Result<Option<Framed<'_>>, Fault> {
    let Some((&[compressed, a, b, c, d], rest)) = data.split_first_chunk::<5>() else {
        return Ok(None);
    };
    if compressed != 0 {
        return Err(Fault::content("a compressed message"));
    }
    let length = u32::from_be_bytes([a, b, c, d]) as usize;
    Ok(rest.split_at_checked(length))
}

/// The one message of a whole answer.
pub(super) fn only(data: &[u8]) -> Result<&[u8], Fault> {
    match first(data)? {
        Some((message, [])) => Ok(message),
        _ => Err(Fault::content(format!(
            "not one message: {:?}",
            String::from_utf8_lossy(data)
        ))),
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;
    use crate::{frames::framed, proto::GenerationResponse};

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
