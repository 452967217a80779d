//! From the configuration's plugins and schedulers to generations: what is loaded, within which
//! bounds, and on which terms it lives.

use std::sync::Arc;

use bytes::Bytes;
use tollgate_config::{
    Config, Discovery, Isolation, Name, OnError, Options, OptionsError, Plugin, PluginLimits,
    Quarantine, Scheduler, Secrets, Source, Worker, WorkerAddress, tokens::Digest,
};
use tollgate_dispatch::policy::{Policy, PolicyGone};
use tollgate_plugin::{
    Cache, CacheError, CanarySpec, CanarySpecError, EngineError, Generation, GuestPolicy, Hide,
    HostLimits, LifeSpec, Limits, LoadError, Loader, Mask, Order, QuarantineSpec, Sandbox,
    TimeLimits,
};

use crate::supply::{Supply, SupplyError};

/// A plugin cannot be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PluginError {
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Cache(#[from] CacheError),
    #[error("{kind} {name} ({source_of_it}): {error}")]
    Supply {
        kind: &'static str,
        name: String,
        source_of_it: String,
        // Boxed: it is the largest there is.
        error: Box<SupplyError>,
    },
    #[error("{kind} {name}: options: {error}")]
    Options {
        kind: &'static str,
        name: String,
        error: OptionsError,
    },
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(
        "plugins.{name}.limits.memory takes a restart: {wanted} is more than the sandbox was made for"
    )]
    Memory { name: String, wanted: String },
    #[error(
        "{kind} {name} is a component of the world {world}: schedulers stand in `schedulers`, and \
         every other component in `plugins`"
    )]
    World {
        kind: &'static str,
        name: String,
        world: &'static str,
    },
}

/// The loader for a configuration.
pub(crate) fn loader(config: &Config) -> Result<Loader, PluginError> {
    let largest = config
        .plugins
        .values()
        .map(|plugin| plugin.limits.memory.get())
        .max()
        .unwrap_or_default()
        .max(HostLimits::default().memory);
    let sandbox = Sandbox::new(HostLimits {
        memory: largest,
        ..HostLimits::default()
    })?;
    let cache = config
        .runtime
        .cache_dir
        .as_ref()
        .map(|folder| Cache::open(folder.as_ref(), config.runtime.cache_size.get_u64()))
        .transpose()?;
    Ok(Loader::new(sandbox, cache))
}

/// Whether the plugins of a configuration fit into the sandbox of one that serves.
pub(crate) fn fits(loader: &Loader, config: &Config) -> Result<(), PluginError> {
    let most = loader.sandbox().memory();
    let too_large = |(_, plugin): &(_, &Plugin)| plugin.limits.memory.get() > most;
    match config.plugins.iter().find(too_large) {
        None => Ok(()),
        Some((name, plugin)) => Err(PluginError::Memory {
            name: name.to_string(),
            wanted: plugin.limits.memory.to_string(),
        }),
    }
}

/// Loads all plugins of a configuration, several at once.
pub(crate) fn load_all(
    loader: &Loader,
    supply: &Supply,
    config: &Config,
) -> Result<Vec<Arc<Generation>>, PluginError> {
    let load = |name: &str, plugin| load_plugin(loader, supply, name, plugin);
    let generations = std::thread::scope(|scope| {
        let plugins = config.plugins.iter();
        let loading: Vec<_> = plugins
            .map(|(name, plugin)| scope.spawn(move || load(name.as_str(), plugin)))
            .collect();
        loading
            .into_iter()
            .map(|thread| thread.join().expect("loading does not panic"))
            .collect::<Result<Vec<_>, _>>()
    })?;
    for generation in &generations {
        if generation.world() == "scheduler" {
            return Err(PluginError::World {
                kind: "plugin",
                name: generation.name().to_string(),
                world: generation.world(),
            });
        }
    }
    Ok(generations)
}

/// Loads one scheduler.
pub(crate) fn load_scheduler(
    loader: &Loader,
    supply: &Supply,
    name: &str,
    scheduler: &tollgate_config::Scheduler,
) -> Result<Arc<Generation>, PluginError> {
    let options = read(&scheduler.options, "scheduler", name)?;
    let order = Order {
        name: name.to_owned(),
        wasm: wasm(
            supply,
            "scheduler",
            name,
            &scheduler.source,
            scheduler.sha256.as_ref(),
        )?,
        mask: Mask::new(hide(scheduler.options.secrets(&options))),
        options,
        limits: Limits::default(),
    };
    let generation = loader.load(order)?;
    if generation.world() != "scheduler" {
        return Err(PluginError::World {
            kind: "scheduler",
            name: name.to_owned(),
            world: generation.world(),
        });
    }
    Ok(generation)
}

/// Makes policies of a scheduler generation.
pub(crate) fn policies(
    generation: Arc<Generation>,
) -> impl Fn() -> Result<Box<dyn Policy>, PolicyGone> + Send + Sync {
    move || {
        GuestPolicy::new(&generation)
            .map(|policy| Box::new(policy) as Box<dyn Policy>)
            .map_err(|error| PolicyGone {
                reason: error.to_string(),
            })
    }
}

/// Loads one plugin. Takes up to seconds: off the path.
pub(crate) fn load_plugin(
    loader: &Loader,
    supply: &Supply,
    name: &str,
    plugin: &Plugin,
) -> Result<Arc<Generation>, PluginError> {
    Ok(loader.load(order(supply, name, plugin)?)?)
}

/// What a plugin may not tell anybody, whatever it says: the secrets of the options that it is handed, its
/// own (as they were `read`) and those of the workers that it speaks to. None: there are none.
pub(crate) fn secrets(
    configs: &[&Config],
    name: &str,
    own: &Options,
    read: &str,
) -> Option<Arc<Hide>> {
    let mut secrets = own.secrets(read);
    let workers = configs.iter().flat_map(|config| &config.workers);
    for (_, options) in workers.flat_map(told).filter(|(it, _)| it.as_str() == name) {
        // A file that cannot be read is missed by who makes the worker.
        if let Ok(read) = options.read() {
            secrets = secrets.and(options.secrets(&read));
        }
    }
    hide(secrets)
}

fn hide(secrets: Secrets) -> Option<Arc<Hide>> {
    match secrets.is_empty() {
        true => None,
        false => Some(Arc::new(move |text: &str| secrets.masked(text))),
    }
}

/// Who is told which options of a worker, or of the runtimes that it may turn out to have.
pub(crate) fn told(worker: &Worker) -> impl Iterator<Item = (&Name, &Options)> {
    let own = match &worker.address {
        WorkerAddress::Component(name) => Some(name),
        _ => worker.protocol.as_ref(),
    };
    let cluster = match &worker.address {
        WorkerAddress::Discovered(Discovery::Cluster(cluster)) => Some(cluster),
        _ => None,
    };
    let runtimes = cluster.into_iter().flat_map(|it| it.runtimes.values());
    own.map(|name| (name, &worker.options))
        .into_iter()
        .chain(runtimes.map(|it| (&it.protocol, &it.options)))
}

/// How long things last in a plugin's life.
pub(crate) fn life_of(plugin: &Plugin) -> LifeSpec {
    LifeSpec {
        probation: plugin.probation.get(),
        drain: plugin.drain.get(),
    }
}

/// The same of a scheduler. Its instances serve nothing that could drain.
pub(crate) fn life_of_scheduler(scheduler: &Scheduler) -> LifeSpec {
    LifeSpec {
        probation: scheduler.probation.get(),
        ..LifeSpec::default()
    }
}

/// The terms of a plugin's canary: the configured ones, or with another share. None: it is in
/// force at once.
pub(crate) fn canary(
    plugin: &Plugin,
    percent: Option<u32>,
) -> Result<Option<CanarySpec>, CanarySpecError> {
    let terms = match (&plugin.canary, percent) {
        (None, None) | (_, Some(0)) => return Ok(None),
        (Some(canary), _) => canary.clone(),
        (None, Some(_)) => tollgate_config::Canary::default(),
    };
    CanarySpec::new(
        percent.unwrap_or(terms.percent.get_u32()),
        terms.hold.get(),
        terms.exchanges.get() as u64,
        terms.traps.get() as u64,
        terms.errors.get() as u64,
    )
    .map(Some)
}

fn read(options: &Options, kind: &'static str, name: &str) -> Result<String, PluginError> {
    options.read().map_err(|error| PluginError::Options {
        kind,
        name: name.to_owned(),
        error,
    })
}

fn order(supply: &Supply, name: &str, plugin: &Plugin) -> Result<Order, PluginError> {
    let limits = Limits {
        bypass: matches!(plugin.on_error, OnError::Bypass),
        ..limits(&plugin.limits, &plugin.quarantine)
    };
    let options = read(&plugin.options, "plugin", name)?;
    let secrets = secrets(&[supply.config()], name, &plugin.options, &options);
    Ok(Order {
        name: name.to_owned(),
        wasm: wasm(
            supply,
            "plugin",
            name,
            &plugin.source,
            plugin.sha256.as_ref(),
        )?,
        options,
        mask: Mask::new(secrets),
        limits: match plugin.isolation {
            Isolation::Shared => limits,
            Isolation::Exchange => limits.isolated(),
        },
    })
}

fn wasm(
    supply: &Supply,
    kind: &'static str,
    name: &str,
    source: &Source,
    pin: Option<&Digest>,
) -> Result<Bytes, PluginError> {
    supply
        .component(source, pin)
        .map_err(|error| PluginError::Supply {
            kind,
            name: name.to_owned(),
            source_of_it: source.to_string(),
            error: Box::new(error),
        })
}

fn limits(limits: &PluginLimits, quarantine: &Quarantine) -> Limits {
    Limits {
        memory: limits.memory.get(),
        keep_memory: limits.keep_memory.get(),
        output: limits.output.get(),
        time: TimeLimits {
            cpu: limits.cpu.get(),
            cpu_large: limits.cpu_large.get(),
            wall: limits.wall.get(),
        },
        per_slot: limits.exchanges_per_slot.get(),
        slots: limits.slots.get(),
        quarantine: QuarantineSpec {
            traps: quarantine.traps.get() as u64,
            percent: quarantine.percent.get() as u64,
            window: quarantine.window.get(),
            first: quarantine.first.get(),
            longest: quarantine.longest.get(),
        },
        ..Limits::default()
    }
}
