//! A worker as the configuration and discovery have it, made into a station.

use std::{fmt, sync::Arc};

use tollgate_config::{
    ClusterRuntime, ListedWorker, Model, NetworkAddress, Probe, ProbeSettings, Scheme, Worker,
    WorkerAddress,
};
use tollgate_dispatch::{
    clock::micros,
    health::Thresholds,
    worker::{Served, WorkerError, WorkerSpec, Workers},
};
use tollgate_exchange::{House, Reach, Station, tasks};
use tollgate_upstream::{Spec, Tls, Transport, Upstream};

/// A worker that cannot be served as it is configured.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StationError {
    #[error(transparent)]
    Worker(#[from] WorkerError),
    #[error("worker {0}: {1}")]
    Other(String, String),
}

/// Where a worker is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In this process, by its plugin.
    Component(String),
    /// Over the network.
    Network {
        scheme: Scheme,
        /// How it is called: `host:port`.
        authority: String,
        /// Where to connect, the same way.
        address: String,
        /// What stands before every path; empty: nothing.
        base: String,
    },
}

/// A worker that was found: what it has of its own, beside what its section says.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Found {
    pub(crate) name: String,
    pub(crate) place: Place,
    pub(crate) slots: Option<u32>,
    pub(crate) max_batch: Option<u32>,
    pub(crate) models: Option<Vec<Model>>,
    /// How one speaks to it, where its runtime tells; none: as its section says.
    pub(crate) runtime: Option<ClusterRuntime>,
}

// === impl Place ===

impl Place {
    pub(crate) fn network(address: &NetworkAddress) -> Self {
        Self::Network {
            scheme: address.scheme(),
            authority: address.authority(),
            address: address.authority(),
            base: String::new(),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Component(name) => write!(f, "component:{name}"),
            Self::Network {
                scheme,
                address,
                base,
                ..
            } => write!(f, "{scheme}://{address}{base}"),
        }
    }
}

// === impl Found ===

impl Found {
    pub(crate) fn new(name: String, place: Place) -> Self {
        Self {
            name,
            place,
            slots: None,
            max_batch: None,
            models: None,
            runtime: None,
        }
    }

    /// The one that a section is by itself; none: it is a group that is looked for.
    pub(crate) fn configured(worker: &Worker) -> Option<Self> {
        let place = match &worker.address {
            WorkerAddress::Component(name) => Place::Component(name.to_string()),
            WorkerAddress::Network(address) => Place::network(address),
            WorkerAddress::Discovered(_) => return None,
        };
        Some(Self::new(worker.name.to_string(), place))
    }

    /// Its slots.
    pub(crate) fn slots(&self, worker: &Worker) -> u32 {
        self.slots.unwrap_or(worker.slots.get_u32())
    }

    /// Whether it is another one with no more than other slots.
    pub(crate) fn is_but_for_slots(&self, other: &Self) -> bool {
        let slots = other.slots;
        *other
            == Self {
                slots,
                ..self.clone()
            }
    }

    /// One of a file's list.
    pub(crate) fn listed(section: &str, listed: ListedWorker) -> Self {
        Self {
            name: format!("{section}@{}", listed.name),
            place: Place::network(&listed.address),
            slots: listed.slots.map(|slots| slots.get_u32()),
            max_batch: listed.max_batch.map(|most| most.get_u32()),
            models: listed.models,
            runtime: None,
        }
    }
}

/// Makes a station, whose worker takes a place in the table.
///
/// # Errors
/// Its plugin is not there, its settings do not go together, or there is no room.
pub(crate) fn station(
    worker: &Worker,
    found: &Found,
    workers: &Workers,
    house: &House,
) -> Result<Station, StationError> {
    let wrong = |what: String| StationError::Other(found.name.clone(), what);
    let (reach, plugin, world) = match &found.place {
        Place::Component(component) => (
            Reach::Component(component.as_str().into()),
            component.clone(),
            "worker",
        ),
        Place::Network { .. } => {
            let runtime = found.runtime.as_ref().map(|runtime| &runtime.protocol);
            let protocol = runtime.or(worker.protocol.as_ref());
            let protocol = protocol.ok_or_else(|| wrong("it has no protocol".into()))?;
            (
                Reach::Network(upstream(worker, found)?),
                protocol.to_string(),
                "protocol",
            )
        }
    };
    let generation = house
        .shelf
        .get_world(&plugin, world)
        .map_err(|missing| wrong(missing.to_string()))?;
    let manifest = generation.manifest();
    let is_component = matches!(reach, Reach::Component(_));
    // A worker may speak another of its protocol's dialects than the first.
    let options = match &found.runtime {
        Some(runtime) => &runtime.options,
        None => &worker.options,
    };
    let dialect = match options.as_object().get("dialect") {
        Some(dialect) => dialect.as_str().unwrap_or_default().to_owned(),
        None if is_component => String::new(),
        None => manifest.dialects.first().cloned().unwrap_or_default(),
    };
    let tasks = manifest
        .tasks
        .iter()
        .map(|kind| tasks::name(kind).to_owned())
        .collect();
    let options = options
        .read()
        .map_err(|error| wrong(format!("options: {error}")))?;
    let provider = ["gen_ai.provider.name", "gen_ai.system"]
        .iter()
        .find_map(|name| {
            let mut told = manifest.telemetry.iter();
            told.find(|(told, _)| told == *name).map(|(_, value)| value)
        });
    let server = match &found.place {
        Place::Component(_) => None,
        Place::Network { address, .. } => address
            .rsplit_once(':')
            .and_then(|(host, port)| Some((host.into(), port.parse().ok()?))),
    };
    let max_batch = match found.max_batch {
        _ if is_component => 1,
        Some(own) => own,
        None => worker.max_batch.get_u32(),
    };
    let models = found.models.as_ref().unwrap_or(&worker.models);
    let handle = workers.add(WorkerSpec {
        name: found.name.clone(),
        section: worker.name.to_string(),
        slots: found.slots(worker),
        max_batch,
        slow_start: micros(worker.slow_start.get()),
        models: models.iter().map(served).collect(),
        protocol: plugin.clone(),
        dialects: vec![dialect.clone()],
        options: options.clone(),
        tasks,
        thresholds: thresholds(worker),
    })?;
    Ok(Station {
        handle,
        protocol: (!is_component).then(|| plugin.as_str().into()),
        dialect,
        options,
        reach,
        provider: provider.unwrap_or(&plugin).as_str().into(),
        server,
    })
}

fn served(model: &Model) -> Served {
    let tasks = model.tasks.as_ref();
    Served {
        name: model.name.to_string(),
        served_as: model.served_as().to_string(),
        tasks: tasks.map(|tasks| tasks.iter().map(ToString::to_string).collect()),
    }
}

/// How a worker is probed, if it is.
pub(super) fn probe(worker: &Worker) -> Option<&ProbeSettings> {
    match &worker.probe {
        Probe::Off => None,
        Probe::On(settings) => Some(settings),
    }
}

fn thresholds(worker: &Worker) -> Thresholds {
    let ejection = &worker.ejection;
    let mut thresholds = Thresholds {
        probed: false,
        eject_after: ejection.failures.get_u32(),
        eject_percent: ejection.percent.get_u32(),
        eject_base: micros(ejection.first.get()),
        eject_max: micros(ejection.longest.get()),
        ..Thresholds::default()
    };
    if let Some(settings) = probe(worker) {
        thresholds.probed = true;
        thresholds.healthy_after = settings.healthy_after.get_u32();
        thresholds.unhealthy_after = settings.unhealthy_after.get_u32();
    }
    thresholds
}

fn upstream(worker: &Worker, found: &Found) -> Result<Arc<Upstream>, StationError> {
    let wrong = |what: String| StationError::Other(found.name.clone(), what);
    let Place::Network {
        scheme,
        authority,
        address,
        base,
    } = &found.place
    else {
        return Err(wrong("it is not on the network".into()));
    };
    let tls = match scheme.is_tls() {
        false => None,
        true => {
            let read = |path: &tollgate_config::FilePath| {
                std::fs::read(path.as_path()).map_err(|error| wrong(format!("{path}: {error}")))
            };
            let name = worker.tls.server_name.as_ref();
            Some(Tls {
                ca_pem: worker.tls.ca.as_ref().map(read).transpose()?,
                server_name: name.map(|name| name.as_str().to_owned()),
            })
        }
    };
    let connections = &worker.connections;
    let spec = Spec {
        authority: authority
            .parse()
            .map_err(|error| wrong(format!("{authority}: {error}")))?,
        address: address.clone(),
        transport: match scheme {
            Scheme::Http | Scheme::Https => Transport::H1,
            Scheme::Grpc | Scheme::Grpcs => Transport::H2,
        },
        tls,
        max_connections: connections.max.get(),
        max_streams: connections.h2_streams.get_u32(),
        connect_timeout: connections.connect_timeout.get(),
        idle_timeout: connections.idle_timeout.get(),
    };
    Upstream::under(spec, base).map_err(|error| wrong(error.to_string()))
}
