//! What happened to a fake worker, in order.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tokio::sync::watch;

use crate::{wire1::Head, within};

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// A connection was accepted.
    Accepted,
    /// A request began.
    Head(Head),
    /// A request's body is complete: the body, or the gRPC messages in their frames.
    Body(Bytes),
    /// The act that holds has been reached.
    Holding,
    /// The proxy has gone before the answer was complete: closed the connection, or reset the
    /// stream.
    Gone(String),
    /// The answer is complete.
    Answered,
}

/// One line of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Which request of the worker, counted from 0; for `Accepted`, which connection.
    pub number: usize,
    /// What happened to it.
    pub seen: Seen,
}

/// The journal. Clones are the same one.
#[derive(Clone)]
pub struct Journal {
    entries: Arc<Mutex<Vec<Entry>>>,
    changed: watch::Sender<()>,
}

impl Default for Journal {
    fn default() -> Self {
        Self {
            entries: Arc::default(),
            changed: watch::Sender::new(()),
        }
    }
}

impl Journal {
    pub(crate) fn add(&self, number: usize, seen: Seen) {
        let mut entries = self.entries.lock().expect("nobody panics with it");
        entries.push(Entry { number, seen });
        drop(entries);
        self.changed.send_replace(());
    }

    /// All so far.
    ///
    /// # Panics
    /// Never, but that a test has panicked with it.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        self.entries.lock().expect("nobody panics with it").clone()
    }

    /// What is found in the journal, once it is there.
    pub async fn find<T>(&self, what: &str, find: impl Fn(&[Entry]) -> Option<T>) -> T {
        let mut changed = self.changed.subscribe();
        let wait = async {
            loop {
                changed.borrow_and_update();
                if let Some(found) = find(&self.entries()) {
                    return found;
                }
                changed.changed().await.expect("the journal lives");
            }
        };
        let at_the_end = async {
            tokio::time::sleep(crate::CEILING).await;
            panic!("{what}: not in {:#?}", self.entries());
        };
        within(what, async {
            tokio::select! { biased; found = wait => found, () = at_the_end => unreachable!() }
        })
        .await
    }

    /// Waits until something of a kind has happened to a request.
    pub async fn until(&self, number: usize, is: impl Fn(&Seen) -> bool) -> Seen {
        self.find(&format!("request {number}"), |entries| {
            let mut of_it = entries.iter().filter(|entry| entry.number == number);
            of_it
                .find(|entry| is(&entry.seen))
                .map(|entry| entry.seen.clone())
        })
        .await
    }

    /// Waits until a request holds.
    pub async fn holding(&self, number: usize) {
        self.until(number, |seen| *seen == Seen::Holding).await;
    }

    /// Waits until the proxy has gone from a request; gives how.
    pub async fn gone(&self, number: usize) -> String {
        match self
            .until(number, |seen| matches!(seen, Seen::Gone(_)))
            .await
        {
            Seen::Gone(how) => how,
            _ => unreachable!("nothing else was waited for"),
        }
    }

    /// A request's head, once it is there.
    pub async fn head(&self, number: usize) -> Head {
        match self
            .until(number, |seen| matches!(seen, Seen::Head(_)))
            .await
        {
            Seen::Head(head) => head,
            _ => unreachable!("nothing else was waited for"),
        }
    }

    /// A request's body, once it is there.
    pub async fn body(&self, number: usize) -> Bytes {
        match self
            .until(number, |seen| matches!(seen, Seen::Body(_)))
            .await
        {
            Seen::Body(body) => body,
            _ => unreachable!("nothing else was waited for"),
        }
    }

    /// Requests that have begun so far.
    #[must_use]
    pub fn requests(&self) -> usize {
        let entries = self.entries();
        let heads = entries
            .iter()
            .filter(|entry| matches!(entry.seen, Seen::Head(_)));
        heads.count()
    }
}
