//! Time, in the two units that Pointsman counts in. Each has a type of its own, so that to give one
//! for the other does not compile.
//!
//! Arithmetic saturates: what would be before 0 is 0, and what would be after the last instant (in
//! the year 2554) is the last instant. So a clock that jumps cannot trap the VM, and "how long
//! since" is 0 where the clock was set back. Where that case needs an answer of its own, see
//! [`Nanos::checked_sub`].

use std::iter::Sum;
use std::ops::{Add, AddAssign, Div, Mul, Rem, Sub, SubAssign};

/// Nanoseconds: a duration, or an instant as the duration since 1970. One type serves for both,
/// because records hold both, and because every `now` is an instant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nanos(u64);

/// Whole seconds: a duration, or an instant as the duration since 1970. Cookies count in these.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seconds(u64);

impl Nanos {
    /// No time at all; as an instant, the beginning of 1970.
    pub const ZERO: Nanos = Nanos(0);
    /// The longest duration, some 584 years; as an instant, the last one.
    pub const MAX: Nanos = Nanos(u64::MAX);
    /// A microsecond.
    pub const MICROSECOND: Nanos = Nanos(1_000);
    /// A millisecond.
    pub const MILLISECOND: Nanos = Nanos(1_000_000);
    /// A second.
    pub const SECOND: Nanos = Nanos(1_000_000_000);

    /// So many nanoseconds.
    #[inline]
    pub const fn new(nanoseconds: u64) -> Nanos {
        Nanos(nanoseconds)
    }

    /// So many milliseconds, at most [`Nanos::MAX`].
    #[inline]
    pub const fn from_millis(milliseconds: u64) -> Nanos {
        Nanos::MILLISECOND.times(milliseconds)
    }

    /// So many seconds, at most [`Nanos::MAX`].
    #[inline]
    pub const fn from_secs(seconds: u64) -> Nanos {
        Nanos::SECOND.times(seconds)
    }

    /// The number of nanoseconds.
    #[inline]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// In whole seconds, rounded down.
    #[inline]
    pub const fn to_seconds(self) -> Seconds {
        Seconds(self.0 / Nanos::SECOND.0)
    }

    /// In seconds, for reports.
    #[inline]
    pub const fn as_secs_f64(self) -> f64 {
        self.0 as f64 / Nanos::SECOND.0 as f64
    }

    /// The sum. None: it is more than [`Nanos::MAX`].
    #[inline]
    pub const fn checked_add(self, other: Nanos) -> Option<Nanos> {
        match self.0.checked_add(other.0) {
            Some(sum) => Some(Nanos(sum)),
            None => None,
        }
    }

    /// How long since `earlier`. None: that is later.
    #[inline]
    pub const fn checked_sub(self, earlier: Nanos) -> Option<Nanos> {
        match self.0.checked_sub(earlier.0) {
            Some(rest) => Some(Nanos(rest)),
            None => None,
        }
    }

    /// So many times as long. None: that is longer than [`Nanos::MAX`].
    #[inline]
    pub const fn checked_mul(self, times: u64) -> Option<Nanos> {
        match self.0.checked_mul(times) {
            Some(product) => Some(Nanos(product)),
            None => None,
        }
    }

    /// An equal part, rounded down. None: of none.
    #[inline]
    pub const fn checked_div(self, parts: u64) -> Option<Nanos> {
        match self.0.checked_div(parts) {
            Some(part) => Some(Nanos(part)),
            None => None,
        }
    }

    /// The time between two instants, whichever is the earlier.
    #[inline]
    pub const fn abs_diff(self, other: Nanos) -> Nanos {
        Nanos(self.0.abs_diff(other.0))
    }

    /// How often `part` goes into it, rounded up. `part` is not 0.
    #[inline]
    pub const fn div_ceil(self, part: Nanos) -> u64 {
        self.0.div_ceil(part.0)
    }

    const fn times(self, times: u64) -> Nanos {
        Nanos(self.0.saturating_mul(times))
    }
}

impl Seconds {
    /// No time at all; as an instant, the beginning of 1970.
    pub const ZERO: Seconds = Seconds(0);

    /// So many seconds.
    #[inline]
    pub const fn new(seconds: u64) -> Seconds {
        Seconds(seconds)
    }

    /// The number of seconds.
    #[inline]
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl Add for Nanos {
    type Output = Nanos;

    #[inline]
    fn add(self, other: Nanos) -> Nanos {
        Nanos(self.0.saturating_add(other.0))
    }
}

impl AddAssign for Nanos {
    #[inline]
    fn add_assign(&mut self, other: Nanos) {
        *self = *self + other;
    }
}

impl Sub for Nanos {
    type Output = Nanos;

    #[inline]
    fn sub(self, other: Nanos) -> Nanos {
        Nanos(self.0.saturating_sub(other.0))
    }
}

impl SubAssign for Nanos {
    #[inline]
    fn sub_assign(&mut self, other: Nanos) {
        *self = *self - other;
    }
}

impl Mul<u64> for Nanos {
    type Output = Nanos;

    #[inline]
    fn mul(self, times: u64) -> Nanos {
        self.times(times)
    }
}

impl Mul<Nanos> for u64 {
    type Output = Nanos;

    #[inline]
    fn mul(self, one: Nanos) -> Nanos {
        one.times(self)
    }
}

/// An equal part, rounded down. As with all integers the divisor is not 0.
impl Div<u64> for Nanos {
    type Output = Nanos;

    #[inline]
    fn div(self, parts: u64) -> Nanos {
        Nanos(self.0 / parts)
    }
}

/// How often the other goes into it, rounded down. As with all integers the divisor is not 0.
impl Div for Nanos {
    type Output = u64;

    #[inline]
    fn div(self, part: Nanos) -> u64 {
        self.0 / part.0
    }
}

/// What is left of that. As with all integers the divisor is not 0.
impl Rem for Nanos {
    type Output = Nanos;

    #[inline]
    fn rem(self, part: Nanos) -> Nanos {
        Nanos(self.0 % part.0)
    }
}

impl Sum for Nanos {
    fn sum<I: Iterator<Item = Nanos>>(all: I) -> Nanos {
        all.fold(Nanos::ZERO, Add::add)
    }
}

impl Add for Seconds {
    type Output = Seconds;

    #[inline]
    fn add(self, other: Seconds) -> Seconds {
        Seconds(self.0.saturating_add(other.0))
    }
}

impl Sub for Seconds {
    type Output = Seconds;

    #[inline]
    fn sub(self, other: Seconds) -> Seconds {
        Seconds(self.0.saturating_sub(other.0))
    }
}

impl Mul<u64> for Seconds {
    type Output = Seconds;

    #[inline]
    fn mul(self, times: u64) -> Seconds {
        Seconds(self.0.saturating_mul(times))
    }
}

impl Mul<Seconds> for u64 {
    type Output = Seconds;

    #[inline]
    fn mul(self, one: Seconds) -> Seconds {
        one * self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn units_are_what_they_are_called() {
        assert_eq!(Nanos::MICROSECOND.get(), 1_000);
        assert_eq!(Nanos::MILLISECOND, 1_000 * Nanos::MICROSECOND);
        assert_eq!(Nanos::SECOND, 1_000 * Nanos::MILLISECOND);
        assert_eq!(Nanos::from_secs(3), Nanos::from_millis(3_000));
        assert_eq!(Nanos::from_millis(2_999).to_seconds(), Seconds::new(2));
        assert_eq!(Nanos::from_millis(2_500).as_secs_f64(), 2.5);
        assert_eq!(Nanos::from_millis(2_001).div_ceil(Nanos::SECOND), 3);
        assert_eq!(Nanos::from_millis(2_001) / Nanos::SECOND, 2);
        assert_eq!(
            Nanos::from_millis(2_001) % Nanos::SECOND,
            Nanos::MILLISECOND
        );
    }

    #[test]
    fn arithmetic_ends_at_the_bounds_and_wraps_nowhere() {
        let (one, last) = (Nanos::new(1), Nanos::MAX);
        assert_eq!([Nanos::ZERO - one, one - last], [Nanos::ZERO; 2]);
        assert_eq!([last + one, last * 2, 2 * last], [last; 3]);
        assert_eq!(
            [Nanos::from_secs(u64::MAX), Nanos::from_millis(u64::MAX)],
            [last; 2]
        );
        assert_eq!([last, last, one].into_iter().sum::<Nanos>(), last);
        assert_eq!((one - last, one.abs_diff(last)), (Nanos::ZERO, last - one));
        assert_eq!(last.checked_add(one), None);
        assert_eq!(one.checked_sub(last), None);
        assert_eq!(last.checked_mul(2), None);
        assert_eq!(last.checked_div(0), None);
        let (first, late) = (Seconds::new(1), Seconds::new(u64::MAX));
        assert_eq!([late + first, late * 2, 2 * late], [late; 3]);
        assert_eq!(first - late, Seconds::ZERO);
    }
}
