//! Output made of inline bytes, spans of sources and conversions, written under flow
//! control.
//!
//! A span may name bytes that have not arrived. The [`Writer`]
//! 1. pins every span when it is made, so that nothing it names is freed;
//! 2. yields bytes as they arrive and lets go of them as they are yielded: whoever
//!    takes them slowly holds back the source's producer, no one else;
//! 3. converts a value once all of it has arrived, within a bound;
//! 4. joins small neighbours that are there at once: a token between two quotes is one
//!    write, not three.

use bytes::{Bytes, BytesMut};

use crate::convert::{ConvertError, Encoding, convert_shared, known_len};
use crate::source::{Cut, Pin, Progress, Source, Unavailable};

/// The most that one conversion of a [`Writer::new`] may yield, in bytes.
pub const MAX_CONVERTED: usize = 64 << 20;
/// Chunks smaller than this are joined with their neighbours …
const SMALL: usize = 1024;
/// … up to this much.
const JOINED: usize = 8 * 1024;

/// A piece of output.
#[derive(Clone, Debug)]
pub enum Piece {
    /// These bytes.
    Inline(Bytes),
    /// Bytes of a source, as they are.
    Span {
        /// Where they are.
        source: Source,
        /// From the source's beginning.
        offset: u64,
        /// In bytes.
        len: u64,
    },
    /// A value in a source, to be written in another encoding.
    Convert {
        /// Where it is.
        source: Source,
        /// From the source's beginning.
        offset: u64,
        /// In bytes, as it lies.
        len: u64,
        /// How it is written there.
        from: Encoding,
        /// How it is to be written.
        to: Encoding,
    },
    /// A source from an offset to its end, wherever that is.
    Rest {
        /// Where it is.
        source: Source,
        /// From the source's beginning.
        from: u64,
    },
}

/// Why pieces cannot be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// A span reaches past the end of its source.
    #[error("a span reaches past the end of its source")]
    Short,
    /// A source broke off before the end of a span.
    #[error("a source was cut: {0}")]
    Cut(Cut),
    /// A span begins before what had been released when it was made.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// A value cannot be written in its new encoding.
    #[error(transparent)]
    Convert(#[from] ConvertError),
}

// === impl Piece ===

impl Piece {
    /// The source and the range that it names: offset, and length where that is fixed.
    fn names(&self) -> Option<(&Source, u64, Option<u64>)> {
        match self {
            Piece::Inline(_) => None,
            Piece::Span {
                source,
                offset,
                len,
            }
            | Piece::Convert {
                source,
                offset,
                len,
                ..
            } => Some((source, *offset, Some(*len))),
            Piece::Rest { source, from } => Some((source, *from, None)),
        }
    }

    /// Whether it lies within its source, as far as that can be told.
    ///
    /// # Errors
    /// It ends past the source's known end, or begins before what is still held.
    pub fn check(&self) -> Result<(), WriteError> {
        let Some((source, offset, len)) = self.names() else {
            return Ok(());
        };
        let progress = source.progress();
        let end = offset.checked_add(len.unwrap_or(0));
        if end.is_none() || progress.total.is_some_and(|total| end > Some(total)) {
            return Err(WriteError::Short);
        }
        if offset < progress.released && len != Some(0) {
            return Err(WriteError::Unavailable(Unavailable::Released {
                released: progress.released,
            }));
        }
        Ok(())
    }
}

/// The length of all pieces together; none when it hangs on bytes that have not
/// arrived. A conversion whose length does not follow from its encodings is made to be
/// measured; to keep what it yields, use [`settle`].
///
/// # Errors
/// A value cannot be converted.
pub fn total_len(pieces: &[Piece]) -> Result<Option<u64>, ConvertError> {
    let mut sum = Some(0u64);
    for piece in pieces {
        let len = match piece {
            Piece::Inline(bytes) => Some(bytes.len() as u64),
            Piece::Span { len, .. } => Some(*len),
            Piece::Rest { source, from } => {
                let total = source.progress().total;
                total.map(|total| total.saturating_sub(*from))
            }
            Piece::Convert { len, from, to, .. } => match known_len(*len, from, to) {
                Some(len) => Some(len),
                None => converted(piece, MAX_CONVERTED)?.map(|bytes| bytes.len() as u64),
            },
        };
        sum = sum.zip(len).map(|(sum, len)| sum.saturating_add(len));
    }
    Ok(sum)
}

/// As [`total_len`], but conversions whose values have arrived are replaced by what
/// they yield, at most `max_out` bytes each, so that each is made once.
///
/// # Errors
/// A value cannot be converted.
pub fn settle(pieces: &mut [Piece], max_out: usize) -> Result<Option<u64>, ConvertError> {
    for piece in pieces.iter_mut() {
        if let Some(bytes) = converted(piece, max_out)? {
            *piece = Piece::Inline(bytes);
        }
    }
    total_len(pieces)
}

/// What a conversion yields, when it is one, changes something and has arrived.
fn converted(piece: &Piece, max_out: usize) -> Result<Option<Bytes>, ConvertError> {
    let Piece::Convert {
        source,
        offset,
        len,
        from,
        to,
    } = piece
    else {
        return Ok(None);
    };
    if from.same_bytes(to) || offset.saturating_add(*len) > source.progress().available {
        return Ok(None);
    }
    let bytes = source
        .read(*offset, *len)
        .map_err(|_| ConvertError::Released)?;
    convert_shared(&bytes, from, to, max_out).map(Some)
}

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
    pending: std::collections::VecDeque<Pending>,
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
            pending: std::collections::VecDeque::with_capacity(pieces.len()),
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

impl Piece {
    /// A range whose end cannot be is refused before its first byte is written.
    fn check_end(&self) -> Result<(), WriteError> {
        let Some((source, offset, len)) = self.names() else {
            return Ok(());
        };
        let end = offset.checked_add(len.unwrap_or(0));
        let total = source.progress().total;
        if end.is_none() || total.is_some_and(|total| end > Some(total)) {
            return Err(WriteError::Short);
        }
        Ok(())
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

#[cfg(test)]
mod tests;
