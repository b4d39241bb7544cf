//! The steps of the demo, and what must be true in each. They fit `envoy-config/envoy.yaml`.

use super::report::DemoReport;
use anyhow::{Context, Result};
use host_sim::backend::Backend;
use host_sim::client::{Client, header, session_cookie};
use host_sim::envoy::Envoy;
use host_sim::testkit::load;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

/// Requests of one show of shares. A whole number of cycles of every pool's weights, and enough for
/// a split to settle.
const REQUESTS: usize = 2000;
/// Connections that they come over: enough for both workers to get some.
const CONNECTIONS: usize = 8;
/// Each worker may be one request ahead or behind of the pool's common turn.
const WORKERS: usize = 2;
/// How many requests a sticky client sends.
const SESSION: usize = 100;
/// `rate_limits.login`
const BURST: usize = 3;
const HOST: &str = "shop.example.com";

/// The proxy and the backends that the steps use.
pub(super) struct DemoSite {
    pub backends: Vec<Backend>,
    pub envoy: Envoy,
    pub address: SocketAddr,
}

impl DemoSite {
    fn client(&self) -> Result<Client> {
        Client::new(self.address)
    }

    fn backend_mut(&mut self, name: &str) -> Result<&mut Backend> {
        self.backends
            .iter_mut()
            .find(|backend| backend.name() == name)
            .with_context(|| format!("no backend {name}"))
    }
}

/// All steps in turn. An error: no answer came from the proxy.
pub(super) fn play(site: &mut DemoSite, report: &mut DemoReport) -> Result<()> {
    choose(site, report)?;
    weigh(site, report)?;
    endpoints(site, report)?;
    split(site, report)?;
    stick(site, report)?;
    limit(site, report)
}

/// One request, one route.
fn choose(site: &DemoSite, report: &mut DemoReport) -> Result<()> {
    report.section("Routes: the first match wins");
    let mut client = site.client()?;
    let none: &[(&str, &str)] = &[];
    let rows = [
        (
            "by host",
            "/",
            &[("host", "www.beta.example.com")][..],
            "beta",
        ),
        ("by cookie", "/", &[("cookie", "a=b; beta=1")], "beta"),
        ("by header", "/", &[("x-tier", "gold")], "gold"),
        ("by query", "/search?q=x&region=eu", none, "eu"),
        ("by path", "/api/users", none, "api-"),
        ("no other", "/new", none, "web-"),
    ];
    for (how, path, headers, expected) in rows {
        let response = client.get_with(HOST, path, headers)?;
        let got = header(&response, "x-backend");
        let shown = shown(path, headers);
        report.check(
            got.starts_with(expected),
            &format!("{how:<11} {shown:<40} → {}", or_nobody(got)),
        );
    }
    let response = client.get(HOST, "/old?a=1")?;
    let (status, location) = (response.status().as_u16(), header(&response, "location"));
    let good = status == 301 && location == format!("http://{HOST}/new?a=1");
    report.check(
        good,
        &format!(
            "{:<11} {:<40} → {status} {location}",
            "redirect", "/old?a=1"
        ),
    );
    let response = client.get(HOST, "/public/../internal/keys")?;
    let status = response.status().as_u16();
    report.check(
        status == 403,
        &format!(
            "{:<11} {:<40} → {status}",
            "refused", "/public/../internal/keys"
        ),
    );
    let forged = [
        ("x-pointsman-cluster", "gold"),
        ("x-pointsman-endpoint", "127.0.0.1:9004"),
    ];
    let response = client.get_with(HOST, "/", &forged)?;
    let (got, shown) = (header(&response, "x-backend"), shown("/", &forged[..1]));
    report.check(
        got.starts_with("web-"),
        &format!("{:<11} {shown:<40} → {}", "forged", or_nobody(got)),
    );
    report.sent(rows.len() + 3);
    Ok(())
}

fn weigh(site: &DemoSite, report: &mut DemoReport) -> Result<()> {
    report.section(&format!(
        "A weighted pool: {REQUESTS} requests to /, over {CONNECTIONS} connections"
    ));
    let counts = flood(site.address, "/")?;
    for (name, weight) in [("web-blue", 9), ("web-green", 1)] {
        report.share(
            name,
            count(&counts, name),
            REQUESTS,
            REQUESTS * weight / 10,
            WORKERS,
        );
    }
    report.sent(REQUESTS);
    Ok(())
}

fn endpoints(site: &mut DemoSite, report: &mut DemoReport) -> Result<()> {
    report.section(&format!(
        "A pool of endpoints of one cluster: {REQUESTS} requests to /api/users"
    ));
    let counts = flood(site.address, "/api/users")?;
    for (name, weight) in [("api-9101", 2), ("api-9102", 1), ("api-9103", 1)] {
        report.share(
            name,
            count(&counts, name),
            REQUESTS,
            REQUESTS * weight / 4,
            WORKERS,
        );
    }
    let received = site.backend_mut("api-9101")?.take_received();
    let rewritten = received.iter().all(|request| {
        request
            .headers
            .iter()
            .any(|(name, value)| name == b":path" && value == b"/users")
    });
    report.check(
        rewritten && !received.is_empty(),
        "the backends saw /users: the prefix was rewritten",
    );

    // Its connections end, new ones are refused.
    site.backend_mut("api-9103")?.stop();
    let counts = flood(site.address, "/api/users")?;
    let answered = count(&counts, "api-9101") + count(&counts, "api-9102");
    let what = format!(
        "api-9103 stopped: {answered} of {REQUESTS} answered, by the next endpoint of the choice"
    );
    report.check(answered == REQUESTS, &what);
    let backend = site.backend_mut("api-9103")?;
    backend.start_again().context("starting api-9103 again")?;
    report.sent(2 * REQUESTS);
    Ok(())
}

fn split(site: &DemoSite, report: &mut DemoReport) -> Result<()> {
    report.section(&format!(
        "A canary: {REQUESTS} requests to /checkout, each by its own draw"
    ));
    let counts = flood(site.address, "/checkout")?;
    let canary = count(&counts, "beta");
    // Six and a half standard deviations of that many draws: wrong by chance once in 10^10 runs.
    let tolerance = (6.5 * (REQUESTS as f64 * 0.2 * 0.8).sqrt()) as usize;
    report.share("beta", canary, REQUESTS, REQUESTS / 5, tolerance);
    let others = count(&counts, "web-blue") + count(&counts, "web-green");
    report.share("shop", others, REQUESTS, REQUESTS - REQUESTS / 5, tolerance);
    report.sent(REQUESTS);
    Ok(())
}

fn stick(site: &DemoSite, report: &mut DemoReport) -> Result<()> {
    report.section("Sticky sessions: /account");
    let first = site.client()?.get(HOST, "/account")?;
    let target = header(&first, "x-backend").to_owned();
    let cookie = session_cookie(&first).unwrap_or_default();
    let named = ["blue", "green", "127.0.0.1", "9001", "9002"]
        .iter()
        .any(|name| cookie.contains(name));
    report.check(
        !cookie.is_empty() && !named,
        &format!("a new client went to {target} and got {}", short(&cookie)),
    );

    let mut stayed = 0;
    for i in 0..SESSION {
        // A connection each, so that both workers see the client.
        let mut client = site.client()?;
        let response = client.get_with(HOST, &format!("/account/{i}"), &[("cookie", &cookie)])?;
        stayed += usize::from(
            header(&response, "x-backend") == target && session_cookie(&response).is_none(),
        );
    }
    report.check(
        stayed == SESSION,
        &format!("with its cookie it stayed: {stayed} of {SESSION} to {target}"),
    );

    let forged = forge(&cookie);
    let response = site
        .client()?
        .get_with(HOST, "/account", &[("cookie", &forged)])?;
    let replaced = session_cookie(&response).is_some_and(|fresh| fresh != forged);
    report.check(replaced, "a forged cookie is replaced by a fresh choice");

    let counts = flood(site.address, "/account")?;
    for name in ["web-blue", "web-green"] {
        report.share(name, count(&counts, name), REQUESTS, REQUESTS / 2, WORKERS);
    }
    report.sent(REQUESTS + SESSION + 2);
    Ok(())
}

fn limit(site: &DemoSite, report: &mut DemoReport) -> Result<()> {
    report.section("A rate limit: /login, a burst of 3, then one every 2 s");
    let mut client = site.client()?;
    let mut statuses = Vec::new();
    let mut retry_after = String::new();
    for _ in 0..BURST + 2 {
        let response = client.get(HOST, "/login")?;
        statuses.push(response.status().as_u16());
        if retry_after.is_empty() {
            header(&response, "retry-after").clone_into(&mut retry_after);
        }
    }
    let good = statuses == [200, 200, 200, 429, 429];
    report.check(
        good,
        &format!("five at once: {statuses:?}, retry-after: {retry_after}"),
    );
    report.sent(BURST + 2);
    let Ok(wait) = retry_after.parse() else {
        report.check(false, "it was told no number of seconds to wait");
        return Ok(());
    };
    thread::sleep(Duration::from_secs(wait));
    let statuses = [(); 2].map(|()| {
        client
            .get(HOST, "/login")
            .map(|response| response.status().as_u16())
            .ok()
    });
    let good = statuses == [Some(200), Some(429)];
    let shown: Vec<_> = statuses.into_iter().flatten().collect();
    report.check(good, &format!("{wait} s later, as it was told: {shown:?}"));
    report.sent(2);
    Ok(())
}

/// Sends [`REQUESTS`] requests over [`CONNECTIONS`] connections at once, and counts which backends
/// answered 200.
fn flood(address: SocketAddr, path: &str) -> Result<BTreeMap<String, usize>> {
    let client = |_| -> Result<Vec<String>> {
        let mut client = Client::new(address)?;
        let answers = (0..REQUESTS / CONNECTIONS).map(|_| {
            let response = client.get(HOST, path)?;
            let name = match response.status().is_success() {
                true => header(&response, "x-backend"),
                false => "",
            };
            Ok(name.to_owned())
        });
        answers.collect()
    };
    let mut counts = BTreeMap::new();
    for names in load::run(CONNECTIONS, client) {
        for name in names? {
            *counts.entry(name).or_default() += 1;
        }
    }
    Ok(counts)
}

fn count(counts: &BTreeMap<String, usize>, name: &str) -> usize {
    counts.get(name).copied().unwrap_or_default()
}

/// The cookie with another letter in the middle of its value.
fn forge(cookie: &str) -> String {
    let middle = cookie.len() * 2 / 3;
    cookie
        .chars()
        .enumerate()
        .map(|(i, c)| {
            if i == middle {
                if c == 'A' { 'B' } else { 'A' }
            } else {
                c
            }
        })
        .collect()
}

fn short(cookie: &str) -> String {
    let shown: String = cookie.chars().take(32).collect();
    if shown.len() < cookie.len() {
        format!("{shown}…")
    } else {
        shown
    }
}

fn shown(path: &str, headers: &[(&str, &str)]) -> String {
    let headers = headers
        .iter()
        .map(|(name, value)| format!(" {name}: {value}"));
    std::iter::once(path.to_owned()).chain(headers).collect()
}

fn or_nobody(name: &str) -> &str {
    if name.is_empty() { "nobody" } else { name }
}
