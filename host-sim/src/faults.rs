//! What goes wrong around a load balancer, made to go wrong on a real Envoy under load: `host-sim
//! faults`.
//!
//! Each fault has a site of its own: `envoy-config/envoy.yaml` with two workers, and real backends
//! in place of its own. Clients with a connection each send a `GET`, wait for the answer, pause,
//! and send the next. A request has *failed* whose client got a 5xx, a connection that broke off,
//! or no answer within a minute. Before the fault none does, or the row says so. After it the proxy
//! must be as before: it serves, no request is left in the counts of requests in flight, and no VM
//! has trapped that was not meant to.

mod backends;
mod clients;
mod clock;
mod dear;
mod limits;
mod load;
mod mesh;
mod neighbours;
mod proxy;
mod report;
mod stage;

pub use report::FaultReport;

use anyhow::Result;
use serde::Serialize;
use stage::Stage;
use std::time::{Duration, Instant};

/// Something that goes wrong. The names on the command line are these, with `-`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Fault {
    /// One endpoint of three is killed, and comes back.
    BackendKilled,
    /// One cluster of three is killed, and comes back.
    ClusterKilled,
    /// One endpoint of three accepts requests and never answers.
    BackendHung,
    /// All endpoints are killed, and come back.
    AllBackendsDown,
    /// A request makes its VM trap.
    VmTrapped,
    /// Other configurations come, one after the other.
    ConfigurationReloaded,
    /// Large configurations come, one after the other, within one drain time.
    LargeConfigurationReloaded,
    /// A configuration comes that is wrong.
    BadConfiguration,
    /// An Envoy with twice as many workers takes over, in a hot restart.
    WorkersDoubled,
    /// The clock jumps by an hour, forwards and backwards. In the simulator: a real clock is not
    /// ours to set.
    ClockJumped,
    /// A flood from addresses that are all different.
    ManyAddresses,
    /// A flood from one IPv6 /64 against a slow limit.
    SlowLimitFlooded,
    /// Connections that send their headers a byte at a time.
    SlowHeaders,
    /// Session cookies that are forged.
    ForgedCookies,
    /// Requests that bring as much as the edge lets in, to routes that look at it.
    DearRequests,
    /// A client does all that can make a target look ill which is well.
    HealthAttacked,
    /// Another configuration in the same VM, of the same names, has all of its targets killed.
    NeighbourDown,
    /// All targets of a pool are killed that has a `failover`.
    PoolKilled,
    /// A VM traps in a mesh, with the failure policy that Istio has by default.
    MeshVmTrapped,
    /// Istio's agent did not get the module.
    MeshModuleMissing,
    /// Another plugin of a mesh's proxy writes into the same shared data.
    MeshOtherPlugin,
    /// The engine of a `global` limit is killed, and comes back.
    EngineKilled,
    /// The Redis of that engine is killed, and comes back.
    EngineStoreKilled,
    /// That engine answers too late.
    EngineSlow,
    /// One of two proxies is killed that holds tokens of a `global` limit.
    LeaseHolderKilled,
    /// The clock of an engine steps a window ahead, and back.
    EngineClockStepped,
    /// The clock of one of two proxies that hold tokens steps an hour ahead, two hours back, and
    /// an hour ahead again.
    ProxyClockStepped,
}

impl Fault {
    /// All of them.
    pub fn all() -> &'static [Fault] {
        clap::ValueEnum::value_variants()
    }

    /// Whether it is of limits that several proxies share, whose page is `envoy-config/fleet.md`.
    pub fn is_of_fleet(self) -> bool {
        matches!(
            self,
            Fault::EngineKilled
                | Fault::EngineStoreKilled
                | Fault::EngineSlow
                | Fault::LeaseHolderKilled
                | Fault::EngineClockStepped
                | Fault::ProxyClockStepped
        )
    }

    /// As on the command line.
    pub fn name(self) -> String {
        clap::ValueEnum::to_possible_value(&self)
            .map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

/// How much is played of each fault.
#[derive(Clone, Copy, Debug)]
pub struct FaultPlan {
    /// How many clients send the load.
    pub clients: usize,
    /// How often each of them sends a request, at most.
    pub interval: Duration,
    /// How many good answers are waited for where time has to pass: before a fault, in the middle
    /// of it, and after it.
    pub answers: usize,
    /// How often backends are killed, VMs made to trap, and bad configurations sent.
    pub rounds: usize,
    /// How many configurations come.
    pub reloads: usize,
    /// How many addresses a flood comes from.
    pub addresses: u32,
    /// How many connections send their headers a byte at a time.
    pub slow_connections: usize,
    /// How many forged cookies come.
    pub forged: usize,
}

impl FaultPlan {
    /// For `tests/README.md`.
    pub const FULL: FaultPlan = FaultPlan {
        clients: 8,
        interval: Duration::from_millis(10),
        answers: 1_000,
        rounds: 3,
        reloads: 100,
        addresses: 1_000_000,
        slow_connections: 3_000,
        forged: 10_000,
    };
    /// To see that the promises hold, on whatever machine.
    pub const SMALL: FaultPlan = FaultPlan {
        clients: 6,
        interval: Duration::from_millis(5),
        answers: 200,
        rounds: 1,
        reloads: 5,
        addresses: 100_000,
        slow_connections: 200,
        forged: 1_000,
    };
}

/// A fault that was played: a row of the report.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FaultResult {
    /// What went wrong: the name on the command line, and what it was.
    pub fault: String,
    /// How many requests the load had while it was played.
    pub requests: usize,
    /// How many of them failed.
    pub failed: usize,
    /// What was promised beforehand.
    pub promised: String,
    /// What was seen besides.
    pub seen: String,
    /// The promises that were broken.
    pub broken: Vec<String>,
}

/// Plays faults, one after the other. `say` gets each fault's name as it begins.
pub fn play(
    faults: &[Fault],
    plan: &FaultPlan,
    command: String,
    say: &dyn Fn(&str),
) -> Result<FaultReport> {
    let stage = Stage::prepare()?;
    let start = Instant::now();
    let play = |fault: &Fault| {
        say(&fault.name());
        let played = match fault {
            Fault::BackendKilled => backends::killed(&stage, plan),
            Fault::ClusterKilled => backends::cluster_killed(&stage, plan),
            Fault::BackendHung => backends::hung(&stage, plan),
            Fault::AllBackendsDown => backends::all_down(&stage, plan),
            Fault::VmTrapped => proxy::trapped(&stage, plan),
            Fault::ConfigurationReloaded => proxy::reloaded(&stage, plan),
            Fault::LargeConfigurationReloaded => proxy::large_reloaded(&stage, plan),
            Fault::BadConfiguration => proxy::bad_configuration(&stage, plan),
            Fault::WorkersDoubled => proxy::workers_doubled(&stage, plan),
            Fault::ClockJumped => clock::jumped(),
            Fault::ManyAddresses => clients::many_addresses(&stage, plan),
            Fault::SlowLimitFlooded => clients::slow_limit_flooded(&stage, plan),
            Fault::SlowHeaders => clients::slow_headers(&stage, plan),
            Fault::ForgedCookies => clients::forged_cookies(&stage, plan),
            Fault::DearRequests => dear::dear_requests(&stage, plan),
            Fault::HealthAttacked => clients::health_attacked(&stage, plan),
            Fault::NeighbourDown => neighbours::neighbour_down(&stage, plan),
            Fault::PoolKilled => neighbours::pool_killed(&stage, plan),
            Fault::MeshVmTrapped => mesh::trapped(&stage, plan),
            Fault::MeshModuleMissing => mesh::module_missing(&stage, plan),
            Fault::MeshOtherPlugin => mesh::other_plugin(&stage, plan),
            Fault::EngineKilled => limits::engine_killed(&stage, plan),
            Fault::EngineStoreKilled => limits::store_killed(&stage, plan),
            Fault::EngineSlow => limits::engine_slow(&stage, plan),
            Fault::LeaseHolderKilled => limits::holder_killed(&stage, plan),
            Fault::EngineClockStepped => limits::engine_clock_stepped(&stage, plan),
            Fault::ProxyClockStepped => limits::proxy_clock_stepped(&stage, plan),
        };
        played.map(|row| FaultResult {
            fault: format!("`{}`: {}", fault.name(), row.fault),
            ..row
        })
    };
    let rows = faults.iter().map(play).collect::<Result<_>>()?;
    Ok(FaultReport {
        command,
        envoy: stage.version(),
        clients: plan.clients,
        interval: plan.interval,
        took: start.elapsed(),
        rows,
    })
}
