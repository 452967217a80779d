//! The async shell around a [`Driver`]: requests wait here, and are given workers.
//!
//! 1. [`Pool::submit`] queues a request and gives its [`Place`], a future of an [`Assignment`].
//! 2. Whoever brings an event (a request, the end of a batch, a probe's report) steps the driver
//!    under the pool's lock, and delivers what was decided after the lock is released. A step takes
//!    microseconds; there is no task and no channel between a request and its worker.
//! 3. [`Timer::run`] is the pool's one task: it expires requests, runs the policy's timer, ends
//!    ejections, hands over pages at a swap, and makes failed policies anew, with back-off.
//!
//! Everything that waits is bounded by [`Limits`] and by each route's [`Queue`]. Timers have the
//! runtime's resolution: a policy's window ends up to a millisecond late.
//!
//! `T` is what members of a batch bring to their [meeting](crate::rendezvous).

mod pace;
mod place;
mod queue;
mod state;
mod watch;

use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use self::pace::Pace;
pub use self::place::{Assignment, BatchHandle, Bill, Place};
pub use self::queue::{Queue, QueueError, QueueSpec, Waiting as ModelWaiting};
use self::state::{State, Ticket, Waiting};
use self::watch::{Attempts, Measured};
pub use self::watch::{Backoff, Observer, PolicySource, Unobserved};
use crate::clock::{Clock, micros};
use crate::driver::{Arrival, Driver, Full, Gauges, Journal, Limits, LimitsError, Trouble};
use crate::health::Outcome;
use crate::intern::Key;
use crate::policy::{ALONE, Affinity, NO_MODEL, Policy, PolicyGone, WorkerId};
use crate::worker::{Changed, Report, WorkerHandle};

/// How a pool is made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PoolSpec {
    /// Bounds over all routes that share the pool.
    pub limits: Limits,
    /// How soon a failed policy is made anew.
    pub backoff: Backoff,
    /// What ten of a thousand steps may pass, as [`Observer::time`] counts; a policy that passes it
    /// more often has failed. None: there is no such bound.
    pub step: Option<Duration>,
}

/// A request for a worker.
#[derive(Clone, Debug)]
pub struct Submission {
    /// The route's share of the queue.
    pub queue: Arc<Queue>,
    /// `None`: any worker.
    pub model: Option<Key>,
    /// `None`: nobody in particular.
    pub tenant: Option<Key>,
    /// Only equal keys merge, so it names everything that must be equal: the kind of worker too.
    /// `None`: never merged.
    pub batch_key: Option<Key>,
    /// Workers that may serve it; empty: every worker that has the model.
    pub eligible: Arc<[WorkerId]>,
    /// Higher goes first.
    pub priority: i32,
    /// A guess at the work, in tokens or the like.
    pub input_cost: u32,
    /// A guess at the work, in tokens or the like.
    pub output_cost: u32,
    /// As the pool's clock counts.
    pub deadline: Option<u64>,
    /// Where it belongs.
    pub affinity: Affinity,
    /// Memory that it holds while it waits.
    pub bytes: u64,
}

/// Workers that share a scheduler, and the requests that wait for them. Cheap to clone.
pub struct Pool<T>(Arc<Inner<T>>);

/// A pool's one task. Ends when the pool is gone.
#[must_use = "without its timer nothing expires in a pool"]
pub struct Timer<T> {
    pool: Weak<Inner<T>>,
    told: Arc<Notify>,
}

struct Inner<T> {
    state: Mutex<State<T>>,
    clock: Clock,
    observer: Arc<dyn Observer>,
    step: Option<Duration>,
    /// Tells the timer that there is something to do before it meant to wake.
    told: Arc<Notify>,
}

// === impl Submission ===

impl Submission {
    /// A request for any worker, without wishes.
    #[must_use]
    pub fn new(queue: Arc<Queue>) -> Self {
        Self {
            queue,
            model: None,
            tenant: None,
            batch_key: None,
            eligible: Arc::from([]),
            priority: 0,
            input_cost: 0,
            output_cost: 0,
            deadline: None,
            affinity: Affinity::None,
            bytes: 0,
        }
    }
}

// === impl Pool ===

impl<T> Clone for Pool<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Pool<T> {
    /// An empty pool and its task, which the caller runs. Without a source, or until it yields a
    /// policy, the fallback rules.
    ///
    /// # Errors
    /// A bound that cannot work.
    pub fn new(
        spec: PoolSpec,
        source: Option<Arc<dyn PolicySource>>,
        clock: Clock,
        observer: Arc<dyn Observer>,
    ) -> Result<(Self, Timer<T>), LimitsError> {
        let now = clock.now();
        let state = State {
            driver: Driver::new(spec.limits)?,
            waiting: Default::default(),
            workers: Default::default(),
            source: None,
            attempts: Attempts::new(spec.backoff, now),
            health_wake: None,
            armed: None,
        };
        let told = Arc::new(Notify::new());
        let pool = Self(Arc::new(Inner {
            state: Mutex::new(state),
            clock,
            observer,
            step: spec.step,
            told: told.clone(),
        }));
        if let Some(source) = source {
            let policy = source.policy();
            pool.0.install(source, policy);
        }
        let timer = Timer {
            pool: Arc::downgrade(&pool.0),
            told,
        };
        Ok((pool, timer))
    }

    /// Queues a request.
    ///
    /// # Errors
    /// There is no room, in the route's queue or in the pool.
    pub fn submit(&self, request: Submission) -> Result<Place<T>, Full> {
        let queue = request.queue;
        let spec = *queue.spec();
        let number = |key: &Option<Key>, none: u32| key.as_ref().map_or(none, Key::number);
        let arrival = Arrival {
            model: number(&request.model, NO_MODEL),
            tenant: number(&request.tenant, 0),
            batch_key: number(&request.batch_key, ALONE),
            eligible: request.eligible,
            priority: request.priority,
            input_cost: request.input_cost,
            output_cost: request.output_cost,
            deadline: request.deadline,
            affinity: request.affinity,
            bytes: request.bytes,
            queue_timeout: Some(micros(spec.timeout)),
            workerless_timeout: Some(micros(spec.workerless_timeout)),
        };
        let (sender, answer) = oneshot::channel();
        let id = self.0.with(|state, now| {
            queue.room_for_model(arrival.bytes, request.model.as_ref())?;
            let bytes = arrival.bytes;
            let costs = [arrival.input_cost, arrival.output_cost];
            let id = state.driver.arrive(now, arrival)?;
            // Decisions are read only after this closure, so the request is there in time.
            let ticket = Ticket {
                queue,
                bytes,
                costs,
                keys: [request.model, request.tenant, request.batch_key],
            };
            state.wait(
                id,
                Waiting {
                    sender,
                    ticket,
                    since: now,
                },
            );
            Ok(id)
        })?;
        Ok(Place::new(id, self.0.clone(), answer))
    }

    /// Whether both are handles of one pool.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Has other bounds from now on, over all routes that share it.
    ///
    /// # Errors
    /// A bound that cannot work; then nothing has changed.
    pub fn bound(&self, limits: Limits) -> Result<(), LimitsError> {
        self.0.with(|state, _| state.driver.bound(limits))
    }

    /// Writes down what its driver is told and decides, from now on: comes before the first worker.
    pub fn keep_journal(&self, journal: Box<dyn Journal>) {
        self.0.with(|state, _| state.driver.keep_journal(journal));
    }

    /// Takes a worker. False: the pool has as many as are allowed.
    pub fn add_worker(&self, worker: Arc<WorkerHandle>) -> bool {
        self.0.with(|state, now| {
            let id = worker.id();
            state.workers.insert(id, worker.clone());
            let taken = state.refresh(now, &worker);
            if !taken {
                state.workers.remove(&id);
            }
            taken
        })
    }

    /// Lets a worker go. Its batches end as they end.
    pub fn remove_worker(&self, id: WorkerId) -> bool {
        self.0.with(|state, now| {
            let known = state.driver.worker_gone(now, id);
            state.workers.remove(&id);
            known
        })
    }

    /// Takes a probe's report of one of the pool's workers. `None`: it is not one of them.
    pub fn probed(&self, id: WorkerId, report: Report) -> Option<Changed> {
        // A report may be long: it is read without the lock.
        let worker = self.0.state.lock().workers.get(&id)?.clone();
        let changed = worker.probed(report);
        if changed != Changed::default() {
            self.0.with(|state, now| state.refresh(now, &worker));
        }
        Some(changed)
    }

    /// Begins or ends emptying a worker. False: it is not one of the pool's.
    pub fn drain_worker(&self, id: WorkerId, draining: bool) -> bool {
        self.0.with(|state, now| {
            let Some(worker) = state.workers.get(&id).cloned() else {
                return false;
            };
            worker.drain(draining);
            state.refresh(now, &worker)
        })
    }

    /// Gives a worker other slots, at least one. What it has beyond them ends as it ends.
    pub fn resize_worker(&self, worker: &Arc<WorkerHandle>, slots: u32) {
        // One that is just about to join is seen with these.
        worker.resize(slots);
        self.0.with(|state, now| {
            if state.workers.contains_key(&worker.id()) {
                state.refresh(now, worker);
            }
        });
    }

    /// Changes the scheduler while requests wait and run. The new policy takes over when it knows
    /// everything; until then the fallback rules.
    ///
    /// # Errors
    /// The new source yields no policy. Nothing has changed.
    pub fn swap(&self, source: Arc<dyn PolicySource>) -> Result<(), PolicyGone> {
        let policy = source.policy()?;
        self.0.install(source, Ok(policy));
        Ok(())
    }

    /// Goes without a scheduler: the fallback rules.
    pub fn fall_back(&self) {
        let old = self.0.with(|state, now| {
            state.driver.fall_back(now);
            state.attempts.forget(now);
            state.source.take()
        });
        drop(old);
    }

    /// Figures for metrics.
    #[must_use]
    pub fn gauges(&self) -> Gauges {
        self.0.state.lock().driver.gauges()
    }

    /// Batches that run on each of the pool's workers.
    #[must_use]
    pub fn busy(&self) -> Vec<(WorkerId, u32)> {
        let state = self.0.state.lock();
        let workers = state.driver.workers();
        workers.map(|worker| (worker.id, worker.busy)).collect()
    }

    /// The pool's clock, in which deadlines are told.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.0.clock
    }
}

// === impl Inner ===

impl<T> Inner<T> {
    /// Does something under the lock, and delivers what follows from it after the lock. Nothing
    /// that holds a batch may be dropped inside.
    fn with<R>(self: &Arc<Self>, act: impl FnOnce(&mut State<T>, u64) -> R) -> R {
        let mut state = self.state.lock();
        // Under the lock, so that time does not go back from one event to the next.
        let now = self.clock.now();
        let result = act(&mut state, now);
        let outbox = state.collect(now, self, &*self.observer);
        let wake = state.wake_at();
        let sooner = wake.is_some_and(|wake| state.armed.is_none_or(|armed| wake < armed));
        if sooner {
            state.armed = wake;
        }
        drop(state);
        if sooner {
            self.told.notify_one();
        }
        outbox.deliver();
        result
    }

    fn install(
        self: &Arc<Self>,
        source: Arc<dyn PolicySource>,
        policy: Result<Box<dyn Policy>, PolicyGone>,
    ) {
        let old = self.with(|state, now| {
            let old = state.source.replace(source);
            state.attempts.forget(now);
            self.enthrone(state, now, policy);
            old
        });
        drop(old);
    }

    fn enthrone(
        &self,
        state: &mut State<T>,
        now: u64,
        policy: Result<Box<dyn Policy>, PolicyGone>,
    ) {
        state.attempts.begin(now);
        match policy {
            Ok(policy) => {
                let observer = self.observer.clone();
                let pace = Pace::new(self.step);
                let policy = Box::new(Measured {
                    policy,
                    observer,
                    pace,
                });
                state.driver.swap(now, policy);
            }
            Err(gone) => {
                state.attempts.failed(now);
                self.observer.trouble(&Trouble::PolicyGone(gone));
            }
        }
    }

    fn met(self: &Arc<Self>, worker: &Arc<WorkerHandle>, model: u32, outcome: Outcome) {
        // The common case: nothing changes, and the pool's lock is not taken.
        if outcome == Outcome::Answered {
            if worker.met(0, model, outcome, false) {
                self.with(|state, now| state.refresh(now, worker));
            }
            return;
        }
        self.with(|state, now| {
            let of = (outcome == Outcome::Garbled).then_some(model);
            let may_eject = state.can_spare(worker.id(), of);
            if worker.met(now, model, outcome, may_eject) {
                state.refresh(now, worker);
            }
        });
    }

    /// Makes a failed policy anew when it is time. The source is asked without the lock: making a
    /// policy may take a while.
    fn retry(self: &Arc<Self>) {
        let source = {
            let state = self.state.lock();
            let due = state.attempts.retry_at();
            let due = due.is_some_and(|at| at <= self.clock.now());
            state.source.clone().filter(|_| due)
        };
        let Some(source) = source else {
            return;
        };
        let policy = source.policy();
        let late = self.with(|state, now| {
            // Another source may have come meanwhile.
            let still = state.source.as_ref();
            if still.is_some_and(|still| Arc::ptr_eq(still, &source)) {
                self.enthrone(state, now, policy);
                return None;
            }
            Some(policy)
        });
        drop(late);
    }
}

// === impl Timer ===

impl<T> Timer<T> {
    /// Runs until the pool is gone.
    pub async fn run(self) {
        loop {
            let Some(pool) = self.pool.upgrade() else {
                return;
            };
            pool.retry();
            pool.with(|state, now| state.tick(now));
            let wake = {
                let mut state = pool.state.lock();
                state.armed = state.wake_at();
                state.armed
            };
            let wake = wake.map(|at| pool.clock.instant(at));
            drop(pool);
            match wake {
                Some(at) => tokio::select! {
                    () = tokio::time::sleep_until(at) => (),
                    () = self.told.notified() => (),
                },
                None => self.told.notified().await,
            }
            // While pages are handed over the wake is always due: let requests go between them.
            tokio::task::yield_now().await;
        }
    }
}

impl<T> Drop for Inner<T> {
    fn drop(&mut self) {
        self.told.notify_one();
    }
}
