//! Holds a plugin to a file: played as it was, at every split of what came, cut off at every
//! length, and again and again.
//!
//! 1. As it was: the same inputs give the same actions, in an instance of its own and in one that
//!    has served others.
//! 2. Split: what comes in two pieces, anywhere, has the same outcome.
//! 3. Cut: what breaks off, or ends, anywhere, is no reason to trap.
//! 4. Repeated: an instance does not grow by what it has served.

use tollgate_plugin::{
    Generation, backend, frontend,
    manifest::{Gathering, Surface},
    types,
};

use crate::{
    file::{Given, Inputs, Script},
    outcome::{self, Content},
    play::{Move, Stop},
};

/// How much is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Depth {
    /// Positions at which a file's sources are split, and cut, at most. Of more they are taken
    /// evenly.
    pub positions: usize,
    /// How often a file is repeated.
    pub repetitions: usize,
    /// Bytes by which an instance may have grown over the later half of the repetitions.
    pub growth: u64,
}

impl Default for Depth {
    fn default() -> Self {
        Self {
            positions: 512,
            repetitions: 64,
            growth: 64 << 10,
        }
    }
}

/// What was tried, and what is wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Steps of the file.
    pub steps: usize,
    /// Splits that were played; those that a proxy would not make are left out.
    pub splits: usize,
    /// Cuts that were played.
    pub cuts: usize,
    /// Repetitions.
    pub repetitions: usize,
    /// What is wrong; nothing: the plugin holds. At most eight.
    pub problems: Vec<String>,
}

/// Problems of one file that are told.
const PROBLEMS: usize = 8;

impl Verdict {
    fn wrong(&mut self, what: String) {
        if self.problems.len() < PROBLEMS {
            self.problems.push(what);
        }
    }

    /// Nothing is wrong.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.problems.is_empty()
    }
}

/// A place at which a source may be split: within the progress that this input tells.
#[derive(Clone, Copy, Debug)]
struct Place {
    step: usize,
    input: usize,
    source: u32,
    at: u64,
}

impl Script {
    /// Holds a plugin to it. The generation must be configured as the file says.
    #[must_use]
    pub fn check(&self, generation: &Generation, depth: Depth) -> Verdict {
        let mut verdict = Verdict {
            steps: self.steps.len(),
            ..Verdict::default()
        };
        if self.side.world() != generation.world() {
            verdict.wrong(format!(
                "it is of a {}, which a plugin of the world {} has not",
                self.side.name(),
                generation.world()
            ));
            return verdict;
        }
        if !self.check_whole(generation, &mut verdict) {
            return verdict;
        }
        self.check_splits(generation, depth, &mut verdict);
        self.check_cuts(generation, depth, &mut verdict);
        self.check_repeated(generation, depth, &mut verdict);
        verdict
    }

    /// As it was, alone and beside others.
    fn check_whole(&self, generation: &Generation, verdict: &mut Verdict) -> bool {
        for (alone, how) in [
            (true, "in a fresh instance"),
            (true, "in another fresh instance"),
            (false, "in an instance that has served others"),
            (false, "in the same instance again"),
        ] {
            let played = match self.play(generation, alone) {
                Ok(played) => played,
                Err(stop) => {
                    let failed = self.steps.iter().any(|step| step.actions.is_none());
                    let known = failed && matches!(stop, Stop::Guest(_));
                    let again = if known { "as it was recorded, " } else { "" };
                    verdict.wrong(format!("{again}{how}: {stop}"));
                    return false;
                }
            };
            for (at, (step, now)) in self.steps.iter().zip(&played.actions).enumerate() {
                let Some(then) = &step.actions else {
                    continue;
                };
                if then != now {
                    verdict.wrong(format!(
                        "step {} {how}:\n  recorded {then}\n  now      {now}",
                        at + 1
                    ));
                    return false;
                }
            }
            if played.actions.len() < self.steps.len() {
                verdict.wrong(format!(
                    "{how} it ends after step {} of {}",
                    played.actions.len(),
                    self.steps.len()
                ));
                return false;
            }
        }
        true
    }

    fn content(&self) -> Content {
        let mut content = Content::new();
        for feed in self.feeds() {
            content.entry(feed.id).or_default().extend(&feed.bytes);
        }
        content
    }

    fn check_splits(&self, generation: &Generation, depth: Depth, verdict: &mut Verdict) {
        let content = self.content();
        let recorded = self.steps.iter().filter_map(|step| step.actions.as_ref());
        let whole = match outcome::of(recorded, &content) {
            Ok(whole) => whole,
            Err(bad) => return verdict.wrong(format!("its output: {bad}")),
        };
        for place in self.places(generation, depth, false) {
            let Some(moves) = self.split(place) else {
                continue;
            };
            let told = format!("source {} split at {}", place.source, place.at);
            match self.play_moves(generation, false, &moves) {
                Ok(played) => {
                    verdict.splits += 1;
                    match outcome::of(played.actions.iter(), &content) {
                        Ok(outcome) if outcome == whole => {}
                        Ok(outcome) => {
                            let differs = outcome.iter().zip(&whole).find(|(a, b)| a != b);
                            let (now, then) = match differs {
                                Some((now, then)) => (now.to_string(), then.to_string()),
                                None => (
                                    format!("{} actions", outcome.len()),
                                    format!("{} actions", whole.len()),
                                ),
                            };
                            verdict.wrong(format!("{told}:\n  whole {then}\n  now   {now}"));
                        }
                        Err(bad) => verdict.wrong(format!("{told}: its output: {bad}")),
                    }
                }
                Err(Stop::NotSo) => {}
                Err(stop) => verdict.wrong(format!("{told}: {stop}")),
            }
        }
    }

    fn check_cuts(&self, generation: &Generation, depth: Depth, verdict: &mut Verdict) {
        let depth = Depth {
            positions: depth.positions / 2,
            ..depth
        };
        for broken in [true, false] {
            for place in self.places(generation, depth, !broken) {
                let Some(moves) = self.shortened(place, broken) else {
                    continue;
                };
                match self.play_moves(generation, false, &moves) {
                    Ok(_) => verdict.cuts += 1,
                    Err(Stop::NotSo) => {}
                    Err(stop) => {
                        let how = if broken { "broken off" } else { "ended" };
                        let Place { source, at, .. } = place;
                        verdict.wrong(format!("source {source} {how} at {at}: {stop}"));
                    }
                }
            }
        }
    }

    fn check_repeated(&self, generation: &Generation, depth: Depth, verdict: &mut Verdict) {
        let mut before = 0;
        for round in 0..depth.repetitions {
            match self.play(generation, false) {
                Ok(played) if round == depth.repetitions / 2 => before = played.memory,
                Ok(played) if round + 1 == depth.repetitions => {
                    let grown = played.memory.saturating_sub(before);
                    if grown > depth.growth {
                        verdict.wrong(format!(
                            "its memory grew by {grown} bytes over {} repetitions",
                            depth.repetitions - depth.repetitions / 2
                        ));
                    }
                }
                Ok(_) => {}
                Err(stop) => return verdict.wrong(format!("repetition {}: {stop}", round + 1)),
            }
            verdict.repetitions += 1;
        }
    }

    /// Where what came may be split: everywhere, or evenly.
    /// What the host gathers whole comes in one piece, and is left out but where it may be shorter.
    fn places(&self, generation: &Generation, depth: Depth, shorter: bool) -> Vec<Place> {
        let gathered = match &self.given {
            _ if shorter => false,
            Given::Frontend(head) => {
                let claim = generation.claims().get(head.claim as usize);
                claim.is_some_and(|claim| {
                    matches!(
                        claim.surface,
                        Surface::Rest { gathering, .. } if gathering != Gathering::Streamed
                    )
                })
            }
            _ => false,
        };
        let mut all = Vec::new();
        let mut shown = Content::new();
        for (step, it) in self.steps.iter().enumerate() {
            for (input, progress) in progresses(&it.inputs) {
                let before = shown.entry(progress.source).or_default();
                let from = before.len() as u64;
                if !(gathered && progress.source == 0) {
                    all.extend((from + 1..progress.available).map(|at| Place {
                        step,
                        input,
                        source: progress.source,
                        at,
                    }));
                }
                before.resize(usize::try_from(progress.available).unwrap_or(0), 0);
                if all.len() > 1 << 20 {
                    break;
                }
            }
        }
        let every = all.len().div_ceil(depth.positions.max(1)).max(1);
        all.into_iter().step_by(every).collect()
    }

    /// The moves in which this source comes in two pieces.
    fn split(&self, place: Place) -> Option<Vec<Move>> {
        let mut moves = self.moves();
        let later = moves.remove(place.step);
        let progress = progress_at(&later.inputs, place.input)?;
        let (first, rest) = halves(&later, place);
        let first = Move {
            inputs: shown(&later.inputs, place, false)?,
            partial: Some((place.source, place.at)),
            ..first
        };
        let rest = Move {
            inputs: from(&later.inputs, place.input),
            rest: Some((place.source, progress.available, progress.end)),
            ..rest
        };
        moves.insert(place.step, rest);
        moves.insert(place.step, first);
        Some(moves)
    }

    /// The moves in which this source breaks off, or ends, where it might have gone on.
    fn shortened(&self, place: Place, broken: bool) -> Option<Vec<Move>> {
        let mut moves = self.moves();
        let later = moves.get(place.step)?.clone();
        let (mut first, _) = halves(&later, place);
        if !broken {
            for feed in &mut first.feeds {
                feed.end |= feed.id == place.source;
            }
        }
        let first = Move {
            inputs: shown(&later.inputs, place, !broken)?,
            partial: broken.then_some((place.source, place.at)),
            ..first
        };
        // A body over HTTP has its end in its progress.
        let last = match broken {
            true => Some(cut(&later.inputs)?),
            false => ends(moves[place.step..].iter().map(|it| &it.inputs)),
        };
        moves.truncate(place.step);
        moves.push(first);
        moves.extend(last.map(|inputs| Move {
            feeds: Vec::new(),
            inputs,
            partial: None,
            rest: None,
        }));
        Some(moves)
    }
}

/// A move's bytes before the place, and from it on; inputs are still to be put in.
fn halves(it: &Move, place: Place) -> (Move, Move) {
    let mut first = Move {
        feeds: Vec::new(),
        ..it.clone()
    };
    let mut rest = first.clone();
    for feed in &it.feeds {
        if feed.id != place.source {
            first.feeds.push(feed.clone());
            continue;
        }
        let cut = usize::try_from(place.at.saturating_sub(feed.at)).unwrap_or(usize::MAX);
        let cut = cut.min(feed.bytes.len());
        let mut before = feed.clone();
        before.bytes = feed.bytes.slice(..cut);
        before.end = false;
        let mut after = feed.clone();
        after.at += cut as u64;
        after.bytes = feed.bytes.slice(cut..);
        first.feeds.push(before);
        rest.feeds.push(after);
    }
    (first, rest)
}

/// What inputs tell of progress, by position.
fn progresses(inputs: &Inputs) -> Vec<(usize, types::Progress)> {
    let all: Vec<Option<types::Progress>> = match inputs {
        Inputs::Frontend(inputs) => inputs.iter().map(of_frontend).collect(),
        Inputs::Backend(inputs) => inputs.iter().map(of_backend).collect(),
        Inputs::Composition(_) | Inputs::Session => Vec::new(),
    };
    let found = all.into_iter().enumerate();
    found.filter_map(|(at, it)| Some((at, it?))).collect()
}

fn progress_at(inputs: &Inputs, at: usize) -> Option<types::Progress> {
    let found = progresses(inputs).into_iter().find(|it| it.0 == at);
    found.map(|it| it.1)
}

fn of_frontend(input: &frontend::Input) -> Option<types::Progress> {
    match input {
        frontend::Input::Body(it) | frontend::Input::UpstreamBytes(it) => Some(*it),
        frontend::Input::Message(it) | frontend::Input::UpstreamMessage(it) => Some(it.progress),
        _ => None,
    }
}

fn of_backend(input: &backend::Input) -> Option<types::Progress> {
    match input {
        backend::Input::Bytes(it) | backend::Input::Message(it) => Some(*it),
        _ => None,
    }
}

/// The inputs up to the place, where no more than so much of the source is told.
fn shown(inputs: &Inputs, place: Place, end: bool) -> Option<Inputs> {
    let told = |it: types::Progress| types::Progress {
        available: place.at,
        end,
        total: if end { Some(place.at) } else { it.total },
        ..it
    };
    match inputs {
        Inputs::Frontend(inputs) => {
            let mut inputs = inputs.get(..=place.input)?.to_vec();
            match inputs.last_mut()? {
                frontend::Input::Body(it) | frontend::Input::UpstreamBytes(it) => *it = told(*it),
                frontend::Input::Message(it) | frontend::Input::UpstreamMessage(it) => {
                    it.progress = told(it.progress);
                }
                _ => return None,
            }
            Some(Inputs::Frontend(inputs))
        }
        Inputs::Backend(inputs) => {
            let mut inputs = inputs.get(..=place.input)?.to_vec();
            match inputs.last_mut()? {
                backend::Input::Bytes(it) | backend::Input::Message(it) => *it = told(*it),
                _ => return None,
            }
            Some(Inputs::Backend(inputs))
        }
        Inputs::Composition(_) | Inputs::Session => None,
    }
}

/// The inputs from a position on.
fn from(inputs: &Inputs, at: usize) -> Inputs {
    match inputs {
        Inputs::Frontend(inputs) => Inputs::Frontend(inputs[at..].to_vec()),
        Inputs::Backend(inputs) => Inputs::Backend(inputs[at..].to_vec()),
        other => other.clone(),
    }
}

/// The peer has gone.
fn cut(inputs: &Inputs) -> Option<Inputs> {
    match inputs {
        Inputs::Frontend(_) => Some(Inputs::Frontend(vec![frontend::Input::Cut(
            types::Cut::Closed,
        )])),
        Inputs::Backend(_) => Some(Inputs::Backend(vec![backend::Input::Cut(
            types::Cut::Closed,
        )])),
        Inputs::Composition(_) | Inputs::Session => None,
    }
}

/// The first of these steps' inputs that tells of an end.
fn ends<'a>(mut steps: impl Iterator<Item = &'a Inputs>) -> Option<Inputs> {
    steps.find_map(|inputs| match inputs {
        Inputs::Frontend(inputs) => {
            let ends = |input: &&frontend::Input| {
                matches!(
                    input,
                    frontend::Input::UpstreamEnd(_) | frontend::Input::MessagesEnd
                )
            };
            let found = inputs.iter().find(ends)?;
            Some(Inputs::Frontend(vec![found.clone()]))
        }
        Inputs::Backend(inputs) => {
            let ends = |input: &&backend::Input| matches!(input, backend::Input::End(_));
            let found = inputs.iter().find(ends)?;
            Some(Inputs::Backend(vec![found.clone()]))
        }
        Inputs::Composition(_) | Inputs::Session => None,
    })
}
