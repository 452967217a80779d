//! Clients: what they ask, and what they got.

pub mod grpc;
pub mod http1;
pub mod http2;
pub mod sse;

use bytes::Bytes;
use serde_json::Value;

/// A request, to be sent by either version of HTTP.
#[derive(Clone, Debug)]
pub struct Request {
    /// Its method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// The host that it names; none: the address of the connection.
    pub host: Option<String>,
    /// All other headers.
    pub headers: Vec<(String, String)>,
    /// The body; none: no length is told either.
    pub body: Option<Bytes>,
}

impl Request {
    fn new(method: &str, path: &str) -> Self {
        Self {
            method: method.to_owned(),
            path: path.to_owned(),
            host: None,
            headers: Vec::new(),
            body: None,
        }
    }

    /// A GET.
    #[must_use]
    pub fn get(path: &str) -> Self {
        Self::new("GET", path)
    }

    /// A POST of JSON.
    #[must_use]
    pub fn post(path: &str, body: &Value) -> Self {
        Self::post_bytes(path, body.to_string())
    }

    /// A POST of bytes that claim to be JSON.
    #[must_use]
    pub fn post_bytes(path: &str, body: impl Into<Bytes>) -> Self {
        let mut request = Self::new("POST", path).header("content-type", "application/json");
        request.body = Some(body.into());
        request
    }

    /// With another method.
    #[must_use]
    pub fn method(mut self, method: &str) -> Self {
        method.clone_into(&mut self.method);
        self
    }

    /// To another host.
    #[must_use]
    pub fn host(mut self, host: &str) -> Self {
        self.host = Some(host.to_owned());
        self
    }

    /// With one more header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With a token.
    #[must_use]
    pub fn token(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }
}

/// How a response ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// As it said it would.
    Whole,
    /// Before.
    Cut,
}

/// A response.
#[derive(Clone, Debug)]
pub struct Response {
    /// Its status.
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// As much as came.
    pub body: Bytes,
    /// Whether that was all.
    pub end: End,
}

impl Response {
    /// The first header of that name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(known, _)| known == name);
        found.next().map(|(_, value)| value.as_str())
    }

    /// The body as text.
    ///
    /// # Panics
    /// When it is not UTF-8, or broke off.
    #[must_use]
    pub fn text(&self) -> String {
        assert_eq!(self.end, End::Whole, "the body broke off: {self:?}");
        String::from_utf8(self.body.to_vec()).expect("the body is UTF-8")
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is not JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        let text = self.text();
        serde_json::from_str(&text).unwrap_or_else(|problem| panic!("{problem}: {text}"))
    }

    /// Itself, with this status.
    ///
    /// # Panics
    /// When the status is another one.
    pub fn with_status(self, status: u16) -> Self {
        let body = String::from_utf8_lossy(&self.body);
        assert_eq!(self.status, status, "{:?} {body}", self.headers);
        self
    }
}
