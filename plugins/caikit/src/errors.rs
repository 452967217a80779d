//! Error bodies over REST, in the runtime's three shapes.
//!
//! What the runtime itself finds has `details` and no content type; what its check of
//! the body finds has `additional_info` too; what its web framework finds has `detail`.

use serde::Serialize;
use tollgate_sdk_protocol::{
    failure,
    plugin::ErrorTemplate,
    types::{Failure, FailureKind},
};

use crate::strict::Problem;

fn template(label: &str, content_type: &str, body: &str) -> ErrorTemplate {
    ErrorTemplate {
        label: label.to_owned(),
        status: None,
        content_type: content_type.to_owned(),
        body: body.to_owned(),
    }
}

const JSON: &str = "application/json";
const DETAILS: &str = r#"{"details": "{message}", "code": {status}, "id": "{request-id}"}"#;

/// For a request that meets a claim.
pub fn templates() -> Vec<ErrorTemplate> {
    vec![
        template("", "", DETAILS),
        // The framework has a shape of its own for it where no path matches.
        template("not-found", "", DETAILS),
        template("method-not-allowed", JSON, r#"{"detail":"{phrase}"}"#),
        template("unsupported-media-type", JSON, r#"{"detail":"{message}"}"#),
        template(
            "unprocessable",
            JSON,
            r#"{"details":"{message}","additional_info":[],"code":{status},"id":"{request-id}"}"#,
        ),
    ]
}

/// For a request that meets none.
pub fn of_the_framework() -> Vec<ErrorTemplate> {
    vec![
        template("", "", DETAILS),
        template("not-found", JSON, r#"{"detail":"{phrase}"}"#),
        template("method-not-allowed", JSON, r#"{"detail":"{phrase}"}"#),
    ]
}

/// `details`, `code` and `id`, for an event within a stream.
#[derive(Serialize)]
pub struct Details<'a> {
    details: &'a str,
    code: u16,
    id: &'a str,
}

impl<'a> Details<'a> {
    /// Of a failure.
    pub fn of(failed: &'a Failure, request_id: &'a str) -> Self {
        Self {
            details: &failed.message,
            code: failure::http_status(&failed.kind),
            id: request_id,
        }
    }
}

/// The body for a request whose body is not what it should be.
pub fn unprocessable(problems: &[Problem], request_id: &str) -> Vec<u8> {
    #[derive(Serialize)]
    struct Body<'a> {
        details: &'a str,
        additional_info: &'a [Problem],
        code: u16,
        id: &'a str,
    }
    let body = Body {
        details: problems.first().map_or("", |problem| &problem.msg),
        additional_info: problems,
        code: 422,
        id: request_id,
    };
    serde_json::to_vec(&body).expect("strings and numbers are JSON")
}

/// The same as a failure, for what is no REST response.
pub fn unprocessable_failure(problems: &[Problem]) -> Failure {
    let message = problems.first().map_or("", |problem| &problem.msg);
    failure::of(FailureKind::Unprocessable, message)
}
