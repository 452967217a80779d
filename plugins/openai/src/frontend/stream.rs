//! Server-Sent Events of chat and completions, chunk by chunk as events come.
//!
//! 1. The head goes out with the first delta: a failure before it is an ordinary error.
//! 2. Chat: each choice begins with its role.
//! 3. Deltas; then each choice's finish reason, in a chunk of its own.
//! 4. The totals in a chunk without choices, if asked for; `[DONE]`.

use serde_json::{Value, json};
use tollgate_sdk_protocol::{
    actions,
    frontend::Action,
    inference::{Delta, Finished},
    sse,
    types::{Failure, Segment},
};

use super::{
    answer::{Item, usage_json},
    choices, ovms,
    request::Form,
};
use crate::{
    claims::Endpoint,
    errors,
    options::{Clients, Options},
};

/// A stream that is being written.
pub struct Stream {
    /// A chunk up to its list of choices.
    prefix: String,
    begun: bool,
    /// Characters sent for each choice, for `text_offset`.
    offsets: Vec<usize>,
    /// Tool calls sent for each choice without an index of their own.
    calls: Vec<usize>,
    echoed: Vec<bool>,
}

impl Stream {
    /// A stream of this form.
    pub fn new(form: &Form, _options: &Options) -> Self {
        let ovms = form.clients == Clients::Ovms;
        let object = match form.endpoint {
            Endpoint::Chat => "chat.completion.chunk",
            _ if ovms => "text_completion.chunk",
            _ => "text_completion",
        };
        let id = if ovms {
            String::new()
        } else {
            format!("\"id\":{},", Value::String(choices::id(form)))
        };
        let prefix = format!(
            "{{{id}\"object\":\"{object}\",\"created\":{},\"model\":{},\"choices\":[",
            form.created,
            Value::String(form.model.clone()),
        );
        Self {
            prefix,
            begun: false,
            offsets: vec![0; form.items],
            calls: vec![0; form.items],
            echoed: vec![false; form.items],
        }
    }

    /// Whether anything has gone out.
    pub fn has_begun(&self) -> bool {
        self.begun
    }

    fn begin(&mut self, form: &Form, out: &mut Vec<Action>) {
        if self.begun {
            return;
        }
        self.begun = true;
        out.push(actions::head(200, "text/event-stream; charset=utf-8"));
        if form.endpoint == Endpoint::Chat {
            let content = match form.clients {
                Clients::New | Clients::Old => "\"\"",
                Clients::Ovms => "null",
            };
            for index in 0..form.items {
                let choice = format!(
                    "{{\"index\":{index},\"delta\":{{\"role\":\"assistant\",\"content\":{content}}},\
                     \"logprobs\":null,\"finish_reason\":null}}"
                );
                self.chunk(form, &choice, None, out);
            }
        }
    }

    fn chunk(&self, form: &Form, choice: &str, item: Option<&Item>, out: &mut Vec<Action>) {
        let mut data = self.prefix.clone();
        data.push_str(choice);
        data.push(']');
        if form.clients == Clients::Ovms {
            if form.stream_options.include_usage {
                data.push_str(",\"usage\":null");
            }
        } else if form.stream_options.include_usage && form.stream_options.continuous_usage_stats {
            let (input, output) = item.map_or((None, None), |item| {
                (item.input_tokens, Some(item.output_tokens.unwrap_or(0)))
            });
            if let (Some(input), Some(output)) = (input, output) {
                let usage = usage_json((input.into(), output.into(), None));
                data.push_str(",\"usage\":");
                data.push_str(&usage.to_string());
            }
        }
        data.push('}');
        event(data.as_bytes(), out);
    }

    /// More of one choice.
    pub fn delta(
        &mut self,
        form: &Form,
        options: &Options,
        item: &Item,
        delta: &Delta,
        out: &mut Vec<Action>,
    ) {
        self.begin(form, out);
        let at = delta.item as usize;
        if form.endpoint == Endpoint::Chat {
            self.chat_delta(form, options, item, delta, out);
            return;
        }
        self.echo(form, item, at, out);
        if delta.text.is_empty() && delta.tokens.is_empty() {
            return;
        }
        let logprobs = if form.logprobs && !delta.tokens.is_empty() {
            choices::completion_logprobs(&delta.tokens, &mut self.offsets[at])
        } else {
            Value::Null
        };
        let choice = format!(
            "{{\"index\":{at},\"text\":{},\"logprobs\":{logprobs},\"finish_reason\":null}}",
            Value::String(delta.text.clone()),
        );
        self.chunk(form, &choice, Some(item), out);
    }

    /// The prompt that stands before the text, once.
    fn echo(&mut self, form: &Form, item: &Item, at: usize, out: &mut Vec<Action>) {
        if std::mem::replace(&mut self.echoed[at], true) || !form.echo {
            return;
        }
        if let Some(echo) = &item.echo {
            self.offsets[at] += echo.chars().count();
            let choice = format!(
                "{{\"index\":{at},\"text\":{},\"logprobs\":null,\"finish_reason\":null}}",
                Value::String(echo.clone()),
            );
            self.chunk(form, &choice, Some(item), out);
        }
    }

    fn chat_delta(
        &mut self,
        form: &Form,
        options: &Options,
        item: &Item,
        delta: &Delta,
        out: &mut Vec<Action>,
    ) {
        let at = delta.item as usize;
        let mut members = Vec::new();
        if !delta.text.is_empty() {
            members.push(format!("\"content\":{}", Value::String(delta.text.clone())));
        }
        for extra in &delta.extras {
            let name = match extra.name.as_str() {
                "reasoning" => options.reasoning_field(),
                name => name,
            };
            let json = if name == "tool_calls" {
                self.indexed(at, &extra.json)
            } else {
                extra.json.clone()
            };
            members.push(format!("{}:{json}", Value::String(name.to_owned())));
        }
        if members.is_empty() && delta.tokens.is_empty() {
            return;
        }
        let logprobs = if form.logprobs && !delta.tokens.is_empty() {
            choices::chat_logprobs(&delta.tokens)
        } else {
            Value::Null
        };
        let choice = format!(
            "{{\"index\":{at},\"delta\":{{{}}},\"logprobs\":{logprobs},\"finish_reason\":null}}",
            members.join(","),
        );
        self.chunk(form, &choice, Some(item), out);
    }

    /// Tool calls with an index each: a worker that answers at once gives none.
    fn indexed(&mut self, at: usize, json: &str) -> String {
        let Ok(Value::Array(mut calls)) = serde_json::from_str(json) else {
            return json.to_owned();
        };
        for call in &mut calls {
            if call.get("index").is_none() && call.is_object() {
                call["index"] = json!(self.calls[at]);
                self.calls[at] += 1;
            }
        }
        Value::Array(calls).to_string()
    }

    /// One choice is complete.
    pub fn finished(
        &mut self,
        form: &Form,
        item: &Item,
        finished: &Finished,
        out: &mut Vec<Action>,
    ) {
        self.begin(form, out);
        let at = finished.item as usize;
        let (reason, stop) = choices::reason(finished);
        let (reason, stop) = (
            Value::from(reason),
            stop.map_or(Value::Null, |stop| Value::from(stop.to_owned())),
        );
        let content = if form.endpoint == Endpoint::Chat {
            "\"delta\":{}"
        } else {
            self.echo(form, item, at, out);
            "\"text\":\"\""
        };
        let stop = match form.clients {
            Clients::New | Clients::Old => format!(",\"stop_reason\":{stop}"),
            Clients::Ovms => String::new(),
        };
        let choice = format!(
            "{{\"index\":{at},{content},\"logprobs\":null,\"finish_reason\":{reason}{stop}}}"
        );
        self.chunk(form, &choice, Some(item), out);
    }

    /// All choices are complete.
    pub fn end(
        &mut self,
        form: &Form,
        totals: Option<(u64, u64, Option<u64>)>,
        out: &mut Vec<Action>,
    ) {
        self.begin(form, out);
        if form.stream_options.include_usage {
            let usage = totals.map_or(Value::Null, |totals| match form.clients {
                Clients::New | Clients::Old => usage_json(totals),
                Clients::Ovms => ovms::usage(form.endpoint, totals),
            });
            let data = format!("{}],\"usage\":{usage}}}", self.prefix);
            event(data.as_bytes(), out);
        }
        event(b"[DONE]", out);
        out.push(Action::Finish);
    }

    /// The call failed after something was sent.
    pub fn fail(&mut self, options: &Options, failed: &Failure, out: &mut Vec<Action>) {
        event(&errors::body(options.error_shape(), failed), out);
        // There it is the mark of an answer that is whole.
        if options.clients != Clients::Ovms {
            event(b"[DONE]", out);
        }
        out.push(Action::Finish);
    }
}

/// One event; those of one step travel as one piece of data.
fn event(data: &[u8], out: &mut Vec<Action>) {
    if let Some(Action::Data(segments)) = out.last_mut()
        && let Some(Segment::Inline(written)) = segments.last_mut()
    {
        sse::write(written, None, data);
        return;
    }
    let mut written = Vec::with_capacity(data.len() + 16);
    sse::write(&mut written, None, data);
    out.push(Action::Data(vec![Segment::Inline(written)]));
}
