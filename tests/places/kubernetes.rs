//! Plain Kubernetes: the proxy and the filter of the two ConfigMaps, mounted as a kubelet does.

use super::{counts, get, mistaken, named, one, resources, resources_of, shares, survives_a_trap};
use host_sim::client::header;
use host_sim::envoy::fleet::Fleet;
use host_sim::envoy::{Deployment, Wanted, install};
use host_sim::module;
use host_sim::testkit::Site;
use host_sim::wait::until;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

const FILE: &str = "kubernetes/pointsman.yaml";
const SHOP: &str = "shop.example.com";
const READY: &str = "ready.pointsman.internal";

fn data(resources: &[Value], name: &str, key: &str) -> String {
    let map = named(resources, "ConfigMap", name);
    map["data"][key].as_str().unwrap().to_owned()
}

/// Puts a file into a volume of a ConfigMap as a kubelet does: into a new directory, to which the
/// link `..data` is moved.
fn mount(volume: &Path, version: &str, name: &str, text: &str) {
    let directory = volume.join(format!("..{version}"));
    fs::create_dir(&directory).unwrap();
    fs::write(directory.join(name), text).unwrap();
    let next = volume.join("..data_tmp");
    symlink(format!("..{version}"), &next).unwrap();
    fs::rename(&next, volume.join("..data")).unwrap();
    let link = volume.join(name);
    if !link.is_symlink() {
        symlink(format!("..data/{name}"), link).unwrap();
    }
}

/// The filter's file with the module that traps on demand.
fn filter(resources: &[Value]) -> String {
    let module = module::build_package("pointsman-trap").unwrap();
    let text = data(resources, "pointsman-filter", "ecds.yaml");
    replaced(
        &text,
        "/etc/pointsman/module/plugin.wasm",
        &module.display().to_string(),
    )
}

fn replaced(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "{from}");
    text.replace(from, to)
}

/// The Envoy of the Deployment, with the filter in a volume, and addresses in place of names.
fn start(resources: &[Value], filter: &str) -> (Site, TempDir) {
    let volume = tempfile::tempdir().unwrap();
    mount(volume.path(), "1", "ecds.yaml", filter);
    (start_with(resources, volume.path()), volume)
}

/// The same with this volume.
fn start_with(resources: &[Value], volume: &Path) -> Site {
    let text = data(resources, "pointsman-envoy", "envoy.yaml");
    let text = replaced(
        &text,
        "/etc/pointsman/filter",
        &volume.display().to_string(),
    );
    let mut text = text;
    for (name, port) in [("web-blue", 9001), ("web-green", 9002)] {
        let service = format!("address: {name}.default.svc.cluster.local, port_value: 80 ");
        text = replaced(
            &text,
            &service,
            &format!("address: 127.0.0.1, port_value: {port} "),
        );
    }
    let text = replaced(&text, "address: 0.0.0.0", "address: 127.0.0.1");
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("envoy.yaml");
    fs::write(&file, text).unwrap();
    let deployment = Deployment::read(&file).unwrap().on_free_ports();
    let (fleet, deployment) = Fleet::in_place_of_endpoints(deployment).unwrap();
    let program = install::find(Wanted::Any).unwrap();
    Site::of(&program, fleet, deployment).unwrap()
}

/// Beside an Envoy that is told to watch the directory, one that is not: it goes on with what it
/// began with.
#[test]
fn without_a_watched_directory_a_change_is_never_seen_and_check_says_so() {
    const WATCHED: &str =
        "                              watched_directory: { path: /etc/pointsman/filter }\n";
    let right = resources(FILE);
    let wrong = resources_of(&mistaken(FILE, WATCHED, "", "never_reloaded"));
    let first = filter(&right);
    let (watching, volume) = start(&right, &first);
    let blind = start_with(&wrong, volume.path());
    let all_green = replaced(&first, "name: blue, weight: 9", "name: blue, weight: 0");
    mount(volume.path(), "2", "ecds.yaml", &all_green);
    let mut client = watching.client().unwrap();
    until("the new version holds", || {
        shares(&mut client, SHOP, &[], 20) == counts(&[("9002", 20)])
    });
    let mut client = blind.client().unwrap();
    assert_eq!(
        shares(&mut client, SHOP, &[], 20),
        counts(&[("9001", 18), ("9002", 2)])
    );
}

#[test]
fn the_proxy_of_the_config_map_decides_and_its_filter_changes_while_it_runs() {
    let resources = resources(FILE);
    let first = filter(&resources);
    let (site, volume) = start(&resources, &first);
    let mut client = site.client().unwrap();
    assert_eq!(
        shares(&mut client, SHOP, &[], 20),
        counts(&[("9001", 18), ("9002", 2)])
    );
    assert_eq!(get(&mut client, SHOP, "//internal", &[]).0, 403);
    assert_eq!(get(&mut client, READY, "/", &[]).0, 200);
    let forged = [("x-pointsman-cluster", "web-green")];
    assert_eq!(
        shares(&mut client, SHOP, &forged, 20),
        counts(&[("9001", 18), ("9002", 2)])
    );
    let all_green = replaced(&first, "name: blue, weight: 9", "name: blue, weight: 0");
    mount(volume.path(), "2", "ecds.yaml", &all_green);
    // The one before sends one in ten there.
    until("the new version holds", || {
        shares(&mut client, SHOP, &[], 20) == counts(&[("9002", 20)])
    });
    let failed = || {
        let name = "extension_config_discovery.http_filter.envoy.filters.http.wasm.config_fail";
        site.envoy.stat(name).unwrap()
    };
    assert_eq!(failed(), 0);
    mount(
        volume.path(),
        "3",
        "ecds.yaml",
        &replaced(&first, "pool: shop", "pool: gone"),
    );
    until("it is refused", || site.envoy.log().contains("gone"));
    assert_eq!(
        shares(&mut client, SHOP, &[], 10),
        counts(&[("9002", 10)]),
        "the one before"
    );
    assert_eq!(
        get(&mut client, READY, "/", &[]).0,
        200,
        "and it stays ready"
    );
    until("it is counted", || failed() > 0);
    survives_a_trap(&site, SHOP);
    // What the preStop hook asks of it, without its sleep.
    let deployment = one(&resources, "Deployment");
    let container = &deployment["spec"]["template"]["spec"]["containers"][0];
    let command = container["lifecycle"]["preStop"]["exec"]["command"]
        .as_array()
        .unwrap();
    let [shell, option, script] = &command[..] else {
        panic!("{command:?}")
    };
    assert_eq!((shell, option), (&json!("bash"), &json!("-c")));
    let port = site.envoy.admin_address().port().to_string();
    let script = replaced(script.as_str().unwrap(), "9901", &port);
    let script = replaced(&replaced(&script, "sleep 5", ""), "sleep 30", "");
    let output = Command::new("bash").args(["-c", &script]).output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(told.starts_with("HTTP/1.1 200 OK"), "{told}");
    let answer = client.get(SHOP, "/").unwrap();
    assert_eq!(header(&answer, "connection"), "close");
}

#[test]
fn a_pod_whose_filter_is_refused_at_its_start_is_never_ready() {
    let resources = resources(FILE);
    let wrong = replaced(&filter(&resources), "pool: shop", "pool: gone");
    let (site, volume) = start(&resources, &wrong);
    let mut client = site.client().unwrap();
    assert_eq!(get(&mut client, READY, "/", &[]).0, 500);
    assert_eq!(get(&mut client, SHOP, "/", &[]).0, 500);
    mount(volume.path(), "2", "ecds.yaml", &filter(&resources));
    until("it is ready once the file is right", || {
        get(&mut client, READY, "/", &[]).0 == 200
    });
}

#[test]
fn a_pod_without_a_backend_stays_ready_and_answers_503_itself() {
    let resources = resources(FILE);
    let (mut site, _volume) = start(&resources, &filter(&resources));
    let mut client = site.client().unwrap();
    assert_eq!(get(&mut client, SHOP, "/", &[]).0, 200);
    for member in site.fleet.members_mut() {
        member.backend.stop();
    }
    assert_eq!(get(&mut client, SHOP, "/", &[]).0, 503);
    assert_eq!(get(&mut client, READY, "/", &[]).0, 200);
}

#[test]
fn the_module_fits_into_a_config_map() {
    const LARGEST: u64 = 1024 * 1024;
    let module = module::build().unwrap();
    let size = fs::metadata(module).unwrap().len();
    assert!(size + 100 < LARGEST, "{size}");
}

#[test]
fn the_deployment_mounts_what_its_proxy_reads_and_asks_the_ports_that_it_has() {
    let resources = resources(FILE);
    let pod = &one(&resources, "Deployment")["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    let mounts = container["volumeMounts"].as_array().unwrap().iter();
    let mounts: Vec<_> = mounts.map(|it| it["mountPath"].as_str().unwrap()).collect();
    let proxy = data(&resources, "pointsman-envoy", "envoy.yaml");
    let filter = data(&resources, "pointsman-filter", "ecds.yaml");
    assert!(
        mounts
            .iter()
            .any(|it| proxy.contains(&format!("path: {it}/ecds.yaml")))
    );
    assert!(
        mounts
            .iter()
            .any(|it| filter.contains(&format!("filename: {it}/plugin.wasm")))
    );
    assert!(
        mounts
            .iter()
            .any(|it| container["args"][1] == format!("{it}/envoy.yaml"))
    );
    for port in container["ports"].as_array().unwrap() {
        let port = &port["containerPort"];
        assert!(
            proxy.contains(&format!("address: 0.0.0.0, port_value: {port} ")),
            "{port}"
        );
    }
    let probe = &container["readinessProbe"]["httpGet"];
    assert_eq!(
        probe["httpHeaders"][0],
        json!({ "name": "Host", "value": READY })
    );
    let least = 5 + 30;
    assert!(pod["terminationGracePeriodSeconds"].as_u64().unwrap() > least);
}
