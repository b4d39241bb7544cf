use super::super::wire::DescriptorStatus;
use super::*;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

const START: Nanos = Nanos::from_secs(1_767_225_600);
const TIMEOUT: Nanos = Nanos::from_millis(20);
const ID: u64 = 7 << 56;

fn after(milliseconds: u64) -> Nanos {
    START + Nanos::from_millis(milliseconds)
}

fn answer(code: Code, told: Option<(u32, Nanos)>) -> Response {
    let status = told.map(|(remaining, reset)| DescriptorStatus {
        code,
        remaining,
        reset: Some(reset),
    });
    Response {
        code,
        statuses: status.into_iter().collect(),
        reset_at_least: None,
    }
}

/// Of an engine that admits, and tells that its window lasts for a while.
fn ok() -> Response {
    answer(Code::Ok, Some((1000, Nanos::from_millis(890))))
}

/// A worker for whose key so many requests come in each of some intervals, and are admitted.
fn busy(requests: u32) -> Leases {
    let mut leases = Leases::default();
    for tick in 0..5 {
        let now = after(tick * 100);
        for _ in 0..requests {
            if let Take::Ask(call) = take(&mut leases, now) {
                leases.begin(ID, 1, BucketKey::default, now);
                leases.answered(ID, call, Some(&ok()), now);
            }
        }
        for bought in interval(&mut leases, 1, now) {
            leases.answered(ID, bought.call, Some(&ok()), now);
        }
    }
    // It may call again.
    assert_eq!(tick(&mut leases, 1, after(400)), []);
    leases
}

/// The ticks of an interval, all at once: what is bought.
fn interval(leases: &mut Leases, workers: u32, now: Nanos) -> Vec<Purchase> {
    (0..TICKS)
        .flat_map(|_| tick(leases, workers, now))
        .collect()
}

fn tick(leases: &mut Leases, workers: u32, now: Nanos) -> Vec<Purchase> {
    leases.tick(workers, |_| TIMEOUT, now)
}

/// A call of so many, of which so many are the asking request's own, that is made now.
fn call(leases: &mut Leases, (hits, used): (u32, u32), now: Nanos) -> Call {
    let asked = leases.at(now);
    let held = leases.find(ID).unwrap();
    Call {
        hits,
        used,
        asked,
        joined: held.queue.joined(),
    }
}

/// An answer that comes at once.
fn answered(leases: &mut Leases, counts: (u32, u32), with: Option<&Response>, now: Nanos) -> u32 {
    let call = call(leases, counts, now);
    leases.answered(ID, call, with, now)
}

fn take(leases: &mut Leases, now: Nanos) -> Take {
    leases.take(ID, 1, TIMEOUT, now)
}

/// How many a request asks for that finds no token.
fn asks(leases: &mut Leases, now: Nanos) -> Option<u32> {
    match take(leases, now) {
        Take::Ask(call) => Some(call.hits),
        _ => None,
    }
}

#[test]
fn a_busy_key_asks_nothing_and_one_that_is_not_asks_for_itself() {
    let mut leases = busy(20);
    for _ in 0..20 {
        assert_eq!(take(&mut leases, after(500)), Take::Taken);
    }
    let mut leases = Leases::default();
    for second in 0..5 {
        let now = after(second * 1000);
        assert_eq!(asks(&mut leases, now), Some(1));
        leases.begin(ID, 1, BucketKey::default, now);
        for tick in 0..10 {
            let now = now + Nanos::from_millis(tick * 100);
            assert_eq!(interval(&mut leases, 1, now), []);
        }
    }
}

#[test]
fn tokens_end_with_the_window() {
    let told = |reset| answer(Code::Ok, Some((100, reset)));
    let headers = Response {
        reset_at_least: Some(Nanos::from_secs(2)),
        ..answer(Code::Ok, None)
    };
    let skew = CLOCK_SKEW;
    // In 250 ms; in the second that the clock says, and the next one; in two seconds at least. Less
    // what a clock may be set back by unnoticed.
    for (answer, end) in [
        (told(Nanos::from_millis(250)), after(60_750) - PACE),
        (told(Nanos::SECOND), after(61_000) - skew),
        (told(Nanos::from_secs(2)), after(62_000) - skew),
        (headers, after(62_500) - PACE),
    ] {
        let mut leases = busy(20);
        // Those of before are over.
        let now = after(60_500);
        let granted = answered(&mut leases, (5, 0), Some(&answer), now);
        assert_eq!(granted, 5);
        let last = end - Nanos::new(1);
        assert_eq!(take(&mut leases, last), Take::Taken, "{end:?}");
        assert_ne!(take(&mut leases, end), Take::Taken, "{end:?}");
    }
}

/// Of an engine that tells nothing no token can be used later: nothing is bought, and what is
/// granted beyond what is used at once is not held.
#[test]
fn of_an_engine_that_does_not_tell_its_windows_nothing_is_bought_ahead() {
    let over = Response {
        reset_at_least: Some(Nanos::ZERO),
        ..answer(Code::Ok, None)
    };
    for untold in [answer(Code::Ok, None), over] {
        let mut leases = busy(20);
        let now = after(60_000);
        assert_eq!(answered(&mut leases, (5, 1), Some(&untold), now), 0);
        for step in 0..40 {
            let now = now + Nanos::from_millis(step * 100);
            interval(&mut leases, 1, now);
            assert_eq!(asks(&mut leases, now), Some(1));
            assert_eq!(answered(&mut leases, (1, 1), Some(&untold), now), 0);
        }
        let now = now + Nanos::from_secs(4);
        assert_eq!(interval(&mut leases, 1, now), []);
        let refused = answer(Code::OverLimit, None);
        answered(&mut leases, (1, 1), Some(&refused), now);
        assert_eq!(take(&mut leases, now), Take::Refused(UNTOLD_REFUSAL));
        assert_eq!(asks(&mut leases, now + UNTOLD_REFUSAL), Some(1));
        // One that begins to tell is bought from.
        for _ in 0..20 {
            take(&mut leases, now);
        }
        assert_eq!(answered(&mut leases, (1, 1), Some(&ok()), now), 0);
        let first = interval(&mut leases, 1, now).len();
        assert_eq!(first + interval(&mut leases, 1, now).len(), 1);
    }
}

/// Where seconds are told, the clocks of both decide which second a token is of: around the
/// beginning of one there are none.
#[test]
fn clocks_that_differ_a_little_carry_no_token_into_another_second() {
    let seconds = answer(Code::Ok, Some((100, Nanos::SECOND)));
    for (now, is_clear) in [(60_005, false), (60_500, true), (60_995, false)] {
        let mut leases = busy(20);
        let now = after(now);
        let granted = answered(&mut leases, (5, 1), Some(&seconds), now);
        assert_eq!(granted > 0, is_clear, "{now:?}");
        let next = take(&mut leases, now);
        assert_eq!(next == Take::Taken, is_clear, "{now:?}");
        let asks = |next| matches!(next, Take::Ask(Call { hits: 1, .. }));
        assert!(is_clear || asks(next), "{now:?}");
        let mut leases = busy(20);
        answered(&mut leases, (1, 1), Some(&seconds), now);
        let bought = interval(&mut leases, 1, now);
        assert_eq!(bought.len(), usize::from(is_clear), "{now:?}");
    }
}

#[test]
fn a_clock_that_is_set_back_ends_what_lasts() {
    let refused = answer(Code::OverLimit, Some((0, Nanos::from_secs(3600))));
    let mut leases = busy(20);
    answered(&mut leases, (1, 1), Some(&refused), after(500));
    while take(&mut leases, after(900)) == Take::Taken {}
    assert!(matches!(take(&mut leases, after(2000)), Take::Refused(_)));
    assert!(matches!(take(&mut leases, after(0)), Take::Ask(_)));
    // Nothing comes back when the clock does: that call is out, and this one waits for it.
    assert_eq!(take(&mut leases, after(2000)), Take::Wait);
}

/// Tokens that are older than what the clock is set back by would last longer by that.
#[test]
fn no_token_lasts_longer_by_a_clock_that_is_set_back() {
    let long = answer(Code::Ok, Some((1000, Nanos::from_millis(9_500))));
    for back in [1, 1_000, 3_600_000] {
        let mut leases = busy(20);
        answered(&mut leases, (5, 0), Some(&long), after(1_000));
        assert_eq!(take(&mut leases, after(9_000)), Take::Taken);
        let set_back = after(9_000) - Nanos::from_millis(back);
        assert_ne!(take(&mut leases, set_back), Take::Taken, "{back} ms");
        for then in [0, 10, 1_000] {
            let then = after(9_000) + Nanos::from_millis(then);
            assert_ne!(take(&mut leases, then), Take::Taken, "{back} ms");
        }
    }
    // What was asked for before and comes after it is of no known age.
    for back in [1, 3_600_000] {
        let mut leases = busy(20);
        let call = call(&mut leases, (5, 0), after(20_000));
        let now = after(20_001) - Nanos::from_millis(back);
        leases.at(after(20_001));
        leases.at(now);
        assert_eq!(leases.answered(ID, call, Some(&long), now), 0);
        let after = now + Nanos::from_secs(1);
        assert_ne!(take(&mut leases, after), Take::Taken, "{back} ms");
        // The next call is bought from again.
        assert_eq!(answered(&mut leases, (5, 0), Some(&long), after), 5);
        assert_eq!(take(&mut leases, after), Take::Taken);
    }
}

#[test]
fn a_clock_that_jumps_ahead_ends_tokens_and_refusals() {
    let hour = Nanos::from_secs(3600);
    let mut leases = busy(20);
    let long = answer(Code::Ok, Some((1000, Nanos::from_millis(9_500))));
    answered(&mut leases, (5, 0), Some(&long), after(1_000));
    assert!(matches!(
        take(&mut leases, after(1_000) + hour),
        Take::Ask(_)
    ));
    // An answer to what was asked before the jump is too old.
    let call = call(&mut leases, (5, 0), after(2_000) + hour);
    let late = after(2_000) + 2 * hour;
    leases.answered(ID, call, Some(&long), late);
    assert_ne!(take(&mut leases, late), Take::Taken);
    let refused = answer(Code::OverLimit, Some((0, Nanos::from_millis(9_500))));
    answered(&mut leases, (1, 1), Some(&refused), late);
    assert!(matches!(take(&mut leases, late), Take::Refused(_)));
    tick(&mut leases, 1, late);
    assert!(matches!(take(&mut leases, late + hour), Take::Ask(_)));
}

#[test]
fn near_the_limit_less_is_asked_for_and_then_nothing() {
    let mut leases = busy(40);
    let now = after(3000);
    // It tells until when, and not what is left.
    let lasts = Nanos::from_secs(2);
    let refused = Response {
        reset_at_least: Some(lasts),
        ..answer(Code::OverLimit, None)
    };
    let mut asked = vec![];
    while asked.last() != Some(&1) {
        let Take::Ask(next) = take(&mut leases, now) else {
            panic!("less may be left: {asked:?}")
        };
        let most = asked.last().map_or(u32::MAX, |hits| hits / 2);
        assert!(next.hits <= most, "{asked:?} {next:?}");
        asked.push(next.hits);
        leases.answered(ID, next, Some(&refused), now);
        tick(&mut leases, 1, now);
    }
    assert!(asked.len() > 4, "{asked:?}");
    assert_eq!(take(&mut leases, now), Take::Refused(lasts));
    assert_eq!(interval(&mut leases, 1, now), []);
    // Then one request asks for all, and the others wait for what it hears.
    let later = now + lasts;
    assert!(asks(&mut leases, later) > Some(1));
    assert_eq!(take(&mut leases, later), Take::Wait);
}

/// While less is asked for because no more is left, no more wait than may be admitted.
#[test]
fn near_the_limit_no_more_wait_than_is_left() {
    let mut leases = busy(40);
    let now = after(3000);
    let Take::Ask(first) = take(&mut leases, now) else {
        panic!("the tokens are over")
    };
    for request in 0..10 {
        assert_eq!(take(&mut leases, now), Take::Wait);
        assert!(leases.wait(ID, request));
    }
    let left = |left| answer(Code::OverLimit, Some((left, Nanos::from_millis(1))));
    leases.answered(ID, first, Some(&left(4)), now);
    let refused = (4..10).rev().map(|request| Served {
        request,
        reply: Reply::Refused(None),
    });
    assert_eq!(leases.served(), refused.collect::<Vec<_>>());
    assert_eq!(take(&mut leases, now), Take::Refused(PACE));
    // The other four are asked for together.
    let bought = tick(&mut leases, 1, now);
    assert_eq!(bought.len(), 1);
    assert_eq!(bought[0].call.hits, 4);
    leases.answered(ID, bought[0].call, Some(&ok()), now);
    let admitted = (0..4).map(|request| Served {
        request,
        reply: Reply::Admitted,
    });
    assert_eq!(leases.served(), admitted.collect::<Vec<_>>());
}

#[test]
fn an_engine_that_failed_is_not_asked_for_an_interval() {
    let mut leases = busy(20);
    let now = after(3000);
    answered(&mut leases, (1, 1), None, now);
    assert_eq!(take(&mut leases, now), Take::Failed);
    assert_eq!(interval(&mut leases, 1, now), []);
    assert!(matches!(take(&mut leases, now + INTERVAL), Take::Ask(_)));
}

#[test]
fn clients_do_not_choose_how_much_memory_keys_take() {
    let mut leases = Leases::default();
    for client in 0..100_000_u64 {
        let id = client.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        leases.begin(id, 1, BucketKey::default, START);
    }
    assert_eq!(leases.sets.iter().flatten().count(), SETS * KEYS_OF_SET);
    // A busy key keeps its place.
    let mut leases = busy(20);
    for other in 1..100 {
        leases.begin(ID + other, 1, BucketKey::default, after(500));
    }
    assert_eq!(take(&mut leases, after(500)), Take::Taken);
}

/// A worker whose key has no tokens, has asked, and has these requests waiting. The call.
fn waiting(requests: std::ops::Range<u32>, now: Nanos) -> (Leases, Call) {
    let mut leases = busy(20);
    let Take::Ask(call) = take(&mut leases, now) else {
        panic!("the tokens are over")
    };
    for request in requests {
        assert_eq!(take(&mut leases, now), Take::Wait);
        assert!(leases.wait(ID, request));
    }
    (leases, call)
}

fn all(requests: std::ops::Range<u32>, reply: Reply) -> Vec<Served> {
    requests.map(|request| Served { request, reply }).collect()
}

#[test]
fn who_comes_while_a_call_is_out_is_admitted_refused_and_failed_with_it() {
    let now = after(3000);
    let over = answer(Code::OverLimit, Some((0, LONGEST_REFUSAL + Nanos::new(1))));
    let refused = Reply::Refused(Some(LONGEST_REFUSAL));
    for (answer, reply) in [
        (Some(&ok()), Reply::Admitted),
        (Some(&over), refused),
        (None, Reply::Failed),
    ] {
        let (mut leases, call) = waiting(0..5, now);
        assert_eq!(leases.served(), []);
        leases.answered(ID, call, answer, now);
        let mut served = leases.served();
        served.sort_by_key(|served| served.request);
        assert_eq!(served, all(0..5, reply));
        assert_eq!(leases.served(), []);
    }
}

/// A token of a window that nothing tells the end of is only for who waited when it was asked for.
#[test]
fn who_came_after_a_call_has_no_token_of_it_where_its_window_is_not_known() {
    let seconds = answer(Code::Ok, Some((100, Nanos::SECOND)));
    for (now, untold) in [
        (after(60_500), answer(Code::Ok, None)),
        (after(60_995), seconds.clone()),
        (after(61_005), seconds),
    ] {
        let (mut leases, _) = waiting(0..3, now);
        leases.abandoned(ID);
        let bought = tick(&mut leases, 1, now);
        let call = bought[0].call;
        assert!(call.hits >= 3, "{call:?}");
        // It has room for these, but they came later.
        for request in 3..6 {
            assert_eq!(take(&mut leases, now), Take::Wait);
            assert!(leases.wait(ID, request));
        }
        let call = Call { hits: 10, ..call };
        leases.answered(ID, call, Some(&untold), now);
        assert_eq!(leases.served(), all(0..3, Reply::Admitted));
        // They are asked for by the next call.
        let bought = tick(&mut leases, 1, now);
        assert_eq!(bought[0].call.hits, 3);
        leases.answered(ID, bought[0].call, Some(&untold), now);
        assert_eq!(leases.served(), all(3..6, Reply::Admitted));
    }
}

#[test]
fn who_has_left_gets_nothing_and_takes_nothing_from_others() {
    let now = after(3000);
    let (mut leases, _) = waiting(0..4, now);
    leases.abandoned(ID);
    let call = tick(&mut leases, 1, now)[0].call;
    leases.leave(ID, 0);
    leases.leave(ID, 2);
    leases.answered(ID, call, Some(&answer(Code::Ok, None)), now);
    let admitted = [1, 3].map(|request| Served {
        request,
        reply: Reply::Admitted,
    });
    assert_eq!(leases.served(), admitted);
}

/// Or a client that goes away at once would have the tokens of others lost with each of its
/// requests.
#[test]
fn a_request_that_goes_away_with_its_call_costs_others_a_tick_and_buys_ahead_no_more() {
    let now = after(3000);
    let (mut leases, call) = waiting(0..4, now);
    assert!(call.hits > 4);
    leases.abandoned(ID);
    let bought = tick(&mut leases, 1, now);
    assert_eq!(bought.len(), 1);
    leases.answered(ID, bought[0].call, Some(&ok()), now);
    assert_eq!(leases.served(), all(0..4, Reply::Admitted));
    // For a second a request that asks asks for itself alone.
    let later = after(5000);
    tick(&mut leases, 1, later);
    assert_eq!(asks(&mut leases, later), Some(1));
    leases.withdrawn(ID);
    for _ in 0..20 {
        take(&mut leases, later);
    }
    (0..WARY).for_each(|_| drop(interval(&mut leases, 1, later)));
    leases.withdrawn(ID);
    assert!(asks(&mut leases, later + INTERVAL) > Some(1));
}

/// Whatever an engine tells: one call for each interval, and no request waits for longer than
/// [`LONGEST_WAIT`] and two calls.
#[test]
fn a_busy_key_has_one_call_in_each_interval_and_nobody_waits_long() {
    const SECONDS: u64 = 20;
    let told: [fn(&Response, Nanos) -> Nanos; 3] = [
        |_, _| Nanos::ZERO,
        |_, _| Nanos::SECOND,
        |_, now| Nanos::SECOND - now % Nanos::SECOND - Nanos::new(1),
    ];
    for (place, told) in told.into_iter().enumerate() {
        for requests in [1, 3, 10] {
            let mut leases = Leases::default();
            let mut out: Option<(Nanos, Call)> = None;
            let (mut calls, mut numbers) = (0, 0);
            let mut since = std::collections::BTreeMap::new();
            let mut longest = Nanos::ZERO;
            for millisecond in 0..SECONDS * 1000 {
                let now = after(millisecond);
                if let Some((due, call)) = out
                    && due <= now
                {
                    out = None;
                    let status = DescriptorStatus {
                        code: Code::Ok,
                        remaining: 1000,
                        reset: Some(told(&ok(), now)).filter(|told| *told > Nanos::ZERO),
                    };
                    let answer = Response {
                        statuses: vec![status],
                        ..answer(Code::Ok, None)
                    };
                    leases.answered(ID, call, Some(&answer), now);
                    for served in leases.served() {
                        let came = since.remove(&served.request).unwrap();
                        longest = longest.max(now - came);
                    }
                }
                let mut ask = |call: Call| {
                    // From the time on that the key is known to be busy.
                    if millisecond > 1000 {
                        calls += 1;
                    }
                    out = Some((now + Nanos::from_millis(2), call));
                };
                if millisecond % 10 == 0 {
                    let bought = tick(&mut leases, 1, now);
                    bought.into_iter().for_each(|bought| ask(bought.call));
                }
                for _ in 0..requests {
                    match take(&mut leases, now) {
                        Take::Ask(call) => {
                            leases.begin(ID, 1, BucketKey::default, now);
                            ask(call);
                        }
                        Take::Wait => {
                            numbers += 1;
                            since.insert(numbers, now);
                            assert!(leases.wait(ID, numbers));
                        }
                        Take::Taken => {}
                        other => panic!("{other:?}"),
                    }
                }
            }
            let most = SECONDS * 10 + u64::from(CREDITS);
            assert!(calls <= most, "{place} {requests}: {calls} calls");
            let most = Nanos::new(PACE.get() * LONGEST_WAIT) + Nanos::from_millis(4);
            assert!(longest <= most, "{place} {requests}: {longest:?}");
        }
    }
}

#[test]
fn so_many_wait_and_others_ask_for_themselves() {
    let now = after(3000);
    let most = u32::try_from(queue::LONGEST).unwrap();
    let (mut leases, _) = waiting(0..most, now);
    assert_eq!(asks(&mut leases, now), Some(1));
    assert!(!leases.wait(ID, most));
}

/// What may happen, in any order.
#[derive(Clone, Debug)]
enum Step {
    Requests {
        worker: usize,
        count: u8,
    },
    /// Of those that wait the first ones go away.
    Leave {
        worker: usize,
        count: u8,
    },
    Tick {
        worker: usize,
    },
    /// So many of the oldest calls reach the engine, and their answers the workers; or one of these
    /// does not.
    Answer {
        count: u8,
        engine: bool,
        worker: bool,
    },
    Time {
        milliseconds: u16,
    },
    /// A worker's clock is set, just after it was read. It notices at once if that is by more than
    /// a [`PACE`], and otherwise never.
    Clock {
        worker: usize,
        milliseconds: i64,
    },
}

/// Steps of clocks: short ones, and an hour.
fn clock() -> impl Strategy<Value = Step> {
    let by = prop_oneof![2 => -500..200_i64, 2 => -10..0_i64, 1 => Just(-3_600_000), 1 => Just(3_600_000)];
    (0..3_usize, by).prop_map(|(worker, milliseconds)| Step::Clock {
        worker,
        milliseconds,
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..3_usize, 1..40_u8).prop_map(|(worker, count)| Step::Requests { worker, count }),
        (0..3_usize).prop_map(|worker| Step::Tick { worker }),
        (0..3_usize, 1..4_u8).prop_map(|(worker, count)| Step::Leave { worker, count }),
        (
            1..100_u8,
            prop::bool::weighted(0.9),
            prop::bool::weighted(0.9)
        )
            .prop_map(|(count, engine, worker)| Step::Answer {
                count,
                engine,
                worker
            }),
        (0..400_u16).prop_map(|milliseconds| Step::Time { milliseconds }),
    ]
}

/// What three workers and an engine are that do this: in no window of the engine more is admitted
/// than its limit. How many were admitted by tokens. `tells` is what the engine tells of the rest of a window, which is a second.
fn no_window_has_more(
    limit: u32,
    counts_refused: bool,
    tells: fn(Nanos) -> Nanos,
    steps: Vec<Step>,
) -> u32 {
    let mut workers = [Leases::default(), Leases::default(), Leases::default()];
    let mut ahead = [0_i64; 3];
    // By how much each clock was set back since its worker noticed.
    let mut unnoticed = [Nanos::ZERO; 3];
    let mut taken = 0;
    let mut calls = std::collections::VecDeque::new();
    let mut numbers = 0;
    let mut waiting: [Vec<u32>; 3] = Default::default();
    let (mut now, mut window, mut count) = (START, START.get(), 0_u32);
    let mut admitted = std::collections::BTreeMap::<u64, u32>::new();
    let second = |now: Nanos| now.get() / 1_000_000_000;
    for step in steps {
        let clock = |worker: usize, ahead: &[i64; 3]| {
            let milliseconds = Nanos::from_millis(ahead[worker].unsigned_abs());
            match ahead[worker] < 0 {
                true => now - milliseconds,
                false => now + milliseconds,
            }
        };
        match step {
            Step::Time { milliseconds } => now += Nanos::from_millis(milliseconds.into()),
            Step::Clock {
                worker,
                milliseconds,
            } => {
                workers[worker].at(clock(worker, &ahead));
                ahead[worker] += milliseconds;
                let back = Nanos::from_millis(milliseconds.min(0).unsigned_abs());
                unnoticed[worker] += back;
                // Within a pace comes a tick.
                if unnoticed[worker] > PACE {
                    workers[worker].at(clock(worker, &ahead));
                    unnoticed[worker] = Nanos::ZERO;
                }
            }
            Step::Tick { worker } => {
                let clock = clock(worker, &ahead);
                for bought in workers[worker].tick(3, |_| TIMEOUT, clock) {
                    calls.push_back((worker, bought.call));
                }
            }
            Step::Leave { worker, count } => {
                let count = usize::from(count).min(waiting[worker].len());
                for request in waiting[worker].drain(..count) {
                    workers[worker].leave(ID, request);
                }
            }
            Step::Requests { worker, count } => {
                let clock = clock(worker, &ahead);
                for _ in 0..count {
                    match workers[worker].take(ID, 3, TIMEOUT, clock) {
                        Take::Taken => {
                            taken += 1;
                            *admitted.entry(second(now)).or_default() += 1;
                        }
                        Take::Ask(call) => {
                            workers[worker].begin(ID, 3, BucketKey::default, clock);
                            calls.push_back((worker, call));
                        }
                        Take::Wait => {
                            numbers += 1;
                            assert!(workers[worker].wait(ID, numbers));
                            waiting[worker].push(numbers);
                        }
                        Take::Refused(_) | Take::Failed => {}
                    }
                }
            }
            Step::Answer {
                count: calls_of_step,
                engine,
                worker: reaches,
            } => {
                for _ in 0..calls_of_step {
                    let Some((worker, call)) = calls.pop_front() else {
                        break;
                    };
                    let clock = clock(worker, &ahead);
                    let hits = call.hits;
                    if !engine {
                        workers[worker].answered(ID, call, None, clock);
                        for served in workers[worker].served() {
                            assert_eq!(served.reply, Reply::Failed);
                            waiting[worker].retain(|request| *request != served.request);
                        }
                        continue;
                    }
                    if second(now) != window {
                        (window, count) = (second(now), 0);
                    }
                    let fits = count + hits <= limit;
                    if fits || counts_refused {
                        count += hits;
                    }
                    let code = if fits { Code::Ok } else { Code::OverLimit };
                    let told = (limit.saturating_sub(count), tells(now));
                    let answer = answer(code, Some(told));
                    if reaches {
                        workers[worker].answered(ID, call, Some(&answer), clock);
                        let mut here = 0;
                        for served in workers[worker].served() {
                            let mut place = waiting[worker].iter();
                            let place = place.position(|request| *request == served.request);
                            // Nobody is served who has left, and nobody twice.
                            waiting[worker].remove(place.unwrap());
                            here += u32::from(served.reply == Reply::Admitted);
                        }
                        if fits {
                            here += call.used;
                        }
                        *admitted.entry(window).or_default() += here;
                    }
                }
            }
        }
        assert!(
            admitted.values().all(|admitted| *admitted <= limit),
            "{admitted:?} of {limit}"
        );
    }
    taken
}

/// The laws below are of something: such steps use many tokens.
#[test]
fn such_steps_use_tokens() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let steps = proptest::collection::vec(step(), 300);
    let taken = (0..50).map(|_| {
        let steps = steps.new_tree(&mut runner).unwrap().current();
        no_window_has_more(120, false, |_| Nanos::SECOND, steps)
    });
    let taken: u32 = taken.sum();
    assert!(taken > 1000, "{taken}");
}

proptest! {
    /// Three workers and an engine whose windows are seconds of the clock: however calls, answers
    /// and time lie, none of its windows has more requests than its limit.
    #[test]
    fn no_window_has_more_than_the_limit(
        limit in 1..120_u32,
        counts_refused in any::<bool>(),
        steps in proptest::collection::vec(step(), 1..300),
    ) {
        no_window_has_more(limit, counts_refused, |_| Nanos::SECOND, steps);
    }

    /// The same, where workers' clocks are set as well, and the engine tells how long its window
    /// lasts: seconds of the clock mean nothing to those who have another one.
    #[test]
    fn no_window_has_more_where_clocks_are_set(
        limit in 1..120_u32,
        counts_refused in any::<bool>(),
        steps in proptest::collection::vec(prop_oneof![6 => step(), 1 => clock()], 1..300),
    ) {
        // Never a whole number of seconds.
        let rest = |now: Nanos| Nanos::SECOND - now % Nanos::SECOND - Nanos::new(1);
        no_window_has_more(limit, counts_refused, rest, steps);
    }
}

#[test]
fn the_page_tells_these_numbers() {
    let page = include_str!("../../../../../../envoy-config/fleet.md");
    let page = page.split_whitespace().collect::<Vec<_>>().join(" ");
    let ms = |time: Nanos| time.get() / Nanos::MILLISECOND.get();
    assert_eq!(Nanos::new(PACE.get() * u64::from(TICKS)), INTERVAL);
    assert_eq!((MANY, INTERVAL / Nanos::from_millis(100)), (10, 1));
    assert_eq!(Nanos::new(INTERVAL.get() * u64::from(WARY)), Nanos::SECOND);
    assert_eq!((CREDITS, queue::LONGEST), (8, 4096));
    let (pace, interval) = (ms(PACE), ms(INTERVAL));
    for told in [
        format!("Each {interval} ms the worker looks whether"),
        format!("the next call, {pace} ms later"),
        format!("of which there is one in each {interval} ms; a worker keeps eight"),
        format!("wait for the next, {} ms at most", LONGEST_WAIT * pace),
        "4,096 requests of a key can wait in a worker".to_owned(),
        format!("the clocks of proxies may be {} ms from it", ms(CLOCK_SKEW)),
        format!(
            "or for {} ms where the engine does not tell",
            ms(UNTOLD_REFUSAL)
        ),
        format!("is not asked about again for {interval} ms"),
        format!("others of its key wait {pace} ms longer, and for a second only"),
        format!("A worker knows {} keys", SETS * KEYS_OF_SET),
    ] {
        assert!(page.contains(&told), "{told}");
    }
}
