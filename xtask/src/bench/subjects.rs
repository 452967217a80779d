//! What stands between clients and workers, and which way a request takes through it.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

/// A port of this machine. All lie below the range from which the system gives out ports.
pub(crate) const fn local(port: u16) -> SocketAddr {
    SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port))
}

/// The stub's ports, as every configuration under `tests/bench` has them.
pub(crate) const STUB_HTTP: SocketAddr = local(21800);
pub(crate) const STUB_GRPC: SocketAddr = local(21801);
/// Where Tollgate's operators ask, likewise.
pub(crate) const ADMIN: SocketAddr = local(21900);

/// Who takes part, in the order in which tables show them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Subject {
    /// Nobody in between: what the stub and the load generator do by themselves.
    Nobody,
    /// The least that a hyper proxy does.
    Bare,
    Nginx,
    Envoy,
    Tollgate,
    /// Tollgate once more under another name: the noise floor.
    Again,
    /// Tollgate without token check: what is left is what the check costs.
    Open,
    /// Tollgate while its plugins and its scheduler are swapped.
    Swapped,
    /// Tollgate while hostile plugins beside the others are asked.
    Beside,
    /// Tollgate with every request traced, and traces and metrics sent to a collector.
    Traced,
    /// Tollgate without traces and without its access log.
    Silent,
}

impl Subject {
    pub(crate) const PEERS: [Self; 3] = [Self::Bare, Self::Nginx, Self::Envoy];

    /// The name in tables.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Nobody => "nobody",
            Self::Bare => "bare hyper",
            Self::Nginx => "nginx",
            Self::Envoy => "Envoy",
            Self::Tollgate => "Tollgate",
            Self::Again => "Tollgate again",
            Self::Open => "Tollgate, no tokens",
            Self::Swapped => "Tollgate, swapped",
            Self::Beside => "Tollgate, attacked",
            Self::Traced => "Tollgate, traced",
            Self::Silent => "Tollgate, silent",
        }
    }

    /// Whether it is our own.
    pub(crate) const fn ours(self) -> bool {
        matches!(
            self,
            Self::Tollgate
                | Self::Again
                | Self::Open
                | Self::Swapped
                | Self::Beside
                | Self::Traced
                | Self::Silent
        )
    }
}

/// The A/A pair.
pub(crate) const PAIR: [Subject; 2] = [Subject::Tollgate, Subject::Again];

/// A way through: what the client speaks, what the worker speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Way {
    pub(crate) name: &'static str,
    /// What the load generator calls the client's protocol.
    pub(crate) protocol: &'static str,
    /// Whether clients come over HTTP/2.
    pub(crate) grpc: bool,
    /// Whether nothing is translated, so that others can go this way too.
    pub(crate) pass: bool,
    /// Below `tests/bench`.
    pub(crate) config: &'static str,
    /// Tollgate's listener with tokens; the one without lies [`OPEN`] ports above.
    port: u16,
}

/// From the port with tokens to that without.
const OPEN: u16 = 100;

const TEXT: &str = "text.yaml";
const TENSORS: &str = "tensors.yaml";

pub(crate) const OPENAI: Way = way("OpenAI", "openai-completion", false, true, TEXT, 21080);
pub(crate) const TGIS: Way = way("TGIS", "tgis", true, true, TEXT, 21081);
pub(crate) const OPENAI_TGIS: Way = way(
    "OpenAI → TGIS",
    "openai-completion",
    false,
    false,
    TEXT,
    21082,
);
pub(crate) const TGIS_OPENAI: Way = way("TGIS → OpenAI", "tgis", true, false, TEXT, 21083);
pub(crate) const V2_REST: Way = way("V2 REST", "v2-rest", false, true, TENSORS, 21084);
pub(crate) const V2_GRPC: Way = way("V2 gRPC", "v2-grpc", true, true, TENSORS, 21085);
pub(crate) const V2_REST_GRPC: Way =
    way("V2 REST → V2 gRPC", "v2-rest", false, false, TENSORS, 21086);
pub(crate) const V2_GRPC_REST: Way =
    way("V2 gRPC → V2 REST", "v2-grpc", true, false, TENSORS, 21087);

/// Two protocols on one listener, told apart by the load generator's mix.
pub(crate) const MIXED: Way = way(
    "mixed",
    "openai-completion",
    false,
    false,
    "swaps.yaml",
    21088,
);

/// The same beside plugins, and a scheduler, that misbehave.
pub(crate) const HOSTILE: Way = way(
    "mixed, beside hostile plugins",
    "openai-completion",
    false,
    false,
    "hostile.yaml",
    21090,
);

/// Before a worker that can do little.
pub(crate) const OVERLOAD: Way = way(
    "OpenAI, few slots",
    "openai-completion",
    false,
    true,
    "overload.yaml",
    21089,
);

/// A way; `port` is the listener of Tollgate with tokens.
pub(crate) const fn way(
    name: &'static str,
    protocol: &'static str,
    grpc: bool,
    pass: bool,
    config: &'static str,
    port: u16,
) -> Way {
    Way {
        name,
        protocol,
        grpc,
        pass,
        config,
        port,
    }
}

impl Way {
    /// Where clients of this way find somebody; none where nobody could answer.
    pub(crate) const fn address(&self, subject: Subject) -> Option<SocketAddr> {
        match subject {
            Subject::Tollgate
            | Subject::Again
            | Subject::Swapped
            | Subject::Beside
            | Subject::Traced
            | Subject::Silent => Some(local(self.port)),
            Subject::Open => Some(local(self.port + OPEN)),
            _ if !self.pass => None,
            Subject::Nobody if self.grpc => Some(STUB_GRPC),
            Subject::Nobody => Some(STUB_HTTP),
            Subject::Bare => Some(local(21810 + self.grpc as u16)),
            Subject::Nginx => Some(local(21820 + self.grpc as u16)),
            Subject::Envoy => Some(local(21830 + self.grpc as u16)),
        }
    }

    /// The URL for the load generator.
    pub(crate) fn url(&self, subject: Subject) -> Option<String> {
        Some(format!("http://{}", self.address(subject)?))
    }

    /// Every subject of `among` that can go this way.
    pub(crate) fn subjects(&self, among: &[Subject]) -> Vec<Subject> {
        let here = among.iter().copied();
        here.filter(|it| self.address(*it).is_some()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAYS: [&Way; 11] = [
        &OPENAI,
        &TGIS,
        &OPENAI_TGIS,
        &TGIS_OPENAI,
        &V2_REST,
        &V2_GRPC,
        &V2_REST_GRPC,
        &V2_GRPC_REST,
        &MIXED,
        &HOSTILE,
        &OVERLOAD,
    ];

    #[test]
    fn no_two_share_a_port() {
        let mut ports: Vec<u16> = Vec::new();
        for way in WAYS {
            for subject in [Subject::Tollgate, Subject::Open] {
                ports.push(way.address(subject).unwrap().port());
            }
        }
        for way in [&OPENAI, &TGIS] {
            for subject in [
                Subject::Nobody,
                Subject::Bare,
                Subject::Nginx,
                Subject::Envoy,
            ] {
                ports.push(way.address(subject).unwrap().port());
            }
        }
        ports.push(ADMIN.port());
        let count = ports.len();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), count);
    }

    #[test]
    fn who_does_not_translate_takes_no_part_in_translations() {
        let all = [Subject::Bare, Subject::Envoy, Subject::Tollgate];
        assert_eq!(OPENAI.subjects(&all).len(), 3);
        assert_eq!(OPENAI_TGIS.subjects(&all), [Subject::Tollgate]);
    }
}
