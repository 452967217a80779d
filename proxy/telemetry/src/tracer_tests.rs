//! Who is sampled, and what becomes of spans that find no room.

use std::task::{Context, Wake};

use http::HeaderMap;
use opentelemetry::trace::SpanId;

use super::*;
use crate::spans::{Kind, Value};

const SPEC: TracerSpec = TracerSpec {
    ratio: 1.0,
    follow: true,
    queue: 256,
    batch: 4,
};

fn context(parent: &str) -> TraceContext {
    let mut headers = HeaderMap::new();
    headers.insert("traceparent", parent.parse().unwrap());
    TraceContext::from_headers(&headers)
}

fn tracer(spec: TracerSpec) -> Arc<Tracer> {
    Tracer::new(spec).unwrap()
}

#[test]
fn nonsense_is_refused() {
    let with = |ratio, queue, batch| {
        Tracer::new(TracerSpec {
            ratio,
            queue,
            batch,
            ..SPEC
        })
        .err()
    };
    assert_eq!(with(1.5, 256, 4), Some(TracerError::Ratio));
    assert_eq!(with(f64::NAN, 256, 4), Some(TracerError::Ratio));
    assert_eq!(with(0.5, SPANS - 1, 4), Some(TracerError::Queue));
    assert_eq!(with(0.5, 256, 0), Some(TracerError::Queue));
    assert_eq!(with(0.5, 256, 257), Some(TracerError::Queue));
}

#[test]
fn a_client_that_is_followed_decides_and_others_do_not() {
    let sampled = context("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    let not = context("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00");
    for (ratio, follow, of_sampled, of_other) in [
        (0.0, true, true, false),
        (1.0, true, true, false),
        (0.0, false, false, false),
        (1.0, false, true, true),
    ] {
        let tracer = tracer(TracerSpec {
            ratio,
            follow,
            ..SPEC
        });
        assert_eq!(tracer.begin(&sampled).is_on(), of_sampled);
        assert_eq!(tracer.begin(&not).is_on(), of_other);
    }
}

#[test]
fn a_ratio_is_kept_by_ids_and_all_proxies_choose_the_same() {
    let of = |ratio| tracer(TracerSpec { ratio, ..SPEC });
    let (one, other, more) = (of(0.25), of(0.25), of(0.5));
    let mut sampled = 0;
    for _ in 0..4000 {
        let context = TraceContext::root();
        let first = one.samples(&context);
        assert_eq!(first, other.samples(&context));
        assert!(
            !first || more.samples(&context),
            "a smaller share is a part"
        );
        sampled += u32::from(first);
    }
    // Eight standard deviations.
    assert!((780..1220).contains(&sampled), "{sampled} of 4000");
}

#[test]
fn spans_are_handed_over_when_the_last_holder_lets_go() {
    let tracer = tracer(SPEC);
    let trail = tracer.begin(&context(
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    ));
    let mut outer = trail.step(Kind::Internal, "outer");
    let mut inner = outer.under().step(Kind::Client, "inner");
    inner.tell("n", || 7u64);
    inner.fail("first");
    inner.fail("second");
    let header = inner.traceparent().unwrap();
    drop(inner);
    outer.tell("long", || "ä".repeat(1000));
    drop(outer);
    trail.served("served".into(), Vec::new, None);
    assert_eq!(tracer.held(), 0);
    drop(trail);
    assert_eq!(tracer.held(), 3);
    let batch = tracer.batch();
    let [recorded] = &batch[..] else {
        panic!("one request")
    };
    let [inner, outer, served] = &recorded.spans[..] else {
        panic!("{recorded:?}")
    };
    assert_eq!(
        recorded.trace.to_string(),
        "4bf92f3577b34da6a3ce929d0e0e4736"
    );
    assert_eq!(served.parent.to_string(), "00f067aa0ba902b7");
    assert!(served.remote && !outer.remote);
    assert_eq!((outer.parent, inner.parent), (served.id, outer.id));
    assert_eq!(inner.error.as_deref(), Some("first"));
    assert_eq!(inner.attributes, [("n".into(), Value::Number(7))]);
    assert_eq!(
        header,
        format!("00-4bf92f3577b34da6a3ce929d0e0e4736-{}-01", inner.id)
    );
    let Value::Text(text) = &outer.attributes[0].1 else {
        panic!()
    };
    assert_eq!(text.len(), 256);
    assert!(served.began <= outer.began && outer.ended <= served.ended);
    assert_eq!(tracer.held(), 0);
}

#[test]
fn spans_that_have_no_room_are_counted_and_traces_stay_whole() {
    let tracer = tracer(SPEC);
    let request = |steps: usize| {
        let trail = tracer.begin(&TraceContext::root());
        for _ in 0..steps {
            trail.step(Kind::Internal, "step").end();
        }
        trail.served("served".into(), Vec::new, None);
    };
    request(SPANS * 2);
    assert_eq!(tracer.held(), SPANS, "one request has a bound");
    request(SPANS - 1);
    assert_eq!(tracer.held(), 256);
    request(0);
    assert_eq!((tracer.held(), tracer.dropped()), (256, 1));
    let batch = tracer.batch();
    assert_eq!((batch.len(), batch[0].left_out), (1, SPANS as u32 + 1));
    request(0);
    assert_eq!((tracer.held(), tracer.dropped()), (129, 1));
}

#[test]
fn a_trail_that_is_off_records_nothing() {
    let trail = Trail::default();
    let mut step = trail.step(Kind::Client, "step");
    step.tell("n", || -> u64 { panic!("nothing is made") });
    assert!(!step.is_on() && step.traceparent().is_none());
    assert!(step.under().link().is_none());
    assert!(!step.under().step(Kind::Internal, "inner").is_on());
}

#[test]
fn links_name_the_span_that_one_is_under() {
    let tracer = tracer(SPEC);
    let trail = tracer.begin(&TraceContext::root());
    let step = trail.step(Kind::Internal, "step");
    let (trace, span) = step.under().link().unwrap();
    assert_ne!(span, SpanId::INVALID);
    let mut other = trail.step(Kind::Internal, "other");
    other.link(Some((trace, span)));
    drop((other, step, trail));
    let recorded = tracer.batch().remove(0);
    assert_eq!(recorded.spans[0].links, [(trace, recorded.spans[1].id)]);
}

#[test]
fn a_full_batch_wakes_and_a_smaller_one_does_not() {
    struct Count(AtomicUsize);
    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let tracer = tracer(SPEC);
    let count = Arc::new(Count(AtomicUsize::new(0)));
    let waker = count.clone().into();
    let mut full = Box::pin(tracer.full());
    let mut poll = || full.as_mut().poll(&mut Context::from_waker(&waker));
    assert!(poll().is_pending());
    let request = || {
        tracer
            .begin(&TraceContext::root())
            .served("served".into(), Vec::new, None);
    };
    (0..3).for_each(|_| request());
    assert_eq!(count.0.load(Ordering::Relaxed), 0);
    request();
    assert_eq!(count.0.load(Ordering::Relaxed), 1);
    assert!(poll().is_ready());
}
