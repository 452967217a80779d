//! Calls of several clients in one request: each is a row of the batch, and gets its row back.

mod support;

use prost::Message;
use serde_json::{Value, json};
use support::{Request, Response, binary, plugin, station, tensor};
use tollgate_sdk_protocol::{
    Protocol,
    actions::header_value,
    backend::{Input, Worker as Station},
    inference::{Call, Event, Infer, Parameter, ParameterValue, Task, Tensor, TensorData, Tensors},
    testing::{Answer, Memory, Pace, Worker, WorkerOutcome, context},
    types::{Datatype, Encoding, FailureKind, Held, Span},
};

/// A row of two values, held by the host, and a text beside it.
fn call(at: u32) -> Call {
    let input = |name: &str, datatype: Datatype, shape: &[i64], data: TensorData| Tensor {
        name: name.to_owned(),
        datatype,
        shape: shape.to_vec(),
        data,
        parameters: Vec::new(),
    };
    let at_span = Span {
        source: at,
        offset: 1,
        len: 8,
    };
    let held = TensorData::Held(Held {
        at: at_span,
        written: Encoding::Tensor(Datatype::Fp32),
    });
    let text = [&at.to_le_bytes()[..], &vec![b'x'; at as usize]].concat();
    Call {
        task: Task::Infer(Infer {
            id: format!("id {at}"),
            inputs: vec![
                input("in", Datatype::Fp32, &[1, 2], held),
                input("text", Datatype::Bytes, &[1, 1], TensorData::Inline(text)),
            ],
            outputs: Vec::new(),
            parameters: Vec::new(),
        }),
        model: "served".to_owned(),
        version: None,
        streaming: false,
        extensions: Vec::new(),
    }
}

fn values(at: u32) -> [u8; 8] {
    let value = |value: u32| (value as f32).to_le_bytes();
    [value(at), value(at * 10)].concat().try_into().unwrap()
}

fn sources() -> Memory {
    (1..=3).fold(Memory::default(), |memory, at| {
        memory.with(at, [&b"-"[..], &values(at)].concat())
    })
}

fn worker(dialect: &str) -> Station {
    station(dialect, r#"{"merge": true}"#)
}

fn merged(dialect: &str, answer: Answer, pace: Pace) -> WorkerOutcome {
    let (plugin, _) = plugin("");
    let attempt = plugin.attempt(context(), worker(dialect), (1..=3).map(call).collect());
    let sources = sources();
    Worker { answer, sources }.play(attempt, pace)
}

/// Three rows of FP32 and of BYTES.
fn raw() -> [Vec<u8>; 2] {
    let numbers = (1..=3).flat_map(values).collect();
    let texts = [&b"a"[..], b"", b"ccc"];
    let texts = texts.map(|text| [&(text.len() as u32).to_le_bytes()[..], text].concat());
    [numbers, texts.concat()]
}

fn response(rows: i64) -> Answer {
    let message = Response {
        model_name: "served".to_owned(),
        model_version: "1".to_owned(),
        outputs: vec![
            tensor("out", "FP32", &[rows, 2]),
            tensor("said", "BYTES", &[rows]),
        ],
        raw_output_contents: raw().to_vec(),
        ..Response::default()
    };
    Answer::grpc(vec![message.encode_to_vec()], 0, None)
}

fn elements(played: &WorkerOutcome, tensor: &Tensor) -> Vec<u8> {
    match &tensor.data {
        TensorData::Inline(data) => data.clone(),
        TensorData::Held(held) => {
            assert_eq!(held.written, Encoding::Tensor(tensor.datatype.clone()));
            let span = tollgate_sdk_protocol::types::Segment::Span(held.at);
            played.sources.0.render(&[span])
        }
        TensorData::None => panic!("no elements"),
    }
}

fn rows_of(played: &WorkerOutcome) {
    for member in 0..3_u32 {
        let events = played.of(member);
        let [
            Event::Tensors(Tensors {
                id, outputs, last, ..
            }),
            Event::End,
        ] = &events[..]
        else {
            panic!("{events:?}");
        };
        assert_eq!(
            (id.as_str(), *last),
            (format!("id {}", member + 1).as_str(), true)
        );
        assert_eq!(outputs[0].shape, [1, 2]);
        assert_eq!(elements(played, &outputs[0]), values(member + 1));
        assert_eq!(outputs[1].shape, [1]);
        let text = elements(played, &outputs[1]);
        assert_eq!(&text[4..], [&b"a"[..], b"", b"ccc"][member as usize]);
    }
    assert!(played.finished);
}

#[test]
fn rows_go_together_over_grpc_and_come_apart() {
    for pace in [Pace::Whole, Pace::Single] {
        let played = merged("kserve-grpc", response(3), pace);
        let asked = played.request.as_ref().expect("a request");
        let asked = Request::decode(asked.body.as_slice()).unwrap();
        assert_eq!(
            (asked.model_name.as_str(), asked.id.as_str()),
            ("served", "")
        );
        let shapes: Vec<_> = asked.inputs.iter().map(|it| it.shape.clone()).collect();
        assert_eq!(shapes, [[3, 2], [3, 1]]);
        assert_eq!(asked.raw_input_contents[0], raw()[0]);
        let texts = b"\x01\0\0\0x\x02\0\0\0xx\x03\0\0\0xxx";
        assert_eq!(asked.raw_input_contents[1], texts);
        rows_of(&played);
    }
}

#[test]
fn rows_go_together_over_http_and_come_apart() {
    let [numbers, texts] = raw();
    let json = json!({"model_name": "served", "model_version": "1", "outputs": [
        {"name": "out", "datatype": "FP32", "shape": [3, 2],
         "parameters": {"binary_data_size": numbers.len()}},
        {"name": "said", "datatype": "BYTES", "shape": [3],
         "parameters": {"binary_data_size": texts.len()}},
    ]});
    let (body, length) = binary(&json, &[&numbers, &texts]);
    let mut answer = Answer::rest(200, "application/octet-stream", body);
    answer.head.headers.push(support::head_length(length));
    for pace in [Pace::Whole, Pace::Single] {
        let played = merged("kserve-rest", answer.clone(), pace);
        let asked = played.request.as_ref().expect("a request");
        let length = header_value(&asked.headers, "inference-header-content-length");
        let length: usize = length.unwrap().parse().unwrap();
        let json: Value = serde_json::from_slice(&asked.body[..length]).unwrap();
        assert_eq!(json["inputs"][0]["shape"], json!([3, 2]));
        assert_eq!(json["inputs"][0]["parameters"]["binary_data_size"], 24);
        assert_eq!(json["parameters"]["binary_data_output"], true);
        assert_eq!(asked.body[length..length + 24], raw()[0]);
        rows_of(&played);
    }
}

#[test]
fn what_fails_fails_for_all_of_them() {
    let two = Answer::rest(500, "application/json", r#"{"error":"no room"}"#);
    for (dialect, answer, kind) in [
        ("kserve-rest", two, FailureKind::Internal),
        (
            "kserve-grpc",
            Answer::grpc(vec![], 3, Some("no room")),
            FailureKind::InvalidArgument,
        ),
        ("kserve-grpc", response(2), FailureKind::UpstreamInvalid),
        (
            "kserve-grpc",
            Answer::grpc(vec![], 0, None),
            FailureKind::UpstreamInvalid,
        ),
    ] {
        let played = merged(dialect, answer, Pace::Whole);
        for member in 0..3 {
            let events = played.of(member);
            let [Event::Failed(failure)] = &events[..] else {
                panic!("{events:?}");
            };
            assert_eq!(failure.kind, kind, "{failure:?}");
        }
        assert!(played.finished);
    }
}

#[test]
fn one_that_has_left_is_told_nothing() {
    let (plugin, _) = plugin("");
    let calls = (1..=3).map(call).collect();
    let mut attempt = plugin.attempt(context(), worker("kserve-grpc"), calls);
    let memory = sources();
    let first = attempt.step(&memory, vec![Input::Start, Input::Left(1), Input::Left(0)]);
    assert_eq!(first.len(), 1, "the request goes on: {first:?}");
    let last = attempt.step(&memory, vec![Input::Left(2)]);
    assert!(matches!(
        &last[..],
        [tollgate_sdk_protocol::backend::Action::Finish]
    ));
}

#[test]
fn only_like_rows_have_a_key_and_only_where_it_is_asked_for() {
    let (plugin, _) = plugin("");
    let key = |options: &str, change: &dyn Fn(&mut Call, &mut Infer)| {
        let mut call = call(1);
        let Task::Infer(mut content) = call.task.clone() else {
            unreachable!("it is one");
        };
        change(&mut call, &mut content);
        call.task = Task::Infer(content);
        plugin.batch_key(&station("kserve-grpc", options), &call)
    };
    let on = r#"{"merge": true}"#;
    let usual = key(on, &|_, _| ()).expect("a key");
    assert_eq!(
        key(on, &|_, it| it.id = "another".into()),
        Some(usual.clone())
    );
    assert_eq!(key("", &|_, _| ()), None);
    assert_eq!(key(on, &|call, _| call.streaming = true), None);
    assert_eq!(key(on, &|_, it| it.inputs[0].shape[0] = 2), None);
    assert_eq!(key(on, &|_, it| it.inputs[0].shape.clear()), None);
    assert_eq!(key(on, &|_, it| it.inputs[0].data = TensorData::None), None);
    let parameter = |name: &str| Parameter {
        name: name.to_owned(),
        value: ParameterValue::Int64(1),
    };
    let sequence = key(on, &|_, it| it.parameters = vec![parameter("sequence_id")]);
    assert_eq!(sequence, None);
    for other in [
        key(on, &|_, it| it.parameters = vec![parameter("priority")]),
        key(on, &|_, it| it.inputs[0].shape[1] = 3),
        key(on, &|_, it| it.inputs[0].name = "b".into()),
        key(on, &|call, _| call.version = Some("2".into())),
        key(on, &|call, _| call.model = "n".into()),
    ] {
        assert!(other.is_some_and(|other| other != usual));
    }
    // Without raw tensors there is nothing to be put together.
    let mlserver = r#"{"merge": true, "server": "mlserver"}"#;
    let rest = plugin.batch_key(&station("kserve-rest", mlserver), &call(1));
    assert_eq!(rest, None);
}
