//! Events of one call on their way from a worker to a frontend, bounded in bytes.
//!
//! A call that is alone on its upstream makes the upstream wait when its frontend is
//! slow. Members of a merged one cannot: there a member whose queue is past its bound when a step
//! begins to speak fails alone ([`EventSender::push`] says so), and the others go on. What one step
//! says is taken together: it was there at once, and no reader could have taken any of it in between.

use std::{collections::VecDeque, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tollgate_plugin::{Sources, inference};
use tollgate_wire::source::Pin;

use crate::weight;

/// What an event may name: the bytes of the attempt that said it.
pub(crate) struct Said {
    pub(crate) event: inference::Event,
    /// Sources that held values in the event name, with their numbers there.
    pub(crate) sources: Arc<Sources>,
    /// Keeps the bytes that it names until the frontend has taken them over.
    pub(crate) pins: Vec<Pin>,
}

struct Shared {
    queue: VecDeque<(usize, Said)>,
    bytes: usize,
    /// Past its bound when the step began that speaks.
    full: bool,
    closed: bool,
    reader_gone: bool,
}

struct Channel {
    shared: Mutex<Shared>,
    changed: Notify,
    room: Notify,
    limit: usize,
}

/// The worker's end.
pub(crate) struct EventSender(Arc<Channel>);

/// The frontend's end.
pub(crate) struct EventReceiver(Arc<Channel>);

/// What became of an event.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Pushed {
    /// It waits for the frontend.
    Queued,
    /// The caller has gone.
    Left,
    /// The queue was full; the member has been failed.
    Overflowed,
}

/// A queue of at most `limit` bytes of events, and what one step says beside them: as much as a guest
/// may put out in one call.
pub(crate) fn channel(limit: usize) -> (EventSender, EventReceiver) {
    let channel = Arc::new(Channel {
        shared: Mutex::new(Shared {
            queue: VecDeque::new(),
            bytes: 0,
            full: false,
            closed: false,
            reader_gone: false,
        }),
        changed: Notify::new(),
        room: Notify::new(),
        limit,
    });
    (EventSender(channel.clone()), EventReceiver(channel))
}

impl EventSender {
    /// Begins a step, whose events are all taken or none.
    pub(crate) fn begin_step(&self) {
        let mut shared = self.0.shared.lock();
        shared.full = shared.bytes > self.0.limit;
    }

    /// Queues an event; one of a step that began past the bound fails the member.
    pub(crate) fn push(&self, said: Said) -> Pushed {
        let size = weight::of_event(&said.event);
        let mut shared = self.0.shared.lock();
        if shared.reader_gone {
            return Pushed::Left;
        }
        if shared.closed {
            return Pushed::Overflowed;
        }
        if shared.full {
            shared.closed = true;
            let failure = crate::failures::failure(
                "overloaded",
                "the client read too slowly for the batch that its request was part of",
            );
            shared.queue.push_back((
                0,
                Said {
                    event: inference::Event::Failed(failure),
                    sources: said.sources,
                    pins: Vec::new(),
                },
            ));
            drop(shared);
            self.0.changed.notify_one();
            return Pushed::Overflowed;
        }
        shared.bytes += size;
        shared.queue.push_back((size, said));
        drop(shared);
        self.0.changed.notify_one();
        Pushed::Queued
    }

    /// Waits until the queue is under its bound, or the frontend has gone.
    pub(crate) async fn room(&self) {
        loop {
            let notified = self.0.room.notified();
            {
                let shared = self.0.shared.lock();
                if shared.reader_gone || shared.bytes <= self.0.limit {
                    return;
                }
            }
            notified.await;
        }
    }

    /// Whether the caller has gone.
    pub(crate) fn left(&self) -> bool {
        self.0.shared.lock().reader_gone
    }

    /// Resolves when the caller has gone.
    pub(crate) async fn gone(&self) {
        loop {
            let notified = self.0.room.notified();
            if self.left() {
                return;
            }
            notified.await;
        }
    }
}

impl Drop for EventSender {
    fn drop(&mut self) {
        self.0.shared.lock().closed = true;
        self.0.changed.notify_one();
    }
}

impl EventReceiver {
    /// Everything that has been said; empty when nothing more will be.
    pub(crate) async fn take(&self) -> Vec<Said> {
        loop {
            let notified = self.0.changed.notified();
            {
                let mut shared = self.0.shared.lock();
                if !shared.queue.is_empty() || shared.closed {
                    shared.bytes = 0;
                    shared.full = false;
                    let taken = shared.queue.drain(..).map(|(_, said)| said).collect();
                    drop(shared);
                    self.0.room.notify_waiters();
                    self.0.room.notify_one();
                    return taken;
                }
            }
            notified.await;
        }
    }
}

impl Drop for EventReceiver {
    fn drop(&mut self) {
        let mut shared = self.0.shared.lock();
        shared.reader_gone = true;
        shared.queue.clear();
        drop(shared);
        self.0.room.notify_waiters();
        self.0.room.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: usize) -> Said {
        Said {
            event: inference::Event::Delta(inference::Delta {
                item: 0,
                text: "x".repeat(text),
                tokens: Vec::new(),
                output_tokens: None,
                extras: Vec::new(),
            }),
            sources: Arc::default(),
            pins: Vec::new(),
        }
    }

    #[tokio::test]
    async fn a_member_past_its_bound_fails_once_and_keeps_what_came_before() {
        let (sender, receiver) = channel(100);
        sender.begin_step();
        // What one step says is taken whole.
        assert_eq!(sender.push(said(200)), Pushed::Queued);
        assert_eq!(sender.push(said(1)), Pushed::Queued);
        sender.begin_step();
        assert_eq!(sender.push(said(1)), Pushed::Overflowed);
        assert_eq!(sender.push(said(1)), Pushed::Overflowed);
        let taken = receiver.take().await;
        assert_eq!(taken.len(), 3);
        assert!(matches!(&taken[2].event, inference::Event::Failed(_)));
        assert!(receiver.take().await.is_empty());
    }

    #[tokio::test]
    async fn a_reader_that_takes_in_time_misses_nothing() {
        let (sender, receiver) = channel(100);
        for _ in 0..3 {
            sender.begin_step();
            assert_eq!(sender.push(said(200)), Pushed::Queued);
            assert_eq!(receiver.take().await.len(), 1);
        }
    }

    #[tokio::test]
    async fn room_comes_back_when_the_reader_takes_or_leaves() {
        let (sender, receiver) = channel(10);
        assert_eq!(sender.push(said(100)), Pushed::Queued);
        assert!(futures_util::FutureExt::now_or_never(sender.room()).is_none());
        receiver.take().await;
        sender.room().await;
        sender.push(said(100));
        drop(receiver);
        sender.room().await;
        sender.gone().await;
        assert_eq!(sender.push(said(1)), Pushed::Left);
    }
}
