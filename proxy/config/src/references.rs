//! `${env:NAME}` and `${file:PATH}` in the values of a configuration: what an orchestrator hands
//! over beside it.
//!
//! 1. They stand for text within a value, plain or quoted, and not in keys; `$${` stands for `${`
//!    itself. Any other `${` is refused, since it is a slip of one of these.
//! 2. They are put in before values are decoded, so that what they stand for is held to the same
//!    rules. A plain value may become a number, a quoted one stays a text.
//! 3. Messages repeat what is written, and never what it stands for; options that hold such a value
//!    hide it ([`Options`](crate::Options)). Elsewhere (an address, a name) it is told as any other.
//!
//! Bounded: 64 KiB a value, 16 MiB in all, each file read once a load.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::scalar::{KIB, MIB};
use crate::section::Context;
use crate::yaml::{Kind, Node};

/// Bytes that one reference may stand for.
const LONGEST: u64 = 64 * KIB;
/// Bytes that all of them may stand for.
const MOST: usize = 16 * MIB as usize;

/// Where references are looked up.
pub(crate) trait Surroundings {
    /// The text of a variable of the environment.
    fn variable(&self, name: &str) -> Result<String, Missing>;
    /// The text of a file.
    fn file(&self, path: &Path) -> Result<String, Missing>;
}

/// The process's environment, and its files.
pub(crate) struct Process;

/// There are none: for texts that are read by themselves.
pub(crate) struct Nowhere;

/// What a reference names is not to be had; completes "`${…}`: …".
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Missing(String);

/// A piece of a value.
#[derive(Debug, PartialEq, Eq)]
enum Piece<'t> {
    Text(&'t str),
    Variable(&'t str),
    File(&'t str),
}

/// Puts in what references stand for. Gives the files that were read.
pub(crate) fn resolve(
    root: &mut Node,
    around: &impl Surroundings,
    cx: &mut Context<'_>,
) -> Vec<PathBuf> {
    let mut resolver = Resolver {
        around,
        files: BTreeMap::new(),
        taken: 0,
    };
    resolver.node(root, cx);
    resolver.files.into_keys().collect()
}

struct Resolver<'a, S> {
    around: &'a S,
    /// Each file is read once, so that one load sees one state of it; as many as the text names.
    files: BTreeMap<PathBuf, Result<String, String>>,
    taken: usize,
}

impl<S: Surroundings> Resolver<'_, S> {
    fn node(&mut self, node: &mut Node, cx: &mut Context<'_>) {
        match &mut node.kind {
            Kind::List(items) => items.iter_mut().for_each(|item| self.node(item, cx)),
            Kind::Map(entries) => entries
                .iter_mut()
                .for_each(|(_, value)| self.node(value, cx)),
            Kind::Scalar { text, .. } if text.contains("${") => match self.text(text, cx.base) {
                Ok(put_in) => {
                    let written = std::mem::replace(text, put_in);
                    // An escape alone hides nothing.
                    if text.replace("${", "$${") != written {
                        node.written = Some(written.into());
                    }
                }
                Err((what, hint)) => {
                    // The decoder would complain of it again.
                    node.written = Some(std::mem::take(text).into());
                    cx.refuse::<()>(node.at, what, hint);
                }
            },
            Kind::Scalar { .. } => {}
        }
    }

    fn text(&mut self, text: &str, base: &Path) -> Result<String, (String, Option<String>)> {
        let mut whole = String::with_capacity(text.len());
        for piece in pieces(text)? {
            let missing = |of: String, Missing(why): Missing| (format!("`${{{of}}}`: {why}"), None);
            match piece {
                Piece::Text(text) => whole.push_str(text),
                Piece::Variable(name) => {
                    let found = self.around.variable(name);
                    let found = found.map_err(|why| missing(format!("env:{name}"), why))?;
                    self.take(&found)?;
                    whole.push_str(&found);
                }
                Piece::File(path) => {
                    let (around, path) = (self.around, base.join(path));
                    let found = self.files.entry(path).or_insert_with_key(|path| {
                        let read = around.file(path);
                        read.map_err(|Missing(why)| format!("{} {why}", path.display()))
                    });
                    let found = found.clone();
                    let found = found.map_err(|why| (why, None))?;
                    self.take(&found)?;
                    whole.push_str(&found);
                }
            }
        }
        Ok(whole)
    }

    fn take(&mut self, found: &str) -> Result<(), (String, Option<String>)> {
        self.taken += found.len();
        match (found.len() as u64 > LONGEST, self.taken > MOST) {
            (true, _) => Err((
                format!("it stands for more than {} KiB", LONGEST / KIB),
                None,
            )),
            (_, true) => Err((
                format!(
                    "all references together stand for more than {} MiB",
                    MOST >> 20
                ),
                None,
            )),
            _ => Ok(()),
        }
    }
}

/// Takes a value apart.
fn pieces(text: &str) -> Result<Vec<Piece<'_>>, (String, Option<String>)> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        if rest[..at].ends_with('$') {
            // `$${`: one dollar goes.
            pieces.push(Piece::Text(&rest[..at - 1]));
            pieces.push(Piece::Text("${"));
            rest = &rest[at + 2..];
            continue;
        }
        pieces.push(Piece::Text(&rest[..at]));
        let Some(end) = rest[at..].find('}') else {
            let hint = "write `$${` for the characters `${`".to_owned();
            return Err(("a reference `${…` without its `}`".to_owned(), Some(hint)));
        };
        let name = &rest[at + 2..at + end];
        pieces.push(piece(name).ok_or_else(|| unknown(name))?);
        rest = &rest[at + end + 1..];
    }
    pieces.push(Piece::Text(rest));
    Ok(pieces)
}

fn piece(name: &str) -> Option<Piece<'_>> {
    match name.split_once(':')? {
        ("env", name) if is_variable(name) => Some(Piece::Variable(name)),
        ("file", path) if !path.is_empty() => Some(Piece::File(path)),
        _ => None,
    }
}

/// POSIX.1-2017, section 8.1, with letters of either case.
fn is_variable(name: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    !name.is_empty() && !name.as_bytes()[0].is_ascii_digit() && name.bytes().all(word)
}

fn unknown(name: &str) -> (String, Option<String>) {
    let short: String = name.chars().take(48).collect();
    let hint = match is_variable(name) {
        true => format!("did you mean `${{env:{short}}}`?"),
        false => "write `${env:NAME}` or `${file:PATH}`, and `$${` for the characters `${`".into(),
    };
    (format!("`${{{short}}}` stands for nothing"), Some(hint))
}

// === impl Surroundings ===

impl Surroundings for Process {
    fn variable(&self, name: &str) -> Result<String, Missing> {
        std::env::var(name).map_err(|error| {
            Missing(match error {
                std::env::VarError::NotPresent => "the environment has no such variable".to_owned(),
                std::env::VarError::NotUnicode(_) => "the variable is no text in UTF-8".to_owned(),
            })
        })
    }

    fn file(&self, path: &Path) -> Result<String, Missing> {
        let read = || {
            // Before it is opened: a pipe that nobody writes to would be waited for.
            if !std::fs::metadata(path)?.is_file() {
                return Err(std::io::Error::other("it is no regular file"));
            }
            let mut text = String::new();
            let file = std::fs::File::open(path)?;
            file.take(LONGEST + 1).read_to_string(&mut text)?;
            Ok(text)
        };
        let mut text =
            read().map_err(|error: std::io::Error| Missing(format!("cannot be read: {error}")))?;
        // Editors and `echo` end a file with a line's end that is no part of a secret.
        if text.ends_with('\n') {
            text.pop();
            if text.ends_with('\r') {
                text.pop();
            }
        }
        Ok(text)
    }
}

impl Surroundings for Nowhere {
    fn variable(&self, _: &str) -> Result<String, Missing> {
        Err(Missing("there is no environment here".to_owned()))
    }

    fn file(&self, _: &Path) -> Result<String, Missing> {
        Err(Missing("is not read here".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml;

    /// One variable, `A`.
    struct Small;

    impl Surroundings for Small {
        fn variable(&self, name: &str) -> Result<String, Missing> {
            match name {
                "A" => Ok("one".to_owned()),
                "LONG" => Ok("x".repeat(LONGEST as usize)),
                _ => Err(Missing("it is not there".to_owned())),
            }
        }

        fn file(&self, path: &Path) -> Result<String, Missing> {
            Ok(format!("<{}>", path.display()))
        }
    }

    fn resolved(value: &str) -> Result<String, String> {
        let origin = Path::new("/etc/t.yaml");
        let mut node = yaml::parse(&format!("'{value}'"), origin).expect("it is YAML");
        let mut cx = Context::new(origin);
        resolve(&mut node, &Small, &mut cx);
        match (cx.problems.first(), &node.kind) {
            (Some(problem), _) => Err(problem.to_string()),
            (None, Kind::Scalar { text, .. }) => Ok(text.clone()),
            _ => unreachable!("it is a scalar"),
        }
    }

    #[test]
    fn references_stand_for_text_within_a_value() {
        for (value, wanted) in [
            ("none", "none"),
            ("${env:A}", "one"),
            ("a ${env:A}${env:A} b", "a oneone b"),
            ("${file:k.txt}", "</etc/k.txt>"),
            ("${file:/run/k}!", "</run/k>!"),
            ("$${env:A}", "${env:A}"),
            ("$$${env:A}", "$${env:A}"),
            ("$ {env:A} $5 } {", "$ {env:A} $5 } {"),
            ("$${${env:A}}", "${one}"),
        ] {
            assert_eq!(resolved(value).as_deref(), Ok(wanted), "{value}");
        }
    }

    #[test]
    fn what_is_none_is_refused_with_its_place() {
        for (value, wanted) in [
            ("${env:B}", "/etc/t.yaml:1:1: `${env:B}`: it is not there"),
            ("${A}", "did you mean `${env:A}`?"),
            ("${env:1A}", "stands for nothing"),
            ("${file:}", "stands for nothing"),
            ("${env:A", "without its `}`"),
            ("${Env:A}", "stands for nothing"),
            ("${env:LONG}${env:A}", ""),
        ] {
            match resolved(value) {
                Err(problem) => assert!(problem.contains(wanted), "{value}: {problem}"),
                Ok(_) => assert_eq!(wanted, "", "{value}"),
            }
        }
    }

    #[test]
    fn all_of_them_are_bounded_together() {
        let origin = Path::new("t.yaml");
        let many = vec!["'${env:LONG}'"; MOST / LONGEST as usize + 1].join(", ");
        let mut node = yaml::parse(&format!("[{many}]"), origin).expect("it is YAML");
        let mut cx = Context::new(origin);
        resolve(&mut node, &Small, &mut cx);
        assert_eq!(cx.problems.len(), 1);
        assert!(cx.problems[0].to_string().contains("16 MiB"));
    }
}
