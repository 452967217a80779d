//! The workers of a running proxy: those of the configuration, and those that come and go.
//!
//! 1. A section of the configuration is one worker, or a group that is discovered
//!    ([`looking`]). Whoever looks brings the whole list of a section; what is new is employed, what
//!    is not in it any more leaves, what has changed does both.
//! 2. One that is employed gets its station, connections that are opened ahead, its place in the
//!    pool of its section, and its probes ([`probing`]).
//! 3. One that leaves is given nothing new from that moment on, and its name is free. Its requests
//!    go on to their end, or to the deadline of its section: then its connections are ended
//!    ([`leaving`]). Its number is never given again.
//!
//! A request that waits is told of the change by the catalogue, and waits for those that are there.

mod leaving;
mod looking;
mod probing;
mod station;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Weak},
};

use parking_lot::Mutex;
use tokio::{
    sync::watch,
    task::{AbortHandle, JoinSet},
};
use tollgate_config::{Config, Worker, WorkerAddress};
use tollgate_dispatch::{intern::Interner, pool::Pool, worker::Workers};
use tollgate_exchange::{House, Member, Station};

use self::{leaving::Leaving, station::Place};
pub(crate) use self::{
    looking::Looked,
    station::{Found, StationError},
};

/// Workers that a section may have at once: those of its list, and as many that are leaving.
pub(crate) fn most(worker: &Worker) -> usize {
    match &worker.address {
        WorkerAddress::Discovered(discovery) => discovery.most() * 2,
        _ => 1,
    }
}

/// A worker in service.
struct Post {
    found: Found,
    station: Arc<Station>,
    /// Opens its connections, brings it into its pool, and probes it.
    keeper: AbortHandle,
}

/// What a section has in service, by name, and what is leaving, oldest first. At most as many of
/// each as the section may have.
#[derive(Default)]
struct Section {
    posts: BTreeMap<String, Post>,
    leaving: Vec<Leaving>,
}

/// All workers.
pub(crate) struct Fleet {
    config: Arc<Config>,
    house: Arc<House>,
    workers: Workers,
    /// The pool of each section that some route uses.
    pools: HashMap<String, Pool<Member>>,
    sections: Mutex<HashMap<String, Section>>,
    /// What was found of each section that is discovered.
    looked: BTreeMap<String, Arc<Looked>>,
    /// One task a worker, one a section that is discovered.
    tasks: Mutex<JoinSet<()>>,
    /// Tells those who look to look at once.
    look: watch::Sender<u64>,
    me: Weak<Fleet>,
}

// === impl Fleet ===

impl Fleet {
    /// A fleet without a worker yet; `names` holds those of models.
    pub(crate) fn new(
        config: Arc<Config>,
        house: Arc<House>,
        names: Arc<Interner>,
        pools: HashMap<String, Pool<Member>>,
    ) -> Arc<Self> {
        let total: usize = config.workers.iter().map(most).sum();
        let looked = config
            .workers
            .iter()
            .filter(|worker| matches!(worker.address, WorkerAddress::Discovered(_)))
            .map(|worker| (worker.name.to_string(), Arc::default()))
            .collect();
        Arc::new_cyclic(|me| Self {
            config,
            house,
            workers: Workers::new(total.max(1), names),
            pools,
            sections: Mutex::default(),
            looked,
            tasks: Mutex::default(),
            look: watch::Sender::new(0),
            me: me.clone(),
        })
    }

    /// Takes the workers that the configuration has by themselves, without asking them anything
    /// yet.
    ///
    /// # Errors
    /// One of them cannot be.
    pub(crate) fn settle(&self) -> Result<(), StationError> {
        for worker in &self.config.workers {
            let place = match &worker.address {
                WorkerAddress::Component(name) => Place::Component(name.to_string()),
                WorkerAddress::Network(address) => Place::network(address),
                WorkerAddress::Discovered(_) => continue,
            };
            let found = Found::new(worker.name.to_string(), place);
            let station = Arc::new(station::station(
                worker,
                &found,
                &self.workers,
                &self.house,
            )?);
            self.house.stations.put(&station);
            if worker.connections.warm.get() == 0 {
                self.join_pool(worker, &station);
            }
        }
        self.house.publish();
        Ok(())
    }

    /// Looks for workers and asks each how it is, once, so that the first request finds models; what
    /// does not answer delays nobody longer than its time-out. Then keeps both going.
    pub(crate) async fn begin(&self) {
        let mut first = JoinSet::new();
        let mut kept = Vec::new();
        for worker in &self.config.workers {
            let Some(fleet) = self.me.upgrade() else {
                return;
            };
            let worker = Arc::new(worker.clone());
            match self.looked.get(worker.name.as_str()) {
                Some(looked) => {
                    let looked = looked.clone();
                    first.spawn(async move {
                        fleet.first_look(worker, looked).await;
                    });
                }
                None => {
                    let station = self.station_named(worker.name.as_str());
                    let Some(station) = station else { continue };
                    kept.push((worker.clone(), station.clone()));
                    first.spawn(async move { fleet.introduce(&worker, &station).await });
                }
            }
        }
        while first.join_next().await.is_some() {}
        for (worker, station) in kept {
            self.keep(worker, station);
        }
    }

    /// Looks again at once: at SIGHUP.
    pub(crate) fn look_again(&self) {
        self.look.send_modify(|count| *count += 1);
    }

    /// Workers in service, and those that are leaving; of two of one name the one in service.
    pub(crate) fn stations(&self) -> Vec<Arc<Station>> {
        let mut by_name = BTreeMap::new();
        for station in self.house.stations.all() {
            by_name.insert(station.handle.spec().name.clone(), station);
        }
        by_name.into_values().collect()
    }

    /// Sections that are discovered, and what was found of each.
    pub(crate) fn looked(&self) -> impl Iterator<Item = (&str, &Looked)> {
        let looked = self.looked.iter();
        looked.map(|(name, looked)| (name.as_str(), &**looked))
    }

    fn station_named(&self, name: &str) -> Option<Arc<Station>> {
        let handle = self.workers.named(name)?;
        self.house.stations.get(handle.id())
    }

    /// Takes the whole list of a section's workers. Gives how many are left out.
    fn replace(&self, worker: &Arc<Worker>, mut found: Vec<Found>, most: usize) -> usize {
        let mut sections = self.sections.lock();
        let section = sections.entry(worker.name.to_string()).or_default();
        // Those that are there already stay when there are too many.
        found.sort_by_key(|one| !section.posts.contains_key(&one.name));
        let left_out = found.len().saturating_sub(most);
        found.truncate(most);
        let gone: Vec<String> = section
            .posts
            .iter()
            .filter(|(_, post)| !found.iter().any(|one| one.is_but_for_slots(&post.found)))
            .map(|(name, _)| name.clone())
            .collect();
        let changed = !gone.is_empty();
        for name in gone {
            if let Some(post) = section.posts.remove(&name) {
                self.retire(worker, section, post, most);
            }
        }
        if changed {
            self.house.publish();
        }
        for one in found {
            if let Some(post) = section.posts.get_mut(&one.name) {
                if post.found.slots != one.slots {
                    self.resize(worker, &post.station, &one);
                    post.found = one;
                }
                continue;
            }
            match station::station(worker, &one, &self.workers, &self.house) {
                Ok(station) => {
                    let station = Arc::new(station);
                    tracing::info!(worker = one.name, at = %one.place, "a worker was found");
                    self.house.stations.put(&station);
                    let keeper = self.employ(worker.clone(), station.clone());
                    let post = Post {
                        found: one.clone(),
                        station,
                        keeper,
                    };
                    section.posts.insert(one.name, post);
                }
                Err(error) => tracing::error!(%error, "a worker that was found is not taken"),
            }
        }
        left_out
    }

    /// Gives a worker other slots, with what it has.
    fn resize(&self, worker: &Worker, station: &Station, found: &Found) {
        let slots = found.slots(worker);
        match self.pools.get(worker.name.as_str()) {
            Some(pool) => pool.resize_worker(&station.handle, slots),
            None => station.handle.resize(slots),
        }
        tracing::info!(worker = found.name, slots, "a worker has other slots");
    }

    /// Brings a worker into service, and keeps it there.
    fn employ(&self, worker: Arc<Worker>, station: Arc<Station>) -> AbortHandle {
        let me = self.me.clone();
        self.spawn(async move {
            let Some(fleet) = me.upgrade() else { return };
            fleet.introduce(&worker, &station).await;
            drop(fleet);
            probing::keep(&me, &worker, &station).await;
        })
    }

    fn keep(&self, worker: Arc<Worker>, station: Arc<Station>) {
        let me = self.me.clone();
        self.spawn(async move { probing::keep(&me, &worker, &station).await });
    }

    /// Connections ahead, a place in the pool, a first probe.
    async fn introduce(&self, worker: &Worker, station: &Arc<Station>) {
        let warm = worker.connections.warm.get();
        if let (true, tollgate_exchange::Reach::Network(upstream)) = (warm > 0, &station.reach) {
            upstream.warm(warm).await;
        }
        // One that is in its pool already is merely looked at again.
        self.join_pool(worker, station);
        self.house.publish();
        probing::take(self, worker, station).await;
    }

    fn join_pool(&self, worker: &Worker, station: &Arc<Station>) {
        let Some(pool) = self.pools.get(worker.name.as_str()) else {
            return;
        };
        if !pool.add_worker(station.handle.clone()) {
            tracing::error!(
                worker = station.handle.spec().name,
                "its pool has as many workers as it may"
            );
        }
        // It may have left between its call to service and this.
        if station.handle.status().draining {
            pool.remove_worker(station.handle.id());
        }
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        let mut tasks = self.tasks.lock();
        // Those that have ended are let go of here: as many as are alive stay, and one more.
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task)
    }
}
