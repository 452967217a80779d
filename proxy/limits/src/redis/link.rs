//! The one connection to the store, and the circuit before it.
//!
//! 1. It is dialled, says who it is, chooses its database, and loads the scripts: that is the probe.
//!    Only then can the store be asked.
//! 2. Questions go out one behind the other without waiting for answers (pipelining), at most so many
//!    at once; answers come in the same order.
//! 3. When the connection breaks, or so many questions in a row have failed, the circuit is open: who
//!    asks is told at once that the store is away. After a pause, which doubles while nothing is
//!    answered, it is probed again.

use std::{
    collections::VecDeque,
    io,
    path::PathBuf,
    sync::{
        OnceLock,
        atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, split},
    sync::{Notify, mpsc, oneshot},
    time::timeout,
};

use super::{
    DECIDE, PLACES,
    dial::{Dialler, Stream},
    resp::{NoReply, Reply, command, reply},
};
use crate::store::StoreError;

/// How the store is spoken to.
#[derive(Clone, Debug)]
pub struct Talk {
    /// Its user, where it knows several (ACL).
    pub user: Option<String>,
    /// A file with the password, read at each connection. Space at its ends does not count.
    pub password_file: Option<PathBuf>,
    /// The database; clusters have number 0 only.
    pub database: u32,
    /// For one question, and for each step of a connection.
    pub timeout: Duration,
    /// Questions at once.
    pub pipeline: usize,
    /// Questions in a row that fail before the circuit opens.
    pub failures: u32,
    /// The first pause before it is probed again…
    pub first_pause: Duration,
    /// …and the longest.
    pub longest_pause: Duration,
}

type Answer = oneshot::Sender<Result<Reply, StoreError>>;

struct Call {
    bytes: Vec<u8>,
    answer: Answer,
}

/// Who asks holds this.
pub(super) struct Link {
    talk: Talk,
    calls: mpsc::Sender<Call>,
    /// The circuit is closed.
    there: AtomicBool,
    /// In a row.
    failures: AtomicU32,
    /// Something was answered since the last connection was made.
    answered: AtomicBool,
    give_up: Notify,
    in_flight: AtomicUsize,
    scripts: OnceLock<[String; 2]>,
}

/// What is carried out by [`Link::run`].
pub(super) struct Calls(mpsc::Receiver<Call>);

/// Why a connection ended, or was not made.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    NoReply(#[from] NoReply),
    #[error("it was closed")]
    Closed,
    #[error("it answers what was not asked")]
    Unasked,
    #[error("it says: {0}")]
    Said(String),
    #[error("it does not answer in time")]
    Slow,
    #[error("too many questions in a row failed")]
    Failing,
    #[error("the password cannot be read: {0}")]
    Password(io::Error),
}

/// Leaves the count of questions under way right, also when who asks goes away.
struct Flight<'a>(&'a AtomicUsize);

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Link {
    pub(super) fn new(talk: Talk) -> (Self, Calls) {
        let (calls, receiver) = mpsc::channel(talk.pipeline);
        let link = Self {
            talk,
            calls,
            there: AtomicBool::new(false),
            failures: AtomicU32::new(0),
            answered: AtomicBool::new(false),
            give_up: Notify::new(),
            in_flight: AtomicUsize::new(0),
            scripts: OnceLock::new(),
        };
        (link, Calls(receiver))
    }

    pub(super) fn is_there(&self) -> bool {
        self.there.load(Ordering::Relaxed)
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// The digest by which one of our scripts is called. They are the same at every store.
    pub(super) fn script(&self, which: usize) -> Result<&str, StoreError> {
        let scripts = self.scripts.get().ok_or(StoreError::Away)?;
        Ok(&scripts[which])
    }

    /// Asks one question.
    pub(super) async fn call(&self, bytes: Vec<u8>) -> Result<Reply, StoreError> {
        if !self.is_there() {
            return Err(StoreError::Away);
        }
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        let _flight = Flight(&self.in_flight);
        let asked = async {
            let (answer, receiver) = oneshot::channel();
            let call = Call { bytes, answer };
            self.calls.send(call).await.map_err(|_| StoreError::Away)?;
            let gone = |_| StoreError::Broken("it ended".to_owned());
            receiver.await.map_err(gone)?
        };
        let told = match timeout(self.talk.timeout, asked).await {
            Ok(told) => told,
            Err(_) => Err(StoreError::Timeout),
        };
        match &told {
            // That a script is not known is mended by whoever asked.
            Ok(Reply::Error(what)) if !what.starts_with("NOSCRIPT") => self.failed(),
            Ok(_) => {
                self.failures.store(0, Ordering::Relaxed);
                self.answered.store(true, Ordering::Relaxed);
            }
            Err(_) => self.failed(),
        }
        told
    }

    fn failed(&self) {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed) + 1;
        if failures >= self.talk.failures {
            self.give_up.notify_one();
        }
    }

    /// Keeps a connection, for ever.
    pub(super) async fn run(&self, dialler: &Dialler, Calls(mut calls): Calls) {
        let mut pause = self.talk.first_pause;
        loop {
            match self.open(dialler).await {
                Ok(wire) => {
                    self.failures.store(0, Ordering::Relaxed);
                    self.answered.store(false, Ordering::Relaxed);
                    self.there.store(true, Ordering::Relaxed);
                    tracing::info!("the limits' store is there");
                    let Err(why) = self.serve(wire, &mut calls).await else {
                        return;
                    };
                    self.there.store(false, Ordering::Relaxed);
                    tracing::warn!(%why, "the limits' store is away");
                }
                Err(why) => tracing::warn!(%why, "the limits' store cannot be reached"),
            }
            // Those that were about to be asked.
            while let Ok(call) = calls.try_recv() {
                let _ = call.answer.send(Err(StoreError::Away));
            }
            if self.answered.swap(false, Ordering::Relaxed) {
                pause = self.talk.first_pause;
            }
            tokio::time::sleep(spread(pause)).await;
            pause = (pause * 2).min(self.talk.longest_pause);
        }
    }

    async fn open(&self, dialler: &Dialler) -> Result<Wire, Broken> {
        let stream = timeout(self.talk.timeout, dialler.dial()).await;
        let mut wire = Wire {
            stream: stream.map_err(|_| Broken::Slow)??,
            arrived: Vec::new(),
        };
        if let Some(file) = &self.talk.password_file {
            let password = tokio::fs::read_to_string(file).await;
            let password = password.map_err(Broken::Password)?;
            let password = password.trim().as_bytes();
            match &self.talk.user {
                Some(user) => {
                    let words: &[&[u8]] = &[b"AUTH", user.as_bytes(), password];
                    self.step(&mut wire, words).await?
                }
                None => self.step(&mut wire, &[b"AUTH", password]).await?,
            };
        }
        if self.talk.database != 0 {
            let database = self.talk.database.to_string();
            self.step(&mut wire, &[b"SELECT", database.as_bytes()])
                .await?;
        }
        let mut digests = [String::new(), String::new()];
        for (digest, script) in digests.iter_mut().zip([DECIDE, PLACES]) {
            let words: &[&[u8]] = &[b"SCRIPT", b"LOAD", script.as_bytes()];
            match self.step(&mut wire, words).await? {
                Reply::Text(text) => *digest = text,
                _ => return Err(Broken::Unasked),
            }
        }
        let _ = self.scripts.set(digests);
        Ok(wire)
    }

    /// One command of a connection's beginning.
    async fn step(&self, wire: &mut Wire, words: &[&[u8]]) -> Result<Reply, Broken> {
        let told = timeout(self.talk.timeout, wire.exchange(words)).await;
        match told.map_err(|_| Broken::Slow)?? {
            Reply::Error(what) => Err(Broken::Said(what)),
            reply => Ok(reply),
        }
    }

    /// Carries questions and answers until the connection ends; well only when nobody can ask.
    async fn serve(&self, wire: Wire, calls: &mut mpsc::Receiver<Call>) -> Result<(), Broken> {
        let Wire {
            stream,
            mut arrived,
        } = wire;
        let (mut reader, mut writer) = split(stream);
        let mut waiting: VecDeque<Answer> = VecDeque::with_capacity(self.talk.pipeline);
        let mut chunk = [0; 4096];
        let mut out = Vec::new();
        loop {
            tokio::select! {
                read = reader.read(&mut chunk) => {
                    let read = read?;
                    if read == 0 {
                        return Err(Broken::Closed);
                    }
                    arrived.extend_from_slice(&chunk[..read]);
                    while let Some((found, length)) = reply(&arrived)? {
                        arrived.drain(..length);
                        let answer = waiting.pop_front().ok_or(Broken::Unasked)?;
                        // Who asked may have gone.
                        let _ = answer.send(Ok(found));
                    }
                }
                call = calls.recv(), if waiting.len() < self.talk.pipeline => {
                    let Some(call) = call else {
                        return Ok(());
                    };
                    out.clear();
                    let mut next = Some(call);
                    while let Some(Call { bytes, answer }) = next {
                        if !answer.is_closed() {
                            out.extend_from_slice(&bytes);
                            waiting.push_back(answer);
                        }
                        next = match waiting.len() < self.talk.pipeline {
                            true => calls.try_recv().ok(),
                            false => None,
                        };
                    }
                    let written = async {
                        writer.write_all(&out).await?;
                        writer.flush().await
                    };
                    timeout(self.talk.timeout, written).await.map_err(|_| Broken::Slow)??;
                }
                () = self.give_up.notified() => {
                    // It may be about the connection before this one.
                    if self.failures.load(Ordering::Relaxed) >= self.talk.failures {
                        return Err(Broken::Failing);
                    }
                }
            }
        }
    }
}

/// A connection, and what has arrived and was not read.
struct Wire {
    stream: Box<dyn Stream>,
    arrived: Vec<u8>,
}

impl Wire {
    async fn exchange(&mut self, words: &[&[u8]]) -> Result<Reply, Broken> {
        self.stream.write_all(&command(words)).await?;
        self.stream.flush().await?;
        loop {
            if let Some((found, length)) = reply(&self.arrived)? {
                self.arrived.drain(..length);
                return Ok(found);
            }
            let mut chunk = [0; 1024];
            let read = self.stream.read(&mut chunk).await?;
            if read == 0 {
                return Err(Broken::Closed);
            }
            self.arrived.extend_from_slice(&chunk[..read]);
        }
    }
}

/// From half a pause to all of it, so that proxies do not come back all at once.
fn spread(pause: Duration) -> Duration {
    let mut byte = [0];
    let part = match getrandom::fill(&mut byte) {
        Ok(()) => u32::from(byte[0]),
        Err(_) => 255,
    };
    pause / 2 + pause / 2 * part / 255
}
