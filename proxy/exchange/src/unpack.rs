//! Undoes the content coding of a request's body (RFC 9110, section 8.4).
//!
//! 32 MiB take long to inflate, and so do as many bytes of which nothing comes. It is done in
//! slices, and whatever else waits for the thread has its turn after each.

use bytes::Bytes;
use http::{HeaderMap, header};
use tollgate_wire::{
    failure::Failure,
    inflate::{Format, InflateError, Unpacking},
};

/// Inflates a body into at most `limit` bytes.
pub(crate) async fn whole(bytes: Bytes, format: Format, limit: u64) -> Result<Bytes, InflateError> {
    let mut unpacking = Unpacking::new(bytes, format, limit);
    loop {
        match unpacking.step()? {
            Some(whole) => return Ok(whole),
            None => tokio::task::yield_now().await,
        }
    }
}

/// The only coding; none for a body that is plain.
///
/// # Errors
/// There is more than one, or one that is not known.
pub(crate) fn coding(headers: &HeaderMap) -> Result<Option<Format>, Failure> {
    let mut values = headers.get_all(header::CONTENT_ENCODING).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let name = value.to_str().unwrap_or_default();
    let format = Format::of_name(name);
    let known = format.is_some() || name.eq_ignore_ascii_case("identity");
    if !known || values.next().is_some() {
        return Err(Failure::unsupported_media_type(
            "this content-encoding is not understood; use one of gzip and deflate, or none",
        ));
    }
    Ok(format)
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write as _,
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
    };

    use flate2::{Compression, write::GzEncoder};
    use http::HeaderValue;
    use tollgate_wire::inflate::SLICE;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn named(names: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for name in names {
            headers.append(header::CONTENT_ENCODING, HeaderValue::from_static(name));
        }
        headers
    }

    /// Turns that somebody else on the same thread has while a body is unpacked.
    async fn turns(bytes: Vec<u8>) -> usize {
        let turns = Arc::new(AtomicUsize::new(0));
        let counted = turns.clone();
        let other = tokio::spawn(async move {
            loop {
                counted.fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
            }
        });
        let _ = whole(bytes.into(), Format::Gzip, 1 << 30).await;
        other.abort();
        turns.load(Ordering::Relaxed)
    }

    #[tokio::test]
    async fn others_have_their_turn_after_each_slice() {
        let size = 8 << 20;
        let nothing = [0, 0, 0, 0xff, 0xff].repeat(size / 5);
        let empty = [&gzip(b"")[..10], &nothing].concat();
        for (what, bytes) in [("output", gzip(&vec![0; size])), ("input", empty)] {
            let turns = turns(bytes).await;
            assert!(turns >= size / SLICE - 2, "{what}: {turns}");
        }
        assert!(turns(gzip(b"small")).await <= 1);
    }

    #[tokio::test]
    async fn members_of_nothing_are_damage() {
        let fits = [gzip(b"").repeat(1000), gzip(b"x")].concat();
        let unpacked = whole(fits.into(), Format::Gzip, 1 << 20).await;
        assert_eq!(unpacked.unwrap(), "x");
        // Large ones may be many.
        let many = gzip(&[b'x'; 2048]).repeat(5000);
        let unpacked = whole(many.into(), Format::Gzip, 1 << 30).await;
        assert_eq!(unpacked.unwrap().len(), 2048 * 5000);
        let endless = gzip(b"").repeat(2000);
        let refused = whole(endless.into(), Format::Gzip, 1 << 20).await;
        assert_eq!(refused, Err(InflateError::Malformed));
    }

    #[test]
    fn one_coding_is_undone_and_no_other() {
        assert!(matches!(coding(&named(&[])), Ok(None)));
        assert!(matches!(coding(&named(&["Identity"])), Ok(None)));
        assert!(matches!(coding(&named(&["GZIP"])), Ok(Some(Format::Gzip))));
        assert!(matches!(
            coding(&named(&["deflate"])),
            Ok(Some(Format::Deflate))
        ));
        for bad in [
            &["br"][..],
            &[""],
            &["gzip, gzip"],
            &["identity", "gzip"],
            &["gzip", "identity"],
            &["gzip", "gzip"],
        ] {
            assert_eq!(coding(&named(bad)).unwrap_err().http(), 415, "{bad:?}");
        }
    }
}
