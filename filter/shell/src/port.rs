//! The host, as a decision sees it.

use crate::host::{self, Status};
use pointsman_core::http::client_ip;
use pointsman_core::port::{
    Connection, Expected, Gauge, SetFailed, Stats, Store, StoreFailed, StreamInfo, Version,
};
use std::net::IpAddr;

/// The host, as a decision sees it.
pub(crate) struct Host;

impl Store for Host {
    fn get(&mut self, key: &[u8]) -> Result<Option<(Vec<u8>, Version)>, StoreFailed> {
        host::shared_data(key).map_err(|_| StoreFailed)
    }

    fn set(&mut self, key: &[u8], value: &[u8], expected: Expected) -> Result<(), SetFailed> {
        host::set_shared_data(key, value, expected).map_err(|status| match status {
            Status::CAS_MISMATCH => SetFailed::CasMismatch,
            _ => SetFailed::Store,
        })
    }
}

impl Connection for Host {
    fn source_address(&mut self) -> Option<IpAddr> {
        client_ip::parse_address(&host::property(b"source\0address").ok()??)
    }

    fn server_name(&mut self) -> Option<Vec<u8>> {
        host::property(b"connection\0requested_server_name").ok()?
    }

    fn peer(&mut self) -> Option<Vec<u8>> {
        host::property(b"connection\0uri_san_peer_certificate").ok()?
    }
}

impl StreamInfo for Host {
    fn status(&mut self) -> Option<u16> {
        number(b"response\0code").and_then(|code| u16::try_from(code).ok())
    }

    fn grpc_status(&mut self) -> Option<u32> {
        number(b"response\0grpc_status").and_then(|status| u32::try_from(status).ok())
    }

    fn flags(&mut self) -> Option<u64> {
        number(b"response\0flags").map(i64::cast_unsigned)
    }

    fn is_from_upstream(&mut self) -> Option<bool> {
        let details = host::property(b"response\0code_details").ok()??;
        Some(details == VIA_UPSTREAM)
    }

    fn upstream_address(&mut self) -> Option<Vec<u8>> {
        host::property(b"upstream\0address").ok()?
    }
}

/// What the proxy's router says of a response that it passes on (`ResponseCodeDetails` in
/// `envoy/stream_info/stream_info.h`).
const VIA_UPSTREAM: &[u8] = b"via_upstream";

/// A property that is a number: eight bytes, little-endian.
fn number(path: &[u8]) -> Option<i64> {
    let bytes = host::property(path).ok()??;
    bytes.try_into().ok().map(i64::from_le_bytes)
}

impl Stats for Host {
    fn gauge(&mut self, name: &str) -> Option<Gauge> {
        host::define_gauge(name).ok()
    }

    fn add(&mut self, gauge: Gauge, by: i64) {
        // A handle of our own is refused by no host.
        let _ = host::add_to_gauge(gauge, by);
    }

    fn value(&mut self, gauge: Gauge) -> Option<i64> {
        host::gauge_value(gauge).ok()
    }

    fn set_gauge(&mut self, gauge: Gauge, value: i64) {
        let _ = host::set_gauge(gauge, value.max(0).cast_unsigned());
    }
}
