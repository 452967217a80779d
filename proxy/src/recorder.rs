//! Writes down what schedulers' drivers are told and decide, so that it can be played again:
//! `tollgate run --record FOLDER`, and `tollgate simulate --replay FILE`.
//!
//! Each pool has a file and a thread that writes it, so that no request waits for a disk. Lines
//! that the disk has not taken wait in a queue; when that is full, or the file has grown too large,
//! the recording ends there with a line that says so: one with a gap could not be played.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    },
    thread::JoinHandle,
    time::Duration,
};

use tollgate_dispatch::{Journal, Note};
use tollgate_simulate::recording::{CUT, line};

/// Lines that wait for the disk.
const LINES: usize = 65_536;
/// Bytes of one file.
const BYTES: u64 = 4 << 30;
/// How long lines may lie in memory when nothing follows them.
const FLUSH: Duration = Duration::from_millis(200);

/// One pool's recording.
#[derive(Debug)]
pub(crate) struct Recorder {
    /// None: it has ended.
    lines: Option<SyncSender<String>>,
    /// Notes were left out: the last line says so.
    cut: Arc<AtomicBool>,
    left: u64,
    writer: Option<JoinHandle<()>>,
}

/// Begins a recording of a scheduler's pool, in a file of its name.
pub(crate) fn record(folder: &Path, scheduler: &str) -> io::Result<Recorder> {
    std::fs::create_dir_all(folder)?;
    let file = File::create(folder.join(format!("{scheduler}.jsonl")))?;
    let (lines, received) = sync_channel(LINES);
    let cut = Arc::new(AtomicBool::new(false));
    let cut_there = cut.clone();
    let writer = std::thread::Builder::new()
        .name("recorder".into())
        .spawn(move || {
            if let Err(error) = write(&received, &cut_there, file) {
                tracing::error!(%error, "a recording has ended");
            }
        })?;
    Ok(Recorder {
        lines: Some(lines),
        cut,
        left: BYTES,
        writer: Some(writer),
    })
}

fn write(lines: &Receiver<String>, cut: &AtomicBool, file: impl Write) -> io::Result<()> {
    let mut file = BufWriter::new(file);
    loop {
        match lines.recv_timeout(FLUSH) {
            Ok(line) => {
                file.write_all(line.as_bytes())?;
                file.write_all(b"\n")?;
            }
            Err(RecvTimeoutError::Timeout) => file.flush()?,
            Err(RecvTimeoutError::Disconnected) => {
                if cut.load(Ordering::Acquire) {
                    writeln!(file, "{CUT}")?;
                }
                return file.flush();
            }
        }
    }
}

impl Recorder {
    fn put(&mut self, line: String) {
        let Some(lines) = &self.lines else {
            return;
        };
        let size = line.len() as u64 + 1;
        if size <= self.left {
            self.left -= size;
            match lines.try_send(line) {
                Ok(()) => return,
                Err(TrySendError::Disconnected(_)) => {
                    self.lines = None;
                    return;
                }
                Err(TrySendError::Full(_)) => {}
            }
        }
        // Whoever notes something holds the pool: nothing is waited for here. The writer adds the
        // line when it has written what was sent.
        self.cut.store(true, Ordering::Release);
        self.lines = None;
        tracing::warn!("a recording was cut short: the disk is too slow, or the file too large");
    }
}

impl Drop for Recorder {
    /// What was noted is in the file when the recorder has gone.
    fn drop(&mut self) {
        self.lines = None;
        if let Some(writer) = self.writer.take() {
            // It ends when it has written what was sent, or has failed to.
            let _ = writer.join();
        }
    }
}

impl Journal for Recorder {
    fn note(&mut self, note: Note<'_>) {
        if self.lines.is_some() {
            self.put(line(note));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recording_that_nobody_takes_is_cut_and_not_kept() {
        let (lines, received) = sync_channel(3);
        let cut = Arc::new(AtomicBool::new(false));
        let mut recorder = Recorder {
            lines: Some(lines),
            cut: cut.clone(),
            left: 1000,
            writer: None,
        };
        for tick in 0..3 {
            recorder.note(Note::Tick(tick));
        }
        // Nobody takes them, and nobody waits.
        for tick in 3..1000 {
            recorder.note(Note::Tick(tick));
        }
        assert!(recorder.lines.is_none());
        let mut file = Vec::new();
        write(&received, &cut, &mut file).unwrap();
        let text = String::from_utf8(file).unwrap();
        assert_eq!(text.lines().count(), 4, "{text}");
        assert_eq!(text.lines().last(), Some(CUT));
    }
}
