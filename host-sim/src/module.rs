//! Builds the filter's module `pointsman.wasm`, and finds what it is built from.

use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The target that the module is compiled for.
const TARGET: &str = "wasm32-wasip1";

/// The root of the repository: the nearest one above the current directory, or else the one that
/// this program was built from. An error says that neither exists.
pub fn repository() -> Result<PathBuf> {
    let is_ours = |directory: &&Path| directory.join("filter/Cargo.toml").is_file();
    let here = env::current_dir().context("the current directory")?;
    let built_from = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    match here
        .ancestors()
        .find(is_ours)
        .or(built_from.filter(is_ours))
    {
        Some(root) => Ok(root.to_owned()),
        None => bail!(
            "{} is not inside Pointsman's repository: run this there",
            here.display()
        ),
    }
}

/// The directory into which Cargo builds, and into which we install Envoy.
pub fn target_directory() -> Result<PathBuf> {
    match env::var_os("CARGO_TARGET_DIR") {
        Some(directory) => Ok(env::current_dir()?.join(directory)),
        None => Ok(repository()?.join("target")),
    }
}

/// Builds the filter's module if that is needed, and returns its path. Cargo's progress goes to
/// stderr.
pub fn build() -> Result<PathBuf> {
    build_package("pointsman")
}

/// Builds another package of the workspace as a module, as [`build`] does.
pub fn build_package(package: &str) -> Result<PathBuf> {
    let root = repository()?;
    ensure_target(&root)?;
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let arguments = ["build", "--release", "--target", TARGET, "-p", package];
    let output = Command::new(cargo)
        .args(arguments)
        .arg("--message-format=json-render-diagnostics")
        .current_dir(&root)
        .stderr(Stdio::inherit())
        .output()
        .context("cargo did not start")?;
    if !output.status.success() {
        bail!(
            "the module did not build; in {}: cargo {}",
            root.display(),
            arguments.join(" ")
        );
    }
    artifact(package, &output.stdout)
        .with_context(|| format!("cargo built the package `{package}`, but no .wasm file"))
}

/// Finds the package's .wasm file in Cargo's messages. (A library has the name of its package, with
/// `_` for `-`.)
fn artifact(package: &str, messages: &[u8]) -> Option<PathBuf> {
    let library = package.replace('-', "_");
    messages
        .split(|byte| *byte == b'\n')
        .filter_map(|line| serde_json::from_slice::<Value>(line).ok())
        .filter(|message| {
            message["reason"] == "compiler-artifact" && message["target"]["name"] == library
        })
        .filter_map(|message| message["filenames"].as_array().cloned())
        .flatten()
        .filter_map(|name| name.as_str().map(PathBuf::from))
        .find(|name| {
            name.extension()
                .is_some_and(|extension| extension == "wasm")
        })
}

/// Installs the compilation target if the toolchain lacks it.
fn ensure_target(root: &Path) -> Result<()> {
    if has_target(root)? {
        return Ok(());
    }
    eprintln!("installing the compilation target: rustup target add {TARGET}");
    let added = Command::new("rustup")
        .args(["target", "add", TARGET])
        .current_dir(root)
        .status();
    if !added.is_ok_and(|status| status.success()) || !has_target(root)? {
        bail!(
            "Rust's target {TARGET} is missing and could not be installed; run: rustup target add {TARGET}"
        );
    }
    Ok(())
}

/// Whether the toolchain has the compilation target. The compiler says so, because not every
/// toolchain comes from rustup.
fn has_target(root: &Path) -> Result<bool> {
    let output = Command::new("rustc")
        .args(["--print", "target-libdir", "--target", TARGET])
        .current_dir(root)
        .output()
        .context("rustc did not start")?;
    Ok(output.status.success()
        && Path::new(String::from_utf8_lossy(&output.stdout).trim()).is_dir())
}
