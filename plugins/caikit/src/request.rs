//! A request in the runtime's own words, however it travels: both surfaces are read into
//! it and written from it, and it stands between them and the neutral calls.

use tollgate_sdk_protocol::types::Text;

use crate::{endpoint::Endpoint, proto::TextGenerationTaskRequest};

/// What generation is to do: the fields of both generation requests, which have the same
/// names and numbers. Its `text` stays empty: the text is apart.
pub type Parameters = TextGenerationTaskRequest;

/// One request.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// Generation, at once or piece by piece.
    Generate {
        /// The prompt.
        text: Text,
        /// As the client wrote them.
        parameters: Box<Parameters>,
    },
    /// One text or several.
    Embed {
        /// The texts.
        texts: Vec<Text>,
        /// `truncate_input_tokens`.
        truncate: Option<i64>,
    },
    /// One source sentence or several.
    Similarity {
        /// What is compared.
        sources: Vec<Text>,
        /// To what.
        sentences: Vec<Text>,
        /// `truncate_input_tokens`.
        truncate: Option<i64>,
    },
    /// One query or several.
    Rerank(Rerank),
    /// One text.
    Tokenize(Text),
    /// One text, in this plugin's hands.
    Classify(String),
    /// One text, in this plugin's hands.
    ClassifyTokens {
        /// The text.
        text: String,
        /// What is less likely is left out.
        threshold: Option<f64>,
    },
}

/// Documents to be ranked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rerank {
    /// What is looked for.
    pub queries: Vec<Text>,
    /// Objects, as JSON.
    pub documents: Vec<String>,
    /// None, or below 1: all.
    pub top_n: Option<i64>,
    /// `truncate_input_tokens`.
    pub truncate: Option<i64>,
    /// The documents stand in the answer.
    pub return_documents: Option<bool>,
    /// The queries do.
    pub return_queries: Option<bool>,
    /// The documents' texts do.
    pub return_text: Option<bool>,
}

impl Request {
    /// The endpoint that takes it. A single input goes to the singular one.
    pub fn endpoint(&self, streaming: bool) -> Endpoint {
        match self {
            Self::Generate { .. } if streaming => Endpoint::GenerateStream,
            Self::Generate { .. } => Endpoint::Generate,
            Self::Embed { texts, .. } if texts.len() == 1 => Endpoint::Embed,
            Self::Embed { .. } => Endpoint::Embeds,
            Self::Similarity { sources, .. } if sources.len() == 1 => Endpoint::Similarity,
            Self::Similarity { .. } => Endpoint::Similarities,
            Self::Rerank(rerank) if rerank.queries.len() == 1 => Endpoint::Rerank,
            Self::Rerank(_) => Endpoint::Reranks,
            Self::Tokenize(_) => Endpoint::Tokenize,
            Self::Classify(_) => Endpoint::Classify,
            Self::ClassifyTokens { .. } => Endpoint::ClassifyTokens,
        }
    }
}

/// Member of a document that holds its text: the first that is a string with something
/// in it.
pub fn document_text(document: &serde_json::Map<String, serde_json::Value>) -> Option<&str> {
    ["text", "_text"]
        .iter()
        .filter_map(|name| document.get(*name)?.as_str())
        .find(|text| !text.is_empty())
}
