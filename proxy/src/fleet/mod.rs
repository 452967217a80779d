//! The workers of a running proxy: those of the configuration, and those that come and go.
//!
//! 1. A section of the configuration is one worker, or a group that is discovered
//!    ([`looking`], [`following`]). Whoever looks brings the whole list of a section; what is new is employed, what
//!    is not in it any more leaves, what has changed does both.
//! 2. One that is employed gets its station, connections that are opened ahead, its place in the
//!    pool of its section, and its probes ([`probing`]).
//! 3. One that leaves is given nothing new from that moment on, and its name is free. Its requests
//!    go on to their end, or to the deadline of its section: then its connections are ended
//!    ([`leaving`]). Its number is never given again.
//!
//! 4. Another configuration has the sections leave that are not in it as they were, and brings in
//!    its own ([`turning`]).
//!
//! An operator can take one out of service and back ([`draining`]).
//!
//! A request that waits is told of the change by the catalogue, and waits for those that are there.

mod draining;
mod following;
mod leaving;
mod looking;
mod probing;
mod station;
mod turning;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Weak},
    time::Duration,
};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::{
    sync::watch,
    task::{AbortHandle, JoinSet},
};
use tollgate_config::{Config, Worker, WorkerAddress};
use tollgate_dispatch::{intern::Interner, pool::Pool, worker::Workers};
use tollgate_exchange::{House, Member, Station};

use self::leaving::Leaving;
pub(crate) use self::{
    looking::Looked,
    station::{Found, StationError},
};

/// Workers that a section may have at once: those of its list, and as many that are leaving.
pub(crate) fn most(worker: &Worker) -> usize {
    most_in_service(worker) * 2
}

fn most_in_service(worker: &Worker) -> usize {
    match &worker.address {
        WorkerAddress::Discovered(discovery) => discovery.most(),
        _ => 1,
    }
}

/// A worker in service.
struct Post {
    found: Found,
    station: Arc<Station>,
    /// Where it works; none: no route has it.
    pool: Option<Pool<Member>>,
    /// Opens its connections, brings it into its pool, and probes it; none: it is not kept yet.
    keeper: Option<AbortHandle>,
}

impl Post {
    /// Gives a worker other slots, with what it has.
    fn resize(&mut self, worker: &Worker, found: Found) {
        let slots = found.slots(worker);
        match &self.pool {
            Some(pool) => pool.resize_worker(&self.station.handle, slots),
            None => self.station.handle.resize(slots),
        }
        tracing::info!(worker = found.name, slots, "a worker has other slots");
        self.found = found;
    }
}

/// What a section has in service, by name, and what is leaving, oldest first. At most as many of
/// each as the section may have.
#[derive(Default)]
struct Section {
    posts: BTreeMap<String, Post>,
    leaving: Vec<Leaving>,
    /// Looks for them, where they are looked for.
    looker: Option<AbortHandle>,
}

/// On what the workers stand: a configuration, and what was made of it.
pub(crate) struct Ground {
    pub(crate) config: Arc<Config>,
    pub(crate) house: Arc<House>,
    /// The pool of each section that some route uses.
    pub(crate) pools: HashMap<String, Pool<Member>>,
    /// What was found of each section that is discovered.
    looked: BTreeMap<String, Arc<Looked>>,
}

/// All workers.
pub(crate) struct Fleet {
    ground: ArcSwap<Ground>,
    /// Houses that requests may still stand in: the one in force, and those before it that some do.
    houses: Mutex<Vec<Weak<House>>>,
    workers: Workers,
    /// By name; those of the configuration, and those that had workers who are leaving.
    sections: Mutex<HashMap<String, Section>>,
    /// One task a worker, one a section that is discovered.
    tasks: Mutex<JoinSet<()>>,
    /// Tells those who look to look at once.
    look: watch::Sender<u64>,
    me: Weak<Fleet>,
}

// === impl Ground ===

impl Ground {
    pub(crate) fn new(
        config: Arc<Config>,
        house: Arc<House>,
        pools: HashMap<String, Pool<Member>>,
    ) -> Self {
        let looked = config
            .workers
            .iter()
            .filter(|worker| matches!(worker.address, WorkerAddress::Discovered(_)))
            .map(|worker| (worker.name.to_string(), Arc::default()))
            .collect();
        Self {
            config,
            house,
            pools,
            looked,
        }
    }

    /// Workers that there may be.
    fn most(&self) -> usize {
        let workers = self.config.workers.iter();
        workers.map(most).sum::<usize>().max(1)
    }

    fn pool(&self, worker: &Worker) -> Option<&Pool<Member>> {
        self.pools.get(worker.name.as_str())
    }
}

// === impl Fleet ===

impl Fleet {
    /// A fleet without a worker yet; `names` holds those of models.
    pub(crate) fn new(ground: Ground, names: Arc<Interner>) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            workers: Workers::new(ground.most(), names),
            houses: Mutex::new(vec![Arc::downgrade(&ground.house)]),
            ground: ArcSwap::from_pointee(ground),
            sections: Mutex::default(),
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
        let ground = self.ground.load();
        for worker in &ground.config.workers {
            self.post(&ground, worker)?;
        }
        self.publish();
        Ok(())
    }

    /// Gives the worker of a section its place; none: the section is looked for.
    fn post(&self, ground: &Ground, worker: &Worker) -> Result<Option<Arc<Station>>, StationError> {
        let Some(found) = Found::configured(worker) else {
            return Ok(None);
        };
        let station = station::station(worker, &found, &self.workers, &ground.house)?;
        let station = Arc::new(station);
        ground.house.stations.put(&station);
        if worker.connections.warm.get() == 0 {
            join_pool(ground.pool(worker), &station);
        }
        let post = Post {
            found,
            station: station.clone(),
            pool: ground.pool(worker).cloned(),
            keeper: None,
        };
        let mut sections = self.sections.lock();
        let section = sections.entry(worker.name.to_string()).or_default();
        section.posts.insert(post.found.name.clone(), post);
        Ok(Some(station))
    }

    /// Looks for workers and asks each how it is, once, so that the first request finds models; what
    /// does not answer delays nobody longer than its time-out. Then keeps both going.
    pub(crate) async fn begin(&self) {
        let ground = self.ground.load_full();
        let workers = ground.config.workers.iter();
        self.begin_with(&ground, workers.map(|it| Arc::new(it.clone())).collect())
            .await;
    }

    /// The same for some sections.
    async fn begin_with(&self, ground: &Arc<Ground>, workers: Vec<Arc<Worker>>) {
        let mut first = JoinSet::new();
        let mut kept = Vec::new();
        for worker in workers {
            let Some(fleet) = self.me.upgrade() else {
                return;
            };
            match ground.looked.get(worker.name.as_str()) {
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
        for station in self.ground.load().house.stations.all() {
            by_name.insert(station.handle.spec().name.clone(), station);
        }
        by_name.into_values().collect()
    }

    /// Sections that are discovered, and what was found of each.
    pub(crate) fn looked(&self) -> BTreeMap<String, Arc<Looked>> {
        self.ground.load().looked.clone()
    }

    /// Former configurations that requests still stand in.
    pub(crate) fn former(&self) -> usize {
        let mut houses = self.houses.lock();
        houses.retain(|house| house.strong_count() > 0);
        houses.len().saturating_sub(1)
    }

    /// Tells all who wait, under whatever configuration they came, which workers are there.
    pub(crate) fn publish(&self) {
        let houses = self.houses.lock().clone();
        for house in houses.iter().filter_map(Weak::upgrade) {
            house.publish();
        }
    }

    fn station_named(&self, name: &str) -> Option<Arc<Station>> {
        let handle = self.workers.named(name)?;
        self.ground.load().house.stations.get(handle.id())
    }

    /// Takes the whole list of a section's workers. Gives how many are left out.
    fn replace(&self, worker: &Arc<Worker>, mut found: Vec<Found>, most: usize) -> usize {
        let ground = self.ground.load_full();
        let drain = drain_of(worker);
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
        let left = !gone.is_empty();
        for name in gone {
            if let Some(post) = section.posts.remove(&name) {
                self.retire(worker.name.as_str(), section, post, most, drain);
            }
        }
        let mut came = false;
        for one in found {
            if let Some(post) = section.posts.get_mut(&one.name) {
                if post.found.slots != one.slots {
                    post.resize(worker, one);
                }
                continue;
            }
            match station::station(worker, &one, &self.workers, &ground.house) {
                Ok(station) => {
                    let station = Arc::new(station);
                    tracing::info!(worker = one.name, at = %one.place, "a worker was found");
                    ground.house.stations.put(&station);
                    let keeper = self.employ(worker.clone(), station.clone());
                    let post = Post {
                        found: one.clone(),
                        station,
                        pool: ground.pool(worker).cloned(),
                        keeper: Some(keeper),
                    };
                    section.posts.insert(one.name, post);
                    came = true;
                }
                Err(error) => tracing::error!(%error, "a worker that was found is not taken"),
            }
        }
        // Who comes is published when it is in its pool; until then its models are still known by
        // those who left, so that who asks for one waits, and is not told that there is none.
        if left && !came {
            self.publish();
        }
        left_out
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
        let (me, name) = (self.me.clone(), station.handle.spec().name.clone());
        let section = worker.name.to_string();
        let keeper = self.spawn(async move { probing::keep(&me, &worker, &station).await });
        let mut sections = self.sections.lock();
        let section = sections.get_mut(&section);
        match section.and_then(|section| section.posts.get_mut(&name)) {
            Some(post) => post.keeper = Some(keeper),
            // It has left meanwhile.
            None => keeper.abort(),
        }
    }

    /// Connections ahead, a place in the pool, a first probe.
    async fn introduce(&self, worker: &Worker, station: &Arc<Station>) {
        let warm = worker.connections.warm.get();
        if let (true, tollgate_exchange::Reach::Network(upstream)) = (warm > 0, &station.reach) {
            upstream.warm(warm).await;
        }
        // One that is in its pool already is merely looked at again.
        join_pool(self.ground.load().pool(worker), station);
        self.publish();
        probing::take(self, worker, station).await;
    }

    /// A section's workers are looked for by this task.
    fn looks(&self, section: String, task: AbortHandle) {
        let mut sections = self.sections.lock();
        sections.entry(section).or_default().looker = Some(task);
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        let mut tasks = self.tasks.lock();
        // Those that have ended are let go of here: as many as are alive stay, and one more.
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task)
    }
}

/// How long what a worker of a section has may go on when it leaves.
fn drain_of(worker: &Worker) -> Duration {
    match &worker.address {
        WorkerAddress::Discovered(discovery) => discovery.drain(),
        _ => Duration::ZERO,
    }
}

fn join_pool(pool: Option<&Pool<Member>>, station: &Arc<Station>) {
    let Some(pool) = pool else { return };
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
