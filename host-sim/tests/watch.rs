//! `status --watch` beside a real Envoy: the page is drawn again and again, shows what has changed,
//! and ends well with its reader, with a signal and with its terminal.

#![allow(missing_docs)]

use host_sim::backend::Answer;
use host_sim::exchange::Response;
use host_sim::testkit::Site;
use host_sim::wait::until;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

const PROGRAM: &str = env!("CARGO_BIN_EXE_host-sim");
/// To the upper left corner, and clear what is there.
const DRAWN: &str = "\x1b[H\x1b[2J";

/// In the first line of each page.
const PAGE: &str = ": live for ";

fn shop() -> Value {
    json!({
        "version": "tonight",
        "pools": { "web": {
            "targets": [{ "cluster": "blue" }, { "cluster": "green" }],
            "health": { "passive": { "consecutive_failures": 2, "eject": "1h" } },
        } },
        "routes": [{ "name": "all", "pool": "web" }],
    })
}

fn watch(site: &Site, more: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    let address = site.envoy.admin_address().to_string();
    command.args(["status", &address, "--watch"]).args(more);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Ends with its owner.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    /// What it prints from now on.
    fn printed(&mut self) -> Arc<Mutex<String>> {
        let printed = Arc::new(Mutex::new(String::new()));
        let (mut out, kept) = (self.0.stdout.take().unwrap(), Arc::clone(&printed));
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = out.read(&mut bytes) {
                let text = String::from_utf8_lossy(&bytes[..count]);
                kept.lock().unwrap().push_str(&text);
            }
        });
        printed
    }

    fn signal(&self, signal: &str) {
        let id = self.0.id().to_string();
        let sent = Command::new("kill").args(["-s", signal, &id]).status();
        assert!(sent.unwrap().success());
    }

    /// How it ended, and what it said of that.
    fn ended(&mut self) -> (ExitStatus, String) {
        let status = self.0.wait().unwrap();
        let mut said = String::new();
        let err = self.0.stderr.as_mut().unwrap();
        err.read_to_string(&mut said).unwrap();
        (status, said)
    }
}

/// Requests until `green`, which fails, is out.
fn eject(site: &Site) {
    let green = site.backend("green").unwrap();
    green.answer(Answer::With(Response::bare(503)));
    let mut client = site.client().unwrap();
    until("green is out", || {
        client.get("h", "/").unwrap();
        site.envoy
            .filter_stat("pointsman.pool.web.healthy_targets")
            .unwrap()
            == 1
    });
}

#[test]
fn each_look_is_a_page_or_a_line_that_shows_what_has_changed() {
    let site = Site::start(&shop()).unwrap();
    let mut lines = Running(watch(&site, &["--json"]).spawn().unwrap());
    let mut pages = Running(watch(&site, &[]).spawn().unwrap());
    let printed = pages.printed();
    let mut lines = BufReader::new(lines.0.stdout.take().unwrap()).lines();
    let mut next = || -> Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
    let green = |status: &Value| {
        let target = status["filters"][0]["pools"][0]["targets"][1].clone();
        assert!(target.is_null() || target["name"] == "green", "{target}");
        target
    };

    // The first looks may come before the dump has what is live.
    until("the configuration is in a line", || {
        let status = next();
        status["filters"][0]["version"] == "tonight" && green(&status)["healthy"] == true
    });
    // Rates are those since the look before.
    assert!(green(&next())["requests_per_second"].is_number());
    until("pages", || {
        printed.lock().unwrap().matches(PAGE).count() >= 2
    });
    assert!(!printed.lock().unwrap().contains("OUT"));

    eject(&site);
    until("a line shows it", || green(&next())["healthy"] == false);
    until("a page shows it", || {
        let printed = printed.lock().unwrap();
        printed.contains("OUT") && printed.contains("1 of 2 targets of pool web are out: green")
    });
    // It is no terminal.
    assert!(!printed.lock().unwrap().contains('\x1b'));
}

#[test]
fn after_so_many_looks_it_ends_with_what_the_last_one_found() {
    let site = Site::start(&shop()).unwrap();
    let told = |looks: &str| {
        let output = watch(&site, &["-n", looks]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        (output.status.code(), text.matches(PAGE).count())
    };
    until("all is well", || told("1") == (Some(0), 1));
    assert_eq!(told("2"), (Some(0), 2));
    // Whatever those before found.
    let mut watching = Running(watch(&site, &["--json", "-n", "4"]).spawn().unwrap());
    let mut lines = BufReader::new(watching.0.stdout.take().unwrap()).lines();
    let first = lines.next().unwrap().unwrap();
    eject(&site);
    let last: Value = serde_json::from_str(&lines.last().unwrap().unwrap()).unwrap();
    let is_well = last["findings"] == json!([]);
    assert_eq!(watching.ended().0.success(), is_well, "{first}\n{last}");
    assert_eq!(told("1"), (Some(1), 1));
}

/// On a terminal, which `script` makes: each page is drawn over the one before, has no more lines
/// than the terminal, and Ctrl-C ends it.
#[test]
fn on_a_terminal_a_page_is_drawn_over_the_one_before_and_ctrl_c_ends_it() {
    let site = Site::start(&shop()).unwrap();
    let address = site.envoy.admin_address();
    let mut script = Command::new("script");
    let watch = format!("stty rows 6 cols 80; exec {PROGRAM} status {address} --watch");
    script.args(["--quiet", "--return", "--command", &watch, "/dev/null"]);
    script
        .env_remove("COLUMNS")
        .env("TERM", "xterm")
        .env_remove("NO_COLOR");
    script
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let child = script.spawn();
    let child = child.unwrap_or_else(|error| panic!("script: {error}; apt-get install bsdutils"));
    let mut script = Running(child);
    let printed = script.printed();
    let drawn = || printed.lock().unwrap().matches(DRAWN).count();
    until("three pages are drawn", || drawn() >= 3);
    let text = printed.lock().unwrap().clone();
    let pages: Vec<_> = text.split(DRAWN).skip(1).collect();
    for page in &pages[..2] {
        assert!(
            page.contains("Envoy ") && page.contains(" lines more"),
            "{page:?}"
        );
        assert!(page.lines().count() < 6, "{page:?}");
    }
    // The terminal makes a signal of it.
    let mut keys = script.0.stdin.take().unwrap();
    std::io::Write::write_all(&mut keys, b"\x03").unwrap();
    let (status, _) = script.ended();
    assert_eq!(
        status.code(),
        Some(130),
        "128 + SIGINT, as a shell tells of it"
    );
    assert!(!printed.lock().unwrap().contains("panicked"));
}

#[test]
fn a_signal_ends_it_and_so_does_a_reader_that_has_gone() {
    let site = Site::start(&shop()).unwrap();
    for signal in ["INT", "TERM"] {
        let mut watching = Running(watch(&site, &[]).spawn().unwrap());
        let printed = watching.printed();
        until("a page", || !printed.lock().unwrap().is_empty());
        watching.signal(signal);
        let (status, said) = watching.ended();
        assert!(!status.success());
        assert_eq!(said, "", "{signal}");
    }
    let mut watching = Running(watch(&site, &[]).spawn().unwrap());
    let mut line = String::new();
    let mut out = BufReader::new(watching.0.stdout.take().unwrap());
    out.read_line(&mut line).unwrap();
    drop(out);
    let (status, said) = watching.ended();
    assert_eq!((status.code(), &*said), (Some(141), ""));
}

#[test]
fn an_envoy_that_has_gone_ends_it_with_what_happened() {
    let site = Site::start(&shop()).unwrap();
    let mut watching = Running(watch(&site, &[]).spawn().unwrap());
    let printed = watching.printed();
    until("a page", || !printed.lock().unwrap().is_empty());
    let address = site.envoy.admin_address();
    site.kill();
    let (status, said) = watching.ended();
    assert_eq!(status.code(), Some(2));
    assert!(said.starts_with(&format!("host-sim: {address}")), "{said}");
}
