//! The TGIS plugin: messages of clients, messages of workers, options.

use std::sync::OnceLock;

use prost::Message;
use tollgate_plugin_tgis::Tgis;
use tollgate_sdk_protocol::testing::Passed;

use crate::input::{parts, selector};
use crate::protocol::{self, Ask, SERVED, Side};

/// Options of the plugin and of a worker.
const VARIANTS: [(&str, &str); 2] = [
    ("", ""),
    (
        r#"{"default-max-new-tokens": 0, "max-new-tokens": 1024,
            "default-include-stop-sequence": true, "revision": "adapter"}"#,
        "",
    ),
];

/// What every request has: `model_id`.
#[derive(Clone, PartialEq, Message)]
struct Named {
    #[prost(string, tag = "1")]
    model_id: String,
}

/// Requests to whose answers `tgis-backend` gives its bytes, by claim: the model, a text, and for
/// generations all details.
const ASKED: [&[u8]; 4] = [
    b"\x0a\x01m\x1a\x03\x12\x01a\x1a\x03\x12\x01b\x52\x0c\x1a\x0a\x08\x01\x10\x01\x18\x01\x20\x01\x28\x01",
    b"\x0a\x01m\x1a\x03\x12\x01a\x52\x0c\x1a\x0a\x08\x01\x10\x01\x18\x01\x20\x01\x28\x01",
    b"\x0a\x01m\x12\x03\x0a\x01a\x18\x01\x20\x01",
    b"\x0a\x01m",
];

fn sides() -> &'static [Side<Tgis>] {
    static SIDES: OnceLock<Vec<Side<Tgis>>> = OnceLock::new();
    SIDES.get_or_init(|| {
        let side = |(options, worker): (&str, &str)| Side::new(options, worker);
        VARIANTS.into_iter().map(side).collect()
    })
}

/// First byte: claim. Second: options, mood. Parts: the request, the answer's messages.
pub(crate) fn frontend(data: &[u8]) {
    let (claim, data) = selector(data);
    let (mood, data) = selector(data);
    let side = &sides()[usize::from(mood >> 5) % VARIANTS.len()];
    let parts = parts(data);
    let ask = Ask {
        claim: usize::from(claim) % side.claims(),
        request: parts[0],
        mood,
        answer: &parts[1..],
        request_json: None,
        answer_json: None,
    };
    side.exchange(&ask, authorized);
}

/// First byte: request. Second: options, mood. Parts: the answer's messages.
pub(crate) fn backend(data: &[u8]) {
    let (asked, data) = selector(data);
    let (mood, data) = selector(data);
    let side = &sides()[usize::from(mood >> 5) % VARIANTS.len()];
    let claim = usize::from(asked) % ASKED.len();
    let parts = parts(data);
    let ask = Ask {
        claim,
        request: ASKED[claim],
        mood,
        answer: if data.is_empty() { &[] } else { &parts },
        request_json: None,
        answer_json: None,
    };
    side.exchange(&ask, authorized);
}

pub(crate) fn options(data: &[u8]) {
    protocol::options(&sides()[0], data);
}

/// The model that a worker reads is the one that was authorized.
fn authorized(sent: &Passed, _: bool) {
    let named = Named::decode(&sent.body[..]).expect("what is sent on is a message");
    assert_eq!(named.model_id, SERVED);
}
