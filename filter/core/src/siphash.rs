//! SipHash-2-4, the one hash whose values leave a worker.
//!
//! The standard library's hashers may change between releases and are seeded per process; these
//! values choose slots of shared records and targets of sticky sessions, so every worker, every
//! reload and every machine must get the same ones. Under a secret [`Seed`] no client can choose
//! its value. All arithmetic is `u64`: `usize` has 32 bits in the proxy and 64 natively.
//!
//! Source: Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012.

/// The key of a SipHash: a secret where clients must not choose their values, a constant where
/// machines must agree.
pub type Seed = [u8; 16];

/// Hashes the bytes that are written to it one after the other.
#[derive(Clone, Debug)]
pub struct SipWriter {
    state: [u64; 4],
    /// Bytes that do not fill a word yet, the first one lowest.
    tail: u64,
    /// All bytes so far. The hash takes its lowest 8 bits, and its lowest 3 say how many bytes
    /// `tail` holds.
    length: u64,
}

impl SipWriter {
    /// An empty input under this key.
    #[expect(clippy::cast_possible_truncation, reason = "the two halves")]
    pub fn new(seed: Seed) -> SipWriter {
        let both = u128::from_le_bytes(seed);
        let (k0, k1) = (both as u64, (both >> 64) as u64);
        SipWriter {
            state: [
                k0 ^ 0x736f_6d65_7073_6575,
                k1 ^ 0x646f_7261_6e64_6f6d,
                k0 ^ 0x6c79_6765_6e65_7261,
                k1 ^ 0x7465_6462_7974_6573,
            ],
            tail: 0,
            length: 0,
        }
    }

    /// Appends bytes. How an input is cut into calls makes no difference.
    pub fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks();
        for word in words {
            self.write_word(u64::from_le_bytes(*word));
        }
        for byte in rest {
            self.write_byte(*byte);
        }
    }

    /// Appends 8 bytes, the lowest first: what `tail` has room for now, the others after it.
    fn write_word(&mut self, word: u64) {
        let filled = 8 * (self.length % 8) as u32;
        self.length = self.length.wrapping_add(8);
        self.compress(self.tail | word << filled);
        self.tail = word.checked_shr(64 - filled).unwrap_or(0);
    }

    /// Appends one byte.
    pub fn write_byte(&mut self, byte: u8) {
        self.tail |= u64::from(byte) << (8 * (self.length % 8));
        self.length = self.length.wrapping_add(1);
        if self.length.is_multiple_of(8) {
            self.compress(self.tail);
            self.tail = 0;
        }
    }

    /// Appends a number, 8 bytes little-endian.
    pub fn write_u64(&mut self, number: u64) {
        self.write_word(number);
    }

    /// Appends bytes with their length in front, so that no two sequences of fields are the same
    /// input.
    pub fn write_field(&mut self, bytes: &[u8]) {
        self.write_u64(bytes.len() as u64);
        self.write(bytes);
    }

    /// The hash of all that was written.
    pub fn finish(&self) -> u64 {
        let mut end = self.clone();
        end.compress(self.tail | self.length << 56);
        end.state[2] ^= 0xff;
        for _ in 0..4 {
            end.round();
        }
        end.state.iter().fold(0, |hash, word| hash ^ word)
    }

    fn compress(&mut self, word: u64) {
        self.state[3] ^= word;
        self.round();
        self.round();
        self.state[0] ^= word;
    }

    fn round(&mut self) {
        let [mut a, mut b, mut c, mut d] = self.state;
        a = a.wrapping_add(b);
        c = c.wrapping_add(d);
        b = b.rotate_left(13) ^ a;
        d = d.rotate_left(16) ^ c;
        a = a.rotate_left(32);
        c = c.wrapping_add(b);
        a = a.wrapping_add(d);
        b = b.rotate_left(17) ^ c;
        d = d.rotate_left(21) ^ a;
        c = c.rotate_left(32);
        self.state = [a, b, c, d];
    }
}

/// Spreads a number over all 64 bits, one to one: the finaliser of SplitMix64 (Steele, Lea, Flood,
/// "Fast splittable pseudorandom number generators", 2014). For numbers that are hashes already, or
/// counters of which no secret depends.
#[inline]
pub const fn mixed(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn hash(seed: Seed, bytes: &[u8]) -> u64 {
        let mut writer = SipWriter::new(seed);
        writer.write(bytes);
        writer.finish()
    }

    #[test]
    fn how_an_input_is_cut_into_calls_makes_no_difference() {
        let bytes: Vec<u8> = (0..40).collect();
        let whole = hash([7; 16], &bytes);
        for first in 0..20 {
            for second in first..40 {
                let mut writer = SipWriter::new([7; 16]);
                writer.write(&bytes[..first]);
                writer.write(&bytes[first..second]);
                bytes[second..]
                    .iter()
                    .for_each(|byte| writer.write_byte(*byte));
                assert_eq!(writer.finish(), whole, "{first}, {second}");
            }
        }
    }

    /// The paper's appendix A, and the first and last vectors of the authors' reference code.
    #[test]
    fn values_are_those_of_the_paper() {
        let seed = std::array::from_fn(|i| i as u8);
        let input: Vec<u8> = (0..64).collect();
        for (length, value) in [
            (0, 0x726f_db47_dd0e_0e31),
            (1, 0x74f8_39c5_93dc_67fd),
            (7, 0xab02_00f5_8b01_d137),
            (8, 0x93f5_f579_9a93_2462),
            (15, 0xa129_ca61_49be_45e5),
            (63, 0x958a_324c_eb06_4572),
        ] {
            assert_eq!(hash(seed, &input[..length]), value, "{length} bytes");
        }
    }

    /// The standard library still carries SipHash-2-4 under a deprecated name: an oracle for
    /// everything else.
    #[test]
    #[allow(deprecated)]
    fn values_are_those_of_another_implementation_however_the_input_is_cut() {
        use std::hash::{Hasher, SipHasher};
        let mut state = 1_u64;
        let mut random = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) as u8
        };
        for length in 0..600 {
            let seed: Seed = std::array::from_fn(|_| random());
            let input: Vec<u8> = (0..length).map(|_| random()).collect();
            let (k0, k1) = seed.split_at(8);
            let mut oracle = SipHasher::new_with_keys(
                u64::from_le_bytes(k0.try_into().unwrap()),
                u64::from_le_bytes(k1.try_into().unwrap()),
            );
            oracle.write(&input);
            let mut writer = SipWriter::new(seed);
            let mut rest = &input[..];
            while !rest.is_empty() {
                let (now, later) = rest.split_at(rest.len().min(usize::from(random()) % 11));
                writer.write(now);
                rest = later;
            }
            assert_eq!(writer.finish(), oracle.finish(), "{length} bytes");
        }
    }

    #[test]
    fn fields_do_not_run_into_each_other() {
        let fields = |fields: &[&[u8]]| {
            let mut writer = SipWriter::new([7; 16]);
            fields.iter().for_each(|field| writer.write_field(field));
            writer.finish()
        };
        assert_ne!(fields(&[b"ab", b"c"]), fields(&[b"a", b"bc"]));
        assert_ne!(fields(&[b"ab"]), fields(&[b"ab", b""]));
    }
}
