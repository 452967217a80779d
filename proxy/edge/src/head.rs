//! Gives a request's head bytes of its own.
//!
//! A head is parsed where it was read: each value of a header, and the target, is a slice of the
//! connection's buffer, and one of them is enough to keep all of that buffer, 8 KiB for HTTP/1.1,
//! for as long as the request lives. A stream lives for minutes, and there are thousands of them;
//! a copy of the few hundred bytes is one allocation.

use bytes::{Bytes, BytesMut};
use http::uri::{Authority, PathAndQuery};
use http::{HeaderMap, HeaderValue, Request, Uri};

/// The same request, none of whose head lies in the connection's buffer any more.
pub(crate) fn detached<B>(mut request: Request<B>) -> Request<B> {
    let target = request.uri();
    let mut room = target.authority().map_or(0, |it| it.as_str().len())
        + target.path_and_query().map_or(0, |it| it.as_str().len());
    room += request
        .headers()
        .values()
        .map(HeaderValue::len)
        .sum::<usize>();
    let mut own = BytesMut::with_capacity(room);
    if let Some(target) = copied_target(target, &mut own) {
        *request.uri_mut() = target;
    }
    copy_values(request.headers_mut(), &mut own);
    request
}

/// Copies into what `own` has room for; the pieces share its one allocation.
fn copy(bytes: &[u8], own: &mut BytesMut) -> Bytes {
    own.extend_from_slice(bytes);
    own.split().freeze()
}

/// `None`: it stays where it is. What was parsed once is parsed again, so that is not met.
fn copied_target(target: &Uri, own: &mut BytesMut) -> Option<Uri> {
    let mut parts = target.clone().into_parts();
    if let Some(authority) = &mut parts.authority {
        let bytes = copy(authority.as_str().as_bytes(), own);
        *authority = Authority::from_maybe_shared(bytes).ok()?;
    }
    if let Some(path) = &mut parts.path_and_query {
        let bytes = copy(path.as_str().as_bytes(), own);
        *path = PathAndQuery::from_maybe_shared(bytes).ok()?;
    }
    Uri::from_parts(parts).ok()
}

fn copy_values(headers: &mut HeaderMap, own: &mut BytesMut) {
    for value in headers.values_mut() {
        let Ok(mut copied) = HeaderValue::from_maybe_shared(copy(value.as_bytes(), own)) else {
            continue;
        };
        copied.set_sensitive(value.is_sensitive());
        *value = copied;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A head whose parts lie in one buffer, as hyper makes it.
    fn parsed(buffer: &Bytes, target: std::ops::Range<usize>) -> Request<()> {
        let mut request = Request::new(());
        *request.uri_mut() = Uri::from_maybe_shared(buffer.slice(target)).unwrap();
        request
    }

    #[test]
    fn a_detached_head_says_the_same_and_lets_the_buffer_go() {
        let buffer = Bytes::from(b"http://h:1/a?b=c one two caf\xe9".to_vec());
        let mut request = parsed(&buffer, 0..16);
        let value = |range| HeaderValue::from_maybe_shared(buffer.slice(range)).unwrap();
        let mut secret = value(21..24);
        secret.set_sensitive(true);
        let headers = request.headers_mut();
        headers.append("x-many", value(17..20));
        headers.append("x-other", value(25..29));
        headers.append("x-many", secret);
        assert!(!buffer.is_unique());

        let request = detached(request);
        assert!(buffer.is_unique(), "something still lies in the buffer");
        assert_eq!(request.uri(), "http://h:1/a?b=c");
        let many: Vec<_> = request.headers().get_all("x-many").iter().collect();
        assert_eq!(many, ["one", "two"]);
        assert_eq!(
            many.iter().map(|it| it.is_sensitive()).collect::<Vec<_>>(),
            [false, true]
        );
        assert_eq!(request.headers()["x-other"].as_bytes(), b"caf\xe9");
    }

    #[test]
    fn every_form_of_a_target_is_kept() {
        for target in [
            "/",
            "*",
            "/a%20b?c=%2F&d",
            "h.example:443",
            "https://[::1]:8/x",
        ] {
            let buffer = Bytes::copy_from_slice(target.as_bytes());
            let request = parsed(&buffer, 0..target.len());
            let before = request.uri().clone();
            let request = detached(request);
            assert_eq!(*request.uri(), before, "{target}");
            drop(before);
            assert!(buffer.is_unique(), "{target}");
        }
        assert_eq!(detached(Request::new(())).uri(), "/");
    }
}
