//! A baton between real threads: one runs at a time, and each host call hands the baton to a worker
//! that a seed chooses. The interleaving is a function of the seed, however the machine schedules.

use std::sync::{Condvar, Mutex};

/// The baton.
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
    /// A baton for so many workers, all of which will run. The seed chooses who begins, too.
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

    /// Waits for this worker's turn: before its first step. It leaves when the result is dropped,
    /// also in a panic, so that the others do not wait for ever.
    pub fn enter(&self, worker: usize) -> Entered<'_> {
        let turn = self.turn.lock().unwrap();
        drop(
            self.changed
                .wait_while(turn, |turn| turn.holder != worker)
                .unwrap(),
        );
        Entered {
            baton: self,
            worker,
        }
    }

    /// Hands the baton on, perhaps to the same worker, and waits until it is back. Called by its
    /// holder.
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

/// A worker that runs. Dropping it is its end.
pub struct Entered<'a> {
    baton: &'a Baton,
    worker: usize,
}

impl Drop for Entered<'_> {
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
