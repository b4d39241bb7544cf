//! Subtracts from the gauges what expired workers have left there.

use super::InFlightEvent;
use super::lease::SlotNumber;
use super::ledger::{
    COUNTS_PER_PART, counts, first_name, ledger_key, names_key, note_key, payload_if_owner,
};
use super::slots::{Slot, Slots};
use crate::port::{Expected, Gauge, Port, Stats};
use crate::time::Nanos;

/// Slots that one worker reclaims in one tick. The rest waits for the next tick, or for other
/// workers.
pub(super) const MAX_RECLAIMED: usize = 64;

/// Parts of one ledger that are read. No configuration has so many targets, and no damaged record
/// makes a worker read on for ever.
const MAX_PARTS: usize = 1 << 16;

/// Gauges of targets that this worker's own configuration need not have, by name.
#[derive(Debug, Default)]
pub(super) struct ForeignGauges(Vec<(Box<str>, Gauge)>);

impl ForeignGauges {
    /// The gauge of this name. Each is asked for once, see [`Stats::gauge`].
    fn get(&mut self, stats: &mut dyn Stats, name: &[u8]) -> Option<Gauge> {
        let name = std::str::from_utf8(name).ok()?;
        if let Some((_, gauge)) = self.0.iter().find(|(known, _)| **known == *name) {
            return Some(*gauge);
        }
        let gauge = stats.gauge(name)?;
        self.0.push((name.into(), gauge));
        Some(gauge)
    }
}

/// What an expired worker has left in the gauges.
struct OrphanedCounts {
    number: SlotNumber,
    /// As it was last seen. Its holder may still be alive.
    slot: Slot,
    /// The record that tells the holder what was subtracted: the id of its lease, then the counts.
    note: Vec<u8>,
    subtract: Vec<(Gauge, u32)>,
    /// Whether this worker freed the slot, and so is the one that subtracts.
    freed: bool,
}

impl OrphanedCounts {
    /// By the ledger of this slot. None: shared data failed.
    fn read(
        port: &mut dyn Port,
        gauges: &mut ForeignGauges,
        number: SlotNumber,
        slot: Slot,
    ) -> Option<OrphanedCounts> {
        let mut orphaned = OrphanedCounts {
            number,
            slot,
            note: slot.lease.to_bits().to_le_bytes().to_vec(),
            subtract: Vec::new(),
            freed: false,
        };
        for part in 0..MAX_PARTS {
            let names = port.get(&names_key(number, part)).ok()?;
            let ledger = port.get(&ledger_key(number, part)).ok()?;
            let (Some((names, _)), Some((ledger, _))) = (names, ledger) else {
                break;
            };
            let (Some(mut names), Some(ledger)) = (
                payload_if_owner(slot.lease, &names),
                payload_if_owner(slot.lease, &ledger),
            ) else {
                break;
            };
            let mut known = 0;
            for count in counts(ledger) {
                // A target that the worker came to use between the two reads has no name yet. It is
                // not subtracted, nor noted as if it were.
                let Some((name, rest)) = first_name(names) else {
                    break;
                };
                names = rest;
                known += 1;
                let gauge = match count {
                    0 => None,
                    _ => gauges.get(port, name),
                };
                orphaned.subtract.extend(gauge.map(|gauge| (gauge, count)));
                let subtracted = gauge.map_or(0, |_| count);
                orphaned.note.extend_from_slice(&subtracted.to_le_bytes());
            }
            if known < COUNTS_PER_PART {
                break;
            }
        }
        Some(orphaned)
    }

    /// How many requests.
    fn requests(&self) -> u32 {
        let counts = self.subtract.iter().map(|(_, count)| *count);
        counts.fold(0, u32::saturating_add)
    }
}

/// Frees the slots of these expired workers, and subtracts their ledgers from the gauges. Of
/// several workers that try, the compare-and-swap lets one.
pub(super) fn reclaim(
    port: &mut dyn Port,
    expired: &[(SlotNumber, Slot)],
    gauges: &mut ForeignGauges,
    events: &mut Vec<InFlightEvent>,
    now: Nanos,
) {
    // All that allocates comes first: between the write that frees the slots and the last gauge
    // nothing can trap.
    let mut orphaned: Vec<OrphanedCounts> = expired
        .iter()
        .filter_map(|(number, slot)| OrphanedCounts::read(port, gauges, *number, *slot))
        .collect();
    events.reserve(orphaned.len());
    let freed = Slots::update(port, &mut |slots| {
        for counts in &mut orphaned {
            counts.freed = slots.free(counts.number, counts.slot, now);
        }
        orphaned.iter().any(|counts| counts.freed)
    });
    if freed.is_err() {
        return;
    }
    for counts in orphaned.iter().filter(|counts| counts.freed) {
        let _ = port.set(&note_key(counts.number), &counts.note, Expected::Any);
        for (gauge, count) in &counts.subtract {
            port.add(*gauge, -i64::from(*count));
        }
        let requests = counts.requests();
        if requests > 0 {
            events.push(InFlightEvent::Reclaimed(requests));
        }
    }
}

#[cfg(test)]
mod tests;
