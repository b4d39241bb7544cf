//! The kinds of warnings and notes, which `check --allow` takes.

/// Every kind, in alphabetical order.
pub const KINDS: &[&str] = &[
    "answers_the_rest",
    "choice_not_obeyed",
    "client_chosen_key",
    "contradiction",
    "cookie_never_sent",
    "cookie_never_taken",
    "copies_nothing",
    "dear_request",
    "dearest_request",
    "edit_replaced",
    "ejects_all_or_none",
    "empty_promise",
    "endpoint_not_obeyed",
    "engine_without_http2",
    "failure_policy",
    "filter_never_reached",
    "forgeable_session",
    "gauges_rejected",
    "half_anchored",
    "header_sessions_move",
    "inbound_too",
    "limit_on_redirect",
    "literal_wildcard",
    "long_headers",
    "many_attempts",
    "many_probes",
    "mirror_not_obeyed",
    "mirror_of_itself",
    "module_digest",
    "more_attempts_than_endpoints",
    "moving_tag",
    "never_ejects",
    "never_reloaded",
    "no_addresses",
    "no_client_certificate",
    "no_configuration",
    "no_effect",
    "no_labels",
    "no_priority",
    "no_reload",
    "no_vm_id",
    "no_weight",
    "not_before_router",
    "not_compared",
    "not_http",
    "only_without_path",
    "own_listener",
    "path_as_it_came",
    "protect_without_place",
    "published_secret",
    "rate_limit_share",
    "read_differently",
    "redirect_loop",
    "repeated",
    "routes_elsewhere",
    "same_cookie",
    "same_filter",
    "same_metrics",
    "same_scope",
    "same_sessions",
    "secret_told",
    "sessions_never_freed",
    "short_token",
    "source_address",
    "split_drifts",
    "trusted_hops",
    "try_no_shorter",
    "unknown_cluster",
    "unknown_endpoint",
    "unknown_field",
    "unknown_kind",
    "unreachable_block",
    "unreachable_route",
    "unset_variable",
    "unsigned_cookie",
    "unused_failover",
    "unused_key",
    "unused_method",
    "unused_pool",
    "unused_protect",
    "unused_rate_limit",
    "upstream_header_kept",
    "variable_not_given",
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    /// The kinds are words of the sources: those behind these beginnings are all listed, and each
    /// that is listed is written somewhere.
    #[test]
    fn every_kind_is_listed() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/check");
        let mut sources = String::new();
        let folders = ["", "manifest", "proxy_file"].map(|folder| directory.join(folder));
        let entries = folders.iter().flat_map(|it| fs::read_dir(it).unwrap());
        for entry in entries {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap();
            if name != "kinds.rs" && name != "tests.rs" && path.is_file() {
                sources += &fs::read_to_string(path).unwrap();
            }
        }
        let mut written = BTreeSet::new();
        for before in ["Warning::new(", "kind: "] {
            for behind in sources.split(before).skip(1) {
                let literal = behind.trim_start().strip_prefix('"');
                written.extend(literal.and_then(|it| it.split('"').next()));
            }
        }
        let listed: BTreeSet<&str> = KINDS.iter().copied().collect();
        let missing: Vec<_> = written.difference(&listed).collect();
        assert!(missing.is_empty() && written.len() > 40, "{missing:?}");
        for kind in KINDS {
            assert!(sources.contains(&format!("\"{kind}\"")), "{kind}");
        }
        assert!(KINDS.is_sorted());
    }
}
