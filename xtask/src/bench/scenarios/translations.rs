//! Every translation: what clients speak by what workers speak, and what each pair costs.
//!
//! A listener for each protocol of workers has every frontend before it, so that pairs differ in
//! nothing but the two protocols. What is passed on stands among them, as the base. The pair that
//! all others are compared with is measured twice, for the noise.

use anyhow::Result;

use crate::bench::measure::{Bench, Case, words};
use crate::bench::subjects::{PAIR, Way, way};

/// The scenario's name.
pub(crate) const NAME: &str = "translations";
const CONFIG: &str = "translations.yaml";
/// Listeners of all workers, in the order of [`WORKERS`].
const PORT: u16 = 21090;
/// Listeners of those that only make vectors, in the order of [`Asked::workers`].
const VECTORS: u16 = 21096;

/// What a pair is asked, beside its protocols.
const WHOLE: &str = "--connections 32 --prompt-bytes 1024";
/// So many at once that a core is busy and keeps up: 8,000 tokens a second, each by itself.
const STREAM: &str = "--stream --connections 16 --prompt-bytes 1024 --tokens 128 --drain 60";
const STREAM_STUB: &str = "--tokens 128 --interval 2000";
/// Seconds. Everything is compiled beforehand: what has to be warm are connections and instances.
const WARM: f64 = 0.3;

/// What workers speak, as the stub does.
pub(crate) const WORKERS: [&str; 6] = [
    OPENAI,
    TGIS,
    CAIKIT_REST,
    CAIKIT_GRPC,
    TRITON_HTTP,
    TRITON_GRPC,
];
const OPENAI: &str = "OpenAI";
const TGIS: &str = "TGIS";
const CAIKIT_REST: &str = "caikit REST";
const CAIKIT_GRPC: &str = "caikit gRPC";
const TRITON_HTTP: &str = "Triton HTTP";
const TRITON_GRPC: &str = "Triton gRPC";

/// What clients ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// A text, whole or token by token.
    Text,
    /// A vector.
    Vector,
    /// A tensor of 1 KB.
    Tensor,
    /// An order of documents, of workers that make vectors.
    Ranks,
}

/// A sort of clients.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) name: &'static str,
    pub(crate) asked: Asked,
    /// What the load generator calls it.
    protocol: &'static str,
    grpc: bool,
    /// The worker whom it reaches without a translation.
    passed: Option<&'static str>,
}

/// Every sort of clients, in the order of the table.
pub(crate) const CLIENTS: [Client; 12] = [
    client(
        OPENAI,
        Asked::Text,
        "openai-completion",
        false,
        Some(OPENAI),
    ),
    client(
        "OpenAI chat",
        Asked::Text,
        "openai-chat",
        false,
        Some(OPENAI),
    ),
    client(TGIS, Asked::Text, "tgis", true, Some(TGIS)),
    client(
        CAIKIT_REST,
        Asked::Text,
        "caikit-rest",
        false,
        Some(CAIKIT_REST),
    ),
    client(
        CAIKIT_GRPC,
        Asked::Text,
        "caikit-grpc",
        true,
        Some(CAIKIT_GRPC),
    ),
    client(
        "Triton generate",
        Asked::Text,
        "generate",
        false,
        Some(TRITON_HTTP),
    ),
    client(
        "embedding: OpenAI",
        Asked::Vector,
        "openai-embedding",
        false,
        Some(OPENAI),
    ),
    client(
        "embedding: caikit REST",
        Asked::Vector,
        "caikit-rest-embedding",
        false,
        Some(CAIKIT_REST),
    ),
    client(
        "embedding: caikit gRPC",
        Asked::Vector,
        "caikit-grpc-embedding",
        true,
        Some(CAIKIT_GRPC),
    ),
    client(
        "1 KB tensor: V2 REST",
        Asked::Tensor,
        "v2-rest",
        false,
        Some(TRITON_HTTP),
    ),
    client(
        "1 KB tensor: V2 gRPC",
        Asked::Tensor,
        "v2-grpc",
        true,
        Some(TRITON_GRPC),
    ),
    client(
        "rerank over embeddings: OpenAI",
        Asked::Ranks,
        "openai-rerank",
        false,
        None,
    ),
];

const fn client(
    name: &'static str,
    asked: Asked,
    protocol: &'static str,
    grpc: bool,
    passed: Option<&'static str>,
) -> Client {
    Client {
        name,
        asked,
        protocol,
        grpc,
        passed,
    }
}

impl Asked {
    /// Who can be asked for it.
    pub(crate) const fn workers(self) -> &'static [&'static str] {
        match self {
            Self::Text => &WORKERS,
            Self::Vector | Self::Ranks => &[OPENAI, CAIKIT_REST, CAIKIT_GRPC],
            Self::Tensor => &[TRITON_HTTP, TRITON_GRPC],
        }
    }

    /// Whether it also comes piece by piece.
    pub(crate) fn streams(self) -> bool {
        self == Self::Text
    }

    /// Whether a pair is held against the budget. Five vectors make one order, which is another
    /// amount of work.
    pub(crate) fn is_judged(self) -> bool {
        self != Self::Ranks
    }
}

impl Client {
    /// Whether nothing is translated towards this worker.
    pub(crate) fn passes(&self, worker: &str) -> bool {
        self.passed == Some(worker)
    }

    fn way(&self, worker: &str) -> Way {
        let place = |among: &[&str]| among.iter().position(|name| *name == worker);
        let (first, at) = match self.asked {
            Asked::Ranks => (VECTORS, place(self.asked.workers())),
            _ => (PORT, place(&WORKERS)),
        };
        let at = at.and_then(|at| u16::try_from(at).ok()).unwrap_or(0);
        way(
            self.name,
            self.protocol,
            self.grpc,
            false,
            CONFIG,
            first + at,
        )
    }
}

/// The name of a pair's figures.
pub(crate) fn setting(client: &Client, worker: &str, streamed: bool) -> String {
    let pair = format!("{} → {worker}", client.name);
    if streamed { pair + ", streamed" } else { pair }
}

/// The pair that all others are compared with.
pub(crate) fn base(streamed: bool) -> String {
    setting(&CLIENTS[0], TGIS, streamed)
}

pub(super) fn run(bench: &mut Bench<'_>) -> Result<()> {
    bench.warm = WARM;
    let [whole, streamed] = [false, true].map(cases);
    bench.rounds(&whole, |bench, case, stage| {
        Ok(bench.load(case, stage)?.by_request(case.subject))
    });
    bench.rounds(&streamed, |bench, case, stage| {
        Ok(bench.load(case, stage)?.by_token(case.subject))
    });
    Ok(())
}

fn cases(streamed: bool) -> Vec<Case> {
    let (stub, load) = if streamed {
        (STREAM_STUB, STREAM)
    } else {
        ("", WHOLE)
    };
    let mut all = Vec::new();
    for client in &CLIENTS {
        if streamed && !client.asked.streams() {
            continue;
        }
        for worker in client.asked.workers() {
            let setting = setting(client, worker, streamed);
            let twice = setting == base(streamed);
            for subject in PAIR.into_iter().take(1 + usize::from(twice)) {
                all.push(Case {
                    setting: setting.clone(),
                    subject,
                    way: client.way(worker),
                    stub: words(stub),
                    load: words(load),
                });
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::bench::subjects::Subject;

    #[test]
    fn every_pair_is_there_once_and_the_base_twice() {
        let (whole, streamed) = (cases(false), cases(true));
        // 6 of 6, 3 of 3, 2 of 2, and 1 of 3.
        assert_eq!(whole.len(), 36 + 9 + 4 + 3 + 1);
        assert_eq!(streamed.len(), 36 + 1);
        let names: BTreeSet<&str> = whole.iter().map(|case| case.setting.as_str()).collect();
        assert_eq!(names.len(), whole.len() - 1);
        for all in [whole, streamed] {
            let base = base(all[0].setting.ends_with("streamed"));
            assert_eq!(all.iter().filter(|case| case.setting == base).count(), 2);
        }
    }

    #[test]
    fn listeners_are_those_of_the_configuration() {
        let file = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../tests/bench/translations.yaml"
        );
        let text = std::fs::read_to_string(file).unwrap();
        let listens = |name: &str| {
            let line = format!("{{ name: {name}, address: \"");
            let at = text.find(&line).unwrap() + line.len();
            text[at..].split_once('"').unwrap().0.to_owned()
        };
        for case in cases(false) {
            let (client, worker) = case.setting.split_once(" → ").unwrap();
            let worker = worker.to_lowercase().replace(' ', "-");
            let listener = if client.starts_with("rerank") {
                format!("{worker}-vectors")
            } else {
                worker
            };
            let address = case.way.address(Subject::Tollgate).unwrap().to_string();
            assert_eq!(address, listens(&listener), "{}", case.setting);
        }
    }

    #[test]
    fn one_worker_of_each_sort_of_clients_is_reached_without_a_translation() {
        for client in &CLIENTS {
            let workers = client.asked.workers().iter();
            let passed = workers.filter(|worker| client.passes(worker)).count();
            assert_eq!(passed, usize::from(client.asked != Asked::Ranks));
        }
    }
}
