//! Who is asking: signed tokens, certificates, users of a cluster, and what clients say of themselves.
//! Each is told over REST and over gRPC, and what is refused is refused in the client's own dialect.

mod certificates;
mod clusters;
mod issuers;
mod lies;
mod tenants;

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tollgate_tests::{
    Proxy, Setup,
    client::{
        Request, Response,
        grpc::{self, Status},
        http1, http2,
    },
    eventually, fake, fmaas, scene,
    standin::{
        issuer::{self, Key, Kind, Published},
        reviews::{self, Cluster, Instead},
    },
    tls, tokens,
};

const NGRAM: &str = "tollgate-ngram";

/// The embedded models behind both frontends, with this `auth`, and more YAML.
fn embedded(auth: &str, more: &str) -> Setup {
    let yaml = scene::embedded().replace("auth: open", &format!("auth: {auth}"));
    Setup::new(&format!("{yaml}{more}"))
}

/// Seconds since 1970.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("the clock is right").as_secs()
}

/// A completion over REST.
async fn rest(proxy: &Proxy, token: Option<&str>) -> Response {
    let body = json!({"model": NGRAM, "prompt": "The ferry", "max_tokens": 1});
    let request = Request::post("/v1/completions", &body);
    let request = token.iter().fold(request, |it, token| it.token(token));
    http1::ask(proxy.http(), &request).await
}

/// A generation over gRPC.
async fn generated(proxy: &Proxy, token: Option<&str>) -> Status {
    let request = scene::tgis("Generate");
    let request = token.iter().fold(request, |it, token| it.token(token));
    let message = scene::batch(NGRAM, &["The ferry"]);
    let asked =
        grpc::ask::<fmaas::BatchedGenerationResponse>(proxy.http(), &request, &message).await;
    asked.1
}

/// Both say the same of a token.
async fn both(proxy: &Proxy, token: &str) -> (u16, u32) {
    let rest = rest(proxy, Some(token)).await;
    if rest.status == 401 {
        let body = rest.json();
        assert_eq!(body, json!({"error": "Unauthorized"}), "as vLLM says it");
    }
    (rest.status, generated(proxy, Some(token)).await.code)
}

const GOOD: (u16, u32) = (200, 0);
const UNKNOWN: (u16, u32) = (401, 16);
const FORBIDDEN: (u16, u32) = (403, 7);
const AWAY: (u16, u32) = (503, 14);
