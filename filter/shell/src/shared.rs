//! What the root context and its streams share.

use crate::metrics::Metrics;
use pointsman_core::worker::Worker;
use std::cell::{RefCell, RefMut};

/// What the streams of one root context share.
pub(crate) struct Shared {
    /// Borrowed for one callback at a time: a VM has one thread, and no callback runs inside
    /// another.
    worker: RefCell<Worker>,
    /// What operators see.
    pub metrics: Metrics,
}

impl Shared {
    /// For a root context.
    pub(crate) fn new(worker: Worker, metrics: Metrics) -> Shared {
        Shared {
            worker: RefCell::new(worker),
            metrics,
        }
    }

    /// The worker. None, which is counted as the bug `what`: another callback holds it.
    pub(crate) fn borrow(&self, what: &'static str) -> Option<RefMut<'_, Worker>> {
        let worker = self.worker.try_borrow_mut().ok();
        if worker.is_none() {
            self.metrics.bug(what);
        }
        worker
    }
}
