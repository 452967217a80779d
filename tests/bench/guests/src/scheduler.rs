//! One step of the scheduler while so many requests wait: one has ended, one has come, and the
//! longest waiting one is sent.

use std::{sync::Arc, time::Instant};

use tollgate_dispatch::policy::{self, Policy as _};
use tollgate_plugin::{Generation, GuestPolicy};
use tollgate_plugin_fcfs::Fcfs;
use tollgate_sdk_scheduler::{Policy as _, scheduling};

/// Requests that come in one step while the queue is filled.
const TOGETHER: u64 = 64;
/// More than any case has.
const BOUND: usize = 65_536;

/// A scheduler with one worker that is busy, and a full queue.
pub struct Waiting<P> {
    policy: P,
    next: u64,
    /// The one that is to be sent next.
    oldest: u64,
}

/// What both sides can do.
pub trait Side {
    /// The worker is there, and busy.
    fn begin(&mut self);
    /// So many come.
    fn come(&mut self, ids: std::ops::Range<u64>);
    /// One has ended, one comes; gives those that are sent.
    fn turn(&mut self, id: u64) -> Vec<u64>;
}

/// The core, natively.
pub struct Native(Fcfs);

/// The component.
pub struct Hosted(GuestPolicy);

impl Native {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self(Fcfs::new(BOUND))
    }
}

impl Default for Native {
    fn default() -> Self {
        Self::new()
    }
}

impl Hosted {
    /// An empty one.
    ///
    /// # Panics
    /// When the guest cannot be made.
    #[must_use]
    pub fn new(generation: &Generation) -> Self {
        Self(GuestPolicy::new(generation).expect("the guest makes it"))
    }
}

impl Side for Native {
    fn begin(&mut self) {
        let worker = scheduling::Worker {
            id: 1,
            accepting: true,
            models: vec![1],
            slots: 1,
            busy: 1,
            max_batch: 1,
            queued: None,
            running: None,
            kv_cache_use: None,
        };
        self.0
            .step(0, vec![scheduling::Event::WorkerChanged(worker)]);
    }

    fn come(&mut self, ids: std::ops::Range<u64>) {
        let now = ids.end;
        let arrived = ids.map(|id| scheduling::Event::Arrived(native(id)));
        self.0.step(now, arrived.collect());
    }

    fn turn(&mut self, id: u64) -> Vec<u64> {
        let ended = scheduling::Event::BatchFinished(scheduling::BatchFinished {
            id,
            worker: 1,
            size: 1,
            dispatched: id,
            first_output: None,
            ended: id,
        });
        let events = vec![ended, scheduling::Event::Arrived(native(id))];
        let actions = self.0.step(id, events).into_iter();
        let sent = actions.filter_map(|action| match action {
            scheduling::Action::Dispatch(sent) => Some(sent.requests),
            _ => None,
        });
        sent.flatten().collect()
    }
}

impl Side for Hosted {
    fn begin(&mut self) {
        let worker = policy::Worker {
            id: 1,
            accepting: true,
            models: Arc::from([1]),
            slots: 1,
            busy: 1,
            max_batch: 1,
            queued: None,
            running: None,
            kv_cache_use: None,
        };
        let events = vec![policy::Event::WorkerChanged(worker)];
        self.0.step(0, events).expect("the guest steps");
    }

    fn come(&mut self, ids: std::ops::Range<u64>) {
        let now = ids.end;
        let arrived = ids.map(|id| policy::Event::Arrived(hosted(id)));
        self.0
            .step(now, arrived.collect())
            .expect("the guest steps");
    }

    fn turn(&mut self, id: u64) -> Vec<u64> {
        let ended = policy::Event::BatchFinished {
            id,
            worker: 1,
            size: 1,
            dispatched: id,
            first_output: None,
            ended: id,
        };
        let events = vec![ended, policy::Event::Arrived(hosted(id))];
        let actions = self.0.step(id, events).expect("the guest steps");
        let sent = actions.into_iter().filter_map(|action| match action {
            policy::Action::Dispatch { requests, .. } => Some(requests),
            _ => None,
        });
        sent.flatten().collect()
    }
}

fn native(id: u64) -> scheduling::Request {
    scheduling::Request {
        id,
        model: 1,
        tenant: (id % 7) as u32,
        batch_key: 0,
        eligible: Vec::new(),
        priority: 0,
        input_cost: 128,
        output_cost: 160,
        arrived: id,
        deadline: Some(id + 60_000_000),
        affinity: scheduling::Affinity::None,
        attempts: 0,
        avoid: Vec::new(),
    }
}

fn hosted(id: u64) -> policy::Request {
    policy::Request {
        id,
        model: 1,
        tenant: (id % 7) as u32,
        batch_key: 0,
        eligible: Arc::from([]),
        priority: 0,
        input_cost: 128,
        output_cost: 160,
        arrived: id,
        deadline: Some(id + 60_000_000),
        affinity: policy::Affinity::None,
        attempts: 0,
        avoid: Vec::new(),
    }
}

impl<P: Side> Waiting<P> {
    /// Fills its queue.
    pub fn new(mut policy: P, pending: u64) -> Self {
        policy.begin();
        let mut next = 0;
        while next < pending {
            let end = pending.min(next + TOGETHER);
            policy.come(next..end);
            next = end;
        }
        Self {
            policy,
            next,
            oldest: 0,
        }
    }

    /// One step, and how many nanoseconds it took. Wall time: a step is too short for the
    /// processor's clock to be asked.
    ///
    /// # Panics
    /// When another request is sent than the one that has waited longest.
    pub fn step(&mut self) -> u64 {
        let id = self.next;
        self.next += 1;
        let start = Instant::now();
        let sent = self.policy.turn(id);
        let took = start.elapsed();
        assert_eq!(sent, [self.oldest], "first come, first served");
        self.oldest += 1;
        u64::try_from(took.as_nanos()).unwrap_or(u64::MAX)
    }

    /// Median and 99th percentile of so many steps.
    pub fn steps(&mut self, count: usize) -> (f64, f64) {
        let mut took: Vec<u64> = (0..count).map(|_| self.step()).collect();
        took.sort_unstable();
        let at = |share: f64| took[((count as f64 * share) as usize).min(count - 1)] as f64;
        (at(0.5), at(0.99))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_keeps_its_length() {
        for pending in [1, 10, 1000] {
            let mut waiting = Waiting::new(Native::new(), pending);
            for _ in 0..3 * pending {
                waiting.step();
            }
        }
    }
}
