//! The list of the crates in a module, in [CycloneDX](https://cyclonedx.org) 1.6: each with its
//! version, licence, checksum and the crates that it uses. It has no time and no serial number, so
//! that it is the same for the same module.

use crate::json_bytes;
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Writes the list. `crates` are the ids of those that were compiled into the module (as Cargo's
/// messages have them), `metadata` is the object of `cargo metadata`, `lock` the text of
/// `Cargo.lock`, `name` the package that the module is built from, and `sha256` the module's. Error:
/// one of the crates is not in `metadata`.
pub fn cyclonedx(
    crates: &BTreeSet<String>,
    metadata: &Value,
    lock: &str,
    name: &str,
    sha256: &str,
) -> Result<Vec<u8>> {
    let checksums = checksums(lock);
    let list = |key: &Value| key.as_array().cloned().unwrap_or_default();
    let packages = list(&metadata["packages"]);
    let find = |id: &str| packages.iter().find(|package| package["id"] == id);
    let mut components = BTreeMap::new();
    let mut references = BTreeMap::new();
    for id in crates {
        let package = find(id).with_context(|| format!("cargo metadata does not name {id}"))?;
        let text = |key: &str| package[key].as_str().unwrap_or_default().to_owned();
        let reference = format!("pkg:cargo/{}@{}", text("name"), text("version"));
        let mut component = json!({
            "type": "library",
            "bom-ref": reference,
            "name": text("name"),
            "version": text("version"),
            "purl": reference,
            "licenses": [{ "expression": expression(&text("license")) }],
        });
        if let Some(checksum) = checksums.get(&(text("name"), text("version"))) {
            component["hashes"] = json!([{ "alg": "SHA-256", "content": checksum }]);
        }
        if let Some(repository) = package["repository"].as_str() {
            component["externalReferences"] = json!([{ "type": "vcs", "url": repository }]);
        }
        references.insert(id.clone(), reference.clone());
        components.insert(reference, component);
    }
    let root = packages
        .iter()
        .find(|package| package["name"] == name && package["source"].is_null())
        .with_context(|| format!("cargo metadata does not name {name}"))?;
    let root_reference = format!("{name}.wasm");
    let mut dependencies = BTreeMap::new();
    for node in list(&metadata["resolve"]["nodes"]) {
        let Some(reference) = node["id"].as_str().and_then(|id| references.get(id)) else {
            continue;
        };
        let uses = list(&node["dependencies"]);
        let uses = uses.iter().filter_map(|id| references.get(id.as_str()?));
        let uses: BTreeSet<_> = uses.filter(|used| *used != reference).cloned().collect();
        dependencies.insert(
            reference.clone(),
            json!({ "ref": reference, "dependsOn": uses }),
        );
    }
    let top = root["id"].as_str().and_then(|id| references.get(id));
    dependencies.insert(
        root_reference.clone(),
        json!({ "ref": root_reference, "dependsOn": top.into_iter().collect::<Vec<_>>() }),
    );
    Ok(json_bytes(json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": root_reference,
                "name": root_reference,
                "version": root["version"],
                "hashes": [{ "alg": "SHA-256", "content": sha256 }],
            },
        },
        "components": components.into_values().collect::<Vec<_>>(),
        "dependencies": dependencies.into_values().collect::<Vec<_>>(),
    })))
}

/// A licence as SPDX writes it: old crates write `MIT/Apache-2.0`.
fn expression(license: &str) -> String {
    let parts: Vec<_> = license.split('/').map(str::trim).collect();
    parts.join(" OR ")
}

/// The checksums of a `Cargo.lock` by name and version. Crates of the workspace have none.
fn checksums(lock: &str) -> BTreeMap<(String, String), String> {
    let value = |block: &str, key: &str| {
        let mut lines = block.lines();
        let value = lines.find_map(|line| line.strip_prefix(&format!("{key} = \"")))?;
        Some(value.trim_end_matches('"').to_owned())
    };
    let blocks = lock.split("[[package]]").skip(1);
    let entry = |block: &str| {
        let package = (value(block, "name")?, value(block, "version")?);
        Some((package, value(block, "checksum")?))
    };
    blocks.filter_map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCK: &str = "version = 4\n
[[package]]\nname = \"used\"\nversion = \"1.0.0\"\nsource = \"r\"\nchecksum = \"ab\"\n
[[package]]\nname = \"ours\"\nversion = \"0.2.0\"\ndependencies = [\n \"used\",\n]\n";

    fn metadata() -> Value {
        let package = |name: &str, version: &str, license: &str, source: Value| {
            json!({ "id": name, "name": name, "version": version, "license": license,
                    "source": source, "repository": null })
        };
        json!({
            "packages": [
                package("ours", "0.2.0", "Apache-2.0", Value::Null),
                package("used", "1.0.0", "MIT/Apache-2.0", json!("r")),
                package("macros", "3.0.0", "MIT", json!("r")),
            ],
            "resolve": { "nodes": [
                { "id": "ours", "dependencies": ["macros", "used"] },
                { "id": "used", "dependencies": [] },
                { "id": "macros", "dependencies": [] },
            ] },
        })
    }

    #[test]
    fn what_was_compiled_is_listed_with_checksum_licence_and_what_it_uses() {
        let crates = BTreeSet::from(["ours", "used"].map(str::to_owned));
        let list = cyclonedx(&crates, &metadata(), LOCK, "ours", "cd").unwrap();
        let list: Value = serde_json::from_slice(&list).unwrap();
        assert_eq!(
            list["components"],
            json!([
                { "type": "library", "bom-ref": "pkg:cargo/ours@0.2.0", "name": "ours",
                  "version": "0.2.0", "purl": "pkg:cargo/ours@0.2.0",
                  "licenses": [{ "expression": "Apache-2.0" }] },
                { "type": "library", "bom-ref": "pkg:cargo/used@1.0.0", "name": "used",
                  "version": "1.0.0", "purl": "pkg:cargo/used@1.0.0",
                  "licenses": [{ "expression": "MIT OR Apache-2.0" }],
                  "hashes": [{ "alg": "SHA-256", "content": "ab" }] },
            ])
        );
        assert_eq!(
            list["dependencies"],
            json!([
                { "ref": "ours.wasm", "dependsOn": ["pkg:cargo/ours@0.2.0"] },
                { "ref": "pkg:cargo/ours@0.2.0", "dependsOn": ["pkg:cargo/used@1.0.0"] },
                { "ref": "pkg:cargo/used@1.0.0", "dependsOn": [] },
            ])
        );
        assert_eq!(list["metadata"]["component"]["hashes"][0]["content"], "cd");
    }

    #[test]
    fn a_crate_that_cargo_does_not_know_is_an_error() {
        let crates = BTreeSet::from(["other".to_owned()]);
        assert!(cyclonedx(&crates, &metadata(), LOCK, "ours", "cd").is_err());
    }
}
