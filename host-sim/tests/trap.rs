//! A module that traps under `--module` is told as what a proxy would do.

#![allow(missing_docs)]

use host_sim::module;
use std::process::{Command, Output};

fn explain(headers: &[&str]) -> Output {
    let module = module::build_package("pointsman-trap").unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("shop.yaml");
    std::fs::write(&file, "routes: [{ name: r, respond: { status: 204 } }]").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_host-sim"));
    command
        .arg("explain")
        .arg(&file)
        .arg("--module")
        .arg(module);
    command.args(["--url", "http://example.com/"]);
    for header in headers {
        command.args(["-H", header]);
    }
    command.output().unwrap()
}

#[test]
fn a_trap_is_a_finding_and_no_panic() {
    let good = explain(&[]);
    assert_eq!(good.status.code(), Some(0), "{good:?}");
    let trapped = explain(&["x-trap: now"]);
    assert_eq!(trapped.status.code(), Some(1), "{trapped:?}");
    let told = String::from_utf8(trapped.stderr).unwrap();
    for words in [
        "host-sim: the module trapped in proxy_on_request_headers: ",
        "answered 503",
        "FAIL_RELOAD",
    ] {
        assert!(told.contains(words), "{words}: {told}");
    }
    assert!(!told.contains("RUST_BACKTRACE"), "{told}");
}
