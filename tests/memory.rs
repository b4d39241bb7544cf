//! What loading a configuration takes. A wasm VM never gives memory back, so the most that it ever
//! held is what it costs.

#![allow(unsafe_code, reason = "an allocator that counts is one")]

use host_sim::bench::routes::{self, FeatureSet};
use pointsman_core::config::Config;
use pointsman_core::entropy::{Entropy, WorkerId};
use pointsman_core::time::Nanos;
use pointsman_core::worker::Worker;
use serde_json::{Value, json};
use std::alloc::{GlobalAlloc, Layout, System};
use std::rc::Rc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The system's allocator, and how much it has given out.
struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: everything is the system allocator's.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let held = HELD.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        MOST.fetch_max(held, Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// One test at a time counts.
static COUNTED: Mutex<()> = Mutex::new(());

/// Pointers here are twice as large as in wasm, where the same takes little more than half.
const PER_ROUTE: usize = 1200;
/// What is read of one route at a time, and the names of all, which must be different.
const BESIDE: f64 = 1.25;

#[test]
fn loading_takes_hardly_more_than_what_is_loaded() {
    const ROUTES: usize = 10_000;
    let _counted = COUNTED.lock().unwrap();
    let text = routes::configuration(ROUTES, FeatureSet::Everything).to_string();
    let before = HELD.load(Ordering::Relaxed);
    MOST.store(before, Ordering::Relaxed);
    let config = Config::load(text.as_bytes()).unwrap();
    let most = MOST.load(Ordering::Relaxed) - before;
    let held = HELD.load(Ordering::Relaxed) - before;
    assert_eq!(config.routes.len(), ROUTES);
    println!("{} bytes of text, {held} held, {most} at most", text.len());
    assert!(held <= ROUTES * PER_ROUTE, "{held}");
    assert!(most as f64 <= held as f64 * BESIDE, "{most} to load {held}");
}

/// Routes that are all alike but for their name, in a configuration with one pool.
fn alike(count: usize, route: impl Fn(usize) -> Value) -> Value {
    let routes = (0..count).map(|number| {
        let mut route = route(number);
        route["name"] = format!("route-{number}").into();
        route
    });
    json!({
        "pools": { "web": { "targets": [{ "cluster": "web" }] } },
        "routes": routes.collect::<Vec<_>>(),
    })
}

fn matching(conditions: Value) -> Value {
    json!({ "match": conditions, "pool": "web" })
}

/// Configurations that take much memory, each for a reason of its own.
fn large() -> Vec<(&'static str, Value)> {
    let targets = |regions: usize| {
        let targets = (0..10_000).map(|number| {
            json!({ "cluster": format!("c{number}"), "region": format!("r{}", number % regions) })
        });
        let near = json!({ "header": "x-region", "map": {}, "default": "r0" });
        let mut pool = json!({ "targets": targets.collect::<Vec<_>>() });
        if regions > 1 {
            pool["prefer_region"] = near;
        }
        json!({ "pools": { "web": pool }, "routes": [{ "name": "all", "pool": "web" }] })
    };
    let words = r".*/(en|de|fr|ko)/[a-z0-9-]+/WORD/[0-9]+\.(html|json)";
    vec![
        (
            "everything",
            routes::configuration(10_000, FeatureSet::Everything),
        ),
        (
            "hardly anything",
            alike(10_000, |_| json!({ "pool": "web" })),
        ),
        (
            "blocks",
            alike(20, |_| matching(vec![json!({}); 5_000].into())),
        ),
        (
            "hosts",
            alike(2_000, |route| {
                let hosts = (0..20).map(|host| format!("h{host}.s{route}.example.com"));
                matching(json!({ "hosts": hosts.collect::<Vec<_>>() }))
            }),
        ),
        (
            "methods",
            alike(20, |_| matching(json!({ "methods": vec!["A"; 5_000] }))),
        ),
        (
            "conditions",
            alike(20, |_| {
                let condition = json!({ "name": "a", "exact": "" });
                matching(json!({ "headers": vec![condition; 5_000] }))
            }),
        ),
        (
            "contains",
            alike(50, |_| {
                let condition = json!({ "name": "a", "contains": "b".repeat(50_000) });
                matching(json!({ "headers": [condition] }))
            }),
        ),
        (
            "networks",
            alike(20, |_| {
                matching(json!({ "client_ip": vec!["10.0.0.0/8"; 5_000] }))
            }),
        ),
        (
            "templates",
            alike(5_000, |route| {
                matching(json!({ "path": { "template": format!("/a/{{b}}/c/{{d}}/e/{route}") } }))
            }),
        ),
        (
            "tables",
            alike(500, |route| {
                let regex = words.replace("WORD", &format!("word{route}"));
                matching(json!({ "path": { "regex": regex } }))
            }),
        ),
        (
            "sets",
            alike(500, |route| {
                matching(json!({ "path": { "regex": format!("(?s).*a.{{20}}b{route}") } }))
            }),
        ),
        (
            "searches",
            alike(500, |route| {
                let path =
                    json!({ "pattern": format!("^/{route}/([a-z]+)"), "substitution": "/\\1" });
                json!({ "rewrite": { "path_regex": path }, "pool": "web" })
            }),
        ),
        (
            "edits",
            alike(2_000, |_| {
                let set = (0..20).map(|name| (format!("x-{name}"), "a".into()));
                let set: serde_json::Map<_, Value> = set.collect();
                json!({ "response_headers": { "set": set }, "pool": "web" })
            }),
        ),
        ("targets", targets(1)),
        ("regions", targets(60)),
    ]
}

/// Above: a configuration that is taken has the room that it needs. Not far above, for one that is
/// refused could have it.
#[test]
fn the_estimate_of_memory_is_above_what_is_held() {
    let _counted = COUNTED.lock().unwrap();
    for (what, configuration) in large() {
        let text = configuration.to_string();
        drop(configuration);
        let before = HELD.load(Ordering::Relaxed);
        let config = Config::load(text.as_bytes()).unwrap_or_else(|why| panic!("{what}: {why}"));
        let config = Rc::new(config);
        let entropy = Entropy {
            seed: [7; 16],
            rolls: 7,
            worker: WorkerId::new(Nanos::from_secs(1_767_225_600).to_seconds(), 7),
        };
        let worker = Worker::new(config.clone(), entropy);
        let held = HELD.load(Ordering::Relaxed) - before;
        let estimate = config.memory;
        println!(
            "{what}: {held} held, {estimate} estimated, {} of text",
            text.len()
        );
        // Natively pointers are twice as large. An allocator takes more for little pieces than they
        // ask for, which is not counted here.
        assert!(
            held <= 2 * estimate && estimate <= 8 * held,
            "{what}: {held} held, {estimate} estimated"
        );
        drop(worker);
    }
}
