//! A scheduler for runtimes that batch by themselves: each request goes alone, to the worker with
//! the least outstanding work of two, unless one that has its beginning in its cache is not much
//! busier.
//!
//! A cap on what is under way at each worker keeps the queue here, where priority, deadlines and
//! the tenants' shares decide whose turn it is. `serde_json` reads the options.

mod affinity;
mod options;
mod policy;

pub use options::Options;
pub use policy::LeastLoaded;

use tollgate_sdk_scheduler::{Policy, Scheduler, export_scheduler, manifest, plugin};

/// The configured plugin.
pub struct Plugin {
    options: Options,
}

impl Scheduler for Plugin {
    fn manifest() -> plugin::Manifest {
        manifest(
            "least-loaded",
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
        Box::new(LeastLoaded::new(&self.options))
    }
}

export_scheduler!(Plugin);
