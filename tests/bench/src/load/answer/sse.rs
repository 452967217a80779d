//! Splits a stream into events, as far as the API's are: lines of `data:` up to an empty line.

use memchr::memmem;

use crate::load::fault::Fault;

/// Longest event.
const LONGEST: usize = 1024 * 1024;

/// Takes more of a stream; whole events are given on, the rest is kept in the buffer.
pub(super) fn take(
    buffer: &mut Vec<u8>,
    data: &[u8],
    mut event: impl FnMut(&[u8]) -> Result<(), Fault>,
) -> Result<(), Fault> {
    // The usual case: whole events, which are not copied.
    let mut rest = data;
    if !buffer.is_empty() {
        let from = buffer.len().saturating_sub(1);
        buffer.extend_from_slice(data);
        let Some(at) = memmem::find(&buffer[from..], b"\n\n") else {
            return bounded(buffer);
        };
        let end = from + at;
        payload(&buffer[..end], &mut event)?;
        rest = &data[data.len() - (buffer.len() - end - 2)..];
        buffer.clear();
    }
    while let Some(end) = memmem::find(rest, b"\n\n") {
        payload(&rest[..end], &mut event)?;
        rest = &rest[end + 2..];
    }
    buffer.extend_from_slice(rest);
    bounded(buffer)
}

fn bounded(buffer: &[u8]) -> Result<(), Fault> {
    if buffer.len() > LONGEST {
        return Err(Fault::content("an event without an end"));
    }
    Ok(())
}

fn payload(event: &[u8], give: &mut impl FnMut(&[u8]) -> Result<(), Fault>) -> Result<(), Fault> {
    let data = event
        .strip_prefix(b"data:")
        .filter(|data| !data.contains(&b'\n'));
    let data = data
        .ok_or_else(|| Fault::content(format!("no event: {:?}", String::from_utf8_lossy(event))))?;
    give(data.trim_ascii_start())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_the_same_at_every_split() {
        let stream = b"data: one\n\ndata:two\n\ndata: three\n\n";
        for split in 0..=stream.len() {
            for again in split..=stream.len() {
                let (mut buffer, mut seen) = (Vec::new(), Vec::new());
                for part in [&stream[..split], &stream[split..again], &stream[again..]] {
                    take(&mut buffer, part, |event| {
                        seen.push(String::from_utf8(event.to_vec()).unwrap());
                        Ok(())
                    })
                    .unwrap();
                }
                assert_eq!(seen, ["one", "two", "three"], "{split} {again}");
                assert!(buffer.is_empty());
            }
        }
    }

    #[test]
    fn what_is_no_event_is_refused() {
        for odd in ["event: x\ndata: y\n\n", "{\"error\":1}\n\n"] {
            assert!(take(&mut Vec::new(), odd.as_bytes(), |_| Ok(())).is_err());
        }
    }
}
