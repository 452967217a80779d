//! Whether a model is ready, as the Python server of KServe says it (kserve/kserve,
//! `python/kserve/kserve/protocol/rest/v1_endpoints.py` and `errors.py`).

use serde_json::json;
use tollgate_sdk_protocol::{
    Bytes, actions,
    frontend::{Action, RequestHead},
    inference::{Call, Event, Task, TaskKind},
    one_call::{Ask, CALL, Read},
    types::{Failure, Progress},
};

use crate::frontend::{intent, parameter};

/// What is asked of one model.
pub struct Ready {
    model: String,
}

impl Ready {
    pub fn new(head: &RequestHead) -> Self {
        Self {
            model: parameter(head, "model"),
        }
    }
}

impl Ask for Ready {
    fn read(&mut self, _: &dyn Bytes, _: &Progress) -> Result<Read, Failure> {
        Ok(Read::Call(intent(CALL, TaskKind::ModelReady, &self.model)))
    }

    fn call(&mut self, model: String) -> Result<Call, Failure> {
        Ok(Call {
            model,
            version: None,
            streaming: false,
            task: Task::ModelReady,
            extensions: Vec::new(),
        })
    }

    fn event(&mut self, _: &dyn Bytes, event: Event, out: &mut Vec<Action>) -> Result<(), Failure> {
        let name = &self.model;
        let (status, body) = match event {
            Event::Ready(true) => (200, json!({"name": name, "ready": true})),
            Event::Ready(false) => {
                let what = format!("Model with name {name} is not ready.");
                (503, json!({ "error": what }))
            }
            _ => return Ok(()),
        };
        out.extend(actions::respond_json(status, body.to_string().into_bytes()));
        Ok(())
    }
}
