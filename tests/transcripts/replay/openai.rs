//! Holds the OpenAI plugin to what a real server answered: `tests/transcripts/openai`.
//!
//! Each recorded request is passed, and what comes out must be what came in; and it is taken
//! apart into a neutral call, written anew, answered with the recorded answer, and that is put
//! together again for the client, who must find the same in it.

use std::{collections::BTreeMap, fs, path::Path};

use serde_json::{Map, Value, json};
use tollgate_plugin_openai::{ENDPOINTS, OpenAi};
use tollgate_sdk_protocol::{
    Protocol, actions,
    backend::{ProbeResponse, Worker as WorkerFacts},
    failure,
    frontend::{PassTo, RequestHead, TranslateTo, Way},
    inference::Event,
    sse,
    testing::{Answer, Client, ClientOutcome, Pace, Upstream, Worker, context, same_at_every_pace},
};

/// Answers are cut at every place up to this one.
const CUTS: usize = 600;
/// Members of an answer that differ each time, or that say nothing; and the model's length, which
/// is no part of a tokenized text.
const UNLIKE: [&str; 6] = [
    "max_model_len",
    "id",
    "created",
    "system_fingerprint",
    "service_tier",
    "kv_transfer_params",
];
/// The name that clients call the recorded model by when it is passed under another.
const ALIAS: &str = "alias";
const SERVED: &str = "tiny-llama";

struct Recorded {
    name: String,
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    request: String,
    status: u16,
    content_type: String,
    response: String,
}

impl Recorded {
    fn all() -> Vec<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/transcripts/openai");
        let mut all: Vec<Self> = fs::read_dir(&folder)
            .unwrap_or_else(|e| panic!("{}: {e}", folder.display()))
            .map(|entry| Self::read(&entry.unwrap().path()))
            .collect();
        all.sort_by(|one, other| one.name.cmp(&other.name));
        assert!(all.len() > 30, "only {} recordings", all.len());
        all
    }

    fn read(path: &Path) -> Self {
        let json: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (request, response) = (&json["request"], &json["response"]);
        let headers = request["headers"].as_object().unwrap();
        Self {
            name: path.file_stem().unwrap().to_string_lossy().into_owned(),
            method: text(&request["method"]),
            path: text(&request["path"]),
            headers: headers.iter().map(|(k, v)| (k.clone(), text(v))).collect(),
            request: text(&request["body"]),
            status: response["status"].as_u64().unwrap() as u16,
            content_type: text(&response["headers"]["content-type"]),
            response: text(&response["body"]),
        }
    }

    /// Requests that ask a model something.
    fn questions() -> impl Iterator<Item = Self> {
        Self::all()
            .into_iter()
            .filter(|one| one.method == "POST")
            .inspect(|one| println!("{}", one.name))
    }

    fn head(&self) -> Option<RequestHead> {
        let claim = ENDPOINTS
            .iter()
            .position(|(method, path, ..)| *method == self.method && *path == self.path)?;
        let headers = self.headers.iter();
        Some(RequestHead {
            claim: u32::try_from(claim).unwrap(),
            method: self.method.clone(),
            path: self.path.clone(),
            query: String::new(),
            parameters: Vec::new(),
            headers: headers
                .map(|(name, value)| actions::header(name, value))
                .collect(),
        })
    }

    fn is_stream(&self) -> bool {
        self.content_type.starts_with("text/event-stream")
    }

    fn play(&self, client: &Client, pace: Pace) -> ClientOutcome {
        let head = self.head().expect("a claim for it");
        client.play(plugin().exchange(context(), head), pace)
    }
}

fn plugin() -> OpenAi {
    OpenAi::configure("").unwrap_or_else(|p| panic!("{p:?}")).0
}

fn worker() -> WorkerFacts {
    WorkerFacts {
        name: "w".to_owned(),
        dialect: "openai".to_owned(),
        models: vec![SERVED.to_owned()],
        options: String::new(),
    }
}

fn upstream(recorded: &Recorded, body: &str) -> Upstream {
    Upstream::rest(recorded.status, &recorded.content_type, body)
}

fn pass_to(model: &str) -> Way {
    Way::Pass(PassTo {
        model: model.to_owned(),
        dialect: "openai".to_owned(),
        options: String::new(),
    })
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

/// Without members that are empty or that differ each time: servers differ in which they write.
fn bare(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let kept = members
                .iter()
                .filter(|(name, value)| !is_empty(value) && !UNLIKE.contains(&name.as_str()));
            Value::Object(
                kept.map(|(name, value)| (name.clone(), bare(value)))
                    .collect(),
            )
        }
        Value::Array(items) => Value::Array(items.iter().map(bare).collect()),
        Value::Number(number) => number.as_f64().map_or(Value::Null, |float| {
            // Numbers may be written anew, exactly or to their last digit.
            json!((float * 1e9).round() / 1e9)
        }),
        other => other.clone(),
    }
}

fn is_empty(value: &Value) -> bool {
    value.is_null() || value.as_array().is_some_and(Vec::is_empty)
}

fn events(body: &str) -> Vec<Value> {
    let mut found: Vec<String> = sse::Reader::new(1 << 20)
        .push(body.as_bytes())
        .unwrap()
        .into_iter()
        .map(|event| String::from_utf8(event.data).unwrap())
        .collect();
    assert_eq!(
        found.pop().as_deref(),
        Some("[DONE]"),
        "the end of a stream"
    );
    found.iter().map(|event| parsed(event)).collect()
}

/// A stream put together: text, tokens and reason of each choice, and the totals.
fn gathered(body: &str) -> Value {
    let mut choices: BTreeMap<u64, Map<String, Value>> = BTreeMap::new();
    let (mut usage, mut role) = (Value::Null, Value::Null);
    for event in events(body) {
        if event["choices"].as_array().unwrap().is_empty() {
            usage = event["usage"].clone();
        }
        for part in event["choices"].as_array().unwrap() {
            let choice = choices.entry(part["index"].as_u64().unwrap()).or_default();
            let delta = &part["delta"];
            role = delta.get("role").cloned().unwrap_or(role);
            let more = part["text"].as_str().or(delta["content"].as_str());
            let text = choice.entry("text").or_insert_with(|| json!(""));
            *text = json!(format!("{}{}", text.as_str().unwrap(), more.unwrap_or("")));
            let tokens = part["logprobs"]["tokens"]
                .as_array()
                .cloned()
                .unwrap_or_default();
            let all = choice.entry("tokens").or_insert_with(|| json!([]));
            all.as_array_mut().unwrap().extend(tokens);
            for name in ["finish_reason", "stop_reason"] {
                if let Some(value) = part.get(name).filter(|value| !value.is_null()) {
                    choice.insert(name.to_owned(), value.clone());
                }
            }
        }
    }
    let choices: Vec<_> = choices.into_values().collect();
    bare(&json!({"choices": choices, "usage": usage, "role": role}))
}

/// What a refusal left to the host becomes for the client.
fn refused_status(outcome: &ClientOutcome) -> Option<u16> {
    let failed = outcome.refused.as_ref()?;
    Some(status_of(failure::label(&failed.kind)))
}

/// As the plugin's template for it says.
fn status_of(label: &str) -> u16 {
    let template = OpenAi::manifest()
        .errors
        .into_iter()
        .find(|template| template.label == label);
    template
        .and_then(|template| template.status)
        .unwrap_or_else(|| panic!("no template for {label}"))
}

#[test]
fn what_is_passed_stays_as_it_was_recorded() {
    for recorded in Recorded::questions() {
        let client = Client {
            upstream: Some(upstream(&recorded, &recorded.response)),
            ..Client::rest(recorded.request.clone(), pass_to(SERVED))
        };
        let outcome = same_at_every_pace(recorded.response.len().min(CUTS), |pace| {
            recorded.play(&client, pace)
        });
        let Some(passed) = outcome.passed.first() else {
            // Refused at once, as the server refused it.
            assert_eq!(
                refused_status(&outcome),
                Some(recorded.status),
                "{}",
                recorded.name
            );
            continue;
        };
        let mut sent = parsed(std::str::from_utf8(&passed.body).unwrap());
        let mut asked = parsed(&recorded.request);
        for body in [&mut sent, &mut asked] {
            let body = body.as_object_mut().unwrap();
            // The plugin asks for totals, to count them, and names the model.
            body.remove("stream_options");
            body.insert("model".to_owned(), json!("either"));
        }
        if recorded.status == 200 {
            assert_eq!(sent, asked, "{}", recorded.name);
        }
        assert_eq!(
            outcome.head.as_ref().unwrap().status,
            recorded.status,
            "{}",
            recorded.name
        );
        let mut wanted = recorded.response.clone();
        if !recorded.request.contains("\"model\"") {
            wanted = renamed(&wanted, "default-model");
        }
        assert_eq!(outcome.text(), wanted, "{}", recorded.name);
    }
}

/// The answer of a model that clients know by another name.
fn renamed(answer: &str, name: &str) -> String {
    let model = |name: &str| format!("\"model\":\"{name}\"");
    answer.replace(&model(SERVED), &model(name))
}

#[test]
fn clients_see_the_name_that_they_know() {
    for recorded in Recorded::questions().filter(|one| one.status == 200) {
        let mut request = parsed(&recorded.request);
        request["model"] = json!(ALIAS);
        let client = Client {
            upstream: Some(upstream(&recorded, &recorded.response)),
            ..Client::rest(request.to_string(), pass_to(SERVED))
        };
        let outcome = same_at_every_pace(recorded.response.len().min(CUTS), |pace| {
            recorded.play(&client, pace)
        });
        let sent = parsed(std::str::from_utf8(&outcome.passed[0].body).unwrap());
        assert_eq!(sent["model"], SERVED, "{}", recorded.name);
        assert_eq!(
            outcome.text(),
            renamed(&recorded.response, ALIAS),
            "{}",
            recorded.name
        );
    }
}

#[test]
fn what_is_taken_apart_and_put_together_says_the_same() {
    let mut compared = 0;
    for recorded in Recorded::questions() {
        let way = Way::Translate(TranslateTo {
            model: SERVED.to_owned(),
        });
        let client = Client::rest(recorded.request.clone(), way);
        let asked = recorded.play(&client, Pace::Whole);
        let Some((_, call)) = asked.calls.first() else {
            let status = refused_status(&asked).expect("a call or a refusal");
            // The neutral model has no word for the tokens of a conversation.
            let wanted = match recorded.name.as_str() {
                "tokenize-chat" => 501,
                _ => recorded.status,
            };
            assert_eq!(status, wanted, "{}", recorded.name);
            continue;
        };
        let answer = Answer::rest(
            recorded.status,
            &recorded.content_type,
            recorded.response.as_str(),
        );
        let driver = Worker {
            answer,
            sources: asked.sources.0.clone(),
        };
        let attempt = same_at_every_pace(recorded.response.len().min(CUTS), |pace| {
            let attempt = plugin().attempt(context(), worker(), vec![call.clone()]);
            driver.play(attempt, pace)
        });
        let request = attempt.request.as_ref().expect("a request");
        if recorded.status == 200 {
            asks_the_same(&recorded, &request.body);
        }

        let told: Vec<Event> = attempt.told.0.iter().map(|one| one.event.clone()).collect();
        let paces = told.len();
        let client = Client {
            events: told,
            sources: attempt.sources.0.clone(),
            ..client
        };
        let outcome = same_at_every_pace(paces, |pace| recorded.play(&client, pace));
        let recorded_error =
            !recorded.is_stream() && parsed(&recorded.response)["error"].is_object();
        if recorded_error {
            let found = refused_status(&outcome);
            // An error in an answer of 200 must not pass for an answer; what it is called is open.
            let alike = match recorded.status {
                200 => found.is_some(),
                status => found == Some(status),
            };
            assert!(alike, "{}: {found:?}", recorded.name);
        } else if recorded.is_stream() {
            assert_eq!(
                gathered(outcome.text()),
                gathered(&recorded.response),
                "{}",
                recorded.name
            );
        } else {
            let mut wanted = bare(&parsed(&recorded.response));
            // They are told by token id, which the plugin asks for and the recording did not.
            let choices = wanted.get_mut("choices").and_then(Value::as_array_mut);
            for choice in choices.into_iter().flatten() {
                choice.as_object_mut().unwrap().remove("prompt_logprobs");
            }
            if let Some(model) = wanted.get_mut("model") {
                // Who names none is told the name of the default model.
                let named = parsed(&recorded.request)["model"].clone();
                *model = if named.is_null() {
                    json!("default-model")
                } else {
                    named
                };
            }
            let found = bare(&parsed(outcome.text()));
            assert_eq!(
                serde_json::to_string_pretty(&found).unwrap(),
                serde_json::to_string_pretty(&wanted).unwrap(),
                "{}",
                recorded.name
            );
        }
        compared += 1;
    }
    assert!(compared > 20, "only {compared} were compared");
}

/// Whatever the recorded request said, the new one says too.
fn asks_the_same(recorded: &Recorded, body: &[u8]) {
    let sent = parsed(std::str::from_utf8(body).unwrap());
    for (name, value) in parsed(&recorded.request).as_object().unwrap() {
        let other = match name.as_str() {
            // Hints, and what the API does not know: servers ignore both.
            "user" | "no_such_member" => continue,
            "stream_options" | "model" => continue,
            "max_tokens" if sent.get("max_completion_tokens").is_some() => continue,
            "prompt" => unpacked(&sent[name]),
            _ => sent[name].clone(),
        };
        let value = if name == "prompt" {
            unpacked(value)
        } else {
            value.clone()
        };
        assert_eq!(bare(&other), bare(&value), "{}: {name}", recorded.name);
    }
}

/// A list of one prompt is that prompt.
fn unpacked(prompt: &Value) -> Value {
    match prompt.as_array().map(Vec::as_slice) {
        Some([one]) if !one.is_number() => one.clone(),
        _ => prompt.clone(),
    }
}

#[test]
fn a_probe_reads_what_a_real_server_tells() {
    let all = Recorded::all();
    // Whether it ranks was not asked when this was recorded.
    let probes = &plugin().probe(&worker())[..3];
    let responses = probes
        .iter()
        .map(|probe| {
            let path = match &probe.surface {
                tollgate_sdk_protocol::backend::Surface::Rest(rest) => &rest.path,
                _ => panic!("a probe that is not REST"),
            };
            let recorded = all
                .iter()
                .find(|one| one.method == "GET" && one.path == *path)
                .unwrap_or_else(|| panic!("nothing recorded for {path}"));
            ProbeResponse {
                status: recorded.status,
                code: None,
                headers: vec![actions::header("content-type", &recorded.content_type)],
                body: recorded.response.clone().into_bytes(),
            }
        })
        .collect();
    let health = plugin().judge(&worker(), responses);
    assert!(health.ready, "{:?}", health.reason);
    assert_eq!(health.queued, Some(0));
    assert_eq!(health.running, Some(0));
    assert!(health.kv_cache_use.is_some());
    let model = &health.models[0];
    assert_eq!(model.name, SERVED);
}
