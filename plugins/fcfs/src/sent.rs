//! What was dispatched lately, so that a refused dispatch can be taken back: the
//! host's refusal names requests by number only.

use std::collections::BTreeMap;

use crate::queue::Waiting;

/// The last `bound` requests that were dispatched and have not ended. Older ones have long been
/// taken up: a refusal comes with the next events.
pub(crate) struct Sent {
    bound: usize,
    next: u64,
    by_age: BTreeMap<u64, Waiting>,
    ages: BTreeMap<u64, u64>,
}

impl Sent {
    pub(crate) fn new(bound: usize) -> Self {
        Sent {
            bound,
            next: 0,
            by_age: BTreeMap::new(),
            ages: BTreeMap::new(),
        }
    }

    pub(crate) fn push(&mut self, waiting: Waiting) {
        self.take(waiting.request.id);
        if self.by_age.len() >= self.bound
            && let Some((_, oldest)) = self.by_age.pop_first()
        {
            self.ages.remove(&oldest.request.id);
        }
        self.ages.insert(waiting.request.id, self.next);
        self.by_age.insert(self.next, waiting);
        self.next += 1;
    }

    pub(crate) fn take(&mut self, id: u64) -> Option<Waiting> {
        self.by_age.remove(&self.ages.remove(&id)?)
    }
}
