//! What is really so: who waits, what runs, which workers there are. Policies hold copies.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::{Full, Limits, Rejection};
use crate::policy::{
    ALONE, Batch, BatchId, Member, PAGE, Page, Request, RequestId, Worker, WorkerId,
};

/// Most workers that a request remembers as those where it failed.
const MAX_AVOID: usize = 16;

/// What a request brings that no policy sees.
#[derive(Clone, Copy)]
pub(super) struct Terms {
    pub(super) bytes: u64,
    pub(super) queue_timeout: u64,
    pub(super) workerless_timeout: u64,
}

struct Pending {
    request: Request,
    terms: Terms,
    queued: u64,
    /// Since when no worker that may serve it accepts.
    workerless: Option<u64>,
    /// When it expires, and of what.
    due: (u64, Rejection),
}

struct Flight {
    worker: WorkerId,
    members: Vec<(Request, Terms)>,
    /// All that it had at first.
    requests: Arc<[RequestId]>,
    dispatched: u64,
}

/// A batch that has ended.
pub(super) struct Landed {
    pub(super) worker: WorkerId,
    pub(super) requests: Arc<[RequestId]>,
    pub(super) dispatched: u64,
}

/// Why an action does not fit the truth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unfit {
    Empty,
    NoSuchWorker,
    NotAccepting,
    NoSlot,
    TooMany,
    NotPending,
    Twice,
    NotEligible,
    MixedKeys,
}

impl Unfit {
    pub(super) const fn reason(self) -> &'static str {
        match self {
            Self::Empty => "the batch is empty",
            Self::NoSuchWorker => "there is no such worker",
            Self::NotAccepting => "the worker accepts nothing new",
            Self::NoSlot => "the worker has no free slot",
            Self::TooMany => "the batch is larger than the worker takes",
            Self::NotPending => "a request does not wait",
            Self::Twice => "a request is named twice",
            Self::NotEligible => "a request may not be served by the worker",
            Self::MixedKeys => "requests of different batch keys, or of none, do not merge",
        }
    }
}

/// The truth of one pool.
#[derive(Default)]
pub(super) struct Truth {
    pending: BTreeMap<RequestId, Pending>,
    bytes: u64,
    /// `(due, id)` of every pending request.
    expiry: BTreeSet<(u64, RequestId)>,
    flights: BTreeMap<BatchId, Flight>,
    flying: HashMap<RequestId, BatchId>,
    workers: BTreeMap<WorkerId, Worker>,
    /// Batches in flight by worker, whether it is still there or not: a worker that leaves and
    /// comes back still does the work it was given.
    busy: HashMap<WorkerId, u32>,
    next_batch: BatchId,
}

impl Truth {
    // === requests ===

    pub(super) fn room_for(&self, bytes: u64, limits: &Limits) -> Result<(), Full> {
        if self.pending.len() >= limits.max_pending {
            return Err(Full::Requests);
        }
        match self.bytes.checked_add(bytes) {
            Some(sum) if sum <= limits.max_bytes => Ok(()),
            _ => Err(Full::Bytes),
        }
    }

    pub(super) fn queue(&mut self, now: u64, request: Request, terms: Terms) {
        let id = request.id;
        let workerless = (!self.is_served(&request)).then_some(now);
        let due = due(&request, terms, now, workerless);
        self.bytes += terms.bytes;
        self.expiry.insert((due.0, id));
        self.pending.insert(
            id,
            Pending {
                request,
                terms,
                queued: now,
                workerless,
                due,
            },
        );
    }

    fn unqueue(&mut self, id: RequestId) -> Option<Pending> {
        let pending = self.pending.remove(&id)?;
        self.bytes -= pending.terms.bytes;
        self.expiry.remove(&(pending.due.0, id));
        Some(pending)
    }

    /// Gives a waiting request other workers; tells it as it is then, or nothing when it is the
    /// same.
    pub(super) fn entitle(
        &mut self,
        now: u64,
        id: RequestId,
        eligible: Arc<[WorkerId]>,
    ) -> Option<Request> {
        let pending = self.pending.get_mut(&id)?;
        if pending.request.eligible == eligible {
            return None;
        }
        pending.request.eligible = eligible;
        let request = pending.request.clone();
        let waits = pending.workerless.is_some();
        if self.is_served(&request) == waits {
            self.turn(now, id);
        }
        Some(request)
    }

    pub(super) fn forget(&mut self, id: RequestId) -> bool {
        self.unqueue(id).is_some()
    }

    /// Takes out the request that expired first, if one has.
    pub(super) fn expired(&mut self, now: u64) -> Option<(RequestId, Rejection)> {
        let (due, id) = *self.expiry.first()?;
        if due > now {
            return None;
        }
        self.unqueue(id).map(|pending| (id, pending.due.1))
    }

    pub(super) fn next_expiry(&self) -> Option<u64> {
        self.expiry.first().map(|(due, _)| *due)
    }

    // === batches ===

    /// Whether `requests` may go to `worker` together, now.
    pub(super) fn fits(&self, id: WorkerId, requests: &[RequestId]) -> Result<(), Unfit> {
        let worker = self.workers.get(&id).ok_or(Unfit::NoSuchWorker)?;
        if !worker.accepting {
            return Err(Unfit::NotAccepting);
        }
        if worker.busy >= worker.slots {
            return Err(Unfit::NoSlot);
        }
        let first = *requests.first().ok_or(Unfit::Empty)?;
        if requests.len() > worker.max_batch as usize {
            return Err(Unfit::TooMany);
        }
        let key = self.waiting(first).ok_or(Unfit::NotPending)?.batch_key;
        if requests.len() > 1 {
            let mut seen = HashSet::with_capacity(requests.len());
            if !requests.iter().all(|id| seen.insert(id)) {
                return Err(Unfit::Twice);
            }
            if key == ALONE {
                return Err(Unfit::MixedKeys);
            }
        }
        for id in requests {
            let request = self.waiting(*id).ok_or(Unfit::NotPending)?;
            if request.batch_key != key {
                return Err(Unfit::MixedKeys);
            }
            if !request.may_use(worker) {
                return Err(Unfit::NotEligible);
            }
        }
        Ok(())
    }

    /// Sends what [`Truth::fits`] has allowed.
    pub(super) fn launch(&mut self, now: u64, worker: WorkerId, requests: &[RequestId]) -> BatchId {
        self.next_batch += 1;
        let batch = self.next_batch;
        let mut members = Vec::with_capacity(requests.len());
        for id in requests {
            if let Some(pending) = self.unqueue(*id) {
                self.flying.insert(*id, batch);
                members.push((pending.request, pending.terms));
            }
        }
        let flight = Flight {
            worker,
            members,
            requests: requests.into(),
            dispatched: now,
        };
        self.flights.insert(batch, flight);
        let busy = self.busy.entry(worker).or_default();
        *busy += 1;
        if let Some(worker) = self.workers.get_mut(&worker) {
            worker.busy = *busy;
        }
        batch
    }

    pub(super) fn land(&mut self, id: BatchId) -> Option<Landed> {
        let flight = self.flights.remove(&id)?;
        for (request, _) in &flight.members {
            self.flying.remove(&request.id);
        }
        let left = self.busy.get_mut(&flight.worker).map_or(0, |busy| {
            *busy -= 1;
            *busy
        });
        if left == 0 {
            self.busy.remove(&flight.worker);
        }
        if let Some(worker) = self.workers.get_mut(&flight.worker) {
            worker.busy = left;
        }
        Some(Landed {
            worker: flight.worker,
            requests: flight.requests,
            dispatched: flight.dispatched,
        })
    }

    /// Takes a member out of its batch. The batch runs on.
    pub(super) fn leave(&mut self, id: RequestId) -> bool {
        let Some(batch) = self.flying.remove(&id) else {
            return false;
        };
        if let Some(flight) = self.flights.get_mut(&batch) {
            flight.members.retain(|(request, _)| request.id != id);
        }
        true
    }

    /// Puts a member of a batch back into the queue; tells the request as it is now.
    pub(super) fn requeue(
        &mut self,
        now: u64,
        batch: BatchId,
        id: RequestId,
    ) -> Option<(Request, WorkerId)> {
        let flight = self.flights.get_mut(&batch)?;
        let at = flight
            .members
            .iter()
            .position(|(request, _)| request.id == id)?;
        let (mut request, terms) = flight.members.remove(at);
        let worker = flight.worker;
        self.flying.remove(&id);
        request.attempts = request.attempts.saturating_add(1);
        if !request.avoid.contains(&worker) {
            if request.avoid.len() == MAX_AVOID {
                request.avoid.remove(0);
            }
            request.avoid.push(worker);
        }
        self.queue(now, request.clone(), terms);
        Some((request, worker))
    }

    // === workers ===

    /// Takes a new or changed worker; tells it with the host's own count of batches, or `None`
    /// when there are too many.
    pub(super) fn put_worker(
        &mut self,
        now: u64,
        mut worker: Worker,
        limits: &Limits,
    ) -> Option<Worker> {
        let before = self.workers.get(&worker.id);
        if before.is_none() && self.workers.len() >= limits.max_workers {
            return None;
        }
        let matters = before.is_none_or(|before| {
            before.accepting != worker.accepting || before.models != worker.models
        });
        worker.busy = self.busy.get(&worker.id).copied().unwrap_or(0);
        worker.max_batch = worker.max_batch.max(1);
        self.workers.insert(worker.id, worker.clone());
        if matters {
            self.look_for_workers(now);
        }
        Some(worker)
    }

    pub(super) fn remove_worker(&mut self, now: u64, id: WorkerId) -> bool {
        let gone = self.workers.remove(&id).is_some();
        if gone {
            self.look_for_workers(now);
        }
        gone
    }

    pub(super) fn worker(&self, id: WorkerId) -> Option<&Worker> {
        self.workers.get(&id)
    }

    fn is_served(&self, request: &Request) -> bool {
        let serves = |worker: &Worker| worker.accepting && request.may_use(worker);
        if request.eligible.is_empty() {
            return self.workers.values().any(serves);
        }
        let mut eligible = request.eligible.iter();
        eligible.any(|id| self.workers.get(id).is_some_and(serves))
    }

    /// Starts or stops every waiting request's workerless clock after a worker came or went.
    fn look_for_workers(&mut self, now: u64) {
        let turned: Vec<_> = self
            .pending
            .values()
            .filter(|pending| self.is_served(&pending.request) == pending.workerless.is_some())
            .map(|pending| pending.request.id)
            .collect();
        for id in turned {
            self.turn(now, id);
        }
    }

    /// Starts or stops a waiting request's workerless clock.
    fn turn(&mut self, now: u64, id: RequestId) {
        let Some(pending) = self.pending.get_mut(&id) else {
            return;
        };
        self.expiry.remove(&(pending.due.0, id));
        pending.workerless = match pending.workerless {
            Some(_) => None,
            None => Some(now),
        };
        pending.due = due(
            &pending.request,
            pending.terms,
            pending.queued,
            pending.workerless,
        );
        self.expiry.insert((pending.due.0, id));
    }

    // === looking ===

    pub(super) fn waiting(&self, id: RequestId) -> Option<&Request> {
        self.pending.get(&id).map(|pending| &pending.request)
    }

    pub(super) fn pending_len(&self) -> usize {
        self.pending.len()
    }

    pub(super) fn pending_bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn flying_len(&self) -> usize {
        self.flying.len()
    }

    pub(super) fn flights_len(&self) -> usize {
        self.flights.len()
    }

    pub(super) fn workers(&self) -> impl Iterator<Item = &Worker> {
        self.workers.values()
    }

    /// A copy of everything, in pages; the last one is marked.
    pub(super) fn pages(&self) -> Vec<Page> {
        let longest = self
            .workers
            .len()
            .max(self.pending.len())
            .max(self.flights.len());
        let count = longest.div_ceil(PAGE).max(1);
        let mut pages = vec![Page::default(); count];
        for (at, worker) in self.workers.values().enumerate() {
            pages[at / PAGE].workers.push(worker.clone());
        }
        for (at, pending) in self.pending.values().enumerate() {
            pages[at / PAGE].pending.push(pending.request.clone());
        }
        for (at, (id, flight)) in self.flights.iter().enumerate() {
            pages[at / PAGE].in_flight.push(Batch {
                id: *id,
                worker: flight.worker,
                members: flight.members.iter().map(|(one, _)| member(one)).collect(),
                size: u32::try_from(flight.requests.len()).unwrap_or(u32::MAX),
                dispatched: flight.dispatched,
            });
        }
        pages[count - 1].last = true;
        pages
    }
}

fn member(request: &Request) -> Member {
    Member {
        id: request.id,
        model: request.model,
        tenant: request.tenant,
        input_cost: request.input_cost,
        output_cost: request.output_cost,
    }
}

/// When a request expires, and of what: the first of its deadline and the two timeouts.
fn due(request: &Request, terms: Terms, queued: u64, workerless: Option<u64>) -> (u64, Rejection) {
    let queue = (
        queued.saturating_add(terms.queue_timeout),
        Rejection::QueueTimeout,
    );
    let workerless = workerless.map(|since| {
        (
            since.saturating_add(terms.workerless_timeout),
            Rejection::NoWorker,
        )
    });
    let deadline = request.deadline.map(|at| (at, Rejection::TooLate));
    [deadline, workerless]
        .into_iter()
        .flatten()
        .fold(
            queue,
            |first, next| if next.0 <= first.0 { next } else { first },
        )
}
