//! From the archive of a release alone: the page in it is followed word for word by a shell that has
//! no Rust, to a canary in a real Envoy, and as far as one comes without a cluster to those of Istio
//! and of Envoy Gateway.

#![allow(missing_docs)]

use host_sim::configuration::to_json;
use host_sim::envoy::{Wanted, install};
use host_sim::envoy_host::EnvoyHost;
use host_sim::exchange::{ExchangeRequest, Host};
use host_sim::package::{self, Origin};
use host_sim::testkit::registry::Registry;
use host_sim::yaml::{Reading, documents};
use pointsman_release::pull;
use serde_json::Value;
use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, symlink};
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

/// What stands in for a cluster: it keeps what is applied.
const KUBECTL: &str = r#"#!/bin/sh
[ "$1 $2 $#" = "apply -f 3" ] || exit 1
cp "$3" applied.yaml
"#;

/// The image is pushed by the page's own commands into a real registry with TLS; the file that would
/// be applied names it, and what that name leads to decides in a real Envoy by what the file says.
/// Only the registry's name is another, and there is no cluster.
#[test]
fn the_page_leads_to_a_canary_of_istio_and_of_envoy_gateway_as_far_as_one_comes_without_them() {
    let registry = Registry::start_with_tls().unwrap();
    let (directory, root) = unpacked();
    let programs = directory.path().join("programs");
    fs::create_dir(&programs).unwrap();
    let kubectl = programs.join("kubectl");
    fs::write(&kubectl, KUBECTL).unwrap();
    fs::set_permissions(&kubectl, Permissions::from_mode(0o755)).unwrap();
    let name = format!("localhost:{}", registry.address().port());
    for (heading, configuration_at) in [
        ("In Istio", "/spec/pluginConfig"),
        ("In Envoy Gateway", "/spec/wasm/0/config"),
    ] {
        let steps = commands(&root, heading);
        let directory_name = root.file_name().unwrap().to_str().unwrap();
        let version = directory_name.split('-').nth(1).unwrap();
        let first = format!("REGISTRY=registry.example.com VERSION=v{version}\n");
        assert!(steps.starts_with(&first), "{steps}");
        let steps = steps.replace("registry.example.com", &name);
        let trusted = format!(
            "export SSL_CERT_FILE={}\n",
            registry.certificate().display()
        );
        let output = follow(&root, &programs, &(trusted.clone() + &steps));
        let told = String::from_utf8(output.stdout).unwrap();
        assert!(told.contains(": good"), "{told}");
        assert!(told.contains("shop (blue 90 %, green 10 %)"), "{told}");

        let applied = fs::read_to_string(root.join("applied.yaml")).unwrap();
        let documents = documents(&applied, Reading::Kubernetes).unwrap().trees;
        let resources = documents.iter().map(to_json);
        let mut found = resources.filter(|it| it.pointer(configuration_at).is_some());
        let resource = found.next().unwrap();
        let reference = image(&resource);
        let pull = format!("skopeo copy --preserve-digests docker://{reference} oci:pulled");
        follow(&root, &programs, &(trusted + &pull));
        let module = root.join("pulled.wasm");
        fs::write(&module, module_of(&root.join("pulled"))).unwrap();
        decides(&module, resource.pointer(configuration_at).unwrap());
    }
}

/// The image that a resource names, by its digest.
fn image(resource: &Value) -> String {
    let text = |at: &str| resource.pointer(at).and_then(Value::as_str);
    if let Some(url) = text("/spec/url") {
        // skopeo does not take a tag beside a digest.
        let url = url.strip_prefix("oci://").unwrap();
        let (tagged, digest) = url.split_once('@').unwrap();
        let (name, _) = tagged.rsplit_once(':').unwrap();
        return format!("{name}@{digest}");
    }
    let url = text("/spec/wasm/0/code/image/url").unwrap();
    let digest = text("/spec/wasm/0/code/image/sha256").unwrap();
    let (name, _) = url.rsplit_once(':').unwrap();
    format!("{name}@sha256:{digest}")
}

/// The module in an image's layout, as Istio and Envoy Gateway take it out.
fn module_of(layout: &Path) -> Vec<u8> {
    let blob = |digest: &str| fs::read(layout.join("blobs").join(digest.replace(':', "/")));
    let index = fs::read_to_string(layout.join("index.json")).unwrap();
    let index: Value = serde_json::from_str(&index).unwrap();
    let digest = index["manifests"][0]["digest"].as_str().unwrap();
    let manifest = blob(digest).unwrap();
    pull::module(&manifest, |digest| Ok(blob(digest)?))
        .unwrap()
        .1
}

/// In a real Envoy with two workers nine in ten go to blue; each worker may be one request off.
fn decides(module: &Path, configuration: &Value) {
    let program = install::find(Wanted::Any).unwrap();
    let envoy = EnvoyHost::start(&program, module, configuration).unwrap();
    let request = ExchangeRequest::new(b"GET", b"http://shop.example.com/").unwrap();
    let mut client = envoy.client();
    let mut blue = 0;
    for _ in 0..100 {
        let result = client.exchange(&request).unwrap();
        assert_eq!(result.response.status, 200);
        let cluster = result.upstream_cluster.unwrap();
        blue += usize::from(cluster.contains("blue"));
        assert!(
            cluster.contains("blue") || cluster.contains("green"),
            "{cluster}"
        );
    }
    assert!((88..=92).contains(&blue), "{blue} of 100 to blue");
}
