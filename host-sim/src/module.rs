//! Builds the filter's module `pointsman.wasm` and the programs beside it, and finds what they are
//! built from.

use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::collections::BTreeSet;
use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The target that the module is compiled for.
const TARGET: &str = "wasm32-wasip1";

/// The root of the repository, or of an unpacked release: the nearest one above the current
/// directory, or above this program, or else the one that this program was built from. An error says
/// that none exists.
pub fn repository() -> Result<PathBuf> {
    let is_ours = |directory: &&Path| directory.join("envoy-config/envoy.yaml").is_file();
    let here = env::current_dir().context("the current directory")?;
    let program = env::current_exe().unwrap_or_default();
    let built_from = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    match here
        .ancestors()
        .chain(program.ancestors())
        .chain(built_from)
        .find(is_ours)
    {
        Some(root) => Ok(root.to_owned()),
        None => bail!(
            "{} is not inside Pointsman's repository, nor an unpacked release: run this there",
            here.display()
        ),
    }
}

/// Whether a root is that of the repository, where the module can be built.
pub fn is_source(root: &Path) -> bool {
    root.join("filter/Cargo.toml").is_file()
}

/// The directory into which Cargo builds, and into which we install Envoy.
pub fn target_directory() -> Result<PathBuf> {
    match env::var_os("CARGO_TARGET_DIR") {
        Some(directory) => Ok(env::current_dir()?.join(directory)),
        None => Ok(repository()?.join("target")),
    }
}

/// A module, and what is in it.
#[derive(Clone, Debug)]
pub struct Built {
    /// The `.wasm` file.
    pub path: PathBuf,
    /// The crates that were compiled for it, by the ids that Cargo gives them.
    pub crates: BTreeSet<String>,
    /// What `cargo metadata` says of the workspace.
    pub metadata: Value,
}

/// Builds the filter's module if that is needed, and returns its path. Cargo's progress goes to
/// stderr.
pub fn build() -> Result<PathBuf> {
    build_package("pointsman")
}

/// Builds another package of the workspace as a module, as [`build`] does.
pub fn build_package(package: &str) -> Result<PathBuf> {
    Ok(build_with_crates(package)?.path)
}

/// Builds a package of the workspace as a module, and says what is in it. The module is the same
/// wherever the repository, Cargo's home and the toolchain are.
pub fn build_with_crates(package: &str) -> Result<Built> {
    let root = repository()?;
    if !is_source(&root) {
        bail!("{} has no source to build", root.display());
    }
    ensure_target(&root)?;
    let metadata = metadata(&root)?;
    let arguments = ["build", "--release", "--target", TARGET, "-p", package];
    let output = cargo()
        .args(arguments)
        .args(["--config", &without_paths(&root, &metadata)?])
        .arg("--message-format=json-render-diagnostics")
        .current_dir(&root)
        // They would take the place of those of `.cargo/config.toml`.
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
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
    let path = artifact(package, &output.stdout)
        .with_context(|| format!("cargo built the package `{package}`, but no .wasm file"))?;
    Ok(Built {
        path,
        crates: crates(&output.stdout),
        metadata,
    })
}

/// Builds a program of the workspace for this machine, as this program was built, and returns its
/// path. Cargo's progress goes to stderr.
pub fn build_program(package: &str) -> Result<PathBuf> {
    let root = repository()?;
    if !is_source(&root) {
        bail!("{} has no source to build", root.display());
    }
    let mut command = cargo();
    command.args([
        "build",
        "-p",
        package,
        "--message-format=json-render-diagnostics",
    ]);
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    let output = command
        .current_dir(&root)
        .stderr(Stdio::inherit())
        .output()
        .context("cargo did not start")?;
    if !output.status.success() {
        bail!("in {}: cargo build -p {package} failed", root.display());
    }
    artifacts(&output.stdout)
        .filter(|message| message["target"]["name"] == package)
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .with_context(|| format!("cargo built the package `{package}`, but no program"))
}

fn cargo() -> Command {
    Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// What Cargo says of the workspace and of all that it depends on.
fn metadata(root: &Path) -> Result<Value> {
    let output = cargo()
        .args([
            "metadata",
            "--format-version=1",
            "--filter-platform",
            TARGET,
        ])
        .current_dir(root)
        .stderr(Stdio::inherit())
        .output()
        .context("cargo did not start")?;
    if !output.status.success() {
        bail!("in {}: cargo metadata failed", root.display());
    }
    serde_json::from_slice(&output.stdout).context("what cargo metadata says")
}

/// An option of Cargo's with which no path of this machine gets into a module: a panic's message
/// names the file that it comes from. Dependencies are below Cargo's home, and the standard library
/// below the toolchain's, where its source is installed.
fn without_paths(root: &Path, metadata: &Value) -> Result<String> {
    let mut prefixes = vec![(root.to_owned(), "pointsman".to_owned())];
    let packages = metadata["packages"].as_array().into_iter().flatten();
    for package in packages.filter(|package| !package["source"].is_null()) {
        let manifest = package["manifest_path"].as_str().unwrap_or_default();
        // The manifest's directory is the package's; above it are the packages of its registry.
        let registry = Path::new(manifest).parent().and_then(Path::parent);
        prefixes.extend(registry.map(|path| (path.to_owned(), "crates".to_owned())));
    }
    let about_rustc = |arguments: &[&str]| -> Result<String> {
        let output = Command::new("rustc")
            .args(arguments)
            .current_dir(root)
            .output()
            .context("rustc did not start")?;
        Ok(String::from_utf8(output.stdout)?)
    };
    let version = about_rustc(&["-vV"])?;
    let commit = version
        .lines()
        .find_map(|line| line.strip_prefix("commit-hash: "));
    let sysroot = about_rustc(&["--print", "sysroot"])?;
    prefixes.push((
        Path::new(sysroot.trim()).join("lib/rustlib/src/rust"),
        format!("/rustc/{}", commit.unwrap_or_default()),
    ));
    prefixes.sort();
    prefixes.dedup();
    let flags = prefixes
        .iter()
        .map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display()));
    // A list of strings in JSON is one in TOML.
    let flags = Value::from(flags.collect::<Vec<_>>());
    Ok(format!("target.{TARGET}.rustflags={flags}"))
}

/// Cargo's messages about what it has compiled.
fn artifacts(messages: &[u8]) -> impl Iterator<Item = Value> {
    messages
        .split(|byte| *byte == b'\n')
        .filter_map(|line| serde_json::from_slice::<Value>(line).ok())
        .filter(|message| message["reason"] == "compiler-artifact")
}

/// The ids of the crates that were compiled for the target: not those of macros and of build
/// scripts, which run on this machine.
fn crates(messages: &[u8]) -> BTreeSet<String> {
    let for_target = |message: &Value| {
        let files = message["filenames"].as_array().into_iter().flatten();
        files
            .filter_map(Value::as_str)
            .any(|file| Path::new(file).iter().any(|part| part == TARGET))
    };
    artifacts(messages)
        .filter(for_target)
        .filter_map(|message| message["package_id"].as_str().map(str::to_owned))
        .collect()
}

/// Finds the package's .wasm file in Cargo's messages. (A library has the name of its package, with
/// `_` for `-`.)
fn artifact(package: &str, messages: &[u8]) -> Option<PathBuf> {
    let library = package.replace('-', "_");
    artifacts(messages)
        .filter(|message| message["target"]["name"] == library)
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
