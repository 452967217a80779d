//! One target for every parser of foreign bytes: a function that takes any bytes and panics when
//! what it drives breaks a promise.
//!
//! * The corpus under `corpus/TARGET/` is replayed by `tests/replay.rs` on every run of the tests.
//! * `cargo xtask fuzz` explores from there, guided by coverage (`runner/`).
//!
//! A promise is seldom "does not panic" alone: a target compares with another parser of the same
//! format, reads its input once whole and once in pieces, or writes what was read and reads it
//! again. Inputs are kept readable, so that a seed is a file that one can write by hand: where
//! pieces are needed, the places of the cuts follow from the bytes ([`input`]).
#![forbid(unsafe_code)]

mod caikit;
mod cluster;
mod config;
mod convert;
mod door;
mod driver;
mod embedded;
mod frames;
mod headers;
mod identity;
mod inflate;
pub mod input;
mod json;
mod kserve;
mod openai;
mod oracle;
mod protocol;
mod reflect;
mod splice;
mod sse;
mod text;
mod tgis;
mod trust;

/// A function of foreign bytes.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, and its folder's in the corpus.
    pub name: &'static str,
    /// What it drives, and what it holds that to.
    pub about: &'static str,
    /// Panics when a promise is broken.
    pub run: fn(&[u8]),
}

macro_rules! targets {
    ($($name:literal, $run:path, $about:literal;)*) => {
        /// Every target, sorted by name.
        pub const TARGETS: &[Target] = &[$(Target { name: $name, about: $about, run: $run }),*];
    };
}

targets! {
    "caikit", caikit::exchange, "requests and answers, REST and gRPC: the authorized model, the same at every pace";
    "caikit-options", caikit::options, "options, workers' options and probes' answers";
    "cluster", cluster::cluster, "lists of a cluster's objects: bounded, the same each time, and no two of one name";
    "config", config::config, "configuration and token files: refused with a place, or explained";
    "convert", convert::convert_bytes, "values between encodings: bounds, ways back, serde_json's numbers";
    "door", door::door, "Authorization and trace context: only the token opens, what leaves is well formed";
    "driver", driver::driver, "the scheduler's driver under any history: none lost, none twice, none to a dead worker";
    "embedded", embedded::embedded, "the model's tokenizer, stop sequences and tasks: texts come back, splits do not matter";
    "frames", frames::frames, "gRPC frames: the same however they are cut, and as a plain reading has them";
    "headers", headers::headers, "hygiene of heads: what must go is gone, what was accepted reads one way";
    "identity", identity::identity, "signed tokens, sets of keys, certificates: without a key nobody is let in";
    "inflate", inflate::inflate, "gzip and deflate: as flate2 reads them whole, however they are cut, within the limit";
    "json", json::json, "checking JSON and finding members: as serde_json";
    "kserve", kserve::exchange, "inferences and all else, REST and gRPC, tensors in JSON and raw";
    "kserve-options", kserve::options, "options, workers' options and probes' answers";
    "openai-backend", openai::backend, "answers of workers: the same events at every pace, and none after the end";
    "openai-frontend", openai::frontend, "requests of clients: the authorized model and no other is sent on";
    "openai-options", openai::options, "options, workers' options and probes' answers";
    "reflect", reflect::reflect, "reflection and health: every answer decodes";
    "splice", splice::splice, "edits of a body and pieces of output: as plain replacement, however bytes arrive";
    "sse", sse::sse, "Server-Sent Events: the same however they are cut, ranges without gaps";
    "text", text::text, "statuses, timeouts, templates and JSON strings: written and read back";
    "tgis-backend", tgis::backend, "answers of workers: the same events at every pace, and none after the end";
    "tgis-frontend", tgis::frontend, "requests of clients: the authorized model and no other is sent on";
    "tgis-options", tgis::options, "options, workers' options and probes' answers";
    "trust", trust::trust, "signatures over components: written as read, and nobody's is good";
}

/// The target of this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
