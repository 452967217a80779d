//! LEB128, as WebAssembly writes unsigned numbers of 32 bits.

/// Takes a number from the front; none: there is no whole one, or it has more than 32 bits.
pub(crate) fn take(bytes: &mut &[u8]) -> Option<u32> {
    let mut value = 0_u64;
    for shift in (0..35).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return u32::try_from(value).ok();
        }
    }
    None
}

/// Takes a number, and as many bytes as it says.
pub(crate) fn take_slice<'b>(bytes: &mut &'b [u8]) -> Option<&'b [u8]> {
    let length = usize::try_from(take(bytes)?).ok()?;
    let (slice, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(slice)
}

pub(crate) fn put(out: &mut Vec<u8>, value: usize) {
    let mut value = value;
    while value > 0x7f {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub(crate) fn put_slice(out: &mut Vec<u8>, slice: &[u8]) {
    put(out, slice.len());
    out.extend_from_slice(slice);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_and_long_ones_are_refused() {
        for value in [0, 1, 127, 128, 16_384, u32::MAX as usize] {
            let mut out = Vec::new();
            put(&mut out, value);
            let mut rest = out.as_slice();
            assert_eq!(take(&mut rest), Some(value as u32));
            assert!(rest.is_empty());
            for end in 0..out.len() {
                assert_eq!(take(&mut &out[..end]), None);
            }
        }
        assert_eq!(take(&mut &[0xff, 0xff, 0xff, 0xff, 0x1f][..]), None);
        assert_eq!(take(&mut &[0x80; 6][..]), None);
        // Padded, as linkers write it.
        assert_eq!(take(&mut &[0x85, 0x80, 0x80, 0x80, 0x00][..]), Some(5));
    }
}
