//! The policies step by step, where a figure of a whole run would not show what they do: which
//! worker makes a deadline, who is turned away and who is not, what is known after a swap.

use tollgate_plugin_dynamic_batch::{DynamicBatch, Options as BatchOptions};
use tollgate_plugin_least_loaded::{LeastLoaded, Options as LoadOptions};
use tollgate_sdk_scheduler::Policy;
use tollgate_sdk_scheduler::scheduling::{
    Action, Affinity, Batch, BatchFinished, Event, Member, Page, Reject, RejectReason, Request,
    Worker,
};

const MS: u64 = 1_000;

fn worker(id: u32, slots: u32, max_batch: u32) -> Worker {
    Worker {
        id,
        accepting: true,
        models: vec![1, 2],
        slots,
        busy: 0,
        max_batch,
        identity: u64::from(id),
        queued: None,
        running: None,
        kv_cache_use: None,
    }
}

fn request(id: u64, now: u64, deadline: Option<u64>) -> Request {
    Request {
        id,
        model: 1,
        tenant: 1,
        batch_key: 1,
        eligible: Vec::new(),
        priority: 0,
        input_cost: 1,
        output_cost: 1,
        arrived: now,
        deadline: deadline.map(|after| now + after),
        affinity: Affinity::None,
        attempts: 0,
        avoid: Vec::new(),
    }
}

/// What a step has led to.
#[derive(Debug, Default, PartialEq)]
struct Came {
    sent: Vec<(u32, Vec<u64>)>,
    late: Vec<u64>,
}

/// A policy, and the time.
struct Scene<P> {
    policy: P,
    now: u64,
    next: u64,
}

impl<P: Policy> Scene<P> {
    fn new(policy: P, workers: &[Worker]) -> Self {
        let mut scene = Self {
            policy,
            now: 0,
            next: 0,
        };
        let workers = workers.iter().cloned().map(Event::WorkerChanged);
        scene.step(workers.collect());
        scene
    }

    fn step(&mut self, events: Vec<Event>) -> Came {
        let mut came = Came::default();
        for action in self.policy.step(self.now, events) {
            match action {
                Action::Dispatch(it) => came.sent.push((it.worker, it.requests)),
                Action::Reject(Reject { id, reason }) => {
                    assert_eq!(reason, RejectReason::TooLate);
                    came.late.push(id);
                }
                _ => {}
            }
        }
        came
    }

    /// One comes, after a change to it.
    fn come(&mut self, deadline: Option<u64>, change: impl FnOnce(&mut Request)) -> (u64, Came) {
        self.next += 1;
        let mut request = request(self.next, self.now, deadline);
        change(&mut request);
        (self.next, self.step(vec![Event::Arrived(request)]))
    }

    /// A batch that was sent so long ago has ended.
    fn end(&mut self, worker: u32, requests: &[u64], took: u64, learned: bool) -> Came {
        let event = Event::BatchFinished(BatchFinished {
            id: 1,
            worker,
            requests: requests.to_vec(),
            dispatched: self.now - took,
            first_output: learned.then_some(self.now),
            ended: self.now,
        });
        self.step(vec![event])
    }

    /// Batches of these sizes take so long at this worker.
    fn teach(&mut self, worker: u32, takes: impl Fn(u64) -> u64, sizes: &[u64]) {
        for size in sizes {
            // The first one goes alone, and the others together after it.
            let (first, came) = self.come(None, |it| it.eligible = vec![worker]);
            assert_eq!(came.sent, [(worker, vec![first])]);
            let (from, _) = self.come(None, |it| it.eligible = vec![worker]);
            for _ in 1..*size {
                self.come(None, |it| it.eligible = vec![worker]);
            }
            let came = self.end(worker, &[first], 0, false);
            let all: Vec<u64> = (from..from + size).collect();
            assert_eq!(came.sent, [(worker, all.clone())]);
            self.now += takes(*size);
            self.end(worker, &all, takes(*size), true);
        }
    }
}

/// One that takes 100 ms, and another that takes 5.
fn slow_and_fast() -> Scene<DynamicBatch> {
    let policy = DynamicBatch::new(BatchOptions::default());
    let mut scene = Scene::new(policy, &[worker(1, 1, 4), worker(2, 1, 4)]);
    for _ in 0..3 {
        scene.teach(1, |_| 100 * MS, &[1, 2]);
        scene.teach(2, |_| 5 * MS, &[1, 2]);
    }
    scene
}

#[test]
fn a_deadline_that_one_worker_cannot_make_goes_to_another_that_can() {
    let mut scene = slow_and_fast();
    let (id, came) = scene.come(Some(50 * MS), |_| ());
    assert_eq!(came.sent, [(2, vec![id])], "both are free");
    // The fast one is busy, and soon free: it is worth to wait for.
    let (next, came) = scene.come(Some(50 * MS), |_| ());
    assert_eq!(came, Came::default());
    // Who has time enough takes the slow one meanwhile.
    let (patient, came) = scene.come(Some(900 * MS), |_| ());
    assert_eq!(came.sent, [(1, vec![patient])]);
    scene.now += 5 * MS;
    assert_eq!(scene.end(2, &[id], 5 * MS, true).sent, [(2, vec![next])]);
}

#[test]
fn who_can_be_in_time_nowhere_is_told_so_at_once() {
    let mut scene = slow_and_fast();
    let (hopeless, came) = scene.come(Some(3 * MS), |_| ());
    assert_eq!(came.late, [hopeless], "no worker is that fast");
    let (id, _) = scene.come(Some(50 * MS), |_| ());
    // The fast one is free in 5 ms, and then takes 5 more.
    let (late, came) = scene.come(Some(7 * MS), |_| ());
    assert_eq!(came.late, [late]);
    let (bound, came) = scene.come(Some(50 * MS), |it| it.eligible = vec![1]);
    assert_eq!(came.late, [bound], "it may go to the slow one only");
    scene.now += 5 * MS;
    assert_eq!(scene.end(2, &[id], 5 * MS, true), Came::default());
}

#[test]
fn members_that_another_worker_does_in_time_are_left_to_it() {
    let mut scene = slow_and_fast();
    let (one, _) = scene.come(Some(50 * MS), |_| ());
    let (two, _) = scene.come(Some(900 * MS), |_| ());
    // Both are busy. Three wait: patient ones, and one of higher place that is not.
    let (patient, _) = scene.come(Some(800 * MS), |_| ());
    let (other, _) = scene.come(Some(700 * MS), |_| ());
    let (hasty, _) = scene.come(Some(40 * MS), |_| ());
    scene.now += MS;
    let came = scene.end(1, &[two], MS, false);
    assert_eq!(came.sent, [(1, vec![other, patient])]);
    assert!(came.late.is_empty());
    scene.now += 4 * MS;
    assert_eq!(scene.end(2, &[one], 5 * MS, true).sent, [(2, vec![hasty])]);
}

#[test]
fn a_worker_that_was_slow_is_tried_again() {
    let mut scene = slow_and_fast();
    let bound = |it: &mut Request| it.eligible = vec![1];
    assert_eq!(scene.come(Some(50 * MS), bound).1.late.len(), 1);
    scene.now += 31_000 * MS;
    let (id, came) = scene.come(Some(50 * MS), bound);
    assert_eq!(came.sent, [(1, vec![id])]);
    // It has become fast, and that is learned from what it does now.
    scene.now += 6 * MS;
    scene.end(1, &[id], 6 * MS, true);
    for _ in 0..4 {
        let (id, came) = scene.come(Some(50 * MS), bound);
        assert_eq!(came.sent, [(1, vec![id])]);
        scene.now += 6 * MS;
        scene.end(1, &[id], 6 * MS, true);
    }
    assert_eq!(scene.come(Some(4 * MS), bound).1.late.len(), 1);
}

#[test]
fn who_waits_for_other_workers_or_after_it_holds_nobody_up() {
    let policy = DynamicBatch::new(BatchOptions::default());
    let mut scene = Scene::new(policy, &[worker(1, 1, 4)]);
    for _ in 0..3 {
        scene.teach(1, |_| 10 * MS, &[1, 2]);
    }
    scene.come(None, |_| ());
    // It is busy. Many wait: of another model, and of less importance.
    for _ in 0..40 {
        scene.come(None, |it| it.model = 2);
        scene.come(None, |it| it.priority = -1);
    }
    let (_, came) = scene.come(Some(30 * MS), |_| ());
    assert!(came.late.is_empty());
    // As many of its own sort do.
    for _ in 0..40 {
        scene.come(None, |_| ());
    }
    let (id, came) = scene.come(Some(30 * MS), |_| ());
    assert_eq!(came.late, [id]);
    let (_, came) = scene.come(Some(30 * MS), |it| it.priority = 1);
    assert!(came.late.is_empty());
}

#[test]
fn early_drop_turns_away_no_more_than_it_must() {
    let policy = DynamicBatch::new(BatchOptions::default());
    let mut scene = Scene::new(policy, &[worker(1, 1, 4)]);
    for _ in 0..3 {
        scene.teach(1, |size| MS + 10 * MS * size, &[1, 2, 4]);
    }
    let (first, _) = scene.come(None, |_| ());
    let ids = [0; 5].map(|_| scene.come(Some(225 * MS), |_| ()).0);
    scene.now += 200 * MS;
    let came = scene.end(1, &[first], 200 * MS, false);
    // Four take 41 ms and have 25. One is more than a batch takes and is dropped; without it two
    // are in time, and two more wait for the next batch.
    assert_eq!(came.late, ids[..1]);
    assert_eq!(came.sent, [(1, ids[1..3].to_vec())]);
}

// === what is known after a swap ===

fn in_flight(id: u64, worker: u32, output: u32) -> Batch {
    Batch {
        id,
        worker,
        members: vec![Member {
            id,
            model: 1,
            tenant: 1,
            input_cost: 10,
            output_cost: output,
        }],
        size: 1,
        dispatched: 0,
    }
}

#[test]
fn what_is_under_way_counts_as_what_it_costs_after_a_swap() {
    for first in 100..130 {
        let mut policy = LeastLoaded::new(&LoadOptions::default());
        let busy = |id| Worker {
            busy: 1,
            ..worker(id, 8, 1)
        };
        policy.restore(
            0,
            Page {
                workers: vec![busy(1), busy(2)],
                pending: Vec::new(),
                in_flight: vec![in_flight(1, 1, 4000), in_flight(2, 2, 10)],
                last: true,
            },
        );
        let mut scene = Scene {
            policy,
            now: first,
            next: first,
        };
        let (id, came) = scene.come(None, |_| ());
        assert_eq!(came.sent, [(2, vec![id])]);
    }
}

#[test]
fn a_batch_that_another_policy_sent_teaches_too() {
    let mut policy = DynamicBatch::new(BatchOptions::default());
    let busy = Worker {
        busy: 4,
        ..worker(1, 4, 4)
    };
    let in_flight = (1..=4).map(|id| in_flight(id, 1, 1)).collect();
    policy.restore(
        0,
        Page {
            workers: vec![busy],
            pending: Vec::new(),
            in_flight,
            last: true,
        },
    );
    let mut scene = Scene {
        policy,
        now: 100 * MS,
        next: 10,
    };
    for id in 1..=4 {
        scene.end(1, &[id], 100 * MS, true);
    }
    let (id, came) = scene.come(Some(50 * MS), |_| ());
    assert_eq!(came.late, [id]);
}

// === affinity between proxies ===

/// Proxies that number the same eight workers in another order.
fn proxy(turned: u32) -> Scene<LeastLoaded> {
    let workers: Vec<Worker> = (0..8)
        .map(|at| Worker {
            identity: u64::from((at + turned) % 8) * 7919,
            ..worker(1 + at, 16, 1)
        })
        .collect();
    Scene::new(LeastLoaded::new(&LoadOptions::default()), &workers)
}

#[test]
fn proxies_send_what_begins_alike_to_the_same_worker() {
    let mut here = proxy(0);
    let mut there = proxy(3);
    let mut used = [0; 8];
    for key in 0..200_u64 {
        let blocks: Vec<u64> = (0..6).map(|at| key * 1000 + at).collect();
        let ask = |it: &mut Request| it.affinity = Affinity::Prefer(blocks);
        let (id, came) = here.come(None, ask.clone());
        let (other, elsewhere) = there.come(None, ask);
        let (one, two) = (came.sent[0].0, elsewhere.sent[0].0);
        let at = |worker: u32, turned: u32| (worker - 1 + turned) % 8;
        assert_eq!(at(one, 0), at(two, 3), "{key}");
        used[at(one, 0) as usize] += 1;
        here.end(one, &[id], 0, true);
        there.end(two, &[other], 0, true);
    }
    assert!(used.iter().all(|count| *count > 8), "{used:?}");
}

#[test]
fn what_begins_alike_further_than_a_few_blocks_belongs_together() {
    let mut scene = proxy(0);
    let mut ask = |blocks: &[u64]| {
        let blocks = blocks.to_vec();
        let (id, came) = scene.come(None, |it| it.affinity = Affinity::Prefer(blocks));
        let worker = came.sent[0].0;
        scene.end(worker, &[id], 0, true);
        worker
    };
    // A common beginning of two blocks holds nobody together, and one of four does.
    let apart: Vec<u32> = (10..50)
        .map(|key| ask(&[1, 2, key * 10, key * 10 + 1, key * 10 + 2]))
        .collect();
    assert!(apart.iter().any(|worker| *worker != apart[0]));
    let together: Vec<u32> = (0..40).map(|key| ask(&[1, 2, 3, 4, 900 + key])).collect();
    assert!(together.iter().all(|worker| *worker == together[0]));
}
