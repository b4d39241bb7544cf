//! Shared data with the `cas` rules of proxy-wasm-cpp-host (`src/shared_data.cc`), one map behind
//! one mutex.

use foldhash::fast::FixedState;
use std::collections::HashMap;
use std::sync::Mutex;

/// The shared data of one `vm_id`, which outlives every VM.
#[derive(Debug)]
pub struct SharedData(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    /// Values with their versions, by key. A fast hasher will do, as the keys are the filter's own
    /// and not an attacker's.
    values: HashMap<Vec<u8>, (Vec<u8>, u32), FixedState>,
    /// The version of the next write.
    next_cas: u32,
}

/// A write was refused: the key holds a value of another version than the one that was named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CasMismatch;

impl Default for SharedData {
    fn default() -> SharedData {
        SharedData(Mutex::new(Inner {
            values: HashMap::default(),
            next_cas: 1,
        }))
    }
}

impl SharedData {
    /// The value of a key with its version. None: the key was never written.
    pub fn get(&self, key: &[u8]) -> Option<(Vec<u8>, u32)> {
        self.0.lock().unwrap().values.get(key).cloned()
    }

    /// Writes a value. If the key exists, a `cas` other than 0 must be its version; if it does not
    /// exist, any `cas` is ignored.
    pub fn set(&self, key: &[u8], value: &[u8], cas: u32) -> Result<(), CasMismatch> {
        let inner = &mut *self.0.lock().unwrap();
        let entry = inner.values.get_mut(key);
        if let Some((_, version)) = &entry
            && cas != 0
            && cas != *version
        {
            return Err(CasMismatch);
        }
        let version = inner.next_cas;
        // 0 is not a version: it means "do not check".
        inner.next_cas = inner.next_cas.checked_add(1).unwrap_or(1);
        match entry {
            Some((old, of)) => {
                old.clear();
                old.extend_from_slice(value);
                *of = version;
            }
            None => {
                inner.values.insert(key.to_vec(), (value.to_vec(), version));
            }
        }
        Ok(())
    }

    /// How many keys there are. Keys are never removed.
    pub fn len(&self) -> usize {
        self.0.lock().unwrap().values.len()
    }

    /// Whether no key was ever written.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cas_zero_overwrites_and_any_other_must_match() {
        let data = SharedData::default();
        assert_eq!(data.get(b"k"), None);
        data.set(b"k", b"a", 0).unwrap();
        let (_, version) = data.get(b"k").unwrap();
        assert_eq!(data.set(b"k", b"b", version + 1), Err(CasMismatch));
        assert_eq!(data.get(b"k").unwrap(), (b"a".to_vec(), version));
        data.set(b"k", b"b", version).unwrap();
        assert_eq!(
            data.set(b"k", b"c", version),
            Err(CasMismatch),
            "the version is used up"
        );
        data.set(b"k", b"d", 0).unwrap();
        assert_eq!(data.get(b"k").unwrap().0, b"d");
    }

    #[test]
    fn cas_of_an_absent_key_is_ignored_so_one_that_never_matches_creates_once() {
        let data = SharedData::default();
        data.set(b"k", b"first", u32::MAX).unwrap();
        assert_eq!(data.set(b"k", b"second", u32::MAX), Err(CasMismatch));
        assert_eq!(data.get(b"k").unwrap().0, b"first");
    }

    #[test]
    fn versions_never_repeat_across_keys_and_never_are_zero() {
        let data = SharedData::default();
        data.0.lock().unwrap().next_cas = u32::MAX;
        data.set(b"a", b"", 0).unwrap();
        data.set(b"b", b"", 0).unwrap();
        assert_eq!(data.get(b"a").unwrap().1, u32::MAX);
        assert_eq!(data.get(b"b").unwrap().1, 1);
        assert_eq!(data.len(), 2);
    }
}
