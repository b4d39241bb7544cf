//! What Pointsman decides. Values in, values out: nothing here knows proxy-wasm, reads a clock or
//! draws a random number. Whoever calls brings the bytes of the request, the time `now`, a random
//! `roll`, and one [`port::Port`] through which the few things are asked that are not always needed
//! (the client's address, the workers' shared data).
//!
//! # Life of a request
//!
//! [`worker::Worker`] is one worker of a proxy, and [`worker`] can be read from top to bottom:
//!
//! 1. The proxy strips the upstream headers that a client may have sent before any filter runs,
//!    so that they choose nothing even when the filter's VM is dead. The filter takes them off
//!    again.
//! 2. The filter reads the header map once ([`http::request`]). Everything else it needs is asked
//!    for only if the configuration needs it.
//! 3. **Route** ([`route`]): the first route that matches wins. An index finds it; a scan in order
//!    would find the same.
//! 4. **Rate limit** ([`rate_limit`]): all limits of the route are checked, then charged, in the
//!    order in which the route lists them. A request that one of them refuses is charged nothing
//!    and answered with 429.
//! 5. **Protect** ([`protect`]): values that look like an attack are counted, or the request is
//!    answered with 403.
//! 6. **Sticky** ([`pool::sticky`]): a valid session cookie of one of the route's pools holds the
//!    client to its target, whatever the weights, as long as that is healthy.
//! 7. **Balance** ([`pool::balance`]): otherwise the roll picks a part of the `split`, and the
//!    pool's rule picks one of its healthy targets ([`pool::health`]), those of the preferred
//!    region ([`pool::prefer_region`]) first: in turn, at random, by the hash of a key, or by what
//!    each has to do. New and recovered targets get less for a while ([`pool::slow_start`]). If
//!    there is no healthy target, the pools of `failover` in order, and if they have none,
//!    `when_all_unhealthy` ([`pool::failover`]).
//! 8. The choice is a [`decision::Decision`]. It goes to the proxy as a request header: the
//!    cluster's name, or the endpoint's address followed by the next best for retries. The request
//!    counts as in flight ([`pool::in_flight`]) from here to the end of its stream, whatever end
//!    that is.
//! 9. On the way back it shows who answered: that target holds a new session, whose cookie is set,
//!    and is counted. The response headers are edited.
//! 10. When the stream is over, its outcome ([`pool::outcome`]) is told to health, and how long it
//!     took to `least_response_time` ([`pool::least_response_time`]).
//!
//! # Map of the code
//!
//! Each row may use the rows below it, and files import each other in no circle (a test says so).
//! Nobody but the worker and the tools imports [`config`], which makes types that cannot be wrong
//! of bytes, or says every problem at once.
//!
//! ```text
//!  pointsman-shell   root context, stream, metrics ──────────► host calls
//!  ─────────────────────────────────────────────────────────────────────────────────────────
//!  worker            request headers · choice of a target · end of the stream · tick
//!  config            bytes → types
//!  explain · access_log        a finished decision as JSON, and as a line
//!  decision          what to do with a request, and why
//!  route             match, split, index, rewrite, redirect
//!  pool              target · one file for each key · in_flight · outcome     │ rate_limit · protect
//!  generation        which configuration is the newest, and when one sleeps
//!  http              request, client_ip, regex, edit, respond, key            │ shared
//!  scope
//!  port
//!  base64 · entropy · index
//!  siphash · time
//! ```
//!
//! | where | what |
//! |---|---|
//! | `filter/core` | this crate: what decides. A feature's file has the name of its key in the configuration |
//! | `filter/core/src/config` | from JSON or `google.protobuf.Struct` to types |
//! | `filter/shell` | the only code that knows proxy-wasm: host calls, metrics, root context, stream |
//! | `filter/inspect` | what `protect` finds in a value; knows nothing of Pointsman |
//! | `filter` | the module's entry |
//! | `host-sim` | a native host for the unmodified filter (`world`), traffic over virtual time (`simulation`), a real Envoy (`envoy`), backends, `check`, `bench`, `faults`, and the command line |
//! | `host-sim/import` | other programs' routes as a configuration |
//! | `host-sim/locate` | where in a file's text a problem is, and what would be right |
//! | `host-sim/release` | archives, OCI images and the list of crates, with the same bytes everywhere |
//! | `host-sim/engine`, `host-sim/fleet` | an engine of `global` limits on Redis; many proxies that lease from one, simulated |
//! | `host-sim/calls`, `host-sim/empty` | modules that `bench` measures beside the filter: host calls alone, and nothing |
//! | `tests` | scenarios, run on every host; what is true of a real Envoy; fuzz targets (`tests/fuzz`) |
//! | `tests/probe`, `tests/trap` | modules that ask a host questions, and that trap on demand |
//! | `tests/interleave` | a scheduler of threads, by a seed |
//! | `envoy-config` | configurations to copy, each started by a test; tag rules and a dashboard |
//! | `host-sim/examples` | the configuration of the README, and its tests |

#![cfg_attr(
    test,
    allow(
        clippy::cast_possible_truncation,
        clippy::disallowed_macros,
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::string_slice,
        clippy::unreachable,
        reason = "a panic in a test is its way to fail"
    )
)]

pub mod access_log;
pub mod base64;
pub mod config;
pub mod decision;
pub mod entropy;
pub mod explain;
pub mod generation;
pub mod http;
pub mod index;
pub mod pool;
pub mod port;
pub mod protect;
pub mod rate_limit;
pub mod route;
pub mod scope;
pub mod shared;
pub mod siphash;
pub mod time;
pub mod worker;
