//! The log's level, changed while the proxy serves.

use std::process::Command;

use serde_json::json;
use tollgate_tests::{
    Proxy, Setup,
    client::{Request, http1 as ask},
    place, scene, tokens,
};

use super::line;

async fn asked(proxy: &Proxy, id: &str) {
    let mut request = scene::completion(false).header("x-request-id", id);
    request.body = Some(
        json!({"prompt": "Hello", "max_tokens": 1})
            .to_string()
            .into(),
    );
    ask::ask(proxy.http(), &request).await.with_status(200);
}

#[tokio::test]
async fn an_operator_changes_what_is_written() {
    let proxy = Proxy::start(&scene::embedded()).await;
    let now = proxy.ask_admin("/log-level").await.with_status(200).json();
    assert_eq!(now, json!({"level": "info"}));

    asked(&proxy, "before").await;
    line(&proxy, "before").await;
    let quiet = proxy.order("log-level", r#"{"level": "info,access=off"}"#);
    let told = quiet.await.with_status(200).json();
    assert_eq!(told, json!({"was": "info", "level": "info,access=off"}));
    asked(&proxy, "meanwhile").await;
    proxy
        .order("log-level", r#"{"level": "info"}"#)
        .await
        .with_status(200);
    asked(&proxy, "after").await;
    line(&proxy, "after").await;
    assert!(!proxy.log().contains("meanwhile"), "{}", proxy.log());

    for wrong in [
        "",
        "debug",
        r#"{"level": "loud"}"#,
        r#"{"level": ""}"#,
        r#"{"level": "[x]=debug"}"#,
        r#"{"level": 1}"#,
        r#"{"level": "info", "more": 1}"#,
    ] {
        let refused = proxy
            .order("log-level", wrong)
            .await
            .with_status(400)
            .json();
        assert!(refused["error"].is_string(), "{wrong}: {refused}");
    }
    let browser = Request::post_bytes("/log-level", r#"{"level": "off"}"#).header("origin", "x");
    assert_eq!(ask::ask(proxy.admin(), &browser).await.status, 403);
    let other = Request::get("/log-level").method("DELETE");
    assert_eq!(ask::ask(proxy.admin(), &other).await.status, 405);
    let now = proxy.ask_admin("/log-level").await.json();
    assert_eq!(now, json!({"level": "info"}));
}

#[tokio::test]
async fn the_command_line_does_too_with_a_token_where_one_is_needed() {
    let operators = tokens::file(&[tokens::entry("op", "secret-of-op", "models: []")]);
    let proxy = Setup::new(&scene::embedded())
        .admin("tokens: operators.yaml")
        .file("operators.yaml", operators)
        .file("token", "secret-of-op\n")
        .start()
        .await;
    let run = |arguments: &[&str]| {
        let output = Command::new(place::binary())
            .args(["log-level", "--admin", &proxy.admin().to_string()])
            .args(arguments)
            .output()
            .expect("the binary runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (
            output.status.success(),
            text(&output.stdout),
            text(&output.stderr),
        )
    };
    assert_eq!(run(&[]), (true, "info\n".into(), String::new()));
    let (done, _, why) = run(&["debug"]);
    assert!(!done && why.contains("token"), "{why}");
    let token = proxy.folder().path().join("token");
    let token = token.to_string_lossy();
    let (done, said, why) = run(&["debug", "--token-file", &token]);
    assert_eq!((done, said.as_str()), (true, "debug\n"), "{why}");
    assert_eq!(run(&[]).1, "debug\n");
    let (done, _, why) = run(&["loud", "--token-file", &token]);
    assert!(!done && why.contains("not understood"), "{why}");
    assert!(!proxy.log().contains("secret-of-op"));
}
