//! From a request's head to who asks.

use std::sync::Arc;

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};

use crate::identity::Identity;

/// Longest token, in bytes: what is longer is refused before it is hashed.
const LONGEST: usize = 4096;

/// Tells who asks.
pub trait Authenticator: Send + Sync {
    /// Who asks, by a request's head.
    ///
    /// # Errors
    /// When the head names nobody, or nobody that may come in.
    fn authenticate(&self, headers: &HeaderMap) -> Result<Arc<Identity>, AuthFailure>;
}

/// Why nobody is let in. The messages are for clients, and never repeat what they sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthFailure {
    /// No `Authorization` header.
    #[error("a token is needed: send `Authorization: Bearer <token>`")]
    Missing,
    /// Not exactly one `Authorization: Bearer <token>`.
    #[error("the Authorization header is malformed: send one `Authorization: Bearer <token>`")]
    Malformed,
    /// No such token.
    #[error("the token is not valid")]
    Unknown,
    /// The token was valid once.
    #[error("the token has expired")]
    Expired,
}

impl AuthFailure {
    /// Its metric label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Malformed => "malformed",
            Self::Unknown => "unknown",
            Self::Expired => "expired",
        }
    }

    /// Value of `WWW-Authenticate` for a 401 (RFC 6750, section 3): without a token, only what is
    /// wanted; with a bad one, that it is bad.
    #[must_use]
    pub fn challenge(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Missing => "Bearer",
            Self::Malformed => "Bearer error=\"invalid_request\"",
            Self::Unknown | Self::Expired => "Bearer error=\"invalid_token\"",
        })
    }
}

/// Refuses everyone: for a configuration that demands tokens and names none.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoTokens;

impl Authenticator for NoTokens {
    fn authenticate(&self, headers: &HeaderMap) -> Result<Arc<Identity>, AuthFailure> {
        bearer(headers).and(Err(AuthFailure::Unknown))
    }
}

/// The token of the only `Authorization: Bearer …` (RFC 6750, section 2.1). Two headers are
/// refused: a proxy before us and a worker behind us might each believe another one.
pub(crate) fn bearer(headers: &HeaderMap) -> Result<&[u8], AuthFailure> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().ok_or(AuthFailure::Missing)?.as_bytes();
    if values.next().is_some() {
        return Err(AuthFailure::Malformed);
    }
    let scheme_end = value.iter().position(|&b| b == b' ');
    let (scheme, rest) = value.split_at(scheme_end.ok_or(AuthFailure::Malformed)?);
    let token = rest.trim_ascii();
    let well_formed = scheme.eq_ignore_ascii_case(b"Bearer")
        && (1..=LONGEST).contains(&token.len())
        && token.iter().all(u8::is_ascii_graphic);
    well_formed.then_some(token).ok_or(AuthFailure::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(values: &[&[u8]]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_bytes(value).unwrap());
        }
        headers
    }

    fn read(values: &[&[u8]]) -> Result<Vec<u8>, AuthFailure> {
        bearer(&headers(values)).map(<[u8]>::to_vec)
    }

    #[test]
    fn the_scheme_has_no_case() {
        for value in ["Bearer abc", "bearer abc", "BEARER   abc", "bEaReR abc "] {
            assert_eq!(read(&[value.as_bytes()]), Ok(b"abc".to_vec()), "{value}");
        }
    }

    #[test]
    fn whatever_is_not_one_bearer_token_is_malformed() {
        let long = [b"Bearer ".as_slice(), &[b'a'; LONGEST + 1]].concat();
        let cases: &[&[&[u8]]] = &[
            &[b""],
            &[b"Bearer"],
            &[b"Bearer "],
            &[b"Bearerabc"],
            &[b"Basic abc"],
            &[b"Bearer a b"],
            &[b"Bearer a\tb"],
            &[b"Bearer a\xffb"],
            &[b"Bearer abc", b"Bearer abc"],
            &[b"Bearer abc", b"Basic abc"],
            &[&long],
        ];
        for case in cases {
            assert_eq!(read(case), Err(AuthFailure::Malformed), "{case:?}");
        }
        assert_eq!(read(&[]), Err(AuthFailure::Missing));
    }

    #[test]
    fn without_tokens_nobody_comes_in() {
        let failure = |values: &[&[u8]]| NoTokens.authenticate(&headers(values)).unwrap_err();
        assert_eq!(failure(&[]), AuthFailure::Missing);
        assert_eq!(failure(&[b"Bearer abc"]), AuthFailure::Unknown);
    }

    #[test]
    fn challenges_name_the_error_only_when_a_token_came() {
        assert_eq!(AuthFailure::Missing.challenge(), "Bearer");
        assert_eq!(
            AuthFailure::Expired.challenge(),
            "Bearer error=\"invalid_token\""
        );
    }
}
