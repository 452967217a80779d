//! From a component to an artefact in a registry.

use std::time::SystemTime;

use bytes::Bytes;
use http::{Method, StatusCode};
use tollgate_config::Reference;

use crate::{
    alone,
    client::{Ask, Client, Target},
    error::RegistryError,
    layout::{CONFIG, Descriptor, LAYER, MANIFEST, config, manifest},
    pull::sha256,
    settings::Settings,
};

/// What is pushed.
#[derive(Clone, Debug)]
pub struct Component {
    /// Name of its file.
    pub title: String,
    /// The component.
    pub bytes: Bytes,
    /// The signature that lies beside it, for its manifest.
    pub signature: Option<Vec<u8>>,
    /// Names of what it imports.
    pub imports: Vec<String>,
    /// Names of what it exports.
    pub exports: Vec<String>,
    /// When it was made. The same component of the same time is the same artefact.
    pub created: SystemTime,
}

/// Pushes a component under a tag; gives the SHA-256 of its manifest, in hexadecimal.
///
/// # Errors
/// Says what is wrong and what to do. A reference with a digest is refused when the artefact has
/// another.
pub fn push(
    component: &Component,
    reference: &Reference,
    settings: &Settings,
) -> Result<String, RegistryError> {
    let layer = Descriptor::of(LAYER, &component.bytes).titled(&component.title);
    let created = humantime::format_rfc3339_seconds(component.created).to_string();
    let config = config(&created, &layer, [&component.imports, &component.exports]);
    let described = Descriptor::of(CONFIG, &config);
    let manifest = manifest(
        described.clone(),
        layer.clone(),
        component.signature.as_deref(),
    );
    let digest = sha256(&manifest);
    if let Some(wanted) = reference.digest()
        && wanted.to_string() != digest
    {
        return Err(RegistryError::Digest {
            what: "the artefact to be pushed",
            wanted: wanted.to_string(),
            found: digest,
        });
    }
    let name = match reference.digest() {
        Some(digest) => format!("sha256:{digest}"),
        None => reference.tag().to_owned(),
    };
    let work = async || {
        let mut client = Client::new(settings, reference, "pull,push")?;
        let repository = reference.repository();
        for (blob, bytes) in [
            (&layer, component.bytes.clone()),
            (&described, config.into()),
        ] {
            upload(&mut client, repository, blob, bytes).await?;
        }
        let path = format!("/v2/{repository}/manifests/{name}");
        let target = Target::path(path);
        let ask = Ask::send(Method::PUT, target, MANIFEST, manifest.into());
        client.ask(ask).await?.good("a manifest").await?;
        Ok(digest)
    };
    alone(
        async || match tokio::time::timeout(settings.timeout, work()).await {
            Ok(done) => done,
            Err(_) => Err(RegistryError::Timeout(settings.timeout)),
        },
    )
}

/// Puts a blob there, unless it is there already.
async fn upload(
    client: &mut Client<'_>,
    repository: &str,
    blob: &Descriptor,
    bytes: Bytes,
) -> Result<(), RegistryError> {
    let mut head = Ask::get(format!("/v2/{repository}/blobs/{}", blob.digest), "*/*");
    head.method = Method::HEAD;
    if client.ask(head).await?.status == StatusCode::OK {
        return Ok(());
    }
    let begin = Target::path(format!("/v2/{repository}/blobs/uploads/"));
    let ask = Ask::send(
        Method::POST,
        begin,
        "application/octet-stream",
        Bytes::new(),
    );
    let answer = client.ask(ask).await?.good("an upload").await?;
    let target = answer.location()?.with("digest", &blob.digest);
    let ask = Ask::send(Method::PUT, target, "application/octet-stream", bytes);
    client.ask(ask).await?.good("a blob").await?;
    Ok(())
}
