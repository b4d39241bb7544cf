//! The requests of one key that wait for tokens, in the order in which they came.

use std::collections::VecDeque;

/// How many requests of one key may wait. One that comes when so many do asks by itself.
pub(super) const LONGEST: usize = 4096;

/// Requests that wait.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: VecDeque<Waiting>,
    /// How many have joined, ever. It may wrap: far fewer wait at a time.
    joined: u32,
}

#[derive(Debug)]
struct Waiting {
    /// The caller's number of the request.
    request: u32,
    /// How many had joined before.
    place: u32,
    /// The tick in which it came.
    since: u64,
}

/// The requests that had joined a queue at some time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Joined(u32);

impl Queue {
    /// How many wait.
    pub(super) fn len(&self) -> u32 {
        u32::try_from(self.waiting.len()).unwrap_or(u32::MAX)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.waiting.len() >= LONGEST
    }

    /// A request waits from this tick on.
    pub(super) fn join(&mut self, request: u32, since: u64) {
        let place = self.joined;
        self.joined = place.wrapping_add(1);
        let waiting = Waiting {
            request,
            place,
            since,
        };
        self.waiting.push_back(waiting);
    }

    /// Since which tick the first one waits.
    pub(super) fn since(&self) -> Option<u64> {
        self.waiting.front().map(|first| first.since)
    }

    /// A request does not wait any more.
    pub(super) fn leave(&mut self, request: u32) {
        self.waiting.retain(|waiting| waiting.request != request);
    }

    /// All that have joined so far.
    pub(super) fn joined(&self) -> Joined {
        Joined(self.joined)
    }

    /// The first request, if it had joined by then.
    pub(super) fn next_of(&mut self, Joined(joined): Joined) -> Option<u32> {
        let first = self.waiting.front()?;
        // Behind by less than half of all numbers.
        let before = joined.wrapping_sub(first.place);
        (before > 0 && before <= u32::MAX / 2).then(|| self.pop())?
    }

    /// The first request, which waits no longer.
    pub(super) fn pop(&mut self) -> Option<u32> {
        Some(self.waiting.pop_front()?.request)
    }

    /// The last request, if more than so many wait.
    pub(super) fn last_beyond(&mut self, most: u32) -> Option<u32> {
        match self.len() > most {
            true => Some(self.waiting.pop_back()?.request),
            false => None,
        }
    }
}
