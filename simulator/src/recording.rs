//! A journal of a live driver as lines of JSON, and the same played again on another driver.
//!
//! A recording is what [`Note`]s say, one a line. Played again, each line that tells the driver
//! something is told to a fresh one with a fresh policy, and what it notes has to be the recording,
//! line by line. A recording that was cut short ends with a line that says so; one whose writer was
//! killed ends in the middle of a line, or lacks what followed from the last thing told. Either is
//! played as far as it goes.

use std::io::{BufRead, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use serde_json::{Value, json};
use tollgate_dispatch::policy::{
    Action, Affinity, Event, Page, Policy, PolicyGone, Settled, Worker,
};
use tollgate_dispatch::{Arrival, Decision, Driver, Journal, Limits, Note, Rejection};

use crate::run::Policies;

/// The last line of a recording that was cut short.
pub const CUT: &str = r#"{"cut":true}"#;

/// A recording that cannot be played.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// The file cannot be read.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// A line that is not one of a recording.
    #[error("line {line}: {why}")]
    Line {
        /// Which one, from 1.
        line: usize,
        /// What is wrong.
        why: String,
    },
    /// The bounds that it was recorded under cannot work.
    #[error(transparent)]
    Limits(#[from] tollgate_dispatch::LimitsError),
}

/// What came of playing a recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replay {
    /// What the driver was told.
    pub told: u64,
    /// What it decided.
    pub decided: u64,
    /// The recording was cut short; what is there was played.
    pub cut: bool,
    /// Where it went another way.
    pub difference: Option<Difference>,
}

/// The first line at which the two differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Which one, from 1.
    pub line: usize,
    /// What was recorded; nothing: the recording had nothing more at this point.
    pub recorded: String,
    /// What happened now; nothing: nothing more did.
    pub replayed: String,
}

// === writing ===

/// A note as a line.
#[must_use]
pub fn line(note: Note<'_>) -> String {
    let value = match note {
        Note::Begun(limits, given) => json!({"begun": bounds(limits), "given": given}),
        Note::Arrive(t, it) => json!({"t": t, "arrive": arrival(it)}),
        Note::Cancel(t, id) => json!({"t": t, "cancel": id}),
        Note::Entitled(t, id, workers) => json!({"t": t, "entitled": id, "eligible": workers}),
        Note::Finished(t, id, first) => json!({"t": t, "finished": id, "first": first}),
        Note::Failed(t, batch, ids) => json!({"t": t, "failed": batch, "requests": ids}),
        Note::Settled(t, it) => json!({"t": t, "settled": settled(it)}),
        Note::Worker(t, it) => json!({"t": t, "worker": worker(it)}),
        Note::Gone(t, id) => json!({"t": t, "gone": id}),
        Note::Tick(t) => json!({"t": t, "tick": true}),
        Note::Swap(t) => json!({"t": t, "swap": true}),
        Note::FallBack(t) => json!({"t": t, "fall-back": true}),
        Note::Lost(call) => json!({"lost": call}),
        Note::Decided(Decision::Dispatch {
            batch,
            worker,
            requests,
        }) => json!({"dispatch": batch, "worker": worker, "requests": requests}),
        Note::Decided(Decision::Reject { id, reason }) => {
            json!({"reject": id, "reason": name(reason)})
        }
    };
    value.to_string()
}

fn name(reason: &Rejection) -> String {
    match reason {
        Rejection::Overloaded => "overloaded".into(),
        Rejection::OverShare => "over-share".into(),
        Rejection::TooLate => "too-late".into(),
        Rejection::QueueTimeout => "queue-timeout".into(),
        Rejection::NoWorker => "no-worker".into(),
        Rejection::Other(why) => format!("other: {why}"),
    }
}

fn bounds(it: &Limits) -> Value {
    json!({
        "max_pending": it.max_pending, "max_bytes": it.max_bytes,
        "max_workers": it.max_workers, "queue_timeout": it.queue_timeout,
        "workerless_timeout": it.workerless_timeout, "min_wake": it.min_wake,
        "max_wake": it.max_wake, "max_actions": it.max_actions,
        "max_kept_events": it.max_kept_events, "max_refused_in_a_row": it.max_refused_in_a_row,
    })
}

fn arrival(it: &Arrival) -> Value {
    let affinity = match &it.affinity {
        Affinity::None => Value::Null,
        Affinity::Prefer(blocks) => json!({"prefer": blocks.to_vec()}),
        Affinity::Pin(pin) => json!({"pin": pin}),
    };
    json!({
        "model": it.model, "tenant": it.tenant, "batch_key": it.batch_key,
        "eligible": it.eligible.to_vec(), "priority": it.priority, "input": it.input_cost,
        "output": it.output_cost, "deadline": it.deadline, "affinity": affinity,
        "bytes": it.bytes, "queue_timeout": it.queue_timeout,
        "workerless_timeout": it.workerless_timeout,
    })
}

fn settled(it: &Settled) -> Value {
    json!({
        "id": it.id, "tenant": it.tenant, "believed": [it.input_cost, it.output_cost],
        "input": it.input, "output": it.output,
    })
}

fn worker(it: &Worker) -> Value {
    json!({
        "id": it.id, "accepting": it.accepting, "models": it.models.to_vec(), "slots": it.slots,
        "max_batch": it.max_batch, "identity": it.identity, "queued": it.queued, "running": it.running,
        "kv": it.kv_cache_use,
    })
}

// === reading ===

struct Reader<'a> {
    value: &'a Value,
    line: usize,
}

impl Reader<'_> {
    fn wrong(&self, why: impl Into<String>) -> RecordingError {
        RecordingError::Line {
            line: self.line,
            why: why.into(),
        }
    }

    fn get(&self, name: &str) -> Result<&Value, RecordingError> {
        self.value
            .get(name)
            .ok_or_else(|| self.wrong(format!("`{name}` is missing")))
    }

    fn number<T: TryFrom<u64>>(&self, name: &str) -> Result<T, RecordingError> {
        let number = self.get(name)?.as_u64().and_then(|it| T::try_from(it).ok());
        number.ok_or_else(|| self.wrong(format!("`{name}` is not such a number")))
    }

    fn perhaps<T: TryFrom<u64>>(&self, name: &str) -> Result<Option<T>, RecordingError> {
        match self.get(name)? {
            Value::Null => Ok(None),
            _ => self.number(name).map(Some),
        }
    }

    fn numbers<T: TryFrom<u64>>(&self, name: &str) -> Result<Vec<T>, RecordingError> {
        let list = self.get(name)?.as_array();
        let list = list.ok_or_else(|| self.wrong(format!("`{name}` is not a list")))?;
        list.iter()
            .map(|it| {
                it.as_u64()
                    .and_then(|it| T::try_from(it).ok())
                    .ok_or_else(|| self.wrong(format!("`{name}` has no such number")))
            })
            .collect()
    }

    fn inner(&self, name: &str) -> Result<Reader<'_>, RecordingError> {
        Ok(Reader {
            value: self.get(name)?,
            line: self.line,
        })
    }

    fn limits(&self) -> Result<Limits, RecordingError> {
        Ok(Limits {
            max_pending: self.number("max_pending")?,
            max_bytes: self.number("max_bytes")?,
            max_workers: self.number("max_workers")?,
            queue_timeout: self.number("queue_timeout")?,
            workerless_timeout: self.number("workerless_timeout")?,
            min_wake: self.number("min_wake")?,
            max_wake: self.number("max_wake")?,
            max_actions: self.number("max_actions")?,
            max_kept_events: self.number("max_kept_events")?,
            max_refused_in_a_row: self.number("max_refused_in_a_row")?,
        })
    }

    fn arrival(&self) -> Result<Arrival, RecordingError> {
        let priority = self.get("priority")?.as_i64();
        let priority = priority.and_then(|it| i32::try_from(it).ok());
        let affinity = self.inner("affinity")?;
        Ok(Arrival {
            model: self.number("model")?,
            tenant: self.number("tenant")?,
            batch_key: self.number("batch_key")?,
            eligible: self.numbers("eligible")?.into(),
            priority: priority.ok_or_else(|| self.wrong("`priority` is not such a number"))?,
            input_cost: self.number("input")?,
            output_cost: self.number("output")?,
            deadline: self.perhaps("deadline")?,
            affinity: if affinity.value.is_null() {
                Affinity::None
            } else if affinity.value.get("pin").is_some() {
                Affinity::Pin(affinity.number("pin")?)
            } else {
                Affinity::Prefer(affinity.numbers("prefer")?.into())
            },
            bytes: self.number("bytes")?,
            queue_timeout: self.perhaps("queue_timeout")?,
            workerless_timeout: self.perhaps("workerless_timeout")?,
        })
    }

    fn settled(&self) -> Result<Settled, RecordingError> {
        let believed: Vec<u32> = self.numbers("believed")?;
        let [input_cost, output_cost] = believed[..] else {
            return Err(self.wrong("`believed` is not a pair"));
        };
        Ok(Settled {
            id: self.number("id")?,
            tenant: self.number("tenant")?,
            input_cost,
            output_cost,
            input: self.perhaps("input")?,
            output: self.perhaps("output")?,
        })
    }

    fn worker(&self) -> Result<Worker, RecordingError> {
        let accepting = self.get("accepting")?.as_bool();
        Ok(Worker {
            id: self.number("id")?,
            accepting: accepting.ok_or_else(|| self.wrong("`accepting` is not true or false"))?,
            models: self.numbers("models")?.into(),
            slots: self.number("slots")?,
            busy: 0,
            max_batch: self.number("max_batch")?,
            identity: self.number("identity")?,
            queued: self.perhaps("queued")?,
            running: self.perhaps("running")?,
            kv_cache_use: self.perhaps("kv")?,
        })
    }
}

// === playing ===

/// Counts the calls of all policies of a replay, and fails where the recording says so.
struct Player {
    policy: Box<dyn Policy>,
    calls: Arc<AtomicU32>,
    lost: Arc<AtomicU32>,
}

impl Player {
    fn call(&self) -> Result<(), PolicyGone> {
        let call = self.calls.fetch_add(1, Ordering::Relaxed) + 1;
        if self.lost.load(Ordering::Relaxed) == call {
            return Err(PolicyGone {
                reason: "as it was recorded".into(),
            });
        }
        Ok(())
    }
}

impl Policy for Player {
    fn restore(&mut self, now: u64, page: Page) -> Result<(), PolicyGone> {
        self.call()?;
        self.policy.restore(now, page)
    }

    fn step(&mut self, now: u64, events: Vec<Event>) -> Result<Vec<Action>, PolicyGone> {
        self.call()?;
        self.policy.step(now, events)
    }
}

/// Notes of the driver that plays, until the next line is read. What one line can cause is bounded
/// by the driver's own bounds.
struct Told(SyncSender<String>);

/// More than a driver notes of one line: a decision for each that waits, and as many policies as
/// can be lost.
const MOST_NOTES: usize = 1 << 20;

impl Journal for Told {
    fn note(&mut self, note: Note<'_>) {
        // A driver that notes more than it can is told apart by what is missing.
        let _ = self.0.try_send(line(note));
    }
}

/// Plays a recording on a fresh driver.
///
/// # Errors
/// It is not a recording.
pub fn replay(from: impl BufRead, policies: &mut Policies<'_>) -> Result<Replay, RecordingError> {
    let mut answer = Replay {
        told: 0,
        decided: 0,
        cut: false,
        difference: None,
    };
    let (sender, heard) = sync_channel(MOST_NOTES);
    let mut stage = Stage {
        driver: None,
        sender,
        calls: Arc::default(),
        lost: Arc::default(),
    };
    // One line that tells something, and those that followed from it.
    let mut group: Vec<(usize, String, Value)> = Vec::new();
    let mut lines = from.lines().enumerate().peekable();
    while let Some((at, text)) = lines.next() {
        // The end of a line that was cut may be the middle of a letter.
        let text = match text {
            Err(error) if error.kind() != ErrorKind::InvalidData => return Err(error.into()),
            text => text.unwrap_or_default(),
        };
        if text == CUT {
            answer.cut = true;
            break;
        }
        let value: Value = match serde_json::from_str(&text) {
            Ok(value) => value,
            Err(_) if at > 0 && lines.peek().is_none() => {
                answer.cut = true;
                break;
            }
            Err(error) => {
                return Err(RecordingError::Line {
                    line: at + 1,
                    why: error.to_string(),
                });
            }
        };
        let follows = ["lost", "dispatch", "reject"];
        let follows = follows.iter().any(|name| value.get(name).is_some());
        if !follows && !group.is_empty() {
            stage.play(&group, &heard, policies, &mut answer)?;
            group.clear();
            if answer.difference.is_some() {
                return Ok(answer);
            }
        }
        group.push((at + 1, text, value));
    }
    if !group.is_empty() && !answer.cut {
        stage.play(&group, &heard, policies, &mut answer)?;
        // Nothing that is there is another, and something is not there.
        let missing = answer.difference.as_ref();
        if missing.is_some_and(|it| it.recorded.is_empty()) {
            answer.difference = None;
            answer.cut = true;
        }
    }
    Ok(answer)
}

struct Stage {
    driver: Option<Driver>,
    sender: SyncSender<String>,
    calls: Arc<AtomicU32>,
    lost: Arc<AtomicU32>,
}

impl Stage {
    fn play(
        &mut self,
        group: &[(usize, String, Value)],
        heard: &Receiver<String>,
        policies: &mut Policies<'_>,
        answer: &mut Replay,
    ) -> Result<(), RecordingError> {
        self.calls.store(0, Ordering::Relaxed);
        let lost = group.iter().find_map(|(_, _, value)| value.get("lost"));
        let lost = lost.and_then(Value::as_u64).unwrap_or(0);
        self.lost.store(lost as u32, Ordering::Relaxed);
        let (line, _, value) = &group[0];
        self.tell(&Reader { value, line: *line }, policies)?;
        answer.told += 1;
        let mut recorded = group.iter();
        loop {
            let (then, now) = (recorded.next(), heard.try_recv().ok());
            let text = then.map(|(_, text, _)| text);
            if text.is_none() && now.is_none() {
                return Ok(());
            }
            if text != now.as_ref() {
                let last = group.last().map_or(*line, |(at, _, _)| at + 1);
                answer.difference = Some(Difference {
                    line: then.map_or(last, |(at, _, _)| *at),
                    recorded: text.cloned().unwrap_or_default(),
                    replayed: now.unwrap_or_default(),
                });
                return Ok(());
            }
            let decided = then.is_some_and(|(_, _, value)| {
                value.get("dispatch").is_some() || value.get("reject").is_some()
            });
            answer.decided += u64::from(decided);
        }
    }

    fn policy(&self, policies: &mut Policies<'_>) -> Option<Box<dyn Policy>> {
        let policy = policies()?;
        Some(Box::new(Player {
            policy,
            calls: self.calls.clone(),
            lost: self.lost.clone(),
        }))
    }

    fn tell(&mut self, it: &Reader<'_>, policies: &mut Policies<'_>) -> Result<(), RecordingError> {
        if it.value.get("begun").is_some() {
            let mut driver = Driver::new(it.inner("begun")?.limits()?)?;
            if it.get("given")?.as_bool() == Some(true)
                && let Some(policy) = self.policy(policies)
            {
                driver.swap(0, policy);
            }
            driver.keep_journal(Box::new(Told(self.sender.clone())));
            self.driver = Some(driver);
            return Ok(());
        }
        let policy = if it.value.get("swap").is_some() {
            self.policy(policies)
        } else {
            None
        };
        let Some(driver) = &mut self.driver else {
            return Err(it.wrong("the recording has not begun"));
        };
        let now = it.number("t")?;
        let known = [
            "arrive", "cancel", "entitled", "finished", "failed", "settled", "worker", "gone",
        ];
        let known = known.iter().find(|name| it.value.get(**name).is_some());
        match known.copied() {
            Some("arrive") => {
                // Whether there is room follows from what was told before.
                let _ = driver.arrive(now, it.inner("arrive")?.arrival()?);
            }
            Some("cancel") => {
                driver.cancel(now, it.number("cancel")?);
            }
            Some("entitled") => {
                let eligible: Vec<u32> = it.numbers("eligible")?;
                driver.entitle(now, it.number("entitled")?, eligible.into());
            }
            Some("finished") => {
                driver.batch_finished(now, it.number("finished")?, it.perhaps("first")?);
            }
            Some("failed") => {
                let requests: Vec<u64> = it.numbers("requests")?;
                driver.attempt_failed(now, it.number("failed")?, &requests);
            }
            Some("settled") => driver.settled(now, it.inner("settled")?.settled()?),
            Some("worker") => {
                driver.worker_changed(now, it.inner("worker")?.worker()?);
            }
            Some("gone") => {
                driver.worker_gone(now, it.number("gone")?);
            }
            _ if it.value.get("tick").is_some() => driver.tick(now),
            _ if it.value.get("fall-back").is_some() => driver.fall_back(now),
            _ => match policy {
                Some(policy) => driver.swap(now, policy),
                None => return Err(it.wrong("it says nothing that is known")),
            },
        }
        // Those who would carry them out are not here.
        drop(driver.take_decisions());
        drop(driver.take_troubles());
        Ok(())
    }
}
