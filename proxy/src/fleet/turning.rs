//! Another configuration: sections that are not in it as they were leave, and its own come.
//!
//! 1. [`Fleet::check`] tries what could fail, apart from everything: nothing has changed after it.
//! 2. [`Fleet::turn`] does it at once. A section that is the same, by the same plugin and in the same
//!    pool, keeps its workers, with their connections and what is known of their health. Of every
//!    other one those that are there leave, in `drain.deadline`, and new ones come.
//! 3. [`Fleet::bring_in`] gets to know those that are new.

use std::{collections::HashSet, sync::Arc, time::Duration};

use tollgate_config::{Config, Discovery, Name, Worker, WorkerAddress};
use tollgate_dispatch::{intern::Interner, worker::Workers};

use super::{Fleet, Found, Ground, StationError, most_in_service, station};

/// Workers of one section that leave at once because configurations follow each other.
const LEAVING: usize = 4;

impl Fleet {
    /// Whether the workers of another configuration could be.
    ///
    /// # Errors
    /// One of them cannot be.
    pub(crate) fn check(next: &Ground, names: Arc<Interner>) -> Result<(), StationError> {
        let workers = Workers::new(next.most(), names);
        for worker in &next.config.workers {
            if let Some(found) = Found::configured(worker) {
                station::station(worker, &found, &workers, &next.house)?;
            }
        }
        Ok(())
    }

    /// Stands on another configuration from now on. Gives the sections that are new or changed.
    pub(crate) fn turn(&self, next: Ground) -> Vec<Arc<Worker>> {
        let former = self.ground.load_full();
        let staying: HashSet<&Name> = former
            .config
            .workers
            .iter()
            .filter(|worker| stays(worker, &former, &next))
            .map(|worker| &worker.name)
            .collect();
        let mut next = next;
        for (name, looked) in &mut next.looked {
            // What was found of a section that stays is still known.
            let stays = staying.iter().any(|it| it.as_str() == name);
            if let Some(known) = former.looked.get(name).filter(|_| stays) {
                *looked = known.clone();
            }
        }
        let next = Arc::new(next);
        // Those that leave have left the table before the others come, so that names are free.
        self.workers.bound(next.most().max(former.most()));
        self.houses.lock().push(Arc::downgrade(&next.house));
        self.ground.store(next.clone());
        let drain = next.config.drain.deadline.get();
        for worker in &former.config.workers {
            if !staying.contains(&worker.name) {
                self.dismiss(worker, drain);
            }
        }
        self.workers.bound(next.most());
        let mut fresh = Vec::new();
        for worker in &next.config.workers {
            if staying.contains(&worker.name) {
                continue;
            }
            if let Err(error) = self.post(&next, worker) {
                // It was tried before: only a table that is full by now is left.
                tracing::error!(%error, "a worker is not taken");
                continue;
            }
            fresh.push(Arc::new(worker.clone()));
        }
        self.publish();
        fresh
    }

    /// Gets to know workers that are new, and keeps doing so.
    pub(crate) async fn bring_in(&self, fresh: Vec<Arc<Worker>>) {
        let ground = self.ground.load_full();
        self.begin_with(&ground, fresh).await;
    }

    /// Everybody of a section leaves.
    fn dismiss(&self, worker: &Worker, drain: Duration) {
        let drain = match &worker.address {
            WorkerAddress::Discovered(discovery) => discovery.drain(),
            _ => drain,
        };
        let most = most_in_service(worker).max(LEAVING);
        let mut sections = self.sections.lock();
        let Some(section) = sections.get_mut(worker.name.as_str()) else {
            return;
        };
        if let Some(looker) = section.looker.take() {
            looker.abort();
        }
        for (_, post) in std::mem::take(&mut section.posts) {
            self.retire(worker.name.as_str(), section, post, most, drain);
        }
    }
}

/// Whether a section of a configuration is in the next one as it was.
fn stays(worker: &Worker, former: &Ground, next: &Ground) -> bool {
    let same_pool = match (former.pool(worker), next.pool(worker)) {
        (Some(one), Some(other)) => one.is(other),
        (None, None) => true,
        _ => false,
    };
    let same_plugins = plugins_of(worker).into_iter().all(|name| {
        let plugin = |config: &Config| config.plugins.get(name).cloned();
        plugin(&former.config) == plugin(&next.config)
    });
    next.config.worker(&worker.name) == Some(worker) && same_pool && same_plugins
}

/// The plugins that may speak to a worker, or that it is.
fn plugins_of(worker: &Worker) -> Vec<&Name> {
    let mut names: Vec<&Name> = worker.protocol.iter().collect();
    match &worker.address {
        WorkerAddress::Component(name) => names.push(name),
        WorkerAddress::Discovered(Discovery::Cluster(cluster)) => {
            names.extend(cluster.runtimes.values().map(|runtime| &runtime.protocol));
        }
        WorkerAddress::Network(_) | WorkerAddress::Discovered(_) => {}
    }
    names
}
