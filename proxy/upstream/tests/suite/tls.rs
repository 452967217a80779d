//! TLS: authorities of our own, names and ALPN.

use std::{net::SocketAddr, sync::Arc};

use http::Response;
use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use tokio::io::AsyncWriteExt;
use tokio_rustls::TlsAcceptor;
use tollgate_upstream::{SendError, Spec, SpecError, Tls, Transport, Upstream};

use crate::support::{collect, empty, full, get, listen, post, spec, within};

/// A server whose certificate, for `worker.test`, is returned as PEM. It speaks HTTP/2 to those
/// who agree to it, and else answers whatever comes with one HTTP/1.1 response.
async fn serve(alpn: &[&[u8]]) -> (SocketAddr, String) {
    let made = rcgen::generate_simple_self_signed(["worker.test".to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let (listener, address) = listen().await;
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(mut stream) = acceptor.accept(stream).await else {
                continue;
            };
            if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
                let mut connection = h2::server::handshake(stream).await.unwrap();
                while let Some(Ok((request, mut respond))) = connection.accept().await {
                    assert_eq!(request.uri().scheme_str(), Some("https"));
                    let mut body = respond.send_response(Response::new(()), false).unwrap();
                    body.send_data("h2".into(), true).unwrap();
                }
            } else {
                let answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nh1";
                stream.write_all(answer.as_bytes()).await.unwrap();
                stream.flush().await.unwrap();
                let mut rest = Vec::new();
                let _ = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut rest).await;
            }
        }
    });
    (address, made.cert.pem())
}

fn over_tls(transport: Transport, address: SocketAddr, pem: Option<&str>) -> Spec {
    let mut spec = spec(transport, address);
    let ca_pem = pem.map(|pem| pem.as_bytes().to_vec());
    spec.tls = Some(Tls {
        ca_pem,
        server_name: None,
    });
    spec
}

#[tokio::test]
async fn an_authority_of_our_own_is_trusted() {
    within(async {
        for (transport, says) in [(Transport::H1, b"h1"), (Transport::H2, b"h2")] {
            let (address, pem) = serve(&[b"h2", b"http/1.1"]).await;
            let upstream = Upstream::new(over_tls(transport, address, Some(&pem))).unwrap();
            let mut response = upstream.send(post("/"), full("x")).await.unwrap();
            assert_eq!(collect(&mut response.body).await, says);
        }
    })
    .await;
}

#[tokio::test]
async fn strangers_and_wrong_names_are_not() {
    within(async {
        let (address, pem) = serve(&[]).await;
        let (_, other) = serve(&[]).await;
        let mut wrong = over_tls(Transport::H1, address, Some(&pem));
        wrong.tls.as_mut().unwrap().server_name = Some("else.test".to_owned());
        let specs = [
            over_tls(Transport::H1, address, Some(&other)),
            over_tls(Transport::H1, address, None),
            wrong,
        ];
        for spec in specs {
            let upstream = Upstream::new(spec).unwrap();
            let error = upstream.send(get("/"), empty()).await.unwrap_err();
            assert!(matches!(error, SendError::Connect(_)), "{error:?}");
            assert!(error.to_string().contains("certificate"), "{error}");
        }
    })
    .await;
}

#[tokio::test]
async fn http2_must_be_agreed_to() {
    within(async {
        let (address, pem) = serve(&[]).await;
        let upstream = Upstream::new(over_tls(Transport::H2, address, Some(&pem))).unwrap();
        let error = upstream.send(get("/"), empty()).await.unwrap_err();
        assert!(matches!(error, SendError::Connect(_)), "{error:?}");
        assert!(error.to_string().contains("ALPN"), "{error}");
    })
    .await;
}

#[tokio::test]
async fn a_useless_ca_file_or_name_is_found_at_once() {
    let address = "127.0.0.1:1".parse().unwrap();
    for pem in [
        "",
        "no certificate",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    ] {
        let refused = Upstream::new(over_tls(Transport::H1, address, Some(pem))).err();
        assert!(matches!(refused, Some(SpecError::Ca(_))), "{pem:?}");
    }
    let mut spec = over_tls(Transport::H1, address, None);
    spec.tls.as_mut().unwrap().server_name = Some("not a name".to_owned());
    assert!(matches!(
        Upstream::new(spec).err(),
        Some(SpecError::ServerName(_))
    ));
}
