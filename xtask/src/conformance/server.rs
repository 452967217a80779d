//! A server that we started: what it prints goes to a file, and it is ended in order.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::process::output;

/// A running server, the first of a process group of its own. Dropped, the group is told to end.
pub(super) struct Server {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Server {
    /// Starts it, with a log named after its program in `folder`.
    ///
    /// # Errors
    /// When somebody listens already on one of the `taken` addresses, or it cannot be started.
    pub(super) fn start(
        name: &'static str,
        mut command: Command,
        taken: &[&str],
        folder: &Path,
    ) -> Result<Self> {
        use std::os::unix::process::CommandExt as _;

        for address in taken {
            TcpListener::bind(address)
                .with_context(|| format!("{address} is not free for {name}"))?;
        }
        let program = Path::new(command.get_program()).file_stem();
        let stem = program.unwrap_or_default().to_string_lossy().into_owned();
        let log = folder.join(format!("{stem}.log"));
        let file = File::create(&log)?;
        let child = command
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        println!("   {name}: process {}, log {}", child.id(), log.display());
        Ok(Self { name, child, log })
    }

    /// Asks until the answer is 200. curl waits a second between two tries.
    ///
    /// # Errors
    /// When it ends instead, or patience does.
    pub(super) fn wait(&mut self, url: &str, patience: u32) -> Result<()> {
        for _ in 0..patience {
            if let Some(status) = self.child.try_wait()? {
                let log = fs::read_to_string(&self.log).unwrap_or_default();
                let from = log.len().saturating_sub(4000);
                let end = log.get(from..).unwrap_or(&log);
                bail!("{} ended with {status}:\n{end}", self.name);
            }
            let mut ask = Command::new("curl");
            ask.args(["--silent", "--fail", "--max-time", "5", "--noproxy", "*"])
                .args(["--retry", "1", "--retry-delay", "1", "--retry-all-errors"])
                .arg(url);
            if output(&mut ask).is_ok() {
                return Ok(());
            }
        }
        bail!("{} was not ready; see {}", self.name, self.log.display())
    }

    /// Tells it to end, and waits until it has.
    ///
    /// # Errors
    /// When it ends with anything but success.
    pub(super) fn stop(mut self) -> Result<()> {
        self.tell()?;
        let status = self.child.wait()?;
        if !status.success() {
            bail!(
                "{} ended with {status}; see {}",
                self.name,
                self.log.display()
            );
        }
        Ok(())
    }

    fn tell(&mut self) -> Result<()> {
        if self.child.try_wait()?.is_none() {
            kill_process_group(Pid::from_child(&self.child), Signal::TERM)?;
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.tell().is_ok() {
            self.child.wait().ok();
        }
    }
}

/// The port of `HOST:PORT`.
///
/// # Errors
/// When there is none.
pub(super) fn port(address: &str) -> Result<&str> {
    let (_, port) = address
        .rsplit_once(':')
        .with_context(|| format!("{address} has no port"))?;
    Ok(port)
}
