//! A worker that does batches as they come, one in each lane; more wait in the order of arrival.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use super::{BatchService, Done, Task, Worked};
use crate::random::Random;

/// Batches of a run are bounded by the slots that the driver gives out.
pub(crate) struct OneShot {
    service: BatchService,
    /// On the way, with when they are there.
    coming: VecDeque<(u64, Task)>,
    waiting: VecDeque<Task>,
    /// `(end, number)`.
    ends: BinaryHeap<Reverse<(u64, u64)>>,
    running: Vec<(u64, Task)>,
    number: u64,
    worked: f64,
}

impl OneShot {
    pub(crate) fn new(service: BatchService) -> Self {
        Self {
            service,
            coming: VecDeque::new(),
            waiting: VecDeque::new(),
            ends: BinaryHeap::new(),
            running: Vec::new(),
            number: 0,
            worked: 0.0,
        }
    }

    pub(crate) fn submit(&mut self, now: u64, task: Task, random: &mut Random) {
        self.coming.push_back((now + self.service.transit, task));
        self.begin(now, random);
    }

    fn begin(&mut self, now: u64, random: &mut Random) {
        while let Some((_, task)) = self.coming.pop_front_if(|(at, _)| *at <= now) {
            self.waiting.push_back(task);
        }
        while self.running.len() < self.service.lanes as usize
            && let Some(task) = self.waiting.pop_front()
        {
            let it = &self.service;
            let input: f64 = task.members.iter().map(|one| f64::from(one.input)).sum();
            let time = it.fixed + it.each * task.members.len() as f64 + it.unit * input;
            let varied = time * (1.0 + it.jitter * (2.0 * random.part() - 1.0));
            let took = varied.round().max(1.0);
            self.worked += took;
            self.number += 1;
            self.ends.push(Reverse((now + took as u64, self.number)));
            self.running.push((self.number, task));
        }
    }

    pub(crate) fn next(&self) -> Option<u64> {
        let end = self.ends.peek().map(|Reverse((at, _))| *at);
        let there = self.coming.front().map(|(at, _)| *at);
        end.into_iter().chain(there).min()
    }

    pub(crate) fn wake(&mut self, now: u64, random: &mut Random, done: &mut Vec<Done>) {
        while let Some(Reverse((at, number))) = self.ends.peek().copied()
            && at <= now
        {
            self.ends.pop();
            let Some(place) = self.running.iter().position(|(one, _)| *one == number) else {
                continue;
            };
            let (_, task) = self.running.swap_remove(place);
            for member in &task.members {
                done.push(Done::First(task.proxy, task.batch, member.id));
                done.push(Done::Member(task.proxy, task.batch, member.id));
            }
            done.push(Done::Batch(task.proxy, task.batch));
        }
        self.begin(now, random);
    }

    pub(crate) fn load(&self) -> (u32, u32) {
        let count = |tasks: &mut dyn Iterator<Item = &Task>| -> u32 {
            tasks.map(|task| task.members.len() as u32).sum()
        };
        (
            count(
                &mut self
                    .waiting
                    .iter()
                    .chain(self.coming.iter().map(|(_, task)| task)),
            ),
            count(&mut self.running.iter().map(|(_, task)| task)),
        )
    }

    pub(crate) fn worked(&self) -> Worked {
        Worked {
            time: self.worked,
            lanes: f64::from(self.service.lanes),
            ..Worked::default()
        }
    }
}
