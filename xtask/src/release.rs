//! `release`: builds the proxy as it ships.
//!
//! 1. Build the components, which the binary carries.
//! 2. Build the binary by a profile of real load, which is in the repository: the compiler inlines
//!    and orders what runs often, and lays it side by side. The same source gives the same binary.
//! 3. Put it into `target/shipped/`.
//!
//! `--train` makes that profile anew first: a build with counters serves every way of the benchmarks,
//! whole and streamed. Names of functions depend on the versions of all that is built and on cargo's
//! settings for a release, so the profile goes stale with those, function by function; what it does not
//! know is built as it would be without.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::bench::house::House;
use crate::bench::measure::{Case, Stage};
use crate::bench::running::many_files;
use crate::bench::subjects::{
    OPENAI, OPENAI_TGIS, Subject, TGIS, TGIS_OPENAI, V2_GRPC, V2_GRPC_REST, V2_REST, V2_REST_GRPC,
    Way,
};
use crate::components::{self, Which};
use crate::process::{cargo, host, on_path, run as run_command, toolchain_programs};
use crate::workspace::Workspace;

/// What functions did under load; relative to the workspace's root. LLVM's indexed format, with
/// those alone that ran.
const PROFILE: &str = "tests/bench/profile/tollgate.profdata";
const PACKAGE: &str = "tollgate";

/// What is trained on: the ways of texts whole and streamed, those of tensors whole.
const TEXTS: [&Way; 4] = [&OPENAI, &TGIS, &OPENAI_TGIS, &TGIS_OPENAI];
const TENSORS: [&Way; 4] = [&V2_REST, &V2_GRPC, &V2_REST_GRPC, &V2_GRPC_REST];
const WHOLE: &[&str] = &["--prompt-bytes", "1024"];
const STREAMED: &[&str] = &["--prompt-bytes", "1024", "--stream"];
const LOAD: [&str; 4] = ["--connections", "32", "--duration", "3"];

/// Trains where that is asked for, and builds.
///
/// # Errors
/// When something does not compile, or a request of the training failed.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let workspace = Workspace::load()?;
    match arguments {
        [] => {}
        [flag] if flag == "--train" => train(&workspace)?,
        _ => bail!("cargo xtask release [--train]"),
    }
    build(&workspace)?;
    println!("{}", workspace.shipped().display());
    Ok(())
}

/// Builds the components and the binary.
///
/// # Errors
/// When something does not compile.
pub(crate) fn build(workspace: &Workspace) -> Result<()> {
    components::build(workspace, Which::Bundled)?;
    let profile = workspace.root.join(PROFILE);
    let flag = format!("-Cprofile-use={}", profile.display());
    let built = compile(workspace, &workspace.target, &flag)?;
    let shipped = workspace.shipped();
    if let Some(folder) = shipped.parent() {
        fs::create_dir_all(folder)?;
    }
    // One that runs keeps its file.
    fs::remove_file(&shipped).ok();
    fs::copy(&built, &shipped).with_context(|| format!("{}", shipped.display()))?;
    Ok(())
}

/// The binary with a flag of rustc's. The target is named in both builds: then neither build scripts
/// nor macros are counted, and functions have the same names.
fn compile(workspace: &Workspace, target: &Path, flag: &str) -> Result<PathBuf> {
    let host = host()?;
    let mut build = cargo();
    build
        .current_dir(&workspace.root)
        .args(["build", "--release", "--locked", "--package", PACKAGE])
        .args(["--target", &host, "--target-dir"])
        .arg(target)
        .env("CARGO_ENCODED_RUSTFLAGS", flag)
        .env("TOLLGATE_COMPONENTS", workspace.components());
    run_command(&mut build)?;
    Ok(target.join(host).join("release").join(PACKAGE))
}

fn train(workspace: &Workspace) -> Result<()> {
    let merge = profdata()?;
    components::build(workspace, Which::Bundled)?;
    let mut programs = cargo();
    programs.args(["build", "--release", "--package", "tollgate-bench"]);
    run_command(programs.current_dir(&workspace.root))?;

    let folder = workspace.target.join("training");
    let counts = folder.join("counts");
    let flag = format!("-Cprofile-generate={}", counts.display());
    let counting = compile(workspace, &folder, &flag)?;
    many_files()?;
    let house = House::prepare(workspace, folder.join("work"), false)?.of(counting);
    // Compiles the components, which is no part of what is trained: it finds them compiled then.
    for way in [&OPENAI, &V2_REST] {
        Stage::set(&house, &case(way, WHOLE))?.clear()?;
    }
    fs::remove_dir_all(&counts).context("nothing was counted")?;
    for way in TEXTS {
        serve(&house, way, WHOLE)?;
        serve(&house, way, STREAMED)?;
    }
    for way in TENSORS {
        serve(&house, way, &[])?;
    }

    let counted: Vec<PathBuf> = fs::read_dir(&counts)
        .context("nothing was counted")?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    let profile = workspace.root.join(PROFILE);
    run_command(
        Command::new(merge)
            .args(["merge", "--sparse", "--output"])
            .arg(&profile)
            .args(counted),
    )?;
    println!("written: {PROFILE}");
    Ok(())
}

fn case(way: &Way, load: &[&str]) -> Case {
    Case {
        setting: String::new(),
        subject: Subject::Tollgate,
        way: *way,
        stub: Vec::new(),
        load: [load, &LOAD]
            .concat()
            .into_iter()
            .map(str::to_owned)
            .collect(),
    }
}

/// Serves one way for some seconds; the counts are written when the proxy ends.
fn serve(house: &House, way: &Way, load: &[&str]) -> Result<()> {
    let case = case(way, load);
    let stage = Stage::set(house, &case)?;
    let (report, _) = case
        .load(house)?
        .run(&house.programs(), &house.other_cores)?;
    stage.clear()?;
    report.sound().with_context(|| way.name)?;
    println!("  {:<20} {:>8} requests", way.name, report.requests);
    Ok(())
}

/// LLVM's tool of the compiler's own version, which rustup fetches on the first run.
fn profdata() -> Result<PathBuf> {
    let tool = toolchain_programs()?.join("llvm-profdata");
    if !tool.is_file() {
        if !on_path("rustup") {
            bail!("training needs llvm-profdata, and rustup to fetch it is not here");
        }
        run_command(Command::new("rustup").args(["component", "add", "llvm-tools"]))?;
    }
    Ok(tool)
}
