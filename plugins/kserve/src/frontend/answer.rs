//! The answer to an inference in the client's form: its head, and the tensors as spans or
//! converted by the host.
//!
//! 1. What can be written at once goes out when it is told, also before its bytes have
//!    come.
//! 2. What must be converted waits for its bytes until the worker has ended: an element
//!    that the form cannot carry is then an error, and not half an answer.

use std::sync::Arc;

use tollgate_sdk_protocol::{
    Bytes, actions, failure,
    frontend::Action,
    inference::{ParameterValue, Tensor, TensorData, Tensors},
    types::{Failure, FailureKind, Need, ResponseHead, Want},
};

use super::{Form, infer::response, status};
use crate::{
    codec::{Body, Kind, grpc_write, parameters, rest_write},
    doors::HEAD_LENGTH,
    options::Options,
};

/// How the client wants its answer.
#[derive(Clone, Debug, Default)]
pub struct Wishes {
    /// Raw tensors where nothing else is said of an output.
    binary: bool,
    /// What is said of outputs.
    outputs: Vec<(String, bool)>,
    /// gRPC: typed contents.
    typed: bool,
}

impl Wishes {
    /// Everything as raw tensors.
    pub fn all_binary() -> Self {
        Self {
            binary: true,
            ..Self::default()
        }
    }

    /// Those of a gRPC client.
    pub fn grpc(typed: bool) -> Self {
        Self {
            typed,
            ..Self::default()
        }
    }

    /// Takes the parameters that are for us, and not for the worker, out of a REST request.
    pub fn take(body: &mut Body) -> Result<Self, String> {
        let binary = parameters::flag(&body.parameters, "binary_data_output")?;
        body.parameters.retain(|it| it.name != "binary_data_output");
        let mut outputs = Vec::new();
        for output in &mut body.outputs {
            if let Some(binary) = parameters::flag(&output.parameters, "binary_data")? {
                outputs.push((output.name.clone(), binary));
                output.parameters.retain(|it| it.name != "binary_data");
            }
        }
        Ok(Self {
            binary: binary.unwrap_or(false),
            outputs,
            typed: false,
        })
    }

    /// Whether any output is wanted as a raw tensor.
    pub fn any_binary(&self) -> bool {
        self.binary || self.outputs.iter().any(|output| output.1)
    }

    /// How messages are written for it.
    pub fn style(&self) -> grpc_write::Style {
        grpc_write::Style {
            wide: true,
            typed: self.typed,
        }
    }

    fn of(&self, tensor: &Tensor) -> bool {
        let mut said = self.outputs.iter().filter(|it| it.0 == tensor.name);
        said.next().map_or(self.binary, |it| it.1)
    }
}

/// An answer in the making.
pub struct Answer {
    options: Arc<Options>,
    form: Form,
    wishes: Wishes,
    model: String,
    waiting: Option<Tensors>,
    told: bool,
}

impl Answer {
    /// `model` is what the client calls it.
    pub fn new(options: Arc<Options>, form: Form, wishes: Wishes, model: String) -> Self {
        Self {
            options,
            form,
            wishes,
            model,
            waiting: None,
            told: false,
        }
    }

    pub fn tensors(
        &mut self,
        bytes: &dyn Bytes,
        tensors: Tensors,
        out: &mut Vec<Action>,
    ) -> Result<(), Failure> {
        if is_final_mark(&tensors) {
            return Ok(());
        }
        if self.told || self.waiting.is_some() {
            return Err(failure::of(
                FailureKind::Unsupported,
                "the model made more than one response, which needs a stream",
            ));
        }
        let body = response(tensors.clone(), &self.model);
        if self.is_ready(bytes, &body) {
            return self.tell(bytes, &body, out);
        }
        self.waiting = Some(tensors);
        Ok(())
    }

    pub fn end(&mut self, bytes: &dyn Bytes, out: &mut Vec<Action>) -> Result<(), Failure> {
        if let Some(tensors) = self.waiting.take() {
            let body = response(tensors, &self.model);
            self.tell(bytes, &body, out)?;
        }
        if !self.told {
            return Err(failure::upstream_invalid("the worker answered no tensors"));
        }
        if self.form == Form::Grpc {
            out.push(status(0, None));
        }
        out.push(Action::Finish);
        Ok(())
    }

    /// What the answer waits for.
    pub fn keeps(&self) -> Vec<Need> {
        keeps(&self.waiting)
    }

    fn binary(&self, body: &Body) -> Vec<bool> {
        body.tensors.iter().map(|it| self.wishes.of(it)).collect()
    }

    fn is_ready(&self, bytes: &dyn Bytes, body: &Body) -> bool {
        match self.form {
            Form::Rest => rest_write::is_ready(bytes, body, &self.binary(body)),
            Form::Grpc => grpc_write::is_ready(bytes, body, self.wishes.style()),
        }
    }

    fn tell(
        &mut self,
        bytes: &dyn Bytes,
        body: &Body,
        out: &mut Vec<Action>,
    ) -> Result<(), Failure> {
        self.told = true;
        // The worker did its part; it is the client's form that cannot carry it.
        let cannot = |what| failure::of(FailureKind::Unprocessable, what);
        match self.form {
            Form::Grpc => {
                let written = grpc_write::write(bytes, Kind::Response, body, self.wishes.style());
                out.push(Action::Message(written.map_err(cannot)?.segments));
            }
            Form::Rest => {
                let style = rest_write::Style {
                    base64: self.options.base64_bytes,
                    // Only metadata has them as strings: answers to inferences are written by
                    // ModelMesh's REST proxy itself (rest-proxy, proxy/marshaler.go).
                    string_shapes: false,
                };
                let binary = self.binary(body);
                let written = rest_write::write(bytes, Kind::Response, body, &binary, style)
                    .map_err(cannot)?;
                let mut headers = match written.head {
                    Some(head) => vec![
                        actions::header("content-type", "application/octet-stream"),
                        actions::header(HEAD_LENGTH, head.to_string()),
                    ],
                    None => vec![actions::header("content-type", "application/json")],
                };
                if let Some(len) = written.len {
                    headers.push(actions::header("content-length", len.to_string()));
                }
                out.push(Action::Head(ResponseHead {
                    status: 200,
                    headers,
                }));
                out.push(Action::Data(written.segments));
            }
        }
        Ok(())
    }
}

/// The bytes that answers wait for are kept, and room is made for all of them.
pub fn keeps<'a>(waiting: impl IntoIterator<Item = &'a Tensors>) -> Vec<Need> {
    let mut needs: Vec<Need> = Vec::new();
    for tensor in waiting.into_iter().flat_map(|it| &it.outputs) {
        let TensorData::Held(held) = &tensor.data else {
            continue;
        };
        let (source, offset) = (held.at.source, held.at.offset);
        match needs.iter_mut().find(|need| need.source == source) {
            Some(need) => need.keep_from = need.keep_from.min(offset),
            None => needs.push(Need {
                source,
                keep_from: offset,
                until: Want::All,
            }),
        }
    }
    needs
}

/// A response without outputs that only says that it is the last one.
pub fn is_final_mark(tensors: &Tensors) -> bool {
    let last = parameters::get(&tensors.parameters, "triton_final_response");
    tensors.outputs.is_empty() && last == Some(&ParameterValue::Boolean(true))
}
