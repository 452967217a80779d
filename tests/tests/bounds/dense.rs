//! As large as a request may be, and dense: what takes two bytes written would take many times as
//! much if it were built. No client's body ends an instance, for a plugin that keeps ending is kept
//! out of service for all of its clients.

use super::*;
use tollgate_tests::fake::grpc as g;

/// As [`limits.body` and `limits.message`](../../../docs/configuration.md#routeslimits) are unless
/// said, less the rest of a request.
const BODY: usize = (32 << 20) - 4096;
const MESSAGE: usize = (16 << 20) - 64;

/// Many of the least there is, of each kind that may be many.
const DENSE: [(&str, &str, &str); 3] = [("[", "0", "]"), ("[", "\"\"", "]"), ("[", "[0]", "]")];

/// Endpoints, a good body of each, and a member that is looked into.
const TEXTS: [(&str, &str, &str); 3] = [
    ("/v1/completions", r#""prompt":"a""#, "prompt"),
    ("/v1/completions", r#""prompt":"a""#, "stop"),
    ("/v1/completions", r#""prompt":"a""#, "max_tokens"),
];

const TENSORS: [(&str, &str, &str); 2] = [
    (
        "/v2/models/m/infer",
        r#""inputs":[{"name":"a","shape":[1],"datatype":"BYTES","data":["a"]}]"#,
        "parameters",
    ),
    ("/v2/models/m/generate", r#""text_input":"a""#, "parameters"),
];

const GRPC: [&str; 3] = [
    "fmaas.GenerationService/Generate",
    "caikit.runtime.Nlp.NlpService/RerankTaskPredict",
    "inference.GRPCInferenceService/ModelInfer",
];

/// One worker behind these frontends. What the host does for a plugin takes its time where it is not
/// optimised, and only memory is looked at.
async fn before(
    frontends: &str,
    protocol: &str,
    address: std::net::SocketAddr,
    options: &str,
) -> Proxy {
    let scheme = if options.contains("rest") || protocol == "openai" {
        "http"
    } else {
        "grpc"
    };
    let yaml = format!(
        r#"
plugins:
  openai: {{ source: "bundled:openai", limits: &slow {{ cpu-large: 10s, wall: 1m }} }}
  tgis: {{ source: "bundled:tgis", limits: *slow }}
  caikit: {{ source: "bundled:caikit", limits: *slow }}
  kserve: {{ source: "bundled:kserve", limits: *slow, options: {{ models: {{ m: {{ generate: {{}} }} }} }} }}
workers:
  - {{ name: w0, address: "{scheme}://{address}", protocol: {protocol}, options: {{ {options} }}, probe: off, models: [{{ name: m, served-as: served }}] }}
routes:
  - {{ name: all, frontends: [{frontends}], workers: [w0], auth: open, default-model: m }}
"#
    );
    Proxy::start(&yaml).await
}

/// A body whose member is dense.
fn dense(good: &str, member: &str, (open, one, close): (&str, &str, &str)) -> String {
    let mut body = format!("{{\"model\":\"m\",{good},\"{member}\":{open}{one}");
    body.reserve(BODY);
    while body.len() + one.len() < BODY {
        body.push(',');
        body.push_str(one);
    }
    body + close + "}"
}

async fn bears_bodies(proxy: &Proxy, asked: &[(&str, &str, &str)], kinds: &[(&str, &str, &str)]) {
    for (path, good, member) in asked {
        for kind in kinds {
            let request = Request::post_bytes(path, dense(good, member, *kind));
            let got = http1::ask(proxy.http(), &request).await;
            let text = got.text();
            assert!(
                !text.contains("a plugin failed"),
                "{path} {member} {kind:?}: {}",
                &text[..text.len().min(300)]
            );
        }
    }
}

async fn of(proxy: &Proxy, figure: &str) -> f64 {
    let mut all = 0.0;
    for plugin in ["openai", "tgis", "caikit", "kserve"] {
        let series = format!("{figure}{{plugin=\"{plugin}\"}}");
        all += proxy.figure(&series).await.unwrap_or(0.0);
    }
    all
}

async fn http_worker() -> h::Worker {
    let no =
        serde_json::json!({"error": {"message": "no", "type": "BadRequestError", "code": 400}});
    h::Worker::start(move |_| vec![h::json(400, &no)]).await
}

async fn grpc_worker() -> g::Worker {
    g::Worker::start(|_| vec![g::Act::Head, g::Act::Status(3, "no")]).await
}

#[tokio::test]
async fn bodies_that_are_passed_on() {
    let worker = http_worker().await;
    let proxy = before("openai", "openai", worker.address, "").await;
    bears_bodies(&proxy, &TEXTS, &DENSE[..2]).await;
    assert_eq!(of(&proxy, "plugin_traps_total").await, 0.0);
}

#[tokio::test]
async fn bodies_that_are_translated() {
    let worker = grpc_worker().await;
    let proxy = before("openai", "tgis", worker.address, "").await;
    bears_bodies(&proxy, &TEXTS, &DENSE[..3]).await;
    assert_eq!(of(&proxy, "plugin_traps_total").await, 0.0);
}

/// What is built whole is more than an instance may have: its client is told so, nobody else.
#[tokio::test]
async fn bodies_with_tensors() {
    let worker = grpc_worker().await;
    let proxy = before("kserve", "kserve", worker.address, "dialect: kserve-grpc").await;
    bears_bodies(&proxy, &TENSORS, &DENSE[..2]).await;
    assert_eq!(of(&proxy, "plugin_quarantines_total").await, 0.0);
}

#[tokio::test]
async fn messages() {
    let worker = grpc_worker().await;
    let proxy = before("tgis, caikit, kserve", "tgis", worker.address, "").await;
    for method in GRPC {
        for field in 1..=2_u8 {
            // Empty texts or messages.
            let message = [field << 3 | 2, 0].repeat(MESSAGE / 2);
            let mut connection = http2::Connection::open(proxy.http()).await;
            let mut call = Call::begin(&mut connection, &grpc::request(method)).await;
            call.raw(grpc::framed(&message), true).await;
            let (_, status) = call.all::<()>().await;
            assert!(
                !status.message.contains("a plugin failed"),
                "{method} {field}: {status:?}"
            );
        }
    }
    assert_eq!(of(&proxy, "plugin_quarantines_total").await, 0.0);
}
