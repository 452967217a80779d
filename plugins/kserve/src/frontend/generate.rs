//! Triton's `generate` and `generate_stream`, as its vLLM backend understands them: a text
//! goes in as `text_input`, and comes out as `text_output`.
//!
//! 1. To a worker of the same dialect the request is passed as it is: which of its members
//!    are tensors, only the worker knows.
//! 2. To any other it is a neutral generation.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use tollgate_sdk_protocol::{
    Bytes, actions, failure,
    frontend::{Action, Input, Intent, PassTo, Passed, RequestHead},
    inference::{Call, Event, FinishReason, Generate as Content, Prompt, Task, TaskKind},
    one_call::{self, CALL, Read},
    sse,
    types::{Context, Failure, Progress, Segment, Text},
};

use super::{
    Form, check_version, intent, invalid, model_header, parameter,
    passing::Passing,
    path, refused,
    settings::{self, param},
    target,
};
use crate::{errors, options::Options};

/// What is asked at the doors of generation.
pub struct Generate {
    options: Arc<Options>,
    streaming: bool,
    head: RequestHead,
    model: String,
    version: String,
    default_model: String,
    asked: Option<Result<Asked, Failure>>,
    passing: Option<Passing>,
    answer: Answer,
}

/// A request that could be a neutral generation.
#[derive(Clone)]
struct Asked {
    id: String,
    content: Content,
    finish_reason: bool,
    input_tokens: bool,
    output_tokens: bool,
}

/// What has been said so far.
#[derive(Default)]
struct Answer {
    texts: Vec<String>,
    reasons: Vec<Option<String>>,
    input_tokens: u64,
    output_tokens: u64,
    begun: bool,
}

impl Generate {
    pub fn new(
        options: Arc<Options>,
        streaming: bool,
        context: Context,
        head: RequestHead,
    ) -> Self {
        Self {
            model: parameter(&head, "model"),
            version: parameter(&head, "version"),
            default_model: context.default_model.unwrap_or_default(),
            options,
            streaming,
            head,
            asked: None,
            passing: None,
            answer: Answer::default(),
        }
    }

    /// Takes a request apart.
    fn take_apart(&self, body: &[u8]) -> Result<Asked, Failure> {
        let members: Value = match body {
            [] => json!({}),
            body => serde_json::from_slice(body)
                .map_err(|error| invalid(format!("failed to parse the JSON: {error}")))?,
        };
        let Value::Object(mut members) = members else {
            return Err(invalid("the request must be a JSON object"));
        };
        match members.remove("parameters") {
            Some(Value::Object(inner)) => members.extend(inner),
            None | Some(Value::Null) => {}
            Some(_) => return Err(param("parameters", "must be an object")),
        }
        let prompt = match members.remove("text_input") {
            Some(Value::String(text)) => text,
            Some(Value::Array(all)) => match all.as_slice() {
                [Value::String(text)] => text.clone(),
                _ => return Err(param("text_input", "must be one text")),
            },
            _ => return Err(param("text_input", "must be a text")),
        };
        let id = match members.remove("id") {
            Some(Value::String(id)) => id,
            Some(Value::Number(id)) => id.to_string(),
            _ => String::new(),
        };
        // As Triton's vLLM backend has it, a text that is not streamed stands behind its prompt.
        let beside = settings::beside(members, self.options.default_max_tokens, |stream| !stream)?;
        if self.streaming && beside.settings.n > 1 {
            return Err(param("n", "must be 1 in a stream"));
        }
        Ok(Asked {
            id,
            content: Content {
                prompts: vec![Prompt::Text(Text::Inline(prompt))],
                settings: beside.settings,
            },
            finish_reason: beside.finish_reason,
            input_tokens: beside.input_tokens,
            output_tokens: beside.output_tokens,
        })
    }

    /// An answer with these members beside the usual ones.
    fn object(&self, asked: &Asked, members: Map<String, Value>) -> Vec<u8> {
        let mut all = Map::new();
        if !asked.id.is_empty() {
            all.insert("id".to_owned(), asked.id.clone().into());
        }
        let model = if self.model.is_empty() {
            &self.default_model
        } else {
            &self.model
        };
        let version = if self.version.is_empty() {
            "1"
        } else {
            &self.version
        };
        all.insert("model_name".to_owned(), model.clone().into());
        all.insert("model_version".to_owned(), version.into());
        all.extend(members);
        Value::from(all).to_string().into_bytes()
    }

    fn extras(&self, asked: &Asked) -> Map<String, Value> {
        let mut members = Map::new();
        if asked.finish_reason {
            let reasons = self.answer.reasons.iter().cloned().map(Value::from);
            members.insert("finish_reason".to_owned(), one_or_all(reasons.collect()));
        }
        if asked.input_tokens {
            members.insert(
                "num_input_tokens".to_owned(),
                self.answer.input_tokens.into(),
            );
        }
        if asked.output_tokens {
            members.insert(
                "num_output_tokens".to_owned(),
                self.answer.output_tokens.into(),
            );
        }
        members
    }

    fn piece(&mut self, members: Map<String, Value>, out: &mut Vec<Action>) {
        let Some(Ok(asked)) = &self.asked else { return };
        let mut event = Vec::new();
        sse::write(&mut event, None, &self.object(asked, members));
        if !std::mem::replace(&mut self.answer.begun, true) {
            out.push(actions::head(200, "text/event-stream; charset=utf-8"));
        }
        out.push(Action::Data(vec![Segment::Inline(event)]));
    }

    fn text(&mut self, item: u32, text: String, out: &mut Vec<Action>) {
        if self.streaming {
            if !text.is_empty() {
                let members = Map::from_iter([("text_output".to_owned(), text.into())]);
                self.piece(members, out);
            }
        } else if let Some(known) = self.answer.texts.get_mut(item as usize) {
            known.push_str(&text);
        }
    }

    fn end(&mut self, out: &mut Vec<Action>) -> Result<(), Failure> {
        let Some(Ok(asked)) = self.asked.clone() else {
            return Ok(());
        };
        if self.answer.reasons.iter().any(Option::is_none) {
            return Err(failure::upstream_invalid(
                "the worker ended its answer without a reason",
            ));
        }
        let mut members = self.extras(&asked);
        if self.streaming {
            // The last piece tells what is known now; without a question there is none,
            // unless it would be the only one.
            if !members.is_empty() || !self.answer.begun {
                members.insert("text_output".to_owned(), "".into());
                self.piece(members, out);
            }
            out.push(Action::Finish);
            return Ok(());
        }
        let texts = std::mem::take(&mut self.answer.texts);
        let texts = texts.into_iter().map(Value::from).collect();
        members.insert("text_output".to_owned(), one_or_all(texts));
        out.extend(actions::respond_json(200, self.object(&asked, members)));
        Ok(())
    }
}

fn one_or_all(mut all: Vec<Value>) -> Value {
    match all.len() {
        1 => all.remove(0),
        _ => all.into(),
    }
}

/// Why an answer ended, in vLLM's words.
pub fn reason(reason: FinishReason) -> String {
    match reason {
        FinishReason::EndOfSequence | FinishReason::StopSequence | FinishReason::ToolCalls => {
            "stop".to_owned()
        }
        FinishReason::MaxTokens | FinishReason::TokenLimit | FinishReason::TimeLimit => {
            "length".to_owned()
        }
        FinishReason::ContentFilter => "content_filter".to_owned(),
        FinishReason::Cancelled => "abort".to_owned(),
        FinishReason::Error => "error".to_owned(),
        FinishReason::Other(other) => other,
    }
}

/// New tokens of a request that was not understood.
fn guessed(body: &[u8]) -> u32 {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    settings::guessed(&[&body, &body["parameters"]])
}

impl one_call::Ask for Generate {
    fn read(&mut self, bytes: &dyn Bytes, progress: &Progress) -> Result<Read, Failure> {
        if !progress.end {
            return Ok(Read::Need(actions::whole(progress.source)));
        }
        let body = bytes.read_all(progress.source, 0, progress.available);
        let asked = self.take_apart(&body);
        // What it asks for can be told by whoever speaks this dialect; what it means to
        // others, and what is wrong with it, is looked at when it comes to that.
        let output = match &asked {
            Ok(asked) => {
                let settings = &asked.content.settings;
                let each = settings.stopping.max_tokens.unwrap_or(0);
                each.saturating_mul(settings.n)
            }
            Err(_) => guessed(&body),
        };
        self.asked = Some(asked);
        let mut intent = Intent {
            version: (!self.version.is_empty()).then(|| self.version.clone()),
            streaming: self.streaming,
            ..intent(CALL, TaskKind::Generate, &self.model)
        };
        intent.cost.input = u32::try_from(body.len() / 4).unwrap_or(u32::MAX);
        intent.cost.output = output;
        Ok(Read::Call(intent))
    }

    fn pass(&mut self, to: &PassTo) -> Result<Option<Passed>, Failure> {
        let target = target(&self.options, to)?;
        check_version(&target, &self.version)?;
        let renamed = self.model != to.model;
        let alias = (renamed && !self.model.is_empty()).then(|| self.model.clone());
        let passing = Passing::new(Form::Rest, "model_name", alias);
        let response = passing.mode();
        self.passing = Some(passing);
        let pattern = "/v2/models/{model}/generate";
        Ok(Some(Passed {
            id: CALL,
            path: Some(path::with_model(pattern, &self.head.path, &to.model)),
            query: None,
            set_headers: model_header(&target, Form::Rest, &to.model),
            remove_headers: Vec::new(),
            edits: Vec::new(),
            response,
        }))
    }

    fn call(&mut self, model: String) -> Result<Call, Failure> {
        let asked = match &self.asked {
            Some(Ok(asked)) => asked,
            Some(Err(failure)) => return Err(failure.clone()),
            None => return Err(invalid("nothing was asked")),
        };
        let items = asked.content.settings.n as usize;
        if items > 1024 {
            return Err(param("n", "must be at most 1024"));
        }
        // Another worker may have begun an answer before.
        self.answer = Answer {
            texts: vec![String::new(); items],
            reasons: vec![None; items],
            ..Answer::default()
        };
        Ok(Call {
            model,
            version: (!self.version.is_empty()).then(|| self.version.clone()),
            streaming: self.streaming,
            task: Task::Generate(asked.content.clone()),
            extensions: Vec::new(),
        })
    }

    fn refused(&self, failure: Failure, dispatched: bool) -> Vec<Action> {
        refused(
            &self.options,
            Form::Rest,
            &self.version,
            failure,
            dispatched,
        )
    }

    fn event(&mut self, _: &dyn Bytes, event: Event, out: &mut Vec<Action>) -> Result<(), Failure> {
        match event {
            Event::Started(started) => {
                if let Some(tokens) = started.input_tokens {
                    self.answer.input_tokens = tokens.into();
                }
                if let Some(echo) = started.echo {
                    self.text(started.item, echo, out);
                }
            }
            Event::Delta(delta) => {
                if let Some(tokens) = delta.output_tokens {
                    self.answer.output_tokens = self.answer.output_tokens.max(tokens.into());
                }
                self.text(delta.item, delta.text, out);
            }
            Event::Finished(finished) => {
                if let Some(tokens) = finished.input_tokens {
                    self.answer.input_tokens = tokens.into();
                }
                if let Some(tokens) = finished.output_tokens {
                    self.answer.output_tokens = self.answer.output_tokens.max(tokens.into());
                }
                if let Some(known) = self.answer.reasons.get_mut(finished.item as usize) {
                    *known = Some(reason(finished.reason));
                }
            }
            Event::Usage(usage) => {
                let answer = &mut self.answer;
                answer.input_tokens = usage.input_tokens.unwrap_or(answer.input_tokens);
                answer.output_tokens = usage.output_tokens.unwrap_or(answer.output_tokens);
            }
            Event::End => self.end(out)?,
            _ => {}
        }
        Ok(())
    }

    fn upstream(
        &mut self,
        bytes: &dyn Bytes,
        input: Input,
        out: &mut Vec<Action>,
    ) -> Result<(), Failure> {
        match &mut self.passing {
            Some(passing) => passing.input(bytes, input, out),
            None => Ok(()),
        }
    }

    fn broken(&self, failure: Failure) -> Vec<Action> {
        let mut event = Vec::new();
        sse::write(&mut event, None, &errors::body(&self.options, &failure));
        vec![Action::Data(vec![Segment::Inline(event)]), Action::Finish]
    }
}
