//! The REST side, over hyper's HTTP/1.1.

use std::{convert::Infallible, sync::Arc};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::Body as _;
use http_body_util::BodyExt;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use memchr::memmem;
use tokio::net::TcpListener;

use super::{
    answers::{Answers, Chunks, Wanted, Writes},
    asked::{Inputs, Prompts, Texts, count, is_true},
    reply::Reply,
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
        openai,
        tensors,
        texts,
        caikit,
        ..
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
        ("/api/v1/task/text-generation", false) => {
            whole(body, 0).await;
            json(caikit.rest_text.clone())
        }
        ("/api/v1/task/server-streaming-text-generation", false) => {
            whole(body, 0).await;
            streamed(&answers, caikit.rest_stream.clone())
        }
        ("/api/v1/task/embedding", false) => {
            whole(body, 0).await;
            json(caikit.rest_vector.clone())
        }
        ("/api/v1/task/embedding-tasks", false) => {
            let body = whole(body, usize::MAX).await;
            json(caikit.rest_vectors(count::<Texts>(&body).unwrap_or(1)))
        }
        ("/info/models", true) => json(caikit.rest_models.clone()),
        ("/v1/models", true) => json(openai.models.clone()),
        ("/health" | "/ping" | "/v2/health/live" | "/v2/health/ready", true) => json(Bytes::new()),
        ("/metrics", true) => text(),
        // A collector of telemetry, which takes what it gets.
        ("/v1/traces" | "/v1/metrics", false) => {
            whole(body, 0).await;
            json(Bytes::new())
        }
        ("/v2", true) => json(tensors.rest_server.clone()),
        ("/v2/repository/index", false) => json(tensors.rest_index.clone()),
        (path, get) => match (v2_verb(path), get) {
            (Some("infer"), false) => inferred(&answers, &parts, body).await,
            (Some("generate"), false) => {
                whole(body, 0).await;
                json(texts.whole.clone())
            }
            (Some("generate_stream"), false) => {
                let body = whole(body, usize::MAX).await;
                if is_true(&body, b"\"stream\"") {
                    streamed(&answers, texts.events.clone())
                } else {
                    streamed(&answers, Arc::from([texts.event.clone()]))
                }
            }
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
    streamed(answers, chunks.telling(wanted))
}

/// Events, at the pace that the command line says.
fn streamed(answers: &Answers, writes: Writes) -> Response<Reply> {
    let shape = &answers.shape;
    response(
        HeaderValue::from_static("text/event-stream; charset=utf-8"),
        Reply::Stream {
            writes,
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

#[cfg(test)]
mod tests {
    use super::*;

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
