//! What others write down and build on: the schema of a configuration, the examples, the words of
//! an error in one, the text of the plugins' contract, and a host that needs no plugin.

use std::{
    env, fs,
    os::unix::fs::DirBuilderExt,
    path::Path,
    process::{Command, Output, Stdio},
};

use tempfile::TempDir;
use tollgate_tests::{
    Proxy, Setup,
    client::{Request, grpc, http1, http2},
    fmaas, place, scene,
    tls::Certificate,
};
use wit_component::WitPrinter;
use wit_parser::Resolve;

fn tollgate(arguments: &[&str], folder: &Path) -> Output {
    Command::new(place::binary())
        .args(arguments)
        .current_dir(folder)
        .output()
        .expect("the binary runs")
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Where the other tests have left compiled components.
fn cached() -> String {
    let cache = place::target().join("tests-cache");
    // `check` makes none.
    let made = fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&cache);
    made.expect("it can be made");
    format!("\nruntime: {{ cache-dir: \"{}\" }}\n", cache.display())
}

/// The examples, with the certificates that they name.
fn examples() -> TempDir {
    let folder = TempDir::new().unwrap();
    for entry in fs::read_dir(place::root().join("config")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let copy = folder.path().join(path.file_name().unwrap());
            let mut text = fs::read_to_string(&path).unwrap();
            if text.contains("\nlisteners:") && !text.contains("\nruntime:") {
                text.push_str(&cached());
            }
            fs::write(copy, text).unwrap();
        }
    }
    let certificate = Certificate::new(&["models.example.com"]);
    let certs = folder.path().join("example-certs");
    fs::create_dir(&certs).unwrap();
    for (cert, key) in [
        (certs.join("models.pem"), certs.join("models.key")),
        (
            folder.path().join("cert.pem"),
            folder.path().join("key.pem"),
        ),
    ] {
        fs::write(cert, &certificate.cert).unwrap();
        fs::write(key, &certificate.key).unwrap();
    }
    let tokens = folder.path().join("tokens.yaml");
    fs::copy(folder.path().join("tokens.example.yaml"), tokens).unwrap();
    folder
}

#[test]
fn the_schema_that_is_kept_is_the_one_that_is_told() {
    let kept = fs::read_to_string(place::root().join("config/schema.json")).unwrap();
    let told = tollgate(&["schema"], place::root());
    assert!(told.status.success());
    assert_eq!(
        out(&told).trim_end(),
        kept.trim_end(),
        "write it anew: tollgate schema > config/schema.json"
    );
}

/// `tollgate schema | head` is nobody's fault; a full disk is told.
#[test]
fn who_stops_reading_is_no_error_and_a_full_disk_is() {
    let schema = |stdout: Stdio| {
        let child = Command::new(place::binary())
            .arg("schema")
            .stdout(stdout)
            .stderr(Stdio::piped())
            .spawn();
        let mut child = child.expect("the binary runs");
        drop(child.stdout.take());
        child.wait_with_output().expect("it ends")
    };
    let gone = schema(Stdio::piped());
    assert!(gone.status.success() && err(&gone).is_empty(), "{gone:?}");

    let full = fs::File::create("/dev/full").expect("Linux has one");
    let full = schema(full.into());
    assert_eq!(full.status.code(), Some(1));
    assert!(
        err(&full).starts_with("tollgate: standard output: "),
        "{full:?}"
    );
}

#[test]
fn claims_of_an_example_are_told() {
    // That every example is good is looked at by `cargo xtask test` itself, which has the files that
    // they name.
    let folder = examples();
    for config in [
        "demo.yaml",
        "sidecar.yaml",
        "ingress.yaml",
        "kserve.yaml",
        "fleet.yaml",
        "limits.yaml",
        "compositions.yaml",
    ] {
        let checked = tollgate(&["check", config], folder.path());
        assert!(checked.status.success(), "{config}: {}", err(&checked));
        assert_eq!(out(&checked), format!("{config}: ok\n"));

        let explained = tollgate(&["check", "--explain", config], folder.path());
        assert!(explained.status.success(), "{config}: {}", err(&explained));
        let text = out(&explained);
        let claimed: [(&str, &[&str]); 3] = [
            (
                "openai",
                &[
                    "  POST /v1/chat/completions → openai",
                    "  GET /v1/models/{id...} → openai",
                    "  POST /v1/embeddings → openai",
                ],
            ),
            (
                "tgis",
                &["  gRPC /fmaas.GenerationService/GenerateStream → tgis"],
            ),
            (
                "kserve",
                &[
                    "  GET /v2/health/live → kserve",
                    "  GET /v2/models/{model}/ready → kserve",
                    "  gRPC /inference.GRPCInferenceService/ModelInfer → kserve",
                ],
            ),
        ];
        // By the frontends that the example's first route has.
        let frontends = text.lines().find(|line| line.contains("frontends"));
        let frontends = frontends.expect("a route has frontends");
        let lines: Vec<&str> = claimed
            .iter()
            .filter(|(plugin, _)| frontends.contains(plugin))
            .flat_map(|(_, lines)| lines.iter().copied())
            .collect();
        assert!(!lines.is_empty(), "{config}: {frontends}");
        for line in lines {
            assert!(
                text.lines().any(|it| it == line),
                "{config}: no {line:?} in\n{text}"
            );
        }
    }
}

#[test]
fn the_first_frontend_that_is_listed_has_the_path() {
    let yaml = r#"
listeners: [{ name: l, address: "127.0.0.1:0" }]
plugins:
  one: { source: "bundled:openai" }
  two: { source: "bundled:openai" }
  embedded: { source: "bundled:embedded" }
workers: [{ name: w, address: "component:embedded" }]
routes:
  - { name: a, prefix: /a, frontends: [one, two], workers: [w], auth: open }
  - { name: b, prefix: /b, frontends: [two, one], workers: [w], auth: open }
"#;
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("c.yaml"), yaml.to_owned() + &cached()).unwrap();
    let text = out(&tollgate(&["check", "--explain", "c.yaml"], folder.path()));
    let of_route = |name: &str| {
        let from = text
            .find(&format!("route {name} answers:"))
            .expect("it is told");
        let rest = &text[from..];
        let line = rest
            .lines()
            .find(|line| line.contains("POST /v1/completions"));
        line.expect("it is claimed").to_owned()
    };
    assert!(of_route("a").ends_with("→ one"), "{text}");
    assert!(of_route("b").ends_with("→ two"), "{text}");
}

#[test]
fn an_error_says_where_it_is_and_what_was_meant() {
    let folder = TempDir::new().unwrap();
    let cases = [
        (
            "listeners:\n  - name: l\n    adress: 127.0.0.1:0\n",
            vec!["c.yaml:3:5:", "`adress`", "did you mean `address`?"],
        ),
        (
            "listeners:\n  - { name: l, address: \"127.0.0.1:0\" }\nroutes:\n  - { name: r, frontends: [openai], workers: [w] }\n",
            vec![
                "c.yaml:4:",
                "there is no plugin `openai`",
                "there is no worker `w`",
            ],
        ),
        (
            "listeners:\n  - { name: l, address: nowhere }\n",
            vec!["c.yaml:2:25:", "nowhere"],
        ),
        ("listeners: [\n", vec!["c.yaml:2:"]),
    ];
    for (yaml, words) in cases {
        fs::write(folder.path().join("c.yaml"), yaml).unwrap();
        for arguments in [&["check", "c.yaml"][..], &["run", "c.yaml"]] {
            let output = tollgate(arguments, folder.path());
            assert_eq!(output.status.code(), Some(1));
            for word in &words {
                assert!(
                    err(&output).contains(word),
                    "no {word:?} in: {}",
                    err(&output)
                );
            }
        }
    }
    let missing = tollgate(&["check", "nothing.yaml"], folder.path());
    assert_eq!(missing.status.code(), Some(1));
    assert!(err(&missing).contains("nothing.yaml"), "{}", err(&missing));
}

#[tokio::test]
async fn a_plugin_that_is_not_there_is_named() {
    let yaml = "plugins:\n  mine: { source: \"bundled:mine\" }\n";
    let log = Setup::new(yaml).refused().await;
    assert!(log.contains("bundled component mine"), "{log}");
    assert!(log.contains("openai"), "it says which there are: {log}");
    let log = Setup::new("plugins:\n  mine: { source: none.wasm }\n")
        .refused()
        .await;
    assert!(log.contains("none.wasm"), "{log}");
    let log = Setup::new("plugins:\n  mine: { source: text.wasm }\n")
        .file("text.wasm", "not a component")
        .refused()
        .await;
    assert!(log.contains("mine"), "{log}");
}

#[tokio::test]
async fn options_that_a_plugin_does_not_know_are_refused_by_name() {
    let yaml = scene::embedded().replace(
        "openai: { source: \"bundled:openai\" }",
        "openai: { source: \"bundled:openai\", options: { no-such-option: 1 } }",
    );
    let log = Setup::new(&yaml).refused().await;
    assert!(
        log.contains("openai") && log.contains("no-such-option"),
        "{log}"
    );
}

/// What `check` takes, `run` takes: both hand every component its options.
#[test]
fn options_are_refused_before_anything_serves() {
    let yaml = r#"
listeners: [{ name: l, address: "127.0.0.1:0" }]
plugins:
  openai: { source: "bundled:openai", options: { clients: new } }
  compose: { source: "bundled:compose", options: { fan-out: 512 } }
  embedded: { source: "bundled:embedded" }
schedulers:
  s: { source: "bundled:fcfs", options: { max-pending: 7 } }
workers: [{ name: w, address: "component:embedded" }]
routes:
  - { name: a, frontends: [openai], compositions: [compose], workers: [w], scheduler: s, auth: open }
"#;
    let folder = TempDir::new().unwrap();
    let asked = |arguments: &[&str]| {
        let arguments = [arguments, &["c.yaml"]].concat();
        tollgate(&arguments, folder.path())
    };
    let put = |yaml: String| fs::write(folder.path().join("c.yaml"), yaml + &cached()).unwrap();
    fs::write(folder.path().join("text.wasm"), "nothing of the kind").unwrap();
    put(yaml.to_owned());
    let good = asked(&["check"]);
    assert!(good.status.success(), "{}", err(&good));

    for (from, to, words) in [
        (
            "clients: new",
            "cleints: new",
            ["plugin openai refuses its options", "`cleints`"],
        ),
        (
            "fan-out: 512",
            "fan-uot: 512",
            ["plugin compose refuses its options", "`fan-uot`"],
        ),
        (
            "max-pending: 7",
            "max-pending: 0",
            ["plugin s refuses its options", "0 is not between 1 and"],
        ),
        (
            "bundled:compose",
            "text.wasm",
            ["plugin compose", "not a WebAssembly component"],
        ),
    ] {
        put(yaml.replace(from, to));
        for verb in ["check", "run"] {
            let refused = asked(&[verb]);
            assert_eq!(refused.status.code(), Some(1), "{verb}: {to}");
            for word in words {
                let told = err(&refused);
                assert!(told.contains(word), "{verb}: no {word:?} in: {told}");
            }
        }
    }
    // Of options nothing is said where no component is there to say it.
    put(yaml.replace("clients: new", "cleints: new"));
    let read = asked(&["check", "--no-load"]);
    assert!(read.status.success(), "{}", err(&read));
    assert_eq!(out(&read), "c.yaml: ok\n");
}

/// Certificates are read, as a listener would read them.
#[test]
fn a_certificate_that_is_none_is_refused_before_anything_serves() {
    let folder = TempDir::new().unwrap();
    let yaml = r#"
listeners:
  - name: l
    address: "127.0.0.1:0"
    tls: { certificates: [{ cert: cert.pem, key: key.pem }] }
"#;
    fs::write(folder.path().join("c.yaml"), yaml).unwrap();
    let certificate = Certificate::new(&["localhost"]);
    fs::write(folder.path().join("key.pem"), &certificate.key).unwrap();
    for (cert, good) in [("nothing", false), (certificate.cert.as_str(), true)] {
        fs::write(folder.path().join("cert.pem"), cert).unwrap();
        let checked = tollgate(&["check", "c.yaml"], folder.path());
        assert_eq!(checked.status.success(), good, "{}", err(&checked));
        assert_eq!(err(&checked).contains("listener l: "), !good);
    }
}

/// Who checks may be somebody else than who serves: what the one makes the other could not use.
#[test]
fn a_check_leaves_nothing_behind() {
    let folder = TempDir::new().unwrap();
    let yaml = r#"
listeners: [{ name: l, address: "127.0.0.1:0" }]
plugins: { embedded: { source: "bundled:embedded" } }
runtime: { cache-dir: cache }
"#;
    fs::write(folder.path().join("c.yaml"), yaml).unwrap();
    let checked = tollgate(&["check", "c.yaml"], folder.path());
    assert!(checked.status.success(), "{}", err(&checked));
    assert!(!folder.path().join("cache").exists());
}

#[tokio::test]
async fn a_host_without_plugins_serves() {
    let proxy = Proxy::start("").await;
    for request in [
        Request::get("/"),
        Request::get("/v1/models"),
        scene::completion(true),
    ] {
        let got = http1::ask(proxy.http(), &request).await.with_status(404);
        assert_eq!(
            got.header("content-type"),
            Some("text/plain; charset=utf-8")
        );
        assert!(got.text().contains("no route"), "{}", got.text());
        let got = http2::Connection::open(proxy.http())
            .await
            .ask(&request)
            .await;
        assert_eq!(got.status, 404);
    }
    let (answers, status) = grpc::ask::<fmaas::BatchedGenerationResponse>(
        proxy.http(),
        &scene::tgis("Generate"),
        &scene::batch("m", &["x"]),
    )
    .await;
    assert_eq!((answers.len(), status.code), (0, 5), "{status:?}");
    let status = proxy.status().await;
    assert_eq!(status["plugins"], serde_json::json!([]));
    assert_eq!(status["ready"], true);
    assert_eq!(proxy.terminate().await.code, Some(0));
}

#[tokio::test]
async fn what_operators_ask_is_not_on_the_port_of_clients() {
    let proxy = Proxy::start(&scene::embedded()).await;
    http1::ask(proxy.http(), &scene::completion(false)).await;
    for path in ["/status", "/metrics", "/readyz", "/livez"] {
        let got = http1::ask(proxy.http(), &Request::get(path)).await;
        assert_eq!(got.status, 404, "{path}");
        proxy.ask_admin(path).await.with_status(200);
    }
    assert_eq!(proxy.ask_admin("/nothing").await.status, 404);
    let post = http1::ask(proxy.admin(), &Request::get("/status").method("POST")).await;
    assert_eq!(post.status, 405);
    let metrics = proxy.metrics().await;
    assert!(metrics.ends_with("# EOF\n"), "OpenMetrics ends so");
    assert!(metrics.contains("route=\"all\""), "{metrics}");
}

/// The contract in one text, without its comments: types and signatures, which is what a plugin
/// that was built before depends on.
fn contract() -> String {
    let mut resolve = Resolve::default();
    let (package, _) = resolve
        .push_dir(place::root().join("wit"))
        .expect("the contract is good");
    let mut printer = WitPrinter::default();
    printer.emit_docs(false);
    printer
        .print(&resolve, package, &[])
        .expect("it can be printed");
    printer.output.to_string()
}

#[test]
fn the_contract_does_not_change_by_accident() {
    // In a folder of its own: every `.wit` beside the contract's would be part of the contract.
    let path = place::root().join("wit/snapshot/plugin.wit");
    let now = contract();
    if env::var_os("TOLLGATE_BLESS").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &now).unwrap();
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    let changed = kept
        .lines()
        .zip(now.lines())
        .find(|(kept, now)| kept != now);
    assert!(
        kept == now,
        "the contract has changed, which refuses every plugin that was built before; the first \
         line that differs: {changed:?}. If that is meant: rebuild the plugins, raise the version, \
         and write it anew with TOLLGATE_BLESS=1"
    );
}
