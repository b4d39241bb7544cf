//! What one request may cost.
//!
//! A step is about nine instructions of a worker, two nanoseconds or three: what a kind of work
//! takes in steps is what `host-sim bench --instructions --dear` counted of it. Whatever looks
//! at more than a fixed number of bytes counts its steps here, so that a test can tell what a
//! request costs without a clock; and what searches a value draws on an allowance, so that no
//! request costs many times another. Conditions on values of ordinary size cost nothing of the
//! allowance: however many routes there are, it is never used up by requests that are not long.

use std::cell::Cell;

/// What a proxy and this filter take for a request of which nothing is searched, in steps: 270,000
/// instructions.
pub const REQUEST: u64 = 30_000;

/// No request costs more than so many times an ordinary one, with 16 KiB of headers.
pub const TIMES: u64 = 10;

/// The longest value that `contains` and `regex` search, where the configuration does not say: half
/// of what the headers of a request may have at the shipped edge.
pub const DEFAULT_MAX_VALUE: u32 = 8 * 1024;

/// What one condition may take before it draws on the request's allowance: ordinary values are
/// shorter.
const FREE: u32 = 256;

/// What all conditions of a request may take beyond that, and what it takes to take its cookies and
/// its query apart: eleven patterns search the longest value. It is about five times what a request
/// takes of which nothing is searched; as much again goes into the proxy's own reading of 16 KiB.
const ALLOWANCE: u32 = 140_000;

/// The steps of one request.
#[derive(Clone, Debug)]
pub struct Steps {
    max_value: Cell<u32>,
    left: Cell<u32>,
    taken: Cell<u64>,
    skipped: Cell<bool>,
    run_out: Cell<bool>,
}

impl Default for Steps {
    fn default() -> Steps {
        Steps {
            max_value: Cell::new(DEFAULT_MAX_VALUE),
            left: Cell::new(ALLOWANCE),
            taken: Cell::new(0),
            skipped: Cell::new(false),
            run_out: Cell::new(false),
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

    /// Whether the allowance did not suffice once: what was not looked at then is not known.
    pub fn has_run_out(&self) -> bool {
        self.run_out.get()
    }

    /// Takes steps of the allowance before they are done. False: there are not so many left.
    #[must_use]
    pub fn draw(&self, steps: u32) -> bool {
        match self.left.get().checked_sub(steps) {
            Some(left) => self.left.set(left),
            None => {
                self.run_out.set(true);
                self.skipped.set(true);
                return false;
            }
        }
        true
    }

    /// Takes steps of the allowance for what has to be done, however many are left.
    pub fn spend(&self, steps: usize) {
        self.count(steps);
        let steps = u32::try_from(steps).unwrap_or(u32::MAX);
        self.left.set(self.left.get().saturating_sub(steps));
    }

    /// Whether a value of this length may be searched.
    pub fn admits(&self, length: usize) -> bool {
        let admits = length <= self.max_value.get() as usize;
        if !admits {
            self.skipped.set(true);
        }
        admits
    }

    /// What one condition may take.
    pub fn allow(&self) -> Allowed<'_> {
        Allowed {
            request: Some(self),
            free: FREE,
            is_used_up: false,
        }
    }
}

/// The steps of one condition.
#[derive(Debug)]
pub struct Allowed<'s> {
    request: Option<&'s Steps>,
    free: u32,
    is_used_up: bool,
}

impl Allowed<'_> {
    /// Without any bound: for tools, which have time.
    pub fn unbounded() -> Allowed<'static> {
        Allowed {
            request: None,
            free: 0,
            is_used_up: false,
        }
    }

    /// Whether a value of this length may be searched.
    pub fn admits(&mut self, length: usize) -> bool {
        self.request.is_none_or(|request| request.admits(length))
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
        self.is_used_up = !request.draw(beyond);
        if !self.is_used_up {
            self.free = self.free.saturating_sub(wanted);
            request.count(steps);
        }
        !self.is_used_up
    }

    /// Whether there were not so many steps left as were last to be taken.
    pub fn is_used_up(&self) -> bool {
        self.is_used_up
    }
}
