//! Requests that bring as much as the shipped edge lets in, to routes that look at all of it.

use super::load;
use super::stage::{Stage, shown, survived};
use super::{FaultPlan, FaultResult};
use crate::client::Client;
use anyhow::{Result, ensure};
use pointsman_core::http::steps;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// The longest value that a pattern looks at.
const LONGEST: usize = 8 * 1024;
/// What a client may bring in all headers: the shipped 16 KiB, without what every request has.
const HEADERS: usize = 15 * 1024;
/// A request takes no longer than so many times an ordinary one: twice what is promised of its
/// instructions, because time is not as exact as these.
const TIMES: f64 = 2.0 * steps::TIMES as f64;

/// Routes as people write them, which search what clients choose.
fn configuration() -> Value {
    const BOTS: &str =
        "(?i).*(bot|crawl|spider|slurp|scan|curl|wget|python|scrapy|ahrefs|semrush).*";
    let bots = json!({
        "name": "bots", "match": { "headers": [{ "name": "user-agent", "regex": BOTS }] }, "respond": { "status": 403 },
    });
    let mut routes = vec![bots];
    for word in [
        "shop", "cart", "blog", "help", "jobs", "news", "docs", "team", "legal", "press",
    ] {
        let regex = format!(r".*/(en|de|fr|ko)/[a-z0-9-]+/{word}/[0-9]+\.(html|json)");
        routes
            .push(json!({ "name": word, "match": { "path": { "regex": regex } }, "pool": "web" }));
    }
    for number in 0..20 {
        let exact = format!("v{number}");
        routes.push(json!({
            "name": format!("cookie-{number}"), "match": { "cookies": [{ "name": "exp", "exact": exact }] }, "pool": "web",
        }));
        routes.push(json!({
            "name": format!("query-{number}"), "match": { "query": [{ "name": "region", "exact": exact }] }, "pool": "web",
        }));
    }
    let rewrite = json!({ "path_regex": { "pattern": "a.*z|a", "substitution": "b" } });
    routes.push(json!({
        "name": "rewritten", "match": { "path": { "prefix": "/old" } }, "rewrite": rewrite, "pool": "web",
    }));
    let parts = json!(["client_ip", { "cookie": "session" }, { "header": "user-agent" }, { "query": "q" }, "path"]);
    let limits = (0..5).map(|number| {
        let limit = json!({ "requests": 1_000_000, "per": "1s", "key": parts });
        (format!("limit-{number}"), limit)
    });
    let limits: serde_json::Map<_, _> = limits.collect();
    let names: Vec<_> = limits.keys().cloned().collect();
    routes.push(json!({ "name": "all", "rate_limits": names, "pool": "web" }));
    json!({
        "pools": { "web": { "targets": [{ "cluster": "web" }] } },
        "rate_limits": limits,
        "routes": routes,
    })
}

/// A request, by what it brings.
struct Dear {
    what: &'static str,
    path: String,
    headers: Vec<(&'static str, String)>,
}

fn dear() -> Vec<Dear> {
    let filled = |text: &str, length: usize| text.repeat(length / text.len());
    let of = |what, path: String, headers: &[(&'static str, String)]| Dear {
        what,
        path,
        headers: headers.to_vec(),
    };
    let path = |text: &str, length: usize| format!("/{}", filled(text, length - 1));
    vec![
        of(
            "a long user-agent",
            "/".to_owned(),
            &[("user-agent", filled("bo", LONGEST))],
        ),
        of(
            "a path that ten patterns search",
            path("en/a-/", LONGEST),
            &[],
        ),
        of(
            "many cookies",
            "/".to_owned(),
            &[("cookie", filled("exp=b;", HEADERS))],
        ),
        of(
            "one long cookie",
            "/".to_owned(),
            &[("cookie", format!("session={}", filled("a", HEADERS)))],
        ),
        of(
            "many query parameters",
            format!("/?{}", filled("region=%61&", HEADERS)),
            &[],
        ),
        of(
            "a path to be rewritten",
            format!("/old/{}", filled("a", LONGEST - 5)),
            &[],
        ),
    ]
}

pub(super) fn dear_requests(stage: &Stage, plan: &FaultPlan) -> Result<FaultResult> {
    let site = stage.site(&configuration())?;
    let address = site.envoy.address()?;
    let rounds = (plan.answers / 5).max(1);
    let dear = dear();
    let (mut log, (ordinary, took)) = load::under(address, plan, &load::plain, |_| {
        let mut client = Client::new(address)?;
        let mut ask = |path: &str, headers: &[(&str, &str)]| -> Result<Duration> {
            let start = Instant::now();
            let answer = client.get_with("a", path, headers)?;
            // What uses up all that conditions may take is refused, and costs that much too.
            let is_refused = answer.status() == 431 && (path, headers) != ("/", &[]);
            ensure!(
                answer.status() == 200 || is_refused,
                "{} for a dear request",
                answer.status()
            );
            Ok(start.elapsed())
        };
        let mut ordinary = Vec::new();
        let mut took: Vec<Vec<Duration>> = dear.iter().map(|_| Vec::new()).collect();
        for _ in 0..rounds {
            ordinary.push(ask("/", &[])?);
            for (dear, took) in dear.iter().zip(&mut took) {
                let headers = dear.headers.iter();
                let headers: Vec<_> = headers.map(|(name, value)| (*name, &**value)).collect();
                took.push(ask(&dear.path, &headers)?);
            }
        }
        Ok((ordinary, took))
    })?;
    log.at_most(0);
    let ordinary = median(ordinary);
    let medians = took.into_iter().map(median);
    let dearest = dear.iter().zip(medians).max_by_key(|(_, took)| *took);
    let (what, took) = dearest.map_or(("", ordinary), |(dear, took)| (dear.what, took));
    let times = took.as_secs_f64() / ordinary.as_secs_f64();
    if times > TIMES {
        log.broken.push(format!("{what}: {times:.1} times"));
    }
    let seen = format!(
        "the dearest is {what}: {:.2} ms, an ordinary one {:.2} ms (medians), {times:.1} times; \
         slowest answer of the load {}",
        1e3 * took.as_secs_f64(),
        1e3 * ordinary.as_secs_f64(),
        shown(log.slowest()),
    );
    let fault = format!(
        "{} requests that bring as much as the edge lets in, to routes that search it",
        rounds * dear.len()
    );
    let promised = format!("none fails, none takes more than {TIMES} times an ordinary one");
    survived(site, fault, log, &promised, seen)
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}
