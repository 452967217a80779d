//! Compares texts by the cosine of the angle between their vectors, as caikit's `EmbeddingModule`
//! does: the scalar product of the two vectors, each divided by its length.
//!
//! The first text is the one that all others are compared with. What comes before its vector is
//! kept; what comes after becomes a number at once.

use tollgate_sdk_compose::{
    failure,
    inference::{Embedding, Event, Vector},
    types::{Failure, FailureKind},
};

use crate::{fan::Goal, ranking::Order};

/// Numbers in one vector.
const MAX_DIMENSIONS: usize = 16_384;
/// Numbers that are kept until the first text's vector is there.
const MAX_EARLY: usize = 4 << 20;

/// Gathers vectors, and tells what they make of the other texts.
pub(crate) struct Vectors {
    source: Option<Vec<f32>>,
    /// Came before the source's.
    early: Vec<(usize, Vec<f32>)>,
    early_numbers: usize,
    /// Of the texts but the first.
    cosines: Vec<Option<f64>>,
    /// Texts of one call; the last may have fewer.
    each: usize,
    order: Order,
}

impl Vectors {
    pub(crate) fn new(count: usize, each: usize, order: Order) -> Self {
        Self {
            source: None,
            early: Vec::new(),
            early_numbers: 0,
            cosines: vec![None; count],
            each,
            order,
        }
    }

    fn keep(&mut self, call: usize, embedding: Embedding) -> Result<(), Failure> {
        let Vector::Floats(values) = embedding.values else {
            let message = "a vector that the host holds cannot be read here";
            return Err(failure::of(FailureKind::Internal, message));
        };
        let item = embedding.item as usize;
        let usable = !values.is_empty()
            && values.len() <= MAX_DIMENSIONS
            && values.iter().all(|value| value.is_finite());
        if item >= self.each || !usable {
            return Err(unasked());
        }
        match (call * self.each + item).checked_sub(1) {
            None if self.source.is_some() => Err(unasked()),
            None => {
                self.source = Some(values);
                for (other, values) in std::mem::take(&mut self.early) {
                    self.compare(other, &values)?;
                }
                Ok(())
            }
            Some(other) if self.source.is_some() => self.compare(other, &values),
            Some(other) => {
                self.early_numbers += values.len();
                if self.early_numbers > MAX_EARLY {
                    return Err(failure::of(
                        FailureKind::PayloadTooLarge,
                        "too many vectors came before the one that they are compared with",
                    ));
                }
                self.early.push((other, values));
                Ok(())
            }
        }
    }

    fn compare(&mut self, other: usize, values: &[f32]) -> Result<(), Failure> {
        let source = self.source.as_deref().unwrap_or_default();
        if source.len() != values.len() {
            return Err(failure::upstream_invalid(
                "the worker's vectors differ in length",
            ));
        }
        match self.cosines.get_mut(other) {
            Some(place @ None) => {
                *place = Some(cosine(source, values));
                Ok(())
            }
            _ => Err(unasked()),
        }
    }
}

fn unasked() -> Failure {
    failure::upstream_invalid("the worker gave a vector that was not asked for, or no vector")
}

impl Goal for Vectors {
    fn take(&mut self, call: usize, event: Event, _: &mut Vec<Event>) -> Result<(), Failure> {
        let Event::Embeddings(embeddings) = event else {
            return Ok(());
        };
        embeddings
            .into_iter()
            .try_for_each(|embedding| self.keep(call, embedding))
    }

    fn finish(&mut self, told: &mut Vec<Event>) -> Result<(), Failure> {
        let values: Option<Vec<f64>> = self.cosines.drain(..).collect();
        let values = values
            .ok_or_else(|| failure::upstream_invalid("the worker left a text without a vector"))?;
        told.push(Event::Scores(self.order.of(values)));
        Ok(())
    }
}

/// Cosine of the angle between two vectors of one length; 0 when one of them has no direction.
#[must_use]
pub fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let product = |a: &[f32], b: &[f32]| -> f64 {
        a.iter()
            .zip(b)
            .map(|(&a, &b)| f64::from(a) * f64::from(b))
            .sum()
    };
    let lengths = product(a, a).sqrt() * product(b, b).sqrt();
    if lengths > 0.0 {
        // Adding zero makes a negative zero a plain one.
        (product(a, b) / lengths).clamp(-1.0, 1.0) + 0.0
    } else {
        0.0
    }
}
