//! What the pages of `envoy-config/` say of a proxy's own parts beside ours, and of what things take,
//! done as it is said. Most of their other advice has a program of its own: `tests/advice.yaml` says
//! of each heading and of each file which tests follow it.

use host_sim::backend::Answer;
use host_sim::client::{Client, status_and_backend};
use host_sim::configuration;
use host_sim::exchange::Response;
use host_sim::faults::Fault;
use host_sim::testkit::Site;
use host_sim::testkit::engine::http2_cluster;
use host_sim::wait::until;
use pointsman_core::config::Config;
use pointsman_tests::grpc_server::{self, GrpcServer};
use pointsman_tests::sources::{rust_files, words};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Which tests follow what.
const TABLE: &str = include_str!("advice.yaml");
const README: &str = include_str!("../envoy-config/README.md");

/// The status, and the backend that answered.
fn get(client: &mut Client) -> (u16, String) {
    status_and_backend(&client.get("a", "/").unwrap())
}

/// Where what is advised stands, and the tests that follow it.
#[test]
fn every_heading_and_every_file_has_the_tests_that_follow_it() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let table = configuration::to_json(&configuration::parse(TABLE).unwrap());
    let table = table.as_object().unwrap();
    let root = tests.join("../envoy-config");
    let mut expected = BTreeSet::new();
    let mut told = BTreeSet::new();
    let (mut wrong, mut quotes) = (Vec::new(), Vec::new());
    for path in files(&root) {
        let name = path.strip_prefix(&root).unwrap().display().to_string();
        let text = fs::read_to_string(&path).unwrap();
        if !name.ends_with(".md") {
            expected.insert(name);
            continue;
        }
        let mut in_code = false;
        for line in text.lines() {
            in_code ^= line.starts_with("```");
            let heading = line.trim_start_matches('#');
            if !in_code && heading.len() < line.len() {
                expected.insert(format!("{name}: {}", heading.trim()));
            }
        }
    }
    let sources = Sources::read(tests);
    for (file, of_file) in table {
        let places: Vec<(String, &Value)> = match of_file {
            Value::Object(headings) => headings
                .iter()
                .map(|(heading, tests)| (format!("{file}: {heading}"), tests))
                .collect(),
            tests => vec![(file.clone(), tests)],
        };
        for (place, tests) in places {
            let entries = tests.as_array().unwrap();
            assert!(!entries.is_empty(), "{place}");
            let mut quoted = Vec::new();
            for entry in entries {
                let tests = match quotation(entry) {
                    Some((words, tests)) => {
                        quoted.push(words);
                        tests
                            .as_array()
                            .map_or(vec![tests], |all| all.iter().collect())
                    }
                    None => vec![entry],
                };
                assert!(!tests.is_empty(), "{place}: {entry}");
                for test in tests {
                    match test.as_str() {
                        Some(test) if !sources.has(test) => wrong.push(format!("{place}: {test}")),
                        Some(_) => {}
                        None => assert!(test["not run"].is_string(), "{place}: {test}"),
                    }
                }
            }
            if !quoted.is_empty() {
                let text = fs::read_to_string(root.join(file)).unwrap();
                quotes.extend(wrong_quotations(&place, &text, &quoted));
            }
            told.insert(place);
        }
    }
    let missing: Vec<_> = expected.difference(&told).collect();
    let too_many: Vec<_> = told.difference(&expected).collect();
    assert!(missing.is_empty(), "not in advice.yaml: {missing:#?}");
    assert!(too_many.is_empty(), "no such place: {too_many:#?}");
    assert!(wrong.is_empty(), "no such test: {wrong:#?}");
    assert!(quotes.is_empty(), "{quotes:#?}");
}

/// An entry that is of some words of the place, and the tests that follow these.
fn quotation(entry: &Value) -> Option<(&str, &Value)> {
    let (words, tests) = entry.as_object()?.iter().next()?;
    (words != "not run").then_some((words, tests))
}

/// Words that do not stand in the place. Where a heading of a page has words, each of its bullets and
/// each row of its tables has to have some: those without.
fn wrong_quotations(place: &str, text: &str, quoted: &[&str]) -> Vec<String> {
    let (all, items) = match place.split_once(".md: ") {
        Some((_, heading)) => section(text, heading),
        None => {
            let lines = text.lines().map(|line| line.trim().trim_start_matches('#'));
            (words(&lines.collect::<Vec<_>>().join(" ")), Vec::new())
        }
    };
    let missing = quoted.iter().filter(|quoted| !all.contains(&words(quoted)));
    let missing = missing.map(|quoted| format!("{place} does not say: {quoted}"));
    let has_one = |item: &String| quoted.iter().any(|quoted| item.contains(&words(quoted)));
    let without = items.iter().filter(|item| !has_one(item));
    let without = without.map(|item| format!("{place} has no row for: {item}"));
    missing.chain(without).collect()
}

/// The text below a heading, up to the next one; and of it the bullets and the rows of tables, each
/// by itself, without those that a program writes.
fn section(page: &str, heading: &str) -> (String, Vec<String>) {
    let (mut all, mut items) = (String::new(), Vec::<String>::new());
    let (mut is_here, mut in_code, mut in_item, mut is_written) = (false, false, false, false);
    let mut lines = page.lines().peekable();
    while let Some(line) = lines.next() {
        in_code ^= line.starts_with("```");
        let title = line.trim_start_matches('#');
        if !in_code && title.len() < line.len() {
            is_here = title.trim() == heading;
            continue;
        }
        if !is_here {
            continue;
        }
        all = format!("{all} {line}");
        if line.starts_with("<!-- ") {
            is_written = !line.starts_with("<!-- /");
        }
        let is_head = lines.peek().is_some_and(|next| next.starts_with("|--"));
        let is_row = line.starts_with('|') && !is_head && !line.starts_with("|--");
        let numbered = line
            .split_once(". ")
            .is_some_and(|(it, _)| it.parse::<u8>().is_ok());
        if is_written || in_code || line.starts_with("```") {
            in_item = false;
        } else if is_row || line.starts_with("- ") || numbered {
            items.push(line.to_owned());
            in_item = !is_row;
        } else if in_item && line.starts_with("  ") {
            let item = items.last_mut().unwrap();
            *item = format!("{item} {line}");
        } else {
            in_item = false;
        }
    }
    (words(&all), items.iter().map(|item| words(item)).collect())
}

/// The files that people read, of a directory and those in it.
fn files(directory: &Path) -> Vec<PathBuf> {
    const MADE: [&str; 5] = [
        "pointsman.schema.json",
        "pointsman-test.schema.json",
        "pointsman-scenario.schema.json",
        "dashboard.json",
        "fleet.svg",
    ];
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() && name != "certificates" {
            found.extend(files(&path));
        } else if path.is_file() && !MADE.contains(&name) && !name.ends_with(".wasm") {
            found.push(path);
        }
    }
    found
}

/// The texts of all tests, by the word for where they are.
struct Sources {
    tests: PathBuf,
    of: BTreeMap<String, String>,
}

impl Sources {
    fn read(tests: &Path) -> Sources {
        let mut of = BTreeMap::new();
        for (word, directory) in [("core", "../filter"), ("host-sim", "../host-sim")] {
            of.insert(word.to_owned(), rust(&tests.join(directory)));
        }
        for entry in fs::read_dir(tests).unwrap() {
            let path = entry.unwrap().path();
            let word = path.file_stem().unwrap().to_str().unwrap().to_owned();
            let text = match path.is_dir() {
                true => rust(&path),
                false if path.extension().is_some_and(|it| it == "rs") => {
                    fs::read_to_string(&path).unwrap()
                }
                false => continue,
            };
            *of.entry(word).or_default() += &text;
        }
        Sources {
            tests: tests.to_owned(),
            of,
        }
    }

    fn has(&self, test: &str) -> bool {
        match test.split_once("::") {
            Some(("scenarios", file)) => {
                let file = format!("scenarios/{file}.yaml");
                self.tests.join(file).is_file()
            }
            Some(("faults", name)) => Fault::all().iter().any(|fault| fault.name() == name),
            Some((word, name)) => {
                let of = self.of.get(word);
                of.is_some_and(|text| is_test(text, name) || is_law(text, name))
            }
            None => false,
        }
    }
}

/// Whether a test of this name stands in the text, and not only a function.
fn is_test(text: &str, name: &str) -> bool {
    let begin = format!("fn {name}(");
    text.match_indices(&begin).any(|(at, _)| {
        let before = text[..at].trim_end();
        let line = before.lines().rev().find(|line| {
            let line = line.trim();
            !line.starts_with("///") && (!line.starts_with("#[") || line == "#[test]")
        });
        line.is_some_and(|line| line.trim() == "#[test]")
    })
}

/// Whether a law of this name stands among those of which a macro makes tests, as in `host_laws`.
fn is_law(text: &str, name: &str) -> bool {
    let laws = text.split("\nlaws! {\n").skip(1);
    let mut laws = laws.flat_map(|laws| laws.split("\n}").next().unwrap().lines());
    laws.any(|law| {
        let law = law.split_once("::").map(|(_, law)| law);
        law.and_then(|law| law.split_once('(')).map(|it| it.0) == Some(name)
    })
}

/// All Rust of a directory and of those in it.
fn rust(directory: &Path) -> String {
    let files = rust_files(directory).into_iter();
    files
        .map(|path| fs::read_to_string(path).unwrap())
        .collect()
}

/// "Envoy's `circuit_breakers` refuse beside it, and there nothing is passed over."
#[test]
fn a_breaker_refuses_where_a_bound_of_ours_passes_a_target_over() {
    for ours in [false, true] {
        let mut configuration = json!({
            "pools": { "web": { "targets": [{ "cluster": "a" }, { "cluster": "b" }] } },
            "routes": [{ "name": "all", "pool": "web" }],
        });
        if ours {
            configuration["pools"]["web"]["targets"][0]["max_in_flight"] = json!(1);
        }
        let site = Site::start_with(&configuration, |_, mut deployment| {
            if !ours {
                let breaker = json!({ "thresholds": [{ "max_requests": 1 }] });
                deployment.cluster_mut("a")["circuit_breakers"] = breaker;
            }
            Ok(deployment)
        });
        let site = site.unwrap();
        let slow = site.backend("a").unwrap();
        let never = Answer::After(Duration::from_secs(3600), Response::bare(200));
        slow.answer(never);
        let address = site.envoy.address().unwrap();
        // It ends with the test.
        std::thread::spawn(move || {
            let mut client = Client::new(address).unwrap();
            while get(&mut client).1 != "a" {}
        });
        until("one is under way", || slow.count() == 1);
        let mut client = site.client().unwrap();
        let seen: Vec<_> = (0..12).map(|_| get(&mut client)).collect();
        let refused = seen.iter().filter(|(status, _)| *status == 503).count();
        let answered = seen.iter().filter(|(_, backend)| backend == "b").count();
        match ours {
            true => assert_eq!((refused, answered), (0, 12), "{seen:?}"),
            false => assert!(refused >= 5 && refused + answered == 12, "{seen:?}"),
        }
        assert_eq!(slow.count(), 1);
    }
}

/// "A retry of Envoy's own goes past it": past `max_in_flight`.
#[test]
fn a_retry_of_envoys_own_goes_past_a_bound_of_ours() {
    let configuration = json!({
        "pools": { "web": {
            "cluster": "web",
            "targets": [
                { "endpoint": "127.0.0.1:9101", "weight": 1000 },
                { "endpoint": "127.0.0.1:9102", "max_in_flight": 1 },
            ],
        } },
        "routes": [{ "name": "all", "pool": "web" }],
    });
    let site = Site::start(&configuration).unwrap();
    let [first, second] = ["127.0.0.1:9101", "127.0.0.1:9102"].map(|it| site.backend(it).unwrap());
    first.answer(Answer::Close);
    second.answer(Answer::Hold);
    let address = site.envoy.address().unwrap();
    let ask = || {
        std::thread::spawn(move || {
            Client::new(address)
                .unwrap()
                .get("a", "/")
                .unwrap()
                .status()
        })
    };
    // Each begins at the first, which closes the connection, or at the second.
    let asked = [(); 3].map(|()| ask());
    until("all are at the second at once", || {
        second.most_at_once() == 3
    });
    second.answer(Answer::Name);
    for asked in asked {
        assert_eq!(asked.join().unwrap(), 200);
    }
}

/// "Never on an address that others reach": none of the shipped files has its admin interface there,
/// but for the one whose network is that of docker compose.
#[test]
fn no_shipped_admin_interface_is_reached_from_elsewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../envoy-config");
    let mut count = 0;
    for path in files(&root) {
        let text = fs::read_to_string(&path).unwrap();
        let places = text.split("\nadmin:").skip(1);
        let indented = text.split("\n    admin:").skip(1);
        for place in places.chain(indented) {
            let address = place.lines().find(|line| line.contains("socket_address"));
            let is_local = address.unwrap().contains("address: 127.0.0.1,");
            let is_compose = path.ends_with("compose/envoy.yaml");
            assert!(is_local != is_compose, "{}", path.display());
            count += 1;
        }
    }
    assert!(count >= 11, "{count}");
}

/// "A probe of an endpoint that its cluster does not have goes where the cluster's fallback policy
/// sends it": so it is taken for well as long as another one is.
#[test]
fn a_probe_of_an_endpoint_that_its_cluster_lacks_is_answered_by_another() {
    let configuration = json!({
        "pools": { "web": {
            "cluster": "web",
            "targets": [{ "endpoint": "127.0.0.1:9101" }, { "endpoint": "127.0.0.1:9102" }],
            "health": { "active": { "path": "/health", "interval": "100ms", "fall": 1 } },
        } },
        "routes": [{ "name": "all", "pool": "web" }],
    });
    let site = Site::start_with(&configuration, |_, mut deployment| {
        let endpoints = &mut deployment.cluster_mut("web")["load_assignment"]["endpoints"];
        let endpoints = endpoints[0]["lb_endpoints"].as_array_mut().unwrap();
        assert_eq!(endpoints.len(), 2);
        endpoints.truncate(1);
        Ok(deployment)
    });
    let site = site.unwrap();
    let [there, missing] = ["127.0.0.1:9101", "127.0.0.1:9102"].map(|it| site.backend(it).unwrap());
    until("both are probed", || {
        let received = there.take_received();
        let chosen = received.iter().flat_map(|request| {
            let mut headers = request.headers.iter();
            headers.find(|(name, _)| name == b"x-pointsman-endpoint")
        });
        let of_missing = missing.address().to_string();
        chosen
            .into_iter()
            .any(|(_, chosen)| chosen == of_missing.as_bytes())
    });
    assert_eq!(missing.count(), 0);
    let healthy = site.envoy.filter_stat("pointsman.pool.web.healthy_targets");
    assert_eq!(healthy.unwrap(), 2);
}

/// "A pool or target of a new name leaves those of the old one behind, some 13 for a pool."
#[test]
fn a_pool_of_a_new_name_leaves_as_many_statistics_as_the_page_says() {
    let configuration = |name: &str| {
        json!({
            "pools": { name: {
                "targets": [{ "cluster": "web" }],
                "sticky": { "cookie": { "name": "s" } },
                "health": { "passive": {} },
            } },
            "routes": [{ "name": "all", "pool": name }],
        })
    };
    let mut site = Site::start(&configuration("before")).unwrap();
    let of = |site: &Site, name: &str| {
        let stats = site.envoy.stats("wasmcustom.pointsman.pool.").unwrap();
        let name = format!(".pool.{name}.");
        stats
            .iter()
            .filter(|(stat, _)| stat.contains(&name))
            .count()
    };
    // Each statistic comes once there is something to count, and that waits for a tick.
    let has_counted = |site: &Site, name: &str| {
        get(&mut site.client().unwrap());
        README.contains(&format!("some {} for a pool.", of(site, name)))
    };
    until("there are as many as the page says", || {
        has_counted(&site, "before")
    });
    site.update(site.fleet.moved(configuration("after")))
        .unwrap();
    until("there are as many of the new name", || {
        has_counted(&site, "after")
    });
    let page = format!("some {} for a pool.", of(&site, "before"));
    assert!(README.contains(&page), "those of the old one are behind");
}

/// Of the gauge `pointsman_configuration`: "During a hot restart it is the sum of both processes'".
#[test]
fn during_a_hot_restart_the_gauge_of_the_configuration_is_the_sum_of_both() {
    let configuration = json!({ "routes": [{ "name": "all", "respond": { "status": 200 } }] });
    let site = Site::start_with(&configuration, |_, deployment| {
        // The parent goes on for as long as the test.
        let drain_time = Duration::from_secs(600);
        let mut deployment = deployment.with_drain_time(drain_time).hot_restartable()?;
        deployment.bootstrap_mut()["stats_flush_interval"] = "0.1s".into();
        Ok(deployment)
    });
    let mut site = site.unwrap();
    let gauge = |site: &Site| {
        let gauge = site.envoy.filter_stat_if_defined("pointsman.configuration");
        gauge.unwrap().unwrap_or(0)
    };
    until("it is told", || gauge(&site) > 0);
    let alone = gauge(&site);
    let parent = site.envoy.begin_hand_over(2).unwrap();
    until("it is the sum", || gauge(&site) == 2 * alone);
    // The other one asks its parent for as long as that has not ended by itself.
    site.finish().unwrap();
    drop(parent);
}

/// "A control plane sends the same resource over gRPC", and the next one, on a connection that stays
/// open.
#[test]
fn a_control_plane_sends_the_filter_over_grpc() {
    let configuration =
        |status: u16| json!({ "routes": [{ "name": "all", "respond": { "status": status } }] });
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("filter.json");
    let sent = Arc::new(Mutex::new((1, Value::Null)));
    let of_server = sent.clone();
    // Each stream ends with its answer, and Envoy opens the next one.
    let server = GrpcServer::start(move |call| {
        let path =
            "/envoy.service.extension.v3.ExtensionConfigDiscoveryService/StreamExtensionConfigs";
        assert_eq!(call.uri().path(), path);
        let (version, resource) = &*of_server.lock().unwrap();
        let message = discovery_response(&version.to_string(), resource);
        let size = u32::try_from(message.len()).unwrap().to_be_bytes();
        Some(grpc_server::Answer {
            message: Some([&[0], &size[..], &message].concat()),
            status: 0,
        })
    });
    let site = Site::start_with(&configuration(201), |_, deployment| {
        let mut deployment = deployment.discover_filter(&file)?;
        let resources: Value = serde_json::from_slice(&fs::read(&file)?)?;
        sent.lock().unwrap().1 = resources["resources"][0].clone();
        let filter = &mut deployment.connection_manager_mut()["http_filters"][0];
        let service = json!({ "envoy_grpc": { "cluster_name": "control-plane" } });
        filter["config_discovery"]["config_source"] = json!({
            "resource_api_version": "V3",
            "api_config_source": {
                "api_type": "GRPC", "transport_api_version": "V3", "grpc_services": [service],
            },
        });
        let cluster = http2_cluster("control-plane", server.address());
        deployment.clusters_mut().push(cluster);
        Ok(deployment)
    });
    let site = site.unwrap();
    let mut client = site.client().unwrap();
    until("the filter is there", || get(&mut client).0 == 201);
    {
        let mut sent = sent.lock().unwrap();
        sent.0 = 2;
        let filter = &mut sent.1["typed_config"]["config"];
        filter["configuration"]["value"] = configuration(202);
    }
    until("the next one holds", || get(&mut client).0 == 202);
}

/// A `DiscoveryResponse` of an extension's configuration in JSON, which Envoy takes as a
/// `TypedStruct`.
fn discovery_response(version: &str, resource: &Value) -> Vec<u8> {
    let any = |message: &str, value: Vec<u8>| {
        let name = format!("type.googleapis.com/{message}");
        [field(1, name.as_bytes()), field(2, &value)].concat()
    };
    let mut filter = resource["typed_config"].clone();
    let name = filter.as_object_mut().unwrap().remove("@type").unwrap();
    let typed = [
        field(1, name.as_str().unwrap().as_bytes()),
        field(2, &protobuf_struct(&filter)),
    ];
    let name = resource["name"].as_str().unwrap();
    let extension = [
        field(1, name.as_bytes()),
        field(2, &any("xds.type.v3.TypedStruct", typed.concat())),
    ];
    let message = "envoy.config.core.v3.TypedExtensionConfig";
    [
        field(1, version.as_bytes()),
        field(2, &any(message, extension.concat())),
        field(4, format!("type.googleapis.com/{message}").as_bytes()),
        field(5, version.as_bytes()),
    ]
    .concat()
}

/// A field of bytes of a protobuf message.
fn field(number: u8, value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![number << 3 | 2];
    let mut left = value.len();
    while left >= 0x80 {
        bytes.push(left as u8 | 0x80);
        left >>= 7;
    }
    bytes.push(left as u8);
    bytes.extend(value);
    bytes
}

/// A `google.protobuf.Struct`.
fn protobuf_struct(value: &Value) -> Vec<u8> {
    let entries = value.as_object().unwrap().iter().flat_map(|(key, value)| {
        let entry = [field(1, key.as_bytes()), field(2, &protobuf_value(value))];
        field(1, &entry.concat())
    });
    entries.collect()
}

/// A `google.protobuf.Value`.
fn protobuf_value(value: &Value) -> Vec<u8> {
    match value {
        Value::Null => vec![1 << 3, 0],
        Value::Bool(is_true) => vec![4 << 3, u8::from(*is_true)],
        Value::Number(number) => {
            let bytes = number.as_f64().unwrap().to_le_bytes();
            [&[2 << 3 | 1], &bytes[..]].concat()
        }
        Value::String(text) => field(3, text.as_bytes()),
        Value::Array(items) => {
            let items = items.iter().flat_map(|it| field(1, &protobuf_value(it)));
            field(6, &items.collect::<Vec<_>>())
        }
        Value::Object(_) => field(5, &protobuf_struct(value)),
    }
}

/// The numbers of "Reload": what counts as how much memory.
#[test]
fn parts_of_a_configuration_count_as_the_page_says() {
    let load = |configuration: &Value| {
        let text = configuration.to_string();
        Config::load(text.as_bytes()).unwrap().memory
    };
    let number = |before: &str| -> usize {
        let page = words(README);
        let (_, rest) = page.split_once(before).unwrap();
        let digits = rest.chars().take_while(char::is_ascii_digit);
        digits.collect::<String>().parse().unwrap()
    };
    let more = |what: &dyn Fn(usize) -> Value| load(&what(2)) - load(&what(1));
    let several = |count: usize, item: Value| vec![item; count];
    // Names of one length, which count twice.
    let routes = |count: usize| {
        let route = |number: usize| json!({ "name": format!("r{number}"), "pass": true });
        json!({ "routes": (0..count).map(route).collect::<Vec<_>>() })
    };
    assert_eq!(more(&routes), number("A route counts as ") + 2 * 2);
    let matching = |conditions: Value| json!({ "routes": [{ "name": "r", "match": conditions, "pass": true }] });
    let blocks = |count| matching(several(count, json!({})).into());
    assert_eq!(more(&blocks), number("a block of conditions as "));
    let items = |count| matching(json!({ "client_ip": several(count, json!("10.0.0.0/8")) }));
    let texts = 2 * "10.0.0.0/8".len();
    assert_eq!(more(&items), number("each item of a list as ") + texts);
    let targets = |count| {
        let target = |number: usize| json!({ "cluster": format!("c{number}") });
        json!({ "pools": { "p": { "targets": (0..count).map(target).collect::<Vec<_>>() } } })
    };
    let target = more(&targets) - 2 * 2;
    assert_eq!(target / 10 * 10, number("a target as some "), "{target}");
}
