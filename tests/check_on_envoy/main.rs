//! What `check` says of a proxy's file is so: the shipped file with one mistake is warned of, and a
//! real Envoy that is started with that very file does what the warning says; without the mistake
//! it does not.

mod clients;
mod clusters;
mod kinds;
mod metrics;
mod secrets;
mod sessions;
mod sharing;

use host_sim::client::{Client, status_and_backend};
use host_sim::envoy::fleet::Fleet;
use host_sim::envoy::{Deployment, Wanted, install};
use host_sim::testkit::Site;
use host_sim::wait::until;
use host_sim::{check, configuration, environment, module};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// A text of the file, and what stands in its place.
type Change<'a> = (&'a str, &'a str);

const SHIPPED: &[Change<'_>] = &[];
const EDGE: &str = "envoy.yaml";

/// A file of `envoy-config/` with these texts in place of others, wherever they stand.
fn changed(file: &str, changes: &[Change<'_>]) -> (String, PathBuf) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../envoy-config");
    let path = path.join(file);
    let mut text = std::fs::read_to_string(&path).unwrap();
    for (from, to) in changes {
        assert!(text.contains(from), "{from}");
        text = text.replace(from, to);
    }
    (text, path)
}

/// The kinds of all that `check` says of a file.
fn kinds_of(text: &str, path: &Path) -> BTreeSet<&'static str> {
    let parts = configuration::parts_of(text, path).unwrap();
    let configs: Vec<_> = parts
        .iter()
        .map(|part| environment::load_anywhere(&part.tree).unwrap())
        .collect();
    let pairs: Vec<_> = parts.iter().zip(&configs).collect();
    let (mut warnings, mut notes) =
        check::around(&configuration::ParsedText::new(text), path, false);
    for (part, config) in &pairs {
        let (more, further) = check::warnings_and_notes(&part.tree, config);
        warnings.extend(more);
        notes.extend(further);
    }
    warnings.extend(check::meetings::warnings(&pairs));
    notes.extend(check::meetings::notes(&pairs));
    let warnings = warnings.into_iter().map(|warning| warning.kind);
    warnings
        .chain(notes.into_iter().map(|it| it.kind))
        .collect()
}

/// A text as a deployment whose module traps on demand.
fn deployment(text: &str) -> Deployment {
    let file = tempfile::Builder::new().suffix(".yaml").tempfile().unwrap();
    std::fs::write(file.path(), text).unwrap();
    static MODULE: OnceLock<PathBuf> = OnceLock::new();
    let module = MODULE.get_or_init(|| module::build_package("pointsman-trap").unwrap());
    Deployment::read(file.path()).unwrap().with_module(module)
}

/// Asserts that what `check` says of a text has this kind where `is_wrong`, and has it not where it
/// is not.
fn assert_warned(text: &str, path: &Path, kind: &str, is_wrong: bool) {
    let kinds = kinds_of(text, path);
    assert_eq!(kinds.contains(kind), is_wrong, "{kind}: {kinds:?}");
}

/// A file of `envoy-config/` with these changes. Asserts that they are a mistake that `check` calls
/// so, or are not.
fn checked(file: &str, changes: &[Change<'_>], kind: &str, is_wrong: bool) -> Deployment {
    let (text, path) = changed(file, changes);
    assert_warned(&text, &path, kind, is_wrong);
    deployment(&text)
}

/// An Envoy with the file of an edge, changed and [`checked`] so.
fn start_edge(changes: &[Change<'_>], kind: &str, is_wrong: bool) -> Site {
    start(checked(EDGE, changes, kind, is_wrong))
}

/// An Envoy with one worker, and a backend at each endpoint that its file names.
fn start(deployment: Deployment) -> Site {
    try_start(deployment).unwrap()
}

/// The same. An error is Envoy's refusal.
fn try_start(deployment: Deployment) -> anyhow::Result<Site> {
    let deployment = deployment.on_free_ports().with_workers(1);
    let (fleet, deployment) = Fleet::in_place_of_endpoints(deployment)?;
    Site::of(&install::find(Wanted::Any)?, fleet, deployment)
}

/// The status of an answer, and the backend that gave it.
fn ask(client: &mut Client, path: &str, headers: &[(&str, &str)]) -> (u16, String) {
    let answer = client.get_with("shop.example.com", path, headers).unwrap();
    status_and_backend(&answer)
}

const BY_HEADER: &str = "cluster_header: x-pointsman-cluster";
const GOLD: [(&str, &str); 1] = [("x-tier", "gold")];

#[test]
fn a_route_that_names_a_cluster_or_another_header_does_not_go_where_the_filter_chose() {
    const FIRST: &str =
        "                        # What can be asked twice (RFC 9110, 9.2.1) is tried again";
    let first = format!(
        "                        - {{ match: {{ prefix: / }}, route: {{ cluster: web-blue }} }}\n{FIRST}"
    );
    let gold = |changes: &[Change<'_>], is_wrong: bool| {
        let site = start_edge(changes, "choice_not_obeyed", is_wrong);
        ask(&mut site.client().unwrap(), "/", &GOLD)
    };
    assert_eq!(gold(SHIPPED, false), (200, "9004".to_owned()));
    let ignored = (200, "9001".to_owned());
    let named = [(BY_HEADER, "cluster: web-blue")];
    assert_eq!(gold(&named, true), ignored);
    assert_eq!(gold(&[(FIRST, &first)], true), ignored);
    let misspelt = [(BY_HEADER, "cluster_header: x-pointman-cluster")];
    let (status, _) = gold(&misspelt, true);
    assert_eq!(status, 503);
}

#[test]
fn a_cluster_that_is_not_there_is_answered_503() {
    let other = (
        "- name: gold\n      type: STATIC",
        "- name: silver\n      type: STATIC",
    );
    let site = start_edge(&[other], "unknown_cluster", true);
    let mut client = site.client().unwrap();
    assert_eq!(ask(&mut client, "/", &GOLD).0, 503);
    assert_eq!(ask(&mut client, "/?region=eu", &[]).0, 200);
}

#[test]
fn an_endpoint_that_the_cluster_lacks_or_does_not_let_be_chosen_is_not_gone_to() {
    // Requests that another endpoint than the chosen one has answered.
    let elsewhere = |changes: &[Change<'_>], kind: &str, is_wrong: bool| {
        let site = start_edge(changes, kind, is_wrong);
        let mut client = site.client().unwrap();
        let mut count = 0;
        for number in 0..12 {
            let (status, backend) = ask(&mut client, &format!("/api/{number}"), &[]);
            assert_eq!(status, 200);
            let members = site.fleet.members().iter().map(|member| &member.backend);
            let mut answered = members.filter(|it| it.name() == backend);
            let address = answered.next().unwrap().address().to_string();
            let received = site.fleet.take_received();
            let mut headers = received.iter().flat_map(|request| &request.headers);
            let (_, chosen) = headers
                .find(|(name, _)| name == b"x-pointsman-endpoint")
                .unwrap();
            count += usize::from(!chosen.starts_with(address.as_bytes()));
        }
        count
    };
    assert_eq!(elsewhere(SHIPPED, "endpoint_not_obeyed", false), 0);
    let unread = ("[{ header: x-pointsman-endpoint }]", "[{ header: x-else }]");
    assert!(elsewhere(&[unread], "endpoint_not_obeyed", true) > 0);
    let missing = ("port_value: 9102 }", "port_value: 9112 }");
    assert!(elsewhere(&[missing], "unknown_endpoint", true) > 0);
}

#[test]
fn without_a_failure_policy_a_trap_is_for_ever() {
    let after_a_trap = |changes: &[Change<'_>], is_wrong: bool| {
        let site = start_edge(changes, "failure_policy", is_wrong);
        let mut client = site.client().unwrap();
        assert_eq!(ask(&mut client, "/", &[]).0, 200);
        assert_eq!(ask(&mut client, "/", &[("x-trap", "now")]).0, 503);
        (site, client)
    };
    let (_site, mut client) = after_a_trap(SHIPPED, false);
    until("a new VM decides", || ask(&mut client, "/", &[]).0 == 200);
    let policy = [("failure_policy: FAIL_RELOAD", "")];
    let (_site, mut client) = after_a_trap(&policy, true);
    // Three times what a reload takes.
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(3) {
        assert_eq!(ask(&mut client, "/", &[]).0, 503);
    }
}

#[test]
fn a_path_as_it_came_goes_past_a_route_that_refuses() {
    let site_as_shipped = start_edge(SHIPPED, "path_as_it_came", false);
    let mut shipped = site_as_shipped.client().unwrap();
    let kept = "path_with_escaped_slashes_action: KEEP_UNCHANGED";
    for (change, path, expected) in [
        (("normalize_path: true", ""), "/public/../internal", 403),
        (("merge_slashes: true", ""), "//internal", 403),
        (
            (
                "path_with_escaped_slashes_action: UNESCAPE_AND_REDIRECT",
                kept,
            ),
            "/x%2f..%2finternal",
            307,
        ),
    ] {
        assert_eq!(ask(&mut shipped, path, &[]).0, expected, "{path}");
        let site = start_edge(&[change], "path_as_it_came", true);
        let mut client = site.client().unwrap();
        assert_eq!(ask(&mut client, path, &[]).0, 200, "{path}");
    }
}

#[test]
fn longer_headers_than_promised_are_let_in() {
    let long = "x".repeat(20_000);
    let status = |changes: &[Change<'_>], is_wrong: bool| {
        let site = start_edge(changes, "long_headers", is_wrong);
        ask(&mut site.client().unwrap(), "/", &[("x-long", &long)]).0
    };
    assert_eq!(status(SHIPPED, false), 431);
    let longer = [("max_request_headers_kb: 16", "")];
    assert_eq!(status(&longer, true), 200);
}

#[test]
fn without_a_policy_nothing_is_copied() {
    const COPIES: &str = "request_mirror_policies: [{ cluster_header: x-pointsman-mirror }]";
    let mirror = (
        "pool: gold\n",
        "pool: gold\n                                mirror: { pool: beta }\n",
    );
    let copied = |changes: &[Change<'_>], is_wrong: bool| {
        let site = start_edge(changes, "mirror_not_obeyed", is_wrong);
        let mut client = site.client().unwrap();
        // A copy is sent before the request's own answer comes, but may arrive after it.
        assert_eq!(ask(&mut client, "/", &GOLD).0, 200);
        let beta = site.backend("9003").unwrap();
        let has_come = || beta.take_received().len();
        match is_wrong {
            false => {
                let mut count = 0;
                until("the copy has come", || {
                    count += has_come();
                    count > 0
                });
                count
            }
            true => {
                // Another request of the same worker: what was sent before it has come.
                assert_eq!(ask(&mut client, "/", &[("cookie", "beta=1")]).1, "9003");
                has_come() - 1
            }
        }
    };
    assert_eq!(copied(&[mirror], false), 1);
    assert_eq!(copied(&[mirror, (COPIES, "")], true), 0);
}

#[test]
fn a_filter_behind_the_router_keeps_envoy_from_starting() {
    let router = "                  - name: envoy.filters.http.router\n                    typed_config:\n                      \"@type\": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router\n";
    let first = format!("                http_filters:\n{router}");
    let changes = [(router, ""), ("                http_filters:\n", &*first)];
    let deployment = checked(EDGE, &changes, "not_before_router", true);
    let error = try_start(deployment).err().unwrap();
    assert!(
        format!("{error:#}").contains("terminal filter"),
        "{error:#}"
    );
}

#[test]
fn without_gauges_each_worker_goes_by_its_own_counts() {
    let own = |changes: &[Change<'_>], is_wrong: bool| {
        let site = start_edge(changes, "gauges_rejected", is_wrong);
        let mut client = site.client().unwrap();
        assert_eq!(ask(&mut client, "/", &GOLD).0, 200);
        let counted = || {
            let stats = site.envoy.admin("/stats?filter=in_flight.local").unwrap();
            let value = stats
                .trim()
                .rsplit(' ')
                .next()
                .unwrap_or_default()
                .to_owned();
            value.parse::<u64>().unwrap()
        };
        if is_wrong {
            until("a worker says so", || counted() > 0);
        }
        counted()
    };
    assert_eq!(own(SHIPPED, false), 0);
    let rejected = (
        "stats_config:\n",
        "stats_config:\n  stats_matcher: { exclusion_list: { patterns: [{ suffix: .in_flight }] } }\n",
    );
    assert!(own(&[rejected], true) > 0);
}
