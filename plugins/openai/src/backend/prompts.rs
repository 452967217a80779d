//! Prompts and messages as JSON output, long texts as the host's ranges.

use tollgate_sdk_protocol::{
    inference::{Content, Message, Prompt},
    text::{json_string, quoted},
    types::{Failure, Segment},
};

use super::generation::unable;

/// Output that is being put together: texts are joined as far as they can be.
#[derive(Default)]
pub struct Writer {
    segments: Vec<Segment>,
    text: Vec<u8>,
}

impl Writer {
    /// Adds bytes.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.text.extend_from_slice(bytes);
    }

    /// Adds a segment.
    pub fn segment(&mut self, segment: Segment) {
        match segment {
            Segment::Inline(bytes) => self.raw(&bytes),
            other => {
                self.flush();
                self.segments.push(other);
            }
        }
    }

    fn flush(&mut self) {
        if !self.text.is_empty() {
            self.segments
                .push(Segment::Inline(std::mem::take(&mut self.text)));
        }
    }

    /// All of it.
    pub fn finish(mut self) -> Vec<Segment> {
        self.flush();
        self.segments
    }

    /// A list, its elements written one by one.
    pub fn list<T>(
        &mut self,
        items: impl IntoIterator<Item = T>,
        mut write: impl FnMut(&mut Self, T),
    ) {
        self.raw(b"[");
        for (at, item) in items.into_iter().enumerate() {
            if at > 0 {
                self.raw(b",");
            }
            write(self, item);
        }
        self.raw(b"]");
    }

    fn prompt(&mut self, prompt: &Prompt) {
        match prompt {
            Prompt::Text(text) => self.segment(json_string(text)),
            Prompt::Tokens(tokens) => {
                self.list(tokens, |out, token| out.raw(token.to_string().as_bytes()));
            }
        }
    }

    /// One prompt, or a list of prompts of one kind.
    ///
    /// # Errors
    /// When texts and tokens are mixed: the API has no form for that.
    pub fn prompts(&mut self, prompts: &[&Prompt]) -> Result<(), Failure> {
        if let [prompt] = prompts {
            self.prompt(prompt);
            return Ok(());
        }
        let texts = prompts
            .iter()
            .filter(|prompt| matches!(prompt, Prompt::Text(_)))
            .count();
        if texts != 0 && texts != prompts.len() {
            return Err(unable("texts and tokens in one request"));
        }
        self.list(prompts, |out, prompt| out.prompt(prompt));
        Ok(())
    }

    /// A conversation.
    pub fn messages(&mut self, messages: &[Message]) {
        self.list(messages, |out, message| {
            out.raw(b"{\"role\":");
            out.raw(&quoted(&message.role));
            out.raw(b",\"content\":");
            out.content(&message.content);
            if let Some(name) = &message.name {
                out.raw(b",\"name\":");
                out.raw(&quoted(name));
            }
            if let Some(calls) = &message.tool_calls {
                out.raw(b",\"tool_calls\":");
                out.raw(calls.as_bytes());
            }
            if let Some(id) = &message.tool_call_id {
                out.raw(b",\"tool_call_id\":");
                out.raw(&quoted(id));
            }
            out.raw(b"}");
        });
    }

    fn content(&mut self, content: &[Content]) {
        match content {
            [] => self.raw(b"null"),
            [Content::Text(text)] => self.segment(json_string(text)),
            parts => self.list(parts, |out, part| match part {
                Content::Text(text) => {
                    out.raw(b"{\"type\":\"text\",\"text\":");
                    out.segment(json_string(text));
                    out.raw(b"}");
                }
                Content::Part(json) => out.raw(json.as_bytes()),
            }),
        }
    }
}
