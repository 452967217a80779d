//! A policy's copy of the truth, and the part of its work that all policies have: taking events
//! in, turning away, sending, and taking back what the host would not send.
//!
//! What is left to a policy is to choose: whose turn it is not, which worker, how many together.

use crate::fair::Ticket;
use crate::flights::{Flight, Flights};
use crate::ledger::Ledger;
use crate::pins::Pins;
use crate::roster::{Asks, Caps, Roster};
use crate::scheduling::{
    Action, Affinity, Dispatch, Event, Page, Refused, Reject, RejectReason, Request, Settled,
};
use crate::waiting::{Bounds, HOMELESS, Turned, Waiter, Waiting};

/// After a refusal for no known reason its worker rests for so long (microseconds).
const STALL: u64 = 10_000;
/// After so many refusals a request is turned away, so that one which the host will never let go
/// cannot hold up the others.
const MAX_REFUSALS: u32 = 8;
/// Requests under way that are remembered, sequences whose worker is, and tenants.
const MAX_FLIGHTS: usize = 65_536;
const MAX_PINS: usize = 4_096;
const MAX_TENANTS: usize = 4_096;

/// What a policy wants of its desk. Times are microseconds.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// Bounds on what waits.
    pub bounds: Bounds,
    /// Bounds on what one worker is given.
    pub caps: Caps,
    /// Requests may be merged.
    pub merging: bool,
    /// Tenants share by what they were served; else all are one.
    pub fair: bool,
    /// Weight of a unit of input.
    pub input_weight: u32,
    /// Weight of a unit of output.
    pub output_weight: u32,
    /// A request should be done at its deadline, or after so long if that is earlier.
    pub patience: u64,
}

/// What a policy knows.
pub struct Desk {
    terms: Terms,
    /// The workers.
    pub roster: Roster,
    /// Who waits.
    pub waiting: Waiting,
    /// What tenants were served.
    pub ledger: Ledger,
    flights: Flights,
    pins: Pins,
    /// The timer that the host has been asked for.
    alarm: Option<u64>,
    /// What requests cost lately, in the mean.
    mean_cost: f64,
}

// === impl Desk ===

impl Desk {
    /// Knows of nothing yet.
    #[must_use]
    pub fn new(terms: Terms) -> Self {
        Self {
            terms,
            roster: Roster::new(terms.caps),
            waiting: Waiting::new(terms.bounds),
            ledger: Ledger::new(MAX_TENANTS),
            flights: Flights::new(MAX_FLIGHTS),
            pins: Pins::new(MAX_PINS),
            alarm: None,
            mean_cost: 1.0,
        }
    }

    /// What a request is believed to need, in weighted units; at least one.
    #[must_use]
    pub fn cost(&self, request: &Request) -> u64 {
        self.weighted(request.input_cost, request.output_cost)
    }

    fn weighted(&self, input: u32, output: u32) -> u64 {
        let input = u64::from(input) * u64::from(self.terms.input_weight);
        let output = u64::from(output) * u64::from(self.terms.output_weight);
        (input + output).max(1)
    }

    /// Who is charged for a tenant's requests.
    #[must_use]
    pub fn charged(&self, tenant: u32) -> u32 {
        if self.terms.fair { tenant } else { 0 }
    }

    /// What requests that were sent cost lately, in the mean.
    #[must_use]
    pub fn mean_cost(&self) -> f64 {
        self.mean_cost
    }

    /// The model of a request under way.
    #[must_use]
    pub fn model(&self, id: u64) -> Option<u32> {
        self.flights.get(id).map(|flight| flight.model)
    }

    /// Takes a page of the truth.
    pub fn restore(&mut self, page: Page) {
        for worker in page.workers {
            self.roster.changed(worker);
        }
        for request in page.pending {
            let waiter = self.waiter(request);
            self.waiting.put(waiter, &mut self.ledger);
        }
        for batch in page.in_flight {
            for member in batch.members {
                let cost = self.weighted(member.input_cost, member.output_cost);
                let flight = Flight {
                    worker: batch.worker,
                    cost,
                    model: member.model,
                    waiter: None,
                };
                self.fly(member.id, flight);
                // Who is being served is charged for it, as if it had been sent from here.
                let tenant = self.charged(member.tenant);
                self.ledger.enter(tenant);
                self.ledger.charge(tenant, cost);
                self.ledger.leave(tenant);
            }
        }
        if page.last {
            // Workers may have come after the requests that are bound to one.
            self.rehome();
        }
    }

    /// Takes in what has happened, and turns away what that leaves no room for.
    pub fn take_in(&mut self, now: u64, event: Event, actions: &mut Vec<Action>) {
        match event {
            Event::Arrived(request) => {
                let waiter = self.waiter(request);
                if let Some(Turned { id, reason }) = self.waiting.admit(waiter, &mut self.ledger) {
                    actions.push(Action::Reject(Reject { id, reason }));
                }
            }
            Event::AttemptFailed(failed) => {
                self.land(failed.request.id, None);
                let waiter = self.waiter(failed.request);
                self.waiting.put(waiter, &mut self.ledger);
            }
            Event::Cancelled(id) => {
                self.waiting.take(id, &mut self.ledger);
                // Sent in the step before, and gone before the host took it up.
                self.land(id, None);
            }
            Event::BatchFinished(batch) => {
                for id in &batch.requests {
                    self.land(*id, Some(batch.worker));
                }
                self.roster.finished(batch.worker);
            }
            Event::WorkerChanged(worker) => {
                if self.roster.changed(worker) {
                    self.rehome();
                }
            }
            Event::WorkerGone(id) => {
                self.roster.gone(id);
                self.rehome();
            }
            Event::Timer => self.alarm = None,
            Event::Refused(refused) => self.take_back(now, &refused, actions),
            Event::Settled(settled) => self.settle_bill(&settled),
            Event::Other(_) => {}
        }
    }

    /// Turns away what is past its deadline, and ends what rests. Comes after the events.
    pub fn settle(&mut self, now: u64, actions: &mut Vec<Action>) {
        while let Some(id) = self.waiting.overdue(now) {
            self.turn_away(id, RejectReason::TooLate, actions);
        }
        self.roster.wake(now);
    }

    /// Comes before turns are given: those whose workers have got room have theirs again.
    pub fn open_turns(&mut self) {
        let (reshuffled, opened) = self.roster.news();
        if reshuffled {
            self.waiting.reshuffled();
        }
        for id in opened {
            self.waiting.opened(id, self.roster.models(id));
        }
    }

    /// Comes after turns were given: what was held or set aside has its turn the next time.
    pub fn close_turns(&mut self) {
        self.waiting.release(&self.ledger);
    }

    fn settle_bill(&mut self, it: &Settled) {
        let believed = self.weighted(it.input_cost, it.output_cost);
        let used = self.weighted(
            it.input.unwrap_or(it.input_cost),
            it.output.unwrap_or(it.output_cost),
        );
        self.ledger.settle(self.charged(it.tenant), believed, used);
    }

    /// Turns a waiting request away.
    pub fn turn_away(&mut self, id: u64, reason: RejectReason, actions: &mut Vec<Action>) {
        if self.waiting.take(id, &mut self.ledger).is_some() {
            actions.push(Action::Reject(Reject { id, reason }));
        }
    }

    /// Takes a request out of the queue for a batch, and charges its tenant. [`Desk::send`] follows.
    pub fn pick(&mut self, id: u64) -> Option<Box<Waiter>> {
        let waiter = self.waiting.take(id, &mut self.ledger)?;
        let cost = self.cost(&waiter.request);
        self.mean_cost += (cost as f64 - self.mean_cost) / 64.0;
        self.ledger.charge(waiter.ticket.tenant, cost);
        Some(waiter)
    }

    /// Sends a batch of what was picked.
    pub fn send(&mut self, worker: u32, members: Vec<Box<Waiter>>, actions: &mut Vec<Action>) {
        let requests = members.iter().map(|one| one.ticket.id).collect();
        self.roster.dispatched(worker);
        for waiter in members {
            let id = waiter.ticket.id;
            let flight = Flight {
                worker,
                cost: self.cost(&waiter.request),
                model: waiter.request.model,
                waiter: Some(waiter),
            };
            self.fly(id, flight);
        }
        actions.push(Action::Dispatch(Dispatch { worker, requests }));
    }

    /// Asks for a timer at the first of these instants, of deadlines, and of the ends of rests.
    /// Only an earlier alarm replaces one that is set: one that has lost its reason rings once for
    /// nothing, which is cheaper than telling the host often.
    pub fn set_alarm(&mut self, wanted: Option<u64>, actions: &mut Vec<Action>) {
        if self.waiting.is_empty() {
            return;
        }
        let all = [
            wanted,
            self.waiting.next_deadline(),
            self.roster.next_wake(),
        ];
        if let Some(at) = all.into_iter().flatten().min()
            && self.alarm.is_none_or(|set| at < set)
        {
            self.alarm = Some(at);
            actions.push(Action::WakeAt(at));
        }
    }

    fn waiter(&mut self, request: Request) -> Box<Waiter> {
        let due = request.arrived.saturating_add(self.terms.patience);
        let due = request.deadline.map_or(due, |deadline| deadline.min(due));
        let ticket = Ticket {
            id: request.id,
            priority: request.priority,
            tenant: self.charged(request.tenant),
            due,
        };
        let key = if self.terms.merging {
            request.batch_key
        } else {
            0
        };
        Box::new(Waiter {
            home: self.home(&request),
            ticket,
            key,
            request,
            refusals: 0,
        })
    }

    fn home(&mut self, request: &Request) -> Option<u32> {
        let Affinity::Pin(pin) = request.affinity else {
            return None;
        };
        let asks = Asks::of(request);
        let roster = &self.roster;
        let home = self.pins.place(
            pin,
            |id| roster.holds(id, asks) && !asks.avoid.contains(&id),
            roster.candidates(asks).map(|id| (id, roster.identity(id))),
        );
        Some(home.unwrap_or(HOMELESS))
    }

    /// Those that are bound to one worker are bound anew: it may have left, or another have come.
    fn rehome(&mut self) {
        for id in self.waiting.pinned() {
            let Some(waiter) = self.waiting.get(id).cloned() else {
                continue;
            };
            let home = self.home(&waiter.request);
            if home != waiter.home {
                let waiter = Box::new(Waiter { home, ..waiter });
                self.waiting.put(waiter, &mut self.ledger);
            }
        }
    }

    /// The requests of a refused dispatch wait again. When one of them had gone, that explains the
    /// refusal; when all are there, it was about the worker.
    fn take_back(&mut self, now: u64, refused: &Refused, actions: &mut Vec<Action>) {
        let back: Vec<Box<Waiter>> = refused
            .requests
            .iter()
            .filter_map(|id| self.land(*id, None))
            .collect();
        if let Some(worker) = refused.worker {
            let explained = back.len() < refused.requests.len();
            let stall = (!explained).then_some(now.saturating_add(STALL));
            self.roster.refused(worker, stall);
        }
        for mut waiter in back {
            waiter.refusals += 1;
            if waiter.refusals < MAX_REFUSALS {
                self.waiting.put(waiter, &mut self.ledger);
            } else {
                let id = waiter.ticket.id;
                let reason = RejectReason::Overloaded;
                actions.push(Action::Reject(Reject { id, reason }));
            }
        }
    }

    fn fly(&mut self, id: u64, flight: Flight) {
        self.roster.works(flight.worker, flight.cost, 0);
        if let Some(before) = self.flights.push(id, flight) {
            self.roster.works(before.worker, 0, before.cost);
        }
    }

    /// A request is under way no longer; only `at` that worker, if one is named.
    fn land(&mut self, id: u64, at: Option<u32>) -> Option<Box<Waiter>> {
        let flight = match at {
            Some(worker) => self.flights.take_at(id, worker),
            None => self.flights.take(id),
        }?;
        self.roster.works(flight.worker, 0, flight.cost);
        flight.waiter
    }
}
