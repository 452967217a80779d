//! What `push` and `pull` have in common: how a registry is reached.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use tollgate_config::Reference;
use tollgate_registry::{Plain, Settings};

use crate::supply;

/// How the registry is reached.
#[derive(Args)]
pub(crate) struct Reach {
    /// Credentials, as docker and its kin keep them (config.json).
    #[arg(long, value_name = "FILE")]
    credentials: Option<PathBuf>,
    /// Without TLS, which is otherwise so for registries of this machine only.
    #[arg(long, conflicts_with = "ca")]
    plain_http: bool,
    /// With TLS, trusting these authorities (PEM) instead of the web's.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Seconds that it may take.
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    timeout: u64,
}

impl Reach {
    pub(crate) fn settings(&self, reference: &Reference) -> Result<Settings, supply::ReadError> {
        let plain = match (self.plain_http, &self.ca) {
            (true, _) => Plain::Hosts(vec![reference.registry().clone()]),
            (false, Some(_)) => Plain::Hosts(Vec::new()),
            (false, None) => Plain::Loopback,
        };
        let ca = self.ca.as_ref().map(|path| supply::read(path, 1 << 20));
        Ok(Settings {
            plain,
            ca: ca.transpose()?,
            credentials: self.credentials.clone(),
            timeout: Duration::from_secs(self.timeout),
            largest: supply::LARGEST,
        })
    }
}

/// Reads `REGISTRY/REPOSITORY…`, with or without `oci://` before it.
pub(crate) fn reference(text: &str) -> Result<Reference, String> {
    let bare = text.strip_prefix("oci://").unwrap_or(text);
    Reference::parse(bare).map_err(|error| error.to_string())
}
