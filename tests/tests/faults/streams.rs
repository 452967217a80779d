//! Streams that break off.

use super::*;

fn ways_to_break() -> Vec<(&'static str, Vec<h::Act>)> {
    vec![
        ("closed", vec![h::Act::Close]),
        ("reset", vec![h::Act::Reset]),
        (
            "closed in a chunk",
            vec![h::write("40\r\ndata: {\"id\""), h::Act::Close],
        ),
        ("no chunk", vec![h::write("zz\r\n\r\n")]),
        ("ended without a terminator", vec![h::stream_end()]),
        (
            "no JSON",
            vec![h::event("{\"id\": "), h::event("[DONE]"), h::stream_end()],
        ),
        (
            "an error of its own",
            vec![
                h::event(
                    "{\"error\": {\"message\": \"CUDA\", \"type\": \"InternalServerError\", \"param\": null, \"code\": 500}}",
                ),
                h::event("[DONE]"),
                h::stream_end(),
            ],
        ),
    ]
}

#[tokio::test]
async fn an_openai_worker_breaks_a_stream_that_is_passed() {
    for (what, then) in ways_to_break() {
        let worker = h::Worker::start(move |_| half_a_stream(then.clone())).await;
        let proxy = Proxy::start(&scene::one("openai", worker.address, "", "")).await;
        let response = openai_stream(&proxy).await;
        println!("{what}");
        if what == "no JSON" {
            // Passed is passed: what the worker says goes through.
            assert!(
                !String::from_utf8_lossy(&response.body).contains("\"finish_reason\":\"length\"")
            );
            continue;
        }
        broke_off(&response, "one two");
        assert_eq!(
            worker.journal.requests(),
            1,
            "{what}: what has begun is not begun again"
        );
    }
}

#[tokio::test]
async fn an_openai_worker_breaks_a_stream_that_is_translated() {
    for (what, then) in ways_to_break() {
        let worker = h::Worker::start(move |_| half_a_stream(then.clone())).await;
        let proxy = Proxy::start(&scene::one("openai", worker.address, "", "")).await;
        let (text, stopped, status) = tgis_stream(&proxy).await;
        assert_eq!(text, "one two", "{what}");
        assert_eq!(stopped, None, "{what}: an end was made up");
        assert!([13, 14].contains(&status.code), "{what}: {status:?}");
        assert!(status.message.len() > 3, "{what}: {status:?}");
        assert_eq!(worker.journal.requests(), 1, "{what}");
    }
}

fn ways_to_break_tgis() -> Vec<(&'static str, Vec<g::Act>)> {
    vec![
        ("reset", vec![g::Act::Reset(Reason::INTERNAL_ERROR)]),
        ("closed", vec![g::Act::Close]),
        ("GOAWAY", vec![g::Act::GoAway]),
        ("a status", vec![g::Act::Status(13, "out of memory")]),
        ("a good status, but no end", vec![g::Act::Status(0, "")]),
        (
            "no message",
            vec![
                g::Act::Write(grpc::framed(b"\xff\xff\xff")),
                g::Act::Status(0, ""),
            ],
        ),
    ]
}

#[tokio::test]
async fn a_tgis_worker_breaks_a_stream_that_is_translated() {
    for (what, then) in ways_to_break_tgis() {
        let worker = g::Worker::start(move |_| half_of_tgis(&then)).await;
        let proxy = Proxy::start(&scene::one("tgis", worker.address, "", "")).await;
        let mut client = http1::Connection::open(proxy.http()).await;
        client.send(&scene::completion(true)).await;
        let head = client.head().await;
        let mut body = Vec::new();
        let mut released = false;
        let end = loop {
            if !released && String::from_utf8_lossy(&body).contains("two") {
                released = true;
                worker.release();
            }
            match client.piece().await {
                Ok(piece) => body.extend_from_slice(&piece),
                Err(end) => break end,
            }
        };
        println!("{what}");
        let response = Response {
            status: http1::status_of(&head),
            headers: head.headers,
            body: body.into(),
            end,
        };
        broke_off(&response, "one two");
        assert_eq!(worker.journal.requests(), 1, "{what}");
    }
}

#[tokio::test]
async fn a_tgis_worker_breaks_a_stream_that_is_passed() {
    for (what, then) in ways_to_break_tgis() {
        if what == "no message" || what == "a good status, but no end" {
            // Passed is passed.
            continue;
        }
        let worker = g::Worker::start(move |_| half_of_tgis(&then)).await;
        let proxy = Proxy::start(&scene::one("tgis", worker.address, "", "")).await;
        let mut connection = http2::Connection::open(proxy.http()).await;
        let mut call = Call::begin(&mut connection, &scene::tgis("GenerateStream")).await;
        call.send(&scene::single("m", "Hello"), true).await;
        for _ in 0..3 {
            let piece: fmaas::GenerationResponse = call.message().await.unwrap();
            assert_eq!(piece.stop_reason, 0);
        }
        worker.release();
        let (rest, status) = call.all::<fmaas::GenerationResponse>().await;
        assert!(rest.is_empty(), "{what}: {rest:?}");
        assert!([13, 14].contains(&status.code), "{what}: {status:?}");
        if what == "a status" {
            assert_eq!(status.message, "out of memory");
        }
    }
}
