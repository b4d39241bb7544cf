//! Limits over a fleet.

use super::*;
use crate::rate_limit::global::Question;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

fn limited(global: &str) -> TestWorker {
    TestWorker::of(&format!(
        r#"{{
            "rate_limits": {{
                "l": {{ "requests": 1000000, "per": "1s", "key": ["client_ip"] {global} }}
            }},
            "routes": [{{ "name": "all", "rate_limits": ["l"], "pass": true }}]
        }}"#
    ))
}

const LEASE: &str =
    r#", "global": { "cluster": "c", "domain": "d", "mode": "lease", "on_error": "refuse" }"#;
const OK: &[u8] = b"\x08\x01";
/// The window lasts ten minutes, and a little.
const TOLD: &[u8] = b"\x08\x01\x12\x09\x08\x01\x22\x05\x08\xd8\x04\x10\x05";
const OVER_LIMIT: &[u8] = b"\x08\x02";

/// Decides a request. The questions that it waits for; its status, if it is answered; and how often
/// the port was called.
fn decide(test: &mut TestWorker) -> (Vec<Question>, Option<u16>, u32) {
    let headers = Headers::from_pairs(&[(":method", "GET"), (":path", "/")]);
    let config = test.worker.config().clone();
    let request = Request::new(&headers);
    let calls = |port: &MemoryPort| port.reads + port.writes + port.address_reads;
    let before = calls(&test.port);
    let decision = test
        .worker
        .decide(&config, &request, &mut test.port, test.now);
    let (questions, status) = match decision.disposition {
        Disposition::Ask(asking) => (asking.questions, None),
        Disposition::Answer(answer) => (Vec::new(), Some(answer.status)),
        Disposition::Continue => (Vec::new(), None),
    };
    (questions, status, calls(&test.port) - before)
}

fn answer(test: &mut TestWorker, questions: &[Question], answer: Option<&[u8]>) -> bool {
    let refusals = questions
        .iter()
        .filter_map(|question| test.worker.on_engine_answer(question, answer, test.now));
    refusals.count() > 0
}

fn buy(test: &mut TestWorker, reply: Option<&[u8]>) {
    let now = test.now;
    test.worker.tick(&mut test.port, now);
    let bought = test.worker.purchases(now);
    answer(test, &bought, reply);
}

#[test]
fn a_busy_keys_request_makes_no_more_calls_than_with_a_limit_of_one_proxy() {
    let (mut own, mut fleet) = (limited(""), limited(LEASE));
    let mut asked = 0;
    for place in 0..2000 {
        let now = NOW + Nanos::from_millis(place);
        (own.now, fleet.now) = (now, now);
        if place % 10 == 0 {
            own.worker.tick(&mut own.port, now);
            buy(&mut fleet, Some(TOLD));
        }
        let (_, _, calls) = decide(&mut own);
        let (questions, status, fleet_calls) = decide(&mut fleet);
        assert_eq!((status, fleet_calls), (None, calls), "request {place}");
        answer(&mut fleet, &questions, Some(TOLD));
        asked += questions.len();
        if place == 500 {
            asked = 0;
        }
    }
    assert_eq!(asked, 0);
}

#[test]
fn without_an_answer_on_error_decides_and_a_refusal_is_a_refusal() {
    for (on_error, refuses) in [("admit", false), ("refuse", true)] {
        for mode in ["ask", "lease"] {
            let global = LEASE.replace("refuse", on_error).replace("lease", mode);
            let mut test = limited(&global);
            let (questions, ..) = decide(&mut test);
            assert_eq!(questions.len(), 1);
            assert_eq!(answer(&mut test, &questions, None), refuses);
            assert_eq!(answer(&mut test, &questions, Some(b"\xff")), refuses);
            assert!(answer(&mut test, &questions, Some(OVER_LIMIT)));
            assert!(!answer(&mut test, &questions, Some(OK)));
        }
        // A lease does not ask an engine that has just failed.
        let mut test = limited(&LEASE.replace("refuse", on_error));
        let (questions, ..) = decide(&mut test);
        answer(&mut test, &questions, None);
        let (questions, status, _) = decide(&mut test);
        assert_eq!((questions.len(), status == Some(429)), (0, refuses));
        // A shadow refuses nothing.
        let shadow = LEASE.replace("refuse", on_error) + r#", "shadow": true"#;
        let mut test = limited(&shadow);
        let (questions, ..) = decide(&mut test);
        assert!(!answer(&mut test, &questions, Some(OVER_LIMIT)));
        let (questions, status, _) = decide(&mut test);
        assert_eq!((questions.len(), status), (0, None));
    }
}
