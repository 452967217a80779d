//! Looks after the generations of plugins and schedulers while they serve.
//!
//! 1. What has changed or is wanted is loaded off the path, one at a time, and tried
//!    (`tollgate-plugin`, `loader.rs`). What does not load, or does not go together with its routes,
//!    changes nothing.
//! 2. What loads begins its life: in force, or as a canary.
//! 3. The lives are looked at now and then, and at once when something failed; what lost its place
//!    there loses it here.
//!
//! Routes and pools follow the shelves, and never the other way round.

mod said;
mod watch;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::Notify;
use tollgate_config::Config;
use tollgate_plugin::{
    Barred, CanarySpecError, Change, Generation, GenerationChange, Shelf, ShelfError, aside,
};

pub(crate) use said::{changes as said, report};
pub(crate) use watch::{Files, Watches};

use crate::{
    assemble::Assembled,
    life::{Life, Running},
    plugins::{self, PluginError},
};

/// How often the lives are looked at when nothing calls for it.
const LOOK: Duration = Duration::from_millis(500);

/// Whose life it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Subject {
    Plugin(String),
    Scheduler(String),
}

/// Why something is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// Its files have changed, or may have: what is in force, on trial or has lost its place already
    /// stays as it is.
    Changed,
    /// An operator wants it, with a share of his own if he names one; 0: in force at once.
    Asked(Option<u32>),
}

/// What came of it.
#[derive(Debug)]
pub(crate) enum Loaded {
    /// It is there already.
    Same,
    /// It has been there, and lost its place.
    Barred(Barred),
    /// It is there now.
    Put(Vec<GenerationChange>),
}

/// Nothing has changed, because.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeepError {
    #[error("there is no {0}")]
    Unknown(Subject),
    #[error(transparent)]
    Load(#[from] PluginError),
    #[error(
        "plugin {name} is a component of the world {found}, and the one in force is of the world \
         {wanted}: routes and workers use it as that; give another kind of component a name of its \
         own"
    )]
    World {
        name: String,
        found: &'static str,
        wanted: &'static str,
    },
    #[error(transparent)]
    Route(#[from] tollgate_exchange::RouteError),
    #[error(transparent)]
    Shelf(#[from] ShelfError),
    #[error(transparent)]
    Canary(#[from] CanarySpecError),
    #[error(
        "scheduler {0}: a pool has one scheduler at a time, so that none can be tried beside it"
    )]
    Alone(String),
    #[error("the proxy is ending")]
    Ending,
}

/// How often a subject was loaded, and how often that failed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Loads {
    pub(crate) good: u64,
    pub(crate) bad: u64,
    /// What the last one that failed said, until one succeeds.
    pub(crate) problem: Option<String>,
}

/// The one who looks after them.
pub(crate) struct Keeper {
    /// Held while something is loaded.
    loading: tokio::sync::Mutex<()>,
    /// Held while an operator's swap goes on. By subject, which the configuration bounds.
    swapping: Mutex<BTreeMap<Subject, Arc<tokio::sync::Mutex<()>>>>,
    /// Held while routes and pools are brought in line with the shelves.
    following: Mutex<()>,
    /// By subject, which the configuration bounds.
    loads: Mutex<BTreeMap<Subject, Loads>>,
    watches: Mutex<Watches>,
    bell: Arc<Notify>,
}

impl Keeper {
    /// The bell calls for a look.
    pub(crate) fn new(bell: Arc<Notify>, watches: Watches) -> Self {
        Self {
            loading: tokio::sync::Mutex::default(),
            swapping: Mutex::default(),
            following: Mutex::default(),
            loads: Mutex::default(),
            watches: Mutex::new(watches),
            bell,
        }
    }

    /// Nothing is loaded as long as this is held.
    pub(crate) async fn at_rest(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.loading.lock().await
    }

    /// Nobody else's swap of this subject goes on as long as this is held.
    async fn alone(&self, subject: &Subject) -> tokio::sync::OwnedMutexGuard<()> {
        let swapping = self
            .swapping
            .lock()
            .entry(subject.clone())
            .or_default()
            .clone();
        swapping.lock_owned().await
    }

    /// Looks at the files; see [`Watches::changed`].
    pub(crate) fn look(&self) -> Vec<Subject> {
        self.watches.lock().changed()
    }

    /// Whose files are watched.
    pub(crate) fn subjects(&self) -> Vec<Subject> {
        self.watches.lock().subjects().cloned().collect()
    }

    /// Another configuration: watches its files, and forgets whom it does not have.
    pub(crate) fn turn(&self, config: &Config, watches: Watches) {
        self.watches.lock().turn(watches);
        let known = subjects(config);
        self.swapping
            .lock()
            .retain(|subject, _| known.contains(subject));
        self.loads
            .lock()
            .retain(|subject, _| known.contains(subject));
    }

    /// How often what was loaded.
    pub(crate) fn loads(&self) -> BTreeMap<Subject, Loads> {
        self.loads.lock().clone()
    }

    /// Files that are watched.
    pub(crate) fn watched(&self) -> usize {
        self.watches.lock().files()
    }

    fn loaded<T>(&self, subject: &Subject, loaded: &Result<T, KeepError>) {
        let mut loads = self.loads.lock();
        let count = loads.entry(subject.clone()).or_default();
        match loaded {
            Ok(_) => {
                count.good += 1;
                count.problem = None;
            }
            Err(error) => {
                count.bad += 1;
                count.problem = Some(error.to_string());
            }
        }
    }
}

/// All that a configuration names, in order.
pub(crate) fn subjects(config: &Config) -> Vec<Subject> {
    let plugins = config.plugins.keys().map(ToString::to_string);
    let schedulers = config.schedulers.keys().map(ToString::to_string);
    let plugins = plugins.map(Subject::Plugin);
    plugins.chain(schedulers.map(Subject::Scheduler)).collect()
}

/// Loads a subject off the path, when those before it are done, and gives it its place.
///
/// # Errors
/// See [`KeepError`]; then nothing has changed.
pub(crate) async fn load(
    running: &Arc<Running>,
    subject: Subject,
    wish: Wish,
) -> Result<Loaded, KeepError> {
    let _one_at_a_time = running.keeper.at_rest().await;
    // Another configuration may have come while it was waited for.
    let then = running.latest();
    let loading = tokio::task::spawn_blocking(move || {
        let loaded = subject.load(&then.assembled, wish);
        then.keeper.loaded(&subject, &loaded);
        match &loaded {
            Ok(Loaded::Put(changes)) => {
                follow(&then);
                tell(&then, &subject, changes);
            }
            Ok(Loaded::Barred(barred)) => tracing::warn!(
                %subject,
                digest = barred.digest,
                why = barred.why,
                "a component that lost its place stays out; change its file, or ask for a swap"
            ),
            Ok(Loaded::Same) => {}
            Err(error) => tracing::error!(%subject, %error, "the generation in force stays"),
        }
        loaded
    });
    loading.await.unwrap_or(Err(KeepError::Ending))
}

/// Loads a subject as an operator wants it, who may leave: what has begun for him goes on to its end. That
/// is one of each subject; the next one waits in his own request, and is given up with it.
///
/// # Errors
/// See [`KeepError`]; then nothing has changed.
pub(crate) async fn swap(
    running: &Arc<Running>,
    subject: Subject,
    canary: Option<u32>,
) -> Result<Loaded, KeepError> {
    let shelf = subject.shelf(&running.assembled);
    if shelf.get(subject.name()).is_none() {
        return Err(KeepError::Unknown(subject));
    }
    let alone = running.keeper.alone(&subject).await;
    let running = running.clone();
    let swapping = tokio::spawn(async move {
        let loaded = load(&running, subject, Wish::Asked(canary)).await;
        drop(alone);
        loaded
    });
    swapping.await.unwrap_or(Err(KeepError::Ending))
}

/// Puts a subject's canary in force, or takes it back, or the generation in force.
///
/// # Errors
/// See [`KeepError`]; then nothing has changed.
pub(crate) fn promote(
    running: &Arc<Running>,
    subject: &Subject,
) -> Result<Vec<GenerationChange>, KeepError> {
    let running = running.latest();
    let shelf = subject.shelf(&running.assembled);
    change(&running, subject, shelf.promote(subject.name()))
}

/// Takes a subject's canary back, or the generation in force.
///
/// # Errors
/// See [`KeepError`]; then nothing has changed.
pub(crate) fn roll_back(
    running: &Arc<Running>,
    subject: &Subject,
) -> Result<Vec<GenerationChange>, KeepError> {
    let running = running.latest();
    let shelf = subject.shelf(&running.assembled);
    change(&running, subject, shelf.roll_back(subject.name()))
}

fn change(
    running: &Running,
    subject: &Subject,
    changed: Result<Vec<GenerationChange>, ShelfError>,
) -> Result<Vec<GenerationChange>, KeepError> {
    let changes = changed.map_err(|error| match error {
        ShelfError::Unknown(_) => KeepError::Unknown(subject.clone()),
        error => error.into(),
    })?;
    follow(running);
    tell(running, subject, &changes);
    Ok(changes)
}

/// Looks at the lives until it is dropped.
pub(crate) async fn keep(life: Arc<Life>) {
    let keeper = life.current().keeper.clone();
    loop {
        tokio::select! {
            () = keeper.bell.notified() => {}
            () = tokio::time::sleep(LOOK) => {}
        }
        let running = life.current();
        // Instances that are ended are waited for: a call into one may be running.
        let (plugins, schedulers) = tokio::task::block_in_place(|| {
            let assembled = &running.assembled;
            (assembled.house.shelf.tend(), assembled.schedulers.tend())
        });
        if plugins.is_empty() && schedulers.is_empty() {
            continue;
        }
        let then = running.clone();
        let following = tokio::task::spawn_blocking(move || {
            follow(&then);
            for (changes, of) in [
                (plugins, Subject::Plugin as fn(String) -> Subject),
                (schedulers, Subject::Scheduler as fn(String) -> Subject),
            ] {
                for change in changes {
                    let subject = of(concerned(&change).name().to_string());
                    tell(&then, &subject, &[change]);
                }
            }
        });
        let _ = following.await;
    }
}

/// Brings routes and pools in line with the shelves.
pub(crate) fn follow(running: &Running) {
    let Assembled {
        house,
        routes,
        crews,
        schedulers,
        ..
    } = &running.assembled;
    let _one_at_a_time = running.keeper.following.lock();
    for route in routes {
        if let Err(error) = route.refresh(&house.shelf) {
            tracing::error!(%error, "the route keeps its claims");
        }
    }
    for (name, crew) in crews {
        let Some(force) = name.as_ref().and_then(|name| schedulers.get(name)) else {
            continue;
        };
        // Before it decides anything: what goes wrong at once is already its own.
        if !crew.overseer.ruled_by(&force) {
            continue;
        }
        if let Err(error) = crew.pool.swap(Arc::new(plugins::policies(force.clone()))) {
            tracing::error!(scheduler = name.as_deref(), %error, "a scheduler does not begin");
            force.replaced();
            running.keeper.bell.notify_one();
        }
    }
}

/// The generation that a change is about.
fn concerned(change: &GenerationChange) -> &Arc<Generation> {
    match change {
        Change::Swapped { to, .. }
        | Change::Promoted { to, .. }
        | Change::RolledBack { to, .. } => to,
        Change::Canary { candidate } | Change::Withdrawn { candidate, .. } => candidate,
        Change::Overdue { generation } => generation,
    }
}

/// Writes changes to the log, and keeps them in mind for the page of operators.
fn tell(running: &Running, subject: &Subject, changes: &[GenerationChange]) {
    if let Value::Array(said) = said(changes) {
        for change in &said {
            running
                .history
                .changed(subject.kind(), subject.name(), change);
        }
    }
    for change in changes {
        let it = concerned(change);
        let (generation, digest) = (it.number(), it.digest());
        match change {
            Change::Swapped { from, .. } => tracing::info!(
                %subject, generation, digest, from = from.number(),
                "a new generation is in force"
            ),
            Change::Canary { .. } => {
                tracing::info!(%subject, generation, digest, "a canary begins");
            }
            Change::Promoted { from, .. } => tracing::info!(
                %subject, generation, digest, from = from.number(),
                "a canary is in force"
            ),
            Change::Withdrawn { why, .. } if !why.is_blame() => tracing::info!(
                %subject, generation, digest, why = why.label(), "a canary is taken back"
            ),
            Change::Withdrawn { why, .. } => tracing::error!(
                %subject, generation, digest, why = why.label(), "a canary is taken back"
            ),
            Change::RolledBack { from, why, .. } if !why.is_blame() => tracing::info!(
                %subject, generation, digest, from = from.number(), why = why.label(),
                "an earlier generation is in force again"
            ),
            Change::RolledBack { from, why, .. } => tracing::error!(
                %subject, generation, digest, from = from.number(), why = why.label(),
                "an earlier generation is in force again"
            ),
            Change::Overdue { .. } => tracing::warn!(
                %subject, generation, digest,
                "the time to drain is over: what an old generation still serves ends"
            ),
        }
    }
}

// === impl Subject ===

impl Subject {
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Plugin(name) | Self::Scheduler(name) => name,
        }
    }

    /// What it is, in a word.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Plugin(_) => "plugin",
            Self::Scheduler(_) => "scheduler",
        }
    }

    pub(crate) fn shelf<'a>(&self, assembled: &'a Assembled) -> &'a Shelf {
        match self {
            Self::Plugin(_) => &assembled.house.shelf,
            Self::Scheduler(_) => &assembled.schedulers,
        }
    }

    fn load(&self, assembled: &Assembled, wish: Wish) -> Result<Loaded, KeepError> {
        let shelf = self.shelf(assembled);
        let force = shelf
            .get(self.name())
            .ok_or_else(|| KeepError::Unknown(self.clone()))?;
        let (generation, canary) = match self {
            Self::Plugin(name) => load_plugin(assembled, name, &force, wish)?,
            Self::Scheduler(name) => (load_scheduler(assembled, name, wish)?, None),
        };
        if wish == Wish::Changed {
            let standing = shelf.standing(self.name());
            let candidate = standing.as_ref().and_then(|standing| standing.candidate());
            if force.is_same(&generation) || candidate.is_some_and(|it| it.is_same(&generation)) {
                return Ok(Loaded::Same);
            }
            if let Some(barred) = shelf.barred(&generation) {
                return Ok(Loaded::Barred(barred));
            }
        }
        Ok(Loaded::Put(shelf.put(generation, canary)?))
    }
}

impl std::fmt::Display for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Plugin(name) => write!(f, "plugin {name}"),
            Self::Scheduler(name) => write!(f, "scheduler {name}"),
        }
    }
}

type New = (Arc<Generation>, Option<tollgate_plugin::CanarySpec>);

fn load_plugin(
    assembled: &Assembled,
    name: &str,
    force: &Generation,
    wish: Wish,
) -> Result<New, KeepError> {
    let sections = &assembled.config.plugins;
    let (_, section) = sections
        .iter()
        .find(|(known, _)| known.as_str() == name)
        .ok_or_else(|| KeepError::Unknown(Subject::Plugin(name.to_owned())))?;
    let canary = plugins::canary(
        section,
        match wish {
            Wish::Changed => None,
            Wish::Asked(percent) => percent,
        },
    )?;
    let generation =
        aside(|| plugins::load_plugin(&assembled.loader, &assembled.supply, name, section))?;
    if generation.world() != force.world() {
        return Err(KeepError::World {
            name: name.to_owned(),
            found: generation.world(),
            wanted: force.world(),
        });
    }
    for route in &assembled.routes {
        route.accepts(&assembled.house.shelf, &generation)?;
    }
    Ok((generation, canary))
}

fn load_scheduler(
    assembled: &Assembled,
    name: &str,
    wish: Wish,
) -> Result<Arc<Generation>, KeepError> {
    let sections = &assembled.config.schedulers;
    let (_, section) = sections
        .iter()
        .find(|(known, _)| known.as_str() == name)
        .ok_or_else(|| KeepError::Unknown(Subject::Scheduler(name.to_owned())))?;
    if matches!(wish, Wish::Asked(Some(1..))) {
        return Err(KeepError::Alone(name.to_owned()));
    }
    Ok(aside(|| {
        plugins::load_scheduler(&assembled.loader, &assembled.supply, name, section)
    })?)
}
