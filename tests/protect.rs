//! `protect` on a real Envoy, and measured on the corpora of `tests/protect` beside ModSecurity with
//! OWASP's Core Rule Set in nginx, both in one run.
//!
//! `cargo test -p pointsman-tests --test protect side_by_side -- --nocapture` prints the table of
//! `envoy-config/protect.md`.

use host_sim::module;
use host_sim::testkit::Site;
use host_sim::wait::until;
use pointsman_core::config::Config;
use pointsman_core::http::headers::Headers;
use pointsman_core::http::request::Request;
use pointsman_core::protect::{Hit, inspect};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

const AGENT: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:143.0) Gecko/20100101 Firefox/143.0";

/// What a client sends.
#[derive(Clone, Debug)]
struct Sent {
    target: String,
    agent: String,
    cookie: Option<String>,
}

/// An item of a corpus: `value …`, `encoded …`, `target …` or `agent …`.
#[derive(Clone)]
struct Item {
    kind: String,
    text: String,
}

/// How a value comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    Once,
    Twice,
    Cookie,
    Itself,
}

const CLASSES: [&str; 4] = [
    "sql_injection",
    "cross_site_scripting",
    "path_traversal",
    "scanner",
];

fn corpus(name: &str) -> Vec<Item> {
    let path = module::repository()
        .unwrap()
        .join(format!("tests/protect/{name}.txt"));
    let text = fs::read_to_string(path).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with("# "));
    let items = lines.map(|line| {
        let (kind, text) = line.split_once(' ').unwrap();
        Item {
            kind: kind.to_owned(),
            text: text.to_owned(),
        }
    });
    items.collect()
}

fn encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' => {
                encoded.push(byte.into());
            }
            _ => write!(encoded, "%{byte:02X}").unwrap(),
        }
    }
    encoded
}

impl Item {
    fn ways(&self) -> &'static [Way] {
        match &*self.kind {
            "value" => &[Way::Once, Way::Twice, Way::Cookie],
            // It is encoded once before the way does.
            "encoded" => &[Way::Once, Way::Cookie],
            _ => &[Way::Itself],
        }
    }

    fn sent(&self, way: Way) -> Sent {
        let mut sent = Sent {
            target: "/".to_owned(),
            agent: AGENT.to_owned(),
            cookie: None,
        };
        match (way, &*self.kind) {
            (Way::Once, _) => sent.target = format!("/search?q={}", encoded(&self.text)),
            (Way::Twice, _) => {
                sent.target = format!("/search?q={}", encoded(&encoded(&self.text)));
            }
            (Way::Cookie, _) => sent.cookie = Some(format!("c={}", encoded(&self.text))),
            (_, "agent") => sent.agent = self.text.clone(),
            (_, _) => sent.target = self.text.clone(),
        }
        sent
    }
}

impl Sent {
    fn headers(&self) -> Vec<(&str, &str)> {
        let mut headers = vec![("user-agent", &*self.agent), ("accept", "*/*")];
        headers.extend(self.cookie.iter().map(|cookie| ("cookie", &**cookie)));
        headers
    }

    /// The status that a server answers. HTTP as a client writes it, byte for byte.
    fn status(&self, address: SocketAddr) -> u16 {
        let mut request = format!("GET {} HTTP/1.1\r\nHost: shop.example.com\r\n", self.target);
        for (name, value) in self.headers() {
            write!(request, "{name}: {value}\r\n").unwrap();
        }
        request += "Connection: close\r\n\r\n";
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let answer = String::from_utf8_lossy(&answer);
        let status = answer
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok());
        status.unwrap_or_else(|| panic!("{self:?}: {answer}"))
    }
}

fn configuration(mode: &str) -> Value {
    json!({
        "pools": { "web": { "targets": [{ "cluster": "web" }] } },
        "protect": { "edge": { "detect": CLASSES, "mode": mode } },
        "routes": [
            { "name": "open", "match": { "path": { "prefix": "/open" } }, "pool": "web" },
            { "name": "all", "protect": ["edge"], "pool": "web" },
        ],
    })
}

/// What the filter finds.
fn found<'c>(config: &'c Config, sent: &Sent) -> Vec<Hit<'c>> {
    let mut pairs = vec![
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "shop.example.com"),
        (":path", &*sent.target),
    ];
    pairs.extend(sent.headers());
    let headers = Headers::from_pairs(&pairs);
    let protects = config.protect.iter().map(|protect| &**protect);
    inspect(protects, &Request::new(&headers), config.max_value)
}

#[test]
fn monitor_counts_and_lets_pass_and_block_answers() {
    let attack = "/a?q=1%27%20union%20select%20password%20from%20users--";
    let of = |target: &str| Sent {
        target: target.to_owned(),
        agent: AGENT.to_owned(),
        cookie: None,
    };
    let mut site = Site::start(&configuration("monitor")).unwrap();
    let address = site.envoy.address().unwrap();
    assert_eq!(of(attack).status(address), 200);
    assert_eq!(of("/a?q=shoes").status(address), 200);
    let count = |site: &Site, what: &str| {
        let name = format!("wasmcustom.pointsman.protect.edge.{what}");
        site.envoy.stat_if_defined(&name).unwrap().unwrap_or(0)
    };
    until("the hit is counted", || count(&site, "sql_injection") == 1);
    let line = "protect edge: sql_injection in query parameter q, route all";
    until("the hit is logged", || site.envoy.log().contains(line));
    assert_eq!(count(&site, "cross_site_scripting"), 0);

    let mut block = configuration("block");
    block["protect"]["edge"]["except"] = json!([{ "query": "code" }]);
    site.update(block).unwrap();
    let address = site.envoy.address().unwrap();
    for (target, status) in [
        (attack, 403),
        ("/a?q=shoes", 200),
        ("/a?q=%253Cscript%253Ealert(1)%253C/script%253E", 403),
        ("/a?f=..%2f..%2fetc%2fpasswd", 403),
        ("/.git/config", 403),
        ("/a?code=%3Cscript%3Ealert(1)%3C/script%3E", 200),
        ("/open?q=%3Cscript%3Ealert(1)%3C/script%3E", 200),
    ] {
        until(target, || of(target).status(address) == status);
    }
    let scanner = Sent {
        agent: "sqlmap/1.7".to_owned(),
        ..of("/a")
    };
    assert_eq!(scanner.status(address), 403);
    until("what was blocked is counted", || {
        count(&site, "blocked") >= 5
    });
    for class in CLASSES {
        until(class, || count(&site, class) >= 1);
    }
    let log = site.envoy.log();
    assert!(log.contains("scanner in header user-agent, blocked, route all"));
    for payload in ["union", "password", "alert(1)", "etc/passwd", "sqlmap"] {
        assert!(!log.contains(payload), "{payload} is in the log");
    }
}

/// What was found of how many.
#[derive(Clone, Copy, Default)]
struct Share(usize, usize);

impl Share {
    fn add(&mut self, is_found: bool) {
        self.0 += usize::from(is_found);
        self.1 += 1;
    }

    fn percent(self) -> f64 {
        100.0 * self.0 as f64 / self.1.max(1) as f64
    }
}

/// For each class and way the share that is found; `ordinary` among the classes.
fn measured(mut is_found: impl FnMut(&str, &Sent) -> bool) -> BTreeMap<(String, Way), Share> {
    let mut shares: BTreeMap<(String, Way), Share> = BTreeMap::new();
    for class in CLASSES.into_iter().chain(["ordinary"]) {
        for item in corpus(class) {
            for way in item.ways() {
                if class == "ordinary" && *way == Way::Twice {
                    continue;
                }
                let sent = item.sent(*way);
                let is_found = is_found(class, &sent);
                let wrong = is_found == (class == "ordinary");
                if wrong && std::env::var_os("SHOW").is_some() {
                    println!("{class} {way:?}: {}", item.text);
                }
                shares
                    .entry((class.to_owned(), *way))
                    .or_default()
                    .add(is_found);
            }
        }
    }
    shares
}

/// The least recall and the most false alarms that are held, in percent.
const HELD: [(&str, Way, f64); 14] = [
    ("sql_injection", Way::Once, 97.0),
    ("sql_injection", Way::Twice, 97.0),
    ("sql_injection", Way::Cookie, 97.0),
    ("cross_site_scripting", Way::Once, 97.0),
    ("cross_site_scripting", Way::Twice, 97.0),
    ("cross_site_scripting", Way::Cookie, 97.0),
    ("path_traversal", Way::Once, 97.0),
    ("path_traversal", Way::Twice, 97.0),
    ("path_traversal", Way::Cookie, 97.0),
    ("scanner", Way::Itself, 97.0),
    ("ordinary", Way::Once, 1.5),
    ("ordinary", Way::Cookie, 1.5),
    ("ordinary", Way::Itself, 0.0),
    ("ordinary", Way::Twice, 0.0),
];

#[test]
fn recall_and_false_alarms_are_held() {
    let config = Config::load(configuration("monitor").to_string().as_bytes()).unwrap();
    let shares = measured(|_, sent| found(&config, sent).iter().any(|hit| hit.class.is_some()));
    for ((class, way), share) in &shares {
        let percent = share.percent();
        println!(
            "{class} {way:?}: {} of {}, {percent:.1} %",
            share.0, share.1
        );
    }
    for (class, way, held) in HELD {
        let Some(share) = shares.get(&(class.to_owned(), way)) else {
            continue;
        };
        let is_held = match class {
            "ordinary" => share.percent() <= held,
            _ => share.percent() >= held,
        };
        assert!(is_held, "{class} {way:?}: {:.1} %", share.percent());
    }
    let page = include_str!("../envoy-config/protect.md");
    for ((class, way), share) in &shares {
        let place = match way {
            Way::Once if class == "ordinary" => "awkward values in the query",
            Way::Cookie if class == "ordinary" => "awkward values in a cookie",
            Way::Itself if class == "ordinary" => "ordinary targets and user agents",
            Way::Once => "query encoded once",
            Way::Twice => "query encoded twice",
            Way::Cookie => "cookie",
            Way::Itself => "",
        };
        let what = match &**class {
            "ordinary" => "false alarms",
            "sql_injection" => "SQL injection",
            "cross_site_scripting" => "cross-site scripting",
            "path_traversal" => "path traversal",
            other => other,
        };
        let comma = if place.is_empty() { "" } else { ", " };
        let percent = format!("{:.1}", share.percent());
        let percent = percent.trim_end_matches(".0");
        let row = format!("| {what}{comma}{place}, of {} | {percent} % |", share.1);
        assert!(page.contains(&row), "protect.md has no row {row}");
    }
}

/// nginx in front of itself: one server with ModSecurity and the rules, and one without.
struct Nginx {
    process: Child,
    with_rules: SocketAddr,
    without: SocketAddr,
    _directory: tempfile::TempDir,
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

const MISSING: &str = "apt-get install nginx libnginx-mod-http-modsecurity modsecurity-crs";

impl Nginx {
    fn start() -> Nginx {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        for needed in [
            "/usr/lib/nginx/modules/ngx_http_modsecurity_module.so",
            "/usr/share/modsecurity-crs/rules",
            "/etc/modsecurity/crs/crs-setup.conf",
        ] {
            assert!(
                fs::exists(needed).unwrap(),
                "{needed} is missing: {MISSING}"
            );
        }
        // As Debian has it, and blocking: paranoia level 1. Without access to bodies no rule of phase 2
        // runs, and nearly all are of that.
        let rules = "SecRuleEngine On\nSecRequestBodyAccess On\nSecResponseBodyAccess Off\n\
                     SecUnicodeMapFile /etc/nginx/unicode.mapping 20127\nSecAuditEngine Off\n\
                     Include /etc/modsecurity/crs/crs-setup.conf\n\
                     Include /usr/share/modsecurity-crs/rules/*.conf\n";
        fs::write(path.join("rules.conf"), rules).unwrap();
        let free: Vec<TcpListener> = (0..3)
            .map(|_| TcpListener::bind("127.0.0.1:0").unwrap())
            .collect();
        let [with_rules, without, behind] = [0, 1, 2].map(|n: usize| free[n].local_addr().unwrap());
        drop(free);
        let shown = path.display();
        let config = format!(
            "load_module /usr/lib/nginx/modules/ngx_http_modsecurity_module.so;\n\
             daemon off; master_process off; pid {shown}/pid; error_log {shown}/error.log crit;\n\
             events {{ worker_connections 64; }}\n\
             http {{ access_log off; large_client_header_buffers 8 32k;\n\
             client_body_temp_path {shown}/1; proxy_temp_path {shown}/2;\n\
             fastcgi_temp_path {shown}/3; uwsgi_temp_path {shown}/4; scgi_temp_path {shown}/5;\n\
             server {{ listen {with_rules}; modsecurity on;\n\
             modsecurity_rules_file {shown}/rules.conf;\n\
             location / {{ proxy_pass http://{behind}; }} }}\n\
             server {{ listen {without}; location / {{ proxy_pass http://{behind}; }} }}\n\
             server {{ listen {behind}; location / {{ return 200; }} }} }}\n"
        );
        fs::write(path.join("nginx.conf"), config).unwrap();
        let process = Command::new("nginx")
            .arg("-c")
            .arg(path.join("nginx.conf"))
            .stdout(Stdio::null())
            .stderr(fs::File::create(path.join("stderr")).unwrap())
            .spawn()
            .unwrap_or_else(|error| panic!("nginx: {error}: {MISSING}"));
        let nginx = Nginx {
            process,
            with_rules,
            without,
            _directory: directory,
        };
        until("nginx listens", || TcpStream::connect(with_rules).is_ok());
        nginx
    }
}

/// What a process has taken of the CPU so far, in ticks of 10 ms.
fn ticks(process: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let fields: Vec<&str> = fields.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// What the ordinary corpus costs a process for each request, in microseconds.
fn cost(process: u32, address: SocketAddr) -> f64 {
    const ROUNDS: usize = 3;
    let items = corpus("ordinary");
    let before = ticks(process);
    for _ in 0..ROUNDS {
        for item in &items {
            item.sent(item.ways()[0]).status(address);
        }
    }
    (ticks(process) - before) as f64 * 10_000.0 / (ROUNDS * items.len()) as f64
}

#[test]
fn side_by_side_with_modsecurity() {
    let nginx = Nginx::start();
    let config = Config::load(configuration("monitor").to_string().as_bytes()).unwrap();
    let ours = measured(|_, sent| found(&config, sent).iter().any(|hit| hit.class.is_some()));
    let theirs = measured(|_, sent| sent.status(nginx.with_rules) == 403);
    println!("| | Pointsman | ModSecurity with CRS 3.3.4, paranoia level 1 |\n|---|---|---|");
    for ((class, way), share) in &ours {
        let other = theirs[&(class.clone(), *way)];
        let what = match (&**class, way) {
            ("ordinary", Way::Itself) => "false alarms, targets and user agents".to_owned(),
            ("ordinary", Way::Once) => "false alarms, query".to_owned(),
            ("ordinary", way) => format!("false alarms, {way:?}").to_lowercase(),
            (class, Way::Itself) => class.to_owned(),
            (class, Way::Once) => format!("{class}, query encoded once"),
            (class, Way::Twice) => format!("{class}, query encoded twice"),
            (class, Way::Cookie) => format!("{class}, cookie"),
        };
        println!(
            "| {what} | {:.1} % of {} | {:.1} % |",
            share.percent(),
            share.1,
            other.percent()
        );
        // Of what was sent all was looked at: nobody else counts, or answers in its place.
        assert_eq!(share.1, other.1);
    }
    // It looked: the rules find most of what they are made for.
    let known = theirs[&("sql_injection".to_owned(), Way::Once)];
    assert!(known.percent() > 80.0, "the rules are not on");

    let process = nginx.process.id();
    let added = cost(process, nginx.with_rules) - cost(process, nginx.without);
    let mut site = Site::start(&configuration("monitor")).unwrap();
    let envoy = site.envoy.process_id();
    let with = cost(envoy, site.envoy.address().unwrap());
    let mut open = configuration("monitor");
    open["routes"][1]["protect"] = json!([]);
    site.update(open).unwrap();
    let own = with - cost(envoy, site.envoy.address().unwrap());
    println!("| added CPU for each request | {own:.0} µs | {added:.0} µs |");
}
