//! What loading a configuration takes. A wasm VM never gives memory back, so the most that it ever
//! held is what it costs.

#![allow(unsafe_code, reason = "an allocator that counts is one")]

use host_sim::bench::routes::{self, FeatureSet};
use pointsman_core::config::Config;
use std::alloc::{GlobalAlloc, Layout, System};
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

/// Pointers here are twice as large as in wasm, where the same takes little more than half.
const PER_ROUTE: usize = 1200;
/// What is read of one route at a time, and the names of all, which must be different.
const BESIDE: f64 = 1.25;

#[test]
fn loading_takes_hardly_more_than_what_is_loaded() {
    const ROUTES: usize = 10_000;
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
