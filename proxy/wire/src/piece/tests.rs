use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use proptest::prelude::*;

use super::*;
use crate::tensor::Datatype;

fn now<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

fn span(source: &Source, offset: u64, len: u64) -> Piece {
    Piece::Span {
        source: source.clone(),
        offset,
        len,
    }
}

fn inline(bytes: &'static str) -> Piece {
    Piece::Inline(Bytes::from_static(bytes.as_bytes()))
}

fn rest(source: &Source, from: u64) -> Piece {
    Piece::Rest {
        source: source.clone(),
        from,
    }
}

fn to_json(source: &Source, offset: u64, len: u64) -> Piece {
    Piece::Convert {
        source: source.clone(),
        offset,
        len,
        from: Encoding::Plain,
        to: Encoding::JsonString,
    }
}

async fn all(mut writer: Writer) -> Result<Vec<u8>, WriteError> {
    let mut out = Vec::new();
    while let Some(bytes) = writer.next().await {
        let bytes = bytes?;
        assert!(!bytes.is_empty());
        out.extend_from_slice(&bytes);
    }
    assert!(writer.is_empty());
    Ok(out)
}

fn written(pieces: Vec<Piece>) -> Result<String, WriteError> {
    let out = now(all(Writer::new(pieces))).expect("everything is there");
    out.map(|bytes| String::from_utf8(bytes).unwrap())
}

#[test]
fn pieces_are_written_in_order() {
    let source = Source::whole(Bytes::from_static(b"0123456789"));
    let pieces = vec![
        inline("<"),
        span(&source, 7, 3),
        inline(""),
        span(&source, 0, 0),
        span(&source, 10, 0),
        to_json(&source, 1, 2),
        span(&source, 0, 2),
        rest(&source, 9),
        rest(&source, 10),
    ];
    assert_eq!(total_len(&pieces), Ok(Some(1 + 3 + 4 + 2 + 1)));
    assert_eq!(written(pieces).unwrap(), "<789\"12\"019");
}

#[test]
fn small_neighbours_are_one_write_and_large_ones_are_no_copy() {
    let source = Source::whole(vec![7; 100_000].into());
    let large = source.read(0, 100_000).unwrap();
    let mut writer = Writer::new(vec![
        inline("a"),
        span(&source, 0, 3),
        inline("b"),
        span(&source, 0, 100_000),
        inline("c"),
    ]);
    assert_eq!(writer.try_next().unwrap().unwrap(), &b"a\x07\x07\x07b"[..]);
    let second = writer.try_next().unwrap().unwrap();
    assert_eq!((second.len(), second.as_ptr()), (100_000, large.as_ptr()));
    assert_eq!(writer.try_next().unwrap().unwrap(), "c");
    assert!(writer.try_next().is_none());
}

#[test]
fn what_is_there_leaves_at_once_and_is_let_go() {
    let (source, mut feeder) = Source::streaming(4, 4, None);
    let mut writer = Writer::new(vec![inline("<"), span(&source, 0, 6), inline(">")]);
    source.release(u64::MAX);
    assert_eq!(now(writer.next()).unwrap().unwrap().unwrap(), "<");
    assert!(now(writer.next()).is_none());
    let mut body = Bytes::from_static(b"012345");
    feeder.try_push(&mut body).unwrap();
    assert_eq!(feeder.try_room(), 0);
    assert_eq!(now(writer.next()).unwrap().unwrap().unwrap(), "0123");
    assert_eq!(source.progress().released, 4);
    feeder.try_push(&mut body).unwrap();
    assert_eq!(now(writer.next()).unwrap().unwrap().unwrap(), "45>");
    assert!(now(writer.next()).unwrap().is_none());
    assert!(writer.is_empty());
    writer.extend(vec![inline("more")]);
    assert_eq!(writer.try_next().unwrap().unwrap(), "more");
}

#[test]
fn a_span_past_the_end_is_refused_before_its_first_byte() {
    let source = Source::whole(Bytes::from_static(b"0123"));
    for piece in [
        span(&source, 2, 3),
        span(&source, u64::MAX, 2),
        rest(&source, 5),
        to_json(&source, 4, 1),
    ] {
        assert_eq!(piece.check(), Err(WriteError::Short));
        let mut writer = Writer::new(vec![piece]);
        assert_eq!(writer.try_next(), Some(Err(WriteError::Short)));
        assert_eq!(writer.try_next(), None);
    }
    assert_eq!(span(&source, 2, 2).check(), Ok(()));
}

#[test]
fn an_end_that_comes_too_early_is_short_and_a_cut_is_a_cut() {
    for (cut, error) in [
        (None, WriteError::Short),
        (Some(Cut::Deadline), WriteError::Cut(Cut::Deadline)),
    ] {
        for make in [
            |source: &Source| span(source, 0, 6),
            |source: &Source| to_json(source, 0, 6),
            |source: &Source| rest(source, 6),
        ] {
            let (source, mut feeder) = Source::streaming(9, 9, None);
            let mut writer = Writer::new(vec![make(&source), inline("never")]);
            assert!(now(writer.next()).is_none());
            feeder.try_push(&mut Bytes::from_static(b"0123")).unwrap();
            match cut {
                None => feeder.end(),
                Some(cut) => feeder.cut(cut),
            }
            let mut last = None;
            while let Some(next) = now(writer.next()).unwrap() {
                last = Some(next);
            }
            assert_eq!(last, Some(Err(error.clone())));
        }
    }
}

#[test]
fn bytes_before_an_error_are_told_first() {
    let source = Source::whole(Bytes::from_static(b"0123"));
    let mut writer = Writer::new(vec![inline("a"), span(&source, 4, 1)]);
    assert_eq!(now(writer.next()).unwrap().unwrap().unwrap(), "a");
    assert_eq!(now(writer.next()).unwrap(), Some(Err(WriteError::Short)));
    assert_eq!(now(writer.next()).unwrap(), None);
}

#[test]
fn released_bytes_cannot_be_named() {
    let source = Source::whole(Bytes::from_static(b"0123"));
    source.release(2);
    let gone = Err(WriteError::Unavailable(Unavailable::Released {
        released: 2,
    }));
    assert_eq!(span(&source, 1, 2).check(), gone);
    assert_eq!(written(vec![span(&source, 1, 2)]).map(drop), gone);
    assert_eq!(written(vec![span(&source, 2, 2)]).unwrap(), "23");
}

#[test]
fn lengths_are_known_as_soon_as_they_can_be() {
    let (source, mut feeder) = Source::streaming(100, 100, None);
    let base64 = Piece::Convert {
        source: source.clone(),
        offset: 0,
        len: 4,
        from: Encoding::Tensor(Datatype::Fp32),
        to: Encoding::Base64,
    };
    let packed = Piece::Convert {
        source: source.clone(),
        offset: 0,
        len: 4,
        from: Encoding::Packed(Datatype::Fp32),
        to: Encoding::Tensor(Datatype::Fp32),
    };
    assert_eq!(total_len(&[base64, packed]), Ok(Some(12)));
    let mut pieces = [to_json(&source, 0, 4)];
    assert_eq!(total_len(&pieces), Ok(None));
    assert_eq!(settle(&mut pieces, 100), Ok(None));
    assert_eq!(total_len(&[rest(&source, 1)]), Ok(None));
    feeder.try_push(&mut Bytes::from_static(b"a\"bc")).unwrap();
    assert_eq!(total_len(&pieces), Ok(Some(7)));
    assert_eq!(
        settle(&mut pieces, 6),
        Err(ConvertError::TooLarge { limit: 6 })
    );
    assert_eq!(settle(&mut pieces, 7), Ok(Some(7)));
    assert!(matches!(&pieces[0], Piece::Inline(bytes) if bytes == "\"a\\\"bc\""));
    feeder.end();
    assert_eq!(total_len(&[rest(&source, 1)]), Ok(Some(3)));
}

#[tokio::test]
async fn a_conversion_larger_than_the_window_is_waited_for_and_bounded() {
    let (source, mut feeder) = Source::streaming(4, 1000, None);
    let piece = to_json(&source, 10, 500);
    source.release(10);
    let feeding = tokio::spawn(async move {
        feeder.push(vec![b'x'; 510].into()).await.unwrap();
        feeder.end();
    });
    let out = all(Writer::bounded(vec![piece], 502)).await.unwrap();
    assert_eq!(out.len(), 502);
    feeding.await.unwrap();
    let whole = Source::whole(vec![b'x'; 500].into());
    assert_eq!(
        all(Writer::bounded(vec![to_json(&whole, 0, 500)], 501)).await,
        Err(WriteError::Convert(ConvertError::TooLarge { limit: 501 }))
    );
}

proptest! {
    /// Spans of a source that arrives in any pieces, within any window, against slices.
    #[test]
    fn spans_are_the_bytes_they_name(
        body in proptest::collection::vec(any::<u8>(), 1..200),
        spans in proptest::collection::vec((any::<u16>(), any::<u16>()), 1..10),
        piece in 1usize..50, window in 1u64..40,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async move {
            let len = body.len() as u64;
            let (source, mut feeder) = Source::streaming(window, len, None);
            let mut pieces = Vec::new();
            let mut expected = Vec::new();
            for (a, b) in spans {
                let (a, b) = (u64::from(a) % (len + 1), u64::from(b) % (len + 1));
                let (from, to) = (a.min(b), a.max(b));
                pieces.push(span(&source, from, to - from));
                expected.extend_from_slice(&body[from as usize..to as usize]);
            }
            let writer = Writer::new(pieces);
            source.release(u64::MAX);
            let feeding = tokio::spawn(async move {
                for piece in body.chunks(piece) {
                    feeder.push(Bytes::copy_from_slice(piece)).await.unwrap();
                }
                feeder.end();
            });
            prop_assert_eq!(all(writer).await.unwrap(), expected);
            let _ = source.reach(u64::MAX).await;
            feeding.await.unwrap();
            Ok(())
        })?;
    }
}
