//! Instances of plugins: what a large request took goes with the instance that served it.

use super::*;

async fn figure(proxy: &Proxy, name: &str) -> f64 {
    let series = format!("{name}{{plugin=\"openai\"}}");
    let figure = proxy.figure(&series).await;
    figure.unwrap_or_else(|| panic!("no {series}"))
}

/// A chat of one long text, which the frontend's guest reads to the end to translate it.
fn chat(bytes: usize) -> Request {
    Request::post(
        "/v1/completions",
        &serde_json::json!({"model": "m", "prompt": "a ".repeat(bytes / 2), "max_tokens": 1}),
    )
}

#[tokio::test]
async fn a_large_request_leaves_neither_an_instance_nor_its_memory() {
    let worker = tollgate_tests::fake::grpc::Worker::start(|_| {
        tollgate_tests::fake::grpc::answer(&scene::generated(&[" there"]))
    })
    .await;
    let proxy = Proxy::start(&scene::one("tgis", worker.address, "", "")).await;
    let ask = async |bytes| {
        http1::ask(proxy.http(), &chat(bytes))
            .await
            .with_status(200)
    };
    ask(16).await;
    let slots = figure(&proxy, "plugin_slots").await;
    let memory = figure(&proxy, "plugin_memory_bytes").await;
    let instances = proxy.figure("instances").await;
    assert!(memory > 0.0);
    for _ in 0..4 {
        ask(3 << 20).await;
    }
    assert!(figure(&proxy, "plugin_instances_made_total").await >= slots + 4.0);
    tollgate_tests::eventually("its instances are gone", async || {
        (figure(&proxy, "plugin_memory_bytes").await <= memory
            && figure(&proxy, "plugin_slots").await <= slots
            && proxy.figure("instances").await <= instances)
            .then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_instance_that_has_grown_is_given_nobody_new() {
    let yaml = scene::embedded().replace(
        "embedded: { source: \"bundled:embedded\" }",
        "embedded: { source: \"bundled:embedded\", limits: { keep-memory: 1MiB } }",
    );
    let proxy = Proxy::start(&yaml).await;
    let embedded = |name: &str| format!("{name}{{plugin=\"embedded\"}}");
    let memory = proxy.figure(&embedded("plugin_memory_bytes")).await;
    // Less than gets an instance of its own. The model reads it all, and finds it too long.
    let mut long = scene::completion(false);
    let body = serde_json::json!({"model": "tollgate-ngram", "prompt": "a ".repeat(400 << 10)});
    long.body = Some(body.to_string().into());
    for number in 1..=3 {
        http1::ask(proxy.http(), &long).await.with_status(400);
        proxy
            .becomes(
                &embedded("plugin_instances_retired_total"),
                f64::from(number),
            )
            .await;
        tollgate_tests::eventually("its memory is gone", async || {
            let now = proxy.figure(&embedded("plugin_memory_bytes")).await;
            (now <= memory).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_long_stream_of_messages_goes_through() {
    use tollgate_tests::fake::grpc as g;
    // Many times the sources that an exchange keeps.
    const PIECES: u32 = 400;
    // Not so small that a client's library takes them for an attack.
    let word = format!("word {}", "x".repeat(1000));
    let worker = g::Worker::start(move |_| {
        let mut acts = vec![g::Act::Head, g::send(&scene::first())];
        let piece = |at| g::send(&scene::piece(&word, at, at == PIECES));
        acts.extend((1..=PIECES).map(piece));
        acts.push(g::Act::Status(0, ""));
        acts
    })
    .await;
    let proxy = Proxy::start(&scene::one("tgis", worker.address, "", "")).await;
    let (answers, status) = grpc::ask::<fmaas::GenerationResponse>(
        proxy.http(),
        &scene::tgis("GenerateStream"),
        &scene::single("m", "hi"),
    )
    .await;
    assert_eq!(
        (status.code, answers.len()),
        (0, PIECES as usize + 1),
        "{status:?}"
    );
    let got = http1::ask(proxy.http(), &scene::completion(true)).await;
    let text = got.with_status(200).text();
    assert_eq!(text.matches("word ").count(), PIECES as usize, "{text}");
}
