//! The codec of records in shared data: entries of a fixed size, whose fields stand one after the
//! other, little-endian and without gaps.
//!
//! A record may come from another version, or be the rest of one that was damaged. Reading never
//! fails: what is too short for an entry is none.

use crate::time::Nanos;

/// One entry of a record.
pub trait Entry: Sized {
    /// The bytes of all fields together, at least 1.
    const SIZE: usize;

    /// Reads the fields in their order. None: there are not that many bytes.
    fn read(fields: &mut FieldReader<'_>) -> Option<Self>;

    /// Writes the same fields in the same order.
    fn write(&self, fields: &mut FieldWriter<'_>);
}

/// The entries of a record, in their order. A part of an entry at the end is left out.
pub fn decode<E: Entry>(record: &[u8]) -> impl Iterator<Item = E> {
    let entries = record.chunks_exact(E::SIZE);
    entries.filter_map(|entry| E::read(&mut FieldReader::new(entry)))
}

/// The record of these entries.
pub fn encode<E: Entry>(entries: &[E]) -> Vec<u8> {
    let mut record = vec![0; E::SIZE * entries.len()];
    let mut fields = FieldWriter::new(&mut record);
    entries.iter().for_each(|entry| entry.write(&mut fields));
    record
}

/// Reads fields from the front of some bytes.
#[derive(Clone, Debug)]
pub struct FieldReader<'a> {
    rest: &'a [u8],
}

impl<'a> FieldReader<'a> {
    /// Begins at the first byte.
    pub fn new(bytes: &'a [u8]) -> FieldReader<'a> {
        FieldReader { rest: bytes }
    }

    /// 4 bytes. None: there are fewer, and none of them is read.
    pub fn u32(&mut self) -> Option<u32> {
        self.field().map(u32::from_le_bytes)
    }

    /// 8 bytes. None: there are fewer, and none of them is read.
    pub fn u64(&mut self) -> Option<u64> {
        self.field().map(u64::from_le_bytes)
    }

    /// 8 bytes, as a time. None: there are fewer, and none of them is read.
    pub fn nanos(&mut self) -> Option<Nanos> {
        self.u64().map(Nanos::new)
    }

    /// This many bytes as they are. None: there are fewer, and none of them is read.
    pub fn bytes(&mut self, length: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(bytes)
    }

    /// What was not read.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    fn field<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(*field)
    }
}

/// Writes fields over some bytes, from their front. The first field that does not fit and all after
/// it are left out.
#[derive(Debug)]
pub struct FieldWriter<'a> {
    rest: &'a mut [u8],
}

impl<'a> FieldWriter<'a> {
    /// Begins at the first byte.
    pub fn new(bytes: &'a mut [u8]) -> FieldWriter<'a> {
        FieldWriter { rest: bytes }
    }

    /// 4 bytes.
    pub fn u32(&mut self, value: u32) {
        self.field(value.to_le_bytes());
    }

    /// 8 bytes.
    pub fn u64(&mut self, value: u64) {
        self.field(value.to_le_bytes());
    }

    /// 8 bytes.
    pub fn nanos(&mut self, value: Nanos) {
        self.u64(value.get());
    }

    fn field<const N: usize>(&mut self, bytes: [u8; N]) {
        if let Some((field, rest)) = std::mem::take(&mut self.rest).split_first_chunk_mut() {
            *field = bytes;
            self.rest = rest;
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::fmt::Debug;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    /// Whether an entry is these bytes and all of them, and these bytes are it. For the test of
    /// each kind of entry: workers of two versions share records during a hot restart.
    pub(crate) fn assert_layout<E: Entry + PartialEq + Debug>(entry: E, bytes: &[u8]) {
        assert_eq!(bytes.len(), E::SIZE);
        let mut written = vec![0xee; E::SIZE + 1];
        let mut fields = FieldWriter::new(&mut written);
        entry.write(&mut fields);
        assert_eq!(
            fields.rest,
            [0xee],
            "bytes that were not written, and one more"
        );
        assert_eq!(&written[..E::SIZE], bytes);
        let mut fields = FieldReader::new(bytes);
        assert_eq!(E::read(&mut fields), Some(entry));
        assert_eq!(fields.rest(), b"");
    }

    #[derive(Clone, Copy, Debug, PartialEq)]
    struct Sample {
        id: u64,
        at: Nanos,
        count: u32,
    }

    impl Entry for Sample {
        const SIZE: usize = 20;

        fn read(fields: &mut FieldReader<'_>) -> Option<Sample> {
            Some(Sample {
                id: fields.u64()?,
                at: fields.nanos()?,
                count: fields.u32()?,
            })
        }

        fn write(&self, fields: &mut FieldWriter<'_>) {
            fields.u64(self.id);
            fields.nanos(self.at);
            fields.u32(self.count);
        }
    }

    const SAMPLE: Sample = Sample {
        id: 0x0102_0304_0506_0708,
        at: Nanos::new(9),
        count: 0x0a0b_0c0d,
    };

    #[test]
    fn fields_are_little_endian_and_without_gaps() {
        let bytes = b"\x08\x07\x06\x05\x04\x03\x02\x01\x09\0\0\0\0\0\0\0\x0d\x0c\x0b\x0a";
        assert_layout(SAMPLE, bytes);
    }

    #[test]
    fn record_is_its_entries_and_what_is_too_short_is_none() {
        let entries = [1, 2, 3].map(|count| Sample { count, ..SAMPLE });
        let record = encode(&entries);
        assert_eq!(record.len(), 3 * Sample::SIZE);
        for length in 0..=record.len() {
            let read: Vec<Sample> = decode(&record[..length]).collect();
            assert_eq!(read, entries[..length / Sample::SIZE], "{length} bytes");
        }
        assert_eq!(encode::<Sample>(&[]), b"");
    }

    #[test]
    fn what_is_not_there_is_not_read_and_what_does_not_fit_is_not_written() {
        let mut fields = FieldReader::new(b"\x01\0\0\0abc");
        assert_eq!(fields.u64(), None);
        assert_eq!(fields.u32(), Some(1));
        assert_eq!(fields.u32(), None);
        assert_eq!(fields.bytes(4), None);
        assert_eq!(fields.bytes(2), Some(&b"ab"[..]));
        assert_eq!(fields.rest(), b"c");
        let mut bytes = [0xee; 6];
        let mut fields = FieldWriter::new(&mut bytes);
        fields.u32(1);
        fields.u32(2);
        assert_eq!(bytes, [1, 0, 0, 0, 0xee, 0xee]);
    }
}
