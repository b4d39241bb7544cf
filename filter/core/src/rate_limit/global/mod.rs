//! Limits that hold over all proxies of a fleet together, by an engine that speaks Envoy's rate limit
//! protocol (`envoy.service.ratelimit.v3`), such as Limitador or envoyproxy/ratelimit.

pub mod wire;
