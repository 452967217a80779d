//! Texts that nobody may be shown, and what others say without them.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use serde_json::Value;

/// What stands in a secret's place.
const MASK: &str = "(masked)";
/// Bytes of the shortest that is hidden: a shorter one keeps nothing secret, and stands in any text.
const SHORTEST: usize = 4;

/// Texts that nobody may be shown.
pub struct Secrets {
    /// The longest first, so that none is cut by one that is a part of it.
    forms: Vec<String>,
}

impl Secrets {
    /// Hides these texts, and what of them is likely to be told alone: each line, such as one of a
    /// key in PEM, and each word of a single line, such as a token after `Bearer`.
    pub(crate) fn new(texts: impl IntoIterator<Item = String>) -> Self {
        let mut forms = BTreeSet::new();
        for text in texts {
            let text = text.trim();
            let single = if text.contains('\n') { "" } else { text };
            let parts = [text].into_iter().chain(text.lines());
            for part in parts.chain(single.split_whitespace()) {
                let part = part.trim();
                if part.len() >= SHORTEST {
                    // As it is, as JSON has it and as Rust does.
                    forms.insert(part.to_owned());
                    forms.insert(unquoted(&Value::from(part).to_string()));
                    forms.insert(unquoted(&format!("{part:?}")));
                }
            }
        }
        let mut forms: Vec<String> = forms.into_iter().collect();
        forms.sort_by_key(|form| Reverse(form.len()));
        Self { forms }
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
}
