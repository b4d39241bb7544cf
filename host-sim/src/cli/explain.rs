//! `host-sim explain`: what happens to one request, and why not the earlier routes.

use super::prebuilt::Prebuilt;
use super::{Outcome, problem, style};
use anyhow::{Result, anyhow};
use host_sim::exchange::{ClientTls, ExchangeRequest, Host};
use host_sim::share::percent_of;
use host_sim::world::World;
use host_sim::{configuration, connection_manager, diff, environment, explain};
use pointsman_core::route::Route;
use serde_json::{Map, Value};
use std::ffi::OsString;
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

/// Says what happens to one request, and why not the earlier routes.
#[derive(clap::Args)]
#[command(after_long_help = reasons())]
pub(crate) struct Arguments {
    /// Pointsman's configuration in YAML or JSON, or an Envoy configuration or resources of
    /// Kubernetes with one Wasm filter of ours.
    config: PathBuf,
    /// The method. Default: GET, and POST with `-d`.
    #[arg(short = 'X', long, alias = "request")]
    method: Option<OsString>,
    /// The URL; without a scheme it is one of http.
    #[arg(long)]
    url: OsString,
    /// The request has a body, as with curl: POST, and the `content-type` of a form. What is in it
    /// matters to no route.
    #[arg(short = 'd', long, value_name = "BODY")]
    data: Option<OsString>,
    /// A header; may be given several times. `Host` takes the place of the URL's.
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    headers: Vec<OsString>,
    /// Where the connection comes from. Default: 127.0.0.1.
    #[arg(long)]
    client_ip: Option<IpAddr>,
    /// The host's name that the client asked for in the TLS handshake.
    #[arg(long, value_name = "HOST")]
    sni: Option<String>,
    /// The first URI of the client's certificate.
    #[arg(long, value_name = "URI")]
    peer: Option<String>,
    /// Fixes the random number that decides a split: from 0 to below 1.
    #[arg(long, value_parser = roll)]
    roll: Option<f64>,
    /// Show every route that was looked at. Else those that differ in host or path are only
    /// counted, where there are many.
    #[arg(long)]
    all: bool,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    prebuilt: Prebuilt,
}

/// Prints the explanation to stdout.
pub(crate) fn run(arguments: &Arguments) -> Result<Outcome> {
    let file = arguments.config.display();
    let unread = |text: &str, error| problem::unread(&arguments.config, text, error);
    let text = configuration::text_of(&arguments.config).map_err(|error| unread("", error))?;
    let tree = configuration::tree_of(&text, &arguments.config);
    let tree = tree.map_err(|error| unread(&text, error))?;
    let own = environment::of_process(&tree);
    for asked in environment::unset(&tree, &own) {
        let environment::Asked { place, name } = asked;
        eprintln!(
            "{file}: {place}: the variable {name} is not set here: another secret is taken, and a \
             cookie that the proxy signed is not valid"
        );
    }
    let environment = environment::with_stand_ins(&tree, own);
    let config = environment::load(&tree, &environment)
        .map_err(|problems| problem::refused_text(&arguments.config, &text, &problems))?;
    let manager = connection_manager::of_file(&text, &arguments.config).unwrap_or_default();
    let request = request(arguments)?;
    let mut out = anstream::stdout().lock();
    let request = match manager.admit(&request) {
        Ok(request) => request,
        Err(answer) => {
            let object = explain::answered_by_proxy(&answer);
            match arguments.json {
                true => writeln!(out, "{:#}", Value::Object(object))?,
                false => write_text(&mut out, &object, None, arguments.all)?,
            }
            return Ok(Outcome::Good);
        }
    };
    let world = World::builder()
        .exchanges(&configuration::to_json(&tree))
        .environment(environment)
        .code(arguments.prebuilt.code()?)
        .start();
    let mut world = world.map_err(|error| anyhow!(error))?;
    let result = world.exchange(&request).map_err(|error| anyhow!(error))?;
    let object = explain::object(&config, &request, &result).map_err(|error| anyhow!(error))?;
    if arguments.json {
        writeln!(out, "{:#}", Value::Object(object))?;
    } else {
        let route = config.routes.iter().find(|it| object["route"] == *it.name);
        write_text(&mut out, &object, route, arguments.all)?;
    }
    Ok(Outcome::Good)
}

fn request(arguments: &Arguments) -> Result<ExchangeRequest> {
    let method = match (&arguments.method, &arguments.data) {
        (Some(method), _) => method.as_bytes(),
        (None, Some(_)) => b"POST",
        (None, None) => b"GET",
    };
    let mut url = arguments.url.as_bytes().to_vec();
    if !url.windows(3).any(|part| part == b"://") {
        url.splice(0..0, *b"http://");
    }
    let request = ExchangeRequest::new(method, &url).map_err(|error| anyhow!("--url: {error}"))?;
    let headers = arguments.headers.iter().map(|header| {
        let mut parts = header.as_bytes().splitn(2, |byte| *byte == b':');
        match (parts.next(), parts.next()) {
            (Some(name), Some(value)) if !name.is_empty() => {
                Ok((name.to_ascii_lowercase(), value.trim_ascii().to_vec()))
            }
            _ => Err(anyhow!(
                "-H {}: a header is `name: value`",
                header.display()
            )),
        }
    });
    let mut headers = headers.collect::<Result<Vec<_>>>()?;
    let has_type = headers.iter().any(|(name, _)| name == b"content-type");
    if arguments.data.is_some() && !has_type {
        let of_form = b"application/x-www-form-urlencoded".to_vec();
        headers.push((b"content-type".to_vec(), of_form));
    }
    Ok(ExchangeRequest {
        client_ip: arguments.client_ip,
        tls: ClientTls {
            sni: arguments.sni.as_ref().map(|name| name.to_ascii_lowercase()),
            peer: arguments.peer.clone(),
        },
        roll: arguments.roll,
        ..request.with_headers(headers)
    })
}

fn roll(text: &str) -> Result<f64, String> {
    let roll: Option<f64> = text.parse().ok();
    roll.filter(|roll| (0.0..1.0).contains(roll))
        .ok_or_else(|| "a number from 0 to below 1".to_owned())
}

/// Writes the routes that were compared, then the decision and its reason, then the headers.
fn write_text(
    out: &mut impl Write,
    object: &Map<String, Value>,
    route: Option<&Route>,
    all: bool,
) -> io::Result<()> {
    let (good, bad, strong, faint) = (style::GOOD, style::BAD, style::STRONG, style::FAINT);
    let text = |key: &str| match object.get(key)? {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    };
    let looked = object["trace"].as_array().map_or(&[][..], Vec::as_slice);
    let folds = !all && looked.len() > MAX_LOOKED;
    let mut folded = 0;
    for looked in looked {
        let name = looked["name"].as_str().unwrap_or_default();
        match looked["failed"].as_str() {
            Some(failed) if folds && is_far(failed) => folded += 1,
            Some(failed) => writeln!(out, "{bad}✗{bad:#} {name}  {faint}{failed}{faint:#}")?,
            None => {
                write_folded(out, folded)?;
                folded = 0;
                writeln!(out, "{good}✓ {name}{good:#}")?;
            }
        }
    }
    write_folded(out, folded)?;
    if object["route"].is_null() && object["action"] != "proxy" {
        writeln!(out, "{bad}✗ no route matches{bad:#}")?;
    }
    let action = text("action").unwrap_or_default();
    let what = match action.as_str() {
        "forward" => "forwarded",
        "redirect" => "redirected",
        "respond" => "answered by the filter",
        "pass" => "left to the proxy's own routes",
        "proxy" => "answered by the proxy before the filter",
        "rate_limited" => "refused by a limit",
        other => other,
    };
    let status = text("status")
        .map(|status| format!(" with {status}"))
        .unwrap_or_default();
    writeln!(out, "\n{strong}{what}{status}{strong:#}")?;
    for key in ["pool", "target", "cluster", "endpoint", "region", "limit"] {
        if let Some(value) = text(key) {
            writeln!(out, "  {faint}{key}:{faint:#} {value}")?;
        }
    }
    if let Some(route) = route.filter(|_| text("pool").is_some()) {
        let parts: Vec<_> = route.action.parts().collect();
        let sum: u64 = parts.iter().map(|(_, weight)| u64::from(*weight)).sum();
        for (pool, weight) in parts.iter().filter(|_| object["action"] == "forward") {
            let odds = diff::odds(pool);
            let odds = match parts.len() {
                1 => odds,
                _ => format!("{} {odds}", percent_of(u64::from(*weight), sum)),
            };
            writeln!(out, "  {faint}chances:{faint:#} {odds}")?;
        }
    }
    let limits = route.map_or(&[][..], |route| &route.rate_limits);
    for limit in limits.iter().filter(|_| object["limit"].is_null()) {
        let quota = limit.quota();
        let per = Duration::from_nanos(quota.per.get());
        let (requests, burst) = (quota.requests, quota.burst);
        let name = limit.name();
        writeln!(
            out,
            "  {faint}admitted by limit:{faint:#} {name} ({requests} per {per:?}, burst {burst})"
        )?;
    }
    for hit in object
        .get("protect")
        .and_then(Value::as_array)
        .map_or(&[][..], Vec::as_slice)
    {
        let line = hit.as_str().unwrap_or_default();
        writeln!(out, "  {faint}protection:{faint:#} {line}")?;
    }
    if let Some(reason) = text("reason") {
        let why = REASONS
            .iter()
            .find(|(word, _)| *word == reason)
            .map(|(_, why)| *why);
        let why = why
            .map(|why| format!(" {faint}({why}){faint:#}"))
            .unwrap_or_default();
        writeln!(out, "  {faint}reason:{faint:#} {reason}{why}")?;
    }
    if let Some(hash) = text("configuration") {
        let version = text("version").map(|version| format!(" (version \"{version}\")"));
        let version = version.unwrap_or_default();
        writeln!(out, "  {faint}configuration:{faint:#} {hash}{version}")?;
    }
    for (key, title) in [
        ("request_headers", "the upstream gets"),
        ("response_headers", "the client gets"),
    ] {
        let pairs = object[key].as_array().map_or(&[][..], Vec::as_slice);
        if !pairs.is_empty() {
            writeln!(out, "\n{strong}{title}{strong:#}")?;
        }
        for pair in pairs {
            let text = |at: usize| pair[at].as_str().unwrap_or_default();
            writeln!(out, "  {faint}{}:{faint:#} {}", text(0), text(1))?;
        }
    }
    Ok(())
}

/// A list that fits a screen is shown as a whole.
const MAX_LOOKED: usize = 12;

/// Whether a route is no near miss: its hosts or its path are others.
fn is_far(failed: &str) -> bool {
    ["host: ", "path: "].iter().any(|it| failed.starts_with(it))
}

fn write_folded(out: &mut impl Write, count: usize) -> io::Result<()> {
    let faint = style::FAINT;
    match count {
        0 => Ok(()),
        count => writeln!(
            out,
            "{faint}✗ {count} routes of other hosts or paths (--all shows them){faint:#}"
        ),
    }
}

/// What is told of the words of `reason`.
fn reasons() -> String {
    let width = REASONS
        .iter()
        .map(|(word, _)| word.len())
        .max()
        .unwrap_or(0);
    let lines = REASONS
        .iter()
        .map(|(word, why)| format!("  {word:width$}  {why}"));
    format!(
        "The words of `reason`:\n{}",
        lines.collect::<Vec<_>>().join("\n")
    )
}

/// The meaning of the words of `reason`.
const REASONS: &[(&str, &str)] = &[
    ("route", "the route says so"),
    ("no_route", "no route matches"),
    ("proxy", "its settings for paths and headers say so"),
    ("rate_limit", "the limit has no room for this client now"),
    ("protect", "a protection refuses what it looks like"),
    ("balance", "a new choice by the pool's `balance`"),
    ("hash", "the hash of the pool's key"),
    ("sticky", "a valid session cookie"),
    ("sticky_header", "the hash of the pool's `sticky.header`"),
    (
        "failover",
        "no target of the route's own pool is healthy and has room",
    ),
    (
        "full",
        "the request's own target, or each that it may go to, has all requests that it may have",
    ),
    ("use_all", "no target is healthy, so all are used"),
    ("no_target", "no target takes the request"),
    (
        "repin",
        "the session's target is unhealthy or down: a new choice",
    ),
    (
        "unhealthy",
        "no target is healthy, and `when_all_unhealthy` says 503",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn text_says_what_json_says() {
        let object = json!({
            "route": "b", "action": "forward", "pool": "p", "target": "t", "cluster": "c", "endpoint": null, "region": "seoul", "limit": null,
            "reason": "balance", "status": null, "request_headers": [[":method", "GET"]], "response_headers": [],
            "trace": [
                { "name": "a", "matched": false, "failed": "path: exact /a, got /" },
                { "name": "b", "matched": true, "failed": null },
            ],
        });
        let mut out = anstream::StripStream::new(Vec::new());
        write_text(&mut out, object.as_object().unwrap(), None, false).unwrap();
        assert_eq!(
            String::from_utf8(out.into_inner()).unwrap(),
            "✗ a  path: exact /a, got /\n✓ b\n\nforwarded\n  pool: p\n  target: t\n  cluster: c\n  region: seoul\n  \
             reason: balance (a new choice by the pool's `balance`)\n\nthe upstream gets\n  :method: GET\n"
        );
    }

    #[test]
    fn far_routes_are_folded_and_near_misses_are_not() {
        let mut trace: Vec<_> = (0..20)
            .map(|at| json!({ "name": at.to_string(), "matched": false, "failed": "path: exact /a, got /" }))
            .collect();
        trace.push(json!({ "name": "near", "matched": false, "failed": "method: GET, got PUT" }));
        trace.push(json!({ "name": "it", "matched": true, "failed": null }));
        let mut object: Map<String, Value> = explain::KEYS
            .map(|key| (key.to_owned(), Value::Null))
            .into_iter()
            .collect();
        object.insert("trace".to_owned(), trace.into());
        object.insert("route".to_owned(), "it".into());
        let text = |all: bool| {
            let mut out = anstream::StripStream::new(Vec::new());
            write_text(&mut out, &object, None, all).unwrap();
            String::from_utf8(out.into_inner()).unwrap()
        };
        assert!(
            text(false).starts_with(
                "✗ near  method: GET, got PUT\n\
                 ✗ 20 routes of other hosts or paths (--all shows them)\n✓ it\n"
            ),
            "{}",
            text(false)
        );
        assert_eq!(text(true).matches("✗ ").count(), 21);
    }

    #[test]
    fn a_request_is_typed_as_for_curl() {
        use clap::Parser;
        #[derive(Parser)]
        struct Program {
            #[command(flatten)]
            arguments: Arguments,
        }
        let request = |words: &[&str]| {
            let all = ["explain", "c.yaml"].iter().chain(words);
            request(&Program::try_parse_from(all).unwrap().arguments).unwrap()
        };
        let plain = request(&["--url", "shop.example.com/cart?x=1"]);
        assert_eq!(plain.url(), b"http://shop.example.com/cart?x=1");
        assert_eq!(plain.method, b"GET");
        assert_eq!(request(&["--url", "h", "-X", "PUT"]).method, b"PUT");
        let posted = request(&["--url", "https://h/", "-d", "a=1"]);
        assert_eq!(
            (&posted.method[..], &posted.scheme[..]),
            (&b"POST"[..], &b"https"[..])
        );
        assert_eq!(posted.headers[0].1, b"application/x-www-form-urlencoded");
    }

    #[test]
    fn roll_lies_from_0_to_below_1() {
        assert_eq!((roll("0"), roll("0.37")), (Ok(0.0), Ok(0.37)));
        for wrong in ["1", "-0.1", "NaN", "x"] {
            assert!(roll(wrong).is_err(), "{wrong}");
        }
    }
}
