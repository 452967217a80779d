//! Ranks documents by a worker's own scores of the query with each.

use tollgate_sdk_compose::{failure, inference::Event, types::Failure};

use crate::{fan::Goal, ranking::Order};

/// Gathers scores, and tells them in order.
pub(crate) struct Scores {
    values: Vec<Option<f64>>,
    /// Documents of one call; the last may have fewer.
    each: usize,
    order: Order,
}

impl Scores {
    pub(crate) fn new(count: usize, each: usize, order: Order) -> Self {
        Self {
            values: vec![None; count],
            each,
            order,
        }
    }
}

impl Goal for Scores {
    fn take(&mut self, call: usize, event: Event, _: &mut Vec<Event>) -> Result<(), Failure> {
        let Event::Scores(scores) = event else {
            return Ok(());
        };
        for score in scores {
            let item = score.item as usize;
            let place = (item < self.each)
                .then(|| self.values.get_mut(call * self.each + item))
                .flatten();
            match place {
                Some(place @ None) if score.value.is_finite() => *place = Some(score.value),
                _ => {
                    return Err(failure::upstream_invalid(
                        "the worker gave a score that was not asked for, or that is no number",
                    ));
                }
            }
        }
        Ok(())
    }

    fn finish(&mut self, told: &mut Vec<Event>) -> Result<(), Failure> {
        let values: Option<Vec<f64>> = self.values.drain(..).collect();
        let values = values.ok_or_else(|| {
            failure::upstream_invalid("the worker left a document without a score")
        })?;
        told.push(Event::Scores(self.order.of(values)));
        Ok(())
    }
}
