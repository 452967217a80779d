//! The gRPC side, over h2.

use std::{future::poll_fn, sync::Arc};

use bytes::Bytes;
use h2::{
    RecvStream,
    server::{self, SendResponse},
};
use http::{HeaderMap, HeaderValue, Request, Response, header};
use tokio::net::TcpListener;

use super::{
    answers::{Answers, Writes},
    asked::{members, wants_stream},
    writes::Pace,
};
use crate::{frames, net};

/// What a client may send on a stream, and on a connection, before it was read.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 1 << 26;
/// Streams that a client may take back before we have looked at them; a proxy whose clients leave
/// does that often, and it is no attack here.
const TAKEN_BACK: usize = 1 << 16;

const UNIMPLEMENTED: u32 = 12;

/// Serves every client, for ever.
pub(super) async fn serve(listener: &TcpListener, answers: &Arc<Answers>) {
    loop {
        let stream = net::accept(listener).await;
        let answers = answers.clone();
        tokio::spawn(async move {
            let handshake = server::Builder::new()
                .initial_window_size(STREAM_WINDOW)
                .initial_connection_window_size(CONNECTION_WINDOW)
                .max_concurrent_reset_streams(TAKEN_BACK)
                .max_pending_accept_reset_streams(TAKEN_BACK)
                .handshake(stream);
            let Ok(mut connection) = handshake.await else {
                return;
            };
            while let Some(Ok((request, respond))) = connection.accept().await {
                let answers = answers.clone();
                // A stream that was taken back is no error of ours.
                tokio::spawn(async move { answer(&answers, request, respond).await.ok() });
            }
        });
    }
}

/// What is answered.
enum Reply {
    One(Bytes),
    Two(Bytes, Bytes),
    Stream(Writes),
    Status(u32),
}

async fn answer(
    answers: &Answers,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
) -> Result<(), h2::Error> {
    let (parts, body) = request.into_parts();
    let Answers {
        messages,
        tensors,
        texts,
        caikit,
        ..
    } = answers;
    let reply = match parts.uri.path() {
        "/fmaas.GenerationService/Generate" => {
            let requests = read(body, true).await?;
            match members(&requests, 3) {
                1 => Reply::One(messages.one.clone()),
                many => Reply::One(messages.generations(many)),
            }
        }
        "/fmaas.GenerationService/Tokenize" => {
            let requests = read(body, true).await?;
            Reply::One(messages.tokenized(members(&requests, 2)))
        }
        "/caikit.runtime.Nlp.NlpService/EmbeddingTasksPredict" => {
            let requests = read(body, true).await?;
            Reply::One(caikit.grpc_vectors(members(&requests, 1)))
        }
        "/inference.GRPCInferenceService/ModelStreamInfer" => {
            let request = read(body, true).await?;
            if wants_stream(&request) {
                Reply::Stream(texts.messages.clone())
            } else {
                Reply::One(texts.message.clone())
            }
        }
        path => {
            let path = path.to_owned();
            read(body, false).await?;
            match path.as_str() {
                "/fmaas.GenerationService/GenerateStream" => Reply::Stream(messages.stream.clone()),
                "/fmaas.GenerationService/ModelInfo" => Reply::One(messages.model_info.clone()),
                "/caikit.runtime.Nlp.NlpService/TextGenerationTaskPredict" => {
                    Reply::One(caikit.grpc_text.clone())
                }
                "/caikit.runtime.Nlp.NlpService/ServerStreamingTextGenerationTaskPredict" => {
                    Reply::Stream(caikit.grpc_stream.clone())
                }
                "/caikit.runtime.Nlp.NlpService/EmbeddingTaskPredict" => {
                    Reply::One(caikit.grpc_vector.clone())
                }
                "/caikit.runtime.info.InfoService/GetModelsInfo" => {
                    Reply::One(caikit.grpc_models.clone())
                }
                "/grpc.health.v1.Health/Check" => Reply::One(messages.health.clone()),
                "/inference.GRPCInferenceService/ModelInfer" => {
                    Reply::Two(tensors.grpc.clone(), tensors.data.clone())
                }
                "/inference.GRPCInferenceService/ServerLive"
                | "/inference.GRPCInferenceService/ServerReady"
                | "/inference.GRPCInferenceService/ModelReady" => {
                    Reply::One(tensors.grpc_well.clone())
                }
                "/inference.GRPCInferenceService/ServerMetadata" => {
                    Reply::One(tensors.grpc_server.clone())
                }
                "/inference.GRPCInferenceService/ModelMetadata" => {
                    Reply::One(tensors.grpc_model.clone())
                }
                "/inference.GRPCInferenceService/RepositoryIndex" => {
                    Reply::One(tensors.grpc_index.clone())
                }
                _ => Reply::Status(UNIMPLEMENTED),
            }
        }
    };
    let mut head = Response::new(());
    let grpc = HeaderValue::from_static("application/grpc");
    head.headers_mut().insert(header::CONTENT_TYPE, grpc);
    if let Reply::Status(code) = reply {
        head.headers_mut().extend(status(code));
        respond.send_response(head, true)?;
        return Ok(());
    }
    let mut stream = respond.send_response(head, false)?;
    match reply {
        Reply::One(message) => frames::send(&mut stream, message, false).await?,
        Reply::Two(before, data) => {
            frames::send(&mut stream, before, false).await?;
            frames::send(&mut stream, data, false).await?;
        }
        Reply::Stream(writes) => {
            let mut pace = Pace::new(answers.shape.interval);
            for (at, write) in writes.iter().enumerate() {
                if at > 0 {
                    if answers.shape.hold {
                        poll_fn(|cx| stream.poll_reset(cx)).await?;
                        return Ok(());
                    }
                    if poll_fn(|cx| pace.poll(cx)).await.is_err() {
                        stream.send_reset(h2::Reason::INTERNAL_ERROR);
                        return Ok(());
                    }
                }
                frames::send_whole(&mut stream, write.clone()).await?;
            }
        }
        Reply::Status(_) => {}
    }
    stream.send_trailers(status(0))
}

fn status(code: u32) -> HeaderMap {
    let mut trailers = HeaderMap::with_capacity(1);
    trailers.insert("grpc-status", code.into());
    trailers
}

/// Reads all of a request, and keeps it if it is to be looked at.
async fn read(mut body: RecvStream, keep: bool) -> Result<Bytes, h2::Error> {
    let mut first = Bytes::new();
    let mut more = Vec::new();
    while let Some(data) = body.data().await {
        let data = data?;
        let _ = body.flow_control().release_capacity(data.len());
        if !keep {
            continue;
        }
        if first.is_empty() && more.is_empty() {
            first = data;
            continue;
        }
        if more.is_empty() {
            more.extend_from_slice(&first);
        }
        more.extend_from_slice(&data);
    }
    Ok(if more.is_empty() { first } else { more.into() })
}
