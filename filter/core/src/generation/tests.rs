use super::*;
use crate::port::memory::MemoryPort;
use crate::port::{Expected, SetFailed, StoreFailed, Version};
use crate::shared::record::tests::assert_layout;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

const PLUGIN: &[u8] = b"pointsman";

fn generation(name: &[u8], config: &[u8]) -> Generation {
    let plugin = Plugin {
        name: name.to_vec(),
        ..Plugin::default()
    };
    Generation::new(&plugin, config)
}

/// Shared data that fails.
struct Fails;

impl Store for Fails {
    fn get(&mut self, _: &[u8]) -> Result<Option<(Vec<u8>, Version)>, StoreFailed> {
        Err(StoreFailed)
    }

    fn set(&mut self, _: &[u8], _: &[u8], _: Expected) -> Result<(), SetFailed> {
        Err(SetFailed::Store)
    }
}

/// Ticks until something is asked for, at most `most`: how many, and what.
fn ticks(generation: &mut Generation, port: &mut MemoryPort, most: u32) -> (u32, Advice) {
    for tick in 1..=most {
        match generation.tick(port) {
            Advice::Stay => {}
            advice => return (tick, advice),
        }
    }
    (most, Advice::Stay)
}

#[test]
fn the_newest_never_sleeps_and_the_one_before_does_at_once() {
    let port = &mut MemoryPort::default();
    let mut old = generation(PLUGIN, b"old");
    assert_eq!(ticks(&mut old, port, 100), (100, Advice::Stay));
    let mut new = generation(PLUGIN, b"new");
    // Loaded, but not written in: the proxy may refuse it yet.
    assert_eq!(old.tick(port), Advice::Stay);
    assert_eq!(new.tick(port), Advice::Stay);
    assert_eq!(old.tick(port), Advice::Sleep);
    assert_eq!(ticks(&mut old, port, 100), (100, Advice::Stay));
    assert_eq!(ticks(&mut new, port, 100), (100, Advice::Stay));
}

#[test]
fn one_worker_is_told_that_it_wrote_the_configuration_in() {
    let port = &mut MemoryPort::default();
    let mut workers = [(); 3].map(|()| generation(PLUGIN, b"one"));
    let written = |workers: &mut [Generation; 3], port: &mut MemoryPort| {
        workers.each_mut().map(|worker| {
            worker.tick(port);
            (worker.is_newest(), worker.take_written())
        })
    };
    let all = [(true, true), (true, false), (true, false)];
    assert_eq!(written(&mut workers, port), all);
    let none = [(true, false); 3];
    assert_eq!(written(&mut workers, port), none);
    // As after a trap.
    workers[0] = generation(PLUGIN, b"one");
    assert_eq!(written(&mut workers, port), none);
    let mut next = [(); 3].map(|()| generation(PLUGIN, b"two"));
    assert_eq!(written(&mut next, port), all);
    assert_eq!(written(&mut workers, port), [(false, false); 3]);
}

#[test]
fn one_that_is_used_stays_awake_until_it_is_not() {
    let port = &mut MemoryPort::default();
    let mut old = generation(PLUGIN, b"old");
    old.tick(port);
    generation(PLUGIN, b"new").tick(port);
    for _ in 0..10 {
        old.used();
        assert_eq!(old.tick(port), Advice::Stay);
    }
    assert_eq!(old.tick(port), Advice::Sleep);
}

#[test]
fn each_waking_doubles_the_patience_and_the_second_makes_it_the_newest() {
    let port = &mut MemoryPort::default();
    let mut old = generation(PLUGIN, b"old");
    old.tick(port);
    let mut new = generation(PLUGIN, b"new");
    new.tick(port);
    assert_eq!(ticks(&mut old, port, 9), (1, Advice::Sleep));
    old.woken();
    assert_eq!(ticks(&mut old, port, 99), (30, Advice::Sleep));
    old.woken();
    // It is written in again, and the other one is the older.
    assert_eq!(ticks(&mut old, port, 999), (999, Advice::Stay));
    assert_eq!(new.tick(port), Advice::Sleep);
    new.woken();
    assert_eq!(ticks(&mut new, port, 99), (30, Advice::Sleep));
    new.woken();
    assert_eq!(new.tick(port), Advice::Stay);
    // The first has been idle for longer than its patience.
    assert_eq!((old.patience(), old.tick(port)), (60, Advice::Sleep));
    for _ in 0..40 {
        old.woken();
    }
    assert_eq!(old.patience(), 30 * 64);
}

#[test]
fn one_that_another_worker_finds_alive_wakes_everywhere() {
    let port = &mut MemoryPort::default();
    let mut workers = [0, 1].map(|_| generation(PLUGIN, b"old"));
    for worker in &mut workers {
        worker.tick(port);
    }
    generation(PLUGIN, b"new").tick(port);
    let [asked, other] = &mut workers;
    assert_eq!(asked.tick(port), Advice::Sleep);
    assert_eq!(other.tick(port), Advice::Sleep);
    asked.woken();
    assert_eq!(ticks(asked, port, 99), (30, Advice::Sleep));
    asked.woken();
    assert_eq!(other.tick(port), Advice::Stay);
    assert_eq!(asked.tick(port), Advice::Stay);
    assert_eq!(other.tick(port), Advice::Wake);
    assert_eq!(ticks(other, port, 999), (999, Advice::Stay));
}

/// The same bytes again are no news, and a configuration that was gone is.
#[test]
fn the_order_is_that_of_the_first_ticks() {
    let port = &mut MemoryPort::default();
    let mut first = generation(PLUGIN, b"a");
    first.tick(port);
    generation(PLUGIN, b"a").tick(port);
    assert_eq!(first.tick(port), Advice::Stay);
    let mut second = generation(PLUGIN, b"b");
    second.tick(port);
    let mut again = generation(PLUGIN, b"a");
    again.tick(port);
    assert_eq!(second.tick(port), Advice::Sleep);
    assert_eq!(again.tick(port), Advice::Stay);
}

#[test]
fn plugins_do_not_meet_and_the_record_is_bounded() {
    let port = &mut MemoryPort::default();
    let mut first = generation(b"first", b"a");
    first.tick(port);
    for number in 0..1000_u32 {
        generation(&number.to_le_bytes(), b"b").tick(port);
        assert_eq!(first.tick(port), Advice::Stay);
    }
    let (record, _) = port.get(keys::NEWEST).unwrap().unwrap();
    assert_eq!(record.len(), MAX_PLUGINS * Newest::SIZE);
}

#[test]
fn without_shared_data_nothing_sleeps() {
    let port = &mut MemoryPort::default();
    let mut old = generation(PLUGIN, b"old");
    old.tick(port);
    generation(PLUGIN, b"new").tick(port);
    for _ in 0..9 {
        assert_eq!(old.tick(&mut Fails), Advice::Stay);
    }
}

#[test]
fn an_entry_is_these_bytes() {
    assert_layout(
        Newest {
            plugin: 0x0102_0304_0506_0708,
            number: 9,
            config: 0x1112_1314_1516_1718,
        },
        b"\x08\x07\x06\x05\x04\x03\x02\x01\x09\0\0\0\0\0\0\0\x18\x17\x16\x15\x14\x13\x12\x11",
    );
}
