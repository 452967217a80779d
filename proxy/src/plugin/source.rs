//! Components as the command line names them.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use clap::Args;
use tollgate_plugin::{Generation, HostLimits, Limits, Loader, Mask, Order, Sandbox, TimeLimits};

use crate::bundled;

/// The bytes of FILE.wasm or `bundled:NAME`.
///
/// # Errors
/// When there is no such file or component.
pub(crate) fn read(source: &str) -> Result<Bytes, String> {
    match source.strip_prefix("bundled:") {
        Some(name) => bundled::component(name)
            .map(Bytes::from_static)
            .ok_or_else(|| {
                let names = bundled::names();
                format!("there is no bundled component {name}; this binary carries {names}")
            }),
        None => std::fs::read(source)
            .map(Bytes::from)
            .map_err(|error| format!("{source}: {error}")),
    }
}

/// A component, and what it may use: by default what the proxy gives it.
#[derive(Args)]
pub(super) struct Component {
    /// FILE.wasm, or `bundled:NAME`.
    pub(super) file: String,
    /// Largest linear memory of an instance, in MiB, as `limits.memory` of a plugin.
    #[arg(long, value_name = "MIB", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=4096))]
    memory: u32,
    /// Processor time of a call, in milliseconds, as `limits.cpu`; a larger one of large inputs.
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..=60_000))]
    cpu: Option<u64>,
}

impl Component {
    /// What its instances may use.
    pub(super) fn limits(&self) -> Limits {
        let usual = Limits::default();
        let time = match self.cpu.map(Duration::from_millis) {
            Some(cpu) => TimeLimits {
                cpu,
                cpu_large: cpu.max(usual.time.cpu_large),
                wall: (cpu * 20).max(usual.time.wall),
            },
            None => usual.time,
        };
        Limits {
            memory: self.memory as usize * (1 << 20),
            time,
            ..usual
        }
    }

    /// Loads it as the proxy would, with these options.
    pub(super) fn load(
        &self,
        loader: &Loader,
        options: &str,
    ) -> Result<Arc<Generation>, Box<dyn std::error::Error>> {
        load(loader, &self.file, options, self.limits())
    }

    /// A loader that has room for it.
    pub(super) fn loader(&self) -> Result<Loader, tollgate_plugin::EngineError> {
        loader(self.limits().memory)
    }
}

/// A loader as the proxy's, without a cache. `memory`: the largest that an instance may have.
///
/// # Errors
/// When there is no engine to be had here.
pub(crate) fn loader(memory: usize) -> Result<Loader, tollgate_plugin::EngineError> {
    let sandbox = Sandbox::new(HostLimits {
        memory: memory.max(HostLimits::default().memory),
        ..HostLimits::default()
    })?;
    Ok(Loader::new(sandbox, None))
}

/// Loads a component as the proxy would.
///
/// # Errors
/// What the loader has against it.
pub(crate) fn load(
    loader: &Loader,
    source: &str,
    options: &str,
    limits: Limits,
) -> Result<Arc<Generation>, Box<dyn std::error::Error>> {
    Ok(loader.load(Order {
        name: source.to_owned(),
        wasm: read(source)?,
        options: options.to_owned(),
        mask: Mask::default(),
        limits,
    })?)
}
