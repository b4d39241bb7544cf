//! The backends that a Pointsman configuration asks for: one for each cluster and each endpoint
//! that it names, on free ports, and the Envoy clusters that lead to them.

use super::deployment::{Deployment, PluginConfiguration, move_targets};
use crate::backend::{Answer, Backend, Received};
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::path::Path;

/// All backends of a configuration.
#[derive(Debug)]
pub struct Fleet {
    configuration: Value,
    members: Vec<Member>,
}

/// One backend and its place.
#[derive(Debug)]
pub struct Member {
    /// The Envoy cluster that leads to it.
    pub cluster: String,
    /// In a pool of endpoints: the endpoint, as it stands in the configuration that the fleet was
    /// started with.
    pub endpoint: Option<String>,
    /// Called like its endpoint or cluster.
    pub backend: Backend,
}

impl Fleet {
    /// Starts the backends. Whatever in `configuration` is not as it should be is left to the
    /// filter to refuse.
    pub fn start(configuration: &Value) -> Result<Self> {
        let mut fleet = Self {
            configuration: configuration.clone(),
            members: Vec::new(),
        };
        let pools = configuration["pools"]
            .as_object()
            .into_iter()
            .flat_map(|pools| pools.values());
        for pool in pools {
            let common = pool["cluster"].as_str();
            for target in pool["targets"].as_array().into_iter().flatten() {
                let endpoint = target["endpoint"].as_str();
                if let Some(cluster) = common.or_else(|| target["cluster"].as_str()) {
                    fleet.add(cluster, endpoint)?;
                }
            }
        }
        fleet.configuration = fleet.moved(configuration.clone());
        Ok(fleet)
    }

    /// `envoy-config/envoy.yaml` on free ports, with the fleet's configuration and clusters in
    /// place of its own.
    pub fn deployment(&self, module: &Path) -> Result<Deployment> {
        let configuration = PluginConfiguration::Struct(self.configuration.clone());
        let deployment = Deployment::file("envoy.yaml", module)?;
        Ok(deployment
            .on_free_ports()
            .with_configuration(configuration)
            .with_clusters(self.clusters())
            .with_upstream_headers(
                self.cluster_header(),
                self.endpoint_header(),
                self.mirror_header(),
            )
            .without_access_log())
    }

    /// A backend on a free port for each static endpoint that a deployment has, and the deployment
    /// with its clusters leading there. A backend is called like the port that the deployment gave
    /// to its endpoint.
    pub fn in_place_of_endpoints(mut deployment: Deployment) -> Result<(Self, Deployment)> {
        let mut fleet = Self {
            configuration: Value::Null,
            members: Vec::new(),
        };
        for (cluster, address) in deployment.endpoints() {
            let endpoint = address.to_string();
            if fleet
                .members
                .iter()
                .any(|member| member.endpoint.as_ref() == Some(&endpoint))
            {
                continue;
            }
            let name = address.port().to_string();
            let backend =
                Backend::start(&name).with_context(|| format!("starting the backend {name}"))?;
            deployment = deployment.move_endpoint(address, backend.address());
            fleet.members.push(Member {
                cluster,
                endpoint: Some(endpoint),
                backend,
            });
        }
        Ok((fleet, deployment))
    }

    fn add(&mut self, cluster: &str, endpoint: Option<&str>) -> Result<()> {
        let is_it =
            |member: &Member| member.cluster == cluster && member.endpoint.as_deref() == endpoint;
        if !self.members.iter().any(is_it) {
            let name = endpoint.unwrap_or(cluster);
            let backend =
                Backend::start(name).with_context(|| format!("starting the backend {name}"))?;
            self.members.push(Member {
                cluster: cluster.to_owned(),
                endpoint: endpoint.map(str::to_owned),
                backend,
            });
        }
        Ok(())
    }

    /// The configuration with the endpoints where they really are. A target that had no name has
    /// that of its endpoint as it was configured.
    pub fn configuration(&self) -> &Value {
        &self.configuration
    }

    /// A configuration that names endpoints as the fleet's does, with each where its backend is.
    pub fn moved(&self, mut configuration: Value) -> Value {
        for member in &self.members {
            if let Some(endpoint) = &member.endpoint {
                move_targets(&mut configuration, endpoint, member.backend.address());
            }
        }
        configuration
    }

    /// All backends.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// All backends, to stop and start them.
    pub fn members_mut(&mut self) -> &mut [Member] {
        &mut self.members
    }

    /// The requests that all backends got since the last call, those of a backend in order.
    pub fn take_received(&self) -> Vec<Received> {
        let members = self.members.iter();
        members
            .flat_map(|member| member.backend.take_received())
            .collect()
    }

    /// What all backends do from now on.
    pub fn answer(&self, answer: &Answer) {
        self.members
            .iter()
            .for_each(|member| member.backend.answer(answer.clone()));
    }

    /// The Envoy clusters that lead to the backends.
    pub fn clusters(&self) -> Vec<Value> {
        let mut names: Vec<_> = self
            .members
            .iter()
            .map(|member| member.cluster.as_str())
            .collect();
        names.dedup();
        names.sort_unstable();
        names.dedup();
        names.into_iter().map(|name| self.cluster(name)).collect()
    }

    fn cluster(&self, name: &str) -> Value {
        let members = || self.members.iter().filter(|member| member.cluster == name);
        let endpoints: Vec<_> = members()
            .map(|member| member.backend.address())
            .map(|address| json!({ "address": address.ip(), "port_value": address.port() }))
            .map(|socket| json!({ "endpoint": { "address": { "socket_address": socket } } }))
            .collect();
        let mut cluster = json!({
            "name": name,
            "type": "STATIC",
            "connect_timeout": "1s",
            "load_assignment": { "cluster_name": name, "endpoints": [{ "lb_endpoints": endpoints }] },
        });
        if members().any(|member| member.endpoint.is_some()) {
            cluster["load_balancing_policy"] = override_host(self.endpoint_header());
            // As in `envoy-config/envoy.yaml`: the default lets three at a time be tried again.
            cluster["circuit_breakers"] = json!({ "thresholds": [{ "max_retries": 100 }] });
        }
        cluster
    }

    /// `upstream.cluster_header`
    pub fn cluster_header(&self) -> &str {
        self.configuration["upstream"]["cluster_header"]
            .as_str()
            .unwrap_or("x-pointsman-cluster")
    }

    /// `upstream.endpoint_header`
    pub fn endpoint_header(&self) -> &str {
        self.configuration["upstream"]["endpoint_header"]
            .as_str()
            .unwrap_or("x-pointsman-endpoint")
    }

    /// `upstream.mirror_header`
    pub fn mirror_header(&self) -> &str {
        self.configuration["upstream"]["mirror_header"]
            .as_str()
            .unwrap_or("x-pointsman-mirror")
    }
}

/// The policy of a cluster whose endpoint the filter chooses. Without its header, round robin.
fn override_host(header: &str) -> Value {
    let policy = |name: &str, config: Value| json!({ "typed_extension_config": { "name": name, "typed_config": config } });
    let fallback = policy(
        "envoy.load_balancing_policies.round_robin",
        json!({ "@type": "type.googleapis.com/envoy.extensions.load_balancing_policies.round_robin.v3.RoundRobin" }),
    );
    let chosen = policy(
        "envoy.load_balancing_policies.override_host",
        json!({
            "@type": "type.googleapis.com/envoy.extensions.load_balancing_policies.override_host.v3.OverrideHost",
            "override_host_sources": [{ "header": header }],
            "fallback_policy": { "policies": [fallback] },
        }),
    );
    json!({ "policies": [chosen] })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fleet_has_one_backend_for_each_cluster_and_endpoint() {
        let configuration = json!({ "pools": {
            "web": { "targets": [{ "cluster": "blue" }, { "cluster": "green" }] },
            "again": { "targets": [{ "cluster": "blue" }] },
            "api": { "cluster": "api", "targets": [
                { "endpoint": "127.0.0.1:9101" }, { "endpoint": "127.0.0.1:9102", "name": "two" },
            ] },
        } });
        let fleet = Fleet::start(&configuration).unwrap();
        let names: Vec<_> = fleet
            .members()
            .iter()
            .map(|member| member.backend.name())
            .collect();
        assert_eq!(
            names,
            ["blue", "127.0.0.1:9101", "127.0.0.1:9102", "green"],
            "pools come sorted by name"
        );
        let targets = &fleet.configuration()["pools"]["api"]["targets"];
        assert_eq!(
            targets[0]["endpoint"],
            fleet.members()[1].backend.address().to_string()
        );
        assert_eq!(
            (&targets[0]["name"], &targets[1]["name"]),
            (&json!("127.0.0.1:9101"), &json!("two"))
        );
        let clusters: Vec<_> = fleet
            .clusters()
            .iter()
            .map(|cluster| cluster["name"].clone())
            .collect();
        assert_eq!(clusters, ["api", "blue", "green"]);
    }
}
