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

impl StreamInfo for Proxy {
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

fn asked(endpoints: bool, grpc: bool, complete: bool, mut proxy: Proxy) -> (Option<Outcome>, u32) {
    let attempts = attempts(&pool(endpoints), &flight(grpc), complete, &mut proxy);
    assert_eq!(attempts.failed_before, 0);
    assert!(attempts.last.is_none_or(|(target, _)| target.get() == 3));
    (attempts.last.map(|(_, outcome)| outcome), proxy.questions)
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
            let expected = Attempts {
                failed_before: before,
                last: last.map(TargetIndex::new).zip(outcome),
            };
            let attempts = attempts(&pool(true), &flight(false), true, &mut proxy);
            assert_eq!(attempts, expected, "{address} {status}");
        }
    }
}
