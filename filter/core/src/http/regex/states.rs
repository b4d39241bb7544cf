//! A pattern as sets of the states of its NFA: those that the bytes so far lead to.
//!
//! Which set follows which is written into a table where the pattern is loaded ([`Table`]), as long
//! as the table stays small; a value then costs one look-up for each byte. Of the few patterns
//! whose table would not be small, such as `.*a.{20}b`, the sets are computed for each value
//! ([`Sets::matches`]), and each state of a set is a step.

use super::assertion::holds;
use super::program::{Leads, Program};
use crate::http::steps::Allowed;
use fnv::FnvHashMap;
use regex_automata::nfa::thompson::NFA;

/// The sets of a pattern, and memory to compute them in.
pub(super) struct Sets<'p> {
    program: &'p Program,
    /// For each state the last set that has it.
    has: Vec<u32>,
    /// The number of the set that is being made.
    number: u32,
    stack: Vec<u32>,
}

/// States without those that only lead on, in order; and the byte before them, as far as an
/// assertion can tell. None: there is none.
type Set = (Vec<u32>, Option<u8>);

impl<'p> Sets<'p> {
    pub(super) fn new(program: &'p Program) -> Sets<'p> {
        Sets {
            program,
            has: vec![0; program.len()],
            number: 0,
            stack: Vec::new(),
        }
    }

    /// Whether the pattern matches the whole value. None: that took more steps than there were.
    pub(super) fn matches(&mut self, value: &[u8], allowed: &mut Allowed<'_>) -> Option<bool> {
        let mut set = self.start();
        let (mut next, mut before) = (Vec::new(), None);
        for byte in value {
            if !allowed.take(SET_STEPS * (1 + set.len())) {
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

    fn start(&mut self) -> Vec<u32> {
        let mut set = Vec::new();
        self.begin();
        self.add(self.program.start, &mut set);
        set
    }

    /// The set behind one more byte.
    fn step(&mut self, set: &[u32], before: Option<u8>, byte: u8, next: &mut Vec<u32>) {
        // Between two bytes only assertions of others than the ends can hold.
        let is_asserted = before.is_none() || self.program.looks_around;
        let here = match is_asserted {
            true => self.asserted(set, before, Some(byte)),
            false => None,
        };
        next.clear();
        self.begin();
        for state in here.as_deref().unwrap_or(set) {
            let program = self.program;
            let to = program.state(*state).and_then(|state| match state.leads {
                Leads::Bytes(bytes) => bytes.over(byte),
                Leads::Ranges { from, to } => program.over(from, to, byte),
                _ => None,
            });
            if let Some(to) = to {
                self.add(to, next);
            }
        }
    }

    /// Whether the value may end here.
    fn ends(&mut self, set: &[u32], before: Option<u8>) -> bool {
        let here = self.asserted(set, before, None);
        let here = here.as_deref().unwrap_or(set).iter();
        let leads = |state: &u32| self.program.state(*state).map(|state| state.leads);
        here.clone()
            .any(|state| matches!(leads(state), Some(Leads::Match)))
    }

    /// The set with what its assertions lead to, where they hold. None: none holds.
    fn asserted(&mut self, set: &[u32], before: Option<u8>, after: Option<u8>) -> Option<Vec<u32>> {
        let program = self.program;
        let leads = |state: u32| match program.state(state)?.leads {
            Leads::Assertion { look, next } if holds(look, before, after) => Some(next),
            _ => None,
        };
        if set.iter().all(|state| leads(*state).is_none()) {
            return None;
        }
        let mut all = set.to_vec();
        self.begin();
        for state in set {
            self.mark(*state);
        }
        let mut at = 0;
        while let Some(state) = all.get(at) {
            if let Some(next) = leads(*state) {
                self.add(next, &mut all);
            }
            at += 1;
        }
        Some(all)
    }

    /// Begins another set, which has no state.
    fn begin(&mut self) {
        self.number = self.number.wrapping_add(1);
        if self.number == 0 {
            self.has.fill(0);
            self.number = 1;
        }
    }

    /// Adds a state, or the states that it leads to without a byte.
    fn add(&mut self, mut state: u32, set: &mut Vec<u32>) {
        loop {
            if !self.mark(state)
                && let Some(found) = self.program.state(state)
            {
                match found.leads {
                    Leads::Split { first, second } => {
                        self.stack.push(second);
                        state = first;
                        continue;
                    }
                    Leads::Ways { from, to } => self.stack.extend(self.program.ways(from, to)),
                    Leads::Group { next, .. } => {
                        state = next;
                        continue;
                    }
                    Leads::Nowhere => {}
                    Leads::Bytes(_)
                    | Leads::Ranges { .. }
                    | Leads::Assertion { .. }
                    | Leads::Match => set.push(state),
                }
            }
            match self.stack.pop() {
                Some(other) => state = other,
                None => return,
            }
        }
    }

    /// Marks a state as one of the set. Returns whether it was.
    fn mark(&mut self, state: u32) -> bool {
        match self.has.get_mut(state as usize) {
            Some(last) => std::mem::replace(last, self.number) == self.number,
            None => true,
        }
    }

    /// The byte before a state, so far as an assertion can tell: few of them make few states.
    fn kind(&self, byte: u8) -> Option<u8> {
        let looks_around = self.program.looks_around;
        Some(match byte {
            b'\n' | b'\r' if looks_around => byte,
            b'_' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' if looks_around => b'a',
            _ => b' ',
        })
    }
}

/// What a state of a set costs, in steps.
const SET_STEPS: usize = 10;

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
    /// The table of a pattern. None: it would be larger than [`TABLE_LIMIT`], or take longer.
    pub(super) fn new(nfa: &NFA, program: &Program) -> Option<Table> {
        let mut sets = Sets::new(program);
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
        let mut start = sets.start();
        start.sort_unstable();
        let mut known: Vec<Set> = vec![(Vec::new(), None), (start, None)];
        numbers.extend(known.iter().cloned().zip(0..));
        let mut next: Vec<u16> = vec![0; stride];
        let mut ends = vec![false];
        let (mut steps, mut at) = (0, 1);
        let mut to = Vec::new();
        while let Some((set, before)) = known.get(at).cloned() {
            ends.push(sets.ends(&set, before));
            for byte in &bytes {
                sets.step(&set, before, *byte, &mut to);
                // A set is the same in whatever order its states were found.
                to.sort_unstable();
                steps += 1 + set.len() + program.len() / 16;
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
        let step = |at: usize, byte: &u8| {
            let class = self.classes.get(usize::from(*byte));
            let entry = at + usize::from(class.copied().unwrap_or_default());
            usize::from(self.next.get(entry).copied().unwrap_or_default())
        };
        // The empty set leads to itself, so that it need not be looked for behind each byte.
        let (chunks, rest) = value.as_chunks::<8>();
        let mut at = self.stride;
        for chunk in chunks {
            at = chunk.iter().fold(at, step);
            if at == 0 {
                return false;
            }
        }
        at = rest.iter().fold(at, step);
        self.ends.get(at / self.stride).copied().unwrap_or_default()
    }
}

/// The entries of one table, of two bytes each. A list of forty words in a value takes 5,000.
const TABLE_LIMIT: usize = 16 * 1024;

/// The states that are looked at to make one table: a millisecond or two.
const BUILD_LIMIT: usize = 256 * 1024;
