//! `consistent_hash` and `ip_hash`: the target that a key of the request belongs to, on every
//! worker and every proxy.
//!
//! It is weighted rendezvous hashing (Thaler and Ravishankar, "Using name-based mappings to
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
//! Rendezvous alone is exact and moves nothing needlessly, also where targets are no candidates for
//! a while, without a table to build anew. Its price is a look at each target, which round robin
//! pays too: 941 ns for 200 targets and 116,301 ns for 10,000 in the same run. (Processor time of a
//! native build, on a busy machine: another run had about half for 2,000. The winner's times:
//! `cargo test --release -p pointsman-core time_of_a_hashed_choice -- --ignored --nocapture`.)

use crate::http::key::KeyPart;
use crate::http::request::Request;
use crate::index::TargetIndex;
use crate::pool::Pool;
use crate::pool::candidates::Candidates;
use crate::siphash::{SipWriter, mixed};
use std::net::IpAddr;

/// Rendezvous hashing over one pool. It remembers nothing of requests; what it holds is the same in
/// every worker.
#[derive(Debug)]
pub struct ConsistentHash {
    /// The hashes of the targets' names, in the pool's order.
    names: Box<[u64]>,
}

impl ConsistentHash {
    /// For a pool.
    pub fn new(pool: &Pool) -> ConsistentHash {
        let name = |name: &str| {
            let mut hash = SipWriter::new(*b"pointsman hashed");
            hash.write(name.as_bytes());
            hash.finish()
        };
        ConsistentHash {
            names: pool
                .targets
                .iter()
                .map(|target| name(&target.name))
                .collect(),
        }
    }

    /// The candidate that a key's hash belongs to: each gets keys in proportion to its weight. It
    /// depends on the names of the targets and not on their order, and a target that is added,
    /// removed or given another weight moves no key but its own. None: there is no candidate.
    pub fn pick(&self, candidates: &Candidates, hash: u64) -> Option<TargetIndex> {
        let mut best: Option<(TargetIndex, (f64, u64))> = None;
        for (target, weight) in candidates.iter() {
            let name = self.names.get(target.get())?;
            let (bits, weight) = (mixed(hash ^ name), f64::from(weight));
            if best.is_some_and(|(_, (least, _))| lower_bound(bits) >= least * weight) {
                continue;
            }
            // Equal times are all but impossible; the name decides them, as it decides everything.
            let wait = (exponential(bits) / weight, *name);
            if best.is_none_or(|(_, least)| wait < least) {
                best = Some((target, wait));
            }
        }
        best.map(|(target, _)| target)
    }
}

/// The hash of a request's key for [`ConsistentHash`], the same on every worker and every proxy
/// with a pool of this name. `client` is asked for the client's address where that is the key.
/// None: the request does not have this part.
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

/// A bound below [`exponential`] that costs next to nothing, so that of n targets only about ln n
/// need the logarithm: −ln(u) ≥ 1 − u. It is lower by one part in 2^40, which is far more than all
/// roundings together.
fn lower_bound(bits: u64) -> f64 {
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
