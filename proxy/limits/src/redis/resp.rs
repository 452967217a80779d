//! The store's protocol, RESP2: commands as arrays of bulk strings, and replies as they arrive.
//! (<https://redis.io/docs/latest/develop/reference/protocol-spec/>.) Replies are read by the
//! `redis-protocol` crate, which gives up on what is no RESP; that they are small is seen to here.

use redis_protocol::resp2::{decode::decode, types::OwnedFrame};

/// Bytes of one reply: those to our scripts are below a KiB, and errors are a line. It also bounds
/// how deep arrays can be nested in one another.
pub(super) const LARGEST: usize = 4096;

/// A reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// A number.
    Number(i64),
    /// Numbers.
    Numbers(Vec<i64>),
    /// Text, such as `OK`.
    Text(String),
    /// An error: a code in capitals, and what is wrong.
    Error(String),
    /// Something that is never asked for.
    Other,
}

/// What arrives is no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoReply {
    #[error("it is not RESP")]
    Form,
    #[error("it is larger than {LARGEST} bytes")]
    Large,
}

/// Writes a command.
pub(super) fn command(words: &[&[u8]]) -> Vec<u8> {
    let room = words.iter().map(|word| word.len() + 16).sum::<usize>() + 16;
    let mut bytes = Vec::with_capacity(room);
    bytes.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        bytes.extend_from_slice(word);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

/// The first reply in what has arrived, and its length; none: it is not all there.
pub(super) fn reply(arrived: &[u8]) -> Result<Option<(Reply, usize)>, NoReply> {
    let looked_at = &arrived[..arrived.len().min(LARGEST)];
    match decode(looked_at) {
        Ok(Some((frame, length))) => Ok(Some((read(frame), length))),
        Ok(None) if arrived.len() >= LARGEST => Err(NoReply::Large),
        Ok(None) => Ok(None),
        Err(_) => Err(NoReply::Form),
    }
}

fn read(frame: OwnedFrame) -> Reply {
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    match frame {
        OwnedFrame::Integer(number) => Reply::Number(number),
        OwnedFrame::SimpleString(bytes) | OwnedFrame::BulkString(bytes) => Reply::Text(text(bytes)),
        OwnedFrame::Error(what) => Reply::Error(what),
        OwnedFrame::Array(frames) => frames
            .into_iter()
            .map(|frame| match frame {
                OwnedFrame::Integer(number) => Some(number),
                _ => None,
            })
            .collect::<Option<_>>()
            .map_or(Reply::Other, Reply::Numbers),
        OwnedFrame::Null => Reply::Other,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn whatever_arrives_is_a_reply_or_none_of_ours(
            text in "[*$:+-]{1,2}-?[0-9]{0,3}(\r\n)?([*$:+-]?[0-9a-z]{0,4}\r?\n?){0,6}",
            noise in proptest::collection::vec(any::<u8>(), 0..64),
        ) {
            let bytes = [text.as_bytes(), &noise].concat();
            if let Ok(Some((_, length))) = reply(&bytes) {
                prop_assert!((1..=bytes.len()).contains(&length));
            }
            let _ = reply(&noise);
        }
    }

    #[test]
    fn a_command_is_an_array_of_bulk_strings() {
        assert_eq!(
            command(&[b"GET", b"a\r\nb", b""]),
            b"*3\r\n$3\r\nGET\r\n$4\r\na\r\nb\r\n$0\r\n\r\n"
        );
    }

    #[test]
    fn replies_are_read_one_by_one_and_byte_by_byte() {
        let whole = b":7\r\n*3\r\n:1\r\n:-1\r\n:0\r\n+OK\r\n-NOSCRIPT none\r\n$2\r\nhi\r\n$-1\r\n*1\r\n+x\r\n";
        let mut rest: &[u8] = whole;
        let mut read = Vec::new();
        while !rest.is_empty() {
            let mut length = 1;
            let (found, used) = loop {
                if let Some(found) = reply(&rest[..length]).unwrap() {
                    break found;
                }
                length += 1;
            };
            assert_eq!(used, length, "no byte more was needed");
            rest = &rest[used..];
            read.push(found);
        }
        let wanted = [
            Reply::Number(7),
            Reply::Numbers(vec![1, -1, 0]),
            Reply::Text("OK".into()),
            Reply::Error("NOSCRIPT none".into()),
            Reply::Text("hi".into()),
            Reply::Other,
            Reply::Other,
        ];
        assert_eq!(read, wanted);
    }

    #[test]
    fn nonsense_and_what_does_not_end_is_given_up_on() {
        assert_eq!(reply(b"HTTP/1.1 400\r\n"), Err(NoReply::Form));
        let endless = [b"$9999\r\n".as_slice(), &[b'a'; LARGEST]].concat();
        assert_eq!(reply(&endless), Err(NoReply::Large));
        let nested = b"*1\r\n".repeat(LARGEST);
        assert_eq!(reply(&nested), Err(NoReply::Large));
        let many = b"*2147483647\r\n";
        assert_eq!(reply(many), Ok(None));
    }
}
