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
            if let Take::Ask(hits) = leases.take(ID, 1, TIMEOUT, now) {
                leases.begin(ID, BucketKey::default, now);
                answered(&mut leases, (hits, 1), Some(&ok()), now);
            }
        }
        for bought in leases.tick(1, |_| TIMEOUT, now) {
            answered(&mut leases, (bought.hits, 0), Some(&ok()), now);
        }
    }
    leases
}

/// An answer that comes at once.
fn answered(leases: &mut Leases, counts: (u32, u32), with: Option<&Response>, now: Nanos) -> u32 {
    let asked = leases.at(now);
    leases.answered(ID, counts, with, asked, now)
}

fn take(leases: &mut Leases, now: Nanos) -> Take {
    leases.take(ID, 1, TIMEOUT, now)
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
        assert_eq!(take(&mut leases, now), Take::Ask(1));
        leases.begin(ID, BucketKey::default, now);
        for tick in 0..10 {
            let now = now + Nanos::from_millis(tick * 100);
            assert_eq!(leases.tick(1, |_| TIMEOUT, now), []);
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
    // In 250 ms; in the second that the clock says, and the next one; in two seconds at least.
    for (answer, end) in [
        (told(Nanos::from_millis(250)), after(60_750)),
        (told(Nanos::SECOND), after(61_000) - skew),
        (told(Nanos::from_secs(2)), after(62_000) - skew),
        (headers, after(62_500)),
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
fn of_an_engine_that_does_not_tell_its_windows_each_request_asks() {
    let over = Response {
        reset_at_least: Some(Nanos::ZERO),
        ..answer(Code::Ok, None)
    };
    for untold in [answer(Code::Ok, None), over] {
        let mut leases = busy(20);
        let now = after(60_000);
        assert_eq!(answered(&mut leases, (5, 1), Some(&untold), now), 0);
        for _ in 0..40 {
            assert_eq!(take(&mut leases, now), Take::Ask(1));
            assert_eq!(answered(&mut leases, (1, 1), Some(&untold), now), 0);
        }
        assert_eq!(leases.tick(1, |_| TIMEOUT, now), []);
        let refused = answer(Code::OverLimit, None);
        answered(&mut leases, (1, 1), Some(&refused), now);
        assert_eq!(take(&mut leases, now), Take::Refused(UNTOLD_REFUSAL));
        assert_eq!(take(&mut leases, now + UNTOLD_REFUSAL), Take::Ask(1));
        // One that begins to tell is bought from.
        assert_eq!(answered(&mut leases, (1, 1), Some(&ok()), now), 0);
        assert_eq!(leases.tick(1, |_| TIMEOUT, now).len(), 1);
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
        assert!(is_clear || next == Take::Ask(1), "{now:?}");
        let bought = leases.tick(1, |_| TIMEOUT, now);
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
    // Nothing comes back when the clock does.
    assert!(matches!(take(&mut leases, after(2000)), Take::Ask(_)));
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
        let asked = leases.at(after(20_000));
        let now = after(20_001) - Nanos::from_millis(back);
        leases.at(after(20_001));
        leases.at(now);
        assert_eq!(leases.answered(ID, (5, 0), Some(&long), asked, now), 0);
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
    let asked = leases.at(after(2_000) + hour);
    let late = after(2_000) + 2 * hour;
    leases.answered(ID, (5, 0), Some(&long), asked, late);
    assert_ne!(take(&mut leases, late), Take::Taken);
    let refused = answer(Code::OverLimit, Some((0, Nanos::from_millis(9_500))));
    while !matches!(take(&mut leases, late), Take::Ask(_)) {}
    answered(&mut leases, (1, 1), Some(&refused), late);
    assert!(matches!(take(&mut leases, late), Take::Refused(_)));
    assert!(matches!(take(&mut leases, late + hour), Take::Ask(_)));
}

#[test]
fn near_the_limit_less_is_asked_for_and_then_nothing() {
    let mut leases = busy(40);
    let now = after(3000);
    let Take::Ask(hits) = take(&mut leases, now) else {
        panic!("the tokens are over")
    };
    assert!(hits > 40, "{hits}");
    // It tells until when, and not what is left.
    let lasts = Nanos::from_secs(2);
    let refused = Response {
        reset_at_least: Some(lasts),
        ..answer(Code::OverLimit, None)
    };
    let mut asked = vec![hits];
    while asked.last() > Some(&1) {
        let hits = *asked.last().unwrap();
        // While a call is under way, others are refused: it asks for what is left.
        if asked.len() > 1 {
            assert!(matches!(take(&mut leases, now), Take::Refused(_)));
        }
        answered(&mut leases, (hits, 1), Some(&refused), now);
        let Take::Ask(next) = take(&mut leases, now) else {
            panic!("less may be left")
        };
        assert!(next <= hits / 2, "{asked:?} {next}");
        asked.push(next);
    }
    answered(&mut leases, (1, 1), Some(&refused), now);
    assert_eq!(take(&mut leases, now), Take::Refused(lasts));
    assert_eq!(leases.tick(1, |_| TIMEOUT, now), []);
    // Then one request asks for all, and the others wait for what it hears.
    let later = now + lasts;
    assert!(matches!(take(&mut leases, later), Take::Ask(2..)));
    assert_eq!(take(&mut leases, later), Take::Refused(TIMEOUT));
}

#[test]
fn an_engine_that_failed_is_not_asked_for_an_interval() {
    let mut leases = busy(20);
    let now = after(3000);
    answered(&mut leases, (1, 1), None, now);
    assert_eq!(take(&mut leases, now), Take::Failed);
    assert_eq!(leases.tick(1, |_| TIMEOUT, now), []);
    assert!(matches!(take(&mut leases, now + INTERVAL), Take::Ask(_)));
}

#[test]
fn clients_do_not_choose_how_much_memory_keys_take() {
    let mut leases = Leases::default();
    for client in 0..100_000_u64 {
        let id = client.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        leases.begin(id, BucketKey::default, START);
    }
    assert_eq!(leases.sets.iter().flatten().count(), SETS * KEYS_OF_SET);
    // A busy key keeps its place.
    let mut leases = busy(20);
    for other in 1..100 {
        leases.begin(ID + other, BucketKey::default, after(500));
    }
    assert_eq!(take(&mut leases, after(500)), Take::Taken);
}

/// What may happen, in any order.
#[derive(Clone, Debug)]
enum Step {
    Requests {
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
    /// A worker's clock is set, just after it was read.
    Clock {
        worker: usize,
        milliseconds: i64,
    },
}

/// Steps of clocks: short ones, and an hour.
fn clock() -> impl Strategy<Value = Step> {
    let by = prop_oneof![4 => -500..200_i64, 1 => Just(-3_600_000), 1 => Just(3_600_000)];
    (0..3_usize, by).prop_map(|(worker, milliseconds)| Step::Clock {
        worker,
        milliseconds,
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..3_usize, 1..40_u8).prop_map(|(worker, count)| Step::Requests { worker, count }),
        (0..3_usize).prop_map(|worker| Step::Tick { worker }),
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
    let mut taken = 0;
    let mut calls = std::collections::VecDeque::new();
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
            }
            Step::Tick { worker } => {
                let clock = clock(worker, &ahead);
                let asked = workers[worker].at(clock);
                for bought in workers[worker].tick(3, |_| TIMEOUT, clock) {
                    calls.push_back((worker, bought.hits, 0, asked));
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
                        Take::Ask(hits) => {
                            workers[worker].begin(ID, BucketKey::default, clock);
                            calls.push_back((worker, hits, 1, workers[worker].at(clock)));
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
                    let Some((worker, hits, used, asked)) = calls.pop_front() else {
                        break;
                    };
                    let clock = clock(worker, &ahead);
                    if !engine {
                        workers[worker].answered(ID, (hits, used), None, asked, clock);
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
                        workers[worker].answered(ID, (hits, used), Some(&answer), asked, clock);
                        if fits {
                            *admitted.entry(window).or_default() += used;
                        }
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
