//! From a configuration to a house: plugins, workers, pools, models, routes.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use tokio::sync::Notify;
use tollgate_config::{Auth, Config, FilePath, VisibleModels, WorkerAddress};
use tollgate_dispatch::{
    catalogue::{Catalogue, Shown, View, Visible},
    clock::{Clock, micros},
    intern::{Interner, TooManyNames},
    pool::{Backoff, Pool, PoolSpec, Queue, QueueSpec},
};
use tollgate_edge::{NoTokens, Tokens};
use tollgate_exchange::{House, Member, Retries, Route, RouteLimits, RouteSpec, Stations};
use tollgate_plugin::{Loader, Shelf};
use tollgate_telemetry::Metrics;
use tollgate_transcript::Recording;
use tollgate_wire::budget::{Budget, Budgets};

use crate::{
    fleet::{self, Fleet},
    overseer::Overseer,
    plugins::{self, PluginError},
    recorder,
    records::Records,
    supply::Supply,
    tokens,
};

/// A configuration that reads well, and yet cannot be served.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AssembleError {
    #[error(transparent)]
    Plugin(#[from] PluginError),
    #[error("{0}")]
    Other(String),
}

fn other(error: impl std::fmt::Display) -> AssembleError {
    AssembleError::Other(error.to_string())
}

/// Names that the house holds at once: models, tenants, batch keys.
const NAMES: usize = 65_536;

/// A pool, and what it needs to be swapped.
pub(crate) struct Crew {
    pub(crate) pool: Pool<Member>,
    pub(crate) overseer: Arc<Overseer>,
}

/// Everything that serves, before a listener is open.
pub(crate) struct Assembled {
    pub(crate) config: Arc<Config>,
    pub(crate) house: Arc<House>,
    pub(crate) loader: Loader,
    pub(crate) supply: Supply,
    pub(crate) routes: Vec<Arc<Route>>,
    /// By scheduler; none: the built-in rules alone.
    pub(crate) crews: BTreeMap<Option<String>, Crew>,
    /// The schedulers' generations, as the house's shelf has the plugins'.
    pub(crate) schedulers: Shelf,
    /// Rung when a plugin or a scheduler has failed.
    pub(crate) bell: Arc<Notify>,
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) tokens: Option<Arc<Tokens>>,
    /// Of operators who change something; none: those on this machine may.
    pub(crate) operators: Option<Arc<Tokens>>,
    pub(crate) timers: Vec<tollgate_dispatch::pool::Timer<Member>>,
    /// What plugins are told and answer is written down.
    pub(crate) recording: Option<Arc<Recording>>,
}

/// Puts a configuration together, and begins to write down what is to be.
pub(crate) fn assemble(config: Arc<Config>, records: &Records) -> Result<Assembled, AssembleError> {
    let mut loader = plugins::loader(&config)?;
    let recording = records.exchanges().map_err(AssembleError::Other)?;
    if let Some(recording) = &recording {
        loader = loader.watched(recording.clone());
    }
    let supply = Supply::new(config.clone()).map_err(other)?;
    let shelf = Arc::new(Shelf::default());
    for generation in plugins::load_all(&loader, &supply, &config)? {
        let mut sections = config.plugins.iter();
        let section = sections.find(|(name, _)| name.as_str() == &**generation.name());
        let life = section.map(|(_, plugin)| plugins::life_of(plugin));
        shelf.begin_life(life.unwrap_or_default(), generation);
    }
    let bell = Arc::new(Notify::new());
    let rung = bell.clone();
    loader.on_failure(move || rung.notify_one());
    let schedulers = Shelf::default();
    let names = Arc::new(Interner::new(NAMES));
    let clock = Clock::start();
    let mut timers = Vec::new();
    let mut crews = BTreeMap::new();
    let mut employed: HashMap<String, Option<String>> = HashMap::new();
    let mut pools = HashMap::new();
    for route in &config.routes {
        let scheduler = route.scheduler.as_ref().map(ToString::to_string);
        if !crews.contains_key(&scheduler) {
            let own = scheduler.as_deref();
            let (crew, timer) = crew(&loader, &supply, &config, own, clock, (&schedulers, &bell))?;
            if let Some(folder) = &records.record {
                let name = scheduler.as_deref().unwrap_or("built-in");
                let recorder = recorder::record(folder, name)
                    .map_err(|error| other(format!("{}: {error}", folder.display())))?;
                crew.pool.keep_journal(Box::new(recorder));
            }
            timers.push(timer);
            crews.insert(scheduler.clone(), crew);
        }
        let crew = &crews[&scheduler];
        for name in &route.workers {
            match employed.get(name.as_str()) {
                Some(other) if *other != scheduler => {
                    return Err(AssembleError::Other(format!(
                        "worker {name} is in routes with two schedulers: its slots can be \
                         given out by one only"
                    )));
                }
                Some(_) => {}
                None => {
                    employed.insert(name.to_string(), scheduler.clone());
                    pools.insert(name.to_string(), crew.pool.clone());
                }
            }
        }
    }

    let views = config
        .routes
        .iter()
        .map(|route| view(route, &config, &names));
    let views = views.collect::<Result<_, _>>().map_err(other)?;
    let catalogue = Arc::new(Catalogue::new(views));
    let load_tokens = |file: Option<&FilePath>| {
        file.map(|file| tokens::load(file.as_ref(), &shelf).map(Arc::new))
            .transpose()
            .map_err(other)
    };
    let tokens = load_tokens(config.tokens.as_ref().map(|section| &section.file))?;
    let operators = config.admin.as_ref().and_then(|it| it.tokens.as_ref());
    let operators = load_tokens(operators)?;
    let house = Arc::new(House {
        shelf: shelf.clone(),
        catalogue,
        stations: Stations::default(),
        names: names.clone(),
        authenticator: match &tokens {
            Some(tokens) => tokens.clone(),
            None => Arc::new(NoTokens),
        },
        metrics: Arc::new(Metrics::new()),
        clock,
    });
    let fleet = Fleet::new(config.clone(), house.clone(), names, pools);
    fleet.settle().map_err(other)?;
    let held = Arc::new(Budget::new(config.runtime.request_memory.get_u64()));
    let routes = config
        .routes
        .iter()
        .enumerate()
        .map(|(position, section)| {
            let scheduler = section.scheduler.as_ref().map(ToString::to_string);
            let spec = route_spec(section, position, &crews[&scheduler], &held)?;
            Route::new(spec, &shelf).map(Arc::new).map_err(other)
        })
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Assembled {
        config,
        house,
        loader,
        supply,
        routes,
        crews,
        schedulers,
        bell,
        fleet,
        tokens,
        operators,
        timers,
        recording,
    })
}

fn crew(
    loader: &Loader,
    supply: &Supply,
    config: &Config,
    scheduler: Option<&str>,
    clock: Clock,
    (schedulers, bell): (&Shelf, &Arc<Notify>),
) -> Result<(Crew, tollgate_dispatch::pool::Timer<Member>), AssembleError> {
    let mut spec = PoolSpec::default();
    let generation = scheduler
        .map(|name| {
            let section = config
                .schedulers
                .iter()
                .find(|(known, _)| known.as_str() == name)
                .map(|(_, section)| section)
                .ok_or_else(|| AssembleError::Other(format!("there is no scheduler {name}")))?;
            let limits = &section.limits;
            spec.step = Some(limits.step.get()).filter(|step| !step.is_zero());
            spec.backoff = Backoff {
                first: micros(limits.backoff.get()),
                longest: micros(limits.longest_backoff.get()),
            };
            let generation = plugins::load_scheduler(loader, supply, name, section)?;
            schedulers.begin_life(plugins::life_of_scheduler(section), generation.clone());
            Ok::<_, AssembleError>(generation)
        })
        .transpose()?;
    let source = generation.clone().map(|generation| {
        Arc::new(plugins::policies(generation)) as Arc<dyn tollgate_dispatch::pool::PolicySource>
    });
    // Each route has a queue of its own within these.
    spec.limits.max_pending = config
        .routes
        .iter()
        .map(|route| route.queue.requests.get())
        .sum::<usize>()
        .max(1);
    spec.limits.max_bytes = config
        .routes
        .iter()
        .map(|route| route.queue.bytes.get_u64())
        .sum::<u64>()
        .max(1);
    spec.limits.max_workers = config.workers.iter().map(fleet::most).sum::<usize>().max(1);
    let name = scheduler.unwrap_or("built-in");
    let overseer = Arc::new(Overseer::new(name, generation, bell.clone()));
    let (pool, timer) = Pool::new(spec, source, clock, overseer.clone()).map_err(other)?;
    Ok((Crew { pool, overseer }, timer))
}

/// What a route sees: also the models of its workers that are still to be discovered, so that who
/// asks for one can wait for a worker.
fn view(
    route: &tollgate_config::Route,
    config: &Config,
    names: &Interner,
) -> Result<View, TooManyNames> {
    let discovered = route
        .workers
        .iter()
        .filter_map(|name| config.worker(name))
        .filter(|worker| matches!(worker.address, WorkerAddress::Discovered(_)));
    Ok(View {
        workers: route.workers.iter().map(ToString::to_string).collect(),
        awaited: discovered
            .flat_map(|worker| &worker.models)
            .map(|model| names.intern(model.name.as_str()))
            .collect::<Result<_, _>>()?,
        visible: match &route.models {
            VisibleModels::All => Visible::All,
            VisibleModels::Listed(models) => Visible::Only(
                models
                    .iter()
                    .map(|model| Shown {
                        name: model.name.to_string(),
                        is: model.is().to_string(),
                    })
                    .collect(),
            ),
        },
        default_model: route.default_model.as_ref().map(ToString::to_string),
    })
}

fn route_spec(
    route: &tollgate_config::Route,
    position: usize,
    crew: &Crew,
    held: &Arc<Budget>,
) -> Result<RouteSpec, AssembleError> {
    let arcs = |names: &[tollgate_config::Name]| -> Vec<Arc<str>> {
        names.iter().map(|name| name.as_str().into()).collect()
    };
    let limits = &route.limits;
    Ok(RouteSpec {
        name: route.name.as_str().into(),
        prefix: route
            .prefix
            .as_ref()
            .map(|prefix| prefix.as_str().to_owned())
            .unwrap_or_default(),
        frontends: arcs(&route.frontends),
        compositions: arcs(&route.compositions),
        view: position,
        default_model: route.default_model.as_ref().map(ToString::to_string),
        open: matches!(route.auth, Auth::Open),
        limits: RouteLimits {
            body: limits.body.get_u64(),
            message: limits.message.get_u64(),
            retry_body: limits.retry_body.get_u64(),
            timeout: limits.timeout.get(),
            concurrency: limits.concurrency.get(),
            event_buffer: limits.event_buffer.get(),
            attempts: route.retry.attempts.get_u32(),
        },
        retries: Retries::new(
            route.retry.percent.get() as u64,
            route.retry.reserve.get() as u64,
        ),
        budgets: Budgets::new(
            Arc::new(Budget::new(limits.request_memory.get_u64())),
            held.clone(),
        ),
        queue: Arc::new(
            Queue::new(QueueSpec {
                requests: route.queue.requests.get(),
                bytes: route.queue.bytes.get_u64(),
                timeout: route.queue.timeout.get(),
                workerless_timeout: route.queue.workerless_timeout.get(),
                model_requests: route.queue.model_requests.map(|most| most.get()),
                model_bytes: route.queue.model_bytes.map(|most| most.get_u64()),
            })
            .map_err(other)?,
        ),
        pool: crew.pool.clone(),
    })
}
