//! Every example under `config/` is read; what the examples promise in their comments holds.

mod golden;

use std::fs;
use std::path::Path;

use tollgate_config::tokens::TokenFile;
use tollgate_config::{Auth, Config, WorkerAddress, WorkerList, explain, match_order};

fn example(name: &str) -> Config {
    let path = golden::examples().join(name);
    let text = fs::read_to_string(&path).expect("readable");
    Config::parse(&text, &path).unwrap_or_else(|errors| panic!("{errors}"))
}

#[test]
fn every_example_is_read() {
    let files = golden::files(&golden::examples(), "yaml");
    assert!(files.len() >= 4);
    for file in files {
        let name = file.file_name().and_then(|n| n.to_str()).expect("a name");
        match name.starts_with("tokens") {
            true => drop(TokenFile::load(&file).unwrap_or_else(|errors| panic!("{errors}"))),
            false => drop(example(name)),
        }
    }
}

#[test]
fn the_listed_workers_are_read() {
    let file = golden::examples().join("workers.example.json");
    let list = WorkerList::load(&file).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(list.workers[0].name.as_str(), "rack-1");
}

/// With certificates in place, as its first lines say how to make them.
#[test]
fn the_ingress_is_loaded_with_its_files() {
    let folder = tempfile::tempdir().expect("a folder");
    let certs = folder.path().join("example-certs");
    fs::create_dir(&certs).expect("made");
    for name in ["ingress.yaml", "tokens.example.yaml", "release.example.pub"] {
        fs::copy(golden::examples().join(name), folder.path().join(name)).expect("copied");
    }
    let ingress = folder.path().join("ingress.yaml");
    let errors = Config::load(&ingress).expect_err("no certificates yet");
    assert_eq!(errors.problems().len(), 2, "{errors}");
    for name in ["models.pem", "models.key"] {
        fs::write(certs.join(name), "").expect("written");
    }
    let config = Config::load(&ingress).unwrap_or_else(|errors| panic!("{errors}"));
    let tls = config.listeners[0].tls.as_ref().expect("TLS");
    assert_eq!(tls.certificates[0].cert.as_path(), certs.join("models.pem"));
}

#[test]
fn the_ingress_routes_by_host_and_then_by_prefix() {
    let config = example("ingress.yaml");
    let listener = &config.listeners[0].name;
    let matches = match_order(&config, listener);
    let reach = |host: &str, path: &str| {
        matches
            .iter()
            .find_map(|m| Some((m.route.name.as_str(), m.strip(host, path)?.to_owned())))
    };
    let runtime = &config.routes[0];
    let chat = "/v1/chat/completions";
    assert_eq!(
        reach(&runtime.hosts[0].to_string(), chat),
        Some((runtime.name.as_str(), chat.to_owned()))
    );
    assert_eq!(
        reach("Models.Example.com.", chat),
        Some(("shared", chat.to_owned()))
    );
    assert_eq!(
        reach("models.example.com", "/research/flan/v1/models"),
        Some(("research-flan", "/v1/models".to_owned()))
    );
    assert_eq!(
        reach("models.example.com", "/research/flanders"),
        Some(("shared", "/research/flanders".to_owned()))
    );
    assert_eq!(reach("elsewhere.example.com", chat), None);
    golden::expect(
        &explain(&config),
        &golden::tests().join("explain-ingress.txt"),
    );
}

#[test]
fn limits_are_told_back() {
    golden::expect(
        &explain(&example("limits.yaml")),
        &golden::tests().join("explain-limits.txt"),
    );
}

#[test]
fn only_the_sidecar_is_open() {
    let open = |name| {
        example(name)
            .routes
            .iter()
            .any(|route| route.auth == Auth::Open)
    };
    assert!(open("sidecar.yaml"));
    assert!(!open("ingress.yaml"));
    assert!(!open("demo.yaml"));
}

#[test]
fn the_demonstration_serves_from_within() {
    let config = example("demo.yaml");
    let WorkerAddress::Component(name) = &config.workers[0].address else {
        panic!("{:?}", config.workers[0].address);
    };
    assert!(config.plugins.contains_key(name));
}

/// Every key, none at its default: what is read is what was written.
#[test]
fn every_key_is_read() {
    let file = golden::tests().join("good/every-key.yaml");
    let text = fs::read_to_string(&file).expect("readable");
    let config = Config::parse(&text, Path::new("every-key.yaml"))
        .unwrap_or_else(|errors| panic!("{errors}"));
    let json = serde_json::to_string_pretty(&config).expect("JSON");
    golden::expect(
        &format!("{json}\n"),
        &golden::tests().join("good/every-key.json"),
    );
}

/// Absent, or there with nothing behind it: the default either way.
#[test]
fn sections_can_be_left_out_or_left_empty() {
    let least = "listeners: [{ name: a, address: \"127.0.0.1:0\" }]\n";
    let empty = format!("{least}admin:\nplugins: ~\nroutes:\ndrain:\nruntime: {{}}\nlog: null\n");
    let origin = Path::new("a.yaml");
    assert_eq!(Config::parse(least, origin), Config::parse(&empty, origin));
    assert!(Config::parse(least, origin).is_ok());
}
