//! One step of a scheduler while so many requests wait: a batch has ended, as many have come as it
//! had, and those that have waited longest are sent. They may be of many classes that ask for one
//! model each, while a worker that has none of the models stands idle.

use std::{ops::Range, sync::Arc, time::Instant};

use tollgate_dispatch::policy::{self, Policy as _};
use tollgate_plugin::{Generation, GuestPolicy};
use tollgate_plugin_dynamic_batch::DynamicBatch;
use tollgate_plugin_fcfs::Fcfs;
use tollgate_plugin_least_loaded::LeastLoaded;
use tollgate_sdk_scheduler::{Policy as GuestCore, scheduling};

/// Requests that come in one step while the queue is filled.
const TOGETHER: u64 = 64;
/// How often the same steps are taken.
const TIMES: usize = 5;
/// More than any case has.
const BOUND: usize = 65_536;

/// The bundled schedulers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Core {
    /// First come, first served.
    Fcfs,
    /// Least outstanding work.
    LeastLoaded,
    /// Dynamic batches.
    DynamicBatch,
}

/// What waits.
#[derive(Clone, Copy, Debug)]
pub struct Crowd {
    /// How many.
    pub pending: u64,
    /// How many end, come and go in one step.
    pub batch: u64,
    /// Of how many models. More than one: another worker stands idle that has none of them.
    pub classes: u64,
}

/// A scheduler with one worker that is busy, and a full queue.
pub struct Waiting<P> {
    policy: P,
    crowd: Crowd,
    next: u64,
    /// The one that is to be sent next.
    oldest: u64,
}

/// What both sides can do.
pub trait Side {
    /// The worker is there, and busy; and perhaps an idle one that is of no use.
    fn begin(&mut self, crowd: Crowd);
    /// So many come.
    fn come(&mut self, crowd: Crowd, ids: Range<u64>);
    /// A batch has ended, others come; gives those that are sent.
    fn turn(&mut self, crowd: Crowd, ended: Vec<u64>, come: Range<u64>) -> Vec<u64>;
}

/// The core, natively.
pub struct Native(Box<dyn GuestCore>);

/// The component.
pub struct Hosted(GuestPolicy);

impl Core {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Fcfs, Self::LeastLoaded, Self::DynamicBatch];

    /// The component's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fcfs => "fcfs",
            Self::LeastLoaded => "least-loaded",
            Self::DynamicBatch => "dynamic-batch",
        }
    }

    /// Requests that it is given to send together.
    #[must_use]
    pub const fn batch(self) -> u64 {
        match self {
            Self::Fcfs | Self::LeastLoaded => 1,
            Self::DynamicBatch => 8,
        }
    }
}

impl Native {
    /// An empty one.
    #[must_use]
    pub fn new(core: Core) -> Self {
        Self(match core {
            Core::Fcfs => Box::new(Fcfs::new(BOUND)),
            Core::LeastLoaded => Box::new(LeastLoaded::new(&Default::default())),
            Core::DynamicBatch => Box::new(DynamicBatch::new(Default::default())),
        })
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
    fn begin(&mut self, crowd: Crowd) {
        let workers = workers(crowd).map(|(id, models, busy)| {
            scheduling::Event::WorkerChanged(scheduling::Worker {
                id,
                accepting: true,
                models,
                slots: 1,
                busy,
                max_batch: crowd.batch as u32,
                identity: u64::from(id),
                queued: None,
                running: None,
                kv_cache_use: None,
            })
        });
        self.0.step(0, workers.collect());
    }

    fn come(&mut self, crowd: Crowd, ids: Range<u64>) {
        let now = ids.end;
        let arrived = ids.map(|id| scheduling::Event::Arrived(native(crowd, id)));
        self.0.step(now, arrived.collect());
    }

    fn turn(&mut self, crowd: Crowd, ended: Vec<u64>, come: Range<u64>) -> Vec<u64> {
        let now = come.end;
        let ended = scheduling::Event::BatchFinished(scheduling::BatchFinished {
            id: now,
            worker: 1,
            requests: ended,
            dispatched: come.start,
            first_output: None,
            ended: now,
        });
        let come = come.map(|id| scheduling::Event::Arrived(native(crowd, id)));
        let events = std::iter::once(ended).chain(come).collect();
        let actions = self.0.step(now, events).into_iter();
        let sent = actions.filter_map(|action| match action {
            scheduling::Action::Dispatch(sent) => Some(sent.requests),
            _ => None,
        });
        sent.flatten().collect()
    }
}

impl Side for Hosted {
    fn begin(&mut self, crowd: Crowd) {
        let workers = workers(crowd).map(|(id, models, busy)| {
            policy::Event::WorkerChanged(policy::Worker {
                id,
                accepting: true,
                models: models.into(),
                slots: 1,
                busy,
                max_batch: crowd.batch as u32,
                identity: u64::from(id),
                queued: None,
                running: None,
                kv_cache_use: None,
            })
        });
        self.0.step(0, workers.collect()).expect("the guest steps");
    }

    fn come(&mut self, crowd: Crowd, ids: Range<u64>) {
        let now = ids.end;
        let arrived = ids.map(|id| policy::Event::Arrived(hosted(crowd, id)));
        self.0
            .step(now, arrived.collect())
            .expect("the guest steps");
    }

    fn turn(&mut self, crowd: Crowd, ended: Vec<u64>, come: Range<u64>) -> Vec<u64> {
        let now = come.end;
        let ended = policy::Event::BatchFinished {
            id: now,
            worker: 1,
            requests: ended.into(),
            dispatched: come.start,
            first_output: None,
            ended: now,
        };
        let come = come.map(|id| policy::Event::Arrived(hosted(crowd, id)));
        let events = std::iter::once(ended).chain(come).collect();
        let actions = self.0.step(now, events).expect("the guest steps");
        let sent = actions.into_iter().filter_map(|action| match action {
            policy::Action::Dispatch { requests, .. } => Some(requests),
            _ => None,
        });
        sent.flatten().collect()
    }
}

/// Number, models and batches of each worker.
fn workers(crowd: Crowd) -> impl Iterator<Item = (u32, Vec<u32>, u32)> {
    let busy = (1, (1..=crowd.classes as u32).collect(), 1);
    let idle = (crowd.classes > 1).then(|| (2, vec![u32::MAX], 0));
    std::iter::once(busy).chain(idle)
}

fn model(crowd: Crowd, id: u64) -> u32 {
    1 + (id % crowd.classes) as u32
}

fn native(crowd: Crowd, id: u64) -> scheduling::Request {
    scheduling::Request {
        id,
        model: model(crowd, id),
        tenant: (id % 7) as u32,
        batch_key: 1,
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

fn hosted(crowd: Crowd, id: u64) -> policy::Request {
    policy::Request {
        id,
        model: model(crowd, id),
        tenant: (id % 7) as u32,
        batch_key: 1,
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
    pub fn new(mut policy: P, crowd: Crowd) -> Self {
        policy.begin(crowd);
        let mut next = 0;
        while next < crowd.pending {
            let end = crowd.pending.min(next + TOGETHER);
            policy.come(crowd, next..end);
            next = end;
        }
        Self {
            policy,
            crowd,
            next,
            oldest: 0,
        }
    }

    /// One step, and how many nanoseconds it took. Wall time: a step is too short for the
    /// processor's clock to be asked.
    ///
    /// # Panics
    /// When others are sent than those that have waited longest.
    pub fn step(&mut self) -> u64 {
        let batch = self.crowd.batch;
        let come = self.next..self.next + batch;
        self.next = come.end;
        let ended = (self.oldest.saturating_sub(batch)..self.oldest).collect();
        let start = Instant::now();
        let sent = self.policy.turn(self.crowd, ended, come);
        let took = start.elapsed();
        let first: Vec<u64> = (self.oldest..self.oldest + batch).collect();
        assert_eq!(sent, first, "those that have waited longest");
        self.oldest += batch;
        u64::try_from(took.as_nanos()).unwrap_or(u64::MAX)
    }

    fn steps(&mut self, count: usize) -> Vec<u64> {
        (0..count).map(|_| self.step()).collect()
    }
}

/// Median and 99th percentile of so many steps, behind as many that do not count.
///
/// The same steps are taken [`TIMES`] times from the beginning, and of each the shortest time
/// counts: what a step has to do now and then it has to do every time, and what the machine did
/// meanwhile (a tick of its clock takes longer than many a step) comes at another one.
pub fn percentiles<P: Side>(make: impl Fn() -> Waiting<P>, count: usize) -> (f64, f64) {
    let mut least = vec![u64::MAX; count];
    for _ in 0..TIMES {
        let mut waiting = make();
        waiting.steps(count);
        for (least, took) in least.iter_mut().zip(waiting.steps(count)) {
            *least = took.min(*least);
        }
    }
    least.sort_unstable();
    let at = |share: f64| least[((count as f64 * share) as usize).min(count - 1)] as f64;
    (at(0.5), at(0.99))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_keeps_its_length() {
        for core in Core::ALL {
            for pending in [8, 16, 1000] {
                let crowd = Crowd {
                    pending,
                    batch: core.batch(),
                    classes: 1,
                };
                let mut waiting = Waiting::new(Native::new(core), crowd);
                for _ in 0..3 * pending {
                    waiting.step();
                }
            }
            let crowd = Crowd {
                pending: 400,
                batch: 1,
                classes: 200,
            };
            let mut waiting = Waiting::new(Native::new(core), crowd);
            for _ in 0..1200 {
                waiting.step();
            }
        }
    }
}
