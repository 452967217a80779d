//! Speaks the protocol's first version to clients: `:predict`, and whether a model is ready.

mod predict;
mod ready;

use std::sync::Arc;

use tollgate_sdk_protocol::{
    Bytes, Frontend, failure,
    frontend::{Action, RequestHead},
    inference::{Call, Event},
    one_call::{Ask, Read},
    types::{Failure, FailureKind, Progress},
};

use super::{call, parameter};
use crate::options::Options;

pub use ready::Ready;

/// Begins to serve what is posted to a model's path: the verb stands behind its last colon.
pub fn exchange(options: Arc<Options>, head: RequestHead) -> Box<dyn Frontend> {
    let segment = parameter(&head, "model");
    let refused = |kind, what: &str| call(Refused(failure::of(kind, what)));
    match segment.rsplit_once(':') {
        Some((model @ ("" | "." | ".."), _)) => {
            let what = format!("there is no model of the name '{model}'");
            refused(FailureKind::NotFound, &what)
        }
        Some((model, "predict")) => call(predict::Predict::new(options, model)),
        Some((_, "explain")) => {
            let what =
                "explanations are not served here: there are no explainers among the workers";
            refused(FailureKind::Unsupported, what)
        }
        Some((_, verb)) => {
            let what = format!("there is no ':{verb}' here; ':predict' is");
            refused(FailureKind::NotFound, &what)
        }
        None => {
            let what = "nothing is posted to a model but ':predict', behind its name";
            refused(FailureKind::NotFound, what)
        }
    }
}

/// What is refused before anything of it is read.
struct Refused(Failure);

impl Ask for Refused {
    fn read(&mut self, _: &dyn Bytes, _: &Progress) -> Result<Read, Failure> {
        Err(self.0.clone())
    }

    fn call(&mut self, _: String) -> Result<Call, Failure> {
        Err(self.0.clone())
    }

    fn event(&mut self, _: &dyn Bytes, _: Event, _: &mut Vec<Action>) -> Result<(), Failure> {
        Ok(())
    }
}
