//! How registries are reached.

use std::{path::PathBuf, time::Duration};

use tollgate_config::RegistryHost;

/// How registries are reached, and how far.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Which hosts are reached without TLS.
    pub plain: Plain,
    /// PEM of the authorities to trust, and no others. None: the web's.
    pub ca: Option<Vec<u8>>,
    /// A file as docker's `config.json`.
    pub credentials: Option<PathBuf>,
    /// One pull or push, whole.
    pub timeout: Duration,
    /// Bytes of a component.
    pub largest: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            plain: Plain::Loopback,
            ca: None,
            credentials: None,
            timeout: Duration::from_secs(60),
            largest: 64 << 20,
        }
    }
}

/// Hosts that are reached without TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plain {
    /// Those of this machine.
    Loopback,
    /// These.
    Hosts(Vec<RegistryHost>),
}

impl Plain {
    /// Whether a host is one of them.
    #[must_use]
    pub fn has(&self, host: &RegistryHost) -> bool {
        match self {
            Self::Loopback => host.is_loopback(),
            Self::Hosts(hosts) => hosts.contains(host),
        }
    }
}
