//! Watches a scheduler for the log, the metrics, the page for operators and its life: whose place the
//! built-in rules had to take, how often, and why; how long requests waited, and in what company they
//! went.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tollgate_dispatch::{driver::Trouble, pool::Observer};
use tollgate_plugin::Generation;
use tollgate_telemetry::spread::{Counts, Spread};

/// Upper bounds of sizes of batches that are told apart; more: the last.
const SIZES: [usize; 7] = [1, 2, 4, 8, 16, 32, 64];
/// How operators read them.
pub(crate) const SIZE_LABELS: [&str; SIZES.len() + 1] =
    ["1", "2", "3–4", "5–8", "9–16", "17–32", "33–64", "65+"];

/// What has been seen of one scheduler.
#[derive(Debug)]
pub(crate) struct Overseer {
    scheduler: String,
    steps: AtomicU64,
    nanos: AtomicU64,
    replaced: AtomicU64,
    /// How long requests waited for a worker.
    waited: Spread,
    /// Requests by the size of the batch that they went in.
    sizes: [AtomicU64; SIZE_LABELS.len()],
    /// The generation whose policies decide; none: the built-in rules.
    ruling: Mutex<Option<Arc<Generation>>>,
    /// Told when the built-in rules had to take its place.
    bell: Arc<Notify>,
}

impl Overseer {
    pub(crate) fn new(scheduler: &str, ruling: Option<Arc<Generation>>, bell: Arc<Notify>) -> Self {
        Self {
            scheduler: scheduler.to_owned(),
            steps: AtomicU64::new(0),
            nanos: AtomicU64::new(0),
            replaced: AtomicU64::new(0),
            waited: Spread::new(),
            sizes: Default::default(),
            ruling: Mutex::new(ruling),
            bell,
        }
    }

    /// From now on this generation decides. False: it did already.
    pub(crate) fn ruled_by(&self, generation: &Arc<Generation>) -> bool {
        let before = self.ruling.lock().replace(generation.clone());
        before.as_ref() != Some(generation)
    }

    /// Steps of the scheduler, without those of the built-in rules.
    pub(crate) fn steps(&self) -> u64 {
        self.steps.load(Ordering::Relaxed)
    }

    /// Processor time that they took.
    pub(crate) fn took(&self) -> Duration {
        Duration::from_nanos(self.nanos.load(Ordering::Relaxed))
    }

    /// How long requests waited, of all that were given a worker.
    pub(crate) fn waited(&self) -> Counts {
        self.waited.counts()
    }

    /// Requests by the size of the batch that they went in, as [`SIZE_LABELS`] names the sizes.
    pub(crate) fn sizes(&self) -> [u64; SIZE_LABELS.len()] {
        std::array::from_fn(|at| self.sizes[at].load(Ordering::Relaxed))
    }

    /// How often the built-in rules had to take its place.
    pub(crate) fn replaced(&self) -> u64 {
        self.replaced.load(Ordering::Relaxed)
    }
}

impl Observer for Overseer {
    fn time(&self) -> Duration {
        tollgate_plugin::thread_cpu_time()
    }

    fn stepped(&self, took: Duration, _events: usize, _actions: usize) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.steps.fetch_add(1, Ordering::Relaxed);
        self.nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    fn placed(&self, waited: Duration, size: usize) {
        self.waited.observe(waited);
        let at = SIZES.iter().position(|most| size <= *most);
        self.sizes[at.unwrap_or(SIZES.len())].fetch_add(1, Ordering::Relaxed);
    }

    fn trouble(&self, trouble: &Trouble) {
        self.replaced.fetch_add(1, Ordering::Relaxed);
        if let Some(generation) = &*self.ruling.lock() {
            generation.replaced();
        }
        self.bell.notify_one();
        // Its back-off bounds how often this is said.
        tracing::error!(
            scheduler = self.scheduler,
            %trouble,
            "the built-in rules take a scheduler's place"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_told_apart_by_their_size() {
        let overseer = Overseer::new("s", None, Arc::default());
        for size in [1, 1, 2, 3, 4, 5, 64, 65, 4096] {
            overseer.placed(Duration::from_millis(2), size);
        }
        assert_eq!(overseer.sizes(), [2, 1, 2, 1, 0, 0, 1, 2]);
        assert_eq!(overseer.waited().total(), 9);
    }
}
