//! From a configuration to a house: plugins, workers, pools, models, routes.
//!
//! One that follows another ([`crate::life`]) takes over from it what is the same in both: plugins and
//! schedulers with their lives, pools with what waits in them, what routes have counted. Everything
//! else is made anew, and nothing of the other is changed here.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tollgate_config::{Config, FilePath, Scheduler, SchedulerLimits, VisibleModels, WorkerAddress};
use tollgate_dispatch::{
    catalogue::{Catalogue, Shown, View, Visible},
    clock::{Clock, micros},
    driver::Limits,
    intern::{Interner, TooManyNames},
    pool::{Backoff, Pool, PoolSpec, Queue, QueueSpec},
};
use tollgate_edge::{Door, Tokens};
use tollgate_exchange::{House, Member, Retries, Route, RouteLimits, RouteSpec, Stations};
use tollgate_limits::redis::Redis;
use tollgate_otlp::Exporter;
use tollgate_payloads::Courier;
use tollgate_plugin::{Generation, Loader, Shelf};
use tollgate_telemetry::Metrics;
use tollgate_transcript::Recording;
use tollgate_wire::budget::{Budget, Budgets};

use crate::{
    fleet::{self, Fleet, Ground},
    identity::{self, Identities},
    limits::{self, Counting},
    overseer::Overseer,
    pages,
    plugins::{self, PluginError},
    recorder,
    records::Records,
    supply::Supply,
    telemetry::{self, TelemetryError},
    tokens,
};

/// A configuration that reads well, and yet cannot be served.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AssembleError {
    #[error(transparent)]
    Plugin(#[from] PluginError),
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    #[error("{0}")]
    Other(String),
}

fn other(error: impl std::fmt::Display) -> AssembleError {
    AssembleError::Other(error.to_string())
}

/// Names that the house holds at once: models, tenants, batch keys.
const NAMES: usize = 65_536;

/// A pool, and what it needs to be swapped.
#[derive(Clone)]
pub(crate) struct Crew {
    pub(crate) pool: Pool<Member>,
    pub(crate) overseer: Arc<Overseer>,
}

/// Everything that serves, before a listener is open.
pub(crate) struct Assembled {
    pub(crate) config: Arc<Config>,
    pub(crate) house: Arc<House>,
    pub(crate) loader: Arc<Loader>,
    pub(crate) supply: Supply,
    pub(crate) routes: Vec<Arc<Route>>,
    /// By scheduler; none: the built-in rules alone.
    pub(crate) crews: BTreeMap<Option<String>, Crew>,
    /// The schedulers' generations, as the house's shelf has the plugins'.
    pub(crate) schedulers: Shelf,
    /// Rung when a plugin or a scheduler has failed.
    pub(crate) bell: Arc<Notify>,
    pub(crate) fleet: Arc<Fleet>,
    /// Bytes of requests that the process may hold.
    held: Arc<Budget>,
    /// The bounds of each pool, by scheduler, and where its workers are to stand: to be put in force.
    pub(crate) bounds: Vec<(Option<String>, Limits)>,
    pub(crate) pools: HashMap<String, Pool<Member>>,
    pub(crate) tokens: Option<Arc<Tokens>>,
    /// Tenants, and the other ways of telling who asks.
    pub(crate) identities: Identities,
    /// Of operators who change something; none: those on this machine may.
    pub(crate) operators: Option<Arc<Tokens>>,
    pub(crate) timers: Vec<tollgate_dispatch::pool::Timer<Member>>,
    /// Where tenants' limits are counted with other proxies; and what has to run for that.
    pub(crate) limit_store: Option<Redis>,
    pub(crate) limit_tasks: Mutex<Vec<limits::Task>>,
    /// Where telemetry is sent.
    pub(crate) exporter: Option<Arc<Exporter>>,
    /// What plugins are told and answer is written down.
    pub(crate) recording: Option<Arc<Recording>>,
    /// The tasks of routes' payload logs.
    pub(crate) couriers: Vec<Courier>,
}

/// Puts a configuration together, and begins to write down what is to be. With another one that
/// serves, takes over from it what is the same; nothing of it has changed when that fails.
pub(crate) fn assemble(
    config: Arc<Config>,
    records: &Records,
    former: Option<&Assembled>,
) -> Result<Assembled, AssembleError> {
    let (loader, recording, bell) = match former {
        Some(former) => {
            plugins::fits(&former.loader, &config)?;
            let (loader, bell) = (former.loader.clone(), former.bell.clone());
            (loader, former.recording.clone(), bell)
        }
        None => {
            let mut loader = plugins::loader(&config)?;
            let recording = records.exchanges().map_err(AssembleError::Other)?;
            if let Some(recording) = &recording {
                loader = loader.watched(recording.clone());
            }
            let bell = Arc::new(Notify::new());
            let rung = bell.clone();
            loader.on_failure(move || rung.notify_one());
            (Arc::new(loader), recording, bell)
        }
    };
    let supply = Supply::new(config.clone()).map_err(other)?;
    if let Some(former) = former {
        supply.remember(&former.supply);
    }
    let shelf = Arc::new(shelve(&loader, &supply, &config, former)?);
    let schedulers = former.map_or_else(Shelf::default, |it| Shelf::after(&it.schedulers));
    let names = former.map_or_else(
        || Arc::new(Interner::new(NAMES)),
        |it| it.house.names.clone(),
    );
    let clock = former.map_or_else(Clock::start, |it| it.house.clock);
    let mut bounds = Vec::new();
    let mut timers = Vec::new();
    let mut crews = BTreeMap::new();
    let mut employed: HashMap<String, Option<String>> = HashMap::new();
    let mut pools = HashMap::new();
    for route in &config.routes {
        let scheduler = route.scheduler.as_ref().map(ToString::to_string);
        if !crews.contains_key(&scheduler) {
            let own = scheduler.as_deref();
            let made = Making {
                loader: &loader,
                supply: &supply,
                config: &config,
                schedulers: &schedulers,
            };
            let limits = pool_limits(&config);
            let generation = own.map(|name| made.scheduler(name, former)).transpose()?;
            let kept = former.and_then(|former| {
                let crew = former.crews.get(&scheduler)?;
                let same = own.is_none_or(|name| {
                    scheduler_limits(&config, name) == scheduler_limits(&former.config, name)
                });
                same.then(|| crew.clone())
            });
            let crew = match kept {
                Some(crew) => crew,
                None => {
                    let (crew, timer) = made.crew(own, generation, limits.clone(), clock, &bell)?;
                    if let Some(folder) = &records.record {
                        let name = scheduler.as_deref().unwrap_or("built-in");
                        let recorder = recorder::record(folder, name)
                            .map_err(|error| other(format!("{}: {error}", folder.display())))?;
                        crew.pool.keep_journal(Box::new(recorder));
                    }
                    timers.push(timer);
                    crew
                }
            };
            bounds.push((scheduler.clone(), limits));
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
    // Tenants whose section is the same go on being counted.
    let known = former.filter(|it| it.config.tenants == config.tenants);
    let tenants = known.map_or_else(
        || identity::tenants(&config),
        |it| it.identities.tenants.clone(),
    );
    let load_tokens = |file: Option<&FilePath>| {
        file.map(|file| tokens::load(file.as_ref(), &shelf, &tenants).map(Arc::new))
            .transpose()
            .map_err(other)
    };
    let tokens = load_tokens(config.tokens.as_ref().map(|section| &section.file))?;
    let operators = config.admin.as_ref().and_then(|it| it.tokens.as_ref());
    let operators = load_tokens(operators)?;
    // What is counted goes on being counted, where the limits are as they were: those for all, and
    // those of each tenant.
    let counted = known.filter(|it| it.config.limits == config.limits);
    let counting = match counted {
        Some(former) => Counting {
            limits: former.house.limits.clone(),
            store: former.limit_store.clone(),
            tasks: Vec::new(),
        },
        None => {
            let former = former.and_then(|it| it.house.limits.as_ref());
            limits::counting(&config, former).map_err(other)?
        }
    };
    let identities = Identities::new(
        &config,
        tenants,
        tokens.clone(),
        known.map(|it| (&*it.config, &it.identities)),
    );
    let identities = identities.map_err(other)?;
    let exporter = match former {
        Some(former) => former.exporter.clone(),
        None => telemetry::exporter(&config.telemetry)?,
    };
    let house = Arc::new(House {
        shelf: shelf.clone(),
        catalogue,
        stations: former.map_or_else(Arc::<Stations>::default, |it| it.house.stations.clone()),
        names: names.clone(),
        limits: counting.limits,
        metrics: former.map_or_else(|| Arc::new(Metrics::new()), |it| it.house.metrics.clone()),
        // What they are made of takes another process.
        tracer: match former {
            Some(former) => former.house.tracer.clone(),
            None => telemetry::tracer(&config.telemetry)?,
        },
        clock,
        closing: former.map_or_else(Arc::default, |it| it.house.closing.clone()),
    });
    let ground = Ground::new(config.clone(), house.clone(), pools.clone());
    let fleet = match former {
        Some(former) => {
            Fleet::check(&ground, names).map_err(other)?;
            former.fleet.clone()
        }
        None => {
            let fleet = Fleet::new(ground, names);
            fleet.settle().map_err(other)?;
            fleet
        }
    };
    let mut couriers = Vec::new();
    let held = budget(
        config.runtime.request_memory.get_u64(),
        former.map(|it| &it.held),
    );
    let routes = config
        .routes
        .iter()
        .enumerate()
        .map(|(position, section)| {
            let scheduler = section.scheduler.as_ref().map(ToString::to_string);
            let before = former.and_then(|it| it.route(section.name.as_str()));
            let door = identities.door(section);
            let crew = &crews[&scheduler];
            let mut spec = route_spec(section, position, door, crew, &held, before)?;
            let known = before.and_then(|(route, former)| {
                let known = route.spec().payloads.as_ref()?;
                (former.payload_log == section.payload_log).then(|| known.clone())
            });
            match known {
                Some(log) => spec.payloads = Some(log),
                None => {
                    if let Some((log, courier)) = pages::payloads(section).map_err(other)? {
                        spec.payloads = Some(log);
                        couriers.push(courier);
                    }
                }
            }
            let route = match before {
                Some((route, _)) => Route::after(spec, &shelf, route),
                None => Route::new(spec, &shelf),
            };
            route.map(Arc::new).map_err(other)
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
        held,
        bounds,
        pools,
        tokens,
        identities,
        operators,
        timers,
        limit_store: counting.store,
        limit_tasks: Mutex::new(counting.tasks),
        exporter,
        recording,
        couriers,
    })
}

/// The plugins: those that are as they were with their lives, the others loaded, and their lives
/// begin.
fn shelve(
    loader: &Loader,
    supply: &Supply,
    config: &Config,
    former: Option<&Assembled>,
) -> Result<Shelf, AssembleError> {
    let shelf = former.map_or_else(Shelf::default, |it| Shelf::after(&it.house.shelf));
    let mut fresh = config.clone();
    if let Some(former) = former {
        fresh.plugins.retain(|name, plugin| {
            let plugin = &*plugin;
            let same = former.config.plugins.get(name) == Some(plugin);
            let stays = same && shelf.take_over(&former.house.shelf, name.as_str());
            if stays && let Some(told) = shelf.report(name.as_str()) {
                // They may speak to other workers now. Until then, and for requests that go on, to
                // the same ones.
                let both = [config, &*former.config];
                let beside = told.candidate.map(|(candidate, _)| candidate);
                let before = told.earlier.into_iter().chain(told.leaving);
                for generation in [told.force].into_iter().chain(beside).chain(before) {
                    let (name, read) = (name.as_str(), generation.options());
                    let secrets = plugins::secrets(&both, name, &plugin.options, read);
                    generation.mask().set(secrets);
                }
            }
            !stays
        });
    }
    for generation in plugins::load_all(loader, supply, &fresh)? {
        let mut sections = config.plugins.iter();
        let section = sections.find(|(name, _)| name.as_str() == &**generation.name());
        let life = section.map(|(_, plugin)| plugins::life_of(plugin));
        shelf.begin_life(life.unwrap_or_default(), generation);
    }
    Ok(shelf)
}

/// A budget of so many bytes: the former one, where that has as many.
fn budget(bytes: u64, former: Option<&Arc<Budget>>) -> Arc<Budget> {
    let former = former.filter(|former| former.most() == bytes);
    former.map_or_else(|| Arc::new(Budget::new(bytes)), Arc::clone)
}

fn scheduler_limits<'c>(config: &'c Config, name: &str) -> Option<&'c SchedulerLimits> {
    scheduler_of(config, name).map(|section| &section.limits)
}

fn scheduler_of<'c>(config: &'c Config, name: &str) -> Option<&'c Scheduler> {
    let mut schedulers = config.schedulers.iter();
    let (_, section) = schedulers.find(|(known, _)| known.as_str() == name)?;
    Some(section)
}

/// Bounds of a pool: each route has a queue of its own within these.
fn pool_limits(config: &Config) -> Limits {
    let routes = || config.routes.iter();
    Limits {
        max_pending: routes()
            .map(|route| route.queue.requests.get())
            .sum::<usize>()
            .max(1),
        max_bytes: routes()
            .map(|route| route.queue.bytes.get_u64())
            .sum::<u64>()
            .max(1),
        max_workers: config.workers.iter().map(fleet::most).sum::<usize>().max(1),
        ..Limits::default()
    }
}

impl Assembled {
    /// A route by its name, and its section.
    fn route(&self, name: &str) -> Option<(&Arc<Route>, &tollgate_config::Route)> {
        let mut routes = self.routes.iter().zip(&self.config.routes);
        routes.find(|(_, section)| section.name.as_str() == name)
    }
}

/// What schedulers and their pools are made of.
struct Making<'a> {
    loader: &'a Loader,
    supply: &'a Supply,
    config: &'a Config,
    schedulers: &'a Shelf,
}

impl Making<'_> {
    /// The scheduler's generation: the one that rules already, where its section is as it was.
    fn scheduler(
        &self,
        name: &str,
        former: Option<&Assembled>,
    ) -> Result<Arc<Generation>, AssembleError> {
        let section = scheduler_of(self.config, name)
            .ok_or_else(|| AssembleError::Other(format!("there is no scheduler {name}")))?;
        if let Some(former) = former
            && scheduler_of(&former.config, name) == Some(section)
            && self.schedulers.take_over(&former.schedulers, name)
            && let Some(generation) = self.schedulers.get(name)
        {
            return Ok(generation);
        }
        let generation = plugins::load_scheduler(self.loader, self.supply, name, section)?;
        let life = plugins::life_of_scheduler(section);
        self.schedulers.begin_life(life, generation.clone());
        Ok(generation)
    }

    fn crew(
        &self,
        scheduler: Option<&str>,
        generation: Option<Arc<Generation>>,
        limits: Limits,
        clock: Clock,
        bell: &Arc<Notify>,
    ) -> Result<(Crew, tollgate_dispatch::pool::Timer<Member>), AssembleError> {
        let mut spec = PoolSpec {
            limits,
            ..PoolSpec::default()
        };
        if let Some(limits) = scheduler.and_then(|name| scheduler_limits(self.config, name)) {
            spec.step = Some(limits.step.get()).filter(|step| !step.is_zero());
            spec.backoff = Backoff {
                first: micros(limits.backoff.get()),
                longest: micros(limits.longest_backoff.get()),
            };
        }
        let source = generation.clone().map(|generation| {
            Arc::new(plugins::policies(generation))
                as Arc<dyn tollgate_dispatch::pool::PolicySource>
        });
        let name = scheduler.unwrap_or("built-in");
        let overseer = Arc::new(Overseer::new(name, generation, bell.clone()));
        let (pool, timer) = Pool::new(spec, source, clock, overseer.clone()).map_err(other)?;
        Ok((Crew { pool, overseer }, timer))
    }
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
    door: Option<Door>,
    crew: &Crew,
    held: &Arc<Budget>,
    former: Option<(&Arc<Route>, &tollgate_config::Route)>,
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
        door,
        limits: RouteLimits {
            body: limits.body.get_u64(),
            message: limits.message.get_u64(),
            retry_body: limits.retry_body.get_u64(),
            timeout: limits.timeout.get(),
            concurrency: limits.concurrency.get(),
            event_buffer: limits.event_buffer.get(),
            attempts: route.retry.attempts.get_u32(),
        },
        // What has been counted goes on counting, where the bounds are as they were.
        retries: match former {
            Some((former, section)) if section.retry == route.retry => {
                former.spec().retries.clone()
            }
            _ => Arc::new(Retries::new(
                route.retry.percent.get() as u64,
                route.retry.reserve.get() as u64,
            )),
        },
        budgets: Budgets::new(
            budget(
                limits.request_memory.get_u64(),
                former.map(|(former, _)| former.spec().budgets.route()),
            ),
            held.clone(),
        ),
        queue: match former {
            Some((former, section)) if section.queue == route.queue => former.spec().queue.clone(),
            _ => Arc::new(queue(route)?),
        },
        pool: crew.pool.clone(),
        cors: pages::cors(route).map_err(other)?,
        payloads: None,
    })
}

fn queue(route: &tollgate_config::Route) -> Result<Queue, AssembleError> {
    Queue::new(QueueSpec {
        requests: route.queue.requests.get(),
        bytes: route.queue.bytes.get_u64(),
        timeout: route.queue.timeout.get(),
        workerless_timeout: route.queue.workerless_timeout.get(),
        model_requests: route.queue.model_requests.map(|most| most.get()),
        model_bytes: route.queue.model_bytes.map(|most| most.get_u64()),
    })
    .map_err(other)
}
