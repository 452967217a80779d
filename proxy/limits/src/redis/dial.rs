//! One connection to the store: name resolution, TCP, and TLS by rustls with ring, as everywhere in
//! the house.

use std::{io, sync::Arc};

use rustls::{ClientConfig, RootCertStore, crypto::ring};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

/// How the store is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Host, an IPv6 address without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
    /// TLS, or plain TCP.
    pub tls: Option<Tls>,
}

/// TLS to the store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// PEM of the authorities to trust, and no others. None: the web's.
    pub ca_pem: Option<Vec<u8>>,
}

/// TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// The CA file holds no certificate, or a broken one.
    #[error("the CA file of the limits' store cannot be used: {0}")]
    Ca(String),
    /// The name cannot stand in a certificate.
    #[error("`{0}` is not a server name")]
    ServerName(String),
    /// Rustls says no.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
    /// A setting is out of its range.
    #[error("{0}")]
    Setting(&'static str),
}

/// A connection.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Makes connections.
pub(super) struct Dialler {
    host: String,
    port: u16,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl Dialler {
    pub(super) fn new(place: &Place) -> Result<Self, PlaceError> {
        let tls = match &place.tls {
            Some(tls) => Some(connector(tls, &place.host)?),
            None => None,
        };
        Ok(Self {
            host: place.host.clone(),
            port: place.port,
            tls,
        })
    }

    pub(super) async fn dial(&self) -> io::Result<Box<dyn Stream>> {
        let tcp = TcpStream::connect((self.host.as_str(), self.port)).await?;
        // Each question waits for its answer.
        tcp.set_nodelay(true)?;
        match &self.tls {
            None => Ok(Box::new(tcp)),
            Some((connector, name)) => Ok(Box::new(connector.connect(name.clone(), tcp).await?)),
        }
    }
}

fn connector(tls: &Tls, host: &str) -> Result<(TlsConnector, ServerName<'static>), PlaceError> {
    let mut roots = RootCertStore::empty();
    match &tls.ca_pem {
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(pem) => {
            for certificate in CertificateDer::pem_slice_iter(pem) {
                let certificate = certificate.map_err(|error| PlaceError::Ca(error.to_string()))?;
                roots
                    .add(certificate)
                    .map_err(|error| PlaceError::Ca(error.to_string()))?;
            }
            if roots.is_empty() {
                return Err(PlaceError::Ca("it holds no certificate".to_owned()));
            }
        }
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| PlaceError::ServerName(host.to_owned()))?;
    Ok((TlsConnector::from(Arc::new(config)), name))
}
