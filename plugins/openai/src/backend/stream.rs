//! A stream of chunks as neutral events.
//!
//! 1. The first chunk of an item: `started`, with the prompt's count where it stands.
//! 2. Text, tokens and the rest: `delta`.
//! 3. A finish reason: `finished`, at once when the chunk has counts; otherwise it waits
//!    for the usage that follows, so that its counts are true.
//! 4. `[DONE]`: `usage` and `end`, if every item has finished. The totals, which come last,
//!    are as good when the connection ends behind them. Anything else is a failure.

use tollgate_sdk_protocol::{
    backend::MemberEvent,
    failure,
    inference::{Call, Delta, Event, FinishReason, Finished, Settings, Started, Task},
    sse,
    types::Failure,
};

use super::{
    finished, generation,
    reply::{self, Choice, Counts, Reply},
    stops::Cutter,
};

/// The items of a stream.
pub struct Items {
    items: Vec<Item>,
    /// Tokens are to be reported.
    tokens: bool,
    /// The client set the limit of new tokens.
    limited: bool,
    /// The sums, once they have come.
    totals: Option<Counts>,
}

#[derive(Clone, Default)]
struct Item {
    /// Looks for stop sequences, where the worker leaves them in the text.
    stops: Option<Cutter>,
    started: bool,
    /// Waits for its counts.
    waiting: Option<Finished>,
    finished: bool,
    counts: Counts,
}

/// Answers that a call asks for.
pub fn items_of(call: &Call) -> usize {
    match &call.task {
        Task::Generate(generate) => generate.prompts.len() * generate.settings.n.max(1) as usize,
        Task::Chat(chat) => chat.settings.n.max(1) as usize,
        Task::Embed(embed) => embed.inputs.len(),
        _ => 1,
    }
}

/// Whether a call wants to see output tokens.
pub fn wants_tokens(settings: Option<&Settings>) -> bool {
    settings.is_some_and(|settings| settings.detail.output_tokens || settings.detail.top_n > 0)
}

impl Items {
    /// For the answer to these calls. A stream answers one alone: merged ones do not
    /// stream. With `cut` the worker leaves stop sequences in the text.
    pub fn new(members: &[Call], cut: bool) -> Self {
        let settings = members
            .first()
            .and_then(|call| generation::settings(&call.task));
        let count = members.first().map_or(0, items_of);
        let item = Item {
            stops: settings
                .filter(|_| cut)
                .and_then(|settings| Cutter::new(&settings.stopping)),
            ..Item::default()
        };
        Self {
            items: vec![item; if members.len() == 1 { count } else { 0 }],
            tokens: wants_tokens(settings),
            limited: settings.is_some_and(|settings| settings.stopping.max_tokens.is_some()),
            totals: None,
        }
    }

    /// Takes events of the stream; true once it is complete.
    ///
    /// # Errors
    /// The worker's failure, or one that says how the stream is not the API's.
    pub fn read(
        &mut self,
        events: &[sse::Event],
        out: &mut Vec<MemberEvent>,
    ) -> Result<bool, Failure> {
        for event in events {
            if event.data.trim_ascii() == b"[DONE]" {
                self.close(out)?;
                return Ok(true);
            }
            let reply: Reply = serde_json::from_slice(&event.data).map_err(|error| {
                let what = format!("The worker sent a chunk that is none: {error}.");
                failure::from_json(&event.data, &error, what)
            })?;
            if reply.error.is_some() || reply.object.as_deref() == Some("error") {
                let value = serde_json::from_slice(&event.data).unwrap_or_default();
                return Err(reply::failure_of_event(&value));
            }
            self.chunk(reply, out)?;
        }
        Ok(false)
    }

    fn chunk(&mut self, reply: Reply, out: &mut Vec<MemberEvent>) -> Result<(), Failure> {
        if reply.choices.is_empty() {
            if let Some(totals) = reply.usage {
                self.totals = Some(totals);
                self.settle(out);
            }
            return Ok(());
        }
        for choice in reply.choices {
            self.choice(choice, reply.usage, out)?;
        }
        Ok(())
    }

    fn choice(
        &mut self,
        choice: Choice,
        counts: Option<Counts>,
        out: &mut Vec<MemberEvent>,
    ) -> Result<(), Failure> {
        let (at, alone) = (choice.index, self.items.len() == 1);
        let Some(item) = self
            .items
            .get_mut(at as usize)
            .filter(|item| !item.finished)
        else {
            return Err(failure::upstream_invalid(
                "The worker sent more than was asked for.",
            ));
        };
        if let Some(counts) = counts {
            item.counts = counts;
        }
        if !item.started {
            item.started = true;
            push(
                out,
                Event::Started(Started {
                    item: at,
                    input_tokens: counts.and_then(|counts| counts.prompt_tokens),
                    seed: None,
                    echo: None,
                    tokens: Vec::new(),
                }),
            );
        }
        let extras = choice
            .delta
            .as_ref()
            .map(reply::Message::extras)
            .unwrap_or_default();
        let mut text = choice
            .text
            .or(choice.delta.and_then(|delta| delta.content))
            .unwrap_or_default();
        let mut stop = choice.stop_reason;
        if let Some(stops) = &mut item.stops {
            text = stops.push(&text);
            if choice.finish_reason.is_some() {
                text.push_str(&stops.rest());
                stop = stops.matched().map(Into::into);
            }
        }
        let tokens = match choice.logprobs {
            Some(logprobs) if self.tokens => logprobs.tokens(),
            _ => Vec::new(),
        };
        if !text.is_empty() || !tokens.is_empty() || !extras.is_empty() {
            push(
                out,
                Event::Delta(Delta {
                    item: at,
                    text,
                    tokens,
                    output_tokens: counts.and_then(|counts| counts.completion_tokens),
                    extras,
                }),
            );
        }
        if let Some(reason) = choice.finish_reason {
            let end = finished(at, &reason, stop.as_ref(), self.limited);
            if counts.is_some() || !alone {
                tell_finished(item, end, out);
            } else {
                item.waiting = Some(end);
            }
        }
        Ok(())
    }

    /// Tells the ends that waited for counts.
    fn settle(&mut self, out: &mut Vec<MemberEvent>) {
        let alone = self.items.len() == 1;
        for item in &mut self.items {
            if let (true, Some(totals)) = (alone, self.totals) {
                item.counts = totals;
            }
            if let Some(end) = item.waiting.take() {
                tell_finished(item, end, out);
            }
        }
    }

    /// The connection is over, and `[DONE]` has not come.
    ///
    /// # Errors
    /// When the totals have not come either, or an item has not finished.
    pub fn broke_off(&mut self, out: &mut Vec<MemberEvent>) -> Result<(), Failure> {
        if self.totals.is_none() {
            return Err(cut_short());
        }
        self.close(out)
    }

    /// The stream is over.
    ///
    /// # Errors
    /// When an item has not finished: an answer that was cut short is none.
    fn close(&mut self, out: &mut Vec<MemberEvent>) -> Result<(), Failure> {
        self.settle(out);
        if self.items.is_empty() || self.items.iter().any(|item| !item.finished) {
            return Err(cut_short());
        }
        self.end(out);
        Ok(())
    }

    /// The client's time is over: what came is the answer.
    pub fn end_by_time(&mut self, out: &mut Vec<MemberEvent>) {
        self.settle(out);
        for (at, item) in self.items.iter_mut().enumerate() {
            if !item.finished {
                let held = item.stops.as_mut().map(Cutter::rest);
                if let Some(text) = held.filter(|held| !held.is_empty()) {
                    push(
                        out,
                        Event::Delta(Delta {
                            item: at as u32,
                            text,
                            tokens: Vec::new(),
                            output_tokens: None,
                            extras: Vec::new(),
                        }),
                    );
                }
                let end = Finished {
                    reason: FinishReason::TimeLimit,
                    ..finished(at as u32, "length", None, true)
                };
                tell_finished(item, end, out);
            }
        }
        self.end(out);
    }

    fn end(&mut self, out: &mut Vec<MemberEvent>) {
        let totals = match (&self.items[..], self.totals) {
            (_, Some(totals)) => Some(totals),
            ([item], None) if item.counts.prompt_tokens.is_some() => Some(item.counts),
            _ => None,
        };
        if let Some(totals) = totals {
            push(out, Event::Usage(totals.usage()));
        }
        push(out, Event::End);
    }
}

fn cut_short() -> Failure {
    failure::upstream_unavailable("The worker's stream ended before its answer did.")
}

fn tell_finished(item: &mut Item, mut end: Finished, out: &mut Vec<MemberEvent>) {
    item.finished = true;
    end.input_tokens = item.counts.prompt_tokens;
    end.output_tokens = item.counts.completion_tokens;
    push(out, Event::Finished(end));
}

fn push(out: &mut Vec<MemberEvent>, event: Event) {
    out.push(MemberEvent { member: 0, event });
}
