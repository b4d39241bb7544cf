//! What the pages of this repository say is so: the files and commands that they name are there,
//! and what they tell a newcomer to type works.

use host_sim::backend::Backend;
use host_sim::check;
use host_sim::configuration;
use host_sim::environment;
use host_sim::envoy::{Deployment, Envoy, PluginConfiguration, Wanted, install};
use host_sim::module;
use host_sim::request_test::{self, File};
use host_sim::simulation::scenario::Scenario;
use host_sim::world::World;
use http_body_util::Full;
use hyper::Request;
use hyper::body::Bytes;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

/// The longest line of prose. Tables and what commands print are as wide as they are.
const WIDTH: usize = 100;
/// The longest README: it is a door, not a report.
const README_LINES: usize = 150;

/// Names of files that are somebody else's, or made while something runs.
const NOT_OURS: &[&str] = &[
    // What Envoy's own sources or packages have.
    "source/common",
];

fn root() -> PathBuf {
    module::repository().unwrap()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every file of the repository, relative to its root, without what Cargo and Git keep there.
fn files() -> Vec<PathBuf> {
    fn add(directory: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            match path.file_name().and_then(|name| name.to_str()) {
                Some("target" | ".git") => {}
                _ if path.is_dir() => add(&path, found),
                _ => found.push(path),
            }
        }
    }
    let (root, mut found) = (root(), Vec::new());
    add(&root, &mut found);
    found.sort();
    let relative = |path: PathBuf| path.strip_prefix(&root).unwrap().to_owned();
    found.into_iter().map(relative).collect()
}

fn pages() -> Vec<String> {
    let is_page = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "md");
    let names = files().into_iter().filter(is_page);
    names
        .map(|path| path.to_str().unwrap().to_owned())
        .collect()
}

/// The numbered lines of a page that are prose: neither code nor what a command wrote.
fn prose(page: &str) -> Vec<(usize, &str)> {
    let (mut code, mut written) = (false, false);
    let is_prose = |(_, line): &(usize, &str)| {
        if line.starts_with("```") {
            code = !code;
            return false;
        }
        match *line {
            "<!-- bench -->" | "<!-- faults -->" => written = true,
            "<!-- /bench -->" | "<!-- /faults -->" => written = false,
            _ => {}
        }
        !code && !written
    };
    (1..).zip(page.lines()).filter(is_prose).collect()
}

/// The blocks of a page's code in this language.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    let blocks = page.split(&fence).skip(1);
    blocks
        .map(|rest| rest.split("```").next().unwrap().to_owned())
        .collect()
}

/// What stands between backticks in a line.
fn quoted(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// The targets of a line's links.
fn links(line: &str) -> impl Iterator<Item = &str> {
    let rests = line.split("](").skip(1);
    rests.filter_map(|rest| rest.split_once(')').map(|(target, _)| target))
}

/// A heading as GitHub makes an anchor of it.
fn anchor(heading: &str) -> String {
    let kept = heading
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

/// The path with `..` taken out.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(plain.pop()),
            part => plain.push(part),
        }
    }
    plain
}

/// Whether a word looks like the name of a file or a folder of a repository.
fn is_path(word: &str) -> bool {
    const ENDINGS: &[&str] = &[
        ".rs", ".md", ".yaml", ".yml", ".json", ".toml", ".txt", ".lock",
    ];
    const FOLDERS: &[&str] = &[
        ".cargo/",
        ".ci/",
        ".github/",
        "envoy-config/",
        "filter/",
        "host-sim/",
        "tests/",
    ];
    let is_name = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
    word.chars().all(is_name)
        && !word.starts_with('/')
        && (ENDINGS.iter().any(|ending| {
            word.strip_suffix(ending)
                .is_some_and(|stem| !stem.is_empty())
        }) || FOLDERS.iter().any(|folder| word.starts_with(folder)))
}

/// The paths that a text names which no file or folder of the repository has as its end.
struct Known {
    files: BTreeSet<PathBuf>,
    folders: BTreeSet<PathBuf>,
}

impl Known {
    fn of(files: &[PathBuf]) -> Known {
        let folders = files
            .iter()
            .flat_map(|file| file.ancestors().skip(1).map(Path::to_owned));
        Known {
            folders: folders.collect(),
            files: files.iter().cloned().collect(),
        }
    }

    /// `http/key.rs` is known where any folder has it.
    fn has(&self, word: &str) -> bool {
        let all = self.files.iter().chain(&self.folders);
        word.starts_with("target/")
            || NOT_OURS.iter().any(|other| word.contains(other))
            || all.into_iter().any(|path| path.ends_with(word))
    }
}

#[test]
fn names_are_told_from_other_words() {
    for word in [
        "shop.yaml",
        "filter/core/src",
        "a/b.rs",
        ".ci/run",
        "Cargo.lock",
    ] {
        assert!(is_path(word), "{word}");
    }
    for word in [
        "text/plain",
        "a.b",
        "/internal",
        "pool: web",
        ".rs",
        "x.y.rs()",
    ] {
        assert!(!is_path(word), "{word}");
    }
    let known = Known::of(&["a/b/c.rs".into()]);
    assert!(known.has("c.rs") && known.has("b/c.rs") && known.has("a/b") && known.has("b/"));
    assert!(!known.has("a/c.rs") && !known.has("x.rs"));
    assert_eq!(
        anchor("What breaks, and who notices"),
        "what-breaks-and-who-notices"
    );
    assert_eq!(links("a [b](c) [d](e#f)").collect::<Vec<_>>(), ["c", "e#f"]);
}

#[test]
fn every_file_that_a_page_names_is_there() {
    let files = files();
    let known = Known::of(&files);
    let mut wrong = Vec::new();
    let pages = pages();
    assert!(pages.len() >= 7, "{pages:?}");
    for page in &pages {
        let text = read(page);
        let folder = Path::new(page).parent().unwrap();
        for (at, line) in prose(&text) {
            for word in quoted(line).flat_map(|code| code.split([' ', '='])) {
                if is_path(word) && !known.has(word) {
                    wrong.push(format!("{page}:{at}: there is no {word}"));
                }
            }
            for link in links(line).filter(|link| !link.contains("://")) {
                let (path, heading) = link.split_once('#').unwrap_or((link, ""));
                let target = match path {
                    "" => page.into(),
                    path => plain(&folder.join(path)),
                };
                if !known.files.contains(&target) && !known.folders.contains(&target) {
                    wrong.push(format!("{page}:{at}: there is no {}", target.display()));
                } else if !heading.is_empty() {
                    let text = read(target.to_str().unwrap());
                    let mut headings = text.lines().filter(|line| line.starts_with('#'));
                    if !headings.any(|line| anchor(line.trim_start_matches(['#', ' '])) == heading)
                    {
                        wrong.push(format!("{page}:{at}: there is no heading of {link}"));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn every_file_that_a_comment_names_is_there() {
    let files = files();
    let known = Known::of(&files);
    let (mut wrong, mut named) = (Vec::new(), 0);
    for file in &files {
        let mark = match file.extension().and_then(|extension| extension.to_str()) {
            Some("rs") => "//",
            Some("yaml" | "yml" | "toml") => "#",
            None => "#",
            _ => continue,
        };
        let text = read(file.to_str().unwrap());
        for (at, line) in (1..).zip(text.lines()) {
            let Some(comment) = line.trim_start().strip_prefix(mark) else {
                continue;
            };
            for word in quoted(comment).filter(|word| is_path(word)) {
                named += 1;
                if !known.has(word) {
                    wrong.push(format!("{}:{at}: there is no {word}", file.display()));
                }
            }
        }
    }
    assert!(named > 30, "only {named} names");
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn pages_are_as_wide_as_a_window_and_the_readme_is_short() {
    let mut wrong = Vec::new();
    for page in pages() {
        let text = read(&page);
        let all: Vec<_> = match page.as_str() {
            "README.md" => (1..).zip(text.lines()).collect(),
            _ => prose(&text),
        };
        let wide = all.into_iter().filter(|(_, line)| {
            line.chars().count() > WIDTH && (page == "README.md" || !line.starts_with('|'))
        });
        wrong.extend(wide.map(|(at, _)| format!("{page}:{at} has more than {WIDTH} columns")));
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    let lines = read("README.md").lines().count();
    assert!(lines <= README_LINES, "README.md has {lines} lines");
}

/// What stands in backticks in the first column of a page's tables.
fn commands(table: &str) -> Vec<&str> {
    let rows = table.lines().filter(|line| line.starts_with("| `"));
    rows.filter_map(|row| quoted(row).next()).collect()
}

#[test]
fn ci_runs_every_command_of_the_first_table_and_the_workflow_no_other() {
    let page = read("CONTRIBUTING.md");
    let (_, section) = page.split_once("\n## Commands\n").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let tables: Vec<&str> = section
        .split("\n\n")
        .filter(|text| text.starts_with('|'))
        .collect();
    let [always, sometimes] = tables[..] else {
        panic!("{} tables", tables.len());
    };
    let run = read(".ci/run");
    let steps: Vec<&str> = run
        .lines()
        .filter_map(|line| line.strip_prefix("step "))
        .collect();
    for command in commands(always) {
        let is_run = steps.iter().any(|step| step.starts_with(command));
        assert!(
            is_run || command == ".ci/run",
            ".ci/run has no step {command}"
        );
    }

    // With whatever options: what it is.
    fn kind(command: &str) -> String {
        let words = command.split(' ').take_while(|word| !word.starts_with('-'));
        let count = if command.starts_with("cargo") { 2 } else { 1 };
        words.take(count).collect::<Vec<_>>().join(" ")
    }
    let all = [commands(always), commands(sometimes)].concat();
    let known: BTreeSet<String> = all.iter().map(|command| kind(command)).collect();
    let workflow = read(".github/workflows/ci.yml");
    let jobs = workflow
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- run: "));
    let mut count = 0;
    for command in jobs.filter(|command| !command.starts_with("sudo apt-get")) {
        count += 1;
        assert!(
            known.contains(&kind(command)),
            "CONTRIBUTING.md has no `{command}`"
        );
    }
    assert!(count > 10, "{count} commands");
}

#[test]
fn what_comes_after_cargo_is_a_command() {
    const OF_CARGO: &[&str] = &[
        "build", "check", "clippy", "doc", "fmt", "run", "test", "update",
    ];
    let config = read(".cargo/config.toml");
    let (_, aliases) = config.split_once("[alias]\n").unwrap();
    let names = aliases.lines().take_while(|line| !line.starts_with('['));
    let names: Vec<&str> = names
        .filter_map(|line| Some(line.split_once(" = ")?.0))
        .collect();
    for page in pages() {
        for (at, line) in (1..).zip(read(&page).lines()) {
            for rest in line.split("cargo ").skip(1) {
                let word = rest.split([' ', '`', ';']).next().unwrap();
                let is_word = word.chars().all(|c| c.is_ascii_lowercase() || c == '-');
                // `cargo llvm-cov` and `cargo deny` are named, and run by scripts.
                if is_word && !["llvm-cov", "deny", "fuzz"].contains(&word) {
                    let known = OF_CARGO.contains(&word) || names.contains(&word);
                    assert!(known, "{page}:{at}: cargo {word}");
                }
            }
        }
    }
}

#[test]
fn the_readmes_configuration_is_the_example_and_its_tests_pass() {
    let readme = read("README.md");
    let [_, first] = &blocks(&readme, "yaml")[..] else {
        panic!("the README attaches the filter, and shows a configuration");
    };
    assert_eq!(*first, read("host-sim/examples/shop.yaml"));
    let tree = configuration::read(&root().join("host-sim/examples/shop.yaml")).unwrap();
    let config = environment::load_anywhere(&tree).unwrap();
    let warnings = check::warnings(&tree, &config);
    assert!(warnings.is_empty(), "{warnings:?}");

    let file = File::read(&root().join("host-sim/examples/shop_test.yaml")).unwrap();
    let world = World::builder()
        .exchanges(&file.config)
        .environment(file.environment.clone());
    let report = request_test::run(&file, || Ok(Box::new(world.clone().start()?)));
    for outcome in &report.outcomes {
        let name = &outcome.name;
        assert!(outcome.failure.is_none(), "{name}: {:?}", outcome.failure);
    }
}

#[test]
fn every_test_that_holds_a_promise_is_there() {
    let page = read("tests/README.md");
    let (_, section) = page.split_once("\n## Guarantees\n").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let known = Known::of(&files());
    let mut count = 0;
    for row in section
        .lines()
        .filter(|line| line.starts_with("| "))
        .skip(1)
    {
        let held_by = row
            .trim_end_matches([' ', '|'])
            .rsplit(" | ")
            .next()
            .unwrap();
        // `REQUESTS=1000000` is no name.
        let names = quoted(held_by).filter(|name| !name.contains('='));
        let before = count;
        for name in names {
            count += 1;
            let path = name.replace("::", "/");
            let endings = [".rs", ".yaml", ""].map(|ending| path.clone() + ending);
            assert!(endings.iter().any(|path| known.has(path)), "{name}: {row}");
        }
        assert!(count > before, "nothing holds this: {row}");
    }
    assert!(count > 20, "{count} names");
}

/// What a clock that is set does to each thing: the tests that the table names.
#[test]
fn every_row_of_the_table_of_clocks_has_its_test() {
    let page = read("tests/README.md");
    let (_, section) = page.split_once("\n## When a clock is set\n").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let is_code = |path: &&PathBuf| path.extension().is_some_and(|extension| extension == "rs");
    let code: String = files()
        .iter()
        .filter(is_code)
        .map(|path| read(path.to_str().unwrap()))
        .collect();
    let rows = section
        .lines()
        .filter(|line| line.starts_with("| "))
        .skip(1);
    let mut count = 0;
    for row in rows {
        // Those of modules and programs are shorter.
        let is_test = |name: &&str| name.matches('_').count() > 2;
        for name in quoted(row).filter(is_test) {
            count += 1;
            assert!(code.contains(&format!("fn {name}(")), "{name}: {row}");
        }
    }
    assert!(count > 15, "{count} tests");
}

#[test]
fn the_formats_of_the_page_are_those_that_are_read() {
    let page = read("host-sim/README.md");
    let examples = root().join("host-sim/examples");
    let [test, scenario] = &blocks(&page, "yaml")[..] else {
        panic!("the page shows a file of tests and a scenario");
    };
    let config = |path: &str| configuration::read(&examples.join(path));
    File::parse(test, config).unwrap();
    let scenario = Scenario::parse("page", scenario, &examples).unwrap();
    assert_eq!((scenario.faults.len(), scenario.expect.len()), (8, 3));
}

#[test]
fn the_page_lists_every_metric_that_the_dashboard_shows() {
    // How workers tell each other of changes and of scopes; nothing to look at.
    let mut expected = BTreeSet::from(["pointsman_pool_health_version", "pointsman_first_scope"]);
    let dashboard = read("envoy-config/dashboard.json");
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = dashboard.split(|c| !is_name(c));
    let names = words.map(|word| word.trim_end_matches("_bucket"));
    // Labels are names too: those that the rules make.
    let labels =
        ["route", "pool", "target", "limit", "protect"].map(|label| format!("pointsman_{label}"));
    expected.extend(names.filter(|name| {
        name.starts_with("pointsman_") && !labels.iter().any(|label| label == name)
    }));
    let page = read("envoy-config/README.md");
    let listed = commands(&page).into_iter();
    let listed: BTreeSet<_> = listed
        .filter(|word| word.starts_with("pointsman_"))
        .collect();
    assert!(listed.len() > 20, "{listed:?}");
    assert_eq!(listed, expected);
}

/// `head -c 32 /dev/urandom | base64`
const KEY: &str = "q7b1O0v5Z0m3nqGmI1Fh9m0r3yS7m8d2oJ3xQv1c5bE=";

/// As a reader would: what the README says goes into an Envoy that has none of it.
#[test]
fn what_the_readme_attaches_serves_its_configuration_in_a_real_envoy() {
    let readme = read("README.md");
    let attached = blocks(&readme, "yaml").swap_remove(0);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("attached.yaml");
    fs::write(&path, attached).unwrap();
    let mut attached = Deployment::read(&path).unwrap();
    let attached = attached.bootstrap_mut();
    // The variable that the configuration asks for, as below.
    let variables = "/http_filters/0/typed_config/config/vm_config/environment_variables";
    let variables = attached.pointer(variables);
    assert_eq!(variables, Some(&json!({ "host_env_keys": ["PM_KEY_1"] })));

    let shop = configuration::read(&root().join("host-sim/examples/shop.yaml")).unwrap();
    let mut deployment = Deployment::file("envoy.yaml", &module::build().unwrap()).unwrap();
    let listener = &mut deployment.bootstrap_mut()["static_resources"]["listeners"][0];
    let manager = &mut listener["filter_chains"][0]["filters"][0]["typed_config"];
    let keys: Vec<String> = manager.as_object().unwrap().keys().cloned().collect();
    let own = ["@type", "stat_prefix"];
    for key in keys.iter().filter(|key| !own.contains(&key.as_str())) {
        manager.as_object_mut().unwrap().remove(key);
    }
    for key in ["http_filters", "route_config"] {
        assert_ne!(attached[key], Value::Null, "{key}");
        manager[key] = attached[key].take();
    }
    // The module from where it was built for this test, and the configuration in place of `{}`.
    let mut deployment = deployment
        .with_module(&module::build().unwrap())
        .with_configuration(PluginConfiguration::Struct(configuration::to_json(&shop)))
        .with_variable("PM_KEY_1", KEY)
        .with_workers(1)
        .on_free_ports();
    let mut backends = Vec::new();
    for (cluster, address) in deployment.endpoints() {
        if cluster.starts_with("web-") {
            let backend = Backend::start(&cluster).unwrap();
            deployment = deployment.move_endpoint(address, backend.address());
            backends.push(backend);
        }
    }
    assert_eq!(backends.len(), 2);

    let program = install::find(Wanted::Any).unwrap();
    let envoy = Envoy::start(&program, deployment).unwrap();
    let mut client = envoy.client().unwrap();
    let mut get = |host: &str| {
        let request = Request::get("/").header("host", host);
        let request = request.body(Full::<Bytes>::default()).unwrap();
        let response = client.send(request).unwrap();
        let backend = response.headers().get("x-backend");
        let backend = backend.map_or("", |name| name.to_str().unwrap());
        (response.status().as_u16(), backend.to_owned())
    };
    let mut counts = BTreeMap::new();
    for _ in 0..10 {
        *counts.entry(get("shop.example.com")).or_insert(0) += 1;
    }
    let expected = [("web-blue", 9), ("web-green", 1)];
    let expected = expected.map(|(name, count)| ((200, name.to_owned()), count));
    assert_eq!(counts, BTreeMap::from(expected));
    assert_eq!(get("www.example.com"), (404, String::new()));
}
