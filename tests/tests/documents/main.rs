//! The documents' own examples: each line as one copies it, run by a shell with the real curl and
//! the real grpcurl, through the real proxy over TLS and with a token, to servers of each kind.
//! Every endpoint that the documents name is there.
//!
//! grpcurl comes with the Python environment that `cargo xtask test` makes and names in
//! `TOLLGATE_VENV`; without it the tests that need it say that they were left out.

mod examples;
mod workers;

use std::{
    collections::BTreeSet,
    env,
    net::SocketAddr,
    path::PathBuf,
    process::{Command, Stdio},
};

use examples::{CHECKLIST, CURL, Example, GRPCURL};
use tempfile::TempDir;
use tollgate_tests::{Proxy, Setup, fake, place, tls::Certificate, tokens};

const TOKEN: &str = "a-long-and-random-token-of-a-test";

/// A name for each runtime, as in the documents; each has one model, and clients may leave out
/// its name.
const YAML: &str = r#"
listeners:
  - { name: tls, address: "127.0.0.1:0", tls: { certificates: [{ cert: cert.pem, key: key.pem }] } }
tokens: { file: tokens.yaml }
plugins:
  openai: { source: "bundled:openai" }
  tgis: { source: "bundled:tgis" }
  caikit: { source: "bundled:caikit" }
  kserve: { source: "bundled:kserve" }
  ovms: { source: "bundled:kserve", options: { server: ovms } }
  modelmesh: { source: "bundled:kserve", options: { server: modelmesh } }
workers:
  - { name: vllm, address: "http://VLLM", protocol: openai, probe: off, models: &m [{ name: m, served-as: served }] }
  - { name: caikit, address: "http://CAIKIT", protocol: caikit, options: { dialect: caikit-rest }, probe: off, models: *m }
  - { name: tgis, address: "grpc://TGIS", protocol: tgis, probe: off, models: *m }
  - { name: v2, address: "http://V2", protocol: kserve, probe: off, models: *m }
routes:
  - { name: vllm, hosts: [vllm.example.com], frontends: [openai], workers: [vllm] }
  - { name: caikit, hosts: [caikit.example.com], frontends: [caikit], workers: [caikit] }
  - { name: tgis, hosts: [tgis.example.com], frontends: [tgis], workers: [tgis] }
  - { name: triton, hosts: [triton.example.com], frontends: [kserve], workers: [v2] }
  - { name: ovms, hosts: [ovms.example.com], frontends: [ovms], workers: [v2] }
  - { name: modelmesh, hosts: [modelmesh.example.com], frontends: [modelmesh], workers: [v2] }
"#;

/// What a shell needs, so that a line can be typed as it stands: the names of the documents lead
/// to the proxy, and curl says the status last.
const SHELL: &str = r#"
grpcurl() {
    local words=() name=
    for word in "$@"; do
        case $word in
            *.example.com:443) name=${word%:443}; words+=(-authority "$name" "127.0.0.1:$PORT") ;;
            *) words+=("$word") ;;
        esac
    done
    # Flags end where the address begins.
    local flags=(-max-time 60 -authority "$name") rest=()
    for ((at = 0; at < ${#words[@]}; at++)); do
        case ${words[at]} in
            -authority) at=$((at + 1)) ;;
            127.0.0.1:*) rest=("${words[@]:at}"); break ;;
            *) flags+=("${words[at]}") ;;
        esac
    done
    command "$GRPCURL" "${flags[@]}" "${rest[@]}"
}
"#;

struct Scene {
    proxy: Proxy,
    _http: [fake::http1::Worker; 3],
    _grpc: fake::grpc::Worker,
    home: TempDir,
}

async fn scene() -> Scene {
    let vllm = fake::http1::Worker::start(workers::vllm).await;
    let caikit = fake::http1::Worker::start(workers::caikit).await;
    let v2 = fake::http1::Worker::start(workers::v2).await;
    let tgis = fake::grpc::Worker::start(workers::tgis).await;
    let names = ["vllm", "caikit", "tgis", "triton", "ovms", "modelmesh"];
    let names = names.map(|name| format!("{name}.example.com"));
    let certificate = Certificate::new(&names.each_ref().map(String::as_str));
    let file = tokens::file(&[tokens::entry("tests", TOKEN, "models: [\"*\"]")]);
    let yaml = YAML
        .replace("VLLM", &vllm.address.to_string())
        .replace("CAIKIT", &caikit.address.to_string())
        .replace("TGIS", &tgis.address.to_string())
        .replace("V2", &v2.address.to_string());
    let proxy = Setup::new(&yaml)
        .file("cert.pem", &certificate.cert)
        .file("key.pem", &certificate.key)
        .file("tokens.yaml", file)
        .start()
        .await;
    let home = TempDir::new().expect("temporary files have a place");
    let port = proxy.listener("tls").port();
    let curlrc = format!(
        "connect-to = \"::127.0.0.1:{port}\"\nnoproxy = \"*\"\nmax-time = 60\n\
         write-out = \"\\n%{{http_code}}\"\n"
    );
    std::fs::write(home.path().join(".curlrc"), curlrc).expect("it can be written");
    Scene {
        proxy,
        _http: [vllm, caikit, v2],
        _grpc: tgis,
        home,
    }
}

/// Where grpcurl is, if it is.
fn grpcurl() -> Option<PathBuf> {
    let venv = env::var_os("TOLLGATE_VENV").map(PathBuf::from)?;
    Some(venv.join("bin/grpcurl")).filter(|path| path.is_file())
}

/// Types a line; gives what it printed.
async fn typed(scene: &Scene, line: &str) -> String {
    let address: SocketAddr = scene.proxy.listener("tls");
    let mut command = Command::new("bash");
    command
        .args(["-c", &format!("{SHELL}\n{line}")])
        .current_dir(place::root())
        .env("CURL_HOME", scene.home.path())
        .env("TOKEN", TOKEN)
        .env("PORT", address.port().to_string())
        .env("GRPCURL", grpcurl().unwrap_or_default())
        .stdin(Stdio::null());
    let asked = tokio::task::spawn_blocking(move || command.output());
    let output = tokio::time::timeout(std::time::Duration::from_secs(120), asked)
        .await
        .expect("the line ends")
        .expect("waiting for it does not panic")
        .expect("there is a shell");
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let problem = String::from_utf8_lossy(&output.stderr);
    format!("{printed}{problem}")
}

/// Types every line, and tells of all that fail.
async fn all_hold(examples: &[Example]) {
    let scene = scene().await;
    let mut wrong = Vec::new();
    for example in examples {
        let printed = typed(&scene, example.line).await;
        let missing: Vec<_> = example
            .prints
            .iter()
            .filter(|part| !printed.contains(**part))
            .collect();
        if !missing.is_empty() {
            wrong.push(format!(
                "{}\n  {}\n  lacks {missing:?} in\n  {printed}",
                example.endpoint, example.line
            ));
        }
    }
    let (count, all) = (wrong.len(), examples.len());
    assert!(wrong.is_empty(), "{count} of {all}:\n{}", wrong.join("\n"));
}

#[test]
fn every_endpoint_of_the_documents_has_an_example() {
    let shown: BTreeSet<&str> = CURL
        .iter()
        .chain(&GRPCURL)
        .map(|example| example.endpoint)
        .collect();
    let listed: BTreeSet<&str> = CHECKLIST.into();
    assert_eq!(shown, listed);
    assert_eq!(listed.len(), CHECKLIST.len(), "none is listed twice");
}

#[tokio::test]
async fn lines_of_curl_answer_as_the_documents_say() {
    all_hold(&CURL).await;
}

#[tokio::test]
async fn lines_of_grpcurl_answer_as_the_documents_say() {
    if grpcurl().is_none() {
        println!("left out: TOLLGATE_VENV does not say where grpcurl is");
        return;
    }
    all_hold(&GRPCURL).await;
}

/// Without a `.proto` file: every service is listed and described, its messages can be made up
/// from that, and its health is told by name.
#[tokio::test]
async fn every_service_describes_itself_and_tells_its_health() {
    if grpcurl().is_none() {
        println!("left out: TOLLGATE_VENV does not say where grpcurl is");
        return;
    }
    let scene = scene().await;
    let bearer = r#"-insecure -H "Authorization: Bearer ${TOKEN}""#;
    for (host, services) in [
        (
            "caikit",
            [
                ("caikit.runtime.Nlp.NlpService", "RerankTaskPredict"),
                ("caikit.runtime.info.InfoService", "GetRuntimeInfo"),
            ]
            .as_slice(),
        ),
        ("tgis", &[("fmaas.GenerationService", "GenerateStream")]),
        (
            "triton",
            &[("inference.GRPCInferenceService", "ModelStreamInfer")],
        ),
    ] {
        let address = format!("{host}.example.com:443");
        let listed = typed(&scene, &format!("grpcurl {bearer} {address} list")).await;
        for (service, method) in services {
            assert!(listed.lines().any(|line| line == *service), "{listed}");
            let line = format!("grpcurl {bearer} {address} describe {service}");
            let described = typed(&scene, &line).await;
            assert!(described.contains(&format!("rpc {method}")), "{described}");
            let ask = |name: &str| {
                format!(
                    r#"grpcurl {bearer} -d '{{"service": "{name}"}}' {address} grpc.health.v1.Health/Check"#
                )
            };
            for name in ["", service] {
                let told = typed(&scene, &ask(name)).await;
                assert!(told.contains(r#""status": "SERVING""#), "{name}: {told}");
            }
            let told = typed(&scene, &ask("nobody.Service")).await;
            assert!(told.contains("NotFound"), "{told}");
        }
        // What is asked of nobody anonymous is not told to them either.
        let unasked = typed(&scene, &format!("grpcurl -insecure {address} list")).await;
        assert!(!unasked.contains(services[0].0), "{unasked}");
    }
}
