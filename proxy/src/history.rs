//! What the page for operators shows over time: a sample a second, for ten minutes, and what was
//! changed meanwhile.
//!
//! 1. [`keep`] takes a sample a second ([`taking`]): what came since the one before. Nothing on the
//!    path of a request knows of it.
//! 2. The last [`ROOM`] samples are kept, and the last [`CHANGES`] changes.
//! 3. A page asks for what is new since it asked last ([`telling`]).

mod taking;
mod telling;

use std::{collections::VecDeque, sync::Arc, time::Duration};

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::time::MissedTickBehavior;
use tollgate_telemetry::{pulse::unix_millis, spread::Few};

use crate::{life::Life, overseer::SIZE_LABELS};

use self::taking::Reading;

/// Between two samples.
const EVERY: Duration = Duration::from_secs(1);
/// Samples that are kept: ten minutes.
pub(crate) const ROOM: usize = 600;
/// Changes that are kept.
const CHANGES: usize = 128;
/// Plugins and schedulers whose time is told in a sample.
const GUESTS: usize = 32;

/// What happened in one second.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sample {
    /// Its end, in milliseconds since 1970-01-01T00:00:00Z.
    pub(crate) at: u64,
    /// Requests that ended, by how long they took: their number is that of all.
    pub(crate) took: Few,
    /// Those of them with an answer, by when its first byte went out.
    pub(crate) first_byte: Few,
    /// Requests that were given a worker, by how long they had waited.
    pub(crate) waited: Few,
    pub(crate) refused: u64,
    pub(crate) failed: u64,
    pub(crate) gone: u64,
    pub(crate) tokens_in: u64,
    pub(crate) tokens_out: u64,
    /// Bytes to clients.
    pub(crate) sent: u64,
    /// Requests that went on at its end.
    pub(crate) running: u64,
    /// Requests that waited for a worker at its end.
    pub(crate) queued: u64,
    /// Requests that were given a worker, by the size of their batch.
    pub(crate) sizes: [u64; SIZE_LABELS.len()],
    /// Time in each plugin and scheduler, in milliseconds; at most [`GUESTS`].
    pub(crate) guests: Vec<(Arc<str>, f64)>,
}

/// The samples and the changes.
pub(crate) struct History {
    /// When the process began, in milliseconds since 1970-01-01T00:00:00Z.
    started: u64,
    samples: Mutex<Samples>,
    changes: Mutex<VecDeque<Value>>,
}

struct Samples {
    room: usize,
    kept: VecDeque<Sample>,
    /// The number of the sample that comes next, counted from 0.
    next: u64,
}

// === impl History ===

impl History {
    /// Nothing yet.
    pub(crate) fn new() -> Self {
        Self {
            started: unix_millis(),
            samples: Mutex::new(Samples {
                room: ROOM,
                kept: VecDeque::new(),
                next: 0,
            }),
            changes: Mutex::default(),
        }
    }

    /// When the process began, in milliseconds since 1970-01-01T00:00:00Z.
    pub(crate) fn started(&self) -> u64 {
        self.started
    }

    /// Keeps in mind that something was changed: `kind` and `name` say whose, `what` and the further
    /// members of `change` what became of it.
    pub(crate) fn changed(&self, kind: &str, name: &str, change: &Value) {
        let told = json!({
            "at": unix_millis(),
            "kind": kind,
            "name": name,
            "what": change["what"],
            "from": change["from"],
            "to": change["to"],
            "why": change["why"],
        });
        let mut changes = self.changes.lock();
        if changes.len() >= CHANGES {
            changes.pop_front();
        }
        changes.push_back(told);
    }

    /// The changes that are kept, the latest last.
    pub(crate) fn changes(&self) -> Vec<Value> {
        self.changes.lock().iter().cloned().collect()
    }

    /// Samples that are kept.
    pub(crate) fn held(&self) -> usize {
        self.samples.lock().kept.len()
    }

    fn take(&self, sample: Sample) {
        let mut samples = self.samples.lock();
        if samples.kept.len() >= samples.room {
            samples.kept.pop_front();
        }
        samples.kept.push_back(sample);
        samples.next += 1;
    }
}

/// Takes samples until it is dropped.
pub(crate) async fn keep(life: Arc<Life>) {
    let mut before = Reading::of(&life.current());
    let mut ticks = tokio::time::interval(EVERY);
    // A sample that is late covers more time; two at once would show a burst that was none.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    loop {
        ticks.tick().await;
        // Of whatever configuration is in force by now: what is counted goes on over them.
        let running = life.current();
        let now = Reading::of(&running);
        running.history.take(now.since(&before));
        before = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_and_changes_are_bounded() {
        let history = History::new();
        let last = u64::try_from(ROOM).unwrap() + 7;
        for at in 0..last {
            history.take(Sample {
                at,
                ..Sample::default()
            });
        }
        assert_eq!(history.held(), ROOM);
        let samples = history.samples.lock();
        assert_eq!((samples.next, samples.kept[0].at), (last, 7));
        drop(samples);
        for number in 0..CHANGES + 3 {
            let change = json!({"what": "swapped", "to": number});
            history.changed("plugin", "p", &change);
        }
        let changes = history.changes();
        assert_eq!(changes.len(), CHANGES);
        assert_eq!(changes[0]["to"], 3, "the oldest are gone");
        assert_eq!(changes[0]["why"], Value::Null);
    }
}
