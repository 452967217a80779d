//! The clock that interrupts guests: a thread that advances the engine's epoch while a guest
//! is being called, and sleeps when none is.
//!
//! A tick does not end a call; it only wakes the callback in [`crate::budget`]. A proxy that
//! nobody asks anything is not woken a thousand times a second for it: after [`LINGER`] ticks
//! without a call the thread parks, and the next call wakes it.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, Thread},
    time::Duration,
};

use wasmtime::Engine;

/// How often a running guest is looked at.
pub(crate) const TICK: Duration = Duration::from_millis(1);

/// Ticks without a call after which the clock stops: waking it costs a call more than a tick
/// costs the thread.
const LINGER: u32 = 50;

/// Ends the clock's thread when it is dropped.
pub(crate) struct Clock {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// Calls that run.
    calls: AtomicUsize,
    asleep: AtomicBool,
    ended: AtomicBool,
    thread: OnceLock<Thread>,
}

/// The way for a store's calls to keep the clock going.
#[derive(Clone)]
pub(crate) struct Pacer(Arc<Shared>);

/// A call that runs: while there is one, the clock ticks.
#[must_use = "the clock may sleep once this is dropped, and the call would have no limit"]
pub(crate) struct Running(Arc<Shared>);

impl Clock {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system gives none.
    pub(crate) fn start(engine: &Engine) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let (engine, of_thread) = (engine.weak(), shared.clone());
        let handle = thread::Builder::new()
            .name("epochs".into())
            .spawn(move || {
                of_thread.tick(|| {
                    if let Some(engine) = engine.upgrade() {
                        engine.increment_epoch();
                    }
                });
            })?;
        let _ = shared.thread.set(handle.thread().clone());
        // Nobody could have woken it before it was known.
        handle.thread().unpark();
        Ok(Self { shared })
    }

    pub(crate) fn pacer(&self) -> Pacer {
        Pacer(self.shared.clone())
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        self.shared.wake();
    }
}

impl Pacer {
    /// A call begins.
    pub(crate) fn running(&self) -> Running {
        // Before the look at `asleep`, as the clock says that it sleeps before it looks for
        // calls: one of the two sees the other.
        self.0.calls.fetch_add(1, Ordering::SeqCst);
        if self.0.asleep.load(Ordering::SeqCst) {
            self.0.wake();
        }
        Running(self.0.clone())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.calls.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Shared {
    fn wake(&self) {
        self.asleep.store(false, Ordering::SeqCst);
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    fn tick(&self, tick: impl Fn()) {
        let mut quiet = 0;
        while !self.ended.load(Ordering::SeqCst) {
            if quiet < LINGER {
                thread::park_timeout(TICK);
                tick();
                let idle = self.calls.load(Ordering::SeqCst) == 0;
                quiet = if idle { quiet + 1 } else { 0 };
                continue;
            }
            self.asleep.store(true, Ordering::SeqCst);
            if self.calls.load(Ordering::SeqCst) == 0 && !self.ended.load(Ordering::SeqCst) {
                thread::park();
            }
            self.asleep.store(false, Ordering::SeqCst);
            quiet = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, time::Instant};

    use super::*;

    /// Far more than a tick, far less than anybody waits for a test.
    const CEILING: Duration = Duration::from_secs(20);

    /// A clock whose ticks are told.
    fn clock() -> (Pacer, mpsc::Receiver<()>, thread::JoinHandle<()>) {
        let shared = Arc::new(Shared::default());
        let (tell, ticks) = mpsc::sync_channel(LINGER as usize * 8);
        let of_thread = shared.clone();
        let handle = thread::spawn(move || {
            of_thread.tick(|| {
                let _ = tell.try_send(());
            })
        });
        let _ = shared.thread.set(handle.thread().clone());
        (Pacer(shared), ticks, handle)
    }

    fn asleep(pacer: &Pacer) {
        let begun = Instant::now();
        while !pacer.0.asleep.load(Ordering::SeqCst) {
            assert!(begun.elapsed() < CEILING, "it goes on ticking");
            thread::yield_now();
        }
    }

    #[test]
    fn it_sleeps_without_calls_and_ticks_while_one_runs() {
        let (pacer, ticks, handle) = clock();
        for _ in 0..3 {
            asleep(&pacer);
            while ticks.try_recv().is_ok() {}
            let running = pacer.running();
            // Many more than it lingers for: a call keeps it going however long it takes.
            for _ in 0..LINGER * 3 {
                ticks.recv_timeout(CEILING).expect("a tick");
            }
            drop(running);
        }
        drop(Clock { shared: pacer.0 });
        handle.join().unwrap();
    }
}
