//! Header maps as Envoy keeps them: names in lower case, pseudo-headers first, otherwise in order.
//! Of the headers that Envoy has a place of its own for there is one value: further ones are joined
//! to it, with a comma between what is not empty.

use crate::exchange::{Pairs, Response};

/// A header map.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderMap {
    pairs: Pairs,
    is_response: bool,
}

/// The request headers of which Envoy 1.40 keeps one value.
const JOINED_IN_REQUESTS: &[&[u8]] = &[
    b":authority",
    b"accept",
    b"accept-encoding",
    b"access-control-request-headers",
    b"access-control-request-method",
    b"access-control-request-private-network",
    b"authorization",
    b"cache-control",
    b"cdn-loop",
    b"content-encoding",
    b"content-type",
    b"expect",
    b"grpc-accept-encoding",
    b"grpc-timeout",
    b"if-match",
    b"if-modified-since",
    b"if-none-match",
    b"if-range",
    b"if-unmodified-since",
    b"origin",
    b"pragma",
    b"proxy-status",
    b"referer",
    b"user-agent",
    b"via",
    b"x-client-trace-id",
    b"x-envoy-attempt-count",
    b"x-envoy-decorator-operation",
    b"x-envoy-downstream-service-cluster",
    b"x-envoy-downstream-service-node",
    b"x-envoy-external-address",
    b"x-envoy-is-timeout-retry",
    b"x-envoy-original-path",
    b"x-forwarded-client-cert",
    b"x-forwarded-for",
    b"x-forwarded-host",
    b"x-forwarded-port",
    b"x-forwarded-proto",
    b"x-request-id",
];

/// The response headers of which Envoy 1.40 keeps one value.
const JOINED_IN_RESPONSES: &[&[u8]] = &[
    b"access-control-allow-credentials",
    b"access-control-allow-headers",
    b"access-control-allow-methods",
    b"access-control-allow-origin",
    b"access-control-expose-headers",
    b"access-control-max-age",
    b"age",
    b"cache-control",
    b"content-encoding",
    b"content-type",
    b"date",
    b"etag",
    b"expires",
    b"grpc-message",
    b"grpc-status",
    b"last-modified",
    b"location",
    b"proxy-status",
    b"vary",
    b"via",
    b"x-envoy-upstream-canary",
    b"x-request-id",
];

impl HeaderMap {
    /// A map of these pairs, whose names may be in any case.
    pub fn new(pairs: &Pairs) -> HeaderMap {
        let mut map = HeaderMap::default();
        for (name, value) in pairs {
            map.add(name, value);
        }
        map
    }

    /// A response's header map, with `:status`.
    pub fn of_response(response: &Response) -> HeaderMap {
        let mut headers = HeaderMap {
            is_response: true,
            ..HeaderMap::default()
        };
        headers.add(b":status", response.status.to_string().as_bytes());
        for (name, value) in &response.headers {
            headers.add(name, value);
        }
        headers
    }

    /// The response with this header map. Without a valid `:status` its status is 0.
    pub fn into_response(self, body: Vec<u8>) -> Response {
        let status = self
            .get(b":status")
            .and_then(|status| std::str::from_utf8(status).ok()?.parse().ok());
        let mut headers = self.pairs;
        headers.retain(|(name, _)| name != b":status");
        Response {
            status: status.unwrap_or_default(),
            headers,
            body,
        }
    }

    /// The pairs in order.
    pub fn pairs(&self) -> &Pairs {
        &self.pairs
    }

    /// The first value of a name, which may be in any case.
    pub fn get(&self, name: &[u8]) -> Option<&[u8]> {
        let found = self
            .pairs
            .iter()
            .find(|(other, _)| other.eq_ignore_ascii_case(name));
        found.map(|(_, value)| &value[..])
    }

    /// Adds a value to those of the name, or joins it to the one that is there.
    pub fn add(&mut self, name: &[u8], value: &[u8]) {
        let lower = name.to_ascii_lowercase();
        let joined = match self.is_response {
            true => JOINED_IN_RESPONSES,
            false => JOINED_IN_REQUESTS,
        };
        if joined.contains(&&*lower)
            && let Some((_, known)) = self.pairs.iter_mut().find(|(other, _)| *other == lower)
        {
            // An empty value leaves no trace.
            if !known.is_empty() && !value.is_empty() {
                known.push(b',');
            }
            known.extend_from_slice(value);
            return;
        }
        let pair = (name.to_ascii_lowercase(), value.to_vec());
        let is_pseudo = |name: &[u8]| name.starts_with(b":");
        let at = match is_pseudo(name) {
            true => self
                .pairs
                .iter()
                .take_while(|(name, _)| is_pseudo(name))
                .count(),
            false => self.pairs.len(),
        };
        self.pairs.insert(at, pair);
    }

    /// Replaces every value of the name by this one, which moves to the end.
    pub fn set(&mut self, name: &[u8], value: &[u8]) {
        self.remove(name);
        self.add(name, value);
    }

    /// Removes every value of the name.
    pub fn remove(&mut self, name: &[u8]) {
        self.pairs
            .retain(|(other, _)| !other.eq_ignore_ascii_case(name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A20. `tests/against_envoy.rs` asks a real Envoy.
    #[test]
    fn lines_of_one_header_are_joined_where_envoy_joins_them() {
        let twice = |name: &str, is_response: bool| {
            let mut map = HeaderMap {
                is_response,
                ..HeaderMap::default()
            };
            map.add(name.as_bytes(), b"a");
            map.add(name.to_ascii_uppercase().as_bytes(), b"b");
            map.pairs().len()
        };
        for (name, in_requests, in_responses) in [
            ("accept", 1, 2),
            ("user-agent", 1, 2),
            ("content-type", 1, 1),
            ("x-forwarded-for", 1, 2),
            ("vary", 2, 1),
            ("x-custom", 2, 2),
            ("accept-language", 2, 2),
            ("set-cookie", 2, 2),
            ("cookie", 2, 2),
        ] {
            let got = (twice(name, false), twice(name, true));
            assert_eq!(got, (in_requests, in_responses), "{name}");
        }
        let mut map = HeaderMap::default();
        map.add(b"accept", b"a");
        map.add(b"accept", b"b");
        assert_eq!(map.get(b"accept"), Some(&b"a,b"[..]));
        for (lines, expected) in [
            (&["", ""][..], ""),
            (&["", "a"], "a"),
            (&["a", "", "", "b", ""], "a,b"),
        ] {
            let mut map = HeaderMap::default();
            lines
                .iter()
                .for_each(|line| map.add(b"accept", line.as_bytes()));
            assert_eq!(map.get(b"accept"), Some(expected.as_bytes()), "{lines:?}");
        }
    }

    #[test]
    fn set_replaces_every_value_and_names_have_no_case() {
        let pairs = [("X-A", "1"), (":path", "/"), ("b", "2"), ("x-a", "3")];
        let mut map = HeaderMap::new(&pairs.map(|(n, v)| (n.into(), v.into())).to_vec());
        assert_eq!(map.get(b"X-a"), Some(&b"1"[..]));
        map.set(b"x-A", b"4");
        map.add(b":method", b"GET");
        map.remove(b"B");
        let expected = [(":path", "/"), (":method", "GET"), ("x-a", "4")];
        assert_eq!(
            map.pairs(),
            &expected.map(|(n, v)| (n.into(), v.into())).to_vec()
        );
    }
}
