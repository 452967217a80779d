//! The native policy: first come first served, least loaded. It rules when no other policy can.
//!
//! 1. Requests that may use the same workers form a *lane*, ordered by priority, then by age.
//! 2. Of all lanes that have a worker with room, the one with the foremost head goes next.
//! 3. Its head goes to the worker with the least `busy / slots`, then the lowest number; requests
//!    of the same lane with the same batch key ride along, up to the worker's `max_batch`.
//! 4. A worker where the request failed before is used only if no other one accepts.
//! 5. A pinned request goes to one worker only, chosen by its pin (the highest hash of pin and
//!    worker, so that no table of pins is needed, and every fallback chooses alike), and waits for
//!    it. When that worker no longer accepts, its pins spread over the others; the rest stay. A wish
//!    (`prefer`) is not followed.
//!
//! It never waits to fill a batch, and never turns away what can still be done in time. A step costs
//! `lanes × workers` for each batch dispatched, whatever the queue's length.

use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::policy::{
    ALONE, Action, Affinity, Event, Page, Policy, PolicyGone, RejectReason, Request, RequestId,
    Worker, WorkerId,
};

/// A request's place in its lane: higher priority first, then the older one.
type Turn = (Reverse<i32>, RequestId);

/// What requests have in common that may use the same workers.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct LaneKey {
    model: u32,
    eligible: Arc<[WorkerId]>,
    avoid: Vec<WorkerId>,
    pin: Option<u64>,
}

#[derive(Default)]
struct Lane {
    turns: BTreeSet<Turn>,
    /// The same turns again, by batch key; those that go alone are left out.
    mates: HashMap<u32, BTreeSet<Turn>>,
}

/// First come first served, least loaded. Holds no more than the driver's pending requests.
#[derive(Default)]
pub struct Fallback {
    requests: HashMap<RequestId, Request>,
    lanes: BTreeMap<LaneKey, Lane>,
    workers: BTreeMap<WorkerId, Worker>,
}

// === impl LaneKey ===

impl LaneKey {
    fn of(request: &Request) -> Self {
        Self {
            model: request.model,
            eligible: request.eligible.clone(),
            avoid: request.avoid.clone(),
            pin: match request.affinity {
                Affinity::Pin(pin) => Some(pin),
                Affinity::None | Affinity::Prefer(_) => None,
            },
        }
    }
}

fn turn(request: &Request) -> Turn {
    (Reverse(request.priority), request.id)
}

// === impl Fallback ===

impl Fallback {
    /// A policy that knows of nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn add(&mut self, request: Request) {
        self.remove(request.id);
        let lane = self.lanes.entry(LaneKey::of(&request)).or_default();
        lane.turns.insert(turn(&request));
        if request.batch_key != ALONE {
            let mates = lane.mates.entry(request.batch_key).or_default();
            mates.insert(turn(&request));
        }
        self.requests.insert(request.id, request);
    }

    fn remove(&mut self, id: RequestId) -> Option<Request> {
        let request = self.requests.remove(&id)?;
        let key = LaneKey::of(&request);
        if let Some(lane) = self.lanes.get_mut(&key) {
            let turn = turn(&request);
            lane.turns.remove(&turn);
            if let Some(mates) = lane.mates.get_mut(&request.batch_key) {
                mates.remove(&turn);
                if mates.is_empty() {
                    lane.mates.remove(&request.batch_key);
                }
            }
            if lane.turns.is_empty() {
                self.lanes.remove(&key);
            }
        }
        Some(request)
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Arrived(request) | Event::AttemptFailed { request, .. } => self.add(request),
            Event::Cancelled(id) => {
                self.remove(id);
            }
            Event::BatchFinished { worker, .. } => {
                if let Some(worker) = self.workers.get_mut(&worker) {
                    worker.busy = worker.busy.saturating_sub(1);
                }
            }
            Event::WorkerChanged(worker) => {
                self.workers.insert(worker.id, worker);
            }
            Event::WorkerGone(id) => {
                self.workers.remove(&id);
            }
            // The driver checks this policy's actions against the same truth that it was told, so
            // none is ever refused (the property tests hold that).
            Event::Timer | Event::Refused { .. } | Event::Settled(_) => {}
        }
    }

    /// The best worker with room for a lane, if there is one.
    fn worker_for(&self, lane: &LaneKey, head: &Request) -> Option<&Worker> {
        let usable = || {
            self.workers
                .values()
                .filter(|worker| worker.accepting && head.may_use(worker))
        };
        let avoidable = usable().any(|worker| !lane.avoid.contains(&worker.id));
        let chosen = usable().filter(|worker| !(avoidable && lane.avoid.contains(&worker.id)));
        match lane.pin {
            Some(pin) => chosen
                .max_by_key(|worker| (rank(pin, worker.identity), worker.id))
                .filter(|worker| worker.has_room()),
            None => chosen
                .filter(|worker| worker.has_room())
                .min_by(|a, b| by_load(a, b)),
        }
    }

    /// The foremost request that can go now, and where to.
    fn next(&self) -> Option<(LaneKey, RequestId, WorkerId)> {
        let mut best: Option<(Turn, &LaneKey, WorkerId)> = None;
        for (key, lane) in &self.lanes {
            let Some(head) = lane.turns.first() else {
                continue;
            };
            if best.as_ref().is_some_and(|(turn, ..)| turn < head) {
                continue;
            }
            let Some(worker) = self.worker_for(key, &self.requests[&head.1]) else {
                continue;
            };
            best = Some((*head, key, worker.id));
        }
        best.map(|(turn, key, worker)| (key.clone(), turn.1, worker))
    }

    /// The head and those that may ride along with it.
    fn batch(&self, lane: &LaneKey, head: RequestId, worker: WorkerId) -> Vec<RequestId> {
        let key = self.requests[&head].batch_key;
        let most = self.workers[&worker].max_batch.max(1) as usize;
        match self.lanes[lane].mates.get(&key) {
            // The head is the first of the lane, so it is the first of its mates too.
            Some(mates) => mates.iter().take(most).map(|turn| turn.1).collect(),
            None => vec![head],
        }
    }
}

/// Less `busy / slots` first, then the lower number. Slots are not zero where there is room.
fn by_load(a: &Worker, b: &Worker) -> Ordering {
    let left = u64::from(a.busy) * u64::from(b.slots);
    let right = u64::from(b.busy) * u64::from(a.slots);
    left.cmp(&right).then(a.id.cmp(&b.id))
}

/// How well a worker suits a pin: the finalizer of SplitMix64 over both.
fn rank(pin: u64, identity: u64) -> u64 {
    let mut z = pin ^ identity.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

impl Policy for Fallback {
    fn restore(&mut self, _now: u64, page: Page) -> Result<(), PolicyGone> {
        for worker in page.workers {
            self.workers.insert(worker.id, worker);
        }
        for request in page.pending {
            self.add(request);
        }
        // Batches in flight are already in each worker's `busy`.
        Ok(())
    }

    fn step(&mut self, now: u64, events: Vec<Event>) -> Result<Vec<Action>, PolicyGone> {
        for event in events {
            self.take(event);
        }
        let mut actions = Vec::new();
        while self.workers.values().any(Worker::has_room) {
            let Some((lane, head, worker)) = self.next() else {
                break;
            };
            if self.requests[&head].deadline.is_some_and(|at| at <= now) {
                self.remove(head);
                actions.push(Action::Reject {
                    id: head,
                    reason: RejectReason::TooLate,
                });
                continue;
            }
            let requests = self.batch(&lane, head, worker);
            for id in &requests {
                self.remove(*id);
            }
            if let Some(worker) = self.workers.get_mut(&worker) {
                worker.busy += 1;
            }
            actions.push(Action::Dispatch { worker, requests });
        }
        Ok(actions)
    }
}
