//! Bytes that are held for the sink, within one bound.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The bound, and what is taken of it.
#[derive(Debug)]
pub(crate) struct Budget {
    most: u64,
    taken: AtomicU64,
}

/// What one body has taken. Dropped, it is given back.
#[derive(Debug)]
pub(crate) struct Room {
    budget: Arc<Budget>,
    bytes: u64,
}

impl Budget {
    pub(crate) fn new(most: u64) -> Arc<Self> {
        Arc::new(Self {
            most,
            taken: AtomicU64::new(0),
        })
    }

    pub(crate) fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    pub(crate) fn room(self: &Arc<Self>) -> Room {
        Room {
            budget: self.clone(),
            bytes: 0,
        }
    }
}

impl Room {
    /// Takes so much more; false: there is not so much.
    pub(crate) fn grow(&mut self, more: u64) -> bool {
        let most = self.budget.most;
        let add = |taken: u64| taken.checked_add(more).filter(|sum| *sum <= most);
        let order = Ordering::Relaxed;
        let grown = self.budget.taken.fetch_update(order, order, add).is_ok();
        if grown {
            self.bytes += more;
        }
        grown
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.budget.taken.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_taken_than_there_is_and_everything_comes_back() {
        let budget = Budget::new(10);
        let (mut one, mut two) = (budget.room(), budget.room());
        assert!(one.grow(6) && !two.grow(5) && two.grow(4));
        assert_eq!(budget.taken(), 10);
        drop(one);
        assert_eq!(budget.taken(), 4);
        assert!(!two.grow(u64::MAX));
        drop(two);
        assert_eq!(budget.taken(), 0);
    }
}
