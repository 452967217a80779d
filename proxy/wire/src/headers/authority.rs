//! The host asked for, in one spelling.

use std::fmt;

use http::header;
use http::request;

use super::check::HeaderProblem;

/// A host and, where it is not the scheme's own, a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Authority {
    /// Lower case, without a trailing dot; an IPv6 address has its brackets.
    pub host: String,
    /// None for the scheme's own.
    pub port: Option<u16>,
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.host)?;
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

/// The host that a request asks for: its target's authority (RFC 9112, section 3.2.2;
/// `:authority` in HTTP/2), else its `Host`. None when it has neither.
///
/// # Errors
/// It is not well formed.
pub fn authority(head: &request::Parts) -> Result<Option<Authority>, HeaderProblem> {
    let scheme = head.uri.scheme_str();
    if let Some(target) = head.uri.authority() {
        return normalise(target.as_str(), scheme).map(Some);
    }
    let Some(host) = head.headers.get(header::HOST) else {
        return Ok(None);
    };
    let host = host.to_str().map_err(|_| HeaderProblem::Authority)?;
    normalise(host, scheme).map(Some)
}

/// One spelling of an authority: lower case, no trailing dot, no port that is the
/// scheme's own (80 or 443; without a scheme ports stay).
///
/// # Errors
/// It is empty, names a user, or is not well formed (RFC 3986, section 3.2).
pub fn normalise(authority: &str, scheme: Option<&str>) -> Result<Authority, HeaderProblem> {
    let parsed: http::uri::Authority = authority.parse().map_err(|_| HeaderProblem::Authority)?;
    let invalid = Err(HeaderProblem::Authority);
    if parsed.as_str().contains('@') {
        return invalid;
    }
    let host = parsed.host().strip_suffix('.').unwrap_or(parsed.host());
    // A second dot would leave two spellings of one name.
    if host.is_empty() || host.ends_with('.') {
        return invalid;
    }
    // `host:` and `host` are the same; anything else after the host must be a port.
    let rest = &parsed.as_str()[parsed.host().len()..];
    let port = match rest.strip_prefix(':') {
        None if rest.is_empty() => None,
        Some("") => None,
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some(digits.parse().map_err(|_| HeaderProblem::Authority)?)
        }
        _ => return invalid,
    };
    let own = match scheme {
        Some("http") => Some(80),
        Some("https") => Some(443),
        _ => None,
    };
    Ok(Authority {
        host: host.to_ascii_lowercase(),
        port: port.filter(|port| Some(*port) != own),
    })
}
