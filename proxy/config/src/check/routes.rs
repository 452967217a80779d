//! Routes: their references, their models, and whether they can be told apart.

use std::collections::{HashMap, HashSet};

use crate::check::Check;
use crate::cors::Cors;
use crate::matching::matches_of;
use crate::payloads::PayloadLog;
use crate::problem::suggest;
use crate::routes::{Route, VisibleModels};
use crate::scalar::{ModelName, Name};
use crate::yaml::steps;

impl<'a> Check<'a, '_> {
    pub(super) fn route(&mut self, index: usize, route: &Route) {
        let config = self.config;
        let listeners = config.listeners.iter().map(|l| &l.name);
        let workers = config.workers.iter().map(|w| &w.name);
        self.references(index, "listeners", "listener", &route.listeners, listeners);
        self.references(
            index,
            "frontends",
            "plugin",
            &route.frontends,
            config.plugins.keys(),
        );
        self.references(
            index,
            "compositions",
            "plugin",
            &route.compositions,
            config.plugins.keys(),
        );
        self.references(index, "workers", "worker", &route.workers, workers);
        self.unique("host", route.hosts.iter(), |i| {
            vec!["routes".into(), index.into(), "hosts".into(), i.into()]
        });
        if let Some(scheduler) = &route.scheduler {
            let path = steps!["routes", index, "scheduler"];
            self.exists("scheduler", scheduler, config.schedulers.keys(), path);
        }
        for (key, names) in [("frontends", &route.frontends), ("workers", &route.workers)] {
            if names.is_empty() {
                let what = format!("a route without {key} serves nothing");
                self.refuse(steps!["routes", index, key], what, None);
            }
        }
        self.ways(index, route);
        if route.queue.bytes.get() < route.limits.body.get() {
            let (queue, body) = (route.queue.bytes, route.limits.body);
            let what = format!(
                "`bytes` ({queue}) is less than the limit of a body ({body}): such a request could never wait"
            );
            self.refuse(steps!["routes", index, "queue", "bytes"], what, None);
        }
        if let Some((key, what)) = route.cors.as_ref().and_then(Cors::problem) {
            self.refuse(steps!["routes", index, "cors", key], what, None);
        }
        if let Some((key, what)) = route.payload_log.as_ref().and_then(PayloadLog::problem) {
            self.refuse(steps!["routes", index, "payload-log", key], what, None);
        }
        self.request_memory(index, route);
        self.models(index, route);
    }

    /// A request that may be must have room.
    fn request_memory(&mut self, index: usize, route: &Route) {
        let limits = &route.limits;
        let largest = limits.body.get().max(limits.message.get());
        let own = limits.request_memory;
        if own.get() < largest {
            let what = format!(
                "`request-memory` ({own}) is less than the largest request that this route takes: \
                 such a request could never be held"
            );
            let path = steps!["routes", index, "limits", "request-memory"];
            self.refuse(path, what, None);
        }
        let process = self.config.runtime.request_memory;
        if process.get() < largest {
            let what = format!(
                "`request-memory` ({process}) is less than the largest request that route `{}` \
                 takes: such a request could never be held",
                route.name
            );
            self.refuse(steps!["runtime", "request-memory"], what, None);
        }
    }

    /// A worker's slots are given out by one scheduler.
    pub(super) fn one_scheduler_a_worker(&mut self) {
        let config = self.config;
        let mut employers: HashMap<&Name, &Route> = HashMap::new();
        for (index, route) in config.routes.iter().enumerate() {
            for (at, worker) in route.workers.iter().enumerate() {
                let first = *employers.entry(worker).or_insert(route);
                if first.scheduler == route.scheduler {
                    continue;
                }
                let what = format!(
                    "worker `{worker}` is in route `{}` too, which has another scheduler: \
                     its slots can be given out by one only",
                    first.name
                );
                let hint = match &first.scheduler {
                    Some(scheduler) => format!("write `scheduler: {scheduler}` here too"),
                    None => "name the same `scheduler` in both, or none".to_owned(),
                };
                let path = steps!["routes", index, "workers", at];
                self.refuse(path, what, Some(hint));
            }
        }
    }

    fn references<'n>(
        &mut self,
        index: usize,
        key: &'static str,
        kind: &str,
        names: &[Name],
        known: impl Iterator<Item = &'n Name> + Clone,
    ) {
        for (position, name) in names.iter().enumerate() {
            self.exists(
                kind,
                name,
                known.clone(),
                steps!["routes", index, key, position],
            );
        }
        self.unique(kind, names.iter(), |i| {
            vec!["routes".into(), index.into(), key.into(), i.into()]
        });
    }

    fn models(&mut self, index: usize, route: &Route) {
        let served = self.served_models(route);
        if let VisibleModels::Listed(models) = &route.models {
            self.unique("model", models.iter().map(|m| &m.name), |i| {
                vec![
                    "routes".into(),
                    index.into(),
                    "models".into(),
                    i.into(),
                    "name".into(),
                ]
            });
            for (position, model) in models.iter().enumerate() {
                let Some(served) = &served else { break };
                if !served.contains(model.is()) {
                    let what = format!(
                        "no worker of route `{}` has a model `{}`",
                        route.name,
                        model.is()
                    );
                    let hint = suggest(model.is().as_str(), "models", sorted(served));
                    self.refuse(
                        steps!["routes", index, "models", position, "is"],
                        what,
                        hint,
                    );
                }
            }
        }
        let visible: Option<HashSet<&ModelName>> = match &route.models {
            VisibleModels::All => served,
            VisibleModels::Listed(models) => Some(models.iter().map(|m| &m.name).collect()),
        };
        if let (Some(model), Some(visible)) = (&route.default_model, visible)
            && !visible.contains(model)
        {
            let what = format!("clients of route `{}` see no model `{model}`", route.name);
            let hint = suggest(model.as_str(), "models", sorted(&visible));
            self.refuse(steps!["routes", index, "default-model"], what, hint);
        }
    }

    /// The models of a route's workers; none when one of them, being asked, may have more.
    fn served_models(&self, route: &Route) -> Option<HashSet<&'a ModelName>> {
        let mut served = HashSet::new();
        for name in &route.workers {
            let worker = self.config.worker(name)?;
            if worker.models.is_empty() || worker.address.tells_models() {
                return None;
            }
            served.extend(worker.models.iter().map(|model| &model.name));
        }
        Some(served)
    }

    pub(super) fn ambiguous_routes(&mut self) {
        let config = self.config;
        let mut seen: HashMap<_, (usize, &Name)> = HashMap::new();
        for (index, route) in config.routes.iter().enumerate() {
            for listener in config.listeners.iter().map(|l| &l.name) {
                if !route.listeners.is_empty() && !route.listeners.contains(listener) {
                    continue;
                }
                for way in matches_of(route) {
                    let first = *seen
                        .entry((listener, way.host, way.prefix))
                        .or_insert((index, &route.name));
                    if first.0 == index {
                        continue;
                    }
                    let host = way
                        .host
                        .map_or("any host".to_owned(), |host| format!("host {host}"));
                    let prefix = way
                        .prefix
                        .map_or("no prefix".to_owned(), |prefix| format!("prefix {prefix}"));
                    let what = format!(
                        "route `{}` cannot be told apart from `{}`: listener {listener}, {host}, {prefix}",
                        route.name, first.1,
                    );
                    let hint = "give one of them another host or prefix".to_owned();
                    self.refuse(steps!["routes", index], what, Some(hint));
                }
            }
        }
    }
}

fn sorted<'m>(models: &HashSet<&'m ModelName>) -> Vec<&'m str> {
    let mut names: Vec<_> = models.iter().map(|model| model.as_str()).collect();
    names.sort_unstable();
    names
}
