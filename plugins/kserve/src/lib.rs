//! The Open Inference Protocol, version 2, as the KServe family of servers speaks it:
//! towards clients and towards workers, over HTTP and over gRPC.
//!
//! `frontend` speaks to clients, `backend` to workers, and both stand on `codec`, which
//! reads and writes requests and responses without the bytes of their tensors. The two
//! forms are two dialects, `kserve-rest` and `kserve-grpc`: what comes in one and goes out
//! in the same is passed, what changes is the few bytes that name the model. The protocol's first
//! version, `:predict`, is a third dialect, `kserve-v1`: its values are tensors once the options say
//! of which names and datatypes.

mod backend;
mod codec;
mod datatype;
mod doors;
mod errors;
mod frontend;
mod options;
mod proto;

use std::sync::Arc;

use tollgate_sdk_protocol::{
    Backend, Frontend, Protocol,
    backend::{Health, ProbeRequest, ProbeResponse, Worker},
    frontend::RequestHead,
    health,
    inference::{Call, Task},
    plugin::{Claim, Manifest, Problem},
    types::Context,
};

use backend::Link;
use doors::Door;
use options::{Options, Target};

/// The configured plugin.
pub struct Kserve {
    options: Arc<Options>,
    doors: Vec<Door>,
}

impl Kserve {
    fn link(&self, worker: &Worker) -> Result<Link, String> {
        let target = Target::parse(&worker.options, &self.options)?;
        let v1 = worker.dialect == doors::V1;
        Ok(Link {
            target: if v1 { target.of_v1() } else { target },
            grpc: worker.dialect == doors::GRPC,
            v1,
        })
    }
}

fn is_infer(call: &Call) -> bool {
    matches!(call.task, Task::Infer(_))
}

impl Protocol for Kserve {
    fn manifest() -> Manifest {
        doors::manifest()
    }

    fn configure(options: &str) -> Result<(Self, Vec<Claim>), Vec<Problem>> {
        let options = Arc::new(Options::parse(options)?);
        let doors = doors::doors(&options);
        let claims = doors::claims(&doors, &options);
        Ok((Self { options, doors }, claims))
    }

    fn exchange(&self, context: Context, head: RequestHead) -> Box<dyn Frontend> {
        // The host gives numbers of claims that it was given; another one is its mistake,
        // and a trap is what it expects then.
        let door = self.doors[head.claim as usize];
        frontend::exchange(&self.options, door, context, head)
    }

    fn attempt(&self, _: Context, worker: Worker, members: Vec<Call>) -> Box<dyn Backend> {
        match self.link(&worker) {
            Ok(link) if members.len() > 1 && members.iter().all(is_infer) => {
                Box::new(backend::Merged::new(link, members))
            }
            link => Box::new(backend::Attempt::new(link, members)),
        }
    }

    /// Most servers of this protocol batch by themselves: only where a worker's options say so.
    fn batch_key(&self, worker: &Worker, call: &Call) -> Option<String> {
        backend::key(&self.link(worker).ok()?, call)
    }

    fn probe(&self, worker: &Worker) -> Vec<ProbeRequest> {
        // With options that cannot be read there is nothing to ask, and `judge` says why.
        self.link(worker)
            .map_or_else(|_| Vec::new(), |link| backend::probe(&link, worker))
    }

    fn judge(&self, worker: &Worker, responses: Vec<ProbeResponse>) -> Health {
        match self.link(worker) {
            Ok(link) => backend::judge(&link, worker, &responses),
            Err(problem) => health::unwell(problem),
        }
    }
}

tollgate_sdk_protocol::export_protocol!(Kserve);
