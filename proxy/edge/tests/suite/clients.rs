//! Certificates of clients: who comes in with which, and how that changes while a listener serves.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer,
    KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber, date_time_ymd,
};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tempfile::TempDir;
use tokio_rustls::TlsConnector;
use tollgate_edge::{CertificateError, ClientsSpec, ListenerLimits, TlsSpec};

use crate::support::{Server, get, http1, read, within};

/// An authority, and what it issues.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A certificate of a client, with its key.
struct Held {
    certificate: CertificateDer<'static>,
    key: Vec<u8>,
    serial: u64,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    fn issue(&self, uri: &str, serial: u64) -> Held {
        let mut params = CertificateParams::default();
        params.serial_number = Some(SerialNumber::from(serial));
        params.subject_alt_names = vec![SanType::URI(uri.try_into().unwrap())];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Held {
            certificate: certificate.der().clone(),
            key: key.serialize_der(),
            serial,
        }
    }

    /// The list of what it has revoked, next to be written in some year.
    fn revoked(&self, held: &[&Held], next: i32) -> String {
        let revoked = held.iter().map(|held| RevokedCertParams {
            serial_number: SerialNumber::from(held.serial),
            revocation_time: date_time_ymd(2024, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2024, 1, 1),
            next_update: date_time_ymd(next, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).unwrap().pem().unwrap()
    }
}

/// A listener with a certificate of its own, and files that a test writes.
struct Front {
    folder: TempDir,
    own: CertificateDer<'static>,
    server: Server,
}

fn listener(folder: &Path, clients: ClientsSpec) -> (TlsSpec, CertificateDer<'static>) {
    let own = rcgen::generate_simple_self_signed(vec!["front.example".to_owned()]).unwrap();
    let files = (folder.join("front.crt"), folder.join("front.key"));
    std::fs::write(&files.0, own.cert.pem()).unwrap();
    std::fs::write(&files.1, own.signing_key.serialize_pem()).unwrap();
    let tls = TlsSpec {
        clients: Some(clients),
        look: Duration::from_millis(20),
        ..TlsSpec::new(vec![files])
    };
    (tls, own.cert.der().clone())
}

impl Front {
    async fn start(authority: &Authority, list: Option<&str>, required: bool) -> Self {
        let folder = TempDir::new().unwrap();
        let (ca, revoked) = (folder.path().join("ca.pem"), folder.path().join("list.pem"));
        std::fs::write(&ca, &authority.pem).unwrap();
        if let Some(list) = list {
            std::fs::write(&revoked, list).unwrap();
        }
        let clients = ClientsSpec {
            ca,
            revoked: list.iter().map(|_| revoked.clone()).collect(),
            required,
        };
        let (tls, own) = listener(folder.path(), clients);
        let server = Server::start(ListenerLimits::default(), Some(tls)).await;
        Self {
            folder,
            own,
            server,
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What the service is told of a client; none: it is not let in. Over TLS 1.3 a client learns
    /// that after its side of the handshake.
    async fn ask(&self, held: Option<&Held>) -> Option<String> {
        let mut roots = RootCertStore::empty();
        roots.add(self.own.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match held {
            None => builder.with_no_client_auth(),
            Some(held) => {
                let key = PrivateKeyDer::try_from(held.key.clone()).unwrap();
                let chain = vec![held.certificate.clone()];
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        };
        let name = ServerName::try_from("front.example").unwrap();
        let socket = self.server.connect().await;
        let connected = within(TlsConnector::from(Arc::new(config)).connect(name, socket)).await;
        let (mut client, _task) = http1(connected.ok()?).await;
        let answer = within(client.send_request(get("/certificate")))
            .await
            .ok()?;
        Some(read(answer).await.1)
    }

    /// Asks until it is as wanted: files are looked at from time to time.
    async fn becomes(&self, held: &Held, comes_in: bool) {
        within(async {
            while self.ask(Some(held)).await.is_some() != comes_in {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
    }
}

const FAILED: &str = "tollgate_certificate_reloads_total{listener=\"front\",outcome=\"broken\"}";
const URI: &str = "spiffe://example.org/ns/team/sa/api";

#[tokio::test]
async fn names_of_a_verified_certificate_are_known_to_the_service() {
    let authority = Authority::new("ours");
    let front = Front::start(&authority, None, true).await;
    let told = front.ask(Some(&authority.issue(URI, 1))).await.unwrap();
    assert!(told.contains(URI), "{told}");
    assert_eq!(front.ask(None).await, None, "one is required");
    let stranger = Authority::new("ours").issue(URI, 1);
    assert_eq!(front.ask(Some(&stranger)).await, None);
}

#[tokio::test]
async fn one_that_is_optional_may_be_missing_but_not_bad() {
    let authority = Authority::new("ours");
    let front = Front::start(&authority, None, false).await;
    assert_eq!(front.ask(None).await.as_deref(), Some("None"));
    assert!(
        front
            .ask(Some(&authority.issue(URI, 1)))
            .await
            .unwrap()
            .contains(URI)
    );
    let stranger = Authority::new("theirs").issue(URI, 1);
    assert_eq!(front.ask(Some(&stranger)).await, None);
}

#[tokio::test]
async fn what_is_revoked_stays_outside_from_the_next_handshake_on() {
    let authority = Authority::new("ours");
    let (kept, lost) = (authority.issue(URI, 1), authority.issue(URI, 2));
    let list = authority.revoked(&[], 2100);
    let front = Front::start(&authority, Some(&list), true).await;
    assert!(front.ask(Some(&kept)).await.is_some());
    assert!(front.ask(Some(&lost)).await.is_some());
    std::fs::write(front.file("list.pem"), authority.revoked(&[&lost], 2100)).unwrap();
    front.becomes(&lost, false).await;
    assert!(front.ask(Some(&kept)).await.is_some());
    // A damaged list changes nothing.
    std::fs::write(front.file("list.pem"), "nothing").unwrap();
    within(async {
        while front.server.metric(FAILED).is_none() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    assert!(front.ask(Some(&kept)).await.is_some());
    assert!(front.ask(Some(&lost)).await.is_none());
}

#[tokio::test]
async fn a_list_that_is_out_of_date_or_anothers_lets_nobody_in() {
    let authority = Authority::new("ours");
    let held = authority.issue(URI, 1);
    let old = authority.revoked(&[], 2025);
    let front = Front::start(&authority, Some(&old), true).await;
    assert_eq!(front.ask(Some(&held)).await, None);
    let other = Authority::new("theirs").revoked(&[], 2100);
    let front = Front::start(&authority, Some(&other), true).await;
    assert_eq!(front.ask(Some(&held)).await, None);
}

#[tokio::test]
async fn another_authority_is_taken_in_while_it_serves() {
    let (first, second) = (Authority::new("first"), Authority::new("second"));
    let (old, new) = (first.issue(URI, 1), second.issue(URI, 1));
    let front = Front::start(&first, None, true).await;
    assert!(front.ask(Some(&old)).await.is_some());
    assert!(front.ask(Some(&new)).await.is_none());
    std::fs::write(front.file("ca.pem"), &second.pem).unwrap();
    front.becomes(&new, true).await;
    assert!(front.ask(Some(&old)).await.is_none());
}

#[tokio::test]
async fn files_that_cannot_be_used_are_named_at_start() {
    let folder = TempDir::new().unwrap();
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, "nothing").unwrap();
    let clients = ClientsSpec {
        ca: ca.clone(),
        revoked: Vec::new(),
        required: true,
    };
    let (tls, _) = listener(folder.path(), clients);
    let error = bind(tls).await;
    assert!(matches!(error, CertificateError::Pem { path, .. } if path == ca));
}

async fn bind(tls: TlsSpec) -> CertificateError {
    let spec = tollgate_edge::ListenerSpec {
        name: "front".to_owned(),
        address: ([127, 0, 0, 1], 0).into(),
        tls: Some(tls),
        limits: ListenerLimits::default(),
    };
    let metrics = Arc::new(tollgate_telemetry::Metrics::new());
    match tollgate_edge::Listener::bind(spec, metrics).await {
        Err(tollgate_edge::BindError::Certificates { source, .. }) => *source,
        other => panic!("{:?}", other.map(|_| ())),
    }
}
