//! A request that goes on as it came, and the answer that is looked at on its way back.

use tollgate_sdk_protocol::{
    Bytes, actions,
    frontend::{Action, Passed, ResponseMode},
    types::Progress,
};

use super::{Asked, CALL, Exchange, State, tap::Tap, usage};
use crate::proto::MODEL_ID;

impl Exchange {
    /// The request as it came, but for the name that the model has at the worker.
    pub(super) fn pass(
        &mut self,
        bytes: &dyn Bytes,
        asked: Asked,
        model: String,
        out: &mut Vec<Action>,
    ) {
        let (edits, set_headers) = match &asked.body {
            Some(body) => (body.edits(bytes, asked.len, &model), Vec::new()),
            None => (Vec::new(), vec![actions::header(MODEL_ID, model)]),
        };
        out.push(Action::Pass(Passed {
            id: CALL,
            path: None,
            query: None,
            set_headers,
            remove_headers: Vec::new(),
            edits,
            response: if self.options.count_usage {
                ResponseMode::Tap
            } else {
                ResponseMode::Blind
            },
        }));
        let tap = Box::new(Tap::new(asked.endpoint));
        self.state = State::Passing(asked, tap);
    }

    pub(super) fn watched(&mut self, bytes: &dyn Bytes, progress: Progress, out: &mut Vec<Action>) {
        let State::Passing(_, tap) = &mut self.state else {
            return;
        };
        if progress.end {
            tap.message(&bytes.read_all(progress.source, 0, progress.available));
        } else {
            out.push(Action::Need(actions::whole(progress.source)));
        }
    }

    /// A passed response has ended, well or not: the host has told the client.
    pub(super) fn passed(&mut self, out: &mut Vec<Action>) {
        if let State::Passing(_, tap) = std::mem::replace(&mut self.state, State::Over) {
            out.extend(tap.usage().map(|counted| usage(CALL, counted)));
            out.push(Action::Finish);
        }
    }
}
