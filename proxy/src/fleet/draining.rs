//! An operator takes a worker out of service, and back: it keeps its place, its connections and its
//! probes, and is given nothing new meanwhile.

use super::Fleet;

/// There is none of that name in service.
#[derive(Debug, thiserror::Error)]
#[error("there is no worker {0}, or it is leaving already")]
pub(crate) struct NoSuchWorker(String);

impl Fleet {
    /// Begins or ends emptying a worker; whether that is new. Its models are shown no longer, unless
    /// another worker has them.
    ///
    /// # Errors
    /// There is none of that name, or discovery has taken it away.
    pub(crate) fn set_draining(&self, name: &str, draining: bool) -> Result<bool, NoSuchWorker> {
        // With the sections held: discovery cannot let it leave at the same time.
        let _sections = self.sections.lock();
        let station = self.station_named(name);
        let station = station.ok_or_else(|| NoSuchWorker(name.to_owned()))?;
        if station.handle.status().draining == draining {
            return Ok(false);
        }
        station.handle.drain(draining);
        let ground = self.ground.load();
        if let Some(pool) = ground.pools.get(&station.handle.spec().section) {
            pool.drain_worker(station.handle.id(), draining);
        }
        self.publish();
        Ok(true)
    }
}
