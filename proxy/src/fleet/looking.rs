//! Looks for the workers of a section: in the DNS, or in a file.
//!
//! Each look brings a whole list, or nothing when what is there now cannot be known: then what was
//! known stays. See [`Pace`] for when to look again, and for when an empty answer is believed.

use std::{
    collections::HashSet,
    os::unix::fs::MetadataExt,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use tokio::sync::watch;
use tollgate_config::{
    Discovery, DnsDiscovery, DnsRecords, FileDiscovery, Worker, WorkerAddress, WorkerList,
};
use tollgate_discovery::{Heard, LookupError, Pace, Resolver, Servers};

use super::{
    Fleet,
    station::{Found, Place},
};

/// What was found of a section, for the operator.
#[derive(Debug, Default)]
pub(crate) struct Looked {
    pub(super) found: AtomicUsize,
    pub(super) left_out: AtomicUsize,
    pub(super) failures: AtomicU64,
    pub(super) stale: AtomicBool,
}

/// Looks for one section.
struct Looker {
    worker: Arc<Worker>,
    discovery: Discovery,
    looked: Arc<Looked>,
    pace: Pace,
    /// The file as it was read last, well or not.
    read: Option<Stamp>,
    /// What the last failure was, so that the log has it once.
    said: Option<String>,
}

/// By what a file is told from the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    file: u64,
    length: u64,
    modified: Option<SystemTime>,
}

/// What one look has shown.
enum Seen {
    /// Nothing has changed since the last one.
    Same,
    /// These are all, and it holds for so long.
    All(Vec<Found>, Duration),
}

// === impl Looked ===

impl Looked {
    /// Workers of the last list that was believed.
    pub(crate) fn found(&self) -> usize {
        self.found.load(Ordering::Relaxed)
    }

    /// Of these, the ones past the bound.
    pub(crate) fn left_out(&self) -> usize {
        self.left_out.load(Ordering::Relaxed)
    }

    /// Looks that failed.
    pub(crate) fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// The last look failed: what is known is from an earlier one.
    pub(crate) fn is_stale(&self) -> bool {
        self.stale.load(Ordering::Relaxed)
    }
}

// === impl Fleet ===

impl Fleet {
    /// Looks for a section's workers for the first time, gets to know each, and keeps looking.
    pub(super) async fn first_look(&self, worker: Arc<Worker>, looked: Arc<Looked>) {
        let WorkerAddress::Discovered(discovery) = &worker.address else {
            return;
        };
        let (least, most, gone_after) = match discovery {
            Discovery::Dns(dns) => (
                dns.refresh_least.get(),
                dns.refresh.get(),
                dns.gone_after.get_u32(),
            ),
            // A file is looked at by the clock, and an empty list is as good as any.
            Discovery::File(file) => (file.refresh.get(), file.refresh.get(), 1),
            // It is told when something changes, and is not asked by the clock.
            Discovery::Cluster(cluster) => {
                let cluster = cluster.clone();
                return self.first_list(worker, &cluster, looked).await;
            }
        };
        let pace = match Pace::new(least, most, gone_after) {
            Ok(pace) => pace,
            Err(error) => {
                tracing::error!(section = %worker.name, %error, "it is not looked for");
                return;
            }
        };
        let mut looker = Looker {
            discovery: discovery.clone(),
            worker,
            looked,
            pace,
            read: None,
            said: None,
        };
        let pause = looker.look(self).await;
        self.meet(&looker.worker).await;
        let (me, again) = (self.me.clone(), self.look.subscribe());
        let name = looker.worker.name.to_string();
        let task = self.spawn(async move { looker.keep(me, pause, again).await });
        self.looks(name, task);
    }

    /// Waits until the workers of a section have been introduced, so that the first request finds
    /// them: for as long as that may take, each step of it having a time of its own.
    pub(super) async fn meet(&self, worker: &Worker) {
        let connect = worker.connections.connect_timeout.get();
        let probe = super::station::probe(worker).map_or(Duration::ZERO, |it| it.timeout.get());
        let ceiling = tokio::time::Instant::now() + connect + probe;
        let met = async {
            let mut published = self.ground.load().house.catalogue.published();
            while !self.all_met(worker) {
                let _ = tokio::time::timeout(Duration::from_millis(20), published.changed()).await;
            }
        };
        let _ = tokio::time::timeout_at(ceiling, met).await;
    }

    /// Every worker of the section has been probed, or is not.
    fn all_met(&self, worker: &Worker) -> bool {
        let sections = self.sections.lock();
        let section = sections.get(worker.name.as_str());
        let mut posts = section.iter().flat_map(|section| section.posts.values());
        posts.all(|post| {
            let status = post.station.handle.status();
            status.accepting || status.reason.is_some()
        })
    }
}

// === impl Looker ===

impl Looker {
    async fn keep(
        mut self,
        fleet: std::sync::Weak<Fleet>,
        mut pause: Duration,
        mut again: watch::Receiver<u64>,
    ) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                told = again.changed() => if told.is_err() {
                    return;
                }
            }
            let Some(fleet) = fleet.upgrade() else {
                return;
            };
            pause = self.look(&fleet).await;
        }
    }

    /// Looks once; gives when to look again.
    async fn look(&mut self, fleet: &Fleet) -> Duration {
        let seen = match &self.discovery {
            Discovery::Dns(dns) => resolve(&self.worker, dns).await,
            Discovery::File(file) => list(self.worker.name.as_str(), file, &mut self.read).await,
            Discovery::Cluster(_) => return self.discovery.refresh(),
        };
        let seen = match seen {
            Ok(seen) => seen,
            Err(problem) => {
                self.failed(&problem);
                return self.pace.heard(Heard::Failed).1;
            }
        };
        let (found, holds) = match seen {
            Seen::Same => return self.discovery.refresh(),
            Seen::All(found, holds) => (found, holds),
        };
        self.looked.stale.store(false, Ordering::Relaxed);
        self.said = None;
        let heard = match (&self.discovery, found.is_empty()) {
            (Discovery::Dns(_), true) => Heard::Nothing,
            _ => Heard::Found(holds),
        };
        let (believed, pause) = self.pace.heard(heard);
        if believed {
            self.looked.found.store(found.len(), Ordering::Relaxed);
            let left_out = fleet.replace(&self.worker, found, self.discovery.most());
            let before = self.looked.left_out.swap(left_out, Ordering::Relaxed);
            if left_out > 0 && before == 0 {
                let section = self.worker.name.as_str();
                tracing::warn!(section, left_out, "more workers were found than may be");
            }
        }
        pause
    }

    fn failed(&mut self, problem: &str) {
        self.looked.failures.fetch_add(1, Ordering::Relaxed);
        self.looked.stale.store(true, Ordering::Relaxed);
        if self.said.as_deref() != Some(problem) {
            let section = self.worker.name.as_str();
            tracing::error!(
                section,
                problem,
                "workers cannot be looked for; what is known stays"
            );
            self.said = Some(problem.to_owned());
        }
    }
}

/// `read` is the file as it was read last, well or not.
async fn list(
    section: &str,
    file: &FileDiscovery,
    read: &mut Option<Stamp>,
) -> Result<Seen, String> {
    let path = file.file.as_path().to_owned();
    let stamp = stamp(&path).await?;
    if *read == Some(stamp) {
        // As it was: a list that is in force, or a failure that has been told.
        return Ok(Seen::Same);
    }
    *read = Some(stamp);
    let list = tokio::task::spawn_blocking(move || WorkerList::load(&path)).await;
    let list = list.map_err(|error| error.to_string())?;
    let list = list.map_err(|errors| errors.to_string())?;
    let found = list.workers.into_iter();
    let found = found.map(|listed| Found::listed(section, listed));
    Ok(Seen::All(found.collect(), file.refresh.get()))
}

async fn stamp(path: &Path) -> Result<Stamp, String> {
    let metadata = tokio::fs::metadata(path).await;
    let metadata = metadata.map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(Stamp {
        file: metadata.ino(),
        length: metadata.len(),
        modified: metadata.modified().ok(),
    })
}

async fn resolve(worker: &Worker, dns: &DnsDiscovery) -> Result<Seen, String> {
    let section = worker.name.as_str();
    let slots = worker.slots.get_u32();
    let servers = dns.server.map_or_else(Servers::system, Servers::Named);
    let resolver = Resolver::new(servers, dns.timeout.get(), dns.most.get());
    let name = dns.of.name();
    let lookup = match dns.dns {
        DnsRecords::A => resolver.addresses(name, dns.of.port().unwrap_or(0)).await,
        DnsRecords::Srv => resolver.service(name).await,
    };
    let lookup = lookup.map_err(|error: LookupError| format!("{name}: {error}"))?;
    // Two hosts may have one address: it is one worker, by the first of the names.
    let mut found = lookup.found;
    let mut addresses = HashSet::new();
    found.retain(|found| addresses.insert(found.address));
    let heaviest = found.iter().filter_map(|found| found.weight).max();
    let found = found.into_iter().map(|found| {
        let name = format!("{section}@{}", found.address);
        let place = Place::Network {
            scheme: dns.of.scheme(),
            authority: format!("{}:{}", found.host.name, found.host.port),
            address: found.address.to_string(),
            base: String::new(),
        };
        Found {
            slots: found
                .weight
                .zip(heaviest)
                .map(|(weight, heaviest)| share(slots, weight, heaviest)),
            ..Found::new(name, place)
        }
    });
    Ok(Seen::All(found.collect(), lookup.holds))
}

/// Slots of a worker by its weight: schedulers go by how much of its slots a worker uses, so that
/// under load a share of the slots is a share of the requests. The heaviest has all of the section's, and one
/// without weight the least there is, which is the small chance that RFC 2782 wants it to have.
/// Where none has one, there is nothing to choose by.
fn share(slots: u32, weight: u16, heaviest: u16) -> u32 {
    if heaviest == 0 {
        return slots;
    }
    let (weight, heaviest) = (u64::from(weight), u64::from(heaviest));
    let share = (u64::from(slots) * weight + heaviest / 2) / heaviest;
    u32::try_from(share).unwrap_or(slots).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_shares_of_the_heaviest() {
        let shares = |slots, weights: &[u16]| -> Vec<u32> {
            let heaviest = weights.iter().copied().max().unwrap_or(0);
            let shares = weights.iter().map(|weight| share(slots, *weight, heaviest));
            shares.collect()
        };
        assert_eq!(shares(64, &[10, 10, 10]), [64, 64, 64]);
        assert_eq!(shares(64, &[60, 20, 10]), [64, 21, 11]);
        assert_eq!(shares(64, &[1, 0]), [64, 1]);
        assert_eq!(shares(64, &[0, 0]), [64, 64]);
        assert_eq!(shares(1, &[9, 1]), [1, 1]);
        assert_eq!(shares(65_536, &[u16::MAX, u16::MAX]), [65_536; 2]);
    }
}
