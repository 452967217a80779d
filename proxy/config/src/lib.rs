//! The configuration: read from YAML into types that can hold no invalid value, or refused with
//! every problem at its line and column.
//!
//! 1. `yaml` makes a tree whose nodes know their positions (saphyr-parser).
//! 2. References to the environment and to files are put in (`references`).
//! 3. Each section's file declares its struct once; `section` makes of that declaration the
//!    decoder and the JSON Schema. Ranges and forms are properties of the types in `scalar` and `hosts`.
//! 4. `check` looks at what no single section can know: names that must be unique, references that
//!    must exist, routes that cannot be told apart.
//!
//! [`Config::load`] is the one place that reads files and the environment, but for those that options name, which
//! [`Options::read`] reads again at every load; everything else takes the plain structs.
//!
//! Lengths of time and instants are read by humantime, nearest words found by strsim, the schema's
//! frame made by schemars.

#![forbid(unsafe_code)]

mod authentication;
mod changes;
mod check;
mod cluster;
mod config;
mod cors;
mod discovery;
mod explain;
mod files;
mod hosts;
mod limits;
mod listeners;
mod matching;
mod options;
mod payloads;
mod plugins;
mod problem;
mod process;
mod references;
mod registries;
mod routes;
mod scalar;
mod secrets;
mod section;
mod sink;
mod telemetry;
mod tenants;
pub mod tokens;
mod trust;
mod words;
mod workers;
mod yaml;

pub use authentication::{
    Access, Authentication, CertificateName, CertificateRule, Claims, IssuerKeys, Jwt, Kubernetes,
    SignatureAlgorithm, UserRule,
};
pub use changes::{Change, changes, fixed};
pub use cluster::{ClusterApi, ClusterDiscovery, ClusterObjects, ClusterRuntime, Selector};
pub use config::{Config, Loaded, schema};
pub use cors::{Cors, CorsMethod, HeaderWord, Origin};
pub use discovery::{
    Discovery, DnsDiscovery, DnsRecords, FileDiscovery, ListedWorker, Sought, WorkerList,
};
pub use explain::explain;
pub use hosts::{HostPattern, PathPrefix};
pub use limits::{
    Amount, Away, LimitStore, Limits, ModelLimits, Quota, QuotaWindow, Rate, StoreAddress,
    TenantLimits,
};
pub use listeners::{Certificate, Demand, Listener, ListenerClients, ListenerLimits, ListenerTls};
pub use matching::{Match, match_order};
pub use options::{Options, OptionsError};
pub use payloads::{PayloadContent, PayloadLog, PayloadMode};
pub use plugins::{
    Canary, Isolation, OnError, Plugin, PluginLimits, Quarantine, Scheduler, SchedulerLimits,
    Source,
};
pub use problem::{Errors, Position, Problem};
pub use process::{Admin, Drain, FromElsewhere, Log, LogFormat, LogLevel, Runtime, Tokens};
pub use registries::{Reference, Registries, RegistryHost};
pub use routes::{Auth, Queue, Retry, Route, RouteLimits, TOKENS, VisibleModel, VisibleModels};
pub use scalar::{Count, FilePath, Invalid, ModelName, Name, Period, Size};
pub use secrets::Secrets;
pub use sink::Endpoint;
pub use telemetry::{Attribute, Followed, MetricsExport, Otlp, Share, Telemetry, Traces};
pub use tenants::Tenant;
pub use trust::{Trust, TrustedKey, Unsigned};
pub use words::{KeyPlace, NamePattern, Pointer, Text, WebAddress};
pub use workers::{
    Connections, Ejection, Model, NetworkAddress, Probe, ProbeSettings, Scheme, ServerName, Worker,
    WorkerAddress, WorkerTls,
};
