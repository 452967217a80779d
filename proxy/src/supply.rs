//! Where components come from, and whether they are what they should be, before anything looks
//! into them.
//!
//! 1. The bytes: of the binary itself, of a file, or of a registry, with the signature that lies
//!    beside it there.
//! 2. The pin: `sha256` in the configuration.
//! 3. Trust: what does not come with the binary has to be signed as `trust` says.
//!
//! Everything is read anew at each load: files, signatures, and the keys that check them.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use tollgate_config::{Config, Reference, Source, tokens::Digest};
use tollgate_registry::{Plain, RegistryError, Settings, Store, StoreError, pull, resolve};
use tollgate_trust::{KeyError, Keyring, PublicKey, TrustError, Verdict};

use crate::bundled;

/// A larger file is no component of anybody's.
pub(crate) const LARGEST: u64 = 256 << 20;
/// A signature has a hundred bytes for each who signed.
const LARGEST_SIGNATURE: u64 = 64 << 10;
/// A key has a hundred.
const LARGEST_KEY: u64 = 16 << 10;
/// Certificates of authorities have some thousands each.
const LARGEST_CA: u64 = 4 << 20;

/// A component is not to be had, or not to be trusted. The text goes on from its name and source.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SupplyError {
    #[error("there is no bundled component {name}; this binary carries {carried}")]
    NotBundled { name: String, carried: String },
    #[error("{0}")]
    Read(#[from] ReadError),
    #[error(
        "its SHA-256 is {found}, and the configuration wants {wanted}: put the component there \
         that is meant, or change `sha256` if it is this one"
    )]
    Pin { found: String, wanted: String },
    #[error("the trusted key {name} ({path}): {problem}")]
    Key {
        name: String,
        path: String,
        problem: KeyProblem,
    },
    #[error("{0}")]
    Trust(#[from] TrustError),
    #[error("{0}")]
    Registry(#[from] RegistryError),
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyProblem {
    #[error(transparent)]
    Read(#[from] io::Error),
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// A file cannot be had whole.
#[derive(Debug, thiserror::Error)]
#[error("{path} cannot be read: {problem}")]
pub(crate) struct ReadError {
    path: String,
    problem: io::Error,
}

/// Where the components of a configuration come from.
pub(crate) struct Supply {
    config: Arc<Config>,
    /// What was pulled; none: no folder is configured to keep it in.
    store: Option<Store>,
    /// The manifest that a reference named when it was last pulled; by reference, of which the
    /// configuration has so many.
    pulled: Mutex<BTreeMap<String, String>>,
}

impl Supply {
    /// Opens the folder of what was pulled, where something is to be pulled.
    pub(crate) fn new(config: Arc<Config>) -> Result<Self, StoreError> {
        let plugins = config.plugins.values().map(|it| &it.source);
        let schedulers = config.schedulers.values().map(|it| &it.source);
        let pulls = plugins
            .chain(schedulers)
            .any(|source| matches!(source, Source::Oci(_)));
        let folder = config.runtime.cache_dir.as_ref().filter(|_| pulls);
        let bound = config.registries.cache_size.get_u64();
        let store = folder
            .map(|folder| Store::open(&folder.as_path().join("oci"), bound))
            .transpose()?;
        Ok(Self {
            config,
            store,
            pulled: Mutex::default(),
        })
    }

    /// Whose components these are.
    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// Knows what another one has pulled, of what it would pull itself.
    pub(crate) fn remember(&self, former: &Self) {
        let plugins = self.config.plugins.values().map(|it| &it.source);
        let schedulers = self.config.schedulers.values().map(|it| &it.source);
        let known = former.pulled.lock();
        let mut pulled = self.pulled.lock();
        for source in plugins.chain(schedulers) {
            if let Source::Oci(reference) = source
                && let Some(manifest) = known.get(&reference.to_string())
            {
                pulled.insert(reference.to_string(), manifest.clone());
            }
        }
    }

    /// Bytes of what was pulled and is kept.
    pub(crate) fn kept(&self) -> u64 {
        self.store.as_ref().map_or(0, Store::held)
    }

    /// The manifest that a reference named when it was last pulled.
    pub(crate) fn pulled(&self, reference: &Reference) -> Option<String> {
        self.pulled.lock().get(&reference.to_string()).cloned()
    }

    /// The manifest that a reference names now. Takes up to the time that a pull may take.
    pub(crate) fn named_now(&self, reference: &Reference) -> Result<String, SupplyError> {
        Ok(resolve(reference, &self.settings()?)?)
    }

    /// A component's bytes. Takes up to the time that a pull may take.
    pub(crate) fn component(
        &self,
        source: &Source,
        pin: Option<&Digest>,
    ) -> Result<Bytes, SupplyError> {
        let (bytes, signature) = match source {
            Source::Bundled(name) => {
                let bytes = bundled::component(name.as_str())
                    .map(Bytes::from_static)
                    .ok_or_else(|| SupplyError::NotBundled {
                        name: name.to_string(),
                        carried: bundled::names(),
                    })?;
                check_pin(&bytes, pin)?;
                return Ok(bytes);
            }
            Source::File(path) => file(path.as_path())?,
            Source::Oci(reference) => self.pull(reference)?,
        };
        check_pin(&bytes, pin)?;
        match keyring(&self.config)?.judge(&bytes, signature.as_deref()) {
            Ok(Verdict::Signed(key)) => tracing::debug!(%source, key, "signed by a trusted key"),
            Ok(Verdict::Unsigned) => tracing::warn!(
                %source,
                "nobody has signed this component; it is loaded because `trust.unsigned` allows it"
            ),
            Ok(Verdict::Unchecked) => {}
            // What it is instead, the loader says better.
            Err(TrustError::NotWasm(_)) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(bytes)
    }

    fn pull(&self, reference: &Reference) -> Result<(Bytes, Option<Vec<u8>>), SupplyError> {
        let pulled = pull(reference, &self.settings()?, self.store.as_ref())?;
        match &pulled.away {
            Some(why) => tracing::warn!(
                source = %format_args!("oci://{reference}"),
                manifest = pulled.manifest,
                why,
                "the registry is away; what the tag named before is taken"
            ),
            None => tracing::debug!(%reference, manifest = pulled.manifest, "pulled"),
        }
        let mut all = self.pulled.lock();
        all.insert(reference.to_string(), pulled.manifest);
        Ok((pulled.component, pulled.signature))
    }

    fn settings(&self) -> Result<Settings, SupplyError> {
        let section = &self.config.registries;
        let ca = section.ca.as_ref();
        let ca = ca
            .map(|path| read(path.as_path(), LARGEST_CA))
            .transpose()?;
        Ok(Settings {
            plain: match &section.plain_http {
                None => Plain::Loopback,
                Some(hosts) => Plain::Hosts(hosts.clone()),
            },
            ca,
            credentials: section
                .credentials
                .as_ref()
                .map(|path| path.as_path().to_owned()),
            timeout: section.timeout.get(),
            largest: section.largest.get_u64(),
        })
    }
}

fn check_pin(bytes: &[u8], pin: Option<&Digest>) -> Result<(), SupplyError> {
    let Some(wanted) = pin else { return Ok(()) };
    let found: [u8; 32] = Sha256::digest(bytes).into();
    if found == *wanted.as_bytes() {
        return Ok(());
    }
    Err(SupplyError::Pin {
        found: found.iter().map(|byte| format!("{byte:02x}")).collect(),
        wanted: wanted.to_string(),
    })
}

/// A component file, and the signature beside it, if there is one.
pub(crate) fn file(path: &Path) -> Result<(Bytes, Option<Vec<u8>>), ReadError> {
    let bytes = read(path, LARGEST)?;
    let beside = signature_file(path);
    let signature = match read(&beside, LARGEST_SIGNATURE) {
        Err(error) if error.problem.kind() == io::ErrorKind::NotFound => None,
        read => Some(read?),
    };
    Ok((bytes.into(), signature))
}

/// Where a component file's signature lies: its name and `.sig`.
pub(crate) fn signature_file(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".sig");
    name.into()
}

/// Whom the configuration trusts.
fn keyring(config: &Config) -> Result<Keyring, SupplyError> {
    let trust = &config.trust;
    let mut keys = Vec::new();
    for key in &trust.keys {
        let path = key.file.as_path();
        let parsed = read(path, LARGEST_KEY)
            .map_err(|error| KeyProblem::from(error.problem))
            .and_then(|bytes| Ok(PublicKey::parse(&bytes)?))
            .map_err(|problem| SupplyError::Key {
                name: key.name.to_string(),
                path: path.display().to_string(),
                problem,
            })?;
        keys.push((key.name.to_string(), parsed));
    }
    let unsigned = match trust.unsigned {
        Some(tollgate_config::Unsigned::Allow) => tollgate_trust::Unsigned::Allow,
        Some(tollgate_config::Unsigned::Refuse) | None => tollgate_trust::Unsigned::Refuse,
    };
    Ok(Keyring::new(keys, unsigned))
}

/// A regular file, whole: neither a pipe that nobody writes to nor a disk is waited for.
pub(crate) fn read(path: &Path, largest: u64) -> Result<Vec<u8>, ReadError> {
    let read = || {
        let metadata = std::fs::metadata(path)?;
        if metadata.is_dir() {
            return Err(io::Error::other("it is a folder; name the file in it"));
        }
        if !metadata.is_file() {
            return Err(io::Error::other("it is no regular file"));
        }
        let too_large =
            |bytes: u64| io::Error::other(format!("it has {bytes} bytes, and {largest} are taken"));
        if metadata.len() > largest {
            return Err(too_large(metadata.len()));
        }
        let mut bytes = Vec::new();
        File::open(path)?
            .take(largest + 1)
            .read_to_end(&mut bytes)?;
        if bytes.len() as u64 > largest {
            return Err(too_large(bytes.len() as u64));
        }
        Ok(bytes)
    };
    read().map_err(|problem| ReadError {
        path: path.display().to_string(),
        problem,
    })
}
