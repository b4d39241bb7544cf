//! The tests of Pointsman on every host that we have. Each file beside this one is a test program
//! of its own, listed in `Cargo.toml`; here is what several of them use: to wait, clients under
//! whose load something happens, and servers of raw bytes, for what no good server does.

use host_sim::client::{Client, at_work};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

/// How long a test waits for what must come at last, on whatever machine.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// How often it looks.
pub const GLANCE: Duration = Duration::from_millis(20);

/// Waits until there is something to be seen.
///
/// # Panics
/// Where that takes longer than [`PATIENCE`].
pub fn until(what: &str, mut look: impl FnMut() -> bool) {
    let start = Instant::now();
    while !look() {
        assert!(
            start.elapsed() < PATIENCE,
            "not within {PATIENCE:?}: {what}"
        );
        sleep(GLANCE);
    }
}

/// Clients at work.
pub struct Load<'l> {
    /// How many jobs each has done.
    done: &'l [AtomicUsize],
    /// That one of them panicked: then it is no use to wait.
    fails: &'l dyn Fn() -> bool,
}

impl Load<'_> {
    /// Waits until they have done so many more jobs.
    pub fn more(&self, jobs: usize) {
        let done = || -> usize {
            self.done
                .iter()
                .map(|client| client.load(Ordering::Relaxed))
                .sum()
        };
        let before = done();
        self.wait("more jobs are done", || done() >= before + jobs);
    }

    /// Waits until each of them has begun another job, and ended it.
    pub fn turn(&self) {
        for client in self.done {
            let before = client.load(Ordering::Relaxed);
            // The next to end had begun before.
            self.wait("every client ends a job", || {
                client.load(Ordering::Relaxed) >= before + 2
            });
        }
    }

    fn wait(&self, what: &str, mut look: impl FnMut() -> bool) {
        until(what, || look() || (self.fails)());
    }
}

/// Acts while so many clients, each with a connection of its own, do this job over and over. The
/// load ends with the act, also where that panics.
pub fn under_load(
    address: SocketAddr,
    clients: usize,
    job: impl Fn(&mut Client) + Sync,
    act: impl FnOnce(&Load),
) {
    let done: Vec<_> = (0..clients).map(|_| AtomicUsize::new(0)).collect();
    let work = |number: usize, over: &AtomicBool| {
        let mut client = Client::new(address).unwrap();
        while !over.load(Ordering::Relaxed) {
            job(&mut client);
            done[number].fetch_add(1, Ordering::Relaxed);
        }
    };
    at_work(clients, work, |has_ended| {
        act(&Load {
            done: &done,
            fails: has_ended,
        });
    });
}

/// What a server does after its answer.
#[derive(Clone, Copy)]
pub enum Then {
    /// Closes the connection.
    Close,
    /// Nothing, until the client closes it.
    Wait,
}

/// A server that answers each connection's first request with these bytes. It stays for as long as
/// the process.
pub fn server(answer: &'static str, then: Then) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            spawn(move || {
                let mut bytes = [0; 4096];
                let _ = stream.read(&mut bytes);
                let _ = stream.write_all(answer.as_bytes());
                if let Then::Wait = then {
                    while stream.read(&mut bytes).is_ok_and(|size| size > 0) {}
                }
            });
        }
    });
    address
}

/// Reads until these bytes have come.
///
/// # Panics
/// Where the connection ends before, or the next of them takes longer than [`PATIENCE`].
pub fn read_until(stream: &mut TcpStream, end: &str) {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut received = Vec::new();
    let mut bytes = [0; 4096];
    while !received
        .windows(end.len())
        .any(|window| window == end.as_bytes())
    {
        match stream.read(&mut bytes) {
            // A child that ends, such as another test's Envoy, sends a signal.
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Ok(size) if size > 0 => received.extend_from_slice(&bytes[..size]),
            ended => panic!("{ended:?} after {}", String::from_utf8_lossy(&received)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    const ANSWER: &str = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

    fn ask(client: &mut Client) {
        client.get("a", "/").unwrap();
    }

    #[test]
    fn a_load_goes_on_for_as_long_as_the_act() {
        let address = server(ANSWER, Then::Close);
        let jobs = AtomicUsize::new(0);
        let job = |client: &mut Client| {
            ask(client);
            jobs.fetch_add(1, Ordering::Relaxed);
        };
        under_load(address, 3, job, |load| {
            load.more(10);
            assert!(jobs.load(Ordering::Relaxed) >= 10);
            load.turn();
        });
    }

    #[test]
    fn a_load_ends_when_the_act_panics_and_when_a_job_does() {
        let address = server(ANSWER, Then::Close);
        let panics = |job: fn(&mut Client), act: &dyn Fn(&Load)| {
            catch_unwind(AssertUnwindSafe(|| under_load(address, 3, job, act))).is_err()
        };
        assert!(panics(ask, &|_| panic!()));
        assert!(panics(|_| panic!(), &|load| load.more(1)));
        assert!(panics(|_| panic!(), &|load| load.turn()));
    }
}
