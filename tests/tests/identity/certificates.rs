//! Clients with certificates, by the names in them.

use std::{sync::Arc, time::Duration};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    RevokedCertParams, SanType, SerialNumber, date_time_ymd,
};
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

use super::*;

/// An authority of clients' certificates.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params
            .distinguished_name
            .push(DnType::CommonName, "clients' authority");
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    /// How a client connects that has a certificate with these names.
    fn client(
        &self,
        server: &tls::Certificate,
        names: &[SanType],
        common: &str,
    ) -> Arc<ClientConfig> {
        self.holder(server, names, common, |_| {})
    }

    /// The same of one whose certificate is changed before it is signed.
    fn holder(
        &self,
        server: &tls::Certificate,
        names: &[SanType],
        common: &str,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Arc<ClientConfig> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        if !common.is_empty() {
            params.distinguished_name.push(DnType::CommonName, common);
        }
        params.subject_alt_names = names.to_vec();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let held = params.signed_by(&key, &self.issuer).unwrap();
        let mut roots = RootCertStore::empty();
        let root = CertificateDer::from_pem_slice(server.cert.as_bytes()).unwrap();
        roots.add(root).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_client_auth_cert(vec![held.der().clone()], key);
        Arc::new(config.unwrap())
    }

    /// The list of the serial numbers that it has revoked, good until the first day of a year.
    fn revoked(&self, serials: &[u64], year: i32) -> String {
        let revoked = serials.iter().map(|serial| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date_time_ymd(2024, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2024, 1, 1),
            next_update: date_time_ymd(year, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).unwrap().pem().unwrap()
    }
}

fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

fn dns(text: &str) -> SanType {
    SanType::DnsName(text.try_into().unwrap())
}

/// A proxy that tells clients by their certificates, and by tokens where they have none.
async fn proxy(authority: &Authority, server: &tls::Certificate, demand: &str) -> Proxy {
    setup(authority, server, &format!("demand: {demand}"))
        .start()
        .await
}

/// The same before it starts, with what is said of clients beside who signs their certificates.
fn setup(authority: &Authority, server: &tls::Certificate, clients: &str) -> Setup {
    embedded(
        "[mesh, tokens]",
        &format!(
            "listeners:
  - {{ name: plain, address: \"127.0.0.1:0\" }}
  - name: secret
    address: \"127.0.0.1:0\"
    tls:
      certificates: [{{ cert: cert.pem, key: key.pem }}]
      clients: {{ ca: clients.pem, {clients} }}
tokens: {{ file: tokens.yaml }}
tenants:
  team: {{}}
  vectors: {{ models: [tollgate-hash] }}
authentication:
  mesh:
    certificates:
      - {{ uri: \"spiffe://example.org/ns/*/sa/api\", tenant: team }}
      - {{ dns: \"*.clients.example.org\", tenant: vectors }}
      - {{ common-name: batch, tenant: team }}
"
        ),
    )
    .file("cert.pem", &server.cert)
    .file("key.pem", &server.key)
    .file("clients.pem", &authority.pem)
    .file(
        "tokens.yaml",
        tokens::file(&[tokens::entry("static", "a-static-token", "models: [\"*\"]")]),
    )
}

async fn completion(proxy: &Proxy, client: &Arc<ClientConfig>, token: Option<&str>) -> Response {
    let body = json!({"model": NGRAM, "prompt": "The ferry", "max_tokens": 1});
    let request = Request::post("/v1/completions", &body);
    let request = token.iter().fold(request, |it, token| it.token(token));
    let secret = proxy.listener("secret");
    let (mut connection, _) = http1::Connection::open_tls(secret, client.clone()).await;
    connection.send(&request).await;
    connection.response().await
}

/// Whether a client does not get past the handshake, though it has a good token. Over TLS 1.3 it learns
/// that after its own side of it.
async fn refused(proxy: &Proxy, client: &Arc<ClientConfig>) -> bool {
    let secret = proxy.listener("secret");
    let (mut connection, _) = http1::Connection::open_tls(secret, client.clone()).await;
    connection
        .send(&Request::get("/v1/models").token("a-static-token"))
        .await;
    connection.try_response().await.is_none()
}

/// Waits until a client is let in, or is not: the files are looked at from time to time.
async fn becomes_refused(proxy: &Proxy, client: &Arc<ClientConfig>, wanted: bool) {
    eventually("the files are taken in", async || {
        (refused(proxy, client).await == wanted).then_some(())
    })
    .await;
}

#[tokio::test]
async fn names_in_a_certificate_say_whose_a_client_is() {
    let (authority, server) = (Authority::new(), tls::Certificate::new(&["localhost"]));
    let proxy = proxy(&authority, &server, "optional").await;
    let spiffe = "spiffe://example.org/ns/team/sa/api";
    for (names, common, status) in [
        (vec![uri(spiffe)], "", 200),
        (vec![], "batch", 200),
        (vec![uri(spiffe), dns("a.clients.example.org")], "", 200),
        (vec![dns("a.clients.example.org")], "", 403),
        (vec![uri("spiffe://example.org/ns/team/sa/other")], "", 401),
        (
            vec![uri(spiffe), uri("spiffe://example.org/other")],
            "",
            401,
        ),
        (vec![dns("clients.example.org")], "somebody", 401),
    ] {
        let client = authority.client(&server, &names, common);
        let told = completion(&proxy, &client, None).await;
        assert_eq!(told.status, status, "{names:?} {common}");
    }
    proxy.logged(|line| line.contains(spiffe)).await;

    // Over gRPC too.
    let mut client = Arc::unwrap_or_clone(authority.client(&server, &[uri(spiffe)], ""));
    client.alpn_protocols = vec![b"h2".to_vec()];
    let secret = proxy.listener("secret");
    let mut connection = http2::Connection::open_tls(secret, Arc::new(client)).await;
    let (method, batch) = (scene::tgis("Generate"), scene::batch(NGRAM, &["The ferry"]));
    let asked = grpc::ask_on::<fmaas::BatchedGenerationResponse>(&mut connection, &method, &batch);
    assert_eq!(asked.await.1.code, 0);
}

#[tokio::test]
async fn a_client_without_one_has_its_token_where_that_is_let() {
    let (authority, server) = (Authority::new(), tls::Certificate::new(&["localhost"]));
    let proxy = proxy(&authority, &server, "optional").await;
    let bare = server.client(&["http/1.1"]);
    completion(&proxy, &bare, None).await.with_status(401);
    completion(&proxy, &bare, Some("a-static-token"))
        .await
        .with_status(200);
    // Nor does the clear listener know of any certificate.
    assert_eq!(rest(&proxy, None).await.status, 401);
    // A stranger's token beside a good certificate: the first way that knows something decides.
    let client = authority.client(&server, &[], "batch");
    completion(&proxy, &client, Some("a-strange-token"))
        .await
        .with_status(200);
}

#[tokio::test]
async fn where_one_is_demanded_nobody_comes_in_without() {
    let (authority, server) = (Authority::new(), tls::Certificate::new(&["localhost"]));
    let proxy = proxy(&authority, &server, "required").await;
    assert!(refused(&proxy, &server.client(&["http/1.1"])).await);
    let stranger = Authority::new().client(&server, &[], "batch");
    assert!(refused(&proxy, &stranger).await, "of another authority");
    let client = authority.client(&server, &[], "batch");
    completion(&proxy, &client, None).await.with_status(200);
}

#[tokio::test]
async fn one_that_is_not_of_this_time_stays_outside() {
    let (authority, server) = (Authority::new(), tls::Certificate::new(&["localhost"]));
    for demand in ["optional", "required"] {
        let proxy = proxy(&authority, &server, demand).await;
        let of = |from: i32, to: i32| {
            authority.holder(&server, &[], "batch", |params| {
                params.not_before = date_time_ymd(from, 1, 1);
                params.not_after = date_time_ymd(to, 1, 1);
            })
        };
        assert!(refused(&proxy, &of(2020, 2021)).await, "expired: {demand}");
        assert!(refused(&proxy, &of(2090, 2091)).await, "to come: {demand}");
        completion(&proxy, &of(2020, 2090), None)
            .await
            .with_status(200);
    }
}

/// On a connection that was opened while it was good.
#[tokio::test]
async fn one_that_ends_opens_nothing_more() {
    let (authority, server) = (Authority::new(), tls::Certificate::new(&["localhost"]));
    let proxy = proxy(&authority, &server, "optional").await;
    let body = json!({"model": NGRAM, "prompt": "The ferry", "max_tokens": 1});
    let request = Request::post("/v1/completions", &body);
    let end = now() + 6;
    let client = authority.holder(&server, &[], "batch", |params| {
        params.not_after = date_time_ymd(1970, 1, 1) + Duration::from_secs(end);
    });
    let (mut connection, _) =
        http1::Connection::open_tls(proxy.listener("secret"), client.clone()).await;
    connection.send(&request).await;
    connection.response().await.with_status(200);
    let told = loop {
        connection.send(&request).await;
        let told = connection.response().await;
        if told.status != 200 {
            break told;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert!(now() > end, "not before");
    assert_eq!(told.status, 401);
    assert!(refused(&proxy, &client).await);
}

#[tokio::test]
async fn one_that_is_revoked_stays_outside_from_then_on() {
    let (authority, server) = (Authority::new(), tls::Certificate::new(&["localhost"]));
    let proxy = setup(
        &authority,
        &server,
        "revoked: [clients.crl], demand: optional",
    )
    .file("clients.crl", authority.revoked(&[], 2090))
    .start()
    .await;
    let of = |serial: u64| {
        authority.holder(&server, &[], "batch", |params| {
            params.serial_number = Some(SerialNumber::from(serial));
        })
    };
    let (kept, lost) = (of(1), of(2));
    for client in [&kept, &lost] {
        completion(&proxy, client, None).await.with_status(200);
    }
    proxy.rewrite("clients.crl", authority.revoked(&[2], 2090));
    becomes_refused(&proxy, &lost, true).await;
    completion(&proxy, &kept, None).await.with_status(200);
    // A list that is out of date says nothing of who was revoked meanwhile.
    proxy.rewrite("clients.crl", authority.revoked(&[], 2025));
    becomes_refused(&proxy, &kept, true).await;
    proxy.rewrite("clients.crl", authority.revoked(&[], 2090));
    becomes_refused(&proxy, &lost, false).await;
    completion(&proxy, &lost, None).await.with_status(200);
}

#[tokio::test]
async fn with_their_authority_its_clients_go() {
    let (first, second) = (Authority::new(), Authority::new());
    let server = tls::Certificate::new(&["localhost"]);
    let proxy = proxy(&first, &server, "required").await;
    let (old, new) = (
        first.client(&server, &[], "batch"),
        second.client(&server, &[], "batch"),
    );
    completion(&proxy, &old, None).await.with_status(200);
    assert!(refused(&proxy, &new).await);
    // While one follows the other, both are trusted.
    proxy.rewrite("clients.pem", format!("{}{}", first.pem, second.pem));
    becomes_refused(&proxy, &new, false).await;
    completion(&proxy, &old, None).await.with_status(200);
    proxy.rewrite("clients.pem", &second.pem);
    becomes_refused(&proxy, &old, true).await;
    completion(&proxy, &new, None).await.with_status(200);
}
