//! Failures cross three borders: from the contract's variant to the host's table and
//! back, and out to a client in the words of the claim's error template.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use tollgate_edge::{AuthFailure, Class};
use tollgate_plugin::{
    GuestError,
    manifest::{Claim, ErrorTemplate, Manifest},
    types,
};
use tollgate_wire::{failure::Failure, grpc, template::Template};

/// A failure of the contract's, by its label.
pub(crate) fn failure(label: &str, message: impl Into<String>) -> types::Failure {
    types::Failure {
        kind: kind(label),
        message: message.into(),
        param: None,
        retry_after_ms: None,
        extensions: Vec::new(),
    }
}

/// The contract's failure for one of the host's.
pub(crate) fn to_guest(failure: &Failure) -> types::Failure {
    types::Failure {
        kind: kind(failure.label()),
        message: failure.message.clone(),
        param: failure.param.clone(),
        retry_after_ms: failure.retry_after_ms,
        extensions: failure
            .culprit
            .as_deref()
            .map(culprit)
            .into_iter()
            .collect(),
    }
}

/// Name of the extension that tells which plugin failed.
const CULPRIT: &str = "failed-plugin";

fn culprit(name: &str) -> types::Extension {
    types::Extension {
        name: CULPRIT.to_owned(),
        payload: name.as_bytes().to_vec(),
    }
}

/// The host's failure for one of the contract's.
pub(crate) fn from_guest(failure: types::Failure) -> Failure {
    let mut told = Failure::of_label(label(&failure.kind), failure.message);
    told.param = failure.param;
    told.retry_after_ms = failure.retry_after_ms;
    let mut extensions = failure.extensions.into_iter();
    let culprit = extensions.find(|extension| extension.name == CULPRIT);
    told.culprit = culprit.and_then(|it| String::from_utf8(it.payload).ok());
    told
}

/// `Proxy-Status` (RFC 9209) of a response that a plugin's failure is to blame for.
pub(crate) fn proxy_status(plugin: &str) -> Option<(HeaderName, HeaderValue)> {
    let status =
        format!("tollgate; error=proxy_internal_error; details=\"plugin {plugin} failed\"");
    let value = HeaderValue::try_from(status).ok()?;
    Some((HeaderName::from_static("proxy-status"), value))
}

/// What a client is told of a plugin's end. What happened, and to which plugin, is in
/// the log: it is nothing that a client could mend.
pub(crate) fn of_plugin(error: &GuestError) -> Failure {
    match error {
        GuestError::Full { .. } => {
            Failure::overloaded("the proxy has no room for this request").with_retry_after(1000)
        }
        GuestError::Overdue { .. } => {
            Failure::plugin_failed("a plugin was replaced while it served this request")
                .with_culprit(error.plugin())
        }
        GuestError::Trapped { .. } | GuestError::Lost { .. } | GuestError::Quarantined { .. } => {
            Failure::plugin_failed("a plugin failed while it served this request")
                .with_culprit(error.plugin())
        }
    }
}

/// What a client is told whose request a plugin cannot bear: it is as large as a body may be, or holds
/// many small things.
pub(crate) fn too_much() -> Failure {
    Failure::payload_too_large("a plugin would take more memory or time for this than it may")
}

/// What a client is told who is not let in.
pub(crate) fn of_door(why: AuthFailure) -> Failure {
    match why.class() {
        Class::Unauthenticated => Failure::unauthenticated(why.to_string()),
        Class::Forbidden => Failure::permission_denied(why.to_string()),
        Class::Unavailable => Failure::overloaded(why.to_string()).with_retry_after(1000),
    }
}

/// What a client is told whose body there is no room for.
pub(crate) fn no_room() -> Failure {
    Failure::overloaded("the proxy holds as much of requests as it may").with_retry_after(1000)
}

macro_rules! kinds {
    ($($label:literal => $case:ident,)*) => {
        fn kind(label: &str) -> types::FailureKind {
            match label {
                $($label => types::FailureKind::$case,)*
                other => types::FailureKind::Other(other.to_owned()),
            }
        }

        /// The label of a kind; an unknown one's own name.
        pub(crate) fn label(kind: &types::FailureKind) -> &str {
            match kind {
                $(types::FailureKind::$case => $label,)*
                types::FailureKind::Other(name) => name,
            }
        }

        #[cfg(test)]
        const LABELS: &[&str] = &[$($label,)*];
    };
}

kinds! {
    "invalid-argument" => InvalidArgument,
    "unauthenticated" => Unauthenticated,
    "permission-denied" => PermissionDenied,
    "not-found" => NotFound,
    "method-not-allowed" => MethodNotAllowed,
    "conflict" => Conflict,
    "failed-precondition" => FailedPrecondition,
    "payload-too-large" => PayloadTooLarge,
    "unsupported-media-type" => UnsupportedMediaType,
    "unprocessable" => Unprocessable,
    "rate-limited" => RateLimited,
    "overloaded" => Overloaded,
    "unsupported" => Unsupported,
    "deadline-exceeded" => DeadlineExceeded,
    "cancelled" => Cancelled,
    "internal" => Internal,
    "plugin-failed" => PluginFailed,
    "upstream-unavailable" => UpstreamUnavailable,
    "upstream-invalid" => UpstreamInvalid,
}

/// How the host words errors for one claim.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wording(Arc<HashMap<String, Worded>>);

#[derive(Debug)]
struct Worded {
    status: Option<u16>,
    content_type: Option<HeaderValue>,
    body: Template,
}

impl Wording {
    /// A claim's templates, then its manifest's.
    pub(crate) fn new(manifest: &Manifest, claim: Option<&Claim>) -> Self {
        let mut worded = HashMap::new();
        let claimed = claim.map_or(&[][..], |claim| &claim.errors);
        for template in claimed.iter().chain(&manifest.errors) {
            worded
                .entry(template.label.clone())
                .or_insert_with(|| Worded::new(template));
        }
        Self(Arc::new(worded))
    }

    /// The response for a failure.
    pub(crate) fn response(
        &self,
        failure: &Failure,
        is_grpc: bool,
        request_id: &str,
    ) -> (Response<()>, Bytes) {
        let proxy_status = failure.culprit.as_deref().and_then(proxy_status);
        if is_grpc {
            let mut response = trailers_only(grpc_status(failure.grpc(), &failure.message));
            response.headers_mut().extend(proxy_status);
            // What a client may use instead, where its compression was not understood.
            response.headers_mut().insert(
                GRPC_ACCEPT_ENCODING,
                HeaderValue::from_static(grpc::ACCEPT_ENCODING),
            );
            if let Some(ms) = failure.retry_after_ms {
                response
                    .headers_mut()
                    .insert(GRPC_RETRY_PUSHBACK, HeaderValue::from(ms));
            }
            return (response, Bytes::new());
        }
        let worded = self.0.get(failure.label()).or_else(|| self.0.get(""));
        let status = failure
            .own_status()
            .or_else(|| worded.and_then(|worded| worded.status))
            .unwrap_or_else(|| failure.http());
        let mut response = Response::new(());
        *response.status_mut() =
            StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        response.headers_mut().extend(proxy_status);
        let body = match worded {
            Some(worded) => {
                if let Some(content_type) = &worded.content_type {
                    response
                        .headers_mut()
                        .insert(header::CONTENT_TYPE, content_type.clone());
                }
                worded.body.render(failure, status, request_id)
            }
            None => {
                response.headers_mut().insert(
                    header::CONTENT_TYPE,
                    HeaderValue::from_static("text/plain; charset=utf-8"),
                );
                Bytes::from(format!("{}\n", failure.message))
            }
        };
        response
            .headers_mut()
            .insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
        if let Some(seconds) = failure.retry_after_seconds() {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if failure.http() == 401 {
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        (response, body)
    }
}

impl Worded {
    fn new(template: &ErrorTemplate) -> Self {
        Self {
            status: template.status,
            content_type: HeaderValue::from_str(&template.content_type)
                .ok()
                .filter(|value| !value.is_empty()),
            body: Template::new(&template.body),
        }
    }
}

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");
/// When to come again, in milliseconds (gRFC A6, "Pushback").
const GRPC_RETRY_PUSHBACK: HeaderName = HeaderName::from_static("grpc-retry-pushback-ms");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// Status and message as gRPC trailers.
pub(crate) fn grpc_status(code: u32, message: &str) -> http::HeaderMap {
    let mut trailers = http::HeaderMap::with_capacity(2);
    trailers.insert(GRPC_STATUS, HeaderValue::from(code));
    if !message.is_empty()
        && let Ok(value) = HeaderValue::from_str(&grpc::encode_message(message))
    {
        trailers.insert(GRPC_MESSAGE, value);
    }
    trailers
}

/// A gRPC response that is nothing but a status (trailers in the header block).
pub(crate) fn trailers_only(trailers: http::HeaderMap) -> Response<()> {
    let mut response = Response::new(());
    *response.headers_mut() = trailers;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/grpc"),
    );
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kinds_are_the_table() {
        let table: Vec<_> = tollgate_contract::failure::TABLE
            .iter()
            .map(|row| row.label)
            .collect();
        assert_eq!(table, LABELS);
        for name in LABELS {
            assert_eq!(label(&kind(name)), *name);
        }
    }
}
