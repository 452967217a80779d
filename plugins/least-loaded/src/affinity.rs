//! Which workers served which beginnings, and which adapters, lately.
//!
//! A key stands for the beginning of a prompt up to a block (chained, so that it stands for all
//! blocks before it too) with one model, or for a model alone: an adapter is a model of its own,
//! and whoever served it last has it loaded. The longest beginning that is known counts.

use tollgate_sdk_scheduler::recent::{Recent, mixed};
use tollgate_sdk_scheduler::scheduling::{Affinity, Request};

/// Workers that are remembered for one key: a beginning that is asked for much spreads over some.
const HOLDERS: usize = 4;

/// The last workers that served a key, the newest first; 0 is none.
#[derive(Clone, Copy, Default)]
struct Holders([u32; HOLDERS]);

/// What is known of a request's beginning.
#[derive(Clone, Copy, Default)]
pub(crate) struct Known {
    /// Blocks of it that were served; 0: no more than its model, if that.
    pub(crate) blocks: usize,
    holders: Holders,
}

/// A bounded table of them.
pub(crate) struct Table {
    by_key: Recent<Holders>,
}

impl Known {
    /// Who served it, the newest first.
    pub(crate) fn workers(&self) -> impl Iterator<Item = u32> + use<> {
        self.holders.0.into_iter().filter(|worker| *worker != 0)
    }
}

impl Table {
    pub(crate) fn new(bound: usize) -> Self {
        Self {
            by_key: Recent::new(bound),
        }
    }

    /// The longest known part of the request's beginning.
    pub(crate) fn known(&self, request: &Request) -> Known {
        let longest = blocks(request).len();
        let mut keys = (0..=longest).rev().zip(keys(request));
        let known = keys.find_map(|(blocks, key)| {
            let holders = *self.by_key.peek(key)?;
            Some(Known { blocks, holders })
        });
        known.unwrap_or_default()
    }

    /// The request goes to this worker.
    pub(crate) fn note(&mut self, request: &Request, worker: u32) {
        for key in keys(request) {
            let holders = &mut self.by_key.touch(key, Holders::default).0;
            // One that is there already moves to the front; else the oldest makes room.
            let at = holders.iter().position(|one| *one == worker);
            holders[..=at.unwrap_or(HOLDERS - 1)].rotate_right(1);
            holders[0] = worker;
        }
    }
}

fn of_model(request: &Request) -> u64 {
    mixed(u64::from(request.model))
}

/// The hashes of the request's beginning, the shortest first.
pub(crate) fn blocks(request: &Request) -> &[u64] {
    match &request.affinity {
        Affinity::Prefer(blocks) => blocks,
        Affinity::None | Affinity::Pin(_) | Affinity::Other(_) => &[],
    }
}

/// The request's keys, the longest beginning first and the model last.
fn keys(request: &Request) -> impl Iterator<Item = u64> + '_ {
    let model = of_model(request);
    blocks(request)
        .iter()
        .rev()
        .map(move |block| mixed(block ^ model))
        .chain(std::iter::once(model))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(model: u32, blocks: &[u64]) -> Request {
        Request {
            id: 1,
            model,
            tenant: 0,
            batch_key: 0,
            eligible: Vec::new(),
            priority: 0,
            input_cost: 1,
            output_cost: 1,
            arrived: 0,
            deadline: None,
            affinity: Affinity::Prefer(blocks.to_vec()),
            attempts: 0,
            avoid: Vec::new(),
        }
    }

    fn holders(table: &Table, model: u32, blocks: &[u64]) -> Vec<u32> {
        table.known(&request(model, blocks)).workers().collect()
    }

    fn depth(table: &Table, blocks: &[u64]) -> usize {
        table.known(&request(1, blocks)).blocks
    }

    #[test]
    fn the_longest_known_beginning_counts() {
        let mut table = Table::new(100);
        table.note(&request(1, &[10, 11, 12]), 5);
        table.note(&request(1, &[10, 21]), 6);
        assert_eq!(holders(&table, 1, &[10, 11, 12, 13]), [5]);
        assert_eq!(holders(&table, 1, &[10, 21]), [6]);
        assert_eq!(holders(&table, 1, &[10, 99]), [6, 5]);
        assert_eq!(holders(&table, 1, &[77]), [6, 5], "the model alone");
        let depths = [&[10, 11, 12, 13][..], &[10, 99], &[77], &[]].map(|it| depth(&table, it));
        assert_eq!(depths, [3, 1, 0, 0]);
        assert!(holders(&table, 2, &[10, 11]).is_empty(), "another model");
    }

    #[test]
    fn a_key_remembers_a_few_workers_the_newest_first() {
        let mut table = Table::new(100);
        for worker in [1, 2, 3, 4, 5, 3] {
            table.note(&request(1, &[9]), worker);
        }
        assert_eq!(holders(&table, 1, &[9]), [3, 5, 4, 2]);
    }
}
