//! What is asked makes no sense.

use super::*;

#[tokio::test]
async fn bodies_that_say_nothing_sensible() {
    let proxy = proxy().await;
    let deep = "[".repeat(30_000);
    let model = format!("\"model\": \"{NGRAM}\"");
    let cases: Vec<(&str, String, &str, Option<&str>)> = vec![
        ("/v1/completions", "{".into(), "", None),
        ("/v1/completions", String::new(), "", None),
        ("/v1/completions", "[]".into(), "", None),
        ("/v1/completions", "null".into(), "", None),
        (
            "/v1/completions",
            format!("{{{model}, \"prompt\": \"x\",}}"),
            "JSON",
            None,
        ),
        (
            "/v1/completions",
            format!("{{{model}, \"prompt\": \"x\"}} {{}}"),
            "JSON",
            None,
        ),
        (
            "/v1/completions",
            format!("{{{model}, \"prompt\": \"x"),
            "JSON",
            None,
        ),
        (
            "/v1/completions",
            format!("{{{model}, \"prompt\": \"\\x\"}}"),
            "JSON",
            None,
        ),
        (
            "/v1/completions",
            format!("{{{model}, \"prompt\": {deep}"),
            "",
            None,
        ),
        ("/v1/completions", deep.clone(), "", None),
        (
            "/v1/completions",
            format!("{{{model}, \"prompt\": \"x\", \"model\": \"other\"}}"),
            "more than once",
            Some("model"),
        ),
        (
            "/v1/completions",
            format!("{{{model}, \"prompt\": \"x\", \"mod\\u0065l\": \"other\"}}"),
            "more than once",
            Some("model"),
        ),
        ("/v1/completions", format!("{{{model}}}"), "prompt", None),
        (
            "/v1/completions",
            format!("{{{model}, \"prompt\": 7}}"),
            "",
            Some("prompt"),
        ),
        (
            "/v1/completions",
            format!("{{{model}, \"prompt\": \"x\", \"max_tokens\": \"many\"}}"),
            "",
            Some("max_tokens"),
        ),
        (
            "/v1/completions",
            format!("{{{model}, \"prompt\": \"x\", \"temperature\": -1}}"),
            "",
            Some("temperature"),
        ),
        (
            "/v1/completions",
            format!("{{{model}, \"prompt\": \"x\", \"stream\": \"yes\"}}"),
            "",
            Some("stream"),
        ),
        (
            "/v1/completions",
            "{\"model\": 1, \"prompt\": \"x\"}".into(),
            "",
            Some("model"),
        ),
        (
            "/v1/chat/completions",
            format!("{{{model}}}"),
            "messages",
            None,
        ),
        (
            "/v1/chat/completions",
            format!("{{{model}, \"messages\": \"hi\"}}"),
            "",
            Some("messages"),
        ),
        ("/v1/embeddings", format!("{{{model}}}"), "input", None),
        ("/tokenize", format!("{{{model}}}"), "", None),
        (
            "/detokenize",
            format!("{{{model}, \"tokens\": [\"a\"]}}"),
            "",
            Some("tokens"),
        ),
    ];
    let mut connection = http1::Connection::open(proxy.http()).await;
    for (path, body, words, param) in cases {
        connection
            .send(&Request::post_bytes(path, body.clone()))
            .await;
        let response = connection.response().await;
        let shown: String = body.chars().take(120).collect();
        let error = told(&response, 400);
        let message = error["message"].as_str().unwrap();
        assert!(message.contains(words), "{shown}: {message}");
        if let Some(param) = param {
            assert_eq!(error["param"], param, "{shown}: {message}");
        }
    }
    // The connection is as good as ever, too.
    connection
        .send(&Request::post("/v1/completions", &good()))
        .await;
    connection.response().await.with_status(200);
    still_serves(&proxy).await;
}

#[tokio::test]
async fn bytes_that_are_no_text() {
    let proxy = proxy().await;
    let mut body = format!("{{\"model\": \"{NGRAM}\", \"prompt\": \"a").into_bytes();
    body.extend_from_slice(b"\xff\xfe\"}");
    let got = http1::ask(proxy.http(), &Request::post_bytes("/v1/completions", body)).await;
    told(&got, 400);
    still_serves(&proxy).await;
}

#[tokio::test]
async fn what_is_not_there() {
    let proxy = proxy().await;
    let ask = async |request: &Request| http1::ask(proxy.http(), request).await;
    let mut body = good();
    body["model"] = "no-such-model".into();
    let error = told(&ask(&Request::post("/v1/completions", &body)).await, 404);
    assert!(error["message"].as_str().unwrap().contains("no-such-model"));
    assert_eq!(error["param"], "model");
    assert_eq!(error["type"], "NotFoundError");
    for path in [
        "/",
        "/v1/nothing",
        "/v1/completions/",
        "//v1/completions",
        "/v1/%63ompletions",
    ] {
        told(&ask(&Request::post(path, &good())).await, 404);
    }
    let got = ask(&Request::get("/v1/completions")).await;
    let error = told(&got, 405);
    assert!(
        error["message"].as_str().unwrap().contains("POST"),
        "it says what would do"
    );
    still_serves(&proxy).await;
}

#[tokio::test]
async fn media_types_that_are_not_json() {
    let proxy = proxy().await;
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/jsonx",
        "nonsense",
    ] {
        let mut request = Request::post("/v1/completions", &good());
        request.headers = vec![("content-type".into(), kind.into())];
        told(&http1::ask(proxy.http(), &request).await, 400);
    }
    still_serves(&proxy).await;
}
