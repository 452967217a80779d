//! Byte-pair encoding: the pair of neighbours that occurs most often becomes a token,
//! again and again (Sennrich, Haddow and Birch 2016, over bytes).

use std::collections::{BTreeMap, HashMap};

use crate::bpe::{FIRST_MERGE, pieces};

type Pair = (u16, u16);

/// At most `most` merges, in the order in which they are to be applied. Ends early
/// when no pair occurs twice. Ties go to the smaller pair.
pub(crate) fn merges(documents: &[String], most: usize) -> Vec<Pair> {
    let mut counted: BTreeMap<&str, i64> = BTreeMap::new();
    for piece in documents.iter().flat_map(|document| pieces(document)) {
        *counted.entry(piece).or_default() += 1;
    }
    let mut words: Vec<(Vec<u16>, i64)> = counted
        .into_iter()
        .map(|(piece, count)| (piece.bytes().map(u16::from).collect(), count))
        .collect();

    let mut pairs: HashMap<Pair, i64> = HashMap::new();
    for (word, count) in &words {
        tally(&mut pairs, word, *count);
    }
    let mut merges = Vec::new();
    while merges.len() < most {
        let best = pairs
            .iter()
            .max_by_key(|&(&pair, &count)| (count, std::cmp::Reverse(pair)));
        let Some((&pair, &count)) = best else { break };
        if count < 2 {
            break;
        }
        let token = FIRST_MERGE + merges.len() as u16;
        merges.push(pair);
        for (word, count) in &mut words {
            if word.windows(2).any(|two| (two[0], two[1]) == pair) {
                tally(&mut pairs, word, -*count);
                *word = join(word, pair, token);
                tally(&mut pairs, word, *count);
            }
        }
        pairs.remove(&pair);
    }
    merges
}

fn tally(pairs: &mut HashMap<Pair, i64>, word: &[u16], count: i64) {
    for two in word.windows(2) {
        *pairs.entry((two[0], two[1])).or_default() += count;
    }
}

fn join(word: &[u16], (left, right): Pair, token: u16) -> Vec<u16> {
    let mut joined = Vec::with_capacity(word.len());
    let mut at = 0;
    while at < word.len() {
        if word[at] == left && word.get(at + 1) == Some(&right) {
            joined.push(token);
            at += 2;
        } else {
            joined.push(word[at]);
            at += 1;
        }
    }
    joined
}
