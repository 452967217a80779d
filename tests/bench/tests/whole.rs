//! All of it over real sockets: load through the bare proxy to the stub, every protocol; and
//! servers that are wrong, which the load has to see.

use std::{net::SocketAddr, time::Duration};

use clap::Parser;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tollgate_bench::{bare, load, stub};

/// Nothing here takes so long.
const CEILING: Duration = Duration::from_secs(60);

#[derive(Parser)]
struct Load {
    #[command(flatten)]
    arguments: load::Arguments,
}

#[derive(Parser)]
struct Stub {
    #[command(flatten)]
    arguments: stub::Arguments,
}

async fn free() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap()
}

async fn stub(options: &[&str]) -> (SocketAddr, SocketAddr) {
    let line = ["stub", "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0"];
    let arguments = Stub::parse_from(line.iter().chain(options)).arguments;
    let stub = stub::Stub::bind(&arguments).unwrap();
    let http = stub.http_address().unwrap().unwrap();
    let grpc = stub.grpc_address().unwrap().unwrap();
    tokio::spawn(stub.serve());
    (http, grpc)
}

async fn bare(upstream: SocketAddr, h2: bool) -> SocketAddr {
    let listen = free().await;
    tokio::spawn(bare::run(bare::Arguments {
        listen,
        upstream,
        h2,
    }));
    while TcpStream::connect(listen).await.is_err() {
        tokio::task::yield_now().await;
    }
    listen
}

async fn load(target: SocketAddr, options: &[&str]) -> Value {
    let target = format!("http://{target}");
    let line = ["load", "--target", &target];
    let arguments = Load::parse_from(line.iter().chain(options)).arguments;
    let report = tokio::time::timeout(CEILING, load::measure(arguments, 1));
    report.await.expect("it ends").unwrap().0
}

fn clean(report: &Value, requests: u64) {
    assert_eq!(report["errors"], json!({}), "{report}");
    assert_eq!(report["requests"], requests, "{report}");
}

#[tokio::test]
async fn every_protocol_passes_the_bare_proxy() {
    let (http, grpc) = stub(&["--tensor-mib", "1", "--tokens", "40", "--per-write", "3"]).await;
    let (http, grpc) = (bare(http, false).await, bare(grpc, true).await);
    for (target, protocol, options) in [
        (http, "openai-completion", &["--tokens", "40"][..]),
        (http, "openai-completion", &["--stream", "--tokens", "40"]),
        (http, "openai-chat", &["--prompt-bytes", "220000"]),
        (http, "openai-chat", &["--stream"]),
        (
            http,
            "v2-rest",
            &["--tensor-mib", "1", "--prompt-bytes", "1000000"],
        ),
        (
            grpc,
            "tgis",
            &["--tokens", "40", "--prompt-bytes", "220000"],
        ),
        (grpc, "tgis", &["--stream", "--streams-per-connection", "5"]),
        (
            grpc,
            "v2-grpc",
            &["--tensor-mib", "1", "--prompt-bytes", "1000000"],
        ),
        (http, "generate", &["--tokens", "40"]),
        (http, "generate", &["--stream", "--tokens", "40"]),
        (http, "caikit-rest", &["--tokens", "40"]),
        (http, "caikit-rest", &["--stream", "--tokens", "40"]),
        (grpc, "caikit-grpc", &["--tokens", "40"]),
        (grpc, "caikit-grpc", &["--stream", "--tokens", "40"]),
        (http, "openai-embedding", &[]),
        (http, "caikit-rest-embedding", &[]),
        (grpc, "caikit-grpc-embedding", &[]),
    ] {
        let line = [
            "--protocol",
            protocol,
            "--connections",
            "3",
            "--requests",
            "30",
        ];
        let report = load(target, &[&line, options].concat()).await;
        clean(&report, 30);
        let of_text = !protocol.starts_with("v2") && !protocol.ends_with("embedding");
        let tokens = if of_text { 30 * 40 } else { 0 };
        assert_eq!(report["tokens"], tokens, "{protocol}: {report}");
        let streams = u64::from(options.contains(&"--stream"));
        assert_eq!(report["first_token_us"]["count"], 30 * streams, "{report}");
    }
}

#[tokio::test]
async fn a_wave_comes_and_goes() {
    let (http, grpc) = stub(&[]).await;
    let line = ["--wave", "50", "--waves", "3", "--protocol"];
    clean(
        &load(http, &[&line[..], &["openai-chat"]].concat()).await,
        150,
    );
    clean(&load(grpc, &[&line[..], &["tgis"]].concat()).await, 150);
}

#[tokio::test]
async fn a_share_is_broken_off_and_the_rest_is_whole() {
    let (http, grpc) = stub(&["--interval", "300"]).await;
    for (target, protocol) in [(http, "openai-chat"), (grpc, "tgis")] {
        let report = load(
            target,
            &[
                "--protocol",
                protocol,
                "--stream",
                "--requests",
                "60",
                "--connections",
                "6",
                "--abort-fraction",
                "0.5",
                "--seed",
                "7",
            ],
        )
        .await;
        let aborted = report["aborted"].as_u64().unwrap();
        assert!((15..45).contains(&aborted), "{report}");
        clean(&report, 60 - aborted);
    }
}

#[tokio::test]
async fn a_mix_counts_each_kind() {
    let (http, grpc) = stub(&["--tokens", "8"]).await;
    let file =
        std::env::temp_dir().join(format!("mix-{}-{}.json", std::process::id(), http.port()));
    let kinds = json!([
        {"name": "chat", "protocol": "openai-chat", "stream": true, "weight": 2, "read_delay_ms": 1},
        {"name": "tgis", "protocol": "tgis", "target": format!("http://{grpc}")},
        {"name": "nowhere", "protocol": "v2-rest", "model": "m/x", "expect_status": 404},
        {"name": "never", "protocol": "tgis", "weight": 0},
    ]);
    std::fs::write(&file, kinds.to_string()).unwrap();
    let path = file.to_str().unwrap();
    let line = [
        "--mix",
        path,
        "--connections",
        "4",
        "--streams-per-connection",
        "2",
    ];
    let report = load(http, &[&line[..], &["--requests", "200"]].concat()).await;
    std::fs::remove_file(&file).unwrap();
    clean(&report, 200);
    let of = |kind: &str| report["kinds"][kind]["requests"].as_u64().unwrap();
    assert_eq!(of("chat") + of("tgis") + of("nowhere"), 200);
    assert!(of("chat") > of("tgis") && of("nowhere") > 10, "{report}");
}

/// A server that gives the same answer to every request.
async fn says(answer: String) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer = answer.clone();
            tokio::spawn(async move {
                let mut seen = vec![0; 65_536];
                while stream.read(&mut seen).await.is_ok_and(|read| read > 0) {
                    stream.write_all(answer.as_bytes()).await.ok();
                }
            });
        }
    });
    address
}

#[tokio::test]
async fn wrong_answers_are_errors_by_kind() {
    let good = json!({"choices": [{"text": " the quick", "finish_reason": "length"}],
        "usage": {"prompt_tokens": 128, "completion_tokens": 2}});
    let cases = [
        (good.to_string(), 200, None),
        (
            good.to_string().replace("quick", "Quick"),
            200,
            Some("content"),
        ),
        (
            good.to_string().replace("_tokens\":2", "_tokens\":3"),
            200,
            Some("content"),
        ),
        (
            good.to_string().replace("length", "stop"),
            200,
            Some("content"),
        ),
        ("{}".to_owned(), 200, Some("content")),
        (good.to_string(), 503, Some("status_503")),
    ];
    for (body, status, kind) in cases {
        let length = body.len();
        let head = format!("HTTP/1.1 {status} X\r\ncontent-type: application/json\r\n");
        let target = says(format!("{head}content-length: {length}\r\n\r\n{body}")).await;
        let line = ["--protocol", "openai-completion", "--requests", "3"];
        let report = load(target, &line).await;
        match kind {
            None => clean(&report, 3),
            Some(kind) => assert_eq!(report["errors"], json!({kind: 3}), "{report}"),
        }
    }
    let cut = "HTTP/1.1 200 X\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{}";
    let target = says(cut.to_owned()).await;
    let line = [
        "--protocol",
        "openai-completion",
        "--requests",
        "1",
        "--timeout",
        "0.3",
    ];
    let report = load(target, &line).await;
    assert_eq!(report["errors"], json!({"timeout": 1}), "{report}");
    let nobody = load(free().await, &line).await;
    assert_eq!(nobody["errors"], json!({"connect": 1}), "{nobody}");
}

#[tokio::test]
async fn the_bare_proxy_takes_fields_of_the_hop_away_and_reuses_connections() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = bare(listener.local_addr().unwrap(), false).await;
    let mut client = TcpStream::connect(proxy).await.unwrap();
    let mut upstream = None;
    for _ in 0..2 {
        client
            .write_all(
                b"POST /x?y HTTP/1.1\r\nhost: a\r\nconnection: x-hop\r\nx-hop: 1\r\nx-end: 2\r\n\
                  keep-alive: 5\r\ncontent-length: 3\r\n\r\nabc",
            )
            .await
            .unwrap();
        // The second request comes on the connection of the first.
        let upstream = match &mut upstream {
            Some(stream) => stream,
            empty => empty.insert(listener.accept().await.unwrap().0),
        };
        let request = until(upstream, "abc").await;
        assert!(request.starts_with("POST /x?y HTTP/1.1\r\n"), "{request}");
        assert!(
            request.contains("x-end: 2") && !request.contains("x-hop"),
            "{request}"
        );
        assert!(!request.contains("keep-alive"), "{request}");
        upstream
            .write_all(
                b"HTTP/1.1 200 OK\r\nconnection: x-back\r\nx-back: 1\r\nx-stay: 2\r\n\
                  content-length: 4\r\n\r\ndone",
            )
            .await
            .unwrap();
        let response = until(&mut client, "done").await;
        assert!(
            response.contains("x-stay: 2") && !response.contains("x-back"),
            "{response}"
        );
    }
}

async fn until(stream: &mut TcpStream, end: &str) -> String {
    let mut all = String::new();
    while !all.ends_with(end) {
        let mut some = [0; 4096];
        let read = tokio::time::timeout(CEILING, stream.read(&mut some)).await;
        let read = read.expect("it comes").unwrap();
        assert!(read > 0, "ended after {all}");
        all.push_str(std::str::from_utf8(&some[..read]).unwrap());
    }
    all.to_lowercase()
        .replacen("post", "POST", 1)
        .replacen("http/1.1", "HTTP/1.1", 1)
}
