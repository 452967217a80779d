//! Asks each worker how it is, again and again.

use std::sync::{Arc, Weak};

use tollgate_config::Worker;
use tollgate_exchange::{Station, probe};

use super::{Fleet, station};

/// Probes a worker until it is told to end, or the fleet is gone.
pub(super) async fn keep(fleet: &Weak<Fleet>, worker: &Worker, station: &Arc<Station>) {
    let Some(settings) = station::probe(worker) else {
        return;
    };
    loop {
        tokio::time::sleep(settings.interval.get()).await;
        let Some(fleet) = fleet.upgrade() else {
            return;
        };
        take(&fleet, worker, station).await;
    }
}

/// One probe, and what follows from it.
pub(super) async fn take(fleet: &Fleet, worker: &Worker, station: &Arc<Station>) {
    let Some(settings) = station::probe(worker) else {
        return;
    };
    let ground = fleet.ground.load_full();
    let report = probe(&ground.house, station, settings.timeout.get()).await;
    if let (false, Some(reason)) = (report.ready, &report.reason) {
        tracing::debug!(worker = station.handle.spec().name, %reason, "not ready");
    }
    let Some(pool) = ground.pool(worker) else {
        return;
    };
    let Some(changed) = pool.probed(station.handle.id(), report) else {
        return;
    };
    if changed.fitness || changed.models {
        let status = station.handle.status();
        tracing::info!(
            worker = station.handle.spec().name,
            accepting = status.accepting,
            reason = status.reason.as_deref().unwrap_or("-"),
            "worker changed"
        );
        fleet.publish();
    }
}
