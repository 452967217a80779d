//! Messages written by hand, walked at every length that may have arrived.

use super::*;
use crate::testing::Memory;

/// Walks with only `shown` bytes arrived of a message whose length is known.
fn walk(message: &[u8], shown: usize) -> Result<Vec<Field>, Stop> {
    let mut memory = Memory::default();
    memory.add(3, message);
    memory.show(3, shown, shown == message.len());
    let mut reader = Reader::new(&memory, &memory.progress(3));
    let (mut at, mut all) = (0, Vec::new());
    while at < message.len() as u64 {
        let field = reader.field(at, message.len() as u64)?;
        at = field.end;
        all.push(field);
    }
    Ok(all)
}

fn whole(message: &[u8]) -> Result<Vec<Field>, Stop> {
    walk(message, message.len())
}

/// A name, a number, and a value of 5000 bytes.
fn message() -> Vec<u8> {
    let mut message = text(1, "model");
    message.extend([0x18, 0xac, 0x02]);
    message.extend(prefix(7, 5000));
    message.extend(vec![7; 5000]);
    message
}

#[test]
fn every_wire_type_of_proto3_is_walked() {
    let message = [
        &[0x08, 0x96, 0x01][..],
        &[0x11, 1, 2, 3, 4, 5, 6, 7, 8],
        &[0x1d, 1, 2, 3, 4],
        &[0x22, 0x02, b'h', b'i'],
    ]
    .concat();
    let seen = |field: &Field| (field.value, field.len(), field.delimited, field.varint);
    let seen: Vec<_> = whole(&message).unwrap().iter().map(seen).collect();
    assert_eq!(
        seen,
        [
            (1, 2, false, 150),
            (4, 8, false, 0),
            (13, 4, false, 0),
            (19, 2, true, 0)
        ]
    );
}

#[test]
fn a_value_that_has_not_arrived_is_found() {
    let message = message();
    let all = whole(&message).unwrap();
    assert_eq!(all[1].varint, 300);
    assert_eq!((all[2].number, all[2].len()), (7, 5000));
    for shown in message.len() - 5000..message.len() {
        assert_eq!(walk(&message, shown).as_ref(), Ok(&all), "{shown}");
    }
}

#[test]
fn a_field_beyond_the_window_is_found() {
    let mut message = message();
    message.extend([0x08, 0x05]);
    let all = whole(&message).unwrap();
    assert_eq!((all[3].number, all[3].varint), (1, 5));
}

#[test]
fn what_is_missing_is_asked_for_and_is_never_past_the_end() {
    let message = message();
    for shown in 0..message.len() - 5000 {
        let Err(Stop::More(wanted)) = walk(&message, shown) else {
            panic!("{shown}: more was needed");
        };
        assert!(wanted > shown as u64 && wanted <= message.len() as u64);
    }
    let memory = Memory::default().with(3, text(1, "model"));
    let reader = Reader::whole(&memory, 3, 4);
    assert_eq!(reader.copy(2, 5), Err(Stop::More(7)));
}

#[test]
fn a_length_is_known_when_it_was_told_or_all_has_come() {
    let told = |total, end| {
        length(&Progress {
            source: 3,
            available: 5,
            total,
            end,
        })
    };
    assert_eq!(told(Some(9), false), Ok(9));
    assert_eq!(told(None, true), Ok(5));
    assert_eq!(told(None, false), Err(Stop::More(u64::MAX)));
}

#[test]
fn values_are_texts_or_messages() {
    let message = message();
    let memory = Memory::default().with(3, message.clone());
    let mut reader = Reader::whole(&memory, 3, message.len() as u64).window(4096);
    let len = message.len() as u64;
    let name = reader.field(0, len).unwrap();
    assert_eq!(reader.text(&name).as_deref(), Ok("model"));
    let number = reader.field(name.end, len).unwrap();
    assert_eq!(reader.message(&number), Err(Stop::Malformed));
    let long = reader.field(number.end, len).unwrap();
    assert_eq!(reader.message(&long), Ok(vec![7; 5000]));
    let odd = Memory::default().with(3, [0x0a, 1, 0xff]);
    let mut reader = Reader::whole(&odd, 3, 3);
    let field = reader.field(0, 3).unwrap();
    assert_eq!(reader.text(&field), Err(Stop::Malformed));
}

#[test]
fn nonsense_is_malformed() {
    for message in [
        // Groups, and the number zero.
        &[0x0b, 0x0c][..],
        &[0x00, 0x01],
        &[0x0a, 0x05, b'x'],
        &[0x08],
        // A number of more than 64 bits, and a length that would overflow the address.
        &[0x08, 255, 255, 255, 255, 255, 255, 255, 255, 255, 2],
        &[0x0a, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1],
    ] {
        assert_eq!(whole(message), Err(Stop::Malformed), "{message:?}");
    }
    // So is what is cut anywhere within a field.
    let message = [0x22, 0x03, b'a', b'b', b'c'];
    for len in 1..message.len() {
        assert_eq!(whole(&message[..len]), Err(Stop::Malformed), "{len}");
    }
    assert_eq!(whole(&[]), Ok(Vec::new()));
}

#[test]
fn numbers_at_their_bounds_are_read_as_they_were_written() {
    for value in [0, 0x7f, 0x80, 0x3fff, 0x4000, u64::MAX >> 1, u64::MAX] {
        let mut message = vec![0x08];
        put(value, &mut message);
        assert_eq!(whole(&message).unwrap()[0].varint, value);
    }
    assert_eq!(prefix(5, 300), [0x2a, 0xac, 0x02]);
}

#[test]
fn a_key_of_more_than_32_bits_is_none() {
    // Field 1, delimited, and a bit above: C++ reads the one, and would take what follows for it.
    let smuggled = [0x8a, 0x80, 0x80, 0x80, 0x10, 1, b'm'];
    assert_eq!(parse(&smuggled, 0), None);
    let plain = [0x8a, 0x80, 0x80, 0x80, 0x00, 1, b'm'];
    assert_eq!(parse(&plain, 0).map(|field| field.number), Some(1));
}
