//! Neutral calls and events from JSON. Members that are missing are at rest.

use serde_json::Value;
use tollgate_sdk_protocol::{
    failure,
    inference::{
        Alternative, Call, Constraint, Delta, Detail, Event, FinishReason, Finished, Generate,
        LengthPenalty, Offset, Prompt, Sampling, Settings, Started, Stopping, Task, Token,
        Tokenize, Tokenized, Truncation, TruncationSide, Usage,
    },
    types::Text,
};

fn u32_of(json: &Value) -> Option<u32> {
    json.as_u64().map(|n| u32::try_from(n).unwrap())
}

fn text_of(json: &Value) -> Option<String> {
    json.as_str().map(str::to_owned)
}

fn strings(json: &Value) -> Vec<String> {
    json.as_array().map_or(Vec::new(), |all| {
        all.iter().map(|s| text_of(s).unwrap()).collect()
    })
}

fn prompts(json: &Value) -> Vec<Text> {
    strings(json).into_iter().map(Text::Inline).collect()
}

/// `{"model", "version", "streaming", "generate" | "tokenize" | "task"}`.
pub fn call(json: &Value) -> Call {
    let task = if let Some(generate) = json.get("generate") {
        Task::Generate(Generate {
            prompts: prompts(&generate["prompts"])
                .into_iter()
                .map(Prompt::Text)
                .collect(),
            settings: settings(&generate["settings"]),
        })
    } else if let Some(tokenize) = json.get("tokenize") {
        Task::Tokenize(Tokenize {
            inputs: prompts(&tokenize["inputs"]),
            add_special_tokens: tokenize["add-special-tokens"].as_bool(),
            tokens: tokenize["tokens"] == true,
            offsets: tokenize["offsets"] == true,
            truncate: truncation(&tokenize["truncate"]),
            extras: Vec::new(),
        })
    } else {
        match json["task"].as_str().unwrap() {
            "model-metadata" => Task::ModelMetadata,
            "model-ready" => Task::ModelReady,
            other => panic!("no task {other}"),
        }
    };
    Call {
        model: text_of(&json["model"]).unwrap(),
        version: text_of(&json["version"]),
        streaming: json["streaming"] == true,
        task,
        extensions: Vec::new(),
    }
}

/// Settings, greedy where nothing is said of sampling.
pub fn settings(json: &Value) -> Settings {
    let sampling = &json["sampling"];
    let stopping = &json["stopping"];
    let detail = &json["detail"];
    Settings {
        sampling: Sampling {
            greedy: sampling.is_null() || sampling["greedy"] == true,
            temperature: sampling["temperature"].as_f64(),
            top_k: u32_of(&sampling["top-k"]),
            top_p: sampling["top-p"].as_f64(),
            typical_p: sampling["typical-p"].as_f64(),
            min_p: sampling["min-p"].as_f64(),
            seed: sampling["seed"].as_u64(),
            repetition_penalty: sampling["repetition-penalty"].as_f64(),
            frequency_penalty: sampling["frequency-penalty"].as_f64(),
            presence_penalty: sampling["presence-penalty"].as_f64(),
            length_penalty: sampling.get("length-penalty").map(|penalty| LengthPenalty {
                start_index: u32_of(&penalty["start-index"]).unwrap(),
                decay_factor: penalty["decay-factor"].as_f64().unwrap(),
            }),
        },
        stopping: Stopping {
            max_tokens: u32_of(&stopping["max-tokens"]),
            min_tokens: u32_of(&stopping["min-tokens"]),
            stop_sequences: strings(&stopping["stop-sequences"]),
            include_stop: stopping["include-stop"] == true,
            time_limit_ms: u32_of(&stopping["time-limit-ms"]),
        },
        detail: Detail {
            echo: detail["echo"] == true,
            input_tokens: detail["input-tokens"] == true,
            output_tokens: detail["output-tokens"] == true,
            logprobs: detail["logprobs"] == true,
            ranks: detail["ranks"] == true,
            top_n: u32_of(&detail["top-n"]).unwrap_or(0),
        },
        n: u32_of(&json["n"]).unwrap_or(1),
        truncate: truncation(&json["truncate"]),
        constraint: match &json["constraint"] {
            Value::Null => None,
            Value::String(word) if word == "json-object" => Some(Constraint::JsonObject),
            rule => Some(if let Some(regex) = text_of(&rule["regex"]) {
                Constraint::Regex(regex)
            } else if let Some(schema) = text_of(&rule["json-schema"]) {
                Constraint::JsonSchema(schema)
            } else {
                Constraint::Choice(strings(&rule["choice"]))
            }),
        },
        adapter: text_of(&json["adapter"]),
        extras: Vec::new(),
    }
}

fn truncation(json: &Value) -> Option<Truncation> {
    let side = match json["side"].as_str() {
        None => None,
        Some("left") => Some(TruncationSide::Left),
        Some(_) => Some(TruncationSide::Right),
    };
    Some(Truncation {
        tokens: u32_of(&json["tokens"])?,
        side,
    })
}

/// `"end"`, or one member named like the event.
pub fn event(json: &Value) -> Event {
    if json == "end" {
        return Event::End;
    }
    let (name, of) = json.as_object().unwrap().iter().next().unwrap();
    let item = u32_of(&of["item"]).unwrap_or(0);
    match name.as_str() {
        "started" => Event::Started(Started {
            item,
            input_tokens: u32_of(&of["input"]),
            seed: of["seed"].as_u64(),
            echo: text_of(&of["echo"]),
            tokens: tokens(&of["tokens"]),
        }),
        "delta" => Event::Delta(Delta {
            item,
            text: text_of(&of["text"]).unwrap_or_default(),
            tokens: tokens(&of["tokens"]),
            output_tokens: u32_of(&of["output"]),
            extras: Vec::new(),
        }),
        "finished" => Event::Finished(Finished {
            item,
            reason: match of["reason"].as_str().unwrap() {
                "end-of-sequence" => FinishReason::EndOfSequence,
                "stop-sequence" => FinishReason::StopSequence,
                "max-tokens" => FinishReason::MaxTokens,
                "token-limit" => FinishReason::TokenLimit,
                "time-limit" => FinishReason::TimeLimit,
                "cancelled" => FinishReason::Cancelled,
                "error" => FinishReason::Error,
                other => FinishReason::Other(other.to_owned()),
            },
            stop_sequence: text_of(&of["stop"]),
            input_tokens: u32_of(&of["input"]),
            output_tokens: u32_of(&of["output"]),
            seed: of["seed"].as_u64(),
        }),
        "usage" => Event::Usage(Usage {
            input_tokens: of["input"].as_u64(),
            output_tokens: of["output"].as_u64(),
            cached_tokens: None,
            extensions: Vec::new(),
        }),
        "tokenized" => {
            let items = of.as_array().unwrap().iter().zip(0..);
            Event::Tokenized(items.map(|(one, item)| tokenized(one, item)).collect())
        }
        "ready" => Event::Ready(of == true),
        "failed" => Event::Failed(tollgate_sdk_protocol::types::Failure {
            param: text_of(&of["param"]),
            ..failure::of(
                failure::kind(of["kind"].as_str().unwrap()),
                text_of(&of["message"]).unwrap(),
            )
        }),
        other => panic!("no event {other}"),
    }
}

fn tokenized(json: &Value, item: u32) -> Tokenized {
    let offsets = json["offsets"].as_array().map_or(&[][..], Vec::as_slice);
    Tokenized {
        item,
        count: u32_of(&json["count"]).unwrap(),
        ids: Vec::new(),
        texts: strings(&json["texts"]),
        offsets: offsets
            .iter()
            .map(|pair| Offset {
                start: u32_of(&pair[0]).unwrap(),
                end: u32_of(&pair[1]).unwrap(),
            })
            .collect(),
    }
}

fn tokens(json: &Value) -> Vec<Token> {
    let token = |of: &Value| Token {
        text: text_of(&of["text"]).unwrap(),
        id: None,
        logprob: of["logprob"].as_f64(),
        rank: u32_of(&of["rank"]),
        top: of["top"]
            .as_array()
            .map_or(&[][..], Vec::as_slice)
            .iter()
            .map(top)
            .collect(),
    };
    json.as_array()
        .map_or(Vec::new(), |all| all.iter().map(token).collect())
}

fn top(json: &Value) -> Alternative {
    Alternative {
        text: text_of(&json["text"]).unwrap(),
        logprob: json["logprob"].as_f64().unwrap(),
    }
}
