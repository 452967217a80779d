//! From a reference to a component.
//!
//! 1. The manifest: by digest from the store or the registry; by tag from the registry, or, where
//!    that is away, the one that the tag named when it was last asked.
//! 2. The manifest says that it is of a component, how large that is, and its digest.
//! 3. The component: from the store or the registry, of that length and that digest.

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tollgate_config::Reference;

use crate::{
    alone,
    client::{Ask, Client},
    error::RegistryError,
    layout::{ACCEPT, Artefact, LAYER},
    settings::Settings,
    store::Store,
};

/// Bytes of a manifest, as registries bound it themselves.
const MANIFEST: u64 = 4 << 20;

/// A component of a registry.
#[derive(Clone, Debug)]
pub struct Pulled {
    /// The component.
    pub component: Bytes,
    /// The signature that its manifest holds.
    pub signature: Option<Vec<u8>>,
    /// SHA-256 of the manifest, in hexadecimal.
    pub manifest: String,
    /// Why what the tag named before was taken.
    pub away: Option<String>,
}

/// Pulls a component.
///
/// # Errors
/// Says what is wrong and what to do.
pub fn pull(
    reference: &Reference,
    settings: &Settings,
    store: Option<&Store>,
) -> Result<Pulled, RegistryError> {
    alone(async || {
        let pulling = Pulling {
            reference,
            settings,
            store,
        };
        let timed = tokio::time::timeout(settings.timeout, pulling.pull()).await;
        match timed {
            Ok(Err(error)) if error.is_away() => pulling.before(error),
            Ok(done) => done,
            Err(_) => pulling.before(RegistryError::Timeout(settings.timeout)),
        }
    })
}

/// SHA-256 of the manifest that a reference names now, in hexadecimal.
///
/// # Errors
/// As [`pull`].
pub fn resolve(reference: &Reference, settings: &Settings) -> Result<String, RegistryError> {
    if let Some(digest) = reference.digest() {
        return Ok(digest.to_string());
    }
    alone(async || {
        let mut client = Client::new(settings, reference, "pull")?;
        let fetched = fetch_manifest(&mut client, reference, reference.tag());
        match tokio::time::timeout(settings.timeout, fetched).await {
            Ok(bytes) => Ok(sha256(&bytes?)),
            Err(_) => Err(RegistryError::Timeout(settings.timeout)),
        }
    })
}

struct Pulling<'p> {
    reference: &'p Reference,
    settings: &'p Settings,
    store: Option<&'p Store>,
}

impl Pulling<'_> {
    async fn pull(&self) -> Result<Pulled, RegistryError> {
        let mut client = Client::new(self.settings, self.reference, "pull")?;
        let (manifest, bytes) = self.manifest(&mut client).await?;
        let artefact = Artefact::parse(&bytes)?;
        let component = self.component(&mut client, &artefact).await?;
        if self.reference.digest().is_none()
            && let Some(store) = self.store
        {
            store.name(self.reference, &manifest);
        }
        Ok(Pulled {
            component,
            signature: artefact.signature,
            manifest,
            away: None,
        })
    }

    async fn manifest(&self, client: &mut Client<'_>) -> Result<(String, Bytes), RegistryError> {
        let Some(digest) = self.reference.digest() else {
            let bytes = fetch_manifest(client, self.reference, self.reference.tag()).await?;
            let digest = sha256(&bytes);
            self.keep(&digest, &bytes);
            return Ok((digest, bytes));
        };
        let digest = digest.to_string();
        if let Some(kept) = self.store.and_then(|store| store.blob(&digest)) {
            return Ok((digest, kept.into()));
        }
        let name = format!("sha256:{digest}");
        let bytes = fetch_manifest(client, self.reference, &name).await?;
        check("the manifest", &digest, &bytes)?;
        self.keep(&digest, &bytes);
        Ok((digest, bytes))
    }

    async fn component(
        &self,
        client: &mut Client<'_>,
        artefact: &Artefact,
    ) -> Result<Bytes, RegistryError> {
        let layer = &artefact.layer;
        let (what, most) = ("the component", self.settings.largest);
        if layer.size > most {
            let bytes = layer.size;
            return Err(RegistryError::TooLarge { what, bytes, most });
        }
        if let Some(kept) = self.store.and_then(|store| store.blob(layer.sha256())) {
            return Ok(kept.into());
        }
        let path = format!("/v2/{}/blobs/{}", self.reference.repository(), layer.digest);
        let answer = client.ask(Ask::get(path, LAYER)).await?;
        let answer = answer.good(&format!("blob {}", layer.digest)).await?;
        let bytes = answer.bytes(what, layer.size).await?;
        check(what, layer.sha256(), &bytes)?;
        self.keep(layer.sha256(), &bytes);
        Ok(bytes)
    }

    fn keep(&self, digest: &str, bytes: &[u8]) {
        if let Some(store) = self.store {
            store.keep(digest, bytes);
        }
    }

    /// What the tag named before, from the store, in the place of an error.
    fn before(&self, error: RegistryError) -> Result<Pulled, RegistryError> {
        let found = self.store.and_then(|store| {
            let manifest = store.named(self.reference)?;
            let artefact = Artefact::parse(&store.blob(&manifest)?).ok()?;
            let component = store.blob(artefact.layer.sha256())?.into();
            Some((manifest, artefact, component))
        });
        match found {
            Some((manifest, artefact, component)) if self.reference.digest().is_none() => {
                Ok(Pulled {
                    component,
                    signature: artefact.signature,
                    manifest,
                    away: Some(error.to_string()),
                })
            }
            _ => Err(error),
        }
    }
}

/// The manifest of a tag, or of `sha256:…`.
async fn fetch_manifest(
    client: &mut Client<'_>,
    reference: &Reference,
    name: &str,
) -> Result<Bytes, RegistryError> {
    let path = format!("/v2/{}/manifests/{name}", reference.repository());
    let answer = client.ask(Ask::get(path, ACCEPT)).await?;
    let what = format!("{}:{name}", reference.repository());
    answer
        .good(&what)
        .await?
        .bytes("the manifest", MANIFEST)
        .await
}

fn check(what: &'static str, wanted: &str, bytes: &[u8]) -> Result<(), RegistryError> {
    let found = sha256(bytes);
    if found == wanted {
        return Ok(());
    }
    Err(RegistryError::Digest {
        what,
        wanted: wanted.to_owned(),
        found,
    })
}

/// In hexadecimal.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}
