//! Embeddings from a worker's answer, divided among the members of an attempt.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Deserialize;
use serde_json::value::RawValue;
use tollgate_sdk_protocol::{
    backend::MemberEvent,
    failure,
    inference::{Call, Embedding, Event, Vector},
    types::Failure,
};

use super::{
    batch, reply,
    stream::items_of,
    unary::{parse, short},
};

/// The response.
#[derive(Deserialize)]
pub struct Embeddings<'a> {
    #[serde(borrow)]
    data: Vec<Data<'a>>,
    #[serde(default)]
    usage: Option<reply::Counts>,
}

#[derive(Deserialize)]
struct Data<'a> {
    #[serde(default)]
    index: u32,
    #[serde(borrow)]
    embedding: &'a RawValue,
}

/// Each member's vectors, and its share of the tokens.
///
/// # Errors
/// When one is missing, or is no vector.
pub fn events(members: &[Call], mut reply: Embeddings) -> Result<Vec<MemberEvent>, Failure> {
    let expected: usize = members.iter().map(items_of).sum();
    reply.data.sort_by_key(|data| data.index);
    let in_order = reply
        .data
        .iter()
        .enumerate()
        .all(|(at, data)| data.index as usize == at);
    if reply.data.len() != expected || !in_order {
        return Err(short());
    }
    let total = reply.usage.and_then(|usage| usage.prompt_tokens);
    let shares = batch::shares(members, total.map(u64::from));
    let mut out = Vec::new();
    let mut data = reply.data.into_iter();
    for (at, (call, share)) in members.iter().zip(shares).enumerate() {
        let vectors = data
            .by_ref()
            .take(items_of(call))
            .enumerate()
            .map(|(item, data)| {
                let values = Vector::Floats(floats(data.embedding.get())?);
                Ok(Embedding {
                    item: item as u32,
                    values,
                })
            })
            .collect::<Result<Vec<_>, Failure>>()?;
        let events = [Event::Embeddings(vectors)]
            .into_iter()
            .chain(share.map(Event::Usage))
            .chain([Event::End]);
        out.extend(events.map(|event| MemberEvent {
            member: at as u32,
            event,
        }));
    }
    Ok(out)
}

/// A vector: a list of numbers, or base64 of little-endian floats.
fn floats(json: &str) -> Result<Vec<f32>, Failure> {
    if json.starts_with('[') {
        return parse(json.as_bytes());
    }
    let odd = || failure::upstream_invalid("The worker's embedding is no list and no base64.");
    let text: String = serde_json::from_str(json).map_err(|_| odd())?;
    let raw = STANDARD.decode(text).map_err(|_| odd())?;
    if raw.len() % 4 != 0 {
        return Err(odd());
    }
    let four = |bytes: &[u8]| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    Ok(raw.chunks_exact(4).map(four).collect())
}
