//! Virtual hosts: which one Envoy chooses, as an order of the list.
//!
//! Envoy looks for the most specific domain, and then only at the routes of its virtual host. In
//! the filter hosts are conditions of each route, and the first route that matches wins. So virtual
//! hosts are put into an order in which more specific domains come first, and a virtual host that
//! shares hosts with a later one ends with a route that answers 404 to what is left.

use super::regex;
use serde_json::{Value, json};
use std::fmt;

/// A domain of a virtual host, in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Domain {
    /// `a.test`, or `a.test:8080`.
    Exact(String),
    /// `*.a.test`, `*-a.test`: what stands behind the `*`.
    Suffix(String),
    /// `a.*`: what stands before it.
    Prefix(String),
    /// `*`.
    Any,
}

/// Virtual hosts with all or some of their domains, in the order in which they are to be written.
pub(super) type Units = Vec<(usize, Vec<Domain>)>;

impl Domain {
    pub(super) fn read(text: &str) -> Domain {
        let text = text.to_ascii_lowercase();
        match (text.strip_prefix('*'), text.strip_suffix('*')) {
            (Some(""), _) => Domain::Any,
            (Some(suffix), _) => Domain::Suffix(suffix.to_owned()),
            (None, Some(prefix)) => Domain::Prefix(prefix.to_owned()),
            (None, None) => Domain::Exact(text),
        }
    }

    /// Whether no host without a port matches it.
    pub(super) fn has_port(&self) -> bool {
        let (Domain::Exact(text) | Domain::Suffix(text) | Domain::Prefix(text)) = self else {
            return false;
        };
        // An IPv6 address has colons too, in brackets.
        text.rsplit(']').next().is_some_and(|end| end.contains(':'))
    }

    /// Where Envoy looks: the smaller the earlier. A domain with a port comes before the same
    /// without one, since the filter's hosts have no ports.
    fn rank(&self) -> (u8, usize) {
        match self {
            Domain::Exact(text) => (u8::from(without_port(text).len() == text.len()), 0),
            Domain::Suffix(text) => (2, usize::MAX - text.len()),
            Domain::Prefix(text) => (3, usize::MAX - text.len()),
            Domain::Any => (4, 0),
        }
    }

    /// Whether a host may match both.
    fn overlaps(&self, other: &Domain) -> bool {
        use Domain::{Any, Exact, Prefix, Suffix};
        match (self, other) {
            (Any, _) | (_, Any) | (Prefix(_), Suffix(_)) | (Suffix(_), Prefix(_)) => true,
            (Exact(a), Exact(b)) => without_port(a) == without_port(b),
            (Exact(a), Suffix(b)) | (Suffix(b), Exact(a)) => {
                without_port(a).ends_with(b) || a.ends_with(b)
            }
            (Exact(a), Prefix(b)) | (Prefix(b), Exact(a)) => a.starts_with(b),
            (Suffix(a), Suffix(b)) => a.ends_with(b) || b.ends_with(a),
            (Prefix(a), Prefix(b)) => a.starts_with(b) || b.starts_with(a),
        }
    }
}

/// As it is written in Envoy's table.
impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Domain::Exact(text) => f.write_str(text),
            Domain::Suffix(suffix) => write!(f, "*{suffix}"),
            Domain::Prefix(prefix) => write!(f, "{prefix}*"),
            Domain::Any => f.write_str("*"),
        }
    }
}

/// A host without its port.
pub(super) fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((bare, port))
            if !port.is_empty()
                && port.bytes().all(|byte| byte.is_ascii_digit())
                && (!bare.contains(':') || bare.ends_with(']')) =>
        {
            bare
        }
        _ => host,
    }
}

/// Puts virtual hosts into order. Each stays whole where that is possible.
pub(super) fn in_order(hosts: &[Vec<Domain>]) -> Units {
    let mut before: Vec<Vec<usize>> = vec![Vec::new(); hosts.len()];
    let mut waits_for = vec![0_usize; hosts.len()];
    for (first, second) in pairs(hosts) {
        before[first].push(second);
        waits_for[second] += 1;
    }
    let mut order = Vec::new();
    let mut ready: std::collections::BTreeSet<usize> =
        (0..hosts.len()).filter(|at| waits_for[*at] == 0).collect();
    while let Some(at) = ready.pop_first() {
        order.push((at, hosts[at].clone()));
        for later in &before[at] {
            waits_for[*later] -= 1;
            if waits_for[*later] == 0 {
                ready.insert(*later);
            }
        }
    }
    match order.len() == hosts.len() {
        true => order,
        false => by_domain(hosts),
    }
}

/// Which virtual host has a more specific domain for a host that both match; each pair once.
fn pairs(hosts: &[Vec<Domain>]) -> std::collections::BTreeSet<(usize, usize)> {
    let all = || {
        let each = |(at, domains): (usize, &'_ Vec<Domain>)| {
            domains
                .iter()
                .cloned()
                .map(move |domain| (at, domain))
                .collect::<Vec<_>>()
        };
        hosts.iter().enumerate().flat_map(each).collect::<Vec<_>>()
    };
    let all = all();
    let mut pairs = std::collections::BTreeSet::new();
    let mut note = |(a, one): &(usize, Domain), (b, other): &(usize, Domain)| {
        if a != b && one.overlaps(other) && one.rank() < other.rank() {
            pairs.insert((*a, *b));
        }
    };
    // Exact domains, of which there are many, are compared with those of the same host only.
    let mut exact: std::collections::BTreeMap<&str, Vec<&(usize, Domain)>> = Default::default();
    let mut wild = Vec::new();
    for entry in &all {
        match &entry.1 {
            Domain::Exact(host) => exact.entry(without_port(host)).or_default().push(entry),
            _ => wild.push(entry),
        }
    }
    for same in exact.values().filter(|same| same.len() > 1) {
        for one in same {
            for other in same {
                note(one, other);
            }
        }
    }
    for one in wild {
        for other in &all {
            note(one, other);
            note(other, one);
        }
    }
    pairs
}

/// Every domain by itself, the most specific first; neighbours of one virtual host together.
fn by_domain(hosts: &[Vec<Domain>]) -> Units {
    let mut all: Vec<(usize, &Domain)> = Vec::new();
    for (at, domains) in hosts.iter().enumerate() {
        all.extend(domains.iter().map(|domain| (at, domain)));
    }
    all.sort_by_key(|(at, domain)| (domain.rank(), *at));
    let mut units: Units = Vec::new();
    for (at, domain) in all {
        match units.last_mut() {
            Some((last, domains)) if *last == at => domains.push(domain.clone()),
            _ => units.push((at, vec![domain.clone()])),
        }
    }
    units
}

/// Whether a request for one of these domains could match a later virtual host too.
pub(super) fn is_shared(unit: &[Domain], later: &Units) -> bool {
    let others = later.iter().flat_map(|(_, domains)| domains);
    others
        .into_iter()
        .any(|other| unit.iter().any(|domain| domain.overlaps(other)))
}

/// Conditions on the host: any of them.
#[derive(Clone, Debug, Default)]
pub(super) struct HostConditions {
    /// For the key `hosts`.
    pub(super) hosts: Vec<String>,
    /// For `headers`: what no host can say.
    pub(super) headers: Vec<Value>,
    /// Every request.
    pub(super) any: bool,
}

/// The conditions that say what these domains say. `header`: the one that Envoy looks at in place
/// of the host.
pub(super) fn conditions(domains: &[Domain], header: Option<&str>) -> HostConditions {
    let mut conditions = HostConditions::default();
    let bare: Vec<&str> = domains
        .iter()
        .filter_map(|domain| match domain {
            Domain::Exact(host) if without_port(host) == host => Some(host.as_str()),
            _ => None,
        })
        .collect();
    let name = header.unwrap_or(":authority");
    for domain in domains {
        let pattern = match domain {
            Domain::Any => {
                conditions.any = true;
                continue;
            }
            Domain::Exact(host) if header.is_none() && is_host(host) => {
                conditions.hosts.push(host.clone());
                continue;
            }
            // The same host with and without a port: the filter's hosts are both.
            Domain::Exact(host) if header.is_none() && bare.contains(&without_port(host)) => {
                continue;
            }
            Domain::Suffix(suffix) if header.is_none() && is_labels(suffix) => {
                conditions.hosts.push(format!("*{suffix}"));
                continue;
            }
            Domain::Exact(host) => format!("(?i){}", regex::literal(host)),
            // A port may follow, as in the filter's hosts.
            Domain::Suffix(suffix) => format!("(?i).+{}(:[0-9]+)?", regex::literal(suffix)),
            Domain::Prefix(prefix) => format!("(?i){}.+", regex::literal(prefix)),
        };
        conditions
            .headers
            .push(json!({ "name": name, "regex": pattern }));
    }
    conditions
}

/// Whether a host can stand in `hosts`.
fn is_host(host: &str) -> bool {
    pointsman_core::config::syntax::is_host(host) && !host.ends_with('.')
}

/// `.a.test`: whole labels.
fn is_labels(suffix: &str) -> bool {
    suffix.strip_prefix('.').is_some_and(is_host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(hosts: &[&[&str]]) -> Vec<Vec<Domain>> {
        let each = |domains: &&[&str]| domains.iter().map(|it| Domain::read(it)).collect();
        hosts.iter().map(each).collect()
    }

    fn order(hosts: &[&[&str]]) -> Vec<usize> {
        in_order(&of(hosts)).into_iter().map(|(at, _)| at).collect()
    }

    #[test]
    fn more_specific_domains_come_first() {
        assert_eq!(order(&[&["*"], &["a.test"]]), [1, 0]);
        assert_eq!(order(&[&["a.test"], &["b.test"], &["*"]]), [0, 1, 2]);
        assert_eq!(order(&[&["*.a.test"], &["*.b.a.test"]]), [1, 0]);
        assert_eq!(order(&[&["a.*"], &["*.test"], &["a.test"]]), [2, 1, 0]);
        assert_eq!(order(&[&["a.test"], &["a.test:8080"]]), [1, 0]);
    }

    #[test]
    fn a_virtual_host_is_split_where_no_order_is_right() {
        // The first has the most and the least specific domain, the second one between.
        let units = in_order(&of(&[&["a.test", "*"], &["*.test"]]));
        let at: Vec<_> = units
            .iter()
            .map(|(at, domains)| (*at, domains.len()))
            .collect();
        assert_eq!(at, [(0, 1), (1, 1), (0, 1)]);
    }

    #[test]
    fn a_domain_with_a_port_is_no_host_without_one() {
        for (text, has) in [
            ("a.test", false),
            ("a.test:80", true),
            ("*.test:80", true),
            ("a.test:*", true),
            ("a.*", false),
            ("[::1]", false),
            ("[::1]:80", true),
            ("*", false),
        ] {
            let domain = Domain::read(text);
            assert_eq!(
                (domain.has_port(), domain.to_string()),
                (has, text.to_owned())
            );
        }
    }

    #[test]
    fn domains_become_conditions() {
        let domains: Vec<_> = [
            "A.test",
            "a.test:80",
            "*.b.test",
            "*-c.test",
            "d.*",
            "e.test:81",
        ]
        .into_iter()
        .map(Domain::read)
        .collect();
        let found = conditions(&domains, None);
        assert_eq!(found.hosts, ["a.test", "*.b.test"]);
        let patterns: Vec<_> = found
            .headers
            .iter()
            .map(|it| it["regex"].as_str().unwrap())
            .collect();
        assert_eq!(
            patterns,
            ["(?i).+-c\\.test(:[0-9]+)?", "(?i)d\\..+", "(?i)e\\.test:81"]
        );
        assert!(!found.any && conditions(&[Domain::Any], None).any);
        let other = conditions(&domains[..1], Some("x-host"));
        assert_eq!(
            other.headers,
            [json!({ "name": "x-host", "regex": "(?i)a\\.test" })]
        );
    }
}
