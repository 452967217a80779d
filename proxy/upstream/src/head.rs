//! Puts a request's head into the form that a connection needs. What the caller says about the
//! connection itself is not passed on: framing and connection belong to this crate.

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, Request, Uri, Version,
    header::{
        CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderName, PROXY_AUTHENTICATE,
        PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE,
    },
    uri::{Authority, PathAndQuery, Scheme},
};

use crate::error::SendError;

/// `Connection`-bound fields by RFC 9110 section 7.6.1, and `Expect`: bodies are sent unasked.
static NEVER: [HeaderName; 9] = [
    CONNECTION,
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("keep-alive"),
    TRANSFER_ENCODING,
    UPGRADE,
    EXPECT,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    HeaderName::from_static("http2-settings"),
];

/// What a worker's requests have in common.
pub(crate) struct Target {
    host: HeaderValue,
    authority: Authority,
    scheme: Scheme,
    /// Stands before every path. Empty: nothing does.
    base: String,
}

impl Target {
    /// `base`: what stands before every path, without a slash at its end.
    pub(crate) fn new(authority: Authority, tls: bool, base: &str) -> Self {
        let host = HeaderValue::from_maybe_shared(Bytes::from(authority.as_str().to_owned()))
            .expect("an authority has no byte that a header value must not have");
        let scheme = if tls { Scheme::HTTPS } else { Scheme::HTTP };
        Self {
            host,
            authority,
            scheme,
            base: base.to_owned(),
        }
    }

    fn based(&self, path: PathAndQuery) -> Result<PathAndQuery, SendError> {
        if self.base.is_empty() {
            return Ok(path);
        }
        PathAndQuery::try_from(format!("{}{path}", self.base))
            .map_err(|_| SendError::Invalid("the path is not a path"))
    }

    /// Origin form and `Host` (RFC 9112 sections 3.2.1 and 3.2). `length`: of the body, if known.
    pub(crate) fn http1(
        &self,
        head: &mut Request<()>,
        length: Option<u64>,
    ) -> Result<(), SendError> {
        let path = self.based(strip(head)?)?;
        *head.uri_mut() = Uri::from(path);
        *head.version_mut() = Version::HTTP_11;
        let sends = matches!(*head.method(), Method::POST | Method::PUT | Method::PATCH);
        let headers = head.headers_mut();
        headers.insert(HOST, self.host.clone());
        match length {
            // A method that has a body by nature says that it is empty (RFC 9110 section 8.6).
            Some(0) if !sends => drop(headers.remove(CONTENT_LENGTH)),
            Some(length) => drop(headers.insert(CONTENT_LENGTH, length.into())),
            // The caller's length, if any, is held to by the encoder; else the body is chunked.
            None => {}
        }
        Ok(())
    }

    /// `:scheme`, `:authority` and `:path` (RFC 9113 section 8.3.1).
    pub(crate) fn http2(
        &self,
        head: &mut Request<()>,
        length: Option<u64>,
    ) -> Result<(), SendError> {
        let path = self.based(strip(head)?)?;
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(self.scheme.clone());
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = Some(path);
        *head.uri_mut() =
            Uri::from_parts(parts).map_err(|_| SendError::Invalid("the path is not a path"))?;
        *head.version_mut() = Version::HTTP_2;
        let headers = head.headers_mut();
        headers.remove(HOST);
        if let Some(length) = length
            && headers.contains_key(CONTENT_LENGTH)
        {
            headers.insert(CONTENT_LENGTH, length.into());
        }
        Ok(())
    }
}

/// Takes away what belongs to a connection; returns the path.
fn strip(head: &mut Request<()>) -> Result<PathAndQuery, SendError> {
    if *head.method() == Method::CONNECT {
        // A tunnel would leave framing and flow control behind.
        return Err(SendError::Invalid("CONNECT"));
    }
    let path = match head.uri().path_and_query() {
        Some(path) => path.clone(),
        None => PathAndQuery::from_static("/"),
    };
    let headers = head.headers_mut();
    named_by_connection(headers);
    for name in &NEVER {
        headers.remove(name);
    }
    // Only `trailers` may be asked for hop by hop (RFC 9110 section 10.1.4, RFC 9113 8.2.2).
    if headers.get_all(TE).iter().any(|value| value != "trailers") {
        headers.remove(TE);
    }
    Ok(path)
}

/// Removes the fields that `Connection` lists.
fn named_by_connection(headers: &mut HeaderMap) {
    let Some(value) = headers.get(CONNECTION) else {
        return;
    };
    let mut listed = Vec::new();
    for value in std::iter::once(value).chain(headers.get_all(CONNECTION).iter().skip(1)) {
        let text = value.to_str().unwrap_or_default();
        listed.extend(text.split(',').map(|name| name.trim().to_owned()));
    }
    for name in listed {
        headers.remove(name.as_str());
    }
}
