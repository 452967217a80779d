//! The requests that wait, in the order in which they are to go.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use tollgate_sdk_scheduler::scheduling::Request;

/// A request that waits, and how often the host would not let it go.
#[derive(Clone)]
pub(crate) struct Waiting {
    pub(crate) request: Request,
    pub(crate) refusals: u32,
}

impl Waiting {
    pub(crate) fn new(request: Request) -> Self {
        Waiting {
            request,
            refusals: 0,
        }
    }
}

/// Place in the queue: higher priority first, then first come first served. The
/// number settles arrivals at the same instant, so that the order is total.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Turn {
    priority: Reverse<i32>,
    arrived: u64,
    id: u64,
}

impl Turn {
    fn of(request: &Request) -> Self {
        Turn {
            priority: Reverse(request.priority),
            arrived: request.arrived,
            id: request.id,
        }
    }
}

/// The queue is full: this request is not in it.
pub(crate) struct Full {
    pub(crate) id: u64,
}

/// At most `bound` requests, found by turn, by number and by deadline.
pub(crate) struct Queue {
    bound: usize,
    waiting: BTreeMap<Turn, Waiting>,
    turns: BTreeMap<u64, Turn>,
    deadlines: BTreeSet<(u64, u64)>,
}

impl Queue {
    pub(crate) fn new(bound: usize) -> Self {
        Queue {
            bound,
            waiting: BTreeMap::new(),
            turns: BTreeMap::new(),
            deadlines: BTreeSet::new(),
        }
    }

    /// Takes a request in, unless the queue is full. One that already waits is
    /// replaced: the host's newer word counts.
    pub(crate) fn push(&mut self, waiting: Waiting) -> Result<(), Full> {
        self.remove(waiting.request.id);
        if self.waiting.len() >= self.bound {
            return Err(Full {
                id: waiting.request.id,
            });
        }
        let turn = Turn::of(&waiting.request);
        self.turns.insert(turn.id, turn);
        if let Some(deadline) = waiting.request.deadline {
            self.deadlines.insert((deadline, turn.id));
        }
        self.waiting.insert(turn, waiting);
        Ok(())
    }

    pub(crate) fn remove(&mut self, id: u64) -> Option<Waiting> {
        let waiting = self.waiting.remove(&self.turns.remove(&id)?)?;
        if let Some(deadline) = waiting.request.deadline {
            self.deadlines.remove(&(deadline, id));
        }
        Some(waiting)
    }

    /// Takes out those whose deadline has come.
    pub(crate) fn overdue(&mut self, now: u64) -> Vec<u64> {
        let ids: Vec<u64> = self
            .deadlines
            .range(..=(now, u64::MAX))
            .map(|&(_, id)| id)
            .collect();
        for &id in &ids {
            self.remove(id);
        }
        ids
    }

    pub(crate) fn next_deadline(&self) -> Option<u64> {
        self.deadlines.first().map(|&(deadline, _)| deadline)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// In the order in which they are to go.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Request> {
        self.waiting.values().map(|waiting| &waiting.request)
    }
}
