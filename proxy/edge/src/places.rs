//! How many connections a listener may have, a bound that can change while it serves.
//!
//! A larger bound has more places at once. Of a smaller one, those places go first that nobody has;
//! the rest as their connections end.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The places of a listener.
#[derive(Debug)]
pub(crate) struct Places {
    free: Arc<Semaphore>,
    bound: Mutex<Bound>,
}

#[derive(Debug)]
struct Bound {
    places: usize,
    /// Of those that are taken, so many are not given back.
    surplus: usize,
}

/// One of them, until it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    permit: Option<OwnedSemaphorePermit>,
    places: Arc<Places>,
}

impl Places {
    pub(crate) fn new(places: usize) -> Arc<Self> {
        Arc::new(Self {
            free: Arc::new(Semaphore::new(places)),
            bound: Mutex::new(Bound { places, surplus: 0 }),
        })
    }

    /// Takes a place, once there is one.
    pub(crate) async fn take(self: &Arc<Self>) -> Place {
        Place {
            // The semaphore is never closed.
            permit: self.free.clone().acquire_owned().await.ok(),
            places: self.clone(),
        }
    }

    /// Takes a place, if there is one.
    pub(crate) fn try_take(self: &Arc<Self>) -> Option<Place> {
        Some(Place {
            permit: Some(self.free.clone().try_acquire_owned().ok()?),
            places: self.clone(),
        })
    }

    /// From now on there are so many.
    pub(crate) fn resize(&self, places: usize) {
        let mut bound = self.bound.lock();
        if let Some(more) = places.checked_sub(bound.places) {
            let kept = more.min(bound.surplus);
            bound.surplus -= kept;
            self.free.add_permits(more - kept);
        } else {
            let fewer = bound.places - places;
            bound.surplus += fewer - self.free.forget_permits(fewer);
        }
        bound.places = places;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut bound = self.places.bound.lock();
        if bound.surplus > 0 {
            bound.surplus -= 1;
            if let Some(permit) = self.permit.take() {
                permit.forget();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn free(places: &Places) -> usize {
        places.free.available_permits()
    }

    #[tokio::test]
    async fn a_bound_that_shrinks_takes_places_as_they_come_back() {
        let places = Places::new(3);
        let mut taken = vec![places.take().await, places.take().await];
        places.resize(1);
        assert_eq!(free(&places), 0);
        taken.pop();
        assert_eq!(free(&places), 0, "two were there, and one may be");
        taken.pop();
        assert_eq!(free(&places), 1);
        let _one = places.take().await;
        assert_eq!(free(&places), 0);
    }

    #[tokio::test]
    async fn a_bound_that_grows_again_takes_nothing_away() {
        let places = Places::new(2);
        let taken = [places.take().await, places.take().await];
        places.resize(1);
        places.resize(4);
        assert_eq!(free(&places), 2);
        drop(taken);
        assert_eq!(free(&places), 4);
    }
}
