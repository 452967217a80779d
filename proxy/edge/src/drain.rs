//! Ending it all in order.
//!
//! 1. [`DrainHandle::start`]: listeners close, HTTP/2 connections send GOAWAY, HTTP/1.1
//!    connections close as they fall idle. Requests under way go on.
//! 2. At the deadline, what is left is aborted.
//! 3. [`DrainHandle::gone`]: every holder of a [`Drain`] has let go of it; a listener does when its
//!    last connection and request are over.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// A drain that has not begun: its starter, and its observer.
#[must_use]
pub fn drain() -> (DrainHandle, Drain) {
    let (sender, receiver) = watch::channel(None);
    (DrainHandle { sender }, Drain { receiver })
}

/// Starts the drain. Dropping it without a start means that there will be none.
#[derive(Debug)]
pub struct DrainHandle {
    /// The deadline, once the drain has begun.
    sender: watch::Sender<Option<Instant>>,
}

/// Tells when to end, and by holding it that one has not yet ended.
#[derive(Clone, Debug)]
pub struct Drain {
    receiver: watch::Receiver<Option<Instant>>,
}

impl DrainHandle {
    /// Begins the drain; what is not over after `patience` is aborted. A second start can only
    /// bring the deadline forward.
    pub fn start(&self, patience: Duration) {
        // So long a patience that the clock cannot tell it is none at all to wait for.
        let now = Instant::now();
        let deadline = now.checked_add(patience).unwrap_or(now + FAR);
        self.sender.send_if_modified(|current| {
            let sooner = current.is_none_or(|current| deadline < current);
            if sooner {
                *current = Some(deadline);
            }
            sooner
        });
    }

    /// Another observer, for a listener that is opened later.
    #[must_use]
    pub fn observer(&self) -> Drain {
        Drain {
            receiver: self.sender.subscribe(),
        }
    }

    /// When every observer is gone.
    pub async fn gone(&self) {
        self.sender.closed().await;
    }
}

/// A century or so.
const FAR: Duration = Duration::from_secs(100 * 365 * 86_400);

impl Drain {
    /// Whether it has begun.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.receiver.borrow().is_some()
    }

    /// When it has begun; never, if nobody can start it any more.
    pub async fn started(&mut self) {
        if self.receiver.wait_for(Option::is_some).await.is_err() {
            std::future::pending().await
        }
    }

    /// When the deadline has passed.
    pub async fn deadline(&mut self) {
        loop {
            self.started().await;
            let Some(deadline) = *self.receiver.borrow_and_update() else {
                continue;
            };
            tokio::select! {
                () = tokio::time::sleep_until(deadline) => return,
                // Brought forward.
                changed = self.receiver.changed() => if changed.is_err() {
                    return tokio::time::sleep_until(deadline).await;
                },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_deadline_can_only_come_forward() {
        let (handle, mut drain) = drain();
        assert!(!drain.is_draining());
        let begin = Instant::now();
        handle.start(Duration::from_secs(10));
        handle.start(Duration::from_secs(60));
        assert!(drain.is_draining());
        drain.started().await;
        assert_eq!(begin.elapsed(), Duration::ZERO);
        let waiting = tokio::spawn(async move {
            drain.deadline().await;
            begin.elapsed()
        });
        tokio::task::yield_now().await;
        handle.start(Duration::from_secs(5));
        assert_eq!(waiting.await.unwrap().as_secs(), 5);
        handle.gone().await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_stands_when_its_starter_is_gone() {
        let (handle, mut drain) = drain();
        handle.start(Duration::from_secs(10));
        drop(handle);
        let begin = Instant::now();
        drain.deadline().await;
        assert_eq!(begin.elapsed().as_secs(), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_start_there_is_no_drain() {
        let (handle, mut drain) = drain();
        let mut other = handle.observer();
        drop(handle);
        let hour = Duration::from_secs(3600);
        assert!(tokio::time::timeout(hour, drain.started()).await.is_err());
        assert!(tokio::time::timeout(hour, other.deadline()).await.is_err());
    }
}
