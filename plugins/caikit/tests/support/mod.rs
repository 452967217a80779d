//! A plugin, its workers, and messages as JSON by way of the descriptors that it shows.
#![allow(dead_code, reason = "each test uses a part of it")]

use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, prost::Message};
use serde_json::{Value, json};
use tollgate_plugin_caikit::Caikit;
use tollgate_sdk_protocol::{
    Protocol, actions,
    backend::{self, Surface as Asked},
    failure,
    frontend::{Parameter, PassTo, RequestHead, TranslateTo, Way},
    inference::Event,
    plugin::{Claim, Surface},
    testing::{
        Answer, Attempted, Client, ClientOutcome, Pace, Upstream, Worker, WorkerOutcome, context,
        same_at_every_pace,
    },
    types::{ResponseEnd, ResponseHead},
};

pub const NLP: &str = "caikit.runtime.Nlp.NlpService";
pub const INFO: &str = "caikit.runtime.info.InfoService";
/// The model's name at the worker.
pub const SERVED: &str = "served";
/// Answers are cut at every place up to this one.
const CUTS: usize = 400;

/// A door: a REST path, or a gRPC method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    Rest(&'static str),
    Grpc(&'static str, &'static str),
}

/// Every task's REST path and method.
pub const TASKS: [(&str, &str); 11] = [
    ("text-generation", "TextGenerationTaskPredict"),
    (
        "server-streaming-text-generation",
        "ServerStreamingTextGenerationTaskPredict",
    ),
    ("embedding", "EmbeddingTaskPredict"),
    ("embedding-tasks", "EmbeddingTasksPredict"),
    ("sentence-similarity", "SentenceSimilarityTaskPredict"),
    (
        "sentence-similarity-tasks",
        "SentenceSimilarityTasksPredict",
    ),
    ("text-classification", "TextClassificationTaskPredict"),
    ("token-classification", "TokenClassificationTaskPredict"),
    ("rerank", "RerankTaskPredict"),
    ("rerank-tasks", "RerankTasksPredict"),
    ("tokenization", "TokenizationTaskPredict"),
];

pub fn plugin(options: &str) -> (Caikit, Vec<Claim>) {
    Caikit::configure(options).unwrap_or_else(|problems| panic!("{problems:?}"))
}

fn pool() -> DescriptorPool {
    let set = Caikit::manifest().descriptors.remove(0);
    DescriptorPool::decode(set.as_slice()).unwrap()
}

/// Types of a method's request and response.
pub fn method(service: &str, name: &str) -> (MessageDescriptor, MessageDescriptor) {
    let service = pool().get_service_by_name(service).unwrap();
    let method = service.methods().find(|method| method.name() == name);
    let method = method.unwrap_or_else(|| panic!("no method {name}"));
    (method.input(), method.output())
}

/// A message from its JSON.
pub fn encode(kind: &MessageDescriptor, json: &Value) -> Vec<u8> {
    DynamicMessage::deserialize(kind.clone(), json.clone())
        .unwrap_or_else(|error| panic!("{}: {error}: {json}", kind.full_name()))
        .encode_to_vec()
}

/// JSON of a message.
pub fn decode(kind: &MessageDescriptor, bytes: &[u8]) -> Value {
    let message = DynamicMessage::decode(kind.clone(), bytes).unwrap();
    let unknown = message.unknown_fields().count();
    assert_eq!(unknown, 0, "fields that nobody knows");
    serde_json::to_value(message).unwrap()
}

/// The head of a request at this door.
pub fn head(claims: &[Claim], door: Door, query: &str, headers: &[(&str, &str)]) -> RequestHead {
    let (path, verb) = match door {
        Door::Rest(path) => (path.to_owned(), None),
        Door::Grpc(service, method) => (format!("/{service}/{method}"), Some("POST")),
    };
    let claim = claims
        .iter()
        .position(|claim| match (&claim.surface, door) {
            (Surface::Rest(rest), Door::Rest(path)) => rest.path == path,
            (Surface::Grpc(grpc), Door::Grpc(service, method)) => {
                grpc.service == service && grpc.method == method
            }
            _ => false,
        });
    let claim = claim.unwrap_or_else(|| panic!("no claim for {door:?}"));
    let verb = verb.unwrap_or(match &claims[claim].surface {
        Surface::Rest(rest) => &rest.method,
        Surface::Grpc(_) => "POST",
    });
    RequestHead {
        claim: claim as u32,
        method: verb.to_owned(),
        path,
        query: query.to_owned(),
        parameters: Vec::<Parameter>::new(),
        headers: headers
            .iter()
            .map(|(name, value)| actions::header(name, *value))
            .collect(),
    }
}

/// A request at a door: what is sent, and how.
#[derive(Clone, Debug)]
pub struct Ask {
    pub door: Door,
    pub options: String,
    pub query: String,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
}

impl Ask {
    pub fn rest(path: &'static str, body: &Value) -> Self {
        let body = match body {
            Value::String(text) => text.clone().into_bytes(),
            Value::Null => Vec::new(),
            json => json.to_string().into_bytes(),
        };
        Self {
            door: Door::Rest(path),
            options: String::new(),
            query: String::new(),
            headers: vec![("content-type", "application/json".to_owned())],
            body,
        }
    }

    pub fn grpc(name: &'static str, message: &Value) -> Self {
        let service = if name.starts_with("Get") { INFO } else { NLP };
        Self {
            door: Door::Grpc(service, name),
            options: String::new(),
            query: String::new(),
            headers: vec![("mm-model-id", "asked".to_owned())],
            body: encode(&method(service, name).0, message),
        }
    }

    pub fn client(&self, way: Way) -> Client {
        match self.door {
            Door::Rest(_) if self.body.is_empty() => Client {
                request: Vec::new(),
                ..Client::rest(Vec::new(), way)
            },
            Door::Rest(_) => Client::rest(self.body.clone(), way),
            Door::Grpc(..) => Client::grpc(vec![self.body.clone()], way),
        }
    }

    pub fn exchange(&self) -> Box<dyn tollgate_sdk_protocol::Frontend> {
        let (plugin, claims) = plugin(&self.options);
        let headers: Vec<(&str, &str)> = self
            .headers
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        let head = head(&claims, self.door, &self.query, &headers);
        plugin.exchange(context(), head)
    }

    /// Passed to a worker that answers so.
    pub fn passed(&self, upstream: Upstream) -> ClientOutcome {
        let dialect = match self.door {
            Door::Rest(_) => "caikit-rest",
            Door::Grpc(..) => "caikit",
        };
        let way = Way::Pass(PassTo {
            model: SERVED.to_owned(),
            dialect: dialect.to_owned(),
            options: String::new(),
        });
        let longest = upstream.content.iter().map(Vec::len).max().unwrap_or(0);
        let client = Client {
            upstream: Some(upstream),
            ..self.client(way)
        };
        same_at_every_pace(longest.min(CUTS), |pace| client.play(self.exchange(), pace))
    }

    /// Taken apart, and answered by these events to each call.
    pub fn told(&self, events: Vec<Event>) -> ClientOutcome {
        let way = Way::Translate(TranslateTo {
            model: SERVED.to_owned(),
        });
        let count = events.len();
        let client = Client {
            events,
            ..self.client(way)
        };
        same_at_every_pace(count.max(1), |pace| client.play(self.exchange(), pace))
    }

    /// Taken apart, asked of a worker of this dialect that answers so, and put together.
    pub fn through(&self, dialect: &str, answer: Answer) -> (Attempted, ClientOutcome) {
        let asked = self.told(Vec::new());
        assert!(
            !asked.calls.is_empty(),
            "no call: {:?} {:?} {}",
            asked.refused,
            asked.head,
            String::from_utf8_lossy(&asked.body)
        );
        let outcome = attempt(dialect, "", &asked.calls, &asked, answer);
        let events = outcome.told.0.iter().map(|one| one.event.clone()).collect();
        let request = outcome.request.expect("a request");
        (request, self.told(events))
    }
}

/// What a worker makes of an exchange's first call.
pub fn attempt(
    dialect: &str,
    options: &str,
    calls: &[(u32, tollgate_sdk_protocol::inference::Call)],
    asked: &ClientOutcome,
    answer: Answer,
) -> WorkerOutcome {
    let longest = answer.content.iter().map(Vec::len).max().unwrap_or(0);
    let driver = Worker {
        answer,
        sources: asked.sources.0.clone(),
    };
    same_at_every_pace(longest.min(CUTS), |pace| {
        let members = vec![calls[0].1.clone()];
        let (plugin, _) = plugin("");
        let attempt = plugin.attempt(context(), worker(dialect, options), members);
        driver.play(attempt, pace)
    })
}

pub fn worker(dialect: &str, options: &str) -> backend::Worker {
    backend::Worker {
        name: "w".to_owned(),
        dialect: dialect.to_owned(),
        models: vec![SERVED.to_owned()],
        options: options.to_owned(),
    }
}

/// A unary or streaming answer at a worker's own surface.
pub fn grpc_answer(method_name: &str, messages: &[Value]) -> Answer {
    let (_, output) = method(NLP, method_name);
    let messages = messages.iter().map(|json| encode(&output, json)).collect();
    Answer::grpc(messages, 0, None)
}

pub fn rest_answer(body: &Value) -> Answer {
    Answer::rest(200, "application/json", body.to_string())
}

/// Events as the runtime writes them.
pub fn sse(events: &[(&str, Value)]) -> String {
    let event = |(name, data): &(&str, Value)| format!("event: {name}\r\ndata: {data}\r\n\r\n");
    events.iter().map(event).collect()
}

pub fn sse_answer(events: &[(&str, Value)]) -> Answer {
    Answer::rest(200, "text/event-stream; charset=utf-8", sse(events))
}

/// A worker's answer to a passed request.
pub fn upstream_grpc(messages: Vec<Vec<u8>>) -> Upstream {
    Upstream {
        head: ResponseHead {
            status: 200,
            headers: Vec::new(),
        },
        content: messages,
        grpc: true,
        end: Ok(ResponseEnd {
            code: Some(0),
            message: None,
            trailers: Vec::new(),
        }),
    }
}

/// JSON of a REST response.
pub fn body(outcome: &ClientOutcome) -> Value {
    serde_json::from_slice(&outcome.body)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&outcome.body)))
}

/// A message of a gRPC response.
pub fn message(outcome: &ClientOutcome, door: Door) -> Value {
    let Door::Grpc(service, name) = door else {
        panic!("gRPC")
    };
    let trailers = outcome.trailers.as_ref().expect("trailers");
    assert_eq!(trailers.code, Some(0), "{trailers:?}");
    let [message] = outcome.messages.as_slice() else {
        panic!("{} messages", outcome.messages.len())
    };
    decode(&method(service, name).1, message)
}

/// Name and data of each event of a stream.
pub fn events(outcome: &ClientOutcome) -> Vec<(String, Value)> {
    let text = outcome.text();
    assert!(text.ends_with("\r\n\r\n"), "{text:?}");
    text.split_terminator("\r\n\r\n")
        .map(|event| {
            let (name, data) = event.split_once("\r\n").expect("two lines");
            let name = name.strip_prefix("event: ").unwrap().to_owned();
            let data = data.strip_prefix("data: ").unwrap();
            (name, serde_json::from_str(data).unwrap())
        })
        .collect()
}

/// Path of what was asked of a worker, its body as JSON, and the model's name.
pub fn asked(request: &Attempted) -> (String, Value, String) {
    let header = |name: &str| {
        actions::header_value(&request.headers, name)
            .unwrap_or_default()
            .to_owned()
    };
    match &request.surface {
        Asked::Rest(rest) => {
            assert_eq!(header("content-type"), "application/json");
            let body: Value = serde_json::from_slice(&request.body).unwrap();
            let model = body["model_id"].as_str().unwrap().to_owned();
            (rest.path.clone(), body, model)
        }
        Asked::Grpc(path) => {
            let (service, name) = path.split_once('/').unwrap();
            let body = decode(&method(service, name).0, &request.body);
            (path.clone(), body, header("mm-model-id"))
        }
    }
}

/// Code of a failure left to the host, or of the trailers.
pub fn code(outcome: &ClientOutcome) -> u32 {
    match (&outcome.refused, &outcome.trailers) {
        (Some(failed), _) => failure::grpc_code(&failed.kind),
        (None, Some(end)) => end.code.unwrap_or(0),
        _ => panic!("neither refused nor ended"),
    }
}

pub fn model_json(name: &str) -> Value {
    json!({
        "model_path": "/models/x", "name": name, "size": 3, "metadata": {"max_seq_length": 64},
        "loaded": true, "module_id": "eeb12558-b4fa-4f34-a9fd-3f5890e9cd3f",
        "module_metadata": {"name": "EmbeddingModule", "version": "0.0.1"}
    })
}

/// The pace of a test that looks at one only.
pub const ONCE: Pace = Pace::Whole;
