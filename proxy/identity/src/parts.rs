//! Patterns of names that come in parts: the segments of a path, the labels of a host, the words of
//! a user's name in a cluster. `*` in place of a part stands for any one part.

/// Between two parts of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Separator {
    /// `/`, as in `spiffe://example.org/ns/*/sa/api`.
    Slash,
    /// `.`, as in `*.example.com`; case does not matter.
    Dot,
    /// `:`, as in `system:serviceaccount:team:*`.
    Colon,
}

/// A pattern of such names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parts {
    separator: Separator,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Is(String),
    Any,
}

/// What is no pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`*` can only stand for a whole part of a name")]
pub struct BadPattern;

impl Separator {
    fn char(self) -> char {
        match self {
            Self::Slash => '/',
            Self::Dot => '.',
            Self::Colon => ':',
        }
    }
}

impl Parts {
    /// Reads a pattern.
    ///
    /// # Errors
    /// When a `*` stands beside other characters of its part.
    pub fn new(pattern: &str, separator: Separator) -> Result<Self, BadPattern> {
        let part = |text: &str| match text {
            "*" => Ok(Part::Any),
            text if text.contains('*') => Err(BadPattern),
            text if separator == Separator::Dot => Ok(Part::Is(text.to_ascii_lowercase())),
            text => Ok(Part::Is(text.to_owned())),
        };
        let parts = pattern.split(separator.char()).map(part);
        Ok(Self {
            separator,
            parts: parts.collect::<Result<_, _>>()?,
        })
    }

    /// Whether a name is meant: as many parts, each the same or, for a `*`, any but an empty one.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        let mut given = name.split(self.separator.char());
        let all = self.parts.iter().all(|part| match (part, given.next()) {
            (_, None) => false,
            (Part::Any, Some(given)) => !given.is_empty(),
            (Part::Is(part), Some(given)) if self.separator == Separator::Dot => {
                part.eq_ignore_ascii_case(given)
            }
            (Part::Is(part), Some(given)) => part == given,
        });
        all && given.next().is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, separator: Separator, name: &str) -> bool {
        Parts::new(pattern, separator).unwrap().matches(name)
    }

    #[test]
    fn a_star_is_one_whole_part() {
        let slash = |pattern, name| matches(pattern, Separator::Slash, name);
        let pattern = "spiffe://example.org/ns/*/sa/api";
        assert!(slash(pattern, "spiffe://example.org/ns/team/sa/api"));
        for other in [
            "spiffe://example.org/ns//sa/api",
            "spiffe://example.org/ns/a/b/sa/api",
            "spiffe://example.org/ns/team/sa/api/",
            "spiffe://example.org/ns/team/sa",
            "spiffe://example.com/ns/team/sa/api",
            "spiffe://EXAMPLE.org/ns/team/sa/api",
            "",
        ] {
            assert!(!slash(pattern, other), "{other}");
        }
        let user = "system:serviceaccount:team:*";
        assert!(matches(
            user,
            Separator::Colon,
            "system:serviceaccount:team:a.b"
        ));
        assert!(!matches(
            user,
            Separator::Colon,
            "system:serviceaccount:other:a"
        ));
        assert!(matches("*.example.com", Separator::Dot, "A.Example.COM"));
        assert!(!matches("*.example.com", Separator::Dot, "a.b.example.com"));
        assert!(!matches("*.example.com", Separator::Dot, "example.com"));
    }

    #[test]
    fn a_star_beside_something_is_no_pattern() {
        for bad in ["a*", "*a", "a/b*/c", "**"] {
            assert_eq!(Parts::new(bad, Separator::Slash), Err(BadPattern), "{bad}");
        }
    }
}
