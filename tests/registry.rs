//! The package goes through a real registry (Debian's `docker-registry`) by a real client
//! (`skopeo`), is read as Istio's agent and Envoy Gateway read it, and what they get runs in a real
//! Envoy.

use host_sim::client::{Client, header};
use host_sim::envoy::{Wanted, install};
use host_sim::envoy_host::EnvoyHost;
use host_sim::exchange::{ExchangeRequest, Host};
use host_sim::package::{self, IMAGE, MODULE, Origin, Package};
use host_sim::testkit::registry::{Registry, skopeo};
use pointsman_release::image::MANIFEST;
use pointsman_release::pull::{self, Variant};
use pointsman_release::sha256;
use serde_json::json;
use std::fs;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

/// The image's name in the registry.
const NAME: &str = "mesh/pointsman";

/// What the registry has at a path below `/v2/`, with its header `docker-content-digest`.
fn get(registry: &Registry, path: &str, accept: &str) -> (String, Vec<u8>) {
    let mut client = Client::new(registry.address()).unwrap();
    let path = format!("/v2/{path}");
    let response = client.get_with("registry", &path, &[("accept", accept)]);
    let response = response.unwrap();
    assert!(response.status().is_success(), "{path}: {response:?}");
    let digest = header(&response, "docker-content-digest").to_owned();
    (digest, response.body().to_vec())
}

/// A package in a directory of its own.
fn packaged() -> (TempDir, Package) {
    let directory = tempfile::tempdir().unwrap();
    let package = package::write(directory.path(), &Origin::default()).unwrap();
    (directory, package)
}

#[test]
fn what_is_pushed_is_pulled_with_the_printed_digests_and_runs() {
    let (directory, package) = packaged();
    let registry = Registry::start().unwrap();
    let version = &package.version;
    let layout = format!("oci:{}:{version}", directory.path().join(IMAGE).display());
    let remote = format!("docker://{}/{NAME}:{version}", registry.address());
    let options = ["copy", "--preserve-digests", "--dest-tls-verify=false"];
    skopeo(&[&options[..], &[&layout, &remote]].concat()).unwrap();

    // As an `oci://` URL names it: by its tag, and by the digest that was printed.
    for reference in [version, &package.image_digest] {
        let path = format!("{NAME}/manifests/{reference}");
        let (digest, manifest) = get(&registry, &path, MANIFEST);
        assert_eq!(digest, package.image_digest, "the registry's own words");
        assert_eq!(format!("sha256:{}", sha256(&manifest)), digest);
        let blob = |digest: &str| {
            let blob = get(&registry, &format!("{NAME}/blobs/{digest}"), "*/*");
            Ok(blob.1)
        };
        let (variant, module) = pull::module(&manifest, blob).unwrap();
        assert_eq!(variant, Variant::Compat);
        let shipped = &package.files[0];
        assert_eq!(
            (shipped.path.as_str(), shipped.size),
            (MODULE, module.len())
        );
        assert_eq!(
            sha256(&module),
            shipped.sha256,
            "what an https:// URL asks for"
        );
        if reference == version {
            runs(&module);
        }
    }

    // Back out of the registry: the same image.
    let back = directory.path().join("back");
    let local = format!("oci:{}:{version}", back.display());
    skopeo(&[
        "copy",
        "--preserve-digests",
        "--src-tls-verify=false",
        &remote,
        &local,
    ])
    .unwrap();
    let index = fs::read_to_string(back.join("index.json")).unwrap();
    assert!(index.contains(&package.image_digest), "{index}");
}

/// The module answers a request in an Envoy.
fn runs(module: &[u8]) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("pulled.wasm");
    fs::write(&path, module).unwrap();
    let configuration = json!({
        "pools": { "web": { "targets": [{ "cluster": "blue" }] } },
        "routes": [{ "name": "all", "pool": "web" }],
    });
    let program = install::find(Wanted::Any).unwrap();
    let envoy = EnvoyHost::start(&program, &path, &configuration).unwrap();
    let request = ExchangeRequest::new(b"GET", b"http://shop.example.com/cart").unwrap();
    let result = envoy.client().exchange(&request).unwrap();
    assert_eq!(result.response.status, 200);
    assert_eq!(result.upstream_cluster.as_deref(), Some("blue"));
}

/// Each line of the checksums is that of a file, every file has a line, and what was there before
/// is gone.
#[test]
fn the_checksums_are_those_of_all_that_is_there() {
    let (directory, package) = packaged();
    let stale = directory.path().join(IMAGE).join("blobs/sha256/00");
    fs::write(&stale, "an older layer").unwrap();
    let again = package::write(directory.path(), &Origin::default()).unwrap();
    assert!(!stale.exists());
    assert_eq!(again.image_digest, package.image_digest);

    let checked = Command::new("sha256sum")
        .args(["--check", "--strict", "--quiet", package::CHECKSUMS])
        .current_dir(directory.path())
        .output()
        .unwrap();
    assert!(checked.status.success(), "{checked:?}");
    let sums = fs::read_to_string(directory.path().join(package::CHECKSUMS)).unwrap();
    let mut named: Vec<_> = sums.lines().map(|line| line[66..].to_owned()).collect();
    named.push(package::CHECKSUMS.to_owned());
    named.sort();
    let mut present = Vec::new();
    collect(directory.path(), "", &mut present);
    present.sort();
    assert_eq!(present, named);
}

/// The archive has all that the page in it says, and its files name the module where it is there.
/// (The release workflow runs its program.)
#[test]
fn the_archive_is_whole() {
    let (directory, package) = packaged();
    let program = directory.path().join("program");
    fs::write(&program, "#!/bin/sh\necho runs\n").unwrap();
    let path = package::archive(&package, &program).unwrap();
    let unpacked = directory.path().join("unpacked");
    fs::create_dir(&unpacked).unwrap();
    let run = |program: &str, arguments: &[&str], at: &Path| {
        let mut command = Command::new(program);
        let output = command.args(arguments).current_dir(at).output().unwrap();
        assert!(
            output.status.success(),
            "{program} {arguments:?}: {output:?}"
        );
        String::from_utf8(output.stdout).unwrap()
    };
    let archive = path.display().to_string();
    run(
        "tar",
        &["--extract", "--gzip", "--file", &archive],
        &unpacked,
    );
    let mut entries = fs::read_dir(&unpacked).unwrap();
    let root = entries.next().unwrap().unwrap().path();
    assert!(entries.next().is_none(), "one directory");
    run(
        "sha256sum",
        &["--check", "--strict", "--quiet", package::CHECKSUMS],
        &root,
    );
    assert_eq!(run("./host-sim", &[], &root), "runs\n");
    let module = fs::read(root.join(MODULE)).unwrap();
    assert_eq!(sha256(&module), package.files[0].sha256);
    let page = fs::read_to_string(root.join("README.md")).unwrap();
    let words = page.split(|c: char| c.is_whitespace() || c == '`');
    let mut named = 0;
    for word in words.filter(|word| {
        ["examples/", "envoy-config/"]
            .iter()
            .any(|folder| word.starts_with(folder))
    }) {
        named += 1;
        assert!(root.join(word).exists(), "{word}");
    }
    assert!(named > 3);
    let envoy = fs::read_to_string(root.join("envoy-config/envoy.yaml")).unwrap();
    assert!(envoy.contains("filename: pointsman.wasm"), "{envoy}");
}

/// The origin is said in the image, and only there.
#[test]
fn another_origin_is_another_image_of_the_same_module() {
    let (directory, package) = packaged();
    let origin = Origin {
        source: Some("https://example.com/pointsman".to_owned()),
        revision: Some("0123abc".to_owned()),
    };
    let of_commit = package::write(directory.path(), &origin).unwrap();
    assert_ne!(of_commit.image_digest, package.image_digest);
    assert_eq!(of_commit.files[0].sha256, package.files[0].sha256);
    let digest = of_commit.image_digest.replace(':', "/");
    let manifest = directory.path().join(IMAGE).join("blobs").join(digest);
    let manifest = fs::read_to_string(manifest).unwrap();
    assert!(manifest.contains(r#""org.opencontainers.image.revision":"0123abc""#));
}

/// No path of this machine is in the module: not the repository's, not Cargo's home, not the
/// toolchain's. `.ci/reproducible` builds it elsewhere and compares.
#[test]
fn no_path_of_this_machine_is_in_the_module() {
    let (directory, package) = packaged();
    let module = fs::read(directory.path().join(MODULE)).unwrap();
    let sbom = fs::read_to_string(directory.path().join(package::SBOM)).unwrap();
    assert!(package.crates > 10 && sbom.contains("pkg:cargo/proxy-wasm@"));
    let root = host_sim::module::repository().unwrap();
    let home = std::env::var_os("HOME").expect("a home");
    // Of Cargo's home and the toolchain's; `/root` alone is part of paths in the module.
    let home = Path::new(&home);
    for path in [root, home.join(".cargo"), home.join(".rustup")] {
        let path = path.as_os_str().as_encoded_bytes();
        assert!(path.len() > 1);
        let within = |bytes: &[u8]| bytes.windows(path.len()).any(|window| window == path);
        assert!(!within(&module), "{}", String::from_utf8_lossy(path));
        assert!(!within(sbom.as_bytes()));
    }
}

fn collect(directory: &Path, prefix: &str, found: &mut Vec<String>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let name = match prefix {
            "" => name,
            prefix => format!("{prefix}/{name}"),
        };
        match path.is_dir() {
            true => collect(&path, &name, found),
            false => found.push(name),
        }
    }
}
