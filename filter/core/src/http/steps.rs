//! What one request may cost.
//!
//! A step is about what one byte of a value costs to search: a nanosecond or two. Whatever looks
//! at more than a fixed number of bytes counts its steps here, so that a test can tell what a
//! request costs without a clock; and what searches a value draws on an allowance, so that no
//! request costs many times another. Conditions on values of ordinary size cost nothing of the
//! allowance: however many routes there are, it is never used up by requests that are not long.

use std::cell::Cell;

/// The longest value that `contains` and `regex` search, where the configuration does not say: half
/// of what the headers of a request may have at the shipped edge.
pub const DEFAULT_MAX_VALUE: u32 = 8 * 1024;

/// What one condition may take before it draws on the request's allowance: ordinary values are
/// shorter.
const FREE: u32 = 512;

/// What all conditions of a request may take beyond that: the longest value, 64 times over. It is
/// about half a millisecond.
const ALLOWANCE: u32 = 512 * 1024;

/// The steps of one request.
#[derive(Clone, Debug)]
pub struct Steps {
    max_value: Cell<u32>,
    left: Cell<u32>,
    taken: Cell<u64>,
    skipped: Cell<bool>,
}

impl Default for Steps {
    fn default() -> Steps {
        Steps {
            max_value: Cell::new(DEFAULT_MAX_VALUE),
            left: Cell::new(ALLOWANCE),
            taken: Cell::new(0),
            skipped: Cell::new(false),
        }
    }
}

impl Steps {
    /// Sets the length in bytes above which a value is not searched.
    pub fn set_max_value(&self, bytes: u32) {
        self.max_value.set(bytes);
    }

    /// Counts steps of work whose bound is another.
    pub fn count(&self, steps: usize) {
        self.taken.set(self.taken.get().wrapping_add(steps as u64));
    }

    /// How many steps were taken so far.
    pub fn taken(&self) -> u64 {
        self.taken.get()
    }

    /// Whether a value was too long for a condition, or the allowance used up.
    pub fn has_skipped(&self) -> bool {
        self.skipped.get()
    }

    /// What one condition may take.
    pub fn allow(&self) -> Allowed<'_> {
        Allowed {
            request: Some(self),
            free: FREE,
        }
    }
}

/// The steps of one condition.
#[derive(Debug)]
pub struct Allowed<'s> {
    request: Option<&'s Steps>,
    free: u32,
}

impl Allowed<'_> {
    /// Without any bound: for tools, which have time.
    pub fn unbounded() -> Allowed<'static> {
        Allowed {
            request: None,
            free: 0,
        }
    }

    /// Whether a value of this length may be searched.
    pub fn admits(&mut self, length: usize) -> bool {
        let admits = |request: &Steps| length <= request.max_value.get() as usize;
        let admits = self.request.is_none_or(admits);
        if !admits {
            self.skip();
        }
        admits
    }

    /// Takes steps before they are done. False: there are not so many left, and the condition does
    /// not hold.
    #[must_use]
    pub fn take(&mut self, steps: usize) -> bool {
        let Some(request) = self.request else {
            return true;
        };
        let wanted = u32::try_from(steps).unwrap_or(u32::MAX);
        let beyond = wanted.saturating_sub(self.free);
        let left = request.left.get().checked_sub(beyond);
        match left {
            Some(left) => {
                self.free = self.free.saturating_sub(wanted);
                request.left.set(left);
                request.count(steps);
            }
            None => self.skip(),
        }
        left.is_some()
    }

    fn skip(&mut self) {
        if let Some(request) = self.request {
            request.skipped.set(true);
        }
    }
}
