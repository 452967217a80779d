//! Outputs of what a worker of another protocol answers.
//!
//! * A text that is wanted whole is one response, when the worker has ended.
//! * One that is wanted in pieces is a response for each; why it ended and the counts of tokens,
//!   where they are asked for, come with a last one, which has no more text.
//! * Vectors are one response, when all have come.

use tollgate_sdk_protocol::{
    Bytes, failure,
    inference::{Embedding, Event, Task, Tensor, TensorData, Tensors},
    types::{Datatype, Failure, FailureKind},
    vectors,
};

use super::{asked::Asked, inputs};
use crate::{codec::contents, frontend::generate::reason};

/// The output that says why a text ended.
pub const REASON: &str = "finish_reason";
/// The output with the count of the prompt's tokens.
pub const INPUT: &str = "num_input_tokens";
/// The output with the count of the text's tokens.
pub const OUTPUT: &str = "num_output_tokens";
/// Outputs beside texts, as Triton's vLLM backend has them.
pub const BESIDE: [&str; 3] = [REASON, INPUT, OUTPUT];

/// Longest answer of vectors, in bytes.
const VECTORS: usize = 16 << 20;

/// An answer in the making.
pub struct Telling {
    asked: Asked,
    /// The model, as the client calls it.
    model: String,
    texts: Vec<String>,
    reasons: Vec<Option<String>>,
    vectors: Vec<Option<Vec<f32>>>,
    held: usize,
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    begun: bool,
}

impl Telling {
    pub fn new(asked: &Asked, model: &str) -> Self {
        let generates = matches!(asked.task, Task::Generate(_));
        let texts = if generates { asked.items } else { 0 };
        let vectors = if generates { 0 } else { inputs(&asked.task) };
        Self {
            texts: vec![String::new(); texts],
            reasons: vec![None; texts],
            vectors: vec![None; vectors],
            held: 0,
            input_tokens: None,
            output_tokens: None,
            begun: false,
            asked: asked.clone(),
            model: model.to_owned(),
        }
    }

    /// Takes what the worker says, all but a failure; gives what can be told by it.
    ///
    /// # Errors
    /// It is nothing that was asked for.
    pub fn event(&mut self, bytes: &dyn Bytes, event: Event) -> Result<Option<Tensors>, Failure> {
        match event {
            Event::Started(started) => {
                self.count(started.input_tokens, None);
                let echo = started.echo;
                echo.map_or(Ok(None), |echo| self.text(started.item, echo))
            }
            Event::Delta(delta) => {
                self.count(None, delta.output_tokens);
                self.text(delta.item, delta.text)
            }
            Event::Finished(finished) => {
                self.count(finished.input_tokens, finished.output_tokens);
                let place = self.reasons.get_mut(finished.item as usize);
                *place.ok_or_else(unasked)? = Some(reason(finished.reason));
                Ok(None)
            }
            Event::Embeddings(embeddings) => {
                for embedding in embeddings {
                    self.vector(bytes, embedding)?;
                }
                Ok(None)
            }
            Event::Usage(usage) => {
                self.input_tokens = usage.input_tokens.or(self.input_tokens);
                self.output_tokens = usage.output_tokens.or(self.output_tokens);
                Ok(None)
            }
            Event::End => self.end(),
            _ => Ok(None),
        }
    }

    /// Counts of one item; of several the worker's usage is the sum.
    fn count(&mut self, input: Option<u32>, output: Option<u32>) {
        if self.asked.items == 1 {
            self.input_tokens = input.map(u64::from).or(self.input_tokens);
            self.output_tokens = output.map(u64::from).or(self.output_tokens);
        }
    }

    fn text(&mut self, item: u32, text: String) -> Result<Option<Tensors>, Failure> {
        let place = self.texts.get_mut(item as usize).ok_or_else(unasked)?;
        if !self.asked.streaming {
            place.push_str(&text);
            return Ok(None);
        }
        if text.is_empty() || !self.asked.texts {
            return Ok(None);
        }
        self.begun = true;
        let outputs = vec![self.bytes(&self.asked.output, &[text])?];
        Ok(Some(self.response(outputs, false)))
    }

    fn vector(&mut self, bytes: &dyn Bytes, embedding: Embedding) -> Result<(), Failure> {
        let vector = vectors::floats(bytes, embedding.values)?;
        self.held = self.held.saturating_add(vector.len() * 4);
        if self.held > VECTORS {
            let message = "the vectors are too long for one answer";
            return Err(failure::of(FailureKind::PayloadTooLarge, message));
        }
        match self.vectors.get_mut(embedding.item as usize) {
            Some(place @ None) => {
                *place = Some(vector);
                Ok(())
            }
            _ => Err(unasked()),
        }
    }

    fn end(&mut self) -> Result<Option<Tensors>, Failure> {
        if let Task::Embed(_) = self.asked.task {
            return self.all_vectors().map(Some);
        }
        if self.reasons.iter().any(Option::is_none) {
            return Err(failure::upstream_invalid(
                "the worker ended its answer without a reason",
            ));
        }
        let texts = std::mem::take(&mut self.texts);
        let mut outputs = Vec::new();
        if self.asked.texts {
            outputs.push(self.bytes(&self.asked.output, &texts)?);
        }
        for name in &self.asked.beside {
            let count = match *name {
                REASON => {
                    let reasons: Vec<&str> =
                        self.reasons.iter().flatten().map(|it| &**it).collect();
                    outputs.push(self.bytes(name, &reasons)?);
                    continue;
                }
                INPUT => self.input_tokens,
                _ => self.output_tokens,
            };
            // What the worker does not tell is left out, not guessed.
            let count = count.and_then(|count| u32::try_from(count).ok());
            outputs.extend(count.map(|count| Tensor {
                name: (*name).to_owned(),
                datatype: Datatype::Uint32,
                shape: self.shape(1),
                data: TensorData::Inline(count.to_le_bytes().to_vec()),
                parameters: Vec::new(),
            }));
        }
        // Of a stream it is the last piece; where there is nothing more to tell there is none,
        // unless it would be the only one.
        if self.asked.streaming && self.asked.beside.is_empty() && self.begun {
            return Ok(None);
        }
        Ok(Some(self.response(outputs, true)))
    }

    fn all_vectors(&mut self) -> Result<Tensors, Failure> {
        let rows = std::mem::take(&mut self.vectors);
        let rows: Option<Vec<Vec<f32>>> = rows.into_iter().collect();
        let rows = rows
            .ok_or_else(|| failure::upstream_invalid("the worker left a text without a vector"))?;
        let length = rows.first().map_or(0, Vec::len);
        if rows.iter().any(|row| row.len() != length) {
            return Err(failure::upstream_invalid(
                "the worker's vectors differ in length",
            ));
        }
        let numbers = rows.iter().flatten().flat_map(|it| it.to_le_bytes());
        let tensor = Tensor {
            name: self.asked.output.clone(),
            datatype: Datatype::Fp32,
            shape: vec![rows.len() as i64, length as i64],
            data: TensorData::Inline(numbers.collect()),
            parameters: Vec::new(),
        };
        Ok(self.response(vec![tensor], true))
    }

    fn bytes<T: AsRef<[u8]>>(&self, name: &str, texts: &[T]) -> Result<Tensor, Failure> {
        let packed = contents::pack_bytes(texts);
        let packed = packed.ok_or_else(|| failure::upstream_invalid("a text is too long"))?;
        Ok(Tensor {
            name: name.to_owned(),
            datatype: Datatype::Bytes,
            shape: self.shape(texts.len()),
            data: TensorData::Inline(packed),
            parameters: Vec::new(),
        })
    }

    fn shape(&self, count: usize) -> Vec<i64> {
        match self.asked.batch {
            true => vec![count as i64, 1],
            false => vec![count as i64],
        }
    }

    fn response(&self, outputs: Vec<Tensor>, last: bool) -> Tensors {
        Tensors {
            model: self.model.clone(),
            version: Some("1".to_owned()),
            id: self.asked.id.clone(),
            outputs,
            parameters: Vec::new(),
            last,
        }
    }
}

fn unasked() -> Failure {
    failure::upstream_invalid("the worker answered what it was not asked")
}
