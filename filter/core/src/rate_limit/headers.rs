//! The headers in which a response tells the state of a limit: `ratelimit-policy` and `ratelimit` as
//! draft-ietf-httpapi-ratelimit-headers-10 has them.

use super::RateLimit;
use super::gcra::Quota;
use crate::time::Nanos;

/// The largest integer of Structured Fields (RFC 9651 section 3.3.1).
const LARGEST: u64 = 999_999_999_999_999;

/// A header.
type Pair = (&'static [u8], Vec<u8>);

/// Those of a refusal: `retry-after`, `ratelimit-policy` and `ratelimit`. All name whole seconds,
/// rounded up: after these the limit admits.
pub fn refusal_headers(limit: &RateLimit, retry_after: Nanos) -> [Pair; 3] {
    let seconds = seconds(retry_after);
    let [policy, state] = headers(limit, 0, &seconds);
    [(b"retry-after", seconds.into_bytes()), policy, state]
}

/// Those of an admitted request's answer: `ratelimit-policy` and `ratelimit`, with the requests that
/// are left, and the whole seconds, rounded up, until the bucket is full again.
pub fn state_headers(limit: &RateLimit, full_at: Nanos, now: Nanos) -> [Pair; 2] {
    let until = full_at.checked_sub(now).unwrap_or_default();
    headers(limit, limit.quota.left(full_at, now), &seconds(until))
}

fn seconds(time: Nanos) -> String {
    time.div_ceil(Nanos::SECOND).max(1).to_string()
}

fn headers(limit: &RateLimit, left: u32, seconds: &str) -> [Pair; 2] {
    let mut policy = quoted(&limit.name);
    let mut state = policy.clone();
    let (requests, window) = limit.quota.per_whole_seconds();
    policy.push_str(";q=");
    policy.push_str(&requests.to_string());
    if let Some(window) = window {
        policy.push_str(";w=");
        policy.push_str(&window.to_string());
    }
    state.push_str(";r=");
    state.push_str(&left.to_string());
    state.push_str(";t=");
    state.push_str(seconds);
    [
        (b"ratelimit-policy", policy.into_bytes()),
        (b"ratelimit", state.into_bytes()),
    ]
}

impl Quota {
    /// The rate as requests in a window of whole seconds, the only windows that a policy can name:
    /// `100` per `250ms` are 400 in 1. Where that takes numbers that the field cannot hold, the
    /// requests without a window.
    fn per_whole_seconds(&self) -> (u64, Option<u64>) {
        let (mut common, mut rest) = (Nanos::SECOND, self.per);
        while rest > Nanos::ZERO {
            (common, rest) = (rest, common % rest);
        }
        let requests = u64::from(self.requests);
        let window = self.per / common;
        match requests.checked_mul(Nanos::SECOND / common) {
            Some(requests) if requests.max(window) <= LARGEST => (requests, Some(window)),
            _ => (requests, None),
        }
    }
}

/// A String of Structured Fields. It holds printable ASCII; other bytes are percent-encoded.
fn quoted(name: &str) -> String {
    let mut string = String::from('"');
    for byte in name.bytes() {
        match byte {
            b'"' | b'\\' => string.extend(['\\', byte.into()]),
            b' '..=b'~' => string.push(byte.into()),
            _ => {
                string.push('%');
                for digit in [byte >> 4, byte & 15] {
                    string.extend(char::from_digit(digit.into(), 16));
                }
            }
        }
    }
    string.push('"');
    string
}
