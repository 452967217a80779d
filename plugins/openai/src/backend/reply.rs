//! What workers write: the members of responses that matter, in both of vLLM's
//! generations, and their errors in every shape.

use std::{collections::BTreeMap, fmt};

use serde::{
    Deserialize,
    de::{Deserializer, MapAccess, Visitor},
};
use serde_json::{Value, value::RawValue};
use tollgate_sdk_protocol::{
    actions, failure,
    inference::{Alternative, Extra, Token, Usage},
    types::{Failure, FailureKind, Header},
};

/// A response or a chunk of one.
#[derive(Deserialize)]
pub struct Reply<'a> {
    #[serde(borrow, default)]
    pub choices: Vec<Choice<'a>>,
    #[serde(default)]
    pub usage: Option<Counts>,
    #[serde(default)]
    pub error: Option<Value>,
    #[serde(default)]
    pub object: Option<String>,
    #[serde(default)]
    pub prompt_logprobs: Option<Vec<Option<PromptToken>>>,
    #[serde(default)]
    pub prompt_token_ids: Option<Vec<u32>>,
}

/// One answer, whole or in part.
#[derive(Deserialize)]
pub struct Choice<'a> {
    #[serde(default)]
    pub index: u32,
    #[serde(default)]
    pub text: Option<String>,
    #[serde(borrow, default, alias = "message")]
    pub delta: Option<Message<'a>>,
    #[serde(default)]
    pub logprobs: Option<Logprobs>,
    #[serde(default)]
    pub finish_reason: Option<String>,
    #[serde(default)]
    pub stop_reason: Option<Value>,
    #[serde(default)]
    pub prompt_logprobs: Option<Vec<Option<PromptToken>>>,
    #[serde(default)]
    pub token_ids: Option<Vec<u32>>,
    #[serde(default)]
    pub prompt_token_ids: Option<Vec<u32>>,
}

/// A message or the next part of one.
#[derive(Deserialize)]
pub struct Message<'a> {
    #[serde(default)]
    pub content: Option<String>,
    #[serde(borrow, default)]
    pub reasoning: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub reasoning_content: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub tool_calls: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub function_call: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub refusal: Option<&'a RawValue>,
}

impl Message<'_> {
    /// What is said beyond the text, under neutral names.
    pub fn extras(&self) -> Vec<Extra> {
        [
            ("reasoning", self.reasoning.or(self.reasoning_content)),
            ("tool_calls", self.tool_calls),
            ("function_call", self.function_call),
            ("refusal", self.refusal),
        ]
        .into_iter()
        .filter_map(|(name, value)| {
            let json = value?.get();
            let empty = matches!(json, "null" | "[]" | "\"\"");
            (!empty).then(|| Extra {
                name: name.to_owned(),
                json: json.to_owned(),
            })
        })
        .collect()
    }
}

/// Usage.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Counts {
    pub prompt_tokens: Option<u32>,
    pub completion_tokens: Option<u32>,
    pub total_tokens: Option<u32>,
    pub prompt_tokens_details: Option<Details>,
}

/// Details of the prompt's tokens.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Details {
    pub cached_tokens: Option<u64>,
}

impl Counts {
    /// As an event's content.
    pub fn usage(self) -> Usage {
        Usage {
            input_tokens: self.prompt_tokens.map(u64::from),
            output_tokens: self.completion_tokens.map(u64::from),
            cached_tokens: self
                .prompt_tokens_details
                .and_then(|details| details.cached_tokens),
            extensions: Vec::new(),
        }
    }
}

/// Log probabilities: of completions (lists side by side) or of chat (`content`).
#[derive(Deserialize)]
pub struct Logprobs {
    #[serde(default)]
    content: Option<Vec<ChatToken>>,
    #[serde(default)]
    tokens: Vec<String>,
    #[serde(default)]
    token_logprobs: Vec<Option<f64>>,
    #[serde(default)]
    top_logprobs: Option<Vec<Option<Alternatives>>>,
}

type Alternatives = BTreeMap<String, Option<f64>>;

#[derive(Deserialize)]
struct ChatToken {
    token: String,
    #[serde(default)]
    logprob: Option<f64>,
    #[serde(default)]
    top_logprobs: Vec<ChatToken>,
}

impl Logprobs {
    /// The tokens, alternatives sorted best first.
    pub fn tokens(self) -> Vec<Token> {
        if let Some(content) = self.content {
            return content.into_iter().map(chat_token).collect();
        }
        let tops = self.top_logprobs.unwrap_or_default();
        self.tokens
            .into_iter()
            .enumerate()
            .map(|(at, text)| {
                let top = tops.get(at).cloned().flatten().unwrap_or_default();
                let top = top.into_iter().filter_map(|(text, logprob)| {
                    logprob.map(|logprob| Alternative { text, logprob })
                });
                Token {
                    text,
                    id: None,
                    logprob: self.token_logprobs.get(at).copied().flatten(),
                    rank: None,
                    top: best_first(top.collect()),
                }
            })
            .collect()
    }
}

fn chat_token(token: ChatToken) -> Token {
    let top = token.top_logprobs.into_iter().filter_map(|other| {
        other.logprob.map(|logprob| Alternative {
            text: other.token,
            logprob,
        })
    });
    Token {
        text: token.token,
        id: None,
        logprob: token.logprob,
        rank: None,
        top: best_first(top.collect()),
    }
}

fn best_first(mut top: Vec<Alternative>) -> Vec<Alternative> {
    top.sort_by(|one, other| other.logprob.total_cmp(&one.logprob));
    top
}

/// A place of the prompt: facts of tokens by their ids, in the worker's order. vLLM
/// writes the prompt's own token first and alternatives after it.
#[derive(Clone)]
pub struct PromptToken(Vec<(String, Fact)>);

#[derive(Clone, Deserialize)]
struct Fact {
    #[serde(default)]
    logprob: Option<f64>,
    #[serde(default)]
    rank: Option<u32>,
    #[serde(default)]
    decoded_token: Option<String>,
}

impl<'de> Deserialize<'de> for PromptToken {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = PromptToken;
            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("facts by token id")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<PromptToken, A::Error> {
                let mut facts = Vec::new();
                while let Some(fact) = map.next_entry()? {
                    facts.push(fact);
                }
                Ok(PromptToken(facts))
            }
        }
        json.deserialize_map(InOrder)
    }
}

/// Tokens of the prompt. The first has no log probability, and of vLLM no text either.
pub fn prompt_tokens(places: Vec<Option<PromptToken>>, ids: Option<&Vec<u32>>) -> Vec<Token> {
    let token = |(at, place): (usize, Option<PromptToken>)| {
        let known = ids.and_then(|ids| ids.get(at)).copied();
        let mut facts = place.map_or_else(Vec::new, |place| place.0).into_iter();
        let Some((id, own)) = facts.next() else {
            return Token {
                text: String::new(),
                id: known,
                logprob: None,
                rank: None,
                top: Vec::new(),
            };
        };
        let top = facts.filter_map(|(_, other)| {
            let text = other.decoded_token.unwrap_or_default();
            other.logprob.map(|logprob| Alternative { text, logprob })
        });
        Token {
            text: own.decoded_token.unwrap_or_default(),
            id: known.or(id.parse().ok()),
            logprob: own.logprob,
            rank: own.rank,
            top: best_first(top.collect()),
        }
    };
    places.into_iter().enumerate().map(token).collect()
}

/// What OpenVINO Model Server says where its key is missing, with status 500 (model_server at
/// 7e4df0c7, `src/status.cpp` and the table of `src/http_server.cpp`).
const NO_KEY: &str = "Unauthorized request";

fn refused_credentials() -> Failure {
    failure::upstream_invalid("The worker refuses the proxy's credentials.")
}

/// What a worker's error means, whichever shape it has.
pub fn failure(status: u16, headers: &[Header], body: &[u8]) -> Failure {
    let value: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
    // A worker that refuses the proxy does not refuse the client.
    let message = message_of(&value);
    let mut failed = match status {
        401 | 403 => refused_credentials(),
        // OpenVINO Model Server has no status for it.
        500 if message.as_deref().is_some_and(|it| it.starts_with(NO_KEY)) => refused_credentials(),
        status => {
            let message =
                message.unwrap_or_else(|| format!("The worker answered with status {status}."));
            if lacks_the_task(status, &value, &message) {
                failure::of(FailureKind::Unsupported, message)
            } else {
                failure::from_http(status, message)
            }
        }
    };
    let error = if value["error"].is_object() {
        &value["error"]
    } else {
        &value
    };
    failed.param = error["param"].as_str().map(str::to_owned);
    failed.retry_after_ms = actions::header_value(headers, "retry-after")
        .and_then(|seconds| seconds.trim().parse::<u32>().ok())
        .map(|seconds| seconds.saturating_mul(1000));
    failed
}

/// Whether a worker says that its model cannot do this at all. Newer servers have no such
/// path then, older ones say so in words.
fn lacks_the_task(status: u16, value: &Value, message: &str) -> bool {
    match status {
        404 => message == "Not Found" && value["error"]["param"].is_null(),
        400 => message.starts_with("The model does not support") && message.contains(" API"),
        _ => false,
    }
}

/// An error that comes as an event of a stream.
pub fn failure_of_event(value: &Value) -> Failure {
    let error = if value["error"].is_object() {
        &value["error"]
    } else {
        value
    };
    let message = message_of(value).unwrap_or_else(|| "The worker failed.".to_owned());
    let status = error["code"]
        .as_u64()
        .and_then(|code| u16::try_from(code).ok());
    match status {
        Some(status @ 400..=599) => failure::from_http(status, message),
        _ => failure::of(FailureKind::Internal, message),
    }
}

/// `error.message`, `message`, `error` as a string, or `detail`.
fn message_of(value: &Value) -> Option<String> {
    let candidates = [
        &value["error"]["message"],
        &value["message"],
        &value["error"],
    ];
    let found = candidates
        .into_iter()
        .find_map(Value::as_str)
        .map(str::to_owned);
    found.or_else(|| match &value["detail"] {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    })
}
