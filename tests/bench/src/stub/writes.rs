//! A stream's pace: when its next write is due.

use std::{
    io,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::Instant;

use crate::alarm::Alarm;

/// From this interval on a timer of milliseconds is exact enough, and cheaper.
const COARSE: Duration = Duration::from_millis(10);

/// When the next write is due.
pub(super) struct Pace {
    interval: Duration,
    alarm: Option<Alarm>,
    next: Instant,
    yielded: bool,
}

impl Pace {
    /// With no interval, a write leaves before the next is made: never two in one.
    pub(super) fn new(interval: Duration) -> Self {
        Self {
            interval,
            alarm: None,
            next: Instant::now(),
            yielded: false,
        }
    }

    /// Ready when the next write is due, counted from the write before. Called after a write, until
    /// it is ready.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.interval.is_zero() {
            self.yielded = !self.yielded;
            if self.yielded {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            return Poll::Ready(Ok(()));
        }
        let alarm = match &mut self.alarm {
            Some(alarm) => alarm,
            empty => {
                let mut alarm = if self.interval < COARSE {
                    Alarm::fine()?
                } else {
                    Alarm::coarse()
                };
                self.next = Instant::now() + self.interval;
                alarm.set(self.next)?;
                empty.insert(alarm)
            }
        };
        ready!(alarm.poll(cx))?;
        // A stream that was held up does not make up for it in a burst.
        self.next = (self.next + self.interval).max(Instant::now());
        alarm.set(self.next)?;
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn writes_are_apart() {
        let mut pace = Pace::new(Duration::from_millis(40));
        let start = Instant::now();
        for write in 1..5 {
            std::future::poll_fn(|cx| pace.poll(cx)).await.unwrap();
            let passed = start.elapsed();
            let due = Duration::from_millis(40) * write;
            assert!(
                passed >= due && passed < due + Duration::from_millis(9),
                "{passed:?}"
            );
        }
    }

    #[tokio::test]
    async fn without_an_interval_others_have_their_turn_between_two_writes() {
        let mut pace = Pace::new(Duration::ZERO);
        let mut pendings = 0;
        for _ in 0..3 {
            std::future::poll_fn(|cx| {
                let polled = pace.poll(cx);
                pendings += u32::from(polled.is_pending());
                polled
            })
            .await
            .unwrap();
        }
        assert_eq!(pendings, 3);
    }
}
