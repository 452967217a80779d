//! Whatever happens, each bundled policy keeps what the driver's own fallback keeps: none is lost,
//! none goes twice, none to a worker that is dead or full, none waits for ever; also while policies
//! of several sorts take over from each other with batches under way, when a policy believes that
//! workers have more room than they have, and when its answers are carried out in pages. The
//! histories and the model of what is so are those of the driver's own tests.

#[allow(dead_code, reason = "not all that can happen there happens here")]
#[path = "../../../proxy/dispatch/tests/world/mod.rs"]
mod world;

use proptest::prelude::*;
use tollgate_dispatch::policy::{Action, Event, Page, Policy, PolicyGone, Worker};
use tollgate_plugin_dynamic_batch::{DynamicBatch, Options as BatchOptions};
use tollgate_plugin_fcfs::Fcfs;
use tollgate_plugin_least_loaded::{LeastLoaded, Options as LoadOptions};
use tollgate_test_schedulers::Native;
use world::{Op, Wish, World};

#[derive(Clone, Copy, Debug)]
enum Kind {
    Fcfs,
    LeastLoaded,
    DynamicBatch,
    /// Dynamic batches that wait for company.
    Lingering,
    /// Dynamic batches of which none is turned away early.
    Patient,
    /// The same, of which those that would only wait at a worker grow.
    Ahead,
}

/// What happens: to the world, or to who rules it.
#[derive(Clone, Debug)]
enum Move {
    World(Op),
    /// A new policy; after so many calls it is gone.
    Rule(Kind, Option<u8>),
}

fn policy(kind: Kind, left: Option<u8>) -> Box<dyn Policy> {
    fn native<P: tollgate_sdk_scheduler::Policy + Send + 'static>(
        policy: P,
        left: Option<u8>,
    ) -> Box<dyn Policy> {
        match left {
            Some(left) => Native::mortal(policy, u32::from(left)),
            None => Native::boxed(policy),
        }
    }
    match kind {
        Kind::Fcfs => native(Fcfs::new(1000), left),
        Kind::LeastLoaded => native(LeastLoaded::new(&LoadOptions::default()), left),
        Kind::DynamicBatch => native(DynamicBatch::new(BatchOptions::default()), left),
        Kind::Lingering => {
            let options = BatchOptions {
                max_queue_delay_us: 200,
                preferred: vec![3],
                latency_target_ms: 1,
                ..BatchOptions::default()
            };
            native(DynamicBatch::new(options), left)
        }
        Kind::Patient => {
            let options = BatchOptions {
                early_rejection: false,
                ..BatchOptions::default()
            };
            native(DynamicBatch::new(options), left)
        }
        Kind::Ahead => {
            let options = BatchOptions {
                early_rejection: false,
                ahead: 1,
                ahead_lead_us: 20,
                ..BatchOptions::default()
            };
            native(DynamicBatch::new(options), left)
        }
    }
}

impl Kind {
    /// It may say that a request will be too late.
    fn foresees(self) -> bool {
        matches!(self, Self::DynamicBatch | Self::Lingering)
    }
}

/// Believes that every worker has more slots than it has.
struct Greedy(Box<dyn Policy>);

fn roomier(mut worker: Worker) -> Worker {
    worker.slots += 2;
    worker
}

impl Policy for Greedy {
    fn restore(&mut self, now: u64, mut page: Page) -> Result<(), PolicyGone> {
        page.workers = page.workers.into_iter().map(roomier).collect();
        self.0.restore(now, page)
    }

    fn step(&mut self, now: u64, events: Vec<Event>) -> Result<Vec<Action>, PolicyGone> {
        let events = events.into_iter().map(|event| match event {
            Event::WorkerChanged(worker) => Event::WorkerChanged(roomier(worker)),
            other => other,
        });
        self.0.step(now, events.collect())
    }
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        Just(Kind::Fcfs),
        Just(Kind::LeastLoaded),
        Just(Kind::DynamicBatch),
        Just(Kind::Lingering),
        Just(Kind::Patient),
        Just(Kind::Ahead),
    ]
}

fn wish() -> impl Strategy<Value = Wish> {
    (
        0..4_u32,
        0..3_u32,
        prop::collection::vec(1..6_u32, 0..3),
        -1..2_i32,
        prop_oneof![
            2 => Just(None),
            3 => (0..500_u64).prop_map(Some),
            2 => (2_000..1_000_000_u64).prop_map(Some),
        ],
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

fn history(mortal: bool) -> impl Strategy<Value = Vec<Move>> {
    let left = prop::option::of(0..20_u8).prop_map(move |left| left.filter(|_| mortal));
    let rule = (kind(), left).prop_map(|(kind, left)| Move::Rule(kind, left));
    prop::collection::vec(
        prop_oneof![9 => happening().prop_map(Move::World), 1 => rule],
        1..80,
    )
}

fn play(world: &mut World, step: &Move) {
    match step {
        Move::World(op) => world.apply(op),
        Move::Rule(kind, left) => rule(world, *kind, *left),
    }
    world.check_decisions();
}

fn rule(world: &mut World, kind: Kind, left: Option<u8>) {
    world.foresight = kind.foresees();
    world.swap(policy(kind, left));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    /// With policies that come, go and trap at any moment.
    #[test]
    fn none_lost_none_twice_none_misplaced(
        first in kind(),
        history in history(true),
        kept in prop_oneof![Just(3_usize), Just(4096)],
        actions in prop_oneof![Just(1_usize), Just(3), Just(4096)],
    ) {
        let mut world = World::with(kept, actions);
        rule(&mut world, first, None);
        for step in &history {
            play(&mut world, step);
        }
        world.check_none_lost();
    }

    /// And whoever rules last brings all of them to an end.
    #[test]
    fn none_starved(
        first in kind(),
        history in history(false),
        kept in prop_oneof![Just(3_usize), Just(4096)],
        actions in prop_oneof![Just(3_usize), Just(4096)],
    ) {
        let mut world = World::with(kept, actions);
        rule(&mut world, first, None);
        for step in &history {
            play(&mut world, step);
        }
        world.check_none_starved(1_000);
        let troubles = world.driver.take_troubles();
        prop_assert!(troubles.is_empty(), "{troubles:?}");
    }

    /// Nor does it help a policy to believe in room that is not there.
    #[test]
    fn none_lost_by_one_who_sends_too_much(
        kinds in prop::collection::vec(kind(), 1..4),
        history in prop::collection::vec(happening(), 1..80),
    ) {
        let mut world = World::new(64);
        let turns = history.len().div_ceil(kinds.len());
        for (kind, part) in kinds.iter().zip(history.chunks(turns)) {
            world.foresight = kind.foresees();
            world.swap(Box::new(Greedy(policy(*kind, None))));
            world.check_decisions();
            for op in part {
                world.apply(op);
                world.check_decisions();
            }
        }
        world.check_none_lost();
    }

    /// What a policy knows is the truth: nothing that it does is refused, and it needs no fallback.
    #[test]
    fn nothing_that_they_do_is_refused(
        first in kind(),
        history in history(false),
        kept in prop_oneof![Just(3_usize), Just(4096)],
    ) {
        let mut world = World::new(kept);
        rule(&mut world, first, None);
        for step in &history {
            play(&mut world, step);
            prop_assert_eq!(world.driver.gauges().refused, 0, "{:?}", step);
        }
        let troubles = world.driver.take_troubles();
        prop_assert!(troubles.is_empty(), "{troubles:?}");
        world.check_none_lost();
    }

    /// Those that wait for nothing leave no worker idle that someone waits for: neither for company,
    /// nor for a worker that is faster. Where the last slot does no work, it may stay empty.
    #[test]
    fn nobody_waits_beside_a_free_worker(
        kind in prop_oneof![
            Just(Kind::Fcfs),
            Just(Kind::LeastLoaded),
            Just(Kind::Patient),
            Just(Kind::Ahead),
        ],
        history in prop::collection::vec(happening(), 1..80),
    ) {
        let mut world = World::new(4096);
        rule(&mut world, kind, None);
        for op in &history {
            world.apply(op);
            world.check_decisions();
            world.check_work_conserving(u32::from(matches!(kind, Kind::Ahead)));
        }
    }
}
