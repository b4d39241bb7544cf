//! `host-sim explain`: what happens to one request, and why not the earlier routes.

use super::Outcome;
use anyhow::{Context, Result, anyhow};
use host_sim::exchange::{Ask, Host, Pairs, Response};
use host_sim::world::World;
use host_sim::{configuration, explain, request_test};
use pointsman_core::config::Config;
use serde_json::{Map, Value};
use std::ffi::OsString;
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// Says what happens to one request, and why not the earlier routes.
#[derive(clap::Args)]
pub struct Arguments {
    /// Pointsman's configuration in YAML or JSON, or an Envoy configuration with one Wasm filter.
    config: PathBuf,
    /// The method.
    #[arg(long, default_value = "GET")]
    method: OsString,
    /// The URL.
    #[arg(long)]
    url: OsString,
    /// A header; may be given several times.
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    headers: Vec<OsString>,
    /// Where the connection comes from. Default: 127.0.0.1.
    #[arg(long)]
    client_ip: Option<IpAddr>,
    /// Fixes the random number that decides a split: from 0 to below 1.
    #[arg(long, value_parser = roll)]
    roll: Option<f64>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Prints to stdout.
pub fn run(arguments: &Arguments) -> Result<Outcome> {
    let file = arguments.config.display();
    let tree = configuration::read(&arguments.config).with_context(|| format!("reading {file}"))?;
    let config = Config::from_value(&tree).with_context(|| file.to_string())?;
    let ask = ask(arguments)?;
    let mut world = World::of(&configuration::to_json(&tree), 1).map_err(|error| anyhow!(error))?;
    let told = world.exchange(&ask).map_err(|error| anyhow!(error))?;
    let object = explain::object(&config, &ask, &told).map_err(|error| anyhow!(error))?;
    let mut out = io::stdout().lock();
    if arguments.json {
        writeln!(out, "{:#}", Value::Object(object))?;
    } else {
        write_text(&mut out, &object)?;
    }
    Ok(Outcome::Good)
}

fn ask(arguments: &Arguments) -> Result<Ask> {
    let upstream = Response {
        status: 200,
        headers: Pairs::new(),
        body: Vec::new(),
    };
    let ask = request_test::ask(arguments.method.as_bytes(), arguments.url.as_bytes(), upstream);
    let headers = arguments.headers.iter().map(|header| {
        let mut parts = header.as_bytes().splitn(2, |byte| *byte == b':');
        match (parts.next(), parts.next()) {
            (Some(name), Some(value)) if !name.is_empty() => {
                Ok((name.to_ascii_lowercase(), value.trim_ascii().to_vec()))
            }
            _ => Err(anyhow!("-H {}: a header is `name: value`", header.display())),
        }
    });
    Ok(Ask {
        headers: headers.collect::<Result<_>>()?,
        client_ip: arguments.client_ip,
        roll: arguments.roll,
        ..ask.map_err(|error| anyhow!("--url: {error}"))?
    })
}

fn roll(text: &str) -> Result<f64, String> {
    let roll: Option<f64> = text.parse().ok();
    roll.filter(|roll| (0.0..1.0).contains(roll))
        .ok_or_else(|| "a number from 0 to below 1".to_owned())
}

fn write_text(out: &mut impl Write, object: &Map<String, Value>) -> io::Result<()> {
    for looked in object["trace"].as_array().into_iter().flatten() {
        let name = looked["name"].as_str().unwrap_or_default();
        match looked["failed"].as_str() {
            Some(failed) => writeln!(out, "✗ {name}: {failed}")?,
            None => writeln!(out, "✓ {name}")?,
        }
    }
    if object["route"].is_null() {
        writeln!(out, "✗ no route matches")?;
    }
    for key in [
        "action", "status", "pool", "target", "cluster", "endpoint", "region", "reason",
    ] {
        match &object[key] {
            Value::Null => {}
            Value::String(text) => writeln!(out, "{key}: {text}")?,
            other => writeln!(out, "{key}: {other}")?,
        }
    }
    for (key, title) in [
        ("request_headers", "the upstream gets"),
        ("response_headers", "the client gets"),
    ] {
        let pairs = object[key].as_array().map_or(&[][..], Vec::as_slice);
        if !pairs.is_empty() {
            writeln!(out, "{title}:")?;
        }
        for pair in pairs {
            let text = |at: usize| pair[at].as_str().unwrap_or_default();
            writeln!(out, "  {}: {}", text(0), text(1))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn text_says_what_json_says() {
        let object = json!({
            "route": "b", "action": "forward", "pool": "p", "target": "t", "cluster": "c", "endpoint": null, "region": null,
            "reason": "balance", "status": null, "request_headers": [[":method", "GET"]], "response_headers": [],
            "trace": [
                { "name": "a", "matched": false, "failed": "path: exact /a, got /" },
                { "name": "b", "matched": true, "failed": null },
            ],
        });
        let mut out = Vec::new();
        write_text(&mut out, object.as_object().unwrap()).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "✗ a: path: exact /a, got /\n✓ b\naction: forward\npool: p\ntarget: t\ncluster: c\nreason: balance\n\
             the upstream gets:\n  :method: GET\n"
        );
    }

    #[test]
    fn roll_lies_from_0_to_below_1() {
        assert_eq!((roll("0"), roll("0.37")), (Ok(0.0), Ok(0.37)));
        for wrong in ["1", "-0.1", "NaN", "x"] {
            assert!(roll(wrong).is_err(), "{wrong}");
        }
    }
}
