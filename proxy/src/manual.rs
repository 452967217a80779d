//! What is made of the command line's own description: completions for shells, manual pages.
//!
//! By `clap_complete` and `clap_mangen`, clap's own: nothing is written down twice.

use std::{fs, io, path::Path};

use clap::CommandFactory;
use clap_complete::Shell;
use clap_mangen::Man;

use crate::{Arguments, say};

/// What a shell reads; whether it could be printed.
pub(crate) fn completions(shell: Shell) -> bool {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "tollgate", &mut text);
    say(&String::from_utf8_lossy(&text))
}

/// The manual page, or one a verb into a folder; whether that went well.
pub(crate) fn manual(folder: Option<&Path>) -> bool {
    let made = match folder {
        None => page().map(|text| say(&text)),
        Some(folder) => fs::create_dir_all(folder)
            .and_then(|()| clap_mangen::generate_to(Arguments::command(), folder))
            .map(|()| true),
    };
    made.unwrap_or_else(|error| {
        eprintln!("tollgate: the manual: {error}");
        false
    })
}

/// The page of all, in the language of man(7).
fn page() -> io::Result<String> {
    let mut command = Arguments::command();
    command.build();
    let mut text = Vec::new();
    Man::new(command).render(&mut text)?;
    String::from_utf8(text).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    fn verbs() -> Vec<String> {
        let command = Arguments::command();
        let shown = command.get_subcommands().filter(|verb| !verb.is_hide_set());
        shown.map(|verb| verb.get_name().to_owned()).collect()
    }

    #[test]
    fn every_shell_knows_every_verb() {
        for shell in Shell::value_variants() {
            let mut text = Vec::new();
            clap_complete::generate(*shell, &mut Arguments::command(), "tollgate", &mut text);
            let text = String::from_utf8(text).expect("it is text");
            for verb in verbs().iter().map(String::as_str).chain(["swap", "keygen"]) {
                assert!(text.contains(verb), "{shell}: {verb}");
            }
        }
    }

    #[test]
    fn the_manual_names_every_verb_and_each_has_a_page() {
        let text = page().expect("it can be made").replace("\\-", "-");
        assert!(text.contains(".TH"));
        for verb in verbs() {
            assert!(text.contains(&format!("tollgate-{verb}")), "{verb}");
        }
        let folder = std::env::temp_dir().join(format!("tollgate-man-{}", std::process::id()));
        assert!(manual(Some(&folder)));
        for page in verbs().into_iter().chain(["plugin-swap".to_owned()]) {
            let file = folder.join(format!("tollgate-{page}.1"));
            let text = fs::read_to_string(file).expect("it is written");
            assert!(text.contains(".SH NAME"), "{page}");
        }
        assert!(!folder.join("tollgate-man.1").exists(), "it is hidden");
        fs::remove_dir_all(&folder).expect("it is ours");
    }
}
