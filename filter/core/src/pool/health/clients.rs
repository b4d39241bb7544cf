//! Which clients a pool answered lately: what it takes to tell one client that fails all the time
//! from a target that does.
//!
//! A client is a bit: one of 64, by a hash of its address (of an IPv6 address the first 64 bits,
//! because a home has as many addresses as it likes). Two clients may share a bit. Then they have
//! one vote together, see [`super::votes`], so chance can only make an ejection later.
//!
//! **Cost.** To ask for a client's address costs a host call, unless the request's headers told it.
//! So a worker asks at most every [`ASK_INTERVAL`] for each pool, and not at all once it knows
//! [`ENOUGH`] clients of this [`PERIOD`]. It writes what it knows with its next tick, so that no
//! request waits for that. Other workers read it when a request fails.
//!
//! **The record** lies at [`keys::pool_clients`]. Pools whose names hash to the same key share a
//! record, never entries.
//!
//! | bytes | field of an entry |
//! |---|---|
//! | 8 | the id of the pool |
//! | 8 | the number of the period, in units of [`PERIOD`] since 1970 |
//! | 8 | the clients that got an answer in this period |
//! | 8 | those of the period before |

use super::{Health, known_mut};
use crate::pool::Pool;
use crate::port::Port;
use crate::scope::ScopeKey;
use crate::shared::record::{self, Entry, FieldReader, FieldWriter};
use crate::shared::{self, Update, keys};
use crate::siphash::SipWriter;
use crate::time::Nanos;
use std::net::IpAddr;

/// A set of clients, each of which is one of 64 bits. Default: empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clients(u64);

impl Clients {
    /// The set of one client. None: the connection has no address; all such clients are one.
    pub fn of(address: Option<IpAddr>) -> Clients {
        let mut hash = SipWriter::new(*b"pointsman client");
        match address.map(|address| address.to_canonical()) {
            Some(IpAddr::V4(v4)) => hash.write(&v4.octets()),
            Some(IpAddr::V6(v6)) => hash.write(&(v6.to_bits() >> 64).to_be_bytes()),
            None => {}
        }
        Clients(1 << (hash.finish() % u64::from(u64::BITS)))
    }

    /// As its bits.
    pub(super) fn from_bits(bits: u64) -> Clients {
        Clients(bits)
    }

    /// Its bits.
    pub(super) fn to_bits(self) -> u64 {
        self.0
    }

    /// The clients of both sets.
    #[must_use]
    pub fn with(self, others: Clients) -> Clients {
        Clients(self.0 | others.0)
    }

    /// Whether all of these clients are also among the others.
    pub fn is_subset(self, others: Clients) -> bool {
        self.0 & !others.0 == 0
    }

    /// How many there are.
    pub fn len(self) -> u32 {
        self.0.count_ones()
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// The clients that got an answer in this period and in the one before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct RecentClients {
    id: u64,
    period: u64,
    current: Clients,
    previous: Clients,
}

impl RecentClients {
    /// The same as of now.
    fn at(self, now: Nanos) -> RecentClients {
        let period = now / PERIOD;
        let (current, previous) = match period.wrapping_sub(self.period) {
            0 => (self.current, self.previous),
            1 => (Clients::default(), self.current),
            _ => Default::default(),
        };
        RecentClients {
            period,
            current,
            previous,
            ..self
        }
    }

    /// Both of the same time.
    fn with(self, other: RecentClients) -> RecentClients {
        RecentClients {
            current: self.current.with(other.current),
            previous: self.previous.with(other.previous),
            ..self
        }
    }
}

impl Entry for RecentClients {
    const SIZE: usize = 32;

    fn read(fields: &mut FieldReader<'_>) -> Option<RecentClients> {
        Some(RecentClients {
            id: fields.u64()?,
            period: fields.u64()?,
            current: Clients::from_bits(fields.u64()?),
            previous: Clients::from_bits(fields.u64()?),
        })
    }

    fn write(&self, fields: &mut FieldWriter<'_>) {
        fields.u64(self.id);
        fields.u64(self.period);
        fields.u64(self.current.to_bits());
        fields.u64(self.previous.to_bits());
    }
}

/// What one worker knows of the clients of a pool.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ClientsSeen {
    scope: ScopeKey,
    seen: RecentClients,
    /// Whether all of it is in the record.
    is_written: bool,
    /// When a client was last asked for its address. 0: never.
    asked_at: Nanos,
}

impl ClientsSeen {
    pub(super) fn new(scope: ScopeKey, id: u64) -> ClientsSeen {
        ClientsSeen {
            scope,
            seen: RecentClients {
                id,
                ..RecentClients::default()
            },
            is_written: true,
            asked_at: Nanos::ZERO,
        }
    }

    fn wants_client(&self, is_known: bool, now: Nanos) -> bool {
        self.seen.at(now).current.len() < ENOUGH
            && (is_known || now.abs_diff(self.asked_at) >= ASK_INTERVAL)
    }

    fn answered(&mut self, client: Clients, now: Nanos) {
        let before = self.seen.at(now);
        self.asked_at = now;
        self.is_written &= client.is_subset(before.current);
        self.seen = RecentClients {
            current: before.current.with(client),
            ..before
        };
    }
}

impl Health {
    /// Whether [`Health::answered`] should be told of a client. `is_known`: whether its address is
    /// known without a question.
    pub fn wants_client(&self, pool: &Pool, is_known: bool, now: Nanos) -> bool {
        pool.health.passive.is_some()
            && self
                .pools
                .get(pool.index.get())
                .and_then(|known| known.as_ref())
                .is_some_and(|known| known.clients.wants_client(is_known, now))
    }

    /// A target of the pool answered this client well.
    pub fn answered(&mut self, pool: &Pool, client: Clients, now: Nanos) {
        if let Some(known) = known_mut(&mut self.pools, &mut self.events, pool) {
            known.clients.answered(client, now);
        }
    }

    /// The clients that the pool answered lately, by what all workers have written and this one
    /// has seen. Costs a read of shared data.
    pub(super) fn recent_clients(
        &mut self,
        port: &mut dyn Port,
        pool: &Pool,
        now: Nanos,
    ) -> Clients {
        let Some(known) = known_mut(&mut self.pools, &mut self.events, pool) else {
            return Clients::default();
        };
        let ClientsSeen { scope, seen, .. } = known.clients;
        let own = seen.at(now);
        let read = port.get(&keys::pool_clients(scope, own.id)).ok().flatten();
        let bytes = read.map(|(bytes, _)| bytes).unwrap_or_default();
        let all = entry_of(&bytes, own.id).at(now).with(own);
        all.current.with(all.previous)
    }

    /// Writes the clients that this worker saw and that are not in the record yet.
    pub(crate) fn write_clients(&mut self, port: &mut dyn Port, now: Nanos) {
        for known in self.pools.iter_mut().flatten() {
            let clients = &mut known.clients;
            if clients.is_written {
                continue;
            }
            let own = clients.seen.at(now);
            let key = keys::pool_clients(clients.scope, own.id);
            let written = shared::update(port, &key, &mut |bytes| {
                let bytes = bytes.unwrap_or_default();
                let all = entry_of(bytes, own.id).at(now).with(own);
                // Entries of pools that nobody uses any more make room.
                let others = record::decode::<RecentClients>(bytes)
                    .filter(|other| {
                        other.id != own.id
                            && other.at(now)
                                != RecentClients {
                                    id: other.id,
                                    period: now / PERIOD,
                                    ..RecentClients::default()
                                }
                    })
                    .take(MAX_FOREIGN_ENTRIES);
                let entries: Vec<_> = std::iter::once(all).chain(others).collect();
                Update::Write(record::encode(&entries), ())
            });
            clients.is_written = written.is_ok();
        }
    }
}

/// The entry of the pool with this id.
fn entry_of(bytes: &[u8], id: u64) -> RecentClients {
    record::decode::<RecentClients>(bytes)
        .find(|entry| entry.id == id)
        .unwrap_or(RecentClients {
            id,
            ..RecentClients::default()
        })
}

/// A client is recent in the period in which it got an answer, and in the next one.
const PERIOD: Nanos = Nanos::from_secs(5);

/// From one question for an address to the next. In a thousand requests a second that is one
/// question in ten, as long as there are few clients.
const ASK_INTERVAL: Nanos = Nanos::from_millis(10);

/// So many clients in a period are enough to know that there are several.
const ENOUGH: u32 = 8;

/// Of pools that share the record.
const MAX_FOREIGN_ENTRIES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared::record::tests::assert_layout;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    const NOW: Nanos = Nanos::from_secs(1_800_000_000);

    #[test]
    fn a_client_is_its_address_and_of_ipv6_its_64() {
        let of = |text: &str| Clients::of(text.parse().ok());
        assert_eq!(of("10.0.0.1"), of("::ffff:10.0.0.1"));
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:2"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:2::1"));
        let all = (0..=255).fold(Clients::default(), |all, last| {
            let one = of(&format!("10.0.0.{last}"));
            assert_eq!(one.len(), 1);
            all.with(one)
        });
        assert!(all.len() > 55, "{all:?}");
        assert_eq!(Clients::of(None).len(), 1);
    }

    #[test]
    fn a_client_is_forgotten_after_two_periods() {
        let client = Clients::from_bits(4);
        let mut seen = ClientsSeen::new(ScopeKey::default(), 7);
        seen.answered(client, NOW);
        let known = |after: Nanos| {
            let seen = seen.seen.at(NOW + after);
            seen.current.with(seen.previous)
        };
        assert_eq!(known(Nanos::ZERO), client);
        assert_eq!(known(PERIOD), client);
        assert_eq!(known(2 * PERIOD), Clients::default());
        assert_eq!(seen.seen.at(NOW - PERIOD).current, Clients::default());
    }

    #[test]
    fn a_worker_asks_for_few_addresses() {
        let mut seen = ClientsSeen::new(ScopeKey::default(), 7);
        let mut asked = 0;
        // One client, a thousand requests a second.
        for millisecond in 0..1000 {
            let now = NOW + Nanos::from_millis(millisecond);
            if seen.wants_client(false, now) {
                seen.answered(Clients::from_bits(1), now);
                asked += 1;
            }
        }
        assert_eq!(asked, 100);
        for bit in 0..64 {
            let now = NOW + Nanos::SECOND;
            if seen.wants_client(true, now) {
                seen.answered(Clients::from_bits(1 << bit), now);
            }
        }
        assert_eq!(seen.seen.current.len(), ENOUGH);
        assert!(!seen.wants_client(true, NOW + 4 * Nanos::SECOND));
        assert!(seen.wants_client(true, NOW + 5 * Nanos::SECOND));
    }

    #[test]
    fn an_entry_is_these_bytes() {
        let entry = RecentClients {
            id: 1,
            period: 2,
            current: Clients::from_bits(3),
            previous: Clients::from_bits(4),
        };
        let numbers = [1_u64, 2, 3, 4].map(u64::to_le_bytes);
        assert_layout(entry, &numbers.concat());
    }
}
