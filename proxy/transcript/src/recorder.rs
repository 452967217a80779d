//! Writes what crosses the border into a folder, a file an exchange, within bounds: it is switched
//! on at a proxy that serves.
//!
//! A file lies in memory until what it is of has ended, and is written by a thread of its own, so
//! that no request waits for a disk. What is more than a bound allows is not recorded; a file that
//! grew too large ends where it did, and says so.

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread::JoinHandle,
};

use serde::Serialize;
use serde_json::{Map, Value, json};
use tollgate_plugin::{
    CONTRACT, Generation, GuestError, Sources,
    tap::{Answer, Begun, Inputs, Recorder, Transcript},
};

use crate::{CUT, END, FORMAT, Side, secret, value};

/// What is recorded, and how much of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Files that are written at most; what comes then is not recorded.
    pub files: u64,
    /// Bytes of one file. One that would be larger is cut short.
    pub bytes: usize,
    /// Of exchanges, attempts and the like that run at once so many are recorded; and so many
    /// files wait for the disk. Both times `bytes` is the memory that this takes at most.
    pub at_once: usize,
    /// Whether what clients and workers said is written. Without it a file says what happened, in
    /// which order and how long it was, and cannot be played.
    pub bodies: bool,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            files: 1000,
            bytes: 1 << 20,
            at_once: 32,
            bodies: true,
        }
    }
}

/// What became of what was to be recorded.
#[derive(Debug, Default)]
pub struct Counts {
    /// Files that were begun.
    pub begun: AtomicU64,
    /// Files that were written.
    pub written: AtomicU64,
    /// Files that were cut short by [`Bounds::bytes`].
    pub cut: AtomicU64,
    /// Files that were not written, since too many waited or the disk would not.
    pub lost: AtomicU64,
    /// What is being recorded now.
    pub live: AtomicUsize,
}

/// Records into a folder.
pub struct Recording {
    bounds: Bounds,
    shared: Arc<Shared>,
    writer: parking_lot::Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    counts: Counts,
    /// None: it has ended.
    files: parking_lot::Mutex<Option<SyncSender<File>>>,
}

struct File {
    name: String,
    text: String,
}

impl Recording {
    /// Records into a folder, which is made.
    ///
    /// # Errors
    /// When the folder cannot be made, or the thread not started.
    pub fn new(folder: &Path, bounds: Bounds) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let (files, received) = sync_channel(bounds.at_once.max(1));
        let shared = Arc::new(Shared {
            counts: Counts::default(),
            files: parking_lot::Mutex::new(Some(files)),
        });
        let there = shared.clone();
        let folder = folder.to_owned();
        let writer = std::thread::Builder::new()
            .name("transcripts".into())
            .spawn(move || write(&received, &folder, &there.counts))?;
        Ok(Self {
            bounds,
            shared,
            writer: parking_lot::Mutex::new(Some(writer)),
        })
    }

    /// Ends it: what has ended by now is in the folder then, and nothing more comes.
    pub fn close(&self) {
        *self.shared.files.lock() = None;
        if let Some(writer) = self.writer.lock().take() {
            // It ends when it has written what waits.
            let _ = writer.join();
        }
    }

    /// What became of what was to be recorded.
    #[must_use]
    pub fn counts(&self) -> &Counts {
        &self.shared.counts
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        self.close();
    }
}

fn write(files: &Receiver<File>, folder: &Path, counts: &Counts) {
    while let Ok(file) = files.recv() {
        let path: PathBuf = folder.join(&file.name);
        match fs::write(&path, file.text) {
            Ok(()) => counts.written.fetch_add(1, Ordering::Relaxed),
            Err(error) => {
                tracing::error!(path = %path.display(), %error, "a transcript was not written");
                counts.lost.fetch_add(1, Ordering::Relaxed)
            }
        };
    }
}

impl Recorder for Recording {
    fn begin(
        &self,
        generation: &Generation,
        begun: Begun<'_>,
        sources: &Sources,
    ) -> Option<Box<dyn Transcript>> {
        let counts = &self.shared.counts;
        let place = Place::take(&self.shared, self.bounds.at_once)?;
        let number = counts
            .begun
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |begun| {
                (begun < self.bounds.files).then_some(begun + 1)
            })
            .ok()?;
        let mut live = Live {
            name: format!(
                "{}-{}-{number:06}.jsonl",
                generation.name(),
                side(begun).name()
            ),
            text: String::new(),
            left: self.bounds.bytes,
            bodies: self.bounds.bodies,
            shown: HashMap::new(),
            step: None,
            cut: false,
            place,
        };
        let first = live.first(generation, begun, sources);
        live.line(first);
        Some(Box::new(live))
    }
}

/// One of [`Bounds::at_once`].
struct Place(Arc<Shared>);

impl Place {
    fn take(shared: &Arc<Shared>, bound: usize) -> Option<Self> {
        let live = &shared.counts.live;
        live.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |live| {
            (live < bound).then_some(live + 1)
        })
        .ok()
        .map(|_| Self(shared.clone()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.counts.live.fetch_sub(1, Ordering::Relaxed);
    }
}

fn side(begun: Begun<'_>) -> Side {
    match begun {
        Begun::Exchange { .. } => Side::Frontend,
        Begun::Attempt { .. } => Side::Backend,
        Begun::Composition { .. } => Side::Composition,
        Begun::Session { .. } => Side::Session,
    }
}

/// What is being recorded.
struct Live {
    name: String,
    text: String,
    /// Bytes that it may still grow by, the last line left out.
    left: usize,
    bodies: bool,
    /// Of each source, how far it was written, and whether its end was.
    shown: HashMap<u32, (u64, bool)>,
    /// The step that is under way.
    step: Option<Map<String, Value>>,
    cut: bool,
    place: Place,
}

/// What cannot be written says so in its place: nothing of the contract is so.
fn written(value: &impl Serialize) -> Value {
    value::to_value(value).unwrap_or_else(|error| json!({ "unwritten": error.to_string() }))
}

impl Live {
    fn first(&mut self, generation: &Generation, begun: Begun<'_>, sources: &Sources) -> Value {
        let mut line = json!({
            "transcript": FORMAT,
            "contract": CONTRACT,
            "plugin": &**generation.name(),
            "digest": generation.digest(),
            "options": secret::options(generation.options()),
            "side": side(begun).name(),
            "bodies": self.bodies,
        });
        let (context, given) = match begun {
            Begun::Exchange { context, head } => (context, json!({ "head": written(head) })),
            Begun::Attempt {
                context,
                worker,
                members,
            } => {
                let members: Vec<_> = members.iter().map(|it| self.content(it)).collect();
                let worker = written(worker);
                (context, json!({ "worker": worker, "members": members }))
            }
            Begun::Composition {
                context,
                call,
                capabilities,
            } => {
                let call = self.content(call);
                let offers: Vec<_> = capabilities.iter().map(written).collect();
                (context, json!({ "call": call, "capabilities": offers }))
            }
            Begun::Session { context, call } => (context, json!({ "call": self.content(call) })),
        };
        line["context"] = written(context);
        if let (Value::Object(line), Value::Object(given)) = (&mut line, given) {
            line.extend(given);
            let sources = self.sources(sources);
            if !sources.is_empty() {
                line.insert("sources".to_owned(), sources.into());
            }
        }
        line
    }

    /// What clients or workers said; null where that is not to be written.
    fn content(&self, value: &impl Serialize) -> Value {
        match self.bodies {
            true => written(value),
            false => Value::Null,
        }
    }

    /// What has come of each source since it was last written.
    fn sources(&mut self, sources: &Sources) -> Vec<Value> {
        let mut ids: Vec<_> = sources.ids().collect();
        ids.sort_unstable();
        let mut all = Vec::new();
        let mut room = self.left;
        for id in ids {
            let Ok(source) = sources.get(id) else {
                continue;
            };
            let progress = source.progress();
            let known = self.shown.get(&id).copied();
            let (from, ended) = known.unwrap_or((0, false));
            // What was let go before it was shown is a gap.
            let from = from.max(progress.released.min(progress.available));
            let more = progress.available.saturating_sub(from);
            if known.is_some() && more == 0 && ended == progress.end {
                continue;
            }
            self.shown.insert(id, (progress.available, progress.end));
            let mut entry = json!({ "id": id, "at": from });
            if !self.bodies {
                entry["len"] = more.into();
            } else if more > 0 {
                match usize::try_from(more).ok().filter(|more| *more <= room) {
                    Some(more) => {
                        room -= more;
                        let read = source.read(from, more as u64).unwrap_or_default();
                        entry["bytes"] = value::bytes(&read);
                    }
                    None => {
                        self.cut = true;
                        return all;
                    }
                }
            }
            if let Some(total) = progress.total {
                entry["total"] = total.into();
            }
            if progress.end {
                entry["end"] = true.into();
            }
            all.push(entry);
        }
        all
    }

    /// Adds a line; where there is no room for it the file ends.
    fn line(&mut self, line: Value) {
        if self.cut {
            return;
        }
        let line = line.to_string();
        match self.left.checked_sub(line.len() + 1) {
            Some(left) => {
                self.left = left;
                self.text.push_str(&line);
                self.text.push('\n');
            }
            None => self.cut = true,
        }
    }

    /// Inputs or actions; their names alone where content is not to be written.
    fn told(&self, value: Value) -> Value {
        match (self.bodies, value) {
            (true, value) => value,
            (false, Value::Array(all)) => all.into_iter().map(shape).collect(),
            (false, value) => shape(value),
        }
    }
}

/// The name of a case, with its payload where that is numbers alone.
fn shape(value: Value) -> Value {
    fn numbers(value: &Value) -> bool {
        match value {
            Value::Number(_) | Value::Bool(_) | Value::Null => true,
            Value::Object(members) => members.values().all(numbers),
            Value::String(_) | Value::Array(_) => false,
        }
    }
    match value {
        Value::Object(members) if members.len() == 1 && !members.values().all(numbers) => members
            .keys()
            .next()
            .map_or(Value::Null, |name| name.as_str().into()),
        Value::Object(members) if members.len() != 1 => Value::Null,
        value => value,
    }
}

impl Transcript for Live {
    fn inputs(&mut self, inputs: Inputs<'_>, sources: &Sources) {
        if self.cut {
            return;
        }
        let mut step = Map::new();
        let sources = self.sources(sources);
        if !sources.is_empty() {
            step.insert("sources".to_owned(), sources.into());
        }
        let inputs = match inputs {
            Inputs::Exchange(inputs) => written(&inputs),
            Inputs::Attempt(inputs) => written(&inputs),
            Inputs::Composition(events) => written(&events),
            Inputs::Session => Value::Array(Vec::new()),
        };
        step.insert("inputs".to_owned(), self.told(inputs));
        self.step = Some(step);
    }

    fn answer(&mut self, answer: Result<Answer<'_>, &GuestError>) {
        let Some(mut step) = self.step.take() else {
            return;
        };
        match answer {
            Ok(answer) => {
                let actions = self.told(actions(answer));
                step.insert("actions".to_owned(), actions);
            }
            Err(error) => {
                step.insert("failed".to_owned(), error.to_string().into());
            }
        }
        self.line(Value::Object(step));
    }
}

/// What came out of a step, as it is written.
pub(crate) fn actions(answer: Answer<'_>) -> Value {
    match answer {
        Answer::Exchange(actions) => written(&actions),
        Answer::Attempt(actions) => written(&actions),
        Answer::Composition(actions) => written(&actions),
        Answer::Session(stepped) => written(stepped),
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let counts = &self.place.0.counts;
        if self.cut {
            counts.cut.fetch_add(1, Ordering::Relaxed);
        }
        self.text.push_str(if self.cut { CUT } else { END });
        self.text.push('\n');
        let file = File {
            name: std::mem::take(&mut self.name),
            text: std::mem::take(&mut self.text),
        };
        let files = self.place.0.files.lock();
        match files.as_ref().map(|files| files.try_send(file)) {
            Some(Ok(())) => {}
            None | Some(Err(TrySendError::Full(_) | TrySendError::Disconnected(_))) => {
                counts.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tollgate_plugin::{frontend, types};
    use tollgate_wire::source::Source;

    fn context() -> types::Context {
        types::Context {
            request_id: "r".into(),
            unix_time: 1,
            seed: 1,
            route: "all".into(),
            default_model: None,
            deadline_ms: None,
            extensions: Vec::new(),
        }
    }

    fn head() -> frontend::RequestHead {
        frontend::RequestHead {
            claim: 0,
            method: "POST".into(),
            path: "/a".into(),
            query: String::new(),
            parameters: Vec::new(),
            headers: vec![types::Header {
                name: "authorization".into(),
                value: "s3cret".into(),
            }],
        }
    }

    fn record(bounds: Bounds, body: &'static str, times: usize) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let recording = Recording::new(folder.path(), bounds).unwrap();
        let generation = Generation::empty("letters");
        for _ in 0..times {
            let (context, head) = (context(), head());
            let begun = Begun::Exchange {
                context: &context,
                head: &head,
            };
            let mut sources = Sources::default();
            let Some(mut live) = recording.begin(&generation, begun, &sources) else {
                continue;
            };
            sources.insert(0, Source::whole(body.into()));
            let progress = types::Progress {
                source: 0,
                available: body.len() as u64,
                total: None,
                end: true,
            };
            live.inputs(
                Inputs::Exchange(&[frontend::Input::Body(progress)]),
                &sources,
            );
            live.answer(Ok(Answer::Exchange(&[
                frontend::Action::Data(vec![types::Segment::Inline(b"an answer".to_vec())]),
                frontend::Action::Finish,
            ])));
        }
        drop(recording);
        let mut files: Vec<_> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        files.sort();
        let read = files.iter().map(|file| fs::read_to_string(file).unwrap());
        read.collect()
    }

    #[test]
    fn an_exchange_is_a_file_without_its_secrets() {
        let files = record(Bounds::default(), "a body", 2);
        assert_eq!(files.len(), 2);
        let lines: Vec<Value> = files[0]
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines.len(), 3, "{files:?}");
        assert_eq!(lines[0]["side"], "frontend");
        assert_eq!(lines[0]["head"]["path"], "/a");
        assert_eq!(lines[1]["sources"][0]["bytes"], "a body");
        assert_eq!(lines[1]["actions"][1], "finish");
        assert_eq!(lines[2], json!({"end": true}));
        assert!(!files[0].contains("s3cret"), "{}", files[0]);
    }

    #[test]
    fn bodies_are_left_out_where_they_are_not_wanted() {
        let bounds = Bounds {
            bodies: false,
            ..Bounds::default()
        };
        let file = record(bounds, "a body", 1).remove(0);
        assert!(
            !file.contains("a body") && !file.contains("an answer"),
            "{file}"
        );
        let step: Value = serde_json::from_str(file.lines().nth(1).unwrap()).unwrap();
        assert_eq!(step["inputs"][0]["body"]["available"], 6);
        assert_eq!(step["actions"], json!(["data", "finish"]));
        assert_eq!(step["sources"][0]["len"], 6);
    }

    #[test]
    fn nothing_passes_its_bound() {
        let bounds = Bounds {
            files: 3,
            ..Bounds::default()
        };
        assert_eq!(record(bounds, "a body", 10).len(), 3);
        let large: &str = Box::leak("x".repeat(2000).into_boxed_str());
        let bounds = Bounds {
            bytes: 1000,
            ..Bounds::default()
        };
        let file = record(bounds, large, 1).remove(0);
        assert!(file.len() <= 1000 + CUT.len() + 1, "{}", file.len());
        assert_eq!(file.lines().last(), Some(CUT));
        let bounds = Bounds {
            at_once: 0,
            ..Bounds::default()
        };
        assert_eq!(record(bounds, "a body", 10).len(), 0);
    }
}
