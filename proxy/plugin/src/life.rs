//! A plugin's life: which of its generations an exchange begins with, and for how long the others
//! stay.
//!
//! A state machine that does nothing by itself: it is told what was loaded, what an operator wants
//! and how the generations fare, each with the time, and says what follows.
//!
//! 1. One generation is *in force*. A new one takes its place at once, or begins as a *candidate*
//!    (a canary) that is given a share of the exchanges.
//! 2. A candidate that traps, or of whose exchanges more fail than of those beside it, is taken
//!    back. One that held for its time and served enough is promoted.
//! 3. The ones before are kept, at most [`KEPT`]. One in force that does nothing but fail while it
//!    is on *probation* gives its place back to the last of them, and is not kept itself. One that
//!    has outlived its probation is proven; the last proven one is kept in any case.
//! 4. A generation that is no longer in force is *leaving* until the last of its exchanges is over,
//!    or its time is; then those that are left end. At most [`LEAVING`] are.
//!
//! Times are since any beginning, always the same one.

mod choice;
mod trial;

use std::{collections::VecDeque, time::Duration};

pub use choice::Choice;
pub use trial::{CanarySpec, CanarySpecError, Signs};
use trial::{Verdict, judge};

/// Generations that are kept to go back to.
const KEPT: usize = 2;

/// Generations of a plugin at once that are no longer in force and still have exchanges. Past it
/// the exchanges of the oldest end.
const LEAVING: usize = 64;

/// How long things last in a plugin's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LifeSpec {
    /// How long after it came in force a generation that is put into quarantine gives its place
    /// back.
    pub probation: Duration,
    /// How long exchanges may stay with a generation that is no longer in force.
    pub drain: Duration,
}

impl Default for LifeSpec {
    fn default() -> Self {
        Self {
            probation: Duration::from_secs(600),
            drain: Duration::from_secs(600),
        }
    }
}

/// Why a generation lost its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// An operator wanted it.
    Asked,
    /// A newer one came.
    Superseded,
    /// It did nothing but fail.
    Failing,
    /// A canary's instances were ended by traps or limits.
    Traps,
    /// More of a canary's exchanges failed than of those beside it.
    Errors,
}

impl Reason {
    /// For logs, metrics and answers.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Superseded => "superseded",
            Self::Failing => "failing",
            Self::Traps => "traps",
            Self::Errors => "errors",
        }
    }

    /// Whether the generation is to blame.
    #[must_use]
    pub fn is_blame(self) -> bool {
        matches!(self, Self::Failing | Self::Traps | Self::Errors)
    }
}

/// What has changed. Generations are told from the one before to the one after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change<G> {
    /// A new one is in force.
    Swapped {
        /// Before.
        from: G,
        /// Now.
        to: G,
    },
    /// A candidate is given a share of the exchanges.
    Canary {
        /// It.
        candidate: G,
    },
    /// A candidate is in force.
    Promoted {
        /// Before.
        from: G,
        /// Now.
        to: G,
    },
    /// A candidate is taken back.
    Withdrawn {
        /// It.
        candidate: G,
        /// Why.
        why: Reason,
    },
    /// An earlier one is in force again.
    RolledBack {
        /// Before.
        from: G,
        /// Now.
        to: G,
        /// Why.
        why: Reason,
    },
    /// The time of one that was leaving is over: what it still serves ends.
    Overdue {
        /// It.
        generation: G,
    },
}

/// An operator wants what cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LifeError {
    /// There is no candidate.
    #[error("there is no canary to promote")]
    NoCandidate,
    /// There is no earlier generation.
    #[error("there is no earlier generation to go back to")]
    NothingEarlier,
}

/// One that is, or was, in force.
#[derive(Clone, Debug)]
struct Held<G> {
    generation: G,
    since: Duration,
    proven: bool,
    /// What was known of it when it came in force.
    before: Signs,
}

/// One that is on trial beside it.
#[derive(Clone, Debug)]
struct Trial<G> {
    generation: G,
    since: Duration,
    spec: CanarySpec,
    /// What was known of the one in force when this one began.
    beside: Signs,
}

/// The life of one plugin.
#[derive(Clone, Debug)]
pub(crate) struct Life<G> {
    spec: LifeSpec,
    force: Held<G>,
    candidate: Option<Trial<G>>,
    /// Oldest first.
    earlier: VecDeque<Held<G>>,
    /// With the time at which they have to be over; oldest first.
    leaving: VecDeque<(G, Duration)>,
}

impl<G: Clone + PartialEq> Life<G> {
    /// The life of a plugin whose first generation came in force now. It is taken for proven: there
    /// is none before it.
    #[must_use]
    pub(crate) fn new(spec: LifeSpec, first: G, now: Duration) -> Self {
        Self {
            spec,
            force: Held {
                generation: first,
                since: now,
                proven: true,
                before: Signs::default(),
            },
            candidate: None,
            earlier: VecDeque::new(),
            leaving: VecDeque::new(),
        }
    }

    /// The generation in force.
    #[must_use]
    pub(crate) fn force(&self) -> &G {
        &self.force.generation
    }

    /// The candidate, and its share in hundredths.
    #[must_use]
    pub(crate) fn candidate(&self) -> Option<(&G, u32)> {
        let trial = self.candidate.as_ref()?;
        Some((&trial.generation, trial.spec.percent()))
    }

    /// Those that are kept, oldest first.
    pub(crate) fn earlier(&self) -> impl Iterator<Item = &G> {
        self.earlier.iter().map(|held| &held.generation)
    }

    /// Those that are no longer in force and still serve, oldest first.
    pub(crate) fn leaving(&self) -> impl Iterator<Item = &G> {
        self.leaving.iter().map(|(generation, _)| generation)
    }

    /// Whether the one in force is still on probation.
    #[must_use]
    pub(crate) fn on_probation(&self) -> bool {
        !self.force.proven
    }

    /// How a new generation's exchanges are chosen now.
    #[must_use]
    pub(crate) fn choice(&self) -> Choice<G> {
        let candidate = self.candidate.as_ref();
        Choice::new(
            self.force.generation.clone(),
            candidate.map(|trial| (trial.generation.clone(), trial.spec.percent())),
        )
    }

    /// A new generation: in force at once, or, with a canary's terms, as a candidate. An older
    /// candidate is taken back either way.
    pub(crate) fn put(
        &mut self,
        now: Duration,
        generation: G,
        canary: Option<CanarySpec>,
        signs: impl Fn(&G) -> Signs,
    ) -> Vec<Change<G>> {
        let mut changes = Vec::new();
        self.withdraw(now, Reason::Superseded, &mut changes);
        match canary {
            Some(spec) => {
                self.candidate = Some(Trial {
                    generation: generation.clone(),
                    since: now,
                    spec,
                    beside: signs(&self.force.generation),
                });
                changes.push(Change::Canary {
                    candidate: generation,
                });
            }
            None => {
                let from = self.enthrone(now, generation.clone(), Signs::default());
                changes.push(Change::Swapped {
                    from,
                    to: generation,
                });
            }
        }
        self.bound(&mut changes);
        changes
    }

    /// The candidate is wanted in force.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn promote(
        &mut self,
        now: Duration,
        signs: impl Fn(&G) -> Signs,
    ) -> Result<Vec<Change<G>>, LifeError> {
        let trial = self.candidate.take().ok_or(LifeError::NoCandidate)?;
        let before = signs(&trial.generation);
        let from = self.enthrone(now, trial.generation.clone(), before);
        let mut changes = vec![Change::Promoted {
            from,
            to: trial.generation,
        }];
        self.bound(&mut changes);
        Ok(changes)
    }

    /// The candidate is to be taken back; without one, the one in force gives its place to the
    /// one before it.
    ///
    /// # Errors
    /// There is neither.
    pub(crate) fn roll_back(
        &mut self,
        now: Duration,
        signs: impl Fn(&G) -> Signs,
    ) -> Result<Vec<Change<G>>, LifeError> {
        let mut changes = Vec::new();
        if self.candidate.is_some() {
            self.withdraw(now, Reason::Asked, &mut changes);
        } else {
            self.go_back(now, Reason::Asked, &signs, &mut changes)
                .ok_or(LifeError::NothingEarlier)?;
        }
        self.bound(&mut changes);
        Ok(changes)
    }

    /// Takes from those that do nothing but fail what a look at everybody would take from them, and
    /// no more: for whom cannot wait for that look.
    pub(crate) fn relieve(&mut self, now: Duration, signs: impl Fn(&G) -> Signs) -> Vec<Change<G>> {
        let mut changes = Vec::new();
        let candidate = self.candidate.as_ref();
        if candidate.is_some_and(|trial| signs(&trial.generation).quarantines > 0) {
            self.withdraw(now, Reason::Failing, &mut changes);
        }
        if self.fails(&signs) {
            self.go_back(now, Reason::Failing, &signs, &mut changes);
        }
        changes
    }

    /// Whether the one in force, on probation, does nothing but fail.
    fn fails(&self, signs: impl Fn(&G) -> Signs) -> bool {
        let force = &self.force;
        !force.proven && signs(&force.generation).since(&force.before).quarantines > 0
    }

    /// Looks at how everybody fares, and at the time.
    pub(crate) fn tend(&mut self, now: Duration, signs: impl Fn(&G) -> Signs) -> Vec<Change<G>> {
        let mut changes = Vec::new();
        if let Some(trial) = &self.candidate {
            let beside = signs(&self.force.generation).since(&trial.beside);
            let held = now.saturating_sub(trial.since);
            match judge(&trial.spec, held, &signs(&trial.generation), &beside) {
                Verdict::Wait => {}
                Verdict::Promote => {
                    // There is one: it was judged.
                    changes.extend(self.promote(now, &signs).unwrap_or_default());
                }
                Verdict::Withdraw(why) => self.withdraw(now, why, &mut changes),
            }
        }
        if self.fails(&signs) {
            self.go_back(now, Reason::Failing, &signs, &mut changes);
        } else if now >= self.force.since.saturating_add(self.spec.probation) {
            self.force.proven = true;
        }
        self.leaving.retain(|(generation, until)| {
            if signs(generation).exchanges == 0 {
                return false;
            }
            if now >= *until {
                changes.push(Change::Overdue {
                    generation: generation.clone(),
                });
                return false;
            }
            true
        });
        self.bound(&mut changes);
        changes
    }

    /// Puts one in force; gives the one before, which is kept.
    fn enthrone(&mut self, now: Duration, generation: G, before: Signs) -> G {
        let held = Held {
            generation,
            since: now,
            proven: false,
            before,
        };
        let old = std::mem::replace(&mut self.force, held);
        let from = old.generation.clone();
        if self.earlier.len() == KEPT {
            // The last proven one stays, and with it the last one.
            let unproven = self.earlier.iter().rposition(|held| !held.proven);
            let spare = if old.proven { 0 } else { unproven.unwrap_or(0) };
            self.earlier.remove(spare);
        }
        self.earlier.push_back(old);
        self.leave(now, from.clone());
        from
    }

    fn withdraw(&mut self, now: Duration, why: Reason, changes: &mut Vec<Change<G>>) {
        if let Some(trial) = self.candidate.take() {
            self.leave(now, trial.generation.clone());
            changes.push(Change::Withdrawn {
                candidate: trial.generation,
                why,
            });
        }
    }

    /// The last of the earlier ones is in force again. None: there is none.
    fn go_back(
        &mut self,
        now: Duration,
        why: Reason,
        signs: impl Fn(&G) -> Signs,
        changes: &mut Vec<Change<G>>,
    ) -> Option<()> {
        let mut back = self.earlier.pop_back()?;
        self.leaving
            .retain(|(generation, _)| *generation != back.generation);
        back.since = now;
        back.before = signs(&back.generation);
        let to = back.generation.clone();
        let from = std::mem::replace(&mut self.force, back).generation;
        self.leave(now, from.clone());
        changes.push(Change::RolledBack { from, to, why });
        Some(())
    }

    fn leave(&mut self, now: Duration, generation: G) {
        let until = now.saturating_add(self.spec.drain);
        self.leaving.push_back((generation, until));
    }

    fn bound(&mut self, changes: &mut Vec<Change<G>>) {
        while self.leaving.len() > LEAVING {
            if let Some((generation, _)) = self.leaving.pop_front() {
                changes.push(Change::Overdue { generation });
            }
        }
    }
}

#[cfg(test)]
mod tests;
