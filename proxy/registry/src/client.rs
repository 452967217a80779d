//! Requests to a registry: with what it asks for of credentials, over redirects, within bounds.
//!
//! 1. A request goes out with what is known: nothing, a name and a password, a token.
//! 2. A 401 says what is missing; it is fetched and the request made once more.
//! 3. A redirect of a download is followed, without credentials where it leads to another host,
//!    and never from TLS to none.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, Request, StatusCode, Uri,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, LOCATION, WWW_AUTHENTICATE},
    uri::{Authority, PathAndQuery},
};
use http_body_util::Full;
use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use tollgate_config::{Reference, RegistryHost};
use tollgate_upstream::{Response, Spec, Tls, Transport, Upstream};

use crate::{
    auth::{Challenge, challenges},
    credentials::Credentials,
    error::RegistryError,
    settings::Settings,
};

/// Redirects of one request.
const REDIRECTS: usize = 5;
/// Bytes of an answer that says what is wrong, or of a token.
const SAID: u64 = 64 << 10;
/// What a value of a query may not have as it is.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');
/// What a path of somebody's choice may not have.
const PATH: &AsciiSet = &CONTROLS.add(b' ');

/// Where requests go: a host, with or without TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Origin {
    tls: bool,
    authority: Authority,
}

/// What is asked.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) method: Method,
    pub(crate) target: Target,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// Where an answer said to go on, or a path of the registry.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    origin: Option<Origin>,
    path: String,
}

impl Target {
    pub(crate) fn path(path: String) -> Self {
        Self { origin: None, path }
    }

    /// With one more parameter.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        let join = if self.path.contains('?') { '&' } else { '?' };
        let value = utf8_percent_encode(value, QUERY);
        self.path = format!("{}{join}{name}={value}", self.path);
        self
    }
}

impl Ask {
    pub(crate) fn get(path: String, accept: &'static str) -> Self {
        Self {
            method: Method::GET,
            target: Target::path(path),
            headers: HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(accept))]),
            body: Bytes::new(),
        }
    }

    pub(crate) fn send(method: Method, target: Target, kind: &'static str, body: Bytes) -> Self {
        Self {
            method,
            target,
            headers: HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(kind))]),
            body,
        }
    }
}

/// An answer, with what it says not read yet.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    body: tollgate_upstream::Incoming,
    /// Who answered.
    host: String,
    origin: Origin,
}

/// One conversation with a registry, about one repository.
pub(crate) struct Client<'s> {
    settings: &'s Settings,
    registry: RegistryHost,
    home: Origin,
    scope: String,
    authorization: Option<HeaderValue>,
    /// Those of the registry, and of who gave the last token or redirected the last download.
    connections: Vec<(Origin, Arc<Upstream>)>,
}

impl<'s> Client<'s> {
    /// `actions`: what a token has to allow, `pull` or `pull,push`.
    pub(crate) fn new(
        settings: &'s Settings,
        reference: &Reference,
        actions: &str,
    ) -> Result<Self, RegistryError> {
        let registry = reference.registry().clone();
        let authority = registry
            .as_str()
            .parse()
            .map_err(|_| protocol(registry.as_str(), "its name is no authority of a URI"))?;
        Ok(Self {
            home: Origin {
                tls: !settings.plain.has(&registry),
                authority,
            },
            scope: format!("repository:{}:{actions}", reference.repository()),
            settings,
            registry,
            authorization: None,
            connections: Vec::new(),
        })
    }

    /// Asks, and sees to credentials and redirects.
    pub(crate) async fn ask(&mut self, ask: Ask) -> Result<Answer, RegistryError> {
        let answer = self.follow(ask.clone()).await?;
        if answer.status != StatusCode::UNAUTHORIZED || answer.origin != self.home {
            return Ok(answer);
        }
        let refused = self.authorization.is_some();
        let field: Vec<&str> = answer
            .headers
            .get_all(WWW_AUTHENTICATE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .collect();
        let asked = challenges(&field.join(", "));
        self.authorize(&asked, refused).await?;
        let answer = self.follow(ask).await?;
        match answer.status {
            StatusCode::UNAUTHORIZED => Err(self.unauthorized(true)),
            _ => Ok(answer),
        }
    }

    async fn follow(&mut self, mut ask: Ask) -> Result<Answer, RegistryError> {
        for _ in 0..=REDIRECTS {
            let answer = self.once(&ask).await?;
            let moved = answer.status.is_redirection() && ask.method == Method::GET;
            if !moved || !answer.headers.contains_key(LOCATION) {
                return Ok(answer);
            }
            ask.target = answer.location()?;
        }
        Err(protocol(
            self.registry.as_str(),
            format!("more than {REDIRECTS} redirects"),
        ))
    }

    async fn once(&mut self, ask: &Ask) -> Result<Answer, RegistryError> {
        let origin = ask.target.origin.clone().unwrap_or(self.home.clone());
        let host = origin.authority.to_string();
        if self.home.tls && !origin.tls {
            return Err(protocol(
                self.registry.as_str(),
                format!("it leads from TLS to none, at {host}"),
            ));
        }
        let mut head = Request::new(());
        *head.method_mut() = ask.method.clone();
        let path = utf8_percent_encode(&ask.target.path, PATH).to_string();
        let path = PathAndQuery::try_from(path)
            .map_err(|_| protocol(&host, "it leads to what is no path"))?;
        *head.uri_mut() = Uri::from(path);
        *head.headers_mut() = ask.headers.clone();
        head.headers_mut().insert(
            http::header::USER_AGENT,
            HeaderValue::from_static(concat!("tollgate/", env!("CARGO_PKG_VERSION"))),
        );
        if origin == self.home
            && let Some(authorization) = &self.authorization
        {
            head.headers_mut()
                .insert(AUTHORIZATION, authorization.clone());
        }
        let upstream = self.connection(&origin)?;
        let Response { head, body } = upstream
            .send(head, Full::new(ask.body.clone()))
            .await
            .map_err(|error| RegistryError::send(&host, error))?;
        Ok(Answer {
            status: head.status,
            headers: head.headers,
            body,
            host,
            origin,
        })
    }

    fn connection(&mut self, origin: &Origin) -> Result<Arc<Upstream>, RegistryError> {
        if let Some((_, upstream)) = self.connections.iter().find(|(it, _)| it == origin) {
            return Ok(upstream.clone());
        }
        let host = origin.authority.as_str();
        let port = if origin.tls { 443 } else { 80 };
        let upstream = Upstream::new(Spec {
            authority: origin.authority.clone(),
            address: match origin.authority.port() {
                Some(_) => host.to_owned(),
                None => format!("{host}:{port}"),
            },
            transport: Transport::H1,
            tls: origin.tls.then(|| Tls {
                ca_pem: self.settings.ca.clone(),
                server_name: None,
            }),
            max_connections: 2,
            max_streams: 1,
            connect_timeout: self.settings.timeout.min(Duration::from_secs(10)),
            idle_timeout: Duration::from_secs(10),
        })
        .map_err(|error| protocol(host, error))?;
        // The registry's own stays; of others the last.
        self.connections.truncate(2);
        self.connections.push((origin.clone(), upstream.clone()));
        Ok(upstream)
    }

    fn credentials(&self) -> Result<Option<Credentials>, RegistryError> {
        let Some(file) = &self.settings.credentials else {
            return Ok(None);
        };
        Ok(Credentials::find(file, &self.registry)?)
    }

    fn unauthorized(&self, tried: bool) -> RegistryError {
        let advice = match (&self.settings.credentials, tried) {
            (Some(file), true) => format!(
                "it does not take those that {} has for it; see whether they are still good",
                file.display()
            ),
            (Some(file), false) => format!("{} has none for it; add them", file.display()),
            (None, _) => {
                "name a file of them in `registries.credentials` (docker's config.json)".to_owned()
            }
        };
        RegistryError::Unauthorized {
            registry: self.registry.to_string(),
            advice,
        }
    }

    /// Fetches what a registry asks for. `refused`: what we had was not enough.
    async fn authorize(&mut self, asked: &[Challenge], refused: bool) -> Result<(), RegistryError> {
        let credentials = self.credentials()?;
        let bearer = asked.iter().find_map(|challenge| match challenge {
            Challenge::Bearer {
                realm,
                service,
                scope,
            } => Some((realm, service, scope)),
            Challenge::Basic => None,
        });
        let value = if let Some((realm, service, scope)) = bearer {
            let scope = scope.as_deref().unwrap_or(&self.scope).to_owned();
            let token = self
                .token(realm, service.as_deref(), &scope, credentials.as_ref())
                .await?;
            format!("Bearer {token}")
        } else if asked.contains(&Challenge::Basic) && !refused {
            let credentials = credentials.ok_or_else(|| self.unauthorized(false))?;
            credentials.basic()
        } else {
            return Err(self.unauthorized(refused));
        };
        let mut value = HeaderValue::try_from(value)
            .map_err(|_| protocol(self.registry.as_str(), "its token is no text"))?;
        value.set_sensitive(true);
        self.authorization = Some(value);
        Ok(())
    }

    /// A token, with our credentials or, where we have none, for anybody.
    async fn token(
        &mut self,
        realm: &str,
        service: Option<&str>,
        scope: &str,
        credentials: Option<&Credentials>,
    ) -> Result<String, RegistryError> {
        #[derive(Deserialize)]
        struct Token {
            token: Option<String>,
            access_token: Option<String>,
        }
        let registry = self.registry.to_string();
        let target = locate(realm, &self.home)
            .ok_or_else(|| protocol(&registry, format!("its tokens come from `{realm}`")))?;
        let mut target = target.with("scope", scope);
        if let Some(service) = service {
            target = target.with("service", service);
        }
        let mut headers = HeaderMap::new();
        if let Some(credentials) = credentials {
            let mut basic = HeaderValue::try_from(credentials.basic())
                .map_err(|_| protocol(&registry, "the credentials are no text"))?;
            basic.set_sensitive(true);
            headers.insert(AUTHORIZATION, basic);
            target = target.with("account", credentials.user());
        }
        let ask = Ask {
            method: Method::GET,
            target,
            headers,
            body: Bytes::new(),
        };
        let kept = self.authorization.take();
        let answer = self.once(&ask).await;
        self.authorization = kept;
        let answer = answer?;
        let host = answer.host.clone();
        if matches!(
            answer.status,
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN
        ) {
            return Err(self.unauthorized(credentials.is_some()));
        }
        let bytes = answer.good("a token").await?.bytes("token", SAID).await?;
        let token: Token = serde_json::from_slice(&bytes)
            .map_err(|_| protocol(&host, "its answer to a request for a token is no JSON"))?;
        token
            .token
            .or(token.access_token)
            .ok_or_else(|| protocol(&host, "its answer to a request for a token has none"))
    }
}

impl Answer {
    /// Where it says to go on.
    pub(crate) fn location(&self) -> Result<Target, RegistryError> {
        let target = self
            .headers
            .get(LOCATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| locate(value, &self.origin));
        target.ok_or_else(|| protocol(&self.host, "it leads on, and does not say where to"))
    }

    /// Itself, if it is a success; else what it says.
    pub(crate) async fn good(self, what: &str) -> Result<Self, RegistryError> {
        if self.status.is_success() {
            return Ok(self);
        }
        let (status, registry) = (self.status, self.host.clone());
        let said = self.said().await;
        let what = what.to_owned();
        Err(match status {
            StatusCode::NOT_FOUND => RegistryError::NotFound {
                registry,
                what,
                said,
            },
            StatusCode::FORBIDDEN => RegistryError::Forbidden { registry, said },
            _ => RegistryError::Status {
                registry,
                what,
                status: status.as_u16(),
                said,
            },
        })
    }

    /// The messages of the first errors that it tells, for the end of a sentence.
    async fn said(self) -> String {
        #[derive(Deserialize)]
        struct Errors {
            errors: Vec<Told>,
        }
        #[derive(Deserialize)]
        struct Told {
            #[serde(default)]
            code: String,
            #[serde(default)]
            message: String,
        }
        let Ok(bytes) = self.bytes("answer", SAID).await else {
            return String::new();
        };
        let Ok(told) = serde_json::from_slice::<Errors>(&bytes) else {
            return String::new();
        };
        let told: Vec<String> = told
            .errors
            .iter()
            .take(3)
            .map(|it| format!("{}: {}", it.code, it.message))
            .collect();
        let mut said = format!(" ({})", told.join("; "));
        said.retain(|c| !c.is_control());
        let end = said.floor_char_boundary(400);
        said.truncate(end);
        said
    }

    /// All that it holds, `most` bytes.
    pub(crate) async fn bytes(
        mut self,
        what: &'static str,
        most: u64,
    ) -> Result<Bytes, RegistryError> {
        let mut held = Vec::new();
        while let Some(data) = self.body.data().await {
            let data = data.map_err(|error| RegistryError::body(&self.host, error))?;
            let bytes = (held.len() + data.len()) as u64;
            if bytes > most {
                return Err(RegistryError::TooLarge { what, bytes, most });
            }
            held.extend_from_slice(&data);
        }
        Ok(held.into())
    }
}

/// An absolute address, or a path of the same host.
fn locate(text: &str, base: &Origin) -> Option<Target> {
    if text.starts_with('/') && !text.starts_with("//") {
        return Some(Target {
            origin: Some(base.clone()),
            path: text.to_owned(),
        });
    }
    let uri: Uri = text.parse().ok()?;
    let tls = match uri.scheme_str()? {
        "https" => true,
        "http" => false,
        _ => return None,
    };
    let authority = uri.authority()?;
    if authority.as_str().contains('@') {
        return None;
    }
    let path = uri.path_and_query().map_or("/", PathAndQuery::as_str);
    Some(Target {
        origin: Some(Origin {
            tls,
            authority: authority.clone(),
        }),
        path: path.to_owned(),
    })
}

pub(crate) fn protocol(registry: &str, reason: impl std::fmt::Display) -> RegistryError {
    RegistryError::Protocol {
        registry: registry.to_owned(),
        reason: reason.to_string(),
    }
}
