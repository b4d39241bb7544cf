//! Every key of shared data. Numbers in keys are big-endian, numbers in records little-endian.
//!
//! `pm1` to `pm3` stand for the layout of the records: workers of two versions share them when the
//! module is updated, so a record with another layout needs another key.
//!
//! A *scope* ([`crate::scope`]) in a key keeps the records of several configurations apart. What has
//! none is told apart by what stands in the record: slots and ledgers by their leases, and by the
//! full names of gauges.
//!
//! | key | numbers | what the record holds | who writes it |
//! |---|---|---|---|
//! | `pm1/seed` | | the secret of all hashes that clients must not predict, 16 bytes | the first worker, by compare-and-swap |
//! | `pm3/slot` | scope, 8 bytes; record, 4 bytes | [rate limits](crate::rate_limit): the latest time that the record has seen, then up to 64 buckets of clients, and marks with the TATs that new buckets begin with | any worker that charges a client, by compare-and-swap |
//! | `pm3/shad` | scope, 8 bytes; record, 4 bytes | the same of `shadow` limits | any worker that charges a client, by compare-and-swap |
//! | `pm1/newest` | | [which configuration of each plugin is the newest](crate::generation) | any worker with a newer one, by compare-and-swap |
//! | `pm1/hold` | | [requests in flight](crate::pool::in_flight): the table of worker slots | any worker, by compare-and-swap |
//! | `pm1/ledg` | slot, 2 bytes; part, 4 bytes | requests in flight: what one worker has added to each gauge | the worker that holds the slot, without a check |
//! | `pm1/name` | slot, 2 bytes; part, 4 bytes | requests in flight: the names of these gauges | the worker that holds the slot, without a check |
//! | `pm1/took` | slot, 2 bytes; 4 zero bytes | requests in flight: what was subtracted from the gauges when the slot's worker expired | the worker that freed the slot, without a check |
//! | `pm3/gauge/` | scope, 8 bytes; record, 2 bytes | requests in flight: which target a gauge with the plain name belongs to | any worker that is the first to use it, by compare-and-swap |
//! | `pm3/health/` | scope, 8 bytes; record, 2 bytes | [health](crate::pool::health): the states of a pool's targets, and the lease of the worker that probes them | any worker that changes a state, by compare-and-swap |
//! | `pm3/clients/` | scope, 8 bytes; record, 2 bytes | health: which clients a pool answered lately, as a set of 64 bits | any worker that saw others, by compare-and-swap |
//! | `pm3/time/` | scope, 8 bytes; record, 2 bytes | [response times](crate::pool::least_response_time): the average of each target of a pool | any worker with new samples, by compare-and-swap |
//!
//! Shared data knows no delete, so the number of keys of a scope is bounded: whatever configurations
//! define and clients send, a record is one of a fixed number. Names that hash to the same number share a
//! record; each entry in it carries an id of its own.

use crate::scope::ScopeKey;

/// The secret seed.
pub const SEED: &[u8] = b"pm1/seed";

/// Which configuration of each plugin is the newest.
pub const NEWEST: &[u8] = b"pm1/newest";

/// The table of worker slots.
pub const WORKER_SLOTS: &[u8] = b"pm1/hold";

/// Health has this many records, and response times as many. Pools whose names hash to the same
/// number share a record.
const POOL_RECORDS: u64 = 1024;

/// The key of a record of rate limits.
pub type BucketsKey = [u8; 20];

/// The clients' buckets of this number, below 2³².
#[expect(clippy::cast_possible_truncation, reason = "below 2^32")]
pub fn buckets(scope: ScopeKey, number: u64) -> BucketsKey {
    key(b"pm3/slot", &scope, &(number as u32).to_be_bytes())
}

/// The same of `shadow` limits.
#[expect(clippy::cast_possible_truncation, reason = "below 2^32")]
pub fn shadow_buckets(scope: ScopeKey, number: u64) -> BucketsKey {
    key(b"pm3/shad", &scope, &(number as u32).to_be_bytes())
}

/// The key of a record that belongs to a worker slot.
pub type SlotKey = [u8; 14];

/// A part of what the worker in this slot has added to the gauges.
pub fn ledger(slot: u16, part: u32) -> SlotKey {
    slot_key(b"pm1/ledg", slot, part)
}

/// The names of the gauges in this part of the ledger.
pub fn gauge_names(slot: u16, part: u32) -> SlotKey {
    slot_key(b"pm1/name", slot, part)
}

/// What was subtracted from the gauges for the expired worker in this slot.
pub fn reclaimed_counts(slot: u16) -> SlotKey {
    slot_key(b"pm1/took", slot, 0)
}

/// The key of a record of gauges.
pub type GaugeOwnersKey = [u8; 20];

/// To which targets the gauges of a pool whose metrics have this hash belong.
pub fn gauge_owners(scope: ScopeKey, pool: u64) -> GaugeOwnersKey {
    key(b"pm3/gauge/", &scope, &pool_record(pool))
}

/// The key of a record of health.
pub type HealthKey = [u8; 21];

/// The health of the targets of a pool whose name has this hash.
pub fn pool_health(scope: ScopeKey, pool: u64) -> HealthKey {
    key(b"pm3/health/", &scope, &pool_record(pool))
}

/// The key of a record of clients.
pub type ClientsKey = [u8; 22];

/// The clients that a pool answered lately, of the pool with this id.
pub fn pool_clients(scope: ScopeKey, pool: u64) -> ClientsKey {
    key(b"pm3/clients/", &scope, &pool_record(pool))
}

/// The key of a record of response times.
pub type ResponseTimesKey = [u8; 19];

/// The response times of the targets of a pool whose name has this hash.
pub fn response_times(scope: ScopeKey, pool: u64) -> ResponseTimesKey {
    key(b"pm3/time/", &scope, &pool_record(pool))
}

fn pool_record(pool: u64) -> [u8; 2] {
    ((pool % POOL_RECORDS) as u16).to_be_bytes()
}

fn slot_key(kind: &[u8; 8], slot: u16, part: u32) -> SlotKey {
    let numbers = u64::from(slot) << 32 | u64::from(part);
    let [_, _, numbers @ ..] = numbers.to_be_bytes();
    key(kind, &[], &numbers)
}

/// `N` is the length of all together.
fn key<const N: usize>(kind: &[u8], scope: &[u8], numbers: &[u8]) -> [u8; N] {
    let mut key = [0; N];
    for (place, byte) in key.iter_mut().zip(kind.iter().chain(scope).chain(numbers)) {
        *place = *byte;
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    const SCOPE: ScopeKey = *b"--scope-";

    /// Workers of two versions share these when the module is updated.
    #[test]
    fn keys_are_these_bytes() {
        let keys: [(&[u8], &[u8]); 12] = [
            (SEED, b"pm1/seed"),
            (NEWEST, b"pm1/newest"),
            (WORKER_SLOTS, b"pm1/hold"),
            (
                &buckets(SCOPE, 0x0102_0304),
                b"pm3/slot--scope-\x01\x02\x03\x04",
            ),
            (
                &shadow_buckets(SCOPE, 0x0102_0304),
                b"pm3/shad--scope-\x01\x02\x03\x04",
            ),
            (
                &ledger(0x0102, 0x0304_0506),
                b"pm1/ledg\x01\x02\x03\x04\x05\x06",
            ),
            (&gauge_names(0xffff, 1), b"pm1/name\xff\xff\0\0\0\x01"),
            (&reclaimed_counts(0x0102), b"pm1/took\x01\x02\0\0\0\0"),
            (
                &gauge_owners(SCOPE, 1024 + 0x0102),
                b"pm3/gauge/--scope-\x01\x02",
            ),
            (
                &pool_health(SCOPE, 1024 + 0x0102),
                b"pm3/health/--scope-\x01\x02",
            ),
            (
                &pool_clients(SCOPE, 1024 + 0x0102),
                b"pm3/clients/--scope-\x01\x02",
            ),
            (
                &response_times(SCOPE, 1024 + 0x0102),
                b"pm3/time/--scope-\x01\x02",
            ),
        ];
        for (key, bytes) in keys {
            assert_eq!(
                key.escape_ascii().to_string(),
                bytes.escape_ascii().to_string()
            );
        }
    }
}
