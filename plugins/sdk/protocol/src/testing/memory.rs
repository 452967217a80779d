//! Host-held bytes in memory.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::convert;
use crate::{
    Bytes, body,
    types::{Encoding, Held, Need, Segment, SourceId, Span},
};

#[derive(Clone, Debug, Default)]
struct Source {
    /// All of it, also what the guest is not yet shown.
    content: Vec<u8>,
    available: usize,
    released: usize,
    end: bool,
}

/// Sources by number. What has not been shown cannot be read, and reading what was
/// released panics, as the host traps.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    sources: BTreeMap<SourceId, Source>,
}

impl Memory {
    /// Adds a source that has arrived whole.
    #[must_use]
    pub fn with(mut self, source: SourceId, content: impl Into<Vec<u8>>) -> Self {
        self.add(source, content);
        let end = self.len(source);
        self.show(source, end, true);
        self
    }

    /// Adds a source of which nothing has arrived.
    pub fn add(&mut self, source: SourceId, content: impl Into<Vec<u8>>) {
        self.sources.insert(
            source,
            Source {
                content: content.into(),
                ..Source::default()
            },
        );
    }

    /// Length of all of a source.
    #[must_use]
    pub fn len(&self, source: SourceId) -> usize {
        self.source(source).content.len()
    }

    /// Lets a source get so far.
    pub fn show(&mut self, source: SourceId, available: usize, end: bool) {
        let source = self.sources.get_mut(&source).expect("a known source");
        assert!(available <= source.content.len());
        source.available = available;
        source.end = end;
    }

    /// Progress as the contract tells it, with the total known when the source has ended.
    #[must_use]
    pub fn progress(&self, source: SourceId) -> crate::types::Progress {
        let held = self.source(source);
        crate::types::Progress {
            source,
            available: held.available as u64,
            total: held.end.then_some(held.available as u64),
            end: held.end,
        }
    }

    /// Carries out a `need`, or its absence, for a source that progressed.
    pub fn release(&mut self, source: SourceId, need: Option<&Need>) {
        let held = self.sources.get_mut(&source).expect("a known source");
        let from = need.map_or(held.available as u64, |need| need.keep_from) as usize;
        held.released = held.released.max(from.min(held.available));
    }

    /// What segments are when written out, spans of bytes yet to come included.
    ///
    /// # Panics
    /// When a span does not fit its source or a conversion fails.
    #[must_use]
    pub fn render(&self, segments: &[Segment]) -> Vec<u8> {
        let mut out = Vec::new();
        for segment in segments {
            match segment {
                Segment::Inline(bytes) => out.extend_from_slice(bytes),
                Segment::Span(span) => out.extend_from_slice(self.range(span)),
                Segment::Convert(conversion) => {
                    let raw = self.range(&conversion.value.at);
                    let written = &conversion.value.written;
                    out.extend(
                        convert(raw, written, &conversion.to).expect("a conversion that works"),
                    );
                }
            }
        }
        out
    }

    /// The bytes of a span, arrived or not.
    ///
    /// # Panics
    /// When the span does not fit its source.
    #[must_use]
    pub fn range(&self, span: &Span) -> &[u8] {
        &self.source(span.source).content[span.offset as usize..(span.offset + span.len) as usize]
    }

    fn source(&self, source: SourceId) -> &Source {
        self.sources
            .get(&source)
            .unwrap_or_else(|| panic!("source {source} was not given"))
    }
}

impl Bytes for Memory {
    fn available(&self, source: SourceId) -> (u64, bool) {
        let held = self.source(source);
        (held.available as u64, held.end)
    }

    fn read(&self, source: SourceId, offset: u64, len: u32) -> Vec<u8> {
        let held = self.source(source);
        assert!(
            offset as usize >= held.released,
            "bytes of source {source} were released"
        );
        let from = (offset as usize).min(held.available);
        let to = (offset as usize)
            .saturating_add(len as usize)
            .min(held.available);
        held.content[from..to].to_vec()
    }

    fn json_members(
        &self,
        source: SourceId,
        offset: u64,
        len: u64,
        keys: &[String],
    ) -> Result<Vec<body::Member>, body::JsonProblem> {
        let all = self.json_object(source, offset, len)?;
        let of_keys = all.into_iter().filter_map(|member| {
            let key = keys.iter().position(|wanted| *wanted == member.name)?;
            Some(body::Member {
                key: key as u32,
                offset: member.offset,
                len: member.len,
            })
        });
        Ok(of_keys.collect())
    }

    fn json_object(
        &self,
        source: SourceId,
        offset: u64,
        len: u64,
    ) -> Result<Vec<body::Named>, body::JsonProblem> {
        let text = self.read(source, offset, u32::try_from(len).expect("a small body"));
        let start = text.as_ptr() as u64;
        let problem = |at: usize, message: String| body::JsonProblem {
            offset: offset + at as u64,
            message,
        };
        let text = std::str::from_utf8(&text)
            .map_err(|error| problem(error.valid_up_to(), "invalid UTF-8".to_owned()))?;
        let mut json = serde_json::Deserializer::from_str(text);
        let mut found = Vec::new();
        (&mut json)
            .deserialize_map(Members(&mut found))
            .and_then(|()| json.end())
            .map_err(|error| {
                let line_start = text
                    .split_inclusive('\n')
                    .take(error.line().saturating_sub(1))
                    .map(str::len)
                    .sum::<usize>();
                problem(
                    line_start + error.column().saturating_sub(1),
                    error.to_string(),
                )
            })?;
        for member in &mut found {
            member.offset = offset + (member.offset - start);
        }
        Ok(found)
    }

    fn converted_len(&self, value: &Held, to: &Encoding) -> Result<u64, String> {
        let raw = self.read_all(value.at.source, value.at.offset, value.at.len);
        if raw.len() as u64 != value.at.len {
            return Err("the bytes have not arrived".to_owned());
        }
        Ok(convert(&raw, &value.written, to)?.len() as u64)
    }
}

/// Collects the members, with addresses for offsets.
struct Members<'a>(&'a mut Vec<body::Named>);

impl<'de> Visitor<'de> for Members<'_> {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key_seed(Key)? {
            let value: &'de RawValue = map.next_value()?;
            let text = value.get();
            self.0.push(body::Named {
                name: key.into_owned(),
                offset: text.as_ptr() as u64,
                len: text.len() as u64,
            });
        }
        Ok(())
    }
}

/// A key, borrowed where it has no escapes.
struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Key {
    type Value = Cow<'de, str>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a key")
    }

    fn visit_borrowed_str<E: de::Error>(self, key: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(key))
    }

    fn visit_str<E: de::Error>(self, key: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(key.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(text: &str, keys: &[&str]) -> Result<Vec<(u32, String)>, body::JsonProblem> {
        let keys: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
        let memory = Memory::default().with(0, format!("??{text}"));
        let found = memory.json_members(0, 2, text.len() as u64, &keys)?;
        Ok(found
            .iter()
            .map(|member| {
                let raw = memory.read_all(0, member.offset, member.len);
                (member.key, String::from_utf8(raw).unwrap())
            })
            .collect())
    }

    #[test]
    fn members_lie_where_they_are_said_to_lie() {
        let text = r#" {"a": [1, {"b":2}], "\u0062" : "x\"y" , "c":null, "a":1} "#;
        let found = members(text, &["b", "a"]).unwrap();
        assert_eq!(
            found,
            [
                (1, r#"[1, {"b":2}]"#.to_owned()),
                (0, r#""x\"y""#.to_owned()),
                (1, "1".to_owned())
            ]
        );
    }

    #[test]
    fn what_is_no_object_is_a_problem_with_a_place() {
        assert!(members("[1]", &["a"]).is_err());
        assert!(members("{} x", &["a"]).is_err());
        assert_eq!(members("{\"a\":\n 01}", &["a"]).unwrap_err().offset, 10);
    }

    #[test]
    #[should_panic(expected = "released")]
    fn released_bytes_cannot_be_read() {
        let mut memory = Memory::default().with(3, "abc");
        memory.release(3, None);
        let _ = memory.read(3, 0, 1);
    }
}
