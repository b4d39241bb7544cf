//! A guest as one writes it from the SDK's examples: it ticks, calls out, and counts in shared data
//! by reading and then writing.

use super::*;
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType};

struct Root;

impl Context for Root {
    fn on_http_call_response(&mut self, token: u32, headers: usize, body: usize, _trailers: usize) {
        // Of a call that failed there is no header map, and the SDK would panic.
        let status = (headers > 0).then(|| self.get_http_call_response_header(":status"));
        let body = self.get_http_call_response_body(0, body);
        log(&format!("call {token}: {headers} {status:?} {body:?}"));
    }
}

impl RootContext for Root {
    fn on_configure(&mut self, _size: usize) -> bool {
        self.set_tick_period(Duration::from_millis(100));
        true
    }

    fn on_tick(&mut self) {
        log("tick");
        let headers = vec![
            (":method", "GET"),
            (":path", "/health"),
            (":authority", "a"),
        ];
        let timeout = Duration::from_millis(250);
        self.dispatch_http_call("backend", headers, None, vec![], timeout)
            .unwrap();
    }

    fn create_http_context(&self, _context: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Counter))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

/// Counts requests. Where the key is new it writes without a check, as the SDK's `None` does.
struct Counter;

impl Context for Counter {}

impl HttpContext for Counter {
    fn on_http_request_headers(&mut self, _count: usize, _end: bool) -> Action {
        loop {
            let (value, cas) = self.get_shared_data("count");
            let count = value.map_or(0, |bytes| bytes[0]) + 1;
            if self.set_shared_data("count", Some(&[count]), cas).is_ok() {
                return Action::Continue;
            }
        }
    }
}

fn log(message: &str) {
    proxy_wasm::hostcalls::log(proxy_wasm::types::LogLevel::Info, message).unwrap();
}

fn naive() -> Builder {
    let clusters = Clusters::from([("backend".to_owned(), Default::default())]);
    World::builder()
        .guest(|| proxy_wasm::set_root_context(|_| Box::new(Root)))
        .clusters(clusters)
}

fn messages(proxy: &Proxy) -> Vec<String> {
    proxy
        .take_log()
        .into_iter()
        .map(|line| line.message)
        .collect()
}

#[test]
fn of_a_long_time_the_first_and_the_last_hour_are_played_in_full() {
    const HOUR: u64 = 3600;
    let ticks = |world: &World, seconds: u64| {
        world.advance(Duration::from_secs(seconds));
        let told = messages(&world.proxy);
        told.iter().filter(|message| *message == "tick").count() as u64
    };
    for (hours, expected) in [
        (2, 2 * HOUR * 10),
        (3, 2 * HOUR * 10 + 60),
        (8784, 2 * HOUR * 10 + 8782 * 60),
    ] {
        let world = naive().workers(0).start().unwrap();
        let seen = ticks(&world, hours * HOUR);
        assert!(
            seen.abs_diff(expected) <= 2,
            "{hours} h: {seen} of {expected}"
        );
        // And on as ever.
        assert_eq!(ticks(&world, 1), 10);
    }
}

#[test]
fn ticks_come_at_their_time_and_calls_time_out_at_theirs() {
    // The main thread's VM alone.
    let world = naive().workers(0).start().unwrap();
    world.advance(Duration::from_millis(99));
    assert_eq!(messages(&world.proxy), [""; 0]);
    world.advance(Duration::from_millis(2));
    assert_eq!(messages(&world.proxy), ["tick"]);

    let [call] = &world.http_calls()[..] else {
        panic!("one call")
    };
    assert_eq!(call.cluster, "backend");
    assert!(world.end_http_call(
        call.token,
        &HttpCallOutcome::Answer(answered(200, &[], "ok"))
    ));
    assert!(
        !world.end_http_call(call.token, &HttpCallOutcome::Broken),
        "it is answered already"
    );
    let heard = format!(
        "call {}: 1 Some(Some(\"200\")) Some([111, 107])",
        call.token
    );
    assert_eq!(messages(&world.proxy), [heard]);

    // The call that the tick at 200 ms makes times out at 450 ms.
    world.advance(Duration::from_millis(348));
    assert_eq!(messages(&world.proxy), ["tick"; 3]);
    let late = world.http_calls()[0].token;
    world.advance(Duration::from_millis(2));
    assert_eq!(
        messages(&world.proxy),
        [format!(
            "call {late}: 2 Some(Some(\"504\")) Some({:?})",
            b"upstream request timeout"
        )]
    );
    let [torn, _] = &world.http_calls()[..] else {
        panic!("two calls")
    };
    assert!(world.end_http_call(torn.token, &HttpCallOutcome::Broken));
    assert_eq!(
        messages(&world.proxy),
        [format!("call {}: 0 None None", torn.token)]
    );
}

#[test]
fn a_dead_vm_neither_ticks_nor_hears_of_its_calls() {
    let world = naive().start().unwrap();
    world.advance(Duration::from_millis(100));
    assert_eq!(
        messages(&world.proxy),
        ["tick"; 2],
        "the worker's and the main thread's"
    );
    world.kill(0);
    assert_eq!(world.http_calls().len(), 1);
    world.advance(Duration::from_millis(200));
    assert_eq!(messages(&world.proxy), ["tick"; 2]);
}

/// What ten requests on each of two workers count.
fn count_of_race(seed: u64) -> u8 {
    let race = naive().workers(2).race(Some(seed), |_, worker| {
        for _ in 0..10 {
            let mut stream = worker.open(&get("/"));
            stream.request();
            stream.close();
        }
    });
    race.unwrap().proxy.shared_data.get(b"count").unwrap().0[0]
}

#[test]
fn a_guest_that_writes_unchecked_where_the_key_is_new_loses_counts_in_some_interleavings() {
    let lost = (0..200).filter(|seed| count_of_race(*seed) < 20).count();
    println!("lost in {lost} of 200 seeds");
    assert!((1..200).contains(&lost), "lost in {lost} of 200 seeds");
}

#[test]
fn an_interleaving_is_a_function_of_its_seed() {
    for seed in 0..20 {
        assert_eq!(count_of_race(seed), count_of_race(seed), "seed {seed}");
    }
}

thread_local! {
    /// Contexts that this thread's guests have and have not dropped.
    static LIVING: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// A context that is counted as long as it is there; a root takes every configuration but `bad`.
struct Counted;

impl Counted {
    fn new() -> Counted {
        LIVING.set(LIVING.get() + 1);
        Counted
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        LIVING.set(LIVING.get() - 1);
    }
}

impl Context for Counted {}

impl HttpContext for Counted {}

impl RootContext for Counted {
    fn on_configure(&mut self, _size: usize) -> bool {
        self.get_plugin_configuration()
            .is_none_or(|bytes| bytes != b"bad")
    }

    fn create_http_context(&self, _context: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Counted::new()))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

/// Found by the fuzz target `stream`, which ran out of memory: natively contexts are the thread's,
/// which outlives any world.
#[test]
fn no_context_outlives_its_vm() {
    let world = World::builder()
        .guest(|| proxy_wasm::set_root_context(|_| Box::new(Counted::new())))
        .workers(1)
        .start()
        .unwrap();
    assert_eq!(
        LIVING.get(),
        2,
        "the worker's and the main thread's, not the canary's"
    );
    let mut stream = world.open(0, &get("/"));
    stream.request();
    world.reload(b"good").unwrap();
    assert_eq!(LIVING.get(), 4, "the stream and its root stay");
    assert!(world.reload(b"bad").is_err());
    assert_eq!(LIVING.get(), 4);
    stream.close();
    assert_eq!(LIVING.get(), 2);
    let mut lost = world.open(0, &get("/"));
    lost.request();
    world.kill(0);
    assert_eq!(LIVING.get(), 1);
    world.advance(Duration::from_secs(2));
    let mut open = world.open(0, &get("/"));
    open.request();
    drop(world);
    assert_eq!(LIVING.get(), 0);
}
