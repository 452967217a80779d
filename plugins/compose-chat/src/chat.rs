//! One composed chat:
//!
//! 1. the first step writes the prompt and asks for what follows it;
//! 2. what the worker says goes on as it comes, so that a stream stays one;
//! 3. a stop sequence that the operator added counts as the end of the sequence.

use std::sync::Arc;

use tollgate_sdk_compose::{
    Composition,
    composition::{Action, SubCall, SubEvent},
    failure,
    inference::{self, Call, Event, FinishReason, Generate, Prompt, Task},
    types::{Context, Failure, Text},
};

use crate::{
    conversation::Conversation,
    options::{Model, Options, Tools},
};

/// The only sub-call's number.
const GENERATE: u32 = 0;
/// The context's extension that has the model's name among the workers.
const MODEL: &str = "model";

/// See the module.
pub(crate) struct Chat {
    options: Arc<Options>,
    context: Context,
    state: State,
}

enum State {
    Begun(Box<Call>),
    /// With the stop sequences that are not the client's.
    Answering(Vec<String>),
    Over,
}

impl Chat {
    pub(crate) fn new(options: Arc<Options>, context: Context, call: Call) -> Self {
        Self {
            options,
            context,
            state: State::Begun(Box::new(call)),
        }
    }

    /// The call to generate, and the stop sequences that were added to it.
    fn ask(&self, mut call: Call) -> Result<(Call, Vec<String>), Failure> {
        let task = std::mem::replace(&mut call.task, Task::ListModels);
        let known = self.context.extensions.iter().find(|it| it.name == MODEL);
        let known = known.and_then(|it| std::str::from_utf8(&it.payload).ok());
        let model = self
            .options
            .model(&[&call.model, known.unwrap_or_default()])
            .ok_or_else(|| without_template(&call.model))?;
        let Task::Chat(mut chat) = task else {
            return Err(failure::unsupported("only chat is composed here"));
        };
        let with_tools = tools(&chat, model)?;
        if chat.settings.detail.echo {
            return Err(failure::invalid(
                "echo is not supported where chat is made of generation",
                Some("echo"),
            ));
        }
        let added = stops(&mut chat, model)?;
        let mut conversation = Conversation::of(&mut chat, model.content)?;
        let continued = conversation.continued.take();
        let template = model
            .template(with_tools)
            .ok_or_else(|| without_template(&call.model))?;
        let variables = conversation.variables(&model.variables);
        let mut prompt = template
            .render(variables, self.context.unix_time)
            .map_err(|error| failure::invalid(error.to_string(), Some("messages")))?;
        if let Some(text) = continued {
            cut_after(&mut prompt, &text)?;
        }
        if let Some(bos) = &model.added
            && prompt.starts_with(bos)
        {
            prompt.drain(..bos.len());
        }
        let task = Task::Generate(Generate {
            prompts: vec![Prompt::Text(Text::Inline(prompt))],
            settings: chat.settings,
        });
        Ok((Call { task, ..call }, added))
    }
}

fn without_template(model: &str) -> Failure {
    failure::unsupported(format!(
        "chat template not configured: the workers of the model `{model}` generate text and do not \
         chat; give `models.{model}.template` or `models.{model}.tokenizer-config` to the plugin \
         that makes chat of generation"
    ))
}

/// Whether the template is shown tools.
fn tools(chat: &inference::Chat, model: &Model) -> Result<bool, Failure> {
    let choice = chat.tool_choice.as_deref().map(str::trim);
    let forced = !matches!(choice, None | Some("\"none\"" | "\"auto\"" | "null"));
    let given = chat.tools.is_some();
    if forced || (given && model.tools == Tools::Refuse) {
        let name = if forced { "tool_choice" } else { "tools" };
        let message = format!("{name}: calls of tools cannot be read from this model's answers");
        return Err(failure::invalid(message, Some(name)));
    }
    Ok(given)
}

/// Adds the operator's stop sequences; gives those that the client has not.
fn stops(chat: &mut inference::Chat, model: &Model) -> Result<Vec<String>, Failure> {
    let stopping = &mut chat.settings.stopping;
    if stopping.include_stop && !model.stop.is_empty() {
        return Err(failure::invalid(
            "include_stop_str_in_output: answers of this model are ended by a stop sequence of \
             their own, which is no part of the text",
            Some("include_stop_str_in_output"),
        ));
    }
    let asked = &stopping.stop_sequences;
    let added: Vec<String> = model
        .stop
        .iter()
        .filter(|stop| !asked.contains(stop))
        .cloned()
        .collect();
    stopping.stop_sequences.extend(added.iter().cloned());
    Ok(added)
}

/// Ends a prompt behind its last message's text, as transformers does for
/// `continue_final_message`: templates may have stripped the text of white space at its end.
fn cut_after(prompt: &mut String, text: &str) -> Result<(), Failure> {
    let stripped = text.trim();
    let Some(at) = prompt.rfind(stripped).filter(|_| !stripped.is_empty()) else {
        return Err(failure::invalid(
            "continue_final_message is set but the final message does not appear in the chat after \
             applying the chat template",
            Some("continue_final_message"),
        ));
    };
    let whole = text.trim_start();
    let len = if prompt[at..].starts_with(whole) {
        whole.len()
    } else {
        stripped.len()
    };
    prompt.truncate(at + len);
    Ok(())
}

impl Composition for Chat {
    fn step(&mut self, events: Vec<SubEvent>) -> Vec<Action> {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Begun(call) => match self.ask(*call) {
                Ok((call, added)) => {
                    self.state = State::Answering(added);
                    vec![Action::Call(SubCall { id: GENERATE, call })]
                }
                Err(failure) => vec![Action::Events(vec![Event::Failed(failure)])],
            },
            State::Answering(added) => {
                let mut told = Vec::with_capacity(events.len());
                let mut over = false;
                for SubEvent { mut event, .. } in events {
                    if let Event::Finished(end) = &mut event
                        && end.reason == FinishReason::StopSequence
                        && end
                            .stop_sequence
                            .as_ref()
                            .is_some_and(|stop| added.contains(stop))
                    {
                        end.reason = FinishReason::EndOfSequence;
                        end.stop_sequence = None;
                    }
                    over = matches!(event, Event::End | Event::Failed(_));
                    told.push(event);
                    if over {
                        break;
                    }
                }
                if !over {
                    self.state = State::Answering(added);
                }
                if told.is_empty() {
                    Vec::new()
                } else {
                    vec![Action::Events(told)]
                }
            }
            State::Over => Vec::new(),
        }
    }
}
