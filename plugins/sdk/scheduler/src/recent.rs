//! A bounded table of what was used lately, at the cost of two look-ups and no order of ages.
//!
//! 1. What is new or used goes into the young half.
//! 2. When the young half is full it becomes the old one, and what was old is forgotten.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// Mixes one number: keys are hashes or small numbers, and no enemy chooses among them who could
/// not fill the table anyway.
#[derive(Default)]
pub(crate) struct Mix(u64);

/// Values by number, in no order that means anything.
pub(crate) type ByNumber<V> = HashMap<u64, V, BuildHasherDefault<Mix>>;

/// At most `bound` values by number; those that were not used for longest are forgotten first,
/// half a table at a time.
pub struct Recent<V> {
    half: usize,
    young: ByNumber<V>,
    old: ByNumber<V>,
}

/// The finalizer of SplitMix64: every bit of the number counts in every bit of the answer.
#[must_use]
pub const fn mixed(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

// === impl Mix ===

impl Hasher for Mix {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = mixed(self.0 ^ u64::from(*byte));
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = mixed(self.0 ^ number);
    }
}

// === impl Recent ===

impl<V> Recent<V> {
    /// A table of at most `bound` values, and at least two.
    #[must_use]
    pub fn new(bound: usize) -> Self {
        Self {
            half: (bound / 2).max(1),
            young: ByNumber::default(),
            old: ByNumber::default(),
        }
    }

    /// A value, without a mark that it was used.
    #[must_use]
    pub fn peek(&self, key: u64) -> Option<&V> {
        self.young.get(&key).or_else(|| self.old.get(&key))
    }

    /// A value, made when it is not there; it counts as used.
    pub fn touch(&mut self, key: u64, make: impl FnOnce() -> V) -> &mut V {
        if !self.young.contains_key(&key) {
            let value = self.old.remove(&key).unwrap_or_else(make);
            if self.young.len() >= self.half {
                self.old = std::mem::take(&mut self.young);
            }
            self.young.insert(key, value);
        }
        self.young
            .get_mut(&key)
            .expect("it was there or has been put there")
    }

    /// Values in the table.
    #[must_use]
    pub fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_never_holds_more_than_its_bound_and_keeps_what_is_used() {
        let mut table = Recent::new(10);
        for key in 0..1000_u64 {
            *table.touch(key, || key) += 1;
            assert_eq!(*table.touch(7777, || 1), 1, "used all the while");
            assert!(table.len() <= 10);
        }
        assert_eq!(table.peek(999), Some(&1000));
        assert_eq!(table.peek(5), None);
    }
}
