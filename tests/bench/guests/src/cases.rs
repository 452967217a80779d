//! The table of cases.

use std::io;

use serde_json::Value;

use crate::{
    hosted, native,
    rounds::{Effort, Figures, interleaved, row},
    scheduler::{Core, Crowd, Hosted, Native, Waiting, percentiles},
    script::{PLUGINS, Protocol, Script},
};

/// Tokens of a whole answer: about 1 KB of text.
const TOKENS: u32 = 160;
/// Tokens of a stream: so many that its beginning is little of it.
const STREAM: u32 = 1024;
const PROMPT: usize = 1024;
const LARGE: usize = 220 * 1000;

/// Work of one case.
#[derive(Clone, Copy, Debug)]
enum Work {
    /// Frontend and backend.
    Translate,
    /// The frontend alone.
    Pass,
}

struct Case {
    name: String,
    /// What one figure is for.
    unit: &'static str,
    work: Work,
    ways: (Protocol, Protocol),
    shape: Shape,
}

/// Bytes of the prompt, tokens of the answer, and how many of them come in one step of a stream.
#[derive(Clone, Copy, Debug)]
struct Shape {
    prompt: usize,
    tokens: u32,
    per_step: Option<u32>,
}

const fn shape(prompt: usize, tokens: u32, per_step: Option<u32>) -> Shape {
    Shape {
        prompt,
        tokens,
        per_step,
    }
}

use Protocol::{CaikitGrpc, CaikitRest, Openai, Tgis, TritonGrpc, TritonHttp};
use Work::{Pass, Translate};

const WHOLE: Shape = shape(PROMPT, TOKENS, None);
const LONG: Shape = shape(LARGE, TOKENS, None);
const ONE: Shape = shape(PROMPT, STREAM, Some(1));
const SIXTEEN: Shape = shape(PROMPT, STREAM, Some(16));

/// Two ways there and back.
const BOTH: [(Protocol, Protocol); 2] = [(Openai, Tgis), (Tgis, Openai)];
/// Each further plugin once as client and once as worker, beside one that is measured above.
const MORE: [(Protocol, Protocol); 7] = [
    (Openai, CaikitRest),
    (Openai, CaikitGrpc),
    (Openai, TritonHttp),
    (Openai, TritonGrpc),
    (CaikitRest, Tgis),
    (CaikitGrpc, Tgis),
    (TritonHttp, Tgis),
];

/// Exchanges.
fn cases() -> Vec<Case> {
    let translated = |ways: (Protocol, Protocol), shape: Shape| {
        let pair = format!("{} → {}", ways.0.name(), ways.1.name());
        let (name, unit) = match shape.per_step {
            Some(1) => (format!("stream {pair}, 1 token a step"), "token"),
            Some(more) => (format!("stream {pair}, {more} tokens a step"), "token"),
            None if shape.prompt == LARGE => (format!("unary {pair}, 220 KB"), "exchange"),
            None => (format!("unary {pair}"), "exchange"),
        };
        Case {
            name,
            unit,
            work: Translate,
            ways,
            shape,
        }
    };
    let passed = |protocol: Protocol, name: &str, unit: &'static str, shape: Shape| Case {
        name: name.to_owned(),
        unit,
        work: Pass,
        ways: (protocol, protocol),
        shape,
    };
    let mut all = Vec::new();
    all.extend(BOTH.map(|ways| translated(ways, WHOLE)));
    for ways in BOTH {
        all.extend([ONE, SIXTEEN].map(|shape| translated(ways, shape)));
    }
    all.extend([
        passed(Openai, "pass OpenAI", "exchange", WHOLE),
        passed(Tgis, "pass TGIS", "exchange", WHOLE),
        passed(Openai, "usage tap OpenAI, an event a chunk", "chunk", ONE),
        passed(Tgis, "usage tap TGIS, a message a chunk", "chunk", ONE),
    ]);
    all.extend(BOTH.map(|ways| translated(ways, LONG)));
    all.push(passed(Openai, "pass OpenAI, 220 KB", "exchange", LONG));
    all.extend(MORE.map(|ways| translated(ways, WHOLE)));
    all.extend(MORE.map(|ways| translated(ways, ONE)));
    all
}

/// Requests that wait, for the scheduler.
const PENDING: [u64; 4] = [10, 100, 1000, 10_000];
/// As many adapters, of which one worker has all; the other one that is there has none.
const CROWDED: (u64, u64) = (1000, 200);
/// Steps of a round.
const STEPS: usize = 2000;

/// The plugins of both sides.
pub struct Bench {
    /// As [`PLUGINS`] counts them.
    natives: [native::Plugin; 4],
    hosteds: Vec<hosted::Plugin>,
    schedulers: Vec<(Core, std::sync::Arc<tollgate_plugin::Generation>)>,
}

impl Bench {
    /// Loads components.
    ///
    /// # Errors
    /// When one is not there.
    pub fn new(house: &hosted::House) -> io::Result<Self> {
        Ok(Self {
            natives: native::Plugin::all(),
            hosteds: PLUGINS
                .into_iter()
                .map(|name| Ok(hosted::Plugin(house.load(name)?)))
                .collect::<io::Result<_>>()?,
            schedulers: Core::ALL
                .into_iter()
                .map(|core| Ok((core, house.load(core.name())?)))
                .collect::<io::Result<_>>()?,
        })
    }

    /// Measures the cases whose name contains a text; each row is given when it is there.
    ///
    /// # Panics
    /// When the two sides do not do the same.
    pub fn run(&self, effort: Effort, only: &str, mut give: impl FnMut(Value)) {
        for case in cases().iter().filter(|case| case.name.contains(only)) {
            give(self.exchange(case, effort));
        }
        for (core, generation) in &self.schedulers {
            let plain = PENDING.map(|pending| {
                let crowd = Crowd {
                    pending,
                    batch: core.batch(),
                    classes: 1,
                };
                (format!("{}, {pending} pending", core.name()), crowd)
            });
            let (pending, classes) = CROWDED;
            let crowd = Crowd {
                pending,
                batch: 1,
                classes,
            };
            let name = format!("{}, {pending} pending of {classes} models", core.name());
            for (name, crowd) in plain.into_iter().chain([(name, crowd)]) {
                if name.contains(only) {
                    let [median, worst] = scheduler(*core, generation, crowd, effort);
                    give(row(&format!("{name}, p50"), "step", &median.0, &median.1));
                    give(row(&format!("{name}, p99"), "step", &worst.0, &worst.1));
                }
            }
        }
    }

    /// Runs every case once on both sides and compares; gives the names.
    ///
    /// # Panics
    /// When the two sides do not do the same.
    pub fn compare(&self) -> Vec<String> {
        let compared = cases().into_iter().map(|case| {
            self.same(&case, &case.script());
            case.name
        });
        compared.collect()
    }

    fn exchange(&self, case: &Case, effort: Effort) -> Value {
        let script = case.script();
        self.same(case, &script);
        let units = match case.unit {
            "exchange" => 1,
            _ => case.shape.tokens,
        };
        let (native, wasm) = interleaved(
            effort,
            units,
            || {
                std::hint::black_box(self.natively(case.work, &script));
            },
            || {
                std::hint::black_box(self.sandboxed(case.work, &script));
            },
        );
        row(&case.name, case.unit, &native, &wasm)
    }

    fn same(&self, case: &Case, script: &Script) {
        let native = self.natively(case.work, script);
        let hosted = self.sandboxed(case.work, script);
        assert_eq!(
            format!("{native:?}"),
            format!("{hosted:?}"),
            "{}",
            case.name
        );
    }

    fn natively(&self, work: Work, script: &Script) -> native::drive::Outcome {
        let of = |protocol: Protocol| &self.natives[protocol.plugin()];
        match work {
            Translate => native::drive::translate(of(script.client), of(script.worker), script),
            Pass => native::drive::pass(of(script.client), script),
        }
    }

    fn sandboxed(&self, work: Work, script: &Script) -> hosted::drive::Outcome {
        let of = |protocol: Protocol| &self.hosteds[protocol.plugin()];
        match work {
            Translate => hosted::drive::translate(of(script.client), of(script.worker), script),
            Pass => hosted::drive::pass(of(script.client), script),
        }
    }
}

/// Figures of the median and of the 99th percentile, each native and in the sandbox.
fn scheduler(
    core: Core,
    generation: &tollgate_plugin::Generation,
    crowd: Crowd,
    effort: Effort,
) -> [(Figures, Figures); 2] {
    let native = || Waiting::new(Native::new(core), crowd);
    let hosted = || Waiting::new(Hosted::new(generation), crowd);
    let mut all = [(); 2].map(|()| (Figures::default(), Figures::default()));
    for _ in 0..effort.rounds {
        let (median, worst) = percentiles(native, STEPS);
        all[0].0.0.push(median);
        all[1].0.0.push(worst);
        let (median, worst) = percentiles(hosted, STEPS);
        all[0].1.0.push(median);
        all[1].1.0.push(worst);
    }
    all
}

impl Case {
    fn script(&self) -> Script {
        let Shape {
            prompt,
            tokens,
            per_step,
        } = self.shape;
        Script::new(self.ways, prompt, tokens, per_step)
    }
}
