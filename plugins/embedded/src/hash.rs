//! Embeddings by feature hashing (Weinberger et al. 2009).
//!
//! Features of a text are its words and, as in fastText (Bojanowski et al. 2017), the
//! runs of 3 to 5 characters of each word with its ends marked, so that `ferry` and
//! `ferries` share most of theirs. Each feature's hash names a dimension and a sign;
//! words that carry grammar weigh little; the sum is brought to length 1. No training,
//! and the same text gives the same vector everywhere.

/// Dimensions of a vector, unless the caller asks for fewer.
pub const DIMENSIONS: usize = 256;

const WORD: f32 = 1.0;
/// All runs of a word together weigh as much as that: more than the word, for a word and
/// its plural are more alike than they are different.
const RUNS: f32 = 1.6;
const GRAMMAR: f32 = 0.15;

/// Words that say little of what a text is about. Sorted.
const GRAMMATICAL: [&str; 71] = [
    "a",
    "about",
    "an",
    "and",
    "are",
    "as",
    "at",
    "be",
    "been",
    "but",
    "by",
    "can",
    "could",
    "did",
    "do",
    "does",
    "for",
    "from",
    "had",
    "has",
    "have",
    "he",
    "her",
    "his",
    "how",
    "i",
    "if",
    "in",
    "into",
    "is",
    "it",
    "its",
    "me",
    "my",
    "no",
    "not",
    "of",
    "on",
    "or",
    "our",
    "she",
    "should",
    "so",
    "that",
    "the",
    "their",
    "them",
    "then",
    "there",
    "these",
    "they",
    "this",
    "those",
    "to",
    "was",
    "we",
    "were",
    "what",
    "when",
    "where",
    "which",
    "who",
    "why",
    "will",
    "with",
    "would",
    "you",
    "your",
    "yours",
    "yourself",
    "yourselves",
];

/// The vector of a text, `dimensions` long and of Euclidean length 1. A text without
/// any word has a direction of its own, like no other text's but by chance.
#[must_use]
pub fn embed(text: &str, dimensions: usize) -> Vec<f32> {
    let mut vector = vec![0.0; dimensions];
    let lower = text.to_lowercase();
    let words = lower
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty());
    for word in words {
        add_word(&mut vector, word);
    }
    if vector.iter().all(|&value| value == 0.0) {
        add(&mut vector, b'?', text.trim().as_bytes(), WORD);
    }
    let length = vector.iter().map(|value| value * value).sum::<f32>().sqrt();
    for value in &mut vector {
        *value /= length;
    }
    vector
}

fn add_word(vector: &mut [f32], word: &str) {
    let weight = match GRAMMATICAL.binary_search(&word) {
        Ok(_) => GRAMMAR,
        Err(_) => 1.0,
    };
    add(vector, b'w', word.as_bytes(), WORD * weight);
    let marked = format!("<{word}>");
    let ends: Vec<usize> = marked
        .char_indices()
        .map(|(at, _)| at)
        .chain([marked.len()])
        .collect();
    let runs: Vec<&[u8]> = (3..=5)
        .flat_map(|length| ends.windows(length + 1))
        .map(|run| &marked.as_bytes()[run[0]..run[run.len() - 1]])
        .collect();
    // A share each in squares: the dimensions are nearly orthogonal.
    let each = RUNS * weight / (runs.len() as f32).sqrt();
    for run in runs {
        add(vector, b'r', run, each);
    }
}

fn add(vector: &mut [f32], kind: u8, feature: &[u8], weight: f32) {
    let hash = hash(kind, feature);
    // The upper half names the dimension, evenly for any number of them.
    let at = ((hash >> 32) * vector.len() as u64) >> 32;
    vector[at as usize] += if hash & 1 == 0 { weight } else { -weight };
}

/// FNV-1a, and the finalizer of MurmurHash3, which its upper bits need.
fn hash(kind: u8, feature: &[u8]) -> u64 {
    let mut hash = 0xCBF2_9CE4_8422_2325u64;
    for &byte in std::iter::once(&kind).chain(feature) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3);
    }
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xFF51_AFD7_ED55_8CCD);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xC4CE_B9FE_1A85_EC53);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cosine(a: &str, b: &str) -> f32 {
        let pair = embed(a, DIMENSIONS).into_iter().zip(embed(b, DIMENSIONS));
        pair.map(|(a, b)| a * b).sum()
    }

    #[test]
    fn related_sentences_are_closer_than_others() {
        let query = "When does the ferry leave the harbour?";
        let related = "Ferries leave harbours at seven in the morning.";
        for other in [
            "The accountant filled in a form about taxes.",
            "When does the accountant eat the bread?",
            "Batching requests raises the throughput of a model server.",
        ] {
            assert!(
                cosine(query, related) > cosine(query, other) + 0.15,
                "{other}"
            );
        }
        let alike = cosine(
            "the toll was paid at the gate",
            "a toll must be paid at each gate",
        );
        assert!(alike > 0.6, "{alike}");
        assert!(cosine("gateway", "gateways") > 0.5);
        assert!(cosine("Gateway!", "gateway") > 0.999);
    }

    #[test]
    fn unrelated_texts_are_nearly_orthogonal() {
        let texts = [
            "quartz", "lobster", "velvet", "thunder", "pickle", "hymn", "zebra",
        ];
        for (at, a) in texts.iter().enumerate() {
            for b in &texts[at + 1..] {
                assert!(cosine(a, b).abs() < 0.35, "{a} {b} {}", cosine(a, b));
            }
        }
    }

    #[test]
    fn every_text_has_a_vector_of_length_one_in_any_number_of_dimensions() {
        for text in ["", " ", "?!", "a", "Fährmann 渡し守", "x y z", "\u{0}"] {
            for dimensions in [1, 2, 7, 64, DIMENSIONS] {
                let vector = embed(text, dimensions);
                assert_eq!(vector.len(), dimensions);
                let length: f32 = vector.iter().map(|value| value * value).sum();
                assert!(
                    (length - 1.0).abs() < 1e-5,
                    "{text:?} {dimensions} {length}"
                );
            }
        }
    }

    #[test]
    fn the_list_is_sorted_for_its_search() {
        assert!(GRAMMATICAL.is_sorted());
    }
}
