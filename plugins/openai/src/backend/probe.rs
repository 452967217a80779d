//! How a worker is: its health, its models and its load.

use std::collections::BTreeMap;

use serde::Deserialize;
use tollgate_sdk_protocol::{
    backend::{Health, ProbeRequest, ProbeResponse, RestSurface, Surface},
    classify, failure, health,
    inference::{ModelInfo, TaskKind},
    types::Failure,
};

use crate::options::{Generation, Target};

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

/// What one request of a probe is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Ready,
    Models,
    Metrics,
    /// A path of which another method is wanted, which shows whether the model can rank.
    Ranks,
    /// The same for whether it can classify.
    Classifies,
    /// The older list of models, where the newer one is not there.
    Config,
}

impl Asked {
    fn path(self, target: &Target) -> String {
        match self {
            Self::Ready if target.ovms => "/v2/health/ready".to_owned(),
            Self::Ready => "/health".to_owned(),
            Self::Models => target.path("models"),
            Self::Metrics => "/metrics".to_owned(),
            Self::Ranks => target.path("rerank"),
            Self::Classifies => "/classify".to_owned(),
            Self::Config => "/v1/config".to_owned(),
        }
    }
}

/// What is asked, in this order. Of the paths for ranking and classifying newer servers have none for a model
/// that cannot; with older ones, and with a prefix of another server's, it tells nothing.
fn plan(target: &Target) -> &'static [Asked] {
    use Asked::{Classifies, Config, Metrics, Models, Ranks, Ready};
    match target.generation {
        _ if target.ovms => &[Ready, Models, Metrics, Config],
        Generation::New if target.prefix == "/v1" => &[Ready, Models, Metrics, Ranks, Classifies],
        _ => &[Ready, Models, Metrics],
    }
}

/// The requests of a probe.
pub fn requests(target: &Target) -> Vec<ProbeRequest> {
    plan(target)
        .iter()
        .map(|asked| ProbeRequest {
            surface: Surface::Rest(RestSurface {
                method: "GET".to_owned(),
                path: asked.path(target),
            }),
            headers: Vec::new(),
            body: Vec::new(),
        })
        .collect()
}

/// Reads the answers. A server without `/health` is judged by its list of models, one
/// without `/metrics` has an unknown load.
pub fn judge(target: &Target, responses: &[ProbeResponse]) -> Health {
    if let Some(problem) = &target.problem {
        return health::unwell(format!("the worker's options are wrong: {problem}"));
    }
    let answer = |asked: Asked| {
        let at = plan(target).iter().position(|it| *it == asked)?;
        responses.get(at).filter(|response| response.status != 0)
    };
    let succeeded = |asked| answer(asked).filter(|response| response.status == 200);
    let listed = succeeded(Asked::Models).and_then(|it| models(target, &it.body).ok());
    let configured = || succeeded(Asked::Config).and_then(|it| config(target, &it.body));
    let models = listed.or_else(configured);
    let ready = answer(Asked::Ready).map(|response| response.status);
    let reason = match (ready, &models) {
        (None, _) => Some("the worker could not be reached".to_owned()),
        (Some(200), Some(_)) | (Some(404 | 405), Some(_)) => None,
        (Some(200 | 404 | 405), None) => {
            Some(format!("{} gave no list", Asked::Models.path(target)))
        }
        (Some(status), _) => Some(format!("{} answered {status}", Asked::Ready.path(target))),
    };
    let has = |asked| answer(asked).is_some_and(|response| response.status == 405);
    let mut further = Vec::new();
    further.extend(has(Asked::Ranks).then_some(TaskKind::Rerank));
    further.extend(has(Asked::Classifies).then(classify::texts_kind));
    let mut models = models.unwrap_or_default();
    if !further.is_empty() {
        for model in &mut models {
            model.tasks = usual_tasks();
            model.tasks.extend(further.iter().cloned());
        }
    }
    let load = succeeded(Asked::Metrics)
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
                // Of a request for texts OpenVINO Model Server makes a graph.
                "vllm:num_requests_running" | "ovms_current_graphs" => {
                    add(&mut load.running, value)
                }
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
pub fn models(target: &Target, body: &[u8]) -> Result<Vec<ModelInfo>, Failure> {
    let list: List = serde_json::from_slice(body).map_err(|error| {
        failure::upstream_invalid(format!("The worker's list of models is odd: {error}."))
    })?;
    Ok(list
        .data
        .into_iter()
        .map(|model| info(target, model))
        .collect())
}

fn info(target: &Target, model: Model) -> ModelInfo {
    let (platform, tasks) = if target.ovms {
        ("OpenVINO", ovms_tasks())
    } else {
        ("vllm", Vec::new())
    };
    ModelInfo {
        name: model.id,
        versions: Vec::new(),
        max_length: model.max_model_len,
        max_new_tokens: None,
        parent: model.parent,
        tasks,
        ready: true,
        platform: platform.to_owned(),
        inputs: Vec::new(),
        outputs: Vec::new(),
        extensions: Vec::new(),
    }
}

/// What may be asked of OpenVINO Model Server where the configuration does not say: which of its
/// models ranks, no list tells.
fn ovms_tasks() -> Vec<TaskKind> {
    let mut tasks = usual_tasks();
    tasks.retain(|task| *task != TaskKind::Detokenize);
    tasks
}

/// The models of `/v1/config` that have a version which answers (model_server at 7e4df0c7,
/// `src/config_status_utils.cpp`). Releases before its list of models have no other.
fn config(target: &Target, body: &[u8]) -> Option<Vec<ModelInfo>> {
    #[derive(Deserialize)]
    struct Status {
        #[serde(default)]
        model_version_status: Vec<Version>,
    }
    #[derive(Deserialize)]
    struct Version {
        state: String,
    }
    let all: BTreeMap<String, Status> = serde_json::from_slice(body).ok()?;
    let available = |status: &Status| {
        let mut versions = status.model_version_status.iter();
        versions.any(|version| version.state == "AVAILABLE")
    };
    let there = all.into_iter().filter(|(_, status)| available(status));
    let model = |(id, _)| {
        let model = Model {
            id,
            parent: None,
            max_model_len: None,
        };
        info(target, model)
    };
    Some(there.map(model).collect())
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

    fn target(options: &str) -> Target {
        crate::Options::default().target(options)
    }

    fn judge(responses: &[ProbeResponse]) -> Health {
        super::judge(&target(""), responses)
    }

    const OVMS: &str = r#"{"dialect":"openai-ovms"}"#;
    const CONFIG: &str = r#"{"llm":{"model_version_status":[{"version":"1","state":"AVAILABLE"}]},
        "later":{"model_version_status":[{"version":"1","state":"LOADING"}]}}"#;

    #[test]
    fn an_openvino_model_server_is_asked_what_it_has() {
        let paths: Vec<_> = requests(&target(OVMS))
            .into_iter()
            .map(|request| match request.surface {
                Surface::Rest(rest) => rest.path,
                _ => String::new(),
            })
            .collect();
        assert_eq!(
            paths,
            ["/v2/health/ready", "/v3/models", "/metrics", "/v1/config"]
        );
        let told = r#"{"data":[{"id":"llm","object":"model","created":1,"owned_by":"OVMS"}],"object":"list"}"#;
        let judged = |list: ProbeResponse, config: ProbeResponse| {
            let metrics = response(200, "ovms_current_graphs{name=\"llm\"} 2\n");
            super::judge(&target(OVMS), &[response(200, ""), list, metrics, config])
        };
        let new = judged(response(200, told), response(404, ""));
        let old = judged(response(404, ""), response(200, CONFIG));
        for health in [&new, &old] {
            assert!(health.ready, "{health:?}");
            assert_eq!(health.models.len(), 1);
            assert_eq!(health.models[0].name, "llm");
            let tasks = &health.models[0].tasks;
            assert!(tasks.contains(&TaskKind::Generate));
            assert!(!tasks.contains(&TaskKind::Detokenize) && !tasks.contains(&TaskKind::Rerank));
        }
        assert_eq!(new.running, Some(2));
        let neither = judged(response(404, ""), response(404, ""));
        assert_eq!(neither.reason.as_deref(), Some("/v3/models gave no list"));
    }

    #[test]
    fn a_server_behind_another_prefix_is_judged_by_its_list() {
        let kserve = target(r#"{"prefix":"/openai/v1"}"#);
        assert_eq!(requests(&kserve).len(), 3);
        let health = super::judge(
            &kserve,
            &[response(404, ""), response(200, MODELS), response(404, "")],
        );
        assert!(
            health.ready && health.models[0].tasks.is_empty(),
            "{health:?}"
        );
    }

    #[test]
    fn wrong_options_are_why_a_worker_is_not_ready() {
        let health = super::judge(&target(r#"{"generation":"ovms"}"#), &[response(200, "")]);
        assert!(health.reason.unwrap_or_default().contains("ovms"));
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
        let asked = |options: &str| requests(&target(options)).len();
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
