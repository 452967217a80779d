//! Error bodies in vLLM's two shapes: as templates for the host, and written here for
//! streams that have begun.

use serde_json::json;
use tollgate_contract::failure::{self as table, TABLE};
use tollgate_sdk_protocol::{failure, plugin::ErrorTemplate, types::Failure};

use crate::options::ErrorShape;

/// vLLM's `type` for a kind of failure.
fn type_of(label: &str) -> &'static str {
    match label {
        "not-found" => "NotFoundError",
        "method-not-allowed" => "Method Not Allowed",
        "permission-denied" => "PermissionDeniedError",
        "conflict" => "ConflictError",
        "unprocessable" => "UnprocessableEntityError",
        "rate-limited" => "RateLimitError",
        "overloaded" => "Service Unavailable",
        "unsupported" => "NotImplementedError",
        "deadline-exceeded" => "Gateway Timeout",
        "upstream-unavailable" | "upstream-invalid" | "plugin-failed" => "Bad Gateway",
        "internal" => "InternalServerError",
        _ => "BadRequestError",
    }
}

/// The HTTP status: the table's, but vLLM says 400 to a content type it does not take.
fn status_of(label: &str) -> u16 {
    match label {
        "unsupported-media-type" => 400,
        label => table::by_label(label).http,
    }
}

/// The status in OpenVINO Model Server's words: a body that cannot be read is 412, another method is
/// 406 (model_server at 7e4df0c7, `src/http_server.cpp`). Its 500 for a missing key is not repeated: a client would ask
/// again.
fn plain_status_of(label: &str) -> u16 {
    match label {
        "failed-precondition" => 412,
        "method-not-allowed" => 406,
        label => status_of(label),
    }
}

/// A template for every kind of failure.
pub fn templates(shape: ErrorShape) -> Vec<ErrorTemplate> {
    let template = |label: &str, kind: &str| ErrorTemplate {
        label: label.to_owned(),
        status: match (kind, shape) {
            ("", _) => None,
            (kind, ErrorShape::Plain) => Some(plain_status_of(kind)),
            (kind, _) => Some(status_of(kind)),
        },
        content_type: "application/json".to_owned(),
        body: match (kind, shape) {
            (_, ErrorShape::Plain) => r#"{"error":"{message}"}"#.to_owned(),
            ("unauthenticated", _) => r#"{"error":"Unauthorized"}"#.to_owned(),
            (kind, ErrorShape::Nested) => format!(
                r#"{{"error":{{"message":"{{message}}","type":"{}","param":{{param}},"code":{{status}}}}}}"#,
                type_of(kind)
            ),
            (kind, ErrorShape::Flat) => format!(
                r#"{{"object":"error","message":"{{message}}","type":"{}","param":{{param}},"code":{{status}}}}"#,
                type_of(kind)
            ),
        },
    };
    let mut all: Vec<_> = TABLE
        .iter()
        .map(|row| template(row.label, row.label))
        .collect();
    all.push(ErrorTemplate {
        status: None,
        ..template("", "internal")
    });
    all
}

/// The Messages API's `type` for a kind of failure.
fn message_type_of(label: &str) -> &'static str {
    match label {
        "not-found" => "not_found_error",
        "unauthenticated" => "authentication_error",
        "permission-denied" => "permission_error",
        "payload-too-large" => "request_too_large",
        "rate-limited" => "rate_limit_error",
        "overloaded" => "overloaded_error",
        "deadline-exceeded" => "timeout_error",
        "internal"
        | "unsupported"
        | "upstream-unavailable"
        | "upstream-invalid"
        | "plugin-failed" => "api_error",
        _ => "invalid_request_error",
    }
}

/// Templates in the shape of the Messages API: `{"type": "error", "error": {…}}`.
pub fn of_messages() -> Vec<ErrorTemplate> {
    let template = |label: &str, kind: &str| ErrorTemplate {
        label: label.to_owned(),
        status: (!kind.is_empty()).then(|| status_of(kind)),
        content_type: "application/json".to_owned(),
        body: format!(
            r#"{{"type":"error","error":{{"type":"{}","message":"{{message}}"}}}}"#,
            message_type_of(kind)
        ),
    };
    let mut all: Vec<_> = TABLE
        .iter()
        .map(|row| template(row.label, row.label))
        .collect();
    all.push(ErrorTemplate {
        status: None,
        ..template("", "internal")
    });
    all
}

/// The body of a failure, for an event within a stream.
pub fn body(shape: ErrorShape, failed: &Failure) -> Vec<u8> {
    let label = failure::label(&failed.kind);
    let (kind, status) = (type_of(label), status_of(label));
    let (message, param) = (&failed.message, &failed.param);
    let body = match shape {
        ErrorShape::Nested => json!({
            "error": {"message": message, "type": kind, "param": param, "code": status}
        }),
        ErrorShape::Flat => json!({
            "object": "error", "message": message, "type": kind, "param": param, "code": status
        }),
        ErrorShape::Plain => json!({"error": message}),
    };
    body.to_string().into_bytes()
}

/// A failure as an event of the Messages API.
pub fn message_event(failed: &Failure) -> Vec<u8> {
    let kind = message_type_of(failure::label(&failed.kind));
    let error = json!({"type": kind, "message": failed.message});
    json!({"type": "error", "error": error})
        .to_string()
        .into_bytes()
}

/// A failure as an event of the Responses API.
pub fn response_event(failed: &Failure) -> Vec<u8> {
    json!({
        "type": "error",
        "code": type_of(failure::label(&failed.kind)),
        "message": failed.message,
        "param": failed.param,
    })
    .to_string()
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_template_that_is_json_once_filled() {
        for shape in [ErrorShape::Nested, ErrorShape::Flat] {
            let templates = templates(shape);
            assert_eq!(templates.len(), TABLE.len() + 1);
            for template in templates {
                let filled = template
                    .body
                    .replace("{message}", "it \\\"failed\\\"")
                    .replace("{param}", "null")
                    .replace("{status}", "418");
                let value: serde_json::Value = serde_json::from_str(&filled).unwrap();
                if template.label == "unauthenticated" {
                    assert_eq!(value["error"], "Unauthorized");
                } else {
                    let error = if shape == ErrorShape::Nested {
                        &value["error"]
                    } else {
                        &value
                    };
                    assert_eq!(error["code"], 418);
                    assert_eq!(error["message"], "it \"failed\"");
                }
            }
        }
    }

    #[test]
    fn statuses_are_those_of_ovms() {
        let templates = templates(ErrorShape::Plain);
        let status = |label: &str| {
            let found = templates.iter().find(|template| template.label == label);
            found.and_then(|template| template.status)
        };
        assert_eq!(status("failed-precondition"), Some(412));
        assert_eq!(status("method-not-allowed"), Some(406));
        assert_eq!(status("invalid-argument"), Some(400));
        assert_eq!(status("unauthenticated"), Some(401));
        assert!(
            templates
                .iter()
                .all(|it| it.body == r#"{"error":"{message}"}"#)
        );
    }

    #[test]
    fn a_failure_within_a_stream_has_the_same_shape() {
        let failed = failure::invalid("no", Some("n"));
        let nested: serde_json::Value =
            serde_json::from_slice(&body(ErrorShape::Nested, &failed)).unwrap();
        assert_eq!(
            nested,
            json!({"error": {"message": "no", "type": "BadRequestError", "param": "n", "code": 400}})
        );
        let plain: serde_json::Value =
            serde_json::from_slice(&body(ErrorShape::Plain, &failed)).unwrap();
        assert_eq!(plain, json!({"error": "no"}));
        let flat: serde_json::Value =
            serde_json::from_slice(&body(ErrorShape::Flat, &failed)).unwrap();
        assert_eq!(flat["object"], "error");
    }
}
