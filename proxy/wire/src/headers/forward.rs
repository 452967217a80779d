//! Who asked, and how: `X-Forwarded-For`, `-Proto` and `-Host`, and `Forwarded`.

use std::net::IpAddr;

use http::header::{FORWARDED, HeaderMap, HeaderName, HeaderValue};

const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
/// What else claims to say who asked.
const CLAIMS: [HeaderName; 4] = [
    FORWARDED,
    HeaderName::from_static("x-forwarded-port"),
    HeaderName::from_static("x-forwarded-server"),
    HeaderName::from_static("x-real-ip"),
];
/// The longest list of addresses that is added to; a longer one is replaced.
const MAX_FOR: usize = 2048;

/// The peer that a request came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client<'a> {
    /// Its address.
    pub address: IpAddr,
    /// It came over TLS.
    pub secure: bool,
    /// The host that it asked for, if any.
    pub host: Option<&'a str>,
    /// It is a proxy of ours, and what it says of others is believed.
    pub trusted: bool,
}

/// Tells the next hop who asked. What a trusted peer says stays, and its address is
/// added; what any other peer says of itself is taken out first.
pub fn forward(headers: &mut HeaderMap, client: Client<'_>) {
    let mut chain = String::new();
    if client.trusted {
        for value in headers.get_all(FOR) {
            if let Ok(value) = value.to_str() {
                chain.push_str(value.trim());
                chain.push_str(", ");
            }
        }
        if chain.len() > MAX_FOR {
            chain.clear();
        }
    } else {
        for name in CLAIMS.iter().chain(&[FOR, PROTO, HOST]) {
            headers.remove(name);
        }
    }
    // An IPv4 address that came in an IPv6 socket is the IPv4 address.
    chain.push_str(&client.address.to_canonical().to_string());
    if let Ok(chain) = HeaderValue::try_from(chain) {
        headers.insert(FOR, chain);
    }
    if !headers.contains_key(PROTO) {
        let proto = if client.secure { "https" } else { "http" };
        headers.insert(PROTO, HeaderValue::from_static(proto));
    }
    if !headers.contains_key(HOST)
        && let Some(host) = client
            .host
            .and_then(|host| HeaderValue::from_str(host).ok())
    {
        headers.insert(HOST, host);
    }
}
