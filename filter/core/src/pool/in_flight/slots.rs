//! The table of slots: which worker holds which slot, and which workers have stopped sending
//! heartbeats. One record, changed by compare-and-swap.

use super::lease::{LeaseId, OwnSlot, SlotNumber};
use crate::port::Store;
use crate::shared::record::{Entry, FieldReader, FieldWriter, decode, encode};
use crate::shared::{self, Update, UpdateError, keys};
use crate::time::Nanos;

/// A worker expires in the view of another one that has not seen its number change for this many
/// of its own ticks. One more for the last heartbeat to be seen, and the counts are right within
/// 5 s of a trap.
pub(super) const MISSED_HEARTBEATS: u32 = 3;

/// How long a freed slot is not claimed, so that a worker that hung does not write into the ledger
/// of the next one. Ten times what it takes to expire.
pub(super) const SLOT_QUARANTINE: Nanos = Nanos::from_secs(30);

/// Leases at a time: 128 workers, each with eight configurations that are still draining. 24 kB.
pub(super) const MAX_SLOTS: usize = 1024;

/// One slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    /// The lease that holds it, or that was the last to.
    pub(super) lease: LeaseId,
    pub(super) state: SlotState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SlotState {
    /// Nobody holds it since this instant.
    Freed(Nanos),
    /// It is held. Each heartbeat raises this number.
    Held(u64),
}

impl Entry for Slot {
    const SIZE: usize = 24;

    fn read(fields: &mut FieldReader<'_>) -> Option<Slot> {
        let lease = LeaseId::from_bits(fields.u64()?);
        let state = match fields.u64()? {
            0 => SlotState::Freed(fields.nanos()?),
            _ => SlotState::Held(fields.u64()?),
        };
        Some(Slot { lease, state })
    }

    fn write(&self, fields: &mut FieldWriter<'_>) {
        fields.u64(self.lease.to_bits());
        let (held, number) = match self.state {
            SlotState::Freed(since) => (0, since.get()),
            SlotState::Held(number) => (1, number),
        };
        fields.u64(held);
        fields.u64(number);
    }
}

impl Slot {
    /// Whether any worker may claim it. A clock that was set back far must not lock it for ever.
    fn is_out_of_quarantine(&self, now: Nanos) -> bool {
        matches!(self.state, SlotState::Freed(since) if now.abs_diff(since) > SLOT_QUARANTINE)
    }
}

/// The slots in their order, as they stood in the record at some time.
#[derive(Debug)]
pub(super) struct Slots(Vec<Slot>);

impl Slots {
    /// Changes the record, if `change` says that it changed the slots, and returns them. `change`
    /// runs again when another worker wrote first. The record is not cached: workers write it
    /// once a second each, so a cached one would be out of date.
    pub(super) fn update(
        store: &mut dyn Store,
        change: &mut dyn FnMut(&mut Slots) -> bool,
    ) -> Result<Slots, UpdateError> {
        shared::update(store, keys::WORKER_SLOTS, &mut |record| {
            let slots = decode(record.unwrap_or_default()).take(MAX_SLOTS);
            let mut slots = Slots(slots.collect());
            match change(&mut slots) {
                false => Update::Keep(slots),
                true => Update::Write(encode(&slots.0), slots),
            }
        })
    }

    /// Raises the number of a slot. Returns whether it did: only if it is held under this lease.
    pub(super) fn heartbeat(&mut self, number: SlotNumber, lease: LeaseId) -> bool {
        match self.0.get_mut(number.get()) {
            Some(Slot {
                lease: holder,
                state: SlotState::Held(heartbeats),
            }) if *holder == lease => {
                *heartbeats = heartbeats.wrapping_add(1);
                true
            }
            _ => false,
        }
    }

    /// What has become of the slot that a worker claimed under this lease.
    pub(super) fn own(&self, number: SlotNumber, lease: LeaseId) -> OwnSlot {
        match self.0.get(number.get()) {
            Some(slot) if slot.lease == lease => match slot.state {
                SlotState::Held(_) => OwnSlot::Held,
                SlotState::Freed(_) => OwnSlot::Freed,
            },
            _ => OwnSlot::Lost,
        }
    }

    /// Claims a slot under a new lease: the `previous` one, if nobody has claimed it since it was
    /// freed; or else the first one out of quarantine; or else a new one. None: all are taken.
    pub(super) fn claim(
        &mut self,
        lease: LeaseId,
        previous: Option<(SlotNumber, LeaseId)>,
        now: Nanos,
    ) -> Option<SlotNumber> {
        let previous = previous.filter(|(number, old)| self.own(*number, *old) == OwnSlot::Freed);
        let place = previous.map(|(number, _)| number.get()).or_else(|| {
            let mut slots = self.0.iter();
            slots.position(|slot| slot.is_out_of_quarantine(now))
        });
        let claimed = Slot {
            lease,
            state: SlotState::Held(1),
        };
        let place = match place {
            Some(place) => {
                *self.0.get_mut(place)? = claimed;
                place
            }
            None if self.0.len() < MAX_SLOTS => {
                self.0.push(claimed);
                self.0.len() - 1
            }
            None => return None,
        };
        Some(SlotNumber::new(place))
    }

    /// Gives back a slot that is held under this lease, with nothing in its ledger. Returns whether
    /// it did. Its holder does not write there any more, so the slot is in no quarantine.
    pub(super) fn give_back(&mut self, number: SlotNumber, lease: LeaseId) -> bool {
        match self.0.get_mut(number.get()) {
            Some(slot) if slot.lease == lease && matches!(slot.state, SlotState::Held(_)) => {
                slot.state = SlotState::Freed(Nanos::ZERO);
                true
            }
            _ => false,
        }
    }

    /// Frees a slot. Returns whether it did: only if the slot is still exactly as it was `seen`.
    pub(super) fn free(&mut self, number: SlotNumber, seen: Slot, now: Nanos) -> bool {
        match self.0.get_mut(number.get()) {
            Some(slot) if *slot == seen => {
                slot.state = SlotState::Freed(now);
                true
            }
            _ => false,
        }
    }
}

/// Tells which workers have expired, by what it has seen of their slots.
#[derive(Debug, Default)]
pub(super) struct HeartbeatWatch {
    /// For each slot.
    seen: Vec<SeenSlot>,
}

#[derive(Clone, Copy, Debug)]
struct SeenSlot {
    slot: Slot,
    /// At how many ticks in a row the slot was still the same.
    unchanged: u32,
}

impl HeartbeatWatch {
    /// Compares the table with what was last seen of it. Only a `tick` counts as a missed
    /// heartbeat.
    pub(super) fn observe(&mut self, slots: &Slots, tick: bool) {
        let Slots(slots) = slots;
        self.seen.truncate(slots.len());
        for (place, slot) in slots.iter().enumerate() {
            let new = SeenSlot {
                slot: *slot,
                unchanged: 0,
            };
            match self.seen.get_mut(place) {
                Some(seen) if seen.slot == *slot => {
                    seen.unchanged = seen.unchanged.saturating_add(tick.into());
                }
                Some(seen) => *seen = new,
                None => self.seen.push(new),
            }
        }
    }

    /// How many workers have sent heartbeats lately.
    pub(super) fn alive(&self) -> u32 {
        let alive = self.seen.iter().filter(|seen| {
            seen.unchanged < MISSED_HEARTBEATS && matches!(seen.slot.state, SlotState::Held(_))
        });
        u32::try_from(alive.count()).unwrap_or(u32::MAX)
    }

    /// The slots of workers that have missed [`MISSED_HEARTBEATS`], as they were last seen; never
    /// the observer's `own`.
    pub(super) fn expired(
        &self,
        own: Option<SlotNumber>,
    ) -> impl Iterator<Item = (SlotNumber, Slot)> + '_ {
        let seen = self.seen.iter().enumerate();
        let expired = seen.filter(|(_, seen)| {
            seen.unchanged >= MISSED_HEARTBEATS && matches!(seen.slot.state, SlotState::Held(_))
        });
        expired
            .map(|(place, seen)| (SlotNumber::new(place), seen.slot))
            .filter(move |(number, _)| Some(*number) != own)
    }
}
