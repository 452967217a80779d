//! The bounded set of connections to one worker, and the queue before it.
//!
//! 1. A request that comes while nobody waits takes the least loaded connection that has room,
//!    of equals the one used last, so that the surplus grows idle.
//! 2. Else it joins the queue, if there is room in it, and connections are dialled as long as
//!    those under way will not do for all who wait and the bound allows.
//! 3. A place that falls free, or a connection that is ready, goes to the head of the queue:
//!    whichever comes first, so that nobody waits for a dial longer than for a free place.
//! 4. A dial that fails, fails as many of the queue as it would have served.
//!
//! A connection is a [`Member`]: HTTP/1.1 lends itself whole, HTTP/2 lends streams. Both are
//! entries that count the requests on them; an entry is gone when its connection is taken out for
//! good and its last request has ended.

use std::{
    cmp::Reverse,
    collections::VecDeque,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use parking_lot::{Mutex, MutexGuard};
use tokio::{runtime::Handle, sync::oneshot, time::Instant};

mod place;
mod tasks;

pub(crate) use place::{Lease, Seat};
use tasks::{Attempt, Reaper};

use crate::{
    connect::{ConnectError, Connector},
    error::SendError,
    spec::Bounds,
};

/// A connection of the pool.
pub(crate) trait Member: Send + Sized + 'static {
    /// Lent in part, to several requests at once; else whole.
    const SHARED: bool;

    /// Makes a connection.
    fn open(
        terms: &Terms,
        seat: Seat<Self>,
    ) -> impl Future<Output = Result<Self, ConnectError>> + Send;

    /// Requests that it may carry at once, by the peer's word.
    fn limit(&self) -> usize;

    /// Whether it can take another request, as far as can be known without waiting.
    fn usable(&mut self) -> bool;

    /// What one request needs of it: a handle, or the connection.
    fn lend(slot: &mut Option<Self>) -> Option<Self>;
}

/// What every connection of a pool is made by.
pub(crate) struct Terms {
    pub(crate) connector: Connector,
    pub(crate) bounds: Bounds,
    pub(crate) max_connections: usize,
    /// Requests at once on one connection, by our own word.
    pub(crate) width: usize,
    pub(crate) idle_timeout: Duration,
}

/// How full the connections to a worker are, at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Gauges {
    /// Connections, those included that the worker is closing.
    pub open: usize,
    /// Of these, the ones that carry no request.
    pub idle: usize,
    /// Requests on connections: streams of HTTP/2, exchanges of HTTP/1.1.
    pub streams: usize,
    /// Requests that wait for a place.
    pub waiting: usize,
}

pub(crate) struct Pool<M: Member> {
    terms: Arc<Terms>,
    state: Mutex<State<M>>,
    /// Somebody waits: what a connection's task looks at before it takes the lock.
    queued: AtomicBool,
}

struct State<M: Member> {
    entries: Vec<Entry<M>>,
    waiters: VecDeque<Waiter<M>>,
    dialling: usize,
    next: u64,
    reaping: bool,
    closed: bool,
    /// To be spawned once the lock is free: a runtime that is shutting down drops a task at
    /// once, and its destructor takes the lock.
    dials: Vec<(Handle, Attempt<M>)>,
}

struct Entry<M> {
    id: u64,
    /// None: lent whole, or to be used no more.
    member: Option<M>,
    streams: usize,
    /// Has carried a request.
    used: bool,
    /// When it last fell idle.
    since: Instant,
}

struct Waiter<M: Member> {
    answer: oneshot::Sender<Result<Lease<M>, SendError>>,
    /// Where to dial for it: places fall free in destructors, which may run anywhere.
    runtime: Handle,
}

// === impl Pool ===

impl<M: Member> Pool<M> {
    pub(crate) fn new(terms: Terms) -> Arc<Self> {
        Arc::new(Self {
            terms: Arc::new(terms),
            state: Mutex::new(State {
                entries: Vec::new(),
                waiters: VecDeque::new(),
                dialling: 0,
                next: 0,
                reaping: false,
                closed: false,
                dials: Vec::new(),
            }),
            queued: AtomicBool::new(false),
        })
    }

    /// Waits for a place.
    pub(crate) async fn acquire(self: &Arc<Self>) -> Result<Lease<M>, SendError> {
        let answer = {
            let mut state = self.state.lock();
            if state.closed {
                return Err(SendError::Closed);
            }
            state.forget_gone();
            if state.waiters.is_empty()
                && let Some(lease) = self.take(&mut state)
            {
                return Ok(lease);
            }
            if state.waiters.len() >= self.terms.bounds.max_waiting {
                return Err(SendError::Saturated);
            }
            let (answer, answered) = oneshot::channel();
            let runtime = Handle::current();
            state.waiters.push_back(Waiter { answer, runtime });
            self.dial(&mut state);
            self.settle(state);
            answered
        };
        answer.await.unwrap_or(Err(SendError::Closed))
    }

    /// Opens connections until so many requests have a place, or the bound is met.
    pub(crate) async fn warm(self: &Arc<Self>, requests: usize) {
        let most = self.terms.max_connections.saturating_mul(self.terms.width);
        // All places are held until the last one is there, so that each is another one. The next
        // request meets the same failure and reports it.
        let places = (0..requests.min(most)).map(|_| self.acquire());
        drop(futures_util::future::join_all(places).await);
    }

    /// Closes what is idle: after a connection was found dead, others of its age are suspect.
    pub(crate) fn discard_idle(&self) {
        let mut state = self.state.lock();
        state.entries.retain(|entry| entry.streams > 0);
    }

    /// Closes what is idle and lets nobody in; what is running goes on.
    pub(crate) fn close(self: &Arc<Self>) {
        let mut state = self.state.lock();
        state.closed = true;
        state.entries.retain_mut(|entry| {
            entry.member = None;
            entry.streams > 0
        });
        for waiter in state.waiters.drain(..) {
            let _ = waiter.answer.send(Err(SendError::Closed));
        }
        self.settle(state);
    }

    /// Ends every connection.
    pub(crate) fn sever(&self) {
        self.terms.connector.sever();
    }

    pub(crate) fn gauges(&self) -> Gauges {
        let state = self.state.lock();
        let entries = &state.entries;
        Gauges {
            open: entries.len(),
            idle: entries.iter().filter(|entry| entry.streams == 0).count(),
            streams: entries.iter().map(|entry| entry.streams).sum(),
            waiting: state
                .waiters
                .iter()
                .filter(|waiter| !waiter.answer.is_closed())
                .count(),
        }
    }

    /// The best place there is.
    fn take(self: &Arc<Self>, state: &mut State<M>) -> Option<Lease<M>> {
        loop {
            let width = self.terms.width;
            let (at, entry) = state
                .entries
                .iter_mut()
                .enumerate()
                .filter(|(_, entry)| {
                    let member = entry.member.as_ref();
                    member.is_some_and(|member| entry.streams < width.min(member.limit()))
                })
                .min_by_key(|(_, entry)| (entry.streams, Reverse(entry.since)))?;
            if !entry.member.as_mut().is_some_and(M::usable) {
                entry.member = None;
                if entry.streams == 0 {
                    state.entries.swap_remove(at);
                }
                continue;
            }
            let member = M::lend(&mut entry.member)?;
            entry.streams += 1;
            let reused = std::mem::replace(&mut entry.used, true);
            return Some(Lease {
                pool: self.clone(),
                id: entry.id,
                member: Some(member),
                reused,
            });
        }
    }

    /// Gives places to those who wait, and dials for the rest.
    fn serve(self: &Arc<Self>, state: &mut State<M>) {
        state.forget_gone();
        while !state.waiters.is_empty()
            && let Some(lease) = self.take(state)
        {
            let Some(waiter) = state.waiters.pop_front() else {
                break;
            };
            if let Err(Ok(mut lease)) = waiter.answer.send(Ok(lease)) {
                // It has gone since; its place is given on here, as its destructor would take the
                // lock again.
                let member = lease.member.take();
                let id = std::mem::replace(&mut lease.id, u64::MAX);
                state.put_back(id, member);
            }
        }
        self.dial(state);
    }

    fn dial(self: &Arc<Self>, state: &mut State<M>) {
        while let Some(waiter) = state.waiters.front()
            && !state.closed
            && state.waiters.len() > state.dialling.saturating_mul(self.terms.width)
        {
            let leaving = match M::SHARED {
                true => state
                    .entries
                    .iter()
                    .filter(|entry| entry.member.is_none())
                    .count(),
                false => 0,
            };
            let live = state.entries.len() - leaving + state.dialling;
            let most = self.terms.max_connections;
            if live >= most || live + leaving >= most.saturating_mul(2) {
                return;
            }
            let runtime = waiter.runtime.clone();
            let attempt = Attempt {
                pool: Arc::downgrade(self),
                id: state.next,
                done: false,
            };
            state.next += 1;
            state.dialling += 1;
            state.dials.push((runtime, attempt));
        }
    }

    /// A dial is over.
    fn dialled(self: &Arc<Self>, id: u64, outcome: Result<M, ConnectError>) {
        let mut state = self.state.lock();
        state.dialling -= 1;
        match outcome {
            Ok(_) if state.closed => return,
            Ok(member) => state.entries.push(Entry {
                id,
                member: Some(member),
                streams: 0,
                used: false,
                since: Instant::now(),
            }),
            Err(error) => {
                state.forget_gone();
                let served = self.terms.width.min(state.waiters.len());
                for waiter in state.waiters.drain(..served) {
                    let _ = waiter.answer.send(Err(error.duplicate().into()));
                }
            }
        }
        self.serve(&mut state);
        self.settle(state);
    }

    /// A request has ended; `member`: what it hands back.
    fn release(self: &Arc<Self>, id: u64, member: Option<M>) {
        let mut state = self.state.lock();
        state.put_back(id, member);
        if !state.waiters.is_empty() {
            self.serve(&mut state);
        }
        self.settle(state);
    }

    /// Ends every change of the state: frees the lock, then starts what the change calls for.
    fn settle(self: &Arc<Self>, mut state: MutexGuard<'_, State<M>>) {
        self.queued
            .store(!state.waiters.is_empty(), Ordering::Relaxed);
        let dials = std::mem::take(&mut state.dials);
        let reaper = self.reaper(&mut state);
        drop(state);
        for (runtime, attempt) in dials {
            // Not tracked: it ends within the connect timeout, and a pool that has been closed or
            // dropped meanwhile drops what it brings.
            runtime.spawn(attempt.run(self.terms.clone()));
        }
        if let Some((runtime, reaper)) = reaper {
            // Not tracked: it holds the pool weakly and ends with the last idle connection.
            runtime.spawn(reaper.run(self.terms.idle_timeout));
        }
    }

    /// What closes connections that have been idle for too long, if it is needed and not there.
    fn reaper(self: &Arc<Self>, state: &mut State<M>) -> Option<(Handle, Reaper<M>)> {
        if state.reaping || !state.entries.iter().any(Entry::idle) {
            return None;
        }
        // A destructor may run outside any runtime; the next change starts it then.
        let runtime = Handle::try_current().ok()?;
        state.reaping = true;
        let pool = Arc::downgrade(self);
        Some((runtime, Reaper { pool, done: false }))
    }
}

impl<M: Member> State<M> {
    fn forget_gone(&mut self) {
        self.waiters.retain(|waiter| !waiter.answer.is_closed());
    }

    fn put_back(&mut self, id: u64, member: Option<M>) {
        let closed = self.closed;
        let Some(at) = self.entries.iter().position(|entry| entry.id == id) else {
            return;
        };
        let entry = &mut self.entries[at];
        entry.streams -= 1;
        if !M::SHARED && !closed {
            entry.member = member;
        }
        if entry.streams == 0 {
            if entry.member.is_none() {
                self.entries.swap_remove(at);
            } else {
                entry.since = Instant::now();
            }
        }
    }
}

impl<M> Entry<M> {
    fn idle(&self) -> bool {
        self.streams == 0 && self.member.is_some()
    }
}
