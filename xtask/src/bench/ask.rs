//! Requests over loopback, and waiting until one is answered with 200.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// For one exchange; who takes longer than this has no answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two tries: the resolution of a measured start.
const PAUSE: Duration = Duration::from_micros(500);
/// Most bytes of an answer: a page of metrics is far smaller.
const ANSWER: u64 = 16 << 20;

/// Lets time pass. Here nothing else is to be done, and other processes are what is waited for.
#[expect(
    clippy::disallowed_methods,
    reason = "no runtime to block: this program does one thing after the other"
)]
pub(crate) fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// The body of an answer of 200.
///
/// # Errors
/// When there is no answer, or one of another status.
pub(crate) fn get(address: SocketAddr, path: &str) -> Result<String> {
    ask("GET", address, path, PATIENCE)
}

/// The same of a POST without a body, which may take some time.
///
/// # Errors
/// As [`get`].
pub(crate) fn post(address: SocketAddr, path: &str) -> Result<String> {
    ask("POST", address, path, 10 * PATIENCE)
}

fn ask(method: &str, address: SocketAddr, path: &str, patience: Duration) -> Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(
        format!(
            "{method} {path} HTTP/1.1\r\nHost: {address}\r\nContent-Length: 0\r\n\
             Connection: close\r\n\r\n"
        )
        .as_bytes(),
    )?;
    let mut answer = String::new();
    stream.take(ANSWER).read_to_string(&mut answer)?;
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .with_context(|| format!("{address}{path}: no whole answer"))?;
    let status = head.split(' ').nth(1).unwrap_or_default();
    if status != "200" {
        bail!("{address}{path}: status {status}: {body}");
    }
    Ok(body.to_owned())
}

/// What is waited for.
#[derive(Clone, Copy)]
pub(crate) enum Sign {
    /// That somebody listens.
    Listens(SocketAddr),
    /// That a path is answered with 200.
    Answers(SocketAddr, &'static str),
}

impl Sign {
    fn seen(self) -> bool {
        match self {
            Self::Listens(address) => TcpStream::connect_timeout(&address, PATIENCE).is_ok(),
            Self::Answers(address, path) => get(address, path).is_ok(),
        }
    }
}

/// Waits for a sign. `alive` is asked between two tries, and fails when there is nobody left to
/// wait for.
///
/// # Errors
/// When `alive` fails, or the time is over.
pub(crate) fn wait(
    sign: Sign,
    most: Duration,
    mut alive: impl FnMut() -> Result<()>,
) -> Result<()> {
    let start = Instant::now();
    while !sign.seen() {
        alive()?;
        if start.elapsed() > most {
            bail!("no sign of it after {} s", most.as_secs());
        }
        pause(PAUSE);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn answering(answer: &'static str) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut asked = [0; 512];
                let _ = stream.read(&mut asked);
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        address
    }

    #[test]
    fn only_200_is_an_answer() {
        let good = answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi");
        assert_eq!(get(good, "/").unwrap(), "hi");
        let bad = answering("HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n");
        assert!(get(bad, "/").is_err());
    }

    #[test]
    fn waiting_ends_when_nobody_is_left_to_wait_for() {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let waited = wait(Sign::Listens(address), PATIENCE, || bail!("it ended"));
        assert_eq!(waited.unwrap_err().to_string(), "it ended");
    }
}
