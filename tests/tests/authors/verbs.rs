//! `inspect`, `build` of finished modules, `wit`, and names that are none.

use serde_json::Value;
use tempfile::tempdir;

use super::{bad, component, good};

#[test]
fn a_component_says_who_it_is() {
    let told = good(&["inspect", &component("examples/quill")]);
    for part in [
        "quill 0.1.0",
        "protocol",
        "POST /quill/v1/write, body whole, generate",
        "tollgate:plugin/body@",
        "max-tokens: integer = 64",
    ] {
        assert!(told.contains(part), "no {part:?} in\n{told}");
    }
    let json = good(&["inspect", "--json", &component("examples/turns")]);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["world"], "scheduler");
    assert_eq!(
        json["options"]["properties"]["max-pending"]["default"],
        1000
    );
    let memory = &json["memory"];
    assert!(
        memory["started"].as_u64() >= memory["minimum"].as_u64(),
        "{memory}"
    );
    assert!(memory["minimum"].as_u64() > Some(0), "{memory}");
    assert_eq!(json["digest"].as_str().map(str::len), Some(64));
}

#[test]
fn what_is_wrong_with_a_component_is_said_as_the_loader_says_it() {
    let folder = tempdir().unwrap();
    let file = folder.path().join("broken.wasm");
    std::fs::write(&file, b"no component").unwrap();
    let told = bad(&["inspect", file.to_str().unwrap()]);
    assert!(told.contains("not a WebAssembly component"), "{told}");
    let options = ["--options", r#"{"colour": 1}"#];
    let told = bad(&[
        "inspect",
        &component("examples/quill"),
        options[0],
        options[1],
    ]);
    assert!(told.contains("refuses its options"), "{told}");
    let told = bad(&["inspect", "/nowhere.wasm"]);
    assert!(told.contains("/nowhere.wasm"), "{told}");
}

#[test]
fn the_contract_is_written_for_other_languages() {
    let folder = tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    good(&["wit", "--path", path, "--c", "scheduler"]);
    let of = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
    assert!(of("worlds.wit").contains("world protocol"));
    assert!(of("scheduler.h").contains("exports_tollgate_plugin_scheduling_"));
    assert!(folder.path().join("scheduler_component_type.o").is_file());
}

#[test]
fn a_finished_component_is_held_against_its_world() {
    let folder = tempdir().unwrap();
    let out = folder.path().join("out.wasm");
    let out = out.to_str().unwrap();
    let turns = component("examples/turns");
    let told = good(&["build", "--module", &turns, "--out", out]);
    assert!(told.contains("world scheduler"), "{told}");
    let told = bad(&[
        "build", "--module", &turns, "--world", "worker", "--out", out,
    ]);
    assert!(told.contains("does not export"), "{told}");
}

#[test]
fn a_project_is_begun_only_where_and_as_it_can_be() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("p");
    let path = path.to_str().unwrap();
    let root = tollgate_tests::place::root().to_str().unwrap();
    let told = bad(&[
        "new", "Bad", "--world", "worker", "--path", path, "--sdk", root,
    ]);
    assert!(told.contains("no name for a plugin"), "{told}");
    let told = bad(&[
        "new", "good", "--world", "worker", "--path", path, "--sdk", "/",
    ]);
    assert!(told.contains("not a checkout"), "{told}");
    good(&[
        "new", "good", "--world", "worker", "--path", path, "--sdk", root,
    ]);
    let told = bad(&[
        "new", "good", "--world", "worker", "--path", path, "--sdk", root,
    ]);
    assert!(told.contains("not empty"), "{told}");
}
