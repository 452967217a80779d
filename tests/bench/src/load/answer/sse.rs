//! Splits a stream into events, as far as those of our protocols go: lines up to an empty one, of
//! which the last is `data:`.

use memchr::memmem;

use crate::load::fault::Fault;

/// Longest event.
const LONGEST: usize = 1024 * 1024;

/// How a server writes its events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Dialect {
    /// What ends an event.
    end: &'static [u8],
    /// What stands before its data.
    before: &'static [u8],
}

impl Dialect {
    /// Lines end with a line feed, and there is nothing but data.
    pub(super) const PLAIN: Self = Self {
        end: b"\n\n",
        before: b"data:",
    };
    /// The caikit runtime's: lines end as in HTTP, and an event has a name. Whether it is an
    /// error is told by what it says.
    pub(super) const NAMED: Self = Self {
        end: b"\r\n\r\n",
        before: b"event: message\r\ndata:",
    };

    /// Takes more of a stream; the data of whole events is given on, the rest is kept in the
    /// buffer.
    pub(super) fn take(
        self,
        buffer: &mut Vec<u8>,
        data: &[u8],
        mut give: impl FnMut(&[u8]) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        // The usual case: whole events, which are not copied.
        let mut rest = data;
        if !buffer.is_empty() {
            let from = buffer.len().saturating_sub(self.end.len() - 1);
            buffer.extend_from_slice(data);
            let Some(at) = memmem::find(&buffer[from..], self.end) else {
                return bounded(buffer);
            };
            let end = from + at;
            self.event(&buffer[..end], &mut give)?;
            rest = &data[data.len() - (buffer.len() - end - self.end.len())..];
            buffer.clear();
        }
        while let Some(end) = memmem::find(rest, self.end) {
            self.event(&rest[..end], &mut give)?;
            rest = &rest[end + self.end.len()..];
        }
        buffer.extend_from_slice(rest);
        bounded(buffer)
    }

    fn event(
        self,
        event: &[u8],
        give: &mut impl FnMut(&[u8]) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let data = event
            .strip_prefix(self.before)
            .or_else(|| event.strip_prefix(ERROR))
            .filter(|data| !data.contains(&b'\n'));
        let data = data.ok_or_else(|| {
            Fault::content(format!("no event: {:?}", String::from_utf8_lossy(event)))
        })?;
        give(data.trim_ascii_start())
    }
}

/// An event of the caikit runtime that is an error.
const ERROR: &[u8] = b"event: error\r\ndata:";

fn bounded(buffer: &[u8]) -> Result<(), Fault> {
    if buffer.len() > LONGEST {
        return Err(Fault::content("an event without an end"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_the_same_at_every_split() {
        let plain = b"data: one\n\ndata:two\n\ndata: three\n\n".to_vec();
        let named = b"event: message\r\ndata: one\r\n\r\nevent: message\r\ndata: two\r\n\r\n\
            event: error\r\ndata: three\r\n\r\n";
        for (dialect, stream) in [(Dialect::PLAIN, plain), (Dialect::NAMED, named.to_vec())] {
            at_every_split(dialect, &stream);
        }
    }

    fn at_every_split(dialect: Dialect, stream: &[u8]) {
        for split in 0..=stream.len() {
            for again in split..=stream.len() {
                let (mut buffer, mut seen) = (Vec::new(), Vec::new());
                for part in [&stream[..split], &stream[split..again], &stream[again..]] {
                    let event = |event: &[u8]| {
                        seen.push(String::from_utf8(event.to_vec()).unwrap());
                        Ok(())
                    };
                    dialect.take(&mut buffer, part, event).unwrap();
                }
                assert_eq!(seen, ["one", "two", "three"], "{split} {again}");
                assert!(buffer.is_empty());
            }
        }
    }

    #[test]
    fn what_is_no_event_is_refused() {
        for odd in ["event: x\ndata: y\n\n", "{\"error\":1}\n\n"] {
            let mut buffer = Vec::new();
            let taken = Dialect::PLAIN.take(&mut buffer, odd.as_bytes(), |_| Ok(()));
            assert!(taken.is_err());
        }
    }
}
