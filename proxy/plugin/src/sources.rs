//! The numbered bytes that one exchange or attempt may name.

use std::collections::HashMap;

use bytes::Bytes;
use tollgate_wire::{convert, source::Source, tensor::Datatype as WireDatatype};

use crate::bindings::protocol::tollgate::plugin::types::{Datatype, Encoding, Held};

/// A guest named bytes that it does not have. Always a trap.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misuse {
    /// No such source in this exchange.
    #[error("source {0} was not given to this exchange")]
    NoSuchSource(u32),
    /// The range begins before what was released.
    #[error("bytes at {offset} were released")]
    Released {
        /// Where it begins.
        offset: u64,
    },
    /// A bound on a call's arguments.
    #[error("too many {0} in one call")]
    TooMany(&'static str),
    /// An encoding or datatype that the host does not know.
    #[error("unknown encoding {0:?}")]
    UnknownEncoding(String),
}

/// Largest result of one conversion, in bytes.
pub const CONVERTED: usize = 256 << 20;

/// Conversions kept for the output that follows them, at most.
const KEPT: usize = 256;

/// The sources of one exchange or attempt, by number.
#[derive(Debug, Default)]
pub struct Sources {
    table: HashMap<u32, Source>,
    converted: HashMap<(u32, u64, u64, String), Bytes>,
}

impl Sources {
    /// Gives a source a number. A number that was taken before is replaced.
    pub fn insert(&mut self, id: u32, source: Source) {
        self.table.insert(id, source);
    }

    /// Takes a source away.
    pub fn remove(&mut self, id: u32) {
        self.table.remove(&id);
        self.converted.retain(|key, _| key.0 != id);
    }

    /// Keeps the sources for which this holds.
    pub fn retain(&mut self, keep: impl Fn(u32) -> bool) {
        self.table.retain(|id, _| keep(*id));
        self.converted.retain(|key, _| keep(key.0));
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// A source by number.
    ///
    /// # Errors
    /// When the exchange was not given it.
    pub fn get(&self, id: u32) -> Result<&Source, Misuse> {
        self.table.get(&id).ok_or(Misuse::NoSuchSource(id))
    }

    /// A range of a source, as much of it as has arrived.
    ///
    /// # Errors
    /// When the exchange was not given it, or has released it.
    pub(crate) fn read(&self, id: u32, offset: u64, len: u64) -> Result<Bytes, Misuse> {
        let source = self.get(id)?;
        source
            .read(offset, len)
            .map_err(|_| Misuse::Released { offset })
    }

    /// The same sources under the same numbers, for whom a guest has named them.
    #[must_use]
    pub fn snapshot(&self) -> Self {
        Self {
            table: self.table.clone(),
            converted: HashMap::new(),
        }
    }

    /// Bytes of one source that have arrived and were not let go: what a guest that is told of
    /// them can be busy with. 0 for one that is not there.
    #[must_use]
    pub fn held(&self, id: u32) -> u64 {
        self.get(id).map_or(0, |source| {
            let progress = source.progress();
            progress.available - progress.released
        })
    }

    /// Bytes that have arrived in all of them together, released ones included.
    #[must_use]
    pub fn arrived(&self) -> u64 {
        let sources = self.table.values();
        sources.map(|source| source.progress().available).sum()
    }

    /// Numbers in use, in no order.
    pub fn ids(&self) -> impl Iterator<Item = u32> + '_ {
        self.table.keys().copied()
    }

    pub(crate) fn converted_len(
        &mut self,
        value: &Held,
        to: &Encoding,
    ) -> Result<Result<u64, String>, Misuse> {
        self.get(value.at.source)?;
        let from = encoding(&value.written)?;
        let into = encoding(to)?;
        if from == into {
            return Ok(Ok(value.at.len));
        }
        let bytes = self.read(value.at.source, value.at.offset, value.at.len)?;
        if bytes.len() as u64 != value.at.len {
            return Ok(Err("the bytes have not arrived".into()));
        }
        match convert::convert(&bytes, &from, &into, CONVERTED) {
            Ok(converted) => {
                let len = converted.len() as u64;
                if self.converted.len() < KEPT {
                    self.converted.insert(key(value, &into), converted);
                }
                Ok(Ok(len))
            }
            Err(problem) => Ok(Err(problem.to_string())),
        }
    }

    /// A conversion that `converted-len` has done already.
    pub fn take_converted(&mut self, value: &Held, to: &convert::Encoding) -> Option<Bytes> {
        if self.converted.is_empty() {
            return None;
        }
        self.converted.remove(&key(value, to))
    }
}

fn key(value: &Held, to: &convert::Encoding) -> (u32, u64, u64, String) {
    (
        value.at.source,
        value.at.offset,
        value.at.len,
        format!("{:?}>{to:?}", value.written),
    )
}

/// The host's own name for an encoding.
///
/// # Errors
/// For `other` and for datatypes that the host does not know.
pub fn encoding(encoding: &Encoding) -> Result<convert::Encoding, Misuse> {
    Ok(match encoding {
        Encoding::Plain => convert::Encoding::Plain,
        Encoding::JsonString => convert::Encoding::JsonString,
        Encoding::Base64 => convert::Encoding::Base64,
        Encoding::JsonArray(of) => convert::Encoding::JsonArray(datatype(of)?),
        Encoding::Tensor(of) => convert::Encoding::Tensor(datatype(of)?),
        Encoding::Packed(of) => convert::Encoding::Packed(datatype(of)?),
        Encoding::Other(name) => return Err(Misuse::UnknownEncoding(name.clone())),
    })
}

fn datatype(datatype: &Datatype) -> Result<WireDatatype, Misuse> {
    Ok(match datatype {
        Datatype::Boolean => WireDatatype::Boolean,
        Datatype::Uint8 => WireDatatype::Uint8,
        Datatype::Uint16 => WireDatatype::Uint16,
        Datatype::Uint32 => WireDatatype::Uint32,
        Datatype::Uint64 => WireDatatype::Uint64,
        Datatype::Int8 => WireDatatype::Int8,
        Datatype::Int16 => WireDatatype::Int16,
        Datatype::Int32 => WireDatatype::Int32,
        Datatype::Int64 => WireDatatype::Int64,
        Datatype::Fp16 => WireDatatype::Fp16,
        Datatype::Fp32 => WireDatatype::Fp32,
        Datatype::Fp64 => WireDatatype::Fp64,
        Datatype::Bf16 => WireDatatype::Bf16,
        Datatype::Bytes => WireDatatype::Bytes,
        Datatype::Other(name) => return Err(Misuse::UnknownEncoding(name.clone())),
    })
}
