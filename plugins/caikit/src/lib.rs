//! The caikit runtime's NLP tasks, over REST and over gRPC, towards clients and towards
//! workers.
//!
//! `frontend` speaks to clients, `backend` to workers; each module says in its head how.
//! Between them and the two surfaces (`rest`, `grpc`) stand requests and results in the
//! runtime's own words (`request`, `answer`): what is read from one surface can be
//! written to the other.

mod answer;
mod backend;
mod carried;
mod endpoint;
mod errors;
mod frontend;
mod grpc;
mod json;
mod manifest;
mod neutral;
mod options;
mod proto;
mod request;
mod rest;
mod strict;

use std::sync::Arc;

use tollgate_sdk_protocol::{
    Backend, Frontend, Protocol,
    backend::{Health, ProbeRequest, ProbeResponse, Worker},
    frontend::RequestHead,
    health,
    inference::Call,
    plugin::{Claim, Manifest, Problem},
    types::Context,
};

use manifest::{Door, What};
use options::{Options, WorkerOptions};

/// The configured plugin.
pub struct Caikit {
    options: Arc<Options>,
    /// By the number of its claim.
    doors: Vec<(Door, What)>,
}

impl Caikit {
    fn worker(&self, worker: &Worker) -> Result<WorkerOptions, String> {
        WorkerOptions::parse(&worker.dialect, &worker.options, &self.options)
    }
}

impl Protocol for Caikit {
    fn manifest() -> Manifest {
        manifest::manifest()
    }

    fn configure(options: &str) -> Result<(Self, Vec<Claim>), Vec<Problem>> {
        let plugin = Self {
            options: Arc::new(Options::parse(options)?),
            doors: manifest::doors()
                .map(|(door, what, _)| (door, what))
                .collect(),
        };
        Ok((plugin, manifest::claims()))
    }

    fn exchange(&self, context: Context, head: RequestHead) -> Box<dyn Frontend> {
        // The host gives numbers of claims that it was given; another one is its mistake,
        // and a trap is what it expects then.
        let (door, what) = self.doors[head.claim as usize];
        let options = Arc::clone(&self.options);
        Box::new(frontend::Exchange::new(options, context, head, door, what))
    }

    fn attempt(&self, _: Context, worker: Worker, members: Vec<Call>) -> Box<dyn Backend> {
        Box::new(backend::Attempt::new(self.worker(&worker), members))
    }

    fn batch_key(&self, worker: &Worker, call: &Call) -> Option<String> {
        backend::key(call, &self.worker(worker).ok()?)
    }

    fn probe(&self, worker: &Worker) -> Vec<ProbeRequest> {
        // With options that cannot be read there is nothing to ask, and `judge` says why.
        self.worker(worker)
            .map_or_else(|_| Vec::new(), |options| backend::probe(&options))
    }

    fn judge(&self, worker: &Worker, responses: Vec<ProbeResponse>) -> Health {
        match self.worker(worker) {
            Ok(options) => backend::judge(&options, &responses),
            Err(problem) => health::unwell(problem),
        }
    }
}

tollgate_sdk_protocol::export_protocol!(Caikit);
