//! The fallback's own promises: order, load, merging, avoidance.

use std::sync::Arc;

use tollgate_dispatch::Fallback;
use tollgate_dispatch::policy::{
    Action, Affinity, Event, Page, Policy, RejectReason, Request, RequestId, Worker, WorkerId,
};

fn worker(id: WorkerId, slots: u32, busy: u32, max_batch: u32) -> Worker {
    Worker {
        id,
        accepting: true,
        models: Arc::from([1]),
        slots,
        busy,
        max_batch,
        identity: u64::from(id),
        queued: None,
        running: None,
        kv_cache_use: None,
    }
}

fn request(id: RequestId) -> Request {
    Request {
        id,
        model: 1,
        tenant: 0,
        batch_key: 0,
        eligible: Arc::from([]),
        priority: 0,
        input_cost: 0,
        output_cost: 0,
        arrived: 0,
        deadline: None,
        affinity: Affinity::None,
        attempts: 0,
        avoid: Vec::new(),
    }
}

fn keyed(id: RequestId, batch_key: u32) -> Request {
    Request {
        batch_key,
        ..request(id)
    }
}

fn sends(workers: Vec<Worker>, pending: Vec<Request>) -> Vec<(WorkerId, Vec<RequestId>)> {
    let mut policy = Fallback::new();
    let page = Page {
        workers,
        pending,
        last: true,
        ..Page::default()
    };
    policy.restore(0, page).unwrap();
    dispatches(policy.step(10, vec![Event::Timer]).unwrap())
}

fn dispatches(actions: Vec<Action>) -> Vec<(WorkerId, Vec<RequestId>)> {
    let sent = actions.into_iter().map(|action| match action {
        Action::Dispatch { worker, requests } => (worker, requests),
        other => panic!("{other:?}"),
    });
    sent.collect()
}

#[test]
fn higher_priority_then_age() {
    let urgent = Request {
        priority: 1,
        ..request(3)
    };
    let sent = sends(
        vec![worker(1, 9, 0, 1)],
        vec![request(2), request(1), urgent],
    );
    assert_eq!(sent, [(1, vec![3]), (1, vec![1]), (1, vec![2])]);
}

#[test]
fn least_loaded_by_share_of_slots_then_the_lower_number() {
    let workers = vec![
        worker(1, 4, 2, 1),
        worker(2, 10, 3, 1),
        worker(3, 2, 0, 1),
        worker(4, 3, 0, 1),
    ];
    let sent = sends(workers, (1..=4).map(request).collect());
    let to: Vec<_> = sent.iter().map(|(worker, _)| *worker).collect();
    // Shares: 2/4, 3/10, 0/2, 0/3; then 3 has 1/2 and 4 has 1/3.
    assert_eq!(to, [3, 4, 2, 4]);
}

#[test]
fn equal_keys_ride_along_in_order_up_to_the_workers_most() {
    let pending = vec![
        keyed(1, 5),
        keyed(2, 6),
        keyed(3, 5),
        request(4),
        keyed(5, 5),
        keyed(6, 5),
    ];
    let sent = sends(vec![worker(1, 9, 0, 3)], pending.clone());
    assert_eq!(
        sent,
        [(1, vec![1, 3, 5]), (1, vec![2]), (1, vec![4]), (1, vec![6])]
    );
    let alone = sends(vec![worker(1, 9, 0, 1)], pending);
    assert!(alone.iter().all(|(_, requests)| requests.len() == 1));
}

#[test]
fn a_request_that_cannot_go_does_not_hold_up_one_that_can() {
    let picky = Request {
        eligible: Arc::from([9]),
        ..request(1)
    };
    let other_model = Request {
        model: 2,
        ..request(2)
    };
    let any_model = Request {
        model: 0,
        ..request(3)
    };
    let workers = vec![worker(1, 2, 0, 1), worker(9, 1, 1, 1)];
    let sent = sends(workers, vec![picky, other_model, any_model, request(4)]);
    assert_eq!(sent, [(1, vec![3]), (1, vec![4])]);
}

#[test]
fn where_it_failed_is_the_last_resort() {
    let burnt = || Request {
        attempts: 1,
        avoid: vec![1],
        ..request(1)
    };
    let other = sends(vec![worker(1, 1, 0, 1), worker(2, 9, 8, 1)], vec![burnt()]);
    assert_eq!(other, [(2, vec![1])]);
    // One that is only busy is waited for.
    assert_eq!(
        sends(vec![worker(1, 1, 0, 1), worker(2, 1, 1, 1)], vec![burnt()]),
        []
    );
    let closed = Worker {
        accepting: false,
        ..worker(2, 9, 0, 1)
    };
    assert_eq!(
        sends(vec![worker(1, 1, 0, 1), closed], vec![burnt()]),
        [(1, vec![1])]
    );
}

#[test]
fn too_late_is_told_and_takes_no_slot() {
    let mut policy = Fallback::new();
    let late = Request {
        deadline: Some(10),
        ..request(1)
    };
    let events = vec![
        Event::WorkerChanged(worker(1, 1, 0, 1)),
        Event::Arrived(late),
        Event::Arrived(request(2)),
    ];
    let actions = policy.step(10, events).unwrap();
    let expected = [
        Action::Reject {
            id: 1,
            reason: RejectReason::TooLate,
        },
        Action::Dispatch {
            worker: 1,
            requests: vec![2],
        },
    ];
    assert_eq!(actions, expected);
}

#[test]
fn a_pin_holds_while_its_worker_accepts_and_pins_are_spread() {
    let pinned = |id, pin| Request {
        affinity: Affinity::Pin(pin),
        ..request(id)
    };
    let place = |workers: Vec<Worker>, pin| {
        let sent = sends(workers, vec![pinned(1, pin)]);
        sent.first().map(|(worker, _)| *worker)
    };
    let all = || (1..=4).map(|id| worker(id, 1, 0, 1)).collect::<Vec<_>>();
    let mut used = std::collections::BTreeSet::new();
    for pin in 0..64 {
        let home = place(all(), pin).unwrap();
        used.insert(home);
        let at = home as usize - 1;
        // It is waited for while it is busy.
        let mut busy = all();
        busy[at].busy = 1;
        assert_eq!(place(busy, pin), None);
        // Only the pins of a worker that has gone move.
        for gone in 0..4 {
            let mut fewer = all();
            fewer[gone].accepting = false;
            let next = place(fewer, pin).unwrap();
            assert_eq!(next == home, gone != at);
        }
    }
    assert_eq!(used.len(), 4);
}
