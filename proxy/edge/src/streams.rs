//! The requests of one HTTP/2 connection, a task each, none of which outlives the connection.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use hyper::rt::Executor;
use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio_util::task::TaskTracker;
use tollgate_telemetry::Metrics;

use crate::activity::Activity;
use crate::stall::watched;

/// Starts the tasks. hyper bounds them by the connection's limit of streams.
#[derive(Clone)]
pub(crate) struct Streams {
    set: Arc<Mutex<JoinSet<()>>>,
    /// All streams of the listener, for the end of its drain.
    tracker: TaskTracker,
    panics: Panics,
    activity: Arc<Activity>,
    /// How long one may wait for its client.
    idle: Duration,
}

/// Where panics of handlers are counted.
#[derive(Clone)]
pub(crate) struct Panics {
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) listener: Arc<str>,
}

impl Panics {
    /// Counts what has ended.
    pub(crate) fn note(&self, ended: &Result<(), tokio::task::JoinError>) {
        if ended.as_ref().is_err_and(tokio::task::JoinError::is_panic) {
            self.metrics.panicked(&self.listener);
            tracing::error!(
                listener = &*self.listener,
                "the handler of a request panicked"
            );
        }
    }
}

/// Ends the tasks when the connection's task ends, in whatever way.
pub(crate) struct EndStreams(Streams);

impl Streams {
    pub(crate) fn new(
        tracker: TaskTracker,
        panics: Panics,
        activity: Arc<Activity>,
        idle: Duration,
    ) -> (Self, EndStreams) {
        let streams = Self {
            set: Arc::default(),
            tracker,
            panics,
            activity,
            idle,
        };
        (streams.clone(), EndStreams(streams))
    }

    fn reap(&self, set: &mut JoinSet<()>) {
        while let Some(ended) = set.try_join_next() {
            self.panics.note(&ended);
        }
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Streams {
    fn execute(&self, stream: F) {
        let mut set = self.set.lock();
        self.reap(&mut set);
        let stream = watched(stream, self.idle, self.activity.clone());
        set.spawn(self.tracker.track_future(stream));
    }
}

impl Drop for EndStreams {
    fn drop(&mut self) {
        let mut set = self.0.set.lock();
        self.0.reap(&mut set);
        set.abort_all();
    }
}
