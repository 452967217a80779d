//! Which tensors are texts: of a worker's models, for tasks that are made of inferences, and of
//! models that clients ask for by their tensors, for inferences that are made of tasks.

use serde::Deserialize;

/// Optional inputs of Triton's vLLM backend (triton-inference-server/vllm_backend, src/model.py).
const VLLM: [&str; 6] = [
    "stream",
    "sampling_parameters",
    "exclude_input_in_output",
    "return_finish_reason",
    "return_num_input_tokens",
    "return_num_output_tokens",
];

/// How a worker is asked for a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Over {
    /// By `generate_stream` or `ModelStreamInfer`, which models that answer in pieces need.
    #[default]
    Stream,
    /// By `infer` or `ModelInfer`: one answer is all there is.
    Infer,
}

/// How a worker's models make texts of texts.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Generate {
    /// The tensor with the prompt.
    pub text_input: String,
    /// The tensor with the text.
    pub text_output: String,
    /// Optional inputs that the models have, of those of Triton's vLLM backend; absent: all of
    /// them over a stream, and none over an inference. Without `sampling_parameters` those go as
    /// parameters of the request.
    pub inputs: Option<Vec<String>>,
    pub over: Over,
    /// Tensors have a dimension for batches before their own: a text is `[1,1]`, not `[1]`.
    pub batch: bool,
    /// Said of the text's tensor by the parameter `content_type`, which MLServer reads.
    pub content_type: Option<String>,
    /// A caller who wants a stream of a worker that has none gets the whole text as its one
    /// piece.
    pub wrap_streams: bool,
}

impl Default for Generate {
    fn default() -> Self {
        Self {
            text_input: "text_input".to_owned(),
            text_output: "text_output".to_owned(),
            inputs: None,
            over: Over::default(),
            batch: false,
            content_type: None,
            wrap_streams: false,
        }
    }
}

impl Generate {
    /// Whether the models have this optional input.
    pub fn has(&self, input: &str) -> bool {
        match &self.inputs {
            Some(own) => own.iter().any(|name| name == input),
            None => self.over == Over::Stream && VLLM.contains(&input),
        }
    }

    /// What cannot be of these names.
    ///
    /// # Errors
    /// Says what.
    pub fn check(&self) -> Result<(), String> {
        named("generate", [&self.text_input, &self.text_output])?;
        if self.wrap_streams && self.over == Over::Stream {
            return Err("`wrap-streams` is for models that are asked `over: infer`".to_owned());
        }
        Ok(())
    }
}

/// How a worker's models make vectors of texts.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Embed {
    /// The tensor with the texts.
    pub input: String,
    /// The tensor with the vectors, `[texts, numbers]`.
    pub output: String,
    /// An output with each text's length in tokens, where there is one.
    #[serde(default)]
    pub tokens: Option<String>,
    /// Texts are `[texts,1]`, not `[texts]`.
    #[serde(default)]
    pub batch: bool,
    /// As [`Generate::content_type`].
    #[serde(default)]
    pub content_type: Option<String>,
}

impl Embed {
    /// What cannot be of these names.
    ///
    /// # Errors
    /// Says what.
    pub fn check(&self) -> Result<(), String> {
        let tokens = self.tokens.as_ref().unwrap_or(&self.input);
        named("embed", [&self.input, &self.output, tokens])
    }
}

/// What one model of a worker makes of texts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Offered {
    pub generate: Option<Generate>,
    pub embed: Option<Embed>,
}

impl Offered {
    /// What cannot be of these names.
    ///
    /// # Errors
    /// Says what.
    pub fn check(&self) -> Result<(), String> {
        self.generate.as_ref().map_or(Ok(()), Generate::check)?;
        self.embed.as_ref().map_or(Ok(()), Embed::check)
    }
}

/// The tensors by which clients know a model that makes texts of texts.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct ToText {
    /// The tensor with prompts.
    pub text_input: String,
    /// The tensor with texts.
    pub text_output: String,
    /// Tensors have a dimension for batches before their own.
    pub batch: bool,
    /// A text stands behind its prompt, where the request does not say.
    pub echo: bool,
}

impl Default for ToText {
    fn default() -> Self {
        Self {
            text_input: "text_input".to_owned(),
            text_output: "text_output".to_owned(),
            batch: false,
            echo: false,
        }
    }
}

/// The tensors by which clients know a model that makes vectors of texts.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ToVectors {
    /// The tensor with texts.
    pub input: String,
    /// The tensor with their vectors.
    pub output: String,
    /// Texts are `[texts,1]`, not `[texts]`.
    #[serde(default)]
    pub batch: bool,
    /// Numbers of a vector, for its metadata.
    #[serde(default)]
    pub dimensions: Option<u32>,
}

/// What clients ask of a model by its tensors.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Texts {
    Generate(ToText),
    Embed(ToVectors),
}

impl Texts {
    /// What cannot be of these names.
    ///
    /// # Errors
    /// Says what.
    pub fn check(&self) -> Result<(), String> {
        match self {
            Self::Generate(to) => {
                named("generate", [&to.text_input, &to.text_output])?;
                match VLLM.contains(&to.text_input.as_str()) {
                    true => Err(format!("`{}` is another input's name", to.text_input)),
                    false => Ok(()),
                }
            }
            Self::Embed(to) => named("embed", [&to.input, &to.output]),
        }
    }
}

fn named<'a>(what: &str, names: impl IntoIterator<Item = &'a String>) -> Result<(), String> {
    match names.into_iter().any(String::is_empty) {
        true => Err(format!("`{what}` has a tensor without a name")),
        false => Ok(()),
    }
}
