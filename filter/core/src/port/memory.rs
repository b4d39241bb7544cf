//! A proxy in memory, for tests: what a decision may ask of its surroundings, without a proxy. Not
//! in the module: only the crate's own tests and the feature `testkit` have it.

use super::{
    Connection, Expected, Gauge, SetFailed, Stats, Store, StoreFailed, StreamInfo, Version,
};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Shared data and gauges by the rules of proxy-wasm-cpp-host, which `host-sim` pins against a real
/// Envoy, and a connection. No call fails.
#[derive(Clone, Debug, Default)]
pub struct MemoryPort {
    /// The values of shared data with their versions, by key.
    pub values: BTreeMap<Vec<u8>, (Vec<u8>, Version)>,
    /// The version of the latest write. 0: there was none.
    pub newest: Version,
    /// The value of the latest write.
    pub last: Vec<u8>,
    /// The gauges with their values, by handle. A name has one handle.
    pub gauges: Vec<(String, i64)>,
    /// The connection's source address.
    pub source_address: Option<IpAddr>,
    /// The name that the client asked for in the TLS handshake.
    pub server_name: Option<Vec<u8>>,
    /// The URI of the client's certificate.
    pub peer: Option<Vec<u8>>,
    /// How often a value of shared data was read.
    pub reads: u32,
    /// How often a write of shared data was tried.
    pub writes: u32,
    /// How often the source address was asked for.
    pub address_reads: u32,
    /// How often the server's name or the peer was asked for.
    pub tls_reads: u32,
}

impl MemoryPort {
    /// The sum of all gauges whose names end with `ending`.
    pub fn sum_of_gauges(&self, ending: &str) -> i64 {
        let gauges = self.gauges.iter();
        gauges
            .filter(|(name, _)| name.ends_with(ending))
            .map(|(_, value)| value)
            .sum()
    }
}

impl Store for MemoryPort {
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

impl Stats for MemoryPort {
    fn gauge(&mut self, name: &str) -> Option<Gauge> {
        let known = self.gauges.iter().position(|(known, _)| known == name);
        let place = known.unwrap_or_else(|| {
            self.gauges.push((name.to_owned(), 0));
            self.gauges.len() - 1
        });
        u32::try_from(place).ok().map(Gauge)
    }

    fn add(&mut self, gauge: Gauge, by: i64) {
        if let Some((_, value)) = self.gauges.get_mut(gauge.0 as usize) {
            *value += by;
        }
    }

    fn value(&mut self, gauge: Gauge) -> Option<i64> {
        self.gauges.get(gauge.0 as usize).map(|(_, value)| *value)
    }
}

impl Connection for MemoryPort {
    fn source_address(&mut self) -> Option<IpAddr> {
        self.address_reads += 1;
        self.source_address
    }

    fn server_name(&mut self) -> Option<Vec<u8>> {
        self.tls_reads += 1;
        self.server_name.clone()
    }

    fn peer(&mut self) -> Option<Vec<u8>> {
        self.tls_reads += 1;
        self.peer.clone()
    }
}

/// The end of a stream. By default the proxy tells nothing of it.
#[derive(Clone, Debug, Default)]
pub struct MemoryStreamInfo {
    /// The status of the response; 0 where there was none.
    pub status: Option<u16>,
    /// The gRPC status.
    pub grpc_status: Option<u32>,
    /// Envoy's response flags.
    pub flags: Option<u64>,
    /// The address that was tried last.
    pub upstream_address: Option<Vec<u8>>,
    /// Whether the response came from an upstream.
    pub from_upstream: Option<bool>,
}

impl StreamInfo for MemoryStreamInfo {
    fn status(&mut self) -> Option<u16> {
        self.status
    }

    fn grpc_status(&mut self) -> Option<u32> {
        self.grpc_status
    }

    fn flags(&mut self) -> Option<u64> {
        self.flags
    }

    fn is_from_upstream(&mut self) -> Option<bool> {
        self.from_upstream
    }

    fn upstream_address(&mut self) -> Option<Vec<u8>> {
        self.upstream_address.clone()
    }
}
