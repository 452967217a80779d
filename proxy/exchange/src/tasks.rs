//! Names of tasks, as permissions, metrics and the catalogue use them.

use tollgate_plugin::inference::{Task, TaskKind};

/// Whether the house never answers it by itself: it waits for a worker, or is refused.
pub(crate) fn is_queued(kind: &TaskKind) -> bool {
    !matches!(
        kind,
        TaskKind::ListModels
            | TaskKind::ModelMetadata
            | TaskKind::ModelReady
            | TaskKind::ServerLive
            | TaskKind::ServerReady
            | TaskKind::ServerMetadata
            | TaskKind::Other(_)
    )
}

macro_rules! tasks {
    ($($name:literal => $kind:ident, $task:pat => ;)*) => {
        /// A kind's name.
        #[must_use]
        pub fn name(kind: &TaskKind) -> &str {
            match kind {
                $(TaskKind::$kind => $name,)*
                TaskKind::Other(name) => name,
            }
        }

        /// A name's kind.
        #[must_use]
        pub fn kind(name: &str) -> TaskKind {
            match name {
                $($name => TaskKind::$kind,)*
                other => TaskKind::Other(other.to_owned()),
            }
        }

        /// A task's name.
        #[must_use]
        pub fn of(task: &Task) -> &str {
            match task {
                $($task => $name,)*
                Task::Other(other) => &other.name,
            }
        }
    };
}

tasks! {
    "generate" => Generate, Task::Generate(_) => ;
    "chat" => Chat, Task::Chat(_) => ;
    "embed" => Embed, Task::Embed(_) => ;
    "rerank" => Rerank, Task::Rerank(_) => ;
    "similarity" => Similarity, Task::Similarity(_) => ;
    "tokenize" => Tokenize, Task::Tokenize(_) => ;
    "detokenize" => Detokenize, Task::Detokenize(_) => ;
    "infer" => Infer, Task::Infer(_) => ;
    "list-models" => ListModels, Task::ListModels => ;
    "model-metadata" => ModelMetadata, Task::ModelMetadata => ;
    "model-ready" => ModelReady, Task::ModelReady => ;
    "server-live" => ServerLive, Task::ServerLive => ;
    "server-ready" => ServerReady, Task::ServerReady => ;
    "server-metadata" => ServerMetadata, Task::ServerMetadata => ;
}
