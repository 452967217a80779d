use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use proptest::prelude::*;
use tokio::task::yield_now;

use super::*;
use crate::budget::{Budget, Budgets};

/// Polls once: ready or not.
fn now<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

fn byte(at: u64) -> u8 {
    (at % 251) as u8
}

fn bytes(from: u64, len: u64) -> Bytes {
    (from..from + len).map(byte).collect::<Vec<_>>().into()
}

/// A route's budget of so many bytes, within a larger process's.
fn budget(bytes: u64) -> (std::sync::Arc<Budget>, Budgets) {
    let route = std::sync::Arc::new(Budget::new(bytes));
    let both = Budgets::new(route.clone(), std::sync::Arc::new(Budget::new(1000)));
    (route, both)
}

#[test]
fn a_told_length_takes_its_room_before_a_byte_has_come() {
    let (route, both) = budget(100);
    let (source, feeder) = Source::streaming(10, 200, Some(90));
    source.bind(both.room()).unwrap();
    assert_eq!(route.taken(), 10, "what the window can hold");
    source.widen(200);
    assert_eq!((route.taken(), source.starved()), (90, None));
    let (second, _feeder) = Source::streaming(20, 200, Some(90));
    assert!(second.bind(both.room()).is_err());
    drop(source);
    assert_eq!(route.taken(), 90, "its producer may still feed it");
    drop(feeder);
    assert_eq!(route.taken(), 0);
}

#[test]
fn a_window_for_which_there_is_no_room_is_cut() {
    let (route, both) = budget(50);
    let (source, feeder) = Source::streaming(10, 200, Some(90));
    source.bind(both.room()).unwrap();
    assert!(now(source.reach(u64::MAX)).is_none() || source.starved().is_some());
    let progress = source.progress();
    assert_eq!(progress.cut, Some(Cut::Limit));
    assert_eq!(source.starved().map(|none| none.asked), Some(80));
    assert!(now(feeder.abandoned()).is_some(), "nobody wants the rest");
    assert_eq!((route.taken(), route.refused()), (10, 1));
}

#[test]
fn without_a_length_room_is_taken_as_bytes_come() {
    let (route, both) = budget(50);
    let (source, mut feeder) = Source::streaming(200, 200, None);
    source.bind(both.room()).unwrap();
    assert_eq!(route.taken(), 0);
    feeder.try_push(&mut bytes(0, 30)).unwrap();
    assert_eq!(route.taken(), 30);
    source.release(20);
    feeder.try_push(&mut bytes(30, 40)).unwrap();
    assert_eq!(
        route.taken(),
        50,
        "what was released left its room to what came"
    );
    assert!(feeder.try_push(&mut bytes(70, 1)).is_err());
    assert_eq!(source.starved().map(|none| none.asked), Some(1));
    assert_eq!(source.progress().cut, Some(Cut::Limit));
}

#[test]
fn a_whole_is_all_there() {
    let source = Source::whole(Bytes::from_static(b"hello"));
    let progress = source.progress();
    assert_eq!(
        (progress.available, progress.total, progress.end),
        (5, Some(5), true)
    );
    assert_eq!(source.read(1, 3).unwrap(), "ell");
    assert_eq!(source.read(4, 100).unwrap(), "o");
    assert_eq!(source.read(100, 1).unwrap(), "");
    assert!(now(source.reach(u64::MAX)).unwrap().end);
    let empty = Source::whole(Bytes::new());
    assert_eq!(empty.read(0, 1).unwrap(), "");
    assert!(empty.progress().end);
}

#[test]
fn a_read_within_one_chunk_is_no_copy() {
    let (source, mut feeder) = Source::streaming(100, 100, None);
    let chunk = bytes(0, 50);
    now(feeder.push(chunk.clone())).unwrap().unwrap();
    now(feeder.push(bytes(50, 10))).unwrap().unwrap();
    assert_eq!(source.read(10, 20).unwrap().as_ptr(), chunk[10..].as_ptr());
    assert_eq!(source.read(45, 10).unwrap(), bytes(45, 10));
    assert_eq!(source.chunks(45, 10).unwrap(), [bytes(45, 5), bytes(50, 5)]);
    assert_eq!(source.first_chunk(45, 10).unwrap(), bytes(45, 5));
}

#[test]
fn the_window_is_never_passed_and_a_release_makes_room() {
    let (source, mut feeder) = Source::streaming(8, 8, None);
    let mut rest = bytes(0, 20);
    feeder.try_push(&mut rest).unwrap();
    assert_eq!((rest.len(), feeder.try_room()), (12, 0));
    assert!(now(feeder.push(rest.clone())).is_none());
    source.release(3);
    assert_eq!(feeder.try_room(), 3);
    assert_eq!(
        source.read(2, 1),
        Err(Unavailable::Released { released: 3 })
    );
    feeder.try_push(&mut rest).unwrap();
    assert_eq!(source.progress().available, 11);
    assert_eq!(source.read(3, 100).unwrap(), bytes(3, 8));
}

#[test]
fn what_was_released_in_advance_is_thrown_away_as_it_comes() {
    let (source, mut feeder) = Source::streaming(8, 8, None);
    source.release(1000);
    now(feeder.push(bytes(0, 900))).unwrap().unwrap();
    assert_eq!(source.progress().released, 900);
    now(feeder.push(bytes(900, 105))).unwrap().unwrap();
    assert_eq!(source.read(1000, 9).unwrap(), bytes(1000, 5));
    assert_eq!(feeder.try_room(), 3);
}

#[test]
fn the_lowest_pin_wins_and_moves() {
    let (source, mut feeder) = Source::streaming(100, 100, None);
    now(feeder.push(bytes(0, 50))).unwrap().unwrap();
    let mut low = source.pin(10);
    let high = source.pin(20);
    source.release(40);
    assert_eq!(source.progress().released, 10);
    low.advance(5);
    assert_eq!(source.progress().released, 10);
    low.advance(30);
    assert_eq!(source.progress().released, 20);
    assert_eq!(source.read(20, 5).unwrap(), bytes(20, 5));
    drop(high);
    assert_eq!(source.progress().released, 30);
    drop(low);
    assert_eq!(source.progress().released, 40);
}

#[test]
fn a_lapsing_pin_keeps_its_budget_and_never_blocks() {
    let (source, mut feeder) = Source::streaming(8, 8, None);
    let pin = source.pin_within(0, 20);
    for at in [0, 8] {
        now(feeder.push(bytes(at, 8))).unwrap().unwrap();
        source.release(at + 8);
    }
    assert!(pin.holds());
    assert_eq!(source.read(0, 16).unwrap(), bytes(0, 16));
    now(feeder.push(bytes(16, 5))).unwrap().unwrap();
    assert!(!pin.holds());
    assert_eq!(source.progress().released, 16);
    // Too late, or too much from the beginning.
    assert!(!source.pin_within(3, 100).holds());
    assert!(!source.pin_within(16, 4).holds());
    assert!(source.pin_within(16, 5).holds());
}

#[tokio::test]
async fn a_reader_that_wants_more_than_the_window_widens_it() {
    let (source, mut feeder) = Source::streaming(4, 64, None);
    let feeding = tokio::spawn(async move {
        feeder.push(bytes(0, 50)).await.unwrap();
        feeder.end();
    });
    assert_eq!(source.reach(40).await.available, 40);
    let progress = source.reach(u64::MAX).await;
    assert!(progress.end);
    assert_eq!((progress.available, progress.total), (50, Some(50)));
    assert_eq!(source.read(0, 50).unwrap(), bytes(0, 50));
    feeding.await.unwrap();
}

#[tokio::test]
async fn past_the_limit_the_source_is_cut() {
    let (source, mut feeder) = Source::streaming(4, 16, None);
    let feeding = tokio::spawn(async move { feeder.push(bytes(0, 17)).await });
    let progress = source.reach(u64::MAX).await;
    assert_eq!((progress.available, progress.cut), (16, Some(Cut::Limit)));
    assert_eq!(feeding.await.unwrap(), Err(Abandoned));
}

#[tokio::test]
async fn a_whole_of_exactly_the_limit_is_fine() {
    let (source, mut feeder) = Source::streaming(4, 16, None);
    let feeding = tokio::spawn(async move {
        feeder.push(bytes(0, 16)).await.unwrap();
        feeder.end();
    });
    let progress = source.reach(u64::MAX).await;
    assert!(progress.end);
    feeding.await.unwrap();
}

#[test]
fn a_declared_length_beyond_the_limit_is_cut_at_once() {
    let (source, feeder) = Source::streaming(4, 16, Some(17));
    let other = source.clone();
    let mut waiting = pin!(other.reach(1));
    assert!(now(waiting.as_mut()).is_none());
    assert_eq!(now(source.reach(u64::MAX)).unwrap().cut, Some(Cut::Limit));
    assert_eq!(now(waiting.as_mut()).unwrap().cut, Some(Cut::Limit));
    assert_eq!(now(feeder.room()), Some(Err(Abandoned)));
    // Wanting only what fits is fine, and so is the whole piece by piece.
    let (source, mut feeder) = Source::streaming(4, 16, Some(17));
    assert!(now(source.reach(16)).is_none());
    now(feeder.push(bytes(0, 4))).unwrap().unwrap();
    source.release(4);
    assert!(now(source.reach(17)).is_none());
    assert_eq!(source.progress().cut, None);
}

#[tokio::test]
async fn a_pinned_value_larger_than_the_window_arrives_although_more_is_released() {
    let (source, mut feeder) = Source::streaming(4, 64, None);
    let pin = source.pin(0);
    source.release(60);
    let feeding = tokio::spawn(async move { feeder.push(bytes(0, 40)).await });
    assert_eq!(pin.reach(40).await.available, 40);
    assert_eq!(source.read(0, 40).unwrap(), bytes(0, 40));
    feeding.await.unwrap().unwrap();
}

#[test]
fn declared_lengths_are_held() {
    let (source, mut feeder) = Source::streaming(100, 100, Some(5));
    now(feeder.push(bytes(0, 4))).unwrap().unwrap();
    feeder.end();
    assert_eq!(source.progress().cut, Some(Cut::Closed));
    let (source, mut feeder) = Source::streaming(100, 100, Some(5));
    assert_eq!(now(feeder.push(bytes(0, 6))), Some(Err(Abandoned)));
    assert_eq!(source.progress().cut, Some(Cut::Malformed));
}

#[test]
fn the_first_end_counts() {
    let (source, feeder) = Source::streaming(1, 1, None);
    feeder.end();
    source.cut(Cut::Deadline);
    assert!(source.progress().end && source.progress().cut.is_none());
    let (source, feeder) = Source::streaming(1, 1, None);
    drop(feeder);
    assert_eq!(source.progress().cut, Some(Cut::Closed));
    let (source, feeder) = Source::streaming(1, 1, None);
    feeder.cut(Cut::Malformed);
    assert_eq!(source.progress().cut, Some(Cut::Malformed));
}

#[tokio::test]
async fn the_feeder_learns_that_nobody_reads() {
    let (source, mut feeder) = Source::streaming(1, 1, None);
    let pin = source.clone().pin(0);
    now(feeder.push(bytes(0, 1))).unwrap().unwrap();
    let feeding = tokio::spawn(async move {
        let pushed = feeder.push(bytes(1, 1)).await;
        feeder.abandoned().await;
        pushed
    });
    drop(source);
    yield_now().await;
    assert!(!feeding.is_finished());
    drop(pin);
    assert_eq!(feeding.await.unwrap(), Err(Abandoned));
}

#[tokio::test]
async fn many_may_wait_and_any_may_give_up() {
    let (source, mut feeder) = Source::streaming(4, 8, None);
    let waits: Vec<_> = (1..=4)
        .map(|at| {
            let source = source.clone();
            tokio::spawn(async move { source.reach(at).await.available >= at })
        })
        .collect();
    yield_now().await;
    // A wish that was given up neither cuts nor widens any more.
    assert!(now(source.reach(u64::MAX)).is_none());
    now(feeder.push(bytes(0, 4))).unwrap().unwrap();
    for wait in waits {
        assert!(wait.await.unwrap());
    }
    now(feeder.push(bytes(4, 4))).unwrap().unwrap();
    assert!(now(feeder.push(bytes(8, 1))).is_none());
    assert_eq!(source.progress().cut, None);
    source.release(1);
    assert_eq!(now(feeder.room()), Some(Ok(1)));
}

#[test]
fn a_body_that_drips_does_not_cost_a_chunk_a_byte() {
    let (source, mut feeder) = Source::streaming(1 << 16, 1 << 16, None);
    for at in 0..20_000 {
        now(feeder.push(bytes(at, 1))).unwrap().unwrap();
    }
    assert!(source.chunks(0, 20_000).unwrap().len() < 80);
    assert_eq!(source.read(0, 20_000).unwrap(), bytes(0, 20_000));
}

#[derive(Clone, Debug)]
enum Op {
    Push(u64),
    Release(u64),
    Pin(u64),
    PinWithin(u64, u64),
    Advance(usize, u64),
    Unpin(usize),
    Read(u64, u64),
    Want(u64),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (1u64..40).prop_map(Op::Push),
        1 => (0u64..300).prop_map(Op::Release),
        1 => (0u64..300).prop_map(Op::Pin),
        1 => (0u64..300, 0u64..60).prop_map(|(from, budget)| Op::PinWithin(from, budget)),
        1 => (any::<usize>(), 0u64..300).prop_map(|(pin, to)| Op::Advance(pin, to)),
        1 => any::<usize>().prop_map(Op::Unpin),
        3 => (0u64..300, 0u64..60).prop_map(|(from, len)| Op::Read(from, len)),
        1 => (0u64..300).prop_map(Op::Want),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    /// The oracle is the byte's own offset, and a plain model of what must be kept.
    #[test]
    fn any_schedule_reads_what_was_pushed(ops in proptest::collection::vec(op(), 1..80)) {
        const WINDOW: u64 = 32;
        const LIMIT: u64 = 64;
        const BUDGET: u64 = 60;
        let (source, mut feeder) = Source::streaming(WINDOW, LIMIT, None);
        let mut pins: Vec<(Pin, u64)> = Vec::new();
        let mut released = 0;
        for op in ops {
            let before = source.progress();
            match op {
                Op::Push(len) => {
                    let room = feeder.try_room();
                    let mut rest = bytes(before.available, len);
                    prop_assert!(feeder.try_push(&mut rest).is_ok());
                    let pushed = source.progress().available - before.available;
                    prop_assert_eq!(pushed, room.min(len));
                }
                Op::Release(to) => {
                    source.release(to);
                    released = released.max(to);
                }
                Op::Pin(from) => pins.push((source.pin(from), from.max(before.released))),
                Op::PinWithin(from, budget) => pins.push((source.pin_within(from, budget), from)),
                Op::Advance(index, to) if !pins.is_empty() => {
                    let index = index % pins.len();
                    pins[index].0.advance(to);
                    pins[index].1 = pins[index].1.max(to);
                }
                Op::Unpin(index) if !pins.is_empty() => {
                    let index = index % pins.len();
                    drop(pins.swap_remove(index));
                }
                Op::Read(from, len) => match source.read(from, len) {
                    Err(_) => prop_assert!(from < before.released),
                    Ok(read) => {
                        let end = (from + len).min(before.available).max(from);
                        prop_assert_eq!(read, bytes(from, end - from));
                    }
                },
                Op::Want(until) => {
                    let wait = now(source.reach(until));
                    prop_assert_eq!(wait.is_some(), until <= before.available);
                }
                _ => {}
            }
            let progress = source.progress();
            prop_assert_eq!(progress.cut, None);
            let kept = pins.iter().filter(|(pin, _)| pin.holds()).map(|(_, from)| *from);
            let mark = kept.min().map_or(released, |from| from.min(released));
            prop_assert_eq!(progress.released, mark.min(progress.available).max(before.released));
            prop_assert!(progress.available - progress.released <= LIMIT.max(BUDGET));
        }
    }

    /// Concurrent feeder and reader: everything arrives, in order, within the bound.
    #[test]
    fn a_stream_flows_through_any_window(
        window in 1u64..20, pushes in proptest::collection::vec(1u64..50, 1..20), step in 1u64..30,
    ) {
        let total: u64 = pushes.iter().sum();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async move {
            let (source, mut feeder) = Source::streaming(window, 64, None);
            let feeding = tokio::spawn(async move {
                let mut at = 0;
                for len in pushes {
                    feeder.push(bytes(at, len)).await.unwrap();
                    at += len;
                }
                feeder.end();
            });
            let mut at = 0;
            loop {
                let progress = source.reach(at + step).await;
                prop_assert!(progress.available - progress.released <= window.max(step));
                let read = source.read(at, step).unwrap();
                prop_assert_eq!(&read, &bytes(at, read.len() as u64));
                at += read.len() as u64;
                source.release(at);
                if progress.end && read.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(at, total);
            feeding.await.unwrap();
            Ok(())
        })?;
    }
}
