//! `host-sim import`: other programs' routes as a configuration.

use super::Outcome;
use anyhow::{Context, Result};
use host_sim::configuration;
use pointsman_import::{ClusterTemplate, InputFile, Kind, NotCarried, Options, clusters};
use std::io::{self, Write};
use std::path::PathBuf;

/// Reads other programs' routes and writes them as a commented configuration, to stdout. What could
/// not be carried over goes to stderr, each with its path and why; exit status 1 says that there is
/// something. Nothing is lost silently.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Whose routes they are.
    #[arg(value_enum)]
    kind: Imported,
    /// Files of YAML or JSON, `-` for stdin.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// gateway-api: only the routes of this gateway, `name` or `namespace/name`.
    #[arg(long, value_name = "NAME")]
    gateway: Option<String>,
    /// gateway-api and ingress: how the proxy calls the cluster of a backend. It may hold
    /// `{namespace}`, `{name}` and `{port}` of the service, and `{kind}`, `{route_namespace}`,
    /// `{route}`, `{rule}` and `{backend}` (numbers from 0) of where it is named. Envoy Gateway:
    /// `{kind}/{route_namespace}/{route}/rule/{rule}`; Istio:
    /// `outbound|{port}||{name}.{namespace}.svc.cluster.local`.
    #[arg(long, value_name = "TEMPLATE", default_value = clusters::DEFAULT)]
    cluster_template: ClusterTemplate,
    /// envoy: which of the input's route configurations is read, by its name. Default: the first;
    /// a filter has one, as its connection manager has.
    #[arg(long, value_name = "NAME")]
    route_config: Option<String>,
    /// Print one JSON object: `configuration`, and `not_carried`, each with `path` and `why`.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Imported {
    /// HTTPRoutes and GRPCRoutes of the Kubernetes Gateway API.
    GatewayApi,
    /// An Envoy's bootstrap, config_dump or RouteConfiguration.
    Envoy,
    /// Kubernetes Ingresses with the annotations of ingress-nginx.
    Ingress,
}

/// Prints the configuration. [`Outcome::Found`]: something could not be carried over.
pub(crate) fn run(arguments: &Arguments) -> Result<Outcome> {
    let mut files = Vec::new();
    for path in &arguments.files {
        let name = path.display().to_string();
        let text = configuration::text_of(path).with_context(|| format!("reading {name}"))?;
        files.push(InputFile { name, text });
    }
    let kind = match arguments.kind {
        Imported::GatewayApi => Kind::GatewayApi,
        Imported::Envoy => Kind::Envoy,
        Imported::Ingress => Kind::Ingress,
    };
    let options = Options {
        gateway: arguments.gateway.clone(),
        cluster_template: arguments.cluster_template.clone(),
        route_configuration: arguments.route_config.clone(),
    };
    let output = host_sim::import::import(kind, &files, &options)?;
    let mut out = io::stdout().lock();
    if arguments.json {
        writeln!(out, "{:#}", output.to_object())?;
    } else {
        out.write_all(output.to_yaml().as_bytes())?;
    }
    for NotCarried { path, why } in &output.not_carried {
        eprintln!("not carried over: {path}: {why}");
    }
    Ok(match output.not_carried.is_empty() {
        true => Outcome::Good,
        false => Outcome::Found,
    })
}
