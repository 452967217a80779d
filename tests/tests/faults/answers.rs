//! Answers that break before the client has seen any of them.

use super::*;

#[tokio::test]
async fn answers_that_are_none() {
    let body = scene::completed(" there").to_string();
    let short = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{}",
        body.len() + 10,
        body
    );
    let cases: Vec<(&str, Vec<h::Act>)> = vec![
        ("closed at once", vec![h::Act::Close]),
        ("reset at once", vec![h::Act::Reset]),
        (
            "not HTTP",
            vec![h::write("SSH-2.0-OpenSSH_9.2\r\n\r\n"), h::Act::Close],
        ),
        (
            "half a head",
            vec![h::write("HTTP/1.1 200 OK\r\ncontent-"), h::Act::Close],
        ),
        ("a body cut short", vec![h::write(short), h::Act::Close]),
        (
            "not JSON",
            vec![h::answer(200, "application/json", "<html>")],
        ),
        (
            "another's JSON",
            vec![h::json(200, &json!({"hello": "there"}))],
        ),
    ];
    for (what, acts) in cases {
        let worker = h::Worker::start(move |_| acts.clone()).await;
        let proxy = Proxy::start(&scene::one("openai", worker.address, "", NO_RETRY)).await;
        let (text, status) = tgis_whole(&proxy).await;
        assert_eq!(text, None, "{what}");
        assert!([13, 14].contains(&status.code), "{what}: {status:?}");
        assert!(status.message.len() > 3, "{what}: {status:?}");
        if !what.contains("JSON") {
            let response = http1::ask(proxy.http(), &scene::completion(false)).await;
            if what == "a body cut short" && response.status == 200 {
                // It was passed as it came, and broke off as it did.
                assert_eq!(response.end, End::Cut, "{what}");
            } else {
                refused(&response, 502);
            }
        }
    }
}

#[tokio::test]
async fn nobody_is_there() {
    for (protocol, address) in [("openai", nobody().await), ("tgis", nobody().await)] {
        let proxy = Proxy::start(&scene::one(protocol, address, "", NO_RETRY)).await;
        let response = http1::ask(proxy.http(), &scene::completion(false)).await;
        let error = refused(&response, 502);
        assert_eq!(error["type"], "Bad Gateway");
        let (_, _, status) = tgis_stream(&proxy).await;
        assert_eq!(status.code, 14, "{status:?}");
    }
}

#[tokio::test]
async fn errors_of_the_worker_keep_their_meaning() {
    let error = json!({"error": {"message": "the model is asleep", "type": "Whatever", "param": null, "code": 503}});
    for (status, code) in [
        (400, 3),
        (401, 13),
        (404, 5),
        (429, 8),
        (503, 14),
        (500, 13),
    ] {
        let mut body = error.clone();
        body["error"]["code"] = status.into();
        let worker = h::Worker::start(move |_| vec![h::json(status, &body)]).await;
        let proxy = Proxy::start(&scene::one("openai", worker.address, "", NO_RETRY)).await;
        let response = http1::ask(proxy.http(), &scene::completion(false)).await;
        // Passed: the worker's own words.
        assert_eq!(response.status, status);
        assert_eq!(response.json()["error"]["message"], "the model is asleep");
        let (text, told) = tgis_whole(&proxy).await;
        assert_eq!(text, None);
        assert_ne!(told.code, 0, "{status}");
        if status != 401 {
            assert_eq!(told.code, code, "{status}: {told:?}");
            assert!(told.message.contains("asleep"), "{status}: {told:?}");
        }
    }
}

#[tokio::test]
async fn statuses_of_a_grpc_worker_keep_their_meaning() {
    // RESOURCE_EXHAUSTED is how TGIS says that its queue is full.
    for (code, status) in [(3, 400), (5, 404), (8, 503), (14, 503), (13, 500), (4, 504)] {
        let worker =
            g::Worker::start(move |_| vec![g::Act::Status(code, "the model is asleep")]).await;
        let proxy = Proxy::start(&scene::one("tgis", worker.address, "", NO_RETRY)).await;
        let response = http1::ask(proxy.http(), &scene::completion(false)).await;
        let error = refused(&response, status);
        assert!(
            error["message"].as_str().unwrap().contains("asleep"),
            "{error}"
        );
        let (_, told) = tgis_whole(&proxy).await;
        assert_eq!(
            (told.code, told.message.as_str()),
            (code, "the model is asleep")
        );
    }
}
