//! Results in the runtime's own words, however they travel: both surfaces are written
//! from them and read into them, and they stand between them and the neutral events.

use tollgate_sdk_protocol::classify::Entity;

use crate::proto::{FinishReason, ProducerId};

/// A whole result.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// `GeneratedTextResult`.
    Text(Generated),
    /// `EmbeddingResult`, `EmbeddingResults`.
    Vectors(Vec<Vec<f32>>, Origin),
    /// `SentenceSimilarityResult`, `SentenceSimilarityResults`: scores in the order of
    /// the sentences, for each source.
    Scores(Vec<Vec<f64>>, Origin),
    /// `RerankResult`, `RerankResults`: one ranking for each query.
    Rankings(Vec<Ranking>, Origin),
    /// `TokenizationResults`.
    Tokens(Tokens),
    /// `ClassificationResults`: names and scores.
    Classes(Vec<(String, f64)>),
    /// `TokenClassificationResults`.
    Entities(Vec<Entity>),
}

/// What results of vectors and scores have in common.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Origin {
    /// Who made it.
    pub producer: Option<ProducerId>,
    /// Tokens of all inputs.
    pub input_tokens: Option<i64>,
}

/// Generated text: all of it, or as much as is new.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Generated {
    /// The text.
    pub text: String,
    /// Tokens so far.
    pub count: i64,
    /// `NOT_FINISHED` within a stream.
    pub reason: FinishReason,
    /// Who made it.
    pub producer: Option<ProducerId>,
    /// Tokens of the input.
    pub input_count: Option<i64>,
    /// The seed.
    pub seed: Option<u64>,
    /// Tokens of the output.
    pub tokens: Vec<Piece>,
    /// Tokens of the input.
    pub input_tokens: Vec<Piece>,
}

/// A generated token.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Piece {
    /// Its text.
    pub text: String,
    /// Its log probability, where it is known.
    pub logprob: Option<f64>,
    /// Its rank, where it is known.
    pub rank: Option<i64>,
}

/// Documents, best first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ranking {
    /// What was looked for, where it is given back.
    pub query: Option<String>,
    /// The documents that were kept.
    pub scores: Vec<Scored>,
}

/// A document's place.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scored {
    /// The document as JSON, where it is given back.
    pub document: Option<String>,
    /// Its position in the request.
    pub index: i64,
    /// How well it fits.
    pub score: f64,
    /// Its text, where it is given back.
    pub text: Option<String>,
}

/// The tokens of a text.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tokens {
    /// Each token: its place in characters, and its text. None: only counted.
    pub results: Option<Vec<(i64, i64, String)>>,
    /// How many there are.
    pub count: i64,
}
