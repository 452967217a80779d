//! Files by name, and where each symbol and extension is defined.
//!
//! A file enters whole or not at all: it is decoded, compared with one of the same name,
//! and its symbols are collected and held against those of the files before it. The bytes
//! that clients get are those that came, since decoding loses custom options.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use bytes::Bytes;
use prost::Message;
use prost_types::FileDescriptorProto;

use crate::{messages::FileSet, symbols::Symbols};

/// The descriptor sets do not go together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// Not a `FileDescriptorSet`, or a file in it without a name.
    #[error("a descriptor set is malformed: {problem}")]
    Malformed {
        /// What is wrong.
        problem: String,
    },
    /// Two different files have one name.
    #[error("{file} comes in two versions that differ in {}", symbol.as_deref().unwrap_or("syntax, imports or options"))]
    File {
        /// The name of both.
        file: String,
        /// The first definition of the file's top level that only one has, or that differs.
        symbol: Option<String>,
    },
    /// Two files define one symbol.
    #[error("{symbol} is defined in {first} and in {second}")]
    Symbol {
        /// Its full name.
        symbol: String,
        /// The file that was there.
        first: String,
        /// The file that came.
        second: String,
    },
    /// Two files extend a message by one number.
    #[error("extension {number} of {extendee} is defined in {first} and in {second}")]
    Extension {
        /// The extended message's full name.
        extendee: String,
        /// The number.
        number: i32,
        /// The file that was there.
        first: String,
        /// The file that came.
        second: String,
    },
}

#[derive(Debug)]
struct File {
    /// As it came.
    bytes: Bytes,
    /// Without comments and positions, for comparison and for its imports.
    parsed: FileDescriptorProto,
}

/// Descriptors that go together.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    files: BTreeMap<String, File>,
    /// From full name to the name of a file.
    symbols: HashMap<String, String>,
    messages: BTreeSet<String>,
    /// From extended message and number to the name of a file.
    extensions: BTreeMap<(String, i32), String>,
    /// Sorted.
    services: Vec<String>,
}

impl Pool {
    /// Adds a serialized `FileDescriptorSet`.
    pub(crate) fn add_set(&mut self, set: &[u8]) -> Result<(), Conflict> {
        for bytes in FileSet::decode(set).map_err(malformed)?.file {
            let parsed = FileDescriptorProto::decode(bytes.clone()).map_err(malformed)?;
            self.add(bytes, parsed)?;
        }
        Ok(())
    }

    /// Adds a file made here.
    pub(crate) fn add_own(&mut self, file: FileDescriptorProto) -> Result<(), Conflict> {
        self.add(file.encode_to_vec().into(), file)
    }

    fn add(&mut self, bytes: Bytes, mut parsed: FileDescriptorProto) -> Result<(), Conflict> {
        parsed.source_code_info = None;
        let name = match parsed.name.clone() {
            Some(name) if !name.is_empty() => name,
            _ => return Err(malformed("a file has no name")),
        };
        if let Some(there) = self.files.get(&name) {
            return if there.parsed == parsed {
                Ok(())
            } else {
                let symbol = crate::symbols::difference(&there.parsed, &parsed);
                Err(Conflict::File { file: name, symbol })
            };
        }

        let new = Symbols::of(&parsed);
        let mut fresh = HashMap::with_capacity(new.names.len());
        for symbol in new.names {
            let first = self.symbols.get(&symbol).cloned();
            if let Some(first) = first.or_else(|| fresh.insert(symbol.clone(), name.clone())) {
                let second = name;
                return Err(Conflict::Symbol {
                    symbol,
                    first,
                    second,
                });
            }
        }
        let mut extensions = BTreeMap::new();
        for (extendee, number) in new.extensions {
            let key = (extendee, number);
            let first = self.extensions.get(&key).cloned();
            if let Some(first) = first.or_else(|| extensions.insert(key.clone(), name.clone())) {
                return Err(Conflict::Extension {
                    extendee: key.0,
                    number,
                    first,
                    second: name,
                });
            }
        }

        self.symbols.extend(fresh);
        self.messages.extend(new.messages);
        self.extensions.extend(extensions);
        self.services.extend(new.services);
        self.services.sort_unstable();
        self.files.insert(name, File { bytes, parsed });
        Ok(())
    }

    /// Whether a service of this file is defined already, in whatever file.
    pub(crate) fn defines_service_of(&self, file: &FileDescriptorProto) -> bool {
        let services = Symbols::of(file).services;
        services.iter().any(|name| self.symbols.contains_key(name))
    }

    pub(crate) fn services(&self) -> &[String] {
        &self.services
    }

    /// The name of a file, if it is there.
    pub(crate) fn file(&self, name: &str) -> Option<&str> {
        self.files
            .get_key_value(name)
            .map(|(name, _)| name.as_str())
    }

    /// The file that defines a symbol.
    pub(crate) fn file_of_symbol(&self, symbol: &str) -> Option<&str> {
        self.symbols.get(symbol).map(String::as_str)
    }

    /// The file that extends a message by a number.
    pub(crate) fn file_of_extension(&self, extendee: &str, number: i32) -> Option<&str> {
        let key = (extendee.to_owned(), number);
        self.extensions.get(&key).map(String::as_str)
    }

    /// Numbers by which a message is extended, ascending. None: there is no such message.
    pub(crate) fn extension_numbers(&self, extendee: &str) -> Option<Vec<i32>> {
        let all = (extendee.to_owned(), i32::MIN)..=(extendee.to_owned(), i32::MAX);
        let numbers: Vec<i32> = self.extensions.range(all).map(|(key, _)| key.1).collect();
        // A message whose own file is missing is known by its extensions.
        (self.messages.contains(extendee) || !numbers.is_empty()).then_some(numbers)
    }

    /// A file and what it imports, directly or not: itself first, then breadth first, each
    /// once. An import that no set brought is left out; the client may ask for it, and is
    /// told that it is not there.
    pub(crate) fn with_dependencies(&self, name: &str) -> Vec<Bytes> {
        let mut seen = BTreeSet::from([name]);
        let mut waiting = VecDeque::from([name]);
        let mut files = Vec::new();
        while let Some(file) = waiting.pop_front().map(|name| self.files.get(name)) {
            let Some(file) = file else { continue };
            files.push(file.bytes.clone());
            for import in &file.parsed.dependency {
                if seen.insert(import) {
                    waiting.push_back(import);
                }
            }
        }
        files
    }
}

fn malformed(problem: impl ToString) -> Conflict {
    let problem = problem.to_string();
    Conflict::Malformed { problem }
}
