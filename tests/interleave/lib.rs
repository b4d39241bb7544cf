//! A deterministic scheduler for real threads: one thread runs at a time, and at each step a seed
//! chooses the next. So the interleaving is a function of the seed, however the operating system
//! schedules the threads, and a test that fails names the seed that repeats it.
//!
//! The threads are those of a test; a step is whatever they share, such as a call to a host.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// The scheduler of the threads of one run.
#[derive(Debug)]
pub struct Scheduler {
    turn: Mutex<Turn>,
    changed: Condvar,
}

#[derive(Debug)]
struct Turn {
    random: fastrand::Rng,
    /// The threads that take part.
    running: Vec<usize>,
    /// The thread whose turn it is.
    holder: usize,
}

impl Scheduler {
    /// A scheduler of threads with the numbers from 0 to below `threads`, all of which must
    /// [`enter`](Scheduler::enter). The seed also chooses the first.
    pub fn new(threads: usize, seed: u64) -> Scheduler {
        let mut turn = Turn {
            random: fastrand::Rng::with_seed(seed),
            running: (0..threads).collect(),
            holder: 0,
        };
        turn.choose();
        Scheduler {
            turn: Mutex::new(turn),
            changed: Condvar::new(),
        }
    }

    /// Waits for the first turn of a thread, which calls this before its first step. The thread
    /// takes part until the result is dropped, in a panic too, so that the others do not wait for
    /// it.
    pub fn enter(&self, thread: usize) -> Participation<'_> {
        self.wait(self.turn(), thread);
        Participation {
            scheduler: self,
            thread,
        }
    }

    /// Ends the turn of a thread, which must be the one whose turn it is, and waits for its next
    /// turn. That may be at once.
    pub fn pass(&self, thread: usize) {
        let mut turn = self.turn();
        turn.choose();
        self.changed.notify_all();
        self.wait(turn, thread);
    }

    fn wait(&self, turn: MutexGuard<'_, Turn>, thread: usize) {
        let waited = self.changed.wait_while(turn, |turn| turn.holder != thread);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    fn turn(&self) -> MutexGuard<'_, Turn> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The part of one thread in a run, which ends when this is dropped.
#[derive(Debug)]
pub struct Participation<'s> {
    scheduler: &'s Scheduler,
    thread: usize,
}

impl Drop for Participation<'_> {
    fn drop(&mut self) {
        let mut turn = self.scheduler.turn();
        turn.running.retain(|other| *other != self.thread);
        turn.choose();
        self.scheduler.changed.notify_all();
    }
}

impl Turn {
    fn choose(&mut self) {
        if let Some(thread) = self.random.choice(&self.running) {
            self.holder = *thread;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::thread::scope;

    fn trace(seed: u64) -> Vec<usize> {
        let scheduler = Scheduler::new(3, seed);
        let trace = Mutex::new(Vec::new());
        scope(|scope| {
            for thread in 0..3 {
                let (scheduler, trace) = (&scheduler, &trace);
                scope.spawn(move || {
                    let _entered = scheduler.enter(thread);
                    for _ in 0..20 {
                        trace.lock().unwrap().push(thread);
                        scheduler.pass(thread);
                    }
                });
            }
        });
        trace.into_inner().unwrap()
    }

    #[test]
    fn a_seed_is_an_interleaving() {
        assert_eq!(trace(1), trace(1));
        assert_ne!(trace(1), trace(2));
        assert_eq!(trace(7).len(), 60);
    }

    #[test]
    fn threads_that_end_or_panic_do_not_keep_the_others_waiting() {
        let scheduler = Scheduler::new(3, 1);
        let steps = Mutex::new([0; 3]);
        let run = |thread: usize| {
            let _entered = scheduler.enter(thread);
            for step in 0..10 {
                assert!((thread, step) != (1, 5), "as this test wants it");
                steps.lock().unwrap()[thread] += 1;
                if (thread, step) == (2, 2) {
                    return;
                }
                scheduler.pass(thread);
            }
        };
        scope(|scope| {
            for thread in 0..3 {
                let run = &run;
                scope.spawn(move || catch_unwind(AssertUnwindSafe(|| run(thread))));
            }
        });
        assert_eq!(*steps.lock().unwrap(), [10, 5, 3]);
    }
}
