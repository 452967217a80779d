//! What is recorded of one request that is sampled: its spans, gathered in one place and handed
//! over together when the last of them has ended.
//!
//! 1. A [`Trail`] is made when a request begins. Of one that is not sampled it is empty, and
//!    whatever is asked of it costs a branch.
//! 2. Each step of the request begins a [`Step`] of it, which ends when it is dropped: so no way
//!    out of a step can be forgotten, that of a client that goes away included.
//! 3. The request's own span, that of the server, ends with its record. When the last holder of
//!    the trail lets go, all spans go into the tracer's queue at once.
//!
//! Names and attributes follow OpenTelemetry's conventions where there are any; what they are is
//! listed in `docs/telemetry.md`. None of them holds a word of a prompt or of an answer.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use http::HeaderValue;
use opentelemetry::trace::{SpanId, TraceFlags, TraceId};
use parking_lot::Mutex;

use crate::trace::{self, TraceContext};
use crate::tracer::Tracer;

/// Spans of one request at most; a composition of many calls has more.
pub const SPANS: usize = 128;
/// Bytes of one attribute's text at most.
const LONGEST: usize = 256;

/// A span's role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A step within the proxy.
    Internal,
    /// The request, as its client sees it.
    Server,
    /// A request to a worker.
    Client,
}

/// A value of an attribute.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A text.
    Text(Cow<'static, str>),
    /// A whole number.
    Number(i64),
    /// A truth.
    Truth(bool),
}

/// A span of some trace.
pub type Link = (TraceId, SpanId);

/// A name and a value.
pub type Attribute = (Cow<'static, str>, Value);

/// A span that has ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// Its own id.
    pub id: SpanId,
    /// The span that it is a part of; invalid: it has none.
    pub parent: SpanId,
    /// The parent is another process's.
    pub remote: bool,
    /// What it is called: of few values.
    pub name: Cow<'static, str>,
    /// Its role.
    pub kind: Kind,
    /// When it began, in nanoseconds since 1970.
    pub began: u64,
    /// When it ended, likewise.
    pub ended: u64,
    /// What is told of it.
    pub attributes: Vec<Attribute>,
    /// Spans of other traces that it was for too: the members of a batch.
    pub links: Vec<Link>,
    /// It ended with an error, of this type.
    pub error: Option<Cow<'static, str>>,
}

/// The spans of one request.
#[derive(Clone, Debug, PartialEq)]
pub struct Recorded {
    /// Their trace.
    pub trace: TraceId,
    /// `tracestate`, as it came; empty: none did.
    pub state: String,
    /// In the order in which they ended.
    pub spans: Vec<Span>,
    /// Spans that had no room.
    pub left_out: u32,
}

/// What a request's spans are written into. Clones are the same one; without a request, or for
/// one that is not sampled, it is empty.
#[derive(Clone, Default)]
pub struct Trail(Option<Arc<Open>>);

struct Open {
    tracer: Arc<Tracer>,
    trace: TraceId,
    state: String,
    parent: SpanId,
    /// The request's own span.
    server: SpanId,
    flags: TraceFlags,
    /// One reading of both clocks: a span's times are differences to it, so that they fit each
    /// other whatever is done to the wall clock meanwhile.
    wall: Duration,
    since: Instant,
    spans: Mutex<(Vec<Span>, u32)>,
}

// === impl Trail ===

impl Trail {
    pub(crate) fn new(tracer: &Arc<Tracer>, context: &TraceContext) -> Self {
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Self(Some(Arc::new(Open {
            tracer: tracer.clone(),
            trace: context.trace_id(),
            state: context.state(),
            parent: context.parent_id(),
            server: trace::span_id(),
            flags: context.flags() | TraceFlags::SAMPLED,
            wall: wall.unwrap_or_default(),
            since: Instant::now(),
            spans: Mutex::default(),
        })))
    }

    /// Whether anything is recorded.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Begins a step that is a part of the request itself.
    pub fn step(&self, kind: Kind, name: &'static str) -> Step {
        self.begin(SpanId::INVALID, kind, name)
    }

    fn begin(&self, parent: SpanId, kind: Kind, name: &'static str) -> Step {
        let Some(open) = &self.0 else {
            return Step::default();
        };
        let parent = match parent {
            SpanId::INVALID => open.server,
            parent => parent,
        };
        Step(Some(Box::new(Begun {
            trail: self.clone(),
            id: trace::span_id(),
            parent,
            name: name.into(),
            kind,
            began: Instant::now(),
            attributes: Vec::new(),
            links: Vec::new(),
            error: None,
        })))
    }

    /// Ends the request's own span, which began with the trail.
    pub(crate) fn served(
        &self,
        name: Cow<'static, str>,
        attributes: impl FnOnce() -> Vec<Attribute>,
        error: Option<Cow<'static, str>>,
    ) {
        let Some(open) = &self.0 else { return };
        let span = Span {
            id: open.server,
            parent: open.parent,
            remote: open.parent != SpanId::INVALID,
            name,
            kind: Kind::Server,
            began: open.at(open.since),
            ended: open.at(Instant::now()),
            attributes: attributes(),
            links: Vec::new(),
            error,
        };
        // It has a place whatever else has none.
        open.spans.lock().0.push(span);
    }
}

impl fmt::Debug for Trail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let trace = self.0.as_ref().map(|open| open.trace);
        f.debug_tuple("Trail").field(&trace).finish()
    }
}

// === impl Open ===

impl Open {
    fn at(&self, instant: Instant) -> u64 {
        let at = self.wall + instant.saturating_duration_since(self.since);
        u64::try_from(at.as_nanos()).unwrap_or(u64::MAX)
    }

    fn push(&self, span: Span) {
        let mut spans = self.spans.lock();
        // One place is the request's own.
        if spans.0.len() < SPANS - 1 {
            spans.0.push(span);
        } else {
            spans.1 += 1;
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let (spans, left_out) = std::mem::take(self.spans.get_mut());
        self.tracer.take(Recorded {
            trace: self.trace,
            state: std::mem::take(&mut self.state),
            spans,
            left_out,
        });
    }
}

// === Step ===

/// A span that goes on; it ends when this is dropped. Empty where nothing is recorded.
#[derive(Default)]
#[must_use = "it ends when it is dropped"]
pub struct Step(Option<Box<Begun>>);

struct Begun {
    trail: Trail,
    id: SpanId,
    parent: SpanId,
    name: Cow<'static, str>,
    kind: Kind,
    began: Instant,
    attributes: Vec<Attribute>,
    links: Vec<Link>,
    error: Option<Cow<'static, str>>,
}

/// Where spans are begun: a trail, and the span that they are a part of.
#[derive(Clone, Debug)]
pub struct Under {
    trail: Trail,
    parent: SpanId,
}

impl Default for Under {
    fn default() -> Self {
        Self::root(&Trail::default())
    }
}

impl Under {
    /// Right under the request.
    #[must_use]
    pub fn root(trail: &Trail) -> Self {
        Self {
            trail: trail.clone(),
            parent: SpanId::INVALID,
        }
    }

    /// Begins a part of it.
    pub fn step(&self, kind: Kind, name: &'static str) -> Step {
        self.trail.begin(self.parent, kind, name)
    }

    /// What a span of another trace names to say that it was for this one too.
    #[must_use]
    pub fn link(&self) -> Option<Link> {
        let open = self.trail.0.as_ref()?;
        let span = match self.parent {
            SpanId::INVALID => open.server,
            parent => parent,
        };
        Some((open.trace, span))
    }
}

impl Step {
    /// Whether anything is recorded: to be asked before something is made only to be told.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Where parts of it are begun.
    #[must_use]
    pub fn under(&self) -> Under {
        match &self.0 {
            Some(begun) => Under {
                trail: begun.trail.clone(),
                parent: begun.id,
            },
            None => Under::default(),
        }
    }

    /// Tells something of it; where nothing is recorded the value is not even made.
    pub fn tell<V: Into<Value>>(
        &mut self,
        name: impl Into<Cow<'static, str>>,
        value: impl FnOnce() -> V,
    ) {
        if let Some(begun) = &mut self.0 {
            begun.attributes.push((name.into(), value().into()));
        }
    }

    /// Names it anew, once more is known.
    pub fn name(&mut self, name: impl FnOnce() -> String) {
        if let Some(begun) = &mut self.0 {
            begun.name = cut(name().into());
        }
    }

    /// It was for a span of another trace too.
    pub fn link(&mut self, to: Option<Link>) {
        if let (Some(begun), Some(to)) = (&mut self.0, to)
            && begun.links.len() < SPANS
        {
            begun.links.push(to);
        }
    }

    /// It failed; `error` is of a closed set. The first one counts.
    pub fn fail(&mut self, error: &str) {
        if let Some(begun) = &mut self.0 {
            begun
                .error
                .get_or_insert_with(|| cut(error.to_owned().into()));
        }
    }

    /// `traceparent` with this span as the parent.
    #[must_use]
    pub fn traceparent(&self) -> Option<HeaderValue> {
        let begun = self.0.as_ref()?;
        let open = begun.trail.0.as_ref()?;
        Some(trace::traceparent(open.trace, begun.id, open.flags))
    }

    /// Ends it.
    pub fn end(self) {}
}

impl Drop for Step {
    fn drop(&mut self) {
        let Some(begun) = self.0.take() else { return };
        let Some(open) = &begun.trail.0 else { return };
        open.push(Span {
            id: begun.id,
            parent: begun.parent,
            remote: false,
            name: begun.name,
            kind: begun.kind,
            began: open.at(begun.began),
            ended: open.at(Instant::now()),
            attributes: begun.attributes,
            links: begun.links,
            error: begun.error,
        });
    }
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.0.as_ref().map(|begun| &begun.name);
        f.debug_tuple("Step").field(&name).finish()
    }
}

// === impl Value ===

fn cut(text: Cow<'static, str>) -> Cow<'static, str> {
    match text.len() > LONGEST {
        true => text[..text.floor_char_boundary(LONGEST)].to_owned().into(),
        false => text,
    }
}

impl From<&'static str> for Value {
    fn from(text: &'static str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(cut(text.into()))
    }
}

impl From<bool> for Value {
    fn from(truth: bool) -> Self {
        Self::Truth(truth)
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Number(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Number(number.into())
    }
}

impl From<u16> for Value {
    fn from(number: u16) -> Self {
        Self::Number(number.into())
    }
}

impl From<usize> for Value {
    fn from(number: usize) -> Self {
        Self::from(number as u64)
    }
}
