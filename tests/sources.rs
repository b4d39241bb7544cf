//! The sources and pages of this repository, for tests that read them.

use std::fs;
use std::path::{Path, PathBuf};

/// A page's words, with a blank between each two however its lines are broken.
pub fn words(page: &str) -> String {
    page.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// All Rust files below a directory, in order.
///
/// # Panics
/// Where it cannot be read.
pub fn rust_files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}
