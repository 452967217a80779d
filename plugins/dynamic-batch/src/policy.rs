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
//! **Ahead.** Where a worker's last slots only keep the next batch ready beside the one that runs, a
//! batch that is sent into one begins no sooner for being sent at once: it grows until the one that
//! runs can be hoped to end soon ([`DynamicBatch::held_until`]), or until it is full. A worker whose
//! times are not known, or are as short as the way there, is given its next batch at once.
//!
//! **Deadlines.** What no worker that may have it can do in time, even alone, is turned away. What
//! only another can do, which is free or should be free soon enough, goes there or waits for it. A
//! batch stops growing where one more member would make the first of its members late. When more
//! wait than one batch takes, that would cost the others more than it saves: then members that a
//! full batch would make late, here and elsewhere, are turned away instead (early drop, as in Nexus:
//! Shen et al., SOSP 2019). A latency target is a wish: it stops growth in the same way, but turns
//! nobody away.
//!
//! A step costs a logarithm of the queue for each member, and a look at the workers where a deadline
//! is in doubt; a class that has no room is looked at once, and again when one of its workers has.

use tollgate_sdk_scheduler::Policy;
use tollgate_sdk_scheduler::desk::{Desk, Terms};
use tollgate_sdk_scheduler::roster::Caps;
use tollgate_sdk_scheduler::scheduling::{
    Action, Affinity, BatchFinished, Event, Page, Reject, RejectReason, Request,
};
use tollgate_sdk_scheduler::waiting::{Bounds, Turn};

use crate::curve::Curves;
use crate::hope::{Outlook, Queue, Wanted};
use crate::options::Options;
use crate::rhythm::Rhythms;
use crate::running::{Batch, Running};

/// A batch that waits for company begins so much earlier than its deadline asks: times vary.
const MARGIN: f64 = 1.2;

/// Dynamic batches.
pub struct DynamicBatch {
    pub(crate) options: Options,
    pub(crate) desk: Desk,
    pub(crate) curves: Curves,
    rhythms: Rhythms,
    running: Running,
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

/// Where the one whose turn it is goes.
enum Choice {
    /// None of its workers has room.
    Nobody,
    /// One that is busy should do it in time, and none that is free.
    Later,
    /// None does it in time.
    Never,
    Worker(u32),
}

/// Requests that one step leaves out because others do better by them.
pub(crate) const MOST_ASIDE: usize = 64;
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
                shared: options.fair,
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
            rhythms: Rhythms::new(options.max_queue_delay_us),
            options,
            desk: Desk::new(terms),
            curves: Curves::new(),
            running: Running::default(),
            failed: Vec::new(),
        }
    }

    // === learning ===

    /// A batch has ended, that `began` at its worker.
    fn learn(&mut self, now: u64, batch: &BatchFinished, began: u64, model: Option<u32>) {
        let failed = batch.requests.iter().any(|id| self.failed.contains(id));
        self.failed.retain(|id| !batch.requests.contains(id));
        // One of which nothing came was left, or taken apart: it tells nothing of a worker.
        let Some(model) = model.filter(|_| !failed && batch.first_output.is_some()) else {
            return;
        };
        let size = u32::try_from(batch.requests.len()).unwrap_or(u32::MAX);
        let took = batch.ended.saturating_sub(began);
        self.curves.observe(now, batch.worker, model, size, took);
    }

    fn fail(&mut self, id: u64) {
        if self.failed.len() == MAX_FAILED {
            self.failed.remove(0);
        }
        self.failed.push(id);
    }

    /// Whether what has come cannot make its deadline, by the learned times and what waits before
    /// it.
    fn is_hopeless(&self, now: u64, request: &Request) -> bool {
        let Some(deadline) = request.deadline.filter(|_| self.options.early_rejection) else {
            return false;
        };
        if matches!(request.affinity, Affinity::Pin(_)) {
            // It has one worker only; whether that makes it is seen when it is its turn.
            return false;
        }
        let left = deadline.saturating_sub(now) as f64;
        let tenant = self.desk.charged(request.tenant);
        let queue = Queue {
            ahead: self.desk.waiting.ahead(request, None, tenant),
            cap: |worker| self.cap(worker, request.batch_key),
        };
        self.outlook(now).is_hopeless(request, left, queue)
    }

    pub(crate) fn outlook(&self, now: u64) -> Outlook<'_> {
        Outlook {
            now,
            roster: &self.desk.roster,
            curves: &self.curves,
            running: &self.running,
            ahead: self.options.ahead,
        }
    }

    // === batches ===

    pub(crate) fn cap(&self, worker: u32, key: u32) -> u32 {
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
        let mut held = 0;
        let mut wake: Option<u64> = None;
        if self.desk.roster.free_slots() > 0 {
            self.desk.open_turns();
        }
        // Each that is held keeps a slot.
        while self.desk.roster.free_slots() > held {
            let desk = &mut self.desk;
            let Some(turn) = desk.waiting.foremost(&desk.ledger) else {
                break;
            };
            let worker = match self.choose(now, turn) {
                Choice::Worker(worker) => worker,
                Choice::Nobody => {
                    self.desk.waiting.park(turn.class);
                    continue;
                }
                Choice::Later => {
                    self.leave_out(turn, turn.front.id);
                    continue;
                }
                Choice::Never => {
                    self.desk
                        .turn_away(turn.front.id, RejectReason::TooLate, actions);
                    continue;
                }
            };
            match self.plan(now, turn, worker) {
                Plan::Wait(until) => {
                    self.desk.waiting.hold(turn.class, turn.key);
                    held += 1;
                    wake = Some(wake.map_or(until, |wake| wake.min(until)));
                }
                Plan::Send(most) => {
                    let before = self.desk.waiting.aside();
                    let members = self.gather(now, turn, worker, most, actions);
                    let Some(first) = members.first() else {
                        // They were turned away, or do better elsewhere and are left out.
                        if self.desk.waiting.aside() >= MOST_ASIDE {
                            self.desk.waiting.hold(turn.class, turn.key);
                        }
                        continue;
                    };
                    let batch = Batch {
                        dispatched: now,
                        begun: None,
                        size: u32::try_from(members.len()).unwrap_or(u32::MAX),
                        model: first.request.model,
                    };
                    let lanes = self.outlook(now).lanes(worker);
                    self.running.begin(worker, lanes, batch);
                    self.desk.send(worker, members, actions);
                    // Another worker may be free that does them in time.
                    let desk = &mut self.desk;
                    desk.waiting.recall(before, &desk.ledger);
                }
            }
        }
        self.desk.close_turns();
        wake
    }

    /// Leaves one out of this step; when that has become many, its lane.
    fn leave_out(&mut self, turn: Turn, id: u64) {
        let waiting = &mut self.desk.waiting;
        if waiting.aside() < MOST_ASIDE {
            waiting.set_aside(id);
        } else {
            waiting.hold(turn.class, turn.key);
        }
    }

    /// Where the one whose turn it is goes: to the least busy worker, or, where it would wait in any,
    /// to that which should come to it first; unless that cannot make its deadline and another can.
    fn choose(&self, now: u64, turn: Turn) -> Choice {
        let desk = &self.desk;
        let Some((asks, home)) = desk.waiting.asks(turn.class) else {
            return Choice::Nobody;
        };
        let first = match home {
            Some(home) => Some(home).filter(|home| desk.roster.is_free(*home)),
            None => desk.roster.least_busy(asks),
        };
        let Some(first) = first else {
            return Choice::Nobody;
        };
        let wanted = Wanted { asks, home };
        let outlook = self.outlook(now);
        let first = match outlook.begins_at_once(first) {
            true => first,
            false => outlook
                .fastest(wanted, asks.model)
                .map_or(first, |(fastest, _)| fastest),
        };
        let request = desk.waiting.get(turn.front.id).map(|one| &one.request);
        let deadline = request.and_then(|request| Some((request.model, request.deadline?)));
        let Some((model, deadline)) = deadline.filter(|_| self.options.early_rejection) else {
            return Choice::Worker(first);
        };
        let by = deadline as f64;
        if outlook.alone(first, model) <= by {
            return Choice::Worker(first);
        }
        match outlook.fastest(wanted, model) {
            Some((fastest, done)) if done <= by => Choice::Worker(fastest),
            _ if outlook.soonest(wanted, first, |id| outlook.alone(id, model)) <= by => {
                Choice::Later
            }
            _ => Choice::Never,
        }
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
        if let Some(until) = self.held_until(now, worker) {
            return Plan::Wait(until);
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
            .of(now, worker, model)
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

    /// Until when a batch for a worker is better held than sent; none: it is sent. One that would only
    /// wait inside the worker is held until so long before its turn there that it is in time.
    fn held_until(&self, now: u64, worker: u32) -> Option<u64> {
        let outlook = self.outlook(now);
        if outlook.begins_at_once(worker) {
            return None;
        }
        let place = outlook.next_place(worker)?;
        let until = (place as u64).saturating_sub(self.options.ahead_lead_us);
        (now < until).then_some(until)
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
}

impl Policy for DynamicBatch {
    fn restore(&mut self, now: u64, page: Page) {
        let running = page.in_flight.iter().map(|batch| {
            let running = Batch {
                dispatched: batch.dispatched,
                begun: None,
                size: batch.size,
                model: batch.members.first().map_or(0, |member| member.model),
            };
            (batch.worker, running)
        });
        let running: Vec<_> = running.collect();
        self.desk.restore(page);
        for (worker, batch) in running {
            let lanes = self.outlook(now).lanes(worker);
            self.running.begin(worker, lanes, batch);
        }
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
                    let (sent, size) = (batch.dispatched, batch.requests.len());
                    let running = &mut self.running;
                    let ended = running.end(batch.worker, Some(sent), size, batch.ended);
                    let began = ended.and_then(|one| one.begun).unwrap_or(sent);
                    self.learn(now, batch, began, model);
                }
                Event::Refused(refused) => {
                    if let Some(worker) = refused.worker {
                        let size = refused.requests.len();
                        self.running.end(worker, None, size, now);
                    }
                }
                Event::WorkerGone(id) => self.running.gone(*id),
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
