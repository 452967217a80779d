//! A worker leaves: nothing new goes there, its requests go on to their end or to a deadline, and
//! then its connections close.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::{sync::watch, time::Instant};
use tollgate_dispatch::{policy::WorkerId, pool::Pool};
use tollgate_exchange::{Member, Reach, Station};

use super::{Fleet, Post, Section};

/// How often it is looked whether requests still run there.
const LOOK: Duration = Duration::from_millis(50);

/// A worker that is leaving. Dropped, its time is over at once.
pub(super) struct Leaving {
    id: WorkerId,
    _time: watch::Sender<()>,
}

impl Fleet {
    /// Lets a worker leave, within so long. When more than `most` of its section are leaving, the
    /// time of the first of them is over.
    pub(super) fn retire(
        &self,
        name: &str,
        section: &mut Section,
        post: Post,
        most: usize,
        drain: Duration,
    ) {
        let Post {
            station,
            pool,
            keeper,
            ..
        } = post;
        if let Some(keeper) = keeper {
            keeper.abort();
        }
        let id = station.handle.id();
        tracing::info!(worker = station.handle.spec().name, "a worker leaves");
        station.handle.drain(true);
        if let Some(pool) = &pool {
            pool.drain_worker(id, true);
        }
        self.workers.remove(id);
        let (time, over) = watch::channel(());
        if section.leaving.len() >= most {
            section.leaving.remove(0);
        }
        section.leaving.push(Leaving { id, _time: time });
        let (me, name) = (self.me.clone(), name.to_owned());
        self.spawn(leave(me, name, station, pool, drain, over));
    }

    fn left(&self, section: &str, id: WorkerId) {
        self.ground.load().house.stations.remove(id);
        let mut sections = self.sections.lock();
        if let Some(of) = sections.get_mut(section) {
            of.leaving.retain(|one| one.id != id);
            // Of a section that is in no configuration any more, this was the last.
            if of.leaving.is_empty() && of.posts.is_empty() && of.looker.is_none() {
                sections.remove(section);
            }
        }
    }
}

async fn leave(
    fleet: Weak<Fleet>,
    section: String,
    station: Arc<Station>,
    pool: Option<Pool<Member>>,
    drain: Duration,
    mut over: watch::Receiver<()>,
) {
    let id = station.handle.id();
    let deadline = Instant::now() + drain;
    let mut in_time = true;
    while in_time && !idle(&station, pool.as_ref()) {
        in_time = tokio::select! {
            () = tokio::time::sleep(LOOK) => true,
            () = tokio::time::sleep_until(deadline) => false,
            _ = over.changed() => false,
        };
    }
    if let Some(pool) = &pool {
        pool.remove_worker(id);
    }
    if let Reach::Network(upstream) = &station.reach {
        match in_time {
            true => upstream.close(),
            false => upstream.sever(),
        }
    }
    let name = &station.handle.spec().name;
    tracing::info!(worker = name, in_time, "a worker has left");
    if let Some(fleet) = fleet.upgrade() {
        fleet.left(&section, id);
    }
}

/// Nothing runs there, and nothing is on its way.
fn idle(station: &Station, pool: Option<&Pool<Member>>) -> bool {
    let id = station.handle.id();
    let busy = pool.is_some_and(|pool| {
        let mut busy = pool.busy().into_iter();
        busy.any(|(worker, batches)| worker == id && batches > 0)
    });
    let connected = match &station.reach {
        Reach::Network(upstream) => {
            let gauges = upstream.gauges();
            gauges.streams + gauges.waiting > 0
        }
        Reach::Component(_) => false,
    };
    !busy && !connected
}
