//! The options of a worker: which server it is, and in what it differs from it.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Map;

use super::{Embed, Generate, Offered, Options, Server, V1Worker, name, object, server, word};

/// How streams of inferences are asked of a worker over gRPC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Streams {
    /// Not at all: one answer is all there is.
    None,
    /// By `ModelStreamInfer`, whose answers are `ModelStreamInferResponse`.
    Wrapped,
    /// By `ModelStreamInfer`, whose answers are `ModelInferResponse` (MLServer).
    Bare,
}

/// How a worker tells which models it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Index {
    /// It does not: the configured ones are asked for, one by one.
    None,
    /// By the repository's index.
    Repository,
    /// By `GET /v2/models` (KServe, REST only).
    Models,
    /// By `GET /v1/config` (OVMS, REST only).
    Config,
}

/// By which header a worker is told the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ModelHeader {
    /// By none: its name in the path or message is enough.
    None,
    /// `mm-vmodel-id`: the name of an InferenceService.
    MmVmodelId,
    /// `mm-model-id`: a concrete model.
    MmModelId,
}

/// What the configuration says of one worker.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Target {
    /// Read by the host; it is in the worker's dialect.
    #[serde(default, rename = "dialect")]
    pub _dialect: String,
    pub server: Server,
    pub binary: bool,
    pub wide_parameters: bool,
    pub versions: bool,
    pub streams: Streams,
    pub index: Index,
    pub health: bool,
    pub base64_bytes: bool,
    pub model_header: ModelHeader,
    /// Path of a page of metrics on the same port.
    #[serde(default)]
    pub metrics: Option<String>,
    /// What its models make of texts.
    #[serde(default)]
    pub generate: Option<Generate>,
    #[serde(default)]
    pub embed: Option<Embed>,
    /// The same of single models, by the names that the worker knows: what is said here of one is
    /// all that is said of it.
    #[serde(default)]
    pub models: BTreeMap<String, Offered>,
    /// Its models take a batch in the first dimension of every tensor, so that calls of one row each
    /// may go together.
    #[serde(default)]
    pub merge: bool,
    /// What its models are, for a worker of the protocol's first version.
    #[serde(default)]
    pub v1: V1Worker,
}

impl Target {
    /// As one of the servers has them.
    pub fn of(server: Server) -> Self {
        let usual = Self {
            _dialect: String::new(),
            server,
            binary: true,
            wide_parameters: false,
            versions: true,
            streams: Streams::None,
            index: Index::None,
            health: true,
            base64_bytes: false,
            model_header: ModelHeader::None,
            metrics: None,
            generate: None,
            embed: None,
            models: BTreeMap::new(),
            merge: false,
            v1: V1Worker::default(),
        };
        match server {
            Server::Triton => Self {
                wide_parameters: true,
                streams: Streams::Wrapped,
                index: Index::Repository,
                ..usual
            },
            Server::Ovms => Self {
                streams: Streams::Wrapped,
                index: Index::Config,
                metrics: Some("/metrics".to_owned()),
                ..usual
            },
            Server::Mlserver => Self {
                binary: false,
                streams: Streams::Bare,
                index: Index::Repository,
                ..usual
            },
            Server::KservePython => Self {
                versions: false,
                index: Index::Models,
                ..usual
            },
            Server::Modelmesh => Self {
                binary: false,
                health: false,
                base64_bytes: true,
                ..usual
            },
        }
    }

    /// Reads a worker's options; the plugin's server is the worker's unless it says.
    ///
    /// # Errors
    /// Says what is wrong with them.
    pub fn parse(json: &str, plugin: &Options) -> Result<Self, String> {
        let given = object(json)?;
        let preset = Self::of(server(&given)?.unwrap_or(plugin.server));
        let mut all = Map::from_iter([
            ("server".to_owned(), name(preset.server)),
            ("binary".to_owned(), preset.binary.into()),
            ("wide-parameters".to_owned(), preset.wide_parameters.into()),
            ("versions".to_owned(), preset.versions.into()),
            ("streams".to_owned(), word(preset.streams)),
            ("index".to_owned(), word(preset.index)),
            ("health".to_owned(), preset.health.into()),
            ("base64-bytes".to_owned(), preset.base64_bytes.into()),
            ("model-header".to_owned(), word(preset.model_header)),
            ("metrics".to_owned(), preset.metrics.into()),
        ]);
        all.extend(given);
        let target: Self = serde_json::from_value(all.into())
            .map_err(|error| format!("the worker's options: {error}"))?;
        let own = target.generate.iter().map(Generate::check);
        let own = own.chain(target.embed.iter().map(Embed::check));
        let own = own.chain(std::iter::once(target.v1.check()));
        own.chain(target.models.values().map(Offered::check))
            .collect::<Result<(), String>>()
            .map_err(|what| format!("the worker's options: {what}"))?;
        Ok(target)
    }

    /// The same worker as one of the protocol's first version, which has less to ask: no health but
    /// that of models, no calls of several callers in one, versions in TensorFlow Serving only.
    #[must_use]
    pub fn of_v1(self) -> Self {
        Self {
            versions: self.v1.versions,
            health: false,
            index: match self.server {
                Server::KservePython => Index::Models,
                _ => Index::None,
            },
            merge: false,
            generate: None,
            embed: None,
            models: BTreeMap::new(),
            ..self
        }
    }

    /// How a model makes texts of texts; none: it is not said to.
    pub fn generate_of(&self, model: &str) -> Option<&Generate> {
        match self.models.get(model) {
            Some(own) => own.generate.as_ref(),
            None => self.generate.as_ref(),
        }
    }

    /// How a model makes vectors of texts; none: it is not said to.
    pub fn embed_of(&self, model: &str) -> Option<&Embed> {
        match self.models.get(model) {
            Some(own) => own.embed.as_ref(),
            None => self.embed.as_ref(),
        }
    }
}
