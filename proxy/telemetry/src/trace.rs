//! W3C Trace Context (Level 1): the trace that a request belongs to, taken from the client and
//! passed on to workers.
//!
//! The proxy is one span of the trace: what it sends upstream names the client's trace and a new
//! parent. It exports no spans; its access log names the trace.

use http::{HeaderMap, HeaderValue};
use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

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
        let (trace, span) = (self.parent.trace_id(), SpanId::from_bytes(random()));
        let flags = self.parent.trace_flags().to_u8();
        let parent = format!("00-{trace:032x}-{span:016x}-{flags:02x}");
        let state = self.parent.trace_state().header();
        let state = Some(state).filter(|state| !state.is_empty());
        (
            HeaderValue::from_str(&parent).unwrap_or_else(|_| unreachable!("hexadecimal digits")),
            state.and_then(|state| HeaderValue::from_str(&state).ok()),
        )
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
    let mut bytes = [0; N];
    loop {
        getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
        if bytes.iter().any(|byte| *byte != 0) {
            return bytes;
        }
    }
}
