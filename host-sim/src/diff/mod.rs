//! What a change of the configuration does: which requests the new routes treat differently, with
//! a request for each difference, and what else differs.
//!
//! Routes are compared by regions: the requests that one block of the old table and one block of
//! the new one take. Each region that is treated differently has a request that both tables were
//! asked about, or is proved to be empty, or is named as not decided ([`regions`]). Two things are
//! left out: values that are longer than `max_value`, and requests on whose conditions the filter
//! spends all of its steps.

mod constraint;
pub mod log;
mod regions;
pub mod report;
mod settings;
mod solver;
#[cfg(test)]
mod tests;
mod treatment;

use crate::exchange::ExchangeRequest;
use constraint::Table;
use pointsman_core::config::Config;
use pointsman_core::config::value::Value;
use pointsman_core::index::RouteIndex;
use regions::{Blocks, Region, Regions};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use treatment::Treatment;

use crate::check::example::command;
pub use treatment::odds;

/// What differs between two configurations.
#[derive(Debug, Default)]
pub struct Diff {
    /// Requests that are treated differently, by their routes.
    pub differences: Vec<Difference>,
    /// What differs outside of routes.
    pub settings: Vec<SettingChange>,
    /// What could not be decided; empty: [`Diff::differences`] are all that there are.
    pub not_complete: Vec<String>,
}

/// Requests that two tables treat differently in the same way.
#[derive(Debug)]
pub struct Difference {
    /// The old table's route. None: no route.
    pub old_route: Option<String>,
    /// The new table's route. None: no route.
    pub new_route: Option<String>,
    /// What differs.
    pub changes: Vec<Change>,
    /// One of the requests.
    pub example: ExchangeRequest,
}

/// One thing that differs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Change {
    /// `route`, `action`, `rate_limits`, …
    pub key: &'static str,
    /// As it was, in words; empty: it was not given.
    pub old: String,
    /// As it is now.
    pub new: String,
}

/// A difference outside of routes.
#[derive(Clone, Debug, PartialEq)]
pub struct SettingChange {
    /// Of what.
    pub owner: Owner,
    /// What differs.
    pub what: String,
    /// What follows from it.
    pub follows: Option<String>,
    /// A request that it concerns.
    pub example: Option<ExchangeRequest>,
}

/// What a difference is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owner {
    /// A pool.
    Pool(String),
    /// A rate limit.
    Limit(String),
    /// The configuration as a whole.
    Whole,
}

impl SettingChange {
    fn of(owner: Owner, what: String, follows: Option<String>) -> SettingChange {
        SettingChange {
            owner,
            what,
            follows,
            example: None,
        }
    }
}

impl Diff {
    /// Whether nothing differs, as far as is known.
    pub fn is_empty(&self) -> bool {
        self.differences.is_empty() && self.settings.is_empty() && self.not_complete.is_empty()
    }
}

/// Two configurations that are compared.
pub struct Tables<'c> {
    old: Blocks<'c>,
    new: Blocks<'c>,
    /// By places.
    treatments: [Vec<Kind>; 2],
}

/// What is done with a block's requests, and a number that is the same for the same.
struct Kind {
    treatment: Treatment,
    number: usize,
}

/// Which difference a request falls into, of [`Diff::differences`] and [`Diff::settings`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Falls {
    /// The place of the difference. None: the tables treat the request alike.
    pub difference: Option<Option<usize>>,
    /// The places of those settings that it concerns.
    pub settings: Vec<usize>,
}

impl<'c> Tables<'c> {
    /// The tables of two configurations, each with the tree that it was read from.
    pub fn new(old: (&'c Config, &Value), new: (&'c Config, &Value)) -> Tables<'c> {
        let blocks = [
            Blocks::new(old.0, new.0, Table::Old),
            Blocks::new(new.0, old.0, Table::New),
        ];
        let mut numbers: BTreeMap<String, usize> = BTreeMap::new();
        let mut kinds = |blocks: &Blocks<'_>, (config, tree): (&Config, &Value)| {
            let mut all = Vec::new();
            for at in 0..=blocks.none() {
                let place = blocks.places.get(at);
                let place = place.map(|(route, number)| (RouteIndex::new(*route), *number));
                let treatment = Treatment::of(config, tree, place);
                let next = numbers.len();
                let number = *numbers.entry(treatment.identity()).or_insert(next);
                all.push(Kind { treatment, number });
            }
            all
        };
        let treatments = [kinds(&blocks[0], old), kinds(&blocks[1], new)];
        let [old, new] = blocks;
        Tables {
            old,
            new,
            treatments,
        }
    }

    /// What tells differences apart: the two treatments. None: they are the same.
    fn key(&self, old: usize, new: usize) -> Option<(usize, usize)> {
        let key = (
            self.treatments[0][old].number,
            self.treatments[1][new].number,
        );
        (key.0 != key.1).then_some(key)
    }

    /// Every difference.
    pub fn compare(&self, settings: Vec<SettingChange>) -> (Diff, Keys) {
        let regions = RefCell::new(Regions::new(&self.old, &self.new));
        let found = RefCell::new(BTreeSet::new());
        let mut undecided: BTreeMap<(usize, usize), (usize, usize, String)> = BTreeMap::new();
        let is_wanted = |old: usize, new: usize| {
            let key = self.key(old, new);
            key.is_some_and(|key| !found.borrow().contains(&key))
        };
        let look = |old: usize, new: usize| {
            let Some(key) = self.key(old, new) else {
                return;
            };
            match regions.borrow_mut().look(Some(old), Some(new)) {
                Region::Found => {
                    found.borrow_mut().insert(key);
                }
                Region::Empty => {}
                Region::Unknown(why) => {
                    undecided.entry(key).or_insert((old, new, why));
                }
            }
        };
        let all = regions::pairs(&self.old, &self.new, is_wanted, look);
        let mut regions = regions.into_inner();
        let mut diff = Diff {
            settings,
            ..Diff::default()
        };
        for setting in &mut diff.settings {
            setting.example = self.example_of(&setting.owner, &mut regions);
        }
        let mut keys = BTreeMap::new();
        // In the order of the old table, and of one route's the simplest request.
        for ((old, new), example) in regions.examples {
            let Some(key) = self.key(old, new) else {
                continue;
            };
            keys.entry(key).or_insert_with(|| {
                diff.differences.push(self.difference(old, new, example));
                diff.differences.len() - 1
            });
        }
        let mut reasons: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (key, (old, new, why)) in undecided {
            if !keys.contains_key(&key) {
                let name = |table: usize, at: usize| {
                    let route = &self.treatments[table][at].treatment.route;
                    route.clone().unwrap_or_else(|| "no route".to_owned())
                };
                let pair = format!("{} -> {}", name(0, old), name(1, new));
                reasons.entry(why).or_default().push(pair);
            }
        }
        for (why, pairs) in reasons {
            const MAX_SHOWN: usize = 5;
            let more = pairs.len().saturating_sub(MAX_SHOWN);
            let mut shown = pairs[..pairs.len() - more].join(", ");
            if more > 0 {
                shown += &format!(" and {more} more");
            }
            diff.not_complete.push(format!("{shown}: {why}"));
        }
        diff.not_complete.extend(all.err());
        (diff, Keys(keys))
    }

    fn difference(&self, old: usize, new: usize, example: ExchangeRequest) -> Difference {
        let [one, other] = [(0, old), (1, new)].map(|(table, at)| &self.treatments[table][at]);
        let pairs = one.treatment.parts.iter().zip(&other.treatment.parts);
        let changes = pairs.filter(|(one, other)| one.meaning != other.meaning);
        let changes = changes.map(|(one, other)| Change {
            key: one.key,
            old: one.words.clone(),
            new: other.words.clone(),
        });
        Difference {
            old_route: one.treatment.route.clone(),
            new_route: other.treatment.route.clone(),
            changes: changes.collect(),
            example,
        }
    }

    /// A request that a pool or a limit has to do with.
    fn example_of(&self, owner: &Owner, regions: &mut Regions<'_, '_>) -> Option<ExchangeRequest> {
        for (table, blocks) in [(1, &self.new), (0, &self.old)] {
            for at in 0..blocks.none() {
                if !self.concerns(owner, table, at) {
                    continue;
                }
                let place = |of: usize| (of == table).then_some(at);
                if let Region::Found = regions.look(place(0), place(1)) {
                    let mut all = regions.examples.iter();
                    let is_it = |((old, new), _): &(&(usize, usize), &ExchangeRequest)| {
                        *[old, new][table] == at
                    };
                    return all.find(is_it).map(|(_, request)| request.clone());
                }
            }
        }
        None
    }

    fn concerns(&self, owner: &Owner, table: usize, at: usize) -> bool {
        let treatment = &self.treatments[table][at].treatment;
        match owner {
            Owner::Pool(name) => treatment.pools.contains(name),
            Owner::Limit(name) => treatment.limits.contains(name),
            Owner::Whole => false,
        }
    }

    /// Which differences a request falls into. `Some(None)`: it is treated differently, and that is
    /// none of the differences.
    pub fn falls(&self, request: &ExchangeRequest, diff: &Diff, keys: &Keys) -> Falls {
        let (old, new) = (self.old.take(request), self.new.take(request));
        let key = self.key(old, new);
        let concerns = |setting: &SettingChange| {
            self.concerns(&setting.owner, 0, old) || self.concerns(&setting.owner, 1, new)
        };
        let settings = diff.settings.iter().enumerate();
        let settings = settings.filter(|(_, setting)| concerns(setting));
        Falls {
            difference: key.map(|key| keys.0.get(&key).copied()),
            settings: settings.map(|(at, _)| at).collect(),
        }
    }
}

/// Which difference stands where.
#[derive(Debug, Default)]
pub struct Keys(BTreeMap<(usize, usize), usize>);

/// Everything that differs.
pub fn compare(old: (&Config, &Value), new: (&Config, &Value)) -> Diff {
    let settings = settings::changes(old, new);
    Tables::new(old, new).compare(settings).0
}

/// What differs outside of routes.
pub fn settings(old: (&Config, &Value), new: (&Config, &Value)) -> Vec<SettingChange> {
    settings::changes(old, new)
}
