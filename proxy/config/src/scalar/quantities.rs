//! Quantities with their ranges: counts, lengths of time, sizes.

use std::fmt;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;

use crate::scalar::{Invalid, word};
use crate::section::{Context, Decode};
use crate::yaml::{Kind, Node};

/// A whole number from `MIN` to `MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Count<const MIN: u64, const MAX: u64>(u64);

impl<const MIN: u64, const MAX: u64> Count<MIN, MAX> {
    /// For defaults: out of range does not compile in a constant.
    pub(crate) const fn of(value: u64) -> Self {
        assert!(MIN <= value && value <= MAX && MAX <= u32::MAX as u64);
        Self(value)
    }

    /// The number. `MAX` fits 32 bits.
    pub const fn get(self) -> usize {
        self.0 as usize
    }

    /// The number, for interfaces of that width.
    pub const fn get_u32(self) -> u32 {
        self.0 as u32
    }
}

impl<const MIN: u64, const MAX: u64> fmt::Display for Count<MIN, MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<const MIN: u64, const MAX: u64> Decode for Count<MIN, MAX> {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        if let Kind::Scalar { text, plain: true } = &node.kind
            && let Ok(value) = text.parse::<u64>()
            && (MIN..=MAX).contains(&value)
        {
            return Some(Self(value));
        }
        let what = format!(
            "expected a whole number from {MIN} to {MAX}, found {}",
            node.describe()
        );
        cx.refuse(node.at, what, None)
    }
}

impl<const MIN: u64, const MAX: u64> JsonSchema for Count<MIN, MAX> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Count".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": MIN, "maximum": MAX })
    }
}

/// A length of time from `MIN` to `MAX` milliseconds, written `250ms`, `5s`, `1m 30s`, `2h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Period<const MIN: u64, const MAX: u64>(Duration);

impl<const MIN: u64, const MAX: u64> Period<MIN, MAX> {
    pub(crate) const fn millis(millis: u64) -> Self {
        assert!(MIN <= millis && millis <= MAX);
        Self(Duration::from_millis(millis))
    }

    pub(crate) const fn micros(micros: u64) -> Self {
        assert!(MIN * 1000 <= micros && micros <= MAX * 1000);
        Self(Duration::from_micros(micros))
    }

    pub(crate) const fn secs(secs: u64) -> Self {
        Self::millis(secs * 1000)
    }

    /// The length.
    pub const fn get(self) -> Duration {
        self.0
    }

    fn parse(text: &str) -> Result<Self, Invalid> {
        let (min, max) = (Duration::from_millis(MIN), Duration::from_millis(MAX));
        let value = humantime::parse_duration(text).map_err(|_| {
            Invalid::new("a length of time is written like `250ms`, `5s` or `1m 30s`")
        })?;
        if (min..=max).contains(&value) {
            return Ok(Self(value));
        }
        let (min, max) = (
            humantime::format_duration(min),
            humantime::format_duration(max),
        );
        Err(Invalid::new(format!(
            "out of range, which is from {min} to {max}"
        )))
    }
}

impl<const MIN: u64, const MAX: u64> fmt::Display for Period<MIN, MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

word!(Period<const MIN: u64, const MAX: u64>, "a length of time like `5s`", json_schema!({
    "type": "string",
    "pattern": "^([0-9]+ ?[a-z]+ ?)+$|^0$",
    "examples": ["250ms", "5s", "1m 30s"],
}));

/// A number of bytes from `MIN` to `MAX`, written `512B`, `256KiB`, `16MiB`, `1GiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size<const MIN: u64, const MAX: u64>(u64);

pub(crate) const KIB: u64 = 1 << 10;
pub(crate) const MIB: u64 = 1 << 20;
pub(crate) const GIB: u64 = 1 << 30;
const UNITS: [(&str, u64); 4] = [("GiB", GIB), ("MiB", MIB), ("KiB", KIB), ("B", 1)];

impl<const MIN: u64, const MAX: u64> Size<MIN, MAX> {
    pub(crate) const fn of(bytes: u64) -> Self {
        assert!(MIN <= bytes && bytes <= MAX);
        Self(bytes)
    }

    /// The number of bytes.
    pub const fn get(self) -> usize {
        self.0 as usize
    }

    /// The number of bytes, for interfaces of that width.
    pub const fn get_u64(self) -> u64 {
        self.0
    }

    fn parse(text: &str) -> Result<Self, Invalid> {
        let wrong = || Invalid::new("a size is written like `512B`, `256KiB`, `16MiB` or `1GiB`");
        let (number, unit) = UNITS
            .iter()
            .find_map(|(suffix, unit)| Some((text.strip_suffix(suffix)?, *unit)))
            .ok_or_else(wrong)?;
        let number: u64 = number.trim_end().parse().map_err(|_| wrong())?;
        match number.checked_mul(unit) {
            Some(bytes) if (MIN..=MAX).contains(&bytes) => Ok(Self(bytes)),
            _ => {
                let (min, max) = (Size::<0, { u64::MAX }>(MIN), Size::<0, { u64::MAX }>(MAX));
                Err(Invalid::new(format!(
                    "out of range, which is from {min} to {max}"
                )))
            }
        }
    }
}

impl<const MIN: u64, const MAX: u64> fmt::Display for Size<MIN, MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = |(_, unit): &&(&str, u64)| self.0 >= *unit && self.0.is_multiple_of(*unit);
        let (suffix, unit) = UNITS.iter().find(fits).unwrap_or(&("B", 1));
        write!(f, "{}{suffix}", self.0 / unit)
    }
}

word!(Size<const MIN: u64, const MAX: u64>, "a size like `256KiB`", json_schema!({
    "type": "string",
    "pattern": "^[0-9]+ ?(B|KiB|MiB|GiB)$",
    "examples": ["256KiB", "16MiB"],
}));
