//! Where telemetry goes, and how far. [`Spec`] is plain values; [`Exporter::new`] checks them.
//!
//! [`Exporter::new`]: crate::Exporter::new

use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, header};
use percent_encoding::percent_decode_str;

/// Whose names are used: the version of OpenTelemetry's semantic conventions.
pub(crate) const SCHEMA: &str = "https://opentelemetry.io/schemas/1.37.0";

/// Bytes of a file of headers, and headers in it.
const FILE: u64 = 64 << 10;
const HEADERS: usize = 64;

/// A collector, and what is told it of ourselves.
#[derive(Clone, Debug)]
pub struct Spec {
    /// How it is spoken to.
    pub protocol: Protocol,
    /// `host:port`, an IPv6 address in brackets.
    pub authority: String,
    /// TLS, or plain TCP.
    pub tls: Option<tollgate_upstream::Tls>,
    /// What stands before `/v1/traces`; empty: nothing. Without meaning for gRPC.
    pub prefix: String,
    /// Headers of every export: `name=value,…`, values percent-encoded, as OpenTelemetry's
    /// environment variables have them; empty: none.
    pub headers: String,
    /// A file with more of them, `name: value` a line, read anew for every export: so that a token
    /// which is replaced there is used.
    pub headers_file: Option<PathBuf>,
    /// For one export, from the connection to the last byte of the answer.
    pub timeout: Duration,
    /// Times that one export is sent, 1 or more, where the protocol says that it may be again.
    pub attempts: u32,
    /// The first pause between them; each is twice as long as the one before, up to half a minute.
    pub pause: Duration,
    /// Attributes of all that is exported: the name of the service and the like.
    pub resource: Vec<(String, String)>,
}

/// How a collector is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1 with bodies of protobuf.
    Http,
    /// gRPC.
    Grpc,
}

/// A [`Spec`] that cannot work.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// The address.
    #[error("`{0}` is no address of a collector")]
    Authority(String),
    /// Connections cannot be set up.
    #[error(transparent)]
    Upstream(#[from] tollgate_upstream::SpecError),
    /// A header.
    #[error("headers: {0}")]
    Headers(#[from] HeadersError),
    /// Without time nothing is exported.
    #[error("a timeout above zero is needed, and one attempt")]
    Timeout,
}

/// Headers that cannot be sent. What they are is not told: they are credentials as a rule.
#[derive(Debug, thiserror::Error)]
pub enum HeadersError {
    /// The file.
    #[error("{path}: {error}")]
    File {
        /// Its path.
        path: PathBuf,
        /// What is wrong.
        error: std::io::Error,
    },
    /// A line or a pair.
    #[error("entry {0} is no name and value of a header")]
    Entry(usize),
    /// A header that the export itself sets.
    #[error("`{0}` is not for others to set")]
    Own(HeaderName),
    /// Too many.
    #[error("more than {HEADERS} headers, or {FILE} bytes")]
    Many,
}

/// Reads `name=value,…`.
///
/// # Errors
/// See [`HeadersError`].
pub(crate) fn from_list(text: &str) -> Result<HeaderMap, HeadersError> {
    let pairs = text.split(',').map(str::trim);
    let pairs = pairs.enumerate().filter(|(_, pair)| !pair.is_empty());
    let mut headers = HeaderMap::new();
    for (at, pair) in pairs {
        let wrong = || HeadersError::Entry(at + 1);
        let (name, value) = pair.split_once('=').ok_or_else(wrong)?;
        let value = percent_decode_str(value.trim())
            .decode_utf8()
            .map_err(|_| wrong())?;
        add(&mut headers, name, &value, at + 1)?;
    }
    Ok(headers)
}

/// Reads `name: value` lines; empty ones and those that begin with `#` are left out.
///
/// # Errors
/// See [`HeadersError`].
pub(crate) fn from_lines(text: &str) -> Result<HeaderMap, HeadersError> {
    if text.len() as u64 > FILE {
        return Err(HeadersError::Many);
    }
    let mut headers = HeaderMap::new();
    for (at, line) in text.lines().map(str::trim).enumerate() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) = line.split_once(':').ok_or(HeadersError::Entry(at + 1))?;
        add(&mut headers, name, value, at + 1)?;
    }
    Ok(headers)
}

/// Headers that belong to the connection or to the protocol.
const OWN: [HeaderName; 6] = [
    header::HOST,
    header::CONTENT_TYPE,
    header::CONTENT_LENGTH,
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    header::TE,
];

fn add(headers: &mut HeaderMap, name: &str, value: &str, at: usize) -> Result<(), HeadersError> {
    let wrong = || HeadersError::Entry(at);
    let name: HeaderName = name.trim().parse().map_err(|_| wrong())?;
    let mut value: HeaderValue = value.trim().parse().map_err(|_| wrong())?;
    if OWN.contains(&name) {
        return Err(HeadersError::Own(name));
    }
    if headers.len() >= HEADERS {
        return Err(HeadersError::Many);
    }
    value.set_sensitive(true);
    headers.append(name, value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_in_both_forms() {
        let list = from_list("authorization=Bearer%20abc, x-team = a b ,").unwrap();
        assert_eq!(list["authorization"], "Bearer abc");
        assert_eq!(list["x-team"], "a b");
        assert!(from_list("").unwrap().is_empty());
        let lines = from_lines("# comment\n\nAuthorization: Bearer abc\r\nx-team:a:b\n").unwrap();
        assert_eq!(lines["authorization"], "Bearer abc");
        assert_eq!(lines["x-team"], "a:b");
    }

    #[test]
    fn what_is_no_header_is_refused_and_not_told() {
        for wrong in ["secret", "sec ret=1", "a=%ff", "a=b\nc=d", "a=1,secret"] {
            let error = from_list(wrong).unwrap_err();
            assert!(matches!(error, HeadersError::Entry(_)), "{wrong}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
        assert!(matches!(from_lines("a\n"), Err(HeadersError::Entry(1))));
        assert!(matches!(from_list("host=x"), Err(HeadersError::Own(_))));
        let many = "a=1,".repeat(HEADERS + 1);
        assert!(matches!(from_list(&many), Err(HeadersError::Many)));
        let long = "#".repeat(FILE as usize + 1);
        assert!(matches!(from_lines(&long), Err(HeadersError::Many)));
    }
}
