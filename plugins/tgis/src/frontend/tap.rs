//! Counts tokens in responses that pass through, without taking them apart.

use tollgate_sdk_protocol::{Bytes, inference::Usage, types::SourceId};

use crate::{
    fmaas::number,
    scan::{Cursor, Malformed, Value, Window},
};

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
        let mut window = Window::new(bytes, source);
        let counted = if batch {
            counts_of_batch(&mut window, Cursor::whole(len))
        } else {
            counts(&mut window, Cursor::whole(len))
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

fn counts_of_batch(window: &mut Window<'_>, mut batch: Cursor) -> Result<(u64, u64), Malformed> {
    let mut sums = (0_u64, 0_u64);
    while let Some(field) = batch.next(window)? {
        if field.number == number::RESPONSES {
            let (input, output) = counts(window, field.message()?)?;
            sums = (sums.0.saturating_add(input), sums.1.saturating_add(output));
        }
    }
    Ok(sums)
}

fn counts(window: &mut Window<'_>, mut response: Cursor) -> Result<(u64, u64), Malformed> {
    let (mut input, mut output) = (0, 0);
    while let Some(field) = response.next(window)? {
        match (field.number, field.value) {
            (number::INPUT_TOKEN_COUNT, Value::Varint(count)) => input = count,
            (number::GENERATED_TOKEN_COUNT, Value::Varint(count)) => output = count,
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
