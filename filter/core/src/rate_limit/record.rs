//! A record of buckets: the latest time that it has seen, then the buckets in no order.
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

/// The size of the time in front of the buckets.
const TIME_SIZE: usize = 8;

/// A bucket, or the TAT that new buckets of a limit begin with. See [`Bucket::is_of_limit`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bucket {
    pub(super) id: u64,
    pub(super) tat: Tat,
}

impl Entry for Bucket {
    const SIZE: usize = 20;

    fn read(fields: &mut FieldReader<'_>) -> Option<Bucket> {
        Some(Bucket {
            id: fields.u64()?,
            tat: Tat {
                ns: fields.nanos()?,
                part: fields.u32()?,
            },
        })
    }

    fn write(&self, fields: &mut FieldWriter<'_>) {
        fields.u64(self.id);
        fields.nanos(self.tat.ns);
        fields.u32(self.tat.part);
    }
}

impl Bucket {
    /// Whether it belongs to a limit: an overflow bucket or an initial TAT. The lowest bit of the
    /// id is 1 in these, and 0 in the buckets of clients.
    fn is_of_limit(&self) -> bool {
        self.id & 1 == 1
    }

    /// Whether it is full, so that nothing is lost when another takes its place.
    fn is_idle(&self, now: Nanos) -> bool {
        self.tat.is_past(now)
    }
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
    /// one, and a part of a bucket at the end is left out.
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

    /// The TAT of this bucket. None: the record does not have it.
    pub(super) fn find(&self, id: u64) -> Option<Tat> {
        let mut buckets = self.buckets();
        Some(buckets.find(|bucket| bucket.id == id)?.tat)
    }

    /// Whether the record has a slot for another client: a free one, or one whose bucket is full.
    pub(super) fn has_room(&self, slots: u64) -> bool {
        let clients = || self.buckets().filter(|bucket| !bucket.is_of_limit());
        (clients().count() as u64) < slots || clients().any(|bucket| bucket.is_idle(self.now))
    }

    /// Replaces a bucket. A new one takes the place of a full one of its kind, if there is one.
    pub(super) fn put(&mut self, new: Bucket) {
        let now = self.now;
        let own = self.buckets().position(|bucket| bucket.id == new.id);
        let place = own.or_else(|| {
            let mut buckets = self.buckets();
            buckets
                .position(|bucket| bucket.is_of_limit() == new.is_of_limit() && bucket.is_idle(now))
        });
        let place = place.unwrap_or_else(|| {
            self.bytes.resize(self.bytes.len() + Bucket::SIZE, 0);
            self.places().count() - 1
        });
        if let Some(place) = self.places().nth(place) {
            new.write(&mut FieldWriter::new(place));
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
            tat: Tat {
                ns: Nanos::new(0x1112_1314_1516_1718),
                part: 0x2122_2324,
            },
        };
        assert_layout(
            bucket,
            b"\x08\x07\x06\x05\x04\x03\x02\x01\x18\x17\x16\x15\x14\x13\x12\x11\x24\x23\x22\x21",
        );
    }
}
