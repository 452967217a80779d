//! What runs where, so that it can be told when a worker that is busy will be free.
//!
//! Only batches that this policy has sent or was told of are known. An end that is not known is
//! taken for now: nobody is turned away because of it.

use std::collections::BTreeMap;

/// Batches that are remembered of one worker; of more, the newest ends are not known.
const MOST: usize = 64;

/// A batch under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Batch {
    /// Since when, in microseconds.
    pub(crate) dispatched: u64,
    /// Its members.
    pub(crate) size: u32,
    /// What they ask for.
    pub(crate) model: u32,
}

/// Batches under way by worker. Bounded by the workers that the host allows.
#[derive(Default)]
pub(crate) struct Running {
    by_worker: BTreeMap<u32, Vec<Batch>>,
}

impl Running {
    /// One is sent.
    pub(crate) fn begin(&mut self, worker: u32, batch: Batch) {
        let batches = self.by_worker.entry(worker).or_default();
        if batches.len() < MOST {
            batches.push(batch);
        }
    }

    /// One has ended, or was not sent (`dispatched`: none). Among several it is the one of this
    /// size.
    pub(crate) fn end(&mut self, worker: u32, dispatched: Option<u64>, size: usize) {
        let Some(batches) = self.by_worker.get_mut(&worker) else {
            return;
        };
        let fits = |one: &Batch| dispatched.is_none_or(|at| one.dispatched == at);
        let same = |one: &Batch| fits(one) && one.size as usize == size;
        let at = batches.iter().rposition(same);
        if let Some(at) = at.or_else(|| batches.iter().rposition(fits)) {
            batches.remove(at);
        }
        if batches.is_empty() {
            self.by_worker.remove(&worker);
        }
    }

    /// It has left. Its batches end as they end; nobody waits for them.
    pub(crate) fn gone(&mut self, worker: u32) {
        self.by_worker.remove(&worker);
    }

    /// When the first of a worker's batches should end, by how long such a one takes.
    pub(crate) fn next_end(
        &self,
        worker: u32,
        takes: impl Fn(Batch) -> Option<f64>,
    ) -> Option<f64> {
        let batches = self.by_worker.get(&worker)?;
        let ends = batches.iter().map(|one| {
            let took = takes(*one)?;
            Some(one.dispatched as f64 + took)
        });
        ends.min_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal))?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(dispatched: u64, size: u32) -> Batch {
        Batch {
            dispatched,
            size,
            model: 1,
        }
    }

    #[test]
    fn the_first_end_is_told_and_an_unknown_one_is_not() {
        let mut running = Running::default();
        let takes = |one: Batch| Some(f64::from(one.size) * 10.0);
        assert_eq!(running.next_end(1, takes), None);
        running.begin(1, batch(100, 8));
        running.begin(1, batch(120, 2));
        running.begin(1, batch(120, 3));
        assert_eq!(running.next_end(1, takes), Some(140.0));
        assert_eq!(running.next_end(1, |_| None), None);
        running.end(1, Some(120), 2);
        assert_eq!(running.next_end(1, takes), Some(150.0));
        // One that was not sent, and one whose size is not what it was.
        running.end(1, None, 3);
        assert_eq!(running.next_end(1, takes), Some(180.0));
        running.end(1, Some(100), 99);
        assert!(running.by_worker.is_empty());
    }

    #[test]
    fn so_many_are_remembered() {
        let mut running = Running::default();
        for at in 0..1000 {
            running.begin(1, batch(at, 1));
        }
        assert_eq!(running.by_worker[&1].len(), MOST);
        running.gone(1);
        assert!(running.by_worker.is_empty());
    }
}
