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
    counters::{Counters, TrapKind},
    engine::Sandbox,
    foreign,
    generation::{Generation, Kind},
    host::Guest,
    limits::Limits,
    manifest::{Claim, Manifest, Problem},
    mask::Mask,
    precompiled::{self, Cache},
    rehearsal::{Rehearse, Stage},
    shape::{Shape, WorldName},
    slot::{SlotPool, classify, instantiate_bare, prepare},
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
    /// It wants what its world does not give.
    #[error("plugin {plugin} imports {import}, which is outside its world{advice}")]
    Import {
        /// Its name in the configuration.
        plugin: String,
        /// The first that it imports.
        import: String,
        /// What else it imports, and what to do; each on a line of its own.
        advice: String,
    },
    /// It trapped or passed a limit on trial.
    #[error("plugin {plugin} failed on trial, in {step}: {reason}\n  {advice}")]
    Trial {
        /// Its name in the configuration.
        plugin: String,
        /// `instantiate`, `describe`, `configure`, or what was constructed.
        step: &'static str,
        /// Why.
        reason: String,
        /// What to do.
        advice: &'static str,
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

impl LoadError {
    /// The same without what `mask` takes out of a plugin's own words. What is wrong before it is
    /// configured cannot tell of its options.
    #[must_use]
    fn masked(self, mask: impl Fn(&str) -> String) -> Self {
        match self {
            Self::Trial {
                plugin,
                step,
                reason,
                advice,
            } => Self::Trial {
                plugin,
                step,
                reason: mask(&reason),
                advice,
            },
            Self::Options { plugin, problems } => {
                let masked = |it: Problem| Problem {
                    at: mask(&it.at),
                    message: mask(&it.message),
                };
                let problems = problems.into_iter().map(masked).collect();
                Self::Options { plugin, problems }
            }
            earlier
            @ (Self::NotAComponent { .. } | Self::Contract { .. } | Self::Import { .. }) => earlier,
        }
    }
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
    /// What of them nobody may be told.
    pub mask: Mask,
    /// Bounds.
    pub limits: Limits,
}

/// Bytes that a manifest, or the claims, may have.
const MANIFEST: usize = 4 << 20;

/// What to do about a component that does not validate.
const DAMAGED: &str = "it is damaged or cut off, or uses what is not supported here: compare its \
     size and digest with its author's, and fetch or build it again (`wasm-tools validate` says \
     the same)";

/// Makes generations.
pub struct Loader {
    sandbox: Sandbox,
    cache: Option<Cache>,
    numbers: AtomicU64,
    alive: Arc<AtomicU64>,
    watch: Watch,
    alarm: Alarm,
}

impl Loader {
    /// A loader over an engine; with a cache, compiled code is kept there.
    #[must_use]
    pub fn new(sandbox: Sandbox, cache: Option<Cache>) -> Self {
        Self {
            sandbox,
            cache,
            numbers: AtomicU64::new(1),
            alive: Arc::default(),
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

    /// Where compiled code is kept, if it is.
    #[must_use]
    pub fn cache(&self) -> Option<&Cache> {
        self.cache.as_ref()
    }

    /// Generations in memory, those included that are loaded at this moment and those that are
    /// gone from their shelves and not yet from who serves with them.
    #[must_use]
    pub fn alive(&self) -> u64 {
        self.alive.load(Ordering::Relaxed)
    }

    fn compile(&self, plugin: &str, wasm: &[u8]) -> Result<(Component, Shape), LoadError> {
        let none = |reason: String| LoadError::NotAComponent {
            plugin: plugin.to_owned(),
            reason,
        };
        if let Some(reason) = foreign::name(wasm) {
            return Err(none(reason));
        }
        let digest = hex::encode(Sha256::digest(wasm));
        let component = precompiled::component(&self.sandbox, self.cache.as_ref(), &digest, wasm)
            .map_err(|error| {
            let said = format!("{error:#}");
            let advice = match is_too_large(&said) {
                true => MEMORY,
                false => DAMAGED,
            };
            none(format!("{said}\n  {advice}"))
        })?;
        let shape = Shape::of(&self.sandbox, &component);
        Ok((component, shape))
    }

    /// Names of what a component imports and exports. Compiles it.
    ///
    /// # Errors
    /// When it is none.
    pub fn names(
        &self,
        plugin: &str,
        wasm: &[u8],
    ) -> Result<(Vec<String>, Vec<String>), LoadError> {
        Ok(self.compile(plugin, wasm)?.1.into_names())
    }

    /// Compiles and tries a component. Takes up to seconds: call it off the path.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub fn load(&self, order: Order) -> Result<Arc<Generation>, LoadError> {
        let mask = order.mask.clone();
        self.tried(order)
            .map_err(|error| error.masked(|text| mask.text(text.to_owned())))
    }

    fn tried(&self, order: Order) -> Result<Arc<Generation>, LoadError> {
        let digest = hex::encode(Sha256::digest(&order.wasm));
        let (component, shape) = self.compile(&order.name, &order.wasm)?;
        shape.check_imports(&order.name)?;
        let world = shape.world(&order.name)?;
        shape.check_grants(&order.name, world)?;
        let trial = Trial {
            loader: self,
            order: &order,
            component: &component,
            shape: &shape,
        };
        let counters = Arc::new(Counters::among(&self.alive));
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
            mask: order.mask,
        }))
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
        let noting = (counters, &self.order.mask);
        let (mut store, world) = instantiate_bare::<W>(sandbox, &pre, &plugin, limits, noting)
            .map_err(|error| self.contract(&error))?;
        let _running = prepare(&mut store, limits, true);
        store.set_hostcall_fuel(limits.output.min(MANIFEST));
        let manifest = world
            .describe(&mut store)
            .map_err(|error| self.failed("describe", &error))?;
        let _running = prepare(&mut store, limits, true);
        store.set_hostcall_fuel(limits.output.min(MANIFEST));
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
            (self.order.options.as_str().into(), self.order.mask.clone()),
            limits.clone(),
            counters.clone(),
            self.loader.alarm.clone(),
        );
        Ok((manifest, claims, pool))
    }

    fn contract(&self, error: &wasmtime::Error) -> LoadError {
        let causes: String = error.chain().map(|cause| format!("\n  {cause}")).collect();
        // A start function that traps is no matter of types, and neither is a memory that is
        // larger than it may be.
        let too_large = is_too_large(&causes);
        let limited = matches!(classify(error), TrapKind::Time | TrapKind::Memory);
        if error.is::<wasmtime::Trap>() || limited || too_large {
            return self.failed("instantiate", error);
        }
        LoadError::Contract {
            plugin: self.order.name.clone(),
            difference: format!(
                "{causes}\n  it exports {}\n  build it against the contract of this proxy \
                 ({}), with its SDK",
                self.shape.exports(),
                tollgate_contract::VERSION
            ),
        }
    }

    fn failed(&self, step: &'static str, error: &wasmtime::Error) -> LoadError {
        let reason = error.root_cause().to_string();
        let large = is_too_large(&reason);
        let advice = match classify(error) {
            _ if large => MEMORY,
            TrapKind::Memory => MEMORY,
            TrapKind::Time => {
                "`limits.cpu-large` and `limits.wall` bound it: make it do less there (what is \
                 costly can wait for the first request), or raise them"
            }
            TrapKind::Output => {
                "a manifest, and a plugin's claims, may have 4 MiB and no more than \
                 `limits.output`: leave out what nobody reads, such as sources in descriptors"
            }
            TrapKind::Trap | TrapKind::Nonsense => {
                "it panicked, or hit `unreachable`, or ran out of stack: its own tests, run with \
                 these options, should show where"
            }
        };
        LoadError::Trial {
            plugin: self.order.name.clone(),
            step,
            reason,
            advice,
        }
    }
}

/// Whether a memory is said to be larger than it may be.
fn is_too_large(said: &str) -> bool {
    said.contains("memory") && said.contains("exceeds")
}

const MEMORY: &str = "`limits.memory` bounds it: build it with less (a smaller initial memory, no \
     large tables), or raise the limit";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugin_s_own_words_are_masked() {
        let trial = LoadError::Trial {
            plugin: "p".to_owned(),
            step: "configure",
            reason: "not sesame".to_owned(),
            advice: MEMORY,
        };
        let options = LoadError::Options {
            plugin: "p".to_owned(),
            problems: vec![Problem {
                at: "/sesame".to_owned(),
                message: "no sesame".to_owned(),
            }],
        };
        for error in [trial, options] {
            let masked = error.masked(|text| text.replace("sesame", "(masked)"));
            let told = masked.to_string();
            assert!(
                told.contains("(masked)") && !told.contains("sesame"),
                "{told}"
            );
        }
    }
}
