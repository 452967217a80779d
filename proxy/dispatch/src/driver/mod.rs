//! Holds the truth of one pool of workers and lets a policy decide, sans I/O.
//!
//! 1. The owner brings what happened (`arrive`, `batch_finished`, `worker_changed`, `tick`, …) and
//!    the instant. The truth changes first.
//! 2. Waiting requests that have expired are rejected, whatever the policy thinks of them.
//! 3. The ruling policy is told, and answers actions. Each one is checked against the truth; one
//!    that does not fit is counted, and told by a `refused` event: what a policy believes to have
//!    sent has been sent, or it hears of it. A long answer is carried out in pages, one a call, and
//!    the policy is told nothing new before the last one.
//! 4. What was carried out waits in [`Driver::take_decisions`]; [`Driver::wake_at`] says when to
//!    come back.
//!
//! **Changing the policy.** [`Driver::swap`] copies the truth into pages. One page is handed over at
//! once, and the new policy rules. More than one: the fallback rules, one page goes with each
//! `tick`, events are kept; after the last page the kept events are told in order, in one step, and
//! from then on the new policy rules. What the fallback did meanwhile is told as `cancelled` (it
//! waits no longer) and `worker-changed` (with its batches counted). A policy that is gone, or that
//! answers nothing but nonsense, is replaced by the fallback within the same call, restored from
//! the truth; a [`Trouble`] tells so.
//!
//! *Invariants*, held by property tests with policies that answer at random: no request is lost,
//! none is in two places, none goes to a worker that is gone, full, or not allowed to serve it.

mod journal;
mod limits;
mod reign;
mod truth;
mod types;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

pub use self::journal::{Journal, Note};
pub use self::limits::{Limits, LimitsError};
use self::reign::{Heir, Ruler};
use self::truth::{Terms, Truth, Unfit};
pub use self::types::{Arrival, Decision, Full, Gauges, Rejection, Trouble};
use crate::fallback::Fallback;
use crate::policy::{
    Action, BatchId, Event, Policy, RejectReason, Request, RequestId, Settled, Worker, WorkerId,
};

/// Requests that one refusal names; of more it is several.
const MAX_NAMED: usize = 64;
/// So many requests that do not wait may be named in refused actions of one page; of a policy that
/// names more nothing need be remembered.
const MAX_STRANGERS: usize = 65_536;
/// What requests were found to use waits for the next event, and makes one when it is so much.
const MAX_SETTLED: usize = 64;
/// A policy that was refused twice in one call is told of it the second time after so long, if
/// nothing else happens (microseconds).
const RETELL: u64 = 1_000;
/// Steps of one policy in one call: one for what happened, and one for what was refused.
const MAX_STEPS: u32 = 2;

/// The truth of one pool, and the policy that decides over it.
pub struct Driver {
    limits: Limits,
    truth: Truth,
    ruler: Ruler,
    heir: Option<Heir>,
    /// For the ruler's next step.
    events: Vec<Event>,
    /// Of the ruler's last answer, what has not been carried out.
    answer: VecDeque<Action>,
    /// When the ruler is told of refusals that it has not been told of.
    retell: Option<u64>,
    /// Events may have come while the answer was carried out.
    paged: bool,
    /// The ruler's timer.
    timer: Option<u64>,
    /// The latest instant seen: time does not go back.
    now: u64,
    next_request: RequestId,
    decisions: Vec<Decision>,
    troubles: VecDeque<Trouble>,
    refused: u64,
    refused_in_a_row: u32,
    steps: u64,
    journal: Option<Box<dyn Journal>>,
    /// Calls of policies, since what was told last.
    calls: u32,
}

// === impl Driver ===

impl Driver {
    /// An empty pool, ruled by the fallback.
    ///
    /// # Errors
    /// A bound that cannot work.
    pub fn new(limits: Limits) -> Result<Self, LimitsError> {
        limits.check()?;
        Ok(Self {
            limits,
            truth: Truth::default(),
            ruler: Ruler::Fallback(Fallback::new()),
            heir: None,
            events: Vec::new(),
            answer: VecDeque::new(),
            retell: None,
            paged: false,
            timer: None,
            now: 0,
            next_request: 0,
            decisions: Vec::new(),
            troubles: VecDeque::new(),
            refused: 0,
            refused_in_a_row: 0,
            steps: 0,
            journal: None,
            calls: 0,
        })
    }

    /// Has other bounds from now on. What waits beyond a smaller one goes on waiting; nothing new is
    /// taken until there is room.
    ///
    /// # Errors
    /// A bound that cannot work; then nothing has changed.
    pub fn bound(&mut self, limits: Limits) -> Result<(), LimitsError> {
        limits.check()?;
        self.limits = limits;
        Ok(())
    }

    /// Writes down everything from now on. Comes before the first worker and the first request: what
    /// was before is not in the journal.
    pub fn keep_journal(&mut self, mut journal: Box<dyn Journal>) {
        let given = self.heir.is_some() || matches!(self.ruler, Ruler::Given(_));
        journal.note(Note::Begun(&self.limits, given));
        self.journal = Some(journal);
    }

    /// What is told comes first in the journal, and then what follows.
    fn note(&mut self, note: Note<'_>) {
        if let Some(journal) = &mut self.journal {
            if !matches!(note, Note::Lost(_) | Note::Decided(_)) {
                self.calls = 0;
            }
            journal.note(note);
        }
    }

    fn decide(&mut self, decision: Decision) {
        self.note(Note::Decided(&decision));
        self.decisions.push(decision);
    }

    // === what happens ===

    /// A new request waits.
    ///
    /// # Errors
    /// There is no room; nothing has changed.
    pub fn arrive(&mut self, now: u64, arrival: Arrival) -> Result<RequestId, Full> {
        let now = self.at(now);
        self.note(Note::Arrive(now, &arrival));
        self.truth.room_for(arrival.bytes, &self.limits)?;
        self.next_request += 1;
        let id = self.next_request;
        let request = Request {
            id,
            model: arrival.model,
            tenant: arrival.tenant,
            batch_key: arrival.batch_key,
            eligible: arrival.eligible,
            priority: arrival.priority,
            input_cost: arrival.input_cost,
            output_cost: arrival.output_cost,
            arrived: now,
            deadline: arrival.deadline,
            affinity: arrival.affinity,
            attempts: 0,
            avoid: Vec::new(),
        };
        let shorter = |own: Option<u64>, most: u64| own.map_or(most, |own| own.min(most));
        let terms = Terms {
            bytes: arrival.bytes,
            queue_timeout: shorter(arrival.queue_timeout, self.limits.queue_timeout),
            workerless_timeout: shorter(arrival.workerless_timeout, self.limits.workerless_timeout),
        };
        self.truth.queue(now, request.clone(), terms);
        self.tell(Event::Arrived(request));
        self.run(now);
        Ok(id)
    }

    /// A request's client has gone. One that waits leaves the queue; a member of a batch leaves it,
    /// and the batch runs on. False: it is neither.
    pub fn cancel(&mut self, now: u64, id: RequestId) -> bool {
        let now = self.at(now);
        self.note(Note::Cancel(now, id));
        if self.truth.forget(id) {
            self.tell(Event::Cancelled(id));
            self.run(now);
            return true;
        }
        self.truth.leave(id)
    }

    /// Other workers may serve a waiting request from now on: some came, or went. It keeps its
    /// number, and so its turn. False: it does not wait, or nothing has changed.
    pub fn entitle(&mut self, now: u64, id: RequestId, eligible: Arc<[WorkerId]>) -> bool {
        let now = self.at(now);
        self.note(Note::Entitled(now, id, &eligible));
        let Some(request) = self.truth.entitle(now, id, eligible) else {
            return false;
        };
        self.tell(Event::Cancelled(id));
        self.tell(Event::Arrived(request));
        self.run(now);
        true
    }

    /// A batch has ended, well or not: its slot is free, and members that are still in it are done.
    /// False: there is no such batch.
    pub fn batch_finished(&mut self, now: u64, id: BatchId, first_output: Option<u64>) -> bool {
        let now = self.at(now);
        self.note(Note::Finished(now, id, first_output));
        let Some(landed) = self.truth.land(id) else {
            return false;
        };
        self.tell(Event::BatchFinished {
            id,
            worker: landed.worker,
            requests: landed.requests,
            dispatched: landed.dispatched,
            first_output,
            ended: now,
        });
        self.run(now);
        true
    }

    /// Members of a batch failed and are to be tried again: they wait under their old numbers, and
    /// so in their old order. The batch keeps its slot until [`Driver::batch_finished`]. Tells how
    /// many wait again; one that is not a member of the batch does not.
    pub fn attempt_failed(&mut self, now: u64, batch: BatchId, requeue: &[RequestId]) -> usize {
        let now = self.at(now);
        self.note(Note::Failed(now, batch, requeue));
        let mut count = 0;
        for id in requeue {
            if let Some((request, worker)) = self.truth.requeue(now, batch, *id) {
                self.tell(Event::AttemptFailed { request, worker });
                count += 1;
            }
        }
        if count > 0 {
            self.run(now);
        }
        count
    }

    /// A request was found to use so much. Told with what happens next.
    pub fn settled(&mut self, now: u64, settled: Settled) {
        let now = self.at(now);
        self.note(Note::Settled(now, &settled));
        self.tell(Event::Settled(settled));
        if self.events.len() >= MAX_SETTLED {
            self.run(now);
        }
    }

    /// A worker is new or has changed. Its `busy` is ignored: the driver counts for itself. False:
    /// there are as many workers as are allowed, and this one is not taken.
    pub fn worker_changed(&mut self, now: u64, worker: Worker) -> bool {
        let now = self.at(now);
        self.note(Note::Worker(now, &worker));
        let Some(worker) = self.truth.put_worker(now, worker, &self.limits) else {
            return false;
        };
        self.tell(Event::WorkerChanged(worker));
        self.run(now);
        true
    }

    /// A worker has left. Nothing new goes there; its batches end as they end.
    pub fn worker_gone(&mut self, now: u64, id: WorkerId) -> bool {
        let now = self.at(now);
        self.note(Note::Gone(now, id));
        if !self.truth.remove_worker(now, id) {
            return false;
        }
        self.tell(Event::WorkerGone(id));
        self.run(now);
        true
    }

    /// Time has passed: expires requests, runs the policy's timer, and hands one page to a policy
    /// that is being restored.
    pub fn tick(&mut self, now: u64) {
        let now = self.at(now);
        self.note(Note::Tick(now));
        self.run(now);
        self.hand_page(now);
    }

    // === what follows ===

    /// What has been decided since the last call, in order.
    #[must_use]
    pub fn take_decisions(&mut self) -> Vec<Decision> {
        std::mem::take(&mut self.decisions)
    }

    /// Policies that were replaced since the last call.
    #[must_use]
    pub fn take_troubles(&mut self) -> Vec<Trouble> {
        self.troubles.drain(..).collect()
    }

    /// When to call [`Driver::tick`]; in the past while a policy is being restored, or more of its
    /// answer is to be carried out.
    #[must_use]
    pub fn wake_at(&self) -> Option<u64> {
        if self.heir.is_some() || !self.answer.is_empty() {
            return Some(self.now);
        }
        let expiry = self.truth.next_expiry();
        [self.timer, self.retell, expiry]
            .into_iter()
            .flatten()
            .min()
    }

    /// Figures for metrics.
    #[must_use]
    pub fn gauges(&self) -> Gauges {
        Gauges {
            pending: self.truth.pending_len(),
            bytes: self.truth.pending_bytes(),
            in_flight: self.truth.flying_len(),
            batches: self.truth.flights_len(),
            workers: self.truth.workers().count(),
            refused: self.refused,
            steps: self.steps,
            fallback: matches!(self.ruler, Ruler::Fallback(_)),
        }
    }

    /// The workers, with the batches that run on each.
    pub fn workers(&self) -> impl Iterator<Item = &Worker> {
        self.truth.workers()
    }

    // === the way of an event ===

    fn at(&mut self, now: u64) -> u64 {
        self.now = self.now.max(now);
        self.now
    }

    fn tell(&mut self, event: Event) {
        if let Some(heir) = &mut self.heir {
            heir.kept.push(event.clone());
        }
        self.events.push(event);
    }

    fn run(&mut self, now: u64) {
        while let Some((id, reason)) = self.truth.expired(now) {
            self.decide(Decision::Reject { id, reason });
            self.tell(Event::Cancelled(id));
        }
        if self.timer.is_some_and(|at| at <= now) {
            self.timer = None;
            self.events.push(Event::Timer);
        }
        self.deliver(now);
        let kept = self.heir.as_ref().map_or(0, |heir| heir.kept.len());
        if kept > self.limits.max_kept_events {
            while self.heir.is_some() {
                self.hand_page(now);
            }
        }
    }

    /// Carries out a page of what the ruler has answered, and steps it until it has been told
    /// everything. Refusals are told at once, but only once: a policy that repeats its mistake
    /// hears of it with the next event, or a little later.
    fn deliver(&mut self, now: u64) {
        let mut steps = 0;
        loop {
            if let Some(reason) = self.carry_out(now) {
                self.depose(Trouble::Nonsense(reason));
                steps = 0;
            }
            if !self.answer.is_empty() || self.events.is_empty() || steps == MAX_STEPS {
                break;
            }
            if std::mem::take(&mut self.paged) {
                self.count_again();
            }
            let events = std::mem::take(&mut self.events);
            steps += 1;
            self.steps += 1;
            let answer = match &mut self.ruler {
                Ruler::Fallback(policy) => policy.step(now, events),
                Ruler::Given(policy) => {
                    self.calls += 1;
                    policy.step(now, events)
                }
            };
            match answer {
                // Each that waits can be sent or turned away once.
                Ok(actions)
                    if actions.len() > self.truth.pending_len() + self.limits.max_actions =>
                {
                    self.depose(Trouble::Nonsense("it does more than there is to do"));
                    steps = 0;
                }
                Ok(actions) => self.answer = actions.into(),
                Err(gone) => {
                    self.note(Note::Lost(self.calls));
                    self.depose(Trouble::PolicyGone(gone));
                    steps = 0;
                }
            }
        }
        self.paged |= !self.answer.is_empty();
        let refused = |event: &Event| matches!(event, Event::Refused { .. });
        let untold = self.answer.is_empty() && self.events.iter().any(refused);
        self.retell = untold.then(|| now.saturating_add(RETELL));
    }

    /// What was told of workers while pages were carried out counts what had been sent by then: the
    /// last word is what has been sent now.
    fn count_again(&mut self) {
        let told = self.events.iter().filter_map(|event| match event {
            Event::WorkerChanged(worker) => Some(worker.id),
            _ => None,
        });
        let told: BTreeSet<WorkerId> = told.collect();
        let workers = told.iter().filter_map(|id| self.truth.worker(*id));
        let workers: Vec<_> = workers.cloned().map(Event::WorkerChanged).collect();
        self.events.extend(workers);
    }

    /// Checks and carries out a page of the ruler's answer. Tells the reason when the ruler has
    /// made nothing but mistakes for too long.
    fn carry_out(&mut self, now: u64) -> Option<&'static str> {
        // All that waits may be refused; beyond that a policy names what never was.
        let most_named = self.truth.pending_len() + MAX_STRANGERS;
        let mut named = 0;
        for _ in 0..self.limits.max_actions {
            let Some(action) = self.answer.pop_front() else {
                break;
            };
            match action {
                Action::Dispatch { worker, requests } => match self.truth.fits(worker, &requests) {
                    Ok(()) => self.dispatch(now, worker, requests),
                    Err(unfit) => {
                        named += requests.len();
                        if named > most_named {
                            return Some("it names too much that does not wait");
                        }
                        self.refuse(&requests, Some(worker), unfit.reason());
                    }
                },
                Action::Reject { id, reason } => {
                    if self.truth.forget(id) {
                        self.reject(id, reason);
                    } else {
                        self.refuse(&[id], None, Unfit::NotPending.reason());
                    }
                }
                Action::WakeAt(at) => {
                    let soonest = now.saturating_add(self.limits.min_wake);
                    let latest = now.saturating_add(self.limits.max_wake);
                    self.timer = Some(at.clamp(soonest, latest));
                }
                Action::Other(_) => self.refuse(&[], None, "the action is not known"),
            }
        }
        let given = matches!(self.ruler, Ruler::Given(_));
        (given && self.refused_in_a_row >= self.limits.max_refused_in_a_row)
            .then_some("it was refused too often in a row")
    }

    fn dispatch(&mut self, now: u64, worker: WorkerId, requests: Vec<RequestId>) {
        self.refused_in_a_row = 0;
        let batch = self.truth.launch(now, worker, &requests);
        if let Some(heir) = &mut self.heir {
            heir.kept
                .extend(requests.iter().map(|id| Event::Cancelled(*id)));
            if let Some(worker) = self.truth.worker(worker) {
                heir.kept.push(Event::WorkerChanged(worker.clone()));
            }
        }
        self.decide(Decision::Dispatch {
            batch,
            worker,
            requests,
        });
    }

    fn reject(&mut self, id: RequestId, reason: RejectReason) {
        self.refused_in_a_row = 0;
        if let Some(heir) = &mut self.heir {
            heir.kept.push(Event::Cancelled(id));
        }
        let reason = match reason {
            RejectReason::Overloaded => Rejection::Overloaded,
            RejectReason::OverShare => Rejection::OverShare,
            RejectReason::TooLate => Rejection::TooLate,
            RejectReason::Other(reason) => Rejection::Other(reason),
        };
        self.decide(Decision::Reject { id, reason });
    }

    fn refuse(&mut self, requests: &[RequestId], worker: Option<WorkerId>, reason: &'static str) {
        self.refused += 1;
        // A later page is carried out in another world than it was thought of in: what does not fit
        // any more is no mistake.
        if !self.paged {
            self.refused_in_a_row = self.refused_in_a_row.saturating_add(1);
        }
        let (first, rest) = requests.split_at(requests.len().min(MAX_NAMED));
        let refused = |requests: &[RequestId], worker| Event::Refused {
            requests: requests.to_vec(),
            worker,
            reason,
        };
        self.events.push(refused(first, worker));
        // The worker's slot is given back once.
        let rest = rest.chunks(MAX_NAMED).map(|more| refused(more, None));
        self.events.extend(rest);
    }
}
