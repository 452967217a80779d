//! The driver, step by step: expiry, refusals, timers, and changes of policy.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tollgate_dispatch::driver::{
    Arrival, Decision, Driver, Full, Limits, LimitsError, Rejection, Trouble,
};
use tollgate_dispatch::policy::{
    Action, Event, PAGE, Page, Policy, PolicyGone, RejectReason, RequestId, Settled, Worker,
    WorkerId,
};

/// Answers what it was given beforehand, and shows what it was told.
#[derive(Clone, Default)]
struct Script(Arc<Mutex<Lines>>);

#[derive(Default)]
struct Lines {
    answers: VecDeque<Result<Vec<Action>, PolicyGone>>,
    told: Vec<Vec<Event>>,
    pages: Vec<Page>,
    restore_fails_at: Option<usize>,
}

fn gone() -> PolicyGone {
    PolicyGone {
        reason: "scripted".into(),
    }
}

impl Policy for Script {
    fn restore(&mut self, _: u64, page: Page) -> Result<(), PolicyGone> {
        let mut lines = self.0.lock();
        lines.pages.push(page);
        match lines.restore_fails_at {
            Some(at) if lines.pages.len() > at => Err(gone()),
            _ => Ok(()),
        }
    }

    fn step(&mut self, _: u64, events: Vec<Event>) -> Result<Vec<Action>, PolicyGone> {
        let mut lines = self.0.lock();
        lines.told.push(events);
        lines.answers.pop_front().unwrap_or(Ok(Vec::new()))
    }
}

impl Script {
    fn next(&self, answer: Result<Vec<Action>, PolicyGone>) {
        self.0.lock().answers.push_back(answer);
    }

    fn told(&self) -> Vec<Vec<Event>> {
        std::mem::take(&mut self.0.lock().told)
    }

    /// Takes the rule over an empty pool.
    fn rules(&self, driver: &mut Driver) {
        driver.swap(0, Box::new(self.clone()));
        assert_eq!(self.told(), [vec![Event::Timer]]);
        assert!(!driver.gauges().fallback);
    }
}

fn driver(change: impl FnOnce(&mut Limits)) -> Driver {
    let mut limits = Limits {
        queue_timeout: 1_000,
        workerless_timeout: 100,
        ..Limits::default()
    };
    change(&mut limits);
    Driver::new(limits).unwrap()
}

fn worker(id: WorkerId, slots: u32, max_batch: u32) -> Worker {
    Worker {
        id,
        accepting: true,
        models: Arc::from([1]),
        slots,
        busy: 0,
        max_batch,
        identity: u64::from(id),
        queued: None,
        running: None,
        kv_cache_use: None,
    }
}

fn arrival() -> Arrival {
    Arrival {
        model: 1,
        ..Arrival::default()
    }
}

fn keyed(batch_key: u32) -> Arrival {
    Arrival {
        batch_key,
        ..arrival()
    }
}

fn send(worker: WorkerId, requests: &[RequestId]) -> Action {
    Action::Dispatch {
        worker,
        requests: requests.to_vec(),
    }
}

fn reasons(told: &[Vec<Event>]) -> Vec<&'static str> {
    told.iter()
        .flatten()
        .filter_map(|event| match event {
            Event::Refused { reason, .. } => Some(*reason),
            _ => None,
        })
        .collect()
}

fn rejection(id: RequestId, reason: Rejection) -> Decision {
    Decision::Reject { id, reason }
}

// === expiry ===

#[test]
fn without_a_worker_a_request_waits_for_the_shorter_time() {
    let mut driver = driver(|_| ());
    let id = driver.arrive(10, arrival()).unwrap();
    assert_eq!(driver.wake_at(), Some(110));
    driver.tick(109);
    assert!(driver.take_decisions().is_empty());
    driver.tick(110);
    assert_eq!(
        driver.take_decisions(),
        [rejection(id, Rejection::NoWorker)]
    );
    assert_eq!(driver.wake_at(), None);
}

#[test]
fn the_workerless_clock_stops_and_starts_with_the_workers() {
    let script = Script::default();
    let mut driver = driver(|_| ());
    script.rules(&mut driver);
    let id = driver.arrive(10, arrival()).unwrap();
    driver.worker_changed(50, worker(7, 1, 1));
    assert_eq!(driver.wake_at(), Some(1_010));
    let closed = Worker {
        accepting: false,
        ..worker(7, 1, 1)
    };
    driver.worker_changed(200, closed);
    assert_eq!(driver.wake_at(), Some(300));
    let other_model = Worker {
        models: Arc::from([2]),
        ..worker(7, 1, 1)
    };
    driver.worker_changed(250, other_model);
    assert_eq!(driver.wake_at(), Some(300));
    driver.worker_changed(260, worker(8, 1, 1));
    assert_eq!(driver.wake_at(), Some(1_010));
    driver.worker_gone(900, 8);
    assert_eq!(driver.wake_at(), Some(1_000));
    driver.tick(1_000);
    assert_eq!(
        driver.take_decisions(),
        [rejection(id, Rejection::NoWorker)]
    );
}

#[test]
fn a_deadline_is_kept_whatever_the_policy_does_and_the_policy_hears_of_it() {
    let script = Script::default();
    let mut driver = driver(|_| ());
    script.rules(&mut driver);
    driver.worker_changed(1, worker(7, 1, 1));
    let ask = Arrival {
        deadline: Some(40),
        ..arrival()
    };
    let id = driver.arrive(10, ask).unwrap();
    script.told();
    // It answers too late, in the very step in which it hears.
    script.next(Ok(vec![send(7, &[id])]));
    driver.tick(40);
    assert_eq!(driver.take_decisions(), [rejection(id, Rejection::TooLate)]);
    let told = script.told();
    assert_eq!(told[0], [Event::Cancelled(id)]);
    assert_eq!(reasons(&told), ["a request does not wait"]);
}

#[test]
fn a_request_may_be_less_patient_than_the_queue_but_not_more() {
    let mut driver = driver(|_| ());
    let ask = Arrival {
        workerless_timeout: Some(30),
        queue_timeout: Some(9_999),
        ..arrival()
    };
    driver.arrive(0, ask).unwrap();
    assert_eq!(driver.wake_at(), Some(30));
    driver.worker_changed(1, worker(7, 0, 1));
    assert_eq!(driver.wake_at(), Some(1_000));
}

#[test]
fn time_does_not_go_back() {
    let mut driver = driver(|_| ());
    driver.tick(500);
    driver.arrive(10, arrival()).unwrap();
    assert_eq!(driver.wake_at(), Some(600));
}

// === bounds ===

#[test]
fn what_was_admitted_comes_back_even_to_a_full_queue() {
    let mut driver = driver(|limits| limits.max_pending = 1);
    driver.worker_changed(0, worker(7, 1, 1));
    let first = driver.arrive(1, arrival()).unwrap();
    let Decision::Dispatch { batch, .. } = driver.take_decisions()[0] else {
        panic!("it was not sent");
    };
    let second = driver.arrive(2, arrival()).unwrap();
    assert_eq!(driver.arrive(3, arrival()), Err(Full::Requests));
    assert_eq!(driver.attempt_failed(4, batch, &[first]), 1);
    assert_eq!(driver.gauges().pending, 2);
    assert_eq!(driver.arrive(5, arrival()), Err(Full::Requests));
    // The older one goes first again.
    driver.batch_finished(6, batch, None);
    let decisions = driver.take_decisions();
    let [Decision::Dispatch { requests, .. }] = &decisions[..] else {
        panic!("{decisions:?}");
    };
    assert_eq!(requests, &[first]);
    assert!(second > first);
}

#[test]
fn workers_are_bounded() {
    let mut driver = driver(|limits| limits.max_workers = 1);
    assert!(driver.worker_changed(0, worker(1, 1, 1)));
    assert!(!driver.worker_changed(0, worker(2, 1, 1)));
    assert!(driver.worker_changed(0, worker(1, 2, 1)));
    assert!(driver.worker_gone(0, 1));
    assert!(driver.worker_changed(0, worker(2, 1, 1)));
}

#[test]
fn bounds_that_cannot_work_are_refused() {
    let zero = Limits {
        max_pending: 0,
        ..Limits::default()
    };
    assert_eq!(
        Driver::new(zero).err(),
        Some(LimitsError::Zero("max_pending"))
    );
    let empty = Limits {
        min_wake: 2,
        max_wake: 1,
        ..Limits::default()
    };
    assert_eq!(Driver::new(empty).err(), Some(LimitsError::WakeRange));
}

// === refusals ===

#[test]
fn each_action_that_does_not_fit_is_refused_with_its_reason() {
    let script = Script::default();
    let mut driver = driver(|_| ());
    script.rules(&mut driver);
    let closed = Worker {
        accepting: false,
        ..worker(2, 9, 9)
    };
    let other = Worker {
        models: Arc::from([2]),
        ..worker(4, 9, 9)
    };
    for one in [worker(1, 9, 2), closed, worker(3, 0, 9), other] {
        driver.worker_changed(0, one);
    }
    let ids: Vec<_> = [0, 0, 5, 5, 5, 6]
        .map(|key| driver.arrive(0, keyed(key)).unwrap())
        .into();
    let picky = Arrival {
        eligible: Arc::from([4]),
        ..arrival()
    };
    let picky = driver.arrive(0, picky).unwrap();
    script.told();
    let cases = [
        (send(1, &[]), "the batch is empty"),
        (send(9, &[ids[0]]), "there is no such worker"),
        (send(2, &[ids[0]]), "the worker accepts nothing new"),
        (send(3, &[ids[0]]), "the worker has no free slot"),
        (
            send(1, &ids[2..5]),
            "the batch is larger than the worker takes",
        ),
        (send(1, &[777]), "a request does not wait"),
        (send(1, &[ids[2], 777]), "a request does not wait"),
        (send(1, &[ids[2], ids[2]]), "a request is named twice"),
        (
            send(1, &ids[0..2]),
            "requests of different batch keys, or of none, do not merge",
        ),
        (
            send(1, &ids[4..6]),
            "requests of different batch keys, or of none, do not merge",
        ),
        (
            send(1, &[picky]),
            "a request may not be served by the worker",
        ),
        (
            send(4, &[picky]),
            "a request may not be served by the worker",
        ),
        (Action::Other("dance".into()), "the action is not known"),
        (
            Action::Reject {
                id: 777,
                reason: RejectReason::Overloaded,
            },
            "a request does not wait",
        ),
    ];
    let count = cases.len() as u64;
    for (action, reason) in cases {
        script.next(Ok(vec![action.clone()]));
        driver.worker_changed(1, worker(1, 9, 2));
        assert_eq!(reasons(&script.told()), [reason], "{action:?}");
        assert!(driver.take_decisions().is_empty());
    }
    assert_eq!(driver.gauges().refused, count);
    // And one that fits is carried out.
    script.next(Ok(vec![send(1, &ids[2..4])]));
    driver.worker_changed(2, worker(1, 9, 2));
    assert_eq!(driver.take_decisions().len(), 1);
}

#[test]
fn a_policy_that_repeats_its_mistake_is_not_stepped_for_ever() {
    let script = Script::default();
    let mut driver = driver(|_| {});
    script.rules(&mut driver);
    for _ in 0..10 {
        script.next(Ok(vec![send(1, &[1]); 100]));
    }
    driver.arrive(0, arrival()).unwrap();
    let told = script.told();
    assert_eq!(told.len(), 2);
    assert_eq!(reasons(&told).len(), 100);
    assert_eq!(driver.gauges().refused, 200);
    // The second time it hears of it a little later, though nothing happens.
    let wake = driver.wake_at().unwrap();
    assert!(wake > 0 && wake < 100_000, "{wake}");
    driver.tick(wake - 1);
    // Whatever happens tells it too.
    assert_eq!(reasons(&script.told()).len(), 200);
}

#[test]
fn what_was_refused_is_told_though_nothing_else_happens() {
    let script = Script::default();
    let mut driver = driver(|limits| {
        limits.queue_timeout = 1_000_000;
        limits.workerless_timeout = 1_000_000;
    });
    script.rules(&mut driver);
    script.next(Ok(vec![send(1, &[1])]));
    script.next(Ok(vec![send(2, &[1])]));
    driver.arrive(0, arrival()).unwrap();
    assert_eq!(script.told().len(), 2);
    driver.tick(driver.wake_at().unwrap());
    assert_eq!(reasons(&script.told()), ["there is no such worker"]);
    assert_eq!(
        driver.wake_at(),
        Some(1_000_000),
        "nothing is left to be told"
    );
}

#[test]
fn a_long_answer_is_carried_out_in_pages_and_nothing_of_it_is_lost() {
    let script = Script::default();
    let mut driver = driver(|limits| limits.max_actions = 3);
    script.rules(&mut driver);
    let ids: Vec<_> = (0..10)
        .map(|_| driver.arrive(0, arrival()).unwrap())
        .collect();
    script.told();
    let all = ids.iter().map(|id| send(1, &[*id])).collect();
    script.next(Ok(all));
    driver.worker_changed(1, worker(1, 10, 1));
    assert_eq!(script.told().len(), 1);
    let mut sent = driver.take_decisions().len();
    assert_eq!(sent, 3);
    // One leaves before its turn: that is told, and all the rest goes.
    assert!(driver.cancel(2, ids[8]));
    sent += driver.take_decisions().len();
    assert!(
        script.told().is_empty(),
        "nothing new before the answer is carried out"
    );
    while driver.wake_at() == Some(2) {
        driver.tick(2);
        sent += driver.take_decisions().len();
    }
    assert_eq!(sent, 9);
    let told = script.told();
    assert_eq!(reasons(&told), ["a request does not wait"]);
    assert!(told[0].contains(&Event::Cancelled(ids[8])));
    assert_eq!(driver.gauges().pending, 0);
}

/// What was right when it was answered is no mistake when its turn comes.
#[test]
fn a_page_that_comes_too_late_is_not_held_against_the_policy() {
    let script = Script::default();
    let mut driver = driver(|limits| {
        limits.max_actions = 3;
        limits.max_refused_in_a_row = 4;
    });
    script.rules(&mut driver);
    let impatient = || Arrival {
        deadline: Some(5),
        ..arrival()
    };
    let ids: Vec<_> = (0..20)
        .map(|_| driver.arrive(0, impatient()).unwrap())
        .collect();
    script.told();
    let reject = |id: &RequestId| Action::Reject {
        id: *id,
        reason: RejectReason::Overloaded,
    };
    script.next(Ok(ids.iter().map(reject).collect()));
    driver.worker_changed(1, worker(1, 10, 1));
    assert_eq!(driver.take_decisions().len(), 3);
    // Their time is over before the answer is.
    while driver.wake_at().is_some_and(|at| at <= 5) {
        driver.tick(5);
    }
    assert_eq!(driver.take_decisions().len(), 17);
    assert_eq!(driver.gauges().pending, 0);
    assert_eq!(driver.gauges().refused, 17);
    assert!(!driver.gauges().fallback, "{:?}", driver.take_troubles());
}

#[test]
fn an_answer_that_does_more_than_there_is_to_do_is_nonsense() {
    let script = Script::default();
    let mut driver = driver(|limits| limits.max_actions = 3);
    script.rules(&mut driver);
    script.next(Ok(vec![Action::WakeAt(9); 5]));
    driver.arrive(0, arrival()).unwrap();
    assert!(driver.gauges().fallback);
    assert!(matches!(driver.take_troubles()[..], [Trouble::Nonsense(_)]));
}

#[test]
fn a_refused_batch_is_named_whole_and_its_worker_once() {
    let script = Script::default();
    let mut driver = driver(|_| {});
    script.rules(&mut driver);
    let ids: Vec<_> = (0..200)
        .map(|_| driver.arrive(0, keyed(4)).unwrap())
        .collect();
    script.told();
    script.next(Ok(vec![send(1, &ids)]));
    driver.worker_changed(1, worker(1, 1, 100));
    let told = script.told();
    let refused = told[1].iter().map(|event| match event {
        Event::Refused {
            requests, worker, ..
        } => (requests.clone(), *worker),
        other => panic!("{other:?}"),
    });
    let refused: Vec<_> = refused.collect();
    let named: Vec<_> = refused
        .iter()
        .flat_map(|(named, _)| named.clone())
        .collect();
    assert_eq!(named, ids);
    assert!(refused.iter().all(|(named, _)| named.len() <= 64));
    let workers: Vec<_> = refused.iter().filter_map(|(_, worker)| *worker).collect();
    assert_eq!(workers, [1]);
    assert_eq!(driver.gauges().refused, 1);
}

#[test]
fn what_a_request_used_is_told_with_what_happens_next() {
    let script = Script::default();
    let mut driver = driver(|_| {});
    script.rules(&mut driver);
    let used = Settled {
        id: 7,
        tenant: 3,
        input_cost: 5,
        output_cost: 6,
        input: Some(50),
        output: None,
    };
    driver.settled(1, used);
    assert!(script.told().is_empty(), "not alone");
    driver.arrive(2, arrival()).unwrap();
    let told = script.told();
    assert_eq!(told[0][0], Event::Settled(used));
    assert!(matches!(told[0][1], Event::Arrived(_)));
    // Unless it has become much.
    for _ in 0..64 {
        driver.settled(3, used);
    }
    assert_eq!(script.told().concat().len(), 64);
}

#[test]
fn whoever_takes_over_is_told_what_is_under_way_and_what_it_costs() {
    let script = Script::default();
    let mut driver = driver(|_| {});
    driver.worker_changed(0, worker(1, 1, 4));
    let one = Arrival {
        tenant: 2,
        batch_key: 4,
        input_cost: 11,
        output_cost: 12,
        ..arrival()
    };
    // The first goes alone, and the others together when it has ended.
    let first = driver.arrive(0, one.clone()).unwrap();
    let ids = [0; 3].map(|_| driver.arrive(0, one.clone()).unwrap());
    let [Decision::Dispatch { batch, .. }] = driver.take_decisions()[..] else {
        panic!("{first} is sent");
    };
    driver.batch_finished(1, batch, None);
    driver.cancel(2, ids[1]);
    script.rules(&mut driver);
    let pages = script.0.lock().pages.clone();
    let [batch] = &pages[0].in_flight[..] else {
        panic!("{pages:?}");
    };
    assert_eq!((batch.worker, batch.size, batch.dispatched), (1, 3, 1));
    let members: Vec<_> = batch.members.iter().map(|one| one.id).collect();
    assert_eq!(members, [ids[0], ids[2]]);
    let member = &batch.members[0];
    let told = [
        member.model,
        member.tenant,
        member.input_cost,
        member.output_cost,
    ];
    assert_eq!(told, [1, 2, 11, 12]);
}

#[test]
fn nothing_but_nonsense_ends_a_policy() {
    let script = Script::default();
    let mut driver = driver(|limits| limits.max_refused_in_a_row = 3);
    script.rules(&mut driver);
    driver.worker_changed(0, worker(7, 1, 1));
    script.next(Ok(vec![send(99, &[99]); 3]));
    let id = driver.arrive(1, arrival()).unwrap();
    assert!(driver.gauges().fallback);
    assert!(matches!(driver.take_troubles()[..], [Trouble::Nonsense(_)]));
    let decisions = driver.take_decisions();
    let [Decision::Dispatch { requests, .. }] = &decisions[..] else {
        panic!("the fallback did not take over: {decisions:?}");
    };
    assert_eq!(requests, &[id]);
}

// === the policy's timer ===

#[test]
fn a_timer_is_neither_too_soon_nor_too_far_and_the_last_one_counts() {
    let script = Script::default();
    let mut driver = driver(|limits| {
        limits.min_wake = 10;
        limits.max_wake = 500;
    });
    script.rules(&mut driver);
    for (wish, expected) in [(0, 110), (u64::MAX, 600), (300, 300)] {
        script.next(Ok(vec![Action::WakeAt(200), Action::WakeAt(wish)]));
        driver.worker_changed(100, worker(7, 1, 1));
        assert_eq!(driver.wake_at(), Some(expected));
    }
    script.told();
    driver.tick(299);
    assert!(script.told().is_empty());
    driver.tick(300);
    assert_eq!(script.told(), [vec![Event::Timer]]);
    assert_eq!(driver.wake_at(), None);
}

// === changes of policy ===

#[test]
fn a_policy_that_goes_in_a_step_is_replaced_within_it() {
    let script = Script::default();
    let mut driver = driver(|_| ());
    script.rules(&mut driver);
    driver.worker_changed(0, worker(7, 2, 1));
    let waiting = driver.arrive(1, arrival()).unwrap();
    script.next(Err(gone()));
    let last = driver.arrive(2, arrival()).unwrap();
    let sent: Vec<_> = driver
        .take_decisions()
        .into_iter()
        .filter_map(|decision| match decision {
            Decision::Dispatch { requests, .. } => Some(requests[0]),
            Decision::Reject { .. } => None,
        })
        .collect();
    assert_eq!(sent, [waiting, last]);
    assert_eq!(driver.take_troubles(), [Trouble::PolicyGone(gone())]);
}

/// 150 requests wait, one batch runs, and the pages of all that are to be handed over.
fn crowded() -> (Driver, Vec<RequestId>, u64) {
    let mut driver = driver(|_| ());
    driver.worker_changed(0, worker(7, 1, 1));
    let ids: Vec<_> = (0..151)
        .map(|_| driver.arrive(1, arrival()).unwrap())
        .collect();
    let decisions = driver.take_decisions();
    let [Decision::Dispatch { batch, .. }] = decisions[..] else {
        panic!("{decisions:?}");
    };
    (driver, ids, batch)
}

#[test]
fn while_pages_are_handed_over_the_fallback_rules_and_events_are_kept_in_order() {
    let (mut driver, ids, batch) = crowded();
    let script = Script::default();
    driver.swap(2, Box::new(script.clone()));
    assert_eq!(script.0.lock().pages.len(), 1);
    assert_eq!(driver.wake_at(), Some(2), "the next page is due at once");

    // The fallback sends the next one when the first has ended.
    driver.batch_finished(3, batch, None);
    let decisions = driver.take_decisions();
    let [Decision::Dispatch { batch: second, .. }] = decisions[..] else {
        panic!("{decisions:?}");
    };
    driver.cancel(4, ids[5]);
    let late = driver.arrive(5, arrival()).unwrap();
    assert!(script.told().is_empty());

    driver.tick(6);
    assert!(driver.gauges().fallback);
    driver.tick(7);
    assert!(!driver.gauges().fallback);
    let pages = std::mem::take(&mut script.0.lock().pages);
    let lasts: Vec<_> = pages.iter().map(|page| page.last).collect();
    assert_eq!(lasts, [false, false, true]);
    assert!(pages.iter().all(|page| page.pending.len() <= PAGE));
    let pending = pages.iter().flat_map(|page| &page.pending);
    let pending: Vec<_> = pending.map(|one| one.id).collect();
    assert_eq!(pending, ids[1..]);
    assert_eq!(pages[0].in_flight[0].members[0].id, ids[0]);
    assert_eq!(pages[0].workers[0].busy, 1);

    let told = script.told();
    assert_eq!(told.len(), 1, "all in one step");
    let told: Vec<_> = told[0].iter().map(short).collect();
    let expected = [
        format!("finished {batch}"),
        format!("cancelled {}", ids[1]),
        "worker 7 busy 1".into(),
        format!("cancelled {}", ids[5]),
        format!("arrived {late}"),
        "timer".into(),
    ];
    assert_eq!(told, expected);

    // Older batches end as usual.
    driver.batch_finished(8, second, None);
    assert_eq!(short(&script.told()[0][0]), format!("finished {second}"));
}

fn short(event: &Event) -> String {
    match event {
        Event::Arrived(request) => format!("arrived {}", request.id),
        Event::Cancelled(id) => format!("cancelled {id}"),
        Event::BatchFinished { id, .. } => format!("finished {id}"),
        Event::WorkerChanged(worker) => format!("worker {} busy {}", worker.id, worker.busy),
        Event::Timer => "timer".into(),
        other => format!("{other:?}"),
    }
}

#[test]
fn a_policy_that_goes_while_it_is_restored_never_rules() {
    let (mut driver, ..) = crowded();
    let script = Script::default();
    script.0.lock().restore_fails_at = Some(1);
    driver.swap(2, Box::new(script.clone()));
    driver.tick(3);
    assert!(driver.gauges().fallback);
    assert_eq!(driver.take_troubles(), [Trouble::PolicyGone(gone())]);
    driver.tick(4);
    assert_eq!(script.0.lock().pages.len(), 2);
    assert_ne!(driver.wake_at(), Some(4));
}

#[test]
fn too_many_kept_events_end_the_waiting() {
    let (mut driver, ids, _) = crowded();
    let script = Script::default();
    driver.swap(2, Box::new(script.clone()));
    assert!(driver.gauges().fallback);
    // The default keeps 4096; a changed worker is one event.
    for _ in 0..4_097 {
        driver.worker_changed(3, worker(7, 1, 1));
    }
    assert!(!driver.gauges().fallback);
    assert_eq!(script.0.lock().pages.len(), 3);
    assert_eq!(script.told()[0].len(), 4_098);
    assert_eq!(driver.gauges().pending, ids.len() - 1);
}
