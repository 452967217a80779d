//! The manifest of a component, read and written.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::error::RegistryError;

pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
pub(crate) const CONFIG: &str = "application/vnd.wasm.config.v0+json";
pub(crate) const LAYER: &str = "application/wasm";
/// The annotation of a manifest that holds the signature of its component, in base64: what would
/// lie beside a file.
pub const SIGNATURE: &str = "dev.tollgate.component.signature";

/// The annotation of a layer that holds a file's name (OCI image specification, annotations).
const TITLE: &str = "org.opencontainers.image.title";

/// What may come instead of a manifest is asked for too, so that it can be named.
pub(crate) const ACCEPT: &str = "application/vnd.oci.image.manifest.v1+json, \
    application/vnd.oci.image.index.v1+json;q=0.1, \
    application/vnd.docker.distribution.manifest.v2+json;q=0.1";

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    schema_version: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    media_type: Option<String>,
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Vec<Descriptor>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
}

/// A blob, by its digest.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    pub(crate) media_type: String,
    /// `sha256:` and digits.
    pub(crate) digest: String,
    pub(crate) size: u64,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
}

impl Descriptor {
    pub(crate) fn of(media_type: &str, bytes: &[u8]) -> Self {
        Self {
            media_type: media_type.to_owned(),
            digest: format!("sha256:{}", crate::pull::sha256(bytes)),
            size: bytes.len() as u64,
            annotations: BTreeMap::new(),
        }
    }

    /// With the name of the file that it was: tools that know nothing of components write it so.
    pub(crate) fn titled(mut self, title: &str) -> Self {
        self.annotations.insert(TITLE.to_owned(), title.to_owned());
        self
    }

    /// The digits of its digest.
    pub(crate) fn sha256(&self) -> &str {
        self.digest.strip_prefix("sha256:").unwrap_or(&self.digest)
    }
}

/// Where the component of an artefact is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Artefact {
    pub(crate) layer: Descriptor,
    pub(crate) signature: Option<Vec<u8>>,
}

impl Artefact {
    /// Reads a manifest.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, RegistryError> {
        let wrong = |what: String| Err(RegistryError::Layout(what));
        let manifest: Manifest = match serde_json::from_slice(bytes) {
            Ok(manifest) => manifest,
            Err(error) => return wrong(format!("it cannot be read ({error})")),
        };
        if let Some(INDEX | LIST) = manifest.media_type.as_deref() {
            return wrong(
                "it is an index of several manifests; name one of them by its digest".to_owned(),
            );
        }
        let Some(config) = manifest.config.filter(|_| manifest.schema_version == 2) else {
            return wrong("it is no OCI image manifest of schema version 2".to_owned());
        };
        if config.media_type != CONFIG {
            return wrong(format!(
                "its configuration is of the type {}, not {CONFIG}",
                config.media_type
            ));
        }
        let mut layers = manifest.layers.into_iter();
        let (Some(layer), None) = (layers.next(), layers.next()) else {
            return wrong("it has to have one layer".to_owned());
        };
        if layer.media_type != LAYER {
            return wrong(format!(
                "its layer is of the type {}, not {LAYER}",
                layer.media_type
            ));
        }
        let digits = layer.digest.strip_prefix("sha256:").unwrap_or_default();
        let lower = |b: u8| b.is_ascii_digit() || matches!(b, b'a'..=b'f');
        if digits.len() != 64 || !digits.bytes().all(lower) {
            return wrong(format!("its layer's digest {} is no SHA-256", layer.digest));
        }
        let signature = match manifest.annotations.get(SIGNATURE) {
            None => None,
            Some(text) => match STANDARD.decode(text) {
                Ok(signature) => Some(signature),
                Err(_) => return wrong(format!("its annotation {SIGNATURE} is not base64")),
            },
        };
        Ok(Self { layer, signature })
    }
}

/// The manifest of a component.
pub(crate) fn manifest(config: Descriptor, layer: Descriptor, signature: Option<&[u8]>) -> Vec<u8> {
    let annotations = signature
        .map(|signature| (SIGNATURE.to_owned(), STANDARD.encode(signature)))
        .into_iter()
        .collect();
    let manifest = Manifest {
        schema_version: 2,
        media_type: Some(MANIFEST.to_owned()),
        config: Some(config),
        layers: vec![layer],
        annotations,
    };
    serde_json::to_vec(&manifest).expect("it has no keys but texts")
}

/// The configuration of a component; `created` by RFC 3339.
pub(crate) fn config(created: &str, layer: &Descriptor, names: [&[String]; 2]) -> Vec<u8> {
    let [imports, exports] = names;
    let config = json!({
        "created": created,
        "architecture": "wasm",
        // What this layout calls the system of every component, WASI or not.
        "os": "wasip2",
        "layerDigests": [layer.digest],
        "component": { "exports": exports, "imports": imports, "target": null },
    });
    config.to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole() -> Vec<u8> {
        let layer = Descriptor::of(LAYER, b"component");
        let config = Descriptor::of(CONFIG, &config("2026-01-01T00:00:00Z", &layer, [&[], &[]]));
        manifest(config, layer, Some(b"signature"))
    }

    #[test]
    fn what_is_written_is_read() {
        let read = Artefact::parse(&whole()).unwrap();
        assert_eq!(read.layer, Descriptor::of(LAYER, b"component"));
        assert_eq!(read.signature.as_deref(), Some(&b"signature"[..]));
    }

    #[test]
    fn what_is_no_component_is_told_with_what_it_is() {
        let text = String::from_utf8(whole()).unwrap();
        for (from, to, said) in [
            (
                CONFIG,
                "application/vnd.oci.image.config.v1+json",
                "its configuration is of",
            ),
            (
                LAYER,
                "application/vnd.oci.image.layer.v1.tar+gzip",
                "its layer is of",
            ),
            (MANIFEST, INDEX, "an index of several"),
            (
                "\"schemaVersion\":2",
                "\"schemaVersion\":1",
                "schema version 2",
            ),
            ("\"layers\":[", "\"layer\":[", "one layer"),
            (
                "\"digest\":\"sha256:",
                "\"digest\":\"sha512:",
                "is no SHA-256",
            ),
            ("c2lnbmF0dXJl", "%", "is not base64"),
            ("{", "[", "cannot be read"),
        ] {
            assert!(text.contains(from), "{from}");
            let error = Artefact::parse(text.replace(from, to).as_bytes()).unwrap_err();
            assert!(error.to_string().contains(said), "{error}");
        }
    }
}
