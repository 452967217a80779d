//! Vectors of texts, by a model that takes texts and gives vectors as tensors. Which tensors
//! those are its worker's options say.
//!
//! 1. All texts go in one request, as one tensor of BYTES; only the vectors are asked for, and
//!    the counts of tokens where the options name them.
//! 2. The answer is gathered, and each row of `[texts, numbers]` is a vector. Singles stay where
//!    they lie; doubles and halves become singles.

use tollgate_sdk_protocol::{
    Bytes,
    backend::Request,
    failure,
    inference::{Call, Embed as Content, Embedding, Event, Prompt, Task, Tensor, Usage},
    text,
    types::{Failure, Header, Need, Progress, Text},
};

use super::{Job, Link, elements, tensors, unreadable};
use crate::options::Embed as Names;

/// The job of vectors.
pub struct Embed {
    link: Link,
    call: Call,
    names: Names,
    /// The inference that is made of it.
    inner: Option<Box<dyn Job>>,
}

/// The job for vectors, if this worker can do it.
pub fn job(link: Link, call: Call) -> Result<Box<dyn Job>, Failure> {
    let Some(names) = link.target.embed_of(&call.model).cloned() else {
        return Err(super::unsupported(
            "this worker's models are not said to make vectors of texts (its option `embed`)",
        ));
    };
    if let Task::Embed(content) = &call.task {
        check(content)?;
    }
    Ok(Box::new(Embed {
        link,
        call,
        names,
        inner: None,
    }))
}

/// Refuses what a tensor of texts cannot say.
fn check(content: &Content) -> Result<(), Failure> {
    let refused = |name: &str| {
        let message = format!("{name} is not supported by this worker");
        Err(failure::invalid(message, Some(name)))
    };
    if let Some(extra) = content.extras.first() {
        return refused(&extra.name);
    }
    if content.truncate.is_some() {
        return refused("truncate_prompt_tokens");
    }
    let tokens = |input: &Prompt| matches!(input, Prompt::Tokens(_));
    if content.inputs.iter().any(tokens) {
        let message = "this worker takes texts, not tokens";
        return Err(failure::invalid(message, Some("input")));
    }
    Ok(())
}

fn texts(content: &Content) -> impl Iterator<Item = &Text> {
    content.inputs.iter().filter_map(|input| match input {
        Prompt::Text(text) => Some(text),
        Prompt::Tokens(_) => None,
    })
}

impl Embed {
    fn content(&self) -> Result<&Content, Failure> {
        match &self.call.task {
            Task::Embed(content) => Ok(content),
            _ => Err(super::unsupported("no vectors")),
        }
    }

    fn tell(
        &self,
        bytes: &dyn Bytes,
        outputs: &[Tensor],
        said: &mut Vec<Event>,
    ) -> Result<(), Failure> {
        let content = self.content()?;
        let find = |name: &str| {
            let mut found = outputs.iter().filter(|output| output.name == name);
            found
                .next()
                .ok_or_else(|| unreadable(format!("an answer without `{name}`")))
        };
        let output = find(&self.names.output)?;
        let vectors = elements::vectors(bytes, output, content.inputs.len())?;
        // Two dimensions there are, or else there were no vectors.
        let length = output.shape.last().copied().unwrap_or_default();
        if content
            .dimensions
            .is_some_and(|wanted| i64::from(wanted) != length)
        {
            let message = format!("this model's vectors have {length} dimensions, and no others");
            return Err(failure::invalid(message, Some("dimensions")));
        }
        let embeddings = (0..).zip(vectors);
        let embeddings = embeddings.map(|(item, values)| Embedding { item, values });
        said.push(Event::Embeddings(embeddings.collect()));
        if let Some(name) = &self.names.tokens {
            let counts = elements::counts(bytes, find(name)?)?;
            said.push(Event::Usage(Usage {
                input_tokens: counts.into_iter().try_fold(0, u64::checked_add),
                output_tokens: None,
                cached_tokens: None,
                extensions: Vec::new(),
            }));
        }
        Ok(())
    }
}

impl Job for Embed {
    fn request(&mut self, bytes: &dyn Bytes) -> Result<Request, Failure> {
        let content = self.content()?;
        let texts: Vec<String> = texts(content)
            .map(|text| text::resolve(bytes, text))
            .collect::<Result<_, _>>()
            .map_err(|what| failure::invalid(what, None))?;
        let names = &self.names;
        let input = tensors::of_texts(
            &names.input,
            &texts,
            names.batch,
            names.content_type.as_deref(),
        )?;
        let outputs = std::iter::once(&names.output).chain(&names.tokens);
        let outputs = outputs.map(|name| tensors::wanted(name)).collect();
        let inner = tensors::job(&self.link, &self.call, vec![input], outputs, Vec::new());
        self.inner.insert(inner).request(bytes)
    }

    fn head(&mut self, headers: &[Header]) -> Result<(), Failure> {
        self.inner
            .as_mut()
            .map_or(Ok(()), |inner| inner.head(headers))
    }

    fn read(
        &mut self,
        bytes: &dyn Bytes,
        progress: &Progress,
        said: &mut Vec<Event>,
    ) -> Result<Option<Need>, Failure> {
        let Some(inner) = &mut self.inner else {
            return Ok(None);
        };
        match tensors::whole(inner.as_mut(), bytes, progress)? {
            tensors::Whole::Need(need) => return Ok(Some(need)),
            tensors::Whole::Nothing => {}
            tensors::Whole::Outputs(outputs) => self.tell(bytes, &outputs, said)?,
        }
        Ok(None)
    }

    fn complete(&mut self, _: &mut Vec<Event>) -> Result<bool, Failure> {
        let inner = self.inner.as_mut();
        inner.map_or(Ok(false), |inner| inner.complete(&mut Vec::new()))
    }
}
