//! Reads answers as they come, and says whether they are what the stub says.

mod caikit;
mod frame;
mod messages;
mod openai;
mod sse;
mod tensor;
mod texts;
mod vectors;

use bytes::Bytes;
use http::{HeaderMap, response};

use super::{
    fault::{Fault, Trouble},
    kind::{Kind, Protocol},
};
use crate::known::{self, INPUT_TOKENS};
use sse::Dialect;

/// Most that is kept of an answer that failed.
const KEPT: usize = 4096;
/// Most of an answer that is gathered: what the stub says is far shorter.
const GATHERED: usize = 256 * 1024 * 1024;

/// The reader of a lane's answers, one after the other; its buffers are used again.
#[derive(Default)]
pub(super) struct Answer {
    /// What has been gathered of the answer, or of its unfinished event or message.
    buffer: Vec<u8>,
    /// The last good body of each kind: the same bytes are as good again.
    good: Vec<Option<(Bytes, u32)>>,
    stream: Progress,
    tensor: tensor::Reading,
    known: known::Tensor,
    form: Form,
    kind: usize,
}

/// How far a stream is.
#[derive(Clone, Copy, Default)]
struct Progress {
    text: known::Follow,
    /// What it has told of its length.
    told: Option<u32>,
    /// It has told the length of the prompt.
    input: bool,
    reason: bool,
    done: bool,
}

/// What an answer is, and what reads it.
#[derive(Clone, Copy, Debug, Default)]
enum Form {
    /// Not of the expected status: only its beginning is kept.
    #[default]
    Refusal,
    /// The expected refusal.
    Anything,
    /// All of it together; gives its tokens.
    Whole(fn(&[u8]) -> Result<u32, Fault>),
    Events(Dialect, fn(&mut Progress, &[u8]) -> Result<(), Fault>),
    Messages(fn(&mut Progress, &[u8]) -> Result<(), Fault>),
    TensorRest,
    TensorGrpc,
}

impl Form {
    /// Of a good answer.
    fn of(protocol: Protocol, stream: bool) -> Self {
        match (protocol, stream) {
            (Protocol::OpenaiCompletion, false) => Self::Whole(openai::completion),
            (Protocol::OpenaiChat, false) => Self::Whole(openai::chat),
            (Protocol::OpenaiCompletion | Protocol::OpenaiChat, true) => {
                Self::Events(Dialect::PLAIN, openai::chunk)
            }
            (Protocol::Tgis, false) => Self::Whole(messages::whole),
            (Protocol::Tgis, true) => Self::Messages(messages::piece),
            (Protocol::V2Rest, _) => Self::TensorRest,
            (Protocol::V2Grpc, _) => Self::TensorGrpc,
            (Protocol::Generate, false) => Self::Whole(texts::whole),
            (Protocol::Generate, true) => Self::Events(Dialect::PLAIN, texts::event),
            (Protocol::CaikitRest, false) => Self::Whole(caikit::whole_rest),
            (Protocol::CaikitRest, true) => Self::Events(Dialect::NAMED, caikit::event),
            (Protocol::CaikitGrpc, false) => Self::Whole(caikit::whole_grpc),
            (Protocol::CaikitGrpc, true) => Self::Messages(caikit::piece),
            (Protocol::OpenaiEmbedding, _) => Self::Whole(vectors::openai),
            (Protocol::CaikitRestEmbedding, _) => Self::Whole(caikit::vector_rest),
            (Protocol::CaikitGrpcEmbedding, _) => Self::Whole(caikit::vector_grpc),
            (Protocol::OpenaiRerank, _) => Self::Whole(vectors::ranks),
        }
    }
}

impl Answer {
    /// Begins the answer to a kind of request, when its head has come.
    pub(super) fn begin(
        &mut self,
        at: usize,
        kind: &Kind,
        head: &response::Parts,
    ) -> Result<(), Fault> {
        self.buffer.clear();
        self.kind = at;
        self.stream = Progress::default();
        let status = head.status.as_u16();
        if status != kind.status.unwrap_or(200) {
            self.form = Form::Refusal;
            return Ok(());
        }
        if kind.status.is_some() || kind.code.is_some() {
            self.form = Form::Anything;
            return Ok(());
        }
        self.form = Form::of(kind.protocol, kind.stream);
        let expected = match self.form {
            Form::Events(..) => "text/event-stream",
            Form::TensorRest => {
                self.tensor.begin_rest(&head.headers)?;
                "application/octet-stream"
            }
            Form::TensorGrpc => {
                self.tensor.begin_grpc();
                "application/grpc"
            }
            _ if kind.is_http2() => "application/grpc",
            _ => "application/json",
        };
        let found = head.headers.get(http::header::CONTENT_TYPE);
        let found = found.map_or(&b""[..], |value| value.as_bytes());
        if !found.starts_with(expected.as_bytes()) {
            return Err(Fault::content(format!(
                "content-type {}, and not {expected}",
                String::from_utf8_lossy(found)
            )));
        }
        Ok(())
    }

    /// Takes more of the body. Gives how many tokens of text have come so far.
    pub(super) fn data(&mut self, data: &[u8]) -> Result<u32, Fault> {
        match self.form {
            Form::Anything => {}
            Form::Refusal => {
                let room = KEPT.saturating_sub(self.buffer.len()).min(data.len());
                self.buffer.extend_from_slice(&data[..room]);
            }
            Form::Whole(_) => {
                self.buffer.extend_from_slice(data);
                if self.buffer.len() > GATHERED {
                    return Err(Fault::content("an answer without an end"));
                }
            }
            Form::Events(dialect, read) => dialect.take(&mut self.buffer, data, |event| {
                read(&mut self.stream, event)
            })?,
            Form::Messages(read) => frame::take(&mut self.buffer, data, |message| {
                read(&mut self.stream, message)
            })?,
            Form::TensorRest => self.tensor.rest(&mut self.buffer, data, &self.known)?,
            Form::TensorGrpc => self.tensor.grpc(&mut self.buffer, data, &self.known)?,
        }
        Ok(self.stream.text.tokens())
    }

    /// The body has ended. Gives the tokens of the whole answer.
    pub(super) fn end(
        &mut self,
        kind: &Kind,
        head: &response::Parts,
        trailers: Option<&HeaderMap>,
    ) -> Result<u32, Fault> {
        if matches!(self.form, Form::Refusal) {
            let status = head.status.as_u16();
            let body = String::from_utf8_lossy(&self.buffer).into_owned();
            let told_when = head.headers.contains_key(http::header::RETRY_AFTER);
            return Err(Fault {
                told_when,
                ..Fault::new(Trouble::Status(status), body)
            });
        }
        if kind.is_http2() {
            let trailers = trailers.unwrap_or(&head.headers);
            let code = trailers.get("grpc-status").map(|code| code.to_str());
            let code: u32 = code
                .and_then(|code| code.ok()?.parse().ok())
                .ok_or_else(|| Fault::content("no grpc-status"))?;
            if code != kind.code.unwrap_or(0) {
                let message = trailers.get("grpc-message");
                let message = message.map_or(&b""[..], |message| message.as_bytes());
                let message = String::from_utf8_lossy(message).into_owned();
                return Err(Fault::new(Trouble::Grpc(code), message));
            }
        }
        let tokens = match self.form {
            Form::Refusal | Form::Anything => return Ok(0),
            Form::Whole(read) => self.whole(read)?,
            Form::Events(..) | Form::Messages(_) => self.ended()?,
            Form::TensorRest | Form::TensorGrpc => {
                return self.tensor.end(&self.buffer, kind.tensor_bytes).map(|()| 0);
            }
        };
        if kind.tokens.is_some_and(|expected| expected != tokens) {
            return Err(Fault::content(format!("{tokens} tokens")));
        }
        Ok(tokens)
    }

    fn whole(&mut self, read: fn(&[u8]) -> Result<u32, Fault>) -> Result<u32, Fault> {
        if self.good.len() <= self.kind {
            self.good.resize(self.kind + 1, None);
        }
        let place = &mut self.good[self.kind];
        if let Some((good, tokens)) = place
            && good[..] == self.buffer[..]
        {
            return Ok(*tokens);
        }
        let tokens = read(&self.buffer)?;
        *place = Some((Bytes::copy_from_slice(&self.buffer), tokens));
        Ok(tokens)
    }

    fn ended(&self) -> Result<u32, Fault> {
        let Progress {
            text,
            told,
            input,
            reason,
            done,
        } = self.stream;
        let tokens = text.tokens();
        if !self.buffer.is_empty() {
            return Err(Fault::content("the stream ends within an event"));
        }
        if !(done && reason && text.is_whole() && tokens > 0) {
            return Err(Fault::content(format!(
                "the stream ends after {tokens} tokens: end {done}, reason {reason}"
            )));
        }
        if !input {
            return Err(Fault::content("the prompt's tokens were not told"));
        }
        if told != Some(tokens) {
            return Err(Fault::content(format!(
                "{tokens} tokens, and {told:?} were told"
            )));
        }
        Ok(tokens)
    }
}

impl Progress {
    fn more(&mut self, text: &str) -> Result<(), Fault> {
        if self.done || !self.text.take(text) {
            let after = self.text.tokens();
            return Err(Fault::content(format!("{text:?} after {after} tokens")));
        }
        Ok(())
    }

    /// It says so many tokens of the prompt; 0: nothing.
    fn input(&mut self, tokens: u32) -> Result<(), Fault> {
        if tokens != 0 && tokens != INPUT_TOKENS {
            return Err(Fault::content(format!("{tokens} tokens of the prompt")));
        }
        self.input |= tokens != 0;
        Ok(())
    }

    /// It has ended, with the expected reason or another, after so many tokens.
    fn ends(&mut self, reason: bool, tokens: u32) {
        self.reason = reason;
        self.told = Some(tokens);
        self.done = true;
    }
}
