//! The driver beside a plain model of what is so: every operation is done to both, and what the
//! driver decides is held to the model. No request is lost, none is in two places, none goes to a
//! worker that is gone, full, or not allowed to serve it.
//!
//! What happens is for others to choose: property tests here, and the fuzzer.

use std::collections::{BTreeMap, BTreeSet};

use tollgate_dispatch::driver::{Arrival, Decision, Driver, Full, Limits};
use tollgate_dispatch::policy::{
    Action, BatchId, Event, NO_MODEL, Page, Policy, PolicyGone, RejectReason, RequestId, Settled,
    Worker, WorkerId,
};
use tollgate_dispatch::{Fallback, Rejection};

const MAX_PENDING: usize = 150;
const MAX_BYTES: u64 = 4_000;

// === what can happen ===

#[derive(Clone, Debug)]
pub(crate) struct Wish {
    pub(crate) model: u32,
    pub(crate) batch_key: u32,
    pub(crate) eligible: Vec<WorkerId>,
    pub(crate) priority: i32,
    pub(crate) patience: Option<u64>,
    pub(crate) bytes: u64,
}

#[derive(Clone, Debug)]
pub(crate) enum Op {
    Arrive(Wish, u8),
    Cancel(usize),
    Finish(usize),
    Fail(usize, u8, bool),
    Worker(WorkerId, bool, u32, u32, Vec<u32>),
    Gone(WorkerId),
    Tick(u64),
    /// Seed, and after how many calls it is gone.
    Hostile(u64, Option<u8>),
    Honest,
    FallBack,
}

// === a policy that answers at random ===

/// Half of what it names is what it was told of, the rest is made up.
struct Hostile {
    state: u64,
    left: Option<u8>,
    known: Vec<RequestId>,
}

impl Hostile {
    fn random(&mut self, below: u64) -> u64 {
        // xorshift64*; the seed is never zero.
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        (self.state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % below
    }

    fn request(&mut self) -> RequestId {
        if self.known.is_empty() || self.random(4) == 0 {
            return self.random(400);
        }
        let at = self.random(self.known.len() as u64);
        self.known[at as usize]
    }

    fn spend(&mut self) -> Result<(), PolicyGone> {
        match &mut self.left {
            None => Ok(()),
            Some(0) => Err(PolicyGone {
                reason: "made to".into(),
            }),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
        }
    }
}

impl Policy for Hostile {
    fn restore(&mut self, _: u64, page: Page) -> Result<(), PolicyGone> {
        self.spend()?;
        let most = [page.workers.len(), page.pending.len(), page.in_flight.len()];
        assert!(most.iter().all(|length| *length <= 64));
        self.known.extend(page.pending.iter().map(|one| one.id));
        Ok(())
    }

    fn step(&mut self, now: u64, events: Vec<Event>) -> Result<Vec<Action>, PolicyGone> {
        self.spend()?;
        for event in events {
            if let Event::Arrived(request) = event {
                self.known.push(request.id);
            }
        }
        let mut actions = Vec::new();
        for _ in 0..self.random(6) {
            actions.push(match self.random(8) {
                0 => Action::WakeAt(now.wrapping_add(self.random(1000)).wrapping_sub(500)),
                1 => Action::WakeAt(u64::MAX),
                2 => Action::Other("dance".into()),
                3 => Action::Reject {
                    id: self.request(),
                    reason: RejectReason::Overloaded,
                },
                _ => {
                    let worker = self.random(7) as WorkerId;
                    let size = self.random(4);
                    let requests = (0..size).map(|_| self.request()).collect();
                    Action::Dispatch { worker, requests }
                }
            });
        }
        Ok(actions)
    }
}

// === what must be so ===

#[derive(Clone, Debug, PartialEq)]
enum Where {
    Waits,
    Runs(BatchId),
    /// Rejected, cancelled, or a member of a batch that has ended.
    Done,
}

struct Known {
    wish: Wish,
    at: Where,
    deadline: Option<u64>,
    avoid: BTreeSet<WorkerId>,
}

pub(crate) struct World {
    pub(crate) driver: Driver,
    now: u64,
    requests: BTreeMap<RequestId, Known>,
    pub(crate) batches: BTreeMap<BatchId, (WorkerId, Vec<RequestId>)>,
    workers: BTreeMap<WorkerId, Worker>,
    most_flying: usize,
    /// Since when each batch runs, and how long one has taken at most.
    begun: BTreeMap<BatchId, u64>,
    longest: Option<u64>,
    /// Whoever rules may say of a request that it will be too late, before it is: by how long
    /// batches take, and by what waits.
    pub(crate) foresight: bool,
}

impl World {
    pub(crate) fn new(kept: usize) -> Self {
        Self::with(kept, Limits::default().max_actions)
    }

    /// A world in which so many actions are carried out at once.
    pub(crate) fn with(kept: usize, actions: usize) -> Self {
        let limits = Limits {
            max_actions: actions,
            max_pending: MAX_PENDING,
            max_bytes: MAX_BYTES,
            max_workers: 8,
            queue_timeout: 5_000,
            workerless_timeout: 1_000,
            min_wake: 10,
            max_wake: 2_000,
            max_kept_events: kept,
            max_refused_in_a_row: 40,
        };
        Self {
            driver: Driver::new(limits).unwrap(),
            now: 1,
            requests: BTreeMap::new(),
            batches: BTreeMap::new(),
            workers: BTreeMap::new(),
            most_flying: 0,
            begun: BTreeMap::new(),
            longest: None,
            foresight: false,
        }
    }

    fn busy(&self, id: WorkerId) -> u32 {
        self.batches.values().filter(|(at, _)| *at == id).count() as u32
    }

    fn waiting(&self) -> impl Iterator<Item = (&RequestId, &Known)> {
        self.requests
            .iter()
            .filter(|(_, known)| known.at == Where::Waits)
    }

    fn may_use(wish: &Wish, worker: &Worker) -> bool {
        (wish.eligible.is_empty() || wish.eligible.contains(&worker.id))
            && (wish.model == NO_MODEL || worker.models.contains(&wish.model))
    }

    fn arrive(&mut self, wish: &Wish) {
        let waiting = self.waiting().count();
        let bytes: u64 = self.waiting().map(|(_, known)| known.wish.bytes).sum();
        let deadline = wish.patience.map(|patience| self.now + patience);
        let arrival = Arrival {
            model: wish.model,
            tenant: 1 + (wish.bytes % 3) as u32,
            batch_key: wish.batch_key,
            eligible: wish.eligible.clone().into(),
            priority: wish.priority,
            deadline,
            bytes: wish.bytes,
            ..Arrival::default()
        };
        match self.driver.arrive(self.now, arrival) {
            Ok(id) => {
                assert!(
                    waiting < MAX_PENDING && bytes + wish.bytes <= MAX_BYTES,
                    "{waiting} wait with {bytes} bytes, and one more with {} was taken; gauges: {:?}",
                    wish.bytes,
                    self.driver.gauges()
                );
                let known = Known {
                    wish: wish.clone(),
                    at: Where::Waits,
                    deadline,
                    avoid: BTreeSet::new(),
                };
                assert!(self.requests.insert(id, known).is_none(), "a number twice");
            }
            Err(Full::Requests) => assert!(waiting >= MAX_PENDING),
            Err(Full::Bytes) => assert!(bytes + wish.bytes > MAX_BYTES),
            Err(full) => panic!("no driver says so: {full}"),
        }
    }

    pub(crate) fn apply(&mut self, op: &Op) {
        match op {
            Op::Arrive(wish, count) => {
                for _ in 0..*count {
                    self.arrive(wish);
                    self.check_decisions();
                }
            }
            Op::Cancel(at) => {
                let ids: Vec<_> = self.requests.keys().copied().collect();
                if ids.is_empty() {
                    return;
                }
                let id = ids[at % ids.len()];
                let known = self.requests.get_mut(&id).unwrap();
                let here = known.at != Where::Done;
                if let Where::Runs(batch) = known.at {
                    let members = &mut self.batches.get_mut(&batch).unwrap().1;
                    members.retain(|member| *member != id);
                }
                known.at = Where::Done;
                assert_eq!(self.driver.cancel(self.now, id), here);
            }
            Op::Finish(at) => {
                let ids: Vec<_> = self.batches.keys().copied().collect();
                if ids.is_empty() {
                    assert!(!self.driver.batch_finished(self.now, 1 << 40, None));
                    return;
                }
                self.finish(ids[at % ids.len()]);
            }
            Op::Fail(at, who, too) => {
                let ids: Vec<_> = self.batches.keys().copied().collect();
                if ids.is_empty() {
                    return;
                }
                let batch = ids[at % ids.len()];
                let (worker, members) = self.batches.get_mut(&batch).unwrap();
                let failed = (0..).zip(members.iter().copied());
                let failed: Vec<_> = failed
                    .filter(|(at, _)| who & (1 << (at % 8)) != 0)
                    .map(|(_, id)| id)
                    .collect();
                members.retain(|member| !failed.contains(member));
                for id in &failed {
                    let known = self.requests.get_mut(id).unwrap();
                    known.at = Where::Waits;
                    known.avoid.insert(*worker);
                }
                // Naming some twice, and one that never was, changes nothing.
                let mut named = failed.clone();
                named.extend(failed.iter().take(1));
                named.push(1 << 40);
                let count = self.driver.attempt_failed(self.now, batch, &named);
                assert_eq!(count, failed.len());
                if *too {
                    self.check_decisions();
                    self.finish(batch);
                }
            }
            Op::Worker(id, accepting, slots, most, models) => {
                let worker = Worker {
                    id: *id,
                    accepting: *accepting,
                    models: models.clone().into(),
                    slots: *slots,
                    busy: 77,
                    max_batch: *most,
                    identity: u64::from(*id),
                    queued: None,
                    running: None,
                    kv_cache_use: None,
                };
                self.workers.insert(*id, worker.clone());
                assert!(self.driver.worker_changed(self.now, worker));
            }
            Op::Gone(id) => {
                let known = self.workers.remove(id).is_some();
                assert_eq!(self.driver.worker_gone(self.now, *id), known);
            }
            Op::Tick(time) => {
                self.now += time;
                self.driver.tick(self.now);
            }
            Op::Hostile(seed, left) => {
                let policy = Hostile {
                    state: seed | 1,
                    left: *left,
                    known: Vec::new(),
                };
                self.driver.swap(self.now, Box::new(policy));
            }
            Op::Honest => self.driver.swap(self.now, Box::new(Fallback::new())),
            Op::FallBack => self.driver.fall_back(self.now),
        }
    }

    /// Lets another policy rule.
    #[allow(
        dead_code,
        reason = "not everyone who plays a world has policies of their own"
    )]
    pub(crate) fn swap(&mut self, policy: Box<dyn Policy>) {
        self.driver.swap(self.now, policy);
    }

    fn finish(&mut self, batch: BatchId) {
        let (_, members) = self.batches.remove(&batch).unwrap();
        for id in members {
            let known = self.requests.get_mut(&id).unwrap();
            known.at = Where::Done;
            // What it used is known of some, and is often not what was believed.
            if id % 3 > 0 {
                let used = Settled {
                    id,
                    tenant: 1 + (known.wish.bytes % 3) as u32,
                    input_cost: 0,
                    output_cost: 0,
                    input: Some((id % 40) as u32),
                    output: (id % 2 == 0).then_some(7),
                };
                self.driver.settled(self.now, used);
            }
        }
        if let Some(begun) = self.begun.remove(&batch) {
            self.longest = self.longest.max(Some(self.now - begun));
        }
        assert!(self.driver.batch_finished(self.now, batch, Some(self.now)));
        assert!(!self.driver.batch_finished(self.now, batch, None), "twice");
    }

    pub(crate) fn check_decisions(&mut self) {
        for decision in self.driver.take_decisions() {
            match decision {
                Decision::Reject { id, reason } => {
                    let known = self
                        .requests
                        .get_mut(&id)
                        .expect("rejected out of thin air");
                    assert_eq!(known.at, Where::Waits, "rejected, but does not wait");
                    let deadline = known.deadline;
                    known.at = Where::Done;
                    if reason == Rejection::TooLate {
                        let deadline = deadline.expect("too late for what?");
                        assert!(deadline <= self.now || self.may_foresee(deadline));
                    }
                }
                Decision::Dispatch {
                    batch,
                    worker,
                    requests,
                } => {
                    let target = self.workers.get(&worker).expect("sent to a dead worker");
                    assert!(target.accepting);
                    assert!(self.busy(worker) < target.slots, "sent to a full worker");
                    assert!(!requests.is_empty());
                    assert!(requests.len() <= target.max_batch.max(1) as usize);
                    let mut keys = BTreeSet::new();
                    for id in &requests {
                        let known = self.requests.get_mut(id).expect("sent out of thin air");
                        assert_eq!(known.at, Where::Waits, "sent twice, or after its end");
                        assert!(Self::may_use(&known.wish, target));
                        assert!(known.deadline.is_none_or(|at| at > self.now));
                        known.at = Where::Runs(batch);
                        keys.insert(known.wish.batch_key);
                    }
                    assert_eq!(keys.len(), 1, "mixed batch keys");
                    assert!(requests.len() == 1 || !keys.contains(&0));
                    self.begun.insert(batch, self.now);
                    let before = self.batches.insert(batch, (worker, requests));
                    assert!(before.is_none(), "a batch's number twice");
                }
            }
        }
        self.check_gauges();
    }

    /// Whether it can be believed that nobody is in time for this deadline: batches have been seen to
    /// take as long (four members, the most that a batch has here, perhaps as often as the one that
    /// was seen had), one after the other for all that wait.
    fn may_foresee(&self, deadline: u64) -> bool {
        let Some(longest) = self.longest.filter(|_| self.foresight) else {
            return false;
        };
        let rounds = self.waiting().count() as u64 + 2;
        deadline - self.now <= 4 * longest * rounds
    }

    fn check_gauges(&mut self) {
        let gauges = self.driver.gauges();
        let bytes: u64 = self.waiting().map(|(_, known)| known.wish.bytes).sum();
        let flying = self.batches.values().map(|(_, members)| members.len());
        let flying: usize = flying.sum();
        self.most_flying = self.most_flying.max(flying);
        assert_eq!(gauges.pending, self.waiting().count());
        assert_eq!(gauges.bytes, bytes);
        assert_eq!(gauges.in_flight, flying);
        assert_eq!(gauges.batches, self.batches.len());
        assert!(gauges.pending <= MAX_PENDING + self.most_flying);
        for worker in self.driver.workers() {
            assert_eq!(worker.busy, self.busy(worker.id));
        }
        let overdue = |known: &Known| known.deadline.is_some_and(|at| at <= self.now);
        assert!(!self.waiting().any(|(_, known)| overdue(known)));
        assert!(
            self.waiting().count() == 0 || self.driver.wake_at().is_some(),
            "someone waits, and nobody will look"
        );
    }

    /// No worker is idle that someone waits for; `ahead` of a worker's slots, but for its last one,
    /// do no work.
    pub(crate) fn check_work_conserving(&self, ahead: u32) {
        for (id, known) in self.waiting() {
            let usable = self
                .workers
                .values()
                .filter(|worker| worker.accepting && Self::may_use(&known.wish, worker));
            let usable: Vec<_> = usable.collect();
            let other = usable.iter().any(|one| !known.avoid.contains(&one.id));
            for worker in usable {
                let avoided = other && known.avoid.contains(&worker.id);
                let lanes = worker.slots.saturating_sub(ahead).max(1).min(worker.slots);
                assert!(
                    avoided || self.busy(worker.id) >= lanes,
                    "request {id} waits while worker {} is free",
                    worker.id
                );
            }
        }
    }

    /// Whoever rules brings everything to an end when there are workers for all: nobody waits beside
    /// them for longer than `patience`.
    #[allow(
        dead_code,
        reason = "not everyone who plays a world has policies of their own"
    )]
    pub(crate) fn check_none_starved(&mut self, patience: u64) {
        for id in 1..6 {
            self.apply(&Op::Worker(id, true, 2, 3, vec![1, 2, 3]));
            self.check_decisions();
        }
        let mut idle = 0;
        while self.waiting().count() > 0 || !self.batches.is_empty() {
            if let Some(batch) = self.batches.keys().next().copied() {
                self.now += 1;
                self.finish(batch);
                idle = 0;
            } else {
                let at = self.driver.wake_at().expect("someone looks again");
                idle += at.saturating_sub(self.now);
                assert!(idle <= patience, "all workers are free, and someone waits");
                self.now = self.now.max(at);
                self.driver.tick(self.now);
            }
            self.check_decisions();
        }
    }

    /// Everything that was admitted comes to an end once there are workers for all.
    pub(crate) fn check_none_lost(&mut self) {
        self.driver.fall_back(self.now);
        self.check_decisions();
        self.apply(&Op::Worker(1, true, 2, 3, vec![1, 2, 3]));
        self.check_decisions();
        for _ in 0..2_000 {
            if let Some(batch) = self.batches.keys().next().copied() {
                self.finish(batch);
            } else if let Some(at) = self.driver.wake_at() {
                self.now = self.now.max(at);
                self.driver.tick(self.now);
            } else {
                break;
            }
            self.check_decisions();
        }
        assert!(self.batches.is_empty());
        assert!(self.requests.values().all(|known| known.at == Where::Done));
        assert_eq!(self.driver.gauges().pending, 0);
    }
}
