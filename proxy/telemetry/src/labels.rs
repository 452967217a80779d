//! Label values: sets that cannot grow past a bound, and their spelling.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

use parking_lot::RwLock;

/// What stands for every value past the bound.
pub const OTHER: &str = "other";

/// The values that a label has had. A time series costs memory for as long as the process lives, so
/// a label whose values come from outside is a leak: past `max` values, the rest are one, [`OTHER`].
#[derive(Debug)]
pub struct Labels {
    max: usize,
    seen: RwLock<HashSet<Arc<str>>>,
    other: Arc<str>,
}

impl Labels {
    /// A set of at most `max` values, besides [`OTHER`].
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self {
            max,
            seen: RwLock::default(),
            other: OTHER.into(),
        }
    }

    /// The value to count under, escaped.
    pub fn admit(&self, value: &str) -> Arc<str> {
        let value = &*escape(value);
        if let Some(value) = self.seen.read().get(value) {
            return value.clone();
        }
        let mut seen = self.seen.write();
        if let Some(value) = seen.get(value) {
            return value.clone();
        }
        if seen.len() >= self.max {
            return self.other.clone();
        }
        let value: Arc<str> = value.into();
        seen.insert(value.clone());
        value
    }
}

/// A value as OpenMetrics spells it (section "Escaping"): prometheus-client writes values as they
/// are, and a quotation mark would make the whole page unreadable.
pub(crate) fn escape(value: &str) -> Cow<'_, str> {
    if !value.contains(['\\', '"', '\n']) {
        return value.into();
    }
    let mut escaped = String::with_capacity(value.len() + 8);
    for character in value.chars() {
        match character {
            '\\' => escaped.push_str("\\\\"),
            '"' => escaped.push_str("\\\""),
            '\n' => escaped.push_str("\\n"),
            other => escaped.push(other),
        }
    }
    escaped.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_escaped() {
        assert_eq!(escape("plain ä"), "plain ä");
        assert_eq!(escape("a\\b\"c\nd"), r#"a\\b\"c\nd"#);
        assert_eq!(&*Labels::new(1).admit("\""), "\\\"");
    }

    #[test]
    fn values_past_the_bound_are_one() {
        let labels = Labels::new(2);
        assert_eq!(&*labels.admit("a"), "a");
        assert_eq!(&*labels.admit("b"), "b");
        assert_eq!(&*labels.admit("c"), OTHER);
        assert_eq!(&*labels.admit("a"), "a", "the first ones stay");
        assert_eq!(&*labels.admit("d"), OTHER);
    }
}
