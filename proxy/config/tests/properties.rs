//! Whatever stands in a file: no panic, and a refusal always says why and where.

mod golden;

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use tollgate_config::Config;
use tollgate_config::tokens::TokenFile;

fn refusal_is_explained(text: &str) {
    let Err(errors) = Config::parse(text, Path::new("a.yaml")) else {
        return;
    };
    assert!(!errors.problems().is_empty());
    for problem in errors.problems() {
        let position = problem
            .position()
            .unwrap_or_else(|| panic!("{problem}\n{text}"));
        assert!((1..=lines(text) + 1).contains(&position.line), "{problem}");
        assert!(position.column >= 1);
    }
}

/// Lines as YAML breaks them (1.2, section 5.4): a carriage return alone ends one too.
fn lines(text: &str) -> usize {
    let breaks = text.replace("\r\n", "\n");
    1 + breaks
        .chars()
        .filter(|it| matches!(it, '\n' | '\r'))
        .count()
}

fn every_key() -> Vec<char> {
    let file = golden::tests().join("good/every-key.yaml");
    fs::read_to_string(file)
        .expect("readable")
        .chars()
        .collect()
}

proptest! {
    #[test]
    fn any_text(text in any::<String>()) {
        refusal_is_explained(&text);
        let _ = TokenFile::parse(&text, Path::new("t.yaml"));
    }

    #[test]
    fn yaml_like_text(text in "([a-z]{1,3}: |- |[\\[{&*!|>'\",:}\\] \n#%@~]|listeners:|\n  ){0,40}") {
        refusal_is_explained(&text);
    }

    /// A good file with a piece cut out, or put in a second time somewhere else.
    #[test]
    fn a_good_file_damaged(from in 0_usize..5200, len in 1_usize..40, to in 0_usize..5200, cut in any::<bool>()) {
        let mut text = every_key();
        let from = from.min(text.len() - 1);
        let end = (from + len).min(text.len());
        let piece: Vec<char> = text[from..end].to_vec();
        if cut {
            text.drain(from..end);
        }
        let to = to.min(text.len());
        text.splice(to..to, piece);
        refusal_is_explained(&text.into_iter().collect::<String>());
    }
}

/// Nesting does not use up the stack, neither the parser's nor ours.
#[test]
fn deep_nesting_is_refused() {
    for open in ["[", "{a: ", "- ", "&a [", "? "] {
        refusal_is_explained(&open.repeat(100_000));
    }
}
