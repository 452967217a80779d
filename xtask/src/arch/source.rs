//! The Rust files of the repository, and their code without comments and literals.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// One file.
pub(super) struct Source {
    /// Relative to the repository, with forward slashes.
    pub(super) path: String,
    pub(super) text: String,
    /// As `text`, byte for byte, but comments, strings and characters are blank.
    pub(super) code: String,
}

impl Source {
    pub(super) fn new(path: &str, text: &str) -> Self {
        Self {
            path: path.to_owned(),
            code: code(text),
            text: text.to_owned(),
        }
    }

    /// Lines of code in which a word stands, counted from 1.
    pub(super) fn lines_with(&self, word: &str) -> impl Iterator<Item = usize> {
        self.code
            .lines()
            .enumerate()
            .filter(move |(_, line)| has_word(line, word))
            .map(|(at, _)| at + 1)
    }

    /// Whether it is a test: below a folder `tests`, or a sibling file whose name ends so.
    pub(super) fn is_test(&self) -> bool {
        self.path.starts_with("tests/")
            || self.path.contains("/tests/")
            || self.path.ends_with("tests.rs")
    }
}

/// Reads every Rust file of the folders that hold ours.
///
/// # Errors
/// When a file or folder cannot be read.
pub(super) fn load(root: &Path) -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    for folder in ["plugins", "proxy", "tests", "wit", "xtask"] {
        collect(root, &root.join(folder), &mut sources)?;
    }
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(sources)
}

fn collect(root: &Path, folder: &Path, sources: &mut Vec<Source>) -> Result<()> {
    let entries = fs::read_dir(folder).with_context(|| format!("{}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        let hidden = path
            .file_name()
            .is_none_or(|name| name == "target" || name.as_encoded_bytes().starts_with(b"."));
        if path.is_dir() {
            if !hidden {
                collect(root, &path, sources)?;
            }
        } else if path.extension().is_some_and(|end| end == "rs") {
            let text = fs::read_to_string(&path).with_context(|| format!("{}", path.display()))?;
            let relative = path.strip_prefix(root).unwrap_or(&path);
            sources.push(Source::new(&relative.to_string_lossy(), &text));
        }
    }
    Ok(())
}

/// Whether an identifier stands in a line, as a whole word. A `::` in it may stand for itself.
fn has_word(line: &str, word: &str) -> bool {
    let part = |byte: Option<&u8>| byte.is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_');
    line.match_indices(word).any(|(at, _)| {
        let bytes = line.as_bytes();
        !part(at.checked_sub(1).and_then(|before| bytes.get(before)))
            && !part(bytes.get(at + word.len()))
    })
}

/// Blanks comments (nested ones too), strings (raw ones too) and characters; newlines stay.
fn code(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let end = literal(bytes, at).unwrap_or(at);
        if end == at {
            out.push(bytes[at]);
            at += 1;
        } else {
            let blank = |byte: &u8| if *byte == b'\n' { b'\n' } else { b' ' };
            out.extend(bytes[at..end.min(bytes.len())].iter().map(blank));
            at = end;
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Where the comment or literal that begins here ends, if one does.
fn literal(bytes: &[u8], at: usize) -> Option<usize> {
    let rest = &bytes[at..];
    if rest.starts_with(b"//") {
        return Some(at + rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len()));
    }
    if rest.starts_with(b"/*") {
        let (mut depth, mut end) = (1, 2);
        while depth > 0 && end < rest.len() {
            match &rest[end..] {
                [b'/', b'*', ..] => (depth, end) = (depth + 1, end + 2),
                [b'*', b'/', ..] => (depth, end) = (depth - 1, end + 2),
                _ => end += 1,
            }
        }
        return Some(at + end);
    }
    if rest.starts_with(b"\"") {
        return Some(at + quoted(rest, b'"'));
    }
    if rest.starts_with(b"'") {
        // A character, not a lifetime: closed after one character, or escaped.
        let escaped = rest.get(1) == Some(&b'\\');
        let closes = rest.iter().take(6).skip(2).position(|b| *b == b'\'');
        let narrow = closes.is_some_and(|n| n == 0 || !rest[1].is_ascii());
        return (escaped || narrow).then(|| at + quoted(rest, b'\''));
    }
    let starts_word = at == 0 || !(bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_');
    let raw = rest
        .strip_prefix(b"br")
        .or_else(|| rest.strip_prefix(b"cr"))
        .or_else(|| rest.strip_prefix(b"r"))?;
    let hashes = raw.iter().take_while(|b| **b == b'#').count();
    if !starts_word || raw.get(hashes) != Some(&b'"') {
        return None;
    }
    let mut close = vec![b'"'];
    close.resize(hashes + 1, b'#');
    let body = bytes.len() - raw.len() + hashes + 1;
    let length = bytes[body..]
        .windows(close.len())
        .position(|window| window == close)
        .map_or(bytes.len() - body, |found| found + close.len());
    Some(body + length)
}

/// Length of a quoted literal with backslash escapes, its quotes included.
fn quoted(bytes: &[u8], quote: u8) -> usize {
    let mut end = 1;
    while end < bytes.len() {
        match bytes[end] {
            b'\\' => end += 2,
            byte if byte == quote => return end + 1,
            _ => end += 1,
        }
    }
    bytes.len()
}

/// A report on file lengths. It is no check: a long file may be right, but wants a look.
pub(super) fn lengths(sources: &[Source]) -> String {
    const LONG: usize = 500;
    let mut files: Vec<(usize, &str)> = sources
        .iter()
        .filter(|source| !source.is_test())
        .map(|source| (source.text.lines().count(), source.path.as_str()))
        .collect();
    files.sort_unstable_by(|a, b| b.cmp(a));
    let Some(median) = files.get(files.len() / 2) else {
        return String::new();
    };
    let mut report = format!(
        "  {} files outside tests, {} lines; median {}, 90th percentile {}\n",
        files.len(),
        files.iter().map(|(lines, _)| lines).sum::<usize>(),
        median.0,
        files[files.len() / 10].0,
    );
    for (lines, path) in files.iter().take_while(|(lines, _)| *lines > LONG) {
        let _ = writeln!(report, "  long: {path} has {lines} lines");
    }
    report
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_blank_and_lines_stay() {
        let cases = [
            ("a // unsafe\nb", "a          \nb"),
            ("a /* x /* unsafe */ y */ b", "a                        b"),
            (r#"a "un\"safe" b"#, "a            b"),
            ("a r#\"un\"safe\"# b", "a              b"),
            ("a br\"x\" b", "a       b"),
            ("'a' 'b", "    'b"),
            (r"'\'' x", "     x"),
            ("fn f<'a>(x: &'a str) {}", "fn f<'a>(x: &'a str) {}"),
            ("r#type var\"x\"", "r#type var   "),
        ];
        for (text, expected) in cases {
            assert_eq!(code(text), expected, "{text}");
        }
    }

    #[test]
    fn words_are_whole() {
        assert!(has_word("unsafe {", "unsafe"));
        assert!(has_word("x = unsafe{}", "unsafe"));
        assert!(!has_word("unsafe_code", "unsafe"));
        assert!(!has_word("my_unsafe", "unsafe"));
        assert!(has_word("std::thread::sleep(x)", "thread::sleep"));
    }
}
