//! The configuration in force, and how another takes its place while the proxy serves.
//!
//! 1. What serves is one [`Running`]: a configuration and all that was made of it. A request takes the
//!    one in force when it begins ([`Front`]), and stays with its house, routes and plugins to its
//!    end; who was waiting for a worker waits for those that are there now.
//! 2. Another configuration is read, put together beside the one in force, and tried, certificates
//!    included ([`reload`]). Until all of that is done nothing has changed, and when something is
//!    wrong nothing will have.
//! 3. Then everything is put in force at once. What is the same in both goes on: plugins with their
//!    generations, workers with their connections and health, pools with what waits, figures.
//! 4. Former configurations that requests still stand in are bounded: beyond [`FORMER`] the next one
//!    has to wait.
//!
//! It is read at SIGHUP, when its files have changed, and at `POST /reload`.

mod reload;

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::{
    sync::{Notify, watch},
    task::JoinSet,
};
use tollgate_edge::{Control, Crowd};
use tollgate_exchange::{House, Router};
use tollgate_telemetry::LogLevel;

pub(crate) use reload::{Cause, ReloadError, changing_front, terms};

use crate::{
    admin,
    assemble::Assembled,
    handover::{self, Doors, UpgradeError},
    history::History,
    keeper::{Files, Keeper},
    records::Records,
    refresh,
    supervisor::Supervisor,
    tokens,
};

/// Former configurations that requests may still stand in.
const FORMER: usize = 8;

/// How long payloads that wait for their sinks may take at the end.
const TELLING: Duration = Duration::from_secs(3);
/// How long the end waits for the store of limits.
const GIVING_BACK: Duration = Duration::from_secs(1);
/// How often it is looked whether a route that is gone has requests.
const LOOK: Duration = Duration::from_millis(500);

/// What the admin listener shows, and what keeps house: one configuration in force.
pub(crate) struct Running {
    pub(crate) assembled: Assembled,
    pub(crate) ready: Arc<AtomicBool>,
    /// What the log says, and how much of it was lost.
    pub(crate) logs: LogLevel,
    /// Looks after the plugins' and schedulers' generations.
    pub(crate) keeper: Arc<Keeper>,
    /// What the page for operators shows over time.
    pub(crate) history: Arc<History>,
    /// An operator wants it to end.
    pub(crate) end: Arc<Notify>,
    life: Weak<Life>,
}

/// What requests of a listener begin with.
pub(crate) struct Front {
    pub(crate) house: Arc<House>,
    pub(crate) router: Router,
}

/// A listener that serves.
pub(crate) struct Door {
    pub(crate) name: String,
    pub(crate) control: Control,
    pub(crate) front: Arc<ArcSwap<Front>>,
}

/// What is told of configurations.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    /// Reads that were taken in, or found the same.
    pub(crate) good: u64,
    /// Those that were refused.
    pub(crate) bad: u64,
    /// Why the last one was refused, until one is not.
    pub(crate) problem: Option<String>,
    /// Since when the one in force is.
    pub(crate) since: SystemTime,
    /// What it changed, at most [`reload::TOLD`] lines.
    pub(crate) changed: Vec<String>,
}

/// What the process is begun with, beside its configuration.
pub(crate) struct Origin {
    /// The configuration's file.
    pub(crate) path: PathBuf,
    /// It and what it refers to, as they were when it was read.
    pub(crate) files: Files,
    pub(crate) records: Records,
    /// The binary as it was called, for the process that takes this one's place.
    pub(crate) program: PathBuf,
    /// Who started us, if somebody wants to be told.
    pub(crate) supervisor: Supervisor,
}

/// The process's life.
pub(crate) struct Life {
    origin: Fixed,
    files: Mutex<Files>,
    current: ArcSwap<Running>,
    doors: OnceLock<Vec<Door>>,
    /// The sockets, for who takes our place; none of them any more when we let go of them.
    sockets: Mutex<Doors>,
    /// Held while a configuration is taken in, or another process is started.
    turning: tokio::sync::Mutex<()>,
    told: Mutex<Told>,
    /// What looks after the configuration in force.
    tasks: Mutex<JoinSet<()>>,
    /// One a pool, as long as somebody waits in it.
    timers: Mutex<JoinSet<()>>,
    /// Who tells payloads to sinks: one a route that has a log, and those of routes that are gone.
    couriers: Mutex<JoinSet<()>>,
    /// What goes on beside requests where tenants' limits are counted together.
    counting: Mutex<JoinSet<()>>,
    /// Connections of operators.
    operators: Arc<Crowd>,
    /// Another process is being started.
    upgrading: AtomicBool,
    draining: AtomicBool,
    /// Whether somebody has taken our place.
    replaced: watch::Sender<bool>,
}

/// Of the origin, what stays as it is.
struct Fixed {
    path: PathBuf,
    records: Records,
    program: PathBuf,
    supervisor: Supervisor,
}

// === impl Running ===

impl Running {
    /// The life that it is part of; none: the process is ending.
    pub(crate) fn life(&self) -> Option<Arc<Life>> {
        self.life.upgrade()
    }

    /// The one in force by now.
    pub(crate) fn latest(self: &Arc<Self>) -> Arc<Self> {
        self.life()
            .map_or_else(|| self.clone(), |life| life.current())
    }
}

// === impl Life ===

impl Life {
    /// Begins with a configuration. Its pools' timers run from now on.
    pub(crate) fn begin(
        origin: Origin,
        mut assembled: Assembled,
        keeper: Keeper,
        logs: LogLevel,
    ) -> Arc<Self> {
        let mut timers = JoinSet::new();
        for timer in std::mem::take(&mut assembled.timers) {
            timers.spawn(timer.run());
        }
        let mut couriers = JoinSet::new();
        for courier in std::mem::take(&mut assembled.couriers) {
            couriers.spawn(courier.run());
        }
        let mut counting = JoinSet::new();
        for task in std::mem::take(assembled.limit_tasks.get_mut()) {
            counting.spawn(task);
        }
        let Origin {
            path,
            files,
            records,
            program,
            supervisor,
        } = origin;
        Arc::new_cyclic(|life| Self {
            origin: Fixed {
                path,
                records,
                program,
                supervisor,
            },
            files: Mutex::new(files),
            current: ArcSwap::from_pointee(Running {
                assembled,
                ready: Arc::default(),
                logs,
                keeper: Arc::new(keeper),
                history: Arc::new(History::new()),
                end: Arc::default(),
                life: life.clone(),
            }),
            doors: OnceLock::new(),
            sockets: Mutex::default(),
            turning: tokio::sync::Mutex::default(),
            told: Mutex::new(Told {
                good: 0,
                bad: 0,
                problem: None,
                since: SystemTime::now(),
                changed: Vec::new(),
            }),
            tasks: Mutex::default(),
            timers: Mutex::new(timers),
            couriers: Mutex::new(couriers),
            counting: Mutex::new(counting),
            operators: admin::crowd(),
            upgrading: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            replaced: watch::Sender::new(false),
        })
    }

    /// What is in force.
    pub(crate) fn current(&self) -> Arc<Running> {
        self.current.load_full()
    }

    /// The configuration's file.
    pub(crate) fn path(&self) -> &Path {
        &self.origin.path
    }

    /// Who started us.
    pub(crate) fn supervisor(&self) -> &Supervisor {
        &self.origin.supervisor
    }

    /// Connections of operators.
    pub(crate) fn operators(&self) -> &Arc<Crowd> {
        &self.operators
    }

    /// What is told of configurations.
    pub(crate) fn told(&self) -> Told {
        self.told.lock().clone()
    }

    /// Former configurations that requests still stand in.
    pub(crate) fn former(&self) -> usize {
        self.current.load().assembled.fleet.former()
    }

    /// Whether the process is ending.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// The listeners, once they are open.
    pub(crate) fn open(&self, doors: Vec<Door>, sockets: Doors) {
        // They are opened once.
        let _ = self.doors.set(doors);
        *self.sockets.lock() = sockets;
    }

    /// Looks at the configuration's files; whether they are to be read again.
    pub(crate) fn look(&self) -> bool {
        self.files.lock().changed()
    }

    /// What looks after the configuration in force begins; what looked after the one before ends.
    pub(crate) fn tend(&self) {
        let running = self.current();
        let mut tasks = self.tasks.lock();
        tasks.abort_all();
        while tasks.try_join_next().is_some() {}
        tasks.spawn(tokens::keep(running.clone()));
        for keys in running.assembled.identities.keys() {
            tasks.spawn(async move { keys.keep().await });
        }
        tasks.spawn(refresh::keep(running));
    }

    /// Payload logs of routes that are in another configuration as they were go on; those of the
    /// others end with the last request that has them.
    fn turn_couriers(&self, former: &Running, next: &mut Assembled) {
        let mut couriers = self.couriers.lock();
        while couriers.try_join_next().is_some() {}
        for courier in std::mem::take(&mut next.couriers) {
            couriers.spawn(courier.run());
        }
        for route in &former.assembled.routes {
            let Some(log) = route.spec().payloads.clone() else {
                continue;
            };
            let mut routes = next.routes.iter();
            let stays = routes.any(|route| {
                let payloads = route.spec().payloads.as_ref();
                payloads.is_some_and(|it| Arc::ptr_eq(it, &log))
            });
            if !stays {
                let route = Arc::downgrade(route);
                couriers.spawn(async move {
                    while route.strong_count() > 0 {
                        tokio::time::sleep(LOOK).await;
                    }
                    log.close();
                });
            }
        }
    }

    /// Limits that are as they were go on being counted by whoever counts them. Those of a former
    /// configuration are counted on until its last request has ended.
    fn turn_limits(&self, former: &Running, next: &mut Assembled) {
        let before = former.assembled.house.limits.clone();
        let same = match (&before, &next.house.limits) {
            (Some(before), Some(after)) => Arc::ptr_eq(&before.limiter, &after.limiter),
            (None, None) => true,
            _ => false,
        };
        if same {
            return;
        }
        let mut tasks = JoinSet::new();
        for task in std::mem::take(next.limit_tasks.get_mut()) {
            tasks.spawn(task);
        }
        let mut counting = self.counting.lock();
        let ending = std::mem::replace(&mut *counting, tasks);
        if let Some(before) = before {
            let house = Arc::downgrade(&former.assembled.house);
            counting.spawn(async move {
                while house.strong_count() > 0 {
                    tokio::time::sleep(LOOK).await;
                }
                // What is leased and not used is others' at once.
                let _ = tokio::time::timeout(GIVING_BACK, before.limiter.close()).await;
                drop(ending);
            });
        }
    }

    /// What of tenants' limits is leased and not used is given back.
    pub(crate) async fn give_back(&self) {
        let running = self.current();
        if let Some(limits) = &running.assembled.house.limits {
            let _ = tokio::time::timeout(GIVING_BACK, limits.limiter.close()).await;
        }
    }

    /// Payloads that wait are told to their sinks, as far as those take them in time.
    pub(crate) async fn tell_the_rest(&self) {
        for route in &self.current().assembled.routes {
            if let Some(log) = &route.spec().payloads {
                log.close();
            }
        }
        let mut couriers = std::mem::take(&mut *self.couriers.lock());
        let told = async { while couriers.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(TELLING, told).await;
    }

    /// The end is near.
    pub(crate) fn not_ready(&self) {
        self.draining.store(true, Ordering::Relaxed);
        self.current().ready.store(false, Ordering::Relaxed);
    }

    /// The end has begun: sockets are let go of, so that those who listen can close them.
    pub(crate) fn drain(&self) {
        self.not_ready();
        self.sockets.lock().clear();
    }

    /// Has another process of the same program take our place, with our sockets. It reads its
    /// configuration by itself. Gives its number.
    ///
    /// # Errors
    /// It does not serve. Then we go on as if nothing had been.
    pub(crate) async fn upgrade(&self) -> Result<u32, UpgradeError> {
        let Ok(_alone) = self.turning.try_lock() else {
            return Err(UpgradeError::Busy);
        };
        if self.is_draining() {
            return Err(UpgradeError::Ending);
        }
        let doors = handover::copies(&self.sockets.lock())?;
        self.upgrading.store(true, Ordering::Relaxed);
        tracing::info!("another process is started to take this one's place");
        let started = handover::start(&self.origin.program, doors).await;
        self.upgrading.store(false, Ordering::Relaxed);
        match &started {
            Ok(pid) => {
                tracing::info!(pid, "another process serves in this one's place");
                self.supervisor().main(*pid);
                self.replaced.send_replace(true);
            }
            Err(error) => tracing::error!(%error, "this process goes on"),
        }
        started
    }

    /// When another process has taken our place.
    pub(crate) async fn replaced(&self) {
        let mut replaced = self.replaced.subscribe();
        // The sender is ours.
        let _ = replaced.wait_for(|replaced| *replaced).await;
    }

    /// Ends what looks after things.
    pub(crate) async fn shut_down(&self) {
        let tasks = std::mem::take(&mut *self.tasks.lock());
        let timers = std::mem::take(&mut *self.timers.lock());
        let counting = std::mem::take(&mut *self.counting.lock());
        for mut set in [tasks, timers, counting] {
            set.shutdown().await;
        }
    }
}
