//! Hygiene of heads: what must go is gone, what is accepted reads one way.

use std::net::{IpAddr, Ipv4Addr};

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Request, Version, request::Parts};
use tollgate_wire::headers::{
    Client, StripList, authority, check_request, forward, normalise, strip_hop_by_hop,
};

/// Fields of lines `name: value`; lines that are none are left out.
pub(crate) fn fields<'a>(lines: impl Iterator<Item = &'a [u8]>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in lines {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            continue;
        };
        let name = HeaderName::from_bytes(line[..colon].trim_ascii());
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    headers
}

/// A head: `0`, `1` or `2` and the target on the first line, then the fields.
fn head(data: &[u8]) -> Option<Parts> {
    let mut lines = data.split(|byte| *byte == b'\n');
    let (version, target) = lines.next()?.split_first()?;
    let mut request = Request::new(());
    *request.version_mut() = match version {
        b'0' => Version::HTTP_10,
        b'2' => Version::HTTP_2,
        _ => Version::HTTP_11,
    };
    *request.uri_mut() = std::str::from_utf8(target.trim_ascii())
        .ok()?
        .parse()
        .ok()?;
    *request.headers_mut() = fields(lines);
    Some(request.into_parts().0)
}

pub(crate) fn headers(data: &[u8]) {
    let Some(head) = head(data) else { return };
    if check_request(&head).is_ok() {
        reads_one_way(&head);
    }
    if let Ok(Some(asked)) = authority(&head) {
        let scheme = head.uri.scheme_str();
        assert_eq!(normalise(&asked.to_string(), scheme), Ok(asked));
    }
    stripped(&head.headers);
    listed(&head.headers);
    forwarded(&head.headers);
}

fn reads_one_way(head: &Parts) {
    let all = |name: HeaderName| head.headers.get_all(name).iter().collect::<Vec<_>>();
    let (lengths, codings) = (all(header::CONTENT_LENGTH), all(header::TRANSFER_ENCODING));
    assert!(lengths.len() + codings.len() <= 1);
    for length in lengths {
        assert!(length.as_bytes().iter().all(u8::is_ascii_digit));
        assert!(length.to_str().expect("digits").parse::<u64>().is_ok());
    }
    assert!(codings.iter().all(|coding| {
        head.version == Version::HTTP_11 && coding.as_bytes().eq_ignore_ascii_case(b"chunked")
    }));
    let hosts = all(header::HOST);
    assert!(hosts.len() <= 1);
    let asked = authority(head).expect("a host that is well formed");
    assert!(asked.is_some() || head.version == Version::HTTP_10);
    for host in hosts {
        let host = host.to_str().expect("visible");
        assert_eq!(normalise(host, head.uri.scheme_str()).ok(), asked);
    }
    if head.version == Version::HTTP_2 {
        let own = ["connection", "keep-alive", "upgrade", "transfer-encoding"];
        assert!(own.iter().all(|name| !head.headers.contains_key(*name)));
    }
}

fn stripped(fields: &HeaderMap) {
    const HOP: [&str; 8] = [
        "connection",
        "keep-alive",
        "proxy-connection",
        "proxy-authenticate",
        "proxy-authorization",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ];
    const KEPT: [&str; 5] = [
        "host",
        "content-length",
        "content-type",
        "content-encoding",
        "authorization",
    ];
    let mut after = fields.clone();
    strip_hop_by_hop(&mut after);
    let named: Vec<String> = fields
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(|name| String::from_utf8_lossy(name.trim_ascii()).to_lowercase())
        .collect();
    for name in after.keys().map(HeaderName::as_str) {
        assert!(!HOP.contains(&name), "{name} stayed");
        let meant = named.iter().any(|named| named == name);
        assert!(
            !meant || KEPT.contains(&name) || name == "te",
            "{name} stayed"
        );
    }
    assert!(after.get_all(header::TE).iter().all(|te| te == "trailers"));
    for name in KEPT {
        let values = |map: &HeaderMap| map.get_all(name).iter().cloned().collect::<Vec<_>>();
        assert_eq!(values(fields), values(&after), "{name}");
    }
    let mut again = after.clone();
    strip_hop_by_hop(&mut again);
    assert_eq!(again, after);
}

/// The values are taken for a list of names to strip.
fn listed(fields: &HeaderMap) {
    let names = fields.values().filter_map(|value| value.to_str().ok());
    let valid: Vec<&str> = names
        .filter(|name| StripList::new([name]).is_ok())
        .collect();
    let list = StripList::new(&valid).expect("each of them is a name");
    let mut after = fields.clone();
    list.strip(&mut after);
    for name in fields.keys() {
        let meant = valid.iter().any(|pattern| match pattern.strip_suffix('*') {
            Some(beginning) => name.as_str().starts_with(beginning),
            None => name.as_str() == *pattern,
        });
        assert_eq!(list.matches(name), meant);
        assert_eq!(after.contains_key(name), !meant);
    }
}

fn forwarded(fields: &HeaderMap) {
    let address = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));
    for trusted in [false, true] {
        let mut after = fields.clone();
        let client = Client {
            address,
            secure: trusted,
            host: Some("a.example"),
            trusted,
        };
        forward(&mut after, client);
        let chain: Vec<_> = after.get_all("x-forwarded-for").iter().collect();
        let [chain] = chain[..] else {
            panic!("one list of addresses")
        };
        if trusted {
            assert!(chain.as_bytes().ends_with(b"192.0.2.7"));
        } else {
            assert_eq!(chain, "192.0.2.7");
            assert_eq!(after["x-forwarded-proto"], "http");
            assert_eq!(after["x-forwarded-host"], "a.example");
            let claims = [
                "forwarded",
                "x-forwarded-port",
                "x-forwarded-server",
                "x-real-ip",
            ];
            assert!(claims.iter().all(|name| !after.contains_key(*name)));
        }
    }
}
