//! Models of workers: how long what they are given takes.
//!
//! | kind | what it is |
//! |---|---|
//! | `batch` | a runtime that does one batch at a time in each of its `lanes`: `fixed-us + each-us · size + unit-us · input`, and up to `jitter` of that more or less; a batch is there `transit-us` after it was sent |
//! | `continuous` | a runtime that batches by itself, iteration by iteration: `step-us`, and `sequence-us` for each sequence that decodes, and `prefill-ns` for each token of a prompt, of which at most `chunk` go into one iteration; at most `sequences` run at once; beginnings of prompts are found again in a cache of `cache` blocks of `block` tokens |

mod continuous;
mod one_shot;

use tollgate_dispatch::policy::{BatchId, RequestId};

use self::continuous::Continuous;
use self::one_shot::OneShot;
use crate::random::Random;
use crate::spec::{Spec, SpecError};

/// A kind of worker.
#[derive(Clone, Debug, PartialEq)]
pub enum Service {
    /// Batches as they come.
    Batch(BatchService),
    /// Iterations.
    Continuous(ContinuousService),
}

/// Times of batches, in microseconds.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchService {
    /// For each batch.
    pub fixed: f64,
    /// For each member.
    pub each: f64,
    /// For each unit of input.
    pub unit: f64,
    /// Part by which it varies.
    pub jitter: f64,
    /// Batches at once.
    pub lanes: u32,
    /// Microseconds from a batch's sending to its being there.
    pub transit: u64,
}

/// Times of iterations.
#[derive(Clone, Debug, PartialEq)]
pub struct ContinuousService {
    /// Microseconds for each iteration.
    pub step: f64,
    /// Microseconds for each sequence that decodes.
    pub sequence: f64,
    /// Nanoseconds for each token of a prompt.
    pub prefill: f64,
    /// Tokens of prompts in one iteration.
    pub chunk: u32,
    /// Sequences at once.
    pub sequences: u32,
    /// Tokens of a cached block.
    pub block: u32,
    /// Blocks in the cache.
    pub cache: usize,
}

/// A request at a worker.
#[derive(Clone, Debug)]
pub struct Member {
    /// Its number at its proxy.
    pub id: RequestId,
    /// Units of input.
    pub input: u32,
    /// Units of output.
    pub output: u32,
    /// Hashes of its beginning.
    pub blocks: Vec<u64>,
}

/// A batch at a worker.
#[derive(Clone, Debug)]
pub struct Task {
    /// Who sent it.
    pub proxy: usize,
    /// Its number there.
    pub batch: BatchId,
    /// Who is in it.
    pub members: Vec<Member>,
}

/// What a worker has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// A member's first output.
    First(usize, BatchId, RequestId),
    /// A member's end.
    Member(usize, BatchId, RequestId),
    /// All members of a batch have ended.
    Batch(usize, BatchId),
}

/// What a worker has done in all.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Worked {
    /// Microseconds of work, of all its lanes together.
    pub(crate) time: f64,
    /// How many lanes.
    pub(crate) lanes: f64,
    /// Units of prompts that it was given, and those that it found in its cache.
    pub(crate) asked: f64,
    pub(crate) found: f64,
}

/// A worker.
pub(crate) enum Machine {
    OneShot(OneShot),
    Continuous(Continuous),
}

// === impl Service ===

impl Service {
    /// Reads a description.
    ///
    /// # Errors
    /// It is not one of a kind of worker.
    pub fn read(text: &str) -> Result<Self, SpecError> {
        let mut spec = Spec::read(text)?;
        let hour = 3.6e9;
        let service = match spec.kind.as_str() {
            "batch" => Self::Batch(BatchService {
                fixed: spec.take("fixed-us", 5000.0, 0.0, hour)?,
                each: spec.take("each-us", 300.0, 0.0, hour)?,
                unit: spec.take("unit-us", 0.0, 0.0, hour)?,
                jitter: spec.take("jitter", 0.05, 0.0, 1.0)?,
                lanes: spec.take("lanes", 1, 1, 10_000)?,
                transit: spec.take("transit-us", 0, 0, 1_000_000_000)?,
            }),
            "continuous" => Self::Continuous(ContinuousService {
                step: spec.take("step-us", 8000.0, 1.0, hour)?,
                sequence: spec.take("sequence-us", 100.0, 0.0, hour)?,
                prefill: spec.take("prefill-ns", 50_000.0, 0.0, 1e12)?,
                chunk: spec.take("chunk", 2048, 1, 1 << 30)?,
                sequences: spec.take("sequences", 64, 1, 100_000)?,
                block: spec.take("block", 64, 1, 1 << 20)?,
                cache: spec.take("cache", 4096, 0, 1 << 24)?,
            }),
            other => return Err(SpecError::Kind(other.to_owned(), "batch, continuous")),
        };
        spec.end()?;
        Ok(service)
    }

    /// Requests a second that one worker could do at best, kept full with batches of `max_batch`
    /// and nothing cached, for requests of this mean input and output.
    #[must_use]
    pub fn ideal(&self, max_batch: u32, input: f64, output: f64) -> f64 {
        match self {
            Self::Batch(it) => {
                let size = f64::from(max_batch.max(1));
                let time = it.fixed + (it.each + it.unit * input) * size;
                f64::from(it.lanes) * size / time.max(1e-9) * 1e6
            }
            Self::Continuous(it) => {
                let many = f64::from(it.sequences);
                // The first token comes of the prompt; each other one is a sequence's part of a step.
                let decode = (output - 1.0).max(0.0) * (it.step / many + it.sequence);
                let prompt = input * it.prefill / 1000.0;
                1e6 / (decode + prompt).max(1e-9)
            }
        }
    }

    pub(crate) fn machine(&self) -> Machine {
        match self {
            Self::Batch(it) => Machine::OneShot(OneShot::new(it.clone())),
            Self::Continuous(it) => Machine::Continuous(Continuous::new(it.clone())),
        }
    }
}

// === impl Machine ===

impl Machine {
    /// It is given a batch.
    pub(crate) fn submit(&mut self, now: u64, task: Task, random: &mut Random) {
        match self {
            Self::OneShot(it) => it.submit(now, task, random),
            Self::Continuous(it) => it.submit(now, task),
        }
    }

    /// When it has something to tell.
    pub(crate) fn next(&self) -> Option<u64> {
        match self {
            Self::OneShot(it) => it.next(),
            Self::Continuous(it) => it.next(),
        }
    }

    /// That instant has come.
    pub(crate) fn wake(&mut self, now: u64, random: &mut Random, done: &mut Vec<Done>) {
        match self {
            Self::OneShot(it) => it.wake(now, random, done),
            Self::Continuous(it) => it.wake(now, done),
        }
    }

    /// Requests that wait inside it, and that run.
    pub(crate) fn load(&self) -> (u32, u32) {
        match self {
            Self::OneShot(it) => it.load(),
            Self::Continuous(it) => it.load(),
        }
    }

    /// What it has done so far.
    pub(crate) fn worked(&self) -> Worked {
        match self {
            Self::OneShot(it) => it.worked(),
            Self::Continuous(it) => it.worked(),
        }
    }
}
