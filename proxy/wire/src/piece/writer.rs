//! Writes pieces as their bytes arrive.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use super::{MAX_CONVERTED, Piece, WriteError};
use crate::convert::convert_shared;
use crate::source::{Pin, Progress, Source};

/// Chunks smaller than this are joined with their neighbours …
const SMALL: usize = 1024;
/// … up to this much.
const JOINED: usize = 8 * 1024;

/// What one look at the pieces finds.
enum Step {
    Bytes(Bytes),
    /// Nothing until the pin's source has got so far.
    Wait(u64),
    Done,
}

/// A piece that is being written; spans hold a pin.
struct Pending {
    piece: Piece,
    pin: Option<Pin>,
    /// Bytes written of it.
    written: u64,
}

/// Writes pieces one after the other.
pub struct Writer {
    pending: VecDeque<Pending>,
    max_out: usize,
    /// Found while joining; told with the next call.
    failed: Option<WriteError>,
}

// === impl Writer ===

impl Writer {
    /// A writer of these pieces. A conversion may yield [`MAX_CONVERTED`] bytes.
    #[must_use]
    pub fn new(pieces: Vec<Piece>) -> Self {
        Self::bounded(pieces, MAX_CONVERTED)
    }

    /// A writer whose conversions yield at most `max_out` bytes each.
    #[must_use]
    pub fn bounded(pieces: Vec<Piece>, max_out: usize) -> Self {
        let mut writer = Self {
            pending: VecDeque::with_capacity(pieces.len()),
            max_out,
            failed: None,
        };
        writer.extend(pieces);
        writer
    }

    /// Adds pieces at the end. Whoever adds bounds how many wait.
    pub fn extend(&mut self, pieces: Vec<Piece>) {
        for piece in pieces {
            // Nothing needs no pin, and must not hold back what lies behind it.
            let named = piece.names().filter(|(_, _, len)| *len != Some(0));
            let pin = named.map(|(source, offset, _)| source.pin(offset));
            self.pending.push_back(Pending {
                piece,
                pin,
                written: 0,
            });
        }
    }

    /// Whether everything has been written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pending.is_empty() && self.failed.is_none()
    }

    /// The next bytes, never empty; none after the last ones or after an error. Safe
    /// to cancel.
    pub async fn next(&mut self) -> Option<Result<Bytes, WriteError>> {
        loop {
            if let Some(failed) = self.failed.take() {
                self.pending.clear();
                return Some(Err(failed));
            }
            match self.step() {
                Ok(Step::Bytes(bytes)) => return Some(Ok(self.join(bytes))),
                Ok(Step::Done) => return None,
                Ok(Step::Wait(until)) => {
                    if let Some((source, keep)) = self.keeps() {
                        source.reach_keeping(Some(keep), until).await;
                    }
                }
                Err(failed) => self.failed = Some(failed),
            }
        }
    }

    /// What is there at once, if anything: none also when it must wait.
    pub fn try_next(&mut self) -> Option<Result<Bytes, WriteError>> {
        if let Some(failed) = self.failed.take() {
            self.pending.clear();
            return Some(Err(failed));
        }
        match self.step() {
            Ok(Step::Bytes(bytes)) => Some(Ok(self.join(bytes))),
            Ok(Step::Done | Step::Wait(_)) => None,
            Err(failed) => {
                self.pending.clear();
                Some(Err(failed))
            }
        }
    }

    /// The source that the first piece names, and the lowest offset of it that this
    /// writer still needs: a later piece may name earlier bytes, and what it keeps must
    /// not count as another's, or the wait would never end.
    fn keeps(&self) -> Option<(&Source, u64)> {
        let (source, ..) = self.pending.front()?.piece.names()?;
        let lowest = self
            .pending
            .iter()
            .filter(|pending| pending.pin.is_some())
            .filter_map(|pending| Some((pending.piece.names()?, pending.written)))
            .filter(|((named, ..), _)| *named == source)
            .map(|((_, offset, _), written)| offset.saturating_add(written))
            .min()?;
        Some((source, lowest))
    }

    /// Joins a small chunk with small ones that follow and are there.
    fn join(&mut self, first: Bytes) -> Bytes {
        if first.len() >= SMALL {
            return first;
        }
        let mut joined = BytesMut::new();
        while first.len().max(joined.len()) < JOINED - SMALL && self.is_next_small() {
            match self.step() {
                Ok(Step::Bytes(bytes)) => {
                    if joined.is_empty() {
                        joined.extend_from_slice(&first);
                    }
                    joined.extend_from_slice(&bytes);
                }
                Ok(Step::Wait(_) | Step::Done) => break,
                Err(failed) => {
                    self.failed = Some(failed);
                    break;
                }
            }
        }
        if joined.is_empty() {
            first
        } else {
            joined.freeze()
        }
    }

    /// Whether the next chunk, if there is one at once, is small.
    fn is_next_small(&self) -> bool {
        let Some(front) = self.pending.front() else {
            return false;
        };
        match &front.piece {
            Piece::Inline(bytes) => bytes.len() < SMALL,
            Piece::Convert { .. } => false,
            Piece::Span {
                source,
                offset,
                len,
            } => small_chunk(source, offset + front.written, len - front.written),
            Piece::Rest { source, from } => small_chunk(source, from + front.written, u64::MAX),
        }
    }

    /// One look: takes what is there of the first piece, and drops finished ones.
    fn step(&mut self) -> Result<Step, WriteError> {
        loop {
            let Some(front) = self.pending.front_mut() else {
                return Ok(Step::Done);
            };
            front.piece.check_end()?;
            match &mut front.piece {
                Piece::Inline(bytes) => {
                    let bytes = std::mem::take(bytes);
                    self.pending.pop_front();
                    if !bytes.is_empty() {
                        return Ok(Step::Bytes(bytes));
                    }
                }
                Piece::Span {
                    source,
                    offset,
                    len,
                } => {
                    let at = *offset + front.written;
                    let left = *len - front.written;
                    if left == 0 {
                        self.pending.pop_front();
                        continue;
                    }
                    let bytes = source.first_chunk(at, left)?;
                    if bytes.is_empty() {
                        return stuck(&source.progress(), at).map(|()| Step::Wait(at + 1));
                    }
                    front.took(bytes.len() as u64);
                    if bytes.len() as u64 == left {
                        self.pending.pop_front();
                    }
                    return Ok(Step::Bytes(bytes));
                }
                Piece::Rest { source, from } => {
                    let at = *from + front.written;
                    let progress = source.progress();
                    if progress.end && progress.available == at {
                        self.pending.pop_front();
                        continue;
                    }
                    let bytes = source.first_chunk(at, u64::MAX)?;
                    if bytes.is_empty() {
                        return stuck(&source.progress(), at).map(|()| Step::Wait(at + 1));
                    }
                    front.took(bytes.len() as u64);
                    return Ok(Step::Bytes(bytes));
                }
                Piece::Convert {
                    source,
                    offset,
                    len,
                    from,
                    to,
                } => {
                    if from.same_bytes(to) {
                        front.piece = Piece::Span {
                            source: source.clone(),
                            offset: *offset,
                            len: *len,
                        };
                        continue;
                    }
                    let end = *offset + *len;
                    let progress = source.progress();
                    if progress.available < end {
                        return stuck(&progress, progress.available).map(|()| Step::Wait(end));
                    }
                    let bytes = source.read(*offset, *len)?;
                    let bytes = convert_shared(&bytes, from, to, self.max_out)?;
                    front.piece = Piece::Inline(bytes);
                    front.pin = None;
                }
            }
        }
    }
}

impl Pending {
    fn took(&mut self, len: u64) {
        self.written += len;
        let offset = self.piece.names().map_or(0, |(_, offset, _)| offset);
        if let Some(pin) = &mut self.pin {
            pin.advance(offset + self.written);
        }
    }
}

fn small_chunk(source: &Source, at: u64, len: u64) -> bool {
    let len = len.min(SMALL as u64);
    matches!(source.first_chunk(at, len), Ok(bytes) if !bytes.is_empty() && bytes.len() < SMALL)
}

/// An error when a source that ends at `at` will never get further.
fn stuck(progress: &Progress, at: u64) -> Result<(), WriteError> {
    match progress.cut {
        Some(cut) => Err(WriteError::Cut(cut)),
        None if progress.end && progress.available <= at => Err(WriteError::Short),
        None => Ok(()),
    }
}
