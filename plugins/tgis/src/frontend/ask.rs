//! What is asked of the host for a request: a call, and the pass to a worker.

use prost::Message;
use tollgate_sdk_protocol::{
    actions,
    frontend::{Cost, Edit, Intent, PassTo, Passed, ResponseMode},
    inference::TaskKind,
    types::Segment,
};

use super::{
    CALL,
    batch::saturated,
    request::{Asked, What},
};
use crate::{
    fmaas::{BatchedGenerationRequest, number},
    options::Options,
};

/// Bytes of text that are taken for one token, to guess the work.
const BYTES_A_TOKEN: u64 = 4;

/// The call that is made for a request.
pub fn intent(asked: &Asked, options: &Options) -> Intent {
    let (task, streaming, output) = match &asked.what {
        What::Generate(generate) => {
            let stopping = generate.params.stopping.as_ref();
            let each = match stopping.map_or(0, |stopping| stopping.max_new_tokens) {
                0 => options.default_max_new_tokens,
                asked => asked,
            };
            let all = u64::from(each) * generate.prompts.len() as u64;
            (TaskKind::Generate, generate.stream, saturated(all))
        }
        What::Tokenize(_) => (TaskKind::Tokenize, false, 0),
        What::Model => (TaskKind::ModelMetadata, false, 0),
    };
    let named = !asked.model.is_empty() && !options.ignore_model_id;
    let model = named.then(|| asked.model.clone());
    Intent {
        streaming,
        cost: Cost {
            input: saturated(asked.text_bytes() / BYTES_A_TOKEN),
            output,
        },
        ..actions::intent(CALL, task, model)
    }
}

/// Whether new tokens have a limit of the client's, given or by default.
pub fn limited(asked: &Asked, options: &Options) -> bool {
    let What::Generate(generate) = &asked.what else {
        return false;
    };
    let stopping = generate.params.stopping.as_ref();
    stopping.is_some_and(|stopping| stopping.max_new_tokens != 0)
        || options.default_max_new_tokens != 0
}

/// The request as it came, but for the name that the model has at the worker.
pub fn pass(asked: &Asked, to: &PassTo, options: &Options) -> Passed {
    let mut edits = Vec::new();
    if asked.model != to.model {
        let only = BatchedGenerationRequest {
            model_id: to.model.clone(),
            ..Default::default()
        };
        debug_assert_eq!(
            number::MODEL_ID,
            1,
            "the same in every request of this service"
        );
        edits.push(Edit {
            offset: asked.model_at.offset,
            len: asked.model_at.len,
            replacement: vec![Segment::Inline(only.encode_to_vec())],
        });
    }
    let counted = matches!(asked.what, What::Generate(_)) && options.count_usage;
    Passed {
        id: CALL,
        path: None,
        query: None,
        set_headers: Vec::new(),
        remove_headers: Vec::new(),
        edits,
        response: if counted {
            ResponseMode::Tap
        } else {
            ResponseMode::Blind
        },
    }
}
