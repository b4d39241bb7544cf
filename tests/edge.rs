//! `envoy-config/edge.yaml` as a client sees it that comes over TLS: each part that the file has
//! beside those of `envoy.yaml`, by its letter. Where it is about seconds the file's own are made
//! shorter.

use host_sim::backend::Answer;
use host_sim::client::{header, session_cookie, status_and_backend};
use host_sim::envoy::fleet::Fleet;
use host_sim::envoy::{self, Deployment, Wanted, install};
use host_sim::exchange::Response;
use host_sim::module;
use host_sim::testkit::{Site, load};
use host_sim::wait::until;
use hyper::body::Bytes;
use pointsman_tests::tls::{Certificates, Client, PUBLIC, Raw, Terminator};
use rustls::ClientConfig;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{scope, sleep, spawn};
use std::time::{Duration, Instant};

const SHOP: &str = "shop.example.com";
const API: &str = "api.example.com";
const HSTS: &str = "max-age=31536000; includeSubDomains";
const CACHE: &str = "envoy.filters.http.cache";
const BOTH: [&str; 2] = ["h2", "http/1.1"];

/// The shipped file, with a backend at each endpoint, and certificates.
struct Edge {
    site: Site,
    certificates: Certificates,
    /// Before the backend of `payments`.
    payments: Terminator,
}

impl Edge {
    fn start(payments: &str, adjust: impl FnOnce(&mut Deployment)) -> Edge {
        let certificates = Certificates::make().unwrap();
        let deployment = certificates
            .deployment("edge.yaml", &module::build().unwrap())
            .unwrap()
            .on_free_ports();
        let (fleet, mut deployment) = Fleet::in_place_of_endpoints(deployment).unwrap();
        let behind = fleet.members().iter().map(|member| &member.backend);
        let behind = behind.clone().find(|it| it.name() == "9401").unwrap();
        let payments = certificates.serve(payments, behind.address()).unwrap();
        deployment = deployment.move_endpoint(behind.address(), payments.address);
        adjust(&mut deployment);
        Edge {
            site: Site::of(&install::find(Wanted::Any).unwrap(), fleet, deployment).unwrap(),
            certificates,
            payments,
        }
    }

    fn https(&self) -> SocketAddr {
        self.site.envoy.address().unwrap()
    }

    fn config(&self, protocols: &[&str]) -> Arc<ClientConfig> {
        self.certificates.client(PUBLIC, None, protocols).unwrap()
    }

    fn client(&self, host: &str) -> Client {
        Client::connect(self.https(), host, &self.config(&BOTH)).unwrap()
    }

    fn stat(&self, name: &str) -> u64 {
        self.site.envoy.stat(name).unwrap()
    }

    /// What all backends answer from now on.
    fn answers(&self, headers: &[(&str, &str)], body: &[u8]) {
        self.site.fleet.answer(&Answer::With(answer(headers, body)));
    }
}

fn answer(headers: &[(&str, &str)], body: &[u8]) -> Response {
    let bytes = |(name, value): &(&str, &str)| (name.as_bytes().to_vec(), value.as_bytes().into());
    Response {
        status: 200,
        headers: headers.iter().map(bytes).collect(),
        body: body.to_vec(),
    }
}

/// `GET path` of the shop: the status, and the port of the backend that answered.
fn get(client: &mut Client, path: &str) -> (u16, String) {
    status_and_backend(&client.get(SHOP, path, &[]).unwrap())
}

#[test]
fn a_client_over_tls_sees_each_part_of_the_edge() {
    let edge = Edge::start("payments", |deployment| {
        let hosts = &mut deployment.connection_manager_mut()["route_config"]["virtual_hosts"];
        for route in hosts[0]["routes"].as_array_mut().unwrap() {
            assert_eq!(route["route"]["timeout"], "15s");
            route["route"]["timeout"] = "2s".into();
        }
        refuse_and_limit_by_headers(deployment);
    });
    protocols_ciphers_and_certificates(&edge);
    redirect_and_hsts(&edge);
    redirect_keeps_method_and_body(&edge);
    what_envoy_yaml_has_holds_here_too(&edge);
    mutual_tls_to_a_backend(&edge);
    upstream_limits_and_keep_alive(&edge);
    silent_backends_are_asked(&edge);
    let known = tempfile::NamedTempFile::new().unwrap();
    let in_days = |days: u32| date(&format!("+{days} days"));
    let until = https_for_a_client_that_remembers(&edge, known.path());
    assert!((in_days(364)..in_days(366)).contains(&until), "{until}");
    compression(&edge);
    cache(&edge);
    one_answer_is_kept_for_all(&edge);
    times(&edge);
    web_sockets(edge);
}

/// (A), (B)
fn protocols_ciphers_and_certificates(edge: &Edge) {
    for (offered, is_http2) in [(&BOTH[..], true), (&["http/1.1"], false), (&[], false)] {
        let mut client = Client::connect(edge.https(), SHOP, &edge.config(offered)).unwrap();
        assert_eq!(client.is_http2(), is_http2, "{offered:?}");
        assert_eq!(get(&mut client, "/").0, 200, "{offered:?}");
    }
    let shown = |host: &str| edge.client(host).certificate;
    let certificate = |name: &str| edge.certificates.certificate(name).unwrap();
    assert_eq!(shown(SHOP), certificate(SHOP));
    assert_eq!(shown("eu.shop.example.com"), certificate(SHOP));
    assert_eq!(shown(API), certificate(API));
    // The name of another host gets the first, which is not its own.
    assert!(Client::connect(edge.https(), "elsewhere.example.com", &edge.config(&BOTH)).is_err());
    let mut client = edge.client(API);
    let answer = client.get(API, "/", &[]).unwrap();
    assert!(["9101", "9102", "9103"].contains(&header(&answer, "x-backend")));
    // One HTTP/2 connection for two hosts of one certificate, and for one of another.
    let mut client = edge.client(SHOP);
    assert!(client.is_http2());
    for (host, backends) in [
        (SHOP, &["9001", "9002"][..]),
        ("eu.shop.example.com", &["9001", "9002"]),
        (API, &["9101", "9102", "9103"]),
    ] {
        let answer = client.get(host, "/", &[]).unwrap();
        assert!(backends.contains(&header(&answer, "x-backend")), "{host}");
    }
    // What openssl says that it can do with the ports that offer less.
    let refused = |version: &str, cipher: &str| {
        let output = Command::new("openssl")
            .args(["s_client", "-connect", &edge.https().to_string(), version])
            .args(["-cipher", cipher, "-servername", SHOP])
            .stdin(std::process::Stdio::null())
            .output()
            .unwrap();
        !output.status.success()
    };
    assert!(!refused("-tls1_2", "ECDHE+AESGCM"));
    assert!(refused("-tls1_1", "ALL:@SECLEVEL=0"));
    assert!(refused("-tls1_2", "ECDHE-ECDSA-AES128-SHA"));
}

/// (E), (H)
fn redirect_and_hsts(edge: &Edge) {
    let http = edge.site.envoy.listener("http").unwrap();
    let mut plain = host_sim::client::Client::new(http).unwrap();
    let sent = plain.get(SHOP, "/a?b=c").unwrap();
    assert_eq!(
        (sent.status().as_u16(), header(&sent, "location")),
        (308, "https://shop.example.com:10443/a?b=c")
    );
    assert_eq!(header(&sent, "strict-transport-security"), "");
    // In a backend's answer, in Pointsman's, and in Envoy's own; a backend's takes no precedence.
    edge.answers(&[("strict-transport-security", "max-age=0")], b"");
    let mut client = edge.client(SHOP);
    for (host, path, status) in [
        (SHOP, "/", 200),
        (SHOP, "/internal", 403),
        ("a.org", "/", 404),
    ] {
        let answer = client.get(host, path, &[]).unwrap();
        assert_eq!(answer.status(), status, "{host}{path}");
        assert_eq!(header(&answer, "strict-transport-security"), HSTS, "{path}");
    }
    edge.site.fleet.answer(&Answer::Name);
}

/// (H): "with the same method and body", as curl follows it.
fn redirect_keeps_method_and_body(edge: &Edge) {
    let http = edge.site.envoy.listener("http").unwrap().port();
    let https = edge.https().port();
    let output = Command::new("curl")
        .args(["-s", "-L", "-o", "/dev/null", "-w", "%{http_code}"])
        .arg("--cacert")
        .arg(edge.certificates.path_of(PUBLIC, "tls.crt"))
        .args(["--resolve", &format!("{SHOP}:{http}:127.0.0.1")])
        .args(["--connect-to", &format!("{SHOP}:10443:127.0.0.1:{https}")])
        .args(["--data", "a=b", &format!("http://{SHOP}:{http}/form")])
        .output();
    let output = output.expect("curl: apt-get install curl");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "200");
    let received = edge.site.fleet.take_received();
    let mut forms = received.iter().filter(|it| it.headers[1].1 == b"/form");
    let form = forms.next().unwrap();
    assert_eq!(
        (&form.headers[0].1[..], &form.body[..]),
        (&b"POST"[..], &b"a=b"[..])
    );
}

/// (E): curl keeps what it is told as a browser does. It asks over HTTP first, where it is told
/// nothing; then over HTTPS; and from then on it turns `http:` into `https:` by itself. Until when,
/// by the file in which it keeps that.
fn https_for_a_client_that_remembers(edge: &Edge, known: &Path) -> String {
    let http = edge.site.envoy.listener("http").unwrap();
    let authority = edge.certificates.path_of(PUBLIC, "tls.crt");
    let ask = |url: &str, host: &str, port: u16| {
        let output = Command::new("curl")
            .args(["-s", "-o", "/dev/null", "-w", "%{scheme} %{http_code}"])
            .arg("--hsts")
            .arg(known)
            .arg("--cacert")
            .arg(&authority)
            .args(["--resolve", &format!("{host}:{port}:127.0.0.1")])
            .arg(format!("{url}://{host}:{port}/"))
            .output();
        let output = output.expect("curl: apt-get install curl");
        String::from_utf8(output.stdout).unwrap().to_uppercase()
    };
    let kept = || {
        let text = std::fs::read_to_string(known).unwrap();
        let line = text.lines().find(|line| line.contains(SHOP))?;
        Some(line.split('"').nth(1)?.to_owned())
    };
    let sub = "eu.shop.example.com";
    let before = kept();
    if before.is_none() {
        assert_eq!(ask("http", SHOP, http.port()), "HTTP 308");
        assert_eq!(kept(), None);
    }
    assert_eq!(ask("https", SHOP, edge.https().port()), "HTTPS 200");
    // Only over TLS does that port answer.
    for host in [SHOP, sub] {
        assert_eq!(
            ask("http", host, edge.https().port()),
            "HTTPS 200",
            "{host}"
        );
    }
    kept().unwrap()
}

/// A time as curl writes it.
fn date(when: &str) -> String {
    let output = Command::new("date")
        .args(["-u", "-d", when, "+%Y%m%d %H:%M:%S"])
        .output();
    String::from_utf8(output.unwrap().stdout)
        .unwrap()
        .trim()
        .to_owned()
}

/// (1), (2), (4), (5), the path, the client's address: `tests/edge_advice.rs` asks more of each.
fn what_envoy_yaml_has_holds_here_too(edge: &Edge) {
    let mut client = edge.client(SHOP);
    for path in [
        "/internal",
        "/a/../internal",
        "//internal",
        "/;x/internal;y",
        "/public/%2e%2e;/internal",
    ] {
        assert_eq!(get(&mut client, path).0, 403, "{path}");
    }
    assert_eq!(get(&mut client, "/x%2f..%2finternal").0, 307);
    let forged = [
        ("x-pointsman-cluster", "payments"),
        ("x-pointsman-endpoint", "127.0.0.1:1"),
    ];
    let answer = client.get(SHOP, "/", &forged).unwrap();
    assert!(["9001", "9002"].contains(&header(&answer, "x-backend")));
    // "A backend that reads x-forwarded-client-cert finds nothing that a client wrote."
    edge.site.fleet.take_received();
    let forged = [
        ("x-forwarded-client-cert", "URI=spiffe://a"),
        ("x-other", "a"),
    ];
    assert_eq!(client.get(SHOP, "/", &forged).unwrap().status(), 200);
    let received = edge.site.fleet.take_received();
    let mut names = received.iter().flat_map(|it| &it.headers).map(|it| &it.0);
    assert!(names.clone().any(|name| name == b"x-other"));
    assert!(!names.any(|name| name == b"x-forwarded-client-cert"));
    let mut http1 = Client::connect(edge.https(), SHOP, &edge.config(&[])).unwrap();
    assert_eq!(http1.get(SHOP, "/", &[("x_a", "b")]).unwrap().status(), 400);
    // A session: the cookie that only this host, over TLS, gets to see.
    let mut client = edge.client(SHOP);
    let first = client.get(SHOP, "/", &[]).unwrap();
    let cookie = session_cookie(&first).unwrap();
    assert!(cookie.starts_with("__Host-pm="), "{cookie}");
    for _ in 0..5 {
        let next = client.get(SHOP, "/", &[("cookie", &cookie)]).unwrap();
        assert_eq!(header(&next, "x-backend"), header(&first, "x-backend"));
    }
    // The peer is who it is, whatever it says.
    let statuses: Vec<_> = (0..8)
        .map(|number| format!("203.0.113.{number}"))
        .map(|list| {
            client
                .get(SHOP, "/login", &[("x-forwarded-for", &list)])
                .unwrap()
        })
        .map(|answer| answer.status().as_u16())
        .collect();
    assert!(
        statuses.starts_with(&[200, 200, 200]) && statuses.contains(&429),
        "{statuses:?}"
    );
}

/// (K)
fn mutual_tls_to_a_backend(edge: &Edge) {
    let mut client = edge.client(SHOP);
    assert_eq!(get(&mut client, "/pay/1"), (200, "9401".to_owned()));
    let seen = edge.payments.seen();
    assert_eq!(seen, [edge.certificates.certificate("edge").unwrap()]);
}

/// (I), (J)
fn upstream_limits_and_keep_alive(edge: &Edge) {
    for (what, most) in [
        ("cx", 1024),
        ("rq", 4096),
        ("pending", 1024),
        ("retries", 100),
    ] {
        let left = edge.stat(&format!(
            "cluster.api.circuit_breakers.default.remaining_{what}"
        ));
        assert!(
            (most - 10..=most).contains(&left),
            "{what}: {left} of {most}"
        );
    }
    let before = edge.stat("cluster.api.upstream_cx_total");
    let mut client = edge.client(API);
    for _ in 0..40 {
        assert_eq!(client.get(API, "/", &[]).unwrap().status(), 200);
    }
    // One connection comes to one worker: at most one to each of the three endpoints.
    assert!(edge.stat("cluster.api.upstream_cx_total") <= before + 3);
    // Kept for 4 s.
    let open = || edge.stat("cluster.api.upstream_cx_active");
    assert!(open() > 0);
    until("they are closed before the backend would", || open() == 0);
}

/// (J): "TCP asks a backend that has been silent for 30 s". The kernel's timer of a connection to one
/// of these ports is that of keep-alive, and is over within that time.
fn silent_backends_are_asked(edge: &Edge) {
    let members = edge.site.fleet.members().iter();
    let ports: Vec<_> = members.map(|it| it.backend.address().port()).collect();
    let is_watched = |line: &str| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let port = fields.get(2)?.split_once(':')?.1;
        let is_ours = ports.contains(&u16::from_str_radix(port, 16).ok()?);
        // ESTABLISHED; the kind of timer, and hundredths of a second.
        let (kind, left) = fields.get(5)?.split_once(':')?;
        let left = u64::from_str_radix(left, 16).ok()?;
        (is_ours && fields[3] == "01" && kind == "02").then_some(left <= 3000)
    };
    let mut client = edge.client(API);
    // The connection is closed after 4 s without a request.
    until("the kernel watches a connection", || {
        assert_eq!(client.get(API, "/", &[]).unwrap().status(), 200);
        let connections = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let mut watched = connections.lines().filter_map(is_watched).peekable();
        watched.peek().is_some() && watched.all(|is_soon| is_soon)
    });
}

/// (F)
fn compression(edge: &Edge) {
    let text = "all work and no play ".repeat(200);
    let mut client = edge.client(SHOP);
    let mut length = |kind: &str, accepts: &str, control: &str| {
        edge.answers(
            &[("content-type", kind), ("cache-control", control)],
            text.as_bytes(),
        );
        let answer = client
            .get(SHOP, "/text", &[("accept-encoding", accepts)])
            .unwrap();
        assert_eq!(answer.status(), 200);
        let body: &Bytes = answer.body();
        (header(&answer, "content-encoding").to_owned(), body.len())
    };
    let (coding, size) = length("text/html", "gzip, br", "");
    assert!(
        coding == "gzip" && size < text.len() / 10,
        "{coding} {size}"
    );
    let plain = (String::new(), text.len());
    assert_eq!(length("text/html", "identity", ""), plain);
    assert_eq!(length("image/png", "gzip", ""), plain);
    assert_eq!(length("text/html", "gzip", "no-transform"), plain);
    edge.site.fleet.answer(&Answer::Name);
}

/// (G)
fn cache(edge: &Edge) {
    let asked = || edge.site.fleet.take_received().len();
    let mut client = edge.client(SHOP);
    edge.answers(
        &[
            ("cache-control", "max-age=600"),
            ("content-type", "text/css"),
        ],
        &[b'a'; 4000],
    );
    let accepts = [("accept-encoding", "gzip")];
    let first = client.get(SHOP, "/static/a.css", &accepts).unwrap();
    assert_eq!((first.status().as_u16(), header(&first, "age")), (200, ""));
    edge.answers(&[("cache-control", "max-age=600")], b"new");
    // It is written by another thread.
    let mut kept = None;
    until("an answer is kept", || {
        let answer = client.get(SHOP, "/static/a.css", &accepts).unwrap();
        let is_kept = !header(&answer, "age").is_empty();
        kept = is_kept.then_some(answer);
        is_kept
    });
    // Where the first was not yet kept, the backend was asked again, and gave another.
    let kept = kept.unwrap();
    assert_eq!(kept.status(), 200);
    assert_eq!(header(&kept, "strict-transport-security"), HSTS);
    asked();
    let again = client.get(SHOP, "/static/a.css", &[]).unwrap();
    assert!(!header(&again, "age").is_empty());
    let asked_for_it = |path: &[u8]| {
        let received = edge.site.fleet.take_received();
        received.iter().filter(|it| it.headers[1].1 == path).count()
    };
    assert_eq!(asked_for_it(b"/static/a.css"), 0, "nobody was asked");
    // Not what the backend does not allow, and not elsewhere.
    for (control, path) in [("no-store", "/static/b.css"), ("max-age=600", "/c.css")] {
        edge.answers(&[("cache-control", control)], b"");
        for _ in 0..3 {
            let answer = client.get(SHOP, path, &[]).unwrap();
            assert_eq!(
                (answer.status().as_u16(), header(&answer, "age")),
                (200, ""),
                "{path}"
            );
        }
        assert_eq!(asked_for_it(path.as_bytes()), 3, "{path}");
    }
    edge.site.fleet.answer(&Answer::Name);
}

/// Two routes of Pointsman's, for requests of static paths with these headers.
fn refuse_and_limit_by_headers(deployment: &mut Deployment) {
    let configuration = deployment.configuration_mut();
    configuration["rate_limits"]["once"] =
        json!({ "requests": 1, "per": "1h", "key": ["client_ip"] });
    let with = |name: &str| json!({ "headers": [{ "name": name, "exact": "1" }] });
    let routes = configuration["routes"].as_array_mut().unwrap();
    let refused =
        json!({ "name": "refused", "match": with("x-refused"), "respond": { "status": 403 } });
    let limited = json!({ "name": "limited", "match": with("x-limited"), "rate_limits": ["once"], "pool": "static" });
    routes.splice(0..0, [refused, limited]);
}

/// (F): "Before the cache, which so keeps one answer for all." (G): "`age` says how long ago that
/// was"; "behind Pointsman, so that its refusals and limits hold for these requests too".
fn one_answer_is_kept_for_all(edge: &Edge) {
    let text = "all work and no play ".repeat(200);
    let mut client = edge.client(SHOP);
    let mut ask = |path: &str, headers: &[(&str, &str)]| {
        let answer = client.get(SHOP, path, headers).unwrap();
        let age = header(&answer, "age").parse::<u64>().ok();
        let coding = header(&answer, "content-encoding").to_owned();
        (answer.status().as_u16(), age, coding, answer.into_body())
    };
    let headers = [
        ("cache-control", "max-age=600"),
        ("content-type", "text/css"),
    ];
    edge.answers(&headers, text.as_bytes());
    let gzip = [("accept-encoding", "gzip")];
    until("an answer is kept", || {
        ask("/static/all", &gzip).1.is_some()
    });
    edge.answers(&headers, b"new");
    let is_old = |age: Option<u64>| age >= Some(1);
    until("it is a second old", || is_old(ask("/static/all", &gzip).1));
    let (status, age, coding, body) = ask("/static/all", &gzip);
    assert_eq!((status, is_old(age), &coding[..]), (200, true, "gzip"));
    assert!(body.len() < text.len() / 10, "{}", body.len());
    let (status, age, coding, body) = ask("/static/all", &[]);
    assert_eq!((status, is_old(age), &coding[..]), (200, true, ""));
    assert_eq!(body, text.as_bytes());
    assert_eq!(ask("/static/all", &[("x-refused", "1")]).0, 403);
    for (expected, is_kept) in [(200, true), (429, false)] {
        let (status, age, ..) = ask("/static/all", &[("x-limited", "1")]);
        assert_eq!((status, age.is_some()), (expected, is_kept));
    }
    // Only within the time that the backend says.
    edge.answers(&[("cache-control", "max-age=1")], b"short");
    until("an answer is kept", || {
        ask("/static/short", &[]).1.is_some()
    });
    edge.answers(&[("cache-control", "max-age=1")], b"new");
    until("its time is over", || ask("/static/short", &[]).3 == "new");
    edge.site.fleet.answer(&Answer::Name);
}

/// Time-outs by route, and retries that follow the choice.
fn times(edge: &Edge) {
    let late = Answer::After(Duration::from_secs(3), answer(&[], b""));
    edge.site.fleet.answer(&late);
    let statuses = load::run(2, |number| {
        get(&mut edge.client(SHOP), ["/slow", "/events"][number]).0
    });
    assert_eq!(statuses, [504, 200]);
    edge.site.fleet.answer(&Answer::Name);
    edge.site.backend("9101").unwrap().answer(Answer::Close);
    let mut client = edge.client(API);
    for _ in 0..10 {
        assert_eq!(client.get(API, "/", &[]).unwrap().status(), 200);
    }
    assert!(edge.stat("cluster.api.upstream_rq_retry_success") > 0);
}

/// (D)
fn web_sockets(mut edge: Edge) {
    for port in ["9001", "9002"] {
        let backend = edge.site.backend_mut(port).unwrap();
        backend.stop();
        echo(TcpListener::bind(backend.address()).unwrap());
    }
    let mut socket = web_socket(&edge, "101");
    for word in ["ping", "pong"] {
        is_echoed(&mut socket, word);
    }
}

/// A server of WebSockets that sends back what it gets.
fn echo(listener: TcpListener) {
    spawn(move || {
        for mut stream in listener.incoming().flatten() {
            spawn(move || {
                let mut bytes = [0; 4096];
                let _ = stream.read(&mut bytes);
                let switch = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n\
                               upgrade: websocket\r\n\r\n";
                let _ = stream.write_all(switch);
                while let Ok(read @ 1..) = stream.read(&mut bytes) {
                    let _ = stream.write_all(&bytes[..read]);
                }
            });
        }
    });
}

/// A connection on which a WebSocket was asked for, and answered with this status.
fn web_socket(edge: &Edge, status: &str) -> Raw {
    let config = edge.config(&["http/1.1"]);
    let mut socket = Raw::connect(edge.https(), SHOP, &config).unwrap();
    let ask = "GET /chat HTTP/1.1\r\nhost: shop.example.com\r\nconnection: upgrade\r\n\
               upgrade: websocket\r\n\r\n";
    socket.send(ask.as_bytes()).unwrap();
    let head = socket.read_until("\r\n\r\n").unwrap();
    assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
    socket
}

fn is_echoed(socket: &mut Raw, word: &str) {
    socket.send(word.as_bytes()).unwrap();
    assert_eq!(socket.read_until(word).unwrap(), word);
}

/// "A stream on which nothing moves for so long is cut, WebSockets too." (D): "Without this a
/// WebSocket is answered 403."
#[test]
fn a_websocket_that_is_silent_is_cut_and_without_its_line_there_is_none() {
    const IDLE: Duration = Duration::from_secs(2);
    let edge = |adjust: fn(&mut Value)| {
        Edge::start("payments", |deployment| {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            let server = listener.local_addr().unwrap();
            echo(listener);
            for (cluster, from) in deployment.endpoints() {
                if cluster.starts_with("web-") {
                    *deployment = deployment.clone().move_endpoint(from, server);
                }
            }
            adjust(deployment.connection_manager_mut());
        })
    };
    let short = edge(|manager| {
        assert_eq!(manager["stream_idle_timeout"], "300s");
        manager["stream_idle_timeout"] = "2s".into();
    });
    let [_silent, mut pings] = [(); 2].map(|()| web_socket(&short, "101"));
    let end = Instant::now() + IDLE * 3;
    while Instant::now() < end {
        is_echoed(&mut pings, "ping");
        sleep(IDLE / 20);
    }
    let cut = || short.stat("http.https.downstream_rq_idle_timeout");
    until("the silent one is cut", || {
        is_echoed(&mut pings, "ping");
        cut() > 0
    });
    assert_eq!(cut(), 1);
    let without = edge(|manager| {
        let line = manager.as_object_mut().unwrap().remove("upgrade_configs");
        assert!(line.is_some());
    });
    web_socket(&without, "403");
}

/// (I): "past these a request is answered 503 at once, and a connection is waited for".
#[test]
fn past_the_limits_of_a_backend_requests_are_refused_at_once_and_connections_waited_for() {
    let edge = Edge::start("payments", |deployment| {
        // Each worker may have a connection, whatever the limit.
        *deployment = deployment.clone().with_workers(1);
        for (cluster, limit) in [
            ("api", "max_requests"),
            ("payments", "max_connections"),
            ("payments", "max_pending_requests"),
        ] {
            let breakers = &mut deployment.cluster_mut(cluster)["circuit_breakers"];
            let limit = &mut breakers["thresholds"][0][limit];
            assert!(limit.is_u64());
            *limit = 1.into();
        }
    });
    edge.site.fleet.answer(&Answer::Hold);
    scope(|scope| {
        let get = |host: &str, path: &str| {
            let answer = edge.client(host).get(host, path, &[]).unwrap();
            answer.status().as_u16()
        };
        let begin = |host, path| scope.spawn(move || get(host, path));
        let waits_for = |stat: &str| {
            let stat = format!("cluster.{stat}");
            until(&stat, || edge.stat(&stat) == 1);
        };
        let held = begin(API, "/");
        waits_for("api.upstream_rq_active");
        assert_eq!(get(API, "/"), 503);
        let pays = begin(SHOP, "/pay/1");
        waits_for("payments.upstream_rq_active");
        let waiting = begin(SHOP, "/pay/2");
        waits_for("payments.upstream_rq_pending_active");
        assert_eq!(get(SHOP, "/pay/3"), 503);
        edge.site.fleet.answer(&Answer::Name);
        for under_way in [held, pays, waiting] {
            assert_eq!(under_way.join().unwrap(), 200);
        }
    });
}

/// (B), (C), (G), (H): what the comments and the page tell to change, and what comes of it.
#[test]
fn what_is_changed_as_the_file_says_does_what_it_says() {
    let edge = Edge::start("payments", |deployment| {
        let listeners = &mut deployment.bootstrap_mut()["static_resources"]["listeners"];
        let plain = &mut listeners[1]["filter_chains"][0]["filters"][0]["typed_config"];
        let routes = plain["route_config"]["virtual_hosts"][0]["routes"]
            .as_array_mut()
            .unwrap();
        // "At 443 without `port_redirect`."
        let redirect = routes[0]["redirect"].as_object_mut().unwrap();
        assert_eq!(redirect.remove("port_redirect"), Some(10443.into()));
        // "A route for /.well-known/acme-challenge/ before this one."
        let challenge = json!({
            "match": { "prefix": "/.well-known/acme-challenge/" },
            "route": { "cluster": "web-green" },
        });
        routes.insert(0, challenge);
        // "Has to be there when Envoy starts; without it nothing is kept."
        let path = &mut deployment.http_filter_mut(CACHE)["typed_config"]["cache_path"];
        *path = format!("{}-is-not-there", path.as_str().unwrap()).into();
        // "Begin with five minutes (300)."
        let first = deployment.http_filter_mut("envoy.filters.http.header_mutation");
        let hsts = &mut first["mutations"]["response_mutations"][0];
        let value = &mut hsts["append"]["header"]["value"];
        *value = value.as_str().unwrap().replace("31536000", "300").into();
    });
    // (E)
    let known = tempfile::NamedTempFile::new().unwrap();
    let kept = https_for_a_client_that_remembers(&edge, known.path());
    assert!(kept <= date("+300 seconds"), "{kept}");
    // (H)
    let http = edge.site.envoy.listener("http").unwrap();
    let mut plain = host_sim::client::Client::new(http).unwrap();
    for (host, path, status, told) in [
        (SHOP, "/a?b=c", 308, "https://shop.example.com/a?b=c"),
        (
            "shop.example.com:80",
            "/a",
            308,
            "https://shop.example.com/a",
        ),
        (SHOP, "/.well-known/acme-challenge/x", 200, "9002"),
    ] {
        let answer = plain.get(host, path).unwrap();
        let name = if status == 200 {
            "x-backend"
        } else {
            "location"
        };
        let seen = (answer.status().as_u16(), header(&answer, name));
        assert_eq!(seen, (status, told), "{host}{path}");
    }
    // (G)
    edge.answers(&[("cache-control", "max-age=600")], b"a");
    let mut client = edge.client(SHOP);
    for _ in 0..10 {
        let answer = client.get(SHOP, "/static/a.css", &[]).unwrap();
        let seen = (answer.status().as_u16(), header(&answer, "age"));
        assert_eq!(seen, (200, ""));
    }
    edge.site.fleet.answer(&Answer::Name);
    // (B): of who names none of them, or nobody, the first is shown.
    for name in [Some("elsewhere.example.com"), None] {
        assert_eq!(
            shown_by_openssl(&edge, name),
            first_line(&edge, SHOP),
            "{name:?}"
        );
    }
    // (C): not what is written in place, nor a key of another certificate.
    let pair =
        |name: &str| ["tls.crt", "tls.key"].map(|file| edge.certificates.text(name, file).unwrap());
    let before = [SHOP, API].map(|host| edge.certificates.certificate(host).unwrap());
    let (shop, api) = (pair(SHOP), pair(API));
    edge.certificates
        .overwrite(SHOP, "tls.crt", &api[0])
        .unwrap();
    edge.certificates
        .overwrite(SHOP, "tls.key", &api[1])
        .unwrap();
    edge.certificates.move_link(API, &api[0], &shop[1]).unwrap();
    let failed = |name: &str| edge.stat(&format!("sds.{name}.key_rotation_failed"));
    until("the wrong key is refused", || failed(API) > 0);
    let shown = [SHOP, API].map(|host| edge.client(host).certificate);
    assert_eq!(shown, before);
    assert_eq!(failed(SHOP), 0);
}

/// The first line of the certificate that openssl is shown when it asks for this name, or for none.
fn shown_by_openssl(edge: &Edge, name: Option<&str>) -> String {
    let names = match name {
        Some(name) => vec!["-servername", name],
        None => vec!["-noservername"],
    };
    let output = Command::new("openssl")
        .args(["s_client", "-connect", &edge.https().to_string()])
        .args(names)
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (_, shown) = text.split_once("-----BEGIN CERTIFICATE-----\n").unwrap();
    shown.lines().nth(3).unwrap().to_owned()
}

/// The same line of this host's certificate.
fn first_line(edge: &Edge, host: &str) -> String {
    let text = edge.certificates.text(host, "tls.crt").unwrap();
    text.lines().nth(4).unwrap().to_owned()
}

/// (G): "What was kept first makes room."
#[test]
fn the_cache_stays_within_its_size() {
    const MOST: u64 = 20_000;
    let mut directory = String::new();
    let edge = Edge::start("payments", |deployment| {
        let files = &mut deployment.http_filter_mut(CACHE)["typed_config"];
        files["max_cache_size_bytes"] = MOST.into();
        directory = files["cache_path"].as_str().unwrap().to_owned();
        // A pool with sessions.
        let text = deployment.bootstrap_mut();
        let sessions = text
            .to_string()
            .replace("\"pool\":\"static\"", "\"pool\":\"shop\"");
        *text = serde_json::from_str(&sessions).unwrap();
    });
    edge.answers(&[("cache-control", "max-age=600")], &[b'a'; 4000]);
    let mut client = edge.client(SHOP);
    let mut is_kept = |number: usize| {
        let path = format!("/static/{number}");
        let answer = client.get(SHOP, &path, &[]).unwrap();
        !header(&answer, "age").is_empty()
    };
    // Each is the newest once, and then asked for no more.
    for number in 0..10 {
        until("it is kept", || is_kept(number));
    }
    let size = || {
        let files = std::fs::read_dir(&directory).unwrap().flatten();
        let sizes = files.filter_map(|file| Some(file.metadata().ok()?.len()));
        sizes.sum::<u64>()
    };
    until("there is room", || size() <= MOST);
    assert!(is_kept(9));
    assert!(!is_kept(0));
    // "None of its cookies is kept": who is answered from the cache gets nobody's session.
    let mut of = |path: &str| {
        let answer = client.get(SHOP, path, &[]).unwrap();
        let is_kept = !header(&answer, "age").is_empty();
        (is_kept, session_cookie(&answer).is_some())
    };
    assert_eq!(of("/static/9"), (true, false));
    assert_eq!(of("/static/new"), (false, true));
}

/// "Envoy asks for its certificates by this name": a file without it is refused.
#[test]
fn without_its_own_name_envoy_asks_for_no_certificate() {
    let certificates = Certificates::make().unwrap();
    let module = module::build().unwrap();
    let mut deployment = certificates.deployment("edge.yaml", &module).unwrap();
    let program = install::find(Wanted::Any).unwrap();
    envoy::validate(&program, &deployment).unwrap();
    let file = deployment.bootstrap_mut().as_object_mut().unwrap();
    file.remove("node").unwrap();
    let refused = envoy::validate(&program, &deployment).unwrap_err();
    let refused = format!("{refused:#}");
    assert!(
        refused.contains("node 'id' and 'cluster' are required"),
        "{refused}"
    );
}

/// What holds of a request on `envoy.yaml` holds here too, but for the route of static paths.
#[test]
fn what_envoy_yaml_says_of_a_request_this_file_says_too() {
    let module = module::build().unwrap();
    let [ours, theirs] = ["edge.yaml", "envoy.yaml"].map(|file| {
        let mut deployment = Deployment::file(file, &module).unwrap();
        deployment.connection_manager_mut().clone()
    });
    let routes = |manager: &Value| {
        let routes = &manager["route_config"]["virtual_hosts"][0]["routes"];
        routes.as_array().unwrap().clone()
    };
    assert_eq!(routes(&ours)[1..], routes(&theirs));
    const OWN: [&str; 4] = ["stat_prefix", "access_log", "http_filters", "route_config"];
    for (key, value) in theirs.as_object().unwrap() {
        if !OWN.contains(&key.as_str()) {
            assert_eq!(&ours[key], value, "{key}");
        }
    }
}

/// (K): a certificate of the same authority, for another service.
#[test]
fn a_backend_that_is_not_who_it_should_be_gets_nothing() {
    let edge = Edge::start("guest", |_| {});
    assert_eq!(get(&mut edge.client(SHOP), "/pay/1").0, 503);
    assert!(edge.stat("cluster.payments.ssl.fail_verify_san") > 0);
    let backend = edge.site.backend("9401").unwrap();
    assert_eq!(backend.count(), 0);
}

/// (C)
#[test]
fn certificates_are_renewed_under_load_and_no_request_fails() {
    let edge = Edge::start("payments", |_| {});
    let (before, done) = (
        edge.certificates.certificate(SHOP).unwrap(),
        AtomicUsize::new(0),
    );
    let config = edge.config(&BOTH);
    let client = |jobs: load::Jobs<'_>| {
        // One connection that stays, and another for each request.
        let mut kept = edge.client(SHOP);
        let mut shown = BTreeSet::new();
        for number in jobs {
            let mut new = Client::connect(edge.https(), SHOP, &config).unwrap();
            shown.insert(new.certificate.to_vec());
            let path = ["/", "/pay/1"][number % 2];
            for client in [&mut kept, &mut new] {
                assert_eq!(get(client, path).0, 200, "{path} of job {number}");
                done.fetch_add(1, Ordering::Relaxed);
            }
        }
        (kept.certificate.clone(), shown)
    };
    let (clients, after) = load::run_while(4, client, |load| {
        load.wait_for_jobs(50);
        edge.certificates.renew().unwrap();
        let after = edge.certificates.certificate(SHOP).unwrap();
        until("the new certificate is shown", || {
            load.has_ended() || edge.client(SHOP).certificate == after
        });
        let own = edge.certificates.certificate("edge").unwrap();
        until("the backend sees the edge's new one", || {
            load.has_ended() || edge.payments.seen().contains(&own)
        });
        load.wait_for_every_client();
        load.wait_for_jobs(50);
        after
    });
    assert_ne!(before, after);
    for (kept, shown) in clients {
        assert_eq!(kept, before, "a connection that stays");
        assert_eq!(shown, BTreeSet::from([before.to_vec(), after.to_vec()]));
    }
    println!("{} requests, none of which failed", done.into_inner());
}
