//! Who goes together in one batch, and who is turned away because of it.

use tollgate_sdk_scheduler::scheduling::{Action, RejectReason, Request};
use tollgate_sdk_scheduler::waiting::{Turn, Waiter};

use crate::curve::Curve;
use crate::hope::Wanted;
use crate::policy::{DynamicBatch, MOST_ASIDE};

/// When another worker is done with one of a lane; none: nobody has asked.
#[derive(Default)]
struct Elsewhere {
    alone: Option<f64>,
    full: Option<f64>,
}

impl DynamicBatch {
    /// Picks the members of a batch: the one whose turn it is, and others of its lane in turn. Those
    /// that another worker would do in time, and this one would not, are set aside.
    #[expect(
        clippy::vec_box,
        reason = "each comes out of the queue and goes into what is under way as it is"
    )]
    pub(crate) fn gather(
        &mut self,
        now: u64,
        turn: Turn,
        worker: u32,
        most: u32,
        actions: &mut Vec<Action>,
    ) -> Vec<Box<Waiter>> {
        let start = self.outlook(now).begin(worker);
        let mut curve: Option<Option<Curve>> = None;
        let mut elsewhere = Elsewhere::default();
        let mut members: Vec<Box<Waiter>> = Vec::new();
        let most_aside = self.desk.waiting.aside() + MOST_ASIDE;
        // When the first of the members should be done.
        let mut strictest = u64::MAX;
        while members.len() < most as usize && self.desk.waiting.aside() < most_aside {
            let desk = &mut self.desk;
            let front = desk.waiting.front_of(turn.class, turn.key, &desk.ledger);
            let Some(front) = front else {
                break;
            };
            let lane = desk.waiting.lane(turn.class, turn.key);
            // Those that are turned away make it shorter.
            let backlog = lane.is_some_and(|lane| members.len() + lane.len() > most as usize);
            let Some(waiter) = self.desk.waiting.get(front.id) else {
                break;
            };
            let request = &waiter.request;
            let curve = *curve.get_or_insert_with(|| self.curves.of(now, worker, request.model));
            if let Some(curve) = curve {
                let at = |time: Option<f64>| start + time.unwrap_or(0.0);
                let late = |done: f64| request.deadline.is_some_and(|by| done > by as f64);
                let hopeless = late(at(curve.hope(1)));
                let early = backlog && late(at(curve.time(most)));
                if self.options.early_rejection && (hopeless || early) {
                    let full = early && !hopeless;
                    if late(self.elsewhere(now, turn, worker, full, &mut elsewhere)) {
                        self.desk
                            .turn_away(front.id, RejectReason::TooLate, actions);
                    } else {
                        self.desk.waiting.set_aside(front.id);
                    }
                    continue;
                }
                let due = self.due(request).min(strictest);
                let size = u32::try_from(members.len()).unwrap_or(u32::MAX);
                let grown = at(curve.time(size + 1)) > due as f64;
                let kept = at(curve.time(size.max(1))) <= due as f64;
                if !members.is_empty() && !backlog && grown && kept {
                    break;
                }
                strictest = due;
            }
            if let Some(waiter) = self.desk.pick(front.id) {
                members.push(waiter);
            }
        }
        members
    }

    /// The soonest that another worker does one of the lane, alone or in a full batch.
    fn elsewhere(
        &self,
        now: u64,
        turn: Turn,
        worker: u32,
        full: bool,
        known: &mut Elsewhere,
    ) -> f64 {
        let slot = if full {
            &mut known.full
        } else {
            &mut known.alone
        };
        if let Some(known) = *slot {
            return known;
        }
        let waiting = &self.desk.waiting;
        let Some((asks, home)) = waiting.asks(turn.class) else {
            return f64::INFINITY;
        };
        let outlook = self.outlook(now);
        let soonest = outlook.soonest(Wanted { asks, home }, worker, |id| {
            if full {
                outlook.among(id, asks.model, self.cap(id, turn.key))
            } else {
                outlook.alone(id, asks.model)
            }
        });
        *slot.insert(soonest)
    }

    fn due(&self, request: &Request) -> u64 {
        let wish = match self.options.latency_target_ms {
            0 => u64::MAX,
            target => request.arrived.saturating_add(target * 1000),
        };
        request.deadline.map_or(wish, |deadline| deadline.min(wish))
    }
}
