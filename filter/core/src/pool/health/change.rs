//! Changes of a target's health, as operators read them: one line for each.

use crate::time::Nanos;
use std::fmt;

/// A change of a target's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HealthChange {
    /// Failed requests ejected it.
    Ejected,
    /// Failed probes ejected it.
    Fell,
    /// It is healthy again, after a request or after probes.
    Recovered,
}

/// Why a target's state changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Why {
    /// Of an ejected target its failed requests in a row, of one that fell its bad probes, of one
    /// that recovered its good probes; 0 if a request was answered.
    pub count: u32,
    /// The last failure.
    pub last: LastFailure,
    /// For how long it is ejected by failed requests. 0: it is not.
    pub eject: Nanos,
}

/// The failure that made the difference.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LastFailure {
    /// It is not known which.
    #[default]
    Unknown,
    /// There was no answer in time, or it broke off.
    NoAnswer,
    /// There was no connection.
    NoConnection,
    /// An answer with this status.
    Status(u16),
}

impl fmt::Display for LastFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LastFailure::Unknown => Ok(()),
            LastFailure::NoAnswer => f.write_str(" (no answer)"),
            LastFailure::NoConnection => f.write_str(" (no connection)"),
            LastFailure::Status(status) => write!(f, " ({status})"),
        }
    }
}

impl HealthChange {
    /// The line of the log.
    ///
    /// ```
    /// use pointsman_core::pool::health::{HealthChange, LastFailure, Why};
    /// use pointsman_core::time::Nanos;
    ///
    /// let why = Why { count: 5, last: LastFailure::Status(503), eject: Nanos::from_secs(30) };
    /// assert_eq!(
    ///     HealthChange::Ejected.line("web", "green", &why),
    ///     "pool web: green ejected for 30 s after 5 failures (503)",
    /// );
    /// ```
    pub fn line(self, pool: &str, target: &str, why: &Why) -> String {
        let Why { count, last, eject } = why;
        let probes = |kind: &str| match count {
            1 => format!("1 {kind} probe"),
            _ => format!("{count} {kind} probes"),
        };
        let what = match self {
            HealthChange::Ejected => {
                let failures = match count {
                    1 => "1 failure".to_owned(),
                    _ => format!("{count} failures"),
                };
                format!("ejected for {} after {failures}{last}", seconds(*eject))
            }
            HealthChange::Fell => format!("fell after {}{last}", probes("failed")),
            HealthChange::Recovered if *count > 0 => format!("is back after {}", probes("good")),
            HealthChange::Recovered => "is back: it answered a request".to_owned(),
        };
        format!("pool {pool}: {target} {what}")
    }
}

/// A time in seconds, as `30 s` or `0.25 s`.
fn seconds(time: Nanos) -> String {
    let milliseconds = time / Nanos::MILLISECOND;
    let (whole, part) = (milliseconds / 1000, milliseconds % 1000);
    match part {
        0 => format!("{whole} s"),
        _ => {
            format!("{}", format_args!("{whole}.{part:03}"))
                .trim_end_matches('0')
                .to_owned()
                + " s"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn a_line_says_what_happened_to_which_target_and_why() {
        let why = |count, last, milliseconds| Why {
            count,
            last,
            eject: Nanos::from_millis(milliseconds),
        };
        for (change, why, expected) in [
            (
                HealthChange::Ejected,
                why(1, LastFailure::NoConnection, 250),
                "ejected for 0.25 s after 1 failure (no connection)",
            ),
            (
                HealthChange::Ejected,
                why(5, LastFailure::NoAnswer, 90_000),
                "ejected for 90 s after 5 failures (no answer)",
            ),
            (
                HealthChange::Fell,
                why(3, LastFailure::Unknown, 0),
                "fell after 3 failed probes",
            ),
            (
                HealthChange::Fell,
                why(1, LastFailure::Status(500), 0),
                "fell after 1 failed probe (500)",
            ),
            (
                HealthChange::Recovered,
                why(2, LastFailure::Unknown, 0),
                "is back after 2 good probes",
            ),
            (
                HealthChange::Recovered,
                why(0, LastFailure::Unknown, 0),
                "is back: it answered a request",
            ),
        ] {
            let line = change.line("web", "green", &why);
            assert_eq!(line, format!("pool web: green {expected}"));
        }
    }
}
