//! What the black-box tests share: the real binary as a child process, clients that can misbehave,
//! and fake workers that do what a real server cannot be made to do on command.
//!
//! Nothing here sleeps to let something happen: a test waits for an event, in a log or on a socket,
//! and fails when it has not come before [`CEILING`].
#![forbid(unsafe_code)]

pub mod client;
pub mod fake;
pub mod place;
mod proxy;
pub mod redis;
pub mod scene;
pub mod standin;
pub mod tls;
pub mod tokens;
pub mod wire1;

pub use proxy::{Exit, Proxy, Setup};

use std::{fmt::Display, future::Future, time::Duration};

/// The messages of `proto/generation.proto`.
pub mod fmaas {
    include!(concat!(env!("OUT_DIR"), "/fmaas.rs"));
}

/// The messages of `proto/inference.proto`.
pub mod inference {
    include!(concat!(env!("OUT_DIR"), "/inference.rs"));
}

/// Nothing in a test takes this long, but for a defect.
pub const CEILING: Duration = Duration::from_secs(60);

/// Awaits what must happen before the ceiling.
///
/// # Panics
/// When it has not, naming it.
pub async fn within<F: Future>(what: impl Display, future: F) -> F::Output {
    match tokio::time::timeout(CEILING, future).await {
        Ok(output) => output,
        Err(_) => panic!("{what}: not within {CEILING:?}"),
    }
}

/// Asks again and again until the answer is the wanted one: for figures that the proxy only tells
/// when it is asked.
///
/// # Panics
/// When it is not before the ceiling.
pub async fn eventually<T, F: Future<Output = Option<T>>>(
    what: impl Display,
    mut ask: impl FnMut() -> F,
) -> T {
    within(what, async {
        loop {
            if let Some(found) = ask().await {
                return found;
            }
            // Not to wait for something, only to leave the processor to what is waited for.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
}
