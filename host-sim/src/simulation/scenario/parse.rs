//! Reads scenario files.

use super::faults::{self, fault};
use super::limits::{MAX_ENTRIES, MAX_RETRIES, MAX_WORKERS};
use super::targets::{apply_models, mentioned, targets_of};
use super::traffic::traffic_of;
use super::{ProxySettings, Scenario, Traffic};
use crate::configuration::{self, LoadError, PATH_OR_CONFIGURATION};
use crate::environment::{self, Environment};
use crate::simulation::expectation;
use crate::simulation::quantity::{positive_time, time};
use crate::world::proxy::FailurePolicy;
use pointsman_core::config::Config;
use pointsman_core::config::problem::Problems;
use pointsman_core::config::reader::{Names, Node, Report};
use pointsman_core::time::Nanos;
use std::path::Path;

impl Scenario {
    /// Reads a file and the configurations that it names. An error has every problem of the file.
    pub fn read(path: &Path) -> Result<Scenario, LoadError> {
        let text = configuration::text_of(path)?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        let directory = path.parent().unwrap_or(Path::new(""));
        let mut scenario = Scenario::parse(&name, &text, directory)?;
        scenario.file = Some(path.display().to_string());
        Ok(scenario)
    }

    /// Reads a file's text. `directory` is where the configurations are that it names. An error has
    /// every problem of the text.
    pub fn parse(name: &str, text: &str, directory: &Path) -> Result<Scenario, Problems> {
        let tree = configuration::parse(text)?;
        let mut report = Report::default();
        let scenario = scenario(name, &Node::root(&tree), directory, &mut report);
        configuration::finish(report, "the scenario")?;
        let mut scenario = scenario.expect("a scenario without problems is whole");
        scenario.story = story(text);
        Ok(scenario)
    }
}

/// What the leading comment of a file tells. Lines for editors are no part of it.
fn story(text: &str) -> String {
    let lines = text.trim_start_matches('\u{feff}').lines().map(str::trim);
    let comment = lines
        .skip_while(|line| line.is_empty())
        .map_while(|line| line.strip_prefix('#'))
        .map(|line| line.trim_start_matches('#').trim())
        .filter(|line| !line.starts_with("yaml-language-server:"));
    let mut story = String::new();
    for line in comment {
        let between = match story.chars().last() {
            None | Some('\n') => "",
            Some(_) if line.is_empty() => "\n\n",
            Some(_) => " ",
        };
        story.push_str(between);
        story.push_str(line);
    }
    story.trim_end().to_owned()
}

fn scenario(
    name: &str,
    node: &Node<'_>,
    directory: &Path,
    report: &mut Report,
) -> Option<Scenario> {
    const KEYS: &[&str] = &[
        "config",
        "env",
        "seed",
        "workers",
        "duration",
        "proxy",
        "every_target",
        "targets",
        "traffic",
        "faults",
        "expect",
    ];
    const TRAFFIC: &str = "a list of at least one kind of traffic";
    let map = node.map(report, KEYS)?;
    let env = map.get("env");
    let env = env.map(|node| environment::read(&node, report));
    let mut environment = env.unwrap_or_default();
    let config = map.need(report, "config", PATH_OR_CONFIGURATION);
    let config_file = config.as_ref().and_then(|node| node.as_text());
    let config_file = config_file.map(str::to_owned);
    let config = config.and_then(|node| config_of(&node, directory, &mut environment, report));
    let faults = map.get("faults");
    let faults = items(&faults, "a list of faults", report);
    let reloads = reloads(&faults, directory, &mut environment, report);

    // The configurations name the targets.
    let loaded = config
        .iter()
        .chain(reloads.iter().filter_map(|reload| reload.config.as_ref()))
        .map(|(_, config)| config);
    let mut targets = match config.is_some() && reloads.iter().all(|reload| reload.loads) {
        true => targets_of(loaded),
        // What is wrong with the rest is told all the same.
        false => mentioned(&map),
    };
    let known: Vec<String> = targets.iter().map(|target| target.name.clone()).collect();
    let mut names = Names::default();
    for (place, name) in known.iter().enumerate() {
        // Adding a name fails only where it is not unique, and these are.
        let _ = names.add(name, place);
    }
    apply_models(&map, &mut targets, &names, report);

    let workers = map
        .get("workers")
        .and_then(|node| node.whole(report, 1, MAX_WORKERS));
    let workers = workers.unwrap_or(2) as usize;
    let duration = map.need(report, "duration", "a duration");
    let duration = duration
        .and_then(|node| positive_time(&node, report))
        .unwrap_or(Nanos::SECOND);
    let traffic = map.need(report, "traffic", TRAFFIC);
    let mut kinds: Vec<Traffic> = Vec::new();
    if let Some(list) = &traffic {
        for node in list.filled_list(report, TRAFFIC, MAX_ENTRIES) {
            kinds.extend(traffic_of(&node, duration, report));
        }
    }
    let mut kind_names = Names::default();
    for (place, kind) in kinds.iter().enumerate() {
        if kind_names.add(&kind.name, place).is_err() {
            report.note(
                node,
                &format!("two kinds of traffic named {}", kind.name),
                "unique names",
            );
        }
    }
    let expect = map.get("expect");
    let expect = items(&expect, "a list of expectations", report);
    let seed = map
        .get("seed")
        .and_then(|node| node.whole(report, 0, u32::MAX));
    let proxy = proxy(map.get("proxy"), report);
    let faults = faults.iter().zip(reloads).filter_map(|(node, reload)| {
        let reload = reload.config;
        fault(node, reload, workers, &names, report)
    });
    let faults = faults.collect();
    let expect = expect
        .iter()
        .filter_map(|node| expectation::read(node, &names, &kind_names, report));
    let expect = expect.collect();
    let (config, loaded) = config?;
    Some(Scenario {
        name: name.to_owned(),
        file: None,
        story: String::new(),
        config_file,
        seed: seed.map_or(1, u64::from),
        workers,
        duration,
        proxy,
        targets,
        faults,
        expect,
        traffic: kinds.clone(),
        config,
        loaded,
        environment,
    })
}

fn items<'n>(list: &'n Option<Node<'n>>, expected: &str, report: &mut Report) -> Vec<Node<'n>> {
    list.iter()
        .flat_map(|list| list.list(report, expected, MAX_ENTRIES))
        .collect()
}

/// The configuration at a node, or in the file in the scenario's directory that the node names.
fn config_of(
    node: &Node<'_>,
    directory: &Path,
    environment: &mut Environment,
    report: &mut Report,
) -> Option<(serde_json::Value, Config)> {
    let read = |path: &str| configuration::read(&directory.join(path));
    configuration::named_or_inline(node, &read, environment, report)
}

/// What a fault reloads.
struct Reload {
    /// None: nothing, or it does not load.
    config: Option<(serde_json::Value, Config)>,
    /// Whether it loads, if there is one.
    loads: bool,
}

/// The configuration that each fault reloads, if it does. Other problems of a fault are noted by
/// [`fault`].
fn reloads(
    faults: &[Node<'_>],
    directory: &Path,
    environment: &mut Environment,
    report: &mut Report,
) -> Vec<Reload> {
    let reload = |node: &Node<'_>| {
        let map = node.map(&mut Report::default(), faults::KEYS);
        let given = map.as_ref().and_then(|map| map.get("reload"));
        let config = given
            .as_ref()
            .and_then(|node| config_of(node, directory, environment, report));
        Reload {
            loads: given.is_none() || config.is_some(),
            config,
        }
    };
    faults.iter().map(reload).collect()
}

fn proxy(node: Option<Node<'_>>, report: &mut Report) -> ProxySettings {
    const POLICIES: &[(&str, FailurePolicy)] = &[
        ("reload", FailurePolicy::Reload),
        ("closed", FailurePolicy::Closed),
        ("open", FailurePolicy::Open),
    ];
    let mut proxy = ProxySettings {
        timeout: Nanos::from_secs(15),
        connect_timeout: Nanos::SECOND,
        retries: 2,
        failure_policy: FailurePolicy::Reload,
    };
    let keys = &["timeout", "connect_timeout", "retries", "failure_policy"];
    if let Some(map) = node.as_ref().and_then(|node| node.map(report, keys)) {
        let mut set = |key: &str, value: &mut Nanos| {
            let given = map.get(key).and_then(|node| time(&node, report));
            *value = given.unwrap_or(*value);
        };
        set("timeout", &mut proxy.timeout);
        set("connect_timeout", &mut proxy.connect_timeout);
        let retries = map
            .get("retries")
            .and_then(|node| node.whole(report, 0, MAX_RETRIES));
        proxy.retries = retries.map_or(proxy.retries, |retries| retries as usize);
        proxy.failure_policy = map
            .get("failure_policy")
            .and_then(|node| node.choice(report, POLICIES))
            .unwrap_or(FailurePolicy::Reload);
    }
    proxy
}
