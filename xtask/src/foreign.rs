//! Guests in other languages: built by their own tools where those are there, and held to the same
//! contract. They are examples, and do not ship.
//!
//! * C: clang and the linker for WebAssembly with a C library, by Debian's packages.
//! * Python: componentize-py, from PyPI, in an environment of its own; what it would ask of WASI is
//!   answered by traps.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};
use tollgate_component::{c_bindings, encode};

use crate::components::hex;
use crate::process::{on_path, output, run};
use crate::wasm::apt;
use crate::workspace::Workspace;

const C_PACKAGES: [&str; 4] = ["clang", "lld", "wasi-libc", "libclang-rt-dev-wasm32"];
const COMPONENTIZE: &str = "componentize-py==0.25.1";

/// A guest that is no package.
pub(crate) struct Foreign {
    pub(crate) name: &'static str,
    pub(crate) world: &'static str,
    tool: Tool,
}

#[derive(Clone, Copy)]
enum Tool {
    C,
    Python,
}

/// All of them, each in a folder of its name in `plugins/examples/`.
pub(crate) const ALL: [Foreign; 2] = [
    Foreign {
        name: "c-quill",
        world: "protocol",
        tool: Tool::C,
    },
    Foreign {
        name: "python-quill",
        world: "protocol",
        tool: Tool::Python,
    },
];

impl Foreign {
    /// Path of the component below the folder of components.
    pub(crate) fn file(&self) -> String {
        format!("examples/{}.wasm", self.name)
    }

    /// Whether its tools are there already.
    pub(crate) fn can(&self, workspace: &Workspace) -> bool {
        match self.tool {
            Tool::C => {
                on_path("clang")
                    && on_path("wasm-ld")
                    && sysroot().join("include/wasm32-wasi").is_dir()
            }
            Tool::Python => componentize(workspace).is_file(),
        }
    }

    /// Installs its tools.
    ///
    /// # Errors
    /// When they cannot be had here.
    pub(crate) fn install(&self, workspace: &Workspace) -> Result<()> {
        if self.can(workspace) {
            return Ok(());
        }
        match self.tool {
            Tool::C => apt(&C_PACKAGES),
            Tool::Python => {
                let folder = venv(workspace);
                let venv = || {
                    let mut command = Command::new("python3");
                    command.args(["-m", "venv", "--clear"]).arg(&folder);
                    command
                };
                // Debian's python3 comes without what venv needs.
                if output(&mut venv()).is_err() {
                    apt(&["python3", "python3-venv"])?;
                    run(&mut venv())?;
                }
                run(Command::new(folder.join("bin/pip"))
                    .args(["install", "--quiet", "--disable-pip-version-check"])
                    .args(["--only-binary=:all:", COMPONENTIZE]))
            }
        }
    }

    /// What it is built from, as a digest: it takes a while, and is not done for nothing.
    ///
    /// # Errors
    /// When its sources cannot be read.
    pub(crate) fn inputs(&self, workspace: &Workspace) -> Result<String> {
        let mut digest = Sha256::new();
        digest.update(COMPONENTIZE);
        for (name, text) in tollgate_component::wit() {
            digest.update(name);
            digest.update(text);
        }
        for file in self.sources(workspace)? {
            digest.update(file.to_string_lossy().as_bytes());
            digest.update(fs::read(&file)?);
        }
        Ok(hex(&digest.finalize()))
    }

    fn folder(&self, workspace: &Workspace) -> PathBuf {
        workspace.root.join("plugins/examples").join(self.name)
    }

    fn sources(&self, workspace: &Workspace) -> Result<Vec<PathBuf>> {
        let end = match self.tool {
            Tool::C => "c",
            Tool::Python => "py",
        };
        let folder = self.folder(workspace);
        let mut files = Vec::new();
        for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let path = entry?.path();
            if path.extension().is_some_and(|it| it == end) {
                files.push(path);
            }
        }
        files.sort();
        Ok(files)
    }

    /// Builds it. The component is not held against its world yet.
    ///
    /// # Errors
    /// What its tools say.
    pub(crate) fn build(&self, workspace: &Workspace) -> Result<Vec<u8>> {
        let folder = workspace.target.join("foreign").join(self.name);
        fs::create_dir_all(&folder)?;
        match self.tool {
            Tool::C => {
                let module = self.link(workspace, &folder)?;
                Ok(encode(&fs::read(module)?)?)
            }
            Tool::Python => {
                let wit = folder.join("wit");
                fs::create_dir_all(&wit)?;
                for (name, text) in tollgate_component::wit() {
                    fs::write(wit.join(name), text)?;
                }
                let component = folder.join("component.wasm");
                let told = output(
                    Command::new(componentize(workspace))
                        .args(["--world", self.world, "--wit-path"])
                        .arg(&wit)
                        .args(["componentize", "--stub-wasi", "--python-path"])
                        .arg(self.folder(workspace))
                        .args(["app", "--output"])
                        .arg(&component),
                );
                told.map(drop)?;
                Ok(fs::read(component)?)
            }
        }
    }

    fn link(&self, workspace: &Workspace, folder: &Path) -> Result<PathBuf> {
        let mut bindings = Vec::new();
        for (name, content) in c_bindings(self.world)? {
            let file = folder.join(&name);
            fs::write(&file, content)?;
            if !name.ends_with(".h") {
                bindings.push(file);
            }
        }
        let module = folder.join("module.wasm");
        run(Command::new("clang")
            .args(["--target=wasm32-wasi", "-O2", "-Wall", "-Wextra", "-Werror"])
            .arg(format!("--sysroot={}", sysroot().display()))
            // No `main`, nothing to begin with: a component is called.
            .args([
                "-mexec-model=reactor",
                "-nostartfiles",
                "-Wl,--no-entry",
                "-s",
            ])
            .arg("-I")
            .arg(folder)
            .args(self.sources(workspace)?)
            .args(bindings)
            .arg("-o")
            .arg(&module))?;
        if !module.is_file() {
            bail!("clang wrote no {}", module.display());
        }
        Ok(module)
    }
}

/// Where headers and libraries for WebAssembly are: Debian's, or what the environment names.
fn sysroot() -> PathBuf {
    std::env::var_os("WASI_SYSROOT").map_or_else(|| "/usr".into(), PathBuf::from)
}

fn venv(workspace: &Workspace) -> PathBuf {
    workspace.target.join("tools/componentize")
}

fn componentize(workspace: &Workspace) -> PathBuf {
    venv(workspace).join("bin/componentize-py")
}
