//! Whatever happens and whatever a policy answers, the driver is as the [`world`] says.

mod world;

use std::sync::Arc;

use proptest::prelude::*;
use tollgate_dispatch::driver::{Arrival, Driver, Limits};
use tollgate_dispatch::policy::{Action, Event, Page, Policy, PolicyGone, Request};
use world::{Op, Wish, World};

fn wish() -> impl Strategy<Value = Wish> {
    (
        0..4_u32,
        0..3_u32,
        prop::collection::vec(1..6_u32, 0..3),
        -1..2_i32,
        prop::option::of(0..500_u64),
        0..100_u64,
    )
        .prop_map(
            |(model, batch_key, eligible, priority, patience, bytes)| Wish {
                model,
                batch_key,
                eligible,
                priority,
                patience,
                bytes,
            },
        )
}

fn happening() -> impl Strategy<Value = Op> {
    let index = any::<usize>;
    prop_oneof![
        8 => (wish(), 1..4_u8).prop_map(|(wish, count)| Op::Arrive(wish, count)),
        2 => (wish(), 20..100_u8).prop_map(|(wish, count)| Op::Arrive(wish, count)),
        3 => index().prop_map(Op::Cancel),
        6 => index().prop_map(Op::Finish),
        3 => (index(), any::<u8>(), any::<bool>()).prop_map(|(at, who, all)| Op::Fail(at, who, all)),
        4 => (
            1..6_u32,
            prop::bool::weighted(0.8),
            0..4_u32,
            0..5_u32,
            prop::collection::vec(1..4_u32, 0..4)
        )
            .prop_map(|(id, accepting, slots, most, models)| Op::Worker(
                id, accepting, slots, most, models
            )),
        1 => (1..6_u32).prop_map(Op::Gone),
        6 => (0..300_u64).prop_map(Op::Tick),
    ]
}

fn change_of_rule() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => (any::<u64>(), prop::option::of(0..20_u8)).prop_map(|(seed, last)| Op::Hostile(seed, last)),
        2 => Just(Op::Honest),
        1 => Just(Op::FallBack),
    ]
}

fn history() -> impl Strategy<Value = Vec<Op>> {
    prop::collection::vec(prop_oneof![9 => happening(), 1 => change_of_rule()], 1..80)
}

fn honest_history() -> impl Strategy<Value = Vec<Op>> {
    let change = prop_oneof![2 => Just(Op::Honest), 1 => Just(Op::FallBack)];
    prop::collection::vec(prop_oneof![8 => happening(), 1 => change], 1..80)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn no_policy_can_lose_or_repeat_a_request(
        history in history(),
        kept in prop_oneof![Just(3_usize), Just(4096)],
    ) {
        let mut world = World::new(kept);
        for op in &history {
            world.apply(op);
            world.check_decisions();
            if world.driver.gauges().fallback {
                world.check_work_conserving(0);
            }
        }
        world.check_none_lost();
    }

    /// The fallback's own copy of the truth, restored by page and kept up by events, never differs
    /// from the truth: none of its actions is refused, and no worker is left idle.
    #[test]
    fn an_honest_policy_is_never_refused(
        history in honest_history(),
        kept in prop_oneof![Just(3_usize), Just(4096)],
    ) {
        let mut world = World::new(kept);
        for op in &history {
            world.apply(op);
            world.check_decisions();
            world.check_work_conserving(0);
            prop_assert_eq!(world.driver.gauges().refused, 0);
        }
        prop_assert!(world.driver.take_troubles().is_empty());
        world.check_none_lost();
    }

    /// Equal histories give equal decisions: what a simulator shows is what the proxy does.
    #[test]
    fn the_same_history_gives_the_same_decisions(history in history()) {
        let run = || {
            let mut world = World::new(64);
            for op in &history {
                world.apply(op);
                world.check_decisions();
            }
            format!("{:?}", world.batches)
        };
        prop_assert_eq!(run(), run());
    }
}

/// A request as a policy is told of it carries what the arrival said.
#[test]
fn a_policy_is_told_of_the_whole_request() {
    struct Spy(std::sync::mpsc::SyncSender<Request>);
    impl Policy for Spy {
        fn restore(&mut self, _: u64, _: Page) -> Result<(), PolicyGone> {
            Ok(())
        }
        fn step(&mut self, _: u64, events: Vec<Event>) -> Result<Vec<Action>, PolicyGone> {
            for event in events {
                if let Event::Arrived(request) | Event::AttemptFailed { request, .. } = event {
                    self.0.send(request).unwrap();
                }
            }
            Ok(Vec::new())
        }
    }
    let (sender, told) = std::sync::mpsc::sync_channel(4);
    let mut driver = Driver::new(Limits::default()).unwrap();
    driver.swap(0, Box::new(Spy(sender)));
    let arrival = Arrival {
        model: 3,
        tenant: 4,
        batch_key: 5,
        eligible: Arc::from([6, 7]),
        priority: -2,
        input_cost: 8,
        output_cost: 9,
        deadline: Some(99),
        affinity: tollgate_dispatch::policy::Affinity::Pin(11),
        bytes: 12,
        ..Arrival::default()
    };
    let id = driver.arrive(10, arrival.clone()).unwrap();
    let expected = Request {
        id,
        model: 3,
        tenant: 4,
        batch_key: 5,
        eligible: arrival.eligible,
        priority: -2,
        input_cost: 8,
        output_cost: 9,
        arrived: 10,
        deadline: Some(99),
        affinity: arrival.affinity,
        attempts: 0,
        avoid: Vec::new(),
    };
    assert_eq!(told.try_recv().unwrap(), expected);
}
