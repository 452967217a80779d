//! A process that is measured, or that measures: kept to its cores, logged to a file, ended in
//! order.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{
    Pid, Resource, Rlimit, Signal, getrlimit, kill_process, kill_process_group, setrlimit,
};

use super::ask::{Sign, pause, wait};
use crate::process::{output, shown};

/// A start that takes longer has failed. Components may be compiled, on a busy machine.
const START: Duration = Duration::from_secs(120);
/// After SIGTERM; then it is killed.
const END: Duration = Duration::from_secs(40);
const LOOK: Duration = Duration::from_millis(2);
/// Enough for ten thousand streams with a connection on either side.
const FILES: u64 = 65_536;

/// Cores that a process may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cores(String);

impl Cores {
    /// The core of what is measured, and those of everything else. On a machine of one core they
    /// are the same.
    pub(crate) fn split() -> (Self, Self) {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let (proxy, others) = split(cores);
        (Self(proxy), Self(others))
    }

    /// Every core.
    pub(crate) fn all() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self(format!("0-{}", cores - 1))
    }

    /// The program, kept to these cores, as a person would type it.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("taskset");
        command.args(["--cpu-list", &self.0]);
        // Whatever ends us, however suddenly, ends what we started too.
        command
            .args(["setpriv", "--pdeathsig", "TERM"])
            .arg(program);
        command
    }
}

/// The last core is measured; stub and load generator share the one before it, as many as there
/// are up to three.
fn split(cores: usize) -> (String, String) {
    match cores {
        0 | 1 => ("0".into(), "0".into()),
        2 => ("1".into(), "0".into()),
        more => ((more - 1).to_string(), format!("0-{}", (more - 2).min(2))),
    }
}

/// Lets us, and with us all that we start, open as many files as the system allows, up to what
/// is needed.
///
/// # Errors
/// When the system refuses what it had allowed.
pub(crate) fn many_files() -> Result<u64> {
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.map_or(FILES, |maximum| maximum.min(FILES));
    if limit.current.is_none_or(|current| current >= most) {
        return Ok(limit.current.unwrap_or(FILES));
    }
    let wanted = Rlimit {
        current: Some(most),
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, wanted).context("cannot raise the limit of open files")?;
    Ok(most)
}

/// A running process. Dropped, it is killed.
pub(crate) struct Running {
    pub(crate) name: String,
    pub(crate) line: String,
    child: Child,
    log: PathBuf,
}

impl Running {
    /// Starts a program whose output goes to a file of its name in `folder`.
    ///
    /// # Errors
    /// When somebody listens already on one of the addresses, or it cannot be started.
    pub(crate) fn start(
        name: &str,
        mut command: Command,
        listens: &[SocketAddr],
        folder: &Path,
    ) -> Result<Self> {
        use std::os::unix::process::CommandExt as _;

        for address in listens {
            free(*address).with_context(|| format!("{address} is not free for {name}"))?;
        }
        let log = folder.join(format!("{name}.log"));
        let file = File::create(&log).with_context(|| format!("{}", log.display()))?;
        let line = shown(&command);
        let child = command
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("cannot start {line}"))?;
        Ok(Self {
            name: name.to_owned(),
            line,
            child,
            log,
        })
    }

    /// Waits until it serves.
    ///
    /// # Errors
    /// When it ends instead, or takes too long.
    pub(crate) fn serves(&mut self, sign: Sign) -> Result<()> {
        let (name, log) = (&self.name, &self.log);
        let child = &mut self.child;
        wait(sign, START, || match child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("it ended with {status}:\n{}", tail(log)),
        })
        .with_context(|| format!("{name}, log {}", log.display()))
    }

    /// Its processes: itself, and those that it started.
    pub(crate) fn processes(&self) -> Vec<u32> {
        let mut found = vec![self.child.id()];
        let mut at = 0;
        while let Some(process) = found.get(at) {
            found.extend(children(*process));
            at += 1;
        }
        found
    }

    /// Whether it still runs.
    ///
    /// # Errors
    /// When the system does not tell.
    pub(crate) fn runs(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// Sends a signal, unless it has ended.
    ///
    /// # Errors
    /// When the system refuses.
    pub(crate) fn signal(&mut self, signal: Signal) -> Result<()> {
        if self.runs()? {
            kill_process(Pid::from_child(&self.child), signal)?;
        }
        Ok(())
    }

    /// Tells it to end and waits until it has; kills it when it does not.
    ///
    /// # Errors
    /// When it had to be killed.
    pub(crate) fn stop(mut self) -> Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        let told = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if told.elapsed() > END {
                // Dropped, it is killed.
                bail!("{} did not end within {} s", self.name, END.as_secs());
            }
            pause(LOOK);
        }
    }

    /// How many lines it wrote that have all of these texts in them.
    pub(crate) fn lines(&self, texts: &[&str]) -> usize {
        let said = fs::read(&self.log).unwrap_or_default();
        let said = String::from_utf8_lossy(&said);
        let lines = said.lines();
        lines
            .filter(|line| texts.iter().all(|text| line.contains(text)))
            .count()
    }

    /// The end of what it wrote.
    pub(crate) fn said(&self) -> String {
        tail(&self.log)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Those that it started too, which it can no longer end itself. All of it fails when it
        // has ended, which is as well.
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            kill_process_group(Pid::from_child(&self.child), Signal::KILL).ok();
        }
        self.child.wait().ok();
    }
}

/// Waits a moment for an address whose last owner has just gone.
fn free(address: SocketAddr) -> Result<()> {
    let asked = Instant::now();
    loop {
        match TcpListener::bind(address) {
            Ok(_) => return Ok(()),
            Err(problem) if asked.elapsed() > Duration::from_secs(5) => return Err(problem.into()),
            Err(_) => pause(LOOK),
        }
    }
}

fn tail(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let from = text.len().saturating_sub(3000);
    String::from_utf8_lossy(&text[from..]).into_owned()
}

/// Processes that a process started and that still run.
fn children(process: u32) -> Vec<u32> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{process}/task")) else {
        return Vec::new();
    };
    tasks
        .filter_map(|task| fs::read_to_string(task.ok()?.path().join("children")).ok())
        .flat_map(|text| {
            text.split_ascii_whitespace()
                .filter_map(|process| process.parse().ok())
                .collect::<Vec<_>>()
        })
        .collect()
}

/// The first line of what a program says of its version, whichever way it says it.
pub(crate) fn version(program: &Path, flag: &str) -> String {
    let both = format!("{} {flag} 2>&1", program.display());
    output(Command::new("sh").args(["-c", &both]))
        .ok()
        .and_then(|text| {
            let line = text.lines().find(|line| !line.trim().is_empty())?;
            Some(line.trim().to_owned())
        })
        .unwrap_or_else(|| "unknown".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_measured_has_a_core_of_its_own_where_there_are_two() {
        assert_eq!(split(1), ("0".into(), "0".into()));
        assert_eq!(split(2), ("1".into(), "0".into()));
        assert_eq!(split(16), ("15".into(), "0-2".into()));
    }

    #[test]
    fn a_process_is_found_with_its_children_and_dropped_with_them() {
        let folder = std::env::temp_dir().join(format!("tollgate-running-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo begun; sleep 600 & wait"]);
        let mut running = Running::start("sleeper", command, &[], &folder).unwrap();
        let begun = Instant::now();
        let patience = |what: &str| {
            assert!(begun.elapsed() < Duration::from_secs(20), "{what}");
            pause(LOOK);
        };
        while running.processes().len() < 2 {
            patience("no child");
        }
        let child = running.processes()[1];
        assert!(running.runs().unwrap());
        assert!(running.said().contains("begun"));
        drop(running);
        let state = || fs::read_to_string(format!("/proc/{child}/stat"));
        // Gone, or a zombie that nobody has asked after yet.
        while state().is_ok_and(|stat| !stat.contains(") Z ")) {
            patience("the child lives");
        }
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_start_that_fails_shows_what_was_said() {
        let folder = std::env::temp_dir().join(format!("tollgate-failing-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo broken >&2; exit 3"]);
        let mut running = Running::start("broken", command, &[], &folder).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = port.local_addr().unwrap();
        drop(port);
        let problem = format!("{:#}", running.serves(Sign::Listens(address)).unwrap_err());
        assert!(
            problem.contains("broken") && problem.contains("3"),
            "{problem}"
        );
        fs::remove_dir_all(&folder).unwrap();
    }
}
