//! `timeout` and `retry` of routes and pools: request headers that Envoy's router obeys, and takes
//! away before the request leaves.
//!
//! They are made once, when the configuration is loaded: a route and a pool without them cost a
//! request nothing, and with them a request is given headers and nothing else.
//!
//! A client can send such headers too. Envoy removes them from every request of an address that its
//! `internal_address_config` does not name. What a client sent beside, here gives way: where
//! `timeout` says something all headers about it are the filter's, and so with `retry`.

use crate::time::Nanos;

/// What a route or a pool asks the proxy's router for. Default: nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouterOptions {
    timeout: Option<Nanos>,
    retry: Option<Retry>,
    timeout_headers: Box<[Header]>,
    retry_headers: Box<[Header]>,
}

/// `retry` of a route or a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retry {
    /// How often a request is tried again at most. 0: not at all.
    pub attempts: u32,
    /// After what.
    pub on: Vec<RetryOn>,
    /// How long each try may take. Default: as long as all of them.
    pub per_try_timeout: Option<Nanos>,
}

/// What is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryOn {
    /// Envoy's word.
    pub word: &'static str,
    /// Whether it is a status of gRPC, for which Envoy has a header of its own.
    pub is_grpc: bool,
}

/// A header of a request. None: whatever a client sent in it is removed.
pub type Header = (&'static [u8], Option<Box<[u8]>>);

impl RetryOn {
    /// A word of `x-envoy-retry-on`.
    pub const fn http(word: &'static str) -> RetryOn {
        RetryOn {
            word,
            is_grpc: false,
        }
    }

    /// A word of `x-envoy-retry-grpc-on`.
    pub const fn grpc(word: &'static str) -> RetryOn {
        RetryOn {
            word,
            is_grpc: true,
        }
    }
}

impl RouterOptions {
    /// The headers that say this. None: there is nothing to say. `timeout`: 0 is none at all.
    pub fn new(timeout: Option<Nanos>, retry: Option<Retry>) -> Option<Box<RouterOptions>> {
        if timeout.is_none() && retry.is_none() {
            return None;
        }
        Some(Box::new(RouterOptions {
            timeout_headers: timeout.map(timeout_headers).unwrap_or_default(),
            retry_headers: retry.as_ref().map(retry_headers).unwrap_or_default(),
            timeout,
            retry,
        }))
    }

    /// `timeout`. None: it is not given. 0: none at all.
    pub fn timeout(&self) -> Option<Nanos> {
        self.timeout
    }

    /// `retry`. None: it is not given.
    pub fn retry(&self) -> Option<&Retry> {
        self.retry.as_ref()
    }

    /// The headers that a request gets by its route and its pool. Of `timeout` and of `retry`, each
    /// by itself, the route's own wins.
    pub fn headers<'c>(
        route: Option<&'c RouterOptions>,
        pool: Option<&'c RouterOptions>,
    ) -> impl Iterator<Item = &'c Header> {
        let first = |of: fn(&RouterOptions) -> &[Header]| {
            let both = [route, pool].into_iter().flatten();
            both.map(of).find(|headers| !headers.is_empty())
        };
        let timeout = first(|options| &options.timeout_headers);
        let retry = first(|options| &options.retry_headers);
        timeout.into_iter().chain(retry).flatten()
    }
}

fn timeout_headers(timeout: Nanos) -> Box<[Header]> {
    Box::new([
        (TIMEOUT, Some(milliseconds(timeout))),
        // What another proxy allows, where the router is told to respect it.
        (b"x-envoy-expected-rq-timeout-ms", None),
        (b"x-envoy-upstream-stream-duration-ms", None),
        // Another answer than 504.
        (b"x-envoy-upstream-rq-timeout-alt-response", None),
    ])
}

fn retry_headers(retry: &Retry) -> Box<[Header]> {
    // Without a retry there is nothing to buffer a body for, which Envoy does once it has a word.
    let is_tried_again = retry.attempts > 0;
    let words = |is_grpc: bool| {
        let words = retry.on.iter().filter(|on| on.is_grpc == is_grpc);
        let words: Vec<_> = words.map(|on| on.word).collect();
        (is_tried_again && !words.is_empty()).then(|| text(&words.join(",")))
    };
    Box::new([
        (MAX_RETRIES, Some(text(&retry.attempts.to_string()))),
        (RETRY_ON, words(false)),
        (RETRY_GRPC_ON, words(true)),
        (PER_TRY_TIMEOUT, retry.per_try_timeout.map(milliseconds)),
        (b"x-envoy-retriable-status-codes", None),
        (b"x-envoy-retriable-header-names", None),
        (b"x-envoy-hedge-on-per-try-timeout", None),
    ])
}

fn milliseconds(time: Nanos) -> Box<[u8]> {
    text(&(time / Nanos::MILLISECOND).to_string())
}

fn text(text: &str) -> Box<[u8]> {
    text.as_bytes().into()
}

const TIMEOUT: &[u8] = b"x-envoy-upstream-rq-timeout-ms";
const PER_TRY_TIMEOUT: &[u8] = b"x-envoy-upstream-rq-per-try-timeout-ms";
const MAX_RETRIES: &[u8] = b"x-envoy-max-retries";
const RETRY_ON: &[u8] = b"x-envoy-retry-on";
const RETRY_GRPC_ON: &[u8] = b"x-envoy-retry-grpc-on";

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn the_routes_own_win_each_by_itself() {
        let retry = |attempts| Retry {
            attempts,
            on: vec![
                RetryOn::http("connect-failure"),
                RetryOn::grpc("unavailable"),
                RetryOn::http("5xx"),
            ],
            per_try_timeout: Some(Nanos::from_millis(1500)),
        };
        let of = |timeout: Option<u64>, attempts: Option<u32>| {
            RouterOptions::new(timeout.map(Nanos::from_secs), attempts.map(retry))
        };
        let told = |route: Option<Box<RouterOptions>>, pool: Option<Box<RouterOptions>>| {
            let headers = RouterOptions::headers(route.as_deref(), pool.as_deref());
            let set = headers.filter_map(|(name, value)| {
                let name = std::str::from_utf8(name).unwrap();
                let name = name.strip_prefix("x-envoy-").unwrap();
                let value = std::str::from_utf8(value.as_ref()?).unwrap();
                Some(format!("{name}={value}"))
            });
            set.collect::<Vec<_>>().join(" ")
        };
        const ON: &str = "retry-on=connect-failure,5xx retry-grpc-on=unavailable";
        const TRY: &str = "upstream-rq-per-try-timeout-ms=1500";
        assert_eq!(told(None, None), "");
        assert_eq!(told(None, of(Some(5), None)), "upstream-rq-timeout-ms=5000");
        assert_eq!(told(of(Some(0), None), None), "upstream-rq-timeout-ms=0");
        assert_eq!(
            told(of(Some(1), None), of(Some(5), Some(2))),
            format!("upstream-rq-timeout-ms=1000 max-retries=2 {ON} {TRY}")
        );
        assert_eq!(
            told(of(None, Some(0)), of(Some(5), Some(2))),
            format!("upstream-rq-timeout-ms=5000 max-retries=0 {TRY}")
        );
    }
}
