//! `components`: builds every guest for WebAssembly and makes it a component.
//!
//! 1. Two cargo calls build what ships, and then the fixtures and examples, for `wasm32-unknown-unknown`.
//! 2. Each module is encoded as a component and validated.
//! 3. Its imports must stay inside its world.
//! 4. It is written only when its bytes changed, so that nothing is rebuilt needlessly.
//! 5. `DIGESTS` lists the SHA-256 of every component, in the format of `sha256sum`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;
use sha2::{Digest, Sha256};

use tollgate_component::{Contract, encode};

use crate::foreign::{self, Foreign};
use crate::guest::{self, Guest};
use crate::process::{output, shown};
use crate::wasm::{self, TARGET, Way};
use crate::workspace::Workspace;

/// Which guests to build.
#[derive(Clone, Copy)]
pub(crate) enum Which<'a> {
    All,
    /// Those that ship in the binary: no fixtures, no examples.
    Bundled,
    /// Those of these names, or names of packages.
    Named(&'a [String]),
}

impl Which<'_> {
    fn has(self, guest: &Guest) -> bool {
        match self {
            Self::All => true,
            Self::Bundled => guest.apart.is_none(),
            Self::Named(names) => names.contains(&guest.name) || names.contains(&guest.package),
        }
    }

    /// Whether one in another language is to be built, for which its tools may be missing.
    fn has_foreign(self, guest: &Foreign) -> bool {
        match self {
            Self::All => true,
            Self::Bundled => false,
            Self::Named(names) => names.iter().any(|name| name == guest.name),
        }
    }
}

/// Builds the named guests, those of `--bundled`, or all of them, and says what changed.
///
/// # Errors
/// When a name is unknown, a guest does not compile, or a component breaks its world.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let workspace = Workspace::load()?;
    let which = match arguments {
        [] => Which::All,
        [flag] if flag == "--bundled" => Which::Bundled,
        names => Which::Named(names),
    };
    build(&workspace, which)
}

/// As [`run`], in a workspace that is known already.
///
/// # Errors
/// As [`run`].
pub(crate) fn build(workspace: &Workspace, which: Which<'_>) -> Result<()> {
    let mut guests = guest::all(workspace)?;
    if let Which::Named(names) = which {
        let foreign = || foreign::ALL.iter().map(|guest| guest.name);
        let known = |name: &String| {
            guests.iter().any(|g| g.name == *name || g.package == *name)
                || foreign().any(|guest| guest == name)
        };
        if let Some(unknown) = names.iter().find(|name| !known(name)) {
            let own = guests.iter().map(|guest| guest.name.as_str());
            let names: Vec<&str> = own.chain(foreign()).collect();
            bail!("no guest `{unknown}`; there are {}", names.join(", "));
        }
    }
    guests.retain(|guest| which.has(guest));

    let way = wasm::ensure()?;
    println!("components: {} guests, {way}", guests.len());
    let contract = Contract::load()?;
    let folder = workspace.components();
    let mut failed = Vec::new();
    // Cargo unites the features of what it builds together: what ships must not depend on
    // what the fixtures and examples ask for.
    for ships in [true, false] {
        let group: Vec<&Guest> = guests
            .iter()
            .filter(|guest| guest.apart.is_none() == ships)
            .collect();
        if group.is_empty() {
            continue;
        }
        let modules = compile(workspace, &group, &way)?;
        for guest in group {
            match modules.get(&guest.library).map_or_else(
                || Err(anyhow!("it did not compile")),
                |module| finish(guest, module, &contract, &folder),
            ) {
                Ok(line) => println!("  {line}"),
                Err(problem) => {
                    eprintln!("  {}: {problem:#}", guest.name);
                    failed.push(guest.name.as_str());
                }
            }
        }
    }
    for guest in foreign::ALL.iter().filter(|guest| which.has_foreign(guest)) {
        match foreigner(workspace, guest, which, &contract, &folder) {
            Ok(line) => println!("  {line}"),
            Err(problem) => {
                eprintln!("  {}: {problem:#}", guest.name);
                failed.push(guest.name);
            }
        }
    }
    digests(workspace, &folder)?;
    if failed.is_empty() {
        Ok(())
    } else {
        bail!("no component of {}", failed.join(", "))
    }
}

/// Builds one in another language: with its tools installed if it was named, else if they are there.
fn foreigner(
    workspace: &Workspace,
    guest: &Foreign,
    which: Which<'_>,
    contract: &Contract,
    folder: &Path,
) -> Result<String> {
    if matches!(which, Which::Named(_)) {
        guest.install(workspace)?;
    } else if !guest.can(workspace) {
        return Ok(format!(
            "{:<28} left out: its tools are not here; `cargo xtask components {}` installs them",
            guest.file(),
            guest.name
        ));
    }
    let path = folder.join(guest.file());
    let mark = path.with_extension("inputs");
    let inputs = guest.inputs(workspace)?;
    if path.is_file() && fs::read_to_string(&mark).is_ok_and(|built| built == inputs) {
        return Ok(format!("{:<28} unchanged", guest.file()));
    }
    let component = guest.build(workspace)?;
    contract.check(&component, guest.world)?;
    write_if_changed(&path, &component)?;
    write_if_changed(&mark, inputs.as_bytes())?;
    Ok(line(&guest.file(), &component, guest.world, "written"))
}

/// What became of a component.
fn line(file: &str, component: &[u8], world: &str, what: &str) -> String {
    let kib = component.len().div_ceil(1024);
    format!("{file:<28} {kib:>6} KiB  {world:<9}  {what}")
}

/// Compiles guests; returns the module of each that compiled. One broken guest does not keep
/// the others from being built; cargo has said then what is wrong.
fn compile(
    workspace: &Workspace,
    guests: &[&Guest],
    way: &Way,
) -> Result<BTreeMap<String, PathBuf>> {
    let mut command = way.cargo();
    command
        .current_dir(&workspace.root)
        .env_remove("RUSTFLAGS")
        .env("CARGO_ENCODED_RUSTFLAGS", portable_paths(workspace, way)?)
        .args(["build", "--keep-going", "--profile", "component"])
        .args(["--target", TARGET])
        .arg("--message-format=json-render-diagnostics")
        .args(way.flags())
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    for guest in guests {
        command.args(["--package", &guest.package]);
    }
    let out = command
        .spawn()
        .and_then(Child::wait_with_output)
        .with_context(|| format!("cannot run {}", shown(&command)))?;
    Ok(out
        .stdout
        .split(|byte| *byte == b'\n')
        .filter_map(|line| serde_json::from_slice(line).ok())
        .filter_map(|message| module(&message))
        .collect())
}

/// The WebAssembly module that a message of cargo's tells of, under the name of its target.
fn module(message: &Value) -> Option<(String, PathBuf)> {
    if message["reason"] != "compiler-artifact" {
        return None;
    }
    let file = message["filenames"]
        .as_array()?
        .iter()
        .filter_map(Value::as_str)
        .find(|file| file.ends_with(".wasm"))?;
    let name = message["target"]["name"].as_str()?;
    Some((name.to_owned(), PathBuf::from(file)))
}

/// Panics name source files. Their paths are rewritten, so that the same sources give the
/// same bytes, and the same digest, in every checkout.
fn portable_paths(workspace: &Workspace, way: &Way) -> Result<String> {
    let sysroot = output(way.rustc().args(["--print", "sysroot"]))?;
    let library = Path::new(sysroot.trim()).join("lib/rustlib/src/rust");
    let mut prefixes = vec![
        (library, "/rust"),
        (workspace.target.clone(), "/target"),
        (workspace.root.clone(), "/tollgate"),
    ];
    if let Some(home) = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::home_dir().map(|home| home.join(".cargo")))
    {
        prefixes.push((home, "/cargo"));
    }
    let flags: Vec<String> = prefixes
        .iter()
        .map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display()))
        .collect();
    // Cargo separates encoded flags by the unit separator: paths may have spaces.
    Ok(flags.join("\u{1f}"))
}

/// Encodes one guest, checks it and writes it. Returns a line that tells what happened.
fn finish(guest: &Guest, module: &Path, contract: &Contract, folder: &Path) -> Result<String> {
    let module = fs::read(module).with_context(|| format!("cannot read {}", module.display()))?;
    let component = encode(&module)?;
    contract.check(&component, &guest.world)?;
    let changed = write_if_changed(&folder.join(guest.file()), &component)?;
    let what = if changed { "written" } else { "unchanged" };
    Ok(line(&guest.file(), &component, &guest.world, what))
}

/// Lists every component that a guest of the workspace has, those of earlier calls too, and
/// removes those of guests that are gone.
fn digests(workspace: &Workspace, folder: &Path) -> Result<()> {
    let mut files: Vec<String> = guest::all(workspace)?.iter().map(Guest::file).collect();
    files.extend(foreign::ALL.iter().map(Foreign::file));
    files.sort();
    for sub in ["", "fixtures", "examples"] {
        let Ok(entries) = fs::read_dir(folder.join(sub)) else {
            continue;
        };
        for entry in entries {
            let path = entry?.path();
            let relative = path.strip_prefix(folder).unwrap_or(&path).to_string_lossy();
            if path.extension().is_some_and(|end| end == "wasm")
                && !files.iter().any(|file| *file == relative)
            {
                fs::remove_file(&path)?;
            }
        }
    }
    let mut list = String::new();
    for file in files {
        if let Ok(bytes) = fs::read(folder.join(&file)) {
            writeln!(list, "{}  {file}", hex(&Sha256::digest(&bytes)))?;
        }
    }
    write_if_changed(&folder.join("DIGESTS"), list.as_bytes())?;
    Ok(())
}

/// Writes beside the file and renames, so that no reader ever sees half of it.
fn write_if_changed(path: &Path, bytes: &[u8]) -> Result<bool> {
    if fs::read(path).is_ok_and(|old| old == bytes) {
        return Ok(false);
    }
    let parent = path.parent().context("a file has a folder")?;
    fs::create_dir_all(parent)?;
    let new = path.with_extension(format!("new-{}", std::process::id()));
    fs::write(&new, bytes).with_context(|| format!("cannot write {}", new.display()))?;
    fs::rename(&new, path).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(true)
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
