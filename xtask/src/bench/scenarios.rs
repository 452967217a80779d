//! The scenarios: one table, and a file for each.

pub(crate) mod batching;
pub(crate) mod guests;
pub(crate) mod hostile;
pub(crate) mod idle;
mod overload;
mod prompts;
pub(crate) mod start;
pub(crate) mod stream;
pub(crate) mod swap;
mod telemetry;
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
    /// What a reader of its figures looks at, and what it means.
    pub(crate) reads: &'static str,
    pub(crate) run: fn(&mut Bench<'_>) -> Result<()>,
}

/// Every scenario, in the order in which they are run. A new one is a line here and a file.
pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "unary",
        about: "1 KB each way over 32 connections, closed loop, then open loop at a rate that all hold",
        reads: "`CPU a request` is what a proxy costs: a core does as many requests a second as that fits into it. In the closed loop the proxy's core is busy all the time and latencies are those of a queue; at the common rate, behind it, they are those of a proxy that is not.",
        run: unary::run,
    },
    Scenario {
        name: "telemetry",
        about: "1 KB each way over 32 connections: every request traced and exported, against no traces and no access log",
        reads: "`of it telemetry` is what spans, their export and the line in the access log cost together; Tollgate by itself has the line and no spans. Metrics are counted in all of them.",
        run: telemetry::run,
    },
    Scenario {
        name: "stream",
        about: "streams of tokens, one and sixteen at a time, alone and a thousand at once",
        reads: "Tokens come at the same pace to all: what counts is what one costs, and whether it comes later than through others. A thousand streams with one token a write are the dear case of every proxy.",
        run: stream::run,
    },
    Scenario {
        name: translations::NAME,
        about: "every protocol of clients by every protocol of workers: what a request and a token cost",
        reads: "What is passed on is the base; what a translation costs more is the work of two plugins and of what lies between them. Rerank is shown and not judged: five vectors make one answer.",
        run: translations::run,
    },
    Scenario {
        name: "prompts",
        about: "prompts of 220 KB: throughput, and whether the first token comes later over time",
        reads: "The whole prompt has to pass before there is a first token. `last over first` is the time to it in the last quarter of a measurement over that in the first: 1 where nothing builds up.",
        run: prompts::run,
    },
    Scenario {
        name: "idle",
        about: "a thousand and, as far as files allow, ten thousand open streams on which nothing happens: memory",
        reads: "`RSS a stream` is what one takes. Over HTTP/1.1 it holds two connections, over HTTP/2 it shares them; as many are opened as a process may have files.",
        run: idle::run,
    },
    Scenario {
        name: "wave",
        about: "waves of clients that connect at once and leave: whether memory stays flat",
        reads: "`RSS, last over third wave` is 1 where what a wave of clients took is used again by the next.",
        run: wave::run,
    },
    Scenario {
        name: "overload",
        about: "ten times what a worker can do: what is still answered, and how soon the rest knows",
        reads: "`of capacity` is what is still answered over what the worker can do; `away` until a client that is turned away knows.",
        run: overload::run,
    },
    Scenario {
        name: "start",
        about: "from start to ready with an empty and a filled cache, and memory when idle",
        reads: "With a filled cache nothing is compiled: that is a restart. With an empty one every plugin is.",
        run: start::run,
    },
    Scenario {
        name: "tensors",
        about: "tensors of 16 MiB, passed and translated",
        reads: "No plugin sees a tensor: translations move the same bytes, and `CPU a request` is of 16 MiB there and back.",
        run: tensors::run,
    },
    Scenario {
        name: "swap",
        about: "2,000 requests a second, whole and streamed, while two plugins and a scheduler are swapped",
        reads: "Requests that fail or wait are what a swap would cost; the load is open, so that a stall is seen by all that was due meanwhile.",
        run: swap::run,
    },
    Scenario {
        name: "hostile",
        about: "1,000 requests a second, whole and streamed, while plugins on other routes trap, loop, grow, flood and rave, and a scheduler crashes, each asked 20 times a second",
        reads: "What others pay for plugins that misbehave, under the default limits and quarantine: none of their requests may fail; `p99` beside the A/A pair is what they wait for the attackers' share of the processor. What each attacker was answered, and what names it, is in the raw results.",
        run: hostile::run,
    },
    Scenario {
        name: "batching",
        about: "rows of many clients at a real Triton: merged here, merged there, and not merged",
        reads: "`of the ideal` is over the best of the curve; `over not merged` is 1 where merging neither pays nor costs.",
        run: batching::run,
    },
    Scenario {
        name: guests::NAME,
        about: "the plugins without a proxy, in the sandbox and linked natively",
        reads: "Calls into plugins alone, with nothing sent: `unary` a whole exchange, `stream` one token, `pass` and `usage tap` the frontend of a request that is passed on, the others one step of a scheduler while so many requests wait. What the sandbox costs is the difference: writing arguments into its memory, reading answers, entering and leaving.",
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
