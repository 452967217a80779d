//! Brings the members of one batch together: each comes with a value or leaves, and when all have
//! decided, one of those that came gets all the values.
//!
//! 1. [`gather`] gives one [`Seat`] a member.
//! 2. A member takes its seat with [`Seat::take`] and waits for the [`Meeting`], or drops the seat.
//! 3. When nobody is missing any more, the first that asks gets `Some(values)`; the others get
//!    `None` and learn the rest from the first, through what they put in their values.
//! 4. A member that is cancelled while it waits takes its value away again. One that is cancelled
//!    after the values were given away is noticed through its value, as at any later time.
//!
//! Whoever comes last gets the values without waiting; a batch of one never waits.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

/// A member's place at the table. Dropped: it has left.
#[derive(Debug)]
pub struct Seat<T> {
    index: usize,
    table: Option<Arc<Mutex<Table<T>>>>,
}

/// Waits until nobody is missing. Gives the values, by the members' positions, to one member.
#[derive(Debug)]
pub struct Meeting<T> {
    index: usize,
    table: Arc<Mutex<Table<T>>>,
}

#[derive(Debug)]
struct Table<T> {
    size: usize,
    missing: usize,
    /// One a member, from when the first one comes; `None`: missing, left, or given away.
    places: Vec<Option<(T, Option<Waker>)>>,
    given: bool,
}

/// Seats for `size` members, by position.
#[must_use]
pub fn gather<T>(size: usize) -> Vec<Seat<T>> {
    let table = Arc::new(Mutex::new(Table {
        size,
        missing: size,
        places: Vec::new(),
        given: false,
    }));
    (0..size)
        .map(|index| Seat {
            index,
            table: Some(table.clone()),
        })
        .collect()
}

// === impl Seat ===

impl<T> Seat<T> {
    /// The member's position.
    #[must_use]
    pub fn index(&self) -> usize {
        self.index
    }

    /// Comes with a value.
    #[must_use = "a meeting that is dropped has been left"]
    pub fn take(mut self, value: T) -> Meeting<T> {
        let table = self.table.take().expect("a seat is taken by value, once");
        let wakers = {
            let mut table = table.lock();
            // Members that are passed on never come, and what would be kept here is large.
            if table.places.is_empty() {
                let size = table.size;
                table.places.reserve_exact(size);
                table.places.resize_with(size, || None);
            }
            table.places[self.index] = Some((value, None));
            table.decided()
        };
        wakers.into_iter().for_each(Waker::wake);
        Meeting {
            index: self.index,
            table,
        }
    }
}

impl<T> Drop for Seat<T> {
    fn drop(&mut self) {
        if let Some(table) = self.table.take() {
            let wakers = table.lock().decided();
            wakers.into_iter().for_each(Waker::wake);
        }
    }
}

// === impl Table ===

impl<T> Table<T> {
    /// One more has come or left. All are woken at the end: any of them may be cancelled before it
    /// asks, and then another one must.
    fn decided(&mut self) -> Vec<Waker> {
        self.missing -= 1;
        if self.missing > 0 {
            return Vec::new();
        }
        let places = self.places.iter_mut().flatten();
        places.filter_map(|(_, waker)| waker.take()).collect()
    }
}

// === impl Meeting ===

impl<T> Future for Meeting<T> {
    type Output = Option<Vec<(usize, T)>>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut table = self.table.lock();
        if table.missing > 0 {
            if let Some((_, waker)) = &mut table.places[self.index] {
                *waker = Some(context.waker().clone());
            }
            return Poll::Pending;
        }
        if std::mem::replace(&mut table.given, true) {
            return Poll::Ready(None);
        }
        let places = table.places.iter_mut().enumerate();
        let values = places.filter_map(|(index, place)| Some((index, place.take()?.0)));
        Poll::Ready(Some(values.collect()))
    }
}

impl<T> Drop for Meeting<T> {
    fn drop(&mut self) {
        // The value is dropped after the lock: its own drop may be anything.
        let _value = self.table.lock().places[self.index].take();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::join;

    #[tokio::test]
    async fn one_gets_all_and_the_others_none() {
        let mut seats = gather(3).into_iter();
        let mut next = || seats.next().unwrap();
        let (a, b, c) = (next().take('a'), next().take('b'), next().take('c'));
        let (a, b, c) = join!(a, b, c);
        assert_eq!(a, Some(vec![(0, 'a'), (1, 'b'), (2, 'c')]));
        assert_eq!((b, c), (None, None));
    }

    #[tokio::test]
    async fn who_leaves_is_not_waited_for() {
        let mut seats = gather(3).into_iter();
        let first = seats.next().unwrap().take(1);
        let waiting = tokio::spawn(first);
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(seats);
        assert_eq!(waiting.await.unwrap(), Some(vec![(0, 1)]));
    }

    #[tokio::test]
    async fn cancelled_while_waiting_takes_its_value_away() {
        let mut seats = gather(2).into_iter();
        drop(seats.next().unwrap().take("gone"));
        assert_eq!(
            seats.next().unwrap().take("here").await,
            Some(vec![(1, "here")])
        );
    }

    #[tokio::test]
    async fn cancelled_after_all_came_leaves_the_values_to_another() {
        let mut seats = gather(2).into_iter();
        let first = seats.next().unwrap().take("first");
        let second = seats.next().unwrap().take("second");
        drop(first);
        assert_eq!(second.await, Some(vec![(1, "second")]));
    }

    #[tokio::test]
    async fn alone_never_waits() {
        let seat = gather(1).pop().unwrap();
        let waker = Waker::noop();
        let mut meeting = Box::pin(seat.take(7));
        let polled = meeting.as_mut().poll(&mut Context::from_waker(waker));
        assert_eq!(polled, Poll::Ready(Some(vec![(0, 7)])));
    }
}
