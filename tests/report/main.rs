//! The report of `host-sim run`, as a browser shows it: on a phone and on a screen, in the light and
//! in the dark, on paper, with three targets and with a hundred.

mod browser;

use browser::Browser;
use host_sim::simulation::scenario::Scenario;
use host_sim::simulation::{self, Chooser, report};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// What text on a ground needs, and what graphics need (WCAG 2.2, 1.4.3 and 1.4.11).
const TEXT: f64 = 4.5;
const GRAPHICS: f64 = 3.0;

/// The contrast of all text, and of all colours of legends, with what is behind them: the least of
/// each.
const CONTRAST: &str = r#"(() => {
    const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
    const luminance = (color) => {
        canvas.fillStyle = color;
        canvas.fillRect(0, 0, 1, 1);
        const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3)
            .map((x) => x / 255).map((x) => x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const ground = getComputedStyle(document.body).backgroundColor;
    const contrast = (color) => {
        const [low, high] = [luminance(color), luminance(ground)].sort((x, y) => x - y);
        return (high + 0.05) / (low + 0.05);
    };
    const texts = [];
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
        const element = walker.currentNode.parentElement;
        if (walker.currentNode.data.trim() && !element.closest("script, [hidden]")) {
            const style = getComputedStyle(element);
            texts.push(contrast(element.closest("svg") ? style.fill : style.color));
        }
    }
    const keys = [...document.querySelectorAll(".key")];
    const graphics = keys.map((key) => contrast(key.style.getPropertyValue("--c")));
    return { texts: texts.length, text: Math.min(...texts), graphics: Math.min(...graphics) };
})()"#;

/// Three targets that take 20 ms each, a fault, and a pause.
const THREE: &str = r#"
# One of three fails for a while, and at 30 s
# nobody asks.
#
# Then all is well.
config:
  version: "7.1"
  pools: { web: { targets: [{ cluster: blue }, { cluster: green }, { cluster: spare }] } }
  routes: [{ name: all, pool: web }]
duration: 40s
every_target: { service: { constant: 20ms } }
traffic:
  - name: people
    rate: [{ at: 30s, per_second: 90 }, { at: 30s, per_second: 0 }, { at: 33s, per_second: 0 }, { at: 33s, per_second: 90 }]
    request: { url: "http://shop.example.com/" }
faults:
  - { at: 10s, until: 20s, target: green, fail: { status: 500, share: 0.2 } }
  - { at: 25s, trap: 1 }
expect:
  - { errors: { max: 0 }, until: 9s }
  - { p99: { max: 100ms } }
  - { share: { min: 0.3, max: 0.4 }, target: blue }
"#;

/// A hundred, of which one has a fault and one gets nothing, and a promise that is not kept.
fn hundred() -> String {
    let targets: Vec<_> = (0..100)
        .map(|number| format!("{{ endpoint: \"10.0.0.{number}:80\" }}"))
        .collect();
    format!(
        r#"
config:
  pools:
    api: {{ cluster: api, targets: [{}] }}
    idle: {{ targets: [{{ cluster: nobody-asks-it }}] }}
  routes: [{{ name: none, match: {{ path: {{ exact: /none }} }}, pool: idle }}, {{ name: all, pool: api }}]
duration: 20s
traffic: [{{ name: people, rate: 300, request: {{ url: "http://h/" }} }}]
faults: [{{ at: 5s, until: 15s, target: "10.0.0.42:80", fail: {{ status: 500, share: 0.5 }} }}]
expect: [{{ errors: {{ max: 0 }} }}, {{ p99: {{ max: 10s }} }}]
"#,
        targets.join(", ")
    )
}

/// The reports of both, in a directory.
struct Reports {
    directory: TempDir,
}

impl Reports {
    fn write() -> Reports {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in [("three", THREE.to_owned()), ("hundred", hundred())] {
            let mut scenario = Scenario::parse(name, &text, Path::new("")).unwrap();
            scenario.file = Some(format!("scenarios/{name}.yaml"));
            let run = simulation::run(&scenario, Chooser::Filter).unwrap();
            let verdicts = simulation::judge(&scenario, &run);
            let html = report::html(&scenario, &run, &verdicts, "host-sim 9.9.9, 2026-01-02");
            fs::write(directory.path().join(format!("{name}.html")), html).unwrap();
        }
        Reports { directory }
    }

    fn of(&self, name: &str) -> PathBuf {
        self.directory.path().join(format!("{name}.html"))
    }
}

/// One browser for all: it takes longer to start than to do this.
#[test]
fn a_report_can_be_read_everywhere() {
    let reports = Reports::write();
    let mut browser = Browser::start();
    for name in ["three", "hundred"] {
        for width in [390, 1280] {
            for scheme in ["light", "dark"] {
                browser.open(&reports.of(name), width, "screen", scheme);
                println!("{name}, {width} px, {scheme}");
                fits(&mut browser, width);
                can_be_seen(&mut browser, scheme == "dark");
                assert_eq!(browser.errors(), [&Value::Null; 0]);
                assert_eq!(browser.requests().len(), 1, "{:?}", browser.requests());
            }
        }
    }
    what_matters_stands_first(&mut browser, &reports);
    values_are_shown_under_the_cursor(&mut browser, &reports);
    many_targets_are_folded(&mut browser, &reports);
    paper_is_light_and_complete(&mut browser, &reports);
}

fn fits(browser: &mut Browser, width: u32) {
    let wide = browser.evaluate("document.documentElement.scrollWidth");
    assert!(wide.as_u64() <= Some(u64::from(width)), "{wide}");
    // A table that does not fit scrolls by itself.
    let table = "[...document.querySelectorAll('.wide')].every(\
                 (it) => it.getBoundingClientRect().right <= innerWidth)";
    assert_eq!(browser.evaluate(table), true);
}

fn can_be_seen(browser: &mut Browser, dark: bool) {
    let found = browser.evaluate(CONTRAST);
    assert!(found["texts"].as_u64() > Some(100), "{found}");
    assert!(found["text"].as_f64() >= Some(TEXT), "{found}");
    assert!(found["graphics"].as_f64() >= Some(GRAPHICS), "{found}");
    let ground = browser.evaluate("getComputedStyle(document.body).backgroundColor");
    assert_eq!(ground == "rgb(255, 255, 255)", !dark, "{ground}");
}

fn what_matters_stands_first(browser: &mut Browser, reports: &Reports) {
    for (name, verdict) in [("three", "✓ passed 3 of 3"), ("hundred", "✗ failed 1 of 2")] {
        browser.open(&reports.of(name), 390, "screen", "light");
        let text = browser.evaluate("document.body.innerText");
        let text = text.as_str().unwrap();
        assert!(text.starts_with(verdict), "{text}");
        let title = browser.evaluate("document.title");
        assert!(title.as_str().unwrap().contains(&verdict[4..]), "{title}");
    }
    browser.open(&reports.of("three"), 1280, "screen", "light");
    let text = browser.evaluate("document.body.innerText");
    let text = text.as_str().unwrap();
    // In this order: the verdict, the story, each promise with what was found, and what was played.
    let mut rest = text;
    for part in [
        "✓ passed 3 of 3",
        "three",
        "One of three fails for a while, and at 30 s nobody asks.",
        "Then all is well.",
        "✓ share of blue: at least 30.00 %, at most 40.00 %\t33.",
        "scenarios/three.yaml",
        "version 7.1",
        "40 s of virtual time, 2 workers, seed 1: ",
        "host-sim 9.9.9, 2026-01-02",
        "20 % of green's answers: 500\t10 s\t20 s",
        "worker 1's VM traps\t25 s",
        "no traffic, as planned\t30 s\t33 s",
    ] {
        let at = rest.find(part);
        rest = &rest[at.unwrap_or_else(|| panic!("no {part:?} in {rest}"))..];
    }
    assert!(!text.contains("\t-0"), "{text}");
    // Each plot says the same in words above itself, and has words for who does not see it.
    let plots = browser.evaluate(
        "[...document.querySelectorAll('svg')].map((it) => \
         [it.getAttribute('role'), it.getAttribute('aria-label'), it.textContent])",
    );
    let plots = plots.as_array().unwrap();
    assert!(plots.len() >= 6, "{plots:?}");
    for plot in plots {
        assert_eq!(plot[0], "img");
        assert!(plot[1].as_str().unwrap().len() > 20, "{plot}");
        for words in [
            "20 % of green's answers: 500",
            "worker 1's VM traps",
            "no traffic, as planned",
        ] {
            assert!(plot[2].as_str().unwrap().contains(words), "{words}: {plot}");
        }
    }
}

/// The selector of the plot with this heading.
fn plot(title: &str) -> String {
    format!("figure:has(h2[data-title='{title}']) .plot")
}

fn values_are_shown_under_the_cursor(browser: &mut Browser, reports: &Reports) {
    let values = |browser: &mut Browser, title: &str| {
        browser.evaluate(&format!(
            "(() => {{ const it = document.querySelector(\"{} .values\"); \
             return it.hidden ? null : it.innerText.split(/\\s*\\n\\s*/) }})()",
            plot(title)
        ))
    };
    for width in [390, 1280] {
        browser.open(&reports.of("three"), width, "screen", "light");
        assert_eq!(values(browser, "Latency"), Value::Null);
        browser.point_at(&plot("Latency"));
        let shown = values(browser, "Latency");
        let shown: Vec<_> = shown.as_array().unwrap().iter().collect();
        // The middle of the plot is a little before the middle of its time axis.
        let at = shown[0].as_str().unwrap();
        let seconds: f64 = at
            .strip_prefix("at ")
            .and_then(|at| at.strip_suffix(" s"))
            .and_then(|at| at.parse().ok())
            .unwrap_or_else(|| panic!("{at}"));
        assert!((15.0..20.0).contains(&seconds), "{at}");
        let latency = ["median", "20.0 ms", "p90", "20.0 ms", "p99", "20.0 ms"];
        assert_eq!(shown[1..], latency.map(Value::from).each_ref()[..]);
        // Away from it they are gone.
        browser.point_at("h1");
        assert_eq!(values(browser, "Latency"), Value::Null);
    }
    // By the keys, from the first value on.
    browser.evaluate(&format!(
        "document.querySelector(\"{}\").focus()",
        plot("Share")
    ));
    browser.press("ArrowRight");
    let first = values(browser, "Share");
    browser.press("ArrowRight");
    let second = values(browser, "Share");
    assert_eq!(
        [&first[0], &second[0]],
        [&json!("at 0.2 s"), &json!("at 0.5 s")]
    );
    assert_eq!(first[1], "blue");
    browser.press("ArrowLeft");
    assert_eq!(values(browser, "Share"), first);
    // In the pause there is nothing to show.
    browser.evaluate(&format!(
        "document.querySelector(\"{}\").focus()",
        plot("Latency")
    ));
    for _ in 0..95 {
        browser.press("ArrowRight");
    }
    let quiet = values(browser, "Latency");
    assert_eq!(
        quiet,
        json!(["at 31.5 s", "median", "–", "p90", "–", "p99", "–"])
    );
    assert_eq!(browser.errors(), [&Value::Null; 0]);
}

fn many_targets_are_folded(browser: &mut Browser, reports: &Reports) {
    browser.open(&reports.of("hundred"), 390, "screen", "light");
    let text = browser.evaluate("document.body.innerText");
    let text = text.as_str().unwrap();
    assert!(
        text.contains("1 target got no request: nobody-asks-it"),
        "{text}"
    );
    let keys = browser.evaluate(&format!(
        "[...document.querySelector(\"{}\").closest('figure').querySelectorAll('.key')]\
         .map((it) => [it.textContent, it.style.getPropertyValue('--c')])",
        plot("In flight")
    ));
    let keys: Vec<_> = keys.as_array().unwrap().iter().collect();
    let names: Vec<_> = keys.iter().filter_map(|key| key[0].as_str()).collect();
    assert_eq!(keys.len(), 8, "{names:?}");
    assert!(
        names.contains(&"10.0.0.42:80"),
        "the one with the fault: {names:?}"
    );
    assert_eq!(names[7], "93 others, each");
    // All looks differ.
    let mut looks: Vec<_> = keys.iter().filter_map(|key| key[1].as_str()).collect();
    looks.sort_unstable();
    looks.dedup();
    assert_eq!(looks.len(), keys.len(), "{looks:?}");
    let rows = "document.querySelectorAll('details tbody tr').length";
    assert_eq!(browser.evaluate(rows), 100);
    assert_eq!(
        browser.evaluate("document.querySelector('details').open"),
        false
    );
}

fn paper_is_light_and_complete(browser: &mut Browser, reports: &Reports) {
    // A4 at 96 to the inch.
    browser.open(&reports.of("hundred"), 794, "print", "dark");
    fits(browser, 794);
    can_be_seen(browser, false);
    let pdf = browser.command("Page.printToPDF", json!({}));
    assert!(
        pdf["data"].as_str().unwrap().starts_with("JVBERi0"),
        "%PDF-"
    );
    assert_eq!(
        browser.evaluate("document.querySelector('details').open"),
        true
    );
    assert_eq!(browser.errors(), [&Value::Null; 0]);
}
