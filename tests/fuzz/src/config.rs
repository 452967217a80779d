//! Configuration and token files: any text is refused with a place, or can be explained.

use std::path::Path;

use tollgate_config::tokens::TokenFile;
use tollgate_config::{Config, Errors, HostPattern, PathPrefix, explain, match_order};

use crate::input::mix;

const HOSTS: [&str; 4] = ["", "a.example", "B.A.Example", "[::1]"];
const PATHS: [&str; 5] = ["", "/", "/a", "/a/b", "//a/../%2f"];

pub(crate) fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    // Relative paths in it begin there; nothing is read.
    let origin = Path::new("/nowhere/a.yaml");
    match Config::parse(text, origin) {
        Err(errors) => explained(&errors, text),
        Ok(config) => used(&config),
    }
    match TokenFile::parse(text, origin) {
        Err(errors) => explained(&errors, text),
        Ok(file) => {
            for token in &file.tokens {
                let expired = |time| token.expired(time);
                assert!(!expired(0) || expired(u64::MAX));
                let _ = (token.allows_model("a/b"), token.allows_task("generate"));
                assert!(!token.tenant().as_str().is_empty());
            }
        }
    }
    patterns(text);
}

fn explained(errors: &Errors, text: &str) {
    assert!(!errors.problems().is_empty());
    for problem in errors.problems() {
        let place = problem.position().expect("a problem has a place");
        assert!((1..=lines(text) + 1).contains(&place.line));
        assert!(place.column >= 1 && !problem.what().is_empty());
    }
}

/// Lines as YAML breaks them (1.2, section 5.4): a carriage return alone ends one too.
fn lines(text: &str) -> usize {
    let breaks = text.replace("\r\n", "\n");
    1 + breaks
        .chars()
        .filter(|it| matches!(it, '\n' | '\r'))
        .count()
}

fn used(config: &Config) {
    assert!(!explain(config).is_empty());
    for listener in &config.listeners {
        let order = match_order(config, &listener.name);
        for (host, path) in HOSTS.iter().flat_map(|host| PATHS.map(|path| (host, path))) {
            for one in &order {
                if let Some(rest) = one.strip(host, path) {
                    assert!(path.ends_with(rest) || rest == "/");
                }
            }
        }
    }
    for worker in &config.workers {
        assert_eq!(config.worker(&worker.name), Some(worker));
    }
}

/// A pattern, and what it is held against.
fn patterns(text: &str) {
    let mut lines = text.lines();
    let (pattern, asked) = (lines.next().unwrap_or(""), lines.next().unwrap_or(""));
    if let Ok(host) = HostPattern::parse(pattern) {
        let matched = host.matches(asked);
        assert_eq!(host.matches(&asked.to_ascii_uppercase()), matched);
        if !host.is_wildcard() {
            assert_eq!(matched, asked.eq_ignore_ascii_case(pattern));
        }
    }
    if let Ok(prefix) = PathPrefix::parse(pattern) {
        assert!(prefix.as_str().starts_with('/') && !prefix.as_str().ends_with('/'));
        if let Some(rest) = prefix.strip(asked) {
            let whole = format!("{}{rest}", prefix.as_str());
            assert!(rest.starts_with('/') && (whole == asked || rest == "/"));
        }
        let under = format!("{}/x{}", prefix.as_str(), mix(text.as_bytes()));
        assert!(
            prefix
                .strip(&under)
                .is_some_and(|rest| rest.starts_with("/x"))
        );
    }
}
