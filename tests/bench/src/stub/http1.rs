//! The REST side, over hyper's HTTP/1.1.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use memchr::memmem;
use serde::{Deserialize, de::IgnoredAny};
use tokio::net::TcpListener;

use super::{
    answers::{Answers, Chunks, Wanted, Writes},
    writes::Pace,
};
use crate::net;

const INFERENCE_HEADER: HeaderName = HeaderName::from_static("inference-header-content-length");

/// Most of a tensor's request that is kept to be looked at; its JSON part stands first.
const KEPT: usize = 64 * 1024;

/// Serves every client, for ever.
pub(super) async fn serve(listener: &TcpListener, answers: &Arc<Answers>) {
    loop {
        let stream = net::accept(listener).await;
        let answers = answers.clone();
        tokio::spawn(async move {
            let service = service_fn(|request| answer(answers.clone(), request));
            // A client that leaves is no error of ours.
            let _ = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn answer(
    answers: Arc<Answers>,
    request: Request<Incoming>,
) -> Result<Response<Reply>, Infallible> {
    let (parts, body) = request.into_parts();
    let get = parts.method == Method::GET;
    let Answers {
        openai, tensors, ..
    } = &*answers;
    let reply = match (parts.uri.path(), get) {
        ("/v1/completions", false) => generated(&answers, body, false).await,
        ("/v1/chat/completions", false) => generated(&answers, body, true).await,
        ("/v1/embeddings", false) => {
            let body = whole(body, usize::MAX).await;
            let inputs = count::<Inputs>(&body).unwrap_or(1);
            let base64 = memmem::find(&body, b"\"base64\"").is_some();
            json(openai.embeddings(inputs, base64))
        }
        ("/v1/models", true) => json(openai.models.clone()),
        ("/health" | "/ping" | "/v2/health/live" | "/v2/health/ready", true) => json(Bytes::new()),
        ("/metrics", true) => text(),
        ("/v2", true) => json(tensors.rest_server.clone()),
        ("/v2/repository/index", false) => json(tensors.rest_index.clone()),
        (path, get) => match (v2_verb(path), get) {
            (Some("infer"), false) => inferred(&answers, &parts, body).await,
            (Some("ready"), true) => json(Bytes::new()),
            (Some(""), true) => json(tensors.rest_model.clone()),
            _ => {
                let body = Bytes::from_static(b"{\"error\":\"not found\"}");
                let mut reply = json(body);
                *reply.status_mut() = StatusCode::NOT_FOUND;
                reply
            }
        },
    };
    Ok(reply)
}

/// What stands behind `/v2/models/NAME[/versions/V]/`; empty for the model itself.
fn v2_verb(path: &str) -> Option<&str> {
    let mut parts = path.strip_prefix("/v2/models/")?.split('/');
    parts.next()?;
    match (parts.next(), parts.next(), parts.next()) {
        (None, ..) => Some(""),
        (Some("versions"), Some(_), None) => Some(""),
        (Some("versions"), Some(_), verb) => verb,
        (verb, None, _) => verb,
        _ => None,
    }
}

async fn generated(answers: &Answers, body: Incoming, chat: bool) -> Response<Reply> {
    let body = whole(body, usize::MAX).await;
    let openai = &answers.openai;
    if !is_true(&body, b"\"stream\"") {
        let prompts = if !chat && memmem::find(&body, b"\"prompt\":[").is_some() {
            count::<Prompts>(&body).unwrap_or(1)
        } else {
            1
        };
        return json(match (chat, prompts) {
            (true, _) => openai.chat.clone(),
            (false, 1) => openai.completion.clone(),
            (false, prompts) => {
                openai.completions(prompts, is_true(&body, b"\"return_token_ids\""))
            }
        });
    }
    let wanted = if is_true(&body, b"\"continuous_usage_stats\"") {
        Wanted::Always
    } else if is_true(&body, b"\"include_usage\"") {
        Wanted::Total
    } else {
        Wanted::Nothing
    };
    let chunks: &Chunks = if chat {
        &openai.chat_chunks
    } else {
        &openai.completion_chunks
    };
    let shape = &answers.shape;
    response(
        HeaderValue::from_static("text/event-stream; charset=utf-8"),
        Reply::Stream {
            writes: chunks.telling(wanted),
            at: 0,
            pace: Pace::new(shape.interval),
            hold: shape.hold,
        },
    )
}

async fn inferred(
    answers: &Answers,
    parts: &http::request::Parts,
    body: Incoming,
) -> Response<Reply> {
    let start = whole(body, KEPT).await;
    let tensors = &answers.tensors;
    let length = parts.headers.get(INFERENCE_HEADER);
    let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
    let head = &start[..length.unwrap_or(start.len()).min(start.len())];
    let binary = is_true(head, b"\"binary_data_output\"") || is_true(head, b"\"binary_data\"");
    if !binary {
        return json(tensors.json());
    }
    let mut reply = response(
        HeaderValue::from_static("application/octet-stream"),
        Reply::Parts([Some(tensors.rest.clone()), Some(tensors.data.clone())]),
    );
    let length = HeaderValue::from(tensors.rest.len());
    reply.headers_mut().insert(INFERENCE_HEADER, length);
    reply
}

/// Reads all of a body, and keeps so much of it. A body that breaks off is answered all the same:
/// there is nobody left to read it.
async fn whole(mut body: Incoming, keep: usize) -> Bytes {
    let mut first = Bytes::new();
    let mut more = Vec::new();
    while let Some(Ok(frame)) = body.frame().await {
        let Ok(data) = frame.into_data() else {
            continue;
        };
        // The usual case, which copies nothing.
        if first.is_empty() && more.is_empty() {
            first = data;
            continue;
        }
        if more.is_empty() {
            more.reserve(body.size_hint().lower().min(keep as u64) as usize + first.len());
            more.extend_from_slice(&first);
        }
        if more.len() < keep {
            more.extend_from_slice(&data);
        }
    }
    if more.is_empty() { first } else { more.into() }
}

/// Whether a member is written and true. A name within a string does not look like one: its
/// closing quote would stand behind a backslash.
fn is_true(json: &[u8], name: &[u8]) -> bool {
    let mut places = memmem::find_iter(json, name);
    places.any(|at| {
        let mut rest = json[at + name.len()..].trim_ascii_start();
        if let [b':', value @ ..] = rest {
            rest = value.trim_ascii_start();
            return rest.starts_with(b"true");
        }
        false
    })
}

#[derive(Deserialize)]
struct Prompts {
    prompt: Many,
}

#[derive(Deserialize)]
struct Inputs {
    input: Many,
}

/// A list of texts or of lists counts its members; one text, or one list of numbers, is one.
#[derive(Deserialize)]
#[serde(untagged)]
enum Many {
    Numbers(Vec<u32>),
    List(Vec<IgnoredAny>),
    One(IgnoredAny),
}

trait Counted: for<'de> Deserialize<'de> {
    fn many(self) -> Many;
}

impl Counted for Prompts {
    fn many(self) -> Many {
        self.prompt
    }
}

impl Counted for Inputs {
    fn many(self) -> Many {
        self.input
    }
}

fn count<T: Counted>(json: &[u8]) -> Option<u32> {
    match serde_json::from_slice::<T>(json).ok()?.many() {
        Many::Numbers(numbers) if !numbers.is_empty() => Some(1),
        Many::Numbers(_) => Some(0),
        Many::List(list) => u32::try_from(list.len()).ok(),
        Many::One(_) => Some(1),
    }
}

fn json(body: Bytes) -> Response<Reply> {
    let body = Reply::Parts([Some(body), None]);
    response(HeaderValue::from_static("application/json"), body)
}

fn text() -> Response<Reply> {
    // What a worker tells of its load, for a probe to read: none.
    let body = Bytes::from_static(b"vllm:num_requests_running 0\nvllm:num_requests_waiting 0\n");
    response(
        HeaderValue::from_static("text/plain; version=0.0.4"),
        Reply::Parts([Some(body), None]),
    )
}

fn response(content_type: HeaderValue, body: Reply) -> Response<Reply> {
    let mut response = Response::new(body);
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, content_type);
    response
}

/// A response's body.
enum Reply {
    /// Known bytes, in order.
    Parts([Option<Bytes>; 2]),
    /// A stream.
    Stream {
        writes: Writes,
        at: usize,
        pace: Pace,
        hold: bool,
    },
}

impl Body for Reply {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<std::io::Result<Frame<Bytes>>>> {
        match self.get_mut() {
            Self::Parts(parts) => {
                let next = parts.iter_mut().find_map(Option::take);
                Poll::Ready(next.map(|part| Ok(Frame::data(part))))
            }
            Self::Stream {
                writes,
                at,
                pace,
                hold,
            } => {
                if *at == writes.len() {
                    return Poll::Ready(None);
                }
                if *at > 0 {
                    if *hold {
                        // The connection watches for the client's end by itself.
                        return Poll::Pending;
                    }
                    if let Err(error) = ready!(pace.poll(cx)) {
                        return Poll::Ready(Some(Err(error)));
                    }
                }
                let write = writes[*at].clone();
                *at += 1;
                Poll::Ready(Some(Ok(Frame::data(write))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Parts(parts) => parts.iter().flatten().all(Bytes::is_empty),
            Self::Stream { writes, at, .. } => *at == writes.len(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Parts(parts) => {
                SizeHint::with_exact(parts.iter().flatten().map(|part| part.len() as u64).sum())
            }
            Self::Stream { .. } => SizeHint::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_found_and_texts_are_not() {
        for json in [r#"{"stream":true}"#, r#"{"stream" : true,"x":1}"#] {
            assert!(is_true(json.as_bytes(), b"\"stream\""), "{json}");
        }
        for json in [
            r#"{"stream":false}"#,
            r#"{"prompt":"\"stream\":true"}"#,
            r#"{"stream_options":{}}"#,
        ] {
            assert!(!is_true(json.as_bytes(), b"\"stream\""), "{json}");
        }
    }

    #[test]
    fn prompts_are_counted() {
        let count = |json: &str| count::<Prompts>(json.as_bytes());
        assert_eq!(count(r#"{"prompt":"a"}"#), Some(1));
        assert_eq!(count(r#"{"prompt":["a","b"]}"#), Some(2));
        assert_eq!(count(r#"{"prompt":[1,2,3]}"#), Some(1));
        assert_eq!(count(r#"{"prompt":[[1],[2,3]]}"#), Some(2));
        assert_eq!(count("{"), None);
    }

    #[test]
    fn paths_of_models_have_a_verb() {
        assert_eq!(v2_verb("/v2/models/m/infer"), Some("infer"));
        assert_eq!(v2_verb("/v2/models/m/versions/1/ready"), Some("ready"));
        assert_eq!(v2_verb("/v2/models/m"), Some(""));
        assert_eq!(v2_verb("/v2/models/m/versions/1"), Some(""));
        assert_eq!(v2_verb("/v2/models/m/a/b"), None);
        assert_eq!(v2_verb("/v1/x"), None);
    }
}
