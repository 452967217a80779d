//! A small host for native tests: bytes in memory, and drivers that play a recorded
//! exchange to a frontend or a backend at any pace.
//!
//! A plugin must answer the same whether its input comes whole, cut in two anywhere, or
//! byte by byte: [`same_at_every_pace`] runs a driver at all of those and compares.

mod client;
mod convert;
mod memory;
mod worker;

pub use client::{Client, ClientOutcome, Passed, Upstream};
pub use convert::convert;
pub use memory::Memory;
pub use worker::{Answer, Attempted, Worker, WorkerOutcome};

use crate::types::{Context, Cut};

/// In what pieces input comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// All at once, the end with it.
    Whole,
    /// In two pieces, cut here; the end comes apart.
    Cut(usize),
    /// One at a time; the end comes apart.
    Single,
}

impl Pace {
    /// Ends of the pieces of something that long.
    #[must_use]
    pub fn ends(self, len: usize) -> Vec<usize> {
        match self {
            Self::Whole => vec![len],
            Self::Cut(at) if at == 0 || at >= len => vec![len],
            Self::Cut(at) => vec![at, len],
            Self::Single if len == 0 => vec![0],
            Self::Single => (1..=len).collect(),
        }
    }

    /// Whether the end is told together with the last piece.
    #[must_use]
    pub fn ends_together(self) -> bool {
        self == Self::Whole
    }
}

/// Runs at [`Pace::Whole`], byte by byte, and cut at every position up to `len`;
/// gives the first outcome.
///
/// # Panics
/// When an outcome differs.
pub fn same_at_every_pace<T: PartialEq + std::fmt::Debug>(
    len: usize,
    mut run: impl FnMut(Pace) -> T,
) -> T {
    let whole = run(Pace::Whole);
    for pace in std::iter::once(Pace::Single).chain((1..len).map(Pace::Cut)) {
        assert_eq!(run(pace), whole, "at pace {pace:?}");
    }
    whole
}

/// Something that stands beside an outcome and is not compared with it: any two are
/// equal.
#[derive(Clone, Debug, Default)]
pub struct Aside<T>(pub T);

impl<T> PartialEq for Aside<T> {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// How a stream of bytes ends.
#[derive(Clone, Debug, PartialEq)]
pub enum Ending {
    /// As it should.
    End,
    /// It breaks off.
    Cut(Cut),
}

/// A context with fixed values.
#[must_use]
pub fn context() -> Context {
    Context {
        request_id: "0123456789abcdef".to_owned(),
        unix_time: 1_700_000_000,
        seed: 42,
        route: "test".to_owned(),
        default_model: Some("default-model".to_owned()),
        deadline_ms: None,
        extensions: Vec::new(),
    }
}
