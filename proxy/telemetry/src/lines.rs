//! How an event is written: one line of text, or one JSON object.
//!
//! The formats are those of `tracing_subscriber`'s own formatters, with fields beside the level
//! and no spans. They are written here because a request writes a line of twenty fields, and the
//! general formatters take a map and the formatting machinery for each of them: on the way of a
//! request that was the costliest step that moves no bytes.

use std::fmt;

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// One event a line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lines {
    /// As a JSON object, else as text for people.
    pub(crate) json: bool,
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut to: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let of = event.metadata();
        let level = of.level().as_str();
        if self.json {
            to.write_str("{\"timestamp\":\"")?;
            SystemTime.format_time(&mut to)?;
            to.write_str("\",\"level\":\"")?;
            to.write_str(level)?;
            to.write_char('"')?;
        } else {
            SystemTime.format_time(&mut to)?;
            write!(to, " {level:>5} {}:", of.target())?;
        }
        let mut fields = Fields {
            json: self.json,
            to: &mut to,
            result: Ok(()),
        };
        event.record(&mut fields);
        fields.result?;
        if self.json {
            to.write_str(",\"target\":")?;
            json_text(&mut to, of.target())?;
            to.write_char('}')?;
        }
        to.write_char('\n')
    }
}

/// Writes the fields of one event; those that are not given are not written.
struct Fields<'a, 'w> {
    json: bool,
    to: &'a mut Writer<'w>,
    result: fmt::Result,
}

impl Fields<'_, '_> {
    /// Field names are of our own source, and need no escape.
    fn field(&mut self, field: &Field, value: impl FnOnce(&mut Writer<'_>, bool) -> fmt::Result) {
        if self.result.is_err() {
            return;
        }
        let (name, json) = (field.name(), self.json);
        let to = &mut *self.to;
        let name = name.strip_prefix("r#").unwrap_or(name);
        self.result = if json {
            to.write_str(",\"")
                .and_then(|()| to.write_str(name))
                .and_then(|()| to.write_str("\":"))
        } else if name == "message" {
            to.write_char(' ')
        } else {
            to.write_char(' ')
                .and_then(|()| to.write_str(name))
                .and_then(|()| to.write_char('='))
        }
        .and_then(|()| value(to, json));
    }
}

impl Visit for Fields<'_, '_> {
    fn record_str(&mut self, field: &Field, text: &str) {
        let message = field.name() == "message";
        self.field(field, |to, json| match json {
            true => json_text(to, text),
            false if message => unquoted(to, text),
            false => quoted(to, text),
        });
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        let mut digits = itoa::Buffer::new();
        self.field(field, |to, _| to.write_str(digits.format(value)));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        let mut digits = itoa::Buffer::new();
        self.field(field, |to, _| to.write_str(digits.format(value)));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        let word = if value { "true" } else { "false" };
        self.field(field, |to, _| to.write_str(word));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.field(field, |to, json| match json && !value.is_finite() {
            true => to.write_str("null"),
            false => to.write_str(zmij::Buffer::new().format(value)),
        });
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.field(field, |to, json| match json {
            true => json_text(to, &format!("{value:?}")),
            false => unquoted(to, &format!("{value:?}")),
        });
    }
}

/// Printable ASCII without what quotes and escapes are made of.
fn is_plain(text: &str) -> bool {
    text.bytes()
        .all(|byte| (b' '..=b'~').contains(&byte) && byte != b'"' && byte != b'\\')
}

fn json_text(to: &mut Writer<'_>, text: &str) -> fmt::Result {
    if is_plain(text) {
        to.write_char('"')?;
        to.write_str(text)?;
        return to.write_char('"');
    }
    let escaped = serde_json::to_string(text).map_err(|_| fmt::Error)?;
    to.write_str(&escaped)
}

fn quoted(to: &mut Writer<'_>, text: &str) -> fmt::Result {
    if is_plain(text) {
        to.write_char('"')?;
        to.write_str(text)?;
        return to.write_char('"');
    }
    write!(to, "{text:?}")
}

/// What could end the line or command a terminal is escaped.
fn unquoted(to: &mut Writer<'_>, text: &str) -> fmt::Result {
    for character in text.chars() {
        if character.is_control() {
            write!(to, "{}", character.escape_default())?;
        } else {
            to.write_char(character)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::Arc;

    use parking_lot::Mutex;
    use serde_json::Value;

    use super::*;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, text: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(text);
            Ok(text.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What is written of the events that `say` makes.
    fn written(json: bool, say: impl FnOnce()) -> String {
        let kept = Kept::default();
        let to = kept.clone();
        let log = tracing_subscriber::fmt()
            .with_writer(move || to.clone())
            .event_format(Lines { json })
            .finish();
        tracing::subscriber::with_default(log, say);
        String::from_utf8(kept.0.lock().clone()).unwrap()
    }

    fn say_all() {
        let (none, some) = (None::<&str>, Some("a\"b\\c\u{1b}[31m\nd é"));
        let error = io::Error::other("broke\noff");
        tracing::warn!(
            target: "access",
            none, some, whole = u64::MAX, less = i64::MIN, yes = true, part = 0.25, wide = 1e300,
            no_number = f64::NAN, %error, debugged = ?"x\"y", "it happened\nat {}", 7,
        );
    }

    #[test]
    fn a_json_line_is_one_object_whatever_the_values() {
        let line = written(true, say_all);
        assert_eq!(line.matches('\n').count(), 1, "{line}");
        let value: Value = serde_json::from_str(&line).unwrap();
        let at = |name: &str| value[name].clone();
        assert_eq!(at("level"), "WARN");
        assert_eq!(at("target"), "access");
        assert_eq!(at("message"), "it happened\nat 7");
        assert_eq!(at("some"), "a\"b\\c\u{1b}[31m\nd é");
        assert_eq!(at("whole"), u64::MAX);
        assert_eq!(at("less"), i64::MIN);
        assert_eq!(at("yes"), true);
        assert_eq!(at("part"), 0.25);
        assert_eq!(at("wide"), 1e300);
        assert_eq!(at("no_number"), Value::Null);
        assert_eq!(at("error"), "broke\noff");
        assert_eq!(at("debugged"), "\"x\\\"y\"");
        assert!(value.get("none").is_none());
        assert!(at("timestamp").as_str().unwrap().ends_with('Z'));
    }

    #[test]
    fn a_text_line_is_one_line_and_commands_no_terminal() {
        let line = written(false, say_all);
        let (time, rest) = line.split_once(' ').unwrap();
        assert!(time.ends_with('Z'), "{time}");
        assert_eq!(
            rest,
            " WARN access: it happened\\nat 7 some=\"a\\\"b\\\\c\\u{1b}[31m\\nd é\" \
             whole=18446744073709551615 less=-9223372036854775808 yes=true part=0.25 wide=1e+300 \
             no_number=NaN error=broke\\noff debugged=\"x\\\"y\"\n"
        );
    }
}
