//! Bytes of requests are bounded over all of them, and their room is taken before they are read.

use super::*;

const ROUTE: &str = "route_request_memory_bytes{route=\"all\"}";
const REFUSED: &str = "route_request_memory_refused_total{route=\"all\"}";
const KIB: u64 = 1 << 10;

/// A route that holds 128 KiB, of bodies and messages of at most 64 KiB each.
fn narrow(worker: std::net::SocketAddr) -> String {
    let limits = "    limits: { body: 64KiB, message: 64KiB, request-memory: 128KiB }\n";
    scene::one("openai", worker, "", limits)
}

#[tokio::test]
async fn a_body_takes_its_room_before_it_is_read_and_gives_it_back() {
    let worker = slow().await;
    let proxy = Proxy::start(&narrow(worker.address)).await;
    let first = announce(&proxy, 64 * KIB).await;
    let second = announce(&proxy, 60 * KIB).await;
    proxy.becomes(ROUTE, (124 * KIB) as f64).await;
    proxy
        .becomes("request_memory_bytes", (124 * KIB) as f64)
        .await;

    // A length is believed before a byte has come.
    let got = announce(&proxy, 5 * KIB).await.response().await;
    assert_eq!(got.header("retry-after"), Some("1"), "{got:?}");
    assert_eq!(got.with_status(503).json()["error"]["code"], 503);
    assert_eq!(proxy.figure(REFUSED).await, Some(1.0));

    // Without a length room is taken as bytes come.
    let mut chunked = Connection::open(proxy.http()).await;
    chunked
        .raw(
            "POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
             transfer-encoding: chunked\r\n\r\n",
        )
        .await;
    chunked
        .raw(format!("800\r\n{}\r\n", "a".repeat(0x800)))
        .await;
    proxy.becomes(ROUTE, (126 * KIB) as f64).await;
    chunked
        .raw(format!("c00\r\n{}\r\n", "a".repeat(0xc00)))
        .await;
    chunked.response().await.with_status(503);
    proxy.becomes(ROUTE, (124 * KIB) as f64).await;

    // A message is announced by its prefix.
    let mut h2 = http2::Connection::open(proxy.http()).await;
    let mut call = Call::begin(&mut h2, &scene::tgis("Generate")).await;
    let prefix = Bytes::from_static(&[0, 0, 0, 20, 0]);
    call.raw(prefix, false).await;
    let (_, status) = call.all::<fmaas::BatchedGenerationResponse>().await;
    assert_eq!(status.code, 14, "{status:?}");

    // Who leaves leaves room.
    drop(first);
    proxy.becomes(ROUTE, (60 * KIB) as f64).await;
    drop(second);
    proxy.becomes(ROUTE, 0.0).await;
    let running = held(&proxy, &worker, 0).await;
    assert!(proxy.figure(ROUTE).await.is_some_and(|held| held > 10.0));
    worker.release();
    let mut running = running;
    running.response().await.with_status(200);
    proxy.becomes(ROUTE, 0.0).await;
    proxy.becomes("request_memory_bytes", 0.0).await;
}

#[tokio::test]
async fn what_unpacks_takes_room_for_what_comes_of_it() {
    let worker = slow().await;
    let proxy = Proxy::start(&narrow(worker.address)).await;
    let _first = announce(&proxy, 64 * KIB).await;
    let _second = announce(&proxy, 40 * KIB).await;
    proxy.becomes(ROUTE, (104 * KIB) as f64).await;
    // 50 KiB of text are less than a body may be and more than there is room for.
    let body = format!(
        "{{\"model\": \"m\", \"prompt\": \"{}\"}}",
        "a".repeat(50 << 10)
    );
    let packed = Request::post_bytes("/v1/completions", grpc::gzip(body.as_bytes()))
        .header("content-encoding", "gzip");
    http1::ask(proxy.http(), &packed).await.with_status(503);
    proxy.becomes(ROUTE, (104 * KIB) as f64).await;
}

#[tokio::test]
async fn the_process_bounds_all_routes_together() {
    let worker = slow().await;
    let limits = "    limits: { body: 64KiB, message: 64KiB, request-memory: 128KiB }\n";
    let yaml = scene::one("openai", worker.address, "", limits);
    let other = format!(
        "  - {{ name: other, prefix: /other, frontends: [openai], workers: [w0], auth: open, \
         default-model: m, {} }}\n",
        limits.trim()
    );
    let proxy = Setup::new(&format!("{yaml}{other}"))
        .runtime("request-memory: 160KiB")
        .start()
        .await;
    let _first = announce(&proxy, 64 * KIB).await;
    let _second = announce(&proxy, 64 * KIB).await;
    proxy
        .becomes("request_memory_bytes", (128 * KIB) as f64)
        .await;
    // The other route has room, and the process has not.
    let mut third = Connection::open(proxy.http()).await;
    third
        .raw(head_only(64 * KIB).replace("POST /", "POST /other/"))
        .await;
    third.response().await.with_status(503);
    assert_eq!(
        proxy
            .figure("route_request_memory_bytes{route=\"other\"}")
            .await,
        Some(0.0),
        "it took of neither"
    );
    assert_eq!(
        proxy.figure("request_memory_refused_total").await,
        Some(1.0)
    );
}
