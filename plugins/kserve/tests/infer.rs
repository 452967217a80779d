//! One inference through frontend and backend, in every pair of forms, at every pace.

mod support;

use prost::Message;
use serde_json::{Value, json};
use support::{
    Contents, Play, Request, Response, binary, binary_answer, head_length, infer, station, tensor,
};
use tollgate_sdk_protocol::{
    actions::header_value,
    backend::Surface,
    inference::TensorData,
    testing::{Answer, Pace, same_at_every_pace},
    types::{Encoding, FailureKind},
};

const RAW: [u8; 8] = [0, 0, 128, 63, 0, 0, 0, 64];

fn response() -> Response {
    Response {
        model_name: "served".to_owned(),
        model_version: "3".to_owned(),
        id: "one".to_owned(),
        outputs: vec![
            tensor("out", "FP32", &[1, 2]),
            tensor("text", "BYTES", &[2]),
        ],
        raw_output_contents: vec![RAW.to_vec(), b"\x01\0\0\0a\x02\0\0\0\xc3\xa9".to_vec()],
    }
}

fn grpc_answer() -> Answer {
    Answer::grpc(vec![response().encode_to_vec()], 0, None)
}

fn request_json() -> Value {
    json!({
        "id": "one", "model_name": "whatever",
        "parameters": {"binary_data_output": true, "priority": 2},
        "inputs": [
            {"name": "in", "datatype": "FP32", "shape": [1, 2],
             "parameters": {"binary_data_size": 8}},
            {"name": "n", "datatype": "INT64", "shape": [2],
             "data": [9007199254740993_i64, -1]},
        ],
    })
}

#[test]
fn rest_with_raw_tensors_to_grpc_and_back() {
    let (request, length) = binary(&request_json(), &[&RAW]);
    let play = Play {
        options: "",
        door: support::REST_INFER,
        headers: vec![head_length(length)],
        request: request.clone(),
        grpc: false,
        worker: station("kserve-grpc", ""),
        answer: grpc_answer(),
    };
    let (asked, told) = same_at_every_pace(request.len(), |pace| {
        let played = play.run(pace);
        let worker = played.worker.expect("a request");
        let sent = worker.request.expect("a request");
        assert_eq!(
            sent.surface,
            Surface::Grpc("inference.GRPCInferenceService/ModelInfer".to_owned())
        );
        (sent.body, (played.told.head, played.told.body))
    });
    let asked = Request::decode(asked.as_slice()).unwrap();
    assert_eq!(asked.model_name, "served");
    assert_eq!(asked.id, "one");
    assert_eq!(asked.parameters["priority"].int64_param, Some(2));
    assert_eq!(asked.parameters.len(), 1, "what is for us is not passed on");
    assert_eq!(asked.raw_input_contents[0], RAW);
    let integers = [9007199254740993_i64, -1].map(i64::to_le_bytes).concat();
    assert_eq!(asked.raw_input_contents[1], integers, "integers are exact");
    let (head, body) = told;
    let head = head.unwrap();
    let length: usize = header_value(&head.headers, "inference-header-content-length")
        .and_then(|it| it.parse().ok())
        .unwrap();
    assert_eq!(
        header_value(&head.headers, "content-length"),
        Some(body.len().to_string().as_str())
    );
    let json: Value = serde_json::from_slice(&body[..length]).unwrap();
    assert_eq!(json["model_name"], "named", "as the client calls it");
    assert_eq!(json["model_version"], "3");
    assert_eq!(json["outputs"][0]["parameters"]["binary_data_size"], 8);
    assert_eq!(body[length..], response().raw_output_contents.concat());
}

#[test]
fn no_raw_byte_is_named_but_as_a_span() {
    let (request, length) = binary(&request_json(), &[&RAW]);
    let played = Play {
        options: "",
        door: support::REST_INFER,
        headers: vec![head_length(length)],
        request,
        grpc: false,
        worker: station("kserve-grpc", ""),
        answer: grpc_answer(),
    }
    .run(Pace::Whole);
    let call = infer(&played.asked.calls[0].1);
    let TensorData::Held(held) = &call.inputs[0].data else {
        panic!("raw bytes in the guest");
    };
    assert_eq!((held.at.offset, held.at.len), (length as u64, 8));
    let TensorData::Held(held) = &call.inputs[1].data else {
        panic!("JSON in the guest");
    };
    assert!(matches!(held.written, Encoding::JsonArray(_)));
}

#[test]
fn json_is_answered_with_json() {
    let request = json!({"inputs": [
        {"name": "in", "shape": [2, 2], "datatype": "UINT8", "data": [[1, 2], [3, 255]]},
        {"name": "b", "shape": [1], "datatype": "BOOL", "data": [true]},
        {"name": "s", "shape": [2], "datatype": "BYTES", "data": ["a", "\u{e9}"]},
    ]});
    let play = Play {
        options: "",
        door: support::REST_INFER,
        headers: Vec::new(),
        request: request.to_string().into_bytes(),
        grpc: false,
        worker: station("kserve-grpc", ""),
        answer: grpc_answer(),
    };
    let (asked, told) = same_at_every_pace(play.request.len(), |pace| {
        let played = play.run(pace);
        (
            played.worker.unwrap().request.unwrap().body,
            played.told.body,
        )
    });
    let asked = Request::decode(asked.as_slice()).unwrap();
    let expected: [&[u8]; 3] = [&[1, 2, 3, 255], &[1], b"\x01\0\0\0a\x02\0\0\0\xc3\xa9"];
    assert_eq!(asked.raw_input_contents, expected);
    let told: Value = serde_json::from_slice(&told).unwrap();
    let floats: Vec<f64> = serde_json::from_value(told["outputs"][0]["data"].clone()).unwrap();
    assert_eq!(floats, [1.0, 2.0]);
    assert_eq!(told["outputs"][1]["data"], json!(["a", "\u{e9}"]));
    assert_eq!(told["outputs"][0]["shape"], json!([1, 2]));
}

#[test]
fn grpc_to_rest_with_raw_tensors_and_back() {
    let request = Request {
        model_name: "named".to_owned(),
        id: "one".to_owned(),
        inputs: vec![tensor("in", "FP32", &[1, 2])],
        raw_input_contents: vec![RAW.to_vec()],
        ..Request::default()
    };
    let answer = json!({
        "model_name": "served", "model_version": "1", "id": "one",
        "outputs": [
            {"name": "a", "datatype": "BF16", "shape": [2], "parameters": {"binary_data_size": 4}},
            {"name": "b", "datatype": "INT32", "shape": [1, 2], "data": [7, -8]},
        ],
    });
    let play = Play {
        options: "",
        door: "ModelInfer",
        headers: Vec::new(),
        request: request.encode_to_vec(),
        grpc: true,
        worker: station("kserve-rest", ""),
        answer: binary_answer(&answer, &[&[1, 2, 3, 4]]),
    };
    let (asked, told) = same_at_every_pace(200, |pace| {
        let played = play.run(pace);
        assert_eq!(
            played.told.trailers.as_ref().and_then(|it| it.code),
            Some(0)
        );
        (
            played.worker.unwrap().request.unwrap(),
            played.told.messages,
        )
    });
    let length: usize = header_value(&asked.headers, "inference-header-content-length")
        .and_then(|it| it.parse().ok())
        .unwrap();
    let json: Value = serde_json::from_slice(&asked.body[..length]).unwrap();
    assert_eq!(json["parameters"]["binary_data_output"], true);
    assert_eq!(json.get("model_name"), None, "the path names it");
    assert_eq!(asked.body[length..], RAW);
    let Surface::Rest(rest) = &asked.surface else {
        panic!("over HTTP");
    };
    assert_eq!(rest.path, "/v2/models/served/infer");
    let told = Response::decode(told[0].as_slice()).unwrap();
    assert_eq!(told.model_name, "named");
    assert_eq!(told.outputs[1].shape, [1, 2]);
    let integers = [7_i32, -8].map(i32::to_le_bytes).concat();
    assert_eq!(told.raw_output_contents, [vec![1, 2, 3, 4], integers]);
}

#[test]
fn typed_contents_are_read_and_written() {
    let mut input = tensor("in", "INT8", &[3]);
    input.contents = Some(Contents {
        int_contents: vec![-128, 0, 127],
        ..Contents::default()
    });
    let mut texts = tensor("s", "BYTES", &[2]);
    texts.contents = Some(Contents {
        bytes_contents: vec![b"a".to_vec(), vec![0xff]],
        ..Contents::default()
    });
    let request = Request {
        model_name: "named".to_owned(),
        inputs: vec![input, texts],
        ..Request::default()
    };
    let mut answer = response();
    answer.raw_output_contents.clear();
    answer.outputs = vec![tensor("out", "UINT16", &[2])];
    answer.outputs[0].contents = Some(Contents {
        uint_contents: vec![1, 65535],
        ..Contents::default()
    });
    let mut play = Play {
        options: "",
        door: "ModelInfer",
        headers: Vec::new(),
        request: request.encode_to_vec(),
        grpc: true,
        worker: station("kserve-grpc", ""),
        answer: Answer::grpc(vec![answer.encode_to_vec()], 0, None),
    };
    let told = same_at_every_pace(play.request.len(), |pace| {
        let played = play.run(pace);
        let asked = played.worker.unwrap().request.unwrap().body;
        let asked = Request::decode(asked.as_slice()).unwrap();
        let expected: [&[u8]; 2] = [&[128, 0, 127], b"\x01\0\0\0a\x01\0\0\0\xff"];
        assert_eq!(asked.raw_input_contents, expected);
        played.told.messages
    });
    let raw = Response::decode(told[0].as_slice()).unwrap();
    assert_eq!(
        raw.raw_output_contents,
        [[1, 0, 255, 255]],
        "raw is what clients read"
    );
    // As MLServer: who asks typed is answered typed.
    play.options = r#"{"server":"mlserver"}"#;
    let typed = play.run(Pace::Whole).told.messages;
    let typed = Response::decode(typed[0].as_slice()).unwrap();
    assert_eq!(
        typed,
        Response {
            model_name: "named".to_owned(),
            ..answer
        }
    );
}

#[test]
fn mlserver_has_no_raw_tensors_over_http() {
    let (request, length) = binary(&request_json(), &[&RAW]);
    let answer = json!({
        "model_name": "served", "model_version": "1",
        "outputs": [{"name": "out", "datatype": "FP64", "shape": [1], "data": [0.1]}],
    });
    let played = Play {
        options: "",
        door: support::REST_INFER,
        headers: vec![head_length(length)],
        request,
        grpc: false,
        worker: station("kserve-rest", r#"{"server":"mlserver"}"#),
        answer: Answer::rest(200, "application/json", answer.to_string()),
    }
    .run(Pace::Whole);
    let asked = played.worker.unwrap().request.unwrap();
    let json: Value = serde_json::from_slice(&asked.body).unwrap();
    let floats: Vec<f64> = serde_json::from_value(json["inputs"][0]["data"].clone()).unwrap();
    assert_eq!(floats, [1.0, 2.0]);
    assert_eq!(json["parameters"], json!({"priority": 2}));
    let told = played.told.body;
    assert_eq!(
        told[told.len() - 8..],
        0.1_f64.to_le_bytes(),
        "raw, as it was asked for"
    );
}

#[test]
fn modelmesh_has_base64() {
    let request = json!({"inputs": [
        {"name": "s", "shape": ["1"], "datatype": "BYTES", "data": ["/w=="],
         "parameters": {"content_type": "base64"}},
    ]});
    let played = Play {
        options: r#"{"server":"modelmesh"}"#,
        door: support::REST_INFER,
        headers: Vec::new(),
        request: request.to_string().into_bytes(),
        grpc: false,
        worker: station(
            "kserve-grpc",
            r#"{"server":"modelmesh","model-header":"mm-vmodel-id"}"#,
        ),
        answer: grpc_answer(),
    }
    .run(Pace::Whole);
    let asked = played.worker.unwrap().request.unwrap();
    assert_eq!(header_value(&asked.headers, "mm-vmodel-id"), Some("served"));
    let asked = Request::decode(asked.body.as_slice()).unwrap();
    assert_eq!(asked.raw_input_contents, [b"\x01\0\0\0\xff"]);
    let told: Value = serde_json::from_slice(&played.told.body).unwrap();
    assert_eq!(told["outputs"][1]["data"], json!(["YQ==", "w6k="]));
    assert_eq!(told["outputs"][1]["parameters"]["content_type"], "base64");
    assert_eq!(
        told["outputs"][1]["shape"],
        json!([2]),
        "numbers, unlike metadata's"
    );
}

#[test]
fn modelmesh_is_told_the_model_where_it_looks() {
    let ask = |options: &str, dialect: &str| {
        let request = Request {
            model_name: "named".to_owned(),
            inputs: vec![tensor("in", "FP32", &[1, 2])],
            raw_input_contents: vec![RAW.to_vec()],
            ..Request::default()
        };
        let played = Play {
            options: r#"{"server":"modelmesh"}"#,
            door: "ModelInfer",
            headers: Vec::new(),
            request: request.encode_to_vec(),
            grpc: true,
            worker: station(dialect, options),
            answer: grpc_answer(),
        }
        .run(Pace::Whole);
        played.worker.unwrap().request.unwrap()
    };
    // A gateway hands on a header by its prefix alone; the path names the model too.
    let by_name = ask(r#"{"model-header":"mm-vmodel-id"}"#, "kserve-rest");
    let header = header_value(&by_name.headers, "grpc-metadata-mm-vmodel-id");
    assert_eq!(header, Some("served"));
    assert_eq!(header_value(&by_name.headers, "mm-vmodel-id"), None);
    // A concrete model is meant only where the message names none.
    let concrete = ask(r#"{"model-header":"mm-model-id"}"#, "kserve-grpc");
    assert_eq!(
        header_value(&concrete.headers, "mm-model-id"),
        Some("served")
    );
    let message = Request::decode(concrete.body.as_slice()).unwrap();
    assert_eq!(message.model_name, "");
}

#[test]
fn an_answers_parameter_without_a_value_sets_nothing() {
    let answer = json!({
        "model_name": "served__isvc-1", "parameters": {"headers": null, "kept": 7},
        "outputs": [{"name": "out", "datatype": "BYTES", "shape": [1], "data": ["w6k="],
                     "parameters": {"content_type": "base64", "odd": null}}],
    });
    let request = Request {
        model_name: "named".to_owned(),
        inputs: vec![tensor("in", "FP32", &[1, 2])],
        raw_input_contents: vec![RAW.to_vec()],
        ..Request::default()
    };
    let played = Play {
        options: "",
        door: "ModelInfer",
        headers: Vec::new(),
        request: request.encode_to_vec(),
        grpc: true,
        worker: station("kserve-rest", r#"{"server":"modelmesh"}"#),
        answer: Answer::rest(200, "application/json", answer.to_string().into_bytes()),
    }
    .run(Pace::Whole);
    let told = Response::decode(played.told.messages[0].as_slice()).unwrap();
    assert_eq!(told.raw_output_contents, [b"\x02\0\0\0\xc3\xa9"]);
    assert_eq!(told.model_name, "named");
}

fn refused(request: &Value, headers: Vec<tollgate_sdk_protocol::types::Header>) -> String {
    let played = Play {
        options: "",
        door: support::REST_INFER,
        headers,
        request: request.to_string().into_bytes(),
        grpc: false,
        worker: station("kserve-grpc", ""),
        answer: grpc_answer(),
    }
    .run(Pace::Whole);
    if let Some(failure) = played.told.refused {
        return failure.message;
    }
    panic!("not refused: {request}");
}

#[test]
fn what_is_wrong_is_said() {
    let input = |more: Value| {
        let mut input = json!({"name": "in", "shape": [2], "datatype": "FP32", "data": [1, 2]});
        for (name, value) in more.as_object().unwrap() {
            input[name] = value.clone();
        }
        json!({ "inputs": [input] })
    };
    let cases = [
        (input(json!({"data": [1]})), "which is not the shape"),
        (input(json!({"data": [1, "2"]})), "tensor 'in'"),
        (input(json!({"shape": [-2]})), "must be a list of sizes"),
        (input(json!({"datatype": "FP33"})), "unknown datatype"),
        (input(json!({"datatype": "FP16"})), "use the binary form"),
        (
            input(json!({"parameters": {"binary_data_size": 8}})),
            "only one of the following",
        ),
        (
            input(json!({"parameters": {"a": [1]}})),
            "`a` must be a string",
        ),
        (
            input(json!({"parameters": {"shared_memory_region": "r"}})),
            "only one of the following",
        ),
        (
            json!({"inputs": [{"name": "in", "shape": [2], "datatype": "FP32",
            "parameters": {"shared_memory_region": "r", "shared_memory_byte_size": 8}}]}),
            "shared memory",
        ),
        (json!({}), "Unable to find 'inputs'"),
        (json!([]), "failed to parse the JSON"),
    ];
    for (request, expected) in cases {
        let said = refused(&request, Vec::new());
        assert!(said.contains(expected), "{request}: {said}");
    }
    let said = refused(&request_json(), vec![head_length(1 << 30)]);
    assert!(said.contains("must be a number"), "{said}");
    let length = request_json().to_string().len();
    let said = refused(&request_json(), vec![head_length(length)]);
    assert!(said.contains("expecting 8 additional bytes"), "{said}");
}

#[test]
fn a_value_that_json_has_not_is_an_error_and_not_half_an_answer() {
    let mut answer = response();
    answer.raw_output_contents[0][..4].copy_from_slice(&f32::NAN.to_le_bytes());
    let request = json!({"inputs": [
        {"name": "in", "shape": [1], "datatype": "FP32", "data": [1]},
    ]});
    let play = Play {
        options: "",
        door: support::REST_INFER,
        headers: Vec::new(),
        request: request.to_string().into_bytes(),
        grpc: false,
        worker: station("kserve-grpc", ""),
        answer: Answer::grpc(vec![answer.encode_to_vec()], 0, None),
    };
    for pace in [Pace::Whole, Pace::Single] {
        let told = play.run(pace).told;
        let failure = told.refused.expect("a failure");
        assert_eq!(failure.kind, FailureKind::Unprocessable);
        assert!(failure.message.contains("'out'"), "{}", failure.message);
        assert_eq!(told.head, None);
    }
}

#[test]
fn failures_of_workers_keep_their_kind() {
    let ask = |worker, answer| {
        let request = json!({"inputs": [
            {"name": "in", "shape": [1], "datatype": "FP32", "data": [1]},
        ]});
        let played = Play {
            options: "",
            door: support::REST_INFER,
            headers: Vec::new(),
            request: request.to_string().into_bytes(),
            grpc: false,
            worker,
            answer,
        }
        .run(Pace::Whole);
        let failure = played.told.refused.expect("a failure");
        (failure.kind, failure.message)
    };
    let rest = |status, body: &str| {
        ask(
            station("kserve-rest", ""),
            Answer::rest(status, "application/json", body),
        )
    };
    let unknown = "Request for unknown model: 'served' is not found";
    assert_eq!(
        rest(400, &json!({ "error": unknown }).to_string()),
        (FailureKind::NotFound, unknown.to_owned())
    );
    assert_eq!(
        rest(412, "{\"error\":\"bad\"}"),
        (FailureKind::InvalidArgument, "bad".to_owned())
    );
    assert_eq!(rest(503, "").0, FailureKind::Overloaded);
    assert_eq!(rest(200, "{}").0, FailureKind::UpstreamInvalid);
    // What a model says to its inputs is no fault of its server's.
    for word in ["NaN", "-Infinity"] {
        let body = format!(
            r#"{{"outputs":[{{"name":"out","datatype":"FP32","shape":[2],"data":[{word},1]}}]}}"#
        );
        let (kind, message) = rest(200, &body);
        assert_eq!(kind, FailureKind::Unprocessable, "{message}");
        assert!(message.contains("no number"), "{message}");
    }
    assert_eq!(
        rest(200, r#"{"outputs":[None]}"#).0,
        FailureKind::UpstreamInvalid
    );
    assert_eq!(rest(302, "").0, FailureKind::UpstreamInvalid);
    let grpc = |answer| ask(station("kserve-grpc", ""), answer);
    assert_eq!(
        grpc(Answer::grpc(Vec::new(), 5, Some("no"))),
        (FailureKind::NotFound, "no".to_owned())
    );
    assert_eq!(
        grpc(Answer::grpc(Vec::new(), 0, None)).0,
        FailureKind::UpstreamInvalid
    );
    let cut = grpc_answer().cut(tollgate_sdk_protocol::types::Cut::Closed);
    assert_eq!(grpc(cut).0, FailureKind::UpstreamUnavailable);
}
