//! The callbacks of a stream.

use super::{Access, StreamState, Vm, fresh_id};
use crate::exchange::Pairs;
use crate::header_map::HeaderMap;
use crate::world::guest;
use crate::world::host_calls::Callback;
use crate::world::local_reply::LocalReply;
use crate::world::stream_info::StreamInfo;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;

impl Vm {
    /// Begins a stream by the configuration so many `reloads` ago, and returns its context. None: the
    /// VM is dead.
    pub(crate) fn open(
        self: &Rc<Vm>,
        reloads: usize,
        headers: &Pairs,
        source: SocketAddr,
    ) -> Option<u32> {
        let root = self.root_before(reloads)?;
        let context = fresh_id();
        let stream = StreamState {
            root,
            created: false,
            request: (HeaderMap::new(headers), Access::None),
            response: (HeaderMap::default(), Access::None),
            source,
            properties: BTreeMap::new(),
            reply: None,
            trailers: HeaderMap::default(),
            info: StreamInfo::default(),
        };
        let state = &mut *self.state.borrow_mut();
        state.streams.insert(context, stream);
        *state.roots.entry(root).or_default() += 1;
        Some(context)
    }

    /// Whether the VM of a stream is still the one that it began on.
    pub(crate) fn lives(&self, context: u32) -> bool {
        self.state.borrow().streams.contains_key(&context)
    }

    /// The request's headers arrive. False: the filter pauses the stream.
    pub(crate) fn request_headers(self: &Rc<Vm>, context: u32) -> bool {
        let (root, count) = self.with_stream(context, |stream| {
            stream.created = true;
            stream.request.1 = Access::Write;
            (stream.root, stream.request.0.pairs().len())
        });
        let continues = self.enter(context, Callback::Request, || {
            guest::proxy_on_context_create(context, root);
            guest::proxy_on_request_headers(context, count, true) == 0
        });
        // Envoy takes the map away when the callback lets the stream continue, and only then.
        if continues {
            self.with_stream(context, |stream| stream.request.1 = Access::None);
        }
        continues
    }

    /// The response's headers arrive.
    pub(crate) fn response_headers(
        self: &Rc<Vm>,
        context: u32,
        headers: HeaderMap,
        end_of_stream: bool,
    ) {
        let count = headers.pairs().len();
        self.with_stream(context, |stream| stream.response = (headers, Access::Write));
        let continues = self.enter(context, Callback::Response, || {
            guest::proxy_on_response_headers(context, count, end_of_stream) == 0
        });
        if continues {
            self.with_stream(context, |stream| stream.response.1 = Access::None);
        }
    }

    /// A part of the response's body arrives.
    pub(crate) fn response_body(self: &Rc<Vm>, context: u32, size: usize, end_of_stream: bool) {
        self.enter(context, Callback::Response, || {
            guest::proxy_on_response_body(context, size, end_of_stream)
        });
    }

    /// The response's trailers arrive.
    pub(crate) fn response_trailers(self: &Rc<Vm>, context: u32, trailers: HeaderMap) {
        let count = trailers.pairs().len();
        self.with_stream(context, |stream| stream.trailers = trailers);
        self.enter(context, Callback::Response, || {
            guest::proxy_on_response_trailers(context, count)
        });
    }

    /// A property that the filter may ask for.
    pub(crate) fn tell(&self, context: u32, path: &[u8], value: &[u8]) {
        self.with_stream(context, |stream| {
            stream.properties.insert(path.to_vec(), value.to_vec())
        });
    }

    /// Changes what the proxy notes of a stream.
    pub(crate) fn note(&self, context: u32, note: impl FnOnce(&mut StreamInfo)) {
        self.with_stream(context, |stream| note(&mut stream.info));
    }

    /// A stream ends, for whatever reason.
    pub(crate) fn close(self: &Rc<Vm>, context: u32) {
        let (root, created) = self.with_stream(context, |stream| {
            stream.request.1 = Access::Read;
            stream.response.1 = Access::Read;
            (stream.root, stream.created)
        });
        if created {
            self.enter(context, Callback::End, || {
                guest::proxy_on_log(context);
                guest::proxy_on_done(context);
                guest::proxy_on_delete(context);
            });
        }
        let mut state = self.state.borrow_mut();
        state.streams.remove(&context);
        if let Some(streams) = state.roots.get_mut(&root) {
            *streams -= 1;
        }
        drop(state);
        self.end_root_without_streams(root);
    }

    /// The request's headers as they are now.
    pub(crate) fn request_pairs(&self, context: u32) -> Pairs {
        self.with_stream(context, |stream| stream.request.0.pairs().clone())
    }

    /// The response's headers as they are now.
    pub(crate) fn response_map(&self, context: u32) -> HeaderMap {
        self.with_stream(context, |stream| stream.response.0.clone())
    }

    /// The local reply that the filter has asked for, if it has.
    pub(crate) fn take_reply(&self, context: u32) -> Option<LocalReply> {
        self.with_stream(context, |stream| stream.reply.take())
    }

    fn with_stream<T>(&self, context: u32, body: impl FnOnce(&mut StreamState) -> T) -> T {
        let mut state = self.state.borrow_mut();
        body(
            state
                .streams
                .get_mut(&context)
                .expect("callers ask for streams that live"),
        )
    }
}
