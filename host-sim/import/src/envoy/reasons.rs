//! Why a field of Envoy's is not carried over.

/// What is said of a field that no row names: a later Envoy's, for instance.
pub(super) const UNKNOWN: &str = "this import does not know the field";

/// What is said of what Envoy itself does with a request that the filter sent its way.
const OWN_ROUTE: &str = "Envoy does this, not the filter: say it on the route that takes the \
                         filter's choice";
const STATISTICS: &str = "Envoy's own statistics; the filter counts by route, pool and target";
const NOT_ROUTING: &str = "Envoy does this, not the filter: keep it in the proxy's configuration";

/// Why a field that nobody took is not carried over.
pub(super) fn reason(message: &str, field: &str) -> &'static str {
    let short = message.rsplit("route.v3.").next().unwrap_or_default();
    match (short, field) {
        (_, "metadata_match") => {
            "the filter does not choose among subsets of a cluster: make a cluster of each"
        }
        (_, "metadata") => "metadata is for other filters: say it on Envoy's own route",
        (_, "typed_per_filter_config") => {
            "it is for another filter: say it on the route that takes the filter's choice"
        }
        (_, "cors") => "CORS is the cors filter's",
        (_, "rate_limits" | "include_vh_rate_limits") => {
            "descriptors for a rate limit service; the filter's own limits are `rate_limits`"
        }
        (_, "route_specifiers") => "extensions that change routes are Envoy's own",
        (_, "virtual_clusters" | "stat_prefix") => STATISTICS,
        (
            _,
            "per_request_buffer_limit_bytes"
            | "request_body_buffer_limit"
            | "hedge_policy"
            | "include_request_attempt_count"
            | "include_attempt_count_in_response"
            | "include_is_timeout_retry_header"
            | "tracing"
            | "decorator"
            | "retry_policy_typed_config",
        ) => OWN_ROUTE,
        (
            "RouteAction",
            "prefix_rewrite" | "regex_rewrite" | "path_rewrite" | "path_rewrite_policy",
        ) => "another field rewrites the path already",
        ("RouteAction", _) => OWN_ROUTE,
        ("RouteConfiguration", "internal_only_headers" | "vhds" | "validate_clusters") => {
            NOT_ROUTING
        }
        ("RouteConfiguration", "max_direct_response_body_size_bytes") => {
            "the filter's own bound on bodies is 64 KiB"
        }
        ("RouteConfiguration", "cluster_specifier_plugins") => {
            "plugins that choose clusters are Envoy's own"
        }
        ("RetryPolicy", _) => {
            "the filter's `retry` says how often, on what and for how long each; the rest is the \
             retry policy of the route that takes the filter's choice"
        }
        ("RouteAction.RequestMirrorPolicy", _) => {
            "the filter's `mirror` says where to and how many; the rest is Envoy's own"
        }
        ("RouteAction.HashPolicy", "terminal") => "only the first hash policy is carried over",
        ("WeightedCluster", _) | ("WeightedCluster.ClusterWeight", _) => {
            "parts of a split have a pool, a weight and header edits"
        }
        ("HeaderMatcher" | "QueryParameterMatcher" | "CookieMatcher", _) => {
            "the filter has no such condition"
        }
        _ => UNKNOWN,
    }
}

/// What a filter's message is about.
pub(super) fn of_filter(message: &str) -> String {
    let short = message.rsplit('.').next().unwrap_or(message);
    format!("{short} is for another filter")
}
