//! `:predict`: values by rows or by columns are an inference of tensors, and its outputs are values
//! again in the same way. Both are whole in the guest, and bounded.

use std::sync::Arc;

use tollgate_sdk_protocol::{
    Bytes, actions, failure,
    frontend::{Action, PassTo, Passed, ResponseMode},
    inference::{Call, Event, Infer, Task, TaskKind, Tensor, Tensors},
    one_call::{Ask, CALL, Read},
    types::{Failure, FailureKind, Need, Progress},
};

use crate::{
    codec::v1::{self, Layout, Problem},
    frontend::{
        Form,
        answer::{is_final_mark, keeps},
        intent, invalid, model_header, segment_of, target,
    },
    options::{Answers, Options, V1},
};

/// The signature that TensorFlow Serving takes where none is named: nothing is lost with it.
const USUAL: &str = "serving_default";

/// What is asked at the door of predictions.
pub struct Predict {
    options: Arc<Options>,
    model: String,
    asked: Option<Asked>,
    outputs: Option<Tensors>,
}

/// A request whose members have been found.
struct Asked {
    layout: Layout,
    values: Vec<u8>,
    /// The signature that it names, if it is not the usual one.
    signature: Option<String>,
}

impl Predict {
    pub fn new(options: Arc<Options>, model: &str) -> Self {
        Self {
            options,
            model: model.to_owned(),
            asked: None,
            outputs: None,
        }
    }

    /// The door is there with the option only.
    fn v1(&self) -> Result<&V1, Failure> {
        let off = || failure::of(FailureKind::Internal, "the first version is off");
        self.options.v1.as_ref().ok_or_else(off)
    }

    fn answer(&self, bytes: &dyn Bytes, outputs: &[Tensor]) -> Result<Vec<Action>, Failure> {
        let v1 = self.v1()?;
        let layout = self.asked.as_ref().map_or(Layout::Rows, |it| it.layout);
        if outputs.is_empty() {
            return Err(failure::upstream_invalid("the worker answered no tensors"));
        }
        let member = match (layout, v1.answers) {
            (Layout::Columns, Answers::Outputs) => "outputs",
            _ => "predictions",
        };
        let mut body = format!("{{\"{member}\":").into_bytes();
        let form = v1::Form {
            layout,
            bare: true,
            most: v1.max_body,
        };
        // The worker did its part; it is this form that cannot carry it.
        v1::raw(bytes, outputs, v1.max_body)
            .and_then(|raw| v1::values(outputs, &raw, form, &mut body))
            .map_err(|problem| failure::of(FailureKind::Unprocessable, problem.to_string()))?;
        body.push(b'}');
        Ok(actions::respond_json(200, body))
    }
}

/// What is wrong with a body.
fn wrong(problem: Problem) -> Failure {
    invalid(problem.to_string())
}

/// The signature's name, if it is not the usual one.
fn signature(text: Option<&[u8]>) -> Result<Option<String>, Failure> {
    let Some(text) = text else {
        return Ok(None);
    };
    let name: Option<String> = serde_json::from_slice(text).map_err(|_| {
        failure::invalid("'signature_name' must be a string", Some("signature_name"))
    })?;
    Ok(name.filter(|name| !name.is_empty() && name != USUAL))
}

impl Ask for Predict {
    fn read(&mut self, bytes: &dyn Bytes, progress: &Progress) -> Result<Read, Failure> {
        let most = self.v1()?.max_body;
        if progress.total.unwrap_or(0).max(progress.available) > most {
            let what = format!("the body has more than {most} bytes");
            return Err(failure::of(FailureKind::PayloadTooLarge, what));
        }
        if !progress.end {
            return Ok(Read::Need(actions::whole(progress.source)));
        }
        // Without a body there is no source either.
        if progress.available == 0 {
            return Err(invalid(
                "there is no body; it must have 'instances' or 'inputs'",
            ));
        }
        let keys = ["instances", "inputs", "signature_name"];
        let found = v1::members(bytes, progress.source, progress.available, &keys);
        let mut found = found.map_err(wrong)?;
        let signature = signature(found.pop().flatten().as_deref())?;
        let (inputs, instances) = (found.pop().flatten(), found.pop().flatten());
        let (layout, values) = match (instances, inputs) {
            (Some(values), None) => (Layout::Rows, values),
            (None, Some(values)) => (Layout::Columns, values),
            (None, None) => return Err(invalid("the body must have 'instances' or 'inputs'")),
            (Some(_), Some(_)) => {
                let what = "the body must have either 'instances' or 'inputs', and not both";
                return Err(invalid(what));
            }
        };
        self.asked = Some(Asked {
            layout,
            values,
            signature,
        });
        Ok(Read::Call(intent(CALL, TaskKind::Infer, &self.model)))
    }

    fn pass(&mut self, to: &PassTo) -> Result<Option<Passed>, Failure> {
        let target = target(&self.options, to)?;
        let path = format!("/v1/models/{}:predict", segment_of(&to.model));
        Ok(Some(Passed {
            id: CALL,
            // Never as the client wrote them: what was read of the path is what is asked, and a query
            // says nothing in this protocol.
            path: Some(path),
            query: Some(String::new()),
            set_headers: model_header(&target, Form::Rest, &to.model),
            remove_headers: Vec::new(),
            edits: Vec::new(),
            // An answer names no model.
            response: ResponseMode::Blind,
        }))
    }

    fn call(&mut self, model: String) -> Result<Call, Failure> {
        let asked = self.asked.as_ref();
        let asked = asked.ok_or_else(|| invalid("nothing was asked"))?;
        if let Some(name) = &asked.signature {
            let name = v1::shown(name);
            let what =
                format!("the model's workers have no signatures, and so none of the name '{name}'");
            return Err(failure::invalid(what, Some("signature_name")));
        }
        let names = self.v1()?.inputs_of(&self.model);
        let inputs = v1::tensors(&asked.values, asked.layout, &names, "input").map_err(wrong)?;
        // An answer that another worker had begun does not count.
        self.outputs = None;
        Ok(Call {
            model,
            version: None,
            streaming: false,
            task: Task::Infer(Infer {
                id: String::new(),
                inputs,
                outputs: Vec::new(),
                parameters: Vec::new(),
            }),
            extensions: Vec::new(),
        })
    }

    fn event(
        &mut self,
        bytes: &dyn Bytes,
        event: Event,
        out: &mut Vec<Action>,
    ) -> Result<(), Failure> {
        match event {
            Event::Tensors(tensors) if is_final_mark(&tensors) => {}
            Event::Tensors(_) if self.outputs.is_some() => {
                let what = "the model made more than one response, which needs a stream";
                return Err(failure::of(FailureKind::Unsupported, what));
            }
            Event::Tensors(tensors) => self.outputs = Some(tensors),
            Event::End => {
                let outputs = self.outputs.take().map_or(Vec::new(), |it| it.outputs);
                out.extend(self.answer(bytes, &outputs)?);
            }
            _ => {}
        }
        Ok(())
    }

    fn keeps(&self) -> Vec<Need> {
        keeps(&self.outputs)
    }
}
