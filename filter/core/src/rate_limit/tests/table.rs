use super::*;
use crate::rate_limit::record::Bucket;
use crate::scope::ScopeKey;
use crate::shared::keys;
use crate::shared::record::Entry;
use crate::shared::tests::Random;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

/// Each newcomer gets the slot of another, whose debt is kept in a mark: of its own address as long
/// as there are few marks. So every client has its burst, and none has it twice.
#[test]
fn past_max_keys_each_client_has_its_burst_once() {
    for (max_keys, clients) in [(1, 50), (4, 50), (64, 120), (65, 120), (200, 300)] {
        let limit = limit(1, 3600 * SECOND, 3);
        let mut store = MemoryPort::default();
        let mut workers = [Worker::new(max_keys), Worker::new(max_keys)];
        for client in 0..clients {
            let worker = &mut workers[client as usize % 2];
            assert_eq!(worker.flood(&limit, &mut store, client, NOW), 3);
        }
        let overflows = workers.iter().flat_map(|worker| &worker.events);
        let overflows = overflows
            .filter(|event| **event == RateLimitEvent::Overflow(0))
            .count() as u32;
        assert!(overflows >= clients - max_keys, "{overflows}");
        for client in 0..clients {
            let worker = &mut workers[client as usize % 2];
            assert_eq!(worker.flood(&limit, &mut store, client, NOW), 0);
        }
        // When all buckets are full, all slots can be taken.
        let later = NOW + 3 * 3600 * SECOND;
        assert_eq!(workers[0].flood(&limit, &mut store, clients, later), 3);
    }
}

/// Past the slots and the marks, newcomers begin with what the merged buckets owe.
#[test]
fn past_slots_and_marks_newcomers_share_what_is_left() {
    let limit = limit(1, 3600 * SECOND, 3);
    for max_keys in [1, 4, 64] {
        let (mut worker, mut store) = (Worker::new(max_keys), MemoryPort::default());
        let admitted = (0..3000).map(|client| worker.flood(&limit, &mut store, client, NOW));
        let with_burst = admitted.filter(|admitted| *admitted > 0).count() as u32;
        // 64 marks of networks, and one that is written before it is merged with another.
        assert!(
            (max_keys + 64..=max_keys + 66).contains(&with_burst),
            "{with_burst}"
        );
    }
}

/// Clients come and go through a table that is much too small, with slots and without: each
/// keeps the promise.
#[test]
fn no_client_gains_by_moving_between_overflow_and_slot() {
    for seed in 0..300 {
        let mut random = Random(seed << 32);
        let limits = [
            limit(5, SECOND, 4),
            RateLimit {
                index: 1,
                ..limit(2, SECOND, 7)
            },
        ];
        let mut store = MemoryPort::default();
        let mut workers = [Worker::new(2), Worker::new(2)];
        let mut admitted = vec![[const { Vec::new() }; 2]; 6];
        let mut now = NOW;
        for _ in 0..600 {
            now +=
                [Nanos::ZERO, Nanos::ZERO, NS, SECOND / 50, SECOND / 3][random.below(5) as usize];
            let (client, which) = (random.below(6) as usize, random.below(2) as usize);
            let worker = &mut workers[random.below(2) as usize];
            if worker.admits(&limits[which], &mut store, client as u32, now) {
                admitted[client][which].push(now);
            }
        }
        assert!(
            workers[0]
                .events
                .iter()
                .any(|event| matches!(event, RateLimitEvent::Overflow(_)))
        );
        for (client, of_client) in admitted.into_iter().enumerate() {
            for (limit, of_limit) in limits.iter().zip(of_client) {
                assert_conforms(limit, of_limit, &format!("seed {seed}, client {client}"));
            }
        }
    }
}

#[test]
fn a_bucket_that_makes_room_keeps_its_debt() {
    let limit = limit(1, SECOND, 5);
    let (mut worker, mut store) = (Worker::new(1), MemoryPort::default());
    assert_eq!(worker.flood(&limit, &mut store, 1, NOW), 5);
    let later = NOW + 5 * SECOND - NS;
    assert_eq!(worker.flood(&limit, &mut store, 2, later), 5);
    assert_eq!(worker.flood(&limit, &mut store, 3, later), 5);
    // Of the first, a nanosecond was left to be full.
    assert_eq!(worker.flood(&limit, &mut store, 1, later), 4);
    assert_eq!(worker.flood(&limit, &mut store, 2, later), 0);
    assert_eq!(worker.flood(&limit, &mut store, 3, later), 0);
}

#[test]
fn a_million_clients_leave_the_store_small() {
    let limit = limit(1, 3600 * SECOND, 1);
    let (mut worker, mut store) = (Worker::new(1000), MemoryPort::default());
    for client in 0..1_000_000 {
        worker.admits(
            &limit,
            &mut store,
            client,
            NOW + u64::from(client) * Nanos::MICROSECOND,
        );
        worker.events.clear();
    }
    let bytes: usize = store
        .values
        .iter()
        .map(|(key, (value, _))| key.len() + value.len())
        .sum();
    // In each record the slots, 64 marks of networks, and the limit's.
    assert_eq!(store.values.len(), 16);
    assert!(
        bytes <= 1000 * Bucket::SIZE + 16 * (12 + 8 + 65 * Bucket::SIZE),
        "{bytes}"
    );
}

#[test]
fn bytes_that_are_no_record_are_an_empty_one() {
    let limit = limit(1, SECOND, 2);
    for junk in [&b""[..], b"x", &[255; 7], &[0; 8], &[0; 27]] {
        let (mut worker, mut store) = (Worker::new(1), MemoryPort::default());
        store
            .set(
                &keys::buckets(ScopeKey::default(), 0),
                junk,
                Expected::Absent,
            )
            .unwrap();
        assert_eq!(worker.flood(&limit, &mut store, 1, NOW), 2, "{junk:?}");
    }
}

/// As the last release wrote them: workers of two versions share records during a hot restart.
#[test]
fn records_are_these_bytes() {
    let limit = limit(3, SECOND, 2);
    let (mut worker, mut store) = (Worker::new(1), MemoryPort::default());
    // The second client takes the slot of the first.
    for client in [1, 1, 2] {
        assert!(worker.admits(&limit, &mut store, client, NOW));
    }
    let hex = |value: &[u8]| -> String { value.iter().map(|byte| format!("{byte:02x}")).collect() };
    let records = store.values.iter();
    let mut records: Vec<_> = records
        .map(|(key, (value, _))| (key.escape_ascii().to_string(), hex(value)))
        .collect();
    records.sort();
    let time = "0000b49376e2fa18";
    let of_second = "480b6462da5200b197502836490b7f5b554392a776e2fa1801000000";
    let mark_of_first = "01000000000000009750283687537f5baa8670bb76e2fa1802000000";
    assert_eq!(
        records,
        [(
            r"pm3/slot\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00".into(),
            [time, of_second, mark_of_first].concat()
        )]
    );
}
