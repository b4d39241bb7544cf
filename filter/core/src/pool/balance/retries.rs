//! The endpoints that a request names beside its own, for the proxy's retries.

use crate::index::TargetIndex;
use crate::pool::balance::consistent_hash::ConsistentHash;
use crate::pool::balance::random;
use crate::pool::candidates::Candidates;
use std::ops::Deref;

/// The endpoints that a request names beside its own, in the order in which they are tried. A request
/// keeps them, so the list is no allocation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retries {
    list: [TargetIndex; RETRIES],
    count: usize,
}

impl Retries {
    /// Adds one, if there is room.
    pub fn push(&mut self, target: TargetIndex) {
        if let Some(place) = self.list.get_mut(self.count) {
            *place = target;
            self.count += 1;
        }
    }
}

impl Deref for Retries {
    type Target = [TargetIndex];

    fn deref(&self) -> &[TargetIndex] {
        self.list.get(..self.count).unwrap_or_default()
    }
}

impl FromIterator<TargetIndex> for Retries {
    /// As many as there is room for.
    fn from_iter<I: IntoIterator<Item = TargetIndex>>(targets: I) -> Retries {
        let mut retries = Retries::default();
        targets.into_iter().for_each(|target| retries.push(target));
        retries
    }
}

/// Fills up the list with candidates, to at most [`RETRIES`]: drawn by weight without putting back,
/// so that what a broken target leaves behind spreads over the others as new requests do. What is
/// drawn is no longer a candidate.
pub fn fill(retries: &mut Retries, candidates: &mut Candidates, mut random: u64) {
    while retries.len() < RETRIES {
        let Some((next, rest)) = random::pick(candidates, random) else {
            break;
        };
        retries.push(next);
        candidates.remove(next);
        random = rest;
    }
}

/// The same by a hash: the targets that a key or a session belongs to one after the other, as those
/// before are no candidates any more. So each key has one next target, and stays there when its
/// own is ejected.
pub fn fill_by_hash(
    retries: &mut Retries,
    candidates: &mut Candidates,
    hashed: &ConsistentHash,
    hash: u64,
) {
    while retries.len() < RETRIES {
        let Some(next) = hashed.pick(candidates, hash) else {
            break;
        };
        retries.push(next);
        candidates.remove(next);
    }
}

/// How many further endpoints a request names. Envoy tries each once at most, its default is one
/// retry, and every address makes the header longer.
pub const RETRIES: usize = 3;

#[cfg(test)]
mod tests;
