//! From events to a response: gathers them for a unary answer, or writes each as it
//! comes for a stream. A call that breaks off ends as a failure, never as an answer.

use std::sync::Arc;

use serde_json::{Value, json};
use tollgate_sdk_protocol::{
    actions,
    classify::{self, Classes},
    failure,
    frontend::{Action, CallUsage},
    inference::{
        Delta, Embedding, Event, FinishReason, Finished, Score, Started, Token, Tokenized, Usage,
    },
    text,
    types::{Failure, FailureKind, Segment, Text},
};

use super::{CALL, choices, classes, ovms, ranking, request::Form, stream::Stream, vectors};
use crate::{
    claims::Endpoint,
    options::{Clients, Options},
};

/// One answer, as far as it has come.
#[derive(Debug, Default)]
pub struct Item {
    pub text: String,
    pub tokens: Vec<Token>,
    pub prompt_tokens: Vec<Token>,
    pub echo: Option<String>,
    pub input_tokens: Option<u32>,
    pub output_tokens: Option<u32>,
    pub finished: Option<Finished>,
    /// Members of the message beyond its text, by name.
    pub extras: Vec<(String, Value)>,
}

/// Input, output and cached tokens of a whole answer.
type Totals = (u64, u64, Option<u64>);

/// The response to a translated call.
pub struct Answer {
    options: Arc<Options>,
    form: Form,
    items: Vec<Item>,
    /// As told, by call.
    usage: Vec<Option<Usage>>,
    /// Calls that have ended.
    ended: usize,
    scores: Vec<Score>,
    embeddings: Vec<Embedding>,
    tokenized: Vec<Tokenized>,
    detokenized: Option<Text>,
    classes: Vec<Classes>,
    /// The stream, when one was asked for.
    stream: Option<Stream>,
    done: bool,
}

impl Answer {
    /// A response of this form.
    pub fn new(options: Arc<Options>, form: Form) -> Self {
        let chosen = matches!(form.endpoint, Endpoint::Chat | Endpoint::Completions);
        let items = if chosen { form.items } else { 0 };
        Self {
            stream: form.streaming.then(|| Stream::new(&form, &options)),
            usage: vec![None; form.calls],
            ended: 0,
            scores: Vec::new(),
            options,
            form,
            items: std::iter::repeat_with(Item::default).take(items).collect(),
            embeddings: Vec::new(),
            tokenized: Vec::new(),
            detokenized: None,
            classes: Vec::new(),
            done: false,
        }
    }

    /// The exchange is complete.
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// Takes one event. Events of items that were not asked for are a failure.
    pub fn event(&mut self, call: u32, event: Event, out: &mut Vec<Action>) {
        match event {
            Event::Started(started) => self.started(started),
            Event::Delta(delta) => self.delta(delta, out),
            Event::Finished(finished) => self.finished(finished, out),
            Event::Embeddings(embeddings) => self.embeddings.extend(embeddings),
            Event::Tokenized(tokenized) => {
                // Nobody asked for more than these.
                let room = self.form.items.saturating_sub(self.tokenized.len());
                self.tokenized.extend(tokenized.into_iter().take(room));
            }
            Event::Detokenized(text) => self.detokenized = Some(text),
            Event::Scores(scores) => self.scored(call, scores),
            Event::Usage(usage) => {
                if let Some(place) = self.usage.get_mut(call as usize) {
                    *place = Some(usage);
                }
            }
            Event::End => {
                self.ended += 1;
                if self.ended == self.form.calls {
                    self.end(out);
                }
            }
            Event::Failed(failed) => self.fail(failed, out),
            event => {
                if let Some(told) = Classes::of(&event) {
                    self.classified(call, told, out);
                }
            }
        }
    }

    /// Several calls have one item each.
    fn scored(&mut self, call: u32, scores: Vec<Score>) {
        let several = self.form.calls > 1;
        self.scores.extend(scores.into_iter().map(|score| Score {
            item: if several && score.item == 0 {
                call
            } else {
                score.item
            },
            ..score
        }));
    }

    /// As [`Self::scored`].
    fn classified(&mut self, call: u32, mut told: Classes, out: &mut Vec<Action>) {
        if self.form.calls > 1 && told.item == 0 {
            told.item = call;
        }
        // One a text, and so no more than there are texts.
        if self.classes.len() < self.form.items {
            self.classes.push(told);
            let found = self.classes.iter().map(|it| it.classes.len()).sum();
            if let Err(failed) = classify::check_found(found) {
                self.fail(failed, out);
            }
        }
    }

    fn started(&mut self, started: Started) {
        if let Some(item) = self.items.get_mut(started.item as usize) {
            item.input_tokens = started.input_tokens.or(item.input_tokens);
            item.echo = started.echo.or(item.echo.take());
            if !started.tokens.is_empty() {
                item.prompt_tokens = started.tokens;
            }
        }
    }

    fn delta(&mut self, delta: Delta, out: &mut Vec<Action>) {
        let at = delta.item as usize;
        let Some(item) = self.items.get_mut(at) else {
            return self.fail(odd("an answer that nobody asked for"), out);
        };
        item.output_tokens = delta.output_tokens.or(item.output_tokens);
        if let Some(stream) = &mut self.stream {
            return stream.delta(&self.form, &self.options, item, &delta, out);
        }
        item.text.push_str(&delta.text);
        item.tokens.extend(delta.tokens);
        for extra in delta.extras {
            let Ok(value) = serde_json::from_str(&extra.json) else {
                return self.fail(odd("an answer with a member that is no JSON"), out);
            };
            choices::merge(&mut item.extras, &extra.name, value);
        }
    }

    fn finished(&mut self, finished: Finished, out: &mut Vec<Action>) {
        if finished.reason == FinishReason::Error {
            let message = "The worker ended with an error.";
            return self.fail(failure::of(FailureKind::Internal, message), out);
        }
        let Some(item) = self.items.get_mut(finished.item as usize) else {
            return self.fail(odd("an end that nobody asked for"), out);
        };
        item.input_tokens = finished.input_tokens.or(item.input_tokens);
        item.output_tokens = finished.output_tokens.or(item.output_tokens);
        if let Some(stream) = &mut self.stream {
            stream.finished(&self.form, item, &finished, out);
        }
        item.finished = Some(finished);
    }

    /// Totals: as told, else summed over the answers when each has told. What gives no
    /// answers has no output.
    fn totals(&self) -> Option<Totals> {
        if let [_, _, ..] = &self.usage[..] {
            let inputs = self.usage.iter().map(|usage| usage.as_ref()?.input_tokens);
            return Some((inputs.sum::<Option<u64>>()?, 0, None));
        }
        let told = self.usage.first().and_then(Option::as_ref);
        if self.items.is_empty() {
            let told = told?;
            return Some((
                told.input_tokens?,
                told.output_tokens.unwrap_or(0),
                told.cached_tokens,
            ));
        }
        let input = told.and_then(|usage| usage.input_tokens).or_else(|| {
            let firsts = self.items.iter().step_by(self.form.n.max(1));
            sum(firsts.map(|item| item.input_tokens))
        });
        let output = told
            .and_then(|usage| usage.output_tokens)
            .or_else(|| sum(self.items.iter().map(|item| item.output_tokens)));
        Some((input?, output?, told.and_then(|usage| usage.cached_tokens)))
    }

    fn end(&mut self, out: &mut Vec<Action>) {
        let whole = match self.form.endpoint {
            Endpoint::Chat | Endpoint::Completions => {
                self.items.iter().all(|item| item.finished.is_some())
            }
            Endpoint::Embeddings => vectors::are_complete(&mut self.embeddings, self.form.items),
            Endpoint::Rerank | Endpoint::Score => ranking::are_complete(&self.scores, &self.form),
            Endpoint::Tokenize => {
                self.tokenized.sort_by_key(|tokenized| tokenized.item);
                self.tokenized.len() == self.form.items
            }
            Endpoint::Classify => classes::are_complete(&mut self.classes, self.form.items),
            _ => self.detokenized.is_some(),
        };
        if !whole {
            return self.fail(odd("an end before the whole answer"), out);
        }
        let totals = self.totals();
        if let Some((input, output, cached)) = totals {
            let usage = Usage {
                input_tokens: Some(input),
                output_tokens: Some(output),
                cached_tokens: cached,
                extensions: Vec::new(),
            };
            out.push(Action::Usage(CallUsage { id: CALL, usage }));
        }
        if let Some(stream) = &mut self.stream {
            stream.end(&self.form, totals, out);
        } else {
            match self.body(totals) {
                Ok(body) => {
                    out.push(actions::head(200, "application/json"));
                    out.push(Action::Data(body));
                    out.push(Action::Finish);
                }
                Err(failed) => return self.fail(failed, out),
            }
        }
        self.done = true;
    }

    fn body(&mut self, totals: Option<Totals>) -> Result<Vec<Segment>, Failure> {
        let ovms = self.form.clients == Clients::Ovms;
        let usage = totals.map_or(Value::Null, |totals| match (ovms, self.form.endpoint) {
            (false, _) => usage_json(totals),
            (true, endpoint) => ovms::usage(endpoint, totals),
        });
        Ok(match self.form.endpoint {
            Endpoint::Chat | Endpoint::Completions if ovms => {
                let body = ovms::choices(&self.form, &self.options, &mut self.items, &usage);
                vec![Segment::Inline(body)]
            }
            Endpoint::Tokenize if ovms => vec![Segment::Inline(ovms::tokens(&self.tokenized)?)],
            Endpoint::Chat | Endpoint::Completions => {
                let body = choices::body(&self.form, &self.options, &mut self.items, usage);
                vec![Segment::Inline(body)]
            }
            Endpoint::Embeddings => {
                vectors::body(&self.form, std::mem::take(&mut self.embeddings), &usage)?
            }
            Endpoint::Rerank => {
                let scores = std::mem::take(&mut self.scores);
                let input = totals.map(|totals| totals.0);
                ranking::ranked(&self.form, scores, input, self.options.clients)
            }
            Endpoint::Score => {
                let scores = std::mem::take(&mut self.scores);
                vec![Segment::Inline(ranking::scored(&self.form, scores, usage))]
            }
            Endpoint::Classify => {
                let told = std::mem::take(&mut self.classes);
                vec![Segment::Inline(classes::body(&self.form, &told, usage))]
            }
            Endpoint::Tokenize => {
                let tokenized = self.tokenized.pop().expect("seen to be there");
                // Ids are none of the worker's answer when it gives texts alone.
                let ids =
                    (tokenized.ids.len() == tokenized.count as usize).then_some(&tokenized.ids);
                let texts = (self.form.token_texts
                    && tokenized.texts.len() == tokenized.count as usize)
                    .then_some(&tokenized.texts);
                let body = json!({
                    "count": tokenized.count,
                    "max_model_len": null,
                    "tokens": ids,
                    "token_strs": texts,
                });
                vec![Segment::Inline(choices::written(&body))]
            }
            _ => {
                let text = self.detokenized.take().expect("seen to be there");
                vec![
                    Segment::Inline(b"{\"prompt\":".to_vec()),
                    text::json_string(&text),
                    Segment::Inline(b"}".to_vec()),
                ]
            }
        })
    }

    fn fail(&mut self, failed: Failure, out: &mut Vec<Action>) {
        if self.done {
            return;
        }
        self.done = true;
        match &mut self.stream {
            Some(stream) if stream.has_begun() => stream.fail(&self.options, &failed, out),
            _ => out.extend(actions::refuse(failed)),
        }
    }
}

fn odd(what: &str) -> Failure {
    failure::upstream_invalid(format!("The worker gave {what}."))
}

fn sum(counts: impl Iterator<Item = Option<u32>>) -> Option<u64> {
    counts.map(|count| count.map(u64::from)).sum()
}

/// Usage as the API writes it.
pub fn usage_json((input, output, cached): Totals) -> Value {
    json!({
        "prompt_tokens": input,
        "total_tokens": input + output,
        "completion_tokens": output,
        "prompt_tokens_details": cached.map(|cached| json!({"cached_tokens": cached})),
    })
}
