//! Decides. The proxy holds the truth and checks every answer: what is here is a copy.
//!
//! For more than this (batches, tenants that share, sessions that stay at a worker) there is
//! `tollgate_sdk_scheduler::desk`.

use std::collections::{BTreeMap, HashMap, VecDeque};

use tollgate_sdk_scheduler::{
    Policy,
    scheduling::{Action, Dispatch, Event, Page, Refused, Reject, RejectReason, Request, Worker},
};

use crate::Options;

/// The policy of one pool.
pub struct InTurn {
    options: Options,
    workers: BTreeMap<u32, Worker>,
    /// In the order in which they came. Bounded by `max-pending`.
    waiting: VecDeque<Request>,
    /// Sent, and not over yet: one that was sent in vain waits again. Bounded by the workers' slots.
    sent: HashMap<u64, Request>,
}

impl InTurn {
    /// Knows of nothing yet.
    pub fn new(options: Options) -> Self {
        Self {
            options,
            workers: BTreeMap::new(),
            waiting: VecDeque::new(),
            sent: HashMap::new(),
        }
    }

    fn take_in(&mut self, event: Event, actions: &mut Vec<Action>) {
        match event {
            Event::Arrived(request) if self.waiting.len() < self.options.max_pending => {
                self.waiting.push_back(request);
            }
            Event::Arrived(request) => actions.push(Action::Reject(Reject {
                id: request.id,
                reason: RejectReason::Overloaded,
            })),
            // It had its turn: it goes before those that have not.
            Event::AttemptFailed(failed) => {
                self.sent.remove(&failed.request.id);
                self.waiting.push_front(failed.request);
            }
            Event::Cancelled(id) => {
                self.sent.remove(&id);
                self.waiting.retain(|request| request.id != id);
            }
            Event::BatchFinished(batch) => {
                for id in &batch.requests {
                    self.sent.remove(id);
                }
                if let Some(worker) = self.workers.get_mut(&batch.worker) {
                    worker.busy = worker.busy.saturating_sub(1);
                }
            }
            Event::WorkerChanged(worker) => {
                self.workers.insert(worker.id, worker);
            }
            Event::WorkerGone(id) => {
                self.workers.remove(&id);
            }
            Event::Refused(refused) => self.take_back(&refused),
            Event::Settled(_) | Event::Timer | Event::Other(_) => {}
        }
    }

    /// The proxy would not do it: what was sent in vain waits again. Where it had gone by then, the
    /// worker has its slot back; else it was the worker that had no room, as is believed now.
    fn take_back(&mut self, refused: &Refused) {
        let sent = refused.requests.iter().rev();
        let back: Vec<Request> = sent.filter_map(|id| self.sent.remove(id)).collect();
        let worker = refused.worker.filter(|_| back.is_empty());
        if let Some(worker) = worker.and_then(|id| self.workers.get_mut(&id)) {
            worker.busy = worker.busy.saturating_sub(1);
        }
        for request in back {
            self.waiting.push_front(request);
        }
    }

    /// The least busy worker with room that may serve it.
    fn worker_for(&mut self, request: &Request) -> Option<&mut Worker> {
        self.workers
            .values_mut()
            .filter(|worker| {
                worker.accepting
                    && worker.busy < worker.slots
                    && (request.model == 0 || worker.models.contains(&request.model))
                    && (request.eligible.is_empty() || request.eligible.contains(&worker.id))
                    && !request.avoid.contains(&worker.id)
            })
            .min_by_key(|worker| worker.busy)
    }

    fn dispatch(&mut self, actions: &mut Vec<Action>) {
        for request in std::mem::take(&mut self.waiting) {
            match self.worker_for(&request) {
                Some(worker) => {
                    worker.busy += 1;
                    actions.push(Action::Dispatch(Dispatch {
                        worker: worker.id,
                        requests: vec![request.id],
                    }));
                    self.sent.insert(request.id, request);
                }
                None => self.waiting.push_back(request),
            }
        }
    }
}

impl Policy for InTurn {
    fn restore(&mut self, _: u64, page: Page) {
        for worker in page.workers {
            self.workers.insert(worker.id, worker);
        }
        self.waiting.extend(page.pending);
    }

    fn step(&mut self, now: u64, events: Vec<Event>) -> Vec<Action> {
        let mut actions = Vec::new();
        for event in events {
            self.take_in(event, &mut actions);
        }
        let late = |request: &Request| request.deadline.is_some_and(|deadline| deadline <= now);
        for request in self.waiting.iter().filter(|request| late(request)) {
            actions.push(Action::Reject(Reject {
                id: request.id,
                reason: RejectReason::TooLate,
            }));
        }
        self.waiting.retain(|request| !late(request));
        self.dispatch(&mut actions);
        let first = self.waiting.iter().filter_map(|request| request.deadline);
        actions.extend(first.min().map(Action::WakeAt));
        actions
    }
}
