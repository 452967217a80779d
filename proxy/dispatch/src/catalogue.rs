//! Which models a route shows, and which workers may serve each: configuration and probes, merged.
//!
//! The catalogue is built whole from the workers, by [`Catalogue::publish`], and swapped in one step;
//! a request reads a finished table and takes no lock.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::watch;

use crate::intern::Key;
use crate::policy::WorkerId;
use crate::worker::{Offered, WorkerHandle};

/// A tensor that a model takes or gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorFacts {
    /// Its name.
    pub name: String,
    /// Its element type, in the contract's spelling.
    pub datatype: String,
    /// Its shape; -1: any length.
    pub shape: Vec<i64>,
}

/// What is known of a model: the contract's `model-info`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelFacts {
    /// Its name.
    pub name: String,
    /// Its versions.
    pub versions: Vec<String>,
    /// Longest input and output together, in tokens.
    pub max_length: Option<u32>,
    /// Most new tokens in one answer.
    pub max_new_tokens: Option<u32>,
    /// Base model of an adapter.
    pub parent: Option<String>,
    /// Tasks that it offers.
    pub tasks: Vec<String>,
    /// It can be used now.
    pub ready: bool,
    /// Its kind, in the worker's words.
    pub platform: String,
    /// What it takes.
    pub inputs: Vec<TensorFacts>,
    /// What it gives.
    pub outputs: Vec<TensorFacts>,
    /// Further facts, by name.
    pub extensions: Vec<(String, Vec<u8>)>,
}

/// A name under which a view shows a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// What clients call it.
    pub name: String,
    /// The model's name among the workers.
    pub is: String,
}

/// Which models a view shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Visible {
    /// All that its workers serve, by their own names.
    #[default]
    All,
    /// These, and no others.
    Only(Vec<Shown>),
}

/// What a route sees of the workers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// The sections of its workers.
    pub workers: Vec<String>,
    /// Models that it shows also while no worker of them is there: workers will be discovered.
    pub awaited: Vec<Key>,
    /// The models that it shows.
    pub visible: Visible,
    /// The model used when a client names none.
    pub default_model: Option<String>,
}

/// A model on one worker.
#[derive(Clone)]
pub struct Offer {
    /// The worker.
    pub worker: Arc<WorkerHandle>,
    /// What the worker calls the model.
    pub served_as: Arc<str>,
    /// It is ready there, as far as is known.
    pub ready: bool,
    /// Tasks that it is asked there, and no others, where the configuration says so.
    pub tasks: Option<Arc<[String]>>,
}

/// A model that a view shows, with all that a request needs to be sent there.
#[derive(Clone)]
pub struct Resolved {
    /// What clients call it.
    pub name: Arc<str>,
    /// The model among the workers, interned.
    pub model: Key,
    /// What is known of it, over all its workers, under the name that clients use.
    pub facts: ModelFacts,
    /// Where it is.
    pub offers: Vec<Offer>,
    /// Workers that may serve it: those where it is ready, or all when it is ready nowhere.
    pub eligible: Arc<[WorkerId]>,
    /// The same, for each task.
    by_task: BTreeMap<String, Arc<[WorkerId]>>,
}

/// The view shows no such model.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotFound {
    /// The client named no model, and the view has no default.
    #[error("no model is named, and there is no default")]
    Unnamed,
    /// There is no model of that name.
    #[error("there is no model {0:?}")]
    Unknown(String),
}

/// A model, and the workers where it is.
struct Places {
    model: Key,
    offers: Vec<(Arc<WorkerHandle>, Offered)>,
}

/// The models of a view.
#[derive(Clone, Default)]
struct Table {
    models: HashMap<Arc<str>, Arc<Resolved>>,
    /// The only one that is no adapter of another, if there is one such: who names no model can
    /// mean no other.
    only: Option<Arc<Resolved>>,
}

/// The models of every view. Views are numbered in the order in which they were given.
pub struct Catalogue {
    views: Vec<View>,
    tables: ArcSwap<Vec<Table>>,
    /// How often it was published.
    published: watch::Sender<u64>,
}

// === impl ModelFacts ===

impl ModelFacts {
    /// What is known of a model that the configuration names and the worker does not.
    #[must_use]
    pub fn absent(name: &str) -> Self {
        Self {
            name: name.into(),
            ..Self::default()
        }
    }
}

// === impl Resolved ===

impl Resolved {
    /// Whether no worker of it is there, and one is awaited.
    #[must_use]
    pub fn awaited(&self) -> bool {
        self.offers.is_empty()
    }

    /// Workers that offer a task for this model; `None`: none does.
    #[must_use]
    pub fn offering(&self, task: &str) -> Option<&Arc<[WorkerId]>> {
        self.by_task.get(task)
    }

    /// Tasks that some worker offers for this model.
    pub fn tasks(&self) -> impl Iterator<Item = &str> {
        self.by_task.keys().map(String::as_str)
    }

    /// Whether the configuration lets a worker be asked a task of this model.
    #[must_use]
    pub fn admits(&self, worker: WorkerId, task: &str) -> bool {
        let mut offers = self.offers.iter();
        let offer = offers.find(|offer| offer.worker.id() == worker);
        let named = offer.and_then(|offer| offer.tasks.as_ref());
        named.is_none_or(|tasks| tasks.iter().any(|own| own == task))
    }

    /// What a worker calls this model.
    #[must_use]
    pub fn served_as(&self, worker: WorkerId) -> Option<&Arc<str>> {
        let mut offers = self.offers.iter();
        let offer = offers.find(|offer| offer.worker.id() == worker)?;
        Some(&offer.served_as)
    }
}

// === impl Catalogue ===

impl Catalogue {
    /// A catalogue of no models yet.
    #[must_use]
    pub fn new(views: Vec<View>) -> Self {
        let tables = vec![Table::default(); views.len()];
        Self {
            views,
            tables: ArcSwap::from_pointee(tables),
            published: watch::Sender::new(0),
        }
    }

    /// Builds all tables anew from the workers. Due when a worker came or went, and when a report
    /// changed models or fitness.
    pub fn publish(&self, workers: &[Arc<WorkerHandle>]) {
        let tables = self.views.iter().map(|view| table(view, workers));
        self.tables.store(Arc::new(tables.collect()));
        self.published.send_modify(|count| *count += 1);
    }

    /// Tells of every publication: for those who wait for a worker, since another may serve them
    /// from then on.
    #[must_use]
    pub fn published(&self) -> watch::Receiver<u64> {
        self.published.subscribe()
    }

    /// The model that a client means: the one it names, or the view's default, or the only one.
    ///
    /// # Errors
    /// The view shows no such model.
    pub fn resolve(&self, view: usize, model: Option<&str>) -> Result<Arc<Resolved>, NotFound> {
        let default = || self.views.get(view)?.default_model.as_deref();
        let tables = self.tables.load();
        let table = tables.get(view);
        let Some(name) = model.or_else(default) else {
            let only = table.and_then(|table| table.only.clone());
            return only.ok_or(NotFound::Unnamed);
        };
        let found = table.and_then(|table| table.models.get(name));
        found.cloned().ok_or_else(|| NotFound::Unknown(name.into()))
    }

    /// The models of a view that the caller may see, by name.
    pub fn list(&self, view: usize, may_see: impl Fn(&str) -> bool) -> Vec<Arc<Resolved>> {
        let tables = self.tables.load();
        let Some(table) = tables.get(view) else {
            return Vec::new();
        };
        let seen = table.models.values().filter(|model| may_see(&model.name));
        let mut seen: Vec<_> = seen.cloned().collect();
        seen.sort_by(|a, b| a.name.cmp(&b.name));
        seen
    }
}

fn table(view: &View, workers: &[Arc<WorkerHandle>]) -> Table {
    let mut places: BTreeMap<Arc<str>, Places> = BTreeMap::new();
    let place = |model: &Key| Places {
        model: model.clone(),
        offers: Vec::new(),
    };
    for model in &view.awaited {
        places.insert(model.name().clone(), place(model));
    }
    for worker in workers {
        if view.workers.contains(&worker.spec().section) {
            for offered in worker.models() {
                let name = offered.model.name().clone();
                let places = places.entry(name);
                let places = places.or_insert_with(|| place(&offered.model));
                places.offers.push((worker.clone(), offered));
            }
        }
    }
    let models: HashMap<Arc<str>, Arc<Resolved>> = match &view.visible {
        Visible::All => places
            .into_iter()
            .map(|(name, places)| (name.clone(), resolved(name, &places)))
            .collect(),
        Visible::Only(shown) => shown
            .iter()
            .filter_map(|shown| {
                let name: Arc<str> = shown.name.as_str().into();
                let places = places.get(shown.is.as_str())?;
                Some((name.clone(), resolved(name, places)))
            })
            .collect(),
    };
    let mut bases = models.values().filter(|model| model.facts.parent.is_none());
    let only = match (bases.next(), bases.next()) {
        (Some(only), None) => Some(only.clone()),
        _ => None,
    };
    Table { models, only }
}

fn resolved(name: Arc<str>, places: &Places) -> Arc<Resolved> {
    let Places {
        model,
        offers: places,
    } = places;
    let model = model.clone();
    let ready = |offered: &Offered| offered.facts.as_ref().is_none_or(|facts| facts.ready);
    let anywhere = places.iter().any(|(_, offered)| ready(offered));
    let usable = |offered: &Offered| ready(offered) || !anywhere;
    let mut fit = places
        .iter()
        .filter(|(worker, _)| worker.status().accepting);
    let serving = fit.any(|(_, offered)| ready(offered));
    let mut by_task: BTreeMap<String, Vec<WorkerId>> = BTreeMap::new();
    for (worker, offered) in places.iter().filter(|(_, offered)| usable(offered)) {
        for task in tasks(worker, offered) {
            let workers = by_task.entry(task.clone()).or_default();
            if workers.last() != Some(&worker.id()) {
                workers.push(worker.id());
            }
        }
    }
    let eligible = places.iter().filter(|(_, offered)| usable(offered));
    Arc::new(Resolved {
        facts: merged(&name, places, serving),
        name,
        model,
        offers: places
            .iter()
            .map(|(worker, offered)| Offer {
                worker: worker.clone(),
                served_as: offered.served_as.clone(),
                ready: ready(offered),
                tasks: offered.tasks.clone(),
            })
            .collect(),
        eligible: eligible.map(|(worker, _)| worker.id()).collect(),
        by_task: by_task
            .into_iter()
            .map(|(task, workers)| (task, workers.into()))
            .collect(),
    })
}

/// The tasks of a model on a worker: what the configuration says, or what the probe told, or else
/// what the protocol offers.
fn tasks<'a>(worker: &'a WorkerHandle, offered: &'a Offered) -> &'a [String] {
    if let Some(tasks) = &offered.tasks {
        return tasks;
    }
    match &offered.facts {
        Some(facts) if !facts.tasks.is_empty() => &facts.tasks,
        _ => &worker.spec().tasks,
    }
}

/// One set of facts for a model on many workers. A client may land on any of them, so limits are
/// the smallest; versions and tasks are all there are; the rest is the first worker's that tells.
fn merged(name: &str, places: &[(Arc<WorkerHandle>, Offered)], ready: bool) -> ModelFacts {
    let told = || {
        places
            .iter()
            .filter_map(|(_, offered)| offered.facts.as_deref())
    };
    let first = |part: fn(&ModelFacts) -> &Vec<TensorFacts>| {
        told().map(part).find(|list| !list.is_empty()).cloned()
    };
    let versions: BTreeSet<_> = told().flat_map(|facts| facts.versions.iter()).collect();
    let tasks: BTreeSet<_> = places
        .iter()
        .flat_map(|(worker, offered)| tasks(worker, offered))
        .collect();
    let mut extensions: Vec<(String, Vec<u8>)> = Vec::new();
    for extension in told().flat_map(|facts| &facts.extensions) {
        if extensions.iter().all(|known| known.0 != extension.0) {
            extensions.push(extension.clone());
        }
    }
    ModelFacts {
        name: name.into(),
        versions: versions.into_iter().cloned().collect(),
        max_length: told().filter_map(|facts| facts.max_length).min(),
        max_new_tokens: told().filter_map(|facts| facts.max_new_tokens).min(),
        parent: told().find_map(|facts| facts.parent.clone()),
        tasks: tasks.into_iter().cloned().collect(),
        ready,
        platform: told()
            .map(|facts| &facts.platform)
            .find(|platform| !platform.is_empty())
            .cloned()
            .unwrap_or_default(),
        inputs: first(|facts| &facts.inputs).unwrap_or_default(),
        outputs: first(|facts| &facts.outputs).unwrap_or_default(),
        extensions,
    }
}
