//! Asks a worker how it is: the standard health service, which the original server has
//! not, and the model's limits, which every server tells.

use prost::Message;
use tollgate_sdk_protocol::{
    backend::{Health, ProbeRequest, ProbeResponse, Surface},
    health,
    inference::{ModelInfo, TaskKind},
};

use crate::{
    fmaas::{ModelInfoRequest, ModelInfoResponse, SERVICE},
    model_kind,
    options::WorkerOptions,
};

const UNIMPLEMENTED: u32 = 12;
const NOT_FOUND: u32 = 5;

/// `grpc.health.v1.HealthCheckResponse`.
#[derive(Clone, PartialEq, Message)]
struct HealthReply {
    /// 1 is SERVING.
    #[prost(int32, tag = "1")]
    status: i32,
}

const SERVING: i32 = 1;

/// The questions, in order.
pub fn requests(worker: &WorkerOptions) -> Vec<ProbeRequest> {
    let ask = |surface: String, body: Vec<u8>| ProbeRequest {
        surface: Surface::Grpc(surface),
        headers: Vec::new(),
        body,
    };
    let model_id = worker.model.clone().unwrap_or_default();
    vec![
        // An empty message: the server as a whole.
        ask("grpc.health.v1.Health/Check".to_owned(), Vec::new()),
        ask(
            format!("{SERVICE}/ModelInfo"),
            ModelInfoRequest { model_id }.encode_to_vec(),
        ),
    ]
}

/// What the answers say.
pub fn judge(worker: &WorkerOptions, responses: &[ProbeResponse]) -> Health {
    let [check, info] = responses else {
        return health::unwell("the probe was not asked as it should have been");
    };
    if let Err(reason) = serving(check) {
        return health::unwell(reason);
    }
    let info = match answer::<ModelInfoResponse>(info) {
        Ok(info) => info,
        Err((_, reason)) => return health::unwell(format!("ModelInfo: {reason}")),
    };
    // Without a name there is nothing to hang the limits on.
    let models = worker.model.iter();
    health::ready(models.map(|name| model_info(name.clone(), &info)).collect())
}

fn serving(check: &ProbeResponse) -> Result<(), String> {
    match answer::<HealthReply>(check) {
        Ok(reply) if reply.status == SERVING => Ok(()),
        Ok(reply) => Err(format!(
            "the worker says that it is not serving (status {})",
            reply.status
        )),
        // It speaks gRPC and has no health service: it is alive.
        Err((Some(UNIMPLEMENTED | NOT_FOUND), _)) => Ok(()),
        Err((_, reason)) => Err(reason),
    }
}

/// The message, or the gRPC code and a sentence.
fn answer<M: Message + Default>(response: &ProbeResponse) -> Result<M, (Option<u32>, String)> {
    match (response.status, response.code) {
        (0, _) => Err((None, "the worker was not reached".to_owned())),
        (_, Some(0)) => M::decode(response.body.as_slice())
            .map_err(|error| (None, format!("the worker's answer cannot be read: {error}"))),
        (_, Some(code)) => Err((
            Some(code),
            format!("the worker answered with gRPC code {code}"),
        )),
        (status, None) => Err((
            None,
            format!("the worker does not speak gRPC: it answered with HTTP status {status}"),
        )),
    }
}

/// A model by this name with these limits.
pub fn model_info(name: String, info: &ModelInfoResponse) -> ModelInfo {
    let known = |limit: u32| (limit != 0).then_some(limit);
    ModelInfo {
        name,
        versions: Vec::new(),
        max_length: known(info.max_sequence_length),
        max_new_tokens: known(info.max_new_tokens),
        parent: None,
        tasks: vec![TaskKind::Generate, TaskKind::Tokenize],
        ready: true,
        platform: "tgis".to_owned(),
        inputs: Vec::new(),
        outputs: Vec::new(),
        extensions: vec![model_kind::extension(info.model_kind())],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Options;

    fn worker(json: &str) -> WorkerOptions {
        WorkerOptions::parse(json, &Options::default()).unwrap()
    }

    fn told(code: u32, body: &impl Message) -> ProbeResponse {
        ProbeResponse {
            status: 200,
            code: Some(code),
            headers: Vec::new(),
            body: body.encode_to_vec(),
        }
    }

    fn limits() -> ModelInfoResponse {
        ModelInfoResponse {
            max_sequence_length: 2048,
            max_new_tokens: 1024,
            ..Default::default()
        }
    }

    #[test]
    fn a_server_without_the_health_service_is_judged_by_its_model() {
        let named = worker(r#"{"model": "granite"}"#);
        let health = judge(&named, &[told(UNIMPLEMENTED, &()), told(0, &limits())]);
        assert!(health.ready);
        let model = &health.models[0];
        assert_eq!(
            (model.name.as_str(), model.max_length),
            ("granite", Some(2048))
        );
        let health = judge(&worker(""), &[told(UNIMPLEMENTED, &()), told(0, &limits())]);
        assert!(health.ready && health.models.is_empty());
    }

    #[test]
    fn a_server_that_is_not_serving_or_not_there_is_not_ready() {
        for status in [0, 2, 3] {
            let health = judge(
                &worker(""),
                &[told(0, &HealthReply { status }), told(0, &limits())],
            );
            assert!(!health.ready && health.reason.is_some());
        }
        let mut gone = told(0, &());
        gone.status = 0;
        let reason = judge(&worker(""), &[gone.clone(), gone]).reason.unwrap();
        assert_eq!(reason, "the worker was not reached");
    }

    #[test]
    fn serving_alone_is_not_enough() {
        let serving = told(0, &HealthReply { status: SERVING });
        assert!(judge(&worker(""), &[serving.clone(), told(0, &limits())]).ready);
        let health = judge(&worker(""), &[serving, told(14, &())]);
        assert_eq!(
            health.reason.unwrap(),
            "ModelInfo: the worker answered with gRPC code 14"
        );
    }

    #[test]
    fn another_protocol_is_named() {
        let mut html = told(0, &());
        (html.status, html.code) = (404, None);
        let reason = judge(&worker(""), &[html.clone(), html]).reason.unwrap();
        assert!(reason.contains("does not speak gRPC"), "{reason}");
    }

    #[test]
    fn the_model_is_asked_for_by_its_name() {
        let asked = requests(&worker(r#"{"model": "granite"}"#));
        let asked = ModelInfoRequest::decode(asked[1].body.as_slice()).unwrap();
        assert_eq!(asked.model_id, "granite");
    }
}
