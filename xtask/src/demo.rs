//! `demo`: from a checkout to real answers over TLS, and then a proxy to try things on.
//!
//! 1. Build the components, then the proxy that carries them.
//! 2. In `target/demo/`: `config/demo.yaml`, a new certificate, a new token.
//! 3. Start the proxy and wait until it says that it is ready.
//! 4. Call it as clients would, each command printed before its answer.
//! 5. Serve until Ctrl-C, or end at once with `--once`; either way the proxy is told to drain.

mod calls;

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::components::Which;
use crate::process::{cargo, output, run as run_command};
use crate::workspace::Workspace;
use crate::{components, examples, materials, needs};

/// Seconds that a start may take: components are compiled then, on a machine that may be busy.
const PATIENCE: u32 = 120;

/// Builds, calls and serves.
///
/// # Errors
/// When something cannot be built or started, or a call fails.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let once = match arguments {
        [] => false,
        [flag] if flag == "--once" => true,
        _ => bail!("cargo xtask demo [--once]"),
    };
    let workspace = Workspace::load()?;
    println!("1. The plugins, as WebAssembly components");
    components::build(&workspace, Which::Bundled)?;
    println!("\n2. The proxy (the sandbox is compiled optimised: some minutes the first time)");
    let mut build = cargo();
    build.args(["build", "--package", "tollgate"]);
    run_command(build.current_dir(&workspace.root))?;
    serve(&workspace, once)
}

/// The demonstration with a proxy that has been built.
///
/// # Errors
/// As [`run`].
pub(crate) fn serve(workspace: &Workspace, once: bool) -> Result<()> {
    needs::curl()?;
    let demo = Demo::prepare(workspace)?;
    println!("\n3. Starting it on {}", demo.address);
    let mut proxy = Proxy::start(workspace, &demo)?;
    let called = proxy
        .ready(&demo)
        .and_then(|()| calls::all(workspace, &demo));
    if called.is_ok() && !once {
        println!(
            "\nTry it yourself; Ctrl-C ends it.\n\n{}",
            calls::invitation(&demo)
        );
        proxy.until_interrupted()?;
    }
    let ended = proxy.stop();
    called.and(ended)
}

/// What the calls need to know.
struct Demo {
    folder: PathBuf,
    config: PathBuf,
    certificate: PathBuf,
    token: String,
    /// Host and port at which clients call.
    address: String,
    /// Host and port that operators ask.
    admin: String,
}

impl Demo {
    fn prepare(workspace: &Workspace) -> Result<Self> {
        let folder = workspace.target.join("demo");
        let source = workspace.root.join("config/demo.yaml");
        let text = fs::read_to_string(&source)
            .with_context(|| format!("cannot read {}", source.display()))?;
        fs::remove_dir_all(&folder).ok();
        fs::create_dir_all(&folder)?;
        let config = folder.join("demo.yaml");
        fs::write(&config, &text)?;
        materials::certificates(&text, &folder, &[])?;
        let certificate = materials::values(&text, "cert")
            .first()
            .map(|cert| folder.join(cert))
            .context("config/demo.yaml names no certificate")?;
        let tokens = examples::token_files(&text);
        let tokens = tokens.first().context("config/demo.yaml names no tokens")?;
        let token = materials::token(&folder.join(tokens))?;

        let admin = text
            .split_once("\nadmin:")
            .and_then(|(_, section)| materials::values(section, "address").first().copied());
        let listener = materials::values(&text, "address")
            .into_iter()
            .find(|address| Some(*address) != admin);
        Ok(Self {
            admin: admin
                .context("config/demo.yaml has no admin address")?
                .to_owned(),
            address: listener
                .context("config/demo.yaml has no listener")?
                .to_owned(),
            folder,
            config,
            certificate,
            token,
        })
    }
}

/// The running proxy. It is a process group of its own, so that Ctrl-C reaches only us, and we
/// end it in order.
struct Proxy {
    child: Child,
}

impl Proxy {
    fn start(workspace: &Workspace, demo: &Demo) -> Result<Self> {
        use std::os::unix::process::CommandExt as _;

        let log = fs::File::create(demo.folder.join("tollgate.log"))?;
        let child = Command::new(workspace.binary())
            .arg("run")
            .arg(&demo.config)
            .current_dir(&demo.folder)
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {}", workspace.binary().display()))?;
        Ok(Self { child })
    }

    /// Waits until `/readyz` says yes. curl does the waiting between two tries.
    fn ready(&mut self, demo: &Demo) -> Result<()> {
        let url = format!("http://{}/readyz", demo.admin);
        let log = demo.folder.join("tollgate.log");
        for _ in 0..PATIENCE {
            if let Some(status) = self.child.try_wait()? {
                let log = fs::read_to_string(log).unwrap_or_default();
                bail!("the proxy ended with {status}:\n{log}");
            }
            let mut ask = Command::new("curl");
            ask.args(["--silent", "--fail", "--max-time", "5", "--noproxy", "*"])
                .args(["--retry", "1", "--retry-delay", "1", "--retry-all-errors"])
                .arg(&url);
            if output(&mut ask).is_ok() {
                println!("   ready; it logs to {}", log.display());
                println!("   for a browser on this machine: http://{}/", demo.admin);
                return Ok(());
            }
        }
        bail!(
            "{url} did not say yes within {PATIENCE} tries; see {}",
            log.display()
        );
    }

    /// Until Ctrl-C, or the proxy ends by itself.
    fn until_interrupted(&mut self) -> Result<()> {
        let pid = pid(&self.child);
        ctrlc::set_handler(move || {
            rustix::process::kill_process(pid, rustix::process::Signal::TERM).ok();
        })?;
        self.child.wait()?;
        Ok(())
    }

    /// Tells it to drain, unless it has ended, and waits for its end.
    fn stop(&mut self) -> Result<()> {
        if self.child.try_wait()?.is_none() {
            rustix::process::kill_process(pid(&self.child), rustix::process::Signal::TERM)?;
        }
        let status = self.child.wait()?;
        if !status.success() {
            bail!("the proxy ended with {status}");
        }
        println!("\nThe proxy drained and ended.");
        Ok(())
    }
}

fn pid(child: &Child) -> rustix::process::Pid {
    rustix::process::Pid::from_child(child)
}
