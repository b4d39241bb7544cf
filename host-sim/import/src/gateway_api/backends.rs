//! `backendRefs`: the pool or the split of a rule.

use super::Context;
use super::filters::{self, Filters};
use crate::clusters;
use crate::fields::Fields;
use serde_json::{Map, Value, json};

/// Who names a backend.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owner<'o> {
    /// `HTTPRoute` or `GRPCRoute`.
    pub kind: &'o str,
    pub namespace: &'o str,
    pub name: &'o str,
    /// From 0.
    pub rule: usize,
}

/// A backend.
#[derive(Debug)]
pub(super) struct Backend {
    pub cluster: String,
    /// What stands above its pool.
    pub comment: String,
}

/// A backend with what is said of it in a rule.
#[derive(Debug)]
struct Weighted {
    backend: Backend,
    weight: i64,
    filters: Filters,
}

/// What is said of the backends of a rule that answers 500.
pub(super) const CLOSED: &str = "the rule answers 500, so nothing reaches them";

/// Reads `backendRefs` and makes the rule's action: `pool`, `split` or, where no backend takes
/// requests, `respond`. `sticky`: the value of `sticky` for the rule's sessions.
pub(super) fn action(
    rule: &mut Fields,
    sticky: Option<Value>,
    owner: &Owner<'_>,
    context: &mut Context<'_>,
) -> (&'static str, Value) {
    let mut all = Vec::new();
    let mut is_closed = false;
    for (number, mut item) in rule.items("backendRefs").into_iter().enumerate() {
        let filters = filters::read(&mut item, owner, context);
        for (key, there) in [
            ("a redirect", filters.redirect.is_some()),
            ("a rewrite", filters.rewrite.is_some()),
            ("a mirror", filters.mirror.is_some()),
        ] {
            if there {
                let why = format!("a part of a split has no {} of its own", &key[2..]);
                item.not_carried("filters", why);
            }
        }
        is_closed |= filters.is_closed;
        let weight = match item.has("weight") {
            true => item.whole("weight"),
            false => Some(1),
        };
        let backend = one(&mut item, owner, number, context);
        let (Some(backend), Some(weight)) = (backend, weight) else {
            is_closed = true;
            continue;
        };
        all.push(Weighted {
            backend,
            weight,
            filters,
        });
    }
    if is_closed {
        rule.not_carried("backendRefs", CLOSED);
    }
    if is_closed || !all.iter().any(|one| one.weight > 0) {
        // What the specification wants where a rule has no backend that it may use.
        return ("respond", json!({ "status": 500 }));
    }
    let has_edits = |one: &Weighted| {
        one.filters.request.value().is_some() || one.filters.response.value().is_some()
    };
    let is_plain = !all.iter().any(has_edits);
    let first = all[0].backend.cluster.clone();
    // Under Envoy Gateway's names all backends of a rule are one cluster, which has their weights.
    let is_one = all.iter().all(|one| one.backend.cluster == first);
    if let Some(sticky) = sticky {
        if !is_plain {
            rule.not_carried(
                "sessionPersistence",
                "the backends have filters of their own, and sessions over such a split are not \
                 carried over",
            );
        } else {
            let wanted = format!("{}/{}/{}", owner.namespace, owner.name, owner.rule);
            let pool = sticky_pool(&all, is_one, sticky);
            let comment = format!("sessions of {} rule {}", title(owner), owner.rule);
            return ("pool", context.pools.named(&wanted, &comment, pool).into());
        }
    }
    if is_plain && is_one {
        let Backend { cluster, comment } = &all[0].backend;
        return ("pool", context.pools.of_cluster(cluster, comment).into());
    }
    let parts = all.iter().map(|one| {
        let Backend { cluster, comment } = &one.backend;
        let mut part = Map::new();
        let pool = context.pools.of_cluster(cluster, comment);
        part.insert("pool".into(), pool.into());
        part.insert("weight".into(), one.weight.into());
        for (key, edits) in [
            ("request_headers", &one.filters.request),
            ("response_headers", &one.filters.response),
        ] {
            if let Some(edits) = edits.value() {
                part.insert(key.into(), edits);
            }
        }
        Value::Object(part)
    });
    ("split", parts.collect())
}

fn sticky_pool(all: &[Weighted], is_one: bool, sticky: Value) -> Map<String, Value> {
    let mut pool = Map::new();
    let targets = all
        .iter()
        .map(|one| json!({ "cluster": one.backend.cluster, "weight": one.weight }));
    let targets: Vec<Value> = match is_one {
        true => vec![json!({ "cluster": all[0].backend.cluster })],
        false => targets.collect(),
    };
    if targets.len() > 1 {
        // A session belongs to a target. Without this nothing frees those of a target that fails.
        pool.insert("health".into(), json!({ "passive": {} }));
    }
    pool.insert("targets".into(), targets.into());
    pool.insert("sticky".into(), sticky);
    pool
}

fn title(owner: &Owner<'_>) -> String {
    format!("{} {}/{}", owner.kind, owner.namespace, owner.name)
}

/// Reads a reference to a backend. None: it is none, which is reported.
pub(super) fn one(
    item: &mut Fields,
    owner: &Owner<'_>,
    number: usize,
    context: &mut Context<'_>,
) -> Option<Backend> {
    let group = item.text("group").unwrap_or_default();
    let kind = item.text("kind").unwrap_or_else(|| "Service".into());
    let namespace = item
        .text("namespace")
        .unwrap_or_else(|| owner.namespace.into());
    let port = item.whole("port").map(|port| port.to_string());
    let Some(name) = item.text("name") else {
        item.report().add(item.path("name"), "missing");
        return None;
    };
    if kind != "Service" || !group.is_empty() {
        item.not_carried(
            "kind",
            format!("{kind} is no Service: its cluster is taken to be called like one's"),
        );
    }
    let from = (owner.kind, owner.namespace);
    if namespace != owner.namespace && !context.grants.allow(from, (&kind, &namespace, &name)) {
        item.not_carried(
            "namespace",
            "no ReferenceGrant among the files allows it; it was carried over as if one did",
        );
    }
    let cluster = context
        .options
        .cluster_template
        .cluster(&clusters::Backend {
            namespace: &namespace,
            name: &name,
            port: port.as_deref().unwrap_or_default(),
            kind: &owner.kind.to_ascii_lowercase(),
            route_namespace: owner.namespace,
            route: owner.name,
            rule: owner.rule,
            backend: number,
        });
    let port = port.map(|port| format!(" port {port}")).unwrap_or_default();
    Some(Backend {
        cluster,
        comment: format!("{kind} {namespace}/{name}{port}"),
    })
}
