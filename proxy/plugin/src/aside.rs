//! Work that may take seconds beside requests that may not: on threads of its own, of a lower
//! priority, so that whoever answers requests has the processor first.
//!
//! A priority is a thread's on Linux (setpriority(2), "C library/kernel differences"). wasmtime
//! compiles the functions of a component on the pool of threads that it is called from, so that all
//! of a compilation stands back, and not its first thread alone.
//!
//! The threads are made once, when they are first needed, and sleep in between. A thread allocates
//! from a part of the heap that it is given when it begins: with new threads for each load, what
//! generations keep for as long as they serve would be spread over all parts of it.

use std::{num::NonZero, sync::OnceLock, thread};

use rayon::{ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder};

/// How much these threads stand back (nice(2)). Some tenth of a request's share of a processor that
/// is full: one of them may hold what requests wait for, a page table or an arena of the allocator,
/// and must come to let go of it.
const NICE: i32 = 10;

/// Most threads: beyond a few a compilation waits for its largest function.
const MOST: usize = 4;

/// Does the work and waits for it. Where no threads can be had, or none may stand back, it is done
/// all the same.
pub fn aside<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    static POOL: OnceLock<Result<ThreadPool, ThreadPoolBuildError>> = OnceLock::new();
    match POOL.get_or_init(pool) {
        Ok(pool) => pool.install(work),
        Err(error) => {
            tracing::warn!(%error, "no threads to load plugins on: loading on this one");
            work()
        }
    }
}

fn pool() -> Result<ThreadPool, ThreadPoolBuildError> {
    ThreadPoolBuilder::new()
        .num_threads(
            thread::available_parallelism()
                .map_or(1, NonZero::get)
                .min(MOST),
        )
        .thread_name(|number| format!("aside {number}"))
        .start_handler(|_| {
            if let Err(error) = stand_back() {
                tracing::debug!(%error, "loading plugins does not stand back behind requests");
            }
        })
        .build()
}

/// Has the calling thread stand back, unless it does so further already.
fn stand_back() -> rustix::io::Result<()> {
    match rustix::process::getpriority_process(None)? {
        ..NICE => rustix::process::setpriority_process(None, NICE),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs};

    use super::*;
    use crate::engine::{HostLimits, Sandbox};

    fn nice() -> i32 {
        rustix::process::getpriority_process(None).expect("one's own priority is known")
    }

    /// The threads of this process that were made for work aside, by the kernel's numbers.
    fn threads() -> BTreeSet<String> {
        let tasks = fs::read_dir("/proc/self/task").expect("Linux tells");
        let named = tasks.filter_map(|task| {
            let task = task.ok()?;
            let name = fs::read_to_string(task.path().join("comm")).ok()?;
            name.starts_with("aside ")
                .then(|| task.file_name().to_string_lossy().into_owned())
        });
        named.collect()
    }

    #[test]
    fn it_stands_back_with_all_its_threads_and_leaves_others_as_they_were() {
        let before = nice();
        let (own, others) = aside(|| (nice(), rayon::broadcast(|_| nice())));
        // Who stands back further already stays there.
        let wanted = before.max(NICE);
        assert_eq!(own, wanted);
        assert!(others.iter().all(|nice| *nice == wanted), "{others:?}");
        assert_eq!(nice(), before);
    }

    #[test]
    fn however_often_something_is_loaded_it_is_done_by_the_same_few_threads() {
        /// A component with a module in it, of one function.
        const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0\
            \x01\x18\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x03\x02\x01\0\x0a\x04\x01\x02\0\x0b";
        let sandbox = Sandbox::new(HostLimits {
            instances: 4,
            memory: 1 << 20,
        })
        .expect("it starts");
        let load = || aside(|| sandbox.compile(COMPONENT).map(drop)).expect("it compiles");
        load();
        // All of them are there, and have told their names, when each has done something.
        aside(|| rayon::broadcast(|_| ()));
        let first = threads();
        assert!((1..=MOST).contains(&first.len()), "{first:?}");
        for _ in 0..50 {
            load();
        }
        assert_eq!(threads(), first);
    }
}
