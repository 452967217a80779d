//! Services of models, as the operators of a cluster put them up: where each is, what it serves,
//! and by which runtime.
//!
//! The fields, by the Go types of their API (`InferenceServiceStatus` and `ModelSpec` of `v1beta1`,
//! `LLMInferenceServiceStatus` and `LLMModelSpec` of `v1alpha1`):
//!
//! * `status.conditions` says whether it is ready, by the type `Ready`. One that is being deleted is
//!   not.
//! * `status.address.url` is where it is in the cluster, else the first of `status.addresses`, else
//!   `status.url`. `status.components.predictor.grpcUrl` is where it speaks gRPC, if it tells.
//! * A service of one model is asked for it by its own name. A service of a language model may name
//!   it otherwise (`spec.model.name`), and has adapters (`spec.model.lora.adapters`).
//! * The runtime is told by the status, or by `spec.predictor.model.runtime`; of a language model by
//!   the configurations that it takes over (`spec.baseRefs`). Then comes the version of the protocol.

use http::Uri;
use serde::Deserialize;
use serde_json::Value;

use crate::kinds::Kind;
use crate::store::Meta;

/// Models of one service; more are left out.
const MODELS: usize = 256;

/// A service of models.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its namespace; empty: none is told.
    pub namespace: String,
    /// Its name there.
    pub name: String,
    /// What it serves, by the names that it is asked for.
    pub models: Vec<String>,
    /// Its runtime's names, and then the version of its protocol: the most particular first.
    pub runtimes: Vec<String>,
    /// Where it is.
    pub address: Address,
    /// Where it speaks gRPC, if it says so.
    pub grpc: Option<Address>,
}

/// Where a service is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Over TLS.
    pub tls: bool,
    /// `host:port`, an IPv6 address in brackets.
    pub authority: String,
    /// What stands before every path; empty: nothing.
    pub base: String,
}

#[derive(Deserialize)]
struct Object {
    #[serde(default)]
    spec: ObjectSpec,
    #[serde(default)]
    status: Status,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ObjectSpec {
    #[serde(default)]
    predictor: Option<Predictor>,
    #[serde(default)]
    model: Option<LanguageModel>,
    #[serde(default)]
    base_refs: Vec<Name>,
}

#[derive(Default, Deserialize)]
struct Predictor {
    #[serde(default)]
    model: Option<Predicted>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Predicted {
    #[serde(default)]
    runtime: Option<String>,
    #[serde(default)]
    protocol_version: Option<String>,
}

#[derive(Default, Deserialize)]
struct LanguageModel {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    lora: Option<Adapters>,
}

#[derive(Default, Deserialize)]
struct Adapters {
    #[serde(default)]
    adapters: Vec<Name>,
}

#[derive(Default, Deserialize)]
struct Name {
    #[serde(default)]
    name: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    #[serde(default)]
    conditions: Vec<Condition>,
    #[serde(default)]
    url: Option<String>,
    #[serde(default)]
    address: Option<Addressable>,
    #[serde(default)]
    addresses: Vec<Addressable>,
    #[serde(default)]
    components: Option<Components>,
    #[serde(default)]
    serving_runtime_name: Option<String>,
    #[serde(default)]
    cluster_serving_runtime_name: Option<String>,
}

#[derive(Deserialize)]
struct Condition {
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(default)]
    status: String,
}

#[derive(Deserialize)]
struct Addressable {
    #[serde(default)]
    url: Option<String>,
}

#[derive(Default, Deserialize)]
struct Components {
    #[serde(default)]
    predictor: Option<Component>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Component {
    #[serde(default)]
    grpc_url: Option<String>,
}

/// What a service's object tells; none: it is not ready.
///
/// # Errors
/// It is no such object, or is ready nowhere; in words.
pub(crate) fn read(kind: Kind, meta: &Meta, object: &Value) -> Result<Option<Service>, String> {
    let Object { spec, status } = Object::deserialize(object).map_err(|error| error.to_string())?;
    let mut conditions = status.conditions.iter();
    let ready = conditions.any(|it| it.kind == "Ready" && it.status == "True");
    if !ready || meta.deletion_timestamp.is_some() {
        return Ok(None);
    }
    let in_cluster = status.address.into_iter().chain(status.addresses);
    let mut urls = in_cluster.filter_map(|it| it.url).chain(status.url);
    let url = urls.next().ok_or("it is ready, and does not say where")?;
    let predictor = status.components.and_then(|it| it.predictor);
    let grpc = predictor.and_then(|it| it.grpc_url);
    let own = || meta.name.clone();
    let (models, runtimes) = match kind {
        Kind::LlmInferenceServices => {
            let model = spec.model.unwrap_or_default();
            let adapters = model.lora.unwrap_or_default().adapters;
            let name = model.name.filter(|name| !name.is_empty());
            let adapters = adapters.into_iter().filter_map(|adapter| adapter.name);
            let mut models: Vec<String> = std::iter::once(name.unwrap_or_else(own))
                .chain(adapters)
                .take(MODELS)
                .collect();
            models.sort();
            models.dedup();
            let bases = spec.base_refs.into_iter().filter_map(|base| base.name);
            (models, bases.collect())
        }
        Kind::InferenceServices | Kind::EndpointSlices => {
            let model = spec.predictor.and_then(|it| it.model).unwrap_or_default();
            let runtimes = [
                status.serving_runtime_name,
                status.cluster_serving_runtime_name,
                model.runtime,
                model.protocol_version,
            ];
            let runtimes = runtimes.into_iter().flatten();
            (vec![own()], runtimes.filter(|it| !it.is_empty()).collect())
        }
    };
    Ok(Some(Service {
        namespace: meta.namespace.clone().unwrap_or_default(),
        name: meta.name.clone(),
        models,
        runtimes,
        address: Address::parse(&url)?,
        grpc: grpc.map(|url| Address::parse(&url)).transpose()?,
    }))
}

// === impl Address ===

impl Address {
    fn parse(url: &str) -> Result<Self, String> {
        let wrong = || format!("its address is `{}`", url.escape_debug());
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        let tls = match uri.scheme_str() {
            Some("http" | "grpc") => false,
            Some("https" | "grpcs") => true,
            _ => return Err(wrong()),
        };
        let authority = uri.authority().ok_or_else(wrong)?;
        if authority.as_str().contains('@') || authority.host().is_empty() || uri.query().is_some()
        {
            return Err(wrong());
        }
        let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
        Ok(Self {
            tls,
            authority: format!("{}:{port}", authority.host()),
            base: uri.path().trim_end_matches('/').to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn meta(name: &str) -> Meta {
        Meta {
            name: name.into(),
            namespace: Some("team".into()),
            deletion_timestamp: None,
        }
    }

    fn address(authority: &str, base: &str) -> Address {
        Address {
            tls: false,
            authority: authority.into(),
            base: base.into(),
        }
    }

    #[test]
    fn a_service_of_one_model_is_read() {
        let object = json!({
            "spec": {"predictor": {"model": {
                "modelFormat": {"name": "sklearn"}, "runtime": "asked", "protocolVersion": "v2",
            }}},
            "status": {
                "conditions": [{"type": "PredictorReady", "status": "False"},
                               {"type": "Ready", "status": "True"}],
                "url": "https://iris.example.com",
                "address": {"url": "http://iris.team.svc.cluster.local"},
                "components": {"predictor": {"grpcUrl": "http://iris-grpc.team:9000"}},
                "servingRuntimeName": "given",
            },
        });
        let service = read(Kind::InferenceServices, &meta("iris"), &object);
        let service = service.unwrap().unwrap();
        assert_eq!(service.models, ["iris"]);
        assert_eq!(service.runtimes, ["given", "asked", "v2"]);
        assert_eq!(
            service.address,
            address("iris.team.svc.cluster.local:80", "")
        );
        assert_eq!(service.grpc, Some(address("iris-grpc.team:9000", "")));
    }

    #[test]
    fn a_service_of_a_language_model_has_its_adapters_and_its_path() {
        let object = json!({
            "spec": {
                "model": {"uri": "hf://a/b", "name": "a/b", "lora": {"adapters": [{"name": "x"}, {"uri": "y"}]}},
                "baseRefs": [{"name": "single-node"}],
            },
            "status": {
                "conditions": [{"type": "Ready", "status": "True"}],
                "url": "http://gateway.example.com/team/llm",
                "addresses": [{"url": "http://gateway.team.svc/team/llm/"}],
            },
        });
        let service = read(Kind::LlmInferenceServices, &meta("llm"), &object);
        let service = service.unwrap().unwrap();
        assert_eq!(service.models, ["a/b", "x"]);
        assert_eq!(service.runtimes, ["single-node"]);
        assert_eq!(service.address, address("gateway.team.svc:80", "/team/llm"));
        let bare = json!({"status": {"conditions": [{"type": "Ready", "status": "True"}], "url": "https://a"}});
        let service = read(Kind::LlmInferenceServices, &meta("llm"), &bare);
        let service = service.unwrap().unwrap();
        assert_eq!(service.models, ["llm"]);
        assert_eq!(
            (service.address.tls, &*service.address.authority),
            (true, "a:443")
        );
    }

    #[test]
    fn one_that_is_not_ready_or_on_its_way_out_is_none() {
        let kind = Kind::InferenceServices;
        for status in ["False", "Unknown"] {
            let object = json!({"status": {"url": "http://a", "conditions": [{"type": "Ready", "status": status}]}});
            assert_eq!(read(kind, &meta("a"), &object), Ok(None));
        }
        assert_eq!(read(kind, &meta("a"), &json!({})), Ok(None));
        let ready = json!({"status": {"url": "http://a", "conditions": [{"type": "Ready", "status": "True"}]}});
        let mut leaving = meta("a");
        leaving.deletion_timestamp = Some("2026-01-01T00:00:00Z".into());
        assert_eq!(read(kind, &leaving, &ready), Ok(None));
        assert!(read(kind, &meta("a"), &ready).unwrap().is_some());
    }

    #[test]
    fn what_cannot_be_a_service_is_refused_in_words() {
        let ready = json!([{"type": "Ready", "status": "True"}]);
        for bad in [
            json!({"status": {"conditions": ready}}),
            json!({"status": {"conditions": ready, "url": "nowhere"}}),
            json!({"status": {"conditions": ready, "url": "file:///etc/passwd"}}),
            json!({"status": {"conditions": ready, "url": "http://user@host"}}),
            json!({"status": {"conditions": "yes"}}),
            json!({"spec": 3}),
        ] {
            assert!(
                read(Kind::InferenceServices, &meta("a"), &bad).is_err(),
                "{bad}"
            );
        }
    }
}
