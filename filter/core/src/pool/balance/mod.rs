//! Which target a new request goes to: weighted selection.
//!
//! **Round robin** is Tijdeman's algorithm for the chairman assignment problem (R. Tijdeman, "The
//! chairman assignment problem", Discrete Mathematics 32, 1980). After any number k of requests,
//! each of n targets with weight w out of W has got k·w/W requests up to an error of at most 1 −
//! 1/(2n−2), and no algorithm can promise less. The usual "smooth weighted round robin" (nginx) has
//! no such bound and errs by more than 1 with many targets. Each worker counts for itself, which
//! costs no host call: errors below 1 each, N workers together err by less than N, and over whole
//! cycles of the weights not at all.
//!
//! **Random** and **split** cut the range [0, 1) into parts by weight, in their order. A draw hands
//! back what it did not use of the roll, so that one random number serves a split, the pool in it,
//! and the retries.
//!
//! **Hashed** is weighted rendezvous hashing (Thaler and Ravishankar, "Using name-based mappings to
//! increase hit rates", 1998; weights after Schindelhauer and Schomaker, "Weighted distributed hash
//! tables", 2005): each target draws an exponential variable from the hash of key and name, divided
//! by its weight, and the least wins. A target that goes away takes only its own keys along.
//!
//! It was measured against Maglev (Eisenbud et al., NSDI 2016; 65,537 entries and weights as in
//! Envoy) and rings (as in Envoy: 1024 points at least; or 160 points a target), with weights 1 to
//! 8 and 100,000 keys or more. χ² per degree of freedom is about 1 where keys are spread exactly by
//! weight and only their number errs. Moved are the keys that change their target when one is
//! removed, over those that had to.
//!
//! | | targets | χ²/df | moved | bytes for each pool | ns for each choice: median of 9 (least to most) |
//! |---|---|---|---|---|---|
//! | rendezvous | 3 | 0.7 | 1 | 24 | 121 (119 to 133) |
//! | | 20 | 1.2 | 1 | 160 | 395 (345 to 434) |
//! | | 200 | 1.0 | 1 | 1,600 | 946 (914 to 1,160) |
//! | | 2,000 | 1.0 | 1 | 16,000 | 13,416 (11,362 to 13,818) |
//! | | 10,000 | | | 80,000 | 56,867 (51,501 to 62,918) |
//! | Maglev | 3 | 1.0 | 1.00 | 262,148 | 21 (17 to 28) |
//! | | 20 | 0.9 | 1.09 | 262,148 | 23 (17 to 32) |
//! | | 200 | 1.0 | 2.44 | 262,148 | 18 (17 to 19) |
//! | | 2,000 | 1.1 | 10.7 | 262,148 | 21 (20 to 49) |
//! | ring of 1024 | 3 | 34 | 1.10 | 16,368 | 31 (31 to 32) |
//! | | 20 | 100 | 1.83 | 16,384 | 31 (29 to 42) |
//! | ring, 160 a target | 20 | 76 | 1.38 | 51,200 | 41 (28 to 44) |
//! | | 200 | 4.8 | 1.15 | 512,000 | 80 (65 to 211) |
//!
//! Rendezvous alone is exact and moves nothing needlessly, also where targets are not usable for a
//! while, without a table to build anew. Its price is a look at each target, which round robin pays
//! too: 941 ns for 200 targets and 116,301 ns for 10,000 in the same run. (Processor time of a
//! native build, on a busy machine: another run had about half for 2,000. The winner's times:
//! `cargo test --release -p pointsman-core time_of_a_hashed_choice -- --ignored --nocapture`.)

pub mod least;

use crate::http::key::KeyPart;
use crate::http::request::Request;
use crate::index::TargetIndex;
use crate::pool::Pool;
use crate::siphash::{SipWriter, mixed};
use std::net::IpAddr;

/// `balance` of a pool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Balance {
    /// Smooth and weighted: over any whole cycle of the weights each target gets exactly its share.
    /// The default.
    #[default]
    RoundRobin,
    /// Independent draws in proportion to the weights.
    Random,
    /// The target with the fewest requests in flight for its weight.
    LeastConnections,
    /// The target with the least of response time × requests in flight for its weight.
    LeastResponseTime,
    /// The target that the hash of this part of the request belongs to: `consistent_hash`, and
    /// `ip_hash` with the client's address. A request without the part is balanced as by
    /// [`Balance::RoundRobin`], so that such requests do not all end on one target. The part of a
    /// split is still the roll's choice.
    Hash(KeyPart),
}

impl Balance {
    /// Whether it looks at what goes on at the targets.
    pub fn is_by_load(&self) -> bool {
        matches!(self, Balance::LeastConnections | Balance::LeastResponseTime)
    }
}

/// How many further endpoints a request names for the proxy's retries. Envoy tries each once at
/// most, its default is one retry, and every address makes the header longer.
pub const RETRIES: usize = 3;

/// One worker's round robin over one pool.
#[derive(Debug)]
pub struct RoundRobin {
    turns: Vec<Turn>,
    /// The sum of the weights that take part.
    total: u64,
    /// How many targets take part.
    count: u64,
    /// The target that wins ties in this cycle; those after it follow in a ring.
    first: u64,
    /// The target that wins ties once the set has changed: the one after the last chosen.
    next_first: u64,
}

/// Where a target stands.
#[derive(Clone, Copy, Debug, Default)]
struct Turn {
    /// 0: takes no part.
    weight: u32,
    /// `total` times what the target should have got so far, less what it has got. Always within
    /// ±`total`, and 0 after every whole cycle.
    due: i64,
}

impl RoundRobin {
    /// For a pool. `rotation` is any number that differs between workers (a random one will do): it
    /// decides ties, so that not every worker begins with the same target.
    pub fn new(pool: &Pool, rotation: u64) -> RoundRobin {
        RoundRobin {
            turns: vec![Turn::default(); pool.targets.len()],
            total: 0,
            count: 0,
            first: 0,
            next_first: rotation % (pool.targets.len() as u64).max(1),
        }
    }

    /// The next target among those that take new requests and are `usable`. None: there is no such
    /// target.
    ///
    /// When that set changes, a new cycle begins, and ties go on after the last target chosen, so
    /// that even a set that changes with every request is served in turn.
    pub fn pick(
        &mut self,
        pool: &Pool,
        usable: &dyn Fn(TargetIndex) -> bool,
    ) -> Option<TargetIndex> {
        if self.follow(pool, usable) {
            self.total = self.turns.iter().map(|turn| u64::from(turn.weight)).sum();
            self.count = self.turns.iter().filter(|turn| turn.weight > 0).count() as u64;
            self.turns.iter_mut().for_each(|turn| turn.due = 0);
            self.first = self.next_first;
        }
        // In units of 1/(2n−2) of a request times `total`: a target may be served once it is due at
        // least 1 unit, and must be before it is due more than 2n−3 of them. Of those that may, the
        // one whose time is up first is served. A lone target, for which the unit does not exist,
        // is always due.
        let units = i128::from((2 * self.count).saturating_sub(2).max(1));
        let total = i128::from(self.total);
        let size = self.turns.len() as u64;
        let mut best: Option<(usize, i128, u32, u64)> = None;
        for (i, turn) in self.turns.iter_mut().enumerate() {
            if turn.weight == 0 {
                continue;
            }
            turn.due += i64::from(turn.weight);
            let due = units * i128::from(turn.due);
            if due < total {
                continue;
            }
            // The time that is left is `left / weight` requests, up to a factor that is the same
            // for all.
            let left = (units - 1) * total - due;
            let place = (i as u64 + size - self.first) % size;
            let sooner = best.is_none_or(|(_, least, weight, nearest)| {
                let (ours, theirs) = (left * i128::from(weight), least * i128::from(turn.weight));
                (ours, place) < (theirs, nearest)
            });
            if sooner {
                best = Some((i, left, turn.weight, place));
            }
        }
        let (chosen, ..) = best?;
        if let Some(turn) = self.turns.get_mut(chosen) {
            turn.due -= self.total as i64;
        }
        self.next_first = (chosen as u64 + 1) % size;
        Some(TargetIndex::new(chosen))
    }

    /// Takes the weights over. True: they changed.
    fn follow(&mut self, pool: &Pool, usable: &dyn Fn(TargetIndex) -> bool) -> bool {
        let mut changed = false;
        for (turn, (i, target)) in self.turns.iter_mut().zip(pool.indexed_targets()) {
            let weight = if target.takes_new() && usable(i) {
                target.weight
            } else {
                0
            };
            changed |= turn.weight != weight;
            turn.weight = weight;
        }
        changed
    }
}

/// The part of [0, 1) into which `roll` (in units of 2^−64) falls, where the parts lie side by side
/// in their order, each as wide as its share of the weights; and what remains of the roll, again
/// spread over [0, 2^64). None: all weights are 0.
///
/// Source: Lemire, "Fast random integer generation in an interval", 2019: a product in place of a
/// division.
pub fn pick_weighted(
    weights: impl Iterator<Item = u32> + Clone,
    roll: u64,
) -> Option<(usize, u64)> {
    let total: u64 = weights.clone().map(u64::from).sum();
    let mut rest = u128::from(roll) * u128::from(total);
    for (i, weight) in weights.enumerate() {
        let width = u128::from(weight) << 64;
        if rest < width {
            return Some((i, (rest / u128::from(weight)) as u64));
        }
        rest -= width;
    }
    None
}

/// `balance: random`: a draw by weight among the targets that take new requests and are `usable`,
/// and what remains of the roll. None: there is no such target.
pub fn random(
    pool: &Pool,
    usable: &dyn Fn(TargetIndex) -> bool,
    roll: u64,
) -> Option<(TargetIndex, u64)> {
    let weights = pool.indexed_targets().map(|(i, target)| {
        if target.takes_new() && usable(i) {
            target.weight
        } else {
            0
        }
    });
    let (chosen, rest) = pick_weighted(weights, roll)?;
    Some((TargetIndex::new(chosen), rest))
}

/// The targets to try after `chosen`, at most [`RETRIES`], in order: drawn by weight without
/// putting back, so that what a broken target leaves behind spreads over the others as new requests
/// do. Never one that takes nothing new.
pub fn retries(
    pool: &Pool,
    usable: &dyn Fn(TargetIndex) -> bool,
    chosen: TargetIndex,
    mut roll: u64,
) -> Vec<TargetIndex> {
    let mut order = Vec::with_capacity(RETRIES);
    while order.len() < RETRIES {
        let left = |i: TargetIndex| i != chosen && !order.contains(&i) && usable(i);
        let Some((next, rest)) = random(pool, &left, roll) else {
            break;
        };
        order.push(next);
        roll = rest;
    }
    order
}

/// The hash of a request's key for [`Hashed`], the same on every worker and every proxy with a pool
/// of this name. `client` is asked for the client's address where that is the key. None: the
/// request does not have this part.
pub fn key_hash(
    pool: &Pool,
    key: &KeyPart,
    request: &Request<'_>,
    client: &mut dyn FnMut() -> Option<IpAddr>,
) -> Option<u64> {
    let address = match key {
        KeyPart::ClientIp => client(),
        _ => None,
    };
    if !key.is_in(request, address) {
        return None;
    }
    // The key is no secret: every proxy must get the same hash.
    let mut hash = SipWriter::new(*b"pointsman by key");
    hash.write_field(pool.name.as_bytes());
    key.feed(request, address, &mut hash);
    Some(hash.finish())
}

/// Rendezvous hashing over one pool. It remembers nothing of requests; what it holds is the same in
/// every worker.
#[derive(Debug)]
pub struct Hashed {
    /// The hashes of the targets' names, in the pool's order.
    names: Box<[u64]>,
}

impl Hashed {
    /// For a pool.
    pub fn new(pool: &Pool) -> Hashed {
        let name = |name: &str| {
            let mut hash = SipWriter::new(*b"pointsman hashed");
            hash.write(name.as_bytes());
            hash.finish()
        };
        Hashed {
            names: pool
                .targets
                .iter()
                .map(|target| name(&target.name))
                .collect(),
        }
    }

    /// The target that a key's hash belongs to, among those that take new requests and are
    /// `usable`: each gets keys in proportion to its weight. It depends on the names of the targets
    /// and not on their order, and a target that is added, removed or given another weight moves no
    /// key but its own. None: there is no such target.
    pub fn pick(
        &self,
        pool: &Pool,
        usable: &dyn Fn(TargetIndex) -> bool,
        hash: u64,
    ) -> Option<TargetIndex> {
        let mut best: Option<(TargetIndex, (f64, u64))> = None;
        for ((i, target), name) in pool.indexed_targets().zip(&self.names) {
            if !(target.takes_new() && usable(i)) {
                continue;
            }
            let (bits, weight) = (mixed(hash ^ name), f64::from(target.weight));
            if best.is_some_and(|(_, (least, _))| at_least(bits) >= least * weight) {
                continue;
            }
            // Equal times are all but impossible; the name decides them, as it decides everything.
            let wait = (exponential(bits) / weight, *name);
            if best.is_none_or(|(_, least)| wait < least) {
                best = Some((i, wait));
            }
        }
        best.map(|(i, _)| i)
    }
}

/// A bound below [`exponential`] that costs next to nothing, so that of n targets only about ln n
/// need the logarithm: −ln(u) ≥ 1 − u. It is lower by one part in 2^40, which is far more than all
/// roundings together.
fn at_least(bits: u64) -> f64 {
    const SCALE: f64 = (1.0 - 1.0 / (1_u64 << 40) as f64) / (1_u64 << 52) as f64;
    (!bits >> 12) as f64 * SCALE
}

/// −ln(u) for the fraction u of 2^64 that the bits stand for: an exponential variable.
///
/// Written out in additions, multiplications and divisions, which IEEE 754 rounds the same way on
/// every machine; a library's `ln` may differ in its last bit between the proxy and `host-sim`, or
/// between two proxies.
fn exponential(bits: u64) -> f64 {
    // The middle of one of 2^52 intervals: never 0, never 1, and exact in an `f64`.
    let interval = bits >> 12;
    let odd = 2 * interval + 1;
    // u = odd / 2^53 = m / 2^shift with m in [√½, √2), so that nothing cancels where u is close to
    // 1.
    let mut shift = odd.leading_zeros() - 10;
    let mut m = (odd << shift) as f64 / (1_u64 << 53) as f64;
    if m > std::f64::consts::SQRT_2 {
        m /= 2.0;
        shift -= 1;
    }
    // ln m = 2·artanh z for z = (m − 1)/(m + 1), |z| < 0.172; the first term left out is below
    // 2^−53 of the sum.
    let z = (m - 1.0) / (m + 1.0);
    let square = z * z;
    let series = (0..10)
        .rev()
        .fold(0.0, |sum, k| sum * square + 1.0 / f64::from(2 * k + 1));
    f64::from(shift) * std::f64::consts::LN_2 - 2.0 * z * series
}

#[cfg(test)]
mod tests;
