//! Configuration bytes, JSON or Struct: loaded or refused with problems, never more.
#![no_main]

use pointsman_core::config::Config;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Err(problems) = Config::load(bytes) {
        assert!(!problems.0.is_empty(), "refused, and nobody is told why");
        // What is logged has an end and is made of whole lines.
        for problem in &problems.0 {
            let _ = problem.to_string();
        }
    }
});
