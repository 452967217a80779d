//! What only this protocol tells, carried through the neutral model: as events and
//! extensions that others ignore, and both sides of this plugin know.

use prost::Message;
use tollgate_sdk_protocol::{
    inference::{Call, Event, ModelInfo as Neutral},
    types::{Extension, Other},
};

use crate::proto::{ModelInfo, ProducerId};

const PRODUCER: &str = "caikit.producer-id";
const MODEL: &str = "caikit.model-info";
const TRUNCATE: &str = "caikit.truncate-input-tokens";

/// Who made a result.
pub fn producer(id: &ProducerId) -> Event {
    Event::Other(Other {
        name: PRODUCER.to_owned(),
        payload: id.encode_to_vec(),
    })
}

/// Who made a result, if that is what the event says.
pub fn producer_of(event: &Event) -> Option<ProducerId> {
    match event {
        Event::Other(other) if other.name == PRODUCER => {
            ProducerId::decode(other.payload.as_slice()).ok()
        }
        _ => None,
    }
}

/// A model's facts.
pub fn model(info: &ModelInfo) -> Extension {
    Extension {
        name: MODEL.to_owned(),
        payload: info.encode_to_vec(),
    }
}

/// The facts of a model whose worker told them.
pub fn model_of(model: &Neutral) -> Option<ModelInfo> {
    let told = model.extensions.iter().find(|it| it.name == MODEL)?;
    ModelInfo::decode(told.payload.as_slice()).ok()
}

/// A truncation that has no neutral form: zero and below, which say what is to be done
/// with too long an input.
pub fn truncation(tokens: i64) -> Extension {
    Extension {
        name: TRUNCATE.to_owned(),
        payload: tokens.to_string().into_bytes(),
    }
}

/// The truncation that a call carries.
pub fn truncation_of(call: &Call) -> Option<i64> {
    let told = call.extensions.iter().find(|it| it.name == TRUNCATE)?;
    std::str::from_utf8(&told.payload).ok()?.parse().ok()
}

/// Whether a call has an extension that is not of this plugin's.
pub fn is_plain(call: &Call) -> bool {
    call.extensions.iter().all(|it| it.name == TRUNCATE)
}
