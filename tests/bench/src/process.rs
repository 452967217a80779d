//! What a process has used: processor time, memory, threads, files, from `/proc`.
//!
//! Processor time stands there twice: exact to the nanosecond for each living thread
//! (`task/*/schedstat`, first number), and in ticks of 10 ms for all that ever lived (`stat`, utime
//! and stime). The first is taken; where threads have ended meanwhile and took their time along,
//! the second, and [`Spent::source`] says so.

use std::{collections::BTreeMap, fs, io, path::Path, sync::OnceLock};

use serde::Serialize;

/// What a process has used so far.
#[derive(Clone, Debug, Serialize)]
pub struct Usage {
    /// The process.
    pub pid: u32,
    /// Processor time so far, in nanoseconds, from `cpu_source`.
    pub cpu_ns: u64,
    /// `schedstat` or `stat`.
    pub cpu_source: Source,
    /// By the ticks of all threads that ever lived, in nanoseconds.
    pub cpu_stat_ns: u64,
    /// Resident memory, in bytes.
    pub rss_bytes: u64,
    /// Of it what no file is behind: the heap, stacks, compiled code, instances. Pages of the program
    /// itself come and go as the kernel likes.
    pub anon_bytes: Option<u64>,
    /// Resident memory, shared pages by their share, in bytes; none where it may not be read.
    pub pss_bytes: Option<u64>,
    /// Threads.
    pub threads: usize,
    /// Open files; none where it may not be read.
    pub fds: Option<usize>,
    /// Nanoseconds of each living thread.
    #[serde(skip)]
    tasks: BTreeMap<u32, u64>,
}

/// Where a processor time is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// Exact, of the threads that live.
    Schedstat,
    /// In ticks, of all.
    Stat,
}

/// Processor time between two looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Spent {
    /// Nanoseconds.
    pub cpu_ns: u64,
    /// Where they are from.
    pub source: Source,
}

impl Usage {
    /// Looks at a process.
    ///
    /// # Errors
    /// When there is no such process, or it may not be looked at.
    pub fn of(pid: u32) -> io::Result<Self> {
        let folder = Path::new("/proc").join(pid.to_string());
        let tasks = tasks(&folder)?;
        let cpu_stat_ns = stat(&fs::read_to_string(folder.join("stat"))?)?;
        let exact = tasks.values().sum();
        let (cpu_ns, cpu_source) = chosen(exact, cpu_stat_ns, tasks.len());
        let status = fs::read_to_string(folder.join("status"))?;
        Ok(Self {
            pid,
            cpu_ns,
            cpu_source,
            cpu_stat_ns,
            rss_bytes: kib(&status, "VmRSS:").unwrap_or(0),
            anon_bytes: kib(&status, "RssAnon:"),
            pss_bytes: fs::read_to_string(folder.join("smaps_rollup"))
                .ok()
                .and_then(|rollup| kib(&rollup, "Pss:")),
            threads: tasks.len(),
            fds: fs::read_dir(folder.join("fd")).ok().map(Iterator::count),
            tasks,
        })
    }

    /// Processor time since an earlier look at the same process.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Spent {
        let ticks = self.cpu_stat_ns.saturating_sub(earlier.cpu_stat_ns);
        let all_live = earlier
            .tasks
            .keys()
            .all(|task| self.tasks.contains_key(task));
        if all_live {
            let sum = |usage: &Self| usage.tasks.values().sum::<u64>();
            let exact = sum(self).saturating_sub(sum(earlier));
            let (cpu_ns, source) = chosen(exact, ticks, self.tasks.len());
            return Spent { cpu_ns, source };
        }
        Spent {
            cpu_ns: ticks,
            source: Source::Stat,
        }
    }
}

/// The exact time, unless the ticks tell of more than their own coarseness explains.
fn chosen(exact: u64, ticks: u64, threads: usize) -> (u64, Source) {
    let coarse = 2 * tick_ns() * (threads as u64 + 1);
    if ticks > exact + coarse {
        (ticks, Source::Stat)
    } else {
        (exact, Source::Schedstat)
    }
}

/// The kernel's tick as programs see it: 10 ms, unless it tells another (`AT_CLKTCK` of its
/// auxiliary vector, pairs of words).
fn tick_ns() -> u64 {
    static TICK: OnceLock<u64> = OnceLock::new();
    *TICK.get_or_init(|| {
        let vector = fs::read("/proc/self/auxv").unwrap_or_default();
        let words = vector.chunks_exact(size_of::<usize>()).map(|word| {
            let word = word.try_into().expect("chunks have that size");
            usize::from_ne_bytes(word) as u64
        });
        let words: Vec<u64> = words.collect();
        let mut pairs = words.chunks_exact(2);
        let told = pairs.find(|pair| pair[0] == AT_CLKTCK);
        1_000_000_000 / told.map_or(100, |pair| pair[1]).max(1)
    })
}

const AT_CLKTCK: u64 = 17;

fn tasks(folder: &Path) -> io::Result<BTreeMap<u32, u64>> {
    let mut tasks = BTreeMap::new();
    for entry in fs::read_dir(folder.join("task"))? {
        let entry = entry?;
        let Some(task) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        // A thread may end between the list and the look.
        let Ok(line) = fs::read_to_string(entry.path().join("schedstat")) else {
            continue;
        };
        let spent = line
            .split_whitespace()
            .next()
            .and_then(|ns| ns.parse().ok());
        tasks.insert(task, spent.unwrap_or(0));
    }
    Ok(tasks)
}

/// utime and stime of `/proc/PID/stat`: fields 14 and 15, counted behind the name, which may
/// hold anything, closing parentheses too.
fn stat(line: &str) -> io::Result<u64> {
    let odd = || io::Error::new(io::ErrorKind::InvalidData, "/proc/PID/stat is odd");
    let behind = line.rfind(')').ok_or_else(odd)? + 1;
    let mut fields = line[behind..].split_whitespace().skip(11);
    let mut ticks = || fields.next().and_then(|field| field.parse::<u64>().ok());
    let (user, system) = (ticks().ok_or_else(odd)?, ticks().ok_or_else(odd)?);
    Ok((user + system) * tick_ns())
}

/// A line `Name:   123 kB`, in bytes.
fn kib(lines: &str, name: &str) -> Option<u64> {
    let line = lines.lines().find_map(|line| line.strip_prefix(name))?;
    let number: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(number * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_seen() {
        let earlier = Usage::of(std::process::id()).unwrap();
        let mut sum = 0_u64;
        for at in 0..20_000_000_u64 {
            sum = std::hint::black_box(sum ^ at);
        }
        let later = Usage::of(std::process::id()).unwrap();
        assert!(later.since(&earlier).cpu_ns > 0);
        assert!(later.rss_bytes > 0 && later.threads > 0);
        let anon = later.anon_bytes.expect("Linux tells");
        assert!((1..later.rss_bytes).contains(&anon), "{anon}");
        assert!(later.fds.unwrap() > 0 && later.pss_bytes.unwrap() > 0);
        assert!(Usage::of(u32::MAX).is_err());
    }

    #[test]
    fn a_name_may_hold_anything() {
        let line = "7 (a) 9 b) S 1 1 1 0 -1 4194304 1 0 0 0 250 50 0 0 20 0 1 0 1 1 1";
        assert_eq!(stat(line).unwrap(), 300 * tick_ns());
        assert!(stat("7 (a) S 1").is_err());
    }

    #[test]
    fn time_of_threads_that_ended_is_taken_from_the_ticks() {
        assert_eq!(chosen(5, 4, 1), (5, Source::Schedstat));
        let lost = 100 * tick_ns();
        assert_eq!(chosen(5, lost, 1), (lost, Source::Stat));
    }
}
