//! Texts over workers that know tensors: vectors and generations by inferences.

mod support;

use proptest::prelude::*;
use prost::Message;
use serde_json::{Value, json};
use support::{Contents, Request, Response, binary_answer, plugin, station, tensor};
use tollgate_sdk_protocol::{
    Protocol, actions,
    backend::Surface,
    inference::{
        Call, Embed, Event, Extra, FinishReason, Generate, Prompt, Task, TaskKind, Truncation,
        Vector,
    },
    neutral,
    testing::{Answer, Pace, Worker, WorkerOutcome, context, same_at_every_pace},
    types::{Datatype, Encoding, FailureKind, Text},
};

fn text(text: &str) -> Prompt {
    Prompt::Text(Text::Inline(text.to_owned()))
}

fn call(task: Task) -> Call {
    neutral::call("served".to_owned(), task)
}

fn embed(texts: &[&str]) -> Embed {
    Embed {
        inputs: texts.iter().map(|it| text(it)).collect(),
        dimensions: None,
        truncate: None,
        extras: Vec::new(),
    }
}

fn generate(prompt: &str) -> Generate {
    let mut settings = neutral::settings();
    settings.sampling.greedy = true;
    settings.stopping.max_tokens = Some(7);
    Generate {
        prompts: vec![text(prompt)],
        settings,
    }
}

fn play(dialect: &str, options: &str, call: &Call, answer: &Answer, pace: Pace) -> WorkerOutcome {
    let (plugin, _) = plugin("");
    let worker = Worker::answering(answer.clone());
    let station = station(dialect, options);
    worker.play(plugin.attempt(context(), station, vec![call.clone()]), pace)
}

/// The vectors that were told, as numbers.
fn told(outcome: &WorkerOutcome) -> Vec<Vec<f32>> {
    let events = outcome.told.0.iter();
    let mut all = Vec::new();
    for event in events {
        if let Event::Embeddings(embeddings) = &event.event {
            for embedding in embeddings {
                assert_eq!(embedding.item as usize, all.len());
                all.push(match &embedding.values {
                    Vector::Floats(numbers) => numbers.clone(),
                    // Let go of by now in the play, as in the host that has sent it on.
                    Vector::Held(held) => {
                        assert_eq!(held.written, Encoding::Tensor(Datatype::Fp32));
                        let raw = outcome.sources.0.range(&held.at);
                        let fours = raw.chunks_exact(4);
                        fours
                            .map(|four| f32::from_le_bytes(four.try_into().unwrap()))
                            .collect()
                    }
                });
            }
        }
    }
    all
}

fn failure(outcome: &WorkerOutcome) -> (FailureKind, String) {
    match outcome.of(0).last() {
        Some(Event::Failed(failure)) => (failure.kind.clone(), failure.message.clone()),
        other => panic!("{other:?}"),
    }
}

const EMBED: &str = r#"{"embed":{"input":"TEXTS","output":"VECTORS"}}"#;

fn raw(rows: &[Vec<f32>]) -> Vec<u8> {
    let numbers = rows.iter().flatten();
    numbers.flat_map(|it| it.to_le_bytes()).collect()
}

fn vector_answer(rows: &[Vec<f32>], dialect: &str, binary: bool) -> Answer {
    let shape = [rows.len() as i64, rows[0].len() as i64];
    if dialect == "kserve-grpc" {
        let response = Response {
            model_name: "served".to_owned(),
            outputs: vec![tensor("VECTORS", "FP32", &shape)],
            raw_output_contents: vec![raw(rows)],
            ..Response::default()
        };
        return Answer::grpc(vec![response.encode_to_vec()], 0, None);
    }
    let raw = raw(rows);
    let mut output = json!({"name": "VECTORS", "datatype": "FP32", "shape": shape});
    match binary {
        true => output["parameters"] = json!({"binary_data_size": raw.len()}),
        false => output["data"] = json!(rows),
    }
    let body = json!({"model_name": "served", "outputs": [output]});
    match binary {
        true => binary_answer(&body, &[&raw]),
        false => Answer::rest(200, "application/json", body.to_string().into_bytes()),
    }
}

/// What a worker is sent in its form: texts, shape, outputs that are asked for.
fn sent(outcome: &WorkerOutcome, grpc: bool) -> (Vec<String>, Value, Vec<String>) {
    let request = outcome.request.as_ref().expect("a request");
    if !grpc {
        let (body, raw) = rest_body(outcome);
        let input = &body["inputs"][0];
        assert_eq!(
            (&input["name"], &input["datatype"]),
            (&json!("TEXTS"), &json!("BYTES"))
        );
        let outputs = body["outputs"].as_array().unwrap().iter();
        let outputs = outputs.map(|it| it["name"].as_str().unwrap().to_owned());
        let texts = match raw.as_slice() {
            [] => serde_json::from_value(input["data"].clone()).unwrap(),
            raw => split(raw),
        };
        return (texts, input["shape"].clone(), outputs.collect());
    }
    let method = "inference.GRPCInferenceService/ModelInfer".to_owned();
    assert_eq!(request.surface, Surface::Grpc(method));
    let message = Request::decode(request.body.as_slice()).unwrap();
    assert_eq!(message.model_name, "served");
    let input = &message.inputs[0];
    assert_eq!((&*input.name, &*input.datatype), ("TEXTS", "BYTES"));
    let texts = split(&message.raw_input_contents[0]);
    let outputs = message.outputs.iter().map(|it| it.name.clone());
    (texts, json!(input.shape), outputs.collect())
}

/// The texts of a raw tensor.
fn split(mut rest: &[u8]) -> Vec<String> {
    let mut texts = Vec::new();
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let (text, after) = after.split_at(u32::from_le_bytes(*length) as usize);
        texts.push(String::from_utf8(text.to_vec()).unwrap());
        rest = after;
    }
    texts
}

/// The JSON of a request over HTTP, and what follows it.
fn rest_body(outcome: &WorkerOutcome) -> (Value, Vec<u8>) {
    let request = outcome.request.as_ref().expect("a request");
    let length = actions::header_value(&request.headers, "inference-header-content-length");
    let length = length.map_or(request.body.len(), |it| it.parse().unwrap());
    let (json, raw) = request.body.split_at(length);
    (serde_json::from_slice(json).unwrap(), raw.to_vec())
}

#[test]
fn texts_go_in_as_one_tensor_and_come_out_as_vectors() {
    let rows = [vec![0.1, -2.5], vec![3.0, 1e-7], vec![0.0, 4.0]];
    let texts = ["a", "", "é\"\n"];
    for (dialect, server, binary) in [
        ("kserve-rest", "triton", true),
        ("kserve-rest", "mlserver", false),
        ("kserve-grpc", "triton", true),
    ] {
        for batch in [false, true] {
            let options = format!(
                r#"{{"server":"{server}","embed":{{"input":"TEXTS","output":"VECTORS","batch":{batch}}}}}"#
            );
            let answer = vector_answer(&rows, dialect, binary);
            let call = call(Task::Embed(embed(&texts)));
            let outcome =
                same_at_every_pace(60, |pace| play(dialect, &options, &call, &answer, pace));
            assert_eq!(told(&outcome), rows, "{dialect} {server}");
            assert_eq!(outcome.of(0).last(), Some(&Event::End));
            let (said, shape, outputs) = sent(&outcome, dialect == "kserve-grpc");
            assert_eq!(said, texts);
            assert_eq!(shape, if batch { json!([3, 1]) } else { json!([3]) });
            assert_eq!(outputs, ["VECTORS"]);
        }
    }
}

#[test]
fn typed_contents_are_vectors_too_and_counts_are_told_where_they_are_named() {
    let options = r#"{"server":"mlserver","embed":{"input":"TEXTS","output":"VECTORS",
        "tokens":"LENGTHS","content-type":"str"}}"#;
    let mut output = tensor("VECTORS", "FP64", &[2, 2]);
    output.contents = Some(Contents {
        fp64_contents: vec![0.5, 1.0, -1.0, 2.0],
        ..Contents::default()
    });
    let mut lengths = tensor("LENGTHS", "INT64", &[2, 1]);
    lengths.contents = Some(Contents {
        int64_contents: vec![3, 4],
        ..Contents::default()
    });
    let response = Response {
        outputs: vec![lengths, output],
        ..Response::default()
    };
    let answer = Answer::grpc(vec![response.encode_to_vec()], 0, None);
    let call = call(Task::Embed(embed(&["a", "b"])));
    let outcome = play("kserve-grpc", options, &call, &answer, Pace::Whole);
    assert_eq!(told(&outcome), [[0.5, 1.0], [-1.0, 2.0]]);
    let usage = outcome.of(0).into_iter().find_map(|event| match event {
        Event::Usage(usage) => usage.input_tokens,
        _ => None,
    });
    assert_eq!(usage, Some(7));
    let (_, _, outputs) = sent(&outcome, true);
    assert_eq!(outputs, ["VECTORS", "LENGTHS"]);
    let message = Request::decode(outcome.request.unwrap().body.as_slice()).unwrap();
    let says = message.inputs[0].parameters["content_type"]
        .string_param
        .clone();
    assert_eq!(says.as_deref(), Some("str"));
}

#[test]
fn what_a_tensor_of_texts_cannot_say_is_refused_by_name() {
    let rows = [vec![0.5, 1.0]];
    let refused = |task: Embed, options: &str| {
        let call = call(Task::Embed(task));
        let answer = vector_answer(&rows, "kserve-rest", false);
        let outcome = play("kserve-rest", options, &call, &answer, Pace::Whole);
        failure(&outcome)
    };
    let one = || embed(&["a"]);
    let tokens = Embed {
        inputs: vec![Prompt::Tokens(vec![1])],
        ..one()
    };
    let extra = Embed {
        extras: vec![Extra {
            name: "pooling".to_owned(),
            json: "1".to_owned(),
        }],
        ..one()
    };
    let truncated = Embed {
        truncate: Some(Truncation {
            tokens: 3,
            side: None,
        }),
        ..one()
    };
    for (task, words) in [
        (tokens, "not tokens"),
        (extra, "pooling"),
        (truncated, "truncate_prompt_tokens"),
        (
            Embed {
                dimensions: Some(3),
                ..one()
            },
            "2 dimensions",
        ),
    ] {
        let (kind, message) = refused(task, EMBED);
        assert_eq!(kind, FailureKind::InvalidArgument, "{message}");
        assert!(message.contains(words), "{message}");
    }
    let (kind, message) = refused(one(), "");
    assert_eq!(kind, FailureKind::Unsupported);
    assert!(message.contains("`embed`"), "{message}");
    let same = Embed {
        dimensions: Some(2),
        ..one()
    };
    let outcome = play(
        "kserve-rest",
        EMBED,
        &call(Task::Embed(same)),
        &vector_answer(&rows, "kserve-rest", false),
        Pace::Whole,
    );
    assert_eq!(told(&outcome), rows);
}

#[test]
fn an_answer_of_another_shape_is_the_workers_fault() {
    let answer = |shape: &[i64], name: &str| {
        let count: i64 = shape.iter().product();
        let response = Response {
            outputs: vec![tensor(name, "FP32", shape)],
            raw_output_contents: vec![vec![0; count as usize * 4]],
            ..Response::default()
        };
        Answer::grpc(vec![response.encode_to_vec()], 0, None)
    };
    let call = call(Task::Embed(embed(&["a", "b"])));
    for (shape, name) in [
        (&[2, 5, 3][..], "VECTORS"),
        (&[3, 2], "VECTORS"),
        (&[6], "VECTORS"),
        (&[2, 3], "OTHERS"),
    ] {
        let outcome = play(
            "kserve-grpc",
            EMBED,
            &call,
            &answer(shape, name),
            Pace::Whole,
        );
        assert_eq!(
            failure(&outcome).0,
            FailureKind::UpstreamInvalid,
            "{shape:?}"
        );
    }
}

const INFER: &str = r#"{"generate":{"text-input":"PROMPT","text-output":"TEXT","over":"infer"}}"#;

fn text_answer(dialect: &str, shape: &[i64], reason: Option<&str>) -> Answer {
    let element = |text: &str| {
        let mut raw = (text.len() as u32).to_le_bytes().to_vec();
        raw.extend(text.as_bytes());
        raw
    };
    let mut outputs = vec![("TEXT", "BYTES", element("so it é"))];
    if let Some(reason) = reason {
        outputs.push(("finish_reason", "BYTES", element(reason)));
        outputs.push(("num_output_tokens", "UINT32", 5_u32.to_le_bytes().to_vec()));
    }
    if dialect == "kserve-grpc" {
        let response = Response {
            outputs: outputs.iter().map(|it| tensor(it.0, it.1, shape)).collect(),
            raw_output_contents: outputs.into_iter().map(|it| it.2).collect(),
            ..Response::default()
        };
        return Answer::grpc(vec![response.encode_to_vec()], 0, None);
    }
    let all: Vec<Value> = outputs
        .iter()
        .map(|it| {
            json!({"name": it.0, "datatype": it.1, "shape": shape,
                "parameters": {"binary_data_size": it.2.len()}})
        })
        .collect();
    let raw: Vec<&[u8]> = outputs.iter().map(|it| it.2.as_slice()).collect();
    binary_answer(&json!({"model_name": "served", "outputs": all}), &raw)
}

fn told_text(outcome: &WorkerOutcome) -> (String, Option<FinishReason>, Option<u32>) {
    let (mut text, mut reason, mut tokens) = (String::new(), None, None);
    for event in outcome.of(0) {
        match event {
            Event::Delta(delta) => text.push_str(&delta.text),
            Event::Finished(finished) => {
                reason = Some(finished.reason);
                tokens = finished.output_tokens;
            }
            _ => {}
        }
    }
    (text, reason, tokens)
}

#[test]
fn a_text_comes_of_one_inference() {
    for (dialect, batch) in [
        ("kserve-rest", false),
        ("kserve-grpc", false),
        ("kserve-rest", true),
        ("kserve-grpc", true),
    ] {
        let options = format!(
            r#"{{"generate":{{"text-input":"PROMPT","text-output":"TEXT","over":"infer",
                "batch":{batch},"inputs":["sampling_parameters","exclude_input_in_output"]}}}}"#
        );
        let shape: &[i64] = if batch { &[1, 1] } else { &[1] };
        let call = call(Task::Generate(generate("Tell")));
        let answer = text_answer(dialect, shape, Some("length"));
        let outcome = same_at_every_pace(60, |pace| play(dialect, &options, &call, &answer, pace));
        let told = told_text(&outcome);
        assert_eq!(
            told,
            ("so it é".to_owned(), Some(FinishReason::MaxTokens), Some(5)),
            "{dialect}"
        );
        let request = outcome.request.as_ref().unwrap();
        let shapes: Vec<Value> = if dialect == "kserve-rest" {
            let (body, raw) = rest_body(&outcome);
            let size = |at: usize| body["inputs"][at]["parameters"]["binary_data_size"].as_u64();
            let first = size(0).unwrap() as usize;
            assert_eq!(split(&raw[..first]), ["Tell"]);
            // One byte is the truth between them.
            let sampling = &split(&raw[first + 1..])[0];
            let sampling: Value = serde_json::from_str(sampling).unwrap();
            assert_eq!(sampling, json!({"max_tokens": 7, "temperature": 0.0}));
            let inputs = body["inputs"].as_array().unwrap();
            inputs.iter().map(|it| it["shape"].clone()).collect()
        } else {
            let message = Request::decode(request.body.as_slice()).unwrap();
            let names: Vec<&str> = message.inputs.iter().map(|it| &*it.name).collect();
            assert_eq!(
                names,
                ["PROMPT", "exclude_input_in_output", "sampling_parameters"]
            );
            message.inputs.iter().map(|it| json!(it.shape)).collect()
        };
        assert!(shapes.iter().all(|it| *it == json!(shape)), "{shapes:?}");
    }
}

#[test]
fn without_names_of_inputs_settings_are_parameters_and_no_reason_is_guessed() {
    let call = call(Task::Generate(generate("Tell")));
    let answer = text_answer("kserve-rest", &[1], None);
    let outcome = play("kserve-rest", INFER, &call, &answer, Pace::Whole);
    let (text, reason, tokens) = told_text(&outcome);
    assert_eq!((text.as_str(), tokens), ("so it é", None));
    assert_eq!(reason, Some(FinishReason::Other("unspecified".to_owned())));
    let (body, _) = rest_body(&outcome);
    assert_eq!(body["inputs"].as_array().unwrap().len(), 1);
    assert_eq!(body["parameters"]["max_tokens"], 7);
    assert_eq!(body["parameters"]["temperature"], 0.0);
}

#[test]
fn a_stream_of_one_piece_is_made_only_where_it_is_allowed() {
    let streamed = Call {
        streaming: true,
        ..call(Task::Generate(generate("Tell")))
    };
    let answer = text_answer("kserve-grpc", &[1], Some("stop"));
    let outcome = play("kserve-grpc", INFER, &streamed, &answer, Pace::Whole);
    let (kind, message) = failure(&outcome);
    assert_eq!(kind, FailureKind::Unsupported);
    assert!(message.contains("wrap-streams"), "{message}");
    assert_eq!(outcome.request, None);
    let allowed = INFER.replace("\"over\"", "\"wrap-streams\":true,\"over\"");
    let outcome = play("kserve-grpc", &allowed, &streamed, &answer, Pace::Whole);
    let deltas = outcome.told.0.iter();
    let deltas = deltas.filter(|it| matches!(it.event, Event::Delta(_)));
    assert_eq!(deltas.count(), 1);
    assert_eq!(
        told_text(&outcome).1,
        Some(FinishReason::EndOfSequence),
        "{outcome:?}"
    );
}

#[test]
fn several_texts_for_one_prompt_are_nonsense() {
    let call = call(Task::Generate(generate("Tell")));
    let body = json!({"outputs": [
        {"name": "TEXT", "datatype": "BYTES", "shape": [2], "data": ["a", "b"]},
    ]});
    let answer = Answer::rest(200, "application/json", body.to_string().into_bytes());
    let outcome = play("kserve-rest", INFER, &call, &answer, Pace::Whole);
    assert_eq!(failure(&outcome).0, FailureKind::UpstreamInvalid);
}

#[test]
fn one_models_words_are_all_that_is_said_of_it() {
    let options = r#"{"generate":{},"models":{"e5":{"embed":{"input":"T","output":"V"}}}}"#;
    let (plugin, _) = plugin("");
    let mut worker = station("kserve-rest", options);
    worker.models = vec!["e5".to_owned(), "other".to_owned()];
    let answers = vec![
        tollgate_sdk_protocol::backend::ProbeResponse {
            status: 200,
            code: None,
            headers: Vec::new(),
            body: br#"[{"name":"e5","state":"READY"},{"name":"other","state":"READY"}]"#.to_vec(),
        };
        2
    ];
    let health = plugin.judge(&worker, answers);
    let tasks = |name: &str| {
        let model = health.models.iter().find(|it| it.name == name).unwrap();
        let texts = [TaskKind::Generate, TaskKind::Embed];
        texts.map(|task| model.tasks.contains(&task))
    };
    assert_eq!(tasks("e5"), [false, true]);
    assert_eq!(tasks("other"), [true, false]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Singles come through every form bit by bit, but for what JSON cannot carry.
    #[test]
    fn vectors_are_the_workers_own(
        rows in prop::collection::vec(prop::collection::vec(
            prop::num::f32::NORMAL | prop::num::f32::ZERO | prop::num::f32::SUBNORMAL, 3), 1..5),
        texts in prop::collection::vec(any::<String>(), 5),
        cut in 1..120_usize,
    ) {
        let texts: Vec<&str> = texts[..rows.len()].iter().map(String::as_str).collect();
        let call = call(Task::Embed(embed(&texts)));
        for (dialect, binary) in
            [("kserve-rest", true), ("kserve-rest", false), ("kserve-grpc", true)]
        {
            let answer = vector_answer(&rows, dialect, binary);
            let outcome = play(dialect, EMBED, &call, &answer, Pace::Cut(cut));
            let bits = |rows: &[Vec<f32>]| -> Vec<u32> {
                rows.iter().flatten().map(|it| it.to_bits()).collect()
            };
            prop_assert_eq!(bits(&told(&outcome)), bits(&rows), "{} {}", dialect, binary);
            let (said, _, _) = sent(&outcome, dialect == "kserve-grpc");
            prop_assert_eq!(&said, &texts);
        }
    }
}
