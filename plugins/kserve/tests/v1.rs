//! The protocol's first version: `:predict` of clients asked of workers of the second, tensors of
//! clients asked of workers of the first, and what passes between two that speak it.

mod support;

use proptest::prelude::*;
use prost::Message;
use serde_json::{Value, json};
use support::{
    Play, Played, REST_INFER, Request, Response, V1_PREDICT, head, pass, plugin, station, tensor,
    translate,
};
use tollgate_sdk_protocol::{
    Protocol,
    backend::{ProbeResponse, Surface},
    frontend::RequestHead,
    inference::{Event, TaskKind},
    testing::{Answer, Client, ClientOutcome, Pace, context, same_at_every_pace},
    types::FailureKind,
};

const NAMED: &str = r#"{"v1":{"models":{"named":{"inputs":[
    {"name":"a","datatype":"INT64"},{"name":"b","datatype":"BYTES"},{"name":"c","datatype":"BOOL"}
]}}}}"#;

fn one(datatype: &str) -> String {
    json!({"v1": {"inputs": [{"name": "x", "datatype": datatype}]}}).to_string()
}

fn answer(outputs: &[(&str, &str, &[i64], Vec<u8>)]) -> Answer {
    let message = Response {
        outputs: outputs.iter().map(|it| tensor(it.0, it.1, it.2)).collect(),
        raw_output_contents: outputs.iter().map(|it| it.3.clone()).collect(),
        ..Response::default()
    };
    Answer::grpc(vec![message.encode_to_vec()], 0, None)
}

fn predicted(options: &str, body: &str, answer: Answer, pace: Pace) -> Played {
    Play {
        options,
        door: V1_PREDICT,
        headers: Vec::new(),
        request: body.as_bytes().to_vec(),
        grpc: false,
        worker: station("kserve-grpc", ""),
        answer,
    }
    .run(pace)
}

fn sent(played: &Played) -> Request {
    let worker = played.worker.as_ref().expect("an attempt");
    let request = worker.request.as_ref().expect("a request");
    Request::decode(request.body.as_slice()).unwrap()
}

fn nothing() -> Answer {
    answer(&[("y", "BOOL", &[1], vec![1])])
}

/// What a client gets whose request came no further.
fn refused(options: &str, model: &str, body: &str) -> ClientOutcome {
    let (plugin, claims) = plugin(options);
    let head = head(&claims, V1_PREDICT, &[("model", model)], Vec::new());
    let client = Client::rest(body.as_bytes().to_vec(), translate("served"));
    client.play(plugin.exchange(context(), head), Pace::Whole)
}

#[test]
fn rows_of_objects_are_tensors_and_rows_again() {
    let body = r#"{"signature_name":"serving_default","instances":[
        {"a":9007199254740993,"b":"é","c":true},
        {"c":false,"b":{"b64":"//4="},"a":-1}]}"#;
    let output = |name, raw: &[u8]| (name, "INT8", &[2_i64, 1][..], raw.to_vec());
    let worker = answer(&[output("y", &[1, 2]), output("z", &[3, 4])]);
    let (asked, told) = same_at_every_pace(40, |pace| {
        let played = predicted(NAMED, body, worker.clone(), pace);
        (sent(&played), (played.told.head.clone(), played.told.body))
    });
    assert_eq!(asked.model_name, "served");
    let inputs: Vec<_> = asked
        .inputs
        .iter()
        .map(|it| (&*it.name, &*it.shape))
        .collect();
    assert_eq!(inputs, [("a", &[2][..]), ("b", &[2]), ("c", &[2])]);
    let integers = [9007199254740993_i64, -1].map(i64::to_le_bytes).concat();
    assert_eq!(asked.raw_input_contents[0], integers, "integers are exact");
    assert_eq!(
        asked.raw_input_contents[1],
        b"\x02\0\0\0\xc3\xa9\x02\0\0\0\xff\xfe"
    );
    assert_eq!(asked.raw_input_contents[2], [1, 0]);
    let (head, told) = told;
    assert_eq!(head.unwrap().status, 200);
    let expected = r#"{"predictions":[{"y":[1],"z":[3]},{"y":[2],"z":[4]}]}"#;
    assert_eq!(told, expected.as_bytes());
}

#[test]
fn columns_need_not_be_as_long() {
    let body = r#"{"inputs":{"a":[[1,2]],"b":"x"}}"#;
    let worker = || {
        answer(&[
            (
                "y",
                "FP32",
                &[2],
                [0.1_f32, 1.0].map(f32::to_le_bytes).concat(),
            ),
            ("z", "BYTES", &[], b"\x01\0\0\0\xff".to_vec()),
        ])
    };
    let played = predicted(NAMED, body, worker(), Pace::Whole);
    let asked = sent(&played);
    assert_eq!(asked.inputs[0].shape, [1, 2]);
    assert_eq!(asked.inputs[1].shape, [] as [i64; 0]);
    let expected = r#"{"predictions":{"y":[0.1,1.0],"z":{"b64":"/w=="}}}"#;
    assert_eq!(played.told.body, expected.as_bytes());

    let mut options: Value = serde_json::from_str(NAMED).unwrap();
    options["v1"]["answers"] = "outputs".into();
    let played = predicted(&options.to_string(), body, worker(), Pace::Whole);
    assert!(played.told.body.starts_with(br#"{"outputs":{"y""#));
    // The rows of these two are not as many.
    let rows = r#"{"instances":[{"a":1}]}"#;
    let failed = predicted(NAMED, rows, worker(), Pace::Whole)
        .told
        .refused
        .unwrap();
    assert_eq!(failed.kind, FailureKind::Unprocessable);
    assert!(failed.message.contains("'z'"), "{}", failed.message);
}

#[test]
fn without_words_it_is_one_input_of_singles() {
    let options = r#"{"v1":{}}"#;
    let body = r#"{"instances":[[1,2.5],[3,-0.0]]}"#;
    let played = predicted(options, body, nothing(), Pace::Single);
    let asked = sent(&played);
    assert_eq!(asked.inputs, [tensor("input-0", "FP32", &[2, 2])]);
    let singles = [1.0_f32, 2.5, 3.0, -0.0].map(f32::to_le_bytes).concat();
    assert_eq!(asked.raw_input_contents, [singles]);
    assert_eq!(played.told.body, br#"{"predictions":[true]}"#);
}

#[test]
fn an_answer_in_json_and_a_typed_one_are_values_too() {
    let outputs = json!({"outputs": [
        {"name": "y", "datatype": "INT64", "shape": [1, 2], "data": [9007199254740993_i64, 2]},
    ]});
    let played = Play {
        options: r#"{"v1":{}}"#,
        door: V1_PREDICT,
        headers: Vec::new(),
        request: br#"{"instances":[[1,2]]}"#.to_vec(),
        grpc: false,
        worker: station("kserve-rest", r#"{"binary":false}"#),
        answer: Answer::rest(200, "application/json", outputs.to_string()),
    }
    .run(Pace::Whole);
    assert_eq!(
        played.told.body,
        br#"{"predictions":[[9007199254740993,2]]}"#
    );
    let sent = played.worker.unwrap().request.unwrap();
    let sent: Value = serde_json::from_slice(&sent.body).unwrap();
    assert_eq!(sent["inputs"][0]["shape"], json!([1, 2]));

    let mut typed = tensor("y", "INT64", &[2]);
    typed.contents = Some(support::Contents {
        int64_contents: vec![-1, 7],
        ..support::Contents::default()
    });
    let message = Response {
        outputs: vec![typed],
        ..Response::default()
    };
    let worker = Answer::grpc(vec![message.encode_to_vec()], 0, None);
    let played = predicted(r#"{"v1":{}}"#, r#"{"instances":[1]}"#, worker, Pace::Whole);
    assert_eq!(played.told.body, br#"{"predictions":[-1,7]}"#);
}

#[test]
fn what_json_cannot_carry_is_refused_by_name() {
    let nan = [1.0, f32::NAN].map(f32::to_le_bytes).concat();
    let half = vec![0, 0x7c];
    for output in [
        ("y", "FP32", &[2_i64][..], nan),
        ("y", "FP16", &[1], half),
        ("y", "FP64", &[1], f64::INFINITY.to_le_bytes().to_vec()),
    ] {
        let body = r#"{"instances":[1]}"#;
        let played = predicted(r#"{"v1":{}}"#, body, answer(&[output]), Pace::Whole);
        let failed = played.told.refused.expect("no answer");
        assert_eq!(failed.kind, FailureKind::Unprocessable);
        assert!(
            failed.message.contains("'y': element"),
            "{}",
            failed.message
        );
    }
    // The halves that are numbers are written exactly.
    let halves = answer(&[
        ("y", "FP16", &[2], vec![0x66, 0x2e, 0x00, 0xc0]),
        ("z", "BF16", &[2], vec![0x49, 0x40, 0x80, 0x3f]),
    ]);
    let played = predicted(r#"{"v1":{}}"#, r#"{"inputs":1}"#, halves, Pace::Whole);
    let expected = r#"{"predictions":{"y":[0.099975586,-2.0],"z":[3.140625,1.0]}}"#;
    assert_eq!(played.told.body, expected.as_bytes());
}

#[test]
fn bad_bodies_are_refused_by_name() {
    for (body, words) in [
        ("", "no body"),
        ("[]", "JSON"),
        ("{", "JSON"),
        (r#"{"instances":[NaN]}"#, "JSON"),
        ("{}", "'instances' or 'inputs'"),
        (r#"{"instances":[1],"inputs":[1]}"#, "not both"),
        (r#"{"instances":[1],"instances":[1]}"#, "twice"),
        (r#"{"instances":[1],"signature_name":5}"#, "signature_name"),
        (r#"{"instances":[1],"signature_name":"other"}"#, "'other'"),
        (r#"{"instances":1}"#, "list"),
        (
            r#"{"instances":[[1],[2,3]]}"#,
            "'input-0': its lists are ragged",
        ),
        (r#"{"instances":[null]}"#, "element 0: null"),
        (r#"{"instances":["1"]}"#, "element 0: a string"),
        (r#"{"instances":[1e39]}"#, "element 0: 1e39"),
        (r#"{"instances":[{"other":1}]}"#, "'other' is not known"),
    ] {
        let failed = refused(r#"{"v1":{}}"#, "m:predict", body).refused;
        let failed = failed.expect(body);
        assert_eq!(failed.kind, FailureKind::InvalidArgument, "{body}");
        assert!(failed.message.contains(words), "{body}: {}", failed.message);
    }
    let small = r#"{"v1":{"max-body":20}}"#;
    let failed = refused(small, "m:predict", r#"{"instances":[1,2,3]}"#).refused;
    assert_eq!(failed.unwrap().kind, FailureKind::PayloadTooLarge);
}

#[test]
fn what_stands_behind_the_colon_is_predict() {
    for (model, kind) in [
        ("m:explain", FailureKind::Unsupported),
        ("m:classify", FailureKind::NotFound),
        ("m:", FailureKind::NotFound),
        ("m", FailureKind::NotFound),
        (":predict", FailureKind::NotFound),
        ("..:predict", FailureKind::NotFound),
    ] {
        let outcome = refused(r#"{"v1":{}}"#, model, r#"{"instances":[1]}"#);
        assert_eq!(outcome.refused.expect(model).kind, kind, "{model}");
        assert!(outcome.intents.is_empty());
    }
    let outcome = refused(r#"{"v1":{}}"#, "a:b:predict", r#"{"instances":[1]}"#);
    assert_eq!(outcome.intents[0].model.as_deref(), Some("a:b"));
}

#[test]
fn the_doors_are_there_by_option_only_and_speak_their_own_words() {
    let paths = |options: &str| -> Vec<String> {
        let claims = plugin(options).1.into_iter();
        let rest = claims.filter_map(|claim| match claim.surface {
            tollgate_sdk_protocol::plugin::Surface::Rest(rest) => {
                Some(format!("{} {}", rest.method, rest.path))
            }
            _ => None,
        });
        rest.filter(|path| path.contains("/v1/")).collect()
    };
    assert!(paths("").is_empty());
    assert_eq!(paths(r#"{"v1":{}}"#), [V1_PREDICT]);
    assert_eq!(paths(r#"{"server":"ovms","v1":{}}"#), [V1_PREDICT]);
    assert!(paths(r#"{"v1":{"clients":false}}"#).is_empty());
    let ready = paths(r#"{"v1":{"readiness":true}}"#);
    assert_eq!(ready, [V1_PREDICT, "GET /v1/models/{model}"]);
    for server in ["triton", "modelmesh"] {
        let options = json!({"server": server, "v1": {}}).to_string();
        let (_, claims) = plugin(&options);
        let errors = &claims.last().unwrap().errors;
        let found = errors.iter().find(|it| it.label == "not-found").unwrap();
        assert_eq!(found.status, Some(404));
        assert_eq!(found.body, r#"{"error":"{message}"}"#);
    }
}

#[test]
fn a_model_is_ready_or_not() {
    let options = r#"{"v1":{"readiness":true}}"#;
    let (plugin, claims) = plugin(options);
    let head = head(
        &claims,
        "GET /v1/models/{model}",
        &[("model", "m")],
        Vec::new(),
    );
    for (is, status, body) in [
        (true, 200, r#"{"name":"m","ready":true}"#),
        (false, 503, r#"{"error":"Model with name m is not ready."}"#),
    ] {
        let client = Client {
            events: vec![Event::Ready(is), Event::End],
            ..Client::rest(Vec::new(), translate("served"))
        };
        let told = client.play(plugin.exchange(context(), head.clone()), Pace::Whole);
        assert_eq!(told.intents[0].task, TaskKind::ModelReady);
        assert_eq!(told.head.unwrap().status, status);
        assert_eq!(told.body, body.as_bytes());
    }
}

#[test]
fn two_of_the_first_version_pass() {
    let (plugin, claims) = plugin(r#"{"v1":{}}"#);
    let head = head(&claims, V1_PREDICT, &[("model", "m:predict")], Vec::new());
    // What no tensor is made of may pass too.
    let body = r#"{"instances":[{"what":[1,[2]]}],"signature_name":"own"}"#;
    // A name that was written in other letters, and a query, say nothing to the worker.
    let head = RequestHead {
        path: "/v1/models/%6d%3apredict".to_owned(),
        query: "model=another".to_owned(),
        ..head
    };
    for (served, path) in [
        ("org/b", "/v1/models/org%2Fb:predict"),
        ("m", "/v1/models/m:predict"),
    ] {
        let client = Client {
            upstream: Some(tollgate_sdk_protocol::testing::Upstream::rest(
                200,
                "application/json",
                r#"{"predictions":[1]}"#,
            )),
            ..Client::rest(body.as_bytes().to_vec(), pass(served, "kserve-v1", ""))
        };
        let told = client.play(plugin.exchange(context(), head.clone()), Pace::Whole);
        assert!(told.refused.is_none(), "{:?}", told.refused);
        assert_eq!(told.passed[0].body, body.as_bytes());
        assert_eq!(told.passed[0].path.as_deref(), Some(path));
        assert_eq!(told.passed[0].query.as_deref(), Some(""));
    }
}

const STATION: &str = r#"{"v1":{"outputs":[{"name":"y","datatype":"FP32"}]}}"#;

fn asked_v1(options: &str, request: &Value, answer: Answer) -> Played {
    Play {
        options: r#"{"v1":{}}"#,
        door: REST_INFER,
        headers: Vec::new(),
        request: request.to_string().into_bytes(),
        grpc: false,
        worker: station("kserve-v1", options),
        answer,
    }
    .run(Pace::Whole)
}

fn predictions(body: &str) -> Answer {
    Answer::rest(200, "application/json", body)
}

#[test]
fn tensors_are_asked_of_a_worker_of_the_first_version() {
    let one = json!({"id": "7", "inputs": [
        {"name": "x", "datatype": "INT64", "shape": [1, 2], "data": [9007199254740993_i64, 2]},
    ]});
    let played = asked_v1(STATION, &one, predictions(r#"{"predictions":[[0.5,1]]}"#));
    let request = played.worker.unwrap().request.unwrap();
    let Surface::Rest(surface) = &request.surface else {
        panic!("{:?}", request.surface);
    };
    assert_eq!(
        (&*surface.method, &*surface.path),
        ("POST", "/v1/models/served:predict")
    );
    assert_eq!(request.body, br#"{"instances":[[9007199254740993,2]]}"#);
    let told: Value = serde_json::from_slice(&played.told.body).unwrap();
    assert_eq!(told["id"], "7");
    assert_eq!(told["model_name"], "named");
    let expected = json!([{"name": "y", "datatype": "FP32", "shape": [1, 2], "data": [0.5, 1.0]}]);
    assert_eq!(told["outputs"], expected);

    let two = json!({"parameters": {"signature_name": "own"}, "inputs": [
        {"name": "a", "datatype": "BYTES", "shape": [2], "data": ["x", "y"]},
        {"name": "b", "datatype": "BOOL", "shape": [2, 1], "data": [true, false]},
    ]});
    let several = r#"{"v1":{"columns":true,"outputs":[
        {"name":"y","datatype":"BYTES"},{"name":"z","datatype":"UINT64"}]}}"#;
    let outputs = r#"{"outputs":{"z":18446744073709551615,"y":["t"]}}"#;
    let played = asked_v1(several, &two, predictions(outputs));
    let request = played.worker.unwrap().request.unwrap();
    let expected = r#"{"signature_name":"own","inputs":{"a":["x","y"],"b":[[true],[false]]}}"#;
    assert_eq!(String::from_utf8(request.body).unwrap(), expected);
    let told: Value = serde_json::from_slice(&played.told.body).unwrap();
    assert_eq!(told["outputs"][0]["data"], json!(["t"]));
    assert_eq!(told["outputs"][1]["data"], json!([u64::MAX]));
    assert_eq!(told["outputs"][1]["shape"], json!([]));

    let rows = asked_v1(STATION, &two, predictions(r#"{"predictions":[1]}"#));
    let request = rows.worker.unwrap().request.unwrap();
    let expected = r#"[{"a":"x","b":[true]},{"a":"y","b":[false]}]"#;
    let body = String::from_utf8(request.body).unwrap();
    assert!(
        body.ends_with(&format!("\"instances\":{expected}}}")),
        "{body}"
    );
}

#[test]
fn raw_tensors_are_waited_for() {
    let raw: Vec<u8> = (0..4_i32).flat_map(|it| it.to_le_bytes()).collect();
    let request = Request {
        model_name: "named".to_owned(),
        inputs: vec![tensor("x", "INT32", &[2, 2])],
        raw_input_contents: vec![raw],
        ..Request::default()
    };
    let play = Play {
        options: r#"{"v1":{"clients":false}}"#,
        door: "ModelInfer",
        headers: Vec::new(),
        request: request.encode_to_vec(),
        grpc: true,
        worker: station("kserve-v1", STATION),
        answer: predictions(r#"{"predictions":[1.5]}"#),
    };
    let (asked, told) = same_at_every_pace(request.encoded_len(), |pace| {
        let played = play.run(pace);
        let asked = played.worker.and_then(|it| it.request).map(|it| it.body);
        (asked, played.told.messages)
    });
    assert_eq!(asked.unwrap(), br#"{"instances":[[0,1],[2,3]]}"#);
    let told = Response::decode(told[0].as_slice()).unwrap();
    assert_eq!(told.raw_output_contents, [1.5_f32.to_le_bytes()]);
}

#[test]
fn what_a_worker_of_the_first_version_cannot_take_or_say_is_an_error() {
    let asked = |more: Value| {
        let mut body = json!({"inputs": [
            {"name": "x", "datatype": "INT8", "shape": [1], "data": [1]},
        ]});
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        body
    };
    let good = || predictions(r#"{"predictions":[1]}"#);
    for (more, words) in [
        (json!({"parameters": {"priority": 1}}), "'priority'"),
        (json!({"outputs": [{"name": "other"}]}), "'other'"),
        (
            json!({"outputs": [{"name": "y", "parameters": {"classification": 2}}]}),
            "'y'",
        ),
        (
            json!({"inputs": [{"name": "x", "datatype": "INT8", "shape": [], "data": [1]}]}),
            "no rows",
        ),
    ] {
        let failed = asked_v1(STATION, &asked(more), good())
            .told
            .refused
            .unwrap();
        assert_eq!(failed.kind, FailureKind::InvalidArgument);
        assert!(failed.message.contains(words), "{}", failed.message);
    }
    for body in [
        "",
        "[]",
        "{}",
        r#"{"predictions":[1}"#,
        r#"{"predictions":[1],"outputs":[1]}"#,
    ] {
        let failed = asked_v1(STATION, &asked(json!({})), predictions(body))
            .told
            .refused;
        assert_eq!(
            failed.expect(body).kind,
            FailureKind::UpstreamInvalid,
            "{body}"
        );
    }
    // What the model made of these inputs is not its server's fault: it is not judged by that.
    let long = format!("{{\"predictions\":[{}1]}}", "1,".repeat(1 << 20));
    for (body, words) in [
        (r#"{"predictions":null}"#, "must be a list"),
        (r#"{"predictions":[null]}"#, "'y': element 0: null"),
        (r#"{"predictions":[NaN]}"#, "NaN"),
        (r#"{"predictions":[1,-Infinity]}"#, "Infinity"),
        (r#"{"predictions":["a"]}"#, "'y': element 0: a string"),
        (
            r#"{"predictions":[[1],[2,3]]}"#,
            "'y': its lists are ragged",
        ),
        (r#"{"predictions":[{"z":1}]}"#, "'z' is not known"),
        (&long, "more than 2097152 bytes"),
    ] {
        let failed = asked_v1(STATION, &asked(json!({})), predictions(body))
            .told
            .refused
            .expect(words);
        assert_eq!(failed.kind, FailureKind::Unprocessable, "{words}");
        assert!(failed.message.contains(words), "{}", failed.message);
    }
    let missing = Answer::rest(404, "application/json", r#"{"error":"no such model"}"#);
    let failed = asked_v1(STATION, &asked(json!({})), missing)
        .told
        .refused
        .unwrap();
    assert_eq!(failed.kind, FailureKind::NotFound);
    assert_eq!(failed.message, "no such model");
}

/// Names and datatypes do not stand in a body of the first version: what its options say of the
/// model is what they are compared with.
#[test]
fn inputs_are_those_of_the_worker_s_model() {
    let asked = |inputs: &[(&str, &str)]| {
        let input = |(name, datatype): &(&str, &str)| json!({"name": name, "datatype": datatype, "shape": [1], "data": [1]});
        let inputs: Vec<Value> = inputs.iter().map(input).collect();
        json!({ "inputs": inputs })
    };
    let played = |inputs: &str, request: Value| {
        let options = format!(
            r#"{{"v1":{{"inputs":[{inputs}],"outputs":[{{"name":"y","datatype":"FP32"}}]}}}}"#
        );
        asked_v1(&options, &request, predictions(r#"{"predictions":[1]}"#))
    };
    let one = r#"{"name":"a","datatype":"INT8"}"#;
    let two = r#"{"name":"a","datatype":"INT8"},{"name":"b","datatype":"INT8"}"#;
    for (inputs, request, words) in [
        (one, asked(&[("b", "INT8")]), "no input 'b'; it has 'a'"),
        (
            one,
            asked(&[("a", "INT64")]),
            "'a' is of INT64, and the model's of INT8",
        ),
        (
            "",
            asked(&[("a", "INT8"), ("a", "INT8")]),
            "'a': another one has the same name",
        ),
        (
            two,
            asked(&[("a", "INT8"), ("c", "INT8")]),
            "no input 'c'; it has 'a', 'b'",
        ),
    ] {
        let failed = played(inputs, request).told.refused.expect(words);
        assert_eq!(failed.kind, FailureKind::InvalidArgument);
        assert!(failed.message.contains(words), "{}", failed.message);
    }
    for (inputs, values) in [("", "[1]"), (one, "[1]"), (two, r#"[{"a":1}]"#)] {
        let request = played(inputs, asked(&[("a", "INT8")]))
            .worker
            .unwrap()
            .request;
        let body = String::from_utf8(request.unwrap().body).unwrap();
        assert_eq!(body, format!("{{\"instances\":{values}}}"));
    }
}

#[test]
fn what_a_worker_is_asked_is_bounded_as_json() {
    let names = ["a", "b"].map(|name| name.repeat(1 << 10));
    let column = |name: &str, shape: &[i64], count: usize| json!({"name": name, "datatype": "INT8", "shape": shape, "data": vec![1; count]});
    for (inputs, kind) in [
        (
            json!([
                column(&names[0], &[2000], 2000),
                column(&names[1], &[2000], 2000)
            ]),
            FailureKind::PayloadTooLarge,
        ),
        (
            json!([column("a", &[100_000, 0], 0)]),
            FailureKind::InvalidArgument,
        ),
    ] {
        let request = json!({ "inputs": inputs });
        let played = asked_v1(STATION, &request, predictions(r#"{"predictions":[1]}"#));
        assert_eq!(played.told.refused.unwrap().kind, kind);
    }
}

/// A body says nothing of datatypes: a client could not ask for another form.
#[test]
fn halves_before_a_worker_of_json_alone_are_an_error_that_says_what_to_change() {
    let played = Play {
        options: &one("FP16"),
        door: V1_PREDICT,
        headers: Vec::new(),
        request: br#"{"instances":[1]}"#.to_vec(),
        grpc: false,
        worker: station("kserve-rest", r#"{"binary":false}"#),
        answer: nothing(),
    };
    let failed = played.run(Pace::Whole).told.refused.expect("no answer");
    assert_eq!(failed.kind, FailureKind::InvalidArgument);
    let message = failed.message;
    assert!(message.contains("`v1.inputs`"), "{message}");
    assert!(!message.contains("binary data"), "{message}");
}

#[test]
fn a_worker_of_the_first_version_is_probed_by_its_models() {
    let (plugin, _) = plugin("");
    let worker = station("kserve-v1", STATION);
    let asked = plugin.probe(&worker);
    let Surface::Rest(surface) = &asked[0].surface else {
        panic!("{asked:?}");
    };
    assert_eq!((asked.len(), &*surface.path), (1, "/v1/models/served"));
    let judged = |status, body: &str| {
        let response = ProbeResponse {
            status,
            code: None,
            headers: Vec::new(),
            body: body.as_bytes().to_vec(),
        };
        plugin.judge(&worker, vec![response])
    };
    for body in [
        r#"{"name":"served","ready":true}"#,
        r#"{"model_version_status":[{"version":"1","state":"AVAILABLE"}]}"#,
    ] {
        let health = judged(200, body);
        assert!(health.ready, "{health:?}");
        assert!(health.models[0].ready);
        assert_eq!(health.models[0].outputs[0].name, "y");
    }
    assert!(!judged(503, r#"{"error":"not ready"}"#).ready);
    let python = station("kserve-v1", r#"{"server":"kserve-python"}"#);
    assert_eq!(plugin.probe(&python).len(), 2, "its list of models too");
}

#[test]
fn options_that_are_none_are_problems() {
    for v1 in [
        json!({"inputs": []}),
        json!({"inputs": [{"name": "", "datatype": "FP32"}]}),
        json!({"inputs": [{"name": "x", "datatype": "FLOAT"}]}),
        json!({"models": {"m": {"inputs": []}}}),
        json!({"inputs": [{"name": "x", "datatype": "FP32"}, {"name": "x", "datatype": "FP32"}]}),
        json!({"max-body": 0}),
        json!({"surprise": 1}),
    ] {
        let options = json!({ "v1": v1 }).to_string();
        let problems = tollgate_plugin_kserve::Kserve::configure(&options);
        assert_eq!(problems.err().map(|all| all.len()), Some(1), "{options}");
    }
}

/// A datatype, and texts of some of its values as they are written.
fn values() -> impl Strategy<Value = (&'static str, Vec<String>)> {
    fn some<T: std::fmt::Debug>(
        name: &'static str,
        one: impl Strategy<Value = T>,
        write: impl Fn(&T) -> String + Clone,
    ) -> impl Strategy<Value = (&'static str, Vec<String>)> {
        prop::collection::vec(one, 16).prop_map(move |all| (name, all.iter().map(&write).collect()))
    }
    fn json<T: serde::Serialize>(value: &T) -> String {
        serde_json::to_string(value).unwrap()
    }
    let bytes = prop::collection::vec(any::<u8>(), 0..5);
    prop_oneof![
        some("BOOL", any::<bool>(), json),
        some("INT8", any::<i8>(), json),
        some("UINT16", any::<u16>(), json),
        some("INT64", any::<i64>(), json),
        some("UINT64", any::<u64>(), json),
        some(
            "FP32",
            prop::num::f32::NORMAL | prop::num::f32::SUBNORMAL,
            json
        ),
        some(
            "FP64",
            prop::num::f64::NORMAL | prop::num::f64::SUBNORMAL,
            json
        ),
        some("BYTES", bytes, |raw: &Vec<u8>| {
            match std::str::from_utf8(raw) {
                Ok(text) => json(&text),
                Err(_) => {
                    use base64::{Engine, engine::general_purpose::STANDARD};
                    json!({"b64": STANDARD.encode(raw)}).to_string()
                }
            }
        }),
    ]
}

/// Values nested as a shape says, taken in turn.
fn nested(shape: &[usize], values: &mut impl Iterator<Item = String>) -> String {
    match shape.split_first() {
        None => values.next().unwrap(),
        Some((size, rest)) => {
            let items: Vec<String> = (0..*size).map(|_| nested(rest, values)).collect();
            format!("[{}]", items.join(","))
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// What goes in as values comes out as the same, of a worker that gives back its tensor.
    #[test]
    fn values_are_tensors_and_the_same_values_again(
        (datatype, values) in values(),
        shape in prop::collection::vec(1..4_usize, 1..5),
        empty in any::<bool>(),
        rows in any::<bool>(),
    ) {
        let mut shape = shape;
        if empty {
            shape.push(0);
        }
        let nested = nested(&shape, &mut values.iter().cycle().cloned());
        let member = if rows { "instances" } else { "inputs" };
        let body = format!("{{\"{member}\":{nested}}}");
        let options = one(datatype);
        let asked = sent(&predicted(&options, &body, nothing(), Pace::Whole));
        // Where a dimension has no size there is nothing within it.
        let expected: Vec<i64> = shape.iter().map(|size| *size as i64).collect();
        prop_assert_eq!(&asked.inputs[0].shape, &expected);
        let raw = asked.raw_input_contents[0].clone();
        let echo = answer(&[("y", datatype, &asked.inputs[0].shape, raw)]);
        let told = predicted(&options, &body, echo, Pace::Whole).told.body;
        prop_assert_eq!(String::from_utf8(told).unwrap(), format!("{{\"predictions\":{nested}}}"));
    }

    /// Whatever comes, from either side, it ends in an answer or a failure.
    #[test]
    fn nonsense_ends(text in "[\\[\\]{}\":,0-9a-z. -]{0,40}", raw in prop::collection::vec(any::<u8>(), 0..60)) {
        for body in [
            text.as_bytes().to_vec(),
            format!("{{\"instances\":{text}}}").into_bytes(),
            raw.clone(),
        ] {
            let body = String::from_utf8_lossy(&body).into_owned();
            let told = predicted(r#"{"v1":{}}"#, &body, nothing(), Pace::Whole).told;
            prop_assert!(told.refused.is_some() || told.finished);
            let asked = json!({"inputs": [
                {"name": "x", "datatype": "UINT8", "shape": [1], "data": [1]},
            ]});
            let told = asked_v1(STATION, &asked, predictions(&body)).told;
            prop_assert!(told.refused.is_some() || told.finished);
        }
    }
}
