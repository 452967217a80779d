//! What comes from a client, as far as a worker must be asked for it.
//!
//! A REST body is looked at for its members and their places, a message for its limit of new
//! tokens alone: its model stands in the metadata. Everything else waits until the request is
//! taken apart.

use tollgate_sdk_protocol::{
    Bytes,
    actions::{self, intent},
    failure,
    fields::Reader,
    frontend::{Action, Cost, Intent},
    types::{FailureKind, Progress},
};

use super::{Asked, CALL, Exchange, State, body::Body, tokens_in};
use crate::{
    endpoint::Endpoint,
    grpc,
    manifest::What,
    proto::{MODEL_ID, ModelInfoRequest},
};

/// The field of a generation's message, streamed or not, that limits new tokens.
const MAX_NEW_TOKENS: u32 = 2;

/// New tokens that a generation's message allows: all there can be where it cannot be read, none
/// where it does not say.
fn allowed(bytes: &dyn Bytes, progress: &Progress) -> Option<u32> {
    let mut reader = Reader::new(bytes, progress);
    let (mut at, mut most) = (0, 0);
    while at < progress.available {
        let Ok(field) = reader.field(at, progress.available) else {
            return Some(u32::MAX);
        };
        // What is below zero is refused by whoever takes it apart, and has a varint's top bit.
        if field.number == MAX_NEW_TOKENS && field.varint <= i64::MAX as u64 {
            most = most.max(field.varint);
        }
        at = field.end;
    }
    (most > 0).then(|| u32::try_from(most).unwrap_or(u32::MAX))
}

impl Exchange {
    pub(super) fn body(&mut self, bytes: &dyn Bytes, progress: Progress, out: &mut Vec<Action>) {
        let (State::Reading, What::Task(endpoint)) = (&self.state, self.what) else {
            return;
        };
        // The body stays until the end: another attempt may need it again.
        out.push(Action::Need(actions::whole(progress.source)));
        if !progress.end {
            return;
        }
        let media_type = actions::header_value(&self.head.headers, "content-type");
        if media_type != Some("application/json") {
            let shown = media_type.unwrap_or("None");
            let message = format!("Unsupported media type: {shown}.");
            return self.refuse(failure::of(FailureKind::UnsupportedMediaType, message), out);
        }
        let len = progress.available;
        let body = match Body::find(bytes, len) {
            Ok(body) => body,
            Err(refusal) => return self.refused(refusal, out),
        };
        let missing = match body.model.as_deref() {
            None => Some("Please provide model_id in payload"),
            Some("") => Some("Missing required model ID"),
            Some(_) => None,
        };
        let model = body.model.clone().filter(|model| !model.is_empty());
        if let (Some(message), None) = (missing, &self.context.default_model) {
            return self.fail(failure::invalid(message, Some("model_id")), out);
        }
        let output = match endpoint {
            Endpoint::Generate | Endpoint::GenerateStream => body
                .count(bytes, "max_new_tokens")
                // As when it is taken apart.
                .filter(|count| *count != 0)
                .unwrap_or(self.options.default_max_new_tokens),
            _ => 0,
        };
        let input = tokens_in(body.size());
        let body = Some(body);
        self.ask(
            Asked {
                endpoint,
                len,
                body,
                model,
            },
            Cost { input, output },
            out,
        );
    }

    pub(super) fn message(&mut self, bytes: &dyn Bytes, progress: Progress, out: &mut Vec<Action>) {
        if !matches!(self.state, State::Reading) {
            // Messages are numbered from 0; the same one again is no second one.
            if progress.source != 0 {
                self.fail(failure::invalid("more than one request message", None), out);
            }
            return;
        }
        // Held to the end of the exchange: another worker may need it again.
        out.push(Action::Need(actions::whole(progress.source)));
        if !progress.end {
            return;
        }
        let len = progress.available;
        let endpoint = match self.what {
            What::Task(endpoint) => endpoint,
            What::Info(info) => {
                let message = bytes.read_all(progress.source, 0, len);
                return match grpc::decode::<ModelInfoRequest>(&message) {
                    Ok(request) => self.ask_facts(info, request.model_ids, out),
                    Err(failure) => self.fail(failure, out),
                };
            }
        };
        let named = actions::header_value(&self.head.headers, MODEL_ID);
        let model = named.filter(|model| !model.is_empty()).map(str::to_owned);
        if model.is_none() && self.context.default_model.is_none() {
            let message = "Missing required model ID";
            return self.fail(failure::invalid(message, Some(MODEL_ID)), out);
        }
        let output = match endpoint {
            Endpoint::Generate | Endpoint::GenerateStream => {
                allowed(bytes, &progress).unwrap_or(self.options.default_max_new_tokens)
            }
            _ => 0,
        };
        let cost = Cost {
            input: tokens_in(len),
            output,
        };
        let body = None;
        self.ask(
            Asked {
                endpoint,
                len,
                body,
                model,
            },
            cost,
            out,
        );
    }

    pub(super) fn ask(&mut self, asked: Asked, cost: Cost, out: &mut Vec<Action>) {
        out.push(Action::Call(Intent {
            cost,
            streaming: asked.endpoint.streams(),
            ..intent(CALL, asked.endpoint.task(), asked.model.clone())
        }));
        self.state = State::Waiting(asked);
    }
}
