//! Runs the stages of a long check one after the other, times them and adds them up.

use std::time::{Duration, Instant};

use anyhow::Result;

/// What a stage counted. A stage that counts nothing of its own is one check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
}

impl Counts {
    /// One check that held.
    pub(crate) const ONE: Self = Self {
        passed: 1,
        failed: 0,
    };

    /// Both together.
    pub(crate) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

enum Outcome {
    Passed(Counts),
    Failed(Counts),
    /// Something that it stands on had failed.
    Skipped,
}

struct Stage {
    name: &'static str,
    took: Duration,
    outcome: Outcome,
}

/// The stages so far.
#[derive(Default)]
pub(crate) struct Stages {
    done: Vec<Stage>,
}

impl Stages {
    /// Runs a stage that is one check. Returns whether it passed; a failure is printed and
    /// remembered, so that later stages still tell what they have to tell.
    pub(crate) fn check(&mut self, name: &'static str, stage: impl FnOnce() -> Result<()>) -> bool {
        self.counted(name, || stage().map(|()| Counts::ONE))
    }

    /// As [`Stages::check`], for a stage that counts what it ran; any failed one fails it.
    pub(crate) fn counted(
        &mut self,
        name: &'static str,
        stage: impl FnOnce() -> Result<Counts>,
    ) -> bool {
        println!("\n== {name}");
        let start = Instant::now();
        let outcome = match stage() {
            Ok(counts) if counts.failed == 0 => Outcome::Passed(counts),
            Ok(counts) => Outcome::Failed(counts),
            Err(problem) => {
                println!("{problem:#}");
                Outcome::Failed(Counts {
                    passed: 0,
                    failed: 1,
                })
            }
        };
        let passed = matches!(outcome, Outcome::Passed(_));
        let took = start.elapsed();
        let word = if passed { "ok" } else { "FAILED" };
        println!("== {name}: {word} after {:.1} s", took.as_secs_f64());
        self.done.push(Stage {
            name,
            took,
            outcome,
        });
        passed
    }

    /// Remembers a stage that could not run, because what it stands on had failed.
    pub(crate) fn skip(&mut self, name: &'static str) {
        println!("\n== {name}: skipped");
        self.done.push(Stage {
            name,
            took: Duration::ZERO,
            outcome: Outcome::Skipped,
        });
    }

    /// A line a stage, and the closing line `N passed, N failed`; true when nothing failed and
    /// nothing was left out.
    pub(crate) fn summary(&self) -> (String, bool) {
        let mut text = String::new();
        let mut all = Counts::default();
        let mut whole = true;
        for stage in &self.done {
            let told = match &stage.outcome {
                Outcome::Passed(counts) => {
                    all.add(*counts);
                    format!("ok, {} passed", counts.passed)
                }
                Outcome::Failed(counts) => {
                    all.add(*counts);
                    whole = false;
                    format!("FAILED, {} passed, {} failed", counts.passed, counts.failed)
                }
                Outcome::Skipped => {
                    whole = false;
                    "skipped".to_owned()
                }
            };
            let seconds = stage.took.as_secs_f64();
            text.push_str(&format!("{:<12} {seconds:>7.1} s  {told}\n", stage.name));
        }
        text.push_str(&format!("\n{} passed, {} failed", all.passed, all.failed));
        (text, whole)
    }
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;

    #[test]
    fn counts_are_added_and_a_failure_is_kept() {
        let mut stages = Stages::default();
        assert!(stages.check("a", || Ok(())));
        assert!(!stages.counted("b", || Ok(Counts {
            passed: 5,
            failed: 2
        })));
        assert!(!stages.check("c", || bail!("no")));
        let (text, whole) = stages.summary();
        assert!(!whole);
        assert_eq!(text.lines().last(), Some("6 passed, 3 failed"));
    }

    #[test]
    fn what_was_skipped_is_no_success() {
        let mut stages = Stages::default();
        stages.check("a", || Ok(()));
        assert!(stages.summary().1);
        stages.skip("b");
        assert!(!stages.summary().1);
    }
}
