//! The log's writer: lines go to standard error through a bounded buffer.
//!
//! 1. A line is made on the thread that has something to say, and put into the buffer. If that is
//!    full the line is lost and counted: a reader of the log that has stalled stalls no request.
//! 2. One thread writes what has gathered, and tells of lost lines. After a first line it lets
//!    others gather for [`GATHER`]: a thread woken for every line costs a request more than all
//!    else that is done to make the line.
//! 3. Dropping [`Logs`] waits, not for ever, until what was said is written.
//!
//! What is said at all can be changed while it runs: [`LogLevel::set_filter`].

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::SubscriberInitExt;

use crate::lines::Lines;

/// Bytes that wait at most, and bytes of a line; what is longer is cut.
const BUFFER: usize = 1 << 20;
const LONGEST: usize = 16 * 1024;
/// How long lines gather after a first one, unless half of the buffer is full before.
const GATHER: Duration = Duration::from_millis(10);
/// How long the end waits for the last lines.
const PATIENCE: Duration = Duration::from_secs(2);

/// Keeps the log's writer alive; dropping it writes what is queued.
#[must_use = "the log's last lines are written when this is dropped"]
#[derive(Debug)]
pub struct Logs {
    queue: Queue,
    level: LogLevel,
}

/// What of the log is written, and how much of it was lost. Clones are the same.
#[derive(Clone)]
pub struct LogLevel {
    lost: Arc<AtomicU64>,
    /// As it was set last.
    now: Arc<Mutex<String>>,
    set: Arc<Setter>,
}

type Setter = dyn Fn(EnvFilter) -> Result<(), LogsError> + Send + Sync;

/// Bytes of a filter at most.
const FILTER: usize = 1024;

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum LogsError {
    /// The level or directive is not understood.
    #[error("the log's level `{0}` is not understood")]
    Level(String),
    /// The log that was set up is not there any more.
    #[error("there is no log any more")]
    Gone,
    /// The process has a log already.
    #[error("the log is set up already")]
    Twice,
    /// The system gives no thread to write it.
    #[error("cannot start the log's writer: {0}")]
    Thread(#[from] io::Error),
}

/// Sets up the process's log: `level` is one of `error`, `warn`, `info`, `debug`, `trace`, or
/// directives like `info,access=off`; `json` chooses one JSON object a line. Access lines have the
/// target `access` and the level `info`.
///
/// # Errors
/// When the level is not understood, the process has a log already, or a thread cannot be had.
pub fn init_logs(level: &str, json: bool) -> Result<Logs, LogsError> {
    let filter = parse(level)?;
    let queue = Queue::start(BUFFER, io::stderr(), json)?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(queue.clone())
        .event_format(Lines { json })
        .with_filter_reloading();
    let handle = log.reload_handle();
    log.finish().try_init().map_err(|_| LogsError::Twice)?;
    let level = LogLevel {
        lost: queue.shared.lost.clone(),
        now: Arc::new(Mutex::new(level.to_owned())),
        set: Arc::new(move |filter: EnvFilter| handle.reload(filter).map_err(|_| LogsError::Gone)),
    };
    Ok(Logs { queue, level })
}

/// A level, or `TARGET=LEVEL`. The general form takes any word for a target, so that a level that is
/// misspelt would silence all else, and directives about spans, of which there are none.
fn parse(level: &str) -> Result<EnvFilter, LogsError> {
    let is_level = |word: &str| {
        let words = ["off", "error", "warn", "info", "debug", "trace"];
        words.contains(&word)
    };
    let is_target = |word: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_:-.".contains(&byte);
        !word.is_empty() && word.bytes().all(plain)
    };
    let understood = level.len() <= FILTER
        && level.split(',').all(|part| match part.split_once('=') {
            Some((target, level)) => is_target(target) && is_level(level),
            None => is_level(part),
        });
    let filter = EnvFilter::builder().parse(level).ok();
    let filter = filter.filter(|_| understood);
    filter.ok_or_else(|| LogsError::Level(level.chars().take(64).collect()))
}

impl Logs {
    /// What of it is written, to be changed while it runs.
    #[must_use]
    pub fn level(&self) -> LogLevel {
        self.level.clone()
    }
}

impl LogLevel {
    /// The count of lines that had no room in the buffer.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// What is written now, as it was asked for.
    #[must_use]
    pub fn filter(&self) -> String {
        self.now.lock().clone()
    }

    /// Writes from now on what `filter` says: a level or directives, as [`init_logs`] takes them.
    /// Gives what was written before.
    ///
    /// # Errors
    /// When it is not understood, and then nothing has changed.
    pub fn set_filter(&self, filter: &str) -> Result<String, LogsError> {
        let parsed = parse(filter)?;
        let mut now = self.now.lock();
        (self.set)(parsed)?;
        Ok(std::mem::replace(&mut now, filter.to_owned()))
    }
}

impl std::fmt::Debug for LogLevel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogLevel")
            .field("filter", &self.filter())
            .finish_non_exhaustive()
    }
}

impl Drop for Logs {
    fn drop(&mut self) {
        self.queue.end();
    }
}

// === Queue ===

/// Where lines wait for the thread that writes them.
#[derive(Clone, Debug)]
struct Queue {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// Bytes at most.
    max: usize,
    waiting: Mutex<Waiting>,
    /// Wakes the writer.
    wake: Condvar,
    /// Tells that all is written, after the end.
    written: Condvar,
    lost: Arc<AtomicU64>,
}

#[derive(Debug, Default)]
struct Waiting {
    text: Vec<u8>,
    /// The writer has nothing to do, and nothing to wait for but a line.
    idle: bool,
    ending: bool,
    ended: bool,
}

impl Queue {
    fn start(max: usize, sink: impl Write + Send + 'static, json: bool) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            max,
            waiting: Mutex::default(),
            wake: Condvar::new(),
            written: Condvar::new(),
            lost: Arc::default(),
        });
        let queue = Self {
            shared: shared.clone(),
        };
        thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || shared.write(sink, json))?;
        Ok(queue)
    }

    /// Takes one line, whole or not at all.
    fn put(&self, line: &[u8]) {
        let shared = &*self.shared;
        let mut waiting = shared.waiting.lock();
        let cut = line.len() > LONGEST;
        let line = if cut { &line[..LONGEST - 1] } else { line };
        if waiting.text.len() + line.len() + usize::from(cut) > shared.max {
            shared.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let before = waiting.text.len();
        waiting.text.extend_from_slice(line);
        if cut {
            waiting.text.push(b'\n');
        }
        let half = shared.max / 2;
        let filled = before < half && waiting.text.len() >= half;
        if std::mem::take(&mut waiting.idle) || filled {
            drop(waiting);
            shared.wake.notify_one();
        }
    }

    fn end(&self) {
        let until = Instant::now() + PATIENCE;
        let mut waiting = self.shared.waiting.lock();
        waiting.ending = true;
        self.shared.wake.notify_one();
        while !waiting.ended {
            // In vain or not, it is the end.
            if self
                .shared
                .written
                .wait_until(&mut waiting, until)
                .timed_out()
            {
                return;
            }
        }
    }
}

impl Shared {
    /// Writes lines until the end. Errors of the sink are nobody's to hear.
    fn write(&self, mut sink: impl Write, json: bool) {
        let mut told = 0;
        let mut text = Vec::new();
        loop {
            let (ending, now) = self.gather(&mut text);
            let _ = sink.write_all(&text);
            text.clear();
            if now > told {
                let lines = now - told;
                let line = if json {
                    format!(
                        "{{\"level\":\"WARN\",\"message\":\"log lines were lost\",\"lines\":{lines}}}"
                    )
                } else {
                    format!("WARN log lines were lost lines={lines}")
                };
                let _ = writeln!(sink, "{line}");
                told = now;
            }
            let _ = sink.flush();
            if ending {
                self.waiting.lock().ended = true;
                self.written.notify_all();
                return;
            }
        }
    }

    /// Waits for lines and takes them in exchange for an empty buffer. Tells whether it is the
    /// end, and how many lines found no room up to now.
    fn gather(&self, text: &mut Vec<u8>) -> (bool, u64) {
        let mut waiting = self.waiting.lock();
        while waiting.text.is_empty() && !waiting.ending {
            waiting.idle = true;
            self.wake.wait(&mut waiting);
        }
        waiting.idle = false;
        let until = Instant::now() + GATHER;
        while waiting.text.len() < self.max / 2 && !waiting.ending {
            if self.wake.wait_until(&mut waiting, until).timed_out() {
                break;
            }
        }
        std::mem::swap(&mut waiting.text, text);
        (waiting.ending, self.lost.load(Ordering::Relaxed))
    }
}

impl<'q> MakeWriter<'q> for Queue {
    type Writer = Line<'q>;

    fn make_writer(&'q self) -> Line<'q> {
        Line { queue: self }
    }
}

/// The way in for a line, which the formatter hands over in one piece.
struct Line<'q> {
    queue: &'q Queue,
}

impl Write for Line<'_> {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        if !text.is_empty() {
            self.queue.put(text);
        }
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

    use super::*;

    /// Lets a write through for each permission, and keeps it.
    struct Gate {
        permission: Receiver<()>,
        kept: Kept,
        began: SyncSender<()>,
    }

    impl Write for Gate {
        fn write(&mut self, text: &[u8]) -> io::Result<usize> {
            let _ = self.began.try_send(());
            // An error: the gate is open for good.
            let _ = self.permission.recv();
            self.kept.lock().extend_from_slice(text);
            Ok(text.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    type Kept = Arc<Mutex<Vec<u8>>>;

    /// A gate, what opens it, what tells of its writes, and what it has let through.
    fn gate() -> (Gate, SyncSender<()>, Receiver<()>, Kept) {
        let (permit, permission) = sync_channel(8);
        let (began, beginning) = sync_channel(8);
        let kept = Arc::new(Mutex::new(Vec::new()));
        let gate = Gate {
            permission,
            kept: kept.clone(),
            began,
        };
        (gate, permit, beginning, kept)
    }

    fn say(queue: &Queue, text: &str) {
        queue.make_writer().write_all(text.as_bytes()).unwrap();
    }

    #[test]
    fn a_stalled_reader_costs_lines_and_no_time() {
        let (gate, permit, beginning, kept) = gate();
        let queue = Queue::start(8, gate, false).unwrap();
        say(&queue, "first\n");
        beginning.recv().unwrap();
        // The writer is stalled now, and the buffer empty: it holds four lines of two bytes.
        for n in 0..10 {
            say(&queue, &format!("{n}\n"));
        }
        assert_eq!(queue.shared.lost.load(Ordering::Relaxed), 6);
        drop(permit);
        queue.end();
        let kept = String::from_utf8(kept.lock().clone()).unwrap();
        let (lines, note) = kept.split_at("first\n0\n1\n2\n3\n".len());
        assert_eq!(lines, "first\n0\n1\n2\n3\n");
        assert!(note.contains("lines=6") && note.ends_with('\n'), "{note}");
    }

    #[test]
    fn the_end_comes_after_all_that_was_said() {
        let (gate, permit, _, kept) = gate();
        drop(permit);
        let queue = Queue::start(BUFFER, gate, true).unwrap();
        let said: String = (0..500).map(|n| format!("{n}\n")).collect();
        for line in said.split_inclusive('\n') {
            say(&queue, line);
        }
        queue.end();
        assert_eq!(kept.lock().as_slice(), said.as_bytes());
    }

    #[test]
    fn lines_that_come_together_are_written_together() {
        let (gate, permit, beginning, kept) = gate();
        let queue = Queue::start(BUFFER, gate, false).unwrap();
        say(&queue, "first\n");
        beginning.recv().unwrap();
        for n in 0..100 {
            say(&queue, &format!("{n}\n"));
        }
        // One permission for the first, one for all of the others.
        permit.send(()).unwrap();
        beginning.recv().unwrap();
        permit.send(()).unwrap();
        queue.end();
        assert_eq!(
            kept.lock().iter().filter(|&&byte| byte == b'\n').count(),
            101
        );
        assert!(beginning.try_recv().is_err(), "a third write");
    }

    #[test]
    fn half_a_buffer_is_written_at_once_and_an_idle_writer_wakes() {
        let (gate, permit, beginning, _) = gate();
        let queue = Queue::start(8, gate, false).unwrap();
        for _ in 0..3 {
            say(&queue, "four");
            beginning.recv().unwrap();
            permit.send(()).unwrap();
        }
        queue.end();
        assert_eq!(queue.shared.lost.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_line_is_cut_at_its_bound() {
        let (gate, permit, _, kept) = gate();
        drop(permit);
        let queue = Queue::start(BUFFER, gate, false).unwrap();
        say(&queue, &"x".repeat(LONGEST * 6));
        queue.end();
        let line = kept.lock();
        assert_eq!(line.len(), LONGEST);
        assert_eq!(line.iter().filter(|&&byte| byte == b'\n').count(), 1);
        assert!(line.ends_with(b"\n"));
    }
}
