//! `least_connections` and `least_response_time`: the target that has the least to do.
//!
//! **The score** of a target is (n + u) · t / w: n requests in flight over all workers, u drawn
//! anew from [0, 1) for each choice, t its average response time (1 with `least_connections`), w
//! its weight, times the share that a slow start leaves it. The least wins. Among equals that is a
//! fair draw; between different weights at rest the heavier one goes first about as often as its
//! weight says, so that a light target is not left without any request; and a target that looks
//! slow is tried now and then, so that it is seen when it is not.
//!
//! **What is looked at.** Reading a count is one host call of 65 ns, for each target. So a worker
//! keeps a view of a pool of up to [`VIEWED`] targets, to which it adds its own choices, and looks
//! at all again when the last look is [`FRESH`] ago; of the two that are best by the view it asks
//! for the counts as they are now. A busy worker makes two calls for a choice, one that has little
//! to do makes one for each target. In larger pools two targets are drawn by weight, and the better
//! one is taken (M. Mitzenmacher, "The power of two choices in randomized load balancing", 2001).
//!
//! **What was compared.** 8 workers, 20 targets that serve 8 requests at a time each, Poisson
//! arrivals, service times from a bounded Pareto distribution (shape 1.5, 2 ms to 1 s: nine of ten
//! take less than 10 ms, one of a thousand 200); every fourth target is half as fast. The oracle
//! knows how long everything that a target has will take, and sends a request to where it will be
//! finished first. Milliseconds; `cargo test --release -p pointsman-core balance_by_load --
//! --ignored --nocapture`:
//!
//! | 75 % of the capacity | p50 | p99 | p99.9 | p99 over the oracle's |
//! |---|---|---|---|---|
//! | round robin (it overloads the slow ones) | 4.7 | 6669 | 7506 | 156 |
//! | `least_connections` | 3.6 | 50.3 | 223 | 1.18 |
//! | `least_response_time` | 3.6 | 48.4 | 209 | 1.13 |
//! | the same, peak EWMA (Finagle, linkerd) | 7.4 | 51.9 | 217 | 1.22 |
//! | hot-cold rule (Prequal, NSDI 2024), three drawn | 5.1 | 50.6 | 219 | 1.19 |
//! | oracle | 3.2 | 42.7 | 187 | 1 |
//!
//! At 90 % these p99 are 1.13, 1.11, 1.33 and 1.28 times the oracle's; with 200 targets, two of
//! which are drawn, 1.19, 1.14, 1.20 and 1.17; with 2 and 32 workers as with 8. With a heavy tail a
//! peak says little of a target and much of one request, so `least_response_time` takes the plain
//! average; the hot-cold rule needs no more to lose to it, since here every count in flight is
//! known and not only those of the few that were probed.

use super::random;
use crate::hash::mixed;
use crate::pool::Pool;
use crate::time::Nanos;

/// Up to so many targets are looked at together. All gauges then cost 4 µs each 10 ms, and a choice
/// passes over a view of 256 bytes; where pools are larger, two choices are as good as all.
pub const VIEWED: usize = 64;

/// How old a view may be: what the issue of a choice may not know of other workers.
pub const FRESH: Nanos = Nanos::from_millis(10);

/// What one worker knows of the counts of one pool.
#[derive(Debug, Default)]
pub struct Least {
    /// For each target; empty in large pools.
    view: Vec<u32>,
    /// When it was looked at. None: never.
    looked: Option<Nanos>,
}

/// What a choice is made from.
pub struct Load<'a> {
    /// Whether a target can be chosen.
    pub usable: &'a dyn Fn(usize) -> bool,
    /// The part of its weight that a target gets for now: above 0, at most 1.
    pub share: &'a dyn Fn(usize) -> f64,
    /// How many requests a target has in flight now.
    pub in_flight: &'a mut dyn FnMut(usize) -> u32,
    /// How long a target takes to answer, in any unit. None: it does not matter.
    pub time: Option<&'a dyn Fn(usize) -> f64>,
}

impl Load<'_> {
    /// The score of a target with so many requests in flight.
    fn score(&self, pool: &Pool, target: usize, in_flight: u32, roll: u64) -> f64 {
        let weight = pool.targets.get(target).map_or(1, |target| target.weight);
        let time = self.time.map_or(1.0, |time| time(target));
        (f64::from(in_flight) + noise(roll, target)) * time
            / (f64::from(weight) * (self.share)(target))
    }
}

/// u of a target, in [0, 1).
fn noise(roll: u64, target: usize) -> f64 {
    const SCALE: f64 = 1.0 / (1_u64 << 53) as f64;
    (mixed(roll ^ mixed(target as u64)) >> 11) as f64 * SCALE
}

/// A target with its score.
type Scored = Option<(usize, f64)>;

impl Least {
    /// The target with the least to do among those that take new requests and are usable. None:
    /// there is no such target. A clock that is set back makes the view old.
    pub fn pick(
        &mut self,
        pool: &Pool,
        load: &mut Load<'_>,
        roll: u64,
        now: Nanos,
    ) -> Option<usize> {
        let two = match pool.targets.len() <= VIEWED {
            true => self.best_two(pool, load, roll, now),
            false => two_drawn(pool, load.usable, roll),
        };
        let mut best: Scored = None;
        for target in two.into_iter().flatten() {
            let in_flight = (load.in_flight)(target);
            if let Some(seen) = self.view.get_mut(target) {
                *seen = in_flight;
            }
            let score = load.score(pool, target, in_flight, roll);
            if best.is_none_or(|(_, least)| score < least) {
                best = Some((target, score));
            }
        }
        let (chosen, _) = best?;
        if let Some(seen) = self.view.get_mut(chosen) {
            *seen = seen.saturating_add(1);
        }
        Some(chosen)
    }

    /// The best by the view, and the best of the others.
    fn best_two(
        &mut self,
        pool: &Pool,
        load: &mut Load<'_>,
        roll: u64,
        now: Nanos,
    ) -> [Option<usize>; 2] {
        let age = self.looked.and_then(|looked| now.checked_sub(looked));
        if age.is_none_or(|age| age >= FRESH) {
            self.view.clear();
            self.view
                .extend((0..pool.targets.len()).map(&mut load.in_flight));
            self.looked = Some(now);
        }
        let (mut first, mut second): (Scored, Scored) = (None, None);
        for (i, (target, in_flight)) in pool.targets.iter().zip(&self.view).enumerate() {
            if !(target.takes_new() && (load.usable)(i)) {
                continue;
            }
            let score = load.score(pool, i, *in_flight, roll);
            if first.is_none_or(|(_, least)| score < least) {
                second = first;
                first = Some((i, score));
            } else if second.is_none_or(|(_, least)| score < least) {
                second = Some((i, score));
            }
        }
        [first, second].map(|scored| scored.map(|(target, _)| target))
    }
}

/// Two targets, drawn by weight.
fn two_drawn(pool: &Pool, usable: &dyn Fn(usize) -> bool, roll: u64) -> [Option<usize>; 2] {
    let Some((first, _)) = random(pool, usable, mixed(roll)) else {
        return [None, None];
    };
    let second = random(pool, &|other| other != first && usable(other), mixed(!roll));
    [Some(first), second.map(|(second, _)| second)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::RoundRobin;
    use crate::config::Config;
    use crate::response_time::ResponseTimes;
    use crate::shared::tests::{Dice, Map};
    use std::cmp::Reverse;
    use std::collections::BinaryHeap;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    const MILLISECOND: Nanos = Nanos::MILLISECOND;
    const SECOND: Nanos = Nanos::SECOND;
    /// Some day.
    const START: Nanos = Nanos::from_secs(1_800_000_000);
    /// Requests that a target serves at a time; the others wait in a queue.
    const SLOTS: usize = 8;

    /// How a target of the simulation is.
    #[derive(Clone, Copy)]
    struct Server {
        /// Times longer than others.
        slow: u64,
        weight: u32,
        /// Answers at once, with an error.
        fails: bool,
        /// Is new: takes part since so long after the start.
        since: Nanos,
    }

    const PLAIN: Server = Server {
        slow: 1,
        weight: 1,
        fails: false,
        since: Nanos::ZERO,
    };

    /// Who chooses.
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Rule {
        RoundRobin,
        Random,
        LeastConnections,
        LeastResponseTime,
        /// As Finagle's: a sample above the average replaces it.
        Peak,
        /// As Prequal's: of three drawn, the fastest of those that are not hot; hot is more in
        /// flight than five of six.
        HotCold,
        Oracle,
    }

    /// What came of it.
    struct Played {
        /// Response times, in order of size, without those of failures.
        took: Vec<Nanos>,
        /// Requests for each target.
        got: Vec<u64>,
    }

    impl Played {
        fn percentile(&self, percent: f64) -> f64 {
            let place = (self.took.len() as f64 * percent / 100.0) as usize;
            self.took[place.min(self.took.len() - 1)].get() as f64 / MILLISECOND.get() as f64
        }

        /// What a target got, over its fair share.
        fn share(&self, target: usize) -> f64 {
            self.got[target] as f64 * self.got.len() as f64 / self.got.iter().sum::<u64>() as f64
        }
    }

    /// A plan of a simulation.
    struct Plan {
        servers: Vec<Server>,
        workers: usize,
        /// Of the capacity of all servers.
        load: f64,
        requests: usize,
        seed: u64,
    }

    fn fraction(dice: &mut Dice) -> f64 {
        (dice.roll(1 << 53) + 1) as f64 / (1_u64 << 53) as f64
    }

    /// A bounded Pareto distribution of shape 1.5 from 2 ms to 1 s; its mean is about 5.7 ms.
    fn service(dice: &mut Dice) -> Nanos {
        let (least, most, shape) = (2.0_f64, 1000.0_f64, 1.5);
        let u = fraction(dice);
        let bound = 1.0 - (least / most).powf(shape);
        let milliseconds = least / (1.0 - u * bound).powf(1.0 / shape);
        Nanos::new((milliseconds * MILLISECOND.get() as f64) as u64)
    }

    /// In nanoseconds.
    const MEAN_SERVICE: f64 = 5.73 * MILLISECOND.get() as f64;

    impl Plan {
        fn of(servers: Vec<Server>) -> Plan {
            Plan {
                servers,
                workers: 8,
                load: 0.75,
                requests: 200_000,
                seed: 1,
            }
        }

        fn config(&self, rule: Rule) -> Config {
            let targets = self.servers.iter().enumerate();
            let targets: Vec<_> = targets
                .map(|(i, server)| format!(r#"{{"cluster": "c{i}", "weight": {}}}"#, server.weight))
                .collect();
            let balance = match rule {
                Rule::LeastResponseTime => "least_response_time",
                _ => "least_connections",
            };
            let text = format!(
                r#"{{"pools": {{"p": {{"balance": "{balance}", "targets": [{}]}}}}}}"#,
                targets.join(",")
            );
            Config::load(text.as_bytes()).unwrap()
        }

        /// Plays requests by this rule; the same arrivals and service times for each rule.
        fn play(&self, rule: Rule) -> Played {
            let config = self.config(rule);
            let pool = &*config.pools[0];
            let size = self.servers.len();
            let mut dice = Dice(self.seed << 40);
            let mut rolls = Dice(self.seed << 40 | 1 << 39);
            let mut store = Map::default();
            let mut robins: Vec<_> = (0..self.workers)
                .map(|worker| RoundRobin::new(pool, worker as u64))
                .collect();
            let mut leasts: Vec<_> = (0..self.workers).map(|_| Least::default()).collect();
            let mut times: Vec<_> = (0..self.workers)
                .map(|_| ResponseTimes::new(&config))
                .collect();
            let mut peaks = vec![MEAN_SERVICE; size];
            let mut in_flight = vec![0_u32; size];
            // When each slot of a server is free.
            let mut free = vec![[START; SLOTS]; size];
            // Ends: when, target, worker, how long it took; None: it failed, and its place is held.
            let mut ends: BinaryHeap<Reverse<(Nanos, usize, usize, Option<Nanos>)>> =
                BinaryHeap::new();
            let capacity: f64 = self
                .servers
                .iter()
                .map(|server| SLOTS as f64 / server.slow as f64)
                .sum();
            let gap = MEAN_SERVICE / (capacity * self.load);
            let mut now = START;
            let mut played = Played {
                took: Vec::new(),
                got: vec![0; size],
            };
            for number in 0..self.requests {
                now += Nanos::new((-fraction(&mut dice).ln() * gap) as u64);
                while let Some(Reverse((end, target, worker, took))) = ends.peek().copied()
                    && end <= now
                {
                    ends.pop();
                    in_flight[target] -= 1;
                    if let Some(took) = took {
                        times[worker].sample(pool, target, took, end);
                        let took = took.get() as f64;
                        peaks[target] = if took > peaks[target] {
                            took
                        } else {
                            peaks[target] * 0.98 + took * 0.02
                        };
                    }
                }
                let worker = number % self.workers;
                let roll = rolls.roll(u64::MAX);
                let length = service(&mut dice);
                let there = |target: usize| now >= START + self.servers[target].since;
                // Over ten seconds from a tenth.
                let share = |target: usize| {
                    let age = now - START - self.servers[target].since;
                    if self.servers[target].since == Nanos::ZERO {
                        1.0
                    } else {
                        (age.get() as f64 / (10 * SECOND).get() as f64).clamp(0.1, 1.0)
                    }
                };
                let finish = |target: usize| {
                    let first = free[target].iter().min().copied().unwrap();
                    first.max(now) + length * self.servers[target].slow
                };
                let target = match rule {
                    Rule::RoundRobin => robins[worker].pick(pool, &there).unwrap(),
                    Rule::Random => random(pool, &there, roll).unwrap().0,
                    Rule::Oracle => (0..size)
                        .filter(|i| there(*i))
                        .min_by_key(|i| finish(*i))
                        .unwrap(),
                    Rule::HotCold => {
                        let mut sorted = in_flight.clone();
                        sorted.sort_unstable();
                        let hot = sorted[size * 5 / 6];
                        let drawn = (0..3).map(|draw| (mixed(roll ^ draw) % size as u64) as usize);
                        let rank = |i: usize| {
                            let heat = if in_flight[i] > hot { in_flight[i] } else { 0 };
                            (heat, peaks[i] as u64 * u64::from(in_flight[i] + 1))
                        };
                        drawn.min_by_key(|i| rank(*i)).unwrap()
                    }
                    Rule::LeastConnections | Rule::LeastResponseTime | Rule::Peak => {
                        times[worker].exchange(&mut store, pool, now);
                        let (times, peaks) = (&times[worker], &peaks);
                        let guess = |target: usize| times.guess(pool, target, now).get() as f64;
                        let peak = |target: usize| peaks[target];
                        let mut load = Load {
                            usable: &there,
                            share: &share,
                            in_flight: &mut |target| in_flight[target],
                            time: match rule {
                                Rule::LeastResponseTime => Some(&guess),
                                Rule::Peak => Some(&peak),
                                _ => None,
                            },
                        };
                        leasts[worker].pick(pool, &mut load, roll, now).unwrap()
                    }
                };
                played.got[target] += 1;
                in_flight[target] += 1;
                if self.servers[target].fails {
                    // As `in_flight` has it: the place is held for a second.
                    ends.push(Reverse((now + SECOND, target, worker, None)));
                    continue;
                }
                let end = finish(target);
                *free[target].iter_mut().min().unwrap() = end;
                ends.push(Reverse((end, target, worker, Some(end - now))));
                played.took.push(end - now);
            }
            played.took.sort_unstable();
            played
        }
    }

    /// Every fourth at half the speed.
    fn mixed_servers(size: usize) -> Vec<Server> {
        let slow = |i: usize| if i % 4 == 3 { 2 } else { 1 };
        (0..size)
            .map(|i| Server {
                slow: slow(i),
                ..PLAIN
            })
            .collect()
    }

    const BY_LOAD: [Rule; 2] = [Rule::LeastConnections, Rule::LeastResponseTime];

    #[test]
    fn balance_by_load_stays_near_an_oracle() {
        for seed in 1..3 {
            let plan = Plan {
                seed,
                requests: 100_000,
                ..Plan::of(mixed_servers(20))
            };
            let oracle = plan.play(Rule::Oracle).percentile(99.0);
            let robin = plan.play(Rule::RoundRobin).percentile(99.0);
            for rule in BY_LOAD {
                let p99 = plan.play(rule).percentile(99.0);
                assert!(
                    p99 <= 1.3 * oracle,
                    "seed {seed}: {rule:?} {p99} ms, oracle {oracle} ms"
                );
                assert!(
                    p99 < robin,
                    "seed {seed}: {rule:?} {p99} ms, round robin {robin} ms"
                );
            }
        }
    }

    #[test]
    fn slow_target_gets_less_than_a_fifth_of_a_fair_share() {
        for load in [0.02, 0.3, 0.75] {
            let mut servers = vec![PLAIN; 5];
            servers[2].slow = 10;
            let plan = Plan {
                load,
                requests: 60_000,
                ..Plan::of(servers)
            };
            let share = |rule| plan.play(rule).share(2);
            assert!(
                share(Rule::LeastResponseTime) < 0.2,
                "{load}: {}",
                share(Rule::LeastResponseTime)
            );
            // With next to nothing in flight connections tell little.
            if load > 0.1 {
                assert!(
                    share(Rule::LeastConnections) < 0.2,
                    "{load}: {}",
                    share(Rule::LeastConnections)
                );
            }
            assert!(
                share(Rule::LeastResponseTime) > 0.0,
                "{load}: it is looked at now and then"
            );
        }
    }

    #[test]
    fn target_that_fails_fast_attracts_nothing() {
        for load in [0.05, 0.5] {
            let mut servers = vec![PLAIN; 5];
            servers[4].fails = true;
            let plan = Plan {
                load,
                requests: 60_000,
                ..Plan::of(servers)
            };
            for rule in BY_LOAD {
                let share = plan.play(rule).share(4);
                assert!(share < 0.2, "{rule:?} at {load}: {share}");
            }
        }
    }

    #[test]
    fn new_target_is_neither_flooded_nor_ignored() {
        let mut servers = vec![PLAIN; 4];
        servers[3].since = SECOND;
        let gap = MEAN_SERVICE / (4.0 * SLOTS as f64 * 0.6) / 1e9;
        // One second without it, then the first two of the ten that it takes.
        let plan = Plan {
            load: 0.6,
            requests: (3.0 / gap) as usize,
            ..Plan::of(servers)
        };
        for rule in BY_LOAD {
            let share = plan.play(rule).share(3) * 1.5;
            assert!(
                (0.05..0.6).contains(&share),
                "{rule:?}: {share} of a fair share"
            );
        }
    }

    #[test]
    fn weights_are_kept_at_rest_and_under_load() {
        for (load, least, most) in [(0.001, 2.2, 6.0), (0.4, 2.2, 3.8)] {
            let mut servers = vec![PLAIN; 4];
            servers[0].weight = 3;
            let plan = Plan {
                load,
                requests: 60_000,
                ..Plan::of(servers)
            };
            let played = plan.play(Rule::LeastConnections);
            let ratio = 3.0 * played.got[0] as f64 / played.got[1..].iter().sum::<u64>() as f64;
            assert!((least..most).contains(&ratio), "at {load}: {ratio}");
        }
    }

    #[test]
    fn equals_are_drawn_evenly_and_nobody_takes_what_is_not_usable() {
        let config = Plan::of(vec![PLAIN; 5]).config(Rule::LeastConnections);
        let mut least = Least::default();
        let mut got = [0; 5];
        for roll in 0..50_000 {
            let mut load = Load {
                usable: &|target| target != 1,
                share: &|_| 1.0,
                in_flight: &mut |_| 0,
                time: None,
            };
            // So long after the last that what was chosen then is over.
            got[least
                .pick(&config.pools[0], &mut load, mixed(roll), roll * FRESH)
                .unwrap()] += 1;
        }
        assert_eq!(got[1], 0);
        for target in [0, 2, 3, 4] {
            // Six standard deviations.
            assert!((12_500_i32 - got[target]).abs() < 600, "{got:?}");
        }
        let mut none = Load {
            usable: &|_| false,
            share: &|_| 1.0,
            in_flight: &mut |_| 0,
            time: None,
        };
        assert_eq!(
            least.pick(&config.pools[0], &mut none, 7, Nanos::ZERO),
            None
        );
    }

    #[test]
    fn busy_worker_asks_for_two_counts_and_large_pools_for_two() {
        for (size, first) in [(20, 22), (200, 2)] {
            let config = Plan::of(vec![PLAIN; size]).config(Rule::LeastConnections);
            let mut least = Least::default();
            for (number, expected) in [(0, first), (1, 2), (2, 2)] {
                let mut asked = 0;
                let mut load = Load {
                    usable: &|_| true,
                    share: &|_| 1.0,
                    in_flight: &mut |_| {
                        asked += 1;
                        0
                    },
                    time: None,
                };
                least
                    .pick(
                        &config.pools[0],
                        &mut load,
                        number,
                        START + Nanos::new(number),
                    )
                    .unwrap();
                assert_eq!(asked, expected, "{size} targets, choice {number}");
            }
        }
    }

    /// The table of this module's documentation, and what else led to it.
    #[test]
    #[ignore = "prints a table"]
    fn balance_by_load() {
        use Rule::*;
        for (workers, size, load) in [
            (8, 20, 0.75),
            (8, 20, 0.9),
            (2, 20, 0.75),
            (32, 20, 0.75),
            (8, 200, 0.75),
        ] {
            println!(
                "| {workers} workers, {size} targets, load {load} | p50 | p99 | p99.9 | p99 to the oracle's |"
            );
            let plan = Plan {
                workers,
                load,
                requests: 400_000,
                ..Plan::of(mixed_servers(size))
            };
            let oracle = plan.play(Oracle).percentile(99.0);
            for rule in [
                RoundRobin,
                Random,
                LeastConnections,
                LeastResponseTime,
                Peak,
                HotCold,
                Oracle,
            ] {
                let played = plan.play(rule);
                let [p50, p99, p999] = [50.0, 99.0, 99.9].map(|percent| played.percentile(percent));
                println!(
                    "| {rule:?} | {p50:.1} | {p99:.1} | {p999:.1} | {:.2} |",
                    p99 / oracle
                );
            }
        }
    }
}
