//! The configuration in force, as operators may see it: without what is secret.
//!
//! The sections name files of secrets and hold none themselves. What only a component or another
//! server understands (options, headers) may hold anything: a text there is shown only where its name
//! does not say that it is a secret, and of headers none is.

use serde_json::{Value, json};
use tollgate_config::Config;

/// What stands in a secret's place.
const MASK: &str = "(masked)";

/// Members that hold what the configuration itself does not understand.
const FOREIGN: [&str; 3] = ["options", "env", "parameters"];
/// Members of which no value is shown.
const HIDDEN: [&str; 2] = ["headers", "metadata"];

/// Parts of names that say that something is a secret.
const SECRET: [&str; 12] = [
    "secret",
    "passw",
    "passphrase",
    "token",
    "apikey",
    "api-key",
    "api_key",
    "authorization",
    "credential",
    "bearer",
    "private",
    "cookie",
];
/// Names that say so in any section.
const ALWAYS: [&str; 4] = ["secret", "passw", "passphrase", "apikey"];

/// The configuration as JSON.
pub(super) fn config(config: &Config) -> Value {
    let mut told = json!(config);
    mask(&mut told, Place::Section, false);
    told
}

/// Where a member stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// In a section of ours.
    Section,
    /// In what is not ours.
    Foreign,
}

fn mask(value: &mut Value, place: Place, secret: bool) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                let name = name.to_ascii_lowercase();
                let inside = match place {
                    Place::Section if FOREIGN.contains(&name.as_str()) => Place::Foreign,
                    place => place,
                };
                // A file is named, and not what stands in it.
                let is_file = name == "file" || name.ends_with("-file") || name.ends_with("_file");
                let secret = !is_file
                    && (secret
                        || HIDDEN.contains(&name.as_str())
                        || says_so(
                            &name,
                            if place == Place::Foreign {
                                &SECRET
                            } else {
                                &ALWAYS
                            },
                        ));
                mask(value, inside, secret);
            }
        }
        Value::Array(list) => {
            for value in list {
                mask(value, place, secret);
            }
        }
        Value::String(text) if secret => MASK.clone_into(text),
        Value::String(text) => hide_user(text),
        Value::Number(_) if secret && place == Place::Foreign => *value = MASK.into(),
        Value::Number(_) | Value::Bool(_) | Value::Null => {}
    }
}

fn says_so(name: &str, words: &[&str]) -> bool {
    // How many a model may make is no secret, nor is how it tells them apart.
    let of_models =
        name.contains("tokeniz") || name.ends_with("_tokens") || name.ends_with("-tokens");
    let mut words = words.iter().filter(|word| **word != "token" || !of_models);
    words.any(|word| name.contains(word))
}

/// Takes the user and the password out of a URL (RFC 3986, section 3.2.1).
fn hide_user(text: &mut String) {
    let Some(begin) = text.find("://").map(|at| at + 3) else {
        return;
    };
    let end = text[begin..]
        .find(['/', '?', '#'])
        .map_or(text.len(), |at| begin + at);
    if let Some(at) = text[begin..end].rfind('@') {
        text.replace_range(begin..begin + at, MASK);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn secrets_are_masked_and_the_rest_is_told() {
        let text = r#"
listeners: [{ name: a, address: "127.0.0.1:8080" }]
admin: { address: "127.0.0.1:9901", tokens: operators.yaml }
tokens: { file: tokens.yaml }
plugins:
  p:
    source: "bundled:p"
    options:
      api-key: sesame-1
      nested: { auth: { Token: sesame-2, list: [{ password: sesame-3, pin_secret: 77 }] } }
      headers: { x-anything: sesame-4 }
      template: { file: chat.txt }
      max_tokens: 512
      greeting: hello
      url: "https://user:sesame-5@example.com/x@y"
workers: [{ name: w, address: "http://10.0.0.7:8000", protocol: p }]
routes: [{ name: r, frontends: [p], workers: [w] }]
"#;
        let config_read = Config::parse(text, Path::new("t.yaml")).expect("it is right");
        let told = config(&config_read);
        let whole = told.to_string();
        assert!(!whole.contains("sesame"), "{told:#}");
        let options = &told["plugins"]["p"]["options"];
        assert_eq!(options["api-key"], MASK);
        assert_eq!(options["nested"]["auth"]["list"][0]["pin_secret"], MASK);
        assert_eq!(
            options["template"]["file"]
                .as_str()
                .map(|it| it.ends_with("chat.txt")),
            Some(true)
        );
        assert_eq!(options["max_tokens"], 512);
        assert_eq!(options["greeting"], "hello");
        assert_eq!(options["url"], format!("https://{MASK}@example.com/x@y"));
        assert_eq!(told["listeners"][0]["address"], "127.0.0.1:8080");
        assert_eq!(
            told["admin"]["tokens"]
                .as_str()
                .map(|it| it.ends_with("operators.yaml")),
            Some(true)
        );
        assert_eq!(told["workers"][0]["address"], "http://10.0.0.7:8000");
    }
}
