//! The cores linked natively: no sandbox, and no copies between two memories.

use std::collections::HashMap;

use tollgate_plugin_caikit::Caikit;
use tollgate_plugin_kserve::Kserve;
use tollgate_plugin_openai::OpenAi;
use tollgate_plugin_tgis::Tgis;
use tollgate_sdk_protocol::{Backend, Bytes, Frontend, Protocol as _, body, inference, plugin};
use tollgate_wire::{convert, json, source::Source};

pub(crate) use tollgate_sdk_protocol::{backend, frontend, types};

#[path = "drive.rs"]
pub mod drive;

/// A configured plugin.
pub struct Plugin {
    core: Core,
    claims: Vec<plugin::Claim>,
}

enum Core {
    Openai(OpenAi),
    Tgis(Tgis),
    Caikit(Caikit),
    Kserve(Kserve),
}

impl Plugin {
    /// All of them, with no options, as [`PLUGINS`](crate::script::PLUGINS) counts them.
    ///
    /// # Panics
    /// When one refuses that.
    #[must_use]
    pub fn all() -> [Self; 4] {
        let (openai, first) = OpenAi::configure("").expect("defaults");
        let (tgis, second) = Tgis::configure("").expect("defaults");
        let (caikit, third) = Caikit::configure("").expect("defaults");
        let (kserve, fourth) = Kserve::configure("").expect("defaults");
        [
            (Core::Openai(openai), first),
            (Core::Tgis(tgis), second),
            (Core::Caikit(caikit), third),
            (Core::Kserve(kserve), fourth),
        ]
        .map(|(core, claims)| Self { core, claims })
    }

    /// The number of the claim for a path.
    pub(crate) fn claim(&self, path: &str) -> u32 {
        let is = |claim: &plugin::Claim| match &claim.surface {
            plugin::Surface::Rest(rest) => rest.method == "POST" && rest.path == path,
            plugin::Surface::Grpc(grpc) => path
                .strip_prefix('/')
                .and_then(|path| path.split_once('/'))
                .is_some_and(|(service, method)| grpc.service == service && grpc.method == method),
        };
        let at = self.claims.iter().position(is);
        at.expect("the path is claimed") as u32
    }

    pub(crate) fn exchange(
        &self,
        _: u64,
        context: &types::Context,
        head: frontend::RequestHead,
    ) -> Exchange {
        Exchange(match &self.core {
            Core::Openai(core) => core.exchange(context.clone(), head),
            Core::Tgis(core) => core.exchange(context.clone(), head),
            Core::Caikit(core) => core.exchange(context.clone(), head),
            Core::Kserve(core) => core.exchange(context.clone(), head),
        })
    }

    pub(crate) fn attempt(
        &self,
        _: u64,
        context: &types::Context,
        worker: &backend::Worker,
        members: Vec<inference::Call>,
        _: &mut Table,
    ) -> Attempt {
        let (context, worker) = (context.clone(), worker.clone());
        Attempt(match &self.core {
            Core::Openai(core) => core.attempt(context, worker, members),
            Core::Tgis(core) => core.attempt(context, worker, members),
            Core::Caikit(core) => core.attempt(context, worker, members),
            Core::Kserve(core) => core.attempt(context, worker, members),
        })
    }
}

pub(crate) struct Exchange(Box<dyn Frontend>);

impl Exchange {
    pub(crate) fn step(
        &mut self,
        table: &mut Table,
        inputs: Vec<frontend::Input>,
        _: u64,
    ) -> Vec<frontend::Action> {
        self.0.step(table, inputs)
    }
}

pub(crate) struct Attempt(Box<dyn Backend>);

impl Attempt {
    pub(crate) fn step(
        &mut self,
        table: &mut Table,
        inputs: Vec<backend::Input>,
        _: u64,
    ) -> Vec<backend::Action> {
        self.0.step(table, inputs)
    }
}

/// Sources by number, with the proxy's own host functions over them.
#[derive(Default)]
pub(crate) struct Table(HashMap<u32, Source>);

impl Table {
    pub(crate) fn insert(&mut self, id: u32, source: Source) {
        self.0.insert(id, source);
    }

    pub(crate) fn remove(&mut self, id: u32) {
        self.0.remove(&id);
    }

    fn bytes(&self, id: u32, offset: u64, len: u64) -> bytes::Bytes {
        let source = &self.0[&id];
        source.read(offset, len).expect("nothing released is read")
    }
}

impl Bytes for Table {
    fn available(&self, source: u32) -> (u64, bool) {
        let progress = self.0[&source].progress();
        (progress.available, progress.end)
    }

    fn read(&self, source: u32, offset: u64, len: u32) -> Vec<u8> {
        self.bytes(source, offset, u64::from(len)).to_vec()
    }

    fn json_members(
        &self,
        source: u32,
        offset: u64,
        len: u64,
        keys: &[String],
    ) -> Result<Vec<body::Member>, body::JsonProblem> {
        let found = json::members(&self.bytes(source, offset, len), keys);
        let members = found.map(|found| {
            let member = |member: json::Member| body::Member {
                key: member.key as u32,
                offset: offset + member.offset,
                len: member.len,
            };
            found.into_iter().map(member).collect()
        });
        members.map_err(|problem| placed(offset, problem))
    }

    fn json_object(
        &self,
        source: u32,
        offset: u64,
        len: u64,
    ) -> Result<Vec<body::Named>, body::JsonProblem> {
        let found = json::object(&self.bytes(source, offset, len));
        let members = found.map(|found| {
            let member = |member: json::Named| body::Named {
                name: member.name,
                offset: offset + member.offset,
                len: member.len,
            };
            found.into_iter().map(member).collect()
        });
        members.map_err(|problem| placed(offset, problem))
    }

    fn converted_len(&self, value: &types::Held, to: &types::Encoding) -> Result<u64, String> {
        let (from, into) = (encoding(&value.written)?, encoding(to)?);
        if from == into {
            return Ok(value.at.len);
        }
        let bytes = self.bytes(value.at.source, value.at.offset, value.at.len);
        let converted = convert::convert(&bytes, &from, &into, tollgate_plugin::CONVERTED);
        let converted = converted.map_err(|problem| problem.to_string())?;
        Ok(converted.len() as u64)
    }
}

/// A problem in a text that begins at `offset` of its source. As the proxy places it, for
/// types of the other side.
fn placed(offset: u64, problem: json::JsonProblem) -> body::JsonProblem {
    body::JsonProblem {
        offset: offset + problem.offset,
        message: problem.message,
    }
}

/// Encodings of texts; nothing else is held in what is measured.
fn encoding(encoding: &types::Encoding) -> Result<convert::Encoding, String> {
    match encoding {
        types::Encoding::Plain => Ok(convert::Encoding::Plain),
        types::Encoding::JsonString => Ok(convert::Encoding::JsonString),
        types::Encoding::Base64 => Ok(convert::Encoding::Base64),
        other => Err(format!("{other:?} is no encoding of a text")),
    }
}
