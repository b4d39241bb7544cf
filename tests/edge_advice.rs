//! The advice in the comments of `envoy-config/envoy.yaml`, followed to the letter on a real Envoy:
//! proxies in front, TLS that ends there, parameters of paths, WebSockets, streams, slow answers,
//! and what the access log says after a rewrite. Where it is about seconds the file's own are made
//! shorter.

use host_sim::backend::{Answer, Backend};
use host_sim::client::{Client, header, session_cookie};
use host_sim::envoy::fleet::Fleet;
use host_sim::envoy::{Deployment, Wanted, install};
use host_sim::exchange::Response;
use host_sim::module;
use host_sim::testkit::attack::{self, ATTACKS};
use host_sim::testkit::raw_server::{self, CHUNK, SWITCHED, Then, read_until};
use host_sim::testkit::{Site, load};
use host_sim::wait::{TIMEOUT, until};
use http_body_util::Full;
use hyper::Request;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// `timeout` and `per_try_timeout` in place of the file's 15 s and 8 s: more than half of it, too.
const ROUTE: Duration = Duration::from_millis(3000);
const TRY: Duration = Duration::from_millis(1600);

/// The shipped file with a backend at each endpoint.
fn site(adjust: impl FnOnce(&mut Deployment)) -> Site {
    site_of("envoy.yaml", |_, deployment| adjust(deployment))
}

fn site_of(file: &str, adjust: impl FnOnce(&Fleet, &mut Deployment)) -> Site {
    site_on(Wanted::Any, file, adjust)
}

/// In an Envoy of this version.
fn site_on(wanted: Wanted, file: &str, adjust: impl FnOnce(&Fleet, &mut Deployment)) -> Site {
    let deployment = Deployment::file(file, &module::build().unwrap()).unwrap();
    let (fleet, mut deployment) = Fleet::in_place_of_endpoints(deployment.on_free_ports()).unwrap();
    adjust(&fleet, &mut deployment);
    Site::of(&install::find(wanted).unwrap(), fleet, deployment).unwrap()
}

/// Another server in place of these backends.
fn move_to(server: SocketAddr, ports: &[&str], fleet: &Fleet, deployment: &mut Deployment) {
    let backends = fleet.members().iter().map(|member| &member.backend);
    for backend in backends.filter(|backend| ports.contains(&backend.name())) {
        *deployment = deployment.clone().move_endpoint(backend.address(), server);
    }
}

/// Those of the pool `shop`.
const SHOP: [&str; 2] = ["9001", "9002"];

/// The route of Pointsman with this name.
fn route<'d>(deployment: &'d mut Deployment, name: &str) -> &'d mut Value {
    let routes = deployment.configuration_mut()["routes"]
        .as_array_mut()
        .unwrap();
    routes
        .iter_mut()
        .find(|route| route["name"] == name)
        .unwrap()
}

/// The routes of Envoy with shorter times.
fn hurry(deployment: &mut Deployment) {
    let seconds = |time: Duration| json!(format!("{}s", time.as_secs_f64()));
    let hosts = &mut deployment.connection_manager_mut()["route_config"]["virtual_hosts"];
    let routes = hosts[0]["routes"].as_array_mut().unwrap();
    let mut tries = 0;
    for route in routes {
        assert_eq!(route["route"]["timeout"], "15s");
        route["route"]["timeout"] = seconds(ROUTE);
        if let Some(limit) = route["route"]["retry_policy"].get_mut("per_try_timeout") {
            assert_eq!(*limit, "8s");
            *limit = seconds(TRY);
            tries += 1;
        }
    }
    // GET, HEAD and OPTIONS.
    assert_eq!(tries, 3);
}

fn status(client: &mut Client, path: &str, headers: &[(&str, &str)]) -> u16 {
    let answer = client.get_with("shop.example.com", path, headers).unwrap();
    answer.status().as_u16()
}

fn after(time: Duration) -> Answer {
    let answer = Response {
        status: 200,
        headers: Vec::new(),
        body: Vec::new(),
    };
    Answer::After(time, answer)
}

/// A connection with these bytes of a request on it.
fn begin(site: &Site, request: &str) -> TcpStream {
    let mut stream = TcpStream::connect(site.envoy.address().unwrap()).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    stream
}

/// A connection with this request on it, whose answer has begun: these bytes have come.
fn open(site: &Site, request: &str, answer: &str) -> TcpStream {
    let mut stream = begin(site, request);
    read_until(&mut stream, answer);
    stream
}

/// Waits for the end of the stream.
fn ends(stream: &mut TcpStream) {
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    let mut bytes = [0; 4096];
    loop {
        match stream.read(&mut bytes) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) => match error.kind() {
                ErrorKind::Interrupted => {}
                ErrorKind::ConnectionReset => return,
                _ => panic!("{error}"),
            },
        }
    }
}

/// Whether nothing ends the stream for longer than the routes' time.
fn goes_on(stream: &mut TcpStream) -> bool {
    let end = Instant::now() + ROUTE + ROUTE / 2;
    let mut bytes = [0; 4096];
    while let Some(left) = end.checked_duration_since(Instant::now()) {
        let left = left.max(Duration::from_millis(1));
        stream.set_read_timeout(Some(left)).unwrap();
        match stream.read(&mut bytes) {
            Ok(0) => return false,
            Ok(_) => {}
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => {}
                _ => return false,
            },
        }
    }
    true
}

const SOCKET: &str = "GET / HTTP/1.1\r\nhost: shop.example.com\r\nconnection: upgrade\r\n\
                      upgrade: websocket\r\n\r\n";

/// Three clients behind a balancer that appends each one's address to x-forwarded-for.
#[test]
fn clients_behind_proxies_have_a_bucket_each() {
    // Proxies, `use_remote_address`, what stands at `client_ip`, and whether it is right.
    let hops = |hops: u8| json!({ "header": "x-forwarded-for", "trusted_hops": hops });
    let rows = [
        (1, true, Some(hops(2)), true),
        (2, true, Some(hops(3)), true),
        (1, true, None, true),
        (2, true, None, true),
        (1, false, Some(hops(1)), true),
        (2, false, Some(hops(2)), true),
        // What one would write who forgets that Envoy appends the last proxy itself.
        (1, true, Some(hops(1)), false),
    ];
    for (proxies, appends, client_ip, right) in rows {
        let site = site(|deployment| {
            let shown = deployment.configuration_mut().as_object_mut().unwrap();
            assert_eq!(shown.remove("client_ip"), Some(hops(1)), "as shipped");
            if let Some(client_ip) = &client_ip {
                shown.insert("client_ip".to_owned(), client_ip.clone());
            }
            shown["rate_limits"]["login"] =
                json!({ "requests": 1, "per": "1h", "key": ["client_ip"] });
            let manager = deployment.connection_manager_mut();
            assert_eq!(manager["use_remote_address"], true);
            manager["use_remote_address"] = appends.into();
            if appends {
                manager["xff_num_trusted_hops"] = proxies.into();
            }
        });
        let mut client = site.client().unwrap();
        let between = if proxies == 2 { ", 192.0.2.9" } else { "" };
        let mut round = || {
            [9, 10, 11].map(|number| {
                // The first address is one that the client made up.
                let list = format!("198.51.100.1, 203.0.113.{number}{between}");
                status(&mut client, "/login", &[("x-forwarded-for", &list)])
            })
        };
        let shown = format!("{proxies} {appends} {client_ip:?}");
        let admitted = if right { [200; 3] } else { [200, 429, 429] };
        assert_eq!(round(), admitted, "{shown}");
        assert_eq!(round(), [429; 3], "{shown}");
    }
}

#[test]
fn a_redirect_to_https_ends_where_the_terminator_is_trusted() {
    for (hops, redirected) in [(1, 200), (0, 302)] {
        let site = site(|deployment| {
            let routes = deployment.configuration_mut()["routes"]
                .as_array_mut()
                .unwrap();
            routes.insert(
                0,
                json!({ "name": "tls", "match": { "scheme": "http" }, "redirect": { "scheme": "https" } }),
            );
            deployment.connection_manager_mut()["xff_num_trusted_hops"] = hops.into();
        });
        let mut client = site.client().unwrap();
        let terminated = |scheme| {
            [
                ("x-forwarded-proto", scheme),
                ("x-forwarded-for", "203.0.113.9"),
            ]
        };
        let answer = client
            .get_with("shop.example.com", "/a", &terminated("http"))
            .unwrap();
        assert_eq!(answer.status(), 302);
        assert_eq!(header(&answer, "location"), "https://shop.example.com/a");
        assert_eq!(
            status(&mut client, "/a", &terminated("https")),
            redirected,
            "{hops}"
        );
    }
}

#[test]
fn parameters_of_segments_are_no_way_round_a_refusal() {
    const CLOSED: [&str; 16] = [
        "/internal;x=1",
        "/internal;/a",
        "/internal;x=1/a;y",
        "/internal/a;x=1",
        "/;x/internal",
        "/;/;x=1/internal;y",
        "/public/..;/internal",
        "/public/..;x=1/internal;y",
        // These came through: no normalisation of Envoy's takes what is encoded for a `..` with a
        // parameter, and that of 1.36 none.
        "/public/%2e%2e;/internal",
        "/public/.%2E;x/internal",
        "/%2e%2e;/internal",
        "/..;/internal",
        "/.;/internal",
        "/%2e;x=1/internal",
        "/a/b/..;/..;/internal",
        "/a/..;/b/..;x/internal/c",
    ];
    const OPEN: [&str; 6] = [
        "/internals",
        "/a/internal",
        "/internals;x",
        "/public;x=1",
        "/a/...;x",
        "/a..;/b",
    ];
    for wanted in [Wanted::Any, Wanted::Exactly(install::OLDEST_TESTED)] {
        let only = |matching: Value| {
            site_on(wanted, "envoy.yaml", |_, deployment| {
                if !matching.is_null() {
                    route(deployment, "closed")["match"] = matching;
                }
            })
        };
        let shipped = only(Value::Null);
        let mut client = shipped.client().unwrap();
        for (paths, expected) in [(&CLOSED[..], 403), (&OPEN[..], 200), (&["/internal"], 403)] {
            for path in paths {
                assert_eq!(
                    status(&mut client, path, &[]),
                    expected,
                    "{wanted:?} {path}"
                );
            }
        }
        // A prefix is not enough, and with a route that takes every `;` it is.
        let prefix = only(json!({ "path": { "prefix": "/internal" } }));
        let mut client = prefix.client().unwrap();
        assert_eq!(status(&mut client, "/internal;x=1", &[]), 200);
        assert_eq!(status(&mut client, "/public/%2e%2e;/internal", &[]), 200);
        let both = json!([{ "path": { "prefix": "/internal" } }, { "path": { "regex": ".*;.*" } }]);
        let none = only(both);
        let mut client = none.client().unwrap();
        for path in CLOSED {
            assert_eq!(status(&mut client, path, &[]), 403, "{wanted:?} {path}");
        }
        assert_eq!(status(&mut client, "/internals", &[]), 200);
    }
}

#[test]
fn a_websocket_is_let_through_and_no_timeout_ends_it() {
    let server = raw_server::start(SWITCHED, Then::Wait);
    let site = site_of("envoy.yaml", |fleet, deployment| {
        hurry(deployment);
        move_to(server, &SHOP, fleet, deployment);
    });
    let mut socket = open(&site, SOCKET, "half");
    assert!(goes_on(&mut socket));

    // That this can go wrong.
    let without = self::site(|deployment| {
        let manager = deployment.connection_manager_mut().as_object_mut().unwrap();
        manager.remove("upgrade_configs").unwrap();
    });
    open(&without, SOCKET, "HTTP/1.1 403 Forbidden");

    // In the sidecar, decided by Pointsman and passed on by it.
    for (host, ports) in [("reviews", &["9201", "9202"][..]), ("ratings", &["9301"])] {
        let sidecar = site_of("sidecar.yaml", |fleet, deployment| {
            move_to(server, ports, fleet, deployment);
        });
        let request = SOCKET.replace("shop.example.com", host);
        assert!(goes_on(&mut open(&sidecar, &request, "half")), "{host}");
    }
}

/// "A stream on which nothing moves for so long is cut, WebSockets too: have them send a ping more
/// often than that."
#[test]
fn a_websocket_that_is_silent_is_cut_and_one_that_pings_is_not() {
    const IDLE: Duration = Duration::from_secs(2);
    let server = raw_server::start(SWITCHED, Then::Wait);
    let site = site_of("envoy.yaml", |fleet, deployment| {
        let manager = deployment.connection_manager_mut();
        assert_eq!(manager["stream_idle_timeout"], "300s");
        manager["stream_idle_timeout"] = "2s".into();
        move_to(server, &SHOP, fleet, deployment);
    });
    let [mut silent, mut pings] = [(); 2].map(|()| open(&site, SOCKET, "half"));
    let end = Instant::now() + IDLE * 3;
    pings.set_nonblocking(true).unwrap();
    while Instant::now() < end {
        pings.write_all(b"ping").unwrap();
        sleep(IDLE / 20);
    }
    let mut bytes = [0; 16];
    let still_open = pings.read(&mut bytes).unwrap_err();
    assert_eq!(still_open.kind(), ErrorKind::WouldBlock);
    silent.set_nonblocking(true).unwrap();
    until("the silent one is cut", || {
        let read = silent.read(&mut bytes);
        !matches!(read, Err(error) if error.kind() == ErrorKind::WouldBlock)
    });
}

/// "Past this many connections new ones are closed at once."
#[test]
fn connections_past_the_most_are_closed_at_once() {
    let site = site(|deployment| {
        let monitors = &mut deployment.bootstrap_mut()["overload_manager"]["resource_monitors"];
        let most = &mut monitors[0]["typed_config"]["max_active_downstream_connections"];
        assert_eq!(*most, 20000);
        *most = 3.into();
    });
    let mut clients: Vec<_> = (0..3).map(|_| site.client().unwrap()).collect();
    for client in &mut clients {
        assert_eq!(status(client, "/", &[]), 200);
    }
    let ask = || site.client().unwrap().get("shop.example.com", "/");
    assert!(ask().is_err());
    for client in &mut clients {
        assert_eq!(status(client, "/", &[]), 200, "those that are there stay");
    }
    clients.pop();
    until("one that has left makes room", || ask().is_ok());
}

/// Of `retry`, in `pointsman.yaml`: "Envoy keeps a request's body for its retries, up to the
/// connection's buffer limit: one that is longer is not tried again."
#[test]
fn a_body_longer_than_the_buffer_is_not_tried_again() {
    const BUFFER: usize = 32768;
    let site = site(|deployment| {
        let listener = &deployment.bootstrap_mut()["static_resources"]["listeners"][0];
        assert_eq!(listener["per_connection_buffer_limit_bytes"], BUFFER);
        let on = ["connect-failure", "reset"];
        let retry = json!({ "attempts": 3, "on": on, "per_try_timeout": "500ms" });
        route(deployment, "api")["retry"] = retry;
    });
    for name in ["9101", "9102"] {
        let silent = site.backend(name).unwrap();
        silent.answer(after(Duration::from_secs(3600)));
    }
    let mut client = site.client().unwrap();
    for (size, expected) in [(BUFFER / 4, 200), (BUFFER * 8, 504)] {
        // Until it begins at one that is silent; the third answers.
        until("it begins at one that is silent", || {
            site.fleet.take_received();
            let body = Full::from(vec![b'a'; size]);
            let request = Request::post("/api").header("host", "shop.example.com");
            let answer = client.send(request.body(body).unwrap()).unwrap();
            let mut tried = site.fleet.take_received();
            tried.retain(|it| it.headers[1].1 != b"/health");
            let status = answer.status().as_u16();
            if tried.len() == 1 && status == 200 {
                return false;
            }
            assert_eq!(status, expected, "{size} bytes");
            true
        });
    }
}

/// Of `mirror`, on the page: "where the copy is not read at all, a body that is longer than the
/// buffers stands still until `stream_idle_timeout`".
#[test]
fn a_copy_that_is_not_read_stops_a_long_upload() {
    const BODY: usize = 48 * 1024 * 1024;
    for is_read in [true, false] {
        // Connections wait in its queue, and nobody takes one.
        let unread = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let site = site_of("envoy.yaml", |fleet, deployment| {
            route(deployment, "rest")["mirror"] = json!({ "pool": "beta" });
            if !is_read {
                deployment.connection_manager_mut()["stream_idle_timeout"] = "2s".into();
                move_to(unread.local_addr().unwrap(), &["9003"], fleet, deployment);
            }
        });
        let mut upload = TcpStream::connect(site.envoy.address().unwrap()).unwrap();
        let head = format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {BODY}\r\n\r\n");
        upload.write_all(head.as_bytes()).unwrap();
        // Envoy closes the connection where it ends the stream.
        let chunk = [b'a'; 65536];
        let sent = (0..BODY / chunk.len()).take_while(|_| upload.write_all(&chunk).is_ok());
        let sent = sent.count() * chunk.len();
        assert_eq!(sent == BODY, is_read, "{sent} bytes");
        if is_read {
            read_until(&mut upload, "HTTP/1.1 200 OK");
        }
        // What is short is copied, and answered, all the same.
        assert_eq!(status(&mut site.client().unwrap(), "/", &[]), 200);
    }
}

#[test]
fn a_stream_of_events_goes_on_where_its_route_has_no_timeout() {
    let server = raw_server::start(CHUNK, Then::Wait);
    let site = site_of("envoy.yaml", |fleet, deployment| {
        hurry(deployment);
        move_to(server, &SHOP, fleet, deployment);
    });
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: shop.example.com\r\n\r\n");
    assert!(goes_on(&mut open(&site, &get("/events/1"), "half")));
    ends(&mut open(&site, &get("/"), "half"));
}

#[test]
fn a_slow_answer_is_waited_for_and_asked_for_at_most_twice() {
    let site = site(|deployment| {
        hurry(deployment);
        // "For answers that are only slow, write how long they may take."
        route(deployment, "events")["timeout"] = "10s".into();
    });
    let mut client = site.client().unwrap();
    // Quicker than a try may be, slower than that, and slower than the route's time.
    for (path, time, expected, most) in [
        ("/", TRY / 2, 200, 1),
        ("/api", TRY / 2, 200, 1),
        ("/", (TRY + ROUTE) / 2, 200, 1),
        ("/api", (TRY + ROUTE) / 2, 200, 2),
        ("/", ROUTE * 2, 504, 1),
        ("/api", ROUTE * 2, 504, 2),
        ("/events", ROUTE * 2, 200, 1),
    ] {
        site.fleet.answer(&after(time));
        site.fleet.take_received();
        assert_eq!(status(&mut client, path, &[]), expected, "{path} {time:?}");
        let mut asked = site.fleet.take_received();
        // Probes.
        asked.retain(|request| request.headers[1].1 != b"/health");
        assert_eq!(asked.len(), most, "{path} {time:?}");
    }
}

/// Each of two tries of the route `api` may take so long.
fn try_for(deployment: &mut Deployment, per_try_timeout: &str) {
    route(deployment, "api")["retry"] =
        json!({ "attempts": 2, "per_try_timeout": per_try_timeout });
}

/// One endpoint of the route `api` accepts requests and does not answer.
fn hang(site: &Site) {
    let endpoint = site.backend("9101").unwrap();
    endpoint.answer(after(Duration::from_secs(3600)));
}

/// "An endpoint that has not begun to answer by then may hang."
#[test]
fn an_endpoint_that_hangs_is_followed_by_the_next_of_the_choice() {
    for quick in [false, true] {
        // Where the route has a time of its own, the file's stays what it is: a busy machine is not
        // eight seconds late.
        let site = site(|deployment| match quick {
            false => hurry(deployment),
            true => try_for(deployment, "200ms"),
        });
        let file = if quick { Duration::from_secs(8) } else { TRY };
        hang(&site);
        let mut client = site.client().unwrap();
        let mut slowest = Duration::ZERO;
        for _ in 0..4 {
            let start = Instant::now();
            let answer = client.get("shop.example.com", "/api").unwrap();
            slowest = slowest.max(start.elapsed());
            assert_eq!(answer.status(), 200);
            assert_ne!(header(&answer, "x-backend"), "9101");
        }
        // Envoy's timers may be a few milliseconds early.
        let try_time = file - Duration::from_millis(20);
        assert_eq!(slowest < try_time, quick, "{slowest:?}");
    }
}

/// The lines of the access log of the shipped file.
fn access_log(site: &Site) -> Vec<Value> {
    let log = site.envoy.log();
    let lines = log
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok());
    lines
        .filter(|line: &Value| line["path"].is_string())
        .collect()
}

#[test]
fn the_access_log_has_the_clients_path_and_host_after_a_rewrite() {
    let site = site(|deployment| {
        route(deployment, "api")["rewrite"]["host"] = "internal.example".into();
    });
    let mut client = site.client().unwrap();
    let forged = [
        ("x-envoy-original-path", "/forged"),
        ("x-envoy-original-host", "forged"),
    ];
    assert_eq!(status(&mut client, "/api/users?secret", &forged), 200);
    let received = site.fleet.take_received();
    let asked = received
        .iter()
        .find(|request| request.headers[1].1 == b"/users?secret")
        .unwrap();
    let value = |name: &str| {
        let mut headers = asked.headers.iter();
        let found = headers.find(|(key, _)| key == name.as_bytes());
        String::from_utf8_lossy(&found.unwrap().1).into_owned()
    };
    assert_eq!(value(":authority"), "internal.example");
    assert_eq!(value("x-envoy-original-path"), "/api/users?secret");
    assert_eq!(value("x-envoy-original-host"), "shop.example.com");
    assert_eq!(status(&mut client, "/untouched", &forged), 200);
    let lines = || access_log(&site);
    until("both lines", || lines().len() == 2);
    for (line, path) in lines().iter().zip(["/api/users", "/untouched"]) {
        assert_eq!(
            (&line["path"], &line["host"]),
            (&json!(path), &json!("shop.example.com"))
        );
    }
}

/// "a route before it says, which matches the cluster that was chosen"
#[test]
fn a_route_of_envoys_for_a_cluster_holds_for_what_goes_there() {
    let page = include_str!("../envoy-config/README.md");
    let (_, from) = page
        .split_once("```yaml\n- match: { prefix: /, headers")
        .unwrap();
    let (block, _) = from.split_once("```").unwrap();
    let block = format!("- match: {{ prefix: /, headers{block}");
    let routes = host_sim::yaml::documents(&block, host_sim::yaml::Reading::Envoy).unwrap();
    let Value::Array(own) = host_sim::configuration::to_json(&routes.trees[0]) else {
        panic!("{block}")
    };
    let site = site(|deployment| {
        let hosts = &mut deployment.connection_manager_mut()["route_config"]["virtual_hosts"];
        let routes = hosts[0]["routes"].as_array_mut().unwrap();
        own.into_iter()
            .rev()
            .for_each(|route| routes.insert(0, route));
    });
    let mut client = site.client().unwrap();
    for (path, backend, region) in [("/?region=eu", "9005", "eu"), ("/api/1", "91", "")] {
        let answer = client.get("shop.example.com", path).unwrap();
        assert_eq!(answer.status(), 200);
        assert!(header(&answer, "x-backend").starts_with(backend), "{path}");
        assert_eq!(header(&answer, "x-region"), region, "{path}");
    }
}

/// By its id a request is found in the logs of whoever it came by, and what was tried again is told.
#[test]
fn the_access_log_has_the_attempts_and_the_id_that_backends_see() {
    let site = site(|deployment| try_for(deployment, "1s"));
    hang(&site);
    let mut client = site.client().unwrap();
    for _ in 0..4 {
        assert_eq!(status(&mut client, "/api", &[]), 200);
    }
    let lines = || access_log(&site);
    until("every line", || lines().len() == 4);
    let received = site.fleet.take_received();
    for line in lines() {
        let id = line["request_id"].as_str().unwrap_or_default();
        let has_it = |name: &[u8], value: &[u8]| name == b"x-request-id" && value == id.as_bytes();
        let with_id = received.iter().filter(|request| {
            let mut headers = request.headers.iter();
            headers.any(|(name, value)| has_it(name, value))
        });
        assert_eq!(line["attempts"], with_id.count(), "{line}");
    }
    let attempts: Vec<_> = lines().iter().map(|it| it["attempts"].as_u64()).collect();
    assert!(
        attempts.contains(&Some(1)) && attempts.contains(&Some(2)),
        "{attempts:?}"
    );
}

/// Filters before Pointsman see a route of the file, whichever, although nothing is chosen yet: what
/// stands on its virtual host holds, and who may not come does not.
#[test]
fn filters_before_pointsman_hold_by_what_stands_on_the_virtual_host() {
    const CORS: &str = "envoy.filters.http.cors";
    const ORIGIN: [(&str, &str); 2] = [
        ("origin", "https://a.example"),
        ("access-control-request-method", "GET"),
    ];
    let kind = |name: &str| format!("type.googleapis.com/envoy.extensions.filters.http.{name}");
    let site = site(|deployment| {
        let manager = deployment.connection_manager_mut();
        let filters = manager["http_filters"].as_array_mut().unwrap();
        let cors = json!({ "name": CORS, "typed_config": { "@type": kind("cors.v3.Cors") } });
        let asked = json!({ "uri": "http://eu/", "cluster": "eu", "timeout": "60s" });
        let asks = json!({
            "name": "envoy.filters.http.ext_authz",
            "typed_config": {
                "@type": kind("ext_authz.v3.ExtAuthz"),
                "http_service": { "server_uri": asked },
            },
        });
        filters.splice(0..0, [cors, asks]);
        let policy = json!({
            "@type": kind("cors.v3.CorsPolicy"),
            "allow_origin_string_match": [{ "exact": ORIGIN[0].1 }],
            "allow_methods": "GET",
        });
        manager["route_config"]["virtual_hosts"][0]["typed_per_filter_config"] =
            json!({ CORS: policy });
    });
    let asked = site.backend("9005").unwrap();
    let mut client = site.client().unwrap();
    const ALLOWED: &str = "access-control-allow-origin";
    let answer = client.get_with("shop.example.com", "/", &ORIGIN).unwrap();
    assert_eq!(answer.status(), 200);
    assert!(SHOP.contains(&header(&answer, "x-backend")));
    assert_eq!((header(&answer, ALLOWED), asked.count()), (ORIGIN[0].1, 1));
    // The question before a request is answered by the filter.
    let question = Request::options("/").header("host", "shop.example.com");
    let question = ORIGIN
        .iter()
        .fold(question, |it, (name, value)| it.header(*name, *value));
    let preflight = client.send(question.body(Full::default()).unwrap());
    let preflight = preflight.unwrap();
    assert_eq!(
        (preflight.status().as_u16(), header(&preflight, "x-backend")),
        (200, "")
    );
    assert_eq!(
        (header(&preflight, ALLOWED), asked.count()),
        (ORIGIN[0].1, 1)
    );
    assert_eq!(header(&preflight, "access-control-allow-methods"), "GET");
    asked.answer(Answer::With(Response {
        status: 403,
        headers: Vec::new(),
        body: Vec::new(),
    }));
    assert_eq!(status(&mut client, "/", &[]), 403);
    assert_eq!(asked.count(), 2);
}

const EMPTY: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

/// "A request has at most 100 headers", of at most 16 KiB, where Envoy's default is 60 KiB.
#[test]
fn more_or_longer_headers_than_the_file_says_are_refused() {
    let asked = |site: &Site, headers: &str, status: &str| {
        let request = format!("GET / HTTP/1.1\r\nhost: shop.example.com\r\n{headers}\r\n");
        open(site, &request, &format!("HTTP/1.1 {status} "));
    };
    let long = |kib: usize| format!("x-long: {}\r\n", "x".repeat(kib * 1024));
    // Takes as many headers as come.
    let server = raw_server::start(EMPTY, Then::Wait);
    let shipped = site_of("envoy.yaml", |fleet, deployment| {
        move_to(server, &SHOP, fleet, deployment);
    });
    // `host` is one of them.
    asked(&shipped, &"x-many: a\r\n".repeat(99), "200");
    asked(&shipped, &"x-many: a\r\n".repeat(100), "431");
    asked(&shipped, &long(15), "200");
    asked(&shipped, &long(16), "431");
    let default = site_of("envoy.yaml", |fleet, deployment| {
        move_to(server, &SHOP, fleet, deployment);
        let manager = deployment.connection_manager_mut().as_object_mut().unwrap();
        manager.remove("max_request_headers_kb").unwrap();
    });
    asked(&default, &long(59), "200");
    asked(&default, &long(60), "431");
}

/// "A client that sends its headers a byte at a time is answered 408 after this time."
#[test]
fn a_client_that_sends_its_headers_a_byte_at_a_time_is_answered_408() {
    let site = site(|deployment| {
        let time = &mut deployment.connection_manager_mut()["request_headers_timeout"];
        assert_eq!(*time, "10s");
        *time = "1s".into();
    });
    let mut slow = begin(
        &site,
        "GET / HTTP/1.1\r\nhost: shop.example.com\r\nx-slow: ",
    );
    slow.set_nonblocking(true).unwrap();
    let mut answer = [0; 12];
    until("it is answered", || {
        let _ = slow.write_all(b"a");
        slow.peek(&mut answer).is_ok()
    });
    assert_eq!(answer, *b"HTTP/1.1 408");
}

/// "Where the request went is in the header that Pointsman sets … otherwise it is null."
#[test]
fn the_access_log_names_the_cluster_and_the_filters_line_only_where_it_is_asked_for() {
    for asked_for in [false, true] {
        let site = site(|deployment| {
            if asked_for {
                deployment.configuration_mut()["access_log"] = true.into();
            }
        });
        assert_eq!(status(&mut site.client().unwrap(), "/?region=eu", &[]), 200);
        until("the line", || access_log(&site).len() == 1);
        let line = &access_log(&site)[0];
        assert_eq!(
            (&line["cluster"], &line["status"]),
            (&json!("eu"), &json!(200))
        );
        let upstream = site.backend("9005").unwrap().address().to_string();
        assert_eq!(line["upstream"], json!(upstream));
        let expected = match asked_for {
            false => Value::Null,
            true => "route=eu pool=eu target=eu reason=balance".into(),
        };
        assert_eq!(line["pointsman"], expected, "{asked_for}");
    }
}

/// What a request with this method is answered, and the names of the backends that were asked for it.
fn asked_of(site: &Site, method: &str, path: &str) -> (u16, Vec<String>) {
    let asked = || {
        let backends = site.fleet.members().iter().map(|member| &member.backend);
        let of = |backend: &Backend| {
            let mut received = backend.take_received();
            // Probes.
            received.retain(|request| request.headers[1].1 != b"/health");
            vec![backend.name().to_owned(); received.len()]
        };
        backends.flat_map(of).collect::<Vec<_>>()
    };
    asked();
    let request = Request::builder().method(method).uri(path);
    let request = request.header("host", "shop.example.com");
    let mut client = site.client().unwrap();
    let answer = client.send(request.body(Full::default()).unwrap()).unwrap();
    (answer.status().as_u16(), asked())
}

/// "What can be asked twice (RFC 9110, 9.2.1) is tried again also where a backend broke down over
/// it." "Of the rest only what a backend cannot have worked on yet."
#[test]
fn only_what_can_be_asked_twice_is_tried_again_where_a_backend_breaks_down_over_it() {
    let site = site(|deployment| {
        // Nobody is ejected.
        for pool in ["shop", "api"] {
            let pool = &mut deployment.configuration_mut()["pools"][pool];
            pool["health"] = json!({ "passive": { "consecutive_failures": 100 } });
        }
        for name in ["gold", "eu"] {
            route(deployment, name)["mirror"] = json!({ "pool": "beta" });
        }
        route(deployment, "eu")["retry"] = json!({ "attempts": 2, "on": ["reset"] });
    });
    site.fleet.answer(&Answer::Close);
    for (method, tries) in [
        ("GET", 3),
        ("HEAD", 3),
        ("OPTIONS", 3),
        ("POST", 1),
        ("PUT", 1),
    ] {
        let (status, asked) = asked_of(&site, method, "/");
        assert_eq!((status, asked.len()), (503, tries), "{method} {asked:?}");
        let same = BTreeSet::from_iter(&asked).len();
        assert_eq!(same, 1, "each try goes to the same cluster: {asked:?}");
        let (status, asked) = asked_of(&site, method, "/api");
        assert_eq!((status, asked.len()), (503, tries), "{method} {asked:?}");
        let different = BTreeSet::from_iter(&asked).len();
        assert_eq!(different, tries, "each try goes to the next: {asked:?}");
    }
    // Of requests that are copied: "What is tried again besides, the `retry` of Pointsman's route
    // says."
    let mut client = site.client().unwrap();
    let gold = [("x-tier", "gold")];
    for (path, headers, backend, tries) in
        [("/?region=eu", &[][..], "9005", 3), ("/", &gold, "9004", 1)]
    {
        assert_eq!(status(&mut client, path, headers), 503);
        assert_eq!(site.backend(backend).unwrap().count(), tries, "{path}");
    }
}

/// "Where `request_headers_to_remove` removes x-pointsman-mirror there is no copy."
#[test]
fn a_route_that_removes_the_header_of_copies_copies_nothing() {
    for removed in [false, true] {
        let site = site(|deployment| {
            route(deployment, "gold")["mirror"] = json!({ "pool": "beta" });
            if removed {
                let hosts =
                    &mut deployment.connection_manager_mut()["route_config"]["virtual_hosts"];
                hosts[0]["request_headers_to_remove"] = json!(["x-pointsman-mirror"]);
            }
        });
        let mut client = site.client().unwrap();
        assert_eq!(status(&mut client, "/", &[("x-tier", "gold")]), 200);
        let beta = site.backend("9003").unwrap();
        if removed {
            // Another request of the same worker: what was sent before it has come.
            assert_eq!(status(&mut client, "/", &[("cookie", "beta=1")]), 200);
            assert_eq!(beta.count(), 1);
        } else {
            until("the copy has come", || beta.count() == 1);
        }
    }
}

/// "While an endpoint is down, each request of its share is tried again. The default lets three at
/// a time."
#[test]
fn each_request_for_an_endpoint_that_is_down_is_tried_again_where_so_many_retries_are_let() {
    const REQUESTS: usize = 64;
    for shipped in [true, false] {
        let site = site(|deployment| {
            *deployment = deployment.clone().with_workers(1);
            let api = deployment.cluster_mut("api").as_object_mut().unwrap();
            if !shipped {
                api.remove("circuit_breakers").unwrap();
            }
        });
        site.fleet.answer(&Answer::Hold);
        site.backend("9101").unwrap().answer(Answer::Close);
        let get = "GET /api HTTP/1.1\r\nhost: shop.example.com\r\n\r\n";
        let _waiting: Vec<_> = (0..REQUESTS).map(|_| begin(&site, get)).collect();
        let stat = |name: &str| {
            let value = site.envoy.stat(&format!("cluster.api.upstream_rq_{name}"));
            usize::try_from(value.unwrap()).unwrap()
        };
        let held = || ["9102", "9103"].map(|name| site.backend(name).unwrap().count());
        until("each is held, or was not tried again", || {
            held().iter().sum::<usize>() + stat("retry_overflow") == REQUESTS
        });
        // Half of the requests began at the endpoint that is down: that it were three of 64 or fewer
        // happens once in 10^14 times.
        let (retries, refused) = (stat("retry"), stat("retry_overflow"));
        match shipped {
            true => assert!(retries > 3 && refused == 0, "{retries} {refused}"),
            false => assert!(retries == 3 && refused > 0, "{retries} {refused}"),
        }
    }
}

/// "Nine requests of ten to blue, one to green." "One request of five to the new version, told apart
/// for whoever reads the logs."
#[test]
fn the_weights_of_the_file_are_the_shares_of_its_targets() {
    const REQUESTS: usize = 2000;
    let site = site(|_| {});
    let mut client = site.client().unwrap();
    let mut count = |path: &str, backend: &str| {
        let mut count = 0;
        for _ in 0..REQUESTS {
            let answer = client.get("shop.example.com", path).unwrap();
            assert_eq!(answer.status(), 200);
            count += usize::from(header(&answer, "x-backend") == backend);
            let is_new = header(&answer, "x-backend") == "9003";
            assert_eq!(header(&answer, "x-canary"), if is_new { "yes" } else { "" });
        }
        count
    };
    // 200 and 400 of 2,000: each bound is at least 6.5 standard deviations off, which chance leaves
    // once in 10^10 times.
    let (green, new) = (count("/", "9002"), count("/checkout", "9003"));
    assert!(
        (112..=288).contains(&green),
        "{green} of {REQUESTS} to green"
    );
    assert!(
        (283..=517).contains(&new),
        "{new} of {REQUESTS} to the new version"
    );
}

/// "A client stays where its first request went", and what lets it go is `health`.
#[test]
fn a_client_stays_at_its_target_until_that_is_dead() {
    for lets_go in [true, false] {
        let mut site = site(|deployment| {
            let account = &mut deployment.configuration_mut()["pools"]["account"];
            if !lets_go {
                account.as_object_mut().unwrap().remove("health").unwrap();
            }
        });
        let mut client = site.client().unwrap();
        let mut ask = |cookie: &str| {
            let headers = [("cookie", cookie)];
            let answer = client.get_with("shop.example.com", "/account", &headers);
            let answer = answer.unwrap();
            let backend = header(&answer, "x-backend").to_owned();
            (backend, session_cookie(&answer), answer.status().as_u16())
        };
        let (first, cookie, _) = ask("");
        let cookie = cookie.unwrap();
        for _ in 0..20 {
            assert_eq!(ask(&cookie).0, first);
        }
        site.backend_mut(&first).unwrap().stop();
        let has_moved = (0..20).any(|_| ask(&cookie).2 == 200);
        assert_eq!(has_moved, lets_go);
    }
}

/// How long the attack on the shipped file goes on, in seconds; `ATTACK_SECONDS` says another time.
const ATTACK_SECONDS: u64 = 10;

/// Everything that an attacker of [`ATTACKS`] can do, over and over and all at once, on each kind of
/// pool of the shipped file, beside honest clients: nobody is ejected, and nobody is disturbed.
#[test]
fn an_attacker_of_the_shipped_file_ejects_nobody() {
    // Behind a balancer: of peers on the loopback network Envoy says that all are one client.
    const ATTACKER: &str = "x-forwarded-for: 203.0.113.66\r\n";
    const HONEST: [(&str, &str); 1] = [("x-forwarded-for", "203.0.113.9")];
    const TIMES: usize = 12;
    let seconds =
        std::env::var("ATTACK_SECONDS").map_or(ATTACK_SECONDS, |seconds| seconds.parse().unwrap());
    let mut deployment = Deployment::file("envoy.yaml", &module::build().unwrap())
        .unwrap()
        .on_free_ports()
        .without_access_log();
    for (_, from) in deployment.endpoints() {
        // An endpoint of a cluster is known by its address, so each has its own.
        deployment = deployment.move_endpoint(from, attack::server());
    }
    deployment.configuration_mut()["client_ip"]["trusted_hops"] = 2.into();
    deployment.connection_manager_mut()["xff_num_trusted_hops"] = 1.into();
    attack::expose(deployment.connection_manager_mut());
    let fleet = Fleet::start(&json!({})).unwrap();
    let site = Site::of(&install::find(Wanted::Any).unwrap(), fleet, deployment).unwrap();
    let address = site.envoy.address().unwrap();
    let failed = AtomicUsize::new(0);
    let honest = |client: &mut Client| {
        for path in ["/", "/api", "/account"] {
            let status = status(client, path, &HONEST);
            failed.fetch_add(usize::from(status != 200), Ordering::Relaxed);
        }
        sleep(Duration::from_millis(25));
    };
    let mut rounds = 0;
    load::repeat_while(address, 4, honest, |load| {
        // Both workers know by then that there is an honest client.
        load.wait_for_jobs(100);
        let end = Instant::now() + Duration::from_secs(seconds);
        while Instant::now() < end {
            load::run(ATTACKS.len(), |number| {
                for prefix in ["", "/api", "/account"] {
                    let attack = ATTACKS[number];
                    let done =
                        attack.play_as(prefix, ATTACKER, address, Ipv4Addr::LOCALHOST, TIMES);
                    done.unwrap();
                }
            });
            rounds += 1;
        }
        load.wait_for_every_client();
    });
    let ejected = site
        .envoy
        .filter_sum("pointsman.pool.", ".ejected")
        .unwrap();
    let failed = failed.into_inner();
    println!("{rounds} rounds, {ejected:?} ejected, {failed} honest requests failed");
    let log = site.envoy.log();
    let told = log.lines().filter(|line| line.contains(" ejected for "));
    told.for_each(|line| println!("{line}"));
    assert_eq!((ejected.unwrap_or(0), failed), (0, 0));
}
