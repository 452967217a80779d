//! What outlives a request: routes, plugins, workers, models.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use http::Method;
use parking_lot::Mutex;
use tollgate_dispatch::{
    catalogue::Catalogue,
    clock::Clock,
    intern::Interner,
    policy::WorkerId,
    pool::{Pool, Queue},
    worker::WorkerHandle,
};
use tollgate_edge::Door;
use tollgate_payloads::PayloadLog;
use tollgate_plugin::{Generation, NoSuchPlugin, Shelf};
use tollgate_reflect::Reflection;
use tollgate_telemetry::{Metrics, Tracer};
use tollgate_upstream::Upstream;
use tollgate_wire::budget::Budgets;

use crate::{
    attempt::Member,
    claims::{ClaimTable, Found},
    closing::Closing,
    cors::Cors,
    limits::Limits,
    retries::Retries,
    tasks,
};

/// How a worker is reached.
pub enum Reach {
    /// Over the network.
    Network(Arc<Upstream>),
    /// A component of the `worker` world, by its plugin's name.
    Component(Arc<str>),
}

/// A worker, with all that a request to it needs.
pub struct Station {
    /// Its state and its place in the pool.
    pub handle: Arc<WorkerHandle>,
    /// The plugin whose backend speaks to it; none for a component.
    pub protocol: Option<Arc<str>>,
    /// What it speaks.
    pub dialect: String,
    /// The backend's options for it, as JSON.
    pub options: String,
    /// How it is reached.
    pub reach: Reach,
    /// Whose server it is, by the conventions for generative AI: what its plugin's manifest says,
    /// or else the plugin's name.
    pub provider: Arc<str>,
    /// Host and port, of one on the network.
    pub server: Option<(Arc<str>, u16)>,
}

/// Bounds of one route.
#[derive(Clone, Copy, Debug)]
pub struct RouteLimits {
    /// Bytes of one request body.
    pub body: u64,
    /// Bytes of one gRPC message, either way.
    pub message: u64,
    /// Bytes of a request that are kept for another attempt.
    pub retry_body: u64,
    /// From head to end.
    pub timeout: Duration,
    /// Requests at once.
    pub concurrency: usize,
    /// Bytes of events that may wait for a frontend.
    pub event_buffer: usize,
    /// Attempts of one call, the first included.
    pub attempts: u32,
}

/// What a route is made of.
pub struct RouteSpec {
    /// Name in the configuration.
    pub name: Arc<str>,
    /// Path prefix, stripped. Empty: none.
    pub prefix: String,
    /// Names of frontends, first listed first.
    pub frontends: Vec<Arc<str>>,
    /// Names of composition plugins, first listed first.
    pub compositions: Vec<Arc<str>>,
    /// Its position among the catalogue's views.
    pub view: usize,
    /// For clients that name no model.
    pub default_model: Option<String>,
    /// How one tells who asks. None: it is open to all.
    pub door: Option<Door>,
    /// Bounds.
    pub limits: RouteLimits,
    /// Bytes of requests that it may hold at once, within the process's.
    pub budgets: Budgets,
    /// How many of its attempts may be made again.
    pub retries: Arc<Retries>,
    /// Where its requests wait.
    pub queue: Arc<Queue>,
    /// Who places them.
    pub pool: Pool<Member>,
    /// Which pages of other origins may ask; none: nothing is said of it.
    pub cors: Option<Cors>,
    /// Where bodies are told; none: nowhere.
    pub payloads: Option<Arc<PayloadLog>>,
}

/// A route in force.
pub struct Route {
    pub(crate) spec: RouteSpec,
    pub(crate) claims: ArcSwap<ClaimTable>,
    pub(crate) reflection: ArcSwap<Reflection>,
    /// Held while it is brought in line with a shelf: what was looked at first may not be put in
    /// force last. A generation's number: with that one it could not be, and no request tries again.
    following: Mutex<Option<u64>>,
    running: Arc<AtomicUsize>,
}

/// What a route has for a request's head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Explained {
    /// A frontend claims it.
    Claim {
        /// Its plugin.
        frontend: String,
        /// What it speaks here.
        dialect: String,
        /// What the claim says is asked; none: the body tells.
        task: Option<String>,
        /// Whether it waits for a worker.
        queued: bool,
    },
    /// The path is known, with these methods.
    OtherMethod(String),
    /// Nobody claims it.
    Nothing,
}

/// The route's plugins do not go together.
#[derive(Debug, thiserror::Error)]
pub enum RouteError {
    /// One is missing.
    #[error("route {route}: {missing}")]
    Missing {
        /// The route.
        route: Arc<str>,
        /// What is missing.
        missing: NoSuchPlugin,
    },
    /// Two define one symbol differently.
    #[error("route {route}: {conflict}")]
    Descriptors {
        /// The route.
        route: Arc<str>,
        /// Which ones.
        conflict: String,
    },
}

impl Route {
    /// A route over the plugins in force.
    ///
    /// # Errors
    /// See [`RouteError`].
    pub fn new(spec: RouteSpec, shelf: &Shelf) -> Result<Self, RouteError> {
        let route = Self {
            spec,
            claims: ArcSwap::from_pointee(ClaimTable::default()),
            reflection: ArcSwap::from_pointee(Reflection::default()),
            following: Mutex::default(),
            running: Arc::new(AtomicUsize::new(0)),
        };
        route.refresh(shelf)?;
        Ok(route)
    }

    /// A route that takes another's place, under a configuration that has changed: the requests of
    /// both are counted as one's.
    ///
    /// # Errors
    /// See [`RouteError`].
    pub fn after(spec: RouteSpec, shelf: &Shelf, former: &Self) -> Result<Self, RouteError> {
        let mut route = Self::new(spec, shelf)?;
        route.running = former.running.clone();
        Ok(route)
    }

    /// Takes over the plugins in force: after a swap. What runs keeps what it began with.
    ///
    /// # Errors
    /// See [`RouteError`]; then nothing has changed.
    pub fn refresh(&self, shelf: &Shelf) -> Result<(), RouteError> {
        let mut refused = self.following.lock();
        self.follow(shelf)?;
        *refused = None;
        Ok(())
    }

    /// Whether another generation claims here in the place of one that is out. Who looks after the
    /// plugins brings the routes in line a moment later than their shelf; what meets the generation
    /// before that brings this one in line itself.
    pub(crate) fn has_instead(&self, shelf: &Shelf, out: &Arc<Generation>) -> bool {
        let instead = shelf.instead_of(out);
        if instead == *out {
            return false;
        }
        let mut refused = self.following.lock();
        if self.claims.load().is_of(&instead) {
            return true;
        }
        if *refused == Some(instead.number()) {
            return false;
        }
        let followed = self.follow(shelf);
        if let Err(error) = &followed {
            tracing::error!(%error, "the route keeps its claims");
            *refused = Some(instead.number());
        }
        followed.is_ok()
    }

    fn follow(&self, shelf: &Shelf) -> Result<(), RouteError> {
        let frontends = self.frontends(shelf)?;
        let reflection = self.reflection(&frontends)?;
        let mut claims = ClaimTable::new(&frontends);
        for name in &self.spec.frontends {
            if let Some(standing) = shelf.standing(name) {
                claims.try_candidate(name, &standing);
            }
        }
        self.claims.store(Arc::new(claims));
        self.reflection.store(Arc::new(reflection));
        Ok(())
    }

    /// Whether the route could be served with another generation of one of its plugins.
    ///
    /// # Errors
    /// See [`RouteError`].
    pub fn accepts(&self, shelf: &Shelf, other: &Arc<Generation>) -> Result<(), RouteError> {
        let mut frontends = self.frontends(shelf)?;
        for frontend in &mut frontends {
            if frontend.name() == other.name() {
                *frontend = other.clone();
            }
        }
        self.reflection(&frontends).map(drop)
    }

    fn frontends(&self, shelf: &Shelf) -> Result<Vec<Arc<Generation>>, RouteError> {
        let names = self.spec.frontends.iter();
        names
            .map(|name| shelf.get_world(name, "protocol"))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|missing| RouteError::Missing {
                route: self.spec.name.clone(),
                missing,
            })
    }

    fn reflection(&self, frontends: &[Arc<Generation>]) -> Result<Reflection, RouteError> {
        let sets: Vec<&[u8]> = frontends
            .iter()
            .flat_map(|frontend| &frontend.manifest().descriptors)
            .map(Vec::as_slice)
            .collect();
        Reflection::new(&sets).map_err(|conflict| RouteError::Descriptors {
            route: self.spec.name.clone(),
            conflict: conflict.to_string(),
        })
    }

    /// Name in the configuration.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.spec.name
    }

    /// What it is made of.
    #[must_use]
    pub fn spec(&self) -> &RouteSpec {
        &self.spec
    }

    /// Its claims, one line each.
    #[must_use]
    pub fn describe(&self) -> Vec<String> {
        self.claims.load().describe()
    }

    /// What a request would meet here, by its method and its path without prefix; gRPC methods by
    /// `/package.Service/Method`.
    #[must_use]
    pub fn explain(&self, method: &Method, path: &str, is_grpc: bool) -> Explained {
        let claims = self.claims.load();
        let found = if is_grpc {
            claims.grpc(path).cloned()
        } else {
            match claims.rest(method, path) {
                Found::Claim(claimed, _) => Some(claimed),
                Found::OtherMethod(methods, _) => return Explained::OtherMethod(methods),
                Found::Nothing => None,
            }
        };
        let Some(claimed) = found else {
            return Explained::Nothing;
        };
        let claims = claimed.frontend.claims();
        let claim = usize::try_from(claimed.number)
            .ok()
            .and_then(|number| claims.get(number));
        let task = claim.and_then(|claim| claim.task.as_ref());
        Explained::Claim {
            frontend: claimed.frontend.name().to_string(),
            dialect: claimed.dialect.to_string(),
            task: task.map(|task| tasks::name(task).to_owned()),
            queued: claimed.queued,
        }
    }

    /// Requests that run.
    #[must_use]
    pub fn running(&self) -> usize {
        self.running.load(Ordering::Relaxed)
    }

    pub(crate) fn enter(&self) -> Option<RoutePlace> {
        let most = self.spec.limits.concurrency;
        self.running
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |running| {
                (running < most).then_some(running + 1)
            })
            .ok()
            .map(|_| RoutePlace(self.running.clone()))
    }
}

/// A request's place among `RouteLimits::concurrency`.
pub(crate) struct RoutePlace(Arc<AtomicUsize>);

impl Drop for RoutePlace {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The workers that requests are sent to, those included that are leaving and still have some. Read
/// on every request, replaced as a whole when one comes or goes. As many as the workers' table and
/// those that are leaving.
#[derive(Default)]
pub struct Stations {
    by_id: ArcSwap<HashMap<WorkerId, Arc<Station>>>,
    publishing: Mutex<()>,
}

impl Stations {
    /// A worker by its number.
    #[must_use]
    pub fn get(&self, worker: WorkerId) -> Option<Arc<Station>> {
        self.by_id.load().get(&worker).cloned()
    }

    /// All of them, by number.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Station>> {
        let mut all: Vec<_> = self.by_id.load().values().cloned().collect();
        all.sort_by_key(|station| station.handle.id());
        all
    }

    /// Takes one in.
    pub fn put(&self, station: &Arc<Station>) {
        self.by_id.rcu(|stations| {
            let mut stations = HashMap::clone(stations);
            stations.insert(station.handle.id(), station.clone());
            stations
        });
    }

    /// Lets one go; who has it goes on with it.
    pub fn remove(&self, worker: WorkerId) {
        self.by_id.rcu(|stations| {
            let mut stations = HashMap::clone(stations);
            stations.remove(&worker);
            stations
        });
    }
}

/// Everything that a request may need.
pub struct House {
    /// Plugins in force.
    pub shelf: Arc<Shelf>,
    /// Models.
    pub catalogue: Arc<Catalogue>,
    /// Workers by number. Shared by the houses that follow each other.
    pub stations: Arc<Stations>,
    /// Names of tenants, models, batch keys.
    pub names: Arc<Interner>,
    /// What tenants may use. None: nobody is limited.
    pub limits: Option<Limits>,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// Records what is sampled; none: nothing is traced.
    pub tracer: Option<Arc<Tracer>>,
    /// The pools' clock.
    pub clock: Clock,
    /// The end of all requests.
    pub closing: Arc<Closing>,
}

impl House {
    pub(crate) fn station(&self, worker: WorkerId) -> Option<Arc<Station>> {
        self.stations.get(worker)
    }

    /// Publishes the catalogue anew: of the workers that are there and not leaving.
    pub fn publish(&self) {
        // One at a time, or what was looked at first could be published last.
        let _publishing = self.stations.publishing.lock();
        let stations = self.stations.all();
        let handles: Vec<_> = stations
            .iter()
            .filter(|station| !station.handle.status().draining)
            .map(|station| station.handle.clone())
            .collect();
        self.catalogue.publish(&handles);
    }

    /// The backend in force for a station that is reached over the network.
    pub(crate) fn backend(&self, station: &Station) -> Option<Arc<Generation>> {
        self.shelf.in_service(station.protocol.as_ref()?)
    }

    /// The backend that the next attempt at such a station begins with.
    pub(crate) fn begin_backend(&self, station: &Station) -> Option<Arc<Generation>> {
        self.shelf.begin(station.protocol.as_ref()?)
    }
}
