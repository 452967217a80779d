//! One inference, in either form. Of a request the head is read: raw tensors are spans,
//! also before they have arrived. Only one whose tensors are texts is read whole: it is passed
//! to workers of its own form, and becomes another task for all others.

use std::sync::Arc;

use tollgate_sdk_protocol::{
    Bytes, actions,
    frontend::{Action, Affinity, Edit, Input, Intent, PassTo, Passed, RequestHead},
    inference::{Call, Event, ParameterValue, Task, TaskKind, Tensors},
    one_call::{self, CALL, Read},
    types::{Failure, FailureKind, Need, Progress, Segment, Want},
};

use super::{
    Form,
    answer::{Answer, Wishes},
    check_version, intent, invalid, known_version, model_header, model_in_message,
    model_of_headers, parameter,
    passing::Passing,
    path, refused, target,
    texts::Texts,
};
use crate::{
    codec::{Body, Kind, Stop, grpc_read, parameters, rest_read},
    doors::HEAD_LENGTH,
    options::{Options, SharedMemory},
    proto,
};

/// Longest JSON before raw tensors.
const HEAD: u64 = 1 << 20;

/// What is asked at the doors of inference.
pub struct Infer {
    options: Arc<Options>,
    form: Form,
    default_model: String,
    head: RequestHead,
    asked: Option<Asked>,
    texts: Option<Texts>,
    /// A worker of the client's form cannot take the request as it is: it is told in tensors.
    as_tensors: bool,
    answer: Option<Answer>,
    passing: Option<Passing>,
}

/// A request that has been read.
struct Asked {
    body: Body,
    wishes: Wishes,
    /// Where the model's name stands in a gRPC message.
    model_at: (u64, u64),
    /// Triton's form without JSON: it can only be passed.
    bare: bool,
    /// Raw tensors come after JSON, or are asked for.
    binary: bool,
}

impl Infer {
    pub fn new(
        options: Arc<Options>,
        form: Form,
        default_model: String,
        head: RequestHead,
    ) -> Self {
        Self {
            options,
            form,
            default_model,
            head,
            asked: None,
            texts: None,
            as_tensors: false,
            answer: None,
            passing: None,
        }
    }

    fn read_rest(
        &self,
        bytes: &dyn Bytes,
        progress: &Progress,
    ) -> Result<Result<Asked, Need>, Failure> {
        let told = actions::header_value(&self.head.headers, HEAD_LENGTH);
        let head = told
            .map(|text| text.trim().parse::<u64>().ok().filter(|it| *it <= HEAD))
            .map(|head| {
                head.ok_or_else(|| {
                    invalid(format!(
                        "Inference-Header-Content-Length must be a number up to {HEAD}"
                    ))
                })
            })
            .transpose()?;
        let until = match (head, progress.total) {
            _ if progress.end => Want::More,
            // A worker of the first version is told values, which have to be there for that.
            _ if self.options.v1.is_some() => Want::All,
            (Some(head), Some(_)) if progress.available >= head => Want::More,
            (Some(head), Some(_)) => Want::AtLeast(head),
            // JSON has to be there to be read; and how long raw tensors may be cannot be
            // told without a length.
            _ => Want::All,
        };
        if until != Want::More {
            return Ok(Err(need(until)));
        }
        let total = progress.total.unwrap_or(progress.available);
        let model = parameter(&self.head, "model");
        if head == Some(0) {
            return Ok(Ok(Asked {
                body: Body {
                    model,
                    ..Body::default()
                },
                wishes: Wishes::all_binary(),
                model_at: (0, 0),
                bare: true,
                binary: true,
            }));
        }
        let place = rest_read::Place {
            source: 0,
            head: head.unwrap_or(total),
            total: Some(total),
            binary: head.is_some(),
            base64: self.options.base64_bytes,
        };
        if progress.available < place.head {
            return Err(invalid("the body ends within its JSON"));
        }
        let mut body = rest_read::read(bytes, place, Kind::Request).map_err(invalid)?;
        // The path says which model it is; the body's own name is as servers take it: for
        // information.
        body.model = model;
        body.version = parameter(&self.head, "version");
        let wishes = Wishes::take(&mut body).map_err(invalid)?;
        Ok(Ok(Asked {
            binary: place.binary || wishes.any_binary(),
            body,
            wishes,
            model_at: (0, 0),
            bare: false,
        }))
    }

    fn read_grpc(
        &self,
        bytes: &dyn Bytes,
        progress: &Progress,
    ) -> Result<Result<Asked, Need>, Failure> {
        let read = match grpc_read::read(bytes, progress, Kind::Request) {
            Ok(read) => read,
            Err(Stop::More(to)) if !progress.end => return Ok(Err(need(Want::AtLeast(to)))),
            Err(Stop::More(_)) => return Err(invalid("the message ends within a field")),
            Err(Stop::Bad(reason)) => return Err(invalid(reason)),
        };
        // Typed contents are converted, and for that they have to be there; so have those that a
        // worker of the first version is told.
        if (read.typed || self.options.v1.is_some()) && !progress.end {
            return Ok(Err(need(Want::All)));
        }
        let mut body = read.body;
        known_version(&body.version)?;
        if body.model.is_empty() {
            body.model = model_of_headers(&self.head)?;
        }
        let named = read.model_at.1 > 0;
        Ok(Ok(Asked {
            wishes: Wishes::grpc(read.typed && self.options.typed_answers),
            body,
            model_at: if named { read.model_at } else { (0, 0) },
            bare: false,
            binary: true,
        }))
    }
}

impl one_call::Ask for Infer {
    fn read(&mut self, bytes: &dyn Bytes, progress: &Progress) -> Result<Read, Failure> {
        let read = match self.form {
            Form::Rest => self.read_rest(bytes, progress)?,
            Form::Grpc => self.read_grpc(bytes, progress)?,
        };
        let asked = match read {
            Ok(asked) => asked,
            Err(need) => return Ok(Read::Need(need)),
        };
        check_shared(&asked.body, self.options.shared_memory)?;
        let mut intent = ask(CALL, &asked.body);
        let default = &self.default_model;
        let words = Texts::words(&self.options, &asked.body.model, default);
        if words.is_some() && !asked.bare {
            if !progress.end {
                return Ok(Read::Need(need(Want::All)));
            }
            self.texts = Texts::read(bytes, &self.options, default, &asked.body, false);
            if let Some(texts) = &self.texts {
                intent = texts.intent(intent);
            }
        }
        self.asked = Some(asked);
        Ok(Read::Call(intent))
    }

    fn pass(&mut self, to: &PassTo) -> Result<Option<Passed>, Failure> {
        let Some(asked) = &self.asked else {
            return Ok(None);
        };
        let target = target(&self.options, to)?;
        check_version(&target, &asked.body.version)?;
        let unlike = self.form == Form::Rest
            && (asked.binary && !target.binary || self.options.base64_bytes != target.base64_bytes);
        self.as_tensors = unlike;
        if unlike {
            return Ok(None);
        }
        let named = &asked.body.model;
        let renamed = *named != to.model;
        let alias = (renamed && !named.is_empty()).then(|| named.clone());
        let passing = Passing::new(self.form, "model_name", alias);
        let mut edits = Vec::new();
        let path = match self.form {
            Form::Rest => {
                let pattern = pattern(&asked.body.version);
                renamed.then(|| path::with_model(pattern, &self.head.path, &to.model))
            }
            Form::Grpc => {
                let name = model_in_message(&target, &to.model);
                let field = match name {
                    "" => Vec::new(),
                    name => proto::text(1, name),
                };
                let (offset, len) = asked.model_at;
                if name != named.as_str() || len == 0 && !field.is_empty() {
                    edits.push(Edit {
                        offset,
                        len,
                        replacement: vec![Segment::Inline(field)],
                    });
                }
                None
            }
        };
        let response = passing.mode();
        self.passing = Some(passing);
        Ok(Some(Passed {
            id: CALL,
            path,
            query: None,
            set_headers: model_header(&target, self.form, &to.model),
            remove_headers: Vec::new(),
            edits,
            response,
        }))
    }

    fn call(&mut self, model: String) -> Result<Call, Failure> {
        let asked = self
            .asked
            .as_ref()
            .ok_or_else(|| invalid("nothing was asked"))?;
        if asked.bare {
            let what = "a raw request without JSON can be passed on only, and no worker here \
                        speaks this form";
            return Err(tollgate_sdk_protocol::failure::of(
                FailureKind::Unsupported,
                what,
            ));
        }
        refuse_shared(&asked.body)?;
        // Another worker may have begun an answer before.
        self.answer = Some(Answer::new(
            Arc::clone(&self.options),
            self.form,
            asked.wishes.clone(),
            asked.body.model.clone(),
        ));
        let as_tensors = std::mem::take(&mut self.as_tensors);
        match &mut self.texts {
            Some(texts) if as_tensors => texts.stay(),
            Some(texts) => return texts.call(model),
            None => {}
        }
        Ok(neutral(&asked.body, model, false))
    }

    fn refused(&self, failure: Failure, dispatched: bool) -> Vec<Action> {
        let version = self.asked.as_ref().map_or("", |asked| &asked.body.version);
        refused(&self.options, self.form, version, failure, dispatched)
    }

    fn event(
        &mut self,
        bytes: &dyn Bytes,
        event: Event,
        out: &mut Vec<Action>,
    ) -> Result<(), Failure> {
        let Some(answer) = &mut self.answer else {
            return Ok(());
        };
        if let Some(telling) = self.texts.as_mut().and_then(Texts::telling) {
            let over = event == Event::End;
            if let Some(tensors) = telling.event(bytes, event)? {
                answer.tensors(bytes, tensors, out)?;
            }
            return if over { answer.end(bytes, out) } else { Ok(()) };
        }
        match event {
            Event::Tensors(tensors) => answer.tensors(bytes, tensors, out),
            Event::End => answer.end(bytes, out),
            _ => Ok(()),
        }
    }

    fn upstream(
        &mut self,
        bytes: &dyn Bytes,
        input: Input,
        out: &mut Vec<Action>,
    ) -> Result<(), Failure> {
        match &mut self.passing {
            Some(passing) => passing.input(bytes, input, out),
            None => Ok(()),
        }
    }

    fn keeps(&self) -> Vec<Need> {
        self.answer.as_ref().map(Answer::keeps).unwrap_or_default()
    }
}

/// The pattern of the path of an inference.
fn pattern(version: &str) -> &'static str {
    if version.is_empty() {
        "/v2/models/{model}/infer"
    } else {
        "/v2/models/{model}/versions/{version}/infer"
    }
}

/// Asks for a worker for an inference.
pub fn ask(id: u32, body: &Body) -> Intent {
    let sequence = sequence(body);
    Intent {
        version: (!body.version.is_empty()).then(|| body.version.clone()),
        // A sequence's state has changed once it was asked.
        repeatable: sequence.is_none(),
        affinity: match sequence {
            Some(sequence) => Affinity::Pin(format!("{}\n{sequence}", body.model)),
            None => Affinity::None,
        },
        ..intent(id, TaskKind::Infer, &body.model)
    }
}

/// The sequence that a request is part of; 0 and nothing are none.
pub fn sequence(body: &Body) -> Option<String> {
    let name = match parameters::get(&body.parameters, "sequence_id")? {
        ParameterValue::Int64(number) => number.to_string(),
        ParameterValue::Uint64(number) => number.to_string(),
        ParameterValue::Text(name) => name.clone(),
        _ => return None,
    };
    (name != "0" && !name.is_empty()).then_some(name)
}

/// The content of an inference, in neutral words.
pub fn neutral(body: &Body, model: String, streaming: bool) -> Call {
    Call {
        model,
        version: (!body.version.is_empty()).then(|| body.version.clone()),
        streaming,
        task: Task::Infer(tollgate_sdk_protocol::inference::Infer {
            id: body.id.clone(),
            inputs: body.tensors.clone(),
            outputs: body.outputs.clone(),
            parameters: body.parameters.clone(),
        }),
        extensions: Vec::new(),
    }
}

/// A response, from neutral words; `model` is what the client calls it.
pub fn response(tensors: Tensors, model: &str) -> Body {
    Body {
        model: if model.is_empty() {
            tensors.model
        } else {
            model.to_owned()
        },
        version: tensors.version.unwrap_or_default(),
        id: tensors.id,
        parameters: tensors.parameters,
        tensors: tensors.outputs,
        outputs: Vec::new(),
    }
}

/// Refuses at the edge what names memory of the server's own machine.
pub fn check_shared(body: &Body, shared: SharedMemory) -> Result<(), Failure> {
    match shared {
        SharedMemory::Refuse => refuse_shared(body),
        SharedMemory::Pass => Ok(()),
    }
}

/// Refuses shared memory, which is never translated.
pub fn refuse_shared(body: &Body) -> Result<(), Failure> {
    let mut all = body.tensors.iter().chain(&body.outputs);
    match all.find(|tensor| grpc_read::is_shared(&tensor.parameters)) {
        None => Ok(()),
        Some(tensor) => Err(tollgate_sdk_protocol::failure::invalid(
            format!(
                "tensor '{}' names shared memory, which is of no use across a network",
                tensor.name
            ),
            Some("shared_memory_region"),
        )),
    }
}

fn need(until: Want) -> Need {
    Need {
        source: 0,
        keep_from: 0,
        until,
    }
}
