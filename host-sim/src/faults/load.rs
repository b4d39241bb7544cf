//! Steady load, and the ending of each request.

use super::FaultPlan;
use crate::client::{Client, header};
use crate::testkit::load::{Jobs, run_while};
use crate::wait::{TIMEOUT, poll};
use anyhow::Result;
use hyper::Response;
use hyper::body::Bytes;
use std::cell::RefCell;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How a request ended for its client.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Ending {
    /// It was answered as it should be.
    Good,
    /// It failed. Why it did.
    Failed(String),
    /// It was answered, but not as was promised. What was wrong.
    Wrong(String),
}

/// A request of the load. Times are since the load began.
#[derive(Clone, Debug)]
pub(super) struct LoadRequest {
    pub sent: Duration,
    pub ended: Duration,
    pub ending: Ending,
}

/// Sends one request of a client: the client's number, how many requests it has sent before, and
/// the client.
pub(super) type SendRequest<'a> = dyn Fn(usize, usize, &mut Client) -> Ending + Sync + 'a;

impl Ending {
    /// The ending of a request with this answer; `judge` looks at the answer if that is a 200.
    fn of(
        answer: Result<Response<Bytes>>,
        judge: impl FnOnce(&Response<Bytes>) -> Ending,
    ) -> Ending {
        match answer {
            Ok(answer) if answer.status().is_server_error() => Ending::Failed(format!(
                "{} {}",
                answer.status(),
                String::from_utf8_lossy(answer.body())
            )),
            Ok(answer) if answer.status() != 200 => Ending::Wrong(answer.status().to_string()),
            Ok(answer) => judge(&answer),
            Err(error) => Ending::Failed(format!("{error:#}")),
        }
    }
}

/// Sends a `GET` for `/` with these headers. `judge` looks at the answer if that is a 200.
pub(super) fn get(
    client: &mut Client,
    headers: &[(&str, &[u8])],
    judge: impl FnOnce(&Response<Bytes>) -> Ending,
) -> Ending {
    Ending::of(client.get_with("a", "/", headers), judge)
}

/// The simplest load: every answer is as good as another.
pub(super) fn plain(_: usize, _: usize, client: &mut Client) -> Ending {
    get(client, &[], |_| Ending::Good)
}

/// The backend that answered.
pub(super) fn backend(answer: &Response<Bytes>) -> &str {
    header(answer, "x-backend")
}

/// A load that goes on, for the one that acts meanwhile.
pub(super) struct Watch<'l> {
    start: Instant,
    good: &'l AtomicUsize,
    failed: &'l AtomicUsize,
    broken: RefCell<Vec<String>>,
}

impl Watch<'_> {
    /// The time since the load began.
    pub(super) fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// A promise is broken.
    pub(super) fn broken(&self, what: String) {
        self.broken.borrow_mut().push(what);
    }

    /// Waits until a condition holds that must hold in the end, and returns how long that took.
    /// That it does not hold is a broken promise.
    pub(super) fn until(
        &self,
        what: &str,
        mut condition: impl FnMut() -> Result<bool>,
    ) -> Result<Duration> {
        let begin = Instant::now();
        let seen = poll(|| anyhow::Ok(condition()?.then_some(())))?;
        if seen.is_none() {
            self.broken(format!("not within {TIMEOUT:?}: {what}"));
        }
        Ok(begin.elapsed())
    }

    /// Waits for `answers` more good answers.
    pub(super) fn more(&self, answers: usize) -> Result<Duration> {
        let before = self.good.load(Ordering::Relaxed);
        self.until("more good answers", || {
            Ok(self.good.load(Ordering::Relaxed) >= before + answers)
        })
    }

    /// Waits for `failures` more failures.
    pub(super) fn more_failures(&self, failures: usize) -> Result<Duration> {
        let before = self.failed.load(Ordering::Relaxed);
        self.until("requests fail", || {
            Ok(self.failed.load(Ordering::Relaxed) >= before + failures)
        })
    }
}

/// A load that is over.
#[derive(Debug)]
pub(super) struct Log {
    /// In the order of their clients.
    exchanges: Vec<LoadRequest>,
    /// Promises that were broken meanwhile.
    pub broken: Vec<String>,
}

impl Log {
    pub(super) fn requests(&self) -> usize {
        self.exchanges.len()
    }

    pub(super) fn failed(&self) -> usize {
        self.failures().count()
    }

    fn failures(&self) -> impl Iterator<Item = &LoadRequest> {
        let failed = |exchange: &&LoadRequest| matches!(exchange.ending, Ending::Failed(_));
        self.exchanges.iter().filter(failed)
    }

    /// How many of the requests failed that were sent and ended in this time.
    pub(super) fn failed_between(&self, from: Duration, until: Duration) -> usize {
        self.failures()
            .filter(|exchange| exchange.sent >= from && exchange.ended < until)
            .count()
    }

    /// Requests besides the load, that were meant to fail.
    pub(super) fn add(&mut self, exchanges: Vec<LoadRequest>) {
        self.exchanges.extend(exchanges);
    }

    /// When the first good answer came to a request that was sent then or later.
    pub(super) fn first_good_after(&self, from: Duration) -> Option<Duration> {
        let good =
            |exchange: &&LoadRequest| exchange.ending == Ending::Good && exchange.sent >= from;
        self.exchanges
            .iter()
            .filter(good)
            .map(|exchange| exchange.ended)
            .min()
    }

    /// How long the slowest request took.
    pub(super) fn slowest(&self) -> Duration {
        let took = self
            .exchanges
            .iter()
            .map(|exchange| exchange.ended - exchange.sent);
        took.max().unwrap_or_default()
    }

    /// No more than `most` may have failed.
    pub(super) fn at_most(&mut self, most: usize) {
        let failed = self.failed();
        if failed > most {
            let why = self.why(Duration::ZERO);
            self.broken
                .push(format!("{failed} failed, of at most {most}; {why}"));
        }
    }

    /// No request may have failed that was sent and ended in this time.
    pub(super) fn none_between(&mut self, from: Duration, until: Duration, when: &str) {
        let failed = self.failed_between(from, until);
        if failed > 0 {
            let why = self.why(from);
            self.broken.push(format!("{failed} failed {when}; {why}"));
        }
    }

    /// How the first request failed that was sent then or later.
    fn why(&self, from: Duration) -> String {
        let first = self
            .failures()
            .filter(|exchange| exchange.sent >= from)
            .min_by_key(|exchange| exchange.sent);
        first.map_or_else(String::new, |first| {
            format!(
                "the first after {:?}: {:?}",
                first.ended - first.sent,
                first.ending
            )
        })
    }

    /// No answer may be otherwise than was promised.
    pub(super) fn nothing_wrong(&mut self) {
        let mut wrong = self
            .exchanges
            .iter()
            .filter_map(|exchange| match &exchange.ending {
                Ending::Wrong(what) => Some(what),
                _ => None,
            });
        if let Some(first) = wrong.next() {
            let others = wrong.count();
            self.broken.push(format!("{first}, and {others} more"));
        }
    }
}

/// Sends load to `address`. `act` begins as soon as the load is answered well; the load ends when
/// `act` is over and the load is still answered well.
pub(super) fn under<T>(
    address: SocketAddr,
    plan: &FaultPlan,
    ask: &SendRequest<'_>,
    act: impl FnOnce(&Watch<'_>) -> Result<T>,
) -> Result<(Log, T)> {
    let (good, failed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let start = Instant::now();
    let client = |jobs: Jobs<'_>| -> Result<Vec<LoadRequest>> {
        let number = jobs.client();
        let mut client = Client::new(address)?;
        let mut exchanges = Vec::new();
        for nth in jobs {
            let sent = start.elapsed();
            let ending = ask(number, nth, &mut client);
            let ended = start.elapsed();
            match ending {
                Ending::Good => good.fetch_add(1, Ordering::Relaxed),
                Ending::Failed(_) => failed.fetch_add(1, Ordering::Relaxed),
                Ending::Wrong(_) => 0,
            };
            exchanges.push(LoadRequest {
                sent,
                ended,
                ending,
            });
            sleep((sent + plan.interval).saturating_sub(ended));
        }
        Ok(exchanges)
    };
    let watch = Watch {
        start,
        good: &good,
        failed: &failed,
        broken: RefCell::default(),
    };
    let act = || {
        watch.more(plan.answers)?;
        let begun = watch.now();
        let result = act(&watch)?;
        watch.more(plan.answers)?;
        Ok((begun, result))
    };
    let (made, acted): (_, Result<_>) = run_while(plan.clients, client, |_| act());
    let mut exchanges = Vec::new();
    for of_one in made {
        exchanges.extend(of_one?);
    }
    let (begun, result) = acted?;
    let mut log = Log {
        exchanges,
        broken: watch.broken.into_inner(),
    };
    // What is under way when the fault begins belongs to it.
    log.none_between(Duration::ZERO, begun, "before the fault");
    Ok((log, result))
}
