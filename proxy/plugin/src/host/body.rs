//! Interface `body`: host-held bytes of the exchange or attempt being stepped.
//!
//! A source that it was not given, and a range that was released, are traps: the
//! guest's picture of its own bytes is wrong, and nothing it says next can be trusted.

use tollgate_wire::json;

use super::Guest;
use crate::{
    bindings::protocol::tollgate::plugin::{body, types},
    sources::Misuse,
};

/// Most keys of one `json-members` call.
const KEYS: usize = 256;

impl body::Host for Guest {
    fn available(&mut self, source: types::SourceId) -> wasmtime::Result<(u64, bool)> {
        let progress = self.sources.get(source)?.progress();
        Ok((progress.available, progress.end))
    }

    fn read(
        &mut self,
        source: types::SourceId,
        offset: u64,
        len: u32,
    ) -> wasmtime::Result<Vec<u8>> {
        let bytes = self.sources.read(source, offset, len.into())?;
        self.meter.read(bytes.len());
        Ok(bytes.to_vec())
    }

    fn json_members(
        &mut self,
        source: types::SourceId,
        offset: u64,
        len: u64,
        keys: Vec<String>,
    ) -> wasmtime::Result<Result<Vec<body::Member>, body::JsonProblem>> {
        if keys.len() > KEYS {
            return Err(Misuse::TooMany("keys").into());
        }
        let bytes = self.sources.read(source, offset, len)?;
        let found = json::members(&bytes, &keys).map(|found| {
            let member = |member: json::Member| body::Member {
                key: u32::try_from(member.key).unwrap_or(u32::MAX),
                offset: offset + member.offset,
                len: member.len,
            };
            found.into_iter().map(member).collect()
        });
        Ok(found.map_err(|problem| placed(offset, problem)))
    }

    fn json_object(
        &mut self,
        source: types::SourceId,
        offset: u64,
        len: u64,
    ) -> wasmtime::Result<Result<Vec<body::Named>, body::JsonProblem>> {
        let bytes = self.sources.read(source, offset, len)?;
        let found = json::object(&bytes).map(|found| {
            let member = |member: json::Named| body::Named {
                name: member.name,
                offset: offset + member.offset,
                len: member.len,
            };
            found.into_iter().map(member).collect()
        });
        Ok(found.map_err(|problem| placed(offset, problem)))
    }

    fn converted_len(
        &mut self,
        value: types::Held,
        to: types::Encoding,
    ) -> wasmtime::Result<Result<u64, String>> {
        Ok(self.sources.converted_len(&value, &to)?)
    }
}

/// A problem in a text that begins at `offset` of its source.
fn placed(offset: u64, problem: json::JsonProblem) -> body::JsonProblem {
    body::JsonProblem {
        offset: offset + problem.offset,
        message: problem.message,
    }
}
