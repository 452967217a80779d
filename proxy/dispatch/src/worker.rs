//! The workers: what the configuration says of each, and what probes and requests have shown.
//!
//! A worker's description does not change; a changed configuration makes a new worker with a new
//! number, and the old one drains.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use parking_lot::Mutex;

use crate::catalogue::ModelFacts;
use crate::health::{Health, Outcome, Probed, Thresholds, ThresholdsError};
use crate::intern::{Interner, Key};
use crate::policy::{NO_MODEL, Worker, WorkerId};
use crate::ramp::Ramp;

/// Most models that one worker is believed to serve; what a probe tells beyond that is ignored.
pub const MAX_MODELS: usize = 4096;

/// A model as the configuration gives it to a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served {
    /// What routes and clients call it.
    pub name: String,
    /// What the worker calls it.
    pub served_as: String,
    /// Tasks that it is asked there, and no others; none: what probes tell.
    pub tasks: Option<Vec<String>>,
}

/// What the configuration says of a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerSpec {
    /// Its name; unique.
    pub name: String,
    /// The section of the configuration that it comes of, by which routes name it: its own name,
    /// but for one that was discovered.
    pub section: String,
    /// Batches that may run at once.
    pub slots: u32,
    /// Most requests in one batch.
    pub max_batch: u32,
    /// Over so many microseconds a fresh worker, and one that comes back, is given its slots; 0: at
    /// once.
    pub slow_start: u64,
    /// Its models; empty: those that its probes tell.
    pub models: Vec<Served>,
    /// The plugin whose backend speaks to it.
    pub protocol: String,
    /// Dialects that it understands: requests in one of them may be passed.
    pub dialects: Vec<String>,
    /// Options for the backend, as JSON.
    pub options: String,
    /// Tasks that its protocol offers, for models of which probes tell no tasks.
    pub tasks: Vec<String>,
    /// When its health changes.
    pub thresholds: Thresholds,
}

/// A worker that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WorkerError {
    /// Nothing could ever be sent to it.
    #[error("worker {0}: slots and max-batch must be greater than zero")]
    NoRoom(String),
    /// Two models go by one name.
    #[error("worker {0}: model {1} is there twice")]
    ModelTwice(String, String),
    /// Its thresholds cannot work.
    #[error("worker {0}: {1}")]
    Thresholds(String, ThresholdsError),
    /// The name is taken.
    #[error("worker {0} is there twice")]
    Twice(String),
    /// There are as many as are allowed.
    #[error("there are too many workers")]
    TooMany,
    /// Its models do not fit into the table of names.
    #[error("worker {0}: there are too many different models")]
    TooManyNames(String),
}

/// How much a worker has to do, as its last probe said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Requests that wait inside it.
    pub queued: Option<u32>,
    /// Requests that run inside it.
    pub running: Option<u32>,
    /// Use of its KV cache in thousandths.
    pub kv_cache_use: Option<u32>,
}

/// What a probe has found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// It was reached and is ready.
    pub ready: bool,
    /// Why not, for the operator.
    pub reason: Option<String>,
    /// How much it has to do.
    pub load: Load,
    /// Its models, by the names it gives them; empty: it did not say.
    pub models: Vec<ModelFacts>,
}

/// What a report has changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// Whether it may be given work: the catalogue is to be published again.
    pub fitness: bool,
    /// Its models: the catalogue is to be published again.
    pub models: bool,
    /// Its load.
    pub load: bool,
}

/// A model on one worker.
#[derive(Clone, Debug, PartialEq)]
pub struct Offered {
    /// The name that routes use, interned.
    pub model: Key,
    /// What the worker calls it.
    pub served_as: Arc<str>,
    /// What a probe told of it.
    pub facts: Option<Arc<ModelFacts>>,
    /// Tasks that it is asked, and no others, where the configuration says so.
    pub tasks: Option<Arc<[String]>>,
}

type Models = BTreeMap<Arc<str>, Offered>;

/// A worker's state for the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// It may be given work.
    pub accepting: bool,
    /// What probes say.
    pub probed: Probed,
    /// Failed requests keep it out.
    pub ejected: bool,
    /// Models that it is not asked for at present because it failed them.
    pub ejected_models: usize,
    /// It is being emptied.
    pub draining: bool,
    /// Slots that it is given at present: fewer than its own during a slow start.
    pub slots: u32,
    /// What its last probe gave as a reason for not being ready.
    pub reason: Option<String>,
    /// How much it has to do.
    pub load: Load,
}

struct State {
    health: Health,
    ramp: Ramp,
    /// Slots given when it was last looked at, and when that changes.
    given: u32,
    more_at: Option<u64>,
    draining: bool,
    reason: Option<String>,
    load: Load,
}

/// One worker. Shared by everyone who sends to it, probes it, or shows it.
pub struct WorkerHandle {
    id: WorkerId,
    spec: WorkerSpec,
    names: Arc<Interner>,
    models: ArcSwap<Models>,
    state: Mutex<State>,
}

/// All workers by number. Bounded.
pub struct Workers {
    names: Arc<Interner>,
    by_id: DashMap<WorkerId, Arc<WorkerHandle>>,
    by_name: DashMap<String, WorkerId>,
    next: AtomicU32,
    most: AtomicUsize,
}

/// FNV-1a, 64 bits, of a worker's name: stable over processes and proxies.
fn identity(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

// === impl WorkerHandle ===

impl WorkerHandle {
    fn new(id: WorkerId, spec: WorkerSpec, names: Arc<Interner>) -> Result<Self, WorkerError> {
        if spec.slots == 0 || spec.max_batch == 0 {
            return Err(WorkerError::NoRoom(spec.name));
        }
        let health = Health::new(spec.thresholds.clone())
            .map_err(|error| WorkerError::Thresholds(spec.name.clone(), error))?;
        let ramp = Ramp::new(spec.slots, spec.slow_start);
        let mut models = Models::new();
        for served in &spec.models {
            let model = names
                .intern(&served.name)
                .map_err(|_| WorkerError::TooManyNames(spec.name.clone()))?;
            let offered = Offered {
                served_as: served.served_as.as_str().into(),
                facts: None,
                tasks: served.tasks.as_deref().map(Arc::from),
                model,
            };
            let name = offered.model.name().clone();
            if models.insert(name, offered).is_some() {
                return Err(WorkerError::ModelTwice(
                    spec.name.clone(),
                    served.name.clone(),
                ));
            }
        }
        Ok(Self {
            id,
            spec,
            names,
            models: ArcSwap::from_pointee(models),
            state: Mutex::new(State {
                health,
                ramp,
                given: 0,
                more_at: None,
                draining: false,
                reason: None,
                load: Load::default(),
            }),
        })
    }

    /// Its number.
    #[must_use]
    pub fn id(&self) -> WorkerId {
        self.id
    }

    /// What the configuration says of it.
    #[must_use]
    pub fn spec(&self) -> &WorkerSpec {
        &self.spec
    }

    /// Whether it understands a dialect.
    #[must_use]
    pub fn speaks(&self, dialect: &str) -> bool {
        self.spec.dialects.iter().any(|own| own == dialect)
    }

    /// What it calls a model.
    #[must_use]
    pub fn served_as(&self, model: &str) -> Option<Arc<str>> {
        let models = self.models.load();
        models.get(model).map(|offered| offered.served_as.clone())
    }

    /// Its models.
    #[must_use]
    pub fn models(&self) -> Vec<Offered> {
        self.models.load().values().cloned().collect()
    }

    /// It as a policy sees it, with no batches counted. When it is first seen to accept, here, its
    /// slow start begins.
    #[must_use]
    pub fn view(&self, now: u64) -> Worker {
        let models = self.models.load();
        let mut state = self.state.lock();
        let accepting = !state.draining && state.health.fit();
        state.ramp.accepts(now, accepting);
        state.given = state.ramp.slots(now);
        state.more_at = state.ramp.next(now);
        Worker {
            id: self.id,
            accepting,
            models: models
                .values()
                .map(|one| one.model.number())
                .filter(|model| state.health.may_serve(*model))
                .collect(),
            slots: state.given,
            busy: 0,
            max_batch: self.spec.max_batch,
            identity: identity(&self.spec.name),
            queued: state.load.queued,
            running: state.load.running,
            kv_cache_use: state.load.kv_cache_use,
        }
    }

    /// It as the operator sees it.
    #[must_use]
    pub fn status(&self) -> Status {
        let state = self.state.lock();
        Status {
            accepting: !state.draining && state.health.fit(),
            probed: state.health.probed(),
            ejected: state.health.ejected(),
            ejected_models: state.health.ejected_models(),
            draining: state.draining,
            slots: state.given,
            reason: state.reason.clone(),
            load: state.load,
        }
    }

    /// Takes what a probe has found. The pools that it works in are to be told of a change.
    pub fn probed(&self, report: Report) -> Changed {
        let models = report.ready && !report.models.is_empty() && self.learn(report.models);
        let mut state = self.state.lock();
        let fitness = state.health.probe(report.ready);
        let load = state.load != report.load;
        state.load = report.load;
        state.reason = report.reason;
        Changed {
            fitness,
            models,
            load,
        }
    }

    /// Takes what a request of a model has met. True: what it is fit for has changed, and its pools
    /// are to be told.
    pub fn met(&self, now: u64, model: u32, outcome: Outcome, may_eject: bool) -> bool {
        let health = &mut self.state.lock().health;
        match outcome {
            Outcome::Answered => {
                let model = health.of_model(now, model, true, may_eject);
                health.request(now, outcome, may_eject) || model
            }
            Outcome::Failed => health.request(now, outcome, may_eject),
            Outcome::Garbled => model != NO_MODEL && health.of_model(now, model, false, may_eject),
        }
    }

    /// Takes what it has told of a model's tensors when it was asked, until its next probe. True:
    /// that is new, and the catalogue is to be published again.
    ///
    /// Only a model of which probes tell is kept in mind so: nothing else would end it.
    pub fn told(&self, model: &str, told: &ModelFacts) -> bool {
        let known = self.models.load();
        let Some(offered) = known.get(model) else {
            return false;
        };
        let Some(facts) = offered.facts.as_deref().filter(|_| {
            self.spec.thresholds.probed && (!told.inputs.is_empty() || !told.outputs.is_empty())
        }) else {
            return false;
        };
        let facts = ModelFacts {
            versions: told.versions.clone(),
            platform: told.platform.clone(),
            inputs: told.inputs.clone(),
            outputs: told.outputs.clone(),
            ..facts.clone()
        };
        let offered = Offered {
            facts: Some(Arc::new(facts)),
            ..offered.clone()
        };
        let mut models = (**known).clone();
        let changed = models.insert(model.into(), offered.clone()) != Some(offered);
        if changed {
            self.models.store(Arc::new(models));
        }
        changed
    }

    /// Begins or ends emptying it.
    pub fn drain(&self, draining: bool) {
        self.state.lock().draining = draining;
    }

    /// Gives it other slots, at least one.
    pub fn resize(&self, slots: u32) {
        self.state.lock().ramp.resize(slots.max(1));
    }

    /// When [`WorkerHandle::tick`] is due: at the end of an ejection, and at the next stage of a
    /// slow start.
    #[must_use]
    pub fn wake_at(&self) -> Option<u64> {
        let state = self.state.lock();
        state
            .health
            .wake_at()
            .into_iter()
            .chain(state.more_at)
            .min()
    }

    /// Time has passed. True: its fitness or its slots changed, and it is to be looked at.
    pub fn tick(&self, now: u64) -> bool {
        let mut state = self.state.lock();
        let more = state.more_at.is_some_and(|at| at <= now);
        state.health.tick(now) || more
    }

    /// Takes the models that a probe told. The configuration's list, when there is one, stays: a
    /// probe then adds facts to it and no names.
    fn learn(&self, told: Vec<ModelFacts>) -> bool {
        let mut models = Models::new();
        if self.spec.models.is_empty() {
            for facts in told.into_iter().take(MAX_MODELS) {
                // A full table of names leaves a model out rather than taking the worker away.
                if let Ok(model) = self.names.intern(&facts.name) {
                    let name = model.name().clone();
                    let offered = Offered {
                        served_as: name.clone(),
                        facts: Some(Arc::new(facts)),
                        tasks: None,
                        model,
                    };
                    models.insert(name, offered);
                }
            }
        } else {
            let mut told: BTreeMap<String, ModelFacts> = told
                .into_iter()
                .take(MAX_MODELS)
                .map(|facts| (facts.name.clone(), facts))
                .collect();
            for (name, offered) in self.models.load().iter() {
                // A model that the worker no longer tells of is there, but not ready.
                let facts = told
                    .remove(&*offered.served_as)
                    .unwrap_or_else(|| ModelFacts::absent(&offered.served_as));
                let offered = Offered {
                    facts: Some(Arc::new(facts)),
                    ..offered.clone()
                };
                models.insert(name.clone(), offered);
            }
        }
        let changed = models != **self.models.load();
        if changed {
            self.models.store(Arc::new(models));
        }
        changed
    }
}

// === impl Workers ===

impl Workers {
    /// A table of at most `most` workers, at least one; their models' names go into `names`.
    #[must_use]
    pub fn new(most: usize, names: Arc<Interner>) -> Self {
        Self {
            names,
            by_id: DashMap::new(),
            by_name: DashMap::new(),
            next: AtomicU32::new(1),
            most: AtomicUsize::new(most.max(1)),
        }
    }

    /// Has room for so many from now on, at least one. Those that are there beyond it stay.
    pub fn bound(&self, most: usize) {
        self.most.store(most.max(1), Ordering::Relaxed);
    }

    /// Takes a new worker.
    ///
    /// # Errors
    /// It cannot be, its name is taken, or there are too many.
    pub fn add(&self, spec: WorkerSpec) -> Result<Arc<WorkerHandle>, WorkerError> {
        if self.by_id.len() >= self.most.load(Ordering::Relaxed) {
            return Err(WorkerError::TooMany);
        }
        let name = spec.name.clone();
        match self.by_name.entry(name.clone()) {
            Entry::Occupied(_) => Err(WorkerError::Twice(name)),
            Entry::Vacant(free) => {
                let id = self.next.fetch_add(1, Ordering::Relaxed);
                let worker = Arc::new(WorkerHandle::new(id, spec, self.names.clone())?);
                self.by_id.insert(id, worker.clone());
                free.insert(id);
                Ok(worker)
            }
        }
    }

    /// Lets a worker go. Who holds it goes on with it; its name is free at once.
    pub fn remove(&self, id: WorkerId) -> Option<Arc<WorkerHandle>> {
        let (_, worker) = self.by_id.remove(&id)?;
        let name = &worker.spec.name;
        self.by_name.remove_if(name, |_, named| *named == id);
        Some(worker)
    }

    /// A worker by number.
    #[must_use]
    pub fn get(&self, id: WorkerId) -> Option<Arc<WorkerHandle>> {
        self.by_id.get(&id).map(|worker| worker.clone())
    }

    /// A worker by name.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<Arc<WorkerHandle>> {
        let id = *self.by_name.get(name)?;
        self.get(id)
    }

    /// All of them, by number.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<WorkerHandle>> {
        let mut all: Vec<_> = self.by_id.iter().map(|worker| worker.clone()).collect();
        all.sort_by_key(|worker| worker.id);
        all
    }
}
