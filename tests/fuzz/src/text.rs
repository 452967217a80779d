//! Small texts that go out and come back: statuses, timeouts, templates, JSON strings.

use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use tollgate_wire::grpc::{self, Status};
use tollgate_wire::{Failure, Template, json};

use crate::input::mix;

pub(crate) fn text(data: &[u8]) {
    raw_string(data);
    status(data);
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    json_string(text);
    timeout(text);
    message(text);
    template(text);
}

/// The inside of a JSON string, as it is and as serde_json reads it.
fn raw_string(data: &[u8]) {
    let mut plain = Vec::new();
    let read = json::unescape(data, &mut plain);
    if let Err(at) = read {
        assert!(at <= data.len());
    }
    let quoted = [b"\"", data, b"\""].concat();
    if let Ok(expected) = serde_json::from_slice::<String>(&quoted) {
        assert_eq!(read, Ok(()), "serde_json reads it");
        assert_eq!(plain, expected.as_bytes());
    }
}

fn json_string(text: &str) {
    let mut escaped = Vec::new();
    json::escape_into(text, &mut escaped);
    let quoted = [b"\"", &escaped[..], b"\""].concat();
    assert_eq!(quoted, serde_json::to_vec(text).expect("a string is JSON"));
    let mut plain = Vec::new();
    json::unescape(&escaped, &mut plain).expect("what was escaped is read");
    assert_eq!(plain, text.as_bytes());
}

fn timeout(text: &str) {
    if let Some(timeout) = grpc::parse_timeout(text) {
        let written = grpc::format_timeout(timeout);
        assert!(written.len() <= 9);
        let again = grpc::parse_timeout(&written).expect("what was written is read");
        // One that came in a unit that holds it comes back as it is.
        assert!(again <= timeout);
        assert_eq!(grpc::format_timeout(again), written);
    }
    let any = Duration::from_nanos(mix(text.as_bytes()));
    let read = grpc::parse_timeout(&grpc::format_timeout(any)).expect("read");
    // A coarser unit is taken from a hundred thousand of it on.
    assert!(read <= any && any - read <= any / 100_000);
}

fn message(text: &str) {
    let encoded = grpc::encode_message(text);
    assert!(encoded.len() <= 4096);
    assert!(encoded.bytes().all(|byte| (0x20..0x7f).contains(&byte)));
    let decoded = grpc::decode_message(&encoded);
    assert!(text.starts_with(&decoded));
    if text.len() <= 4096 / 3 {
        assert_eq!(decoded, text);
    }
    let _ = grpc::decode_message(text);
}

/// A status as a peer may have written it, and the same written by us.
fn status(data: &[u8]) {
    let (code, message) = data.split_at(data.iter().position(|b| *b == b' ').unwrap_or(0));
    let mut headers = HeaderMap::new();
    if let Ok(code) = HeaderValue::from_bytes(code) {
        headers.insert("grpc-status", code);
    }
    if let Ok(message) = HeaderValue::from_bytes(message) {
        headers.insert("grpc-message", message);
    }
    if let Some(status) = Status::from_headers(&headers) {
        assert!(status.code == 2 || code.iter().all(u8::is_ascii_digit));
        let mut again = HeaderMap::new();
        status.put(&mut again);
        let again = Status::from_headers(&again).expect("what was put is read");
        assert_eq!(again.code, status.code);
        assert!(status.message.starts_with(&again.message));
    }
}

fn template(text: &str) {
    let failure = Failure::not_found(text).with_param(text);
    // Whatever a message says, the body around it stays the JSON that it was.
    let body = r#"{"m":"{message}","s":{status},"p":{param},"i":"{request-id}","l":"{label}"}"#;
    let rendered = Template::new(body).render(&failure, 404, text);
    let value: serde_json::Value = serde_json::from_slice(&rendered).expect("JSON");
    for member in ["m", "p", "i"] {
        assert_eq!(value[member], text);
    }
    assert_eq!(value["s"], 404);
    // And any text is a template; without a field's name it is itself.
    let rendered = Template::new(text).render(&Failure::internal(""), 500, "");
    let names = [
        "message",
        "status",
        "phrase",
        "code",
        "label",
        "param",
        "request-id",
    ];
    if !names
        .iter()
        .any(|name| text.contains(&format!("{{{name}}}")))
    {
        assert_eq!(rendered, text);
    }
}
