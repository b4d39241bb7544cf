//! A deterministic scheduler for real threads: only the thread that has the baton runs, and each
//! host call passes the baton to a worker that a seed chooses. So the interleaving is a function of
//! the seed, however the operating system schedules the threads.

use std::sync::{Condvar, Mutex};

/// The baton of one race.
#[derive(Debug)]
pub struct Baton {
    turn: Mutex<Turn>,
    changed: Condvar,
}

#[derive(Debug)]
struct Turn {
    random: fastrand::Rng,
    running: Vec<usize>,
    holder: usize,
}

impl Baton {
    /// A baton for so many workers, all of which will run. The seed also chooses the first.
    pub fn new(workers: usize, seed: u64) -> Baton {
        let mut turn = Turn {
            random: fastrand::Rng::with_seed(seed),
            running: (0..workers).collect(),
            holder: 0,
        };
        turn.choose();
        Baton {
            turn: Mutex::new(turn),
            changed: Condvar::new(),
        }
    }

    /// Waits for this worker's first turn. The worker takes part until the result is dropped, in a
    /// panic too, so that the others do not wait for it.
    pub fn enter(&self, worker: usize) -> Participation<'_> {
        let turn = self.turn.lock().unwrap();
        drop(
            self.changed
                .wait_while(turn, |turn| turn.holder != worker)
                .unwrap(),
        );
        Participation {
            baton: self,
            worker,
        }
    }

    /// Passes the baton, perhaps to the same worker, and waits until it is back. The caller has to
    /// be its holder.
    pub fn pass(&self, worker: usize) {
        let mut turn = self.turn.lock().unwrap();
        turn.choose();
        self.changed.notify_all();
        drop(
            self.changed
                .wait_while(turn, |turn| turn.holder != worker)
                .unwrap(),
        );
    }
}

/// A worker's participation in the race, which ends when this is dropped.
pub struct Participation<'a> {
    baton: &'a Baton,
    worker: usize,
}

impl Drop for Participation<'_> {
    fn drop(&mut self) {
        let mut turn = self.baton.turn.lock().unwrap();
        turn.running.retain(|other| *other != self.worker);
        turn.choose();
        self.baton.changed.notify_all();
    }
}

impl Turn {
    fn choose(&mut self) {
        if let Some(worker) = self.random.choice(&self.running) {
            self.holder = *worker;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace(seed: u64) -> Vec<usize> {
        let baton = Baton::new(3, seed);
        let trace = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for worker in 0..3 {
                let (baton, trace) = (&baton, &trace);
                scope.spawn(move || {
                    let _entered = baton.enter(worker);
                    for _ in 0..20 {
                        trace.lock().unwrap().push(worker);
                        baton.pass(worker);
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
}
