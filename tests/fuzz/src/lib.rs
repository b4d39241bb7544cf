//! What the fuzz targets share.

use pointsman_core::port::memory::{MemoryPort, MemoryStreamInfo};

/// A proxy in memory, whose clients come from one address.
pub fn port() -> MemoryPort {
    MemoryPort {
        source_address: Some([192, 0, 2, 1].into()),
        ..MemoryPort::default()
    }
}

/// The end of a request that was answered with this status.
pub fn answered(status: u16) -> MemoryStreamInfo {
    MemoryStreamInfo {
        status: Some(status),
        grpc_status: Some(status.into()),
        flags: Some(0),
        upstream_address: Some(b"127.0.0.1:1".to_vec()),
        from_upstream: Some(true),
    }
}

/// A configuration with a bit of everything.
pub const EVERYTHING: &str = include_str!("../everything.json");
