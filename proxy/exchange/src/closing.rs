//! The last words of a proxy that ends: requests that are still under way when their time is over
//! are told so, rather than cut off.
//!
//! Each exchange looks here while it waits for something to happen, which costs it two looks at a
//! list for as long as it lives. What waits for a slow client, or is copied without a look, is not
//! asked: it is cut when its connection is.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;
use tollgate_wire::failure::Failure;

/// Whether what is under way has to end.
#[derive(Debug, Default)]
pub struct Closing {
    is_now: AtomicBool,
    told: Notify,
}

impl Closing {
    /// Has all that is under way end, and what begins from now on.
    pub fn close(&self) {
        self.is_now.store(true, Ordering::SeqCst);
        self.told.notify_waiters();
    }

    /// Once it has to end.
    pub(crate) async fn told(&self) {
        let told = self.told.notified();
        tokio::pin!(told);
        // Before the look, so that nothing falls in between.
        told.as_mut().enable();
        if !self.is_now.load(Ordering::SeqCst) {
            told.await;
        }
    }

    /// What clients are told: to come again, to whoever answers by then.
    pub(crate) fn failure() -> Failure {
        Failure::overloaded("the proxy is ending; send the request again").with_retry_after(1000)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn those_who_wait_and_those_who_come_later_are_told() {
        let closing = Arc::new(Closing::default());
        let waiting = {
            let closing = closing.clone();
            tokio::spawn(async move { closing.told().await })
        };
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        closing.close();
        waiting.await.expect("it does not panic");
        closing.told().await;
    }
}
