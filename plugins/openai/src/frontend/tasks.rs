//! A request's body as a neutral task, endpoint by endpoint.

use serde::de::IgnoredAny;
use tollgate_sdk_protocol::{
    Bytes, failure,
    inference::{Chat, Detokenize, Embed, Generate, Prompt, Task, Tokenize},
    types::{Failure, FailureKind},
};

use super::{
    fields::{missing, wrong_type},
    ovms, prompts,
    request::{Form, Request},
    settings,
};
use crate::options::Clients;

impl Request {
    pub fn chat(&self, bytes: &dyn Bytes, form: &mut Form) -> Result<Task, Failure> {
        let fields = &self.fields;
        let mut settings = settings::read(bytes, fields, true, self.streaming)?;
        if form.clients == Clients::Ovms {
            ovms::settings(bytes, fields, &mut settings, true, self.streaming)?;
        }
        let messages = prompts::messages(bytes, fields, &mut settings.extras)?;
        form.n = settings.n as usize;
        form.items = form.n;
        form.logprobs = settings.detail.output_tokens;
        form.prompt_logprobs = settings.detail.input_tokens;
        let tools = fields
            .json(bytes, "tools")
            .filter(|tools| tools.trim() != "[]");
        if let Some(tools) = &tools
            && serde_json::from_str::<Vec<IgnoredAny>>(tools).is_err()
        {
            return Err(wrong_type("tools", "a valid list"));
        }
        Ok(Task::Chat(Chat {
            messages,
            settings,
            tools,
            tool_choice: fields.json(bytes, "tool_choice"),
        }))
    }

    pub fn completion(&self, bytes: &dyn Bytes, form: &mut Form) -> Result<Task, Failure> {
        let fields = &self.fields;
        let mut settings = settings::read(bytes, fields, false, self.streaming)?;
        let prompts = prompts::read(bytes, fields, "prompt")?;
        if form.clients == Clients::Ovms {
            ovms::settings(bytes, fields, &mut settings, false, self.streaming)?;
            if !matches!(&prompts[..], [Prompt::Text(_)]) {
                return Err(failure::invalid("prompt is not a string", Some("prompt")));
            }
        }
        form.n = settings.n as usize;
        form.items = form.n.saturating_mul(prompts.len());
        if form.items > settings::MOST_ANSWERS as usize {
            let most = settings::MOST_ANSWERS;
            return Err(failure::invalid(
                format!("n for each prompt makes more than {most} answers."),
                Some("n"),
            ));
        }
        form.echo = settings.detail.echo;
        form.logprobs = settings.detail.output_tokens;
        form.prompt_logprobs = settings.detail.input_tokens;
        Ok(Task::Generate(Generate { prompts, settings }))
    }

    pub fn embed(&self, bytes: &dyn Bytes, form: &mut Form) -> Result<Task, Failure> {
        const EXTRAS: [(&str, &[&str]); 6] = [
            ("add_special_tokens", &["true"]),
            ("embed_dtype", &["\"float32\""]),
            ("endianness", &["\"native\""]),
            ("normalize", &["true"]),
            ("use_activation", &["true"]),
            ("mm_processor_kwargs", &["{}"]),
        ];
        let fields = &self.fields;
        if fields.place("input").is_none() {
            return Err(only_passed("Embedding a conversation", "messages"));
        }
        let format: Option<String> = fields.value(bytes, "encoding_format", "a valid string")?;
        form.base64 = match format.as_deref() {
            None | Some("float") => false,
            Some("base64") => true,
            Some(_) => return Err(wrong_type("encoding_format", "'float' or 'base64'")),
        };
        let inputs = prompts::read(bytes, fields, "input")?;
        form.items = inputs.len();
        let mut extras = settings::changing(bytes, fields, &EXTRAS)?;
        Ok(Task::Embed(Embed {
            inputs,
            dimensions: fields.count(bytes, "dimensions", 1)?,
            truncate: settings::truncation(bytes, fields, &mut extras)?,
            extras,
        }))
    }

    pub fn tokenize(&self, bytes: &dyn Bytes, form: &mut Form) -> Result<Task, Failure> {
        let fields = &self.fields;
        if fields.place("prompt").is_none() {
            return Err(only_passed("Tokenizing a conversation", "messages"));
        }
        let mut prompt = prompts::read(bytes, fields, "prompt")?;
        let Some(Prompt::Text(text)) = prompt.pop().filter(|_| prompt.is_empty()) else {
            return Err(wrong_type("prompt", "a valid string"));
        };
        form.token_texts = fields.boolean(bytes, "return_token_strs")?.unwrap_or(false);
        Ok(Task::Tokenize(Tokenize {
            inputs: vec![text],
            add_special_tokens: Some(fields.boolean(bytes, "add_special_tokens")?.unwrap_or(true)),
            // Ids are always part of the answer.
            tokens: true,
            offsets: false,
            truncate: None,
            extras: Vec::new(),
        }))
    }

    pub fn detokenize(&self, bytes: &dyn Bytes) -> Result<Task, Failure> {
        let raw = self.fields.raw(bytes, "tokens");
        let raw = raw.filter(|raw| **raw != *b"null");
        let raw = raw.ok_or_else(|| missing("tokens"))?;
        let tokens = prompts::token_ids("tokens", &raw, "a list of token ids")?;
        Ok(Task::Detokenize(Detokenize { tokens }))
    }
}

/// A refusal of what has no neutral form.
pub fn only_passed(what: &str, param: &str) -> Failure {
    Failure {
        param: Some(param.to_owned()),
        ..failure::of(
            FailureKind::Unsupported,
            format!("{what} needs a worker that speaks this API itself."),
        )
    }
}
