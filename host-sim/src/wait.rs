//! Waiting for what happens in its own time. A wait measures nothing and fails late, so that a test
//! of what happens does not depend on how fast the machine is.

use std::convert::Infallible;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long a wait may take: far above what a loaded machine needs.
pub const TIMEOUT: Duration = Duration::from_secs(90);

/// The pause between two looks.
pub const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Calls `look` until it returns something, and returns that. `None`: it returned nothing within
/// [`TIMEOUT`]. An error of `look` ends the wait.
pub fn poll<T, E>(look: impl FnMut() -> Result<Option<T>, E>) -> Result<Option<T>, E> {
    poll_within(TIMEOUT, look)
}

/// As [`poll`], with a timeout of the caller's own.
pub fn poll_within<T, E>(
    timeout: Duration,
    mut look: impl FnMut() -> Result<Option<T>, E>,
) -> Result<Option<T>, E> {
    let start = Instant::now();
    loop {
        if let Some(seen) = look()? {
            return Ok(Some(seen));
        }
        if start.elapsed() > timeout {
            return Ok(None);
        }
        sleep(POLL_INTERVAL);
    }
}

/// Waits until `condition` holds. `what` is the condition in words, for the panic's message.
///
/// # Panics
/// Where the condition does not hold within [`TIMEOUT`].
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let seen = poll(|| Ok::<_, Infallible>(condition().then_some(())));
    assert_eq!(seen, Ok(Some(())), "not within {TIMEOUT:?}: {what}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_ends_with_what_is_seen_with_an_error_or_with_its_timeout() {
        let mut looks = 0;
        let third = poll(|| {
            looks += 1;
            Ok::<_, ()>((looks == 3).then_some("seen"))
        });
        assert_eq!(third, Ok(Some("seen")));
        assert_eq!(poll(|| Err::<Option<()>, _>("broken")), Err("broken"));
        let never = poll_within(Duration::ZERO, || Ok::<Option<()>, ()>(None));
        assert_eq!(never, Ok(None));
    }
}
