//! New configurations over LDS, as a control plane sends them, in both forms.

use host_sim::envoy::{Envoy, PluginConfiguration};
use host_sim::testkit::Site;
use pointsman_core::config::Config;
use serde_json::{Value, json};

/// A configuration that answers everything with this status, and sends `/web` to a pool.
fn answering(status: u16) -> Value {
    json!({
        "pools": { "web": { "targets": [{ "cluster": "web" }] } },
        "routes": [
            { "name": "web", "match": { "path": { "prefix": "/web" } }, "pool": "web" },
            { "name": "all", "respond": { "status": status } },
        ],
    })
}

/// Two mistakes at once.
fn bad() -> Value {
    let mut bad = answering(200);
    bad["routes"][0]["pool"] = "wbe".into();
    bad["routes"][1]["respond"]["status"] = "200".into();
    bad
}

fn as_struct(configuration: Value) -> PluginConfiguration {
    PluginConfiguration::Struct(configuration)
}

fn as_text(configuration: Value) -> PluginConfiguration {
    PluginConfiguration::Text(configuration.to_string())
}

#[test]
fn a_bad_update_leaves_the_old_configuration_serving_and_the_next_good_one_loads() {
    let mut site = Site::start(&answering(201)).unwrap();
    let deployment = site.envoy.deployment().clone();
    let envoy = &mut site.envoy;
    let status = |envoy: &Envoy, path| {
        let mut client = envoy.client().unwrap();
        client.get("a.example", path).unwrap().status().as_u16()
    };
    let mut serving = 201;
    for form in [as_struct, as_text] {
        let update = || deployment.clone().with_configuration(form(bad()));
        let refused = format!("{:#}", envoy.update(update()).unwrap_err());
        for place in [
            "routes[0].pool",
            "did you mean `web`?",
            "routes[1].respond.status",
        ] {
            assert!(refused.contains(place), "no {place} in: {refused}");
        }
        // Envoy remembers that these bytes were refused, and does not ask the filter again.
        envoy.update(update()).unwrap_err();
        assert_eq!((status(envoy, "/"), status(envoy, "/web")), (serving, 200));
        serving += 1;
        let good = deployment
            .clone()
            .with_configuration(form(answering(serving)));
        envoy.update(good).unwrap();
        assert_eq!((status(envoy, "/"), status(envoy, "/web")), (serving, 200));
    }
    envoy.restart().unwrap();
    assert_eq!(status(envoy, "/"), serving);
}

#[test]
fn a_bad_configuration_keeps_envoy_from_starting_and_says_why() {
    let refused = Site::start(&bad()).err();
    let refused = format!("{:#}", refused.expect("a bad configuration"));
    assert!(
        refused.contains("routes[0].pool") && refused.contains("routes[1].respond.status"),
        "{refused}"
    );
}

/// `check` runs on 64 bits and the filter on 32, and patterns are as large on both: a literal of 4,500
/// characters was refused by the one and taken by the other.
#[test]
fn the_longest_pattern_is_the_same_on_every_host() {
    let with = |length: usize| {
        let mut configuration = answering(200);
        let pattern = format!("b|{}", "a".repeat(length));
        let long = json!([{ "name": "x-long", "regex": pattern }]);
        configuration["routes"][0]["match"] = json!({ "headers": long });
        configuration
    };
    let loads = |length: usize| Config::load(with(length).to_string().as_bytes());
    let (mut longest, mut refused) = (4_500, 20_000);
    assert!(loads(longest).is_ok());
    while refused - longest > 1 {
        let middle = usize::midpoint(longest, refused);
        match loads(middle) {
            Ok(_) => longest = middle,
            Err(_) => refused = middle,
        }
    }
    let mut site = Site::start(&with(longest)).unwrap();
    let mut client = site.client().unwrap();
    let mut answered = |value: &str| {
        let answer = client.get_with("a", "/", &[("x-long", value)]).unwrap();
        answer.body().clone()
    };
    assert_eq!(answered("b"), "web\n");
    assert_eq!(answered("a"), "");
    let deployment = site.envoy.deployment().clone();
    let update = deployment.with_configuration(as_struct(with(refused)));
    let told = format!("{:#}", site.envoy.update(update).unwrap_err());
    let Err(problems) = loads(refused) else {
        panic!()
    };
    assert!(told.contains(&problems.to_string()), "{told}\n{problems}");
}
