//! Shared data and gauges in memory.

use crate::port::{Connection, Expected, Gauge, SetFailed, Stats, Store, StoreFailed, Version};
use std::collections::HashMap;
use std::net::IpAddr;

/// Shared data by the rules of proxy-wasm-cpp-host, which `host-sim` pins against a real Envoy.
#[derive(Default)]
pub(crate) struct Map {
    pub(crate) values: HashMap<Vec<u8>, (Vec<u8>, Version)>,
    pub(crate) newest: Version,
    pub(crate) reads: u32,
    pub(crate) writes: u32,
    /// What was last written.
    pub(crate) last: Vec<u8>,
    /// Names and values of the gauges, by their handles.
    pub(crate) gauges: Vec<(String, i64)>,
}

impl Stats for Map {
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

impl Connection for Map {
    fn source_address(&mut self) -> Option<IpAddr> {
        None
    }
}

impl Store for Map {
    fn get(&mut self, key: &[u8]) -> Result<Option<(Vec<u8>, Version)>, StoreFailed> {
        self.reads += 1;
        Ok(self.values.get(key).cloned())
    }

    fn set(&mut self, key: &[u8], value: &[u8], expected: Expected) -> Result<(), SetFailed> {
        self.writes += 1;
        let current = self.values.get(key).map(|(_, version)| *version);
        match (current, expected) {
            (Some(_), Expected::Absent) => return Err(SetFailed::CasMismatch),
            (Some(current), Expected::Version(version)) if current != version => {
                return Err(SetFailed::CasMismatch);
            }
            _ => {}
        }
        self.newest = self.newest.checked_add(1).unwrap_or(1);
        self.last = value.to_vec();
        self.values
            .insert(key.to_vec(), (value.to_vec(), self.newest));
        Ok(())
    }
}
