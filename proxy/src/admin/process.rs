//! What an operator may do to the process: have it read its configuration again, and have another
//! one take its place.
//!
//! `POST /reload` answers with what has changed, or with what is wrong; `POST /upgrade` when the new
//! process serves, or with why it does not. Neither takes a body.

use std::{sync::Arc, time::SystemTime};

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};

use super::answers::{object, refused};
use crate::life::{Cause, Life, ReloadError, Running};

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Errand {
    Reload,
    Upgrade,
}

/// Does it, for one who may.
pub(super) async fn answer(running: &Arc<Running>, errand: Errand) -> Response<Full<Bytes>> {
    let Some(life) = running.life() else {
        return ending();
    };
    // Whoever asks may leave: what has begun goes on to its end.
    let done = match errand {
        Errand::Reload => tokio::spawn(reload(life)).await,
        Errand::Upgrade => tokio::spawn(upgrade(life)).await,
    };
    done.unwrap_or_else(|_| ending())
}

async fn reload(life: Arc<Life>) -> Response<Full<Bytes>> {
    match life.take_in(Cause::Asked).await {
        Ok(changes) => object(StatusCode::OK, &json!({ "changed": changes })),
        Err(error) => refused(status_of(&error), &error.to_string(), what_to_do(&error)),
    }
}

async fn upgrade(life: Arc<Life>) -> Response<Full<Bytes>> {
    match life.upgrade().await {
        Ok(pid) => object(StatusCode::OK, &json!({ "pid": pid })),
        Err(error) => {
            let what = "this process goes on; see its log, which the other one writes to as well";
            refused(StatusCode::CONFLICT, &error.to_string(), what)
        }
    }
}

fn ending() -> Response<Full<Bytes>> {
    let what = "ask the proxy that comes after it";
    refused(StatusCode::SERVICE_UNAVAILABLE, "the proxy is ending", what)
}

fn status_of(error: &ReloadError) -> StatusCode {
    match error {
        ReloadError::Config(_) | ReloadError::Assemble(_) | ReloadError::Certificates { .. } => {
            StatusCode::UNPROCESSABLE_ENTITY
        }
        ReloadError::Fixed(_) | ReloadError::Former(_) | ReloadError::Upgrading => {
            StatusCode::CONFLICT
        }
        ReloadError::Ending => StatusCode::SERVICE_UNAVAILABLE,
    }
}

fn what_to_do(error: &ReloadError) -> &'static str {
    match error {
        ReloadError::Config(_) | ReloadError::Assemble(_) | ReloadError::Certificates { .. } => {
            "mend the file and reload; the configuration in force stays meanwhile"
        }
        ReloadError::Fixed(_) => "POST /upgrade, or take it back",
        ReloadError::Former(_) => "reload when requests have ended",
        ReloadError::Upgrading => "reload when it has failed; once it serves it has read the file",
        ReloadError::Ending => "ask the proxy that comes after it",
    }
}

/// The process and its configuration, for `/status`.
pub(super) fn status(running: &Running) -> Value {
    let Some(life) = running.life() else {
        return Value::Null;
    };
    let told = life.told();
    let since = told.since.duration_since(SystemTime::UNIX_EPOCH);
    json!({
        "pid": std::process::id(),
        "draining": life.is_draining(),
        "configuration": {
            "file": life.path().display().to_string(),
            "since": since.map_or(0, |since| since.as_secs()),
            "reloads": { "good": told.good, "bad": told.bad },
            "changed": told.changed,
            "problem": told.problem,
            "former": life.former(),
        },
    })
}
