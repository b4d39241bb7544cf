//! An Envoy under `valgrind --tool=callgrind`, and how many instructions its worker executes. The
//! count does not depend on what else the machine does.

use crate::clock::{Clock, ClockLibrary};
use crate::envoy::{Deployment, Envoy, Program};
use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;
use tempfile::TempDir;

/// What the callgrind files of a process start with.
const OUT: &str = "callgrind.out";
/// What the worker still does after the client has its answer: an access log, the end of a filter.
const SETTLE: Duration = Duration::from_millis(50);

/// An error says how to get Valgrind.
pub(super) fn find() -> Result<()> {
    for program in ["valgrind", "vgdb"] {
        match Command::new(program).arg("--help").output() {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {
                bail!("`{program}` is missing; on Debian and Ubuntu: apt-get install valgrind")
            }
            Err(error) => return Err(error).with_context(|| format!("`{program}` did not start")),
        }
    }
    Ok(())
}

/// An Envoy that is profiled.
pub(super) struct ProfiledEnvoy {
    pub(super) envoy: Envoy,
    pub(super) clock: Clock,
    /// Of Valgrind's pipes and files.
    directory: TempDir,
}

impl ProfiledEnvoy {
    /// Starts it. Nothing is counted yet, and its clock is the machine's.
    pub(super) fn start(
        program: &Program,
        library: &ClockLibrary,
        deployment: Deployment,
    ) -> Result<ProfiledEnvoy> {
        let directory = tempfile::Builder::new()
            .prefix("pointsman-callgrind-")
            .tempdir()?;
        let clock = Clock::start(directory.path(), library)?;
        let place = |name: &str| directory.path().join(name).display().to_string();
        let mut runner = vec!["env".to_owned()];
        runner.extend(clock.environment());
        runner.extend([
            "valgrind".to_owned(),
            "--tool=callgrind".to_owned(),
            "--instr-atstart=no".to_owned(),
            "--separate-threads=yes".to_owned(),
            "--combine-dumps=no".to_owned(),
            format!("--callgrind-out-file={}", place(OUT)),
            format!("--vgdb-prefix={}", place("vgdb")),
        ]);
        let envoy = Envoy::start(program, deployment.under(runner))?;
        Ok(ProfiledEnvoy {
            envoy,
            clock,
            directory,
        })
    }

    /// From now on instructions are counted, and time stands still but for what a measurement says.
    pub(super) fn count(&mut self) -> Result<()> {
        self.clock.hold()?;
        self.tell(&["instrumentation", "on"])
    }

    /// The instructions that the busiest thread executes while `work` is done.
    pub(super) fn instructions(
        &mut self,
        work: impl FnOnce(&mut ProfiledEnvoy) -> Result<()>,
    ) -> Result<u64> {
        sleep(SETTLE);
        self.tell(&["zero"])?;
        work(self)?;
        sleep(SETTLE);
        self.tell(&["dump"])?;
        let mut most = None;
        for file in dumps(self.directory.path())? {
            let dump = fs::read_to_string(&file)?;
            fs::remove_file(&file)?;
            most = most.max(total(&dump));
        }
        most.context("callgrind dumped no total")
    }

    /// A command of callgrind's monitor.
    fn tell(&self, command: &[&str]) -> Result<()> {
        let prefix = self.directory.path().join("vgdb");
        let output = Command::new("vgdb")
            .arg(format!("--vgdb-prefix={}", prefix.display()))
            .arg(format!("--pid={}", self.envoy.process_id()))
            .args(command)
            .output()
            .context("`vgdb` did not start")?;
        ensure!(
            output.status.success(),
            "vgdb {command:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    }
}

/// The files of the last dump, one for each thread: those of the one before are gone.
fn dumps(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut dumps = Vec::new();
    for entry in directory.read_dir()? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        // `callgrind.out.3-07`: the dump and the thread.
        if name.starts_with(OUT) && name != OUT {
            dumps.push(path);
        }
    }
    Ok(dumps)
}

/// `totals: 167500`
fn total(dump: &str) -> Option<u64> {
    let line = dump.lines().find_map(|line| line.strip_prefix("totals:"))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dump_says_its_total() {
        assert_eq!(
            total("thread: 7\nevents: Ir\n\ntotals: 167500\n"),
            Some(167_500)
        );
        assert_eq!(total("thread: 7\n"), None);
    }
}
