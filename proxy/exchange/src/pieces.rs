//! A guest's segments, made into pieces that can be written: every span is checked
//! against the sources of the exchange that named it.

use bytes::Bytes;
use tollgate_plugin::{Misuse, Sources, encoding, types};
use tollgate_wire::piece::Piece;

/// A guest named bytes outside what it was given: it is condemned.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BadSegment {
    #[error(transparent)]
    Misuse(#[from] Misuse),
    #[error("a segment names bytes {offset}..{end} of source {source_id}: {problem}")]
    Range {
        source_id: u32,
        offset: u64,
        end: u64,
        problem: String,
    },
}

/// Pieces for segments.
///
/// # Errors
/// When a segment names what the exchange does not have.
pub(crate) fn pieces(
    sources: &mut Sources,
    segments: Vec<types::Segment>,
) -> Result<Vec<Piece>, BadSegment> {
    segments
        .into_iter()
        .map(|segment| match segment {
            types::Segment::Inline(bytes) => Ok(Piece::Inline(Bytes::from(bytes))),
            types::Segment::Span(span) => {
                let piece = Piece::Span {
                    source: sources.get(span.source)?.clone(),
                    offset: span.offset,
                    len: span.len,
                };
                checked(piece, &span)
            }
            types::Segment::Convert(conversion) => {
                let at = conversion.value.at;
                let to = encoding(&conversion.to)?;
                if let Some(done) = sources.take_converted(&conversion.value, &to) {
                    return Ok(Piece::Inline(done));
                }
                let piece = Piece::Convert {
                    source: sources.get(at.source)?.clone(),
                    offset: at.offset,
                    len: at.len,
                    from: encoding(&conversion.value.written)?,
                    to,
                };
                checked(piece, &at)
            }
        })
        .collect()
}

fn checked(piece: Piece, span: &types::Span) -> Result<Piece, BadSegment> {
    match piece.check() {
        Ok(()) => Ok(piece),
        Err(problem) => Err(BadSegment::Range {
            source_id: span.source,
            offset: span.offset,
            end: span.offset.saturating_add(span.len),
            problem: problem.to_string(),
        }),
    }
}

/// The inline bytes of pieces that are nothing else.
pub(crate) fn all_inline(pieces: &[Piece]) -> Option<Bytes> {
    match pieces {
        [] => Some(Bytes::new()),
        [Piece::Inline(bytes)] => Some(bytes.clone()),
        _ => {
            let mut joined = Vec::new();
            for piece in pieces {
                match piece {
                    Piece::Inline(bytes) => joined.extend_from_slice(bytes),
                    _ => return None,
                }
            }
            Some(joined.into())
        }
    }
}
