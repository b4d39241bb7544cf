//! Clients that work at the same time, each on a thread of its own.

use crate::client::Client;
use crate::wait::until;
use std::net::SocketAddr;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::scope;

/// Runs `job` once for each client, all of them at the same time, and returns the results in the
/// order of the clients. A job gets its client's number, from 0.
///
/// # Panics
/// Where a job does.
pub fn run<T: Send>(clients: usize, job: impl Fn(usize) -> T + Sync) -> Vec<T> {
    run_while(clients, |jobs| job(jobs.client()), |_| ()).0
}

/// Runs `act` while clients work, and returns what each client returned, and what `act` did. The
/// load is over as soon as `act` is, also where that panics; a client learns of it from its
/// [`Jobs`].
///
/// # Panics
/// Where `act` does, or a client.
pub fn run_while<C: Send, T>(
    clients: usize,
    client: impl Fn(Jobs<'_>) -> C + Sync,
    act: impl FnOnce(&Load<'_>) -> T,
) -> (Vec<C>, T) {
    let done: Vec<_> = (0..clients).map(|_| AtomicUsize::new(0)).collect();
    let over = AtomicBool::new(false);
    scope(|scope| {
        let (client, done, over) = (&client, &done, &over);
        let start = |number: usize| {
            scope.spawn(move || {
                client(Jobs {
                    client: number,
                    begun: 0,
                    done: &done[number],
                    over,
                })
            })
        };
        let threads: Vec<_> = (0..clients).map(start).collect();
        let acted = {
            let _over = Over(over);
            act(&Load {
                done,
                has_ended: &|| threads.iter().any(|thread| thread.is_finished()),
            })
        };
        let join = |thread: std::thread::ScopedJoinHandle<'_, C>| {
            thread.join().unwrap_or_else(|panic| resume_unwind(panic))
        };
        (threads.into_iter().map(join).collect(), acted)
    })
}

/// Runs `act` while clients of the server at `address`, each with a connection of its own, repeat
/// `job`.
///
/// # Panics
/// Where `act` does, or a job.
pub fn repeat_while(
    address: SocketAddr,
    clients: usize,
    job: impl Fn(&mut Client) + Sync,
    act: impl FnOnce(&Load<'_>),
) {
    let client = |jobs: Jobs<'_>| {
        let mut client = Client::new(address).expect("a client");
        jobs.for_each(|_| job(&mut client));
    };
    run_while(clients, client, act);
}

/// Says that the load is over when it is dropped: where `act` panics, the scope would otherwise
/// wait for ever for clients that never end.
struct Over<'l>(&'l AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The jobs of one client: an iterator over their numbers, from 0, that ends when the load is over.
/// To ask for the next job is to say that the one before is done.
pub struct Jobs<'l> {
    client: usize,
    begun: usize,
    done: &'l AtomicUsize,
    over: &'l AtomicBool,
}

impl Jobs<'_> {
    /// The client's number, from 0.
    pub fn client(&self) -> usize {
        self.client
    }

    /// Whether the load is over: for a job that would go on for long.
    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }
}

impl Iterator for Jobs<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        self.done.store(self.begun, Ordering::Relaxed);
        if self.is_over() {
            return None;
        }
        self.begun += 1;
        Some(self.begun - 1)
    }
}

/// A load that goes on, for the one that acts meanwhile.
pub struct Load<'l> {
    /// How many jobs each client has done.
    done: &'l [AtomicUsize],
    has_ended: &'l dyn Fn() -> bool,
}

impl Load<'_> {
    /// Whether a client has ended although the load is not over. It has failed, so that it is no
    /// use to wait for it.
    pub fn has_ended(&self) -> bool {
        (self.has_ended)()
    }

    /// Waits until the clients have done `jobs` more jobs, all clients together.
    pub fn wait_for_jobs(&self, jobs: usize) {
        let done = || -> usize {
            let counts = self.done.iter();
            counts.map(|count| count.load(Ordering::Relaxed)).sum()
        };
        let before = done();
        self.wait("more jobs are done", || done() >= before + jobs);
    }

    /// Waits until each client has begun another job, and ended it.
    pub fn wait_for_every_client(&self) {
        for client in self.done {
            let before = client.load(Ordering::Relaxed);
            // The next job to end had begun before.
            self.wait("every client ends a job", || {
                client.load(Ordering::Relaxed) >= before + 2
            });
        }
    }

    fn wait(&self, what: &str, mut condition: impl FnMut() -> bool) {
        until(what, || condition() || self.has_ended());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::raw_server::{self, Then};
    use std::panic::{AssertUnwindSafe, catch_unwind};

    const ANSWER: &str = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

    fn ask(client: &mut Client) {
        client.get("a", "/").unwrap();
    }

    #[test]
    fn every_client_runs_its_job_and_the_results_are_in_order() {
        assert_eq!(run(5, |client| 10 * client), [0, 10, 20, 30, 40]);
        assert!(run(0, |client| client).is_empty());
        assert!(catch_unwind(|| run(3, |client| assert_ne!(client, 1))).is_err());
    }

    #[test]
    fn a_load_goes_on_for_as_long_as_the_act() {
        let address = raw_server::start(ANSWER, Then::Close);
        let jobs = AtomicUsize::new(0);
        let job = |client: &mut Client| {
            ask(client);
            jobs.fetch_add(1, Ordering::Relaxed);
        };
        repeat_while(address, 3, job, |load| {
            load.wait_for_jobs(10);
            assert!(jobs.load(Ordering::Relaxed) >= 10);
            load.wait_for_every_client();
        });
    }

    #[test]
    fn a_load_ends_when_the_act_panics_and_when_a_job_does() {
        let address = raw_server::start(ANSWER, Then::Close);
        let panics = |job: fn(&mut Client), act: &dyn Fn(&Load<'_>)| {
            let load = || repeat_while(address, 3, job, act);
            catch_unwind(AssertUnwindSafe(load)).is_err()
        };
        assert!(panics(ask, &|_| panic!()));
        assert!(panics(|_| panic!(), &|load| load.wait_for_jobs(1)));
        assert!(panics(|_| panic!(), &|load| load.wait_for_every_client()));
    }

    #[test]
    fn clients_count_their_own_jobs_and_hear_that_the_load_is_over() {
        let waiting = AtomicUsize::new(0);
        let client = |mut jobs: Jobs<'_>| {
            let mut numbers = Vec::new();
            while let Some(number) = jobs.next() {
                numbers.push(number);
                if number == 3 {
                    waiting.fetch_add(1, Ordering::Relaxed);
                    while !jobs.is_over() {
                        std::thread::yield_now();
                    }
                }
            }
            (jobs.client(), numbers)
        };
        let (made, acted) = run_while(2, client, |load| {
            until("both wait", || waiting.load(Ordering::Relaxed) == 2);
            assert!(!load.has_ended());
            "acted"
        });
        assert_eq!(made, [(0, vec![0, 1, 2, 3]), (1, vec![0, 1, 2, 3])]);
        assert_eq!(acted, "acted");
    }
}
