//! A request for a worker of the client's own surface goes on as it came, but for the
//! model's name, and the tokens of its answer are counted.

mod support;

use serde_json::json;
use support::*;
use tollgate_sdk_protocol::{
    actions,
    frontend::ResponseMode,
    inference::Event,
    testing::{ClientOutcome, Ending, Upstream},
    types::Cut,
};

fn counted(outcome: &ClientOutcome) -> (Option<u64>, Option<u64>) {
    let [usage] = outcome.usage.as_slice() else {
        panic!("{:?}", outcome.usage)
    };
    (usage.usage.input_tokens, usage.usage.output_tokens)
}

const GENERATE: &str = "/api/v1/task/text-generation";
const STREAM: &str = "/api/v1/task/server-streaming-text-generation";

#[test]
fn the_models_name_is_replaced_where_it_stands() {
    for (sent, passed) in [
        (
            r#" { "inputs" : "a", "model_id" : "asked" , "parameters":{"x": [1.50]} }"#,
            r#" { "inputs" : "a", "model_id" : "served" , "parameters":{"x": [1.50]} }"#,
        ),
        (r#"{"inputs":"a"}"#, r#"{"model_id":"served","inputs":"a"}"#),
        (r#"{}"#, r#"{"model_id":"served"}"#),
        (
            r#"{"mod\u0065l_id":"asked","inputs":""}"#,
            r#"{"mod\u0065l_id":"served","inputs":""}"#,
        ),
        (r#"{"model_id":"served"}"#, r#"{"model_id":"served"}"#),
        (r#"{"model_id":""}"#, r#"{"model_id":"served"}"#),
        (
            r#"{"model_id": null,"inputs":"a"}"#,
            r#"{"model_id": "served","inputs":"a"}"#,
        ),
    ] {
        let ask = Ask {
            body: sent.as_bytes().to_vec(),
            ..Ask::rest(GENERATE, &json!({}))
        };
        let answer = r#"{"generated_text": "b", "generated_tokens": 3, "finish_reason": "EOS_TOKEN", "input_token_count": 2}"#;
        let outcome = ask.passed(Upstream::rest(200, "application/json", answer));
        let request = &outcome.passed[0];
        assert_eq!(String::from_utf8_lossy(&request.body), passed);
        assert_eq!(request.response, ResponseMode::Tap);
        assert_eq!(outcome.text(), answer);
        assert_eq!(counted(&outcome), (Some(2), Some(3)));
        assert!(outcome.finished);
    }
}

#[test]
fn metadata_names_the_model_of_a_message() {
    let ask = Ask::grpc("TextGenerationTaskPredict", &json!({"text": "a"}));
    let (_, output) = method(NLP, "TextGenerationTaskPredict");
    let answer = encode(
        &output,
        &json!({"generatedText": "b", "generatedTokens": "3", "inputTokenCount": "2"}),
    );
    let outcome = ask.passed(upstream_grpc(vec![answer.clone()]));
    let request = &outcome.passed[0];
    assert_eq!(request.body, ask.body);
    assert_eq!(
        request.set_headers,
        [actions::header("mm-model-id", SERVED)]
    );
    assert_eq!(outcome.messages, [answer]);
    assert_eq!(counted(&outcome), (Some(2), Some(3)));
}

#[test]
fn tokens_of_every_task_are_counted() {
    let message = |name: &'static str, json: serde_json::Value| {
        let answer = encode(&method(NLP, name).1, &json);
        let outcome = Ask::grpc(name, &json!({})).passed(upstream_grpc(vec![answer]));
        counted(&outcome)
    };
    let vectors = json!({"results": {"vectors": [{"dataNpfloat32sequence": {"values": [1.0]}}]},
                         "inputTokenCount": "6"});
    assert_eq!(message("EmbeddingTasksPredict", vectors), (Some(6), None));
    let tokens = json!({"results": [{"text": "a"}], "tokenCount": "9"});
    assert_eq!(message("TokenizationTaskPredict", tokens), (Some(9), None));
    let body = |task: &'static str, json: serde_json::Value| {
        let ask = Ask::rest(task, &json!({"model_id": "m"}));
        counted(&ask.passed(Upstream::rest(200, "application/json", json.to_string())))
    };
    let scores = json!({"result": {"scores": [1.0]}, "input_token_count": 4});
    let similarity = "/api/v1/task/sentence-similarity";
    assert_eq!(body(similarity, scores), (Some(4), None));
    let tokens = json!({"results": null, "token_count": 9});
    assert_eq!(body("/api/v1/task/tokenization", tokens), (Some(9), None));
}

#[test]
fn a_stream_is_counted_as_it_goes_through() {
    let piece = |input: u32, output: u32| {
        json!({"generated_text": "ü", "details": {"finish_reason": "NOT_FINISHED",
               "generated_tokens": output, "input_token_count": input}})
    };
    let text = format!(
        ": ping\r\n\r\n{}",
        sse(&[
            ("message", piece(4, 0)),
            ("message", piece(0, 2)),
            ("message", piece(0, 3)),
        ])
    );
    let ask = Ask::rest(STREAM, &json!({"model_id": "m", "inputs": "a"}));
    let outcome = ask.passed(Upstream::rest(200, "text/event-stream", text.clone()));
    assert!(outcome.intents[0].streaming);
    assert_eq!(outcome.text(), text);
    assert_eq!(counted(&outcome), (Some(4), Some(3)));

    let ask = Ask::grpc("ServerStreamingTextGenerationTaskPredict", &json!({}));
    let (_, output) = method(NLP, "ServerStreamingTextGenerationTaskPredict");
    let messages = [
        json!({"details": {"inputTokenCount": "4"}}),
        json!({"generatedText": "a", "details": {"generatedTokens": 3}}),
    ];
    let messages = messages.iter().map(|json| encode(&output, json)).collect();
    assert_eq!(
        counted(&ask.passed(upstream_grpc(messages))),
        (Some(4), Some(3))
    );
}

#[test]
fn what_is_no_answer_is_passed_and_counts_nothing() {
    let ask = Ask::rest(GENERATE, &json!({"model_id": "m", "inputs": ""}));
    for (status, text) in [
        (
            404,
            r#"{"details": "Model m not found", "generated_tokens": 9}"#,
        ),
        (200, "[1]"),
        (200, ""),
    ] {
        let outcome = ask.passed(Upstream::rest(status, "", text));
        assert_eq!(outcome.text(), text);
        assert!(outcome.usage.is_empty() && outcome.finished);
    }
    let cut = Upstream {
        end: Err(Ending::Cut(Cut::Closed)),
        ..Upstream::rest(200, "application/json", r#"{"generated"#)
    };
    let outcome = ask.passed(cut);
    assert!(outcome.usage.is_empty() && outcome.finished && outcome.refused.is_none());
}

#[test]
fn usage_need_not_be_counted() {
    let ask = Ask {
        options: r#"{"count-usage": false}"#.to_owned(),
        ..Ask::rest(GENERATE, &json!({"model_id": "m", "inputs": "a"}))
    };
    let outcome = ask.passed(Upstream::rest(200, "application/json", "{}"));
    assert_eq!(outcome.passed[0].response, ResponseMode::Blind);
}

#[test]
fn the_work_is_guessed() {
    let ask = Ask::rest(
        GENERATE,
        &json!({"model_id": "asked", "inputs": "x".repeat(398), "parameters": {"max_new_tokens": 7}}),
    );
    let intent = &ask.told(vec![Event::End]).intents[0];
    assert_eq!((intent.cost.input, intent.cost.output), (100, 7));
    assert_eq!(intent.model.as_deref(), Some("asked"));
    let ask = Ask::rest(GENERATE, &json!({"inputs": "x"}));
    let intent = &ask.told(vec![Event::End]).intents[0];
    assert_eq!((intent.model.as_deref(), intent.cost.output), (None, 20));
    for (message, counted) in [
        (json!({"text": "a"}), 20),
        (json!({"text": "a", "maxNewTokens": "5000"}), 5000),
        (json!({"text": "a", "maxNewTokens": "5000000000"}), u32::MAX),
        (json!({"text": "a", "maxNewTokens": "-1"}), 20),
    ] {
        let ask = Ask::grpc("TextGenerationTaskPredict", &message);
        let intent = &ask.told(vec![Event::End]).intents[0];
        assert_eq!(intent.cost.output, counted, "{message}");
    }
    for (given, counted) in [
        (json!(null), 20),
        (json!(0), 20),
        (json!("5000"), 5000),
        (json!(5e3), 5000),
        (json!(u64::MAX), u32::MAX),
        (json!([]), u32::MAX),
    ] {
        let parameters = json!({"max_new_tokens": given});
        let ask = Ask::rest(GENERATE, &json!({"inputs": "x", "parameters": parameters}));
        let intent = &ask.told(vec![Event::End]).intents[0];
        assert_eq!(intent.cost.output, counted, "{given}");
    }
}
