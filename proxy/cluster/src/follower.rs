//! Lists, then watches, and so on: a state machine around one conversation.
//!
//! 1. *List*: the whole set, and the version from which it can be watched.
//! 2. *Watch*: asked for from that version. Each event changes the set and moves the version; a
//!    bookmark only moves it. At its end, which the server was told, it is asked for anew.
//! 3. A version that the server has forgotten (410, as an answer or as an event) leads back to the
//!    list; a second time, with nothing heard in between, it is an error, or the two would chase each
//!    other.
//! 4. An event that cannot be read leads back to the list too, after the error: what it said is not
//!    known, and the next ones build on it.

use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;
use tokio::time::{Instant, sleep_until};

use crate::api::{Api, ApiSpec, Listed, message};
use crate::error::ApiError;
use crate::kinds::Query;
use crate::lines::Lines;
use crate::store::{Meta, Seen, Store};

/// A watch that ends sooner than this and has told nothing is no watch.
const SOON: Duration = Duration::from_secs(1);
/// Events that are taken together when they have come together.
const TOGETHER: usize = 1024;

/// What is followed, and within which bounds.
#[derive(Clone, Debug)]
pub struct FollowerSpec {
    /// How the API server is reached.
    pub api: ApiSpec,
    /// Which objects.
    pub query: Query,
    /// Of slices: the port's name; none: their only one.
    pub port: Option<String>,
    /// How long a watch lasts, a second or more.
    pub lasting: Duration,
    /// Most objects that are remembered.
    pub objects: usize,
}

/// Follows the objects of one kind.
pub struct Follower {
    api: Api,
    query: Query,
    lasting: Duration,
    store: Store,
    state: State,
    /// Versions were forgotten, and nothing was heard since.
    gone: bool,
    /// The last that was told is an error.
    doubted: bool,
}

enum State {
    List,
    Watch { version: String },
    Watching(Box<Watching>),
}

struct Watching {
    version: String,
    lines: Lines,
    since: Instant,
    heard: bool,
}

/// What a line of a watch says.
#[derive(Deserialize)]
struct Event {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    object: Value,
}

/// What came of an event.
enum Came {
    /// The set may be another one.
    Changed,
    /// The version has moved on.
    Moved,
    /// Everything has to be listed again.
    Relist,
}

impl Follower {
    /// Nothing is asked yet.
    #[must_use]
    pub fn new(spec: FollowerSpec) -> Self {
        let FollowerSpec {
            api,
            query,
            port,
            lasting,
            objects,
        } = spec;
        Self {
            api: Api::new(api),
            store: Store::new(query.kind, port, objects),
            query,
            lasting: lasting.max(Duration::from_secs(1)),
            state: State::List,
            gone: false,
            doubted: false,
        }
    }

    /// Lists everything again at the next call.
    pub fn relist(&mut self) {
        self.state = State::List;
    }

    /// Waits for a set that may differ from the one before: the first, whenever something is told,
    /// and after an error when what is known is true again. Dropped while it waits, nothing is lost.
    ///
    /// # Errors
    /// It is not known what is there now; what was known stays. The next call tries again, and may
    /// do so at once or later.
    pub async fn next(&mut self) -> Result<Seen, ApiError> {
        let next = self.advance().await;
        self.doubted = next.is_err();
        next
    }

    async fn advance(&mut self) -> Result<Seen, ApiError> {
        loop {
            match &mut self.state {
                State::List => {
                    let Listed { items, version } = self.api.list(&self.query).await?;
                    self.store.replace(&items).map_err(ApiError::Garbage)?;
                    self.state = State::Watch { version };
                    return Ok(self.store.seen());
                }
                State::Watch { version } => {
                    let version = version.clone();
                    match self.api.watch(&self.query, &version, self.lasting).await {
                        Ok(lines) => {
                            self.state = State::Watching(Box::new(Watching {
                                version,
                                lines,
                                since: Instant::now(),
                                heard: false,
                            }));
                        }
                        Err(ApiError::Gone) => self.forgotten()?,
                        Err(error) => return Err(error),
                    }
                }
                State::Watching(_) => {
                    if let Some(seen) = self.listen().await? {
                        return Ok(seen);
                    }
                }
            }
        }
    }

    /// The server does not know the version any more.
    fn forgotten(&mut self) -> Result<(), ApiError> {
        self.state = State::List;
        match std::mem::replace(&mut self.gone, true) {
            false => Ok(()),
            true => Err(ApiError::Gone),
        }
    }

    /// Takes what comes next of a watch, and all that has come with it. None: nothing has changed.
    async fn listen(&mut self) -> Result<Option<Seen>, ApiError> {
        let State::Watching(watching) = &mut self.state else {
            return Ok(None);
        };
        // A watch that lasts says that nothing was missed, also while there is nothing to tell.
        let (doubted, proven) = (self.doubted, watching.since + SOON);
        let line = tokio::select! {
            biased;
            line = watching.lines.next() => line,
            () = sleep_until(proven), if doubted => return Ok(Some(self.store.seen())),
        };
        let line = match line {
            Ok(Some(line)) => line,
            Ok(None) => {
                let idle = !watching.heard && watching.since.elapsed() < SOON;
                self.resume();
                return if idle { Err(ApiError::Ended) } else { Ok(None) };
            }
            Err(ApiError::TooLarge(most)) => {
                self.state = State::List;
                return Err(ApiError::TooLarge(most));
            }
            Err(error) => {
                self.resume();
                return Err(error);
            }
        };
        let mut changed = false;
        let mut next = Some(line);
        for left in (0..TOGETHER).rev() {
            let Some(line) = next.take() else { break };
            match self.event(&line) {
                Ok(Came::Changed) => changed = true,
                Ok(Came::Moved) => {}
                Ok(Came::Relist) => {
                    self.state = State::List;
                    return Ok(changed.then(|| self.store.seen()));
                }
                Err(ApiError::Gone) => {
                    self.forgotten()?;
                    return Ok(changed.then(|| self.store.seen()));
                }
                Err(error) => {
                    self.state = State::List;
                    return Err(error);
                }
            }
            if let (true, State::Watching(watching)) = (left > 0, &mut self.state) {
                next = watching.lines.ready();
            }
        }
        Ok((changed || self.doubted).then(|| self.store.seen()))
    }

    fn resume(&mut self) {
        if let State::Watching(watching) = &mut self.state {
            let version = std::mem::take(&mut watching.version);
            self.state = State::Watch { version };
        }
    }

    fn event(&mut self, line: &Bytes) -> Result<Came, ApiError> {
        let garbage = |error: String| ApiError::Garbage(format!("an event: {error}"));
        let event: Event =
            serde_json::from_slice(line).map_err(|error| garbage(error.to_string()))?;
        if event.kind == "ERROR" {
            let code = event.object["code"].as_u64().unwrap_or(0);
            let said = message(event.object.to_string().as_bytes());
            return Err(match u16::try_from(code) {
                Ok(410) => ApiError::Gone,
                Ok(status) => ApiError::Status { status, said },
                Err(_) => garbage(format!("code {code}")),
            });
        }
        let bookmark = event.kind == "BOOKMARK";
        // A bookmark's object has its version and may lack a name.
        let version = event.object["metadata"]["resourceVersion"].as_str();
        let version = version.filter(|it| !it.is_empty()).map(str::to_owned);
        if let State::Watching(watching) = &mut self.state {
            watching.heard = true;
            if let Some(version) = version {
                watching.version = version;
            }
        }
        self.gone = false;
        if bookmark {
            return Ok(Came::Moved);
        }
        let meta = Meta::of(&event.object).map_err(garbage)?;
        match event.kind.as_str() {
            "ADDED" | "MODIFIED" => self.store.put(&meta, &event.object),
            "DELETED" => {
                if self.store.remove(&meta) {
                    return Ok(Came::Relist);
                }
            }
            // By the reference there are no others; one that is new says nothing to us.
            _ => return Ok(Came::Moved),
        }
        Ok(Came::Changed)
    }
}
