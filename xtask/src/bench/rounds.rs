//! Rounds: in which order cases are taken, and what several rounds say together.
//!
//! A machine drifts: it gets warm, others wake up. So every round takes every case once, each
//! round begins elsewhere and every second one goes backwards, and what is compared was taken
//! within the same minutes. One case is taken twice under two names; how far these two lie apart
//! is what this machine cannot tell apart, and no smaller difference is called one.

use serde::{Deserialize, Serialize};

/// The middle of several rounds, and how far they reach.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// Of the rounds of one figure; none when there are none, or one is no number.
    pub(crate) fn of(rounds: &[f64]) -> Option<Self> {
        if rounds.iter().any(|value| !value.is_finite()) {
            return None;
        }
        let mut sorted = rounds.to_vec();
        sorted.sort_by(f64::total_cmp);
        Some(Self {
            median: median(&sorted)?,
            min: *sorted.first()?,
            max: *sorted.last()?,
        })
    }
}

/// The middle of sorted values, or of the two around it.
fn median(sorted: &[f64]) -> Option<f64> {
    let middle = sorted.len() / 2;
    let upper = *sorted.get(middle)?;
    if sorted.len() % 2 == 1 {
        return Some(upper);
    }
    Some(f64::midpoint(*sorted.get(middle - 1)?, upper))
}

/// Which case comes when in a round: rounds begin at places spread over all cases, and every
/// second one goes backwards, so that no case always follows the same other.
pub(crate) fn order(cases: usize, round: usize, rounds: usize) -> Vec<usize> {
    let start = round * cases / rounds.max(1);
    let mut order: Vec<usize> = (0..cases).map(|at| (at + start) % cases).collect();
    if round % 2 == 1 {
        order.reverse();
    }
    order
}

/// The noise floor: the largest relative difference of one thing, measured twice under two names,
/// within a round.
pub(crate) fn floor(one: &[f64], again: &[f64]) -> Option<f64> {
    one.iter()
        .zip(again)
        .map(|(a, b)| ((a - b) / f64::midpoint(*a, *b)).abs())
        .filter(|apart| apart.is_finite())
        .reduce(f64::max)
}

/// What may be said of two medians.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Compared {
    /// The first over the second.
    Ratio(f64),
    /// They lie no further apart than one thing measured twice.
    NotDistinguishable,
}

/// Compares two medians under a noise floor; without one, every difference is taken for noise.
pub(crate) fn compare(ours: f64, theirs: f64, floor: Option<f64>) -> Compared {
    let apart = ((ours - theirs) / f64::midpoint(ours, theirs)).abs();
    match floor {
        Some(floor) if apart > floor => Compared::Ratio(ours / theirs),
        _ => Compared::NotDistinguishable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_one_or_between_two() {
        let odd = Spread::of(&[9.0, 1.0, 5.0]).unwrap();
        assert_eq!((odd.median, odd.min, odd.max), (5.0, 1.0, 9.0));
        assert_eq!(Spread::of(&[4.0, 1.0, 2.0, 8.0]).unwrap().median, 3.0);
        assert_eq!(Spread::of(&[]), None);
        assert_eq!(Spread::of(&[1.0, f64::NAN]), None);
    }

    #[test]
    fn every_round_takes_every_case_once_and_begins_elsewhere() {
        let mut starts = Vec::new();
        for round in 0..5 {
            let mut order = order(12, round, 5);
            starts.push(order[0]);
            order.sort_unstable();
            assert_eq!(order, (0..12).collect::<Vec<_>>());
        }
        starts.sort_unstable();
        starts.dedup();
        assert_eq!(starts.len(), 5, "{starts:?}");
        assert!(order(0, 3, 5).is_empty());
    }

    #[test]
    fn no_case_always_follows_the_same_other() {
        let follows = |round: usize| {
            let order = order(7, round, 4);
            let at = order.iter().position(|case| *case == 3).unwrap();
            order.get(at.wrapping_sub(1)).copied()
        };
        assert_ne!(follows(0), follows(1));
    }

    #[test]
    fn the_floor_is_the_widest_pair_of_a_round() {
        let floor = floor(&[100.0, 100.0, 102.0], &[100.0, 110.0, 102.0]).unwrap();
        assert!((floor - 10.0 / 105.0).abs() < 1e-9, "{floor}");
        assert_eq!(super::floor(&[], &[]), None);
    }

    #[test]
    fn what_lies_within_the_floor_is_not_called_a_difference() {
        assert_eq!(
            compare(103.0, 100.0, Some(0.05)),
            Compared::NotDistinguishable
        );
        assert_eq!(compare(120.0, 100.0, Some(0.05)), Compared::Ratio(1.2));
        assert_eq!(compare(50.0, 100.0, Some(0.05)), Compared::Ratio(0.5));
        assert_eq!(compare(200.0, 100.0, None), Compared::NotDistinguishable);
    }
}
