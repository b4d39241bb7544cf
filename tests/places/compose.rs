//! docker compose: its Envoys, with addresses in place of the names that docker resolves.

use super::{counts, path, shares, text};
use host_sim::client::header;
use host_sim::envoy::fleet::Fleet;
use host_sim::envoy::{Deployment, Envoy, Wanted, install};
use host_sim::module;
use host_sim::testkit::Site;
use serde_json::Value;
use std::fs;

fn yaml(file: &str) -> Value {
    let [value] = &super::resources(file)[..] else {
        panic!("{file}: one document")
    };
    value.clone()
}

#[test]
fn the_proxy_of_the_compose_file_decides_between_its_backends() {
    let directory = tempfile::tempdir().unwrap();
    let filter = directory.path().join("ecds.yaml");
    let module = module::build().unwrap();
    let ecds = text("compose/filter/ecds.yaml");
    let there = "/etc/pointsman/pointsman.wasm";
    assert!(ecds.contains(there));
    fs::write(&filter, ecds.replace(there, &module.display().to_string())).unwrap();
    let mut proxy = text("compose/envoy.yaml");
    for (from, to) in [
        (
            "address: blue, port_value: 8080",
            "address: 127.0.0.1, port_value: 9001",
        ),
        (
            "address: green, port_value: 8080",
            "address: 127.0.0.1, port_value: 9002",
        ),
        (
            "/etc/pointsman/filter/ecds.yaml",
            &filter.display().to_string(),
        ),
        ("address: 0.0.0.0", "address: 127.0.0.1"),
    ] {
        assert!(proxy.contains(from), "{from}");
        proxy = proxy.replace(from, to);
    }
    let file = directory.path().join("envoy.yaml");
    fs::write(&file, proxy).unwrap();
    let deployment = Deployment::read(&file).unwrap().on_free_ports();
    let (fleet, deployment) = Fleet::in_place_of_endpoints(deployment).unwrap();
    let program = install::find(Wanted::Any).unwrap();
    let site = Site::of(&program, fleet, deployment).unwrap();
    let mut client = site.client().unwrap();
    let told = shares(&mut client, "localhost:10000", &[], 20);
    assert_eq!(told, counts(&[("9001", 18), ("9002", 2)]));
}

#[test]
fn the_backend_of_the_compose_file_answers() {
    let file = path("compose/backend.yaml");
    let deployment = Deployment::read(&file).unwrap().on_free_ports();
    let envoy = Envoy::start(&install::find(Wanted::Any).unwrap(), deployment).unwrap();
    let mut client = envoy.client().unwrap();
    let answer = client.get("localhost", "/").unwrap();
    assert_eq!(answer.status(), 200);
    // The environment of this test has no NAME.
    assert_eq!(header(&answer, "x-backend"), "-");
}

/// Every file that the compose file mounts is there, but for the module, and what one names is in
/// another.
#[test]
fn the_parts_of_the_compose_file_fit_together() {
    let compose = yaml("compose/compose.yaml");
    let services = compose["services"].as_object().unwrap();
    let directory = path("compose");
    for (name, service) in services {
        for volume in service["volumes"].as_array().unwrap() {
            let from = volume.as_str().unwrap().split(':').next().unwrap();
            let is_there = directory.join(from).exists();
            assert!(is_there || from == "./pointsman.wasm", "{name}: {from}");
        }
    }
    assert_eq!(services["blue"]["environment"]["NAME"], "blue");
    assert_eq!(services["green"]["environment"]["NAME"], "green");
    let scraped = yaml("compose/prometheus.yaml");
    let targets = &scraped["scrape_configs"][0]["static_configs"][0]["targets"];
    assert_eq!(targets[0], "envoy:9901");
    assert!(text("compose/envoy.yaml").contains("address: 0.0.0.0, port_value: 9901"));
    let source = yaml("compose/grafana/datasources.yaml");
    assert_eq!(source["datasources"][0]["url"], "http://prometheus:9090");
    let provider = yaml("compose/grafana/dashboards.yaml");
    let directory = provider["providers"][0]["options"]["path"]
        .as_str()
        .unwrap();
    let mounted = services["grafana"]["volumes"].to_string();
    assert!(mounted.contains(&format!("../dashboard.json:{directory}/")));
}
