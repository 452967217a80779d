//! Which route a request reaches: by what routes say, whatever their order in the file.

use std::path::Path;

use proptest::prelude::*;
use tollgate_config::{Config, HostPattern, PathPrefix, match_order};

fn config(routes: &[(Option<&str>, Option<&str>)]) -> Config {
    let mut text = "\
listeners: [{ name: l, address: \"127.0.0.1:0\" }]
plugins: { p: { source: \"bundled:p\" } }
workers: [{ name: w, address: \"component:p\" }]
routes:
"
    .to_owned();
    for (host, prefix) in routes {
        let name = name(*host, *prefix);
        text += &format!("  - {{ name: {name}, frontends: [p], workers: [w], auth: open");
        text += &host
            .map(|host| format!(", hosts: [\"{host}\"]"))
            .unwrap_or_default();
        text += &prefix
            .map(|prefix| format!(", prefix: {prefix}"))
            .unwrap_or_default();
        text += " }\n";
    }
    Config::parse(&text, Path::new("a.yaml")).unwrap_or_else(|errors| panic!("{errors}"))
}

fn name(host: Option<&str>, prefix: Option<&str>) -> String {
    let name = format!("r{}-{}", host.unwrap_or("any"), prefix.unwrap_or("none"));
    name.replace('*', "star").replace('/', "_")
}

fn reached(config: &Config, host: &str, path: &str) -> Option<(String, String)> {
    match_order(config, &config.listeners[0].name)
        .iter()
        .find_map(|m| Some((m.route.name.to_string(), m.strip(host, path)?.to_owned())))
}

const ROUTES: [(Option<&str>, Option<&str>); 9] = [
    (None, None),
    (None, Some("/a")),
    (None, Some("/a/b")),
    (Some("*.com"), None),
    (Some("*.example.com"), None),
    (Some("*.example.com"), Some("/a")),
    (Some("x.example.com"), Some("/a")),
    (Some("x.example.com"), Some("/a/b")),
    (Some("y.example.com"), None),
];

#[test]
fn the_most_particular_route_is_reached() {
    let config = config(&ROUTES);
    for (host, path, route, stripped) in [
        (
            "x.example.com",
            "/a/b/c",
            (Some("x.example.com"), Some("/a/b")),
            "/c",
        ),
        (
            "x.example.com",
            "/a/bc",
            (Some("x.example.com"), Some("/a")),
            "/bc",
        ),
        (
            "x.example.com",
            "/a",
            (Some("x.example.com"), Some("/a")),
            "/",
        ),
        // The exact host has nothing for this path; the wildcard above it has.
        ("x.example.com", "/c", (Some("*.example.com"), None), "/c"),
        ("y.example.com", "/a", (Some("y.example.com"), None), "/a"),
        (
            "z.y.example.com",
            "/a/b",
            (Some("*.example.com"), Some("/a")),
            "/b",
        ),
        ("example.com", "/a", (Some("*.com"), None), "/a"),
        ("com", "/a/b", (None, Some("/a/b")), "/"),
        ("elsewhere.org", "/ab", (None, None), "/ab"),
    ] {
        let expected = (name(route.0, route.1), stripped.to_owned());
        assert_eq!(reached(&config, host, path), Some(expected), "{host}{path}");
    }
}

proptest! {
    #[test]
    fn the_order_in_the_file_does_not_matter(
        shuffled in Just(ROUTES.to_vec()).prop_shuffle(),
        host in "[xyz]\\.(y\\.)?(example\\.)?(com|org)",
        path in "(/[abc]){1,3}",
    ) {
        prop_assert_eq!(
            reached(&config(&shuffled), &host, &path),
            reached(&config(&ROUTES), &host, &path)
        );
    }

    #[test]
    fn a_prefix_is_whole_segments(prefix in "(/[ab]{1,2}){1,3}", rest in "(/[ab]{0,2}){0,3}", more in "[ab]{1,2}") {
        let parsed = PathPrefix::parse(&prefix).expect("a prefix");
        let whole = format!("{prefix}{rest}");
        let left = if rest.is_empty() { "/" } else { rest.as_str() };
        prop_assert_eq!(parsed.strip(&whole), Some(left));
        let longer = format!("{}{}", prefix, more);
        prop_assert_eq!(parsed.strip(&longer), None);
    }

    #[test]
    fn any_host_can_be_held_against_a_pattern(host in any::<String>()) {
        for pattern in ["*.example.com", "example.com", "*.é"] {
            if let Ok(pattern) = HostPattern::parse(pattern) {
                pattern.matches(&host);
            }
        }
    }
}

#[test]
fn a_wildcard_needs_a_label() {
    let pattern = HostPattern::parse("*.Example.com").expect("a pattern");
    for (host, matches) in [
        ("a.example.com", true),
        ("a.b.EXAMPLE.com.", true),
        ("example.com", false),
        (".example.com", false),
        ("aexample.com", false),
        ("a.example.com.org", false),
        ("é.example.com", true),
        ("", false),
    ] {
        assert_eq!(pattern.matches(host), matches, "{host}");
    }
}
