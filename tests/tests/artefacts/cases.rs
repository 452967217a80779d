//! What can be wrong with a component itself, and what is said then.

use std::fs;

use tollgate_tests::place;

use crate::{
    forge::{Forge, PROTOCOL, importing, text},
    good,
};

/// One broken artefact.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
    /// What has to be said: what is wrong, and what to do.
    pub(crate) words: Vec<&'static str>,
}

fn case(name: impl Into<String>, bytes: impl Into<Vec<u8>>, words: &[&'static str]) -> Case {
    Case {
        name: name.into(),
        bytes: bytes.into(),
        words: words.to_vec(),
    }
}

/// The whole table. Neighbours are of different kinds, so that each has words of its own.
pub(crate) fn all() -> Vec<Case> {
    let mut kinds = [
        foreign(),
        cut(),
        damaged(),
        contract(),
        imports(),
        trials(),
        answers(),
    ];
    let mut all = Vec::new();
    while kinds.iter().any(|kind| !kind.is_empty()) {
        all.extend(kinds.iter_mut().filter_map(Vec::pop));
    }
    all
}

const NONE: &str = "not a WebAssembly component";
const DAMAGED: &str = "it is damaged or cut off";
const AGAIN: &str = "fetch or build it again";

/// Files that are something else.
fn foreign() -> Vec<Case> {
    let mut tar = vec![0; 1024];
    tar[..9].copy_from_slice(b"mine.wasm");
    tar[257..262].copy_from_slice(b"ustar");
    let base64 = b"AGFzbQ0AAQA=";
    let digest = b"6a09e667f3bcc908  mine.wasm\n";
    let files: [(&str, &[u8], &'static str); 18] = [
        ("empty", b"", "it is empty: build or fetch it again"),
        ("one byte", b"\0", "it ends after 1 bytes"),
        ("half a magic", b"\0as", "it ends after 3 bytes"),
        ("magic alone", b"\0asm", "it ends after 4 bytes"),
        (
            "half a version",
            b"\0asm\x0d\0\x01",
            "it ends after 7 bytes",
        ),
        (
            "an older format",
            b"\0asm\x0a\0\x01\0\0",
            "build it with tools of today",
        ),
        ("gzip", b"\x1f\x8b\x08\0\0\0\0\0", "unpack it (gunzip)"),
        ("zstd", b"\x28\xb5\x2f\xfd\x04\0", "unpack it (zstd -d)"),
        ("bzip2", b"BZh91AY&SY", "unpack it (bunzip2)"),
        ("xz", b"\xfd7zXZ\0\0", "unpack it (unxz)"),
        ("zip", b"PK\x03\x04\x14\0", "take the component out of it"),
        ("tar", &tar, "it is a tar archive"),
        (
            "native code",
            b"\x7fELF\x02\x01\x01",
            "only a component can be sandboxed",
        ),
        ("bitcode", b"BC\xc0\xde\x35", "link it to WebAssembly first"),
        (
            "a page",
            b"<!DOCTYPE html><title>404</title>",
            "a download that failed",
        ),
        (
            "an artefact's manifest",
            b"{\"schemaVersion\": 2}",
            "tollgate plugin pull",
        ),
        ("base64", base64, "it begins with 4147467a62513041"),
        (
            "a list of digests",
            digest,
            "it begins with 3661303965363637",
        ),
    ];
    let mut cases: Vec<Case> = files
        .iter()
        .map(|(name, bytes, words)| case(*name, *bytes, &[NONE, words]))
        .collect();
    let module = Forge::new("protocol").module();
    cases.push(case(
        "a core module",
        module,
        &[NONE, "wasm-tools component new"],
    ));
    let wat = "(component)".as_bytes();
    cases.push(case(
        "text",
        wat,
        &[NONE, "make a binary of it (`wasm-tools parse`)"],
    ));
    cases
}

/// The beginning of a good one.
fn cut() -> Vec<Case> {
    let good = good();
    (1..=20)
        .map(|part| {
            let end = good.len() * part / 21;
            let name = format!("cut at {end} of {}", good.len());
            case(name, &good[..end], &[NONE, DAMAGED, AGAIN])
        })
        .chain([1, 2, 9].map(|missing| {
            let end = good.len() - missing;
            let name = format!("{missing} bytes missing");
            case(name, &good[..end], &[NONE, DAMAGED, AGAIN])
        }))
        .collect()
}

/// A good one that something has happened to.
fn damaged() -> Vec<Case> {
    let good = good();
    let (middle, words) = (good.len() / 2, [NONE, DAMAGED]);
    let mut holed = good.clone();
    // So wide that it meets code, and of what is no instruction: zeros are one, and data take any.
    holed[middle / 2..middle].fill(0xff);
    let mut swapped = good[..8].to_vec();
    swapped.extend_from_slice(&good[middle..]);
    swapped.extend_from_slice(&good[8..middle]);
    let twice = [good.as_slice(), &good].concat();
    let tail = [good.as_slice(), b"\n"].concat();
    let lines: Vec<u8> = good
        .iter()
        .flat_map(|&byte| match byte {
            b'\n' => vec![b'\r', b'\n'],
            byte => vec![byte],
        })
        .collect();
    let utf8 = String::from_utf8_lossy(&good).into_owned();
    vec![
        case("a hole in the middle", holed, &words),
        case("halves in the wrong order", swapped, &words),
        case("twice in one file", twice, &words),
        case("a line's end behind it", tail, &words),
        case("line ends of another system", lines, &words),
        case("read and written as text", utf8, &words),
        case(
            "a length past the end",
            b"\0asm\x0d\0\x01\0\x07\x7f".as_slice(),
            &words,
        ),
        case(
            "a section that nobody knows",
            b"\0asm\x0d\0\x01\0\x7e\0".as_slice(),
            &words,
        ),
    ]
}

const CONTRACT: &str = "does not fit the contract 0.1.0";
const BUILD: &str = "build it against the contract of this proxy";

/// Components of other worlds, versions and types.
fn contract() -> Vec<Case> {
    let lacks = |name: &str, missing: &'static str| {
        let export = format!("(export \"tollgate:plugin/{missing}@0.1.0\" (instance $empty))");
        let words: &[&str] = match missing {
            "plugin" => &[CONTRACT, "export plugin: missing", BUILD],
            "frontend" => &[CONTRACT, "export frontend: missing", BUILD],
            _ => &[CONTRACT, "export backend: missing", BUILD],
        };
        let component = format!("(component {})", PROTOCOL.replace(&export, ""));
        case(name, text(&component), words)
    };
    let versioned = |version: &str, words: &[&'static str]| {
        let component = format!("(component {})", PROTOCOL.replace("0.1.0", version));
        case(format!("version {version}"), text(&component), words)
    };
    let fixture = |name: &str| fs::read(place::component(name)).expect("the fixture");
    let older = |name: &str, text: String| match name {
        "worlds.wit" => text.replace("@0.1.0", "@0.0.3"),
        _ => text,
    };
    let one_case_more = |name: &str, text: String| match name {
        "plugin.wit" => text.replace("variant gathering {", "variant gathering {\n sometimes,"),
        _ => text,
    };
    let another_result = |name: &str, text: String| match name {
        "plugin.wit" => text.replace("describe: func() -> manifest", "describe: func() -> string"),
        _ => text,
    };
    let one_field_more = |name: &str, text: String| match name {
        "plugin.wit" => text.replace(
            "record manifest {",
            "record manifest {\n        motto: string,",
        ),
        _ => text,
    };
    vec![
        lacks("no plugin", "plugin"),
        lacks("no frontend", "frontend"),
        lacks("no backend", "backend"),
        versioned(
            "0.0.9",
            &["it has version 0.0.9, this proxy links 0.1.0", BUILD],
        ),
        versioned(
            "0.2.0",
            &["it has version 0.2.0, this proxy links 0.1.0", BUILD],
        ),
        versioned(
            "1.0.0",
            &["nearest to the world `protocol`", "version 1.0.0"],
        ),
        case(
            "nothing at all",
            text("(component)"),
            &[CONTRACT, "it exports nothing", BUILD],
        ),
        case(
            "exports of somebody else's",
            text(
                "(component (component $c) (instance $i (instantiate $c)) \
                  (export \"acme:plugin/plugin@0.1.0\" (instance $i)))",
            ),
            &[CONTRACT, "it exports acme:plugin/plugin@0.1.0", BUILD],
        ),
        case(
            "right names with nothing in them",
            text(&format!("(component {PROTOCOL})")),
            &[CONTRACT, BUILD],
        ),
        case(
            "built against an older contract",
            Forge::new("protocol").contract(older).build(),
            &[CONTRACT, "version 0.0.3"],
        ),
        case(
            "one case more in a variant",
            Forge::new("protocol").contract(one_case_more).build(),
            &[CONTRACT, BUILD],
        ),
        case(
            "another result of a function",
            Forge::new("protocol").contract(another_result).build(),
            &[CONTRACT, BUILD],
        ),
        case(
            "one field more in a record",
            Forge::new("protocol").contract(one_field_more).build(),
            &[CONTRACT, BUILD],
        ),
        case(
            "a scheduler",
            fixture("fixtures/lifo"),
            &["of the world scheduler", "world protocol"],
        ),
        case(
            "another scheduler",
            fixture("fcfs"),
            &["of the world scheduler", "world protocol"],
        ),
        case(
            "a composition",
            fixture("fixtures/parcel-compose"),
            &["of the world compose", "world protocol"],
        ),
        case(
            "a model server",
            fixture("embedded"),
            &["of the world worker", "world protocol"],
        ),
    ]
}

const OUTSIDE: &str = "which is outside its world";

/// Components that want more than they are given.
fn imports() -> Vec<Case> {
    const WASI: &str = "a plugin has no WASI";
    const UNKNOWN: &str = "and nothing else";
    let mut cases: Vec<Case> = [
        "wasi:cli/environment@0.2.3",
        "wasi:cli/stdout@0.2.3",
        "wasi:clocks/wall-clock@0.2.3",
        "wasi:filesystem/preopens@0.2.3",
        "wasi:sockets/tcp@0.2.3",
        "wasi:http/outgoing-handler@0.2.3",
        "wasi:random/random@0.2.3",
        "wasi:io/poll@0.2.3",
        "wasi:http/handler@0.3.0",
    ]
    .map(|name| {
        case(
            name,
            importing(name),
            &[OUTSIDE, WASI, "wasm32-unknown-unknown"],
        )
    })
    .into();
    for name in ["acme:kv/store@1.0.0", "host", "tollgate:other/body@0.1.0"] {
        cases.push(case(name, importing(name), &[OUTSIDE, UNKNOWN]));
    }
    for name in [
        "tollgate:plugin/secrets@0.1.0",
        "tollgate:plugin/network@0.1.0",
    ] {
        cases.push(case(name, importing(name), &[OUTSIDE, "no such interface"]));
    }
    cases.push(case(
        "a module",
        text(&format!(
            "(component (import \"m\" (core module)) {PROTOCOL})"
        )),
        &["imports m", OUTSIDE, UNKNOWN],
    ));
    cases.push(case(
        "a component",
        text(&format!(
            "(component (import \"c\" (component)) {PROTOCOL})"
        )),
        &[NONE, "root-level component imports are not supported"],
    ));
    cases.push(case(
        "a function",
        text(&format!(
            "(component (import \"now\" (func (result u64))) {PROTOCOL})"
        )),
        &["imports now", OUTSIDE, UNKNOWN],
    ));
    cases.push(case(
        "two of WASI, both named",
        text(&format!(
            "(component (import \"wasi:io/poll@0.2.0\" (instance)) \
             (import \"wasi:cli/exit@0.2.0\" (instance)) {PROTOCOL})"
        )),
        &[
            "imports wasi:io/poll@0.2.0",
            "and so is wasi:cli/exit@0.2.0",
            WASI,
        ],
    ));
    cases.push(case(
        "of the contract, by another version",
        importing("tollgate:plugin/log@0.9.0"),
        &[CONTRACT, "import log: it has version 0.9.0", BUILD],
    ));
    cases
}

const LOOP: &str = "(loop $again br $again) unreachable";
/// Takes page after page, and then the processor.
const BOMB: &str = "(loop $more (drop (memory.grow (i32.const 1))) br $more) unreachable";
const TESTS: &str = "its own tests";
const TIME: &str = "`limits.cpu-large` and `limits.wall` bound it";
const MEMORY: &str = "`limits.memory` bounds it";

/// Components that fit the contract and misbehave when they are tried.
fn trials() -> Vec<Case> {
    let forge = || Forge::new("protocol");
    let wrong = |name: &str, forge: Forge, words: &[&'static str]| case(name, forge.build(), words);
    vec![
        wrong(
            "traps in describe",
            forge().body("describe", "unreachable"),
            &["in describe", TESTS],
        ),
        wrong(
            "traps in configure",
            forge().body("configure", "unreachable"),
            &["in configure", TESTS],
        ),
        wrong(
            "traps at its start",
            forge().with("(func $s unreachable) (start $s)"),
            &["in instantiate", TESTS],
        ),
        wrong(
            "traps when it is initialised",
            forge().body("_initialize", "unreachable"),
            &["in instantiate", TESTS],
        ),
        wrong(
            "traps when it is to take the options",
            forge().body("cabi_realloc", "unreachable"),
            &["in configure", TESTS],
        ),
        wrong(
            "describes for ever",
            forge().body("describe", LOOP),
            &["in describe", TIME],
        ),
        wrong(
            "configures for ever",
            forge().body("configure", LOOP),
            &["in configure", TIME],
        ),
        wrong(
            "starts for ever",
            forge().with("(func $s (loop $l br $l)) (start $s)"),
            &["in instantiate", TIME],
        ),
        wrong(
            "is initialised for ever",
            forge().body("_initialize", "(loop $l br $l)"),
            &["in instantiate", TIME],
        ),
        wrong(
            "takes all memory in describe",
            forge().body("describe", BOMB),
            &["failed on trial, in describe", "limits."],
        ),
        wrong(
            "takes all memory in configure",
            forge().body("configure", BOMB),
            &["failed on trial, in configure", "limits."],
        ),
        wrong(
            "takes all memory at its start",
            forge().with("(func $s (loop $l (drop (memory.grow (i32.const 1))) br $l)) (start $s)"),
            &["failed on trial, in instantiate", "limits."],
        ),
        wrong(
            "begins with 64 MiB",
            forge().pages(1024),
            &["in instantiate", MEMORY],
        ),
        wrong(
            "begins with 3 GiB",
            forge().pages(49_152),
            &["exceeds", MEMORY],
        ),
        wrong(
            "recurses without end",
            forge()
                .body("describe", "call $r")
                .with("(func $r (result i32) call $r)"),
            &["in describe", "stack", TESTS],
        ),
        wrong(
            "divides by nothing",
            forge().body("describe", "(i32.div_u (i32.const 1) (i32.const 0))"),
            &["in describe", "divide by zero", TESTS],
        ),
        wrong(
            "reads past its memory",
            forge().body("configure", "(i32.load (i32.const -1))"),
            &["in configure", "out of bounds", TESTS],
        ),
        wrong(
            "calls what no table has",
            forge()
                .body("describe", "(call_indirect (result i32) (i32.const 9))")
                .with("(table 1 funcref)"),
            &["in describe", "failed on trial", TESTS],
        ),
    ]
}

/// Components whose answers are none. Fields of a manifest are pairs of a pointer and a length,
/// beginning with its name; all of it lies at 1024.
fn answers() -> Vec<Case> {
    let forge = || Forge::new("protocol");
    let told = |name: &str, forge: Forge, words: &[&'static str]| case(name, forge.build(), words);
    let at = |offset: u32, pointer: &str, length: &str| {
        format!("(data (i32.const {}) \"{pointer}{length}\")", 1024 + offset)
    };
    const NOWHERE: &str = "\\ff\\ff\\ff\\7f";
    const ZERO: &str = "\\00\\00\\00\\00";
    const FIVE_MIB: &str = "\\00\\00\\50\\00";
    vec![
        told(
            "a manifest outside of its memory",
            forge().body("describe", "i32.const 0x7ffffff0"),
            &["in describe", "failed on trial", TESTS],
        ),
        told(
            "a manifest at an odd address",
            forge().body("describe", "i32.const 1025"),
            &["in describe", "failed on trial", TESTS],
        ),
        told(
            "a name outside of its memory",
            forge().with(&at(0, NOWHERE, "\\08\\00\\00\\00")),
            &["in describe", "failed on trial", TESTS],
        ),
        told(
            "a name of two GiB",
            forge().with(&at(0, ZERO, NOWHERE)),
            &["in describe", "failed on trial", TESTS],
        ),
        told(
            "a name that is no UTF-8",
            forge()
                .with(&at(0, "\\00\\08\\00\\00", "\\02\\00\\00\\00"))
                .with("(data (i32.const 2048) \"\\ff\\fe\")"),
            &["in describe", "utf-8", TESTS],
        ),
        told(
            "a giant name",
            forge().pages(128).with(&at(0, ZERO, FIVE_MIB)),
            &["in describe", "may have 4 MiB"],
        ),
        told(
            "a giant description",
            forge().pages(128).with(&at(16, ZERO, FIVE_MIB)),
            &["in describe", "may have 4 MiB"],
        ),
        told(
            "two billion dialects",
            forge().with(&at(24, ZERO, NOWHERE)),
            &["in describe", "failed on trial", TESTS],
        ),
        told(
            "giant claims",
            forge().pages(128).body("configure", "i32.const 4096").with(
                "(data (i32.const 4096) \"\\00\\00\\00\\00\\00\\00\\00\\00\\00\\c0\\00\\00\")",
            ),
            &["in configure", "failed on trial"],
        ),
        told(
            "an answer that is neither good nor bad",
            forge()
                .body("configure", "i32.const 4096")
                .with("(data (i32.const 4096) \"\\07\")"),
            &["in configure", "failed on trial", TESTS],
        ),
        told(
            "refuses its options and does not say why",
            forge()
                .body("configure", "i32.const 4096")
                .with("(data (i32.const 4096) \"\\01\")"),
            &["refuses its options"],
        ),
        told(
            "memory for arguments that is none",
            forge().body("cabi_realloc", "i32.const -8"),
            &["in configure", "failed on trial", TESTS],
        ),
    ]
}
