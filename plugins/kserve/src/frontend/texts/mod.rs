//! Inferences whose tensors are texts: of models whose names the plugin's options list, with the
//! names of their tensors. For a worker of another protocol such an inference is a generation or an
//! embedding.
//!
//! 1. The request is read whole; what is wrong with it is told when it comes to a worker that is
//!    asked for the task. One of the client's own form is passed the tensors as they are.
//! 2. `asked` makes the neutral task of it, `told` the outputs of what is answered.

mod asked;
mod told;

use tollgate_sdk_protocol::{
    Bytes, failure,
    frontend::Intent,
    inference::{Call, ModelInfo, Task, TaskKind, Tensor, TensorData},
    types::{Datatype, Failure, FailureKind},
};

use self::{asked::Asked, told::Telling};
use crate::{
    codec::Body,
    options::{self, Options},
};

/// An inference whose tensors are texts.
pub struct Texts {
    kind: TaskKind,
    asked: Result<Asked, Failure>,
    /// New tokens that it may ask for where it was not understood.
    guessed: u32,
    /// The model, as the client calls it.
    model: String,
    version: String,
    telling: Option<Telling>,
}

impl Texts {
    /// The words for a model, if there are any; without a name the default is meant.
    pub fn words<'a>(
        options: &'a Options,
        model: &str,
        default: &str,
    ) -> Option<&'a options::Texts> {
        let name = if model.is_empty() { default } else { model };
        options.models.get(name)
    }

    /// Reads a request, all of which is there, if its model's tensors are texts. `pieces`: its
    /// caller takes an answer in pieces.
    pub fn read(
        bytes: &dyn Bytes,
        options: &Options,
        default: &str,
        body: &Body,
        pieces: bool,
    ) -> Option<Self> {
        let words = Self::words(options, &body.model, default)?;
        let model = match body.model.as_str() {
            "" => default,
            named => named,
        };
        let asked = asked::read(bytes, options, words, body, pieces);
        let guessed = match (&asked, words) {
            (Err(_), options::Texts::Generate(_)) => asked::guessed(bytes, body),
            _ => 0,
        };
        Some(Self {
            kind: match words {
                options::Texts::Generate(_) => TaskKind::Generate,
                options::Texts::Embed(_) => TaskKind::Embed,
            },
            asked,
            guessed,
            model: model.to_owned(),
            version: body.version.clone(),
            telling: None,
        })
    }

    /// The intent of an inference, as that of the task that it is.
    pub fn intent(&self, inference: Intent) -> Intent {
        let mut intent = Intent {
            task: self.kind.clone(),
            ..inference
        };
        // One that is wrong here may be right for a worker that knows more of the model.
        match &self.asked {
            Ok(asked) => asked.intent(intent),
            Err(_) => {
                intent.cost.output = self.guessed;
                intent
            }
        }
    }

    /// The task, for a worker that knows the model as `served`.
    ///
    /// # Errors
    /// What is wrong with the request.
    pub fn call(&mut self, served: String) -> Result<Call, Failure> {
        let asked = self.asked.as_ref().map_err(Clone::clone)?;
        if !matches!(self.version.as_str(), "" | "1") {
            let message = format!(
                "Request for unknown model: '{}' version {} is not found",
                self.model, self.version
            );
            return Err(failure::of(FailureKind::NotFound, message));
        }
        // Another worker may have begun an answer before.
        self.telling = Some(Telling::new(asked, &self.model));
        Ok(Call {
            model: served,
            version: None,
            streaming: asked.streaming,
            task: asked.task.clone(),
            extensions: Vec::new(),
        })
    }

    /// A worker is asked for tensors after all.
    pub fn stay(&mut self) {
        self.telling = None;
    }

    /// What becomes of the answer, where a task was asked for.
    pub fn telling(&mut self) -> Option<&mut Telling> {
        self.telling.as_mut()
    }
}

/// A tensor as metadata has it.
fn described(name: &str, datatype: Datatype, shape: &[i64]) -> Tensor {
    Tensor {
        name: name.to_owned(),
        datatype,
        shape: shape.to_vec(),
        data: TensorData::None,
        parameters: Vec::new(),
    }
}

/// Fills in what a model takes and gives, where nobody has said it but the options.
pub fn describe(words: &options::Texts, info: &mut ModelInfo) {
    if !info.inputs.is_empty() || !info.outputs.is_empty() {
        return;
    }
    let shape = |batch: bool| if batch { &[-1, 1][..] } else { &[-1][..] };
    match words {
        options::Texts::Generate(to) => {
            let shape = shape(to.batch);
            let bytes = |name: &str| described(name, Datatype::Bytes, shape);
            info.inputs = vec![bytes(&to.text_input), bytes(asked::SAMPLING)];
            let flags = super::settings::FLAGS.iter();
            info.inputs
                .extend(flags.map(|name| described(name, Datatype::Boolean, shape)));
            let count = |name: &str| described(name, Datatype::Uint32, shape);
            info.outputs = vec![
                bytes(&to.text_output),
                bytes(told::REASON),
                count(told::INPUT),
                count(told::OUTPUT),
            ];
        }
        options::Texts::Embed(to) => {
            let numbers = to.dimensions.map_or(-1, i64::from);
            info.inputs = vec![described(&to.input, Datatype::Bytes, shape(to.batch))];
            info.outputs = vec![described(&to.output, Datatype::Fp32, &[-1, numbers])];
        }
    }
}

/// Inputs of a task: prompts or texts.
fn inputs(task: &Task) -> usize {
    match task {
        Task::Generate(it) => it.prompts.len(),
        Task::Embed(it) => it.inputs.len(),
        _ => 1,
    }
}
