//! Server-Sent Events: an incremental reader that tells where each event lies, and a
//! writer.
//!
//! The reader follows the HTML standard, section 9.2.6: lines end with LF, CRLF or CR;
//! a line that begins with a colon is a comment; several `data` lines are joined with
//! LF; one space after the colon is dropped; a blank line ends the event; an event
//! without data is none. Input may be split anywhere. An event is given out at the CR
//! or LF of its blank line; an LF that follows such a CR opens the next event's range.
//!
//! ```
//! use tollgate_sdk_protocol::sse;
//!
//! let mut stream = Vec::new();
//! sse::write(&mut stream, None, br#"{"text":"Hello"}"#);
//! sse::write(&mut stream, Some("end"), b"{}");
//!
//! // It is read as it comes, however it is cut; no event may be longer than so.
//! let mut reader = sse::Reader::new(1 << 20);
//! let (first, rest) = stream.split_at(7);
//! let mut events = reader.push(first).unwrap();
//! events.extend(reader.push(rest).unwrap());
//! assert_eq!(events[0].data, br#"{"text":"Hello"}"#);
//! assert_eq!(events[1].name.as_deref(), Some("end"));
//! assert!(!reader.is_inside(), "nothing is left over");
//! ```

use std::ops::Range;

/// One event, and where it lies in the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The `event` field; none when the stream did not name it.
    pub name: Option<String>,
    /// The `data` lines, joined. Not checked to be UTF-8.
    pub data: Vec<u8>,
    /// From past the last event to past this one's blank line, comments included:
    /// the ranges of a stream's events leave no gap.
    pub at: Range<u64>,
    /// Where the data lies, when it is a single line.
    pub data_at: Option<Range<u64>>,
}

/// An event is longer than the reader's limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong;

/// The reader. Holds at most one event, bounded by the limit given.
#[derive(Debug)]
pub struct Reader {
    limit: usize,
    /// Bytes of the line that has not ended.
    line: Vec<u8>,
    line_start: u64,
    position: u64,
    after_cr: bool,
    event_start: u64,
    name: Option<String>,
    data: Vec<u8>,
    data_lines: usize,
    data_at: Range<u64>,
}

impl Reader {
    /// A reader that refuses events whose lines together are longer than `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            line: Vec::new(),
            line_start: 0,
            position: 0,
            after_cr: false,
            event_start: 0,
            name: None,
            data: Vec::new(),
            data_lines: 0,
            data_at: 0..0,
        }
    }

    /// Takes the next bytes of the stream; gives the events that they complete.
    ///
    /// # Errors
    /// [`TooLong`] when an event passes the limit; the reader is of no use then.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<Event>, TooLong> {
        let mut events = Vec::new();
        let mut rest = bytes;
        while !rest.is_empty() {
            if self.after_cr {
                self.after_cr = false;
                if rest[0] == b'\n' {
                    self.position += 1;
                    self.line_start = self.position;
                    rest = &rest[1..];
                    continue;
                }
            }
            let end = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
            let taken = end.unwrap_or(rest.len());
            if self.line.len() + self.data.len() + taken > self.limit {
                return Err(TooLong);
            }
            self.line.extend_from_slice(&rest[..taken]);
            self.position += taken as u64;
            let Some(end) = end else { break };
            self.after_cr = rest[end] == b'\r';
            rest = &rest[end + 1..];
            let line_end = self.position;
            self.position += 1;
            if let Some(event) = self.take_line(line_end) {
                events.push(event);
            }
            self.line_start = self.position;
        }
        Ok(events)
    }

    /// Bytes that stand after the last event: where the next one's range begins.
    #[must_use]
    pub fn given_out(&self) -> u64 {
        self.event_start
    }

    /// True when data of an event has come whose blank line has not.
    #[must_use]
    pub fn is_inside(&self) -> bool {
        self.data_lines > 0 || !self.line.is_empty()
    }

    fn take_line(&mut self, line_end: u64) -> Option<Event> {
        let line = std::mem::take(&mut self.line);
        if line.is_empty() {
            return self.dispatch();
        }
        // A byte order mark may open the stream.
        let skipped = if self.line_start == 0 && line.starts_with(b"\xef\xbb\xbf") {
            3
        } else {
            0
        };
        let line = &line[skipped..];
        let colon = line
            .iter()
            .position(|byte| *byte == b':')
            .unwrap_or(line.len());
        let mut value = (colon + 1).min(line.len());
        if line.get(value) == Some(&b' ') {
            value += 1;
        }
        match &line[..colon] {
            b"data" => {
                if self.data_lines > 0 {
                    self.data.push(b'\n');
                }
                self.data.extend_from_slice(&line[value..]);
                self.data_lines += 1;
                self.data_at = self.line_start + (skipped + value) as u64..line_end;
            }
            b"event" => self.name = Some(String::from_utf8_lossy(&line[value..]).into_owned()),
            _ => {}
        }
        None
    }

    fn dispatch(&mut self) -> Option<Event> {
        let name = self.name.take();
        let data = std::mem::take(&mut self.data);
        let lines = std::mem::take(&mut self.data_lines);
        if lines == 0 {
            return None;
        }
        let at = self.event_start..self.position;
        self.event_start = self.position;
        let data_at = (lines == 1).then(|| self.data_at.clone());
        Some(Event {
            name,
            data,
            at,
            data_at,
        })
    }
}

/// Writes one event with LF line ends: a `data` line for each line of the data.
pub fn write(out: &mut Vec<u8>, name: Option<&str>, data: &[u8]) {
    if let Some(name) = name {
        out.extend_from_slice(b"event: ");
        out.extend_from_slice(name.as_bytes());
        out.push(b'\n');
    }
    for line in data.split(|byte| *byte == b'\n') {
        out.extend_from_slice(b"data: ");
        out.extend_from_slice(line);
        out.push(b'\n');
    }
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pieces: &[&[u8]]) -> Vec<Event> {
        let mut reader = Reader::new(1 << 16);
        pieces
            .iter()
            .flat_map(|piece| reader.push(piece).unwrap())
            .collect()
    }

    #[test]
    fn every_line_end_comment_and_split_gives_the_same_events() {
        let stream = "\u{feff}: ping\r\n\r\nevent: message\r\ndata: {\"a\":\"ü\"}\r\n\r\n\
                      data:one\ndata: two\nid: 7\n\ndata: x\r\rdata\r\n\r\n: end\n\n"
            .as_bytes();
        let whole = read(&[stream]);
        let data: Vec<_> = whole
            .iter()
            .map(|event| String::from_utf8(event.data.clone()).unwrap())
            .collect();
        assert_eq!(data, ["{\"a\":\"ü\"}", "one\ntwo", "x", ""]);
        assert_eq!(whole[0].name.as_deref(), Some("message"));
        assert_eq!(whole[1].name, None);
        let mut from = 0;
        for event in &whole {
            assert_eq!(event.at.start, from);
            from = event.at.end;
            if let Some(at) = &event.data_at {
                assert_eq!(&stream[at.start as usize..at.end as usize], &event.data[..]);
            }
        }
        for split in 0..=stream.len() {
            assert_eq!(
                read(&[&stream[..split], &stream[split..]]),
                whole,
                "split at {split}"
            );
        }
        let bytes: Vec<&[u8]> = stream.chunks(1).collect();
        assert_eq!(read(&bytes), whole);
    }

    #[test]
    fn an_event_without_its_blank_line_is_not_given_out() {
        let mut reader = Reader::new(100);
        assert_eq!(reader.push(b"data: x\n").unwrap(), []);
        assert!(reader.is_inside());
        assert_eq!(reader.given_out(), 0);
    }

    #[test]
    fn the_limit_holds_over_lines_and_pushes() {
        let mut reader = Reader::new(16);
        assert!(reader.push(b"data: 12345\n").is_ok());
        assert_eq!(reader.push(b"data: 123456789"), Err(TooLong));
    }

    #[test]
    fn what_is_written_is_read_back() {
        let mut out = Vec::new();
        write(&mut out, Some("error"), b"a\nb");
        write(&mut out, None, b"c");
        let events = read(&[&out]);
        assert_eq!(events[0].name.as_deref(), Some("error"));
        assert_eq!(events[0].data, b"a\nb");
        assert_eq!(events[1].data, b"c");
    }
}
