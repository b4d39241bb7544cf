//! A target as the proxy meets it: so many slots, a queue before them, a service time for each
//! request, and what goes wrong with it.

use super::service::Service;
use slab::Slab;
use std::collections::VecDeque;

/// How a target works while nothing is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Model {
    /// How long a request takes once it is begun.
    pub service: Service,
    /// The same of the filter's own probes.
    pub probe: Service,
    /// How many requests it works on at once. None: on any number.
    pub concurrency: Option<usize>,
    /// How many more wait for that; those that come then are answered 503. None: any number.
    pub queue: Option<usize>,
}

/// Whether and how a target can be reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reach {
    /// As it should be.
    #[default]
    Up,
    /// Nobody listens: connections are refused at once, those that there were are reset.
    Refused,
    /// Packets vanish: no connection comes about, and those that there were stay silent.
    Silent,
}

/// Work for a target: somebody's number, and how long it takes while nothing is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Job<O> {
    /// Who waits for it.
    pub owner: O,
    /// In nanoseconds.
    pub service: u64,
}

/// A job that a target has begun: it ends `after` so many nanoseconds, unless the target is reset
/// or stops before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begun {
    /// For [`Server::end`].
    pub ticket: Ticket,
    /// In nanoseconds.
    pub after: u64,
}

/// Names a job that has begun; worthless after a reset or a stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket {
    life: u32,
    key: usize,
}

/// What becomes of a job that arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrived {
    /// It has a slot.
    Begun(Begun),
    /// It waits for one, or for the target to go on.
    Waits,
    /// There is no room for it.
    Overflow,
}

/// A target at work.
#[derive(Debug)]
pub struct Server<O> {
    /// How it works.
    pub model: Model,
    /// Whether it can be reached.
    pub reach: Reach,
    /// How many times longer than it should everything takes that is begun from now on.
    pub slow: f64,
    /// Answers with this status, this part of the requests.
    pub fails: Option<(u16, f64)>,
    /// Whether it accepts requests and does not work on them.
    hung: bool,
    /// Tickets of other lives are worthless.
    life: u32,
    serving: Slab<(Job<O>, u64)>,
    waiting: VecDeque<Job<O>>,
}

impl<O: Copy> Server<O> {
    /// One that has nothing to do.
    pub fn new(model: Model) -> Server<O> {
        Server {
            model,
            reach: Reach::Up,
            slow: 1.0,
            fails: None,
            hung: false,
            life: 0,
            serving: Slab::new(),
            waiting: VecDeque::new(),
        }
    }

    /// Work arrives.
    pub fn arrive(&mut self, job: Job<O>, now: u64) -> Arrived {
        if self.has_slot() {
            return Arrived::Begun(self.begin(job, now));
        }
        if self
            .model
            .queue
            .is_some_and(|most| self.waiting.len() >= most)
        {
            return Arrived::Overflow;
        }
        self.waiting.push_back(job);
        Arrived::Waits
    }

    /// A job is done: whose it was, and the one that is begun in its place. None: the ticket is
    /// worthless.
    pub fn end(&mut self, ticket: Ticket, now: u64) -> Option<(O, Option<Begun>)> {
        if ticket.life != self.life {
            return None;
        }
        let (job, _) = self.serving.try_remove(ticket.key)?;
        let next = match self.has_slot() {
            true => self.waiting.pop_front().map(|job| self.begin(job, now)),
            false => None,
        };
        Some((job.owner, next))
    }

    /// Loses all its work: whose it was.
    pub fn reset(&mut self) -> Vec<O> {
        self.life += 1;
        let serving = self.serving.drain().map(|(job, _)| job);
        let lost: Vec<_> = serving
            .chain(self.waiting.drain(..))
            .map(|job| job.owner)
            .collect();
        lost
    }

    /// Works on nothing any more, and forgets nothing.
    pub fn hang(&mut self) {
        self.life += 1;
        self.hung = true;
        let begun = self.serving.drain().map(|(job, _)| job).collect::<Vec<_>>();
        begun
            .into_iter()
            .rev()
            .for_each(|job| self.waiting.push_front(job));
    }

    /// Goes on, with everything that it was sent: what is begun now.
    pub fn go_on(&mut self, now: u64) -> Vec<Begun> {
        self.hung = false;
        let mut begun = Vec::new();
        while self.has_slot()
            && let Some(job) = self.waiting.pop_front()
        {
            begun.push(self.begin(job, now));
        }
        begun
    }

    /// How much it has to do, waiting work included.
    pub fn load(&self) -> usize {
        self.serving.len() + self.waiting.len()
    }

    /// When a job that arrived now would be begun, in nanoseconds. It sees every service time,
    /// those of the future too.
    pub fn foreseen(&self, now: u64) -> u64 {
        let Some(slots) = self.model.concurrency else {
            return now;
        };
        let mut free: Vec<u64> = self.serving.iter().map(|(_, (_, until))| *until).collect();
        free.resize(slots.max(free.len()), now);
        for job in &self.waiting {
            if let Some(first) = free.iter_mut().min() {
                *first += self.takes(job);
            }
        }
        free.into_iter().min().unwrap_or(now)
    }

    /// How long a job would take.
    pub fn takes(&self, job: &Job<O>) -> u64 {
        (job.service as f64 * self.slow) as u64
    }

    fn has_slot(&self) -> bool {
        !self.hung
            && self
                .model
                .concurrency
                .is_none_or(|most| self.serving.len() < most)
    }

    fn begin(&mut self, job: Job<O>, now: u64) -> Begun {
        let after = self.takes(&job);
        let key = self.serving.insert((job, now + after));
        let life = self.life;
        Begun {
            ticket: Ticket { life, key },
            after,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backend(concurrency: usize, queue: usize) -> Server<char> {
        let service = Service::Constant(10.0);
        Server::new(Model {
            service,
            probe: service,
            concurrency: Some(concurrency),
            queue: Some(queue),
        })
    }

    fn job(owner: char) -> Job<char> {
        Job { owner, service: 10 }
    }

    fn begun(arrived: Arrived) -> Begun {
        match arrived {
            Arrived::Begun(begun) => begun,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn work_waits_for_a_slot_in_its_order_and_overflows() {
        let mut backend = backend(1, 2);
        let first = begun(backend.arrive(job('a'), 0));
        assert_eq!(first.after, 10);
        assert_eq!(
            [backend.arrive(job('b'), 1), backend.arrive(job('c'), 2)],
            [Arrived::Waits; 2]
        );
        assert_eq!(backend.arrive(job('d'), 3), Arrived::Overflow);
        assert_eq!(backend.foreseen(3), 30);
        let (owner, next) = backend.end(first.ticket, 10).unwrap();
        assert_eq!(owner, 'a');
        assert_eq!(backend.end(next.unwrap().ticket, 20).unwrap().0, 'b');
        assert_eq!(backend.load(), 1);
    }

    #[test]
    fn what_a_reset_loses_never_ends() {
        let mut backend = backend(1, 2);
        let first = begun(backend.arrive(job('a'), 0));
        backend.arrive(job('b'), 0);
        assert_eq!(backend.reset(), ['a', 'b']);
        begun(backend.arrive(job('c'), 5));
        assert_eq!(backend.end(first.ticket, 10), None);
        assert_eq!(backend.load(), 1);
    }

    #[test]
    fn what_hangs_goes_on_where_it_stood() {
        let mut backend = backend(1, 9);
        let first = begun(backend.arrive(job('a'), 0));
        backend.hang();
        assert_eq!(backend.arrive(job('b'), 1), Arrived::Waits);
        assert_eq!(backend.end(first.ticket, 10), None);
        backend.slow = 3.0;
        let [again] = backend.go_on(50)[..] else {
            panic!("one slot")
        };
        assert_eq!(again.after, 30);
        assert_eq!(backend.end(again.ticket, 80).unwrap().0, 'a');
    }
}
