//! Opens the doors, keeps house, and closes the doors.
//!
//! While it serves: workers are probed, pools run their timers, what changes is taken in
//! ([`crate::life`]). It ends in three phases, on SIGTERM or SIGINT:
//!
//! 1. `/readyz` says no, and clients are still let in for `drain.delay`, until balancers have noticed.
//! 2. Listeners close; HTTP/2 connections send GOAWAY, answers over HTTP/1.1 say `Connection: close`.
//!    What runs goes on, for `drain.deadline`.
//! 3. What still runs then is told so, in its client's dialect where that can be, and cut [`LAST`]
//!    later.
//!
//! A second signal cuts at once. When another process has taken our place ([`crate::handover`]), the
//! first phase is left out: it answers those who come.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    task::JoinSet,
};
use tollgate_config::{Config, Demand, match_order};
use tollgate_edge::{
    ClientsSpec, Drain, DrainHandle, Listener, ListenerLimits, ListenerSpec, TlsSpec, drain,
};
use tollgate_exchange::{Route, Router, serve};
use tollgate_telemetry::LogLevel;

use crate::{
    admin,
    assemble::{AssembleError, assemble},
    gauges,
    handover::{Doors, Inherited},
    history,
    keeper::{self, Keeper, Watches, Wish},
    life::{Cause, Door, Life, Origin, changing_front},
    telemetry,
};

pub(crate) use crate::life::Running;

/// How long last words may take to reach their clients.
const LAST: Duration = Duration::from_secs(1);
/// How often it is looked whether files are to be looked at, where they are not.
const ASLEEP: Duration = Duration::from_secs(2);

/// Something keeps the proxy from serving.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    #[error(transparent)]
    Assemble(#[from] AssembleError),
    #[error("{0}")]
    Other(String),
}

fn other(error: impl std::fmt::Display) -> RunError {
    RunError::Other(error.to_string())
}

/// Serves until a signal.
pub(crate) fn run(
    config: Arc<Config>,
    logs: LogLevel,
    origin: Origin,
    inherited: Inherited,
) -> Result<(), RunError> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if let Some(threads) = config.runtime.threads {
        builder.worker_threads(threads.get());
    }
    let runtime = builder.enable_all().build().map_err(other)?;
    let outcome = runtime.block_on(serve_all(config, logs, origin, inherited));
    // A component that is being compiled, a file system that does not answer: nobody waits for it.
    runtime.shutdown_timeout(LAST);
    outcome
}

async fn serve_all(
    config: Arc<Config>,
    logs: LogLevel,
    origin: Origin,
    mut inherited: Inherited,
) -> Result<(), RunError> {
    // Before anything takes its time: a signal that comes meanwhile is not lost, and ends nothing.
    let mut signals = Signals::new()?;
    let life = tokio::select! {
        life = prepare(config.clone(), logs, origin) => life?,
        () = signals.told() => {
            tracing::info!("told to end before it served");
            return Ok(());
        }
    };

    let (drain, draining) = drain();
    let mut keeping = JoinSet::new();
    // It answers until the end, and is no part of the drain that it tells of; but where another
    // process has taken our place, operators are answered by that one.
    let mut operators = JoinSet::new();
    let (answered, answering) = tollgate_edge::drain();
    let mut sockets = Doors::default();
    let mut doors = JoinSet::new();
    let mut fronts = Vec::new();
    for section in &config.listeners {
        let listener = listen(section, &life, &mut inherited).await?;
        sockets.push(section.name.as_str(), listener.handle().map_err(other)?);
        let front = open(
            listener,
            section.name.as_str(),
            &life,
            &mut doors,
            &draining,
        );
        fronts.push(front);
    }
    if let Some(section) = &config.admin {
        let listener = admin::bind(section, &mut inherited).await.map_err(other)?;
        sockets.push(admin::NAME, listener.handle().map_err(other)?);
        operators.spawn(admin::serve(
            listener,
            section.clone(),
            life.clone(),
            answering,
        ));
        keeping.spawn(history::keep(life.clone()));
    }
    inherited.drop_the_rest();
    life.open(fronts, sockets);
    keeping.spawn(on_hangup(life.clone())?);
    keeping.spawn(on_upgrade(life.clone())?);
    keeping.spawn(keeper::keep(life.clone()));
    keeping.spawn(keep_watching(life.clone()));
    keeping.spawn(crate::supervisor::reassure(life.clone()));
    life.tend();
    telemetry::begin(&life.current(), &mut keeping);
    life.current().ready.store(true, Ordering::Relaxed);
    tracing::info!("ready");
    life.supervisor().ready();
    inherited.serves();

    let replaced = ending(&life, &mut signals).await;
    if replaced {
        answered.start(LAST);
    }
    end(&life, &mut signals, replaced, (drain, draining), doors).await;
    if replaced {
        // Whoever asked for it is told; what is left then has been aborted.
        while operators.join_next().await.is_some() {}
    }
    operators.shutdown().await;
    life.give_back().await;
    life.tell_the_rest().await;
    keeping.shutdown().await;
    life.shut_down().await;
    telemetry::end(&life.current()).await;
    if let Some(recording) = &life.current().assembled.recording {
        recording.close();
    }
    Ok(())
}

/// Everything but the doors.
async fn prepare(
    config: Arc<Config>,
    logs: LogLevel,
    origin: Origin,
) -> Result<Arc<Life>, RunError> {
    // Before they are loaded: what changes meanwhile is seen.
    let watches = Watches::of(&config);
    let records = origin.records.clone();
    let assembled = tokio::task::spawn_blocking(move || assemble(config, &records, None))
        .await
        .map_err(other)??;
    let keeper = Keeper::new(assembled.bell.clone(), watches);
    let life = Life::begin(origin, assembled, keeper, logs);
    gauges::register(&life);
    life.current().assembled.fleet.begin().await;
    Ok(life)
}

async fn listen(
    section: &tollgate_config::Listener,
    life: &Life,
    inherited: &mut Inherited,
) -> Result<Listener, RunError> {
    let spec = listener_spec(section);
    let metrics = life.current().assembled.house.metrics.clone();
    let listener = match inherited.take(section.name.as_str(), section.address) {
        Some(socket) => Listener::adopt(spec, socket, metrics).await,
        None => Listener::bind(spec, metrics).await,
    };
    let listener = listener.map_err(other)?;
    let address = listener.local_addr();
    tracing::info!(listener = section.name.as_str(), %address, "listening");
    Ok(listener)
}

/// Has a listener serve whatever configuration is in force.
fn open(
    listener: Listener,
    name: &str,
    life: &Life,
    doors: &mut JoinSet<()>,
    draining: &Drain,
) -> Door {
    let front = changing_front(&life.current(), name);
    let control = listener.control();
    let in_force = front.clone();
    let service = move |request, peer| {
        let front = in_force.load();
        serve(front.house.clone(), front.router.clone(), request, peer)
    };
    doors.spawn(listener.serve(service, draining.clone()));
    Door {
        name: name.to_owned(),
        control,
        front,
    }
}

/// Waits for the end. Gives whether another process has taken our place.
async fn ending(life: &Life, signals: &mut Signals) -> bool {
    let asked = life.current().end.clone();
    tokio::select! {
        () = signals.told() => false,
        () = asked.notified() => false,
        () = life.replaced() => true,
    }
}

/// Ends in order.
async fn end(
    life: &Life,
    signals: &mut Signals,
    replaced: bool,
    (drain, draining): (DrainHandle, Drain),
    mut doors: JoinSet<()>,
) {
    let config = life.current().assembled.config.clone();
    let (delay, deadline) = (config.drain.delay.get(), config.drain.deadline.get());
    life.not_ready();
    tracing::info!(?delay, ?deadline, replaced, "draining");
    if replaced {
        life.drain();
    } else {
        life.supervisor().stopping();
        let hurried = tokio::select! {
            () = tokio::time::sleep(delay) => false,
            () = signals.told() => true,
        };
        life.drain();
        if hurried {
            tracing::warn!("told twice to end: what runs is cut");
            drain.start(Duration::ZERO);
        }
    }
    drop(draining);
    drain.start(deadline.saturating_add(LAST));
    let over = async { while doors.join_next().await.is_some() {} };
    let late = tokio::time::sleep(deadline);
    tokio::pin!(over, late);
    // The first signal to a process that another one replaced only says what it does already.
    let (mut told, mut closed) = (!replaced, false);
    loop {
        tokio::select! {
            () = &mut over => break,
            () = &mut late, if !closed => {
                closed = true;
                tracing::warn!("the time to drain is over: what runs is ended");
                life.current().assembled.house.closing.close();
            }
            () = signals.told() => {
                if std::mem::replace(&mut told, true) {
                    tracing::warn!("told twice to end: what runs is cut");
                    drain.start(Duration::ZERO);
                }
            }
        }
    }
    tracing::info!("drained");
}

/// What tells the process to end.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> Result<Self, RunError> {
        Ok(Self {
            terminate: signal(SignalKind::terminate()).map_err(other)?,
            interrupt: signal(SignalKind::interrupt()).map_err(other)?,
        })
    }

    async fn told(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// A listener as the edge has it.
pub(crate) fn listener_spec(section: &tollgate_config::Listener) -> ListenerSpec {
    let limits = &section.limits;
    ListenerSpec {
        name: section.name.to_string(),
        address: section.address,
        tls: section.tls.as_ref().map(tls_spec),
        limits: ListenerLimits {
            connections: limits.connections.get(),
            header_bytes: limits.header_bytes.get(),
            header_count: limits.header_count.get(),
            header_timeout: limits.header_timeout.get(),
            idle_timeout: limits.idle_timeout.get(),
            handshake_timeout: limits.handshake_timeout.get(),
            h2_streams: limits.h2_streams.get_u32(),
        },
    }
}

pub(crate) fn tls_spec(tls: &tollgate_config::ListenerTls) -> TlsSpec {
    let path = |file: &tollgate_config::FilePath| file.as_path().to_owned();
    let pairs = tls.certificates.iter();
    let pairs = pairs.map(|pair| (path(&pair.cert), path(&pair.key)));
    TlsSpec {
        clients: tls.clients.as_ref().map(|clients| ClientsSpec {
            ca: path(&clients.ca),
            revoked: clients.revoked.iter().map(path).collect(),
            required: clients.demand == Demand::Required,
        }),
        ..TlsSpec::new(pairs.collect())
    }
}

/// The routes of one listener, in the order in which they are tried.
pub(crate) fn router(config: &Config, listener: &str, routes: &[Arc<Route>]) -> Router {
    let by_name: HashMap<String, Arc<Route>> = routes
        .iter()
        .map(|route| (route.name().to_string(), route.clone()))
        .collect();
    let mut listeners = config.listeners.iter();
    let listener = listeners.find(|section| section.name.as_str() == listener);
    let ways = listener.map(|section| match_order(config, &section.name));
    let order: Vec<_> = ways
        .into_iter()
        .flatten()
        .filter_map(|it| {
            let route = by_name.get(it.route.name.as_str())?.clone();
            Some((it.host.cloned(), it.prefix.cloned(), route))
        })
        .collect();
    Arc::new(move |_listener, host, path| {
        order.iter().find_map(|(pattern, prefix, route)| {
            if let Some(pattern) = pattern
                && !host.is_some_and(|host| pattern.matches(host))
            {
                return None;
            }
            let path = match prefix {
                Some(prefix) => prefix.strip(path)?,
                None => path,
            };
            Some((route.clone(), path.to_owned()))
        })
    })
}

/// Takes in everything at SIGHUP.
fn on_hangup(life: Arc<Life>) -> Result<impl Future<Output = ()>, RunError> {
    let mut hangup = signal(SignalKind::hangup()).map_err(other)?;
    Ok(async move {
        while hangup.recv().await.is_some() {
            // What went wrong has been written to the log.
            let _ = life.take_in(Cause::Hangup).await;
        }
    })
}

/// Has another process take our place at SIGUSR2.
fn on_upgrade(life: Arc<Life>) -> Result<impl Future<Output = ()>, RunError> {
    let mut asked = signal(SignalKind::user_defined2()).map_err(other)?;
    Ok(async move {
        while asked.recv().await.is_some() {
            // What went wrong has been written to the log.
            let _ = life.upgrade().await;
        }
    })
}

/// Takes in the configuration, plugins and schedulers whose files have changed.
async fn keep_watching(life: Arc<Life>) {
    loop {
        let every = life.current().assembled.config.runtime.watch.get();
        if every.is_zero() {
            tokio::time::sleep(ASLEEP).await;
            continue;
        }
        tokio::time::sleep(every).await;
        let looking = life.clone();
        let looked =
            tokio::task::spawn_blocking(move || (looking.look(), looking.current().keeper.look()));
        let Ok((configuration, subjects)) = looked.await else {
            return;
        };
        // What went wrong has been written to the log.
        if configuration {
            let _ = life.reload(Cause::Changed).await;
        }
        for subject in subjects {
            let _ = keeper::load(&life.current(), subject, Wish::Changed).await;
        }
    }
}
