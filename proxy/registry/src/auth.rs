//! What a registry asks of who asks: challenges (RFC 9110 section 11.6.1), of which `Basic` and
//! `Bearer` are known.

use std::collections::BTreeMap;

/// One challenge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// A name and a password with each request.
    Basic,
    /// A token, from where it says.
    Bearer {
        realm: String,
        service: Option<String>,
        scope: Option<String>,
    },
}

/// The challenges of a `WWW-Authenticate` field that are known here.
pub(crate) fn challenges(field: &str) -> Vec<Challenge> {
    let mut found = Vec::new();
    let mut rest = field;
    while let Some((scheme, parameters, behind)) = next(rest) {
        rest = behind;
        if scheme.eq_ignore_ascii_case("basic") {
            found.push(Challenge::Basic);
        } else if scheme.eq_ignore_ascii_case("bearer")
            && let Some(realm) = parameters.get("realm")
        {
            found.push(Challenge::Bearer {
                realm: realm.clone(),
                service: parameters.get("service").cloned(),
                scope: parameters.get("scope").cloned(),
            });
        }
    }
    found
}

/// The first challenge: its scheme, its parameters, and what comes behind.
fn next(field: &str) -> Option<(&str, BTreeMap<String, String>, &str)> {
    let field = field.trim_start_matches([' ', '\t', ',']);
    let end = field.find([' ', '\t', ',']).unwrap_or(field.len());
    let (scheme, mut rest) = field.split_at(end);
    if scheme.is_empty() {
        return None;
    }
    let mut parameters = BTreeMap::new();
    loop {
        let trimmed = rest.trim_start_matches([' ', '\t', ',']);
        let name = trimmed
            .find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')))
            .unwrap_or(trimmed.len());
        // Without an equals sign it is the next challenge's scheme.
        let Some(value) = trimmed[name..].trim_start().strip_prefix('=') else {
            return Some((scheme, parameters, trimmed));
        };
        let (value, behind) = word(value.trim_start());
        parameters.insert(trimmed[..name].to_ascii_lowercase(), value);
        rest = behind;
    }
}

/// A token or a quoted string, and what comes behind.
fn word(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(chars.next().map(|(_, c)| c)),
            c => value.push(c),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_read() {
        let bearer = Challenge::Bearer {
            realm: "https://auth.example.com/token".to_owned(),
            service: Some("r.example.com".to_owned()),
            scope: Some("repository:a/b:pull,push".to_owned()),
        };
        let field = "Bearer realm=\"https://auth.example.com/token\",service=\"r.example.com\",\
                     scope=\"repository:a/b:pull,push\"";
        assert_eq!(challenges(field), std::slice::from_ref(&bearer));
        let several = format!("Negotiate abc, {field}, Basic realm=\"x, \\\"y\"");
        assert_eq!(challenges(&several), [bearer, Challenge::Basic]);
        assert_eq!(challenges("basic"), [Challenge::Basic]);
        assert_eq!(challenges("Bearer scope=\"x\""), []);
        for odd in [
            "",
            ",,",
            "=",
            "Bearer realm=\"",
            "Basic realm",
            "\"",
            "Bearer realm=é=\\",
        ] {
            let _ = challenges(odd);
        }
    }
}
