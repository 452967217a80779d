//! W3C Trace Context (Level 1): the trace that a request belongs to, taken from the client and
//! passed on to workers.
//!
//! What goes upstream names the client's trace and a new parent: the span of that one upstream
//! request where the trace is recorded (`spans`), else an id that stands for the proxy. The access
//! log names the trace.

use http::{HeaderMap, HeaderValue};
use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

use crate::ids;

const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";
/// `00-` 32 `-` 16 `-` 2.
const VERSION_0_LEN: usize = 55;
/// Bounds of `tracestate` (sections 3.3.1.1 and 3.3.1.5).
const STATE_BYTES: usize = 512;
const STATE_MEMBERS: usize = 32;
/// `sampled`, and `random` of Level 2. Other bits have no meaning and are not passed on.
const KNOWN_FLAGS: u8 = 0x03;

/// A trace, and the span in it that is the parent of ours.
#[derive(Clone, Debug, PartialEq)]
pub struct TraceContext {
    parent: SpanContext,
}

impl TraceContext {
    /// The client's trace; a new one when it sent none, or one that is malformed (section 3.2.4).
    /// A malformed `tracestate` is left out and the trace kept.
    #[must_use]
    pub fn from_headers(headers: &HeaderMap) -> Self {
        let Some((trace, span, flags)) = single(headers).and_then(parse) else {
            return Self::root();
        };
        let parent = SpanContext::new(trace, span, flags, true, state(headers));
        Self { parent }
    }

    /// A new trace, of which nobody has asked for samples.
    #[must_use]
    pub fn root() -> Self {
        let flags = TraceFlags::NOT_SAMPLED;
        let trace = TraceId::from_bytes(random());
        let parent = SpanContext::new(trace, SpanId::INVALID, flags, false, TraceState::NONE);
        Self { parent }
    }

    /// `traceparent` and `tracestate` for one request upstream: the same trace, a new parent.
    #[must_use]
    pub fn child(&self) -> (HeaderValue, Option<HeaderValue>) {
        let parent = traceparent(self.parent.trace_id(), span_id(), self.parent.trace_flags());
        let state = Some(self.state()).filter(|state| !state.is_empty());
        let state = state.and_then(|state| HeaderValue::from_str(&state).ok());
        (parent, state)
    }

    /// `tracestate`; empty: there is none.
    pub(crate) fn state(&self) -> String {
        self.parent.trace_state().header()
    }

    /// The span that is the parent of ours; invalid: the trace begins here.
    pub(crate) fn parent_id(&self) -> SpanId {
        self.parent.span_id()
    }

    pub(crate) fn flags(&self) -> TraceFlags {
        self.parent.trace_flags()
    }

    /// Whether the trace is the client's.
    #[must_use]
    pub fn is_remote(&self) -> bool {
        self.parent.is_remote()
    }

    /// The trace.
    #[must_use]
    pub fn trace_id(&self) -> TraceId {
        self.parent.trace_id()
    }

    /// Whether the client asked that the trace be recorded.
    #[must_use]
    pub fn is_sampled(&self) -> bool {
        self.parent.is_sampled()
    }
}

/// A version 0 `traceparent` (section 3.2).
pub(crate) fn traceparent(trace: TraceId, span: SpanId, flags: TraceFlags) -> HeaderValue {
    let mut parent = [0; VERSION_0_LEN];
    parent[..3].copy_from_slice(b"00-");
    hexadecimal(&trace.to_bytes(), &mut parent[3..35]);
    parent[35] = b'-';
    hexadecimal(&span.to_bytes(), &mut parent[36..52]);
    parent[52] = b'-';
    hexadecimal(&[flags.to_u8()], &mut parent[53..]);
    HeaderValue::from_bytes(&parent).unwrap_or_else(|_| unreachable!("hexadecimal digits"))
}

/// A new span's id.
pub(crate) fn span_id() -> SpanId {
    SpanId::from_bytes(random())
}

fn hexadecimal(bytes: &[u8], digits: &mut [u8]) {
    for (byte, two) in bytes.iter().zip(digits.chunks_exact_mut(2)) {
        for (digit, half) in two.iter_mut().zip([byte >> 4, byte & 15]) {
            *digit = b"0123456789abcdef"[usize::from(half)];
        }
    }
}

/// The only `traceparent`; two are as good as none.
fn single(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(TRACEPARENT).iter();
    let value = values.next()?;
    values.next().is_none().then_some(value)?.to_str().ok()
}

/// Section 3.2.2. A higher version is read as far as it is known, if what follows is set apart.
fn parse(text: &str) -> Option<(TraceId, SpanId, TraceFlags)> {
    let hex = |part: &str| part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let known = text.get(..VERSION_0_LEN)?;
    let mut parts = known.split('-');
    let (version, trace, span, flags) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let lengths = (version.len(), trace.len(), span.len(), flags.len());
    if parts.next().is_some() || lengths != (2, 32, 16, 2) {
        return None;
    }
    if ![version, trace, span, flags].into_iter().all(hex) || version == "ff" {
        return None;
    }
    let rest = &text[VERSION_0_LEN..];
    if !rest.is_empty() && (version == "00" || !rest.starts_with('-')) {
        return None;
    }
    let trace = TraceId::from_hex(trace).ok()?;
    let span = SpanId::from_hex(span).ok()?;
    let flags = u8::from_str_radix(flags, 16).ok()? & KNOWN_FLAGS;
    let valid = trace != TraceId::INVALID && span != SpanId::INVALID;
    valid.then_some((trace, span, TraceFlags::new(flags)))
}

/// `tracestate` of all its header lines in order (section 3.3); nothing if any of it is malformed.
fn state(headers: &HeaderMap) -> TraceState {
    let lines = headers.get_all(TRACESTATE);
    if lines.iter().map(HeaderValue::len).sum::<usize>() > STATE_BYTES {
        return TraceState::NONE;
    }
    let mut members: Vec<(&str, &str)> = Vec::new();
    for line in lines {
        let Ok(line) = line.to_str() else {
            return TraceState::NONE;
        };
        for member in line.split(',') {
            let member = member.trim_matches([' ', '\t']);
            if member.is_empty() {
                continue;
            }
            match member.split_once('=') {
                Some((key, value)) if members.iter().all(|(other, _)| *other != key) => {
                    members.push((key, value));
                }
                _ => return TraceState::NONE,
            }
        }
    }
    if members.len() > STATE_MEMBERS {
        return TraceState::NONE;
    }
    TraceState::from_key_value(members).unwrap_or(TraceState::NONE)
}

/// Random bytes, not all of them zero: an id of zeros is none.
fn random<const N: usize>() -> [u8; N] {
    loop {
        let bytes = ids::random();
        if bytes != [0; N] {
            return bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    fn headers(parents: &[&str], states: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for parent in parents {
            headers.append(TRACEPARENT, parent.parse().unwrap());
        }
        for state in states {
            headers.append(TRACESTATE, state.parse().unwrap());
        }
        headers
    }

    /// Of the child: version, trace, parent, flags; and its state.
    fn child(context: &TraceContext) -> ([String; 4], Option<String>) {
        let (parent, state) = context.child();
        let parts: Vec<String> = parent
            .to_str()
            .unwrap()
            .split('-')
            .map(str::to_owned)
            .collect();
        let state = state.map(|state| state.to_str().unwrap().to_owned());
        (parts.try_into().unwrap(), state)
    }

    #[test]
    fn a_trace_is_continued_under_a_new_parent() {
        let context = TraceContext::from_headers(&headers(&[PARENT], &["a=1", " b@c=2 , ,d=3"]));
        assert_eq!(context.trace_id().to_string(), TRACE);
        assert!(context.is_sampled());
        let ([version, trace, parent, flags], state) = child(&context);
        assert_eq!((&*version, &*trace, &*flags), ("00", TRACE, "01"));
        assert!(parent != "00f067aa0ba902b7" && parent.len() == 16);
        assert_eq!(state.as_deref(), Some("a=1,b@c=2,d=3"));
        assert_ne!(child(&context).0[2], parent, "each attempt is a span");
    }

    #[test]
    fn versions_to_come_are_read_as_far_as_known() {
        for parent in [
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what-comes",
        ] {
            let context = TraceContext::from_headers(&headers(&[parent], &[]));
            assert_eq!(context.trace_id().to_string(), TRACE);
            assert_eq!(child(&context).0[0], "00");
        }
    }

    #[test]
    fn flags_without_a_meaning_are_dropped() {
        let parent = PARENT.replace("-01", "-ff");
        let context = TraceContext::from_headers(&headers(&[&parent], &[]));
        assert_eq!(child(&context).0[3], "03");
    }

    #[test]
    fn a_malformed_parent_begins_a_new_trace_without_its_state() {
        for parent in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01x",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01x",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-600f067aa0ba902b7-01",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            let context = TraceContext::from_headers(&headers(&[parent], &["a=1"]));
            assert_ne!(context.trace_id().to_string(), TRACE, "{parent}");
            assert_ne!(context.trace_id(), TraceId::INVALID);
            assert!(!context.is_sampled());
            assert_eq!(child(&context).1, None);
        }
        let two = TraceContext::from_headers(&headers(&[PARENT, PARENT], &[]));
        assert_ne!(two.trace_id().to_string(), TRACE);
        assert_ne!(
            TraceContext::root().trace_id(),
            TraceContext::root().trace_id()
        );
    }

    #[test]
    fn a_malformed_state_is_left_out_and_the_trace_kept() {
        let long = format!("a={}", "x".repeat(STATE_BYTES));
        let many: Vec<String> = (0..=STATE_MEMBERS).map(|n| format!("k{n}=1")).collect();
        for state in ["a", "A=1", "a=1,a=2", "a=b=c", &long, &many.join(",")] {
            let context = TraceContext::from_headers(&headers(&[PARENT], &[state]));
            assert_eq!(context.trace_id().to_string(), TRACE);
            assert_eq!(child(&context).1, None, "{state}");
        }
    }

    proptest! {
        #[test]
        fn whatever_comes_what_leaves_is_well_formed(
            parent in "([0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}|[ -~]{0,60})[ -~]{0,3}",
            state in "[ -~]{0,80}",
        ) {
            let context = TraceContext::from_headers(&headers(&[&parent], &[&state]));
            let (sent, state) = context.child();
            let read = parse(sent.to_str().unwrap());
            prop_assert_eq!(read.map(|(trace, ..)| trace), Some(context.trace_id()));
            if let Some(state) = state {
                let again = headers(&[PARENT], &[state.to_str().unwrap()]);
                let (_, again) = child(&TraceContext::from_headers(&again));
                prop_assert_eq!(again.as_deref(), state.to_str().ok());
            }
        }
    }
}
