//! Streams of HTTP/2 whose client takes nothing.
//!
//! A client can read its socket, answer PING, and yet open no window (RFC 9113, section 6.9): its
//! requests would go on for ever, and with them its connection's place (CVE-2019-9517). So a stream
//! is watched:
//!
//! 1. While its body has nothing to give, or there is none yet, it is our turn: no limit here.
//! 2. When its body has given something, and is not asked for more, it is the client's turn: the
//!    idle timeout, from then on. Whatever it takes begins it anew.
//! 3. Past it the stream is dropped, and h2 resets it. While the socket itself has no room the
//!    connection's own limit holds (see [`activity`](crate::activity)), and this one waits.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use crate::activity::Activity;

/// Who has to do something before a stream goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// The service, or its body.
    Ours,
    /// The client: to take what it was given.
    Client,
}

tokio::task_local! {
    /// What the body of the stream that is being polled has noted last.
    static TURN: Cell<Option<Turn>>;
}

/// Notes whose turn it is, from within a stream's body; outside of one (HTTP/1.1) nobody looks.
pub(crate) fn note(turn: Turn) {
    let _ = TURN.try_with(|noted| noted.set(Some(turn)));
}

/// Runs a stream, to its end or until its client has taken nothing for too long.
pub(crate) async fn watched<F>(stream: F, idle: Duration, activity: Arc<Activity>)
where
    F: Future<Output = ()>,
{
    let mut stream = pin!(stream);
    let mut turn = Turn::Ours;
    // Made when it is first the client's turn and he does not take it at once.
    let mut timer: Option<Pin<Box<Sleep>>> = None;
    poll_fn(|cx| {
        let (polled, noted) = TURN.sync_scope(Cell::new(None), || {
            let polled = stream.as_mut().poll(cx);
            (polled, TURN.with(Cell::get))
        });
        if polled.is_ready() {
            return Poll::Ready(());
        }
        // None: the body was not asked, so the turn is whose it was.
        turn = noted.unwrap_or(turn);
        if turn == Turn::Ours {
            return Poll::Pending;
        }
        let deadline = Instant::now() + idle;
        let timer = timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if noted.is_some() {
            timer.as_mut().reset(deadline);
        }
        while timer.as_mut().poll(cx).is_ready() {
            if !activity.is_stalled() {
                tracing::debug!("a stream whose client takes nothing is reset");
                return Poll::Ready(());
            }
            timer.as_mut().reset(deadline);
        }
        Poll::Pending
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: Duration = Duration::from_secs(60);

    /// A stream that notes these turns, one a poll, a second apart, and then nothing.
    async fn stream(turns: Vec<Option<Turn>>) {
        for turn in turns {
            if let Some(turn) = turn {
                note(turn);
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        std::future::pending::<()>().await;
    }

    /// After how many seconds it is given up; none within a day.
    async fn lasts(turns: Vec<Option<Turn>>, activity: &Arc<Activity>) -> Option<u64> {
        let begin = Instant::now();
        let watched = watched(stream(turns), IDLE, activity.clone());
        let day = Duration::from_secs(24 * 3600);
        tokio::time::timeout(day, watched).await.ok()?;
        Some(begin.elapsed().as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn only_the_clients_turn_has_a_limit() {
        let activity = Arc::default();
        let (ours, client) = (Some(Turn::Ours), Some(Turn::Client));
        assert_eq!(lasts(vec![], &activity).await, None);
        assert_eq!(lasts(vec![ours], &activity).await, None);
        assert_eq!(lasts(vec![client], &activity).await, Some(60));
        assert_eq!(lasts(vec![client, ours], &activity).await, None);
        // What it takes begins its time anew; to be polled for something else does not.
        assert_eq!(lasts(vec![client; 100], &activity).await, Some(159));
        assert_eq!(lasts(vec![client, None, None], &activity).await, Some(60));
    }

    #[tokio::test(start_paused = true)]
    async fn a_socket_without_room_is_the_connections_affair() {
        let activity: Arc<Activity> = Arc::default();
        activity.wrote(false);
        let full = lasts(vec![Some(Turn::Client)], &activity);
        assert_eq!(full.await, None);
    }
}
