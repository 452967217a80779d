use std::io::Write as _;

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use proptest::prelude::*;

use super::*;

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

fn zlib(plain: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

fn raw(plain: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

fn in_pieces(packed: &[u8], piece: usize, format: Format) -> Result<Vec<u8>, InflateError> {
    let mut inflater = Inflater::new(format, 1 << 20);
    let mut plain = Vec::new();
    for piece in packed.chunks(piece.max(1)) {
        let mut input = Bytes::copy_from_slice(piece);
        while let Some(bytes) = inflater.next(&mut input)? {
            assert!(!bytes.is_empty() && bytes.len() <= CHUNK);
            plain.extend_from_slice(&bytes);
        }
        assert!(input.is_empty());
    }
    inflater.finish()?;
    Ok(plain)
}

proptest! {
    #[test]
    fn what_was_packed_comes_back_however_it_is_split(
        plain in proptest::collection::vec(0u8..4, 0..5000), piece in 1usize..700,
    ) {
        prop_assert_eq!(&in_pieces(&gzip(&plain), piece, Format::Gzip).unwrap(), &plain);
        prop_assert_eq!(&in_pieces(&zlib(&plain), piece, Format::Deflate).unwrap(), &plain);
        prop_assert_eq!(&in_pieces(&raw(&plain), piece, Format::Deflate).unwrap(), &plain);
    }

    #[test]
    fn foreign_bytes_never_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..300), piece in 1usize..40,
    ) {
        let _ = in_pieces(&bytes, piece, Format::Gzip);
        let _ = in_pieces(&bytes, piece, Format::Deflate);
        let mut headed = vec![0x1f, 0x8b, 8, 0x1e, 0, 0, 0, 0, 0, 3];
        headed.extend(bytes);
        let _ = in_pieces(&headed, piece, Format::Gzip);
    }
}

#[test]
fn every_truncation_is_found() {
    let plain = b"truncate me, truncate me, truncate me";
    for (packed, format) in [
        (gzip(plain), Format::Gzip),
        (zlib(plain), Format::Deflate),
        (raw(plain), Format::Deflate),
    ] {
        assert_eq!(in_pieces(&packed, 1, format).unwrap(), plain);
        for end in 0..packed.len() {
            assert!(
                in_pieces(&packed[..end], 7, format).is_err(),
                "{format:?} {end}"
            );
        }
    }
}

#[test]
fn a_flipped_checksum_is_found() {
    let mut packed = gzip(b"checked");
    let at = packed.len() - 6;
    packed[at] ^= 1;
    assert_eq!(
        in_pieces(&packed, 64, Format::Gzip),
        Err(InflateError::Malformed)
    );
}

#[test]
fn members_follow_each_other_and_nothing_else_does() {
    let mut packed = gzip(b"one ");
    packed.extend(gzip(b"two"));
    assert_eq!(in_pieces(&packed, 3, Format::Gzip).unwrap(), b"one two");
    packed.push(7);
    assert!(in_pieces(&packed, 3, Format::Gzip).is_err());
    let mut packed = zlib(b"one");
    packed.push(7);
    assert_eq!(
        in_pieces(&packed, 64, Format::Deflate),
        Err(InflateError::Malformed)
    );
}

#[test]
fn optional_header_fields_are_skipped_however_they_are_split() {
    let packed = flate2::GzBuilder::new()
        .filename("a name")
        .comment("a comment")
        .extra(vec![9; 300]);
    let mut encoder = packed.write(Vec::new(), Compression::fast());
    encoder.write_all(b"inside").unwrap();
    let packed = encoder.finish().unwrap();
    for piece in [1, 2, 11, 1000] {
        assert_eq!(in_pieces(&packed, piece, Format::Gzip).unwrap(), b"inside");
    }
}

#[test]
fn a_header_is_held_to_its_own_checksum() {
    let plain = gzip(b"inside");
    let mut header = vec![0x1f, 0x8b, 8, 0x1e, 0, 0, 0, 0, 0, 0xff];
    header.extend(b"\x03\0abcname\0comment\0");
    let mut sum = flate2::Crc::new();
    sum.update(&header);
    header.extend((sum.sum() as u16).to_le_bytes());
    let packed = [&header, &plain[10..]].concat();
    for piece in [1, 2, 11, 1000] {
        assert_eq!(in_pieces(&packed, piece, Format::Gzip).unwrap(), b"inside");
    }
    // Any byte of the optional fields, and of the checksum.
    for at in 12..header.len() {
        let mut packed = packed.clone();
        packed[at] ^= 0x20;
        assert!(in_pieces(&packed, 7, Format::Gzip).is_err(), "byte {at}");
    }
}

#[test]
fn a_bomb_is_stopped_at_the_limit() {
    // An interpreter takes an hour for the larger one.
    let (limit, all) = if cfg!(miri) {
        (16 << 10, 64 << 10)
    } else {
        (1 << 20, 4 << 20)
    };
    let packed = Bytes::from(gzip(&vec![0; all]));
    assert!(packed.len() < 8192);
    assert_eq!(
        inflate(packed.clone(), Format::Gzip, limit),
        Err(InflateError::TooLarge { limit })
    );
    assert_eq!(
        inflate(packed, Format::Gzip, all as u64).unwrap().len(),
        all
    );
}

#[test]
fn names_of_codings() {
    assert_eq!(Format::of_name("GZip"), Some(Format::Gzip));
    assert_eq!(Format::of_name("x-gzip"), Some(Format::Gzip));
    assert_eq!(Format::of_name(" deflate"), Some(Format::Deflate));
    assert_eq!(Format::of_name("br"), None);
}
