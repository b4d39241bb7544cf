//! `host-sim demo`: the filter in a real Envoy with real backends and real traffic, and whether
//! they do what `envoy-config/envoy.yaml` says.

mod fleet;
mod report;
mod steps;

use super::Outcome;
use super::prebuilt::Prebuilt;
use anyhow::{Context, Result};
use host_sim::backend::Backend;
use host_sim::envoy::{Deployment, Envoy, Wanted, install};
use report::DemoReport;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use steps::DemoSite;

/// The demo's configuration, in `envoy-config/`.
const FILE: &str = "envoy.yaml";
/// What the file's own command has.
const DRAIN_TIME: Duration = Duration::from_secs(10);
/// The cluster whose endpoints the filter chooses.
const ENDPOINT_CLUSTER: &str = "api";

/// Builds the filter, gets an Envoy, starts backends, sends traffic, and says what happened.
///
/// Envoy listens at 127.0.0.1:10000, its admin interface at 9901, and the backends at 9001 to
/// 9005 and 9101 to 9103: at free ports where these are taken. `$ENVOY` is an Envoy to take in place
/// of one from PyPI.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Leave everything up afterwards, with URLs and curl lines to try.
    #[arg(long)]
    keep: bool,
    /// Instead: two Envoys that share one limit, by an engine on Redis (`apt-get install
    /// redis-server`).
    #[arg(long, conflicts_with = "keep")]
    fleet: bool,
    #[command(flatten)]
    prebuilt: Prebuilt,
}

/// Prints what happened to stdout. [`Outcome::Found`]: something is not as the configuration says.
pub(crate) fn run(arguments: &Arguments) -> Result<Outcome> {
    if arguments.fleet {
        return Ok(match fleet::run(&arguments.prebuilt)? {
            true => Outcome::Good,
            false => Outcome::Found,
        });
    }
    let mut site = set_up(&arguments.prebuilt)?;
    let started = Instant::now();
    let mut report = DemoReport::default();
    steps::play(&mut site, &mut report)?;
    let good = report.finish(started.elapsed());
    if arguments.keep {
        keep(&site)?;
    }
    Ok(if good { Outcome::Good } else { Outcome::Found })
}

fn set_up(prebuilt: &Prebuilt) -> Result<DemoSite> {
    say!("Setting up");
    let module = report::step("module", || {
        let path = prebuilt.path()?;
        let size = path.metadata()?.len() / 1024;
        Ok((format!("{}, {size} KiB", path.display()), path))
    })?;
    let program = report::step("Envoy", || {
        let program = install::find(Wanted::Any)?;
        Ok((
            format!("{} at {}", program.version, program.path.display()),
            program,
        ))
    })?;
    let (backends, deployment) = report::step("backends", || {
        let (backends, deployment) = start_backends(Deployment::file(FILE, &module)?)?;
        let names: Vec<_> = backends
            .iter()
            .map(|backend| format!("{} :{}", backend.name(), backend.address().port()))
            .collect();
        Ok((names.join(", "), (backends, deployment)))
    })?;
    let deployment = deployment.with_drain_time(DRAIN_TIME);
    let (deployment, taken) = deployment.around_taken_ports();
    taken
        .iter()
        .for_each(|address| say!("    {address} is taken; a free port in its place"));
    let (envoy, address) = report::step("serving", || {
        let envoy = Envoy::start(&program, deployment)?;
        let address = envoy.address()?;
        Ok((
            format!(
                "http://{address} (envoy-config/{FILE}), admin http://{}",
                envoy.admin_address()
            ),
            (envoy, address),
        ))
    })?;
    Ok(DemoSite {
        backends,
        envoy,
        address,
    })
}

/// Starts a backend for each endpoint of the file, at the endpoint's address if that is free.
fn start_backends(mut deployment: Deployment) -> Result<(Vec<Backend>, Deployment)> {
    let mut backends = Vec::new();
    for (cluster, address) in deployment.endpoints() {
        let name = if cluster == ENDPOINT_CLUSTER {
            format!("{cluster}-{}", address.port())
        } else {
            cluster
        };
        let backend = match Backend::start_at(&name, address) {
            Ok(backend) => backend,
            Err(_) => {
                let backend = Backend::start(&name)
                    .with_context(|| format!("starting the backend {name}"))?;
                say!(
                    "    {address} is taken; {name} listens at {}",
                    backend.address()
                );
                deployment = deployment.move_endpoint(address, backend.address());
                backend
            }
        };
        backends.push(backend);
    }
    Ok((backends, deployment))
}

/// Prints requests to try, and waits for Ctrl-C.
fn keep(site: &DemoSite) -> Result<()> {
    let (url, admin): (_, SocketAddr) = (
        format!("http://{}", site.address),
        site.envoy.admin_address(),
    );
    say!(
        "\nAll of it stays up until Ctrl-C. Try:
  curl -i {url}/                                     # nine of ten to blue
  curl -i {url}/ -H 'x-tier: gold'                   # by header
  curl -i {url}/ -H 'cookie: beta=1'                 # by cookie
  curl -i {url}/ -H 'host: www.beta.example.com'     # by host
  curl -i '{url}/?region=eu'                         # by query
  curl -i {url}/api/users                            # by path, to an endpoint that the filter chose
  curl -i -c /tmp/pm -b /tmp/pm {url}/account        # sticky: the cookie keeps you
  curl -i {url}/login                                # the fourth in a row: 429
  curl -i {url}/old                                  # 301
  curl -i {url}/internal                             # 403
  host-sim status {admin} --watch             # what all of this did
  curl -s http://{admin}/stats/prometheus            # for Prometheus and envoy-config/dashboard.json
The configuration: envoy-config/{FILE}. Envoy's log: {}",
        site.envoy.log_path().display()
    );
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(tokio::signal::ctrl_c())?;
    say!();
    Ok(())
}
