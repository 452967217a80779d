//! One call on its way to a worker: who may ask, what the house knows by itself, which
//! workers could serve it, and the queue.

use std::sync::Arc;

use futures_util::FutureExt;
use tollgate_dispatch::{
    catalogue::{ModelFacts, NotFound, Resolved, TensorFacts},
    driver::Rejection,
    intern::Key,
    policy::{Affinity, NOBODY, WorkerId},
    pool::{Assignment, Place, Submission},
    worker::WorkerHandle,
};
use tollgate_edge::Identity;
use tollgate_plugin::{Sources, backend, frontend, inference, types};
use tollgate_wire::failure::Failure;

use crate::{
    attempt::Member,
    house::{House, Reach, Route, Station},
    tasks,
};

/// Tokens that a call is believed to make at most where its worker is chosen. A bound that no worker
/// reaches counts in full only against a tenant's limits: it says nothing of the work.
const MOST_OUTPUT: u32 = 1 << 20;

/// What a call is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) task: inference::TaskKind,
    pub(crate) model: Option<String>,
    pub(crate) version: Option<String>,
    pub(crate) streaming: bool,
    pub(crate) input_cost: u32,
    pub(crate) output_cost: u32,
    pub(crate) affinity: frontend::Affinity,
    pub(crate) priority: i32,
    /// Bytes that it holds while it waits.
    pub(crate) bytes: u64,
}

/// Where a call can go.
pub(crate) enum Ways {
    /// The house knows the answer.
    Known(Vec<inference::Event>),
    /// Some workers can serve it.
    Workers(Arc<Resolved>, Arc<[WorkerId]>),
    /// Nobody offers the task, but a composition can make it of others.
    Composed(Arc<Resolved>, Arc<str>),
}

impl Ways {
    /// The model that workers are asked for; none: nobody is.
    pub(crate) fn model(&self) -> Option<&str> {
        match self {
            Self::Known(_) => None,
            Self::Workers(resolved, _) | Self::Composed(resolved, _) => Some(&resolved.name),
        }
    }
}

/// Finds where a call can go.
///
/// # Errors
/// When the caller may not, or nothing here can do it.
pub(crate) fn ways(
    house: &House,
    route: &Route,
    identity: &Identity,
    dialect: &str,
    ask: &Ask,
) -> Result<Ways, Failure> {
    use inference::{Event, TaskKind};
    let task = tasks::name(&ask.task);
    if !identity.may_do(task) {
        return Err(Failure::permission_denied(format!(
            "this token may not do {task}"
        )));
    }
    let may_see = |model: &str| identity.may_use(model);
    match &ask.task {
        TaskKind::ListModels => {
            let models = house.catalogue.list(route.spec.view, may_see);
            return Ok(Ways::Known(vec![
                Event::Models(models.iter().map(|model| info(&model.facts)).collect()),
                Event::End,
            ]));
        }
        TaskKind::ServerLive => return Ok(Ways::Known(vec![Event::Ready(true), Event::End])),
        TaskKind::ServerReady => {
            let ready = house
                .catalogue
                .list(route.spec.view, may_see)
                .iter()
                .any(|model| model.facts.ready);
            return Ok(Ways::Known(vec![Event::Ready(ready), Event::End]));
        }
        TaskKind::ServerMetadata => {
            return Ok(Ways::Known(vec![
                Event::Metadata(inference::ServerInfo {
                    name: "tollgate".into(),
                    version: env!("CARGO_PKG_VERSION").into(),
                    features: Vec::new(),
                    // What asks for it is not counted.
                    facts: vec![inference::Extra {
                        name: "load".into(),
                        json: route.running().saturating_sub(1).to_string(),
                    }],
                }),
                Event::End,
            ]));
        }
        _ => {}
    }
    // Before it is looked up: whoever may not use a name is not told whether anything has it.
    let forbidden = |model: &str| {
        Failure::permission_denied(format!("this token may not use the model `{model}`"))
            .with_param("model")
    };
    if let Some(model) = ask.model.as_deref()
        && !may_see(model)
    {
        return Err(forbidden(model));
    }
    let resolved = house
        .catalogue
        .resolve(route.spec.view, ask.model.as_deref())
        .map_err(|missing| match missing {
            NotFound::Unnamed => Failure::invalid_argument(
                "the request names no model and this route has no default",
            )
            .with_param("model"),
            NotFound::Unknown(name) => {
                Failure::not_found(format!("The model `{name}` does not exist."))
                    .with_param("model")
            }
        })?;
    // The route's default, of which the client has named nothing.
    if !may_see(&resolved.name) {
        return Err(match ask.model {
            Some(_) => forbidden(&resolved.name),
            None => Failure::permission_denied(
                "this token may not use the model that this route has for requests without one",
            )
            .with_param("model"),
        });
    }
    if matches!(ask.task, TaskKind::ModelReady) {
        return Ok(Ways::Known(vec![
            Event::Ready(resolved.facts.ready),
            Event::End,
        ]));
    }
    if resolved.awaited() && !matches!(ask.task, TaskKind::ModelMetadata) {
        // Which workers may serve it, and whether they can, shows when they come.
        return Ok(Ways::Workers(resolved, [NOBODY].into()));
    }
    let eligible = eligible(house, &resolved, dialect, task);
    // What a worker has told since its last probe need not be asked again; one that speaks the
    // client's dialect is asked all the same, for it may say more than the catalogue can hold.
    let speaks = |id: &WorkerId| {
        let station = house.station(*id);
        station.is_some_and(|station| station.dialect == dialect)
    };
    if matches!(ask.task, TaskKind::ModelMetadata)
        && knows_tensors(&resolved.facts, ask.version.as_deref())
        && !eligible.iter().any(speaks)
    {
        return Ok(Ways::Known(vec![
            Event::Models(vec![info(&resolved.facts)]),
            Event::End,
        ]));
    }
    if !eligible.is_empty() {
        return Ok(Ways::Workers(resolved, eligible));
    }
    if matches!(ask.task, TaskKind::ModelMetadata) {
        return Ok(Ways::Known(vec![
            Event::Models(vec![info(&resolved.facts)]),
            Event::End,
        ]));
    }
    if let Some(composition) = composition(house, route, &resolved, task) {
        return Ok(Ways::Composed(resolved, composition));
    }
    Err(Failure::unsupported(format!(
        "no worker of the model `{}` offers {task}",
        resolved.name
    )))
}

/// Whether the catalogue knows what a model takes and gives, in the version that is meant.
fn knows_tensors(facts: &ModelFacts, version: Option<&str>) -> bool {
    let told = !facts.inputs.is_empty() || !facts.outputs.is_empty();
    let meant = match version {
        None | Some("") => true,
        Some(version) => matches!(&facts.versions[..], [only] if only == version),
    };
    told && meant
}

fn eligible(house: &House, resolved: &Resolved, dialect: &str, task: &str) -> Arc<[WorkerId]> {
    let offering = resolved.offering(task);
    let speaking = resolved.eligible.iter().copied().filter(|id| {
        house
            .station(*id)
            .is_some_and(|station| station.dialect == dialect)
            && resolved.admits(*id, task)
    });
    let mut all: Vec<WorkerId> = offering
        .into_iter()
        .flat_map(|workers| workers.iter().copied())
        .chain(speaking)
        .collect();
    all.sort_unstable();
    all.dedup();
    all.into()
}

fn composition(house: &House, route: &Route, resolved: &Resolved, task: &str) -> Option<Arc<str>> {
    route
        .spec
        .compositions
        .iter()
        .find(|name| {
            house.shelf.get(name).is_some_and(|generation| {
                generation.manifest().lowerings.iter().any(|lowering| {
                    tasks::name(&lowering.from) == task
                        && lowering
                            .to
                            .iter()
                            .all(|to| resolved.offering(tasks::name(to)).is_some())
                })
            })
        })
        .cloned()
}

/// Where a call waits, and for whom.
pub(crate) struct Queued<'a> {
    pub(crate) resolved: &'a Resolved,
    pub(crate) eligible: Arc<[WorkerId]>,
    pub(crate) batch_key: Option<Key>,
    pub(crate) deadline: tokio::time::Instant,
}

/// Queues a call for one of the workers.
///
/// # Errors
/// When there is no room, or the house has no room for another name.
pub(crate) fn submit(
    house: &House,
    route: &Route,
    identity: &Identity,
    ask: &Ask,
    queued: Queued<'_>,
) -> Result<Place<Member>, Failure> {
    let mut submission = Submission::new(route.spec.queue.clone());
    submission.model = Some(queued.resolved.model.clone());
    submission.tenant = house.names.intern(identity.tenant()).ok();
    submission.batch_key = queued.batch_key;
    submission.eligible = queued.eligible;
    submission.priority = ask.priority.saturating_add(identity.priority());
    submission.input_cost = ask.input_cost;
    submission.output_cost = ask.output_cost.min(MOST_OUTPUT);
    submission.deadline = Some(house.clock.at(queued.deadline));
    submission.bytes = ask.bytes;
    submission.affinity = match &ask.affinity {
        frontend::Affinity::None | frontend::Affinity::Other(_) => Affinity::None,
        frontend::Affinity::Prefer(blocks) => {
            Affinity::Prefer(blocks.iter().copied().take(32).collect())
        }
        frontend::Affinity::Pin(key) => Affinity::Pin(hash(key)),
    };
    route.spec.pool.submit(submission).map_err(|full| {
        house.metrics.rejected(&route.spec.name, "queue-full");
        Failure::overloaded(full.to_string()).with_retry_after(1000)
    })
}

/// What a call that waits is looked up by when workers come or go.
pub(crate) struct Waiting {
    pub(crate) house: Arc<House>,
    pub(crate) route: Arc<Route>,
    pub(crate) identity: Arc<Identity>,
    pub(crate) dialect: Arc<str>,
    pub(crate) ask: Ask,
    pub(crate) resolved: Arc<Resolved>,
}

/// Waits for a worker: at any time for one of those that may serve the call then, in its turn. Gives
/// what was last known of its model, too.
pub(crate) async fn wait(
    call: Waiting,
    mut place: Place<Member>,
) -> (Arc<Resolved>, Result<Assignment<Member>, Rejection>) {
    // The usual case: a worker was free, and nothing has to be watched or looked up anew.
    if let Some(placed) = (&mut place).now_or_never() {
        return (call.resolved, placed);
    }
    let mut resolved = call.resolved.clone();
    let mut published = call.house.catalogue.published();
    loop {
        // The first time too: the catalogue may have been published since the call was looked up.
        // What nobody can serve any more waits for as long as one without a worker may.
        if let Ok(Ways::Workers(now, eligible)) = ways(
            &call.house,
            &call.route,
            &call.identity,
            &call.dialect,
            &call.ask,
        ) {
            place.entitle(eligible);
            resolved = now;
        }
        tokio::select! {
            biased;
            placed = &mut place => return (resolved, placed),
            changed = published.changed() => if changed.is_err() {
                return (resolved, place.await);
            }
        }
    }
}

/// What a worker calls a model, also one that has left the catalogue since it was given the call.
pub(crate) fn served_as(resolved: &Resolved, worker: &WorkerHandle) -> Option<Arc<str>> {
    let known = resolved.served_as(worker.id()).cloned();
    known.or_else(|| worker.served_as(resolved.model.name()))
}

/// FNV-1a, 64 bits: stable over processes, and no secret hangs on it.
fn hash(key: &str) -> u64 {
    key.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// The failure that a rejection is.
pub(crate) fn rejected(rejection: &Rejection) -> Failure {
    match rejection {
        Rejection::OverShare => {
            Failure::rate_limited("this tenant has used up its share").with_retry_after(1000)
        }
        Rejection::TooLate => {
            Failure::deadline_exceeded("the deadline passed, or would have, while waiting")
        }
        Rejection::NoWorker => {
            Failure::overloaded("no worker is ready for this model").with_retry_after(2000)
        }
        Rejection::Overloaded | Rejection::QueueTimeout | Rejection::Other(_) => {
            Failure::overloaded(format!("no worker was free: {rejection}")).with_retry_after(1000)
        }
    }
}

/// The batch key of a materialised call, when some worker merges; the first worker that
/// does decides.
pub(crate) fn batch_key(
    house: &House,
    resolved: &Resolved,
    eligible: &[WorkerId],
    call: &inference::Call,
    sources: &mut Sources,
) -> Option<Key> {
    let station = eligible.iter().find_map(|id| {
        let station = house.station(*id)?;
        (station.handle.spec().max_batch > 1).then_some(station)
    })?;
    let generation = house.backend(&station)?;
    let key = generation
        .batch_key(&worker_of(&station), call, sources)
        .inspect_err(|error| tracing::warn!(%error, "no batch key"))
        .ok()??;
    // Equal keys of two plugins, or of two models, are not equal.
    let key = format!("{}\n{}\n{key}", generation.name(), resolved.model.name());
    house.names.intern(&key).ok()
}

/// Keeps what a worker has told of a model's tensors, until its next probe.
pub(crate) fn learn(
    house: &House,
    resolved: &Resolved,
    worker: Option<WorkerId>,
    info: &inference::ModelInfo,
) {
    let Some(station) = worker.and_then(|worker| house.station(worker)) else {
        return;
    };
    if station
        .handle
        .told(resolved.model.name(), &facts(info.clone()))
    {
        house.publish();
    }
}

/// Whether some worker merges calls.
pub(crate) fn merges(house: &House, eligible: &[WorkerId]) -> bool {
    eligible.iter().any(|id| {
        house.station(*id).is_some_and(|station| {
            station.handle.spec().max_batch > 1 && matches!(station.reach, Reach::Network(_))
        })
    })
}

/// A station, as its backend is told.
pub(crate) fn worker_of(station: &Station) -> backend::Worker {
    backend::Worker {
        name: station.handle.spec().name.clone(),
        dialect: station.dialect.clone(),
        options: station.options.clone(),
        models: station
            .handle
            .spec()
            .models
            .iter()
            .map(|model| model.served_as.clone())
            .collect(),
    }
}

/// A model's facts, as a guest is told.
pub(crate) fn info(facts: &ModelFacts) -> inference::ModelInfo {
    inference::ModelInfo {
        name: facts.name.clone(),
        versions: facts.versions.clone(),
        max_length: facts.max_length,
        max_new_tokens: facts.max_new_tokens,
        parent: facts.parent.clone(),
        tasks: facts.tasks.iter().map(|name| tasks::kind(name)).collect(),
        ready: facts.ready,
        platform: facts.platform.clone(),
        inputs: facts.inputs.iter().map(tensor).collect(),
        outputs: facts.outputs.iter().map(tensor).collect(),
        extensions: facts
            .extensions
            .iter()
            .map(|(name, payload)| types::Extension {
                name: name.clone(),
                payload: payload.clone(),
            })
            .collect(),
    }
}

/// What a guest told of a model, as the catalogue keeps it.
pub(crate) fn facts(info: inference::ModelInfo) -> ModelFacts {
    let tensors = |tensors: Vec<inference::Tensor>| {
        tensors
            .into_iter()
            .map(|tensor| TensorFacts {
                name: tensor.name,
                datatype: datatype_name(&tensor.datatype).to_owned(),
                shape: tensor.shape,
            })
            .collect()
    };
    ModelFacts {
        name: info.name,
        versions: info.versions,
        max_length: info.max_length,
        max_new_tokens: info.max_new_tokens,
        parent: info.parent,
        tasks: info
            .tasks
            .iter()
            .map(|kind| tasks::name(kind).to_owned())
            .collect(),
        ready: info.ready,
        platform: info.platform,
        inputs: tensors(info.inputs),
        outputs: tensors(info.outputs),
        extensions: info
            .extensions
            .into_iter()
            .map(|it| (it.name, it.payload))
            .collect(),
    }
}

fn tensor(facts: &TensorFacts) -> inference::Tensor {
    inference::Tensor {
        name: facts.name.clone(),
        datatype: datatype_of(&facts.datatype),
        shape: facts.shape.clone(),
        data: inference::TensorData::None,
        parameters: Vec::new(),
    }
}

macro_rules! datatypes {
    ($($name:literal => $case:ident,)*) => {
        fn datatype_name(datatype: &types::Datatype) -> &str {
            match datatype {
                $(types::Datatype::$case => $name,)*
                types::Datatype::Other(name) => name,
            }
        }

        fn datatype_of(name: &str) -> types::Datatype {
            match name {
                $($name => types::Datatype::$case,)*
                other => types::Datatype::Other(other.to_owned()),
            }
        }
    };
}

datatypes! {
    "boolean" => Boolean,
    "uint8" => Uint8,
    "uint16" => Uint16,
    "uint32" => Uint32,
    "uint64" => Uint64,
    "int8" => Int8,
    "int16" => Int16,
    "int32" => Int32,
    "int64" => Int64,
    "fp16" => Fp16,
    "fp32" => Fp32,
    "fp64" => Fp64,
    "bf16" => Bf16,
    "bytes" => Bytes,
}
