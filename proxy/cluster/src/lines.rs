//! The lines of a watch: one event each, as they come.

use bytes::{Bytes, BytesMut};
use tokio::time::Instant;
use tollgate_upstream::Incoming;

use crate::error::ApiError;

/// A stream of lines, none longer than its bound.
pub(crate) struct Lines {
    body: Incoming,
    held: BytesMut,
    /// Of `held`, what has no end of a line.
    seen: usize,
    most: u64,
    /// When it has to be over.
    until: Instant,
}

impl Lines {
    pub(crate) fn new(body: Incoming, most: u64, until: Instant) -> Self {
        Self {
            body,
            held: BytesMut::new(),
            seen: 0,
            most,
            until,
        }
    }

    /// The next line that is not empty; none at the end. Dropped, nothing is lost: what has come is
    /// kept.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, ApiError> {
        loop {
            if let Some(line) = self.take() {
                if line.iter().all(u8::is_ascii_whitespace) {
                    continue;
                }
                return Ok(Some(line));
            }
            if self.held.len() as u64 > self.most {
                return Err(ApiError::TooLarge(self.most));
            }
            match tokio::time::timeout_at(self.until, self.body.data()).await {
                // It was asked to be over by now: a connection that says nothing may be dead.
                Err(_) | Ok(None) => return Ok(None),
                Ok(Some(Ok(data))) => self.held.extend_from_slice(&data),
                Ok(Some(Err(error))) => return Err(ApiError::Send(error.to_string())),
            }
        }
    }

    /// The next line that has come already; none also at the end, which [`Lines::next`] tells.
    pub(crate) fn ready(&mut self) -> Option<Bytes> {
        loop {
            let line = self.take()?;
            if !line.iter().all(u8::is_ascii_whitespace) {
                return Some(line);
            }
        }
    }

    fn take(&mut self) -> Option<Bytes> {
        let fresh = &self.held[self.seen..];
        let Some(end) = fresh.iter().position(|byte| *byte == b'\n') else {
            self.seen = self.held.len();
            return None;
        };
        let line = self.held.split_to(self.seen + end + 1).freeze();
        self.seen = 0;
        Some(line)
    }
}
