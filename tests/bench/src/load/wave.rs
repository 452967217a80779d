//! Clients that come all at once, ask once, and leave; wave after wave.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::{task::JoinSet, time::Instant};

use super::{
    lane::{Lane, Turn},
    options::Plan,
    record::{Recorder, Report},
};

/// Runs the waves.
pub(super) async fn run(plan: Plan, clients: u32, waves: u32) -> Report {
    let plan = Arc::new(plan);
    let recorder = Arc::new(Mutex::new(Recorder::new(plan.kinds.len())));
    let start = Instant::now();
    for wave in 0..waves {
        let mut tasks = JoinSet::new();
        for client in 0..clients {
            let number = wave as usize * clients as usize + client as usize;
            let mut lane = Lane::alone(&plan, number, recorder.clone());
            tasks.spawn(async move {
                let due = Instant::now();
                lane.turn(Turn { due, counted: true }).await;
            });
        }
        while tasks.join_next().await.is_some() {}
    }
    let names: Vec<_> = plan.kinds.iter().map(|kind| kind.name.clone()).collect();
    let own = std::mem::replace(&mut *recorder.lock(), Recorder::new(plan.kinds.len()));
    own.report(&names, start)
}
