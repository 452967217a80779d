//! A bounded folder of files.

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, SystemTime},
};

use parking_lot::Mutex;

use crate::guard;

/// What is being written has this at its beginning until it is whole.
const PARTIAL: &str = "partial-";
/// Half-written files of processes that ended are removed after so long.
const ABANDONED: Duration = Duration::from_secs(3600);
/// Entries that nobody may have more of, whatever their size.
const MOST_ENTRIES: usize = 16_384;

/// The folder cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("folder {folder}: {problem}")]
pub struct FolderError {
    folder: PathBuf,
    problem: String,
}

/// A folder of entries of one kind, by name.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    /// Ending of the entries' names; whatever else lies in the folder is left alone.
    ending: &'static str,
    /// Bytes of all entries.
    bound: u64,
    held: AtomicU64,
    /// Who writes or takes out.
    writing: Mutex<()>,
}

struct Entry {
    path: PathBuf,
    used: SystemTime,
    bytes: u64,
}

impl Folder {
    /// Opens the folder, or makes it (mode 0700). Entries have names that end in `ending`, and
    /// `bound` bytes together at most.
    ///
    /// # Errors
    /// When it cannot be made or read, or when others could have written to it.
    pub fn open(path: &Path, ending: &'static str, bound: u64) -> Result<Self, FolderError> {
        let fail = |problem: String| FolderError {
            folder: path.to_owned(),
            problem,
        };
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(|error| fail(error.to_string()))?;
        guard::check_folder(path).map_err(fail)?;
        let folder = Self {
            path: path.to_owned(),
            ending,
            bound,
            held: AtomicU64::new(0),
            writing: Mutex::new(()),
        };
        folder
            .make_room(0)
            .map_err(|error| fail(error.to_string()))?;
        Ok(folder)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes of its entries.
    #[must_use]
    pub fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    /// Path of an entry.
    ///
    /// # Panics
    /// When the name is not made of letters, digits, `-`, `_` and `.`, or begins with a `.`.
    #[must_use]
    pub fn entry(&self, name: &str) -> PathBuf {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        assert!(
            !name.is_empty() && !name.starts_with('.') && name.bytes().all(plain),
            "{name:?} is no name of an entry"
        );
        self.path.join(format!("{name}{}", self.ending))
    }

    /// An entry's content, which counts as a use of it. None: there is none, or what lies there
    /// under its name is no regular file of this user's alone.
    #[must_use]
    pub fn read(&self, name: &str) -> Option<Vec<u8>> {
        let (file, content) = guard::read(&self.entry(name), self.bound, 0o022).ok()?;
        // Where that fails the entry only looks older than it is.
        let _ = file.set_modified(SystemTime::now());
        Some(content)
    }

    /// Writes an entry, one part after the other. False: it alone is past the bound.
    ///
    /// # Errors
    /// When it cannot be written. What was there under its name stays then.
    pub fn write(&self, name: &str, parts: &[&[u8]]) -> io::Result<bool> {
        let path = self.entry(name);
        let bytes = parts.iter().map(|part| part.len() as u64).sum();
        if bytes > self.bound {
            return Ok(false);
        }
        let _writing = self.writing.lock();
        self.make_room(bytes)?;
        let mut suffix = [0; 8];
        getrandom::fill(&mut suffix).map_err(io::Error::other)?;
        let partial = self.path.join(format!("{PARTIAL}{}", hex::encode(suffix)));
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&partial)?;
        let written = parts
            .iter()
            .try_for_each(|part| file.write_all(part))
            .and_then(|()| fs::rename(&partial, &path));
        if written.is_err() {
            let _ = fs::remove_file(&partial);
        }
        written?;
        self.held.fetch_add(bytes, Ordering::Relaxed);
        Ok(true)
    }

    /// Takes out what was not used for longest until `bytes` more fit, and what was left half
    /// written long ago. Another process may do the same: what is gone already is gone.
    fn make_room(&self, bytes: u64) -> io::Result<()> {
        let now = SystemTime::now();
        let mut entries = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let Ok(metadata) = entry.metadata() else {
                continue;
            };
            let used = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            if name.starts_with(PARTIAL) {
                if now.duration_since(used).is_ok_and(|age| age > ABANDONED) {
                    let _ = fs::remove_file(entry.path());
                }
            } else if name.ends_with(self.ending) {
                entries.push(Entry {
                    path: entry.path(),
                    used,
                    bytes: metadata.len(),
                });
            }
        }
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.used));
        let mut held: u64 = entries.iter().map(|entry| entry.bytes).sum();
        while held.saturating_add(bytes) > self.bound || entries.len() > MOST_ENTRIES {
            let Some(oldest) = entries.pop() else { break };
            match fs::remove_file(&oldest.path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => held -= oldest.bytes,
            }
        }
        self.held.store(held, Ordering::Relaxed);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn folder(bound: u64) -> (tempfile::TempDir, Folder) {
        let above = tempfile::tempdir().unwrap();
        let folder = Folder::open(&above.path().join("kept"), ".it", bound).unwrap();
        (above, folder)
    }

    fn age(folder: &Folder, name: &str, seconds: u64) {
        let file = fs::File::open(folder.entry(name)).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(seconds))
            .unwrap();
    }

    #[test]
    fn the_bound_holds_and_what_was_used_last_stays() {
        let (_above, folder) = folder(100);
        for (name, seconds) in [("a", 30), ("b", 20), ("c", 10)] {
            assert!(folder.write(name, &[&[1; 20], &[2; 10]]).unwrap());
            age(&folder, name, seconds);
        }
        assert_eq!(folder.held(), 90);
        // The oldest by its making is the newest by its use.
        assert_eq!(folder.read("a").unwrap().len(), 30);
        assert!(folder.write("d", &[&[3; 30]]).unwrap());
        assert!(folder.held() <= 100, "{}", folder.held());
        assert!(folder.read("b").is_none(), "it was not used for longest");
        assert!(folder.read("a").is_some() && folder.read("c").is_some());
        assert!(!folder.write("e", &[&[4; 101]]).unwrap(), "past the bound");
        assert!(folder.read("e").is_none());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
    }

    #[test]
    fn a_smaller_bound_holds_from_the_start_and_other_files_stay() {
        let (above, folder) = folder(100);
        for name in ["a", "b", "c"] {
            folder.write(name, &[&[1; 30]]).unwrap();
        }
        let path = above.path().join("kept");
        fs::write(path.join("key"), [0; 32]).unwrap();
        let smaller = Folder::open(&path, ".it", 40).unwrap();
        assert_eq!(smaller.held(), 30);
        assert!(path.join("key").exists());
    }

    #[test]
    fn what_is_no_file_of_ours_is_not_read() {
        let (above, folder) = folder(100);
        folder.write("a", &[b"whole"]).unwrap();
        symlink(folder.entry("a"), folder.entry("link")).unwrap();
        assert!(folder.read("link").is_none(), "a link");
        fs::create_dir(folder.entry("inside")).unwrap();
        assert!(folder.read("inside").is_none(), "a folder");
        let out = above.path().join("out");
        fs::write(&out, b"planted").unwrap();
        symlink(&out, folder.entry("planted")).unwrap();
        assert!(folder.read("planted").is_none(), "a link out of it");
        mode(&folder.entry("a"), 0o666);
        assert!(folder.read("a").is_none(), "others could have written it");
        mode(&folder.entry("a"), 0o644);
        assert_eq!(folder.read("a").unwrap(), b"whole");
        fs::write(folder.entry("large"), [0; 101]).unwrap();
        assert!(folder.read("large").is_none(), "past the bound");
    }

    #[test]
    fn a_folder_that_others_reach_is_refused() {
        let above = tempfile::tempdir().unwrap();
        let open = above.path().join("open");
        fs::create_dir(&open).unwrap();
        for (bits, others) in [(0o777, true), (0o720, true), (0o755, false)] {
            mode(&open, bits);
            let opened = Folder::open(&open, ".it", 1);
            assert_eq!(opened.is_err(), others, "{bits:o}");
        }
        mode(&open, 0o777);
        let said = Folder::open(&open, ".it", 1).unwrap_err().to_string();
        assert!(said.contains("others may write to it (mode 777)"), "{said}");
        let said = Folder::open(&open.join("kept"), ".it", 1).unwrap_err();
        assert!(said.to_string().contains("anybody may write to"), "{said}");
        let file = above.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(Folder::open(&file, ".it", 1).is_err());
    }

    /// Only a user who may give things away can make this case.
    #[test]
    fn a_folder_or_file_of_another_user_is_refused() {
        let (above, folder) = folder(100);
        folder.write("a", &[b"whole"]).unwrap();
        let given = std::os::unix::fs::chown(folder.entry("a"), Some(12_345), None);
        if given.is_err() {
            return;
        }
        assert!(folder.read("a").is_none());
        let path = above.path().join("kept");
        std::os::unix::fs::chown(&path, Some(12_345), None).unwrap();
        let said = Folder::open(&path, ".it", 1).unwrap_err().to_string();
        assert!(said.contains("it belongs to user 12345"), "{said}");
    }

    #[test]
    #[should_panic(expected = "is no name of an entry")]
    fn a_name_that_leads_elsewhere_is_none() {
        let (_above, folder) = folder(1);
        let _ = folder.entry("../key");
    }
}
