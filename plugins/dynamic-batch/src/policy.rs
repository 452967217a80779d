//! The policy. One step:
//!
//! 1. takes the events in; learns from batches that ended, and turns away what has come and by the
//!    learned times cannot make its deadline;
//! 2. turns away what is past its deadline;
//! 3. as long as a worker has room: whose turn is it (priority, then the tenant served least, then
//!    the earliest deadline, then age)? It goes to the least busy worker that may have it, and
//!    those that may go along join it in the same order. How many ([`DynamicBatch::plan`]), and
//!    whether to wait for more of them, follows from the sizes that are preferred, from what the
//!    deadlines leave, and from whether more are to be expected in time;
//! 4. asks to be woken for the end of a wait, the next deadline, or the end of a rest.
//!
//! Who waits for company holds a slot, so that nobody of less importance takes it meanwhile.
//!
//! **Deadlines.** What cannot be done in time even alone is turned away. A batch stops growing
//! where one more member would make the first of its members late. When more wait than one batch
//! takes, that would cost the others more than it saves: then members that a full batch would make
//! late are turned away instead (early drop, as in Nexus: Shen et al., SOSP 2019). A latency target
//! is a wish: it stops growth in the same way, but turns nobody away.
//!
//! A step costs `classes` for each batch and a logarithm for each member, whatever the queue's
//! length and the number of workers.

use tollgate_sdk_scheduler::Policy;
use tollgate_sdk_scheduler::desk::{Desk, Terms};
use tollgate_sdk_scheduler::roster::{Asks, Caps};
use tollgate_sdk_scheduler::scheduling::{
    Action, BatchFinished, Event, Page, Reject, RejectReason, Request,
};
use tollgate_sdk_scheduler::waiting::{Bounds, Turn, Waiter};

use crate::curve::{Curve, Curves};
use crate::options::Options;
use crate::rhythm::Rhythms;

/// A batch that waits for company begins so much earlier than its deadline asks: times vary.
const MARGIN: f64 = 1.2;
/// What is believed to be late by less than this part of the estimate is given its chance.
const DOUBT: f64 = 1.2;

/// Dynamic batches.
pub struct DynamicBatch {
    options: Options,
    desk: Desk,
    curves: Curves,
    rhythms: Rhythms,
    /// Batches of which a member has failed lately: their times say nothing.
    failed: Vec<u64>,
}

/// What to do about the one whose turn it is.
enum Plan {
    /// At most so many go.
    Send(u32),
    /// They wait for company until then.
    Wait(u64),
}

/// Members that failed are remembered until their batch has ended, so many of them.
const MAX_FAILED: usize = 256;

impl DynamicBatch {
    /// Knows of nothing yet.
    #[must_use]
    pub fn new(options: Options) -> Self {
        let terms = Terms {
            bounds: Bounds {
                all: options.max_pending,
                each: options.max_pending_per_tenant,
            },
            caps: Caps {
                in_flight: u32::MAX,
                own_queue: u32::MAX,
            },
            merging: true,
            fair: options.fair,
            // Runtimes of this sort produce nothing token by token: what goes in counts.
            input_weight: 1,
            output_weight: 1,
            patience: options.patience_ms.saturating_mul(1000),
        };
        Self {
            options,
            desk: Desk::new(terms),
            curves: Curves::new(),
            rhythms: Rhythms::new(),
            failed: Vec::new(),
        }
    }

    // === learning ===

    fn learn(&mut self, batch: &BatchFinished, model: Option<u32>) {
        let failed = batch.requests.iter().any(|id| self.failed.contains(id));
        self.failed.retain(|id| !batch.requests.contains(id));
        // One of which nothing came was left, or taken apart: it tells nothing of a worker.
        let Some(model) = model.filter(|_| !failed && batch.first_output.is_some()) else {
            return;
        };
        let size = u32::try_from(batch.requests.len()).unwrap_or(u32::MAX);
        let took = batch.ended.saturating_sub(batch.dispatched);
        self.curves.observe(batch.worker, model, size, took);
    }

    fn fail(&mut self, id: u64) {
        if self.failed.len() == MAX_FAILED {
            self.failed.remove(0);
        }
        self.failed.push(id);
    }

    /// Whether what has come cannot make its deadline, by the learned times and what waits before
    /// it: no more than all, and no more than its tenant's own for each tenant that waits.
    fn is_hopeless(&self, now: u64, request: &Request) -> bool {
        let Some(deadline) = request.deadline.filter(|_| self.options.early_rejection) else {
            return false;
        };
        let Some(curve) = self.curves.of(0, request.model) else {
            return false;
        };
        let left = deadline.saturating_sub(now) as f64;
        if curve.hope(1).is_some_and(|time| time > left) {
            return true;
        }
        let desk = &self.desk;
        let tenants = desk.ledger.active().max(1);
        let tenant = if self.options.fair { request.tenant } else { 0 };
        let own = desk.ledger.waiting(tenant) as usize;
        let ahead = desk.waiting.len().min((own + 1) * tenants);
        let asks = Asks::of(request);
        // The bound of any worker that could have it: they are alike, or the estimate is rough.
        let Some(worker) = desk.roster.candidates(asks).next() else {
            return false;
        };
        let cap = self.cap(worker, request.batch_key);
        let at_once = desk.roster.slots().max(1) as f64 * f64::from(cap);
        let rounds = (ahead as f64 / at_once).floor();
        let size = u32::try_from(ahead + 1).unwrap_or(u32::MAX).min(cap);
        let Some(time) = curve.time(size) else {
            return false;
        };
        let busy = if desk.roster.free_slots() == 0 {
            0.5
        } else {
            0.0
        };
        (rounds + busy) * time + time > left * DOUBT
    }

    // === batches ===

    fn cap(&self, worker: u32, key: u32) -> u32 {
        match key {
            0 => 1,
            _ => self
                .desk
                .roster
                .max_batch(worker)
                .min(self.options.max_batch),
        }
    }

    fn dispatch(&mut self, now: u64, actions: &mut Vec<Action>) -> Option<u64> {
        let mut stuck = Vec::new();
        let mut held = Vec::new();
        let mut wake: Option<u64> = None;
        // Each that is held keeps a slot.
        while self.desk.roster.free_slots() > held.len() as u64 {
            let desk = &mut self.desk;
            let Some(turn) = desk.waiting.foremost(&desk.ledger, &stuck, &held) else {
                break;
            };
            let worker = desk
                .waiting
                .asks(turn.class)
                .and_then(|(asks, home)| match home {
                    Some(home) => Some(home).filter(|home| desk.roster.is_free(*home)),
                    None => desk.roster.least_busy(asks),
                });
            let Some(worker) = worker else {
                stuck.push(turn.class);
                continue;
            };
            match self.plan(now, turn, worker) {
                Plan::Wait(until) => {
                    held.push((turn.class, turn.key));
                    wake = Some(wake.map_or(until, |wake| wake.min(until)));
                }
                Plan::Send(most) => {
                    let members = self.gather(now, turn, worker, most, actions);
                    if !members.is_empty() {
                        self.desk.send(worker, members, actions);
                    }
                }
            }
        }
        wake
    }

    /// How many go, or until when they wait.
    fn plan(&self, now: u64, turn: Turn, worker: u32) -> Plan {
        let cap = self.cap(worker, turn.key);
        let Some(lane) = self.desk.waiting.lane(turn.class, turn.key) else {
            return Plan::Send(1);
        };
        let there = u32::try_from(lane.len()).unwrap_or(u32::MAX);
        if there >= cap {
            return Plan::Send(cap);
        }
        let fitting = |size: &&u32| **size <= cap;
        let sizes = || self.options.preferred.iter().filter(fitting);
        if let Some(size) = sizes().rev().find(|size| **size <= there) {
            return Plan::Send(*size);
        }
        if self.options.max_queue_delay_us == 0 {
            return Plan::Send(there);
        }
        let (Some(oldest), Some(due)) = (lane.oldest(), self.first_due(turn)) else {
            return Plan::Send(there);
        };
        let Some(leader) = self.desk.waiting.get(turn.front.id) else {
            return Plan::Send(there);
        };
        let model = leader.request.model;
        let time = self
            .curves
            .of(worker, model)
            .and_then(|curve| curve.time(there + 1))
            .unwrap_or(0.0);
        let latest = due.saturating_sub((time * MARGIN) as u64);
        let until = oldest
            .saturating_add(self.options.max_queue_delay_us)
            .min(latest);
        if now >= until || !self.rhythms.expects(&leader.request, now, until) {
            return Plan::Send(there);
        }
        Plan::Wait(until)
    }

    /// When the first of a lane should be done: by its deadline, or by the latency target.
    fn first_due(&self, turn: Turn) -> Option<u64> {
        let lane = self.desk.waiting.lane(turn.class, turn.key)?;
        let due = lane.first_due()?;
        Some(match self.options.latency_target_ms {
            0 => due,
            target => lane.oldest()?.saturating_add(target * 1000).min(due),
        })
    }

    /// Picks the members of a batch: the one whose turn it is, and others of its lane in turn.
    fn gather(
        &mut self,
        now: u64,
        turn: Turn,
        worker: u32,
        most: u32,
        actions: &mut Vec<Action>,
    ) -> Vec<Waiter> {
        let backlog = self
            .desk
            .waiting
            .lane(turn.class, turn.key)
            .is_some_and(|lane| lane.len() > most as usize);
        let mut curve: Option<Option<Curve>> = None;
        let mut members: Vec<Waiter> = Vec::new();
        // When the first of the members should be done.
        let mut strictest = u64::MAX;
        while members.len() < most as usize {
            let desk = &mut self.desk;
            let front = desk.waiting.front_of(turn.class, turn.key, &desk.ledger);
            let Some(front) = front else {
                break;
            };
            let Some(waiter) = self.desk.waiting.get(front.id) else {
                break;
            };
            let request = &waiter.request;
            let curve = *curve.get_or_insert_with(|| self.curves.of(worker, request.model));
            if let Some(curve) = curve {
                let at = |time: Option<f64>| now as f64 + time.unwrap_or(0.0);
                let late = |done: f64| request.deadline.is_some_and(|by| done > by as f64);
                let hopeless = late(at(curve.hope(1)));
                let early = backlog && late(at(curve.time(most)));
                if self.options.early_rejection && (hopeless || early) {
                    self.desk
                        .turn_away(front.id, RejectReason::TooLate, actions);
                    continue;
                }
                let due = self.due(request).min(strictest);
                let size = u32::try_from(members.len()).unwrap_or(u32::MAX);
                let grown = at(curve.time(size + 1)) > due as f64;
                let kept = at(curve.time(size.max(1))) <= due as f64;
                if !members.is_empty() && !backlog && grown && kept {
                    break;
                }
                strictest = due;
            }
            if let Some(waiter) = self.desk.pick(front.id) {
                members.push(waiter);
            }
        }
        members
    }

    fn due(&self, request: &Request) -> u64 {
        let wish = match self.options.latency_target_ms {
            0 => u64::MAX,
            target => request.arrived.saturating_add(target * 1000),
        };
        request.deadline.map_or(wish, |deadline| deadline.min(wish))
    }
}

impl Policy for DynamicBatch {
    fn restore(&mut self, _now: u64, page: Page) {
        self.desk.restore(page);
    }

    fn step(&mut self, now: u64, events: Vec<Event>) -> Vec<Action> {
        let mut actions = Vec::new();
        for event in events {
            match &event {
                Event::Arrived(request) => {
                    self.rhythms.arrived(now, request);
                    if self.is_hopeless(now, request) {
                        let (id, reason) = (request.id, RejectReason::TooLate);
                        actions.push(Action::Reject(Reject { id, reason }));
                        continue;
                    }
                }
                Event::AttemptFailed(failed) => self.fail(failed.request.id),
                Event::BatchFinished(batch) => {
                    let model = batch.requests.iter().find_map(|id| self.desk.model(*id));
                    self.learn(batch, model);
                }
                _ => {}
            }
            self.desk.take_in(now, event, &mut actions);
        }
        self.desk.settle(now, &mut actions);
        let wake = self.dispatch(now, &mut actions);
        self.desk.set_alarm(wake, &mut actions);
        actions
    }
}
