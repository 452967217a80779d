//! How this machine compiles for WebAssembly, and what it takes to make it able to.
//!
//! 1. The toolchain has the target: nothing to do.
//! 2. rustup can add it.
//! 3. Debian's packages have a second compiler with its sources: the standard library is then
//!    built from source once a target folder, which takes some minutes.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process::{cargo, on_path, output, run, rustc, toolchain_programs};

/// What guests are compiled for: no WASI, so that they import only what their world says.
pub(crate) const TARGET: &str = "wasm32-unknown-unknown";

/// Setting this to `debian` skips the first two ways, so that the third can be tried.
const FORCE: &str = "TOLLGATE_WASM";

const DEBIAN_PACKAGES: [&str; 2] = ["rustc-web", "rust-web-src"];

/// How guests are compiled here.
pub(crate) enum Way {
    /// The toolchain had the target.
    Installed,
    /// rustup added the target just now.
    Added,
    /// Debian's second compiler, with the standard library built from source.
    Debian {
        rustc: PathBuf,
        /// Folder of `rust-lld`, put on PATH.
        linker: PathBuf,
    },
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Installed => write!(f, "with the toolchain's own {TARGET}"),
            Self::Added => write!(f, "with {TARGET} as rustup added it"),
            Self::Debian { rustc, .. } => write!(
                f,
                "with {} and its standard library built from source",
                rustc.display()
            ),
        }
    }
}

impl Way {
    /// A cargo that compiles this way.
    pub(crate) fn cargo(&self) -> Command {
        let mut command = cargo();
        if let Self::Debian { rustc, linker } = self {
            let path = std::env::var_os("PATH").unwrap_or_default();
            let dirs = std::iter::once(linker.clone()).chain(std::env::split_paths(&path));
            command
                .env("RUSTC", rustc)
                // `-Zbuild-std` is the one way to a target whose library is not shipped.
                .env("RUSTC_BOOTSTRAP", "1");
            if let Ok(path) = std::env::join_paths(dirs) {
                command.env("PATH", path);
            }
        }
        command
    }

    /// The compiler of this way.
    pub(crate) fn rustc(&self) -> Command {
        match self {
            Self::Debian { rustc, .. } => Command::new(rustc),
            Self::Installed | Self::Added => rustc(),
        }
    }

    /// Further arguments of `cargo build`.
    pub(crate) fn flags(&self) -> &'static [&'static str] {
        match self {
            Self::Installed | Self::Added => &[],
            Self::Debian { .. } => &["-Zbuild-std=std,panic_abort"],
        }
    }
}

/// Finds a way, installing what is missing, and says so when it installs.
///
/// # Errors
/// When none of the three is to be had; tells what a person could do.
pub(crate) fn ensure() -> Result<Way> {
    if std::env::var_os(FORCE).is_none_or(|way| way != "debian") {
        if installed()? {
            return Ok(Way::Installed);
        }
        if on_path("rustup") {
            println!("components: {TARGET} is missing: rustup target add {TARGET}");
            match run(Command::new("rustup").args(["target", "add", TARGET])) {
                Ok(()) if installed()? => return Ok(Way::Added),
                Ok(()) => println!("components: rustup added it to another toolchain"),
                Err(problem) => println!("components: {problem}"),
            }
        }
    }
    debian().with_context(|| {
        format!(
            "{TARGET} is missing: add it with `rustup target add {TARGET}`, or on Debian with \
             `apt-get install {}`",
            DEBIAN_PACKAGES.join(" ")
        )
    })
}

fn installed() -> Result<bool> {
    let libraries = output(rustc().args(["--print", "target-libdir", "--target", TARGET]))?;
    Ok(Path::new(libraries.trim()).is_dir())
}

fn debian() -> Result<Way> {
    let rustc = PathBuf::from("/usr/bin/rustc");
    let sources = Path::new("/usr/lib/rustlib/src/rust/library");
    if !rustc.is_file() || !sources.is_dir() {
        apt(&DEBIAN_PACKAGES)?;
    }
    // Debian's compiler brings no linker for WebAssembly; the toolchain that builds the host does.
    let linker = toolchain_programs()?;
    if !linker.join("rust-lld").is_file() {
        bail!("no rust-lld in {}", linker.display());
    }
    Ok(Way::Debian { rustc, linker })
}

/// Installs Debian's packages, saying so.
///
/// # Errors
/// When this is no Debian, or apt-get fails (it needs root).
pub(crate) fn apt(packages: &[&str]) -> Result<()> {
    if !on_path("apt-get") {
        bail!("no apt-get here to install {}", packages.join(" "));
    }
    println!("apt-get install {}", packages.join(" "));
    let quiet = |command: &mut Command| {
        run(command
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdout(std::process::Stdio::null()))
    };
    quiet(Command::new("apt-get").args(["update", "-qq"]))?;
    quiet(
        Command::new("apt-get")
            .args(["install", "-qq", "--yes", "--no-install-recommends"])
            .args(packages),
    )
}
