//! The `scheduler` world: decides who goes where, and when.
//!
//! Beside the bindings and the macro that makes a component there is what policies share: the
//! [`Desk`](desk::Desk) keeps a policy's copy of the truth, and its parts are of use alone.

pub mod desk;
pub mod fair;
pub mod flights;
pub mod ledger;
pub mod pins;
pub mod recent;
pub mod roster;
pub mod waiting;

/// Generated from `wit/`.
#[allow(clippy::all, missing_docs, unreachable_pub)]
pub mod bindings {
    wit_bindgen::generate!({
        path: "../../../wit",
        world: "scheduler",
        pub_export_macro: true,
        default_bindings_module: "tollgate_sdk_scheduler::bindings",
        additional_derives: [PartialEq, Clone],
    });
}

pub use bindings::exports::tollgate::plugin::{plugin, scheduling};
pub use bindings::tollgate::plugin::{log, types};
pub use tollgate_contract::panics;

/// The policy of one pool of workers. See `wit/scheduling.wit`.
pub trait Policy {
    /// Takes a page of the truth, when this policy takes over.
    fn restore(&mut self, now: u64, page: scheduling::Page);
    /// Takes what has happened, answers what is to be done.
    fn step(&mut self, now: u64, events: Vec<scheduling::Event>) -> Vec<scheduling::Action>;
}

/// A configured scheduler plugin.
pub trait Scheduler: Sized + 'static {
    /// Constant.
    fn manifest() -> plugin::Manifest;
    /// Reads the options (JSON).
    fn configure(options: &str) -> Result<Self, Vec<plugin::Problem>>;
    /// A policy for one pool.
    fn policy(&self) -> Box<dyn Policy>;
}

/// The manifest of a scheduler: it has no dialects, tasks or claims.
#[must_use]
pub fn manifest(
    name: &str,
    version: &str,
    description: &str,
    options_schema: &str,
) -> plugin::Manifest {
    plugin::Manifest {
        name: name.into(),
        version: version.into(),
        description: description.into(),
        dialects: Vec::new(),
        tasks: Vec::new(),
        options_schema: options_schema.into(),
        descriptors: Vec::new(),
        read_headers: Vec::new(),
        strip_headers: Vec::new(),
        telemetry: Vec::new(),
        worker_metrics: Vec::new(),
        errors: Vec::new(),
        lowerings: Vec::new(),
        extensions: Vec::new(),
    }
}

/// Something is wrong with the options, at a JSON pointer.
#[must_use]
pub fn problem(at: &str, message: impl Into<String>) -> Vec<plugin::Problem> {
    vec![plugin::Problem {
        at: at.into(),
        message: message.into(),
    }]
}

/// Makes a component of a [`Scheduler`].
#[macro_export]
macro_rules! export_scheduler {
    ($plugin:ty) => {
        #[cfg(target_arch = "wasm32")]
        mod tollgate_component {
            use super::*;
            use ::std::{cell::RefCell, sync::OnceLock};
            use $crate::{Policy, Scheduler, bindings, plugin, scheduling};

            struct Component;
            static CONFIGURED: OnceLock<$plugin> = OnceLock::new();

            impl plugin::Guest for Component {
                fn describe() -> plugin::Manifest {
                    <$plugin as Scheduler>::manifest()
                }
                fn configure(
                    options: String,
                ) -> Result<Vec<plugin::Claim>, Vec<plugin::Problem>> {
                    $crate::panics::tell(|place| {
                        $crate::log::write($crate::log::Level::Error, place);
                    });
                    let _ = CONFIGURED.set(<$plugin as Scheduler>::configure(&options)?);
                    Ok(Vec::new())
                }
            }

            pub struct Pool(RefCell<Box<dyn Policy>>);

            impl scheduling::Guest for Component {
                type Policy = Pool;
            }

            impl scheduling::GuestPolicy for Pool {
                fn new() -> Self {
                    let plugin =
                        CONFIGURED.get().expect("configure comes before everything else");
                    Pool(RefCell::new(plugin.policy()))
                }
                fn restore(&self, now: u64, page: scheduling::Page) {
                    self.0.borrow_mut().restore(now, page)
                }
                fn step(
                    &self,
                    now: u64,
                    events: Vec<scheduling::Event>,
                ) -> Vec<scheduling::Action> {
                    self.0.borrow_mut().step(now, events)
                }
            }

            bindings::export!(Component with_types_in bindings);
        }
    };
}
