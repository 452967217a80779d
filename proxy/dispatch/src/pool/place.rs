//! A request's place in the queue, and what comes of it.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use tokio::sync::oneshot;

use super::Inner;
use super::state::{Answer, Ticket, Waiting};
use crate::driver::Rejection;
use crate::health::Outcome;
use crate::intern::Key;
use crate::policy::{BatchId, RequestId, Settled, WorkerId};
use crate::rendezvous::{Meeting, Seat};
use crate::worker::WorkerHandle;

/// Names whose numbers a request uses.
pub(super) type Keys = [Option<Key>; 3];

/// A place in the queue: a future of a worker. Dropped, the request is cancelled.
#[must_use = "a place that is dropped is given up"]
pub struct Place<T> {
    id: RequestId,
    pool: Arc<Inner<T>>,
    answer: oneshot::Receiver<Answer<T>>,
    answered: bool,
}

/// A worker, for one request. Dropped, the request has left its batch.
pub struct Assignment<T> {
    id: RequestId,
    batch: BatchHandle<T>,
    index: usize,
    seat: Option<Seat<T>>,
    ticket: Ticket,
    _running: Option<Runs>,
}

/// A call that a worker has counts with its model for as long as this lives.
struct Runs(Key);

/// What a request was believed to need, to be set right by what it used. Dropped, its scheduler is
/// told, if anything was found out: so it may be kept until the answer has been read.
pub struct Bill<T> {
    pool: Arc<Inner<T>>,
    settled: Settled,
    /// Held so that its number is not given to another.
    _tenant: Option<Key>,
}

/// A batch in flight, shared by its members and by whoever does its work. When the last handle is
/// gone the batch has ended and its slot is free.
pub struct BatchHandle<T>(Arc<Running<T>>);

struct Running<T> {
    pool: Arc<Inner<T>>,
    id: BatchId,
    worker: Arc<WorkerHandle>,
    size: usize,
    /// What all of its members ask for.
    model: u32,
    /// The clock's count; 0: none yet. (An output in the clock's first microsecond is told as 1.)
    first_output: AtomicU64,
    finished: AtomicBool,
}

// === impl Place ===

impl<T> Place<T> {
    pub(super) fn new(
        id: RequestId,
        pool: Arc<Inner<T>>,
        answer: oneshot::Receiver<Answer<T>>,
    ) -> Self {
        Self {
            id,
            pool,
            answer,
            answered: false,
        }
    }

    /// The request's number, for the log.
    #[must_use]
    pub fn id(&self) -> RequestId {
        self.id
    }

    /// Other workers may serve the request from now on. It keeps its turn.
    pub fn entitle(&self, eligible: Arc<[WorkerId]>) {
        self.pool.with(|state, now| {
            state.driver.entitle(now, self.id, eligible);
        });
    }
}

impl<T> Future for Place<T> {
    type Output = Result<Assignment<T>, Rejection>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = ready!(Pin::new(&mut self.answer).poll(context));
        self.answered = true;
        Poll::Ready(match answer {
            Ok(answer) => answer,
            // The table of those that wait lives as long as this place does.
            Err(_) => Err(Rejection::Other("the pool has gone".into())),
        })
    }
}

impl<T> Drop for Place<T> {
    fn drop(&mut self) {
        if self.answered {
            return;
        }
        // An answer that is on its way, or has come, is dropped with the receiver.
        self.answer.close();
        let waiting = self.pool.with(|state, now| {
            let waiting = state.unwait(self.id)?;
            state.driver.cancel(now, self.id);
            Some(waiting)
        });
        drop(waiting);
    }
}

// === impl Assignment ===

impl<T> Assignment<T> {
    pub(super) fn new(id: RequestId, batch: BatchHandle<T>, seat: Seat<T>, ticket: Ticket) -> Self {
        Self {
            id,
            batch,
            index: seat.index(),
            seat: Some(seat),
            _running: ticket.keys[0].clone().map(Runs::new),
            ticket,
        }
    }

    /// The request's number, for the log.
    #[must_use]
    pub fn id(&self) -> RequestId {
        self.id
    }

    /// Where to send it.
    #[must_use]
    pub fn worker(&self) -> &Arc<WorkerHandle> {
        self.batch.worker()
    }

    /// The batch that it is in.
    #[must_use]
    pub fn batch(&self) -> &BatchHandle<T> {
        &self.batch
    }

    /// The request's position in the batch.
    #[must_use]
    pub fn index(&self) -> usize {
        self.index
    }

    /// Members of the batch when it was dispatched.
    #[must_use]
    pub fn size(&self) -> usize {
        self.batch.size()
    }

    /// Meets the other members: one of them gets all values and sends the batch. `None`: it has met
    /// them already.
    #[must_use = "a meeting that is dropped has been left"]
    pub fn join(&mut self, value: T) -> Option<Meeting<T>> {
        self.seat.take().map(|seat| seat.take(value))
    }

    /// Tells what the request met at its worker, for the worker's health.
    pub fn met(&self, outcome: Outcome) {
        self.batch.met(outcome);
    }

    /// The request's bill.
    #[must_use]
    pub fn bill(&self) -> Bill<T> {
        let [_, tenant, _] = &self.ticket.keys;
        let [input_cost, output_cost] = self.ticket.costs;
        Bill {
            pool: self.batch.0.pool.clone(),
            settled: Settled {
                id: self.id,
                tenant: tenant.as_ref().map_or(0, Key::number),
                input_cost,
                output_cost,
                input: None,
                output: None,
            },
            _tenant: tenant.clone(),
        }
    }

    /// Gives the attempt up. With `requeue` the request waits again under its old number, the
    /// worker is avoided, and the new place is returned. `None`: without `requeue`, or when the
    /// batch has been finished already and so did not fail.
    pub fn failed(mut self, requeue: bool) -> Option<Place<T>> {
        // Others must not wait for this member.
        self.seat = None;
        if !requeue {
            return None;
        }
        let Self {
            id, batch, ticket, ..
        } = self;
        let (sender, answer) = oneshot::channel();
        let pool = batch.0.pool.clone();
        let again = pool.with(|state, now| {
            let waiting = Waiting {
                sender,
                ticket,
                since: now,
            };
            // Before the driver is told: its decision may follow at once.
            state.wait(id, waiting);
            if state.driver.attempt_failed(now, batch.id(), &[id]) == 1 {
                return Ok(());
            }
            Err(state.unwait(id))
        });
        // The batch's slot is freed only after this, so that the policy hears of the failure first.
        drop(batch);
        again.ok().map(|()| Place::new(id, pool, answer))
    }
}

// === impl Runs ===

impl Runs {
    fn new(model: Key) -> Self {
        model.runs();
        Self(model)
    }
}

impl Drop for Runs {
    fn drop(&mut self) {
        self.0.runs_no_more();
    }
}

// === impl Bill ===

impl<T> Bill<T> {
    /// What it used, as far as it is known; what is told later counts.
    pub fn used(&mut self, input: Option<u64>, output: Option<u64>) {
        let short = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
        self.settled.input = input.map(short).or(self.settled.input);
        self.settled.output = output.map(short).or(self.settled.output);
    }
}

impl<T> Drop for Bill<T> {
    fn drop(&mut self) {
        let settled = self.settled;
        if settled.input.is_some() || settled.output.is_some() {
            self.pool
                .with(|state, now| state.driver.settled(now, settled));
        }
    }
}

// === impl BatchHandle ===

impl<T> Clone for BatchHandle<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> BatchHandle<T> {
    pub(super) fn new(
        pool: Arc<Inner<T>>,
        id: BatchId,
        worker: Arc<WorkerHandle>,
        size: usize,
        model: u32,
    ) -> Self {
        Self(Arc::new(Running {
            pool,
            id,
            worker,
            size,
            model,
            first_output: AtomicU64::new(0),
            finished: AtomicBool::new(false),
        }))
    }

    /// Its number, for the log.
    #[must_use]
    pub fn id(&self) -> BatchId {
        self.0.id
    }

    /// Where it runs.
    #[must_use]
    pub fn worker(&self) -> &Arc<WorkerHandle> {
        &self.0.worker
    }

    /// Members when it was dispatched.
    #[must_use]
    pub fn size(&self) -> usize {
        self.0.size
    }

    /// The worker has begun to answer. Only the first call counts.
    pub fn first_output(&self) {
        let seen = &self.0.first_output;
        if seen.load(Ordering::Relaxed) == 0 {
            let now = self.0.pool.clock.now().max(1);
            let _ = seen.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// The worker is done: its slot is free, though members may still be read out.
    pub fn finish(&self) {
        self.0.finish();
    }

    /// Tells what the batch met at its worker, for the worker's health.
    pub fn met(&self, outcome: Outcome) {
        self.0.pool.met(&self.0.worker, self.0.model, outcome);
    }
}

impl<T> Running<T> {
    fn finish(&self) {
        if self.finished.swap(true, Ordering::AcqRel) {
            return;
        }
        let seen = self.first_output.load(Ordering::Relaxed);
        let first_output = (seen != 0).then_some(seen);
        self.pool.with(|state, now| {
            state.driver.batch_finished(now, self.id, first_output);
        });
    }
}

impl<T> Drop for Running<T> {
    fn drop(&mut self) {
        self.finish();
    }
}
