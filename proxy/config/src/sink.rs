//! Addresses of services that the proxy itself asks: a scheme, a host, a port and a path.

use std::fmt;

use schemars::json_schema;

use crate::scalar::{Invalid, word};
use crate::workers::parts;

/// `http://HOST[:PORT][/PATH]` or `https://…`, without a user, a query or a fragment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    tls: bool,
    host: String,
    port: u16,
    path: String,
}

impl Endpoint {
    /// # Errors
    /// When the text is no such address.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let form = || Invalid::new("an address is written like `http://logger.example.com/events`");
        let (scheme, rest) = text.split_once("://").ok_or_else(form)?;
        let tls = match scheme {
            "http" => false,
            "https" => true,
            _ => return Err(Invalid::new("the scheme is `http` or `https`")),
        };
        let slash = rest.find('/').map(|at| scheme.len() + 3 + at);
        let (origin, path) = match slash {
            Some(at) => text.split_at(at),
            None => (text, "/"),
        };
        let (_, host, port) = parts(origin)?;
        let plain = |b: u8| b.is_ascii_graphic() && !matches!(b, b'?' | b'#' | b'"' | b'<' | b'>');
        if !path.bytes().all(plain) || path.len() > 1024 {
            return Err(Invalid::new(
                "the path has at most 1024 visible ASCII characters, and no query",
            ));
        }
        Ok(Self {
            tls,
            host,
            port: port.unwrap_or(if tls { 443 } else { 80 }),
            path: path.to_owned(),
        })
    }

    /// It is reached over TLS.
    pub fn is_tls(&self) -> bool {
        self.tls
    }

    /// `host:port`, an IPv6 address in brackets.
    pub fn authority(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }

    /// Begins with `/`.
    pub fn path(&self) -> &str {
        &self.path
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority(), self.path)
    }
}

word!(
    Endpoint,
    "an address like `http://logger.example.com/events`",
    json_schema!({ "type": "string", "pattern": "^https?://[^/?#@]+(/[^?#]*)?$" })
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_taken_apart() {
        for (text, authority, path) in [
            ("http://a", "a:80", "/"),
            ("https://A.b/c/d", "a.b:443", "/c/d"),
            ("http://[::1]:8/", "[::1]:8", "/"),
        ] {
            let endpoint = Endpoint::parse(text).unwrap();
            assert_eq!((&*endpoint.authority(), endpoint.path()), (authority, path));
            assert_eq!(endpoint.is_tls(), text.starts_with("https"));
        }
    }

    #[test]
    fn what_is_no_such_address_is_refused() {
        for text in [
            "a",
            "ftp://a",
            "grpc://a:1",
            "http://",
            "http://u@a/",
            "http://a/?x",
            "http://a/#x",
            "http://a/ b",
            "http://a:0/",
        ] {
            assert!(Endpoint::parse(text).is_err(), "{text}");
        }
    }
}
