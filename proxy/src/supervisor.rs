//! Tells a supervisor (systemd) how the process is: sd_notify(3), over a datagram socket of its own.
//!
//! Where nobody wants to be told, nothing is. What cannot be sent is left out: a process that serves
//! does not end because nobody listens.

use std::{
    env,
    ffi::OsStr,
    os::{
        linux::net::SocketAddrExt,
        unix::{
            ffi::OsStrExt,
            net::{SocketAddr, UnixDatagram},
        },
    },
    sync::Arc,
    time::Duration,
};

use rustix::time::{ClockId, clock_gettime};

use crate::life::Life;

/// Who is to be told.
#[derive(Debug, Default)]
pub(crate) struct Supervisor {
    socket: Option<(UnixDatagram, SocketAddr)>,
    /// How long we may be silent.
    watchdog: Option<Duration>,
}

impl Supervisor {
    /// By the environment: `NOTIFY_SOCKET`, `WATCHDOG_USEC`, `WATCHDOG_PID`.
    pub(crate) fn of_environment() -> Self {
        let number = |name: &str| env::var(name).ok()?.parse::<u64>().ok();
        let ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let watchdog = number("WATCHDOG_USEC").filter(|micros| ours && *micros > 0);
        Self {
            socket: env::var_os("NOTIFY_SOCKET").and_then(|path| socket(&path)),
            watchdog: watchdog.map(Duration::from_micros),
        }
    }

    /// It serves, under the configuration that it has now.
    pub(crate) fn ready(&self) {
        self.tell("READY=1\nSTATUS=serving");
    }

    /// It reads its configuration again, until it is ready.
    pub(crate) fn reloading(&self) {
        if self.socket.is_some() {
            let now = clock_gettime(ClockId::Monotonic);
            let micros = now.tv_sec * 1_000_000 + now.tv_nsec / 1000;
            self.tell(&format!(
                "RELOADING=1\nMONOTONIC_USEC={micros}\nSTATUS=taking in what has changed"
            ));
        }
    }

    /// It is ending.
    pub(crate) fn stopping(&self) {
        self.tell("STOPPING=1\nSTATUS=draining");
    }

    /// Another process has taken its place.
    pub(crate) fn main(&self, pid: u32) {
        self.tell(&format!("MAINPID={pid}"));
    }

    fn tell(&self, what: &str) {
        if let Some((socket, to)) = &self.socket
            && let Err(error) = socket.send_to_addr(what.as_bytes(), to)
        {
            tracing::debug!(%error, "the supervisor is not told");
        }
    }
}

/// A path, or, after `@`, a name in the abstract namespace.
fn socket(path: &OsStr) -> Option<(UnixDatagram, SocketAddr)> {
    let to = match path.as_bytes() {
        [b'/', ..] => SocketAddr::from_pathname(path),
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        _ => return None,
    };
    let socket = UnixDatagram::unbound().ok()?;
    // A supervisor that reads nothing stops nobody.
    socket.set_nonblocking(true).ok()?;
    Some((socket, to.ok()?))
}

/// Says again and again that the process is alive, as often as the supervisor wants: from the threads
/// that serve, so that it is silent when they are stuck.
pub(crate) async fn reassure(life: Arc<Life>) {
    let Some(silence) = life.supervisor().watchdog else {
        return;
    };
    loop {
        life.supervisor().tell("WATCHDOG=1");
        tokio::time::sleep(silence / 3).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_arrives_by_path_and_by_name() {
        let folder = env::temp_dir().join(format!("tollgate-notify-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("there is a place");
        let path = folder.join("notify");
        let name = format!("tollgate-notify-{}", std::process::id());
        let abstract_name = SocketAddr::from_abstract_name(&name).expect("it is short");
        for (bound, called) in [
            (UnixDatagram::bind(&path), path.clone().into_os_string()),
            (
                UnixDatagram::bind_addr(&abstract_name),
                format!("@{name}").into(),
            ),
        ] {
            let bound = bound.expect("nobody else has it");
            let supervisor = Supervisor {
                socket: socket(&called),
                watchdog: None,
            };
            supervisor.ready();
            supervisor.reloading();
            supervisor.main(7);
            let mut heard = [0; 256];
            let mut hear = || {
                let length = bound.recv(&mut heard).expect("it is there");
                String::from_utf8_lossy(&heard[..length]).into_owned()
            };
            assert!(hear().starts_with("READY=1\n"));
            let reloading = hear();
            let since = reloading
                .lines()
                .find_map(|it| it.strip_prefix("MONOTONIC_USEC="));
            assert!(since.is_some_and(|it| it.parse::<u64>().is_ok_and(|it| it > 0)));
            assert_eq!(hear(), "MAINPID=7");
        }
        std::fs::remove_dir_all(&folder).expect("it is ours");
        assert!(socket(OsStr::new("neither")).is_none());
        Supervisor::default().ready();
    }
}
