//! A scheduler for runtimes that do not batch by themselves: it makes the batches.
//!
//! By default nobody waits beside a free worker; with a delay, a batch may wait for company while
//! company is to be expected and every deadline allows it. How long batches take is learned from
//! those that end. `serde_json` reads the options.

mod curve;
mod gather;
mod hope;
mod options;
mod policy;
mod rhythm;
mod running;

pub use options::Options;
pub use policy::DynamicBatch;

use tollgate_sdk_scheduler::{Policy, Scheduler, export_scheduler, manifest, plugin};

/// The configured plugin.
pub struct Plugin {
    options: Options,
}

impl Scheduler for Plugin {
    fn manifest() -> plugin::Manifest {
        manifest(
            "dynamic-batch",
            env!("CARGO_PKG_VERSION"),
            env!("CARGO_PKG_DESCRIPTION"),
            options::SCHEMA,
        )
    }

    fn configure(options: &str) -> Result<Self, Vec<plugin::Problem>> {
        let options = Options::read(options)?;
        Ok(Self { options })
    }

    fn policy(&self) -> Box<dyn Policy> {
        Box::new(DynamicBatch::new(self.options.clone()))
    }
}

export_scheduler!(Plugin);
