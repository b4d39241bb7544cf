//! The output of the demo: sections, checks and bars.

use anyhow::{Context, Result};
use host_sim::share;
use std::time::{Duration, Instant};

/// The width of a bar for 100 %, in characters.
const BAR: usize = 30;

/// Prints checks and counts them.
#[derive(Default)]
pub(super) struct DemoReport {
    good: usize,
    bad: usize,
    requests: usize,
}

/// Does one step of the preparation, and prints its result and how long it took.
pub(super) fn step<T>(name: &str, act: impl FnOnce() -> Result<(String, T)>) -> Result<T> {
    let start = Instant::now();
    let (what, made) = act().context(name.to_owned())?;
    say!(
        "  ✓ {name:<9} {what} ({:.1} s)",
        start.elapsed().as_secs_f64()
    );
    Ok(made)
}

impl DemoReport {
    /// Begins a section of the output.
    pub(super) fn section(&self, title: &str) {
        say!("\n{title}");
    }

    /// Prints whether something is as it should be.
    pub(super) fn check(&mut self, good: bool, what: &str) {
        let mark = if good { '✓' } else { '✗' };
        say!("  {mark} {what}");
        *(if good { &mut self.good } else { &mut self.bad }) += 1;
    }

    /// Prints how many of `total` requests went to `name`, and whether the number differs from
    /// `expected` by at most `tolerance`.
    pub(super) fn share(
        &mut self,
        name: &str,
        count: usize,
        total: usize,
        expected: usize,
        tolerance: usize,
    ) {
        let bar = "█".repeat((count * BAR).div_ceil(total.max(1)));
        let percent = share::percent(count as f64 / total.max(1) as f64, 1);
        let give_or_take = if tolerance == 0 {
            String::new()
        } else {
            format!(" ± {tolerance}")
        };
        let what = format!(
            "{name:<10} {count:>5} {percent:>8}  {bar:<BAR$}  due {expected}{give_or_take}"
        );
        self.check(count.abs_diff(expected) <= tolerance, &what);
    }

    /// Counts requests that were sent.
    pub(super) fn sent(&mut self, requests: usize) {
        self.requests += requests;
    }

    /// Prints the last line. Returns whether all checks were good.
    pub(super) fn finish(&self, took: Duration) -> bool {
        let Self {
            good,
            bad,
            requests,
        } = self;
        let seconds = took.as_secs_f64();
        say!(
            "\n{good} of {} as they should be; {requests} requests in {seconds:.1} s.",
            good + bad
        );
        *bad == 0
    }
}
