use super::LeaseAction::{Bug, Claim, Done, Heartbeat, ReadNote};
use super::LeaseEvent::{Claimed, HeartbeatDone, NoSlot, NoteRead, Request, Tick};
use super::*;
use crate::pool::in_flight::InFlightEvent;
use crate::pool::in_flight::slots::{MAX_SLOTS, MISSED_HEARTBEATS, SLOT_QUARANTINE, Slot};
use crate::pool::in_flight::tests::{NOW, SECOND, Worker, config, gauge};
use crate::port::memory::MemoryPort;
use crate::port::{Expected, Store};
use crate::shared::keys::WORKER_SLOTS;
use crate::shared::record::Entry;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

const SLOT: SlotNumber = SlotNumber(7);
const OTHER: SlotNumber = SlotNumber(8);
const LEASES: [Lease; 4] = [
    Lease::Unclaimed,
    Lease::Unavailable,
    Lease::Held(SLOT),
    Lease::Expired(SLOT),
];
const OWN_SLOTS: [OwnSlot; 4] = [
    OwnSlot::Held,
    OwnSlot::Freed,
    OwnSlot::Lost,
    OwnSlot::Unknown,
];
const NOTES: [Note; 3] = [Note::Found, Note::Missing, Note::Unreadable];

fn request(heartbeat_age: Nanos) -> LeaseEvent {
    Request { heartbeat_age }
}

#[test]
fn every_step_is_a_row_of_the_table() {
    let [unclaimed, unavailable, held, expired] = LEASES;
    let young = request(HEARTBEAT_MAX_AGE);
    let old = request(HEARTBEAT_MAX_AGE + Nanos::new(1));
    let (own_counts, subtracted) = (Claim(Missing::OwnCounts), Claim(Missing::Subtracted));
    let read = |slot| ReadNote { from: SLOT, slot };
    let note = |note, slot| NoteRead { slot, note };
    let mut rows = vec![
        (unclaimed, young, unclaimed, own_counts),
        (unclaimed, old, unclaimed, own_counts),
        (unclaimed, Tick, unclaimed, Heartbeat),
        (unavailable, young, unavailable, Done),
        (unavailable, old, unavailable, Done),
        (unavailable, Tick, unavailable, Heartbeat),
        (unclaimed, Claimed(OTHER), Lease::Held(OTHER), Done),
        (unavailable, Claimed(OTHER), Lease::Held(OTHER), Done),
        (expired, Claimed(OTHER), Lease::Held(OTHER), Done),
        (held, Claimed(OTHER), held, Bug),
        (unclaimed, NoSlot, unavailable, Done),
        (unavailable, NoSlot, unavailable, Done),
        (expired, NoSlot, expired, Done),
        (held, NoSlot, held, Bug),
        (expired, note(Note::Missing, OwnSlot::Held), expired, Done),
        (expired, note(Note::Missing, OwnSlot::Freed), expired, Done),
        (
            expired,
            note(Note::Missing, OwnSlot::Lost),
            expired,
            own_counts,
        ),
        (
            expired,
            note(Note::Missing, OwnSlot::Unknown),
            expired,
            Done,
        ),
    ];
    for lease in [held, expired] {
        rows.extend([
            (lease, young, lease, Done),
            (lease, old, lease, Heartbeat),
            (lease, Tick, lease, Heartbeat),
            (lease, HeartbeatDone(OwnSlot::Held), lease, Done),
            (lease, HeartbeatDone(OwnSlot::Unknown), lease, Done),
        ]);
        for slot in [OwnSlot::Freed, OwnSlot::Lost] {
            rows.push((lease, HeartbeatDone(slot), expired, read(slot)));
        }
    }
    for slot in OWN_SLOTS {
        rows.extend([
            (unclaimed, HeartbeatDone(slot), unclaimed, Done),
            (unavailable, HeartbeatDone(slot), unavailable, own_counts),
            (expired, note(Note::Found, slot), expired, subtracted),
            (expired, note(Note::Unreadable, slot), expired, Done),
        ]);
        for (lease, is) in [unclaimed, unavailable, held]
            .into_iter()
            .flat_map(|lease| NOTES.map(|is| (lease, is)))
        {
            rows.push((lease, note(is, slot), lease, Bug));
        }
    }
    for (place, (lease, event, next, action)) in rows.iter().enumerate() {
        assert_eq!(lease.step(*event), (*next, *action), "{lease:?} {event:?}");
        let same =
            |row: &(Lease, LeaseEvent, Lease, LeaseAction)| (row.0, row.1) == (*lease, *event);
        assert!(!rows[..place].iter().any(same), "{lease:?} {event:?} twice");
    }
    // Two ages of a request, a tick, four states of the slot, four times three notes, two claims.
    assert_eq!(rows.len(), 4 * (2 + 1 + 4 + 4 * 3 + 2));
}

/// Whatever comes of the actions, also what cannot happen together.
#[test]
fn every_request_and_every_tick_is_done_after_four_steps_and_never_a_bug() {
    fn follow(lease: Lease, event: LeaseEvent, steps: usize) -> usize {
        let steps = steps + 1;
        assert!(steps <= 4, "{lease:?} {event:?}");
        let (next, action) = lease.step(event);
        let events = match action {
            Done => return 1,
            Heartbeat => OWN_SLOTS.map(HeartbeatDone).to_vec(),
            ReadNote { slot, .. } => NOTES.map(|note| NoteRead { slot, note }).to_vec(),
            Claim(_) => vec![Claimed(OTHER), NoSlot],
            Bug => panic!("{lease:?} {event:?}"),
        };
        let ends = events.into_iter().map(|event| follow(next, event, steps));
        ends.sum()
    }
    let events = [
        request(Nanos::ZERO),
        request(HEARTBEAT_MAX_AGE + Nanos::new(1)),
        Tick,
    ];
    let ends = LEASES.map(|lease| events.map(|event| follow(lease, event, 0)));
    // A claim ends in two ways. Of a held or expired lease's heartbeats two are done at once, one
    // ends in 2 + 1 + 1 ways, and one in 2 + 2 + 1.
    assert_eq!(ends, [[2, 2, 4], [1, 1, 8], [1, 11, 11], [1, 11, 11]]);
}

#[test]
fn after_a_false_expiry_a_worker_adds_again_exactly_what_was_subtracted() {
    for by_a_tick in [true, false] {
        let (mut port, config) = (MemoryPort::default(), config(0, 3));
        let (mut hung, mut other) = (Worker::new(&config, 1), Worker::new(&config, 2));
        let mut now = NOW;
        for time in 1..4 {
            (0..5).for_each(|_| hung.begin(&mut port, 1, now));
            other.begin(&mut port, 1, now);
            for _ in 0..5 {
                now += SECOND;
                other.tick(&mut port, now);
            }
            assert_eq!(gauge(&port, 1), time, "its counts are subtracted");
            assert_eq!(
                other.counts.take_events(),
                [InFlightEvent::Reclaimed(5 * time as u32)]
            );
            // It goes on where it was, and has not noticed. What it counts now was not subtracted.
            if by_a_tick {
                let then = now - 5 * SECOND;
                hung.begin(&mut port, 1, then);
                hung.end(&mut port, 0, false, then);
                hung.end(&mut port, 0, false, then);
                assert_eq!(gauge(&port, 1), time - 1);
                assert_eq!(other.of(&mut port, 2), 0);
                hung.tick(&mut port, now);
            } else {
                // No tick comes, but a request: it sends a heartbeat first.
                hung.end(&mut port, 0, false, now);
            }
            assert_eq!(hung.counts.take_events(), [InFlightEvent::Rejoined]);
            assert_eq!(gauge(&port, 1), 6 * time - 1);
            hung.begin(&mut port, 1, now);
        }
        // Its new ledger is right too.
        drop(hung);
        (1..=5).for_each(|tick| other.tick(&mut port, now + tick * SECOND));
        assert_eq!((gauge(&port, 1), other.of(&mut port, 1)), (3, 3));
    }
}

/// Found by the fuzz target `records`. This is all that two faults within the same seconds can
/// cost.
#[test]
fn counts_added_after_a_false_expiry_stay_if_the_vm_traps_before_it_rejoins() {
    let (mut port, config) = (MemoryPort::default(), config(0, 1));
    let mut workers = [1, 2].map(|holder| Worker::new(&config, holder));
    let [hangs, lives] = &mut workers;
    hangs.begin(&mut port, 0, NOW);
    lives.begin(&mut port, 0, NOW);
    for second in 1..=u64::from(MISSED_HEARTBEATS) + 1 {
        lives.tick(&mut port, NOW + second * SECOND);
    }
    assert_eq!(gauge(&port, 0), 1, "what it had is subtracted");
    // Its clock stands where it hung. At a later time it would send a heartbeat, and notice.
    hangs.begin(&mut port, 0, NOW);
    hangs.begin(&mut port, 0, NOW);
    lives.end(&mut port, 0, false, NOW + 5 * SECOND);
    for second in 6..60 {
        lives.tick(&mut port, NOW + second * SECOND);
    }
    assert_eq!(gauge(&port, 0), 2);
}

/// Found by the fuzz target `records`. Three faults: a worker hangs for longer than its slot is in
/// quarantine, the next holder of the slot traps with requests in flight, and only then the first
/// one notices.
#[test]
fn a_worker_whose_note_was_overwritten_adds_all_its_own_counts_again() {
    let (mut port, config) = (MemoryPort::default(), config(0, 1));
    let mut workers = [1, 2, 3].map(|holder| Worker::new(&config, holder));
    let [hangs, lives, traps] = &mut workers;
    let mut second = 0;
    let mut pass = |lives: &mut Worker, port: &mut MemoryPort, seconds: u64| {
        for _ in 0..seconds {
            second += 1;
            lives.tick(port, NOW + second * SECOND);
        }
        NOW + second * SECOND
    };
    lives.begin(&mut port, 0, NOW);
    hangs.begin(&mut port, 0, NOW);
    pass(lives, &mut port, u64::from(MISSED_HEARTBEATS) + 1);
    // Nobody subtracted this one, and it will be added again with the other.
    hangs.begin(&mut port, 0, NOW);
    let now = pass(lives, &mut port, SLOT_QUARANTINE / SECOND + 1);
    traps.begin(&mut port, 0, now);
    let now = pass(lives, &mut port, u64::from(MISSED_HEARTBEATS) + 1);
    assert_eq!(gauge(&port, 0), 2, "one is alive, one was not subtracted");
    hangs.tick(&mut port, now);
    assert_eq!(gauge(&port, 0), 2 + 2);
    while hangs.end(&mut port, 0, false, now).is_some() {}
    lives.end(&mut port, 0, false, now);
    assert_eq!(gauge(&port, 0), 1, "what it counted before it noticed");
}

#[test]
fn without_a_slot_a_worker_uses_its_own_counts_until_one_is_free() {
    let (mut port, config) = (MemoryPort::default(), config(0, 3));
    let table = (0..MAX_SLOTS as u64)
        .flat_map(|nonce| [nonce, 1, 1])
        .flat_map(u64::to_le_bytes);
    port.set(WORKER_SLOTS, &table.collect::<Vec<_>>(), Expected::Any)
        .unwrap();
    let (mut worker, mut other) = (Worker::new(&config, 1), Worker::new(&config, 2));
    (0..5).for_each(|_| worker.begin(&mut port, 1, NOW));
    other.begin(&mut port, 1, NOW);
    assert_eq!(
        (
            worker.of(&mut port, 1),
            other.of(&mut port, 1),
            gauge(&port, 1)
        ),
        (5, 1, 0)
    );
    let reads = port.reads;
    (0..100).for_each(|_| worker.begin(&mut port, 2, NOW));
    assert_eq!(port.reads, reads, "it asks for a slot once a tick");
    // The workers in the table have expired. Each other one reclaims as many as it may in a tick,
    // and then the slots are in quarantine.
    for tick in 1..=60 {
        worker.tick(&mut port, NOW + tick * SECOND);
        other.tick(&mut port, NOW + tick * SECOND);
        if tick < 30 {
            assert_eq!(gauge(&port, 1), 0, "tick {tick}");
        }
    }
    assert_eq!(gauge(&port, 1), 6);
    assert_eq!([1, 2].map(|target| worker.of(&mut port, target)), [6, 100]);
    assert_eq!(
        worker.counts.take_events(),
        [InFlightEvent::NoSlot],
        "told once"
    );
    assert_eq!(port.values[WORKER_SLOTS].0.len(), Slot::SIZE * MAX_SLOTS);
}
