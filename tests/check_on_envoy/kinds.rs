//! No kind of warning about a proxy's file is without a test on an Envoy.

use host_sim::check::KINDS;
use std::fs;
use std::path::{Path, PathBuf};

/// What is said of resources and shown by no Envoy, because it is a control plane that does it.
const OF_CONTROL_PLANES: [(&str, &str); 8] = [
    ("module_digest", "it loads the module, or does not"),
    ("moving_tag", "it loads the module again, or does not"),
    ("no_priority", "it orders the filters"),
    ("no_reload", "it writes the failure policy"),
    ("not_http", "it makes a filter of connections of it"),
    ("routes_elsewhere", "the routes are in other files"),
    (
        "unknown_field",
        "it drops the field, or refuses the resource",
    ),
    ("unknown_kind", "it has no such kind"),
];

/// The sources of what is said of a proxy's file, but not of the configuration within it.
const SOURCES: [&str; 4] = [
    "manifest.rs",
    "meetings.rs",
    "proxy_file.rs",
    "variables.rs",
];

#[test]
fn each_kind_that_speaks_of_a_proxys_file_is_shown_on_an_envoy() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let check = tests.join("../host-sim/src/check");
    let mut files: Vec<_> = SOURCES.iter().map(|file| check.join(file)).collect();
    for folder in ["manifest", "proxy_file"] {
        files.extend(files_of(&check.join(folder)));
    }
    let sources = text_of(files.iter().filter(|file| !file.ends_with("tests.rs")));
    let shown = ["check_on_envoy", "places"].map(|folder| files_of(&tests.join(folder)));
    let shown = text_of(
        shown
            .iter()
            .flatten()
            .filter(|file| !file.ends_with("kinds.rs")),
    );
    // Who reads YAML otherwise than Envoy, and how, `envoy_config` shows.
    let is_told = |kind: &str| sources.contains(&format!("\"{kind}\""));
    let is_shown = |kind: &str| shown.contains(&format!("\"{kind}\""));
    let mut count = 0;
    for kind in KINDS.iter().filter(|kind| is_told(kind)) {
        let elsewhere = OF_CONTROL_PLANES.iter().any(|(other, _)| other == kind);
        assert!(is_shown(kind) != elsewhere, "{kind}");
        count += 1;
    }
    assert!(count > 30, "{count}");
    let is_known = |(kind, _): &(&str, &str)| is_told(kind);
    assert!(OF_CONTROL_PLANES.iter().all(is_known));
}

fn files_of(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.filter(|path| path.is_file()).collect()
}

fn text_of<'p>(files: impl Iterator<Item = &'p PathBuf>) -> String {
    files
        .map(|file| fs::read_to_string(file).unwrap())
        .collect()
}
