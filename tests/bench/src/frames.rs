//! gRPC over HTTP/2, as far as both ends here need it: messages in frames, and sending under flow
//! control.

use bytes::{BufMut, Bytes, BytesMut};
use h2::SendStream;
use prost::Message;

/// A message's prefix: no compression, and its length.
#[must_use]
pub fn prefix(length: usize) -> [u8; 5] {
    let [a, b, c, d] = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    [0, a, b, c, d]
}

/// A message in its frame.
#[must_use]
pub fn framed(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut out = BytesMut::with_capacity(5 + length);
    out.put_slice(&prefix(length));
    message.encode(&mut out).expect("there is room");
    out.freeze()
}

/// Most that is handed over without asking for room: it lies in the sender's buffer until then.
const SMALL: usize = 16 * 1024;

/// Sends all of it, as room is given.
///
/// # Errors
/// When the stream was reset or the connection has broken.
pub async fn send(
    stream: &mut SendStream<Bytes>,
    mut data: Bytes,
    end: bool,
) -> Result<(), h2::Error> {
    if data.len() <= SMALL {
        return stream.send_data(data, end);
    }
    while !data.is_empty() {
        let room = room(stream, data.len()).await?;
        let piece = data.split_to(room.min(data.len()));
        stream.send_data(piece, end && data.is_empty())?;
    }
    Ok(())
}

/// Waits for room, of at most so many bytes.
async fn room(stream: &mut SendStream<Bytes>, wanted: usize) -> Result<usize, h2::Error> {
    stream.reserve_capacity(wanted);
    loop {
        match std::future::poll_fn(|cx| stream.poll_capacity(cx)).await {
            Some(Ok(0)) => {}
            Some(Ok(room)) => return Ok(room),
            Some(Err(error)) => return Err(error),
            None => return Err(h2::Reason::CANCEL.into()),
        }
    }
}

/// Sends as soon as there is room for all of it, so that the receiver's pace is the sender's.
///
/// # Errors
/// As [`send`].
pub async fn send_whole(stream: &mut SendStream<Bytes>, data: Bytes) -> Result<(), h2::Error> {
    if data.len() > SMALL {
        return send(stream, data, false).await;
    }
    while stream.capacity() < data.len() {
        room(stream, data.len()).await?;
    }
    stream.send_data(data, false)
}
