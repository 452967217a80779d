//! The OpenAI plugin: requests of clients, answers of workers, options.

use std::sync::OnceLock;

use tollgate_plugin_openai::OpenAi;
use tollgate_sdk_protocol::{
    plugin::{Gathering, Surface},
    testing::Passed,
};

use crate::input::{parts, selector};
use crate::protocol::{self, Ask, Side, named};

/// Options of the plugin and of a worker.
const VARIANTS: [(&str, &str); 4] = [
    ("", ""),
    (
        r#"{"error-shape":"flat","affinity":"prefix","reasoning-field":"reasoning_content"}"#,
        r#"{"generation":"old"}"#,
    ),
    (r#"{"generation":"old","max-tokens":7}"#, ""),
    (r#"{"ovms-paths":true}"#, r#"{"dialect":"openai-ovms"}"#),
];

/// Requests to whose answers `openai-backend` gives its bytes: claim's path and body.
const ASKED: [(usize, &str); 9] = [
    (
        2,
        r#"{"model":"m","messages":[{"role":"user","content":"a"}],"logprobs":true,"top_logprobs":2}"#,
    ),
    (
        2,
        r#"{"model":"m","messages":[{"role":"user","content":"a"}],"stream":true,"stream_options":{"include_usage":true}}"#,
    ),
    (
        3,
        r#"{"model":"m","prompt":["a","b"],"n":2,"echo":true,"logprobs":1}"#,
    ),
    (
        3,
        r#"{"model":"m","prompt":"a","stream":true,"stop":["x"],"logprobs":0}"#,
    ),
    (4, r#"{"model":"m","input":["a","b"]}"#),
    (5, r#"{"model":"m","prompt":"a","return_token_strs":true}"#),
    (6, r#"{"model":"m","tokens":[1,2]}"#),
    (
        14,
        r#"{"model":"m","query":"a","documents":["b",{"text":"c"}],"top_n":1}"#,
    ),
    (17, r#"{"model":"m","text_1":"a","text_2":["b","c"]}"#),
];

fn sides() -> &'static [Side<OpenAi>] {
    static SIDES: OnceLock<Vec<Side<OpenAi>>> = OnceLock::new();
    SIDES.get_or_init(|| {
        let side = |(options, worker): (&str, &str)| Side::new(options, worker);
        VARIANTS.into_iter().map(side).collect()
    })
}

/// First byte: claim. Second: options, mood. Parts: the request, the answer.
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
    side.exchange(&ask, |sent, _| authorized(side.surface(ask.claim), sent));
}

/// First byte: request. Second: options, mood. The rest is the answer.
pub(crate) fn backend(data: &[u8]) {
    let (asked, data) = selector(data);
    let (mood, data) = selector(data);
    let (claim, request) = ASKED[usize::from(asked) % ASKED.len()];
    let side = &sides()[usize::from(mood >> 5) % VARIANTS.len()];
    let ask = Ask {
        claim,
        request: request.as_bytes(),
        mood,
        answer: &[data],
        request_json: None,
        answer_json: None,
    };
    side.exchange(&ask, |sent, _| authorized(side.surface(ask.claim), sent));
}

pub(crate) fn options(data: &[u8]) {
    protocol::options(&sides()[0], data);
}

/// The model that was authorized is the one that a worker reads, where a body says which: what is
/// asked of a stored response has none.
fn authorized(surface: &Surface, sent: &Passed) {
    match surface {
        Surface::Rest(rest) if rest.gathering == Gathering::Nothing => {}
        _ => named(&sent.body, "model"),
    }
}
