//! `envoy-config/production.md` to the letter: every command of the page is run, in its order,
//! against a real Envoy, and prints what stands under it. Only ports are others, and `envoy` and
//! `host-sim` are those of this repository.
//!
//! It needs `curl` (`apt-get install curl`).

use host_sim::envoy::{Wanted, install};
use host_sim::module;
use host_sim::wait;
use std::convert::Infallible;
use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// The ports of the page: the edge's and the admin interface's.
const PORTS: [u16; 2] = [10000, 9901];

/// What the page has between two fences.
struct Block<'p> {
    kind: &'p str,
    text: String,
}

/// A directory in which the page can be followed.
struct Desk {
    directory: TempDir,
    ports: [u16; 2],
    envoy: Option<Child>,
}

impl Drop for Desk {
    fn drop(&mut self) {
        if let Some(envoy) = &mut self.envoy {
            let _ = envoy.kill();
            let _ = envoy.wait();
        }
    }
}

/// How a command ended.
struct Output {
    is_good: bool,
    stdout: String,
    stderr: String,
}

impl Desk {
    fn new() -> Desk {
        let desk = Desk {
            directory: tempfile::tempdir().unwrap(),
            ports: free_ports(),
            envoy: None,
        };
        let repository = module::repository().unwrap();
        let path = |name: &str| desk.directory.path().join(name);
        for directory in ["bin", "envoy-config", "target/wasm32-wasip1/release"] {
            fs::create_dir_all(path(directory)).unwrap();
        }
        for file in ["envoy.yaml", "envoy-ecds.yaml", "ecds.yaml"] {
            let file = Path::new("envoy-config").join(file);
            let mut text = fs::read_to_string(repository.join(&file)).unwrap();
            for (port, own) in PORTS.iter().zip(desk.ports) {
                let here = format!("port_value: {port} ");
                text = text.replace(&here, &format!("port_value: {own} "));
            }
            fs::write(desk.directory.path().join(file), text).unwrap();
        }
        let module = "target/wasm32-wasip1/release/pointsman.wasm";
        symlink(module::build().unwrap(), path(module)).unwrap();
        symlink(program(&repository), path("bin/host-sim")).unwrap();
        // `cargo host-sim` is the same.
        desk.write_program("cargo", "shift; exec host-sim \"$@\"");
        let envoy = install::find(Wanted::Any).unwrap().path;
        // Beside those of other tests.
        let script = format!("exec {} --use-dynamic-base-id \"$@\"", envoy.display());
        desk.write_program("envoy", &script);
        desk
    }

    fn write_program(&self, name: &str, script: &str) {
        let path = self.directory.path().join("bin").join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        let mode = Command::new("chmod").arg("+x").arg(path).status();
        assert!(mode.unwrap().success());
    }

    /// A text of the page, with the ports of this desk.
    fn here(&self, text: &str) -> String {
        let ports = PORTS.iter().zip(self.ports);
        ports.fold(text.to_owned(), |text, (port, own)| {
            text.replace(&format!("localhost:{port}"), &format!("localhost:{own}"))
        })
    }

    fn shell(&self, script: &str) -> Command {
        let path = std::env::var("PATH").unwrap();
        let own = self.directory.path().join("bin");
        let mut command = Command::new("sh");
        command
            .args(["-e", "-c", &self.here(script)])
            .env("PATH", format!("{}:{path}", own.display()))
            .current_dir(self.directory.path());
        command
    }

    fn run(&self, script: &str) -> Output {
        let output = self.shell(script).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
        Output {
            is_good: output.status.success(),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("envoy.log")).unwrap_or_default()
    }

    /// Starts the Envoy of this block, and waits until it answers.
    fn start(&mut self, script: &str) {
        assert!(self.envoy.is_none(), "the Envoy before is still there");
        let path = self.directory.path().join("envoy.log");
        let log = File::options()
            .create(true)
            .append(true)
            .open(path)
            .unwrap();
        let mut command = self.shell(&format!("exec {script}"));
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap());
        self.envoy = Some(command.stderr(log).spawn().unwrap());
        let is_ready = || self.run("curl -s localhost:9901/ready").stdout == "LIVE";
        wait::until("Envoy is started", is_ready);
    }

    /// The Envoy ends by itself.
    fn ended(&mut self) {
        let mut envoy = self.envoy.take().expect("an Envoy");
        wait::until("Envoy has ended", || envoy.try_wait().unwrap().is_some());
    }

    /// Runs a block until it ends well and prints this. What only looks is run again: Envoy takes a
    /// file by and by.
    fn prints(&self, script: &str, expected: Option<&str>) {
        let expected = expected.map(|expected| self.here(expected));
        let is_it = |output: &Output| {
            output.is_good
                && expected
                    .as_deref()
                    .is_none_or(|expected| fits(&output.stdout, expected))
        };
        let mut output = self.run(script);
        if script.starts_with("curl ") && !is_it(&output) {
            let again = wait::poll(|| {
                output = self.run(script);
                Ok::<_, Infallible>(is_it(&output).then_some(()))
            });
            let Ok(_) = again;
        }
        assert!(
            is_it(&output),
            "{script}\nprinted: {}\n{}\nexpected: {}\nEnvoy's log:\n{}",
            output.stdout,
            output.stderr,
            expected.unwrap_or_default(),
            self.log()
        );
    }
}

/// Whether a text is this one, in which `…` is anything.
fn fits(text: &str, expected: &str) -> bool {
    let pieces: Vec<&str> = expected.split('…').collect();
    let [first, between @ .., last] = &pieces[..] else {
        return text == expected;
    };
    let Some(rest) = text.strip_prefix(first) else {
        return false;
    };
    let mut rest = Some(rest);
    for piece in between {
        rest = rest.and_then(|rest| Some(rest.split_once(piece)?.1));
    }
    rest.is_some_and(|rest| rest.ends_with(last))
}

/// The program of the command line, as Cargo builds it for all tests together.
fn program(repository: &Path) -> PathBuf {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let built = Command::new(cargo)
        .args(["build", "-q", "--workspace", "--bin", "host-sim"])
        .current_dir(repository)
        .status();
    assert!(built.unwrap().success(), "host-sim is not built");
    module::target_directory().unwrap().join("debug/host-sim")
}

fn free_ports() -> [u16; 2] {
    let listeners = PORTS.map(|_| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

fn blocks(page: &str) -> Vec<Block<'_>> {
    let mut blocks: Vec<Block<'_>> = Vec::new();
    let mut is_open = false;
    for line in page.lines() {
        match (line.strip_prefix("```"), is_open) {
            (Some(_), true) => is_open = false,
            (Some(kind), false) => {
                is_open = true;
                let text = String::new();
                blocks.push(Block { kind, text });
            }
            (None, true) => {
                let block = blocks.last_mut().unwrap();
                block.text.push_str(line);
                block.text.push('\n');
            }
            (None, false) => {}
        }
    }
    for block in &mut blocks {
        block.text.truncate(block.text.trim_end().len());
    }
    blocks
}

#[test]
fn the_page_is_followed_to_the_letter() {
    let page = module::repository().unwrap();
    let page = fs::read_to_string(page.join("envoy-config/production.md")).unwrap();
    let blocks = blocks(&page);
    let mut desk = Desk::new();
    let curl = Command::new("curl").arg("--version").output();
    assert!(curl.is_ok(), "there is no curl: apt-get install curl");
    let (mut run, mut compared) = (0, 0);
    let mut at = 0;
    while let Some(Block { kind, text }) = blocks.get(at) {
        at += 1;
        match *kind {
            "sh" if text.starts_with("envoy ") => {
                desk.start(text);
                // "By default that is ten minutes."
                let drains = match text.contains("--drain-time-s 10") {
                    true => "\"drain_time\": \"10s\"",
                    false => "\"drain_time\": \"600s\"",
                };
                let told = desk.run("curl -s localhost:9901/server_info").stdout;
                assert!(told.contains(drains), "{text}: {told}");
                run += 1;
            }
            "sh" => {
                let under = blocks.get(at).filter(|block| block.kind == "text");
                at += usize::from(under.is_some());
                compared += usize::from(under.is_some());
                desk.prints(text, under.map(|block| &*block.text));
                if text.contains("/quitquitquit") {
                    desk.ended();
                }
                run += 1;
            }
            // A text by itself is a line of Envoy's log.
            "text" => {
                wait::until(text, || {
                    let log = desk.log();
                    log.lines().any(|line| fits(line, &format!("…{text}")))
                });
                compared += 1;
            }
            "yaml" => {}
            other => panic!("a block of {other}"),
        }
    }
    assert!(
        run > 20 && compared > 12,
        "{run} commands, {compared} outputs"
    );
}

/// The commands of two other pages that move a file where `check` has nothing against it: it has
/// something against the key of the example, and nothing against a key of one's own.
#[test]
fn a_file_is_moved_once_it_has_a_key_of_its_own() {
    let shipped = module::repository().unwrap().join("envoy-config");
    let page = |name: &str| fs::read_to_string(shipped.join(name)).unwrap();
    let (reload, compose) = (page("README.md"), page("compose/README.md"));
    let own_key = "sed -i \"s|\\\"ZGVt.*=\\\"|";
    let find = |page: &str, words: &str| {
        let found = blocks(page).into_iter().find(|it| it.text.contains(words));
        found.unwrap_or_else(|| panic!("no `{words}`")).text
    };
    let production = page("production.md");
    let rows = [
        (
            "next.yaml",
            "envoy-config/ecds.yaml",
            find(&production, own_key),
            find(&reload, "cargo host-sim check next.yaml"),
        ),
        (
            "envoy-config/compose/next.yaml",
            "envoy-config/compose/filter/ecds.yaml",
            find(&compose, own_key),
            find(&compose, "cargo host-sim check"),
        ),
    ];
    for (next, live, own_key, moves) in rows {
        // The first line of one of them starts an Envoy.
        let lines = moves.lines().filter(|line| !line.starts_with("envoy "));
        let moves = lines.collect::<Vec<_>>().join("\n");
        let desk = Desk::new();
        let path = |name: &str| desk.directory.path().join(name);
        fs::create_dir_all(path(live).parent().unwrap()).unwrap();
        let text = fs::read(shipped.join(live.trim_start_matches("envoy-config/"))).unwrap();
        fs::write(path(live), text).unwrap();
        let copies = format!("cp {live} {next}");
        assert!(desk.run(&copies).is_good);
        let refused = desk.run(&moves);
        assert!(
            !refused.is_good && path(next).exists(),
            "{}",
            refused.stdout
        );
        assert!(
            refused.stdout.contains("[published_secret]"),
            "{}",
            refused.stdout
        );
        desk.prints(&own_key, None);
        assert!(desk.run(&copies).is_good);
        desk.prints(&moves, None);
        assert!(!path(next).exists());
    }
}

/// "Its exit status is 1 where something differs."
#[test]
fn diff_ends_with_1_where_something_differs() {
    let desk = Desk::new();
    for (new, status) in [("/new", "0"), ("/newest", "1")] {
        let script = format!(
            "sed 's|path: /new,|path: {new},|' envoy-config/ecds.yaml > envoy-config/next.yaml\n\
             status=0\n\
             host-sim diff envoy-config/ecds.yaml envoy-config/next.yaml > told || status=$?\n\
             echo $status"
        );
        let output = desk.run(&script);
        assert_eq!(output.stdout, status, "{new}: {}", output.stderr);
    }
}

#[test]
fn an_ellipsis_is_anything_and_nothing_else_is() {
    for (text, expected, is_it) in [
        ("a", "a", true),
        ("a", "b", false),
        ("a b c", "a … c", true),
        ("a b c", "…c", true),
        ("a b c", "a…", true),
        ("a b c", "…b…", true),
        ("a b c", "…x…", false),
        ("a b c", "…b", false),
        ("a b c", "b…", false),
    ] {
        assert_eq!(fits(text, expected), is_it, "{text}, {expected}");
    }
}
