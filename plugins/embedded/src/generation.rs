//! Generation: continuations of prompts and answers in a conversation.
//!
//! For each prompt: it is read into tokens; if its tokens were asked for with their
//! probabilities, it is scored; then each of its n answers is generated. A step does a
//! piece of that.

use std::sync::Arc;

use tollgate_sdk_worker::Session;
use tollgate_sdk_worker::inference::{
    Alternative, Delta, Detail, Event, FinishReason, Finished, Settings, Started, Stopping, Token,
    Truncation, Usage,
};
use tollgate_sdk_worker::serving::{Progress, Stepped};
use tollgate_sdk_worker::types::Failure;

use crate::bpe::{BEGIN, END};
use crate::model::{CONTEXT, Model};
use crate::output::Output;
use crate::prompt::{Habit, Reading, kept};
use crate::refusal::{invalid, no_extras, unsupported};
use crate::sampler::{Dice, Past, Sampler};

/// Tokens generated or scored in one step.
const TOKENS_A_STEP: usize = 16;
const MAX_STOPS: usize = 64;
const MAX_ANSWERS: u32 = 64;
const MAX_ALTERNATIVES: u32 = 100;

/// A call's settings, checked.
struct Plan {
    sampler: Sampler,
    seed: u64,
    stopping: Stopping,
    detail: Detail,
    answers: u32,
    truncate: Option<Truncation>,
    /// A delta for each token, not for each step.
    streaming: bool,
    /// The space between the speaker's name and the answer is no part of the answer.
    trim: bool,
}

enum State {
    Reading(Reading),
    Scoring(Asked),
    Generating(Asked, Answer),
    Done,
}

/// A prompt in tokens.
struct Asked {
    /// As the client wrote it, after truncation.
    text: String,
    tokens: Vec<u16>,
    prompted: Vec<bool>,
    /// Its tokens as they are reported.
    reported: Vec<Token>,
    /// Of its answers, the one at hand.
    choice: u32,
}

/// One answer in the making.
struct Answer {
    tokens: Vec<u16>,
    counts: Vec<u32>,
    length: u32,
    output: Output,
    dice: Dice,
}

/// See the module.
pub struct Generation {
    model: Arc<Model>,
    plan: Plan,
    prompts: std::vec::IntoIter<Reading>,
    state: State,
    /// The next answer's number in the call.
    item: u32,
    input_tokens: u64,
    output_tokens: u64,
}

impl Generation {
    /// `seed` is used when the caller gives none.
    ///
    /// # Errors
    /// When a setting is out of its domain or cannot be honoured.
    pub fn new(
        model: Arc<Model>,
        prompts: Vec<Reading>,
        settings: Settings,
        seed: u64,
        streaming: bool,
        chat: bool,
    ) -> Result<Self, Failure> {
        no_extras(&settings.extras)?;
        if settings.constraint.is_some() {
            return Err(unsupported(
                Some("constraint"),
                "this model cannot be constrained",
            ));
        }
        if let Some(adapter) = &settings.adapter {
            return Err(invalid(
                "adapter",
                format!("there is no adapter `{adapter}`"),
            ));
        }
        if !(1..=MAX_ANSWERS).contains(&settings.n) {
            return Err(invalid(
                "n",
                format!("n must be between 1 and {MAX_ANSWERS}"),
            ));
        }
        if settings.detail.top_n > MAX_ALTERNATIVES {
            let message = format!("at most {MAX_ALTERNATIVES} alternatives a token");
            return Err(invalid("top_n", message));
        }
        check_stopping(&settings.stopping)?;
        let plan = Plan {
            sampler: Sampler::new(&settings.sampling)?,
            seed: settings.sampling.seed.unwrap_or(seed),
            stopping: settings.stopping,
            detail: settings.detail,
            answers: settings.n,
            truncate: settings.truncate,
            streaming,
            trim: chat,
        };
        let mut prompts = prompts.into_iter();
        let first = prompts
            .next()
            .ok_or_else(|| invalid("prompt", "there must be at least one"))?;
        Ok(Generation {
            model,
            plan,
            prompts,
            state: State::Reading(first),
            item: 0,
            input_tokens: 0,
            output_tokens: 0,
        })
    }

    /// Tokens are there: checks and cuts them.
    fn asked(&self, reading: Reading) -> Result<Asked, Failure> {
        let vocabulary = self.model.vocabulary();
        let mut text = reading.source().to_owned();
        let mut tokens = reading.into_tokens();
        let range = kept(tokens.len(), self.plan.truncate.as_ref(), Habit::CutLeft)?;
        let is_cut = range.len() < tokens.len();
        tokens = tokens[range].to_vec();
        if tokens.is_empty() {
            // An empty list of tokens: the text that follows nothing begins.
            tokens.push(BEGIN);
        }
        if tokens.len() >= CONTEXT {
            let message = format!(
                "the prompt has {} tokens; prompt and answer together have room for {CONTEXT}",
                tokens.len()
            );
            return Err(invalid("prompt", message));
        }
        if self.plan.detail.echo && (is_cut || text.is_empty()) {
            text = vocabulary.decode(&tokens);
        }
        let mut prompted = vec![false; vocabulary.size()];
        for &token in &tokens {
            prompted[usize::from(token)] = true;
        }
        Ok(Asked {
            text,
            tokens,
            prompted,
            reported: Vec::new(),
            choice: 0,
        })
    }

    /// The token at `at`, as it is reported, with what the model thought of it.
    fn report(&self, token: u16, probabilities: Option<&[f64]>) -> Token {
        let vocabulary = self.model.vocabulary();
        let detail = &self.plan.detail;
        let mut reported = Token {
            text: vocabulary.text(token),
            id: Some(u32::from(token)),
            logprob: None,
            rank: None,
            top: Vec::new(),
        };
        let Some(probabilities) = probabilities else {
            return reported;
        };
        let own = probabilities[usize::from(token)];
        if detail.logprobs && own > 0.0 {
            reported.logprob = Some(own.ln());
        }
        if detail.ranks {
            let better = probabilities.iter().filter(|&&other| other > own).count();
            reported.rank = u32::try_from(better + 1).ok();
        }
        if detail.top_n > 0 {
            let mut best: Vec<(u16, f64)> = (0u16..).zip(probabilities.iter().copied()).collect();
            let first = |a: &(u16, f64), b: &(u16, f64)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
            let most = (detail.top_n as usize).min(best.len() - 1);
            best.select_nth_unstable_by(most, first);
            best.truncate(most);
            best.sort_by(first);
            reported.top = best
                .into_iter()
                .filter(|&(_, probability)| probability > 0.0)
                .map(|(token, probability)| Alternative {
                    text: vocabulary.text(token),
                    logprob: probability.ln(),
                })
                .collect();
        }
        reported
    }

    /// Whether reports need the model's probabilities.
    fn weighs(&self) -> bool {
        let detail = &self.plan.detail;
        detail.logprobs || detail.ranks || detail.top_n > 0
    }

    /// Reports some more tokens of the prompt; true when all are.
    fn score(&self, asked: &mut Asked) -> bool {
        if !self.plan.detail.input_tokens {
            return true;
        }
        let from = asked.reported.len();
        let to = asked.tokens.len().min(from + TOKENS_A_STEP);
        for at in from..to {
            // Nothing foretells the first token.
            let probabilities =
                (at > 0 && self.weighs()).then(|| self.model.distribution(&asked.tokens[..at]));
            asked
                .reported
                .push(self.report(asked.tokens[at], probabilities.as_deref()));
        }
        to == asked.tokens.len()
    }

    fn begin(&mut self, asked: Asked, events: &mut Vec<Event>) -> State {
        let input_tokens = asked.tokens.len() as u32;
        if asked.choice == 0 {
            self.input_tokens += u64::from(input_tokens);
        }
        events.push(Event::Started(Started {
            item: self.item,
            input_tokens: Some(input_tokens),
            seed: Some(self.plan.seed),
            echo: self.plan.detail.echo.then(|| asked.text.clone()),
            tokens: asked.reported.clone(),
        }));
        let stopping = &self.plan.stopping;
        let answer = Answer {
            tokens: asked.tokens.clone(),
            counts: vec![0; self.model.vocabulary().size()],
            length: 0,
            output: Output::new(
                stopping.stop_sequences.clone(),
                stopping.include_stop,
                self.plan.trim,
            ),
            // By choice and not by item: a prompt gets the same answers alone.
            dice: Dice::new(self.plan.seed, asked.choice),
        };
        State::Generating(asked, answer)
    }

    /// Generates some tokens.
    fn generate(&mut self, asked: Asked, mut answer: Answer, events: &mut Vec<Event>) -> State {
        let mut delta = self.empty_delta();
        for _ in 0..TOKENS_A_STEP {
            if let Some(reason) = self.limit(&answer) {
                delta.text.push_str(&answer.output.flush());
                self.send(&answer, delta, events);
                return self.finish(asked, &answer, reason, None, events);
            }
            let least = self.plan.stopping.min_tokens.unwrap_or(0);
            let probabilities = self.model.distribution(&answer.tokens);
            let past = Past {
                generated: &answer.counts,
                prompted: &asked.prompted,
                length: answer.length,
                may_end: answer.length >= least,
            };
            let token = self
                .plan
                .sampler
                .choose(&probabilities, &past, &mut answer.dice);
            answer.tokens.push(token);
            answer.counts[usize::from(token)] += 1;
            answer.length += 1;
            self.output_tokens += 1;
            let detail = &self.plan.detail;
            if detail.output_tokens || self.weighs() {
                let weighed = self.weighs().then_some(probabilities.as_slice());
                delta.tokens.push(self.report(token, weighed));
            }
            if token == END {
                delta.text.push_str(&answer.output.flush());
                self.send(&answer, delta, events);
                return self.finish(asked, &answer, FinishReason::EndOfSequence, None, events);
            }
            let bytes = self.model.vocabulary().bytes(token);
            let out = answer.output.push(bytes, answer.length > least);
            delta.text.push_str(&out.text);
            if out.stop.is_some() {
                self.send(&answer, delta, events);
                return self.finish(asked, &answer, FinishReason::StopSequence, out.stop, events);
            }
            if self.plan.streaming {
                self.send(&answer, delta, events);
                delta = self.empty_delta();
            }
        }
        self.send(&answer, delta, events);
        State::Generating(asked, answer)
    }

    fn limit(&self, answer: &Answer) -> Option<FinishReason> {
        if self
            .plan
            .stopping
            .max_tokens
            .is_some_and(|most| answer.length >= most)
        {
            Some(FinishReason::MaxTokens)
        } else {
            (answer.tokens.len() >= CONTEXT).then_some(FinishReason::TokenLimit)
        }
    }

    fn empty_delta(&self) -> Delta {
        Delta {
            item: self.item,
            text: String::new(),
            tokens: Vec::new(),
            output_tokens: None,
            extras: Vec::new(),
        }
    }

    fn send(&self, answer: &Answer, mut delta: Delta, events: &mut Vec<Event>) {
        if !delta.text.is_empty() || !delta.tokens.is_empty() {
            delta.output_tokens = Some(answer.length);
            events.push(Event::Delta(delta));
        }
    }

    /// Ends an answer and turns to the next one, of this prompt or another.
    fn finish(
        &mut self,
        mut asked: Asked,
        answer: &Answer,
        reason: FinishReason,
        stop_sequence: Option<String>,
        events: &mut Vec<Event>,
    ) -> State {
        events.push(Event::Finished(Finished {
            item: self.item,
            reason,
            stop_sequence,
            input_tokens: Some(asked.tokens.len() as u32),
            output_tokens: Some(answer.length),
            seed: Some(self.plan.seed),
        }));
        self.item += 1;
        asked.choice += 1;
        if asked.choice < self.plan.answers {
            return State::Scoring(asked);
        }
        if let Some(next) = self.prompts.next() {
            return State::Reading(next);
        }
        events.push(Event::Usage(Usage {
            input_tokens: Some(self.input_tokens),
            output_tokens: Some(self.output_tokens),
            cached_tokens: None,
            extensions: Vec::new(),
        }));
        events.push(Event::End);
        State::Done
    }
}

fn check_stopping(stopping: &Stopping) -> Result<(), Failure> {
    if stopping.stop_sequences.len() > MAX_STOPS {
        return Err(invalid(
            "stop",
            format!("at most {MAX_STOPS} stop sequences"),
        ));
    }
    if stopping.stop_sequences.iter().any(String::is_empty) {
        return Err(invalid("stop", "a stop sequence must not be empty"));
    }
    let least = stopping.min_tokens.unwrap_or(0);
    if stopping.max_tokens.is_some_and(|most| least > most) {
        return Err(invalid("min_tokens", "min_tokens is above max_tokens"));
    }
    Ok(())
}

impl Session for Generation {
    fn step(&mut self) -> Stepped {
        let mut events = Vec::new();
        self.state = match std::mem::replace(&mut self.state, State::Done) {
            State::Reading(mut reading) => {
                if reading.advance(self.model.vocabulary()) {
                    match self.asked(reading) {
                        Ok(asked) => State::Scoring(asked),
                        Err(failure) => {
                            events.push(Event::Failed(failure));
                            State::Done
                        }
                    }
                } else {
                    State::Reading(reading)
                }
            }
            State::Scoring(mut asked) => {
                if self.score(&mut asked) {
                    self.begin(asked, &mut events)
                } else {
                    State::Scoring(asked)
                }
            }
            State::Generating(asked, answer) => self.generate(asked, answer, &mut events),
            State::Done => State::Done,
        };
        let progress = match self.state {
            State::Done => Progress::Done,
            _ => Progress::More,
        };
        Stepped { events, progress }
    }
}
