//! `tollgate plugin build`: a project, or a module that another compiler has linked, becomes a
//! component that keeps to its world.
//!
//! A project is a package with one line in its `Cargo.toml`, as the bundled plugins have it:
//! `[package.metadata.tollgate] world = "protocol"`. It is compiled by the author's own cargo.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use clap::Args;
use serde_json::Value;
use tollgate_component::{Contract, WORLDS, encode};

use super::Outcome;
use crate::say;

/// What guests are compiled for: no WASI, so that they import only what their world says.
const TARGET: &str = "wasm32-unknown-unknown";

/// What is built.
#[derive(Args)]
pub(super) struct Arguments {
    /// The project's folder, with its Cargo.toml.
    #[arg(default_value = ".", conflicts_with = "module")]
    project: PathBuf,
    /// A core module that carries its world, as other languages' bindings put it there, or a
    /// component.
    #[arg(long, value_name = "FILE")]
    module: Option<PathBuf>,
    /// The world, where it is not to be read off the exports.
    #[arg(long, value_name = "WORLD", requires = "module", value_parser = WORLDS)]
    world: Option<String>,
    /// The component; else target/NAME.wasm of the project, or NAME.component.wasm beside the
    /// module.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

pub(super) fn run(arguments: &Arguments) -> Outcome {
    let contract = Contract::load()?;
    let (module, world, out) = match &arguments.module {
        Some(module) => {
            let out = module.with_extension("component.wasm");
            (module.clone(), arguments.world.clone(), out)
        }
        None => {
            let project = Project::read(&arguments.project)?;
            let module = project.compile()?;
            let out = project.target.join(format!("{}.wasm", project.name));
            (module, Some(project.world), out)
        }
    };
    let out = arguments.out.clone().unwrap_or(out);
    let bytes = fs::read(&module).map_err(|error| format!("{}: {error}", module.display()))?;
    let component = encode(&bytes).map_err(|error| format!("{}: {error}", module.display()))?;
    let world = match world {
        Some(world) => world,
        None => contract
            .world(&component)?
            .ok_or(
                "it exports no world of the contract whole; name the one that is meant by --world",
            )?
            .to_owned(),
    };
    contract
        .check(&component, &world)
        .map_err(|error| format!("{}: {error}", module.display()))?;
    write(&out, &component)?;
    say(&format!(
        "{}: {} KiB, world {world}\n",
        out.display(),
        component.len().div_ceil(1024)
    ));
    Ok(())
}

/// Writes beside the file and renames: a proxy that is told to look again never sees half of it.
fn write(path: &Path, bytes: &[u8]) -> Result<(), String> {
    let new = path.with_extension(format!("new-{}", std::process::id()));
    fs::write(&new, bytes)
        .and_then(|()| fs::rename(&new, path))
        .map_err(|error| format!("{}: {error}", path.display()))
}

/// A package that is to become a component.
struct Project {
    manifest: PathBuf,
    name: String,
    world: String,
    /// Cargo's target folder.
    target: PathBuf,
}

impl Project {
    fn read(folder: &Path) -> Result<Self, String> {
        let manifest = folder.join("Cargo.toml");
        let manifest = manifest
            .canonicalize()
            .map_err(|error| format!("{}: {error}", manifest.display()))?;
        let mut command = cargo();
        command
            .args([
                "metadata",
                "--format-version=1",
                "--no-deps",
                "--manifest-path",
            ])
            .arg(&manifest);
        let told = command
            .stderr(Stdio::inherit())
            .output()
            .map_err(|error| format!("cannot run cargo: {error}"))?;
        if !told.status.success() {
            return Err(format!("{}: cargo cannot read it", manifest.display()));
        }
        let metadata: Value = serde_json::from_slice(&told.stdout)
            .map_err(|error| format!("cargo metadata: {error}"))?;
        Self::find(&metadata, manifest)
    }

    fn find(metadata: &Value, manifest: PathBuf) -> Result<Self, String> {
        let here = manifest.to_string_lossy();
        let shown = manifest.display();
        let package = metadata["packages"]
            .as_array()
            .into_iter()
            .flatten()
            .find(|package| package["manifest_path"].as_str() == Some(&*here))
            .ok_or_else(|| format!("{shown}: no package"))?;
        let world = package["metadata"]["tollgate"]["world"]
            .as_str()
            .filter(|world| WORLDS.contains(world))
            .ok_or_else(|| {
                format!(
                    "{shown}: it names no world; add\n\n[package.metadata.tollgate]\nworld = \
                     \"…\"   # {}",
                    WORLDS.join(", ")
                )
            })?;
        let dynamic = |target: &Value| {
            target["kind"]
                .as_array()
                .is_some_and(|kinds| kinds.iter().any(|kind| kind == "cdylib"))
        };
        if !package["targets"]
            .as_array()
            .is_some_and(|targets| targets.iter().any(dynamic))
        {
            return Err(format!(
                "{shown}: a plugin needs `crate-type = [\"cdylib\", \"rlib\"]` in [lib]"
            ));
        }
        Ok(Self {
            name: package["name"].as_str().unwrap_or("plugin").to_owned(),
            world: world.to_owned(),
            target: metadata["target_directory"]
                .as_str()
                .ok_or("cargo metadata names no target folder")?
                .into(),
            manifest,
        })
    }

    /// Compiles it; the module that it becomes.
    fn compile(&self) -> Result<PathBuf, String> {
        let mut command = cargo();
        command
            .args(["build", "--release", "--target", TARGET])
            .arg("--message-format=json-render-diagnostics")
            .arg("--manifest-path")
            .arg(&self.manifest)
            .stdin(Stdio::null())
            .stderr(Stdio::inherit());
        let out = command
            .output()
            .map_err(|error| format!("cannot run cargo: {error}"))?;
        if !out.status.success() {
            return Err(format!(
                "{} did not compile; if the target is missing, add it with `rustup target add \
                 {TARGET}`",
                self.name
            ));
        }
        out.stdout
            .split(|byte| *byte == b'\n')
            .filter_map(|line| serde_json::from_slice::<Value>(line).ok())
            .filter(|message| message["manifest_path"] == *self.manifest.to_string_lossy())
            .filter_map(|message| module(&message))
            .next_back()
            .ok_or_else(|| format!("{}: cargo made no module", self.name))
    }
}

/// The cargo that started us, if one did.
fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// The WebAssembly module that a message of cargo's tells of.
fn module(message: &Value) -> Option<PathBuf> {
    message["filenames"]
        .as_array()?
        .iter()
        .filter_map(Value::as_str)
        .find(|file| file.ends_with(".wasm"))
        .map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn metadata(package: Value) -> Value {
        json!({"packages": [package], "target_directory": "/t"})
    }

    #[test]
    fn a_project_says_its_world_and_is_a_dynamic_library() {
        let find = |package| Project::find(&metadata(package), "/p/Cargo.toml".into());
        let targets = json!([{"kind": ["cdylib", "rlib"]}]);
        let whole = json!({
            "name": "p", "manifest_path": "/p/Cargo.toml", "targets": targets,
            "metadata": {"tollgate": {"world": "worker"}},
        });
        let project = find(whole.clone()).unwrap();
        assert_eq!((&*project.name, &*project.world), ("p", "worker"));

        let mut worldless = whole.clone();
        worldless["metadata"] = Value::Null;
        let said = find(worldless).err().unwrap();
        assert!(said.contains("names no world"), "{said}");
        let mut other = whole.clone();
        other["metadata"]["tollgate"]["world"] = "cooking".into();
        assert!(find(other).is_err());
        let mut fixed = whole;
        fixed["targets"] = json!([{"kind": ["lib"]}]);
        let said = find(fixed).err().unwrap();
        assert!(said.contains("cdylib"), "{said}");
    }
}
