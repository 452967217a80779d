//! Commands that documents show: their verbs and flags have to be ones that there are.
//!
//! Looked at are blocks of a shell (`sh`, `bash`, `console`) or of plain text, and code within a line of
//! prose, as far as it begins with the program. `tollgate` is asked itself, by `--help`.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::Command;

use super::markdown;
use crate::process::output;

/// Languages of blocks in which commands stand.
const SHELLS: [&str; 5] = ["sh", "bash", "console", "text", ""];
/// What ends a command.
const ENDS: [&str; 8] = ["|", "||", "&&", ";", "&", ">", "2>", "#"];

/// Mistakes in `cargo xtask` commands, with their lines.
pub(super) fn of_xtask(text: &str, verbs: &[&str], help: &str) -> Vec<(usize, String)> {
    let mut problems = Vec::new();
    for (line, words) in commands(text, &["cargo", "xtask"]) {
        let Some(verb) = words.first().filter(|it| is_word(it)) else {
            continue;
        };
        if !verbs.contains(&verb.as_str()) {
            problems.push((line, format!("no verb `cargo xtask {verb}`")));
            continue;
        }
        let about = about(help, verb);
        for flag in words.iter().filter_map(|it| flag(it)) {
            if !has(&about, flag) {
                problems.push((line, format!("`cargo xtask {verb}` has no `{flag}`")));
            }
        }
    }
    problems
}

/// What a help text says of one verb: its line and those that are further in.
fn about(help: &str, verb: &str) -> String {
    let mut said = String::new();
    let mut within = false;
    for line in help.lines() {
        if line.starts_with("  ") && !line.starts_with("   ") {
            within = line.split_whitespace().next() == Some(verb);
        }
        if within {
            said.push_str(line);
            said.push('\n');
        }
    }
    said
}

/// The binary's command line, as its help tells it.
pub(super) struct Cli {
    program: PathBuf,
    known: HashMap<String, Option<String>>,
}

impl Cli {
    /// That of a program.
    pub(super) fn of(program: PathBuf) -> Self {
        Self {
            program,
            known: HashMap::new(),
        }
    }

    /// Mistakes in `tollgate` commands, with their lines.
    pub(super) fn problems(&mut self, text: &str) -> Vec<(usize, String)> {
        let mut problems = Vec::new();
        for (line, words) in commands(text, &["tollgate"]) {
            if let Some(problem) = self.problem(&words) {
                problems.push((line, problem));
            }
        }
        problems
    }

    fn problem(&mut self, words: &[String]) -> Option<String> {
        let mut verb = words.first().filter(|it| is_word(it))?.clone();
        let Some(mut help) = self.help(&verb) else {
            return Some(format!("no verb `tollgate {verb}`"));
        };
        if help.contains("\nCommands:\n")
            && let Some(second) = words.get(1).filter(|it| is_word(it))
        {
            verb = format!("{verb} {second}");
            let Some(further) = self.help(&verb) else {
                return Some(format!("no verb `tollgate {verb}`"));
            };
            help = further;
        }
        let mut flags = words.iter().filter_map(|it| flag(it));
        let unknown = flags.find(|it| !has(&help, it))?;
        Some(format!("`tollgate {verb}` has no `{unknown}`"))
    }

    fn help(&mut self, verb: &str) -> Option<String> {
        if let Some(known) = self.known.get(verb) {
            return known.clone();
        }
        let mut command = Command::new(&self.program);
        let said = output(command.args(verb.split(' ')).arg("--help")).ok();
        self.known.insert(verb.to_owned(), said.clone());
        said
    }
}

/// The words behind a program's name, wherever a text shows it being called.
fn commands(text: &str, program: &[&str]) -> Vec<(usize, Vec<String>)> {
    let parts = markdown::parts(text);
    let mut found = Vec::new();
    for block in &parts.blocks {
        if !SHELLS.contains(&block.language) {
            continue;
        }
        let mut lines = block.lines.iter().zip(block.line..);
        while let Some((line, number)) = lines.next() {
            let mut whole = (*line).to_owned();
            while let Some(before) = whole.strip_suffix('\\') {
                let next = lines.next().map_or("", |(next, _)| *next);
                whole = format!("{before} {next}");
            }
            found.extend(calls(&whole, program).map(|words| (number, words)));
        }
    }
    for (number, line) in parts.prose {
        for span in markdown::spans(line) {
            found.extend(calls(span, program).map(|words| (number, words)));
        }
    }
    found
}

/// Each call of a program in a line: where a command may begin and its name stands, with or without a
/// path before it.
fn calls<'a>(line: &'a str, program: &'a [&'a str]) -> impl Iterator<Item = Vec<String>> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let named = |at: usize| {
        let before = at.checked_sub(1).map(|it| words[it]);
        let begins = before.is_none_or(|it| ENDS.contains(&it) || it == "$" || it == "exec");
        let is = |(word, name): (&&str, &&str)| word.rsplit('/').next() == Some(*name);
        let there = words.len() - at > program.len();
        begins && there && words[at..].iter().zip(program).all(is)
    };
    let starts: Vec<usize> = (0..words.len()).filter(|&at| named(at)).collect();
    let rest = move |at: usize| {
        let rest = words[at + program.len()..].iter();
        let until = rest.take_while(|it| !ENDS.contains(it));
        let bare = |it: &&str| {
            it.trim_matches(['[', ']', '(', ')', ',', '\'', '"'])
                .to_owned()
        };
        until.map(bare).collect()
    };
    starts.into_iter().map(rest)
}

/// Whether it can be a verb: what is made up of capitals or dots stands for something.
fn is_word(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_lowercase())
        && word.chars().all(|c| c.is_ascii_lowercase() || c == '-')
}

/// `--flag`, also of `--flag=value`.
fn flag(word: &str) -> Option<&str> {
    let name = word.split('=').next()?;
    let rest = name.strip_prefix("--")?;
    is_word(rest).then_some(name)
}

/// Whether a help text names a flag: it, and not a longer one.
fn has(help: &str, flag: &str) -> bool {
    let ends = |after: &str| !after.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '-');
    flag == "--help"
        || help
            .match_indices(flag)
            .any(|(at, _)| ends(&help[at + flag.len()..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELP: &str = "cargo xtask VERB\n\n  soak [--minutes M]\n                \
                        long; --built: as it is\n  test [--quick]       all\n";

    #[test]
    fn verbs_and_flags_of_xtask_are_held_against_its_help() {
        let text = "`cargo xtask soak --built`, `cargo xtask fly` or `cargo xtask soak --quick`\n\
                    ```sh\nFAST=1 cargo xtask swim\ncd x && cargo xtask test --quick --minute\n\
                    echo cargo xtask nothing\n```\n```rust\ncargo xtask dive\n```\ncargo xtask hop\n";
        let found = of_xtask(text, &["soak", "test"], HELP);
        assert_eq!(
            found,
            [
                (4, "`cargo xtask test` has no `--minute`".to_owned()),
                (1, "no verb `cargo xtask fly`".to_owned()),
                (1, "`cargo xtask soak` has no `--quick`".to_owned()),
            ]
        );
    }

    #[test]
    fn a_command_ends_where_the_shell_says() {
        let found = commands(
            "```sh\ntarget/release/tollgate run \\\n  --record x conf.yaml | head --lines 3\n```\n",
            &["tollgate"],
        );
        let words = ["run", "--record", "x", "conf.yaml"];
        assert_eq!(found, [(2, words.map(str::to_owned).to_vec())]);
    }

    #[test]
    fn the_binarys_help_is_asked_once_and_believed() {
        let mut cli = Cli::of(PathBuf::from("/nowhere/tollgate"));
        let mut know = |verb: &str, help: Option<&str>| {
            cli.known.insert(verb.to_owned(), help.map(str::to_owned));
        };
        know("plugin", Some("Usage\n\nCommands:\n  list\n"));
        know("plugin list", Some("      --admin <ADDRESS>\n"));
        know("plugin lists", None);
        know("fly", None);
        let text = "`tollgate plugin list --admin=1` `tollgate plugin list --adm`\n\
                    `tollgate plugin lists`\n`tollgate fly`, `tollgate VERB`, `tollgate.yaml`\n";
        assert_eq!(
            cli.problems(text),
            [
                (1, "`tollgate plugin list` has no `--adm`".to_owned()),
                (2, "no verb `tollgate plugin lists`".to_owned()),
                (3, "no verb `tollgate fly`".to_owned()),
            ]
        );
    }
}
