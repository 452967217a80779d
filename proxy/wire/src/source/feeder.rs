//! The producer's end of a source.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use super::{Cut, Shared};

/// Nobody reads the source any more, or it was cut: what would be fed is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nobody reads this any more")]
pub struct Abandoned;

/// Appends to a source. Dropped without [`Feeder::end`], it cuts with [`Cut::Closed`].
pub struct Feeder {
    shared: Arc<Shared>,
}

// === impl Feeder ===

impl Feeder {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Appends all of `bytes`, waiting for room. When cancelled, a first part may
    /// have been appended; a caller that must know uses [`Feeder::room`] and
    /// [`Feeder::try_push`].
    ///
    /// # Errors
    /// All handles on the source are gone, or the source was cut.
    pub async fn push(&mut self, mut bytes: Bytes) -> Result<(), Abandoned> {
        loop {
            self.try_push(&mut bytes)?;
            if bytes.is_empty() {
                return Ok(());
            }
            self.room().await?;
        }
    }

    /// Appends as much of `bytes` as there is room for, and leaves the rest there.
    ///
    /// # Errors
    /// All handles on the source are gone, or the source was cut.
    pub fn try_push(&mut self, bytes: &mut Bytes) -> Result<(), Abandoned> {
        if self.shared.abandoned() {
            return Err(Abandoned);
        }
        if bytes.is_empty() {
            return Ok(());
        }
        let (result, freed) = {
            let mut state = self.shared.state.lock();
            let mut freed = Vec::new();
            (state.push(bytes, &mut freed), freed)
        };
        drop(freed);
        self.shared.arrived.notify_waiters();
        result
    }

    /// Bytes that [`Feeder::try_push`] would take now.
    #[must_use]
    pub fn try_room(&self) -> u64 {
        self.shared.state.lock().room()
    }

    /// Waits until there is room for at least one byte. Safe to cancel. To be called
    /// with more bytes at hand: a reader whose bytes fill the limit and that waits for
    /// more has the source cut here.
    ///
    /// # Errors
    /// All handles on the source are gone, or the source was cut.
    pub async fn room(&self) -> Result<u64, Abandoned> {
        loop {
            let mut wanted = std::pin::pin!(self.shared.wanted.notified());
            wanted.as_mut().enable();
            if self.shared.abandoned() {
                return Err(Abandoned);
            }
            let room = self.shared.state.lock().room_or_cut();
            match room {
                Err(Abandoned) => {
                    self.shared.arrived.notify_waiters();
                    return Err(Abandoned);
                }
                Ok(0) => wanted.await,
                Ok(room) => return Ok(room),
            }
        }
    }

    /// That was all.
    pub fn end(self) {
        self.shared.state.lock().end();
        self.shared.over();
    }

    /// It broke off.
    pub fn cut(self, cut: Cut) {
        self.shared.state.lock().cut(cut);
        self.shared.over();
    }

    /// Waits until all handles on the source are gone, or it was cut by a reader.
    /// Safe to cancel.
    pub async fn abandoned(&self) {
        loop {
            let mut wanted = std::pin::pin!(self.shared.wanted.notified());
            wanted.as_mut().enable();
            if self.shared.abandoned() || self.shared.state.lock().progress().is_over() {
                return;
            }
            wanted.await;
        }
    }
}

impl Drop for Feeder {
    fn drop(&mut self) {
        // After `end` or `cut` this changes nothing: the first one counts.
        self.shared.state.lock().cut(Cut::Closed);
        self.shared.over();
    }
}

impl fmt::Debug for Feeder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let progress = self.shared.state.lock().progress();
        f.debug_tuple("Feeder").field(&progress).finish()
    }
}
