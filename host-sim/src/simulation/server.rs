//! A target as a queueing system: slots that serve requests, a queue before them, a service time
//! for each request, and faults.

use super::service_time::ServiceTime;
use pointsman_core::time::Nanos;
use slab::Slab;
use std::collections::VecDeque;

/// How a target works while there is no fault.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ServerModel {
    /// How long a request takes once it has a slot.
    pub service: ServiceTime,
    /// How long one of the filter's probes takes once it has a slot.
    pub probe: ServiceTime,
    /// How many slots there are: requests that are served at once. None: any number.
    pub concurrency: Option<usize>,
    /// How many requests may wait for a slot; more are answered 503. None: any number.
    pub queue: Option<usize>,
}

/// Whether connections to a target succeed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reachability {
    /// Connections succeed.
    #[default]
    Up,
    /// No process listens: connections are refused at once, and open ones are reset.
    Refused,
    /// Packets are lost: connection attempts time out, and open connections stay silent.
    Silent,
}

/// Work for a target: a request, or one of the filter's probes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Job<O> {
    /// The one who waits for its end.
    pub owner: O,
    /// The service time while there is no fault.
    pub service: Nanos,
}

/// A job that has got a slot. It ends in time, unless the target is reset or hangs before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Started {
    /// Names the job for [`Server::end`].
    pub ticket: Ticket,
    /// How long the job takes.
    pub after: Nanos,
}

/// The name of a job that has got a slot. It is void after the target was reset or hung.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket {
    /// The target's generation in which the job started.
    generation: u32,
    key: usize,
}

/// Whether a target admits a job that arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// The job has got a slot.
    Started(Started),
    /// The job waits for a slot, or for the target to stop hanging.
    Queued,
    /// The queue is full.
    Overflow,
}

/// A target.
#[derive(Debug)]
pub struct Server<O> {
    /// How it works while there is no fault.
    pub model: ServerModel,
    /// Whether connections to it succeed.
    pub reachability: Reachability,
    /// The factor on the service times of jobs that start from now on.
    pub slowdown: f64,
    /// The status with which this share of the requests is answered, from 0 to 1.
    pub fails: Option<(u16, f64)>,
    /// Whether it accepts requests and does not serve them.
    hung: bool,
    /// Counted up whenever jobs lose their slots. Tickets of earlier generations are void.
    generation: u32,
    /// The jobs that have a slot, each with the time at which it ends.
    serving: Slab<(Job<O>, Nanos)>,
    waiting: VecDeque<Job<O>>,
}

impl<O: Copy> Server<O> {
    /// A target without work.
    pub fn new(model: ServerModel) -> Server<O> {
        Server {
            model,
            reachability: Reachability::Up,
            slowdown: 1.0,
            fails: None,
            hung: false,
            generation: 0,
            serving: Slab::new(),
            waiting: VecDeque::new(),
        }
    }

    /// A job arrives.
    pub fn arrive(&mut self, job: Job<O>, now: Nanos) -> Admission {
        if self.has_slot() {
            return Admission::Started(self.start(job, now));
        }
        if self
            .model
            .queue
            .is_some_and(|most| self.waiting.len() >= most)
        {
            return Admission::Overflow;
        }
        self.waiting.push_back(job);
        Admission::Queued
    }

    /// A job is done. Returns its owner, and the job that gets its slot. None: the ticket is void.
    pub fn end(&mut self, ticket: Ticket, now: Nanos) -> Option<(O, Option<Started>)> {
        if ticket.generation != self.generation {
            return None;
        }
        let (job, _) = self.serving.try_remove(ticket.key)?;
        let next = match self.has_slot() {
            true => self.waiting.pop_front().map(|job| self.start(job, now)),
            false => None,
        };
        Some((job.owner, next))
    }

    /// Drops all jobs, and returns their owners.
    pub fn reset(&mut self) -> Vec<O> {
        self.generation += 1;
        let serving = self.serving.drain().map(|(job, _)| job);
        let lost: Vec<_> = serving
            .chain(self.waiting.drain(..))
            .map(|job| job.owner)
            .collect();
        lost
    }

    /// Stops serving: the jobs that have slots go back to the head of the queue.
    pub fn hang(&mut self) {
        self.generation += 1;
        self.hung = true;
        let served = self.serving.drain().map(|(job, _)| job).collect::<Vec<_>>();
        served
            .into_iter()
            .rev()
            .for_each(|job| self.waiting.push_front(job));
    }

    /// Serves again after [`Server::hang`]. Returns the jobs that get slots now.
    pub fn resume(&mut self, now: Nanos) -> Vec<Started> {
        self.hung = false;
        let mut started = Vec::new();
        while self.has_slot()
            && let Some(job) = self.waiting.pop_front()
        {
            started.push(self.start(job, now));
        }
        started
    }

    /// How many jobs there are, those in the queue included.
    pub fn load(&self) -> usize {
        self.serving.len() + self.waiting.len()
    }

    /// When a job that arrived now would get a slot. Computed from the service times of all jobs,
    /// which no real proxy knows.
    pub fn earliest_start(&self, now: Nanos) -> Nanos {
        let Some(slots) = self.model.concurrency else {
            return now;
        };
        let mut free: Vec<Nanos> = self.serving.iter().map(|(_, (_, until))| *until).collect();
        free.resize(slots.max(free.len()), now);
        for job in &self.waiting {
            if let Some(first) = free.iter_mut().min() {
                *first += self.takes(job);
            }
        }
        free.into_iter().min().unwrap_or(now)
    }

    /// How long a job takes if it starts now, whoever waits for it.
    pub fn takes<P>(&self, job: &Job<P>) -> Nanos {
        Nanos::new((job.service.get() as f64 * self.slowdown) as u64)
    }

    fn has_slot(&self) -> bool {
        !self.hung
            && self
                .model
                .concurrency
                .is_none_or(|most| self.serving.len() < most)
    }

    fn start(&mut self, job: Job<O>, now: Nanos) -> Started {
        let after = self.takes(&job);
        let key = self.serving.insert((job, now + after));
        let generation = self.generation;
        Started {
            ticket: Ticket { generation, key },
            after,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(concurrency: usize, queue: usize) -> Server<char> {
        let service = ServiceTime::Constant(10.0);
        Server::new(ServerModel {
            service,
            probe: service,
            concurrency: Some(concurrency),
            queue: Some(queue),
        })
    }

    fn job(owner: char) -> Job<char> {
        Job {
            owner,
            service: Nanos::new(10),
        }
    }

    fn started(arrived: Admission) -> Started {
        match arrived {
            Admission::Started(started) => started,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn work_waits_for_a_slot_in_its_order_and_overflows() {
        let mut server = server(1, 2);
        let first = started(server.arrive(job('a'), Nanos::new(0)));
        assert_eq!(first.after, Nanos::new(10));
        assert_eq!(
            [
                server.arrive(job('b'), Nanos::new(1)),
                server.arrive(job('c'), Nanos::new(2))
            ],
            [Admission::Queued; 2]
        );
        assert_eq!(server.arrive(job('d'), Nanos::new(3)), Admission::Overflow);
        assert_eq!(server.earliest_start(Nanos::new(3)), Nanos::new(30));
        let (owner, next) = server.end(first.ticket, Nanos::new(10)).unwrap();
        assert_eq!(owner, 'a');
        assert_eq!(
            server.end(next.unwrap().ticket, Nanos::new(20)).unwrap().0,
            'b'
        );
        assert_eq!(server.load(), 1);
    }

    #[test]
    fn what_a_reset_loses_never_ends() {
        let mut server = server(1, 2);
        let first = started(server.arrive(job('a'), Nanos::new(0)));
        server.arrive(job('b'), Nanos::new(0));
        assert_eq!(server.reset(), ['a', 'b']);
        started(server.arrive(job('c'), Nanos::new(5)));
        assert_eq!(server.end(first.ticket, Nanos::new(10)), None);
        assert_eq!(server.load(), 1);
    }

    #[test]
    fn what_hangs_goes_on_where_it_stood() {
        let mut server = server(1, 9);
        let first = started(server.arrive(job('a'), Nanos::new(0)));
        server.hang();
        assert_eq!(server.arrive(job('b'), Nanos::new(1)), Admission::Queued);
        assert_eq!(server.end(first.ticket, Nanos::new(10)), None);
        server.slowdown = 3.0;
        let [again] = server.resume(Nanos::new(50))[..] else {
            panic!("one slot")
        };
        assert_eq!(again.after, Nanos::new(30));
        assert_eq!(server.end(again.ticket, Nanos::new(80)).unwrap().0, 'a');
    }
}
