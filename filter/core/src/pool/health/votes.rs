//! When failures in a row are enough to eject a target: no client alone ejects a target that
//! answers others.
//!
//! A client can have requests fail at a target that is well: it asks for what takes too long, for
//! what the application breaks on, for an answer that the proxy does not take. It cannot break the
//! connections of others. So a row of failures has two parts:
//!
//! | failure | counts |
//! |---|---|
//! | [`Cause::NoConnection`] | each |
//! | [`Cause::Exchange`], while the pool answers clients that have not failed in this row | once for each client, and one client alone is never enough |
//! | [`Cause::Exchange`] otherwise: all clients that the pool answered lately fail here, or there are no others | each |
//! | [`Cause::Exchange`], if the row has lasted [`LONGEST_DOUBT`]: in that time the target has answered nobody | each |
//!
//! So where there is one client, or all clients fail, a target is ejected at the same failure as if
//! no votes were counted. A success of any client ends the row.

use super::clients::Clients;
use crate::pool::outcome::Cause;
use crate::time::Nanos;

/// Failures in a row. Default: none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct FailureRow {
    /// All of them.
    pub failures: u32,
    /// Those that no client can provoke.
    pub no_connection: u32,
    /// The clients of the others.
    pub voters: Clients,
    /// When the first was.
    pub since: Nanos,
}

/// A request that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Failed {
    pub cause: Cause,
    /// Whose request it was. Only for [`Cause::Exchange`].
    pub client: Clients,
    /// The clients that the pool answered lately. Only for [`Cause::Exchange`].
    pub recent: Clients,
}

impl FailureRow {
    /// The row with one more failure.
    #[must_use]
    pub(super) fn with(self, failed: &Failed, now: Nanos) -> FailureRow {
        let (no_connection, voters) = match failed.cause {
            Cause::NoConnection => (1, Clients::default()),
            Cause::Exchange => (0, failed.client),
        };
        FailureRow {
            failures: self.failures.saturating_add(1),
            no_connection: self.no_connection.saturating_add(no_connection),
            voters: self.voters.with(voters),
            since: match self.failures {
                0 => now,
                _ => self.since,
            },
        }
    }

    /// Whether the row is as good as this many failures that no client can provoke. `recent`: the
    /// clients that the pool answered lately.
    pub(super) fn is_enough(&self, threshold: u32, recent: Clients, now: Nanos) -> bool {
        let all_fail = recent.is_subset(self.voters);
        if all_fail || now.abs_diff(self.since) >= LONGEST_DOUBT {
            return self.failures >= threshold;
        }
        let exchanges = self.failures.saturating_sub(self.no_connection);
        let votes = self.voters.len().min(exchanges);
        let is_one_client = self.no_connection == 0 && votes < 2;
        !is_one_client && self.no_connection.saturating_add(votes) >= threshold
    }
}

/// So long a target may fail one client, and answer nobody, before each failure counts. Of a target
/// that gets a request of somebody else within this time no client alone is believed.
const LONGEST_DOUBT: Nanos = Nanos::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    const NOW: Nanos = Nanos::from_secs(1_800_000_000);

    /// At which of these failures, a tenth of a second after each other, a target is ejected. A
    /// letter is the client of a failure, `!` a failure without a connection.
    fn ejected_at(failures: &str, recent: &str, threshold: u32) -> Option<usize> {
        let client = |letter: char| Clients::from_bits(1 << (letter as u32 - 'a' as u32));
        let recent = recent
            .chars()
            .fold(Clients::default(), |all, letter| all.with(client(letter)));
        let mut row = FailureRow::default();
        let at = failures.chars().enumerate().position(|(number, letter)| {
            let now = NOW + number as u64 * Nanos::from_millis(100);
            let (cause, client) = match letter {
                '!' => (Cause::NoConnection, Clients::default()),
                letter => (Cause::Exchange, client(letter)),
            };
            let failed = Failed {
                cause,
                client,
                recent,
            };
            row = row.with(&failed, now);
            row.is_enough(threshold, recent, now)
        });
        at.map(|number| number + 1)
    }

    #[test]
    fn one_client_is_one_vote_as_long_as_the_pool_answers_others() {
        let long = "a".repeat(101);
        for (failures, recent, threshold, expected) in [
            // One client, and no other: as if there were no votes.
            ("aaaaa", "", 5, Some(5)),
            ("aaaaa", "a", 5, Some(5)),
            ("a", "a", 1, Some(1)),
            // One client beside others.
            ("aaaaaaaaaaaa", "b", 5, None),
            ("aaaaaaaaaaaa", "ab", 5, None),
            ("aaaaaaaaaaaa", "ab", 1, None),
            ("aaaaaaaaaaaa", "bcdefgh", 2, None),
            // The others fail too: as if there were no votes.
            ("aaabb", "ab", 5, Some(5)),
            ("ababa", "ab", 5, Some(5)),
            ("abcde", "abcde", 5, Some(5)),
            ("abcde", "abcdefgh", 5, Some(5)),
            ("aaaaaaaab", "ab", 5, Some(9)),
            // Some fail, and some are answered: by heads.
            ("aaaabbbb", "abc", 5, None),
            ("aabbccdde", "abcdefgh", 5, Some(9)),
            ("ab", "abc", 2, Some(2)),
            ("ab", "abc", 1, Some(2)),
            // No connection.
            ("!!!!!", "abc", 5, Some(5)),
            ("!", "abc", 1, Some(1)),
            ("aaaaaaaa!!!!", "abc", 5, Some(12)),
            ("aaaa!", "a", 5, Some(5)),
            // A target that has answered nobody for ten seconds.
            (&long[..], "abc", 5, Some(101)),
            (&long[..], "abc", 1, Some(101)),
        ] {
            assert_eq!(
                ejected_at(failures, recent, threshold),
                expected,
                "{failures} {recent} {threshold}"
            );
        }
    }

    #[test]
    fn a_clock_that_jumps_settles_the_doubt() {
        let client = Clients::from_bits(1);
        let recent = Clients::from_bits(2);
        let failed = Failed {
            cause: Cause::Exchange,
            client,
            recent,
        };
        let row = FailureRow::default().with(&failed, NOW);
        assert!(!row.is_enough(1, recent, NOW + Nanos::SECOND));
        assert!(row.is_enough(1, recent, NOW - 3600 * Nanos::SECOND));
    }
}
