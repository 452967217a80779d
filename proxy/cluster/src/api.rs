//! Requests to an API server: with the service account's token, within bounds.
//!
//! The token is read anew for each request, since the kubelet replaces it while it is in use; the
//! authorities that vouch for the server are read anew whenever a list begins.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, USER_AGENT};
use http::uri::Authority;
use http::{HeaderValue, Request, StatusCode, Uri};
use http_body_util::Empty;
use serde::Deserialize;
use serde_json::Value;
use tokio::time::Instant;
use tollgate_upstream::{Incoming, Response, Spec, Tls, Transport, Upstream};

use crate::error::ApiError;
use crate::kinds::Query;
use crate::lines::Lines;

/// Objects of a page. As the API's own clients ask for.
const PAGE: &str = "500";
/// Bytes of an answer that says what is wrong.
const SAID: u64 = 64 << 10;
/// Bytes of a token.
const TOKEN: usize = 64 << 10;

/// How an API server is reached.
#[derive(Clone, Debug)]
pub struct ApiSpec {
    /// Over TLS.
    pub tls: bool,
    /// `host:port`, an IPv6 address in brackets.
    pub authority: String,
    /// What stands before every path; `/` for nothing.
    pub base: String,
    /// File of the bearer token; none: nobody in particular asks.
    pub token: Option<PathBuf>,
    /// File of the authorities, as PEM, that vouch for it; none: the web's.
    pub ca: Option<PathBuf>,
    /// For an answer to begin, and for a page to be read.
    pub timeout: Duration,
    /// Longest list, in bytes.
    pub largest: u64,
}

/// A conversation with an API server.
pub(crate) struct Api {
    spec: ApiSpec,
    upstream: Option<Arc<Upstream>>,
}

/// A whole list.
pub(crate) struct Listed {
    pub(crate) items: Vec<Value>,
    /// From where it can be watched.
    pub(crate) version: String,
}

/// A list, or a page of one.
#[derive(Deserialize)]
pub(crate) struct Page {
    metadata: PageMeta,
    #[serde(default)]
    pub(crate) items: Option<Vec<Value>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PageMeta {
    #[serde(default)]
    resource_version: String,
    #[serde(default, rename = "continue")]
    more: String,
}

impl Page {
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, ApiError> {
        serde_json::from_slice(bytes).map_err(|error| ApiError::Garbage(format!("a list: {error}")))
    }
}

impl Api {
    pub(crate) fn new(spec: ApiSpec) -> Self {
        Self {
            spec,
            upstream: None,
        }
    }

    /// Longest single object, in bytes.
    fn longest_line(&self) -> u64 {
        self.spec.largest / 4
    }

    /// All of them, page by page.
    pub(crate) async fn list(&mut self, query: &Query) -> Result<Listed, ApiError> {
        self.upstream = None;
        let mut items = Vec::new();
        let (mut left, mut more) = (self.spec.largest, String::new());
        loop {
            let path = match more.is_empty() {
                true => query.path(&[("limit", PAGE)]),
                false => query.path(&[("limit", PAGE), ("continue", &more)]),
            };
            let body = self.get(query, &path).await?;
            let bytes = tokio::time::timeout(self.spec.timeout, whole(body, left)).await;
            let bytes = bytes.map_err(|_| ApiError::Timeout)??;
            left = left.saturating_sub(bytes.len() as u64);
            let page = Page::read(&bytes)?;
            items.extend(page.items.unwrap_or_default());
            more = page.metadata.more;
            if more.is_empty() {
                return Ok(Listed {
                    items,
                    version: page.metadata.resource_version,
                });
            }
        }
    }

    /// What happens from a version on, for so long.
    pub(crate) async fn watch(
        &mut self,
        query: &Query,
        version: &str,
        lasting: Duration,
    ) -> Result<Lines, ApiError> {
        let seconds = lasting.as_secs().max(1).to_string();
        let path = query.path(&[
            ("watch", "1"),
            ("allowWatchBookmarks", "true"),
            ("resourceVersion", version),
            ("timeoutSeconds", &seconds),
        ]);
        let body = self.get(query, &path).await?;
        let until = Instant::now() + lasting + self.spec.timeout;
        Ok(Lines::new(body, self.longest_line(), until))
    }

    async fn get(&mut self, query: &Query, path: &str) -> Result<Incoming, ApiError> {
        let patience = self.spec.timeout;
        let asked = async {
            let upstream = self.connection().await?;
            let head = self.head(path).await?;
            let sent = upstream.send(head, Empty::<Bytes>::new()).await;
            sent.map_err(|error| ApiError::Send(told(&error)))
        };
        let asked = tokio::time::timeout(patience, asked).await;
        let Response { head, body } = match asked {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(error),
            Err(_) => return Err(ApiError::Timeout),
        };
        if head.status.is_success() {
            return Ok(body);
        }
        let said = tokio::time::timeout(patience, whole(body, SAID)).await;
        let said = said.ok().and_then(Result::ok).unwrap_or_default();
        Err(self.refused(head.status, query, &said))
    }

    fn refused(&self, status: StatusCode, query: &Query, said: &[u8]) -> ApiError {
        let (what, said) = (query.kind.resource(), message(said));
        match status {
            StatusCode::UNAUTHORIZED => ApiError::Unauthorized(self.spec.token.clone()),
            StatusCode::FORBIDDEN => ApiError::Forbidden { what, said },
            StatusCode::NOT_FOUND => ApiError::NotFound { what, said },
            StatusCode::GONE => ApiError::Gone,
            _ => ApiError::Status {
                status: status.as_u16(),
                said,
            },
        }
    }

    async fn head(&self, path: &str) -> Result<Request<()>, ApiError> {
        let mut head = Request::new(());
        *head.uri_mut() = path
            .parse::<Uri>()
            .map_err(|error| ApiError::Settings(format!("{path}: {error}")))?;
        let headers = head.headers_mut();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let agent = concat!("tollgate/", env!("CARGO_PKG_VERSION"));
        headers.insert(USER_AGENT, HeaderValue::from_static(agent));
        if let Some(path) = &self.spec.token {
            let token = read(path).await?;
            let token = std::str::from_utf8(&token).unwrap_or_default().trim();
            let fits = !token.is_empty() && token.len() <= TOKEN;
            let value = HeaderValue::try_from(format!("Bearer {token}")).ok();
            let mut value = value
                .filter(|_| fits)
                .ok_or_else(|| ApiError::Settings(format!("{} holds no token", path.display())))?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        Ok(head)
    }

    async fn connection(&mut self) -> Result<Arc<Upstream>, ApiError> {
        if let Some(upstream) = &self.upstream {
            return Ok(upstream.clone());
        }
        let spec = &self.spec;
        let settings = |error: &dyn std::fmt::Display| ApiError::Settings(error.to_string());
        let tls = match (spec.tls, &spec.ca) {
            (false, _) => None,
            (true, None) => Some(Tls::default()),
            (true, Some(path)) => Some(Tls {
                ca_pem: Some(read(path).await?),
                server_name: None,
            }),
        };
        let upstream = Upstream::under(
            Spec {
                authority: spec
                    .authority
                    .parse::<Authority>()
                    .map_err(|error| settings(&error))?,
                address: spec.authority.clone(),
                transport: Transport::H1,
                tls,
                max_connections: 2,
                max_streams: 1,
                connect_timeout: spec.timeout,
                idle_timeout: Duration::from_secs(30),
            },
            &spec.base,
        )
        .map_err(|error| settings(&error))?;
        self.upstream = Some(upstream.clone());
        Ok(upstream)
    }
}

async fn read(path: &std::path::Path) -> Result<Vec<u8>, ApiError> {
    let read = tokio::fs::read(path).await;
    read.map_err(|error| ApiError::File {
        path: path.to_owned(),
        error,
    })
}

async fn whole(mut body: Incoming, most: u64) -> Result<Vec<u8>, ApiError> {
    let mut held = Vec::new();
    while let Some(data) = body.data().await {
        let data = data.map_err(|error| ApiError::Send(told(&error)))?;
        if (held.len() + data.len()) as u64 > most {
            return Err(ApiError::TooLarge(most));
        }
        held.extend_from_slice(&data);
    }
    Ok(held)
}

/// An error with what lies behind it.
fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(below) = source {
        let below_text = below.to_string();
        if !text.contains(&below_text) {
            text.push_str(": ");
            text.push_str(&below_text);
        }
        source = below.source();
    }
    text
}

/// The message of a `Status` object, for the end of a sentence.
pub(crate) fn message(said: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Status {
        #[serde(default)]
        message: String,
    }
    let Ok(Status { mut message }) = serde_json::from_slice(said) else {
        return String::new();
    };
    message.retain(|c| !c.is_control());
    let end = message.floor_char_boundary(300);
    message.truncate(end);
    match message.is_empty() {
        true => message,
        false => format!(" ({message})"),
    }
}
