//! Work that may take seconds beside requests that may not: on threads of its own, of a lower
//! priority, so that whoever answers requests has the processor first.
//!
//! A priority is a thread's on Linux (setpriority(2), "C library/kernel differences"). wasmtime
//! compiles the functions of a component on the pool of threads that it is called from, so that all
//! of a compilation stands back, and not its first thread alone.

/// How much these threads stand back (nice(2)). Some tenth of a request's share of a processor that
/// is full: one of them may hold what requests wait for, a page table or an arena of the allocator,
/// and must come to let go of it.
const NICE: i32 = 10;

/// Does the work and waits for it. Where no threads can be had, or none may stand back, it is done
/// all the same.
pub fn aside<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let pool = rayon::ThreadPoolBuilder::new()
        .thread_name(|number| format!("aside {number}"))
        .start_handler(|_| {
            if let Err(error) = stand_back() {
                tracing::debug!(%error, "loading plugins does not stand back behind requests");
            }
        })
        .build();
    match pool {
        Ok(pool) => pool.install(work),
        Err(error) => {
            tracing::warn!(%error, "no threads to load plugins on: loading on this one");
            work()
        }
    }
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
    use super::*;

    fn nice() -> i32 {
        rustix::process::getpriority_process(None).expect("one's own priority is known")
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
}
