//! Holds the TGIS plugin to what a real server answered: `tests/transcripts/tgis`.
//!
//! Each recorded message is passed, and what comes out must be what came in; and it is taken
//! apart into a neutral call, written anew, answered with the recorded messages, and those are
//! put together again for the client, who must find the same in them.

use std::{fs, path::Path};

use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor};
use serde_json::{Value, json};
use tollgate_plugin_tgis::Tgis;
use tollgate_sdk_protocol::{
    Protocol,
    backend::{Surface as Asked, Worker as WorkerFacts},
    failure,
    frontend::{PassTo, RequestHead, TranslateTo, Way},
    inference::Event,
    plugin::Surface,
    testing::{Answer, Client, ClientOutcome, Pace, Upstream, Worker, context, same_at_every_pace},
    types::{ResponseEnd, ResponseHead},
};

/// The server's habits, where they differ from the original server's.
const OPTIONS: &str = r#"{"default-max-new-tokens": 0, "max-new-tokens": 1024,
    "default-include-stop-sequence": true, "revision": "adapter"}"#;
const SERVED: &str = "tiny-llama";
/// Answers are cut at every place up to this one.
const CUTS: usize = 600;

struct Recorded {
    name: String,
    method: String,
    request: Vec<u8>,
    messages: Vec<Vec<u8>>,
    code: u32,
    message: String,
}

fn bytes(list: &Value) -> Vec<Vec<u8>> {
    let messages = list.as_array().unwrap().iter();
    messages.map(|hex| unhex(hex.as_str().unwrap())).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

impl Recorded {
    fn all() -> impl Iterator<Item = Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/transcripts/tgis");
        let mut all: Vec<Self> = fs::read_dir(&folder)
            .unwrap_or_else(|e| panic!("{}: {e}", folder.display()))
            .map(|entry| Self::read(&entry.unwrap().path()))
            .collect();
        all.sort_by(|one, other| one.name.cmp(&other.name));
        assert!(all.len() > 20, "only {} recordings", all.len());
        all.into_iter().inspect(|one| println!("{}", one.name))
    }

    fn read(path: &Path) -> Self {
        let json: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
        let (request, response) = (&json["request"], &json["response"]);
        let path_asked = request["path"].as_str().unwrap();
        Self {
            name: path.file_stem().unwrap().to_string_lossy().into_owned(),
            method: path_asked.rsplit('/').next().unwrap().to_owned(),
            request: bytes(&request["messages"]).remove(0),
            messages: bytes(&response["messages"]),
            code: u32::try_from(response["code"].as_u64().unwrap()).unwrap(),
            message: response["message"].as_str().unwrap().to_owned(),
        }
    }

    fn head(&self) -> RequestHead {
        let claim = plugin().1.iter().position(
            |surface| matches!(surface, Surface::Grpc(grpc) if grpc.method == self.method),
        );
        RequestHead {
            claim: u32::try_from(claim.expect("a claim for it")).unwrap(),
            method: "POST".to_owned(),
            path: format!("/fmaas.GenerationService/{}", self.method),
            query: String::new(),
            parameters: Vec::new(),
            headers: Vec::new(),
        }
    }

    fn play(&self, client: &Client, pace: Pace) -> ClientOutcome {
        client.play(plugin().0.exchange(context(), self.head()), pace)
    }

    fn told(&self) -> Option<&str> {
        (self.code != 0).then_some(self.message.as_str())
    }

    fn decoded(&self) -> Vec<Value> {
        let (_, output) = method(&self.method);
        let messages = self.messages.iter();
        messages.map(|message| decode(&output, message)).collect()
    }
}

fn plugin() -> (Tgis, Vec<Surface>) {
    let (plugin, claims) = Tgis::configure(OPTIONS).unwrap_or_else(|p| panic!("{p:?}"));
    (
        plugin,
        claims.into_iter().map(|claim| claim.surface).collect(),
    )
}

fn worker() -> WorkerFacts {
    WorkerFacts {
        name: "w".to_owned(),
        dialect: "tgis".to_owned(),
        models: vec![SERVED.to_owned()],
        options: String::new(),
    }
}

fn method(name: &str) -> (MessageDescriptor, MessageDescriptor) {
    let set = Tgis::manifest().descriptors.remove(0);
    let pool = DescriptorPool::decode(set.as_slice()).unwrap();
    let service = pool.get_service_by_name("fmaas.GenerationService").unwrap();
    let method = service.methods().find(|method| method.name() == name);
    let method = method.unwrap();
    (method.input(), method.output())
}

fn decode(kind: &MessageDescriptor, bytes: &[u8]) -> Value {
    serde_json::to_value(DynamicMessage::decode(kind.clone(), bytes).unwrap()).unwrap()
}

/// Without the model's name, which the recordings mostly leave out.
fn nameless(mut request: Value) -> Value {
    request.as_object_mut().unwrap().remove("modelId");
    request
}

/// A stream put together; where it was cut into messages does not matter.
fn gathered(messages: &[Value]) -> Value {
    let list = |name: &str| -> Vec<Value> {
        let lists = messages
            .iter()
            .filter_map(|message| message[name].as_array());
        lists.flatten().cloned().collect()
    };
    let last = messages.last().expect("a message");
    json!({
        "text": messages.iter().filter_map(|m| m["text"].as_str()).collect::<String>(),
        "tokens": list("tokens"),
        "inputTokens": list("inputTokens"),
        "input": messages[0]["inputTokenCount"],
        "generated": last["generatedTokenCount"],
        "reason": last["stopReason"],
        "stop": last["stopSequence"],
    })
}

#[test]
fn what_is_passed_stays_as_it_was_recorded() {
    for recorded in Recorded::all() {
        let way = Way::Pass(PassTo {
            model: SERVED.to_owned(),
            dialect: "tgis".to_owned(),
            options: String::new(),
        });
        let client = Client {
            upstream: Some(Upstream {
                head: ResponseHead {
                    status: 200,
                    headers: Vec::new(),
                },
                content: recorded.messages.clone(),
                grpc: true,
                end: Ok(ResponseEnd {
                    code: Some(recorded.code),
                    message: recorded.told().map(str::to_owned),
                    trailers: Vec::new(),
                }),
            }),
            ..Client::grpc(vec![recorded.request.clone()], way)
        };
        let paces = recorded.messages.iter().map(Vec::len).max().unwrap_or(2);
        let outcome = same_at_every_pace(paces.min(CUTS), |pace| recorded.play(&client, pace));
        let Some(passed) = outcome.passed.first() else {
            refused_alike(&recorded, &outcome);
            continue;
        };
        let (input, _) = method(&recorded.method);
        let sent = decode(&input, &passed.body);
        assert_eq!(sent["modelId"], SERVED, "{}", recorded.name);
        assert_eq!(
            nameless(sent),
            nameless(decode(&input, &recorded.request)),
            "{}",
            recorded.name
        );
        assert_eq!(outcome.messages, recorded.messages, "{}", recorded.name);
    }
}

/// Refused at once, as the server refused it; or answered at once, as the server answered.
fn refused_alike(recorded: &Recorded, outcome: &ClientOutcome) {
    let Some(failed) = &outcome.refused else {
        assert_eq!(outcome.messages, recorded.messages, "{}", recorded.name);
        return;
    };
    let code = match recorded.code {
        // UNKNOWN is what the server's library makes of an exception; the plugin knows better.
        2 => 3,
        code => code,
    };
    assert_eq!(failure::grpc_code(&failed.kind), code, "{}", recorded.name);
    if recorded.code != 2 {
        assert_eq!(failed.message, recorded.message, "{}", recorded.name);
    }
}

#[test]
fn what_is_taken_apart_and_put_together_says_the_same() {
    let mut compared = 0;
    for recorded in Recorded::all() {
        let way = Way::Translate(TranslateTo {
            model: SERVED.to_owned(),
        });
        let client = Client::grpc(vec![recorded.request.clone()], way);
        let asked = recorded.play(&client, Pace::Whole);
        let Some((_, call)) = asked.calls.first() else {
            refused_alike(&recorded, &asked);
            continue;
        };
        let driver = Worker {
            answer: Answer::grpc(recorded.messages.clone(), recorded.code, recorded.told()),
            sources: asked.sources.0.clone(),
        };
        let paces = recorded.messages.iter().map(Vec::len).max().unwrap_or(2);
        let attempt = same_at_every_pace(paces.min(CUTS), |pace| {
            let attempt = plugin().0.attempt(context(), worker(), vec![call.clone()]);
            driver.play(attempt, pace)
        });
        if attempt.request.is_none() {
            // The original server cuts inputs on the left, this one on the right.
            assert_eq!(recorded.name, "generate-truncated");
            continue;
        }
        // Sampling at temperature 0.0 is written as what it is: greedy.
        if recorded.name != "generate-cold" {
            asks_the_same(&recorded, attempt.request.as_ref());
        }

        let told: Vec<Event> = attempt.told.0.iter().map(|one| one.event.clone()).collect();
        let paces = told.len();
        let client = Client {
            events: told,
            sources: attempt.sources.0.clone(),
            ..client
        };
        let outcome = same_at_every_pace(paces, |pace| recorded.play(&client, pace));
        if recorded.code != 0 {
            refused_alike(&recorded, &outcome);
            continue;
        }
        let (_, output) = method(&recorded.method);
        let found: Vec<Value> = outcome
            .messages
            .iter()
            .map(|message| decode(&output, message))
            .collect();
        let wanted = recorded.decoded();
        if recorded.method == "GenerateStream" {
            assert_eq!(gathered(&found), gathered(&wanted), "{}", recorded.name);
        } else if recorded.method != "ModelInfo" {
            assert_eq!(found, wanted, "{}", recorded.name);
        }
        compared += 1;
    }
    assert!(compared > 12, "only {compared} were compared");
}

/// The same method, and the recorded request with what it left to habit written out.
fn asks_the_same(recorded: &Recorded, request: Option<&tollgate_sdk_protocol::testing::Attempted>) {
    let request = request.expect("a request");
    let Asked::Grpc(path) = &request.surface else {
        panic!("gRPC")
    };
    assert!(
        path.ends_with(&recorded.method),
        "{}: {path}",
        recorded.name
    );
    let (input, _) = method(&recorded.method);
    let wanted = nameless(decode(&input, &recorded.request));
    within(
        &wanted,
        &nameless(decode(&input, &request.body)),
        &recorded.name,
    );
}

/// Every member of `part` stands in `whole`; numbers may be equal to single precision.
fn within(part: &Value, whole: &Value, at: &str) {
    match (part, whole) {
        (Value::Object(members), Value::Object(others)) => {
            for (name, value) in members {
                let other = others.get(name).unwrap_or(&Value::Null);
                within(value, other, &format!("{at}.{name}"));
            }
        }
        (Value::Array(items), Value::Array(others)) => {
            assert_eq!(items.len(), others.len(), "{at}");
            for (one, other) in items.iter().zip(others) {
                within(one, other, at);
            }
        }
        (Value::Number(one), Value::Number(other)) => {
            let far = one.as_f64().unwrap() - other.as_f64().unwrap();
            assert!(far.abs() < 1e-6, "{at}: {one} and {other}");
        }
        _ => assert_eq!(part, whole, "{at}"),
    }
}
