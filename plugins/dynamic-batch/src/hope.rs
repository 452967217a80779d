//! Who could do a request in time, by the learned times: every worker that may have it counts, the
//! busy ones from when they should be free, and one of which nothing is known is hoped for.

use tollgate_sdk_scheduler::roster::{Asks, Roster};
use tollgate_sdk_scheduler::scheduling::Request;

use crate::curve::{Curve, Curves};
use crate::running::Running;

/// Workers that are looked at for one answer; where there are more, the others are hoped for.
const LOOKED_AT: usize = 256;
/// What is believed to be late by less than this part of the estimate is given its chance.
const DOUBT: f64 = 1.2;

/// What is known at an instant. Times are microseconds.
#[derive(Clone, Copy)]
pub(crate) struct Outlook<'a> {
    pub(crate) now: u64,
    pub(crate) roster: &'a Roster,
    pub(crate) curves: &'a Curves,
    pub(crate) running: &'a Running,
    /// Slots of each worker in which a batch only waits there.
    pub(crate) ahead: u32,
}

/// Who may have a request.
#[derive(Clone, Copy)]
pub(crate) struct Wanted<'a> {
    pub(crate) asks: Asks<'a>,
    /// The only one, if there is only one.
    pub(crate) home: Option<u32>,
}

/// Who waits before a request that comes, and how large batches grow.
#[derive(Clone, Copy)]
pub(crate) struct Queue<F> {
    pub(crate) ahead: usize,
    /// Most members of a batch at a worker.
    pub(crate) cap: F,
}

impl Outlook<'_> {
    fn curve(&self, worker: u32, model: u32) -> Option<Curve> {
        self.curves.of(self.now, worker, model)
    }

    /// Batches that a worker does at once.
    pub(crate) fn lanes(&self, worker: u32) -> u32 {
        match self.ahead {
            // As many as it is given.
            0 => u32::MAX,
            ahead => self.roster.slots_of(worker).saturating_sub(ahead).max(1),
        }
    }

    /// Whether a batch that is sent there would begin at once.
    pub(crate) fn begins_at_once(&self, worker: u32) -> bool {
        self.roster.is_free(worker) && self.roster.busy_of(worker) < self.lanes(worker)
    }

    /// When a worker that is busy can be hoped to come to one more; none: nobody knows.
    pub(crate) fn next_place(&self, worker: u32) -> Option<f64> {
        self.running.next_place(worker, |batch| {
            self.curve(worker, batch.model)?.hope(batch.size)
        })
    }

    /// When a worker can begin: now, or when it should be done with what it has.
    pub(crate) fn begin(&self, worker: u32) -> f64 {
        let now = self.now as f64;
        if self.begins_at_once(worker) {
            return now;
        }
        self.next_place(worker).map_or(now, |place| place.max(now))
    }

    /// The soonest that a request of the model can be hoped to be done there, alone.
    pub(crate) fn alone(&self, worker: u32, model: u32) -> f64 {
        let took = self.curve(worker, model).and_then(|curve| curve.hope(1));
        self.begin(worker) + took.unwrap_or(0.0)
    }

    /// When it should be done there in a batch of so many.
    pub(crate) fn among(&self, worker: u32, model: u32, size: u32) -> f64 {
        let took = self.curve(worker, model).and_then(|curve| curve.time(size));
        self.begin(worker) + took.unwrap_or(0.0)
    }

    /// The workers that may have it, and whether there are more of them.
    fn candidates(&self, wanted: Wanted<'_>) -> (Vec<u32>, bool) {
        if let Some(home) = wanted.home {
            return (vec![home], false);
        }
        let candidates = self.roster.candidates(wanted.asks);
        let mut some: Vec<u32> = candidates.take(LOOKED_AT + 1).collect();
        let more = some.len() > LOOKED_AT;
        some.truncate(LOOKED_AT);
        (some, more)
    }

    /// The first instant at which any of them but one is done, as `done` tells of each.
    pub(crate) fn soonest(&self, wanted: Wanted<'_>, but: u32, done: impl Fn(u32) -> f64) -> f64 {
        let (workers, more) = self.candidates(wanted);
        let others = workers.into_iter().filter(|worker| *worker != but);
        let first = others.map(done).fold(f64::INFINITY, f64::min);
        if more { self.now as f64 } else { first }
    }

    /// The one with room that can be hoped to be done first with a request of the model, and when.
    pub(crate) fn fastest(&self, wanted: Wanted<'_>, model: u32) -> Option<(u32, f64)> {
        let (workers, _) = self.candidates(wanted);
        let free = workers.into_iter().filter(|id| self.roster.is_free(*id));
        free.map(|id| (id, self.alone(id, model)))
            .min_by(|a, b| a.1.total_cmp(&b.1))
    }

    /// Whether a request that comes cannot be done in so long (microseconds), by what waits before
    /// it and how long batches take: even the fastest of those that may have it takes longer, or
    /// all of them together do not come to it in time.
    pub(crate) fn is_hopeless(
        &self,
        request: &Request,
        left: f64,
        queue: Queue<impl Fn(u32) -> u32>,
    ) -> bool {
        let wanted = Wanted {
            asks: Asks::of(request),
            home: None,
        };
        let (workers, more) = self.candidates(wanted);
        if workers.is_empty() || more {
            return false;
        }
        let mut alone = f64::INFINITY;
        // Of a batch with all that are ahead, at the fastest.
        let mut own = f64::INFINITY;
        // Members that all of them take at once, and in a microsecond.
        let (mut at_once, mut rate) = (0.0, 0.0);
        let mut free = false;
        for worker in workers {
            let Some(curve) = self.curve(worker, request.model) else {
                return false;
            };
            let most = (queue.cap)(worker);
            let size = u32::try_from(queue.ahead + 1).unwrap_or(u32::MAX).min(most);
            let (Some(hope), Some(time), Some(full)) =
                (curve.hope(1), curve.time(size), curve.time(most))
            else {
                return false;
            };
            alone = alone.min(hope);
            own = own.min(time);
            let lanes = self.roster.slots_of(worker).min(self.lanes(worker));
            let members = f64::from(lanes) * f64::from(most);
            at_once += members;
            rate += members / full.max(1.0);
            free |= self.begins_at_once(worker);
        }
        if alone > left {
            return true;
        }
        if at_once == 0.0 {
            return false;
        }
        let rounds = (queue.ahead as f64 / at_once).floor();
        // Of a full batch, in the mean of what they do.
        let round = at_once / rate;
        // A batch that runs is half done, in the mean.
        let busy = if free { 0.0 } else { 0.5 };
        (rounds + busy) * round + own > left * DOUBT
    }
}
