//! Calls into a guest that may compute for a while: the thread's other tasks move on meanwhile.
//!
//! Moving them takes two changes of threads, which is much beside a call that only notes that more of
//! a tensor has come, and there is one of those for every piece. So where such a call was over soon,
//! the next one of its kind is made in place; one that is not over soon has others move on again.

use std::time::{Duration, Instant};

use tokio::task::block_in_place;
use tollgate_plugin::LARGE;

/// What is over in this time keeps nobody waiting.
const SOON: Duration = Duration::from_millis(1);

/// How the calls of one exchange, attempt or session are made.
#[derive(Debug, Default)]
pub(crate) struct Courtesy {
    /// The last call for many bytes was over soon.
    quick: bool,
}

impl Courtesy {
    /// A call for so many bytes. `more`: they are some more of what it was called for before, and
    /// not the last of them, at which it may work on all.
    pub(crate) fn call<T>(&mut self, bytes: u64, more: bool, call: impl FnOnce() -> T) -> T {
        if bytes <= LARGE {
            return call();
        }
        let began = Instant::now();
        let result = match more && self.quick {
            true => call(),
            false => block_in_place(call),
        };
        self.quick = began.elapsed() < SOON;
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether it was made in place: on the thread that the runtime's tasks are on.
    fn in_place(courtesy: &mut Courtesy, bytes: u64, more: bool, lasts: Duration) -> bool {
        courtesy.call(bytes, more, || {
            let until = Instant::now() + lasts;
            while Instant::now() < until {
                std::hint::spin_loop();
            }
            // Where others have moved on, a future may be waited for.
            let handle = tokio::runtime::Handle::current();
            std::panic::catch_unwind(|| handle.block_on(async {})).is_err()
        })
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn others_move_on_until_a_call_was_over_soon() {
        let task = tokio::spawn(async {
            let (mut it, now) = (Courtesy::default(), Duration::ZERO);
            let long = SOON * 2;
            assert!(in_place(&mut it, LARGE, false, long), "a small one");
            assert!(!in_place(&mut it, LARGE + 1, true, now), "the first");
            assert!(in_place(&mut it, LARGE + 1, true, now), "after a quick one");
            assert!(!in_place(&mut it, LARGE + 1, false, now), "the last");
            assert!(in_place(&mut it, LARGE + 1, true, long), "not known yet");
            assert!(!in_place(&mut it, LARGE + 1, true, now), "after a slow one");
        });
        task.await.unwrap();
    }
}
