//! The pool as its users see it, on paused time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, advance};
use tollgate_dispatch::driver::{Limits, Rejection, Trouble};
use tollgate_dispatch::health::{Outcome, Thresholds};
use tollgate_dispatch::policy::{
    Action, Event, Page, Policy, PolicyGone, RequestId, Settled, WorkerId,
};
use tollgate_dispatch::pool::{
    Backoff, Observer, Place, Pool, PoolSpec, Queue, QueueSpec, Submission, Unobserved,
};
use tollgate_dispatch::worker::{Report, Served, WorkerHandle, WorkerSpec, Workers};
use tollgate_dispatch::{Clock, Fallback, Full, Interner, Key};

// === a house to test in ===

struct House {
    pool: Pool<&'static str>,
    workers: Workers,
    names: Arc<Interner>,
    queue: Arc<Queue>,
}

type Source = Arc<dyn tollgate_dispatch::pool::PolicySource>;

fn house(source: Option<Source>) -> House {
    house_with(PoolSpec::default(), source, Arc::new(Unobserved))
}

fn house_with(spec: PoolSpec, source: Option<Source>, observer: Arc<dyn Observer>) -> House {
    let names = Arc::new(Interner::new(64));
    let (pool, timer) = Pool::new(spec, source, Clock::start(), observer).unwrap();
    tokio::spawn(timer.run());
    House {
        pool,
        workers: Workers::new(16, names.clone()),
        names,
        queue: queue(|_| ()),
    }
}

fn queue(change: impl FnOnce(&mut QueueSpec)) -> Arc<Queue> {
    let mut spec = QueueSpec {
        requests: 100,
        bytes: 1000,
        timeout: Duration::from_secs(30),
        workerless_timeout: Duration::from_secs(5),
        model_requests: None,
        model_bytes: None,
    };
    change(&mut spec);
    Arc::new(Queue::new(spec).unwrap())
}

fn spec(name: &str, slots: u32, max_batch: u32) -> WorkerSpec {
    WorkerSpec {
        name: name.into(),
        section: name.into(),
        slots,
        max_batch,
        slow_start: 0,
        models: vec![Served {
            name: "granite".into(),
            served_as: "/models/granite".into(),
            tasks: None,
        }],
        protocol: "parcel".into(),
        dialects: vec!["parcel".into()],
        options: "{}".into(),
        tasks: vec!["generate".into()],
        thresholds: Thresholds {
            probed: false,
            eject_after: 2,
            ..Thresholds::default()
        },
    }
}

impl House {
    fn worker(&self, name: &str, slots: u32, max_batch: u32) -> Arc<WorkerHandle> {
        let worker = self.workers.add(spec(name, slots, max_batch)).unwrap();
        assert!(self.pool.add_worker(worker.clone()));
        worker
    }

    fn ask(&self) -> Submission {
        Submission {
            model: Some(self.key("granite")),
            ..Submission::new(self.queue.clone())
        }
    }

    fn key(&self, name: &str) -> Key {
        self.names.intern(name).unwrap()
    }

    fn batched(&self) -> Submission {
        Submission {
            batch_key: Some(self.key("same")),
            ..self.ask()
        }
    }
}

/// Lets every task that can run do so, without time passing.
async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

async fn rejected<T>(place: Place<T>) -> Rejection {
    match place.await {
        Ok(_) => panic!("it was given a worker"),
        Err(rejection) => rejection,
    }
}

// === waiting and being placed ===

#[tokio::test(start_paused = true)]
async fn a_free_worker_is_given_at_once_and_the_next_waits_for_its_slot() {
    let house = house(None);
    let worker = house.worker("w", 1, 1);
    let first = house.pool.submit(house.ask()).unwrap().await.unwrap();
    assert_eq!(first.worker().id(), worker.id());
    assert_eq!(
        first.worker().served_as("granite").as_deref(),
        Some("/models/granite")
    );
    assert_eq!((first.index(), first.size()), (0, 1));

    let second = tokio::spawn(house.pool.submit(house.ask()).unwrap());
    settle().await;
    assert!(!second.is_finished());
    assert_eq!(house.pool.gauges().pending, 1);
    drop(first);
    assert!(second.await.unwrap().is_ok());
    assert_eq!(house.pool.gauges().batches, 0);
}

#[tokio::test(start_paused = true)]
async fn a_batch_ends_with_its_last_handle_or_when_it_is_finished() {
    let house = house(None);
    house.worker("w", 1, 4);
    let busy = house.pool.submit(house.batched()).unwrap().await.unwrap();
    let places: Vec<_> = (0..3)
        .map(|_| house.pool.submit(house.batched()).unwrap())
        .collect();
    drop(busy);
    let mut members = Vec::new();
    for place in places {
        members.push(place.await.unwrap());
    }
    assert!(members.iter().all(|member| member.size() == 3));
    let indices: Vec<_> = members.iter().map(|member| member.index()).collect();
    assert_eq!(indices, [0, 1, 2]);

    let work = members[0].batch().clone();
    members.clear();
    assert_eq!(house.pool.gauges().batches, 1);
    work.finish();
    assert_eq!(house.pool.gauges().batches, 0);
    drop(work);
    assert_eq!(house.pool.gauges().batches, 0);
}

#[tokio::test(start_paused = true)]
async fn members_meet_and_one_gets_all_values() {
    let house = house(None);
    house.worker("w", 1, 4);
    let busy = house.pool.submit(house.batched()).unwrap().await.unwrap();
    let places: Vec<_> = (0..3)
        .map(|_| house.pool.submit(house.batched()).unwrap())
        .collect();
    drop(busy);
    let mut places = places.into_iter();
    let mut a = places.next().unwrap().await.unwrap();
    let b = places.next().unwrap().await.unwrap();
    let mut c = places.next().unwrap().await.unwrap();

    let early = tokio::spawn(a.join("a").unwrap());
    settle().await;
    assert!(!early.is_finished());
    drop(b);
    let last = c.join("c").unwrap().await;
    assert_eq!(last, Some(vec![(0, "a"), (2, "c")]));
    assert_eq!(early.await.unwrap(), None);
    assert!(c.join("again").is_none());
}

#[tokio::test(start_paused = true)]
async fn a_place_that_is_dropped_leaves_the_queue() {
    let house = house(None);
    let worker = house.worker("w", 1, 1);
    let first = house.pool.submit(house.ask()).unwrap().await.unwrap();
    let second = house.pool.submit(house.ask()).unwrap();
    let third = house.pool.submit(house.ask()).unwrap();
    drop(second);
    assert_eq!(house.pool.gauges().pending, 1);
    assert_eq!(house.queue.requests(), 1);
    drop(first);
    assert_eq!(house.pool.busy(), [(worker.id(), 1)]);
    drop(third);
    assert_eq!(house.pool.busy(), [(worker.id(), 0)]);
    assert_eq!(house.pool.gauges().pending, 0);
}

#[tokio::test(start_paused = true)]
async fn many_that_were_placed_and_never_looked_free_their_slots_one_after_the_other() {
    let house = house(None);
    house.worker("w", 1, 1);
    let first = house.pool.submit(house.ask()).unwrap().await.unwrap();
    let mut places: Vec<_> = (0..50)
        .map(|_| house.pool.submit(house.ask()).unwrap())
        .collect();
    drop(first);
    places.drain(..).for_each(drop);
    let gauges = house.pool.gauges();
    assert_eq!((gauges.pending, gauges.batches), (0, 0));
    assert_eq!((house.queue.requests(), house.queue.bytes()), (0, 0));
}

// === failing and trying again ===

#[tokio::test(start_paused = true)]
async fn a_failed_attempt_goes_elsewhere_and_keeps_its_number() {
    let house = house(None);
    let one = house.worker("one", 1, 1);
    let two = house.worker("two", 1, 1);
    let first = house.pool.submit(house.ask()).unwrap().await.unwrap();
    assert_eq!(first.worker().id(), one.id());
    let id = first.id();
    let again = first.failed(true).unwrap();
    assert_eq!(again.id(), id);
    let second = again.await.unwrap();
    assert_eq!(second.worker().id(), two.id());
    assert_eq!(house.pool.busy(), [(one.id(), 0), (two.id(), 1)]);
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_is_given_other_slots_keeps_what_it_has() {
    let house = house(None);
    let worker = house.worker("w", 1, 1);
    let ask = || house.pool.submit(house.ask()).unwrap();
    let first = ask().await.unwrap();
    let mut second = ask();
    let waits = tokio::time::timeout(Duration::from_millis(1), &mut second);
    assert!(waits.await.is_err());
    house.pool.resize_worker(&worker, 2);
    let second = second.await.unwrap();
    house.pool.resize_worker(&worker, 1);
    assert_eq!(house.pool.busy(), [(worker.id(), 2)]);
    let mut third = ask();
    first.batch().finish();
    let waits = tokio::time::timeout(Duration::from_millis(1), &mut third);
    assert!(waits.await.is_err(), "it has one slot, and one batch");
    second.batch().finish();
    third.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_only_worker_is_tried_again() {
    let house = house(None);
    let worker = house.worker("only", 1, 1);
    let first = house.pool.submit(house.ask()).unwrap().await.unwrap();
    let second = first.failed(true).unwrap().await.unwrap();
    assert_eq!(second.worker().id(), worker.id());
    assert!(second.failed(false).is_none());
    assert_eq!(house.pool.gauges().batches, 0);
}

#[tokio::test(start_paused = true)]
async fn what_was_finished_cannot_fail() {
    let house = house(None);
    house.worker("w", 1, 1);
    let done = house.pool.submit(house.ask()).unwrap().await.unwrap();
    done.batch().finish();
    assert!(done.failed(true).is_none());
    assert_eq!(house.queue.requests(), 0);
}

// === bounds and time ===

#[tokio::test(start_paused = true)]
async fn routes_have_their_own_bounds_within_the_pool() {
    let spec = PoolSpec {
        limits: Limits {
            max_pending: 3,
            ..Limits::default()
        },
        ..PoolSpec::default()
    };
    let house = house_with(spec, None, Arc::new(Unobserved));
    let narrow = queue(|spec| {
        spec.requests = 2;
        spec.bytes = 10;
    });
    let ask = |queue: &Arc<Queue>, bytes| {
        house.pool.submit(Submission {
            bytes,
            ..Submission::new(queue.clone())
        })
    };
    let first = ask(&narrow, 6).unwrap();
    assert_eq!(ask(&narrow, 5).err(), Some(Full::Bytes));
    let second = ask(&narrow, 4).unwrap();
    assert_eq!(ask(&narrow, 0).err(), Some(Full::Requests));
    let _third = ask(&house.queue, 0).unwrap();
    assert_eq!(ask(&house.queue, 0).err(), Some(Full::Requests));
    drop(first);
    assert!(ask(&narrow, 5).is_ok());
    drop(second);
    assert_eq!(narrow.bytes(), 0);
}

#[tokio::test(start_paused = true)]
async fn those_who_wait_too_long_are_told_so() {
    let house = house(None);
    let begin = Instant::now();
    // No worker at all.
    let place = house.pool.submit(house.ask()).unwrap();
    assert_eq!(rejected(place).await, Rejection::NoWorker);
    assert_eq!(begin.elapsed().as_secs(), 5);

    // A worker that never gets free.
    house.worker("w", 1, 1);
    let _running = house.pool.submit(house.ask()).unwrap().await.unwrap();
    let begin = Instant::now();
    let place = house.pool.submit(house.ask()).unwrap();
    assert_eq!(rejected(place).await, Rejection::QueueTimeout);
    assert_eq!(begin.elapsed().as_secs(), 30);

    // A deadline of its own.
    let deadline = house.pool.clock().now() + 2_000_000;
    let begin = Instant::now();
    let ask = Submission {
        deadline: Some(deadline),
        ..house.ask()
    };
    let place = house.pool.submit(ask).unwrap();
    assert_eq!(rejected(place).await, Rejection::TooLate);
    assert_eq!(begin.elapsed().as_secs(), 2);
}

// === workers that come, go and fail ===

#[tokio::test(start_paused = true)]
async fn a_probed_worker_gets_work_after_its_first_good_probe() {
    let house = house(None);
    let mut spec = spec("probed", 1, 1);
    spec.thresholds.probed = true;
    let worker = house.workers.add(spec).unwrap();
    house.pool.add_worker(worker.clone());
    let place = tokio::spawn(house.pool.submit(house.ask()).unwrap());
    settle().await;
    assert!(!place.is_finished());
    let good = Report {
        ready: true,
        ..Report::default()
    };
    let changed = house.pool.probed(worker.id(), good).unwrap();
    assert!(changed.fitness && !changed.models);
    assert!(place.await.unwrap().is_ok());
    assert_eq!(house.pool.probed(99, Report::default()), None);
}

#[tokio::test(start_paused = true)]
async fn failures_eject_a_worker_for_a_while_but_never_the_last_one() {
    let house = house(None);
    let bad = house.worker("bad", 4, 1);
    let good = house.worker("good", 4, 1);
    let at_bad = house.pool.submit(house.ask()).unwrap().await.unwrap();
    assert_eq!(at_bad.worker().id(), bad.id());
    at_bad.met(Outcome::Failed);
    at_bad.met(Outcome::Failed);
    assert!(bad.status().ejected);
    drop(at_bad);

    let other = house.pool.submit(house.ask()).unwrap().await.unwrap();
    assert_eq!(other.worker().id(), good.id());
    for _ in 0..10 {
        other.met(Outcome::Failed);
    }
    assert!(good.status().accepting);
    drop(other);

    advance(Duration::from_millis(1_001)).await;
    settle().await;
    assert!(bad.status().accepting);
    let again = house.pool.submit(house.ask()).unwrap().await.unwrap();
    assert_eq!(again.worker().id(), bad.id());
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_leaves_finishes_what_it_has() {
    let house = house(None);
    let old = house.worker("old", 1, 1);
    let running = house.pool.submit(house.ask()).unwrap().await.unwrap();
    let waiting = tokio::spawn(house.pool.submit(house.ask()).unwrap());
    assert!(house.pool.remove_worker(old.id()));
    assert!(!house.pool.remove_worker(old.id()));
    running.met(Outcome::Failed);
    drop(running);
    settle().await;
    assert!(!waiting.is_finished());
    let new = house.worker("new", 1, 1);
    let placed = waiting.await.unwrap().unwrap();
    assert_eq!(placed.worker().id(), new.id());
    assert_eq!(house.pool.busy(), [(new.id(), 1)]);
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_drains_gets_nothing_new() {
    let house = house(None);
    let worker = house.worker("w", 2, 1);
    assert!(house.pool.drain_worker(worker.id(), true));
    let place = tokio::spawn(house.pool.submit(house.ask()).unwrap());
    settle().await;
    assert!(!place.is_finished());
    house.pool.drain_worker(worker.id(), false);
    assert!(place.await.unwrap().is_ok());
}

// === bills ===

/// The fallback, and what it was told that requests have used.
struct Bookkeeper(Fallback, Arc<Mutex<Vec<Settled>>>);

impl Policy for Bookkeeper {
    fn restore(&mut self, now: u64, page: Page) -> Result<(), PolicyGone> {
        self.0.restore(now, page)
    }

    fn step(&mut self, now: u64, events: Vec<Event>) -> Result<Vec<Action>, PolicyGone> {
        for event in &events {
            if let Event::Settled(settled) = event {
                self.1.lock().push(*settled);
            }
        }
        self.0.step(now, events)
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_request_has_used_is_told_when_its_bill_is_dropped() {
    let books = Arc::new(Mutex::new(Vec::new()));
    let kept = books.clone();
    let source: Source = Arc::new(move || -> Result<Box<dyn Policy>, PolicyGone> {
        Ok(Box::new(Bookkeeper(Fallback::new(), kept.clone())))
    });
    let house = house(Some(source));
    house.worker("w", 4, 1);
    let ask = || Submission {
        tenant: Some(house.key("tenant")),
        input_cost: 10,
        output_cost: 20,
        ..house.ask()
    };
    let one = house.pool.submit(ask()).unwrap().await.unwrap();
    let nothing_known = house.pool.submit(ask()).unwrap().await.unwrap();
    let mut bill = one.bill();
    let id = one.id();
    // It outlives the request's place, and what is told last counts.
    drop(one);
    drop(nothing_known.bill());
    bill.used(Some(11), Some(1));
    bill.used(None, Some(u64::MAX));
    drop(bill);
    drop(nothing_known);
    let settled = Settled {
        id,
        tenant: house.key("tenant").number(),
        input_cost: 10,
        output_cost: 20,
        input: Some(11),
        output: Some(u32::MAX),
    };
    assert_eq!(*books.lock(), [settled]);
}

// === policies that come, go and fail ===

/// Waits a second, then sends everything that waits, one by one, to the lowest worker.
struct Window {
    waiting: Vec<RequestId>,
    worker: Option<WorkerId>,
    steps_left: usize,
}

impl Policy for Window {
    fn restore(&mut self, _: u64, page: Page) -> Result<(), PolicyGone> {
        self.waiting.extend(page.pending.iter().map(|one| one.id));
        self.worker = self.worker.or(page.workers.first().map(|worker| worker.id));
        Ok(())
    }

    fn step(&mut self, now: u64, events: Vec<Event>) -> Result<Vec<Action>, PolicyGone> {
        self.steps_left = self.steps_left.checked_sub(1).ok_or(PolicyGone {
            reason: "worn out".into(),
        })?;
        let mut actions = Vec::new();
        for event in events {
            match event {
                Event::Arrived(request) => {
                    self.waiting.push(request.id);
                    actions.push(Action::WakeAt(now + 1_000_000));
                }
                Event::WorkerChanged(worker) => self.worker = Some(worker.id),
                Event::Timer => {
                    if let Some(worker) = self.worker {
                        actions.extend(self.waiting.drain(..).map(|id| Action::Dispatch {
                            worker,
                            requests: vec![id],
                        }));
                    }
                }
                _ => (),
            }
        }
        Ok(actions)
    }
}

fn windows(steps: usize, made: Arc<AtomicUsize>) -> Source {
    Arc::new(move || -> Result<Box<dyn Policy>, PolicyGone> {
        made.fetch_add(1, Ordering::Relaxed);
        Ok(Box::new(Window {
            waiting: Vec::new(),
            worker: None,
            steps_left: steps,
        }))
    })
}

#[tokio::test(start_paused = true)]
async fn a_policy_may_wait_by_its_timer() {
    let house = house(Some(windows(100, Arc::default())));
    house.worker("w", 9, 1);
    assert!(!house.pool.gauges().fallback);
    let begin = Instant::now();
    let placed = house.pool.submit(house.ask()).unwrap().await;
    assert!(placed.is_ok());
    assert_eq!(begin.elapsed().as_secs(), 1);
}

#[derive(Default)]
struct Notes {
    troubles: Mutex<Vec<Trouble>>,
    steps: AtomicUsize,
}

impl Observer for Notes {
    fn stepped(&self, _: Duration, _: usize, _: usize) {
        self.steps.fetch_add(1, Ordering::Relaxed);
    }
    fn trouble(&self, trouble: &Trouble) {
        self.troubles.lock().push(trouble.clone());
    }
}

#[tokio::test(start_paused = true)]
async fn a_policy_that_is_gone_is_made_anew_ever_more_slowly_and_nobody_notices() {
    let made = Arc::new(AtomicUsize::new(0));
    let notes = Arc::new(Notes::default());
    let spec = PoolSpec {
        backoff: Backoff {
            first: 100_000,
            longest: 1_000_000,
        },
        ..PoolSpec::default()
    };
    // It survives its first step, as a ruler, and no more.
    let house = house_with(spec, Some(windows(1, made.clone())), notes.clone());
    house.worker("w", 100, 1);
    let mut held = Vec::new();
    for (wait, expected) in [(0, 1), (100, 2), (200, 3), (400, 4), (800, 5), (1000, 6)] {
        advance(Duration::from_millis(wait + 1)).await;
        settle().await;
        assert_eq!(made.load(Ordering::Relaxed), expected, "after {wait} ms");
        // The fallback places it at once, as the policy is gone.
        let place = house.pool.submit(house.ask()).unwrap();
        held.push(place.await.unwrap());
        assert!(house.pool.gauges().fallback);
        assert_eq!(notes.troubles.lock().len(), expected);
    }
    assert!(notes.steps.load(Ordering::Relaxed) >= 6);
}

#[tokio::test(start_paused = true)]
async fn a_model_that_one_worker_fails_goes_to_others_and_its_other_models_do_not() {
    let house = house(None);
    let both = |name: &str| {
        let mut spec = spec(name, 9, 1);
        spec.models.push(Served {
            name: "quartz".into(),
            served_as: "quartz".into(),
            tasks: None,
        });
        let worker = house.workers.add(spec).unwrap();
        assert!(house.pool.add_worker(worker.clone()));
        worker
    };
    let (bad, good) = (both("bad"), both("good"));
    let place = async |model: &str| {
        let ask = Submission {
            model: Some(house.names.intern(model).unwrap()),
            ..house.ask()
        };
        house.pool.submit(ask).unwrap().await.unwrap()
    };
    let mut failed = 0;
    while failed < 2 {
        let placed = place("granite").await;
        if placed.worker().id() == bad.id() {
            placed.met(Outcome::Garbled);
            failed += 1;
        }
    }
    assert_eq!(bad.status().ejected_models, 1);
    assert!(bad.status().accepting && !bad.status().ejected);
    let granite: Vec<_> = [place("granite").await, place("granite").await].into();
    assert!(granite.iter().all(|one| one.worker().id() == good.id()));
    assert_eq!(
        place("quartz").await.worker().id(),
        bad.id(),
        "the less loaded"
    );
    // It cannot be taken from the last that serves it.
    for one in &granite {
        one.met(Outcome::Garbled);
        one.met(Outcome::Garbled);
    }
    assert_eq!(good.status().ejected_models, 0);
    advance(Duration::from_millis(1001)).await;
    settle().await;
    assert_eq!(bad.status().ejected_models, 0);
    assert_eq!(place("granite").await.worker().id(), bad.id());
}

/// A clock that a policy moves: each of its steps takes so long.
#[derive(Default)]
struct Slow {
    time: Mutex<Duration>,
    step: Mutex<Duration>,
    troubles: Mutex<Vec<Trouble>>,
}

impl Observer for Slow {
    fn time(&self) -> Duration {
        *self.time.lock()
    }
    fn trouble(&self, trouble: &Trouble) {
        self.troubles.lock().push(trouble.clone());
    }
}

struct Timed {
    policy: Fallback,
    clock: Arc<Slow>,
}

impl Policy for Timed {
    fn restore(&mut self, now: u64, page: Page) -> Result<(), PolicyGone> {
        self.policy.restore(now, page)
    }
    fn step(&mut self, now: u64, events: Vec<Event>) -> Result<Vec<Action>, PolicyGone> {
        *self.clock.time.lock() += *self.clock.step.lock();
        self.policy.step(now, events)
    }
}

#[tokio::test(start_paused = true)]
async fn a_policy_that_is_too_slow_too_often_is_replaced_for_the_back_off() {
    let clock = Arc::new(Slow::default());
    let making = clock.clone();
    let source: Source = Arc::new(move || -> Result<Box<dyn Policy>, PolicyGone> {
        Ok(Box::new(Timed {
            policy: Fallback::new(),
            clock: making.clone(),
        }))
    });
    let spec = PoolSpec {
        step: Some(Duration::from_micros(200)),
        ..PoolSpec::default()
    };
    let house = house_with(spec, Some(source), clock.clone());
    house.worker("w", 100, 1);
    // A request that is placed and one that ends are a step each.
    let serve = async |many: usize| {
        for _ in 0..many {
            let placed = house.pool.submit(house.ask()).unwrap().await;
            drop(placed.unwrap());
        }
    };
    let slowly = |micros| *clock.step.lock() = Duration::from_micros(micros);
    slowly(200);
    serve(600).await;
    slowly(201);
    serve(4).await;
    assert!(!house.pool.gauges().fallback, "eight slow ones are few");
    serve(2).await;
    assert!(house.pool.gauges().fallback, "and eleven are not");
    assert_eq!(clock.troubles.lock().len(), 1);
    let told = clock.troubles.lock()[0].to_string();
    assert!(told.contains("took longer than 200µs"), "{told}");
    // The fallback places what comes, and the policy returns after the back-off.
    serve(3).await;
    advance(Duration::from_millis(101)).await;
    settle().await;
    assert!(!house.pool.gauges().fallback);
    serve(3).await;
    assert!(!house.pool.gauges().fallback, "it is counted anew");
}

#[tokio::test(start_paused = true)]
async fn a_swap_with_many_waiting_and_running_loses_nobody() {
    let house = house(None);
    house.worker("w", 1, 1);
    let running = house.pool.submit(house.ask()).unwrap().await.unwrap();
    let mut waiting = Vec::new();
    let wide = queue(|spec| spec.requests = 1000);
    let ask = || Submission {
        queue: wide.clone(),
        ..house.ask()
    };
    for _ in 0..300 {
        waiting.push(tokio::spawn(house.pool.submit(ask()).unwrap()));
    }
    let honest: Source =
        Arc::new(|| -> Result<Box<dyn Policy>, PolicyGone> { Ok(Box::new(Fallback::new())) });
    house.pool.swap(honest).unwrap();
    assert!(
        house.pool.gauges().fallback,
        "five pages are not handed over at once"
    );
    for _ in 0..3 {
        waiting.push(tokio::spawn(house.pool.submit(ask()).unwrap()));
    }
    drop(running);
    for place in waiting {
        assert!(place.await.unwrap().is_ok());
    }
    let gauges = house.pool.gauges();
    assert!(!gauges.fallback);
    assert_eq!((gauges.pending, gauges.batches, gauges.refused), (0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_source_that_yields_nothing_changes_nothing() {
    let house = house(Some(windows(100, Arc::default())));
    let broken: Source = Arc::new(|| -> Result<Box<dyn Policy>, PolicyGone> {
        Err(PolicyGone {
            reason: "does not compile".into(),
        })
    });
    assert!(house.pool.swap(broken).is_err());
    assert!(!house.pool.gauges().fallback);
    house.pool.fall_back();
    assert!(house.pool.gauges().fallback);
}

#[tokio::test(start_paused = true)]
async fn the_timer_ends_with_its_pool() {
    let clock = Clock::start();
    let (pool, timer) =
        Pool::<()>::new(PoolSpec::default(), None, clock, Arc::new(Unobserved)).unwrap();
    let timer = tokio::spawn(timer.run());
    settle().await;
    assert!(!timer.is_finished());
    drop(pool);
    let ended = tokio::time::timeout(Duration::from_secs(10), timer).await;
    ended.expect("it goes on without its pool").unwrap();
}

// === from all sides at once ===

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_cores_at_once_leave_nothing_behind() {
    let house = Arc::new(house(None));
    house.worker("one", 2, 3);
    house.worker("two", 3, 1);
    let mut tasks = Vec::new();
    for lane in 0..8_u32 {
        let house = house.clone();
        tasks.push(tokio::spawn(async move {
            let mut served = 0;
            for turn in 0..200_u32 {
                let ask = if turn % 2 == 0 {
                    house.batched()
                } else {
                    house.ask()
                };
                let Ok(place) = house.pool.submit(ask) else {
                    continue;
                };
                if (turn + lane) % 7 == 0 {
                    drop(place);
                    continue;
                }
                let mut mine = place.await.unwrap();
                if (turn + lane) % 5 == 0 {
                    let again = mine.failed(true).expect("it was not finished");
                    mine = again.await.unwrap();
                }
                if let Some(all) = mine.join("here").unwrap().await {
                    assert!(all.len() <= mine.size());
                    mine.batch().first_output();
                }
                served += 1;
            }
            served
        }));
    }
    let mut served = 0;
    for task in tasks {
        served += task.await.unwrap();
    }
    assert!(served > 1000);
    let gauges = house.pool.gauges();
    assert_eq!(
        (gauges.pending, gauges.in_flight, gauges.batches),
        (0, 0, 0)
    );
    assert_eq!((house.queue.requests(), gauges.refused), (0, 0));
}

// === workers that come and go ===

#[tokio::test(start_paused = true)]
async fn a_request_that_waits_goes_to_a_worker_that_came_later_and_keeps_its_turn() {
    let house = house(None);
    let ask = |eligible: &[WorkerId]| Submission {
        eligible: eligible.into(),
        ..house.ask()
    };
    let first = house.pool.submit(ask(&[tollgate_dispatch::policy::NOBODY]));
    let first = first.unwrap();
    let worker = house.worker("w", 1, 1);
    let holder = house.pool.submit(ask(&[worker.id()])).unwrap().await;
    let second = house.pool.submit(ask(&[worker.id()])).unwrap();
    first.entitle([worker.id()].into());
    drop(holder);
    let mut second = tokio::spawn(second);
    let first = first.await.unwrap();
    settle().await;
    assert!(!second.is_finished(), "the first one waited for longer");
    drop(first);
    assert!((&mut second).await.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_request_whose_workers_have_gone_has_the_time_of_one_without_a_worker() {
    let house = house(None);
    let worker = house.worker("w", 1, 1);
    let holder = house.pool.submit(house.ask()).unwrap().await;
    let place = house.pool.submit(house.ask()).unwrap();
    place.entitle([tollgate_dispatch::policy::NOBODY].into());
    advance(Duration::from_secs(4)).await;
    place.entitle([worker.id()].into());
    advance(Duration::from_secs(4)).await;
    place.entitle([tollgate_dispatch::policy::NOBODY].into());
    let place = tokio::spawn(place);
    advance(Duration::from_secs(4)).await;
    settle().await;
    assert!(!place.is_finished(), "it had a worker in between");
    advance(Duration::from_secs(2)).await;
    assert_eq!(rejected_of(place).await, Rejection::NoWorker);
    drop(holder);
}

async fn rejected_of(place: tokio::task::JoinHandle<Result<Assigned, Rejection>>) -> Rejection {
    match place.await.unwrap() {
        Ok(_) => panic!("it was given a worker"),
        Err(rejection) => rejection,
    }
}

type Assigned = tollgate_dispatch::Assignment<&'static str>;

#[tokio::test(start_paused = true)]
async fn the_slots_of_a_fresh_worker_come_one_after_the_other() {
    let house = house(None);
    let worker = house.workers.add(WorkerSpec {
        slow_start: 3_000_000,
        ..spec("w", 4, 1)
    });
    let worker = worker.unwrap();
    assert!(house.pool.add_worker(worker.clone()));
    let mut held = Vec::new();
    let mut places = Vec::new();
    for _ in 0..5 {
        let place = house.pool.submit(house.ask()).unwrap();
        places.push(tokio::spawn(place));
    }
    for second in 1..=4_usize {
        settle().await;
        let done = places.iter().filter(|place| place.is_finished()).count();
        assert_eq!((done, worker.status().slots as usize), (second, second));
        advance(Duration::from_secs(1)).await;
    }
    settle().await;
    assert!(!places[4].is_finished(), "all of its slots are taken");
    for place in places.drain(..4) {
        held.push(place.await.unwrap().unwrap());
    }
    // One that was ejected and comes back begins anew.
    for one in held.drain(..2) {
        one.met(Outcome::Failed);
    }
    // Nobody else is there: it is not ejected, and its slots stay.
    assert_eq!(worker.status().slots, 4);
    let other = house.worker("other", 1, 1);
    let one = held.remove(0);
    one.met(Outcome::Failed);
    one.met(Outcome::Failed);
    assert!(worker.status().ejected);
    advance(Duration::from_millis(1500)).await;
    settle().await;
    assert!(worker.status().accepting && other.status().accepting);
    assert_eq!(worker.status().slots, 1);
}

// === what waits for one model ===

#[test]
fn a_model_has_bounds_of_its_own_within_its_route() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let house = house(None);
        let queue = queue(|spec| {
            spec.model_requests = Some(2);
            spec.model_bytes = Some(10);
        });
        let ask = |model: &str, bytes| {
            house.pool.submit(Submission {
                model: Some(house.key(model)),
                bytes,
                ..Submission::new(queue.clone())
            })
        };
        let first = ask("a", 6).unwrap();
        assert_eq!(ask("a", 5).err(), Some(Full::ModelBytes));
        let second = ask("a", 4).unwrap();
        assert_eq!(ask("a", 0).err(), Some(Full::ModelRequests));
        let other = ask("b", 10).unwrap();
        let held = queue.models();
        let names: Vec<_> = held.iter().map(|(key, _)| &**key.name()).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!((held[0].1.requests, held[0].1.bytes), (2, 10));
        drop((first, other));
        assert!(ask("a", 6).is_ok(), "there is room again");
        drop(second);
        assert_eq!(queue.models(), [], "nothing stays of what waits no longer");
        assert_eq!(queue.requests(), 0);
    });
}
