//! What an operator may do: swap, promote and roll back plugins and schedulers, take a worker out of
//! service and back, and end the proxy in order.
//!
//! `POST /plugins/NAME/swap` loads the plugin anew from where it comes from, also when that has not
//! changed, and answers when it is in force or why it is not; who does not wait for that finds it in the
//! log and among the changes. `{"canary": 25}` has it begin with a
//! quarter of the requests; `{"canary": 0}` with all of them, whatever is configured. The others take
//! no body. The same goes for `/schedulers/NAME`, without canaries.
//!
//! `POST /workers/NAME/drain` gives a worker nothing new until `resume`; `POST /drain` ends the proxy
//! as SIGTERM does.

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use serde_json::{Value, json};
use tollgate_plugin::GenerationChange;

use super::answers::{self, object, refused};
use crate::{
    keeper::{self, KeepError, Loaded, Subject},
    run::Running,
};

/// To whom something is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Plugin,
    Scheduler,
    Worker,
    Proxy,
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deed {
    Swap,
    Promote,
    RollBack,
    Drain,
    Resume,
}

/// What is to be done to which kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Order {
    pub(super) kind: Kind,
    pub(super) deed: Deed,
}

/// Does it, for one who may.
pub(super) async fn answer(
    running: &Arc<Running>,
    order: Order,
    name: &str,
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    let body = match answers::body(request.into_body()).await {
        Ok(body) => body,
        Err((status, why)) => {
            let what = "leave the body out, or send `{\"canary\": PERCENT}` with a swap";
            return refused(status, why, what);
        }
    };
    let canary = match canary(&body) {
        Ok(canary) => canary,
        Err(problem) => return refused(StatusCode::BAD_REQUEST, &problem, ""),
    };
    let subject = match order.kind {
        Kind::Plugin => Subject::Plugin(name.to_owned()),
        Kind::Scheduler => Subject::Scheduler(name.to_owned()),
        Kind::Worker | Kind::Proxy if canary.is_some() => {
            let why = "only plugins have canaries";
            return refused(StatusCode::BAD_REQUEST, why, "leave the body out");
        }
        Kind::Worker => return worker(running, name, order.deed == Deed::Drain),
        Kind::Proxy => return end(running),
    };
    let done = match order.deed {
        Deed::Swap => match keeper::swap(running, subject.clone(), canary).await {
            Ok(Loaded::Put(changes)) => Ok(changes),
            // Neither is said to one who asks.
            Ok(Loaded::Same | Loaded::Barred(_)) => Ok(Vec::new()),
            Err(error) => Err(error),
        },
        _ if canary.is_some() => {
            let why = "a canary is begun by a swap";
            return refused(StatusCode::BAD_REQUEST, why, "leave the body out");
        }
        Deed::Promote => keeper::promote(running, &subject),
        // No path has any other of a plugin or a scheduler.
        Deed::RollBack | Deed::Drain | Deed::Resume => keeper::roll_back(running, &subject),
    };
    match done {
        Ok(changes) => object(StatusCode::OK, &told(running, &subject, &changes)),
        Err(error) => refused(status(&error), &error.to_string(), what_to_do(&error)),
    }
}

/// Takes a worker out of service, or back.
fn worker(running: &Running, name: &str, draining: bool) -> Response<Full<Bytes>> {
    match running.assembled.fleet.set_draining(name, draining) {
        Ok(changed) => {
            let what = if draining { "drained" } else { "resumed" };
            let change = json!({ "what": what });
            if changed {
                running.history.changed("worker", name, &change);
                tracing::info!(worker = name, what, "an operator changed a worker");
            }
            let happened = if changed { vec![change] } else { Vec::new() };
            object(
                StatusCode::OK,
                &json!({"happened": happened, "now": super::tell::worker(running, name)}),
            )
        }
        Err(error) => refused(
            StatusCode::NOT_FOUND,
            &error.to_string(),
            "GET /workers names those that there are",
        ),
    }
}

/// Ends the proxy: what runs goes on until it is done or the drain's deadline has passed.
fn end(running: &Running) -> Response<Full<Bytes>> {
    tracing::info!("an operator ends the proxy");
    running.end.notify_one();
    let happened = json!({"happened": [{"what": "draining"}], "now": null});
    object(StatusCode::ACCEPTED, &happened)
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
        "now": report.as_ref().map(|report| super::tell::kept(running, subject, report)),
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

/// What to do where the error does not say it by itself.
fn what_to_do(error: &KeepError) -> &'static str {
    match error {
        KeepError::Unknown(_) => "GET /plugins names those that there are",
        KeepError::Load(_) | KeepError::World { .. } | KeepError::Route(_) => {
            "mend what it comes from and swap again; the generation in force stays meanwhile"
        }
        KeepError::Shelf(_) => "GET /plugins tells which generations there are",
        KeepError::Canary(_) => "`canary` is a number from 0 to 100",
        KeepError::Alone(_) => "leave `canary` out",
        KeepError::Ending => "ask the proxy that comes after it",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
