//! Random bytes for names: of requests, traces and spans, and seeds.
//!
//! They come from the operating system, which is asked for many at a time: asking costs more
//! than a request's whole record, and a request needs them three times over.

use std::cell::RefCell;

/// Bytes asked for at once, a thread.
const POOL: usize = 512;

struct Pool {
    bytes: [u8; POOL],
    left: usize,
}

thread_local! {
    static RANDOM: RefCell<Pool> = const {
        RefCell::new(Pool { bytes: [0; POOL], left: 0 })
    };
}

/// Random bytes, `N` of them, at most 512; no two calls are given the same ones.
///
/// # Panics
/// When the operating system has none to give, which it says at a process's start or never.
#[must_use]
pub fn random<const N: usize>() -> [u8; N] {
    const { assert!(N <= POOL) };
    RANDOM.with_borrow_mut(|pool| {
        if pool.left < N {
            getrandom::fill(&mut pool.bytes).expect("the operating system gives random bytes");
            pool.left = POOL;
        }
        let end = pool.left;
        pool.left -= N;
        let mut taken = [0; N];
        taken.copy_from_slice(&pool.bytes[end - N..end]);
        taken
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_two_are_the_same_across_pools_and_threads() {
        let many = || (0..POOL).map(|_| random::<16>()).collect::<Vec<_>>();
        let other = std::thread::spawn(many);
        let mut seen: HashSet<[u8; 16]> = many().into_iter().collect();
        seen.extend(other.join().unwrap());
        assert_eq!(seen.len(), 2 * POOL);
        assert!(!seen.contains(&[0; 16]));
    }
}
