//! Every file of `scenarios/` on every host: the simulator, the simulator with the module as it ships
//! in a second engine, and real Envoys with two workers and the same module. (All other tests have it
//! as Cargo builds it.)
//!
//! `cargo test -p pointsman-tests --test scenarios -- sticky` runs one feature. Which Envoys:
//! `ENVOY_VERSIONS=1.40.0,1.36.4`; by default [`DEFAULT_VERSIONS`].

use host_sim::envoy::{Version, Wanted, install};
use host_sim::envoy_host::EnvoyHost;
use host_sim::exchange::Host;
use host_sim::request_test::{self, File};
use host_sim::testkit::module;
use host_sim::world::{Code, World};
use libtest_mimic::{Arguments, Failed, Trial};
use std::env;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::OnceLock;

/// The Envoys that scenarios run on.
const DEFAULT_VERSIONS: &str = "1.40.0";

/// As many as the real ones have: what one worker alone could hide shows.
const WORKERS: usize = 2;

fn main() -> ExitCode {
    let versions = env::var("ENVOY_VERSIONS").unwrap_or(DEFAULT_VERSIONS.to_owned());
    let files = scenarios();
    let mut trials: Vec<_> = files
        .iter()
        .map(|path| trial(path, "host-sim", on_simulator))
        .collect();
    let in_engine = |path: &PathBuf| trial(path, "wasmi", on_second_engine);
    trials.extend(files.iter().map(in_engine));
    for text in versions
        .split(',')
        .map(str::trim)
        .filter(|text| !text.is_empty())
    {
        let Some(version) = Version::parse(text) else {
            eprintln!("ENVOY_VERSIONS: `{text}` is no version");
            return ExitCode::from(2);
        };
        let kind = format!("envoy {version}");
        trials.extend(
            files
                .iter()
                .map(|path| trial(path, &kind, move |file| on_envoy(file, version))),
        );
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn scenarios() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let entries = directory.read_dir().expect("tests/scenarios");
    let mut paths: Vec<_> = entries
        .map(|entry| entry.expect("tests/scenarios").path())
        .collect();
    paths.sort();
    paths
}

fn trial(
    path: &Path,
    kind: &str,
    run: impl FnOnce(&File) -> Result<(), Failed> + Send + 'static,
) -> Trial {
    let name = path
        .file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let path = path.to_owned();
    Trial::test(name, move || run(&File::read(&path)?)).with_kind(kind)
}

fn on_simulator(file: &File) -> Result<(), Failed> {
    let world = World::builder()
        .workers(WORKERS)
        .exchanges(&file.config)
        .environment(file.environment.clone());
    judge(file, || Ok(Box::new(world.clone().start()?)))
}

/// The bytes that ship, where addresses are not this machine's and each VM has its own memory.
fn on_second_engine(file: &File) -> Result<(), Failed> {
    static CODE: OnceLock<Result<Code, String>> = OnceLock::new();
    let read = || {
        module()
            .and_then(Code::read)
            .map_err(|error| format!("{error:#}"))
    };
    let code = CODE.get_or_init(read).clone()?;
    judge(file, || {
        let world = World::builder()
            .workers(WORKERS)
            .exchanges(&file.config)
            .environment(file.environment.clone())
            .code(code.clone());
        Ok(Box::new(world.start()?))
    })
}

fn on_envoy(file: &File, version: Version) -> Result<(), Failed> {
    let program = install::find(Wanted::Exactly(version))?;
    let envoy = EnvoyHost::start(&program, module()?, &file.config)?;
    let outcome = judge(file, || Ok(Box::new(envoy.client())));
    // A VM that traps answers 503 and is replaced; a scenario might not notice.
    let log = envoy.envoy().log();
    match log
        .lines()
        .find(|line| line.contains("[critical]") || line.contains("proxy_wasm"))
    {
        Some(line) => Err(format!(
            "{}\nin Envoy's log: {line}",
            outcome
                .err()
                .map_or_else(String::new, |failed| format!("{failed:?}"))
        )
        .into()),
        None => outcome,
    }
}

/// The name of a route that an earlier one shadows on purpose.
const SHADOWED: &str = "shadowed";

/// Every test must pass, and every route must be reached: one that is not tests nothing.
fn judge<'h>(
    file: &File,
    host: impl FnMut() -> Result<Box<dyn Host + 'h>, String>,
) -> Result<(), Failed> {
    let report = request_test::run(file, host);
    let failures = report.outcomes.iter().filter_map(|outcome| {
        Some(format!(
            "✗ {}\n{}\n",
            outcome.name,
            outcome.failure.as_ref()?
        ))
    });
    let unreached = report
        .coverage
        .unreached_routes()
        .filter(|name| *name != SHADOWED)
        .map(|name| format!("no test reached the route {name}\n"));
    let wrong: String = failures.chain(unreached).collect();
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(wrong.into())
    }
}
