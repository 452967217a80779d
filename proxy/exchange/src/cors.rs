//! Pages of other origins: what a browser asks before they may ask, and what it wants to read on
//! answers (Fetch standard, "HTTP extensions: CORS protocol").
//!
//! 1. A preflight (`OPTIONS` with `Origin` and `Access-Control-Request-Method`) is answered here: by
//!    its nature it carries no credentials, so it comes before authentication. No guest sees it.
//! 2. Every other answer of the route, errors included, says whether the page that asked may read it.
//!    What a worker says of that is taken out: the worker does not know who stands before it.
//! 3. Whatever depends on the origin says so (`Vary`), so that no cache mixes pages up.
//!
//! Requests are not refused by their origin: a browser keeps its answer from the page, and who is no
//! browser has no origin. Who may ask is for tokens to say.

use std::{fmt, time::Duration};

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode,
    header::{
        ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS,
        ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS,
        ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD,
        InvalidHeaderValue, ORIGIN, VARY,
    },
};

/// Longest list of headers that a preflight may ask for, in bytes.
const ASKED: usize = 4096;

/// What a preflight's answer depends on.
const VARY_PREFLIGHT: HeaderValue = HeaderValue::from_static(
    "Origin, Access-Control-Request-Method, Access-Control-Request-Headers",
);
const VARY_ORIGIN: HeaderValue = HeaderValue::from_static("Origin");
const ANY: HeaderValue = HeaderValue::from_static("*");
const TRUE: HeaderValue = HeaderValue::from_static("true");

/// What a page may read of it is ours to say.
static OURS: [HeaderName; 6] = [
    ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_ALLOW_CREDENTIALS,
    ACCESS_CONTROL_ALLOW_HEADERS,
    ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_EXPOSE_HEADERS,
    ACCESS_CONTROL_MAX_AGE,
];

/// Tells whether an origin is among those that may ask.
type Origins = Box<dyn Fn(&str) -> bool + Send + Sync>;

/// Which pages may ask a route, and how.
pub struct CorsSpec {
    /// Whether an `Origin` is meant.
    pub origins: Origins,
    /// Every origin is: the answer does not depend on it.
    pub any: bool,
    /// Methods that may be used.
    pub methods: Vec<String>,
    /// Headers that may be sent; none: whatever is asked for.
    pub headers: Option<Vec<String>>,
    /// Headers that may be read.
    pub exposed: Vec<String>,
    /// How long the answer to a preflight holds.
    pub max_age: Duration,
    /// Cookies and the like may be sent along.
    pub credentials: bool,
}

/// The same, written as headers.
pub struct Cors {
    origins: Origins,
    any: bool,
    credentials: bool,
    methods: HeaderValue,
    headers: Option<HeaderValue>,
    exposed: Option<HeaderValue>,
    max_age: HeaderValue,
}

/// What an answer says of the page that asked.
#[derive(Debug)]
pub(crate) struct Dress(HeaderMap);

impl Cors {
    /// # Errors
    /// A method or a header's name cannot stand in a header.
    pub fn new(spec: CorsSpec) -> Result<Self, InvalidHeaderValue> {
        let list = |names: &[String]| HeaderValue::try_from(names.join(", "));
        let exposed = (!spec.exposed.is_empty()).then(|| list(&spec.exposed));
        Ok(Self {
            any: spec.any && !spec.credentials,
            origins: spec.origins,
            credentials: spec.credentials,
            methods: list(&spec.methods)?,
            headers: spec.headers.as_deref().map(list).transpose()?,
            exposed: exposed.transpose()?,
            max_age: HeaderValue::from(spec.max_age.as_secs()),
        })
    }

    /// What an answer to these headers says.
    pub(crate) fn dress(&self, headers: &HeaderMap) -> Dress {
        let mut says = HeaderMap::with_capacity(4);
        if !self.any {
            says.insert(VARY, VARY_ORIGIN);
        }
        let Some(allowed) = self.allowed(headers) else {
            return Dress(says);
        };
        says.insert(ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
        if self.credentials {
            says.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, TRUE);
        }
        if let Some(exposed) = &self.exposed {
            says.insert(ACCESS_CONTROL_EXPOSE_HEADERS, exposed.clone());
        }
        Dress(says)
    }

    /// The answer to a preflight; none: it is none. A page that may not ask is told nothing, which
    /// its browser takes for a no.
    pub(crate) fn preflight(&self, method: &Method, headers: &HeaderMap) -> Option<Response<()>> {
        if *method != Method::OPTIONS
            || !headers.contains_key(ORIGIN)
            || !headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
        {
            return None;
        }
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::NO_CONTENT;
        let says = response.headers_mut();
        says.insert(VARY, VARY_PREFLIGHT);
        if let Some(allowed) = self.allowed(headers) {
            says.insert(ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
            says.insert(ACCESS_CONTROL_ALLOW_METHODS, self.methods.clone());
            says.insert(ACCESS_CONTROL_MAX_AGE, self.max_age.clone());
            if self.credentials {
                says.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, TRUE);
            }
            let asked = headers.get(ACCESS_CONTROL_REQUEST_HEADERS);
            let asked = asked.filter(|asked| asked.len() <= ASKED);
            if let Some(headers) = self.headers.as_ref().or(asked) {
                says.insert(ACCESS_CONTROL_ALLOW_HEADERS, headers.clone());
            }
        }
        Some(response)
    }

    /// What is said to the origin of a request, if it may ask.
    fn allowed(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let mut origins = headers.get_all(ORIGIN).iter();
        let (origin, second) = (origins.next()?, origins.next());
        let text = origin.to_str().ok()?;
        if second.is_some() || !(self.origins)(text) {
            return None;
        }
        Some(if self.any { ANY } else { origin.clone() })
    }
}

impl fmt::Debug for Cors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cors")
            .field("any", &self.any)
            .field("credentials", &self.credentials)
            .finish_non_exhaustive()
    }
}

impl Dress {
    /// Puts it on an answer's head.
    pub(crate) fn put_on(self, head: &mut HeaderMap) {
        for name in &OURS {
            head.remove(name);
        }
        for (name, value) in self.0 {
            let Some(name) = name else { continue };
            if name == VARY {
                head.append(name, value);
            } else {
                head.insert(name, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cors(any: bool, credentials: bool, headers: Option<&[&str]>) -> Cors {
        let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        Cors::new(CorsSpec {
            origins: Box::new(move |origin| any || origin == "https://a.b"),
            any,
            methods: owned(&["GET", "POST"]),
            headers: headers.map(owned),
            exposed: owned(&["x-request-id"]),
            max_age: Duration::from_secs(600),
            credentials,
        })
        .unwrap()
    }

    fn headers(all: &[(&'static str, &'static str)]) -> HeaderMap {
        let one = |(name, value): &(&'static str, &'static str)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        };
        let mut headers = HeaderMap::new();
        for (name, value) in all.iter().map(one) {
            headers.append(name, value);
        }
        headers
    }

    const PREFLIGHT: [(&str, &str); 3] = [
        ("origin", "https://a.b"),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "authorization, x-own"),
    ];

    #[test]
    fn a_preflight_of_a_page_that_may_ask_is_granted() {
        let asked = headers(&PREFLIGHT);
        let cors = cors(false, true, Some(&["authorization"]));
        let answer = cors.preflight(&Method::OPTIONS, &asked).unwrap();
        let says = answer.headers();
        assert_eq!(answer.status(), 204);
        assert_eq!(says[ACCESS_CONTROL_ALLOW_ORIGIN], "https://a.b");
        assert_eq!(says[ACCESS_CONTROL_ALLOW_METHODS], "GET, POST");
        assert_eq!(says[ACCESS_CONTROL_ALLOW_HEADERS], "authorization");
        assert_eq!(says[ACCESS_CONTROL_ALLOW_CREDENTIALS], "true");
        assert_eq!(says[ACCESS_CONTROL_MAX_AGE], "600");
        assert!(says[VARY].to_str().unwrap().starts_with("Origin"));
    }

    #[test]
    fn whatever_is_asked_for_may_be_sent_where_the_configuration_says_so() {
        let cors = cors(true, false, None);
        let answer = cors
            .preflight(&Method::OPTIONS, &headers(&PREFLIGHT))
            .unwrap();
        let says = answer.headers();
        assert_eq!(says[ACCESS_CONTROL_ALLOW_ORIGIN], "*");
        assert_eq!(says[ACCESS_CONTROL_ALLOW_HEADERS], "authorization, x-own");
        assert!(!says.contains_key(ACCESS_CONTROL_ALLOW_CREDENTIALS));
    }

    #[test]
    fn a_page_that_may_not_ask_is_told_nothing() {
        let cors = cors(false, true, None);
        let mut asked = headers(&PREFLIGHT);
        asked.insert(ORIGIN, HeaderValue::from_static("https://evil.example"));
        let answer = cors.preflight(&Method::OPTIONS, &asked).unwrap();
        let mut names = answer.headers().keys();
        assert!(names.all(|name| name == VARY), "{answer:?}");
        let twice = headers(&[("origin", "https://a.b"), ("origin", "https://a.b")]);
        assert!(cors.allowed(&twice).is_none());
    }

    #[test]
    fn what_is_no_preflight_goes_on() {
        let cors = cors(false, false, None);
        let asked = headers(&PREFLIGHT);
        assert!(cors.preflight(&Method::POST, &asked).is_none());
        for without in ["origin", "access-control-request-method"] {
            let mut asked = asked.clone();
            asked.remove(without);
            assert!(cors.preflight(&Method::OPTIONS, &asked).is_none());
        }
    }

    #[test]
    fn an_answer_says_what_we_say_and_not_what_a_worker_says() {
        let cors = cors(false, false, None);
        let mut head = headers(&[
            ("access-control-allow-origin", "*"),
            ("access-control-allow-credentials", "true"),
            ("vary", "Accept"),
        ]);
        cors.dress(&headers(&[("origin", "https://a.b")]))
            .put_on(&mut head);
        assert_eq!(head[ACCESS_CONTROL_ALLOW_ORIGIN], "https://a.b");
        assert_eq!(head[ACCESS_CONTROL_EXPOSE_HEADERS], "x-request-id");
        assert!(!head.contains_key(ACCESS_CONTROL_ALLOW_CREDENTIALS));
        let vary: Vec<_> = head.get_all(VARY).iter().collect();
        assert_eq!(vary, ["Accept", "Origin"]);
    }

    #[test]
    fn without_an_origin_an_answer_only_says_that_it_would_depend_on_it() {
        let mut head = HeaderMap::new();
        cors(false, true, None)
            .dress(&HeaderMap::new())
            .put_on(&mut head);
        assert_eq!(head, headers(&[("vary", "Origin")]));
        let mut head = HeaderMap::new();
        cors(true, false, None)
            .dress(&HeaderMap::new())
            .put_on(&mut head);
        assert!(head.is_empty());
    }
}
