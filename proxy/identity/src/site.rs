//! A server that is asked: where keys are published, or a cluster's API.
//!
//! Over the connections that workers have too (`tollgate-upstream`), so that TLS and its bounds are
//! one. An answer is read whole, up to a bound that who asks gives, and no redirect is followed: it
//! could lead a credential elsewhere, or to keys of somebody else's.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::uri::{Authority, PathAndQuery};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::Full;
use tollgate_upstream::{
    BodyError, Bounds, Gauges, SendError, Spec, SpecError, Tls, Transport, Upstream,
};

/// Where a server is, and how far it may be used.
#[derive(Clone, Debug)]
pub struct SiteSpec {
    /// Its host and port.
    pub authority: String,
    /// Path and query of requests, or what their paths begin with.
    pub path: String,
    /// TLS, or none.
    pub tls: bool,
    /// PEM of the authorities to trust, and no others. None: the web's.
    pub ca_pem: Option<Vec<u8>>,
    /// Connections at once.
    pub connections: usize,
    /// Requests that may wait for one of them.
    pub waiting: usize,
    /// For a connection.
    pub connect_timeout: Duration,
}

/// A server that is asked.
pub struct Site {
    upstream: Arc<Upstream>,
    path: String,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum SiteError {
    /// It is no address, or TLS cannot be set up.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// The host, port or path can stand in no request.
    #[error("`{0}` is no place of a server")]
    Place(String),
    /// It was not reached.
    #[error(transparent)]
    Send(#[from] SendError),
    /// Its answer broke off.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// Its answer is too long.
    #[error("the answer is longer than {0} bytes")]
    Long(usize),
    /// It took too long.
    #[error("there was no answer within {0:?}")]
    Slow(Duration),
    /// It answered something else than was asked for.
    #[error("the answer has status {0}")]
    Status(StatusCode),
}

/// How long a connection is kept that nothing is asked on.
const IDLE: Duration = Duration::from_secs(30);

impl Site {
    /// No connection is made yet.
    ///
    /// # Errors
    /// When it is no place, or its authorities cannot be read.
    pub fn new(spec: SiteSpec) -> Result<Self, SiteError> {
        let place = || SiteError::Place(format!("{}{}", spec.authority, spec.path));
        let authority: Authority = spec.authority.parse().map_err(|_| place())?;
        if authority.port_u16().is_none() {
            return Err(place());
        }
        // What is added to it later are paths of ours.
        PathAndQuery::try_from(format!("/{}", spec.path.trim_start_matches('/')))
            .map_err(|_| place())?;
        let upstream = Upstream::with_bounds(
            Spec {
                address: spec.authority.clone(),
                authority,
                transport: Transport::H1,
                tls: spec.tls.then_some(Tls {
                    ca_pem: spec.ca_pem,
                    server_name: None,
                }),
                max_connections: spec.connections,
                max_streams: 1,
                connect_timeout: spec.connect_timeout,
                idle_timeout: IDLE,
            },
            Bounds {
                max_waiting: spec.waiting,
                ..Bounds::default()
            },
        )?;
        Ok(Self {
            upstream,
            path: spec.path,
        })
    }

    /// How full its connections are.
    #[must_use]
    pub fn gauges(&self) -> Gauges {
        self.upstream.gauges()
    }

    /// Asks, and reads up to so many bytes of the answer. `path` is added to the server's own.
    ///
    /// # Errors
    /// When there is no whole answer within its bounds.
    pub async fn ask(
        &self,
        method: Method,
        path: &str,
        headers: HeaderMap,
        body: Bytes,
        largest: usize,
        timeout: Duration,
    ) -> Result<(StatusCode, Bytes), SiteError> {
        let asking = self.ask_at_leisure(method, path, headers, body, largest);
        let answered = tokio::time::timeout(timeout, asking).await;
        answered.map_err(|_| SiteError::Slow(timeout))?
    }

    async fn ask_at_leisure(
        &self,
        method: Method,
        path: &str,
        headers: HeaderMap,
        body: Bytes,
        largest: usize,
    ) -> Result<(StatusCode, Bytes), SiteError> {
        let whole = match (self.path.as_str(), path) {
            ("", "") => "/".to_owned(),
            (own, path) => format!("{own}{path}"),
        };
        let target = PathAndQuery::try_from(whole.as_str()).map_err(|_| SiteError::Place(whole))?;
        let mut request = Request::new(());
        *request.method_mut() = method;
        *request.uri_mut() = Uri::from(target);
        *request.headers_mut() = headers;
        request.headers_mut().insert(
            header::USER_AGENT,
            HeaderValue::from_static(concat!("tollgate/", env!("CARGO_PKG_VERSION"))),
        );
        let mut response = self.upstream.send(request, Full::new(body)).await?;
        let mut read = BytesMut::new();
        while let Some(data) = response.body.data().await {
            let data = data?;
            if read.len() + data.len() > largest {
                return Err(SiteError::Long(largest));
            }
            read.extend_from_slice(&data);
        }
        Ok((response.head.status, read.freeze()))
    }
}

impl std::fmt::Debug for Site {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Site")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}
