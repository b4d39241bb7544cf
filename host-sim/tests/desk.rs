//! The program as it is typed: several files, the standard input, files of the wrong kind, a pipe
//! that is closed, a narrow terminal.

#![allow(missing_docs)]

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

const SHOP: &str = "\
pools: { web: { targets: [{ cluster: a }] } }
routes: [{ name: all, pool: web }]
";

/// A directory with files of every kind.
fn desk() -> TempDir {
    let desk = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(desk.path().join(name), bytes).unwrap();
    write("shop.yaml", SHOP.as_bytes());
    write(
        "other.yaml",
        SHOP.replace("cluster: a", "cluster: b").as_bytes(),
    );
    write(
        "bad.yaml",
        SHOP.replace("pool: web", "pool: wbe").as_bytes(),
    );
    write("empty.yaml", b"");
    write("blank.yaml", b" \n\r\n");
    write("latin-1.yaml", b"a: \xe9\n");
    write("utf-16.yaml", b"\xff\xfea\x00");
    write("open.yaml", b"pools: { web: { targets: [\n");
    write("tab.yaml", b"pools:\n\tweb: {}\n");
    write(
        "crlf.yaml",
        format!("\u{feff}{}", SHOP.replace('\n', "\r\n")).as_bytes(),
    );
    write("shop.json", br#"{"routes":[{"name":"all","pass":true}]}"#);
    let test = "{ name: a, request: { url: 'http://h/' }, expect: { route: all } }";
    write(
        "shop_test.yaml",
        format!("config: shop.yaml\ntests: [{test}]\n").as_bytes(),
    );
    let traffic = "{ name: t, rate: 10, request: { url: 'http://h/' } }";
    let scenario = format!("config: shop.yaml\nduration: 2s\ntraffic: [{traffic}]\n");
    write("scenario.yaml", scenario.as_bytes());
    fs::create_dir(desk.path().join("directory")).unwrap();
    desk
}

fn program(desk: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_host-sim"));
    command
        .args(words)
        .current_dir(desk)
        .env_remove("POINTSMAN_WASM");
    command
}

fn run(desk: &TempDir, words: &[&str]) -> Output {
    run_with(desk, words, "")
}

fn run_with(desk: &TempDir, words: &[&str], input: &str) -> Output {
    let mut command = program(desk.path(), words);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // Who reads nothing of it closes it.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

/// What was printed, and where to.
fn told(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.code(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

#[test]
fn every_file_is_checked_also_where_one_cannot_be_read() {
    let desk = desk();
    let (code, out, err) = told(&run_with(
        &desk,
        &[
            "check",
            "shop.yaml",
            "none.yaml",
            "bad.yaml",
            "-",
            "directory",
            "crlf.yaml",
            "shop.json",
        ],
        SHOP,
    ));
    assert_eq!(code, Some(2), "{out}{err}");
    let lines: Vec<_> = out.lines().collect();
    let [good, error, bad, input, crlf, json] = lines[..] else {
        panic!("{out}")
    };
    assert_eq!((good, bad), ("shop.yaml: good", "bad.yaml: 1 error"));
    assert_eq!(
        (input, crlf, json),
        ("<stdin>: good", "crlf.yaml: good", "shop.json: good")
    );
    assert!(
        error.starts_with("bad.yaml:2:29: error: routes[0] (all).pool: no pool"),
        "{error}"
    );
    let none = "host-sim: reading none.yaml: No such file or directory\n";
    assert_eq!(
        err,
        format!("{none}host-sim: reading directory: Is a directory\n")
    );

    let (code, out, _) = told(&run(&desk, &["check", "shop.yaml", "bad.yaml"]));
    assert_eq!((code, out.lines().count()), (Some(1), 3), "{out}");
    let (code, out, _) = told(&run_with(&desk, &["check", "-", "-"], SHOP));
    let second = "<stdin>: error: the standard input: empty; expected YAML or JSON";
    assert_eq!((code, out.lines().nth(1)), (Some(1), Some(second)), "{out}");
    let (_, out, _) = told(&run(&desk, &["check", "--json", "shop.yaml", "none.yaml"]));
    assert!(out.starts_with('['), "of several files a list: {out}");
}

#[test]
fn the_standard_input_stands_for_a_file_of_every_command() {
    let desk = desk();
    let test = fs::read_to_string(desk.path().join("shop_test.yaml")).unwrap();
    for (words, input, code, says) in [
        (
            &["diff", "-", "shop.yaml"][..],
            SHOP,
            0,
            "no request is treated differently",
        ),
        (&["diff", "other.yaml", "-"], SHOP, 1, "pool web"),
        (
            &["explain", "-", "--url", "http://h/"],
            SHOP,
            0,
            "pool: web",
        ),
        (&["test", "-"], &test, 0, "1 passed"),
    ] {
        let (found, out, err) = told(&run_with(&desk, words, input));
        assert_eq!(found, Some(code), "{words:?}: {out}{err}");
        assert!(out.contains(says), "{words:?}: {out}");
    }
}

/// Each is told in a line, with what was found, in words that are not a library's.
#[test]
fn a_file_of_the_wrong_kind_is_told_as_what_it_is() {
    let desk = desk();
    let url = ["--url", "http://h/"];
    for (file, says) in [
        ("none.yaml", "No such file"),
        ("directory", "Is a directory"),
        ("empty.yaml", "the file: empty; expected YAML or JSON"),
        ("blank.yaml", "the file: empty; expected YAML or JSON"),
        ("latin-1.yaml", "0xe9 at offset 3"),
        ("utf-16.yaml", "UTF-16; expected text in UTF-8"),
        ("open.yaml", "expected YAML or JSON"),
        ("tab.yaml", "tabs"),
    ] {
        for words in [
            &["check", file][..],
            &["explain", file, url[0], url[1]],
            &["diff", file, "shop.yaml"],
            &["test", file],
            &["run", file],
            &["import", "envoy", file],
        ] {
            let (code, out, err) = told(&run(&desk, words));
            let text = format!("{out}{err}");
            assert!(matches!(code, Some(1 | 2)), "{words:?}: {text}");
            // What an importer reads is not ours, and told in other words.
            let is_ours = words[0] != "import";
            assert!(
                (text.contains(says) || !is_ours) && text.contains(file),
                "{words:?}: {text}"
            );
            for not in [
                "os error", "panicked", "saphyr", "serde", "granit", "Budget",
            ] {
                assert!(!text.contains(not), "{words:?}: {text}");
            }
            assert!(text.lines().count() <= 2, "{words:?}: {text}");
        }
    }
    let (code, _, err) = told(&run(&desk, &["init", "shop.yaml"]));
    let expected = "host-sim: shop.yaml is a file; expected a directory, or a name for a new one\n";
    assert_eq!((code, &*err), (Some(2), expected));
}

#[test]
fn a_closed_pipe_is_no_panic() {
    let desk = desk();
    let wasm = "--url=http://h/";
    for words in [
        &["--help"][..],
        &["check", "bad.yaml"],
        &["check", "--json", "bad.yaml"],
        &["explain", "shop.yaml", wasm],
        &["diff", "shop.yaml", "other.yaml"],
        &["test", "shop_test.yaml"],
        &["run", "scenario.yaml"],
        &["schema"],
        &["completions", "bash"],
        &["man"],
        &["init", "new"],
        &["--version"],
    ] {
        let mut command = program(desk.path(), words);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        drop(child.stdout.take());
        let (code, _, err) = told(&child.wait_with_output().unwrap());
        // As quick as a flash it wrote before the pipe was closed.
        assert!(
            matches!(code, Some(0 | 1 | 141)),
            "{words:?}: {code:?} {err}"
        );
        assert!(
            !err.contains("panicked") && !err.contains("Broken pipe"),
            "{words:?}: {err}"
        );
    }
}

#[test]
fn help_fits_the_terminal() {
    const WIDTH: usize = 60;
    let desk = desk();
    for command in ["check", "diff", "explain", "test", "run", "status", "init"] {
        let mut program = program(desk.path(), &[command, "--help"]);
        let (code, out, _) = told(&program.env("COLUMNS", WIDTH.to_string()).output().unwrap());
        assert_eq!(code, Some(0));
        for line in out.lines() {
            assert!(line.chars().count() <= WIDTH, "{command}: {line}");
        }
    }
}

#[test]
fn completions_the_man_page_and_the_version_are_there() {
    let desk = desk();
    for (shell, has) in [
        ("bash", "complete -F"),
        ("zsh", "#compdef host-sim"),
        ("fish", "complete -c"),
    ] {
        let (code, out, _) = told(&run(&desk, &["completions", shell]));
        assert!(
            code == Some(0) && out.contains(has) && out.contains("explain"),
            "{shell}"
        );
    }
    let (_, man, _) = told(&run(&desk, &["man"]));
    assert!(man.contains(".TH"), "{man}");
    for command in [
        "check", "diff", "explain", "import", "init", "run", "status", "test",
    ] {
        assert!(
            man.contains(&format!("host\\-sim\\-{command}")) || man.contains(command),
            "{command}"
        );
    }
    let module = desk.path().join("module.wasm");
    fs::write(&module, b"abc").unwrap();
    let mut version = program(desk.path(), &["--version"]);
    let (code, out, _) = told(&version.env("POINTSMAN_WASM", &module).output().unwrap());
    assert_eq!(code, Some(0));
    let mut lines = out.lines();
    let first = lines.next().unwrap();
    assert_eq!(first, format!("host-sim {}", env!("CARGO_PKG_VERSION")));
    assert!(lines.next().unwrap().starts_with("commit "), "{out}");
    // The SHA-256 of `abc`.
    assert!(
        out.contains("sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        "{out}"
    );
}

#[test]
fn neither_a_home_nor_an_environment_is_needed() {
    let desk = desk();
    let mut command = program(desk.path(), &["check", "shop.yaml"]);
    let (code, out, err) = told(&command.env_clear().output().unwrap());
    assert_eq!((code, &*out, &*err), (Some(0), "shop.yaml: good\n", ""));
}

/// A configuration with an error is told by every command that takes one as `check` tells it.
#[test]
fn a_configuration_with_an_error_is_told_with_its_line_by_every_command() {
    let desk = desk();
    let error = "bad.yaml:2:29: routes[0].pool: no pool is named \"wbe\"; expected";
    for words in [
        &["explain", "bad.yaml", "--url=http://h/"][..],
        &["diff", "bad.yaml", "shop.yaml"],
        &["diff", "shop.yaml", "bad.yaml"],
        &["status", "127.0.0.1:1", "--expect", "bad.yaml"],
    ] {
        let (code, out, err) = told(&run(&desk, words));
        assert_eq!((code, &*out), (Some(2), ""), "{words:?}");
        assert!(
            err.starts_with(&format!("host-sim: {error}")),
            "{words:?}: {err}"
        );
    }
    let bad = fs::read_to_string(desk.path().join("bad.yaml")).unwrap();
    let (_, _, err) = told(&run_with(&desk, &["explain", "-", "--url=http://h/"], &bad));
    let error = error.replace("bad.yaml", "<stdin>");
    assert!(err.starts_with(&format!("host-sim: {error}")), "{err}");

    // Of a file of tests or a scenario it is the file that is another one.
    for command in ["test", "run"] {
        let (code, _, err) = told(&run(&desk, &[command, "shop.yaml"]));
        assert_eq!(code, Some(2));
        assert!(
            err.contains("this is a configuration: `host-sim check FILE`"),
            "{err}"
        );
    }
    fs::write(
        desk.path().join("lost_test.yaml"),
        "config: nix.yaml\ntests: []\n",
    )
    .unwrap();
    let (_, _, err) = told(&run(&desk, &["test", "lost_test.yaml"]));
    let error = "host-sim: lost_test.yaml:1:9: config: nix.yaml: No such file or directory;";
    assert!(err.starts_with(error), "{err}");
}

#[test]
fn a_package_that_cannot_be_written_is_told_before_the_module_is_built() {
    let desk = desk();
    // A directory cannot be made below a file, nor a file in /proc.
    for directory in ["shop.yaml/package", "/proc"] {
        let mut package = program(desk.path(), &["package", "--out", directory]);
        // Whatever is built fails.
        let (code, _, err) = told(&package.env("CARGO", "/bin/false").output().unwrap());
        assert_eq!(code, Some(2));
        let expected = format!("host-sim: writing into {directory}: ");
        assert!(err.starts_with(&expected), "{err}");
    }
}
