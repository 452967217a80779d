//! How the process ends.

use super::*;

fn setup(worker: impl std::fmt::Display, protocol: &str, drain: &str) -> Setup {
    let address = worker.to_string().parse().expect("an address");
    Setup::new(&format!(
        "{}drain: {{ {drain} }}\n",
        scene::one(protocol, address, "", "")
    ))
}

#[tokio::test]
async fn clients_are_let_in_while_balancers_take_their_time() {
    let worker = named("one").await;
    let mut proxy = setup(worker.address, "openai", "delay: 1h, deadline: 5s")
        .start()
        .await;
    proxy.ask_to_end();
    eventually("it is not ready", async || {
        (proxy.ask_admin("/readyz").await.status == 503).then_some(())
    })
    .await;
    assert_eq!(proxy.ask_admin("/livez").await.status, 200);
    assert_eq!(proxy.status().await["process"]["draining"], true);
    proxy.becomes("draining", 1.0).await;
    for _ in 0..3 {
        assert_eq!(text(&complete(&proxy).await), "one");
    }
    // Nobody waits an hour who is told twice.
    proxy.ask_to_end();
    assert_eq!(proxy.exit().await.code, Some(0));
}

#[tokio::test]
async fn what_is_left_at_the_deadline_is_told_so_in_its_own_words() {
    // Streams and others of a worker of another dialect, so that the guest words the end.
    let worker = g::Worker::start(|received| match received.number {
        0 => vec![
            g::Act::Head,
            g::send(&scene::first()),
            g::send(&scene::piece("one", 1, false)),
            g::Act::Hold,
        ],
        _ => vec![g::Act::Hold],
    })
    .await;
    let mut proxy = setup(worker.address, "tgis", "deadline: 300ms")
        .start()
        .await;
    let mut stream = begin_stream(&proxy).await;
    stream.piece().await.expect("it has begun");
    let mut waiting = http1::Connection::open(proxy.http()).await;
    waiting.send(&scene::completion(false)).await;
    worker.journal.holding(1).await;
    proxy.ask_to_end();
    let (body, end) = rest(&mut stream).await;
    assert_eq!(end, End::Whole, "{body}");
    assert!(
        body.contains("error") && body.contains("the proxy is ending"),
        "{body}"
    );
    let refused = waiting.response().await.with_status(503);
    assert!(refused.header("retry-after").is_some());
    let refused = refused.json();
    let message = refused["error"]["message"].as_str();
    assert!(
        message.is_some_and(|it| it.contains("the proxy is ending")),
        "{refused}"
    );
    assert_eq!(proxy.exit().await.code, Some(0));
}

#[tokio::test]
async fn told_twice_it_ends_at_once() {
    let worker = held("one").await;
    let mut proxy = setup(worker.address, "openai", "deadline: 1h")
        .start()
        .await;
    let mut stream = begin_stream(&proxy).await;
    worker.journal.holding(0).await;
    proxy.ask_to_end();
    proxy
        .logged(|line| line.contains(r#""message":"draining""#))
        .await;
    proxy.ask_to_end();
    assert_eq!(rest(&mut stream).await.1, End::Cut);
    let exit = proxy.exit().await;
    assert_eq!(exit.code, Some(0));
    assert!(exit.log.contains("told twice to end"), "{}", exit.log);
}

#[tokio::test]
async fn one_that_is_told_to_end_before_it_serves_does_so() {
    // A worker that answers no probe keeps it from being ready for as long as a probe may take.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await;
    let silent = silent.expect("a free port");
    let address = silent.local_addr().expect("it has one");
    let yaml = scene::one("openai", address, "", "").replace(
        "probe: off",
        "probe: { timeout: 5m }, connections: { connect-timeout: 5m }",
    );
    let mut proxy = Setup::new(&yaml).begin();
    let _probe = within("it is probed", silent.accept()).await;
    proxy.ask_to_end();
    let exit = proxy.exit().await;
    assert_eq!(exit.code, Some(0), "{}", exit.log);
}
