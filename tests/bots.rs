//! `device: bot`: the filter's lists are those of the package that they are made of, and take every
//! user agent that the package has as an example.

use host_sim::module;
use pointsman_core::http::device::Device;
use std::fs;
use std::process::Command;

#[test]
fn the_lists_are_those_of_the_package_and_take_its_examples() {
    let repository = module::repository().unwrap();
    let examples = repository.join("target/user-agents-of-bots.txt");
    let check = Command::new("python3")
        .arg(repository.join("tests/bots/generate"))
        .arg("--check")
        .arg(&examples)
        .output()
        .expect("python3 with pip: apt-get install python3-pip");
    let told = String::from_utf8_lossy(&check.stderr);
    assert!(check.status.success(), "{told}");
    let examples = fs::read_to_string(examples).unwrap();
    let is_bot = |user_agent: &&str| Device::of(user_agent.as_bytes(), b"") == Device::Bot;
    let (taken, left): (Vec<_>, Vec<_>) = examples.lines().partition(is_bot);
    assert!(taken.len() > 2000, "{}", taken.len());
    // One each of the patterns that are no literals, which `generate` names.
    assert!(left.len() <= 6, "{left:#?}");
}
