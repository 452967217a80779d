//! `/log-level`: what is written to the log, shown and changed while the proxy runs.
//!
//! `GET` tells it; `POST` with `{"level": "debug"}` or `{"level": "info,access=off"}` changes it, for
//! who may change something, until the process ends or it is changed again.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use serde_json::{Value, json};
use tollgate_telemetry::LogsError;

use super::answers::{self, object, refused};
use crate::run::Running;

/// What to do about a refusal.
const HOW: &str = "send {\"level\": \"info\"}, another level, or directives like `info,access=off`";

pub(super) async fn answer(
    running: &Arc<Running>,
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    let logs = &running.logs;
    match *request.method() {
        // No path has any other method here.
        Method::POST => {
            let body = match answers::body(request.into_body()).await {
                Ok(body) => body,
                Err((status, why)) => return refused(status, why, HOW),
            };
            let level = match wanted(&body) {
                Ok(level) => level,
                Err(wrong) => return refused(StatusCode::BAD_REQUEST, wrong, HOW),
            };
            match logs.set_filter(&level) {
                Ok(before) => {
                    tracing::warn!(from = before, to = level, "the log's level was changed");
                    object(StatusCode::OK, &json!({ "was": before, "level": level }))
                }
                Err(error @ LogsError::Level(_)) => {
                    refused(StatusCode::BAD_REQUEST, &error.to_string(), HOW)
                }
                Err(error) => refused(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string(), HOW),
            }
        }
        _ => object(StatusCode::OK, &json!({ "level": logs.filter() })),
    }
}

/// The level that a body names.
fn wanted(body: &[u8]) -> Result<String, &'static str> {
    let wrong = "the body is {\"level\": \"LEVEL\"}, or directives in the level's place";
    let Ok(Value::Object(mut members)) = serde_json::from_slice(body) else {
        return Err(wrong);
    };
    match (members.remove("level"), members.is_empty()) {
        (Some(Value::String(level)), true) => Ok(level),
        _ => Err(wrong),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_read_out_of_a_body() {
        assert_eq!(wanted(br#"{"level": "debug"}"#), Ok("debug".to_owned()));
        for wrong in [
            &b""[..],
            b"debug",
            b"[]",
            br#"{"level": 1}"#,
            br#"{"level": "debug", "for": "5m"}"#,
            br#"{"lvl": "debug"}"#,
        ] {
            assert!(wanted(wrong).is_err());
        }
    }
}
