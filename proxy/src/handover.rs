//! Sockets that come from another process: from a supervisor that opened them, or from an earlier
//! one of ours whose place this one takes.
//!
//! How another process takes our place, without a moment in which nobody listens:
//!
//! 1. The one that serves starts the program again, as it was called, with copies of its listening
//!    sockets, by the protocol of sd_listen_fds(3). A listening socket has one queue of connections,
//!    whoever holds it: those that come from now on are accepted by one of the two.
//! 2. The new one reads its configuration, puts everything together, takes the sockets of the listeners
//!    that have the same name and address, opens the others itself, and begins to accept. Then it says
//!    so, on the stream that is its standard input.
//! 3. The old one lets go of its sockets and drains. If it hears nothing, or the new one ends, it goes
//!    on as if nothing had been.
//!
//! The binary may be another one by then: what is started is what lies at the path of the old one. By
//! inheritance, and not over a socket with a name: nobody else can ask for the sockets, there is
//! nothing to be configured or cleaned up, and a supervisor is given the new one's number.

use std::{
    env, io,
    io::Write as _,
    net::{SocketAddr, TcpListener},
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::net::UnixStream,
    },
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use listenfd::ListenFd;
use rustix::io::{FdFlags, fcntl_setfd};
use tokio::io::AsyncReadExt;

/// Set for a process that takes another one's place.
const VARIABLE: &str = "TOLLGATE_HANDOVER";
/// What it says when it serves.
const SERVES: &[u8] = b"serves\n";
/// How long it may take until then: on a bare machine it compiles every component.
const PATIENCE: Duration = Duration::from_secs(120);
/// The first descriptor of the protocol.
const FIRST: i32 = 3;
/// Name of a descriptor in between that is nothing of ours.
const NONE: &str = "-";

/// Sockets that listen, by the names of their listeners.
#[derive(Debug, Default)]
pub(crate) struct Doors(Vec<(String, OwnedFd)>);

/// No other process has taken our place.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UpgradeError {
    #[error("the configuration is being read, or another process is being started")]
    Busy,
    #[error("this process is ending")]
    Ending,
    #[error("another process cannot be started: {0}")]
    Start(#[from] io::Error),
    #[error("the other process ended before it served; its log says why")]
    Ended,
    #[error("the other process did not serve within {PATIENCE:?}")]
    Late,
}

// === impl Doors ===

impl Doors {
    /// One more. As many as the configuration has listeners.
    pub(crate) fn push(&mut self, name: &str, socket: OwnedFd) {
        self.0.push((name.to_owned(), socket));
    }

    /// Lets go of all.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

/// Copies that a process which is started inherits.
///
/// # Errors
/// When the system has no room for them.
pub(crate) fn copies(doors: &Doors) -> io::Result<Doors> {
    let mut copies = Doors::default();
    for (name, socket) in &doors.0 {
        let copy = socket.try_clone()?;
        fcntl_setfd(&copy, FdFlags::empty())?;
        copies.push(name, copy);
    }
    Ok(copies)
}

/// The names of descriptors from the first to the last, those that are none of ours among them.
fn names(doors: &Doors) -> Vec<String> {
    let mut names = Vec::new();
    for (name, socket) in &doors.0 {
        let at = usize::try_from(socket.as_raw_fd() - FIRST).unwrap_or_default();
        if names.len() <= at {
            names.resize(at + 1, NONE.to_owned());
        }
        names[at].clone_from(name);
    }
    names
}

/// Starts the program with copies of the sockets, and waits until it serves. Gives its number.
///
/// # Errors
/// See [`UpgradeError`]; then it has ended.
pub(crate) async fn start(program: &Path, doors: Doors) -> Result<u32, UpgradeError> {
    let (ours, theirs) = UnixStream::pair()?;
    let names = names(&doors);
    let mut child = Command::new(program)
        .args(env::args_os().skip(1))
        .env("LISTEN_FDS", names.len().to_string())
        .env("LISTEN_FDNAMES", names.join(":"))
        .env(VARIABLE, "1")
        // They name the process that is to end.
        .env_remove("LISTEN_PID")
        .env_remove("WATCHDOG_PID")
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .spawn()?;
    drop(doors);
    ours.set_nonblocking(true)?;
    let heard = tokio::time::timeout(PATIENCE, hear(ours)).await;
    match heard {
        Ok(true) => return Ok(child.id()),
        Ok(false) => {}
        // It fails when it has ended by itself.
        Err(_) => drop(child.kill()),
    }
    let late = heard.is_err();
    let ended = tokio::task::spawn_blocking(move || end(&mut child)).await;
    if let Ok(Some(status)) = ended {
        tracing::warn!(%status, "the other process has ended");
    }
    Err(match late {
        true => UpgradeError::Late,
        false => UpgradeError::Ended,
    })
}

/// It has closed its side: it ends, or is ended.
fn end(child: &mut Child) -> Option<std::process::ExitStatus> {
    // One that lives and says nothing any more is of no use to anybody.
    let _ = child.kill();
    child.wait().ok()
}

/// Whether it says that it serves.
async fn hear(stream: UnixStream) -> bool {
    let Ok(mut stream) = tokio::net::UnixStream::from_std(stream) else {
        return false;
    };
    let mut said = [0; SERVES.len()];
    stream.read_exact(&mut said).await.is_ok() && said == SERVES
}

/// What this process was given when it was started.
#[derive(Debug, Default)]
pub(crate) struct Inherited {
    sockets: Vec<(String, TcpListener)>,
    /// Whose place we take.
    former: Option<UnixStream>,
}

impl Inherited {
    /// By the environment. To be called once, before there are threads: descriptors are taken, and
    /// variables that name them are removed.
    pub(crate) fn of_environment() -> Self {
        let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
        let names: Vec<&str> = names.split(':').collect();
        let mut given = ListenFd::from_env();
        let mut inherited = Self::default();
        for at in 0..given.len() {
            let name = names.get(at).copied().unwrap_or_default();
            if name == NONE {
                continue;
            }
            match given.take_tcp_listener(at) {
                Ok(Some(socket)) => inherited.sockets.push((name.to_owned(), socket)),
                Ok(None) => {}
                Err(error) => eprintln!("tollgate: a socket that was handed over: {error}"),
            }
        }
        if env::var_os(VARIABLE).is_some() {
            let stream = io::stdin().as_fd().try_clone_to_owned();
            inherited.former = stream.ok().map(UnixStream::from);
        }
        inherited
    }

    /// The socket of a listener: the one of its name, or else the one that has its address.
    pub(crate) fn take(&mut self, name: &str, address: SocketAddr) -> Option<TcpListener> {
        let is_at = |socket: &TcpListener| socket.local_addr().is_ok_and(|it| it == address);
        let strict = self.former.is_some();
        // A supervisor knows best where it listens. An earlier process of ours knows its own
        // configuration, and the address may be another by now; port 0 is any port.
        let fits = |socket: &TcpListener| {
            let same_ip = || socket.local_addr().is_ok_and(|it| it.ip() == address.ip());
            !strict || is_at(socket) || (address.port() == 0 && same_ip())
        };
        let mut sockets = self.sockets.iter();
        let named = sockets.position(|(known, socket)| known == name && fits(socket));
        let at = named.or_else(|| {
            let mut sockets = self.sockets.iter();
            sockets.position(|(_, socket)| !strict && is_at(socket))
        })?;
        let (_, socket) = self.sockets.swap_remove(at);
        tracing::info!(name, "a socket was handed over");
        Some(socket)
    }

    /// Closes what no listener wants.
    pub(crate) fn drop_the_rest(&mut self) {
        for (name, socket) in self.sockets.drain(..) {
            let address = socket.local_addr().ok();
            tracing::warn!(
                name,
                ?address,
                "a socket that was handed over is no listener's"
            );
        }
    }

    /// Tells whose place we take that we serve.
    pub(crate) fn serves(&mut self) {
        if let Some(mut former) = self.former.take()
            && let Err(error) = former.write_all(SERVES)
        {
            tracing::warn!(%error, "the process whose place this one takes does not hear of it");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket() -> (TcpListener, SocketAddr) {
        let socket = TcpListener::bind(("127.0.0.1", 0)).expect("there is a free port");
        let address = socket.local_addr().expect("it has one");
        (socket, address)
    }

    #[test]
    fn names_stand_where_their_descriptors_do() {
        let mut doors = Doors::default();
        for name in ["a", "b"] {
            doors.push(name, socket().0.into());
        }
        let copies = copies(&doors).expect("there is room");
        let names = names(&copies);
        for (name, socket) in &copies.0 {
            let at = usize::try_from(socket.as_raw_fd() - FIRST).expect("it is after the first");
            assert_eq!(names[at], *name);
        }
        assert_eq!(names.iter().filter(|it| *it != NONE).count(), 2);
    }

    #[test]
    fn a_supervisors_socket_is_found_by_name_or_by_address() {
        let ((one, first), (two, second), (three, _)) = (socket(), socket(), socket());
        let mut inherited = Inherited {
            sockets: vec![
                ("plain".into(), one),
                ("unknown".into(), two),
                ("nobody".into(), three),
            ],
            former: None,
        };
        let elsewhere = SocketAddr::from(([0, 0, 0, 0], 1));
        let taken = inherited.take("plain", elsewhere).expect("by its name");
        assert_eq!(taken.local_addr().ok(), Some(first));
        let taken = inherited.take("tls", second).expect("by its address");
        assert_eq!(taken.local_addr().ok(), Some(second));
        assert!(inherited.take("other", elsewhere).is_none());
        assert_eq!(inherited.sockets.len(), 1);
    }

    #[test]
    fn an_earlier_processes_socket_is_taken_only_where_its_listener_still_is() {
        let ((one, first), (two, _)) = (socket(), socket());
        let (ours, _theirs) = UnixStream::pair().expect("there is room");
        let mut inherited = Inherited {
            sockets: vec![("a".into(), one), ("b".into(), two)],
            former: Some(ours),
        };
        let moved = SocketAddr::from(([127, 0, 0, 1], 1));
        assert!(inherited.take("b", moved).is_none());
        assert!(inherited.take("c", first).is_none(), "another listener's");
        assert!(inherited.take("a", first).is_some());
        assert!(
            inherited
                .take("b", SocketAddr::from(([127, 0, 0, 1], 0)))
                .is_some()
        );
    }
}
