//! The outcome of a request at its target, from what the proxy says of it when it is over.
//!
//! A failure is the target's if the target says so itself (5xx, or a gRPC status that means the
//! same), or if the proxy says that it could not reach the target or waited for it in vain. What
//! the proxy or another filter answers by itself, the overflow of a circuit breaker, and a client
//! that left say nothing about the target.
//!
//! Each question to the proxy costs a call that returns bytes, so in the common case only one is
//! asked: the status. In a pool of endpoints also the address that was tried last, because the
//! proxy may have gone on to the next target of the list. The targets before it failed.

use crate::index::TargetIndex;
use crate::pool::Pool;
use crate::pool::flight::Flight;
use crate::port::StreamInfo;

/// The outcome of a request at a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The target answered.
    Success,
    /// 5xx, no connection, a reset, a time-out, or a gRPC status that means the same.
    Failure,
}

/// What is known of the targets that a request was sent to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attempts {
    /// How many targets of the flight's list (its target, then its retries) failed before the last
    /// one.
    pub failed_before: usize,
    /// The target that was tried last, and the outcome there. None: nothing is known.
    pub last: Option<(TargetIndex, Outcome)>,
}

/// What the end of a stream says of the targets of its flight, which went to this pool.
/// `is_complete`: whether the end of the response was seen.
pub fn attempts(
    pool: &Pool,
    flight: &Flight,
    is_complete: bool,
    info: &mut dyn StreamInfo,
) -> Attempts {
    let response = match is_complete {
        true => class_of_response(flight.grpc, info),
        false => ResponseClass::Incomplete,
    };
    let flags = match response {
        ResponseClass::Success | ResponseClass::ClientError => 0,
        ResponseClass::ServerError | ResponseClass::Incomplete => info.flags().unwrap_or_default(),
    };
    let outcome = match response {
        ResponseClass::Success | ResponseClass::ClientError => Some(Outcome::Success),
        _ if flags & flag::CLIENT != 0 => None,
        _ if flags & flag::FAILURE != 0 => Some(Outcome::Failure),
        // Without another flag it is the target's own answer.
        ResponseClass::ServerError => (flags & !flag::HARMLESS == 0).then_some(Outcome::Failure),
        ResponseClass::Incomplete => None,
    };
    let at_target = |outcome: Outcome| Attempts {
        failed_before: 0,
        last: Some((flight.target.index, outcome)),
    };
    // Certainly the target's, without its address: another filter that answers in its place does
    // not answer like this.
    let is_targets = response == ResponseClass::Success || flags & flag::FAILURE != 0;
    if !pool.endpoints && (is_targets || outcome.is_none()) {
        return outcome.map(at_target).unwrap_or_default();
    }
    match info.upstream_address() {
        Some(address) if pool.endpoints => at_address(pool, flight, &address, outcome),
        Some(_) => outcome.map(at_target).unwrap_or_default(),
        // No host was tried: there was none, or another filter answered.
        None if flags & flag::FAILURE != 0 => outcome.map(at_target).unwrap_or_default(),
        None => Attempts::default(),
    }
}

/// The attempts where the address that was tried last is known.
fn at_address(pool: &Pool, flight: &Flight, address: &[u8], outcome: Option<Outcome>) -> Attempts {
    let has_address = |target: TargetIndex| {
        let endpoint = pool
            .target(target)
            .and_then(|target| target.endpoint.as_deref());
        endpoint.is_some_and(|endpoint| endpoint.as_bytes() == address)
    };
    let tried = std::iter::once(flight.target.index).chain(flight.retries.iter().copied());
    if let Some((failed_before, target)) =
        tried.enumerate().find(|(_, target)| has_address(*target))
    {
        return Attempts {
            failed_before,
            last: outcome.map(|outcome| (target, outcome)),
        };
    }
    // A host that is not in the list: the proxy's fallback. Which targets of the list it tried
    // before is not known.
    let other = pool.target_indices().find(|target| has_address(*target));
    Attempts {
        failed_before: 0,
        last: other.zip(outcome),
    }
}

/// What a response says by its status.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ResponseClass {
    Success,
    ClientError,
    ServerError,
    /// There is no whole response.
    Incomplete,
}

fn class_of_response(is_grpc: bool, info: &mut dyn StreamInfo) -> ResponseClass {
    const CLIENT_ERROR: u16 = 400;
    const SERVER_ERROR: u16 = 500;
    if is_grpc {
        return match info.grpc_status() {
            Some(0) => ResponseClass::Success,
            Some(status) if is_server_error(status) => ResponseClass::ServerError,
            Some(_) => ResponseClass::ClientError,
            None => ResponseClass::Incomplete,
        };
    }
    match info.status() {
        Some(SERVER_ERROR..) => ResponseClass::ServerError,
        Some(CLIENT_ERROR..) => ResponseClass::ClientError,
        Some(1..) => ResponseClass::Success,
        Some(0) | None => ResponseClass::Incomplete,
    }
}

/// The gRPC statuses that Envoy's outlier detection takes for 5xx
/// (`Grpc::Utility::grpcToHttpStatus`; what is no known status is 500 there), but for UNIMPLEMENTED
/// (12, 501): that is what a server that is well answers to a client that asks for a method that it
/// does not have, and clients must not be able to eject targets.
fn is_server_error(status: u32) -> bool {
    const UNKNOWN: u32 = 2;
    const DEADLINE_EXCEEDED: u32 = 4;
    const INTERNAL: u32 = 13;
    const UNAVAILABLE: u32 = 14;
    const DATA_LOSS: u32 = 15;
    const UNAUTHENTICATED: u32 = 16;
    matches!(
        status,
        UNKNOWN | DEADLINE_EXCEEDED | INTERNAL | UNAVAILABLE | DATA_LOSS
    ) || status > UNAUTHENTICATED
}

/// Envoy's response flags, by their number in `CoreResponseFlag`
/// (`envoy/stream_info/stream_info.h`, Envoy 1.36 and 1.40), which is the bit in `response.flags`.
/// In brackets the letters of its access log.
mod flag {
    /// \[UH\] The cluster has no healthy host.
    pub const NO_HEALTHY_UPSTREAM: u64 = 1 << 1;
    /// \[UT\] No answer in time.
    pub const UPSTREAM_REQUEST_TIMEOUT: u64 = 1 << 2;
    /// \[LR\] The proxy reset the stream to the upstream.
    pub const LOCAL_RESET: u64 = 1 << 3;
    /// \[UR\] The upstream reset the stream.
    pub const UPSTREAM_REMOTE_RESET: u64 = 1 << 4;
    /// \[UF\] No connection.
    pub const UPSTREAM_CONNECTION_FAILURE: u64 = 1 << 5;
    /// \[UC\] The connection broke.
    pub const UPSTREAM_CONNECTION_TERMINATION: u64 = 1 << 6;
    /// \[DI\] A fault filter had it wait.
    pub const DELAY_INJECTED: u64 = 1 << 9;
    /// \[DC\] The client left.
    pub const DOWNSTREAM_CONNECTION_TERMINATION: u64 = 1 << 14;
    /// \[URX\] No further retry was allowed.
    pub const UPSTREAM_RETRY_LIMIT_EXCEEDED: u64 = 1 << 15;
    /// \[UPE\] The upstream broke the protocol.
    pub const UPSTREAM_PROTOCOL_ERROR: u64 = 1 << 23;
    /// \[NC\] There is no such cluster.
    pub const NO_CLUSTER_FOUND: u64 = 1 << 24;
    /// \[DF\] The upstream's name is not known.
    pub const DNS_RESOLUTION_FAILED: u64 = 1 << 26;
    /// \[DR\] The client reset the stream.
    pub const DOWNSTREAM_REMOTE_RESET: u64 = 1 << 28;

    /// The target is to blame.
    pub const FAILURE: u64 = NO_HEALTHY_UPSTREAM
        | UPSTREAM_REQUEST_TIMEOUT
        | LOCAL_RESET
        | UPSTREAM_REMOTE_RESET
        | UPSTREAM_CONNECTION_FAILURE
        | UPSTREAM_CONNECTION_TERMINATION
        | UPSTREAM_PROTOCOL_ERROR
        | NO_CLUSTER_FOUND
        | DNS_RESOLUTION_FAILED;
    /// The client ended it; the proxy then resets the stream to the upstream.
    pub const CLIENT: u64 = DOWNSTREAM_CONNECTION_TERMINATION | DOWNSTREAM_REMOTE_RESET;
    /// Nothing against an answer that came from the target.
    pub const HARMLESS: u64 = DELAY_INJECTED | UPSTREAM_RETRY_LIMIT_EXCEEDED;
}

#[cfg(test)]
mod tests;
