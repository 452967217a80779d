//! What lies under the pool's lock: the driver, and who waits for its decisions.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::place::{Assignment, BatchHandle, Keys};
use super::watch::{Attempts, Observer, PolicySource};
use super::{Inner, Queue};
use crate::driver::{Decision, Driver, Rejection};
use crate::intern::Key;
use crate::policy::{NO_MODEL, RequestId, WorkerId};
use crate::rendezvous::gather;
use crate::worker::WorkerHandle;

pub(super) type Answer<T> = Result<Assignment<T>, Rejection>;

/// A request that waits for a decision.
pub(super) struct Waiting<T> {
    pub(super) sender: oneshot::Sender<Answer<T>>,
    pub(super) ticket: Ticket,
    pub(super) since: u64,
}

/// What a request takes along from the queue to a worker, and back.
pub(super) struct Ticket {
    pub(super) queue: Arc<Queue>,
    pub(super) bytes: u64,
    /// Of input and of output.
    pub(super) costs: [u32; 2],
    /// Held so that their numbers are not given to other names.
    pub(super) keys: Keys,
}

pub(super) struct State<T> {
    pub(super) driver: Driver,
    pub(super) waiting: HashMap<RequestId, Waiting<T>>,
    pub(super) workers: HashMap<WorkerId, Arc<WorkerHandle>>,
    pub(super) source: Option<Arc<dyn PolicySource>>,
    pub(super) attempts: Attempts,
    /// When the first ejection ends, or a slow start gets further.
    pub(super) health_wake: Option<u64>,
    /// When the timer task will look again by itself; `None`: it is looking now, or only when told.
    pub(super) armed: Option<u64>,
}

/// Answers that are delivered after the lock is released: one that nobody takes any more is
/// dropped there, and takes the lock to say so.
pub(super) struct Outbox<T> {
    answers: Vec<(oneshot::Sender<Answer<T>>, Answer<T>)>,
    /// Batches that no answer holds.
    deserted: Vec<BatchHandle<T>>,
}

// === impl State ===

impl<T> State<T> {
    pub(super) fn wait(&mut self, id: RequestId, waiting: Waiting<T>) {
        let ticket = &waiting.ticket;
        ticket.queue.enter(ticket.bytes, ticket.keys[0].as_ref());
        self.waiting.insert(id, waiting);
    }

    pub(super) fn unwait(&mut self, id: RequestId) -> Option<Waiting<T>> {
        let waiting = self.waiting.remove(&id)?;
        let ticket = &waiting.ticket;
        ticket.queue.leave(ticket.bytes, ticket.keys[0].as_ref());
        Some(waiting)
    }

    /// Tells the driver of a worker's state, and notes when that changes by itself. One that has left
    /// the pool is not brought back.
    pub(super) fn refresh(&mut self, now: u64, worker: &WorkerHandle) -> bool {
        if !self.workers.contains_key(&worker.id()) {
            return false;
        }
        let taken = self.driver.worker_changed(now, worker.view(now));
        self.health_wake = self.workers.values().filter_map(|one| one.wake_at()).min();
        taken
    }

    pub(super) fn tick(&mut self, now: u64) {
        if self.health_wake.is_some_and(|at| at <= now) {
            let workers: Vec<_> = self.workers.values().cloned().collect();
            for worker in workers.iter().filter(|worker| worker.tick(now)) {
                self.driver.worker_changed(now, worker.view(now));
            }
            self.health_wake = workers.iter().filter_map(|one| one.wake_at()).min();
        }
        self.driver.tick(now);
    }

    pub(super) fn wake_at(&self) -> Option<u64> {
        [
            self.driver.wake_at(),
            self.source.as_ref().and(self.attempts.retry_at()),
            self.health_wake,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Whether some other worker could go on without this one, with that model where one is named.
    pub(super) fn can_spare(&self, id: WorkerId, model: Option<u32>) -> bool {
        let mut others = self.driver.workers().filter(|worker| worker.id != id);
        others.any(|worker| {
            worker.accepting && model.is_none_or(|model| worker.models.contains(&model))
        })
    }

    /// Turns the driver's decisions into answers.
    pub(super) fn collect(
        &mut self,
        now: u64,
        inner: &Arc<Inner<T>>,
        observer: &dyn Observer,
    ) -> Outbox<T> {
        for trouble in self.driver.take_troubles() {
            self.attempts.failed(now);
            observer.trouble(&trouble);
        }
        let mut outbox = Outbox {
            answers: Vec::new(),
            deserted: Vec::new(),
        };
        for decision in self.driver.take_decisions() {
            match decision {
                Decision::Reject { id, reason } => {
                    if let Some(waiting) = self.unwait(id) {
                        outbox.answers.push((waiting.sender, Err(reason)));
                    }
                }
                Decision::Dispatch {
                    batch,
                    worker,
                    requests,
                } => {
                    let size = requests.len();
                    let worker = self.workers.get(&worker);
                    let worker = worker.expect("the driver's workers are the pool's").clone();
                    let first = requests.first().and_then(|id| self.waiting.get(id));
                    let model = first.and_then(|waiting| waiting.ticket.keys[0].as_ref());
                    let model = model.map_or(NO_MODEL, Key::number);
                    let batch = BatchHandle::new(inner.clone(), batch, worker, size, model);
                    let before = outbox.answers.len();
                    for (id, seat) in requests.into_iter().zip(gather(size)) {
                        let Some(waiting) = self.unwait(id) else {
                            continue;
                        };
                        let waited = now.saturating_sub(waiting.since);
                        observer.placed(Duration::from_micros(waited), size);
                        let assignment = Assignment::new(id, batch.clone(), seat, waiting.ticket);
                        outbox.answers.push((waiting.sender, Ok(assignment)));
                    }
                    if outbox.answers.len() == before {
                        outbox.deserted.push(batch);
                    }
                }
            }
        }
        outbox
    }
}

// === impl Outbox ===

impl<T> Outbox<T> {
    pub(super) fn deliver(self) {
        for (sender, answer) in self.answers {
            // Nobody waits any more: the assignment is dropped, and its slot is free again.
            drop(sender.send(answer));
        }
        drop(self.deserted);
    }
}
