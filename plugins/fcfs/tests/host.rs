//! The policy against a small host that keeps the truth, in random histories.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use tollgate_plugin_fcfs::Fcfs;
use tollgate_sdk_scheduler::Policy;
use tollgate_sdk_scheduler::scheduling::{
    Action, Affinity, AttemptFailed, BatchFinished, Event, Page, Refused, RejectReason, Request,
    Worker,
};

fn request(id: u64, model: u32) -> Request {
    Request {
        id,
        model,
        tenant: 0,
        batch_key: 0,
        eligible: Vec::new(),
        priority: 0,
        input_cost: 1,
        output_cost: 1,
        arrived: id,
        deadline: None,
        affinity: Affinity::None,
        attempts: 0,
        avoid: Vec::new(),
    }
}

fn worker(id: u32, models: &[u32], slots: u32, max_batch: u32) -> Worker {
    Worker {
        id,
        accepting: true,
        models: models.to_vec(),
        slots,
        busy: 0,
        max_batch,
        identity: u64::from(id),
        queued: None,
        running: None,
        kv_cache_use: None,
    }
}

fn finished(worker: u32) -> Event {
    Event::BatchFinished(BatchFinished {
        id: 0,
        worker,
        requests: Vec::new(),
        dispatched: 0,
        first_output: None,
        ended: 0,
    })
}

fn dispatches(actions: &[Action]) -> Vec<(u32, Vec<u64>)> {
    actions
        .iter()
        .filter_map(|action| match action {
            Action::Dispatch(dispatch) => Some((dispatch.worker, dispatch.requests.clone())),
            _ => None,
        })
        .collect()
}

fn arrivals(requests: impl IntoIterator<Item = Request>) -> Vec<Event> {
    requests.into_iter().map(Event::Arrived).collect()
}

#[test]
fn goes_to_the_least_loaded_relative_to_slots_and_ties_to_the_lowest_number() {
    let mut policy = Fcfs::new(100);
    policy.step(
        0,
        vec![
            Event::WorkerChanged(Worker {
                busy: 3,
                ..worker(1, &[0], 4, 1)
            }),
            Event::WorkerChanged(Worker {
                busy: 1,
                ..worker(2, &[0], 2, 1)
            }),
            Event::WorkerChanged(Worker {
                busy: 2,
                ..worker(3, &[0], 4, 1)
            }),
        ],
    );
    let actions = policy.step(1, arrivals((0..4).map(|id| request(id, 0))));
    // 2 and 3 are half full: the lower number; then 3 (2/4), then 1 and 3 (3/4): 1.
    assert_eq!(
        dispatches(&actions),
        [(2, vec![0]), (3, vec![1]), (1, vec![2]), (3, vec![3])]
    );
}

#[test]
fn equal_batch_keys_go_together_up_to_the_largest_batch() {
    let mut policy = Fcfs::new(100);
    policy.step(0, vec![Event::WorkerChanged(worker(1, &[0, 1], 9, 3))]);
    let keys = [5, 0, 5, 6, 5, 5, 0];
    let mut requests: Vec<Request> = (0..7).map(|id| request(id, 0)).collect();
    for (request, key) in requests.iter_mut().zip(keys) {
        request.batch_key = key;
    }
    requests.push(Request {
        batch_key: 6,
        ..request(7, 1)
    });
    let actions = policy.step(1, arrivals(requests));
    let expected: [(u32, Vec<u64>); 6] = [
        (1, vec![0, 2, 4]),
        (1, vec![1]),
        (1, vec![3]),
        (1, vec![5]),
        (1, vec![6]),
        (1, vec![7]),
    ];
    assert_eq!(dispatches(&actions), expected);
}

#[test]
fn higher_priority_goes_first_then_first_come() {
    let mut policy = Fcfs::new(100);
    let requests = [0, 0, 1, -1]
        .into_iter()
        .enumerate()
        .map(|(id, priority)| Request {
            priority,
            ..request(id as u64, 0)
        });
    policy.step(0, arrivals(requests));
    let actions = policy.step(1, vec![Event::WorkerChanged(worker(1, &[0], 4, 1))]);
    let order: Vec<u64> = dispatches(&actions)
        .into_iter()
        .flat_map(|(_, ids)| ids)
        .collect();
    assert_eq!(order, [2, 0, 1, 3]);
}

#[test]
fn a_worker_that_failed_is_avoided_unless_there_is_no_other() {
    let mut policy = Fcfs::new(100);
    policy.step(
        0,
        vec![
            Event::WorkerChanged(worker(1, &[0], 1, 1)),
            Event::WorkerChanged(Worker {
                busy: 1,
                ..worker(2, &[0], 1, 1)
            }),
        ],
    );
    let failed = Request {
        avoid: vec![1],
        attempts: 1,
        ..request(7, 0)
    };
    let again = Event::AttemptFailed(AttemptFailed {
        request: failed,
        worker: 1,
    });
    assert!(
        dispatches(&policy.step(1, vec![again])).is_empty(),
        "it waits for the other one"
    );
    let actions = policy.step(2, vec![Event::WorkerGone(2)]);
    assert_eq!(dispatches(&actions), [(1, vec![7])]);
}

#[test]
fn a_deadline_wakes_the_policy_and_the_request_is_turned_away() {
    let mut policy = Fcfs::new(100);
    let actions = policy.step(
        0,
        arrivals([Request {
            deadline: Some(50),
            ..request(1, 0)
        }]),
    );
    assert_eq!(actions, [Action::WakeAt(50)]);
    assert!(policy.step(49, Vec::new()).is_empty());
    let actions = policy.step(50, vec![Event::Timer]);
    let [Action::Reject(reject)] = actions.as_slice() else {
        panic!("{actions:?}")
    };
    assert_eq!((reject.id, &reject.reason), (1, &RejectReason::TooLate));
}

#[test]
fn sequences_stay_together_even_when_another_worker_is_free() {
    let mut policy = Fcfs::new(100);
    policy.step(
        0,
        (1..4)
            .map(|id| Event::WorkerChanged(worker(id, &[0], 1, 1)))
            .collect(),
    );
    let step = |policy: &mut Fcfs, id: u64, mut events: Vec<Event>| {
        let affinity = Affinity::Pin(1234);
        events.push(Event::Arrived(Request {
            affinity,
            ..request(id, 0)
        }));
        dispatches(&policy.step(id, events))
    };
    let first = step(&mut policy, 1, Vec::new());
    let home = first[0].0;
    assert!(
        step(&mut policy, 2, Vec::new()).is_empty(),
        "its worker is busy: it waits"
    );
    assert_eq!(
        dispatches(&policy.step(3, vec![finished(home)])),
        [(home, vec![2])]
    );
    let joined = Event::WorkerChanged(worker(9, &[0], 1, 1));
    assert_eq!(
        step(&mut policy, 4, vec![finished(home), joined]),
        [(home, vec![4])]
    );
    let moved = step(&mut policy, 5, vec![Event::WorkerGone(home)]);
    assert_ne!(moved[0].0, home);
}

#[test]
fn the_queue_is_bounded() {
    let mut policy = Fcfs::new(3);
    let actions = policy.step(0, arrivals((0..5).map(|id| request(id, 0))));
    let turned_away: Vec<u64> = actions
        .iter()
        .map(|action| match action {
            Action::Reject(reject) if reject.reason == RejectReason::Overloaded => reject.id,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(turned_away, [3, 4]);
}

#[test]
fn a_refused_dispatch_is_tried_again_after_a_rest_and_given_up_in_the_end() {
    let mut policy = Fcfs::new(100);
    policy.step(0, vec![Event::WorkerChanged(worker(1, &[0], 1, 1))]);
    let mut now = 1;
    let mut actions = policy.step(now, arrivals([request(5, 0)]));
    for _ in 0..7 {
        assert_eq!(dispatches(&actions), [(1, vec![5])]);
        let no = Refused {
            requests: vec![5],
            worker: Some(1),
            reason: "no".into(),
        };
        let actions_now = policy.step(now, vec![Event::Refused(no)]);
        let [Action::WakeAt(at)] = actions_now.as_slice() else {
            panic!("{actions_now:?}")
        };
        assert!(*at > now);
        now = *at;
        actions = policy.step(now, vec![Event::Timer]);
    }
    let no = Refused {
        requests: vec![5],
        worker: Some(1),
        reason: "no".into(),
    };
    let actions = policy.step(now, vec![Event::Refused(no)]);
    assert!(matches!(actions.as_slice(), [Action::Reject(reject)] if reject.id == 5));
}

#[test]
fn a_refusal_that_a_cancellation_explains_does_not_rest_the_worker() {
    let mut policy = Fcfs::new(100);
    policy.step(0, vec![Event::WorkerChanged(worker(1, &[0], 1, 4))]);
    let both = (1..3).map(|id| Request {
        batch_key: 3,
        ..request(id, 0)
    });
    assert_eq!(
        dispatches(&policy.step(1, arrivals(both))),
        [(1, vec![1, 2])]
    );
    let no = Refused {
        requests: vec![1, 2],
        worker: Some(1),
        reason: "gone".into(),
    };
    let actions = policy.step(2, vec![Event::Cancelled(1), Event::Refused(no)]);
    assert_eq!(dispatches(&actions), [(1, vec![2])]);
}

/// What the host knows.
#[derive(Default)]
struct Host {
    now: u64,
    next: u64,
    pending: BTreeMap<u64, Request>,
    workers: BTreeMap<u32, Worker>,
    in_flight: Vec<(u32, Vec<Request>)>,
    ended: BTreeSet<u64>,
}

#[derive(Clone, Debug)]
enum Move {
    Arrive {
        model: u32,
        key: u32,
        eligible: Vec<u32>,
        patience: Option<u64>,
        priority: i32,
    },
    Cancel(usize),
    Finish(usize),
    Fail(usize),
    Change {
        id: u32,
        models: Vec<u32>,
        slots: u32,
        max_batch: u32,
        accepting: bool,
    },
    Gone(u32),
    Pass(u64),
    Swap,
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        8 => (0..3u32, 0..3u32, prop::collection::vec(0..4u32, 0..3), prop::option::of(1..40u64), -1..2i32)
            .prop_map(|(model, key, eligible, patience, priority)| Move::Arrive {
                model, key, eligible, patience, priority
            }),
        1 => any::<usize>().prop_map(Move::Cancel),
        4 => any::<usize>().prop_map(Move::Finish),
        1 => any::<usize>().prop_map(Move::Fail),
        3 => (0..4u32, prop::collection::vec(0..3u32, 1..4), 0..3u32, 0..4u32, prop::bool::weighted(0.8))
            .prop_map(|(id, models, slots, max_batch, accepting)| Move::Change {
                id, models, slots, max_batch, accepting
            }),
        1 => (0..4u32).prop_map(Move::Gone),
        2 => (1..20u64).prop_map(Move::Pass),
        1 => Just(Move::Swap),
    ];
    prop::collection::vec(one, 1..120)
}

impl Host {
    fn serves(&self, worker: &Worker, request: &Request) -> bool {
        worker.accepting
            && (request.model == 0 || worker.models.contains(&request.model))
            && (request.eligible.is_empty() || request.eligible.contains(&worker.id))
    }

    /// Workers that the request may go to, free or not, by the rule of avoidance.
    fn candidates(&self, request: &Request) -> Vec<&Worker> {
        let all: Vec<&Worker> = self
            .workers
            .values()
            .filter(|worker| self.serves(worker, request))
            .collect();
        let fresh: Vec<&Worker> = all
            .iter()
            .copied()
            .filter(|worker| !request.avoid.contains(&worker.id))
            .collect();
        if fresh.is_empty() { all } else { fresh }
    }

    fn play(&mut self, step: Move) -> Vec<Event> {
        match step {
            Move::Arrive {
                model,
                key,
                eligible,
                patience,
                priority,
            } => {
                self.next += 1;
                let request = Request {
                    batch_key: key,
                    eligible,
                    deadline: patience.map(|patience| self.now + patience),
                    priority,
                    arrived: self.now,
                    ..request(self.next, model)
                };
                self.pending.insert(request.id, request.clone());
                vec![Event::Arrived(request)]
            }
            Move::Cancel(at) => {
                let Some(&id) = self.pending.keys().nth(at % self.pending.len().max(1)) else {
                    return Vec::new();
                };
                self.pending.remove(&id);
                self.ended.insert(id);
                vec![Event::Cancelled(id)]
            }
            Move::Finish(at) | Move::Fail(at) if self.in_flight.is_empty() => {
                let _ = at;
                Vec::new()
            }
            Move::Finish(at) => {
                let (id, requests) = self.in_flight.remove(at % self.in_flight.len());
                self.ended.extend(requests.iter().map(|request| request.id));
                self.leave(id)
            }
            Move::Fail(at) => {
                let (id, requests) = self.in_flight.remove(at % self.in_flight.len());
                let mut events = self.leave(id);
                for mut request in requests {
                    request.attempts += 1;
                    request.avoid.push(id);
                    self.pending.insert(request.id, request.clone());
                    events.push(Event::AttemptFailed(AttemptFailed {
                        request,
                        worker: id,
                    }));
                }
                events
            }
            Move::Change {
                id,
                models,
                slots,
                max_batch,
                accepting,
            } => {
                let busy = self
                    .in_flight
                    .iter()
                    .filter(|(worker, _)| *worker == id)
                    .count();
                let worker = Worker {
                    accepting,
                    busy: busy as u32,
                    ..worker(id, &models, slots, max_batch)
                };
                self.workers.insert(id, worker.clone());
                vec![Event::WorkerChanged(worker)]
            }
            Move::Gone(id) => {
                self.workers.remove(&id);
                vec![Event::WorkerGone(id)]
            }
            Move::Pass(time) => {
                self.now += time;
                vec![Event::Timer]
            }
            Move::Swap => Vec::new(),
        }
    }

    fn leave(&mut self, id: u32) -> Vec<Event> {
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.busy = worker.busy.saturating_sub(1);
        }
        vec![finished(id)]
    }

    /// Carries the actions out; every one of them must fit, for the policy was told all.
    fn carry_out(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Dispatch(dispatch) => {
                    let requests: Vec<Request> = dispatch
                        .requests
                        .iter()
                        .map(|id| self.pending.remove(id).expect("pending, and not twice"))
                        .collect();
                    let first = &requests[0];
                    assert!(requests.len() == 1 || first.batch_key != 0);
                    for request in &requests {
                        assert_eq!(
                            (request.batch_key, request.model),
                            (first.batch_key, first.model)
                        );
                        let allowed = self.candidates(request);
                        assert!(allowed.iter().any(|worker| worker.id == dispatch.worker));
                        assert!(request.deadline.is_none_or(|deadline| deadline > self.now));
                    }
                    let worker = self.workers.get_mut(&dispatch.worker).expect("alive");
                    assert!(worker.busy < worker.slots);
                    assert!(requests.len() <= worker.max_batch.max(1) as usize);
                    worker.busy += 1;
                    self.in_flight.push((dispatch.worker, requests));
                }
                Action::Reject(reject) => {
                    assert_eq!(reject.reason, RejectReason::TooLate);
                    let request = self.pending.remove(&reject.id).expect("pending");
                    assert!(request.deadline.expect("has one") <= self.now);
                    self.ended.insert(reject.id);
                }
                Action::WakeAt(at) => assert!(at > self.now),
                Action::Other(other) => panic!("{other:?}"),
            }
        }
    }

    fn nobody_waits_beside_a_free_worker(&self) {
        for request in self.pending.values() {
            assert!(request.deadline.is_none_or(|deadline| deadline > self.now));
            for worker in self.candidates(request) {
                assert!(worker.busy >= worker.slots, "{request:?} beside {worker:?}");
            }
        }
    }

    /// A new policy, told the truth in small pages.
    fn successor(&self) -> Fcfs {
        let mut policy = Fcfs::new(1_000);
        let pending: Vec<Request> = self.pending.values().cloned().collect();
        for page in pending.chunks(5) {
            let pending = page.to_vec();
            let page = Page {
                workers: Vec::new(),
                pending,
                in_flight: Vec::new(),
                last: false,
            };
            policy.restore(self.now, page);
        }
        let workers = self.workers.values().cloned().collect();
        let last = Page {
            workers,
            pending: Vec::new(),
            in_flight: Vec::new(),
            last: true,
        };
        policy.restore(self.now, last);
        policy
    }
}

proptest! {
    #[test]
    fn none_lost_none_twice_none_misplaced_none_idle(moves in moves()) {
        let mut host = Host::default();
        let mut policy = Fcfs::new(1_000);
        for step in moves {
            if matches!(step, Move::Swap) {
                policy = host.successor();
            }
            let events = host.play(step);
            let actions = policy.step(host.now, events);
            host.carry_out(actions);
            host.nobody_waits_beside_a_free_worker();
            let running: usize = host.in_flight.iter().map(|(_, requests)| requests.len()).sum();
            prop_assert_eq!(host.next as usize, host.pending.len() + running + host.ended.len());
        }
    }

    /// Whatever the host refuses, a request that is still there goes in the end, or is
    /// turned away in so many words.
    #[test]
    fn refusals_lose_nobody(refusals in prop::collection::vec(any::<bool>(), 0..60)) {
        let mut policy = Fcfs::new(100);
        let mut refusals = refusals.into_iter();
        let mut events = vec![Event::WorkerChanged(worker(1, &[0], 2, 3))];
        events.extend(arrivals((0..12).map(|id| Request { batch_key: 1, ..request(id, 0) })));
        let mut settled = BTreeSet::new();
        let mut now = 0;
        for _ in 0..1_000 {
            let actions = policy.step(now, std::mem::take(&mut events));
            for action in actions {
                match action {
                    Action::Dispatch(dispatch) => {
                        if refusals.next().unwrap_or(false) {
                            events.push(Event::Refused(Refused {
                                requests: dispatch.requests,
                                worker: Some(dispatch.worker),
                                reason: "as it pleases".into(),
                            }));
                        } else {
                            for id in dispatch.requests {
                                prop_assert!(settled.insert(id));
                            }
                            events.push(finished(dispatch.worker));
                        }
                    }
                    Action::Reject(reject) => prop_assert!(settled.insert(reject.id)),
                    Action::WakeAt(at) => {
                        prop_assert!(at > now);
                        if events.is_empty() {
                            now = at;
                        }
                        events.push(Event::Timer);
                    }
                    Action::Other(_) => {}
                }
            }
            now += 1;
        }
        prop_assert_eq!(settled.len(), 12);
    }

    #[test]
    fn alike_requests_go_in_the_order_in_which_they_came(
        slots in 1..4u32, max_batch in 1..4u32, key in 0..2u32, count in 1..40u64,
    ) {
        let mut policy = Fcfs::new(100);
        let mut events = vec![Event::WorkerChanged(worker(1, &[0], slots, max_batch))];
        events.extend(arrivals((0..count).map(|id| Request { batch_key: key, ..request(id, 0) })));
        let mut order = Vec::new();
        for now in 0..100 {
            let gone = dispatches(&policy.step(now, std::mem::take(&mut events)));
            events.extend(gone.iter().map(|(id, _)| finished(*id)));
            order.extend(gone.into_iter().flat_map(|(_, ids)| ids));
        }
        prop_assert_eq!(order, (0..count).collect::<Vec<_>>());
    }
}
