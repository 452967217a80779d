//! Which generation an exchange begins with: a look, and where there is a canary a count.

use std::sync::atomic::{AtomicU64, Ordering};

/// The generations that exchanges may begin with now.
#[derive(Debug)]
pub struct Choice<G> {
    force: G,
    candidate: Option<(G, u32)>,
    begun: AtomicU64,
}

impl<G> Choice<G> {
    /// `candidate`: with its share of the exchanges, in hundredths.
    pub(super) fn new(force: G, candidate: Option<(G, u32)>) -> Self {
        Self {
            force,
            candidate,
            begun: AtomicU64::new(0),
        }
    }

    /// The same choice, for another kind of exchanges, which is counted apart: where one plugin
    /// takes turns on both sides of a request, each side has its share.
    #[must_use]
    pub fn apart(&self) -> Self
    where
        G: Clone,
    {
        Self::new(self.force.clone(), self.candidate.clone())
    }

    /// The one in force.
    pub fn force(&self) -> &G {
        &self.force
    }

    /// The one on trial.
    pub fn candidate(&self) -> Option<&G> {
        self.candidate.as_ref().map(|(candidate, _)| candidate)
    }

    /// The one that the next exchange begins with. Of any hundred in a row a candidate gets its
    /// share exactly, spread as evenly as can be.
    pub fn begin(&self) -> &G {
        match &self.candidate {
            Some((candidate, percent)) if self.draw(u64::from(*percent)) => candidate,
            _ => &self.force,
        }
    }

    fn draw(&self, percent: u64) -> bool {
        let at = self.begun.fetch_add(1, Ordering::Relaxed) % 100;
        (at + 1) * percent / 100 > at * percent / 100
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_candidate_gets_its_share_and_evenly() {
        for percent in [1, 10, 33, 50, 99, 100] {
            let choice = Choice::new('f', Some(('c', percent)));
            let drawn: Vec<char> = (0..1000).map(|_| *choice.begin()).collect();
            let candidates = drawn.iter().filter(|it| **it == 'c').count();
            assert_eq!(candidates, percent as usize * 10);
            // The longest time without it is not longer than its share makes it.
            let gap = drawn
                .split(|it| *it == 'c')
                .map(<[char]>::len)
                .max()
                .unwrap();
            assert!(gap <= 100 / percent as usize, "{percent}: {gap}");
        }
    }

    #[test]
    fn without_a_candidate_it_is_the_one_in_force() {
        let choice = Choice::new('f', None);
        assert!((0..200).all(|_| *choice.begin() == 'f'));
        assert_eq!((choice.force(), choice.candidate()), (&'f', None));
    }
}
