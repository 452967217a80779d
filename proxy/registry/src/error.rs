//! What can go wrong between here and a registry, and what to do about it.

use tollgate_upstream::{BodyError, SendError};

use crate::credentials::CredentialsError;

/// Why there is no artefact. The text goes on from its name.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// It did not answer.
    #[error("{registry} is not to be reached: {reason}")]
    Unreachable {
        /// Which host.
        registry: String,
        /// Why.
        reason: String,
    },
    /// It took too long.
    #[error("it was not done within {0:?}: `registries.timeout` bounds it")]
    Timeout(std::time::Duration),
    /// It wants to know who asks.
    #[error("{registry} lets nobody in without credentials: {advice}")]
    Unauthorized {
        /// Which host.
        registry: String,
        /// What to do.
        advice: String,
    },
    /// It knows who asks, and says no.
    #[error(
        "{registry} forbids it{said}: these credentials do not reach this repository; ask for \
         access, or name other credentials"
    )]
    Forbidden {
        /// Which host.
        registry: String,
        /// What it said.
        said: String,
    },
    /// There is no such thing.
    #[error(
        "{registry} has no {what}{said}: look for a slip in repository, tag or digest, or push it \
         first (`tollgate plugin push`)"
    )]
    NotFound {
        /// Which host.
        registry: String,
        /// What was asked for.
        what: String,
        /// What it said.
        said: String,
    },
    /// It answers something else than was to be expected.
    #[error("{registry} answers {what} with status {status}{said}")]
    Status {
        /// Which host.
        registry: String,
        /// What was asked for.
        what: String,
        /// The status of the answer.
        status: u16,
        /// What it said.
        said: String,
    },
    /// It breaks the protocol.
    #[error("{registry} does not speak the registry's protocol: {reason}")]
    Protocol {
        /// Which host.
        registry: String,
        /// In what.
        reason: String,
    },
    /// The artefact is no component.
    #[error(
        "it is no WebAssembly component by its manifest: {0}. Push it with `tollgate plugin push`, \
         `wkg oci push`, or `oras push --config FILE:application/vnd.wasm.config.v0+json \
         COMPONENT:application/wasm`"
    )]
    Layout(String),
    /// It is larger than is taken.
    #[error("{what} has {bytes} bytes, and {most} are taken: `registries.largest` bounds it")]
    TooLarge {
        /// The manifest or the component.
        what: &'static str,
        /// How many it has, at least.
        bytes: u64,
        /// How many are taken.
        most: u64,
    },
    /// The bytes are others than were named.
    #[error(
        "{what} came with SHA-256 {found} and was to have {wanted}: what is in the registry was \
         changed or damaged; push it again, and pin what comes then"
    )]
    Digest {
        /// The manifest or the component.
        what: &'static str,
        /// What was named.
        wanted: String,
        /// What came.
        found: String,
    },
    /// The credentials cannot be used.
    #[error("{0}")]
    Credentials(#[from] CredentialsError),
}

impl RegistryError {
    /// Whether the registry is away, as opposed to saying no: what was pulled before may be taken
    /// then.
    #[must_use]
    pub fn is_away(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Timeout(_) => true,
            Self::Status { status, .. } => *status >= 500 || *status == 429,
            _ => false,
        }
    }

    pub(crate) fn send(registry: &str, error: SendError) -> Self {
        let reason = match error {
            SendError::Connect(error) => error.to_string(),
            SendError::Timeout => "no connection was made in time".to_owned(),
            SendError::Broken { source, .. } => return Self::body(registry, source),
            other => other.to_string(),
        };
        Self::Unreachable {
            registry: registry.to_owned(),
            reason,
        }
    }

    pub(crate) fn body(registry: &str, error: BodyError) -> Self {
        let reason = match error {
            BodyError::Truncated => "its answer breaks off".to_owned(),
            BodyError::Connection(error) => format!("the connection broke: {error}"),
            BodyError::Protocol(error) => format!("it broke HTTP: {error}"),
            other => other.to_string(),
        };
        Self::Unreachable {
            registry: registry.to_owned(),
            reason,
        }
    }
}
