//! Connections of a listener of which older ones give way to new ones, so that nobody is kept out by
//! those who hold what they do not use: unfinished heads, bodies that trickle, answers that are not
//! read.
//!
//! 1. Where one address has as many as one may have, its oldest is closed for its new one.
//! 2. Where there are as many as there may be, the oldest of all is.
//!
//! What such a listener serves has to be short: whoever is answered at once is among the newest, also
//! when he has the address of those who hold the others.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

/// Those that are open.
#[derive(Debug)]
pub struct Crowd {
    whole: usize,
    of_one: usize,
    /// The oldest first.
    open: Mutex<VecDeque<Member>>,
    closed: AtomicU64,
}

#[derive(Debug)]
struct Member {
    address: IpAddr,
    leave: Arc<Notify>,
}

/// One of them, until it is dropped.
#[derive(Debug)]
pub(crate) struct Stay {
    crowd: Arc<Crowd>,
    leave: Arc<Notify>,
}

// === impl Crowd ===

impl Crowd {
    /// At most so many in whole, and of one address; at least one of each.
    #[must_use]
    pub fn new(whole: usize, of_one: usize) -> Self {
        Self {
            whole: whole.max(1),
            of_one: of_one.max(1),
            open: Mutex::default(),
            closed: AtomicU64::new(0),
        }
    }

    /// How many are open.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open.lock().len()
    }

    /// How many were closed for newer ones, ever.
    #[must_use]
    pub fn closed(&self) -> u64 {
        self.closed.load(Ordering::Relaxed)
    }

    /// One more, in the place of an older one where there is no room.
    pub(crate) fn join(self: &Arc<Self>, address: IpAddr) -> Stay {
        let address = address.to_canonical();
        let leave = Arc::new(Notify::new());
        let mut open = self.open.lock();
        let is_same = |member: &Member| member.address == address;
        let of_same = open.iter().filter(|&member| is_same(member)).count();
        let older = if of_same >= self.of_one {
            open.iter().position(is_same)
        } else {
            (open.len() >= self.whole).then_some(0)
        };
        if let Some(older) = older.and_then(|at| open.remove(at)) {
            older.leave.notify_one();
            self.closed.fetch_add(1, Ordering::Relaxed);
        }
        open.push_back(Member {
            address,
            leave: leave.clone(),
        });
        drop(open);
        Stay {
            crowd: self.clone(),
            leave,
        }
    }
}

// === impl Stay ===

impl Stay {
    /// When a newer one has its place.
    pub(crate) async fn over(&self) {
        self.leave.notified().await;
    }
}

impl Drop for Stay {
    fn drop(&mut self) {
        let mut open = self.crowd.open.lock();
        open.retain(|member| !Arc::ptr_eq(&member.leave, &self.leave));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    /// How many of them have to go.
    async fn over(stays: &[Stay]) -> usize {
        let mut over = 0;
        for stay in stays {
            let gone = tokio::time::timeout(Duration::ZERO, stay.over()).await;
            over += usize::from(gone.is_ok());
        }
        over
    }

    #[tokio::test]
    async fn one_address_gives_way_to_itself_and_leaves_the_others_alone() {
        let crowd = Arc::new(Crowd::new(4, 2));
        let other = [crowd.join(address(2))];
        let mut stays = Vec::new();
        for _ in 0..100 {
            stays.push(crowd.join(address(1)));
        }
        // The same, by its other name.
        stays.push(crowd.join("::ffff:10.0.0.1".parse().unwrap()));
        assert_eq!(crowd.open(), 3);
        assert_eq!(crowd.closed(), 99);
        assert_eq!(over(&other).await, 0);
        assert_eq!(over(&stays[..99]).await, 99);
        assert_eq!(over(&stays[99..]).await, 0);
        drop(stays);
        assert_eq!(crowd.open(), 1);
    }

    #[tokio::test]
    async fn all_together_are_bounded_and_the_oldest_goes() {
        let crowd = Arc::new(Crowd::new(3, 2));
        let stays: Vec<Stay> = (0..5).map(|last| crowd.join(address(last))).collect();
        assert_eq!(over(&stays[..2]).await, 2);
        assert_eq!(over(&stays[2..]).await, 0);
        assert_eq!(crowd.open(), 3);
        drop(stays);
        assert_eq!(crowd.open(), 0);
    }
}
