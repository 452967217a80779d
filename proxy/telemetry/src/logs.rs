//! The log's writer: lines go to standard error through a bounded queue.
//!
//! 1. A line is made on the thread that has something to say, and put into the queue. If that is
//!    full the line is lost and counted: a reader of the log that has stalled stalls no request.
//! 2. One thread writes what is queued, flushing when there is no more, and tells of lost lines.
//! 3. Dropping [`Logs`] waits, not for ever, until what was queued is written.

use std::io::{self, BufWriter, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread;
use std::time::Duration;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// Lines that are queued at most, and bytes of a line; what is longer is cut.
const QUEUE: usize = 8192;
const LONGEST: usize = 16 * 1024;
/// How long the end waits for the last lines.
const PATIENCE: Duration = Duration::from_secs(2);

/// Keeps the log's writer alive; dropping it writes what is queued.
#[must_use = "the log's last lines are written when this is dropped"]
#[derive(Debug)]
pub struct Logs {
    queue: Queue,
}

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum LogsError {
    /// The level or directive is not understood.
    #[error("the log's level `{0}` is not understood")]
    Level(String),
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
    let filter = EnvFilter::try_new(level).map_err(|_| LogsError::Level(level.to_owned()))?;
    let queue = Queue::start(QUEUE, io::stderr(), json)?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(queue.clone());
    let set = if json {
        let log = log.json().flatten_event(true);
        log.with_current_span(false)
            .with_span_list(false)
            .try_init()
    } else {
        log.with_ansi(false).try_init()
    };
    set.map_err(|_| LogsError::Twice)?;
    Ok(Logs { queue })
}

impl Logs {
    /// Lines that had no room in the queue.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.queue.lost.load(Ordering::Relaxed)
    }
}

impl Drop for Logs {
    fn drop(&mut self) {
        self.queue.end();
    }
}

// === Queue ===

/// The queue's entrance.
#[derive(Clone, Debug)]
struct Queue {
    lines: SyncSender<Message>,
    lost: Arc<AtomicU64>,
}

enum Message {
    Line(Vec<u8>),
    /// All that came before is to be written, and then this told.
    End(SyncSender<()>),
}

impl Queue {
    fn start(max: usize, sink: impl Write + Send + 'static, json: bool) -> io::Result<Self> {
        let (lines, queued) = sync_channel(max);
        let lost = Arc::new(AtomicU64::new(0));
        let counted = lost.clone();
        thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || write(&queued, BufWriter::new(sink), &counted, json))?;
        Ok(Self { lines, lost })
    }

    fn end(&self) {
        let (tell, told) = sync_channel(1);
        let lines = self.lines.clone();
        // The queue may be full, and its reader stalled: another thread waits for room.
        let asking = thread::Builder::new().spawn(move || lines.send(Message::End(tell)));
        if asking.is_ok() {
            // In vain or not, it is the end.
            let _ = told.recv_timeout(PATIENCE);
        }
    }
}

/// Writes lines until nobody can queue any more. Errors of the sink are nobody's to hear.
fn write(queued: &Receiver<Message>, mut sink: impl Write, lost: &AtomicU64, json: bool) {
    let mut told = 0;
    while let Ok(first) = queued.recv() {
        let mut next = Ok(first);
        let mut ends = Vec::new();
        loop {
            match next {
                Ok(Message::Line(line)) => drop(sink.write_all(&line)),
                Ok(Message::End(end)) => ends.push(end),
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
            }
            next = queued.try_recv();
        }
        let now = lost.load(Ordering::Relaxed);
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
        for end in ends {
            let _ = end.try_send(());
        }
    }
}

impl<'q> MakeWriter<'q> for Queue {
    type Writer = Line<'q>;

    fn make_writer(&'q self) -> Line<'q> {
        Line {
            queue: self,
            text: Vec::new(),
        }
    }
}

/// A line that is being made; queued when it is dropped.
struct Line<'q> {
    queue: &'q Queue,
    text: Vec<u8>,
}

impl Write for Line<'_> {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        let room = LONGEST.saturating_sub(self.text.len());
        self.text.extend_from_slice(&text[..text.len().min(room)]);
        if text.len() > room
            && let Some(last) = self.text.last_mut()
        {
            *last = b'\n';
        }
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        if self.text.is_empty() {
            return;
        }
        let line = Message::Line(std::mem::take(&mut self.text));
        if self.queue.lines.try_send(line).is_err() {
            self.queue.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;

    use super::*;

    /// Lets a write through for each permission, and keeps it.
    struct Gate {
        permission: Receiver<()>,
        kept: Arc<Mutex<Vec<u8>>>,
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

    fn say(queue: &Queue, text: &str) {
        queue.make_writer().write_all(text.as_bytes()).unwrap();
    }

    #[test]
    fn a_stalled_reader_costs_lines_and_no_time() {
        let (permit, permission) = sync_channel(8);
        let (began, beginning) = sync_channel(8);
        let kept = Arc::new(Mutex::new(Vec::new()));
        let gate = Gate {
            permission,
            kept: kept.clone(),
            began,
        };
        let queue = Queue::start(4, gate, false).unwrap();
        say(&queue, "first\n");
        beginning.recv().unwrap();
        // The writer is stalled now, and the queue empty.
        for n in 0..10 {
            say(&queue, &format!("{n}\n"));
        }
        assert_eq!(queue.lost.load(Ordering::Relaxed), 6);
        drop(permit);
        queue.end();
        let kept = String::from_utf8(kept.lock().clone()).unwrap();
        let (lines, note) = kept.split_at("first\n0\n1\n2\n3\n".len());
        assert_eq!(lines, "first\n0\n1\n2\n3\n");
        assert!(note.contains("lines=6") && note.ends_with('\n'), "{note}");
    }

    #[test]
    fn the_end_comes_after_all_that_was_said() {
        let kept = Arc::new(Mutex::new(Vec::new()));
        let (_, permission) = sync_channel(0);
        let (began, _) = sync_channel(0);
        let gate = Gate {
            permission,
            kept: kept.clone(),
            began,
        };
        let queue = Queue::start(1000, gate, true).unwrap();
        let said: String = (0..500).map(|n| format!("{n}\n")).collect();
        for line in said.split_inclusive('\n') {
            say(&queue, line);
        }
        queue.end();
        assert_eq!(kept.lock().as_slice(), said.as_bytes());
    }

    #[test]
    fn a_line_is_cut_at_its_bound() {
        let (lines, queued) = sync_channel(4);
        let queue = Queue {
            lines,
            lost: Arc::default(),
        };
        let mut line = queue.make_writer();
        for _ in 0..100 {
            line.write_all(&[b'x'; 1000]).unwrap();
        }
        drop(line);
        let Message::Line(line) = queued.recv().unwrap() else {
            panic!("an end")
        };
        assert_eq!(line.len(), LONGEST);
        assert_eq!(line.iter().filter(|&&byte| byte == b'\n').count(), 1);
        assert!(line.ends_with(b"\n"));
    }
}
