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

mod writer;

use bytes::Bytes;

use crate::convert::{ConvertError, Encoding, convert_shared, known_len};
use crate::source::{Cut, Source, Unavailable};

pub use self::writer::Writer;

/// The most that one conversion of a [`Writer::new`] may yield, in bytes.
pub const MAX_CONVERTED: usize = 64 << 20;
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
        self.check_end()?;
        match self.names() {
            Some((source, offset, len)) if len != Some(0) => {
                let released = source.progress().released;
                if offset < released {
                    return Err(Unavailable::Released { released }.into());
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

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

#[cfg(test)]
mod tests;
