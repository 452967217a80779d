//! There is too much of it.

use super::*;

#[tokio::test]
async fn bodies_that_are_too_large() {
    let proxy = proxy().await;
    let mut body = good();
    body["prompt"] = "a".repeat(LIMIT).into();
    let request = Request::post("/v1/completions", &body);
    told(&http1::ask(proxy.http(), &request).await, 413);
    let mut h2 = http2::Connection::open(proxy.http()).await;
    told(&h2.ask(&request).await, 413);
    h2.ask(&Request::post("/v1/completions", &good()))
        .await
        .with_status(200);

    // Without a length told before, and without an end: the answer comes before either.
    let mut connection = http1::Connection::open(proxy.http()).await;
    connection
        .raw("POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n")
        .await;
    let chunk = format!("4000\r\n{}\r\n", "a".repeat(0x4000));
    for _ in 0..5 {
        connection.raw(&chunk).await;
    }
    told(&connection.response().await, 413);
    // A length that is told is believed before a byte of it has come.
    let got = ask_raw(
        proxy.http(),
        "POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 99999999999\r\n\r\n",
    )
    .await;
    told(&got.unwrap(), 413);
    still_serves(&proxy).await;
}

#[tokio::test]
async fn bodies_that_unpack_to_more_than_may_be() {
    let proxy = proxy().await;
    let packed = |bytes: Vec<u8>, encoding: &str| {
        Request::post_bytes("/v1/completions", bytes).header("content-encoding", encoding)
    };
    let bomb = vec![b' '; 64 << 20];
    let mut deflated = DeflateEncoder::new(Vec::new(), Compression::best());
    deflated.write_all(&bomb[..8 << 20]).unwrap();
    for (encoding, body) in [
        ("gzip", grpc::gzip(&bomb[..16 << 20])[..].to_vec()),
        ("gzip", grpc::gzip(&grpc::gzip(&bomb))),
        ("deflate", deflated.finish().unwrap()),
    ] {
        let got = http1::ask(proxy.http(), &packed(body, encoding)).await;
        assert!([400, 413].contains(&got.status), "{got:?}");
        told(&got, got.status);
    }
    let bomb = grpc::gzip(&bomb[..16 << 20]);
    assert!(bomb.len() < LIMIT * 2);
    let whole = grpc::gzip(good().to_string().as_bytes());
    for (body, encoding, status) in [
        (whole.clone(), "gzip", 200),
        (whole[..whole.len() - 4].to_vec(), "gzip", 400),
        (b"not gzip at all".to_vec(), "gzip", 400),
        (whole.clone(), "br", 400),
        (whole.clone(), "gzip, gzip", 400),
        (good().to_string().into_bytes(), "identity", 200),
    ] {
        let got = http1::ask(proxy.http(), &packed(body, encoding)).await;
        if status == 200 {
            got.with_status(200);
        } else {
            told(&got, status);
        }
    }
    still_serves(&proxy).await;
}

#[tokio::test]
async fn heads_that_are_too_large() {
    let proxy = proxy().await;
    let long = Request::get("/v1/models").header("x-long", &"a".repeat(LIMIT));
    let mut many = Request::get("/v1/models");
    for number in 0..150 {
        many = many.header(&format!("x-{number}"), "y");
    }
    for request in [&long, &many] {
        assert_eq!(http1::ask(proxy.http(), request).await.status, 431);
        let mut h2 = http2::Connection::open(proxy.http()).await;
        assert_eq!(h2.ask(request).await.status, 431);
        h2.ask(&Request::get("/v1/models")).await.with_status(200);
    }
    let target = Request::get(&format!("/v1/models?{}", "a".repeat(LIMIT * 2)));
    let status = http1::ask(proxy.http(), &target).await.status;
    assert!([414, 431].contains(&status), "{status}");
    still_serves(&proxy).await;
}
