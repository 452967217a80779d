//! gRPC frames, held to a plain reading of the whole.

use bytes::Bytes;
use tollgate_wire::grpc::{Compression, Frame, FrameDecoder, FrameError, MessageReader, prefix};
use tollgate_wire::inflate;

use crate::input::{bytewise, pieces, selector};

const LIMIT: u64 = 4096;

type Read = (Vec<Bytes>, Option<FrameError>);

pub(crate) fn frames(data: &[u8]) {
    let (selected, data) = selector(data);
    let compression = match selected % 3 {
        0 => Compression::Identity,
        1 => Compression::Gzip,
        _ => Compression::Deflate,
    };
    let expected = plainly(data, compression);
    assert_eq!(read(&[data], compression), expected);
    assert_eq!(read(&pieces(data), compression), expected);
    if let Some(bytes) = bytewise(data) {
        assert_eq!(read(&bytes, compression), expected);
    }
    told_as_they_come(data);
    written_and_read(data);
}

fn read(pieces: &[&[u8]], compression: Compression) -> Read {
    let mut reader = MessageReader::new(compression, LIMIT);
    let mut messages = Vec::new();
    for piece in pieces {
        let mut input = Bytes::copy_from_slice(piece);
        loop {
            match reader.decode(&mut input) {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(error) => return (messages, Some(error)),
            }
        }
        assert!(input.is_empty(), "all input is used up");
    }
    (messages, reader.finish().err())
}

/// The same, of the whole at once.
fn plainly(mut data: &[u8], compression: Compression) -> Read {
    let mut messages = Vec::new();
    let failed = loop {
        let Some((prefix, rest)) = data.split_first_chunk::<5>() else {
            break (!data.is_empty()).then_some(FrameError::Truncated);
        };
        let [flag, a, b, c, d] = *prefix;
        let len = u32::from_be_bytes([a, b, c, d]);
        if flag > 1 {
            break Some(FrameError::Flag(flag));
        }
        if u64::from(len) > LIMIT {
            break Some(FrameError::TooLarge {
                len: len.into(),
                limit: LIMIT,
            });
        }
        let format = match compression {
            Compression::Identity => None,
            Compression::Gzip => Some(inflate::Format::Gzip),
            Compression::Deflate => Some(inflate::Format::Deflate),
        };
        if flag == 1 && format.is_none() {
            break Some(FrameError::Unannounced);
        }
        let Some((message, rest)) = rest.split_at_checked(len as usize) else {
            break Some(FrameError::Truncated);
        };
        let message = Bytes::copy_from_slice(message);
        match format.filter(|_| flag == 1) {
            None => messages.push(message),
            Some(format) => match inflate::inflate(message, format, LIMIT) {
                Ok(message) => messages.push(message),
                Err(error) => break Some(error.into()),
            },
        }
        data = rest;
    };
    (messages, failed)
}

/// Begin, bytes, end: and together as long as the prefix said.
fn told_as_they_come(data: &[u8]) {
    let mut decoder = FrameDecoder::new(LIMIT);
    let mut open: Option<u32> = None;
    for piece in pieces(data) {
        let mut input = Bytes::copy_from_slice(piece);
        loop {
            match decoder.decode(&mut input) {
                Err(_) => return,
                Ok(None) => break,
                Ok(Some(Frame::Start { len, .. })) => {
                    assert_eq!(open.replace(len), None, "one message at a time");
                }
                Ok(Some(Frame::Data(data))) => {
                    assert!(!data.is_empty());
                    let left = open.as_mut().expect("data of a message");
                    *left = left
                        .checked_sub(data.len() as u32)
                        .expect("no more than said");
                }
                Ok(Some(Frame::End)) => assert_eq!(open.take(), Some(0), "no less than said"),
            }
        }
    }
}

fn written_and_read(data: &[u8]) {
    let messages: Vec<&[u8]> = pieces(data)
        .into_iter()
        .filter(|message| message.len() as u64 <= LIMIT)
        .collect();
    let mut stream = Vec::new();
    for message in &messages {
        stream.extend_from_slice(&prefix(message.len() as u32));
        stream.extend_from_slice(message);
    }
    let (again, failed) = read(&pieces(&stream), Compression::Identity);
    assert_eq!((again.len(), failed), (messages.len(), None));
    assert!(again.iter().zip(&messages).all(|(one, other)| one == other));
}
