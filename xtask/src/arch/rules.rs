//! What must not stand in the sources, and where.

use super::source::Source;

/// The one file in which `unsafe` may stand: it loads machine code that we compiled before.
const UNSAFE_FILE: &str = "proxy/plugin/src/precompiled.rs";

/// The one file of the host that may name protocols: it lists the bundled plugins.
const BUNDLED_FILE: &str = "proxy/src/bundled.rs";

/// Names of serving protocols and their servers.
const PROTOCOLS: [&str; 8] = [
    "openai", "vllm", "caikit", "tgis", "fmaas", "triton", "kserve", "openvino",
];

/// Uses of wasmtime in the host outside its one part.
pub(super) fn wasmtime(sources: &[Source]) -> Vec<String> {
    host(sources)
        .filter(|source| !source.path.starts_with("proxy/plugin/"))
        .flat_map(|source| found(source, "wasmtime"))
        .collect()
}

/// Names of protocols anywhere in the host's sources, comments and tests included.
pub(super) fn protocols(sources: &[Source]) -> Vec<String> {
    let mut violations = Vec::new();
    for source in host(sources).filter(|source| source.path != BUNDLED_FILE) {
        for (at, line) in source.text.lines().enumerate() {
            let line = line.to_lowercase();
            for name in PROTOCOLS.iter().filter(|name| line.contains(*name)) {
                violations.push(format!("{}:{}: {name}", source.path, at + 1));
            }
        }
    }
    violations
}

/// `unsafe` outside its file; and crates of the host that do not forbid it at their root. The
/// crate with that file cannot forbid, since a forbidden lint can be lifted nowhere; there the
/// workspace's `deny` holds, and may be lifted in that file alone.
pub(super) fn unsafety(sources: &[Source]) -> Vec<String> {
    let mut violations = Vec::new();
    for source in host(sources).filter(|source| source.path != UNSAFE_FILE) {
        violations.extend(found(source, "unsafe"));
        let is_root = source.path.ends_with("/src/lib.rs") || source.path.ends_with("/src/main.rs");
        let whole = squeezed(&source.code);
        if source.path.starts_with("proxy/plugin/") {
            for lifted in ["allow(unsafe_code", "expect(unsafe_code"] {
                if whole.contains(lifted) {
                    violations.push(format!("{}: {lifted})", source.path));
                }
            }
        } else if is_root && !whole.contains("#![forbid(unsafe_code)]") {
            violations.push(format!("{}: no #![forbid(unsafe_code)]", source.path));
        }
    }
    violations
}

/// Sleeping threads in tests, and in the host's own code.
pub(super) fn sleeps(sources: &[Source]) -> Vec<String> {
    sources
        .iter()
        .filter(|source| !source.path.starts_with("xtask/"))
        .flat_map(|source| found(source, "thread::sleep"))
        .collect()
}

/// Files that do not begin with the sentence that says what they are for.
pub(super) fn headers(sources: &[Source]) -> Vec<String> {
    sources
        .iter()
        .filter(|source| source.path.contains("/src/") && !source.is_test())
        .filter(|source| !source.text.trim_start().starts_with("//!"))
        .map(|source| format!("{}: begins without a module doc", source.path))
        .collect()
}

fn host(sources: &[Source]) -> impl Iterator<Item = &Source> {
    sources
        .iter()
        .filter(|source| source.path.starts_with("proxy/"))
}

fn found(source: &Source, word: &str) -> Vec<String> {
    source
        .lines_with(word)
        .map(|line| format!("{}:{line}: {word}", source.path))
        .collect()
}

fn squeezed(code: &str) -> String {
    code.chars().filter(|c| !c.is_whitespace()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(path: &str, text: &str) -> [Source; 1] {
        [Source::new(path, text)]
    }

    #[test]
    fn wasmtime_belongs_to_one_part() {
        let text = "use wasmtime::Engine;";
        assert_eq!(
            wasmtime(&one("proxy/exchange/src/a.rs", text)),
            ["proxy/exchange/src/a.rs:1: wasmtime"]
        );
        assert!(wasmtime(&one("proxy/plugin/src/a.rs", text)).is_empty());
        assert!(wasmtime(&one("proxy/src/a.rs", "// as wasmtime does")).is_empty());
    }

    #[test]
    fn protocols_are_found_in_any_case_and_in_comments() {
        for text in [
            "\n// as OpenAI does",
            "\nlet x = \"vllm:x\";",
            "\nstruct TgisHead;",
        ] {
            assert_eq!(protocols(&one("proxy/edge/src/a.rs", text)).len(), 1);
            assert!(protocols(&one("proxy/src/bundled.rs", text)).is_empty());
            assert!(protocols(&one("plugins/a/src/a.rs", text)).is_empty());
        }
    }

    #[test]
    fn unsafe_is_found_in_code_only() {
        let block = "//! Doc.\nunsafe { f() }";
        assert_eq!(unsafety(&one("proxy/plugin/src/a.rs", block)).len(), 1);
        assert!(unsafety(&one(UNSAFE_FILE, block)).is_empty());
        assert!(unsafety(&one("proxy/wire/src/a.rs", "// unsafe")).is_empty());
    }

    #[test]
    fn roots_forbid_unsafe_code() {
        let root = "proxy/wire/src/lib.rs";
        assert_eq!(unsafety(&one(root, "//! Doc.")).len(), 1);
        assert_eq!(unsafety(&one(root, "// #![forbid(unsafe_code)]")).len(), 1);
        assert!(unsafety(&one(root, "#![forbid( unsafe_code )]")).is_empty());
        let lifted = "#![expect(unsafe_code, reason = \"x\")]";
        assert_eq!(unsafety(&one("proxy/plugin/src/a.rs", lifted)).len(), 1);
    }

    #[test]
    fn sleeping_threads_are_found() {
        let text = "std::thread::sleep(d);";
        assert_eq!(sleeps(&one("tests/src/a.rs", text)).len(), 1);
        assert!(sleeps(&one("tests/src/a.rs", "tokio::time::sleep(d)")).is_empty());
    }

    #[test]
    fn files_without_a_doc_are_found() {
        assert_eq!(headers(&one("proxy/src/a.rs", "use x;")).len(), 1);
        assert!(headers(&one("proxy/src/a.rs", "//! For x.")).is_empty());
        assert!(headers(&one("proxy/x/tests/a.rs", "use x;")).is_empty());
    }
}
