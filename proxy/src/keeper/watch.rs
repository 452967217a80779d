//! Sees that files of plugins, schedulers, their options and of the configuration have changed.
//!
//! They are looked at again and again, and not announced by the system: there are few of them, a
//! look costs a microsecond, and it sees through symbolic links that are turned (as Kubernetes does
//! with what it mounts), through renames and over network file systems alike.
//!
//! 1. A look notes of each file when it was written, its length and which file it is.
//! 2. Files that are other than when they were last taken in, and the same as at the look before,
//!    are taken in: who is still writing is waited for.
//! 3. What does not load is not tried again before it has changed again.

use std::{
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use tollgate_config::{Config, Options, Source};

use super::Subject;
use crate::supply;

/// What is noted of a file: device, number, length, and when content and inode were written.
type Stamp = (u64, u64, u64, (i64, i64), (i64, i64));

fn stamp(path: &Path) -> Option<Stamp> {
    let it = std::fs::metadata(path).ok()?;
    Some((
        it.dev(),
        it.ino(),
        it.len(),
        (it.mtime(), it.mtime_nsec()),
        (it.ctime(), it.ctime_nsec()),
    ))
}

/// The files of every subject.
pub(crate) struct Watches(Vec<(Subject, Watch<Stamp>)>);

impl Watches {
    /// Of a configuration, as the files are now: made before they are first loaded, so that no
    /// change falls in between.
    pub(crate) fn of(config: &Config) -> Self {
        let plugins = config.plugins.iter().map(|(name, section)| {
            let subject = Subject::Plugin(name.to_string());
            (subject, files(&section.source, &section.options))
        });
        let schedulers = config.schedulers.iter().map(|(name, section)| {
            let subject = Subject::Scheduler(name.to_string());
            (subject, files(&section.source, &section.options))
        });
        let watches = plugins.chain(schedulers);
        let watches = watches.filter(|(_, files)| !files.is_empty());
        Self(
            watches
                .map(|(subject, files)| (subject, Watch::new(files, stamp)))
                .collect(),
        )
    }

    /// Whose files they are.
    pub(crate) fn subjects(&self) -> impl Iterator<Item = &Subject> {
        self.0.iter().map(|(subject, _)| subject)
    }

    /// Those of another configuration, made before it was read. Of files that were watched already it
    /// is still known what was taken in.
    pub(crate) fn turn(&mut self, next: Self) {
        let former = std::mem::replace(&mut self.0, next.0);
        for (subject, watch) in &mut self.0 {
            let known = former
                .iter()
                .find(|(known, before)| known == subject && before.files == watch.files);
            if let Some((_, known)) = known {
                *watch = known.clone();
            }
        }
    }

    /// How many files there were when they were last taken in.
    pub(crate) fn files(&self) -> usize {
        let there = |watch: &Watch<Stamp>| watch.taken.iter().flatten().count();
        self.0.iter().map(|(_, watch)| there(watch)).sum()
    }

    /// Whose files have changed and settled since they were last taken in. It is taken for done
    /// that they are taken in now.
    pub(crate) fn changed(&mut self) -> Vec<Subject> {
        let watches = self.0.iter_mut();
        watches
            .filter_map(|(subject, watch)| watch.look(stamp).then(|| subject.clone()))
            .collect()
    }
}

fn files(source: &Source, options: &Options) -> Vec<PathBuf> {
    let component = match source {
        Source::File(path) => Some(path),
        Source::Bundled(_) | Source::Oci(_) => None,
    };
    // A signature may come after what it signs.
    let signature = component.map(|path| supply::signature_file(path.as_path()));
    let files = component.into_iter().chain(options.paths());
    let files = files.map(|path| path.as_path().to_owned());
    files.chain(signature).collect()
}

/// Files that are one thing, which is not a subject: a configuration.
pub(crate) struct Files(Watch<Stamp>);

impl Files {
    /// As they are now: made before they are first read.
    pub(crate) fn of(files: Vec<PathBuf>) -> Self {
        Self(Watch::new(files, stamp))
    }

    /// Watches these, which were read since it was made; those that were watched before are told
    /// again if they have changed since then.
    pub(crate) fn cover(&mut self, files: Vec<PathBuf>) {
        let mut next = Watch::new(files, stamp);
        for (at, file) in next.files.iter().enumerate() {
            if let Some(known) = self.0.files.iter().position(|it| it == file) {
                next.taken[at] = self.0.taken[known];
                next.seen[at] = self.0.seen[known];
            }
        }
        self.0 = next;
    }

    /// Whether they have changed and settled since they were last taken in. It is taken for done that
    /// they are taken in now.
    pub(crate) fn changed(&mut self) -> bool {
        self.0.look(stamp)
    }
}

/// Files that are loaded together; `S` is what is noted of one.
#[derive(Clone)]
struct Watch<S> {
    files: Vec<PathBuf>,
    /// When they were last taken in.
    taken: Vec<Option<S>>,
    /// At the last look.
    seen: Vec<Option<S>>,
}

impl<S: Clone + PartialEq> Watch<S> {
    fn new(files: Vec<PathBuf>, stamp: impl Fn(&Path) -> Option<S>) -> Self {
        let taken: Vec<_> = files.iter().map(|file| stamp(file)).collect();
        Self {
            files,
            seen: taken.clone(),
            taken,
        }
    }

    /// Whether they are to be taken in now.
    fn look(&mut self, stamp: impl Fn(&Path) -> Option<S>) -> bool {
        let now: Vec<_> = self.files.iter().map(|file| stamp(file)).collect();
        // One that was not there before need not be there now: a signature, where there is none.
        let mut both = now.iter().zip(&self.taken);
        let there = both.all(|(now, taken)| now.is_some() || taken.is_none());
        let settled = there && now == self.seen;
        self.seen = now;
        let due = settled && self.seen != self.taken;
        if due {
            self.taken = self.seen.clone();
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, collections::HashMap};

    use super::*;

    /// Files of which only a number is known; looks at them.
    struct World {
        files: RefCell<HashMap<PathBuf, u32>>,
        watch: Watch<u32>,
    }

    impl World {
        fn new(names: &[&str]) -> Self {
            let files: HashMap<PathBuf, u32> = names.iter().map(|it| (it.into(), 0)).collect();
            let paths = names.iter().map(PathBuf::from).collect();
            let watch = Watch::new(paths, |path: &Path| files.get(path).copied());
            Self {
                files: RefCell::new(files),
                watch,
            }
        }

        fn write(&self, name: &str, stamp: u32) {
            self.files.borrow_mut().insert(name.into(), stamp);
        }

        fn look(&mut self) -> bool {
            let files = &self.files;
            self.watch.look(|path| files.borrow().get(path).copied())
        }
    }

    #[test]
    fn a_change_is_taken_in_once_it_has_settled_and_once() {
        let mut it = World::new(&["a", "b"]);
        assert!(!it.look() && !it.look());
        it.write("b", 1);
        assert!(!it.look(), "it may still be written");
        assert!(it.look());
        assert!(!it.look() && !it.look());
    }

    #[test]
    fn who_is_still_writing_is_waited_for() {
        let mut it = World::new(&["a"]);
        for stamp in 1..20 {
            it.write("a", stamp);
            assert!(!it.look());
        }
        assert!(it.look());
    }

    #[test]
    fn a_file_that_is_not_there_is_waited_for() {
        let mut it = World::new(&["a", "b"]);
        it.write("a", 1);
        it.files.borrow_mut().remove(Path::new("b"));
        assert!(!it.look() && !it.look() && !it.look());
        it.write("b", 0);
        assert!(!it.look());
        assert!(it.look(), "`a` has changed meanwhile");
    }

    #[test]
    fn one_that_was_never_there_is_not_waited_for_and_seen_when_it_comes() {
        let mut it = World::new(&["a"]);
        it.watch.files.push("a.sig".into());
        it.watch.taken.push(None);
        it.watch.seen.push(None);
        it.write("a", 1);
        assert!(!it.look());
        assert!(it.look());
        it.write("a.sig", 1);
        assert!(!it.look());
        assert!(it.look());
        it.files.borrow_mut().remove(Path::new("a.sig"));
        assert!(!it.look() && !it.look(), "it may be on its way");
    }

    #[test]
    fn one_that_is_as_it_was_is_not_taken_in() {
        let mut it = World::new(&["a"]);
        it.write("a", 1);
        assert!(!it.look());
        it.write("a", 0);
        assert!(!it.look() && !it.look());
    }

    #[test]
    fn real_files_are_told_apart() {
        let folder = std::env::temp_dir().join(format!("tollgate-watch-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("there is a place");
        let file = folder.join("a");
        std::fs::write(&file, "one").expect("it can be written");
        let before = stamp(&file);
        // Renamed into place, with as many bytes: another file all the same.
        std::fs::write(folder.join("b"), "two").expect("it can be written");
        std::fs::rename(folder.join("b"), &file).expect("it can be renamed");
        assert!(before.is_some() && stamp(&file) != before);
        std::fs::remove_dir_all(&folder).expect("it is ours");
        assert_eq!(stamp(&file), None);
    }
}
