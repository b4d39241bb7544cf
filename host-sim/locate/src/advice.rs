//! What to write instead of what other products, or other parts of this configuration, call it.
//! Edit distance leads such a word elsewhere: `ring_hash` to `ip_hash`, `upstreams` to `upstream`.

/// Words that are keys in other products, or here in another place: the beginning of the places
/// that it is for (empty: everywhere), the key, and what to write.
const KEYS: &[(&str, &str, &str)] = &[
    // Files that are no configuration.
    (
        "",
        "tests",
        "this is a file of tests: `host-sim test FILE` runs it",
    ),
    (
        "",
        "traffic",
        "this is a scenario: `host-sim run FILE` plays it",
    ),
    (
        "",
        "apiVersion",
        "of Kubernetes's objects a WasmPlugin with `pluginConfig` is read",
    ),
    // In a file of tests or a scenario, of which these are no keys.
    ("", "pools", CONFIGURATION),
    ("", "routes", CONFIGURATION),
    ("", "rate_limits", CONFIGURATION),
    // The whole.
    (
        "",
        "upstreams",
        "write `pools` (`upstream` has the names of headers)",
    ),
    ("", "backends", "write `pools`, and their `targets`"),
    (
        "",
        "clusters",
        "write `pools`: their targets name clusters that the proxy's own file has",
    ),
    (
        "",
        "virtual_hosts",
        "write `routes`, each with `match: { hosts: [\u{2026}] }`",
    ),
    ("", "servers", "write `targets`"),
    (
        "",
        "endpoints",
        "write `targets: [{ endpoint: \"ip:port\" }]`, and the pool's `cluster`",
    ),
    // Pools.
    ("pools", "lb_policy", "write `balance`"),
    ("pools", "algorithm", "write `balance`"),
    ("pools", "strategy", "write `balance`"),
    ("pools", "when_all_unhealthy", "it is a key of `health`"),
    ("pools", "passive", "it is a key of `health`"),
    ("pools", "active", "it is a key of `health`"),
    ("pools", "health_check", "write `health: { active: {} }`"),
    ("pools", "health_checks", "write `health: { active: {} }`"),
    (
        "pools",
        "outlier_detection",
        "write `health: { passive: {} }`",
    ),
    (
        "pools",
        "max_fails",
        "write `health: { passive: { consecutive_failures: N } }` in the pool",
    ),
    (
        "pools",
        "fail_timeout",
        "write `health: { passive: { eject: 30s } }` in the pool",
    ),
    ("pools", "consecutive_5xx", "write `consecutive_failures`"),
    ("pools", "base_ejection_time", "write `eject`"),
    (
        "pools",
        "max_ejection_percent",
        "write `max_ejected_percent`",
    ),
    ("pools", "healthy_threshold", "write `rise`"),
    ("pools", "unhealthy_threshold", "write `fall`"),
    ("pools", "max_conns", "write `max_in_flight`"),
    (
        "pools",
        "backup",
        "write the pool's `failover: [another pool]`",
    ),
    (
        "pools",
        "cookie",
        "write `sticky: { cookie: { name: \u{2026} } }`",
    ),
    ("pools", "session_affinity", "write `sticky`"),
    ("pools", "retries", RETRY),
    ("pools", "retry_policy", RETRY),
    ("pools", "num_retries", RETRY),
    ("pools", "cors", CORS),
    // Routes.
    (
        "routes",
        "hostnames",
        "write `match: { hosts: [\u{2026}] }`",
    ),
    ("routes", "domains", "write `match: { hosts: [\u{2026}] }`"),
    ("routes", "hosts", "it is a key of `match`"),
    ("routes", "path", "it is a key of `match`"),
    (
        "routes",
        "prefix",
        "write `match: { path: { prefix: \u{2026} } }`",
    ),
    (
        "routes",
        "suffix",
        "of a path write `regex: \".*\\\\.js\"`, which matches it whole",
    ),
    (
        "routes",
        "contains",
        "of a path write `regex: \".*/part/.*\"`, which matches it whole",
    ),
    ("routes", "methods", "it is a key of `match`"),
    ("routes", "method", "write `match: { methods: [\u{2026}] }`"),
    (
        "routes",
        "headers",
        "it is a key of `match`; to change headers write `request_headers`",
    ),
    ("routes", "backend", "write `pool`"),
    ("routes", "upstream", "write `pool`"),
    (
        "routes",
        "cluster",
        "write `pool`: a pool's targets name clusters",
    ),
    (
        "routes",
        "backendRefs",
        "write `split: [{ pool: a, weight: 9 }, \u{2026}]`",
    ),
    (
        "routes",
        "weighted_clusters",
        "write `split: [{ pool: a, weight: 9 }, \u{2026}]`",
    ),
    (
        "routes",
        "return",
        "write `respond: { status: 200 }`, or `redirect`",
    ),
    (
        "routes",
        "direct_response",
        "write `respond: { status: 200, body: \"\u{2026}\" }`",
    ),
    ("routes", "rate_limit", "write `rate_limits: [name]`"),
    ("routes", "retries", RETRY),
    ("routes", "retry_policy", RETRY),
    ("routes", "num_retries", RETRY),
    (
        "routes",
        "request_mirror_policies",
        "write `mirror: { pool: \u{2026} }`",
    ),
    ("routes", "cors", CORS),
    // Limits.
    ("rate_limits", "rate", "write `requests: 100, per: 1s`"),
    (
        "rate_limits",
        "requests_per_unit",
        "write `requests: 100, per: 1s`",
    ),
    ("rate_limits", "unit", "write `per: 1s`"),
    ("rate_limits", "window", "write `per: 1s`"),
    ("rate_limits", "dry_run", "write `shadow: true`"),
];

const CONFIGURATION: &str = "this is a configuration: `host-sim check FILE` reads it, and files of \
                             tests and scenarios name it by `config`";
const RETRY: &str = "write `retry: { attempts: 2 }`";
const CORS: &str = "it is the proxy's: its own CORS filter stands before this one";

/// Words that are values in other products: the end of the places that it is for, the word, and
/// what to write.
const VALUES: &[(&str, &str, &str)] = &[
    ("balance", "least_request", "write `least_connections`"),
    ("balance", "least_conn", "write `least_connections`"),
    ("balance", "leastconn", "write `least_connections`"),
    ("balance", "least_time", "write `least_response_time`"),
    ("balance", "peak_ewma", "write `least_response_time`"),
    ("balance", "roundrobin", "write `round_robin`"),
    ("balance", "rr", "write `round_robin`"),
    ("balance", "maglev", HASH),
    ("balance", "ring_hash", HASH),
    ("balance", "hash", HASH),
    ("balance", "consistent_hash", HASH),
    (
        "balance",
        "uri",
        "write `{ consistent_hash: { key: path } }`",
    ),
    ("balance", "source", "write `ip_hash`"),
    ("state", "drain", "write `draining`"),
    ("state", "maint", "write `down`"),
    ("state", "maintenance", "write `down`"),
    ("state", "disabled", "write `down`"),
    ("state", "enabled", "write `up`"),
    ("state", "ready", "write `up`"),
    (
        "state",
        "backup",
        "write the pool's `failover: [another pool]`",
    ),
];

const HASH: &str = "write `{ consistent_hash: { key: client_ip } }`, or another key";

/// What to write at a place where an unknown key or a wrong value stands: `found` as the problem
/// says it, `expected` what would be right there. None: nothing is known of it.
pub fn advice(place: &str, found: &str, expected: &str) -> Option<String> {
    if found == "unknown key" {
        return key_advice(place);
    }
    let text = found.strip_prefix("the string \"")?.strip_suffix('"')?;
    if expected.contains("a duration") {
        return duration_advice(text);
    }
    if expected.contains("ip:port") {
        return address_advice(text);
    }
    if let Some(percent) = text.strip_suffix('%')
        && percent.parse::<f64>().is_ok()
        && expected.contains("number")
    {
        return Some(format!("write {percent}: it is a number without a unit"));
    }
    let lower = text.to_ascii_lowercase();
    let key = last_key(place);
    let mut rows = VALUES.iter();
    rows.find(|(of, word, _)| *of == key && *word == lower)
        .map(|(_, _, advice)| (*advice).to_owned())
}

fn key_advice(place: &str) -> Option<String> {
    let within = match place.split_once("`: ") {
        Some((before, within)) if before.starts_with("filter ") => within,
        _ => place,
    };
    if within.starts_with("[\"//") || within.contains("[\"//") {
        return Some("comments begin with `#`: `//` is none in YAML, and JSON has none".to_owned());
    }
    let key = last_key(within);
    let is_for = |section: &str| match section {
        "" => !within.contains(['.', '[']),
        section => {
            let rest = within.strip_prefix(section);
            rest.is_some_and(|rest| rest.starts_with(['.', '[']))
        }
    };
    let mut rows = KEYS.iter();
    rows.find(|(section, word, _)| *word == key && is_for(section))
        .map(|(_, _, advice)| (*advice).to_owned())
}

/// `routes[3].match.path` → `path`
fn last_key(place: &str) -> &str {
    place.rsplit('.').next().unwrap_or(place)
}

/// `1d`, `1h30m`, `1.5s`: what they are in one unit and whole numbers.
fn duration_advice(text: &str) -> Option<String> {
    const UNITS: [(&str, f64); 6] = [
        ("ms", 1.0),
        ("s", 1e3),
        ("m", 60e3),
        ("h", 3_600e3),
        ("d", 86_400e3),
        ("w", 604_800e3),
    ];
    let (mut millis, mut rest) = (0.0, text);
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        let behind = &rest[end..];
        let end = behind.find(|c: char| !c.is_ascii_alphabetic());
        let unit = &behind[..end.unwrap_or(behind.len())];
        let (_, length) = UNITS.iter().find(|(name, _)| *name == unit)?;
        millis += number * length;
        rest = &behind[unit.len()..];
    }
    if millis.fract() != 0.0 || !(1.0..1e15).contains(&millis) {
        return None;
    }
    let whole = UNITS[..4]
        .iter()
        .rev()
        .find(|(_, length)| millis % length == 0.0)?;
    let written = format!("{}{}", millis / whole.1, whole.0);
    // What is written so already is wrong for another reason.
    (written != text).then(|| format!("write {written}: one whole number and one unit"))
}

/// What is wrong with an address: its port, or that it is a name.
fn address_advice(text: &str) -> Option<String> {
    let (host, port) = text.rsplit_once(':')?;
    let is_ip = host.parse::<std::net::Ipv4Addr>().is_ok() || host.starts_with('[');
    match (is_ip, port.parse::<u32>()) {
        (true, Ok(1..=65_535)) => None,
        (true, _) => Some(format!("`{port}` is no port: they go from 1 to 65535")),
        (false, Ok(_)) => Some(format!(
            "`{host}` is no IP address, and names are not resolved here: use a pool of clusters, \
             which the proxy resolves"
        )),
        (false, Err(_)) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_other_products_are_answered_with_ours() {
        let key = |place: &str| advice(place, "unknown key", "one of a, b").unwrap_or_default();
        for (place, expected) in [
            ("upstreams", "`pools`"),
            ("filter 2 `x`: upstreams", "`pools`"),
            ("pools.web.when_all_unhealthy", "a key of `health`"),
            ("pools[\"a b\"].lb_policy", "`balance`"),
            ("pools.web.targets[0].max_fails", "consecutive_failures"),
            ("routes[3].hostnames", "hosts"),
            ("routes[3].match.hostnames", "hosts"),
            ("routes[3].match.path.suffix", "`regex: \".*\\\\.js\"`"),
            ("routes[3].backend", "`pool`"),
            ("routes[3].return", "`respond"),
            ("routes[3].direct_response", "`respond"),
            ("routes[3].cors", "the proxy's"),
            ("pools.web.cors", "the proxy's"),
            ("routes[3].retries", "`retry: {"),
            ("pools.web.retry_policy", "`retry: {"),
            ("pools", "host-sim check"),
            ("routes", "host-sim check"),
            ("tests", "host-sim test"),
            ("[\"// hi \\\"pools\\\"\"]", "`#`"),
        ] {
            assert!(key(place).contains(expected), "{place}: {:?}", key(place));
        }
        for unknown in ["nothing", "routes[0].upstreams", "rate_limits.backend"] {
            assert_eq!(key(unknown), "", "{unknown}");
        }
    }

    #[test]
    fn wrong_values_are_answered_with_right_ones() {
        for (place, text, expected, advised) in [
            (
                "pools.web.balance",
                "least_request",
                "x",
                "`least_connections`",
            ),
            ("pools.web.balance", "ring_hash", "x", "consistent_hash"),
            ("pools.web.balance", "Maglev", "x", "consistent_hash"),
            ("pools.web.targets[0].state", "drain", "x", "`draining`"),
            ("pools.web.targets[0].state", "maint", "x", "`down`"),
            ("pools.web.name", "drain", "x", ""),
            ("a", "1d", "a duration such as 3s", "write 24h:"),
            ("a", "1h30m", "a duration such as 3s", "write 90m:"),
            ("a", "1.5s", "a duration such as 3s", "write 1500ms:"),
            ("a", "2w", "a duration such as 3s", "write 336h:"),
            ("a", "3s", "a duration such as 3s", ""),
            ("a", "3 s", "a duration such as 3s", ""),
            ("a", "0.1ms", "a duration such as 3s", ""),
            ("a", "soon", "a duration such as 3s", ""),
            ("a", "50%", "a whole number", "write 50:"),
            ("a", "127.0.0.1:99999", "`ip:port`", "`99999` is no port"),
            (
                "a",
                "localhost:80",
                "`ip:port`",
                "`localhost` is no IP address",
            ),
            ("a", "localhost", "`ip:port`", ""),
        ] {
            let found = format!("the string \"{text}\"");
            let advice = advice(place, &found, expected).unwrap_or_default();
            match advised {
                "" => assert_eq!(advice, "", "{place}: {text}"),
                _ => assert!(advice.contains(advised), "{place}: {text}: {advice}"),
            }
        }
    }
}
