//! A record of buckets: the latest time that it has seen, then its entries in no order: buckets of
//! clients, and marks, which stand for buckets that had to make room. See [`super::table`].
//!
//! **Time** does not run backwards within a record: a worker whose clock is behind uses the latest
//! time that the record has seen. A clock that is behind by more than [`CLOCK_STEP`] was set back.
//! Then all times in the record move back with it: each bucket stays exactly as full as it was, so
//! the bound holds, and no client waits until the clock reads the old time again.

use super::gcra::Tat;
use crate::shared::Update;
use crate::shared::record::{Entry, FieldReader, FieldWriter, decode};
use crate::time::Nanos;

/// A clock that is further behind than this was set back. One that is less behind differs from
/// another worker's, or was corrected by a little; its worker waits.
pub(super) const CLOCK_STEP: Nanos = Nanos::SECOND;

/// The size of the time in front of the entries.
const TIME_SIZE: usize = 8;

/// The marks of networks that a record has room for, as many as it has slots.
const MARKS: usize = 64;

/// Whose a bucket is. The tags of networks are hashes under the secret seed, never 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Owner {
    /// The limit, by the hash of its name and numbers.
    pub(super) limit: u32,
    /// The client's wider network. In a mark, 0: all of the limit's.
    pub(super) region: u16,
    /// The client's network. In a mark, 0: all of the region's.
    pub(super) site: u16,
}

impl Owner {
    /// The limit, the region, the site.
    const LEVELS: [fn(&Owner) -> u32; 3] = [
        |owner| owner.limit,
        |owner| owner.region.into(),
        |owner| owner.site.into(),
    ];

    /// Whether a mark of `self` speaks for buckets of `other`.
    fn covers(&self, other: &Owner) -> bool {
        self.limit == other.limit
            && (self.region == 0 || self.region == other.region)
            && (self.site == 0 || self.site == other.site)
    }

    fn of_region(self) -> Owner {
        Owner { site: 0, ..self }
    }

    fn of_limit(self) -> Owner {
        Owner {
            region: 0,
            ..self.of_region()
        }
    }
}

/// An entry of a record: a client's bucket, or a mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bucket {
    pub(super) id: u64,
    pub(super) owner: Owner,
    pub(super) tat: Tat,
}

impl Entry for Bucket {
    const SIZE: usize = 28;

    #[expect(clippy::cast_possible_truncation, reason = "each half of a field")]
    fn read(fields: &mut FieldReader<'_>) -> Option<Bucket> {
        let (id, limit, network) = (fields.u64()?, fields.u32()?, fields.u32()?);
        Some(Bucket {
            id,
            owner: Owner {
                limit,
                region: (network >> 16) as u16,
                site: network as u16,
            },
            tat: Tat {
                ns: fields.nanos()?,
                part: fields.u32()?,
            },
        })
    }

    fn write(&self, fields: &mut FieldWriter<'_>) {
        fields.u64(self.id);
        fields.u32(self.owner.limit);
        fields.u32(u32::from(self.owner.region) << 16 | u32::from(self.owner.site));
        fields.nanos(self.tat.ns);
        fields.u32(self.tat.part);
    }
}

impl Bucket {
    /// The id of all marks. No client's has this bit.
    const MARK: u64 = 1;
    /// This bit of a client's id says that clients of all networks share the bucket.
    const SHARED: u64 = 2;

    /// The id of a client's bucket. `shared`: the limit's key does not have the client's address.
    pub(super) fn client_id(hash: u64, shared: bool) -> u64 {
        let shared = if shared { Bucket::SHARED } else { 0 };
        hash & !(Bucket::MARK | Bucket::SHARED) | shared
    }

    fn is_mark(&self) -> bool {
        self.id == Bucket::MARK
    }

    /// Whether clients of all networks share it.
    fn is_shared(&self) -> bool {
        self.id & Bucket::SHARED != 0
    }

    /// Whether it is full, so that nothing is lost when another takes its place.
    fn is_idle(&self, now: Nanos) -> bool {
        self.tat.is_past(now)
    }

    /// The narrowest mark that may stand for the bucket: of its client's network; or, where clients
    /// of all networks share the bucket, of buckets with a similar id. What is told apart by an odd
    /// tag in one is told apart by an even one in the other, so that they never meet.
    #[expect(clippy::cast_possible_truncation, reason = "a tag is a part of a hash")]
    fn mark(&self) -> Owner {
        match self.is_shared() {
            false => self.owner,
            true => Owner {
                limit: self.owner.limit,
                region: 2 + 2 * ((self.id >> 60) as u16),
                site: (self.id >> 32) as u16 | 1,
            },
        }
    }
}

/// What it takes to give a newcomer a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// There is a free slot, or one whose bucket is full.
    Free,
    /// A bucket that is not full has to be merged into a mark.
    Merge(Bucket),
    /// None: a network that holds the most slots gets no more until this one is full.
    None(Bucket),
}

/// The bucket that gives its slot to a newcomer, where none is free or full: of the limit that
/// holds the most slots, of its region that does, of its site that does, the one that is nearest to
/// full. The newcomer's slot counts. So nobody who holds few slots loses one to somebody who holds
/// many, and what nobody else uses, one may have. Where two hold as many, the newcomer's own gives.
///
/// Buffers of packets are shared in the same way: the longest queue drops (Suter, Lakshman,
/// Stiliadis, Choudhury, "Design considerations for supporting TCP with per-flow queueing", 1998).
///
/// Where clients of all networks share the bucket, a network that holds the most gets none: marks
/// of such buckets lie on other networks too.
pub(super) fn room(mut held: Vec<Bucket>, newcomer: &Bucket) -> Room {
    let mut own = true;
    for level in Owner::LEVELS {
        let tag = level(&newcomer.owner);
        let most = most(&mut held, level, |of| own && of == tag);
        let Some(most) = most else { return Room::Free };
        own &= most == tag;
        held.retain(|bucket| level(&bucket.owner) == most);
    }
    match held.into_iter().min_by_key(|bucket| bucket.tat) {
        None => Room::Free,
        Some(bucket) if own && newcomer.is_shared() => Room::None(bucket),
        Some(bucket) => Room::Merge(bucket),
    }
}

/// Of the tags that some entries have at a level, the one that most of them have. One more counts
/// for `favoured` tags, and of several with as many one of these is taken.
fn most(
    entries: &mut [Bucket],
    level: fn(&Owner) -> u32,
    favoured: impl Fn(u32) -> bool,
) -> Option<u32> {
    entries.sort_unstable_by_key(|entry| level(&entry.owner));
    let same = entries.chunk_by(|a, b| level(&a.owner) == level(&b.owner));
    let counts = same.filter_map(|same| {
        let tag = level(&same.first()?.owner);
        let extra = favoured(tag);
        Some((same.len() + usize::from(extra), extra, tag))
    });
    counts.max().map(|(_, _, tag)| tag)
}

/// A record that is being changed. It keeps the bytes, because a request changes one of up to 64
/// buckets.
pub(super) struct Record {
    /// The time that holds in this record.
    pub(super) now: Nanos,
    bytes: Vec<u8>,
    /// All times were moved back with the clock: that has to be written, whatever is decided.
    clock_set_back: bool,
}

impl Record {
    /// Reads a record at the time of this worker's clock. Bytes too short for a record are an empty
    /// one, and a part of an entry at the end is left out.
    pub(super) fn read(bytes: Option<&[u8]>, now: Nanos) -> Record {
        let bytes = bytes
            .filter(|bytes| bytes.len() >= TIME_SIZE)
            .unwrap_or(&[0; TIME_SIZE]);
        let whole = bytes.len() - (bytes.len() - TIME_SIZE) % Bucket::SIZE;
        // One more, because most changes of a young record add one.
        let mut own = Vec::with_capacity(whole + Bucket::SIZE);
        own.extend(bytes.get(..whole).unwrap_or_default());
        let mut record = Record {
            now,
            bytes: own,
            clock_set_back: false,
        };
        let latest = FieldReader::new(bytes).nanos().unwrap_or_default();
        match latest.checked_sub(now) {
            None => {}
            Some(behind) if behind <= CLOCK_STEP => record.now = latest,
            Some(behind) => {
                record.clock_set_back = true;
                for place in record.places() {
                    if let Some(mut bucket) = Bucket::read(&mut FieldReader::new(place)) {
                        bucket.tat.ns -= behind;
                        bucket.write(&mut FieldWriter::new(place));
                    }
                }
            }
        }
        record
    }

    /// This bucket, and its place. None: the record does not have it.
    pub(super) fn find(&self, id: u64) -> Option<(usize, Bucket)> {
        let entries = self.bytes.get(TIME_SIZE..)?.chunks_exact(Bucket::SIZE);
        let mut places = entries.enumerate();
        let id = id.to_le_bytes();
        let (place, entry) = places.find(|(_, entry)| entry.starts_with(&id))?;
        Some((place, Bucket::read(&mut FieldReader::new(entry))?))
    }

    /// Writes a bucket over the one that was found at this place.
    pub(super) fn put_at(&mut self, place: usize, bucket: Bucket) {
        if let Some(place) = self.places().nth(place) {
            bucket.write(&mut FieldWriter::new(place));
        }
    }

    /// The TAT that a bucket begins with which the record does not have: no earlier than the one
    /// that it had if it was merged.
    pub(super) fn initial(&self, newcomer: &Bucket) -> Tat {
        let own = newcomer.mark();
        let marks = self.buckets().filter(|mark| mark.is_mark());
        marks
            .filter(|mark| mark.owner.covers(&own))
            .map(|mark| mark.tat)
            .max()
            .unwrap_or_default()
    }

    /// What it takes to give a newcomer one of so many slots.
    pub(super) fn room(&self, slots: u64, newcomer: &Bucket) -> Room {
        let clients = || self.buckets().filter(|bucket| !bucket.is_mark());
        let is_free = (clients().count() as u64) < slots;
        match is_free || clients().any(|bucket| bucket.is_idle(self.now)) {
            true => Room::Free,
            false => room(clients().collect(), newcomer),
        }
    }

    /// Adds a new bucket. It takes the place of a full one, if there is one.
    pub(super) fn add(&mut self, new: Bucket) {
        let now = self.now;
        self.replace(
            new,
            |_| false,
            |bucket| !bucket.is_mark() && bucket.is_idle(now),
        );
    }

    /// Gives the slot of one bucket to another, and merges the first into a mark.
    pub(super) fn merge(&mut self, old: &Bucket, new: Bucket) {
        self.replace(new, |bucket| bucket.id == old.id, |_| false);
        self.raise(old.mark(), old.tat);
        // A network's marks are merged until they fit: into its region's where the region has
        // several, and else into the limit's. So an attacker with many networks spends its own.
        while let Some(mark) = self.mark_too_many() {
            let in_region = |other: &Bucket| other.owner.of_region() == mark.owner.of_region();
            let wider = match self.narrow_marks().filter(in_region).count() {
                0 | 1 => mark.owner.of_limit(),
                _ => mark.owner.of_region(),
            };
            self.remove(&mark);
            self.raise(wider, mark.tat);
        }
    }

    /// The mark to merge next, where there are too many: of the limit that has the most marks, of
    /// its region that does, the one that is nearest to past. If the region has several, that of a
    /// site.
    fn mark_too_many(&self) -> Option<Bucket> {
        let mut marks: Vec<Bucket> = self.narrow_marks().collect();
        if marks.len() <= MARKS {
            return None;
        }
        let [limit, region, _] = Owner::LEVELS;
        for level in [limit, region] {
            let most = most(&mut marks, level, |_| false)?;
            marks.retain(|mark| level(&mark.owner) == most);
        }
        marks
            .into_iter()
            .min_by_key(|mark| (mark.owner.site == 0, mark.tat))
    }

    /// Raises a mark to a TAT, or makes it.
    fn raise(&mut self, owner: Owner, tat: Tat) {
        let now = self.now;
        let is_own = |bucket: &Bucket| bucket.is_mark() && bucket.owner == owner;
        let own = self.buckets().find(is_own).map(|mark| mark.tat);
        let new = Bucket {
            id: Bucket::MARK,
            owner,
            tat: tat.max(own.unwrap_or_default()),
        };
        self.replace(new, is_own, |bucket| {
            bucket.is_mark() && bucket.is_idle(now)
        });
    }

    /// The marks of regions and sites. Those of limits are as few as limits.
    fn narrow_marks(&self) -> impl Iterator<Item = Bucket> {
        self.buckets()
            .filter(|bucket| bucket.is_mark() && bucket.owner.region != 0)
    }

    /// Writes an entry over the first that is its own; or else over one that it may take; or else
    /// at the end.
    fn replace(
        &mut self,
        new: Bucket,
        is_own: impl Fn(&Bucket) -> bool,
        may_take: impl Fn(&Bucket) -> bool,
    ) {
        let place = self.buckets().position(|bucket| is_own(&bucket));
        let place = place.or_else(|| self.buckets().position(|bucket| may_take(&bucket)));
        let place = place.unwrap_or_else(|| {
            self.bytes.resize(self.bytes.len() + Bucket::SIZE, 0);
            self.places().count() - 1
        });
        if let Some(place) = self.places().nth(place) {
            new.write(&mut FieldWriter::new(place));
        }
    }

    fn remove(&mut self, old: &Bucket) {
        let place = self.buckets().position(|bucket| bucket == *old);
        if let Some(place) = place {
            let start = TIME_SIZE + place * Bucket::SIZE;
            self.bytes.drain(start..start + Bucket::SIZE);
        }
    }

    /// Writes the record with its time.
    pub(super) fn write<T>(mut self, result: T) -> Update<T> {
        FieldWriter::new(&mut self.bytes).nanos(self.now);
        Update::Write(self.bytes, result)
    }

    /// Keeps the record as it is in shared data.
    pub(super) fn keep<T>(self, result: T) -> Update<T> {
        match self.clock_set_back {
            true => self.write(result),
            false => Update::Keep(result),
        }
    }

    fn places(&mut self) -> impl Iterator<Item = &mut [u8]> {
        let places = self.bytes.get_mut(TIME_SIZE..).unwrap_or_default();
        places.chunks_exact_mut(Bucket::SIZE)
    }

    fn buckets(&self) -> impl Iterator<Item = Bucket> {
        decode(self.bytes.get(TIME_SIZE..).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared::record::tests::assert_layout;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn buckets_are_these_bytes() {
        let bucket = Bucket {
            id: 0x0102_0304_0506_0708,
            owner: Owner {
                limit: 0x3132_3334,
                region: 0x4142,
                site: 0x5152,
            },
            tat: Tat {
                ns: Nanos::new(0x1112_1314_1516_1718),
                part: 0x2122_2324,
            },
        };
        assert_layout(
            bucket,
            b"\x08\x07\x06\x05\x04\x03\x02\x01\x34\x33\x32\x31\x52\x51\x42\x41\
              \x18\x17\x16\x15\x14\x13\x12\x11\x24\x23\x22\x21",
        );
    }
}
