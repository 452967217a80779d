//! Host-held bytes: one producer, readers by absolute offset, a bounded window.
//!
//! A [`Source`] is a body, a message or a response that is still arriving. One
//! [`Feeder`] appends to it; any number of `Source` handles read it by absolute
//! offset. What is held is bounded:
//!
//! 1. The *mark* is the lowest offset that somebody still needs: the offset given to
//!    [`Source::release`], or that of the lowest [`Pin`], whichever is lower. Bytes
//!    before the mark are freed, also those that arrive later.
//! 2. The feeder may append while fewer than `window` bytes lie between the mark and
//!    what has arrived; then it waits. A chunk that does not fit is split, so the
//!    window is never passed.
//! 3. A reader that waits for more than the window can hold beyond what it keeps
//!    would wait for ever. So [`Source::reach`] widens the window to fit, up to the
//!    hard `limit`; when the reader's own bytes fill the limit and more come, the
//!    source is cut with [`Cut::Limit`].
//!
//! A lapsing pin ([`Source::pin_within`]) stands outside the window and has a budget
//! of its own, so a body kept for a retry never blocks the stream that carries it. At
//! most `max(window, budget)` bytes are held, and `max(limit, budget)` at worst.
//!
//! Freeing is exact for readers; memory goes when the last byte of a chunk is freed.

mod feeder;
mod state;

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;

pub use self::feeder::{Abandoned, Feeder};
use self::state::{State, Ticket};
use crate::budget::{NoRoom, Room};

/// Why a stream of bytes ended before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// The peer closed or reset it, or its producer was dropped.
    Closed,
    /// Its time was up.
    Deadline,
    /// A bound was passed.
    Limit,
    /// Framing that is not the protocol's.
    Malformed,
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Cut::Closed => "closed before its end",
            Cut::Deadline => "out of time",
            Cut::Limit => "larger than its limit",
            Cut::Malformed => "malformed framing",
        })
    }
}

/// How far a source has got. All offsets are bytes from its beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes that have arrived, freed ones included.
    pub available: u64,
    /// Bytes before this offset have been freed.
    pub released: u64,
    /// Length of the whole, when declared or when the end has come.
    pub total: Option<u64>,
    /// Nothing more comes, and all is well.
    pub end: bool,
    /// Nothing more comes, and the end is missing.
    pub cut: Option<Cut>,
}

impl Progress {
    /// Nothing more comes, well or not.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.end || self.cut.is_some()
    }
}

/// Why a range cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// The range begins before what has been freed.
    #[error("bytes before {released} have been released")]
    Released {
        /// The lowest offset that can still be read.
        released: u64,
    },
}

struct Shared {
    state: Mutex<State>,
    /// Wakes readers: bytes, end or cut.
    arrived: Notify,
    /// Wakes the producer: room, or nobody left to feed.
    wanted: Notify,
    /// Live `Source` handles.
    handles: AtomicUsize,
}

/// A handle on host-held bytes. Cheap to clone.
pub struct Source {
    shared: Arc<Shared>,
}

// === impl Source ===

impl Source {
    /// Bytes that are all there.
    #[must_use]
    pub fn whole(bytes: Bytes) -> Self {
        Self::of(State::whole(bytes))
    }

    /// Bytes that are still to come.
    ///
    /// `window` (at least 1) is the most that is held of what nobody has released,
    /// `limit` (at least `window`) the most to which a waiting reader may widen it,
    /// `total` the declared length where there is one: a body that ends short of it
    /// is cut with [`Cut::Closed`], one that goes past it with [`Cut::Malformed`].
    #[must_use]
    pub fn streaming(window: u64, limit: u64, total: Option<u64>) -> (Self, Feeder) {
        let source = Self::of(State::streaming(window, limit, total));
        let feeder = Feeder::new(Arc::clone(&source.shared));
        (source, feeder)
    }

    /// Binds what a streaming source may hold to budgets, which its window takes of before the
    /// bytes are there, and for as long as anybody holds the source. Where there is no room for
    /// a wider window it is cut with [`Cut::Limit`], and [`Source::starved`] says so.
    ///
    /// # Errors
    /// There is no room even for the window as it is.
    pub fn bind(&self, room: Room) -> Result<(), NoRoom> {
        self.shared.state.lock().bind(room)
    }

    /// Whether it was cut because there was no room for more of it.
    #[must_use]
    pub fn starved(&self) -> Option<NoRoom> {
        self.shared.state.lock().starved()
    }

    fn of(state: State) -> Self {
        Self {
            shared: Arc::new(Shared {
                state: Mutex::new(state),
                arrived: Notify::new(),
                wanted: Notify::new(),
                handles: AtomicUsize::new(1),
            }),
        }
    }

    /// How far it has got.
    #[must_use]
    pub fn progress(&self) -> Progress {
        self.shared.state.lock().progress()
    }

    /// What has arrived of `offset .. offset + len`. Without a copy when that lies in
    /// one chunk; joined otherwise.
    ///
    /// # Errors
    /// The range begins before what has been freed.
    pub fn read(&self, offset: u64, len: u64) -> Result<Bytes, Unavailable> {
        let pieces = self.chunks(offset, len)?;
        Ok(join(pieces))
    }

    /// What has arrived of `offset .. offset + len`, as it lies, without a copy.
    ///
    /// # Errors
    /// The range begins before what has been freed.
    pub fn chunks(&self, offset: u64, len: u64) -> Result<Vec<Bytes>, Unavailable> {
        self.shared.state.lock().chunks(offset, len)
    }

    /// The first piece, as it lies, of what has arrived of `offset .. offset + len`;
    /// empty when nothing has.
    ///
    /// # Errors
    /// The range begins before what has been freed.
    pub fn first_chunk(&self, offset: u64, len: u64) -> Result<Bytes, Unavailable> {
        self.shared.state.lock().first_chunk(offset, len)
    }

    /// Frees bytes before the offset, now or when they arrive, but for pinned ones.
    pub fn release(&self, before: u64) {
        let freed = self.shared.state.lock().release(before);
        self.shared.freed(freed);
    }

    /// Keeps bytes from `from` on while the pin lives.
    ///
    /// A pinned byte takes room in the window. Whoever holds a pin must move it on or
    /// wait by [`Pin::reach`]; to keep bytes without reading on, use
    /// [`Source::pin_within`].
    #[must_use]
    pub fn pin(&self, from: u64) -> Pin {
        let ticket = self.shared.state.lock().pin(from);
        Pin {
            source: self.clone(),
            ticket,
        }
    }

    /// Keeps bytes from `from` on while the pin lives and they are at most `budget`;
    /// past that it lapses, and never blocks the stream.
    #[must_use]
    pub fn pin_within(&self, from: u64, budget: u64) -> Pin {
        let (ticket, freed) = self.shared.state.lock().pin_within(from, budget);
        self.shared.freed(freed);
        Pin {
            source: self.clone(),
            ticket,
        }
    }

    /// Lets the window grow to `window`, within the limit. It never shrinks.
    pub fn widen(&self, window: u64) {
        let starved = {
            let mut state = self.shared.state.lock();
            state.widen(window);
            state.starved().is_some()
        };
        if starved {
            self.shared.over();
        } else {
            self.shared.wanted.notify_waiters();
        }
    }

    /// Ends the source from the reader's side. The first end or cut counts.
    pub fn cut(&self, cut: Cut) {
        self.shared.state.lock().cut(cut);
        self.shared.over();
    }

    /// Waits until `available` is at least `at_least`, or for the end, or a cut.
    /// Safe to cancel; many may wait. `u64::MAX` asks for the whole.
    ///
    /// The wait counts bytes from the released offset on as kept: see the module.
    pub fn reach(&self, at_least: u64) -> impl Future<Output = Progress> + Send + '_ {
        self.reach_keeping(None, at_least)
    }

    /// As [`Source::reach`], counting bytes from `keep` on as kept by this reader.
    pub(crate) async fn reach_keeping(&self, keep: Option<u64>, at_least: u64) -> Progress {
        let waiting = {
            let mut state = self.shared.state.lock();
            let progress = state.progress();
            if progress.available >= at_least || progress.is_over() {
                return progress;
            }
            let ticket = state.want(keep, at_least);
            Waiting {
                shared: &self.shared,
                ticket,
            }
        };
        // The window may have grown, or the wish may have cut the source.
        if self.progress().is_over() {
            self.shared.over();
        } else {
            self.shared.wanted.notify_waiters();
        }
        loop {
            let mut arrived = std::pin::pin!(self.shared.arrived.notified());
            arrived.as_mut().enable();
            let progress = self.progress();
            if progress.available >= at_least || progress.is_over() {
                drop(waiting);
                return progress;
            }
            arrived.await;
        }
    }
}

impl Clone for Source {
    fn clone(&self) -> Self {
        self.shared.handles.fetch_add(1, Ordering::Relaxed);
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        if self.shared.handles.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.shared.wanted.notify_waiters();
        }
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Source").field(&self.progress()).finish()
    }
}

impl PartialEq for Source {
    /// The same bytes in the same place, not equal bytes.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }
}

// === impl Shared ===

impl Shared {
    /// Wakes the producer when there may be room, and lets freed chunks go outside
    /// of the lock.
    fn freed(&self, chunks: Vec<Bytes>) {
        drop(chunks);
        self.wanted.notify_waiters();
    }

    fn over(&self) {
        self.arrived.notify_waiters();
        self.wanted.notify_waiters();
    }

    fn abandoned(&self) -> bool {
        self.handles.load(Ordering::Acquire) == 0
    }
}

/// A reader's wish, taken back when its wait ends or is cancelled.
struct Waiting<'a> {
    shared: &'a Shared,
    ticket: Ticket,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.shared.state.lock().unwant(self.ticket);
    }
}

/// Keeps bytes of a source from an offset on, while it lives.
#[derive(Debug)]
pub struct Pin {
    source: Source,
    ticket: Ticket,
}

// === impl Pin ===

impl Pin {
    /// The source whose bytes it keeps.
    #[must_use]
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// Lets go of bytes before `to`. A pin never moves back.
    pub fn advance(&mut self, to: u64) {
        let shared = &self.source.shared;
        let freed = shared.state.lock().advance(self.ticket, to);
        shared.freed(freed);
    }

    /// Whether it still keeps its bytes: false once its budget was passed.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.source
            .shared
            .state
            .lock()
            .pinned(self.ticket)
            .is_some()
    }

    /// As [`Source::reach`], counting bytes from this pin on as kept.
    pub async fn reach(&self, at_least: u64) -> Progress {
        let from = self.source.shared.state.lock().pinned(self.ticket);
        self.source.reach_keeping(from, at_least).await
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        let shared = &self.source.shared;
        let freed = shared.state.lock().unpin(self.ticket);
        shared.freed(freed);
    }
}

/// Joins pieces; a single one is not copied.
pub(crate) fn join(mut pieces: Vec<Bytes>) -> Bytes {
    match pieces.len() {
        0 => Bytes::new(),
        1 => pieces.swap_remove(0),
        _ => {
            let mut joined = Vec::with_capacity(pieces.iter().map(Bytes::len).sum());
            for piece in &pieces {
                joined.extend_from_slice(piece);
            }
            joined.into()
        }
    }
}

#[cfg(test)]
mod tests;
