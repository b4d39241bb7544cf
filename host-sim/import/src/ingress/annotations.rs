//! The annotations of ingress-nginx.

use super::{networks, redirect};
use crate::fields::Fields;
use serde_json::{Map, Value, json};

/// What the annotations of ingress-nginx begin with.
pub(super) const PREFIX: &str = "nginx.ingress.kubernetes.io/";

/// What the annotations of an Ingress say.
#[derive(Clone, Debug, Default)]
pub(super) struct Settings {
    /// Something decides who may pass, and could not be carried over.
    pub is_closed: bool,
    /// The action of `permanent-redirect` or `temporal-redirect`.
    pub redirect: Option<(&'static str, Value)>,
    /// Whether hosts with a certificate are redirected to https.
    pub ssl_redirect: bool,
    /// Whether all hosts are.
    pub force_ssl_redirect: bool,
    pub app_root: Option<String>,
    pub aliases: Vec<String>,
    pub from_to_www: bool,
    /// None: everybody may pass.
    pub allow: Option<Vec<String>>,
    pub deny: Vec<String>,
    pub limits: Vec<Limit>,
    /// Whom the limits are not for.
    pub without_limits: Vec<String>,
    pub rewrite_target: Option<String>,
    pub use_regex: bool,
    /// The host that the upstream sees.
    pub upstream_host: Option<String>,
    pub forwarded_prefix: Option<String>,
    /// The value of `sticky.cookie`; its path is the location's where it has none.
    pub cookie: Option<Map<String, Value>>,
    pub balance: Option<Value>,
    pub canary: Option<Canary>,
    /// Where `rewrite-target` stands.
    pub rewrite_place: String,
}

/// A limit by the client's address.
#[derive(Clone, Debug)]
pub(super) struct Limit {
    /// `rps` or `rpm`.
    pub unit: &'static str,
    pub requests: i64,
    pub burst: i64,
}

/// Who goes to the canary, in this order: by the header, by the cookie, by the weight.
#[derive(Clone, Debug, Default)]
pub(super) struct Canary {
    pub header: Option<String>,
    pub header_value: Option<String>,
    pub header_pattern: Option<String>,
    pub cookie: Option<String>,
    pub weight: i64,
    pub total: i64,
}

/// Annotations that say who may pass. Without them everybody would.
const CLOSING: &[&str] = &[
    "auth-type",
    "auth-url",
    "auth-tls-secret",
    "auth-tls-verify-client",
];

/// Annotations that cannot be carried over: why, and what there is instead.
const REFUSED: &[(&[&str], &str)] = &[
    (
        &["proxy-read-timeout", "proxy-send-timeout"],
        "it bounds the time between two reads or writes; a route's `timeout` bounds the whole \
         request. Envoy's `stream_idle_timeout` is the nearest",
    ),
    (
        &["proxy-connect-timeout"],
        "the time to connect is the cluster's: Envoy's `connect_timeout`",
    ),
    (
        &[
            "proxy-next-upstream",
            "proxy-next-upstream-timeout",
            "proxy-next-upstream-tries",
        ],
        "nginx tries again only what is idempotent, which `retry` does not ask; write a `retry` \
         for the routes that may be repeated",
    ),
    (
        &["limit-connections", "limit-rate", "limit-rate-after"],
        "limits are on requests, not on connections and bytes",
    ),
    (
        &["mirror-target", "mirror-request-body", "mirror-host"],
        "a URL and no service: write a pool for it and the routes' `mirror`",
    ),
    (
        &[
            "default-backend",
            "custom-http-errors",
            "disable-proxy-intercept-errors",
        ],
        "which endpoints a service has is not known here: name a pool in `failover`, with `health`",
    ),
    (
        &[
            "configuration-snippet",
            "server-snippet",
            "stream-snippet",
            "auth-snippet",
            "modsecurity-snippet",
        ],
        "text in nginx's language",
    ),
    (
        &[
            "enable-cors",
            "cors-allow-origin",
            "cors-allow-methods",
            "cors-allow-headers",
            "cors-expose-headers",
            "cors-allow-credentials",
            "cors-max-age",
        ],
        "the configuration has no CORS: let the proxy answer preflights, such as by Envoy's filter \
         `envoy.filters.http.cors` before this one",
    ),
    (
        &[
            "backend-protocol",
            "grpc-backend",
            "proxy-ssl-secret",
            "proxy-ssl-verify",
            "proxy-ssl-name",
            "proxy-ssl-server-name",
            "proxy-ssl-protocols",
            "proxy-ssl-ciphers",
            "proxy-ssl-verify-depth",
            "service-upstream",
            "proxy-http-version",
        ],
        "how a backend is spoken to is its cluster's",
    ),
    (
        &["upstream-hash-by-subset", "upstream-hash-by-subset-size"],
        "a key has one target and no subset of them",
    ),
    (
        &["affinity-canary-behavior"],
        "clients that the weight made the canary's stay with it, which is `sticky`",
    ),
    (
        &["session-cookie-change-on-failure"],
        "a session moves when `health` finds its target unhealthy",
    ),
    (
        &["session-cookie-conditional-samesite-none"],
        "`same_site` does not depend on the browser",
    ),
    (
        &[
            "ssl-passthrough",
            "ssl-ciphers",
            "ssl-prefer-server-ciphers",
            "auth-tls-pass-certificate-to-upstream",
            "auth-tls-error-page",
            "auth-tls-verify-depth",
            "auth-tls-match-cn",
        ],
        "TLS is the proxy's",
    ),
    (
        &[
            "proxy-body-size",
            "client-body-buffer-size",
            "proxy-buffering",
            "proxy-buffer-size",
            "proxy-buffers-number",
            "proxy-busy-buffers-size",
            "proxy-max-temp-file-size",
            "proxy-request-buffering",
            "connection-proxy-header",
        ],
        "buffers and bodies are the proxy's",
    ),
    (
        &[
            "proxy-cookie-domain",
            "proxy-cookie-path",
            "proxy-redirect-from",
            "proxy-redirect-to",
        ],
        "headers of the response are edited as a whole, not searched",
    ),
    (
        &[
            "enable-access-log",
            "enable-rewrite-log",
            "enable-opentelemetry",
            "enable-opentracing",
            "opentelemetry-trust-incoming-span",
            "opentelemetry-operation-name",
            "opentracing-trust-incoming-span",
        ],
        "logs and traces are the proxy's",
    ),
    (
        &[
            "enable-modsecurity",
            "enable-owasp-core-rules",
            "modsecurity-transaction-id",
        ],
        "the configuration has no ModSecurity: put a filter with it before this one",
    ),
    (
        &["custom-headers"],
        "it names a ConfigMap, which is not read: write `response_headers`",
    ),
    (
        &[
            "auth-secret",
            "auth-secret-type",
            "auth-realm",
            "auth-method",
            "auth-signin",
            "auth-signin-redirect-param",
            "auth-response-headers",
            "auth-proxy-set-headers",
            "auth-request-redirect",
            "auth-cache-key",
            "auth-cache-duration",
            "auth-keepalive",
            "auth-keepalive-share-vars",
            "auth-keepalive-requests",
            "auth-keepalive-timeout",
            "auth-always-set-cookie",
            "enable-global-auth",
            "satisfy",
        ],
        "the configuration asks nobody who a client is",
    ),
];

/// Takes an annotation of ingress-nginx.
fn text(annotations: &mut Fields, name: &str) -> Option<String> {
    annotations.text(&format!("{PREFIX}{name}"))
}

fn not_carried(annotations: &Fields, name: &str, why: impl Into<String>) {
    annotations.not_carried(&format!("{PREFIX}{name}"), why);
}

/// Names annotations that say nothing without another one, which is not there.
fn idle(annotations: &mut Fields, without: &str, names: &[&str]) {
    for name in names {
        let why = format!("without `{without}` the controller ignores it");
        annotations.refuse(&format!("{PREFIX}{name}"), &why);
    }
}

fn yes(annotations: &mut Fields, name: &str) -> Option<bool> {
    let text = text(annotations, name)?;
    match &*text {
        "true" => Some(true),
        "false" => Some(false),
        _ => {
            not_carried(
                annotations,
                name,
                format!("`{text}` is neither true nor false"),
            );
            None
        }
    }
}

fn whole(annotations: &mut Fields, name: &str) -> Option<i64> {
    let text = text(annotations, name)?;
    let number = text.trim().parse().ok().filter(|number| *number >= 0);
    if number.is_none() {
        not_carried(annotations, name, format!("`{text}` is no whole number"));
    }
    number
}

fn networks(annotations: &mut Fields, names: &[&str]) -> Option<Vec<String>> {
    let mut all = None;
    for name in names {
        if let Some(text) = text(annotations, name) {
            let (good, bad) = networks::list(&text);
            for bad in bad {
                not_carried(annotations, name, format!("`{bad}` is no network"));
            }
            all.get_or_insert_with(Vec::new).extend(good);
        }
    }
    all
}

/// Reads the annotations. What is left of them is named when they are dropped.
pub(super) fn read(annotations: &mut Fields) -> Settings {
    let mut settings = Settings {
        ssl_redirect: true,
        ..Settings::default()
    };
    if yes(annotations, "canary") == Some(true) {
        settings.canary = Some(canary(annotations));
        for key in annotations.keys() {
            if key.starts_with(PREFIX) {
                annotations.refuse(
                    &key,
                    "of a canary the controller reads the annotations about the canary only",
                );
            }
        }
        name_others(annotations);
        return settings;
    }
    for name in CLOSING {
        let why = "the configuration asks nobody who a client is: put the proxy's own filter \
                   before this one. Until then the routes answer 403";
        settings.is_closed |= annotations.refuse(&format!("{PREFIX}{name}"), why);
    }
    redirects(annotations, &mut settings);
    settings.allow = networks(
        annotations,
        &["whitelist-source-range", "allowlist-source-range"],
    );
    settings.deny = networks(annotations, &["denylist-source-range"]).unwrap_or_default();
    limits(annotations, &mut settings);
    settings.rewrite_target = text(annotations, "rewrite-target");
    settings.rewrite_place = annotations.path(&format!("{PREFIX}rewrite-target"));
    settings.use_regex = yes(annotations, "use-regex").unwrap_or_default();
    settings.upstream_host = text(annotations, "upstream-vhost");
    if settings
        .upstream_host
        .as_ref()
        .is_some_and(|host| host.contains('$'))
    {
        not_carried(annotations, "upstream-vhost", "a variable of nginx");
        settings.upstream_host = None;
    }
    settings.forwarded_prefix = text(annotations, "x-forwarded-prefix");
    affinity(annotations, &mut settings);
    balance(annotations, &mut settings);
    for (names, why) in REFUSED {
        for name in *names {
            annotations.refuse(&format!("{PREFIX}{name}"), why);
        }
    }
    name_others(annotations);
    settings
}

/// Names what is left.
fn name_others(annotations: &mut Fields) {
    for key in annotations.keys() {
        let why = match key.strip_prefix(PREFIX) {
            Some(name) if name.starts_with("canary-") => {
                "without `canary: \"true\"` the controller ignores it"
            }
            Some(_) => "no annotation of ingress-nginx that this import knows",
            None => "an annotation for another program",
        };
        annotations.refuse(&key, why);
    }
}

fn canary(annotations: &mut Fields) -> Canary {
    Canary {
        header: text(annotations, "canary-by-header"),
        header_value: text(annotations, "canary-by-header-value").filter(|it| !it.is_empty()),
        header_pattern: text(annotations, "canary-by-header-pattern").filter(|it| !it.is_empty()),
        cookie: text(annotations, "canary-by-cookie"),
        weight: whole(annotations, "canary-weight").unwrap_or_default(),
        // As the controller has it: less than 100 is 100.
        total: whole(annotations, "canary-weight-total")
            .unwrap_or(100)
            .max(100),
    }
}

fn redirects(annotations: &mut Fields, settings: &mut Settings) {
    for (name, code_name, default) in [
        ("temporal-redirect", "temporal-redirect-code", 302),
        ("permanent-redirect", "permanent-redirect-code", 301),
    ] {
        let Some(url) = text(annotations, name) else {
            idle(annotations, name, &[code_name]);
            continue;
        };
        let code = whole(annotations, code_name).unwrap_or(default);
        if settings.redirect.is_some() {
            not_carried(annotations, name, "beside `temporal-redirect`, which wins");
            continue;
        }
        match redirect::action(&url, code) {
            Ok(action) => settings.redirect = Some(action),
            Err(why) => {
                let why = format!("{why}. Until you write the redirect, the routes answer 503");
                not_carried(annotations, name, why);
                settings.redirect = Some(("respond", json!({ "status": 503 })));
            }
        }
    }
    if let Some(yes) = yes(annotations, "ssl-redirect") {
        settings.ssl_redirect = yes;
    }
    settings.force_ssl_redirect = yes(annotations, "force-ssl-redirect").unwrap_or_default();
    settings.from_to_www = yes(annotations, "from-to-www-redirect").unwrap_or_default();
    settings.app_root = text(annotations, "app-root");
    let is_path =
        |text: &String| text.starts_with('/') && !text.contains(['?', '#', '$', '{', ' ']);
    if settings.app_root.as_ref().is_some_and(|it| !is_path(it)) {
        not_carried(
            annotations,
            "app-root",
            "no path without a query and variables",
        );
        settings.app_root = None;
    }
    for alias in text(annotations, "server-alias")
        .unwrap_or_default()
        .split(',')
    {
        let alias = alias.trim().to_ascii_lowercase();
        let is_host = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        match alias.strip_prefix("*.").unwrap_or(&alias) {
            "" => {}
            name if name.chars().all(is_host) => settings.aliases.push(alias),
            _ => not_carried(
                annotations,
                "server-alias",
                format!("`{alias}` is no host name"),
            ),
        }
    }
}

fn limits(annotations: &mut Fields, settings: &mut Settings) {
    let multiplier = whole(annotations, "limit-burst-multiplier")
        .unwrap_or(5)
        .max(1);
    for (name, unit) in [("limit-rps", "rps"), ("limit-rpm", "rpm")] {
        if let Some(requests) = whole(annotations, name).filter(|requests| *requests > 0) {
            settings.limits.push(Limit {
                unit,
                requests,
                // nginx lets `burst` more than one pass at once.
                burst: requests.saturating_mul(multiplier).saturating_add(1),
            });
        }
    }
    if settings.limits.is_empty() {
        idle(
            annotations,
            "limit-rps",
            &["limit-whitelist", "limit-allowlist"],
        );
    }
    settings.without_limits =
        networks(annotations, &["limit-whitelist", "limit-allowlist"]).unwrap_or_default();
}

const AMONG_ENDPOINTS: &str = "carried over so far as it chooses among the targets of a pool, and \
     the pool has one, the service's cluster; for its endpoints write a pool of endpoints \
     (`cluster`, and targets with `endpoint`)";

fn affinity(annotations: &mut Fields, settings: &mut Settings) {
    let kind = text(annotations, "affinity");
    if kind.is_none() {
        let names = [
            "name", "path", "domain", "expires", "max-age", "samesite", "secure",
        ];
        let names = names.map(|name| format!("session-cookie-{name}"));
        idle(
            annotations,
            "affinity: cookie",
            &names.each_ref().map(String::as_str),
        );
        idle(annotations, "affinity: cookie", &["affinity-mode"]);
        return;
    }
    let name = text(annotations, "session-cookie-name");
    let path = text(annotations, "session-cookie-path");
    let domain = text(annotations, "session-cookie-domain");
    let expires = whole(annotations, "session-cookie-expires");
    let max_age = whole(annotations, "session-cookie-max-age");
    let same_site = text(annotations, "session-cookie-samesite");
    let secure = yes(annotations, "session-cookie-secure");
    let mode = text(annotations, "affinity-mode");
    match kind.as_deref() {
        None | Some("cookie") => {}
        Some(other) => {
            not_carried(
                annotations,
                "affinity",
                format!("`{other}` is not `cookie`"),
            );
            return;
        }
    }
    let mut cookie = Map::new();
    let name = name.unwrap_or_else(|| "INGRESSCOOKIE".into());
    cookie.insert("name".into(), name.into());
    for (key, value) in [("path", path), ("domain", domain)] {
        if let Some(value) = value {
            cookie.insert(key.into(), value.into());
        }
    }
    if expires.is_some() && max_age.is_some_and(|seconds| Some(seconds) != expires) {
        not_carried(
            annotations,
            "session-cookie-expires",
            "browsers prefer `session-cookie-max-age`, which was carried over",
        );
    }
    if let Some(seconds) = max_age.or(expires).filter(|seconds| *seconds > 0) {
        cookie.insert("ttl".into(), format!("{seconds}s").into());
    }
    let mut secure = secure.unwrap_or_default();
    match same_site.map(|it| it.to_ascii_lowercase()).as_deref() {
        None => {}
        Some(word @ ("strict" | "lax" | "none")) => {
            // Browsers refuse `None` without it.
            secure |= word == "none";
            cookie.insert("same_site".into(), word.into());
        }
        Some(_) => not_carried(
            annotations,
            "session-cookie-samesite",
            "none of Strict, Lax, None",
        ),
    }
    if secure {
        cookie.insert("secure".into(), true.into());
    }
    if mode.is_some_and(|mode| mode != "persistent" && mode != "balanced") {
        not_carried(
            annotations,
            "affinity-mode",
            "neither balanced nor persistent",
        );
    }
    not_carried(annotations, "affinity", AMONG_ENDPOINTS);
    settings.cookie = Some(cookie);
}

fn balance(annotations: &mut Fields, settings: &mut Settings) {
    match text(annotations, "load-balance").as_deref() {
        None | Some("round_robin") => {}
        Some("ewma") => {
            not_carried(annotations, "load-balance", AMONG_ENDPOINTS);
            settings.balance = Some("least_response_time".into());
        }
        Some(other) => not_carried(
            annotations,
            "load-balance",
            format!("`{other}` is neither round_robin nor ewma"),
        ),
    }
    let Some(key) = text(annotations, "upstream-hash-by") else {
        return;
    };
    let variable = key.strip_prefix('$').unwrap_or_default();
    let variable = variable
        .strip_prefix('{')
        .and_then(|it| it.strip_suffix('}'))
        .unwrap_or(variable);
    let named = |prefix: &str| {
        variable
            .strip_prefix(prefix)
            .filter(|name| !name.contains('$') && !name.is_empty())
    };
    let part = match variable {
        "remote_addr" | "binary_remote_addr" => json!("client_ip"),
        "uri" | "request_uri" => json!("path"),
        "host" | "http_host" => json!({ "header": ":authority" }),
        _ => match (named("http_"), named("cookie_"), named("arg_")) {
            (Some(name), _, _) => json!({ "header": name.replace('_', "-") }),
            (_, Some(name), _) => json!({ "cookie": name }),
            (_, _, Some(name)) => json!({ "query": name }),
            _ => {
                let why =
                    format!("`{key}` is no client address, path, header, cookie or parameter");
                not_carried(annotations, "upstream-hash-by", why);
                return;
            }
        },
    };
    let why = match variable {
        "request_uri" => format!("by the path without the query. {AMONG_ENDPOINTS}"),
        "host" | "http_host" => {
            not_carried(
                annotations,
                "upstream-hash-by",
                "a key is a header, a cookie, a query parameter, the path or the client's address, \
                 not the host",
            );
            return;
        }
        _ => AMONG_ENDPOINTS.to_owned(),
    };
    not_carried(annotations, "upstream-hash-by", why);
    settings.balance = Some(json!({ "consistent_hash": { "key": part } }));
}
