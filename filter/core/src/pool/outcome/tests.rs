use super::flag::*;
use super::*;
use crate::index::{PoolIndex, TargetRef};
use crate::pool::balance::retries::Retries;
use crate::pool::health::Passive;
use crate::pool::{State, Target};
use crate::time::Nanos;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

/// What a proxy would tell, and how often it was asked.
#[derive(Clone, Copy, Default)]
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

    fn is_from_upstream(&mut self) -> Option<bool> {
        panic!("the outcome does not depend on it")
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
        max_in_flight: None,
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
        counted: TargetIndex::new(3),
        address: None,
        retries: Retries::from_iter([1, 0].map(TargetIndex::new)),
        grpc,
        grpc_timeout: false,
        connect: false,
        upgrade: false,
        client: None,
        started: Nanos::ZERO,
        timed: false,
        answered: None,
    }
}

/// What a stream has seen of a request that was complete.
fn seen(response: ResponseSeen) -> Seen {
    Seen {
        request_end: true,
        response,
        grpc: false,
    }
}

fn asked(
    endpoints: bool,
    grpc: bool,
    response: ResponseSeen,
    mut proxy: Proxy,
) -> (Option<Outcome>, u32) {
    let seen = Seen {
        grpc,
        ..seen(response)
    };
    let attempts = attempts(&pool(endpoints), &flight(grpc), &seen, &mut proxy);
    assert_eq!(attempts.failed_before, 0);
    assert!(attempts.last.is_none_or(|(target, _)| target.get() == 3));
    (attempts.last.map(|(_, outcome)| outcome), proxy.questions)
}

const GOOD: Option<Outcome> = Some(Outcome::Success);
const BAD: Option<Outcome> = Some(Outcome::Failure(Cause::Exchange));
const UNREACHABLE: Option<Outcome> = Some(Outcome::Failure(Cause::NoConnection));

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
        (502, 0, Some(FIRST), BAD),
        (504, 0, Some(FIRST), BAD),
        // What a server that is well answers to what it does not know.
        (501, 0, Some(FIRST), GOOD),
        (505, 0, Some(FIRST), GOOD),
        (599, 0, Some(FIRST), GOOD),
        (501, 0, None, None),
        (413, 0, Some(FIRST), GOOD),
        (503, UPSTREAM_RETRY_LIMIT_EXCEEDED, Some(FIRST), BAD),
        (503, DELAY_INJECTED, Some(FIRST), BAD),
        (
            503,
            UPSTREAM_CONNECTION_FAILURE | UPSTREAM_RETRY_LIMIT_EXCEEDED,
            Some(FIRST),
            UNREACHABLE,
        ),
        (503, UPSTREAM_CONNECTION_TERMINATION, Some(FIRST), BAD),
        (503, UPSTREAM_REMOTE_RESET, Some(FIRST), BAD),
        (502, UPSTREAM_PROTOCOL_ERROR, Some(FIRST), BAD),
        (504, UPSTREAM_REQUEST_TIMEOUT, Some(FIRST), BAD),
        (503, NO_HEALTHY_UPSTREAM, None, UNREACHABLE),
        (503, NO_CLUSTER_FOUND, None, UNREACHABLE),
        (503, DNS_RESOLUTION_FAILED, None, UNREACHABLE),
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
        for (endpoints, response) in [
            (false, ResponseSeen::End),
            (true, ResponseSeen::End),
            // With a body: nobody sees that all of it came.
            (false, ResponseSeen::Headers),
            (true, ResponseSeen::Headers),
        ] {
            let proxy = Proxy {
                status: Some(status),
                flags,
                address,
                ..Proxy::default()
            };
            let (outcome, _) = asked(endpoints, false, response, proxy);
            assert_eq!(
                outcome, expected,
                "{status} {flags:#x} {address:?} {endpoints} {response:?}"
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
        for response in [ResponseSeen::End, ResponseSeen::Headers] {
            let proxy = Proxy {
                questions: 0,
                ..proxy
            };
            assert_eq!(
                asked(false, true, response, proxy).0,
                expected,
                "{grpc_status} {response:?}"
            );
        }
    }
}

/// Once a 5xx has begun, its end cannot make it better.
#[test]
fn an_answer_of_5xx_that_broke_off_is_judged_as_a_whole_one_unless_the_client_broke_it_off() {
    for (status, flags, expected) in [
        (500, UPSTREAM_CONNECTION_TERMINATION, BAD),
        (500, UPSTREAM_REQUEST_TIMEOUT, BAD),
        (500, DOWNSTREAM_CONNECTION_TERMINATION, None),
        (500, STREAM_IDLE_TIMEOUT, None),
        // A status that a client can ask for, and a slow reader.
        (501, UPSTREAM_REQUEST_TIMEOUT, None),
        (501, UPSTREAM_PROTOCOL_ERROR, None),
        (501, UPSTREAM_CONNECTION_TERMINATION, BAD),
        // The proxy's own answer, by another status than usual.
        (429, UPSTREAM_CONNECTION_FAILURE, UNREACHABLE),
        (429, NO_HEALTHY_UPSTREAM, UNREACHABLE),
        (404, UPSTREAM_REQUEST_TIMEOUT, None),
    ] {
        for endpoints in [false, true] {
            let proxy = Proxy {
                status: Some(status),
                flags,
                address: Some(FIRST),
                ..Proxy::default()
            };
            let (outcome, _) = asked(endpoints, false, ResponseSeen::Headers, proxy);
            assert_eq!(outcome, expected, "{status} {flags:#x} {endpoints}");
        }
    }
}

#[test]
fn a_broken_response_is_judged_by_what_the_proxy_says() {
    // Before the response's headers, and after them.
    for (flags, before, after) in [
        // Without a flag it was whole: a law of the proxy's.
        (0, None, GOOD),
        (DOWNSTREAM_CONNECTION_TERMINATION, None, None),
        (DOWNSTREAM_REMOTE_RESET | LOCAL_RESET, None, None),
        (UPSTREAM_REMOTE_RESET, BAD, BAD),
        (UPSTREAM_CONNECTION_TERMINATION, BAD, BAD),
        (UPSTREAM_REQUEST_TIMEOUT, BAD, None),
        (UPSTREAM_PROTOCOL_ERROR, BAD, None),
        (LOCAL_RESET, BAD, None),
        (STREAM_IDLE_TIMEOUT, None, None),
        (DURATION_TIMEOUT, None, None),
        (UPSTREAM_REQUEST_TIMEOUT | UPSTREAM_REMOTE_RESET, BAD, None),
        (UPSTREAM_CONNECTION_FAILURE, UNREACHABLE, None),
        (1 << 19, None, None),
    ] {
        for (endpoints, response, expected) in [
            (false, ResponseSeen::Nothing, before),
            (true, ResponseSeen::Nothing, before),
            (false, ResponseSeen::Headers, after),
            (true, ResponseSeen::Headers, after),
        ] {
            let proxy = Proxy {
                status: Some(200),
                flags,
                address: Some(FIRST),
                ..Proxy::default()
            };
            assert_eq!(
                asked(endpoints, false, response, proxy).0,
                expected,
                "{flags:#x} {endpoints} {response:?}"
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
            asked(false, false, ResponseSeen::End, proxy).0,
            BAD,
            "no status is no response"
        );
    }
}

#[test]
fn an_end_asks_two_questions_and_of_endpoints_three() {
    for (endpoints, response, status, questions) in [
        (false, ResponseSeen::End, 200, 1),
        (false, ResponseSeen::End, 404, 2),
        (false, ResponseSeen::End, 503, 3),
        (false, ResponseSeen::Nothing, 0, 1),
        (false, ResponseSeen::Headers, 200, 2),
        (false, ResponseSeen::Headers, 404, 3),
        (false, ResponseSeen::Headers, 503, 3),
        (true, ResponseSeen::Headers, 200, 3),
        (true, ResponseSeen::Headers, 404, 3),
        (true, ResponseSeen::Headers, 503, 3),
        (false, ResponseSeen::Headers, 101, 1),
        (true, ResponseSeen::End, 200, 2),
        (true, ResponseSeen::End, 404, 2),
        (true, ResponseSeen::End, 503, 3),
        (true, ResponseSeen::Nothing, 0, 2),
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
            let asked = asked(endpoints, grpc, response, proxy);
            // A gRPC status that counts may be the proxy's own, of an HTTP status that does not.
            // And with a body, status and flags come first.
            let begun = response == ResponseSeen::Headers && status != 101;
            let questions = questions + u32::from(grpc && (status == 503 || begun));
            assert_eq!(
                asked.1, questions,
                "{endpoints} {response:?} {status} {grpc}"
            );
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
            let attempts = attempts(
                &pool(true),
                &flight(false),
                &seen(ResponseSeen::End),
                &mut proxy,
            );
            assert_eq!(attempts, expected, "{address} {status}");
        }
    }
}

/// One row of what a client can do, or a target: what the stream saw, and what the proxy says.
struct Case {
    what: &'static str,
    grpc: bool,
    grpc_timeout: bool,
    connect: bool,
    upgrade: bool,
    seen: Seen,
    status: u16,
    grpc_status: Option<u32>,
    flags: u64,
    outcome: Option<Outcome>,
}

const CASE: Case = Case {
    what: "",
    grpc: false,
    grpc_timeout: false,
    connect: false,
    upgrade: false,
    seen: Seen {
        request_end: true,
        response: ResponseSeen::End,
        grpc: false,
    },
    status: 200,
    grpc_status: None,
    flags: 0,
    outcome: GOOD,
};

const UNFINISHED: Seen = Seen {
    request_end: false,
    response: ResponseSeen::Nothing,
    grpc: false,
};

const BROKEN_OFF: Seen = Seen {
    request_end: true,
    response: ResponseSeen::Headers,
    grpc: false,
};

const GRPC: Seen = Seen {
    request_end: true,
    response: ResponseSeen::End,
    grpc: true,
};

/// Each case, with clusters and endpoints. What was whole is also shown as it looks with a body; but
/// the proxy's own answer to gRPC has none.
fn assert_cases(cases: &[Case]) {
    for case in cases {
        let with_body = Seen {
            response: match case.seen.response {
                ResponseSeen::End if !(case.seen.grpc && case.flags != 0) => ResponseSeen::Headers,
                response => response,
            },
            ..case.seen
        };
        for (endpoints, seen) in [
            (false, case.seen),
            (true, case.seen),
            (false, with_body),
            (true, with_body),
        ] {
            let flight = Flight {
                grpc_timeout: case.grpc_timeout,
                connect: case.connect,
                upgrade: case.upgrade,
                ..flight(case.grpc)
            };
            let mut proxy = Proxy {
                status: Some(case.status),
                grpc_status: case.grpc_status,
                flags: case.flags,
                address: Some(FIRST),
                questions: 0,
            };
            let found = attempts(&pool(endpoints), &flight, &seen, &mut proxy);
            let outcome = found.last.map(|(_, outcome)| outcome);
            assert_eq!(outcome, case.outcome, "{} {endpoints} {seen:?}", case.what);
        }
    }
}

/// What was seen to eject targets that were well. Those that can still fail count once for each
/// client.
#[test]
fn what_a_client_brings_about_is_no_failure_of_the_target() {
    assert_cases(&[
        Case {
            what: "a gRPC content type, answered 200: the proxy makes UNKNOWN of it",
            grpc: true,
            grpc_status: Some(2),
            ..CASE
        },
        Case {
            what: "a gRPC content type, answered 400: INTERNAL",
            grpc: true,
            status: 400,
            grpc_status: Some(13),
            ..CASE
        },
        Case {
            what: "a server that reflects the content type, with 400",
            grpc: true,
            seen: GRPC,
            status: 400,
            grpc_status: Some(13),
            ..CASE
        },
        Case {
            what: "a WebSocket whose server closes the connection",
            upgrade: true,
            seen: Seen {
                request_end: false,
                ..BROKEN_OFF
            },
            status: 101,
            flags: UPSTREAM_CONNECTION_TERMINATION,
            ..CASE
        },
        Case {
            what: "a WebSocket that is silent for too long",
            upgrade: true,
            seen: BROKEN_OFF,
            status: 101,
            flags: STREAM_IDLE_TIMEOUT,
            ..CASE
        },
        Case {
            what: "a CONNECT whose server closes the connection",
            connect: true,
            upgrade: true,
            seen: BROKEN_OFF,
            flags: UPSTREAM_REMOTE_RESET,
            ..CASE
        },
        Case {
            what: "a slow upload to a server with a body time-out",
            seen: UNFINISHED,
            status: 503,
            flags: UPSTREAM_CONNECTION_TERMINATION,
            outcome: None,
            ..CASE
        },
        Case {
            what: "the same, whose 503 the proxy has sent",
            seen: Seen {
                response: ResponseSeen::End,
                ..UNFINISHED
            },
            status: 503,
            flags: UPSTREAM_CONNECTION_TERMINATION,
            outcome: None,
            ..CASE
        },
        Case {
            what: "an answer of 5xx before the upload was complete",
            seen: Seen {
                response: ResponseSeen::End,
                ..UNFINISHED
            },
            status: 503,
            outcome: None,
            ..CASE
        },
        Case {
            what: "413, and the server closes",
            seen: Seen {
                response: ResponseSeen::End,
                ..UNFINISHED
            },
            status: 413,
            ..CASE
        },
        Case {
            what: "a slow reader, cut by the route's time-out (A9), or an event stream (A10)",
            seen: BROKEN_OFF,
            flags: UPSTREAM_REQUEST_TIMEOUT,
            outcome: None,
            ..CASE
        },
        Case {
            what: "a slow reader, cut by the longest duration of a stream",
            seen: BROKEN_OFF,
            flags: DURATION_TIMEOUT,
            outcome: None,
            ..CASE
        },
        Case {
            what: "trailers that the proxy does not take",
            seen: BROKEN_OFF,
            flags: UPSTREAM_PROTOCOL_ERROR,
            outcome: None,
            ..CASE
        },
        Case {
            what: "grpc-timeout of a millisecond (A11)",
            grpc: true,
            grpc_timeout: true,
            seen: GRPC,
            grpc_status: Some(4),
            outcome: None,
            ..CASE
        },
        Case {
            what: "the same, where the proxy keeps the deadline",
            grpc: true,
            grpc_timeout: true,
            seen: GRPC,
            grpc_status: Some(14),
            flags: UPSTREAM_REQUEST_TIMEOUT,
            outcome: None,
            ..CASE
        },
        Case {
            what: "a method that the server does not know (A8)",
            status: 501,
            ..CASE
        },
        Case {
            what: "a version that the server does not know (A8)",
            status: 505,
            ..CASE
        },
        Case {
            what: "a client that leaves",
            seen: BROKEN_OFF,
            flags: DOWNSTREAM_CONNECTION_TERMINATION,
            outcome: None,
            ..CASE
        },
        Case {
            what: "an answer that reflects and is too long for the proxy: by clients",
            status: 502,
            flags: UPSTREAM_PROTOCOL_ERROR,
            outcome: BAD,
            ..CASE
        },
        Case {
            what: "an answer that takes longer than `per_try_timeout`: by clients",
            status: 504,
            flags: UPSTREAM_REQUEST_TIMEOUT,
            outcome: BAD,
            ..CASE
        },
    ]);
}

/// The other half: a target that fails is still found.
#[test]
fn what_a_target_does_wrong_is_a_failure() {
    assert_cases(&[
        Case {
            what: "it was killed",
            status: 503,
            flags: UPSTREAM_CONNECTION_FAILURE,
            outcome: UNREACHABLE,
            ..CASE
        },
        Case {
            what: "it was killed, and the request is an upload that goes on",
            seen: UNFINISHED,
            status: 503,
            flags: UPSTREAM_CONNECTION_FAILURE,
            outcome: UNREACHABLE,
            ..CASE
        },
        Case {
            what: "it was killed, and the request is gRPC",
            grpc: true,
            seen: GRPC,
            grpc_status: Some(14),
            flags: UPSTREAM_CONNECTION_FAILURE,
            outcome: UNREACHABLE,
            ..CASE
        },
        Case {
            what: "it hangs",
            status: 504,
            flags: UPSTREAM_REQUEST_TIMEOUT,
            outcome: BAD,
            ..CASE
        },
        Case {
            what: "it answers 503",
            status: 503,
            outcome: BAD,
            ..CASE
        },
        Case {
            what: "it resets before it answers",
            status: 503,
            flags: UPSTREAM_CONNECTION_TERMINATION,
            outcome: BAD,
            ..CASE
        },
        Case {
            what: "it resets in the middle of its answer",
            seen: BROKEN_OFF,
            flags: UPSTREAM_REMOTE_RESET,
            outcome: BAD,
            ..CASE
        },
        Case {
            what: "it resets a WebSocket that it has not accepted",
            upgrade: true,
            seen: UNFINISHED,
            status: 503,
            flags: UPSTREAM_CONNECTION_TERMINATION,
            outcome: BAD,
            ..CASE
        },
        Case {
            what: "its gRPC is unavailable",
            grpc: true,
            seen: GRPC,
            grpc_status: Some(14),
            outcome: BAD,
            ..CASE
        },
        Case {
            what: "it exceeds a deadline that is its own",
            grpc: true,
            seen: GRPC,
            grpc_status: Some(4),
            outcome: BAD,
            ..CASE
        },
        Case {
            what: "it answers gRPC with a bare 503",
            grpc: true,
            status: 503,
            outcome: BAD,
            ..CASE
        },
    ]);
}

#[test]
fn statuses_that_count_are_those_of_the_configuration() {
    for (statuses, failing, fine) in [
        (
            &[(500, 500), (502, 504)][..],
            &[500, 502, 503, 504][..],
            &[499, 501, 505, 599][..],
        ),
        (&[(503, 503)], &[503], &[500, 502, 504]),
        (&[(429, 429), (505, 599)], &[429, 505, 599], &[404, 503]),
    ] {
        let mut pool = pool(false);
        pool.health.passive = Some(Passive {
            consecutive_failures: 5,
            eject: Nanos::SECOND,
            max_eject: Nanos::SECOND,
            max_ejected_percent: 50,
            statuses: statuses.into(),
        });
        let all = failing.iter().map(|status| (status, BAD));
        for (status, expected) in all.chain(fine.iter().map(|status| (status, GOOD))) {
            let mut proxy = Proxy {
                status: Some(*status),
                address: Some(FIRST),
                ..Proxy::default()
            };
            let seen = seen(ResponseSeen::End);
            let found = attempts(&pool, &flight(false), &seen, &mut proxy);
            assert_eq!(found.last.map(|(_, outcome)| outcome), expected, "{status}");
        }
        // The proxy's own words count whatever the statuses.
        let mut proxy = Proxy {
            status: Some(503),
            flags: UPSTREAM_CONNECTION_FAILURE,
            address: Some(FIRST),
            ..Proxy::default()
        };
        let seen = seen(ResponseSeen::End);
        let found = attempts(&pool, &flight(false), &seen, &mut proxy);
        assert_eq!(found.last.map(|(_, outcome)| outcome), UNREACHABLE);
    }
}
