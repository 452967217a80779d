//! The order of scores.

use tollgate_sdk_compose::{best_first, inference::Score};

/// In which order, and how many, scores are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// As they stand in the call.
    AsAsked,
    /// The best first, so many. Of equal ones the first in the call comes first.
    BestFirst(usize),
}

impl Order {
    /// The best first: `top_n` of them, or all.
    pub(crate) fn best(top_n: Option<u32>) -> Self {
        Self::BestFirst(top_n.map_or(usize::MAX, |most| most as usize))
    }

    /// The scores of all items, in the order of items.
    pub(crate) fn of(self, values: Vec<f64>) -> Vec<Score> {
        let mut scores: Vec<Score> = (0..)
            .zip(values)
            .map(|(item, value)| Score { item, value })
            .collect();
        if let Self::BestFirst(most) = self {
            best_first(&mut scores);
            scores.truncate(most);
        }
        scores
    }
}
