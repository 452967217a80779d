//! What is wrong with a configuration, said so that a person can mend it.

use std::fmt;
use std::path::{Path, PathBuf};

/// Where a node begins: both count from 1, columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    file: PathBuf,
    at: Option<Position>,
    what: String,
    hint: Option<String>,
}

impl Problem {
    pub(crate) fn new(file: &Path, at: Option<Position>, what: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            at,
            what: what.into(),
            hint: None,
        }
    }

    pub(crate) fn hint(mut self, hint: impl Into<Option<String>>) -> Self {
        self.hint = hint.into();
        self
    }

    /// The file that has to be changed.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Where in the file; none when the file as a whole is at fault.
    pub fn position(&self) -> Option<Position> {
        self.at
    }

    /// What is wrong, without file and position.
    pub fn what(&self) -> &str {
        &self.what
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file.display())?;
        if let Some(Position { line, column }) = self.at {
            write!(f, "{line}:{column}:")?;
        }
        write!(f, " {}", self.what)?;
        match &self.hint {
            Some(hint) => write!(f, " — {hint}"),
            None => Ok(()),
        }
    }
}

/// Everything that is wrong, in the order of the files' lines; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Errors(Vec<Problem>);

impl Errors {
    /// `Ok` when there is nothing to complain about.
    pub(crate) fn check(mut problems: Vec<Problem>) -> Result<(), Self> {
        if problems.is_empty() {
            return Ok(());
        }
        problems.sort_by(|a, b| (&a.file, a.at).cmp(&(&b.file, b.at)));
        problems.dedup();
        Err(Self(problems))
    }

    /// The problems, at least one.
    pub fn problems(&self) -> &[Problem] {
        &self.0
    }
}

impl From<Problem> for Errors {
    fn from(problem: Problem) -> Self {
        Self(vec![problem])
    }
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Errors {}

/// The nearest of the known words, as a question; none when nothing is near.
pub(crate) fn nearest<'a>(found: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let near = known.into_iter().filter(|word| is_near(found, word));
    let nearest = near.min_by_key(|word| strsim::damerau_levenshtein(found, word))?;
    Some(format!("did you mean `{nearest}`?"))
}

/// The nearest word, or else the list of what is known.
///
/// `kind` is the plural that the list is headed with ("keys", "workers").
pub(crate) fn suggest<'a>(
    found: &str,
    kind: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    let known: Vec<&str> = known.into_iter().collect();
    let list = || match known.as_slice() {
        [] => format!("no {kind} are defined"),
        known => format!("known {kind}: {}", known.join(", ")),
    };
    Some(nearest(found, known.iter().copied()).unwrap_or_else(list))
}

/// A third of the longer word may differ: with more, a suggestion would be a guess.
pub(crate) fn is_near(found: &str, known: &str) -> bool {
    let longer = found.chars().count().max(known.chars().count());
    strsim::damerau_levenshtein(found, known) <= longer / 3
}
