//! What a driver was told, played again from its recording, gives the same decisions: with every
//! bundled policy, with swaps, failures and policies that are lost on the way.

use std::sync::{Arc, Mutex};

use tollgate_dispatch::policy::{Policy, Worker};
use tollgate_dispatch::{Arrival, Decision, Driver, Journal, Limits, Note};
use tollgate_plugin_dynamic_batch::{DynamicBatch, Options as BatchOptions};
use tollgate_plugin_fcfs::Fcfs;
use tollgate_plugin_least_loaded::{LeastLoaded, Options as LoadOptions};
use tollgate_simulate::random::Random;
use tollgate_simulate::recording::{CUT, RecordingError, line, replay};
use tollgate_test_schedulers::Native;

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

impl Journal for Lines {
    fn note(&mut self, note: Note<'_>) {
        self.0.lock().unwrap().push(line(note));
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Fcfs,
    LeastLoaded,
    DynamicBatch,
}

fn policy(kind: Kind) -> Box<dyn Policy> {
    match kind {
        Kind::Fcfs => Native::boxed(Fcfs::new(1000)),
        Kind::LeastLoaded => Native::boxed(LeastLoaded::new(&LoadOptions::default())),
        Kind::DynamicBatch => Native::boxed(lingering()),
    }
}

fn lingering() -> DynamicBatch {
    DynamicBatch::new(BatchOptions {
        max_queue_delay_us: 500,
        ..BatchOptions::default()
    })
}

/// A policy of the kind that is lost after so many calls.
fn mortal(kind: Kind, left: u32) -> Box<dyn Policy> {
    match kind {
        Kind::Fcfs => Native::mortal(Fcfs::new(1000), left),
        Kind::LeastLoaded => Native::mortal(LeastLoaded::new(&LoadOptions::default()), left),
        Kind::DynamicBatch => Native::mortal(lingering(), left),
    }
}

fn worker(id: u32, random: &mut Random) -> Worker {
    Worker {
        id,
        accepting: random.below(5) > 0,
        models: Arc::from([1, 2]),
        slots: 2,
        busy: 0,
        max_batch: 4,
        identity: u64::from(id),
        queued: Some(random.below(4) as u32),
        running: None,
        kv_cache_use: None,
    }
}

/// A history of a driver, as a proxy would make one, and its recording.
fn recorded(kind: Kind, seed: u64) -> String {
    use tollgate_dispatch::policy::Affinity;
    let mut random = Random::new(seed, 0);
    let lines = Lines::default();
    let mut driver = Driver::new(Limits::default()).unwrap();
    driver.swap(3, policy(kind));
    driver.keep_journal(Box::new(lines.clone()));
    let mut now = 10;
    let mut running: Vec<(u64, Vec<u64>)> = Vec::new();
    for _ in 0..2000 {
        now += random.below(400);
        let pick = |random: &mut Random, many: usize| random.below(many.max(1) as u64) as usize;
        match random.below(40) {
            0..16 => {
                let affinity = match random.below(3) {
                    0 => Affinity::None,
                    1 => Affinity::Pin(random.below(5)),
                    _ => Affinity::Prefer(Arc::from([random.below(9), u64::MAX - random.below(9)])),
                };
                let arrival = Arrival {
                    model: random.below(3) as u32,
                    tenant: random.below(4) as u32,
                    batch_key: random.below(3) as u32,
                    priority: random.below(3) as i32 - 1,
                    input_cost: random.below(100) as u32,
                    deadline: (random.below(2) == 0).then(|| now + random.below(20_000)),
                    affinity,
                    queue_timeout: Some(1_000_000),
                    ..Arrival::default()
                };
                let _ = driver.arrive(now, arrival);
            }
            16..28 if !running.is_empty() => {
                let at = pick(&mut random, running.len());
                let (batch, _) = running.swap_remove(at);
                driver.batch_finished(now, batch, Some(now));
            }
            28..31 if !running.is_empty() => {
                let at = pick(&mut random, running.len());
                let (batch, members) = running.swap_remove(at);
                driver.attempt_failed(now, batch, &members);
                driver.batch_finished(now, batch, None);
            }
            31 if !running.is_empty() => {
                let at = pick(&mut random, running.len());
                driver.cancel(now, running[at].1[0]);
            }
            32..36 => {
                let id = 1 + random.below(3) as u32;
                driver.worker_changed(now, worker(id, &mut random));
            }
            36 if random.below(4) == 0 => {
                driver.worker_gone(now, 1 + random.below(3) as u32);
            }
            37 if random.below(8) == 0 => driver.swap(now, policy(kind)),
            38 if random.below(8) == 0 => {
                driver.swap(now, mortal(kind, random.below(30) as u32));
            }
            39 if random.below(40) == 0 => driver.fall_back(now),
            _ => driver.tick(now),
        }
        for decision in driver.take_decisions() {
            if let Decision::Dispatch {
                batch, requests, ..
            } = decision
            {
                running.push((batch, requests));
            }
        }
    }
    let lines = lines.0.lock().unwrap();
    lines.join("\n")
}

#[test]
fn a_recording_played_again_gives_the_same_decisions() {
    let mut lost = 0;
    for kind in [Kind::Fcfs, Kind::LeastLoaded, Kind::DynamicBatch] {
        for seed in 0..6 {
            let text = recorded(kind, seed);
            lost += text.matches(r#""lost""#).count();
            let played = replay(text.as_bytes(), &mut || Some(policy(kind))).unwrap();
            assert_eq!(played.difference, None, "{kind:?} {seed}");
            assert!(played.decided > 300, "{played:?}");
            assert!(!played.cut);
        }
    }
    assert!(lost > 3, "{lost}");
}

#[test]
fn another_policy_or_another_line_is_told_apart() {
    let text = recorded(Kind::LeastLoaded, 1);
    let other = replay(text.as_bytes(), &mut || Some(policy(Kind::Fcfs))).unwrap();
    assert!(other.difference.is_some());
    let mut lines: Vec<&str> = text.lines().collect();
    let at = lines
        .iter()
        .position(|line| line.contains("dispatch"))
        .unwrap();
    lines.remove(at);
    let again = |text: String| {
        replay(text.as_bytes(), &mut || Some(policy(Kind::LeastLoaded)))
            .unwrap()
            .difference
    };
    let difference = again(lines.join("\n")).unwrap();
    assert_eq!(difference.line, at + 1);
    assert!(difference.replayed.contains("dispatch"));
}

#[test]
fn a_cut_recording_is_played_as_far_as_it_goes_and_nonsense_is_not() {
    let text = recorded(Kind::Fcfs, 2);
    let half: Vec<&str> = text.lines().take(500).chain([CUT]).collect();
    let played = replay(half.join("\n").as_bytes(), &mut || Some(policy(Kind::Fcfs))).unwrap();
    assert!(played.cut && played.difference.is_none());
    // Its writer was killed: within a line, or before what followed from the last one was written.
    let whole = replay(text.as_bytes(), &mut || Some(policy(Kind::Fcfs))).unwrap();
    assert!(!whole.cut);
    let decided = text.rfind("{\"dispatch\"").unwrap();
    for end in [
        decided,
        decided + 5,
        text[..decided].rfind("{\"t\"").unwrap() + 9,
    ] {
        let part = &text.as_bytes()[..end];
        let played = replay(part, &mut || Some(policy(Kind::Fcfs))).unwrap();
        assert!(
            played.cut && played.difference.is_none(),
            "{end}: {played:?}"
        );
        assert!(played.told + 5 > whole.told * 9 / 10, "{played:?}");
    }
    let middle = text
        .replacen("{\"t\"", "{\"t", 2)
        .replacen("{\"t", "{\"t\"", 1);
    assert!(replay(middle.as_bytes(), &mut || Some(policy(Kind::Fcfs))).is_err());
    for wrong in [
        "{",
        r#"{"t":1,"tick":true}"#,
        r#"{"begun":{},"given":true}"#,
    ] {
        let error = replay(wrong.as_bytes(), &mut || None).unwrap_err();
        assert!(
            matches!(error, RecordingError::Line { line: 1, .. }),
            "{wrong}"
        );
    }
}
