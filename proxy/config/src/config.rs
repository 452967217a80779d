//! The configuration as a whole.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use schemars::generate::SchemaSettings;
use serde_json::Value;

use crate::check::check;
use crate::files::check_files;
use crate::listeners::Listener;
use crate::plugins::{Plugin, Scheduler};
use crate::problem::{Errors, Problem};
use crate::process::{Admin, Drain, Log, Runtime, Tokens};
use crate::registries::Registries;
use crate::routes::Route;
use crate::scalar::{MIB, Name};
use crate::section::{Context, Decode, section};
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
        /// The tokens. Absent: every route must be open.
        pub tokens: Option<Tokens> = None,
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
        /// How the process ends.
        pub drain: Drain = Drain::default(),
        /// What the process runs on.
        pub runtime: Runtime = Runtime::default(),
        /// What the process says.
        pub log: Log = Log::default(),
    }
}

impl Config {
    /// Reads a configuration and looks at the files that it names: certificates and keys, the
    /// tokens, component files.
    ///
    /// # Errors
    /// Everything that is wrong, each with its place.
    pub fn load(path: &Path) -> Result<Self, Errors> {
        let (config, root) = parse(&read(path)?, path)?;
        Errors::check(check_files(&config, &root, path))?;
        Ok(config)
    }

    /// Reads a text without looking at any file; `origin` is the file that problems name, and
    /// relative paths begin at its folder.
    ///
    /// # Errors
    /// Everything that is wrong with the text, each with its place.
    pub fn parse(text: &str, origin: &Path) -> Result<Self, Errors> {
        parse(text, origin).map(|(config, _)| config)
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

fn parse(text: &str, origin: &Path) -> Result<(Config, Node), Errors> {
    let root = yaml::parse(text, origin)?;
    let mut cx = Context::new(origin);
    let config = Config::decode(&root, &mut cx);
    if let Some(config) = &config {
        check(config, &root, &mut cx);
    }
    Errors::check(cx.problems)?;
    let config = config.ok_or_else(|| Problem::new(origin, None, "this is no configuration"))?;
    Ok((config, root))
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
