//! A short walk around the corpus without a fuzzer: inputs damaged at random, always the same.

use std::fs;
use std::path::Path;

use tollgate_fuzz::input::Shown;
use tollgate_fuzz::{TARGETS, Target};

/// Damaged inputs a target.
const WALK: usize = 300;
/// Bytes that mean something in one of the formats.
const TOKENS: &[&[u8]] = &[
    b"\"",
    b"\\",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"\n",
    b"\r",
    b"\n\n",
    b"data: ",
    b"\x1e",
    b"\n\x1e\n",
    b"\0",
    b"\xff",
    b"\x80",
    b"1e9",
    b"-",
    b"null",
    b"\\u0000",
    b"\xc3\xa9",
];

/// splitmix64.
struct Dice(u64);

impl Dice {
    fn below(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ mixed >> 31) % below.max(1) as u64) as usize
    }
}

fn inputs(target: &Target) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(target.name);
    let mut paths: Vec<_> = fs::read_dir(folder)
        .expect("a corpus")
        .map(|entry| entry.expect("readable").path())
        .collect();
    paths.sort();
    paths
        .iter()
        .map(|path| fs::read(path).expect("readable"))
        .collect()
}

fn damaged(dice: &mut Dice, inputs: &[Vec<u8>]) -> Vec<u8> {
    let mut input = inputs[dice.below(inputs.len())].clone();
    input.truncate(2048);
    for _ in 0..=dice.below(3) {
        let at = dice.below(input.len() + 1);
        let end = (at + dice.below(8)).min(input.len());
        match dice.below(5) {
            0 => drop(input.drain(at..end)),
            1 => drop(input.splice(at..at, TOKENS[dice.below(TOKENS.len())].iter().copied())),
            2 => drop(input.splice(at..end, TOKENS[dice.below(TOKENS.len())].iter().copied())),
            3 => {
                if let Some(byte) = input.get_mut(at) {
                    *byte ^= 1 << dice.below(8);
                }
            }
            _ => {
                let other = &inputs[dice.below(inputs.len())];
                let from = dice.below(other.len() + 1);
                let to = (from + dice.below(40)).min(other.len());
                input.splice(at..at, other[from..to].iter().copied());
            }
        }
    }
    input
}

#[test]
fn damaged_inputs_break_no_promise() {
    for target in TARGETS {
        let inputs = inputs(target);
        let mut dice = Dice(1);
        for _ in 0..WALK {
            let input = damaged(&mut dice, &inputs);
            let _shown = Shown {
                name: target.name,
                data: &input,
            };
            (target.run)(&input);
        }
    }
}
