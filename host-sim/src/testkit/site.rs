//! A real Envoy and its backends.

use crate::backend::Backend;
use crate::client::Client;
use crate::envoy::fleet::Fleet;
use crate::envoy::{Deployment, Envoy, PluginConfiguration, Program, Wanted, install};
use crate::package;
use anyhow::{Context, Result, anyhow, ensure};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// The module as it ships, built once in a test program.
pub fn module() -> Result<&'static Path> {
    static MODULE: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let build = || package::module_as_it_ships().map_err(|error| format!("{error:#}"));
    let module = MODULE.get_or_init(build).as_deref();
    module.map_err(|error| anyhow!("{error}"))
}

/// A real Envoy with the filter, and the backends that it leads to.
///
/// When a site is dropped, the filter must not have met a state that cannot be: its counter
/// [`Envoy::filter_bugs`] is 0. So each test that has a site asserts that too.
pub struct Site {
    /// The proxy.
    pub envoy: Envoy,
    /// Its backends.
    pub fleet: Fleet,
    is_checked: bool,
}

impl Site {
    /// Pointsman as it ships, with this configuration in `envoy-config/envoy.yaml` on free ports,
    /// with two workers, and a backend for each target. It can be updated ([`Site::update`]).
    pub fn start(configuration: &Value) -> Result<Site> {
        Site::start_with(configuration, |_, deployment| Ok(deployment))
    }

    /// As [`Site::start`], with a deployment that is adjusted before it starts.
    pub fn start_with(
        configuration: &Value,
        adjust: impl FnOnce(&Fleet, Deployment) -> Result<Deployment>,
    ) -> Result<Site> {
        let fleet = Fleet::start(configuration)?;
        let deployment = fleet.deployment(module()?)?.updatable();
        let deployment = adjust(&fleet, deployment)?;
        Site::of(&install::find(Wanted::Any)?, fleet, deployment)
    }

    /// An Envoy with this deployment, in front of these backends.
    pub fn of(program: &Program, fleet: Fleet, deployment: Deployment) -> Result<Site> {
        Ok(Site {
            envoy: Envoy::start(program, deployment)?,
            fleet,
            is_checked: false,
        })
    }

    /// Another configuration for the same backends, over LDS. An error is Envoy's refusal.
    pub fn update(&mut self, configuration: Value) -> Result<()> {
        let configuration = PluginConfiguration::Struct(configuration);
        let deployment = self.envoy.deployment().clone();
        self.envoy
            .update(deployment.with_configuration(configuration))
    }

    /// A client of the Envoy's first listener, with a connection of its own.
    pub fn client(&self) -> Result<Client> {
        self.envoy.client()
    }

    /// The backend of this name: of the endpoint or the cluster that it stands for.
    pub fn backend(&self, name: &str) -> Result<&Backend> {
        let mut backends = self.fleet.members().iter().map(|member| &member.backend);
        backends
            .find(|backend| backend.name() == name)
            .with_context(|| format!("no backend is called {name}"))
    }

    /// The same, to stop it and to start it again.
    pub fn backend_mut(&mut self, name: &str) -> Result<&mut Backend> {
        let members = self.fleet.members_mut().iter_mut();
        members
            .map(|member| &mut member.backend)
            .find(|backend| backend.name() == name)
            .with_context(|| format!("no backend is called {name}"))
    }

    /// Whether a VM has trapped since Envoy was started, by what Envoy logs of it.
    pub fn has_trapped(&self) -> bool {
        self.envoy.log().contains("Uncaught RuntimeError")
    }

    /// Ends the site. An error says that the filter has met a state that cannot be; without this
    /// call the site would panic about it when it is dropped.
    pub fn finish(mut self) -> Result<()> {
        self.check()
    }

    /// Kills the proxy. What the filter has met can no longer be asked.
    pub fn kill(mut self) {
        self.is_checked = true;
    }

    fn check(&mut self) -> Result<()> {
        self.is_checked = true;
        let bugs = self.envoy.filter_bugs()?;
        let log = self.envoy.log();
        let lines = log
            .lines()
            .filter(|line| line.contains("a bug of Pointsman"));
        ensure!(
            bugs == 0,
            "the filter has met {bugs} states that cannot be:\n{}",
            lines.collect::<Vec<_>>().join("\n")
        );
        Ok(())
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if self.is_checked || std::thread::panicking() {
            return;
        }
        if let Err(error) = self.check() {
            panic!("{error:#}");
        }
    }
}
