//! `ModelStreamInfer`, generations and what the house answers.

mod support;

use prost::Message;
use serde_json::{Value, json};
use support::{
    Play, REST_INFER, Request, Response, StreamResponse, head, pass, plugin, station, tensor,
    translate,
};
use tollgate_sdk_protocol::{
    Protocol, actions,
    backend::Surface,
    failure,
    frontend::{ResponseMode, Way},
    inference::{Event, FinishReason, Parameter, ParameterValue, Task, Tensors},
    testing::{Answer, Client, Pace, Upstream, Worker, context, same_at_every_pace},
    types::{Datatype, FailureKind},
};

fn request(id: &str) -> Vec<u8> {
    let request = Request {
        model_name: "named".to_owned(),
        id: id.to_owned(),
        inputs: vec![tensor("in", "UINT8", &[2])],
        raw_input_contents: vec![vec![1, 2]],
        ..Request::default()
    };
    request.encode_to_vec()
}

fn told(id: &str, byte: u8, last: bool) -> Event {
    Event::Tensors(Tensors {
        model: "served".to_owned(),
        version: None,
        id: id.to_owned(),
        outputs: vec![tollgate_sdk_protocol::inference::Tensor {
            name: "out".to_owned(),
            datatype: Datatype::Uint8,
            shape: vec![1],
            data: tollgate_sdk_protocol::inference::TensorData::Inline(vec![byte]),
            parameters: Vec::new(),
        }],
        parameters: Vec::new(),
        last,
    })
}

fn stream(events: Vec<Event>, headers: &[(&str, &str)]) -> Client {
    let _ = headers;
    Client {
        events,
        ..Client::grpc(vec![request("a"), request("b")], translate("served"))
    }
}

fn play_stream(
    client: &Client,
    headers: &[(&str, &str)],
    pace: Pace,
) -> (Vec<StreamResponse>, Option<u32>) {
    let (plugin, claims) = plugin("");
    let headers = headers
        .iter()
        .map(|(name, value)| actions::header(name, *value));
    let head = head(&claims, "ModelStreamInfer", &[], headers.collect());
    let outcome = client.play(plugin.exchange(context(), head), pace);
    assert!(outcome.intents.iter().all(|intent| intent.streaming));
    let responses = outcome.messages.iter();
    let responses = responses.map(|raw| StreamResponse::decode(raw.as_slice()).unwrap());
    (responses.collect(), outcome.trailers.and_then(|it| it.code))
}

#[test]
fn every_request_has_its_answers() {
    let events = vec![told("x", 1, false), told("x", 2, false), Event::End];
    let client = stream(events, &[]);
    let (responses, code) = same_at_every_pace(40, |pace| play_stream(&client, &[], pace));
    assert_eq!(code, Some(0));
    let raw: Vec<u8> = responses
        .iter()
        .map(|it| it.infer_response.as_ref().unwrap().raw_output_contents[0][0])
        .collect();
    assert_eq!(raw, [1, 2, 1, 2]);
    let inner = responses[0].infer_response.as_ref().unwrap();
    assert_eq!(inner.model_name, "named");
}

#[test]
fn a_failure_is_told_in_the_stream_or_ends_it() {
    let failed = failure::of(FailureKind::NotFound, "no such thing");
    let client = stream(vec![Event::Failed(failed)], &[]);
    let (responses, code) = play_stream(&client, &[], Pace::Whole);
    assert_eq!((responses.len(), code), (2, Some(0)));
    assert_eq!(responses[0].error_message, "no such thing");
    assert_eq!(responses[1].infer_response.as_ref().unwrap().id, "b");
    let (responses, code) = play_stream(&client, &[("triton_grpc_error", "true")], Pace::Whole);
    assert_eq!((responses.len(), code), (0, Some(5)));
}

#[test]
fn a_message_that_cannot_be_read_fails_alone() {
    let mut client = stream(vec![told("x", 1, true), Event::End], &[]);
    client.request.insert(1, vec![0x0b]);
    let (responses, code) = play_stream(&client, &[], Pace::Whole);
    assert_eq!(code, Some(0));
    let errors = responses.iter().filter(|it| !it.error_message.is_empty());
    assert_eq!(errors.count(), 1);
    assert_eq!(responses.len(), 3);
}

#[test]
fn workers_are_asked_for_streams_in_their_own_way() {
    let (plugin, claims) = plugin("");
    let head = head(&claims, "ModelStreamInfer", &[], Vec::new());
    let asked = Client::grpc(vec![request("a")], translate("served"))
        .play(plugin.exchange(context(), head), Pace::Whole);
    let call = asked.calls[0].1.clone();
    let response = Response {
        model_name: "served".to_owned(),
        outputs: vec![tensor("out", "UINT8", &[1])],
        raw_output_contents: vec![vec![9]],
        ..Response::default()
    };
    let wrapped = StreamResponse {
        infer_response: Some(response.clone()),
        ..StreamResponse::default()
    };
    let cases = [
        ("triton", wrapped.encode_to_vec(), "ModelStreamInfer"),
        ("mlserver", response.encode_to_vec(), "ModelStreamInfer"),
        ("kserve-python", response.encode_to_vec(), "ModelInfer"),
    ];
    for (server, message, method) in cases {
        let count = if method == "ModelInfer" { 1 } else { 2 };
        let worker = Worker {
            answer: Answer::grpc(vec![message; count], 0, None),
            sources: asked.sources.0.clone(),
        };
        let options = format!(r#"{{"server":"{server}"}}"#);
        let outcome = same_at_every_pace(30, |pace| {
            let station = station("kserve-grpc", &options);
            worker.play(plugin.attempt(context(), station, vec![call.clone()]), pace)
        });
        let surface = format!("inference.GRPCInferenceService/{method}");
        assert_eq!(
            outcome.request.as_ref().unwrap().surface,
            Surface::Grpc(surface)
        );
        let events = outcome.of(0);
        assert_eq!(events.len(), count + 1, "{server}");
        assert_eq!(events.last(), Some(&Event::End));
    }
    let failed = StreamResponse {
        error_message: "Request for unknown model: 'x' is not found".to_owned(),
        ..StreamResponse::default()
    };
    let worker = Worker {
        answer: Answer::grpc(vec![failed.encode_to_vec()], 0, None),
        sources: asked.sources.0.clone(),
    };
    let station = station("kserve-grpc", "");
    let outcome = worker.play(plugin.attempt(context(), station, vec![call]), Pace::Whole);
    let events = outcome.of(0);
    let [Event::Failed(failure)] = events.as_slice() else {
        panic!("{events:?}");
    };
    assert_eq!(failure.kind, FailureKind::NotFound);
}

const GENERATE: &str = "POST /v2/models/{model}/generate";
const GENERATE_STREAM: &str = "POST /v2/models/{model}/generate_stream";

fn generate(
    door: &'static str,
    request: Value,
    options: &'static str,
    answer: Answer,
) -> Play<'static> {
    let dialect = if answer.grpc {
        "kserve-grpc"
    } else {
        "kserve-rest"
    };
    Play {
        options: "",
        door,
        headers: Vec::new(),
        request: request.to_string().into_bytes(),
        grpc: false,
        worker: station(dialect, options),
        answer,
    }
}

fn sse(events: &[Value]) -> Answer {
    let body: String = events
        .iter()
        .map(|event| format!("data: {event}\n\n"))
        .collect();
    Answer::rest(200, "text/event-stream; charset=utf-8", body)
}

#[test]
fn a_generation_goes_through_neutral_words() {
    let answer = sse(&[
        json!({"text_output": " so", "num_input_tokens": 3, "num_output_tokens": 1}),
        json!({"text_output": " long", "finish_reason": "length", "num_output_tokens": 2}),
    ]);
    let asked = json!({
        "text_input": "Hi", "id": "7", "max_tokens": 5, "parameters": {"temperature": 0},
        "exclude_input_in_output": true, "return_finish_reason": true,
        "return_num_output_tokens": true,
    });
    let play = generate(GENERATE, asked, r#"{"generate":{}}"#, answer);
    let (sent, body) = same_at_every_pace(play.request.len(), |pace| {
        let played = play.run(pace);
        (played.worker.unwrap().request.unwrap(), played.told.body)
    });
    let sent: Value = serde_json::from_slice(&sent.body).unwrap();
    assert_eq!(sent["text_input"], "Hi");
    assert_eq!(sent["exclude_input_in_output"], true);
    let sampling: Value =
        serde_json::from_str(sent["sampling_parameters"].as_str().unwrap()).unwrap();
    assert_eq!(sampling, json!({"max_tokens": 5, "temperature": 0.0}));
    let told: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(
        told,
        json!({"id": "7", "model_name": "named", "model_version": "1",
            "text_output": " so long", "finish_reason": "length", "num_output_tokens": 3})
    );
}

#[test]
fn a_stream_of_generation_is_events() {
    let answer = sse(&[
        json!({"text_output": " so"}),
        json!({"text_output": " long"}),
    ]);
    let asked = json!({"text_input": "Hi", "stream": true});
    let play = generate(
        GENERATE_STREAM,
        asked,
        r#"{"generate":{"inputs":[]}}"#,
        answer,
    );
    let told = play.run(Pace::Single).told;
    let text = told.text();
    let texts: Vec<Value> = text
        .split("\n\n")
        .filter_map(|event| serde_json::from_str(event.strip_prefix("data: ")?).ok())
        .collect();
    assert_eq!(texts.len(), 2, "{text}");
    assert_eq!(texts[1]["text_output"], " long");
}

#[test]
fn without_being_told_not_to_the_prompt_comes_first() {
    let answer = sse(&[json!({"text_output": " there", "finish_reason": "stop"})]);
    let play = generate(
        GENERATE,
        json!({"text_input": "Hi"}),
        r#"{"generate":{}}"#,
        answer,
    );
    let told: Value = serde_json::from_slice(&play.run(Pace::Whole).told.body).unwrap();
    assert_eq!(told["text_output"], "Hi there");
}

#[test]
fn a_generation_over_grpc_is_tensors() {
    let mut output = tensor("text_output", "BYTES", &[1]);
    output.parameters.clear();
    let response = |text: &str| {
        let mut raw = (text.len() as u32).to_le_bytes().to_vec();
        raw.extend_from_slice(text.as_bytes());
        StreamResponse {
            infer_response: Some(Response {
                outputs: vec![output.clone()],
                raw_output_contents: vec![raw],
                ..Response::default()
            }),
            ..StreamResponse::default()
        }
        .encode_to_vec()
    };
    let answer = Answer::grpc(vec![response("a "), response("b")], 0, None);
    let asked = json!({"text_input": "Hi", "exclude_input_in_output": true, "max_tokens": 4});
    let options = r#"{"generate":{"inputs":["stream"]}}"#;
    let played = generate(GENERATE, asked, options, answer).run(Pace::Whole);
    let worker = played.worker.unwrap();
    let sent = Request::decode(worker.request.unwrap().body.as_slice()).unwrap();
    let names: Vec<_> = sent.inputs.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names, ["text_input", "stream"]);
    assert_eq!(sent.raw_input_contents, [b"\x02\0\0\0Hi".to_vec(), vec![0]]);
    assert_eq!(sent.parameters["max_tokens"].int64_param, Some(4));
    let finished = worker.events.iter().any(|it| {
        matches!(&it.event, Event::Finished(it) if it.reason == FinishReason::Other("unspecified".to_owned()))
    });
    assert!(finished, "a reason that was not told is not guessed");
    let told: Value = serde_json::from_slice(&played.told.body).unwrap();
    assert_eq!(told["text_output"], "a b");
}

#[test]
fn what_a_generation_cannot_be_is_refused_by_name() {
    let cases = [
        (json!({}), "text_input"),
        (json!({"text_input": "x", "stream": "yes"}), "stream"),
        (
            json!({"text_input": "x", "stream": true, "exclude_input_in_output": false}),
            "exclude_input_in_output",
        ),
        (
            json!({"text_input": "x", "sampling_parameters": "{"}),
            "sampling_parameters",
        ),
        (json!({"text_input": "x", "beam_width": 2}), "beam_width"),
        (json!({"text_input": "x", "n": 2}), "n"),
    ];
    for (asked, param) in cases {
        let play = generate(GENERATE, asked.clone(), r#"{"generate":{}}"#, sse(&[]));
        let told = play.run(Pace::Whole);
        let failed = |event: &Event| match event {
            Event::Failed(failure) => Some(failure.clone()),
            _ => None,
        };
        let failure = told
            .told
            .refused
            .or_else(|| told.worker.and_then(|it| it.of(0).iter().find_map(failed)));
        assert_eq!(failure.unwrap().param.as_deref(), Some(param), "{asked}");
    }
}

#[test]
fn a_request_of_the_same_dialect_is_passed_with_the_model_renamed() {
    let (plugin, claims) = plugin("");
    let body = br#"{"inputs":[{"name":"in","shape":[1],"datatype":"FP32","data":[1]}]}"#;
    let answer = br#"{"model_name":"served","model_version":"1","outputs":[]}"#;
    let outcome = same_at_every_pace(body.len(), |pace| {
        let head = head(&claims, REST_INFER, &[("model", "named")], Vec::new());
        let client = Client {
            streamed: true,
            upstream: Some(Upstream::rest(200, "application/json", answer.to_vec())),
            ..Client::rest(body.to_vec(), pass("ser ved", "kserve-rest", ""))
        };
        client.play(plugin.exchange(context(), head), pace)
    });
    assert_eq!(
        outcome.passed[0].path.as_deref(),
        Some("/v2/models/ser%20ved/infer")
    );
    assert_eq!(outcome.passed[0].body, body);
    assert_eq!(
        outcome.text(),
        r#"{"model_name":"named","model_version":"1","outputs":[]}"#
    );
}

#[test]
fn a_large_answer_is_passed_as_it_comes() {
    let (plugin, claims) = plugin("");
    let json = json!({"model_name": "served", "outputs": [
        {"name": "o", "datatype": "UINT8", "shape": [3000],
         "parameters": {"binary_data_size": 3000}},
    ]});
    let (body, length) = support::binary(&json, &[&[7; 3000]]);
    let mut upstream = Upstream::rest(200, "application/octet-stream", body.clone());
    let told = body.len().to_string();
    upstream.head.headers.extend([
        support::head_length(length),
        actions::header("content-length", told.as_str()),
    ]);
    let request = br#"{"inputs":[{"name":"in","shape":[1],"datatype":"FP32","data":[1]}]}"#;
    let outcome = same_at_every_pace(300, |pace| {
        let head = head(&claims, REST_INFER, &[("model", "the alias")], Vec::new());
        let client = Client {
            upstream: Some(upstream.clone()),
            ..Client::rest(request.to_vec(), pass("served", "kserve-rest", ""))
        };
        client.play(plugin.exchange(context(), head), pace)
    });
    let head = outcome.head.unwrap();
    let header = |name| {
        actions::header_value(&head.headers, name)
            .unwrap()
            .to_owned()
    };
    assert_eq!(
        header("inference-header-content-length"),
        (length + 3).to_string()
    );
    assert_eq!(header("content-length"), (body.len() + 3).to_string());
    assert_eq!(outcome.body.len(), body.len() + 3);
    assert_eq!(outcome.body[length + 3..], [7; 3000]);
}

#[test]
fn a_message_is_passed_with_the_model_renamed_both_ways() {
    let (plugin, claims) = plugin("");
    let response = Response {
        model_name: "served".to_owned(),
        raw_output_contents: vec![vec![7; 3000]],
        ..Response::default()
    };
    let mut upstream = Upstream::rest(200, "application/grpc", Vec::new());
    upstream.grpc = true;
    upstream.content = vec![response.encode_to_vec()];
    if let Ok(end) = &mut upstream.end {
        end.code = Some(0);
    }
    let outcome = same_at_every_pace(300, |pace| {
        let client = Client {
            upstream: Some(upstream.clone()),
            ..Client::grpc(vec![request("a")], pass("served", "kserve-grpc", ""))
        };
        let head = head(&claims, "ModelInfer", &[], Vec::new());
        client.play(plugin.exchange(context(), head), pace)
    });
    let sent = Request::decode(outcome.passed[0].body.as_slice()).unwrap();
    assert_eq!(
        (sent.model_name.as_str(), sent.id.as_str()),
        ("served", "a")
    );
    assert_eq!(outcome.passed[0].response, ResponseMode::Filter);
    let told = Response::decode(outcome.messages[0].as_slice()).unwrap();
    assert_eq!(
        told,
        Response {
            model_name: "named".to_owned(),
            ..response
        }
    );
}

#[test]
fn a_passed_stream_of_events_has_the_clients_name_of_the_model() {
    let (plugin, claims) = plugin("");
    let events = "data: {\"model_name\":\"served\",\"text_output\":\"a\"}\n\ndata: {\"text_output\":\"b\"}\n\n";
    let outcome = same_at_every_pace(events.len(), |pace| {
        let head = head(&claims, GENERATE_STREAM, &[("model", "named")], Vec::new());
        let client = Client {
            upstream: Some(Upstream::rest(200, "text/event-stream", events)),
            ..Client::rest(
                br#"{"text_input":"x"}"#.to_vec(),
                pass("served", "kserve-rest", ""),
            )
        };
        let outcome = client.play(plugin.exchange(context(), head), pace);
        outcome.text().to_owned()
    });
    assert_eq!(outcome, events.replace("served", "named"));
}

fn house(
    options: &str,
    door: &str,
    body: &[u8],
    grpc: bool,
    events: Vec<Event>,
) -> (Option<u16>, Vec<u8>) {
    let (plugin, claims) = plugin(options);
    let head = head(
        &claims,
        door,
        &[("model", "m"), ("version", "2")],
        Vec::new(),
    );
    let client = if grpc {
        Client::grpc(vec![body.to_vec()], translate("m"))
    } else {
        Client::rest(body.to_vec(), translate("m"))
    };
    let client = Client { events, ..client };
    let outcome = client.play(plugin.exchange(context(), head), Pace::Whole);
    let body = if grpc {
        outcome.messages.concat()
    } else {
        outcome.body
    };
    (outcome.head.map(|it| it.status), body)
}

#[test]
fn readiness_is_told_as_each_server_tells_it() {
    let ready = |is| vec![Event::Ready(is), Event::End];
    let get = |options: &str, is| {
        house(
            options,
            "GET /v2/models/{model}/ready",
            b"",
            false,
            ready(is),
        )
    };
    assert_eq!(get("", true), (Some(200), Vec::new()));
    assert_eq!(get("", false).0, Some(400));
    let kserve = r#"{"server":"kserve-python"}"#;
    assert_eq!(get(kserve, false).0, Some(503));
    let (_, body) = get(kserve, true);
    assert_eq!(
        serde_json::from_slice::<Value>(&body).unwrap(),
        json!({"name": "m", "ready": true})
    );
    let (_, live) = house("", "ServerLive", b"", true, ready(true));
    assert_eq!(live, [8, 1]);
    let (_, not) = house("", "ModelReady", b"\x0a\x01m", true, ready(false));
    assert_eq!(not, b"");
}

#[test]
fn a_version_is_ready_if_the_model_has_it() {
    let mut model = tollgate_sdk_protocol::inference::ModelInfo {
        name: "m".to_owned(),
        versions: vec!["2".to_owned()],
        max_length: None,
        max_new_tokens: None,
        parent: None,
        tasks: Vec::new(),
        ready: true,
        platform: String::new(),
        inputs: Vec::new(),
        outputs: Vec::new(),
        extensions: Vec::new(),
    };
    let door = "GET /v2/models/{model}/versions/{version}/ready";
    let (plugin, claims) = plugin("");
    let mut ask = |versions: &[&str]| {
        model.versions = versions.iter().map(|it| (*it).to_owned()).collect();
        let head = head(
            &claims,
            door,
            &[("model", "m"), ("version", "2")],
            Vec::new(),
        );
        let client = Client {
            events: vec![Event::Models(vec![model.clone()]), Event::End],
            ..Client::rest(Vec::new(), translate("m"))
        };
        client.play(plugin.exchange(context(), head), Pace::Whole)
    };
    assert_eq!(ask(&["1", "2"]).head.unwrap().status, 200);
    assert_eq!(ask(&["1"]).head.unwrap().status, 404);
}

#[test]
fn a_sequence_is_pinned_and_asked_in_order() {
    let (plugin, claims) = plugin("");
    let mut message = Request::decode(request("a").as_slice()).unwrap();
    let id = support::Parameter64 {
        int64_param: Some(9),
        string_param: None,
    };
    message.parameters.insert("sequence_id".to_owned(), id);
    let raw = message.encode_to_vec();
    let head = head(&claims, "ModelStreamInfer", &[], Vec::new());
    let client = Client {
        events: vec![told("a", 1, true), Event::End],
        ..Client::grpc(
            vec![raw.clone(), raw],
            Way::Translate(tollgate_sdk_protocol::frontend::TranslateTo {
                model: "served".to_owned(),
            }),
        )
    };
    let outcome = client.play(plugin.exchange(context(), head), Pace::Whole);
    assert_eq!(outcome.intents.len(), 2);
    assert!(outcome.intents.iter().all(|intent| !intent.repeatable));
    let Task::Infer(infer) = &outcome.calls[0].1.task else {
        panic!("an inference");
    };
    let sequence = Parameter {
        name: "sequence_id".to_owned(),
        value: ParameterValue::Int64(9),
    };
    assert_eq!(infer.parameters, [sequence]);
}
