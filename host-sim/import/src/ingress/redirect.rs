//! Redirects to a place that an annotation names.

use serde_json::{Value, json};

/// The action for `return CODE URL`.
pub(super) fn action(url: &str, code: i64) -> Result<(&'static str, Value), String> {
    let (fixed, keeps) = match url
        .strip_suffix("$request_uri")
        .or_else(|| url.strip_suffix("$uri$is_args$args"))
    {
        Some(fixed) => (fixed, true),
        None => (url, false),
    };
    if fixed.contains('$') {
        return Err("a variable of nginx that is not `$request_uri` at the end".into());
    }
    let is_known = [301, 302, 303, 307, 308].contains(&code);
    match parts(fixed) {
        Some(mut redirect) if is_known && (keeps || !fixed.contains(['?', '#'])) => {
            if keeps && redirect.get("path").is_some_and(|path| path != "/") {
                return Err("a path before `$request_uri`".into());
            }
            let map = redirect.as_object_mut().ok_or("no map")?;
            match keeps {
                true => drop(map.remove("path")),
                // The place is the whole of it: the request's query is not added.
                false => drop(map.insert("query".into(), "drop".into())),
            }
            map.insert("status".into(), code.into());
            Ok(("redirect", redirect))
        }
        _ if keeps => Err("no URL that a redirect can lead to".into()),
        _ if !(300..=399).contains(&code) => Err("no status of a redirect".into()),
        _ => Ok((
            "respond",
            json!({ "status": code, "headers": { "location": fixed } }),
        )),
    }
}

/// The parts of a URL without a query. None: it is none.
fn parts(url: &str) -> Option<Value> {
    let path_of = |text: &str| {
        let is_good = |c: char| c.is_ascii_graphic() && !"?#{".contains(c);
        let path = text.split(['?', '#']).next().unwrap_or_default();
        path.chars().all(is_good).then(|| match path {
            "" => "/".to_owned(),
            path => path.to_owned(),
        })
    };
    if url.starts_with('/') {
        return Some(json!({ "path": path_of(url)? }));
    }
    let (scheme, rest) = url.split_once("://")?;
    if !["http", "https"].contains(&scheme) {
        return None;
    }
    let at = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(at);
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port.parse::<u16>().ok()?)),
        _ => (authority, None),
    };
    let is_host = |c: char| c.is_ascii_alphanumeric() || ".-_[]:".contains(c);
    if host.is_empty() || !host.chars().all(is_host) {
        return None;
    }
    let mut redirect = json!({ "scheme": scheme, "host": host, "path": path_of(path)? });
    if let Some(port) = port {
        redirect["port"] = port.into();
    }
    Some(redirect)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_redirect_or_a_location() {
        for (url, code, action_, value) in [
            (
                "https://a.com/b",
                301,
                "redirect",
                json!({ "scheme": "https", "host": "a.com", "path": "/b", "query": "drop", "status": 301 }),
            ),
            (
                "https://a.com:8443$request_uri",
                308,
                "redirect",
                json!({ "scheme": "https", "host": "a.com", "port": 8443, "status": 308 }),
            ),
            (
                "/b",
                302,
                "redirect",
                json!({ "path": "/b", "query": "drop", "status": 302 }),
            ),
            (
                "https://a.com/b?c",
                301,
                "respond",
                json!({ "status": 301, "headers": { "location": "https://a.com/b?c" } }),
            ),
            (
                "mailto:a",
                300,
                "respond",
                json!({ "status": 300, "headers": { "location": "mailto:a" } }),
            ),
        ] {
            assert_eq!(action(url, code), Ok((action_, value)), "{url}");
        }
        for (url, code) in [
            ("https://$host/", 301),
            ("https://a.com/x$request_uri", 301),
            ("a$request_uri", 301),
            ("https://a.com/", 200),
            ("mailto:a", 200),
        ] {
            assert!(action(url, code).is_err(), "{url} {code}");
        }
    }
}
