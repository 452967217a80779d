//! How a worker is: its health, and its models.

use tollgate_sdk_protocol::{
    backend::{Health, ProbeRequest, ProbeResponse},
    health,
};

use super::facts;
use crate::{
    endpoint::Info,
    options::{Transport, WorkerOptions},
};

const UNIMPLEMENTED: u32 = 12;
const NOT_FOUND: u32 = 5;

/// The questions, in order.
pub fn requests(worker: &WorkerOptions) -> Vec<ProbeRequest> {
    let ask = |info: Info| {
        let (surface, body) = facts::ask(info, None, worker.transport);
        ProbeRequest {
            surface,
            headers: Vec::new(),
            body,
        }
    };
    vec![ask(Info::Health), ask(Info::Models)]
}

/// What the answers say.
pub fn judge(worker: &WorkerOptions, responses: &[ProbeResponse]) -> Health {
    let [check, models] = responses else {
        return health::unwell("the probe was not asked as it should have been");
    };
    if let Err(reason) = serving(check, worker.transport) {
        return health::unwell(reason);
    }
    let models = match models {
        answer if succeeded(answer) => match facts::models(&answer.body, worker.transport) {
            Ok(models) => models,
            Err(failure) => {
                return health::unwell(format!("the list of models: {}", failure.message));
            }
        },
        // Runtimes of before 2024 have no list; the configuration knows their models.
        answer if absent(answer) => Vec::new(),
        answer => return health::unwell(format!("the list of models: {}", reason(answer))),
    };
    health::ready(models)
}

fn serving(check: &ProbeResponse, transport: Transport) -> Result<(), String> {
    if succeeded(check) {
        return if facts::healthy(&check.body, transport) {
            Ok(())
        } else {
            Err("the worker says that it is not serving".to_owned())
        };
    }
    // It speaks gRPC and has no health service: it is alive.
    if transport == Transport::Grpc && absent(check) {
        return Ok(());
    }
    Err(reason(check))
}

fn succeeded(response: &ProbeResponse) -> bool {
    response.status == 200 && matches!(response.code, None | Some(0))
}

fn absent(response: &ProbeResponse) -> bool {
    match response.code {
        Some(code) => matches!(code, UNIMPLEMENTED | NOT_FOUND),
        None => response.status == 404,
    }
}

fn reason(response: &ProbeResponse) -> String {
    match (response.status, response.code) {
        (0, _) => "the worker was not reached".to_owned(),
        (_, Some(code)) => format!("the worker answered with gRPC code {code}"),
        (status, None) => format!("the worker answered with HTTP status {status}"),
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;
    use tollgate_sdk_protocol::inference::TaskKind;

    use super::*;
    use crate::{
        options::Options,
        proto::{ModelInfo, ModelInfoResponse},
    };

    fn worker(dialect: &str) -> WorkerOptions {
        WorkerOptions::parse(dialect, "", &Options::default()).unwrap()
    }

    fn told(status: u16, code: Option<u32>, body: &[u8]) -> ProbeResponse {
        ProbeResponse {
            status,
            code,
            headers: Vec::new(),
            body: body.to_vec(),
        }
    }

    const LIST: &str = r#"{"models":[{"name":"emb","loaded":true,"size":3,
        "metadata":{"max_seq_length":64},"module_metadata":null,
        "module_id":"eeb12558-b4fa-4f34-a9fd-3f5890e9cd3f"}]}"#;

    #[test]
    fn a_rest_worker_tells_its_models() {
        let answers = [told(200, None, b"OK"), told(200, None, LIST.as_bytes())];
        let health = judge(&worker("caikit-rest"), &answers);
        assert!(health.ready, "{health:?}");
        let model = &health.models[0];
        assert_eq!((model.name.as_str(), model.max_length), ("emb", Some(64)));
        assert!(
            model.tasks.contains(&TaskKind::Embed) && !model.tasks.contains(&TaskKind::Generate)
        );
    }

    #[test]
    fn a_grpc_worker_does_too() {
        let list = ModelInfoResponse {
            models: vec![ModelInfo {
                name: "llm".to_owned(),
                loaded: true,
                ..ModelInfo::default()
            }],
        };
        let serving = told(200, Some(0), &[8, 1]);
        let answers = [serving.clone(), told(200, Some(0), &list.encode_to_vec())];
        let health = judge(&worker("caikit"), &answers);
        assert!(health.ready && health.models[0].ready);
        // Of a module that we do not know nothing is ruled out.
        assert!(health.models[0].tasks.is_empty());
        let without = judge(
            &worker("caikit"),
            &[serving.clone(), told(200, Some(12), b"")],
        );
        assert!(without.ready && without.models.is_empty());
        let odd = judge(&worker("caikit"), &[serving, told(200, Some(0), &[0xff])]);
        assert!(!odd.ready);
    }

    #[test]
    fn what_is_not_ready_says_why() {
        let list = || told(200, None, LIST.as_bytes());
        for (dialect, check, words) in [
            ("caikit-rest", told(0, None, b""), "not reached"),
            ("caikit-rest", told(503, None, b""), "503"),
            ("caikit", told(200, Some(0), &[8, 2]), "not serving"),
            ("caikit", told(200, Some(14), b""), "14"),
        ] {
            let reason = judge(&worker(dialect), &[check, list()]).reason;
            assert!(reason.unwrap().contains(words), "{words}");
        }
        assert!(!judge(&worker("caikit"), &[]).ready);
    }
}
