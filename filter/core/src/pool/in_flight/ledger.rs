//! A worker's ledger: its counts, and what it has added to each gauge, in records that another
//! worker can read and subtract.
//!
//! A count is exact in memory, and is shared later: [`Ledger::share`] writes the records first and
//! then changes the gauges by the same. Everything that this needs was allocated when the target
//! was added, so a request allocates nothing, and nothing can trap in between.

use super::gauge_name::GaugeName;
use super::lease::{LeaseId, SlotNumber};
use crate::index::{PoolIndex, TargetRef};
use crate::pool::Pool;
use crate::port::{Expected, Gauge, Port, Store};
use crate::shared::keys::{self, SlotKey};
use crate::shared::record::FieldReader;
use std::collections::BTreeSet;
use std::rc::Rc;

/// Counts in one record. What is written for a request stays at 264 bytes, which cost the host the
/// same as 8.
pub(super) const COUNTS_PER_PART: usize = 64;

/// The size of the id of a lease, with which each record of a slot begins.
const LEASE_ID: usize = 8;

/// The size of a count.
const COUNT: usize = 4;

/// Which count of a ledger, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CountIndex(u32);

impl CountIndex {
    /// Its place among all counts of the ledger.
    pub(super) fn get(self) -> usize {
        self.0 as usize
    }

    /// Its part, and its place there.
    fn place(self) -> (usize, usize) {
        (self.get() / COUNTS_PER_PART, self.get() % COUNTS_PER_PART)
    }
}

/// What one worker has counted.
#[derive(Debug)]
pub(super) struct Ledger {
    /// The worker's configuration.
    pools: Vec<Rc<Pool>>,
    /// The targets that the worker ever counted a request of, in the order of their first ones.
    targets: Vec<CountedTarget>,
    parts: Vec<Part>,
    /// The targets whose counts were changed since they were shared. There is room for all.
    changed: Vec<CountIndex>,
    /// The sum of all counts.
    total: u64,
}

/// A target with a count.
#[derive(Clone, Copy, Debug)]
struct CountedTarget {
    target: TargetRef,
    name: GaugeName,
    /// None: the proxy gives none.
    gauge: Option<Gauge>,
    /// The worker's requests.
    own: u32,
    /// How many of them the worker has added to the gauge.
    shared: u32,
    /// Whether it is among [`Ledger::changed`].
    is_changed: bool,
}

impl CountedTarget {
    /// What the gauge lacks of the count.
    fn unshared(&self) -> i64 {
        i64::from(self.own) - i64::from(self.shared)
    }

    /// Adds to the gauge what it lacks: of the count, and this much more.
    #[inline]
    fn share(&mut self, port: &mut dyn Port, more: u32) {
        let by = self.unshared() + i64::from(more);
        if let Some(gauge) = self.gauge.filter(|_| by != 0) {
            port.add(gauge, by);
        }
        self.shared = self.own;
        self.is_changed = false;
    }
}

/// One record of the ledger.
#[derive(Debug)]
pub(super) struct Part {
    key: SlotKey,
    /// The id of the lease, then the counts.
    record: Vec<u8>,
    /// Whether the record in shared data is older.
    is_changed: bool,
}

impl Part {
    fn new(key: SlotKey, lease: LeaseId) -> Part {
        let mut record = Vec::with_capacity(LEASE_ID + COUNTS_PER_PART * COUNT);
        record.extend_from_slice(&lease.to_bits().to_le_bytes());
        Part {
            key,
            record,
            is_changed: false,
        }
    }

    fn set(&mut self, place: usize, count: u32) {
        let counts = self.record.get_mut(LEASE_ID..).unwrap_or_default();
        let (counts, _) = counts.as_chunks_mut::<COUNT>();
        if let Some(bytes) = counts.get_mut(place) {
            *bytes = count.to_le_bytes();
            self.is_changed = true;
        }
    }

    /// Writes the record. Without a check, because only the worker that holds the slot writes it.
    /// If shared data fails, others see what they would see had the worker trapped before.
    #[inline]
    fn write(&mut self, store: &mut dyn Store) {
        let _ = store.set(&self.key, &self.record, Expected::Any);
        self.is_changed = false;
    }
}

impl Ledger {
    /// An empty one.
    pub(super) fn new(pools: &[Rc<Pool>]) -> Ledger {
        Ledger {
            pools: pools.to_vec(),
            targets: Vec::new(),
            parts: Vec::new(),
            changed: Vec::new(),
            total: 0,
        }
    }

    /// Adds a count of 0 for a target. `slot`: where the ledger is published, if it is. Then the
    /// name of the target's gauge is written too, so that others know what the count is of.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "there are at most 2^32 targets"
    )]
    pub(super) fn add_target(
        &mut self,
        store: &mut dyn Store,
        target: TargetRef,
        (name, gauge): (GaugeName, Option<Gauge>),
        (lease, slot): (LeaseId, Option<SlotNumber>),
    ) -> CountIndex {
        let index = CountIndex(self.targets.len() as u32);
        self.targets.push(CountedTarget {
            target,
            name,
            gauge,
            own: 0,
            shared: 0,
            is_changed: false,
        });
        let unchanged = self.targets.len().saturating_sub(self.changed.len());
        self.changed.reserve(unchanged);
        let (number, place) = index.place();
        if place == 0 {
            // Without a slot nothing is written, and the claim of one sets the key.
            let slot = slot.unwrap_or(SlotNumber::new(0));
            self.parts.push(Part::new(ledger_key(slot, number), lease));
        }
        if let Some(part) = self.parts.last_mut() {
            part.record.extend_from_slice(&[0; COUNT]);
        }
        if let Some(slot) = slot {
            let names = self.gauge_names(number, lease);
            let _ = store.set(&names_key(slot, number), &names, Expected::Any);
        }
        index
    }

    /// Changes a count, until [`Ledger::share`] in memory alone. An error is what must not be: then
    /// nothing is changed.
    pub(super) fn change(&mut self, index: CountIndex, by: i32) -> Result<(), &'static str> {
        let target = self.targets.get_mut(index.get());
        let target = target.ok_or("a count in flight is of no target")?;
        let changed = target.own.checked_add_signed(by).ok_or(match by < 0 {
            true => "more requests ended at a target than began there",
            false => "more requests are in flight at a target than a count can hold",
        })?;
        target.own = changed;
        self.total = self.total.saturating_add_signed(by.into());
        if !std::mem::replace(&mut target.is_changed, true) {
            self.changed.push(index);
        }
        Ok(())
    }

    /// Shares all counts that were changed: writes them to the slot, if the ledger `is_published`,
    /// and changes the gauges by the same.
    pub(super) fn share(&mut self, port: &mut dyn Port, is_published: bool) {
        for index in &self.changed {
            let (number, place) = index.place();
            let target = self.targets.get(index.get());
            let target = target.filter(|target| target.unshared() != 0);
            if let (Some(target), Some(part)) = (target, self.parts.get_mut(number)) {
                part.set(place, target.own);
            }
        }
        // The writes stand directly before the adds. NOTHING may come between them that could
        // trap: the ledger would then differ from what is in the gauges.
        if is_published {
            let parts = self.parts.iter_mut();
            parts
                .filter(|part| part.is_changed)
                .for_each(|part| part.write(port));
        }
        for index in &self.changed {
            if let Some(target) = self.targets.get_mut(index.get()) {
                target.share(port, 0);
            }
        }
        self.changed.clear();
    }

    /// Whether some counts were changed and are not shared.
    pub(super) fn is_changed(&self) -> bool {
        !self.changed.is_empty()
    }

    /// The sum of all counts.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// The pools of which a request is counted.
    pub(super) fn busy_pools(&self) -> BTreeSet<PoolIndex> {
        // One by one: to collect them would sort them first, by 8 kB of code.
        let mut pools = BTreeSet::new();
        for counted in self.targets.iter().filter(|counted| counted.own > 0) {
            pools.insert(counted.target.pool);
        }
        pools
    }

    /// From now on the names are those of these pools.
    pub(super) fn set_pools(&mut self, pools: &[Rc<Pool>]) {
        self.pools = pools.to_vec();
    }

    /// How many counts there are.
    pub(super) fn len(&self) -> usize {
        self.targets.len()
    }

    /// The gauge of a target.
    pub(super) fn gauge(&self, index: CountIndex) -> Option<Gauge> {
        self.targets.get(index.get())?.gauge
    }

    /// How many requests the worker has, and how many of them the gauge has.
    pub(super) fn count(&self, index: CountIndex) -> (u32, u32) {
        let target = self.targets.get(index.get());
        target.map_or((0, 0), |target| (target.own, target.shared))
    }

    /// What the worker has added to the gauges, as it stands in records.
    pub(super) fn counts(&self) -> Vec<u8> {
        let counts = self.targets.iter();
        counts
            .flat_map(|target| target.shared.to_le_bytes())
            .collect()
    }

    /// The records of the gauges' names, one for each part.
    pub(super) fn all_gauge_names(&self, lease: LeaseId) -> Vec<Vec<u8>> {
        let parts = 0..self.parts.len();
        parts
            .map(|number| self.gauge_names(number, lease))
            .collect()
    }

    /// Writes the whole ledger to a slot that was just claimed under this lease, with the `names`
    /// from [`Ledger::all_gauge_names`], and adds to the gauges what they lack: what was not shared
    /// yet, and the counts `missing` of what was. Nothing here allocates.
    pub(super) fn publish(
        &mut self,
        port: &mut dyn Port,
        slot: SlotNumber,
        lease: LeaseId,
        names: &[Vec<u8>],
        missing: &[u8],
    ) {
        for (number, target) in self.targets.iter().enumerate() {
            let part = self.parts.get_mut(number / COUNTS_PER_PART);
            if let Some(part) = part {
                part.set(number % COUNTS_PER_PART, target.own);
            }
        }
        for (number, (part, names)) in self.parts.iter_mut().zip(names).enumerate() {
            part.key = ledger_key(slot, number);
            if let Some(id) = part.record.first_chunk_mut::<LEASE_ID>() {
                *id = lease.to_bits().to_le_bytes();
            }
            let _ = port.set(&names_key(slot, number), names, Expected::Any);
            part.write(port);
        }
        // A target that was added later is not among the missing.
        let missing = counts(missing).chain(std::iter::repeat(0));
        for (target, missing) in self.targets.iter_mut().zip(missing) {
            target.share(port, missing);
        }
        self.changed.clear();
    }

    /// The record of the names of one part's gauges.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a name is shorter than 2^32 bytes"
    )]
    fn gauge_names(&self, number: usize, lease: LeaseId) -> Vec<u8> {
        let mut record = lease.to_bits().to_le_bytes().to_vec();
        let targets = self.targets.iter().skip(number * COUNTS_PER_PART);
        for counted in targets.take(COUNTS_PER_PART) {
            let name = self.gauge_name(counted).unwrap_or_default();
            record.extend_from_slice(&(name.len() as u32).to_le_bytes());
            record.extend_from_slice(name.as_bytes());
        }
        record
    }

    fn gauge_name(&self, counted: &CountedTarget) -> Option<String> {
        let CountedTarget { target, name, .. } = counted;
        let pool = self.pools.get(target.pool.get())?;
        Some(name.of(pool, pool.target(target.index)?))
    }
}

/// The key of a part of the ledger.
#[expect(
    clippy::cast_possible_truncation,
    reason = "there are fewer parts than targets"
)]
pub(super) fn ledger_key(slot: SlotNumber, part: usize) -> SlotKey {
    keys::ledger(slot.to_bits(), part as u32)
}

/// The key of the names of a part's gauges.
#[expect(
    clippy::cast_possible_truncation,
    reason = "there are fewer parts than targets"
)]
pub(super) fn names_key(slot: SlotNumber, part: usize) -> SlotKey {
    keys::gauge_names(slot.to_bits(), part as u32)
}

/// The key of the note of what was subtracted.
pub(super) fn note_key(slot: SlotNumber) -> SlotKey {
    keys::reclaimed_counts(slot.to_bits())
}

/// What follows the id in a record of a slot. None: the record is of another lease.
pub(super) fn payload_if_owner(lease: LeaseId, record: &[u8]) -> Option<&[u8]> {
    let mut fields = FieldReader::new(record);
    let owner = LeaseId::from_bits(fields.u64()?);
    (owner == lease).then_some(fields.rest())
}

/// The counts in the payload of a record.
pub(super) fn counts(payload: &[u8]) -> impl Iterator<Item = u32> + '_ {
    let mut fields = FieldReader::new(payload);
    std::iter::from_fn(move || fields.u32())
}

/// The first of the names in the payload of a record, and what follows it.
pub(super) fn first_name(payload: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut fields = FieldReader::new(payload);
    let length = fields.u32()?;
    let name = fields.bytes(usize::try_from(length).ok()?)?;
    Some((name, fields.rest()))
}
