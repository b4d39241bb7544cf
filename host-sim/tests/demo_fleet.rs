//! `host-sim demo --fleet` says that two proxies keep a limit together, and it is so.

use host_sim::module;
use std::process::Command;

#[test]
fn the_demo_of_a_fleet_keeps_its_limit() {
    let output = Command::new(env!("CARGO_BIN_EXE_host-sim"))
        .args(["demo", "--fleet", "--module"])
        .arg(module::build().unwrap())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\n{error}");
    assert!(
        text.contains("5000 of 5000 are admitted; all of them"),
        "{text}"
    );
    assert!(text.contains("6 of 6 as they should be"), "{text}");
}
