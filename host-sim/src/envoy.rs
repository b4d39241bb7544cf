//! A real Envoy, started with a file of `envoy-config/` (or any other) and ended with its owner.
//!
//! [`install::find`] gets the program, [`Deployment`] says what to start it with, [`Envoy::start`]
//! starts it.

mod deployment;
mod filter_file;
pub mod fleet;
pub mod install;

pub use deployment::{Deployment, PluginConfiguration};
pub use filter_file::FilterFile;
pub use install::{Program, Version, Wanted};

use crate::client::Client;
use crate::process::Process;
use crate::wait::{self, TIMEOUT};
use anyhow::{Context, Result, anyhow, bail};
use chrono::DateTime;
use hyper::{Response, body::Bytes};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// How much of Envoy's log an error shows, in lines.
const LOG_TAIL: usize = 25;

/// How long Envoy may take to start under another program, which may slow it down a hundred times.
const RUNNER_TIMEOUT: Duration = Duration::from_secs(600);

const BOOTSTRAP: &str = "bootstrap.json";
const LISTENERS: &str = "listeners.json";
const LOG: &str = "envoy.log";
const ADMIN_ADDRESS: &str = "admin-address";
const BASE_ID: &str = "base-id";

/// What Envoy calls the metrics of a filter, before their own names.
pub const FILTER: &str = "wasmcustom.";

/// A running Envoy. It ends when this is dropped, and when this process ends in whatever way.
pub struct Envoy {
    program: Program,
    deployment: Deployment,
    directory: TempDir,
    process: Process,
    admin: SocketAddr,
    /// How often it has taken over from another.
    epoch: u32,
}

impl Envoy {
    /// Starts Envoy and waits until it serves. An error says why it did not, with the end of its
    /// log.
    pub fn start(program: &Program, deployment: Deployment) -> Result<Self> {
        let directory = tempfile::Builder::new()
            .prefix("pointsman-envoy-")
            .tempdir()?;
        let (process, admin) = launch(program, &deployment, directory.path(), 0)?;
        let envoy = Self {
            program: program.clone(),
            deployment,
            directory,
            process,
            admin,
            epoch: 0,
        };
        if envoy.deployment.is_updatable() {
            envoy.taken_over([0; 3], 0)?;
        }
        Ok(envoy)
    }

    /// Ends Envoy and starts it anew with the same configuration. Free ports are chosen anew.
    pub fn restart(&mut self) -> Result<()> {
        self.process.end();
        self.epoch = 0;
        (self.process, self.admin) = launch(
            &self.program,
            &self.deployment,
            self.directory.path(),
            self.epoch,
        )?;
        if self.deployment.is_updatable() {
            self.taken_over([0; 3], 0)?;
        }
        Ok(())
    }

    /// A hot restart: another Envoy, with this number of workers, takes over the listeners'
    /// sockets; the present one serves the connections that it has until its drain time is over.
    /// Returns when it has ended. Needs [`Deployment::hot_restartable`].
    pub fn hand_over(&mut self, workers: u32) -> Result<()> {
        let mut parent = self.begin_hand_over(workers)?;
        self.wait_for("taking over from its parent", || {
            Ok(parent.try_wait()?.map(drop))
        })
    }

    /// The same, and returns as soon as the other one serves. The present one is returned, which
    /// goes on until its drain time is over.
    pub fn begin_hand_over(&mut self, workers: u32) -> Result<Process> {
        let deployment = self.deployment.clone().with_workers(workers);
        let (process, admin) = launch(
            &self.program,
            &deployment,
            self.directory.path(),
            self.epoch + 1,
        )?;
        let parent = std::mem::replace(&mut self.process, process);
        (self.deployment, self.admin, self.epoch) = (deployment, admin, self.epoch + 1);
        if self.deployment.is_updatable() {
            self.taken_over([0; 3], 0)?;
        }
        Ok(parent)
    }

    /// Puts the listeners of `deployment` in place of the present ones, as a control plane would.
    /// Needs [`Deployment::updatable`]. An error is Envoy's refusal; it then serves as before.
    pub fn update(&mut self, deployment: Deployment) -> Result<()> {
        let before = self.outcomes()?;
        let log_before = self.log().len();
        write_atomically(
            &self.directory.path().join(LISTENERS),
            &deployment.listeners_file(),
        )?;
        self.taken_over(before, log_before)?;
        // The old listener serves until the new one has compiled its module and the workers have
        // said that it is gone.
        let transient: &[_] = match deployment.drain_time().is_zero() {
            true => &[
                "total_listeners_warming",
                "total_listeners_draining",
                "total_filter_chains_draining",
            ],
            false => &["total_listeners_warming"],
        };
        for gauge in transient {
            let gauge = format!("listener_manager.{gauge}");
            self.wait_for("taking the listeners over", || {
                Ok((self.stat(&gauge)? == 0).then_some(()))
            })?;
        }
        self.deployment = deployment;
        Ok(())
    }

    /// How many updates were taken over, refused, and not understood.
    fn outcomes(&self) -> Result<[u64; 3]> {
        let count = |outcome| self.stat(&format!("listener_manager.lds.update_{outcome}"));
        Ok([count("success")?, count("rejected")?, count("failure")?])
    }

    /// Waits for the outcome of an update, when these were the outcomes before it, and the log was
    /// so long.
    fn taken_over(&self, before: [u64; 3], log_before: usize) -> Result<()> {
        let after = self.wait_for("taking the listeners over", || {
            let now = self.outcomes()?;
            Ok((now != before).then_some(now))
        })?;
        if after[0] == before[0] {
            let log = self.log();
            bail!(
                "Envoy refused the listeners:\n{}",
                tail(log.get(log_before..).unwrap_or(&log))
            );
        }
        Ok(())
    }

    /// What it was started with or last updated to.
    pub fn deployment(&self) -> &Deployment {
        &self.deployment
    }

    /// The program that runs.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// Its process.
    pub fn process_id(&self) -> u32 {
        self.process.id()
    }

    /// Where its admin interface listens.
    pub fn admin_address(&self) -> SocketAddr {
        self.admin
    }

    /// The time by its clock, which is also its filters', in seconds since 1970: what the admin
    /// interface dates its answers with.
    pub fn time(&self) -> Result<i64> {
        let response = admin_get(self.admin, "/ready")?;
        let date = response.headers().get("date").context("no date")?;
        Ok(DateTime::parse_from_rfc2822(date.to_str()?)?.timestamp())
    }

    /// What the admin interface has at `path`: `/stats?usedonly`, `/config_dump`, `/memory`, …
    pub fn admin(&self, path: &str) -> Result<String> {
        let response = admin_get(self.admin, path)?;
        let body = String::from_utf8_lossy(response.body()).into_owned();
        if !response.status().is_success() {
            bail!("admin {path}: {}: {body}", response.status());
        }
        Ok(body)
    }

    /// What the admin interface has at `path`, which answers JSON.
    pub fn admin_json(&self, path: &str) -> Result<Value> {
        serde_json::from_str(&self.admin(path)?).with_context(|| format!("admin {path}: not JSON"))
    }

    /// The value of a counter or gauge. An error where Envoy has none of this name, so that a name
    /// that is misspelt or no longer exists is not taken for a count of 0.
    pub fn stat(&self, name: &str) -> Result<u64> {
        self.stat_if_defined(name)?
            .with_context(|| format!("Envoy has no counter or gauge `{name}`"))
    }

    /// The value of a counter or gauge. None where Envoy has none of this name: for those that are
    /// defined with their first event, such as the filter's metrics of a target.
    pub fn stat_if_defined(&self, name: &str) -> Result<Option<u64>> {
        let stats = self.admin_json(&format!(
            "/stats?format=json&filter=^{}$",
            name.replace('.', "\\.")
        ))?;
        Ok(stats["stats"][0]["value"].as_u64())
    }

    /// Every counter and gauge whose name starts with `prefix`, sorted by name.
    pub fn stats(&self, prefix: &str) -> Result<Vec<(String, u64)>> {
        let stats = self.admin_json(&format!(
            "/stats?format=json&filter=^{}",
            prefix.replace('.', "\\.")
        ))?;
        let stats = stats["stats"].as_array().map_or(&[][..], |stats| stats);
        let mut stats: Vec<_> = stats
            .iter()
            .filter_map(|stat| Some((stat["name"].as_str()?.to_owned(), stat["value"].as_u64()?)))
            .collect();
        stats.sort();
        Ok(stats)
    }

    /// The value of a counter or gauge that the filter defines, as [`Envoy::stat`].
    pub fn filter_stat(&self, name: &str) -> Result<u64> {
        self.stat(&format!("{FILTER}{name}"))
    }

    /// The value of a counter or gauge that the filter defines, as [`Envoy::stat_if_defined`].
    pub fn filter_stat_if_defined(&self, name: &str) -> Result<Option<u64>> {
        self.stat_if_defined(&format!("{FILTER}{name}"))
    }

    /// The sum of the filter's counters and gauges whose names start with `start` and end with
    /// `end`. None where it has defined none of such a name.
    pub fn filter_sum(&self, start: &str, end: &str) -> Result<Option<u64>> {
        let stats = self.stats(&format!("{FILTER}{start}"))?.into_iter();
        let values = stats.filter(|(name, _)| name.ends_with(end));
        Ok(values
            .map(|(_, value)| value)
            .reduce(|sum, value| sum + value))
    }

    /// The requests in flight by the filter's gauges, over all pools. An error before the first
    /// request to a pool, which defines its gauges.
    pub fn requests_in_flight(&self) -> Result<u64> {
        self.filter_sum("pointsman.", ".in_flight")?
            .context("the filter has defined no gauge of requests in flight")
    }

    /// How often the filter has met a state that cannot be (`pointsman.bug`). 0 for a filter that
    /// has no such counter.
    pub fn filter_bugs(&self) -> Result<u64> {
        Ok(self.filter_sum("pointsman.", ".bug")?.unwrap_or(0))
    }

    /// How many connections each worker has accepted, over all listeners, by the worker's name. One
    /// that has accepted none may be missing.
    pub fn connections_by_worker(&self) -> Result<BTreeMap<String, u64>> {
        let mut connections = BTreeMap::new();
        for (name, count) in self.stats("listener.")? {
            let accepted = name.strip_suffix(".downstream_cx_total");
            if let Some((_, worker)) = accepted.and_then(|name| name.rsplit_once(".worker_")) {
                *connections.entry(format!("worker_{worker}")).or_default() += count;
            }
        }
        Ok(connections)
    }

    /// The bytes that Envoy's own allocator has handed out.
    pub fn allocated_memory(&self) -> Result<u64> {
        let memory = self.admin_json("/memory")?;
        memory["allocated"]
            .as_str()
            .and_then(|bytes| bytes.parse().ok())
            .context("admin /memory: no `allocated`")
    }

    /// The resident set of the process in bytes, V8's heap and the modules' memories included.
    pub fn resident_memory(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process_id()))?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .context("no VmRSS")?;
        let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse()?;
        Ok(kibibytes * 1024)
    }

    /// Where a listener listens.
    pub fn listener(&self, name: &str) -> Result<SocketAddr> {
        let listeners = self.admin_json("/listeners?format=json")?;
        let statuses = listeners["listener_statuses"]
            .as_array()
            .map_or(&[][..], |statuses| statuses);
        let listener = statuses
            .iter()
            .find(|status| status["name"] == name)
            .with_context(|| {
                format!(
                    "no listener {name}; the end of the log:\n{}",
                    tail(&self.log())
                )
            })?;
        let socket = &listener["local_address"]["socket_address"];
        let address = socket["address"]
            .as_str()
            .and_then(|address| address.parse().ok());
        let port = socket["port_value"]
            .as_u64()
            .and_then(|port| port.try_into().ok());
        match (address, port) {
            (Some(address), Some(port)) => Ok(SocketAddr::new(address, port)),
            _ => bail!("listener {name}: no address in {listener}"),
        }
    }

    /// Where the deployment's first listener listens.
    pub fn address(&self) -> Result<SocketAddr> {
        self.listener(
            self.deployment
                .first_listener()
                .context("the deployment has no listener")?,
        )
    }

    /// A client of the first listener, on a connection of its own.
    pub fn client(&self) -> Result<Client> {
        Client::new(self.address()?)
    }

    /// Its whole log until now.
    pub fn log(&self) -> String {
        read_log(self.directory.path())
    }

    /// Where its log is written.
    pub fn log_path(&self) -> std::path::PathBuf {
        self.directory.path().join(LOG)
    }

    /// Calls `look` until it returns something.
    fn wait_for<T>(&self, what: &str, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
        let seen =
            wait::poll(|| look().with_context(|| format!("while {what}:\n{}", tail(&self.log()))))?;
        seen.with_context(|| {
            format!(
                "Envoy was not done {what} within {TIMEOUT:?}:\n{}",
                tail(&self.log())
            )
        })
    }
}

/// Has Envoy check a deployment without starting it.
pub fn validate(program: &Program, deployment: &Deployment) -> Result<()> {
    let directory = tempfile::Builder::new()
        .prefix("pointsman-envoy-")
        .tempdir()?;
    write_atomically(
        &directory.path().join(LISTENERS),
        &deployment.listeners_file(),
    )?;
    let bootstrap = directory.path().join(BOOTSTRAP);
    write_atomically(
        &bootstrap,
        &deployment.bootstrap_file(&directory.path().join(LISTENERS)),
    )?;
    let output = Command::new(&program.path)
        .args(["--mode", "validate", "-c"])
        .arg(bootstrap)
        .output()?;
    if !output.status.success() {
        bail!(
            "Envoy {} refused it:\n{}",
            program.version,
            tail(&String::from_utf8_lossy(&output.stderr))
        );
    }
    Ok(())
}

fn launch(
    program: &Program,
    deployment: &Deployment,
    directory: &Path,
    epoch: u32,
) -> Result<(Process, SocketAddr)> {
    let (bootstrap, log) = (directory.join(BOOTSTRAP), directory.join(LOG));
    let admin_address = directory.join(ADMIN_ADDRESS);
    write_atomically(&directory.join(LISTENERS), &deployment.listeners_file())?;
    write_atomically(
        &bootstrap,
        &deployment.bootstrap_file(&directory.join(LISTENERS)),
    )?;
    // Not `--log-path`: Envoy writes that file with a delay, and then an error would come without
    // its reason. It is appended to: in a hot restart two Envoys write.
    let log = File::options().create(true).append(true).open(&log)?;
    let _ = fs::remove_file(&admin_address);

    let (mut command, patience) = match deployment.runner() {
        [] => (Command::new(&program.path), TIMEOUT),
        [runner, arguments @ ..] => {
            let mut command = Command::new(runner);
            command.args(arguments).arg(&program.path);
            (command, RUNNER_TIMEOUT)
        }
    };
    command.envs(deployment.environment());
    command.arg("-c").arg(&bootstrap);
    command.arg("--admin-address-path").arg(&admin_address);
    command.args(["--concurrency", &deployment.workers().to_string()]);
    let base_id = directory.join(BASE_ID);
    match (deployment.is_hot_restartable(), epoch) {
        (false, _) => command.arg("--disable-hot-restart"),
        (true, 0) => command
            .arg("--use-dynamic-base-id")
            .arg("--base-id-path")
            .arg(&base_id),
        (true, _) => command
            .args(["--restart-epoch", &epoch.to_string()])
            .args(["--base-id", fs::read_to_string(&base_id)?.trim()]),
    };
    // Two hundred lines of what is compiled in.
    command.args(["--component-log-level", "main:warning"]);
    let drain_time = deployment.drain_time().as_secs().to_string();
    command.args([
        "--drain-time-s",
        &drain_time,
        "--drain-strategy",
        "immediate",
    ]);
    // It has to be the longer one.
    let shutdown_time = (deployment.drain_time().as_secs() + 1).to_string();
    command.args(["--parent-shutdown-time-s", &shutdown_time]);
    let mut process = Process::start(&command, log, directory)
        .with_context(|| format!("{} did not start", program.path.display()))?;

    let ready = |address: &str| {
        let admin: SocketAddr = address.trim().parse().ok()?;
        // Until it is initialised Envoy answers 503.
        admin_get(admin, "/ready")
            .is_ok_and(|response| response.status().is_success())
            .then_some(admin)
    };
    // To compile the module takes a second of a processor for each worker.
    let admin = wait::poll_within(patience, || {
        if let Some(status) = process.try_wait()? {
            bail!("Envoy ended with {status}:\n{}", tail(&read_log(directory)));
        }
        let address = fs::read_to_string(&admin_address).ok();
        Ok(address.and_then(|address| ready(&address)))
    })?;
    let admin = admin.with_context(|| {
        format!(
            "Envoy was not ready within {patience:?}:\n{}",
            tail(&read_log(directory))
        )
    })?;
    Ok((process, admin))
}

fn admin_get(admin: SocketAddr, path: &str) -> Result<Response<Bytes>> {
    Client::new(admin)?.get("admin", path)
}

fn read_log(directory: &Path) -> String {
    fs::read(directory.join(LOG)).map_or_else(
        |_| String::new(),
        |log| String::from_utf8_lossy(&log).into_owned(),
    )
}

fn tail(log: &str) -> String {
    let lines: Vec<_> = log.lines().collect();
    lines[lines.len().saturating_sub(LOG_TAIL)..].join("\n")
}

/// Envoy watches for files that are moved into place, and must never see half of one.
fn write_atomically(path: &Path, content: &Value) -> Result<()> {
    let directory = path
        .parent()
        .ok_or_else(|| anyhow!("{} has no directory", path.display()))?;
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    file.write_all(&serde_json::to_vec_pretty(content)?)?;
    file.persist(path)?;
    Ok(())
}
