//! Finds a request that meets every condition of some blocks and that other blocks do not match, or
//! proves that there is none.
//!
//! Of each subject only the values count that the conditions tell apart ([`atoms`]), so there are
//! finitely many cases. A block that must not match has a condition that fails: the search tries
//! each of them, the block with the fewest ways first.

use super::constraint::{Atom, Constraint, Subject, ValueTest, atoms};
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

/// How many cases are tried. Tables as people write them need some dozens.
const MAX_CASES: usize = 20_000;

/// The most sets of values that are kept.
const MAX_KEPT: usize = 10_000;

/// What was found.
#[derive(Debug)]
pub(super) enum Solution<'c> {
    /// Values of the subjects that matter.
    Values(BTreeMap<Subject<'c>, Vec<Atom>>),
    /// There is no such request.
    Nothing,
    /// It is not known whether there is one, because of this.
    Unknown(String),
}

/// The values that were told apart before.
#[derive(Default)]
pub(super) struct Solver<'c> {
    known: HashMap<(Subject<'c>, Vec<usize>), Option<Rc<Values>>>,
}

/// The values of one subject that some tests tell apart.
struct Values {
    atoms: Vec<Atom>,
    /// For each test, by its [`ValueTest::id`], which of them it accepts.
    accepted: HashMap<usize, Bits>,
}

/// What a subject may still be.
#[derive(Clone)]
enum Domain {
    /// Its one value is one of these.
    One(Bits),
    /// Each of its values is one of `allowed`; for each of `wanted` there is one in it.
    Several { allowed: Bits, wanted: Vec<Bits> },
}

type State<'c> = BTreeMap<Subject<'c>, Domain>;

impl<'c> Solver<'c> {
    /// A request that all of `required` and none of `forbidden` match.
    pub(super) fn solve(
        &mut self,
        required: &[&[Constraint<'c>]],
        forbidden: &[&[Constraint<'c>]],
    ) -> Solution<'c> {
        let mut tests: BTreeMap<Subject<'c>, Vec<ValueTest<'c>>> = BTreeMap::new();
        for constraint in required.iter().chain(forbidden).copied().flatten() {
            tests
                .entry(constraint.subject)
                .or_default()
                .push(constraint.test);
        }
        let mut values = BTreeMap::new();
        for (subject, mut tests) in tests {
            tests.sort_by_key(ValueTest::id);
            tests.dedup_by_key(|test| test.id());
            match self.values(subject, &tests) {
                Some(known) => values.insert(subject, known),
                None => return Solution::Unknown(too_large(&subject, &tests)),
            };
        }
        let mut state: State<'c> = values
            .iter()
            .map(|(subject, values)| {
                let allowed = Bits::all(values.atoms.len());
                let domain = match subject.is_one() {
                    true => Domain::One(allowed),
                    false => Domain::Several {
                        allowed,
                        wanted: Vec::new(),
                    },
                };
                (*subject, domain)
            })
            .collect();
        for constraint in required.iter().copied().flatten() {
            let accepted = &values[&constraint.subject].accepted[&constraint.test.id()];
            match restricted(&state[&constraint.subject], constraint, accepted, true) {
                Some(domain) => state.insert(constraint.subject, domain),
                None => return Solution::Nothing,
            };
        }
        let mut search = Search {
            values: &values,
            cases_left: MAX_CASES,
        };
        match search.find(state, forbidden.to_vec()) {
            Found::State(state) => Solution::Values(
                state
                    .iter()
                    .map(|(subject, domain)| (*subject, chosen(domain, &values[subject].atoms)))
                    .collect(),
            ),
            Found::Nothing => Solution::Nothing,
            Found::GaveUp => {
                Solution::Unknown("too many earlier routes overlap in too many ways".to_owned())
            }
        }
    }

    fn values(&mut self, subject: Subject<'c>, tests: &[ValueTest<'c>]) -> Option<Rc<Values>> {
        if self.known.len() > MAX_KEPT {
            self.known.clear();
        }
        let key = (subject, tests.iter().map(ValueTest::id).collect());
        let compute = || {
            let atoms = atoms(&subject, tests)?;
            let accepted = tests.iter().map(|test| {
                let accepts = atoms.iter().map(|atom| test.accepts(atom));
                (test.id(), Bits::of(accepts))
            });
            let accepted = accepted.collect();
            Some(Rc::new(Values { atoms, accepted }))
        };
        self.known.entry(key).or_insert_with(compute).clone()
    }
}

fn too_large(subject: &Subject<'_>, tests: &[ValueTest<'_>]) -> String {
    let mut patterns: Vec<_> = tests.iter().filter_map(ValueTest::pattern).collect();
    patterns.sort();
    patterns.dedup();
    let more = patterns.len().saturating_sub(3);
    patterns.truncate(3);
    let more = match more {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!(
        "of {subject} not every case could be looked at: {}{more}",
        patterns.join(", ")
    )
}

/// A domain in which the condition holds, or does not. None: there is nothing left of it.
fn restricted(
    domain: &Domain,
    constraint: &Constraint<'_>,
    accepted: &Bits,
    holds: bool,
) -> Option<Domain> {
    let is_present = |test: &ValueTest<'_>| {
        use pointsman_core::route::condition::Text;
        match test {
            ValueTest::Text(Text::Present(present)) => Some(*present),
            _ => None,
        }
    };
    let holds = constraint.holds == holds;
    match domain {
        Domain::One(values) => {
            let left = match holds {
                true => values.and(accepted),
                false => values.without(accepted),
            };
            (!left.is_empty()).then_some(Domain::One(left))
        }
        Domain::Several { allowed, wanted } => {
            let (accepted, wants_one) = match is_present(&constraint.test) {
                Some(present) => (Bits::all(allowed.len), present == holds),
                None => (accepted.clone(), holds),
            };
            let (mut allowed, mut wanted) = (allowed.clone(), wanted.clone());
            match wants_one {
                true => wanted.push(accepted),
                false => allowed = allowed.without(&accepted),
            }
            let mut can_be = wanted.iter().map(|wanted| wanted.and(&allowed));
            let is_possible = match constraint.subject.is_at_most_one() {
                false => can_be.all(|values| !values.is_empty()),
                true => {
                    let all = wanted.iter().fold(allowed.clone(), |all, it| all.and(it));
                    wanted.is_empty() || !all.is_empty()
                }
            };
            if is_possible && constraint.subject.is_at_most_one() && !wanted.is_empty() {
                let all = wanted.iter().fold(allowed.clone(), |all, it| all.and(it));
                wanted = vec![all];
            }
            is_possible.then_some(Domain::Several { allowed, wanted })
        }
    }
}

/// Whether the condition fails for every request of a domain.
fn fails_always(domain: &Domain, constraint: &Constraint<'_>, accepted: &Bits) -> bool {
    // What is left where it holds is nothing; or a value that it forbids is wanted.
    if restricted(domain, constraint, accepted, true).is_none() {
        return true;
    }
    let Domain::Several { allowed, wanted } = domain else {
        return false;
    };
    let ValueTest::Text(text) = constraint.test else {
        return false;
    };
    use pointsman_core::route::condition::Text;
    let forbids = match text {
        Text::Present(present) => *present != constraint.holds,
        _ => !constraint.holds,
    };
    let accepted = match text {
        Text::Present(_) => Bits::all(allowed.len),
        _ => accepted.clone(),
    };
    let is_forbidden = |wanted: &Bits| wanted.and(allowed).without(&accepted).is_empty();
    forbids && wanted.iter().any(is_forbidden)
}

fn chosen(domain: &Domain, atoms: &[Atom]) -> Vec<Atom> {
    match domain {
        Domain::One(values) => values
            .first()
            .map(|at| atoms[at].clone())
            .into_iter()
            .collect(),
        Domain::Several { allowed, wanted } => {
            let mut chosen: Vec<usize> = Vec::new();
            for wanted in wanted {
                let values = wanted.and(allowed);
                if !chosen.iter().any(|at| values.has(*at)) {
                    // An empty value is hard to see.
                    let visible = |at: &usize| atoms[*at] != Atom::Bytes(Vec::new());
                    let first = values.iter().find(visible).or(values.first());
                    chosen.extend(first);
                }
            }
            chosen.into_iter().map(|at| atoms[at].clone()).collect()
        }
    }
}

struct Search<'s, 'c> {
    values: &'s BTreeMap<Subject<'c>, Rc<Values>>,
    cases_left: usize,
}

enum Found<'c> {
    State(State<'c>),
    Nothing,
    GaveUp,
}

impl<'c> Search<'_, 'c> {
    /// Makes every block of `left` fail.
    fn find(&mut self, state: State<'c>, mut left: Vec<&[Constraint<'c>]>) -> Found<'c> {
        let Some(cases_left) = self.cases_left.checked_sub(1) else {
            return Found::GaveUp;
        };
        self.cases_left = cases_left;
        let accepted = |it: &Constraint<'c>| &self.values[&it.subject].accepted[&it.test.id()];
        left.retain(|block| {
            let fails = |it: &Constraint<'c>| fails_always(&state[&it.subject], it, accepted(it));
            !block.iter().any(fails)
        });
        let ways = |block: &[Constraint<'c>]| -> Vec<(Subject<'c>, Domain)> {
            let ways = block.iter().filter_map(|it| {
                let domain = restricted(&state[&it.subject], it, accepted(it), false)?;
                Some((it.subject, domain))
            });
            ways.collect()
        };
        let all = left.iter().enumerate().map(|(at, block)| (at, ways(block)));
        let Some((at, ways)) = all.min_by_key(|(_, ways)| ways.len()) else {
            return Found::State(state);
        };
        left.swap_remove(at);
        for (subject, domain) in ways {
            let mut next = state.clone();
            next.insert(subject, domain);
            match self.find(next, left.clone()) {
                Found::Nothing => {}
                found => return found,
            }
        }
        Found::Nothing
    }
}

/// A set of small numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Bits {
    len: usize,
    words: Vec<u64>,
}

impl Bits {
    fn all(len: usize) -> Bits {
        Bits::of((0..len).map(|_| true))
    }

    fn of(bits: impl Iterator<Item = bool>) -> Bits {
        let (mut len, mut words) = (0, Vec::new());
        for bit in bits {
            if len % 64 == 0 {
                words.push(0);
            }
            words[len / 64] |= u64::from(bit) << (len % 64);
            len += 1;
        }
        Bits { len, words }
    }

    fn and(&self, other: &Bits) -> Bits {
        self.with(other, |one, other| one & other)
    }

    fn without(&self, other: &Bits) -> Bits {
        self.with(other, |one, other| one & !other)
    }

    fn with(&self, other: &Bits, of: fn(u64, u64) -> u64) -> Bits {
        let words = self.words.iter().zip(&other.words);
        Bits {
            len: self.len,
            words: words.map(|(one, other)| of(*one, *other)).collect(),
        }
    }

    fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }

    fn has(&self, at: usize) -> bool {
        self.words[at / 64] >> (at % 64) & 1 == 1
    }

    fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.len).filter(|at| self.has(*at))
    }

    fn first(&self) -> Option<usize> {
        self.iter().next()
    }
}
