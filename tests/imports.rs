//! What `host-sim import` makes of each `input.yaml` below `tests/imports/`: the `imported.yaml`
//! beside it, byte for byte. The filter loads that, `check` warns of nothing in it, and requests go
//! where `requests.yaml` says. The inputs are written from the specifications.
//!
//! `BLESS=1` writes `imported.yaml` anew.

use host_sim::check;
use host_sim::configuration;
use host_sim::import::import;
use host_sim::module;
use host_sim::request_test::{self, File};
use host_sim::world::World;
use pointsman_core::config::Config;
use pointsman_import::{InputFile, Kind, Options, Output};
use std::fs;
use std::path::{Path, PathBuf};

fn cases(kind: &str) -> Vec<PathBuf> {
    let folder = module::repository()
        .unwrap()
        .join("tests/imports")
        .join(kind);
    let entries = fs::read_dir(&folder).unwrap();
    let mut cases: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    assert!(!cases.is_empty(), "no case in {}", folder.display());
    cases
}

fn imported(kind: Kind, text: String) -> Output {
    let name = "input.yaml".to_owned();
    import(kind, &[InputFile { name, text }], &Options::default()).unwrap()
}

/// Imports, and holds the outcome against the files of the case.
fn hold(kind: Kind, case: &Path) {
    let shown = case.display();
    let file = |name: &str| case.join(name);
    let text = fs::read_to_string(file("input.yaml")).unwrap();
    let output = imported(kind, text);
    let written = output.to_yaml();
    if std::env::var_os("BLESS").is_some() {
        fs::write(file("imported.yaml"), &written).unwrap();
    }
    let expected = fs::read_to_string(file("imported.yaml")).unwrap_or_default();
    assert_eq!(written, expected, "{shown}: BLESS=1 writes it anew");

    let tree = configuration::parse(&written).unwrap();
    assert_eq!(configuration::to_json(&tree), output.to_json(), "{shown}");
    let config = Config::from_value(&tree).unwrap_or_else(|problems| panic!("{shown}: {problems}"));
    let warnings = check::warnings(&tree, &config);
    assert!(warnings.is_empty(), "{shown}: {warnings:#?}");

    let requests =
        File::read(&file("requests.yaml")).unwrap_or_else(|error| panic!("{shown}: {error}"));
    let report = request_test::run(&requests, || Ok(Box::new(World::of(&requests.config, 1)?)));
    for outcome in &report.outcomes {
        let name = &outcome.name;
        assert!(
            outcome.failure.is_none(),
            "{shown}: {name}: {:?}",
            outcome.failure
        );
    }
}

#[test]
fn gateway_api_is_carried_over() {
    for case in cases("gateway-api") {
        hold(Kind::GatewayApi, &case);
    }
}

#[test]
fn ingresses_are_carried_over() {
    for case in cases("ingress") {
        hold(Kind::Ingress, &case);
    }
}

/// Patterns of RE2 that are none of ours, and what else only the filter knows to be wrong.
#[test]
fn what_the_filter_would_refuse_is_taken_out_and_named() {
    let text = r"{ apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: { name: r, namespace: shop },
        spec: { rules: [
          { matches: [{ path: { type: RegularExpression, value: '/\Qa.b\E' } }], backendRefs: [{ name: a, port: 80 }] },
          { backendRefs: [{ name: b, port: 80 }] } ] } }";
    let output = imported(Kind::GatewayApi, text.to_owned());
    let names: Vec<_> = output
        .configuration
        .routes
        .iter()
        .map(|it| &*it.name)
        .collect();
    assert_eq!(names, ["shop/r/1"]);
    let [not_carried] = &output.not_carried[..] else {
        panic!("{:?}", output.not_carried)
    };
    assert_eq!(not_carried.path, "HTTPRoute shop/r rule 0");
    assert!(
        not_carried.why.contains("regular expression"),
        "{}",
        not_carried.why
    );
}

/// A block of conditions that would be refused is no reason to lose the others of its route.
#[test]
fn a_block_that_the_filter_would_refuse_is_taken_out_alone() {
    let text = r"{ apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: { name: r, namespace: shop },
        spec: { hostnames: [a.com], rules: [
          { matches: [
              { headers: [{ name: x, value: '1' }] },
              { headers: [{ name: y, type: RegularExpression, value: '\C' }] },
              { headers: [{ name: z, value: '2' }] },
              { headers: [{ name: y, type: RegularExpression, value: '\Qa\E' }] } ],
            backendRefs: [{ name: a, port: 80 }] },
          { matches: [
              { path: { type: RegularExpression, value: '/\C' } },
              { path: { type: RegularExpression, value: '/\Q' } } ],
            backendRefs: [{ name: b, port: 80 }] } ] } }";
    let output = imported(Kind::GatewayApi, text.to_owned());
    let json = output.to_json();
    let [route] = &json["routes"].as_array().unwrap()[..] else {
        panic!("{json}")
    };
    let blocks = route["match"].as_array().unwrap().iter();
    let names: Vec<_> = blocks.map(|it| &it["headers"][0]["name"]).collect();
    assert_eq!(names, ["x", "z"], "{route}");
    let told = output.not_carried.iter().map(|it| &*it.path);
    let rule = |number| format!("HTTPRoute shop/r rule {number}");
    let expected = [0, 0, 1, 1].map(rule);
    let mut told: Vec<_> = told.collect();
    told.sort_unstable();
    assert_eq!(told, expected, "{:?}", output.not_carried);
}

/// An option that would be refused is no reason to lose the route.
#[test]
fn an_option_that_the_filter_would_refuse_is_taken_out_alone() {
    let text = "{ apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: { name: r, namespace: shop },
        spec: { hostnames: [a.com, '*.b.com'], rules: [
          { timeouts: { request: 9999h }, retry: { attempts: 1 }, backendRefs: [{ name: a, port: 80 }],
            sessionPersistence: { absoluteTimeout: 99999h, cookie: { lifetimeType: Permanent } } } ] } }";
    let output = imported(Kind::GatewayApi, text.to_owned());
    let json = output.to_json();
    for route in json["routes"].as_array().unwrap() {
        assert_eq!(route["pool"], "shop/r/0", "{route}");
        assert!(
            route["timeout"].is_null() && route["retry"].is_object(),
            "{route}"
        );
    }
    assert_eq!(json["routes"].as_array().unwrap().len(), 2);
    assert!(json["pools"]["shop/r/0"]["targets"].is_array());
    assert!(json["pools"]["shop/r/0"]["sticky"].is_null());
    for option in ["`timeout` was left out", "`sticky` was left out"] {
        let told = output.not_carried.iter();
        let told = told.filter(|it| it.why.starts_with(option));
        assert_eq!(told.count(), 1, "{:?}", output.not_carried);
    }
}
