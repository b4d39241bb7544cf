//! The time that an Envoy sees under a profiler. It goes on by so much with each request, so that a
//! run is the picture of a proxy at full load and repeats itself, however slow the machine is.

use anyhow::{Context, Result, bail};
use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// What is preloaded into Envoy.
const SOURCE: &str = include_str!("clock.c");
/// Where the two numbers stand in the file.
const NANOSECONDS: u64 = 0;
const HELD: u64 = 8;

/// The library to preload.
#[derive(Clone, Debug)]
pub(super) struct ClockLibrary(PathBuf);

impl ClockLibrary {
    /// Compiles it. An error says how to get a compiler.
    pub(super) fn build(directory: &Path) -> Result<ClockLibrary> {
        let (source, library) = (directory.join("clock.c"), directory.join("clock.so"));
        fs::write(&source, SOURCE)?;
        let compiler = Command::new("cc")
            .args(["-O2", "-Wall", "-shared", "-fPIC", "-o"])
            .arg(&library)
            .arg(&source)
            .output();
        match compiler {
            Ok(output) if output.status.success() => Ok(ClockLibrary(library)),
            Ok(output) => bail!(
                "cc did not compile the clock:\n{}",
                String::from_utf8_lossy(&output.stderr)
            ),
            Err(error) if error.kind() == ErrorKind::NotFound => bail!(
                "the C compiler `cc` is missing; on Debian and Ubuntu: apt-get install gcc libc6-dev"
            ),
            Err(error) => Err(error).context("`cc` did not start"),
        }
    }
}

/// The clock of one process: at first the machine's, until it is [held](Clock::hold).
pub(super) struct Clock {
    path: PathBuf,
    library: ClockLibrary,
    file: File,
    nanoseconds: u64,
    started: Instant,
    is_over: Arc<AtomicBool>,
    machine: Option<JoinHandle<()>>,
}

impl Clock {
    /// A clock that goes as the machine's does.
    pub(super) fn start(directory: &Path, library: &ClockLibrary) -> Result<Clock> {
        let path = directory.join("clock");
        let file = File::options()
            .create(true)
            .truncate(true)
            .write(true)
            .open(&path)?;
        file.write_all_at(&[0; 16], 0)?;
        let (written, started) = (file.try_clone()?, Instant::now());
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        let machine = thread::Builder::new().name("clock".into()).spawn(move || {
            while !over.load(Ordering::Relaxed) {
                // A full disk stops the clock, and then the start of Envoy times out.
                let _ = put(&written, NANOSECONDS, nanoseconds(started));
                thread::sleep(Duration::from_millis(1));
            }
        })?;
        Ok(Clock {
            path,
            library: library.clone(),
            file,
            nanoseconds: 0,
            started,
            is_over,
            machine: Some(machine),
        })
    }

    /// What a process has to be started with, as words for `env`.
    pub(super) fn environment(&self) -> [String; 2] {
        [
            format!("LD_PRELOAD={}", self.library.0.display()),
            format!("BENCH_CLOCK={}", self.path.display()),
        ]
    }

    /// From now on time passes by [`Clock::advance`] alone.
    pub(super) fn hold(&mut self) -> Result<()> {
        self.stop();
        self.nanoseconds = nanoseconds(self.started);
        put(&self.file, NANOSECONDS, self.nanoseconds)?;
        Ok(put(&self.file, HELD, 1)?)
    }

    /// So much time passes.
    pub(super) fn advance(&mut self, by: Duration) -> Result<()> {
        self.nanoseconds += by.as_nanos() as u64;
        Ok(put(&self.file, NANOSECONDS, self.nanoseconds)?)
    }

    fn stop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(machine) = self.machine.take() {
            let _ = machine.join();
        }
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        self.stop();
    }
}

fn nanoseconds(since: Instant) -> u64 {
    since.elapsed().as_nanos() as u64
}

fn put(file: &File, at: u64, value: u64) -> std::io::Result<()> {
    file.write_all_at(&value.to_ne_bytes(), at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_sees_the_time_that_it_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let library = ClockLibrary::build(directory.path()).unwrap();
        let mut clock = Clock::start(directory.path(), &library).unwrap();
        clock.hold().unwrap();
        clock.advance(Duration::from_secs(100_000)).unwrap();
        let seen = |clock: &Clock| -> i64 {
            let date = Command::new("env")
                .args(clock.environment())
                .args(["date", "+%s"])
                .output()
                .unwrap();
            String::from_utf8(date.stdout)
                .unwrap()
                .trim()
                .parse()
                .unwrap()
        };
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let ahead = seen(&clock) - now.unwrap().as_secs() as i64;
        assert!((99_990..100_010).contains(&ahead), "{ahead} s");
    }
}
