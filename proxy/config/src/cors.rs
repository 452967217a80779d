//! `routes[].cors`: which pages of other origins may ask a route (Fetch standard, "CORS protocol").

use std::fmt;

use schemars::json_schema;

use crate::hosts::HostPattern;
use crate::scalar::{Invalid, Period, word};
use crate::section::{choice, section};

section! {
    /// Pages of other origins that may ask. Preflights are answered before anybody is authenticated.
    #[name = "CORS section"]
    pub struct Cors {
        /// Origins: `https://app.example.com`, `https://*.example.com` for every subdomain, or `*`.
        pub origins: Vec<Origin>,
        /// Methods that may be used.
        pub methods: Vec<CorsMethod> = vec![CorsMethod::Get, CorsMethod::Post],
        /// Headers that may be sent; `*`: whatever a preflight asks for.
        pub headers: Vec<HeaderWord> = vec![HeaderWord::of("authorization"), HeaderWord::of("content-type")],
        /// Headers of answers that a page may read.
        pub exposed_headers: Vec<HeaderWord> = vec![HeaderWord::of("x-request-id")],
        /// How long a browser may remember the answer to a preflight.
        pub max_age: Period<0, 86_400_000> = Period::secs(600),
        /// Cookies and the like may be sent along. Not with `*` among the origins.
        pub credentials: bool = false,
    }
}

choice! {
    /// A method that pages may use.
    pub enum CorsMethod {
        /// GET.
        Get = "GET",
        /// HEAD.
        Head = "HEAD",
        /// POST.
        Post = "POST",
        /// PUT.
        Put = "PUT",
        /// PATCH.
        Patch = "PATCH",
        /// DELETE.
        Delete = "DELETE",
    }
}

/// An origin, several, or any.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// `*`.
    Any,
    /// A scheme, a host or its subdomains, and a port.
    Of {
        /// `http` or `https`.
        tls: bool,
        /// The host.
        host: HostPattern,
        /// None: the scheme's own.
        port: Option<u16>,
    },
}

impl Origin {
    fn parse(text: &str) -> Result<Self, Invalid> {
        if text == "*" {
            return Ok(Self::Any);
        }
        let form = || {
            Invalid::new(
                "an origin is written like `https://app.example.com`, `https://*.example.com`, \
                 `http://localhost:3000` or `*`",
            )
        };
        let (scheme, rest) = text.split_once("://").ok_or_else(form)?;
        let tls = match scheme {
            "https" => true,
            "http" => false,
            _ => return Err(form()),
        };
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => {
                let port = port.parse().ok().filter(|port| *port != 0);
                (host, Some(port.ok_or_else(form)?))
            }
            _ => (rest, None),
        };
        Ok(Self::Of {
            tls,
            host: HostPattern::parse(host)?,
            port: port.filter(|port| *port != usual(tls)),
        })
    }

    /// Whether an `Origin` header's value is meant (RFC 6454, section 6.2). `null` never is, but by
    /// `*`.
    pub fn matches(&self, origin: &str) -> bool {
        let Self::Of { tls, host, port } = self else {
            return true;
        };
        let scheme = if *tls { "https://" } else { "http://" };
        let Some(rest) = origin.strip_prefix(scheme) else {
            return false;
        };
        let (name, given) = match rest.rsplit_once(':') {
            Some((name, given)) if !given.ends_with(']') => match given.parse::<u16>() {
                Ok(given) => (name, given),
                Err(_) => return false,
            },
            _ => (rest, usual(*tls)),
        };
        // Where a wildcard stands a browser may have put anything that ends as the name does: what is
        // no host's name, `evil.com/.a.b` for one, is no subdomain.
        let of_host = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.');
        given == port.unwrap_or(usual(*tls))
            && !name.ends_with('.')
            && host.matches(name)
            && (!host.is_wildcard() || name.bytes().all(of_host))
    }
}

fn usual(tls: bool) -> u16 {
    if tls { 443 } else { 80 }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Of { tls, host, port } = self else {
            return f.write_str("*");
        };
        write!(f, "{}://{host}", if *tls { "https" } else { "http" })?;
        match port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

word!(
    Origin,
    "an origin like `https://app.example.com`",
    json_schema!({ "type": "string", "pattern": "^(\\*|https?://[^/?#@]+)$" })
);

/// A header's name in lower case (RFC 9110, section 5.1), or `*`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HeaderWord(String);

impl HeaderWord {
    pub(crate) fn of(name: &str) -> Self {
        Self(name.to_owned())
    }

    fn parse(text: &str) -> Result<Self, Invalid> {
        let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        match (1..=64).contains(&text.len()) && text.bytes().all(token) {
            true => Ok(Self(text.to_ascii_lowercase())),
            false => Err(Invalid::new(
                "a header's name has 1 to 64 letters, digits and `-`",
            )),
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// It stands for any.
    pub fn is_any(&self) -> bool {
        self.0 == "*"
    }
}

impl fmt::Display for HeaderWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

word!(
    HeaderWord,
    "a header's name",
    json_schema!({ "type": "string", "minLength": 1, "maxLength": 64 })
);

impl Cors {
    /// What is wrong with the section as a whole: the key to point at, and why.
    pub(crate) fn problem(&self) -> Option<(&'static str, &'static str)> {
        if self.origins.is_empty() {
            return Some(("origins", "without an origin no page may ask"));
        }
        if self.methods.is_empty() {
            return Some(("methods", "without a method no page may ask"));
        }
        if self.credentials && self.origins.contains(&Origin::Any) {
            return Some((
                "credentials",
                "credentials go to named origins only: `*` would lend them to every page",
            ));
        }
        let any = |list: &[HeaderWord]| list.iter().any(HeaderWord::is_any);
        (self.credentials && any(&self.exposed_headers)).then_some((
            "exposed-headers",
            "`*` is no wildcard where credentials are sent: name the headers",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_met_by_scheme_host_and_port() {
        let is = |pattern: &str, origin: &str| Origin::parse(pattern).unwrap().matches(origin);
        for (pattern, origin) in [
            ("*", "https://a.b"),
            ("*", "null"),
            ("https://a.b", "https://a.b"),
            ("https://a.b:443", "https://a.b"),
            ("https://A.b", "https://a.b:443"),
            ("https://*.a.b", "https://x.y.a.b"),
            ("https://*.a.b", "https://X-1.a.b"),
            ("http://localhost:3000", "http://localhost:3000"),
            ("http://[::1]:3000", "http://[::1]:3000"),
        ] {
            assert!(is(pattern, origin), "{pattern} {origin}");
        }
        for (pattern, origin) in [
            ("https://a.b", "http://a.b"),
            ("https://a.b", "https://a.b:444"),
            ("https://a.b", "https://a.b.c"),
            ("https://a.b", "https://xa.b"),
            ("https://a.b", "https://a.b."),
            ("https://a.b", "https://a.b/"),
            ("https://*.a.b", "https://a.b"),
            ("https://*.a.b", "https://xa.b"),
            ("https://*.a.b", "https://x.a.b.evil.com"),
            ("https://*.a.b", "null"),
            ("https://*.a.b", "https://evil.com/.a.b"),
            ("https://*.a.b", "https://evil.com#.a.b"),
            ("https://*.a.b", "https://evil.com?.a.b"),
            ("https://*.a.b", "https://evil.com\\.a.b"),
            ("https://*.a.b", "https://evil.com,.a.b"),
            ("https://*.a.b", "https://evil.com .a.b"),
            ("https://*.a.b", "https://evil.com%2f.a.b"),
            ("https://*.a.b", "https://user@x.a.b"),
            ("https://*.a.b", "https://evil.com:1.a.b"),
            ("https://a.b", "https://a.b:x"),
            ("https://a.b", "https://user@a.b"),
        ] {
            assert!(!is(pattern, origin), "{pattern} {origin}");
        }
    }

    #[test]
    fn what_is_no_origin_is_refused() {
        for text in [
            "",
            "a.b",
            "ftp://a",
            "https://a/",
            "https://*",
            "https://a.*.b",
            "null",
            "https://a:0",
        ] {
            assert!(Origin::parse(text).is_err(), "{text}");
        }
    }
}
