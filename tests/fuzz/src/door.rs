//! What is read of a head at the door: the token, and the trace that the request belongs to.

use std::sync::OnceLock;

use http::HeaderMap;
use sha2::{Digest, Sha256};
use tollgate_edge::{Admission, AuthFailure, Door, TokenEntry, Tokens};
use tollgate_identity::{Clock, Grant, Tenant};
use tollgate_telemetry::TraceContext;

use crate::headers::fields;

const TOKEN: &[u8] = b"a-token";

fn tokens() -> &'static Tokens {
    static TOKENS: OnceLock<Tokens> = OnceLock::new();
    TOKENS.get_or_init(|| {
        let entry = TokenEntry {
            sha256: Sha256::digest(TOKEN).into(),
            tenant: Tenant::plain("tenant"),
            grant: Grant {
                name: "holder".to_owned(),
                ..Grant::default()
            },
            expires: None,
        };
        Tokens::with_clock([entry], Clock::new(|| 0))
    })
}

pub(crate) fn door(data: &[u8]) {
    let headers = fields(data.split(|byte| *byte == b'\n'));
    let opened = tokens().authenticate(&headers);
    assert_eq!(opened.is_ok(), opens(&headers));
    let Admission::Now(nobody) = Door::default().admit(&headers, None) else {
        panic!("nobody is asked");
    };
    let nobody = nobody.expect_err("nobody comes in");
    match opened {
        // What is well formed is judged by the tokens, the rest by its form.
        Ok(_) | Err(AuthFailure::Unknown) => assert_eq!(nobody, AuthFailure::Unknown),
        Err(failure) => assert_eq!(nobody, failure),
    }
    trace(&headers);
}

/// One `Authorization`, and that of the scheme `Bearer` with the token.
fn opens(headers: &HeaderMap) -> bool {
    let values: Vec<_> = headers.get_all("authorization").iter().collect();
    let [value] = values[..] else { return false };
    let mut words = value.as_bytes().splitn(2, |byte| *byte == b' ');
    let (scheme, rest) = (
        words.next().unwrap_or_default(),
        words.next().unwrap_or_default(),
    );
    scheme.eq_ignore_ascii_case(b"bearer") && rest.trim_ascii() == TOKEN
}

fn trace(headers: &HeaderMap) {
    let context = TraceContext::from_headers(headers);
    let (parent, state) = context.child();
    let parent_text = parent.to_str().expect("visible");
    let parts: Vec<&str> = parent_text.split('-').collect();
    assert_eq!(
        parts.iter().map(|part| part.len()).collect::<Vec<_>>(),
        [2, 32, 16, 2]
    );
    assert_eq!(parts[1], context.trace_id().to_string());
    assert_ne!(parts[1], "0".repeat(32));
    assert_ne!(parts[2], "0".repeat(16));
    // A next hop takes it for the same trace, with the same state.
    let mut next = HeaderMap::new();
    next.insert("traceparent", parent.clone());
    if let Some(state) = &state {
        assert!(state.len() <= 512);
        next.insert("tracestate", state.clone());
    }
    let again = TraceContext::from_headers(&next);
    assert_eq!(again.trace_id(), context.trace_id());
    assert_eq!(again.is_sampled(), context.is_sampled());
    assert_eq!(again.child().1, state);
    // A client's own trace is kept when it is well formed by the simplest reading.
    let given: Vec<_> = headers.get_all("traceparent").iter().collect();
    if let [given] = given[..]
        && let Ok(given) = given.to_str()
        && given.len() == 55
        && given.starts_with("00-")
        && [2, 35, 52].iter().all(|at| given.as_bytes()[*at] == b'-')
        && given
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'-'))
        && given.matches('-').count() == 3
        && given[3..35] != "0".repeat(32)
        && given[36..52] != "0".repeat(16)
    {
        assert_eq!(parts[1], &given[3..35]);
    }
}
