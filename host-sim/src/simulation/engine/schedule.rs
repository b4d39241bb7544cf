//! The events that are scheduled, in the order of their times.

use crate::simulation::server::Ticket;
use pointsman_core::time::Nanos;
use std::cmp::Ordering;
use std::collections::{BinaryHeap, VecDeque};

/// The name of a request. It stays valid when the request has ended and another has its slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RequestId {
    /// The request's place among the open requests.
    pub slot: usize,
    /// The request's number in the order of arrivals.
    pub number: u64,
}

/// An event. Targets, traffic and faults are positions in the scenario.
#[derive(Debug)]
pub(super) enum Event {
    /// A request of this kind of traffic arrives.
    Arrival(usize),
    /// A target has done the job of this ticket.
    Done(usize, Ticket),
    /// A request tries the next of its targets.
    Try(RequestId),
    /// A request's connection to its target failed.
    ConnectFailed(RequestId),
    /// The proxy waits for a request's answer no longer.
    TimedOut(RequestId),
    /// The client waits for an answer no longer.
    ClientGivesUp(RequestId),
    /// The connection of this HTTP call of the filter failed.
    ProbeFailed(u32),
    /// A fault begins.
    FaultBegins(usize),
    /// A fault ends.
    FaultEnds(usize),
    /// A sample of every target is taken.
    Sample,
}

/// The scheduled events.
#[derive(Default)]
pub(super) struct Schedule {
    events: BinaryHeap<ScheduledEvent>,
    /// The time-outs of requests. A queue keeps them in order, because all requests wait equally
    /// long; most time-outs never happen, and in the heap they would slow all others down.
    time_outs: VecDeque<(Nanos, RequestId)>,
    /// How many events were ever scheduled.
    scheduled: u64,
}

struct ScheduledEvent {
    at: Nanos,
    /// Counts up, so that events of one time happen in the order in which they were scheduled.
    number: u64,
    event: Event,
}

impl Schedule {
    /// Schedules an event.
    pub(super) fn at(&mut self, at: Nanos, event: Event) {
        self.scheduled += 1;
        self.events.push(ScheduledEvent {
            at,
            number: self.scheduled,
            event,
        });
    }

    /// Schedules the time-out of a request, which is not before that of any earlier request.
    pub(super) fn time_out_at(&mut self, at: Nanos, id: RequestId) {
        self.time_outs.push_back((at, id));
    }

    /// The time of the next event; [`Nanos::MAX`] if there is none. Forgets the time-outs of
    /// requests that are not open any more.
    pub(super) fn next(&mut self, is_open: impl Fn(RequestId) -> bool) -> Nanos {
        while let Some((_, id)) = self.time_outs.front()
            && !is_open(*id)
        {
            self.time_outs.pop_front();
        }
        self.next_event().min(self.next_time_out())
    }

    /// Takes the next event, if it happens at this time or earlier. Call [`Schedule::next`] first.
    pub(super) fn pop(&mut self, until: Nanos) -> Option<Event> {
        let time_out = self.next_time_out();
        if time_out < self.next_event() && time_out <= until {
            let (_, id) = self.time_outs.pop_front()?;
            return Some(Event::TimedOut(id));
        }
        let next = self.events.pop()?;
        (next.at <= until).then_some(next.event)
    }

    fn next_event(&self) -> Nanos {
        self.events.peek().map_or(Nanos::MAX, |next| next.at)
    }

    fn next_time_out(&self) -> Nanos {
        self.time_outs.front().map_or(Nanos::MAX, |(at, _)| *at)
    }
}

/// The earliest event is the greatest, because [`BinaryHeap`] pops the greatest first.
impl Ord for ScheduledEvent {
    fn cmp(&self, other: &ScheduledEvent) -> Ordering {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

impl PartialOrd for ScheduledEvent {
    fn partial_cmp(&self, other: &ScheduledEvent) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for ScheduledEvent {
    fn eq(&self, other: &ScheduledEvent) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for ScheduledEvent {}
