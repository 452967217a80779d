//! What a batching policy is asked and answers: the types of `wit/scheduling.wit` in plain Rust.
//!
//! Times are microseconds of a monotonic clock that starts anywhere. Models, tenants and batch
//! keys are interned numbers. Lists that are cloned with a request are shared (`Arc`).

use std::sync::Arc;

/// A request's number, given by the driver; never used twice. Lower means arrived earlier.
pub type RequestId = u64;
/// A worker's number, given by the registry; never used twice.
pub type WorkerId = u32;
/// A batch's number, given by the driver; never used twice.
pub type BatchId = u64;

/// The model number that every worker serves: for calls that ask for no model.
pub const NO_MODEL: u32 = 0;
/// A worker that never is, for requests whose workers are still to come.
pub const NOBODY: WorkerId = 0;
/// The batch key of a request that goes alone.
pub const ALONE: u32 = 0;

/// How far requests belong on one worker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Affinity {
    /// Any worker is as good.
    #[default]
    None,
    /// Chained hashes of the prompt's first blocks: a wish.
    Prefer(Arc<[u64]>),
    /// An interned sequence or session: an order.
    Pin(u64),
}

/// One request that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Its number.
    pub id: RequestId,
    /// Interned; [`NO_MODEL`]: any worker.
    pub model: u32,
    /// Interned.
    pub tenant: u32,
    /// Only equal keys merge; [`ALONE`]: never merged.
    pub batch_key: u32,
    /// Workers that may serve it; empty: every worker that has the model.
    pub eligible: Arc<[WorkerId]>,
    /// Higher goes first.
    pub priority: i32,
    /// A guess, in tokens or the like.
    pub input_cost: u32,
    /// A guess, in tokens or the like.
    pub output_cost: u32,
    /// When it arrived first; a failed attempt does not change it.
    pub arrived: u64,
    /// After this instant an answer is of no use.
    pub deadline: Option<u64>,
    /// Where it belongs.
    pub affinity: Affinity,
    /// Attempts that failed before.
    pub attempts: u32,
    /// Where they failed.
    pub avoid: Vec<WorkerId>,
}

impl Request {
    /// Whether `worker` may serve this request, busy or not.
    #[must_use]
    pub fn may_use(&self, worker: &Worker) -> bool {
        (self.eligible.is_empty() || self.eligible.contains(&worker.id))
            && (self.model == NO_MODEL || worker.models.contains(&self.model))
    }
}

/// One worker, as the host sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Worker {
    /// Its number.
    pub id: WorkerId,
    /// False: nothing new may be sent to it.
    pub accepting: bool,
    /// Interned models that it serves.
    pub models: Arc<[u32]>,
    /// Batches that may run at once.
    pub slots: u32,
    /// Batches that run now. In a page and in an event it is the host's count, batches in flight
    /// included; a policy does not add them again.
    pub busy: u32,
    /// Most requests in one batch.
    pub max_batch: u32,
    /// Of its name: the same at every proxy that calls it by this name.
    pub identity: u64,
    /// Requests that wait inside the worker, by its last probe.
    pub queued: Option<u32>,
    /// Requests that run inside the worker, by its last probe.
    pub running: Option<u32>,
    /// Use of its KV cache in thousandths, by its last probe.
    pub kv_cache_use: Option<u32>,
}

impl Worker {
    /// Whether one more batch may be sent to it.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.accepting && self.busy < self.slots
    }
}

/// A request that is under way, as it was believed to be when it was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its number.
    pub id: RequestId,
    /// Interned.
    pub model: u32,
    /// Interned.
    pub tenant: u32,
    /// A guess.
    pub input_cost: u32,
    /// A guess.
    pub output_cost: u32,
}

/// What a request was found to use. See `settled` in `wit/scheduling.wit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settled {
    /// Its number.
    pub id: RequestId,
    /// Interned.
    pub tenant: u32,
    /// As it was believed.
    pub input_cost: u32,
    /// As it was believed.
    pub output_cost: u32,
    /// What it used, as far as that is known.
    pub input: Option<u32>,
    /// What it used, as far as that is known.
    pub output: Option<u32>,
}

/// A batch in flight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Its number.
    pub id: BatchId,
    /// Where it runs.
    pub worker: WorkerId,
    /// Those of it that have neither left nor failed.
    pub members: Vec<Member>,
    /// How many were sent together.
    pub size: u32,
    /// Since when.
    pub dispatched: u64,
}

/// What has happened.
///
/// Every batch ends in exactly one `BatchFinished`, also when all of its members failed;
/// `AttemptFailed` is about a request, and leaves the worker's slot taken until then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A new request waits; or one that waited, and was told as cancelled just before, since other
    /// workers may serve it from now on.
    Arrived(Request),
    /// A waiting request has gone: its client left, it expired, or another policy placed it.
    Cancelled(RequestId),
    /// A slot is free again.
    BatchFinished {
        /// The batch.
        id: BatchId,
        /// Where it ran.
        worker: WorkerId,
        /// Its members as they were dispatched, also those that have left or failed since.
        requests: Arc<[RequestId]>,
        /// Start.
        dispatched: u64,
        /// First output, if there was any.
        first_output: Option<u64>,
        /// End.
        ended: u64,
    },
    /// A request waits again, under its old number.
    AttemptFailed {
        /// The request, with `attempts` and `avoid` brought up to date.
        request: Request,
        /// Where it failed.
        worker: WorkerId,
    },
    /// A worker is new or has changed; its `busy` counts.
    WorkerChanged(Worker),
    /// A worker has left. Its batches still end by `BatchFinished`.
    WorkerGone(WorkerId),
    /// The instant of `Action::WakeAt` has come, or the policy has just taken over.
    Timer,
    /// An action did not fit the truth and was not carried out.
    Refused {
        /// What it named; of many the first 64, and the others in events that follow.
        requests: Vec<RequestId>,
        /// The worker that it named; not in what follows.
        worker: Option<WorkerId>,
        /// For the log.
        reason: &'static str,
    },
    /// What a request was found to use.
    Settled(Settled),
}

/// Why a policy turns a request away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RejectReason {
    /// The queue or the worker is full.
    Overloaded,
    /// The tenant has had its share.
    OverShare,
    /// It cannot be done in time.
    TooLate,
    /// A reason that this host does not know.
    Other(String),
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send these together, as one batch.
    Dispatch {
        /// Where to.
        worker: WorkerId,
        /// The members, in order.
        requests: Vec<RequestId>,
    },
    /// Turn a waiting request away.
    Reject {
        /// Which one.
        id: RequestId,
        /// Why.
        reason: RejectReason,
    },
    /// Send `Timer` at this instant. The last one counts.
    WakeAt(u64),
    /// An action that this host does not know, by name.
    Other(String),
}

/// Most entries of each list of a [`Page`].
pub const PAGE: usize = 64;

/// A page of the truth, for a policy that takes over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// At most [`PAGE`] workers.
    pub workers: Vec<Worker>,
    /// At most [`PAGE`] waiting requests, oldest first.
    pub pending: Vec<Request>,
    /// At most [`PAGE`] batches in flight.
    pub in_flight: Vec<Batch>,
    /// Nothing follows.
    pub last: bool,
}

/// The policy cannot answer any more: its sandbox has ended, or its answer could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the scheduling policy is gone: {reason}")]
pub struct PolicyGone {
    /// For the log.
    pub reason: String,
}

/// Decides for one pool of workers. It is told everything and trusted with nothing.
pub trait Policy: Send {
    /// Takes a page of the truth. Comes before the first `step`, until a page is the last one.
    ///
    /// # Errors
    /// The policy is not to be called again.
    fn restore(&mut self, now: u64, page: Page) -> Result<(), PolicyGone>;

    /// Takes what has happened, in order; answers what is to be done, in order.
    ///
    /// # Errors
    /// The policy is not to be called again.
    fn step(&mut self, now: u64, events: Vec<Event>) -> Result<Vec<Action>, PolicyGone>;
}
