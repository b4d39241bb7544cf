//! `host-sim init`: a configuration to begin with, its tests, and a job that runs them.

use super::Outcome;
use anyhow::{Context, Result, bail};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Writes a commented configuration, its tests and a CI job, which are good as they are.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Where to; it is made if it is not there. No file in it is overwritten.
    #[arg(default_value = ".")]
    directory: PathBuf,
}

/// The files, with what they hold.
const FILES: [(&str, &str); 3] = [
    ("shop.yaml", include_str!("init/shop.yaml")),
    ("shop_test.yaml", include_str!("init/shop_test.yaml")),
    (
        ".github/workflows/pointsman.yml",
        include_str!("init/pointsman.yml"),
    ),
];

/// Writes all files, or none if one of them is there.
pub(crate) fn run(arguments: &Arguments) -> Result<Outcome> {
    write(&arguments.directory)?;
    let mut out = io::stdout().lock();
    for (name, _) in FILES {
        writeln!(out, "{}", arguments.directory.join(name).display())?;
    }
    let file = |name: &str| arguments.directory.join(name).display().to_string();
    let (config, tests) = (file(FILES[0].0), file(FILES[1].0));
    writeln!(out, "\nhost-sim check {config} && host-sim test {tests}")?;
    Ok(Outcome::Good)
}

fn write(directory: &Path) -> Result<()> {
    if directory.is_file() {
        bail!(
            "{} is a file; expected a directory, or a name for a new one",
            directory.display()
        );
    }
    let there = FILES.iter().map(|(name, _)| directory.join(name));
    let there: Vec<_> = there
        .filter(|path| path.symlink_metadata().is_ok())
        .collect();
    if let Some(path) = there.first() {
        bail!(
            "{} is there already, and nothing was written",
            path.display()
        );
    }
    for (name, text) in FILES {
        let path = directory.join(name);
        let told = || path.display().to_string();
        let above = path.parent().unwrap_or(directory);
        fs::create_dir_all(above).with_context(told)?;
        // What has come into being since then is not overwritten either.
        let mut file = fs::File::create_new(&path).with_context(told)?;
        file.write_all(text.as_bytes()).with_context(told)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use host_sim::exchange::Host;
    use host_sim::request_test::{self, File};
    use host_sim::world::World;
    use host_sim::{check, configuration};
    use pointsman_core::config::Config;

    #[test]
    fn what_is_written_is_good_and_its_tests_pass() {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path().join("new");
        write(&directory).unwrap();
        let tree = configuration::read(&directory.join("shop.yaml")).unwrap();
        let config = Config::from_value(&tree).unwrap();
        let warnings = check::warnings(&tree, &config);
        assert!(warnings.is_empty(), "{warnings:?}");
        let file = File::read(&directory.join("shop_test.yaml")).unwrap();
        let report = request_test::run(&file, || {
            let world = World::builder().exchanges(&file.config).start();
            let world = world.map_err(|error| error.to_string())?;
            Ok(Box::new(world) as Box<dyn Host>)
        });
        for outcome in &report.outcomes {
            assert_eq!(outcome.failure, None, "{}", outcome.name);
        }
        let job = fs::read_to_string(directory.join(FILES[2].0)).unwrap();
        let job = configuration::parse(&job).unwrap();
        assert!(configuration::to_json(&job)["jobs"]["routes"]["steps"].is_array());
    }

    #[test]
    fn nothing_is_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let mine = directory.path().join("shop_test.yaml");
        fs::write(&mine, "mine").unwrap();
        assert!(write(directory.path()).is_err());
        assert_eq!(fs::read_to_string(mine).unwrap(), "mine");
        assert!(!directory.path().join("shop.yaml").exists());
    }
}
