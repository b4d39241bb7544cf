//! The files of `envoy-config/`: each starts in a real Envoy and routes as it says.

use host_sim::backend::Received;
use host_sim::client::{Client, header, status_and_backend};
use host_sim::configuration;
use host_sim::envoy::fleet::Fleet;
use host_sim::envoy::{self, Deployment, Envoy, PluginConfiguration, Program, Wanted, install};
use host_sim::module;
use host_sim::testkit::Site;
use host_sim::wait::until;
use hyper::Response;
use hyper::body::Bytes;
use pointsman_core::config::Config;
use pointsman_tests::tls;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::UdpSocket;
use std::path::Path;
use std::process::Command;
use std::time::Instant;
use tempfile::TempDir;

/// A module whose VM dies of every request. It is what a proxy-wasm host needs to load it, and
/// nothing else.
const DEADLY: &str = r#"(module
    (memory (export "memory") 1)
    (func (export "proxy_abi_version_0_2_1"))
    (func (export "proxy_on_memory_allocate") (param i32) (result i32) i32.const 1024)
    (func (export "proxy_on_vm_start") (param i32 i32) (result i32) i32.const 1)
    (func (export "proxy_on_configure") (param i32 i32) (result i32) i32.const 1)
    (func (export "proxy_on_context_create") (param i32 i32))
    (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) unreachable))"#;

const MUTATIONS: &str = "early_header_mutation_extensions";

/// An Envoy with a file of `envoy-config/`, with a backend at each endpoint that the file names.
fn start(program: &Program, deployment: Deployment) -> Site {
    let (fleet, deployment) = Fleet::in_place_of_endpoints(deployment.on_free_ports()).unwrap();
    Site::of(program, fleet, deployment).unwrap()
}

fn start_file(file: &str) -> Site {
    let deployment = Deployment::file(file, &module::build().unwrap()).unwrap();
    start(&envoy(), deployment)
}

fn envoy() -> Program {
    install::find(Wanted::Any).unwrap()
}

fn get(client: &mut Client, path: &str, headers: &[(&str, &str)]) -> Response<Bytes> {
    client.get_with("shop.example.com", path, headers).unwrap()
}

/// Sends `GET path`. The answer's status, and the port that the file gives to the backend that
/// answered.
fn answer_of(client: &mut Client, path: &str, headers: &[(&str, &str)]) -> (u16, String) {
    status_and_backend(&get(client, path, headers))
}

fn value_of<'a>(received: &'a Received, name: &str) -> Option<&'a [u8]> {
    received
        .headers
        .iter()
        .find(|(key, _)| key == name.as_bytes())
        .map(|(_, value)| &value[..])
}

/// What the comments on `client_ip` say: the peer that `use_remote_address` appends, and behind it
/// the addresses that proxies appended, count from the right. What a client writes does not.
#[test]
fn the_client_is_in_x_forwarded_for_where_use_remote_address_appends_the_peer() {
    // In place of a peer on the loopback network Envoy appends the machine's own address.
    let own = UdpSocket::bind("0.0.0.0:0").and_then(|socket| {
        socket.connect("192.0.2.1:9")?;
        socket.local_addr()
    });
    let own = own.map_or("127.0.0.1".to_owned(), |own| own.ip().to_string());
    for (proxies, trusted_hops, client) in [(0, 1, &*own), (1, 2, "1.2.3.4")] {
        let route = |name: &str, client: &str, status: u16| json!({ "name": name, "match": { "client_ip": [client] }, "respond": { "status": status } });
        let configuration = json!({
            "client_ip": { "header": "x-forwarded-for", "trusted_hops": trusted_hops },
            "routes": [route("client", client, 200)],
        });
        let fleet = Fleet::start(&configuration).unwrap();
        let mut deployment = Deployment::file("envoy.yaml", &module::build().unwrap())
            .unwrap()
            .on_free_ports()
            .with_configuration(PluginConfiguration::Struct(configuration));
        let manager = deployment.connection_manager_mut();
        assert_eq!(manager["use_remote_address"], true);
        manager["xff_num_trusted_hops"] = json!(proxies);
        let site = Site::of(&envoy(), fleet, deployment).unwrap();
        let mut client = site.client().unwrap();
        let forged = [("x-forwarded-for", "9.9.9.9, 1.2.3.4")];
        let answer = get(&mut client, "/", &forged);
        assert_eq!(answer.status().as_u16(), 200, "{proxies} proxies");
        // With nothing in the header but what the proxy appends.
        let status = get(&mut client, "/", &[]).status().as_u16();
        assert_eq!(status, if proxies == 0 { 200 } else { 404 }, "{proxies}");
    }
}

#[test]
fn envoy_yaml_routes_as_it_says() {
    let site = start_file("envoy.yaml");
    let mut client = site.client().unwrap();
    // The path, the headers, the status, and the ports of the backends that may answer.
    type Row<'a> = (&'a str, &'a [(&'a str, &'a str)], u16, &'a [&'a str]);
    let rows: &[Row] = &[
        ("/", &[], 200, &["9001", "9002"]),
        ("/", &[("host", "beta.example.com")], 200, &["9003"]),
        (
            "/",
            &[("host", "a.b.beta.example.com:8080")],
            200,
            &["9003"],
        ),
        ("/", &[("host", "beta.example.com.")], 200, &["9003"]),
        ("/", &[("cookie", "a=b; beta=1")], 200, &["9003"]),
        ("/", &[("x-tier", "gold")], 200, &["9004"]),
        ("/", &[("x-tier", "silver")], 200, &["9001", "9002"]),
        ("/x?a&region=eu", &[], 200, &["9005"]),
        ("/api", &[], 200, &["9101", "9102", "9103"]),
        ("/apis", &[], 200, &["9001", "9002"]),
        ("/account", &[], 200, &["9001", "9002"]),
        ("/checkout/1", &[], 200, &["9001", "9002", "9003"]),
        ("/internal", &[], 403, &[""]),
        // The first that matches.
        ("/internal", &[("cookie", "beta=1")], 403, &[""]),
        (
            "/api",
            &[("x-tier", "gold"), ("cookie", "beta=1")],
            200,
            &["9003"],
        ),
        ("/public/../internal/a", &[], 403, &[""]),
        ("//internal", &[], 403, &[""]),
        ("/x%2f..%2finternal", &[], 307, &[""]),
        ("/", &[("x_tier", "gold")], 400, &[""]),
    ];
    for (path, headers, status, backends) in rows {
        let (got, backend) = answer_of(&mut client, path, headers);
        assert!(
            got == *status && backends.contains(&backend.as_str()),
            "{path} {headers:?}: {got} by {backend:?}"
        );
    }
    let redirect = get(&mut client, "/old?a=1", &[]);
    assert_eq!(
        (redirect.status().as_u16(), header(&redirect, "location")),
        (301, "http://shop.example.com/new?a=1")
    );
    assert_eq!(
        header(&get(&mut client, "/", &[]), "x-served-by"),
        "pointsman"
    );
    let start = Instant::now();
    let mut admitted = 0;
    for _ in 0..20 {
        let response = get(&mut client, "/login", &[]);
        match (response.status().as_u16(), header(&response, "retry-after")) {
            (200, _) => admitted += 1,
            (429, "1" | "2") => {}
            other => panic!("{other:?}"),
        }
    }
    // A burst of three, and one for every two seconds that this took.
    let most = 3 + start.elapsed().as_secs() / 2 + 1;
    assert!(
        (3..=most).contains(&admitted),
        "{admitted} in {:?}",
        start.elapsed()
    );
    site.fleet.take_received();
    answer_of(&mut client, "/api/users?x=1", &[]);
    assert_eq!(
        value_of(&site.fleet.take_received()[0], ":path"),
        Some(&b"/users?x=1"[..])
    );
}

/// The two files of the recommended way of reloading say what `envoy.yaml` says.
#[test]
fn envoy_ecds_yaml_and_ecds_yaml_are_envoy_yaml_in_two_files() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("filter.json");
    let module = module::build().unwrap();
    let shipped = |name: &str| Deployment::file(name, &module).unwrap();
    let whole = shipped("envoy.yaml").discover_filter(&file).unwrap();
    let mut edge = shipped("envoy-ecds.yaml");
    let discovery = &mut edge.connection_manager_mut()["http_filters"][0]["config_discovery"];
    let path = &mut discovery["config_source"]["path_config_source"]["path"];
    assert_eq!(*path, "envoy-config/ecds.yaml");
    *path = json!(file);
    assert_eq!(edge, whole);
    // What `version_text` then shows; production.md asks for it.
    let mut filter: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    filter["version_info"] = json!("1");
    std::fs::write(&file, filter.to_string()).unwrap();
    assert_eq!(shipped("ecds.yaml"), Deployment::read(&file).unwrap());
}

/// What the comments of `envoy-ecds.yaml` and `ecds.yaml` say of a reload.
#[test]
fn a_filter_that_is_moved_to_its_place_holds_from_the_next_request_on() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ecds.yaml");
    let deployment = Deployment::file("envoy.yaml", &module::build().unwrap()).unwrap();
    let (fleet, deployment) = Fleet::in_place_of_endpoints(deployment.on_free_ports()).unwrap();
    let deployment = deployment.discover_filter(&file).unwrap();
    let site = Site::of(&envoy(), fleet, deployment).unwrap();
    let first = std::fs::read_to_string(&file).unwrap();
    let changed = |text: &str, [from, to]: [&str; 2]| {
        let changed = text.replace(from, to);
        assert_ne!(changed, text, "{from}");
        changed
    };
    let served_by = |name: &str| {
        let of = |name: &str| format!("\"x-served-by\": \"{name}\"");
        changed(&first, [&of("pointsman"), &of(name)])
    };
    let move_there = |text: String| {
        let next = file.with_extension("next");
        std::fs::write(&next, text).unwrap();
        std::fs::rename(&next, &file).unwrap();
    };
    let mut client = site.client().unwrap();
    let mut told = || header(&get(&mut client, "/", &[]), "x-served-by").to_owned();
    assert_eq!(told(), "pointsman");
    move_there(served_by("second"));
    until("it holds on the open connection", || told() == "second");
    // What is written in place is not read.
    std::fs::write(&file, served_by("in place")).unwrap();
    for _ in 0..200 {
        assert_eq!(told(), "second");
    }
    let pool = ["\"pool\": \"gold\"", "\"pool\": \"golden\""];
    let wrong = changed(&served_by("wrong"), pool);
    move_there(wrong);
    until("it is refused", || site.envoy.log().contains("golden"));
    assert_eq!(told(), "second");
    move_there(served_by("third"));
    until("the next good one holds", || told() == "third");
    let closed = site.envoy.stat("http.edge.downstream_cx_destroy_local");
    assert_eq!(closed.unwrap(), 0);
    assert_eq!(site.envoy.stat("http.edge.downstream_cx_total").unwrap(), 1);
    assert!(!site.has_trapped());
}

#[test]
fn an_endpoint_that_refuses_is_followed_by_the_next_of_the_choice() {
    let mut site = start_file("envoy.yaml");
    site.backend_mut("9101").unwrap().stop();
    let mut client = site.client().unwrap();
    for _ in 0..20 {
        let (status, backend) = answer_of(&mut client, "/api", &[]);
        assert!(
            status == 200 && backend != "9101",
            "{status} by {backend:?}"
        );
    }
    assert!(
        site.envoy
            .stat("cluster.api.upstream_rq_retry_success")
            .unwrap()
            > 0
    );
}

#[test]
fn a_clients_upstream_headers_never_take_effect() {
    let site = start_file("envoy.yaml");
    let mut client = site.client().unwrap();
    let forged = [
        ("x-pointsman-cluster", "gold"),
        ("X-Pointsman-Endpoint", "127.0.0.1:1"),
        ("x-pointsman-cluster", "eu"),
    ];
    for path in ["/", "/api", "/account", "/checkout"] {
        let (status, backend) = answer_of(&mut client, path, &forged);
        assert!(
            status == 200 && !["9004", "9005"].contains(&backend.as_str()),
            "{path}: {status} by {backend}"
        );
    }
    assert_eq!(
        answer_of(&mut client, "/internal", &forged),
        (403, String::new())
    );
    for received in site.fleet.take_received() {
        assert_ne!(
            value_of(&received, "x-pointsman-cluster"),
            Some(&b"gold"[..])
        );
        assert_ne!(
            value_of(&received, "x-pointsman-endpoint"),
            Some(&b"127.0.0.1:1"[..])
        );
    }
}

/// `FAIL_OPEN` is the worst case: requests go on without a decision.
#[test]
fn a_clients_upstream_headers_never_take_effect_with_the_vm_dead() {
    let (_directory, deadly) = deadly_module();
    for (file, host, undecided) in [
        ("envoy.yaml", "shop.example.com", 503),
        ("sidecar.yaml", "ratings", 200),
        ("two-tiers/l7.yaml", "a.example.com", 503),
    ] {
        let mut deployment = Deployment::file(file, &deadly)
            .unwrap()
            .with_failure_policy("FAIL_OPEN")
            .with_workers(1);
        if file == "two-tiers/l7.yaml" {
            // The client is no first tier, which speaks the PROXY protocol.
            let listener = &mut deployment.bootstrap_mut()["static_resources"]["listeners"][0];
            let listener = listener.as_object_mut().unwrap();
            listener.remove("listener_filters").unwrap();
        }
        let cluster = deployment.endpoints()[2].0.clone();
        let forged = [("host", host), ("x-pointsman-cluster", cluster.as_str())];
        let dead_site = |deployment: Deployment| {
            let site = start(&envoy(), deployment);
            let mut client = site.client().unwrap();
            let (status, _) = answer_of(&mut client, "/", &forged);
            assert_eq!(status, 503, "{file}: the request of which the VM dies");
            assert!(
                site.envoy.log().contains("proxy_on_request_headers failed"),
                "{file}"
            );
            (site, client)
        };

        let (site, mut client) = dead_site(deployment.clone());
        let (status, backend) = answer_of(&mut client, "/", &forged);
        assert_eq!(status, undecided, "{file}");
        assert!(
            ["", "9301"].contains(&backend.as_str()),
            "{file}: the client chose {backend}"
        );
        let received = site.fleet.take_received();
        assert!(
            received
                .iter()
                .all(|received| value_of(received, "x-pointsman-cluster").is_none())
        );

        // That this can go wrong: without the lines that strip the headers the client does choose.
        let mut careless = deployment;
        let manager = careless.connection_manager_mut().as_object_mut().unwrap();
        manager.remove(MUTATIONS).unwrap();
        let (_site, mut client) = dead_site(careless);
        let (status, backend) = answer_of(&mut client, "/", &forged);
        assert!(
            status == 200 && backend != "9301",
            "{file}: {status} by {backend}"
        );
    }
}

fn deadly_module() -> (TempDir, std::path::PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("deadly.wasm");
    std::fs::write(&path, wat::parse_str(DEADLY).unwrap()).unwrap();
    (directory, path)
}

#[test]
fn sidecar_yaml_decides_what_is_ours() {
    const REQUESTS: usize = 100;
    let site = start_file("sidecar.yaml");
    let mut client = site.client().unwrap();
    let mut counts = BTreeMap::new();
    for i in 0..REQUESTS {
        let host = [
            "reviews",
            "reviews.default:8080",
            "reviews.default.svc.cluster.local",
        ][i % 3];
        let (status, backend) = answer_of(&mut client, "/", &[("host", host)]);
        assert_eq!(status, 200);
        *counts.entry(backend).or_insert(0) += 1;
    }
    // One connection, one worker: exactly its share.
    assert_eq!(
        counts,
        BTreeMap::from([("9201".to_owned(), 90), ("9202".to_owned(), 10)])
    );
    for _ in 0..5 {
        assert_eq!(
            answer_of(&mut client, "/", &[("host", "reviews"), ("x-tester", "")]).1,
            "9202"
        );
    }
    for user in ["ann", "bob", "eve"] {
        let headers = [("host", "reviews"), ("x-user", user)];
        let first = answer_of(&mut client, "/", &headers).1;
        assert!(
            (0..5).all(|_| answer_of(&mut client, "/", &headers).1 == first),
            "{user} stays"
        );
    }
}

#[test]
fn sidecar_yaml_leaves_other_traffic_untouched() {
    let module = module::build().unwrap();
    let with = Deployment::file("sidecar.yaml", &module).unwrap();
    let mut without = with.clone();
    let manager = without.connection_manager_mut();
    manager["http_filters"].as_array_mut().unwrap().remove(0);
    manager.as_object_mut().unwrap().remove(MUTATIONS);

    let requests: &[(&str, &[(&str, &str)])] = &[
        (
            "/a//b/../c%2fd?x=%zz&&y",
            &[
                ("host", "ratings.default:8080"),
                ("x-odd", "a,b"),
                ("x-odd", "c"),
                ("cookie", "a=b;;c"),
            ],
        ),
        (
            "/",
            &[
                ("host", "RATINGS"),
                ("x-forwarded-for", "1.2.3.4"),
                ("x_under", "score"),
            ],
        ),
    ];
    let outcome = |deployment| {
        let site = start(&envoy(), deployment);
        let mut client = site.client().unwrap();
        let told: Vec<_> = requests
            .iter()
            .map(|(path, headers)| answer_of(&mut client, path, headers))
            .collect();
        let mut received = site.fleet.take_received();
        // Drawn anew for each request.
        received
            .iter_mut()
            .for_each(|received| received.headers.retain(|(name, _)| name != b"x-request-id"));
        (told, received)
    };
    let plain = outcome(without);
    assert_eq!(
        plain.0,
        [(200, "9301".to_owned()), (200, "9301".to_owned())]
    );
    assert_eq!(outcome(with.clone()), plain);

    // A host that the mesh does not know goes where the application wanted to go. Nothing
    // redirected this connection, so there is no such place; that it was asked for is what is to be
    // seen.
    let site = start(&envoy(), with);
    let forged = [
        ("host", "elsewhere.example.com"),
        (
            "x-pointsman-cluster",
            "outbound|8080||ratings.default.svc.cluster.local",
        ),
    ];
    assert_eq!(
        answer_of(&mut site.client().unwrap(), "/", &forged),
        (503, String::new())
    );
    assert_eq!(
        site.envoy
            .stat("cluster.PassthroughCluster.upstream_cx_none_healthy")
            .unwrap(),
        1
    );
}

#[test]
fn every_file_starts_in_an_older_envoy_too() {
    let old = install::find(Wanted::Exactly(install::OLDEST_TESTED)).unwrap();
    let module = module::build().unwrap();
    let certificates = tls::Certificates::make().unwrap();
    let deployment = certificates.deployment("edge.yaml", &module).unwrap();
    envoy::validate(&old, &deployment).unwrap();
    let site = start(&old, deployment);
    let config = certificates.client(tls::PUBLIC, None, &["h2"]).unwrap();
    let host = "shop.example.com";
    let mut client = tls::Client::connect(site.envoy.address().unwrap(), host, &config).unwrap();
    assert_eq!(client.get(host, "/static/a", &[]).unwrap().status(), 200);
    for file in [
        "two-tiers/l4.yaml",
        "two-tiers/l7.yaml",
        "sidecar-mtls/inbound.yaml",
        "sidecar-mtls/outbound.yaml",
    ] {
        envoy::validate(&old, &certificates.deployment(file, &module).unwrap()).unwrap();
    }
    for file in ["envoy.yaml", "sidecar.yaml"] {
        let deployment = Deployment::file(file, &module).unwrap();
        envoy::validate(&old, &deployment).unwrap();
        let site = start(&old, deployment);
        let status = answer_of(&mut site.client().unwrap(), "/", &[("host", "reviews")]).0;
        assert_eq!(status, 200, "{file}");
    }
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ecds.yaml");
    let deployment = Deployment::file("envoy.yaml", &module).unwrap();
    let site = start(&old, deployment.discover_filter(&file).unwrap());
    let status = answer_of(&mut site.client().unwrap(), "/", &[]).0;
    assert_eq!(status, 200, "by ECDS");
}

/// Plain scalars that readers of YAML take for different things, each where a text and where a number
/// is asked for: `check` of an Envoy's file called some of them good that Envoy refuses.
#[test]
fn check_reads_the_scalars_of_an_envoys_file_as_envoy_does() {
    const SCALARS: [&str; 40] = [
        "no",
        "No",
        "NO",
        "nO",
        "n",
        "N",
        "yes",
        "Yes",
        "y",
        "Y",
        "on",
        "On",
        "ON",
        "off",
        "Off",
        "true",
        "True",
        "TRUE",
        "False",
        "null",
        "Null",
        "~",
        "10",
        "-3",
        "+3",
        "010",
        "08",
        "0x10",
        "0o10",
        "0b11",
        "1_000",
        "1e3",
        "5.0",
        ".5",
        "3000000000",
        "5s",
        "10.0.0.1",
        "/a",
        "a",
        "1,5",
    ];
    let texts = SCALARS.map(|scalar| format!("{{ name: x, exact: {scalar} }}"));
    let numbers = SCALARS.iter().enumerate();
    let numbers =
        numbers.map(|(at, scalar)| format!("l{at}: {{ requests: {scalar}, per: 1s, key: [] }}"));
    let ours = format!(
        "base: &base {{ targets: [{{ cluster: c }}] }}, pools: {{ p: {{ <<: *base }} }}, \
         rate_limits: {{ {} }}, routes: [{{ name: off, secure: yes, pass: yes, match: {{ hosts: [no], \
         headers: [{}] }} }}]",
        numbers.collect::<Vec<_>>().join(", "),
        texts.join(", ")
    );
    let module = module::build().unwrap();
    let file = format!(
        r#"
static_resources:
  listeners:
    - name: edge
      address: {{ socket_address: {{ address: 127.0.0.1, port_value: 0 }} }}
      filter_chains:
        - filters:
            - name: http
              typed_config:
                "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
                stat_prefix: edge
                route_config: {{}}
                http_filters:
                  - name: pointsman
                    typed_config:
                      "@type": type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm
                      config:
                        vm_config: {{ runtime: envoy.wasm.runtime.v8, code: {{ local: {{ filename: {} }} }} }}
                        configuration: {{ "@type": type.googleapis.com/google.protobuf.Struct, value: {{ {ours} }} }}
                  - name: router
                    typed_config: {{ "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }}
"#,
        module.display()
    );
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("envoy.yaml");
    std::fs::write(&path, &file).unwrap();
    // It ends by itself, since its filter is refused.
    let output = Command::new(&envoy().path)
        .args([
            "--concurrency",
            "1",
            "--use-dynamic-base-id",
            "-l",
            "error",
            "-c",
        ])
        .arg(&path)
        .output()
        .unwrap();
    let log = String::from_utf8_lossy(&output.stderr);
    let problems = match configuration::read(&path) {
        Ok(tree) => Config::from_value(&tree).unwrap_err(),
        Err(error) => panic!("{error}"),
    };
    let told = problems.to_string();
    // No scalar of those that both take for what is asked, and all of the others.
    let places: Vec<_> = problems.0.iter().map(|problem| &*problem.place).collect();
    for (scalar, is_text, is_number) in [
        ("no", false, false),
        ("10", false, true),
        ("1e3", true, false),
        ("010", false, true),
    ] {
        let at = SCALARS.iter().position(|other| *other == scalar).unwrap();
        let text = format!("routes[0].match.headers[{at}].exact");
        let number = format!("rate_limits.l{at}.requests");
        assert_eq!(!places.contains(&&*text), is_text, "{scalar}: {told}");
        assert_eq!(!places.contains(&&*number), is_number, "{scalar}: {told}");
    }
    let untold: Vec<_> = told.lines().filter(|line| !log.contains(line)).collect();
    assert!(untold.is_empty(), "Envoy says nothing of {untold:#?}");
    let count = log
        .lines()
        .filter(|line| line.contains("; expected "))
        .count();
    assert_eq!(count, told.lines().count(), "{log}");
}

#[test]
fn a_file_that_envoy_refuses_says_why() {
    let deployment = Deployment::file("envoy.yaml", Path::new("/nowhere/pointsman.wasm"))
        .unwrap()
        .on_free_ports();
    for deployment in [deployment.clone(), deployment.updatable()] {
        let error = Envoy::start(&envoy(), deployment)
            .err()
            .expect("no such module")
            .to_string();
        assert!(error.contains("/nowhere/pointsman.wasm"), "{error}");
    }
}

#[test]
fn an_update_is_taken_over_or_refused_and_a_restart_serves_again() {
    let (_directory, deadly) = deadly_module();
    let deployment = Deployment::file("envoy.yaml", &deadly)
        .unwrap()
        .on_free_ports()
        .updatable();
    let answer = |status: u16| {
        let mut deployment = deployment.clone();
        let manager = deployment.connection_manager_mut();
        manager["http_filters"].as_array_mut().unwrap().remove(0);
        manager["route_config"]["virtual_hosts"][0]["routes"] =
            json!([{ "match": { "prefix": "/" }, "direct_response": { "status": status } }]);
        deployment
    };
    let mut envoy = Envoy::start(&envoy(), answer(201)).unwrap();
    let status = |envoy: &Envoy| {
        get(&mut envoy.client().unwrap(), "/", &[])
            .status()
            .as_u16()
    };
    assert_eq!(status(&envoy), 201);
    let address = envoy.address().unwrap();
    let refused = envoy.update(answer(7)).unwrap_err().to_string();
    assert!(
        refused.contains("DirectResponseActionValidationError"),
        "{refused}"
    );
    assert_eq!(status(&envoy), 201);
    envoy.update(answer(202)).unwrap();
    assert_eq!((status(&envoy), envoy.address().unwrap()), (202, address));
    envoy.restart().unwrap();
    assert_eq!(status(&envoy), 202);
}
