//! Checking JSON (RFC 8259) and finding members of an object, in one pass, without
//! building a tree.
//!
//! Strings are most of a large body (prompts), so they are scanned in blocks that the
//! compiler turns into vector instructions; UTF-8 is checked once for the whole text.
//! Nesting is bounded by [`MAX_DEPTH`]; the stack is one integer, so nothing is
//! allocated but the result. Names of members are compared after unescaping.
//!
//! Lone surrogate escapes (`\ud800`) are grammatical and pass the check; they cannot be
//! *converted* to UTF-8, see [`unescape`].

mod scan;
mod text;

use self::scan::Scanner;
pub(crate) use self::scan::{number, skip_space, string};
pub use self::text::{escape_into, unescape};

/// The deepest nesting of arrays and objects.
pub const MAX_DEPTH: u32 = 128;

/// The most members that one search reports. Two of a kind are enough to refuse a
/// body, so more are hostile.
pub const MAX_MEMBERS: usize = 4096;

/// Why a text is not the JSON that was expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message} at byte {offset}")]
pub struct JsonProblem {
    /// In bytes, from the text's beginning.
    pub offset: u64,
    /// What is wrong there.
    pub message: String,
}

/// Where a member's value lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Index into the keys that were asked for.
    pub key: usize,
    /// The value's first byte, from the text's beginning.
    pub offset: u64,
    /// The value's length in bytes, without space around it.
    pub len: u64,
}

/// Finds members of a top-level object by name, in the order in which they stand,
/// duplicates included. The whole text is checked to be one object with nothing but
/// space around it.
///
/// # Errors
/// It is not; or more than [`MAX_MEMBERS`] are found.
pub fn members<K: AsRef<str>>(text: &[u8], keys: &[K]) -> Result<Vec<Member>, JsonProblem> {
    let mut scanner = Scanner::new(text)?;
    let mut found = Vec::new();
    scanner.members(|name, offset, len| {
        for (key, _) in keys
            .iter()
            .enumerate()
            .filter(|(_, key)| name.is(key.as_ref()))
        {
            if found.len() == MAX_MEMBERS {
                return Err("too many members of the names asked for");
            }
            found.push(Member { key, offset, len });
        }
        Ok(())
    })?;
    Ok(found)
}

/// The most bytes of names that [`object`] reports.
pub const MAX_NAMES: usize = 64 << 10;

/// A member of an object, by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// Unescaped.
    pub name: String,
    /// The value's first byte, from the text's beginning.
    pub offset: u64,
    /// The value's length in bytes, without space around it.
    pub len: u64,
}

/// All members of a top-level object, in the order in which they stand, duplicates included;
/// checked as by [`members`]. A name that is no text (a lone surrogate) is nobody's, and is left
/// out.
///
/// # Errors
/// It is not one object; or it has more than [`MAX_MEMBERS`] members, or more than [`MAX_NAMES`]
/// bytes of names.
pub fn object(text: &[u8]) -> Result<Vec<Named>, JsonProblem> {
    let mut scanner = Scanner::new(text)?;
    let (mut found, mut bytes) = (Vec::new(), 0);
    scanner.members(|name, offset, len| {
        if found.len() == MAX_MEMBERS {
            return Err("too many members");
        }
        let Some(name) = name.text() else {
            return Ok(());
        };
        bytes += name.len();
        if bytes > MAX_NAMES {
            return Err("the members' names are too long");
        }
        found.push(Named { name, offset, len });
        Ok(())
    })?;
    Ok(found)
}

/// Checks that a text is one JSON value with nothing but space around it.
///
/// # Errors
/// It is not.
pub fn validate(text: &[u8]) -> Result<(), JsonProblem> {
    let mut scanner = Scanner::new(text)?;
    scanner.document()
}

#[cfg(test)]
mod tests;
