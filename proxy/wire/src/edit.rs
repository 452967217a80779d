//! Splices: a source's bytes with some ranges replaced, as pieces; nothing is copied.

use crate::convert::ConvertError;
use crate::piece::{Piece, total_len};
use crate::source::Source;

/// Where a splice ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpliceEnd {
    /// Before this offset.
    At(u64),
    /// With the source, which may still be arriving.
    End,
}

/// Replaces `len` bytes at `offset` of the source.
#[derive(Clone, Debug)]
pub struct Edit {
    /// From the source's beginning.
    pub offset: u64,
    /// Bytes that go; 0 inserts.
    pub len: u64,
    /// What comes instead.
    pub with: Vec<Piece>,
}

/// Edits that cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// The part to splice ends before it begins.
    #[error("a splice from {from} cannot end at {to}")]
    Range {
        /// Where it begins.
        from: u64,
        /// Where it ends.
        to: u64,
    },
    /// Not in order of offset, or overlapping.
    #[error("edit {index} begins before its predecessor has ended")]
    Order {
        /// Position in the list.
        index: usize,
    },
    /// Past the end.
    #[error("edit {index} reaches past the end")]
    Beyond {
        /// Position in the list.
        index: usize,
    },
    /// A replacement cannot be converted.
    #[error(transparent)]
    Convert(#[from] ConvertError),
}

/// The bytes `from .. to` of the source with the edits made, and their length when it
/// is known. Edits stand in order of offset and do not overlap; insertions at one
/// offset keep their order. When the source's end is not known yet, its rest is
/// streamed, and an edit that lies past the end shows when the pieces are written.
///
/// # Errors
/// See [`EditError`].
pub fn splice(
    source: &Source,
    from: u64,
    to: SpliceEnd,
    edits: Vec<Edit>,
) -> Result<(Vec<Piece>, Option<u64>), EditError> {
    let total = source.progress().total;
    let to = match to {
        SpliceEnd::At(to) => Some(to),
        SpliceEnd::End => total,
    };
    if let Some(to) = to.filter(|to| *to < from) {
        return Err(EditError::Range { from, to });
    }
    let mut pieces = Vec::with_capacity(edits.len() * 2 + 1);
    let mut at = from;
    let span = |offset: u64, len: u64| Piece::Span {
        source: source.clone(),
        offset,
        len,
    };
    for (index, edit) in edits.into_iter().enumerate() {
        if edit.offset < at {
            return Err(EditError::Order { index });
        }
        let end = edit.offset.checked_add(edit.len);
        let end = end.filter(|end| to.is_none_or(|to| *end <= to));
        let end = end.ok_or(EditError::Beyond { index })?;
        if edit.offset > at {
            pieces.push(span(at, edit.offset - at));
        }
        pieces.extend(edit.with);
        at = end;
    }
    match to {
        Some(to) if to > at => pieces.push(span(at, to - at)),
        Some(_) => {}
        None => pieces.push(Piece::Rest {
            source: source.clone(),
            from: at,
        }),
    }
    let len = total_len(&pieces)?;
    Ok((pieces, len))
}

#[cfg(test)]
mod tests;
