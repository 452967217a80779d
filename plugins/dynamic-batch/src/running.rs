//! What runs where, so that it can be told when a worker that is busy will be free.
//!
//! A worker does so many batches at once; those beyond wait inside it, in the order in which they
//! were sent, and each begins when one before it ends.
//!
//! Only batches that this policy has sent or was told of are known. An end that is not known is
//! taken for now: nobody is turned away because of it.

use std::collections::BTreeMap;

/// Batches that are remembered of one worker; of more, the newest ends are not known.
const MOST: usize = 64;

/// A batch under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Batch {
    /// When it was sent, in microseconds.
    pub(crate) dispatched: u64,
    /// When it began; none: it waits inside the worker.
    pub(crate) begun: Option<u64>,
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
    /// One is sent to a worker that does `lanes` at once.
    pub(crate) fn begin(&mut self, worker: u32, lanes: u32, batch: Batch) {
        let batches = self.by_worker.entry(worker).or_default();
        if batches.len() < MOST {
            let begun = batches.iter().filter(|one| one.begun.is_some()).count();
            let at_once = begun < lanes as usize;
            batches.push(Batch {
                begun: at_once.then_some(batch.dispatched),
                ..batch
            });
        }
    }

    /// One has ended at `now`, or was not sent (`dispatched`: none). Among several it is the one of
    /// this size. The first that waited for its place begins.
    pub(crate) fn end(
        &mut self,
        worker: u32,
        dispatched: Option<u64>,
        size: usize,
        now: u64,
    ) -> Option<Batch> {
        let batches = self.by_worker.get_mut(&worker)?;
        let fits = |one: &Batch| dispatched.is_none_or(|at| one.dispatched == at);
        let same = |one: &Batch| fits(one) && one.size as usize == size;
        let at = batches.iter().rposition(same);
        let at = at.or_else(|| batches.iter().rposition(fits));
        let ended = at.map(|at| batches.remove(at));
        if ended.is_some_and(|one| one.begun.is_some())
            && let Some(next) = batches.iter_mut().find(|one| one.begun.is_none())
        {
            next.begun = Some(now);
        }
        if batches.is_empty() {
            self.by_worker.remove(&worker);
        }
        ended
    }

    /// It has left. Its batches end as they end; nobody waits for them.
    pub(crate) fn gone(&mut self, worker: u32) {
        self.by_worker.remove(&worker);
    }

    /// When a worker that is busy should have done so much that one more could begin, by how long
    /// each takes.
    pub(crate) fn next_place(
        &self,
        worker: u32,
        takes: impl Fn(Batch) -> Option<f64>,
    ) -> Option<f64> {
        let batches = self.by_worker.get(&worker)?;
        let mut ends = Vec::new();
        for one in batches {
            if let Some(begun) = one.begun {
                ends.push(begun as f64 + takes(*one)?);
            }
        }
        let first = |ends: &[f64]| {
            let ends = ends.iter().copied().enumerate();
            ends.min_by(|(_, a), (_, b)| a.total_cmp(b))
        };
        for one in batches.iter().filter(|one| one.begun.is_none()) {
            let (at, end) = first(&ends)?;
            ends[at] = end + takes(*one)?;
        }
        first(&ends).map(|(_, end)| end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(dispatched: u64, size: u32) -> Batch {
        Batch {
            dispatched,
            begun: None,
            size,
            model: 1,
        }
    }

    #[test]
    fn the_first_end_is_told_and_an_unknown_one_is_not() {
        let mut running = Running::default();
        let takes = |one: Batch| Some(f64::from(one.size) * 10.0);
        assert_eq!(running.next_place(1, takes), None);
        for one in [batch(100, 8), batch(120, 2), batch(120, 3)] {
            running.begin(1, 9, one);
        }
        assert_eq!(running.next_place(1, takes), Some(140.0));
        assert_eq!(running.next_place(1, |_| None), None);
        running.end(1, Some(120), 2, 140);
        assert_eq!(running.next_place(1, takes), Some(150.0));
        // One that was not sent, and one whose size is not what it was.
        running.end(1, None, 3, 140);
        assert_eq!(running.next_place(1, takes), Some(180.0));
        running.end(1, Some(100), 99, 180);
        assert!(running.by_worker.is_empty());
    }

    #[test]
    fn what_waits_inside_a_worker_begins_when_its_place_is_free() {
        let mut running = Running::default();
        let takes = |one: Batch| Some(f64::from(one.size) * 10.0);
        for one in [batch(100, 4), batch(105, 9), batch(110, 1)] {
            running.begin(1, 2, one);
        }
        // The third takes the place of the first, and a fourth would take the third's.
        assert_eq!(running.next_place(1, takes), Some(150.0));
        assert_eq!(running.end(1, Some(100), 4, 138).unwrap().begun, Some(100));
        assert_eq!(running.next_place(1, takes), Some(148.0));
        assert_eq!(running.end(1, Some(110), 1, 150).unwrap().begun, Some(138));
        // One that was never begun makes no place.
        running.begin(1, 1, batch(160, 5));
        assert_eq!(running.end(1, None, 5, 160).unwrap().begun, None);
        assert_eq!(running.next_place(1, takes), Some(195.0));
    }

    #[test]
    fn so_many_are_remembered() {
        let mut running = Running::default();
        for at in 0..1000 {
            running.begin(1, 1, batch(at, 1));
        }
        assert_eq!(running.by_worker[&1].len(), MOST);
        running.gone(1);
        assert!(running.by_worker.is_empty());
    }
}
