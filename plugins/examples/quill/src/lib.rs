//! The quill protocol: to clients and to workers. `README.md` has what goes over the wire.
//!
//! | file | what |
//! |---|---|
//! | `wire.rs` | the JSON that both sides write and read |
//! | `frontend.rs` | clients: a request becomes a call, events become an answer |
//! | `backend.rs` | workers: a call becomes a request, an answer becomes events |

mod backend;
mod frontend;
mod wire;

use serde::Deserialize;
use tollgate_sdk_protocol::{
    Backend, Frontend, Protocol,
    backend::{Health, ProbeRequest, ProbeResponse, Worker},
    frontend::RequestHead,
    inference::{Call, TaskKind},
    manifest,
    one_attempt::OneAttempt,
    one_call::OneCall,
    plugin::{Claim, Gathering, Manifest, Problem},
    types::Context,
};

/// Name of the protocol, and beginning of its paths.
pub const NAME: &str = "quill";

const OPTIONS: &str = r#"{
  "type": "object",
  "additionalProperties": false,
  "properties": {
    "max-tokens": {
      "description": "Tokens of an answer whose client named no limit.",
      "type": "integer", "minimum": 1, "default": 64
    }
  }
}"#;

/// What an operator may set.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
struct Options {
    max_tokens: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self { max_tokens: 64 }
    }
}

/// The configured plugin.
pub struct Plugin {
    options: Options,
}

/// What clients ask for, in the order of the claims.
const DOORS: [(&str, &str, TaskKind); 3] = [
    ("POST", "/quill/v1/write", TaskKind::Generate),
    ("GET", "/quill/v1/models", TaskKind::ListModels),
    ("GET", "/quill/v1/health", TaskKind::ServerReady),
];

impl Protocol for Plugin {
    fn manifest() -> Manifest {
        let mut it = manifest::of(NAME, env!("CARGO_PKG_VERSION"), "The quill protocol");
        it.tasks = vec![TaskKind::Generate];
        it.options_schema = OPTIONS.to_owned();
        it.errors = vec![manifest::json_error(wire::ERROR)];
        it
    }

    fn configure(options: &str) -> Result<(Self, Vec<Claim>), Vec<Problem>> {
        let text = match options.trim() {
            "" => "{}",
            text => text,
        };
        let problem = |message: String| {
            vec![Problem {
                at: String::new(),
                message,
            }]
        };
        let options: Options =
            serde_json::from_str(text).map_err(|error| problem(error.to_string()))?;
        if options.max_tokens == 0 {
            return Err(problem("max-tokens must be at least 1".to_owned()));
        }
        let claim = |(method, path, task): (&str, &str, TaskKind)| {
            let gathering = match method {
                "GET" => Gathering::Nothing,
                _ => Gathering::Whole,
            };
            manifest::rest(method, path, gathering, task)
        };
        Ok((Self { options }, DOORS.map(claim).to_vec()))
    }

    fn exchange(&self, _: Context, head: RequestHead) -> Box<dyn Frontend> {
        match DOORS.get(head.claim as usize) {
            Some((_, _, TaskKind::Generate)) => {
                Box::new(OneCall::new(frontend::Write::new(self.options.max_tokens)))
            }
            Some((_, _, TaskKind::ListModels)) => Box::new(OneCall::new(frontend::House::Models)),
            _ => Box::new(OneCall::new(frontend::House::Health)),
        }
    }

    fn attempt(&self, _: Context, _: Worker, members: Vec<Call>) -> Box<dyn Backend> {
        Box::new(OneAttempt::new(members, backend::Writing::new))
    }

    fn batch_key(&self, _: &Worker, _: &Call) -> Option<String> {
        // Its workers take one prompt a request.
        None
    }

    fn probe(&self, _: &Worker) -> Vec<ProbeRequest> {
        backend::probe()
    }

    fn judge(&self, _: &Worker, responses: Vec<ProbeResponse>) -> Health {
        backend::judge(&responses)
    }
}

tollgate_sdk_protocol::export_protocol!(Plugin);
