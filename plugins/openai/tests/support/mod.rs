//! Reads transcripts and plays them.
#![allow(dead_code, reason = "each test file uses a part")]

use std::{fs, path::Path};

use serde_json::{Value, json};
use tollgate_plugin_openai::OpenAi;
use tollgate_sdk_protocol::{
    Protocol, actions,
    backend::{MemberEvent, Surface, Worker as WorkerFacts},
    failure,
    frontend::{Parameter, PassTo, RequestHead, ResponseMode, TranslateTo, Way},
    inference::{Call, Event},
    plugin::{self, Claim},
    sse,
    testing::{
        Answer, Client, ClientOutcome, Ending, Memory, Pace, Upstream, Worker, WorkerOutcome,
        context, same_at_every_pace,
    },
    types::Cut,
};

/// The transcripts of a folder, by name.
pub fn transcripts(folder: &str) -> Vec<(String, Value)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("transcripts")
        .join(folder);
    let mut all: Vec<(String, Value)> = fs::read_dir(path)
        .expect("a folder of transcripts")
        .map(|entry| {
            let path = entry.expect("an entry").path();
            let text = fs::read_to_string(&path).expect("a readable transcript");
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            let script = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{name}: {e}"));
            (name, script)
        })
        .collect();
    all.sort_by(|one, other| one.0.cmp(&other.0));
    assert!(!all.is_empty());
    all
}

pub fn plugin(script: &Value) -> OpenAi {
    let options = script
        .get("options")
        .map(Value::to_string)
        .unwrap_or_default();
    OpenAi::configure(&options)
        .unwrap_or_else(|problems| panic!("{problems:?}"))
        .0
}

pub fn worker(script: &Value) -> WorkerFacts {
    WorkerFacts {
        name: "w".to_owned(),
        dialect: dialect(script),
        models: Vec::new(),
        options: script
            .get("worker")
            .map(Value::to_string)
            .unwrap_or_default(),
    }
}

/// The dialect of the worker.
fn dialect(script: &Value) -> String {
    let own = script["worker"]["dialect"].as_str();
    own.unwrap_or("openai").to_owned()
}

/// The claims of the plugin, as method and path each.
fn claims(script: &Value) -> Vec<(String, String)> {
    let options = script.get("options").map(Value::to_string);
    let (_, claims) = OpenAi::configure(&options.unwrap_or_default())
        .unwrap_or_else(|problems| panic!("{problems:?}"));
    let place = |claim: Claim| match claim.surface {
        plugin::Surface::Rest(rest) => (rest.method, rest.path),
        other => panic!("{other:?}"),
    };
    claims.into_iter().map(place).collect()
}

pub fn head(script: &Value) -> RequestHead {
    let endpoint = script["endpoint"].as_str().expect("an endpoint");
    let (method, path) = endpoint.split_once(' ').expect("a method and a path");
    let mut parameters = Vec::new();
    let claim = claims(script)
        .iter()
        .position(|(its, pattern)| {
            if its != method {
                return false;
            }
            let Some((before, after)) = pattern.split_once("{id") else {
                return pattern == path;
            };
            let after = &after[after.find('}').expect("a closed name") + 1..];
            let value = path.strip_prefix(before);
            let value = value.and_then(|rest| rest.strip_suffix(after));
            if let Some(value) = value {
                parameters = vec![Parameter {
                    name: "id".to_owned(),
                    value: value.to_owned(),
                }];
            }
            value.is_some()
        })
        .unwrap_or_else(|| panic!("no claim for {endpoint}"));
    let default = json!({"content-type": "application/json"});
    let headers = script
        .get("headers")
        .unwrap_or(&default)
        .as_object()
        .unwrap();
    RequestHead {
        claim: claim as u32,
        method: method.to_owned(),
        path: path.to_owned(),
        query: String::new(),
        parameters,
        headers: headers
            .iter()
            .map(|(name, value)| actions::header(name, value.as_str().unwrap()))
            .collect(),
    }
}

/// A body: text as it stands, anything else as JSON.
pub fn content(value: &Value) -> Vec<u8> {
    match value {
        Value::Null => Vec::new(),
        Value::String(text) => text.clone().into_bytes(),
        other => other.to_string().into_bytes(),
    }
}

struct Said {
    status: u16,
    content_type: String,
    body: Vec<u8>,
    cut: Option<Cut>,
}

fn answer(script: &Value) -> Said {
    let answer = &script["answer"];
    let events = answer["events"].as_array();
    let body = match events {
        Some(events) => {
            let mut body = Vec::new();
            events
                .iter()
                .for_each(|event| sse::write(&mut body, None, &content(event)));
            body
        }
        None => content(
            answer
                .get("text")
                .or(answer.get("body"))
                .unwrap_or(&Value::Null),
        ),
    };
    let usual = if events.is_some() {
        "text/event-stream; charset=utf-8"
    } else {
        "application/json"
    };
    Said {
        status: answer["status"].as_u64().unwrap_or(200) as u16,
        content_type: answer["type"].as_str().unwrap_or(usual).to_owned(),
        body,
        cut: match answer["cut"].as_str() {
            None => None,
            Some("deadline") => Some(Cut::Deadline),
            Some("limit") => Some(Cut::Limit),
            Some(_) => Some(Cut::Closed),
        },
    }
}

fn served(script: &Value) -> String {
    script["served"].as_str().unwrap_or("served").to_owned()
}

/// Plays a request that is passed.
pub fn pass(script: &Value) -> ClientOutcome {
    let request = content(&script["request"]);
    let way = Way::Pass(PassTo {
        model: served(script),
        dialect: dialect(script),
        options: worker(script).options,
    });
    let said = answer(script);
    let mut upstream = Upstream::rest(said.status, &said.content_type, said.body.clone());
    if let Some(cut) = said.cut {
        upstream.end = Err(Ending::Cut(cut));
    }
    let client = Client {
        upstream: Some(upstream),
        ..Client::rest(request, way)
    };
    same_at_every_pace(said.body.len(), |pace| {
        client.play(plugin(script).exchange(context(), head(script)), pace)
    })
}

/// The neutral call of a request, and its sources; or the whole outcome when there is none.
pub fn taken_apart(script: &Value) -> Result<(Call, Memory), Box<ClientOutcome>> {
    let way = Way::Translate(TranslateTo {
        model: served(script),
    });
    let client = Client::rest(content(&script["request"]), way);
    let outcome = client.play(
        plugin(script).exchange(context(), head(script)),
        Pace::Whole,
    );
    check_intent(script, &outcome);
    match outcome.calls.first() {
        Some((0, call)) => Ok((call.clone(), outcome.sources.0)),
        _ => Err(Box::new(outcome)),
    }
}

pub fn check_intent(script: &Value, outcome: &ClientOutcome) {
    let Some(expected) = script.get("intent") else {
        return;
    };
    let intent = &outcome.intents[0];
    let told = json!({
        "task": format!("{:?}", intent.task),
        "model": intent.model,
        "streaming": intent.streaming,
        "input": intent.cost.input,
        "output": intent.cost.output,
        "repeatable": intent.repeatable,
    });
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&told[name], value, "intent.{name}");
    }
}

/// What a worker is asked and what comes of its answer.
pub fn attempt(script: &Value, calls: &[Call], sources: Memory) -> WorkerOutcome {
    let said = answer(script);
    let mut answer = Answer::rest(said.status, &said.content_type, said.body.clone());
    if let Some(cut) = said.cut {
        answer = answer.cut(cut);
    }
    let driver = Worker { answer, sources };
    same_at_every_pace(said.body.len(), |pace| {
        driver.play(
            plugin(script).attempt(context(), worker(script), calls.to_vec()),
            pace,
        )
    })
}

/// The response that a client gets for events.
pub fn answered(script: &Value, events: Vec<MemberEvent>, sources: Memory) -> ClientOutcome {
    let way = Way::Translate(TranslateTo {
        model: served(script),
    });
    let events: Vec<Event> = events.into_iter().map(|event| event.event).collect();
    let paces = events.len();
    let client = Client {
        events,
        sources,
        ..Client::rest(content(&script["request"]), way)
    };
    same_at_every_pace(paces, |pace| {
        client.play(plugin(script).exchange(context(), head(script)), pace)
    })
}

/// Plays a request through both halves.
pub fn translate(script: &Value) -> (Option<WorkerOutcome>, ClientOutcome) {
    let (call, sources) = match taken_apart(script) {
        Ok(taken) => taken,
        Err(outcome) => return (None, *outcome),
    };
    let worker = attempt(script, &[call], sources);
    assert!(worker.finished, "the attempt is complete");
    let outcome = answered(script, worker.told.0.clone(), worker.sources.0.clone());
    (Some(worker), outcome)
}

pub fn check_asked_path(script: &Value, worker: &WorkerOutcome) {
    let Some(asked) = script.get("asked") else {
        return;
    };
    let request = worker.request.as_ref().expect("a request");
    let Surface::Rest(surface) = &request.surface else {
        panic!("REST")
    };
    assert_eq!(surface.path, asked["path"].as_str().unwrap());
    check_json("asked.body", &asked["body"], &request.body);
}

pub fn check_passed(script: &Value, outcome: &ClientOutcome) {
    let (asked, passed) = (&script["asked"], &outcome.passed[0]);
    if let Some(text) = asked["text"].as_str() {
        assert_eq!(std::str::from_utf8(&passed.body).unwrap(), text);
    }
    if let Some(body) = asked.get("body") {
        check_json("asked.body", body, &passed.body);
    }
    if let Some(path) = asked["path"].as_str() {
        assert_eq!(passed.path.as_deref(), Some(path), "asked.path");
    } else {
        assert_eq!(passed.path, None, "asked.path");
    }
    let mode = match passed.response {
        ResponseMode::Blind => "blind",
        ResponseMode::Tap => "tap",
        ResponseMode::Filter => "filter",
    };
    assert_eq!(asked["mode"], mode, "asked.mode");
}

pub fn check_json(what: &str, expected: &Value, body: &[u8]) {
    if expected.is_null() && body.is_empty() {
        return;
    }
    let found: Value = serde_json::from_slice(body)
        .unwrap_or_else(|e| panic!("{what}: {e}: {}", String::from_utf8_lossy(body)));
    assert_eq!(
        serde_json::to_string_pretty(&found).unwrap(),
        serde_json::to_string_pretty(expected).unwrap(),
        "{what}"
    );
}

/// Compares the response, the refusal and the usage.
pub fn check_response(script: &Value, outcome: &ClientOutcome) {
    assert!(outcome.finished, "the exchange is complete");
    if let Some(refused) = script.get("refused") {
        let failed = outcome
            .refused
            .as_ref()
            .unwrap_or_else(|| panic!("not refused: {outcome:#?}"));
        assert_eq!(failure::label(&failed.kind), refused["kind"], "{failed:?}");
        assert_eq!(json!(failed.param), refused["param"], "{failed:?}");
        let words = refused["message"].as_str().unwrap_or("");
        assert!(failed.message.contains(words), "{failed:?}");
    } else {
        assert_eq!(outcome.refused, None);
    }
    if let Some(response) = script.get("response") {
        let head = outcome.head.as_ref().expect("a head");
        assert_eq!(json!(head.status), response["status"], "status");
        if let Some(text) = response["text"].as_str() {
            assert_eq!(outcome.text(), text);
        } else if let Some(events) = response.get("events") {
            let found: Vec<Value> = sse::Reader::new(1 << 20)
                .push(&outcome.body)
                .unwrap()
                .into_iter()
                .map(|event| {
                    let text = String::from_utf8(event.data).unwrap();
                    serde_json::from_str(&text).unwrap_or(Value::String(text))
                })
                .collect();
            check_json(
                "response.events",
                events,
                json!(found).to_string().as_bytes(),
            );
        } else {
            check_json("response.body", &response["body"], &outcome.body);
        }
    }
    let usage = outcome
        .usage
        .last()
        .map(|usage| json!([usage.usage.input_tokens, usage.usage.output_tokens]));
    assert_eq!(json!(usage), script["usage"], "usage");
}
