//! Certificates and ALPN.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tollgate_edge::{
    BindError, CertificateError, Control, Listener, ListenerLimits, ListenerSpec, TlsSpec,
};
use tollgate_telemetry::Metrics;

use crate::support::{Server, get, http1, http2, read, rest, within};

/// A certificate of its own issue, and its files.
struct Issued {
    der: CertificateDer<'static>,
    certificate: String,
    key: String,
}

impl Issued {
    fn of(names: &[&str]) -> Self {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let issued = rcgen::generate_simple_self_signed(names).unwrap();
        Self {
            der: issued.cert.der().clone(),
            certificate: issued.cert.pem(),
            key: issued.signing_key.serialize_pem(),
        }
    }

    fn write(&self, folder: &Path, stem: &str) -> (PathBuf, PathBuf) {
        let files = (
            folder.join(format!("{stem}.crt")),
            folder.join(format!("{stem}.key")),
        );
        std::fs::write(&files.0, &self.certificate).unwrap();
        std::fs::write(&files.1, &self.key).unwrap();
        files
    }
}

/// Often enough for a test.
fn spec(certificates: Vec<(PathBuf, PathBuf)>) -> TlsSpec {
    TlsSpec {
        look: Duration::from_millis(20),
        ..TlsSpec::new(certificates)
    }
}

async fn try_connect(
    server: &Server,
    trusted: &[&Issued],
    name: &str,
    alpn: &[&str],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    for issued in trusted {
        roots.add(issued.der.clone()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let socket = server.connect().await;
    within(TlsConnector::from(Arc::new(config)).connect(name, socket)).await
}

fn served(socket: &TlsStream<TcpStream>) -> CertificateDer<'static> {
    socket.get_ref().1.peer_certificates().unwrap()[0]
        .clone()
        .into_owned()
}

#[tokio::test]
async fn alpn_chooses_the_protocol() {
    let folder = TempDir::new().unwrap();
    let issued = Issued::of(&["front.example"]);
    let tls = spec(vec![issued.write(folder.path(), "front")]);
    let server = Server::start(ListenerLimits::default(), Some(tls)).await;
    let cases: [(&[&str], bool); 4] = [
        (&["h2", "http/1.1"], true),
        (&["h2"], true),
        (&["http/1.1"], false),
        (&[], false),
    ];
    for (alpn, h2) in cases {
        let socket = try_connect(&server, &[&issued], "front.example", alpn)
            .await
            .unwrap();
        let answer = if h2 {
            let (mut client, _task) = http2(socket).await;
            read(within(client.send_request(get("/"))).await.unwrap()).await
        } else {
            let (mut client, _task) = http1(socket).await;
            read(within(client.send_request(get("/"))).await.unwrap()).await
        };
        let text = format!("front tls=true sni=front.example h2={h2}");
        assert_eq!(answer, (200, text), "{alpn:?}");
    }
    assert!(
        try_connect(&server, &[&issued], "front.example", &["h3"])
            .await
            .is_err()
    );
}

#[tokio::test]
async fn the_certificate_is_chosen_by_the_name_asked_for() {
    let folder = TempDir::new().unwrap();
    let first = Issued::of(&["first.example", "127.0.0.1"]);
    let second = Issued::of(&["second.example", "also.second.example"]);
    let wild = Issued::of(&["*.wild.example"]);
    let tls = spec(vec![
        first.write(folder.path(), "first"),
        second.write(folder.path(), "second"),
        wild.write(folder.path(), "wild"),
    ]);
    let server = Server::start(ListenerLimits::default(), Some(tls)).await;
    let all = [&first, &second, &wild];
    for (name, issued) in [
        ("first.example", &first),
        ("second.example", &second),
        ("ALSO.second.example", &second),
        ("a.wild.example", &wild),
        // An address is not asked for by name.
        ("127.0.0.1", &first),
    ] {
        let socket = try_connect(&server, &all, name, &[]).await.unwrap();
        assert_eq!(served(&socket), issued.der, "{name}");
    }
    // The first one, which is not for that name: the client refuses, not we.
    for name in ["unknown.example", "wild.example", "a.b.wild.example"] {
        let error = try_connect(&server, &all, name, &[]).await.unwrap_err();
        assert!(error.to_string().contains("not valid for name"), "{error}");
    }
}

#[tokio::test]
async fn changed_files_are_taken_and_broken_ones_are_not() {
    let folder = TempDir::new().unwrap();
    let (old, new) = (
        Issued::of(&["front.example"]),
        Issued::of(&["front.example"]),
    );
    // As a mounted secret: files are links into a folder that is a link itself.
    for (version, issued) in [("v1", &old), ("v2", &new)] {
        let version = folder.path().join(version);
        std::fs::create_dir(&version).unwrap();
        issued.write(&version, "tls");
    }
    let broken = folder.path().join("v3");
    std::fs::create_dir(&broken).unwrap();
    std::fs::write(broken.join("tls.crt"), &old.certificate).unwrap();
    std::fs::write(broken.join("tls.key"), &new.key).unwrap();
    let point = |version: &str| {
        let (link, data) = (folder.path().join("next"), folder.path().join("data"));
        std::os::unix::fs::symlink(version, &link).unwrap();
        std::fs::rename(link, data).unwrap();
    };
    point("v1");
    let data = folder.path().join("data");
    let tls = spec(vec![(data.join("tls.crt"), data.join("tls.key"))]);
    let server = Server::start(ListenerLimits::default(), Some(tls)).await;
    let all = [&old, &new];
    let connect = || try_connect(&server, &all, "front.example", &["http/1.1"]);
    let outcome = |outcome| {
        let labels = format!("{{listener=\"front\",outcome=\"{outcome}\"}}");
        server.metric(&format!("tollgate_certificate_reloads_total{labels}"))
    };

    let before = connect().await.unwrap();
    assert_eq!(served(&before), old.der);
    point("v3");
    within(async {
        while outcome("broken").as_deref() != Some("1") {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(served(&connect().await.unwrap()), old.der);
    point("v2");
    within(async { while served(&connect().await.unwrap()) != new.der {} }).await;
    assert_eq!(
        (outcome("taken").as_deref(), outcome("broken").as_deref()),
        (Some("1"), Some("1"))
    );
    // Who was connected still is.
    let (mut client, _task) = http1(before).await;
    assert_eq!(
        read(within(client.send_request(get("/"))).await.unwrap())
            .await
            .0,
        200
    );
}

#[tokio::test]
async fn a_handshake_that_does_not_come_is_given_up() {
    let folder = TempDir::new().unwrap();
    let issued = Issued::of(&["front.example"]);
    let tls = spec(vec![issued.write(folder.path(), "front")]);
    let limits = ListenerLimits {
        handshake_timeout: Duration::from_millis(100),
        connections: 1,
        ..ListenerLimits::default()
    };
    let server = Server::start(limits, Some(tls)).await;
    let mut silent = server.connect().await;
    assert_eq!(rest(&mut silent).await, "");
    let failed = server.metric("tollgate_handshakes_failed_total{listener=\"front\"}");
    assert_eq!(failed.as_deref(), Some("1"));
    // Its place is free again.
    assert!(
        try_connect(&server, &[&issued], "front.example", &[])
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn a_listener_that_cannot_be_says_why() {
    let folder = TempDir::new().unwrap();
    let (one, other) = (Issued::of(&["a.example"]), Issued::of(&["b.example"]));
    let (one, other) = (
        one.write(folder.path(), "a"),
        other.write(folder.path(), "b"),
    );
    let bind = async |certificates: Vec<(PathBuf, PathBuf)>| {
        let spec = ListenerSpec {
            name: "front".to_owned(),
            address: ([127, 0, 0, 1], 0).into(),
            tls: Some(TlsSpec::new(certificates)),
            limits: ListenerLimits::default(),
        };
        match Listener::bind(spec, Arc::new(Metrics::new())).await {
            Err(BindError::Certificates { source, .. }) => *source,
            other => panic!("{other:?}"),
        }
    };
    assert!(matches!(bind(Vec::new()).await, CertificateError::None));
    let missing = folder.path().join("missing");
    let error = bind(vec![one.clone(), (missing.clone(), other.1.clone())]).await;
    assert!(matches!(error, CertificateError::File { path, .. } if path == missing));
    let error = bind(vec![(one.1.clone(), one.1.clone())]).await;
    assert!(matches!(
        error,
        CertificateError::Pem {
            what: "certificate",
            ..
        }
    ));
    let error = bind(vec![(one.0.clone(), one.0.clone())]).await;
    assert!(matches!(
        error,
        CertificateError::Pem {
            what: "private key",
            ..
        }
    ));
    let error = bind(vec![(one.0.clone(), other.1.clone())]).await;
    assert!(matches!(error, CertificateError::Pair { .. }), "{error}");

    let taken = Server::plain().await;
    let spec = ListenerSpec {
        name: "front".to_owned(),
        address: taken.address,
        tls: None,
        limits: ListenerLimits::default(),
    };
    let error = Listener::bind(spec, Arc::new(Metrics::new()))
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("listener `front` cannot listen on 127.0.0.1:")
    );
}

#[tokio::test]
async fn terms_change_while_it_serves_and_open_connections_keep_theirs() {
    let folder = TempDir::new().unwrap();
    let issued = Issued::of(&["front.example"]);
    let tls = spec(vec![issued.write(folder.path(), "front")]);
    let server = Server::plain().await;
    let (mut open, _task) = http1(server.connect().await).await;
    let answer = within(open.send_request(get("/"))).await.unwrap();
    assert!(read(answer).await.1.contains("tls=false"));

    // What cannot be used changes nothing.
    let gone = spec(vec![(
        folder.path().join("no.crt"),
        folder.path().join("no.key"),
    )]);
    let limits = ListenerLimits::default();
    assert!(matches!(
        Control::prepare(limits.clone(), Some(&gone)).await,
        Err(CertificateError::File { .. })
    ));
    let prepared = Control::prepare(limits, Some(&tls)).await.unwrap();
    server.control.put(prepared);
    let socket = try_connect(&server, &[&issued], "front.example", &["http/1.1"]).await;
    let (mut fresh, _task) = http1(socket.unwrap()).await;
    for (client, tls) in [(&mut fresh, "tls=true"), (&mut open, "tls=false")] {
        let answer = within(client.send_request(get("/"))).await.unwrap();
        assert!(read(answer).await.1.contains(tls));
    }
    // Its files are looked after from now on.
    let second = Issued::of(&["front.example"]);
    second.write(folder.path(), "front");
    within(async {
        while try_connect(&server, &[&second], "front.example", &["http/1.1"])
            .await
            .is_err()
        {}
    })
    .await;
}
