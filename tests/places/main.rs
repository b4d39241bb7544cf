//! The files of `envoy-config/` for Istio, Envoy Gateway, Kubernetes and docker compose. There is no
//! control plane here: what one makes of such resources is made by the modules of this program, and
//! started in a real Envoy with the filter, in a VM that traps on demand.

mod compose;
mod envoy_filter;
mod envoy_gateway;
mod fields;
mod istio;
mod kubernetes;

use host_sim::check;
use host_sim::client::{Client, header, status_and_backend};
use host_sim::configuration::to_json;
use host_sim::envoy::fleet::Fleet;
use host_sim::envoy::{Deployment, Wanted, install};
use host_sim::module;
use host_sim::testkit::Site;
use host_sim::wait::until;
use host_sim::yaml::{Reading, documents};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

const WASM: &str = "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm";
const STRING: &str = "type.googleapis.com/google.protobuf.StringValue";
const ROUTER: &str = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router";
const MANAGER: &str = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
const MUTATION: &str = "type.googleapis.com/envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation";
const OVERRIDE_HOST: &str =
    "type.googleapis.com/envoy.extensions.load_balancing_policies.override_host.v3.OverrideHost";
const ROUND_ROBIN: &str =
    "type.googleapis.com/envoy.extensions.load_balancing_policies.round_robin.v3.RoundRobin";

fn path(file: &str) -> PathBuf {
    module::repository()
        .unwrap()
        .join("envoy-config")
        .join(file)
}

fn text(file: &str) -> String {
    fs::read_to_string(path(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// The documents of a file, as Kubernetes reads them.
fn resources(file: &str) -> Vec<Value> {
    resources_of(&text(file))
}

fn resources_of(text: &str) -> Vec<Value> {
    let documents = documents(text, Reading::Kubernetes).unwrap().trees;
    documents.iter().map(to_json).collect()
}

/// A file with a mistake, of which `check` warns so.
fn mistaken(file: &str, from: &str, to: &str, kind: &str) -> String {
    let text = text(file);
    assert!(text.contains(from), "{file}: {from}");
    let text = text.replacen(from, to, 1);
    let warnings = check::file_warnings(&text, &path(file), false);
    let kinds: Vec<_> = warnings.iter().map(|warning| warning.kind).collect();
    assert!(kinds.contains(&kind), "{file}: {kinds:?}");
    text
}

/// The only resource of this kind.
fn one<'a>(resources: &'a [Value], kind: &str) -> &'a Value {
    let mut found = resources.iter().filter(|resource| resource["kind"] == kind);
    let only = found.next().unwrap_or_else(|| panic!("no {kind}"));
    assert!(found.next().is_none(), "more than one {kind}");
    only
}

fn named<'a>(resources: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let mut found = resources.iter();
    found
        .find(|it| it["kind"] == kind && it["metadata"]["name"] == name)
        .unwrap_or_else(|| panic!("no {kind} {name}"))
}

/// The list at a key; empty where there is none.
fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().map_or(&[], |list| list)
}

/// A cluster whose endpoints stand at these ports of these addresses.
fn cluster(name: &str, endpoints: &[(&str, u16)]) -> Value {
    let endpoints = endpoints.iter().map(|(address, port)| {
        json!({ "endpoint": { "address": { "socket_address": { "address": address, "port_value": port } } } })
    });
    json!({
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{ "lb_endpoints": endpoints.collect::<Vec<_>>() }],
        },
    })
}

/// A listener with one connection manager.
fn listener(name: &str, direction: &str, manager: Value) -> Value {
    json!({
        "name": name,
        "traffic_direction": direction,
        "address": { "socket_address": { "address": "127.0.0.1", "port_value": 1 } },
        "filter_chains": [{ "filters": [{
            "name": "envoy.filters.network.http_connection_manager", "typed_config": manager,
        }] }],
    })
}

fn bootstrap(listeners: Vec<Value>, clusters: Vec<Value>) -> Value {
    json!({
        "admin": { "address": { "socket_address": { "address": "127.0.0.1", "port_value": 1 } } },
        "static_resources": { "listeners": listeners, "clusters": clusters },
    })
}

/// An Envoy with this configuration, whose Wasm filters are the module that traps on demand, with a
/// backend for each endpoint. The filter gets its configuration as text, as control planes hand it
/// over.
fn start(bootstrap: &Value) -> Site {
    try_start(bootstrap).unwrap()
}

/// The same. An error is Envoy's refusal.
fn try_start(bootstrap: &Value) -> anyhow::Result<Site> {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("envoy.json");
    fs::write(&file, bootstrap.to_string()).unwrap();
    let module = module::build_package("pointsman-trap").unwrap();
    let deployment = Deployment::read(&file).unwrap().with_module(&module);
    let (fleet, mut deployment) = Fleet::in_place_of_endpoints(deployment.on_free_ports()).unwrap();
    as_text(deployment.bootstrap_mut());
    Site::of(&install::find(Wanted::Any).unwrap(), fleet, deployment)
}

/// A key of a configuration that asks for a variable, one that every process has.
const ASKS: &str = "explain: { header: x-why, token: { env: PATH } }\n";

/// With a file that asks for a variable and does not list it for the VM the proxy does not start; with
/// one that does, the VM has it.
fn has_to_be_listed(unlisted: &Value, listed: &Value, host: &str) {
    let refused = try_start(unlisted).err().expect("it asks for a variable");
    let refused = format!("{refused:#}");
    assert!(refused.contains("explain.token"), "{refused}");
    let site = start(listed);
    let token = std::env::var("PATH").unwrap();
    let mut client = site.client().unwrap();
    let answer = client.get_with(host, "/", &[("x-why", &token)]).unwrap();
    assert!(header(&answer, "x-why").starts_with('{'), "{answer:?}");
}

/// Until now the configuration was a `Struct`, in which endpoints can be moved.
fn as_text(tree: &mut Value) {
    match tree {
        Value::Object(map) if map.get("@type").is_some_and(|it| it == WASM) => {
            let configuration = &mut map["config"]["configuration"];
            let text = configuration["value"].to_string();
            *configuration = json!({ "@type": STRING, "value": text });
        }
        Value::Object(map) => map.values_mut().for_each(as_text),
        Value::Array(list) => list.iter_mut().for_each(as_text),
        _ => {}
    }
}

/// Sends `GET path`: the status, and the port that the file gives to the backend that answered.
fn get(client: &mut Client, host: &str, path: &str, headers: &[(&str, &str)]) -> (u16, String) {
    let answer = client.get_with(host, path, headers).unwrap();
    status_and_backend(&answer)
}

/// How often each backend answers so many requests, all of them with 200.
fn shares(
    client: &mut Client,
    host: &str,
    headers: &[(&str, &str)],
    requests: usize,
) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for _ in 0..requests {
        let (status, backend) = get(client, host, "/", headers);
        assert_eq!(status, 200, "{host}");
        *counts.entry(backend).or_insert(0) += 1;
    }
    counts
}

fn counts(expected: &[(&str, usize)]) -> BTreeMap<String, usize> {
    let pairs = expected.iter();
    pairs
        .map(|(backend, count)| ((*backend).to_owned(), *count))
        .collect()
}

/// No backend was told what a client wrote into our headers.
fn nothing_forged(site: &Site, forged: &str) {
    for received in site.fleet.take_received() {
        let values = received.headers.iter().map(|(_, value)| &**value);
        assert!(!values.into_iter().any(|value| *value == *forged.as_bytes()));
    }
}

/// A trap costs the request that it is of, and the filter decides again.
fn survives_a_trap(site: &Site, host: &str) {
    let mut client = site.client().unwrap();
    let (status, _) = get(&mut client, host, "/", &[("x-trap", "now")]);
    assert_eq!(status, 503, "the request of which the VM dies");
    assert!(site.has_trapped());
    until("a new VM decides", || {
        get(&mut client, host, "/", &[]).0 == 200
    });
}
