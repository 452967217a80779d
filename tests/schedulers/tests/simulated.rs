//! What the schedulers promise, shown in the simulator: throughput at saturation, waits below it,
//! fairness, priority, affinity. All on virtual time: a figure here is the same on every machine.

use tollgate_dispatch::Limits;
use tollgate_dispatch::policy::{Action, Event, Page, Policy, PolicyGone};
use tollgate_plugin_dynamic_batch::{DynamicBatch, Options as BatchOptions};
use tollgate_plugin_fcfs::Fcfs;
use tollgate_plugin_least_loaded::{LeastLoaded, Options as LoadOptions};
use tollgate_simulate::{Generator, Report, Service, Setup, run};
use tollgate_test_schedulers::Native;

fn setup(service: &str) -> Setup {
    Setup {
        workers: 4,
        models: 1,
        slots: 1,
        max_batch: 16,
        service: Service::read(service).unwrap(),
        proxies: 1,
        probe: 0,
        seed: 1,
        limits: Limits {
            max_pending: 20_000,
            ..Limits::default()
        },
    }
}

fn simulate(setup: &Setup, load: &str, mut policy: impl FnMut() -> Box<dyn Policy>) -> Report {
    let jobs = Generator::read(load).unwrap().jobs(setup.seed);
    run(setup, jobs, &mut || Some(policy())).unwrap()
}

fn batches(options: &BatchOptions) -> Box<dyn Policy> {
    Native::boxed(DynamicBatch::new(options.clone()))
}

fn loads(options: &LoadOptions) -> Box<dyn Policy> {
    Native::boxed(LeastLoaded::new(options))
}

const BATCH: &str = "batch:fixed-us=5000,each-us=300,jitter=0.05";
const STREAM: &str = "continuous:sequences=16,prefill-ns=20000";

#[test]
fn at_saturation_batches_reach_the_ideal() {
    let setup = setup(BATCH);
    let delay = BatchOptions {
        max_queue_delay_us: 3000,
        ..BatchOptions::default()
    };
    for options in [BatchOptions::default(), delay] {
        let report = simulate(&setup, "poisson:rate=9000,seconds=2", || batches(&options));
        let part = report.throughput / report.ideal;
        assert!(part >= 0.95, "{part}");
        assert!(report.mean_batch > 15.0, "{}", report.mean_batch);
        assert_eq!((report.refused, report.replaced), (0, 0));
    }
}

#[test]
fn at_saturation_streams_reach_the_ideal() {
    let setup = Setup {
        slots: 24,
        max_batch: 1,
        ..setup(STREAM)
    };
    let load = "poisson:rate=70,seconds=60,input=200,output=100";
    let report = simulate(&setup, load, || loads(&LoadOptions::default()));
    let part = report.throughput / report.ideal;
    assert!(part >= 0.95, "{part}");
}

#[test]
fn below_saturation_waits_keep_to_the_delay() {
    let setup = setup(BATCH);
    let options = BatchOptions {
        max_queue_delay_us: 4000,
        ..BatchOptions::default()
    };
    let report = simulate(&setup, "poisson:rate=400,seconds=30", || batches(&options));
    assert!(report.utilisation < 0.8, "{}", report.utilisation);
    assert!(report.wait.p99 <= 4.1, "{:?}", report.wait);
    let conserving = simulate(&setup, "poisson:rate=400,seconds=30", || {
        batches(&BatchOptions::default())
    });
    assert!(conserving.mean_batch < report.mean_batch);
    assert!(conserving.wait.p50 < report.wait.p50);
}

/// A worker that does one batch at once, and has room for the next one, which is on its way for half
/// a millisecond.
fn one_ahead(times: &str) -> Setup {
    Setup {
        workers: 1,
        slots: 2,
        max_batch: 32,
        ..setup(&format!("batch:{times},jitter=0.05,transit-us=500"))
    }
}

fn ahead() -> BatchOptions {
    BatchOptions {
        ahead: 1,
        ..BatchOptions::default()
    }
}

#[test]
fn a_batch_that_would_only_wait_grows_and_its_worker_is_never_without_work() {
    let two = one_ahead("fixed-us=20000,each-us=300");
    let one = Setup {
        slots: 1,
        ..two.clone()
    };
    for (clients, part) in [(33, 0.55), (64, 0.95), (96, 0.95)] {
        let load = format!("closed:clients={clients},think-us=3000,seconds=5");
        let grown = simulate(&two, &load, || batches(&ahead()));
        let found = grown.throughput / grown.ideal;
        assert!(found >= part, "{clients}: {found}");
        assert!(grown.utilisation >= 0.99, "{}", grown.utilisation);
        // Neither a slot that is filled at once, nor none, nor a wait of so long as is good
        // elsewhere, does better.
        let delay = BatchOptions {
            max_queue_delay_us: 20_000,
            ..BatchOptions::default()
        };
        for (setup, options) in [
            (&two, BatchOptions::default()),
            (&two, delay),
            (&one, BatchOptions::default()),
        ] {
            let other = simulate(setup, &load, || batches(&options)).throughput;
            assert!(grown.throughput >= 0.98 * other, "{clients}: {other}");
        }
    }
    let load = "closed:clients=64,think-us=3000,seconds=5";
    let [grown, at_once] = [ahead(), BatchOptions::default()]
        .map(|options| simulate(&two, load, || batches(&options)).throughput);
    assert!(grown >= 1.25 * at_once, "{grown} against {at_once}");
}

#[test]
fn below_saturation_nobody_waits_longer_for_a_batch_that_grows() {
    let setup = one_ahead("fixed-us=20000,each-us=300");
    for rate in [20, 100, 400] {
        let load = format!("poisson:rate={rate},seconds=20");
        let [grown, at_once] = [ahead(), BatchOptions::default()]
            .map(|options| simulate(&setup, &load, || batches(&options)).latency);
        assert!(
            grown.p50 <= 1.02 * at_once.p50,
            "{rate}: {grown:?}, {at_once:?}"
        );
        assert!(
            grown.p99 <= 1.02 * at_once.p99,
            "{rate}: {grown:?}, {at_once:?}"
        );
    }
}

#[test]
fn where_batches_do_not_pay_growing_costs_nothing() {
    for (each, hidden) in [(50, false), (300, true), (2000, true)] {
        let merged = one_ahead(&format!("fixed-us=0,each-us={each}"));
        let alone = Setup {
            slots: 256,
            max_batch: 1,
            ..merged.clone()
        };
        let load = "closed:clients=64,think-us=3000,seconds=3";
        let throughput = |setup: &Setup, options: BatchOptions| {
            simulate(setup, load, || batches(&options)).throughput
        };
        let grown = throughput(&merged, ahead());
        let at_once = throughput(&merged, BatchOptions::default());
        assert!(grown >= 0.99 * at_once, "{each}: {grown}, {at_once}");
        // Two slots hide the way to the worker where a batch takes longer than the way.
        let alone = throughput(&alone, BatchOptions::default());
        assert!(!hidden || grown >= 0.95 * alone, "{each}: {grown}, {alone}");
    }
}

#[test]
fn preferred_sizes_are_kept_to() {
    let setup = setup(BATCH);
    let options = BatchOptions {
        preferred: vec![4, 8],
        max_queue_delay_us: 50_000,
        ..BatchOptions::default()
    };
    let report = simulate(&setup, "poisson:rate=1500,seconds=8", || batches(&options));
    let all: u64 = report.batches.iter().map(|(_, count)| count).sum();
    let kept = report
        .batches
        .iter()
        .filter(|(size, _)| [4, 8, 16].contains(size));
    let kept: u64 = kept.map(|(_, count)| count).sum();
    assert!(kept * 100 >= all * 95, "{:?}", report.batches);
}

#[test]
fn tenants_with_unequal_demand_get_equal_shares() {
    let load = "poisson:rate=9000,seconds=2,tenants=8,skew=0.5,input=20,output=0";
    let report = simulate(&setup(BATCH), load, || batches(&BatchOptions::default()));
    let fairness = report.fairness.unwrap();
    assert!(fairness >= 0.95, "{fairness}");
    let unfair = BatchOptions {
        fair: false,
        ..BatchOptions::default()
    };
    let unfair = simulate(&setup(BATCH), load, || batches(&unfair));
    assert!(unfair.fairness.unwrap() < fairness);

    let streams = Setup {
        slots: 16,
        max_batch: 1,
        ..setup(STREAM)
    };
    let load = "poisson:rate=120,seconds=20,input=200,output=100,tenants=8,skew=0.5";
    let report = simulate(&streams, load, || loads(&LoadOptions::default()));
    assert!(report.fairness.unwrap() >= 0.95, "{:?}", report.fairness);
}

/// Is told of everything but of what requests have used.
struct Deaf(Box<dyn Policy>);

impl Policy for Deaf {
    fn restore(&mut self, now: u64, page: Page) -> Result<(), PolicyGone> {
        self.0.restore(now, page)
    }

    fn step(&mut self, now: u64, mut events: Vec<Event>) -> Result<Vec<Action>, PolicyGone> {
        events.retain(|event| !matches!(event, Event::Settled(_)));
        self.0.step(now, events)
    }
}

#[test]
fn a_guess_that_is_too_low_is_no_way_to_a_larger_share() {
    let streams = Setup {
        slots: 24,
        max_batch: 1,
        ..setup(STREAM)
    };
    let load = "poisson:rate=120,seconds=60,input=20,output=200,tenants=4,modesty=10";
    let settled = simulate(&streams, load, || loads(&LoadOptions::default()));
    let believed = simulate(&streams, load, || {
        Box::new(Deaf(loads(&LoadOptions::default())))
    });
    let [settled, believed] = [settled, believed].map(|it| it.fairness.unwrap());
    assert!(settled >= 0.95, "{settled}");
    assert!(believed < 0.75, "{believed}");
}

#[test]
fn nobody_of_less_importance_takes_the_last_place() {
    let load = "poisson:rate=5000,seconds=2,priorities=3,keys=3";
    let lingering = BatchOptions {
        max_queue_delay_us: 3000,
        ..BatchOptions::default()
    };
    for options in [BatchOptions::default(), lingering] {
        let report = simulate(&setup(BATCH), load, || batches(&options));
        assert_eq!(report.inversions, 0);
    }
    let report = simulate(&setup(BATCH), load, || loads(&LoadOptions::default()));
    assert_eq!(report.inversions, 0);
}

#[test]
fn what_cannot_be_done_in_time_is_told_so_early() {
    let load = "poisson:rate=9000,seconds=2,deadline-ms=60";
    let report = simulate(&setup(BATCH), load, || batches(&BatchOptions::default()));
    let served = report.done as f64;
    assert!(
        (report.late as f64) < 0.02 * served,
        "{} of {served} were late",
        report.late
    );
    // What is served in time is still most of what can be served at all.
    assert!(report.throughput > 0.9 * report.ideal);
    let blind = BatchOptions {
        early_rejection: false,
        ..BatchOptions::default()
    };
    let blind = simulate(&setup(BATCH), load, || batches(&blind));
    let good = |it: &Report| it.done - it.late;
    assert!(good(&report) > good(&blind));
}

#[test]
fn an_overfull_queue_tells_apart_whose_fault_it_is() {
    let options = BatchOptions {
        max_pending: 500,
        ..BatchOptions::default()
    };
    // One tenant asks for most of it: it is over its share, and the others are served.
    let load = "poisson:rate=9000,seconds=3,tenants=4,skew=3";
    let report = simulate(&setup(BATCH), load, || batches(&options));
    let of = |reason: &str| {
        let found = report.rejected.iter().find(|(name, _)| name == reason);
        found.map_or(0, |(_, count)| *count)
    };
    assert!(
        of("over share") > 100 * of("overloaded").max(1),
        "{report:?}"
    );
    let alone = simulate(&setup(BATCH), "poisson:rate=9000,seconds=2", || {
        batches(&options)
    });
    assert_eq!(alone.rejected[0].0, "overloaded");
    assert_eq!(alone.rejected.len(), 1);
}

#[test]
fn shared_beginnings_meet_and_a_hot_one_spreads() {
    let setup = Setup {
        workers: 8,
        slots: 16,
        max_batch: 1,
        probe: 100_000,
        ..setup("continuous:sequences=16,prefill-ns=100000,cache=256,block=64")
    };
    let load = "poisson:rate=30,seconds=30,input=1000,output=40,prefixes=64,blocks=12";
    let near = simulate(&setup, load, || loads(&LoadOptions::default()));
    let blind = LoadOptions {
        affinity: false,
        ..LoadOptions::default()
    };
    let far = simulate(&setup, load, || loads(&blind));
    assert!(
        near.first.p50 < 0.8 * far.first.p50,
        "{:?} against {:?}",
        near.first,
        far.first
    );
    // All begin alike: if affinity did not yield, one worker would have all of them.
    let hot = "poisson:rate=30,seconds=30,input=1000,output=40,prefixes=1,blocks=12";
    let near = simulate(&setup, hot, || loads(&LoadOptions::default()));
    let far = simulate(&setup, hot, || loads(&blind));
    assert!(
        near.latency.p99 < 1.5 * far.latency.p99,
        "{:?} against {:?}",
        near.latency,
        far.latency
    );
}

#[test]
fn proxies_that_share_workers_do_not_herd() {
    let one = Setup {
        workers: 16,
        slots: 32,
        max_batch: 1,
        probe: 200_000,
        ..setup(STREAM)
    };
    let load = "poisson:rate=100,seconds=20,input=200,output=100";
    let alone = simulate(&one, load, || loads(&LoadOptions::default()));
    for proxies in [4, 16] {
        let many = Setup {
            proxies,
            ..one.clone()
        };
        let report = simulate(&many, load, || loads(&LoadOptions::default()));
        assert_eq!(report.done, report.came);
        assert!(
            report.latency.p99 < 1.5 * alone.latency.p99,
            "{proxies}: {:?} against {:?}",
            report.latency,
            alone.latency
        );
    }
}

#[test]
fn the_same_seed_gives_the_same_report_and_another_does_not() {
    let load = "bursty:rate=2000,seconds=2,tenants=4,keys=2,deadline-ms=80,priorities=2";
    let once = || simulate(&setup(BATCH), load, || batches(&BatchOptions::default()));
    assert_eq!(once(), once());
    let other = Setup {
        seed: 2,
        ..setup(BATCH)
    };
    assert_ne!(
        once(),
        simulate(&other, load, || batches(&BatchOptions::default()))
    );
}

#[test]
fn nobody_is_lost_on_the_way() {
    for load in [
        "poisson:rate=9000,seconds=1,tenants=3,keys=3",
        "bursty:rate=1500,seconds=3,deadline-ms=20",
        "diurnal:rate=1500,period=2,seconds=4,priorities=2,keys=0",
    ] {
        let mut reports = vec![
            simulate(&setup(BATCH), load, || batches(&BatchOptions::default())),
            simulate(&setup(BATCH), load, || loads(&LoadOptions::default())),
            simulate(&setup(BATCH), load, || Native::boxed(Fcfs::new(20_000))),
        ];
        let jobs = Generator::read(load).unwrap().jobs(1);
        reports.push(run(&setup(BATCH), jobs, &mut || None).unwrap());
        for report in reports {
            assert_eq!(report.came, report.done + report.turned_away(), "{load}");
            assert_eq!(report.refused, 0);
        }
    }
}
