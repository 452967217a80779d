//! Which crate may depend on which: arrows run one way, from the binary down to bytes.

use crate::workspace::Package;

/// For each crate of the host, the crates of the house that it may name.
const HOST: &[(&str, &[&str])] = &[
    ("tollgate-contract", &[]),
    // Of use to both sides, before a component is loaded by anybody.
    ("tollgate-component", &["tollgate-contract"]),
    ("tollgate-config", &[]),
    ("tollgate-telemetry", &[]),
    ("tollgate-wire", &["tollgate-contract"]),
    ("tollgate-upstream", &["tollgate-wire"]),
    ("tollgate-discovery", &[]),
    ("tollgate-cluster", &["tollgate-upstream"]),
    ("tollgate-payloads", &["tollgate-upstream"]),
    ("tollgate-dispatch", &[]),
    ("tollgate-reflect", &[]),
    ("tollgate-keep", &[]),
    ("tollgate-limits", &[]),
    (
        "tollgate-otlp",
        &["tollgate-telemetry", "tollgate-upstream"],
    ),
    (
        "tollgate-registry",
        &["tollgate-config", "tollgate-keep", "tollgate-upstream"],
    ),
    ("tollgate-trust", &[]),
    (
        "tollgate-plugin",
        &[
            "tollgate-wire",
            "tollgate-dispatch",
            "tollgate-contract",
            "tollgate-keep",
        ],
    ),
    (
        "tollgate-edge",
        &[
            "tollgate-wire",
            "tollgate-config",
            "tollgate-identity",
            "tollgate-telemetry",
        ],
    ),
    // What is told of a credential, whoever asks and in whatever words.
    ("tollgate-identity", &["tollgate-upstream"]),
    (
        "tollgate-exchange",
        &[
            "tollgate-wire",
            "tollgate-contract",
            "tollgate-payloads",
            "tollgate-plugin",
            "tollgate-dispatch",
            "tollgate-edge",
            "tollgate-limits",
            "tollgate-reflect",
            "tollgate-upstream",
            "tollgate-telemetry",
        ],
    ),
    (
        "tollgate",
        &[
            "tollgate-cluster",
            "tollgate-component",
            "tollgate-config",
            "tollgate-contract",
            "tollgate-discovery",
            "tollgate-dispatch",
            "tollgate-edge",
            "tollgate-exchange",
            "tollgate-identity",
            "tollgate-limits",
            "tollgate-otlp",
            "tollgate-payloads",
            "tollgate-plugin",
            "tollgate-reflect",
            "tollgate-registry",
            "tollgate-simulate",
            "tollgate-telemetry",
            "tollgate-transcript",
            "tollgate-trust",
            "tollgate-upstream",
            "tollgate-wire",
        ],
    ),
    ("tollgate-transcript", &["tollgate-plugin", "tollgate-wire"]),
    // It owns the same driver as the proxy, and knows nothing of sandboxes.
    ("tollgate-simulate", &["tollgate-dispatch"]),
    // The policies of plugins over that driver, natively.
    (
        "tollgate-test-schedulers",
        &[
            "tollgate-dispatch",
            "tollgate-plugin-dynamic-batch",
            "tollgate-plugin-fcfs",
            "tollgate-plugin-least-loaded",
            "tollgate-sdk-scheduler",
            "tollgate-simulate",
        ],
    ),
    ("xtask", &["tollgate-component"]),
    // It measures both sides at the same work, and is neither.
    (
        "tollgate-bench-guests",
        &[
            "tollgate-bench",
            "tollgate-dispatch",
            "tollgate-plugin",
            "tollgate-plugin-caikit",
            "tollgate-plugin-dynamic-batch",
            "tollgate-plugin-fcfs",
            "tollgate-plugin-kserve",
            "tollgate-plugin-least-loaded",
            "tollgate-plugin-openai",
            "tollgate-plugin-tgis",
            "tollgate-sdk-protocol",
            "tollgate-sdk-scheduler",
            "tollgate-transcript",
            "tollgate-wire",
        ],
    ),
];

/// Libraries that belong to certain crates: the name, or its beginning if it ends in `*`, and
/// who may depend on it. What others want of it, they ask its owner for.
const OWNED: &[(&str, &[&str])] = &[
    ("wasmtime*", &["tollgate-plugin"]),
    ("cranelift*", &[]),
    ("wit-bindgen", &["plugins/sdk/"]),
];

/// Arrows that the table does not have.
pub(super) fn crates(packages: &[Package]) -> Vec<String> {
    let mut violations = Vec::new();
    for package in packages {
        let row = HOST.iter().find(|(name, _)| *name == package.name);
        if row.is_none() && package.folder.starts_with("proxy") {
            violations.push(format!(
                "{} is new: give it a row in xtask/src/arch/arrows.rs",
                package.name
            ));
            continue;
        }
        for dependency in &package.dependencies {
            let Some(other) = packages.iter().find(|other| other.name == *dependency) else {
                continue;
            };
            let allowed = match row {
                Some((_, allowed)) => allowed.contains(&other.name.as_str()),
                None => may(package, other),
            };
            if !allowed {
                violations.push(format!("{} → {}", package.name, other.name));
            }
        }
    }
    violations
}

/// Fuzz targets drive the parsers of both sides natively, each side by itself.
const FUZZ: &str = "tests/fuzz";

/// Guests stand on the SDK and the contract; black-box tests stand on the host. Neither side
/// ever sees the other.
fn may(from: &Package, to: &Package) -> bool {
    if from.folder == FUZZ {
        return true;
    }
    let sdk = to.folder.starts_with("plugins/sdk/") || to.folder == "wit";
    if from.folder.starts_with("plugins/sdk/") {
        to.folder == "wit"
    } else if from.is_guest() {
        sdk
    } else {
        !to.is_guest() && !sdk
    }
}

/// Dependencies on a library by a crate that does not own it.
pub(super) fn libraries(packages: &[Package]) -> Vec<String> {
    let mut violations = Vec::new();
    for package in packages {
        for dependency in &package.dependencies {
            for (library, owners) in OWNED {
                let hit = library.strip_suffix('*').map_or_else(
                    || dependency == library,
                    |beginning| dependency.starts_with(beginning),
                );
                let owns = owners.iter().any(|owner| {
                    package.name == *owner
                        || (owner.ends_with('/') && package.folder.starts_with(owner))
                });
                if hit && !owns {
                    violations.push(format!("{} → {dependency}", package.name));
                }
            }
        }
    }
    violations
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, folder: &str, dependencies: &[&str]) -> Package {
        Package {
            name: name.to_owned(),
            folder: folder.to_owned(),
            world: (folder.starts_with("plugins/") && !folder.starts_with("plugins/sdk/"))
                .then(|| "protocol".to_owned()),
            library: None,
            dependencies: dependencies.iter().map(|&name| name.to_owned()).collect(),
        }
    }

    fn house() -> Vec<Package> {
        vec![
            package(
                "tollgate-wire",
                "proxy/wire",
                &["tollgate-contract", "bytes"],
            ),
            package("tollgate-contract", "wit", &[]),
            package(
                "tollgate-plugin",
                "proxy/plugin",
                &["tollgate-wire", "wasmtime"],
            ),
            package(
                "tollgate-sdk-protocol",
                "plugins/sdk/protocol",
                &["tollgate-contract"],
            ),
            package("tollgate-plugin-x", "plugins/x", &["tollgate-sdk-protocol"]),
            package("tollgate-tests", "tests", &["tollgate-wire"]),
        ]
    }

    #[test]
    fn a_sound_house_passes() {
        assert_eq!(crates(&house()), Vec::<String>::new());
        assert_eq!(libraries(&house()), Vec::<String>::new());
    }

    #[test]
    fn arrows_that_point_up_or_across_are_named() {
        for (who, what) in [
            ("tollgate-wire", "tollgate-plugin"),
            ("tollgate-wire", "tollgate-sdk-protocol"),
            ("tollgate-plugin-x", "tollgate-wire"),
            ("tollgate-sdk-protocol", "tollgate-wire"),
            ("tollgate-tests", "tollgate-plugin-x"),
        ] {
            let mut house = house();
            let package = house.iter_mut().find(|package| package.name == who);
            package.unwrap().dependencies.push(what.to_owned());
            assert_eq!(crates(&house), [format!("{who} → {what}")]);
        }
    }

    #[test]
    fn a_crate_of_the_host_without_a_row_is_named() {
        let house = [package("tollgate-new", "proxy/new", &[])];
        assert_eq!(crates(&house).len(), 1);
    }

    #[test]
    fn a_library_outside_its_owner_is_named() {
        for library in [
            "wasmtime",
            "wasmtime-wasi",
            "cranelift-codegen",
            "wit-bindgen",
        ] {
            let house = [package("tollgate-wire", "proxy/wire", &[library])];
            assert_eq!(libraries(&house), [format!("tollgate-wire → {library}")]);
        }
        let house = [package("tollgate-sdk-x", "plugins/sdk/x", &["wit-bindgen"])];
        assert!(libraries(&house).is_empty());
    }
}
