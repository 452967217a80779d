//! What crossed the border between the proxy and a plugin, as files: one a client request, upstream
//! request, composed call or session. Written by a proxy that is told to, played again by
//! `tollgate plugin test`: a bug report is a file.
//!
//! A file is lines of JSON, as the recordings of schedulers are.
//!
//! | line | members |
//! |---|---|
//! | the first | `transcript` (the format: 1), `contract`, `plugin`, `digest`, `options`, `side` (`frontend`, `backend`, `composition`, `session`), `bodies`, and what the constructor was given: `context` and `head`, or `worker` and `members`, or `call` and `capabilities`; `sources` |
//! | a step | `sources`: bytes that have arrived since (`id`, `at`, `bytes`, `total`, `end`); `inputs`; `actions`, or `failed` with the reason why the instance was ended |
//! | the last | `{"end":true}`; or `{"cut":true}`: a bound was passed, and what followed is missing |
//!
//! Values are those of `wit/`, as [`value`] writes them. Credentials are never written
//! ([`secret`]).
#![forbid(unsafe_code)]

mod file;
mod names;
mod outcome;
mod play;
mod recorder;
pub mod secret;
pub mod value;
mod verdict;

pub use file::{BadFile, Script};
pub use play::{Played, Stop};
pub use recorder::{Bounds, Counts, Recording};
pub use verdict::{Depth, Verdict};

/// The format of files.
pub const FORMAT: u64 = 1;

/// The last line of a file from which something is missing, as of recordings of schedulers.
pub const CUT: &str = r#"{"cut":true}"#;
/// The last line of a file that is whole.
pub const END: &str = r#"{"end":true}"#;

/// Which side of a plugin a file is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// A client request.
    Frontend,
    /// An upstream request.
    Backend,
    /// A composed call.
    Composition,
    /// A call in an in-process worker.
    Session,
}

impl Side {
    /// All of them.
    const ALL: [Self; 4] = [
        Self::Frontend,
        Self::Backend,
        Self::Composition,
        Self::Session,
    ];

    /// As files name it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Frontend => "frontend",
            Self::Backend => "backend",
            Self::Composition => "composition",
            Self::Session => "session",
        }
    }

    /// The world whose plugins have it.
    #[must_use]
    pub fn world(self) -> &'static str {
        match self {
            Self::Frontend | Self::Backend => "protocol",
            Self::Composition => "compose",
            Self::Session => "worker",
        }
    }
}
