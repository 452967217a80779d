//! Decompression, held to flate2's readers of the whole.

use std::io::{Read, Write};

use bytes::Bytes;
use flate2::Compression;
use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use tollgate_wire::inflate::{CHUNK, Format, InflateError, Inflater};

use crate::input::{bytewise, pieces, selector};

const LIMIT: u64 = 256 * 1024;

pub(crate) fn inflate(data: &[u8]) {
    let (selected, data) = selector(data);
    let format = if selected & 1 == 0 {
        Format::Gzip
    } else {
        Format::Deflate
    };
    let whole = inflated(&[data], format, LIMIT);
    agree(&inflated(&pieces(data), format, LIMIT), &whole);
    if let Some(bytes) = bytewise(data) {
        agree(&inflated(&bytes, format, LIMIT), &whole);
    }
    if let Ok(plain) = &whole {
        // A limit that just holds it, and one that just does not.
        let len = plain.len() as u64;
        assert_eq!(inflated(&[data], format, len).as_ref(), Ok(plain));
        if let Some(limit) = len.checked_sub(1) {
            let refused = inflated(&pieces(data), format, limit);
            assert_eq!(refused, Err(InflateError::TooLarge { limit }));
        }
    }
    hold_to_flate2(data, format, &whole);
    packed_and_read(selected, data);
}

/// However it comes, the same is made of it. What is too large and malformed soon after may be told
/// to be the one or the other: by how far the decoder looks ahead in what has come.
fn agree(pieces: &Result<Vec<u8>, InflateError>, whole: &Result<Vec<u8>, InflateError>) {
    use InflateError::{Malformed, TooLarge};
    let both = [pieces, whole];
    if !matches!(
        both,
        [Err(TooLarge { .. }), Err(Malformed)] | [Err(Malformed), Err(TooLarge { .. })]
    ) {
        assert_eq!(pieces, whole);
    }
}

fn inflated(pieces: &[&[u8]], format: Format, limit: u64) -> Result<Vec<u8>, InflateError> {
    let mut inflater = Inflater::new(format, limit);
    let mut plain = Vec::new();
    for piece in pieces {
        let mut input = Bytes::copy_from_slice(piece);
        while let Some(chunk) = inflater.next(&mut input)? {
            assert!(!chunk.is_empty() && chunk.len() <= CHUNK);
            plain.extend_from_slice(&chunk);
        }
        assert!(input.is_empty(), "all input is used up");
    }
    inflater.finish()?;
    assert!(plain.len() as u64 <= limit);
    Ok(plain)
}

/// What we read, flate2 reads too, and as the same. It is the less strict one (it leaves what
/// stands behind the end), so the other direction does not hold.
fn hold_to_flate2(data: &[u8], format: Format, ours: &Result<Vec<u8>, InflateError>) {
    let Ok(ours) = ours else { return };
    let mut theirs = Vec::new();
    let read = match (format, data) {
        (Format::Gzip, _) => MultiGzDecoder::new(data).read_to_end(&mut theirs),
        (Format::Deflate, [method, flags, ..])
            if method & 0x0f == 8
                && method >> 4 <= 7
                && u16::from_be_bytes([*method, *flags]).is_multiple_of(31) =>
        {
            ZlibDecoder::new(data).read_to_end(&mut theirs)
        }
        (Format::Deflate, _) => DeflateDecoder::new(data).read_to_end(&mut theirs),
    };
    assert!(read.is_ok(), "flate2 refuses it: {read:?}");
    assert_eq!(*ours, theirs);
}

fn packed_and_read(selected: u8, data: &[u8]) {
    let level = Compression::new(u32::from(selected >> 1) % 10);
    let pack = "a writer in memory";
    let (format, packed) = match selected % 3 {
        0 => {
            let mut packer = GzEncoder::new(Vec::new(), level);
            packer.write_all(data).expect(pack);
            (Format::Gzip, packer.finish().expect(pack))
        }
        1 => {
            let mut packer = ZlibEncoder::new(Vec::new(), level);
            packer.write_all(data).expect(pack);
            (Format::Deflate, packer.finish().expect(pack))
        }
        _ => {
            let mut packer = DeflateEncoder::new(Vec::new(), level);
            packer.write_all(data).expect(pack);
            let packed = packer.finish().expect(pack);
            // A raw stream whose beginning looks like zlib's cannot be told from it.
            if packed[0] & 0x0f == 8 {
                return;
            }
            (Format::Deflate, packed)
        }
    };
    let plain = inflated(&pieces(&packed), format, data.len() as u64);
    assert_eq!(plain.as_deref(), Ok(data));
}
