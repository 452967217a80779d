//! A real Redis: Debian's, which `cargo xtask test` fetches and names in `TOLLGATE_REDIS`, or one on
//! PATH; without it a test says that it was left out.

use std::{
    env,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{eventually, within};

fn program() -> Option<PathBuf> {
    let named = env::var_os("TOLLGATE_REDIS").map(PathBuf::from);
    let path = env::var_os("PATH").unwrap_or_default();
    let mut on_path = env::split_paths(&path).map(|folder| folder.join("redis-server"));
    let found = named
        .filter(|path| path.is_file())
        .or_else(|| on_path.find(|path| path.is_file()));
    if found.is_none() {
        println!("left out: TOLLGATE_REDIS does not say where a Redis is");
    }
    found
}

/// Folders of libraries beside a program that was unpacked and not installed.
fn libraries(program: &Path) -> Option<std::ffi::OsString> {
    let beside = program.parent()?.parent()?.join("lib");
    let folders = std::fs::read_dir(beside).ok()?;
    let folders = folders.filter_map(|entry| Some(entry.ok()?.path()));
    env::join_paths(folders.filter(|folder| folder.is_dir())).ok()
}

/// A running server, which keeps nothing; it ends with the value.
pub struct Redis {
    child: Child,
    address: SocketAddr,
    folder: TempDir,
    program: PathBuf,
}

impl Redis {
    /// Starts one; none: there is no program.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start() -> Option<Self> {
        let program = program()?;
        let folder = TempDir::new().expect("temporary files have a place");
        let address = TcpListener::bind("127.0.0.1:0")
            .and_then(|it| it.local_addr())
            .expect("the machine has a free port");
        let child = spawn(&program, folder.path(), address);
        let redis = Self {
            child,
            address,
            folder,
            program,
        };
        redis.listens().await;
        Some(redis)
    }

    async fn listens(&self) {
        eventually("redis listens", async || {
            let stream = TcpStream::connect(self.address).await.ok()?;
            ask(stream, "PING")
                .await
                .filter(|it| it.starts_with("+PONG"))
        })
        .await;
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends it, as a crash would.
    pub fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts it again at the same address, with nothing in it.
    pub async fn again(&mut self) {
        self.child = spawn(&self.program, self.folder.path(), self.address);
        self.listens().await;
    }

    /// Carries out a command without arguments in quotes; gives the reply as it comes.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn command(&self, line: &str) -> String {
        let stream = TcpStream::connect(self.address).await.expect("it listens");
        within("redis answers", ask(stream, line))
            .await
            .expect("it answers")
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.stop();
    }
}

/// An inline command: <https://redis.io/docs/latest/develop/reference/protocol-spec/#inline-commands>.
async fn ask(mut stream: TcpStream, line: &str) -> Option<String> {
    stream
        .write_all(format!("{line}\r\n").as_bytes())
        .await
        .ok()?;
    let mut reply = vec![0; 16_384];
    let read = stream.read(&mut reply).await.ok()?;
    reply.truncate(read);
    String::from_utf8(reply).ok()
}

fn spawn(program: &Path, folder: &Path, address: SocketAddr) -> Child {
    let mut command = Command::new(program);
    if let Some(libraries) = libraries(program) {
        command.env("LD_LIBRARY_PATH", libraries);
    }
    command
        .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
        .args(["--loglevel", "warning", "--port"])
        .arg(address.port().to_string())
        .arg("--dir")
        .arg(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("redis starts")
}
