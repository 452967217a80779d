//! Splices and pieces, held to plain replacement in a vector, however the source's bytes arrive.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use arbitrary::{Result, Unstructured};
use bytes::Bytes;
use tollgate_wire::edit::{Edit, EditError, SpliceEnd, splice as spliced};
use tollgate_wire::{Encoding, Feeder, Piece, Source, Writer, convert};

use crate::input::pieces;

/// What stands beside the body, for replacements.
const ASIDE: &[u8] = br#"AAEC"a\"b\u00e9"[1, -2.5,3e2]"#;
/// Values in it: where, how long, how written, and other ways to write them.
const VALUES: [(u64, u64, Encoding, [Encoding; 2]); 3] = [
    (
        0,
        4,
        Encoding::Base64,
        [Encoding::Plain, Encoding::JsonString],
    ),
    (
        4,
        12,
        Encoding::JsonString,
        [Encoding::Plain, Encoding::Base64],
    ),
    (
        16,
        13,
        Encoding::JsonArray(tollgate_wire::Datatype::Fp32),
        [Encoding::Base64, Encoding::Plain],
    ),
];

/// A replacement: as a piece, and as the bytes that it is.
fn replacement(u: &mut Unstructured<'_>, aside: &Source) -> Result<(Piece, Vec<u8>)> {
    Ok(match u.int_in_range(0..=2)? {
        0 => {
            let len = u.int_in_range(0..=20)?;
            let bytes = u.bytes(len)?.to_vec();
            (Piece::Inline(Bytes::from(bytes.clone())), bytes)
        }
        1 => {
            let offset = u.int_in_range(0..=ASIDE.len())?;
            let len = u.int_in_range(0..=ASIDE.len() - offset)?;
            let piece = Piece::Span {
                source: aside.clone(),
                offset: offset as u64,
                len: len as u64,
            };
            (piece, ASIDE[offset..offset + len].to_vec())
        }
        _ => {
            let (offset, len, from, into) = *u.choose(&VALUES)?;
            let to = *u.choose(&into)?;
            let value = &ASIDE[offset as usize..(offset + len) as usize];
            let bytes = convert(value, &from, &to, 1 << 10).expect("a value that converts");
            let piece = Piece::Convert {
                source: aside.clone(),
                offset,
                len,
                from,
                to,
            };
            (piece, bytes.to_vec())
        }
    })
}

/// A list of edits: each with its replacement's bytes.
fn edits(u: &mut Unstructured<'_>, aside: &Source) -> Result<Vec<(Edit, Vec<u8>)>> {
    let mut edits = Vec::new();
    let mut at = 0_u64;
    for _ in 0..u.int_in_range(0..=5)? {
        // Mostly in order, sometimes not, and rarely far beyond.
        let offset = match u.int_in_range(0..=19)? {
            0 => u.arbitrary()?,
            1 => at.saturating_sub(u.int_in_range(0..=3)?),
            _ => at.saturating_add(u.int_in_range(0..=12)?),
        };
        let len = match u.int_in_range(0..=19)? {
            0 => u.arbitrary()?,
            _ => u.int_in_range(0..=8)?,
        };
        let (mut with, mut bytes) = (Vec::new(), Vec::new());
        for _ in 0..u.int_in_range(0..=2)? {
            let (piece, plain) = replacement(u, aside)?;
            with.push(piece);
            bytes.extend(plain);
        }
        at = offset.saturating_add(len);
        edits.push((Edit { offset, len, with }, bytes));
    }
    Ok(edits)
}

/// The same in a vector; or why not. None: an edit lies past an end that is told later.
fn plainly(
    body: &[u8],
    from: u64,
    to: Option<u64>,
    edits: &[(Edit, Vec<u8>)],
) -> Result<Option<Vec<u8>>, EditError> {
    if let Some(to) = to.filter(|to| *to < from) {
        return Err(EditError::Range { from, to });
    }
    let mut out = Vec::new();
    let mut at = from;
    let mut short = false;
    let mut take = |out: &mut Vec<u8>, from: u64, to: u64| {
        let len = body.len() as u64;
        // Where nothing is named, nothing can be missing.
        short |= from < to && to > len;
        out.extend_from_slice(&body[from.min(len) as usize..to.clamp(from.min(len), len) as usize]);
    };
    for (index, (edit, bytes)) in edits.iter().enumerate() {
        if edit.offset < at {
            return Err(EditError::Order { index });
        }
        let end = edit.offset.checked_add(edit.len);
        let Some(end) = end.filter(|end| to.is_none_or(|to| *end <= to)) else {
            return Err(EditError::Beyond { index });
        };
        take(&mut out, at, edit.offset);
        out.extend_from_slice(bytes);
        at = end;
    }
    match to {
        Some(to) => take(&mut out, at, to),
        None => {
            take(&mut out, at, (body.len() as u64).max(at));
            // The rest begins where there is none: a body was promised that is not there.
            short |= at > body.len() as u64;
        }
    }
    Ok((!short).then_some(out))
}

/// What the writer writes while the source is fed; none when it fails.
fn written(mut writer: Writer, feed: Option<(Feeder, &[u8])>) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut ready = |writer: &mut Writer| -> Option<bool> {
        loop {
            let mut next = pin!(writer.next());
            match next.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(Some(Ok(bytes))) => {
                    assert!(!bytes.is_empty());
                    out.extend_from_slice(&bytes);
                }
                Poll::Ready(Some(Err(_))) => return None,
                Poll::Ready(None) => return Some(true),
                Poll::Pending => return Some(false),
            }
        }
    };
    if let Some((mut feeder, body)) = feed {
        for piece in pieces(body) {
            let mut piece = Bytes::copy_from_slice(piece);
            while !piece.is_empty() {
                let before = piece.len();
                // Nobody reads it any more: what was asked for has been written.
                if feeder.try_push(&mut piece).is_err() {
                    break;
                }
                let over = ready(&mut writer)?;
                assert!(over || piece.len() < before, "neither pushed nor written");
                if over {
                    break;
                }
            }
        }
        feeder.end();
    }
    let over = ready(&mut writer)?;
    assert!(over, "everything has come, and something is waited for");
    Some(out)
}

pub(crate) fn splice(data: &[u8]) {
    let _ = play(&mut Unstructured::new(data));
}

fn play(u: &mut Unstructured<'_>) -> Result<()> {
    let whole: bool = u.arbitrary()?;
    let declared: bool = u.arbitrary()?;
    let window = u.int_in_range(1..=64)?;
    let from = u.int_in_range(0..=10)?;
    let to = match u.int_in_range(0..=3)? {
        0 => SpliceEnd::At(u.int_in_range(0..=200)?),
        _ => SpliceEnd::End,
    };
    let aside = Source::whole(Bytes::from_static(ASIDE));
    let edits = edits(u, &aside)?;
    let len = u.len().min(200);
    let body = u.bytes(len)?;
    let len = body.len() as u64;

    let (source, feeder) = if whole {
        (Source::whole(Bytes::copy_from_slice(body)), None)
    } else {
        let (source, feeder) = Source::streaming(window, 1 << 12, declared.then_some(len));
        (source, Some((feeder, body)))
    };
    let known = whole || declared;
    let end = match to {
        SpliceEnd::At(to) => Some(to),
        SpliceEnd::End => known.then_some(len),
    };
    let expected = plainly(body, from, end, &edits);
    let list = edits.into_iter().map(|(edit, _)| edit).collect();
    let found = spliced(&source, from, to, list);
    drop(source);
    match (expected, found) {
        (Err(expected), found) => assert_eq!(found.err(), Some(expected)),
        (Ok(expected), Ok((pieces, total))) => {
            let out = written(Writer::new(pieces), feeder);
            if let (Some(total), Some(out)) = (total, &out) {
                assert_eq!(out.len() as u64, total);
            }
            assert_eq!(out, expected);
        }
        (Ok(_), Err(error)) => panic!("refused: {error}"),
    }
    Ok(())
}
