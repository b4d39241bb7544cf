//! How many instructions a filter adds to a request: `host-sim bench --instructions`.
//!
//! Unlike microseconds they repeat, to a few tenths of a percent, on any machine however busy, so
//! a bar can be held to them. What they do not tell: caches, and the kernel. A row is a listener of
//! an Envoy under callgrind. One client on one connection asks for its routes in turn; the count of
//! the worker's thread, by the number of requests, less that of a bare Envoy in the same process, is
//! what the row adds. The clock that Envoy sees goes on by [`STEP`] with each request: it is the
//! picture of a worker with 20,000 requests a second.

mod bars;
mod callgrind;
mod dear;
mod report;
mod rows;

pub use bars::{BarVerdict, Bars, Figure};
pub use dear::{DearReport, DearRow, DearTimes, measure_dear};
pub use report::{FeatureCalls, InstructionReport, RowCost};
pub use rows::ModuleForm;

use super::native::{self, Clients};
use super::processor::Machine;
use super::routes::MeasuredRoute;
use super::wrk::HEADERS;
use crate::client::{Client, header, session_cookie};
use crate::clock::ClockLibrary;
use crate::envoy::fleet::Fleet;
use crate::envoy::{Program, Wanted, install};
use crate::{module, package};
use anyhow::{Context, Result, bail, ensure};
use callgrind::ProfiledEnvoy;
use rows::{BenchRow, FEW, Features, ModulePaths, Targets};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// What passes on the clock with each request.
const STEP: Duration = Duration::from_micros(50);
/// What passes before: a pool that balances by load starts slowly for 10 s, which a proxy that runs
/// has long behind it.
const START: Duration = Duration::from_secs(11);
/// Requests before those that are counted: caches of the filter's are warm, and its intervals of
/// 10 ms have begun.
const WARM_UP: usize = 400;
/// Requests that are counted: a whole number of intervals of 10 ms, and of times round the routes.
const REQUESTS: usize = 800;
/// How many VMs one Envoy may have: V8 reserves 8 to 10 GB of addresses for the memory of each, in
/// each of three threads, and a process under Valgrind has 128 GB.
const VMS: usize = 4;

/// What a client sends besides its path and its cookies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientHeaders {
    /// What a browser does: six lines.
    Browser,
    /// The host and the `user-agent`.
    Short,
}

impl ClientHeaders {
    fn lines(self) -> &'static [(&'static str, &'static str)] {
        match self {
            ClientHeaders::Browser => &HEADERS,
            ClientHeaders::Short => HEADERS.split_at(2).0,
        }
    }
}

/// Measures all rows, or those whose name contains `only` and those that they are compared with.
/// `say` gets each step's name as it begins.
pub fn measure(
    only: Option<&str>,
    headers: ClientHeaders,
    command: String,
    say: &(dyn Fn(&str) + Sync),
) -> Result<InstructionReport> {
    callgrind::find()?;
    let program = install::find(Wanted::Any)?.binary()?;
    let directory = tempfile::tempdir()?;
    let library = ClockLibrary::build(directory.path())?;
    let modules = ModulePaths {
        built: module::build()?,
        ships: package::module_as_it_ships()?,
        empty: module::build_package("pointsman-empty")?,
        calls: trimmed_calls(directory.path())?,
        least: least(directory.path())?,
    };
    let mut rows = rows::all();
    rows.retain(|row| row.is_compared_with() || only.is_none_or(|only| row.name().contains(only)));
    let is_named = |only| rows::all().iter().any(|row| row.name().contains(only));
    if only.is_some_and(|only| !is_named(only)) {
        let names: Vec<_> = rows::all().iter().map(|row| row.name()).collect();
        bail!(
            "no row is called like that; there are:\n{}",
            names.join("\n")
        );
    }
    let others: Vec<_> = rows
        .iter()
        .filter(|row| !matches!(row, BenchRow::Bare(_)))
        .map(|row| row.targets())
        .collect();
    rows.retain(|row| !matches!(row, BenchRow::Bare(targets) if !others.contains(targets)));
    let fleet = rows::backends()?;
    fleet
        .members()
        .iter()
        .for_each(|member| member.backend.forget());

    let stage = Stage {
        program: &program,
        library: &library,
        fleet: &fleet,
        modules: &modules,
        headers,
        say,
    };
    let machine = Machine::here()?;
    let measured = stage.measure(groups(&rows), machine.cores)?;
    let by_feature = [
        ("routing and weights", Features::Routing),
        ("+ sticky", Features::Sticky),
        ("+ limit", Features::Limit),
        ("everything on", Features::Everything),
    ];
    let calls = by_feature.map(|(name, features)| -> Result<FeatureCalls> {
        let configuration = rows::configuration(features, Targets::Endpoints, FEW, "a");
        Ok(FeatureCalls {
            name,
            calls: native::calls(&configuration, FEW, Clients::InSession)?,
        })
    });
    InstructionReport::of(
        &rows,
        &measured,
        machine,
        program.version.to_string(),
        command,
        calls.into_iter().collect::<Result<_>>()?,
    )
}

/// The module that makes calls and decides nothing, as it would ship.
fn trimmed_calls(directory: &Path) -> Result<PathBuf> {
    let built = module::build_package("pointsman-calls")?;
    let trimmed = package::trim(&fs::read(built)?)?;
    let path = directory.join("calls.wasm");
    fs::write(&path, trimmed.module)?;
    Ok(path)
}

/// The module that makes the same calls without the SDK.
fn least(directory: &Path) -> Result<PathBuf> {
    let cluster = MeasuredRoute(0).first_cluster();
    let text = include_str!("least.wat")
        .replace("CLUSTER", &cluster)
        .replace("SIZE", &cluster.len().to_string());
    let path = directory.join("least.wasm");
    fs::write(&path, wat::parse_str(text)?)?;
    Ok(path)
}

/// The rows of each Envoy. Each has the bare ones that its other rows are compared with.
fn groups(rows: &[BenchRow]) -> Vec<Vec<BenchRow>> {
    let of_interest = rows
        .iter()
        .copied()
        .filter(|row| !matches!(row, BenchRow::Bare(_)));
    let mut groups: Vec<Vec<BenchRow>> = vec![Vec::new()];
    for row in of_interest {
        let vms = |group: &[BenchRow]| group.iter().filter(|row| row.has_vm()).count();
        match groups.last_mut() {
            Some(last) if vms(last) + usize::from(row.has_vm()) <= VMS => last.push(row),
            _ => groups.push(vec![row]),
        }
    }
    for group in &mut groups {
        let bare = [Targets::Clusters, Targets::Endpoints]
            .into_iter()
            .filter(|targets| group.iter().any(|row| row.targets() == *targets));
        let bare: Vec<_> = bare.map(BenchRow::Bare).collect();
        group.splice(0..0, bare);
    }
    groups
}

/// What a row takes, in instructions of the worker a request.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Instructions {
    total: f64,
    /// Less those of the bare Envoy in the same process.
    added: f64,
}

/// What all Envoys need.
struct Stage<'s> {
    program: &'s Program,
    library: &'s ClockLibrary,
    fleet: &'s Fleet,
    modules: &'s ModulePaths,
    headers: ClientHeaders,
    say: &'s (dyn Fn(&str) + Sync),
}

impl Stage<'_> {
    /// Measures the groups, as many at a time as there are cores: counts do not depend on it.
    fn measure(
        &self,
        groups: Vec<Vec<BenchRow>>,
        cores: usize,
    ) -> Result<BTreeMap<String, Instructions>> {
        let count = groups.len();
        let waiting: Mutex<VecDeque<_>> = Mutex::new(groups.into_iter().enumerate().collect());
        let next = || {
            waiting
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .pop_front()
        };
        let work = || -> Result<BTreeMap<String, Instructions>> {
            let mut measured = BTreeMap::new();
            while let Some((number, rows)) = next() {
                (self.say)(&format!("Envoy {} of {count}", number + 1));
                measured.extend(self.measure_group(&rows)?);
            }
            Ok(measured)
        };
        let mut measured = BTreeMap::new();
        thread::scope(|scope| {
            let workers: Vec<_> = (0..cores.clamp(1, count))
                .map(|_| scope.spawn(work))
                .collect();
            for worker in workers {
                let done = worker
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
                measured.extend(done?);
            }
            Ok(measured)
        })
    }

    /// Measures the rows of one Envoy, the bare ones first.
    fn measure_group(&self, rows: &[BenchRow]) -> Result<Vec<(String, Instructions)>> {
        let names: Vec<String> = (b'a'..)
            .map(|name| char::from(name).into())
            .take(rows.len())
            .collect();
        let listeners = rows
            .iter()
            .zip(&names)
            .map(|(row, name)| row.listener(name, self.fleet, self.modules))
            .collect::<Result<_>>()?;
        let deployment = rows::deployment(self.fleet, &self.modules.empty, listeners)?;
        let mut profiled = ProfiledEnvoy::start(self.program, self.library, deployment)?;
        let mut clients = rows
            .iter()
            .zip(&names)
            .map(|(row, name)| {
                let client = Client::new(profiled.envoy.listener(name)?)?;
                RowClient::start(*row, client, self.headers).with_context(|| row.name())
            })
            .collect::<Result<Vec<_>>>()?;

        profiled.count()?;
        let mut measured = Vec::new();
        let mut bare = Vec::new();
        for client in &mut clients {
            let row = client.row;
            (self.say)(&row.name());
            let total = client.measure(&mut profiled).with_context(|| row.name())?;
            if let BenchRow::Bare(targets) = row {
                bare.push((targets, total));
            }
            let compared = bare.iter().find(|(targets, _)| *targets == row.targets());
            let (_, compared) = compared.context("a bare Envoy comes first")?;
            let instructions = Instructions {
                total,
                added: total - compared,
            };
            measured.push((row.name(), instructions));
        }
        let bugs = profiled.envoy.filter_bugs()?;
        ensure!(bugs == 0, "the filter has met {bugs} states that cannot be");
        Ok(measured)
    }
}

/// The client of a row, and what it has seen.
struct RowClient {
    row: BenchRow,
    client: Client,
    headers: ClientHeaders,
    paths: Vec<String>,
    cookies: String,
    backends: BTreeSet<String>,
}

impl RowClient {
    /// Gets the client's sessions.
    fn start(row: BenchRow, client: Client, headers: ClientHeaders) -> Result<RowClient> {
        let paths = row.paths();
        let mut client = RowClient {
            row,
            client,
            headers,
            paths,
            cookies: String::new(),
            backends: BTreeSet::new(),
        };
        let mut sessions = BTreeMap::new();
        for at in 0..client.paths.len() {
            if let Some(session) = client.ask(at)? {
                let name = session.split('=').next().unwrap_or_default();
                sessions.entry(name.to_owned()).or_insert(session);
            }
        }
        ensure!(
            sessions.is_empty() != row.is_sticky(),
            "it sets cookies of sessions: {sessions:?}"
        );
        client.cookies = match row.is_sticky() {
            true => sessions.into_values().collect::<Vec<_>>().join("; "),
            // Cookies that are nothing to anybody, so that all requests are as long.
            false => format!("xy_0={0}; xy_1={0}", "0123456789abcdef".repeat(3)),
        };
        Ok(client)
    }

    /// Asks for one of the paths. Returns the session that the answer sets.
    fn ask(&mut self, at: usize) -> Result<Option<String>> {
        let path = &self.paths[at % self.paths.len()];
        let cookies = ("cookie", self.cookies.as_str());
        let cookies = (!self.cookies.is_empty()).then_some(cookies);
        let headers = self.headers.lines().iter().copied();
        let headers: Vec<_> = headers.chain(cookies).collect();
        let response = self.client.get_with(HEADERS[0].1, path, &headers)?;
        ensure!(
            response.status().is_success(),
            "{path} is answered with {}",
            response.status()
        );
        self.backends
            .insert(header(&response, "x-backend").to_owned());
        Ok(session_cookie(&response))
    }

    /// So many requests, and time passes.
    fn requests(&mut self, profiled: &mut ProfiledEnvoy, count: usize) -> Result<()> {
        for at in 0..count {
            profiled.clock.advance(STEP)?;
            let session = self.ask(at)?;
            // Envoy's own does not: its cookie names an address, and weights choose the cluster.
            ensure!(
                session.is_none() || self.row == BenchRow::Filters,
                "its session does not hold"
            );
        }
        Ok(())
    }

    /// The instructions of a request.
    fn measure(&mut self, profiled: &mut ProfiledEnvoy) -> Result<f64> {
        profiled.clock.advance(START)?;
        self.requests(profiled, WARM_UP)?;
        let all = profiled.instructions(|profiled| self.requests(profiled, REQUESTS))?;
        let is_split = self.backends.len() > 1;
        ensure!(
            is_split == (self.row.is_split() && self.paths.len() > 1)
                || self.row == BenchRow::Bare(Targets::Endpoints),
            "its answers come from {:?}",
            self.backends
        );
        Ok(all as f64 / REQUESTS as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_envoy_has_more_vms_than_valgrind_has_room_for_and_each_has_its_bare_one() {
        let rows = rows::all();
        let groups = groups(&rows);
        let mut seen = BTreeSet::new();
        for group in &groups {
            assert!(group.iter().filter(|row| row.has_vm()).count() <= VMS);
            for row in group {
                let bare = BenchRow::Bare(row.targets());
                let first = group.iter().position(|other| *other == bare).unwrap();
                assert!(first <= group.iter().position(|other| other == row).unwrap());
                seen.insert(row.name());
            }
        }
        assert_eq!(seen.len(), rows.len());
    }
}
