//! A generation by a model that takes a text and gives one as tensors.
//!
//! * One that answers in pieces, as those of Triton's vLLM backend do: by `generate_stream` over
//!   HTTP, by `ModelStreamInfer` over gRPC, whether the caller wants pieces or not. Such models
//!   are decoupled, and may answer so only.
//! * One that answers at once: by an inference. A caller who wants pieces gets the one that there
//!   is where the worker's options allow it, and is refused otherwise.

mod pieces;
mod write;

use tollgate_sdk_protocol::{
    Bytes, actions,
    backend::Request,
    failure,
    inference::{
        Call, Delta, Event, FinishReason, Finished, Generate as Content, Prompt, Started, Task,
        Usage,
    },
    sse, text,
    types::{Failure, FailureKind, Header, Need, Progress, Text},
};

use super::{Job, Link, grpc, path_of, rest, stopped, tensors, unreadable};
use crate::options::{Generate as Names, Over};
use pieces::Piece;

/// Longest event of a stream.
const EVENT: usize = 4 << 20;

/// The job of a generation.
pub struct Generate {
    link: Link,
    call: Call,
    names: Names,
    /// The inference that it is made of, where it is no stream.
    inner: Option<Box<dyn Job>>,
    sse: sse::Reader,
    /// How far the body has been read.
    read: u64,
    last: Option<u32>,
    started: bool,
    reason: Option<FinishReason>,
    input_tokens: Option<u32>,
    output_tokens: Option<u32>,
    bad: Option<Failure>,
}

/// The job for a generation, if this worker can do it.
pub fn job(link: Link, call: Call) -> Result<Box<dyn Job>, Failure> {
    let unsupported = |what: &str| Err(failure::of(FailureKind::Unsupported, what));
    let Some(names) = link.target.generate_of(&call.model).cloned() else {
        return unsupported(
            "this worker's models are not said to generate text (its option `generate`)",
        );
    };
    if call.streaming && names.over == Over::Infer && !names.wrap_streams {
        return unsupported(
            "this worker's models answer at once, and not in pieces (its option `wrap-streams`)",
        );
    }
    if let Task::Generate(content) = &call.task {
        write::check(content)?;
    }
    Ok(Box::new(Generate {
        link,
        call,
        names,
        inner: None,
        sse: sse::Reader::new(EVENT),
        read: 0,
        last: None,
        started: false,
        reason: None,
        input_tokens: None,
        output_tokens: None,
        bad: None,
    }))
}

impl Generate {
    fn content(&self) -> Result<(&Content, &Text), Failure> {
        match &self.call.task {
            Task::Generate(content) => match content.prompts.as_slice() {
                [Prompt::Text(text)] => Ok((content, text)),
                _ => Err(super::unsupported("one prompt of text at a time")),
            },
            _ => Err(super::unsupported("no generation")),
        }
    }

    fn start(&mut self, bytes: &dyn Bytes, said: &mut Vec<Event>) -> Result<(), Failure> {
        if std::mem::replace(&mut self.started, true) {
            return Ok(());
        }
        let (content, prompt) = self.content()?;
        let echo = content.settings.detail.echo;
        let echo = match echo {
            // The worker is asked to leave it out: in a stream it would refuse.
            true => {
                Some(text::resolve(bytes, prompt).map_err(|what| failure::invalid(what, None))?)
            }
            false => None,
        };
        said.push(Event::Started(Started {
            item: 0,
            input_tokens: self.input_tokens,
            seed: None,
            echo,
            tokens: Vec::new(),
        }));
        Ok(())
    }

    fn piece(
        &mut self,
        bytes: &dyn Bytes,
        piece: Piece,
        said: &mut Vec<Event>,
    ) -> Result<(), Failure> {
        self.input_tokens = piece.input_tokens.or(self.input_tokens);
        self.start(bytes, said)?;
        if let Some(more) = piece.output_tokens {
            // What each piece has, not what there is so far.
            self.output_tokens = Some(self.output_tokens.unwrap_or(0).saturating_add(more));
        }
        if let Some(reason) = piece.finish_reason {
            self.reason = Some(reason);
        }
        if !piece.text.is_empty() {
            said.push(Event::Delta(Delta {
                item: 0,
                text: piece.text,
                tokens: Vec::new(),
                output_tokens: self.output_tokens,
                extras: Vec::new(),
            }));
        }
        Ok(())
    }

    fn finish(&mut self, reason: FinishReason, said: &mut Vec<Event>) {
        said.push(Event::Finished(Finished {
            item: 0,
            reason,
            stop_sequence: None,
            input_tokens: self.input_tokens,
            output_tokens: self.output_tokens,
            seed: None,
        }));
        if self.input_tokens.is_some() || self.output_tokens.is_some() {
            said.push(Event::Usage(Usage {
                input_tokens: self.input_tokens.map(u64::from),
                output_tokens: self.output_tokens.map(u64::from),
                cached_tokens: None,
                extensions: Vec::new(),
            }));
        }
    }
}

impl Job for Generate {
    fn request(&mut self, bytes: &dyn Bytes) -> Result<Request, Failure> {
        let (content, prompt) = self.content()?;
        let model = &self.call.model;
        let streaming = self.call.streaming;
        if self.names.over == Over::Infer {
            let (inputs, parameters) =
                write::inference(bytes, content, prompt, &self.names, false)?;
            // All outputs: why it ended may be among them.
            let inner = tensors::job(&self.link, &self.call, inputs, Vec::new(), parameters);
            return self.inner.insert(inner).request(bytes);
        }
        if self.link.grpc {
            let inference = write::inference(bytes, content, prompt, &self.names, streaming)?;
            let wide = self.link.target.wide_parameters;
            let message = write::message(bytes, &self.call, inference, wide)?;
            return Ok(grpc(&self.link, "ModelStreamInfer", model, message));
        }
        let body = write::json(content, prompt, &self.names, streaming)?;
        let path = path_of(&self.call, "/generate_stream");
        let mut request = rest(&self.link, "POST", &path, model, body);
        request
            .headers
            .push(actions::header("content-type", "application/json"));
        Ok(request)
    }

    fn head(&mut self, headers: &[Header]) -> Result<(), Failure> {
        self.inner
            .as_mut()
            .map_or(Ok(()), |inner| inner.head(headers))
    }

    fn read(
        &mut self,
        bytes: &dyn Bytes,
        progress: &Progress,
        said: &mut Vec<Event>,
    ) -> Result<Option<Need>, Failure> {
        if let Some(inner) = &mut self.inner {
            match tensors::whole(inner.as_mut(), bytes, progress)? {
                tensors::Whole::Need(need) => return Ok(Some(need)),
                tensors::Whole::Nothing => {}
                tensors::Whole::Outputs(outputs) => {
                    let piece = pieces::of_outputs(bytes, &outputs, &self.names)?;
                    self.piece(bytes, piece, said)?;
                }
            }
            return Ok(None);
        }
        if self.link.grpc {
            if self.last == Some(progress.source) {
                return Ok(None);
            }
            if !progress.end {
                return Ok(Some(actions::whole(progress.source)));
            }
            let piece = match pieces::of_message(bytes, progress, &self.names, &self.link.target) {
                Ok(piece) => piece?,
                Err(stop) => return stopped(stop, progress),
            };
            self.last = Some(progress.source);
            if let Some(piece) = piece {
                self.piece(bytes, piece, said)?;
            }
            return Ok(None);
        }
        let more = bytes.read_all(progress.source, self.read, progress.available - self.read);
        self.read = progress.available;
        let events = self
            .sse
            .push(&more)
            .map_err(|_| unreadable("an event is too long"))?;
        for event in events {
            match pieces::of_json(&event.data, &self.names)? {
                Ok(piece) => self.piece(bytes, piece, said)?,
                Err(failed) => {
                    self.bad.get_or_insert(failed);
                }
            }
        }
        Ok(None)
    }

    fn complete(&mut self, said: &mut Vec<Event>) -> Result<bool, Failure> {
        if let Some(failed) = self.bad.take() {
            return Err(failed);
        }
        if !self.started || self.sse.is_inside() {
            return Ok(false);
        }
        // A model that tells no reason has ended all the same; which reason it was is not
        // guessed.
        let reason = self
            .reason
            .take()
            .unwrap_or_else(|| FinishReason::Other("unspecified".to_owned()));
        self.finish(reason, said);
        Ok(true)
    }

    fn late(&mut self, said: &mut Vec<Event>) -> bool {
        if !self.started {
            return false;
        }
        self.finish(FinishReason::TimeLimit, said);
        true
    }
}
