//! Counts tokens in responses that pass through, without taking them apart.

use tollgate_sdk_protocol::{
    Bytes,
    fields::{Reader, Stop},
    inference::Usage,
    types::SourceId,
};

use super::WINDOW;
use crate::fmaas::number;

/// Counts of one passed call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tap {
    input: Option<u64>,
    output: Option<u64>,
}

impl Tap {
    /// Reads a message that has arrived whole. `batch`: it holds responses, and is none.
    ///
    /// What cannot be read is the worker's and the client's affair: nothing is counted.
    pub fn read(&mut self, bytes: &dyn Bytes, source: SourceId, len: u64, batch: bool) {
        let mut reader = Reader::whole(bytes, source, len).window(WINDOW);
        let counted = if batch {
            counts_of_batch(&mut reader, len)
        } else {
            counts(&mut reader, 0, len)
        };
        let Ok((input, output)) = counted else { return };
        // Only a stream's first message tells the input; output counts are totals so far.
        self.input = Some(self.input.unwrap_or(0).max(input));
        self.output = Some(self.output.unwrap_or(0).max(output));
    }

    /// What was counted, if anything was.
    pub fn usage(self) -> Option<Usage> {
        (self != Self::default()).then(|| Usage {
            input_tokens: self.input,
            output_tokens: self.output,
            cached_tokens: None,
            extensions: Vec::new(),
        })
    }
}

fn counts_of_batch(reader: &mut Reader<'_>, len: u64) -> Result<(u64, u64), Stop> {
    let mut sums = (0_u64, 0_u64);
    let mut at = 0;
    while at < len {
        let field = reader.field(at, len)?;
        at = field.end;
        if field.number == number::RESPONSES {
            if !field.delimited {
                return Err(Stop::Malformed);
            }
            let (input, output) = counts(reader, field.value, field.end)?;
            sums = (sums.0.saturating_add(input), sums.1.saturating_add(output));
        }
    }
    Ok(sums)
}

fn counts(reader: &mut Reader<'_>, mut at: u64, end: u64) -> Result<(u64, u64), Stop> {
    let (mut input, mut output) = (0, 0);
    while at < end {
        let field = reader.field(at, end)?;
        at = field.end;
        match field.number {
            number::INPUT_TOKEN_COUNT => input = field.varint,
            number::GENERATED_TOKEN_COUNT => output = field.varint,
            _ => {}
        }
    }
    Ok((input, output))
}

#[cfg(test)]
mod tests {
    use prost::Message;
    use tollgate_sdk_protocol::testing::Memory;

    use super::*;
    use crate::fmaas::{BatchedGenerationResponse, GenerationResponse};

    fn response(input: u32, output: u32) -> GenerationResponse {
        GenerationResponse {
            input_token_count: input,
            generated_token_count: output,
            text: "x".repeat(9000),
            ..Default::default()
        }
    }

    fn counted(messages: &[Vec<u8>], batch: bool) -> Option<(Option<u64>, Option<u64>)> {
        let mut tap = Tap::default();
        for message in messages {
            let memory = Memory::default().with(7, message.clone());
            tap.read(&memory, 7, message.len() as u64, batch);
        }
        tap.usage()
            .map(|usage| (usage.input_tokens, usage.output_tokens))
    }

    #[test]
    fn a_batch_is_summed() {
        let batch = BatchedGenerationResponse {
            responses: vec![response(3, 5), response(4, 6)],
        };
        assert_eq!(
            counted(&[batch.encode_to_vec()], true),
            Some((Some(7), Some(11)))
        );
    }

    #[test]
    fn a_stream_tells_the_input_first_and_the_output_last() {
        let stream = [response(9, 0), response(0, 2), response(0, 5)];
        let messages: Vec<_> = stream.iter().map(Message::encode_to_vec).collect();
        assert_eq!(counted(&messages, false), Some((Some(9), Some(5))));
    }

    #[test]
    fn nonsense_counts_nothing() {
        assert_eq!(counted(&[vec![0xff, 0xff]], true), None);
    }
}
