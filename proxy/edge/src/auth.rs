//! From a request's head, and its connection's certificate, to who asks.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use tollgate_identity::{AuthFailure, Certificate, Identity, Outcome, Presented, Verdict, Way};

/// Longest token, in bytes: what is longer is refused before anybody looks at it.
const LONGEST: usize = 16 * 1024;

/// A door, and the ways of telling who asks that it accepts: the first that knows the credential
/// says who it is, or that it is bad. Without any, it lets nobody in.
#[derive(Clone, Default)]
pub struct Door {
    ways: Vec<Arc<dyn Way>>,
}

/// Who asks, at once or after somebody else was asked.
pub enum Admission<'a> {
    /// Known here.
    Now(Result<Arc<Identity>, AuthFailure>),
    /// Bounded in time by whoever has to be asked.
    Later(Pin<Box<dyn Future<Output = Result<Arc<Identity>, AuthFailure>> + Send + 'a>>),
}

// === impl Door ===

impl Door {
    /// A door that these open, tried in this order.
    #[must_use]
    pub fn new(ways: Vec<Arc<dyn Way>>) -> Self {
        Self { ways }
    }

    /// Tells who asks, by a request's head and by the certificate that its connection began with.
    #[must_use]
    pub fn admit<'a>(
        &'a self,
        headers: &'a HeaderMap,
        certificate: Option<&'a Certificate>,
    ) -> Admission<'a> {
        let bearer = match bearer(headers) {
            Ok(token) => Some(token),
            Err(AuthFailure::Missing) => None,
            // What two might read in two ways is not read, whatever else came.
            Err(malformed) => return Admission::Now(Err(malformed)),
        };
        let presented = Presented {
            bearer,
            certificate,
        };
        for (at, way) in self.ways.iter().enumerate() {
            match way.look(presented) {
                Verdict::Now(Ok(None)) => {}
                Verdict::Now(Ok(Some(identity))) => return Admission::Now(Ok(identity)),
                Verdict::Now(Err(failure)) => return Admission::Now(Err(failure)),
                Verdict::Later(asking) => {
                    let rest = &self.ways[at + 1..];
                    return Admission::Later(Box::pin(async move {
                        conclude(ask_on(asking.await, rest, presented).await, presented)
                    }));
                }
            }
        }
        Admission::Now(conclude(Ok(None), presented))
    }
}

/// The rest of the ways, after one that had to ask.
async fn ask_on(first: Outcome, rest: &[Arc<dyn Way>], presented: Presented<'_>) -> Outcome {
    let mut outcome = first;
    for way in rest {
        if !matches!(outcome, Ok(None)) {
            break;
        }
        outcome = way.look(presented).settled().await;
    }
    outcome
}

/// What nobody knows is unknown, and where nothing came, something is missing.
fn conclude(outcome: Outcome, presented: Presented<'_>) -> Result<Arc<Identity>, AuthFailure> {
    outcome?.ok_or(match presented.bearer {
        Some(_) => AuthFailure::Unknown,
        None => AuthFailure::Missing,
    })
}

/// Value of `WWW-Authenticate` for a refusal (RFC 6750, section 3): without a token, only what is
/// wanted; with a bad one, that it is bad, and why.
#[must_use]
pub fn challenge(failure: AuthFailure) -> HeaderValue {
    let plain = HeaderValue::from_static("Bearer");
    let Some(code) = failure.code() else {
        return plain;
    };
    let told = format!("Bearer error=\"{code}\", error_description=\"{failure}\"");
    HeaderValue::try_from(told).unwrap_or(plain)
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
    use tollgate_identity::{Grant, Tenant};

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

    /// Knows one token, at once or later, and calls another one bad.
    struct Knows {
        token: &'static str,
        bad: &'static str,
        later: bool,
    }

    impl Way for Knows {
        fn look<'a>(&'a self, presented: Presented<'a>) -> Verdict<'a> {
            let outcome = match presented.bearer {
                Some(token) if token == self.bad.as_bytes() => Err(AuthFailure::Expired),
                Some(token) if token == self.token.as_bytes() => {
                    let grant = Grant {
                        name: self.token.to_owned(),
                        ..Grant::default()
                    };
                    let identity = Identity::new(Tenant::plain("team"), grant);
                    Ok(Some(Arc::new(identity)))
                }
                _ => Ok(None),
            };
            match self.later {
                true => Verdict::later(async move { outcome }),
                false => Verdict::Now(outcome),
            }
        }
    }

    async fn admitted(door: &Door, token: &str) -> Result<String, AuthFailure> {
        let headers = headers(&[format!("Bearer {token}").as_bytes()]);
        let admitted = match door.admit(&headers, None) {
            Admission::Now(outcome) => outcome,
            Admission::Later(asking) => asking.await,
        };
        admitted.map(|identity| identity.name().to_owned())
    }

    #[tokio::test]
    async fn the_first_way_that_knows_a_token_decides() {
        for slow in [[false, false], [true, false], [false, true], [true, true]] {
            let [first, second] = slow;
            let way = |token, bad, later| -> Arc<dyn Way> { Arc::new(Knows { token, bad, later }) };
            let door = Door::new(vec![way("a", "b", first), way("b", "a", second)]);
            assert_eq!(admitted(&door, "a").await.as_deref(), Ok("a"), "{slow:?}");
            assert_eq!(admitted(&door, "b").await, Err(AuthFailure::Expired));
            assert_eq!(admitted(&door, "c").await, Err(AuthFailure::Unknown));
            let door = Door::new(vec![way("a", "", first), way("b", "", second)]);
            assert_eq!(admitted(&door, "b").await.as_deref(), Ok("b"), "{slow:?}");
        }
    }

    #[test]
    fn without_a_way_nobody_comes_in() {
        let door = Door::default();
        let failure = |values: &[&[u8]]| match door.admit(&headers(values), None) {
            Admission::Now(outcome) => outcome.unwrap_err(),
            Admission::Later(_) => panic!("nobody is asked"),
        };
        assert_eq!(failure(&[]), AuthFailure::Missing);
        assert_eq!(failure(&[b"Bearer abc"]), AuthFailure::Unknown);
        assert_eq!(failure(&[b"Basic abc"]), AuthFailure::Malformed);
    }

    #[test]
    fn challenges_name_the_error_only_when_a_token_came() {
        assert_eq!(challenge(AuthFailure::Missing), "Bearer");
        assert_eq!(
            challenge(AuthFailure::Expired),
            "Bearer error=\"invalid_token\", error_description=\"the token has expired\""
        );
        for failure in AuthFailure::ALL {
            assert!(challenge(failure).to_str().unwrap().starts_with("Bearer"));
        }
    }
}
