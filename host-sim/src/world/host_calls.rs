//! Counts of host calls, by the filter's callback that made them.

use std::collections::BTreeMap;

/// The filter's callback that is running.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Callback {
    /// A root context is created and configured.
    Configure,
    /// A stream is created, and its request headers arrive.
    Request,
    /// Response headers, body or trailers arrive.
    Response,
    /// A stream ends: log, done, delete.
    End,
    /// A tick.
    Tick,
    /// The answer to an HTTP call of the filter's own arrives.
    HttpCall,
    /// The answer to a gRPC call of the filter's own arrives.
    GrpcCall,
}

/// The host calls that were made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostCalls {
    /// How many of each kind: `get_header_map`, `set_shared_data` …
    pub of: BTreeMap<&'static str, u32>,
    /// How many of them returned bytes. Those cost the most: the filter allocates memory for each.
    pub returned_bytes: u32,
}

impl HostCalls {
    /// Adds other calls.
    pub fn add(&mut self, other: HostCalls) {
        self.returned_bytes += other.returned_bytes;
        for (kind, count) in other.of {
            *self.of.entry(kind).or_default() += count;
        }
    }
}

/// Counts host calls.
#[derive(Default)]
pub struct HostCallCounter {
    /// Few entries, and searched with every call: a linear search is faster than a map.
    calls: Vec<(Callback, &'static str, u32)>,
    returned_bytes: BTreeMap<Callback, u32>,
}

impl HostCallCounter {
    /// Counts a call.
    pub fn count(&mut self, callback: Callback, kind: &'static str) {
        let counted = self
            .calls
            .iter_mut()
            .find(|call| (call.0, call.1) == (callback, kind));
        match counted {
            Some(call) => call.2 += 1,
            None => self.calls.push((callback, kind, 1)),
        }
    }

    /// Counts that a call returns bytes.
    pub fn count_returned_bytes(&mut self, callback: Callback) {
        *self.returned_bytes.entry(callback).or_default() += 1;
    }

    /// The calls since this was called last.
    pub fn take(&mut self) -> BTreeMap<Callback, HostCalls> {
        let mut calls: BTreeMap<Callback, HostCalls> = BTreeMap::new();
        for (callback, kind, count) in std::mem::take(&mut self.calls) {
            calls.entry(callback).or_default().of.insert(kind, count);
        }
        for (callback, count) in std::mem::take(&mut self.returned_bytes) {
            calls.entry(callback).or_default().returned_bytes = count;
        }
        calls
    }
}
