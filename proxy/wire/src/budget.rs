//! Bytes that many holders may hold together: taken before they are there.
//!
//! 1. A [`Budget`] is one bound over all who take of it; [`Budgets`] are the two that one request
//!    takes of at once, its route's and the process's.
//! 2. A [`Room`] is what one body has taken. It grows before bytes are read, in both budgets or in
//!    neither, and gives everything back when it is dropped.
//! 3. [`Room::keep`] ties it to the bytes themselves: it goes when the last of their handles does,
//!    and so is told of exactly as long as the memory is in use.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

/// There is no room for that many bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no room to hold {asked} bytes more of requests")]
pub struct NoRoom {
    /// How many were asked for.
    pub asked: u64,
}

/// A bound in bytes over many holders.
#[derive(Debug)]
pub struct Budget {
    most: u64,
    taken: AtomicU64,
    refused: AtomicU64,
}

/// The budgets that one request takes of together. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Budgets {
    route: Arc<Budget>,
    process: Arc<Budget>,
}

/// What one holder has taken. Dropped, it is given back.
pub struct Room {
    budgets: Budgets,
    bytes: u64,
}

// === impl Budget ===

impl Budget {
    /// At most `most` bytes at once.
    #[must_use]
    pub fn new(most: u64) -> Self {
        Self {
            most,
            taken: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }
    }

    /// Its bound, in bytes.
    #[must_use]
    pub fn most(&self) -> u64 {
        self.most
    }

    /// Bytes that are taken now.
    #[must_use]
    pub fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// How often there was no room.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    fn left(&self) -> u64 {
        self.most.saturating_sub(self.taken())
    }

    fn take(&self, bytes: u64) -> bool {
        let add = |taken: u64| taken.checked_add(bytes).filter(|sum| *sum <= self.most);
        let order = Ordering::Relaxed;
        let taken = self.taken.fetch_update(order, order, add).is_ok();
        if !taken {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        taken
    }

    fn give_back(&self, bytes: u64) {
        self.taken.fetch_sub(bytes, Ordering::Relaxed);
    }
}

// === impl Budgets ===

impl Budgets {
    /// A route's budget within the process's.
    #[must_use]
    pub fn new(route: Arc<Budget>, process: Arc<Budget>) -> Self {
        Self { route, process }
    }

    /// The route's.
    #[must_use]
    pub fn route(&self) -> &Arc<Budget> {
        &self.route
    }

    /// The process's.
    #[must_use]
    pub fn process(&self) -> &Arc<Budget> {
        &self.process
    }

    /// Room for nothing yet.
    #[must_use]
    pub fn room(&self) -> Room {
        Room {
            budgets: self.clone(),
            bytes: 0,
        }
    }

    fn take(&self, bytes: u64) -> Result<(), NoRoom> {
        if self.route.take(bytes) {
            if self.process.take(bytes) {
                return Ok(());
            }
            self.route.give_back(bytes);
        }
        Err(NoRoom { asked: bytes })
    }

    fn give_back(&self, bytes: u64) {
        self.route.give_back(bytes);
        self.process.give_back(bytes);
    }
}

// === impl Room ===

impl Room {
    /// Bytes that it has taken.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Takes room until it is for `bytes`. It never shrinks by that.
    ///
    /// # Errors
    /// There is none; nothing has changed.
    pub fn grow_to(&mut self, bytes: u64) -> Result<(), NoRoom> {
        let more = bytes.saturating_sub(self.bytes);
        if more > 0 {
            self.budgets.take(more)?;
            self.bytes += more;
        }
        Ok(())
    }

    /// Takes as much as there is, `more` bytes at most; tells how much that was.
    pub fn grow_up_to(&mut self, more: u64) -> u64 {
        let budgets = &self.budgets;
        let left = more.min(budgets.route.left()).min(budgets.process.left());
        // Another may be quicker: then there is no more than nothing.
        if left == 0 || budgets.take(left).is_err() {
            return 0;
        }
        self.bytes += left;
        left
    }

    /// Gives back what is past `bytes`.
    pub fn shrink_to(&mut self, bytes: u64) {
        let less = self.bytes.saturating_sub(bytes);
        if less > 0 {
            self.budgets.give_back(less);
            self.bytes -= less;
        }
    }

    /// The same bytes, which have this room for as long as any part of them is held.
    #[must_use]
    pub fn keep(mut self, bytes: Bytes) -> Bytes {
        self.shrink_to(bytes.len() as u64);
        if bytes.is_empty() {
            return bytes;
        }
        Bytes::from_owner(Kept { bytes, _room: self })
    }
}

impl fmt::Debug for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Room").field(&self.bytes).finish()
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.budgets.give_back(self.bytes);
        }
    }
}

struct Kept {
    bytes: Bytes,
    _room: Room,
}

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budgets(route: u64, process: u64) -> (Arc<Budget>, Arc<Budget>, Budgets) {
        let (route, process) = (Arc::new(Budget::new(route)), Arc::new(Budget::new(process)));
        let both = Budgets::new(route.clone(), process.clone());
        (route, process, both)
    }

    #[test]
    fn room_is_taken_in_both_budgets_or_in_neither() {
        for (route, process, refusing) in [(10, 100, 0), (100, 10, 1)] {
            let (route, process, both) = budgets(route, process);
            let mut room = both.room();
            assert_eq!(room.grow_to(11), Err(NoRoom { asked: 11 }));
            assert_eq!((route.taken(), process.taken()), (0, 0));
            assert_eq!([route.refused(), process.refused()][refusing], 1);
            room.grow_to(10).unwrap();
            let mut other = both.room();
            assert!(other.grow_to(1).is_err());
            drop(room);
            other.grow_to(10).unwrap();
            assert_eq!((route.taken(), process.taken()), (10, 10));
            drop(other);
            assert_eq!((route.taken(), process.taken()), (0, 0));
        }
    }

    #[test]
    fn room_grows_by_what_it_lacks_and_shrinks() {
        let (route, _, both) = budgets(100, 100);
        let mut room = both.room();
        room.grow_to(40).unwrap();
        room.grow_to(30).unwrap();
        assert_eq!(route.taken(), 40);
        assert_eq!(room.grow_up_to(1000), 60);
        assert_eq!(both.room().grow_up_to(1), 0);
        room.shrink_to(5);
        assert_eq!((route.taken(), room.bytes()), (5, 5));
    }

    #[test]
    fn bytes_keep_their_room_to_the_last_handle() {
        let (route, process, both) = budgets(100, 100);
        let mut room = both.room();
        room.grow_to(50).unwrap();
        let bytes = room.keep(Bytes::from(vec![7; 20]));
        assert_eq!(route.taken(), 20, "what was not used is given back");
        let part = bytes.slice(3..4);
        drop(bytes);
        assert_eq!((route.taken(), &part[..]), (20, &[7][..]));
        drop(part);
        assert_eq!((route.taken(), process.taken()), (0, 0));
        assert!(both.room().keep(Bytes::new()).is_empty());
    }

    #[test]
    fn no_more_is_taken_by_many_threads_than_there_is() {
        let (route, _, both) = budgets(1000, 1000);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        let mut room = both.room();
                        if room.grow_to(300).is_ok() {
                            assert!(route.taken() <= 1000);
                        }
                        room.grow_up_to(50);
                    }
                });
            }
        });
        assert_eq!(route.taken(), 0);
        let mut room = both.room();
        room.grow_to(1000).unwrap();
    }
}
