//! The policy, told what the proxy would tell it.

use tollgate_example_turns::{InTurn, Options, Plugin};
use tollgate_sdk_scheduler::{
    Policy, Scheduler,
    scheduling::{
        Action, Affinity, BatchFinished, Dispatch, Event, Page, Refused, Reject, RejectReason,
        Request, Worker,
    },
};

fn worker(id: u32, slots: u32) -> Worker {
    Worker {
        id,
        accepting: true,
        models: vec![7],
        slots,
        busy: 0,
        max_batch: 1,
        identity: u64::from(id),
        queued: None,
        running: None,
        kv_cache_use: None,
    }
}

fn request(id: u64) -> Request {
    Request {
        id,
        model: 7,
        tenant: 0,
        batch_key: 0,
        eligible: Vec::new(),
        priority: 0,
        input_cost: 1,
        output_cost: 1,
        arrived: 0,
        deadline: None,
        affinity: Affinity::None,
        attempts: 0,
        avoid: Vec::new(),
    }
}

fn to(worker: u32, id: u64) -> Action {
    Action::Dispatch(Dispatch {
        worker,
        requests: vec![id],
    })
}

fn finished(worker: u32, id: u64) -> Event {
    Event::BatchFinished(BatchFinished {
        id: 1,
        worker,
        requests: vec![id],
        dispatched: 0,
        first_output: None,
        ended: 2,
    })
}

fn policy() -> InTurn {
    InTurn::new(Options { max_pending: 2 })
}

#[test]
fn the_first_goes_first_and_to_the_least_busy() {
    let mut policy = policy();
    let events = vec![
        Event::WorkerChanged(worker(1, 2)),
        Event::WorkerChanged(worker(2, 1)),
        Event::Arrived(request(10)),
        Event::Arrived(request(11)),
    ];
    assert_eq!(policy.step(0, events), [to(1, 10), to(2, 11)]);
    let events = vec![Event::Arrived(request(12)), Event::Arrived(request(13))];
    assert_eq!(policy.step(1, events), [to(1, 12)]);
    assert_eq!(policy.step(2, vec![finished(2, 11)]), [to(2, 13)]);
}

#[test]
fn what_was_sent_in_vain_waits_again() {
    let mut policy = policy();
    let events = vec![
        Event::WorkerChanged(worker(1, 1)),
        Event::Arrived(request(10)),
    ];
    assert_eq!(policy.step(0, events), [to(1, 10)]);
    let refused = |id| {
        Event::Refused(Refused {
            requests: vec![id],
            worker: Some(1),
            reason: "in vain".to_owned(),
        })
    };
    // The worker had no room: it has when something of it is over.
    assert_eq!(policy.step(1, vec![refused(10)]), []);
    assert_eq!(policy.step(2, vec![finished(1, 9)]), [to(1, 10)]);
    // The request had gone: its slot is the next one's.
    let events = vec![
        Event::Cancelled(10),
        refused(10),
        Event::Arrived(request(11)),
    ];
    assert_eq!(policy.step(3, events), [to(1, 11)]);
}

#[test]
fn one_too_many_is_turned_away_and_one_that_is_late_too() {
    let mut policy = policy();
    let mut hurried = request(10);
    hurried.deadline = Some(5);
    let events = [hurried, request(11), request(12)].map(Event::Arrived);
    let turned = |id, reason| Action::Reject(Reject { id, reason });
    assert_eq!(
        policy.step(0, events.into()),
        [turned(12, RejectReason::Overloaded), Action::WakeAt(5)]
    );
    assert_eq!(
        policy.step(5, vec![Event::Timer]),
        [turned(10, RejectReason::TooLate)]
    );
}

#[test]
fn who_may_not_serve_it_is_not_asked() {
    let mut policy = policy();
    let mut other = request(10);
    other.model = 8;
    let mut elsewhere = request(11);
    elsewhere.avoid = vec![1];
    let page = Page {
        workers: vec![worker(1, 4)],
        pending: vec![other, elsewhere],
        in_flight: Vec::new(),
        last: true,
    };
    policy.restore(0, page);
    assert_eq!(policy.step(0, vec![Event::Timer]), []);
    assert_eq!(policy.step(0, vec![Event::Cancelled(10)]), []);
    assert_eq!(
        policy.step(0, vec![Event::WorkerChanged(worker(2, 1))]),
        [to(2, 11)]
    );
}

#[test]
fn options_are_checked() {
    assert!(Plugin::configure("").is_ok());
    for bad in ["3", r#"{"max-pending": 0}"#, r#"{"colour": 1}"#] {
        assert!(Plugin::configure(bad).is_err(), "{bad}");
    }
}
