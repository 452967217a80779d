//! What a cluster's API is asked, and what it answers: `TokenReview` of `authentication.k8s.io/v1` and
//! `SubjectAccessReview` of `authorization.k8s.io/v1`, as the Kubernetes API reference has them.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use crate::site::{Site, SiteError};

/// A right that the holder of a token has to have (`resourceAttributes` of a review).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Access {
    /// Group of the API; empty for the core.
    pub group: String,
    /// Kind of resource, in the plural.
    pub resource: String,
    /// A part of it, such as `log`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subresource: Option<String>,
    /// Namespace. None: resources that are in none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Which one. None: all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What is done to it, such as `get`.
    pub verb: String,
}

impl Access {
    /// SHA-256 of what it says: two that differ in anything have different ones, for texts are quoted.
    pub(super) fn digest(&self) -> [u8; 32] {
        Sha256::digest(format!("{self:?}")).into()
    }
}

/// Whose a token is, as the API tells it, and as it is told to the API.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct User {
    #[serde(default)]
    pub(super) username: String,
    #[serde(default)]
    pub(super) uid: String,
    #[serde(default)]
    pub(super) groups: Vec<String>,
    #[serde(default)]
    extra: Map<String, Value>,
}

/// Why the API has not answered.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApiError {
    #[error("our own token cannot be read: {0}")]
    Token(std::io::Error),
    #[error("our own token is none")]
    Form,
    #[error(transparent)]
    Site(#[from] SiteError),
    #[error("the answer is not understood: {0}")]
    Answer(#[from] serde_json::Error),
    #[error("it names nobody whose token it says to be good")]
    Nameless,
}

#[derive(Deserialize)]
struct Answer<S> {
    status: S,
}

#[derive(Deserialize)]
struct TokenStatus {
    #[serde(default)]
    authenticated: bool,
    #[serde(default)]
    user: User,
    #[serde(default)]
    audiences: Vec<String>,
}

#[derive(Deserialize)]
struct AccessStatus {
    #[serde(default)]
    allowed: bool,
    #[serde(default)]
    denied: bool,
}

/// A cluster's API.
pub(super) struct Api {
    site: Site,
    token: PathBuf,
    audiences: Vec<String>,
    timeout: Duration,
    own: ArcSwapOption<(Instant, HeaderValue)>,
    asked: AtomicU64,
    failed: AtomicU64,
}

const TOKENS: &str = "/apis/authentication.k8s.io/v1/tokenreviews";
const RIGHTS: &str = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
/// Bytes of an answer.
const LARGEST: usize = 256 * 1024;
/// Bytes of our own token.
const LONGEST_TOKEN: usize = 64 * 1024;
/// For how long our own token is not read again. It is exchanged by the cluster well before it ends.
const TOKEN_LIFE: Duration = Duration::from_secs(10);

impl Api {
    pub(super) fn new(
        site: Site,
        token: PathBuf,
        audiences: Vec<String>,
        timeout: Duration,
    ) -> Self {
        Self {
            site,
            token,
            audiences,
            timeout,
            own: ArcSwapOption::empty(),
            asked: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        }
    }

    pub(super) fn asked(&self) -> (u64, u64) {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        (read(&self.asked), read(&self.failed))
    }

    /// Whose a token is; none: not the cluster's, or for somebody else.
    pub(super) async fn review(&self, token: &str) -> Result<Option<User>, ApiError> {
        let mut spec = json!({"token": token});
        if !self.audiences.is_empty() {
            spec["audiences"] = json!(self.audiences);
        }
        let status: TokenStatus = self
            .ask(TOKENS, "authentication.k8s.io/v1", "TokenReview", spec)
            .await?;
        // `error` says why not, and cannot be told from its not having been able to.
        if !status.authenticated {
            return Ok(None);
        }
        // One that does not know of audiences returns none, and has not looked at them.
        let meant = |audience: &String| self.audiences.contains(audience);
        if !self.audiences.is_empty() && !status.audiences.iter().any(meant) {
            return Ok(None);
        }
        match status.user.username.is_empty() {
            true => Err(self.failure(ApiError::Nameless)),
            false => Ok(Some(status.user)),
        }
    }

    /// Whether a user has a right.
    pub(super) async fn has_right(&self, user: &User, access: &Access) -> Result<bool, ApiError> {
        let mut spec = json!({
            "resourceAttributes": access,
            "user": user.username,
            "groups": user.groups,
        });
        if !user.uid.is_empty() {
            spec["uid"] = user.uid.as_str().into();
        }
        if !user.extra.is_empty() {
            spec["extra"] = Value::Object(user.extra.clone());
        }
        let status: AccessStatus = self
            .ask(
                RIGHTS,
                "authorization.k8s.io/v1",
                "SubjectAccessReview",
                spec,
            )
            .await?;
        Ok(status.allowed && !status.denied)
    }

    async fn ask<S: for<'de> Deserialize<'de>>(
        &self,
        path: &str,
        version: &str,
        kind: &str,
        spec: Value,
    ) -> Result<S, ApiError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let asked = self.ask_once(path, version, kind, spec).await;
        asked.map_err(|error| self.failure(error))
    }

    async fn ask_once<S: for<'de> Deserialize<'de>>(
        &self,
        path: &str,
        version: &str,
        kind: &str,
        spec: Value,
    ) -> Result<S, ApiError> {
        let json = HeaderValue::from_static("application/json");
        let headers = HeaderMap::from_iter([
            (header::AUTHORIZATION, self.own_token().await?),
            (header::ACCEPT, json.clone()),
            (header::CONTENT_TYPE, json),
        ]);
        let body = json!({"apiVersion": version, "kind": kind, "spec": spec}).to_string();
        let (status, text) = self
            .site
            .ask(
                Method::POST,
                path,
                headers,
                body.into(),
                LARGEST,
                self.timeout,
            )
            .await?;
        match status {
            StatusCode::OK | StatusCode::CREATED => {
                let answer: Answer<S> = serde_json::from_slice(&text)?;
                Ok(answer.status)
            }
            status => {
                if status == StatusCode::UNAUTHORIZED {
                    // Perhaps it has been exchanged since.
                    self.own.store(None);
                }
                Err(SiteError::Status(status).into())
            }
        }
    }

    fn failure(&self, error: ApiError) -> ApiError {
        self.failed.fetch_add(1, Ordering::Relaxed);
        error
    }

    /// `Authorization` of our own, by the file that the cluster keeps up to date.
    async fn own_token(&self) -> Result<HeaderValue, ApiError> {
        if let Some(own) = self.own.load().as_deref()
            && own.0.elapsed() < TOKEN_LIFE
        {
            return Ok(own.1.clone());
        }
        let text = tokio::fs::read(&self.token)
            .await
            .map_err(ApiError::Token)?;
        let token = text.trim_ascii();
        if token.is_empty() || token.len() > LONGEST_TOKEN {
            return Err(ApiError::Form);
        }
        let bytes = Bytes::from([b"Bearer ".as_slice(), token].concat());
        let mut value = HeaderValue::from_maybe_shared(bytes).map_err(|_| ApiError::Form)?;
        value.set_sensitive(true);
        self.own
            .store(Some(Arc::new((Instant::now(), value.clone()))));
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_that_differ_are_told_apart() {
        let right = |group: &str, resource: &str, name: Option<&str>| Access {
            group: group.to_owned(),
            resource: resource.to_owned(),
            name: name.map(str::to_owned),
            verb: "get".to_owned(),
            ..Access::default()
        };
        let all = [
            right("", "models", None),
            right("", "models", Some("")),
            right("", "models", Some("m")),
            right("models", "", Some("m")),
            right("", "models\", name: Some(\"m", None),
        ];
        for (at, one) in all.iter().enumerate() {
            assert_eq!(one.digest(), one.clone().digest());
            let rest = &all[at + 1..];
            assert!(rest.iter().all(|other| other.digest() != one.digest()));
        }
    }
}
