//! Every input of the corpus, through its target: what the fuzzer has found once stays found.

use std::fs;
use std::path::{Path, PathBuf};

use tollgate_fuzz::TARGETS;
use tollgate_fuzz::input::Shown;

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

fn names(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut all: Vec<PathBuf> = entries
        .map(|entry| entry.expect("readable").path())
        .collect();
    all.sort();
    all
}

#[test]
fn every_input_of_the_corpus_keeps_every_promise() {
    for target in TARGETS {
        let inputs = names(&corpus().join(target.name));
        assert!(!inputs.is_empty(), "{} has no corpus", target.name);
        (target.run)(b"");
        for input in inputs {
            let data = fs::read(&input).expect("readable");
            let _shown = Shown {
                name: &input.display().to_string(),
                data: &data,
            };
            (target.run)(&data);
        }
    }
}

#[test]
fn every_folder_of_the_corpus_has_a_target() {
    let mut size = 0;
    for folder in names(&corpus()) {
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        assert!(tollgate_fuzz::find(&name).is_some(), "no target {name}");
        let inputs = names(&folder);
        size += inputs
            .iter()
            .map(|input| input.metadata().expect("readable").len())
            .sum::<u64>();
    }
    assert!(size < 2 << 20, "a corpus of {size} bytes is no seed");
    assert!(TARGETS.is_sorted_by_key(|target| target.name));
}
