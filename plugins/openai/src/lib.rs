//! The OpenAI API as vLLM serves it, and as OpenVINO Model Server does: a frontend for its
//! clients, a backend for its workers. The core is plain Rust and runs natively; the component is a shell over it.
#![deny(missing_docs)]

mod affinity;
mod backend;
mod claims;
mod docs;
mod errors;
mod frontend;
mod options;

use std::sync::Arc;

use tollgate_sdk_protocol::{
    Backend, Frontend, Protocol,
    backend::{Health, ProbeRequest, ProbeResponse, Worker},
    frontend::RequestHead,
    inference::Call,
    plugin::{Claim, Manifest, Problem},
    types::Context,
};

pub use claims::{ENDPOINTS, Endpoint, Row};
pub use options::Options;

/// The configured plugin.
pub struct OpenAi {
    options: Arc<Options>,
    /// What holds on the paths of OpenVINO Model Server.
    ovms: Arc<Options>,
    rows: Arc<[Row]>,
}

impl Protocol for OpenAi {
    fn manifest() -> Manifest {
        claims::manifest()
    }

    fn configure(options: &str) -> Result<(Self, Vec<Claim>), Vec<Problem>> {
        let options = Options::parse(options)?;
        let claims = claims::claims(&options);
        Ok((
            Self {
                rows: claims::rows(&options).into(),
                ovms: Arc::new(options.for_ovms()),
                options: Arc::new(options),
            },
            claims,
        ))
    }

    fn exchange(&self, context: Context, head: RequestHead) -> Box<dyn Frontend> {
        let row = self.rows.get(head.claim as usize);
        let options = if row.is_some_and(claims::is_ovms) {
            &self.ovms
        } else {
            &self.options
        };
        Box::new(frontend::Exchange::new(
            Arc::clone(options),
            Arc::clone(&self.rows),
            context,
            head,
        ))
    }

    fn attempt(&self, _context: Context, worker: Worker, members: Vec<Call>) -> Box<dyn Backend> {
        Box::new(backend::Attempt::new(
            self.options.target(&worker.options),
            members,
        ))
    }

    fn batch_key(&self, worker: &Worker, call: &Call) -> Option<String> {
        backend::batch_key(&self.options.target(&worker.options), call)
    }

    fn probe(&self, worker: &Worker) -> Vec<ProbeRequest> {
        backend::probe::requests(&self.options.target(&worker.options))
    }

    fn judge(&self, worker: &Worker, responses: Vec<ProbeResponse>) -> Health {
        backend::probe::judge(&self.options.target(&worker.options), &responses)
    }
}

tollgate_sdk_protocol::export_protocol!(OpenAi);
