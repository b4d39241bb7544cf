//! Shares and rates in words. Of a number that is small and not none, rounding must not make none:
//! `0.0 %` of a million requests can be hundreds of them.

/// A share, from 0 to 1, in percent with this many decimals. What would be rounded to none or to
/// all and is not says so: `< 0.1 %`, `> 99.9 %`.
pub fn percent(share: f64, decimals: usize) -> String {
    let share = 100.0 * share;
    let least = 10_f64.powi(-i32::try_from(decimals).unwrap_or(i32::MAX));
    let is_like = |other: f64| format!("{share:.decimals$}") == format!("{other:.decimals$}");
    if share > 0.0 && is_like(0.0) {
        return format!("< {least:.decimals$} %");
    }
    if share < 100.0 && is_like(100.0) {
        return format!("> {:.decimals$} %", 100.0 - least);
    }
    format!("{share:.decimals$} %")
}

/// The share of a part, in percent: without decimals where it has none.
pub fn percent_of(part: u64, all: u64) -> String {
    let share = match all {
        0 => 0.0,
        all => part as f64 / all as f64,
    };
    let is_whole = all == 0 || (u128::from(part) * 100).is_multiple_of(u128::from(all));
    percent(share, usize::from(!is_whole))
}

/// A number for each second, with one decimal: `< 0.1` where it is not none.
pub fn per_second(rate: f64) -> String {
    match rate > 0.0 && rate < 0.05 {
        true => "< 0.1".to_owned(),
        false => format!("{rate:.1}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_is_not_none_and_most_is_not_all() {
        assert_eq!(percent(0.0, 1), "0.0 %");
        assert_eq!(percent(0.000_093, 1), "< 0.1 %");
        assert_eq!(percent(0.000_6, 1), "0.1 %");
        assert_eq!(percent(0.123_4, 2), "12.34 %");
        assert_eq!(percent(0.000_01, 2), "< 0.01 %");
        assert_eq!(percent(0.001, 0), "< 1 %");
        assert_eq!(percent(0.999_99, 1), "> 99.9 %");
        assert_eq!(percent(0.999_99, 0), "> 99 %");
        assert_eq!(percent(1.0, 1), "100.0 %");
        assert_eq!(percent(1.2, 1), "120.0 %");
    }

    #[test]
    fn of_counts() {
        assert_eq!(percent_of(93, 1_000_000), "< 0.1 %");
        assert_eq!(percent_of(999_999, 1_000_000), "> 99.9 %");
        assert_eq!(percent_of(0, 1_000_000), "0 %");
        assert_eq!(percent_of(0, 0), "0 %");
        assert_eq!(percent_of(95, 100), "95 %");
        assert_eq!(percent_of(7, 25), "28 %");
        assert_eq!(percent_of(1, 3), "33.3 %");
        assert_eq!(percent_of(u64::MAX, u64::MAX), "100 %");
    }

    #[test]
    fn of_rates() {
        assert_eq!(per_second(0.0), "0.0");
        assert_eq!(per_second(0.04), "< 0.1");
        assert_eq!(per_second(0.05), "0.1");
        assert_eq!(per_second(12.34), "12.3");
    }
}
