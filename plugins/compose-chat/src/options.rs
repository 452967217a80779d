//! The plugin's options: which template each model has. Templates are read once, when the plugin is
//! configured, so that one that cannot be read is known before anybody asks.

use std::collections::BTreeMap;

use minijinja::Value;
use serde::Deserialize;
use tollgate_sdk_compose::plugin::Problem;

use crate::template::{RESERVED, Template};

/// JSON Schema of [`Options`].
pub(crate) const SCHEMA: &str = r##"{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "title": "compose-chat",
  "type": "object",
  "additionalProperties": false,
  "properties": {
    "models": {
      "description": "By name, as clients or as workers know them. A model that is not here has no chat but its workers'.",
      "type": "object",
      "additionalProperties": { "$ref": "#/$defs/model" }
    },
    "fuel": {
      "description": "How much one conversation's template may do: about one for each step and each 64 bytes.",
      "type": "integer", "minimum": 1000, "maximum": 100000000, "default": 1000000
    }
  },
  "$defs": {
    "model": {
      "type": "object",
      "additionalProperties": false,
      "properties": {
        "tokenizer-config": {
          "description": "Text of the model's tokenizer_config.json: its chat template and special tokens. `{ file: PATH }` reads it.",
          "type": "string"
        },
        "template": {
          "description": "The chat template itself, before that of the tokenizer's configuration. `{ file: PATH }` reads it.",
          "type": "string"
        },
        "template-name": {
          "description": "Which of several named templates. Without it `tool_use` where there are tools and it exists, else `default`.",
          "type": "string"
        },
        "bos-token": { "description": "Before that of the tokenizer's configuration.", "type": "string" },
        "eos-token": { "description": "Before that of the tokenizer's configuration.", "type": "string" },
        "worker-adds-bos": {
          "description": "Whether the worker puts the token of a beginning before every prompt; then one that the template has written there is left out. Without it, what the tokenizer's configuration says, else true.",
          "type": "boolean"
        },
        "content": {
          "description": "Whether templates see a message's content as one text, or as a list of parts.",
          "enum": ["text", "parts"], "default": "text"
        },
        "tools": {
          "description": "refuse: a request with tools is refused. text: the template is shown them, and what the model says of them stays text.",
          "enum": ["refuse", "text"], "default": "refuse"
        },
        "stop": {
          "description": "What ends an answer beside the end of the sequence, such as the token that ends a turn. It is no part of the text.",
          "type": "array", "items": { "type": "string", "minLength": 1 }
        },
        "variables": {
          "description": "More variables for the template; a client's chat_template_kwargs come before them.",
          "type": "object"
        }
      }
    }
  }
}"##;

const MIN_FUEL: u64 = 1000;
const MAX_FUEL: u64 = 100_000_000;
const FUEL: u64 = 1_000_000;

/// The templates, by model.
pub(crate) struct Options {
    models: BTreeMap<String, Model>,
}

/// A model's templates, and how its worker is asked.
pub(crate) struct Model {
    /// By name; a single one is `default`.
    templates: BTreeMap<String, Template>,
    chosen: Option<String>,
    /// Written at the beginning of a prompt, it is left out: the worker adds it by itself.
    pub(crate) added: Option<String>,
    pub(crate) content: Content,
    pub(crate) tools: Tools,
    pub(crate) stop: Vec<String>,
    pub(crate) variables: BTreeMap<String, Value>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Content {
    #[default]
    Text,
    Parts,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Tools {
    #[default]
    Refuse,
    Text,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct Written {
    models: BTreeMap<String, WrittenModel>,
    fuel: u64,
}

impl Default for Written {
    fn default() -> Self {
        Self {
            models: BTreeMap::new(),
            fuel: FUEL,
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct WrittenModel {
    tokenizer_config: Option<String>,
    template: Option<String>,
    template_name: Option<String>,
    bos_token: Option<String>,
    eos_token: Option<String>,
    worker_adds_bos: Option<bool>,
    content: Content,
    tools: Tools,
    stop: Vec<String>,
    variables: BTreeMap<String, Value>,
}

/// What counts in a `tokenizer_config.json`.
#[derive(Default, Deserialize)]
#[serde(default)]
struct TokenizerConfig {
    chat_template: Option<Templates>,
    add_bos_token: Option<bool>,
    bos_token: Option<Token>,
    eos_token: Option<Token>,
    unk_token: Option<Token>,
    sep_token: Option<Token>,
    pad_token: Option<Token>,
    cls_token: Option<Token>,
    mask_token: Option<Token>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Templates {
    One(String),
    Named(Vec<Named>),
}

#[derive(Deserialize)]
struct Named {
    name: String,
    template: String,
}

/// A special token: its text, or an object that has it.
#[derive(Deserialize)]
#[serde(untagged)]
enum Token {
    Text(String),
    Object { content: String },
}

impl Token {
    fn text(self) -> String {
        match self {
            Self::Text(content) | Self::Object { content } => content,
        }
    }
}

// === impl Options ===

impl Options {
    /// Reads the options and all templates.
    ///
    /// # Errors
    /// Everything that is wrong, with its place.
    pub(crate) fn parse(options: &str) -> Result<Self, Vec<Problem>> {
        let text = if options.trim().is_empty() {
            "{}"
        } else {
            options
        };
        let written: Written =
            serde_json::from_str(text).map_err(|error| vec![problem("", error)])?;
        let mut problems = Vec::new();
        if !(MIN_FUEL..=MAX_FUEL).contains(&written.fuel) {
            let message = format!("must be from {MIN_FUEL} to {MAX_FUEL}");
            problems.push(problem("/fuel", message));
        }
        let mut models = BTreeMap::new();
        for (name, model) in written.models {
            // RFC 6901, section 3.
            let at = format!("/models/{}", name.replace('~', "~0").replace('/', "~1"));
            match Model::of(model, &at, written.fuel) {
                Ok(model) => drop(models.insert(name, model)),
                Err(more) => problems.push(more),
            }
        }
        if problems.is_empty() {
            Ok(Self { models })
        } else {
            Err(problems)
        }
    }

    /// A model by the first of these names that is known.
    pub(crate) fn model(&self, names: &[&str]) -> Option<&Model> {
        names.iter().find_map(|name| self.models.get(*name))
    }
}

fn problem(at: &str, message: impl ToString) -> Problem {
    Problem {
        at: at.to_owned(),
        message: message.to_string(),
    }
}

// === impl Model ===

impl Model {
    fn of(written: WrittenModel, at: &str, fuel: u64) -> Result<Self, Problem> {
        let config: TokenizerConfig = match &written.tokenizer_config {
            None => TokenizerConfig::default(),
            Some(text) => serde_json::from_str(text)
                .map_err(|error| problem(&format!("{at}/tokenizer-config"), error))?,
        };
        if let Some(name) = written
            .variables
            .keys()
            .find(|name| RESERVED.contains(&name.as_str()))
        {
            let message = format!("{name} is not for the configuration to say");
            return Err(problem(&format!("{at}/variables/{name}"), message));
        }
        if written.stop.iter().any(String::is_empty) {
            return Err(problem(&format!("{at}/stop"), "must not be empty"));
        }
        let (place, sources) = match (written.template, config.chat_template) {
            (Some(one), _) => ("template", vec![("default".to_owned(), one)]),
            (None, Some(Templates::One(one))) => {
                ("tokenizer-config", vec![("default".to_owned(), one)])
            }
            (None, Some(Templates::Named(all))) => (
                "tokenizer-config",
                all.into_iter().map(|it| (it.name, it.template)).collect(),
            ),
            (None, None) => {
                let message = "no chat template: give `template`, or a `tokenizer-config` that has \
                    a `chat_template`";
                return Err(problem(at, message));
            }
        };
        let bos = written
            .bos_token
            .or_else(|| config.bos_token.map(Token::text));
        let eos = written
            .eos_token
            .or_else(|| config.eos_token.map(Token::text));
        let tokens: Vec<(&str, Option<String>)> = vec![
            ("bos_token", bos.clone()),
            ("eos_token", eos),
            ("unk_token", config.unk_token.map(Token::text)),
            ("sep_token", config.sep_token.map(Token::text)),
            ("pad_token", config.pad_token.map(Token::text)),
            ("cls_token", config.cls_token.map(Token::text)),
            ("mask_token", config.mask_token.map(Token::text)),
        ];
        let mut templates = BTreeMap::new();
        for (name, source) in sources {
            let template = Template::new(&source, &tokens, fuel).map_err(|error| {
                problem(
                    &format!("{at}/{place}"),
                    format!("template {name}: {error}"),
                )
            })?;
            templates.insert(name, template);
        }
        let name = written.template_name.as_deref();
        let found = match name {
            Some(name) => templates.contains_key(name),
            None => templates.contains_key("default"),
        };
        if !found {
            let names: Vec<&str> = templates.keys().map(String::as_str).collect();
            let message = format!(
                "no template {}; there are {}",
                name.unwrap_or("default"),
                names.join(", ")
            );
            return Err(problem(&format!("{at}/template-name"), message));
        }
        let adds = written.worker_adds_bos.or(config.add_bos_token);
        Ok(Self {
            templates,
            chosen: written.template_name,
            added: bos.filter(|bos| adds.unwrap_or(true) && !bos.is_empty()),
            content: written.content,
            tools: written.tools,
            stop: written.stop,
            variables: written.variables,
        })
    }

    /// The template for a conversation.
    pub(crate) fn template(&self, with_tools: bool) -> Option<&Template> {
        let name = match &self.chosen {
            Some(name) => name.as_str(),
            None if with_tools && self.templates.contains_key("tool_use") => "tool_use",
            None => "default",
        };
        self.templates.get(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(options: &str) -> Vec<(String, String)> {
        match Options::parse(options) {
            Ok(_) => panic!("{options} was accepted"),
            Err(problems) => problems.into_iter().map(|it| (it.at, it.message)).collect(),
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        for (options, at, words) in [
            (
                r#"{"models": {"a/b": {}}}"#,
                "/models/a~1b",
                "no chat template",
            ),
            (
                r#"{"models": {"m": {"template": "{% if"}}}"#,
                "/models/m/template",
                "template default",
            ),
            (
                r#"{"models": {"m": {"tokenizer-config": "x"}}}"#,
                "/models/m/tokenizer-config",
                "expected",
            ),
            (
                r#"{"models": {"m": {"template": "x", "template-name": "y"}}}"#,
                "/models/m/template-name",
                "there are default",
            ),
            (
                r#"{"models": {"m": {"template": "x", "variables": {"messages": 1}}}}"#,
                "/models/m/variables/messages",
                "not for the configuration",
            ),
            (r#"{"fuel": 1}"#, "/fuel", "1000"),
            (r#"{"model": {}}"#, "", "unknown field"),
            (
                r#"{"models": {"m": {"template": "x", "stop": [""]}}}"#,
                "/models/m/stop",
                "empty",
            ),
        ] {
            let problems = problems(options);
            assert_eq!(problems.len(), 1, "{problems:?}");
            assert_eq!(problems[0].0, at);
            assert!(problems[0].1.contains(words), "{problems:?}");
        }
    }

    #[test]
    fn a_tokenizer_configuration_names_templates_and_tokens() {
        let config = serde_json::json!({
            "add_bos_token": true,
            "bos_token": {"content": "<s>", "lstrip": false},
            "eos_token": "</s>",
            "pad_token": null,
            "added_tokens_decoder": {"0": {}},
            "chat_template": [
                {"name": "default", "template": "d{{ bos_token }}"},
                {"name": "tool_use", "template": "t{{ eos_token }}"},
            ],
        });
        let options = serde_json::json!({"models": {
            "m": {"tokenizer-config": config.to_string()},
            "n": {"tokenizer-config": config.to_string(), "bos-token": "^", "worker-adds-bos": false},
            "o": {"tokenizer-config": config.to_string(), "template-name": "tool_use"},
        }});
        let options = Options::parse(&options.to_string()).unwrap_or_else(|it| panic!("{it:?}"));
        let rendered = |model: &str, tools: bool| {
            let model = options.model(&["x", model]).unwrap();
            let template = model.template(tools).unwrap();
            template.render(Vec::new(), 0).unwrap()
        };
        assert_eq!(
            (rendered("m", false), rendered("m", true)),
            ("d<s>".into(), "t</s>".into())
        );
        assert_eq!(
            (rendered("n", false), rendered("o", false)),
            ("d^".into(), "t</s>".into())
        );
        let added = |model: &str| options.model(&[model]).unwrap().added.clone();
        assert_eq!((added("m").as_deref(), added("n")), (Some("<s>"), None));
        assert!(options.model(&["x"]).is_none());
    }
}
