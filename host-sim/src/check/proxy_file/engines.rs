//! The clusters of global limits' engines: they must be there, and speak HTTP/2.

use super::{Value, Warning, named, text};
use pointsman_core::config::Config;
use std::collections::BTreeSet;

/// `is_whole`: the file has all clusters of the proxy.
pub(super) fn warnings(clusters: &[Value], is_whole: bool, config: &Config) -> Vec<Warning> {
    let mut told = BTreeSet::new();
    let mut warnings = Vec::new();
    for limit in &config.rate_limits {
        let Some(global) = limit.global() else {
            continue;
        };
        let name = &*global.cluster;
        if !told.insert(name) {
            continue;
        }
        let place = format!("{}.global.cluster", named("rate_limits", limit.name()));
        let cluster = clusters
            .iter()
            .find(|cluster| text(cluster, "name") == Some(name));
        match cluster {
            None if is_whole => warnings.push(Warning::new(
                "unknown_cluster",
                place,
                format!("names `{name}`, which the file does not have"),
                "no engine is asked: to each request happens what `on_error` says",
                "add it to `static_resources.clusters`, or correct the name",
            )),
            Some(cluster) if !speaks_http2(cluster) => warnings.push(Warning::new(
                "engine_without_http2",
                place,
                format!("is asked over gRPC, and `{name}` speaks HTTP/1.1"),
                "no call succeeds: to each request happens what `on_error` says",
                "give the cluster `explicit_http_config: { http2_protocol_options: {} }` in its \
                 `typed_extension_protocol_options`",
            )),
            _ => {}
        }
    }
    warnings
}

/// Whether the options for HTTP/2 stand anywhere in a cluster.
fn speaks_http2(tree: &Value) -> bool {
    match tree {
        Value::Map(map) => map
            .iter()
            .any(|(key, value)| key == "http2_protocol_options" || speaks_http2(value)),
        Value::List(list) => list.iter().any(speaks_http2),
        _ => false,
    }
}
