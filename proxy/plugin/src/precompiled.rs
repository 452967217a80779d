//! A cache of compiled components on disk, and the only `unsafe` of the proxy.
//!
//! Compiled code is trusted like the proxy's own, so a file is loaded only when its
//! HMAC-SHA-256 is right under a key that lives beside the cache, readable by this
//! user alone, and only under the fingerprint (wasmtime's version, its settings, this
//! processor) and the digest of the component that it was made from. A file that does
//! not fit is compiled anew and replaced. Without a cache folder nothing is kept.

use std::{
    fs,
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use hmac::{Hmac, Mac};
use sha2::Sha256;
use wasmtime::{Engine, component::Component};

use crate::engine::Sandbox;

const TAG: usize = 32;

/// A folder of compiled components, with the key that vouches for them.
#[derive(Debug)]
pub struct Cache {
    folder: PathBuf,
    key: [u8; 32],
}

/// The cache folder cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cache folder {folder}: {problem}")]
pub struct CacheError {
    folder: PathBuf,
    problem: String,
}

impl Cache {
    /// Opens or makes the folder (mode 0700) and its key (mode 0600).
    ///
    /// # Errors
    /// When it cannot be made or read, or when others could have written to it.
    pub fn open(folder: &Path) -> Result<Self, CacheError> {
        let fail = |problem: String| CacheError {
            folder: folder.to_owned(),
            problem,
        };
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(|error| fail(error.to_string()))?;
        let mode = fs::metadata(folder)
            .map_err(|error| fail(error.to_string()))?
            .permissions()
            .mode();
        if mode & 0o022 != 0 {
            return Err(fail(format!(
                "others may write to it (mode {:o})",
                mode & 0o777
            )));
        }
        let key = read_or_make_key(&folder.join("key")).map_err(|error| fail(error.to_string()))?;
        Ok(Self {
            folder: folder.to_owned(),
            key,
        })
    }

    fn path(&self, sandbox: &Sandbox, digest: &str) -> PathBuf {
        self.folder
            .join(format!("{digest}-{}.cwasm", sandbox.fingerprint()))
    }

    fn mac(&self, sandbox: &Sandbox, digest: &str, code: &[u8]) -> Hmac<Sha256> {
        let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(&self.key)
            .expect("HMAC takes a key of any length");
        mac.update(sandbox.fingerprint().as_bytes());
        mac.update(&[0]);
        mac.update(digest.as_bytes());
        mac.update(&[0]);
        mac.update(code);
        mac
    }

    fn load(&self, sandbox: &Sandbox, digest: &str) -> Option<Component> {
        let kept = fs::read(self.path(sandbox, digest)).ok()?;
        let (tag, code) = kept.split_at_checked(TAG)?;
        if self.mac(sandbox, digest, code).verify_slice(tag).is_err() {
            tracing::warn!(
                digest,
                "a compiled component failed its check; compiling anew"
            );
            return None;
        }
        deserialize(sandbox.engine(), code)
            .inspect_err(|error| tracing::info!(digest, %error, "stale compiled component"))
            .ok()
    }

    fn store(&self, sandbox: &Sandbox, digest: &str, code: &[u8]) -> io::Result<()> {
        let tag = self.mac(sandbox, digest, code).finalize().into_bytes();
        let path = self.path(sandbox, digest);
        let mut suffix = [0; 8];
        getrandom::fill(&mut suffix).map_err(io::Error::other)?;
        let partial = self.folder.join(format!("partial-{}", hex::encode(suffix)));
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&partial)?;
        let written = file
            .write_all(&tag)
            .and_then(|()| file.write_all(code))
            .and_then(|()| fs::rename(&partial, &path));
        if written.is_err() {
            let _ = fs::remove_file(&partial);
        }
        written
    }
}

/// The key of a folder. Several proxies may start over a new folder at once: a key is
/// linked to its name when it is complete, and whoever comes second takes the first's.
fn read_or_make_key(path: &Path) -> io::Result<[u8; 32]> {
    if !path.exists() {
        let mut key = [0; 32];
        getrandom::fill(&mut key).map_err(io::Error::other)?;
        let mut suffix = [0; 8];
        getrandom::fill(&mut suffix).map_err(io::Error::other)?;
        let partial = path.with_file_name(format!("partial-{}", hex::encode(suffix)));
        fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&partial)?
            .write_all(&key)?;
        let linked = fs::hard_link(&partial, path);
        fs::remove_file(&partial)?;
        match linked {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
    let mut file = fs::File::open(path)?;
    if file.metadata()?.permissions().mode() & 0o077 != 0 {
        return Err(io::Error::other("the key can be read by others"));
    }
    let mut key = [0; 32];
    file.read_exact(&mut key)?;
    Ok(key)
}

/// Compiles a component, or takes it from the cache.
pub(crate) fn component(
    sandbox: &Sandbox,
    cache: Option<&Cache>,
    digest: &str,
    wasm: &[u8],
) -> wasmtime::Result<Component> {
    if let Some(component) = cache.and_then(|cache| cache.load(sandbox, digest)) {
        return Ok(component);
    }
    let code = sandbox.compile(wasm)?;
    if let Some(cache) = cache
        && let Err(error) = cache.store(sandbox, digest, &code)
    {
        tracing::warn!(%error, "cannot keep a compiled component");
    }
    deserialize(sandbox.engine(), &code)
}

/// Loads compiled code.
#[expect(unsafe_code, reason = "compiled code cannot be checked; its origin is")]
fn deserialize(engine: &Engine, code: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: `code` came out of `Engine::precompile_component`, and has not changed since.
    // Either this process has just compiled it, with this engine's settings; or a process
    // that held the cache's key had: the caller checked its HMAC, which also binds it to
    // this engine's fingerprint. Whoever can read the key can already run code as this
    // user. wasmtime itself refuses another version or configuration.
    unsafe { Component::deserialize(engine, code) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::HostLimits;

    /// The eight bytes of a component with nothing in it.
    const EMPTY: &[u8] = b"\0asm\x0d\0\x01\0";

    fn sandbox() -> Sandbox {
        Sandbox::new(HostLimits {
            instances: 4,
            memory: 1 << 20,
        })
        .unwrap()
    }

    #[test]
    fn a_kept_component_is_found_and_a_planted_one_is_not_loaded() {
        let folder = tempfile::tempdir().unwrap();
        let sandbox = sandbox();
        let cache = Cache::open(&folder.path().join("cache")).unwrap();
        component(&sandbox, Some(&cache), "abc", EMPTY).unwrap();
        assert!(cache.load(&sandbox, "abc").is_some());
        assert!(cache.load(&sandbox, "abd").is_none());

        let path = cache.path(&sandbox, "abc");
        let mut code = fs::read(&path).unwrap();
        let last = code.len() - 1;
        code[last] ^= 1;
        fs::write(&path, &code).unwrap();
        assert!(cache.load(&sandbox, "abc").is_none(), "one bit was turned");

        code[last] ^= 1;
        fs::write(cache.path(&sandbox, "abd"), &code).unwrap();
        assert!(
            cache.load(&sandbox, "abd").is_none(),
            "another component's code"
        );

        let stranger = Cache::open(&folder.path().join("stranger")).unwrap();
        component(&sandbox, Some(&stranger), "abe", EMPTY).unwrap();
        fs::copy(stranger.path(&sandbox, "abe"), cache.path(&sandbox, "abe")).unwrap();
        assert!(
            cache.load(&sandbox, "abe").is_none(),
            "made under another key"
        );
    }

    #[test]
    fn many_who_start_at_once_have_one_key() {
        for _ in 0..20 {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("cache");
            let barrier = std::sync::Barrier::new(16);
            let keys: Vec<_> = std::thread::scope(|scope| {
                let opening: Vec<_> = (0..16)
                    .map(|_| {
                        scope.spawn(|| {
                            barrier.wait();
                            Cache::open(&path).unwrap().key
                        })
                    })
                    .collect();
                opening.into_iter().map(|it| it.join().unwrap()).collect()
            });
            assert!(keys.iter().all(|key| *key == keys[0]));
        }
    }

    #[test]
    fn a_folder_or_key_that_others_reach_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let open = folder.path().join("open");
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(
            Cache::open(&open)
                .unwrap_err()
                .to_string()
                .contains("others may write")
        );
        fs::set_permissions(&open, fs::Permissions::from_mode(0o700)).unwrap();
        Cache::open(&open).unwrap();
        fs::set_permissions(open.join("key"), fs::Permissions::from_mode(0o644)).unwrap();
        assert!(Cache::open(&open).is_err());
    }
}
