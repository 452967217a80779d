//! Plays a file to a plugin, by the engine and within the limits of the proxy.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use serde_json::Value;
use tollgate_plugin::{
    Attempt, Composition, Exchange, Generation, GuestError, LARGE, Session, Sources, backend,
    composition, frontend, serving, tap::Answer, types,
};
use tollgate_wire::source::{Feeder, Source};

use crate::{
    Side,
    file::{Feed, Given, Inputs, Script},
    recorder,
};

/// In a frontend, sources of responses have numbers from here.
const RESPONSES: u32 = 1 << 31;

/// Why a file could not be played to its end.
#[derive(Debug, thiserror::Error)]
pub enum Stop {
    /// The plugin failed.
    #[error(transparent)]
    Guest(#[from] GuestError),
    /// The file has a gap: bytes that the proxy had let go before they were shown.
    #[error("bytes of source {0} are missing")]
    Gap(u32),
    /// A proxy would not have gone this way.
    #[error("it would not come so")]
    NotSo,
}

/// What came of playing a file.
#[derive(Debug)]
pub struct Played {
    /// The actions of each step.
    pub actions: Vec<Value>,
    /// How long each call took, the constructor's first.
    pub calls: Vec<Duration>,
    /// Linear memory of the instance afterwards, in bytes.
    pub memory: u64,
}

/// A step to be played: as it was written, or made of one that was.
#[derive(Clone, Debug)]
pub(crate) struct Move {
    pub(crate) feeds: Vec<Feed>,
    pub(crate) inputs: Inputs,
    /// So much of a source is shown here that was not shown so: only if the plugin would be.
    pub(crate) partial: Option<(u32, u64)>,
    /// So much of a source is shown here again: only if the plugin still waits for it.
    pub(crate) rest: Option<(u32, u64, bool)>,
}

/// What lives in the plugin.
enum Guest {
    Frontend(Exchange),
    Backend(Attempt),
    Composition(Composition),
    Session(Session),
}

/// What came out of one step.
enum Out {
    Frontend(Vec<frontend::Action>),
    Backend(Vec<backend::Action>),
    Composition(Vec<composition::Action>),
    Session(serving::Stepped),
}

impl Out {
    fn answer(&self) -> Answer<'_> {
        match self {
            Self::Frontend(actions) => Answer::Exchange(actions),
            Self::Backend(actions) => Answer::Attempt(actions),
            Self::Composition(actions) => Answer::Composition(actions),
            Self::Session(stepped) => Answer::Session(stepped),
        }
    }

    fn needs(&self) -> Vec<types::Need> {
        match self {
            Self::Frontend(actions) => actions
                .iter()
                .filter_map(|action| match action {
                    frontend::Action::Need(need) => Some(*need),
                    _ => None,
                })
                .collect(),
            Self::Backend(actions) => actions
                .iter()
                .filter_map(|action| match action {
                    backend::Action::Need(need) => Some(*need),
                    _ => None,
                })
                .collect(),
            Self::Composition(_) | Self::Session(_) => Vec::new(),
        }
    }

    /// Nothing more is told afterwards.
    fn is_last(&self) -> bool {
        match self {
            Self::Frontend(actions) => actions.iter().any(|action| {
                matches!(
                    action,
                    frontend::Action::Finish
                        | frontend::Action::Refuse(_)
                        | frontend::Action::Trailers(_)
                )
            }),
            Self::Backend(actions) => actions
                .iter()
                .any(|action| matches!(action, backend::Action::Finish)),
            Self::Composition(_) => false,
            Self::Session(stepped) => matches!(stepped.progress, serving::Progress::Done),
        }
    }
}

/// The sources of one exchange, as far as they have come.
#[derive(Default)]
struct Table {
    sources: Sources,
    feeders: HashMap<u32, (u64, Option<Feeder>)>,
}

impl Table {
    fn feed(&mut self, feed: &Feed) -> Result<(), Stop> {
        if !self.feeders.contains_key(&feed.id) {
            // A length that was declared and not reached would cut it.
            let (source, feeder) = Source::streaming(1 << 40, 1 << 40, None);
            self.sources.insert(feed.id, source);
            self.feeders.insert(feed.id, (0, Some(feeder)));
        }
        let Some((at, feeder)) = self.feeders.get_mut(&feed.id) else {
            return Ok(());
        };
        if feed.at != *at {
            return Err(Stop::Gap(feed.id));
        }
        *at += feed.bytes.len() as u64;
        if let Some(feeder) = feeder {
            let mut bytes = feed.bytes.clone();
            feeder
                .try_push(&mut bytes)
                .map_err(|_| Stop::Gap(feed.id))?;
            if !bytes.is_empty() {
                return Err(Stop::Gap(feed.id));
            }
        }
        if feed.end
            && let Some(feeder) = feeder.take()
        {
            feeder.end();
        }
        Ok(())
    }
}

impl Script {
    /// Its steps as they were written.
    pub(crate) fn moves(&self) -> Vec<Move> {
        self.steps
            .iter()
            .map(|step| Move {
                feeds: step.sources.clone(),
                inputs: step.inputs.clone(),
                partial: None,
                rest: None,
            })
            .collect()
    }

    /// Plays it as it was written. `alone`: in an instance of its own.
    ///
    /// # Errors
    /// See [`Stop`].
    pub fn play(&self, generation: &Generation, alone: bool) -> Result<Played, Stop> {
        self.play_moves(generation, alone, &self.moves())
    }

    pub(crate) fn play_moves(
        &self,
        generation: &Generation,
        alone: bool,
        moves: &[Move],
    ) -> Result<Played, Stop> {
        let mut table = Table::default();
        for feed in &self.sources {
            table.feed(feed)?;
        }
        let began = Instant::now();
        let guest = self.begin(generation, alone, &mut table.sources)?;
        let mut played = Played {
            actions: Vec::with_capacity(moves.len()),
            calls: vec![began.elapsed()],
            memory: 0,
        };
        let mut needs: HashMap<u32, types::Need> = HashMap::new();
        for it in moves {
            if let Some((source, available)) = it.partial {
                match needs.get(&source).map(|need| need.until) {
                    Some(types::Want::All) => return Err(Stop::NotSo),
                    Some(types::Want::AtLeast(least)) if least > available => {
                        return Err(Stop::NotSo);
                    }
                    _ => {}
                }
            }
            if let Some((source, available, end)) = it.rest {
                let need = needs.get(&source).map(|need| need.until);
                let waits = match need {
                    Some(types::Want::AtLeast(least)) => least > available && !end,
                    Some(_) => false,
                    // A client's bytes are told of only where they are asked for.
                    None => !self.is_response(source),
                };
                if waits {
                    return Err(Stop::NotSo);
                }
            }
            for feed in &it.feeds {
                table.feed(feed)?;
            }
            let began = Instant::now();
            let out = guest.step(&mut table.sources, &it.inputs)?;
            played.calls.push(began.elapsed());
            // What is not asked for again is not waited for.
            needs = out.needs().into_iter().map(|it| (it.source, it)).collect();
            if let Some((id, available)) = it.partial
                && self.is_response(id)
                && let Ok(source) = table.sources.get(id)
            {
                let need = needs.get(&id);
                source.release(need.map_or(available, |need| need.keep_from));
            }
            played.actions.push(recorder::actions(out.answer()));
            if out.is_last() {
                break;
            }
        }
        played.memory = guest.memory();
        Ok(played)
    }

    /// Whether a source is of a response, of which what was shown is let go and what follows is told
    /// unasked. All that a backend is told of is.
    fn is_response(&self, source: u32) -> bool {
        self.side == Side::Backend || source >= RESPONSES
    }

    fn begin(
        &self,
        generation: &Generation,
        alone: bool,
        sources: &mut Sources,
    ) -> Result<Guest, GuestError> {
        // Of so many bytes it gets an instance of its own.
        let bytes = if alone { tollgate_plugin::ALONE + 1 } else { 0 };
        let context = &self.context;
        Ok(match &self.given {
            Given::Frontend(head) => {
                Guest::Frontend(Exchange::new(generation, alone, 0, context, head)?)
            }
            Given::Backend(worker, members) => Guest::Backend(Attempt::new(
                generation, bytes, context, worker, members, sources,
            )?),
            Given::Composition(call, capabilities) => Guest::Composition(Composition::new(
                generation,
                bytes,
                context,
                call,
                capabilities,
            )?),
            Given::Session(call) => Guest::Session(Session::new(generation, bytes, context, call)?),
        })
    }
}

impl Guest {
    fn step(&self, sources: &mut Sources, inputs: &Inputs) -> Result<Out, Stop> {
        let large = sources.arrived() > LARGE;
        Ok(match (self, inputs) {
            (Self::Frontend(guest), Inputs::Frontend(inputs)) => {
                Out::Frontend(guest.step(sources, inputs, large)?)
            }
            (Self::Backend(guest), Inputs::Backend(inputs)) => {
                Out::Backend(guest.step(sources, inputs, large)?)
            }
            (Self::Composition(guest), Inputs::Composition(events)) => {
                Out::Composition(guest.step(events)?)
            }
            (Self::Session(guest), Inputs::Session) => Out::Session(guest.step()?),
            _ => return Err(Stop::NotSo),
        })
    }

    fn memory(&self) -> u64 {
        match self {
            Self::Frontend(guest) => guest.memory(),
            Self::Backend(guest) => guest.memory(),
            Self::Composition(guest) => guest.memory(),
            Self::Session(guest) => guest.memory(),
        }
    }
}
