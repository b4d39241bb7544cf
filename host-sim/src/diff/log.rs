//! Access logs: how many of their requests fall into each difference.
//!
//! Logs are read line by line, each once; requests that are the same are decided once. A log tells
//! less than a request has: what it does not tell is taken as absent, and the report says which
//! conditions that concerns.

mod formats;
mod har;

use super::{Diff, Keys, Tables, settings};
use crate::environment;
use crate::exchange::ExchangeRequest;
use anyhow::Result;
use foldhash::fast::RandomState;
use pointsman_core::config::value::Value;
use serde_json::json;
use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;

pub(crate) use formats::LogEntry;

/// How many bytes of lines a thread gets at once.
const CHUNK: usize = 1 << 20;
/// How many different requests a thread remembers; then it begins anew.
const MAX_REMEMBERED: usize = 200_000;
/// How many lines that cannot be read are shown.
const MAX_SHOWN: usize = 3;

/// What a log says.
#[derive(Clone, Debug, Default)]
pub struct LogCounts {
    /// Requests that could be read.
    pub requests: u64,
    /// How many of them fall into each of [`Diff::differences`].
    pub differences: Vec<u64>,
    /// How many each of [`Diff::settings`] concerns.
    pub settings: Vec<u64>,
    /// Requests that are treated differently and fall into no difference: those were not complete.
    pub in_none: u64,
    /// Lines that are no request.
    pub unreadable: u64,
    /// The first of them, each with the number of its line where that is known.
    pub unreadable_examples: Vec<String>,
    /// Requests without a host.
    pub without_host: u64,
    /// What conditions ask for and no request of the log tells.
    pub untold: BTreeSet<String>,
}

impl LogCounts {
    fn new(diff: &Diff) -> LogCounts {
        LogCounts {
            differences: vec![0; diff.differences.len()],
            settings: vec![0; diff.settings.len()],
            ..LogCounts::default()
        }
    }

    fn add(&mut self, other: &LogCounts) {
        self.requests += other.requests;
        let sum = |one: &mut Vec<u64>, other: &Vec<u64>| {
            one.iter_mut()
                .zip(other)
                .for_each(|(one, other)| *one += other);
        };
        sum(&mut self.differences, &other.differences);
        sum(&mut self.settings, &other.settings);
        self.in_none += other.in_none;
        self.unreadable += other.unreadable;
        self.without_host += other.without_host;
        let room = MAX_SHOWN.saturating_sub(self.unreadable_examples.len());
        let more = other.unreadable_examples.iter().take(room).cloned();
        self.unreadable_examples.extend(more);
    }

    /// What has to be known beside the numbers.
    pub(super) fn remarks(&self) -> Vec<String> {
        let mut all = Vec::new();
        if self.in_none > 0 {
            all.push(format!(
                "log: {} requests are treated differently in ways that have no example here",
                self.in_none
            ));
        }
        if self.unreadable > 0 {
            all.push(format!(
                "log: {} lines could not be read: {}",
                self.unreadable,
                self.unreadable_examples.join(" · ")
            ));
        }
        if self.without_host > 0 {
            all.push(format!(
                "log: {} requests have no host in the log: --log-host gives them one",
                self.without_host
            ));
        }
        if !self.untold.is_empty() {
            let untold: Vec<_> = self.untold.iter().map(String::as_str).collect();
            all.push(format!(
                "log: conditions ask for what the log does not tell, taken as absent: {}",
                untold.join(", ")
            ));
        }
        all
    }

    /// As JSON.
    pub(super) fn object(&self) -> serde_json::Value {
        json!({
            "requests": self.requests,
            "unreadable_lines": self.unreadable,
            "unreadable_examples": self.unreadable_examples,
            "without_host": self.without_host,
            "in_no_difference": self.in_none,
            "untold": self.untold,
        })
    }
}

/// Counts the requests of a log. `trees`: the configurations that were compared.
pub fn count(
    path: &Path,
    host: Option<&str>,
    trees: [&Value; 2],
    diff: &Diff,
    keys: &Keys,
) -> Result<LogCounts> {
    let mut reader = BufReader::with_capacity(CHUNK, File::open(path)?);
    let differences = (diff.differences.len(), diff.settings.len());
    let keys = &keys.0;
    let is_har = har::is_one(reader.fill_buf()?);
    let workers = thread::available_parallelism()
        .map_or(2, |count| count.get())
        .min(8);
    let (send, receive) = sync_channel::<Work>(workers * 2);
    let receive = Arc::new(Mutex::new(receive));
    let (mut all, told) = thread::scope(|scope| -> Result<_> {
        let threads: Vec<_> = (0..workers)
            .map(|_| {
                let receive = receive.clone();
                scope.spawn(move || work(&receive, host, trees, differences, keys))
            })
            .collect();
        let read = match is_har {
            true => har::each(reader, |entry| {
                send.send(Work::Request(Box::new(entry))).is_ok()
            }),
            false => chunks(reader, |chunk| send.send(Work::Lines(chunk)).is_ok()),
        };
        drop(send);
        let mut all = LogCounts::new(diff);
        let mut told = BTreeSet::new();
        for thread in threads {
            if let Ok((counts, names)) = thread.join() {
                all.add(&counts);
                told.extend(names);
            }
        }
        let bad = read?;
        all.unreadable += bad;
        Ok((all, told))
    })?;
    if all.requests > 0 {
        all.untold = untold(trees, &told, is_har);
    }
    Ok(all)
}

/// What a thread is given.
enum Work {
    /// Whole lines.
    Lines(Vec<u8>),
    /// A request of a HAR file.
    Request(Box<ExchangeRequest>),
}

/// Whole lines, about [`CHUNK`] bytes at a time, until nobody wants more.
fn chunks(mut reader: impl Read, mut give: impl FnMut(Vec<u8>) -> bool) -> Result<u64> {
    let mut rest = Vec::new();
    loop {
        let mut chunk = std::mem::take(&mut rest);
        let read = reader.by_ref().take(CHUNK as u64).read_to_end(&mut chunk)?;
        if read == 0 {
            if !chunk.is_empty() {
                give(chunk);
            }
            return Ok(0);
        }
        match chunk.iter().rposition(|byte| *byte == b'\n') {
            Some(end) => {
                rest = chunk.split_off(end + 1);
                if !give(chunk) {
                    return Ok(0);
                }
            }
            None => rest = chunk,
        }
    }
}

/// Decides what it is given, until there is no more.
fn work(
    receive: &Mutex<Receiver<Work>>,
    host: Option<&str>,
    trees: [&Value; 2],
    (differences, of_settings): (usize, usize),
    keys: &std::collections::BTreeMap<(usize, usize), usize>,
) -> (LogCounts, BTreeSet<String>) {
    let mut counts = LogCounts {
        differences: vec![0; differences],
        settings: vec![0; of_settings],
        ..LogCounts::default()
    };
    let mut told = BTreeSet::new();
    let configs = trees.map(environment::load_anywhere);
    let [Ok(old), Ok(new)] = configs else {
        return (counts, told);
    };
    let (old, new) = ((&old, trees[0]), (&new, trees[1]));
    let tables = Tables::new(old, new);
    // The places of settings are those of the same list, computed once more.
    let diff = Diff {
        settings: settings(old, new),
        ..Diff::default()
    };
    let keys = Keys(keys.clone());
    let mut known: HashMap<Vec<u8>, usize, RandomState> = HashMap::default();
    let mut answers: Vec<super::Falls> = Vec::new();
    let record = |counts: &mut LogCounts, falls: &super::Falls| {
        counts.requests += 1;
        match falls.difference {
            None => {}
            Some(None) => counts.in_none += 1,
            Some(Some(at)) => counts.differences[at] += 1,
        }
        falls
            .settings
            .iter()
            .for_each(|at| counts.settings[*at] += 1);
    };
    let mut key = Vec::new();
    loop {
        let next = match receive.lock() {
            Ok(receive) => receive.recv(),
            Err(_) => break,
        };
        let lines = match next {
            Err(_) => break,
            Ok(Work::Request(request)) => {
                let falls = tables.falls(&request, &diff, &keys);
                record(&mut counts, &falls);
                continue;
            }
            Ok(Work::Lines(lines)) => lines,
        };
        for line in lines.split(|byte| *byte == b'\n') {
            let text = line.trim_ascii();
            if text.is_empty() || text.starts_with(b"#") {
                continue;
            }
            let Some(parsed) = LogEntry::parse(text) else {
                counts.unreadable += 1;
                if counts.unreadable_examples.len() < MAX_SHOWN {
                    let start = &text[..text.len().min(80)];
                    let start = crate::exchange::shown(start);
                    counts.unreadable_examples.push(format!("`{start}`"));
                }
                continue;
            };
            if parsed.host.is_none() && host.is_none() {
                counts.without_host += 1;
            }
            parsed.key(&mut key);
            let at = match known.get(&key) {
                Some(at) => *at,
                None => {
                    if known.len() > MAX_REMEMBERED {
                        known.clear();
                        answers.clear();
                    }
                    parsed.told(&mut told);
                    let request = parsed.request(host);
                    answers.push(tables.falls(&request, &diff, &keys));
                    known.insert(key.clone(), answers.len() - 1);
                    answers.len() - 1
                }
            };
            record(&mut counts, &answers[at]);
        }
    }
    (counts, told)
}

/// What conditions ask for that the log does not tell.
fn untold(trees: [&Value; 2], told: &BTreeSet<String>, is_har: bool) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for config in trees
        .iter()
        .filter_map(|tree| environment::load_anywhere(tree).ok())
    {
        let mut has_client = false;
        for block in config.routes.iter().flat_map(|route| &route.blocks) {
            let name = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let headers = block.headers.iter().map(|it| name(&it.name));
            let headers = headers.filter(|it| !it.starts_with(':'));
            all.extend(headers.map(|it| format!("header {it}")));
            let cookies = block.cookies.iter().map(|it| name(&it.name));
            all.extend(cookies.map(|it| format!("cookie {it}")));
            has_client |= !block.client_ip.is_empty();
            if block.tls.is_some() {
                all.insert("tls".to_owned());
            }
            if !block.devices.is_empty() {
                all.insert("header user-agent".to_owned());
            }
            if block.language.is_some() {
                all.insert("header accept-language".to_owned());
            }
        }
        if has_client {
            all.insert(match &config.client_ip {
                Some(from) => format!("header {}", String::from_utf8_lossy(&from.header)),
                None => "client".to_owned(),
            });
        }
    }
    // A HAR file has every header and every cookie.
    let is_told = |it: &String| {
        told.contains(it)
            || it.starts_with("cookie ") && told.contains("header cookie")
            || is_har && (it.starts_with("header ") || it.starts_with("cookie "))
    };
    all.retain(|it| !is_told(it));
    all
}

#[cfg(test)]
mod tests;
