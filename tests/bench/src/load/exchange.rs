//! One exchange, as both transports see it: what has come, when, and when to break it off.

use std::time::Duration;

use http::{HeaderMap, response};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::{
    answer::Answer,
    fault::Fault,
    hold::Opened,
    kind::Kind,
    record::{Brought, Recorder},
};

/// Where an exchange is broken off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Break {
    /// After others have had so many turns; the answer may have begun meanwhile.
    Sent(u32),
    /// When the head has come.
    Head,
    /// After so many reads of the body.
    Reads(u32),
}

impl Break {
    /// A random point; later ones for a stream, which has more of them.
    pub(super) fn draw(rng: &mut fastrand::Rng, stream: bool) -> Self {
        match rng.u32(0..4) {
            0 => Self::Sent(rng.u32(0..16)),
            1 => Self::Head,
            _ => Self::Reads(rng.u32(1..if stream { 32 } else { 3 })),
        }
    }
}

/// Whether to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    On,
    Break,
}

/// An exchange that goes on.
pub(super) struct Exchange<'a> {
    pub(super) kind: &'a Kind,
    /// The number of its kind.
    pub(super) at: usize,
    pub(super) answer: &'a mut Answer,
    /// When it was due.
    pub(super) due: Instant,
    /// Where times between tokens go, if it counts.
    pub(super) recorder: Option<&'a Mutex<Recorder>>,
    pub(super) point: Option<Break>,
    /// Told of the first text.
    pub(super) opened: Option<&'a Opened>,
    pub(super) brought: Brought,
    last: Option<Instant>,
    reads: u32,
}

impl<'a> Exchange<'a> {
    pub(super) fn new(kind: &'a Kind, at: usize, answer: &'a mut Answer, due: Instant) -> Self {
        Self {
            kind,
            at,
            answer,
            due,
            recorder: None,
            point: None,
            opened: None,
            brought: Brought {
                bytes_out: kind.body.len() as u64,
                ..Brought::default()
            },
            last: None,
            reads: 0,
        }
    }

    /// Waits for the head, or for the point before it where this is broken off.
    pub(super) async fn head<T>(&self, head: impl Future<Output = T>) -> Option<T> {
        let Some(Break::Sent(turns)) = self.point else {
            return Some(head.await);
        };
        let turns = async {
            for _ in 0..turns {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            biased;
            head = head => Some(head),
            () = turns => None,
        }
    }

    /// The head has come.
    pub(super) fn begin(&mut self, head: &response::Parts) -> Result<Next, Fault> {
        self.answer.begin(self.at, self.kind, head)?;
        Ok(match self.point {
            Some(Break::Head | Break::Sent(_)) => Next::Break,
            _ => Next::On,
        })
    }

    /// More of the body has come; `together` with what came before: nothing was waited for.
    pub(super) async fn data(&mut self, data: &[u8], together: bool) -> Result<Next, Fault> {
        self.brought.bytes_in += data.len() as u64;
        let tokens = u64::from(self.answer.data(data)?);
        if self.kind.stream && tokens > self.brought.tokens {
            self.text(tokens, together);
        }
        if !self.kind.read_delay.is_zero() {
            tokio::time::sleep(self.kind.read_delay).await;
        }
        self.reads += 1;
        Ok(match self.point {
            Some(Break::Reads(reads)) if self.reads >= reads => Next::Break,
            _ => Next::On,
        })
    }

    fn text(&mut self, tokens: u64, together: bool) {
        self.brought.tokens = tokens;
        if together && self.last.is_some() {
            return;
        }
        let now = Instant::now();
        match self.last.replace(now) {
            None => {
                self.brought.first = Some(now - self.due);
                if let Some(opened) = self.opened {
                    opened.first(self.brought, now);
                }
            }
            Some(before) => {
                if let Some(recorder) = self.recorder {
                    recorder.lock().between(now - before);
                }
            }
        }
    }

    /// The body has ended.
    pub(super) fn end(
        &mut self,
        head: &response::Parts,
        trailers: Option<&HeaderMap>,
    ) -> Result<(), Fault> {
        let tokens = self.answer.end(self.kind, head, trailers)?;
        self.brought.tokens = self.brought.tokens.max(u64::from(tokens));
        Ok(())
    }
}

/// Waits a moment after a failed connection, so that a server that is gone is not stormed.
pub(super) async fn pause() {
    tokio::time::sleep(Duration::from_millis(20)).await;
}
