//! Server-Sent Events: however a stream is cut, the same events, and ranges without gaps.

use tollgate_sdk_protocol::sse::{Event, Reader, TooLong, write};

use crate::input::{bytewise, mix, pieces};

type Read = Result<(Vec<Event>, u64, bool), TooLong>;

fn read(pieces: &[&[u8]], limit: usize) -> Read {
    let mut reader = Reader::new(limit);
    let mut events = Vec::new();
    for piece in pieces {
        events.extend(reader.push(piece)?);
    }
    Ok((events, reader.given_out(), reader.is_inside()))
}

pub(crate) fn sse(data: &[u8]) {
    for limit in [1 << 20, mix(data) as usize % 64] {
        let whole = read(&[data], limit);
        assert_eq!(read(&pieces(data), limit), whole);
        if let Some(bytes) = bytewise(data) {
            assert_eq!(read(&bytes, limit), whole);
        }
        if let Ok((events, given_out, _)) = &whole {
            lie_in_order(data, events, *given_out);
        }
    }
    let (events, ..) = read(&[data], usize::MAX).expect("no limit");
    let plain = plainly(data);
    let found: Vec<_> = events
        .iter()
        .map(|event| (event.name.clone(), &event.data))
        .collect();
    assert_eq!(found.len(), plain.len());
    for ((name, data), (other_name, other)) in found.into_iter().zip(&plain) {
        assert_eq!((name.as_deref(), data), (other_name.as_deref(), other));
    }
    written_and_read(data);
}

fn lie_in_order(data: &[u8], events: &[Event], given_out: u64) {
    let mut from = 0;
    for event in events {
        assert_eq!(event.at.start, from, "a gap");
        assert!(event.at.end > from && event.at.end <= data.len() as u64);
        from = event.at.end;
        if let Some(at) = &event.data_at {
            assert!(event.at.start <= at.start && at.end <= event.at.end);
            assert_eq!(&data[at.start as usize..at.end as usize], &event.data[..]);
        }
    }
    assert_eq!(given_out, from);
}

/// The same of the whole at once, after the standard's grammar: lines first, then fields.
fn plainly(data: &[u8]) -> Vec<(Option<String>, Vec<u8>)> {
    let data = data.strip_prefix(b"\xef\xbb\xbf").unwrap_or(data);
    let mut lines = vec![Vec::new()];
    let mut bytes = data.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        if byte == b'\r' {
            bytes.next_if_eq(&b'\n');
        }
        match byte {
            b'\r' | b'\n' => lines.push(Vec::new()),
            _ => lines.last_mut().expect("one at least").push(byte),
        }
    }
    // What has no line end is not a line yet.
    lines.pop();
    let mut events = Vec::new();
    let (mut name, mut data) = (None, None::<Vec<u8>>);
    for line in lines {
        if line.is_empty() {
            let name = name.take();
            events.extend(data.take().map(|data| (name, data)));
            continue;
        }
        let colon = line.iter().position(|byte| *byte == b':');
        let (field, value) = match colon {
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None => (&line[..], &[][..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"event" => name = Some(String::from_utf8_lossy(value).into_owned()),
            b"data" => match &mut data {
                Some(data) => {
                    data.push(b'\n');
                    data.extend_from_slice(value);
                }
                none => *none = Some(value.to_vec()),
            },
            _ => {}
        }
    }
    events
}

fn written_and_read(data: &[u8]) {
    // Both line ends of the standard in data are one when they are read back.
    let said: Vec<u8> = data.iter().copied().filter(|byte| *byte != b'\r').collect();
    let mut stream = Vec::new();
    for piece in pieces(&said) {
        write(&mut stream, Some("piece"), piece);
        write(&mut stream, None, piece);
    }
    let (events, ..) = read(&pieces(&stream), usize::MAX).expect("no limit");
    let told: Vec<&[u8]> = events.iter().map(|event| &event.data[..]).collect();
    let expected: Vec<&[u8]> = pieces(&said)
        .into_iter()
        .flat_map(|piece| [piece; 2])
        .collect();
    assert_eq!(told, expected);
}
