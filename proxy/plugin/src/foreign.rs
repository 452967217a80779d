//! What a file is that is no component, and what to do about it.

/// `\0asm`, then version and layer: 13 and 1 are a component's.
const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";
const MODULE: &[u8] = b"\0asm\x01\0\0\0";

/// What files begin with, what they are then, and what to do.
const KINDS: [(&[u8], &str); 12] = [
    (
        MODULE,
        "it is a core module: make a component of it (`wasm-tools component new`, or build it as \
         the guide for plugins says)",
    ),
    (
        b"\0asm",
        "it is WebAssembly of another version of the binary format: build it with tools of today",
    ),
    (b"\x1f\x8b", "it is compressed by gzip: unpack it (gunzip)"),
    (
        b"\x28\xb5\x2f\xfd",
        "it is compressed by zstd: unpack it (zstd -d)",
    ),
    (b"BZh", "it is compressed by bzip2: unpack it (bunzip2)"),
    (b"\xfd7zXZ", "it is compressed by xz: unpack it (unxz)"),
    (
        b"PK\x03\x04",
        "it is a zip archive: take the component out of it",
    ),
    (
        b"\x7fELF",
        "it is a native or precompiled binary (ELF): only a component can be sandboxed; build for \
         a wasm32 target, and let the proxy compile it",
    ),
    (
        b"BC\xc0\xde",
        "it is LLVM bitcode: link it to WebAssembly first",
    ),
    (
        b"{",
        "it is JSON, perhaps the manifest of an artefact in its place: pull the component itself \
         (`tollgate plugin pull`)",
    ),
    (
        b"<",
        "it is a page (HTML or XML), perhaps a download that failed: fetch the component again",
    ),
    (
        b"(",
        "it is WebAssembly as text: make a binary of it (`wasm-tools parse`)",
    ),
];

/// Says what these bytes are, if they do not begin as a component does.
pub(crate) fn name(bytes: &[u8]) -> Option<String> {
    if bytes.starts_with(COMPONENT) {
        return None;
    }
    if bytes.is_empty() {
        return Some("it is empty: build or fetch it again".to_owned());
    }
    if COMPONENT.starts_with(bytes) {
        let so_far = bytes.len();
        return Some(format!(
            "it ends after {so_far} bytes, inside its header: it was cut off; build or fetch it \
             again"
        ));
    }
    // A tar archive has its mark behind the first file's name.
    if bytes.get(257..262) == Some(b"ustar") {
        return Some("it is a tar archive: take the component out of it".to_owned());
    }
    let text = bytes.trim_ascii_start();
    let known = KINDS
        .iter()
        .find(|(beginning, _)| bytes.starts_with(beginning) || text.starts_with(beginning));
    Some(match known {
        Some((_, said)) => (*said).to_owned(),
        None => {
            let begin = &bytes[..bytes.len().min(8)];
            format!(
                "it begins with {}, and a component with {}: build or fetch it again",
                hex::encode(begin),
                hex::encode(COMPONENT)
            )
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_component_is_named_with_what_to_do() {
        assert_eq!(name(COMPONENT), None);
        assert_eq!(name(b"\0asm\x0d\0\x01\0\0\0"), None);
        let mut tar = vec![b'a'; 512];
        tar[257..262].copy_from_slice(b"ustar");
        for (bytes, said) in [
            (&b""[..], "it is empty"),
            (b"\0as", "ends after 3 bytes"),
            (b"\0asm\x0d\0\x01", "ends after 7 bytes"),
            (MODULE, "wasm-tools component new"),
            (b"\0asm\x0a\0\x01\0", "another version of the binary format"),
            (b"\x1f\x8b\x08", "gunzip"),
            (b"\x28\xb5\x2f\xfd\0", "zstd -d"),
            (b"\x7fELF\x02", "ELF"),
            (b"\n<!DOCTYPE html>", "a download that failed"),
            (b"\n  (component)", "wasm-tools parse"),
            (b"{\"schemaVersion\":2}", "plugin pull"),
            (&tar, "tar archive"),
            (b"hello, world", "it begins with 68656c6c6f2c2077"),
        ] {
            let found = name(bytes).expect("it is none");
            assert!(found.contains(said), "{found}");
        }
    }
}
