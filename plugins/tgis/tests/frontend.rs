//! Plays `transcripts/frontend`: what a client asks, what a worker says, what the client
//! gets. Each at every pace.

mod support;

use serde_json::{Value, json};
use support::{canonical, decode, encode, list, method, neutral, transcripts};
use tollgate_plugin_tgis::Tgis;
use tollgate_sdk_protocol::{
    Protocol, failure,
    frontend::{
        Action, CallEvent, Dispatched, GrpcMessage, Input, PassTo, RequestHead, TranslateTo, Way,
    },
    inference::Event,
    plugin::Surface,
    testing::{Client, ClientOutcome, Ending, Memory, Upstream, context, same_at_every_pace},
    types::{Cut, FailureKind, ResponseEnd, ResponseHead},
};

fn head(method: &str) -> RequestHead {
    let (_, claims) = Tgis::configure("").unwrap();
    let claim = claims
        .iter()
        .position(|claim| matches!(&claim.surface, Surface::Grpc(grpc) if grpc.method == method))
        .unwrap();
    RequestHead {
        claim: u32::try_from(claim).unwrap(),
        method: "POST".to_owned(),
        path: format!("/fmaas.GenerationService/{method}"),
        query: String::new(),
        parameters: Vec::new(),
        headers: Vec::new(),
    }
}

fn play(name: &str, script: &Value) -> ClientOutcome {
    let method_name = script["method"].as_str().unwrap();
    let (input, output) = method(method_name);
    let request = encode(&input, &script["request"]);
    let way = match script["way"]["pass"].as_str() {
        Some(model) => Way::Pass(PassTo {
            model: model.to_owned(),
            dialect: "tgis".to_owned(),
            options: String::new(),
        }),
        None => Way::Translate(TranslateTo {
            model: script["way"]["translate"]
                .as_str()
                .unwrap_or("served")
                .to_owned(),
        }),
    };
    let upstream = script.get("upstream").map(|upstream| Upstream {
        head: ResponseHead {
            status: 200,
            headers: Vec::new(),
        },
        content: list(upstream, "messages")
            .iter()
            .map(|m| encode(&output, m))
            .collect(),
        grpc: true,
        end: if upstream["cut"] == true {
            Err(Ending::Cut(Cut::Closed))
        } else {
            let code = upstream["code"]
                .as_u64()
                .map(|code| u32::try_from(code).unwrap());
            Ok(ResponseEnd {
                code,
                message: None,
                trailers: Vec::new(),
            })
        },
    });
    let client = Client {
        events: list(script, "events").iter().map(neutral::event).collect(),
        upstream,
        ..Client::grpc(vec![request.clone()], way)
    };
    let options = script
        .get("options")
        .map(Value::to_string)
        .unwrap_or_default();
    let (plugin, _) = Tgis::configure(&options).unwrap_or_else(|p| panic!("{name}: {p:?}"));
    let paces = request.len().max(client.events.len()).max(2);
    same_at_every_pace(paces, |pace| {
        client.play(plugin.exchange(context(), head(method_name)), pace)
    })
}

/// What came of it, in the words of the transcripts.
fn told(script: &Value, outcome: &ClientOutcome) -> Value {
    let (input, output) = method(script["method"].as_str().unwrap());
    let mut told = json!({});
    let messages: Vec<_> = outcome
        .messages
        .iter()
        .map(|m| decode(&output, m))
        .collect();
    if !messages.is_empty() {
        told["messages"] = messages.into();
    }
    if let Some(end) = &outcome.trailers {
        told["code"] = end.code.into();
        if let Some(message) = &end.message {
            told["message"] = message.clone().into();
        }
    }
    if let Some(refused) = &outcome.refused {
        told["refused"] = json!({
            "kind": failure::label(&refused.kind),
            "message": refused.message,
        });
    }
    if let [usage] = outcome.usage.as_slice() {
        told["usage"] = json!([usage.usage.input_tokens, usage.usage.output_tokens]);
    }
    if let [passed] = outcome.passed.as_slice() {
        told["passed"] = decode(&input, &passed.body);
    }
    if let [intent] = outcome.intents.as_slice() {
        told["asked-for"] = intent.model.clone().into();
    }
    told
}

#[test]
fn transcripts_end_as_they_are_written_at_every_pace() {
    for (name, script) in transcripts("frontend") {
        let outcome = play(&name, &script);
        assert!(outcome.finished, "{name}: not finished");
        let (input, output) = method(script["method"].as_str().unwrap());
        let mut expected = script["expect"].clone();
        if let Some(messages) = expected.get_mut("messages") {
            for message in messages.as_array_mut().unwrap() {
                *message = canonical(&output, message);
            }
        }
        if let Some(passed) = expected.get_mut("passed") {
            *passed = canonical(&input, passed);
        }
        let told = told(&script, &outcome);
        assert_eq!(
            serde_json::to_string_pretty(&told).unwrap(),
            serde_json::to_string_pretty(&expected).unwrap(),
            "{name}"
        );
        if let Some(call) = script.get("call") {
            let [(_, made)] = outcome.calls.as_slice() else {
                panic!("{name}: one call")
            };
            assert_eq!(*made, neutral::call(call), "{name}");
        }
    }
}

#[test]
fn the_descriptor_has_the_service_and_no_comments() {
    let (input, output) = method("GenerateStream");
    assert_eq!(input.full_name(), "fmaas.SingleGenerationRequest");
    assert_eq!(output.full_name(), "fmaas.GenerationResponse");
    // Sparse numbers are where an off-by-one would decode as an empty text.
    assert_eq!(input.get_field_by_name("params").unwrap().number(), 10);
    assert_eq!(output.get_field_by_name("text").unwrap().number(), 4);
    let descriptor = &Tgis::manifest().descriptors[0];
    let comment = b"prompt stands before";
    assert!(
        !descriptor
            .windows(comment.len())
            .any(|window| window == comment)
    );
}

#[test]
fn a_big_prompt_reaches_the_call_without_being_copied() {
    let (input, _) = method("Generate");
    let big = "long ".repeat(40_000);
    let request = encode(&input, &json!({"requests": [{"text": big}]}));
    let way = Way::Translate(TranslateTo {
        model: "served".to_owned(),
    });
    let (plugin, _) = Tgis::configure("").unwrap();
    let outcome = Client::grpc(vec![request], way).play(
        plugin.exchange(context(), head("Generate")),
        tollgate_sdk_protocol::testing::Pace::Whole,
    );
    let [(_, call)] = outcome.calls.as_slice() else {
        panic!("one call")
    };
    use tollgate_sdk_protocol::{
        inference::{Prompt, Task},
        types::Text,
    };
    let Task::Generate(generate) = &call.task else {
        panic!("a generation")
    };
    let [Prompt::Text(Text::Held(held))] = generate.prompts.as_slice() else {
        panic!("held")
    };
    assert_eq!(outcome.sources.0.range(&held.at), big.as_bytes());
}

/// Whatever was to come of the call, a failure that comes first is the client's to know.
#[test]
fn a_call_that_reaches_no_worker_is_refused_as_it_failed() {
    let (input, _) = method("Generate");
    let request = encode(&input, &json!({ "requests": [{ "text": "Hello" }] }));
    let memory = Memory::default().with(0, request);
    let pass = Input::Dispatched(Dispatched {
        call: 0,
        way: Way::Pass(PassTo {
            model: "served".to_owned(),
            dialect: "tgis".to_owned(),
            options: String::new(),
        }),
    });
    for before in [vec![], vec![pass]] {
        let (plugin, _) = Tgis::configure("").unwrap();
        let mut exchange = plugin.exchange(context(), head("Generate"));
        let progress = memory.progress(0);
        exchange.step(&memory, vec![Input::Message(GrpcMessage { progress })]);
        exchange.step(&memory, before);
        let failed = failure::of(FailureKind::NotFound, "no such model");
        let event = Event::Failed(failed.clone());
        let actions = exchange.step(
            &memory,
            vec![Input::Events(vec![CallEvent { call: 0, event }])],
        );
        let [Action::Refuse(refused), ..] = actions.as_slice() else {
            panic!("{actions:?}")
        };
        assert_eq!(*refused, failed);
    }
}
