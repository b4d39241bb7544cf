//! The time that an Envoy sees where it is not to be the machine's: under a profiler a [`Clock`] that
//! goes on by so much with each request, so that a run is the picture of a proxy at full load and
//! repeats itself, however slow the machine is; and a [`SteppedClock`].

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
use tempfile::TempDir;

/// What is preloaded into Envoy.
const SOURCE: &str = include_str!("clock.c");
/// Where the numbers stand in the file.
const NANOSECONDS: u64 = 0;
const HELD: u64 = 8;
const STEPS: u64 = 16;
const AHEAD: u64 = 24;
const LENGTH: usize = 32;

/// The library to preload.
#[derive(Clone, Debug)]
pub struct ClockLibrary(PathBuf);

impl ClockLibrary {
    /// Compiles it. An error says how to get a compiler.
    pub fn build(directory: &Path) -> Result<ClockLibrary> {
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

    fn environment(&self, file: &Path) -> [String; 2] {
        [
            format!("LD_PRELOAD={}", self.0.display()),
            format!("POINTSMAN_CLOCK={}", file.display()),
        ]
    }
}

/// The real time of a process as it is where a machine's clock is set: ahead of what it should be, or
/// behind. Its monotonic time is the machine's.
pub struct SteppedClock {
    /// Of the library and the file.
    directory: TempDir,
    library: ClockLibrary,
    file: File,
}

impl SteppedClock {
    /// A clock that is right. An error says how to get a compiler.
    pub fn start() -> Result<SteppedClock> {
        let directory = tempfile::Builder::new()
            .prefix("pointsman-clock-")
            .tempdir()?;
        let library = ClockLibrary::build(directory.path())?;
        let file = File::create(directory.path().join(STEPPED))?;
        file.write_all_at(&[0; LENGTH], 0)?;
        put(&file, STEPS, 1)?;
        Ok(SteppedClock {
            directory,
            library,
            file,
        })
    }

    /// What a process has to be started with, as words for `env`.
    pub fn environment(&self) -> [String; 2] {
        self.library
            .environment(&self.directory.path().join(STEPPED))
    }

    /// From now on it is so many seconds ahead; less than 0: behind.
    pub fn set_ahead(&self, seconds: i64) -> Result<()> {
        let ahead = seconds * 1_000_000_000;
        Ok(self.file.write_all_at(&ahead.to_ne_bytes(), AHEAD)?)
    }
}

const STEPPED: &str = "stepped";

/// The clock of one process: at first the machine's, until it is [held](Clock::hold).
pub struct Clock {
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
    pub fn start(directory: &Path, library: &ClockLibrary) -> Result<Clock> {
        let path = directory.join("clock");
        let file = File::options()
            .create(true)
            .truncate(true)
            .write(true)
            .open(&path)?;
        file.write_all_at(&[0; LENGTH], 0)?;
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
    pub fn environment(&self) -> [String; 2] {
        self.library.environment(&self.path)
    }

    /// From now on time passes by [`Clock::advance`] alone.
    pub fn hold(&mut self) -> Result<()> {
        self.stop();
        self.nanoseconds = nanoseconds(self.started);
        put(&self.file, NANOSECONDS, self.nanoseconds)?;
        Ok(put(&self.file, HELD, 1)?)
    }

    /// So much time passes.
    pub fn advance(&mut self, by: Duration) -> Result<()> {
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

    /// How far the clock of such a process is ahead.
    fn ahead(environment: [String; 2]) -> i64 {
        let date = Command::new("env")
            .args(environment)
            .args(["date", "+%s"])
            .output()
            .unwrap();
        let seen: i64 = String::from_utf8(date.stdout)
            .unwrap()
            .trim()
            .parse()
            .unwrap();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        seen - now.unwrap().as_secs() as i64
    }

    #[test]
    fn a_process_sees_the_time_that_it_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let library = ClockLibrary::build(directory.path()).unwrap();
        let mut clock = Clock::start(directory.path(), &library).unwrap();
        clock.hold().unwrap();
        clock.advance(Duration::from_secs(100_000)).unwrap();
        let ahead = ahead(clock.environment());
        assert!((99_990..100_010).contains(&ahead), "{ahead} s");
    }

    #[test]
    fn a_clock_steps_and_comes_back() {
        let clock = SteppedClock::start().unwrap();
        for seconds in [0, 3600, -3600, 0] {
            clock.set_ahead(seconds).unwrap();
            let ahead = ahead(clock.environment());
            assert!((ahead - seconds).abs() < 60, "{ahead} s of {seconds}");
        }
    }
}
