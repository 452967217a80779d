use std::io::Write as _;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use proptest::prelude::*;

use super::*;
use crate::inflate::InflateError;

fn framed(messages: &[Vec<u8>]) -> Vec<u8> {
    let mut stream = Vec::new();
    for message in messages {
        stream.extend(prefix(message.len() as u32));
        stream.extend(message);
    }
    stream
}

fn read(
    stream: &[u8],
    cuts: &[usize],
    mut reader: MessageReader,
) -> Result<Vec<Vec<u8>>, FrameError> {
    let mut messages = Vec::new();
    let mut from = 0;
    for cut in cuts.iter().copied().chain([stream.len()]) {
        let mut input = Bytes::copy_from_slice(&stream[from..cut]);
        from = cut;
        while let Some(message) = reader.decode(&mut input)? {
            messages.push(message.to_vec());
        }
        assert!(input.is_empty());
    }
    reader.finish()?;
    Ok(messages)
}

fn plain(limit: u64) -> MessageReader {
    MessageReader::new(Compression::Identity, limit)
}

#[test]
fn messages_come_back_split_at_every_byte() {
    let messages = [b"one".to_vec(), Vec::new(), vec![7; 300], Vec::new()];
    let stream = framed(&messages);
    for first in 0..=stream.len() {
        for second in (first..=stream.len()).step_by(13) {
            assert_eq!(
                read(&stream, &[first, second], plain(300)).unwrap(),
                messages
            );
        }
    }
    let every: Vec<_> = (0..stream.len()).collect();
    assert_eq!(read(&stream, &every, plain(300)).unwrap(), messages);
}

#[test]
fn every_truncation_is_found() {
    let stream = framed(&[b"one".to_vec(), b"two".to_vec()]);
    for end in 0..stream.len() {
        let whole = end == 0 || end == 8;
        let result = read(&stream[..end], &[], plain(9));
        assert_eq!(result.is_ok(), whole, "{end}");
    }
}

#[test]
fn frames_are_told_as_they_arrive() {
    let mut decoder = FrameDecoder::new(10);
    let mut input = Bytes::from_static(&[1, 0, 0, 0, 3, b'a', b'b']);
    let mut seen = Vec::new();
    while let Some(frame) = decoder.decode(&mut input).unwrap() {
        seen.push(frame);
    }
    assert_eq!(
        seen,
        [
            Frame::Start {
                len: 3,
                compressed: true
            },
            Frame::Data(Bytes::from_static(b"ab")),
        ]
    );
    assert_eq!(decoder.finish(), Err(FrameError::Truncated));
    let mut input = Bytes::from_static(b"c\x02");
    assert_eq!(
        decoder.decode(&mut input),
        Ok(Some(Frame::Data(Bytes::from_static(b"c"))))
    );
    assert_eq!(decoder.decode(&mut input), Ok(Some(Frame::End)));
    assert_eq!(decoder.decode(&mut input), Ok(None));
    let mut input = Bytes::from_static(&[0, 0, 0, 0]);
    assert_eq!(decoder.decode(&mut input), Err(FrameError::Flag(2)));
}

#[test]
fn a_message_is_refused_by_its_prefix() {
    let mut input = Bytes::from_static(&[0, 0xff, 0xff, 0xff, 0xff]);
    assert_eq!(
        plain(16).decode(&mut input),
        Err(FrameError::TooLarge {
            len: 0xffff_ffff,
            limit: 16
        })
    );
}

#[test]
fn compressed_messages_are_inflated_within_the_limit() {
    let gzipped = |plain: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(plain).unwrap();
        let packed = encoder.finish().unwrap();
        let mut stream = framed(&[packed]);
        stream[0] = 1;
        stream.extend(framed(&[b"plain".to_vec()]));
        stream
    };
    let gzip = |limit| MessageReader::new(Compression::Gzip, limit);
    let stream = gzipped(b"packed");
    for cut in 0..stream.len() {
        assert_eq!(
            read(&stream, &[cut], gzip(100)).unwrap(),
            [b"packed".to_vec(), b"plain".to_vec()]
        );
    }
    assert_eq!(read(&stream, &[], plain(100)), Err(FrameError::Unannounced));
    let bomb = gzipped(&vec![0; 1 << 20]);
    assert_eq!(
        read(&bomb, &[], gzip(1 << 16)),
        Err(FrameError::Inflate(InflateError::TooLarge {
            limit: 1 << 16
        }))
    );
}

#[test]
fn timeouts_are_read_as_the_protocol_says() {
    let table = [
        ("1n", Some(Duration::from_nanos(1))),
        ("20u", Some(Duration::from_micros(20))),
        ("300m", Some(Duration::from_millis(300))),
        ("5S", Some(Duration::from_secs(5))),
        ("2M", Some(Duration::from_secs(120))),
        ("99999999H", Some(Duration::from_secs(99_999_999 * 3600))),
        ("0S", Some(Duration::ZERO)),
        ("100000000n", None),
        ("", None),
        ("S", None),
        ("+1S", None),
        ("-1S", None),
        ("1 S", None),
        ("1s", None),
        ("1", None),
        ("1é", None),
        ("１S", None),
    ];
    for (text, timeout) in table {
        assert_eq!(parse_timeout(text), timeout, "{text}");
    }
    assert_eq!(format_timeout(Duration::MAX), "99999999H");
    assert_eq!(format_timeout(Duration::from_secs(30)), "30000000u");
}

#[test]
fn statuses_go_through_trailers() {
    let mut trailers = HeaderMap::new();
    assert_eq!(Status::from_headers(&trailers), None);
    let status = Status {
        code: 8,
        message: "100 % voll\n– ja".to_owned(),
    };
    status.put(&mut trailers);
    assert_eq!(trailers["grpc-status"], "8");
    assert_eq!(trailers["grpc-message"], "100 %25 voll%0A%E2%80%93 ja");
    assert_eq!(Status::from_headers(&trailers), Some(status));
    Status::default().put(&mut trailers);
    assert_eq!(trailers.len(), 1);
    assert_eq!(Status::from_headers(&trailers), Some(Status::default()));
    for odd in ["x", "", "+5", "-5", " 5", "5.0", "4294967296"] {
        trailers.insert("grpc-status", odd.parse().unwrap());
        let status = Status::from_headers(&trailers).unwrap();
        assert_eq!(status.code, code::UNKNOWN, "{odd:?}");
    }
}

#[test]
fn messages_are_decoded_without_failing_and_kept_short() {
    assert_eq!(decode_message("%4x%"), "%4x%");
    assert_eq!(decode_message("a%ff"), "a\u{fffd}");
    let long = "é".repeat(3000);
    let encoded = encode_message(&long);
    assert!(encoded.len() <= 4096 && encoded.len() > 4090);
    assert!(long.starts_with(&decode_message(&encoded)));
}

#[test]
fn codes_and_statuses_agree() {
    for code in 0..=16 {
        let status = http_of_code(code);
        let back = code_of_http(status);
        assert_eq!(http_of_code(back), status, "{code}");
    }
    assert_eq!(http_of_code(99), 500);
    assert_eq!(code_of_http(302), code::UNKNOWN);
}

#[test]
fn content_types() {
    for yes in [
        "application/grpc",
        "application/grpc+proto",
        "Application/GRPC; x=y",
    ] {
        assert!(is_content_type(yes), "{yes}");
    }
    for no in [
        "application/grpc-web",
        "application/json",
        "",
        "application/grpcx",
        "ä",
    ] {
        assert!(!is_content_type(no), "{no}");
    }
}

proptest! {
    #[test]
    fn a_timeout_is_never_lengthened_and_loses_little(nanos in (0u64.., 0u32..64).prop_map(|(nanos, shift)| nanos >> shift)) {
        let timeout = Duration::from_nanos(nanos);
        let text = format_timeout(timeout);
        prop_assert!(text.len() <= 9);
        let back = parse_timeout(&text).unwrap();
        prop_assert!(back <= timeout);
        // A coarser unit is taken from a hundred thousand of it on.
        prop_assert!((timeout - back).as_nanos() * 100_000 <= timeout.as_nanos());
    }

    #[test]
    fn a_message_survives(message in "\\PC{0,200}|[\\x00-\\x7f]{0,200}") {
        let encoded = encode_message(&message);
        prop_assert!(encoded.bytes().all(|byte| (0x20..0x7f).contains(&byte)));
        prop_assert_eq!(decode_message(&encoded), message);
    }

    #[test]
    fn messages_come_back_however_they_are_cut(
        messages in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..80), 0..8),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..10),
    ) {
        let stream = framed(&messages);
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        cuts.sort_unstable();
        prop_assert_eq!(read(&stream, &cuts, plain(80)).unwrap(), messages);
        if let Some(short) = stream.len().checked_sub(1) {
            let cuts: Vec<_> = cuts.into_iter().filter(|cut| *cut <= short).collect();
            prop_assert_eq!(read(&stream[..short], &cuts, plain(80)), Err(FrameError::Truncated));
        }
    }

    /// What is told of a stream does not depend on how it is cut, also where it breaks.
    #[test]
    fn foreign_frames_are_told_alike_however_they_are_cut(
        flags in proptest::collection::vec((0u8..3, 0usize..40), 0..6),
        tail in proptest::collection::vec(any::<u8>(), 0..8),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..10),
    ) {
        let mut stream = Vec::new();
        for (flag, len) in flags {
            stream.extend(prefix(len as u32));
            let at = stream.len() - PREFIX;
            stream[at] = flag;
            stream.extend(vec![7; len]);
        }
        stream.extend(tail);
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        cuts.sort_unstable();
        let reader = || MessageReader::new(Compression::Deflate, 30);
        prop_assert_eq!(read(&stream, &cuts, reader()), read(&stream, &[], reader()));
    }

    #[test]
    fn foreign_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = read(&bytes, &[bytes.len() / 2], MessageReader::new(Compression::Gzip, 100));
    }
}
