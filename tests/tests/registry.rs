//! Plugins out of a real OCI registry: Debian's docker-registry, over plain HTTP, with a password,
//! and over TLS.
//!
//! They need the program that `cargo xtask test` fetches and names in `TOLLGATE_REGISTRY`, or one on
//! PATH; without it each test says that it was left out. What a registry can be made to say and a
//! real one does not is in `proxy/registry/tests/scripted.rs`.

use std::{
    env, fs,
    io::{BufRead, BufReader},
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use serde_json::json;
use tempfile::TempDir;
use tollgate_tests::{
    Proxy, Setup,
    client::{Request, http1},
    eventually, place,
    tls::Certificate,
};

/// `user` and `secret`, by bcrypt, as htpasswd writes it.
const PASSWORDS: &str = "user:$2b$04$IwRIzFuSy.fS7JeAM1f32uH0Q9sxEBXd69X5bcbvd3dIzrwbs61Ri\n";
/// The same in base64.
const AUTH: &str = "dXNlcjpzZWNyZXQ=";

fn program() -> Option<PathBuf> {
    let named = env::var_os("TOLLGATE_REGISTRY").map(PathBuf::from);
    let path = env::var_os("PATH").unwrap_or_default();
    let mut on_path = env::split_paths(&path).map(|folder| folder.join("docker-registry"));
    if let Some(named) = &named {
        assert!(named.is_file(), "{} is no program", named.display());
    }
    let found = named.or_else(|| on_path.find(|path| path.is_file()));
    if found.is_none() {
        println!("left out: TOLLGATE_REGISTRY does not say where a registry is");
    }
    found
}

#[derive(Default)]
struct Kind {
    password: bool,
    tls: bool,
}

/// A running registry; it ends with the value.
struct Registry {
    child: Child,
    address: SocketAddr,
    folder: TempDir,
    program: PathBuf,
    kind: Kind,
}

impl Registry {
    async fn start(kind: Kind) -> Option<Self> {
        let program = program()?;
        let folder = TempDir::new().expect("temporary files have a place");
        let address = TcpListener::bind("127.0.0.1:0")
            .and_then(|it| it.local_addr())
            .expect("the machine has a free port");
        let certificate = Certificate::new(&["localhost", "127.0.0.1"]);
        fs::write(folder.path().join("cert.pem"), &certificate.cert).unwrap();
        fs::write(folder.path().join("key.pem"), &certificate.key).unwrap();
        fs::write(folder.path().join("passwords"), PASSWORDS).unwrap();
        let child = spawn(&program, folder.path(), address, &kind);
        let registry = Self {
            child,
            address,
            folder,
            program,
            kind,
        };
        registry.listens().await;
        Some(registry)
    }

    async fn listens(&self) {
        eventually("the registry listens", async || {
            std::net::TcpStream::connect(self.address).ok()
        })
        .await;
    }

    fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    async fn again(&mut self) {
        self.child = spawn(&self.program, self.folder.path(), self.address, &self.kind);
        self.listens().await;
    }

    fn reference(&self, behind: &str) -> String {
        format!("oci://{}/plugins/echo{behind}", self.address)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.stop();
    }
}

fn spawn(program: &Path, folder: &Path, address: SocketAddr, kind: &Kind) -> Child {
    let path = |name: &str| folder.join(name).display().to_string();
    let auth = match kind.password {
        true => format!(
            "auth: {{ htpasswd: {{ realm: here, path: {} }} }}\n",
            path("passwords")
        ),
        false => String::new(),
    };
    let tls = match kind.tls {
        true => format!(
            ", tls: {{ certificate: {}, key: {} }}",
            path("cert.pem"),
            path("key.pem")
        ),
        false => String::new(),
    };
    let config = format!(
        "version: 0.1\nlog: {{ level: warn }}\nstorage: {{ filesystem: {{ rootdirectory: {} }} }}\n\
         http: {{ addr: \"{address}\"{tls} }}\n{auth}",
        path("data")
    );
    fs::write(folder.join("registry.yaml"), config).unwrap();
    let mut child = Command::new(program)
        .args(["serve", &path("registry.yaml")])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the registry starts");
    let errors = BufReader::new(child.stderr.take().expect("it is piped"));
    std::thread::spawn(move || errors.lines().map_while(Result::ok).for_each(drop));
    child
}

/// `tollgate plugin …`.
fn plugin(folder: &Path, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(place::binary())
        .arg("plugin")
        .args(arguments)
        .current_dir(folder)
        .output()
        .expect("the binary runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    match output.status.success() {
        true => Ok(text(&output.stdout)),
        false => Err(text(&output.stderr)),
    }
}

fn good() -> Vec<u8> {
    fs::read(place::component("fixtures/bad")).expect("the component")
}

/// The same with a section more that means nothing.
fn newer() -> Vec<u8> {
    [good().as_slice(), b"\0\x05\x04note"].concat()
}

fn yaml(source: &str, more: &str, sections: &str) -> String {
    format!(
        r#"
plugins:
  echo: {{ source: "{source}"{more} }}
workers:
  - {{ name: w, address: "http://127.0.0.1:9", protocol: echo, models: [{{ name: m }}], probe: off }}
routes:
  - {{ name: r, frontends: [echo], workers: [w], auth: open, default-model: m }}
{sections}
"#
    )
}

async fn serves(proxy: &Proxy) {
    let body = json!({"hello": "there"});
    let got = http1::ask(proxy.http(), &Request::post("/bad/echo", &body)).await;
    assert_eq!((got.status, got.json()), (200, body));
}

async fn digest(proxy: &Proxy) -> String {
    let status = proxy.status().await;
    let digest = status["plugins"][0]["sha256"].as_str();
    digest.expect("a digest").to_owned()
}

#[tokio::test]
async fn what_is_pushed_is_pulled_and_is_the_same() {
    let Some(registry) = Registry::start(Kind::default()).await else {
        return;
    };
    let folder = TempDir::new().unwrap();
    let run = |arguments: &[&str]| plugin(folder.path(), arguments);
    fs::write(folder.path().join("it.wasm"), good()).unwrap();
    run(&["keygen", "mine"]).unwrap();
    run(&["sign", "it.wasm", "--key", "mine.key"]).unwrap();
    let tagged = registry.reference(":v1");
    let exact = run(&["push", "it.wasm", &tagged]).unwrap();
    assert!(
        exact.starts_with(&registry.reference("@sha256:")),
        "{exact}"
    );
    // The same file is the same artefact, and nothing is sent twice.
    assert_eq!(run(&["push", "it.wasm", &tagged]).unwrap(), exact);

    for reference in [&tagged, &exact] {
        run(&["pull", reference, "-o", "back.wasm"]).unwrap();
        assert_eq!(fs::read(folder.path().join("back.wasm")).unwrap(), good());
        let verified = run(&["verify", "back.wasm", "--key", "mine.pub"]).unwrap();
        assert!(verified.contains("signed by mine.pub"), "{verified}");
        fs::remove_file(folder.path().join("back.wasm.sig")).unwrap();
    }
    // What stands in the registry is the layout that others read.
    let bare = exact.strip_prefix("oci://").unwrap();
    let (_, digest) = bare.split_once('@').unwrap();
    let path = format!("/v2/plugins/echo/manifests/{digest}");
    let mut request = Request::get(&path);
    request = request.header("accept", "application/vnd.oci.image.manifest.v1+json");
    let manifest = http1::ask(registry.address, &request).await.json();
    assert_eq!(
        manifest["config"]["mediaType"],
        "application/vnd.wasm.config.v0+json"
    );
    assert_eq!(manifest["layers"][0]["mediaType"], "application/wasm");
    assert_eq!(manifest["layers"].as_array().map(Vec::len), Some(1));
    let blob = manifest["config"]["digest"].as_str().unwrap();
    let request = Request::get(&format!("/v2/plugins/echo/blobs/{blob}"));
    let config = http1::ask(registry.address, &request).await.json();
    assert_eq!(config["architecture"], "wasm");
    assert_eq!(config["layerDigests"][0], manifest["layers"][0]["digest"]);
    let exports = config["component"]["exports"].as_array().unwrap();
    assert!(
        exports.contains(&json!("tollgate:plugin/frontend@0.1.0")),
        "{config}"
    );

    for (arguments, said) in [
        (
            ["pull", &registry.reference(":v2"), "-o", "x"],
            "has no plugins/echo:v2",
        ),
        (
            ["pull", "oci://not a reference", "-o", "x"],
            "an artefact is written",
        ),
    ] {
        let error = run(&arguments).unwrap_err();
        assert!(error.contains(said), "{error}");
    }
    fs::write(folder.path().join("text"), "hello").unwrap();
    let error = run(&["push", "text", &tagged]).unwrap_err();
    assert!(error.contains("not a WebAssembly component"), "{error}");
}

/// oras knows nothing of components: media types and files are all that it sees.
#[tokio::test]
async fn what_oras_pushes_is_pulled_and_the_other_way_round() {
    let Some(registry) = Registry::start(Kind::default()).await else {
        return;
    };
    let Some(venv) = env::var_os("TOLLGATE_VENV").map(PathBuf::from) else {
        println!("left out: TOLLGATE_VENV does not say where oras is");
        return;
    };
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("it.wasm");
    fs::write(&file, good()).unwrap();
    let oras = |arguments: &[&str]| {
        let output = Command::new(venv.join("bin/python"))
            .arg(place::root().join("tests/clients/oras_registry.py"))
            .args(["--registry", &registry.address.to_string()])
            .args(["--repository", "plugins/echo", "--file"])
            .arg(&file)
            .args(arguments)
            .output()
            .expect("Python runs");
        assert!(output.status.success(), "{output:?}");
    };
    oras(&[]);
    let pull = ["pull", &registry.reference(":oras"), "-o", "back.wasm"];
    plugin(folder.path(), &pull).unwrap();
    assert_eq!(fs::read(folder.path().join("back.wasm")).unwrap(), good());
    let push = ["push", "it.wasm", &registry.reference(":ours")];
    plugin(folder.path(), &push).unwrap();
    oras(&["--pull", "ours"]);
    let proxy = Proxy::start(&yaml(&registry.reference(":oras"), "", "")).await;
    serves(&proxy).await;
}

#[tokio::test]
async fn a_tag_is_followed_and_what_it_named_serves_while_the_registry_is_away() {
    let Some(mut registry) = Registry::start(Kind::default()).await else {
        return;
    };
    let folder = TempDir::new().unwrap();
    let push = |component: &[u8]| {
        fs::write(folder.path().join("it.wasm"), component).unwrap();
        plugin(
            folder.path(),
            &["push", "it.wasm", &registry.reference(":v1")],
        )
        .unwrap()
    };
    push(&good());
    let source = registry.reference(":v1");
    let proxy = Proxy::start(&yaml(&source, ", refresh: 1s", "")).await;
    serves(&proxy).await;
    let first = digest(&proxy).await;
    assert!(proxy.figure("pulled_cache_bytes").await.unwrap() > 0.0);

    push(&newer());
    eventually("the new one is in force", async || {
        (digest(&proxy).await != first).then_some(())
    })
    .await;
    serves(&proxy).await;
    let second = digest(&proxy).await;

    // What does not load changes nothing, and the tag goes on to be looked up.
    let nothing = *b"\0asm\x0d\0\x01\0";
    push(&nothing);
    proxy
        .logged(|line| line.contains("in force stays") && line.contains("it exports nothing"))
        .await;
    assert_eq!(digest(&proxy).await, second);
    // Seen to be looked up again, by one and then the other.
    for (component, wanted) in [(good(), &first), (newer(), &second)] {
        push(&component);
        eventually("the tag's new component is in force", async || {
            (digest(&proxy).await == *wanted).then_some(())
        })
        .await;
    }

    registry.stop();
    proxy
        .logged(|line| line.contains("a tag is not looked up"))
        .await;
    serves(&proxy).await;
    proxy.terminate().await;
    let proxy = Proxy::start(&yaml(&source, "", "")).await;
    serves(&proxy).await;
    assert_eq!(digest(&proxy).await, second);
    let log = proxy.log();
    assert!(log.contains("the registry is away"), "{log}");
    proxy.terminate().await;
    // What was never pulled is not there.
    let never = yaml(&registry.reference(":v9"), "", "");
    let said = Setup::new(&never).refused().await;
    assert!(said.contains("is not to be reached"), "{said}");
    registry.again().await;
    let proxy = Proxy::start(&yaml(&source, "", "")).await;
    assert!(!proxy.log().contains("the registry is away"));
    // Without `refresh` it is asked when somebody says so.
    fs::write(folder.path().join("it.wasm"), good()).unwrap();
    plugin(folder.path(), &["push", "it.wasm", &source]).unwrap();
    proxy.hangup();
    eventually("the tag is asked", async || {
        (digest(&proxy).await == first).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_registry_with_a_password_is_reached_by_a_file_of_credentials() {
    let kind = Kind {
        password: true,
        tls: false,
    };
    let Some(registry) = Registry::start(kind).await else {
        return;
    };
    let folder = TempDir::new().unwrap();
    let credentials = format!(
        r#"{{"auths": {{"{}": {{"auth": "{AUTH}"}}}}}}"#,
        registry.address
    );
    fs::write(folder.path().join("config.json"), &credentials).unwrap();
    fs::write(folder.path().join("it.wasm"), good()).unwrap();
    let source = registry.reference(":v1");
    let run = |arguments: &[&str]| plugin(folder.path(), arguments);
    let error = run(&["push", "it.wasm", &source]).unwrap_err();
    assert!(
        error.contains("lets nobody in without credentials"),
        "{error}"
    );
    run(&["push", "it.wasm", &source, "--credentials", "config.json"]).unwrap();

    let said = Setup::new(&yaml(&source, "", "")).refused().await;
    assert!(said.contains("registries.credentials"), "{said}");
    let sections = "registries: { credentials: config.json }";
    let with = |text: &str| Setup::new(&yaml(&source, "", sections)).file("config.json", text);
    let proxy = with(&credentials).start().await;
    serves(&proxy).await;
    let wrong = credentials.replace(AUTH, "dXNlcjpvdGhlcg==");
    let said = with(&wrong).refused().await;
    assert!(said.contains("does not take those that"), "{said}");
    assert!(!said.contains("dXNlcjpvdGhlcg"), "{said}");
}

#[tokio::test]
async fn a_registry_over_tls_is_reached_by_its_authority_and_signatures_come_along() {
    let kind = Kind {
        password: false,
        tls: true,
    };
    let Some(registry) = Registry::start(kind).await else {
        return;
    };
    let folder = TempDir::new().unwrap();
    let certificate = fs::read(registry.folder.path().join("cert.pem")).unwrap();
    fs::write(folder.path().join("ca.pem"), &certificate).unwrap();
    let run = |arguments: &[&str]| plugin(folder.path(), arguments).unwrap();
    run(&["keygen", "release"]);
    let source = registry.reference(":v1");
    fs::write(folder.path().join("it.wasm"), good()).unwrap();
    run(&["push", "it.wasm", &source, "--ca", "ca.pem"]);
    let public = fs::read(folder.path().join("release.pub")).unwrap();
    let sections = "registries: { ca: ca.pem, plain-http: [] }\n\
                    trust: { keys: [{ name: release, file: release.pub }] }";
    let setup = || {
        Setup::new(&yaml(&source, "", sections))
            .file("ca.pem", &certificate)
            .file("release.pub", &public)
    };
    let said = setup().refused().await;
    assert!(said.contains("it is not signed"), "{said}");
    run(&["sign", "it.wasm", "--key", "release.key"]);
    run(&["push", "it.wasm", &source, "--ca", "ca.pem"]);
    let proxy = setup().start().await;
    serves(&proxy).await;

    // The web's authorities know nothing of it.
    let web = yaml(
        &source.replace(":v1", ":v2"),
        "",
        "registries: { plain-http: [] }",
    );
    let said = Setup::new(&web).refused().await;
    assert!(said.contains("is not to be reached"), "{said}");
}
