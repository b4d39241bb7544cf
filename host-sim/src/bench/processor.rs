//! What the kernel knows: the machine, the processor time of a process, and on which cores it may run.

use anyhow::{Context, Result, bail};
use serde::Serialize;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// What the numbers were measured on.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Machine {
    /// As the processor calls itself.
    pub processor: String,
    /// The cores that we may use.
    pub cores: usize,
    /// `uname -r`.
    pub kernel: String,
}

impl Machine {
    /// This one.
    pub fn here() -> Result<Self> {
        let read = |path: &str| fs::read_to_string(path).with_context(|| format!("reading {path}"));
        let processors = read("/proc/cpuinfo")?;
        Ok(Self {
            processor: field(&processors, "model name")
                .unwrap_or("unknown processor")
                .to_owned(),
            cores: cores()?.len(),
            kernel: read("/proc/sys/kernel/osrelease")?.trim().to_owned(),
        })
    }
}

/// The processor time of one thread.
#[derive(Clone, Debug, PartialEq)]
pub struct Thread {
    /// Its name: `wrk:worker_0` …
    pub name: String,
    /// On a processor, user and system, since it began.
    pub time: Duration,
}

/// The threads of a process. `schedstat` counts nanoseconds, where `utime` and `stime` count hundredths of a second.
pub fn threads(process: u32) -> Result<Vec<Thread>> {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).context("the measured process has ended")?;
    let thread = |task: &Path| -> Result<Thread> {
        Ok(Thread {
            name: fs::read_to_string(task.join("comm"))?.trim().to_owned(),
            time: time_of(task)?,
        })
    };
    let threads = tasks.filter_map(|task| {
        let task = match task {
            Ok(task) => task.path(),
            Err(error) => return Some(Err(error.into())),
        };
        // A thread that ended while we were looking.
        Some(thread(&task)).filter(|thread| thread.is_ok() || task.exists())
    });
    threads.collect()
}

/// The processor time of all threads of a process together.
pub fn time(process: u32) -> Result<Duration> {
    Ok(threads(process)?.iter().map(|thread| thread.time).sum())
}

/// The processor time of the calling thread.
pub fn of_this_thread() -> Result<Duration> {
    time_of(Path::new("/proc/thread-self"))
}

/// The processor time of one task.
fn time_of(task: &Path) -> Result<Duration> {
    let path = task.join("schedstat");
    let statistics = fs::read_to_string(&path)
        .with_context(|| format!("the kernel keeps no {} (CONFIG_SCHED_INFO)", path.display()))?;
    let nanoseconds = statistics.split(' ').next().unwrap_or_default();
    Ok(Duration::from_nanos(nanoseconds.parse().context("schedstat")?))
}

/// The cores that this process may use, or could use before it was pinned.
pub fn cores() -> Result<Vec<usize>> {
    let status = fs::read_to_string("/proc/self/status").context("reading /proc/self/status")?;
    let list = field(&status, "Cpus_allowed_list").context("no Cpus_allowed_list")?;
    parse_cores(list).with_context(|| format!("Cpus_allowed_list is {list:?}"))
}

/// Has all threads of a process run on these cores, with `taskset` of util-linux.
pub fn pin(process: u32, cores: &[usize]) -> Result<()> {
    let cores: Vec<_> = cores.iter().map(ToString::to_string).collect();
    let output = Command::new("taskset")
        .args([
            "--all-tasks",
            "--pid",
            "--cpu-list",
            &cores.join(","),
            &process.to_string(),
        ])
        .output()
        .context("`taskset` did not start; on Debian: apt-get install util-linux")?;
    if !output.status.success() {
        bail!("taskset: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

/// The value of the first line `name: value`.
fn field<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then_some(value.trim())
    })
}

/// `0-2,5`
fn parse_cores(list: &str) -> Option<Vec<usize>> {
    let ranges = list.split(',').map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        Some(first.parse().ok()?..=last.parse().ok()?)
    });
    Some(ranges.collect::<Option<Vec<_>>>()?.into_iter().flatten().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_are_read_as_the_kernel_lists_them() {
        assert_eq!(parse_cores("0-2,5"), Some(vec![0, 1, 2, 5]));
        assert_eq!(parse_cores("7"), Some(vec![7]));
        assert_eq!(parse_cores(""), None);
        assert!(!cores().unwrap().is_empty());
    }

    #[test]
    fn a_process_that_computes_uses_processor_time() {
        let own = std::process::id();
        let before = time(own).unwrap();
        let mut computed = 0;
        while time(own).unwrap() < before + Duration::from_millis(5) {
            computed += 1;
        }
        assert!(computed > 0);
    }

    #[test]
    fn the_machine_says_what_it_is() {
        let machine = Machine::here().unwrap();
        assert!(machine.cores > 0 && !machine.processor.is_empty() && !machine.kernel.is_empty());
    }
}
