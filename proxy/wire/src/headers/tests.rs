use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Request, Version};

use super::*;

fn headers(lines: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(
            name.parse::<HeaderName>().unwrap(),
            HeaderValue::from_str(value).unwrap(),
        );
    }
    headers
}

fn names(headers: &HeaderMap) -> Vec<String> {
    let mut names: Vec<_> = headers.keys().map(ToString::to_string).collect();
    names.sort();
    names
}

fn check(version: Version, target: &str, lines: &[(&str, &str)]) -> Result<(), HeaderProblem> {
    let mut request = Request::builder()
        .version(version)
        .uri(target)
        .body(())
        .unwrap();
    *request.headers_mut() = headers(lines);
    check_request(&request.into_parts().0)
}

#[test]
fn rfc9110_7_6_1_hop_by_hop_fields_go() {
    let mut map = headers(&[
        ("connection", "close, X-Secret"),
        ("connection", "x-other,,@"),
        ("keep-alive", "timeout=5"),
        ("proxy-authorization", "Basic x"),
        ("proxy-connection", "keep-alive"),
        ("te", "gzip, trailers"),
        ("trailer", "expires"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "h2c"),
        ("x-secret", "1"),
        ("x-other", "2"),
        ("x-kept", "3"),
    ]);
    strip_hop_by_hop(&mut map);
    assert_eq!(names(&map), ["te", "x-kept"]);
    assert_eq!(map["te"], "trailers");
    let mut map = headers(&[("te", "gzip;q=0.5")]);
    strip_hop_by_hop(&mut map);
    assert!(map.is_empty());
}

#[test]
fn connection_cannot_take_out_what_makes_the_message() {
    let mut map = headers(&[
        ("connection", "authorization, content-length, Host, cookie"),
        ("authorization", "Bearer x"),
        ("content-length", "3"),
        ("host", "a"),
        ("cookie", "b"),
    ]);
    strip_hop_by_hop(&mut map);
    assert_eq!(names(&map), ["authorization", "content-length", "host"]);
}

#[test]
fn strip_lists_match_names_and_beginnings() {
    let list = StripList::new(["x-route-info", "x-internal-*"]).unwrap();
    let mut map = headers(&[
        ("X-Route-Info", "1"),
        ("x-route-info", "2"),
        ("x-route-information", "kept"),
        ("x-internal-a", "3"),
        ("x-internal-", "4"),
        ("x-internal", "kept"),
    ]);
    list.strip(&mut map);
    assert_eq!(names(&map), ["x-internal", "x-route-information"]);
    for bad in ["", "*", "X-Upper", "a b", "a*b", "a**"] {
        assert!(StripList::new([bad]).is_err(), "{bad}");
    }
    let mut merged = StripList::default();
    merged.merge(&list);
    assert_eq!(merged, list);
}

#[test]
fn rfc9112_6_ambiguous_lengths_are_refused() {
    let host = ("host", "a");
    let h1 = |lines: &[(&str, &str)]| check(Version::HTTP_11, "/", lines);
    assert_eq!(h1(&[host, ("content-length", "5")]), Ok(()));
    assert_eq!(h1(&[host, ("transfer-encoding", "Chunked")]), Ok(()));
    assert_eq!(
        h1(&[
            host,
            ("content-length", "5"),
            ("transfer-encoding", "chunked")
        ]),
        Err(HeaderProblem::TwoLengths)
    );
    for bad in ["", "+5", "-1", "5, 5", "0x5", "5 ", "99999999999999999999"] {
        assert_eq!(
            h1(&[host, ("content-length", bad)]),
            Err(HeaderProblem::ContentLength),
            "{bad}"
        );
    }
    assert_eq!(
        h1(&[host, ("content-length", "5"), ("content-length", "5")]),
        Err(HeaderProblem::ContentLength)
    );
    for bad in ["gzip, chunked", "xchunked", "identity", "chunked, chunked"] {
        assert_eq!(
            h1(&[host, ("transfer-encoding", bad)]),
            Err(HeaderProblem::TransferEncoding),
            "{bad}"
        );
    }
    assert_eq!(
        h1(&[
            host,
            ("transfer-encoding", "chunked"),
            ("transfer-encoding", "chunked")
        ]),
        Err(HeaderProblem::TransferEncoding)
    );
    assert_eq!(
        check(Version::HTTP_10, "/", &[("transfer-encoding", "chunked")]),
        Err(HeaderProblem::TransferEncoding)
    );
}

#[test]
fn rfc9112_3_2_one_host_and_only_one() {
    assert_eq!(check(Version::HTTP_11, "/", &[]), Err(HeaderProblem::Host));
    assert_eq!(check(Version::HTTP_10, "/", &[]), Ok(()));
    assert_eq!(
        check(Version::HTTP_11, "/", &[("host", "a"), ("host", "a")]),
        Err(HeaderProblem::Host)
    );
    assert_eq!(
        check(Version::HTTP_11, "http://A:80/", &[("host", "a")]),
        Ok(())
    );
    assert_eq!(
        check(Version::HTTP_11, "ftp://a/", &[("host", "a")]),
        Err(HeaderProblem::Scheme)
    );
    assert_eq!(
        check(Version::HTTP_11, "http://a/", &[("host", "b")]),
        Err(HeaderProblem::Host)
    );
    for bad in ["", "a b", "u@a", "a:b", "a:99999", "[::1", "a/b", "."] {
        assert!(
            check(Version::HTTP_11, "/", &[("host", bad)]).is_err(),
            "{bad}"
        );
    }
}

#[test]
fn rfc9113_8_2_2_connection_fields_are_refused_in_http2() {
    let h2 = |lines: &[(&str, &str)]| check(Version::HTTP_2, "https://a/", lines);
    assert_eq!(h2(&[("te", "trailers")]), Ok(()));
    for (name, value) in [
        ("te", "gzip"),
        ("connection", "x"),
        ("transfer-encoding", "chunked"),
    ] {
        assert_eq!(
            h2(&[(name, value)]),
            Err(HeaderProblem::ConnectionSpecific),
            "{name}"
        );
    }
}

#[test]
fn authorities_have_one_spelling() {
    let spelled = |text, scheme| normalise(text, scheme).map(|authority| authority.to_string());
    let table = [
        ("Example.COM.", None, "example.com"),
        ("a:80", Some("http"), "a"),
        ("a:443", Some("https"), "a"),
        ("a:443", Some("http"), "a:443"),
        ("a:443", None, "a:443"),
        ("a:", Some("http"), "a"),
        ("[2001:DB8::1]:8080", Some("http"), "[2001:db8::1]:8080"),
    ];
    for (text, scheme, expected) in table {
        assert_eq!(spelled(text, scheme).as_deref(), Ok(expected), "{text}");
    }
    // Without its last dot it would be another name than with both.
    for text in ["a..", "a..:80", ".", "..", ".:80"] {
        let refused = Err(HeaderProblem::Authority);
        assert_eq!(spelled(text, Some("http")), refused, "{text}");
    }
}

#[test]
fn what_a_stranger_says_of_itself_is_taken_out() {
    let lines = [
        ("x-forwarded-for", "1.2.3.4"),
        ("x-forwarded-for", "5.6.7.8"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "lie"),
        ("x-real-ip", "1.2.3.4"),
        ("forwarded", "for=1.2.3.4"),
    ];
    let mut client = Client {
        address: "::ffff:9.9.9.9".parse().unwrap(),
        secure: false,
        host: Some("asked"),
        trusted: false,
    };
    let mut map = headers(&lines);
    forward(&mut map, client);
    assert_eq!(map.len(), 3);
    assert_eq!(map["x-forwarded-for"], "9.9.9.9");
    assert_eq!(map["x-forwarded-proto"], "http");
    assert_eq!(map["x-forwarded-host"], "asked");

    client.trusted = true;
    let mut map = headers(&lines);
    forward(&mut map, client);
    assert_eq!(map["x-forwarded-for"], "1.2.3.4, 5.6.7.8, 9.9.9.9");
    assert_eq!(map["x-forwarded-proto"], "https");
    assert_eq!(map["x-forwarded-host"], "lie");
    assert_eq!(map["forwarded"], "for=1.2.3.4");

    let mut map = headers(&[("x-forwarded-for", &"1.1.1.1,".repeat(400))]);
    forward(&mut map, client);
    assert_eq!(map["x-forwarded-for"], "9.9.9.9");
}
