//! Chat over a worker that only generates, by the model's template.

use serde_json::{Value, json};
use tollgate_tests::{
    Proxy,
    client::{Request, http1, sse},
    fake::grpc as g,
    fmaas, scene,
};

use crate::{setup, worker};

/// In the form of ChatML, with a word for a conversation that it does not like.
const TEMPLATE: &str = "{% for message in messages %}
{% if message['role'] == 'critic' %}
{{ raise_exception('Nobody likes a \"critic\".') }}
{% endif %}
{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}
{%- endfor %}
{% if add_generation_prompt %}
{{ '<|im_start|>assistant\\n' }}
{%- endif %}";
const PROMPT: &str = "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nWhat is a toll?<|im_end|>\n\
                      <|im_start|>assistant\n";

/// A proxy over a worker of TGIS, with the template in a file beside the configuration.
async fn over(tgis: &g::Worker) -> Proxy {
    let line = worker("w0", "tgis", tgis.address, "generate", "");
    setup(
        &[line],
        "",
        "models: { m: { template: { file: chat.jinja }, stop: [\"<|im_end|>\"] } }",
    )
    .file("chat.jinja", TEMPLATE)
    .start()
    .await
}

fn asked(stream: bool) -> Request {
    let body = json!({
        "model": "m", "max_tokens": 8, "temperature": 0, "stream": stream,
        "stream_options": if stream { json!({"include_usage": true}) } else { Value::Null },
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "What is a toll?"}
        ]
    });
    Request::post("/v1/chat/completions", &body)
}

#[tokio::test]
async fn a_chat_over_tgis() {
    let tgis = g::Worker::start(|received| {
        let asked: fmaas::BatchedGenerationRequest = received.message();
        assert_eq!(asked.requests[0].text, PROMPT);
        let stopping = asked
            .params
            .and_then(|params| params.stopping)
            .expect("they are written");
        assert_eq!(stopping.max_new_tokens, 8);
        assert_eq!(stopping.stop_sequences, ["<|im_end|>"]);
        let mut answer = scene::generated(&["A fee."]);
        answer.responses[0].set_stop_reason(fmaas::StopReason::StopSequence);
        answer.responses[0].stop_sequence = "<|im_end|>".into();
        g::answer(&answer)
    })
    .await;
    let proxy = over(&tgis).await;
    let got = http1::ask(proxy.http(), &asked(false))
        .await
        .with_status(200)
        .json();
    let choice = &got["choices"][0];
    assert_eq!(got["object"], "chat.completion");
    assert_eq!(choice["message"]["role"], "assistant");
    assert_eq!(choice["message"]["content"], "A fee.");
    assert_eq!(
        (&choice["finish_reason"], &choice["stop_reason"]),
        (&json!("stop"), &Value::Null)
    );
    let usage = &got["usage"];
    let counts = ["prompt_tokens", "completion_tokens", "total_tokens"];
    assert_eq!(counts.map(|name| usage[name].as_u64().unwrap()), [2, 3, 5]);
}

#[tokio::test]
async fn a_streamed_chat_over_tgis() {
    let tgis = g::Worker::start(|received| {
        let asked: fmaas::SingleGenerationRequest = received.message();
        assert_eq!(asked.request.expect("a prompt").text, PROMPT);
        vec![
            g::Act::Head,
            g::send(&scene::first()),
            g::send(&scene::piece("A ", 1, false)),
            g::Act::Hold,
            g::send(&scene::piece("fee.", 3, true)),
            g::Act::Status(0, ""),
        ]
    })
    .await;
    let proxy = over(&tgis).await;
    let mut connection = http1::Connection::open(proxy.http()).await;
    connection.send(&asked(true)).await;
    assert_eq!(http1::status_of(&connection.head().await), 200);
    let mut body = Vec::new();
    let mut released = false;
    // What has come goes on while the worker still holds.
    while let Ok(piece) = connection.piece().await {
        body.extend_from_slice(&piece);
        if !released && String::from_utf8_lossy(&body).contains("A ") {
            released = true;
            tgis.release();
        }
    }
    assert!(released);
    let (chunks, done) = sse::json(&String::from_utf8_lossy(&body));
    assert!(done);
    assert_eq!(chunks[0]["choices"][0]["delta"]["role"], "assistant");
    let text: String = chunks
        .iter()
        .filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str())
        .collect();
    assert_eq!(text, "A fee.");
    assert_eq!(chunks.last().unwrap()["usage"]["total_tokens"], 5);
    let reason = chunks
        .iter()
        .find_map(|chunk| chunk["choices"][0]["finish_reason"].as_str());
    assert_eq!(reason, Some("length"));
}

#[tokio::test]
async fn what_the_template_raises_is_the_clients_to_read() {
    let tgis = g::Worker::start(|_| panic!("nobody asks")).await;
    let proxy = over(&tgis).await;
    let ask = async |body: Value| {
        http1::ask(proxy.http(), &Request::post("/v1/chat/completions", &body)).await
    };
    let messages = |role: &str| json!([{"role": role, "content": "Hm"}]);
    let got = ask(json!({"model": "m", "messages": messages("critic")}))
        .await
        .with_status(400)
        .json();
    assert_eq!(got["error"]["message"], "Nobody likes a \"critic\".");
    assert_eq!(got["error"]["code"], 400);
    let stream = json!({"model": "m", "stream": true, "messages": messages("critic")});
    ask(stream).await.with_status(400);
    for (name, value) in [
        (
            "tools",
            json!([{"type": "function", "function": {"name": "f", "parameters": {}}}]),
        ),
        ("chat_template", json!("{{ messages }}")),
    ] {
        let mut body = json!({"model": "m", "messages": messages("user")});
        body[name] = value;
        let got = ask(body).await.with_status(400).json();
        assert!(
            got["error"]["message"].as_str().unwrap().contains(name),
            "{got}"
        );
    }
    assert_eq!(tgis.journal.requests(), 0);
}

#[tokio::test]
async fn without_a_template_it_is_said_what_to_configure() {
    let tgis = g::Worker::start(|_| panic!("nobody asks")).await;
    let line = worker("w0", "tgis", tgis.address, "generate", "");
    let proxy = setup(&[line], "", "").start().await;
    let got = http1::ask(proxy.http(), &asked(false))
        .await
        .with_status(501)
        .json();
    let message = got["error"]["message"].as_str().expect("a message");
    assert!(message.contains("models.m.template"), "{message}");
}

#[tokio::test]
async fn a_template_that_is_none_is_refused_at_start() {
    let tgis = g::Worker::start(|_| panic!("nobody asks")).await;
    let line = || worker("w0", "tgis", tgis.address, "generate", "");
    let models = "models: { m: { template: { file: chat.jinja } } }";
    let log = setup(&[line()], "", models).refused().await;
    assert!(log.contains("chat.jinja"), "{log}");
    let log = setup(&[line()], "", models)
        .file("chat.jinja", "{% if %}")
        .refused()
        .await;
    assert!(log.contains("/models/m/template"), "{log}");
}

#[tokio::test]
async fn a_changed_template_comes_into_force_and_a_broken_one_does_not() {
    let tgis = g::Worker::start(|_| g::answer(&scene::generated(&["A fee."]))).await;
    let proxy = over(&tgis).await;
    let prompt = async |number: usize| {
        http1::ask(proxy.http(), &asked(false))
            .await
            .with_status(200);
        let body = tgis.journal.body(number).await;
        let asked: fmaas::BatchedGenerationRequest = g::message(&body);
        asked.requests[0].text.clone()
    };
    assert_eq!(prompt(0).await, PROMPT);
    proxy.rewrite("chat.jinja", "Now: {{ messages[0].content }}");
    proxy.hangup();
    proxy
        .logged(|line| line.contains("a new generation is in force"))
        .await;
    assert_eq!(prompt(1).await, "Now: Be brief.");
    proxy.rewrite("chat.jinja", "{% if %}");
    proxy.hangup();
    proxy
        .logged(|line| line.contains("the generation in force stays"))
        .await;
    assert_eq!(prompt(2).await, "Now: Be brief.");
}
