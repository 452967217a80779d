//! What is changed: workers out of service and back, and the end of the proxy.

use super::*;

async fn order(proxy: &Proxy, path: &str) -> Value {
    proxy.order(path, "").await.with_status(200).json()
}

async fn worker(proxy: &Proxy) -> Value {
    look(proxy, "/workers").await["workers"][0].clone()
}

#[tokio::test]
async fn a_drained_worker_gets_nothing_new_until_it_is_resumed() {
    let proxy = watched().start().await;
    complete(&proxy).await.with_status(200);
    let done = order(&proxy, "workers/here/drain").await;
    assert_eq!(done["happened"][0]["what"], "drained");
    assert_eq!(done["now"]["draining"], true);
    let again = order(&proxy, "workers/here/drain").await;
    assert_eq!(again["happened"], serde_json::json!([]), "it was already");
    assert_eq!(worker(&proxy).await["accepting"], false);
    // Its models go with it, where nobody else has them.
    assert!(complete(&proxy).await.status >= 400);
    proxy.becomes("worker_draining{worker=\"here\"}", 1.0).await;

    let done = order(&proxy, "workers/here/resume").await;
    assert_eq!(done["happened"][0]["what"], "resumed");
    assert_eq!(worker(&proxy).await["accepting"], true);
    complete(&proxy).await.with_status(200);
    let changes = look(&proxy, "/changes").await;
    let what: Vec<_> = changes["changes"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|it| (it["kind"].clone(), it["name"].clone(), it["what"].clone()))
        .collect();
    let told =
        |what: &str| -> (Value, Value, Value) { ("worker".into(), "here".into(), what.into()) };
    assert_eq!(what, [told("drained"), told("resumed")]);
    let nobody = proxy
        .order("workers/nobody/drain", "")
        .await
        .with_status(404);
    assert!(nobody.text().contains("GET /workers"), "{}", nobody.text());
    let canary = proxy.order("workers/here/drain", "{\"canary\": 5}").await;
    assert_eq!(canary.status, 400);
}

#[tokio::test]
async fn a_swap_is_among_the_changes() {
    let proxy = watched().start().await;
    let done = order(&proxy, "plugins/openai/swap").await;
    let changes = look(&proxy, "/changes").await;
    let change = &changes["changes"][0];
    assert_eq!(
        (&change["kind"], &change["name"]),
        (&"plugin".into(), &"openai".into())
    );
    for member in ["what", "from", "to"] {
        assert_eq!(change[member], done["happened"][0][member], "{member}");
    }
}

/// Who asks may leave, even before it is his swap's turn: another component is compiled first.
#[tokio::test]
async fn a_swap_goes_on_when_its_operator_leaves() {
    let proxy = watched().uncached().start().await;
    let swap = async |name: &str| {
        let mut operator = http1::Connection::open(proxy.admin()).await;
        let head = "HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n";
        operator
            .raw(format!("POST /plugins/{name}/swap {head}"))
            .await;
        // It has been read by the time that this is answered.
        look(&proxy, "/plugins").await;
        operator
    };
    let stays = swap("openai").await;
    drop(swap("embedded").await);
    eventually("both are in force", async || {
        let told = look(&proxy, "/plugins").await;
        let plugins = told["plugins"].as_array().expect("a list");
        let swapped = |name: &str| {
            let mut plugins = plugins.iter();
            plugins.any(|it| it["name"] == name && it["changes"]["swapped"] == 1)
        };
        (swapped("openai") && swapped("embedded")).then_some(())
    })
    .await;
    drop(stays);
}

#[tokio::test]
async fn an_operator_ends_the_proxy_in_order() {
    let mut proxy = watched().start().await;
    let got = proxy.order("drain", "").await.with_status(202).json();
    assert_eq!(got["happened"][0]["what"], "draining");
    let exit = proxy.exit().await;
    assert_eq!(exit.code, Some(0), "{}", exit.log);
    assert!(exit.log.contains("\"message\":\"drained\""), "{}", exit.log);
}
