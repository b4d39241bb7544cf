//! A pattern as sets of the states of its NFA: those that the bytes so far lead to.
//!
//! Which set follows which is written into a table where the pattern is loaded ([`Table`]), as long
//! as the table stays small; a value then costs one look-up for each byte. Of the few patterns
//! whose table would not be small, such as `.*a.{20}b`, the sets are computed for each value
//! ([`Sets::matches`]), and each state of a set is a step.

use super::assertion::holds;
use crate::http::steps::Allowed;
use fnv::FnvHashMap;
use regex_automata::nfa::thompson::{NFA, State};
use regex_automata::util::look::{Look, LookSet};
use regex_automata::util::primitives::StateID;

/// The sets of an NFA, and memory to compute them in.
pub(super) struct Sets<'n> {
    nfa: &'n NFA,
    /// Whether more than the ends of the value are asked for: what a byte before was then matters.
    looks_around: bool,
    /// Which states the set that is being made has.
    has: Vec<bool>,
    stack: Vec<StateID>,
}

/// States without those that only lead on, in order; and the byte before them, as far as an
/// assertion can tell. None: there is none.
type Set = (Vec<StateID>, Option<u8>);

impl<'n> Sets<'n> {
    pub(super) fn new(nfa: &'n NFA) -> Sets<'n> {
        let ends = LookSet::singleton(Look::Start).insert(Look::End);
        Sets {
            nfa,
            looks_around: !nfa.look_set_any().subtract(ends).is_empty(),
            has: vec![false; nfa.states().len()],
            stack: Vec::new(),
        }
    }

    /// Whether the pattern matches the whole value. None: that took more steps than there were.
    pub(super) fn matches(&mut self, value: &[u8], allowed: &mut Allowed<'_>) -> Option<bool> {
        let (mut set, mut before) = self.start();
        let mut next = Vec::new();
        for byte in value {
            if !allowed.take(SET_STEPS * (1 + set.len()) + self.has.len() / 16) {
                return None;
            }
            self.step(&set, before, *byte, &mut next);
            std::mem::swap(&mut set, &mut next);
            before = Some(*byte);
            if set.is_empty() {
                return Some(false);
            }
        }
        Some(self.ends(&set, before))
    }

    fn start(&mut self) -> Set {
        let mut set = Vec::new();
        self.add(self.nfa.start_anchored(), &mut set);
        self.sort(&mut set);
        (set, None)
    }

    /// The set behind one more byte.
    fn step(&mut self, set: &[StateID], before: Option<u8>, byte: u8, next: &mut Vec<StateID>) {
        let here = self.asserted(set, before, Some(byte));
        next.clear();
        for state in here.as_deref().unwrap_or(set) {
            let to = match self.nfa.state(*state) {
                State::ByteRange { trans } => trans.matches_byte(byte).then_some(trans.next),
                State::Sparse(sparse) => sparse.matches_byte(byte),
                State::Dense(dense) => dense.matches_byte(byte),
                _ => None,
            };
            if let Some(to) = to {
                self.add(to, next);
            }
        }
        self.sort(next);
    }

    /// Whether the value may end here.
    fn ends(&mut self, set: &[StateID], before: Option<u8>) -> bool {
        let here = self.asserted(set, before, None);
        let here = here.as_deref().unwrap_or(set).iter();
        here.copied()
            .any(|state| matches!(self.nfa.state(state), State::Match { .. }))
    }

    /// The set with what its assertions lead to, where they hold. None: none holds.
    fn asserted(
        &mut self,
        set: &[StateID],
        before: Option<u8>,
        after: Option<u8>,
    ) -> Option<Vec<StateID>> {
        let nfa = self.nfa;
        let leads = |state: StateID| match nfa.state(state) {
            State::Look { look, next } if holds(*look, before, after) => Some(*next),
            _ => None,
        };
        if set.iter().all(|state| leads(*state).is_none()) {
            return None;
        }
        let mut all = set.to_vec();
        for state in set {
            self.mark(*state, true);
        }
        let mut at = 0;
        while let Some(state) = all.get(at) {
            if let Some(next) = leads(*state) {
                self.add(next, &mut all);
            }
            at += 1;
        }
        self.sort(&mut all);
        Some(all)
    }

    /// Adds a state, or the states that it leads to without a byte. What is in the set is marked
    /// until [`Sets::sort`].
    fn add(&mut self, state: StateID, set: &mut Vec<StateID>) {
        self.stack.push(state);
        while let Some(state) = self.stack.pop() {
            if self.mark(state, true) {
                continue;
            }
            match self.nfa.state(state) {
                State::Union { alternates } => self.stack.extend(alternates.iter().copied()),
                State::BinaryUnion { alt1, alt2 } => self.stack.extend([*alt1, *alt2]),
                State::Capture { next, .. } => self.stack.push(*next),
                State::Fail => {}
                State::ByteRange { .. }
                | State::Sparse(_)
                | State::Dense(_)
                | State::Look { .. }
                | State::Match { .. } => set.push(state),
            }
        }
    }

    /// Marks a state, or takes its mark away. Returns what it was.
    fn mark(&mut self, state: StateID, has: bool) -> bool {
        match self.has.get_mut(state.as_usize()) {
            Some(mark) => std::mem::replace(mark, has),
            None => true,
        }
    }

    fn sort(&mut self, set: &mut [StateID]) {
        // Those that only lead on are not in the set, and were marked too.
        self.has.fill(false);
        set.sort_unstable();
    }

    /// The byte before a state, so far as an assertion can tell: few of them make few states.
    fn kind(&self, byte: u8) -> Option<u8> {
        Some(match byte {
            b'\n' | b'\r' if self.looks_around => byte,
            b'_' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' if self.looks_around => b'a',
            _ => b' ',
        })
    }
}

/// What a state of a set costs, in steps.
const SET_STEPS: usize = 4;

/// Which set follows which, for the sets that a value can lead to.
pub(super) struct Table {
    /// Bytes that no pattern tells apart are of one class.
    classes: Box<[u8; 256]>,
    /// For each set one entry for each class: where the entries of the next set begin. Those of
    /// the empty set come first, and lead nowhere.
    next: Box<[u16]>,
    /// How many classes there are.
    stride: usize,
    /// For each set, whether the value may end there.
    ends: Box<[bool]>,
}

impl Table {
    /// The table of an NFA. None: it would be larger than [`TABLE_LIMIT`], or take longer.
    pub(super) fn new(nfa: &NFA) -> Option<Table> {
        let mut sets = Sets::new(nfa);
        let mut classes = Box::new([0; 256]);
        let mut bytes: Vec<u8> = Vec::new();
        let mut last = None;
        for (byte, class) in (0..=u8::MAX).zip(classes.iter_mut()) {
            *class = nfa.byte_classes().get(byte);
            if last.replace(*class) != Some(*class) {
                bytes.push(byte);
            }
        }
        // Classes are runs of bytes, numbered from 0.
        let stride = bytes.len();
        let mut numbers: FnvHashMap<Set, usize> = FnvHashMap::default();
        let mut known: Vec<Set> = vec![(Vec::new(), None), sets.start()];
        numbers.extend(known.iter().cloned().zip(0..));
        let mut next: Vec<u16> = vec![0; stride];
        let mut ends = vec![false];
        let (mut steps, mut at) = (0, 1);
        let mut to = Vec::new();
        while let Some((set, before)) = known.get(at).cloned() {
            ends.push(sets.ends(&set, before));
            for byte in &bytes {
                sets.step(&set, before, *byte, &mut to);
                steps += 1 + set.len() + sets.has.len() / 16;
                let key = match to.is_empty() {
                    true => (Vec::new(), None),
                    false => (to.clone(), sets.kind(*byte)),
                };
                let number = *numbers.entry(key).or_insert_with_key(|key| {
                    known.push(key.clone());
                    known.len() - 1
                });
                next.push(u16::try_from(number * stride).ok()?);
            }
            if next.len() > TABLE_LIMIT || steps > BUILD_LIMIT {
                return None;
            }
            at += 1;
        }
        Some(Table {
            classes,
            next: next.into(),
            stride,
            ends: ends.into(),
        })
    }

    /// What it takes, in bytes.
    pub(super) fn memory(&self) -> usize {
        self.classes.len() + 2 * self.next.len() + self.ends.len()
    }

    /// Whether the pattern matches the whole value.
    pub(super) fn matches(&self, value: &[u8]) -> bool {
        let mut at = self.stride;
        for byte in value {
            let class = self.classes.get(usize::from(*byte));
            let entry = at + usize::from(class.copied().unwrap_or_default());
            at = usize::from(self.next.get(entry).copied().unwrap_or_default());
            if at == 0 {
                return false;
            }
        }
        self.ends.get(at / self.stride).copied().unwrap_or_default()
    }
}

/// The entries of one table, of two bytes each. A list of forty words in a value takes 5,000.
const TABLE_LIMIT: usize = 16 * 1024;

/// The states that are looked at to make one table: a millisecond or two.
const BUILD_LIMIT: usize = 256 * 1024;
