//! What an operator may do to plugins and schedulers: swap, promote, roll back.
//!
//! `POST /plugins/NAME/swap` loads the plugin anew from where it comes from, also when that has not
//! changed, and answers when it is in force or why it is not. `{"canary": 25}` has it begin with a
//! quarter of the requests; `{"canary": 0}` with all of them, whatever is configured. `promote` and
//! `rollback` take no body. The same goes for `/schedulers/NAME`, without canaries.

use std::{net::SocketAddr, sync::Arc};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use serde_json::{Value, json};
use tollgate_edge::Authenticator;
use tollgate_plugin::GenerationChange;

use super::object;
use crate::{
    keeper::{self, KeepError, Loaded, Subject, Wish},
    run::Running,
};

/// Bytes of a request's body.
const BODY: usize = 4 << 10;

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deed {
    Swap,
    Promote,
    RollBack,
}

/// What is to be done to whom.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Order {
    subject: Subject,
    deed: Deed,
}

impl Order {
    /// By a path; none: it is another's.
    pub(super) fn of(path: &str) -> Option<Self> {
        let mut segments = path.strip_prefix('/')?.split('/');
        let of = match segments.next()? {
            "plugins" => Subject::Plugin,
            "schedulers" => Subject::Scheduler,
            _ => return None,
        };
        let name = segments.next().filter(|name| !name.is_empty())?;
        let deed = match segments.next()? {
            "swap" => Deed::Swap,
            "promote" => Deed::Promote,
            "rollback" => Deed::RollBack,
            _ => return None,
        };
        let subject = of(name.to_owned());
        segments.next().is_none().then_some(Self { subject, deed })
    }
}

/// Does it, if whoever asks may.
pub(super) async fn answer(
    running: &Arc<Running>,
    peer: SocketAddr,
    order: Order,
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    if request.method() != Method::POST {
        let mut response = refused(StatusCode::METHOD_NOT_ALLOWED, "use POST");
        response
            .headers_mut()
            .insert(header::ALLOW, HeaderValue::from_static("POST"));
        return response;
    }
    if let Err(response) = admitted(running, peer, &request) {
        return *response;
    }
    let body = Limited::new(request.into_body(), BODY).collect().await;
    let Ok(body) = body else {
        return refused(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large");
    };
    let canary = match canary(&body.to_bytes()) {
        Ok(canary) => canary,
        Err(problem) => return refused(StatusCode::BAD_REQUEST, &problem),
    };
    let subject = order.subject;
    let done = match order.deed {
        Deed::Swap => match keeper::load(running, subject.clone(), Wish::Asked(canary)).await {
            Ok(Loaded::Put(changes)) => Ok(changes),
            // Neither is said to one who asks.
            Ok(Loaded::Same | Loaded::Barred(_)) => Ok(Vec::new()),
            Err(error) => Err(error),
        },
        _ if canary.is_some() => {
            return refused(StatusCode::BAD_REQUEST, "a canary is begun by a swap");
        }
        Deed::Promote => keeper::promote(running, &subject),
        Deed::RollBack => keeper::roll_back(running, &subject),
    };
    match done {
        Ok(changes) => object(StatusCode::OK, &told(running, &subject, &changes)),
        Err(error) => refused(status(&error), &error.to_string()),
    }
}

/// Whether who asks may change something.
fn admitted(
    running: &Running,
    peer: SocketAddr,
    request: &Request<Incoming>,
) -> Result<(), Box<Response<Full<Bytes>>>> {
    // A page that is open in an operator's browser is not the operator.
    if request.headers().contains_key(header::ORIGIN) {
        let what = "a browser's page may change nothing here";
        return Err(refused(StatusCode::FORBIDDEN, what).into());
    }
    match &running.assembled.operators {
        Some(tokens) => match tokens.authenticate(request.headers()) {
            Ok(identity) => {
                tracing::info!(
                    operator = identity.name(),
                    path = request.uri().path(),
                    "an operator asks"
                );
                Ok(())
            }
            Err(why) => {
                let mut response = refused(StatusCode::UNAUTHORIZED, &why.to_string());
                response
                    .headers_mut()
                    .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
                Err(response.into())
            }
        },
        None if peer.ip().to_canonical().is_loopback() => Ok(()),
        None => {
            let what = "without `admin.tokens` changes are taken from this machine only";
            Err(refused(StatusCode::FORBIDDEN, what).into())
        }
    }
}

/// The share that a body names; an empty one names none.
fn canary(body: &[u8]) -> Result<Option<u32>, String> {
    if body.is_empty() {
        return Ok(None);
    }
    let wrong = || "the body is nothing, or {\"canary\": PERCENT}".to_owned();
    let Ok(Value::Object(members)) = serde_json::from_slice(body) else {
        return Err(wrong());
    };
    let mut percent = None;
    for (name, value) in members {
        match (name.as_str(), value.as_u64()) {
            ("canary", Some(it @ 0..=100)) => percent = u32::try_from(it).ok(),
            ("canary", _) => return Err("`canary` is a number from 0 to 100".to_owned()),
            _ => return Err(wrong()),
        }
    }
    Ok(percent)
}

fn told(running: &Running, subject: &Subject, changes: &[GenerationChange]) -> Value {
    let report = subject.shelf(&running.assembled).report(subject.name());
    json!({
        "happened": keeper::said(changes),
        "now": report.as_ref().map(keeper::report),
    })
}

fn status(error: &KeepError) -> StatusCode {
    match error {
        KeepError::Unknown(_) => StatusCode::NOT_FOUND,
        KeepError::Load(_) | KeepError::World { .. } | KeepError::Route(_) => {
            StatusCode::UNPROCESSABLE_ENTITY
        }
        KeepError::Shelf(_) | KeepError::Alone(_) => StatusCode::CONFLICT,
        KeepError::Canary(_) => StatusCode::BAD_REQUEST,
        KeepError::Ending => StatusCode::SERVICE_UNAVAILABLE,
    }
}

fn refused(status: StatusCode, why: &str) -> Response<Full<Bytes>> {
    object(status, &json!({ "error": why }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_read_by_their_paths() {
        let order = |subject, deed| Some(Order { subject, deed });
        let plugin = || Subject::Plugin("a-b".to_owned());
        assert_eq!(Order::of("/plugins/a-b/swap"), order(plugin(), Deed::Swap));
        assert_eq!(
            Order::of("/plugins/a-b/promote"),
            order(plugin(), Deed::Promote)
        );
        let scheduler = Subject::Scheduler("s".to_owned());
        assert_eq!(
            Order::of("/schedulers/s/rollback"),
            order(scheduler, Deed::RollBack)
        );
        for path in [
            "",
            "/plugins",
            "/plugins/a",
            "/plugins//swap",
            "/plugins/a/swap/",
            "/plugins/a/delete",
            "/workers/a/swap",
        ] {
            assert_eq!(Order::of(path), None, "{path}");
        }
    }

    #[test]
    fn a_share_is_read_and_bounded() {
        assert_eq!(canary(b""), Ok(None));
        assert_eq!(canary(b"{}"), Ok(None));
        assert_eq!(canary(br#"{"canary": 25}"#), Ok(Some(25)));
        assert_eq!(canary(br#"{"canary": 0}"#), Ok(Some(0)));
        for bad in [
            &b"[]"[..],
            b"no",
            br#"{"canary": 101}"#,
            br#"{"canary": "5"}"#,
            br#"{"share": 5}"#,
        ] {
            assert!(canary(bad).is_err());
        }
    }
}
