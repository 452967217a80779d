//! Hostile clients and hostile workers, at the socket.
//!
//! Every hostile act runs beside somebody who did nothing: a stream over HTTP/1.1, a stream over
//! HTTP/2 and unary requests, on other connections of the same proxy ([`house::House`]). They go on
//! while the act goes on and after it; then every gauge is at zero again and the process ends with
//! status 0. Each test says which rule of a specification, or which known attack, it is about.

mod bearer;
mod encoding;
mod expect;
mod floods;
mod frames;
mod heads;
mod house;
mod pace;
mod shapes;
mod sharing;
mod smuggling;
mod switching;
mod windows;
mod workers;

use tollgate_tests::{
    client::{End, Request, Response, http1},
    fake::{grpc as g, http1 as h},
    scene, within,
};

use frames::{Outcome, Raw};
use house::{House, Plan};

/// The head of a POST by HTTP/1.1 to a path that a plugin claims, open: more fields may follow.
const POST: &str = "POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n";

/// A body that the prey understands.
const BODY: &str = r#"{"model":"m","prompt":"x"}"#;

/// A prey that answers every request at once.
async fn ready_worker() -> h::Worker {
    h::Worker::start(|_| vec![h::json(200, &scene::completed("!"))]).await
}

/// A prey that never answers.
async fn silent_worker() -> h::Worker {
    h::Worker::start(|_| vec![h::Act::Hold]).await
}

/// A prey that streams without end to whoever asks.
async fn endless_worker() -> h::Worker {
    // Made once: all requests share the bytes.
    let event = h::event(&scene::chunk(&"z".repeat(64 << 10), None, 1));
    h::Worker::start(move |_| {
        let mut acts = vec![h::stream_head()];
        acts.extend(std::iter::repeat_n(event.clone(), 4_000));
        acts.push(h::Act::Hold);
        acts
    })
    .await
}

/// The error in the words of the dialect that the path belongs to.
fn in_dialect(response: &Response, status: u16) -> String {
    let text = String::from_utf8_lossy(&response.body).into_owned();
    assert_eq!(response.status, status, "{text}");
    assert_eq!(response.end, End::Whole);
    let error = &response.json()["error"];
    assert_eq!(error["code"], status, "{text}");
    let message = error["message"].as_str().expect("it says what is wrong");
    message.to_owned()
}
