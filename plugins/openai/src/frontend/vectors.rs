//! Embeddings: the response's body, as numbers or as base64 of little-endian floats.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value;
use tollgate_sdk_protocol::{
    failure,
    inference::{Embedding, Vector},
    text,
    types::{Datatype, Encoding, Failure, Segment},
};

use super::request::Form;
use crate::options::Clients;

/// Puts the embeddings in order; true when there is one for every input.
pub fn are_complete(embeddings: &mut [Embedding], inputs: usize) -> bool {
    embeddings.sort_by_key(|embedding| embedding.item);
    embeddings.len() == inputs
        && embeddings
            .iter()
            .enumerate()
            .all(|(at, embedding)| embedding.item as usize == at)
}

/// The body.
///
/// # Errors
/// When a vector has a value that JSON cannot carry.
pub fn body(
    form: &Form,
    embeddings: Vec<Embedding>,
    usage: &Value,
) -> Result<Vec<Segment>, Failure> {
    let mut out = Out::default();
    match form.clients {
        Clients::New | Clients::Old => out.text.push_str(&format!(
            "{{\"id\":{},\"object\":\"list\",\"created\":{},\"model\":{},\"data\":[",
            Value::String(format!("embd-{}", form.id)),
            form.created,
            Value::String(form.model.clone()),
        )),
        Clients::Ovms => out.text.push_str("{\"object\":\"list\",\"data\":["),
    }
    for (at, embedding) in embeddings.into_iter().enumerate() {
        if at > 0 {
            out.text.push(',');
        }
        out.text.push_str(&format!(
            "{{\"index\":{at},\"object\":\"embedding\",\"embedding\":"
        ));
        out.vector(embedding.values, form.base64)?;
        out.text.push('}');
    }
    out.text.push_str(&format!("],\"usage\":{usage}}}"));
    out.flush();
    Ok(out.segments)
}

#[derive(Default)]
struct Out {
    segments: Vec<Segment>,
    text: String,
}

impl Out {
    fn flush(&mut self) {
        if !self.text.is_empty() {
            self.segments
                .push(Segment::Inline(std::mem::take(&mut self.text).into_bytes()));
        }
    }

    fn vector(&mut self, values: Vector, base64: bool) -> Result<(), Failure> {
        match values {
            Vector::Floats(values) if base64 => {
                let raw: Vec<u8> = values
                    .iter()
                    .flat_map(|value| value.to_le_bytes())
                    .collect();
                self.text.push('"');
                STANDARD.encode_string(raw, &mut self.text);
                self.text.push('"');
            }
            Vector::Floats(values) => {
                if values.iter().any(|value| !value.is_finite()) {
                    return Err(failure::upstream_invalid(
                        "The embedding has a value that JSON cannot carry: ask for base64.",
                    ));
                }
                self.text
                    .push_str(&serde_json::to_string(&values).expect("finite floats"));
            }
            Vector::Held(held) => {
                let quote = if base64 { "\"" } else { "" };
                let to = if base64 {
                    Encoding::Base64
                } else {
                    Encoding::JsonArray(Datatype::Fp32)
                };
                self.text.push_str(quote);
                self.flush();
                self.segments.push(text::written_as(&held, to));
                self.text.push_str(quote);
            }
        }
        Ok(())
    }
}
