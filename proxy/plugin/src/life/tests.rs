//! The life of a plugin, on a clock of the test's own. Generations are numbers.

use std::{cell::RefCell, collections::HashMap};

use super::*;

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

const SPEC: LifeSpec = LifeSpec {
    probation: secs(100),
    drain: secs(30),
};

/// A life, and what is seen of its generations.
struct World {
    life: Life<u64>,
    signs: RefCell<HashMap<u64, Signs>>,
}

impl World {
    fn new() -> Self {
        Self {
            life: Life::new(SPEC, 0, secs(0)),
            signs: RefCell::default(),
        }
    }

    fn sees(&self, generation: u64, see: impl FnOnce(&mut Signs)) {
        see(self.signs.borrow_mut().entry(generation).or_default());
    }

    fn put(&mut self, now: u64, generation: u64) -> Vec<Change<u64>> {
        let signs = &self.signs;
        self.life
            .put(secs(now), generation, None, |it| seen(signs, *it))
    }

    fn canary(&mut self, now: u64, generation: u64) -> Vec<Change<u64>> {
        let spec = CanarySpec::new(25, secs(10), 4, 1, 10).unwrap();
        let signs = &self.signs;
        self.life
            .put(secs(now), generation, Some(spec), |it| seen(signs, *it))
    }

    fn tend(&mut self, now: u64) -> Vec<Change<u64>> {
        let signs = &self.signs;
        self.life.tend(secs(now), |it| seen(signs, *it))
    }

    fn relieve(&mut self, now: u64) -> Vec<Change<u64>> {
        let signs = &self.signs;
        self.life.relieve(secs(now), |it| seen(signs, *it))
    }

    fn promote(&mut self, now: u64) -> Result<Vec<Change<u64>>, LifeError> {
        let signs = &self.signs;
        self.life.promote(secs(now), |it| seen(signs, *it))
    }

    fn roll_back(&mut self, now: u64) -> Result<Vec<Change<u64>>, LifeError> {
        let signs = &self.signs;
        self.life.roll_back(secs(now), |it| seen(signs, *it))
    }

    fn earlier(&self) -> Vec<u64> {
        self.life.earlier().copied().collect()
    }

    fn leaving(&self) -> Vec<u64> {
        self.life.leaving().copied().collect()
    }
}

fn seen(signs: &RefCell<HashMap<u64, Signs>>, generation: u64) -> Signs {
    signs.borrow().get(&generation).copied().unwrap_or_default()
}

#[test]
fn a_swap_keeps_the_one_before_and_lets_it_drain() {
    let mut it = World::new();
    it.sees(0, |signs| signs.exchanges = 3);
    assert_eq!(it.put(5, 1), [Change::Swapped { from: 0, to: 1 }]);
    assert_eq!((it.earlier(), it.leaving()), (vec![0], vec![0]));
    assert_eq!(it.tend(34), []);
    assert_eq!(it.tend(35), [Change::Overdue { generation: 0 }]);
    assert!(it.leaving().is_empty(), "and only once");
    assert_eq!(it.earlier(), [0], "it can be gone back to");
}

#[test]
fn one_that_is_done_is_not_waited_for() {
    let mut it = World::new();
    it.put(0, 1);
    assert_eq!(it.tend(1), []);
    assert!(it.leaving().is_empty());
}

#[test]
fn one_that_only_fails_on_probation_gives_its_place_back() {
    let mut it = World::new();
    it.put(10, 1);
    it.sees(1, |signs| signs.quarantines = 1);
    let back = Change::RolledBack {
        from: 1,
        to: 0,
        why: Reason::Failing,
    };
    assert_eq!(it.tend(11), [back]);
    assert_eq!(*it.life.force(), 0);
    assert!(it.earlier().is_empty(), "it is not kept");
    assert_eq!(
        it.tend(12),
        [],
        "and the one that came back is looked at afresh"
    );
}

#[test]
fn who_cannot_wait_for_a_look_is_relieved_of_what_only_fails_and_of_nothing_else() {
    let mut it = World::new();
    it.put(10, 1);
    it.canary(10, 2);
    it.sees(0, |signs| signs.exchanges = 1);
    assert_eq!(it.relieve(200), [], "times are over, and that can wait");
    assert!(it.life.on_probation());
    for generation in [1, 2] {
        it.sees(generation, |signs| signs.quarantines = 1);
    }
    let why = Reason::Failing;
    let out = Change::Withdrawn { candidate: 2, why };
    let back = Change::RolledBack {
        from: 1,
        to: 0,
        why,
    };
    assert_eq!(it.relieve(201), [out, back]);
    assert_eq!((*it.life.force(), it.life.candidate()), (0, None));
    assert_eq!(it.relieve(202), []);
}

#[test]
fn after_its_probation_it_stays() {
    let mut it = World::new();
    it.put(10, 1);
    assert!(it.life.on_probation());
    assert_eq!(it.tend(110), []);
    assert!(!it.life.on_probation());
    it.sees(1, |signs| signs.quarantines = 1);
    assert_eq!((it.tend(111), it.relieve(111)), (vec![], vec![]));
    assert_eq!(*it.life.force(), 1);
}

#[test]
fn the_first_one_has_nothing_to_go_back_to() {
    let mut it = World::new();
    it.sees(0, |signs| signs.quarantines = 7);
    assert_eq!(it.tend(1), []);
    assert_eq!(it.roll_back(1), Err(LifeError::NothingEarlier));
    assert_eq!(it.promote(1), Err(LifeError::NoCandidate));
}

#[test]
fn however_fast_they_follow_the_last_proven_one_is_kept() {
    let mut it = World::new();
    for generation in 1..=50 {
        it.put(generation, generation);
        assert!(it.earlier().len() <= KEPT);
        assert!(it.earlier().contains(&0));
    }
    assert_eq!(it.earlier(), [0, 49]);
    for (generation, to) in [(50, 49), (49, 0)] {
        it.sees(generation, |signs| signs.quarantines = 1);
        let why = Reason::Failing;
        let from = generation;
        assert_eq!(it.tend(51), [Change::RolledBack { from, to, why }]);
    }
    assert!(it.earlier().is_empty());
}

#[test]
fn a_newer_proven_one_takes_the_place_of_the_older() {
    let mut it = World::new();
    for (now, generation) in [(0, 1), (200, 2), (400, 3), (600, 4)] {
        it.put(now, generation);
        it.tend(now + 150);
    }
    assert_eq!(it.earlier(), [2, 3]);
    it.put(800, 5);
    it.put(801, 6);
    assert_eq!(it.earlier(), [4, 5], "5 is not proven, and the last");
    it.put(802, 7);
    assert_eq!(it.earlier(), [4, 6]);
}

#[test]
fn a_candidate_is_promoted_when_it_held() {
    let mut it = World::new();
    assert_eq!(it.canary(0, 1), [Change::Canary { candidate: 1 }]);
    assert_eq!(it.life.candidate(), Some((&1, 25)));
    it.sees(1, |signs| signs.served = 4);
    assert_eq!(it.tend(9), []);
    assert_eq!(it.tend(10), [Change::Promoted { from: 0, to: 1 }]);
    assert_eq!(it.life.candidate(), None);
    assert_eq!(it.earlier(), [0]);
    assert!(it.life.on_probation(), "also a promoted one");
}

#[test]
fn a_candidate_that_traps_is_taken_back_and_the_one_in_force_stays() {
    let mut it = World::new();
    it.canary(0, 1);
    it.sees(1, |signs| {
        signs.traps = 1;
        signs.exchanges = 1;
    });
    let out = Change::Withdrawn {
        candidate: 1,
        why: Reason::Traps,
    };
    assert_eq!(it.tend(1), [out]);
    assert_eq!((*it.life.force(), it.life.candidate()), (0, None));
    assert_eq!(it.leaving(), [1], "what it still serves it serves");
    assert_eq!(it.tend(31), [Change::Overdue { generation: 1 }]);
}

#[test]
fn what_was_known_of_the_one_in_force_before_counts_for_nothing() {
    let mut it = World::new();
    it.sees(0, |signs| {
        signs.served = 1000;
        signs.failed = 900;
    });
    it.canary(0, 1);
    it.sees(0, |signs| signs.served += 100);
    it.sees(1, |signs| {
        signs.served = 20;
        signs.failed = 10;
    });
    let why = Reason::Errors;
    assert_eq!(it.tend(1), [Change::Withdrawn { candidate: 1, why }]);
}

#[test]
fn a_newer_one_takes_a_candidates_place() {
    let mut it = World::new();
    it.canary(0, 1);
    let out = Change::Withdrawn {
        candidate: 1,
        why: Reason::Superseded,
    };
    assert_eq!(it.canary(1, 2), [out, Change::Canary { candidate: 2 }]);
    let out = Change::Withdrawn {
        candidate: 2,
        why: Reason::Superseded,
    };
    assert_eq!(it.put(2, 3), [out, Change::Swapped { from: 0, to: 3 }]);
}

#[test]
fn an_operator_promotes_and_rolls_back() {
    let mut it = World::new();
    it.canary(0, 1);
    assert_eq!(it.promote(1), Ok(vec![Change::Promoted { from: 0, to: 1 }]));
    it.canary(2, 2);
    let why = Reason::Asked;
    let out = Change::Withdrawn { candidate: 2, why };
    assert_eq!(it.roll_back(3), Ok(vec![out]), "the candidate first");
    let back = Change::RolledBack {
        from: 1,
        to: 0,
        why,
    };
    assert_eq!(it.roll_back(4), Ok(vec![back]));
    assert_eq!(it.roll_back(5), Err(LifeError::NothingEarlier));
}

#[test]
fn those_that_leave_are_bounded() {
    let mut it = World::new();
    for generation in 0..LEAVING as u64 {
        it.sees(generation, |signs| signs.exchanges = 1);
        assert_eq!(it.put(0, generation + 1).len(), 1);
    }
    let last = LEAVING as u64;
    it.sees(last, |signs| signs.exchanges = 1);
    let changes = it.put(0, last + 1);
    assert_eq!(changes[1..], [Change::Overdue { generation: 0 }]);
    assert_eq!(it.leaving().len(), LEAVING);
}
