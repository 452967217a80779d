//! What has no neutral form goes on to a worker of its own API as it came, or not at all.

use serde_json::{Value, json};
use tollgate_tests::{
    Proxy, Setup,
    client::{Request, Response, http1},
    fake::http1::{Act, Received, Worker, answer as text, json as answer},
    scene, tokens,
};

async fn ask(proxy: &Proxy, request: Request) -> Response {
    http1::ask(proxy.http(), &request).await
}

/// Keeps no responses, but says which one it was asked for, and who it is.
fn server(name: &'static str) -> impl Fn(&Received) -> Vec<Act> + Send + Sync {
    move |received| {
        let mut words = received.head.line.split(' ');
        let (method, path) = (words.next().unwrap(), words.next().unwrap());
        let body: Value = serde_json::from_slice(&received.body).unwrap_or(Value::Null);
        match (method, path) {
            ("POST", "/v1/responses") => vec![answer(
                200,
                &json!({"id": body["request_id"], "object": "response", "model": body["model"],
                    "by": name, "usage": {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}}),
            )],
            ("POST", "/v1/messages") => vec![answer(
                200,
                &json!({"type": "message", "model": body["model"],
                    "usage": {"input_tokens": 3, "output_tokens": 4}}),
            )],
            ("POST", "/v1/audio/transcriptions") => {
                let form = String::from_utf8_lossy(&received.body).into_owned();
                assert!(form.contains("name=\"model\"\r\n\r\nserved\r\n"), "{form}");
                assert!(form.contains("RIFF"), "{form}");
                vec![answer(200, &json!({"text": "hello"}))]
            }
            (_, path) if path.starts_with("/v1/responses/resp_") => {
                vec![answer(
                    200,
                    &json!({"id": path, "by": name, "method": method}),
                )]
            }
            _ => vec![text(404, "text/plain", "nowhere")],
        }
    }
}

#[tokio::test]
async fn what_is_asked_of_a_response_goes_where_it_is_kept() {
    let (one, two) = (
        Worker::start(server("one")).await,
        Worker::start(server("two")).await,
    );
    // Also where a worker merges calls, for which each call is looked at before it is queued.
    let workers = [
        scene::worker("w0", "openai", one.address, ", max-batch: 4"),
        scene::worker("w1", "openai", two.address, ""),
    ];
    let proxy = Proxy::start(&scene::workers(&workers, "")).await;
    let mut makers = Vec::new();
    for _ in 0..12 {
        let made = Request::post("/v1/responses", &json!({"model": "m", "input": "a"}));
        let made = ask(&proxy, made).await.with_status(200).json();
        assert_eq!(made["model"], "m", "the client's name for it");
        let id = made["id"].as_str().expect("an id").to_owned();
        for (request, method) in [
            (Request::get(&format!("/v1/responses/{id}")), "GET"),
            (
                Request::post_bytes(&format!("/v1/responses/{id}/cancel"), ""),
                "POST",
            ),
        ] {
            let later = ask(&proxy, request).await.with_status(200).json();
            assert_eq!(
                (&later["by"], &later["method"]),
                (&made["by"], &json!(method))
            );
        }
        let next = json!({"model": "m", "input": "b", "previous_response_id": id});
        let next = ask(&proxy, Request::post("/v1/responses", &next)).await;
        assert_eq!(next.with_status(200).json()["by"], made["by"]);
        makers.push(made["by"].clone());
    }
    assert!(
        makers.contains(&json!("one")) && makers.contains(&json!("two")),
        "{makers:?}"
    );
}

/// A request about a response names no model. It goes to the workers of the one that made it, and
/// not to the default's.
#[tokio::test]
async fn what_is_asked_of_a_response_goes_to_the_model_that_made_it() {
    let (one, two) = (
        Worker::start(server("one")).await,
        Worker::start(server("two")).await,
    );
    let other = scene::worker("w1", "openai", two.address, "").replace("name: m,", "name: other,");
    let workers = [scene::worker("w0", "openai", one.address, ""), other];
    let yaml = scene::workers(&workers, "").replace("    auth: open\n", "");
    let tokens = tokens::file(&[
        tokens::entry("all", "all", "models: [\"*\"]"),
        tokens::entry("one", "one", "models: [m]"),
        tokens::entry(
            "relayed",
            "relayed",
            "models: [\"*\"], tasks: [responses, respond]",
        ),
    ]);
    let yaml = format!("tokens: {{ file: tokens.yaml }}\n{yaml}");
    let proxy = Setup::new(&yaml).file("tokens.yaml", tokens).start().await;
    let said = proxy.logged(|line| line.contains("respond")).await;
    assert!(said.contains("allows nothing"), "{said}");
    for (model, by) in [("m", "one"), ("other", "two")] {
        let made = Request::post("/v1/responses", &json!({"model": model, "input": "a"}));
        let made = ask(&proxy, made.token("all")).await.with_status(200).json();
        assert_eq!(made["by"], by);
        let path = format!("/v1/responses/{}", made["id"].as_str().expect("an id"));
        let later = ask(&proxy, Request::get(&path).token("all")).await;
        assert_eq!(later.with_status(200).json()["by"], by);
        // A list of tasks may name what is only relayed, and then allows nothing else.
        let relayed = Request::get(&path).token("relayed");
        ask(&proxy, relayed).await.with_status(200);
        let asked = scene::completion(false).token("relayed");
        ask(&proxy, asked).await.with_status(403);
        // Who may not see the model is told what its own has to say.
        let later = ask(&proxy, Request::get(&path).token("one")).await;
        assert_eq!(later.with_status(200).json()["by"], "one");
    }
}

#[tokio::test]
async fn speech_and_messages_go_on_as_they_came() {
    let worker = Worker::start(server("one")).await;
    let proxy = Proxy::start(&scene::one("openai", worker.address, "", "")).await;
    let form = "--xyz\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\
        Content-Type: audio/wav\r\n\r\nRIFF\r\n--xyz\r\n\
        Content-Disposition: form-data; name=\"model\"\r\n\r\nm\r\n--xyz--\r\n";
    let speech = |form: &str| {
        let path = "/v1/audio/transcriptions";
        let mut request = Request::get(path)
            .method("POST")
            .header("content-type", "multipart/form-data; boundary=xyz");
        request.body = Some(form.to_owned().into());
        request
    };
    let got = ask(&proxy, speech(form)).await.with_status(200);
    assert_eq!(got.json(), json!({"text": "hello"}));
    let twice = form.replace(
        "--xyz--",
        "--xyz\r\n\
        Content-Disposition: form-data; name=\"model\"\r\n\r\nother\r\n--xyz--",
    );
    let got = ask(&proxy, speech(&twice)).await.with_status(400);
    assert!(got.text().contains("more than once"), "{}", got.text());

    let body = json!({"model": "m", "max_tokens": 4, "messages": []});
    let got = ask(&proxy, Request::post("/v1/messages", &body)).await;
    assert_eq!(got.with_status(200).json()["model"], "m");
    let body = json!({"model": "nobody", "max_tokens": 4, "messages": []});
    let got = ask(&proxy, Request::post("/v1/messages", &body)).await;
    let error = got.with_status(404).json();
    assert_eq!(
        (&error["type"], &error["error"]["type"]),
        (&json!("error"), &json!("not_found_error"))
    );
}

#[tokio::test]
async fn no_other_protocol_is_asked_and_no_operators_path_is_there() {
    let nobody = Worker::start(|_| panic!("nobody is asked")).await;
    let yaml = scene::one("tgis", nobody.address, "", "");
    let proxy = Proxy::start(&yaml).await;
    for path in ["/v1/responses", "/v1/messages", "/pooling", "/classify"] {
        let request = Request::post(path, &json!({"model": "m", "input": "a"}));
        ask(&proxy, request).await.with_status(501);
    }
    ask(&proxy, Request::get("/v1/responses/resp_1"))
        .await
        .with_status(501);
    for path in [
        "/metrics",
        "/is_sleeping",
        "/server_info",
        "/tokenizer_info",
    ] {
        ask(&proxy, Request::get(path)).await.with_status(404);
    }
    for path in [
        "/sleep",
        "/v1/load_lora_adapter",
        "/reset_prefix_cache",
        "/invocations",
    ] {
        let request = Request::post(path, &json!({"model": "m"}));
        ask(&proxy, request).await.with_status(404);
    }
    assert_eq!(nobody.journal.requests(), 0);
}

#[tokio::test]
async fn an_operator_reaches_the_worker_and_nobody_else_does() {
    const OPERATOR: &str = "token-of-an-operator";
    const CLIENT: &str = "token-of-a-client";
    let worker = Worker::start(|received| {
        let line = received.head.line.clone();
        vec![text(
            200,
            "text/plain",
            &format!("{line}|{}", String::from_utf8_lossy(&received.body)),
        )]
    })
    .await;
    let yaml = scene::one("openai", worker.address, "", "").replace(
        "source: \"bundled:openai\"",
        "source: \"bundled:openai\", options: { admin: [lora, sleep, metrics] }",
    );
    // On an open route it is nobody's.
    let open = Proxy::start(&yaml).await;
    let sleep = || Request::post_bytes("/sleep?level=1", "");
    ask(&open, sleep()).await.with_status(403);

    let yaml = format!("tokens: {{ file: tokens.yaml }}\n{yaml}").replace("    auth: open\n", "");
    let file = tokens::file(&[
        tokens::entry("operator", OPERATOR, "models: [\"*\"], tasks: [admin]"),
        tokens::entry("client", CLIENT, "models: [\"*\"]"),
    ]);
    let proxy = Setup::new(&yaml).file("tokens.yaml", file).start().await;
    let asked = worker.journal.requests();
    ask(&proxy, sleep().token(CLIENT)).await.with_status(403);
    assert_eq!(worker.journal.requests(), asked);
    let ask = async |proxy, request: Request| ask(proxy, request.token(OPERATOR)).await;
    let load = Request::post("/v1/load_lora_adapter", &json!({"lora_name": "a"}));
    let told = ask(&proxy, load).await.with_status(200).text();
    assert!(told.ends_with("|{\"lora_name\":\"a\"}"), "{told}");
    let told = ask(&proxy, sleep()).await.with_status(200).text();
    assert!(told.starts_with("POST /sleep?level=1 "), "{told}");
    let told = ask(&proxy, Request::get("/metrics"))
        .await
        .with_status(200)
        .text();
    assert!(told.starts_with("GET /metrics "), "{told}");
    ask(&proxy, Request::get("/server_info"))
        .await
        .with_status(404);
}
