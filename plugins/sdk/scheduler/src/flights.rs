//! What is under way, so that a dispatch that the host refuses can be taken back, and the work
//! that a worker still has is known.

use std::collections::BTreeMap;

use crate::waiting::Waiter;

/// A request that was sent.
pub struct Flight {
    /// Where to.
    pub worker: u32,
    /// What it counts there.
    pub cost: u64,
    /// What it asks for.
    pub model: u32,
    /// The request; none when it was sent before this policy took over.
    pub waiter: Option<Box<Waiter>>,
}

/// Requests under way by number. One that is sent again before its first batch has ended counts
/// once, at its newest place.
pub struct Flights {
    bound: usize,
    by_id: BTreeMap<u64, Flight>,
}

impl Flights {
    /// At most `bound`; of more the oldest is forgotten, and counts no longer.
    #[must_use]
    pub fn new(bound: usize) -> Self {
        Self {
            bound,
            by_id: BTreeMap::new(),
        }
    }

    /// One is sent. Gives the one that had to be forgotten, or that had the same number.
    pub fn push(&mut self, id: u64, flight: Flight) -> Option<Flight> {
        let before = self.by_id.insert(id, flight);
        if self.by_id.len() > self.bound {
            return self.by_id.pop_first().map(|(_, oldest)| oldest);
        }
        before
    }

    /// One is under way no longer.
    pub fn take(&mut self, id: u64) -> Option<Flight> {
        self.by_id.remove(&id)
    }

    /// Takes it if it is at that worker.
    pub fn take_at(&mut self, id: u64, worker: u32) -> Option<Flight> {
        let at = self.by_id.get(&id).is_some_and(|it| it.worker == worker);
        if at { self.take(id) } else { None }
    }

    /// One that is under way.
    #[must_use]
    pub fn get(&self, id: u64) -> Option<&Flight> {
        self.by_id.get(&id)
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }
}
