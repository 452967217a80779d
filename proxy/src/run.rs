//! Opens the doors, keeps house, and closes the doors.
//!
//! While it serves: workers are probed, pools run their timers, `SIGHUP` and a changed
//! token file are taken in. On SIGTERM or SIGINT: `/readyz` says no, listeners close,
//! what runs goes on until it is done or the drain deadline has passed, and the process
//! ends with success.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use tokio::{
    signal::unix::{SignalKind, signal},
    task::JoinSet,
};
use tollgate_config::{Config, match_order};
use tollgate_edge::{Listener, ListenerLimits, ListenerSpec, TlsSpec, Tokens, drain};
use tollgate_exchange::{Route, Router, serve};
use tollgate_plugin::Shelf;

use crate::{
    admin,
    assemble::{AssembleError, Assembled, assemble},
    gauges,
    keeper::{self, Keeper, Watches, Wish},
    records::Records,
    refresh, tokens,
};

/// How often files of tokens are looked at.
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
    /// Looks after the plugins' and schedulers' generations.
    pub(crate) keeper: Keeper,
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
    // Before they are loaded: what changes meanwhile is seen.
    let watches = Watches::of(&config);
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
    let running = Arc::new(Running {
        keeper: Keeper::new(assembled.bell.clone(), watches.files()),
        assembled,
        ready: AtomicBool::new(false),
        logs,
    });
    gauges::register(&running);
    running.assembled.fleet.begin().await;

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
    keeping.spawn(keeper::keep(running.clone()));
    keeping.spawn(keep_watching(running.clone(), watches));
    keeping.spawn(refresh::keep(running.clone()));
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

/// A file of tokens that is taken in when it changes.
struct TokenFile {
    path: PathBuf,
    tokens: Arc<Tokens>,
    seen: Option<(SystemTime, u64)>,
}

impl TokenFile {
    fn new(path: &Path, tokens: &Arc<Tokens>) -> Self {
        Self {
            path: path.to_owned(),
            tokens: tokens.clone(),
            seen: Self::stamp(path),
        }
    }

    fn stamp(path: &Path) -> Option<(SystemTime, u64)> {
        let metadata = std::fs::metadata(path).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    }

    fn look(&mut self, in_any_case: bool, shelf: &Shelf) {
        let now = Self::stamp(&self.path);
        if in_any_case || (now.is_some() && now != self.seen) {
            self.seen = now;
            tokens::reload(&self.tokens, &self.path, shelf);
        }
    }
}

/// Takes in what changes while it serves: tokens, and at SIGHUP everything.
async fn keep_house(running: Arc<Running>) {
    let Ok(mut hangup) = signal(SignalKind::hangup()) else {
        return;
    };
    let Assembled {
        config,
        tokens,
        operators,
        ..
    } = &running.assembled;
    // What is built in, or named by its digest, does not change.
    let watches = Watches::of(config);
    let files = watches.subjects().cloned();
    let mut changing: Vec<_> = files.chain(refresh::tagged(config)).collect();
    changing.sort();
    changing.dedup();
    let clients = config.tokens.as_ref().map(|section| &section.file);
    let admins = config.admin.as_ref().and_then(|it| it.tokens.as_ref());
    let mut files: Vec<TokenFile> = [clients.zip(tokens.as_ref()), admins.zip(operators.as_ref())]
        .into_iter()
        .flatten()
        .map(|(path, tokens)| TokenFile::new(path.as_path(), tokens))
        .collect();
    loop {
        let hung_up = tokio::select! {
            got = hangup.recv() => got.is_some(),
            () = tokio::time::sleep(WATCH) => false,
        };
        for file in &mut files {
            file.look(hung_up, &running.assembled.house.shelf);
        }
        if hung_up {
            running.assembled.fleet.look_again();
            for subject in &changing {
                // What went wrong has been written to the log.
                let _ = keeper::load(&running, subject.clone(), Wish::Changed).await;
            }
        }
    }
}

/// Takes in plugins and schedulers whose files have changed.
async fn keep_watching(running: Arc<Running>, mut watches: Watches) {
    let every = running.assembled.config.runtime.watch.get();
    if every.is_zero() || watches.files() == 0 {
        return;
    }
    loop {
        tokio::time::sleep(every).await;
        let looked = tokio::task::spawn_blocking(move || {
            let changed = watches.changed();
            (watches, changed)
        });
        let Ok((back, changed)) = looked.await else {
            return;
        };
        watches = back;
        for subject in changed {
            let _ = keeper::load(&running, subject, Wish::Changed).await;
        }
    }
}
