//! What the fuzz targets share: surroundings for the core, in memory.

use pointsman_core::port::{Connection, Expected, Gauge, SetFailed, Stats, Store, StoreFailed, StreamInfo, Version};
use std::collections::HashMap;
use std::net::IpAddr;

/// Shared data and gauges by the rules of proxy-wasm-cpp-host.
#[derive(Default)]
pub struct Surroundings {
    /// Values with their versions.
    pub values: HashMap<Vec<u8>, (Vec<u8>, Version)>,
    /// Names with their values.
    pub gauges: Vec<(String, i64)>,
    newest: Version,
}

impl Surroundings {
    /// The sum of all gauges whose name ends so.
    pub fn sum(&self, ending: &str) -> i64 {
        let some = self.gauges.iter().filter(|(name, _)| name.ends_with(ending));
        some.map(|(_, value)| value).sum()
    }
}

impl Store for Surroundings {
    fn get(&mut self, key: &[u8]) -> Result<Option<(Vec<u8>, Version)>, StoreFailed> {
        Ok(self.values.get(key).cloned())
    }

    fn set(&mut self, key: &[u8], value: &[u8], expected: Expected) -> Result<(), SetFailed> {
        match (self.values.get(key), expected) {
            (Some(_), Expected::Absent) => return Err(SetFailed::CasMismatch),
            (Some((_, current)), Expected::Version(version)) if *current != version => return Err(SetFailed::CasMismatch),
            _ => {}
        }
        self.newest = self.newest.checked_add(1).unwrap_or(1);
        self.values.insert(key.to_vec(), (value.to_vec(), self.newest));
        Ok(())
    }
}

impl Stats for Surroundings {
    fn gauge(&mut self, name: &str) -> Option<Gauge> {
        let known = self.gauges.iter().position(|(known, _)| known == name);
        let place = known.unwrap_or_else(|| {
            self.gauges.push((name.to_owned(), 0));
            self.gauges.len() - 1
        });
        Some(Gauge(place as u32))
    }

    fn add(&mut self, gauge: Gauge, by: i64) {
        self.gauges[gauge.0 as usize].1 += by;
    }

    fn value(&mut self, gauge: Gauge) -> Option<i64> {
        Some(self.gauges[gauge.0 as usize].1)
    }
}

impl Connection for Surroundings {
    fn source_address(&mut self) -> Option<IpAddr> {
        Some([192, 0, 2, 1].into())
    }
}

/// The end of a request that was answered so.
pub struct Answered(pub u16);

impl StreamInfo for Answered {
    fn status(&mut self) -> Option<u16> {
        Some(self.0)
    }

    fn grpc_status(&mut self) -> Option<u32> {
        Some(self.0.into())
    }

    fn flags(&mut self) -> Option<u64> {
        Some(0)
    }

    fn upstream_address(&mut self) -> Option<Vec<u8>> {
        Some(b"127.0.0.1:1".to_vec())
    }
}

/// A configuration with a bit of everything.
pub const EVERYTHING: &str = include_str!("../everything.json");
