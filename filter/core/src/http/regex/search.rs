//! The search for matches, one after the other, with their groups.
//!
//! It backtracks, and remembers which states of the NFA failed at which byte. What failed in one
//! search fails in the next one too, so all searches of one input together try each state at each
//! byte about once. (`a.*z|a` on `aaaa` would otherwise look at all that remains for each match.)

use super::assertion::holds;
use super::program::{Leads, Program};

/// The searches of one input.
pub(super) struct Searches<'p, 'i> {
    program: &'p Program,
    input: &'i [u8],
    /// A bit for each state at each byte that was tried.
    tried: Vec<u64>,
    stack: Vec<Frame>,
    /// Where the groups of the last match begin and end.
    slots: Vec<Option<usize>>,
    /// How many steps are left.
    left: usize,
}

enum Frame {
    Try { state: u32, at: usize },
    Restore { slot: u32, value: Option<usize> },
}

impl<'p, 'i> Searches<'p, 'i> {
    /// None: what was tried would take more than [`TRIED_LIMIT`].
    pub(super) fn new(program: &'p Program, input: &'i [u8]) -> Option<Searches<'p, 'i>> {
        let bits = (input.len() + 1).checked_mul(program.len())?;
        (bits <= TRIED_LIMIT).then(|| Searches {
            program,
            input,
            tried: vec![0; bits.div_ceil(64)],
            stack: Vec::new(),
            slots: vec![None; program.slots],
            left: STEPS,
        })
    }

    /// How many steps were taken.
    pub(super) fn steps(&self) -> usize {
        STEPS - self.left
    }

    /// The first match from here on: where it begins and ends. None: there is none, or the steps
    /// are used up.
    pub(super) fn next(&mut self, from: usize) -> Option<(usize, usize)> {
        for start in from..=self.input.len() {
            if self.program.is_anchored && start > 0 {
                return None;
            }
            if !self.program.can_begin(self.input.get(start).copied()) {
                continue;
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
        let mut found = self.run(self.program.start, start);
        while found.is_none()
            && let Some(frame) = self.stack.pop()
        {
            match frame {
                Frame::Restore { slot, value } => {
                    if let Some(saved) = self.slots.get_mut(slot as usize) {
                        *saved = value;
                    }
                }
                Frame::Try { state, at } => found = self.run(state, at),
            }
        }
        found
    }

    /// Follows one way to its end, and puts the others on the stack.
    fn run(&mut self, mut number: u32, mut at: usize) -> Option<usize> {
        let program = self.program;
        loop {
            let state = program.state(number)?;
            if self.left == 0 || (state.is_join && self.try_again(number, at)) {
                return None;
            }
            self.left -= 1;
            match state.leads {
                Leads::Bytes(bytes) => {
                    number = bytes.over(*self.input.get(at)?)?;
                    at += 1;
                }
                Leads::Ranges { from, to } => {
                    number = program.over(from, to, *self.input.get(at)?)?;
                    at += 1;
                }
                Leads::Split { first, second } => {
                    self.stack.push(Frame::Try { state: second, at });
                    number = first;
                }
                Leads::Ways { from, to } => {
                    let (first, others) = program.ways(from, to).split_first()?;
                    let others = others.iter().rev();
                    self.stack
                        .extend(others.map(|state| Frame::Try { state: *state, at }));
                    number = *first;
                }
                Leads::Group { slot, next } => {
                    if let Some(saved) = self.slots.get_mut(slot as usize) {
                        let value = saved.replace(at);
                        self.stack.push(Frame::Restore { slot, value });
                    }
                    number = next;
                }
                Leads::Assertion { look, next } => {
                    let before = at.checked_sub(1).and_then(|at| self.input.get(at).copied());
                    let after = self.input.get(at).copied();
                    number = holds(look, before, after).then_some(next)?;
                }
                Leads::Match => return Some(at),
                Leads::Nowhere => return None,
            }
        }
    }

    /// Whether a state was tried at this byte. From now on it was.
    fn try_again(&mut self, state: u32, at: usize) -> bool {
        let bit = at * self.program.len() + state as usize;
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
        let states = self.program.len();
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

/// How many states the searches of one input may try, all together. `^/old/(.*)$` takes two for a
/// byte, which is enough for 5 KiB; one that looks ahead for each match (`a.*z|a`) takes seven.
const STEPS: usize = 10 * 1024 + 64;

/// The bits for what was tried: 512 KiB. 16 KiB of input are fine with 256 states, 1 KiB with 4,096.
const TRIED_LIMIT: usize = 4 * 1024 * 1024;
