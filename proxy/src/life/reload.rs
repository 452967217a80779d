//! Reads the configuration again, and takes it in whole or not at all.

use std::{
    sync::{Arc, atomic::Ordering},
    time::SystemTime,
};

use arc_swap::ArcSwap;
use tokio::sync::MutexGuard;
use tollgate_config::{Config, Errors};
use tollgate_edge::{CertificateError, Control, Prepared};

use super::{FORMER, Front, Life, Running};
use crate::{
    assemble::{AssembleError, Assembled, assemble},
    fleet::Ground,
    keeper::{self, Watches, Wish},
    refresh, run, tokens,
};

/// Changes that are kept to be told. All of them are in the log.
pub(super) const TOLD: usize = 64;

/// Why it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// SIGHUP.
    Hangup,
    /// Its files have changed.
    Changed,
    /// An operator asks.
    Asked,
}

/// Nothing has changed, because.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReloadError {
    #[error("{0}")]
    Config(#[from] Errors),
    #[error(
        "what takes another process has changed: {}; restart, or have one take this one's place \
         (SIGUSR2, `tollgate upgrade`)", .0.join(", ")
    )]
    Fixed(Vec<String>),
    #[error("requests are still served by {0} former configurations; one of them has to end first")]
    Former(usize),
    #[error(transparent)]
    Assemble(#[from] AssembleError),
    #[error("listener {listener}: {source}")]
    Certificates {
        listener: String,
        source: CertificateError,
    },
    #[error("another process is being started to take this one's place")]
    Upgrading,
    #[error("the proxy is ending")]
    Ending,
}

impl Life {
    /// Takes in everything that may have changed: the configuration, tokens, plugins and schedulers,
    /// and workers that are looked for. Gives what of the configuration has changed.
    ///
    /// # Errors
    /// See [`ReloadError`]: then the configuration in force stays; the rest has been taken in, unless
    /// another process is being started.
    pub(crate) async fn take_in(&self, cause: Cause) -> Result<Vec<String>, ReloadError> {
        let turn = self.next_turn(cause).await?;
        self.supervisor().reloading();
        let taken = self.read_again(cause).await;
        drop(turn);
        let running = self.current();
        tokens::reload_all(&running);
        running.assembled.fleet.look_again();
        // What is built in, or named by its digest, does not change.
        let mut subjects = running.keeper.subjects();
        subjects.extend(refresh::tagged(&running.assembled.config));
        subjects.sort();
        subjects.dedup();
        for subject in subjects {
            // What went wrong has been written to the log.
            let _ = keeper::load(&running, subject, Wish::Changed).await;
        }
        self.supervisor().ready();
        taken
    }

    /// Reads the configuration again and takes it in. Gives what has changed.
    ///
    /// # Errors
    /// See [`ReloadError`]: then nothing has changed.
    pub(crate) async fn reload(&self, cause: Cause) -> Result<Vec<String>, ReloadError> {
        let _one_at_a_time = self.next_turn(cause).await?;
        self.read_again(cause).await
    }

    /// Waits for its turn. While another process is started that can take minutes: an operator is told
    /// so at once, and nobody waits for the others.
    async fn next_turn(&self, cause: Cause) -> Result<MutexGuard<'_, ()>, ReloadError> {
        if let Ok(turn) = self.turning.try_lock() {
            return Ok(turn);
        }
        if self.upgrading.load(Ordering::Relaxed) {
            if cause == Cause::Asked {
                return Err(ReloadError::Upgrading);
            }
            tracing::info!(
                ?cause,
                "the configuration is read again when the other process serves or has failed"
            );
        }
        Ok(self.turning.lock().await)
    }

    async fn read_again(&self, cause: Cause) -> Result<Vec<String>, ReloadError> {
        let taken = self.turn().await;
        let mut told = self.told.lock();
        match &taken {
            Ok(changes) => {
                told.good += 1;
                told.problem = None;
                if changes.is_empty() {
                    tracing::debug!(?cause, "the configuration is as it was");
                } else {
                    told.since = SystemTime::now();
                    told.changed = changes.iter().take(TOLD).cloned().collect();
                    for change in changes {
                        tracing::info!(change, "the configuration has changed");
                    }
                    let count = changes.len();
                    tracing::info!(?cause, changes = count, "another configuration is in force");
                }
            }
            Err(error) => {
                told.bad += 1;
                told.problem = Some(error.to_string());
                tracing::error!(?cause, %error, "the configuration in force stays");
            }
        }
        taken
    }

    async fn turn(&self) -> Result<Vec<String>, ReloadError> {
        if self.is_draining() {
            return Err(ReloadError::Ending);
        }
        let former = self.current();
        let path = self.path().to_owned();
        let loaded = blocking(move || Config::load_with_files(&path)).await??;
        self.files.lock().cover(loaded.files);
        let before = &former.assembled.config;
        let changes = tollgate_config::changes(before, &loaded.config);
        if changes.is_empty() {
            return Ok(Vec::new());
        }
        let fixed = tollgate_config::fixed(before, &loaded.config);
        if !fixed.is_empty() {
            return Err(ReloadError::Fixed(fixed));
        }
        let serving = former.assembled.fleet.former();
        if serving >= FORMER {
            return Err(ReloadError::Former(serving));
        }
        let config = Arc::new(loaded.config);
        let _nothing_is_loaded = former.keeper.at_rest().await;
        // Before they are loaded: what changes meanwhile is seen.
        let watches = Watches::of(&config);
        let (records, base, ours) = (self.origin.records.clone(), former.clone(), config.clone());
        let assembled = blocking(move || assemble(ours, &records, Some(&base.assembled))).await??;
        let terms = terms(&config).await?;
        self.put(&former, assembled, terms, watches).await;
        Ok(changes.iter().map(ToString::to_string).collect())
    }

    /// Puts a configuration in force. Nothing can fail any more.
    async fn put(
        &self,
        former: &Arc<Running>,
        mut assembled: Assembled,
        terms: Vec<(String, Prepared)>,
        watches: Watches,
    ) {
        let config = assembled.config.clone();
        if config.log.level != former.assembled.config.log.level {
            // The level is one of those that there are.
            let _ = former.logs.set_filter(config.log.level.as_str());
        }
        {
            let mut timers = self.timers.lock();
            while timers.try_join_next().is_some() {}
            for timer in std::mem::take(&mut assembled.timers) {
                timers.spawn(timer.run());
            }
        }
        self.turn_couriers(former, &mut assembled);
        self.turn_limits(former, &mut assembled);
        for (scheduler, limits) in std::mem::take(&mut assembled.bounds) {
            if let Some(crew) = assembled.crews.get(&scheduler)
                && let Err(error) = crew.pool.bound(limits)
            {
                tracing::error!(%error, "a pool keeps its bounds");
            }
        }
        let pools = std::mem::take(&mut assembled.pools);
        let fleet = assembled.fleet.clone();
        let ground = Ground::new(config.clone(), assembled.house.clone(), pools);
        let fresh = fleet.turn(ground);
        let next = Arc::new(Running {
            assembled,
            ready: former.ready.clone(),
            logs: former.logs.clone(),
            keeper: former.keeper.clone(),
            history: former.history.clone(),
            end: former.end.clone(),
            life: former.life.clone(),
        });
        next.keeper.turn(&config, watches);
        self.current.store(next.clone());
        for door in self.doors.get().into_iter().flatten() {
            door.front.store(Arc::new(front(&next, &door.name)));
        }
        for (name, prepared) in terms {
            let mut doors = self.doors.get().into_iter().flatten();
            if let Some(door) = doors.find(|door| door.name == name) {
                door.control.put(prepared);
            }
        }
        // What became of plugins since they were taken over, and schedulers that are new.
        let then = next.clone();
        let _ = blocking(move || {
            then.assembled.house.shelf.catch_up();
            then.assembled.schedulers.catch_up();
            keeper::follow(&then);
        })
        .await;
        self.tend();
        fleet.bring_in(fresh).await;
    }
}

/// On which terms each listener accepts connections under a configuration: its certificates are read.
///
/// # Errors
/// Some of them cannot be used.
pub(crate) async fn terms(config: &Config) -> Result<Vec<(String, Prepared)>, ReloadError> {
    let mut terms = Vec::new();
    for listener in &config.listeners {
        let spec = run::listener_spec(listener);
        let prepared = Control::prepare(spec.limits, spec.tls.as_ref()).await;
        let prepared = prepared.map_err(|source| ReloadError::Certificates {
            listener: listener.name.to_string(),
            source,
        })?;
        terms.push((listener.name.to_string(), prepared));
    }
    Ok(terms)
}

/// What requests of a listener begin with under a configuration.
pub(crate) fn front(running: &Running, listener: &str) -> Front {
    let assembled = &running.assembled;
    Front {
        house: assembled.house.clone(),
        router: run::router(&assembled.config, listener, &assembled.routes),
    }
}

/// The same, to be changed.
pub(crate) fn changing_front(running: &Running, listener: &str) -> Arc<ArcSwap<Front>> {
    Arc::new(ArcSwap::from_pointee(front(running, listener)))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ReloadError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| ReloadError::Ending)
}
