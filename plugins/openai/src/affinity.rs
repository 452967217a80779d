//! Which requests should meet the same worker: those whose prompts begin alike, since
//! that worker has the beginning in its cache.

use tollgate_sdk_protocol::{Bytes, frontend::Affinity};

/// Bytes of a block. Only whole blocks count.
const BLOCK: usize = 256;
/// Most blocks, as the contract allows.
const BLOCKS: usize = 32;

/// Chained hashes of a prompt's first blocks: equal beginnings give equal hashes.
pub fn of_prefix(bytes: &dyn Bytes, offset: u64, len: u64) -> Affinity {
    let len = len.min((BLOCK * BLOCKS) as u64);
    of_beginning(&bytes.read_all(0, offset, len))
}

/// The same of a prompt that is here.
pub fn of_beginning(prompt: &[u8]) -> Affinity {
    let mut hash = 0xcbf2_9ce4_8422_2325;
    let hashes: Vec<u64> = prompt
        .chunks_exact(BLOCK)
        .take(BLOCKS)
        .map(|block| {
            hash = chain(hash, block);
            hash
        })
        .collect();
    if hashes.is_empty() {
        Affinity::None
    } else {
        Affinity::Prefer(hashes)
    }
}

/// FNV-1a over eight bytes at a time: no more is needed than that blocks differ.
fn chain(hash: u64, block: &[u8]) -> u64 {
    block.chunks_exact(8).fold(hash, |hash, word| {
        let word = u64::from_le_bytes(word.try_into().expect("eight bytes"));
        let mixed = (hash ^ word).wrapping_mul(0x0000_0100_0000_01b3);
        mixed ^ (mixed >> 29)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tollgate_sdk_protocol::testing::Memory;

    fn hashes(text: &str) -> Vec<u64> {
        let memory = Memory::default().with(0, text);
        match of_prefix(&memory, 0, text.len() as u64) {
            Affinity::Prefer(hashes) => hashes,
            _ => Vec::new(),
        }
    }

    #[test]
    fn equal_beginnings_share_their_first_hashes_and_no_more() {
        let common = "abcdefgh".repeat(64);
        let one = hashes(&format!("{common}{}", "x".repeat(256)));
        let two = hashes(&format!("{common}{}", "y".repeat(256)));
        assert_eq!(one[..2], two[..2]);
        assert_ne!(one[2], two[2]);
        assert_eq!(hashes("short"), Vec::<u64>::new());
        assert_eq!(hashes(&"z".repeat(100_000)).len(), 32);
    }
}
