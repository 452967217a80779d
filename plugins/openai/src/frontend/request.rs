//! What a client asks: read from the body, told to the host as an intent, and taken
//! apart into a neutral call when it must be translated.

use serde::Deserialize;
use tollgate_sdk_protocol::{
    Bytes, actions, failure,
    frontend::{Affinity, Cost, Intent, RequestHead},
    inference::{Call, TaskKind},
    types::{Context, Failure, FailureKind, Text},
};

use super::{
    CALL,
    fields::{Fields, SMALL, TINY, missing},
    multipart::Multipart,
    ovms, prompts,
    relay::{self, Sticky},
};
use crate::{
    affinity,
    claims::Endpoint,
    options::{AffinityOption, Clients, Generation, Options},
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
    /// A form that carries a file.
    pub form: Option<Multipart>,
    /// Where the response is to be kept.
    pub sticky: Option<Sticky>,
    /// End of the response's `id`.
    id: Option<String>,
}

/// What the response to a translated request must look like.
#[derive(Clone, Debug)]
pub struct Form {
    pub endpoint: Endpoint,
    /// Whose words it is in.
    pub clients: Clients,
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
    /// Documents that are ranked.
    pub documents: Vec<Text>,
    /// Most of them that are wanted back.
    pub top: Option<usize>,
    /// The documents themselves are wanted back too.
    pub with_documents: bool,
    /// Calls that answer together, one for each item when there are several.
    pub calls: usize,
}

impl Request {
    /// Reads the members that say what is asked.
    ///
    /// # Errors
    /// When the content type is not the endpoint's, the body is no object or form, a member
    /// that is written anew stands twice, or one is of another type or missing.
    ///
    /// With a `seed`, a response that will be kept is given an id of which its place follows.
    pub fn read(
        endpoint: Endpoint,
        clients: Clients,
        bytes: &dyn Bytes,
        head: &RequestHead,
        len: u64,
        seed: Option<u64>,
    ) -> Result<Self, Failure> {
        let content_type = actions::header_value(&head.headers, "content-type").unwrap_or("");
        // Of two a worker may follow the other one, and read another body than was read here.
        let types = head.headers.iter();
        if types.filter(|it| it.name == "content-type").count() > 1 {
            let twice = "Content-Type is given more than once.";
            return Err(failure::invalid(twice, None));
        }
        let media_type = content_type.split(';').next().unwrap_or("").trim();
        let id = actions::header_value(&head.headers, "x-request-id").map(str::to_owned);
        if endpoint.is_form() {
            if !media_type.eq_ignore_ascii_case("multipart/form-data") {
                return Err(failure::of(
                    FailureKind::InvalidArgument,
                    "Unsupported Media Type: Only 'multipart/form-data' is allowed",
                ));
            }
            let form = Multipart::read(bytes, len, content_type)?;
            return Ok(Self {
                endpoint,
                fields: Fields::none(),
                len,
                model: form.model.clone(),
                streaming: form.streaming,
                stream_options: None,
                form: Some(form),
                sticky: None,
                id,
            });
        }
        if !media_type.eq_ignore_ascii_case("application/json") {
            return Err(failure::of(
                FailureKind::InvalidArgument,
                "Unsupported Media Type: Only 'application/json' is allowed",
            ));
        }
        let mut fields = Fields::find(bytes, 0, len).map_err(|failed| match clients {
            Clients::New | Clients::Old => failed,
            Clients::Ovms => Failure {
                kind: FailureKind::FailedPrecondition,
                ..failed
            },
        })?;
        fields.load(bytes, len, TINY);
        if let Some(name) = fields.repeated(&["model", "stream", "stream_options"]) {
            return Err(failure::invalid(
                format!("{name} is given more than once."),
                Some(name),
            ));
        }
        let model: Option<String> = fields.value(bytes, "model", "a valid string")?;
        let streaming = endpoint.streams() && fields.boolean(bytes, "stream")?.unwrap_or(false);
        let stream_options = if matches!(endpoint, Endpoint::Chat | Endpoint::Completions) {
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
            Endpoint::Embeddings | Endpoint::Classify => {
                ("input", given("input") || given("messages"))
            }
            Endpoint::Tokenize if clients == Clients::Ovms => ("text", given("text")),
            Endpoint::Tokenize => ("prompt", given("prompt") || given("messages")),
            Endpoint::Rerank if given("query") => ("documents", given("documents")),
            Endpoint::Rerank => ("query", false),
            Endpoint::Detokenize => ("tokens", given("tokens")),
            // What is not taken apart is looked at by its worker.
            _ => ("", true),
        };
        if !there {
            return Err(missing(subject));
        }
        let sticky = match (endpoint, seed) {
            (Endpoint::Responses, Some(seed)) => {
                relay::sticky(bytes, &fields, model.as_deref(), seed)?
            }
            _ => None,
        };
        Ok(Self {
            endpoint,
            fields,
            len,
            model,
            streaming,
            stream_options,
            form: None,
            sticky,
            id,
        })
    }

    /// The question for a worker. Costs are guesses: four bytes a token, and the limit
    /// of new tokens that the client set, for as many answers as may be made.
    pub fn intent(&self, bytes: &dyn Bytes, options: &Options) -> Intent {
        let task = self.endpoint.task().unwrap_or(TaskKind::Generate);
        let subject = self.subject();
        let input = subject.map_or(0, |(_, len)| u32::try_from(len / 4).unwrap_or(u32::MAX));
        let count = |name| self.fields.at_most(bytes, name).map(u64::from);
        let output = match self.endpoint {
            // Old workers know only the second.
            Endpoint::Chat => count("max_completion_tokens")
                .max(count("max_tokens"))
                .unwrap_or(256),
            Endpoint::Completions => count("max_tokens").unwrap_or(match options.clients {
                Clients::New | Clients::Old => 16,
                Clients::Ovms => 256,
            }),
            Endpoint::Responses => count("max_output_tokens").unwrap_or(256),
            Endpoint::Messages => count("max_tokens").unwrap_or(256),
            _ => 0,
        };
        // The best of more answers than are given are made, too.
        let answers = count("n").max(count("best_of")).unwrap_or(1).max(1);
        let prompts = match (self.endpoint, subject) {
            (Endpoint::Completions, Some((offset, len))) => self.prompts(bytes, offset, len),
            _ => 1,
        };
        let output = output.saturating_mul(answers).saturating_mul(prompts);
        let affinity = match (options.affinity, subject) {
            _ if self.sticky.is_some() => {
                let key = self.sticky.as_ref().map(|sticky| sticky.key.clone());
                Affinity::Pin(key.unwrap_or_default())
            }
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

    /// Prompts of a completion: of a list of texts, or of lists of tokens, as many as it has.
    fn prompts(&self, bytes: &dyn Bytes, offset: u64, len: u64) -> u64 {
        // What begins otherwise is one, and is not read for it.
        if bytes.read(0, offset, 1) != b"[" {
            return 1;
        }
        prompts::count(&bytes.read_all(0, offset, len))
    }

    fn subject(&self) -> Option<(u64, u64)> {
        [
            "messages",
            "prompt",
            "input",
            "tokens",
            "documents",
            "text_2",
            "text",
        ]
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
        clients: Clients,
        served: &str,
    ) -> Result<(Vec<Call>, Form), Failure> {
        let mut form = Form {
            endpoint: self.endpoint,
            clients,
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
            documents: Vec::new(),
            top: None,
            with_documents: true,
            calls: 1,
        };
        if clients == Clients::Ovms {
            self.fields.only(ovms::fields(self.endpoint));
        }
        self.fields.load(bytes, self.len, SMALL);
        let tasks = match self.endpoint {
            Endpoint::Chat => vec![self.chat(bytes, &mut form)?],
            Endpoint::Completions => vec![self.completion(bytes, &mut form)?],
            Endpoint::Embeddings => vec![self.embed(bytes, &mut form)?],
            Endpoint::Rerank => vec![self.rerank(bytes, &mut form)?],
            Endpoint::Score => self.score(bytes, &mut form)?,
            Endpoint::Tokenize if clients == Clients::Ovms => {
                vec![ovms::tokenize(self, bytes, &mut form)?]
            }
            Endpoint::Tokenize => vec![self.tokenize(bytes, &mut form)?],
            Endpoint::Detokenize => vec![self.detokenize(bytes)?],
            Endpoint::Classify => self.classify(bytes, &mut form)?,
            // Nobody takes this apart: it is told apart from everything else, and passed.
            other => vec![super::opaque(other)],
        };
        form.calls = tasks.len();
        let call = |task| Call {
            model: served.to_owned(),
            version: None,
            streaming: self.streaming,
            task,
            extensions: Vec::new(),
        };
        Ok((tasks.into_iter().map(call).collect(), form))
    }

    /// Whether a worker of this generation would ignore a field that changes the answer, and
    /// that has a form which it knows.
    pub fn is_foreign(&self, bytes: &dyn Bytes, generation: impl FnOnce() -> Generation) -> bool {
        const OLD: [&str; 4] = [
            "guided_json",
            "guided_regex",
            "guided_choice",
            "guided_grammar",
        ];
        const NEW: [&str; 2] = ["structured_outputs", "truncation_side"];
        let given = |names: &[&str]| {
            let mut names = names.iter();
            names.any(|name| self.fields.json(bytes, name).is_some())
        };
        let taken_apart = matches!(
            self.endpoint,
            Endpoint::Chat
                | Endpoint::Completions
                | Endpoint::Embeddings
                | Endpoint::Rerank
                | Endpoint::Score
                | Endpoint::Classify
        );
        let (old, new) = (taken_apart && given(&OLD), taken_apart && given(&NEW));
        (old || new)
            && match generation() {
                Generation::New => old,
                Generation::Old => new,
            }
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
