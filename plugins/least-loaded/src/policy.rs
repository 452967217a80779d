//! The policy. One step:
//!
//! 1. takes the events in, and turns away what is past its deadline;
//! 2. as long as a worker has room: whose turn is it (priority, then the tenant served least, then
//!    the earliest deadline, then age), and where to?
//!    - a sequence goes to its own worker, or waits for it;
//!    - two workers with room are drawn, and the one with less outstanding work for its slots is
//!      taken (the power of two choices: Mitzenmacher, 2001);
//!    - if one that served the same beginning before has room and is not much busier than that, it
//!      is taken instead. A beginning that nobody is known to have served goes to the worker that
//!      it belongs to by rendezvous hashing, or to the next that has room and is not much busier,
//!      so that proxies which share workers, and do not know of each other, send it to the same.
//!      Affinity is a wish: it never waits, and a beginning that is asked for more than one worker
//!      can bear spreads over several;
//! 3. asks to be woken for the next deadline or the end of a rest.
//!
//! A step costs a logarithm of the queue and the request's blocks for each request sent, and the
//! number of workers when its beginning is new; a class that has no room is looked at once, and
//! again when one of its workers has room. Chance is drawn from the request's number and the instant, so that equal
//! histories give equal decisions, and proxies that share workers do not draw alike.

use tollgate_sdk_scheduler::Policy;
use tollgate_sdk_scheduler::desk::{Desk, Terms};
use tollgate_sdk_scheduler::pins::weight;
use tollgate_sdk_scheduler::recent::mixed;
use tollgate_sdk_scheduler::roster::{Asks, Caps};
use tollgate_sdk_scheduler::scheduling::{Action, Event, Page};
use tollgate_sdk_scheduler::waiting::{Bounds, Turn};

use crate::affinity::{self, Table};
use crate::options::Options;

/// A cache that is fuller than so many thousandths throws beginnings away: no reason to prefer it.
const FULL_CACHE: u32 = 950;
/// Workers that a new beginning may go to, in the order of its hash.
const HOMES: usize = 3;

/// Least outstanding work of two.
pub struct LeastLoaded {
    desk: Desk,
    table: Option<Table>,
    /// Requests a slot by which a preferred worker may be busier.
    slack: f64,
    /// The block by which a new beginning is placed.
    depth: usize,
}

impl LeastLoaded {
    /// Knows of nothing yet.
    #[must_use]
    pub fn new(options: &Options) -> Self {
        let terms = Terms {
            bounds: Bounds {
                all: options.max_pending,
                each: options.max_pending_per_tenant,
                shared: options.fair,
            },
            caps: Caps {
                in_flight: options.max_in_flight,
                own_queue: options.max_worker_queue,
            },
            merging: false,
            fair: options.fair,
            input_weight: options.input_weight,
            output_weight: options.output_weight,
            patience: options.patience_ms.saturating_mul(1000),
        };
        Self {
            desk: Desk::new(terms),
            table: options
                .affinity
                .then(|| Table::new(options.affinity_blocks)),
            slack: f64::from(options.affinity_slack) / 100.0,
            depth: options.affinity_depth,
        }
    }

    fn dispatch(&mut self, now: u64, actions: &mut Vec<Action>) {
        if self.desk.roster.free_slots() > 0 {
            self.desk.open_turns();
        }
        while self.desk.roster.free_slots() > 0 {
            let desk = &mut self.desk;
            let Some(turn) = desk.waiting.foremost(&desk.ledger) else {
                break;
            };
            let Some(worker) = self.choose(now, turn) else {
                self.desk.waiting.park(turn.class);
                continue;
            };
            let Some(waiter) = self.desk.pick(turn.front.id) else {
                break;
            };
            if let Some(table) = &mut self.table {
                table.note(&waiter.request, worker);
            }
            self.desk.send(worker, vec![waiter], actions);
        }
    }

    fn choose(&self, now: u64, turn: Turn) -> Option<u32> {
        let roster = &self.desk.roster;
        let (asks, home) = self.desk.waiting.asks(turn.class)?;
        if let Some(home) = home {
            return Some(home).filter(|home| roster.is_free(*home));
        }
        let mut chance = mixed(turn.front.id) ^ now;
        let pair = roster.two(asks, || {
            chance = mixed(chance);
            chance
        });
        let each = self.desk.mean_cost();
        let load = |id: u32| roster.load(id, each);
        let drawn = match pair {
            [Some(one), Some(other)] if load(other) < load(one) => other,
            [Some(one), _] => one,
            [None, _] => roster.least_busy(asks)?,
        };
        let Some(table) = &self.table else {
            return Some(drawn);
        };
        let request = &self.desk.waiting.get(turn.front.id)?.request;
        let bearable = load(drawn) * 1.5 + self.slack * each;
        let usable = |id: &u32| {
            let cache = roster.kv_cache_use(*id);
            roster.is_free(*id)
                && roster.holds(*id, asks)
                && !asks.avoid.contains(id)
                && cache.is_none_or(|used| used < FULL_CACHE)
                && load(*id) <= bearable
        };
        let beginning = affinity::blocks(request);
        let known = table.known(request);
        let holder = || {
            // Where a worker has one model alone, that it served it says nothing.
            let holders = known.workers().filter(&usable);
            let holders = holders.filter(|id| known.blocks > 0 || roster.models(*id).len() > 1);
            holders.min_by(|a, b| load(*a).total_cmp(&load(*b)))
        };
        let placed_by = self.depth.min(beginning.len());
        let home = || {
            let block = *beginning[..placed_by].last()?;
            self.homes(asks, block).find(&usable)
        };
        let preferred = if known.blocks < placed_by {
            home().or_else(holder)
        } else {
            holder().or_else(home)
        };
        Some(preferred.unwrap_or(drawn))
    }

    /// The workers that a beginning belongs to, the first one first: the same at every proxy.
    fn homes(&self, asks: Asks<'_>, block: u64) -> impl Iterator<Item = u32> + use<> {
        let roster = &self.desk.roster;
        let mut best = [None::<(u64, u32)>; HOMES];
        for id in roster.candidates(asks) {
            let mut one = Some((weight(block, roster.identity(id)), id));
            for place in &mut best {
                if one > *place {
                    std::mem::swap(&mut one, place);
                }
            }
        }
        best.into_iter().flatten().map(|(_, id)| id)
    }
}

impl Policy for LeastLoaded {
    fn restore(&mut self, _now: u64, page: Page) {
        self.desk.restore(page);
    }

    fn step(&mut self, now: u64, events: Vec<Event>) -> Vec<Action> {
        let mut actions = Vec::new();
        for event in events {
            self.desk.take_in(now, event, &mut actions);
        }
        self.desk.settle(now, &mut actions);
        self.dispatch(now, &mut actions);
        self.desk.set_alarm(None, &mut actions);
        actions
    }
}
