//! From the configuration's plugins and schedulers to generations: what is loaded, within which
//! bounds, and on which terms it lives.

use std::{path::Path, sync::Arc};

use bytes::Bytes;
use tollgate_config::{
    Config, Isolation, OnError, Options, OptionsError, Plugin, PluginLimits, Quarantine, Scheduler,
    Source,
};
use tollgate_dispatch::policy::{Policy, PolicyGone};
use tollgate_plugin::{
    Cache, CacheError, CanarySpec, CanarySpecError, EngineError, Generation, GuestPolicy,
    HostLimits, LifeSpec, Limits, LoadError, Loader, Order, QuarantineSpec, Sandbox, TimeLimits,
};

use crate::bundled;

/// A plugin cannot be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PluginError {
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Cache(#[from] CacheError),
    #[error("plugin {plugin}: there is no bundled component {name}; this binary carries {carried}")]
    NotBundled {
        plugin: String,
        name: String,
        carried: String,
    },
    #[error("plugin {plugin}: {path}: {error}")]
    Read {
        plugin: String,
        path: String,
        error: std::io::Error,
    },
    #[error("{kind} {name}: options: {error}")]
    Options {
        kind: &'static str,
        name: String,
        error: OptionsError,
    },
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error("{kind} {name} is a component of the world {world}")]
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
        .map(|folder| Cache::open(folder.as_ref()))
        .transpose()?;
    Ok(Loader::new(sandbox, cache))
}

/// Loads all plugins of a configuration, several at once.
pub(crate) fn load_all(
    loader: &Loader,
    config: &Config,
) -> Result<Vec<Arc<Generation>>, PluginError> {
    let orders = config
        .plugins
        .iter()
        .map(|(name, plugin)| order(name.as_str(), plugin))
        .collect::<Result<Vec<_>, _>>()?;
    let generations = std::thread::scope(|scope| {
        let loading: Vec<_> = orders
            .into_iter()
            .map(|order| scope.spawn(move || loader.load(order)))
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
    name: &str,
    scheduler: &tollgate_config::Scheduler,
) -> Result<Arc<Generation>, PluginError> {
    let generation = loader.load(Order {
        name: name.to_owned(),
        wasm: wasm(name, &scheduler.source)?,
        options: read(&scheduler.options, "scheduler", name)?,
        limits: Limits::default(),
    })?;
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
    name: &str,
    plugin: &Plugin,
) -> Result<Arc<Generation>, PluginError> {
    Ok(loader.load(order(name, plugin)?)?)
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

fn order(name: &str, plugin: &Plugin) -> Result<Order, PluginError> {
    let limits = Limits {
        bypass: matches!(plugin.on_error, OnError::Bypass),
        ..limits(&plugin.limits, &plugin.quarantine)
    };
    Ok(Order {
        name: name.to_owned(),
        wasm: wasm(name, &plugin.source)?,
        options: read(&plugin.options, "plugin", name)?,
        limits: match plugin.isolation {
            Isolation::Shared => limits,
            Isolation::Exchange => limits.isolated(),
        },
    })
}

fn wasm(plugin: &str, source: &Source) -> Result<Bytes, PluginError> {
    match source {
        Source::Bundled(name) => bundled::component(name.as_str())
            .map(Bytes::from_static)
            .ok_or_else(|| PluginError::NotBundled {
                plugin: plugin.to_owned(),
                name: name.to_string(),
                carried: bundled::names(),
            }),
        Source::File(path) => {
            let path: &Path = path.as_ref();
            std::fs::read(path)
                .map(Bytes::from)
                .map_err(|error| PluginError::Read {
                    plugin: plugin.to_owned(),
                    path: path.display().to_string(),
                    error,
                })
        }
    }
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
