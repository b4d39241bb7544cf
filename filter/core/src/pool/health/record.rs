//! The record of a pool's health in shared data, at [`keys::pool_health`].
//!
//! It has one entry for each target of the pool, and one for the lease on its probes
//! ([`super::active::lease`]). Pools whose names hash to the same key share a record, never
//! entries: the id of an entry is a hash of the pool's name, the target's, and what is behind it.
//!
//! | bytes | entry of a target | entry of a lease |
//! |---|---|---|
//! | 8 | its id | its id |
//! | 8 | when it was last changed | when it was last renewed |
//! | 8 | when the slow start begins | the worker that holds it |
//! | 8 | until when it is passively ejected | until when it holds |
//! | 4 | failed requests in a row | 0 |
//! | 4 | passive ejections in a row | 0 |
//! | 4 | good probes in a row | 0 |
//! | 4 | bad probes in a row | 0 |
//! | 4 | 1: it is ejected by probes; 2: it is new and waits for its first good one | 0 |
//! | 4 | of the failed requests in a row, those without a connection | 0 |
//! | 8 | the clients of the others, as a set of 64 bits | 0 |
//! | 8 | when the first of the row failed | 0 |
//!
//! The last three are not in the records at `pm1/health/`, which the first releases wrote.
//!
//! Entries of targets that are in no configuration any more make room when they are old, see
//! [`tidy`]: a thousand reloads do not make a record grow.

use super::clients::Clients;
use super::state::TargetHealth;
use super::votes::FailureRow;
use super::{Initial, Passive};
use crate::entropy::WorkerId;
use crate::index::TargetIndex;
use crate::pool::{Pool, Target};
use crate::shared::keys::{self, HealthKey};
use crate::shared::record::{self, Entry, FieldReader, FieldWriter};
use crate::siphash::SipWriter;
use crate::time::Nanos;
use fnv::FnvHashMap;

/// The ids of a pool's targets.
pub(super) type TargetIds = FnvHashMap<u64, TargetIndex>;

/// One entry of the record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct HealthEntry {
    /// Of a target, or of a lease.
    pub id: u64,
    /// When it was last changed.
    pub changed_at: Nanos,
    /// The state of the target. In the entry of a lease the same fields mean something else.
    pub health: TargetHealth,
}

impl HealthEntry {
    /// The entry of a healthy target.
    pub(super) fn new(id: u64) -> HealthEntry {
        HealthEntry {
            id,
            ..HealthEntry::default()
        }
    }

    /// The entry of a lease that this worker has renewed now.
    pub(super) fn lease(id: u64, holder: WorkerId, expires: Nanos, now: Nanos) -> HealthEntry {
        HealthEntry {
            id,
            changed_at: now,
            health: TargetHealth {
                slow_start_at: Nanos::new(holder.to_bits()),
                ejected_until: expires,
                ..TargetHealth::default()
            },
        }
    }

    /// Who holds the lease.
    pub(super) fn lease_holder(&self) -> WorkerId {
        WorkerId::from_bits(self.health.slow_start_at.get())
    }

    /// Until when the lease holds.
    pub(super) fn lease_expires(&self) -> Nanos {
        self.health.ejected_until
    }
}

impl Entry for HealthEntry {
    const SIZE: usize = 72;

    fn read(fields: &mut FieldReader<'_>) -> Option<HealthEntry> {
        let (id, changed_at) = (fields.u64()?, fields.nanos()?);
        let (slow_start_at, ejected_until) = (fields.nanos()?, fields.nanos()?);
        let failures = fields.u32()?;
        Some(HealthEntry {
            id,
            changed_at,
            health: TargetHealth {
                slow_start_at,
                ejected_until,
                ejections: fields.u32()?,
                good_probes: fields.u32()?,
                bad_probes: fields.u32()?,
                fallen: fields.u32()?,
                row: FailureRow {
                    failures,
                    no_connection: fields.u32()?,
                    voters: Clients::from_bits(fields.u64()?),
                    since: fields.nanos()?,
                },
            },
        })
    }

    fn write(&self, fields: &mut FieldWriter<'_>) {
        fields.u64(self.id);
        fields.nanos(self.changed_at);
        fields.nanos(self.health.slow_start_at);
        fields.nanos(self.health.ejected_until);
        fields.u32(self.health.row.failures);
        fields.u32(self.health.ejections);
        fields.u32(self.health.good_probes);
        fields.u32(self.health.bad_probes);
        fields.u32(self.health.fallen);
        fields.u32(self.health.row.no_connection);
        fields.u64(self.health.row.voters.to_bits());
        fields.nanos(self.health.row.since);
    }
}

/// The key of a pool's record.
pub(super) fn key(pool: &Pool) -> HealthKey {
    keys::pool_health(pool.scope.key(), hash(b"pool", pool, &[]))
}

/// The id of a target in its pool's record, by what the target is.
pub(super) fn target_id(pool: &Pool, target: &Target) -> u64 {
    pool.target_identity(target)
}

/// The id of a pool's recent clients. It covers the least of the targets' ids: pools of one name that
/// have no target in common never meet, and a reload that adds a target to many hardly ever changes
/// it. Where it does, the clients are known anew within a second.
pub(super) fn clients_id(pool: &Pool) -> u64 {
    let least = target_ids(pool).min().unwrap_or_default();
    hash(b"clients", pool, &[&least.to_be_bytes()])
}

/// The id of the lease on a pool's probes. It covers all that the probes are: of two pools of one
/// name with other targets, or another path, each has a worker that probes.
pub(super) fn lease_id(pool: &Pool) -> u64 {
    let targets: Vec<u8> = target_ids(pool).flat_map(u64::to_be_bytes).collect();
    let active = pool.health.active.as_ref();
    let path = active.map_or(&[][..], |active| &active.path);
    let host = active.and_then(|active| active.host.as_deref());
    let mut what = vec![&targets[..], path, host.unwrap_or_default()];
    // What is not given leaves the id as it was in releases that did not have it.
    if let Some(active) = active {
        what.extend((*active.method != *"GET").then_some(active.method.as_bytes()));
        what.extend(active.grpc.as_deref().map(str::as_bytes));
        let headers = active.headers.iter();
        what.extend(headers.flat_map(|(name, value)| [name.as_bytes(), value.as_bytes()]));
    }
    hash(b"lease", pool, &what)
}

fn target_ids(pool: &Pool) -> impl Iterator<Item = u64> + '_ {
    pool.targets.iter().map(|target| target_id(pool, target))
}

fn hash(kind: &[u8], pool: &Pool, what: &[&[u8]]) -> u64 {
    let mut hash = SipWriter::new(*b"pointsman health");
    hash.write_field(kind);
    hash.write_field(pool.name.as_bytes());
    what.iter().for_each(|what| hash.write_field(what));
    hash.finish()
}

/// The entries of a record. None: there is no record yet.
pub(super) fn decode(bytes: Option<&[u8]>) -> Vec<HealthEntry> {
    record::decode(bytes.unwrap_or_default()).collect()
}

/// The bytes of a record.
pub(super) fn encode(entries: &[HealthEntry]) -> Vec<u8> {
    record::encode(entries)
}

/// The state of a target. One without an entry is healthy.
pub(super) fn health(entries: &[HealthEntry], id: u64) -> TargetHealth {
    let entry = entries.iter().find(|entry| entry.id == id);
    entry.map_or_else(TargetHealth::default, |entry| entry.health)
}

/// Changes the state of a target, and makes its entry if there is none.
pub(super) fn set_health(
    entries: &mut Vec<HealthEntry>,
    id: u64,
    health: TargetHealth,
    now: Nanos,
) {
    let changed = HealthEntry {
        id,
        changed_at: now,
        health,
    };
    match entries.iter_mut().find(|entry| entry.id == id) {
        Some(entry) => *entry = changed,
        None => entries.push(changed),
    }
}

/// The targets of a pool but for one, as they stand in the record.
pub(super) struct OtherTargets<'a> {
    pub entries: &'a [HealthEntry],
    pub pool: &'a Pool,
    pub ids: &'a TargetIds,
    /// The id of the one.
    pub but: u64,
    pub now: Nanos,
}

impl OtherTargets<'_> {
    /// How many of them failed requests have ejected.
    pub(super) fn ejected(&self, passive: &Passive) -> usize {
        let ejected = self.with_entries();
        ejected
            .filter(|(_, other)| other.is_ejected(passive, self.now))
            .count()
    }

    /// Whether each of them that takes new requests fails as often as it takes to eject it.
    /// `recent`: the clients that the pool answered lately.
    pub(super) fn are_all_failing(&self, passive: &Passive, recent: Clients) -> bool {
        let takes_new = |target: TargetIndex| {
            let target = self.pool.target(target);
            target.is_some_and(|target| target.takes_new())
        };
        let others = self.ids.iter().filter(|(id, _)| **id != self.but);
        let all = others.filter(|(_, target)| takes_new(**target)).count();
        let failing = self.with_entries().filter(|(target, other)| {
            takes_new(*target) && other.is_failing(passive, recent, self.now)
        });
        failing.count() == all
    }

    fn with_entries(&self) -> impl Iterator<Item = (TargetIndex, &TargetHealth)> + '_ {
        let others = self.entries.iter().filter(|entry| entry.id != self.but);
        others.filter_map(|entry| Some((*self.ids.get(&entry.id)?, &entry.health)))
    }
}

/// Adds the targets that a record does not have, as `initial` says. They are new, and begin their
/// slow start, if it has others of their pool. Whether there were any.
pub(super) fn add_new_targets(
    entries: &mut Vec<HealthEntry>,
    ids: &TargetIds,
    initial: Initial,
    now: Nanos,
) -> bool {
    let mut missing = ids.clone();
    entries.iter().for_each(|entry| {
        missing.remove(&entry.id);
    });
    let slow_start_at = match missing.len() == ids.len() {
        true => Nanos::ZERO,
        false => now,
    };
    let is_changed = !missing.is_empty();
    entries.extend(missing.into_keys().map(|id| HealthEntry {
        id,
        changed_at: now,
        health: TargetHealth {
            slow_start_at,
            ..TargetHealth::new(initial)
        },
    }));
    is_changed
}

/// Drops entries that belong to no target here and are old: of targets that are gone. They may also
/// belong to another pool that shares the record. Nothing is lost then: a target without an entry
/// is healthy, and one that is not is written again by each probe, or its ejection is over.
pub(super) fn tidy(entries: &mut Vec<HealthEntry>, ids: &TargetIds, now: Nanos) {
    let is_foreign = |entry: &HealthEntry| !ids.contains_key(&entry.id);
    entries.retain(|entry| {
        let age = now.abs_diff(entry.changed_at);
        let ttl = match entry.health.is_idle() {
            true => IDLE_ENTRY_TTL,
            false => ENTRY_TTL,
        };
        let end = entry.health.ejected_until;
        !is_foreign(entry) || age < ttl || (end > now && age < end - entry.changed_at)
    });
    let most = MAX_FOREIGN_ENTRIES + ids.len();
    let mut foreign = entries.iter().filter(|entry| is_foreign(entry)).count();
    while foreign > most {
        let oldest = entries
            .iter()
            .enumerate()
            .filter(|(_, entry)| is_foreign(entry))
            .min_by_key(|(_, entry)| entry.changed_at);
        let Some((place, _)) = oldest else {
            return;
        };
        entries.remove(place);
        foreign -= 1;
    }
}

/// How long an entry is kept that belongs to no target here and says that its target is healthy.
const IDLE_ENTRY_TTL: Nanos = Nanos::from_secs(60);

/// How long one is kept that says something else.
const ENTRY_TTL: Nanos = Nanos::from_secs(600);

/// How many entries are kept at most that belong to no target here, and one more for each that
/// does: a bound on the size of a record whatever happens.
pub(super) const MAX_FOREIGN_ENTRIES: usize = 64;
