//! Where everything is that takes part, how it is started, and how it is asked.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use super::server::Server;
use super::table;
use crate::materials;
use crate::process::{output, shown};
use crate::stages::Counts;
use crate::workspace::Workspace;

/// Where everything is, and how it is started and asked: for one group of servers.
pub(super) struct House {
    pub(super) root: PathBuf,
    /// The group's own, with its configuration, its certificate and its tokens.
    pub(super) folder: PathBuf,
    /// The clients' Python environment.
    venv: PathBuf,
    token: String,
}

impl House {
    /// Puts the configuration of a group, of `tests/conformance`, into a folder with what it names.
    ///
    /// # Errors
    /// When it is not there, or cannot be written.
    pub(super) fn prepare(workspace: &Workspace, venv: &Path, group: &str) -> Result<Self> {
        let folder = workspace.target.join("conformance").join(group);
        fs::create_dir_all(&folder)?;
        let source = workspace
            .root
            .join(format!("tests/conformance/{group}.yaml"));
        let text = fs::read_to_string(&source).with_context(|| format!("{}", source.display()))?;
        fs::write(folder.join("tollgate.yaml"), &text)?;
        materials::certificates(&text, &folder, &[])?;
        let token = materials::token(&folder.join("tokens.yaml"))?;
        Ok(Self {
            root: workspace.root.clone(),
            folder,
            venv: venv.to_owned(),
            token,
        })
    }

    /// Starts a server of `tests/real`.
    ///
    /// # Errors
    /// When one of its addresses is not free, or it cannot be started.
    pub(super) fn real(
        &self,
        name: &'static str,
        script: &str,
        settings: &[(&str, &str)],
        taken: &[&str],
    ) -> Result<Server> {
        let mut command = Command::new(self.root.join("tests/real").join(script));
        command.envs(settings.iter().copied());
        Server::start(name, command, taken, &self.folder)
    }

    /// Starts the proxy with the group's configuration.
    ///
    /// # Errors
    /// When one of its addresses is not free, or it cannot be started.
    pub(super) fn proxy(&self, workspace: &Workspace, taken: &[&str]) -> Result<Server> {
        let mut command = Command::new(workspace.binary());
        command
            .arg("run")
            .arg("tollgate.yaml")
            .current_dir(&self.folder);
        Server::start("tollgate", command, taken, &self.folder)
    }

    /// Runs a script that compares, and reads the cells that it leaves.
    ///
    /// # Errors
    /// When it did not come to its end.
    pub(super) fn cells(&self, script: &str, arguments: &[&str]) -> Result<Vec<table::Cell>> {
        println!("\n== the cells");
        let results = self.folder.join("cells.json");
        fs::remove_file(&results).ok();
        let mut command = self.script(&format!("tests/conformance/{script}"));
        command.args(arguments).arg("--out").arg(&results);
        counted(&mut command)?;
        let text = fs::read_to_string(&results).context("the cells left no results")?;
        table::Cell::read(&text)
    }

    /// A script of the repository, with what all of them are told.
    pub(super) fn script(&self, path: &str) -> Command {
        self.script_in(path, &self.venv)
    }

    /// The same, where it is of Python with another environment.
    pub(super) fn script_in(&self, path: &str, environment: &Path) -> Command {
        let path = self.root.join(path);
        let mut command = if path.extension().is_some_and(|end| end == "py") {
            let mut python = Command::new(environment.join("bin/python"));
            python.arg(path);
            python
        } else {
            Command::new(path)
        };
        command
            .args(["--token", &self.token, "--ca"])
            .arg(self.certificate())
            .env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }

    /// The certificate of the proxy, which vouches for itself.
    pub(super) fn certificate(&self) -> PathBuf {
        self.folder.join("cert.pem")
    }

    /// A header with the token, without the space that not every client takes away.
    pub(super) fn authorization(&self) -> String {
        format!("authorization:Bearer {}", self.token)
    }

    /// Where the real servers' scripts keep their environments.
    pub(super) fn environments() -> PathBuf {
        let given = std::env::var_os("TOLLGATE_REAL").map(PathBuf::from);
        let kept = given.unwrap_or_else(|| {
            let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
            let home = std::env::var_os("HOME").map(PathBuf::from);
            cache
                .or_else(|| home.map(|home| home.join(".cache")))
                .unwrap_or_default()
                .join("tollgate-real")
        });
        kept.join("venv")
    }

    /// The version that a file of the repository pins a package to.
    ///
    /// # Errors
    /// When it pins none.
    pub(super) fn pinned(&self, name: &str, file: &str, package: &str) -> Result<(String, String)> {
        let text = fs::read_to_string(self.root.join(file))
            .with_context(|| format!("cannot read {file}"))?;
        let version =
            table::pinned(&text, package).with_context(|| format!("{file} pins no {package}"))?;
        Ok((name.to_owned(), version.to_owned()))
    }
}

/// What is built here, by its commit where that is known.
pub(super) fn of_tollgate(root: &Path) -> (String, String) {
    let commit = output(
        Command::new("git")
            .args(["describe", "--always", "--dirty"])
            .current_dir(root),
    );
    let version = match commit {
        Ok(commit) => format!("{} ({})", env!("CARGO_PKG_VERSION"), commit.trim()),
        Err(_) => env!("CARGO_PKG_VERSION").to_owned(),
    };
    ("Tollgate".to_owned(), version)
}

/// Runs a script that prints `N passed, N failed` last, and shows what it prints.
pub(super) fn counted(command: &mut Command) -> Result<Counts> {
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
