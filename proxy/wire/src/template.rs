//! Error bodies in a client's dialect: a template of a plugin's manifest, filled in by
//! the host.
//!
//! Patterns are `{message}` (escaped for a JSON string, without quotes), `{status}`,
//! `{phrase}` (of the status), `{code}` (gRPC), `{label}`, `{param}` (a JSON string
//! with its quotes, or `null`) and `{request-id}` (escaped). Any other `{…}` stays as
//! it is, so JSON's own braces need no escape.

use bytes::Bytes;
use http::StatusCode;

use crate::failure::Failure;
use crate::json::escape_into;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Message,
    Status,
    Phrase,
    Code,
    Label,
    Param,
    RequestId,
}

const FIELDS: [(&str, Field); 7] = [
    ("{message}", Field::Message),
    ("{status}", Field::Status),
    ("{phrase}", Field::Phrase),
    ("{code}", Field::Code),
    ("{label}", Field::Label),
    ("{param}", Field::Param),
    ("{request-id}", Field::RequestId),
];

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Field(Field),
}

/// A parsed template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
}

// === impl Template ===

impl Template {
    /// Parses a template; every text is one.
    #[must_use]
    pub fn new(body: &str) -> Self {
        let mut parts = Vec::new();
        let mut text = String::new();
        let mut rest = body;
        while let Some(at) = rest.find('{') {
            text.push_str(&rest[..at]);
            rest = &rest[at..];
            match FIELDS.iter().find(|(name, _)| rest.starts_with(name)) {
                Some((name, field)) => {
                    if !text.is_empty() {
                        parts.push(Part::Text(std::mem::take(&mut text)));
                    }
                    parts.push(Part::Field(*field));
                    rest = &rest[name.len()..];
                }
                None => {
                    text.push('{');
                    rest = &rest[1..];
                }
            }
        }
        text.push_str(rest);
        if !text.is_empty() {
            parts.push(Part::Text(text));
        }
        Self { parts }
    }

    /// The body for a failure that is answered with `status`: the template's own, or
    /// the failure's.
    #[must_use]
    pub fn render(&self, failure: &Failure, status: u16, request_id: &str) -> Bytes {
        let mut body = Vec::new();
        for part in &self.parts {
            let field = match part {
                Part::Text(text) => {
                    body.extend_from_slice(text.as_bytes());
                    continue;
                }
                Part::Field(field) => field,
            };
            match field {
                Field::Message => escape_into(&failure.message, &mut body),
                Field::Status => {
                    body.extend_from_slice(itoa::Buffer::new().format(status).as_bytes());
                }
                Field::Phrase => escape_into(phrase(status), &mut body),
                Field::Code => {
                    body.extend_from_slice(itoa::Buffer::new().format(failure.grpc()).as_bytes())
                }
                Field::Label => escape_into(failure.label(), &mut body),
                Field::Param => match &failure.param {
                    None => body.extend_from_slice(b"null"),
                    Some(param) => {
                        body.push(b'"');
                        escape_into(param, &mut body);
                        body.push(b'"');
                    }
                },
                Field::RequestId => escape_into(request_id, &mut body),
            }
        }
        body.into()
    }
}

/// The status's phrase (RFC 9110, section 15); empty for one without.
#[must_use]
pub fn phrase(status: u16) -> &'static str {
    match StatusCode::from_u16(status) {
        // Not registered, but in the table of failures.
        Ok(status) if status.as_u16() == 499 => "Client Closed Request",
        Ok(status) => status.canonical_reason().unwrap_or(""),
        Err(_) => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(template: &str, failure: &Failure) -> String {
        let body = Template::new(template).render(failure, failure.http(), "id-1");
        String::from_utf8(body.to_vec()).unwrap()
    }

    #[test]
    fn every_pattern_is_filled_in_and_the_result_is_json() {
        let template = r#"{"a":{"m":"{message}","s":{status},"p":"{phrase}","c":{code},"l":"{label}","param":{param},"id":"{request-id}"}}"#;
        let failure = Failure::not_found("no \"x\"\n{status}").with_param("mo\"del");
        let value: serde_json::Value = serde_json::from_str(&render(template, &failure)).unwrap();
        assert_eq!(
            value,
            serde_json::json!({"a": {"m": "no \"x\"\n{status}", "s": 404, "p": "Not Found",
                "c": 5, "l": "not-found", "param": "mo\"del", "id": "id-1"}})
        );
        assert_eq!(render("{param}", &Failure::internal("")), "null");
    }

    #[test]
    fn what_is_not_a_pattern_stays() {
        for text in [
            "",
            "{",
            "}{",
            "{unknown}",
            "{{",
            "{ message}",
            "{messag",
            "ä{ö}",
        ] {
            assert_eq!(render(text, &Failure::internal("m")), text);
        }
        assert_eq!(render("{{message}}", &Failure::internal("m")), "{m}");
        assert_eq!(phrase(499), "Client Closed Request");
        assert_eq!(phrase(799), "");
        assert_eq!(phrase(7), "");
    }
}
