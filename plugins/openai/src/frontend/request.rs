//! What a client asks: read from the body, told to the host as an intent, and taken
//! apart into a neutral call when it must be translated.

use serde::Deserialize;
use tollgate_sdk_protocol::{
    Bytes, actions, failure,
    frontend::{Affinity, Cost, Intent, RequestHead},
    inference::{Call, TaskKind},
    types::{Context, Failure, FailureKind},
};

use super::{
    CALL,
    fields::{Fields, SMALL, TINY, missing},
};
use crate::{
    affinity,
    claims::Endpoint,
    options::{AffinityOption, Options},
};

/// `stream_options`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct StreamOptions {
    /// A last chunk with the totals.
    pub include_usage: bool,
    /// Totals so far in every chunk.
    pub continuous_usage_stats: bool,
}

/// A request that was understood as far as passing it on needs.
#[derive(Debug)]
pub struct Request {
    pub endpoint: Endpoint,
    pub fields: Fields,
    pub len: u64,
    /// As the client wrote it.
    pub model: Option<String>,
    pub streaming: bool,
    pub stream_options: Option<StreamOptions>,
    /// End of the response's `id`.
    id: Option<String>,
}

/// What the response to a translated request must look like.
#[derive(Clone, Debug)]
pub struct Form {
    pub endpoint: Endpoint,
    pub streaming: bool,
    pub stream_options: StreamOptions,
    /// The model's name as the client knows it.
    pub model: String,
    /// End of the response's `id`.
    pub id: String,
    /// Seconds since 1970.
    pub created: u64,
    /// Answers to come, over all prompts.
    pub items: usize,
    /// Answers for one prompt.
    pub n: usize,
    /// The prompt stands before the text.
    pub echo: bool,
    /// Tokens are reported.
    pub logprobs: bool,
    /// Tokens of the prompt are reported.
    pub prompt_logprobs: bool,
    /// Vectors are base64.
    pub base64: bool,
    /// Tokens' texts are wanted.
    pub token_texts: bool,
}

impl Request {
    /// Reads the members that say what is asked.
    ///
    /// # Errors
    /// When the content type is not JSON's, the body is no object, a member that is
    /// written anew stands twice, or one is of another type or missing.
    pub fn read(
        endpoint: Endpoint,
        bytes: &dyn Bytes,
        head: &RequestHead,
        len: u64,
    ) -> Result<Self, Failure> {
        let content_type = actions::header_value(&head.headers, "content-type").unwrap_or("");
        let media_type = content_type.split(';').next().unwrap_or("").trim();
        if !media_type.eq_ignore_ascii_case("application/json") {
            return Err(failure::of(
                FailureKind::InvalidArgument,
                "Unsupported Media Type: Only 'application/json' is allowed",
            ));
        }
        let mut fields = Fields::find(bytes, 0, len)?;
        fields.load(bytes, len, TINY);
        if let Some(name) = fields.repeated(&["model", "stream", "stream_options"]) {
            return Err(failure::invalid(
                format!("{name} is given more than once."),
                Some(name),
            ));
        }
        let model: Option<String> = fields.value(bytes, "model", "a valid string")?;
        let streams = matches!(endpoint, Endpoint::Chat | Endpoint::Completions);
        let streaming = streams && fields.boolean(bytes, "stream")?.unwrap_or(false);
        let stream_options = if streams {
            stream_options(bytes, &fields)?
        } else {
            None
        };
        if stream_options.is_some() && !streaming {
            return Err(failure::invalid(
                "Stream options can only be defined when `stream=True`.",
                Some("stream_options"),
            ));
        }
        let given = |name| fields.place(name).is_some();
        let (subject, there) = match endpoint {
            Endpoint::Chat => ("messages", given("messages")),
            Endpoint::Completions => ("prompt", given("prompt") || given("prompt_embeds")),
            Endpoint::Embeddings => ("input", given("input") || given("messages")),
            Endpoint::Tokenize => ("prompt", given("prompt") || given("messages")),
            _ => ("tokens", given("tokens")),
        };
        if !there {
            return Err(missing(subject));
        }
        let id = actions::header_value(&head.headers, "x-request-id").map(str::to_owned);
        Ok(Self {
            endpoint,
            fields,
            len,
            model,
            streaming,
            stream_options,
            id,
        })
    }

    /// The question for a worker. Costs are guesses: four bytes a token, and the limit
    /// of new tokens that the client set.
    pub fn intent(&self, bytes: &dyn Bytes, options: &Options) -> Intent {
        let task = self.endpoint.task().unwrap_or(TaskKind::Generate);
        let subject = self.subject();
        let input = subject.map_or(0, |(_, len)| u32::try_from(len / 4).unwrap_or(u32::MAX));
        let count = |name| self.fields.integer(bytes, name).ok().flatten();
        let output = match self.endpoint {
            Endpoint::Chat => count("max_completion_tokens")
                .or_else(|| count("max_tokens"))
                .unwrap_or(256),
            Endpoint::Completions => count("max_tokens").unwrap_or(16),
            _ => 0,
        };
        let answers = count("n").unwrap_or(1).clamp(1, 1024);
        let output = output.clamp(0, 1 << 20).saturating_mul(answers);
        let affinity = match (options.affinity, subject) {
            (AffinityOption::Prefix, Some((offset, len)))
                if matches!(self.endpoint, Endpoint::Chat | Endpoint::Completions) =>
            {
                match self.fields.body() {
                    Some(body) => {
                        affinity::of_beginning(&body[offset as usize..(offset + len) as usize])
                    }
                    None => affinity::of_prefix(bytes, offset, len),
                }
            }
            _ => Affinity::None,
        };
        Intent {
            streaming: self.streaming,
            cost: Cost {
                input,
                output: u32::try_from(output).unwrap_or(u32::MAX),
            },
            affinity,
            ..actions::intent(CALL, task, self.model.clone())
        }
    }

    fn subject(&self) -> Option<(u64, u64)> {
        ["messages", "prompt", "input", "tokens"]
            .iter()
            .find_map(|name| self.fields.place(name))
    }

    /// The model's name to show to the client, when its worker knows it as `served`.
    pub fn shown_model(&self, context: &Context, served: &str) -> String {
        self.model
            .clone()
            .or_else(|| context.default_model.clone())
            .unwrap_or_else(|| served.to_owned())
    }

    /// Takes the body apart, for a worker that knows the model as `served`.
    ///
    /// # Errors
    /// When a member is of another type, out of its domain, or has no neutral form.
    pub fn materialise(
        &mut self,
        bytes: &dyn Bytes,
        context: &Context,
        served: &str,
    ) -> Result<(Call, Form), Failure> {
        let mut form = Form {
            endpoint: self.endpoint,
            streaming: self.streaming,
            stream_options: self.stream_options.unwrap_or_default(),
            model: self.shown_model(context, served),
            id: self
                .id
                .clone()
                .unwrap_or_else(|| context.request_id.clone()),
            created: context.unix_time,
            items: 1,
            n: 1,
            echo: false,
            logprobs: false,
            prompt_logprobs: false,
            base64: false,
            token_texts: false,
        };
        self.fields.load(bytes, self.len, SMALL);
        let task = match self.endpoint {
            Endpoint::Chat => self.chat(bytes, &mut form)?,
            Endpoint::Completions => self.completion(bytes, &mut form)?,
            Endpoint::Embeddings => self.embed(bytes, &mut form)?,
            Endpoint::Tokenize => self.tokenize(bytes, &mut form)?,
            _ => self.detokenize(bytes)?,
        };
        let call = Call {
            model: served.to_owned(),
            version: None,
            streaming: self.streaming,
            task,
            extensions: Vec::new(),
        };
        Ok((call, form))
    }
}

fn stream_options(bytes: &dyn Bytes, fields: &Fields) -> Result<Option<StreamOptions>, Failure> {
    #[derive(Deserialize)]
    struct Given {
        include_usage: Option<bool>,
        continuous_usage_stats: Option<bool>,
    }
    let given: Option<Given> = fields.value(bytes, "stream_options", "a valid dictionary")?;
    Ok(given.map(|given| StreamOptions {
        include_usage: given.include_usage.unwrap_or(false),
        continuous_usage_stats: given.continuous_usage_stats.unwrap_or(false),
    }))
}
