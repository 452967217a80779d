//! What is never written down: credentials, by the names of what holds them.
//!
//! A name is of a secret when one of its words is: `authorization`, `x-api-key`, `sessionToken`.
//! What merely counts such things is none: `max_tokens`, `token_ids`, `tokenizer`.

use serde_json::Value;

/// What stands in a secret's place.
pub const REDACTED: &str = "(redacted)";

/// Words that make a name a secret's.
const WORDS: [&str; 16] = [
    "apikey",
    "auth",
    "authentication",
    "authorization",
    "bearer",
    "cookie",
    "credential",
    "credentials",
    "jwt",
    "passphrase",
    "passwd",
    "password",
    "secret",
    "session",
    "signature",
    "token",
];

/// Words before `key` that make it a secret's.
const KEYS: [&str; 6] = ["access", "api", "client", "private", "secret", "signing"];

/// Whether what has this name is a secret.
#[must_use]
pub fn is_secret(name: &str) -> bool {
    let words = words(name);
    let mut before = "";
    for word in &words {
        if WORDS.contains(&word.as_str()) || (word == "key" && KEYS.contains(&before)) {
            return true;
        }
        before = word;
    }
    false
}

/// A name's words, lower case: `X-Api-Key`, `api_key` and `apiKey` have the same.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut lower = false;
    for c in name.chars() {
        if !c.is_ascii_alphanumeric() {
            words.push(String::new());
            lower = false;
            continue;
        }
        if c.is_ascii_uppercase() && lower {
            words.push(String::new());
        }
        lower = !c.is_ascii_uppercase();
        let word = words.last_mut().expect("there is one");
        word.push(c.to_ascii_lowercase());
    }
    words.retain(|word| !word.is_empty());
    words
}

/// A header's value, if its name allows it.
#[must_use]
pub fn header<'a>(name: &str, value: &'a str) -> &'a str {
    match is_secret(name) {
        true => REDACTED,
        false => value,
    }
}

/// A query without the values of what is named as a secret.
#[must_use]
pub fn query(query: &str) -> String {
    let pairs = query.split('&').map(|pair| match pair.split_once('=') {
        Some((name, _)) if is_secret(name) => format!("{name}={REDACTED}"),
        _ => pair.to_owned(),
    });
    pairs.collect::<Vec<_>>().join("&")
}

/// A path without the secrets of the query that follows it.
#[must_use]
pub fn path(path: &str) -> String {
    match path.split_once('?') {
        Some((path, query)) => format!("{path}?{}", self::query(query)),
        None => path.to_owned(),
    }
}

/// Options, which are JSON, without the texts of what is named as a secret. What is no JSON is
/// left out as a whole.
#[must_use]
pub fn options(options: &str) -> String {
    if options.trim().is_empty() {
        return String::new();
    }
    match serde_json::from_str::<Value>(options) {
        Ok(mut value) => {
            clean(&mut value);
            value.to_string()
        }
        Err(_) => REDACTED.to_owned(),
    }
}

fn clean(value: &mut Value) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                match member {
                    Value::String(text) if is_secret(name) => REDACTED.clone_into(text),
                    member => clean(member),
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(clean),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_told_by_their_names() {
        for name in [
            "authorization",
            "Proxy-Authorization",
            "cookie",
            "set-cookie",
            "x-api-key",
            "apiKey",
            "api_key",
            "x-auth-token",
            "hfToken",
            "client-secret",
            "access_key",
            "session",
            "X-Amz-Signature",
        ] {
            assert!(is_secret(name), "{name}");
        }
        for name in [
            "max_tokens",
            "maxTokens",
            "token_ids_count_tokens",
            "tokenizer",
            "content-type",
            "key",
            "prompt-cache-key",
            "x-request-id",
            "author",
        ] {
            let counts = name.contains("token_ids");
            assert_eq!(is_secret(name), counts, "{name}");
        }
    }

    #[test]
    fn their_values_do_not_stand_in_what_is_written() {
        assert_eq!(header("cookie", "a=b"), REDACTED);
        assert_eq!(header("accept", "a"), "a");
        assert_eq!(
            path("/v1?model=m&api_key=s3cret&x"),
            "/v1?model=m&api_key=(redacted)&x"
        );
        assert_eq!(path("/v1"), "/v1");
        let cleaned = options(r#"{"a": [{"password": "s3cret"}], "max_tokens": 3, "token": null}"#);
        assert_eq!(
            cleaned,
            r#"{"a":[{"password":"(redacted)"}],"max_tokens":3,"token":null}"#
        );
        assert_eq!(options("s3cret"), REDACTED);
        assert_eq!(options(" "), "");
    }
}
