//! `explain`: a request that carries the token gets the decision about it in a response header. No
//! other request does.
//!
//! The value of the configured request header is the token, alone or as `token;roll=0.37`, which
//! sets the random number of this one decision. The header never goes upstream. The response header
//! is one line of JSON, with those keys of `host-sim explain --json` that one request can know.

use crate::decision::{Decision, Disposition};
use crate::http::request::Request;
use crate::protect::Hit;

/// `explain: { header, token }`.
#[derive(Clone, PartialEq, Eq)]
pub struct Explain {
    /// The header that carries the token in the request and the decision in the response. Lower
    /// case.
    pub header: Box<[u8]>,
    /// The secret.
    pub token: Box<[u8]>,
}

impl std::fmt::Debug for Explain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Explain(..)")
    }
}

/// What a request with the token asks for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Asked {
    /// The random number that the decision uses, in units of 2^−64. None: one is drawn, as for
    /// every other request.
    pub roll: Option<u64>,
}

/// A finished decision, as it is told to a request with the token.
pub struct Explanation<'d, 'c> {
    /// The decision.
    pub decision: &'d Decision<'c>,
    /// The hash of the configuration that it was made by.
    pub configuration: &'d str,
    /// What that calls itself.
    pub version: Option<&'d str>,
}

impl Explain {
    /// What the request asks for. None: it does not have the token.
    pub fn asked(&self, request: &Request<'_>) -> Option<Asked> {
        let shown = request.headers.first(&self.header)?;
        let (token, rest) = shown.split_at_checked(self.token.len())?;
        // Without a branch on the bytes, so that the time taken says nothing about them.
        let difference = token
            .iter()
            .zip(&self.token)
            .fold(0, |sum, (a, b)| sum | (a ^ b));
        if difference != 0 {
            return None;
        }
        match rest {
            [] => Some(Asked { roll: None }),
            _ => Some(Asked {
                roll: Some(roll(rest.strip_prefix(b";roll=")?)?),
            }),
        }
    }
}

/// A number from 0 to below 1 in units of 2^−64.
#[expect(clippy::cast_possible_truncation, reason = "the conversion saturates")]
fn roll(text: &[u8]) -> Option<u64> {
    let number: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    // The conversion saturates: the largest number below 1 stays below it.
    (0.0..1.0)
        .contains(&number)
        .then_some((number * TWO_TO_64) as u64)
}

impl Explanation<'_, '_> {
    /// One line of JSON, in ASCII, so that it can be the value of a header.
    #[cold]
    #[inline(never)]
    pub fn to_json(&self) -> Vec<u8> {
        let decision = self.decision;
        let (pool, target) = decision.target.unzip();
        let endpoint = target.and_then(|target| target.endpoint.as_deref());
        let region = target.and_then(|target| target.region.as_deref());
        let mut json = Vec::new();
        for (key, value) in [
            ("route", decision.route.map(|route| &*route.name)),
            ("action", Some(decision.action.word())),
            ("pool", pool.map(|pool| &*pool.name)),
            ("target", target.map(|target| &*target.name)),
            ("cluster", target.map(|target| &*target.cluster)),
            ("endpoint", endpoint),
            ("region", region),
            ("limit", decision.limit),
            ("reason", Some(decision.reason.word())),
            ("configuration", Some(self.configuration)),
            ("version", self.version),
        ] {
            json.push(if json.is_empty() { b'{' } else { b',' });
            quote(key, &mut json);
            json.push(b':');
            match value {
                Some(value) => quote(value, &mut json),
                None => json.extend_from_slice(b"null"),
            }
        }
        let status = match &decision.disposition {
            Disposition::Answer(answer) => &*answer.status.to_string(),
            Disposition::Continue | Disposition::Ask(_) => "null",
        };
        json.extend_from_slice(b",\"status\":");
        json.extend_from_slice(status.as_bytes());
        tell_hits(&decision.hits, &mut json);
        json.push(b'}');
        json
    }
}

/// What protections found, if anything: a line for each hit.
fn tell_hits(hits: &[Hit<'_>], json: &mut Vec<u8>) {
    for (n, hit) in hits.iter().enumerate() {
        json.extend_from_slice(if n == 0 { &b",\"protect\":["[..] } else { b"," });
        quote(&hit.line(), json);
    }
    if !hits.is_empty() {
        json.push(b']');
    }
}

/// A JSON string in ASCII (RFC 8259 section 7: what is not, as UTF-16 escapes).
#[inline(never)]
pub(crate) fn quote(text: &str, json: &mut Vec<u8>) {
    json.push(b'"');
    for unit in text.encode_utf16() {
        let [high, low] = unit.to_be_bytes();
        let escape = match (high, low) {
            (0, b'"' | b'\\') => low,
            (0, b' '..=b'~') => {
                json.push(low);
                continue;
            }
            (0, 8..=10 | 12..=13) => {
                let letter = b"btn.fr".get(usize::from(low) - 8);
                letter.copied().unwrap_or_default()
            }
            _ => b'u',
        };
        json.extend_from_slice(&[b'\\', escape]);
        if escape == b'u' {
            for shift in [12, 8, 4, 0] {
                let digit = b"0123456789abcdef".get(usize::from(unit >> shift & 15));
                json.push(digit.copied().unwrap_or_default());
            }
        }
    }
    json.push(b'"');
}

const TWO_TO_64: f64 = 18_446_744_073_709_551_616.0;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decision::{Action, Reason};
    use crate::http::headers::Headers;
    use crate::route::Route;
    use crate::route::tests::route;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn asked(value: &str) -> Option<Asked> {
        let explain = Explain {
            header: b"x-explain"[..].into(),
            token: b"secret"[..].into(),
        };
        let headers = Headers::from_pairs(&[("x-explain", value)]);
        explain.asked(&Request::new(&headers))
    }

    #[test]
    fn only_the_token_is_answered() {
        assert_eq!(asked("secret"), Some(Asked { roll: None }));
        for wrong in [
            "",
            "secre",
            "Secret",
            "secretx",
            "secret;",
            "secret;roll=",
            "secret;roll=1",
            "secret;roll=-1",
            "secret;roll=nan",
        ] {
            assert_eq!(asked(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn roll_is_a_fraction() {
        for (text, roll) in [("0", 0), ("0.5", 1 << 63), ("0.75", 3 << 62)] {
            assert_eq!(
                asked(&format!("secret;roll={text}")),
                Some(Asked { roll: Some(roll) })
            );
        }
    }

    #[test]
    fn json_is_ascii_whatever_the_names() {
        let route = Route {
            name: "a\"\\\n\u{e9}\u{1f600}".into(),
            ..route(Vec::new())
        };
        let decision = Decision {
            route: Some(&route),
            ..Decision::forward(Action::Pass, Reason::Route, Vec::new())
        };
        let explanation = Explanation {
            decision: &decision,
            configuration: "3f9c1a2b4d5e",
            version: Some("2026\"-1"),
        };
        let json = explanation.to_json();
        assert!(json.iter().all(|byte| (b' '..=b'~').contains(byte)));
        let read: serde_json::Value = serde_json::from_slice(&json).unwrap();
        assert_eq!(read["route"], "a\"\\\n\u{e9}\u{1f600}");
        assert_eq!(read["version"], "2026\"-1");
        assert_eq!(read["configuration"], "3f9c1a2b4d5e");
    }
}
