//! Errors in the words of the servers: as templates for the host, and written here for
//! streams that have begun.

use serde_json::json;
use tollgate_contract::failure::{self as table, TABLE};
use tollgate_sdk_protocol::{failure, plugin::ErrorTemplate, types::Failure};

use crate::options::{ErrorShape, Options, Server};

/// The status of a kind of failure.
fn status_of(options: &Options, label: &str) -> u16 {
    match label {
        "not-found" => options.not_found_status,
        "method-not-allowed" => options.wrong_method_status,
        label => table::by_label(label).http,
    }
}

/// A template for every kind of failure.
pub fn templates(options: &Options) -> Vec<ErrorTemplate> {
    let template = |label: &str, status: Option<u16>| ErrorTemplate {
        label: label.to_owned(),
        status,
        content_type: "application/json".to_owned(),
        body: match options.error_shape {
            ErrorShape::Error => r#"{"error":"{message}"}"#.to_owned(),
            ErrorShape::Status => {
                r#"{"code":{code},"message":"{message}","details":[]}"#.to_owned()
            }
        },
    };
    let known = TABLE
        .iter()
        .map(|row| template(row.label, Some(status_of(options, row.label))));
    known.chain([template("", None)]).collect()
}

/// The same in the words of the protocol's first version, whose statuses every server has alike
/// (kserve/kserve, `python/kserve/kserve/errors.py`).
pub fn v1_templates() -> Vec<ErrorTemplate> {
    templates(&Options::of(Server::KservePython))
}

/// The body of a failure, for an event within a stream.
pub fn body(options: &Options, failed: &Failure) -> Vec<u8> {
    let message = &failed.message;
    let body = match options.error_shape {
        ErrorShape::Error => json!({ "error": message }),
        ErrorShape::Status => json!({
            "code": failure::grpc_code(&failed.kind), "message": message, "details": []
        }),
    };
    body.to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_template_that_is_json_once_filled() {
        for server in [Server::Triton, Server::Ovms, Server::Modelmesh] {
            let options = Options::of(server);
            let templates = templates(&options);
            assert_eq!(templates.len(), TABLE.len() + 1);
            for template in &templates {
                let filled = template
                    .body
                    .replace("{message}", "it \\\"failed\\\"")
                    .replace("{code}", "3");
                let value: serde_json::Value = serde_json::from_str(&filled).unwrap();
                let message = match options.error_shape {
                    ErrorShape::Error => &value["error"],
                    ErrorShape::Status => &value["message"],
                };
                assert_eq!(message, "it \"failed\"");
            }
        }
    }

    #[test]
    fn servers_have_their_own_statuses() {
        let status = |server, label: &str| {
            let templates = templates(&Options::of(server));
            let mut found = templates.iter().filter(|it| it.label == label);
            found.next().and_then(|it| it.status)
        };
        assert_eq!(status(Server::Triton, "not-found"), Some(400));
        assert_eq!(status(Server::Ovms, "not-found"), Some(404));
        assert_eq!(status(Server::Ovms, "method-not-allowed"), Some(406));
        assert_eq!(status(Server::Triton, "method-not-allowed"), Some(405));
    }

    #[test]
    fn a_failure_within_a_stream_has_the_same_shape() {
        let failed = failure::invalid("no", None);
        let told = |server| body(&Options::of(server), &failed);
        assert_eq!(told(Server::Triton), br#"{"error":"no"}"#);
        let status: serde_json::Value = serde_json::from_slice(&told(Server::Modelmesh)).unwrap();
        assert_eq!(status, json!({"code": 3, "message": "no", "details": []}));
    }
}
