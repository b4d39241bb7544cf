//! Whatever a request brings, protections end within their steps, and nothing traps.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pointsman_core::config::Config;
use pointsman_core::http::headers::Headers;
use pointsman_core::http::request::Request;
use pointsman_core::protect::{ALLOWANCE, inspect};
use pointsman_fuzz::EVERYTHING;
use std::sync::OnceLock;

/// The longest value that is looked at, in bytes.
const MAX_VALUE: u32 = 8192;

fuzz_target!(|bytes: &[u8]| {
    thread_local! {
        static CONFIG: OnceLock<Config> = const { OnceLock::new() };
    }
    CONFIG.with(|config| {
        let config = config.get_or_init(|| Config::load(EVERYTHING.as_bytes()).expect("it is valid"));
        // One value by itself, and the whole as each part of a request.
        let mut left = u32::MAX;
        pointsman_inspect::sql_injection(bytes, &mut left);
        pointsman_inspect::cross_site_scripting(bytes, &mut left);
        assert!(u32::MAX - left < 100_000 + 4000 * u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        let path = [b"/?q=", bytes].concat();
        for pairs in [
            vec![(&b":path"[..], bytes)],
            vec![(b":path", &path)],
            vec![(b"cookie", bytes), (b"user-agent", bytes), (b"referer", bytes), (b"x-a", bytes)],
        ] {
            let headers = Headers::from_pairs(&pairs);
            let request = Request::new(&headers);
            let protects = config.protect.iter().map(|protect| &**protect);
            inspect(protects, &request, MAX_VALUE);
            assert!(request.steps.taken() <= u64::from(ALLOWANCE) + 2 * pairs.len() as u64);
        }
    });
});
