//! The search for matches, one after the other, with their groups.
//!
//! It backtracks, and remembers which states of the NFA failed at which byte. What failed in one
//! search fails in the next one too, so all searches of one input together try each state at each
//! byte about once. (`a.*z|a` on `aaaa` would otherwise look at all that remains for each match.)

use super::assertion::holds;
use regex_automata::nfa::thompson::{NFA, State};
use regex_automata::util::primitives::StateID;

/// Of each state of an NFA, whether more than one way leads to it. A state that has one only is
/// tried again just when the state before it is, so it is enough to remember these: a way that comes
/// back to where it was goes through one of them.
pub(super) fn joins(nfa: &NFA) -> Box<[bool]> {
    let mut ways = vec![0_usize; nfa.states().len()];
    let mut lead_to = |state: StateID| {
        if let Some(ways) = ways.get_mut(state.as_usize()) {
            *ways += 1;
        }
    };
    for state in nfa.states() {
        match state {
            State::ByteRange { trans } => lead_to(trans.next),
            State::Sparse(sparse) => sparse.transitions.iter().for_each(|to| lead_to(to.next)),
            State::Dense(dense) => dense.transitions.iter().for_each(|to| lead_to(*to)),
            State::Look { next, .. } | State::Capture { next, .. } => lead_to(*next),
            State::Union { alternates } => alternates.iter().for_each(|to| lead_to(*to)),
            State::BinaryUnion { alt1, alt2 } => [*alt1, *alt2].into_iter().for_each(&mut lead_to),
            State::Fail | State::Match { .. } => {}
        }
    }
    ways.iter().map(|ways| *ways > 1).collect()
}

/// The searches of one input.
pub(super) struct Searches<'n, 'i> {
    nfa: &'n NFA,
    /// What [`joins`] says of it.
    joins: &'n [bool],
    input: &'i [u8],
    /// A bit for each state at each byte that was tried.
    tried: Vec<u64>,
    stack: Vec<Frame>,
    /// Where the groups of the last match begin and end.
    slots: Vec<Option<usize>>,
    /// How many steps are left.
    left: usize,
    /// How many were taken.
    pub(super) steps: usize,
}

enum Frame {
    Try { state: StateID, at: usize },
    Restore { slot: usize, value: Option<usize> },
}

impl<'n, 'i> Searches<'n, 'i> {
    /// None: what was tried would take more than [`TRIED_LIMIT`].
    pub(super) fn new(
        nfa: &'n NFA,
        joins: &'n [bool],
        input: &'i [u8],
    ) -> Option<Searches<'n, 'i>> {
        let bits = (input.len() + 1).checked_mul(nfa.states().len())?;
        (bits <= TRIED_LIMIT).then(|| Searches {
            nfa,
            joins,
            input,
            tried: vec![0; bits.div_ceil(64)],
            stack: Vec::new(),
            slots: vec![None; nfa.group_info().slot_len()],
            left: STEPS + STEPS_PER_BYTE * input.len(),
            steps: 0,
        })
    }

    /// The first match from here on: where it begins and ends. None: there is none, or the steps
    /// are used up.
    pub(super) fn next(&mut self, from: usize) -> Option<(usize, usize)> {
        let is_anchored = self.nfa.is_always_start_anchored();
        for start in from..=self.input.len() {
            if is_anchored && start > 0 {
                return None;
            }
            self.slots.fill(None);
            if let Some(end) = self.match_at(start) {
                for (slot, at) in self.slots.iter_mut().zip([start, end]) {
                    *slot = Some(at);
                }
                // A state on the way to this match did not fail. Searches go on from its end.
                self.forget(end);
                return Some((start, end));
            }
            if self.left == 0 {
                return None;
            }
        }
        None
    }

    /// Where a group of the last match begins and ends.
    pub(super) fn group(&self, number: usize) -> Option<(usize, usize)> {
        let at = |slot: usize| self.slots.get(slot).copied().flatten();
        Some((at(2 * number)?, at(2 * number + 1)?))
    }

    fn match_at(&mut self, start: usize) -> Option<usize> {
        self.stack.clear();
        self.stack.push(Frame::Try {
            state: self.nfa.start_anchored(),
            at: start,
        });
        while let Some(frame) = self.stack.pop() {
            match frame {
                Frame::Restore { slot, value } => {
                    if let Some(saved) = self.slots.get_mut(slot) {
                        *saved = value;
                    }
                }
                Frame::Try { state, at } => {
                    if let Some(end) = self.run(state, at) {
                        return Some(end);
                    }
                }
            }
        }
        None
    }

    /// Follows one way to its end, and puts the others on the stack.
    fn run(&mut self, mut state: StateID, mut at: usize) -> Option<usize> {
        loop {
            // Where the whole match begins and ends is known without slots, and no way comes back
            // to a state through these alone.
            if let State::Capture { next, slot, .. } = self.nfa.state(state)
                && slot.as_usize() < 2
            {
                state = *next;
                continue;
            }
            if self.left == 0 || self.try_again(state, at) {
                return None;
            }
            self.left -= 1;
            self.steps += 1;
            let after = self.input.get(at).copied();
            let to = match self.nfa.state(state) {
                State::ByteRange { trans } => after
                    .filter(|byte| trans.matches_byte(*byte))
                    .map(|_| trans.next),
                State::Sparse(sparse) => after.and_then(|byte| sparse.matches_byte(byte)),
                State::Dense(dense) => after.and_then(|byte| dense.matches_byte(byte)),
                State::Look { look, next } => {
                    let before = at.checked_sub(1).and_then(|at| self.input.get(at).copied());
                    state = holds(*look, before, after).then_some(*next)?;
                    continue;
                }
                State::Union { alternates } => {
                    let (first, others) = alternates.split_first()?;
                    let others = others.iter().rev();
                    self.stack
                        .extend(others.map(|state| Frame::Try { state: *state, at }));
                    state = *first;
                    continue;
                }
                State::BinaryUnion { alt1, alt2 } => {
                    self.stack.push(Frame::Try { state: *alt2, at });
                    state = *alt1;
                    continue;
                }
                State::Capture { next, slot, .. } => {
                    let slot = slot.as_usize();
                    if let Some(saved) = self.slots.get_mut(slot) {
                        let value = saved.replace(at);
                        self.stack.push(Frame::Restore { slot, value });
                    }
                    state = *next;
                    continue;
                }
                State::Fail => None,
                State::Match { .. } => return Some(at),
            };
            state = to?;
            at += 1;
        }
    }

    /// Whether the state was tried at this byte, as far as that has to be known. From now on it was.
    fn try_again(&mut self, state: StateID, at: usize) -> bool {
        if self.joins.get(state.as_usize()) == Some(&false) {
            return false;
        }
        let bit = at * self.nfa.states().len() + state.as_usize();
        match self.tried.get_mut(bit / 64) {
            Some(word) => {
                let mask = 1 << (bit % 64);
                let tried = *word & mask != 0;
                *word |= mask;
                tried
            }
            None => true,
        }
    }

    fn forget(&mut self, at: usize) {
        let states = self.nfa.states().len();
        let (mut bit, end) = (at * states, (at + 1) * states);
        while bit < end {
            let (word, first) = (bit / 64, bit % 64);
            let count = (end - bit).min(64 - first);
            if let Some(word) = self.tried.get_mut(word) {
                *word &= !(u64::MAX >> (64 - count) << first);
            }
            bit += count;
        }
    }
}

/// How many states the searches of one input may try, all together, and how many more for each of
/// its bytes. A pattern without a choice takes two for a byte that it replaces, whatever the length;
/// one that looks ahead (`a.*z|a`) takes seven, and replaces all of 8 KiB. For 16 KiB it is about
/// half a millisecond.
const STEPS: usize = 33 * 1024;
const STEPS_PER_BYTE: usize = 3;

/// The bits for what was tried: 512 KiB. 16 KiB of input are fine with 256 states, 1 KiB with 4,096.
const TRIED_LIMIT: usize = 4 * 1024 * 1024;
