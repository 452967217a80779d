//! Holds the caikit plugin to what a real runtime answered: `tests/transcripts/caikit`.
//!
//! Each recorded request is passed, and what comes out must be what came in; and it is taken
//! apart into neutral calls, written anew for a worker of the same surface, answered as recorded,
//! and put together again for the client, who must find the same in it.

#[path = "../../../plugins/caikit/tests/support/mod.rs"]
mod support;

use std::{fs, path::Path};

use serde_json::{Value, json};
use support::*;
use tollgate_sdk_protocol::{
    failure,
    testing::{Answer, Attempted, ClientOutcome, Upstream},
    types::{ResponseEnd, ResponseHead},
};

struct Recorded {
    name: String,
    request: Value,
    response: Value,
}

impl Recorded {
    fn all() -> impl Iterator<Item = Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/transcripts/caikit");
        let mut all: Vec<Self> = fs::read_dir(&folder)
            .unwrap_or_else(|e| panic!("{}: {e}", folder.display()))
            .map(|entry| {
                let path = entry.unwrap().path();
                let text = fs::read_to_string(&path).unwrap();
                let mut json: Value = serde_json::from_str(&text).unwrap();
                Self {
                    name: path.file_stem().unwrap().to_string_lossy().into_owned(),
                    request: json["request"].take(),
                    response: json["response"].take(),
                }
            })
            .collect();
        all.sort_by(|one, other| one.name.cmp(&other.name));
        assert!(all.len() > 50, "only {} recordings", all.len());
        all.into_iter().inspect(|one| println!("{}", one.name))
    }

    fn is_rest(&self) -> bool {
        self.request["method"].is_string()
    }

    /// The method, or the task that stands at the path's end.
    fn door(&self) -> Option<&'static str> {
        let path = self.request["path"].as_str().unwrap();
        let last = path.rsplit('/').next().unwrap();
        let all = TASKS.iter();
        all.flat_map(|(task, method)| [*task, *method])
            .find(|known| *known == last && (!self.is_rest() || self.request["method"] == "POST"))
    }

    /// The request; none where the plugin is not asked.
    fn ask(&self) -> Option<Ask> {
        let door = self.door()?;
        Some(if self.is_rest() {
            let path: &'static str = format!("/api/v1/task/{door}").leak();
            let body = self.request["body"].as_str().unwrap();
            let mut ask = Ask::rest(path, &Value::from(body));
            let media_type = self.request["headers"]["content-type"].as_str().unwrap();
            ask.headers = vec![("content-type", media_type.to_owned())];
            ask
        } else {
            let mut ask = Ask::grpc(door, &json!({}));
            ask.body = self.messages("request").remove(0);
            let model = self.request["model"].as_str().unwrap();
            ask.headers = vec![("mm-model-id", model.to_owned())];
            ask
        })
    }

    fn messages(&self, side: &str) -> Vec<Vec<u8>> {
        let side = match side {
            "request" => &self.request,
            _ => &self.response,
        };
        let messages = side["messages"].as_array().unwrap().iter();
        messages.map(|hex| unhex(hex.as_str().unwrap())).collect()
    }

    fn answer(&self) -> Answer {
        if self.is_rest() {
            let media_type = self.response["headers"]["content-type"].as_str();
            let body = self.response["body"].as_str().unwrap();
            return Answer::rest(self.status(), media_type.unwrap_or_default(), body);
        }
        let message = self.response["message"].as_str().unwrap();
        Answer::grpc(self.messages("response"), self.code(), Some(message))
    }

    fn status(&self) -> u16 {
        u16::try_from(self.response["status"].as_u64().unwrap()).unwrap()
    }

    fn code(&self) -> u32 {
        u32::try_from(self.response["code"].as_u64().unwrap()).unwrap()
    }

    fn body(&self) -> Value {
        serde_json::from_str(self.response["body"].as_str().unwrap()).unwrap()
    }

    /// What the answer says: of a stream all pieces put together.
    fn said(&self) -> Value {
        if self.is_rest() {
            return said_by_rest(self.response["body"].as_str().unwrap());
        }
        let (_, output) = method(NLP, self.door().unwrap());
        let shown = |message: &Vec<u8>| decode(&output, message);
        let messages: Vec<Value> = self.messages("response").iter().map(shown).collect();
        said_by_grpc(&messages)
    }

    /// Refused by the runtime's own check of a body.
    fn is_unprocessable(&self) -> bool {
        self.is_rest() && matches!(self.status(), 415 | 422)
    }
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

/// Lists that are there or not, numbers that say nothing, and errors' identifiers.
fn tidy(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let members = members.into_iter();
            let members = members.filter(|(name, _)| name != "id");
            let members = members.map(|(name, value)| (name, tidy(value)));
            Value::Object(members.filter(|(_, value)| !value.is_null()).collect())
        }
        Value::Array(all) if all.is_empty() => Value::Null,
        Value::Array(all) => all.into_iter().map(tidy).collect(),
        Value::Number(number) if number.as_f64() == Some(0.0) => Value::Null,
        other => other,
    }
}

fn said_by_rest(text: &str) -> Value {
    if !text.starts_with("event: ") {
        return tidy(serde_json::from_str(text).unwrap());
    }
    let pieces: Vec<Value> = text
        .split_terminator("\r\n\r\n")
        .map(|event| {
            let data = event.split_once("\r\ndata: ").unwrap().1;
            serde_json::from_str(data).unwrap()
        })
        .collect();
    if pieces[0]["code"].is_u64() {
        return tidy(pieces[0].clone());
    }
    gathered(
        &pieces,
        [
            "generated_text",
            "input_tokens",
            "finish_reason",
            "generated_tokens",
        ],
    )
}

fn said_by_grpc(messages: &[Value]) -> Value {
    match messages {
        [] => Value::Null,
        [only] if only.get("details").is_none() => tidy(only.clone()),
        pieces => gathered(
            pieces,
            [
                "generatedText",
                "inputTokens",
                "finishReason",
                "generatedTokens",
            ],
        ),
    }
}

/// A stream put together: where it was cut into pieces does not matter.
fn gathered(pieces: &[Value], [text, inputs, reason, count]: [&str; 4]) -> Value {
    let list = |name: &str| -> Vec<Value> {
        let lists = pieces.iter().filter_map(|piece| piece[name].as_array());
        lists.flatten().cloned().collect()
    };
    let last = &pieces.last().expect("a piece")["details"];
    let texts = pieces.iter().filter_map(|piece| piece[text].as_str());
    tidy(json!({
        "text": texts.collect::<String>(),
        "tokens": list("tokens"),
        "inputs": list(inputs),
        "reason": last[reason],
        "count": last[count],
        "first": pieces[0]["details"],
    }))
}

#[test]
fn what_is_passed_stays_as_it_was_recorded() {
    let mut passed = 0;
    for recorded in Recorded::all() {
        let Some(ask) = recorded.ask() else { continue };
        let answer = recorded.answer();
        let upstream = Upstream {
            head: ResponseHead {
                status: answer.head.status,
                headers: answer.head.headers.clone(),
            },
            content: answer.content.clone(),
            grpc: answer.grpc,
            end: Ok(ResponseEnd {
                code: (!recorded.is_rest()).then(|| recorded.code()),
                message: None,
                trailers: Vec::new(),
            }),
        };
        let outcome = ask.passed(upstream);
        let Some(request) = outcome.passed.first() else {
            checked(&recorded, &outcome);
            continue;
        };
        passed += 1;
        if recorded.is_rest() {
            let mut sent: Value = serde_json::from_slice(&ask.body).unwrap();
            sent["model_id"] = SERVED.into();
            let found: Value = serde_json::from_slice(&request.body).unwrap();
            assert_eq!(found, sent, "{}", recorded.name);
            assert_eq!(
                outcome.text(),
                recorded.response["body"],
                "{}",
                recorded.name
            );
        } else {
            assert_eq!(request.body, ask.body);
            assert_eq!(outcome.messages, answer.content);
        }
    }
    assert!(passed > 40, "only {passed} were passed");
}

/// A body that is refused must be refused as the runtime refused it.
fn checked(recorded: &Recorded, outcome: &ClientOutcome) {
    if let Some(failed) = &outcome.refused {
        assert_eq!(
            failure::http_status(&failed.kind),
            recorded.status(),
            "{}",
            recorded.name
        );
        let body = recorded.body();
        let told = [&body["detail"], &body["details"]];
        let message = failed.message.as_str();
        // The runtime tells a method's name too, which is its own affair.
        assert!(
            told.iter()
                .any(|told| told.as_str().is_some_and(|told| told.ends_with(message))),
            "{}: {message:?} and {told:?}",
            recorded.name
        );
        return;
    }
    assert_eq!(
        outcome.head.as_ref().unwrap().status,
        422,
        "{}",
        recorded.name
    );
    let problems = |body: &Value| -> Vec<Value> {
        let all = body["additional_info"].as_array().unwrap().iter();
        all.map(|it| {
            // The words about what is no JSON are its reader's.
            let words = if it["type"] == "json_invalid" {
                &Value::Null
            } else {
                &it["msg"]
            };
            json!([it["type"], it["loc"], words, it["input"]])
        })
        .collect()
    };
    let (found, wanted) = (support::body(outcome), recorded.body());
    assert_eq!(problems(&found), problems(&wanted), "{}", recorded.name);
    assert_eq!(found["code"], wanted["code"]);
}

#[test]
fn what_is_taken_apart_and_put_together_says_the_same() {
    let mut compared = 0;
    for recorded in Recorded::all() {
        let Some(ask) = recorded.ask() else { continue };
        let asked = ask.told(Vec::new());
        if asked.calls.is_empty() {
            if recorded.is_rest() {
                checked(&recorded, &asked);
            } else {
                let failed = asked.refused.as_ref().expect("refused");
                assert_eq!(
                    failure::grpc_code(&failed.kind),
                    recorded.code(),
                    "{}",
                    recorded.name
                );
                // The runtime tells a method's name too, which is its own affair.
                let told = recorded.response["message"].as_str().unwrap();
                assert!(told.ends_with(&failed.message), "{}", recorded.name);
            }
            compared += 1;
            continue;
        }
        assert!(
            !recorded.is_unprocessable(),
            "{} is not refused",
            recorded.name
        );
        // Several sources or queries are as many calls, and no answer to one was recorded.
        if asked.calls.len() > 1 {
            continue;
        }
        let dialect = if recorded.is_rest() {
            "caikit-rest"
        } else {
            "caikit"
        };
        let (request, outcome) = ask.through(dialect, recorded.answer());
        asks_the_same(&recorded, &ask, &request);
        compared += 1;
        if let Some(failed) = &outcome.refused {
            refused_alike(&recorded, &failed.message, failure::grpc_code(&failed.kind));
            continue;
        }
        let found = if recorded.is_rest() {
            said_by_rest(outcome.text())
        } else {
            let (_, output) = method(NLP, recorded.door().unwrap());
            let messages = outcome.messages.iter();
            let messages: Vec<Value> = messages.map(|it| decode(&output, it)).collect();
            said_by_grpc(&messages)
        };
        let wanted = recorded.said();
        if let Some(message) = wanted["details"].as_str() {
            assert_eq!(found["details"], message, "{}", recorded.name);
            continue;
        }
        assert_eq!(found, wanted, "{}", recorded.name);
    }
    assert!(compared > 50, "only {compared} were compared");
}

fn refused_alike(recorded: &Recorded, message: &str, code: u32) {
    if recorded.is_rest() {
        assert_eq!(message, recorded.body()["details"], "{}", recorded.name);
    } else {
        assert_eq!(message, recorded.response["message"], "{}", recorded.name);
        assert_eq!(code, recorded.code(), "{}", recorded.name);
    }
}

/// The same endpoint, and every member that was recorded; but a ranking is asked for bare.
fn asks_the_same(recorded: &Recorded, ask: &Ask, request: &Attempted) {
    let (path, mut found, _) = asked(request);
    let end = path.rsplit('/').next().unwrap();
    assert_eq!(Some(end), recorded.door(), "{}", recorded.name);
    let mut wanted = if recorded.is_rest() {
        let mut wanted: Value = serde_json::from_slice(&ask.body).unwrap();
        wanted["model_id"] = SERVED.into();
        wanted
    } else {
        decode(&method(NLP, end).0, &ask.body)
    };
    if end.contains("erank") || recorded.name == "rest-lenient" {
        let strip = |value: &mut Value| {
            for name in ["parameters", "returnDocuments", "returnQuery", "returnText"] {
                value.as_object_mut().unwrap().remove(name);
            }
        };
        strip(&mut found);
        strip(&mut wanted);
    }
    within(&wanted, &found, &recorded.name);
}

/// Every member of `part` stands in `whole`.
fn within(part: &Value, whole: &Value, at: &str) {
    match (part, whole) {
        (Value::Object(members), Value::Object(others)) => {
            for (name, value) in members {
                let other = others.get(name).unwrap_or(&Value::Null);
                within(value, other, &format!("{at}.{name}"));
            }
        }
        _ => assert_eq!(part, whole, "{at}"),
    }
}
