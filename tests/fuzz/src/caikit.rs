//! The caikit plugin: requests and answers over both of its surfaces, options.

use std::sync::OnceLock;

use tollgate_plugin_caikit::Caikit;
use tollgate_sdk_protocol::testing::Passed;

use crate::input::{parts, selector};
use crate::protocol::{self, Ask, SERVED, Side, named};

/// Options of the plugin.
const VARIANTS: [&str; 2] = ["", r#"{"default-max-new-tokens": 7, "count-usage": false}"#];

fn sides() -> &'static [Side<Caikit>] {
    static SIDES: OnceLock<Vec<Side<Caikit>>> = OnceLock::new();
    SIDES.get_or_init(|| {
        VARIANTS
            .into_iter()
            .map(|options| Side::new(options, ""))
            .collect()
    })
}

/// First byte: claim. Second: options, mood. Parts: the request, the answer.
pub(crate) fn exchange(data: &[u8]) {
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

pub(crate) fn options(data: &[u8]) {
    protocol::options(&sides()[0], data);
}

/// The model is named in the body over REST, and in the metadata over gRPC.
fn authorized(sent: &Passed, grpc: bool) {
    if grpc {
        let found = sent.set_headers.iter().find(|it| it.name == "mm-model-id");
        assert_eq!(found.map(|it| it.value.as_str()), Some(SERVED));
    } else {
        named(&sent.body, "model_id");
    }
}
