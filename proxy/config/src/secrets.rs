//! Texts that nobody may be shown, and what others say without them.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use serde_json::Value;

/// What stands in a secret's place.
const MASK: &str = "(masked)";
/// Bytes of the shortest that is hidden: a shorter one keeps nothing secret, and stands in any text.
const SHORTEST: usize = 4;
/// The same of one line of several: a template has lines that are words of any sentence.
const SHORTEST_LINE: usize = 8;
/// Words of a text that may be told alone: what has more is a sentence or a program.
const MOST_WORDS: usize = 4;

/// Texts that nobody may be shown.
pub struct Secrets {
    /// The longest first, so that none is cut by one that is a part of it.
    forms: Vec<String>,
}

impl Secrets {
    /// Hides these texts, and what of them is likely to be told alone: each line, such as one of a
    /// key in PEM, and each word of a single short one, such as a token after `Bearer`.
    pub(crate) fn new(texts: impl IntoIterator<Item = String>) -> Self {
        let mut forms = BTreeSet::new();
        for text in texts {
            let text = text.trim();
            let long = text.lines().map(str::trim);
            let long = long.filter(|line| line.len() >= SHORTEST_LINE);
            let words = match text.contains('\n') || text.split_whitespace().count() > MOST_WORDS {
                true => "",
                false => text,
            };
            for part in [text]
                .into_iter()
                .chain(long)
                .chain(words.split_whitespace())
            {
                if part.len() >= SHORTEST {
                    // As it is, as JSON has it and as Rust does.
                    forms.insert(part.to_owned());
                    forms.insert(unquoted(&Value::from(part).to_string()));
                    forms.insert(unquoted(&format!("{part:?}")));
                }
            }
        }
        Self::of(forms)
    }

    fn of(forms: BTreeSet<String>) -> Self {
        let mut forms: Vec<String> = forms.into_iter().collect();
        forms.sort_by_key(|form| Reverse(form.len()));
        Self { forms }
    }

    /// Hides what others do, too.
    #[must_use]
    pub fn and(self, others: Self) -> Self {
        Self::of(self.forms.into_iter().chain(others.forms).collect())
    }

    /// Whether there is nothing to be hidden.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.forms.is_empty()
    }

    /// What somebody says, without them.
    #[must_use]
    pub fn masked(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for form in &self.forms {
            if text.contains(form.as_str()) {
                text = text.replace(form.as_str(), MASK);
            }
        }
        text
    }
}

fn unquoted(quoted: &str) -> String {
    quoted[1..quoted.len() - 1].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_hidden_however_it_is_quoted() {
        let secrets = Secrets::new([
            "Bearer sword\"fish\n".to_owned(),
            "line-one\nline-two".to_owned(),
            "abc".to_owned(),
        ]);
        for (said, shown) in [
            ("no `Bearer sword\"fish`", "no `(masked)`"),
            ("no sword\"fish", "no (masked)"),
            (r#"no {"a":"sword\"fish"}"#, r#"no {"a":"(masked)"}"#),
            (r"no line-one\nline-two", "no (masked)"),
            ("no line-two.", "no (masked)."),
            ("abc and nothing else", "abc and nothing else"),
        ] {
            assert_eq!(secrets.masked(said), shown);
        }
    }

    #[test]
    fn words_of_a_sentence_are_no_secrets() {
        let template = "{{ raise('Roles must alternate, as users and assistants do') }}";
        let secrets = Secrets::new([template.to_owned(), "user\n{{ content }}".to_owned()]);
        let said = "Roles must alternate: no user spoke";
        assert_eq!(secrets.masked(said), said);
        assert_eq!(secrets.masked(template), MASK);
        assert_eq!(secrets.masked("in {{ content }}"), "in (masked)");
    }

    #[test]
    fn secrets_of_several_are_hidden_the_longest_first() {
        let of = |text: &str| Secrets::new([text.to_owned()]);
        assert!(of("abc").is_empty() && of("abc").and(of("")).is_empty());
        let secrets = of("fish").and(of("swordfish"));
        assert_eq!(secrets.masked("fish, swordfish"), "(masked), (masked)");
    }
}
