//! Counts n-grams up to order 4 and packs them as a trie, level by level.
//!
//! A level is a u32 number of nodes and then the nodes, sorted by parent and token:
//! token u16, count u16 and, but for the last level, u32 index of the first child in
//! the next level. Each level but the last ends with one more node, whose first child
//! is the next level's length. All numbers are little-endian.

use std::collections::BTreeMap;

const ORDER: usize = 4;

/// Appends the trie of all n-grams in `sequences`.
pub(crate) fn pack(sequences: &[Vec<u16>], packed: &mut Vec<u8>) {
    let mut levels: Vec<BTreeMap<&[u16], u32>> = vec![BTreeMap::new(); ORDER];
    for sequence in sequences {
        for start in 0..sequence.len() {
            for order in 1..=ORDER.min(sequence.len() - start) {
                *levels[order - 1]
                    .entry(&sequence[start..start + order])
                    .or_default() += 1;
            }
        }
    }
    for order in 1..=ORDER {
        let level = &levels[order - 1];
        packed.extend((level.len() as u32).to_le_bytes());
        let children = levels
            .get(order)
            .map(|next| next.keys().collect::<Vec<_>>());
        let mut child = 0;
        for (gram, &count) in level {
            let token = gram[order - 1];
            packed.extend(token.to_le_bytes());
            packed.extend(u16::try_from(count).unwrap_or(u16::MAX).to_le_bytes());
            if let Some(children) = &children {
                packed.extend((child as u32).to_le_bytes());
                while children
                    .get(child)
                    .is_some_and(|next| next[..order] == **gram)
                {
                    child += 1;
                }
            }
        }
        if children.is_some() {
            packed.extend([0; 4]);
            packed.extend((child as u32).to_le_bytes());
        }
    }
}
