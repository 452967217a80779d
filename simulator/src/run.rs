//! The event loop: a heap of instants, the drivers of one or more proxies, and workers they share.
//!
//! 1. The earliest instant is taken; of equal ones, the one that was set first.
//! 2. What it is about happens: a request comes, a worker has done something, a driver wakes, a
//!    worker is probed.
//! 3. Decisions of the driver concerned are carried out: batches go to workers, and what is turned
//!    away is counted.
//!
//! A run ends when nobody comes, waits or runs any more.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::sync::Arc;

use tollgate_dispatch::policy::{Affinity, Policy, RequestId, Settled, Worker, WorkerId};
use tollgate_dispatch::{Arrival, Decision, Driver, Limits, Rejection};

use crate::SimulateError;
use crate::load::Job;
use crate::random::{Random, mixed};
use crate::report::{Report, Tally};
use crate::worker::{Done, Machine, Member, Service, Task, Worked};

/// What is simulated beside the load.
#[derive(Clone, Debug)]
pub struct Setup {
    /// How many workers.
    pub workers: u32,
    /// Models that each of them serves, numbered from 1.
    pub models: u32,
    /// Batches that a proxy may have under way at one worker.
    pub slots: u32,
    /// Most requests in a batch.
    pub max_batch: u32,
    /// What workers are.
    pub service: Service,
    /// Proxies that share them and do not know of each other.
    pub proxies: usize,
    /// Microseconds between a worker's probes; 0: never.
    pub probe: u64,
    /// Of everything that is left to chance.
    pub seed: u64,
    /// Of each proxy's driver.
    pub limits: Limits,
}

/// Makes policies; none: the driver's fallback rules.
pub type Policies<'a> = dyn FnMut() -> Option<Box<dyn Policy>> + 'a;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Arrival,
    /// A client asks again, by the number of what it asks.
    Return(u64),
    Worker(u32),
    Driver(usize),
    Probe(u32),
}

struct Proxy {
    driver: Driver,
    /// Those that wait or run here.
    jobs: HashMap<RequestId, Job>,
    /// Waiting ones by model and priority, and by tenant.
    levels: BTreeMap<(u32, i32), usize>,
    armed: Option<u64>,
}

struct Simulation<'a> {
    setup: &'a Setup,
    heap: BinaryHeap<Reverse<(u64, u64, What)>>,
    sequence: u64,
    proxies: Vec<Proxy>,
    machines: Vec<Machine>,
    /// When each worker is to be woken.
    awaited: Vec<Option<u64>>,
    varied: Random,
    shuffled: Random,
    tally: Tally,
    waiting: usize,
    running: usize,
    /// More will come.
    coming: bool,
    /// What clients will ask again, by numbers of their own; bounded by the clients.
    returning: HashMap<u64, Job>,
    thinking: Random,
}

/// Simulates a load.
///
/// # Errors
/// A setup that cannot work.
pub fn run(
    setup: &Setup,
    jobs: impl Iterator<Item = Job>,
    policies: &mut Policies<'_>,
) -> Result<Report, SimulateError> {
    if setup.workers == 0 || setup.slots == 0 || setup.max_batch == 0 || setup.proxies == 0 {
        return Err(SimulateError::Setup(
            "workers, slots, max-batch and proxies must be greater than zero",
        ));
    }
    let mut simulation = Simulation::new(setup, policies)?;
    simulation.play(jobs.peekable());
    Ok(simulation.finish())
}

// === impl Simulation ===

impl<'a> Simulation<'a> {
    fn new(setup: &'a Setup, policies: &mut Policies<'_>) -> Result<Self, SimulateError> {
        let mut proxies = Vec::new();
        for _ in 0..setup.proxies {
            let limits = Limits {
                max_workers: setup.workers as usize,
                ..setup.limits.clone()
            };
            let mut driver = Driver::new(limits)?;
            for id in 1..=setup.workers {
                driver.worker_changed(0, seat(setup, id, None));
            }
            if let Some(policy) = policies() {
                driver.swap(0, policy);
            }
            proxies.push(Proxy {
                driver,
                jobs: HashMap::new(),
                levels: BTreeMap::new(),
                armed: None,
            });
        }
        let mut simulation = Self {
            setup,
            heap: BinaryHeap::new(),
            sequence: 0,
            proxies,
            machines: (0..setup.workers)
                .map(|_| setup.service.machine())
                .collect(),
            awaited: vec![None; setup.workers as usize],
            varied: Random::new(setup.seed, 11),
            shuffled: Random::new(setup.seed, 12),
            tally: Tally::new(),
            waiting: 0,
            running: 0,
            coming: true,
            returning: HashMap::new(),
            thinking: Random::new(setup.seed, 13),
        };
        for at in 0..setup.proxies {
            simulation.settle(0, at);
        }
        if setup.probe > 0 {
            for id in 1..=setup.workers {
                // Spread, as those of real proxies are.
                let first = simulation.shuffled.below(setup.probe);
                simulation.set(first, What::Probe(id));
            }
        }
        Ok(simulation)
    }

    fn set(&mut self, at: u64, what: What) {
        self.sequence += 1;
        self.heap.push(Reverse((at, self.sequence, what)));
    }

    fn play(&mut self, mut jobs: std::iter::Peekable<impl Iterator<Item = Job>>) {
        match jobs.peek() {
            Some(first) => {
                let at = first.at;
                self.set(at, What::Arrival);
            }
            None => self.coming = false,
        }
        while let Some(Reverse((now, _, what))) = self.heap.pop() {
            let nobody = self.waiting == 0 && self.running == 0 && self.returning.is_empty();
            if !self.coming && nobody {
                break;
            }
            match what {
                What::Arrival => {
                    if let Some(job) = jobs.next() {
                        self.arrive(now, job);
                    }
                    match jobs.peek() {
                        Some(next) => {
                            let at = next.at.max(now);
                            self.set(at, What::Arrival);
                        }
                        None => self.coming = false,
                    }
                }
                What::Return(number) => {
                    if let Some(job) = self.returning.remove(&number) {
                        self.arrive(now, job);
                    }
                }
                What::Worker(id) => self.work(now, id),
                What::Driver(at) => {
                    let proxy = &mut self.proxies[at];
                    if proxy.armed == Some(now) {
                        proxy.armed = None;
                        proxy.driver.tick(now);
                        self.settle(now, at);
                    }
                }
                What::Probe(id) => self.probe(now, id),
            }
        }
    }

    fn arrive(&mut self, now: u64, job: Job) {
        let at = match self.proxies.len() {
            1 => 0,
            many => self.shuffled.below(many as u64) as usize,
        };
        let blocks = job.prefix_blocks();
        let arrival = Arrival {
            model: job.model,
            tenant: job.tenant,
            batch_key: job.batch_key,
            priority: job.priority,
            input_cost: job.input,
            output_cost: job.believed(),
            deadline: job.deadline.map(|after| now.saturating_add(after)),
            affinity: if blocks.is_empty() {
                Affinity::None
            } else {
                Affinity::Prefer(Arc::from(blocks))
            },
            ..Arrival::default()
        };
        self.tally.came(now);
        let proxy = &mut self.proxies[at];
        match proxy.driver.arrive(now, arrival) {
            Ok(id) => {
                *proxy.levels.entry((job.model, job.priority)).or_default() += 1;
                self.tally.waits(job.tenant);
                proxy.jobs.insert(id, job);
                self.waiting += 1;
            }
            Err(_) => {
                self.tally.rejected(now, &job, "queue full");
                self.think(now, job);
            }
        }
        self.settle(now, at);
    }

    /// A request is over. A client that asks again does so when it has thought.
    fn think(&mut self, now: u64, job: Job) {
        let Some(again) = job.again else {
            return;
        };
        // Never at once: one that is turned away would be so for ever.
        let at = now + 1 + self.thinking.exponential(again.after as f64) as u64;
        if at < again.until {
            let number = self.sequence;
            self.returning.insert(number, Job { at, ..job });
            self.set(at, What::Return(number));
        }
    }

    fn work(&mut self, now: u64, id: WorkerId) {
        let index = id as usize - 1;
        if self.awaited[index] != Some(now) {
            return;
        }
        let mut done = Vec::new();
        self.machines[index].wake(now, &mut self.varied, &mut done);
        let mut firsts: Vec<(usize, u64)> = Vec::new();
        for one in done {
            match one {
                Done::First(proxy, batch, id) => {
                    firsts.push((proxy, batch));
                    if let Some(job) = self.proxies[proxy].jobs.get(&id) {
                        self.tally.first(now, job);
                    }
                }
                Done::Member(proxy, _, id) => {
                    if let Some(job) = self.proxies[proxy].jobs.remove(&id) {
                        self.tally.done(now, &job);
                        self.running -= 1;
                        let settled = Settled {
                            id,
                            tenant: job.tenant,
                            input_cost: job.input,
                            output_cost: job.believed(),
                            input: Some(job.input),
                            output: Some(job.output),
                        };
                        self.proxies[proxy].driver.settled(now, settled);
                        self.think(now, job);
                    }
                }
                Done::Batch(proxy, batch) => {
                    let first = firsts.contains(&(proxy, batch)).then_some(now);
                    self.proxies[proxy].driver.batch_finished(now, batch, first);
                    self.settle(now, proxy);
                }
            }
        }
        self.await_worker(id);
    }

    fn await_worker(&mut self, id: WorkerId) {
        let index = id as usize - 1;
        let next = self.machines[index].next();
        if next != self.awaited[index] {
            self.awaited[index] = next;
            if let Some(at) = next {
                self.set(at, What::Worker(id));
            }
        }
    }

    fn probe(&mut self, now: u64, id: WorkerId) {
        let load = self.machines[id as usize - 1].load();
        for at in 0..self.proxies.len() {
            let worker = seat(self.setup, id, Some(load));
            self.proxies[at].driver.worker_changed(now, worker);
            self.settle(now, at);
        }
        self.set(now + self.setup.probe, What::Probe(id));
    }

    /// Carries out what a driver has decided, and sets its timer.
    fn settle(&mut self, now: u64, at: usize) {
        let decisions = self.proxies[at].driver.take_decisions();
        let mut sent: Vec<(u32, i32)> = Vec::new();
        for decision in decisions {
            match decision {
                Decision::Reject { id, reason } => {
                    if let Some(job) = self.proxies[at].jobs.remove(&id) {
                        self.unwait(at, &job);
                        self.tally.rejected(now, &job, name(&reason));
                        self.think(now, job);
                    }
                }
                Decision::Dispatch {
                    batch,
                    worker,
                    requests,
                } => {
                    let mut members = Vec::with_capacity(requests.len());
                    let size = requests.len();
                    let mut top: Option<(u32, i32)> = None;
                    for id in requests {
                        let Some(job) = self.proxies[at].jobs.get(&id).cloned() else {
                            continue;
                        };
                        let level = (job.model, job.priority);
                        top = Some(top.map_or(level, |top| top.max(level)));
                        self.tally.sent(now, &job);
                        self.unwait(at, &job);
                        self.running += 1;
                        members.push(Member {
                            id,
                            input: job.input,
                            output: job.output,
                            blocks: job.prefix_blocks(),
                        });
                    }
                    self.tally.batch(size);
                    sent.extend(top);
                    let task = Task {
                        proxy: at,
                        batch,
                        members,
                    };
                    self.machines[worker as usize - 1].submit(now, task, &mut self.varied);
                    self.await_worker(worker);
                }
            }
        }
        self.count_inversions(at, &sent);
        self.tally.pending(now, self.waiting);
        self.tally
            .replaced(self.proxies[at].driver.take_troubles().len());
        let proxy = &mut self.proxies[at];
        let wake = proxy.driver.wake_at().map(|wake| wake.max(now));
        if let Some(wake) = wake
            && proxy.armed.is_none_or(|armed| wake < armed)
        {
            proxy.armed = Some(wake);
            self.set(wake, What::Driver(at));
        }
    }

    /// Someone was sent while one of higher priority went on waiting for the same workers, and none
    /// of them had room left.
    fn count_inversions(&mut self, at: usize, sent: &[(u32, i32)]) {
        let proxy = &self.proxies[at];
        let Some(((_, highest), _)) = proxy.levels.iter().next_back() else {
            return;
        };
        // Workers serve all models, so that any one could have had the place.
        let highest = proxy
            .levels
            .keys()
            .map(|(_, priority)| *priority)
            .max()
            .unwrap_or(*highest);
        let inverted = sent.iter().filter(|(_, priority)| *priority < highest);
        let count = inverted.count();
        if count > 0 {
            let mut workers = proxy.driver.workers();
            let room = workers.any(|worker| worker.busy < worker.slots);
            if !room {
                self.tally.inverted(count);
            }
        }
    }

    fn unwait(&mut self, at: usize, job: &Job) {
        let level = (job.model, job.priority);
        let levels = &mut self.proxies[at].levels;
        if let Some(count) = levels.get_mut(&level) {
            *count -= 1;
            if *count == 0 {
                levels.remove(&level);
            }
        }
        self.tally.waits_no_longer(job.tenant);
        self.waiting -= 1;
    }

    fn finish(self) -> Report {
        let worked = self.machines.iter().map(Machine::worked);
        let worked = worked.fold(Worked::default(), |sum, one| Worked {
            time: sum.time + one.time,
            lanes: sum.lanes + one.lanes,
            asked: sum.asked + one.asked,
            found: sum.found + one.found,
        });
        let gauges = self.proxies.iter().map(|proxy| proxy.driver.gauges());
        let (steps, refused) =
            gauges.fold((0, 0), |sum, one| (sum.0 + one.steps, sum.1 + one.refused));
        self.tally.report(self.setup, worked, steps, refused)
    }
}

fn seat(setup: &Setup, id: WorkerId, load: Option<(u32, u32)>) -> Worker {
    Worker {
        id,
        accepting: true,
        models: (1..=setup.models).collect(),
        slots: setup.slots,
        busy: 0,
        max_batch: setup.max_batch,
        // Names of workers are anything.
        identity: mixed(u64::from(id)),
        queued: load.map(|(queued, _)| queued),
        running: load.map(|(_, running)| running),
        kv_cache_use: None,
    }
}

fn name(reason: &Rejection) -> &'static str {
    match reason {
        Rejection::Overloaded => "overloaded",
        Rejection::OverShare => "over share",
        Rejection::TooLate => "too late",
        Rejection::QueueTimeout => "queue timeout",
        Rejection::NoWorker => "no worker",
        Rejection::Other(_) => "other",
    }
}
