//! The configuration: read from YAML into types that can hold no invalid value, or refused with
//! every problem at its line and column.
//!
//! 1. `yaml` makes a tree whose nodes know their positions (saphyr-parser).
//! 2. Each section's file declares its struct once; `section` makes of that declaration the
//!    decoder and the JSON Schema. Ranges and forms are properties of the types in `scalar` and `hosts`.
//! 3. `check` looks at what no single section can know: names that must be unique, references that
//!    must exist, routes that cannot be told apart.
//!
//! [`Config::load`] is the one place that reads files, but for those that options name, which
//! [`Options::read`] reads again at every load; everything else takes the plain structs.
//!
//! Lengths of time and instants are read by humantime, nearest words found by strsim, the schema's
//! frame made by schemars.

#![forbid(unsafe_code)]

mod check;
mod config;
mod discovery;
mod explain;
mod files;
mod hosts;
mod listeners;
mod matching;
mod options;
mod plugins;
mod problem;
mod process;
mod registries;
mod routes;
mod scalar;
mod section;
pub mod tokens;
mod trust;
mod workers;
mod yaml;

pub use config::{Config, schema};
pub use discovery::{
    Discovery, DnsDiscovery, DnsRecords, FileDiscovery, ListedWorker, Sought, WorkerList,
};
pub use explain::explain;
pub use hosts::{HostPattern, PathPrefix};
pub use listeners::{Certificate, Listener, ListenerLimits, ListenerTls};
pub use matching::{Match, match_order};
pub use options::{Options, OptionsError};
pub use plugins::{
    Canary, Isolation, OnError, Plugin, PluginLimits, Quarantine, Scheduler, SchedulerLimits,
    Source,
};
pub use problem::{Errors, Position, Problem};
pub use process::{Admin, Drain, Log, LogFormat, LogLevel, Runtime, Tokens};
pub use registries::{Reference, Registries, RegistryHost};
pub use routes::{Auth, Queue, Retry, Route, RouteLimits, VisibleModel, VisibleModels};
pub use scalar::{Count, FilePath, Invalid, ModelName, Name, Period, Size};
pub use trust::{Trust, TrustedKey, Unsigned};
pub use workers::{
    Connections, Ejection, Model, NetworkAddress, Probe, ProbeSettings, Scheme, ServerName, Worker,
    WorkerAddress, WorkerTls,
};
