//! From the archive of a release alone: the page in it is followed word for word by a shell that has
//! no Rust, to a canary in a real Envoy, and as far as one comes without a cluster to those of Istio
//! and of Envoy Gateway.

#![allow(missing_docs)]

use host_sim::envoy::{Wanted, install};
use host_sim::package::{self, Origin};
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

/// The archive, unpacked into a directory of its own.
fn unpacked() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let package = package::write(directory.path(), &Origin::default()).unwrap();
    // The program is packed as it is for a release; here what stands in for it starts it, since
    // one with its symbols is too large to pack in each test.
    let program = directory.path().join("program");
    let real = env!("CARGO_BIN_EXE_host-sim");
    fs::write(&program, format!("#!/bin/sh\nexec {real} \"$@\"\n")).unwrap();
    let archive = package::archive(&package, &program).unwrap();
    let empty = directory.path().join("empty");
    fs::create_dir(&empty).unwrap();
    let mut tar = Command::new("tar");
    tar.args(["--extract", "--gzip", "--file"]).arg(&archive);
    assert!(tar.current_dir(&empty).status().unwrap().success());
    let root = fs::read_dir(&empty).unwrap().next().unwrap().unwrap();
    (directory, root.path())
}

/// The commands below a heading of the page.
fn commands(root: &Path, heading: &str) -> String {
    let page = fs::read_to_string(root.join("README.md")).unwrap();
    let section = page.split("\n## ").find(|it| it.starts_with(heading));
    let section = section.unwrap_or_else(|| panic!("no section {heading}"));
    let block = section.split("```sh\n").nth(1).expect("commands");
    block.split("```").next().unwrap_or_default().to_owned()
}

/// Runs them as a person's shell does, with nothing of ours in its environment; `first` is where it
/// looks for programs before the system's.
fn follow(root: &Path, first: &Path, commands: &str) -> Output {
    let mut shell = Command::new("bash");
    shell.args(["-eu", "-o", "pipefail", "-c", commands]);
    shell.env_clear().current_dir(root);
    shell.env("PATH", format!("{}:/usr/bin:/bin", first.display()));
    let output = shell.output().unwrap();
    let told = format!("{commands}\n{output:?}");
    assert!(output.status.success(), "{told}");
    output
}

/// A port that is free now.
fn free_port() -> String {
    let port = TcpListener::bind("127.0.0.1:0").unwrap();
    port.local_addr().unwrap().port().to_string()
}

#[test]
fn the_page_leads_to_a_canary_in_an_envoy() {
    let (directory, root) = unpacked();
    let programs = directory.path().join("programs");
    fs::create_dir(&programs).unwrap();
    let envoy = install::find(Wanted::Any).unwrap();
    symlink(&envoy.path, programs.join("envoy")).unwrap();
    follow(&root, &programs, &commands(&root, "# Pointsman"));

    // Other tests have these ports too.
    let file = root.join("envoy-config/canary.yaml");
    let mut text = fs::read_to_string(&file).unwrap();
    let mut steps = commands(&root, "A canary in your Envoy");
    for port in ["10000", "9001", "9002", "9901"] {
        let free = free_port();
        assert!(text.contains(&format!("port_value: {port} ")), "{port}");
        text = text.replace(
            &format!("port_value: {port} "),
            &format!("port_value: {free} "),
        );
        steps = steps.replace(&format!(":{port}/"), &format!(":{free}/"));
    }
    fs::write(&file, text).unwrap();
    let output = follow(&root, &programs, &steps);
    let told = String::from_utf8(output.stdout).unwrap();
    let words: Vec<_> = told.split_whitespace().collect();
    let [.., "18", "x-backend:", "blue", "2", "x-backend:", "green"] = words[..] else {
        panic!("{told}")
    };
}

#[test]
fn the_page_writes_the_digest_into_the_files_of_istio_and_envoy_gateway() {
    let (_directory, root) = unpacked();
    let index = fs::read_to_string(root.join("oci/index.json")).unwrap();
    let index: serde_json::Value = serde_json::from_str(&index).unwrap();
    let digest = index["manifests"][0]["digest"].as_str().unwrap();
    for (heading, file, written) in [
        (
            "In Istio",
            "istio/gateway.yaml",
            format!("url: oci://registry.example.com/pointsman:v0.2.0@{digest}\n"),
        ),
        (
            "In Envoy Gateway",
            "envoy-gateway/pointsman.yaml",
            format!("sha256: \"{}\"\n", digest.trim_start_matches("sha256:")),
        ),
    ] {
        let steps = commands(&root, heading);
        // There is no registry of that name, and no cluster.
        let left_out =
            |line: &&str| !line.starts_with("skopeo copy") && !line.starts_with("kubectl apply");
        let steps: Vec<_> = steps.lines().filter(left_out).collect();
        assert!(steps.len() > 4, "{steps:?}");
        let output = follow(&root, Path::new("/usr/bin"), &steps.join("\n"));
        let told = String::from_utf8(output.stdout).unwrap();
        assert!(told.contains(": good"), "{told}");
        assert!(told.contains("route") && told.contains("shop"), "{told}");
        let text = fs::read_to_string(root.join("envoy-config").join(file)).unwrap();
        assert!(text.contains(&written), "{written}: {text}");
    }
}
