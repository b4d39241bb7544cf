//! Secrets that everybody can read, and variables that the VM does not get.

use super::{Change, EDGE, checked, start, start_edge, try_start};
use host_sim::client::header;

/// What the configuration begins with.
const POOLS: &str = "                            pools:\n";
const VM_ID: &str = "vm_id: pointsman\n";
const KEYS: &str = r#"keys: ["ZGVtby1rZXktZGVtby1rZXktZGVtby1rZXktZGVtbyE="]"#;
/// `a-key-of-this-test-that-nobody-knows`
const KEY: &str = "YS1rZXktb2YtdGhpcy10ZXN0LXRoYXQtbm9ib2R5LWtub3dz";

#[test]
fn with_the_token_of_an_example_a_stranger_reads_where_requests_go() {
    for (token, is_wrong) in [("change-me", true), ("8Xo0d1Yt6bC3vQ", false)] {
        let explain = format!(
            "                            explain: {{ header: x-why, token: {token} }}\n{POOLS}"
        );
        // The shipped key is published too.
        let changes = [(POOLS, &*explain), (KEYS, "")];
        let site = start_edge(&changes, "published_secret", is_wrong);
        let mut client = site.client().unwrap();
        let told = |token: &str, client: &mut host_sim::client::Client| {
            let answer = client.get_with("h", "/api", &[("x-why", token)]).unwrap();
            header(&answer, "x-why").to_owned()
        };
        let told_stranger = told("change-me", &mut client);
        let names = [r#""pool":"api""#, r#""route":"api""#, "127.0.0.1:910"];
        let is_told = names.iter().all(|name| told_stranger.contains(name));
        assert_eq!(is_told, is_wrong, "{told_stranger}");
        assert_eq!(told_stranger.is_empty(), !is_wrong, "{told_stranger}");
        assert!(!told(token, &mut client).is_empty());
    }
}

/// A variable that every process has.
const ASKS: &str = "explain: { header: x-why, token: { env: PATH } }";

#[test]
fn a_variable_that_the_file_does_not_list_is_not_there_and_envoy_refuses_it() {
    let kind = "variable_not_given";
    let explain = format!("                            {ASKS}\n{POOLS}");
    let asks: Change<'_> = (POOLS, &explain);
    let listing = format!(
        "{VM_ID}                          environment_variables: {{ host_env_keys: [PATH] }}\n"
    );
    let refused = try_start(checked(EDGE, &[asks], kind, true));
    let refused = format!("{:#}", refused.err().expect("it asks for a variable"));
    assert!(refused.contains("explain.token"), "{refused}");
    let site = start_edge(&[asks, (VM_ID, &listing)], kind, false);
    let token = std::env::var("PATH").unwrap();
    let mut client = site.client().unwrap();
    let answer = client.get_with("h", "/", &[("x-why", &token)]).unwrap();
    assert!(header(&answer, "x-why").starts_with('{'), "{answer:?}");
}

#[test]
fn a_value_that_stands_in_the_file_stands_in_the_dump() {
    let kind = "secret_told";
    let asks: Change<'_> = (KEYS, "keys: [{ env: PM_KEY_1 }]");
    for (variables, is_wrong) in [
        (format!("key_values: {{ PM_KEY_1: {KEY} }}"), true),
        ("host_env_keys: [PM_KEY_1]".to_owned(), false),
    ] {
        let given =
            format!("{VM_ID}                          environment_variables: {{ {variables} }}\n");
        let mut deployment = checked(EDGE, &[asks, (VM_ID, &given)], kind, is_wrong);
        if !is_wrong {
            deployment = deployment.with_variable("PM_KEY_1", KEY);
        }
        let site = start(deployment);
        // The key is there either way.
        let answer = site.client().unwrap().get("h", "/account").unwrap();
        assert!(header(&answer, "set-cookie").starts_with("pm_account="));
        let dump = site.envoy.admin("/config_dump").unwrap();
        assert!(dump.contains("PM_KEY_1"));
        assert_eq!(dump.contains(KEY), is_wrong);
    }
}

#[test]
fn a_variable_that_nobody_sets_is_refused_by_envoy() {
    let asks: Change<'_> = (KEYS, "keys: [{ env: PM_KEY_OF_NOBODY }]");
    let listing = format!(
        "{VM_ID}                          environment_variables: {{ host_env_keys: [PM_KEY_OF_NOBODY] }}\n"
    );
    let deployment = checked(EDGE, &[asks, (VM_ID, &listing)], "unset_variable", true);
    let set = deployment.clone().with_variable("PM_KEY_OF_NOBODY", KEY);
    let refused = format!("{:#}", try_start(deployment).err().expect("it is not set"));
    assert!(refused.contains("PM_KEY_OF_NOBODY"), "{refused}");
    let answer = start(set).client().unwrap().get("h", "/account").unwrap();
    assert!(header(&answer, "set-cookie").starts_with("pm_account="));
}
