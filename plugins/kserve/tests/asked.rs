//! Inferences whose tensors are texts, for workers of other protocols: what is asked of them, and
//! what clients are told.

mod support;

use proptest::prelude::*;
use prost::Message;
use serde_json::{Value, json};
use support::{
    REST_INFER, Request, Response, StreamResponse, Tensor, head, head_length, pass, plugin, tensor,
    translate,
};
use tollgate_sdk_protocol::{
    Protocol,
    inference::{
        Delta, Embedding, Event, FinishReason, Finished, ModelInfo, Prompt, Started, Task,
        TaskKind, Usage, Vector,
    },
    testing::{Client, ClientOutcome, Memory, Pace, Upstream, context, same_at_every_pace},
    types::{Encoding, FailureKind, Header, Held, Span, Text},
};

const OPTIONS: &str = r#"{"models":{
    "named":{"generate":{"text-input":"PROMPT","text-output":"TEXT"}},
    "vectors":{"embed":{"input":"TEXTS","output":"V","batch":true,"dimensions":2}}
}}"#;

fn finished(item: u32, reason: FinishReason) -> Event {
    Event::Finished(Finished {
        item,
        reason,
        stop_sequence: None,
        input_tokens: Some(3),
        output_tokens: Some(2),
        seed: None,
    })
}

fn delta(item: u32, text: &str) -> Event {
    Event::Delta(Delta {
        item,
        text: text.to_owned(),
        tokens: Vec::new(),
        output_tokens: Some(2),
        extras: Vec::new(),
    })
}

fn started() -> Event {
    Event::Started(Started {
        item: 0,
        input_tokens: Some(3),
        seed: None,
        echo: None,
        tokens: Vec::new(),
    })
}

fn said() -> Vec<Event> {
    vec![
        started(),
        delta(0, "so "),
        delta(0, "it é"),
        finished(0, FinishReason::MaxTokens),
        Event::End,
    ]
}

fn rest_at(
    model: &str,
    body: &Value,
    headers: Vec<Header>,
    client: &Client,
    pace: Pace,
) -> ClientOutcome {
    let (plugin, claims) = plugin(OPTIONS);
    let head = head(&claims, REST_INFER, &[("model", model)], headers);
    let client = Client {
        request: vec![body.to_string().into_bytes()],
        streamed: true,
        ..client.clone()
    };
    client.play(plugin.exchange(context(), head), pace)
}

fn rest(model: &str, body: &Value, events: Vec<Event>) -> ClientOutcome {
    let client = Client {
        events,
        ..Client::rest("", translate("served"))
    };
    same_at_every_pace(40, |pace| rest_at(model, body, Vec::new(), &client, pace))
}

fn prompts(task: &Task) -> Vec<&str> {
    let prompts = match task {
        Task::Generate(it) => &it.prompts,
        Task::Embed(it) => &it.inputs,
        other => panic!("{other:?}"),
    };
    prompts
        .iter()
        .map(|prompt| match prompt {
            Prompt::Text(Text::Inline(text)) => text.as_str(),
            other => panic!("{other:?}"),
        })
        .collect()
}

#[test]
fn what_is_not_understood_of_a_limit_of_tokens_is_counted() {
    let cost = |parameters: Value, sampling: &str| {
        let body = json!({
            "parameters": parameters,
            "inputs": [
                {"name": "PROMPT", "shape": [1], "datatype": "BYTES", "data": ["a"]},
                {"name": "sampling_parameters", "shape": [1], "datatype": "BYTES",
                    "data": [sampling]},
            ],
        });
        rest("named", &body, said()).intents[0].cost.output
    };
    assert_eq!(cost(json!({}), r#"{"max_tokens": 7}"#), 7);
    assert_eq!(cost(json!({}), r#"{"max_tokens": "5000", "n": 2}"#), 10_000);
    assert_eq!(cost(json!({}), r#"{"max_tokens": 1e30}"#), u32::MAX);
    let known_elsewhere = json!({"max_tokens": 9});
    assert_eq!(cost(known_elsewhere, r#"{"no_such": {}, "n": "2"}"#), 18);
}

#[test]
fn an_inference_is_a_generation_for_a_worker_of_texts() {
    let body = json!({
        "id": "one", "parameters": {"max_tokens": 7, "temperature": 0},
        "inputs": [
            {"name": "PROMPT", "shape": [1], "datatype": "BYTES", "data": ["Tell \u{e9}"]},
            {"name": "return_finish_reason", "shape": [1], "datatype": "BOOL", "data": [true]},
            {"name": "return_num_output_tokens", "shape": [1], "datatype": "BOOL", "data": [true]},
        ],
    });
    let told = rest("named", &body, said());
    assert_eq!(told.intents[0].task, TaskKind::Generate);
    assert_eq!(told.intents[0].cost.output, 7);
    let Task::Generate(asked) = &told.calls[0].1.task else {
        panic!("{told:?}");
    };
    assert_eq!(told.calls[0].1.model, "served");
    assert_eq!(prompts(&told.calls[0].1.task), ["Tell é"]);
    assert!(asked.settings.sampling.greedy && !asked.settings.detail.echo);
    assert_eq!(asked.settings.stopping.max_tokens, Some(7));
    let told: Value = serde_json::from_slice(&told.body).unwrap();
    let expected = json!({
        "id": "one", "model_name": "named", "model_version": "1",
        "outputs": [
            {"name": "TEXT", "datatype": "BYTES", "shape": [1], "data": ["so it é"]},
            {"name": "finish_reason", "datatype": "BYTES", "shape": [1], "data": ["length"]},
            {"name": "num_output_tokens", "datatype": "UINT32", "shape": [1], "data": [2]},
        ],
    });
    assert_eq!(told, expected);
}

#[test]
fn several_prompts_are_one_call_and_one_tensor() {
    let body = json!({"inputs": [
        {"name": "PROMPT", "shape": [2], "datatype": "BYTES", "data": ["a", "b"]},
    ], "outputs": [{"name": "TEXT"}]});
    let events = vec![
        delta(1, "B"),
        finished(1, FinishReason::EndOfSequence),
        delta(0, "A"),
        finished(0, FinishReason::EndOfSequence),
        Event::End,
    ];
    let told = rest("named", &body, events.clone());
    assert_eq!(prompts(&told.calls[0].1.task), ["a", "b"]);
    let told: Value = serde_json::from_slice(&told.body).unwrap();
    assert_eq!(told["outputs"][0]["data"], json!(["A", "B"]));
    assert_eq!(told["outputs"][0]["shape"], json!([2]));
    let half = rest("named", &body, [&events[..2], &[Event::End]].concat());
    assert_eq!(half.refused.unwrap().kind, FailureKind::UpstreamInvalid);
}

fn raw_texts(texts: &[&str]) -> Vec<u8> {
    let mut raw = Vec::new();
    for text in texts {
        raw.extend((text.len() as u32).to_le_bytes());
        raw.extend(text.as_bytes());
    }
    raw
}

fn vector_events() -> (Vec<Event>, Memory) {
    let held = |offset, len, written| {
        Vector::Held(Held {
            at: Span {
                source: 1 << 20,
                offset,
                len,
            },
            written,
        })
    };
    let single = tollgate_sdk_protocol::types::Datatype::Fp32;
    let memory = Memory::default().with(1 << 20, "[0.5, -1][[AAAAQAAAgEA=");
    let events = vec![
        Event::Embeddings(vec![
            Embedding {
                item: 1,
                values: held(0, 9, Encoding::JsonArray(single)),
            },
            Embedding {
                item: 0,
                values: Vector::Floats(vec![0.25, 8.0]),
            },
        ]),
        Event::Embeddings(vec![Embedding {
            item: 2,
            values: held(11, 12, Encoding::Base64),
        }]),
        Event::Usage(Usage {
            input_tokens: Some(9),
            output_tokens: None,
            cached_tokens: None,
            extensions: Vec::new(),
        }),
        Event::End,
    ];
    (events, memory)
}

#[test]
fn texts_and_their_vectors_may_be_raw() {
    let raw = raw_texts(&["a", "", "é"]);
    let json = json!({
        "parameters": {"binary_data_output": true},
        "inputs": [{"name": "TEXTS", "datatype": "BYTES", "shape": [3, 1],
            "parameters": {"binary_data_size": raw.len()}}],
    });
    let (plugin, claims) = plugin(OPTIONS);
    let (request, length) = support::binary(&json, &[&raw]);
    let (events, sources) = vector_events();
    let client = Client {
        streamed: true,
        events,
        sources,
        ..Client::rest(request, translate("served"))
    };
    let told = same_at_every_pace(60, |pace| {
        let headers = vec![head_length(length)];
        let head = head(&claims, REST_INFER, &[("model", "vectors")], headers);
        client.play(plugin.exchange(context(), head), pace)
    });
    assert_eq!(told.intents[0].task, TaskKind::Embed);
    assert_eq!(prompts(&told.calls[0].1.task), ["a", "", "é"]);
    let numbers = [0.25_f32, 8.0, 0.5, -1.0, 2.0, 4.0];
    let numbers: Vec<u8> = numbers.iter().flat_map(|it| it.to_le_bytes()).collect();
    assert!(told.body.ends_with(&numbers), "{:?}", told.body);
    let json: Value = serde_json::from_slice(&told.body[..told.body.len() - 24]).unwrap();
    assert_eq!(json["outputs"][0]["shape"], json!([3, 2]));
    assert_eq!(json["outputs"][0]["name"], "V");
}

fn message(inputs: Vec<Tensor>, raw: Vec<Vec<u8>>) -> Request {
    Request {
        model_name: "named".to_owned(),
        id: "x".to_owned(),
        inputs,
        raw_input_contents: raw,
        ..Request::default()
    }
}

fn grpc(method: &str, messages: &[Request], events: Vec<Event>) -> ClientOutcome {
    let (plugin, claims) = plugin(OPTIONS);
    let messages = messages.iter().map(Message::encode_to_vec).collect();
    let client = Client {
        events,
        ..Client::grpc(messages, translate("served"))
    };
    same_at_every_pace(40, |pace| {
        let head = head(&claims, method, &[], Vec::new());
        client.play(plugin.exchange(context(), head), pace)
    })
}

#[test]
fn one_message_is_a_generation_too() {
    let sampling = r#"{"max_tokens":5,"stop":["x"]}"#;
    let asked = message(
        vec![
            tensor("PROMPT", "BYTES", &[1]),
            tensor("sampling_parameters", "BYTES", &[1]),
            tensor("exclude_input_in_output", "BOOL", &[1]),
        ],
        vec![raw_texts(&["Tell"]), raw_texts(&[sampling]), vec![0]],
    );
    let told = grpc("ModelInfer", &[asked], said());
    let Task::Generate(asked) = &told.calls[0].1.task else {
        panic!("{told:?}");
    };
    assert!(asked.settings.detail.echo, "it was not to be left out");
    assert_eq!(asked.settings.stopping.stop_sequences, ["x"]);
    let answer = Response::decode(told.messages[0].as_slice()).unwrap();
    assert_eq!(answer.raw_output_contents, [raw_texts(&["so it é"])]);
    assert_eq!((&*answer.id, &*answer.model_name), ("x", "named"));
    assert_eq!(told.trailers.unwrap().code, Some(0));
}

#[test]
fn every_message_of_a_stream_is_a_generation_in_pieces() {
    let asked = |stream: Option<bool>| {
        let mut inputs = vec![
            tensor("PROMPT", "BYTES", &[1]),
            tensor("return_finish_reason", "BOOL", &[1]),
        ];
        let mut raw = vec![raw_texts(&["Tell"]), vec![1]];
        if let Some(stream) = stream {
            inputs.push(tensor("stream", "BOOL", &[1]));
            raw.push(vec![u8::from(stream)]);
        }
        message(inputs, raw)
    };
    let told = grpc(
        "ModelStreamInfer",
        &[asked(None), asked(Some(true))],
        said(),
    );
    assert!(told.intents.iter().all(|intent| intent.streaming));
    assert_eq!(told.intents.len(), 2);
    let texts = |told: &ClientOutcome| -> Vec<(Vec<u8>, usize)> {
        let messages = told.messages.iter();
        messages
            .map(|raw| {
                let told = StreamResponse::decode(raw.as_slice()).unwrap();
                assert_eq!(told.error_message, "");
                let answer = told.infer_response.unwrap();
                (answer.raw_output_contents[0].clone(), answer.outputs.len())
            })
            .collect()
    };
    let pieces = [
        (raw_texts(&["so "]), 1),
        (raw_texts(&["it é"]), 1),
        (raw_texts(&[""]), 2),
    ];
    assert_eq!(texts(&told), [&pieces[..], &pieces[..]].concat());
    let whole = grpc("ModelStreamInfer", &[asked(Some(false))], said());
    assert!(!whole.calls[0].1.streaming);
    assert_eq!(texts(&whole), [(raw_texts(&["so it é"]), 2)]);
}

#[test]
fn a_failure_of_one_message_is_told_in_the_stream() {
    let bad = message(
        vec![tensor("OTHER", "BYTES", &[1])],
        vec![raw_texts(&["a"])],
    );
    let good = message(
        vec![tensor("PROMPT", "BYTES", &[1])],
        vec![raw_texts(&["a"])],
    );
    let told = grpc("ModelStreamInfer", &[bad, good], said());
    let errors: Vec<String> = told
        .messages
        .iter()
        .map(|raw| {
            StreamResponse::decode(raw.as_slice())
                .unwrap()
                .error_message
        })
        .collect();
    assert_eq!(
        errors,
        [
            "unexpected inference input 'OTHER' for model 'named'",
            "",
            ""
        ]
    );
    assert_eq!(told.cancelled, [0]);
    assert_eq!(told.trailers.unwrap().code, Some(0));
}

#[test]
fn tensors_that_do_not_fit_are_refused_in_the_protocols_words() {
    let input = |name: &str, datatype: &str, shape: Value, data: Value| json!({"inputs": [{"name": name, "datatype": datatype, "shape": shape, "data": data}]});
    let mut twice = input("PROMPT", "BYTES", json!([1]), json!(["a"]));
    let one = twice["inputs"][0].clone();
    twice["inputs"].as_array_mut().unwrap().push(one);
    let mut output = input("PROMPT", "BYTES", json!([1]), json!(["a"]));
    output["outputs"] = json!([{"name": "LOGITS"}]);
    let cases = [
        (
            input("IN", "BYTES", json!([1]), json!(["a"])),
            "unexpected inference input 'IN' for model 'named'",
        ),
        (
            input("stream", "BOOL", json!([1]), json!([true])),
            "expected input 'PROMPT' for model 'named', which the request has not",
        ),
        (
            input("PROMPT", "FP32", json!([1]), json!([1])),
            "inference input 'PROMPT' data-type is 'FP32', but model 'named' expects 'BYTES'",
        ),
        (
            input("PROMPT", "BYTES", json!([1, 1]), json!(["a"])),
            "unexpected shape for input 'PROMPT' for model 'named'. Expected [-1], got [1, 1]",
        ),
        (
            input("PROMPT", "BYTES", json!([2]), json!(["a"])),
            "input 'PROMPT': it has not as many elements as its shape says",
        ),
        (
            twice,
            "input 'PROMPT' already exists in request for model 'named'",
        ),
        (
            output,
            "unexpected inference output 'LOGITS' for model 'named'",
        ),
    ];
    for (body, words) in cases {
        let told = rest("named", &body, said());
        let failure = told.refused.unwrap_or_else(|| panic!("{body}"));
        assert_eq!(failure.kind, FailureKind::InvalidArgument, "{body}");
        assert_eq!(failure.message, words);
        assert_eq!(told.calls.len(), 0);
    }
    let unknown = json!({"parameters": {"beam_width": 3}, "inputs": [
        {"name": "PROMPT", "datatype": "BYTES", "shape": [1], "data": ["a"]},
    ]});
    let told = rest("named", &unknown, said());
    let Task::Generate(asked) = &told.calls[0].1.task else {
        panic!("{told:?}");
    };
    assert_eq!(asked.settings.extras[0].name, "beam_width");
}

#[test]
fn only_the_version_that_is_told_is_there() {
    let (plugin, claims) = plugin(OPTIONS);
    let body = json!({"inputs": [
        {"name": "PROMPT", "datatype": "BYTES", "shape": [1], "data": ["a"]},
    ]});
    let ask = |version: &str| {
        let door = "POST /v2/models/{model}/versions/{version}/infer";
        let parameters = [("model", "named"), ("version", version)];
        let head = head(&claims, door, &parameters, Vec::new());
        let client = Client {
            events: said(),
            ..Client::rest(body.to_string(), translate("served"))
        };
        client.play(plugin.exchange(context(), head), Pace::Whole)
    };
    assert_eq!(ask("1").refused, None);
    assert_eq!(ask("2").head.unwrap().status, 404);
}

#[test]
fn a_worker_of_the_same_form_is_passed_the_tensors() {
    let answer = json!({"model_name": "served", "outputs": []}).to_string();
    let client = Client {
        upstream: Some(Upstream::rest(200, "application/json", answer)),
        ..Client::rest("", pass("served", "kserve-rest", ""))
    };
    // Also what would be no generation: the worker may know more of the model.
    let body = json!({"inputs": [
        {"name": "TENSOR", "datatype": "FP32", "shape": [1], "data": [1]},
    ]});
    let told = rest_at("named", &body, Vec::new(), &client, Pace::Whole);
    assert_eq!(told.passed.len(), 1);
    assert_eq!(told.passed[0].body, body.to_string().into_bytes());
    // One that cannot take it as it is gets the tensors in its own words.
    let without = Client {
        way: pass("served", "kserve-rest", r#"{"server":"mlserver"}"#),
        ..client
    };
    let mut binary = body.clone();
    binary["parameters"] = json!({"binary_data_output": true});
    let told = rest_at("named", &binary, Vec::new(), &without, Pace::Whole);
    assert!(matches!(told.calls[0].1.task, Task::Infer(_)), "{told:?}");
}

#[test]
fn metadata_is_made_of_the_words_where_no_worker_tells_it() {
    let (plugin, claims) = plugin(OPTIONS);
    let describe = |model: &str, inputs: Vec<tollgate_sdk_protocol::inference::Tensor>| {
        let info = ModelInfo {
            name: "served".to_owned(),
            versions: Vec::new(),
            max_length: None,
            max_new_tokens: None,
            parent: None,
            tasks: vec![TaskKind::Generate],
            ready: true,
            platform: "vllm".to_owned(),
            inputs,
            outputs: Vec::new(),
            extensions: Vec::new(),
        };
        let client = Client {
            events: vec![Event::Models(vec![info]), Event::End],
            ..Client::rest("", translate("served"))
        };
        let door = "GET /v2/models/{model}";
        let head = head(&claims, door, &[("model", model)], Vec::new());
        let told = client.play(plugin.exchange(context(), head), Pace::Whole);
        serde_json::from_slice::<Value>(&told.body).unwrap()
    };
    let told = describe("vectors", Vec::new());
    let expected = json!({
        "name": "vectors", "versions": ["1"], "platform": "vllm",
        "inputs": [{"name": "TEXTS", "datatype": "BYTES", "shape": [-1, 1]}],
        "outputs": [{"name": "V", "datatype": "FP32", "shape": [-1, 2]}],
    });
    assert_eq!(told, expected);
    let told = describe("named", Vec::new());
    let names = |member: &str| -> Vec<String> {
        let all = told[member].as_array().unwrap().iter();
        all.map(|it| it["name"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(names("inputs")[0], "PROMPT");
    assert_eq!(
        names("outputs"),
        [
            "TEXT",
            "finish_reason",
            "num_input_tokens",
            "num_output_tokens"
        ]
    );
    assert_eq!(describe("other", Vec::new())["inputs"], json!([]));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Texts and vectors are the same on both sides, whatever the form between.
    #[test]
    fn texts_and_vectors_are_the_same_on_both_sides(
        texts in prop::collection::vec(any::<String>(), 1..5),
        numbers in prop::collection::vec(-1e30_f32..1e30, 3),
        binary in any::<bool>(),
        cut in 1..200_usize,
    ) {
        let raw = raw_texts(&texts.iter().map(String::as_str).collect::<Vec<_>>());
        let mut input = json!({"name": "TEXTS", "datatype": "BYTES", "shape": [texts.len(), 1]});
        match binary {
            true => input["parameters"] = json!({"binary_data_size": raw.len()}),
            false => input["data"] = json!(texts),
        }
        let json = json!({"inputs": [input]});
        let slices: &[&[u8]] = if binary { &[&raw] } else { &[] };
        let (request, length) = support::binary(&json, slices);
        let headers = if binary { vec![head_length(length)] } else { Vec::new() };
        let embeddings = (0..texts.len() as u32).map(|item| Embedding {
            item,
            values: Vector::Floats(numbers.clone()),
        });
        let client = Client {
            streamed: true,
            events: vec![Event::Embeddings(embeddings.collect()), Event::End],
            ..Client::rest(request, translate("served"))
        };
        let (plugin, claims) = plugin(OPTIONS);
        let head = head(&claims, REST_INFER, &[("model", "vectors")], headers);
        let told = client.play(plugin.exchange(context(), head), Pace::Cut(cut));
        prop_assert_eq!(prompts(&told.calls[0].1.task), texts.clone());
        let told: Value = serde_json::from_slice(&told.body).unwrap();
        let data: Vec<f32> = serde_json::from_value(told["outputs"][0]["data"].clone()).unwrap();
        prop_assert_eq!(data, numbers.repeat(texts.len()));
    }
}
