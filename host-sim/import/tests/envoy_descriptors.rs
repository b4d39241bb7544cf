//! Envoy's descriptors are those of the .proto files that the crate `envoy-types` ships.
//!
//! After an update of that crate `WRITE=1 cargo test -p pointsman-import --test envoy_descriptors`
//! writes them anew.

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use protox::file::{File, FileResolver, GoogleFileResolver};
use serde_json::Value;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

const FILE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/src/envoy/descriptors.binpb.gz"
);

/// The folders that imports start from, within the crate's `proto`.
const ROOTS: [&str; 7] = [
    "data-plane-api",
    "xds",
    "googleapis",
    "protoc-gen-validate",
    "cel-spec/proto",
    "client_model",
    "opentelemetry-proto",
];
/// Those whose files are all read; of the others what they import.
const READ: [&str; 2] = ["data-plane-api", "xds"];

/// Names that are looked for from the inside out, and what they mean. The compiler takes every file
/// that it has read for an imported one, and finds `envoy.extensions.clusters.common` first.
const RELATIVE: [(&str, &str); 6] = [
    ("common.tap.", ".envoy.extensions.common.tap."),
    ("config.", ".envoy.config."),
    (
        "common.async_files.",
        ".envoy.extensions.common.async_files.",
    ),
    ("common.aws.", ".envoy.extensions.common.aws."),
    (
        "common.dynamic_forward_proxy.",
        ".envoy.extensions.common.dynamic_forward_proxy.",
    ),
    ("common.ratelimit.", ".envoy.extensions.common.ratelimit."),
];

/// Where Cargo keeps the crate.
fn protos() -> PathBuf {
    let metadata = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let why = String::from_utf8_lossy(&metadata.stderr);
    assert!(metadata.status.success(), "cargo metadata: {why}");
    let metadata: Value = serde_json::from_slice(&metadata.stdout).unwrap();
    let mut packages = metadata["packages"].as_array().unwrap().iter();
    let package = packages.find(|package| package["name"] == "envoy-types");
    let manifest = package.unwrap()["manifest_path"].as_str().unwrap();
    Path::new(manifest).with_file_name("proto")
}

fn proto_files(under: &Path, files: &mut Vec<PathBuf>) {
    for entry in under.read_dir().unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            proto_files(&path, files);
        } else if path.extension().is_some_and(|it| it == "proto") {
            files.push(path);
        }
    }
}

/// As imports name a file.
fn name_of(protos: &Path, file: &Path) -> String {
    let mut roots = ROOTS.iter().map(|root| protos.join(root));
    let name = roots.find_map(|root| file.strip_prefix(root).ok());
    name.unwrap().to_str().unwrap().to_owned()
}

/// The files of the crate.
struct Protos(PathBuf);

impl FileResolver for Protos {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        if name.starts_with("google/protobuf/") {
            return GoogleFileResolver::new().open_file(name);
        }
        let mut files = ROOTS.iter().map(|root| self.0.join(root).join(name));
        let Some(file) = files.find(|file| file.exists()) else {
            return Err(protox::Error::file_not_found(name));
        };
        let mut text = std::fs::read_to_string(file).unwrap();
        let relative = RELATIVE
            .iter()
            .filter(|_| name.starts_with("envoy/extensions/"));
        for (relative, absolute) in relative {
            text = text.replace(&format!(" {relative}"), &format!(" {absolute}"));
        }
        File::from_source(name, &text)
    }
}

#[test]
fn descriptors_are_those_of_the_proto_files() {
    let protos = protos();
    let mut files = Vec::new();
    for root in READ {
        proto_files(&protos.join(root), &mut files);
    }
    // Descriptors are in the order in which files are opened.
    files.sort();
    let mut compiler = protox::Compiler::with_file_resolver(Protos(protos.clone()));
    let names = files.iter().map(|file| name_of(&protos, file));
    compiler.include_imports(true).open_files(names).unwrap();
    let expected = compiler.encode_file_descriptor_set();
    if std::env::var_os("WRITE").is_some() {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(&expected).unwrap();
        std::fs::write(FILE, encoder.finish().unwrap()).unwrap();
    }
    let mut stored = Vec::new();
    let file = std::fs::File::open(FILE).unwrap();
    GzDecoder::new(file).read_to_end(&mut stored).unwrap();
    assert!(
        stored == expected,
        "{FILE} is another: write it with WRITE=1"
    );
}
