//! How many attempts may be made again on a route: a share of its requests.
//!
//! When all workers of a route fail, repeating every request would double what they get just when
//! they can bear it least. So each request pays a part of a retry in, each retry takes a whole one
//! out, and what has been paid in but not used is kept up to a reserve. There is no clock in it.

use std::sync::atomic::{AtomicU64, Ordering};

/// A retry, in what requests pay.
const WHOLE: u64 = 100;

/// The balance of one route.
#[derive(Debug)]
pub struct Retries {
    /// What a request pays in.
    part: u64,
    most: u64,
    balance: AtomicU64,
    refused: AtomicU64,
}

impl Retries {
    /// `percent` of the requests may be repeated, and `reserve` of them at once after a while
    /// without any.
    #[must_use]
    pub fn new(percent: u64, reserve: u64) -> Self {
        let most = reserve.saturating_mul(WHOLE);
        Self {
            part: percent.min(WHOLE),
            most,
            balance: AtomicU64::new(most),
            refused: AtomicU64::new(0),
        }
    }

    /// Retries that could be made now.
    #[must_use]
    pub fn left(&self) -> u64 {
        self.balance.load(Ordering::Relaxed) / WHOLE
    }

    /// Retries that were not made because none was left.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// A call is made for the first time.
    pub(crate) fn pay(&self) {
        // The common case: it is full, and nothing is written.
        if self.balance.load(Ordering::Relaxed) < self.most {
            self.change(|balance| Some((balance + self.part).min(self.most)));
        }
    }

    /// One is to be made again. False: it may not.
    pub(crate) fn take(&self) -> bool {
        let taken = self.change(|balance| balance.checked_sub(WHOLE));
        if !taken {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        taken
    }

    fn change(&self, change: impl FnMut(u64) -> Option<u64>) -> bool {
        let order = Ordering::Relaxed;
        self.balance.fetch_update(order, order, change).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_the_requests_is_repeated_and_a_reserve_at_once() {
        let retries = Retries::new(20, 3);
        let made = (0..10).filter(|_| retries.take()).count();
        assert_eq!((made, retries.refused(), retries.left()), (3, 7, 0));
        let mut made = 0;
        for _ in 0..50 {
            retries.pay();
            made += usize::from(retries.take());
        }
        assert_eq!(made, 10, "a fifth of them");
        for _ in 0..1000 {
            retries.pay();
        }
        assert_eq!(retries.left(), 3);
    }

    #[test]
    fn without_either_nothing_is_repeated() {
        let retries = Retries::new(0, 0);
        retries.pay();
        assert!(!retries.take());
    }
}
