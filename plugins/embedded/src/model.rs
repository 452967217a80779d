//! The language model: how likely each token is after the last three.
//!
//! Counts of n-grams up to order 4, packed by the build script (`build/count.rs` has
//! the format). Orders are interpolated by absolute discounting (Ney, Essen and Kneser
//! 1994): each count gives up `DISCOUNT`, and what is given up is spread as the next
//! lower order says. Below the lowest, every token has a grain of probability.

use crate::bpe::{BEGIN, Vocabulary};

static PACKED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/model.bin"));

const ORDER: usize = 4;
const DISCOUNT: f64 = 0.3;
/// Share of the lowest order that is spread evenly, so that no logarithm is infinite.
const GRAIN: f64 = 1e-4;

/// Tokens of prompt and answer together.
pub const CONTEXT: usize = 2048;

/// One level of the trie, as packed.
#[derive(Clone, Copy)]
struct Level {
    nodes: &'static [u8],
    width: usize,
}

impl Level {
    fn token(self, node: usize) -> u16 {
        u16_at(self.nodes, node * self.width)
    }

    fn count(self, node: usize) -> u16 {
        u16_at(self.nodes, node * self.width + 2)
    }

    /// Range of a node's children in the next level.
    fn children(self, node: usize) -> (usize, usize) {
        let first = |node: usize| u32_at(self.nodes, node * self.width + 4) as usize;
        (first(node), first(node + 1))
    }

    fn find(self, (mut low, mut high): (usize, usize), token: u16) -> Option<usize> {
        while low < high {
            let middle = usize::midpoint(low, high);
            match self.token(middle).cmp(&token) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => return Some(middle),
            }
        }
        None
    }
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// Vocabulary and counts.
pub struct Model {
    vocabulary: Vocabulary,
    levels: [Level; ORDER],
    roots: usize,
}

impl Model {
    /// The model that the component carries.
    #[must_use]
    pub fn load() -> Self {
        let merges: Vec<(u16, u16)> = (0..u32_at(PACKED, 0) as usize)
            .map(|merge| (u16_at(PACKED, 4 + 4 * merge), u16_at(PACKED, 6 + 4 * merge)))
            .collect();
        let mut rest = &PACKED[4 + 4 * merges.len()..];
        let mut roots = None;
        let levels = std::array::from_fn(|depth| {
            let count = u32_at(rest, 0) as usize;
            roots = roots.or(Some(count));
            let (width, nodes) = if depth + 1 < ORDER {
                (8, count + 1)
            } else {
                (4, count)
            };
            let (nodes, after) = rest[4..].split_at(nodes * width);
            rest = after;
            Level { nodes, width }
        });
        Model {
            vocabulary: Vocabulary::new(&merges),
            levels,
            roots: roots.unwrap_or_default(),
        }
    }

    /// Its tokens.
    #[must_use]
    pub fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    /// Probability of each token, by id, after these. Sums to one. The mark that begins
    /// a text has none.
    #[must_use]
    pub fn distribution(&self, history: &[u16]) -> Vec<f64> {
        let size = self.vocabulary.size();
        let mut probabilities = vec![GRAIN / (size - 1) as f64; size];
        probabilities[usize::from(BEGIN)] = 0.0;

        let total: u32 = (0..self.roots).map(|node| self.unigram(node)).sum();
        for node in 0..self.roots {
            let token = usize::from(self.levels[0].token(node));
            probabilities[token] +=
                (1.0 - GRAIN) * f64::from(self.unigram(node)) / f64::from(total);
        }
        for length in 1..ORDER.min(history.len() + 1) {
            let context = &history[history.len() - length..];
            // A context that was never seen has no longer one that was.
            let Some((first, past)) = self.followers(context) else {
                break;
            };
            self.refine(&mut probabilities, self.levels[length], first, past);
        }
        probabilities
    }

    fn unigram(&self, node: usize) -> u32 {
        match self.levels[0].token(node) {
            BEGIN => 0,
            _ => u32::from(self.levels[0].count(node)),
        }
    }

    /// Nodes of the tokens seen after a context, in the level of its length.
    fn followers(&self, context: &[u16]) -> Option<(usize, usize)> {
        let mut range = (0, self.roots);
        for (level, &token) in self.levels.iter().zip(context) {
            range = level.children(level.find(range, token)?);
        }
        (range.0 < range.1).then_some(range)
    }

    fn refine(&self, probabilities: &mut [f64], level: Level, first: usize, past: usize) {
        let total: f64 = (first..past).map(|node| f64::from(level.count(node))).sum();
        let given_up = DISCOUNT * (past - first) as f64 / total;
        for probability in probabilities.iter_mut() {
            *probability *= given_up;
        }
        for node in first..past {
            probabilities[usize::from(level.token(node))] +=
                (f64::from(level.count(node)) - DISCOUNT) / total;
        }
    }
}
