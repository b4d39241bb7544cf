//! What became of a request that went to a target, from what the proxy tells at its end.
//!
//! A failure is the target's only if it says so itself (5xx, a gRPC status that means the same) or
//! if the proxy says that it could not reach it or waited in vain. What the proxy or another filter
//! answers by itself, a circuit breaker's overflow, and a client that left say nothing of the
//! target.
//!
//! Each question costs a call that returns bytes, so the common case asks for one thing: the
//! status. In a pool of endpoints also for the address that was tried last, because the proxy may
//! have gone on to the next of the list; those before it failed.

use crate::index::TargetIndex;
use crate::pool::Pool;
use crate::pool::flight::Flight;
use crate::pool::health::Outcome;
use crate::port::Ending;

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

/// What is known of the targets that a request was sent to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// How many targets of the flight's list (its target, then its retries) failed before the last
    /// one.
    pub before: usize,
    /// The target that was tried last, and what became of it. None: nothing is known.
    pub last: Option<(TargetIndex, Outcome)>,
}

/// How a request ended, by the status of a whole response.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// As it should.
    Good,
    /// With an error of the client's, or so it seems.
    Refused,
    /// With an error of the server's.
    Bad,
    /// There is no whole response.
    Broken,
}

/// The lowest status of an error of the client's.
const CLIENT_ERROR: u16 = 400;
/// The lowest status of an error of the server's.
const SERVER_ERROR: u16 = 500;

/// What an end tells of a flight that went to this pool. `complete`: the end of the response was
/// seen.
pub fn told(pool: &Pool, flight: &Flight, complete: bool, ending: &mut dyn Ending) -> Told {
    let end = match complete {
        true => ended(flight.grpc, ending),
        false => End::Broken,
    };
    let flags = match end {
        End::Good | End::Refused => 0,
        End::Bad | End::Broken => ending.flags().unwrap_or_default(),
    };
    let outcome = match end {
        End::Good | End::Refused => Some(Outcome::Success),
        _ if flags & flag::CLIENT != 0 => None,
        _ if flags & flag::FAILURE != 0 => Some(Outcome::Failure),
        // Without a word of the proxy's it is the target's own answer.
        End::Bad => (flags & !flag::HARMLESS == 0).then_some(Outcome::Failure),
        End::Broken => None,
    };
    let to_target = |outcome: Outcome| Told {
        before: 0,
        last: Some((flight.target.index, outcome)),
    };
    // These need no address to be the target's: another filter that answers for it says something
    // else.
    let is_clear = end == End::Good || flags & flag::FAILURE != 0;
    if !pool.endpoints && (is_clear || outcome.is_none()) {
        return outcome.map(to_target).unwrap_or_default();
    }
    match ending.upstream_address() {
        Some(address) if pool.endpoints => at_address(pool, flight, &address, outcome),
        Some(_) => outcome.map(to_target).unwrap_or_default(),
        // No host was tried: there was none, or another filter answered.
        None if flags & flag::FAILURE != 0 => outcome.map(to_target).unwrap_or_default(),
        None => Told::default(),
    }
}

fn ended(grpc: bool, ending: &mut dyn Ending) -> End {
    if grpc {
        return match ending.grpc_status() {
            Some(0) => End::Good,
            Some(status) if is_server_error(status) => End::Bad,
            Some(_) => End::Refused,
            None => End::Broken,
        };
    }
    match ending.status() {
        Some(SERVER_ERROR..) => End::Bad,
        Some(CLIENT_ERROR..) => End::Refused,
        Some(1..) => End::Good,
        Some(0) | None => End::Broken,
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

/// What is told where the address that was tried last is known.
fn at_address(pool: &Pool, flight: &Flight, address: &[u8], outcome: Option<Outcome>) -> Told {
    let is = |target: TargetIndex| {
        let endpoint = pool
            .target(target)
            .and_then(|target| target.endpoint.as_deref());
        endpoint.is_some_and(|endpoint| endpoint.as_bytes() == address)
    };
    let mut list = std::iter::once(flight.target.index).chain(flight.retries.iter().copied());
    if let Some(before) = list.position(is) {
        let last = match before.checked_sub(1) {
            None => Some(flight.target.index),
            Some(retry) => flight.retries.get(retry).copied(),
        };
        return Told {
            before,
            last: last.zip(outcome),
        };
    }
    // A host that the list does not name: the proxy's fallback. Which of the list it tried before
    // is not known.
    let other = pool.target_indices().find(|target| is(*target));
    Told {
        before: 0,
        last: other.zip(outcome),
    }
}

#[cfg(test)]
mod tests {
    use super::flag::*;
    use super::*;
    use crate::index::{PoolIndex, TargetRef};
    use crate::pool::{State, Target};
    use crate::time::Nanos;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    /// What a proxy would tell, and how often it was asked.
    #[derive(Default)]
    struct Proxy {
        status: Option<u16>,
        grpc_status: Option<u32>,
        flags: u64,
        address: Option<&'static str>,
        questions: u32,
    }

    impl Ending for Proxy {
        fn status(&mut self) -> Option<u16> {
            self.questions += 1;
            self.status
        }

        fn grpc_status(&mut self) -> Option<u32> {
            self.questions += 1;
            self.grpc_status
        }

        fn flags(&mut self) -> Option<u64> {
            self.questions += 1;
            Some(self.flags)
        }

        fn upstream_address(&mut self) -> Option<Vec<u8>> {
            self.questions += 1;
            self.address.map(Into::into)
        }
    }

    const FIRST: &str = "127.0.0.1:1";
    const SECOND: &str = "127.0.0.1:2";
    const THIRD: &str = "[::1]:3";
    /// Of the pool, and not of the flight's list.
    const OTHER: &str = "127.0.0.1:4";
    const STRANGE: &str = "127.0.0.1:5";

    fn pool(endpoints: bool) -> Pool {
        let target = |endpoint: &str| Target {
            name: endpoint.into(),
            cluster: "c".into(),
            endpoint: endpoints.then(|| endpoint.into()),
            weight: 1,
            state: State::Up,
            region: None,
        };
        Pool {
            targets: [THIRD, SECOND, OTHER, FIRST].map(target).into(),
            endpoints,
            ..Pool::default()
        }
    }

    fn flight(grpc: bool) -> Flight {
        Flight {
            target: TargetRef {
                pool: PoolIndex::new(0),
                index: TargetIndex::new(3),
            },
            retries: vec![TargetIndex::new(1), TargetIndex::new(0)],
            grpc,
            started: Nanos::ZERO,
            timed: false,
            answered: None,
        }
    }

    fn asked(
        endpoints: bool,
        grpc: bool,
        complete: bool,
        mut proxy: Proxy,
    ) -> (Option<Outcome>, u32) {
        let told = told(&pool(endpoints), &flight(grpc), complete, &mut proxy);
        assert_eq!(told.before, 0);
        assert!(told.last.is_none_or(|(target, _)| target.get() == 3));
        (told.last.map(|(_, outcome)| outcome), proxy.questions)
    }

    const GOOD: Option<Outcome> = Some(Outcome::Success);
    const BAD: Option<Outcome> = Some(Outcome::Failure);

    #[test]
    fn a_whole_response_is_judged_by_its_status_and_who_gave_it() {
        for (status, flags, address, expected) in [
            (101, 0, Some(FIRST), GOOD),
            (200, 0, Some(FIRST), GOOD),
            (399, 0, Some(FIRST), GOOD),
            (404, 0, Some(FIRST), GOOD),
            (499, 0, Some(FIRST), GOOD),
            (500, 0, Some(FIRST), BAD),
            (503, 0, Some(FIRST), BAD),
            (599, 0, Some(FIRST), BAD),
            (503, UPSTREAM_RETRY_LIMIT_EXCEEDED, Some(FIRST), BAD),
            (503, DELAY_INJECTED, Some(FIRST), BAD),
            (
                503,
                UPSTREAM_CONNECTION_FAILURE | UPSTREAM_RETRY_LIMIT_EXCEEDED,
                Some(FIRST),
                BAD,
            ),
            (503, UPSTREAM_CONNECTION_TERMINATION, Some(FIRST), BAD),
            (503, UPSTREAM_REMOTE_RESET, Some(FIRST), BAD),
            (502, UPSTREAM_PROTOCOL_ERROR, Some(FIRST), BAD),
            (504, UPSTREAM_REQUEST_TIMEOUT, Some(FIRST), BAD),
            (503, NO_HEALTHY_UPSTREAM, None, BAD),
            (503, NO_CLUSTER_FOUND, None, BAD),
            (503, DNS_RESOLUTION_FAILED, None, BAD),
            // A circuit breaker, a fault filter, an overload manager, another filter without a
            // word; a client that left.
            (503, 1 << 7, Some(FIRST), None),
            (503, 1 << 10, None, None),
            (503, 1 << 25, None, None),
            (503, 0, None, None),
            (503, DOWNSTREAM_CONNECTION_TERMINATION, Some(FIRST), None),
            // What other filters refuse.
            (403, 1 << 12, None, None),
            (429, 1 << 11, None, None),
        ] {
            for endpoints in [false, true] {
                let proxy = Proxy {
                    status: Some(status),
                    flags,
                    address,
                    ..Proxy::default()
                };
                let (outcome, _) = asked(endpoints, false, true, proxy);
                assert_eq!(
                    outcome, expected,
                    "{status} {flags:#x} {address:?} {endpoints}"
                );
            }
        }
    }

    #[test]
    fn grpc_is_judged_by_its_own_status() {
        for (grpc_status, expected) in [
            (0, GOOD),
            (1, GOOD),
            (2, BAD),
            (3, GOOD),
            (4, BAD),
            (5, GOOD),
            (6, GOOD),
            (7, GOOD),
            (8, GOOD),
            (9, GOOD),
            (10, GOOD),
            (11, GOOD),
            (12, GOOD),
            (13, BAD),
            (14, BAD),
            (15, BAD),
            (16, GOOD),
            (17, BAD),
        ] {
            let proxy = Proxy {
                status: Some(200),
                grpc_status: Some(grpc_status),
                address: Some(FIRST),
                ..Proxy::default()
            };
            assert_eq!(asked(false, true, true, proxy).0, expected, "{grpc_status}");
        }
    }

    #[test]
    fn a_broken_response_is_judged_by_what_the_proxy_says() {
        for (flags, expected) in [
            (0, None),
            (DOWNSTREAM_CONNECTION_TERMINATION, None),
            (DOWNSTREAM_REMOTE_RESET | LOCAL_RESET, None),
            (UPSTREAM_REMOTE_RESET, BAD),
            (UPSTREAM_CONNECTION_TERMINATION, BAD),
            (UPSTREAM_REQUEST_TIMEOUT, BAD),
            (LOCAL_RESET, BAD),
            (1 << 19, None),
        ] {
            for endpoints in [false, true] {
                let proxy = Proxy {
                    status: Some(200),
                    flags,
                    address: Some(FIRST),
                    ..Proxy::default()
                };
                assert_eq!(
                    asked(endpoints, false, false, proxy).0,
                    expected,
                    "{flags:#x} {endpoints}"
                );
            }
        }
        for status in [None, Some(0)] {
            let proxy = Proxy {
                status,
                flags: UPSTREAM_REMOTE_RESET,
                address: Some(FIRST),
                ..Proxy::default()
            };
            assert_eq!(
                asked(false, false, true, proxy).0,
                BAD,
                "no status is no response"
            );
        }
    }

    #[test]
    fn the_common_case_asks_one_question_and_of_endpoints_two() {
        for (endpoints, complete, status, questions) in [
            (false, true, 200, 1),
            (false, true, 404, 2),
            (false, true, 503, 3),
            (false, false, 200, 1),
            (true, true, 200, 2),
            (true, true, 404, 2),
            (true, true, 503, 3),
            (true, false, 200, 2),
        ] {
            for grpc in [false, true] {
                let grpc_status = match status {
                    200 => 0,
                    404 => 5,
                    _ => 14,
                };
                let proxy = Proxy {
                    status: Some(status),
                    grpc_status: Some(grpc_status),
                    address: Some(FIRST),
                    ..Proxy::default()
                };
                let asked = asked(endpoints, grpc, complete, proxy);
                assert_eq!(asked.1, questions, "{endpoints} {complete} {status} {grpc}");
            }
        }
    }

    #[test]
    fn the_address_tells_which_of_the_list_failed_before() {
        for (address, before, last) in [
            (FIRST, 0, Some(3)),
            (SECOND, 1, Some(1)),
            (THIRD, 2, Some(0)),
            (OTHER, 0, Some(2)),
            (STRANGE, 0, None),
        ] {
            for (status, flags, outcome) in [
                (200, 0, GOOD),
                (503, 0, BAD),
                (504, UPSTREAM_REQUEST_TIMEOUT, BAD),
                (503, DOWNSTREAM_CONNECTION_TERMINATION, None),
            ] {
                let mut proxy = Proxy {
                    status: Some(status),
                    flags,
                    address: Some(address),
                    ..Proxy::default()
                };
                let expected = Told {
                    before,
                    last: last.map(TargetIndex::new).zip(outcome),
                };
                let told = told(&pool(true), &flight(false), true, &mut proxy);
                assert_eq!(told, expected, "{address} {status}");
            }
        }
    }
}
