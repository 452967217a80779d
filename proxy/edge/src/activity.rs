//! What goes on on a connection, and how long it may go on.
//!
//! hyper's own limit for reading a head also runs while a kept-alive connection is idle, so that
//! the two could not differ. Here a connection is in one of three phases, and each has its limit:
//!
//! * **idle**: no request, and not a byte of one: the idle timeout.
//! * **head** (HTTP/1.1): a request has begun to arrive: the header timeout, however it trickles.
//!   A piece of it that came together with the end of the request before is not seen as one, and
//!   falls under the idle timeout until more comes.
//! * **busy**: at least one request is under way: none here; requests have deadlines of their own.
//! * **stalled**: one is under way, and the client does not read what is written to it: the idle
//!   timeout, from the last byte that it took. (A client of HTTP/2 that reads the socket and opens
//!   no window is seen in [`stall`](crate::stall).)

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, Sleep, sleep_until};

/// What has happened on a connection. Shared by its socket, its requests and its [`Limits`].
#[derive(Debug, Default)]
pub(crate) struct Activity {
    /// Requests under way.
    requests: AtomicUsize,
    /// Requests that have begun, ever.
    begun: AtomicU64,
    /// Bytes have come since the last request began or ended.
    read: AtomicBool,
    /// The client has closed its side.
    eof: AtomicBool,
    /// What was written waits for the client to read.
    stalled: AtomicBool,
    /// Writes that the socket has taken, ever.
    written: AtomicU64,
    /// The last request under way has ended.
    idle: Notify,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Idle,
    Head,
    Busy,
    Stalled,
}

/// A request under way, until it is dropped.
#[derive(Debug)]
pub(crate) struct UnderWay(Arc<Activity>);

// === impl Activity ===

// Orderings: a phase that is read late is corrected at the next look, so nothing hangs on them; the
// one look that must not be missed comes by `idle`.
impl Activity {
    pub(crate) fn request(self: &Arc<Self>) -> UnderWay {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.begun.fetch_add(1, Ordering::Relaxed);
        self.read.store(false, Ordering::Relaxed);
        UnderWay(self.clone())
    }

    pub(crate) fn read(&self, bytes: usize) {
        if bytes == 0 {
            self.eof.store(true, Ordering::Relaxed);
        } else if !self.read.load(Ordering::Relaxed) {
            self.read.store(true, Ordering::Relaxed);
        }
    }

    /// The socket took something, or has no room.
    pub(crate) fn wrote(&self, taken: bool) {
        if taken {
            self.written.fetch_add(1, Ordering::Relaxed);
        }
        if self.stalled.load(Ordering::Relaxed) == taken {
            self.stalled.store(!taken, Ordering::Relaxed);
        }
    }

    /// Whether the client has closed its side.
    pub(crate) fn is_eof(&self) -> bool {
        self.eof.load(Ordering::Relaxed)
    }

    /// Whether what was written waits for the client to read.
    pub(crate) fn is_stalled(&self) -> bool {
        self.stalled.load(Ordering::Relaxed)
    }

    /// Whether a request has ever begun.
    pub(crate) fn has_begun(&self) -> bool {
        self.begun.load(Ordering::Relaxed) > 0
    }

    /// When the last request under way has ended. Ends that nobody awaited are remembered as one.
    pub(crate) async fn idle(&self) {
        self.idle.notified().await;
    }

    fn phase(&self, heads: bool) -> (Phase, u64) {
        let begun = self.begun.load(Ordering::Relaxed);
        if self.requests.load(Ordering::Acquire) > 0 {
            if self.stalled.load(Ordering::Relaxed) {
                return (Phase::Stalled, self.written.load(Ordering::Relaxed));
            }
            (Phase::Busy, begun)
        } else if heads && self.read.load(Ordering::Relaxed) {
            (Phase::Head, begun)
        } else {
            (Phase::Idle, begun)
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        // Bytes that came meanwhile were of its body.
        self.0.read.store(false, Ordering::Relaxed);
        if self.0.requests.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.idle.notify_one();
        }
    }
}

// === Limits ===

/// The time limits of a connection's phases.
pub(crate) struct Limits {
    activity: Arc<Activity>,
    heads: bool,
    idle: Duration,
    /// The same, for a client that stops reading.
    stalled: Duration,
    header: Duration,
    /// When the first head must be whole, if it began before the limits did.
    first_head: Option<Instant>,
    seen: Option<(Phase, u64)>,
    deadline: Option<Instant>,
    timer: Pin<Box<Sleep>>,
}

/// A limit was passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Passed {
    /// No request came.
    Idle,
    /// A head was not whole in time.
    Head,
    /// The client has stopped reading.
    Stalled,
}

impl Limits {
    /// Limits from now on. `heads`: bytes outside a request begin one, as in HTTP/1.1;
    /// `first_head`: when the first must be whole.
    pub(crate) fn new(
        activity: Arc<Activity>,
        heads: bool,
        idle: Duration,
        header: Duration,
        first_head: Option<Instant>,
    ) -> Self {
        Self {
            activity,
            heads,
            idle,
            stalled: idle,
            header,
            first_head,
            seen: None,
            deadline: None,
            timer: Box::pin(sleep_until(Instant::now() + idle.min(header))),
        }
    }

    /// The connection is to end: from now on it is idle no longer than so.
    pub(crate) fn hasten(&mut self, idle: Duration) {
        self.stalled = self.stalled.min(idle);
        self.wait(idle);
    }

    /// From now on it waits no longer than so for another request.
    pub(crate) fn wait(&mut self, idle: Duration) {
        self.idle = self.idle.min(idle);
        self.seen = None;
    }

    /// Looks at the phase; to be called whenever the connection has been polled.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Passed> {
        let now = self.activity.phase(self.heads);
        if self.seen != Some(now) {
            self.seen = Some(now);
            self.deadline = match now.0 {
                Phase::Idle => Some(Instant::now() + self.idle),
                Phase::Stalled => Some(Instant::now() + self.stalled),
                Phase::Head => {
                    let whole = Instant::now() + self.header;
                    let first = self.first_head.take().filter(|_| now.1 == 0);
                    Some(first.map_or(whole, |first| first.min(whole)))
                }
                Phase::Busy => None,
            };
            // A timer that is armed for an earlier time is left so and looked at when it fires:
            // most requests come and go without touching it.
            if let Some(deadline) = self.deadline
                && (deadline < self.timer.deadline() || self.timer.is_elapsed())
            {
                self.timer.as_mut().reset(deadline);
            }
        }
        loop {
            if self.timer.is_elapsed() {
                match self.deadline {
                    None => return Poll::Pending,
                    Some(deadline) if deadline > self.timer.deadline() => {
                        self.timer.as_mut().reset(deadline);
                    }
                    Some(_) => {
                        self.deadline = None;
                        return Poll::Ready(match now.0 {
                            Phase::Head => Passed::Head,
                            Phase::Stalled => Passed::Stalled,
                            Phase::Idle | Phase::Busy => Passed::Idle,
                        });
                    }
                }
            }
            if self.timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: Duration = Duration::from_secs(60);
    const HEADER: Duration = Duration::from_secs(10);

    fn limits(heads: bool) -> (Arc<Activity>, Limits) {
        let activity = Arc::new(Activity::default());
        let limits = Limits::new(activity.clone(), heads, IDLE, HEADER, None);
        (activity, limits)
    }

    /// Which limit is passed, and after how many seconds.
    async fn passed(limits: &mut Limits) -> (Passed, u64) {
        let begin = Instant::now();
        let passed = std::future::poll_fn(|cx| limits.poll(cx)).await;
        (passed, begin.elapsed().as_secs())
    }

    /// Nothing is passed for so many seconds.
    async fn lasts(limits: &mut Limits, seconds: u64) {
        let passing = std::future::poll_fn(|cx| limits.poll(cx));
        let passed = tokio::time::timeout(Duration::from_secs(seconds), passing).await;
        assert_eq!(passed.ok(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn each_phase_has_its_limit() {
        let (activity, mut limits) = limits(true);
        lasts(&mut limits, 50).await;
        activity.read(1);
        lasts(&mut limits, 9).await;
        activity.read(1);
        assert_eq!(
            passed(&mut limits).await,
            (Passed::Head, 1),
            "trickling gains no time"
        );

        let (activity, mut limits) = self::limits(true);
        activity.read(1);
        lasts(&mut limits, 9).await;
        let request = activity.request();
        lasts(&mut limits, 3600).await;
        activity.read(1);
        lasts(&mut limits, 3600).await;
        drop(request);
        assert_eq!(
            passed(&mut limits).await,
            (Passed::Idle, 60),
            "from the request's end"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_was_over_between_two_looks_counts() {
        let (activity, mut limits) = limits(true);
        lasts(&mut limits, 59).await;
        drop(activity.request());
        assert_eq!(passed(&mut limits).await, (Passed::Idle, 60));
    }

    #[tokio::test(start_paused = true)]
    async fn frames_are_no_heads() {
        let (activity, mut limits) = limits(false);
        activity.read(1);
        lasts(&mut limits, 59).await;
        activity.read(1);
        assert_eq!(passed(&mut limits).await, (Passed::Idle, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_head_may_have_begun_before() {
        let activity = Arc::new(Activity::default());
        let whole = Some(Instant::now() + Duration::from_secs(4));
        let mut limits = Limits::new(activity.clone(), true, IDLE, HEADER, whole);
        activity.read(1);
        assert_eq!(passed(&mut limits).await, (Passed::Head, 4));
        let mut limits = Limits::new(activity.clone(), true, IDLE, HEADER, whole);
        drop(activity.request());
        activity.read(1);
        assert_eq!(
            passed(&mut limits).await,
            (Passed::Head, 10),
            "it is not the first"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_is_to_end_is_given_less() {
        let (activity, mut limits) = limits(false);
        let request = activity.request();
        lasts(&mut limits, 100).await;
        limits.hasten(Duration::from_secs(2));
        lasts(&mut limits, 100).await;
        drop(request);
        assert_eq!(passed(&mut limits).await, (Passed::Idle, 2));
        limits.hasten(Duration::from_secs(2));
        assert_eq!(passed(&mut limits).await, (Passed::Idle, 2), "and again");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_stops_reading_is_given_less_than_one_that_reads_slowly() {
        let (activity, mut limits) = limits(true);
        let _request = activity.request();
        activity.wrote(true);
        lasts(&mut limits, 3600).await;
        activity.wrote(false);
        lasts(&mut limits, 59).await;
        activity.wrote(true);
        activity.wrote(false);
        lasts(&mut limits, 59).await;
        assert_eq!(passed(&mut limits).await, (Passed::Stalled, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_end_of_a_request_is_told() {
        let activity = Arc::new(Activity::default());
        let (first, second) = (activity.request(), activity.request());
        drop(first);
        let mut idle = std::pin::pin!(activity.idle());
        let early = tokio::time::timeout(IDLE, idle.as_mut()).await;
        assert!(early.is_err());
        drop(second);
        idle.await;
    }
}
