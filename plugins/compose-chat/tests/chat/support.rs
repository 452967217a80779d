//! Chats to compose, and what is asked for them.

use serde_json::{Value, json};
use tollgate_plugin_compose_chat::Plugin;
use tollgate_sdk_compose::{
    Compose, Composition,
    composition::{Action, Capability, SubEvent},
    inference::{
        Call, Chat, Content, Detail, Event, Generate, Message, Prompt, Sampling, Settings,
        Stopping, Task, TaskKind,
    },
    types::{Context, Extension, Failure, Text},
};

/// 2024-07-26, 12:00 UTC.
pub const NOW: u64 = 1_721_995_200;

pub fn settings() -> Settings {
    Settings {
        sampling: Sampling {
            greedy: true,
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
            max_tokens: Some(5),
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
    }
}

pub fn message(role: &str, text: &str) -> Message {
    Message {
        role: role.into(),
        content: vec![Content::Text(Text::Inline(text.into()))],
        name: None,
        tool_calls: None,
        tool_call_id: None,
    }
}

pub fn chat(messages: &[(&str, &str)]) -> Chat {
    Chat {
        messages: messages
            .iter()
            .map(|(role, text)| message(role, text))
            .collect(),
        settings: settings(),
        tools: None,
        tool_choice: None,
    }
}

/// Options of one model, `m`.
pub fn options(model: &Value) -> String {
    json!({"models": {"m": model}}).to_string()
}

pub fn begin(options: &str, chat: Chat) -> Box<dyn Composition> {
    let context = Context {
        request_id: "r".into(),
        unix_time: NOW,
        seed: 0,
        route: "test".into(),
        default_model: None,
        deadline_ms: None,
        extensions: vec![Extension {
            name: "model".into(),
            payload: b"m".to_vec(),
        }],
    };
    let call = Call {
        model: "alias".into(),
        version: None,
        streaming: true,
        task: Task::Chat(chat),
        extensions: Vec::new(),
    };
    let capabilities = vec![Capability {
        model: "alias".into(),
        tasks: vec![TaskKind::Generate],
    }];
    let plugin = Plugin::configure(options).unwrap_or_else(|problems| panic!("{problems:?}"));
    plugin.compose(context, call, capabilities)
}

/// What is asked for a chat.
pub fn asked(options: &str, chat: Chat) -> Result<Generate, Failure> {
    match <[Action; 1]>::try_from(begin(options, chat).step(Vec::new())) {
        Ok([Action::Call(sub)]) => match sub.call {
            Call {
                streaming: true,
                model,
                task: Task::Generate(generate),
                ..
            } if model == "alias" => Ok(generate),
            other => panic!("{other:?}"),
        },
        Ok([Action::Events(events)]) => match <[Event; 1]>::try_from(events) {
            Ok([Event::Failed(failure)]) => Err(failure),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

pub fn text_of(generate: &Generate) -> &str {
    match generate.prompts.as_slice() {
        [Prompt::Text(Text::Inline(text))] => text,
        other => panic!("{other:?}"),
    }
}

pub fn prompt(options: &str, chat: Chat) -> String {
    match asked(options, chat) {
        Ok(generate) => text_of(&generate).to_owned(),
        Err(failure) => panic!("{failure:?}"),
    }
}

pub fn sub(events: impl IntoIterator<Item = Event>) -> Vec<SubEvent> {
    let events = events.into_iter();
    events.map(|event| SubEvent { id: 0, event }).collect()
}
