//! The policy. One step:
//!
//! 1. takes the events in;
//! 2. turns away what is past its deadline;
//! 3. walks the queue once, in order. A request joins the first batch begun in this
//!    step that has its batch key, room, and a worker that it may go to; else it
//!    begins one on the least loaded free worker; else it waits. The walk ends when
//!    no slot is free and no batch has room, so nobody waits beside a free worker,
//!    and nobody waits for a batch to fill;
//! 4. asks to be woken for the next deadline or the end of a stall.
//!
//! A step costs at most (requests × workers). The host keeps the truth: a dispatch
//! that it refuses is taken back into the queue at its old place.

use tollgate_sdk_scheduler::Policy;
use tollgate_sdk_scheduler::pins::Pins;
use tollgate_sdk_scheduler::scheduling::{
    Action, Affinity, Dispatch, Event, Page, Refused, Reject, RejectReason, Request,
};

use crate::queue::{Queue, Waiting};
use crate::sent::Sent;
use crate::workers::Workers;

/// After a refusal for no known reason its worker rests for so long (microseconds).
const STALL: u64 = 10_000;
/// After so many refusals a request is turned away, so that a request which the host
/// will never let go cannot hold up the others.
const MAX_REFUSALS: u32 = 8;
/// Requests under way that can be taken back.
const MAX_SENT: usize = 65_536;
/// Sequences whose worker is remembered.
const MAX_PINS: usize = 4_096;
/// Sorts of requests that a walk keeps apart to look for a worker once each.
const MAX_SORTS: usize = 16;

/// First come first served, least loaded.
pub struct Fcfs {
    queue: Queue,
    workers: Workers,
    sent: Sent,
    pins: Pins,
    /// The timer that the host has been asked for.
    alarm: Option<u64>,
}

/// A batch that this step has begun.
struct Batch {
    worker: u32,
    model: u32,
    key: u32,
    room: u32,
    requests: Vec<u64>,
}

impl Fcfs {
    /// At most `max_pending` requests wait; one more is turned away.
    #[must_use]
    pub fn new(max_pending: usize) -> Self {
        Fcfs {
            queue: Queue::new(max_pending),
            workers: Workers::default(),
            sent: Sent::new(MAX_SENT),
            pins: Pins::new(MAX_PINS),
            alarm: None,
        }
    }

    fn take_in(&mut self, now: u64, event: Event, actions: &mut Vec<Action>) {
        match event {
            Event::Arrived(request) => self.enqueue(Waiting::new(request), actions),
            Event::AttemptFailed(failed) => {
                self.sent.take(failed.request.id);
                self.enqueue(Waiting::new(failed.request), actions);
            }
            Event::Cancelled(id) => {
                self.queue.remove(id);
                self.sent.take(id);
            }
            Event::BatchFinished(batch) => {
                for id in batch.requests {
                    self.sent.take(id);
                }
                self.workers.finished(batch.worker);
            }
            Event::WorkerChanged(worker) => self.workers.changed(worker),
            Event::WorkerGone(id) => self.workers.gone(id),
            Event::Timer => self.alarm = None,
            Event::Refused(refused) => self.take_back(now, &refused, actions),
            // What requests cost is nothing to one who serves them as they come.
            Event::Settled(_) | Event::Other(_) => {}
        }
    }

    fn enqueue(&mut self, waiting: Waiting, actions: &mut Vec<Action>) {
        if let Err(full) = self.queue.push(waiting) {
            actions.push(reject(full.id, RejectReason::Overloaded));
        }
    }

    /// The requests of a refused dispatch wait again. When one of them had gone, that
    /// explains the refusal; when all are there, it was about the worker.
    fn take_back(&mut self, now: u64, refused: &Refused, actions: &mut Vec<Action>) {
        let back: Vec<Waiting> = refused
            .requests
            .iter()
            .filter_map(|&id| self.sent.take(id))
            .collect();
        if let Some(worker) = refused.worker {
            let explained = back.len() < refused.requests.len();
            let stall = (!explained).then_some(now.saturating_add(STALL));
            self.workers.refused(worker, stall);
        }
        for mut waiting in back {
            waiting.refusals += 1;
            if waiting.refusals < MAX_REFUSALS {
                self.enqueue(waiting, actions);
            } else {
                actions.push(reject(waiting.request.id, RejectReason::Overloaded));
            }
        }
    }

    fn dispatch(&mut self, actions: &mut Vec<Action>) {
        let mut free = self.workers.free_slots();
        let mut batches: Vec<Batch> = Vec::new();
        // Positions of those in `batches` that can still grow.
        let mut open: Vec<usize> = Vec::new();
        // Requests that found no worker, one of each sort: slots only fill during a walk,
        // so others of the sort need not look.
        let mut stuck: Vec<&Request> = Vec::new();
        for request in self.queue.iter() {
            if free == 0 && open.is_empty() {
                break;
            }
            let pinned = match request.affinity {
                Affinity::Pin(key) => {
                    let workers = &self.workers;
                    let home = self.pins.place(
                        key,
                        |id| workers.holds(id, request),
                        workers
                            .candidates(request)
                            .map(|id| (id, workers.identity(id))),
                    );
                    let Some(home) = home else { continue };
                    Some(home)
                }
                _ => None,
            };
            if let Some(at) = joinable(&self.workers, &batches, &open, request, pinned) {
                let batch = &mut batches[at];
                batch.requests.push(request.id);
                batch.room -= 1;
                if batch.room == 0 {
                    open.retain(|&other| other != at);
                }
                continue;
            }
            if free == 0 || stuck.iter().any(|other| looks_alike(other, request)) {
                continue;
            }
            let worker = match pinned {
                Some(home) => Some(home).filter(|&id| self.workers.is_free(id)),
                None => self.workers.least_loaded(request),
            };
            let Some(worker) = worker else {
                if pinned.is_none() && stuck.len() < MAX_SORTS {
                    stuck.push(request);
                }
                continue;
            };
            self.workers.dispatched(worker);
            free -= 1;
            let room = match request.batch_key {
                0 => 0,
                _ => self.workers.max_batch(worker) - 1,
            };
            if room > 0 {
                open.push(batches.len());
            }
            batches.push(Batch {
                worker,
                model: request.model,
                key: request.batch_key,
                room,
                requests: vec![request.id],
            });
        }
        for batch in batches {
            for &id in &batch.requests {
                if let Some(waiting) = self.queue.remove(id) {
                    self.sent.push(waiting);
                }
            }
            actions.push(Action::Dispatch(Dispatch {
                worker: batch.worker,
                requests: batch.requests,
            }));
        }
    }

    /// Only an earlier alarm replaces one that is set: an alarm that has lost its
    /// reason rings once for nothing, which is cheaper than telling the host often.
    fn set_alarm(&mut self, actions: &mut Vec<Action>) {
        if self.queue.is_empty() {
            return;
        }
        let wanted = [self.queue.next_deadline(), self.workers.next_wake()];
        if let Some(at) = wanted.into_iter().flatten().min()
            && self.alarm.is_none_or(|set| at < set)
        {
            self.alarm = Some(at);
            actions.push(Action::WakeAt(at));
        }
    }
}

/// The same workers come into question. Compared element by element: the lists are short
/// or empty, and a call of `memcmp` on empty ones costs more than all the rest.
fn looks_alike(a: &Request, b: &Request) -> bool {
    a.model == b.model
        && a.eligible.iter().eq(&b.eligible)
        && a.avoid.iter().eq(&b.avoid)
        && !matches!(b.affinity, Affinity::Pin(_))
}

/// The first open batch that the request may join.
fn joinable(
    workers: &Workers,
    batches: &[Batch],
    open: &[usize],
    request: &Request,
    pinned: Option<u32>,
) -> Option<usize> {
    if request.batch_key == 0 {
        return None;
    }
    open.iter().copied().find(|&at| {
        let batch = &batches[at];
        batch.key == request.batch_key
            && batch.model == request.model
            && match pinned {
                Some(home) => batch.worker == home,
                None => workers.is_candidate(batch.worker, request),
            }
    })
}

fn reject(id: u64, reason: RejectReason) -> Action {
    Action::Reject(Reject { id, reason })
}

impl Policy for Fcfs {
    /// Batches in flight are in the workers' busy counts already.
    fn restore(&mut self, _now: u64, page: Page) {
        for worker in page.workers {
            self.workers.changed(worker);
        }
        for request in page.pending {
            // Over the bound it stays with the host, whose own time limit ends it.
            let _ = self.queue.push(Waiting::new(request));
        }
    }

    fn step(&mut self, now: u64, events: Vec<Event>) -> Vec<Action> {
        let mut actions = Vec::new();
        for event in events {
            self.take_in(now, event, &mut actions);
        }
        for id in self.queue.overdue(now) {
            actions.push(reject(id, RejectReason::TooLate));
        }
        self.workers.wake(now);
        self.dispatch(&mut actions);
        self.set_alarm(&mut actions);
        actions
    }
}
