//! A worker's lease on a slot, as a state machine without I/O.
//!
//! A worker publishes its ledger under the number of a slot. It keeps the slot for as long as its
//! heartbeats raise the number that stands there; if they stop, another worker frees the slot and
//! subtracts the ledger from the gauges (see `reclaim.rs`). [`Lease::step`] decides all that a
//! worker does about its own slot. [`super::InFlight`] performs the actions, and reports what came
//! of each as the next event.
//!
//! | lease | event | next lease | action |
//! |---|---|---|---|
//! | unclaimed | request | unclaimed | claim; add the worker's own counts |
//! | unclaimed | tick | unclaimed | heartbeat, which only reads the table |
//! | unclaimed | heartbeat done | unclaimed | done: nothing was counted, so there is nothing to publish |
//! | unavailable | request | unavailable | done: requests do not pay for a claim that has just failed |
//! | unavailable | tick | unavailable | heartbeat, which only reads the table |
//! | unavailable | heartbeat done | unavailable | claim; add the worker's own counts |
//! | held or expired | request, soon after the last heartbeat | as before | done |
//! | held or expired | request, more than [`HEARTBEAT_MAX_AGE`] after it; or tick | as before | heartbeat |
//! | held or expired | heartbeat done: the slot is held under this lease, or shared data failed | as before | done |
//! | held or expired | heartbeat done: the slot is free, or another worker's | expired | read the note of what was subtracted |
//! | expired | the note is there | expired | claim; add what the note says |
//! | expired | no note, and the slot is free | expired | done: the worker that freed the slot is about to write it |
//! | expired | no note, and the slot is another worker's | expired | claim; add the worker's own counts, the best guess: the note is overwritten |
//! | expired | the note could not be read | expired | done, until the next heartbeat |
//! | unclaimed, unavailable or expired | claimed | held | done |
//! | unclaimed or unavailable | no slot | unavailable | done |
//! | expired | no slot | expired | done, until the next heartbeat |
//!
//! No other event can come. An action is always followed by an event further down this list:
//! request or tick, heartbeat, note, claim. So each request and each tick ends after four steps at
//! most.
//!
//! **Why health has another protocol.** The worker that sends the probes of a pool holds a lease
//! too (see [`crate::pool::health`]), and that one ends at a time of the wall clock. Both protocols
//! ask whether another worker is alive. They stay two, because their errors have different prices.
//!
//! Probes need an election: one of all workers, with a successor within two intervals, which can be
//! as short as 20 ms. A wrong answer costs probes that are sent twice or late. So the cheapest
//! protocol will do: a follower reads nothing until the time at which the lease ends, and a clock
//! that jumps may end it too early.
//!
//! Counts need a failure detector of every worker, and a wrong answer subtracts requests that are
//! in flight. That is repaired exactly, but not if the VM traps before. Leases by the wall clock
//! would give the wrong answer about *all* workers together whenever the clock is set or the
//! machine was suspended. Missed heartbeats cannot: an observer counts them in its own ticks, and
//! what stops the whole process stops the observer too. The price is that every worker reads and
//! writes the table once a second, and that a worker expires after 4 to 5 s.
//!
//! With missed heartbeats alone, probes would pause for these 5 s however short their interval is,
//! and workers that have served no request, and so hold no slot, could not probe. With leases by
//! the wall clock alone, counts would be only as exact as the clock. So neither protocol can
//! replace the other, and one that did both would be two under one name.

use crate::entropy::WorkerId;
use crate::time::Nanos;

/// A request that comes longer than this after the last heartbeat waits for one. Twice the interval
/// of heartbeats, so that in the steady state only ticks send them; and less than the time after
/// which a worker expires, so that one whose ticks stopped notices it at the next request.
pub(super) const HEARTBEAT_MAX_AGE: Nanos = Nanos::from_secs(2);

/// Identifies one lease among all that ever were. A worker has a new one for each slot that it
/// claims: with the same one, a note of what was subtracted could be of an earlier expiry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LeaseId(u64);

impl LeaseId {
    /// The id before that of a worker's first lease.
    pub(super) fn before_first(worker: WorkerId) -> LeaseId {
        LeaseId(worker.to_bits())
    }

    /// The id of the same worker's next lease.
    pub(super) fn next(self) -> LeaseId {
        LeaseId(self.0.wrapping_add(1))
    }

    /// From a record, in which any number may stand.
    pub(super) fn from_bits(bits: u64) -> LeaseId {
        LeaseId(bits)
    }

    /// As it stands in records.
    pub(super) fn to_bits(self) -> u64 {
        self.0
    }
}

/// Which slot of the table, from 0; below [`super::slots::MAX_SLOTS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SlotNumber(u16);

impl SlotNumber {
    /// The slot that stands at this place in the table.
    #[expect(clippy::cast_possible_truncation, reason = "below MAX_SLOTS")]
    pub(super) fn new(place: usize) -> SlotNumber {
        SlotNumber(place as u16)
    }

    /// Its place in the table.
    pub(super) fn get(self) -> usize {
        self.0.into()
    }

    /// As it stands in keys.
    pub(super) fn to_bits(self) -> u16 {
        self.0
    }
}

/// What a worker knows of its slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lease {
    /// The worker has counted nothing yet and needs no slot.
    Unclaimed,
    /// The worker has counts, and no slot could be claimed. They are in no gauge.
    Unavailable,
    /// The worker publishes its ledger in this slot. Its counts are in the gauges.
    Held(SlotNumber),
    /// The worker held this slot until another one freed it. Its counts are in the gauges, without
    /// those that were subtracted then.
    Expired(SlotNumber),
}

/// What has happened, for [`Lease::step`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LeaseEvent {
    /// A request begins or ends, this long after the last heartbeat.
    Request { heartbeat_age: Nanos },
    /// A tick, once a second.
    Tick,
    /// The heartbeat is over, and this stands in the table.
    HeartbeatDone(OwnSlot),
    /// The note of what was subtracted was looked for.
    NoteRead { slot: OwnSlot, note: Note },
    /// This slot was claimed, and all counts are in the gauges.
    Claimed(SlotNumber),
    /// No slot is free, or shared data failed.
    NoSlot,
}

/// What the table says of the slot that a worker holds or held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OwnSlot {
    /// It is held under the worker's lease.
    Held,
    /// It was freed, and nobody has claimed it since.
    Freed,
    /// It is another worker's, or not there.
    Lost,
    /// Nothing: the worker never had a slot, or shared data failed.
    Unknown,
}

/// What was found where a note of subtracted counts can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Note {
    /// The note about this worker's lease.
    Found,
    /// None, or one about another lease.
    Missing,
    /// Shared data failed.
    Unreadable,
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LeaseAction {
    /// Nothing more.
    Done,
    /// Read the table, and raise the number in the slot that is held. Then comes
    /// [`LeaseEvent::HeartbeatDone`].
    Heartbeat,
    /// Read the note of what was subtracted when this slot was freed. Then comes
    /// [`LeaseEvent::NoteRead`], with the same state of the slot.
    ReadNote { from: SlotNumber, slot: OwnSlot },
    /// Claim a slot, publish the ledger there, and add these counts to the gauges. Then comes
    /// [`LeaseEvent::Claimed`] or [`LeaseEvent::NoSlot`].
    Claim(Missing),
    /// Report a bug: this event cannot come now.
    Bug,
}

/// Which of the worker's counts the gauges lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    /// All of them.
    OwnCounts,
    /// Those in the note.
    Subtracted,
}

impl Lease {
    /// The next lease, and what to do: the table above.
    pub(super) fn step(self, event: LeaseEvent) -> (Lease, LeaseAction) {
        use Lease::{Expired, Held, Unavailable, Unclaimed};
        use LeaseAction::{Bug, Claim, Done, Heartbeat, ReadNote};
        use LeaseEvent::{Claimed, HeartbeatDone, NoSlot, NoteRead, Request, Tick};
        match (self, event) {
            (Unclaimed, Request { .. }) => (self, Claim(Missing::OwnCounts)),
            (Unavailable, Request { .. }) => (self, Done),
            (Held(_) | Expired(_), Request { heartbeat_age })
                if heartbeat_age <= HEARTBEAT_MAX_AGE =>
            {
                (self, Done)
            }
            (Held(_) | Expired(_), Request { .. }) | (_, Tick) => (self, Heartbeat),

            (Unclaimed, HeartbeatDone(_)) => (self, Done),
            (Unavailable, HeartbeatDone(_)) => (self, Claim(Missing::OwnCounts)),
            (Held(_) | Expired(_), HeartbeatDone(OwnSlot::Held | OwnSlot::Unknown)) => (self, Done),
            (
                Held(from) | Expired(from),
                HeartbeatDone(slot @ (OwnSlot::Freed | OwnSlot::Lost)),
            ) => (Expired(from), ReadNote { from, slot }),

            (Expired(_), NoteRead { slot, note }) => match (note, slot) {
                (Note::Found, _) => (self, Claim(Missing::Subtracted)),
                (Note::Missing, OwnSlot::Lost) => (self, Claim(Missing::OwnCounts)),
                (Note::Missing | Note::Unreadable, _) => (self, Done),
            },

            (Unclaimed | Unavailable | Expired(_), Claimed(slot)) => (Held(slot), Done),
            (Unclaimed | Unavailable, NoSlot) => (Unavailable, Done),
            (Expired(_), NoSlot) => (self, Done),

            (Unclaimed | Unavailable | Held(_), NoteRead { .. })
            | (Held(_), Claimed(_) | NoSlot) => (self, Bug),
        }
    }

    /// Whether what the worker counts goes to the gauges.
    pub(super) fn is_shared(self) -> bool {
        matches!(self, Lease::Held(_) | Lease::Expired(_))
    }

    /// The slot that the worker publishes its ledger in.
    pub(super) fn held(self) -> Option<SlotNumber> {
        match self {
            Lease::Held(slot) => Some(slot),
            Lease::Unclaimed | Lease::Unavailable | Lease::Expired(_) => None,
        }
    }

    /// The slot that the worker has lost and has not replaced yet.
    pub(super) fn expired(self) -> Option<SlotNumber> {
        match self {
            Lease::Expired(slot) => Some(slot),
            Lease::Unclaimed | Lease::Unavailable | Lease::Held(_) => None,
        }
    }
}

#[cfg(test)]
mod tests;
