//! The KServe plugin: inferences with tensors in JSON and raw, over REST and over gRPC, and all
//! else that it is asked; options.

use std::sync::OnceLock;

use prost::Message;
use tollgate_plugin_kserve::Kserve;
use tollgate_sdk_protocol::{plugin::Surface, testing::Passed};

use crate::input::{parts, selector};
use crate::protocol::{self, Ask, SERVED, Side, named};

/// Options of the plugin and of a worker: each server's ways, and tensors that are texts on both
/// sides.
const VARIANTS: [(&str, &str); 6] = [
    ("", ""),
    (r#"{"server":"modelmesh"}"#, r#"{"server":"modelmesh"}"#),
    (
        r#"{"server":"mlserver","admin":true}"#,
        r#"{"server":"mlserver"}"#,
    ),
    (
        r#"{"server":"ovms","shared-memory":"pass"}"#,
        r#"{"server":"ovms"}"#,
    ),
    (
        r#"{"models":{"named":{"generate":{"text-input":"IN","text-output":"OUT"}}}}"#,
        r#"{"generate":{"text-input":"IN","text-output":"OUT","over":"infer","wrap-streams":true}}"#,
    ),
    (
        r#"{"models":{"named":{"embed":{"input":"IN","output":"OUT","batch":true}}}}"#,
        r#"{"embed":{"input":"IN","output":"OUT","tokens":"N"}}"#,
    ),
];

/// What the messages about one model begin with: its name.
#[derive(Clone, PartialEq, Message)]
struct Named {
    #[prost(string, tag = "1")]
    model: String,
}

fn sides() -> &'static [Side<Kserve>] {
    static SIDES: OnceLock<Vec<Side<Kserve>>> = OnceLock::new();
    SIDES.get_or_init(|| {
        let side = |(options, worker): (&str, &str)| Side::new(options, worker);
        VARIANTS.into_iter().map(side).collect()
    })
}

/// First byte: claim. Second: options, mood; with bit 2 both bodies have raw tensors, which are
/// parts of their own. Parts: the request, the answer.
pub(crate) fn exchange(data: &[u8]) {
    let (claim, data) = selector(data);
    let (mood, data) = selector(data);
    let side = &sides()[usize::from(mood >> 5) % VARIANTS.len()];
    let claim = usize::from(claim) % side.claims();
    let parts = parts(data);
    let raw = mood & 4 == 4 && matches!(side.surface(claim), Surface::Rest(_));
    // Otherwise the bit is the status's.
    let mood = if raw { mood & !7 } else { mood };
    let part = |at: usize| parts.get(at).copied().unwrap_or_default();
    let (request, answer) = if raw {
        ([part(0), part(1)].concat(), [part(2), part(3)].concat())
    } else {
        (part(0).to_vec(), Vec::new())
    };
    let whole = [&answer[..]];
    let ask = Ask {
        claim,
        request: &request,
        mood,
        answer: if raw { &whole } else { &parts[1..] },
        request_json: raw.then_some(part(0).len()),
        answer_json: raw.then_some(part(2).len()),
    };
    side.exchange(&ask, |sent, grpc| {
        authorized(side.surface(claim), sent, grpc);
    });
}

pub(crate) fn options(data: &[u8]) {
    protocol::options(&sides()[0], data);
}

/// The model is named by the path over REST, or by the body where the path has no place for it;
/// over gRPC by the message.
fn authorized(surface: &Surface, sent: &Passed, grpc: bool) {
    match surface {
        Surface::Rest(rest) if rest.path.contains("{model}") => {
            let at = rest.path.split('/').position(|part| part == "{model}");
            let path = sent.path.as_deref().expect("the path names the model");
            assert_eq!(at.and_then(|at| path.split('/').nth(at)), Some(SERVED));
        }
        Surface::Rest(rest) if rest.path.starts_with("/v3/") => named(&sent.body, "model"),
        Surface::Grpc(method) if method.method.starts_with("Model") => {
            assert!(grpc);
            let named = Named::decode(&sent.body[..]).expect("what is sent on is a message");
            assert_eq!(named.model, SERVED);
        }
        _ => {}
    }
}
