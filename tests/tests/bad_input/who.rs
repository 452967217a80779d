//! Who asks.

use super::*;

async fn guarded() -> Proxy {
    let yaml = format!(
        "{}tokens: {{ file: tokens.yaml }}\n",
        scene::embedded().replace("auth: open", "auth: required")
    );
    Setup::new(&yaml)
        .file(
            "tokens.yaml",
            tokens::file(&[
                tokens::entry("all", "token-of-all", "models: [\"*\"]"),
                tokens::entry("vectors", "token-of-vectors", "models: [tollgate-hash]"),
                tokens::entry(
                    "lister",
                    "token-of-lister",
                    "models: [\"*\"], tasks: [list-models]",
                ),
                tokens::entry(
                    "late",
                    "token-of-late",
                    "models: [\"*\"], expires: 2020-01-01T00:00:00Z",
                ),
            ]),
        )
        .start()
        .await
}

async fn calls_of_guests(proxy: &Proxy) -> Vec<Value> {
    let status = proxy.status().await;
    let plugins = status["plugins"].as_array().unwrap();
    plugins
        .iter()
        .map(|plugin| plugin["calls"].clone())
        .collect()
}

#[tokio::test]
async fn without_a_token_nobody_comes_in_and_no_guest_is_called() {
    let proxy = guarded().await;
    let before = calls_of_guests(&proxy).await;
    let variants: Vec<(&str, Vec<&str>)> = vec![
        ("none", vec![]),
        ("a wrong one", vec!["Bearer token-of-al"]),
        ("another wrong one", vec!["Bearer token-of-all-"]),
        ("an expired one", vec!["Bearer token-of-late"]),
        ("two", vec!["Bearer token-of-all", "Bearer token-of-all"]),
        ("another scheme", vec!["Basic token-of-all"]),
        ("no scheme", vec!["token-of-all"]),
        ("nothing behind the scheme", vec!["Bearer "]),
    ];
    for (what, values) in variants {
        for request in [
            Request::post("/v1/completions", &good()),
            Request::get("/v1/models"),
            Request::get("/docs"),
            // So long that it would be refused for it, were it looked at.
            Request::post_bytes("/v1/completions", "a".repeat(100_000)),
        ] {
            let request = values
                .iter()
                .fold(request, |it, value| it.header("authorization", value));
            let got = http1::ask(proxy.http(), &request).await;
            assert_eq!(got.status, 401, "{what}");
            assert_eq!(
                got.json(),
                json!({"error": "Unauthorized"}),
                "as vLLM says it"
            );
            assert!(
                got.header("www-authenticate")
                    .unwrap()
                    .starts_with("Bearer")
            );
        }
        for method in [
            "fmaas.GenerationService/Generate",
            "grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
            "grpc.health.v1.Health/Check",
        ] {
            let request = values.iter().fold(grpc::request(method), |it, value| {
                it.header("authorization", value)
            });
            let (_, status) = grpc::ask::<fmaas::BatchedGenerationResponse>(
                proxy.http(),
                &request,
                &scene::batch(NGRAM, &["x"]),
            )
            .await;
            assert_eq!(status.code, 16, "{what}: {status:?}");
            assert!(
                !status.message.contains("token-of"),
                "tokens are not repeated"
            );
        }
    }
    assert_eq!(calls_of_guests(&proxy).await, before);
    assert!(!proxy.log().contains("token-of"), "nor written down");
    let request = Request::post("/v1/completions", &good()).token("token-of-all");
    http1::ask(proxy.http(), &request).await.with_status(200);
}

#[tokio::test]
async fn a_token_opens_only_its_own_models_and_tasks() {
    let proxy = guarded().await;
    let ask =
        async |request: Request, token: &str| http1::ask(proxy.http(), &request.token(token)).await;
    let error = told(
        &ask(
            Request::post("/v1/completions", &good()),
            "token-of-vectors",
        )
        .await,
        403,
    );
    assert!(error["message"].as_str().unwrap().contains(NGRAM));
    let vectors = json!({"model": "tollgate-hash", "input": "a"});
    ask(
        Request::post("/v1/embeddings", &vectors),
        "token-of-vectors",
    )
    .await
    .with_status(200);
    let error = told(
        &ask(Request::post("/v1/embeddings", &vectors), "token-of-lister").await,
        403,
    );
    assert!(
        error["message"].as_str().unwrap().contains("embed"),
        "{error}"
    );
    // The route's default model is not a way around it.
    let unnamed = json!({"prompt": "x", "max_tokens": 1});
    told(
        &ask(
            Request::post("/v1/completions", &unnamed),
            "token-of-vectors",
        )
        .await,
        403,
    );

    let names = async |token: &str| -> Vec<String> {
        let list = ask(Request::get("/v1/models"), token)
            .await
            .with_status(200)
            .json();
        let models = list["data"].as_array().unwrap();
        models
            .iter()
            .map(|model| model["id"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(names("token-of-vectors").await, ["tollgate-hash"]);
    assert_eq!(names("token-of-lister").await.len(), 2);

    let request = scene::tgis("Generate").token("token-of-vectors");
    let (_, status) = grpc::ask::<fmaas::BatchedGenerationResponse>(
        proxy.http(),
        &request,
        &scene::batch(NGRAM, &["x"]),
    )
    .await;
    assert_eq!(status.code, 7, "{status:?}");
}

#[tokio::test]
async fn tokens_are_read_again_when_their_file_changes_and_kept_when_it_breaks() {
    let proxy = guarded().await;
    let status = async |token: &str| {
        let request = Request::get("/v1/models").token(token);
        http1::ask(proxy.http(), &request).await.status
    };
    proxy.rewrite("tokens.yaml", "tokens: [{ name: broken }]\n");
    proxy.hangup();
    proxy
        .logged(|line| line.contains("the tokens in force stay"))
        .await;
    assert_eq!(status("token-of-all").await, 200);
    proxy.rewrite(
        "tokens.yaml",
        tokens::file(&[tokens::entry("new", "token-of-new", "models: [\"*\"]")]),
    );
    proxy.hangup();
    proxy
        .logged(|line| line.contains("the tokens were read again"))
        .await;
    assert_eq!(status("token-of-all").await, 401);
    assert_eq!(status("token-of-new").await, 200);
}

#[tokio::test]
async fn an_answer_that_comes_before_the_body_is_complete_over_http2() {
    let proxy = guarded().await;
    let mut connection = http2::Connection::open(proxy.http()).await;
    for _ in 0..20 {
        let request = Request::post("/v1/completions", &good());
        let mut open = connection.begin(&request, false).await;
        let (status, _) = open.head().await.expect("an answer, not a reset");
        assert_eq!(status, 401);
        // RFC 9113, section 8.1: what may follow the answer is a reset that says NO_ERROR.
        loop {
            match open.next().await {
                Next::Data(data) => assert_eq!(&data[..], b"{\"error\":\"Unauthorized\"}"),
                Next::End(_) => break,
                Next::Reset(reason) => panic!("the answer was cut by {reason:?}"),
            }
        }
        assert_eq!(open.reset_by_peer().await, Some(h2::Reason::NO_ERROR));
    }
}

/// Some clients lose an answer whose stream ends before they have sent all of a small request.
#[tokio::test]
async fn a_small_body_is_read_before_a_refusal_over_http2() {
    let proxy = guarded().await;
    let body = good().to_string();
    for path in ["/v1/completions", "/nothing"] {
        let mut connection = http2::Connection::open(proxy.http()).await;
        let request = Request::post(path, &good());
        let request = request.header("content-length", &body.len().to_string());
        let mut open = connection.begin(&request, false).await;
        // The proxy has seen that head: it answers what came after it.
        connection
            .ask(&Request::get("/v1/models"))
            .await
            .with_status(401);
        assert!(
            open.write(Bytes::from(body.clone()), true).await,
            "the stream is open"
        );
        let (status, _) = open.head().await.expect("an answer, not a reset");
        assert_eq!(status, if path == "/nothing" { 404 } else { 401 });
    }
}
