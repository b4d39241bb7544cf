//! The outcome of a request at its target, from what the response itself says and what the proxy
//! says of it when it is over.
//!
//! **What counts is what the target did wrong.** No client may have a target ejected that answers
//! others, so what a client can bring about by itself is no failure:
//!
//! | what happened | outcome |
//! |---|---|
//! | a whole answer with a status of `passive.statuses` (default: 500, 502, 503, 504) | failure |
//! | a whole answer with another status, such as 404, 413, 501 or 505 | success |
//! | an answer that *is* gRPC, by its own content type, with a gRPC status that means 5xx | failure |
//! | the same with DEADLINE_EXCEEDED, where the request had a `grpc-timeout` | none: the deadline was the client's |
//! | no connection, no host, no name | failure that no client can provoke |
//! | a time-out, a reset or a break of the protocol before the answer's headers | failure |
//! | the same before the request was complete | none: a slow client |
//! | after the answer's headers: a reset by the target | failure |
//! | after the answer's headers: anything else, such as a time-out | none: a slow reader |
//! | an upgraded stream (101, or 2xx to CONNECT), whatever its end | success |
//! | an answer by the proxy or by another filter, a circuit breaker, a client that left | none |
//!
//! A failure has a [`Cause`]: whether a client could have provoked it after all. Such failures
//! count by clients, see [`crate::pool::health`].
//!
//! Whether a response that had begun was complete is not seen here but asked: where it was not, the
//! proxy sets a flag (`response.flags`), and to see each part of every response would cost two
//! callbacks a request. The law `a_response_that_is_not_whole_has_a_flag` holds a proxy to it.
//!
//! Each question to the proxy costs a call that returns bytes, a tenth of what an empty filter
//! costs, so few ends are looked at this closely ([`crate::pool::look`]): status and flags, and in a
//! pool of endpoints the address that was tried last, because the proxy may have gone on to the next
//! target of the list. The targets before it failed.

use crate::index::TargetIndex;
use crate::pool::Pool;
use crate::pool::flight::Flight;
use crate::port::StreamInfo;

/// The outcome of a request at a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The target answered.
    Success,
    /// A status that counts as a failure, no connection, a reset, a time-out, or a gRPC status that
    /// means the same.
    Failure(Cause),
}

impl Outcome {
    /// Whether it is a failure.
    pub fn is_failure(self) -> bool {
        self != Outcome::Success
    }
}

/// Who can have caused a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// There was no connection to the target: no request of a client can bring that about.
    NoConnection,
    /// Something in the exchange with the target: a client can have asked for it.
    Exchange,
}

/// What a stream has seen of its request and response by itself. Default: nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Whether the end of the request came.
    pub request_end: bool,
    /// How much of the response came, as far as its headers tell.
    pub response: ResponseSeen,
    /// Whether the response is gRPC, by its own content type. Only looked at where
    /// [`Flight::grpc`].
    pub grpc: bool,
}

impl Seen {
    /// A request, and a response that was complete with its headers, and not gRPC.
    pub const WHOLE: Seen = Seen {
        request_end: true,
        response: ResponseSeen::End,
        grpc: false,
    };
}

/// How much of a response came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ResponseSeen {
    /// Not even its headers.
    #[default]
    Nothing,
    /// Its headers. More was to follow; whether it came, the proxy tells.
    Headers,
    /// All of it: it ended with its headers.
    End,
}

/// What is known of the targets that a request was sent to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attempts {
    /// How many targets of the flight's list (its target, then its retries) failed before the last
    /// one. Why is not known, so each is a [`Cause::Exchange`].
    pub failed_before: usize,
    /// The target that was tried last, and the outcome there. None: nothing is known.
    pub last: Option<(TargetIndex, Outcome)>,
}

/// What the end of a stream says of the targets of its flight, which went to this pool.
pub fn attempts(pool: &Pool, flight: &Flight, seen: &Seen, info: &mut dyn StreamInfo) -> Attempts {
    let (outcome, is_targets) = match seen.response {
        ResponseSeen::Nothing => by_flags(flight, seen, info.flags().unwrap_or_default(), None),
        ResponseSeen::Headers => of_begun_response(pool, flight, seen, info),
        ResponseSeen::End => of_whole_response(pool, flight, seen, None, info),
    };
    let at_target = |outcome: Outcome| Attempts {
        failed_before: 0,
        last: Some((flight.target.index, outcome)),
    };
    // Certainly the target's, without its address: another filter that answers in its place does
    // not answer like this.
    if !pool.endpoints && (is_targets || outcome.is_none()) {
        return outcome.map(at_target).unwrap_or_default();
    }
    match flight.address.clone().or_else(|| info.upstream_address()) {
        Some(address) if pool.endpoints => at_address(pool, flight, &address, outcome),
        Some(_) => outcome.map(at_target).unwrap_or_default(),
        // No host was tried: there was none, or another filter answered.
        None if is_targets && outcome.is_some_and(Outcome::is_failure) => {
            outcome.map(at_target).unwrap_or_default()
        }
        None => Attempts::default(),
    }
}

/// Whether nothing of the request was still to come when the stream ended.
fn is_request_complete(flight: &Flight, seen: &Seen) -> bool {
    seen.request_end || flight.upgrade
}

/// An outcome, and whether it is certainly the target's.
type Judged = (Option<Outcome>, bool);

const FAILURE: Option<Outcome> = Some(Outcome::Failure(Cause::Exchange));

/// `flags`: the proxy's, where they have been asked for.
fn of_whole_response(
    pool: &Pool,
    flight: &Flight,
    seen: &Seen,
    flags: Option<u64>,
    info: &mut dyn StreamInfo,
) -> Judged {
    let own = match class_of_response(pool, flight, seen, info) {
        ResponseClass::Success => return (Some(Outcome::Success), true),
        ResponseClass::ClientError => return (Some(Outcome::Success), false),
        ResponseClass::ServerError if is_request_complete(flight, seen) => FAILURE,
        ResponseClass::UncountedError => Some(Outcome::Success),
        ResponseClass::ServerError | ResponseClass::Silent => None,
    };
    let flags = flags.or_else(|| info.flags());
    by_flags(flight, seen, flags.unwrap_or_default(), own)
}

/// The headers of the response came, and more was to follow.
fn of_begun_response(
    pool: &Pool,
    flight: &Flight,
    seen: &Seen,
    info: &mut dyn StreamInfo,
) -> Judged {
    const SWITCHING_PROTOCOLS: u16 = 101;
    let status = info.status();
    match status {
        Some(SWITCHING_PROTOCOLS) => return (Some(Outcome::Success), true),
        Some(200..300) if flight.connect => return (Some(Outcome::Success), true),
        _ => {}
    }
    let flags = info.flags().unwrap_or_default();
    if flags & !flag::HARMLESS == 0 {
        let info = &mut WithStatus { status, info };
        return of_whole_response(pool, flight, seen, Some(flags), info);
    }
    // The proxy's own answer in place of one that did not come; or a 5xx of the target's own, which
    // is a failure broken off as it is one whole.
    if is_in_place_of_an_answer(pool, status, flags) {
        return by_flags(flight, seen, flags, None);
    }
    let is_targets = flags & flag::TARGET_RESET != 0 && flags & flag::NOT_TARGETS == 0;
    match is_targets && is_request_complete(flight, seen) {
        true => (FAILURE, true),
        false => (None, false),
    }
}

/// Whether an answer with this status may be the proxy's own, given in place of one that did not
/// come.
fn is_in_place_of_an_answer(pool: &Pool, status: Option<u16>, flags: u64) -> bool {
    let Some(status) = status else {
        return true;
    };
    // Whatever an operator maps it to: after these there is no answer of a target.
    if flags & flag::NO_CONNECTION != 0 && status >= 400 {
        return true;
    }
    let usual = match flags {
        _ if flags & flag::UPSTREAM_REQUEST_TIMEOUT != 0 => 504,
        _ if flags & flag::UPSTREAM_PROTOCOL_ERROR != 0 => 502,
        _ => 503,
    };
    status == usual || class_of_status(pool, Some(status)) == ResponseClass::ServerError
}

/// A proxy that has already told the status.
struct WithStatus<'i> {
    status: Option<u16>,
    info: &'i mut dyn StreamInfo,
}

impl StreamInfo for WithStatus<'_> {
    fn status(&mut self) -> Option<u16> {
        self.status
    }

    fn grpc_status(&mut self) -> Option<u32> {
        self.info.grpc_status()
    }

    fn flags(&mut self) -> Option<u64> {
        self.info.flags()
    }

    fn is_from_upstream(&mut self) -> Option<bool> {
        self.info.is_from_upstream()
    }

    fn upstream_address(&mut self) -> Option<Vec<u8>> {
        self.info.upstream_address()
    }
}

/// What the proxy's flags say where the response's headers did not come from the target, or that is
/// not known. `own`: the outcome if the response turns out to be the target's own.
fn by_flags(flight: &Flight, seen: &Seen, flags: u64, own: Option<Outcome>) -> Judged {
    if flags & flag::CLIENT != 0 {
        return (None, false);
    }
    if flags & flag::NO_CONNECTION != 0 {
        return (Some(Outcome::Failure(Cause::NoConnection)), true);
    }
    if flags & flag::NO_ANSWER != 0 {
        let is_clients_deadline =
            flight.grpc_timeout && flags & flag::UPSTREAM_REQUEST_TIMEOUT != 0;
        return match is_request_complete(flight, seen) && !is_clients_deadline {
            true => (FAILURE, true),
            false => (None, false),
        };
    }
    // Without another flag it is the target's own answer.
    match flags & !flag::HARMLESS == 0 {
        true => (own, false),
        false => (None, false),
    }
}

/// The attempts where the address that was tried last is known.
fn at_address(pool: &Pool, flight: &Flight, address: &[u8], outcome: Option<Outcome>) -> Attempts {
    let (failed_before, last) = tried_last(pool, flight, address);
    Attempts {
        failed_before,
        last: last.zip(outcome),
    }
}

/// The target of a pool of endpoints that has the address that was tried last, and how many of the
/// flight's list were tried before it. None: no target of the pool has it.
pub fn tried_last(pool: &Pool, flight: &Flight, address: &[u8]) -> (usize, Option<TargetIndex>) {
    let has_address = |target: TargetIndex| {
        let endpoint = pool
            .target(target)
            .and_then(|target| target.endpoint.as_deref());
        endpoint.is_some_and(|endpoint| endpoint.as_bytes() == address)
    };
    let mut tried = std::iter::once(flight.target.index)
        .chain(flight.retries.iter().copied())
        .enumerate();
    match tried.find(|(_, target)| has_address(*target)) {
        Some((failed_before, target)) => (failed_before, Some(target)),
        // A host that is not in the list: the proxy's fallback. Which targets of the list it tried
        // before is not known.
        None => (0, pool.target_indices().find(|target| has_address(*target))),
    }
}

/// What a whole response says by its status.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ResponseClass {
    Success,
    ClientError,
    /// One that counts.
    ServerError,
    /// 5xx that does not count.
    UncountedError,
    /// Nothing: there is no status, or a deadline was the client's own.
    Silent,
}

fn class_of_response(
    pool: &Pool,
    flight: &Flight,
    seen: &Seen,
    info: &mut dyn StreamInfo,
) -> ResponseClass {
    const OK: u16 = 200;
    if !(flight.grpc && seen.grpc) {
        return class_of_status(pool, info.status());
    }
    match info.grpc_status() {
        Some(0) => ResponseClass::Success,
        Some(DEADLINE_EXCEEDED) if flight.grpc_timeout => ResponseClass::Silent,
        // Where an answer has no gRPC status, the proxy makes one of its HTTP status.
        Some(status) if is_server_error(status) => match info.status() {
            Some(OK) | None => ResponseClass::ServerError,
            status => class_of_status(pool, status),
        },
        Some(_) => ResponseClass::ClientError,
        None => class_of_status(pool, info.status()),
    }
}

fn class_of_status(pool: &Pool, status: Option<u16>) -> ResponseClass {
    let counted = match &pool.health.passive {
        Some(passive) => &passive.statuses[..],
        None => &DEFAULT_STATUSES,
    };
    let counts = |status: u16| {
        counted
            .iter()
            .any(|(first, last)| (*first..=*last).contains(&status))
    };
    match status {
        None | Some(0) => ResponseClass::Silent,
        Some(status) if counts(status) => ResponseClass::ServerError,
        Some(500..) => ResponseClass::UncountedError,
        Some(400..) => ResponseClass::ClientError,
        Some(_) => ResponseClass::Success,
    }
}

/// The gRPC statuses that Envoy's outlier detection takes for 5xx
/// (`Grpc::Utility::grpcToHttpStatus`; what is no known status is 500 there), but for UNIMPLEMENTED
/// (12, 501): that is what a server that is well answers to a client that asks for a method that it
/// does not have, and clients must not be able to eject targets.
fn is_server_error(status: u32) -> bool {
    const UNKNOWN: u32 = 2;
    const INTERNAL: u32 = 13;
    const UNAVAILABLE: u32 = 14;
    const DATA_LOSS: u32 = 15;
    const UNAUTHENTICATED: u32 = 16;
    matches!(
        status,
        UNKNOWN | DEADLINE_EXCEEDED | INTERNAL | UNAVAILABLE | DATA_LOSS
    ) || status > UNAUTHENTICATED
}

const DEADLINE_EXCEEDED: u32 = 4;

/// Envoy's response flags, by their number in `CoreResponseFlag`
/// (`envoy/stream_info/stream_info.h`, Envoy 1.36 and 1.40), which is the bit in `response.flags`.
/// In brackets the letters of its access log.
mod flag {
    /// \[UH\] The cluster has no healthy host.
    pub(super) const NO_HEALTHY_UPSTREAM: u64 = 1 << 1;
    /// \[UT\] No answer in time.
    pub(super) const UPSTREAM_REQUEST_TIMEOUT: u64 = 1 << 2;
    /// \[LR\] The proxy reset the stream to the upstream.
    pub(super) const LOCAL_RESET: u64 = 1 << 3;
    /// \[UR\] The upstream reset the stream.
    pub(super) const UPSTREAM_REMOTE_RESET: u64 = 1 << 4;
    /// \[UF\] No connection.
    pub(super) const UPSTREAM_CONNECTION_FAILURE: u64 = 1 << 5;
    /// \[UC\] The connection broke.
    pub(super) const UPSTREAM_CONNECTION_TERMINATION: u64 = 1 << 6;
    /// \[DI\] A fault filter had it wait.
    pub(super) const DELAY_INJECTED: u64 = 1 << 9;
    /// \[DC\] The client left.
    pub(super) const DOWNSTREAM_CONNECTION_TERMINATION: u64 = 1 << 14;
    /// \[URX\] No further retry was allowed.
    pub(super) const UPSTREAM_RETRY_LIMIT_EXCEEDED: u64 = 1 << 15;
    /// \[SI\] Nothing was sent for long.
    pub(super) const STREAM_IDLE_TIMEOUT: u64 = 1 << 16;
    /// \[DT\] The stream took longer than any may.
    pub(super) const DURATION_TIMEOUT: u64 = 1 << 22;
    /// \[UPE\] The upstream broke the protocol.
    pub(super) const UPSTREAM_PROTOCOL_ERROR: u64 = 1 << 23;
    /// \[NC\] There is no such cluster.
    pub(super) const NO_CLUSTER_FOUND: u64 = 1 << 24;
    /// \[DF\] The upstream's name is not known.
    pub(super) const DNS_RESOLUTION_FAILED: u64 = 1 << 26;
    /// \[DR\] The client reset the stream.
    pub(super) const DOWNSTREAM_REMOTE_RESET: u64 = 1 << 28;

    /// There was nothing to send the request to.
    pub(super) const NO_CONNECTION: u64 = NO_HEALTHY_UPSTREAM
        | UPSTREAM_CONNECTION_FAILURE
        | NO_CLUSTER_FOUND
        | DNS_RESOLUTION_FAILED;
    /// The target broke off.
    pub(super) const TARGET_RESET: u64 = UPSTREAM_REMOTE_RESET | UPSTREAM_CONNECTION_TERMINATION;
    /// The target got the request, and its answer did not come.
    pub(super) const NO_ANSWER: u64 =
        TARGET_RESET | UPSTREAM_REQUEST_TIMEOUT | LOCAL_RESET | UPSTREAM_PROTOCOL_ERROR;
    /// Where an answer has begun: its end was not the target's doing.
    pub(super) const NOT_TARGETS: u64 = CLIENT
        | UPSTREAM_REQUEST_TIMEOUT
        | UPSTREAM_PROTOCOL_ERROR
        | STREAM_IDLE_TIMEOUT
        | DURATION_TIMEOUT;
    /// The client ended it; the proxy then resets the stream to the upstream.
    pub(super) const CLIENT: u64 = DOWNSTREAM_CONNECTION_TERMINATION | DOWNSTREAM_REMOTE_RESET;
    /// Nothing against an answer that came from the target.
    pub(super) const HARMLESS: u64 = DELAY_INJECTED | UPSTREAM_RETRY_LIMIT_EXCEEDED;
}

/// The statuses that count as failures where `passive.statuses` names none, as ranges with both
/// ends. Not those that a client can have a server answer at will: 501 (a method that it does not
/// know) and 505.
pub const DEFAULT_STATUSES: [(u16, u16); 2] = [(500, 500), (502, 504)];

#[cfg(test)]
mod tests;
