//! The cookies of a test's client, kept and sent as a browser does (RFC 6265, section 5).

use crate::exchange::{ExchangeRequest, ExchangeResult};

/// The cookies that a test's client was given, in the order in which they came.
#[derive(Default)]
pub(super) struct CookieJar(Vec<StoredCookie>);

/// A cookie as section 5.3 stores it.
struct StoredCookie {
    name: Vec<u8>,
    value: Vec<u8>,
    /// Lower case, without a leading dot.
    domain: Vec<u8>,
    /// Whether it goes to this host only: it had no `Domain`.
    host_only: bool,
    path: Vec<u8>,
    secure: bool,
}

impl CookieJar {
    /// Stores the cookies that a response sets, and removes those that it deletes. Those that a
    /// browser refuses are left out: of another domain, and `secure` ones that came by `http`.
    pub(super) fn store(&mut self, request: &ExchangeRequest, result: &ExchangeResult) {
        let set = result.response.headers.iter();
        for (_, line) in set.filter(|(name, _)| name == b"set-cookie") {
            self.set(request, line);
        }
    }

    fn set(&mut self, request: &ExchangeRequest, line: &[u8]) {
        let mut parts = line.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        let Some((name, value)) = pair(parts.next().unwrap_or_default()) else {
            return;
        };
        let host = host(request);
        let mut cookie = StoredCookie {
            name: name.to_vec(),
            value: value.to_vec(),
            domain: host.clone(),
            host_only: true,
            path: default_path(request),
            secure: false,
        };
        let mut deletes = false;
        for part in parts {
            let (key, value) = pair(part).unwrap_or((part, b""));
            match key.to_ascii_lowercase().as_slice() {
                b"domain" => {
                    let domain = value.strip_prefix(b".").unwrap_or(value);
                    if !domain.is_empty() {
                        cookie.domain = domain.to_ascii_lowercase();
                        cookie.host_only = false;
                    }
                }
                b"path" if value.starts_with(b"/") => cookie.path = value.to_vec(),
                b"path" => cookie.path = default_path(request),
                b"secure" => cookie.secure = true,
                // What expires later stays: the filter is to judge an old cookie.
                b"max-age" => {
                    deletes = value == b"0" || value.starts_with(b"-");
                }
                _ => {}
            }
        }
        let is_foreign = !cookie.host_only && !domain_matches(&host, &cookie.domain);
        if is_foreign || cookie.secure && request.scheme != b"https" {
            return;
        }
        let known = self.0.iter().position(|other| {
            other.name == cookie.name
                && other.domain == cookie.domain
                && other.host_only == cookie.host_only
                && other.path == cookie.path
        });
        match (known, deletes) {
            (Some(at), true) => drop(self.0.remove(at)),
            (Some(at), false) => self.0[at] = cookie,
            (None, true) => {}
            (None, false) => self.0.push(cookie),
        }
    }

    /// Adds the cookies that a browser sends with this request to its `cookie` header: those of its
    /// host, path and scheme, longer paths first, then in the order in which they came.
    pub(super) fn add_to(&self, request: &mut ExchangeRequest) {
        let host = host(request);
        let path = path(request);
        let is_sent = |cookie: &&StoredCookie| {
            let is_of_host = match cookie.host_only {
                true => host == cookie.domain,
                false => domain_matches(&host, &cookie.domain),
            };
            is_of_host
                && path_matches(path, &cookie.path)
                && (!cookie.secure || request.scheme == b"https")
        };
        let mut sent: Vec<_> = self.0.iter().filter(is_sent).collect();
        sent.sort_by_key(|cookie| std::cmp::Reverse(cookie.path.len()));
        if sent.is_empty() {
            return;
        }
        let pairs: Vec<_> = sent
            .iter()
            .map(|cookie| [&cookie.name[..], &cookie.value].join(&b'='))
            .collect();
        let cookies = pairs.join(&b"; "[..]);
        let mut headers = request.headers.iter_mut();
        match headers.find(|(name, _)| name == b"cookie") {
            Some((_, value)) => {
                value.extend_from_slice(b"; ");
                value.extend_from_slice(&cookies);
            }
            None => request.headers.push((b"cookie".to_vec(), cookies)),
        }
    }
}

/// `name=value`, blanks around both dropped.
fn pair(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let equals = text.iter().position(|byte| *byte == b'=')?;
    let (name, value) = text.split_at(equals);
    Some((name.trim_ascii(), value[1..].trim_ascii()))
}

/// The request's host without its port, in lower case.
fn host(request: &ExchangeRequest) -> Vec<u8> {
    crate::connection_manager::without_port(&request.authority).to_ascii_lowercase()
}

fn path(request: &ExchangeRequest) -> &[u8] {
    let path = request.target.split(|byte| *byte == b'?').next();
    path.unwrap_or_default()
}

/// Section 5.1.4: the path up to its last slash.
fn default_path(request: &ExchangeRequest) -> Vec<u8> {
    let path = path(request);
    match path.iter().rposition(|byte| *byte == b'/') {
        None | Some(0) => b"/".to_vec(),
        Some(at) => path[..at].to_vec(),
    }
}

/// Section 5.1.3. An address has no domains above it.
fn domain_matches(host: &[u8], domain: &[u8]) -> bool {
    let is_address = std::str::from_utf8(host)
        .is_ok_and(|host| host.parse::<std::net::Ipv4Addr>().is_ok() || host.starts_with('['));
    host == domain
        || !is_address
            && host
                .strip_suffix(domain)
                .is_some_and(|rest| rest.ends_with(b"."))
}

/// Section 5.1.4.
fn path_matches(path: &[u8], cookie: &[u8]) -> bool {
    path.strip_prefix(cookie)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/") || cookie.ends_with(b"/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::{Response, first_value};
    use serde_json::Value;

    fn request(url: &str) -> ExchangeRequest {
        ExchangeRequest::new(b"GET", url.as_bytes()).unwrap()
    }

    /// The `cookie` header of a request to the second URL, after the first one's answer set these.
    fn sent(first: &str, cookies: &[&str], second: &str) -> String {
        let mut jar = CookieJar::default();
        let headers = cookies
            .iter()
            .map(|cookie| (b"set-cookie".to_vec(), cookie.as_bytes().to_vec()));
        let result = ExchangeResult {
            response: Response {
                headers: headers.collect(),
                ..Response::bare(200)
            },
            upstream_headers: None,
            upstream_cluster: None,
            upstream_endpoint: None,
            decision: Value::Null,
        };
        jar.store(&request(first), &result);
        let mut second = request(second);
        jar.add_to(&mut second);
        let value = first_value(&second.headers, b"cookie").unwrap_or_default();
        String::from_utf8(value.to_vec()).unwrap()
    }

    #[test]
    fn a_cookie_goes_where_a_browser_sends_it_and_nowhere_else() {
        let a = "https://shop.example/app/a";
        for (first, cookie, second, is_sent) in [
            (a, "s=1; Path=/", "https://shop.example/", true),
            (a, "s=1; Path=/", "https://SHOP.example:444/", true),
            // A40: its path.
            (a, "s=1; Path=/app", "https://shop.example/app", true),
            (a, "s=1; Path=/app", "https://shop.example/app/x?y", true),
            (a, "s=1; Path=/app", "https://shop.example/shop", false),
            (a, "s=1; Path=/app", "https://shop.example/apple", false),
            (a, "s=1; Path=/app/", "https://shop.example/app", false),
            (a, "s=1", "https://shop.example/app/b", true),
            (a, "s=1; Path=x", "https://shop.example/b", false),
            // A41: its scheme.
            (a, "s=1; Path=/; Secure", "https://shop.example/", true),
            (a, "s=1; Path=/; secure", "http://shop.example/", false),
            (a, "s=1; Path=/", "http://shop.example/", true),
            (
                "http://shop.example/",
                "s=1; Secure",
                "https://shop.example/",
                false,
            ),
            // A42: its host.
            (a, "s=1; Path=/", "https://other.example/", false),
            (a, "s=1; Path=/", "https://www.shop.example/", false),
            (
                a,
                "s=1; Path=/; Domain=shop.example",
                "https://www.shop.example/",
                true,
            ),
            (
                a,
                "s=1; Path=/; Domain=.Example",
                "https://other.example/",
                true,
            ),
            (
                a,
                "s=1; Path=/; Domain=other.example",
                "https://other.example/",
                false,
            ),
            (
                a,
                "s=1; Path=/; Domain=op.example",
                "https://shop.example/",
                false,
            ),
            (
                "http://10.0.0.1/",
                "s=1; Domain=0.0.1",
                "http://10.0.0.1/",
                false,
            ),
            (a, "s=1; Path=/; Max-Age=0", "https://shop.example/", false),
            (a, "s=1; Path=/; Max-Age=5", "https://shop.example/", true),
        ] {
            let expected = if is_sent { "s=1" } else { "" };
            assert_eq!(
                sent(first, &[cookie], second),
                expected,
                "{cookie} to {second}"
            );
        }
    }

    #[test]
    fn longer_paths_come_first_and_a_name_may_come_twice() {
        let url = "http://h/a/b";
        let cookies = [
            "s=1; Path=/",
            "t=2; Path=/a",
            "s=3; Path=/a/b",
            "s=4; Path=/",
        ];
        assert_eq!(sent(url, &cookies, url), "s=3; t=2; s=4");
        assert_eq!(
            sent(url, &["s=1; Path=/", "s=; Path=/; Max-Age=0"], url),
            ""
        );
    }
}
