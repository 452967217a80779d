//! What can be asked of a caikit runtime, and under which names: REST paths and gRPC
//! methods follow from the names of tasks.

use tollgate_sdk_protocol::{classify, inference::TaskKind};

use crate::proto::{INFO_SERVICE, NLP_SERVICE};

/// One of the library's tasks. Those in the plural do the same for several inputs at
/// once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// A text that goes on.
    Generate,
    /// The same, piece by piece.
    GenerateStream,
    /// One text's vector.
    Embed,
    /// The vectors of several texts.
    Embeds,
    /// How alike a sentence is to others.
    Similarity,
    /// How alike several sentences are to others.
    Similarities,
    /// Documents in the order in which they fit a query.
    Rerank,
    /// The same for several queries.
    Reranks,
    /// The tokens of a text.
    Tokenize,
    /// What a text is.
    Classify,
    /// What parts of a text are.
    ClassifyTokens,
}

impl Endpoint {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Generate,
        Self::GenerateStream,
        Self::Embed,
        Self::Embeds,
        Self::Similarity,
        Self::Similarities,
        Self::Rerank,
        Self::Reranks,
        Self::Tokenize,
        Self::Classify,
        Self::ClassifyTokens,
    ];

    /// Path over REST.
    pub fn path(self) -> &'static str {
        match self {
            Self::Generate => "/api/v1/task/text-generation",
            Self::GenerateStream => "/api/v1/task/server-streaming-text-generation",
            Self::Embed => "/api/v1/task/embedding",
            Self::Embeds => "/api/v1/task/embedding-tasks",
            Self::Similarity => "/api/v1/task/sentence-similarity",
            Self::Similarities => "/api/v1/task/sentence-similarity-tasks",
            Self::Rerank => "/api/v1/task/rerank",
            Self::Reranks => "/api/v1/task/rerank-tasks",
            Self::Tokenize => "/api/v1/task/tokenization",
            Self::Classify => "/api/v1/task/text-classification",
            Self::ClassifyTokens => "/api/v1/task/token-classification",
        }
    }

    /// Method of the library's service.
    pub fn method(self) -> &'static str {
        match self {
            Self::Generate => "TextGenerationTaskPredict",
            Self::GenerateStream => "ServerStreamingTextGenerationTaskPredict",
            Self::Embed => "EmbeddingTaskPredict",
            Self::Embeds => "EmbeddingTasksPredict",
            Self::Similarity => "SentenceSimilarityTaskPredict",
            Self::Similarities => "SentenceSimilarityTasksPredict",
            Self::Rerank => "RerankTaskPredict",
            Self::Reranks => "RerankTasksPredict",
            Self::Tokenize => "TokenizationTaskPredict",
            Self::Classify => "TextClassificationTaskPredict",
            Self::ClassifyTokens => "TokenClassificationTaskPredict",
        }
    }

    /// `package.Service/Method`.
    pub fn rpc(self) -> String {
        format!("{NLP_SERVICE}/{}", self.method())
    }

    /// What it is in neutral words.
    pub fn task(self) -> TaskKind {
        match self {
            Self::Generate | Self::GenerateStream => TaskKind::Generate,
            Self::Embed | Self::Embeds => TaskKind::Embed,
            Self::Similarity | Self::Similarities => TaskKind::Similarity,
            Self::Rerank | Self::Reranks => TaskKind::Rerank,
            Self::Tokenize => TaskKind::Tokenize,
            Self::Classify => classify::texts_kind(),
            Self::ClassifyTokens => classify::tokens_kind(),
        }
    }

    /// The answer comes piece by piece.
    pub fn streams(self) -> bool {
        self == Self::GenerateStream
    }
}

/// What a runtime tells of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Info {
    /// Its models.
    Models,
    /// Its version.
    Version,
    /// Whether it is there. REST only: over gRPC the standard service says so.
    Health,
}

impl Info {
    /// What it is in neutral words.
    pub fn task(self) -> TaskKind {
        match self {
            Self::Models => TaskKind::ListModels,
            Self::Version => TaskKind::ServerMetadata,
            Self::Health => TaskKind::ServerReady,
        }
    }

    /// `package.Service/Method` of what has one.
    pub fn rpc(self) -> String {
        let method = match self {
            Self::Models => "GetModelsInfo",
            Self::Version => "GetRuntimeInfo",
            Self::Health => return "grpc.health.v1.Health/Check".to_owned(),
        };
        format!("{INFO_SERVICE}/{method}")
    }

    /// Path over REST.
    pub fn path(self) -> &'static str {
        match self {
            Self::Models => "/info/models",
            Self::Version => "/info/version",
            Self::Health => "/health",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rule of the runtime: the method's name in kebab case, less a trailing
    /// `Predict` and then a trailing `Task`.
    #[test]
    fn paths_follow_from_methods() {
        for endpoint in Endpoint::ALL {
            let name = endpoint.method().strip_suffix("Predict").unwrap();
            let name = name.strip_suffix("Task").unwrap_or(name);
            let mut kebab = String::new();
            for letter in name.chars() {
                if letter.is_uppercase() && !kebab.is_empty() {
                    kebab.push('-');
                }
                kebab.push(letter.to_ascii_lowercase());
            }
            assert_eq!(endpoint.path(), format!("/api/v1/task/{kebab}"));
        }
    }
}
