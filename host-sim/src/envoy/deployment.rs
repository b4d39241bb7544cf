//! What an Envoy is started with: one of the files of `envoy-config/`, read as a tree and adjusted.

use crate::configuration::type_url::{STRING, STRUCT, WASM};
use crate::module;
use anyhow::{Context, Result, anyhow};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::time::Duration;

const HEADER_MUTATION: &str = "type.googleapis.com/envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation";
const EXTENSION: &str = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig";
const LISTENER: &str = "type.googleapis.com/envoy.config.listener.v3.Listener";

/// The upstream headers as the files of `envoy-config/` name them.
const CLUSTER_HEADER: &str = "x-pointsman-cluster";
const ENDPOINT_HEADER: &str = "x-pointsman-endpoint";
const MIRROR_HEADER: &str = "x-pointsman-mirror";

/// Workers, where nothing else is said: two show whatever one worker alone could hide.
const WORKERS: u32 = 2;

/// An Envoy configuration with what belongs to it on the command line.
#[derive(Clone, Debug, PartialEq)]
pub struct Deployment {
    bootstrap: Value,
    workers: u32,
    updatable: bool,
    hot_restartable: bool,
    drain_time: Duration,
    runner: Vec<String>,
    /// Variables of its environment, which the filter's VM gets.
    environment: BTreeMap<String, String>,
}

/// The two forms in which a plugin configuration reaches the filter.
#[derive(Clone, Debug, PartialEq)]
pub enum PluginConfiguration {
    /// `google.protobuf.Struct`: nested YAML in the Envoy file, binary protobuf in the filter.
    Struct(Value),
    /// `google.protobuf.StringValue`: the text as it is.
    Text(String),
}

impl PluginConfiguration {
    /// As it stands in an Envoy configuration.
    pub(super) fn into_any(self) -> Value {
        match self {
            PluginConfiguration::Struct(value) => json!({ "@type": STRUCT, "value": value }),
            PluginConfiguration::Text(text) => json!({ "@type": STRING, "value": text }),
        }
    }
}

impl Deployment {
    /// The file `name` of `envoy-config/`, with the module that `cargo build` makes there replaced
    /// by `module`, and nothing else changed.
    pub fn file(name: &str, module: &Path) -> Result<Self> {
        let path = module::repository()?.join("envoy-config").join(name);
        Ok(Self::read(&path)?.with_module(module))
    }

    /// An Envoy configuration in YAML or JSON, unchanged.
    pub fn read(path: &Path) -> Result<Self> {
        let shown = path.display();
        let text = fs::read_to_string(path).with_context(|| format!("reading {shown}"))?;
        let bootstrap =
            serde_saphyr::from_str(&text).map_err(|error| anyhow!("{shown}: {error}"))?;
        Ok(Self {
            bootstrap,
            workers: WORKERS,
            updatable: false,
            hot_restartable: false,
            drain_time: Duration::ZERO,
            runner: Vec::new(),
            environment: BTreeMap::new(),
        })
    }

    /// These clusters in place of the proxy's own.
    pub fn with_clusters(mut self, clusters: Vec<Value>) -> Self {
        self.bootstrap["static_resources"]["clusters"] = clusters.into();
        self
    }

    /// Without a log line for each request: nobody reads it, and a measurement of the filter must
    /// not measure the log.
    pub fn without_access_log(mut self) -> Self {
        each_object(&mut self.bootstrap, &mut |object| {
            drop(object.remove("access_log"))
        });
        self
    }

    /// The filter's module.
    pub fn with_module(mut self, path: &Path) -> Self {
        let path = path.display().to_string();
        each_of_type(&mut self.bootstrap, WASM, &mut |filter| {
            filter["config"]["vm_config"]["code"] = json!({ "local": { "filename": path } });
        });
        self
    }

    /// A variable of Envoy's environment, which the filter's VM gets.
    pub fn with_variable(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.to_owned(), value.to_owned());
        let names: Vec<_> = self.environment.keys().cloned().collect();
        each_of_type(&mut self.bootstrap, WASM, &mut |filter| {
            filter["config"]["vm_config"]["environment_variables"] =
                json!({ "host_env_keys": names });
        });
        self
    }

    /// The variables of Envoy's environment.
    pub(super) fn environment(&self) -> &BTreeMap<String, String> {
        &self.environment
    }

    /// The filter's configuration.
    pub fn with_configuration(mut self, configuration: PluginConfiguration) -> Self {
        let any = configuration.into_any();
        each_of_type(&mut self.bootstrap, WASM, &mut |filter| {
            filter["config"]["configuration"] = any.clone()
        });
        self
    }

    /// What happens after the filter's VM has died: `FAIL_RELOAD`, `FAIL_OPEN` or `FAIL_CLOSED`.
    pub fn with_failure_policy(mut self, policy: &str) -> Self {
        each_of_type(&mut self.bootstrap, WASM, &mut |filter| {
            filter["config"]["failure_policy"] = policy.into()
        });
        self
    }

    /// What every cluster speaks with its endpoints: an `explicit_http_config`. Default: HTTP/1.1
    /// as Envoy has it.
    pub fn with_upstream_protocol(mut self, explicit: Value) -> Self {
        const OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
        let options = json!({ "@type": format!("type.googleapis.com/{OPTIONS}"), "explicit_http_config": explicit });
        let clusters = self.bootstrap["static_resources"]["clusters"].as_array_mut();
        for cluster in clusters.into_iter().flatten() {
            cluster["typed_extension_protocol_options"] = json!({ OPTIONS: options });
        }
        self
    }

    /// How many worker threads. Default 2.
    pub fn with_workers(mut self, workers: u32) -> Self {
        self.workers = workers;
        self
    }

    /// How long the connections of a listener go on after [`super::Envoy::update`] has replaced it.
    /// Default: not at all, so that what is seen afterwards is the new configuration. Whole
    /// seconds.
    pub fn with_drain_time(mut self, time: Duration) -> Self {
        self.drain_time = time;
        self
    }

    /// Envoy runs under this program with these arguments, before its own: a profiler. Its start may
    /// take minutes.
    pub fn under(mut self, runner: Vec<String>) -> Self {
        self.runner = runner;
        self
    }

    /// The listeners come from a file that can be replaced: [`super::Envoy::update`].
    pub fn updatable(mut self) -> Self {
        self.updatable = true;
        self
    }

    /// The filter, with its present configuration, is written to this file, and the listeners have
    /// it from there (ECDS): its `resources` can be changed, if the file is replaced as a whole.
    pub fn discover_filter(mut self, file: &Path) -> Result<Self> {
        let mut resources = Vec::new();
        each_object(&mut self.bootstrap, &mut |object| {
            let config = object.get("typed_config");
            if config.is_none_or(|config| config["@type"] != WASM) {
                return;
            }
            resources.push(json!({
                "@type": EXTENSION,
                "name": object.get("name"),
                "typed_config": object.remove("typed_config"),
            }));
            let source = json!({
                "path_config_source": { "path": file.display().to_string() },
                "resource_api_version": "V3",
            });
            let discovery = json!({ "config_source": source, "type_urls": [WASM] });
            object.insert("config_discovery".to_owned(), discovery);
        });
        // Envoy wants to be called something where a part of its configuration comes later.
        self.bootstrap["node"] = json!({ "id": "edge", "cluster": "edge" });
        super::write_atomically(file, &json!({ "resources": resources }))?;
        Ok(self)
    }

    /// Another Envoy can take over: [`super::Envoy::hand_over`]. The listeners get ports that are
    /// free now, since only those that are named are handed over.
    pub fn hot_restartable(mut self) -> Result<Self> {
        for listener in self.listeners_mut() {
            let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
            listener["address"]["socket_address"]["port_value"] = free.port().into();
        }
        self.hot_restartable = true;
        Ok(self)
    }

    /// All listeners and the admin interface get free ports in place of their own.
    pub fn on_free_ports(mut self) -> Self {
        self.bootstrap["admin"]["address"]["socket_address"]["port_value"] = 0.into();
        for listener in self.listeners_mut() {
            listener["address"]["socket_address"]["port_value"] = 0.into();
        }
        self
    }

    /// Listeners and the admin interface whose ports are taken get free ones. Also returns what was
    /// taken.
    pub fn around_taken_ports(mut self) -> (Self, Vec<SocketAddr>) {
        let mut taken = Vec::new();
        let mut avoid = |address: &mut Value| {
            let wanted = socket(&address["socket_address"]);
            // Envoy itself would not notice: it binds with SO_REUSEPORT and would share the port
            // with another Envoy.
            if let Some(wanted) = wanted.filter(|wanted| TcpListener::bind(wanted).is_err()) {
                address["socket_address"]["port_value"] = 0.into();
                taken.push(wanted);
            }
        };
        self.listeners_mut()
            .for_each(|listener| avoid(&mut listener["address"]));
        avoid(&mut self.bootstrap["admin"]["address"]);
        (self, taken)
    }

    /// The static endpoints of all clusters, each with its cluster's name, in order.
    pub fn endpoints(&self) -> Vec<(String, SocketAddr)> {
        let clusters = self.bootstrap["static_resources"]["clusters"].as_array();
        let endpoints = clusters.into_iter().flatten().flat_map(|cluster| {
            let mut addresses = Vec::new();
            each_endpoint(&mut cluster.clone(), &mut |address| {
                addresses.extend(socket(address))
            });
            let name = cluster["name"].as_str().unwrap_or_default().to_owned();
            addresses
                .into_iter()
                .map(move |address| (name.clone(), address))
        });
        endpoints.collect()
    }

    /// The endpoint `from` is to be found at `to`: in the clusters, and in the filter's
    /// configuration, where the target keeps its name.
    pub fn move_endpoint(mut self, from: SocketAddr, to: SocketAddr) -> Self {
        each_endpoint(
            &mut self.bootstrap["static_resources"]["clusters"],
            &mut |address| {
                if socket(address) == Some(from) {
                    *address = json!({ "address": to.ip(), "port_value": to.port() });
                }
            },
        );
        each_of_type(&mut self.bootstrap, WASM, &mut |filter| {
            move_targets(
                &mut filter["config"]["configuration"]["value"],
                &from.to_string(),
                to,
            );
        });
        self
    }

    /// The name of the first listener.
    pub fn first_listener(&self) -> Option<&str> {
        self.bootstrap["static_resources"]["listeners"][0]["name"].as_str()
    }

    /// The whole tree, for adjustments of a caller's own.
    pub fn bootstrap_mut(&mut self) -> &mut Value {
        &mut self.bootstrap
    }

    /// The proxy's own cluster of this name, for the same.
    ///
    /// # Panics
    /// Where there is none.
    pub fn cluster_mut(&mut self, name: &str) -> &mut Value {
        let clusters = self.clusters_mut().iter_mut();
        let mut found = clusters.filter(|cluster| cluster["name"] == name);
        found.next().expect("a cluster of this name")
    }

    /// The proxy's own clusters, for the same.
    ///
    /// # Panics
    /// Where it has no list of them.
    pub fn clusters_mut(&mut self) -> &mut Vec<Value> {
        let clusters = self.bootstrap["static_resources"]["clusters"].as_array_mut();
        clusters.expect("a list of clusters")
    }

    /// The HTTP connection manager of the first listener, for the same.
    pub fn connection_manager_mut(&mut self) -> &mut Value {
        let listener = &mut self.bootstrap["static_resources"]["listeners"][0];
        &mut listener["filter_chains"][0]["filters"][0]["typed_config"]
    }

    /// The configuration of its HTTP filter with this name, for the same.
    ///
    /// # Panics
    /// Where there is none.
    pub fn http_filter_mut(&mut self, name: &str) -> &mut Value {
        let filters = self.connection_manager_mut()["http_filters"].as_array_mut();
        let mut filters = filters.into_iter().flatten();
        let found = filters.find(|filter| filter["name"] == name);
        &mut found.expect("a filter of this name")["typed_config"]
    }

    /// Pointsman's own configuration there, where that is a `Struct`, for the same.
    pub fn configuration_mut(&mut self) -> &mut Value {
        let filter = self.http_filter_mut("envoy.filters.http.wasm");
        &mut filter["config"]["configuration"]["value"]
    }

    pub(super) fn workers(&self) -> u32 {
        self.workers
    }

    pub(super) fn drain_time(&self) -> Duration {
        self.drain_time
    }

    pub(super) fn runner(&self) -> &[String] {
        &self.runner
    }

    pub(super) fn is_updatable(&self) -> bool {
        self.updatable
    }

    pub(super) fn is_hot_restartable(&self) -> bool {
        self.hot_restartable
    }

    /// What Envoy reads at its start.
    pub(super) fn bootstrap_file(&self, listeners: &Path) -> Value {
        let mut bootstrap = self.bootstrap.clone();
        if self.updatable {
            if let Some(resources) = bootstrap["static_resources"].as_object_mut() {
                resources.remove("listeners");
            }
            bootstrap["node"] = json!({ "id": "pointsman", "cluster": "pointsman" });
            bootstrap["dynamic_resources"]["lds_config"] = json!({ "resource_api_version": "V3", "path_config_source": { "path": listeners } });
        }
        bootstrap
    }

    /// The file that updates come from.
    pub(super) fn listeners_file(&self) -> Value {
        let mut resources = self.bootstrap["static_resources"]["listeners"].clone();
        for listener in resources.as_array_mut().into_iter().flatten() {
            listener["@type"] = LISTENER.into();
        }
        json!({ "resources": resources })
    }

    fn listeners_mut(&mut self) -> impl Iterator<Item = &mut Value> {
        self.bootstrap["static_resources"]["listeners"]
            .as_array_mut()
            .into_iter()
            .flatten()
    }

    /// The names of the upstream headers, wherever the proxy has to know them.
    pub fn with_upstream_headers(mut self, cluster: &str, endpoint: &str, mirror: &str) -> Self {
        each_of_type(&mut self.bootstrap, HEADER_MUTATION, &mut |mutation| {
            let mutations = mutation["mutations"].as_array_mut().into_iter().flatten();
            for mutation in mutations {
                match mutation["remove"].as_str() {
                    Some(CLUSTER_HEADER) => mutation["remove"] = cluster.into(),
                    Some(ENDPOINT_HEADER) => mutation["remove"] = endpoint.into(),
                    Some(MIRROR_HEADER) => mutation["remove"] = mirror.into(),
                    _ => {}
                }
            }
        });
        each_object(&mut self.bootstrap, &mut |object| {
            let routes = object.get_mut("route_config").into_iter();
            routes.for_each(|routes| {
                each_object(routes, &mut |object| {
                    if let Some(header) = object.get_mut("cluster_header") {
                        *header = match *header == *MIRROR_HEADER {
                            true => mirror.into(),
                            false => cluster.into(),
                        };
                    }
                    // A condition on one of them.
                    if object
                        .get("name")
                        .is_some_and(|name| *name == *ENDPOINT_HEADER)
                    {
                        object.insert("name".to_owned(), endpoint.into());
                    }
                });
            });
        });
        self
    }
}

/// The targets at the endpoint `from` go to `to`, and are called what they were called.
pub(super) fn move_targets(configuration: &mut Value, from: &str, to: SocketAddr) {
    let pools = configuration
        .get_mut("pools")
        .and_then(Value::as_object_mut)
        .into_iter()
        .flat_map(|pools| pools.values_mut());
    let targets = pools
        .filter_map(|pool| pool.get_mut("targets")?.as_array_mut())
        .flatten();
    for target in targets.filter_map(Value::as_object_mut) {
        if target
            .get("endpoint")
            .is_some_and(|endpoint| endpoint == from)
        {
            target.entry("name").or_insert_with(|| from.into());
            target.insert("endpoint".to_owned(), to.to_string().into());
        }
    }
}

/// A `socket_address`, where it is an IP address.
fn socket(address: &Value) -> Option<SocketAddr> {
    let port = address["port_value"].as_u64()?.try_into().ok()?;
    Some(SocketAddr::new(
        address["address"].as_str()?.parse().ok()?,
        port,
    ))
}

/// Each endpoint's `socket_address`.
fn each_endpoint(clusters: &mut Value, act: &mut dyn FnMut(&mut Value)) {
    each_object(clusters, &mut |object| {
        if let Some(address) = object
            .get_mut("endpoint")
            .and_then(|endpoint| endpoint.pointer_mut("/address/socket_address"))
        {
            act(address);
        }
    });
}

/// Each object with this `@type`.
fn each_of_type(tree: &mut Value, name: &str, act: &mut dyn FnMut(&mut Value)) {
    each_object(tree, &mut |object| {
        if object.get("@type").is_some_and(|found| found == name) {
            let mut value = Value::Object(std::mem::take(object));
            act(&mut value);
            if let Value::Object(changed) = value {
                *object = changed;
            }
        }
    });
}

/// Each object of a tree, the outer ones first.
fn each_object(tree: &mut Value, act: &mut dyn FnMut(&mut Map<String, Value>)) {
    match tree {
        Value::Object(object) => {
            act(object);
            object
                .values_mut()
                .for_each(|value| each_object(value, act));
        }
        Value::Array(values) => values.iter_mut().for_each(|value| each_object(value, act)),
        _ => {}
    }
}
