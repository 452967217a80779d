//! What no single section can know: names that must be unique, references that must exist, routes
//! that cannot be told apart, settings that contradict each other.

mod admin;
mod authentication;
mod limits;
mod routes;
mod telemetry;

use std::collections::HashMap;
use std::fmt::Display;
use std::hash::Hash;

use crate::config::Config;
use crate::discovery::Discovery;
use crate::plugins::{PluginLimits, Quarantine, SchedulerLimits, Source};
use crate::problem::suggest;
use crate::scalar::Name;
use crate::section::Context;
use crate::trust::Unsigned;
use crate::workers::{Connections, Ejection, Worker, WorkerAddress};
use crate::yaml::{Node, Step, steps};

pub(crate) fn check(config: &Config, root: &Node, cx: &mut Context<'_>) {
    let mut check = Check { config, root, cx };
    check.listeners();
    check.admin();
    check.plugins();
    check.trust();
    check.limits();
    check.authentication();
    for (index, worker) in config.workers.iter().enumerate() {
        check.worker(index, worker);
    }
    for (index, route) in config.routes.iter().enumerate() {
        check.route(index, route);
    }
    check.one_scheduler_a_worker();
    check.telemetry();
    check.ambiguous_routes();
    check.unique("worker", config.workers.iter().map(|w| &w.name), |i| {
        vec!["workers".into(), i.into(), "name".into()]
    });
    check.unique("route", config.routes.iter().map(|r| &r.name), |i| {
        vec!["routes".into(), i.into(), "name".into()]
    });
}

struct Check<'a, 'c> {
    config: &'a Config,
    root: &'a Node,
    cx: &'a mut Context<'c>,
}

impl<'a> Check<'a, '_> {
    fn refuse(&mut self, path: &[Step<'_>], what: impl Into<String>, hint: Option<String>) {
        let at = self.root.locate(path);
        self.cx.refuse::<()>(at, what, hint);
    }

    /// Complains about every value that was there before.
    fn unique<'i, T: Eq + Hash + Display + 'i>(
        &mut self,
        kind: &str,
        items: impl Iterator<Item = &'i T>,
        path: impl Fn(usize) -> Vec<Step<'static>>,
    ) {
        let mut seen = HashMap::new();
        for (index, item) in items.enumerate() {
            if let Some(first) = seen.get(item) {
                let line = self.root.locate(&path(*first)).line;
                self.refuse(
                    &path(index),
                    format!("a second {kind} `{item}`; the first is on line {line}"),
                    None,
                );
            } else {
                seen.insert(item, index);
            }
        }
    }

    /// Complains about a name that nothing has.
    fn exists<'n>(
        &mut self,
        kind: &str,
        name: &Name,
        known: impl Iterator<Item = &'n Name> + Clone,
        path: &[Step<'_>],
    ) {
        if known.clone().any(|known| known == name) {
            return;
        }
        let hint = suggest(name.as_str(), &format!("{kind}s"), known.map(Name::as_str));
        self.refuse(path, format!("there is no {kind} `{name}`"), hint);
    }

    fn listeners(&mut self) {
        let config = self.config;
        if config.listeners.is_empty() {
            self.refuse(steps!["listeners"], "at least one listener is needed", None);
        }
        self.unique("listener", config.listeners.iter().map(|l| &l.name), |i| {
            vec!["listeners".into(), i.into(), "name".into()]
        });
        // Port 0 is another port each time.
        let fixed = |(_, l): &(usize, &crate::listeners::Listener)| l.address.port() != 0;
        let mut taken = HashMap::new();
        for (index, listener) in config.listeners.iter().enumerate().filter(fixed) {
            if let Some(other) = taken.insert(listener.address, &listener.name) {
                let what = format!("{} is taken by listener `{other}`", listener.address);
                self.refuse(steps!["listeners", index, "address"], what, None);
            }
        }
        if let Some(other) = config
            .admin
            .as_ref()
            .and_then(|admin| taken.get(&admin.address))
        {
            self.refuse(
                steps!["admin", "address"],
                format!("this address is taken by listener `{other}`"),
                None,
            );
        }
        for (index, listener) in config.listeners.iter().enumerate() {
            if listener
                .tls
                .as_ref()
                .is_some_and(|tls| tls.certificates.is_empty())
            {
                let what = "TLS needs at least one certificate";
                self.refuse(
                    steps!["listeners", index, "tls", "certificates"],
                    what,
                    None,
                );
            }
        }
    }

    fn trust(&mut self) {
        let config = self.config;
        let trust = &config.trust;
        self.unique("key", trust.keys.iter().map(|key| &key.name), |i| {
            vec!["trust".into(), "keys".into(), i.into(), "name".into()]
        });
        if trust.unsigned == Some(Unsigned::Refuse) && trust.keys.is_empty() {
            let what = "without keys no signature can be good, and no component would be let in";
            let hint = Some("name the signers' public keys in `keys`".to_owned());
            self.refuse(steps!["trust", "unsigned"], what, hint);
        }
        let plugins = config
            .plugins
            .iter()
            .map(|(name, it)| ("plugins", name, &it.source, it.refresh));
        let schedulers = config
            .schedulers
            .iter()
            .map(|(name, it)| ("schedulers", name, &it.source, it.refresh));
        for (section, name, source, refresh) in plugins.chain(schedulers) {
            let what = match source {
                _ if refresh.is_none() => continue,
                Source::Oci(reference) if reference.digest().is_none() => continue,
                Source::Oci(_) => "what a digest names never changes",
                Source::Bundled(_) | Source::File(_) => "only tags of registries are looked up",
            };
            self.refuse(steps![section, name.as_str(), "refresh"], what, None);
        }
    }

    fn plugins(&mut self) {
        for (name, plugin) in &self.config.plugins {
            let PluginLimits {
                cpu,
                cpu_large,
                wall,
                ..
            } = plugin.limits;
            let name = name.as_str();
            if cpu.get() > cpu_large.get() {
                let what = format!("`cpu-large` ({cpu_large}) is less than `cpu` ({cpu})");
                self.refuse(steps!["plugins", name, "limits", "cpu-large"], what, None);
            }
            if cpu_large.get() > wall.get() {
                let what = format!("`wall` ({wall}) is less than `cpu-large` ({cpu_large})");
                self.refuse(steps!["plugins", name, "limits", "wall"], what, None);
            }
            let Quarantine { first, longest, .. } = plugin.quarantine;
            if first.get() > longest.get() {
                let what = format!("`longest` ({longest}) is less than `first` ({first})");
                self.refuse(steps!["plugins", name, "quarantine", "longest"], what, None);
            }
        }
        for (name, scheduler) in &self.config.schedulers {
            let SchedulerLimits {
                backoff,
                longest_backoff,
                ..
            } = scheduler.limits;
            if backoff.get() > longest_backoff.get() {
                let what = format!(
                    "`longest-backoff` ({longest_backoff}) is less than `backoff` ({backoff})"
                );
                let path = steps!["schedulers", name.as_str(), "limits", "longest-backoff"];
                self.refuse(path, what, None);
            }
        }
    }

    fn worker(&mut self, index: usize, worker: &Worker) {
        let plugins = &self.config.plugins;
        match (&worker.address, &worker.protocol) {
            (WorkerAddress::Component(name), protocol) => {
                self.exists(
                    "plugin",
                    name,
                    plugins.keys(),
                    steps!["workers", index, "address"],
                );
                if protocol.is_some() {
                    let what = "a component is called without a protocol";
                    let hint = Some("leave `protocol` out".to_owned());
                    self.refuse(steps!["workers", index, "protocol"], what, hint);
                }
                if !worker.options.as_object().is_empty() {
                    let what = "a component's options stand in `plugins`";
                    self.refuse(steps!["workers", index, "options"], what, None);
                }
            }
            (WorkerAddress::Network(_) | WorkerAddress::Discovered(_), Some(protocol)) => {
                self.exists(
                    "plugin",
                    protocol,
                    plugins.keys(),
                    steps!["workers", index, "protocol"],
                );
            }
            // What each is spoken to by is told by its runtime.
            (WorkerAddress::Discovered(Discovery::Cluster(cluster)), None)
                if !cluster.runtimes.is_empty() => {}
            (WorkerAddress::Network(_) | WorkerAddress::Discovered(_), None) => {
                let what = "`protocol` is missing from this worker: the plugin that speaks to it";
                self.refuse(steps!["workers", index], what, None);
            }
        }
        if let WorkerAddress::Discovered(Discovery::Cluster(cluster)) = &worker.address {
            for (name, runtime) in &cluster.runtimes {
                let path = steps![
                    "workers",
                    index,
                    "address",
                    "runtimes",
                    name.as_str(),
                    "protocol"
                ];
                self.exists("plugin", &runtime.protocol, plugins.keys(), path);
            }
        }
        let encrypted = match &worker.address {
            WorkerAddress::Network(at) => at.scheme().is_tls(),
            WorkerAddress::Component(_) => false,
            WorkerAddress::Discovered(discovery) => discovery.may_be_tls(),
        };
        if worker.tls != Default::default() && !encrypted {
            let what = format!("`tls` has no meaning for {}", worker.address);
            let hint = Some("use `https` or `grpcs`".to_owned());
            self.refuse(steps!["workers", index, "tls"], what, hint);
        }
        let Ejection { first, longest, .. } = worker.ejection;
        if first.get() > longest.get() {
            let what = format!("`longest` ({longest}) is less than `first` ({first})");
            let path = steps!["workers", index, "ejection", "longest"];
            self.refuse(path, what, None);
        }
        let Connections { max, warm, .. } = worker.connections;
        if warm.get() > max.get() && worker.address.is_http1() {
            let what = format!("`warm` ({warm}) is more than `max` ({max})");
            let path = steps!["workers", index, "connections", "warm"];
            self.refuse(path, what, None);
        }
        self.unique("model", worker.models.iter().map(|m| &m.name), |i| {
            vec![
                "workers".into(),
                index.into(),
                "models".into(),
                i.into(),
                "name".into(),
            ]
        });
    }
}
