//! Wakes a task at an instant, to some microseconds: tokio's own timers are exact to a
//! millisecond, which is longer than what is measured here.

use std::{
    future::poll_fn,
    io,
    os::fd::OwnedFd,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    time::{Instant, Sleep},
};

/// An alarm; it is set again and again.
#[derive(Debug)]
pub enum Alarm {
    /// A timer of the kernel.
    Fine {
        /// The timer.
        timer: AsyncFd<OwnedFd>,
        /// What it is set to.
        at: Instant,
    },
    /// The runtime's clock: exact to a millisecond, and the one that tests can stop.
    Coarse(Pin<Box<Sleep>>),
}

impl Alarm {
    /// An exact alarm, not set yet.
    ///
    /// # Errors
    /// When the system has no timer left, or there is no runtime.
    pub fn fine() -> io::Result<Self> {
        let timer = timerfd_create(
            TimerfdClockId::Monotonic,
            TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC,
        )?;
        Ok(Self::Fine {
            timer: watched(timer)?,
            at: Instant::now(),
        })
    }

    /// An alarm by the runtime's clock.
    #[must_use]
    pub fn coarse() -> Self {
        Self::Coarse(Box::pin(tokio::time::sleep(Duration::ZERO)))
    }

    /// Sets it.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn set(&mut self, when: Instant) -> io::Result<()> {
        match self {
            Self::Coarse(sleep) => sleep.as_mut().reset(when),
            Self::Fine { timer, at } => {
                *at = when;
                // Zero would switch it off; what is past rings at once.
                let left = when
                    .saturating_duration_since(Instant::now())
                    .max(Duration::from_nanos(1));
                let once = Itimerspec {
                    it_interval: Timespec {
                        tv_sec: 0,
                        tv_nsec: 0,
                    },
                    it_value: Timespec::try_from(left).map_err(io::Error::other)?,
                };
                timerfd_settime(timer.get_ref(), TimerfdTimerFlags::empty(), &once)?;
            }
        }
        Ok(())
    }

    /// Ready once the instant has come.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Coarse(sleep) => sleep.as_mut().poll(cx).map(Ok),
            Self::Fine { timer, at } => loop {
                if Instant::now() >= *at {
                    return Poll::Ready(Ok(()));
                }
                let mut guard = ready!(timer.poll_read_ready(cx))?;
                let mut count = [0; 8];
                // Reading takes the ring away; there may be none, from an earlier setting.
                match rustix::io::read(timer.get_ref(), &mut count) {
                    Ok(_) | Err(rustix::io::Errno::AGAIN) => guard.clear_ready(),
                    Err(error) => return Poll::Ready(Err(error.into())),
                }
            },
        }
    }

    /// Waits until an instant.
    ///
    /// # Errors
    /// When the system refuses.
    pub async fn until(&mut self, when: Instant) -> io::Result<()> {
        if Instant::now() >= when {
            return Ok(());
        }
        self.set(when)?;
        poll_fn(|cx| self.poll(cx)).await
    }
}

#[expect(
    deprecated,
    reason = "what replaces it is unsafe, for types whose descriptor may change; an OwnedFd's does not"
)]
fn watched(timer: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(timer, Interest::READABLE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_rings_after_the_instant_again_and_again() {
        let mut alarm = Alarm::fine().unwrap();
        for _ in 0..20 {
            let when = Instant::now() + Duration::from_micros(300);
            alarm.until(when).await.unwrap();
            assert!(Instant::now() >= when);
        }
        // One that is past rings at once, and so does one that was set twice.
        alarm.until(Instant::now()).await.unwrap();
        alarm
            .set(Instant::now() + Duration::from_secs(3600))
            .unwrap();
        let when = Instant::now() + Duration::from_micros(300);
        alarm.until(when).await.unwrap();
    }
}
