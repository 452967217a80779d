//! How a worker is: its health, its models and its load.

use serde::Deserialize;
use tollgate_sdk_protocol::{
    backend::{Health, ProbeRequest, ProbeResponse, RestSurface, Surface},
    classify, failure,
    inference::{ModelInfo, TaskKind},
    types::Failure,
};

use crate::options::{Generation, Target};

/// What is asked, in this order. Paths of which another method is wanted show whether the model
/// can rank and classify: newer servers have them only then. Of older ones they tell nothing.
const PATHS: [&str; 5] = [
    "/health",
    "/v1/models",
    "/metrics",
    "/v1/rerank",
    "/classify",
];

/// Tasks that any server of this API may be asked.
pub fn usual_tasks() -> Vec<TaskKind> {
    vec![
        TaskKind::Generate,
        TaskKind::Chat,
        TaskKind::Embed,
        TaskKind::Tokenize,
        TaskKind::Detokenize,
        TaskKind::ListModels,
        TaskKind::ModelMetadata,
        TaskKind::ModelReady,
        TaskKind::ServerLive,
        TaskKind::ServerReady,
        TaskKind::ServerMetadata,
    ]
}

/// The requests of a probe.
pub fn requests(target: &Target) -> Vec<ProbeRequest> {
    let asked = match target.generation {
        Generation::New => PATHS.len(),
        Generation::Old => 3,
    };
    PATHS[..asked]
        .iter()
        .map(|path| ProbeRequest {
            surface: Surface::Rest(RestSurface {
                method: "GET".to_owned(),
                path: (*path).to_owned(),
            }),
            headers: Vec::new(),
            body: Vec::new(),
        })
        .collect()
}

/// Reads the answers. A server without `/health` is judged by its list of models, one
/// without `/metrics` has an unknown load.
pub fn judge(responses: &[ProbeResponse]) -> Health {
    let answer = |at: usize| responses.get(at).filter(|response| response.status != 0);
    let succeeded = |at: usize| answer(at).filter(|response| response.status == 200);
    let models = succeeded(1).and_then(|response| models(&response.body).ok());
    let reason = match (answer(0).map(|response| response.status), &models) {
        (None, _) => Some("the worker could not be reached".to_owned()),
        (Some(200), Some(_)) | (Some(404 | 405), Some(_)) => None,
        (Some(200 | 404 | 405), None) => Some("/v1/models gave no list".to_owned()),
        (Some(status), _) => Some(format!("/health answered {status}")),
    };
    let has = |at: usize| answer(at).is_some_and(|response| response.status == 405);
    let mut further = Vec::new();
    further.extend(has(3).then_some(TaskKind::Rerank));
    further.extend(has(4).then(classify::texts_kind));
    let mut models = models.unwrap_or_default();
    if !further.is_empty() {
        for model in &mut models {
            model.tasks = usual_tasks();
            model.tasks.extend(further.iter().cloned());
        }
    }
    let load = succeeded(2)
        .map(|response| Load::read(&response.body))
        .unwrap_or_default();
    Health {
        ready: reason.is_none(),
        reason,
        queued: load.waiting.map(whole),
        running: load.running.map(whole),
        kv_cache_use: load.cache.map(|share| whole(share * 1000.0).min(1000)),
        models,
        extensions: Vec::new(),
    }
}

fn whole(value: f64) -> u32 {
    // A cast saturates, and NaN is 0.
    value.round() as u32
}

/// The gauges that matter, over all engines and models of the server.
#[derive(Debug, Default, PartialEq)]
struct Load {
    waiting: Option<f64>,
    running: Option<f64>,
    /// The fullest engine's.
    cache: Option<f64>,
}

impl Load {
    /// Reads the text format of Prometheus, as far as plain gauges need.
    fn read(text: &[u8]) -> Self {
        let mut load = Self::default();
        for line in text.split(|byte| *byte == b'\n') {
            let Some((name, value)) = sample(line) else {
                continue;
            };
            match name {
                "vllm:num_requests_waiting" => add(&mut load.waiting, value),
                "vllm:num_requests_running" => add(&mut load.running, value),
                "vllm:kv_cache_usage_perc" | "vllm:gpu_cache_usage_perc" => {
                    load.cache = Some(load.cache.map_or(value, |other| other.max(value)));
                }
                _ => {}
            }
        }
        load
    }
}

fn add(sum: &mut Option<f64>, value: f64) {
    *sum = Some(sum.unwrap_or(0.0) + value);
}

/// Name and value of a sample: `name{labels} value [time]`.
fn sample(line: &[u8]) -> Option<(&str, f64)> {
    let line = std::str::from_utf8(line).ok()?.trim();
    let end = line.find(['{', ' '])?;
    let (name, rest) = line.split_at(end);
    // A label's value may hold anything, a closing brace too: the last one ends them.
    let rest = if rest.starts_with('{') {
        &rest[rest.rfind('}')? + 1..]
    } else {
        rest
    };
    let value = rest.split_whitespace().next()?.parse().ok()?;
    Some((name, value))
}

#[derive(Deserialize)]
struct List {
    data: Vec<Model>,
}

#[derive(Deserialize)]
struct Model {
    id: String,
    #[serde(default)]
    parent: Option<String>,
    #[serde(default)]
    max_model_len: Option<u32>,
}

/// The models of a list. Their tasks are not told: the configuration knows them.
///
/// # Errors
/// When it is no list.
pub fn models(body: &[u8]) -> Result<Vec<ModelInfo>, Failure> {
    let list: List = serde_json::from_slice(body).map_err(|error| {
        failure::upstream_invalid(format!("The worker's list of models is odd: {error}."))
    })?;
    let info = |model: Model| ModelInfo {
        name: model.id,
        versions: Vec::new(),
        max_length: model.max_model_len,
        max_new_tokens: None,
        parent: model.parent,
        tasks: Vec::new(),
        ready: true,
        platform: "vllm".to_owned(),
        inputs: Vec::new(),
        outputs: Vec::new(),
        extensions: Vec::new(),
    };
    Ok(list.data.into_iter().map(info).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODELS: &str = r#"{"object":"list","data":[
        {"id":"base","max_model_len":4096,"parent":null},
        {"id":"lora","max_model_len":null,"parent":"base"}]}"#;
    const METRICS: &str = "# HELP vllm:num_requests_waiting …\n\
        vllm:num_requests_waiting{engine=\"0\",model_name=\"a}b\"} 2.0\n\
        vllm:num_requests_waiting{engine=\"1\",model_name=\"a}b\"} 1.0\n\
        vllm:num_requests_running 4.0 1700000000\n\
        vllm:num_requests_running_total 9\n\
        vllm:kv_cache_usage_perc{engine=\"0\"} 0.25\n\
        vllm:gpu_cache_usage_perc{engine=\"1\"} 0.5004\n";

    fn response(status: u16, body: &str) -> ProbeResponse {
        ProbeResponse {
            status,
            code: None,
            headers: Vec::new(),
            body: body.as_bytes().to_vec(),
        }
    }

    #[test]
    fn a_ready_worker_tells_models_and_load() {
        let health = judge(&[
            response(200, ""),
            response(200, MODELS),
            response(200, METRICS),
        ]);
        assert!(health.ready, "{health:?}");
        assert_eq!((health.queued, health.running), (Some(3), Some(4)));
        assert_eq!(health.kv_cache_use, Some(500));
        assert_eq!(health.models[0].max_length, Some(4096));
        assert_eq!(health.models[1].parent.as_deref(), Some("base"));
    }

    #[test]
    fn a_server_that_ranks_shows_it_by_a_path_of_another_method() {
        let judged = |status| {
            let mut health = judge(&[
                response(200, ""),
                response(200, MODELS),
                response(404, ""),
                response(status, ""),
                response(404, ""),
            ]);
            health.models.remove(0).tasks
        };
        let classifies = |status| {
            let mut answers = vec![response(200, ""), response(200, MODELS)];
            answers.extend([response(404, ""), response(404, ""), response(status, "")]);
            let tasks = judge(&answers).models.remove(0).tasks;
            tasks.contains(&classify::texts_kind())
        };
        assert!(classifies(405) && !classifies(404));
        assert!(judged(405).contains(&TaskKind::Rerank));
        assert!(judged(405).contains(&TaskKind::Embed));
        assert!(judged(404).is_empty());
        let asked = |options: &str| requests(&crate::Options::default().target(options)).len();
        assert_eq!((asked(""), asked(r#"{"generation":"old"}"#)), (5, 3));
    }

    #[test]
    fn what_is_not_ready_says_why() {
        let reason = |responses: &[ProbeResponse]| judge(responses).reason.unwrap_or_default();
        let models = || response(200, MODELS);
        assert!(reason(&[response(0, ""), response(0, "")]).contains("reached"));
        assert!(reason(&[response(503, ""), models()]).contains("503"));
        assert!(reason(&[response(200, ""), response(200, "[]")]).contains("/v1/models"));
        assert!(judge(&[response(404, ""), models(), response(404, "")]).ready);
    }

    #[test]
    fn metrics_that_are_none_are_an_unknown_load() {
        assert_eq!(
            Load::read(b"\xff\nx{\n{} \nvllm:num_requests_running NaNish"),
            Load::default()
        );
    }
}
