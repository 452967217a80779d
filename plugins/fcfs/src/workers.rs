//! The workers of the pool, as far as the host has told, and who is least loaded.

use std::collections::BTreeMap;

use tollgate_sdk_scheduler::scheduling::{Request, Worker};

struct Seat {
    worker: Worker,
    /// Dispatches counted in `busy` that the host has not confirmed by a newer word
    /// about this worker.
    unconfirmed: u32,
    /// The host refused a dispatch here without a reason that we know: nothing more
    /// until it says something new about the worker, or until this instant.
    stalled_until: Option<u64>,
}

impl Seat {
    fn is_free(&self) -> bool {
        self.worker.accepting
            && self.stalled_until.is_none()
            && self.worker.busy < self.worker.slots
    }

    /// The worker has the model and is among those that may serve the request.
    fn fits(&self, request: &Request) -> bool {
        (request.model == 0 || self.worker.models.binary_search(&request.model).is_ok())
            && (request.eligible.is_empty() || request.eligible.contains(&self.worker.id))
    }

    /// Busy relative to slots, smaller first; ties go to the lower number because
    /// seats are looked at in order of number.
    fn is_less_loaded_than(&self, other: &Seat) -> bool {
        u64::from(self.worker.busy) * u64::from(other.worker.slots)
            < u64::from(other.worker.busy) * u64::from(self.worker.slots)
    }
}

/// Workers by number. The host bounds how many there are.
#[derive(Default)]
pub(crate) struct Workers {
    seats: BTreeMap<u32, Seat>,
}

impl Workers {
    /// New or changed. The host's count of busy slots replaces ours.
    pub(crate) fn changed(&mut self, mut worker: Worker) {
        worker.models.sort_unstable();
        let seat = Seat {
            worker,
            unconfirmed: 0,
            stalled_until: None,
        };
        self.seats.insert(seat.worker.id, seat);
    }

    pub(crate) fn gone(&mut self, id: u32) {
        self.seats.remove(&id);
    }

    pub(crate) fn finished(&mut self, id: u32) {
        if let Some(seat) = self.seats.get_mut(&id) {
            seat.worker.busy = seat.worker.busy.saturating_sub(1);
            seat.unconfirmed = seat.unconfirmed.min(seat.worker.busy);
            seat.stalled_until = None;
        }
    }

    pub(crate) fn dispatched(&mut self, id: u32) {
        if let Some(seat) = self.seats.get_mut(&id) {
            seat.worker.busy += 1;
            seat.unconfirmed += 1;
        }
    }

    /// A dispatch was not carried out.
    pub(crate) fn refused(&mut self, id: u32, stalled_until: Option<u64>) {
        if let Some(seat) = self.seats.get_mut(&id) {
            if seat.unconfirmed > 0 {
                seat.unconfirmed -= 1;
                seat.worker.busy -= 1;
            }
            seat.stalled_until = stalled_until.or(seat.stalled_until);
        }
    }

    /// Ends the stalls whose time has come.
    pub(crate) fn wake(&mut self, now: u64) {
        for seat in self.seats.values_mut() {
            seat.stalled_until = seat.stalled_until.filter(|&until| until > now);
        }
    }

    pub(crate) fn next_wake(&self) -> Option<u64> {
        self.seats
            .values()
            .filter_map(|seat| seat.stalled_until)
            .min()
    }

    /// Slots that may be given work now.
    pub(crate) fn free_slots(&self) -> u64 {
        self.seats
            .values()
            .filter(|seat| seat.is_free())
            .map(|seat| u64::from(seat.worker.slots - seat.worker.busy))
            .sum()
    }

    /// What it is called by at every proxy.
    pub(crate) fn identity(&self, id: u32) -> u64 {
        self.seats.get(&id).map_or(0, |seat| seat.worker.identity)
    }

    /// Requests that one batch on this worker may have, at least one.
    pub(crate) fn max_batch(&self, id: u32) -> u32 {
        self.seats
            .get(&id)
            .map_or(1, |seat| seat.worker.max_batch.max(1))
    }

    /// Whether a worker is there and could serve the request once it accepts.
    pub(crate) fn holds(&self, id: u32, request: &Request) -> bool {
        self.seats.get(&id).is_some_and(|seat| seat.fits(request))
    }

    pub(crate) fn is_free(&self, id: u32) -> bool {
        self.seats.get(&id).is_some_and(Seat::is_free)
    }

    /// Workers that accept and may serve the request. Those where it failed are
    /// among them only when there are no others, free or not.
    pub(crate) fn candidates(&self, request: &Request) -> impl Iterator<Item = u32> {
        let spare = self.all_avoided(request);
        self.seats.values().filter_map(move |seat| {
            let id = seat.worker.id;
            let welcome = seat.worker.accepting
                && seat.fits(request)
                && (spare || !request.avoid.contains(&id));
            welcome.then_some(id)
        })
    }

    /// Whether this one is among the candidates.
    pub(crate) fn is_candidate(&self, id: u32, request: &Request) -> bool {
        self.seats.get(&id).is_some_and(|seat| {
            seat.worker.accepting
                && seat.fits(request)
                && (!request.avoid.contains(&id) || self.all_avoided(request))
        })
    }

    /// The least loaded free candidate.
    pub(crate) fn least_loaded(&self, request: &Request) -> Option<u32> {
        self.candidates(request)
            .filter_map(|id| self.seats.get(&id))
            .filter(|seat| seat.is_free())
            .reduce(|best, seat| {
                if seat.is_less_loaded_than(best) {
                    seat
                } else {
                    best
                }
            })
            .map(|seat| seat.worker.id)
    }

    fn all_avoided(&self, request: &Request) -> bool {
        !request.avoid.is_empty()
            && !self.seats.values().any(|seat| {
                seat.worker.accepting
                    && seat.fits(request)
                    && !request.avoid.contains(&seat.worker.id)
            })
    }
}
