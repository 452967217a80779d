//! From a configuration to a house: plugins, workers, pools, models, routes.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use tokio::sync::Notify;
use tollgate_config::{
    Auth, Config, FilePath, NetworkAddress, Probe, ProbeSettings, VisibleModels, Worker,
    WorkerAddress,
};
use tollgate_dispatch::{
    catalogue::{Catalogue, Shown, View, Visible},
    clock::{Clock, micros},
    health::Thresholds,
    intern::Interner,
    policy::WorkerId,
    pool::{Backoff, Pool, PoolSpec, Queue, QueueSpec},
    worker::{Served, WorkerSpec, Workers},
};
use tollgate_edge::{NoTokens, Tokens};
use tollgate_exchange::{
    House, Member, Reach, Retries, Route, RouteLimits, RouteSpec, Station, tasks,
};
use tollgate_plugin::{Loader, Shelf};
use tollgate_telemetry::Metrics;
use tollgate_transcript::Recording;
use tollgate_upstream::{Spec, Tls, Transport, Upstream};
use tollgate_wire::budget::{Budget, Budgets};

use crate::{
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
    pub(crate) workers: Vec<Arc<Station>>,
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
    let workers = Workers::new(config.workers.len().max(1), names.clone());
    let stations = config
        .workers
        .iter()
        .map(|worker| station(worker, &workers, &shelf).map(Arc::new))
        .collect::<Result<Vec<_>, _>>()?;

    let mut timers = Vec::new();
    let mut crews = BTreeMap::new();
    let mut employed: HashMap<WorkerId, Option<String>> = HashMap::new();
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
            let station = named(&stations, name.as_str())?;
            let id = station.handle.id();
            match employed.get(&id) {
                Some(other) if *other != scheduler => {
                    return Err(AssembleError::Other(format!(
                        "worker {name} is in routes with two schedulers: its slots can be \
                         given out by one only"
                    )));
                }
                Some(_) => {}
                None => {
                    employed.insert(id, scheduler.clone());
                    crew.pool.add_worker(station.handle.clone());
                }
            }
        }
    }

    let catalogue = Arc::new(Catalogue::new(config.routes.iter().map(view).collect()));
    catalogue.publish(&workers.all());
    let load_tokens = |file: Option<&FilePath>| {
        file.map(|file| tokens::load(file.as_ref()).map(Arc::new))
            .transpose()
            .map_err(other)
    };
    let tokens = load_tokens(config.tokens.as_ref().map(|section| &section.file))?;
    let operators = config.admin.as_ref().and_then(|it| it.tokens.as_ref());
    let operators = load_tokens(operators)?;
    let house = Arc::new(House {
        shelf: shelf.clone(),
        catalogue,
        stations: stations
            .iter()
            .map(|station| (station.handle.id(), station.clone()))
            .collect(),
        names,
        authenticator: match &tokens {
            Some(tokens) => tokens.clone(),
            None => Arc::new(NoTokens),
        },
        metrics: Arc::new(Metrics::new()),
        clock,
    });
    let held = Arc::new(Budget::new(config.runtime.request_memory.get_u64()));
    let routes = config
        .routes
        .iter()
        .enumerate()
        .map(|(position, section)| {
            let scheduler = section.scheduler.as_ref().map(ToString::to_string);
            let spec = route_spec(section, position, &stations, &crews[&scheduler], &held)?;
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
        workers: stations,
        tokens,
        operators,
        timers,
        recording,
    })
}

fn named<'a>(stations: &'a [Arc<Station>], name: &str) -> Result<&'a Arc<Station>, AssembleError> {
    stations
        .iter()
        .find(|station| station.handle.spec().name == name)
        .ok_or_else(|| AssembleError::Other(format!("there is no worker {name}")))
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
    spec.limits.max_workers = config.workers.len().max(1);
    let name = scheduler.unwrap_or("built-in");
    let overseer = Arc::new(Overseer::new(name, generation, bell.clone()));
    let (pool, timer) = Pool::new(spec, source, clock, overseer.clone()).map_err(other)?;
    Ok((Crew { pool, overseer }, timer))
}

fn station(worker: &Worker, workers: &Workers, shelf: &Shelf) -> Result<Station, AssembleError> {
    let name = worker.name.to_string();
    let (reach, plugin, world) = match &worker.address {
        WorkerAddress::Component(component) => (
            Reach::Component(component.as_str().into()),
            component.to_string(),
            "worker",
        ),
        WorkerAddress::Network(address) => {
            let protocol = worker
                .protocol
                .as_ref()
                .ok_or_else(|| AssembleError::Other(format!("worker {name} has no protocol")))?;
            (
                Reach::Network(upstream(worker, address)?),
                protocol.to_string(),
                "protocol",
            )
        }
    };
    let generation = shelf
        .get_world(&plugin, world)
        .map_err(|missing| AssembleError::Other(format!("worker {name}: {missing}")))?;
    let manifest = generation.manifest();
    let is_component = matches!(reach, Reach::Component(_));
    // A worker may speak another of its protocol's dialects than the first.
    let dialect = match worker.options.as_object().get("dialect") {
        Some(dialect) => dialect.as_str().unwrap_or_default().to_owned(),
        None if is_component => String::new(),
        None => manifest.dialects.first().cloned().unwrap_or_default(),
    };
    let tasks = manifest
        .tasks
        .iter()
        .map(|kind| tasks::name(kind).to_owned())
        .collect();
    let options = worker
        .options
        .read()
        .map_err(|error| AssembleError::Other(format!("worker {name}: options: {error}")))?;
    let probe = match &worker.probe {
        Probe::Off => None,
        Probe::On(settings) => Some(settings),
    };
    let handle = workers
        .add(WorkerSpec {
            name,
            slots: worker.slots.get_u32(),
            max_batch: if is_component {
                1
            } else {
                worker.max_batch.get_u32()
            },
            models: worker
                .models
                .iter()
                .map(|model| Served {
                    name: model.name.to_string(),
                    served_as: model.served_as().to_string(),
                    tasks: model
                        .tasks
                        .as_ref()
                        .map(|tasks| tasks.iter().map(ToString::to_string).collect()),
                })
                .collect(),
            protocol: plugin.clone(),
            dialects: vec![dialect.clone()],
            options: options.clone(),
            tasks,
            thresholds: thresholds(probe),
        })
        .map_err(other)?;
    Ok(Station {
        handle,
        protocol: (!is_component).then(|| plugin.as_str().into()),
        dialect,
        options,
        reach,
    })
}

fn thresholds(probe: Option<&ProbeSettings>) -> Thresholds {
    let mut thresholds = Thresholds::default();
    match probe {
        None => thresholds.probed = false,
        Some(settings) => {
            thresholds.probed = true;
            thresholds.healthy_after = settings.healthy_after.get_u32();
            thresholds.unhealthy_after = settings.unhealthy_after.get_u32();
        }
    }
    thresholds
}

fn upstream(worker: &Worker, address: &NetworkAddress) -> Result<Arc<Upstream>, AssembleError> {
    use tollgate_config::Scheme;
    let tls = address
        .scheme()
        .is_tls()
        .then(|| {
            let ca_pem = worker
                .tls
                .ca
                .as_ref()
                .map(|path| {
                    std::fs::read(path.as_path())
                        .map_err(|error| AssembleError::Other(format!("{path}: {error}")))
                })
                .transpose()?;
            Ok::<_, AssembleError>(Tls {
                ca_pem,
                server_name: worker
                    .tls
                    .server_name
                    .as_ref()
                    .map(|name| name.as_str().to_owned()),
            })
        })
        .transpose()?;
    let connections = &worker.connections;
    Upstream::new(Spec {
        authority: address.authority().parse().map_err(other)?,
        address: address.authority(),
        transport: match address.scheme() {
            Scheme::Http | Scheme::Https => Transport::H1,
            Scheme::Grpc | Scheme::Grpcs => Transport::H2,
        },
        tls,
        max_connections: connections.max.get(),
        max_streams: connections.h2_streams.get_u32(),
        connect_timeout: connections.connect_timeout.get(),
        idle_timeout: connections.idle_timeout.get(),
    })
    .map_err(|error| AssembleError::Other(format!("worker {}: {error}", worker.name)))
}

fn view(route: &tollgate_config::Route) -> View {
    View {
        workers: route.workers.iter().map(ToString::to_string).collect(),
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
    }
}

fn route_spec(
    route: &tollgate_config::Route,
    position: usize,
    stations: &[Arc<Station>],
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
        workers: route
            .workers
            .iter()
            .map(|name| named(stations, name.as_str()).map(|station| station.handle.id()))
            .collect::<Result<_, _>>()?,
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
            })
            .map_err(other)?,
        ),
        pool: crew.pool.clone(),
    })
}
