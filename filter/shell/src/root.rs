//! The root context: one for each worker and configuration. Everything that outlives a request hangs off it.

use crate::host::{self, Level};
use crate::metrics::Metrics;
use crate::stream::{Stream, Surroundings};
use pointsman_core::config::Config;
use pointsman_core::decide::Worker;
use pointsman_core::shared;
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::ContextType;
use std::cell::RefCell;
use std::rc::Rc;

/// What the streams of one root context share.
pub struct Shared {
    /// Borrowed for one decision at a time: a VM has one thread, and no callback runs inside another.
    pub worker: RefCell<Worker>,
    /// What operators count.
    pub metrics: Metrics,
}

/// The root context. Without a configuration that loaded it has nothing to share, and its streams answer 503.
#[derive(Default)]
pub struct Root {
    shared: Option<Rc<Shared>>,
}

impl Context for Root {}

impl RootContext for Root {
    /// Loads the configuration. False, after a log line for each problem, refuses it: the proxy then keeps the one
    /// before. The answer depends on the configuration's bytes alone, because a proxy whose main thread accepted what
    /// a worker refuses takes no configuration any more (envoyproxy/envoy#43751).
    ///
    /// This runs in every worker, and twice more on the main thread, so it leaves shared state as it finds it.
    fn on_configure(&mut self, _size: usize) -> bool {
        let bytes = match host::plugin_configuration() {
            Ok(bytes) => bytes,
            Err(status) => {
                host::log(Level::Error, &format!("the configuration cannot be read: {status}"));
                return false;
            }
        };
        let config = match Config::load(&bytes) {
            Ok(config) => config,
            Err(problems) => {
                for problem in &problems.0 {
                    host::log(Level::Error, &problem.to_string());
                }
                let count = problems.0.len();
                host::log(
                    Level::Error,
                    &format!("the configuration is refused; problems: {count}"),
                );
                return false;
            }
        };
        let fresh = randomness();
        // Without shared data the limits hold for each worker by itself; the log says so, and each failure is counted.
        let seed = shared::seed(&mut Surroundings, fresh).unwrap_or_else(|failed| {
            host::log(Level::Error, &format!("the workers share no seed: {failed:?}"));
            fresh
        });
        let metrics = Metrics::define(&config);
        let [roll_seed, holder] = [(); 2].map(|()| u64::from_le_bytes(randomness()));
        let worker = Worker::new(Rc::new(config), seed, roll_seed, holder);
        self.shared = Some(Rc::new(Shared {
            worker: RefCell::new(worker),
            metrics,
        }));
        true
    }

    fn create_http_context(&self, _context_id: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Stream::new(self.shared.clone())))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

/// Random bytes. A host without randomness does not make the filter refuse its configuration: what is lost then is
/// that clients cannot guess the numbers, so the log says so.
fn randomness<const N: usize>() -> [u8; N] {
    host::random().unwrap_or_else(|status| {
        host::log(Level::Warn, &format!("no randomness, the clock has to do: {status}"));
        let mut bytes = [0; N];
        let time = host::current_time().unwrap_or_default().to_le_bytes();
        for (byte, from) in bytes.iter_mut().zip(time) {
            *byte = from;
        }
        bytes
    })
}
