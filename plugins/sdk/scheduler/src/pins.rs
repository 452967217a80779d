//! Which worker a sequence or session belongs to.
//!
//! A new key goes to the worker with the highest hash of (key, worker's identity) (rendezvous
//! hashing: Thaler and Ravishankar, 1998), and that is remembered, so that workers that join later
//! do not take sequences over. After a swap nothing is remembered, and another proxy remembers
//! other things, but the hash gives the same worker while the membership is the same.

use std::collections::BTreeMap;

/// The last `bound` keys that were asked for.
pub struct Pins {
    bound: usize,
    next: u64,
    by_key: BTreeMap<u64, (u32, u64)>,
    by_age: BTreeMap<u64, u64>,
}

impl Pins {
    /// Remembers so many keys.
    #[must_use]
    pub fn new(bound: usize) -> Self {
        Pins {
            bound,
            next: 0,
            by_key: BTreeMap::new(),
            by_age: BTreeMap::new(),
        }
    }

    /// The worker for a key: the remembered one while `holds` says that it can be,
    /// else one of `candidates`, which are numbers with identities.
    pub fn place(
        &mut self,
        key: u64,
        holds: impl Fn(u32) -> bool,
        candidates: impl Iterator<Item = (u32, u64)>,
    ) -> Option<u32> {
        let remembered = self.by_key.get(&key).copied();
        let worker = match remembered {
            Some((worker, _)) if holds(worker) => worker,
            _ => {
                let best =
                    candidates.max_by_key(|(worker, identity)| (weight(key, *identity), *worker));
                best?.0
            }
        };
        if let Some((_, age)) = remembered {
            self.by_age.remove(&age);
        } else if self.by_key.len() >= self.bound
            && let Some((_, oldest)) = self.by_age.pop_first()
        {
            self.by_key.remove(&oldest);
        }
        self.by_key.insert(key, (worker, self.next));
        self.by_age.insert(self.next, key);
        self.next += 1;
        Some(worker)
    }
}

/// How well a worker suits a key, by its identity: of several the highest is the key's own. The
/// finalizer of SplitMix64 over both numbers, so that both count.
#[must_use]
pub const fn weight(key: u64, identity: u64) -> u64 {
    let mut z = key ^ identity.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(count: u32) -> impl Iterator<Item = (u32, u64)> {
        (0..count).map(|id| (id, crate::recent::mixed(u64::from(id))))
    }

    #[test]
    fn proxies_that_number_workers_otherwise_choose_alike() {
        for key in 0..100 {
            let here = Pins::new(8).place(key, |_| true, all(7)).unwrap();
            let there = all(7).map(|(id, identity)| (70 - id, identity));
            let there = Pins::new(8).place(key, |_| true, there).unwrap();
            assert_eq!(there, 70 - here);
        }
    }

    #[test]
    fn a_key_stays_where_it_is_until_its_worker_goes() {
        let mut pins = Pins::new(8);
        let home = pins.place(99, |_| true, all(3)).unwrap();
        assert_eq!(pins.place(99, |_| true, all(9)), Some(home));
        let rest = all(3).filter(|(worker, _)| *worker != home);
        let next = pins.place(99, |_| false, rest).unwrap();
        assert_ne!(next, home);
    }

    #[test]
    fn memory_is_bounded_and_the_hash_finds_the_same_worker_again() {
        let mut pins = Pins::new(8);
        let homes: Vec<_> = (0..100)
            .map(|key| pins.place(key, |_| true, all(5)))
            .collect();
        assert_eq!((pins.by_key.len(), pins.by_age.len()), (8, 8));
        let again: Vec<_> = (0..100)
            .map(|key| pins.place(key, |_| true, all(5)))
            .collect();
        assert_eq!(homes, again);
    }

    #[test]
    fn keys_spread() {
        let mut pins = Pins::new(1000);
        let mut counts = [0; 4];
        for key in 0..1000 {
            counts[pins.place(key, |_| true, all(4)).unwrap() as usize] += 1;
        }
        assert!(counts.iter().all(|&count| count > 180), "{counts:?}");
    }
}
