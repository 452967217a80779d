//! What the command line says without a proxy that serves.

use std::process::{Command, Output};

use tollgate_tests::place;

use super::*;

const CONFIG: &str = r#"
listeners:
  - { name: plain, address: "127.0.0.1:0" }
  - { name: inner, address: "127.0.0.1:1" }
tokens: { file: t.yaml }
plugins:
  openai: { source: "bundled:openai" }
  tgis: { source: "bundled:tgis" }
schedulers: { s: { source: "bundled:fcfs" } }
workers:
  - { name: same, address: "http://127.0.0.1:9", protocol: openai, models: [{ name: m }] }
  - { name: else, address: "grpc://127.0.0.1:9", protocol: tgis, models: [{ name: m }] }
routes:
  - { name: all, listeners: [plain], frontends: [openai, tgis], workers: [same, else], scheduler: s, default-model: m }
  - { name: under, prefix: /ns, hosts: [models.example.com], frontends: [openai], workers: [same], scheduler: s, auth: open }
"#;

fn tollgate(arguments: &[&str]) -> Output {
    let output = Command::new(place::binary()).args(arguments).output();
    output.expect("the binary runs")
}

/// What is said of a request; its exit status.
fn said(request: [&str; 3], more: &[&str]) -> (String, bool) {
    let folder = tempfile::TempDir::new().expect("there is a place");
    let path = folder.path().join("c.yaml");
    std::fs::write(&path, CONFIG).expect("it can be written");
    std::fs::write(folder.path().join("t.yaml"), "tokens: []\n").expect("it can be written");
    let mut arguments = vec!["check", "--request"];
    arguments.extend(request);
    arguments.extend(more);
    let path = path.to_str().expect("a path of letters");
    arguments.extend(["--", path]);
    let output = tollgate(&arguments);
    let text = [output.stdout, output.stderr].concat();
    (
        String::from_utf8(text).expect("text"),
        output.status.success(),
    )
}

#[test]
fn one_request_is_explained() {
    let (told, good) = said(["POST", "other.example.com", "/v1/completions"], &[]);
    assert!(good, "{told}");
    for line in [
        "listener plain\n  route all,",
        "frontend openai, in the dialect",
        "a token is required",
        "the model that the client names, or m",
        "waits for scheduler s",
        "worker same at http://127.0.0.1:9: by openai, passed on",
        "worker else at grpc://127.0.0.1:9: by tgis, translated",
        "listener inner\n  no route for this host and path: 404",
    ] {
        assert!(told.contains(line), "{line}: {told}");
    }
    let inner = ["--listener", "inner"];
    let (told, _) = said(["GET", "models.example.com:443", "/ns/v1/models"], &inner);
    assert!(
        told.contains("route under") && told.contains("its frontends see /v1/models"),
        "{told}"
    );
    assert!(
        told.contains("open to anybody") && !told.contains("listener plain"),
        "{told}"
    );
    let (told, _) = said(["DELETE", "-", "/v1/completions"], &[]);
    assert!(told.contains("405"), "{told}");
    let (told, _) = said(["GRPC", "-", "/fmaas.GenerationService/Generate"], &[]);
    assert!(told.contains("frontend tgis"), "{told}");
    let (told, _) = said(["GET", "-", "/nothing/here"], &[]);
    assert!(told.contains("no frontend claims this path: 404"), "{told}");
    let (told, good) = said(["GET", "-", "/"], &["--listener", "nobody"]);
    assert!(
        !good && told.contains("there is no listener nobody"),
        "{told}"
    );
}

#[test]
fn completions_and_the_manual_name_every_verb() {
    let verbs = [
        "run",
        "check",
        "simulate",
        "plugin",
        "reload",
        "upgrade",
        "schema",
        "completions",
    ];
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let told = tollgate(&["completions", shell]);
        assert!(told.status.success());
        let told = String::from_utf8(told.stdout).expect("text");
        for verb in verbs {
            assert!(told.contains(verb), "{shell}: {verb}");
        }
    }
    let manual = String::from_utf8(tollgate(&["man"]).stdout).expect("text");
    for verb in verbs {
        assert!(
            manual.contains(&format!("tollgate\\-{verb}")),
            "{verb}: {manual}"
        );
    }
}

#[tokio::test]
async fn a_running_proxy_is_asked_by_its_verbs() {
    let worker = named("one").await;
    let proxy = Setup::new(&scene::one("openai", worker.address, "", ""))
        .runtime("watch: 0s")
        .start()
        .await;
    let admin = proxy.admin().to_string();
    let ask = async |verb: &'static str| {
        let admin = admin.clone();
        let asked = tokio::task::spawn_blocking(move || tollgate(&[verb, "--admin", &admin]));
        let output = within("it is asked", asked)
            .await
            .expect("it does not panic");
        (
            output.status.success(),
            [output.stdout, output.stderr].concat(),
        )
    };
    let (good, told) = ask("reload").await;
    assert!(good && told == b"the configuration is as it was\n");
    proxy.reconfigure(|yaml| yaml.replace("auth: open", "auth: opne"));
    let (good, told) = ask("reload").await;
    assert!(!good && String::from_utf8_lossy(&told).contains("did you mean `open`"));
    let (good, told) = ask("upgrade").await;
    assert!(!good, "{}", String::from_utf8_lossy(&told));
}
