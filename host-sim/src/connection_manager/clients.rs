//! What Envoy makes of what a request says of its client: `x-forwarded-for`, `x-forwarded-proto`,
//! and the headers that only a proxy in front may send.

use crate::configuration::field;
use crate::exchange::{ExchangeRequest, first_value};
use pointsman_core::config::value::Value;
use std::net::{IpAddr, Ipv4Addr};

/// The settings that say who the client is. Default: Envoy's, which trusts `x-forwarded-for`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientSettings {
    /// `use_remote_address`: the connection's peer is the client, and is appended to the header.
    pub use_remote_address: bool,
    /// `xff_num_trusted_hops`: how many proxies stand in front.
    pub trusted_hops: usize,
    /// `skip_xff_append`
    pub skip_append: bool,
}

const FORWARDED_FOR: &[u8] = b"x-forwarded-for";
const FORWARDED_PROTO: &[u8] = b"x-forwarded-proto";

/// What Envoy removes from a request that does not come from inside. (Without
/// `internal_address_config` none does.)
const OF_INSIDE: [&str; 15] = [
    "x-envoy-expected-rq-timeout-ms",
    "x-envoy-force-trace",
    "x-envoy-hedge-on-per-try-timeout",
    "x-envoy-internal",
    "x-envoy-ip-tags",
    "x-envoy-max-retries",
    "x-envoy-original-url",
    "x-envoy-retriable-header-names",
    "x-envoy-retriable-status-codes",
    "x-envoy-retry-grpc-on",
    "x-envoy-retry-on",
    "x-envoy-upstream-alt-stat-name",
    "x-envoy-upstream-rq-per-try-timeout-ms",
    "x-envoy-upstream-rq-timeout-alt-response",
    "x-envoy-upstream-rq-timeout-ms",
];
/// And at an edge besides.
const OF_MESHES: [&str; 5] = [
    "x-envoy-decorator-operation",
    "x-envoy-downstream-service-cluster",
    "x-envoy-downstream-service-node",
    "x-envoy-original-host",
    "x-envoy-original-path",
];

impl ClientSettings {
    /// Those of a connection manager.
    pub fn read(manager: &Value) -> ClientSettings {
        let yes = |key: &str| matches!(field(manager, key), Some(Value::Bool(true)));
        let hops = match field(manager, "xff_num_trusted_hops") {
            // Envoy refuses what is no whole number.
            Some(Value::Number(hops)) => *hops as usize,
            _ => 0,
        };
        ClientSettings {
            use_remote_address: yes("use_remote_address"),
            trusted_hops: hops,
            skip_append: yes("skip_xff_append"),
        }
    }

    /// Makes of the request what the filter gets: also its client's address and its scheme are those
    /// that the proxy takes them for.
    pub(super) fn admit(&self, request: &mut ExchangeRequest) {
        let peer = request.client_ip.unwrap_or(Ipv4Addr::LOCALHOST.into());
        let nearer = match self.use_remote_address {
            true => self.trusted_hops.checked_sub(1),
            false => Some(self.trusted_hops),
        };
        let told = nearer.and_then(|nearer| from_the_end(request, nearer));
        request.client_ip = Some(told.unwrap_or(peer));
        if self.use_remote_address && !self.skip_append {
            let pair = (FORWARDED_FOR.to_vec(), peer.to_string().into_bytes());
            request.headers.push(pair);
        }
        match first_value(&request.headers, FORWARDED_PROTO) {
            Some(scheme) if !self.use_remote_address || self.trusted_hops > 0 => {
                if [&b"http"[..], b"https"].contains(&scheme) {
                    request.scheme = scheme.to_vec();
                }
            }
            _ => {
                let name = FORWARDED_PROTO.to_vec();
                request.headers.retain(|(other, _)| *other != name);
                request.headers.push((name, request.scheme.clone()));
            }
        }
        request.headers.retain(|(name, _)| {
            let is = |known: &&str| known.as_bytes() == name;
            let is_of_meshes = self.use_remote_address && OF_MESHES.iter().any(is);
            !is_of_meshes && !OF_INSIDE.iter().any(is)
        });
    }
}

/// The address that stands in `x-forwarded-for` with so many others behind it. None: none stands
/// there, or something else does.
fn from_the_end(request: &ExchangeRequest, nearer: usize) -> Option<IpAddr> {
    let lines = request.headers.iter();
    let lines = lines.filter(|(name, value)| name == FORWARDED_FOR && !value.is_empty());
    let list = lines.map(|(_, value)| &value[..]).collect::<Vec<_>>();
    let list = list.join(&b',');
    let entry = list.rsplit(|byte| *byte == b',').nth(nearer)?;
    str::from_utf8(entry.trim_ascii()).ok()?.parse().ok()
}
