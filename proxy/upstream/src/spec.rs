//! What a worker's connections are like. [`Spec`] is plain values; whatever takes one checks it.

use std::time::Duration;

use http::uri::Authority;

/// How a worker is reached, and how far.
#[derive(Debug, Clone)]
pub struct Spec {
    /// `Host` (HTTP/1.1) or `:authority` (HTTP/2) of every request.
    pub authority: Authority,
    /// `host:port` to connect to; an IPv6 host stands in brackets.
    pub address: String,
    /// The HTTP version. Without TLS, HTTP/2 is spoken with prior knowledge (RFC 9113 section 3.3);
    /// with TLS, ALPN must agree (section 3.2).
    pub transport: Transport,
    /// TLS, or plain TCP.
    pub tls: Option<Tls>,
    /// Connections at once, 1 or more. HTTP/2 connections that the worker is closing (GOAWAY) and
    /// that still carry streams are not counted, but with them there are never more than twice
    /// as many.
    pub max_connections: usize,
    /// Streams at once on one HTTP/2 connection, 1 to 32767; a worker may allow fewer. Without
    /// meaning on HTTP/1.1.
    pub max_streams: u32,
    /// For name resolution, TCP and TLS together.
    pub connect_timeout: Duration,
    /// A connection that has carried nothing for so long is closed. Choose it below the worker's
    /// own: a request that meets a closing connection may be lost on HTTP/1.1.
    pub idle_timeout: Duration,
}

/// The HTTP version that a worker speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// HTTP/1.1 (RFC 9112), without pipelining.
    H1,
    /// HTTP/2 (RFC 9113).
    H2,
}

/// TLS to a worker.
#[derive(Debug, Clone, Default)]
pub struct Tls {
    /// PEM of the authorities to trust, and no others. None: the web's.
    pub ca_pem: Option<Vec<u8>>,
    /// The name in the worker's certificate. None: the authority's host.
    pub server_name: Option<String>,
}

/// Bounds that seldom need another value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Requests that may wait for a place at once.
    pub max_waiting: usize,
    /// Bytes of a response's header section, and of its trailer section. 8 KiB or more.
    pub header_bytes: u32,
    /// Bytes that an HTTP/2 stream may hold unread; 64 KiB to 2^31-1.
    pub stream_window: u32,
    /// Bytes that an HTTP/2 connection should hold unread at most, over all its streams: the
    /// streams' windows shrink for it, but not below 64 KiB.
    pub connection_window: u32,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            max_waiting: 1024,
            header_bytes: 64 * 1024,
            stream_window: 1024 * 1024,
            connection_window: 256 * 1024 * 1024,
        }
    }
}

/// A [`Spec`] or [`Bounds`] that cannot work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpecError {
    /// The address is not `host:port`.
    #[error("`{0}` is not an address of the form host:port")]
    Address(String),
    /// What should stand before every path is no path.
    #[error("`{0}` is not a path")]
    Base(String),
    /// A number is out of its range.
    #[error("{name} must be {range}")]
    Range {
        /// The field.
        name: &'static str,
        /// What it may be.
        range: &'static str,
    },
    /// The CA file holds no certificate, or a broken one.
    #[error("the CA file cannot be used: {0}")]
    Ca(String),
    /// The name cannot stand in a certificate.
    #[error("`{0}` is not a server name")]
    ServerName(String),
    /// TLS cannot be set up.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
}

/// The smallest window that covers what a peer may send before it has read our SETTINGS, and the
/// most streams whose windows of that size fit a connection's (RFC 9113 section 6.9.2).
const LEAST_WINDOW: u32 = 65_535;
const MOST_STREAMS: u32 = 32_767;

impl Spec {
    pub(crate) fn check(&self) -> Result<(), SpecError> {
        let address = || SpecError::Address(self.address.clone());
        let (host, port) = self.address.rsplit_once(':').ok_or_else(address)?;
        let bracketed = host.starts_with('[') && host.ends_with(']');
        if host.is_empty() || (host.contains(':') && !bracketed) {
            return Err(address());
        }
        if !port.parse::<u16>().is_ok_and(|port| port > 0) {
            return Err(address());
        }
        within(self.max_connections >= 1, "max_connections", "at least 1")?;
        within(
            (1..=MOST_STREAMS).contains(&self.max_streams),
            "max_streams",
            "1 to 32767",
        )?;
        within(
            !self.connect_timeout.is_zero(),
            "connect_timeout",
            "above zero",
        )?;
        within(!self.idle_timeout.is_zero(), "idle_timeout", "above zero")
    }
}

impl Bounds {
    pub(crate) fn check(&self) -> Result<(), SpecError> {
        within(self.header_bytes >= 8192, "header_bytes", "at least 8192")?;
        within(
            (LEAST_WINDOW..=i32::MAX as u32).contains(&self.stream_window),
            "stream_window",
            "65535 to 2147483647",
        )?;
        within(
            (LEAST_WINDOW..=i32::MAX as u32).contains(&self.connection_window),
            "connection_window",
            "65535 to 2147483647",
        )
    }

    /// Windows of a stream and of its connection, for so many streams: the second is always the
    /// first for each stream, so that streams which nobody reads cannot use up the credit of the
    /// others.
    pub(crate) fn windows(&self, streams: u32) -> (u32, u32) {
        let share = (self.connection_window / streams).max(LEAST_WINDOW);
        let stream = self.stream_window.min(share);
        (stream, stream * streams)
    }
}

fn within(holds: bool, name: &'static str, range: &'static str) -> Result<(), SpecError> {
    if holds {
        Ok(())
    } else {
        Err(SpecError::Range { name, range })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(address: &str) -> Spec {
        Spec {
            authority: Authority::from_static("worker"),
            address: address.to_owned(),
            transport: Transport::H1,
            tls: None,
            max_connections: 1,
            max_streams: 1,
            connect_timeout: Duration::from_secs(1),
            idle_timeout: Duration::from_secs(1),
        }
    }

    #[test]
    fn addresses() {
        for good in ["worker:80", "127.0.0.1:8000", "[::1]:8000"] {
            assert!(spec(good).check().is_ok(), "{good}");
        }
        for bad in [
            "worker", "worker:", ":80", "worker:0", "worker:x", "::1:80", "w:65536",
        ] {
            assert!(spec(bad).check().is_err(), "{bad}");
        }
    }

    #[test]
    fn numbers_out_of_range_are_refused() {
        let base = spec("worker:80");
        let wrong = [
            Spec {
                max_connections: 0,
                ..base.clone()
            },
            Spec {
                max_streams: 0,
                ..base.clone()
            },
            Spec {
                max_streams: 32_768,
                ..base.clone()
            },
            Spec {
                connect_timeout: Duration::ZERO,
                ..base.clone()
            },
            Spec {
                idle_timeout: Duration::ZERO,
                ..base
            },
        ];
        for spec in wrong {
            assert!(
                matches!(spec.check(), Err(SpecError::Range { .. })),
                "{spec:?}"
            );
        }
        let small = Bounds {
            header_bytes: 100,
            ..Bounds::default()
        };
        assert!(small.check().is_err());
        let small = Bounds {
            stream_window: 100,
            ..Bounds::default()
        };
        assert!(small.check().is_err());
    }

    #[test]
    fn a_connection_covers_every_stream() {
        let bounds = Bounds::default();
        for streams in [1, 2, 100, 256, 257, 1000, 5000, MOST_STREAMS] {
            let (stream, connection) = bounds.windows(streams);
            assert!(stream >= LEAST_WINDOW && stream <= bounds.stream_window);
            assert_eq!(
                u64::from(connection),
                u64::from(stream) * u64::from(streams)
            );
            assert!(connection <= i32::MAX as u32);
        }
        assert_eq!(bounds.windows(64), (1 << 20, 64 << 20));
    }
}
