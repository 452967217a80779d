//! A cache of compiled components on disk, and the only `unsafe` of the proxy.
//!
//! Compiled code is trusted like the proxy's own, so a file is loaded only when its
//! HMAC-SHA-256 is right under a key that lives beside the cache, readable by this
//! user alone, and only under the fingerprint (wasmtime's version, its settings, this
//! processor) and the digest of the component that it was made from. A file that does
//! not fit is compiled anew and replaced. The folder is bounded, and what was not used
//! for longest goes first (`tollgate-keep`). Without a cache folder nothing is kept.

use std::{io, path::Path};

use hmac::{Hmac, Mac};
use sha2::Sha256;
use tollgate_keep::{Folder, FolderError, secret};
use wasmtime::{Engine, component::Component};

use crate::engine::Sandbox;

const TAG: usize = 32;

/// A folder of compiled components, with the key that vouches for them.
#[derive(Debug)]
pub struct Cache {
    folder: Folder,
    key: [u8; 32],
}

/// The cache folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// It cannot be made or read, or others could have written to it.
    #[error("the cache of compiled components: {0}")]
    Folder(#[from] FolderError),
    /// Its key cannot be made or read, or others could have read it.
    #[error("the cache of compiled components: {0}")]
    Key(#[from] io::Error),
}

impl Cache {
    /// Opens or makes the folder (mode 0700) and its key (mode 0600). Compiled components in it
    /// have `bound` bytes together at most.
    ///
    /// # Errors
    /// When it cannot be made or read, or when others could have written to it.
    pub fn open(folder: &Path, bound: u64) -> Result<Self, CacheError> {
        let folder = Folder::open(folder, ".cwasm", bound)?;
        let key = secret(&folder.path().join("key"))?;
        Ok(Self { folder, key })
    }

    /// Bytes of the compiled components in it.
    #[must_use]
    pub fn held(&self) -> u64 {
        self.folder.held()
    }

    fn name(sandbox: &Sandbox, digest: &str) -> String {
        format!("{digest}-{}", sandbox.fingerprint())
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
        let kept = self.folder.read(&Self::name(sandbox, digest))?;
        let genuine = kept.split_at_checked(TAG).filter(|(tag, code)| {
            let mac = self.mac(sandbox, digest, code);
            mac.verify_slice(tag).is_ok()
        });
        let Some((_, code)) = genuine else {
            tracing::warn!(
                digest,
                "a compiled component failed its check; compiling anew"
            );
            return None;
        };
        deserialize(sandbox.engine(), code)
            .inspect_err(|error| tracing::info!(digest, %error, "stale compiled component"))
            .ok()
    }

    fn store(&self, sandbox: &Sandbox, digest: &str, code: &[u8]) -> io::Result<()> {
        let tag = self.mac(sandbox, digest, code).finalize().into_bytes();
        let kept = self
            .folder
            .write(&Self::name(sandbox, digest), &[&tag, code])?;
        if !kept {
            tracing::warn!(
                digest,
                bytes = code.len(),
                "a compiled component is larger than the whole cache and is not kept"
            );
        }
        Ok(())
    }
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
    // SAFETY: `Component::deserialize` asks that `code` came out of `Engine::precompile_component`
    // and has not changed since. Reviewed for each of the two ways here:
    //
    // 1. From `component`: this process has just compiled it, by an engine of the same settings,
    //    and holds it in its own memory.
    // 2. From `Cache::load`: a process that held the cache's key had compiled it. The HMAC over
    //    these very bytes (they are in our memory, not mapped: nobody can change them after the
    //    check) was right, and is bound to this engine's fingerprint and to the component's digest,
    //    so that neither another build's code nor another component's passes under this name. The
    //    key is in a file of mode 0600 that belongs to us, in a folder that nobody else can write
    //    to: whoever can read it can run code as this user without our help.
    //
    // A guest cannot bring code here: what it can influence is the component, which is compiled,
    // and a `.cwasm` in a component's place is refused for its magic by the compiler. wasmtime
    // itself refuses code of another version, configuration or processor.
    unsafe { Component::deserialize(engine, code) }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::{PermissionsExt, symlink},
        path::PathBuf,
    };

    use super::*;
    use crate::engine::HostLimits;

    const ROOM: u64 = 64 << 20;

    /// The eight bytes of a component with nothing in it.
    const EMPTY: &[u8] = b"\0asm\x0d\0\x01\0";

    fn sandbox() -> Sandbox {
        Sandbox::new(HostLimits {
            instances: 4,
            memory: 1 << 20,
        })
        .unwrap()
    }

    fn path(cache: &Cache, sandbox: &Sandbox, digest: &str) -> PathBuf {
        cache.folder.entry(&Cache::name(sandbox, digest))
    }

    #[test]
    fn a_kept_component_is_found_and_a_planted_one_is_not_loaded() {
        let folder = tempfile::tempdir().unwrap();
        let sandbox = sandbox();
        let cache = Cache::open(&folder.path().join("cache"), ROOM).unwrap();
        component(&sandbox, Some(&cache), "abc", EMPTY).unwrap();
        assert!(cache.load(&sandbox, "abc").is_some());
        assert!(cache.load(&sandbox, "abd").is_none());

        let kept = path(&cache, &sandbox, "abc");
        let whole = fs::read(&kept).unwrap();
        let mut turned = whole.clone();
        for at in [0, TAG, whole.len() / 2, whole.len() - 1] {
            turned[at] ^= 1;
            fs::write(&kept, &turned).unwrap();
            assert!(cache.load(&sandbox, "abc").is_none(), "bit of byte {at}");
            turned[at] ^= 1;
        }
        for end in [0, 1, TAG - 1, TAG, TAG + 1, whole.len() - 1] {
            fs::write(&kept, &whole[..end]).unwrap();
            assert!(cache.load(&sandbox, "abc").is_none(), "cut at {end}");
        }
        let longer = [whole.as_slice(), &[0]].concat();
        fs::write(&kept, longer).unwrap();
        assert!(cache.load(&sandbox, "abc").is_none(), "one byte more");

        fs::write(path(&cache, &sandbox, "abd"), &whole).unwrap();
        assert!(
            cache.load(&sandbox, "abd").is_none(),
            "another component's code"
        );

        let stranger = Cache::open(&folder.path().join("stranger"), ROOM).unwrap();
        component(&sandbox, Some(&stranger), "abe", EMPTY).unwrap();
        fs::copy(
            path(&stranger, &sandbox, "abe"),
            path(&cache, &sandbox, "abe"),
        )
        .unwrap();
        assert!(
            cache.load(&sandbox, "abe").is_none(),
            "made under another key"
        );

        // What failed its check is made anew, and is good then.
        component(&sandbox, Some(&cache), "abe", EMPTY).unwrap();
        assert!(cache.load(&sandbox, "abe").is_some());
    }

    #[test]
    fn code_of_another_engine_is_not_loaded_under_this_ones_name() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path(), ROOM).unwrap();
        let ours = sandbox();
        let other = Sandbox::new(HostLimits {
            instances: 4,
            memory: 2 << 20,
        })
        .unwrap();
        component(&other, Some(&cache), "abc", EMPTY).unwrap();
        let theirs = path(&cache, &other, "abc");
        if theirs == path(&cache, &ours, "abc") {
            // Without room for pooled memories these two are the same.
            return;
        }
        fs::copy(&theirs, path(&cache, &ours, "abc")).unwrap();
        assert!(cache.load(&ours, "abc").is_none());
    }

    #[test]
    fn a_link_and_a_file_that_others_write_are_not_loaded() {
        let folder = tempfile::tempdir().unwrap();
        let sandbox = sandbox();
        let cache = Cache::open(&folder.path().join("cache"), ROOM).unwrap();
        component(&sandbox, Some(&cache), "abc", EMPTY).unwrap();
        let kept = path(&cache, &sandbox, "abc");
        fs::set_permissions(&kept, fs::Permissions::from_mode(0o622)).unwrap();
        assert!(cache.load(&sandbox, "abc").is_none(), "others may write it");
        fs::set_permissions(&kept, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(cache.load(&sandbox, "abc").is_some());
        let elsewhere = folder.path().join("elsewhere");
        fs::rename(&kept, &elsewhere).unwrap();
        symlink(&elsewhere, &kept).unwrap();
        assert!(cache.load(&sandbox, "abc").is_none(), "a link");
        // It is replaced, and not written through.
        let before = fs::read(&elsewhere).unwrap();
        component(&sandbox, Some(&cache), "abc", EMPTY).unwrap();
        assert!(cache.load(&sandbox, "abc").is_some());
        assert!(fs::symlink_metadata(&kept).unwrap().is_file());
        assert_eq!(fs::read(&elsewhere).unwrap(), before);
    }

    #[test]
    fn compiled_components_are_bounded_and_the_latest_stay() {
        let folder = tempfile::tempdir().unwrap();
        let sandbox = sandbox();
        let one = {
            let cache = Cache::open(folder.path(), ROOM).unwrap();
            component(&sandbox, Some(&cache), "first", EMPTY).unwrap();
            cache.held()
        };
        let cache = Cache::open(folder.path(), 2 * one + one / 2).unwrap();
        for digest in ["second", "third", "fourth"] {
            component(&sandbox, Some(&cache), digest, EMPTY).unwrap();
            assert!(cache.held() <= 2 * one + one / 2);
        }
        assert!(cache.load(&sandbox, "first").is_none());
        assert!(cache.load(&sandbox, "fourth").is_some());
        // One that alone is too large is compiled, and not kept.
        let tiny = Cache::open(&folder.path().join("tiny"), 8).unwrap();
        component(&sandbox, Some(&tiny), "fifth", EMPTY).unwrap();
        assert_eq!(tiny.held(), 0);
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
                            Cache::open(&path, ROOM).unwrap().key
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
        let error = Cache::open(&open, ROOM).unwrap_err();
        assert!(error.to_string().contains("others may write"), "{error}");
        fs::set_permissions(&open, fs::Permissions::from_mode(0o700)).unwrap();
        Cache::open(&open, ROOM).unwrap();
        fs::set_permissions(open.join("key"), fs::Permissions::from_mode(0o644)).unwrap();
        assert!(Cache::open(&open, ROOM).is_err());
    }
}
