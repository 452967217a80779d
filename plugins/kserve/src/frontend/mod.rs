//! Speaks to clients. Each door has a type that knows what is asked there and how the
//! answer looks; `OneCall` drives those that make one call, `stream` makes many.

mod answer;
mod forward;
mod generate;
mod house;
mod infer;
mod metadata;
mod passing;
mod path;
mod settings;
mod stream;
mod texts;
mod v1;

use std::sync::Arc;

use tollgate_sdk_protocol::{
    Frontend, actions,
    frontend::{Action, Intent, PassTo, RequestHead},
    inference::TaskKind,
    one_call::{Ask, OneCall},
    types::{Context, Failure, FailureKind, Header, ResponseEnd},
};

use crate::{
    doors::{Door, Endpoint},
    errors,
    options::{ModelHeader, Options, Target},
};

pub use path::segment_of;

/// In which of the protocol's two forms a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Rest,
    Grpc,
}

/// Begins to serve a request at a door.
pub fn exchange(
    options: &Arc<Options>,
    door: Door,
    context: Context,
    head: RequestHead,
) -> Box<dyn Frontend> {
    let options = Arc::clone(options);
    let form = match door {
        Door::Rest(..) => Form::Rest,
        Door::Grpc(..) => Form::Grpc,
    };
    if form == Form::Rest {
        if let Err(failure) = known_version(&parameter(&head, "version")) {
            return call(forward::NoVersion { options, failure });
        }
        if !is_name(&parameter(&head, "model")) {
            return call(forward::Nothing(FailureKind::NotFound));
        }
    }
    let default = context.default_model.clone().unwrap_or_default();
    match door.endpoint() {
        Endpoint::Infer => call(infer::Infer::new(options, form, default, head)),
        Endpoint::StreamInfer => Box::new(stream::Exchange::new(options, default, &head)),
        Endpoint::ModelMetadata => call(metadata::Metadata::new(options, form, default, head)),
        Endpoint::Generate | Endpoint::GenerateStream => {
            let streaming = door.endpoint() == Endpoint::GenerateStream;
            call(generate::Generate::new(options, streaming, context, head))
        }
        Endpoint::Live => call(house::House::new(options, form, house::Kind::Live, head)),
        Endpoint::Ready => call(house::House::new(options, form, house::Kind::Ready, head)),
        Endpoint::ServerMetadata => {
            call(house::House::new(options, form, house::Kind::Server, head))
        }
        Endpoint::Models => call(house::House::new(options, form, house::Kind::Models, head)),
        Endpoint::Index => call(house::House::new(options, form, house::Kind::Index, head)),
        Endpoint::ModelReady => call(house::House::new(options, form, house::Kind::Model, head)),
        Endpoint::Forward(task) => call(forward::Forward::new(options, door, task, head)),
        Endpoint::OpenAi(task) => call(forward::Forward::new(options, door, task, head)),
        Endpoint::V1Verb => v1::exchange(options, head),
        Endpoint::V1Ready => call(v1::Ready::new(&head)),
        Endpoint::WrongMethod => call(forward::Nothing(FailureKind::MethodNotAllowed)),
        Endpoint::Absent => call(forward::Nothing(FailureKind::NotFound)),
    }
}

fn call(ask: impl Ask + 'static) -> Box<dyn Frontend> {
    Box::new(OneCall::new(ask))
}

/// An intent with nothing special about it, of a model that may not be named.
fn intent(id: u32, task: TaskKind, model: &str) -> Intent {
    // An empty name is no name: the route's default is meant.
    let model = (!model.is_empty()).then(|| model.to_owned());
    actions::intent(id, task, model)
}

/// What the path's pattern matched; empty: it has no such part.
fn parameter(head: &RequestHead, name: &str) -> String {
    let mut found = head.parameters.iter().filter(|it| it.name == name);
    found.next().map(|it| it.value.clone()).unwrap_or_default()
}

/// The model by a header, as ModelMesh's clients name it.
fn model_of_headers(head: &RequestHead) -> Result<String, Failure> {
    let get = |name: &str| {
        let bridged = format!("grpc-metadata-{name}");
        actions::header_value(&head.headers, name)
            .or_else(|| actions::header_value(&head.headers, &bridged))
            .filter(|value| !value.is_empty())
    };
    match (get("mm-vmodel-id"), get("mm-model-id")) {
        (Some(_), Some(_)) => Err(invalid("must include only one of model id and vmodel id")),
        (Some(name), None) | (None, Some(name)) => Ok(name.to_owned()),
        (None, None) => Ok(String::new()),
    }
}

/// A worker that a request may be passed to.
fn target(options: &Options, to: &PassTo) -> Result<Target, Failure> {
    Target::parse(&to.options, options)
        .map_err(|problem| tollgate_sdk_protocol::failure::of(FailureKind::Internal, problem))
}

/// The header that tells a worker the model, where it wants one. Before ModelMesh stands a gRPC
/// gateway over HTTP, which hands on no header but under this prefix.
pub fn model_header(target: &Target, form: Form, model: &str) -> Vec<Header> {
    let name = match target.model_header {
        ModelHeader::None => return Vec::new(),
        ModelHeader::MmVmodelId => "mm-vmodel-id",
        ModelHeader::MmModelId => "mm-model-id",
    };
    let name = match form {
        Form::Rest => format!("grpc-metadata-{name}"),
        Form::Grpc => name.to_owned(),
    };
    vec![actions::header(&name, model)]
}

/// The model's name as it stands in a message to a worker: none where the header says it, for
/// ModelMesh reads its headers only where the message names nobody (ModelMeshApi.java).
pub fn model_in_message<'a>(target: &Target, model: &'a str) -> &'a str {
    match target.model_header {
        ModelHeader::MmModelId => "",
        ModelHeader::None | ModelHeader::MmVmodelId => model,
    }
}

/// Whether a path's segment may name a model. It goes on within another path, where it must not
/// say more than here. With a slash it can be one of the catalogue's only, and is sent encoded.
fn is_name(model: &str) -> bool {
    let odd = |letter: char| letter.is_control() || "?#%\\".contains(letter);
    !model.contains(odd) && !model.split('/').any(|part| matches!(part, "." | ".."))
}

/// A version is a number, in every server's repository.
fn known_version(version: &str) -> Result<(), Failure> {
    if version.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(());
    }
    Err(tollgate_sdk_protocol::failure::of(
        FailureKind::NotFound,
        format!("Request for unknown model: there is no version {version:?}"),
    ))
}

/// Says that a model which is there has not the version that was asked for. Over HTTP that is 404
/// whatever the server says to unknown models.
fn no_version(options: &Options, form: Form, failure: Failure) -> Vec<Action> {
    match form {
        Form::Rest => actions::respond_json(404, errors::body(options, &failure)),
        Form::Grpc => actions::refuse(failure),
    }
}

/// The answer to a request that failed before one had begun. Once a worker was found the model is
/// known, and what is not found is the version that was named.
fn refused(
    options: &Options,
    form: Form,
    version: &str,
    failure: Failure,
    dispatched: bool,
) -> Vec<Action> {
    if dispatched && !version.is_empty() && failure.kind == FailureKind::NotFound {
        return no_version(options, form, failure);
    }
    actions::refuse(failure)
}

/// A version that this worker cannot be asked for.
fn check_version(target: &Target, version: &str) -> Result<(), Failure> {
    if target.versions || version.is_empty() {
        return Ok(());
    }
    Err(tollgate_sdk_protocol::failure::of(
        FailureKind::Unsupported,
        "this server has no versions of models",
    ))
}

/// The end of a gRPC response.
fn status(code: u32, message: Option<String>) -> Action {
    Action::Trailers(ResponseEnd {
        code: Some(code),
        message,
        trailers: Vec::new(),
    })
}

fn invalid(message: impl Into<String>) -> Failure {
    tollgate_sdk_protocol::failure::invalid(message, None)
}
