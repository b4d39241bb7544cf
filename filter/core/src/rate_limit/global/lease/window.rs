//! What an engine tells of its window, and how long a token of that window can be used.

use super::super::wire::Response;
use super::PACE;
use crate::time::Nanos;

/// How far the clocks of a proxy and of an engine that tells whole seconds may be apart: so long
/// before and after a second begins, nothing is bought of it and no token of it is used.
pub const CLOCK_SKEW: Nanos = Nanos::from_millis(10);

/// What the engine tells of when its window ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Told {
    /// Nothing, or that it is over.
    #[default]
    Nothing,
    /// How long it lasts at least.
    Least,
    /// In how many seconds of its clock, counted from the beginning of the present one.
    Seconds,
}

impl Told {
    /// How much of what is left of a window a token of it can be used: a clock that was set back by
    /// less than a [`PACE`] may not have been noticed. Seconds are counted with [`CLOCK_SKEW`].
    pub(super) fn usable(self, length: Nanos) -> Nanos {
        match self {
            Told::Least => length.checked_sub(PACE).unwrap_or_default(),
            Told::Nothing | Told::Seconds => length,
        }
    }
}

/// What an answer tells of the window, and how long it lasts from `asked` on, as far as is known.
pub(super) fn told(answer: &Response, asked: Nanos) -> (Told, Nanos) {
    let reset = answer.statuses.first().and_then(|status| status.reset);
    match (reset, answer.reset_at_least) {
        (Some(reset), _) if is_seconds(reset) => (Told::Seconds, of_clock(reset, asked)),
        (Some(least), _) | (None, Some(least)) if least > Nanos::ZERO => (Told::Least, least),
        _ => (Told::Nothing, Nanos::ZERO),
    }
}

/// Whether all clocks that are not more than [`CLOCK_SKEW`] apart are in the same second.
pub(super) fn is_clear(now: Nanos) -> bool {
    let gone = in_second(now);
    gone >= CLOCK_SKEW && gone + CLOCK_SKEW < Nanos::SECOND
}

/// envoyproxy/ratelimit tells whole seconds.
fn is_seconds(reset: Nanos) -> bool {
    reset.get().is_multiple_of(Nanos::SECOND.get())
}

/// Of a window that is so long from its end, counted from the beginning of the present second of
/// the engine's clock.
fn of_clock(reset: Nanos, asked: Nanos) -> Nanos {
    let gone = in_second(asked) + CLOCK_SKEW;
    match is_clear(asked) {
        true => reset.checked_sub(gone).unwrap_or_default(),
        // It may be of the second before.
        false => Nanos::ZERO,
    }
}

fn in_second(now: Nanos) -> Nanos {
    Nanos::new(now.get() % Nanos::SECOND.get())
}
