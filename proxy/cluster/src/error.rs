//! Why the cluster does not tell.

use std::path::PathBuf;

/// What was asked of an API server has no answer that can be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ApiError {
    /// A file that is needed cannot be read.
    #[error("{}: {error}", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The settings cannot work.
    #[error("the API server cannot be asked: {0}")]
    Settings(String),
    /// It does not answer.
    #[error("the API server does not answer: {0}")]
    Send(String),
    /// It has not answered in time.
    #[error("the API server has not answered in time")]
    Timeout,
    /// It does not know the token (401).
    #[error("the API server does not take the token of {}: is it mounted, and of this cluster?", .0.as_ref().map_or("nobody".into(), |it| it.display().to_string()))]
    Unauthorized(Option<PathBuf>),
    /// The service account may not (403).
    #[error(
        "the service account may not list and watch {what}: bind it to a role that may, see config/kubernetes/discovery{said}"
    )]
    Forbidden {
        /// The kind of objects.
        what: String,
        /// What the server says, for the end of a sentence.
        said: String,
    },
    /// There is no such kind of objects (404).
    #[error("the cluster has no {what}: is their definition installed?{said}")]
    NotFound {
        /// The kind of objects.
        what: String,
        /// What the server says, for the end of a sentence.
        said: String,
    },
    /// It has forgotten the version that was asked for (410), again and again.
    #[error("the API server has forgotten what was listed a moment ago")]
    Gone,
    /// Another status.
    #[error("the API server answers with status {status}{said}")]
    Status {
        /// The status.
        status: u16,
        /// What the server says, for the end of a sentence.
        said: String,
    },
    /// What it says is longer than it may be.
    #[error("the API server's answer is longer than {0} bytes")]
    TooLarge(u64),
    /// What it says is not what it should say.
    #[error("the API server's answer cannot be read: {0}")]
    Garbage(String),
    /// A watch ended at once, and had told nothing.
    #[error("the API server ended the watch at once")]
    Ended,
}
