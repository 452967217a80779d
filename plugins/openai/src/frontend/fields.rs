//! The members of a JSON request body: found by the host, read here only when needed.

use std::borrow::Cow;

use serde::de::DeserializeOwned;
use serde_json::Value;
use tollgate_sdk_protocol::{
    Bytes, body, cost, failure,
    types::{Failure, SourceId},
};

use super::bounded::LARGEST;

/// Bodies up to this length are read at once when they are taken apart.
pub const SMALL: u64 = 32 * 1024;
/// Bodies up to this length are read at once before a worker is found: a call of the host for
/// each member costs more than bytes that nobody looks at.
pub const TINY: u64 = 4 * 1024;

/// Where the members of a body lie.
#[derive(Debug)]
pub struct Fields {
    source: SourceId,
    found: Vec<body::Named>,
    /// The whole body, when it is small.
    body: Option<Vec<u8>>,
}

impl Fields {
    /// Finds the members.
    ///
    /// # Errors
    /// When the body is not a JSON object.
    pub fn find(bytes: &dyn Bytes, source: SourceId, len: u64) -> Result<Self, Failure> {
        let found = bytes.json_object(source, 0, len).map_err(|problem| {
            let message = format!(
                "JSON decode error at byte {}: {}",
                problem.offset, problem.message
            );
            failure::invalid(message, None)
        })?;
        Ok(Self {
            source,
            found,
            body: None,
        })
    }

    /// Of a body that is no object.
    pub fn none() -> Self {
        Self {
            source: 0,
            found: Vec::new(),
            body: None,
        }
    }

    /// Forgets all members but these: what a server does not know it ignores.
    pub fn only(&mut self, names: &[&str]) {
        self.found
            .retain(|member| names.iter().any(|name| member.name == *name));
    }

    /// Reads a body of at most `most` bytes at once: cheaper than member by member.
    pub fn load(&mut self, bytes: &dyn Bytes, len: u64, most: u64) {
        if len <= most && self.body.is_none() {
            self.body = Some(bytes.read_all(self.source, 0, len));
        }
    }

    /// The whole body, if it was read at once.
    pub fn body(&self) -> Option<&[u8]> {
        self.body.as_deref()
    }

    /// The first of these names that stands more than once.
    pub fn repeated(&self, names: &[&'static str]) -> Option<&'static str> {
        names.iter().copied().find(|name| {
            let mut places = self.found.iter().filter(|member| member.name == **name);
            places.next().is_some() && places.next().is_some()
        })
    }

    /// Range of a member's value. The last one counts, as in most JSON readers.
    pub fn place(&self, name: &str) -> Option<(u64, u64)> {
        self.found
            .iter()
            .rev()
            .find(|member| member.name == name)
            .map(|member| (member.offset, member.len))
    }

    /// The JSON of a member.
    pub fn raw(&self, bytes: &dyn Bytes, name: &str) -> Option<Cow<'_, [u8]>> {
        let (offset, len) = self.place(name)?;
        Some(self.at(bytes, offset, len))
    }

    fn at(&self, bytes: &dyn Bytes, offset: u64, len: u64) -> Cow<'_, [u8]> {
        match &self.body {
            Some(body) => Cow::Borrowed(&body[offset as usize..(offset + len) as usize]),
            None => Cow::Owned(bytes.read_all(self.source, offset, len)),
        }
    }

    /// The JSON of a member as text; none when absent or `null`.
    pub fn json(&self, bytes: &dyn Bytes, name: &str) -> Option<String> {
        let raw = self.raw(bytes, name)?;
        let text = String::from_utf8(raw.into_owned()).unwrap_or_default();
        (text != "null").then_some(text)
    }

    /// The JSON of a member that is looked into, as [`json`](Self::json).
    ///
    /// # Errors
    /// When it is longer than [`LARGEST`].
    pub fn small_json(&self, bytes: &dyn Bytes, name: &str) -> Result<Option<String>, Failure> {
        self.is_small(name)?;
        Ok(self.json(bytes, name))
    }

    fn is_small(&self, name: &str) -> Result<(), Failure> {
        if self.place(name).is_some_and(|(_, len)| len > LARGEST) {
            let message = format!("{name}: Input should be at most {LARGEST} bytes of JSON");
            return Err(failure::invalid(message, Some(name)));
        }
        Ok(())
    }

    /// A member's value; none when absent or `null`. `kind` is said to the client when
    /// it is something else, as in "a valid number".
    ///
    /// # Errors
    /// When it is of another type, or longer than [`LARGEST`]; the failure names the member.
    pub fn value<T: DeserializeOwned>(
        &self,
        bytes: &dyn Bytes,
        name: &str,
        kind: &str,
    ) -> Result<Option<T>, Failure> {
        self.is_small(name)?;
        let Some(raw) = self.raw(bytes, name) else {
            return Ok(None);
        };
        serde_json::from_slice::<Option<T>>(&raw).map_err(|_| wrong_type(name, kind))
    }

    /// A number.
    ///
    /// # Errors
    /// When it is none.
    pub fn number(&self, bytes: &dyn Bytes, name: &str) -> Result<Option<f64>, Failure> {
        self.value(bytes, name, "a valid number")
    }

    /// A number within bounds.
    ///
    /// # Errors
    /// When it is none, or outside.
    pub fn within(
        &self,
        bytes: &dyn Bytes,
        name: &str,
        least: f64,
        most: f64,
    ) -> Result<Option<f64>, Failure> {
        let value = self.number(bytes, name)?;
        if let Some(value) = value
            && !(least..=most).contains(&value)
        {
            return Err(if most.is_finite() {
                out_of_domain(name, &format!("in [{least}, {most}]"), value)
            } else {
                out_of_domain(name, &format!("at least {least}"), value)
            });
        }
        Ok(value)
    }

    /// A whole number; `4.0` is one.
    ///
    /// # Errors
    /// When it is none.
    pub fn integer(&self, bytes: &dyn Bytes, name: &str) -> Result<Option<i64>, Failure> {
        let value: Option<Value> = self.value(bytes, name, "a valid integer")?;
        let Some(value) = value else { return Ok(None) };
        let whole = value.as_i64().or_else(|| {
            let value = value.as_f64()?;
            (value.fract() == 0.0 && value.abs() < 9e15).then_some(value as i64)
        });
        whole
            .map(Some)
            .ok_or_else(|| wrong_type(name, "a valid integer"))
    }

    /// A count of at least `least`.
    ///
    /// # Errors
    /// When it is none, or out of bounds.
    pub fn count(&self, bytes: &dyn Bytes, name: &str, least: u32) -> Result<Option<u32>, Failure> {
        let Some(value) = self.integer(bytes, name)? else {
            return Ok(None);
        };
        match u32::try_from(value) {
            Ok(count) if count >= least => Ok(Some(count)),
            _ => Err(out_of_count(name, &format!("at least {least}"), value)),
        }
    }

    /// The most that a worker may take a count for: of members of the same name it may read
    /// any.
    pub fn at_most(&self, bytes: &dyn Bytes, name: &str) -> Option<u32> {
        let members = self.found.iter().filter(|member| member.name == name);
        let counts = members.filter_map(|it| {
            // What is longer is no count, and the first of it tells as much.
            let len = it.len.min(cost::LONGEST as u64 + 1);
            cost::at_most(&self.at(bytes, it.offset, len))
        });
        counts.max()
    }

    /// A boolean.
    ///
    /// # Errors
    /// When it is none.
    pub fn boolean(&self, bytes: &dyn Bytes, name: &str) -> Result<Option<bool>, Failure> {
        self.value(bytes, name, "a valid boolean")
    }
}

/// A member of another type.
pub fn wrong_type(name: &str, kind: &str) -> Failure {
    failure::invalid(format!("{name}: Input should be {kind}"), Some(name))
}

/// A value that the member may not have.
pub fn out_of_domain(name: &str, domain: &str, value: f64) -> Failure {
    failure::invalid(format!("{name} must be {domain}, got {value}."), Some(name))
}

/// A count that the member may not have: one too large for any, or one outside of its own
/// domain.
pub fn out_of_count(name: &str, domain: &str, value: i64) -> Failure {
    let most = i64::from(u32::MAX);
    if value > most {
        out_of_domain(name, &format!("at most {most}"), value as f64)
    } else {
        out_of_domain(name, domain, value as f64)
    }
}

/// A member that must be there.
pub fn missing(name: &str) -> Failure {
    failure::invalid(format!("{name}: Field required"), Some(name))
}
