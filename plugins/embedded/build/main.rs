//! Trains the language model on `corpus/*.txt` and packs it into `model.bin`.
//!
//! A document is a paragraph; documents are read in the order of the file names, so
//! the same corpus gives the same bytes.

#[path = "../src/bpe.rs"]
mod bpe;
mod count;
mod train;

use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// Tokens that are learnt beyond bytes and marks. More would make single words of
/// phrases, and then nothing would be left to choose.
const MERGES: usize = 900;

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=corpus");
    println!("cargo::rerun-if-changed=build");
    println!("cargo::rerun-if-changed=src/bpe.rs");

    let mut files: Vec<PathBuf> = fs::read_dir("corpus")?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<_>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "txt"));
    files.sort();

    let mut documents = Vec::new();
    for file in files {
        documents.extend(paragraphs(&fs::read_to_string(file)?));
    }
    let merges = train::merges(&documents, MERGES);
    let vocabulary = bpe::Vocabulary::new(&merges);
    let sequences: Vec<Vec<u16>> = documents
        .iter()
        .map(|document| {
            let mut sequence = vec![bpe::BEGIN];
            sequence.extend(vocabulary.encode(document));
            sequence.push(bpe::END);
            sequence
        })
        .collect();

    let mut packed = Vec::new();
    packed.extend((merges.len() as u32).to_le_bytes());
    for (left, right) in &merges {
        packed.extend(left.to_le_bytes());
        packed.extend(right.to_le_bytes());
    }
    count::pack(&sequences, &mut packed);

    let out = env::var_os("OUT_DIR").ok_or_else(|| io::Error::other("cargo sets OUT_DIR"))?;
    fs::write(Path::new(&out).join("model.bin"), packed)
}

/// Paragraphs stand between empty lines. The lines of one are joined by spaces,
/// except before a speaker (`user:`, `assistant:`, `system:`), where the break counts.
fn paragraphs(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for paragraph in text.split("\n\n") {
        let mut joined = String::new();
        for line in paragraph
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
        {
            if !joined.is_empty() {
                let speaks = ["user:", "assistant:", "system:"]
                    .iter()
                    .any(|speaker| line.starts_with(speaker));
                joined.push(if speaks { '\n' } else { ' ' });
            }
            joined.push_str(line);
        }
        if !joined.is_empty() {
            found.push(joined);
        }
    }
    found
}
