use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::piece::Writer;

fn edit(offset: u64, len: u64, with: &[u8]) -> Edit {
    Edit {
        offset,
        len,
        with: vec![Piece::Inline(Bytes::copy_from_slice(with))],
    }
}

fn write(pieces: Vec<Piece>) -> Vec<u8> {
    let mut writer = Writer::new(pieces);
    let mut out = Vec::new();
    while let Some(bytes) = writer.try_next() {
        out.extend_from_slice(&bytes.unwrap());
    }
    assert!(writer.is_empty());
    out
}

#[test]
fn edits_that_cannot_be_made_are_named() {
    let source = Source::whole(Bytes::from_static(b"0123456789"));
    let make = |from, to, edits| splice(&source, from, to, edits).map(|_| ()).unwrap_err();
    assert_eq!(
        make(0, SpliceEnd::End, vec![edit(2, 3, b""), edit(4, 1, b"")]),
        EditError::Order { index: 1 }
    );
    assert_eq!(
        make(3, SpliceEnd::End, vec![edit(2, 3, b"")]),
        EditError::Order { index: 0 }
    );
    assert_eq!(
        make(0, SpliceEnd::End, vec![edit(9, 2, b"")]),
        EditError::Beyond { index: 0 }
    );
    assert_eq!(
        make(0, SpliceEnd::At(5), vec![edit(5, 1, b"")]),
        EditError::Beyond { index: 0 }
    );
    assert_eq!(
        make(0, SpliceEnd::End, vec![edit(1, u64::MAX, b"")]),
        EditError::Beyond { index: 0 }
    );
    assert_eq!(
        make(6, SpliceEnd::At(5), vec![]),
        EditError::Range { from: 6, to: 5 }
    );
    assert_eq!(
        make(11, SpliceEnd::End, vec![]),
        EditError::Range { from: 11, to: 10 }
    );
}

#[test]
fn insertions_at_one_place_keep_their_order_also_at_both_ends() {
    let source = Source::whole(Bytes::from_static(b"01"));
    let edits = vec![
        edit(0, 0, b"a"),
        edit(0, 0, b"b"),
        edit(1, 0, b"c"),
        edit(2, 0, b"d"),
    ];
    let (pieces, len) = splice(&source, 0, SpliceEnd::End, edits).unwrap();
    assert_eq!(len, Some(6));
    assert_eq!(write(pieces), b"ab0c1d");
}

#[test]
fn a_body_whose_end_is_not_known_streams_on() {
    let (source, mut feeder) = Source::streaming(100, 100, None);
    feeder.try_push(&mut Bytes::from_static(b"01234")).unwrap();
    let (pieces, len) = splice(&source, 1, SpliceEnd::End, vec![edit(2, 2, b"<>")]).unwrap();
    assert_eq!(len, None);
    feeder.try_push(&mut Bytes::from_static(b"567")).unwrap();
    feeder.end();
    assert_eq!(write(pieces), b"1<>4567");
}

#[test]
fn a_declared_length_makes_the_length_known() {
    let (source, _feeder) = Source::streaming(100, 100, Some(10));
    let (_, len) = splice(&source, 0, SpliceEnd::End, vec![edit(8, 1, b"three")]).unwrap();
    assert_eq!(len, Some(14));
}

proptest! {
    #[test]
    fn a_splice_is_the_simple_replacement(
        body in proptest::collection::vec(any::<u8>(), 0..80),
        mut cuts in proptest::collection::vec(any::<u16>(), 0..12),
        with in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..5), 6),
        from in any::<u16>(),
    ) {
        let len = body.len() as u64;
        let from = u64::from(from) % (len + 1);
        for cut in &mut cuts {
            *cut = (from + u64::from(*cut) % (len - from + 1)) as u16;
        }
        cuts.sort_unstable();
        let edits: Vec<Edit> = cuts
            .chunks_exact(2)
            .zip(&with)
            .map(|(cut, with)| edit(u64::from(cut[0]), u64::from(cut[1] - cut[0]), with))
            .collect();
        // From the last to the first, so that offsets stay what they are.
        let mut expected = body.clone();
        for (cut, with) in cuts.chunks_exact(2).zip(&with).rev() {
            expected.splice(usize::from(cut[0])..usize::from(cut[1]), with.iter().copied());
        }
        let expected = &expected[from as usize..];
        let source = Source::whole(body.into());
        let (pieces, known) = splice(&source, from, SpliceEnd::End, edits).unwrap();
        prop_assert_eq!(known, Some(expected.len() as u64));
        prop_assert_eq!(write(pieces), expected);
    }
}
