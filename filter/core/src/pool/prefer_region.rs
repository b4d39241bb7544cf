//! Regions: the targets near a client go first.
//!
//! A header tells where the client is, and what that means is a list of regions. The first region
//! of the list that has a target for the request takes it, by the pool's own balance; health and
//! weights decide before nearness, so a region that is down is passed over and comes back by
//! itself. Sessions go before all of this: a client that moves does not lose its target.

use crate::http::request::Request;
use crate::index::TargetIndex;
use crate::pool::Pool;
use crate::pool::candidates::Candidates;

/// `prefer_region` of a pool. Every region in it is one of the pool's targets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreferRegion {
    /// The request header that tells where the client is. Lower case.
    pub header: Box<[u8]>,
    /// What its value means: the regions to try, in this order. Values compare byte by byte, and
    /// are sorted.
    pub map: Vec<(Box<[u8]>, Vec<Box<str>>)>,
    /// The regions for every other value, and for requests without the header.
    pub default: Vec<Box<str>>,
    /// The regions after those, in this order. Targets of regions that are named nowhere, or of
    /// none, come last.
    pub order: Vec<Box<str>>,
}

/// The regions of one pool, ready for use, as numbers from 1. Without `prefer_region` all targets
/// are in one region.
#[derive(Debug, Default)]
pub struct Regions {
    /// How many regions there are.
    count: usize,
    /// Of each target; 0: none.
    of: Box<[usize]>,
    /// For each of [`PreferRegion::map`], with the order after it.
    lists: Vec<Box<[usize]>>,
    /// For every other value.
    default: Box<[usize]>,
}

/// The targets that are nearest to one request.
#[derive(Clone, Copy, Debug)]
pub struct Near<'r> {
    of: &'r [usize],
    list: &'r [usize],
    /// The place in `list`; behind its end: all that are in none of its regions.
    place: usize,
}

impl Regions {
    /// For a pool.
    pub fn new(pool: &Pool) -> Regions {
        let Some(prefer) = &pool.prefer_region else {
            return Regions::default();
        };
        let mut names: Vec<&str> = Vec::new();
        let mut of = Vec::with_capacity(pool.targets.len());
        for target in &pool.targets {
            of.push(target.region.as_deref().map_or(0, |region| {
                let known = names.iter().position(|name| *name == region);
                1 + known.unwrap_or_else(|| {
                    names.push(region);
                    names.len() - 1
                })
            }));
        }
        let numbers = |regions: &[Box<str>]| {
            let all = regions.iter().chain(&prefer.order);
            all.filter_map(|region| Some(1 + names.iter().position(|name| *name == &**region)?))
                .collect()
        };
        Regions {
            count: names.len(),
            lists: prefer
                .map
                .iter()
                .map(|(_, regions)| numbers(regions))
                .collect(),
            default: numbers(&prefer.default),
            of: of.into(),
        }
    }

    /// How many numbers [`Near::number`] can give.
    pub fn numbers(&self) -> usize {
        self.count + 1
    }

    /// The targets that are as near to a request as the nearest candidate. None: there is no
    /// candidate.
    pub fn nearest(
        &self,
        pool: &Pool,
        request: &Request<'_>,
        candidates: &Candidates,
    ) -> Option<Near<'_>> {
        let list = match &pool.prefer_region {
            Some(prefer) => self.list(prefer, request),
            None => &[],
        };
        let mut near = Near {
            of: &self.of,
            list,
            place: 0,
        };
        let mut places = candidates.iter().map(|(target, _)| near.place_of(target));
        near.place = match list.is_empty() {
            true => places.next()?,
            false => places.min()?,
        };
        Some(near)
    }

    fn list(&self, prefer: &PreferRegion, request: &Request<'_>) -> &[usize] {
        let value = request.headers.first(&prefer.header);
        let meant = value.and_then(|value| {
            prefer
                .map
                .binary_search_by(|(known, _)| (**known).cmp(value))
                .ok()
        });
        meant
            .and_then(|at| self.lists.get(at))
            .unwrap_or(&self.default)
    }
}

impl Near<'_> {
    /// Whether no target is farther than any other.
    pub fn is_whole_pool(&self) -> bool {
        self.list.is_empty()
    }

    /// Whether a target is among the nearest.
    pub fn has(&self, target: TargetIndex) -> bool {
        self.place_of(target) == self.place
    }

    /// A number that stands for this set of targets.
    pub fn number(&self) -> usize {
        self.list.get(self.place).copied().unwrap_or_default()
    }

    fn place_of(&self, target: TargetIndex) -> usize {
        let region = self.of.get(target.get()).copied().unwrap_or_default();
        let place = self.list.iter().position(|listed| *listed == region);
        place.unwrap_or(self.list.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::headers::Headers;
    use crate::pool::candidates::tests::only;
    use crate::pool::{State, Target};
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn names(names: &[&str]) -> Vec<Box<str>> {
        names.iter().map(|name| (*name).into()).collect()
    }

    /// Two targets in each of three regions, and one in none.
    fn pool(prefers: bool) -> Pool {
        let target = |region: Option<&str>| Target {
            name: "t".into(),
            cluster: "c".into(),
            endpoint: None,
            weight: 1,
            state: State::Up,
            region: region.map(Into::into),
            max_in_flight: None,
        };
        let prefer_region = PreferRegion {
            header: b"x-geo"[..].into(),
            map: vec![
                (b"KR"[..].into(), names(&["seoul"])),
                (b"US"[..].into(), names(&["virginia", "seoul"])),
            ],
            default: names(&["paris"]),
            order: names(&["virginia"]),
        };
        let regions = ["seoul", "virginia", "paris"];
        Pool {
            targets: regions
                .iter()
                .flat_map(|region| [target(Some(region)), target(Some(region))])
                .chain([target(None)])
                .collect(),
            prefer_region: prefers.then_some(prefer_region),
            ..Pool::default()
        }
    }

    /// The nearest targets that are there, and their number.
    fn nearest(pool: &Pool, value: Option<&str>, usable: &[usize]) -> Option<(Vec<usize>, usize)> {
        let headers: Vec<_> = value.iter().map(|value| ("x-geo", *value)).collect();
        let headers = Headers::from_pairs(&headers);
        let regions = Regions::new(pool);
        let candidates = only(pool, |target| usable.contains(&target));
        let near = regions.nearest(pool, &Request::new(&headers), &candidates)?;
        assert_eq!(near.is_whole_pool(), pool.prefer_region.is_none());
        let has = pool
            .target_indices()
            .filter(|target| near.has(*target))
            .map(TargetIndex::get)
            .collect();
        assert!(near.number() < regions.numbers());
        Some((has, near.number()))
    }

    const ALL: &[usize] = &[0, 1, 2, 3, 4, 5, 6];

    #[test]
    fn the_first_region_with_a_usable_target_is_the_nearest() {
        let pool = pool(true);
        let (seoul, virginia, paris) = (vec![0, 1], vec![2, 3], vec![4, 5]);
        for (value, usable, expected) in [
            (Some("KR"), ALL, &seoul),
            (Some("KR"), &[1, 2], &seoul),
            // The order after those of the value, then all the others together.
            (Some("KR"), &[2, 3, 4, 6], &virginia),
            (Some("KR"), &[4, 6], &vec![4, 5, 6]),
            (Some("US"), ALL, &virginia),
            (Some("US"), &[0, 4, 6], &seoul),
            (Some("US"), &[6], &vec![4, 5, 6]),
            // The default for what the map does not have.
            (Some("kr"), ALL, &paris),
            (Some(""), ALL, &paris),
            (None, ALL, &paris),
            (None, &[0, 2], &virginia),
            (None, &[0, 6], &vec![0, 1, 6]),
        ] {
            let found = nearest(&pool, value, usable).map(|(has, _)| has);
            assert_eq!(found.as_ref(), Some(expected), "{value:?} {usable:?}");
        }
        assert_eq!(nearest(&pool, Some("KR"), &[]), None);
    }

    #[test]
    fn a_region_that_takes_nothing_new_is_passed_over() {
        let mut pool = pool(true);
        pool.targets[0].state = State::Draining;
        pool.targets[1].weight = 0;
        assert_eq!(nearest(&pool, Some("KR"), ALL).unwrap().0, [2, 3]);
        pool.targets[1].weight = 1;
        assert_eq!(nearest(&pool, Some("KR"), ALL).unwrap().0, [0, 1]);
    }

    #[test]
    fn each_region_has_a_number_of_its_own() {
        let pool = pool(true);
        let number = |value, usable: &[usize]| nearest(&pool, Some(value), usable).unwrap().1;
        let numbers = [
            number("KR", ALL),
            number("US", ALL),
            number("other", ALL),
            number("KR", &[6]),
        ];
        for (i, number) in numbers.iter().enumerate() {
            assert!(!numbers[..i].contains(number), "{numbers:?}");
        }
        assert_eq!(number("US", &[0]), number("KR", ALL));
    }

    #[test]
    fn without_a_preference_all_targets_are_near() {
        assert_eq!(
            nearest(&pool(false), Some("KR"), &[6]),
            Some((ALL.to_vec(), 0))
        );
        assert_eq!(nearest(&pool(false), None, &[]), None);
    }
}
