//! Clients with certificates, by the names in them.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
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
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        if !common.is_empty() {
            params.distinguished_name.push(DnType::CommonName, common);
        }
        params.subject_alt_names = names.to_vec();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
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
}

fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

fn dns(text: &str) -> SanType {
    SanType::DnsName(text.try_into().unwrap())
}

/// A proxy that tells clients by their certificates, and by tokens where they have none.
async fn proxy(authority: &Authority, server: &tls::Certificate, demand: &str) -> Proxy {
    embedded(
        "[mesh, tokens]",
        &format!(
            "listeners:
  - {{ name: plain, address: \"127.0.0.1:0\" }}
  - name: secret
    address: \"127.0.0.1:0\"
    tls:
      certificates: [{{ cert: cert.pem, key: key.pem }}]
      clients: {{ ca: clients.pem, demand: {demand} }}
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
    .start()
    .await
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
    let refused = async |client: &Arc<ClientConfig>| {
        let secret = proxy.listener("secret");
        let (mut connection, _) = http1::Connection::open_tls(secret, client.clone()).await;
        connection
            .send(&Request::get("/v1/models").token("a-static-token"))
            .await;
        connection.try_response().await.is_none()
    };
    assert!(refused(&server.client(&["http/1.1"])).await);
    let stranger = Authority::new().client(&server, &[], "batch");
    assert!(refused(&stranger).await, "of another authority");
    let client = authority.client(&server, &[], "batch");
    completion(&proxy, &client, None).await.with_status(200);
}
