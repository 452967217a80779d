//! How the admin listener reads bodies, and how it answers: in JSON, refusals with what to do about
//! them; and the headers that keep a browser from doing more with it than was meant.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Body;
use serde_json::{Value, json};

/// Bytes of a request's body.
const BODY: usize = 4 << 10;
/// How long it may take to come.
const BODY_TIME: Duration = Duration::from_secs(10);

/// On every answer. The page loads its own files and nothing else, stands in no frame, and runs no
/// script that stands in the page (Content Security Policy, level 3); what is told is for nobody's
/// cache, and no other site's page may read it (Fetch, "Cross-Origin-Resource-Policy").
static GUARDS: [(HeaderName, &str); 8] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
         connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
         require-trusted-types-for 'script'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    ),
    (
        HeaderName::from_static("permissions-policy"),
        "camera=(), geolocation=(), microphone=()",
    ),
];

/// Reads a request's body.
///
/// # Errors
/// With the status and the reason, when it is too large or does not come.
pub(super) async fn body<B>(body: B) -> Result<Bytes, (StatusCode, &'static str)>
where
    B: Body<Data = Bytes>,
    B::Error: Into<tollgate_edge::BoxError>,
{
    read(body, BODY_TIME).await
}

async fn read<B>(body: B, time: Duration) -> Result<Bytes, (StatusCode, &'static str)>
where
    B: Body<Data = Bytes>,
    B::Error: Into<tollgate_edge::BoxError>,
{
    let collected = Limited::new(body, BODY).collect();
    match tokio::time::timeout(time, collected).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(_)) => Err((StatusCode::PAYLOAD_TOO_LARGE, "the body is too large")),
        Err(_) => Err((StatusCode::REQUEST_TIMEOUT, "the body did not come in time")),
    }
}

/// Adds what every answer has, where it does not say otherwise itself.
pub(super) fn guard(response: &mut Response<Full<Bytes>>) {
    let headers = response.headers_mut();
    for (name, value) in &GUARDS {
        headers
            .entry(name)
            .or_insert_with(|| HeaderValue::from_static(value));
    }
}

/// A line for probes.
pub(super) fn text(status: StatusCode, body: &'static str) -> Response<Full<Bytes>> {
    let mut response = typed("text/plain; charset=utf-8", body);
    *response.status_mut() = status;
    response
}

/// Something with a content type.
pub(super) fn typed(content_type: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// JSON.
pub(super) fn object(status: StatusCode, value: &Value) -> Response<Full<Bytes>> {
    let mut response = typed("application/json", value.to_string());
    *response.status_mut() = status;
    response
}

/// No, why, and what to do; without the latter where the reason says it.
pub(super) fn refused(status: StatusCode, why: &str, what: &str) -> Response<Full<Bytes>> {
    let mut said = json!({ "error": why });
    if !what.is_empty() {
        said["do"] = what.into();
    }
    object(status, &said)
}

#[cfg(test)]
mod tests {
    use std::{
        convert::Infallible,
        pin::Pin,
        task::{Context, Poll},
    };

    use hyper::body::Frame;

    use super::*;

    /// A body that does not come.
    struct Never;

    impl Body for Never {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Pending
        }
    }

    #[tokio::test]
    async fn bodies_are_bounded_in_bytes_and_in_time() {
        let soon = Duration::from_millis(10);
        let good = read(Full::new(Bytes::from_static(b"{}")), soon).await;
        assert_eq!(good, Ok(Bytes::from_static(b"{}")));
        let large = read(Full::new(Bytes::from(vec![b' '; BODY + 1])), soon).await;
        assert_eq!(large.map_err(|it| it.0), Err(StatusCode::PAYLOAD_TOO_LARGE));
        let late = read(Never, soon).await;
        assert_eq!(late.map_err(|it| it.0), Err(StatusCode::REQUEST_TIMEOUT));
    }
}
