//! What the kernel tells: the machine, the processor time of a process, and on which cores it may
//! run.

use anyhow::{Context, Result};
use rustix::io::Errno;
use rustix::thread::{CpuSet, Pid, sched_setaffinity};
use serde::Serialize;
use std::collections::HashSet;
use std::fs::{self, DirEntry};
use std::io;
use std::path::{Path, PathBuf};
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
pub(super) struct Thread {
    /// Its name: `wrk:worker_0` …
    pub name: String,
    /// On a processor, user and system, since it began.
    pub time: Duration,
}

/// The threads of a process. `schedstat` counts nanoseconds, where `utime` and `stime` count
/// hundredths of a second.
pub(super) fn threads(process: u32) -> Result<Vec<Thread>> {
    let thread = |task: &Path| -> Result<Thread> {
        Ok(Thread {
            name: fs::read_to_string(task.join("comm"))?.trim().to_owned(),
            time: time_of(task)?,
        })
    };
    let threads = tasks(process)?.into_iter().filter_map(|task| {
        let task = PathBuf::from(format!("/proc/{process}/task/{task}"));
        // A thread that ended while we were looking.
        Some(thread(&task)).filter(|thread| thread.is_ok() || task.exists())
    });
    threads.collect()
}

/// The processor time of all threads of a process together.
pub(super) fn time(process: u32) -> Result<Duration> {
    Ok(threads(process)?.iter().map(|thread| thread.time).sum())
}

/// The processor time of the calling thread.
pub(super) fn of_this_thread() -> Result<Duration> {
    time_of(Path::new("/proc/thread-self"))
}

/// The processor time of one task.
fn time_of(task: &Path) -> Result<Duration> {
    let path = task.join("schedstat");
    let statistics = fs::read_to_string(&path)
        .with_context(|| format!("the kernel keeps no {} (CONFIG_SCHED_INFO)", path.display()))?;
    let nanoseconds = statistics.split(' ').next().unwrap_or_default();
    Ok(Duration::from_nanos(
        nanoseconds.parse().context("schedstat")?,
    ))
}

/// The cores that this process may use, or could use before it was pinned.
pub(super) fn cores() -> Result<Vec<usize>> {
    let status = fs::read_to_string("/proc/self/status").context("reading /proc/self/status")?;
    let list = field(&status, "Cpus_allowed_list").context("no Cpus_allowed_list")?;
    parse_cores(list).with_context(|| format!("Cpus_allowed_list is {list:?}"))
}

/// Has all threads of a process run on these cores. Threads come and go meanwhile: one that is gone
/// needs no core, and one that has come since we looked may be the child of one that was not pinned
/// yet, so we look again until there is none that is new.
pub(super) fn pin(process: u32, cores: &[usize]) -> Result<()> {
    let mut set = CpuSet::new();
    cores.iter().for_each(|core| set.set(*core));
    let mut pinned = HashSet::new();
    loop {
        let found = tasks(process)?;
        let new: Vec<i32> = found
            .into_iter()
            .filter(|task| pinned.insert(*task))
            .collect();
        if new.is_empty() {
            return Ok(());
        }
        for task in new {
            match sched_setaffinity(Pid::from_raw(task), &set) {
                Ok(()) | Err(Errno::SRCH) => {}
                Err(error) => {
                    return Err(error)
                        .with_context(|| format!("pinning thread {task} to cores {cores:?}"));
                }
            }
        }
    }
}

/// The numbers of the threads of a process.
fn tasks(process: u32) -> Result<Vec<i32>> {
    let tasks =
        fs::read_dir(format!("/proc/{process}/task")).context("the measured process has ended")?;
    let number = |task: io::Result<DirEntry>| {
        let name = task?.file_name();
        let number = name.to_str().and_then(|name| name.parse().ok());
        number.with_context(|| format!("{name:?} is not the number of a thread"))
    };
    tasks.map(number).collect()
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
    Some(
        ranges
            .collect::<Option<Vec<_>>>()?
            .into_iter()
            .flatten()
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::load::{Jobs, run_while};
    use std::process::Command;
    use std::thread;

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
    fn a_process_is_pinned_whose_threads_come_and_go() {
        let cores = cores().unwrap();
        let come_and_go = |jobs: Jobs<'_>| {
            for _ in jobs {
                thread::spawn(|| {}).join().unwrap();
            }
        };
        let (_, pinned) = run_while(1, come_and_go, |_| {
            (0..200).try_for_each(|_| pin(std::process::id(), &cores))
        });
        pinned.unwrap();
    }

    #[test]
    fn a_process_may_use_the_cores_that_it_is_pinned_to() {
        let last = *cores().unwrap().last().unwrap();
        let mut sleeper = Command::new("sleep").arg("60").spawn().unwrap();
        let pinned = pin(sleeper.id(), &[last]);
        let status = fs::read_to_string(format!("/proc/{}/status", sleeper.id())).unwrap();
        sleeper.kill().unwrap();
        sleeper.wait().unwrap();
        pinned.unwrap();
        assert_eq!(
            field(&status, "Cpus_allowed_list"),
            Some(last.to_string().as_str())
        );
        assert!(pin(sleeper.id(), &[last]).is_err(), "it has ended");
    }

    #[test]
    fn the_machine_says_what_it_is() {
        let machine = Machine::here().unwrap();
        assert!(machine.cores > 0 && !machine.processor.is_empty() && !machine.kernel.is_empty());
    }
}
