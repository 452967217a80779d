//! How much events and calls hold themselves, in bytes: what queues are bounded by, and what says
//! whether a guest that is given them has much to do.
//!
//! Held values weigh nothing here: they lie in sources, which have bounds of their own.

use tollgate_plugin::{inference, types::Text};

/// About how many bytes a call holds itself: texts that a composition wrote, vectors of tokens,
/// tensors.
pub(crate) fn of_call(call: &inference::Call) -> usize {
    use inference::{Content, Prompt, Task, TensorData};
    let text = |text: &Text| match text {
        Text::Inline(text) => text.len(),
        Text::Held(_) => 0,
    };
    let prompt = |prompt: &Prompt| match prompt {
        Prompt::Text(it) => text(it),
        Prompt::Tokens(ids) => ids.len() * 4,
    };
    match &call.task {
        Task::Generate(it) => it.prompts.iter().map(prompt).sum(),
        Task::Chat(it) => it
            .messages
            .iter()
            .flat_map(|message| &message.content)
            .map(|content| match content {
                Content::Text(it) => text(it),
                Content::Part(json) => json.len(),
            })
            .sum(),
        Task::Embed(it) => it.inputs.iter().map(prompt).sum(),
        Task::Rerank(it) => {
            let documents = it.documents.iter().map(|document| {
                text(&document.text) + document.original.as_ref().map_or(0, String::len)
            });
            text(&it.query) + documents.sum::<usize>()
        }
        Task::Similarity(it) => text(&it.source) + it.sentences.iter().map(text).sum::<usize>(),
        Task::Tokenize(it) => it.inputs.iter().map(text).sum(),
        Task::Detokenize(it) => it.tokens.len() * 4,
        Task::Infer(it) => it
            .inputs
            .iter()
            .map(|tensor| match &tensor.data {
                TensorData::Inline(bytes) => bytes.len(),
                TensorData::Held(_) | TensorData::None => 64,
            })
            .sum(),
        Task::Other(it) => it.payload.len(),
        _ => 0,
    }
}

/// About how many bytes an event keeps in memory. Held values weigh nothing here: they
/// lie in sources, which have bounds of their own.
pub(crate) fn of_event(event: &inference::Event) -> usize {
    use inference::Event;
    let tokens = |tokens: &[inference::Token]| -> usize {
        tokens
            .iter()
            .map(|token| 64 + token.text.len() + token.top.len() * 32)
            .sum()
    };
    64 + match event {
        Event::Started(it) => tokens(&it.tokens) + it.echo.as_ref().map_or(0, String::len),
        Event::Delta(it) => {
            it.text.len()
                + tokens(&it.tokens)
                + it.extras
                    .iter()
                    .map(|it| it.name.len() + it.json.len())
                    .sum::<usize>()
        }
        Event::Embeddings(all) => all
            .iter()
            .map(|it| match &it.values {
                inference::Vector::Floats(floats) => floats.len() * 4,
                inference::Vector::Held(_) => 32,
            })
            .sum(),
        Event::Tensors(it) => it
            .outputs
            .iter()
            .map(|tensor| match &tensor.data {
                inference::TensorData::Inline(bytes) => bytes.len() + 64,
                _ => 64,
            })
            .sum(),
        Event::Tokenized(all) => all
            .iter()
            .map(|it| {
                it.ids.len() * 4
                    + it.offsets.len() * 8
                    + it.texts.iter().map(|text| text.len() + 24).sum::<usize>()
            })
            .sum(),
        Event::Other(it) => it.payload.len(),
        _ => 0,
    }
}
