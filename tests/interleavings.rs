//! Workers that run at the same time, on the simulator: real threads, of which one runs at a time,
//! and a seed chooses which at every host call. A law that fails names its seed, and the seed is
//! the whole history.

use fastrand::Rng;
use host_sim::exchange::Pairs;
use host_sim::world::stream::RequestOutcome;
use host_sim::world::{Builder, Worker, World};
use pointsman_core::time::Nanos;
use serde_json::json;

const SEEDS: u64 = 300;
const RATE: u32 = 100;
const BURST: u32 = 12;
const SECOND: Nanos = Nanos::SECOND;

/// One limit that is the same for everyone.
fn limited(workers: usize, seed: u64) -> Builder {
    limited_to(RATE, BURST, workers, seed)
}

fn limited_to(rate: u32, burst: u32, workers: usize, seed: u64) -> Builder {
    let configuration = json!({
        "rate_limits": { "all": { "requests": rate, "per": "1s", "burst": burst, "key": ["path"] } },
        "routes": [{ "name": "all", "rate_limits": ["all"], "respond": { "status": 204 } }],
    });
    let configuration = configuration.to_string();
    World::builder()
        .workers(workers)
        .seed(seed)
        .config(configuration.as_bytes())
}

/// Whether a request is admitted.
fn ask(worker: &Worker) -> bool {
    let headers: Pairs = [
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "a"),
        (":path", "/"),
    ]
    .map(|(name, value)| (name.into(), value.into()))
    .into();
    let mut stream = worker.open(&headers);
    let RequestOutcome::Reply(answer) = stream.request() else {
        panic!("every request is answered")
    };
    stream.close();
    match answer.status {
        204 => true,
        429 => false,
        status => panic!("{status}"),
    }
}

/// Each worker asks as often as the bucket is large. A worker that is outrun too often refuses
/// unseen; but only those who are admitted outrun, so there are too few of them for every worker to
/// be refused every time.
#[test]
fn a_full_bucket_admits_just_its_burst_of_requests_at_the_same_instant() {
    let mut retries = 0;
    for seed in 0..SEEDS {
        let workers = 2 + (seed % 4) as usize;
        let race = limited(workers, seed)
            .race(Some(seed), |_, worker| {
                (0..BURST).filter(|_| ask(worker)).count()
            })
            .unwrap();
        assert_eq!(
            race.results.iter().sum::<usize>(),
            BURST as usize,
            "seed {seed}: {:?}",
            race.results
        );
        retries += race.proxy.counter("pointsman.shared.retried").unwrap();
    }
    assert!(retries > SEEDS, "the workers hardly met: {retries} retries");
}

/// Time passes at any moment, also between a worker's look at the clock and its write.
#[test]
fn no_interleaving_admits_more_than_burst_and_rate_allow() {
    for seed in 0..SEEDS {
        // Of a slow limit each request is charged alone. Of a fast one some are leased.
        let slow = (RATE, BURST, 40);
        let fast = (20_000, 400, 400_u32);
        let limits = [slow, fast]
            .into_iter()
            .take(if seed % 10 == 0 { 2 } else { 1 });
        for (rate, burst, requests) in limits {
            let limited = |workers| limited_to(rate, burst, workers, seed);
            let workers = 2 + (seed % 4) as usize;
            let start = limited(1).start().unwrap().proxy().now();
            let race = limited(workers)
                .race(Some(seed), |number, worker| {
                    let mut random = Rng::with_seed(seed * 31 + number as u64);
                    let asks = (0..requests).filter(|_| {
                        // Less than the bucket refills by one request in, on average.
                        let longest = SECOND.get() as i64 / i64::from(rate) / 2;
                        worker.proxy().jump(random.i64(0..longest));
                        ask(worker)
                    });
                    asks.count()
                })
                .unwrap();
            let admitted = race.results.iter().sum::<usize>() as u64;
            let window = race.proxy.now() - start;
            let most = u64::from(burst) + u64::from(rate) * window / SECOND;
            assert!(
                admitted <= most,
                "seed {seed}: {admitted} of at most {most}"
            );
            if u64::from(requests) * workers as u64 > most {
                assert!(
                    admitted > u64::from(burst),
                    "seed {seed}: the bucket refills"
                );
            }
        }
    }
}
