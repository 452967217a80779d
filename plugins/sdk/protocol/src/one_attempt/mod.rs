//! The way of an upstream request for one call: [`OneAttempt`] drives it, and a [`Job`] says what
//! is sent and what the answer means. It is to a backend what [`one_call`](crate::one_call) is to
//! a frontend.
//!
//! 1. [`Job::request`] writes the call down, or says what the worker cannot be asked.
//! 2. A good answer is shown to [`Job::read`] as it comes, which makes events of it and says how
//!    much more it needs. Of another answer the beginning of the body is gathered, for
//!    [`Job::refused`].
//! 3. At the end [`Job::complete`] says whether that was all. The call ends with `end` then, and
//!    with a failure in every other case: also when the answer broke off.
//!
//! A plugin that merges calls implements [`Backend`] itself.

#[cfg(test)]
mod tests;

use crate::{
    Backend, Bytes, actions,
    backend::{Action, Input, MemberEvent, Request, Surface},
    failure,
    inference::{Call, Event},
    types::{Failure, FailureKind, Header, Need, Progress, ResponseEnd, SourceId},
};

/// How much of a refusal's body a [`Job`] is shown.
pub const REFUSAL: u64 = 16 << 10;

/// What differs from call to call. Whatever fails ends the call.
pub trait Job {
    /// Writes down what is asked.
    ///
    /// # Errors
    /// What the worker cannot be asked.
    fn request(&mut self, bytes: &dyn Bytes) -> Result<Request, Failure>;

    /// Headers of a good answer, before its bytes.
    ///
    /// # Errors
    /// What is wrong with them.
    fn head(&mut self, _headers: &[Header]) -> Result<(), Failure> {
        Ok(())
    }

    /// Reads more of the answer: of the body, or of the last message. What is not asked to be kept
    /// is let go.
    ///
    /// # Errors
    /// What is wrong with it, or what the worker says went wrong.
    fn read(
        &mut self,
        bytes: &dyn Bytes,
        progress: &Progress,
        said: &mut Vec<Event>,
    ) -> Result<Option<Need>, Failure>;

    /// The answer is over: whether it said all that it should. Something may still be said.
    ///
    /// # Errors
    /// What is wrong with it.
    fn complete(&mut self, said: &mut Vec<Event>) -> Result<bool, Failure>;

    /// What an answer means whose HTTP status is no good one. At most [`REFUSAL`] bytes of the body
    /// are shown.
    fn refused(&self, status: u16, _body: &[u8]) -> Failure {
        failure::from_http(status, format!("the worker answered with status {status}"))
    }
}

/// Drives a [`Job`].
#[derive(Debug)]
pub struct OneAttempt<J> {
    job: Result<J, Failure>,
    grpc: bool,
    /// HTTP status of an answer that is no good one.
    refused: Option<u16>,
    /// The refusal's body.
    body: Option<SourceId>,
    over: bool,
}

impl<J: Job> OneAttempt<J> {
    /// An attempt for its one member; `make` says what is to be done for it, or why it cannot be.
    pub fn new(members: Vec<Call>, make: impl FnOnce(Call) -> Result<J, Failure>) -> Self {
        let mut members = members.into_iter();
        let job = match (members.next(), members.next()) {
            (Some(call), None) => make(call),
            _ => Err(failure::of(
                FailureKind::Internal,
                "calls of this protocol are not merged",
            )),
        };
        Self {
            job,
            grpc: false,
            refused: None,
            body: None,
            over: false,
        }
    }

    fn input(
        &mut self,
        bytes: &dyn Bytes,
        input: Input,
        out: &mut Vec<Action>,
    ) -> Result<(), Failure> {
        let job = self.job.as_mut().map_err(|failure| failure.clone())?;
        let mut said = Vec::new();
        match input {
            Input::Start => {
                let request = job.request(bytes)?;
                self.grpc = matches!(request.surface, Surface::Grpc(_));
                out.push(Action::Request(request));
            }
            Input::Head(head) if (200..300).contains(&head.status) => job.head(&head.headers)?,
            Input::Head(head) => self.refused = Some(head.status),
            Input::Bytes(progress) | Input::Message(progress) => {
                let need = if self.refused.is_some() {
                    self.body = Some(progress.source);
                    Some(actions::at_least(progress.source, 0, REFUSAL))
                } else {
                    job.read(bytes, &progress, &mut said)?
                };
                out.extend(need.map(Action::Need));
            }
            Input::End(end) => {
                self.ended(bytes, &end, &mut said)?;
                said.push(Event::End);
            }
            Input::Cut(cut) => return Err(failure::from_cut(&cut)),
            Input::Left(_) => {
                self.over = true;
                out.push(Action::Finish);
            }
            Input::Other(_) => {}
        }
        self.say(said, out);
        Ok(())
    }

    fn ended(
        &mut self,
        bytes: &dyn Bytes,
        end: &ResponseEnd,
        said: &mut Vec<Event>,
    ) -> Result<(), Failure> {
        let job = self.job.as_mut().map_err(|failure| failure.clone())?;
        if let Some(status) = self.refused {
            let body = self.body.map(|body| bytes.read_all(body, 0, REFUSAL));
            return Err(job.refused(status, &body.unwrap_or_default()));
        }
        match end.code {
            Some(0) => {}
            Some(code) => {
                let message = end.message.clone().unwrap_or_default();
                return Err(failure::from_grpc(code, message));
            }
            None if self.grpc => {
                return Err(failure::upstream_invalid(
                    "the worker ended without a status",
                ));
            }
            None => {}
        }
        if job.complete(said)? {
            Ok(())
        } else {
            Err(failure::upstream_invalid(
                "the worker's answer is not complete",
            ))
        }
    }

    fn say(&mut self, said: Vec<Event>, out: &mut Vec<Action>) {
        let over = matches!(said.last(), Some(Event::End | Event::Failed(_)));
        if !said.is_empty() {
            let told = said
                .into_iter()
                .map(|event| MemberEvent { member: 0, event });
            out.push(Action::Events(told.collect()));
        }
        if over {
            self.over = true;
            out.push(Action::Finish);
        }
    }
}

impl<J: Job> Backend for OneAttempt<J> {
    fn step(&mut self, bytes: &dyn Bytes, inputs: Vec<Input>) -> Vec<Action> {
        let mut out = Vec::new();
        for input in inputs {
            if self.over {
                break;
            }
            if let Err(failure) = self.input(bytes, input, &mut out) {
                self.say(vec![Event::Failed(failure)], &mut out);
            }
        }
        out
    }
}
