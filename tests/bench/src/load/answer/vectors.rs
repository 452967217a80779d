//! Vectors, and what a proxy makes of them: embeddings and ranks of the OpenAI API.

use serde::Deserialize;

use crate::{
    known::{self, INPUT_TOKENS},
    load::{fault::Fault, kind::DOCUMENTS},
};

/// Scores are computed in double precision on both sides, in an order of their own.
const CLOSE: f64 = 1e-9;

#[derive(Deserialize)]
struct Embeddings {
    data: Vec<Embedding>,
    usage: Usage,
}

#[derive(Deserialize)]
struct Embedding {
    index: u32,
    embedding: Vec<f32>,
}

#[derive(Deserialize)]
struct Usage {
    #[serde(default)]
    prompt_tokens: u32,
    total_tokens: u32,
}

#[derive(Deserialize)]
struct Ranks {
    results: Vec<Rank>,
    usage: Usage,
}

#[derive(Deserialize)]
struct Rank {
    index: u32,
    relevance_score: f64,
}

/// Checks the vector of the one text; it has no tokens of an answer.
pub(super) fn check(values: &[f32], input: u32) -> Result<u32, Fault> {
    if values != known::vector(0) {
        return Err(Fault::content(format!("another vector: {values:?}")));
    }
    if input != INPUT_TOKENS {
        return Err(Fault::content(format!("{input} tokens of the text")));
    }
    Ok(0)
}

fn odd(json: &[u8], what: impl std::fmt::Display) -> Fault {
    Fault::content(format!("{what}: {}", String::from_utf8_lossy(json)))
}

/// The vector of one text.
pub(super) fn openai(json: &[u8]) -> Result<u32, Fault> {
    let answer: Embeddings = serde_json::from_slice(json).map_err(|error| odd(json, error))?;
    match &answer.data[..] {
        [one] if one.index == 0 => check(&one.embedding, answer.usage.prompt_tokens),
        _ => Err(odd(json, "not one vector")),
    }
}

/// Documents by how alike their vectors are to that of the query, which is the first of all texts;
/// the best first.
pub(super) fn ranks(json: &[u8]) -> Result<u32, Fault> {
    let answer: Ranks = serde_json::from_slice(json).map_err(|error| odd(json, error))?;
    let mut expected: Vec<(u32, f64)> = (0..DOCUMENTS)
        .map(|document| (document, known::likeness(document + 1)))
        .collect();
    expected.sort_by(|one, other| other.1.total_cmp(&one.1));
    let same = |(rank, (document, score)): (&Rank, &(u32, f64))| {
        rank.index == *document && (rank.relevance_score - score).abs() < CLOSE
    };
    let all = answer.results.len() == expected.len();
    if !all || !answer.results.iter().zip(&expected).all(same) {
        return Err(odd(json, "other ranks"));
    }
    if answer.usage.total_tokens != (DOCUMENTS + 1) * INPUT_TOKENS {
        return Err(odd(json, "another count"));
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::stub::answers::{Openai, shape};

    #[test]
    fn the_stubs_vector_is_known_and_no_other() {
        let stub = Openai::new(&shape(1, 1));
        openai(&stub.embeddings(1, false)).unwrap();
        assert!(openai(&stub.embeddings(2, false)).is_err());
        let text = String::from_utf8(stub.embeddings(1, false).to_vec()).unwrap();
        assert!(openai(text.replace("-0.75", "0.75").as_bytes()).is_err());
    }

    #[test]
    fn ranks_are_those_of_the_stubs_vectors() {
        let answer = |order: [u32; 4]| {
            let results = order.map(|document| {
                json!({"index": document, "relevance_score": known::likeness(document + 1)})
            });
            json!({"results": results, "usage": {"total_tokens": 5 * INPUT_TOKENS}}).to_string()
        };
        // The further turned, the less alike.
        ranks(answer([0, 1, 2, 3]).as_bytes()).unwrap();
        assert!(ranks(answer([1, 0, 2, 3]).as_bytes()).is_err());
        let changed = answer([0, 1, 2, 3]).replace("640", "641");
        assert!(ranks(changed.as_bytes()).is_err());
    }
}
