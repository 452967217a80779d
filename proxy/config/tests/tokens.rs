//! What a token opens.

use std::path::Path;

use tollgate_config::tokens::{TokenEntry, TokenFile};

fn entry(rest: &str) -> TokenEntry {
    let text = format!(
        "tokens: [{{ name: a, sha256: {}{rest} }}]",
        "0aF".repeat(21) + "0"
    );
    let file = TokenFile::parse(&text, Path::new("t.yaml"));
    file.unwrap_or_else(|errors| panic!("{errors}"))
        .tokens
        .remove(0)
}

#[test]
fn a_digest_is_read_in_either_case() {
    let digest = entry(", models: []").sha256;
    assert_eq!(digest.as_bytes()[..3], [0x0a, 0xf0, 0xaf]);
    assert_eq!(digest.to_string(), "0af".repeat(21) + "0");
}

#[test]
fn models_are_named_or_begun() {
    let token = entry(", models: [granite, \"org/*\"]");
    for (model, allowed) in [
        ("granite", true),
        ("granite-2", false),
        ("Granite", false),
        ("org/a", true),
        ("org", false),
        ("", false),
    ] {
        assert_eq!(token.allows_model(model), allowed, "{model}");
    }
    assert!(entry(", models: [\"*\"]").allows_model("anything"));
    assert!(!entry(", models: []").allows_model("anything"));
}

#[test]
fn tasks_are_all_or_those_listed() {
    assert!(entry(", models: []").allows_task("chat"));
    let token = entry(", models: [], tasks: [embed]");
    assert!(token.allows_task("embed"));
    assert!(!token.allows_task("chat"));
    assert!(!entry(", models: [], tasks: []").allows_task("chat"));
}

/// Names under which plugins claim what has no neutral form.
#[test]
fn tasks_that_plugins_name_can_be_listed() {
    for name in [
        "responses",
        "audio",
        "pooling",
        "classify",
        "x-v3",
        "x-config",
    ] {
        let token = entry(&format!(", models: [], tasks: [{name}]"));
        assert!(token.allows_task(name), "{name}");
        assert!(!token.allows_task("chat") && !token.allows_task("admin"));
    }
}

#[test]
fn it_is_refused_from_its_instant_on() {
    let token = entry(", models: [], expires: 2027-01-01T00:00:00Z");
    // date -u -d 2027-01-01T00:00:00Z +%s
    assert!(!token.expired(1_798_761_599));
    assert!(token.expired(1_798_761_600));
    assert!(!entry(", models: []").expired(u64::MAX));
}

#[test]
fn its_tenant_is_itself_unless_named() {
    assert_eq!(entry(", models: []").tenant().as_str(), "a");
    let token = entry(", models: [], tenant: b, priority: -1000");
    assert_eq!(
        (token.tenant().as_str(), token.priority.get()),
        ("b", -1000)
    );
}
