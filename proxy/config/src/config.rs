//! The configuration as a whole.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use schemars::generate::SchemaSettings;
use serde_json::Value;

use crate::authentication::Authentication;
use crate::check::check;
use crate::files::check_files;
use crate::limits::Limits;
use crate::listeners::Listener;
use crate::plugins::{Plugin, Scheduler};
use crate::problem::{Errors, Problem};
use crate::process::{Admin, Drain, Log, Runtime, Tokens};
use crate::references::{self, Surroundings};
use crate::registries::Registries;
use crate::routes::Route;
use crate::scalar::{MIB, Name};
use crate::section::{Context, Decode, section};
use crate::telemetry::Telemetry;
use crate::tenants::Tenant;
use crate::trust::Trust;
use crate::workers::Worker;
use crate::yaml::{self, Node};

/// Larger files are refused: what a person keeps is far smaller.
const MAX_FILE: u64 = 16 * MIB;

section! {
    /// A configuration of Tollgate. Unknown keys are refused. Lengths of time are written `250ms`,
    /// `5s`, `1m 30s`; sizes `512B`, `256KiB`, `16MiB`, `1GiB`; relative paths begin at the file's
    /// folder.
    #[name = "configuration"]
    pub struct Config {
        /// Where clients come in; at least one.
        pub listeners: Vec<Listener>,
        /// The port of operators. Absent: there is none.
        pub admin: Option<Admin> = None,
        /// The tokens. Absent: every route is open, or names other ways.
        pub tokens: Option<Tokens> = None,
        /// Other ways of telling who asks, by name. `tokens` is the name of the file's.
        pub authentication: BTreeMap<Name, Authentication> = BTreeMap::new(),
        /// What credentials of a tenant may use together, by the tenant's name. What is not said of
        /// one has no bound.
        pub tenants: BTreeMap<Name, Tenant> = BTreeMap::new(),
        /// Components that speak protocols, compose tasks or serve models, by name.
        pub plugins: BTreeMap<Name, Plugin> = BTreeMap::new(),
        /// Batching schedulers, by name.
        pub schedulers: BTreeMap<Name, Scheduler> = BTreeMap::new(),
        /// Whose components may run.
        pub trust: Trust = Trust::default(),
        /// How registries of components are reached.
        pub registries: Registries = Registries::default(),
        /// The model servers.
        pub workers: Vec<Worker> = Vec::new(),
        /// Who is served by what. The most particular host wins, then the longest prefix.
        pub routes: Vec<Route> = Vec::new(),
        /// What tenants may use that have no `limits` of their own, and where it is counted.
        pub limits: Limits = Limits::default(),
        /// How the process ends.
        pub drain: Drain = Drain::default(),
        /// What the process runs on.
        pub runtime: Runtime = Runtime::default(),
        /// What the process says.
        pub log: Log = Log::default(),
        /// Traces and metrics for a collector.
        pub telemetry: Telemetry = Telemetry::default(),
    }
}

/// A configuration, and where it stood.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What it says.
    pub config: Config,
    /// The file, and those that stand for values in it (`${file:…}`): what changes in one of them
    /// changes the configuration.
    pub files: Vec<PathBuf>,
}

impl Config {
    /// Reads a configuration and looks at the files that it names: certificates and keys, the
    /// tokens, component files. References are looked up in the process's environment and in files.
    ///
    /// # Errors
    /// Everything that is wrong, each with its place.
    pub fn load(path: &Path) -> Result<Self, Errors> {
        Self::load_with_files(path).map(|loaded| loaded.config)
    }

    /// As [`Config::load`], and tells what has to be read again when it has changed.
    ///
    /// # Errors
    /// Everything that is wrong, each with its place.
    pub fn load_with_files(path: &Path) -> Result<Loaded, Errors> {
        let parsed = parse(&read(path)?, path, &references::Process)?;
        Errors::check(check_files(&parsed.config, &parsed.root, path))?;
        let mut files = parsed.files;
        files.insert(0, path.to_owned());
        Ok(Loaded {
            config: parsed.config,
            files,
        })
    }

    /// Reads a text without looking at any file or at the environment, so that references are
    /// refused; `origin` is the file that problems name, and relative paths begin at its folder.
    ///
    /// # Errors
    /// Everything that is wrong with the text, each with its place.
    pub fn parse(text: &str, origin: &Path) -> Result<Self, Errors> {
        parse(text, origin, &references::Nowhere).map(|parsed| parsed.config)
    }

    /// A worker by its name.
    pub fn worker(&self, name: &Name) -> Option<&Worker> {
        self.workers.iter().find(|worker| worker.name == *name)
    }

    /// A listener by its name.
    pub fn listener(&self, name: &Name) -> Option<&Listener> {
        self.listeners
            .iter()
            .find(|listener| listener.name == *name)
    }
}

struct Parsed {
    config: Config,
    root: Node,
    /// Of references.
    files: Vec<PathBuf>,
}

fn parse(text: &str, origin: &Path, around: &impl Surroundings) -> Result<Parsed, Errors> {
    let mut root = yaml::parse(text, origin)?;
    let mut cx = Context::new(origin);
    let files = references::resolve(&mut root, around, &mut cx);
    // What follows from a value that is not there would only confuse.
    Errors::check(std::mem::take(&mut cx.problems))?;
    let config = Config::decode(&root, &mut cx);
    if let Some(config) = &config {
        check(config, &root, &mut cx);
    }
    Errors::check(cx.problems)?;
    let config = config.ok_or_else(|| Problem::new(origin, None, "this is no configuration"))?;
    Ok(Parsed {
        config,
        root,
        files,
    })
}

/// A file's text, at most [`MAX_FILE`] bytes.
pub(crate) fn read(path: &Path) -> Result<String, Problem> {
    let problem = |what: String| Problem::new(path, None, what);
    let unreadable = |error: std::io::Error| problem(format!("cannot be read: {error}"));
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let mut text = String::new();
    file.take(MAX_FILE + 1)
        .read_to_string(&mut text)
        .map_err(unreadable)?;
    match text.len() as u64 > MAX_FILE {
        true => Err(problem(format!("longer than {} MiB", MAX_FILE / MIB))),
        false => Ok(text),
    }
}

/// JSON Schema (draft 2020-12) of a configuration file.
pub fn schema() -> Value {
    let generator = SchemaSettings::draft2020_12().into_generator();
    generator.into_root_schema_for::<Config>().to_value()
}
