//! Opens the doors, keeps house, and closes the doors.
//!
//! While it serves: workers are probed, pools run their timers, `SIGHUP` and a changed
//! token file are taken in. On SIGTERM or SIGINT: `/readyz` says no, listeners close,
//! what runs goes on until it is done or the drain deadline has passed, and the process
//! ends with success.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    signal::unix::{SignalKind, signal},
    task::JoinSet,
};
use tollgate_config::{Config, Probe, match_order};
use tollgate_edge::{Listener, ListenerLimits, ListenerSpec, TlsSpec, drain};
use tollgate_exchange::{Route, Router, Station, probe, serve};
use tollgate_plugin::Generation;

use crate::{
    admin,
    assemble::{AssembleError, Assembled, assemble},
    gauges, plugins,
    records::Records,
    tokens,
};

/// How often files that may change are looked at.
const WATCH: Duration = Duration::from_secs(2);

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

/// What the admin listener shows, and what keeps house.
pub(crate) struct Running {
    pub(crate) assembled: Assembled,
    pub(crate) ready: AtomicBool,
    /// Lines that the log has lost.
    pub(crate) logs: Arc<AtomicU64>,
    /// Schedulers in force, by name.
    pub(crate) schedulers: Mutex<HashMap<String, Arc<Generation>>>,
}

/// Serves until a signal.
pub(crate) fn run(
    config: Arc<Config>,
    logs: Arc<AtomicU64>,
    records: Records,
) -> Result<(), RunError> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if let Some(threads) = config.runtime.threads {
        builder.worker_threads(threads.get());
    }
    let runtime = builder.enable_all().build().map_err(other)?;
    runtime.block_on(serve_all(config, logs, records))
}

async fn serve_all(
    config: Arc<Config>,
    logs: Arc<AtomicU64>,
    records: Records,
) -> Result<(), RunError> {
    let mut assembled = {
        let config = config.clone();
        tokio::task::spawn_blocking(move || assemble(config, &records))
            .await
            .map_err(other)??
    };
    let mut keeping = JoinSet::new();
    for timer in std::mem::take(&mut assembled.timers) {
        keeping.spawn(timer.run());
    }
    let schedulers = assembled
        .crews
        .iter()
        .filter_map(|(name, crew)| Some((name.clone()?, crew.generation.clone()?)))
        .collect();
    let running = Arc::new(Running {
        assembled,
        ready: AtomicBool::new(false),
        logs,
        schedulers: Mutex::new(schedulers),
    });
    gauges::register(&running);
    probe_all_once(&running).await;
    for station in &running.assembled.workers {
        keeping.spawn(keep_probing(running.clone(), station.clone()));
    }

    let (drain, draining) = drain();
    let mut doors = JoinSet::new();
    for section in &config.listeners {
        let metrics = running.assembled.house.metrics.clone();
        let listener = Listener::bind(listener_spec(section), metrics)
            .await
            .map_err(other)?;
        let address = listener.local_addr();
        tracing::info!(listener = section.name.as_str(), %address, "listening");
        let house = running.assembled.house.clone();
        let router = router(&config, &section.name, &running.assembled.routes);
        let service = move |request, peer| serve(house.clone(), router.clone(), request, peer);
        doors.spawn(listener.serve(service, draining.clone()));
    }
    if let Some(section) = &config.admin {
        let listener = tokio::net::TcpListener::bind(section.address)
            .await
            .map_err(|error| other(format!("admin {}: {error}", section.address)))?;
        keeping.spawn(admin::serve(listener, running.clone()));
    }
    keeping.spawn(keep_house(running.clone()));
    running.ready.store(true, Ordering::Relaxed);
    tracing::info!("ready");

    let mut terminate = signal(SignalKind::terminate()).map_err(other)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(other)?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    running.ready.store(false, Ordering::Relaxed);
    let deadline = config.drain.deadline.get();
    tracing::info!(?deadline, "draining");
    drop(draining);
    drain.start(deadline);
    while doors.join_next().await.is_some() {}
    tracing::info!("drained");
    keeping.shutdown().await;
    if let Some(recording) = &running.assembled.recording {
        recording.close();
    }
    Ok(())
}

fn listener_spec(section: &tollgate_config::Listener) -> ListenerSpec {
    let limits = &section.limits;
    ListenerSpec {
        name: section.name.to_string(),
        address: section.address,
        tls: section.tls.as_ref().map(|tls| {
            TlsSpec::new(
                tls.certificates
                    .iter()
                    .map(|pair| {
                        (
                            pair.cert.as_path().to_owned(),
                            pair.key.as_path().to_owned(),
                        )
                    })
                    .collect(),
            )
        }),
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

/// The routes of one listener, in the order in which they are tried.
fn router(config: &Arc<Config>, listener: &tollgate_config::Name, routes: &[Arc<Route>]) -> Router {
    let by_name: HashMap<String, Arc<Route>> = routes
        .iter()
        .map(|route| (route.name().to_string(), route.clone()))
        .collect();
    let order: Vec<_> = match_order(config, listener)
        .into_iter()
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

/// One probe of every worker before the doors open, so that the first request finds
/// models; a worker that does not answer delays nobody longer than its time-out.
async fn probe_all_once(running: &Arc<Running>) {
    let mut probes = JoinSet::new();
    for station in &running.assembled.workers {
        let running = running.clone();
        let station = station.clone();
        probes.spawn(async move { take_probe(&running, &station).await });
    }
    while probes.join_next().await.is_some() {}
}

fn settings(running: &Running, station: &Station) -> Option<tollgate_config::ProbeSettings> {
    let name = &station.handle.spec().name;
    running
        .assembled
        .config
        .workers
        .iter()
        .find(|worker| worker.name.as_str() == *name)
        .and_then(|worker| match &worker.probe {
            Probe::Off => None,
            Probe::On(settings) => Some(settings.clone()),
        })
}

async fn keep_probing(running: Arc<Running>, station: Arc<Station>) {
    let Some(settings) = settings(&running, &station) else {
        return;
    };
    loop {
        tokio::time::sleep(settings.interval.get()).await;
        take_probe(&running, &station).await;
    }
}

async fn take_probe(running: &Running, station: &Station) {
    let Some(settings) = settings(running, station) else {
        return;
    };
    let house = &running.assembled.house;
    let report = probe(house, station, settings.timeout.get()).await;
    let id = station.handle.id();
    if let (false, Some(reason)) = (report.ready, &report.reason) {
        tracing::debug!(worker = station.handle.spec().name, %reason, "not ready");
    }
    for crew in running.assembled.crews.values() {
        let Some(changed) = crew.pool.probed(id, report.clone()) else {
            continue;
        };
        if changed.fitness || changed.models {
            let status = station.handle.status();
            tracing::info!(
                worker = station.handle.spec().name,
                accepting = status.accepting,
                reason = status.reason.as_deref().unwrap_or("-"),
                "worker changed"
            );
            let handles: Vec<_> = running
                .assembled
                .workers
                .iter()
                .map(|station| station.handle.clone())
                .collect();
            house.catalogue.publish(&handles);
        }
    }
}

/// Takes in what changes while it serves.
async fn keep_house(running: Arc<Running>) {
    let Ok(mut hangup) = signal(SignalKind::hangup()) else {
        return;
    };
    let tokens_file = running
        .assembled
        .config
        .tokens
        .as_ref()
        .map(|section| section.file.as_path().to_owned());
    let stamp = |path: &std::path::Path| {
        let metadata = std::fs::metadata(path).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    };
    let mut seen = tokens_file.as_deref().and_then(stamp);
    loop {
        let hung_up = tokio::select! {
            got = hangup.recv() => got.is_some(),
            () = tokio::time::sleep(WATCH) => false,
        };
        if let (Some(path), Some(tokens)) = (&tokens_file, &running.assembled.tokens) {
            let now = stamp(path);
            if hung_up || (now.is_some() && now != seen) {
                seen = now;
                tokens::reload(tokens, path);
            }
        }
        if hung_up {
            let running = running.clone();
            let _ = tokio::task::spawn_blocking(move || reload(&running)).await;
        }
    }
}

/// Puts changed plugin and scheduler files in force. What runs keeps what it began with.
fn reload(running: &Running) {
    let Assembled {
        config,
        house,
        loader,
        routes,
        crews,
        ..
    } = &running.assembled;
    let changed = plugins::reload(loader, config, &house.shelf);
    if !changed.is_empty() {
        for route in routes {
            if let Err(error) = route.refresh(&house.shelf) {
                tracing::error!(%error, "the route keeps its claims");
            }
        }
    }
    for (name, crew) in crews {
        let Some((name, section)) = name.as_ref().and_then(|name| {
            let (_, section) = config
                .schedulers
                .iter()
                .find(|(known, _)| known.as_str() == name)?;
            Some((name, section))
        }) else {
            continue;
        };
        match plugins::load_scheduler(loader, name, section) {
            Ok(generation) => {
                let mut schedulers = running.schedulers.lock();
                let same = schedulers
                    .get(name)
                    .is_some_and(|old| old.is_same(&generation));
                if same {
                    continue;
                }
                let source = Arc::new(plugins::policies(generation.clone()));
                match crew.pool.swap(source) {
                    Ok(()) => {
                        tracing::info!(scheduler = name, "a new scheduler is in force");
                        schedulers.insert(name.clone(), generation);
                    }
                    Err(error) => tracing::error!(%error, "the scheduler in force stays"),
                }
            }
            Err(error) => tracing::error!(%error, "the scheduler in force stays"),
        }
    }
}
