//! Whose code this is built of: from the crates.io registry alone, under licences that go with
//! ours.

use cargo_metadata::{Metadata, MetadataCommand, Package};
use spdx::{Expression, LicenseReq, ParseMode};

/// What a crate may ask of us: to be named, and no more.
const LICENCES: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "MIT",
    "MIT-0",
    "NCSA",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Every package that any target and any feature of ours could bring, those of the fuzz targets
/// included.
fn packages() -> Vec<Package> {
    let of = |manifest: &str| -> Metadata {
        let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/").to_owned() + manifest;
        let mut command = MetadataCommand::new();
        command
            .manifest_path(manifest)
            .other_options(["--locked".to_owned()]);
        command.exec().unwrap()
    };
    let all = ["../Cargo.toml", "fuzz/Cargo.toml"].map(|manifest| of(manifest).packages);
    all.into_iter().flatten().collect()
}

fn is_allowed(licence: &str) -> bool {
    let known = |required: &LicenseReq| {
        let id = required.license.id();
        id.is_some_and(|id| LICENCES.contains(&id.name))
    };
    // `MIT/Apache-2.0` is how crates said it once.
    let parsed = Expression::parse_mode(licence, ParseMode::LAX);
    parsed.is_ok_and(|expression| expression.evaluate(known))
}

#[test]
fn every_dependency_has_a_licence_that_goes_with_ours() {
    let refused: Vec<_> = packages()
        .into_iter()
        .filter(|package| !package.license.as_deref().is_some_and(is_allowed))
        .map(|package| {
            format!(
                "{} {}: {:?}",
                package.name, package.version, package.license
            )
        })
        .collect();
    assert!(refused.is_empty(), "{refused:#?}");
}

#[test]
fn a_licence_that_does_not_go_with_ours_is_refused() {
    for licence in ["GPL-3.0-only", "MIT AND LGPL-3.0-only", "what you like", ""] {
        assert!(!is_allowed(licence), "{licence}");
    }
    for licence in [
        "GPL-3.0-only OR MIT",
        "MIT/Apache-2.0",
        "Apache-2.0 WITH LLVM-exception",
    ] {
        assert!(is_allowed(licence), "{licence}");
    }
}

#[test]
fn every_dependency_is_ours_or_from_the_registry() {
    for package in packages() {
        let from = package.source.as_ref().map(|source| source.is_crates_io());
        assert!(
            from.unwrap_or(true),
            "{} {}: {:?}",
            package.name,
            package.version,
            package.source
        );
    }
}
