//! The way of a request that is one call: [`OneCall`] drives it, and an [`Ask`] says what
//! is asked and how the answer looks.
//!
//! 1. The request is read as far as [`Ask::read`] needs it; it becomes a call, or is
//!    refused.
//! 2. A worker was found: the request is passed if [`Ask::pass`] will, or its content is
//!    written down by [`Ask::call`]. Both may come again, for another worker, while
//!    nothing has been sent.
//! 3. What the worker says becomes the answer, by [`Ask::event`] or, of a passed request,
//!    by [`Ask::upstream`]. The answer that pushes [`Action::Finish`] is the last.
//! 4. A failure is the host's to write while nothing has been sent, and [`Ask::broken`]'s
//!    afterwards. Nothing comes after it.
//!
//! A protocol plugin that needs no more than this returns `Box::new(OneCall::new(ask))`
//! from [`Protocol::exchange`](crate::Protocol::exchange). One whose requests make several
//! calls, or that must act on a request which broke off, implements [`Frontend`] itself.

use crate::{
    Bytes, Frontend, actions, failure,
    frontend::{Action, Input, Intent, Materialised, PassTo, Passed, Way},
    inference::{Call, Event},
    types::{Cut, Failure, FailureKind, Need, Progress},
};

/// The one call's number: of [`Intent::id`] and [`Passed::id`].
pub const CALL: u32 = 0;

/// How far a request could be read.
#[derive(Clone, Debug, PartialEq)]
pub enum Read {
    /// Not far enough: it is shown again when this is there.
    Need(Need),
    /// This is asked for. The request is not shown again; its bytes stay.
    Call(Intent),
}

/// What differs from door to door. Whatever fails ends the exchange.
pub trait Ask {
    /// Reads the request: the body, or the last message that came.
    ///
    /// # Errors
    /// What is wrong with it.
    fn read(&mut self, bytes: &dyn Bytes, progress: &Progress) -> Result<Read, Failure>;

    /// Passes the request to a worker of the same dialect; none if it cannot go on as it
    /// is, and is written down instead.
    ///
    /// # Errors
    /// What this worker cannot be asked.
    fn pass(&mut self, _to: &PassTo) -> Result<Option<Passed>, Failure> {
        Ok(None)
    }

    /// Writes down what is asked, of a model by the name that it has at the worker. An
    /// answer that an earlier worker had begun does not count.
    ///
    /// # Errors
    /// What cannot be said in neutral words.
    fn call(&mut self, model: String) -> Result<Call, Failure>;

    /// Answers with what a worker said in neutral words: all but the failure, which is
    /// seen to.
    ///
    /// # Errors
    /// What is wrong with it.
    fn event(
        &mut self,
        bytes: &dyn Bytes,
        event: Event,
        out: &mut Vec<Action>,
    ) -> Result<(), Failure>;

    /// Answers with what a worker said to a passed request: head, bytes or messages, end.
    ///
    /// # Errors
    /// What is wrong with it.
    fn upstream(
        &mut self,
        _bytes: &dyn Bytes,
        _input: Input,
        _out: &mut Vec<Action>,
    ) -> Result<(), Failure> {
        Ok(())
    }

    /// What must stay from one step to the next of what events have shown.
    fn keeps(&self) -> Vec<Need> {
        Vec::new()
    }

    /// The answer to a request that failed before one had begun; `dispatched`: a worker had
    /// been found. As it stands the host words it.
    fn refused(&self, failure: Failure, _dispatched: bool) -> Vec<Action> {
        actions::refuse(failure)
    }

    /// The end of an answer that has begun and cannot be completed. As it stands the host
    /// breaks it off.
    fn broken(&self, failure: Failure) -> Vec<Action> {
        actions::refuse(failure)
    }
}

/// Drives an [`Ask`].
#[derive(Debug)]
pub struct OneCall<A> {
    ask: A,
    asked: bool,
    dispatched: bool,
    begun: bool,
    over: bool,
}

impl<A: Ask> OneCall<A> {
    /// Nothing has come yet.
    pub fn new(ask: A) -> Self {
        Self {
            ask,
            asked: false,
            dispatched: false,
            begun: false,
            over: false,
        }
    }

    fn input(
        &mut self,
        bytes: &dyn Bytes,
        input: Input,
        out: &mut Vec<Action>,
    ) -> Result<(), Failure> {
        match input {
            Input::Body(progress) => self.read(bytes, &progress, out),
            Input::Message(message) => self.read(bytes, &message.progress, out),
            Input::Dispatched(dispatched) => self.dispatched(dispatched.way, out),
            Input::Events(events) => {
                for event in events {
                    match event.event {
                        Event::Failed(failure) => return Err(failure),
                        event => self.ask.event(bytes, event, out)?,
                    }
                    // Events of one step come together: what comes behind the end is no news.
                    if matches!(out.last(), Some(Action::Finish)) {
                        break;
                    }
                }
                Ok(())
            }
            Input::UpstreamHead(_)
            | Input::UpstreamBytes(_)
            | Input::UpstreamMessage(_)
            | Input::UpstreamEnd(_) => self.ask.upstream(bytes, input, out),
            Input::Cut(cut) => Err(cut_off(&cut, self.asked)),
            Input::MessagesEnd | Input::Other(_) => Ok(()),
        }
    }

    fn read(
        &mut self,
        bytes: &dyn Bytes,
        progress: &Progress,
        out: &mut Vec<Action>,
    ) -> Result<(), Failure> {
        if self.asked {
            return Ok(());
        }
        out.push(match self.ask.read(bytes, progress)? {
            Read::Need(need) => Action::Need(need),
            Read::Call(intent) => {
                self.asked = true;
                Action::Call(intent)
            }
        });
        Ok(())
    }

    fn dispatched(&mut self, way: Way, out: &mut Vec<Action>) -> Result<(), Failure> {
        self.dispatched = true;
        let model = match way {
            Way::Pass(to) => match self.ask.pass(&to)? {
                Some(passed) => {
                    out.push(Action::Pass(passed));
                    return Ok(());
                }
                None => to.model,
            },
            Way::Translate(to) => to.model,
            Way::Other(other) => return Err(unknown_way(&other.name)),
        };
        let call = self.ask.call(model)?;
        out.push(Action::Materialise(Materialised { id: CALL, call }));
        Ok(())
    }

    /// Whether something has gone out, or the exchange is complete.
    fn note(&mut self, out: &[Action]) {
        for action in out {
            match action {
                Action::Head(_) | Action::Data(_) | Action::Message(_) => self.begun = true,
                Action::Finish => self.over = true,
                _ => {}
            }
        }
    }
}

impl<A: Ask> Frontend for OneCall<A> {
    fn step(&mut self, bytes: &dyn Bytes, inputs: Vec<Input>) -> Vec<Action> {
        let mut out = Vec::new();
        for input in inputs {
            if self.over {
                break;
            }
            let from = out.len();
            let done = self.input(bytes, input, &mut out);
            self.note(&out[from..]);
            if let Err(failure) = done {
                self.over = true;
                out.extend(if self.begun {
                    self.ask.broken(failure)
                } else {
                    self.ask.refused(failure, self.dispatched)
                });
            }
        }
        if !self.over {
            out.extend(self.ask.keeps().into_iter().map(Action::Need));
        }
        out
    }
}

/// The host found a way that is not known here.
#[must_use]
pub fn unknown_way(name: &str) -> Failure {
    let what = format!("dispatched in an unknown way: {name}");
    failure::of(FailureKind::Internal, what)
}

/// A request that broke off or, once a call was made of it, an answer.
fn cut_off(cut: &Cut, asked: bool) -> Failure {
    match (cut, asked) {
        (Cut::Deadline, _) => failure::of(FailureKind::DeadlineExceeded, "the time was up"),
        (Cut::Limit, false) => {
            failure::of(FailureKind::PayloadTooLarge, "the request is too large")
        }
        (_, false) => failure::invalid("the request broke off", None),
        (_, true) => failure::upstream_unavailable("the worker's answer broke off"),
    }
}

#[cfg(test)]
mod tests;
