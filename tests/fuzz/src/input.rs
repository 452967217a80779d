//! Cuts an input into pieces, at places that follow from its bytes.

/// Stands between the parts of an input that has several.
pub const SEPARATOR: &[u8] = b"\n\x1e\n";

/// Parts of an input, at least one.
#[must_use]
pub fn parts(mut data: &[u8]) -> Vec<&[u8]> {
    let mut parts = Vec::new();
    while let Some(at) = data
        .windows(SEPARATOR.len())
        .position(|window| window == SEPARATOR)
    {
        parts.push(&data[..at]);
        data = &data[at + SEPARATOR.len()..];
    }
    parts.push(data);
    parts
}

/// The first byte, 0 where there is none, and the rest.
#[must_use]
pub fn selector(data: &[u8]) -> (u8, &[u8]) {
    data.split_first()
        .map_or((0, data), |(first, rest)| (*first, rest))
}

/// A number that follows from the bytes (64-bit FNV-1a).
#[must_use]
pub fn mix(data: &[u8]) -> u64 {
    data.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// The bytes in up to nine pieces, some of them empty.
#[must_use]
pub fn pieces(data: &[u8]) -> Vec<&[u8]> {
    let mut state = mix(data);
    let mut cuts: Vec<usize> = (0..state % 9)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % (data.len() + 1)
        })
        .collect();
    cuts.sort_unstable();
    let mut from = 0;
    let mut pieces: Vec<&[u8]> = cuts
        .into_iter()
        .map(|to| {
            let piece = &data[from..to];
            from = to;
            piece
        })
        .collect();
    pieces.push(&data[from..]);
    pieces
}

/// The bytes one by one, where they are few.
#[must_use]
pub fn bytewise(data: &[u8]) -> Option<Vec<&[u8]>> {
    (data.len() <= 2048).then(|| data.chunks(1).collect())
}

/// Shows an input when the thread panics while this lives.
#[derive(Debug)]
pub struct Shown<'a> {
    /// Where it comes from.
    pub name: &'a str,
    /// The input.
    pub data: &'a [u8],
}

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("{}: b\"{}\"", self.name, self.data.escape_ascii());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_and_parts_are_all_of_the_input() {
        for len in 0..200_u8 {
            let data: Vec<u8> = (0..len).collect();
            assert_eq!(pieces(&data).concat(), data);
            assert_eq!(parts(&data).join(SEPARATOR), data);
        }
        assert_eq!(parts(b"a\n\x1e\n\n\x1e\nb"), [&b"a"[..], b"", b"b"]);
    }
}
