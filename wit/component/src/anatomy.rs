//! What a component is made of: what it asks for and gives, its memories, who made it.

use wasmparser::{Chunk, Parser, Payload};

use crate::{Unreadable, contract};

/// Bytes of a page of linear memory.
const PAGE: u64 = 65_536;

/// Modules and memories that are looked at; a component that has more is no plugin.
const PARTS: usize = 4_096;

/// A linear memory as it is declared, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// What it begins with.
    pub minimum: u64,
    /// What it may grow to; none: as far as its limits let it.
    pub maximum: Option<u64>,
}

/// What a component is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anatomy {
    /// Interfaces that it imports, in order of name.
    pub imports: Vec<String>,
    /// Interfaces that it exports, in order of name.
    pub exports: Vec<String>,
    /// The memories of its modules.
    pub memories: Vec<Memory>,
    /// Modules in it.
    pub modules: usize,
    /// Names of its custom sections, of all its parts, each once.
    pub sections: Vec<String>,
}

impl Anatomy {
    /// Looks into a component, without running or compiling it.
    ///
    /// # Errors
    /// When it is no component.
    pub fn of(component: &[u8]) -> Result<Self, Unreadable> {
        let (imports, exports) = contract::surface(component)?;
        let mut anatomy = Self {
            imports: imports.into_iter().collect(),
            exports: exports.into_iter().collect(),
            memories: Vec::new(),
            modules: 0,
            sections: Vec::new(),
        };
        anatomy.take(component).map_err(Unreadable)?;
        anatomy.sections.sort();
        anatomy.sections.dedup();
        Ok(anatomy)
    }

    fn take(&mut self, mut rest: &[u8]) -> Result<(), String> {
        let text = |error: wasmparser::BinaryReaderError| error.to_string();
        let mut parser = Parser::new(0);
        let mut around = Vec::new();
        loop {
            let (used, payload) = match parser.parse(rest, true).map_err(text)? {
                Chunk::Parsed { consumed, payload } => (consumed, payload),
                Chunk::NeedMoreData(_) => return Err("it is cut short".into()),
            };
            match payload {
                Payload::ModuleSection { parser: inner, .. } => {
                    self.modules += 1;
                    around.push(std::mem::replace(&mut parser, inner));
                }
                Payload::ComponentSection { parser: inner, .. } => {
                    around.push(std::mem::replace(&mut parser, inner));
                }
                Payload::MemorySection(memories) => {
                    for memory in memories {
                        let memory = memory.map_err(text)?;
                        let bytes = |pages: u64| pages.saturating_mul(PAGE);
                        self.memories.push(Memory {
                            minimum: bytes(memory.initial),
                            maximum: memory.maximum.map(bytes),
                        });
                    }
                }
                Payload::CustomSection(section) => self.sections.push(section.name().to_owned()),
                Payload::End(_) => match around.pop() {
                    Some(outer) => parser = outer,
                    None => return Ok(()),
                },
                _ => {}
            }
            if self.memories.len() + self.modules + self.sections.len() > PARTS {
                return Err(format!("it has more than {PARTS} parts"));
            }
            rest = &rest[used..];
        }
    }
}
