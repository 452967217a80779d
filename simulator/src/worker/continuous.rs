//! A worker that batches by itself: in each iteration every sequence that decodes gives a token,
//! and prompts are read in chunks.
//!
//! Iterations that are all alike (no prompt is read and no sequence ends) are done in one *stretch*;
//! one that comes meanwhile ends the stretch with the iteration that is going on.

use std::collections::{HashSet, VecDeque};

use super::{ContinuousService, Done, Task, Worked};

struct Sequence {
    proxy: usize,
    batch: u64,
    id: u64,
    /// Tokens of its prompt that have not been read.
    prompt: u32,
    /// Tokens that it has not given.
    left: u32,
    blocks: Vec<u64>,
}

#[derive(Clone, Copy)]
struct Stretch {
    began: u64,
    /// Of one iteration.
    took: f64,
    iterations: u32,
}

/// Blocks that were used lately: a young half and an old one.
struct Cache {
    half: usize,
    young: HashSet<u64>,
    old: HashSet<u64>,
}

/// Sequences of a run are bounded by the slots that the driver gives out.
pub(crate) struct Continuous {
    service: ContinuousService,
    waiting: VecDeque<Sequence>,
    running: Vec<Sequence>,
    stretch: Option<Stretch>,
    cache: Cache,
    /// Members of each batch that have not ended.
    open: Vec<(usize, u64, usize)>,
    worked: f64,
    /// Units of prompts, and those that were in the cache.
    asked: f64,
    found: f64,
}

// === impl Cache ===

impl Cache {
    fn has(&self, block: u64) -> bool {
        self.young.contains(&block) || self.old.contains(&block)
    }

    fn put(&mut self, block: u64) {
        if self.half == 0 {
            return;
        }
        if self.young.len() >= self.half && !self.young.contains(&block) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(block);
    }
}

// === impl Continuous ===

impl Continuous {
    pub(crate) fn new(service: ContinuousService) -> Self {
        Self {
            cache: Cache {
                half: service.cache / 2,
                young: HashSet::new(),
                old: HashSet::new(),
            },
            service,
            waiting: VecDeque::new(),
            running: Vec::new(),
            stretch: None,
            open: Vec::new(),
            worked: 0.0,
            asked: 0.0,
            found: 0.0,
        }
    }

    pub(crate) fn submit(&mut self, now: u64, task: Task) {
        self.open.push((task.proxy, task.batch, task.members.len()));
        for member in task.members {
            self.waiting.push_back(Sequence {
                proxy: task.proxy,
                batch: task.batch,
                id: member.id,
                prompt: member.input.max(1),
                left: member.output.max(1),
                blocks: member.blocks,
            });
        }
        match &mut self.stretch {
            None => self.begin(now),
            Some(stretch) => {
                let since = now.saturating_sub(stretch.began) as f64;
                let begun = (since / stretch.took).floor() as u32 + 1;
                stretch.iterations = stretch.iterations.min(begun);
            }
        }
    }

    fn begin(&mut self, now: u64) {
        let it = &self.service;
        while self.running.len() < it.sequences as usize
            && let Some(mut sequence) = self.waiting.pop_front()
        {
            let known = sequence
                .blocks
                .iter()
                .take_while(|one| self.cache.has(**one));
            let cached = u32::try_from(known.count())
                .unwrap_or(0)
                .saturating_mul(it.block);
            let asked = sequence.prompt;
            sequence.prompt = asked.saturating_sub(cached).max(1);
            self.asked += f64::from(asked);
            self.found += f64::from(asked - sequence.prompt);
            for block in std::mem::take(&mut sequence.blocks) {
                self.cache.put(block);
            }
            self.running.push(sequence);
        }
        let prompts: u64 = self.running.iter().map(|one| u64::from(one.prompt)).sum();
        let read = prompts.min(u64::from(it.chunk));
        let decoding = self.running.iter().filter(|one| one.prompt == 0);
        let least = decoding.clone().map(|one| one.left).min();
        let took = it.step + it.sequence * decoding.count() as f64 + it.prefill * read as f64 / 1e3;
        self.stretch = (!self.running.is_empty()).then_some(Stretch {
            began: now,
            took,
            iterations: if prompts > 0 { 1 } else { least.unwrap_or(1) },
        });
    }

    pub(crate) fn next(&self) -> Option<u64> {
        self.stretch
            .map(|it| it.began + ((it.took * f64::from(it.iterations)).round() as u64).max(1))
    }

    pub(crate) fn wake(&mut self, now: u64, done: &mut Vec<Done>) {
        let (Some(stretch), Some(end)) = (self.stretch, self.next()) else {
            return;
        };
        if now < end {
            return;
        }
        self.worked += end.saturating_sub(stretch.began) as f64;
        let mut chunk = self.service.chunk;
        let mut ended = Vec::new();
        for sequence in &mut self.running {
            if sequence.prompt > 0 {
                let read = sequence.prompt.min(chunk);
                sequence.prompt -= read;
                chunk -= read;
                if sequence.prompt > 0 {
                    continue;
                }
                // Reading the end of a prompt gives the first token.
                done.push(Done::First(sequence.proxy, sequence.batch, sequence.id));
                sequence.left -= 1;
            } else {
                sequence.left = sequence.left.saturating_sub(stretch.iterations);
            }
            if sequence.left == 0 {
                ended.push((sequence.proxy, sequence.batch, sequence.id));
            }
        }
        self.running.retain(|one| one.prompt > 0 || one.left > 0);
        for (proxy, batch, id) in ended {
            done.push(Done::Member(proxy, batch, id));
            let same = |open: &(usize, u64, usize)| open.0 == proxy && open.1 == batch;
            if let Some(at) = self.open.iter().position(same) {
                self.open[at].2 -= 1;
                if self.open[at].2 == 0 {
                    self.open.swap_remove(at);
                    done.push(Done::Batch(proxy, batch));
                }
            }
        }
        self.begin(now);
    }

    pub(crate) fn load(&self) -> (u32, u32) {
        (self.waiting.len() as u32, self.running.len() as u32)
    }

    pub(crate) fn worked(&self) -> Worked {
        Worked {
            time: self.worked,
            lanes: 1.0,
            asked: self.asked,
            found: self.found,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Member, Service};
    use super::*;

    fn worker(text: &str) -> Continuous {
        match Service::read(text).unwrap() {
            Service::Continuous(it) => Continuous::new(it),
            Service::Batch(_) => unreachable!("it is a continuous one"),
        }
    }

    fn task(batch: u64, input: u32, output: u32, blocks: &[u64]) -> Task {
        Task {
            proxy: 0,
            batch,
            members: vec![Member {
                id: batch,
                input,
                output,
                blocks: blocks.to_vec(),
            }],
        }
    }

    /// Instants of first outputs and of ends, by batch.
    fn play(
        worker: &mut Continuous,
        mut until: impl FnMut(&mut Continuous, u64),
    ) -> Vec<(u64, Done)> {
        let mut all = Vec::new();
        while let Some(now) = worker.next() {
            let mut done = Vec::new();
            worker.wake(now, &mut done);
            all.extend(done.into_iter().map(|one| (now, one)));
            until(worker, now);
        }
        all
    }

    #[test]
    fn a_prompt_is_read_and_then_a_token_comes_each_step() {
        let mut worker = worker("continuous:step-us=1000,sequence-us=100,prefill-ns=10000");
        worker.submit(0, task(1, 50, 5, &[]));
        let all = play(&mut worker, |_, _| {});
        assert_eq!(
            all,
            [
                (1500, Done::First(0, 1, 1)),
                (5900, Done::Member(0, 1, 1)),
                (5900, Done::Batch(0, 1)),
            ]
        );
    }

    #[test]
    fn one_that_comes_joins_at_the_next_iteration() {
        let mut worker = worker("continuous:step-us=1000,sequence-us=0,prefill-ns=0");
        worker.submit(0, task(1, 1, 100, &[]));
        let mut sent = false;
        let all = play(&mut worker, |worker, _| {
            if !std::mem::replace(&mut sent, true) {
                // In the middle of the third iteration, the stretch being of 99.
                worker.submit(2500, task(2, 1, 1, &[]));
                assert_eq!(worker.next(), Some(3000));
            }
        });
        assert!(all.contains(&(4000, Done::Member(0, 2, 2))));
        assert!(all.contains(&(100_000, Done::Member(0, 1, 1))));
    }

    #[test]
    fn a_known_beginning_is_not_read_again() {
        let mut worker =
            worker("continuous:step-us=1,sequence-us=0,prefill-ns=1000000,block=10,cache=8");
        worker.submit(0, task(1, 40, 1, &[7, 8, 9]));
        worker.stretch.unwrap();
        let first = worker.next().unwrap();
        play(&mut worker, |_, _| {});
        worker.submit(first, task(2, 40, 1, &[7, 8, 99]));
        assert_eq!(worker.next().unwrap() - first, 1 + 20_000);
    }
}
