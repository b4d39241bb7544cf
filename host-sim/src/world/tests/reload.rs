//! What becomes of a configuration that a newer one has replaced while connections of the old one are
//! still open: it sleeps, wakes, stops probing and gives its slot back.

use super::*;

/// Sends requests to a pool of its own, which is probed each second.
fn version(number: usize) -> String {
    let pool = format!("web-{number}");
    json!({
        "pools": { pool.clone(): {
            "targets": [{ "cluster": "blue" }],
            "health": { "passive": {}, "active": { "path": "/health", "interval": "1s" } },
        } },
        "routes": [
            { "name": "all", "response_headers": { "set": { "x-version": number.to_string() } }, "pool": pool },
        ],
    })
    .to_string()
}

fn draining(workers: usize) -> World {
    let builder = World::builder().workers(workers).drain();
    builder.config(version(0).as_bytes()).start().unwrap()
}

fn reload(world: &World, number: usize) {
    world.reload(version(number).as_bytes()).unwrap();
}

/// Has the request of a stream answered, and returns the version that its answer tells.
fn answer(stream: &mut Stream) -> String {
    let answer = stream.response(&answered(200, &[], ""));
    let told = answer.headers.iter().find(|(name, _)| name == b"x-version");
    String::from_utf8(told.expect("the route's edit").1.clone()).unwrap()
}

fn exchange(mut stream: Stream) -> String {
    let step = stream.request();
    assert!(matches!(step, RequestOutcome::Forward(_)), "{step:?}");
    let told = answer(&mut stream);
    stream.close();
    told
}

/// How often the worker has read a configuration, by the randomness that a start takes.
fn loads(world: &World) -> u32 {
    let calls = world.take_calls().into_values();
    let of = calls.flat_map(|calls| calls.of.into_iter());
    let random = of.filter(|(kind, _)| *kind == "random_get");
    random.map(|(_, count)| count).sum::<u32>() / 3
}

fn in_flight(world: &World, number: usize) -> u64 {
    let gauge = format!("pointsman.pool.web-{number}.target.blue.in_flight");
    world.proxy().counter(&gauge).unwrap_or_default()
}

/// How many slots of the table are held.
fn held_slots(world: &World) -> usize {
    let slots = world.proxy().shared_data.get(b"pm1/hold");
    let (slots, _) = slots.unwrap_or_default();
    let held = slots.chunks(24).filter(|slot| slot[8] == 1);
    held.count()
}

/// How many slots the table has, held or not.
fn table_length(world: &World) -> usize {
    let slots = world.proxy().shared_data.get(b"pm1/hold");
    slots.unwrap_or_default().0.len() / 24
}

#[test]
fn an_old_configuration_that_nobody_asks_sleeps_and_wakes_as_it_was() {
    let world = draining(1);
    let worker = &world.workers()[0];
    assert_eq!(exchange(worker.open(&get("/"))), "0");
    reload(&world, 1);
    world.take_calls();
    world.advance(Duration::from_secs(4));
    assert_eq!(loads(&world), 0);
    // It was asleep, so this loads it again; the next one does not.
    assert_eq!(exchange(worker.open_before(1, &get("/"))), "0");
    assert_eq!(loads(&world), 1);
    assert_eq!(exchange(worker.open_before(1, &get("/"))), "0");
    assert_eq!(exchange(worker.open(&get("/"))), "1");
    world.advance(Duration::from_secs(20));
    assert_eq!(exchange(worker.open_before(1, &get("/"))), "0");
    assert_eq!(loads(&world), 0);
    world.drained();
    assert_eq!(exchange(worker.open(&get("/"))), "1");
}

#[test]
fn an_old_configuration_that_is_asked_all_the_time_is_not_loaded_again() {
    let world = draining(1);
    reload(&world, 1);
    world.take_calls();
    for _ in 0..100 {
        let old = world.workers()[0].open_before(1, &get("/"));
        assert_eq!(exchange(old), "0");
        world.advance(Duration::from_millis(500));
    }
    assert_eq!(loads(&world), 0);
}

#[test]
fn requests_that_are_held_over_reloads_are_counted_and_edited_to_their_end() {
    let world = draining(2);
    let mut held = Vec::new();
    for number in 0..50 {
        if number > 0 {
            reload(&world, number);
        }
        for worker in world.workers() {
            let mut stream = worker.open(&get("/"));
            assert!(matches!(stream.request(), RequestOutcome::Forward(_)));
            held.push((number, stream));
        }
        world.advance(Duration::from_secs(2));
    }
    world.advance(Duration::from_secs(60));
    for number in 0..50 {
        assert_eq!(in_flight(&world, number), 2, "version {number}");
    }
    assert_eq!(held_slots(&world), 100);
    world.take_calls();
    for (number, mut stream) in held {
        assert_eq!(answer(&mut stream), number.to_string());
        stream.close();
    }
    assert_eq!(loads(&world), 0);
    for number in 0..50 {
        assert_eq!(in_flight(&world, number), 0, "version {number}");
    }
    // Only the newest keeps its slots.
    world.advance(Duration::from_secs(2));
    assert_eq!(held_slots(&world), 2);
}

/// A request ends with a failure while its configuration sleeps: its target is told.
#[test]
fn the_failure_of_a_held_request_counts() {
    let world = draining(1);
    let mut held = world.workers()[0].open(&get("/"));
    assert!(matches!(held.request(), RequestOutcome::Forward(_)));
    reload(&world, 1);
    world.advance(Duration::from_secs(5));
    let failed = "pointsman.pool.web-0.target.blue.failed";
    assert_eq!(world.proxy().counter(failed), Some(0));
    held.tries("192.0.2.1:80");
    held.response(&answered(503, &[], ""));
    held.close();
    assert_eq!(world.proxy().counter(failed), Some(1));
    world.advance(Duration::from_secs(5));
    assert_eq!(in_flight(&world, 0), 0);
}

/// Answers all probes for ten seconds, and says how many there were.
fn probes(world: &World) -> usize {
    let mut probes = 0;
    for _ in 0..100 {
        for call in world.http_calls() {
            probes += 1;
            world.end_http_call(call.token, &HttpCallOutcome::Answer(answered(200, &[], "")));
        }
        world.advance(Duration::from_millis(100));
    }
    probes
}

#[test]
fn only_the_newest_configuration_probes() {
    let world = draining(2);
    for number in 1..=20 {
        reload(&world, number);
        world.advance(Duration::from_secs(3));
    }
    world.advance(Duration::from_secs(2));
    let probes = probes(&world);
    assert!((9..=11).contains(&probes), "{probes} probes in 10 s");
}

/// 16 workers and 80 reloads within the drain time, each served: 1,360 claims of 1,024 slots.
#[test]
fn old_configurations_hold_no_slots() {
    let world = draining(16);
    for number in 0..80 {
        if number > 0 {
            reload(&world, number);
        }
        for worker in world.workers() {
            exchange(worker.open(&get("/")));
        }
        world.advance(Duration::from_secs(3));
        assert!(held_slots(&world) <= 32, "{}", held_slots(&world));
    }
    let held: Vec<_> = world
        .workers()
        .iter()
        .map(|worker| {
            let mut stream = worker.open(&get("/"));
            stream.request();
            stream
        })
        .collect();
    assert_eq!(in_flight(&world, 79), 16);
    held.into_iter().for_each(Stream::close);
    assert_eq!(in_flight(&world, 79), 0);
    assert_eq!(world.proxy().counter("pointsman.in_flight.local"), Some(0));
}

/// The same where nothing is drained, as by ECDS: each configuration is over at once, and is over
/// before it has slept.
#[test]
fn a_configuration_that_is_over_gives_its_slot_back_at_once() {
    let builder = World::builder().workers(16);
    let world = builder.config(version(0).as_bytes()).start().unwrap();
    for number in 0..80 {
        if number > 0 {
            reload(&world, number);
        }
        for worker in world.workers() {
            exchange(worker.open(&get("/")));
        }
        assert_eq!(held_slots(&world), 16);
        assert_eq!(table_length(&world), 16);
    }
    assert_eq!(world.proxy().counter("pointsman.in_flight.local"), Some(0));
}

/// Its last stream is what keeps it.
#[test]
fn a_configuration_with_a_request_keeps_its_slot_to_the_end_of_it() {
    let builder = World::builder().workers(1);
    let world = builder.config(version(0).as_bytes()).start().unwrap();
    let mut held = world.workers()[0].open(&get("/"));
    assert!(matches!(held.request(), RequestOutcome::Forward(_)));
    reload(&world, 1);
    exchange(world.workers()[0].open(&get("/")));
    assert_eq!((held_slots(&world), in_flight(&world, 0)), (2, 1));
    assert_eq!(answer(&mut held), "0");
    held.close();
    assert_eq!((held_slots(&world), in_flight(&world, 0)), (1, 0));
    assert_eq!(world.proxy().counter("pointsman.in_flight.reaped"), Some(0));
}

/// The proxy goes back to a configuration that it still has, without a word to the filter.
#[test]
fn a_configuration_that_serves_again_probes_again() {
    let world = draining(1);
    reload(&world, 1);
    world.advance(Duration::from_secs(5));
    // From here on version 0 serves, and version 1 is drained.
    for _ in 0..2 {
        let old = world.workers()[0].open_before(1, &get("/"));
        assert_eq!(exchange(old), "0");
        world.advance(Duration::from_secs(40));
    }
    let probes = probes(&world);
    assert!((9..=11).contains(&probes), "{probes} probes in 10 s");
}
