//! What a component imports and exports, by name: which world it is of, and whether it wants more
//! than that world gives.
//!
//! Names come first, because their difference can be told in words; types are compared by
//! wasmtime when the component is linked and tried.

use wasmtime::component::Component;

use crate::{engine::Sandbox, loader::LoadError};

const PACKAGE: &str = "tollgate:plugin/";

/// Interfaces of the contract that consist of types: whoever names a type imports them.
const TYPES: [&str; 3] = ["types", "inference", "plugin"];
/// Interfaces of the contract that have functions for guests, and who may call them.
const GRANTS: [(&str, &[WorldName]); 2] = [
    ("body", &[WorldName::Protocol]),
    (
        "log",
        &[
            WorldName::Protocol,
            WorldName::Compose,
            WorldName::Scheduler,
            WorldName::Worker,
        ],
    ),
];

/// A world of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WorldName {
    Protocol,
    Compose,
    Scheduler,
    Worker,
}

struct WorldShape {
    world: WorldName,
    name: &'static str,
    exports: &'static [&'static str],
}

const WORLDS: [WorldShape; 4] = [
    WorldShape {
        world: WorldName::Protocol,
        name: "protocol",
        exports: &["plugin", "frontend", "backend"],
    },
    WorldShape {
        world: WorldName::Compose,
        name: "compose",
        exports: &["plugin", "composition"],
    },
    WorldShape {
        world: WorldName::Scheduler,
        name: "scheduler",
        exports: &["plugin", "scheduling"],
    },
    WorldShape {
        world: WorldName::Worker,
        name: "worker",
        exports: &["plugin", "serving"],
    },
];

/// Names of what a component imports and exports.
pub(crate) struct Shape {
    imports: Vec<String>,
    exports: Vec<String>,
}

impl Shape {
    pub(crate) fn of(sandbox: &Sandbox, component: &Component) -> Self {
        let engine = sandbox.engine();
        let shape = component.component_type();
        Self {
            imports: shape
                .imports(engine)
                .map(|(name, _)| name.to_owned())
                .collect(),
            exports: shape
                .exports(engine)
                .map(|(name, _)| name.to_owned())
                .collect(),
        }
    }

    /// What it imports, and what it exports.
    pub(crate) fn into_names(self) -> (Vec<String>, Vec<String>) {
        (self.imports, self.exports)
    }

    /// What it exports, for a message.
    pub(crate) fn exports(&self) -> String {
        match self.exports.is_empty() {
            true => "nothing".to_owned(),
            false => self.exports.join(", "),
        }
    }

    /// Refuses imports that no world has, all of them by name.
    pub(crate) fn check_imports(&self, plugin: &str) -> Result<(), LoadError> {
        let known = |name: &&String| {
            let interface = name.strip_prefix(PACKAGE).map(interface);
            let granted = GRANTS.iter().map(|(name, _)| *name);
            let worlds = WORLDS.iter().flat_map(|world| world.exports);
            interface.is_some_and(|it| {
                TYPES.contains(&it)
                    || granted.into_iter().any(|name| name == it)
                    || worlds.into_iter().any(|name| *name == it)
            })
        };
        let foreign: Vec<&String> = self.imports.iter().filter(|name| !known(name)).collect();
        let Some((first, rest)) = foreign.split_first() else {
            return Ok(());
        };
        let mut said = String::new();
        for import in rest {
            said.push_str("\n  and so is ");
            said.push_str(import);
        }
        said.push_str("\n  ");
        said.push_str(advice(&foreign));
        Err(LoadError::Import {
            plugin: plugin.to_owned(),
            import: (*first).clone(),
            advice: said,
        })
    }

    /// Refuses interfaces of the contract that are not for this world, or of another version.
    pub(crate) fn check_grants(&self, plugin: &str, world: WorldName) -> Result<(), LoadError> {
        let here = tollgate_contract::VERSION;
        for import in &self.imports {
            let Some(name) = import.strip_prefix(PACKAGE) else {
                continue;
            };
            if let Some((name, version)) = name.split_once('@')
                && version != here
            {
                return Err(LoadError::Contract {
                    plugin: plugin.to_owned(),
                    difference: format!(
                        "\n  import {name}: it has version {version}, this proxy links {here}\n  \
                         build it against the contract of this proxy, with its SDK"
                    ),
                });
            }
            let name = interface(name);
            let refused = GRANTS
                .iter()
                .any(|(granted, to)| *granted == name && !to.contains(&world));
            if refused {
                let mine = WORLDS.iter().find(|it| it.world == world);
                let mine = mine.map_or("its", |it| it.name);
                return Err(LoadError::Import {
                    plugin: plugin.to_owned(),
                    import: import.clone(),
                    advice: format!(
                        "\n  the world `{mine}` does not grant `{name}`: its guests see no bytes \
                         of requests; build it against the SDK of that world"
                    ),
                });
            }
        }
        Ok(())
    }

    fn has(&self, interface: &str) -> bool {
        let wanted = format!("{PACKAGE}{interface}@{}", tollgate_contract::VERSION);
        self.exports.contains(&wanted)
    }

    /// The world that it is of, or what it lacks of the nearest one.
    pub(crate) fn world(&self, plugin: &str) -> Result<WorldName, LoadError> {
        if let Some(found) = WORLDS
            .iter()
            .find(|it| it.exports.iter().all(|name| self.has(name)))
        {
            return Ok(found.world);
        }
        let nearest = WORLDS
            .iter()
            .max_by_key(|it| {
                it.exports
                    .iter()
                    .filter(|name| self.other_version(name).is_some() || self.has(name))
                    .count()
            })
            .expect("there are worlds");
        let mut difference = format!("\n  it is nearest to the world `{}`", nearest.name);
        for interface in nearest.exports {
            if self.has(interface) {
                continue;
            }
            difference.push_str(&match self.other_version(interface) {
                Some(version) => format!(
                    "\n  export {interface}: it has version {version}, this proxy links {}",
                    tollgate_contract::VERSION
                ),
                None => format!("\n  export {interface}: missing"),
            });
        }
        difference.push_str(&format!(
            "\n  it exports {}\n  build it against the contract of this proxy, with the SDK of its \
             world",
            self.exports()
        ));
        Err(LoadError::Contract {
            plugin: plugin.to_owned(),
            difference,
        })
    }

    fn other_version(&self, name: &str) -> Option<&str> {
        self.exports.iter().find_map(|export| {
            let (found, version) = export.strip_prefix(PACKAGE)?.split_once('@')?;
            (found == name && version != tollgate_contract::VERSION).then_some(version)
        })
    }
}

/// Without its version.
fn interface(name: &str) -> &str {
    name.split_once('@').map_or(name, |(name, _)| name)
}

/// What to do about imports that no world has.
fn advice(imports: &[&String]) -> &'static str {
    let all = |prefix: &str| imports.iter().any(|name| name.starts_with(prefix));
    if all("wasi:") {
        "a plugin has no WASI: no clock, no files, no network, no randomness. Build it for \
         wasm32-unknown-unknown and make a component of that (in Rust); where a language's runtime \
         brings WASI along, leave it out when building, or compose the component with stubs that \
         trap (`wasm-tools compose`, `wasi-virt`). Time and a seed come in each call's context"
    } else if all(PACKAGE) {
        "the contract has no such interface: build it against the contract of this proxy, with its \
         SDK"
    } else {
        "a plugin may import `body` (protocols only) and `log` of the contract and nothing else: \
         leave this out of its world, or compose it with a component that provides it"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(imports: &[&str], exports: &[&str]) -> Shape {
        let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        Shape {
            imports: owned(imports),
            exports: owned(exports),
        }
    }

    #[test]
    fn foreign_imports_are_all_named_with_what_to_do() {
        let said = shape(
            &[
                "tollgate:plugin/log@0.1.0",
                "wasi:io/poll@0.2.0",
                "wasi:cli/exit@0.2.0",
            ],
            &[],
        )
        .check_imports("p")
        .unwrap_err()
        .to_string();
        assert!(
            said.contains("imports wasi:io/poll@0.2.0, which is outside"),
            "{said}"
        );
        assert!(said.contains("wasi:cli/exit@0.2.0") && said.contains("wasm32-unknown-unknown"));
        let said = |import: &str| {
            let refused = shape(&[import], &[]).check_imports("p");
            refused.unwrap_err().to_string()
        };
        assert!(said("tollgate:plugin/secrets@0.1.0").contains("no such interface"));
        assert!(said("other:thing/here").contains("and nothing else"));
    }

    #[test]
    fn what_another_world_is_granted_is_refused() {
        let exports = [
            "tollgate:plugin/plugin@0.1.0",
            "tollgate:plugin/scheduling@0.1.0",
        ];
        let scheduler = shape(&["tollgate:plugin/body@0.1.0"], &exports);
        let world = scheduler.world("p").unwrap();
        assert_eq!(world, WorldName::Scheduler);
        scheduler.check_imports("p").unwrap();
        let said = scheduler.check_grants("p", world).unwrap_err().to_string();
        assert!(said.contains("`scheduler` does not grant `body`"), "{said}");
        let older = shape(&["tollgate:plugin/log@0.0.9"], &exports);
        let said = older.check_grants("p", world).unwrap_err().to_string();
        assert!(said.contains("import log: it has version 0.0.9"), "{said}");
        let fine = shape(
            &["tollgate:plugin/log@0.1.0", "tollgate:plugin/types@0.1.0"],
            &exports,
        );
        fine.check_grants("p", world).unwrap();
    }
}
