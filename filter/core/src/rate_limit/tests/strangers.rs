//! No stranger shuts newcomers out: floods against a table that is smaller than they are.

use super::*;
use crate::rate_limit::gcra::Tat;
use crate::rate_limit::record::{Bucket, Owner, Room, room};
use crate::shared::tests::Random;
use std::net::{Ipv4Addr, Ipv6Addr};
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

/// A sixteenth of the default, for floods that are a sixteenth of what is promised.
const MAX_KEYS: u32 = 65_536 / 16;

const CLIENT: KeyPart = KeyPart::ClientNetwork { v4: 32, v6: 64 };

fn header(name: &str) -> KeyPart {
    KeyPart::Header(name.as_bytes().into())
}

fn keyed(name: &str, quota: Quota, key: &[KeyPart], shadow: bool) -> RateLimit {
    RateLimit::new(0, name, quota, key.to_vec(), shadow)
}

fn hourly(name: &str, key: &[KeyPart], shadow: bool) -> RateLimit {
    let quota = Quota {
        requests: 1,
        per: 3600 * SECOND,
        burst: 1,
    };
    keyed(name, quota, key, shadow)
}

/// Addresses that are all different and in no order.
fn scattered(n: u32) -> u32 {
    n.wrapping_mul(2_654_435_769)
}

fn v4(n: u32) -> IpAddr {
    Ipv4Addr::from_bits(scattered(n)).into()
}

/// Of one /64.
fn of_64(n: u32) -> IpAddr {
    Ipv6Addr::from_bits(0x2001_0db8_0001_0001 << 64 | u128::from(scattered(n))).into()
}

/// The /64s of one /48.
fn of_48(n: u32) -> IpAddr {
    Ipv6Addr::from_bits(0x2001_0db8_0001 << 80 | u128::from(n as u16) << 64 | 1).into()
}

/// The /48s of one /32.
fn of_32(n: u32) -> IpAddr {
    Ipv6Addr::from_bits(0x2001_0db8 << 96 | u128::from(n as u16) << 80 | 1).into()
}

/// Homes of other providers.
fn home(n: u32) -> IpAddr {
    match n % 2 {
        0 => Ipv4Addr::from_bits(0x5000_0000 | scattered(n) >> 4).into(),
        _ => Ipv6Addr::from_bits(
            0x2a00 << 112 | u128::from(scattered(n)) << 80 | u128::from(n) << 64 | 7,
        )
        .into(),
    }
}

struct Attack {
    name: &'static str,
    key: Vec<KeyPart>,
    from: fn(u32) -> IpAddr,
    requests: u32,
}

fn attacks() -> Vec<Attack> {
    let attack = |name, key: &[KeyPart], from, requests| Attack {
        name,
        key: key.to_vec(),
        from,
        requests,
    };
    vec![
        attack("a /64, by address", &[CLIENT], of_64, 8_000),
        attack(
            "a /64, user-agents",
            &[CLIENT, header("user-agent")],
            of_64,
            8_000,
        ),
        attack("a /48, by address", &[CLIENT], of_48, 8_000),
        attack(
            "a /48, user-agents",
            &[CLIENT, header("user-agent")],
            of_48,
            8_000,
        ),
        attack("a /32, by address", &[CLIENT], of_32, 8_000),
        attack(
            "a /64, made-up tenants",
            &[header("x-tenant")],
            of_64,
            8_000,
        ),
        attack("625 IPv4, by address", &[CLIENT], |n| v4(n % 625), 8_000),
        attack(
            "625 IPv4, user-agents",
            &[CLIENT, header("user-agent")],
            |n| v4(n % 625),
            30_000,
        ),
    ]
}

/// One of a flood's requests, or of somebody's with this name.
fn ask(
    worker: &mut Worker,
    limit: &RateLimit,
    store: &mut dyn Store,
    address: IpAddr,
    name: &str,
    now: Nanos,
) -> bool {
    let headers = [("user-agent", name), ("x-tenant", name)];
    worker.check_address(&[limit], store, address, &headers, now) == Verdict::Admitted
}

#[test]
fn a_flood_against_a_slow_limit_shuts_no_newcomer_out_and_empties_no_bucket() {
    for per in [3600 * SECOND, 366 * 24 * 3600 * SECOND] {
        for attack in attacks() {
            let mut worker = Worker::new(MAX_KEYS);
            let mut store = MemoryPort::default();
            let quota = Quota {
                requests: 1,
                per,
                burst: 1,
            };
            let attacked = keyed("report", quota, &attack.key, false);
            let quota = Quota {
                requests: 5,
                per: 3600 * SECOND,
                burst: 5,
            };
            let login = keyed("login", quota, &[CLIENT], false);
            let name = |n: u32| format!("honest {n}");
            // Clients from before: of the one limit they have nothing left, of the other two.
            for n in 0..20 {
                assert!(ask(
                    &mut worker,
                    &attacked,
                    &mut store,
                    home(n),
                    &name(n),
                    NOW
                ));
                for _ in 0..3 {
                    assert!(ask(&mut worker, &login, &mut store, home(n), "", NOW));
                }
            }
            let (mut now, mut newcomers) = (NOW, [0, 0]);
            for n in 0..attack.requests {
                now += SECOND / 10_000;
                let from = (attack.from)(n);
                ask(
                    &mut worker,
                    &attacked,
                    &mut store,
                    from,
                    &n.to_string(),
                    now,
                );
                worker.events.clear();
                // 100 newcomers, in the second half of the flood.
                let every = attack.requests / 200;
                if n >= attack.requests / 2 && n % every == 0 {
                    let n = 1000 + n / every;
                    for (limit, admitted) in [&attacked, &login].iter().zip(&mut newcomers) {
                        let first = ask(&mut worker, limit, &mut store, home(n), &name(n), now);
                        *admitted += u32::from(first);
                    }
                }
            }
            let context = format!("{}, {} s", attack.name, per / SECOND);
            assert!(
                newcomers.iter().all(|n| *n >= 99),
                "{context}: {newcomers:?}"
            );
            for n in 0..20 {
                let again = ask(&mut worker, &attacked, &mut store, home(n), &name(n), now);
                assert!(!again, "{context}: {n} was forgotten");
                let left =
                    (0..5).filter(|_| ask(&mut worker, &login, &mut store, home(n), "", now));
                assert_eq!(left.count(), 2, "{context}: {n}");
            }
        }
    }
}

#[test]
fn a_flood_against_a_shadow_takes_no_slot_of_a_limit_that_refuses() {
    let (shadow, hard) = (
        hourly("report", &[header("x-tenant")], true),
        hourly("login", &[header("x-tenant")], false),
    );
    let (mut worker, mut store) = (Worker::new(64), MemoryPort::default());
    for n in 0..2_000 {
        assert!(ask(
            &mut worker,
            &shadow,
            &mut store,
            v4(n),
            &n.to_string(),
            NOW
        ));
    }
    worker.events.clear();
    for n in 0..64 {
        assert!(ask(
            &mut worker,
            &hard,
            &mut store,
            v4(n),
            &n.to_string(),
            NOW
        ));
    }
    assert_eq!(worker.events, []);
}

/// Addresses of one network and of many, keys with the address and without, limits that refuse and
/// shadows, in a table that is much too small: each bucket keeps the promise, although buckets and
/// marks are merged all the time.
#[test]
fn no_bucket_gains_by_being_merged() {
    for seed in 0..60 {
        let mut random = Random(seed << 32);
        let quota = |requests, per, burst| Quota {
            requests,
            per,
            burst,
        };
        let limits = [
            keyed("a", quota(1, 3 * SECOND, 2), &[CLIENT], false),
            keyed(
                "b",
                quota(2, SECOND, 7),
                &[CLIENT, header("user-agent")],
                false,
            ),
            keyed("c", quota(3, 10 * SECOND, 3), &[header("x-tenant")], false),
        ];
        let mut store = MemoryPort::default();
        let max_keys = [1, 3, 70][random.below(3) as usize];
        let mut workers = [Worker::new(max_keys), Worker::new(max_keys)];
        let mut admitted = std::collections::BTreeMap::<_, Vec<Nanos>>::new();
        let (mut now, mut overflows) = (NOW, 0);
        for _ in 0..3_000 {
            now += [Nanos::ZERO, Nanos::ZERO, NS, SECOND / 500][random.below(4) as usize];
            let among = [6, 300][random.below(2) as usize];
            let n = random.below(among) as u32;
            let address = [v4, of_64, of_48, of_32, home][random.below(5) as usize](n);
            let name = ["x", "y"][random.below(2) as usize];
            let which = random.below(3) as usize;
            // Tenants come from all networks.
            let tenant = format!("{name}{}", n % 100);
            let headers = [("user-agent", name), ("x-tenant", &*tenant)];
            let worker = &mut workers[random.below(2) as usize];
            let limit = &limits[which];
            let verdict = worker.check_address(&[limit], &mut store, address, &headers, now);
            if verdict == Verdict::Admitted {
                let network = crate::http::key::network(address, 32, 64).to_string();
                let bucket = [network.clone(), network + name, tenant][which].clone();
                admitted.entry((which, bucket)).or_default().push(now);
            }
            let events = worker.events.drain(..);
            overflows += events
                .filter(|event| matches!(event, RateLimitEvent::Overflow(_)))
                .count();
        }
        assert!(overflows > 100, "{overflows}");
        for ((which, bucket), times) in admitted {
            assert_conforms(&limits[which], times, &format!("seed {seed}, {bucket}"));
        }
    }
}

/// Who gives up a slot: limit, region, site, shared, minutes until full, of those in the record; of
/// the newcomer; and what is made of it.
#[test]
fn whoever_holds_the_most_slots_gives_one() {
    let bucket = |(limit, region, site, shared, minutes): (u32, u16, u16, bool, u64)| Bucket {
        id: Bucket::client_id(minutes << 8, shared),
        owner: Owner {
            limit,
            region,
            site,
        },
        tat: Tat::from(NOW + minutes * Nanos::from_secs(60)),
    };
    let held = |held: &[(u32, u16, u16, bool, u64)]| held.iter().copied().map(bucket).collect();
    let merged = |minutes, of: Room| match of {
        Room::Merge(bucket) => bucket.tat == Tat::from(NOW + minutes * Nanos::from_secs(60)),
        _ => false,
    };
    let newcomer = |limit, region, site, shared| bucket((limit, region, site, shared, 99));

    // The limit with the most, although another's bucket is nearer to full.
    let limits = [
        (2, 7, 9, false, 1),
        (1, 3, 5, false, 40),
        (1, 5, 7, false, 60),
        (1, 5, 9, false, 50),
    ];
    assert!(merged(50, room(held(&limits), &newcomer(2, 9, 9, false))));
    // The newcomer's own, where that has as many with it: shares come to rest.
    assert!(merged(
        1,
        room(held(&limits[..2]), &newcomer(2, 9, 9, false))
    ));
    // The region with the most, then the site.
    let sites = [
        (1, 3, 5, false, 9),
        (1, 3, 7, false, 8),
        (1, 3, 7, false, 30),
        (1, 5, 9, false, 1),
        (1, 5, 11, false, 1),
    ];
    assert!(merged(8, room(held(&sites), &newcomer(1, 9, 9, false))));
    // With one more of the other region, the newcomer's own gives.
    assert!(merged(1, room(held(&sites), &newcomer(1, 5, 11, false))));
    // Of shared buckets, a network that holds the most gets none, and any other does.
    let shared = [(1, 3, 5, true, 9), (1, 3, 5, true, 8), (1, 5, 7, true, 1)];
    assert_eq!(
        room(held(&shared), &newcomer(1, 3, 5, true)),
        Room::None(bucket(shared[1]))
    );
    assert!(merged(8, room(held(&shared), &newcomer(1, 7, 9, true))));
    // Another limit's bucket may be shared; the newcomer's is what counts.
    assert!(merged(8, room(held(&shared), &newcomer(2, 3, 5, false))));
    assert_eq!(room(Vec::new(), &newcomer(1, 3, 5, true)), Room::Free);
}

#[test]
fn a_client_is_its_address_in_ipv4_and_its_64_in_ipv6_unless_said_otherwise() {
    let worker = Worker::new(4);
    let id = |part: KeyPart, ip: &str| {
        let headers = Headers::default();
        let limit = hourly("a", &[part], false);
        let (request, ip) = (Request::new(&headers), Some(ip.parse().unwrap()));
        let mut reader = worker.limits.reader(&request, ip, "route");
        worker.limits.bucket(&limit, &mut reader).id
    };
    let part = |v4, v6| KeyPart::ClientNetwork { v4, v6 };
    for (v4, v6, one, other, same) in [
        (32, 64, "1.2.3.4", "1.2.3.5", false),
        (32, 64, "1.2.3.4", "::ffff:1.2.3.4", true),
        (32, 64, "2001:db8::1", "2001:db8::ffff:1", true),
        (32, 64, "2001:db8:0:1::1", "2001:db8:0:2::1", false),
        (24, 64, "1.2.3.4", "1.2.3.255", true),
        (24, 64, "1.2.3.4", "1.2.4.4", false),
        (24, 64, "::ffff:1.2.3.4", "1.2.3.9", true),
        (8, 16, "1.2.3.4", "1.255.0.0", true),
        (8, 16, "2001:db8::1", "2001:ffff::", true),
        (32, 56, "2001:db8::1", "2001:db8:0:ff::", true),
        (32, 56, "2001:db8::1", "2001:db8:0:100::", false),
        (32, 128, "2001:db8::1", "2001:db8::2", false),
    ] {
        let ids = [one, other].map(|ip| id(part(v4, v6), ip));
        assert_eq!(ids[0] == ids[1], same, "v4: {v4}, v6: {v6}, {one}, {other}");
    }
    let of_route = |route| {
        let headers = Headers::from_pairs(&[(":authority", "A.test"), (":method", "GET")]);
        let limit = hourly(
            "a",
            &[KeyPart::Host, KeyPart::Method, KeyPart::Route],
            false,
        );
        let request = Request::new(&headers);
        let mut reader = worker.limits.reader(&request, None, route);
        worker.limits.bucket(&limit, &mut reader).id
    };
    assert_ne!(of_route("a"), of_route("b"));
}
