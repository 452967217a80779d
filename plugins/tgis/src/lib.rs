//! TGIS, `fmaas.GenerationService`: the protocol of the Text Generation Inference Server
//! and of vLLM's adapter for it, towards clients and towards workers.
//!
//! `frontend` speaks to clients, `backend` to workers; each module says in its head how.
//! Both work on the messages of `proto/generation.proto` (`fmaas`), but leave big texts
//! where the host holds them. The HTTP port of those servers (`/health`) is not
//! served: the proxy answers for its own health.

mod backend;
mod fmaas;
mod frontend;
mod manifest;
mod model_kind;
mod neutral;
mod options;

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

use options::{Options, WorkerOptions};

/// The configured plugin.
pub struct Tgis {
    options: Arc<Options>,
}

impl Tgis {
    fn worker(&self, worker: &Worker) -> Result<WorkerOptions, String> {
        let mut options = WorkerOptions::parse(&worker.options, &self.options)?;
        // A worker that is configured with a model is asked about that one.
        options.model = options.model.or_else(|| worker.models.first().cloned());
        Ok(options)
    }
}

impl Protocol for Tgis {
    fn manifest() -> Manifest {
        manifest::manifest()
    }

    fn configure(options: &str) -> Result<(Self, Vec<Claim>), Vec<Problem>> {
        let options = Arc::new(Options::parse(options)?);
        Ok((Self { options }, manifest::claims()))
    }

    fn exchange(&self, _: Context, head: RequestHead) -> Box<dyn Frontend> {
        // The host gives numbers of claims that it was given; another one is its mistake,
        // and a trap is what it expects then.
        let method = frontend::Method::ALL[head.claim as usize];
        Box::new(frontend::Exchange::new(Arc::clone(&self.options), method))
    }

    fn attempt(&self, context: Context, worker: Worker, members: Vec<Call>) -> Box<dyn Backend> {
        let options = self.worker(&worker);
        Box::new(backend::Attempt::new(context.request_id, options, members))
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

tollgate_sdk_protocol::export_protocol!(Tgis);
