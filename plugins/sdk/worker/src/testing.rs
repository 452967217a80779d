//! What native tests of model servers need.

use crate::{
    inference::{Call, Detail, Generate, Prompt, Sampling, Settings, Stopping, Task},
    types::{Context, Text},
};

/// A context as a request might have.
#[must_use]
pub fn context() -> Context {
    Context {
        request_id: "request-1".to_owned(),
        unix_time: 1_700_000_000,
        seed: 7,
        route: "route".to_owned(),
        default_model: None,
        deadline_ms: None,
        extensions: Vec::new(),
    }
}

/// A call for the continuation of one prompt, of which nothing is asked but a limit of tokens.
#[must_use]
pub fn generate(model: &str, prompt: &str, max_tokens: Option<u32>) -> Call {
    Call {
        model: model.to_owned(),
        version: None,
        streaming: true,
        task: Task::Generate(Generate {
            prompts: vec![Prompt::Text(Text::Inline(prompt.to_owned()))],
            settings: Settings {
                sampling: Sampling {
                    greedy: false,
                    temperature: None,
                    top_k: None,
                    top_p: None,
                    typical_p: None,
                    min_p: None,
                    seed: None,
                    repetition_penalty: None,
                    frequency_penalty: None,
                    presence_penalty: None,
                    length_penalty: None,
                },
                stopping: Stopping {
                    max_tokens,
                    min_tokens: None,
                    stop_sequences: Vec::new(),
                    include_stop: false,
                    time_limit_ms: None,
                },
                detail: Detail {
                    echo: false,
                    input_tokens: false,
                    output_tokens: false,
                    logprobs: false,
                    ranks: false,
                    top_n: 0,
                },
                n: 1,
                truncate: None,
                constraint: None,
                adapter: None,
                extras: Vec::new(),
            },
        }),
        extensions: Vec::new(),
    }
}
