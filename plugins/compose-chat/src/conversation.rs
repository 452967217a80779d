//! A conversation as templates see it: what transformers gives them, with what vLLM does to it
//! before (`vllm/entrypoints/chat_utils.py` of version 0.12): texts of a message are joined by line
//! breaks, and the arguments of tool calls, which are JSON in a text, are opened.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use minijinja::{Value, value::ValueKind};
use tollgate_sdk_compose::{
    failure,
    inference::{Chat, Content, Extra, Message},
    types::{Failure, Text},
};

use crate::{
    options,
    template::{RESERVED, Variables},
};

/// A conversation, and what else the client wants of the template.
pub(crate) struct Conversation {
    messages: Vec<Value>,
    tools: Value,
    documents: Value,
    kwargs: BTreeMap<String, Value>,
    add_generation_prompt: bool,
    /// The last message's text, which the answer goes on with.
    pub(crate) continued: Option<String>,
}

impl Conversation {
    /// Takes what templates see out of a chat: from `extras` those that are for them.
    ///
    /// # Errors
    /// When something cannot be shown to a template.
    pub(crate) fn of(chat: &mut Chat, content: options::Content) -> Result<Self, Failure> {
        let mut told = Told::default();
        let mut rest = Vec::new();
        for extra in std::mem::take(&mut chat.settings.extras) {
            if !told.take(&extra)? {
                rest.push(extra);
            }
        }
        chat.settings.extras = rest;
        let mut last = None;
        let mut messages = Vec::with_capacity(chat.messages.len());
        for (at, message) in std::mem::take(&mut chat.messages).into_iter().enumerate() {
            let texts = texts(&message)?;
            let mut shown = shown(&message, &texts, content)?;
            for (name, value) in told.of_messages.remove(&at).into_iter().flatten() {
                shown.insert(Value::from(name), value);
            }
            messages.push(Value::from_object(shown));
            last = Some(texts.join("\n"));
        }
        let continued = if told.continue_final_message {
            if told.add_generation_prompt == Some(true) {
                return Err(failure::invalid(
                    "Cannot set both `continue_final_message` and `add_generation_prompt` to True.",
                    Some("continue_final_message"),
                ));
            }
            last
        } else {
            None
        };
        Ok(Self {
            messages,
            tools: json("tools", chat.tools.take().as_deref())?,
            documents: told.documents,
            kwargs: told.kwargs,
            // vLLM's own default; what goes on with a message begins none.
            add_generation_prompt: told.add_generation_prompt.unwrap_or(continued.is_none()),
            continued,
        })
    }

    /// The variables of a template: the model's own, then the client's, then the conversation.
    pub(crate) fn variables(self, own: &BTreeMap<String, Value>) -> Variables {
        own.iter()
            .map(|(name, value)| (name.clone(), value.clone()))
            .chain(self.kwargs)
            .chain([
                ("messages".to_owned(), Value::from(self.messages)),
                ("tools".to_owned(), self.tools),
                ("documents".to_owned(), self.documents),
                (
                    "add_generation_prompt".to_owned(),
                    Value::from(self.add_generation_prompt),
                ),
            ])
            .collect()
    }
}

/// What extras say to templates.
#[derive(Default)]
struct Told {
    kwargs: BTreeMap<String, Value>,
    documents: Value,
    add_generation_prompt: Option<bool>,
    continue_final_message: bool,
    /// Members and values, by message.
    of_messages: BTreeMap<usize, Vec<(&'static str, Value)>>,
}

impl Told {
    /// True when it is for a template.
    fn take(&mut self, extra: &Extra) -> Result<bool, Failure> {
        let Extra { name, json: text } = extra;
        match name.as_str() {
            "chat_template_kwargs" => {
                let kwargs: BTreeMap<String, Value> =
                    serde_json::from_str(text).map_err(|_| wrong(name, "an object"))?;
                let reserved = |key: &&String| RESERVED.contains(&key.as_str());
                if let Some(key) = kwargs.keys().find(reserved) {
                    let message = format!("chat_template_kwargs: {key} has a member of its own");
                    return Err(failure::invalid(message, Some(name)));
                }
                self.kwargs = kwargs;
            }
            "documents" => self.documents = json(name, Some(text))?,
            "add_generation_prompt" => self.add_generation_prompt = Some(boolean(name, text)?),
            "continue_final_message" => self.continue_final_message = boolean(name, text)?,
            "chat_template" => {
                return Err(failure::invalid(
                    "chat_template: the model's template is the operator's to choose",
                    Some(name),
                ));
            }
            _ => {
                // As the OpenAI API's frontend names a message's members without a place.
                let place = name
                    .strip_prefix("messages[")
                    .and_then(|rest| rest.split_once("]."));
                let Some((at, member)) = place else {
                    return Ok(false);
                };
                let (Ok(at), "reasoning" | "reasoning_content") = (at.parse(), member) else {
                    return Ok(false);
                };
                // Templates know it by either name.
                for member in ["reasoning", "reasoning_content"] {
                    let value = json(name, Some(text))?;
                    self.of_messages
                        .entry(at)
                        .or_default()
                        .push((member, value));
                }
            }
        }
        Ok(true)
    }
}

fn boolean(name: &str, text: &str) -> Result<bool, Failure> {
    serde_json::from_str(text).map_err(|_| wrong(name, "a valid boolean"))
}

fn json(name: &str, text: Option<&str>) -> Result<Value, Failure> {
    match text {
        None => Ok(Value::from(())),
        Some(text) => serde_json::from_str(text).map_err(|_| wrong(name, "JSON")),
    }
}

fn wrong(name: &str, kind: &str) -> Failure {
    failure::invalid(format!("{name}: Input should be {kind}"), Some(name))
}

/// The texts of a message.
fn texts(message: &Message) -> Result<Vec<String>, Failure> {
    let text = |content: &Content| match content {
        Content::Text(Text::Inline(text)) => Ok(text.clone()),
        Content::Text(Text::Held(_)) => Err(failure::of(
            tollgate_sdk_compose::types::FailureKind::Internal,
            "a text that the host holds cannot be read here",
        )),
        Content::Part(_) => Err(failure::invalid(
            "messages: this model's worker takes texts only: a message has another part",
            Some("messages"),
        )),
    };
    message.content.iter().map(text).collect()
}

/// A message as a mapping, in the order in which clients write its members.
fn shown(
    message: &Message,
    texts: &[String],
    content: options::Content,
) -> Result<IndexMap<Value, Value>, Failure> {
    // What newer clients call the system's voice, templates know by the older name.
    let role = match message.role.as_str() {
        "developer" => "system",
        role => role,
    };
    let content = match content {
        options::Content::Text => Value::from(texts.join("\n")),
        options::Content::Parts => texts
            .iter()
            .map(|text| {
                let part = [
                    ("type", Value::from("text")),
                    ("text", Value::from(text.as_str())),
                ];
                mapping(part)
            })
            .collect(),
    };
    let mut shown = IndexMap::from([
        (Value::from("role"), Value::from(role)),
        (Value::from("content"), content),
    ]);
    let mut add = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            shown.insert(Value::from(name), value);
        }
    };
    add("name", message.name.as_deref().map(Value::from));
    add(
        "tool_calls",
        message.tool_calls.as_deref().map(tool_calls).transpose()?,
    );
    add(
        "tool_call_id",
        message.tool_call_id.as_deref().map(Value::from),
    );
    Ok(shown)
}

fn mapping<'a>(pairs: impl IntoIterator<Item = (&'a str, Value)>) -> Value {
    let pairs = pairs
        .into_iter()
        .map(|(name, value)| (Value::from(name), value));
    Value::from_object(pairs.collect::<IndexMap<Value, Value>>())
}

/// Calls of tools, their arguments opened.
fn tool_calls(text: &str) -> Result<Value, Failure> {
    const NAME: &str = "tool_calls";
    let calls = json(NAME, Some(text))?;
    let odd = |_| wrong("messages", "messages whose tool_calls are a list of calls");
    let opened = |call: Value| -> Result<Value, Failure> {
        let function = call.get_attr("function").map_err(odd)?;
        let arguments = function.get_attr("arguments").map_err(odd)?;
        let arguments = match arguments.as_str() {
            Some("") => Value::from_object(IndexMap::<Value, Value>::new()),
            Some(text) => serde_json::from_str(text)
                .map_err(|_| wrong("messages", "messages whose tool calls have JSON arguments"))?,
            None => arguments,
        };
        let function = replaced(&function, "arguments", arguments)?;
        replaced(&call, "function", function)
    };
    let calls = calls.try_iter().map_err(odd)?;
    calls
        .map(opened)
        .collect::<Result<Vec<Value>, Failure>>()
        .map(Value::from)
}

/// A mapping with another value for one name, in the same order.
fn replaced(mapping: &Value, name: &str, value: Value) -> Result<Value, Failure> {
    let odd = |_| wrong("messages", "messages whose tool_calls are objects");
    if mapping.kind() != ValueKind::Map {
        return Err(wrong("messages", "messages whose tool_calls are objects"));
    }
    let mut new = IndexMap::<Value, Value>::new();
    for key in mapping.try_iter().map_err(odd)? {
        let old = mapping.get_item(&key).map_err(odd)?;
        new.insert(key, old);
    }
    new.insert(Value::from(name), value);
    Ok(Value::from_object(new))
}
