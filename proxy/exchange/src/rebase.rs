//! Held values change tables when they cross from one guest to another.
//!
//! A frontend numbers its sources from 0, a backend numbers its own: when a call or an
//! event with held values crosses, each source that it names is entered in the other
//! table and the value is renumbered. Only bytes that the sender really had can be
//! entered, so a guest cannot name another request's.

use std::collections::HashMap;

use tollgate_plugin::{Misuse, Sources, inference, types};

/// Moves held values from one table to another.
pub(crate) struct Rebase<'a> {
    pub(crate) from: &'a Sources,
    pub(crate) to: &'a mut Sources,
    /// The next free number in `to`.
    pub(crate) next: &'a mut u32,
    pub(crate) moved: HashMap<u32, u32>,
}

impl Rebase<'_> {
    fn held(&mut self, held: &mut types::Held) -> Result<(), Misuse> {
        let old = held.at.source;
        let new = match self.moved.get(&old) {
            Some(new) => *new,
            None => {
                let source = self.from.get(old)?.clone();
                let new = *self.next;
                *self.next += 1;
                self.to.insert(new, source);
                self.moved.insert(old, new);
                new
            }
        };
        held.at.source = new;
        Ok(())
    }

    fn text(&mut self, text: &mut types::Text) -> Result<(), Misuse> {
        match text {
            types::Text::Inline(_) => Ok(()),
            types::Text::Held(held) => self.held(held),
        }
    }

    fn texts(&mut self, texts: &mut [types::Text]) -> Result<(), Misuse> {
        texts.iter_mut().try_for_each(|text| self.text(text))
    }

    fn prompts(&mut self, prompts: &mut [inference::Prompt]) -> Result<(), Misuse> {
        prompts.iter_mut().try_for_each(|prompt| match prompt {
            inference::Prompt::Text(text) => self.text(text),
            inference::Prompt::Tokens(_) => Ok(()),
        })
    }

    fn tensors(&mut self, tensors: &mut [inference::Tensor]) -> Result<(), Misuse> {
        tensors
            .iter_mut()
            .try_for_each(|tensor| match &mut tensor.data {
                inference::TensorData::Held(held) => self.held(held),
                inference::TensorData::Inline(_) | inference::TensorData::None => Ok(()),
            })
    }

    /// A call on its way to a backend.
    ///
    /// # Errors
    /// When it names a source that its frontend does not have.
    pub(crate) fn call(&mut self, call: &mut inference::Call) -> Result<(), Misuse> {
        use inference::Task;
        match &mut call.task {
            Task::Generate(it) => self.prompts(&mut it.prompts),
            Task::Chat(it) => it
                .messages
                .iter_mut()
                .flat_map(|message| &mut message.content)
                .try_for_each(|content| match content {
                    inference::Content::Text(text) => self.text(text),
                    inference::Content::Part(_) => Ok(()),
                }),
            Task::Embed(it) => self.prompts(&mut it.inputs),
            Task::Rerank(it) => {
                self.text(&mut it.query)?;
                it.documents
                    .iter_mut()
                    .try_for_each(|document| self.text(&mut document.text))
            }
            Task::Similarity(it) => {
                self.text(&mut it.source)?;
                self.texts(&mut it.sentences)
            }
            Task::Tokenize(it) => self.texts(&mut it.inputs),
            Task::Infer(it) => {
                self.tensors(&mut it.inputs)?;
                self.tensors(&mut it.outputs)
            }
            Task::Detokenize(_)
            | Task::ListModels
            | Task::ModelMetadata
            | Task::ModelReady
            | Task::ServerLive
            | Task::ServerReady
            | Task::ServerMetadata
            | Task::Other(_) => Ok(()),
        }
    }

    /// An event on its way to a frontend.
    ///
    /// # Errors
    /// When it names a source that its backend does not have.
    pub(crate) fn event(&mut self, event: &mut inference::Event) -> Result<(), Misuse> {
        use inference::Event;
        match event {
            Event::Embeddings(all) => all.iter_mut().try_for_each(|it| match &mut it.values {
                inference::Vector::Held(held) => self.held(held),
                inference::Vector::Floats(_) => Ok(()),
            }),
            Event::Tensors(it) => self.tensors(&mut it.outputs),
            Event::Detokenized(text) => self.text(text),
            Event::Models(all) => all.iter_mut().try_for_each(|it| {
                self.tensors(&mut it.inputs)?;
                self.tensors(&mut it.outputs)
            }),
            Event::Started(_)
            | Event::Delta(_)
            | Event::Finished(_)
            | Event::Scores(_)
            | Event::Tokenized(_)
            | Event::Metadata(_)
            | Event::Ready(_)
            | Event::Usage(_)
            | Event::End
            | Event::Failed(_)
            | Event::Other(_) => Ok(()),
        }
    }
}
