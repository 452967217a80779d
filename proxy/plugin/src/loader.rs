//! From bytes to a generation: digest, compile, type-check by trial, describe, configure, and try
//! each resource once.
//!
//! A component that imports anything outside its world is refused by name, and one that
//! speaks another version of the contract is refused with the difference in words:
//! which interfaces it lacks, which it has in another version, and what wasmtime said.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use sha2::{Digest, Sha256};
use wasmtime::component::{Component, Linker};

use crate::{
    alarm::Alarm,
    bindings::{compose, protocol, scheduler, worker},
    counters::Counters,
    engine::Sandbox,
    generation::{Generation, Kind},
    host::Guest,
    limits::Limits,
    manifest::{Claim, Manifest, Problem},
    precompiled::{self, Cache},
    rehearsal::{Rehearse, Stage},
    slot::{SlotPool, instantiate_bare, prepare},
    tap::{Recorder, Watch},
    world::World,
};

/// Why a component was not loaded. The generation in force stays.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Not a component at all.
    #[error("plugin {plugin}: not a WebAssembly component: {reason}")]
    NotAComponent {
        /// Its name in the configuration.
        plugin: String,
        /// What the compiler said.
        reason: String,
    },
    /// It fits no world of the contract.
    #[error(
        "plugin {plugin} does not fit the contract {}:{difference}",
        tollgate_contract::VERSION
    )]
    Contract {
        /// Its name in the configuration.
        plugin: String,
        /// One line a difference, each after a newline.
        difference: String,
    },
    /// It wants what no world gives.
    #[error("plugin {plugin} imports {import}, which is outside its world")]
    Import {
        /// Its name in the configuration.
        plugin: String,
        /// What it imports.
        import: String,
    },
    /// It trapped or passed a limit on trial.
    #[error("plugin {plugin} failed on trial, in {step}: {reason}")]
    Trial {
        /// Its name in the configuration.
        plugin: String,
        /// `instantiate`, `describe`, `configure`, or what was constructed.
        step: &'static str,
        /// Why.
        reason: String,
    },
    /// It refuses its options.
    #[error("plugin {plugin} refuses its options:{}", list(.problems))]
    Options {
        /// Its name in the configuration.
        plugin: String,
        /// What it said.
        problems: Vec<Problem>,
    },
}

fn list(problems: &[Problem]) -> String {
    problems
        .iter()
        .map(|problem| format!("\n  {problem}"))
        .collect()
}

/// What is to be loaded.
#[derive(Clone, Debug)]
pub struct Order {
    /// Name in the configuration.
    pub name: String,
    /// The component.
    pub wasm: bytes::Bytes,
    /// Options, as JSON.
    pub options: String,
    /// Bounds.
    pub limits: Limits,
}

/// Makes generations.
pub struct Loader {
    sandbox: Sandbox,
    cache: Option<Cache>,
    numbers: AtomicU64,
    watch: Watch,
    alarm: Alarm,
}

const PACKAGE: &str = "tollgate:plugin/";

impl Loader {
    /// A loader over an engine; with a cache, compiled code is kept there.
    #[must_use]
    pub fn new(sandbox: Sandbox, cache: Option<Cache>) -> Self {
        Self {
            sandbox,
            cache,
            numbers: AtomicU64::new(1),
            watch: Watch::default(),
            alarm: Alarm::default(),
        }
    }

    /// Has somebody watch what crosses the border of all that is loaded from now on.
    #[must_use]
    pub fn watched(mut self, recorder: Arc<dyn Recorder>) -> Self {
        self.watch = Watch(Some(recorder));
        self
    }

    /// Has `ring` called whenever a plugin of this loader has failed: from within a request, so
    /// that it must be quick. Who comes first stays.
    pub fn on_failure(&self, ring: impl Fn() + Send + Sync + 'static) {
        self.alarm.connect(Box::new(ring));
    }

    /// The engine.
    #[must_use]
    pub fn sandbox(&self) -> &Sandbox {
        &self.sandbox
    }

    /// Compiles and tries a component. Takes up to seconds: call it off the path.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub fn load(&self, order: Order) -> Result<Arc<Generation>, LoadError> {
        let digest = hex::encode(Sha256::digest(&order.wasm));
        let component =
            precompiled::component(&self.sandbox, self.cache.as_ref(), &digest, &order.wasm)
                .map_err(|error| LoadError::NotAComponent {
                    plugin: order.name.clone(),
                    reason: format!("{error:#}"),
                })?;
        let shape = Shape::of(&self.sandbox, &component);
        shape.check_imports(&order.name)?;
        let world = shape.world(&order.name)?;
        let trial = Trial {
            loader: self,
            order: &order,
            component: &component,
            shape: &shape,
        };
        let counters = Arc::new(Counters::default());
        let (manifest, claims, kind) = match world {
            WorldName::Protocol => {
                let (manifest, claims, pool) = trial.run::<protocol::Protocol>(&counters)?;
                (manifest, claims, Kind::Protocol(pool))
            }
            WorldName::Compose => {
                let (manifest, claims, pool) = trial.run::<compose::Compose>(&counters)?;
                (manifest, claims, Kind::Compose(pool))
            }
            WorldName::Scheduler => {
                let (manifest, claims, pool) = trial.run::<scheduler::Scheduler>(&counters)?;
                (manifest, claims, Kind::Scheduler(pool))
            }
            WorldName::Worker => {
                let (manifest, claims, pool) = trial.run::<worker::Worker>(&counters)?;
                (manifest, claims, Kind::Worker(pool))
            }
        };
        Ok(Arc::new(Generation {
            configured: Sha256::digest(&order.options).into(),
            name: order.name.into(),
            number: self.numbers.fetch_add(1, Ordering::Relaxed),
            digest,
            bypass: order.limits.bypass,
            manifest,
            claims,
            counters,
            kind,
            options: order.options.into(),
            watch: self.watch.clone(),
        }))
    }
}

#[derive(Clone, Copy)]
enum WorldName {
    Protocol,
    Compose,
    Scheduler,
    Worker,
}

/// Names of what a component imports and exports.
struct Shape {
    imports: Vec<String>,
    exports: Vec<String>,
}

impl Shape {
    fn of(sandbox: &Sandbox, component: &Component) -> Self {
        let engine = sandbox.engine();
        let shape = component.component_type();
        Self {
            imports: shape
                .imports(engine)
                .map(|(name, _)| name.to_owned())
                .collect(),
            exports: shape
                .exports(engine)
                .map(|(name, _)| name.to_owned())
                .collect(),
        }
    }

    fn check_imports(&self, plugin: &str) -> Result<(), LoadError> {
        match self.imports.iter().find(|name| !name.starts_with(PACKAGE)) {
            None => Ok(()),
            Some(import) => Err(LoadError::Import {
                plugin: plugin.to_owned(),
                import: import.clone(),
            }),
        }
    }

    fn exports(&self, interface: &str) -> bool {
        let wanted = format!("{PACKAGE}{interface}@{}", tollgate_contract::VERSION);
        self.exports.contains(&wanted)
    }

    fn world(&self, plugin: &str) -> Result<WorldName, LoadError> {
        const WORLDS: [(&str, &[&str], WorldName); 4] = [
            (
                "protocol",
                &["plugin", "frontend", "backend"],
                WorldName::Protocol,
            ),
            ("compose", &["plugin", "composition"], WorldName::Compose),
            ("scheduler", &["plugin", "scheduling"], WorldName::Scheduler),
            ("worker", &["plugin", "serving"], WorldName::Worker),
        ];
        if let Some((_, _, name)) = WORLDS
            .iter()
            .find(|(_, interfaces, _)| interfaces.iter().all(|name| self.exports(name)))
        {
            return Ok(*name);
        }
        let nearest = WORLDS
            .iter()
            .max_by_key(|(_, interfaces, _)| {
                interfaces
                    .iter()
                    .filter(|name| self.other_version(name).is_some() || self.exports(name))
                    .count()
            })
            .expect("there are worlds");
        let mut difference = format!("\n  it is nearest to the world `{}`", nearest.0);
        for interface in nearest.1 {
            if self.exports(interface) {
                continue;
            }
            difference.push_str(&match self.other_version(interface) {
                Some(version) => format!(
                    "\n  export {interface}: it has version {version}, this proxy links {}",
                    tollgate_contract::VERSION
                ),
                None => format!("\n  export {interface}: missing"),
            });
        }
        Err(LoadError::Contract {
            plugin: plugin.to_owned(),
            difference,
        })
    }

    fn other_version(&self, interface: &str) -> Option<&str> {
        self.exports.iter().find_map(|name| {
            let (found, version) = name.strip_prefix(PACKAGE)?.split_once('@')?;
            (found == interface && version != tollgate_contract::VERSION).then_some(version)
        })
    }
}

struct Trial<'a> {
    loader: &'a Loader,
    order: &'a Order,
    component: &'a Component,
    shape: &'a Shape,
}

type Tried<W> = (Manifest, Vec<Claim>, Arc<SlotPool<W>>);

impl Trial<'_> {
    fn run<W: World + Rehearse>(&self, counters: &Arc<Counters>) -> Result<Tried<W>, LoadError> {
        let plugin: Arc<str> = self.order.name.as_str().into();
        let sandbox = &self.loader.sandbox;
        let limits = &self.order.limits;
        let mut linker = Linker::<Guest>::new(sandbox.engine());
        let pre = W::link(&mut linker)
            .and_then(|()| linker.instantiate_pre(self.component))
            .and_then(W::pre)
            .map_err(|error| self.contract(&error))?;
        // `InstancePre` alone does not check the types of exported functions: only an
        // instance does.
        let (mut store, world) = instantiate_bare::<W>(sandbox, &pre, &plugin, limits, counters)
            .map_err(|error| self.contract(&error))?;
        let _running = prepare(&mut store, limits, true);
        let manifest = world
            .describe(&mut store)
            .map_err(|error| self.failed("describe", &error))?;
        let _running = prepare(&mut store, limits, true);
        let claims = world
            .configure(&mut store, &self.order.options)
            .map_err(|error| self.failed("configure", &error))?
            .map_err(|problems| LoadError::Options {
                plugin: self.order.name.clone(),
                problems,
            })?;
        let stage = Stage {
            limits,
            manifest: &manifest,
            claims: &claims,
        };
        world
            .rehearse(&mut store, &stage)
            .map_err(|(step, error)| self.failed(step, &error))?;
        let pool = SlotPool::new(
            plugin,
            sandbox.clone(),
            pre,
            self.order.options.as_str().into(),
            limits.clone(),
            counters.clone(),
            self.loader.alarm.clone(),
        );
        Ok((manifest, claims, pool))
    }

    fn contract(&self, error: &wasmtime::Error) -> LoadError {
        let causes: String = error.chain().map(|cause| format!("\n  {cause}")).collect();
        // A start function that traps is no matter of types.
        if error.is::<wasmtime::Trap>() || error.is::<crate::budget::Spent>() {
            return self.failed("instantiate", error);
        }
        LoadError::Contract {
            plugin: self.order.name.clone(),
            difference: format!("{causes}\n  it exports {}", self.shape.exports.join(", ")),
        }
    }

    fn failed(&self, step: &'static str, error: &wasmtime::Error) -> LoadError {
        LoadError::Trial {
            plugin: self.order.name.clone(),
            step,
            reason: error.root_cause().to_string(),
        }
    }
}
