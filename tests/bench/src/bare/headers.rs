//! What ends at each hop.

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{
        CONNECTION, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING,
        UPGRADE,
    },
};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// Takes hop-by-hop fields away: those of the list, and those that `Connection` names. `TE:
/// trailers` stays over HTTP/2, where it may be sent and gRPC wants it.
pub(super) fn strip(headers: &mut HeaderMap, http2: bool) {
    if headers.contains_key(CONNECTION) {
        let named: Vec<HeaderName> = headers
            .get_all(CONNECTION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .filter_map(|name| name.trim().parse().ok())
            .collect();
        for name in named {
            headers.remove(name);
        }
        headers.remove(CONNECTION);
    }
    let trailers = http2 && headers.get(TE).is_some_and(|te| te == "trailers");
    for name in [
        KEEP_ALIVE,
        PROXY_CONNECTION,
        PROXY_AUTHENTICATE,
        PROXY_AUTHORIZATION,
        TE,
        TRAILER,
        TRANSFER_ENCODING,
        UPGRADE,
    ] {
        headers.remove(name);
    }
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stripped(pairs: &[(&'static str, &'static str)], http2: bool) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        strip(&mut headers, http2);
        headers.keys().map(ToString::to_string).collect()
    }

    #[test]
    fn fields_of_the_hop_and_those_that_it_names_are_taken_away() {
        let left = stripped(
            &[
                ("connection", "close, X-One"),
                ("connection", "x-two"),
                ("x-one", "1"),
                ("x-two", "2"),
                ("x-three", "3"),
                ("keep-alive", "timeout=5"),
                ("transfer-encoding", "chunked"),
                ("te", "trailers"),
                ("upgrade", "h2c"),
                ("proxy-authorization", "Basic x"),
                ("authorization", "Bearer x"),
            ],
            false,
        );
        assert_eq!(left, ["x-three", "authorization"]);
    }

    #[test]
    fn http2_keeps_te_trailers_and_nothing_else_of_te() {
        assert_eq!(stripped(&[("te", "trailers")], true), ["te"]);
        assert!(stripped(&[("te", "gzip")], true).is_empty());
    }
}
