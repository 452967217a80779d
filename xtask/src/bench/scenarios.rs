//! The scenarios: one table, and a file for each.

pub(crate) mod guests;
pub(crate) mod idle;
mod prompts;
pub(crate) mod start;
pub(crate) mod stream;
mod swap;
mod tensors;
pub(crate) mod translations;
mod unary;
mod wave;

use anyhow::Result;

use super::measure::{Bench, Case, words};
use super::subjects::{PAIR, Subject, Way};

/// Something that is measured under a name.
#[derive(Debug)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) run: fn(&mut Bench<'_>) -> Result<()>,
}

/// Every scenario, in the order in which they are run. A new one is a line here and a file.
pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "unary",
        about: "1 KB each way over 32 connections, closed loop, then open loop at a rate that all hold",
        run: unary::run,
    },
    Scenario {
        name: "stream",
        about: "streams of tokens, one and sixteen at a time, alone and a thousand at once",
        run: stream::run,
    },
    Scenario {
        name: translations::NAME,
        about: "every protocol of clients by every protocol of workers: what a request and a token cost",
        run: translations::run,
    },
    Scenario {
        name: "prompts",
        about: "prompts of 220 KB: throughput, and whether the first token comes later over time",
        run: prompts::run,
    },
    Scenario {
        name: "idle",
        about: "a thousand and, as far as files allow, ten thousand open streams on which nothing happens: memory",
        run: idle::run,
    },
    Scenario {
        name: "wave",
        about: "waves of clients that connect at once and leave: whether memory stays flat",
        run: wave::run,
    },
    Scenario {
        name: "start",
        about: "from start to ready with an empty and a filled cache, and memory when idle",
        run: start::run,
    },
    Scenario {
        name: "tensors",
        about: "tensors of 16 MiB, passed and translated",
        run: tensors::run,
    },
    Scenario {
        name: "swap",
        about: "2,000 requests a second, whole and streamed, while two plugins and a scheduler are swapped",
        run: swap::swap,
    },
    Scenario {
        name: "hostile",
        about: "the same load while a plugin beside the others traps, loops and grows",
        run: swap::hostile,
    },
    Scenario {
        name: "guests",
        about: "the plugins without a proxy, in the sandbox and linked natively",
        run: guests::run,
    },
];

/// The scenario of a name.
pub(crate) fn named(name: &str) -> Option<&'static Scenario> {
    SCENARIOS.iter().find(|scenario| scenario.name == name)
}

/// A case for each subject that can go this way. The A/A pair stands as far apart as the others
/// allow.
fn cases(setting: &str, way: &Way, among: &[Subject], stub: &str, load: &str) -> Vec<Case> {
    way.subjects(among)
        .into_iter()
        .map(|subject| Case {
            setting: setting.to_owned(),
            subject,
            way: *way,
            stub: words(stub),
            load: words(load),
        })
        .collect()
}

/// Everybody: nobody in between, the peers, Tollgate twice.
const ALL: [Subject; 6] = [
    PAIR[0],
    Subject::Nobody,
    Subject::Bare,
    Subject::Nginx,
    Subject::Envoy,
    PAIR[1],
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_found() {
        for scenario in SCENARIOS {
            let same = SCENARIOS.iter().filter(|it| it.name == scenario.name);
            assert_eq!(same.count(), 1);
            assert!(named(scenario.name).is_some());
        }
        assert!(named("nothing").is_none());
    }
}
