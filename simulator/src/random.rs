//! Chance that is the same for the same seed, on every machine and in every version.

/// xoshiro256++ (Blackman and Vigna, 2019), seeded by SplitMix64.
#[derive(Clone, Debug)]
pub struct Random([u64; 4]);

/// The finalizer of SplitMix64.
#[must_use]
pub const fn mixed(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

impl Random {
    /// A source of its own for a seed and a purpose.
    #[must_use]
    pub fn new(seed: u64, purpose: u64) -> Self {
        let mut state = mixed(seed) ^ purpose;
        Self([(); 4].map(|()| {
            state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            mixed(state)
        }))
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        let [a, b, c, d] = &mut self.0;
        let answer = a.wrapping_add(*d).rotate_left(23).wrapping_add(*a);
        let t = *b << 17;
        *c ^= *a;
        *d ^= *b;
        *b ^= *c;
        *a ^= *d;
        *c ^= t;
        *d = d.rotate_left(45);
        answer
    }

    /// From 0 to less than 1.
    pub fn part(&mut self) -> f64 {
        (self.number() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// From 0 to less than `below`, which is not zero.
    pub fn below(&mut self, below: u64) -> u64 {
        ((u128::from(self.number()) * u128::from(below.max(1))) >> 64) as u64
    }

    /// Exponential with a mean.
    pub fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.part()).ln()
    }

    /// The place in a list of weights.
    pub fn weighted(&mut self, weights: &[f64]) -> usize {
        let mut left = self.part() * weights.iter().sum::<f64>();
        for (at, weight) in weights.iter().enumerate() {
            left -= weight;
            if left < 0.0 {
                return at;
            }
        }
        weights.len().saturating_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_seeds_give_equal_numbers_and_means_are_right() {
        let mut one = Random::new(7, 1);
        let mut same = Random::new(7, 1);
        let mut other = Random::new(7, 2);
        assert_eq!(one.number(), same.number());
        assert_ne!(one.number(), other.number());
        let mean = (0..20_000).map(|_| one.exponential(5.0)).sum::<f64>() / 20_000.0;
        assert!((4.8..5.2).contains(&mean), "{mean}");
        assert!((0..1000).all(|_| one.below(3) < 3));
        let heavy = (0..1000).filter(|_| one.weighted(&[1.0, 9.0]) == 1);
        assert!((850..950).contains(&heavy.count()));
    }
}
