//! What a pattern was compiled to, in the form that is run: small states side by side. The library's
//! own are made for its engines; to walk over them took four times as many instructions.

use regex_automata::nfa::thompson::{NFA, State as Compiled, Transition};
use regex_automata::util::look::{Look, LookSet};
use regex_automata::util::primitives::StateID;

/// The states of a pattern.
#[derive(Debug)]
pub(super) struct Program {
    states: Box<[State]>,
    /// Where the bytes lead of the states that tell several apart: ascending, without overlaps.
    ranges: Box<[Bytes]>,
    /// Where states with several ways lead, in the order of preference.
    ways: Box<[u32]>,
    /// The first state of a match that begins where one is tried.
    pub(super) start: u32,
    /// How many places of groups a match has.
    pub(super) slots: usize,
    /// Whether a match begins nowhere but where the input does.
    pub(super) is_anchored: bool,
    /// Whether more than the ends of the input is asserted.
    pub(super) looks_around: bool,
    /// The bytes that a match can begin with. None: it can be empty.
    first: Option<[u64; 4]>,
}

/// A state.
#[derive(Clone, Copy, Debug)]
pub(super) struct State {
    pub(super) leads: Leads,
    /// Whether more than one way leads to it. One that has a single way is tried again just when
    /// the state before it is, so a search remembers these alone: a way that comes back to where it
    /// was goes through one of them.
    pub(super) is_join: bool,
}

/// Where a state leads.
#[derive(Clone, Copy, Debug)]
pub(super) enum Leads {
    /// Over one of these bytes.
    Bytes(Bytes),
    /// Over each byte elsewhere: a part of the program's ranges.
    Ranges { from: u32, to: u32 },
    /// To two others, without a byte; the first one is preferred.
    Split { first: u32, second: u32 },
    /// To several others: a part of the program's ways.
    Ways { from: u32, to: u32 },
    /// On, and a group begins or ends here.
    Group { slot: u32, next: u32 },
    /// On, where the assertion holds.
    Assertion { look: Look, next: u32 },
    /// Nowhere: the pattern matches.
    Match,
    /// Nowhere.
    Nowhere,
}

/// Bytes from one to another lead to a state.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bytes {
    pub(super) low: u8,
    pub(super) high: u8,
    pub(super) next: u32,
}

impl Bytes {
    /// Where a byte leads.
    #[inline]
    pub(super) fn over(self, byte: u8) -> Option<u32> {
        (self.low..=self.high).contains(&byte).then_some(self.next)
    }
}

impl Program {
    pub(super) fn new(nfa: &NFA) -> Program {
        let (mut ranges, mut ways) = (Vec::new(), Vec::new());
        let states = nfa.states().iter();
        let states: Box<[State]> = states
            .map(|state| State {
                leads: converted(nfa, state, &mut ranges, &mut ways),
                is_join: false,
            })
            .collect();
        let ends = LookSet::singleton(Look::Start).insert(Look::End);
        let mut program = Program {
            states,
            ranges: ranges.into(),
            ways: ways.into(),
            start: skip_groups(nfa, nfa.start_anchored().as_u32()),
            slots: nfa.group_info().slot_len(),
            is_anchored: nfa.is_always_start_anchored(),
            looks_around: !nfa.look_set_any().subtract(ends).is_empty(),
            first: None,
        };
        program.first = program.first_bytes();
        program.mark_joins();
        program
    }

    /// How many states there are.
    pub(super) fn len(&self) -> usize {
        self.states.len()
    }

    /// What it takes, in bytes: the same on every host.
    pub(super) fn memory(&self) -> usize {
        PROGRAM_MEMORY + 16 * self.states.len() + 8 * self.ranges.len() + 4 * self.ways.len()
    }

    /// A state. There is one of each number that a state leads to.
    #[inline]
    pub(super) fn state(&self, number: u32) -> Option<&State> {
        self.states.get(number as usize)
    }

    /// Where a byte leads.
    #[inline]
    pub(super) fn over(&self, from: u32, to: u32, byte: u8) -> Option<u32> {
        let ranges = self.ranges(from, to).iter();
        ranges.copied().find(|range| byte <= range.high)?.over(byte)
    }

    /// The ranges of a state.
    pub(super) fn ranges(&self, from: u32, to: u32) -> &[Bytes] {
        let ranges = self.ranges.get(from as usize..to as usize);
        ranges.unwrap_or_default()
    }

    /// The ways of a state.
    pub(super) fn ways(&self, from: u32, to: u32) -> &[u32] {
        let ways = self.ways.get(from as usize..to as usize);
        ways.unwrap_or_default()
    }

    /// Whether a match can begin with this byte. None: there is none, where the input ends.
    #[inline]
    pub(super) fn can_begin(&self, byte: Option<u8>) -> bool {
        match (&self.first, byte) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(first), Some(byte)) => {
                let word = first.get(usize::from(byte / 64));
                word.is_some_and(|word| word >> (byte % 64) & 1 == 1)
            }
        }
    }

    /// The bytes over which the states lead on that the start leads to without one.
    fn first_bytes(&self) -> Option<[u64; 4]> {
        let mut first = [0; 4];
        let mut add = |bytes: &Bytes| {
            for byte in bytes.low..=bytes.high {
                if let Some(word) = first.get_mut(usize::from(byte / 64)) {
                    *word |= 1_u64 << (byte % 64);
                }
            }
        };
        let mut seen = vec![false; self.states.len()];
        let mut stack = vec![self.start];
        while let Some(number) = stack.pop() {
            if std::mem::replace(seen.get_mut(number as usize)?, true) {
                continue;
            }
            match self.state(number)?.leads {
                Leads::Bytes(bytes) => add(&bytes),
                Leads::Ranges { from, to } => self.ranges(from, to).iter().for_each(&mut add),
                Leads::Split { first, second } => stack.extend([first, second]),
                Leads::Ways { from, to } => stack.extend(self.ways(from, to)),
                Leads::Group { next, .. } | Leads::Assertion { next, .. } => stack.push(next),
                Leads::Match => return None,
                Leads::Nowhere => {}
            }
        }
        Some(first)
    }

    fn mark_joins(&mut self) {
        let mut ways = vec![0_usize; self.states.len()];
        let mut lead_to = |state: u32| {
            if let Some(ways) = ways.get_mut(state as usize) {
                *ways += 1;
            }
        };
        // A match that is tried leads there.
        lead_to(self.start);
        for state in &self.states {
            match state.leads {
                Leads::Bytes(bytes) => lead_to(bytes.next),
                Leads::Ranges { from, to } => {
                    let ranges = self.ranges(from, to).iter();
                    ranges.for_each(|range| lead_to(range.next));
                }
                Leads::Assertion { next, .. } | Leads::Group { next, .. } => lead_to(next),
                Leads::Ways { from, to } => {
                    self.ways(from, to).iter().for_each(|to| lead_to(*to));
                }
                Leads::Split { first, second } => {
                    [first, second].into_iter().for_each(&mut lead_to);
                }
                Leads::Nowhere | Leads::Match => {}
            }
        }
        for (state, ways) in self.states.iter_mut().zip(ways) {
            state.is_join = ways > 1;
        }
    }
}

fn converted(nfa: &NFA, state: &Compiled, ranges: &mut Vec<Bytes>, ways: &mut Vec<u32>) -> Leads {
    let on = |to: u32| skip_groups(nfa, to);
    let bytes = |transition: &Transition| Bytes {
        low: transition.start,
        high: transition.end,
        next: on(transition.next.as_u32()),
    };
    match state {
        Compiled::ByteRange { trans } => Leads::Bytes(bytes(trans)),
        Compiled::Sparse(sparse) => {
            let from = length(ranges);
            ranges.extend(sparse.transitions.iter().map(bytes));
            Leads::Ranges {
                from,
                to: length(ranges),
            }
        }
        Compiled::Dense(dense) => {
            let from = length(ranges);
            ranges.extend(runs(&dense.transitions).map(|run| Bytes {
                next: on(run.next),
                ..run
            }));
            Leads::Ranges {
                from,
                to: length(ranges),
            }
        }
        Compiled::Look { look, next } => Leads::Assertion {
            look: *look,
            next: on(next.as_u32()),
        },
        Compiled::Union { alternates } => {
            let from = length(ways);
            ways.extend(alternates.iter().map(|to| on(to.as_u32())));
            Leads::Ways {
                from,
                to: length(ways),
            }
        }
        Compiled::BinaryUnion { alt1, alt2 } => Leads::Split {
            first: on(alt1.as_u32()),
            second: on(alt2.as_u32()),
        },
        Compiled::Capture { next, slot, .. } => Leads::Group {
            slot: slot.as_usize().try_into().unwrap_or(u32::MAX),
            next: on(next.as_u32()),
        },
        Compiled::Match { .. } => Leads::Match,
        Compiled::Fail => Leads::Nowhere,
    }
}

/// The bytes of a state that has an entry for each byte; the entry 0 leads nowhere.
fn runs(entries: &[StateID]) -> impl Iterator<Item = Bytes> {
    let of_byte = (0..=u8::MAX).zip(entries);
    let mut led = of_byte.filter(|(_, to)| **to != StateID::ZERO).peekable();
    std::iter::from_fn(move || {
        let (low, to) = led.next()?;
        let mut high = low;
        while let Some((byte, _)) = led.next_if(|(byte, next)| *byte == high + 1 && *next == to) {
            high = byte;
        }
        Some(Bytes {
            low,
            high,
            next: to.as_u32(),
        })
    })
}

/// Where a state leads beyond those that say where the whole match begins and ends, which is known
/// without them. No way comes back to a state through these alone.
fn skip_groups(nfa: &NFA, mut state: u32) -> u32 {
    while let Some(Compiled::Capture { next, slot, .. }) = nfa.states().get(state as usize)
        && slot.as_usize() < 2
    {
        state = next.as_u32();
    }
    state
}

fn length<T>(of: &[T]) -> u32 {
    of.len().try_into().unwrap_or(u32::MAX)
}

/// What it takes besides its states, in bytes.
const PROGRAM_MEMORY: usize = 128;
